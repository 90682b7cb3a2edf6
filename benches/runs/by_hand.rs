//! 200 short prompts on three built-in backends: ours, and what a programmer would write in an afternoon for the same job: one
//! list of prompts, two at each server, the socket to hear of the end, then the history and the file. It keeps no log, weighs
//! nothing and survives nothing. Both take turns on servers that are started for each, with their sockets open when the time
//! begins; it ends when all files are written.

use crate::scene;
use comfyui_orchestrator::builtin::{Server, ServerOptions};
use comfyui_orchestrator::engine::{
    EngineEvent, EngineOptions, RegistryUse, ResumePolicy, RunCommand, RunEventBody, RunFolders,
    RunId, RunState,
};
use comfyui_orchestrator::fleet::BackendConfig;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PROMPTS: u32 = 200;
/// How long a prompt takes on its server beside the milliseconds of telling and saving. A few tens are a small picture on a fast
/// GPU. Nothing at all is no prompt that anybody has: it compares what the two clients themselves cost.
const PROMPT_MS: [u64; 3] = [50, 20, 0];
const ROUNDS: u64 = 5;

/// Prints the wall times of both and their quotient.
pub fn against_a_client_written_by_hand() {
    // Fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Deleted in the end: ext4 is slow to make files for a while after many were deleted.
    let mut folders = Vec::new();
    let mut folder = || {
        folders.push(tempfile::tempdir().unwrap());
        folders[folders.len() - 1].path().to_path_buf()
    };
    for prompt_ms in PROMPT_MS {
        let takes = Duration::from_millis(prompt_ms);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // Whoever comes second may find the disk busy with what the first one wrote.
            if round % 2 == 0 {
                theirs.push(runtime.block_on(by_hand(&folder(), takes)));
                ours.push(runtime.block_on(by_the_engine(&folder(), takes)));
            } else {
                ours.push(runtime.block_on(by_the_engine(&folder(), takes)));
                theirs.push(runtime.block_on(by_hand(&folder(), takes)));
            }
        }
        println!(
            "{PROMPTS} prompts of {prompt_ms} ms on three built-in backends: ours {}, by hand {}, {:.3} ×{}",
            spread(&mut ours),
            spread(&mut theirs),
            median(&ours).as_secs_f64() / median(&theirs).as_secs_f64(),
            if prompt_ms > 0 {
                " (budget 1.02 ×)"
            } else {
                ""
            }
        );
    }
}

/// The median of sorted times.
fn median(times: &[Duration]) -> Duration {
    times[times.len() / 2]
}

/// Sorts; median, least and most.
fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
    format!(
        "{} s ({} to {})",
        seconds(median(times)),
        seconds(times[0]),
        seconds(times[times.len() - 1])
    )
}

async fn start_servers(folder: &Path) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for number in 0..3 {
        let options = ServerOptions::new(folder.join(format!("server-{number}")));
        let server = Server::bind(options).await.unwrap();
        addresses.push(server.local_addr());
        tokio::spawn(async move { server.serve(std::future::pending()).await });
    }
    addresses
}

async fn by_the_engine(folder: &Path, takes: Duration) -> Duration {
    let backends = start_servers(folder)
        .await
        .into_iter()
        .map(|address| {
            let url = format!("http://{address}").parse().unwrap();
            BackendConfig::new(&address.to_string(), url)
        })
        .collect();
    let engine = comfyui_orchestrator::engine::start(EngineOptions {
        data_dir: folder.join("data"),
        extra_backends: backends,
        registry: RegistryUse::ExtraOnly,
        resume: ResumePolicy::Leave,
        pair_block_ms: comfyui_orchestrator::engine::PAIR_BLOCK_MS,
    })
    .await
    .unwrap();
    let mut events = engine.handle.subscribe().unwrap();
    let mut known = 0;
    while known < 3 {
        if let Some(EngineEvent::Capabilities(_)) = events.recv().await {
            known += 1;
        }
    }
    let run_id = RunId::new_now();
    let (project, _) = scene::project(0, PROMPTS, takes);
    let output = folder.join("out");
    let begin = Instant::now();
    engine
        .handle
        .send(RunCommand::Start {
            run_id,
            project: Arc::new(project),
            folders: RunFolders {
                output: output.clone(),
                inputs: folder.join("in"),
            },
        })
        .unwrap();
    loop {
        if let Some(EngineEvent::Run(event)) = events.recv().await
            && let RunEventBody::RunStateChanged { state } = event.body
            && state.is_ended()
        {
            assert_eq!(state, RunState::Completed);
            break;
        }
    }
    let took = begin.elapsed();
    engine.stop().await;
    assert_eq!(files_below(&output), PROMPTS as usize);
    took
}

