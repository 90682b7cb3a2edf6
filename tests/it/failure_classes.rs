//! Each class of failure, provoked for real on built-in backends, and what the engine makes of it.

use crate::small_projects::numbered;
use crate::whole_runs::{
    BuiltinServer, assert_posted_once, begin, files_below, finish, next, run_to_end, start_engine,
    start_server, start_server_with,
};
use comfyui_orchestrator::builtin::ServerOptions;
use comfyui_orchestrator::engine::{
    self, EngineEvent, EngineOptions, FailureClass, RegistryUse, ResumePolicy, RunEvent,
    RunEventBody, RunState, RunView,
};
use comfyui_orchestrator::project::{Project, RetryPolicy};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A picture that passes a node which fails in this way, on the server of this name or on all.
fn failing(mode: &str, only_on: &str) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorFail", "inputs": {"mode": mode, "message": "on purpose", "after_seconds": 0.0, "only_on": only_on, "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "passed"}},
    })
}

fn pictures(prompt: &Value, count: u32) -> Project {
    numbered(prompt, ("1", "color"), count, RetryPolicy::default())
}

/// The failed attempts, in order, each with its message.
fn failures(log: &[RunEvent]) -> Vec<(FailureClass, String)> {
    log.iter()
        .filter_map(|event| match &event.body {
            RunEventBody::AttemptFailed { failure, .. } => {
                Some((failure.class, failure.message.clone()))
            }
            _ => None,
        })
        .collect()
}

fn count(log: &[RunEvent], class: FailureClass) -> usize {
    failures(log)
        .iter()
        .filter(|(one, _)| *one == class)
        .count()
}

/// The message with which the run's one item failed.
fn end_of(log: &[RunEvent]) -> String {
    log.iter()
        .find_map(|event| match &event.body {
            RunEventBody::ItemFailed { failure, .. } => Some(failure.message.clone()),
            _ => None,
        })
        .unwrap()
}

