//! EXIF: the texts of a TIFF directory. `ComfyUI` writes `workflow:{…}` and `prompt:{…}` into the camera's make and model.

use super::{Fault, Texts, text};

/// Most entries of one directory.
const MAX_ENTRIES: usize = 1000;
/// Most directories of a file that are followed.
const MAX_DIRECTORIES: usize = 8;

const IMAGE_DESCRIPTION: u16 = 0x010E;
const MAKE: u16 = 0x010F;
const MODEL: u16 = 0x0110;
const EXIF_DIRECTORY: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;
const XP_COMMENT: u16 = 0x9C9C;

struct Tiff<'a> {
    bytes: &'a [u8],
    little_endian: bool,
}

impl Tiff<'_> {
    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..)?.first_chunk::<2>()?;
        Some(if self.little_endian {
            u16::from_le_bytes(*bytes)
        } else {
            u16::from_be_bytes(*bytes)
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..)?.first_chunk::<4>()?;
        Some(if self.little_endian {
            u32::from_le_bytes(*bytes)
        } else {
            u32::from_be_bytes(*bytes)
        })
    }
}

/// Reads the texts of an EXIF block, with or without its `Exif` mark.
pub(super) fn read(bytes: &[u8], texts: &mut Texts) -> Result<(), Fault> {
    let bytes = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
    let little_endian = match bytes.first_chunk::<4>() {
        Some(b"II*\0") => true,
        Some(b"MM\0*") => false,
        _ => return Err(Fault::damaged("its EXIF block has no TIFF header")),
    };
    let tiff = Tiff {
        bytes,
        little_endian,
    };
    // Texts do not overlap, so that together they are no longer than the block.
    let mut left = bytes.len();
    let mut open: Vec<usize> = tiff.u32(4).map(|at| at as usize).into_iter().collect();
    for _ in 0..MAX_DIRECTORIES {
        let Some(directory) = open.pop() else { break };
        let Some(count) = tiff.u16(directory) else {
            return Err(Fault::damaged("its EXIF directory is cut off"));
        };
        for number in 0..usize::from(count).min(MAX_ENTRIES) {
            let entry = directory + 2 + number * 12;
            let Some((tag, of_type, length, value)) = entry_at(&tiff, entry) else {
                break;
            };
            if tag == EXIF_DIRECTORY {
                open.extend(tiff.u32(entry + 8).map(|at| at as usize));
                continue;
            }
            let key = match tag {
                IMAGE_DESCRIPTION => "imagedescription",
                MAKE => "make",
                MODEL => "model",
                USER_COMMENT => "usercomment",
                XP_COMMENT => "comment",
                // ComfyUI counts down from the make for every further text.
                _ if of_type == 2 => "exif",
                _ => continue,
            };
            let Some(value) = bytes.get(value..).and_then(|from| from.get(..length)) else {
                return Err(Fault::damaged("an EXIF text is cut off"));
            };
            left = left
                .checked_sub(length)
                .ok_or_else(|| Fault::damaged("its EXIF texts overlap"))?;
            let value = match tag {
                USER_COMMENT => comment(value, little_endian),
                XP_COMMENT => utf16(value, true),
                _ => text(value.to_vec()),
            };
            let value = value.trim_end_matches('\0');
            if !value.is_empty() {
                texts.push(key, value.to_owned())?;
            }
        }
    }
    Ok(())
}

/// Tag, type, length in bytes and place of an entry's value.
fn entry_at(tiff: &Tiff<'_>, entry: usize) -> Option<(u16, u16, usize, usize)> {
    let tag = tiff.u16(entry)?;
    let of_type = tiff.u16(entry + 2)?;
    let count = tiff.u32(entry + 4)? as usize;
    // Bytes per value of BYTE, ASCII and UNDEFINED; other types hold no text.
    let length = match of_type {
        1 | 2 | 7 => count,
        _ => count.saturating_mul(4),
    };
    let value = if length <= 4 {
        entry + 8
    } else {
        tiff.u32(entry + 8)? as usize
    };
    Some((tag, of_type, length, value))
}

/// A user comment: eight bytes that say how it is written, then the text.
fn comment(value: &[u8], little_endian: bool) -> String {
    match value.split_at_checked(8) {
        Some((b"UNICODE\0", rest)) => {
            // Writers differ in the order of bytes; JSON and English begin with an ASCII character.
            let big_endian =
                rest.first() == Some(&0) || (!little_endian && rest.get(1) != Some(&0));
            utf16(rest, !big_endian)
        }
        Some((b"ASCII\0\0\0" | b"JIS\0\0\0\0\0" | b"\0\0\0\0\0\0\0\0", rest)) => {
            text(rest.to_vec())
        }
        _ => text(value.to_vec()),
    }
}

fn utf16(value: &[u8], little_endian: bool) -> String {
    let units = value.chunks_exact(2).map(|pair| match *pair {
        [a, b] if little_endian => u16::from_le_bytes([a, b]),
        [a, b] => u16::from_be_bytes([a, b]),
        _ => 0,
    });
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
