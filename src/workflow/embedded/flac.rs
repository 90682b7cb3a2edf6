//! FLAC: Vorbis comments in a metadata block.

use super::source::{Cursor, Source};
use super::{Fault, MAX_TEXTS, Texts, id3, text};

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    let mut at = match source.array::<4>(0)? {
        [b'I', b'D', b'3', _] => id3::end_of_tag(source)?,
        _ => 0,
    } + 4;
    loop {
        source.next_part()?;
        let [kind, l0, l1, l2] = source.array::<4>(at)?;
        let length = u64::from(u32::from_be_bytes([0, l0, l1, l2]));
        if kind & 0x7F == 4 {
            comments(&source.bytes(at + 4, length)?, texts)?;
        }
        if kind & 0x80 != 0 {
            return Ok(());
        }
        at += 4 + length;
    }
}

/// Whether a FLAC stream follows the ID3 tag at the beginning of a file.
pub(super) fn follows_id3(source: &mut Source<'_>) -> std::io::Result<bool> {
    let magic = id3::end_of_tag(source).and_then(|at| source.array::<4>(at));
    match magic {
        Ok(magic) => Ok(magic == *b"fLaC"),
        Err(Fault::Io(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// A Vorbis comment block: the writer's name, then `KEY=value` texts.
pub(super) fn comments(block: &[u8], texts: &mut Texts) -> Result<(), Fault> {
    let mut rest = Cursor(block);
    let vendor = rest.u32_le()? as usize;
    rest.take(vendor)?;
    let count = rest.u32_le()? as usize;
    for _ in 0..count.min(MAX_TEXTS) {
        let length = rest.u32_le()? as usize;
        let comment = text(rest.take(length)?.to_vec());
        if let Some((key, value)) = comment.split_once('=') {
            texts.push(key, value.to_owned())?;
        }
    }
    Ok(())
}
