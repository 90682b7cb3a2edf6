//! What conditions ask of a file: size, brightness, sharpness, length.

use super::decode::{MediaError, decode_file, dimensions, is_decodable, thumbnail};
use super::duration::duration_s;
use super::kind::MediaKind;
use crate::artifacts::Measures;
use image::DynamicImage;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Brightness and sharpness are measured on a copy whose longer side is at most this many pixels, so that they mean the
/// same for a picture and its enlargement, and cost the same.
const MEASURED_SIDE_PX: u32 = 1024;

/// Measures a file of this kind. A picture within [`super::MAX_SIDE_PX`] that is too large to be decoded gives its size
/// alone.
///
/// # Errors
/// [`MediaError`] for a picture that is damaged or declares too many pixels.
pub fn measure_file(path: &Path, kind: MediaKind) -> Result<Measures, MediaError> {
    if !is_decodable(kind) {
        return Ok(Measures {
            duration_s: duration_s(&mut BufReader::new(File::open(path)?), kind).map(rounded),
            ..Measures::default()
        });
    }
    match decode_file(path) {
        Ok(picture) => Ok(measure_image(&picture)),
        Err(MediaError::TooMuchMemory { .. }) => {
            let (width_px, height_px) = dimensions(BufReader::new(File::open(path)?))?;
            Ok(Measures {
                width_px: Some(width_px),
                height_px: Some(height_px),
                ..Measures::default()
            })
        }
        Err(error) => Err(error),
    }
}

/// Measures a decoded picture: its size, the mean of its luma (0 black to 1 white), and the root mean square of the luma's
/// differences between neighbours (0 flat, 1 a checkerboard of single pixels). The luma is that of ITU-R BT.709 over the
/// sRGB values; alpha is not looked at. Equal pictures give equal measures, rounded to six decimals.
#[must_use]
pub fn measure_image(picture: &DynamicImage) -> Measures {
    let luma = thumbnail(picture, MEASURED_SIDE_PX).to_luma8();
    let width = luma.width() as usize;
    let mut sum = 0_u64;
    let mut squares = 0_u64;
    let mut differences = 0_u64;
    let mut above: Option<&[u8]> = None;
    for row in luma.as_raw().chunks_exact(width.max(1)) {
        sum += row.iter().map(|&value| u64::from(value)).sum::<u64>();
        let beside = row.iter().zip(row.iter().skip(1));
        let below = above.unwrap_or_default().iter().zip(row);
        for (&one, &other) in beside.chain(below) {
            squares += u64::from(one.abs_diff(other)).pow(2);
            differences += 1;
        }
        above = Some(row);
    }
    let pixels = luma.as_raw().len();
    let mean = |total: u64, count: u64| total as f64 / count.max(1) as f64;
    Measures {
        width_px: Some(picture.width()),
        height_px: Some(picture.height()),
        duration_s: None,
        brightness: Some(rounded(mean(sum, pixels as u64) / 255.0)),
        sharpness: Some(rounded(mean(squares, differences).sqrt() / 255.0)),
    }
}

/// To six decimals: more would be noise, and few digits survive every way through JSON unchanged.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
