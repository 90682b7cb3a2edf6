//! Nodes around latents that need no model.

use std::{fs, sync::Arc};

use serde_json::json;

use super::save::{metadata_texts, saved_as};
use crate::builtin::{
    folders::Place,
    latent::LatentBatch,
    node::{Datum, NodeFailure, NodeOutput, NodeRun},
    spec::{InputKind, NodeClass},
};

/// Channels of the latents that `EmptyLatentImage` makes, those of Stable Diffusion 1 to XL.
const CHANNELS: usize = 4;
/// Pixels along one side of a latent's element.
const PIXELS_PER_ELEMENT: usize = 8;

pub fn classes() -> Vec<NodeClass> {
    let side =
        |what| json!({ "default": 512, "min": 16, "max": 16384, "step": 8, "tooltip": what });
    vec![
        NodeClass::v1("EmptyLatentImage", "Empty Latent Image", "latent", empty)
            .int("width", side("The width of the latent images in pixels."))
            .int("height", side("The height of the latent images in pixels."))
            .int(
                "batch_size",
                json!({ "default": 1, "min": 1, "max": 4096, "tooltip": "The number of latent images in the batch." }),
            )
            .output("LATENT")
            .outputs_described(&["The empty latent image batch."])
            .described("Create a new batch of empty latent images to be denoised via sampling."),
        NodeClass::v1("SaveLatent", "SaveLatent", "_for_testing", save)
            .typed("samples", "LATENT", json!(null))
            .text("filename_prefix", json!({ "default": "latents/ComfyUI" }))
            .with_metadata()
            .output_node(),
        NodeClass::v1("LoadLatent", "LoadLatent", "_for_testing", load)
            .files("latent", InputKind::InputLatents, json!(null))
            .output("LATENT"),
        NodeClass::v3(
            "LatentMultiply",
            "comfy_extras.nodes_latent",
            "latent/advanced",
            multiply,
        )
        .typed("samples", "LATENT", json!({}))
        .float(
            "multiplier",
            json!({ "default": 1.0, "min": -10.0, "max": 10.0, "step": 0.01 }),
        )
        .output("LATENT"),
    ]
}

fn latent(batch: LatentBatch) -> NodeOutput {
    NodeOutput::values([Datum::Latent(Arc::new(batch))])
}

fn empty(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    LatentBatch::zeros(&[
        run.size("batch_size")?,
        CHANNELS,
        run.size("height")? / PIXELS_PER_ELEMENT,
        run.size("width")? / PIXELS_PER_ELEMENT,
    ])
    .map(latent)
}

fn save(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let bytes = run.latent("samples")?.write(&metadata_texts(run));
    let prefix = run.text("filename_prefix")?;
    let entry = saved_as(run, Place::Output, &prefix, "latent", &bytes)?;
    Ok(NodeOutput::shown(json!({ "latents": [entry] })))
}

fn load(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let name = run.text("latent")?;
    let path =
        run.host.folders.annotated_file(&name).ok_or_else(|| {
            NodeFailure::raised("ValueError", format!("Invalid latent file: {name}"))
        })?;
    LatentBatch::read(&fs::read(path)?)
        .map(latent)
        .map_err(|text| NodeFailure::raised("SafetensorError", format!("{name}: {text}")))
}

fn multiply(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let factor = run.float("multiplier")? as f32;
    Ok(latent(run.latent("samples")?.multiplied(factor)))
}
