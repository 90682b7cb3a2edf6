//! The library of workflows, through the real binary and through the store.

use super::command_line::{BuiltinProcess, refuses, run, small_scene, stderr, stdout};
use super::forgetting::unused;
use comfyui_orchestrator::artifacts::ContentHash;
use comfyui_orchestrator::engine::library_workflow;
use comfyui_orchestrator::store::{
    LibraryChange, LibraryQuery, LibraryWorkflowId, MAX_LIBRARY_VERSIONS, Store, wait,
};
use comfyui_orchestrator::workflow::read;
use serde_json::{Value, json};
use tempfile::TempDir;

fn upscaler(scale: f64) -> String {
    json!({"version": 0.4, "links": [], "groups": [{"title": "Äußeres"}], "nodes": [
        {"id": 1, "type": "UNETLoader", "widgets_values": ["flux\\Dev-FP8.safetensors", "default"]},
        {"id": 2, "type": "CLIPTextEncode", "title": "Wanted", "widgets_values": ["a lighthouse in fog"]},
        {"id": 3, "type": "ImageScaleBy", "widgets_values": ["lanczos", scale]}]})
    .to_string()
}

#[test]
fn a_folder_becomes_a_tree_that_is_searched_tagged_and_given_back() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let root = folder.path().join("mine");
    std::fs::create_dir_all(root.join("flux/big")).unwrap();
    let text = upscaler(2.0);
    std::fs::write(root.join("flux/big/Upscale.json"), &text).unwrap();
    std::fs::write(
        root.join("Portrait.json"),
        r#"{"1": {"class_type": "KSampler", "inputs": {}}}"#,
    )
    .unwrap();
    std::fs::write(root.join("settings.json"), r#"{"theme": "dark"}"#).unwrap();
    std::fs::write(root.join("readme.txt"), "not looked at").unwrap();
    let root = root.to_string_lossy().into_owned();
    let library = |arguments: &[&str]| {
        let all: Vec<&str> = ["workflow", "library"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        run(&data, &all)
    };

    let imported = library(&["import", &root, "--into", "studio"]);
    assert!(imported.status.success(), "{}", stderr(&imported));
    assert!(
        stdout(&imported).starts_with("2 added, 0 new versions, 0 unchanged"),
        "{}",
        stdout(&imported)
    );
    assert!(
        stderr(&imported).contains("settings.json"),
        "{}",
        stderr(&imported)
    );
    let twins = folder.path().join("twins");
    std::fs::create_dir_all(&twins).unwrap();
    std::fs::write(twins.join("shot.json"), upscaler(1.0)).unwrap();
    std::fs::write(twins.join("shot.latent.json"), upscaler(1.5)).unwrap();
    std::fs::write(
        twins.join("shot.svg"),
        format!(
            "<svg><metadata>{{\"workflow\": {}}}</metadata></svg>",
            upscaler(3.0)
        ),
    )
    .unwrap();
    for counts in ["3 added, 0 new", "0 added, 0 new versions, 3 unchanged"] {
        let imported = library(&["import", &twins.to_string_lossy(), "--into", "twins"]);
        assert!(
            stdout(&imported).starts_with(counts),
            "{}",
            stdout(&imported)
        );
    }
    for name in ["shot.json", "shot.svg", "shot.latent"] {
        let path = format!("twins/{name}");
        assert!(library(&["remove", &path]).status.success(), "{name}");
    }
    let again = library(&["import", &root, "--into", "studio"]);
    assert!(stdout(&again).starts_with("0 added, 0 new versions, 2 unchanged"));
    std::fs::write(
        folder.path().join("mine/flux/big/Upscale.json"),
        upscaler(4.0),
    )
    .unwrap();
    let renewed = library(&["import", &root, "--into", "/studio/"]);
    assert!(stdout(&renewed).starts_with("0 added, 1 new versions, 1 unchanged"));

    assert!(
        library(&["tag", "studio/flux/big/Upscale", "final", "4k"])
            .status
            .success()
    );
    let listed = stdout(&library(&["list"]));
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        [
            "studio/Portrait",
            "studio/flux/big/Upscale  (version 2)  #4k  #final"
        ]
    );
    let below = stdout(&library(&["list", "--folder", "studio/flux"]));
    assert_eq!(below.lines().count(), 1);
    let half = stdout(&library(&["list", "--folder", "studio/flu"]));
    assert!(!half.contains("Upscale"), "{half}");
    for words in [
        &["LIGHTHOUSE", "fog"][..],
        &["dev-fp8"],
        &["äußeres"],
        &["imagescale", "wanted"],
        &["flux/big"],
        &["fina"],
    ] {
        let found = library(&[&["search"], words].concat());
        assert!(
            stdout(&found).starts_with("studio/flux/big/Upscale"),
            "{words:?}: {}",
            stdout(&found)
        );
        assert_eq!(stdout(&found).lines().count(), 1, "{words:?}");
    }
    assert!(
        !library(&["search", "lighthouse", "ksampler"])
            .status
            .success()
    );
    let found = library(&["search", "--json", "portrait"]);
    let found: Value = serde_json::from_str(&stdout(&found)).unwrap();
    assert_eq!(
        (&found["folder"], &found["version"]),
        (&json!("studio"), &json!(1))
    );

    // Byte for byte, each version.
    let first = library(&["export", "studio/flux/big/Upscale", "--version", "1"]);
    assert_eq!(stdout(&first), text);
    assert_eq!(
        stdout(&library(&["export", "studio/flux/big/Upscale"])),
        upscaler(4.0)
    );
    refuses(
        &library(&["export", "studio/flux/big/Upscale", "--version", "9"]),
        &["it has: 2, 1"],
    );
    assert!(
        library(&["move", "studio/flux/big/Upscale", "old/Enlarge"])
            .status
            .success()
    );
    refuses(
        &library(&["move", "old/Enlarge", "studio/Portrait"]),
        &["taken"],
    );
    assert!(stdout(&library(&["search", "enlarge"])).contains("old/Enlarge"));
    assert!(library(&["remove", "old/Enlarge"]).status.success());
    refuses(
        &library(&["export", "old/Enlarge"]),
        &["old/Enlarge", "list"],
    );
    refuses(&library(&["import", "nowhere"]), &["nowhere"]);
}

