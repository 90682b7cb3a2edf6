//! Seeds of items, set on the command line and used in a run.

use super::command_line::{BuiltinProcess, refuses, run, run_project, small_scene, stderr, stdout};
use serde_json::Value;
use std::collections::BTreeSet;
use tempfile::TempDir;

fn parameter(project: &str) -> Value {
    let project: Value = serde_json::from_slice(&std::fs::read(project).unwrap()).unwrap();
    let nodes = project["nodes"].as_array().unwrap();
    let node = nodes
        .iter()
        .find(|node| node["title"] == "Paint a harbour")
        .unwrap();
    let parameters = node["kind"]["workflow"]["parameters"].as_array().unwrap();
    parameters
        .iter()
        .find(|one| one["label"] == "seed")
        .cloned()
        .unwrap_or_default()
}

#[test]
fn seeds_are_set_counted_rolled_and_taken_from_a_fan_out() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let scene = small_scene(folder.path());
    let seed = |arguments: &[&str]| {
        let all = [
            &["project", "seed", &scene, "Paint a harbour.seed"],
            arguments,
        ]
        .concat();
        run(&data, &all)
    };
    let pictures = |name: &str| {
        let out = folder.path().join(name);
        let more = ["--set", "Paint a harbour.steps=1", "--json"];
        let made = run_project(&data, &scene, &server.url, &out, &more);
        assert!(made.status.success(), "{}", stderr(&made));
        let node: Value = serde_json::from_slice::<Value>(&std::fs::read(&scene).unwrap()).unwrap();
        let nodes = node["nodes"].as_array().unwrap().clone();
        let painter = nodes
            .iter()
            .find(|node| node["title"] == "Paint a harbour")
            .unwrap()["id"]
            .clone();
        let mut items = BTreeSet::new();
        let mut hashes = Vec::new();
        for line in stdout(&made).lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let item = event["item_id"].as_str().unwrap_or_default().to_owned();
            if event["event"] == "item_created" && event["node_id"] == painter {
                items.insert(item);
            } else if event["event"] == "item_done" && items.contains(&item) {
                let output = event["outputs"]
                    .as_object()
                    .unwrap()
                    .values()
                    .next()
                    .unwrap();
                hashes.push(output["artifact"]["hash"].as_str().unwrap().to_owned());
            }
        }
        hashes.sort();
        hashes
    };

    let set = seed(&["random"]);
    assert!(set.status.success(), "{}", stderr(&set));
    assert!(
        stdout(&set).contains("the link into its input is gone"),
        "{}",
        stdout(&set)
    );
    assert!(parameter(&scene)["seed"]["random"]["max"].is_u64());
    // Four words and no seeds of the fan-out any more.
    let first: BTreeSet<String> = pictures("first").into_iter().collect();
    let second: BTreeSet<String> = pictures("second").into_iter().collect();
    assert_eq!((first.len(), second.len()), (4, 4));
    assert!(first.is_disjoint(&second), "another roll in every run");

    assert!(
        seed(&["increment", "--value", "41", "--max", "1000"])
            .status
            .success()
    );
    let counted = parameter(&scene);
    assert_eq!(counted["value"]["integer"], 41);
    assert_eq!(counted["seed"]["increment"]["max"], 1000);
    let once = pictures("once");
    assert_eq!(
        once,
        pictures("again"),
        "the same seeds give the same pictures"
    );

    let linked = seed(&["fan-out", "--from", "3 seeds"]);
    assert!(linked.status.success(), "{}", stderr(&linked));
    assert!(parameter(&scene)["seed"].is_null(), "fixed is not written");
    assert_eq!(pictures("fanned").len(), 12);
    let validated = run(&data, &["project", "validate", &scene]);
    assert!(validated.status.success(), "{}", stdout(&validated));

    refuses(&seed(&["fan-out"]), &["--from"]);
    refuses(
        &seed(&["fan-out", "--from", "Soft glow"]),
        &["no Fan out node"],
    );
    refuses(
        &seed(&["fixed", "--value", "2000", "--max", "1000"]),
        &["2000", "1000"],
    );
    refuses(
        &run(
            &data,
            &[
                "project",
                "seed",
                &scene,
                "Paint a harbour.nothing",
                "fixed",
            ],
        ),
        &["nothing", "steps"],
    );
}
