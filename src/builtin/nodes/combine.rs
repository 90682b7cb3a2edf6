//! Nodes that put pictures together or take them apart.

use std::sync::Arc;

use serde_json::json;

use crate::builtin::{
    node::{Datum, NodeFailure, NodeOutput, NodeRun},
    picture::{ImageBatch, MaskBatch},
    resize::{Method, crop_to_aspect, resize},
    spec::NodeClass,
};

const IMAGES: &str = "comfy_extras.nodes_images";
const BLEND_MODES: [&str; 6] = [
    "normal",
    "multiply",
    "screen",
    "overlay",
    "soft_light",
    "difference",
];

pub fn classes() -> Vec<NodeClass> {
    let place = || json!({ "default": 0, "min": 0, "max": 16384, "step": 1 });
    let mut batch = NodeClass::v1("ImageBatch", "Batch Images", "image", batch)
        .image("image1")
        .image("image2")
        .output("IMAGE");
    batch.deprecated = true;
    vec![
        NodeClass::v3(
            "ImageBlend",
            "comfy_extras.nodes_post_processing",
            "image/postprocessing",
            blend,
        )
        .image("image1")
        .image("image2")
        .float(
            "blend_factor",
            json!({ "default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01 }),
        )
        .choice("blend_mode", &BLEND_MODES)
        .output("IMAGE"),
        batch,
        NodeClass::v3("RepeatImageBatch", IMAGES, "image/batch", repeat)
            .image("image")
            .int("amount", json!({ "default": 1, "min": 1, "max": 4096 }))
            .output("IMAGE"),
        NodeClass::v3("ImageFromBatch", IMAGES, "image/batch", from_batch)
            .image("image")
            .int(
                "batch_index",
                json!({ "default": 0, "min": 0, "max": 4095 }),
            )
            .int("length", json!({ "default": 1, "min": 1, "max": 4096 }))
            .output("IMAGE"),
        NodeClass::v3(
            "ImageCompositeMasked",
            "comfy_extras.nodes_mask",
            "image",
            composite,
        )
        .image("destination")
        .image("source")
        .int("x", place())
        .int("y", place())
        .boolean("resize_source", json!({ "default": false }))
        .mask("mask")
        .optional()
        .output("IMAGE"),
        NodeClass::v3(
            "JoinImageWithAlpha",
            "comfy_extras.nodes_compositing",
            "mask/compositing",
            join_alpha,
        )
        .titled("Join Image with Alpha")
        .image("image")
        .mask("alpha")
        .output("IMAGE"),
        NodeClass::v3(
            "SplitImageWithAlpha",
            "comfy_extras.nodes_compositing",
            "mask/compositing",
            split_alpha,
        )
        .titled("Split Image with Alpha")
        .image("image")
        .output("IMAGE")
        .output("MASK"),
    ]
}

fn blended(mode: &str, first: f32, second: f32) -> f32 {
    match mode {
        "multiply" => first * second,
        "screen" => 1.0 - (1.0 - first) * (1.0 - second),
        "overlay" if first <= 0.5 => 2.0 * first * second,
        "overlay" => 1.0 - 2.0 * (1.0 - first) * (1.0 - second),
        "soft_light" if second <= 0.5 => first - (1.0 - 2.0 * second) * first * (1.0 - first),
        "soft_light" => {
            let lifted = if first <= 0.25 {
                ((16.0 * first - 12.0) * first + 4.0) * first
            } else {
                first.sqrt()
            };
            first + (2.0 * second - 1.0) * (lifted - first)
        }
        "difference" => first - second,
        _ => second,
    }
}

/// Two batches of `first`'s size: `second` is scaled to cover it and cut, or repeated when it is one picture.
fn fitted(
    first: &ImageBatch,
    second: &ImageBatch,
    method: Method,
) -> Result<ImageBatch, NodeFailure> {
    if (second.width, second.height) == (first.width, first.height) {
        return Ok(second.clone());
    }
    let part = crop_to_aspect(second, first.width, first.height)?;
    resize(&part, first.width, first.height, method)
}

fn blend(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let first = run.image("image1")?;
    // Alpha is added to or taken from the second, to match the first.
    let second = run.image("image2")?.with_channels(first.channels);
    let second = fitted(&first, &second, Method::Bicubic)?;
    let frames = match (first.frames, second.frames) {
        (one, other) if one == other || other == 1 => one,
        (1, other) => other,
        (one, other) => {
            return Err(NodeFailure::raised(
                "RuntimeError",
                format!(
                    "The size of tensor a ({one}) must match the size of tensor b ({other}) at non-singleton dimension 0"
                ),
            ));
        }
    };
    let (mut out, second) = (first.repeated_to(frames)?, second.repeated_to(frames)?);
    let factor = run.float("blend_factor")? as f32;
    let mode = run.text("blend_mode")?;
    for (sample, other) in out.samples.iter_mut().zip(&second.samples) {
        let mixed = blended(&mode, *sample, *other);
        *sample = (*sample * (1.0 - factor) + mixed * factor).clamp(0.0, 1.0);
    }
    Ok(NodeOutput::image(out))
}

fn batch(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let (first, second) = (run.image("image1")?, run.image("image2")?);
    let channels = first.channels.max(second.channels);
    let first = first.with_channels(channels);
    let second = fitted(&first, &second.with_channels(channels), Method::Bilinear)?;
    let frames = first.frames + second.frames;
    // The size is checked by building the batch; then the pictures of both go into it.
    let mut out = ImageBatch::filled(frames, first.height, first.width, channels, 0.0)?;
    let samples = first.samples.iter().chain(&second.samples);
    for (target, sample) in out.samples.iter_mut().zip(samples) {
        *target = *sample;
    }
    Ok(NodeOutput::image(out))
}

fn repeat(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let frames = image.frames.saturating_mul(run.size("amount")?);
    image.repeated_to(frames).map(NodeOutput::image)
}

fn from_batch(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let first = run.size("batch_index")?.min(image.frames - 1);
    let count = run.size("length")?.clamp(1, image.frames - first);
    let samples = (first..first + count)
        .flat_map(|index| image.frame(index).iter().copied())
        .collect();
    Ok(NodeOutput::image(ImageBatch {
        frames: count,
        samples,
        ..*image
    }))
}

fn composite(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let (destination, source) = (run.image("destination")?, run.image("source")?);
    let source = source.with_channels(source.channels.min(destination.channels));
    let mut out = destination.with_channels(source.channels.max(destination.channels));
    let source = source.with_channels(out.channels);
    let source = if run.boolean("resize_source")? {
        resize(&source, out.width, out.height, Method::Bilinear)?
    } else {
        source
    };
    let source = source.repeated_to(out.frames)?;
    let mask = match run.optional_mask("mask")? {
        None => None,
        Some(mask) => {
            let mask = resize(
                &mask.as_images(),
                source.width,
                source.height,
                Method::Bilinear,
            )?;
            Some(mask.repeated_to(out.frames)?)
        }
    };
    let (x, y) = (run.size("x")?, run.size("y")?);
    let visible_width = source.width.min(out.width.saturating_sub(x));
    let visible_height = source.height.min(out.height.saturating_sub(y));
    let channels = out.channels;
    for frame in 0..out.frames {
        for row in 0..visible_height {
            for column in 0..visible_width {
                let from = (frame * source.height + row) * source.width + column;
                let to = (frame * out.height + y + row) * out.width + x + column;
                let share = mask
                    .as_ref()
                    .and_then(|mask| mask.samples.get(from).copied())
                    .unwrap_or(1.0);
                let pixel = source.samples.get(from * channels..(from + 1) * channels);
                let target = out.samples.get_mut(to * channels..(to + 1) * channels);
                if let (Some(pixel), Some(target)) = (pixel, target) {
                    for (under, over) in target.iter_mut().zip(pixel) {
                        *under = share * over + (1.0 - share) * *under;
                    }
                }
            }
        }
    }
    Ok(NodeOutput::image(out))
}

fn join_alpha(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let mask = run.mask("alpha")?;
    let frames = image.frames.min(mask.frames);
    let mask = resize(
        &mask.as_images(),
        image.width,
        image.height,
        Method::Bilinear,
    )?;
    let mut out = image.repeated_to(frames)?.with_channels(3).with_channels(4);
    for (pixel, selected) in out.samples.chunks_exact_mut(4).zip(&mask.samples) {
        if let Some(alpha) = pixel.last_mut() {
            *alpha = 1.0 - selected;
        }
    }
    Ok(NodeOutput::image(out))
}

fn split_alpha(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let samples = image
        .samples
        .chunks_exact(image.channels)
        .map(|pixel| 1.0 - pixel.get(3).copied().unwrap_or(1.0))
        .collect();
    let mask = MaskBatch {
        frames: image.frames,
        height: image.height,
        width: image.width,
        samples,
    };
    Ok(NodeOutput::values([
        Datum::Image(Arc::new(image.with_channels(3))),
        Datum::Mask(Arc::new(mask)),
    ]))
}
