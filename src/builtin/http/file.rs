//! Serving one file: conditional requests, ranges, streaming.

use std::{path::Path, time::UNIX_EPOCH};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::io::ReaderStream;

use super::answer;
use crate::builtin::clock::Calendar;

/// The media type by extension, `application/octet-stream` when it is not known.
pub fn media_type(name: &str) -> &'static str {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str())
        .map(str::to_lowercase)
        .unwrap_or_default();
    match extension.as_str() {
        "png" | "apng" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "bmp" => "image/bmp",
        "ico" => "image/vnd.microsoft.icon",
        "tif" | "tiff" => "image/tiff",
        "avif" => "image/avif",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "mkv" => "video/x-matroska",
        "mp3" => "audio/mpeg",
        "wav" => "audio/x-wav",
        "flac" => "audio/flac",
        "ogg" | "opus" => "audio/ogg",
        "txt" => "text/plain",
        "css" => "text/css",
        "html" | "htm" => "text/html",
        "js" | "mjs" => "application/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "wasm" => "application/wasm",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        _ => "application/octet-stream",
    }
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Everything,
    /// The bytes from the first to before the second.
    Part(u64, u64),
    Nothing,
}

fn wanted(range: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = range
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::Everything;
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), _) if first >= size => Wanted::Nothing,
        (Ok(first), Ok(last)) if last < first => Wanted::Nothing,
        (Ok(first), Ok(last)) => Wanted::Part(first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.trim().is_empty() => Wanted::Part(first, size),
        (Err(_), Ok(0)) => Wanted::Nothing,
        (Err(_), Ok(count)) if first.trim().is_empty() => {
            Wanted::Part(size.saturating_sub(count), size)
        }
        _ => Wanted::Everything,
    }
}

/// Answers with a file. `request` may ask for a range or whether the file changed.
pub async fn serve(path: &Path, media_type: &str, request: &HeaderMap) -> Response {
    let Ok(mut file) = tokio::fs::File::open(path).await else {
        return answer::not_found();
    };
    let metadata = match file.metadata().await {
        Ok(metadata) if metadata.is_file() => metadata,
        _ => return answer::not_found(),
    };
    let size = metadata.len();
    let modified = metadata
        .modified()
        .ok()
        .and_then(|modified| modified.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    let etag = format!("\"{:x}-{size:x}\"", modified.as_nanos());
    let last_modified = Calendar::from_unix(modified.as_secs()).http_date();
    let asked = |name: header::HeaderName| request.get(name).and_then(|value| value.to_str().ok());
    let unchanged = match asked(header::IF_NONE_MATCH) {
        Some(tags) => tags
            .split(',')
            .any(|tag| tag.trim() == etag || tag.trim() == "*"),
        None => asked(header::IF_MODIFIED_SINCE) == Some(&last_modified),
    };
    let range = match asked(header::IF_RANGE) {
        Some(tag) if tag != etag && tag != last_modified => None,
        _ => asked(header::RANGE),
    };
    let (status, start, end) = match wanted(range, size) {
        _ if unchanged => (StatusCode::NOT_MODIFIED, 0, 0),
        Wanted::Everything => (StatusCode::OK, 0, size),
        Wanted::Part(start, end) => (StatusCode::PARTIAL_CONTENT, start, end),
        Wanted::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    if file.seek(SeekFrom::Start(start)).await.is_err() {
        return answer::fault();
    }
    let body = if end > start {
        Body::from_stream(ReaderStream::new(file.take(end - start)))
    } else {
        Body::empty()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut put = |name: header::HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(header::ETAG, &etag);
    put(header::LAST_MODIFIED, &last_modified);
    match status {
        StatusCode::NOT_MODIFIED => return response,
        StatusCode::RANGE_NOT_SATISFIABLE => {
            put(header::CONTENT_RANGE, &format!("bytes */{size}"));
            return response;
        }
        StatusCode::PARTIAL_CONTENT => put(
            header::CONTENT_RANGE,
            &format!("bytes {start}-{}/{size}", end - 1),
        ),
        _ => {}
    }
    put(header::CONTENT_TYPE, media_type);
    put(header::CONTENT_LENGTH, &(end - start).to_string());
    put(header::ACCEPT_RANGES, "bytes");
    response
}

#[cfg(test)]
mod tests {
    use super::{Wanted, wanted};

    #[test]
    fn ranges_follow_the_http_standard() {
        assert_eq!(wanted(None, 10), Wanted::Everything);
        assert_eq!(wanted(Some("bytes=0-3"), 10), Wanted::Part(0, 4));
        assert_eq!(wanted(Some("bytes=4-"), 10), Wanted::Part(4, 10));
        assert_eq!(wanted(Some("bytes=-4"), 10), Wanted::Part(6, 10));
        assert_eq!(wanted(Some("bytes=0-99"), 10), Wanted::Part(0, 10));
        assert_eq!(wanted(Some("bytes=10-"), 10), Wanted::Nothing);
        assert_eq!(
            wanted(Some("bytes=0-18446744073709551615"), 10),
            Wanted::Part(0, 10)
        );
        assert_eq!(wanted(Some("lines=1-2"), 10), Wanted::Everything);
    }
}
