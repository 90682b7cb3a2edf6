//! FLAC as RFC 9639 describes it: everything of it is read, and 16-bit sound is written uncompressed but for silence.

use super::sound::{MAXIMUM_CHANNELS, MAXIMUM_SAMPLES, Sound};

/// Samples of one channel in a frame that is written.
const BLOCK_SAMPLES: usize = 4096;
/// Bits of a sample that is written.
const WRITTEN_BITS: u32 = 16;
/// Types of metadata blocks.
const STREAM_INFO: u8 = 0;
const COMMENTS: u8 = 4;
/// Most bytes of a metadata block: its length has 24 bits.
const MAXIMUM_BLOCK_BYTES: usize = 0xff_ffff;

/// The bytes of a file, with texts (the prompt, the workflow) as comments.
pub fn write(sound: &Sound, texts: &[(String, String)]) -> Vec<u8> {
    let channels = sound.channels.len().clamp(1, MAXIMUM_CHANNELS);
    let mut out = BitWriter::default();
    out.bytes(b"fLaC");
    out.bits(u64::from(STREAM_INFO), 8);
    out.bits(34, 24);
    out.bits(BLOCK_SAMPLES as u64, 16);
    out.bits(BLOCK_SAMPLES as u64, 16);
    // Smallest and largest frame: not known.
    out.bits(0, 48);
    out.bits(u64::from(sound.sample_rate), 20);
    out.bits(channels as u64 - 1, 3);
    out.bits(u64::from(WRITTEN_BITS) - 1, 5);
    out.bits(sound.length() as u64, 36);
    // No checksum of the samples.
    out.bits(0, 64);
    out.bits(0, 64);
    let comments = comments(texts);
    out.bits(u64::from(0x80 | COMMENTS), 8);
    out.bits(comments.len() as u64, 24);
    out.bytes(&comments);
    for (number, from) in (0..sound.length()).step_by(BLOCK_SAMPLES).enumerate() {
        let to = sound.length().min(from + BLOCK_SAMPLES);
        let mut frame = BitWriter::default();
        // Sync code, fixed block size; 16-bit block size at the end of the header, sample rate of the stream.
        frame.bits(0xfff8, 16);
        frame.bits(0x70, 8);
        frame.bits(channels as u64 - 1, 4);
        frame.bits(0b1000, 4);
        frame.coded_number(number as u64);
        frame.bits((to - from) as u64 - 1, 16);
        let check = crc8(&frame.out);
        frame.bits(u64::from(check), 8);
        for channel in sound.channels.iter().take(channels) {
            let block: Vec<i16> = channel
                .get(from..to)
                .unwrap_or_default()
                .iter()
                .map(|sample| (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16)
                .collect();
            let is_constant = block.windows(2).all(|pair| pair.first() == pair.last());
            // CONSTANT or VERBATIM.
            frame.bits(if is_constant { 0 } else { 0b10 }, 8);
            let count = if is_constant { 1 } else { block.len() };
            for sample in block.iter().take(count) {
                frame.bits(u64::from(*sample as u16), 16);
            }
        }
        frame.align();
        let check = crc16(&frame.out);
        frame.bits(u64::from(check), 16);
        out.bytes(&frame.out);
    }
    out.out
}

/// A comment block: who wrote it, then `KEY=text`. Texts that do not fit are left out.
fn comments(texts: &[(String, String)]) -> Vec<u8> {
    let put = |block: &mut Vec<u8>, text: &str| {
        block.extend((text.len() as u32).to_le_bytes());
        block.extend(text.as_bytes());
    };
    let mut block = Vec::new();
    put(&mut block, "comfyui-orchestrator");
    let mut room = MAXIMUM_BLOCK_BYTES - 64;
    let fitting: Vec<String> = texts
        .iter()
        .map(|(keyword, text)| format!("{keyword}={text}"))
        .filter(|text| {
            let fits = text.len() + 4 <= room;
            if fits {
                room -= text.len() + 4;
            }
            fits
        })
        .collect();
    block.extend((fitting.len() as u32).to_le_bytes());
    for text in fitting {
        put(&mut block, &text);
    }
    block
}

/// What the stream says of itself.
#[derive(Clone, Copy, Debug)]
struct StreamInfo {
    sample_rate: u32,
    channels: usize,
    sample_bits: u32,
}

/// Reads a file. The error is a sentence.
pub fn read(bytes: &[u8]) -> Result<Sound, String> {
    read_stream(bytes)
        .ok_or_else(|| format!("the FLAC file is broken, or longer than {MAXIMUM_SAMPLES} samples"))
}

fn read_stream(bytes: &[u8]) -> Option<Sound> {
    let mut rest = bytes.strip_prefix(b"fLaC")?;
    let mut info = None;
    loop {
        let ([kind, length @ ..], after) = rest.split_first_chunk::<4>()?;
        let [a, b, c] = *length;
        let (block, after) = after.split_at_checked(u32::from_be_bytes([0, a, b, c]) as usize)?;
        if kind & 0x7f == STREAM_INFO {
            let mut bits = BitReader::new(block.get(10..)?);
            info = Some(StreamInfo {
                sample_rate: bits.bits(20)? as u32,
                channels: bits.bits(3)? as usize + 1,
                sample_bits: bits.bits(5)? as u32 + 1,
            });
        }
        rest = after;
        if kind & 0x80 != 0 {
            break;
        }
    }
    let info = info.filter(|info| info.sample_rate > 0)?;
    let scale = 1.0 / f64::from(1_u32 << (info.sample_bits - 1));
    let mut sound = Sound {
        sample_rate: info.sample_rate,
        channels: vec![Vec::new(); info.channels],
    };
    // What follows the last frame, such as an ID3 tag, is no frame and ends the sound.
    while rest.first() == Some(&0xff) {
        let mut bits = BitReader::new(rest);
        let frame = read_frame(&mut bits, info)?;
        for (channel, samples) in sound.channels.iter_mut().zip(frame) {
            channel.extend(samples.iter().map(|sample| (*sample as f64 * scale) as f32));
        }
        if sound.length() * info.channels > MAXIMUM_SAMPLES {
            return None;
        }
        bits.align();
        // The frame's checksum.
        bits.bits(16)?;
        rest = bits.rest();
    }
    Some(sound)
}

fn read_frame(bits: &mut BitReader<'_>, info: StreamInfo) -> Option<Vec<Vec<i64>>> {
    (bits.bits(15)? == 0x7ffc).then_some(())?;
    bits.bits(1)?;
    let size_code = bits.bits(4)?;
    let rate_code = bits.bits(4)?;
    let assignment = bits.bits(4)?;
    let bits_code = bits.bits(3)?;
    bits.bits(1)?;
    bits.skip_coded_number()?;
    let length = match size_code {
        1 => 192,
        code @ 2..=5 => 144 << code,
        6 => bits.bits(8)? as usize + 1,
        7 => bits.bits(16)? as usize + 1,
        code @ 8..=15 => 1 << code,
        _ => return None,
    };
    match rate_code {
        12 => bits.bits(8)?,
        13 | 14 => bits.bits(16)?,
        15 => return None,
        _ => 0,
    };
    bits.bits(8)?;
    let sample_bits = match bits_code {
        0 => info.sample_bits,
        1 => 8,
        2 => 12,
        4 => 16,
        5 => 20,
        6 => 24,
        7 => 32,
        _ => return None,
    };
    let channels = match assignment {
        0..=7 => assignment as usize + 1,
        8..=10 => 2,
        _ => return None,
    };
    if channels != info.channels || sample_bits != info.sample_bits {
        return None;
    }
    let mut blocks = Vec::with_capacity(channels);
    for channel in 0..channels {
        // The difference of two channels needs one bit more.
        let is_difference = matches!((assignment, channel), (8 | 10, 1) | (9, 0));
        blocks.push(read_block(
            bits,
            length,
            sample_bits + u32::from(is_difference),
        )?);
    }
    if let [first, second] = blocks.as_mut_slice() {
        for (a, b) in first.iter_mut().zip(second.iter_mut()) {
            (*a, *b) = match assignment {
                8 => (*a, *a - *b),
                9 => (*a + *b, *b),
                10 => {
                    let middle = *a * 2 + (*b & 1);
                    ((middle + *b) >> 1, (middle - *b) >> 1)
                }
                _ => (*a, *b),
            };
        }
    }
    Some(blocks)
}

/// One channel of one frame.
fn read_block(bits: &mut BitReader<'_>, length: usize, sample_bits: u32) -> Option<Vec<i64>> {
    (bits.bits(1)? == 0).then_some(())?;
    let kind = bits.bits(6)?;
    let wasted_bits = if bits.bits(1)? == 1 {
        bits.unary()? + 1
    } else {
        0
    };
    let sample_bits = sample_bits
        .checked_sub(wasted_bits)
        .filter(|bits| *bits > 0)?;
    let mut samples = match kind {
        0 => vec![bits.signed(sample_bits)?; length],
        1 => bits.many(length, sample_bits)?,
        8..=12 => {
            const COEFFICIENTS: [&[i64]; 5] = [&[], &[1], &[2, -1], &[3, -3, 1], &[4, -6, 4, -1]];
            let coefficients = COEFFICIENTS.get(kind as usize - 8)?;
            let warm_up = bits.many(coefficients.len(), sample_bits)?;
            predict(bits, length, warm_up, coefficients, 0)?
        }
        32..=63 => {
            let order = kind as usize - 31;
            let warm_up = bits.many(order, sample_bits)?;
            let precision = bits.bits(4)? as u32 + 1;
            let shift = bits.signed(5)?;
            let coefficients = bits.many(order, precision)?;
            let shift = u32::try_from(shift).ok().filter(|_| precision < 16)?;
            predict(bits, length, warm_up, &coefficients, shift)?
        }
        _ => return None,
    };
    if wasted_bits > 0 {
        for sample in &mut samples {
            *sample <<= wasted_bits;
        }
    }
    Some(samples)
}

/// Samples from what comes before them and from Rice-coded differences.
fn predict(
    bits: &mut BitReader<'_>,
    length: usize,
    warm_up: Vec<i64>,
    coefficients: &[i64],
    shift: u32,
) -> Option<Vec<i64>> {
    let parameter_bits = match bits.bits(2)? {
        0 => 4,
        1 => 5,
        _ => return None,
    };
    let partition_order = bits.bits(4)? as u32;
    let mut samples = warm_up;
    samples.reserve(length.checked_sub(samples.len())?);
    let partition_length = length >> partition_order;
    for partition in 1..=1_usize << partition_order {
        let until = partition_length * partition;
        let parameter = bits.bits(parameter_bits)? as u32;
        let is_escaped = parameter == (1 << parameter_bits) - 1;
        let width = if is_escaped { bits.bits(5)? as u32 } else { 0 };
        while samples.len() < until {
            let difference = if is_escaped {
                bits.signed(width)?
            } else {
                let folded = u64::from(bits.unary()?) << parameter | bits.bits(parameter)?;
                (folded >> 1) as i64 ^ -((folded & 1) as i64)
            };
            let predicted: i64 = samples
                .iter()
                .rev()
                .zip(coefficients)
                .try_fold(0_i64, |sum, (sample, coefficient)| {
                    sum.checked_add(sample.checked_mul(*coefficient)?)
                })?;
            samples.push((predicted >> shift).checked_add(difference)?);
        }
    }
    (samples.len() == length).then_some(samples)
}

/// Reads bits, highest first.
struct BitReader<'a> {
    bytes: &'a [u8],
    position_bits: usize,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position_bits: 0,
        }
    }

    fn bit(&mut self) -> Option<u64> {
        let byte = self.bytes.get(self.position_bits / 8)?;
        let bit = byte >> (7 - self.position_bits % 8) & 1;
        self.position_bits += 1;
        Some(u64::from(bit))
    }

    /// At most 64 bits.
    fn bits(&mut self, count: u32) -> Option<u64> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | self.bit()?;
        }
        Some(value)
    }

    /// Two's complement.
    fn signed(&mut self, count: u32) -> Option<i64> {
        if count == 0 {
            return Some(0);
        }
        let unused = 64 - count;
        Some((self.bits(count)? << unused) as i64 >> unused)
    }

    fn many(&mut self, count: usize, bits: u32) -> Option<Vec<i64>> {
        (0..count).map(|_| self.signed(bits)).collect()
    }

    /// Zeros before the next one.
    fn unary(&mut self) -> Option<u32> {
        let mut count = 0;
        while self.bit()? == 0 {
            count += 1;
        }
        Some(count)
    }

    /// A number in the form of UTF-8, up to seven bytes.
    fn skip_coded_number(&mut self) -> Option<()> {
        let first = self.bits(8)? as u8;
        let more = match first.leading_ones() {
            0 => 0,
            count @ 2..=7 => count - 1,
            _ => return None,
        };
        self.bits(8 * more)?;
        Some(())
    }

    fn align(&mut self) {
        self.position_bits = self.position_bits.next_multiple_of(8);
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position_bits / 8..).unwrap_or_default()
    }
}

