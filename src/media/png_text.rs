//! Text in PNG files: where ComfyUI keeps prompt and workflow, and where we put our provenance beside them.

use super::decode::MediaError;
use std::io::{BufRead, Seek};

/// Text that one chunk may hold after inflation, bytes. Large workflows have a few megabytes.
pub const MAX_PNG_TEXT_BYTES: usize = 64 * 1024 * 1024;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// One text of a PNG file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PngText {
    /// Its keyword, for example `workflow`.
    pub keyword: String,
    /// The text.
    pub text: String,
}

/// Every text chunk (tEXt, zTXt, iTXt) of a PNG file, before and after the pixels, without decoding these.
///
/// # Errors
/// [`MediaError::Damaged`] when the file is broken, or a text inflates beyond [`MAX_PNG_TEXT_BYTES`].
pub fn read_png_text(reader: impl BufRead + Seek) -> Result<Vec<PngText>, MediaError> {
    let damaged = |error: png::DecodingError| MediaError::Damaged(error.to_string());
    let limits = png::Limits {
        bytes: 2 * MAX_PNG_TEXT_BYTES,
    };
    let mut reader = png::Decoder::new_with_limits(reader, limits)
        .read_info()
        .map_err(damaged)?;
    reader.finish().map_err(damaged)?;
    let info = reader.info();
    let mut texts: Vec<PngText> = info
        .uncompressed_latin1_text
        .iter()
        .map(|chunk| PngText {
            keyword: chunk.keyword.clone(),
            text: chunk.text.clone(),
        })
        .collect();
    for chunk in &info.compressed_latin1_text {
        let mut chunk = chunk.clone();
        chunk
            .decompress_text_with_limit(MAX_PNG_TEXT_BYTES)
            .map_err(damaged)?;
        texts.push(PngText {
            text: chunk.get_text().map_err(damaged)?,
            keyword: chunk.keyword,
        });
    }
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        chunk
            .decompress_text_with_limit(MAX_PNG_TEXT_BYTES)
            .map_err(damaged)?;
        texts.push(PngText {
            text: chunk.get_text().map_err(damaged)?,
            keyword: chunk.keyword,
        });
    }
    Ok(texts)
}

/// The same PNG file with `text` under `keyword`, in place of earlier texts of that keyword. Every other byte stays as it
/// is, the pixels and other programs' chunks included.
///
/// # Errors
/// [`MediaError::NotAPicture`] when it is no PNG, [`MediaError::Damaged`] when its chunks do not add up, or the keyword or
/// text is not fit for a chunk.
pub fn with_png_text(png: &[u8], keyword: &str, text: &str) -> Result<Vec<u8>, MediaError> {
    // PNG specification §11.3.3: 1-79 bytes of Latin-1; ASCII is enough for ours.
    let is_keyword =
        (1..=79).contains(&keyword.len()) && keyword.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_keyword {
        return Err(damaged(
            "the keyword of a text must be 1-79 plain characters",
        ));
    }
    let mut content = keyword.as_bytes().to_vec();
    // Separator, no compression, no compression method, no language, no translated keyword.
    content.extend_from_slice(&[0, 0, 0, 0, 0]);
    content.extend_from_slice(text.as_bytes());
    let length = u32::try_from(content.len())
        .ok()
        .filter(|&length| length as usize <= MAX_PNG_TEXT_BYTES)
        .ok_or_else(|| damaged("the text is too long for a PNG file"))?;
    let mut ours = Vec::with_capacity(content.len() + 12);
    ours.extend_from_slice(&length.to_be_bytes());
    ours.extend_from_slice(b"iTXt");
    ours.extend_from_slice(&content);
    ours.extend_from_slice(&crc32(&[b"iTXt", &content]).to_be_bytes());
    rewritten(png, keyword, &ours)
}

/// The same PNG file without its texts under `keyword`.
///
/// # Errors
/// [`MediaError::NotAPicture`] when it is no PNG, [`MediaError::Damaged`] when its chunks do not add up.
pub fn without_png_text(png: &[u8], keyword: &str) -> Result<Vec<u8>, MediaError> {
    rewritten(png, keyword, &[])
}

fn damaged(what: &str) -> MediaError {
    MediaError::Damaged(what.to_owned())
}

/// The file without its texts under `keyword`, with the chunk `ours` before the pixels.
fn rewritten(png: &[u8], keyword: &str, ours: &[u8]) -> Result<Vec<u8>, MediaError> {
    let mut rest = png.strip_prefix(SIGNATURE).ok_or(MediaError::NotAPicture)?;
    let mut written = Vec::with_capacity(png.len() + ours.len());
    written.extend_from_slice(SIGNATURE);
    let mut is_placed = false;
    while !rest.is_empty() {
        let (head, _) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| damaged("a chunk is broken off"))?;
        let [l0, l1, l2, l3, name @ ..] = *head;
        let content_len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let (chunk, after) = content_len
            .checked_add(12)
            .and_then(|chunk_len| rest.split_at_checked(chunk_len))
            .ok_or_else(|| damaged("a chunk is broken off"))?;
        if name == *b"IDAT" && !is_placed {
            written.extend_from_slice(ours);
            is_placed = true;
        }
        let content = chunk.get(8..8 + content_len).unwrap_or_default();
        let is_earlier = matches!(&name, b"tEXt" | b"zTXt" | b"iTXt")
            && content
                .strip_prefix(keyword.as_bytes())
                .is_some_and(|after_keyword| after_keyword.first() == Some(&0));
        if !is_earlier {
            written.extend_from_slice(chunk);
        }
        rest = after;
        if name == *b"IEND" {
            // What follows the end is no chunk; it is kept.
            written.extend_from_slice(rest);
            break;
        }
    }
    if is_placed {
        Ok(written)
    } else {
        Err(damaged("it has no pixels"))
    }
}

/// CRC-32 of PNG chunks (PNG specification, annex D), bit by bit: our chunks are short.
fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in parts.iter().copied().flatten() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}
