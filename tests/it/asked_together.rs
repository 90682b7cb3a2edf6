//! What is asked of many items at once, or of a backend and its work at once, from the command line.

use crate::command_line::{BuiltinProcess, command, run, stderr, stdout};
use crate::small_projects::numbered;
use crate::whole_runs::{PATIENCE, files_below};
use comfyui_orchestrator::project::{RetryPolicy, write_portable_form};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// More items than an engine's queue takes commands.
const MANY: u32 = 300;

/// `count` pictures, each of which takes so long, as a file.
fn written(folder: &Path, count: u32, seconds: f64) -> String {
    let prompt = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": seconds, "steps": 20, "seed": 1, "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "p"}},
    });
    let project = numbered(&prompt, ("1", "color"), count, RetryPolicy::default());
    let file = folder.join(format!("{count}.orchestrator.json"));
    std::fs::write(&file, write_portable_form(&project).unwrap()).unwrap();
    file.to_string_lossy().into_owned()
}

/// The events of the last run.
fn events(data: &Path) -> Vec<Value> {
    let shown = stdout(&run(data, &["runs", "show", "last", "--json"]));
    let lines = shown.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How many of the last run's events have this name.
fn count(data: &Path, name: &str) -> usize {
    let events = events(data);
    events.iter().filter(|event| event["event"] == name).count()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn many_items_are_made_again_by_one_command() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let out = folder.path().join("out").to_string_lossy().into_owned();
    let added = run(&data, &["backend", "add", &server.url, "--name", "one"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let start = |arguments: &[&str]| {
        let mut command = command(&data);
        command.args(arguments).stdout(Stdio::null());
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let redo = ["runs", "redo", "last", "--node", "work", "--new-seed"];

    // The program that works on the run is told of all of them, and another one.
    let file = written(folder.path(), MANY, 5.0);
    let mut working = start(&["run", &file, "--out", &out]);
    wait_until("it begins", || count(&data, "attempt_started") > 0);
    let told = run(&data, &redo);
    assert!(told.status.success(), "{}", stderr(&told));
    assert_eq!(count(&data, "item_edited"), MANY as usize);
    working.kill().unwrap();
    working.wait().unwrap();

    // An engine that is started for it takes all of them, too.
    let mut working = start(&redo);
    let twice = 2 * MANY as usize;
    wait_until("all are told again", || {
        count(&data, "item_edited") == twice || working.try_wait().unwrap().is_some()
    });
    assert_eq!(count(&data, "item_edited"), twice);
    working.kill().unwrap();
    working.wait().unwrap();
}

#[test]
fn what_is_called_off_on_a_backend_that_is_disabled_does_not_go_there_again() {
    let folder = TempDir::new().unwrap();
    let servers =
        ["one", "two"].map(|name| (name, BuiltinProcess::start(&folder.path().join(name))));
    let data = folder.path().join("data");
    let out = folder.path().join("out");
    for (name, server) in &servers {
        let added = run(&data, &["backend", "add", &server.url, "--name", name]);
        assert!(added.status.success(), "{}", stderr(&added));
    }
    let child = command(&data)
        .args(["run", &written(folder.path(), 9, 1.5), "--out"])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let is_placed = |event: &Value| {
        event["event"] == "attempt_placed"
            && event["decision"]["candidates"][0]["backend_name"] == "one"
    };
    wait_until("it works on both", || count(&data, "attempt_started") > 1);
    assert!(events(&data).iter().any(is_placed));
    let told = run(&data, &["backend", "disable", "one", "--now"]);
    assert!(told.status.success(), "{}", stderr(&told));
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", stderr(&ended));
    let events = events(&data);
    let called_off = events
        .iter()
        .position(|event| event["event"] == "attempt_called_off")
        .unwrap();
    let after = &events[called_off..];
    assert!(
        after
            .iter()
            .any(|event| event["event"] == "attempt_withdrawn"),
        "it was there"
    );
    assert!(!after.iter().any(is_placed), "it went there again");
    assert_eq!(files_below(&out).len(), 9);
}
