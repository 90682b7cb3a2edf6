//! What is checked before any handler: the origin of the request and the size of its body.

use std::{net::IpAddr, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use futures_util::StreamExt;

use super::{MAXIMUM_BODY_BYTES, answer};

/// How long a body that is too large is read and thrown away, so that the client gets to read the answer.
const DRAIN_TIME: Duration = Duration::from_secs(20);
/// How much of it is read.
const DRAIN_BYTES: usize = 4 * MAXIMUM_BODY_BYTES;

/// Runs before every handler.
pub async fn guard(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        return answer::empty(StatusCode::FORBIDDEN);
    }
    if request.method() == Method::OPTIONS {
        return answer::empty(StatusCode::OK);
    }
    let length = header_text(request.headers(), &header::CONTENT_LENGTH)
        .and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAXIMUM_BODY_BYTES) {
        drain(request.into_body()).await;
        return answer::body_too_large();
    }
    next.run(request).await
}

async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(chunk)) = stream.next().await {
            bytes += chunk.len();
            if bytes > DRAIN_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}

fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A page of another site talks to a server on loopback: a browser would let it queue prompts.
fn is_foreign(headers: &HeaderMap) -> bool {
    let (Some(host), Some(origin)) = (
        header_text(headers, &header::HOST),
        header_text(headers, &header::ORIGIN),
    ) else {
        return false;
    };
    let (host_name, host_port) = split_port(host);
    if !is_loopback(&host_name) {
        return false;
    }
    let origin = origin
        .split_once("://")
        .map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let (origin_name, origin_port) = split_port(origin);
    if origin_name.is_empty() {
        return false;
    }
    let ports_differ = host_port.is_some() && origin_port.is_some() && host_port != origin_port;
    host_name != origin_name || ports_differ
}

fn split_port(authority: &str) -> (String, Option<u16>) {
    let authority = authority.to_lowercase();
    let after_bracket = authority.rfind(']').map_or(0, |index| index + 1);
    match authority
        .get(after_bracket..)
        .and_then(|rest| rest.rfind(':'))
    {
        Some(colon) => {
            let (name, port) = authority.split_at(after_bracket + colon);
            (name.to_owned(), port.trim_start_matches(':').parse().ok())
        }
        None => (authority, None),
    }
}

fn is_loopback(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_other_sites_are_foreign() {
        let foreign = |host: &'static str, origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            is_foreign(&headers)
        };
        assert!(foreign("127.0.0.1:8188", "http://evil.example"));
        assert!(foreign("localhost:8188", "http://127.0.0.1:8188"));
        assert!(foreign("127.0.0.1:8188", "http://127.0.0.1:9999"));
        assert!(foreign("[::1]:8188", "http://evil.example:8188"));
        assert!(!foreign("127.0.0.1:8188", "http://127.0.0.1:8188"));
        assert!(!foreign("127.0.0.1:8188", "http://127.0.0.1"));
        assert!(!foreign("[::1]:8188", "http://[::1]:8188"));
        assert!(!foreign("studio:8188", "http://evil.example"));
    }
}
