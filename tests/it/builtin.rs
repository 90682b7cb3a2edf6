//! The built-in backend, used as a client uses a ComfyUI: HTTP and WebSocket over loopback.

use std::{collections::HashMap, path::Path, time::Duration};

use comfyui_orchestrator::builtin::{Server, ServerError, ServerHandle, ServerOptions};
use futures_util::{SinkExt, StreamExt};
use image::AnimationDecoder;
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

    let png = std::fs::read(server.folder.path().join("output/sub/a_00001_.png")).unwrap();
    let reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .unwrap();
    let text = &reader.info().uncompressed_latin1_text[0];
    assert_eq!(text.keyword, "prompt");
    assert_eq!(
        serde_json::from_str::<Value>(&text.text).unwrap(),
        picture(1, 2)
    );
    assert!(
        text.text
            .starts_with(r#"{"1": {"class_type": "OrchestratorPicture", "inputs": {"seed": 1, "#)
    );
}

#[tokio::test]
async fn clients_with_the_flag_get_previews_with_ids_before_the_progress() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    socket
        .send(json!({ "type": "feature_flags", "data": { "supports_preview_metadata": true } }))
        .await;
    socket.hear().await.unwrap();
    let Some(Heard::Text(kind, flags)) = socket.hear().await else {
        panic!()
    };
    assert_eq!(
        (kind.as_str(), &flags),
        ("feature_flags", &server.get("/features").await.1)
    );
    // Only the first message counts.
    socket
        .send(json!({ "type": "feature_flags", "data": { "supports_preview_metadata": false } }))
        .await;
    let id = server.submit(picture(2, 1), "me").await;
    let heard = socket.hear_run().await;
    let frame = heard.iter().find_map(|message| match message {
        Heard::Binary(frame) => Some(frame.clone()),
        Heard::Text(..) => None,
    });
    let names = shorts(&heard);
    let at = names.iter().position(|name| name == "binary 4").unwrap();
    assert_eq!(names[at + 1], "progress 1 of 1");
    let frame = frame.unwrap();
    let length = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
    let metadata: Value = serde_json::from_slice(&frame[8..8 + length]).unwrap();
    assert_eq!(
        metadata,
        json!({
            "node_id": "1", "prompt_id": id, "display_node_id": "1", "parent_node_id": null,
            "real_node_id": "1", "image_type": "image/jpeg",
        })
    );
    let preview = image::load_from_memory(&frame[8 + length..]).unwrap();
    assert_eq!((preview.width(), preview.height()), (96, 64));
}

#[tokio::test]
async fn equal_seeds_give_equal_bytes_on_every_server_and_other_seeds_do_not() {
    let (first, second) = (Running::start().await, Running::start().await);
    let mut files = Vec::new();
    for (server, seed) in [(&first, 5), (&second, 5), (&second, 6)] {
        let id = server.submit(picture(seed, 3), "x").await;
        let entry = server.finished(&id).await;
        let file = &entry["outputs"]["2"]["images"][0];
        let path = format!(
            "/view?filename={}&subfolder=sub&type=output&channel=rgb",
            file["filename"].as_str().unwrap()
        );
        let response = first.client.get(server.url(&path)).send().await.unwrap();
        files.push(response.bytes().await.unwrap());
    }
    assert_eq!(files[0], files[1]);
    assert_ne!(files[1], files[2]);
}

#[tokio::test]
async fn a_cached_run_reports_old_names_and_writes_nothing() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    socket.hear().await.unwrap();
    server.submit(picture(1, 1), "me").await;
    socket.hear_run().await;
    let file = server.folder.path().join("output/sub/a_00001_.png");
    std::fs::remove_file(&file).unwrap();

    server.submit(picture(1, 1), "me").await;
    let heard = socket.hear_run().await;
    assert_eq!(
        shorts(&heard),
        [
            "status 1",
            "status 1",
            "execution_start",
            r#"execution_cached ["1","2"]"#,
            "executed \"2\"",
            "progress_state 2 finished 1",
            "execution_success",
            "status 0",
            "executing null",
        ]
    );
    assert!(!file.exists());
    let (status, _) = server
        .get("/view?filename=a_00001_.png&subfolder=sub")
        .await;
    assert_eq!(status, 404);

    // Another prefix runs the save node only; forgetting the cache runs everything.
    let mut renamed = picture(1, 1);
    renamed["2"]["inputs"]["filename_prefix"] = json!("b");
    server.submit(renamed.clone(), "me").await;
    let names = shorts(&socket.hear_run().await);
    assert!(
        names.contains(&r#"execution_cached ["1"]"#.to_owned()),
        "{names:?}"
    );
    assert_eq!(
        server
            .post("/free", &json!({ "free_memory": true }))
            .await
            .0,
        200
    );
    server.submit(renamed, "me").await;
    let names = shorts(&socket.hear_run().await);
    assert!(
        names.contains(&"execution_cached []".to_owned()),
        "{names:?}"
    );
    assert!(server.folder.path().join("output/b_00002_.png").is_file());
}

