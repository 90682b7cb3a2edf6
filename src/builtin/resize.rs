//! Resizing by the methods that ComfyUI offers, with PyTorch's and Pillow's geometry.

use super::{
    node::NodeFailure,
    picture::{ImageBatch, to_byte},
};

/// A resizing method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    NearestExact,
    Bilinear,
    Area,
    Bicubic,
    Lanczos,
}

impl Method {
    /// The choices of the nodes' `upscale_method` inputs.
    pub const NAMES: [&'static str; 5] =
        ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"];

    /// From a choice; anything unknown is bilinear.
    pub fn parse(name: &str) -> Self {
        match name {
            "nearest-exact" => Self::NearestExact,
            "area" => Self::Area,
            "bicubic" => Self::Bicubic,
            "lanczos" => Self::Lanczos,
            _ => Self::Bilinear,
        }
    }
}

/// The samples that make one sample of the result, and how much each counts.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// PyTorch's cubic kernel with a = -0.75.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let x = distance.abs();
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}

/// Lanczos with three lobes, as Pillow's.
fn lanczos(distance: f64) -> f64 {
    let sinc = |x: f64| {
        if x == 0.0 {
            1.0
        } else {
            (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI)
        }
    };
    if distance.abs() < 3.0 {
        sinc(distance) * sinc(distance / 3.0)
    } else {
        0.0
    }
}

/// The taps of every sample along one axis.
fn taps(from: usize, to: usize, method: Method) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let last = from - 1;
    (0..to)
        .map(|index| {
            let middle = (index as f64 + 0.5) * scale;
            match method {
                Method::NearestExact => Taps {
                    first: (middle as usize).min(last),
                    weights: vec![1.0],
                },
                Method::Bilinear => {
                    let at = (middle - 0.5).max(0.0);
                    let first = (at as usize).min(last);
                    let share = (at - first as f64) as f32;
                    if first == last {
                        Taps {
                            first,
                            weights: vec![1.0],
                        }
                    } else {
                        Taps {
                            first,
                            weights: vec![1.0 - share, share],
                        }
                    }
                }
                Method::Area => {
                    let first = index * from / to;
                    let end = ((index + 1) * from).div_ceil(to);
                    let count = (end - first).max(1);
                    Taps {
                        first,
                        weights: vec![1.0 / count as f32; count],
                    }
                }
                Method::Bicubic => {
                    let at = middle - 0.5;
                    let base = at.floor();
                    // Beyond the edge the last sample counts again.
                    let clamped =
                        |offset: i64| (base as i64 + offset).clamp(0, last as i64) as usize;
                    let first = clamped(-1);
                    let mut weights = vec![0.0; clamped(2) - first + 1];
                    for offset in -1..=2 {
                        let weight = cubic(at - base - offset as f64) as f32;
                        if let Some(sum) = weights.get_mut(clamped(offset) - first) {
                            *sum += weight;
                        }
                    }
                    Taps { first, weights }
                }
                Method::Lanczos => {
                    let stretch = scale.max(1.0);
                    let reach = 3.0 * stretch;
                    let first = ((middle - reach + 0.5).max(0.0)) as usize;
                    let end = ((middle + reach + 0.5) as usize).min(from).max(first + 1);
                    let raw: Vec<f64> = (first..end)
                        .map(|sample| lanczos((sample as f64 + 0.5 - middle) / stretch))
                        .collect();
                    let total: f64 = raw.iter().sum();
                    Taps {
                        first,
                        weights: raw.iter().map(|weight| (weight / total) as f32).collect(),
                    }
                }
            }
        })
        .collect()
}

/// The batch at another size.
pub fn resize(
    batch: &ImageBatch,
    width: usize,
    height: usize,
    method: Method,
) -> Result<ImageBatch, NodeFailure> {
    let mut out = ImageBatch::filled(batch.frames, height, width, batch.channels, 0.0)?;
    if (width, height) == (batch.width, batch.height) && method != Method::Lanczos {
        return Ok(batch.clone());
    }
    // Pillow works on bytes, and so rounds after each axis.
    let in_bytes = method == Method::Lanczos;
    let channels = batch.channels;
    let across = taps(batch.width, width, method);
    let down = taps(batch.height, height, method);
    let line = width * channels;
    for frame in 0..batch.frames {
        let source = batch.frame(frame);
        let mut narrowed = vec![0.0_f32; batch.height * line];
        for (row, target) in source
            .chunks_exact(batch.width * channels)
            .zip(narrowed.chunks_exact_mut(line))
        {
            for (pixel, taps) in target.chunks_exact_mut(channels).zip(&across) {
                let samples = row.iter().skip(taps.first * channels);
                for (index, sample) in samples.take(taps.weights.len() * channels).enumerate() {
                    let sample = if in_bytes {
                        f32::from(to_byte(*sample)) / 255.0
                    } else {
                        *sample
                    };
                    let weight = taps.weights.get(index / channels).copied().unwrap_or(0.0);
                    if let Some(sum) = pixel.get_mut(index % channels) {
                        *sum += sample * weight;
                    }
                }
                if in_bytes {
                    round_to_bytes(pixel);
                }
            }
        }
        let target = out
            .samples
            .chunks_exact_mut(height * line)
            .nth(frame)
            .unwrap_or_default();
        for (row, taps) in target.chunks_exact_mut(line).zip(&down) {
            let rows = narrowed.chunks_exact(line).skip(taps.first);
            for (source, weight) in rows.zip(&taps.weights) {
                for (sum, sample) in row.iter_mut().zip(source) {
                    *sum += sample * weight;
                }
            }
            if in_bytes {
                round_to_bytes(row);
            }
        }
    }
    Ok(out)
}

