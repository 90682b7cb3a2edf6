//! Nodes that read files of the input and output folders.

use std::{fs, sync::Arc};

use serde_json::json;

use super::files::{DecodedImage, decode_image};
use crate::builtin::{
    folders::Place,
    node::{Datum, NodeFailure, NodeOutput, NodeRun},
    picture::{ImageBatch, MaskBatch},
    spec::{InputKind, NodeClass},
};

/// The side of the empty mask that comes with a picture without alpha (ComfyUI's figure).
const EMPTY_MASK_SIDE: usize = 64;

pub fn classes() -> Vec<NodeClass> {
    let upload = || json!({ "image_upload": true });
    let mut from_output = NodeClass::v1(
        "LoadImageOutput",
        "Load Image (from Outputs)",
        "image",
        load_image,
    )
    .files(
        "image",
        InputKind::RemoteFiles,
        json!({
            "image_upload": true,
            "image_folder": "output",
            "remote": {
                "route": "/internal/files/output",
                "refresh_button": true,
                "control_after_refresh": "first",
            },
        }),
    )
    .output("IMAGE")
    .output("MASK")
    .described(
        "Load an image from the output folder. When the refresh button is clicked, the node will update the image list and automatically select the first image, allowing for easy iteration.",
    );
    from_output.experimental = true;
    vec![
        NodeClass::v1("LoadImage", "Load Image", "image", load_image)
            .files("image", InputKind::InputImages, upload())
            .output("IMAGE")
            .output("MASK"),
        NodeClass::v1("LoadImageMask", "Load Image (as Mask)", "mask", load_mask)
            .files("image", InputKind::InputFiles, upload())
            .choice("channel", &["alpha", "red", "green", "blue"])
            .output("MASK"),
        from_output,
    ]
}

fn read(run: &NodeRun<'_>) -> Result<DecodedImage, NodeFailure> {
    let name = run.text("image")?;
    let path =
        run.host.folders.annotated_file(&name).ok_or_else(|| {
            NodeFailure::raised("ValueError", format!("Invalid image file: {name}"))
        })?;
    // The path as the user would write it: where the data folder lies is nobody's business.
    decode_image(&fs::read(path)?, &format!("{}/{name}", Place::Input.word()))
}

fn load_image(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let picture = read(run)?;
    let (height, width) = (picture.height as usize, picture.width as usize);
    let image = ImageBatch {
        frames: 1,
        height,
        width,
        channels: 3,
        samples: picture.rgb().into_iter().map(sample).collect(),
    };
    let mask = if picture.has_alpha {
        MaskBatch {
            frames: 1,
            height,
            width,
            samples: channel(&picture, 3).map(|alpha| 1.0 - alpha).collect(),
        }
    } else {
        MaskBatch::filled(1, EMPTY_MASK_SIDE, EMPTY_MASK_SIDE, 0.0)?
    };
    Ok(NodeOutput::values([
        Datum::Image(Arc::new(image)),
        Datum::Mask(Arc::new(mask)),
    ]))
}

fn load_mask(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let picture = read(run)?;
    let samples = match run.text("channel")?.as_str() {
        "red" => channel(&picture, 0).collect(),
        "green" => channel(&picture, 1).collect(),
        "blue" => channel(&picture, 2).collect(),
        _ => channel(&picture, 3).map(|alpha| 1.0 - alpha).collect(),
    };
    Ok(NodeOutput::mask(MaskBatch {
        frames: 1,
        height: picture.height as usize,
        width: picture.width as usize,
        samples,
    }))
}

fn sample(byte: u8) -> f32 {
    f32::from(byte) / 255.0
}

fn channel(picture: &DecodedImage, index: usize) -> impl Iterator<Item = f32> + '_ {
    picture
        .rgba
        .iter()
        .skip(index)
        .step_by(4)
        .map(|byte| sample(*byte))
}
