//! Nodes that write a batch as one animated file.

use std::{
    fs,
    io::{BufWriter, Cursor},
};

use image::{ExtendedColorType, ImageEncoder, codecs::webp::WebPEncoder};
use serde_json::json;

use super::{
    files::{add_texts, encoding_failed},
    save::{file_entry, metadata_texts, save_path},
};
use crate::builtin::{
    folders::Place,
    node::{NodeFailure, NodeOutput, NodeRun},
    picture::ImageBatch,
    spec::NodeClass,
};

const IMAGES: &str = "comfy_extras.nodes_images";
const CATEGORY: &str = "image/animation";
/// The longest a frame can be shown in WebP: 24 bits of milliseconds.
const MAXIMUM_WEBP_FRAME_MS: u32 = 0xFF_FFFF;
/// The widest and highest WebP.
const MAXIMUM_WEBP_SIDE_PIXELS: usize = 16_383;
/// Flags of the `VP8X` chunk.
const ANIMATION: u8 = 0x02;
const EXIF: u8 = 0x08;
const ALPHA: u8 = 0x10;
/// Flag of a frame: it replaces what was there.
const DO_NOT_BLEND: u8 = 0x02;

pub fn classes() -> Vec<NodeClass> {
    let rate = || json!({ "default": 6.0, "min": 0.01, "max": 1000.0, "step": 0.01 });
    let prefix = || json!({ "default": "ComfyUI", "multiline": false });
    vec![
        NodeClass::v3("SaveAnimatedWEBP", IMAGES, CATEGORY, save_webp)
            .image("images")
            .text("filename_prefix", prefix())
            .float("fps", rate())
            .boolean("lossless", json!({ "default": true }))
            .int("quality", json!({ "default": 80, "min": 0, "max": 100 }))
            .choice("method", &["default", "fastest", "slowest"])
            .with_metadata()
            .output_node(),
        NodeClass::v3("SaveAnimatedPNG", IMAGES, CATEGORY, save_png)
            .image("images")
            .text("filename_prefix", prefix())
            .float("fps", rate())
            .int(
                "compress_level",
                json!({ "default": 4, "min": 0, "max": 9 }),
            )
            .with_metadata()
            .output_node(),
    ]
}

fn frame_ms(run: &NodeRun<'_>) -> Result<u32, NodeFailure> {
    Ok((1000.0 / run.float("fps")?.max(0.01)) as u32)
}

/// The batch with three or four channels.
fn in_color(batch: &ImageBatch) -> ImageBatch {
    batch.with_channels(if batch.channels == 4 { 4 } else { 3 })
}

/// Always lossless: no lossy WebP encoder is at hand, so `lossless`, `quality` and `method` change nothing.
fn save_webp(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let batch = in_color(&*run.image("images")?);
    if batch.width > MAXIMUM_WEBP_SIDE_PIXELS || batch.height > MAXIMUM_WEBP_SIDE_PIXELS {
        return Err(NodeFailure::raised(
            "ValueError",
            format!(
                "encoding error: a WebP has at most {MAXIMUM_WEBP_SIDE_PIXELS} pixels a side, this is {}x{}",
                batch.width, batch.height
            ),
        ));
    }
    let bytes = animated_webp(
        &batch,
        frame_ms(run)?.min(MAXIMUM_WEBP_FRAME_MS),
        &metadata_texts(run),
    )?;
    let prefix = run.text("filename_prefix")?;
    let path = save_path(run, Place::Output, &prefix, &batch)?;
    let name = path.file_name(0, "webp");
    fs::write(path.folder.join(&name), bytes)?;
    let files = [file_entry(&name, &path, Place::Output)];
    Ok(NodeOutput::shown(
        json!({ "images": files, "animated": [batch.frames > 1] }),
    ))
}

fn save_png(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let batch = in_color(&*run.image("images")?);
    let prefix = run.text("filename_prefix")?;
    let path = save_path(run, Place::Output, &prefix, &batch)?;
    let name = path.file_name(0, "png");
    let file = BufWriter::new(fs::File::create(path.folder.join(&name))?);
    let mut encoder = png::Encoder::new(file, batch.width as u32, batch.height as u32);
    encoder.set_color(if batch.channels == 4 {
        png::ColorType::Rgba
    } else {
        png::ColorType::Rgb
    });
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(match run.int("compress_level")? {
        0 => png::Compression::NoCompression,
        1..=3 => png::Compression::Fast,
        4..=6 => png::Compression::Balanced,
        _ => png::Compression::High,
    });
    add_texts(&mut encoder, &metadata_texts(run))?;
    if batch.frames > 1 {
        encoder
            .set_animated(batch.frames as u32, 0)
            .map_err(encoding_failed)?;
        let shown_ms = frame_ms(run)?.min(u32::from(u16::MAX)) as u16;
        encoder
            .set_frame_delay(shown_ms, 1_000)
            .map_err(encoding_failed)?;
    }
    let mut writer = encoder.write_header().map_err(encoding_failed)?;
    for frame in 0..batch.frames {
        run.host.check_interrupt()?;
        writer
            .write_image_data(&batch.frame_bytes(frame))
            .map_err(encoding_failed)?;
    }
    writer.finish().map_err(encoding_failed)?;
    let files = [file_entry(&name, &path, Place::Output)];
    Ok(NodeOutput::shown(
        json!({ "images": files, "animated": [batch.frames > 1] }),
    ))
}