fn sleep(seconds: f64, steps: u32, seed: u64) -> Value {
    json!({
        "1": { "class_type": "OrchestratorSleep", "inputs": { "seconds": seconds, "steps": steps, "seed": seed, "anything": "done" } },
        "2": { "class_type": "PreviewAny", "inputs": { "source": ["1", 0] } },
    })
}

#[tokio::test]
async fn an_interrupt_ends_the_running_prompt_and_no_other() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    // Nothing runs: the next prompt is not hit.
    server.post("/interrupt", &json!({})).await;
    let long = server.submit(sleep(60.0, 600, 1), "me").await;
    let next = server.submit(sleep(0.1, 1, 2), "me").await;
    loop {
        if socket
            .hear()
            .await
            .unwrap()
            .short()
            .starts_with("progress ")
        {
            break;
        }
    }
    // Not the running one: nothing happens.
    server
        .post("/interrupt", &json!({ "prompt_id": next }))
        .await;
    let (_, queue) = server.get("/queue").await;
    assert_eq!(queue["queue_running"][0][1], json!(long));
    assert_eq!(queue["queue_pending"][0][1], json!(next));
    server
        .post("/interrupt", &json!({ "prompt_id": long }))
        .await;
    let entry = server.finished(&long).await;
    assert_eq!(entry["status"]["status_str"], "error");
    assert_eq!(entry["status"]["completed"], false);
    let last = entry["status"]["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(last[0], "execution_interrupted");
    assert_eq!(
        (&last[1]["node_id"], &last[1]["node_type"]),
        (&json!("1"), &json!("OrchestratorSleep"))
    );
    assert_eq!(
        server.get(&format!("/api/jobs/{long}")).await.1["status"],
        "failed"
    );
    assert_eq!(
        server.finished(&next).await["outputs"]["2"]["text"],
        json!(["done"])
    );
    // The whole history, a page of it, and forgetting it.
    let (_, all) = server.get("/history").await;
    assert_eq!(
        all.as_object().unwrap().keys().collect::<Vec<_>>(),
        [&long, &next]
    );
    let (_, page) = server.get("/api/history?max_items=1").await;
    assert_eq!(
        page.as_object().unwrap().keys().collect::<Vec<_>>(),
        [&next]
    );
    server.post("/history", &json!({ "delete": [long] })).await;
    assert_eq!(server.get(&format!("/history/{long}")).await.1, json!({}));
}

#[tokio::test]
async fn the_queue_runs_the_lowest_number_first() {
    let server = Running::start().await;
    server.submit(sleep(2.0, 1, 0), "x").await;
    // Once the worker has it, everything else waits, whatever its number.
    while server.get("/queue").await.1["queue_running"] == json!([]) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let submit = async |id: &str, more: Value| {
        let mut body = json!({ "prompt": sleep(0.0, 1, 1), "prompt_id": id, "client_id": "x",
            "extra_data": { "api_key_comfy_org": "secret", "auth_token_comfy_org": "secret" } });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.post("/prompt", &body).await
    };
    assert_eq!(submit("a", json!({})).await.1["number"].to_string(), "1");
    assert_eq!(
        submit("front", json!({ "front": true })).await.1["number"].to_string(),
        "-2"
    );
    assert_eq!(
        submit("given", json!({ "number": -5 })).await.1["number"].to_string(),
        "-5.0"
    );
    assert_eq!(submit("gone", json!({})).await.0, 200);
    // The same place and id while it waits: 500, and queued all the same.
    assert_eq!(submit("given", json!({ "number": -5 })).await.0, 500);
    assert_eq!(
        server
            .post("/queue", &json!({ "delete": ["gone", "unknown"] }))
            .await,
        (200, json!(""))
    );
    let (_, queue) = server.get("/queue").await;
    assert_eq!(queue["queue_pending"].as_array().unwrap().len(), 4);
    assert!(!queue.to_string().contains("secret"));
    assert_eq!(
        server.get("/prompt").await.1,
        json!({ "exec_info": { "queue_remaining": 5 } })
    );
    server.finished("a").await;
    let (_, history) = server.get("/history").await;
    let ids: Vec<&String> = history.as_object().unwrap().keys().skip(1).collect();
    assert_eq!(ids, ["given", "front", "a"]);
    assert_eq!(server.handle.posts_by_prompt_id()["given"], 2);
}

