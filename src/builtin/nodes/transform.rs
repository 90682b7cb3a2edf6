//! Nodes that change the size or the place of pixels.

use std::sync::Arc;

use serde_json::json;

use crate::builtin::{
    node::{Datum, NodeFailure, NodeOutput, NodeRun},
    picture::{ImageBatch, MaskBatch},
    resize::{Method, crop, crop_to_aspect, resize},
    spec::NodeClass,
};

const IMAGES: &str = "comfy_extras.nodes_images";
const POST_PROCESSING: &str = "comfy_extras.nodes_post_processing";

pub fn classes() -> Vec<NodeClass> {
    let size = |minimum: u32| json!({ "default": 512, "min": minimum, "max": 16384, "step": 1 });
    let place = || json!({ "default": 0, "min": 0, "max": 16384, "step": 1 });
    let margin = || json!({ "default": 0, "min": 0, "max": 16384, "step": 8 });
    let mut get_size = NodeClass::v3("GetImageSize", IMAGES, "image", image_size)
        .titled("Get Image Size")
        .described("Returns width and height of the image, and passes it through unchanged.")
        .image("image")
        .named_output("INT", "width")
        .named_output("INT", "height")
        .named_output("INT", "batch_size");
    get_size.hidden = vec![("unique_id", "UNIQUE_ID")];
    vec![
        NodeClass::v1("ImageScale", "Upscale Image", "image/upscaling", scale)
            .image("image")
            .choice("upscale_method", &Method::NAMES)
            .int("width", size(0))
            .int("height", size(0))
            .choice("crop", &["disabled", "center"])
            .output("IMAGE"),
        NodeClass::v1(
            "ImageScaleBy",
            "Upscale Image By",
            "image/upscaling",
            scale_by,
        )
        .image("image")
        .choice("upscale_method", &Method::NAMES)
        .float(
            "scale_by",
            json!({ "default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01 }),
        )
        .output("IMAGE"),
        NodeClass::v3(
            "ImageScaleToTotalPixels",
            POST_PROCESSING,
            "image/upscaling",
            scale_to_total_pixels,
        )
        .image("image")
        .choice("upscale_method", &Method::NAMES)
        .float(
            "megapixels",
            json!({ "default": 1.0, "min": 0.01, "max": 16.0, "step": 0.01 }),
        )
        .int(
            "resolution_steps",
            json!({ "default": 1, "min": 1, "max": 256 }),
        )
        .output("IMAGE"),
        NodeClass::v3("ImageCrop", IMAGES, "image/transform", crop_image)
            .titled("Image Crop")
            .image("image")
            .int("width", size(1))
            .int("height", size(1))
            .int("x", place())
            .int("y", place())
            .output("IMAGE"),
        NodeClass::v3("ImageFlip", IMAGES, "image/transform", flip)
            .image("image")
            .choice(
                "flip_method",
                &["x-axis: vertically", "y-axis: horizontally"],
            )
            .output("IMAGE"),
        NodeClass::v3("ImageRotate", IMAGES, "image/transform", rotate)
            .image("image")
            .choice(
                "rotation",
                &["none", "90 degrees", "180 degrees", "270 degrees"],
            )
            .output("IMAGE"),
        NodeClass::v1(
            "ImagePadForOutpaint",
            "Pad Image for Outpainting",
            "image",
            pad,
        )
        .image("image")
        .int("left", margin())
        .int("top", margin())
        .int("right", margin())
        .int("bottom", margin())
        .int(
            "feathering",
            json!({ "default": 40, "min": 0, "max": 16384, "step": 1 }),
        )
        .output("IMAGE")
        .output("MASK"),
        get_size,
    ]
}

fn scale(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let method = Method::parse(&run.text("upscale_method")?);
    let (mut width, mut height) = (run.size("width")?, run.size("height")?);
    if width == 0 && height == 0 {
        return Ok(NodeOutput::values([Datum::Image(image)]));
    }
    let matching = |other: usize, own: usize, given: usize| {
        let side = own as f64 * given as f64 / other as f64;
        side.round_ties_even().max(1.0) as usize
    };
    if width == 0 {
        width = matching(image.height, image.width, height);
    } else if height == 0 {
        height = matching(image.width, image.height, width);
    }
    let source = if run.text("crop")? == "center" {
        crop_to_aspect(&image, width, height)?
    } else {
        ImageBatch::clone(&image)
    };
    resize(&source, width, height, method).map(NodeOutput::image)
}

fn scale_by(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let factor = run.float("scale_by")?;
    let scaled = |side: usize| (side as f64 * factor).round_ties_even() as usize;
    let method = Method::parse(&run.text("upscale_method")?);
    resize(&image, scaled(image.width), scaled(image.height), method).map(NodeOutput::image)
}

fn scale_to_total_pixels(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let total = run.float("megapixels")? * 1024.0 * 1024.0;
    let step = run.size("resolution_steps")?.max(1) as f64;
    let factor = (total / (image.width as f64 * image.height as f64)).sqrt();
    let scaled = |side: usize| ((side as f64 * factor / step).round_ties_even() * step) as usize;
    let method = Method::parse(&run.text("upscale_method")?);
    resize(&image, scaled(image.width), scaled(image.height), method).map(NodeOutput::image)
}

fn crop_image(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let x = run.size("x")?.min(image.width - 1);
    let y = run.size("y")?.min(image.height - 1);
    crop(&image, x, y, run.size("width")?, run.size("height")?).map(NodeOutput::image)
}

/// A picture whose pixel at (row, column) comes from `from(row, column)` of the source.
fn rearranged(
    image: &ImageBatch,
    height: usize,
    width: usize,
    from: impl Fn(usize, usize) -> (usize, usize),
) -> Result<ImageBatch, NodeFailure> {
    let channels = image.channels;
    let mut out = ImageBatch::filled(image.frames, height, width, channels, 0.0)?;
    for (index, pixel) in out.samples.chunks_exact_mut(channels).enumerate() {
        let (frame, within) = (index / (height * width), index % (height * width));
        let (row, column) = from(within / width, within % width);
        let start = ((frame * image.height + row) * image.width + column) * channels;
        if let Some(source) = image.samples.get(start..start + channels) {
            pixel.copy_from_slice(source);
        }
    }
    Ok(out)
}

fn flip(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let (height, width) = (image.height, image.width);
    let upside_down = run.text("flip_method")?.starts_with('x');
    rearranged(&image, height, width, |row, column| {
        if upside_down {
            (height - 1 - row, column)
        } else {
            (row, width - 1 - column)
        }
    })
    .map(NodeOutput::image)
}

fn rotate(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let (height, width) = (image.height, image.width);
    let turned = match run.text("rotation")?.as_str() {
        "90 degrees" => rearranged(&image, width, height, |row, column| {
            (height - 1 - column, row)
        }),
        "180 degrees" => rearranged(&image, height, width, |row, column| {
            (height - 1 - row, width - 1 - column)
        }),
        "270 degrees" => rearranged(&image, width, height, |row, column| {
            (column, width - 1 - row)
        }),
        _ => return Ok(NodeOutput::values([Datum::Image(image)])),
    };
    turned.map(NodeOutput::image)
}

fn pad(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let (left, top) = (run.size("left")?, run.size("top")?);
    let (right, bottom) = (run.size("right")?, run.size("bottom")?);
    let feathering = run.size("feathering")?;
    let (height, width) = (image.height, image.width);
    let (padded_height, padded_width) = (height + top + bottom, width + left + right);
    let mut out = ImageBatch::filled(
        image.frames,
        padded_height,
        padded_width,
        image.channels,
        0.5,
    )?;
    let mut mask = MaskBatch::filled(1, padded_height, padded_width, 1.0)?;
    let line = padded_width * image.channels;
    for frame in 0..image.frames {
        let rows = image.frame(frame).chunks_exact(width * image.channels);
        let targets = out
            .samples
            .chunks_exact_mut(line)
            .skip(frame * padded_height + top);
        for (target, row) in targets.zip(rows) {
            if let Some(part) =
                target.get_mut(left * image.channels..(left + width) * image.channels)
            {
                part.copy_from_slice(row);
            }
        }
    }
    let feathered = feathering > 0 && feathering * 2 < height && feathering * 2 < width;
    for (row, target) in mask
        .samples
        .chunks_exact_mut(padded_width)
        .skip(top)
        .take(height)
        .enumerate()
    {
        for (column, sample) in target.iter_mut().skip(left).take(width).enumerate() {
            let edge = [
                (top, row),
                (bottom, height - row),
                (left, column),
                (right, width - column),
            ]
            .into_iter()
            .filter(|(margin, _)| *margin != 0)
            .map(|(_, distance)| distance)
            .min()
            .unwrap_or(usize::MAX);
            *sample = if feathered && edge < feathering {
                let share = (feathering - edge) as f32 / feathering as f32;
                share * share
            } else {
                0.0
            };
        }
    }
    Ok(NodeOutput::values([
        Datum::Image(Arc::new(out)),
        Datum::Mask(Arc::new(mask)),
    ]))
}

fn image_size(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let text = format!(
        "width: {}, height: {}\n batch size: {}",
        image.width, image.height, image.frames
    );
    run.text_progress(&text);
    Ok(NodeOutput::values(
        [image.width, image.height, image.frames].map(|number| Datum::Plain(json!(number))),
    ))
}