fn impatient() -> RetryPolicy {
    RetryPolicy {
        silence_limit_s: NonZeroU32::new(1),
        ..RetryPolicy::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_attempt_is_interrupted_and_its_item_done_elsewhere() {
    let folder = TempDir::new().unwrap();
    let stuck = start_server(folder.path(), "stuck", 0, None).await;
    let good = start_server(folder.path(), "good", 0, None).await;
    let prompt = failing("hang until interrupted", "stuck");
    let project = numbered(&prompt, ("1", "color"), 4, impatient());
    let (view, log) = run_to_end(folder.path(), &[&stuck, &good], project).await;
    assert_eq!(
        view.state,
        Some(RunState::Completed),
        "{:?}",
        failures(&log)
    );
    assert!(
        count(&log, FailureClass::Timeout) > 0,
        "{:?}",
        failures(&log)
    );
    assert_eq!(files_below(&folder.path().join("out")).len(), 4);
    assert_posted_once(&log, &[&stuck.handle, &good.handle]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_let_go_gets_nothing_more_and_gives_back_what_waits_there() {
    let folder = TempDir::new().unwrap();
    let stuck = start_server(folder.path(), "stuck", 0, None).await;
    let good = start_server(folder.path(), "good", 0, None).await;
    let project = numbered(&failing("hang", "stuck"), ("1", "color"), 6, impatient());
    let (view, log) = run_to_end(folder.path(), &[&stuck, &good], project).await;
    assert_eq!(
        view.state,
        Some(RunState::Completed),
        "{:?}",
        failures(&log)
    );
    assert_eq!(
        count(&log, FailureClass::Timeout),
        1,
        "{:?}",
        failures(&log)
    );
    assert_eq!(files_below(&folder.path().join("out")).len(), 6);
    assert_posted_once(&log, &[&stuck.handle, &good.handle]);
    // At most the one that hangs and the one that waited behind it.
    assert!(stuck.handle.posts_by_prompt_id().len() <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_takes_its_server_down_is_given_up_after_a_few_times() {
    let folder = TempDir::new().unwrap();
    let first = start_server(folder.path(), "a", 0, None).await;
    // Somebody starts the server again whenever it ends.
    let (starts, address, root) = (
        Arc::new(AtomicU32::new(1)),
        first.address,
        folder.path().to_path_buf(),
    );
    let keeper = {
        let starts = starts.clone();
        tokio::spawn(async move {
            loop {
                let is_up = tokio::net::TcpStream::connect(address).await.is_ok();
                if is_up {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                start_server(&root, "a", 0, Some(address)).await;
                starts.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let mut prompt = failing("exit", "");
    prompt["2"]["inputs"]["after_seconds"] = json!(0.3);
    let (view, log) = run_to_end(folder.path(), &[&first], pictures(&prompt, 1)).await;
    keeper.abort();
    assert_eq!(view.state, Some(RunState::Failed));
    assert_eq!(failures(&log).len(), 4, "{:?}", failures(&log));
    assert!(
        end_of(&log).contains("may be the cause"),
        "{}",
        end_of(&log)
    );
    assert!(starts.load(Ordering::SeqCst) >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_out_of_memory_frees_it_before_it_tries_once_more() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let project = pictures(&failing("out of memory until freed", ""), 1);
    let (view, log) = run_to_end(folder.path(), &[&server], project).await;
    assert_eq!(
        view.state,
        Some(RunState::Completed),
        "{:?}",
        failures(&log)
    );
    assert_eq!(failures(&log).len(), 1);
    assert_eq!(count(&log, FailureClass::OutOfMemory), 1);
    assert_posted_once(&log, &[&server.handle]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_on_one_server_is_done_on_another() {
    let folder = TempDir::new().unwrap();
    let sized = |name: &str, device_memory_bytes: u64| {
        let mut options = ServerOptions::new(folder.path().join(name));
        options.name = name.to_owned();
        options.device_memory_bytes = Some(device_memory_bytes);
        start_server_with(options)
    };
    let small = sized("small", 8 << 30).await;
    let large = sized("large", 24 << 30).await;
    let project = pictures(&failing("out of memory", "small"), 4);
    let (view, log) = run_to_end(folder.path(), &[&small, &large], project).await;
    assert_eq!(
        view.state,
        Some(RunState::Completed),
        "{:?}",
        failures(&log)
    );
    assert!(count(&log, FailureClass::OutOfMemory) > 0);
    assert_eq!(files_below(&folder.path().join("out")).len(), 4);
    assert_posted_once(&log, &[&small.handle, &large.handle]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_are_gone_from_the_server_are_made_again() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    // Nobody's fault is enabled: a plain picture.
    let plain = pictures(&failing("error", "nobody"), 1);
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (view, _) = run_to_end(first.path(), &[&server], plain.clone()).await;
    assert_eq!(view.state, Some(RunState::Completed));
    std::fs::remove_dir_all(folder.path().join("a/output")).unwrap();
    std::fs::create_dir(folder.path().join("a/output")).unwrap();
    // The server answers from its cache, with names of files that are gone.
    let (view, log) = run_to_end(second.path(), &[&server], plain).await;
    assert_eq!(
        view.state,
        Some(RunState::Completed),
        "{:?}",
        failures(&log)
    );
    assert_eq!(
        count(&log, FailureClass::OutputGone),
        1,
        "{:?}",
        failures(&log)
    );
    assert_eq!(files_below(&second.path().join("out")).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_backend_refuses_is_sent_to_no_other() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let b = start_server(folder.path(), "b", 0, None).await;
    // Pictures 0, 1 and 2 pixels wide; there is none of 0.
    let prompt = failing("error", "nobody");
    let project = numbered(&prompt, ("1", "width"), 3, RetryPolicy::default());
    let (view, log) = run_to_end(folder.path(), &[&a, &b], project).await;
    assert_eq!(view.state, Some(RunState::CompletedWithFailures));
    assert_eq!(failures(&log).len(), 1, "{:?}", failures(&log));
    assert_eq!(count(&log, FailureClass::Invalid), 1);
    assert!(end_of(&log).contains("width"), "{}", end_of(&log));
    assert_eq!(files_below(&folder.path().join("out")).len(), 2);
    assert_posted_once(&log, &[&a.handle, &b.handle]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_on_two_servers_is_the_items_own() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let b = start_server(folder.path(), "b", 0, None).await;
    let (view, log) =
        run_to_end(folder.path(), &[&a, &b], pictures(&failing("error", ""), 1)).await;
    assert_eq!(view.state, Some(RunState::Failed));
    assert_eq!(count(&log, FailureClass::NodeError), 2);
    assert!(end_of(&log).contains("two backends"), "{}", end_of(&log));
    // On one of them only, it is done on the other.
    let elsewhere = TempDir::new().unwrap();
    let project = pictures(&failing("error", "a"), 3);
    let (view, log) = run_to_end(elsewhere.path(), &[&a, &b], project).await;
    assert_eq!(
        view.state,
        Some(RunState::Completed),
        "{:?}",
        failures(&log)
    );
    assert_eq!(files_below(&elsewhere.path().join("out")).len(), 3);
}

/// Outputs without a file name of their own to change are forced, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn previews_that_are_gone_from_the_server_are_made_again() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let mut prompt = failing("error", "nobody");
    prompt["3"] = json!({"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}});
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let plain = pictures(&prompt, 1);
    let (view, _) = run_to_end(first.path(), &[&server], plain.clone()).await;
    assert_eq!(view.state, Some(RunState::Completed));
    std::fs::remove_dir_all(folder.path().join("a/temp")).unwrap();
    std::fs::create_dir(folder.path().join("a/temp")).unwrap();
    let (view, log) = run_to_end(second.path(), &[&server], plain).await;
    assert_eq!(
        view.state,
        Some(RunState::Completed),
        "{:?}",
        failures(&log)
    );
    assert_eq!(count(&log, FailureClass::OutputGone), 1);
    assert_eq!(failures(&log).len(), 1, "{:?}", failures(&log));
}

/// A run of twelve pictures during which a server loses something that it had when the run was planned.
async fn run_and_lose(
    folder: &TempDir,
    servers: &[&BuiltinServer],
    prompt: &Value,
    lose: impl FnOnce(),
) -> (RunView, Vec<RunEvent>) {
    let engine = start_engine(folder.path(), servers, ResumePolicy::Leave).await;
    let (run_id, mut events) = begin(&engine, folder.path(), pictures(prompt, 12));
    let first = servers[0].config.id;
    let mut log = Vec::new();
    let mut lose = Some(lose);
    let mut view = RunView::default();
    while !view.state.is_some_and(RunState::is_ended) {
        if let EngineEvent::Run(event) = next(&mut events).await {
            view.apply(&event);
            if let RunEventBody::AttemptPlaced { backend_id, .. } = &event.body
                && *backend_id == first
                && view.files_written > 0
                && let Some(lose) = lose.take()
            {
                lose();
            }
            log.push(event);
        }
    }
    assert!(lose.is_none(), "nothing was lost");
    assert_eq!(log.first().map(|event| event.run_id), Some(run_id));
    engine.stop().await;
    (view, log)
}

/// A picture that takes its time, and needs a node and a model.
fn needing_a_model() -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": 0.3, "steps": 3, "seed": 1, "anything": ["1", 0]}},
        "3": {"class_type": "OrchestratorModel", "inputs": {"model": "harbour.safetensors", "anything": ["2", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "passed"}},
    })
}

async fn server_with_a_model(folder: &TempDir, name: &str) -> (BuiltinServer, std::path::PathBuf) {
    let models = folder.path().join(name).join("models/checkpoints");
    std::fs::create_dir_all(&models).unwrap();
    let model = models.join("harbour.safetensors");
    std::fs::write(&model, "weights").unwrap();
    (start_server(folder.path(), name, 0, None).await, model)
}

/// The sentences that say why the first server was not chosen, after it had refused something of this class.
fn why_not_there(log: &[RunEvent], there: &BuiltinServer, class: FailureClass) -> Vec<String> {
    log.iter()
        .skip_while(|event| {
            !matches!(&event.body, RunEventBody::AttemptFailed { failure, .. } if failure.class == class)
        })
        .filter_map(|event| match &event.body {
            RunEventBody::AttemptPlaced { decision, .. } => {
                let id = there.config.id;
                let mut candidates = decision.candidates.iter();
                let of_it = candidates.find(|one| one.backend_id == id).unwrap();
                Some(serde_json::to_string(&of_it.verdict).unwrap())
            }
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_class_that_is_gone_when_the_prompt_arrives_is_looked_for_elsewhere() {
    let folder = TempDir::new().unwrap();
    let (loses, _) = server_with_a_model(&folder, "loses").await;
    let (keeps, _) = server_with_a_model(&folder, "keeps").await;
    let (view, log) = run_and_lose(&folder, &[&loses, &keeps], &needing_a_model(), || {
        loses.handle.remove_class("OrchestratorSleep");
    })
    .await;
    let failures = failures(&log);
    assert_eq!(view.state, Some(RunState::Completed), "{failures:?}");
    // What was on its way when the first refusal came is refused, too.
    assert!((1..=2).contains(&failures.len()), "{failures:?}");
    for (class, message) in &failures {
        assert_eq!(*class, FailureClass::MissingNode);
        assert!(
            message.contains("no node class OrchestratorSleep"),
            "{message}"
        );
    }
    for why in why_not_there(&log, &loses, FailureClass::MissingNode) {
        assert!(why.contains("no node class OrchestratorSleep"), "{why}");
    }
    assert_eq!(files_below(&folder.path().join("out")).len(), 12);
    assert_posted_once(&log, &[&loses.handle, &keeps.handle]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_gone_when_the_prompt_arrives_is_looked_for_elsewhere() {
    let folder = TempDir::new().unwrap();
    let (loses, model) = server_with_a_model(&folder, "loses").await;
    let (keeps, _) = server_with_a_model(&folder, "keeps").await;
    let (view, log) = run_and_lose(&folder, &[&loses, &keeps], &needing_a_model(), || {
        std::fs::remove_file(model).unwrap();
    })
    .await;
    let failures = failures(&log);
    assert_eq!(view.state, Some(RunState::Completed), "{failures:?}");
    assert!((1..=2).contains(&failures.len()), "{failures:?}");
    for (class, message) in &failures {
        assert_eq!(*class, FailureClass::MissingModel);
        assert!(message.contains("harbour.safetensors"), "{message}");
    }
    for why in why_not_there(&log, &loses, FailureClass::MissingModel) {
        assert!(why.contains("harbour.safetensors"), "{why}");
    }
    assert_eq!(files_below(&folder.path().join("out")).len(), 12);
    assert_posted_once(&log, &[&loses.handle, &keeps.handle]);
}

/// Nobody has it: the items that are left fail, and say why, instead of waiting for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_only_server_lost_fails_with_its_name() {
    let folder = TempDir::new().unwrap();
    let (loses, model) = server_with_a_model(&folder, "loses").await;
    let (view, log) = run_and_lose(&folder, &[&loses], &needing_a_model(), || {
        std::fs::remove_file(model).unwrap();
    })
    .await;
    assert_eq!(view.state, Some(RunState::CompletedWithFailures));
    assert!(count(&log, FailureClass::MissingModel) > 0);
    assert!(
        end_of(&log).contains("harbour.safetensors"),
        "{}",
        end_of(&log)
    );
    let left = log
        .iter()
        .filter(|event| matches!(event.body, RunEventBody::ItemFailed { .. }));
    assert_eq!(
        left.count() + files_below(&folder.path().join("out")).len(),
        12
    );
}

/// Two failures in a row, and a backend is left alone with that workflow for a while; then it is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_where_a_workflow_failed_twice_is_left_alone_with_it_for_a_while() {
    const BLOCK_MS: u64 = 1_500;
    let folder = TempDir::new().unwrap();
    let bad = start_server(folder.path(), "bad", 0, None).await;
    let good = start_server(folder.path(), "good", 60, None).await;
    let engine = engine::start(EngineOptions {
        data_dir: folder.path().join("data"),
        extra_backends: vec![bad.config.clone(), good.config.clone()],
        registry: RegistryUse::ExtraOnly,
        resume: ResumePolicy::Leave,
        pair_block_ms: BLOCK_MS,
    })
    .await
    .unwrap();
    let project = pictures(&failing("error", "bad"), 40);
    let (run_id, mut events) = begin(&engine, folder.path(), project);
    let (view, log) = finish(&mut events, run_id).await;
    engine.stop().await;
    let failed = failures(&log);
    assert_eq!(view.state, Some(RunState::Completed), "{failed:?}");
    assert_eq!(files_below(&folder.path().join("out")).len(), 40);
    assert_posted_once(&log, &[&bad.handle, &good.handle]);

    let failed_at: Vec<u64> = log
        .iter()
        .filter(|event| matches!(event.body, RunEventBody::AttemptFailed { .. }))
        .map(|event| event.at_ms)
        .collect();
    let placed: Vec<(u64, bool, String)> = log
        .iter()
        .filter_map(|event| match &event.body {
            RunEventBody::AttemptPlaced {
                backend_id,
                decision,
                ..
            } => {
                let why = serde_json::to_string(decision).unwrap();
                Some((event.at_ms, *backend_id == bad.config.id, why))
            }
            _ => None,
        })
        .collect();
    let blocked_at = failed_at[1];
    let end = blocked_at + BLOCK_MS;
    let meanwhile: Vec<_> = placed
        .iter()
        .filter(|(at_ms, ..)| (blocked_at + 1..end).contains(at_ms))
        .collect();
    assert!(meanwhile.len() > 2, "{placed:?}");
    for (at_ms, is_on_bad, why) in meanwhile {
        assert!(!is_on_bad, "tried again after {} ms", at_ms - blocked_at);
        // What failed there itself says that.
        let is_told = why.contains("this workflow failed there twice")
            || why.contains("this item failed there");
        assert!(is_told, "{why}");
    }
    let is_blocked = |why: &str| why.contains("this workflow failed there twice");
    assert!(placed.iter().filter(|(.., why)| is_blocked(why)).count() > 2);
    assert!(
        placed
            .iter()
            .any(|(at_ms, is_on_bad, _)| *is_on_bad && *at_ms >= end),
        "never tried again: {failed_at:?}"
    );
    // Each time it is tried again it may take as many as it is sent ahead.
    let tries = placed.iter().filter(|(_, is_on_bad, _)| *is_on_bad).count();
    assert!(tries < 20, "it was hardly left alone: {tries}");
}
