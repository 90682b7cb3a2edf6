//! The built-in backend, used as a client uses a ComfyUI: HTTP and WebSocket over loopback.

use std::{collections::HashMap, path::Path, time::Duration};

use comfyui_orchestrator::builtin::{Server, ServerError, ServerHandle, ServerOptions};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    base: String,
    client: reqwest::Client,
    handle: ServerHandle,
    task: JoinHandle<Result<(), ServerError>>,
    folder: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut ServerOptions)) -> Self {
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

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        body_of(response).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(self.url(path)).json(body);
        body_of(request.send().await.unwrap()).await
    }

    /// Submits a prompt that must be accepted.
    async fn submit(&self, prompt: Value, client_id: &str) -> String {
        let body = json!({ "prompt": prompt, "client_id": client_id });
        let (status, answer) = self.post("/prompt", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["prompt_id"].as_str().unwrap().to_owned()
    }

    /// Waits until a prompt is in the history.
    async fn finished(&self, prompt_id: &str) -> Value {
        for _ in 0..3_000 {
            let (_, history) = self.get(&format!("/history/{prompt_id}")).await;
            if let Some(entry) = history.get(prompt_id) {
                return entry.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("prompt {prompt_id} never finished");
    }

    async fn socket(&self, client_id: &str) -> Socket {
        let url = self.url(&format!("/ws?clientId={client_id}"));
        let url = url.replace("http://", "ws://");
        let (stream, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Socket { stream }
    }
}

async fn body_of(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    let value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    (status, value)
}

struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// A message in short: its type and what tells it apart.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Text(String, Value),
    Binary(Vec<u8>),
}

impl Heard {
    fn short(&self) -> String {
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
    async fn send(&mut self, message: Value) {
        let message = Message::text(message.to_string());
        self.stream.send(message).await.unwrap();
    }

    async fn hear(&mut self) -> Option<Heard> {
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
    async fn hear_run(&mut self) -> Vec<Heard> {
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
    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.stream.next())
            .await
            .is_err()
    }
}

fn shorts(heard: &[Heard]) -> Vec<String> {
    heard.iter().map(Heard::short).collect()
}

fn picture(seed: u64, steps: u32) -> Value {
    json!({
        "1": { "class_type": "OrchestratorPicture", "inputs": {
            "seed": seed, "text": "dusk", "width": 96, "height": 64, "steps": steps,
            "style": "harbour", "detail": 0.5,
        } },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "sub/a" } },
    })
}

#[tokio::test]
async fn a_run_is_told_in_order_and_leaves_files_and_history() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    let hello = socket.hear().await.unwrap();
    assert_eq!(
        hello,
        Heard::Text(
            "status".into(),
            json!({ "status": { "exec_info": { "queue_remaining": 0 } }, "sid": "me" })
        )
    );
    let id = server.submit(picture(1, 2), "me").await;
    let heard = socket.hear_run().await;
    assert_eq!(
        shorts(&heard),
        [
            "status 1",
            "status 1",
            "execution_start",
            "execution_cached []",
            "progress_state 1 running 0.0",
            "executing \"1\"",
            "progress_state 1 running 1",
            "progress 1 of 2",
            "binary 1",
            "progress_state 1 running 2",
            "progress 2 of 2",
            "binary 1",
            "progress_state 1 finished 2",
            "progress_state 1 finished 2, 2 running 0.0",
            "executing \"2\"",
            "executed \"2\"",
            "progress_state 1 finished 2, 2 finished 1.0",
            "execution_success",
            "status 0",
            "executing null",
        ]
    );
    let entry = server.finished(&id).await;
    assert_eq!(entry["status"]["status_str"], "success");
    let file = json!({ "filename": "a_00001_.png", "subfolder": "sub", "type": "output" });
    assert_eq!(entry["outputs"]["2"]["images"], json!([file]));
    assert!(
        server
            .folder
            .path()
            .join("output/sub/a_00001_.png")
            .is_file()
    );
    assert_eq!(server.handle.posts_by_prompt_id(), HashMap::from([(id, 1)]));
    assert!(!server.task.is_finished());
    let _: &Path = server.folder.path();
}
