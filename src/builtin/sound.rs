//! Sounds, and the WAV files they may come from; FLAC has a file of its own.

use super::{flac, node::NodeFailure};

/// The most samples that a sound may hold over all channels: 64 Mi, about 12 minutes of stereo at 44.1 kHz.
pub const MAXIMUM_SAMPLES: usize = 64 * 1024 * 1024;
/// The most channels.
pub const MAXIMUM_CHANNELS: usize = 8;
/// The highest sample rate: the largest that FLAC can name.
pub const MAXIMUM_SAMPLE_RATE: u32 = 655_350;

/// A sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples per second.
    pub sample_rate: u32,
    /// One list of samples in -1…1 per channel, all equally long.
    pub channels: Vec<Vec<f32>>,
}

impl Sound {
    /// Silence.
    pub fn silence(sample_rate: u32, channels: usize, length: usize) -> Result<Self, NodeFailure> {
        if length
            .checked_mul(channels)
            .is_none_or(|samples| samples > MAXIMUM_SAMPLES)
        {
            return Err(NodeFailure::raised(
                "RuntimeError",
                format!(
                    "a sound of {channels} x {length} samples is too long; this server holds at most {MAXIMUM_SAMPLES}"
                ),
            ));
        }
        Ok(Self {
            sample_rate,
            channels: vec![vec![0.0; length]; channels],
        })
    }

    /// Samples of one channel.
    pub fn length(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    /// Reads a FLAC or WAV file. The error is a sentence.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.starts_with(b"fLaC") {
            flac::read(bytes)
        } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE") {
            read_wav(bytes)
        } else {
            Err("this server reads FLAC and WAV".to_owned())
        }
    }
}

/// How a WAV file writes its samples.
#[derive(Clone, Copy, Debug)]
enum WavFormat {
    Integer { bytes: usize },
    Float,
}

/// RIFF/WAVE with integer or float samples.
fn read_wav(bytes: &[u8]) -> Result<Sound, String> {
    let broken = || "the WAV file is broken".to_owned();
    let mut rest = bytes.get(12..).ok_or_else(broken)?;
    let mut format = None;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, length @ ..] = *header;
        let length = u32::from_le_bytes(length) as usize;
        // Programs that stream leave the length of the data open; then it reaches to the end.
        let chunk = after.get(..length).unwrap_or(after);
        match &[a, b, c, d] {
            b"fmt " => format = Some(wav_format(chunk).ok_or_else(broken)?),
            b"data" => {
                let (format, channels, sample_rate) = format.ok_or_else(broken)?;
                return wav_samples(chunk, format, channels, sample_rate);
            }
            _ => {}
        }
        rest = after.get(length.next_multiple_of(2)..).unwrap_or_default();
    }
    Err(broken())
}

fn wav_format(chunk: &[u8]) -> Option<(WavFormat, usize, u32)> {
    let word = |at: usize| {
        let bytes = chunk.get(at..)?.first_chunk::<2>()?;
        Some(u16::from_le_bytes(*bytes))
    };
    // In the extensible form the kind stands at the beginning of a GUID.
    let kind = match word(0)? {
        0xfffe => word(24)?,
        kind => kind,
    };
    let channels = usize::from(word(2)?);
    let sample_rate = u32::from_le_bytes(*chunk.get(4..)?.first_chunk::<4>()?);
    let format = match (kind, word(14)?) {
        (1, bits @ (8 | 16 | 24 | 32)) => WavFormat::Integer {
            bytes: usize::from(bits / 8),
        },
        (3, 32) => WavFormat::Float,
        _ => return None,
    };
    let is_sensible = (1..=MAXIMUM_CHANNELS).contains(&channels)
        && (1..=MAXIMUM_SAMPLE_RATE).contains(&sample_rate);
    is_sensible.then_some((format, channels, sample_rate))
}

fn wav_samples(
    data: &[u8],
    format: WavFormat,
    channels: usize,
    sample_rate: u32,
) -> Result<Sound, String> {
    let (width, sample): (usize, fn(&[u8]) -> f32) = match format {
        WavFormat::Integer { bytes: 1 } => (1, |bytes| {
            bytes
                .first()
                .map_or(0.0, |byte| (f32::from(*byte) - 128.0) / 128.0)
        }),
        WavFormat::Integer { bytes } => (bytes, |bytes| {
            // As the upper bytes of 32 bits, so that the sign is where it belongs.
            let mut whole = [0; 4];
            for (target, byte) in whole.iter_mut().rev().zip(bytes.iter().rev()) {
                *target = *byte;
            }
            (f64::from(i32::from_le_bytes(whole)) / 2_147_483_648.0) as f32
        }),
        WavFormat::Float => (4, |bytes| {
            bytes
                .first_chunk::<4>()
                .map_or(0.0, |bytes| f32::from_le_bytes(*bytes))
        }),
    };
    if data.len() / width > MAXIMUM_SAMPLES {
        return Err(format!(
            "the sound is too long; this server holds at most {MAXIMUM_SAMPLES} samples"
        ));
    }
    let mut sound = Sound {
        sample_rate,
        channels: vec![Vec::with_capacity(data.len() / width / channels); channels],
    };
    for frame in data.chunks_exact(width * channels) {
        for (channel, bytes) in sound.channels.iter_mut().zip(frame.chunks_exact(width)) {
            channel.push(sample(bytes));
        }
    }
    Ok(sound)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn wav_files_of_the_usual_kinds_are_read() {
        let wav = |kind: u16, bits: u16, data: &[u8]| {
            let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
            bytes.extend(kind.to_le_bytes());
            bytes.extend(2_u16.to_le_bytes());
            bytes.extend(8000_u32.to_le_bytes());
            bytes.extend([0; 6]);
            bytes.extend(bits.to_le_bytes());
            bytes.extend(b"data");
            bytes.extend((data.len() as u32).to_le_bytes());
            bytes.extend(data);
            bytes
        };
        let half_and_minus_one = |bytes: &[u8]| {
            let sound = Sound::read(bytes).unwrap();
            assert_eq!(sound.sample_rate, 8000);
            assert_eq!(sound.channels, [[0.5], [-1.0]]);
        };
        half_and_minus_one(&wav(1, 8, &[192, 0]));
        half_and_minus_one(&wav(1, 16, &[0, 0x40, 0, 0x80]));
        half_and_minus_one(&wav(1, 24, &[0, 0, 0x40, 0, 0, 0x80]));
        half_and_minus_one(&wav(3, 32, &[0, 0, 0, 0x3f, 0, 0, 0x80, 0xbf]));
        let whole = wav(1, 16, &[0, 0x40, 0, 0x80]);
        for length in 0..whole.len() - 4 {
            Sound::read(&whole[..length]).unwrap_err();
        }
    }
}
