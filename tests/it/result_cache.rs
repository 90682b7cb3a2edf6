//! Results that are kept: hits across runs, servers and restarts, what a plan says, what a node's policy says, how much is
//! kept, and what becomes of damaged files. By the command line.

use crate::command_line::{run, stderr, stdout};
use crate::small_projects::{chain, workflow_node};
use crate::whole_runs::{BuiltinServer, files_below, start_server};
use comfyui_orchestrator::project::{
    CachePolicy, DataType, Edit, NodeKind, Project, ProjectId, RetryPolicy, write_portable_form,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn picture(color: u32) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "first"}},
    })
}

fn inverted() -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "second"}},
    })
}

struct Place {
    root: PathBuf,
    data: PathBuf,
}

impl Place {
    fn write(&self, name: &str, project: &Project) -> String {
        let path = self.root.join(format!("{name}.orchestrator.json"));
        std::fs::write(&path, write_portable_form(project).unwrap()).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn tell(&self, arguments: &[&str]) -> String {
        let told = run(&self.data, arguments);
        assert!(told.status.success(), "{arguments:?}: {}", stderr(&told));
        stdout(&told)
    }

    fn run_on(&self, project: &str, server: &BuiltinServer, out: &str) {
        let url = format!("http://{}", server.address);
        let out = self.root.join(out).to_string_lossy().into_owned();
        self.tell(&["run", project, "--backend", &url, "--out", &out]);
    }
}

fn posts(server: &BuiltinServer) -> usize {
    server.handle.posts_by_prompt_id().len()
}

/// Another byte in the middle, at the same length.
fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(file, bytes).unwrap();
}