#[tokio::test]
async fn messages_go_to_their_client_and_without_one_partly_to_everybody() {
    let server = Running::start().await;
    let mut owner = server.socket("owner").await;
    let mut other = server.socket("other").await;
    owner.hear().await.unwrap();
    other.hear().await.unwrap();
    server.submit(picture(1, 1), "owner").await;
    owner.hear_run().await;
    let heard: Vec<String> = vec![
        other.hear().await.unwrap().short(),
        other.hear().await.unwrap().short(),
        other.hear().await.unwrap().short(),
    ];
    assert_eq!(heard, ["status 1", "status 1", "status 0"]);
    assert!(other.is_silent().await);

    let (_, answer) = server
        .post("/prompt", &json!({ "prompt": picture(2, 1) }))
        .await;
    server.finished(answer["prompt_id"].as_str().unwrap()).await;
    let mut heard = Vec::new();
    loop {
        let message = other.hear().await.unwrap().short();
        heard.push(message.clone());
        if message == "status 0" {
            break;
        }
    }
    assert_eq!(
        heard,
        [
            "status 1",
            "status 1",
            "progress_state 1 running 0.0",
            "progress_state 1 running 1",
            "progress 1 of 1",
            "binary 1",
            "progress_state 1 finished 1",
            "progress_state 1 finished 1, 2 running 0.0",
            "progress_state 1 finished 1, 2 finished 1.0",
            "status 0",
        ]
    );
    assert!(other.is_silent().await);
}

#[tokio::test]
async fn a_reconnect_replays_nothing_and_one_id_twice_is_a_trap() {
    let server = Running::start().await;
    let mut older = server.socket("one").await;
    older.hear().await.unwrap();
    server.submit(sleep(1.0, 4, 1), "one").await;
    while !older.hear().await.unwrap().short().starts_with("progress ") {}
    let mut newer = server.socket("one").await;
    assert_eq!(newer.hear().await.unwrap().short(), "status 1");
    assert_eq!(
        newer.hear().await,
        Some(Heard::Text("executing".into(), json!({ "node": "1" })))
    );
    newer.hear_run().await;
    drop(older);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let id = server.submit(sleep(0.0, 1, 2), "one").await;
    server.finished(&id).await;
    assert!(newer.is_silent().await);
}

