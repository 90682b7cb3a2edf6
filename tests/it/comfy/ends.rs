//! How prompts end: what histories say, and what is asked when nothing was heard.

use crate::scripted_server::{Answer, ScriptedServer, recording, shared};
use comfyui_orchestrator::comfy::watch::{PromptState, reconcile};
use comfyui_orchestrator::comfy::{MediaKind, Outcome};
use serde_json::json;

#[tokio::test]
async fn every_recorded_history_is_read() {
    let Some(_) = shared("comfyui/captures") else {
        return;
    };
    let server = ScriptedServer::start().await;
    let mut kinds = std::collections::BTreeSet::new();
    let mut read = 0;
    for entry in std::fs::read_dir(shared("comfyui/captures").unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .strip_suffix(".jsonl")
        else {
            continue;
        };
        for recorded in recording(name).unwrap() {
            let Some(prompt_id) = recorded.line["req"]
                .as_str()
                .and_then(|line| line.strip_prefix("GET /history/"))
            else {
                continue;
            };
            let body = &recorded.line["resp"];
            server.answer(&format!("GET /history/{prompt_id}"), [Answer::json(body)]);
            let entry = server.client().history(prompt_id).await.unwrap();
            assert_eq!(
                entry.is_some(),
                body.get(prompt_id).is_some(),
                "{name} {prompt_id}"
            );
            let Some(entry) = entry else { continue };
            let files: usize = body[prompt_id]["outputs"]
                .as_object()
                .unwrap()
                .values()
                .flat_map(|lists| lists.as_object().unwrap().values())
                .flat_map(|list| list.as_array().unwrap())
                .filter(|element| element.get("filename").is_some())
                .count();
            assert_eq!(
                entry
                    .outputs
                    .values()
                    .map(|output| output.files.len())
                    .sum::<usize>(),
                files
            );
            assert!(
                entry.outputs.values().all(|output| output.other.is_empty()),
                "{name} {:?}",
                entry.outputs
            );
            kinds.extend(
                entry
                    .outputs
                    .values()
                    .flat_map(|output| &output.files)
                    .map(|file| format!("{:?}", file.kind)),
            );
            let is_success = body[prompt_id]["status"]["status_str"] == "success";
            assert_eq!(entry.outcome == Outcome::Success, is_success);
            assert!(entry.started_ms <= entry.ended_ms && entry.ended_ms.is_some());
            read += 1;
        }
    }
    assert_eq!(read, 39);
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["Audio", "Image", "Video"]
    );
    assert_eq!(MediaKind::of_name("x.LATENT"), MediaKind::Latent);
}

#[tokio::test]
async fn a_prompt_that_ends_between_two_questions_is_found() {
    let server = ScriptedServer::start().await;
    let empty = Answer::json(&json!({"queue_running": [], "queue_pending": []}));
    let entry = Answer::json(
        &json!({"p": {"prompt": [1, "p", {}, {}, ["2"]], "outputs": {},
        "status": {"status_str": "success", "completed": true, "messages": []}}}),
    );
    // Its POST arrives only after the first look, and it ends at once.
    server.answer("GET /queue", [empty.clone()]);
    server.answer("GET /history/p", [Answer::json(&json!({})), entry]);
    assert!(matches!(
        reconcile(&server.client(), "p").await.unwrap(),
        PromptState::Finished(_)
    ));
    // An error is not an answer: never "unknown".
    server.answer("GET /history/p", [Answer::text(500, "")]);
    assert!(reconcile(&server.client(), "p").await.is_err());
}
