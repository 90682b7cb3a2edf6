//! What tests of whole runs share: built-in servers, an engine, the way to the end of a run, and what must hold there.

use comfyui_orchestrator::builtin::{Server, ServerHandle, ServerOptions};
use comfyui_orchestrator::engine::{
    Engine, EngineEvent, EngineOptions, RegistryUse, ResumePolicy, RunCommand, RunEvent,
    RunEventBody, RunFolders, RunId, RunState, RunView,
};
use comfyui_orchestrator::fleet::BackendConfig;
use comfyui_orchestrator::project::Project;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest a test waits for something to happen. Generous: test machines are slow and shared.
pub const PATIENCE: Duration = Duration::from_mins(2);

pub struct BuiltinServer {
    pub config: BackendConfig,
    pub handle: ServerHandle,
    pub address: SocketAddr,
}

pub async fn start_server(
    folder: &Path,
    name: &str,
    step_delay_ms: u64,
    address: Option<SocketAddr>,
) -> BuiltinServer {
    let mut options = ServerOptions::new(folder.join(name));
    options.name = name.to_owned();
    options.step_delay = Duration::from_millis(step_delay_ms);
    if let Some(address) = address {
        options.address = address;
    }
    start_server_with(options).await
}

pub async fn start_server_with(options: ServerOptions) -> BuiltinServer {
    let name = options.name.clone();
    let server = Server::bind(options).await.unwrap();
    let address = server.local_addr();
    let handle = server.handle();
    tokio::spawn(async move { server.serve(std::future::pending()).await });
    let url = format!("http://{address}").parse().unwrap();
    BuiltinServer {
        config: BackendConfig::new(&name, url),
        handle,
        address,
    }
}

pub async fn start_engine(
    folder: &Path,
    servers: &[&BuiltinServer],
    resume: ResumePolicy,
) -> Engine {
    comfyui_orchestrator::engine::start(EngineOptions {
        data_dir: folder.join("data"),
        extra_backends: servers.iter().map(|server| server.config.clone()).collect(),
        registry: RegistryUse::ExtraOnly,
        resume,
        pair_block_ms: comfyui_orchestrator::engine::PAIR_BLOCK_MS,
    })
    .await
    .unwrap()
}

pub fn folders(folder: &Path) -> RunFolders {
    RunFolders {
        output: folder.join("out"),
        inputs: folder.join("in"),
    }
}

pub async fn next(events: &mut mpsc::Receiver<EngineEvent>) -> EngineEvent {
    timeout(PATIENCE, events.recv())
        .await
        .expect("the engine says something")
        .expect("the engine lives")
}

/// Follows a run to its end.
pub async fn finish(
    events: &mut mpsc::Receiver<EngineEvent>,
    run_id: RunId,
) -> (RunView, Vec<RunEvent>) {
    let mut view = RunView::default();
    let mut log: Vec<RunEvent> = Vec::new();
    let mut last_said = Instant::now();
    loop {
        assert!(
            last_said.elapsed() < PATIENCE,
            "the run stands still: {:#?}\n{:#?}",
            view.counts,
            &log[log.len().saturating_sub(12)..]
        );
        match next(events).await {
            EngineEvent::Run(event) if event.run_id == run_id => {
                last_said = Instant::now();
                assert_eq!(
                    event.seq,
                    log.len() as u64,
                    "the log has no gaps and no repetitions"
                );
                view.apply(&event);
                log.push(event);
                if view.state.is_some_and(RunState::is_ended) {
                    return (view, log);
                }
            }
            EngineEvent::RunRefused { problems, .. } => panic!("refused: {problems:?}"),
            _ => {}
        }
    }
}

pub fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                files.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    files
}

/// Every prompt id of the log was POSTed exactly once, to whichever server.
pub fn assert_posted_once(log: &[RunEvent], servers: &[&ServerHandle]) {
    let mut posts: BTreeMap<String, u64> = BTreeMap::new();
    for server in servers {
        for (prompt_id, count) in server.posts_by_prompt_id() {
            *posts.entry(prompt_id).or_default() += count;
        }
    }
    assert!(
        posts.values().all(|count| *count == 1),
        "something was POSTed twice: {posts:?}"
    );
    let placed: BTreeSet<String> = log
        .iter()
        .filter_map(|event| match &event.body {
            RunEventBody::AttemptPlaced { attempt_id, .. } => Some(attempt_id.to_string()),
            _ => None,
        })
        .collect();
    let unknown: Vec<&String> = posts
        .keys()
        .filter(|prompt_id| !placed.contains(*prompt_id))
        .collect();
    assert!(
        unknown.is_empty(),
        "POSTed before it was in the log: {unknown:?}"
    );
}

/// Starts a run. Its events come from the first on, among those of other runs of the engine.
pub fn begin(
    engine: &Engine,
    folder: &Path,
    project: Project,
) -> (RunId, mpsc::Receiver<EngineEvent>) {
    let events = engine.handle.subscribe().unwrap();
    let run_id = RunId::new_now();
    let start = RunCommand::Start {
        run_id,
        project: Arc::new(project),
        folders: folders(folder),
    };
    engine.handle.send(start).unwrap();
    (run_id, events)
}

/// Runs a project from its start to its end.
pub async fn run_in(engine: &Engine, folder: &Path, project: Project) -> (RunView, Vec<RunEvent>) {
    let (run_id, mut events) = begin(engine, folder, project);
    finish(&mut events, run_id).await
}

/// The same with an engine of its own.
pub async fn run_to_end(
    folder: &Path,
    servers: &[&BuiltinServer],
    project: Project,
) -> (RunView, Vec<RunEvent>) {
    let engine = start_engine(folder, servers, ResumePolicy::Leave).await;
    let ended = run_in(&engine, folder, project).await;
    engine.stop().await;
    ended
}