#[test]
fn versions_are_bounded_and_a_thumbnail_is_kept() {
    let store = Store::in_memory().unwrap();
    let mut id = None;
    for number in 0..MAX_LIBRARY_VERSIONS + 5 {
        let text = upscaler(f64::from(number));
        let document = read(text.as_bytes()).unwrap();
        let workflow = library_workflow("a//b\\c", "x", &document, &text, u64::from(number));
        let (put, change) =
            wait(store.put_in_library(workflow, LibraryWorkflowId::new_now())).unwrap();
        assert_eq!(*id.get_or_insert(put), put);
        let expected = if number == 0 {
            LibraryChange::Added
        } else {
            LibraryChange::NewVersion
        };
        assert_eq!(change, expected);
    }
    let id = id.unwrap();
    let versions = wait(store.library_versions(id)).unwrap();
    assert_eq!(versions.len(), MAX_LIBRARY_VERSIONS as usize);
    assert_eq!(versions[0].number, MAX_LIBRARY_VERSIONS + 5);
    assert_eq!(wait(store.library_text(id, Some(1))).unwrap(), None);
    // What the page made of it comes along with its version, and with none that another text has.
    let text = upscaler(f64::from(MAX_LIBRARY_VERSIONS + 4));
    let document = read(text.as_bytes()).unwrap();
    let mut workflow = library_workflow("a/b/c", "x", &document, &text, 99);
    workflow.page_prompt = Some("{\"1\": \"as made\"}".to_owned());
    let (_, change) = wait(store.put_in_library(workflow, LibraryWorkflowId::new_now())).unwrap();
    assert_eq!(change, LibraryChange::Unchanged);
    let present = wait(store.library_file(id, None)).unwrap().unwrap();
    assert_eq!(present.text, text);
    assert_eq!(present.page_prompt.as_deref(), Some("{\"1\": \"as made\"}"));
    let before = wait(store.library_file(id, Some(MAX_LIBRARY_VERSIONS + 4))).unwrap();
    assert_eq!(before.unwrap().page_prompt, None);
    let holding = wait(store.library_holding(text.into())).unwrap();
    assert_eq!(holding.map(|entry| entry.workflow_id), Some(id));
    let nowhere = wait(store.library_holding("{}".into())).unwrap();
    assert_eq!(nowhere, None);
    let picture = ContentHash::of(b"picture");
    assert!(wait(store.set_library_thumbnail(id, Some(picture))).unwrap());
    let query = LibraryQuery {
        folder: Some("a/b".to_owned()),
        ..LibraryQuery::default()
    };
    let found = wait(store.library(query)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path(), "a/b/c/x");
    assert_eq!(found[0].thumbnail, Some(picture));
    assert!(wait(store.remove_from_library(id)).unwrap());
    assert!(!wait(store.set_library_tags(id, vec!["t".to_owned()])).unwrap());
}

