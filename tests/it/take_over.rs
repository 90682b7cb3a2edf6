//! Runs whose program was killed while another one is open, and runs that ended in the hands of an open one.

use crate::command_line::{BuiltinProcess, command, run, stderr, stdout};
use crate::small_projects::numbered;
use crate::whole_runs::{PATIENCE, files_below, next, start_engine};
use comfyui_orchestrator::engine::{EngineEvent, ResumePolicy, RunId, RunState, RunView};
use comfyui_orchestrator::project::{RetryPolicy, write_portable_form};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// What an open program is told of a run.
struct Told {
    events: mpsc::Receiver<EngineEvent>,
    run_id: RunId,
    view: RunView,
}

impl Told {
    async fn until(&mut self, state: RunState) {
        let begun = Instant::now();
        while self.view.state != Some(state) {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.view.state);
            match next(&mut self.events).await {
                EngineEvent::Run(event) if event.run_id == self.run_id => self.view.apply(&event),
                EngineEvent::Trouble(failure) => panic!("{}", failure.message),
                _ => {}
            }
        }
    }
}

/// The open program began while the other one lived: it could not take the run up then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_program_takes_up_what_a_killed_one_left_and_is_told_of_wishes_after_the_end() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let out = folder.path().join("out");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let prompt = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": 1.0, "steps": 20, "seed": 1, "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "slow"}},
    });
    let project = numbered(&prompt, ("1", "color"), 6, RetryPolicy::default());
    let file = folder.path().join("slow.orchestrator.json");
    std::fs::write(&file, write_portable_form(&project).unwrap()).unwrap();
    let mut child = command(&data)
        .args(["run", &file.to_string_lossy(), "--backend", &server.url])
        .arg("--out")
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !stdout(&run(&data, &["runs", "show", "last", "--json"])).contains("attempt_started") {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    let engine = start_engine(folder.path(), &[], ResumePolicy::BySetting).await;
    let listed = stdout(&run(&data, &["runs", "list", "--json"]));
    let listed: Value = serde_json::from_str(listed.trim()).unwrap();
    let mut told = Told {
        events: engine.handle.subscribe().unwrap(),
        run_id: serde_json::from_value(listed["run_id"].clone()).unwrap(),
        view: RunView::default(),
    };
    child.kill().unwrap();
    child.wait().unwrap();
    told.until(RunState::Running).await;

    let tell = |arguments: &[&str]| {
        let said = run(&data, arguments);
        assert!(said.status.success(), "{arguments:?}: {}", stderr(&said));
        let said = stdout(&said);
        assert!(said.contains("was told"), "{arguments:?}: {said}");
    };
    tell(&["runs", "cancel", "last"]);
    told.until(RunState::Cancelled).await;
    tell(&["runs", "retry", "last"]);
    told.until(RunState::Running).await;
    tell(&["runs", "cancel", "last"]);
    told.until(RunState::Cancelled).await;
    tell(&["runs", "resume", "last"]);
    told.until(RunState::Completed).await;
    assert_eq!(files_below(&out).len(), 6);
    engine.stop().await;
}