#[tokio::test]
async fn failures_look_like_comfyuis() {
    let server = Running::start().await;
    let fail = |mode: &str| {
        json!({
            "1": { "class_type": "EmptyImage", "inputs": { "width": 8, "height": 8, "batch_size": 1, "color": 0 } },
            "2": { "class_type": "OrchestratorFail", "inputs": { "mode": mode, "message": "no luck", "after_seconds": 0, "anything": ["1", 0] } },
            "3": { "class_type": "PreviewAny", "inputs": { "source": ["2", 0] } },
            "4": { "class_type": "PreviewImage", "inputs": { "images": ["1", 0] } },
        })
    };
    let mut socket = server.socket("me").await;
    let id = server.submit(fail("error"), "me").await;
    let heard = socket.hear_run().await;
    let Some(Heard::Text(_, data)) = heard
        .iter()
        .find(|message| message.short() == "execution_error")
    else {
        panic!()
    };
    assert_eq!(data["exception_type"], "RuntimeError");
    assert_eq!(data["exception_message"], "no luck\n");
    assert_eq!(
        (&data["node_id"], &data["node_type"]),
        (&json!("2"), &json!("OrchestratorFail"))
    );
    assert_eq!(data["executed"], json!(["1", "4"]));
    assert_eq!(data["current_inputs"]["message"], json!(["no luck"]));
    assert!(data["traceback"].is_array());
    let entry = server.finished(&id).await;
    assert_eq!(
        entry["status"]["messages"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()[1],
        *data
    );
    // What was made before is kept, and the job tells the error.
    assert_eq!(entry["outputs"]["4"]["images"][0]["type"], "temp");
    assert_eq!(
        server.get(&format!("/api/jobs/{id}")).await.1["execution_error"],
        *data
    );
    assert_eq!(
        server.get("/api/jobs?status=completed").await.1["pagination"]["total"],
        0
    );
    assert_eq!(server.get("/api/jobs?status=bogus").await.0, 400);

    let id = server.submit(fail("out of memory"), "me").await;
    let entry = server.finished(&id).await;
    let error = entry["status"]["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()[1]
        .clone();
    assert_eq!(error["exception_type"], "torch.OutOfMemoryError");
    assert!(
        error["exception_message"]
            .as_str()
            .unwrap()
            .starts_with("no luck\nThis error means you ran out of memory")
    );

    // "exit" cuts every connection, as a crash does; a little later, so that the answer to the submission gets out.
    let mut exit = fail("exit");
    exit["2"]["inputs"]["after_seconds"] = json!(0.3);
    server.submit(exit, "me").await;
    while socket.hear().await.is_some() {}
    let ended = timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(
        matches!(ended, Err(ServerError::EndedByNode { .. })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_killed_server_forgets_its_queue_and_can_start_again_at_the_same_place() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    server.submit(json!({
        "1": { "class_type": "OrchestratorFail", "inputs": { "mode": "hang", "message": "", "after_seconds": 0 } },
        "2": { "class_type": "PreviewAny", "inputs": { "source": ["1", 0] } },
    }), "me").await;
    while !socket
        .hear()
        .await
        .unwrap()
        .short()
        .starts_with("executing")
    {}
    server.handle.stop_abruptly();
    while socket.hear().await.is_some() {}
    timeout(PATIENCE, server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        server
            .client
            .get(format!("{}/queue", server.base))
            .send()
            .await
            .is_err()
    );

    let mut options = ServerOptions::new(server.folder.path());
    options.address = server.base.trim_start_matches("http://").parse().unwrap();
    let again = Server::bind(options).await.unwrap();
    let taken = Server::bind(ServerOptions {
        address: again.local_addr(),
        ..ServerOptions::new(server.folder.path())
    })
    .await;
    assert!(
        taken
            .err()
            .unwrap()
            .to_string()
            .contains("choose another port")
    );
    tokio::spawn(again.serve(std::future::pending()));
    let queue = server
        .client
        .get(format!("{}/queue", server.base))
        .send()
        .await
        .unwrap();
    assert_eq!(
        body_of(queue).await,
        (200, json!({ "queue_running": [], "queue_pending": [] }))
    );
}

/// The recordings beside the checkout, or a line that says why the test has nothing to do.
fn recordings() -> Option<std::path::PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/comfyui")).to_path_buf();
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no recordings at {}", folder.display());
    None
}

/// Recorded answers name the recorded server's source lines in tracebacks; the rest must be equal.
fn without_tracebacks(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| name.as_str() != "traceback")
            .map(|(name, value)| (name.clone(), without_tracebacks(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_tracebacks).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn prompts_are_refused_and_accepted_as_recorded() {
    let Some(recordings) = recordings() else {
        return;
    };
    let server = Running::start().await;
    // Other classes than the built-in ones, a header, and a body that is no JSON.
    let skipped = [
        "combo_with_20_options",
        "missing_model_file",
        "unknown_combo_value_v3",
        "origin_header",
        "body_not_json",
    ];
    let mut compared = 0;
    for entry in std::fs::read_dir(recordings.join("captures/fixtures")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("prompt_") || skipped.iter().any(|part| name.contains(part)) {
            continue;
        }
        let recorded: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let (status, mut answer) = server.post("/prompt", &recorded["request"]).await;
        let mut wanted = recorded["response"].clone();
        assert_eq!(json!(status), recorded["status"], "{name}: {answer}");
        for side in [&mut answer, &mut wanted] {
            if recorded["request"]["prompt_id"].is_null() && !side["prompt_id"].is_null() {
                side["prompt_id"] = json!("chosen by the server");
            }
            if recorded["request"]["number"].is_null() && !side["number"].is_null() {
                side["number"] = json!("counted by the server");
            }
        }
        assert_eq!(
            without_tracebacks(&answer),
            without_tracebacks(&wanted),
            "{name}"
        );
        compared += 1;
    }
    assert!(compared > 20, "only {compared} recordings were compared");
    let not_json = server
        .client
        .post(server.url("/prompt"))
        .body("not json")
        .send()
        .await
        .unwrap();
    assert_eq!(
        body_of(not_json).await,
        (
            500,
            json!("500 Internal Server Error\n\nServer got itself in trouble")
        )
    );
}

#[tokio::test]
async fn node_classes_describe_themselves_as_recorded() {
    let server = Running::start().await;
    std::fs::write(server.folder.path().join("input/in.png"), "").unwrap();
    let (_, classes) = server.get("/object_info").await;
    assert_eq!(server.get("/object_info/NoSuch").await, (200, json!({})));
    assert_eq!(
        classes["LoadImage"]["input"]["required"]["image"],
        json!([["in.png"], { "image_upload": true }])
    );
    let Some(recordings) = recordings() else {
        return;
    };
    let bytes = std::fs::read(recordings.join("object_info-0.8.0.json")).unwrap();
    let recorded: Value = serde_json::from_slice(&bytes).unwrap();
    let mut compared = 0;
    for (name, class) in classes.as_object().unwrap() {
        if name.starts_with("Orchestrator") {
            assert_eq!(class["category"], "orchestrator");
            continue;
        }
        let mut wanted = recorded[name].clone();
        if name == "LoadImage" || name == "LoadImageMask" {
            wanted["input"]["required"]["image"][0] = json!(["in.png"]);
        }
        if name == "LoadAudio" {
            wanted["input"]["required"]["audio"][1]["options"] = json!([]);
        }
        assert_eq!(class, &wanted, "{name}");
        compared += 1;
    }
    assert!(compared >= 40, "{compared} classes");
}

fn png_bytes(width: u32, height: u32, color: [u8; 4]) -> Vec<u8> {
    let picture = image::RgbaImage::from_pixel(width, height, image::Rgba(color));
    let mut out = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut out, image::ImageFormat::Png).unwrap();
    out.into_inner()
}

impl Running {
    async fn upload(
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
    async fn error_of(&self, prompt: Value) -> Value {
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

#[tokio::test]
async fn uploads_get_a_free_name_inside_their_folder() {
    let server = Running::start().await;
    let (red, blue) = (
        png_bytes(4, 4, [255, 0, 0, 128]),
        png_bytes(4, 4, [0, 0, 255, 255]),
    );
    let stored = |name: &str, subfolder: &str, place: &str| {
        (
            200,
            json!({ "name": name, "subfolder": subfolder, "type": place }),
        )
    };
    assert_eq!(
        server.upload("/upload/image", "in.png", &red, &[]).await,
        stored("in.png", "", "input")
    );
    assert_eq!(
        server.upload("/upload/image", "in.png", &red, &[]).await,
        stored("in.png", "", "input")
    );
    assert_eq!(
        server.upload("/upload/image", "in.png", &blue, &[]).await,
        stored("in (1).png", "", "input")
    );
    assert_eq!(
        server
            .upload(
                "/api/upload/image",
                "in.png",
                &blue,
                &[("overwrite", "true")]
            )
            .await,
        stored("in.png", "", "input")
    );
    assert_eq!(
        server
            .upload(
                "/upload/image",
                "in.png",
                &red,
                &[("subfolder", "sub"), ("type", "temp")]
            )
            .await,
        stored("in.png", "sub", "temp")
    );
    assert_eq!(
        server
            .upload("/upload/image", "clip.mp4", b"film", &[])
            .await,
        stored("clip.mp4", "", "input")
    );
    let reference = r#"{"filename": "in.png", "subfolder": "", "type": "input"}"#;
    let fields = [("original_ref", reference), ("subfolder", "clipspace")];
    assert_eq!(
        server
            .upload("/upload/mask", "mask.png", &red, &fields)
            .await,
        stored("mask.png", "clipspace", "input")
    );
    let masked = image::open(server.folder.path().join("input/clipspace/mask.png"))
        .unwrap()
        .into_rgba8();
    assert_eq!(masked.get_pixel(0, 0).0, [0, 0, 255, 128]);

    for (name, fields, status) in [
        ("../evil.png", [("type", "input")], 400),
        ("in.png", [("subfolder", "../../out")], 400),
        ("in.png", [("subfolder", "/tmp")], 400),
        ("in.png", [("type", "bogus")], 500),
        ("a/b.png", [("type", "input")], 500),
    ] {
        assert_eq!(
            server.upload("/upload/image", name, &red, &fields).await.0,
            status,
            "{name} {fields:?}"
        );
    }
    let empty = reqwest::multipart::Form::new().text("type", "input");
    let answer = server
        .client
        .post(server.url("/upload/image"))
        .multipart(empty)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    let film = vec![7; 5 * 1024 * 1024];
    assert_eq!(
        server.upload("/upload/image", "film.mp4", &film, &[]).await,
        stored("film.mp4", "", "input")
    );
    let large = vec![0; 100 * 1024 * 1024 + 1];
    assert_eq!(
        server
            .upload("/upload/image", "large.bin", &large, &[])
            .await,
        (413, json!("Maximum request body size 104857600 exceeded."))
    );

    // A picture and its alpha, from a subfolder and from another place.
    let load = |name: &str| {
        json!({
            "1": { "class_type": "LoadImage", "inputs": { "image": name } },
            "2": { "class_type": "MaskPreview", "inputs": { "mask": ["1", 1] } },
            "3": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "loaded" } },
        })
    };
    for name in ["clipspace/mask.png", "sub/in.png [temp]"] {
        let id = server.submit(load(name), "x").await;
        let entry = server.finished(&id).await;
        let shown = &entry["outputs"]["2"];
        assert_eq!(shown["animated"], json!([false]));
        let file = shown["images"][0]["filename"].as_str().unwrap();
        let mask = image::open(server.folder.path().join("temp").join(file))
            .unwrap()
            .into_luma8();
        // 1 - 128/255, truncated as ComfyUI truncates.
        assert_eq!(mask.get_pixel(0, 0).0, [126]);
    }
}

#[tokio::test]
async fn pictures_that_cannot_be_read_or_written_fail_clearly() {
    let server = Running::start().await;
    let load = |name: &str| {
        json!({
            "1": { "class_type": "LoadImage", "inputs": { "image": name } },
            "2": { "class_type": "PreviewImage", "inputs": { "images": ["1", 0] } },
        })
    };
    // A valid header that declares 60,000 x 60,000 pixels, and no data.
    let mut bomb = png_bytes(1, 1, [0; 4]);
    bomb[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let input = server.folder.path().join("input");
    std::fs::write(input.join("bomb.png"), bomb).unwrap();
    std::fs::write(input.join("broken.png"), "no picture").unwrap();
    let error = server.error_of(load("bomb.png")).await;
    assert_eq!(error["exception_type"], "PIL.Image.DecompressionBombError");
    let error = server.error_of(load("broken.png")).await;
    assert_eq!(error["exception_type"], "PIL.UnidentifiedImageError");
    assert_eq!(
        error["exception_message"],
        "cannot identify image file 'input/broken.png'\n"
    );

    let save = |prefix: &str, width: u32| {
        json!({
            "1": { "class_type": "EmptyImage", "inputs": { "width": width, "height": width, "batch_size": 1, "color": 255 } },
            "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": prefix } },
        })
    };
    for prefix in ["../evil", "/tmp/evil", "a/../../evil", "..\\evil"] {
        let error = server.error_of(save(prefix, 8)).await;
        assert!(
            error["exception_message"]
                .as_str()
                .unwrap()
                .contains("outside the output folder"),
            "{error}"
        );
    }
    assert!(!server.folder.path().join("evil_00001_.png").exists());
    let error = server.error_of(save("large", 16_384)).await;
    assert!(
        error["exception_message"]
            .as_str()
            .unwrap()
            .contains("Use a smaller size"),
        "{error}"
    );
    // The server goes on.
    let id = server.submit(save("%width%x%height%", 8), "x").await;
    assert_eq!(
        server.finished(&id).await["outputs"]["2"]["images"][0]["filename"],
        "8x8_00001_.png"
    );
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                sum >> 1 ^ 0xEDB8_8320
            } else {
                sum >> 1
            }
        })
    })
}

