//! Answers equal to those recorded from a real ComfyUI.

use std::path::Path;

use serde_json::{Value, json};

use super::client::{Running, body_of};

/// The recordings beside the checkout, or a line that says why the test has nothing to do.
fn recordings() -> Option<std::path::PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/comfyui")).to_path_buf();
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no recordings at {}", folder.display());
    None
}

/// Recorded answers name the recorded server's source lines in tracebacks; the rest must be equal.
fn without_tracebacks(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| name.as_str() != "traceback")
            .map(|(name, value)| (name.clone(), without_tracebacks(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_tracebacks).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn prompts_are_refused_and_accepted_as_recorded() {
    let Some(recordings) = recordings() else {
        return;
    };
    let server = Running::start().await;
    // Other classes than the built-in ones, a header, and a body that is no JSON.
    let skipped = [
        "combo_with_20_options",
        "missing_model_file",
        "unknown_combo_value_v3",
        "origin_header",
        "body_not_json",
    ];
    let mut compared = 0;
    for entry in std::fs::read_dir(recordings.join("captures/fixtures")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("prompt_") || skipped.iter().any(|part| name.contains(part)) {
            continue;
        }
        let recorded: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let (status, mut answer) = server.post("/prompt", &recorded["request"]).await;
        let mut wanted = recorded["response"].clone();
        assert_eq!(json!(status), recorded["status"], "{name}: {answer}");
        for side in [&mut answer, &mut wanted] {
            if recorded["request"]["prompt_id"].is_null() && !side["prompt_id"].is_null() {
                side["prompt_id"] = json!("chosen by the server");
            }
            if recorded["request"]["number"].is_null() && !side["number"].is_null() {
                side["number"] = json!("counted by the server");
            }
        }
        assert_eq!(
            without_tracebacks(&answer),
            without_tracebacks(&wanted),
            "{name}"
        );
        compared += 1;
    }
    assert!(compared > 20, "only {compared} recordings were compared");
    let not_json = server
        .client
        .post(server.url("/prompt"))
        .body("not json")
        .send()
        .await
        .unwrap();
    assert_eq!(
        body_of(not_json).await,
        (
            500,
            json!("500 Internal Server Error\n\nServer got itself in trouble")
        )
    );
}

#[tokio::test]
async fn node_classes_describe_themselves_as_recorded() {
    let server = Running::start().await;
    std::fs::write(server.folder.path().join("input/in.png"), "").unwrap();
    let (_, classes) = server.get("/object_info").await;
    assert_eq!(server.get("/object_info/NoSuch").await, (200, json!({})));
    assert_eq!(
        classes["LoadImage"]["input"]["required"]["image"],
        json!([["in.png"], { "image_upload": true }])
    );
    let Some(recordings) = recordings() else {
        return;
    };
    let bytes = std::fs::read(recordings.join("object_info-0.8.0.json")).unwrap();
    let recorded: Value = serde_json::from_slice(&bytes).unwrap();
    let mut compared = 0;
    for (name, class) in classes.as_object().unwrap() {
        if name.starts_with("Orchestrator") {
            assert_eq!(class["category"], "orchestrator");
            continue;
        }
        let mut wanted = recorded[name].clone();
        if name == "LoadImage" || name == "LoadImageMask" {
            wanted["input"]["required"]["image"][0] = json!(["in.png"]);
        }
        if name == "LoadAudio" {
            wanted["input"]["required"]["audio"][1]["options"] = json!([]);
        }
        assert_eq!(class, &wanted, "{name}");
        compared += 1;
    }
    assert!(compared >= 40, "{compared} classes");
}
