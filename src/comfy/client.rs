//! One server's HTTP side.

mod files;
mod forward;
mod info;
mod prompts;

pub use files::{
    Download, FileState, FolderType, StoredFile, Upload, UploadContent, UserFile, UserFileWrite,
};
pub use forward::{ForwardedSocket, is_passed_on};
pub use info::{Features, SystemDevice, SystemStats};
pub use prompts::{
    ExtraData, Job, JobState, PreviewMethod, Queue, QueueItem, QueuePosition, SubmitRequest,
    Submitted,
};

use super::endpoint::Endpoint;
use super::error::{ComfyError, advice};
use super::{json, limits};
use bytes::{Bytes, BytesMut};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A ComfyUI server over HTTP. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Arc<Endpoint>,
    http: reqwest::Client,
}

/// A request under way: what to call it in messages, and what it may cost.
struct Request {
    /// Method and path, for messages.
    name: String,
    builder: RequestBuilder,
    timeout: Duration,
    limit_bytes: u64,
}

impl Client {
    /// A client for `endpoint`. Connects to nothing yet. Redirects are not followed and proxies from the environment are not
    /// used: requests with credentials go to the configured address and nowhere else.
    ///
    /// # Errors
    /// [`ComfyError::BadAddress`] when no TLS set-up is possible (no system certificates, for example).
    pub fn new(endpoint: Endpoint) -> Result<Self, ComfyError> {
        // Fails only when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .default_headers(endpoint.headers().clone())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(limits::CONNECT_TIMEOUT)
            // Without https nothing is ever verified; saying so keeps machines without system certificates working.
            .tls_danger_accept_invalid_certs(!endpoint.verifies_certificates())
            .build()
            .map_err(|error| ComfyError::BadAddress {
                url: endpoint.to_string(),
                reason: innermost(&error),
            })?;
        Ok(Self {
            endpoint: Arc::new(endpoint),
            http,
        })
    }

    /// The server.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A request for a path below the base, with the limits of a small question.
    fn request(&self, method: Method, segments: &[&str]) -> Request {
        Request {
            name: format!("{method} /{}", segments.join("/")),
            builder: self.http.request(method, self.endpoint.url_of(segments)),
            timeout: limits::REQUEST_TIMEOUT,
            limit_bytes: limits::SMALL_BODY_BYTES,
        }
    }

    fn get(&self, segments: &[&str]) -> Request {
        self.request(Method::GET, segments)
    }

    fn post<T: serde::Serialize>(&self, segments: &[&str], body: &T) -> Request {
        let mut request = self.request(Method::POST, segments);
        request.builder = request.builder.json(body);
        request
    }