fn round_to_bytes(samples: &mut [f32]) {
    for sample in samples {
        *sample = (*sample * 255.0).round().clamp(0.0, 255.0) / 255.0;
    }
}

/// The part of the middle that has the aspect of `width` × `height`.
pub fn crop_to_aspect(
    batch: &ImageBatch,
    width: usize,
    height: usize,
) -> Result<ImageBatch, NodeFailure> {
    let old_aspect = batch.width as f64 / batch.height as f64;
    let new_aspect = width as f64 / height as f64;
    let margin = |side: usize, share: f64| {
        ((side as f64 - side as f64 * share) / 2.0).round_ties_even() as usize
    };
    let (mut x, mut y) = (0, 0);
    if old_aspect > new_aspect {
        x = margin(batch.width, new_aspect / old_aspect);
    } else if old_aspect < new_aspect {
        y = margin(batch.height, old_aspect / new_aspect);
    }
    crop(
        batch,
        x,
        y,
        batch.width.saturating_sub(2 * x),
        batch.height.saturating_sub(2 * y),
    )
}

/// The part from `x`, `y` on, as far as the picture goes.
pub fn crop(
    batch: &ImageBatch,
    x: usize,
    y: usize,
    width: usize,
    height: usize,
) -> Result<ImageBatch, NodeFailure> {
    let width = width.min(batch.width.saturating_sub(x));
    let height = height.min(batch.height.saturating_sub(y));
    let mut out = ImageBatch::filled(batch.frames, height, width, batch.channels, 0.0)?;
    let channels = batch.channels;
    let rows = (0..batch.frames).flat_map(|frame| {
        batch
            .frame(frame)
            .chunks_exact(batch.width * channels)
            .skip(y)
            .take(height)
    });
    for (target, row) in out.samples.chunks_exact_mut(width * channels).zip(rows) {
        if let Some(part) = row.get(x * channels..(x + width) * channels) {
            target.copy_from_slice(part);
        }
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends at the first fault")]
mod tests {
    use super::*;

    fn ramp(width: usize) -> ImageBatch {
        ImageBatch {
            frames: 1,
            height: 1,
            width,
            channels: 1,
            samples: (0..width).map(|x| x as f32 / 8.0).collect(),
        }
    }

    /// The expected rows are what PyTorch's interpolate gives for the same ramps.
    #[test]
    fn methods_have_pytorchs_geometry() {
        let row = |to: usize, method| resize(&ramp(4), to, 1, method).unwrap().samples;
        assert_eq!(
            row(8, Method::NearestExact),
            [0.0, 0.0, 0.125, 0.125, 0.25, 0.25, 0.375, 0.375]
        );
        assert_eq!(row(2, Method::Area), [0.0625, 0.3125]);
        assert_eq!(
            row(8, Method::Bilinear),
            [
                0.0, 0.03125, 0.09375, 0.15625, 0.21875, 0.28125, 0.34375, 0.375
            ]
        );
        let bicubic = row(8, Method::Bicubic);
        let expected = [
            -0.013_183_594,
            0.023_925_781,
            0.083_496_094,
            0.162_109_38,
            0.212_890_63,
            0.291_503_9,
            0.351_074_22,
            0.388_183_6,
        ];
        for (found, wanted) in bicubic.iter().zip(expected) {
            assert!((found - wanted).abs() < 1e-6, "{bicubic:?}");
        }
        for method in [
            Method::NearestExact,
            Method::Bilinear,
            Method::Area,
            Method::Bicubic,
            Method::Lanczos,
        ] {
            let flat = ImageBatch::filled(2, 5, 7, 3, 0.2).unwrap();
            let out = resize(&flat, 13, 3, method).unwrap();
            assert_eq!((out.frames, out.width, out.height), (2, 13, 3));
            assert!(
                out.samples
                    .iter()
                    .all(|sample| (sample - 0.2).abs() < 0.003),
                "{method:?}"
            );
        }
    }
}