#[test]
fn saved_workflows_travel_between_a_server_and_the_library() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let file = folder.path().join("Upscale.json");
    std::fs::write(&file, upscaler(2.0)).unwrap();
    let library = |arguments: &[&str]| {
        let all: Vec<&str> = ["workflow", "library"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        run(&data, &all)
    };
    assert!(
        library(&["import", &file.to_string_lossy(), "--into", "studio"])
            .status
            .success()
    );
    let pushed = library(&["push", "studio/Upscale", &server.url]);
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    // Nothing on the server is replaced unasked.
    refuses(
        &library(&["push", "studio/Upscale", &server.url]),
        &["studio/Upscale.json", "--replace"],
    );
    let replaced = library(&["push", "studio/Upscale", &server.url, "--replace"]);
    assert!(replaced.status.success(), "{}", stderr(&replaced));

    let pulled = library(&["pull", &server.url, "--into", "from the server"]);
    assert!(
        stdout(&pulled).starts_with("1 added, 0 new versions, 0 unchanged"),
        "{}{}",
        stdout(&pulled),
        stderr(&pulled)
    );
    let again = library(&["pull", &server.url, "--into", "from the server"]);
    assert!(stdout(&again).starts_with("0 added, 0 new versions, 1 unchanged"));
    let out = folder.path().join("back.json");
    let exported = library(&[
        "export",
        "from the server/studio/Upscale",
        "-o",
        &out.to_string_lossy(),
    ]);
    assert!(exported.status.success(), "{}", stderr(&exported));
    assert_eq!(std::fs::read_to_string(out).unwrap(), upscaler(2.0));
}

#[test]
fn a_workflow_shows_the_last_picture_that_it_made_even_after_its_run_is_gone() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let scene = small_scene(folder.path());
    let project: Value = serde_json::from_slice(&std::fs::read(&scene).unwrap()).unwrap();
    let workflows = folder.path().join("workflows");
    std::fs::create_dir_all(&workflows).unwrap();
    for (name, text) in project["workflows"].as_object().unwrap() {
        let file = workflows.join(format!("{name}.json"));
        std::fs::write(file, text.as_str().unwrap()).unwrap();
    }
    std::fs::write(workflows.join("never run.json"), upscaler(2.0)).unwrap();
    let workflows = workflows.to_string_lossy().into_owned();
    let imported = run(&data, &["workflow", "library", "import", &workflows]);
    assert!(imported.status.success(), "{}", stderr(&imported));
    let out = folder.path().join("out").to_string_lossy().into_owned();
    let arguments = ["run", &scene, "--backend", &server.url, "--out", &out];
    let made = run(
        &data,
        &[
            &arguments[..],
            &["--set", "Paint a harbour.steps=1", "--json"],
        ]
        .concat(),
    );
    assert!(made.status.success(), "{}", stderr(&made));
    let listed = run(&data, &["workflow", "library", "list", "--json"]);
    let entries: Vec<Value> = stdout(&listed)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(entries.len() > 2, "{}", stdout(&listed));
    for entry in &entries {
        match entry["thumbnail"].as_str() {
            Some(hash) => assert!(stdout(&made).contains(hash), "{entry}"),
            None => assert_eq!(entry["name"], "never run"),
        }
    }

    let store = Store::open(&data.join("orchestrator.sqlite")).unwrap();
    for summary in wait(store.runs()).unwrap() {
        assert!(wait(store.delete_run(summary.run_id)).unwrap());
    }
    wait(store.trim_cache(0)).unwrap();
    let unused = unused(&store);
    for entry in wait(store.library(LibraryQuery::default())).unwrap() {
        let text = wait(store.library_text(entry.workflow_id, None)).unwrap();
        let picture = wait(store.last_picture(ContentHash::of(text.unwrap().as_bytes()))).unwrap();
        assert_eq!(
            picture.as_ref().map(|picture| picture.hash),
            entry.thumbnail
        );
        assert!(picture.is_none_or(|picture| !unused.contains(&picture.hash)));
    }
    assert!(!unused.is_empty(), "pictures that nothing shows are unused");
}
