//! Nodes that work on masks.

use serde_json::json;

use crate::builtin::{
    node::{NodeFailure, NodeOutput, NodeRun},
    picture::{ImageBatch, MaskBatch, to_byte},
    resize::crop,
    spec::NodeClass,
};

const MASKS: &str = "comfy_extras.nodes_mask";
const OPERATIONS: [&str; 6] = ["multiply", "add", "subtract", "and", "or", "xor"];

pub fn classes() -> Vec<NodeClass> {
    let place = || json!({ "default": 0, "min": 0, "max": 16384, "step": 1 });
    let size = || json!({ "default": 512, "min": 1, "max": 16384, "step": 1 });
    vec![
        NodeClass::v3("ImageToMask", MASKS, "mask", image_to_mask)
            .titled("Convert Image to Mask")
            .image("image")
            .choice("channel", &["red", "green", "blue", "alpha"])
            .output("MASK"),
        NodeClass::v3("MaskToImage", MASKS, "mask", mask_to_image)
            .titled("Convert Mask to Image")
            .mask("mask")
            .output("IMAGE"),
        NodeClass::v3("ImageColorToMask", MASKS, "mask", color_to_mask)
            .image("image")
            .int(
                "color",
                json!({ "default": 0, "min": 0, "max": 0xFF_FFFF, "step": 1, "display": "number" }),
            )
            .output("MASK"),
        NodeClass::v3("InvertMask", MASKS, "mask", invert)
            .mask("mask")
            .output("MASK"),
        NodeClass::v3("GrowMask", MASKS, "mask", grow)
            .titled("Grow Mask")
            .mask("mask")
            .int(
                "expand",
                json!({ "default": 0, "min": -16384, "max": 16384, "step": 1 }),
            )
            .boolean("tapered_corners", json!({ "default": true }))
            .output("MASK"),
        NodeClass::v3("FeatherMask", MASKS, "mask", feather)
            .mask("mask")
            .int("left", place())
            .int("top", place())
            .int("right", place())
            .int("bottom", place())
            .output("MASK"),
        NodeClass::v3("MaskComposite", MASKS, "mask", composite)
            .mask("destination")
            .mask("source")
            .int("x", place())
            .int("y", place())
            .choice("operation", &OPERATIONS)
            .output("MASK"),
        NodeClass::v3("CropMask", MASKS, "mask", crop_mask)
            .mask("mask")
            .int("x", place())
            .int("y", place())
            .int("width", size())
            .int("height", size())
            .output("MASK"),
        NodeClass::v3("ThresholdMask", MASKS, "mask", threshold)
            .mask("mask")
            .float(
                "value",
                json!({ "default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01 }),
            )
            .output("MASK"),
    ]
}

/// A mask made of each pixel of a picture.
fn from_pixels(image: &ImageBatch, sample: impl Fn(&[f32]) -> f32) -> MaskBatch {
    MaskBatch {
        frames: image.frames,
        height: image.height,
        width: image.width,
        samples: image
            .samples
            .chunks_exact(image.channels)
            .map(sample)
            .collect(),
    }
}

/// A mask with each sample changed.
fn mapped(run: &NodeRun<'_>, change: impl Fn(f32) -> f32) -> Result<NodeOutput, NodeFailure> {
    let mut mask = MaskBatch::clone(&*run.mask("mask")?);
    for sample in &mut mask.samples {
        *sample = change(*sample);
    }
    Ok(NodeOutput::mask(mask))
}

fn image_to_mask(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let channel = match run.text("channel")?.as_str() {
        "green" => 1,
        "blue" => 2,
        "alpha" => 3,
        _ => 0,
    };
    if channel >= image.channels {
        return Err(NodeFailure::raised(
            "IndexError",
            format!(
                "index {channel} is out of bounds for dimension 3 with size {}",
                image.channels
            ),
        ));
    }
    Ok(NodeOutput::mask(from_pixels(&image, |pixel| {
        pixel.get(channel).copied().unwrap_or(0.0)
    })))
}

fn mask_to_image(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let mask = run.mask("mask")?;
    let mut image = ImageBatch::filled(mask.frames, mask.height, mask.width, 3, 0.0)?;
    for (pixel, sample) in image.samples.chunks_exact_mut(3).zip(&mask.samples) {
        pixel.fill(*sample);
    }
    Ok(NodeOutput::image(image))
}

fn color_to_mask(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let wanted = run.int("color")?;
    Ok(NodeOutput::mask(from_pixels(&image, |pixel| {
        let color = pixel.iter().take(3).fold(0_i128, |sum, sample| {
            // Rounded here, not truncated as when saving.
            sum << 8 | i128::from(to_byte((sample * 255.0).round() / 255.0 + 1e-6))
        });
        f32::from(u8::from(color == wanted))
    })))
}

fn invert(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    mapped(run, |sample| 1.0 - sample)
}

fn threshold(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let value = run.float("value")? as f32;
    mapped(run, |sample| f32::from(u8::from(sample > value)))
}

fn grow(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let mut mask = MaskBatch::clone(&*run.mask("mask")?);
    let expand = run.int("expand")?;
    let tapered = run.boolean("tapered_corners")?;
    // After as many steps as the longer side nothing changes any more.
    let steps = expand
        .unsigned_abs()
        .min(mask.width.max(mask.height) as u128) as usize;
    let choose = if expand < 0 { f32::min } else { f32::max };
    let (height, width) = (mask.height, mask.width);
    let mut before = mask.samples.clone();
    for _ in 0..steps {
        run.host.check_interrupt()?;
        std::mem::swap(&mut before, &mut mask.samples);
        for (index, sample) in mask.samples.iter_mut().enumerate() {
            let within = index % (height * width);
            let (row, column) = (within / width, within % width);
            let first = index - within;
            let mut best = before.get(index).copied().unwrap_or(0.0);
            for near_row in row.saturating_sub(1)..(row + 2).min(height) {
                for near_column in column.saturating_sub(1)..(column + 2).min(width) {
                    let diagonal = near_row != row && near_column != column;
                    if !(tapered && diagonal)
                        && let Some(near) = before.get(first + near_row * width + near_column)
                    {
                        best = choose(best, *near);
                    }
                }
            }
            *sample = best;
        }
    }
    Ok(NodeOutput::mask(mask))
}

fn feather(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let mut mask = MaskBatch::clone(&*run.mask("mask")?);
    let (height, width) = (mask.height, mask.width);
    let (left, right) = (run.size("left")?.min(width), run.size("right")?.min(width));
    let (top, bottom) = (
        run.size("top")?.min(height),
        run.size("bottom")?.min(height),
    );
    // ComfyUI counts from the far edge with a negative index, whose first value, -0, is the near edge.
    let from_far = |index: usize, length: usize| if index == 0 { 0 } else { length - index };
    let mut factor_x = vec![1.0_f32; width];
    let mut factor_y = vec![1.0_f32; height];
    let soften = |factors: &mut Vec<f32>, at: usize, index: usize, count: usize| {
        if let Some(factor) = factors.get_mut(at) {
            *factor *= (index + 1) as f32 / count as f32;
        }
    };
    for index in 0..left {
        soften(&mut factor_x, index, index, left);
    }
    for index in 0..right {
        soften(&mut factor_x, from_far(index, width), index, right);
    }
    for index in 0..top {
        soften(&mut factor_y, index, index, top);
    }
    for index in 0..bottom {
        soften(&mut factor_y, from_far(index, height), index, bottom);
    }
    for (row, line) in mask.samples.chunks_exact_mut(width).enumerate() {
        let down = factor_y.get(row % height).copied().unwrap_or(1.0);
        for (sample, across) in line.iter_mut().zip(&factor_x) {
            *sample *= across * down;
        }
    }
    Ok(NodeOutput::mask(mask))
}

fn composite(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let mut out = MaskBatch::clone(&*run.mask("destination")?);
    let source = run.mask("source")?;
    let (x, y) = (run.size("x")?, run.size("y")?);
    let operation = run.text("operation")?;
    let set = |sample: f32| sample.round_ties_even() != 0.0;
    let as_sample = |flag: bool| f32::from(u8::from(flag));
    for (index, line) in out.samples.chunks_exact_mut(out.width).enumerate() {
        let (frame, row) = (index / out.height, index % out.height);
        let Some(source_row) = row.checked_sub(y).filter(|row| *row < source.height) else {
            continue;
        };
        let from = source
            .frame(frame % source.frames)
            .chunks_exact(source.width)
            .nth(source_row)
            .unwrap_or_default();
        for (under, over) in line.iter_mut().skip(x).zip(from) {
            *under = match operation.as_str() {
                "add" => *under + over,
                "subtract" => *under - over,
                "and" => as_sample(set(*under) & set(*over)),
                "or" => as_sample(set(*under) | set(*over)),
                "xor" => as_sample(set(*under) ^ set(*over)),
                _ => *under * over,
            };
        }
    }
    for sample in &mut out.samples {
        *sample = sample.clamp(0.0, 1.0);
    }
    Ok(NodeOutput::mask(out))
}

fn crop_mask(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let mask = run.mask("mask")?.as_images();
    let (width, height) = (run.size("width")?, run.size("height")?);
    crop(&mask, run.size("x")?, run.size("y")?, width, height)
        .map(|part| NodeOutput::mask(MaskBatch::from_images(part)))
}