/// Writes bits, highest first.
#[derive(Default)]
struct BitWriter {
    out: Vec<u8>,
    held: u64,
    held_bits: u32,
}

impl BitWriter {
    /// The lowest `count` bits of a value.
    fn bits(&mut self, value: u64, count: u32) {
        for position in (0..count).rev() {
            self.held = self.held << 1 | (value >> position & 1);
            self.held_bits += 1;
            if self.held_bits == 8 {
                self.out.push(self.held as u8);
                (self.held, self.held_bits) = (0, 0);
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn align(&mut self) {
        while self.held_bits != 0 {
            self.bits(0, 1);
        }
    }

    /// A number in the form of UTF-8, up to 31 bits.
    fn coded_number(&mut self, number: u64) {
        if number < 0x80 {
            self.bits(number, 8);
            return;
        }
        let more = (1..6)
            .find(|more| number < 1 << (5 * more + 6))
            .unwrap_or(5_u32);
        let marks = 0xff << (7 - more) & 0xff;
        self.bits(marks | number >> (6 * more), 8);
        for position in (0..more).rev() {
            self.bits(0x80 | (number >> (6 * position) & 0x3f), 8);
        }
    }
}

/// Checksum of a frame's header: x⁸ + x² + x + 1.
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| {
            if crc & 0x80 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x07
            }
        })
    })
}

