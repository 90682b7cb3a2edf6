//! PNG: `tEXt`, `zTXt` and `iTXt` chunks, the `comf` chunks of animated pictures, and EXIF.

use super::source::{Cursor, Source};
use super::{Fault, MAX_TEXT_BYTES, Texts, exif, text};
use flate2::read::ZlibDecoder;
use std::io::Read as _;

/// The first bytes of every PNG file.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    let mut at = SIGNATURE.len() as u64;
    while at < source.len() {
        source.next_part()?;
        let [l0, l1, l2, l3, name @ ..] = source.array::<8>(at)?;
        let length = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        match &name {
            b"tEXt" | b"comf" => {
                let content = source.bytes(at + 8, length)?;
                let mut rest = Cursor(&content);
                let keyword = text(rest.until_zero()?.to_vec());
                texts.push(&keyword, text(rest.0.to_vec()))?;
            }
            b"zTXt" => {
                let content = source.bytes(at + 8, length)?;
                let mut rest = Cursor(&content);
                let keyword = text(rest.until_zero()?.to_vec());
                // The one compression method there is.
                rest.u8()?;
                texts.push(&keyword, text(inflate(rest.0)?))?;
            }
            b"iTXt" => {
                let content = source.bytes(at + 8, length)?;
                let mut rest = Cursor(&content);
                let keyword = text(rest.until_zero()?.to_vec());
                let is_compressed = rest.u8()? != 0;
                rest.u8()?;
                // Language, and the keyword in it.
                rest.until_zero()?;
                rest.until_zero()?;
                let value = if is_compressed {
                    inflate(rest.0)?
                } else {
                    rest.0.to_vec()
                };
                texts.push(&keyword, text(value))?;
            }
            b"eXIf" => exif::read(&source.bytes(at + 8, length)?, texts)?,
            b"IEND" => return Ok(()),
            _ => {}
        }
        // Length, name, content, checksum.
        at += length + 12;
    }
    Err(Fault::damaged("its end is missing"))
}

/// Inflates a text within the limit.
fn inflate(deflated: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut inflated = Vec::new();
    ZlibDecoder::new(deflated)
        .take(MAX_TEXT_BYTES as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| Fault::damaged(format!("a compressed text: {error}")))?;
    if inflated.len() > MAX_TEXT_BYTES {
        return Err(Fault::TooLarge);
    }
    Ok(inflated)
}
