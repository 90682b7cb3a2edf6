//! JPEG: EXIF in application segments, and comments.

use super::source::Source;
use super::{Fault, Texts, exif, text};

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    let mut at = 2;
    loop {
        source.next_part()?;
        let [mark, kind] = source.array::<2>(at)?;
        if mark != 0xFF {
            return Err(Fault::damaged("a segment is not where it should be"));
        }
        match kind {
            // Padding.
            0xFF => {
                at += 1;
                continue;
            }
            // Pixels, or the end: nothing follows that is of interest.
            0xDA | 0xD9 => return Ok(()),
            // Without a length.
            0x01 | 0xD0..=0xD8 => {
                at += 2;
                continue;
            }
            _ => {}
        }
        let length = u64::from(u16::from_be_bytes(source.array(at + 2)?));
        let content = length
            .checked_sub(2)
            .ok_or_else(|| Fault::damaged("a segment has no length"))?;
        match kind {
            0xE1 => {
                let content = source.bytes(at + 4, content)?;
                if content.starts_with(b"Exif\0\0") {
                    exif::read(&content, texts)?;
                }
            }
            0xFE => {
                let content = source.bytes(at + 4, content)?;
                texts.push("comment", text(content))?;
            }
            _ => {}
        }
        at += 2 + length;
    }
}
