//! MP3: `TXXX` and comment frames of an `ID3v2` tag.

use super::source::{Cursor, Source};
use super::{Fault, MAX_TEXTS, Texts, text};

/// Reads the tag at the beginning of the file and gives the place where it ends.
pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<u64, Fault> {
    let [_, _, _, version, _, flags, ..] = source.array::<10>(0)?;
    let end = end_of_tag(source)?;
    let mut tag = source.bytes(10, end.saturating_sub(10).min(source.len() - 10))?;
    if !matches!(version, 3 | 4) {
        // Version 2.2 has no frames for texts of one's own that anybody writes workflows into.
        return Ok(end);
    }
    let is_unsynchronised = flags & 0x80 != 0;
    if is_unsynchronised && version == 3 {
        tag = resynchronised(&tag);
    }
    let mut rest = Cursor(&tag);
    if flags & 0x40 != 0 {
        let size = rest.array::<4>()?;
        let length = if version == 4 {
            syncsafe(size).saturating_sub(4)
        } else {
            u32::from_be_bytes(size)
        };
        rest.take(length as usize)?;
    }
    for _ in 0..MAX_TEXTS {
        // Padding, or the end.
        if rest.0.len() < 10 || rest.0.first() == Some(&0) {
            break;
        }
        let name = rest.array::<4>()?;
        let size = rest.array::<4>()?;
        let [_, frame_flags] = rest.array::<2>()?;
        let length = if version == 4 {
            syncsafe(size)
        } else {
            u32::from_be_bytes(size)
        };
        let mut frame = rest.take(length as usize)?.to_vec();
        if version == 4 {
            if frame_flags & 0x0C != 0 {
                // Compressed or encrypted: nobody writes workflows so.
                continue;
            }
            if frame_flags & 0x01 != 0 {
                frame.drain(..frame.len().min(4));
            }
            if frame_flags & 0x02 != 0 || is_unsynchronised {
                frame = resynchronised(&frame);
            }
        } else if frame_flags & 0xC0 != 0 {
            continue;
        }
        let mut content = Cursor(&frame);
        match &name {
            b"TXXX" => {
                let encoding = content.u8()?;
                let (key, value) = split(encoding, content.0);
                texts.push(&decode(encoding, key), decode(encoding, value))?;
            }
            b"COMM" => {
                let encoding = content.u8()?;
                // Language.
                content.take(3)?;
                let (_, value) = split(encoding, content.0);
                texts.push("comment", decode(encoding, value))?;
            }
            _ => {}
        }
    }
    Ok(end)
}

/// The place where the tag at the beginning of a file ends.
pub(super) fn end_of_tag(source: &mut Source<'_>) -> Result<u64, Fault> {
    let [_, _, _, _, _, flags, size @ ..] = source.array::<10>(0)?;
    let footer = if flags & 0x10 != 0 { 10 } else { 0 };
    Ok(10 + u64::from(syncsafe(size)) + footer)
}

/// Four bytes of seven bits.
fn syncsafe(bytes: [u8; 4]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| (number << 7) | u32::from(byte & 0x7F))
}

/// Undoes the zero that is put behind every 0xFF.
fn resynchronised(bytes: &[u8]) -> Vec<u8> {
    let mut before = 0;
    bytes
        .iter()
        .copied()
        .filter(|byte| {
            let is_filler = before == 0xFF && *byte == 0;
            before = *byte;
            !is_filler
        })
        .collect()
}

/// A name that ends with zero, and what follows.
fn split(encoding: u8, bytes: &[u8]) -> (&[u8], &[u8]) {
    let wide = matches!(encoding, 1 | 2);
    let width = if wide { 2 } else { 1 };
    let end = bytes
        .chunks(width)
        .position(|unit| unit.iter().all(|byte| *byte == 0));
    match end {
        Some(end) => (
            bytes.get(..end * width).unwrap_or_default(),
            bytes.get((end + 1) * width..).unwrap_or_default(),
        ),
        None => (&[], bytes),
    }
}

fn decode(encoding: u8, bytes: &[u8]) -> String {
    let (bytes, big_endian) = match encoding {
        1 => match bytes.split_at_checked(2) {
            Some(([0xFE, 0xFF], rest)) => (rest, true),
            Some(([0xFF, 0xFE], rest)) => (rest, false),
            _ => (bytes, false),
        },
        2 => (bytes, true),
        _ => return text(bytes.to_vec()).trim_end_matches('\0').to_owned(),
    };
    let units = bytes.chunks_exact(2).map(|pair| match *pair {
        [a, b] if big_endian => u16::from_be_bytes([a, b]),
        [a, b] => u16::from_le_bytes([a, b]),
        _ => 0,
    });
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect::<String>()
        .trim_end_matches('\0')
        .to_owned()
}
