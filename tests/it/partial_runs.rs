//! One node alone, with what was made before it; and a workflow only up to one of its own nodes.

use crate::command_line::{refuses, run, stderr, stdout};
use crate::small_projects::chain;
use crate::whole_runs::{BuiltinServer, files_below, start_server};
use comfyui_orchestrator::project::{Project, write_portable_form};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn picture() -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 24, "height": 16, "batch_size": 1, "color": 255}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "first"}},
    })
}

fn inverted(radius: u32) -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}, "_meta": {"title": "The other way"}},
        "3": {"class_type": "ImageBlur", "inputs": {"image": ["2", 0], "blur_radius": radius, "sigma": 1.0}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "second"}},
    })
}

fn written(folder: &Path, project: &Project) -> String {
    let path = folder.join("chain.orchestrator.json");
    std::fs::write(&path, write_portable_form(project).unwrap()).unwrap();
    path.to_string_lossy().into_owned()
}

/// The colour of the first pixel of the last file that was printed.
fn pixel(output: &Output) -> [u8; 3] {
    let said = stdout(output);
    let path = said.lines().last().unwrap_or_default();
    let picture = image::open(path).unwrap_or_else(|error| panic!("{error}: {said}"));
    picture.to_rgb8().get_pixel(0, 0).0
}

fn posts(server: &BuiltinServer) -> usize {
    server.handle.posts_by_prompt_id().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_runs_with_what_was_made_before_it_and_no_further_than_is_asked() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let url = format!("http://{}", server.address);
    let root = folder.path().to_path_buf();
    tokio::task::spawn_blocking(move || {
        let (data, out) = (root.join("data"), root.join("out"));
        let out_text = out.to_string_lossy().into_owned();
        let go = |project: &str, more: &[&str]| {
            let mut all = vec!["run", project, "--backend", &url, "--out", &out_text];
            all.extend(more);
            run(&data, &all)
        };
        let project = written(&root, &chain(&picture(), &inverted(1), ("1", "image")));
        let alone = go(&project, &["--node", "second"]);
        assert!(alone.status.success(), "{}", stderr(&alone));
        assert_eq!(posts(&server), 2, "what it needs was not there and ran");
        assert_eq!(pixel(&alone), [255, 255, 0]);
        assert_eq!(files_below(&out).len(), 0, "nothing behind it ran");

        // Another setting: what comes before is there.
        let changed = written(&root, &chain(&picture(), &inverted(2), ("1", "image")));
        let plan = go(&changed, &["--node", "second", "--plan"]);
        assert!(
            stdout(&plan).contains("1 cached, 1 will run"),
            "{}",
            stdout(&plan)
        );
        let again = go(&changed, &["--node", "second"]);
        assert!(again.status.success(), "{}", stderr(&again));
        assert_eq!(posts(&server), 3);

        // Up to an inner node: by number, title or class. Nothing after it runs, so nothing is saved there.
        let saved = files_below(&root.join("a/output"));
        for inner in ["2", "the other way", "ImageInvert"] {
            let looked = go(&changed, &["--node", "second", "--until", inner]);
            assert!(looked.status.success(), "{}", stderr(&looked));
            assert_eq!(pixel(&looked), [255, 255, 0]);
        }
        assert_eq!(
            posts(&server),
            4,
            "the second and third look were in the cache"
        );
        let loaded = go(&changed, &["--node", "second", "--until", "1"]);
        assert_eq!(pixel(&loaded), [0, 0, 255], "what was loaded");
        assert_eq!(files_below(&root.join("a/output")), saved);
        let whole = go(&changed, &["--node", "second", "--until", "4"]);
        assert!(
            whole.status.success(),
            "an output node is one of its nodes, too"
        );

        refuses(
            &go(&changed, &["--node", "third"]),
            &["no node is called", "second"],
        );
        refuses(
            &go(&changed, &["--node", "second", "--until", "KSampler"]),
            &["has no node \"KSampler\"", "The other way"],
        );
        refuses(&go(&changed, &["--until", "2"]), &["--node"]);
    })
    .await
    .unwrap();
}
