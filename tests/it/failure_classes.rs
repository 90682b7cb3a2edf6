//! Each class of failure, provoked for real on built-in backends, and what the engine makes of it.

use crate::small_projects::numbered;
use crate::whole_runs::{
    assert_posted_once, files_below, run_to_end, start_server, start_server_with,
};
use comfyui_orchestrator::builtin::ServerOptions;
use comfyui_orchestrator::engine::{FailureClass, RunEvent, RunEventBody, RunState};
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
