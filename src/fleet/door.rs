//! A door on this machine to a backend that asks who we are, or whose certificate a person vouches for.
//!
//! A web view can send our authentication with its first request only, and trusts what its system trusts. So the page of
//! such a backend is opened through an address of this machine: every request and socket of it is passed on with the headers
//! of the backend's configuration, under its own rules for certificates. The page never sees them. The door opens with a
//! secret that only the window is given, as a cookie that no script reads, so that neither other people of this machine nor
//! other pages come through.

use super::backend::BackendConfig;
use super::roster::{FleetError, endpoint_of};
use crate::comfy::{Client, ForwardedSocket, is_passed_on};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::{
    CloseFrame, Message as PageMessage, Utf8Bytes, WebSocket, WebSocketUpgrade,
};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::Arc;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message as ServerMessage;
use tokio_tungstenite::tungstenite::protocol::CloseFrame as ServerCloseFrame;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Largest message of a page's socket: as much as a backend may send us.
const MAX_MESSAGE_BYTES: usize = crate::comfy::limits::SOCKET_MESSAGE_BYTES;

/// Name of the part of the first address that holds the secret.
const SECRET_KEY: &str = "door";

/// Why no door could be opened.
#[derive(Debug, Error)]
pub enum DoorError {
    /// The backend's configuration cannot be used.
    #[error(transparent)]
    Server(#[from] FleetError),
    /// No address of this machine is free.
    #[error("no address of this machine could be opened for the backend's page: {0}")]
    Bind(#[source] std::io::Error),
}

/// An open door. Dropping it closes it.
#[derive(Debug)]
pub struct Door {
    url: Url,
    stop: CancellationToken,
}

struct Inside {
    client: Client,
    /// `name=secret`, as the cookie says it.
    cookie: String,
    /// The secret alone.
    secret: String,
    /// The backend's own address without a slash at its end.
    server: String,
    stop: CancellationToken,
}

impl Door {
    /// Whether the pages of a backend need a door.
    #[must_use]
    pub fn is_needed(config: &BackendConfig) -> bool {
        config.auth != super::Auth::None
            || (config.url.scheme() == "https" && config.tls == super::TlsPolicy::AcceptAny)
    }

    /// Opens a door to a backend on the current runtime. `secret` must not be guessed: letters and digits.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn open(config: &BackendConfig, secret: &str) -> Result<Self, DoorError> {
        let endpoint = endpoint_of(config, |name| std::env::var(name).ok())?;
        let server = endpoint.to_string();
        let client = Client::new(endpoint).map_err(FleetError::from)?;
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(DoorError::Bind)?;
        let port = listener.local_addr().map_err(DoorError::Bind)?.port();
        let url = format!("http://127.0.0.1:{port}/?{SECRET_KEY}={secret}")
            .parse()
            .map_err(|_| DoorError::Bind(std::io::ErrorKind::InvalidInput.into()))?;
        let stop = CancellationToken::new();
        let inside = Arc::new(Inside {
            client,
            // Cookies do not tell ports apart, names do.
            cookie: format!("{SECRET_KEY}-{port}={secret}"),
            secret: secret.to_owned(),
            server,
            stop: stop.clone(),
        });
        let router = Router::new().fallback(answer).with_state(inside);
        let until = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = until.cancelled() => {}
                served = axum::serve(listener, router) => {
                    if let Err(error) = served {
                        tracing::warn!(%error, "the door to a backend's page closed");
                    }
                }
            }
        });
        Ok(Self { url, stop })
    }

    /// The address to open, secret included.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn answer(State(inside): State<Arc<Inside>>, request: Request) -> Response {
    if let Some(welcome) = welcome(&inside, &request) {
        return welcome;
    }
    let Some(cookies) = own_cookie_taken(request.headers(), &inside.cookie) else {
        return (
            StatusCode::FORBIDDEN,
            "This address is for one window alone.",
        )
            .into_response();
    };
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::COOKIE);
    if !cookies.is_empty()
        && let Ok(cookies) = HeaderValue::from_str(&cookies)
    {
        parts.headers.insert(header::COOKIE, cookies);
    }
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    if is_socket(&parts.headers) {
        let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => upgrade,
            Err(refusal) => return refusal.into_response(),
        };
        return match inside.client.forward_socket(&path, &parts.headers).await {
            Ok(server) => upgrade
                .max_message_size(MAX_MESSAGE_BYTES)
                .max_frame_size(MAX_MESSAGE_BYTES)
                .on_upgrade(move |page| pass_messages(page, server, inside.stop.clone())),
            Err(error) => unreachable_server(&error),
        };
    }
    let body = (!matches!(parts.method, Method::GET | Method::HEAD))
        .then(|| reqwest::Body::wrap_stream(body.into_data_stream()));
    match inside
        .client
        .forward(parts.method, &path, &parts.headers, body)
        .await
    {
        Ok(answered) => pass_back(&inside, answered),
        Err(error) => unreachable_server(&error),
    }
}

