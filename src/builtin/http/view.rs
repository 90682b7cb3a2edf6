//! `/view` and `/view_metadata`.

use std::{
    fs,
    io::{Cursor, Read},
    path::{Path as FilePath, PathBuf},
};

use axum::{
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use image::{ExtendedColorType, ImageEncoder, codecs};
use indexmap::IndexMap;
use serde_json::Value;

use super::{QueryMap, SharedHost, answer, file};
use crate::builtin::{
    folders::{self, Place},
    host::Host,
    nodes::files::{DecodedImage, decode_image},
};

/// The largest header of a model file that is read.
const MAXIMUM_MODEL_HEADER_BYTES: u64 = 1024 * 1024;

/// `GET /view`.
pub async fn view(State(host): SharedHost, Query(query): QueryMap, headers: HeaderMap) -> Response {
    let path = match find(&host, &query) {
        Ok(path) => path,
        Err(status) => return answer::empty(status),
    };
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut response = match Reencoding::asked(&query) {
        None => {
            // A page that is shown instead of downloaded could run its scripts with the server's origin.
            let kind = match file::media_type(&name) {
                kind if kind.starts_with("text/html") => "application/octet-stream",
                kind if kind.starts_with("text/css") => "application/octet-stream",
                kind if kind.starts_with("application/javascript") => "application/octet-stream",
                kind => kind,
            };
            file::serve(&path, kind, &headers).await
        }
        Some(reencoding) => {
            let encoded = tokio::task::spawn_blocking(move || reencode(&path, reencoding)).await;
            match encoded {
                Ok(Some((kind, bytes))) => ([(header::CONTENT_TYPE, kind)], bytes).into_response(),
                _ => return answer::fault(),
            }
        }
    };
    let disposition = format!("filename=\"{}\"", name.replace(['"', '\r', '\n'], "_"));
    if let Ok(value) = HeaderValue::from_bytes(disposition.as_bytes()) {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// The file that a query names.
fn find(host: &Host, query: &IndexMap<String, String>) -> Result<PathBuf, StatusCode> {
    let name = query.get("filename").ok_or(StatusCode::NOT_FOUND)?;
    let (name, place) = folders::split_annotation(name);
    if name.is_empty() || name.starts_with('/') || name.contains("..") {
        return Err(StatusCode::BAD_REQUEST);
    }
    let place = match place {
        Some(place) => place,
        None => Place::parse(query.get("type").map_or("output", String::as_str))
            .ok_or(StatusCode::BAD_REQUEST)?,
    };
    let base = host.folders.place(place);
    let subfolder = query.get("subfolder").map_or("", String::as_str);
    let folder = folders::inside(&base, subfolder).ok_or(StatusCode::FORBIDDEN)?;
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let path = folders::inside(&folder, name).ok_or(StatusCode::NOT_FOUND)?;
    if path.is_file() {
        Ok(path)
    } else {
        Err(StatusCode::NOT_FOUND)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reencoding {
    Jpeg {
        quality: u8,
    },
    /// Lossless here, whatever quality was asked for.
    Webp {
        with_alpha: bool,
    },
    PngWithoutAlpha,
    PngAlphaOnly,
}

impl Reencoding {
    fn asked(query: &IndexMap<String, String>) -> Option<Self> {
        let channel = query.get("channel").map_or("", String::as_str);
        if let Some(preview) = query.get("preview") {
            let mut parts = preview.split(';');
            let format = parts.next().unwrap_or_default();
            let quality = parts
                .next_back()
                .and_then(|text| text.parse::<u32>().ok())
                .map_or(90, |quality| quality.clamp(1, 100) as u8);
            return Some(if format == "jpeg" && !channel.contains('a') {
                Self::Jpeg { quality }
            } else {
                Self::Webp {
                    with_alpha: channel != "rgb",
                }
            });
        }
        match channel {
            "rgb" => Some(Self::PngWithoutAlpha),
            "a" => Some(Self::PngAlphaOnly),
            _ => None,
        }
    }
}

fn reencode(path: &FilePath, reencoding: Reencoding) -> Option<(&'static str, Vec<u8>)> {
    let name = path.to_string_lossy();
    let picture = decode_image(&fs::read(path).ok()?, &name).ok()?;
    let (width, height) = (picture.width, picture.height);
    let mut out = Cursor::new(Vec::new());
    let kind = match reencoding {
        Reencoding::Jpeg { quality } => {
            codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality)
                .write_image(&picture.rgb(), width, height, ExtendedColorType::Rgb8)
                .ok()?;
            "image/jpeg"
        }
        Reencoding::Webp { with_alpha } => {
            let encoder = codecs::webp::WebPEncoder::new_lossless(&mut out);
            if with_alpha && picture.has_alpha {
                encoder.write_image(&picture.rgba, width, height, ExtendedColorType::Rgba8)
            } else {
                encoder.write_image(&picture.rgb(), width, height, ExtendedColorType::Rgb8)
            }
            .ok()?;
            "image/webp"
        }
        Reencoding::PngWithoutAlpha => {
            codecs::png::PngEncoder::new(&mut out)
                .write_image(&picture.rgb(), width, height, ExtendedColorType::Rgb8)
                .ok()?;
            "image/png"
        }
        Reencoding::PngAlphaOnly => {
            codecs::png::PngEncoder::new(&mut out)
                .write_image(
                    &alpha_only(&picture),
                    width,
                    height,
                    ExtendedColorType::Rgba8,
                )
                .ok()?;
            "image/png"
        }
    };
    Some((kind, out.into_inner()))
}

fn alpha_only(picture: &DecodedImage) -> Vec<u8> {
    picture
        .rgba
        .chunks_exact(4)
        .flat_map(|pixel| [0, 0, 0, pixel.last().copied().unwrap_or(255)])
        .collect()
}

/// `GET /view_metadata/FOLDER?filename=`: what a safetensors file says of itself.
pub async fn metadata(
    State(host): SharedHost,
    Path(folder): Path<String>,
    Query(query): QueryMap,
) -> Response {
    let file = query
        .get("filename")
        .filter(|name| name.ends_with(".safetensors"))
        .and_then(|name| folders::inside(&host.folders.models(&folder)?, name));
    match file.and_then(|path| model_metadata(&path)) {
        Some(metadata) => answer::json(&metadata),
        None => answer::empty(StatusCode::NOT_FOUND),
    }
}

fn model_metadata(path: &FilePath) -> Option<Value> {
    let mut file = fs::File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > MAXIMUM_MODEL_HEADER_BYTES {
        return None;
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    header.get("__metadata__").cloned()
}
