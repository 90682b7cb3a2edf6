//! One picture from its file to the mip levels of a layer, within limits.

use super::{PICTURE_LEVELS, PICTURE_SIDE, PictureSource};
use image::{ImageReader, Limits, RgbaImage, imageops::FilterType};
use std::io::{BufReader, Cursor, Read};
use std::sync::Arc;

/// Largest file that is looked at, bytes.
const FILE_MAX: u64 = 256 << 20;
/// Longest side that is decoded, pixels.
const SIDE_MAX: u32 = 16_384;
/// Memory the decoder may take, bytes.
const MEMORY_MAX: u64 = 512 << 20;

/// A picture ready for a layer.
#[derive(Clone, Debug)]
pub struct DecodedPicture {
    /// Mip levels, largest first, RGBA, stretched to a square.
    pub levels: Arc<[Vec<u8>]>,
    /// Width divided by height of the original.
    pub aspect: f32,
}

/// Why a picture cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The file cannot be read.
    #[error("the picture file cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is no PNG, JPEG, WebP or GIF, it is broken, or it exceeds the limits.
    #[error("the picture cannot be decoded: {0}")]
    Decode(#[from] image::ImageError),
    /// It is larger than we look at.
    #[error("the picture file has more than {FILE_MAX} bytes")]
    TooLarge,
}

/// Decodes a picture and scales it to a square layer with mip levels.
pub fn decode_picture(source: &PictureSource) -> Result<DecodedPicture, DecodeError> {
    let image = match source {
        PictureSource::Bytes(bytes) => {
            decode(ImageReader::new(Cursor::new(bytes.as_ref())).with_guessed_format()?)?
        }
        PictureSource::File(path) => {
            let file = std::fs::File::open(path)?;
            if file.metadata()?.len() > FILE_MAX {
                return Err(DecodeError::TooLarge);
            }
            let mut bytes = Vec::new();
            BufReader::new(file.take(FILE_MAX)).read_to_end(&mut bytes)?;
            decode(ImageReader::new(Cursor::new(bytes)).with_guessed_format()?)?
        }
    };
    let aspect = image.width() as f32 / image.height().max(1) as f32;
    // A cheap shrink first, then a good one: a 4k picture costs a few milliseconds.
    let near = PICTURE_SIDE * 2;
    let image = if image.width() > 2 * near && image.height() > 2 * near {
        image.thumbnail_exact(near, near)
    } else {
        image
    };
    let square = image
        .resize_exact(PICTURE_SIDE, PICTURE_SIDE, FilterType::Triangle)
        .into_rgba8();
    Ok(DecodedPicture {
        levels: mip_levels(square).into(),
        aspect,
    })
}

fn decode<R: std::io::BufRead + std::io::Seek>(
    mut reader: ImageReader<R>,
) -> Result<image::DynamicImage, DecodeError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(MEMORY_MAX);
    reader.limits(limits);
    Ok(reader.decode()?)
}

/// Each level is the mean of two by two texels of the one before.
fn mip_levels(square: RgbaImage) -> Vec<Vec<u8>> {
    let mut levels = Vec::with_capacity(PICTURE_LEVELS as usize);
    let mut side = square.width() as usize;
    levels.push(square.into_raw());
    while side > 1 && levels.len() < PICTURE_LEVELS as usize {
        let half = side / 2;
        let mut next = Vec::with_capacity(half * half * 4);
        if let Some(above) = levels.last() {
            for (upper, lower) in above
                .chunks_exact(side * 8)
                .map(|rows| rows.split_at(side * 4))
            {
                for (top, bottom) in upper.chunks_exact(8).zip(lower.chunks_exact(8)) {
                    for channel in 0..4 {
                        let sum = u16::from(top[channel])
                            + u16::from(top[channel + 4])
                            + u16::from(bottom[channel])
                            + u16::from(bottom[channel + 4]);
                        next.push(((sum + 2) / 4) as u8);
                    }
                }
            }
        }
        levels.push(next);
        side = half;
    }
    levels
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn png_header(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        drop(encoder.write_header().unwrap());
        bytes
    }

    #[test]
    fn levels_halve_down_to_one_texel_and_keep_the_mean() {
        let image = RgbaImage::from_fn(300, 100, |x, _| {
            image::Rgba(if x < 150 {
                [0, 0, 0, 255]
            } else {
                [200, 100, 50, 255]
            })
        });
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let picture = decode_picture(&PictureSource::Bytes(bytes.into_inner().into())).unwrap();
        assert!((picture.aspect - 3.0).abs() < 1e-4);
        assert_eq!(picture.levels.len(), PICTURE_LEVELS as usize);
        for (level, texels) in picture.levels.iter().enumerate() {
            let side = (PICTURE_SIDE >> level) as usize;
            assert_eq!(texels.len(), side * side * 4);
        }
        let last = picture.levels.last().unwrap();
        assert!((i32::from(last[0]) - 100).abs() <= 3, "{last:?}");
    }

    #[test]
    fn sixty_thousand_pixels_square_are_refused_before_memory_is_taken() {
        let bytes = Bytes::from(png_header(60_000, 60_000));
        assert!(decode_picture(&PictureSource::Bytes(bytes)).is_err());
    }
}
