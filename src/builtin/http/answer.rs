//! Answers in the forms of the protocol.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// 200 with JSON.
pub fn json(value: &impl Serialize) -> Response {
    json_with(StatusCode::OK, value)
}

/// A status with JSON.
pub fn json_with(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, JSON)], bytes).into_response(),
        Err(_) => fault(),
    }
}

/// A status with an empty body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A status with text.
pub fn text(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], text.to_owned()).into_response()
}

/// What ComfyUI answers when a handler raises.
pub fn fault() -> Response {
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        "500 Internal Server Error\n\nServer got itself in trouble",
    )
}

/// No such path.
pub fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404: Not Found")
}

/// The path exists, with another method.
pub async fn method_not_allowed() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
}

/// The body is larger than the limit.
pub fn body_too_large() -> Response {
    text(
        StatusCode::PAYLOAD_TOO_LARGE,
        &format!(
            "Maximum request body size {} exceeded.",
            super::MAXIMUM_BODY_BYTES
        ),
    )
}