/// The `VP8L` chunk of a still WebP, with header and padding.
fn still_chunk(batch: &ImageBatch, frame: usize) -> Result<Vec<u8>, NodeFailure> {
    let mut still = Cursor::new(Vec::new());
    let color = if batch.channels == 4 {
        ExtendedColorType::Rgba8
    } else {
        ExtendedColorType::Rgb8
    };
    WebPEncoder::new_lossless(&mut still)
        .write_image(
            &batch.frame_bytes(frame),
            batch.width as u32,
            batch.height as u32,
            color,
        )
        .map_err(|error| NodeFailure::raised("ValueError", error.to_string()))?;
    // RIFF, size, WEBP; then chunks of name, size, data, padding to an even length.
    let still = still.into_inner();
    let mut rest = still.get(12..).unwrap_or_default();
    while let [a, b, c, d, s0, s1, s2, s3, data @ ..] = rest {
        let size = u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize;
        let padded = (size + size % 2).min(data.len());
        if [*a, *b, *c, *d] == *b"VP8L" {
            return Ok(rest.get(..8 + padded).unwrap_or_default().to_vec());
        }
        rest = data.get(padded..).unwrap_or_default();
    }
    Err(NodeFailure::raised(
        "ValueError",
        "the WebP encoder made no lossless picture",
    ))
}

fn chunk(out: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    out.extend_from_slice(&name);
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out.extend_from_slice(data);
    if data.len() % 2 == 1 {
        out.push(0);
    }
}

/// An animated WebP that repeats for ever (the extended container of the WebP specification), with the texts in Exif as
/// ComfyUI writes them: the prompt as the camera model, the rest from the maker downwards.
fn animated_webp(
    batch: &ImageBatch,
    shown_ms: u32,
    texts: &[(String, String)],
) -> Result<Vec<u8>, NodeFailure> {
    let three = |value: u32| {
        let [low, middle, high, _] = value.to_le_bytes();
        [low, middle, high]
    };
    let (width, height) = (
        three(batch.width as u32 - 1),
        three(batch.height as u32 - 1),
    );
    let flags = ANIMATION | EXIF | if batch.channels == 4 { ALPHA } else { 0 };
    let mut body = b"WEBP".to_vec();
    let header = [[flags, 0, 0, 0].as_slice(), &width, &height].concat();
    chunk(&mut body, *b"VP8X", &header);
    // A transparent background; 0 repetitions mean endless.
    chunk(&mut body, *b"ANIM", &[0; 6]);
    for frame in 0..batch.frames {
        // At 0, 0; shown for the time; replaces what was there.
        let mut data = [
            [0; 6].as_slice(),
            &width,
            &height,
            &three(shown_ms),
            &[DO_NOT_BLEND],
        ]
        .concat();
        data.extend(still_chunk(batch, frame)?);
        chunk(&mut body, *b"ANMF", &data);
    }
    chunk(&mut body, *b"EXIF", &exif(texts));
    let mut file = b"RIFF".to_vec();
    file.extend_from_slice(&(body.len() as u32).to_le_bytes());
    file.extend(body);
    Ok(file)
}

/// A TIFF directory of texts, little-endian.
fn exif(texts: &[(String, String)]) -> Vec<u8> {
    const MODEL: u16 = 0x0110;
    const TEXT: u16 = 2;
    let mut maker = MODEL;
    let mut entries: Vec<(u16, Vec<u8>)> = texts
        .iter()
        .map(|(keyword, text)| {
            let tag = if keyword == "prompt" {
                MODEL
            } else {
                maker -= 1;
                maker
            };
            (tag, format!("{keyword}:{text}\0").into_bytes())
        })
        .collect();
    entries.sort_by_key(|(tag, _)| *tag);
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    let mut data_at = 8 + 2 + entries.len() * 12 + 4;
    let mut data = Vec::new();
    for (tag, bytes) in &entries {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&TEXT.to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        // Up to four bytes would have to stand here themselves, but a keyword, a colon and a value are longer.
        out.extend_from_slice(&(data_at as u32).to_le_bytes());
        data.extend_from_slice(bytes);
        data_at += bytes.len();
    }
    out.extend_from_slice(&[0; 4]);
    out.extend(data);
    out
}