/// Checksum of a frame: x¹⁶ + x¹⁵ + x² + 1.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc: u16, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x8005
            }
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// The files of RFC 9639, appendix D: worked examples with every byte explained.
    const EXAMPLE_1: &str = "664c6143 80000022 10001000 00000f00 000f0ac4 42f00000 00013e84 b41807dc 69030758 6a3dad1a \
                             2e0ffff8 69180000 bf0358fd 03128baa 9a";
    const EXAMPLE_3: &str = "664c6143 80000022 10001000 00001f00 001f07d0 00700000 0018f8f9 e396f5cb cfc6dc80 7f997790 \
                             6b32fff8 68020017 e944004f 6f313d10 47d227cb 6d090831 452bdc28 22228057 a3";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
            .collect()
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        let sound = read(&hex(EXAMPLE_1)).unwrap();
        assert_eq!((sound.sample_rate, sound.length()), (44_100, 1));
        assert_eq!(
            sound.channels,
            [[25_588.0 / 32_768.0], [10_416.0 / 32_768.0]]
        );
        let sound = read(&hex(EXAMPLE_3)).unwrap();
        let samples = [
            0, 79, 111, 78, 8, -61, -90, -68, -13, 42, 67, 53, 13, -27, -46, -38, -12, 14, 24, 19,
            6, -4, -5, 0,
        ];
        assert_eq!(sound.sample_rate, 32_000);
        assert_eq!(
            sound.channels,
            [samples.map(|sample: i8| f32::from(sample) / 128.0)]
        );
    }

    #[test]
    fn what_is_written_is_read_again_and_cut_files_are_refused() {
        let mut sound = Sound::silence(8_000, 2, 700_000).unwrap();
        for (index, sample) in sound.channels[0].iter_mut().take(5_000).enumerate() {
            *sample = ((index * 37 % 2_001) as f32 - 1_000.0) / 1_024.0;
        }
        let bytes = write(&sound, &[("prompt".to_owned(), "ü".to_owned())]);
        assert!(read(&bytes).unwrap() == sound);
        for length in (0..bytes.len() - 1).step_by(97) {
            let cut = read(&bytes[..length]).ok();
            assert!(
                cut.is_none_or(|cut| cut.length() < sound.length()),
                "{length}"
            );
        }
    }
}
