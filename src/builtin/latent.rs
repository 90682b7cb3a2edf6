//! Latents, and the files that hold them.
//!
//! A `.latent` file is a safetensors file (<https://huggingface.co/docs/safetensors>: the length of a JSON header as
//! little-endian u64, the header, the numbers) with a tensor `latent_tensor` and an empty one, `latent_format_version_0`,
//! that tells it from files of before the format had a scale.

use serde_json::{Map, Value, json};

use super::node::NodeFailure;

/// The most numbers that one batch may hold: 64 Mi, which is 256 MiB.
pub const MAXIMUM_LATENT_NUMBERS: usize = 64 * 1024 * 1024;
/// The longest header that is read. ComfyUI's holds the whole workflow.
const MAXIMUM_HEADER_BYTES: u64 = 16 * 1024 * 1024;
/// The most dimensions: video latents have five.
const MAXIMUM_DIMENSIONS: usize = 8;
/// What numbers of files without `latent_format_version_0` are divided by (ComfyUI's figure).
const OLD_FORMAT_SCALE: f32 = 0.182_15;

/// Latents of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentBatch {
    /// Batch, channels, and what follows: height and width in eighths of a pixel for pictures.
    pub shape: Vec<usize>,
    /// As many numbers as the shape says, last dimension fastest.
    pub numbers: Vec<f32>,
}

impl LatentBatch {
    /// A batch of zeros.
    pub fn zeros(shape: &[usize]) -> Result<Self, NodeFailure> {
        let count = count_of(shape)
            .ok_or_else(|| NodeFailure::raised("RuntimeError", too_large_text(shape)))?;
        Ok(Self {
            shape: shape.to_vec(),
            numbers: vec![0.0; count],
        })
    }

    /// Reads a file. The error is a sentence.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let (header, data) = split(bytes).ok_or("the file is no safetensors file")?;
        let tensor = header
            .get("latent_tensor")
            .ok_or("the file has no latent_tensor")?;
        let shape: Vec<usize> = tensor
            .get("shape")
            .and_then(Value::as_array)
            .filter(|shape| shape.len() <= MAXIMUM_DIMENSIONS)
            .and_then(|shape| {
                shape
                    .iter()
                    .map(|side| side.as_u64().and_then(|side| usize::try_from(side).ok()))
                    .collect()
            })
            .ok_or("latent_tensor has no shape")?;
        let count = count_of(&shape).ok_or_else(|| too_large_text(&shape))?;
        let bounds: Vec<usize> = tensor
            .get("data_offsets")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|offset| {
                offset
                    .as_u64()
                    .and_then(|offset| usize::try_from(offset).ok())
            })
            .collect();
        let content = match bounds.as_slice() {
            [from, to] => data.get(*from..*to),
            _ => None,
        }
        .ok_or("the place of latent_tensor lies outside the file")?;
        let numbers = numbers_of(
            tensor.get("dtype").and_then(Value::as_str).unwrap_or(""),
            content,
        )?;
        if numbers.len() != count {
            return Err(format!(
                "latent_tensor has {} numbers, but its shape {shape:?} needs {count}",
                numbers.len()
            ));
        }
        let mut batch = Self { shape, numbers };
        if !header.contains_key("latent_format_version_0") {
            batch = batch.multiplied(1.0 / OLD_FORMAT_SCALE);
        }
        Ok(batch)
    }

    /// The bytes of a file, with texts (the prompt, the workflow) in its header.
    pub fn write(&self, texts: &[(String, String)]) -> Vec<u8> {
        let end = self.numbers.len() * size_of::<f32>();
        let metadata: Map<String, Value> = texts
            .iter()
            .map(|(keyword, text)| (keyword.clone(), json!(text)))
            .collect();
        let header = json!({
            "__metadata__": metadata,
            "latent_format_version_0": { "dtype": "F32", "shape": [0], "data_offsets": [0, 0] },
            "latent_tensor": { "dtype": "F32", "shape": self.shape, "data_offsets": [0, end] },
        });
        let mut header = header.to_string();
        // Readers want the numbers aligned to eight bytes; the format pads its header with spaces.
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend(self.numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    /// Every number times a factor.
    pub fn multiplied(&self, factor: f32) -> Self {
        Self {
            shape: self.shape.clone(),
            numbers: self.numbers.iter().map(|number| number * factor).collect(),
        }
    }
}

fn count_of(shape: &[usize]) -> Option<usize> {
    let count = shape
        .iter()
        .try_fold(1_usize, |count, side| count.checked_mul(*side))?;
    (count <= MAXIMUM_LATENT_NUMBERS).then_some(count)
}

fn too_large_text(shape: &[usize]) -> String {
    format!(
        "a latent of shape {shape:?} is too large; this server holds at most {MAXIMUM_LATENT_NUMBERS} numbers per batch"
    )
}

fn split(bytes: &[u8]) -> Option<(Map<String, Value>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = u64::from_le_bytes(*length);
    if length > MAXIMUM_HEADER_BYTES {
        return None;
    }
    let (header, data) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    match serde_json::from_slice(header).ok()? {
        Value::Object(header) => Some((header, data)),
        _ => None,
    }
}

fn numbers_of(dtype: &str, content: &[u8]) -> Result<Vec<f32>, String> {
    Ok(match dtype {
        "F32" => content
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect(),
        // The upper half of an F32.
        "BF16" => content
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[low, high]| f32::from_le_bytes([0, 0, *low, *high]))
            .collect(),
        "F16" => content
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| half(u16::from_le_bytes(*bytes)))
            .collect(),
        other => {
            return Err(format!(
                "numbers of type {other:?} are not read; F32, F16 and BF16 are"
            ));
        }
    })
}

/// A number of IEEE 754 half precision.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    sign * match exponent {
        0 => fraction * 2.0_f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction) * 2.0_f32.powi(exponent - 15),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_latent_survives_its_file_and_broken_files_are_refused() {
        let mut batch = LatentBatch::zeros(&[1, 4, 2, 3]).unwrap();
        for (index, number) in batch.numbers.iter_mut().enumerate() {
            *number = index as f32 - 7.25;
        }
        let bytes = batch.write(&[("prompt".to_owned(), "{\"1\": \"ü\"}".to_owned())]);
        assert_eq!(LatentBatch::read(&bytes).unwrap(), batch);
        for length in 0..bytes.len() {
            assert!(LatentBatch::read(&bytes[..length]).is_err(), "{length}");
        }
        assert!(LatentBatch::read(&u64::MAX.to_le_bytes()).is_err());
        assert!(LatentBatch::zeros(&[usize::MAX, 2]).is_err());
    }

    #[test]
    fn half_precision_is_that_of_the_standard() {
        for (bits, number) in [
            (0, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (1, 5.960_464_5e-8),
        ] {
            assert!(
                (half(bits) - number).abs() <= f32::EPSILON * number.abs(),
                "{bits:x}"
            );
        }
    }
}
