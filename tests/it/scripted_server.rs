//! A real HTTP and WebSocket server that says what a test tells it to.

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Query, Request, State, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use comfyui_orchestrator::comfy::{Client, Endpoint};
use comfyui_orchestrator::fleet::TlsPolicy;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The material handed out with the project, if it is there.
pub fn shared(path: &str) -> Option<PathBuf> {
    let found = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")).join(path);
    if found.exists() {
        return Some(found);
    }
    println!("skipped: {path} is not here");
    None
}

/// One line of a recording.
pub struct Recorded {
    pub dir: String,
    pub line: Value,
}

/// The recording `name`, if it is there.
pub fn recording(name: &str) -> Option<Vec<Recorded>> {
    let path = shared(&format!("comfyui/captures/{name}.jsonl"))?;
    Some(
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                Recorded {
                    dir: line["dir"].as_str().unwrap().to_owned(),
                    line,
                }
            })
            .collect(),
    )
}

/// The fixture `name`, if it is there.
pub fn fixture(name: &str) -> Option<Value> {
    let path = shared(&format!("comfyui/captures/fixtures/{name}.json"))?;
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

/// What the server answers to one request.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    pub delay: Duration,
}

impl Answer {
    pub fn json(value: &Value) -> Self {
        Self::text(200, &value.to_string()).with("content-type", "application/json; charset=utf-8")
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            delay: Duration::ZERO,
        }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// A request the server got.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Method, path and query.
    pub line: String,
    pub headers: axum::http::HeaderMap,
    pub body: Bytes,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Script {
    /// Method and path (without query) → answers in turn; the last one stays.
    answers: HashMap<String, VecDeque<Answer>>,
    heard: Vec<Heard>,
}

#[derive(Clone)]
struct Shared {
    script: Arc<Mutex<Script>>,
    sockets: mpsc::Sender<ServerSocket>,
}

/// The server's end of a socket.
pub struct ServerSocket {
    pub client_id: String,
    socket: WebSocket,
    /// Dropped when the handler may end.
    _done: tokio::sync::oneshot::Sender<()>,
}

impl ServerSocket {
    pub async fn say(&mut self, value: Value) {
        self.socket
            .send(Message::Text(value.to_string().into()))
            .await
            .unwrap();
    }

    pub async fn say_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The first message of a connection.
    pub async fn greet(&mut self) {
        let sid = self.client_id.clone();
        self.say(json!({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": sid}}))
            .await;
    }

    /// The next text message; `None` when the client has closed or gone.
    pub async fn hear(&mut self) -> Option<Value> {
        loop {
            match timeout(PATIENCE, self.socket.recv()).await.unwrap() {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            }
        }
    }
}

pub struct ScriptedServer {
    pub url: String,
    script: Arc<Mutex<Script>>,
    sockets: mpsc::Receiver<ServerSocket>,
    task: tokio::task::JoinHandle<()>,
}

impl ScriptedServer {
    pub async fn start() -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn start_on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let (sender, sockets) = mpsc::channel(16);
        let app = Router::new()
            .route("/ws", any(socket))
            .fallback(answer)
            .with_state(Shared {
                script: Arc::clone(&script),
                sockets: sender,
            });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            script,
            sockets,
            task,
        }
    }

    /// The next answers to `request` (`GET /queue`); the last one stays.
    pub fn answer(&self, request: &str, answers: impl IntoIterator<Item = Answer>) {
        self.script
            .lock()
            .unwrap()
            .answers
            .insert(request.to_owned(), answers.into_iter().collect());
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.script.lock().unwrap().heard.clone()
    }

    /// Requests whose method and path begin so.
    pub fn heard_of(&self, request: &str) -> Vec<Heard> {
        self.heard()
            .into_iter()
            .filter(|heard| heard.line.starts_with(request))
            .collect()
    }

    pub fn client(&self) -> Client {
        client_of(&self.url)
    }

    /// The next socket a client opens.
    pub async fn socket(&mut self) -> ServerSocket {
        timeout(PATIENCE, self.sockets.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// Whether a client opens a socket within `within`.
    pub async fn socket_within(&mut self, within: Duration) -> Option<ServerSocket> {
        timeout(within, self.sockets.recv()).await.ok().flatten()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client for a server without authentication.
pub fn client_of(url: &str) -> Client {
    let endpoint =
        Endpoint::new(&url.parse().unwrap(), HeaderMap::new(), TlsPolicy::Verify).unwrap();
    Client::new(endpoint).unwrap()
}

async fn socket(
    State(shared): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(|socket| async move {
        let (done, ended) = tokio::sync::oneshot::channel();
        let _ = shared
            .sockets
            .send(ServerSocket {
                client_id: query.get("clientId").cloned().unwrap_or_default(),
                socket,
                _done: done,
            })
            .await;
        let _ = ended.await;
    })
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else {
        return axum::http::StatusCode::BAD_REQUEST.into_response();
    };
    let key = format!("{} {}", parts.method, parts.uri.path());
    let answer = {
        let mut script = shared.script.lock().unwrap();
        script.heard.push(Heard {
            line: format!("{} {}", parts.method, parts.uri),
            headers: parts.headers,
            body,
        });
        match script.answers.get_mut(&key) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        }
        .unwrap_or_else(|| Answer::text(404, "404: Not Found"))
    };
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(answer.body.into()).unwrap()
}
