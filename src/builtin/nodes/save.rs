//! Nodes that write pictures: with the prompt and the workflow in them, as ComfyUI writes them.

use serde_json::{Value, json};

use super::files::write_png_bytes;
use crate::builtin::{
    folders::{Place, SavePath},
    node::{NodeFailure, NodeOutput, NodeRun},
    picture::ImageBatch,
    python,
    spec::NodeClass,
};

/// ComfyUI's help text; previews have it too.
const DESCRIPTION: &str = "Saves the input images to your ComfyUI output directory.";

pub fn classes() -> Vec<NodeClass> {
    vec![
        NodeClass::v1("SaveImage", "Save Image", "image", save_image)
            .typed("images", "IMAGE", json!({ "tooltip": "The images to save." }))
            .text("filename_prefix", json!({
                "default": "ComfyUI",
                "tooltip": "The prefix for the file to save. This may include formatting information such as %date:yyyy-MM-dd% or %Empty Latent Image.width% to include values from nodes.",
            }))
            .with_metadata()
            .output_node()
            .described(DESCRIPTION),
        NodeClass::v1("PreviewImage", "Preview Image", "image", preview_image)
            .image("images")
            .with_metadata()
            .output_node()
            .described(DESCRIPTION),
        NodeClass::v3("MaskPreview", "comfy_extras.nodes_mask", "mask", preview_mask)
            .titled("Preview Mask")
            .mask("mask")
            .with_metadata()
            .output_node()
            .described(DESCRIPTION),
    ]
}

/// The text chunks of a saved picture: the prompt, and what came as `extra_pnginfo`.
pub fn metadata_texts(run: &NodeRun<'_>) -> Vec<(String, String)> {
    let prompt = Value::Object(run.queued.prompt.clone());
    let mut texts = vec![("prompt".to_owned(), python::json_dumps(&prompt))];
    let extra = run.queued.extra_data.get("extra_pnginfo");
    for (keyword, value) in extra.and_then(Value::as_object).into_iter().flatten() {
        // A PNG keyword has 1 to 79 Latin-1 characters.
        let fits = (1..80).contains(&keyword.chars().count())
            && keyword.chars().all(|character| u32::from(character) < 256);
        if fits {
            texts.push((keyword.clone(), python::json_dumps(value)));
        }
    }
    texts
}

/// Where the files of a save node go.
pub fn save_path(
    run: &NodeRun<'_>,
    place: Place,
    prefix: &str,
    batch: &ImageBatch,
) -> Result<SavePath, NodeFailure> {
    run.host
        .folders
        .save_path(place, prefix, batch.width, batch.height)
        .map_err(|text| NodeFailure::raised("Exception", text))
}

/// Writes a file that is no picture, and gives what the protocol says of it.
pub fn saved_as(
    run: &NodeRun<'_>,
    place: Place,
    prefix: &str,
    extension: &str,
    bytes: &[u8],
) -> Result<Value, NodeFailure> {
    let path = run
        .host
        .folders
        .save_path(place, prefix, 0, 0)
        .map_err(|text| NodeFailure::raised("Exception", text))?;
    let name = path.file_name(0, extension);
    std::fs::write(path.folder.join(&name), bytes)?;
    Ok(file_entry(&name, &path, place))
}

/// What the protocol says of a written file.
pub fn file_entry(name: &str, path: &SavePath, place: Place) -> Value {
    json!({ "filename": name, "subfolder": path.subfolder, "type": place.word() })
}

fn write_batch(
    run: &NodeRun<'_>,
    batch: &ImageBatch,
    place: Place,
    prefix: &str,
) -> Result<Vec<Value>, NodeFailure> {
    let path = save_path(run, place, prefix, batch)?;
    let texts = metadata_texts(run);
    let color = match batch.channels {
        4 => png::ColorType::Rgba,
        _ => png::ColorType::Rgb,
    };
    (0..batch.frames)
        .map(|index| {
            let name = path.file_name(index, "png");
            write_png_bytes(
                &path.folder.join(&name),
                (batch.width as u32, batch.height as u32),
                color,
                &batch.frame_bytes(index),
                &texts,
            )?;
            Ok(file_entry(&name, &path, place))
        })
        .collect()
}

fn temp_prefix(run: &NodeRun<'_>) -> String {
    format!("ComfyUI_temp_{}", run.host.preview_letters)
}

fn save_image(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let prefix = run.text("filename_prefix")?;
    let files = write_batch(run, &*run.image("images")?, Place::Output, &prefix)?;
    Ok(NodeOutput::shown(json!({ "images": files })))
}

fn preview_image(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let files = write_batch(run, &*run.image("images")?, Place::Temp, &temp_prefix(run))?;
    Ok(NodeOutput::shown(json!({ "images": files })))
}

fn preview_mask(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let pictures = run.mask("mask")?.as_images();
    let files = write_batch(run, &pictures, Place::Temp, &temp_prefix(run))?;
    Ok(NodeOutput::shown(
        json!({ "images": files, "animated": [false] }),
    ))
}
