//! The static files of the ComfyUI frontend.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    response::Response,
};
use serde_json::json;

use super::{SharedHost, answer, file};
use crate::builtin::folders;

/// The list of example workflows. They are a package of their own beside the frontend's files; without it there are none.
const TEMPLATES: &str = "templates/index.json";

/// Everything that is no route: a file of the frontend.
pub async fn serve(State(host): SharedHost, request: Request) -> Response {
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    let (Some(root), true) = (&host.options.frontend_dir, is_read) else {
        return answer::not_found();
    };
    let path = percent_decoded(request.uri().path());
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() {
        "index.html"
    } else {
        relative
    };
    let Some(path) = folders::inside(root, relative) else {
        return answer::not_found();
    };
    if relative == TEMPLATES && !path.is_file() {
        return answer::json(&json!([]));
    }
    let mut response = file::serve(&path, file::media_type(relative), request.headers()).await;
    let name = relative.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit('.').next().unwrap_or_default();
    let is_entry = name.starts_with("index") || matches!(extension, "js" | "css");
    if is_entry {
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// `GET /extensions`: the scripts that the frontend loads at its start.
pub async fn extensions(State(host): SharedHost) -> Response {
    let Some(root) = &host.options.frontend_dir else {
        return answer::json(&json!([]));
    };
    let folder = root.join("extensions");
    let listed = tokio::task::spawn_blocking(move || folders::files_below(&folder)).await;
    let scripts: Vec<String> = listed
        .unwrap_or_default()
        .into_iter()
        .filter(|file| file.rsplit('.').next() == Some("js"))
        .map(|file| format!("/extensions/{file}"))
        .collect();
    answer::json(&scripts)
}

/// A path with its `%XX` replaced; what is no UTF-8 then is kept as it came.
pub fn percent_decoded(path: &str) -> String {
    let hex = |digit: &u8| char::from(*digit).to_digit(16);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            bytes.push((high * 16 + low) as u8);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}
