//! 200 short prompts on three built-in backends: ours, and what a programmer would write in an afternoon for the same job: one
//! list of prompts, two at each server, the socket to hear of the end, then the history and the file. It keeps no log, weighs
//! nothing and survives nothing. Both take turns on servers that are started for each.

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
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const PROMPTS: u32 = 200;
/// Each of the four steps takes this much longer than its pixels: a short prompt of a fast GPU.
const STEP_DELAY: Duration = Duration::from_millis(40);
const TURNS: u64 = 3;

/// Prints the wall times of both and their quotient.
pub fn against_a_client_written_by_hand() {
    // Fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let first_seed = 1_000_000 * (turn + 1);
        theirs.push(runtime.block_on(by_hand(first_seed)));
        ours.push(runtime.block_on(by_the_engine(first_seed)));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "{PROMPTS} short prompts on three built-in backends: ours {:.2} s, by hand {:.2} s, {:.3} × (budget 1.02 ×)",
        ours.as_secs_f64(),
        theirs.as_secs_f64(),
        ours.as_secs_f64() / theirs.as_secs_f64(),
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn start_servers(folder: &Path) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for number in 0..3 {
        let mut options = ServerOptions::new(folder.join(format!("server-{number}")));
        options.step_delay = STEP_DELAY;
        let server = Server::bind(options).await.unwrap();
        addresses.push(server.local_addr());
        tokio::spawn(async move { server.serve(std::future::pending()).await });
    }
    addresses
}

async fn by_the_engine(first_seed: u64) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let backends = start_servers(folder.path())
        .await
        .into_iter()
        .map(|address| {
            let url = format!("http://{address}").parse().unwrap();
            BackendConfig::new(&address.to_string(), url)
        })
        .collect();
    let engine = comfyui_orchestrator::engine::start(EngineOptions {
        data_dir: folder.path().join("data"),
        extra_backends: backends,
        registry: RegistryUse::ExtraOnly,
        resume: ResumePolicy::Leave,
    })
    .await
    .unwrap();
    let mut events = engine.handle.subscribe().unwrap();
    let run_id = RunId::new_now();
    let (project, _) = scene::project(first_seed, PROMPTS);
    let output = folder.path().join("out");
    let begin = Instant::now();
    engine
        .handle
        .send(RunCommand::Start {
            run_id,
            project: Arc::new(project),
            folders: RunFolders {
                output: output.clone(),
                inputs: folder.path().join("in"),
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
    took
}

async fn by_hand(first_seed: u64) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let addresses = start_servers(folder.path()).await;
    let output = folder.path().join("out");
    std::fs::create_dir_all(&output).unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut workers = Vec::new();
    for address in addresses {
        workers.push(tokio::spawn(serve_one(
            address,
            first_seed,
            next.clone(),
            output.clone(),
        )));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let took = begin.elapsed();
    assert_eq!(std::fs::read_dir(&output).unwrap().count() as u32, PROMPTS);
    took
}

/// Keeps one server busy until no prompt is left.
async fn serve_one(
    address: SocketAddr,
    first_seed: u64,
    next: Arc<AtomicU64>,
    output: std::path::PathBuf,
) {
    let client_id = format!("by-hand-{}", address.port());
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{address}/ws?clientId={client_id}"))
            .await
            .unwrap();
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
                json!({"prompt": scene::prompt(first_seed + number), "client_id": client_id});
            let answer: Value = http
                .post(format!("http://{address}/prompt"))
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
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else {
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
        fetches.spawn(fetch(http.clone(), address, prompt_id, path));
    }
}

async fn fetch(
    http: reqwest::Client,
    address: SocketAddr,
    prompt_id: String,
    path: std::path::PathBuf,
) {
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
        if let Some(image) = history[&prompt_id]["outputs"]["2"]["images"].get(0) {
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
