//! Nodes that change the values of pixels where they are.

use serde_json::json;

use crate::builtin::{
    node::{NodeFailure, NodeOutput, NodeRun},
    picture::ImageBatch,
    spec::NodeClass,
};

const POST_PROCESSING: &str = "comfy_extras.nodes_post_processing";

pub fn classes() -> Vec<NodeClass> {
    let radius = || json!({ "default": 1, "min": 1, "max": 31, "step": 1 });
    let sigma = |step: f64| json!({ "default": 1.0, "min": 0.1, "max": 10.0, "step": step });
    vec![
        NodeClass::v1("ImageInvert", "Invert Image", "image", invert)
            .image("image")
            .output("IMAGE"),
        NodeClass::v3("ImageBlur", POST_PROCESSING, "image/postprocessing", blur)
            .image("image")
            .int("blur_radius", radius())
            .float("sigma", sigma(0.1))
            .output("IMAGE"),
        NodeClass::v3(
            "ImageSharpen",
            POST_PROCESSING,
            "image/postprocessing",
            sharpen,
        )
        .image("image")
        .int("sharpen_radius", radius())
        .float("sigma", sigma(0.01))
        .float(
            "alpha",
            json!({ "default": 1.0, "min": 0.0, "max": 5.0, "step": 0.01 }),
        )
        .output("IMAGE"),
    ]
}

fn invert(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let mut image = ImageBatch::clone(&*run.image("image")?);
    for sample in &mut image.samples {
        *sample = 1.0 - *sample;
    }
    Ok(NodeOutput::image(image))
}

/// Weights of a Gaussian over -1…1, which is how ComfyUI measures its sigma, that sum to 1.
fn kernel(radius: usize, sigma: f64) -> Vec<f32> {
    let raw: Vec<f64> = (0..=2 * radius)
        .map(|index| {
            let x = index as f64 / radius as f64 - 1.0;
            (-(x * x) / (2.0 * sigma * sigma)).exp()
        })
        .collect();
    let total: f64 = raw.iter().sum();
    raw.iter().map(|weight| (weight / total) as f32).collect()
}

/// The index reflected into 0…`length`, the edge itself not repeated.
fn reflected(index: isize, length: usize) -> usize {
    let last = length as isize - 1;
    let index = index.abs();
    (if index > last {
        2 * last - index
    } else {
        index
    })
    .max(0) as usize
}

fn blurred(image: &ImageBatch, radius: usize, sigma: f64) -> Result<ImageBatch, NodeFailure> {
    if radius >= image.width || radius >= image.height {
        return Err(NodeFailure::raised(
            "RuntimeError",
            format!(
                "Padding size should be less than the corresponding input dimension, but got a radius of {radius} for a picture of {}x{} pixels",
                image.width, image.height
            ),
        ));
    }
    let weights = kernel(radius, sigma);
    let channels = image.channels;
    let line = image.width * channels;
    let reach = radius as isize;
    let columns: Vec<usize> = (-reach..image.width as isize + reach)
        .map(|column| reflected(column, image.width) * channels)
        .collect();
    let mut across = ImageBatch::filled(image.frames, image.height, image.width, channels, 0.0)?;
    for (target, row) in across
        .samples
        .chunks_exact_mut(line)
        .zip(image.samples.chunks_exact(line))
    {
        for (pixel, taps) in target
            .chunks_exact_mut(channels)
            .zip(columns.windows(weights.len()))
        {
            for (weight, start) in weights.iter().zip(taps) {
                let source = row.iter().skip(*start);
                for (sum, sample) in pixel.iter_mut().zip(source) {
                    *sum += weight * sample;
                }
            }
        }
    }
    let mut out = ImageBatch::filled(image.frames, image.height, image.width, channels, 0.0)?;
    for (index, target) in out.samples.chunks_exact_mut(line).enumerate() {
        let (frame, row) = (index / image.height, index % image.height);
        for (weight, offset) in weights.iter().zip(-reach..=reach) {
            let from = reflected(row as isize + offset, image.height);
            let start = (frame * image.height + from) * line;
            let source = across.samples.get(start..start + line).unwrap_or_default();
            for (sum, sample) in target.iter_mut().zip(source) {
                *sum += weight * sample;
            }
        }
    }
    Ok(out)
}

fn blur(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let radius = run.size("blur_radius")?.max(1);
    blurred(&image, radius, run.float("sigma")?).map(NodeOutput::image)
}

/// ComfyUI's kernel is a Gaussian times -10·alpha with a centre that makes the sum 1, which is the same as this.
fn sharpen(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let image = run.image("image")?;
    let radius = run.size("sharpen_radius")?.max(1);
    let strength = run.float("alpha")? as f32 * 10.0;
    let mut out = blurred(&image, radius, run.float("sigma")?)?;
    for (sample, original) in out.samples.iter_mut().zip(&image.samples) {
        *sample = (original + strength * (original - *sample)).clamp(0.0, 1.0);
    }
    Ok(NodeOutput::image(out))
}