#[tokio::test]
async fn files_are_viewed_whole_in_part_and_reencoded_but_never_from_outside() {
    let server = Running::start().await;
    let bytes = png_bytes(8, 8, [10, 20, 30, 40]);
    std::fs::write(server.folder.path().join("output/a.png"), &bytes).unwrap();
    std::fs::write(server.folder.path().join("output/page.html"), "<script>").unwrap();
    let ask = async |query: &str, headers: &[(&'static str, &str)]| {
        let mut request = server.client.get(server.url(&format!("/view?{query}")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let header = |response: &reqwest::Response, name: &str| {
        response.headers()[name].to_str().unwrap().to_owned()
    };
    let whole = ask("filename=a.png", &[]).await;
    assert_eq!(
        (
            header(&whole, "content-type").as_str(),
            header(&whole, "content-disposition").as_str()
        ),
        ("image/png", "filename=\"a.png\"")
    );
    let etag = header(&whole, "etag");
    assert!(whole.headers().contains_key("last-modified"));
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let part = ask("filename=a.png&type=output", &[("range", "bytes=1-3")]).await;
    assert_eq!(
        (part.status().as_u16(), header(&part, "content-range")),
        (206, format!("bytes 1-3/{}", bytes.len()))
    );
    assert_eq!(part.bytes().await.unwrap(), bytes[1..4]);
    assert_eq!(
        ask("filename=a.png", &[("range", "bytes=99999-")])
            .await
            .status(),
        416
    );
    assert_eq!(
        ask("filename=a.png", &[("if-none-match", &etag)])
            .await
            .status(),
        304
    );
    let head = server
        .client
        .head(server.url("/view?filename=a.png"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-length")),
        (200, bytes.len().to_string())
    );
    assert_eq!(
        header(&ask("filename=page.html", &[]).await, "content-type"),
        "application/octet-stream"
    );
    for (query, kind, format) in [
        ("preview=webp;80", "image/webp", image::ImageFormat::WebP),
        ("preview=jpeg;50", "image/jpeg", image::ImageFormat::Jpeg),
        ("channel=rgb", "image/png", image::ImageFormat::Png),
        ("channel=a", "image/png", image::ImageFormat::Png),
    ] {
        let answer = ask(&format!("filename=a.png&{query}"), &[]).await;
        assert_eq!(header(&answer, "content-type"), kind);
        let picture =
            image::load_from_memory_with_format(&answer.bytes().await.unwrap(), format).unwrap();
        assert_eq!((picture.width(), picture.height()), (8, 8));
    }
    for (query, status) in [
        ("", 404),
        ("filename=", 400),
        ("filename=b.png", 404),
        ("filename=../output/a.png", 400),
        ("filename=/etc/passwd", 400),
        ("filename=a.png&type=bogus", 400),
        ("filename=a.png&subfolder=../..", 403),
        ("filename=passwd&subfolder=/etc", 403),
        ("filename=%00", 404),
        ("filename=page.html&preview=webp", 500),
    ] {
        assert_eq!(ask(query, &[]).await.status(), status, "{query}");
    }
}

#[tokio::test]
async fn a_batch_becomes_one_animated_file() {
    let server = Running::start().await;
    let prompt = json!({
        "1": { "class_type": "EmptyImage", "inputs": { "width": 10, "height": 6, "batch_size": 2, "color": 0xFF_0000 } },
        "2": { "class_type": "EmptyImage", "inputs": { "width": 5, "height": 3, "batch_size": 1, "color": 0x00_00FF } },
        "3": { "class_type": "ImageBatch", "inputs": { "image1": ["1", 0], "image2": ["2", 0] } },
        "4": { "class_type": "SaveAnimatedWEBP", "inputs": { "images": ["3", 0], "filename_prefix": "w", "fps": 10.0, "lossless": true, "quality": 80, "method": "default" } },
        "5": { "class_type": "SaveAnimatedPNG", "inputs": { "images": ["3", 0], "filename_prefix": "p", "fps": 10.0, "compress_level": 4 } },
        "6": { "class_type": "GetImageSize", "inputs": { "image": ["3", 0] } },
        "7": { "class_type": "PreviewAny", "inputs": { "source": ["6", 2] } },
    });
    let id = server.submit(prompt, "x").await;
    let outputs = server.finished(&id).await["outputs"].clone();
    assert_eq!(
        outputs["4"],
        json!({ "images": [{ "filename": "w_00001_.webp", "subfolder": "", "type": "output" }], "animated": [true] })
    );
    assert_eq!(outputs["7"]["text"], json!(["3"]));
    let read = |name: &str| {
        std::io::Cursor::new(std::fs::read(server.folder.path().join("output").join(name)).unwrap())
    };
    let webp = image::codecs::webp::WebPDecoder::new(read("w_00001_.webp")).unwrap();
    let png = image::codecs::png::PngDecoder::new(read("p_00001_.png"))
        .unwrap()
        .apng()
        .unwrap();
    for frames in [webp.into_frames(), png.into_frames()] {
        let frames = frames.collect_frames().unwrap();
        let colors: Vec<[u8; 4]> = frames
            .iter()
            .map(|frame| frame.buffer().get_pixel(9, 5).0)
            .collect();
        assert_eq!(
            colors,
            [[255, 0, 0, 255], [255, 0, 0, 255], [0, 0, 255, 255]]
        );
        assert_eq!(frames[0].delay().numer_denom_ms(), (100, 1));
    }
}

#[tokio::test]
async fn the_frontend_finds_its_files_and_settings() {
    let pages = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(pages.path().join("web/extensions/core")).unwrap();
    std::fs::write(
        pages.path().join("web/index.html"),
        "<title>ComfyUI</title>",
    )
    .unwrap();
    std::fs::write(pages.path().join("web/extensions/core/a.js"), "").unwrap();
    std::fs::write(pages.path().join("secret.txt"), "secret").unwrap();
    let server =
        Running::start_with(|options| options.frontend_dir = Some(pages.path().join("web"))).await;
    assert_eq!(
        server.get("/").await,
        (200, json!("<title>ComfyUI</title>"))
    );
    assert_eq!(
        server.get("/extensions").await,
        (200, json!(["/extensions/core/a.js"]))
    );
    assert_eq!(server.get("/%2e%2e/secret.txt").await.0, 404);
    assert_eq!(server.get("/..%2fsecret.txt").await.0, 404);

    assert_eq!(
        server.get("/users").await,
        (200, json!({ "storage": "server", "migrated": false }))
    );
    assert_eq!(
        server
            .post("/api/settings", &json!({ "Comfy.A": 1 }))
            .await
            .0,
        200
    );
    assert_eq!(server.post("/settings/Comfy.B", &json!([2])).await.0, 200);
    assert_eq!(
        server.get("/settings").await.1,
        json!({ "Comfy.A": 1, "Comfy.B": [2] })
    );
    assert_eq!(server.get("/settings/Comfy.C").await.1, Value::Null);

    let list = "/api/userdata?dir=workflows&recurse=true&split=false&full_info=true";
    assert_eq!(server.get(list).await, (404, json!("Directory not found")));
    let file = "/api/userdata/workflows%2Fa.json";
    let write = format!("{file}?overwrite=false&full_info=true");
    let (status, info) = server.post(&write, &json!({ "x": 1 })).await;
    assert_eq!(
        (status, &info["path"], &info["size"]),
        (200, &json!("workflows/a.json"), &json!(7))
    );
    assert_eq!(
        server.post(&write, &json!({})).await,
        (409, json!("File already exists"))
    );
    assert_eq!(server.get(file).await, (200, json!({ "x": 1 })));
    assert_eq!(server.get(list).await.1[0]["path"], "a.json");
    assert_eq!(
        server
            .post(&format!("{file}/move/workflows%2Fb.json"), &json!(null))
            .await,
        (200, json!("workflows/b.json"))
    );
    assert_eq!(
        server
            .client
            .delete(server.url("/userdata/workflows%2Fb.json"))
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(server.get(file).await.0, 404);
    assert_eq!(server.get("/userdata/..%2F..%2Fsecret").await.0, 403);
    assert_eq!(
        server
            .post("/userdata/..%252F..%252Fevil", &json!(1))
            .await
            .0,
        403
    );

    for path in [
        "/queue",
        "/api/queue",
        "/models/checkpoints",
        "/api/embeddings",
        "/i18n",
        "/internal/logs",
        "/api/jobs",
    ] {
        assert_eq!(server.get(path).await.0, 200, "{path}");
    }
    assert_eq!(server.get("/models/nosuch").await, (404, json!("")));
    assert_eq!(
        server
            .get("/view_metadata/checkpoints?filename=x.safetensors")
            .await
            .0,
        404
    );
    assert_eq!(
        server.get("/api/system_stats").await.1["system"]["comfyui_version"],
        "0.8.0"
    );
    let foreign = server
        .client
        .post(server.url("/prompt"))
        .header("origin", "http://evil.example")
        .body("{}");
    assert_eq!(
        body_of(foreign.send().await.unwrap()).await,
        (403, json!(""))
    );
}

#[tokio::test]
async fn hostile_prompts_are_answered_and_do_no_harm() {
    let server = Running::start().await;
    // A chain of 20,000 nodes, deeper than any call stack.
    let mut chain = json!({ "0": { "class_type": "PrimitiveInt", "inputs": { "value": 1 } } });
    for index in 1..20_000 {
        let from = (index - 1).to_string();
        chain[index.to_string()] = json!({ "class_type": "OrchestratorSleep", "inputs": { "seconds": "x", "steps": 1, "seed": 0, "anything": [from, 0] } });
    }
    chain["end"] = json!({ "class_type": "PreviewAny", "inputs": { "source": ["19999", 0] } });
    let (status, answer) = server.post("/prompt", &json!({ "prompt": chain })).await;
    assert_eq!(
        (status, answer["node_errors"].as_object().unwrap().len()),
        (400, 19_999)
    );

    let nested = format!(
        "{{\"prompt\": {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let answer = server
        .client
        .post(server.url("/prompt"))
        .body(nested)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 500);
    for (body, wanted) in [
        (json!(5), 500),
        (json!([]), 400),
        (json!({ "prompt": null }), 500),
        (json!({ "prompt": "" }), 400),
        (json!({ "prompt": { "1": null } }), 500),
        (json!({ "prompt": { "1": [] } }), 400),
        (json!({ "prompt": {}, "number": "x" }), 500),
        (json!({ "prompt": picture(1, 1), "extra_data": [] }), 500),
        (
            json!({ "prompt": picture(1, 1), "partial_execution_targets": [1] }),
            400,
        ),
        (
            json!({ "prompt": { "1": { "class_type": "PreviewAny", "inputs": { "source": [[], {}] } } } }),
            400,
        ),
        (
            json!({ "prompt": { "1": { "class_type": "PreviewAny", "inputs": { "source": ["1", -1] } } } }),
            400,
        ),
        (
            json!({ "prompt": { "1": { "class_type": "PreviewAny", "inputs": [] } } }),
            400,
        ),
    ] {
        assert_eq!(server.post("/prompt", &body).await.0, wanted, "{body}");
    }
    for (path, body) in [
        ("/queue", json!([])),
        ("/history", json!({ "delete": 1 })),
        ("/free", json!(null)),
        ("/settings", json!(1)),
    ] {
        assert_eq!(server.post(path, &body).await.0, 500, "{path}");
    }
    assert_eq!(server.get("/history?max_items=x").await.0, 500);
    assert_eq!(
        server.get("/history?max_items=-5&offset=99").await,
        (200, json!({}))
    );
    assert_eq!(
        server.get("/queue").await.1,
        json!({ "queue_running": [], "queue_pending": [] })
    );
}
