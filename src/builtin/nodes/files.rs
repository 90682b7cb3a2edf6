//! Reading and writing picture files.

use std::{
    fs,
    io::{BufWriter, Cursor},
    path::Path,
};

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};

use crate::builtin::node::NodeFailure;

/// The widest and highest picture that is decoded.
pub const MAXIMUM_SIDE_PIXELS: u32 = 16_384;
/// The most pixels that are decoded; a few hundred bytes can declare billions.
const MAXIMUM_DECODED_PIXELS: u64 = crate::builtin::picture::MAXIMUM_BATCH_PIXELS;
/// The most memory a decoder may take.
const MAXIMUM_DECODER_BYTES: u64 = 1024 * 1024 * 1024;

/// A decoded picture, turned upright.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedImage {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Whether the file has an alpha channel.
    pub has_alpha: bool,
    /// Four bytes per pixel.
    pub rgba: Vec<u8>,
}

impl DecodedImage {
    /// Three bytes per pixel.
    pub fn rgb(&self) -> Vec<u8> {
        self.rgba
            .chunks_exact(4)
            .flat_map(|pixel| pixel.iter().take(3).copied())
            .collect()
    }
}

/// Decodes a picture file within limits. `name` is for the message.
pub fn decode_image(bytes: &[u8], name: &str) -> Result<DecodedImage, NodeFailure> {
    let unknown = || {
        NodeFailure::raised(
            "PIL.UnidentifiedImageError",
            format!("cannot identify image file '{name}'"),
        )
    };
    let broken = |error: ImageError| match error {
        ImageError::Limits(limit) => too_large(name, &limit.to_string()),
        other => NodeFailure::raised("OSError", format!("image file '{name}' is broken: {other}")),
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAXIMUM_SIDE_PIXELS);
    limits.max_image_height = Some(MAXIMUM_SIDE_PIXELS);
    limits.max_alloc = Some(MAXIMUM_DECODER_BYTES);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|_| unknown())?;
    if reader.format().is_none() {
        return Err(unknown());
    }
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| match error {
        ImageError::Limits(limit) => too_large(name, &limit.to_string()),
        _ => unknown(),
    })?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAXIMUM_DECODED_PIXELS {
        return Err(too_large(name, &format!("{width}x{height} pixels")));
    }
    let orientation = decoder.orientation();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    if let Ok(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(DecodedImage {
        width: picture.width(),
        height: picture.height(),
        has_alpha: picture.color().has_alpha(),
        rgba: picture.into_rgba8().into_raw(),
    })
}

fn too_large(name: &str, what: &str) -> NodeFailure {
    NodeFailure::raised(
        "PIL.Image.DecompressionBombError",
        format!(
            "image file '{name}' is too large ({what}); at most {MAXIMUM_SIDE_PIXELS} pixels a side and \
             {MAXIMUM_DECODED_PIXELS} pixels in all are read, could be decompression bomb DOS attack."
        ),
    )
}

/// The text chunks of a PNG, in order; none when it is no PNG.
pub fn png_texts(bytes: &[u8]) -> Vec<(String, String)> {
    let decoder = png::Decoder::new(Cursor::new(bytes));
    let Ok(reader) = decoder.read_info() else {
        return Vec::new();
    };
    let info = reader.info();
    let plain = info
        .uncompressed_latin1_text
        .iter()
        .map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let international = info
        .utf8_text
        .iter()
        .filter_map(|chunk| Some((chunk.keyword.clone(), chunk.get_text().ok()?)));
    plain.chain(international).collect()
}

/// Writes a picture as PNG, without alpha when it has none.
pub fn write_png(
    path: &Path,
    picture: &DecodedImage,
    texts: &[(String, String)],
) -> Result<(), NodeFailure> {
    write_png_bytes(
        path,
        (picture.width, picture.height),
        png::ColorType::Rgba,
        &picture.rgba,
        texts,
    )
}

/// Writes bytes as PNG with text chunks.
pub fn write_png_bytes(
    path: &Path,
    (width, height): (u32, u32),
    color: png::ColorType,
    bytes: &[u8],
    texts: &[(String, String)],
) -> Result<(), NodeFailure> {
    let file = BufWriter::new(fs::File::create(path)?);
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    add_texts(&mut encoder, texts)?;
    let mut writer = encoder.write_header().map_err(encoding_failed)?;
    writer.write_image_data(bytes).map_err(encoding_failed)?;
    writer.finish().map_err(encoding_failed)
}

/// Adds text chunks: Latin-1 where it suffices, as Pillow does.
pub fn add_texts<W: std::io::Write>(
    encoder: &mut png::Encoder<'_, W>,
    texts: &[(String, String)],
) -> Result<(), NodeFailure> {
    for (keyword, text) in texts {
        let added = if text.chars().all(|character| u32::from(character) < 256) {
            encoder.add_text_chunk(keyword.clone(), text.clone())
        } else {
            encoder.add_itxt_chunk(keyword.clone(), text.clone())
        };
        added.map_err(encoding_failed)?;
    }
    Ok(())
}

/// A file could not be encoded or written.
pub fn encoding_failed(error: png::EncodingError) -> NodeFailure {
    match error {
        png::EncodingError::IoError(error) => NodeFailure::from(error),
        other => NodeFailure::raised("ValueError", other.to_string()),
    }
}
