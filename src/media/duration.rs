//! How long a video or a sound is, out of its header. Read with limits; what is not understood has no length.

use super::kind::MediaKind;
use std::io::{Read, Seek, SeekFrom};

/// Boxes or chunks to look at before giving up.
const MAX_PARTS: u32 = 4096;

/// Bytes of a WebM file in which its length must be found.
const WEBM_HEAD_BYTES: u64 = 1024 * 1024;

/// Length in seconds, when the header tells.
pub(super) fn duration_s(reader: &mut (impl Read + Seek), kind: MediaKind) -> Option<f64> {
    let seconds = match kind {
        MediaKind::Wav => wav(reader),
        MediaKind::Flac => flac(reader),
        MediaKind::Mp4 => mp4(reader),
        MediaKind::WebM => webm(reader),
        _ => None,
    }?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

fn bytes<const N: usize>(reader: &mut impl Read) -> Option<[u8; N]> {
    let mut buffer = [0; N];
    reader.read_exact(&mut buffer).ok().map(|()| buffer)
}

/// RIFF chunks: `fmt ` tells the bytes per second, `data` how many bytes there are.
fn wav(reader: &mut (impl Read + Seek)) -> Option<f64> {
    reader.seek(SeekFrom::Start(12)).ok()?;
    let mut bytes_per_second = None;
    for _ in 0..MAX_PARTS {
        let name: [u8; 4] = bytes(reader)?;
        let length = u32::from_le_bytes(bytes(reader)?);
        match &name {
            b"fmt " if length >= 16 => {
                skip(reader, 8)?;
                bytes_per_second = Some(u32::from_le_bytes(bytes(reader)?));
                skip(reader, u64::from(length) - 12)?;
            }
            b"data" => {
                let rate = bytes_per_second.filter(|&rate| rate > 0)?;
                return Some(f64::from(length) / f64::from(rate));
            }
            _ => skip(reader, u64::from(length) + u64::from(length % 2))?,
        }
    }
    None
}

/// The STREAMINFO block (RFC 9639 §8.2): 20 bits of sample rate and 36 bits of sample count after ten bytes.
fn flac(reader: &mut (impl Read + Seek)) -> Option<f64> {
    reader.seek(SeekFrom::Start(8 + 10)).ok()?;
    let packed = u64::from_be_bytes(bytes(reader)?);
    let rate = packed >> 44;
    let samples = packed & 0xF_FFFF_FFFF;
    (rate > 0).then(|| samples as f64 / rate as f64)
}

/// The `mvhd` box inside `moov` (ISO/IEC 14496-12 §8.2.2).
fn mp4(reader: &mut (impl Read + Seek)) -> Option<f64> {
    reader.seek(SeekFrom::Start(0)).ok()?;
    for _ in 0..MAX_PARTS {
        let short = u64::from(u32::from_be_bytes(bytes(reader)?));
        let name: [u8; 4] = bytes(reader)?;
        let content = if short == 1 {
            u64::from_be_bytes(bytes(reader)?).checked_sub(16)?
        } else {
            short.checked_sub(8)?
        };
        match &name {
            // Its boxes follow; going on reads them.
            b"moov" => {}
            b"mvhd" => {
                let [version, ..] = bytes::<4>(reader)?;
                let (timescale, duration) = if version == 1 {
                    skip(reader, 16)?;
                    (
                        u32::from_be_bytes(bytes(reader)?),
                        u64::from_be_bytes(bytes(reader)?),
                    )
                } else {
                    skip(reader, 8)?;
                    (
                        u32::from_be_bytes(bytes(reader)?),
                        u64::from(u32::from_be_bytes(bytes(reader)?)),
                    )
                };
                return (timescale > 0).then(|| duration as f64 / f64::from(timescale));
            }
            _ => skip(reader, content)?,
        }
    }
    None
}

/// The Duration element (id 44 89) of the segment's Info, in units of `TimestampScale` (id 2A D7 B1, nanoseconds, default
/// one million); RFC 9559 §5.1.2. Both lie near the beginning, so they are looked for there by their ids.
fn webm(reader: &mut (impl Read + Seek)) -> Option<f64> {
    reader.seek(SeekFrom::Start(0)).ok()?;
    let mut head = Vec::new();
    Read::take(reader, WEBM_HEAD_BYTES)
        .read_to_end(&mut head)
        .ok()?;
    let info = head.get(find(&head, b"\x15\x49\xa9\x66")?..)?;
    let scale_ns = find(info, b"\x2a\xd7\xb1")
        .and_then(|at| {
            let (&size, rest) = info.get(at..)?.split_first()?;
            let length = usize::from(size.checked_sub(0x80)?);
            let digits = rest.get(..length).filter(|digits| digits.len() <= 8)?;
            Some(
                digits
                    .iter()
                    .fold(0_u64, |value, &byte| (value << 8) | u64::from(byte)),
            )
        })
        .unwrap_or(1_000_000);
    let at = find(info, b"\x44\x89")?;
    let (&size, rest) = info.get(at..)?.split_first()?;
    let duration = match size {
        0x84 => f64::from(f32::from_be_bytes(rest.first_chunk().copied()?)),
        0x88 => f64::from_be_bytes(rest.first_chunk().copied()?),
        _ => return None,
    };
    Some(duration * scale_ns as f64 / 1e9)
}

/// Where the bytes after `needle` begin.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
        .map(|position| position + needle.len())
}

fn skip(reader: &mut impl Seek, count: u64) -> Option<()> {
    reader
        .seek(SeekFrom::Current(i64::try_from(count).ok()?))
        .ok()
        .map(|_position| ())
}
