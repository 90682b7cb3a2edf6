//! Why items wait, and what is refused because nobody could ever take it: as a person reads it on the command line.

use crate::command_line::{BuiltinProcess, command, refuses, run, stderr, stdout};
use crate::small_projects::numbered;
use crate::whole_runs::{PATIENCE, files_below};
use comfyui_orchestrator::project::{
    Affinity, BackendId, Fallback, NodeKind, Project, RetryPolicy, WorkflowNode,
    write_portable_form,
};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn picture(seconds: f64) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": seconds, "steps": 20, "seed": 1, "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "waits"}},
    })
}

fn written(
    folder: &Path,
    name: &str,
    mut project: Project,
    edit: impl Fn(&mut WorkflowNode),
) -> String {
    for node in project.nodes.values_mut() {
        if let NodeKind::Workflow(settings) = &mut node.kind {
            edit(settings);
        }
    }
    let path = folder.join(format!("{name}.orchestrator.json"));
    std::fs::write(&path, write_portable_form(&project).unwrap()).unwrap();
    path.to_string_lossy().into_owned()
}

fn of_count(prompt: &Value, count: u32) -> Project {
    numbered(prompt, ("1", "color"), count, RetryPolicy::default())
}

#[test]
fn what_no_registered_backend_may_run_is_refused_and_what_asks_starts_and_asks() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let added = run(&data, &["backend", "add", &server.url, "--name", "one"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let project = |name: &str, edit: &dyn Fn(&mut WorkflowNode)| {
        written(folder.path(), name, of_count(&picture(0.0), 2), edit)
    };
    let tags = |names: &[&str]| Affinity::Tags(names.iter().map(|tag| (*tag).to_owned()).collect());

    let tagged = project("tag", &|node| node.affinity = tags(&["flux"]));
    refuses(
        &run(&data, &["run", &tagged]),
        &["\"work\" can run nowhere", "no backend has the tag flux"],
    );
    let tagged = project("tags", &|node| node.affinity = tags(&["big", "flux"]));
    refuses(
        &run(&data, &["run", &tagged]),
        &["no backend has all of the tags big, flux"],
    );
    let tied = project("tied", &|node| {
        node.affinity = Affinity::Backend(BackendId::new_now());
    });
    refuses(
        &run(&data, &["run", &tied]),
        &["the only backend it may run on is not registered"],
    );

    // A class that nobody has: refused, unless the node asks.
    let mut unknown = picture(0.0);
    unknown["2"]["class_type"] = json!("ClassThatNobodyHas");
    let refused = written(folder.path(), "class", of_count(&unknown, 2), |_| {});
    refuses(
        &run(&data, &["run", &refused]),
        &[
            "\"work\" can run on no backend that is online",
            "ClassThatNobodyHas",
        ],
    );
    let asks = written(folder.path(), "asks", of_count(&unknown, 2), |node| {
        node.fallback = Fallback::AskUser;
    });
    let asked = run(&data, &["run", &asks]);
    assert_eq!(asked.status.code(), Some(3), "{}", stderr(&asked));
    assert!(
        stderr(&asked).contains("work n=0 asks: "),
        "{}",
        stderr(&asked)
    );
    let skipped = run(&data, &["runs", "answer", "last", "all", "--skip"]);
    assert!(skipped.status.success(), "{}", stderr(&skipped));

    let disabled = run(&data, &["backend", "disable", "one"]);
    assert!(disabled.status.success(), "{}", stderr(&disabled));
    let fine = project("fine", &|_| {});
    refuses(&run(&data, &["run", &fine]), &["all backends are disabled"]);
}

#[test]
fn whoever_looks_at_a_run_reads_why_its_items_wait() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let out = folder.path().join("out");
    let added = run(&data, &["backend", "add", &server.url, "--name", "one"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let file = written(folder.path(), "slow", of_count(&picture(1.5), 9), |_| {});
    let child = command(&data)
        .args(["run", &file, "--out"])
        .arg(&out)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until_said = |arguments: &[&str], words: &str| {
        let begun = Instant::now();
        loop {
            let said = run(&data, arguments);
            let said = format!("{}{}", stdout(&said), stderr(&said));
            if said.contains(words) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "never \"{words}\": {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let show = ["runs", "show", "last"];
    let why = ["runs", "show", "last", "--why", "work"];
    until_said(&show, "items wait for one, which is full (2 prompts)");
    until_said(
        &why,
        "of its node; the first of them waits for one, which is full",
    );
    let told = run(&data, &["backend", "disable", "one"]);
    assert!(told.status.success(), "{}", stderr(&told));
    until_said(&show, "wait: all backends are disabled");
    until_said(&why, "  waits: all backends are disabled");
    // The program itself says so when it has lasted for two seconds.
    std::thread::sleep(Duration::from_secs(3));
    let told = run(&data, &["backend", "enable", "one"]);
    assert!(told.status.success(), "{}", stderr(&told));
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{said}");
    assert!(
        said.contains("work: ") && said.contains("wait: all backends are disabled"),
        "{said}"
    );
    assert_eq!(files_below(&out).len(), 9);
    let shown = stdout(&run(&data, &show));
    assert!(
        !shown.contains(" items wait"),
        "nothing waits any more: {shown}"
    );
}
