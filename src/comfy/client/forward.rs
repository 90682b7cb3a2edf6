//! Passing requests of a server's own page on to it, with what it takes to be let in.

use super::Client;
use crate::comfy::error::ComfyError;
use crate::comfy::limits::SOCKET_MESSAGE_BYTES;
use reqwest::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use reqwest::{Body, Method, Response, StatusCode, Upgraded};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Headers that belong to one connection (RFC 9110, 7.6.1), or that are written anew for the next one.
const OF_ONE_CONNECTION: [&str; 13] = [
    "connection",
    "host",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // The next connection may be secure, the one of the page is not.
    "strict-transport-security",
];

/// Whether a header is passed on.
#[must_use]
pub fn is_passed_on(name: &HeaderName) -> bool {
    !OF_ONE_CONNECTION.contains(&name.as_str())
}

/// A socket to the server that a page asked for.
pub type ForwardedSocket = WebSocketStream<Upgraded>;

impl Client {
    /// Sends a page's request to a path below the base, and gives the answer whatever its status is. `path` may have a query;
    /// `headers` are the page's own. What the endpoint's configuration sends takes the place of the page's.
    ///
    /// # Errors
    /// [`ComfyError::BadAddress`] when the path leads out of the base; otherwise what kept the server from answering.
    pub async fn forward(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<Body>,
    ) -> Result<Response, ComfyError> {
        let mut request = self
            .http
            .request(method, self.endpoint.url_below(path)?)
            .headers(self.passed_on(headers));
        if let Some(body) = body {
            request = request.body(body);
        }
        request.send().await.map_err(|error| {
            self.transport(
                "a request of its page",
                super::limits::REQUEST_TIMEOUT,
                &error,
            )
        })
    }

    /// Opens a socket for a page at a path below the base.
    ///
    /// # Errors
    /// As [`Self::forward`]; also when the server does not open a socket there.
    pub async fn forward_socket(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<ForwardedSocket, ComfyError> {
        let key = generate_key();
        let mut own = HeaderMap::new();
        if let Some(cookies) = headers.get(COOKIE) {
            own.insert(COOKIE, cookies.clone());
        }
        let broken = |reason: String| ComfyError::Broken {
            url: self.endpoint().to_string(),
            request: "a socket of its page".to_owned(),
            reason,
        };
        let mut own = self.passed_on(&own);
        if let Ok(origin) = HeaderValue::from_str(&self.endpoint.origin()) {
            own.insert(ORIGIN, origin);
        }
        let response = self
            .http
            .get(self.endpoint.url_below(path)?)
            .headers(own)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", &key)
            .send()
            .await
            .map_err(|error| {
                self.transport(
                    "a socket of its page",
                    super::limits::REQUEST_TIMEOUT,
                    &error,
                )
            })?;
        let accepted = response.status() == StatusCode::SWITCHING_PROTOCOLS
            && response
                .headers()
                .get("sec-websocket-accept")
                .is_some_and(|accept| {
                    accept.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes()
                });
        if !accepted {
            return Err(broken(format!("it answered {}", response.status())));
        }
        let upgraded = response
            .upgrade()
            .await
            .map_err(|error| broken(error.to_string()))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(SOCKET_MESSAGE_BYTES))
            .max_frame_size(Some(SOCKET_MESSAGE_BYTES));
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
    }

    fn passed_on(&self, headers: &HeaderMap) -> HeaderMap {
        let mut passed: HeaderMap = headers
            .iter()
            .filter(|(name, _)| is_passed_on(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for name in self.endpoint.headers().keys() {
            passed.remove(name);
        }
        if headers.contains_key(ORIGIN)
            && let Ok(origin) = HeaderValue::from_str(&self.endpoint.origin())
        {
            passed.insert(ORIGIN, origin);
        }
        passed
    }
}