/// The first address, with the secret: gives the cookie and sends on to the address without it.
fn welcome(inside: &Inside, request: &Request) -> Option<Response> {
    let query = request.uri().query()?;
    let given = query.strip_prefix(SECRET_KEY)?.strip_prefix('=')?;
    if given != inside.secret {
        return None;
    }
    let cookie = format!("{}; Path=/; HttpOnly; SameSite=Strict", inside.cookie);
    Some(
        (
            StatusCode::SEE_OTHER,
            [
                (header::SET_COOKIE, cookie),
                (header::LOCATION, "/".to_owned()),
            ],
        )
            .into_response(),
    )
}

/// The page's cookies without ours, perhaps no other; none when ours is not among them.
fn own_cookie_taken(headers: &HeaderMap, own: &str) -> Option<String> {
    let mut is_there = false;
    let mut others = Vec::new();
    for cookies in headers.get_all(header::COOKIE) {
        for cookie in cookies.to_str().ok()?.split(';').map(str::trim) {
            if cookie == own {
                is_there = true;
            } else if !cookie.is_empty() {
                others.push(cookie);
            }
        }
    }
    is_there.then(|| others.join("; "))
}

fn is_socket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn unreachable_server(error: &crate::comfy::ComfyError) -> Response {
    (StatusCode::BAD_GATEWAY, error.to_string()).into_response()
}

/// The backend's answer as the page gets it: its own address becomes the door's, and its cookies hold here.
fn pass_back(inside: &Inside, answered: reqwest::Response) -> Response {
    let status = answered.status();
    let mut headers = HeaderMap::new();
    for (name, value) in answered.headers() {
        if !is_passed_on(name) {
            continue;
        }
        let value = match (name, value.to_str()) {
            (&header::LOCATION, Ok(place)) => HeaderValue::from_str(own_place(inside, place)).ok(),
            (&header::SET_COOKIE, Ok(cookie)) => HeaderValue::from_str(&own_cookie(cookie)).ok(),
            _ => Some(value.clone()),
        };
        if let Some(value) = value {
            headers.append(name.clone(), value);
        }
    }
    let mut response = Response::new(Body::from_stream(answered.bytes_stream()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A place on the backend, as it is called here; other backends keep their address, to which the window does not go.
fn own_place<'a>(inside: &Inside, place: &'a str) -> &'a str {
    match place.strip_prefix(&inside.server) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => place,
    }
}

/// A cookie without what ties it to the backend's own name and to a secure connection.
fn own_cookie(cookie: &str) -> String {
    let parts: Vec<&str> = cookie
        .split(';')
        .map(str::trim)
        .filter(|part| {
            let name = part.split('=').next().unwrap_or_default().trim();
            !name.eq_ignore_ascii_case("domain")
                && !name.eq_ignore_ascii_case("secure")
                && !part.eq_ignore_ascii_case("samesite=none")
        })
        .collect();
    parts.join("; ")
}

/// Passes messages in both directions until one side ends.
async fn pass_messages(mut page: WebSocket, mut server: ForwardedSocket, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            said = page.recv() => {
                let Some(Ok(said)) = said else { break };
                let is_last = matches!(said, PageMessage::Close(_));
                if server.send(to_server(said)).await.is_err() || is_last {
                    break;
                }
            }
            said = server.next() => {
                let Some(Ok(said)) = said else { break };
                let Some(said) = to_page(said) else { continue };
                let is_last = matches!(said, PageMessage::Close(_));
                if page.send(said).await.is_err() || is_last {
                    break;
                }
            }
        }
    }
}

fn to_server(said: PageMessage) -> ServerMessage {
    match said {
        PageMessage::Text(text) => ServerMessage::text(text.as_str()),
        PageMessage::Binary(bytes) => ServerMessage::Binary(bytes),
        PageMessage::Ping(bytes) => ServerMessage::Ping(bytes),
        PageMessage::Pong(bytes) => ServerMessage::Pong(bytes),
        PageMessage::Close(frame) => ServerMessage::Close(frame.map(|frame| ServerCloseFrame {
            code: frame.code.into(),
            reason: frame.reason.as_str().into(),
        })),
    }
}

fn to_page(said: ServerMessage) -> Option<PageMessage> {
    Some(match said {
        ServerMessage::Text(text) => PageMessage::Text(Utf8Bytes::from(text.as_str())),
        ServerMessage::Binary(bytes) => PageMessage::Binary(bytes),
        ServerMessage::Ping(bytes) => PageMessage::Ping(bytes),
        ServerMessage::Pong(bytes) => PageMessage::Pong(bytes),
        ServerMessage::Close(frame) => PageMessage::Close(frame.map(|frame| CloseFrame {
            code: frame.code.into(),
            reason: Utf8Bytes::from(frame.reason.as_str()),
        })),
        ServerMessage::Frame(_) => return None,
    })
}
