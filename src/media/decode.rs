//! Pictures out of bytes, within limits.

use super::kind::MediaKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;
use thiserror::Error;

/// Longest side of a picture that is accepted at all, pixels. What ComfyUI nodes allow (`MAX_RESOLUTION` in its nodes.py).
pub const MAX_SIDE_PX: u32 = 16_384;

/// Memory that one decoded picture may take, bytes: 8192 × 8192 pixels of four bytes.
pub const MAX_DECODED_BYTES: u64 = 256 * 1024 * 1024;

/// Why a media file cannot be used.
#[derive(Debug, Error)]
pub enum MediaError {
    /// Its bytes are of no kind that can be decoded.
    #[error("this is not a picture that can be read (PNG, JPEG, WebP or GIF)")]
    NotAPicture,
    /// It declares more pixels than are accepted.
    #[error(
        "the picture declares {width_px} × {height_px} pixels; up to {MAX_SIDE_PX} on a side are read"
    )]
    TooManyPixels {
        /// Declared width.
        width_px: u32,
        /// Declared height.
        height_px: u32,
    },
    /// Decoded it would take more memory than is granted.
    #[error(
        "the picture of {width_px} × {height_px} pixels would take more than {} MiB of memory",
        MAX_DECODED_BYTES / 1024 / 1024
    )]
    TooMuchMemory {
        /// Width.
        width_px: u32,
        /// Height.
        height_px: u32,
    },
    /// It is broken off or damaged.
    #[error("the file is damaged or incomplete: {0}")]
    Damaged(String),
    /// It cannot be read from the disk.
    #[error("the file cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// Decodes a picture held in memory; an animated one gives its first frame. Turned as its EXIF orientation says.
///
/// # Errors
/// [`MediaError`]; limits are checked before memory for the pixels is taken.
pub fn decode(bytes: &[u8]) -> Result<DynamicImage, MediaError> {
    decode_from(Cursor::new(bytes))
}

/// Decodes a picture file; as [`decode`].
///
/// # Errors
/// [`MediaError`].
pub fn decode_file(path: &Path) -> Result<DynamicImage, MediaError> {
    decode_from(BufReader::new(File::open(path)?))
}

/// Width and height of a picture in pixels as a viewer shows it (EXIF orientation applied), from its header.
///
/// # Errors
/// [`MediaError`]; more than [`MAX_SIDE_PX`] on a side is one.
pub fn dimensions(reader: impl BufRead + Seek) -> Result<(u32, u32), MediaError> {
    let mut decoder = decoder(reader)?;
    let (width_px, height_px) = decoder.dimensions();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok(match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height_px, width_px),
        _ => (width_px, height_px),
    })
}

/// A copy whose longer side is at most `max_side_px`; a smaller picture is copied as it is.
#[must_use]
pub fn thumbnail(picture: &DynamicImage, max_side_px: u32) -> DynamicImage {
    if picture.width().max(picture.height()) <= max_side_px {
        picture.clone()
    } else {
        picture.thumbnail(max_side_px.max(1), max_side_px.max(1))
    }
}

fn decode_from(reader: impl BufRead + Seek) -> Result<DynamicImage, MediaError> {
    let mut decoder = decoder(reader)?;
    let (width_px, height_px) = decoder.dimensions();
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(MediaError::TooMuchMemory {
            width_px,
            height_px,
        });
    }
    // A picture with a broken orientation is a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| damaged(&error))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// A decoder that has read the header of a picture of acceptable size.
fn decoder<'a>(reader: impl BufRead + Seek + 'a) -> Result<impl ImageDecoder + 'a, MediaError> {
    let mut reader = ImageReader::new(reader).with_guessed_format()?;
    if reader.format().is_none() {
        return Err(MediaError::NotAPicture);
    }
    let mut limits = image::Limits::default();
    // Beside the pixels a decoder needs some memory of its own.
    limits.max_alloc = Some(2 * MAX_DECODED_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| damaged(&error))?;
    let (width_px, height_px) = decoder.dimensions();
    if width_px > MAX_SIDE_PX || height_px > MAX_SIDE_PX {
        return Err(MediaError::TooManyPixels {
            width_px,
            height_px,
        });
    }
    Ok(decoder)
}

fn damaged(error: &ImageError) -> MediaError {
    match error {
        ImageError::Unsupported(_) => MediaError::NotAPicture,
        other => MediaError::Damaged(other.to_string()),
    }
}

/// Whether pictures of this kind can be decoded.
pub(super) fn is_decodable(kind: MediaKind) -> bool {
    matches!(
        kind,
        MediaKind::Png | MediaKind::Jpeg | MediaKind::WebP | MediaKind::Gif
    )
}