/// Every file below a folder that was not moved aside.
fn artifacts(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                if entry.file_name() != "damaged" {
                    open.push(entry.path());
                }
            } else {
                files.push(entry.path());
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_is_used_again_wherever_and_whenever_and_only_while_it_is_sound() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let b = start_server(folder.path(), "b", 0, None).await;
    let place = Place {
        root: folder.path().to_path_buf(),
        data: folder.path().join("data"),
    };
    tokio::task::spawn_blocking(move || {
        let project = chain(&picture(255), &inverted(), ("1", "image"));
        let red = place.write("red", &project);
        let plan = place.tell(&["run", &red, "--plan"]);
        assert!(plan.contains("0 cached, 2 will run"), "{plan}");
        assert!(plan.contains("No backend is known"), "{plan}");
        assert!(
            plan.contains("1 will run because no equal item was made before"),
            "{plan}"
        );
        assert!(
            plan.contains("1 will run because what it is made from runs"),
            "{plan}"
        );
        // A node that no backend can run is told before the run as well.
        let mut strange = picture(255);
        strange["1"]["class_type"] = json!("NobodyHasThis");
        let strange = place.write("strange", &chain(&strange, &inverted(), ("1", "image")));
        let url = format!("http://{}", a.address);
        let told = run(&place.data, &["run", &strange, "--plan", "--backend", &url]);
        let words = stdout(&told);
        assert_eq!(told.status.code(), Some(1), "{words}{}", stderr(&told));
        assert!(
            words.contains("1 cannot run: no backend can run it: 127.0.0.1"),
            "{words}"
        );
        assert!(
            words.contains("1 cannot run: what it is made from cannot run: "),
            "{words}"
        );
        assert!(
            words.starts_with("0 cached, 0 will run, 2 cannot run."),
            "{words}"
        );
        assert!(words.contains("NobodyHasThis"), "{words}");

        place.run_on(&red, &a, "out1");
        assert_eq!(posts(&a), 2);
        let plan = place.tell(&["run", &red, "--plan"]);
        assert!(plan.contains("2 cached, 0 will run"), "{plan}");

        // Another run, another server, another process: nothing is asked.
        place.run_on(&red, &b, "out2");
        assert_eq!(posts(&b), 0);
        // Into the folder where the same picture lies already: it is left as it is, whichever run made it.
        let there = artifacts(&place.root.join("out1"));
        place.run_on(&red, &b, "out1");
        assert_eq!(artifacts(&place.root.join("out1")), there);
        let same = |one: &str, other: &str| {
            let read =
                |out: &str| std::fs::read(artifacts(&place.root.join(out)).remove(0)).unwrap();
            image::load_from_memory(&read(one)).unwrap()
                == image::load_from_memory(&read(other)).unwrap()
        };
        assert!(same("out1", "out2"));
        let why = place.tell(&["runs", "show", "last", "--why", "second"]);
        assert!(
            why.contains("from the cache, no backend was asked"),
            "{why}"
        );

        // A node that always runs; what is made from its equal result is there all the same.
        let mut always = project.clone();
        for node in always.nodes.values_mut() {
            if node.title == "first"
                && let NodeKind::Workflow(workflow) = &mut node.kind
            {
                workflow.cache = CachePolicy::Never;
            }
        }
        let always = place.write("always", &always);
        let plan = place.tell(&["run", &always, "--plan"]);
        assert!(
            plan.contains("1 will run because its node always runs"),
            "{plan}"
        );
        place.run_on(&always, &b, "out3");
        assert_eq!(posts(&b), 1);

        // One of the two files is damaged, at the same length: found, forgotten, made again, sound from then on.
        assert!(
            place.tell(&["cache", "stats"]).starts_with("2 results"),
            "stats"
        );
        assert!(
            place
                .tell(&["cache", "verify"])
                .contains("; 0 results forgotten")
        );
        let victim = artifacts(&place.data.join("artifacts")).remove(0);
        damage(&victim);
        let verified = place.tell(&["cache", "verify"]);
        assert!(verified.contains("; 1 result forgotten"), "{verified}");
        assert!(verified.contains("moved to"), "{verified}");
        let (before_a, before_b) = (posts(&a), posts(&b));
        place.run_on(&red, &a, "out4");
        assert_eq!(
            (posts(&a), posts(&b)),
            (before_a + 1, before_b),
            "one of two"
        );
        assert!(same("out1", "out4"));
        assert!(
            place
                .tell(&["cache", "verify"])
                .contains("; 0 results forgotten")
        );
        // Damaged again, and nobody looked: what is delivered is sound all the same.
        for file in artifacts(&place.data.join("artifacts")) {
            damage(&file);
        }
        place.run_on(&red, &a, "out5");
        assert!(same("out1", "out5"));
        assert!(
            place
                .tell(&["cache", "verify"])
                .contains("; 0 results forgotten")
        );

        // The least recently used goes first: blue was used last, so red goes.
        let blue = place.write(
            "blue",
            &chain(&picture(0x00_00FF), &inverted(), ("1", "image")),
        );
        let green = place.write(
            "green",
            &chain(&picture(0x00_FF00), &inverted(), ("1", "image")),
        );
        place.run_on(&green, &a, "green");
        place.run_on(&blue, &a, "blue");
        let stats = place.tell(&["cache", "stats"]);
        let results: u64 = stats.split(' ').next().unwrap().parse().unwrap();
        assert!(results >= 4, "{stats}");
        let kept = artifacts(&place.data.join("artifacts"));
        let bytes: u64 = kept.iter().map(|file| file.metadata().unwrap().len()).sum();
        // Room for two of them, and for the difference in size.
        let room = bytes * 12 / (kept.len() as u64 * 5);
        assert_eq!(place.tell(&["cache", "limit", "1.5GB"]).trim(), "1.5 GB");
        assert_eq!(place.tell(&["cache", "limit"]).trim(), "1.5 GB");
        place.tell(&["cache", "limit", &room.to_string()]);
        // Any start of an engine brings it down to that.
        place.run_on(&blue, &a, "blue2");
        let plan = place.tell(&["run", &blue, "--plan"]);
        assert!(plan.contains("2 cached, 0 will run"), "{plan}");
        let plan = place.tell(&["run", &green, "--plan"]);
        assert!(!plan.contains("2 cached"), "{plan}");
        // Files that runs name stay; of a result nothing is left.
        let before = artifacts(&place.data.join("artifacts")).len();
        assert!(
            place
                .tell(&["cache", "prune", "--max-size", "0"])
                .contains("0 files removed")
        );
        assert!(place.tell(&["cache", "stats"]).starts_with("0 results"));
        assert_eq!(artifacts(&place.data.join("artifacts")).len(), before);
        assert_eq!(files_below(&place.root.join("out1")).len(), 1);
    })
    .await
    .unwrap();
}

/// The same words as text and as a number are two results.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_of_another_type_is_another_result() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let place = Place {
        root: folder.path().to_path_buf(),
        data: folder.path().join("data"),
    };
    tokio::task::spawn_blocking(move || {
        let five = json!({
            "1": {"class_type": "PrimitiveString", "inputs": {"value": "5"}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        });
        for (data_type, wanted) in [
            (DataType::Text, json!("5")),
            (DataType::Integer, json!({"integer": 5})),
        ] {
            let mut project = Project::new(ProjectId::new_now(), "Words");
            let mut node =
                workflow_node(&mut project, "words", &five, None, RetryPolicy::default());
            node.outputs[0].data_type = data_type;
            project.apply(Edit::AddNode(Box::new(node))).unwrap();
            let path = place.write(&format!("{data_type}"), &project);
            let url = format!("http://{}", a.address);
            let told = place.tell(&["run", &path, "--backend", &url, "--json"]);
            let done = told
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|event| event.to_string().contains("item_done"))
                .unwrap();
            let found = done.to_string();
            assert!(found.contains(&wanted.to_string()), "{found}");
        }
    })
    .await
    .unwrap();
}