    /// Begins the socket's handshake; the answer must be 101.
    pub(super) async fn upgrade(&self, client_id: &str, key: &str) -> Result<Response, ComfyError> {
        let mut request = self.get(&["ws"]);
        request.builder = request
            .builder
            .query(&[("clientId", client_id)])
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", key);
        let name = request.name.clone();
        let response = self.send_any(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        if response.status().is_success() {
            return Err(ComfyError::NotComfyUi {
                url: self.endpoint.to_string(),
                request: name,
                found: "a plain answer instead of a WebSocket (a proxy in front of it may not pass WebSockets on)".to_owned(),
            });
        }
        Err(self.refusal(name, response).await)
    }

    /// Sends and accepts any status.
    async fn send_any(&self, request: Request) -> Result<Response, ComfyError> {
        request
            .builder
            .timeout(request.timeout)
            .send()
            .await
            .map_err(|error| self.transport(&request.name, request.timeout, &error))
    }

    /// Sends and accepts success only.
    async fn send(&self, request: Request) -> Result<Response, ComfyError> {
        let name = request.name.clone();
        let response = self.send_any(request).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(name, response).await)
        }
    }

    /// Sends, accepts success only, and ignores the body.
    async fn send_only(&self, request: Request) -> Result<(), ComfyError> {
        self.send(request).await.map(drop)
    }

    /// Sends, and reads the answer as JSON.
    async fn json<T: DeserializeOwned>(&self, request: Request) -> Result<T, ComfyError> {
        let (name, timeout, limit_bytes) =
            (request.name.clone(), request.timeout, request.limit_bytes);
        let response = self.send(request).await?;
        let is_page = is_web_page(&response);
        let body = self.body(&name, response, timeout, limit_bytes).await?;
        self.parse(name, &body, is_page)
    }

    /// Reads a body as JSON.
    fn parse<T: DeserializeOwned>(
        &self,
        request: String,
        body: &[u8],
        is_page: bool,
    ) -> Result<T, ComfyError> {
        json::parse(body).map_err(|error| {
            if is_page || body.trim_ascii_start().first() == Some(&b'<') {
                ComfyError::NotComfyUi {
                    url: self.endpoint.to_string(),
                    request,
                    found: "a web page".to_owned(),
                }
            } else if error.is_data() {
                ComfyError::Malformed {
                    url: self.endpoint.to_string(),
                    request,
                    reason: error.to_string(),
                }
            } else {
                ComfyError::NotComfyUi {
                    url: self.endpoint.to_string(),
                    request,
                    found: format!("something that is not JSON ({error})"),
                }
            }
        })
    }

    /// Reads a body of limited size.
    async fn body(
        &self,
        request: &str,
        mut response: Response,
        timeout: Duration,
        limit_bytes: u64,
    ) -> Result<Bytes, ComfyError> {
        let too_large = || ComfyError::TooLarge {
            url: self.endpoint.to_string(),
            what: format!("the answer to {request}"),
            limit_bytes,
        };
        if response
            .content_length()
            .is_some_and(|length| length > limit_bytes)
        {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.transport(request, timeout, &error))?
        {
            if (body.len() + chunk.len()) as u64 > limit_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The error for a status that says no.
    async fn refusal(&self, request: String, response: Response) -> ComfyError {
        let status = response.status().as_u16();
        let is_page = is_web_page(&response);
        // A page at 404 or 405 is some other web server: ComfyUI's own such answers are plain text.
        if is_page && matches!(status, 404 | 405) {
            return ComfyError::NotComfyUi {
                url: self.endpoint.to_string(),
                request,
                found: format!("a web page (HTTP {status})"),
            };
        }
        let location = response
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok())
            .map(|location| format!("to {location}"));
        let body = self
            .body(
                &request,
                response,
                limits::REQUEST_TIMEOUT,
                limits::ERROR_BODY_BYTES,
            )
            .await
            .unwrap_or_default();
        ComfyError::Status {
            url: self.endpoint.to_string(),
            request,
            status,
            excerpt: location.unwrap_or_else(|| excerpt(&body)),
            advice: advice(status),
        }
    }

    /// The error for a request that got no answer.
    fn transport(&self, request: &str, timeout: Duration, error: &reqwest::Error) -> ComfyError {
        let url = self.endpoint.to_string();
        if error.is_connect() {
            let reason = if error.is_timeout() {
                format!("no answer within {} s", limits::CONNECT_TIMEOUT.as_secs())
            } else {
                innermost(error)
            };
            // rustls begins with these words whatever it finds wrong with a certificate.
            if let Some(about) = reason.strip_prefix("invalid peer certificate: ") {
                let reason = about.to_owned();
                return ComfyError::Untrusted { url, reason };
            }
            ComfyError::Unreachable { url, reason }
        } else if error.is_timeout() {
            ComfyError::TimedOut {
                url,
                request: request.to_owned(),
                timeout_s: timeout.as_secs(),
            }
        } else if error.is_builder() {
            ComfyError::BadRequest {
                reason: format!("{request} cannot be sent to {url}: {}", innermost(error)),
            }
        } else {
            ComfyError::Broken {
                url,
                request: request.to_owned(),
                reason: innermost(error),
            }
        }
    }

    /// Turns a 404 into [`ComfyError::Missing`].
    fn missing(&self, error: ComfyError, what: impl FnOnce() -> String) -> ComfyError {
        match error {
            ComfyError::Status { status: 404, .. } => ComfyError::Missing {
                url: self.endpoint.to_string(),
                what: what(),
            },
            other => other,
        }
    }
}

fn is_web_page(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|content_type| content_type.starts_with("text/html"))
}

/// The cause at the bottom: "Connection refused (os error 111)" rather than "error sending request".
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The beginning of an error's body on one line; of a web page its title.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = if text.trim_start().starts_with('<') {
        text.split_once("<title>")
            .and_then(|(_, rest)| rest.split_once("</title>"))
            .map_or("a web page", |(title, _)| title)
            .to_owned()
    } else {
        text.into_owned()
    };
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words
        .join(" ")
        .chars()
        .take(limits::EXCERPT_CHARS)
        .collect()
}