fn files_below(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}

async fn by_hand(folder: &Path, takes: Duration) -> Duration {
    let addresses = start_servers(folder).await;
    let output = folder.join("out");
    std::fs::create_dir_all(&output).unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let mut desks = Vec::new();
    for address in addresses {
        desks.push(Desk::open(address).await);
    }
    let begin = Instant::now();
    let mut workers = JoinSet::new();
    for desk in desks {
        workers.spawn(desk.work(takes, next.clone(), output.clone()));
    }
    workers.join_all().await;
    let took = begin.elapsed();
    assert_eq!(files_below(&output), PROMPTS as usize);
    took
}

/// One server, as the client by hand sees it.
struct Desk {
    address: SocketAddr,
    client_id: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Desk {
    async fn open(address: SocketAddr) -> Self {
        let client_id = format!("by-hand-{}", address.port());
        let url = format!("ws://{address}/ws?clientId={client_id}");
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Self {
            address,
            client_id,
            socket,
        }
    }

    /// Keeps the server busy until no prompt is left and every file is written.
    async fn work(mut self, takes: Duration, next: Arc<AtomicU64>, output: PathBuf) {
        let http = reqwest::Client::new();
        let mut open = Vec::new();
        let mut fetches = JoinSet::new();
        loop {
            while open.len() < 2 {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= u64::from(PROMPTS) {
                    break;
                }
                let body =
                    json!({"prompt": scene::prompt(number, takes), "client_id": self.client_id});
                let answer: Value = http
                    .post(format!("http://{}/prompt", self.address))
                    .json(&body)
                    .send()
                    .await
                    .unwrap()
                    .json()
                    .await
                    .unwrap();
                open.push((answer["prompt_id"].as_str().unwrap().to_owned(), number));
            }
            if open.is_empty() {
                fetches.join_all().await;
                return;
            }
            let Message::Text(text) = self.socket.next().await.unwrap().unwrap() else {
                continue;
            };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["type"] != "execution_success" {
                continue;
            }
            let Some(place) = open
                .iter()
                .position(|(id, _)| message["data"]["prompt_id"] == **id)
            else {
                continue;
            };
            let (prompt_id, number) = open.remove(place);
            // The next one is not to wait for this one's file.
            let path = output.join(format!("{number}.png"));
            fetches.spawn(fetch(http.clone(), self.address, prompt_id, path));
        }
    }
}

async fn fetch(http: reqwest::Client, address: SocketAddr, prompt_id: String, path: PathBuf) {
    let image = loop {
        let history: Value = http
            .get(format!("http://{address}/history/{prompt_id}"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        // It is written a moment after the message.
        if let Some(image) = history[&prompt_id]["outputs"]["3"]["images"].get(0) {
            break image.clone();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let field = |name: &str| image[name].as_str().unwrap().to_owned();
    let bytes = http
        .get(format!("http://{address}/view"))
        .query(&[
            ("filename", field("filename")),
            ("subfolder", field("subfolder")),
            ("type", field("type")),
        ])
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    std::fs::write(path, bytes).unwrap();
}
