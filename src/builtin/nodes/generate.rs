//! Nodes that make pictures and masks out of nothing.

use serde_json::json;

use crate::builtin::{
    node::{NodeFailure, NodeOutput, NodeRun},
    picture::{ImageBatch, MaskBatch},
    spec::NodeClass,
};

pub fn classes() -> Vec<NodeClass> {
    let side = || json!({ "default": 512, "min": 1, "max": 16384, "step": 1 });
    vec![
        NodeClass::v1("EmptyImage", "EmptyImage", "image", empty_image)
            .int("width", side())
            .int("height", side())
            .int("batch_size", json!({ "default": 1, "min": 1, "max": 4096 }))
            .int(
                "color",
                json!({ "default": 0, "min": 0, "max": 0xFF_FFFF, "step": 1, "display": "color" }),
            )
            .output("IMAGE"),
        NodeClass::v3("SolidMask", "comfy_extras.nodes_mask", "mask", solid_mask)
            .float(
                "value",
                json!({ "default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01 }),
            )
            .int("width", side())
            .int("height", side())
            .output("MASK"),
    ]
}

fn empty_image(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let color = run.int("color")?;
    let part = |shift: u32| ((color >> shift) & 0xFF) as f32 / 255.0;
    let pixel = [part(16), part(8), part(0)];
    let mut batch = ImageBatch::filled(
        run.size("batch_size")?,
        run.size("height")?,
        run.size("width")?,
        3,
        0.0,
    )?;
    for target in batch.samples.chunks_exact_mut(3) {
        target.copy_from_slice(&pixel);
    }
    Ok(NodeOutput::image(batch))
}

fn solid_mask(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let value = run.float("value")? as f32;
    MaskBatch::filled(1, run.size("height")?, run.size("width")?, value).map(NodeOutput::mask)
}
