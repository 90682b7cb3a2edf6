//! safetensors and `.latent`: `__metadata__` of the header.

use super::source::Source;
use super::{Fault, Texts, glb};
use serde_json::Value;

/// Whether the first bytes and the length are those of a safetensors file.
pub(super) fn fits(head: &[u8], len: u64) -> bool {
    head.first_chunk::<8>()
        .map(|length| u64::from_le_bytes(*length))
        .is_some_and(|length| length >= 2 && length <= len.saturating_sub(8))
}

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    let length = u64::from_le_bytes(source.array(0)?);
    let header = source.bytes(8, length)?;
    if let Some(Value::Object(metadata)) = glb::parse(&header)?
        .get_mut("__metadata__")
        .map(Value::take)
    {
        texts.members(metadata)?;
    }
    Ok(())
}
