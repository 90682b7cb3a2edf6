//! GLB (binary glTF): `extras` of the JSON chunk.

use super::source::Source;
use super::{Fault, Texts};
use crate::workflow::read::{
    Excess, MAX_WORKFLOW_DEPTH, MAX_WORKFLOW_VALUES, excess, without_non_finite,
};
use serde_json::Value;

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    let [l0, l1, l2, l3, kind @ ..] = source.array::<8>(12)?;
    if kind != *b"JSON" {
        return Err(Fault::damaged("its first chunk is not JSON"));
    }
    let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    let json = source.bytes(20, length)?;
    let mut gltf = parse(&json)?;
    for place in ["/asset/extras", "/extras"] {
        if let Some(Value::Object(extras)) = gltf.pointer_mut(place).map(Value::take) {
            texts.members(extras)?;
        }
    }
    Ok(())
}

/// JSON within limits, with the bare NaN that Python writes.
pub(super) fn parse(json: &[u8]) -> Result<Value, Fault> {
    match excess(json, MAX_WORKFLOW_DEPTH, MAX_WORKFLOW_VALUES) {
        Some(Excess::Depth) => return Err(Fault::damaged("its JSON is nested too deep")),
        Some(Excess::Values) => return Err(Fault::damaged("its JSON has too many values")),
        None => {}
    }
    serde_json::from_slice(&without_non_finite(json))
        .map_err(|error| Fault::damaged(format!("its JSON: {error}")))
}
