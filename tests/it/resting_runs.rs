//! A backend is removed, or emptied by hand, while a run rests that has prompts there.

use crate::small_projects::numbered;
use crate::whole_runs::{
    PATIENCE, assert_posted_once, begin, files_below, finish, next, start_engine, start_server,
};
use comfyui_orchestrator::comfy::Client;
use comfyui_orchestrator::engine::{
    CallOff, EngineEvent, ResumePolicy, RunCommand, RunEventBody, RunState, RunWish,
};
use comfyui_orchestrator::fleet;
use comfyui_orchestrator::project::RetryPolicy;
use serde_json::json;
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_resting_run_has_at_a_backend_that_is_removed_is_called_off_and_goes_elsewhere() {
    for takes_it_away in [
        |backend_id| vec![RunCommand::RemoveBackend { backend_id }],
        |backend_id| {
            let enabled = false;
            vec![
                RunCommand::SetBackendEnabled {
                    backend_id,
                    enabled,
                },
                RunCommand::VacateBackend { backend_id },
            ]
        },
    ] {
        let folder = TempDir::new().unwrap();
        let first = start_server(folder.path(), "first", 0, None).await;
        let second = start_server(folder.path(), "second", 0, None).await;
        let prompt = json!({
            "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
            "2": {"class_type": "OrchestratorFail", "inputs": {"mode": "hang until interrupted", "message": "", "after_seconds": 0.0, "only_on": "first", "anything": ["1", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "slow"}},
        });
        let project = numbered(&prompt, ("1", "color"), 1, RetryPolicy::default());
        let engine = start_engine(folder.path(), &[&first], ResumePolicy::Leave).await;
        let (run_id, mut events) = begin(&engine, folder.path(), project);
        loop {
            if let EngineEvent::Run(event) = next(&mut events).await
                && matches!(event.body, RunEventBody::AttemptStarted { .. })
            {
                break;
            }
        }
        engine.stop().await;

        // The next program lets it rest, and knows both backends.
        let engine = start_engine(folder.path(), &[&first, &second], ResumePolicy::Ask).await;
        let backend_id = first.config.id;
        for command in takes_it_away(backend_id) {
            engine.handle.send(command).unwrap();
        }
        let endpoint = fleet::endpoint_of(&first.config, |_| None).unwrap();
        let client = Client::new(endpoint).unwrap();
        let begun = Instant::now();
        loop {
            let queue = client.queue().await.unwrap();
            if queue.running.is_empty() && queue.pending.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "it goes on there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(second.handle.posts_by_prompt_id().is_empty(), "it rests");

        let mut events = engine.handle.subscribe().unwrap();
        let resume = RunCommand::wish(run_id, RunWish::Resume);
        engine.handle.send(resume).unwrap();
        let (view, log) = finish(&mut events, run_id).await;
        assert_eq!(view.state, Some(RunState::Completed));
        let called_off = log.iter().filter(|event| {
            matches!(
                event.body,
                RunEventBody::AttemptCalledOff {
                    reason: CallOff::ToMove,
                    ..
                }
            )
        });
        assert_eq!(called_off.count(), 1);
        assert_posted_once(&log, &[&first.handle, &second.handle]);
        assert_eq!(files_below(&folder.path().join("out")).len(), 1);
        engine.stop().await;
    }
}
