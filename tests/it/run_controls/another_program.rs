//! Wishes from another program than the one that runs it: by the command line.

use super::{project, slow_picture};
use crate::command_line::{BuiltinProcess, command, refuses, run, stderr, stdout};
use crate::small_projects::numbered;
use crate::whole_runs::{PATIENCE, files_below};
use comfyui_orchestrator::project::{Project, RetryPolicy, write_portable_form};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[test]
fn another_program_is_told_what_to_do_with_its_run() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let file = folder.path().join("slow.orchestrator.json");
    std::fs::write(&file, write_portable_form(&project(6, 0.8)).unwrap()).unwrap();
    let added = run(&data, &["backend", "add", &server.url, "--name", "one"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let child = command(&data)
        .args(["run", &file.to_string_lossy(), "--out"])
        .arg(folder.path().join("out"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let tell = |arguments: &[&str]| {
        let told = run(&data, arguments);
        assert!(told.status.success(), "{arguments:?}: {}", stderr(&told));
        stdout(&told)
    };
    let begun = Instant::now();
    while !stdout(&run(&data, &["runs", "show", "last", "--json"])).contains("attempt_started") {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(tell(&["runs", "pause", "last"]).contains("was told"));
    let begun = Instant::now();
    while !stdout(&run(&data, &["runs", "list"])).contains("paused") {
        assert!(begun.elapsed() < PATIENCE, "it does not pause");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Which items went first is left to chance: looking for earlier results takes each its own time.
    let placed_and_waiting = |data: &Path| -> (Vec<String>, Vec<String>) {
        let shown = stdout(&run(data, &["runs", "show", "last", "--json"]));
        let events: Vec<Value> = shown
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let of = |name: &str| -> Vec<String> {
            events
                .iter()
                .filter(|event| event["event"] == name)
                .map(|event| event["item_id"].as_str().unwrap().to_owned())
                .collect()
        };
        let placed = of("attempt_placed");
        let mut items = of("item_created");
        items.retain(|item_id| !placed.contains(item_id));
        // The first item is that of the fan-out.
        (placed, items.split_off(1))
    };
    let (placed, left) = placed_and_waiting(&data);
    tell(&["runs", "cancel", "last", &left[0]]);
    tell(&["runs", "priority", "last", "2", &left[1]]);
    tell(&["backend", "disable", "one"]);
    tell(&["backend", "enable", "one"]);
    tell(&["runs", "resume", "last"]);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("Paused.") && said.contains("somebody cancelled it"),
        "{said}"
    );
    assert_eq!(files_below(&folder.path().join("out")).len(), 5);

    // Nobody works on it any more: the same commands take it up.
    let redone = run(&data, &["runs", "redo", "last", &placed[0], "--new-seed"]);
    assert!(
        stderr(&redone).contains("Completed with failures"),
        "{}",
        stderr(&redone)
    );
    let retried = run(&data, &["runs", "retry", "last", &left[0]]);
    assert!(retried.status.success(), "{}", stderr(&retried));
    assert!(files_below(&folder.path().join("out")).len() >= 6);
    assert_eq!(tell(&["runs", "on-start"]).trim(), "resume");
    assert_eq!(tell(&["runs", "on-start", "ask"]).trim(), "ask");
    let wrong = run(&data, &["runs", "on-start", "maybe"]);
    assert!(
        stderr(&wrong).contains("resume, paused and ask"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn an_item_is_named_by_whole_labels_and_an_unclear_name_is_asked_back() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let out = folder.path().join("out");
    let file = folder.path().join("twelve.orchestrator.json");
    std::fs::write(&file, write_portable_form(&project(12, 0.0)).unwrap()).unwrap();
    let (file, out_text) = (file.to_string_lossy(), out.to_string_lossy());
    let added = run(&data, &["backend", "add", &server.url, "--name", "one"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let ran = run(&data, &["run", &file, "--out", &out_text]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(files_below(&out).len(), 12);

    // Seeds 1, 10 and 11 are three items.
    let redone = run(&data, &["runs", "redo", "last", "work n=1", "--new-seed"]);
    assert!(redone.status.success(), "{}", stderr(&redone));
    assert_eq!(files_below(&out).len(), 13, "one of twelve is made again");
    let why = stdout(&run(&data, &["runs", "show", "last", "--why", "work n=1"]));
    assert!(
        why.contains("work n=1 (item") && !why.contains("n=10"),
        "{why}"
    );
    assert_eq!(why.matches("  attempt ").count(), 2, "{why}");

    for command in ["redo", "cancel", "retry"] {
        let unclear = run(&data, &["runs", command, "last", "n=1"]);
        refuses(&unclear, &["\"n=1\" could mean", "Output n=1", "work n=1"]);
        let nothing = run(&data, &["runs", command, "last", "work n=12"]);
        refuses(&nothing, &["no item is called \"work n=12\""]);
    }
    assert_eq!(files_below(&out).len(), 13, "nothing was done by guess");
}

#[test]
fn what_is_made_again_with_another_seed_carries_that_seed() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let out = folder.path().join("out");
    let file = folder.path().join("seeds.orchestrator.json");
    let project = numbered(&slow_picture(0.0), ("2", "seed"), 3, RetryPolicy::default());
    std::fs::write(&file, write_portable_form(&project).unwrap()).unwrap();
    let (file, out_text) = (file.to_string_lossy(), out.to_string_lossy());
    let arguments = ["run", &file, "--backend", &server.url, "--out", &out_text];
    let ran = run(&data, &arguments);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let before = files_below(&out);
    assert_eq!(before.len(), 3);

    let redone = run(&data, &["runs", "redo", "last", "work n=1", "--new-seed"]);
    assert!(redone.status.success(), "{}", stderr(&redone));
    let events = stdout(&run(&data, &["runs", "show", "last", "--json"]));
    let edited: Value = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|event: &Value| event["event"] == "item_edited")
        .unwrap();
    let seed = edited["fields"][0][1]
        .as_u64()
        .or_else(|| edited["fields"][0][1]["integer"].as_u64())
        .unwrap_or_else(|| panic!("{edited}"));
    let new: Vec<_> = files_below(&out)
        .into_iter()
        .filter(|file| !before.contains(file))
        .collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert_eq!(new[0], format!("file_n={seed}.png"));
    let bytes = std::fs::read(out.join(&new[0])).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains(&format!("\"labels\":{{\"n\":\"{seed}\"}}")),
        "its provenance says so"
    );
    let why = stdout(&run(&data, &["runs", "show", "last", "--why", "work n=1"]));
    assert!(why.contains(&format!("seed = {seed}")), "{why}");
}

#[test]
fn what_ended_says_how_and_calling_an_item_off_sets_nothing_going() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let out = folder.path().join("out").to_string_lossy().into_owned();
    let added = run(&data, &["backend", "add", &server.url, "--name", "one"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let written = |name: &str, project: &Project| {
        let file = folder.path().join(format!("{name}.orchestrator.json"));
        std::fs::write(&file, write_portable_form(project).unwrap()).unwrap();
        file.to_string_lossy().into_owned()
    };
    // No values: nothing is made, and that is said.
    let none = run(
        &data,
        &["run", &written("none", &project(0, 0.0)), "--out", &out],
    );
    assert!(none.status.success(), "{}", stderr(&none));
    let said = stderr(&none);
    assert!(said.contains("Completed: no file was to be made"), "{said}");
    for what in ["pause", "cancel"] {
        let told = run(&data, &["runs", what, "last"]);
        assert!(
            stdout(&told).contains("there is nothing to"),
            "{}",
            stdout(&told)
        );
    }

    // A run whose program is killed; one of its items is called off, and nothing goes on by that.
    let slow = written("slow", &project(6, 1.0));
    let mut child = command(&data)
        .args(["run", &slow, "--out", &out])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let shown = || stdout(&run(&data, &["runs", "show", "last", "--json"]));
    let begun = Instant::now();
    while !shown().contains("attempt_started") {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let waiting = {
        let events: Vec<Value> = shown()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let placed: Vec<&Value> = events
            .iter()
            .filter(|event| event["event"] == "attempt_placed")
            .map(|event| &event["item_id"])
            .collect();
        events
            .iter()
            .filter(|event| event["event"] == "item_created" && event["labels"]["n"].is_string())
            .map(|event| &event["item_id"])
            .find(|item_id| !placed.contains(item_id))
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    let told = run(&data, &["runs", "cancel", "last", &waiting]);
    assert!(told.status.success(), "{}", stderr(&told));
    assert!(stdout(&told).contains("runs resume"), "{}", stdout(&told));
    let list = stdout(&run(&data, &["runs", "list"]));
    assert!(list.contains("paused"), "{list}");
    let resumed = run(&data, &["runs", "resume", "last"]);
    assert_eq!(resumed.status.code(), Some(1), "{}", stderr(&resumed));
    let shown = stdout(&run(&data, &["runs", "show", "last"]));
    assert!(shown.contains("5 done, 1 cancelled"), "{shown}");
    assert!(
        shown.contains("cancelled: somebody cancelled it"),
        "{shown}"
    );
}
