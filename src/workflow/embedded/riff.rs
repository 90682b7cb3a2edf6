//! WebP: the EXIF chunk of the RIFF container.

use super::source::Source;
use super::{Fault, Texts, exif};

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    // "RIFF", length, "WEBP".
    let mut at = 12;
    while at + 8 <= source.len() {
        source.next_part()?;
        let [n0, n1, n2, n3, length @ ..] = source.array::<8>(at)?;
        let length = u64::from(u32::from_le_bytes(length));
        if [n0, n1, n2, n3] == *b"EXIF" {
            exif::read(&source.bytes(at + 8, length)?, texts)?;
        }
        // Chunks begin at even places.
        at += 8 + length + (length & 1);
    }
    if at > source.len() + 1 {
        return Err(Fault::damaged("its last chunk is cut off"));
    }
    Ok(())
}
