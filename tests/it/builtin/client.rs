//! A client of the built-in backend that hears everything, and the prompts it sends.

use std::time::Duration;

use comfyui_orchestrator::builtin::{Server, ServerError, ServerHandle, ServerOptions};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Running {
    pub(super) base: String,
    pub(super) client: reqwest::Client,
    pub(super) handle: ServerHandle,
    pub(super) task: JoinHandle<Result<(), ServerError>>,
    pub(super) folder: tempfile::TempDir,
}

impl Running {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut options = ServerOptions::new(folder.path());
        change(&mut options);
        let server = Server::bind(options).await.unwrap();
        let base = format!("http://{}", server.local_addr());
        let handle = server.handle();
        let task = tokio::spawn(server.serve(std::future::pending()));
        Self {
            base,
            client: reqwest::Client::new(),
            handle,
            task,
            folder,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        body_of(response).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(self.url(path)).json(body);
        body_of(request.send().await.unwrap()).await
    }

    /// Submits a prompt that must be accepted.
    pub(super) async fn submit(&self, prompt: Value, client_id: &str) -> String {
        let body = json!({ "prompt": prompt, "client_id": client_id });
        let (status, answer) = self.post("/prompt", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["prompt_id"].as_str().unwrap().to_owned()
    }

    /// Waits until a prompt is in the history.
    pub(super) async fn finished(&self, prompt_id: &str) -> Value {
        for _ in 0..3_000 {
            let (_, history) = self.get(&format!("/history/{prompt_id}")).await;
            if let Some(entry) = history.get(prompt_id) {
                return entry.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("prompt {prompt_id} never finished");
    }

    pub(super) async fn socket(&self, client_id: &str) -> Socket {
        let url = self.url(&format!("/ws?clientId={client_id}"));
        let url = url.replace("http://", "ws://");
        let (stream, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Socket { stream }
    }
}

pub(super) async fn body_of(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    let value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    (status, value)
}

pub(super) struct Socket {
    pub(super) stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// A message in short: its type and what tells it apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    Text(String, Value),
    Binary(Vec<u8>),
}

impl Heard {
    pub(super) fn short(&self) -> String {
        match self {
            Self::Binary(frame) => format!("binary {}", frame[3]),
            Self::Text(kind, data) => match kind.as_str() {
                "executing" | "executed" => format!("{kind} {}", data["node"]),
                "progress" => format!("{kind} {} of {}", data["value"], data["max"]),
                "status" => format!("{kind} {}", data["status"]["exec_info"]["queue_remaining"]),
                "execution_cached" => format!("{kind} {}", data["nodes"]),
                "progress_state" => {
                    let states: Vec<String> = data["nodes"]
                        .as_object()
                        .unwrap()
                        .iter()
                        .map(|(id, state)| {
                            format!(
                                "{id} {} {}",
                                state["state"].as_str().unwrap(),
                                state["value"]
                            )
                        })
                        .collect();
                    format!("{kind} {}", states.join(", "))
                }
                _ => kind.clone(),
            },
        }
    }
}

impl Socket {
    pub(super) async fn send(&mut self, message: Value) {
        let message = Message::text(message.to_string());
        self.stream.send(message).await.unwrap();
    }

    pub(super) async fn hear(&mut self) -> Option<Heard> {
        match timeout(PATIENCE, self.stream.next())
            .await
            .expect("no message came")
        {
            Some(Ok(Message::Text(text))) => {
                let mut message: Value = serde_json::from_str(&text).unwrap();
                let kind = message["type"].as_str().unwrap().to_owned();
                Some(Heard::Text(kind, message["data"].take()))
            }
            Some(Ok(Message::Binary(frame))) => Some(Heard::Binary(frame.to_vec())),
            _ => None,
        }
    }

    /// Everything up to the end mark of a prompt.
    pub(super) async fn hear_run(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(message) = self.hear().await {
            let is_end = matches!(&message, Heard::Text(kind, data) if kind == "executing" && data["node"].is_null());
            heard.push(message);
            if is_end {
                return heard;
            }
        }
        panic!("the socket closed before the run ended: {heard:?}");
    }

    /// Whether nothing comes for a while.
    pub(super) async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.stream.next())
            .await
            .is_err()
    }
}

pub(super) fn shorts(heard: &[Heard]) -> Vec<String> {
    heard.iter().map(Heard::short).collect()
}

pub(super) fn picture(seed: u64, steps: u32) -> Value {
    json!({
        "1": { "class_type": "OrchestratorPicture", "inputs": {
            "seed": seed, "text": "dusk", "width": 96, "height": 64, "steps": steps,
            "style": "harbour", "detail": 0.5,
        } },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "sub/a" } },
    })
}

pub(super) fn sleep(seconds: f64, steps: u32, seed: u64) -> Value {
    json!({
        "1": { "class_type": "OrchestratorSleep", "inputs": { "seconds": seconds, "steps": steps, "seed": seed, "anything": "done" } },
        "2": { "class_type": "PreviewAny", "inputs": { "source": ["1", 0] } },
    })
}

pub(super) fn png_bytes(width: u32, height: u32, color: [u8; 4]) -> Vec<u8> {
    let picture = image::RgbaImage::from_pixel(width, height, image::Rgba(color));
    let mut out = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

impl Running {
    pub(super) async fn upload(
        &self,
        path: &str,
        name: &str,
        bytes: &[u8],
        fields: &[(&str, &str)],
    ) -> (u16, Value) {
        let part = reqwest::multipart::Part::bytes(bytes.to_vec()).file_name(name.to_owned());
        let mut form = reqwest::multipart::Form::new().part("image", part);
        for (name, value) in fields {
            form = form.text((*name).to_owned(), (*value).to_owned());
        }
        let request = self.client.post(self.url(path)).multipart(form);
        body_of(request.send().await.unwrap()).await
    }

    /// The last message of a run that must fail.
    pub(super) async fn error_of(&self, prompt: Value) -> Value {
        let id = self.submit(prompt, "x").await;
        let entry = self.finished(&id).await;
        let last = entry["status"]["messages"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        assert_eq!(last[0], "execution_error", "{entry}");
        last[1].clone()
    }
}
