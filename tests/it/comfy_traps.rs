//! The eighteen traps of the ComfyUI protocol, one test each. What the server says in them was recorded from ComfyUI 0.8.0.

#![allow(clippy::float_cmp, reason = "queue numbers pass through unchanged")]

use crate::scripted_server::{
    Answer, PATIENCE, ScriptedServer, client_of, fixture, recording, shared,
};
use comfyui_orchestrator::comfy::decode::{decode_binary, decode_text};
use comfyui_orchestrator::comfy::events::{self, EventReceiver, LinkEvent, SocketOptions};
use comfyui_orchestrator::comfy::watch::{PromptState, reconcile};
use comfyui_orchestrator::comfy::{
    ComfyError, ExtraData, FolderType, JobState, MediaKind, NodeProgressState, Outcome,
    QueuePosition, SocketEvent, StoredFile, SubmitRequest, Submitted, Upload, UploadContent,
};
use comfyui_orchestrator::fleet::{Health, LinkHealth};
use comfyui_orchestrator::workflow::{ObjectInfo, Prompt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

fn quick() -> SocketOptions {
    SocketOptions {
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(40),
        close_within: Duration::from_millis(500),
        ..SocketOptions::default()
    }
}

async fn next(receiver: &mut EventReceiver) -> LinkEvent {
    timeout(PATIENCE, receiver.recv()).await.unwrap().unwrap()
}

/// The next message of the server, past what tells of the connection itself.
async fn next_message(receiver: &mut EventReceiver) -> SocketEvent {
    loop {
        if let LinkEvent::Message(event) = next(receiver).await {
            return event;
        }
    }
}

async fn post(server: &ScriptedServer, prompt_id: &str) -> Result<Submitted, ComfyError> {
    let prompt: Prompt =
        serde_json::from_value(json!({"1": {"class_type": "TestText", "inputs": {}}})).unwrap();
    let client = server.client();
    client
        .submit_prompt(&SubmitRequest {
            prompt: &prompt,
            client_id: "me",
            prompt_id,
            extra_data: ExtraData::default(),
            partial_execution_targets: Vec::new(),
            position: QueuePosition::Back,
        })
        .await
}

/// Posts a prompt that is answered as the fixture says.
async fn post_like(server: &ScriptedServer, name: &str) -> Option<Result<Submitted, ComfyError>> {
    let fixture = fixture(name)?;
    let status = u16::try_from(fixture["status"].as_u64().unwrap()).unwrap();
    let body = match &fixture["response"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let prompt_id = fixture["response"]["prompt_id"].as_str().unwrap_or("p");
    server.answer("POST /prompt", [Answer::text(status, &body)]);
    Some(post(server, prompt_id).await)
}

fn queue(running: &[(f64, &str)], pending: &[(f64, &str)]) -> Answer {
    let items = |list: &[(f64, &str)]| {
        list.iter()
            .map(|(number, id)| json!([number, id, {}, {"client_id": "me"}, ["2"]]))
            .collect::<Vec<_>>()
    };
    Answer::json(&json!({"queue_running": items(running), "queue_pending": items(pending)}))
}

fn decode(value: &Value) -> SocketEvent {
    decode_text(value.to_string().as_bytes()).unwrap()
}

/// All socket messages of a recording.
fn messages(name: &str) -> Option<Vec<SocketEvent>> {
    Some(
        recording(name)?
            .iter()
            .filter(|recorded| recorded.dir == "ws<")
            .map(|recorded| decode(&recorded.line["json"]))
            .collect(),
    )
}

/// Reads the history of `prompt_id` as it was recorded.
async fn recorded_history(
    name: &str,
    prompt_id: &str,
) -> Option<comfyui_orchestrator::comfy::HistoryEntry> {
    let line = format!("GET /history/{prompt_id}");
    let body = recording(name)?
        .into_iter()
        .find(|recorded| recorded.line["req"] == line.as_str())
        .unwrap()
        .line["resp"]
        .clone();
    let server = ScriptedServer::start().await;
    server.answer(&line, [Answer::json(&body)]);
    server.client().history(prompt_id).await.unwrap()
}

#[tokio::test]
async fn trap_01_two_sockets_with_one_client_id() {
    let mut server = ScriptedServer::start().await;
    let mut receiver = events::connect(server.client(), "me".to_owned(), quick());
    let mut first = server.socket().await;
    first.greet().await;
    assert_eq!(next(&mut receiver).await, LinkEvent::Connected);

    // The socket is open and deaf, the prompt ends all the same: the watchdog finds it.
    server.answer("GET /queue", [queue(&[], &[])]);
    server.answer(
        "GET /history/p",
        [Answer::json(&json!({"p": {"prompt": [0, "p", {}, {}, []], "outputs": {}, "status": {"status_str": "success"}}}))],
    );
    assert!(matches!(
        reconcile(&server.client(), "p").await.unwrap(),
        PromptState::Finished(_)
    ));

    // The fleet notices deafness by a queue that changes without a word from the socket.
    let mut health = Health::default();
    health.link_up();
    health.told(0);
    assert!(!health.found(0) && !health.found(2));
    assert!(health.found(2));
    health.told(2);
    assert!(!health.found(2) && !health.found(3) && !health.found(2) && !health.found(3));
    health.link = LinkHealth::Down(String::new());
    assert!(!health.found(9) && !health.found(9));

    // A new connection is not opened before the old one is closed, or the server would forget the new one.
    receiver.reconnect();
    assert!(
        server
            .socket_within(Duration::from_millis(150))
            .await
            .is_none()
    );
    assert_eq!(first.hear().await.unwrap()["type"], "feature_flags");
    assert_eq!(first.hear().await, None);
    let mut second = server.socket().await;
    assert_eq!(second.client_id, "me");
    second.greet().await;
    assert!(matches!(
        next_link(&mut receiver).await,
        LinkEvent::Disconnected { .. }
    ));
    assert_eq!(next_link(&mut receiver).await, LinkEvent::Connected);
    // Letting go closes for good.
    let closed = tokio::spawn(receiver.close());
    assert_eq!(second.hear().await.unwrap()["type"], "feature_flags");
    assert_eq!(second.hear().await, None);
    closed.await.unwrap();
    assert!(
        server
            .socket_within(Duration::from_millis(100))
            .await
            .is_none()
    );
}

/// The next event that tells of the connection itself.
async fn next_link(receiver: &mut EventReceiver) -> LinkEvent {
    loop {
        match next(receiver).await {
            LinkEvent::Message(_) => {}
            link => return link,
        }
    }
}

#[tokio::test]
async fn trap_02_a_reconnect_replays_nothing() {
    let mut server = ScriptedServer::start().await;
    let mut receiver = events::connect(server.client(), "me".to_owned(), quick());
    for _ in 0..2 {
        let mut socket = server.socket().await;
        // Feature flags are the first message of each connection.
        assert_eq!(
            socket.hear().await.unwrap(),
            json!({"type": "feature_flags", "data": {"supports_preview_metadata": true}})
        );
        socket.greet().await;
        assert_eq!(next_link(&mut receiver).await, LinkEvent::Connected);
        socket
            .say(json!({"type": "executing", "data": {"node": "1"}}))
            .await;
        assert!(matches!(
            next_message(&mut receiver).await,
            SocketEvent::Status { .. }
        ));
        // What a busy server says then names no prompt: it must not be taken for ours.
        let event = next_message(&mut receiver).await;
        assert_eq!(event.prompt_id(), None);
        assert!(
            matches!(event, SocketEvent::Executing { prompt_id: None, node, display_node: None } if node == "1")
        );
        drop(socket);
        assert!(matches!(
            next_link(&mut receiver).await,
            LinkEvent::Disconnected { .. }
        ));
    }
}

#[tokio::test]
async fn trap_03_the_end_is_executing_null() {
    assert!(matches!(
        decode(&json!({"type": "executing", "data": {"node": null, "prompt_id": "p"}})),
        SocketEvent::Finished { prompt_id: Some(id) } if id == "p"
    ));
    // In every recorded run, whatever its end, it is the last word on its prompt.
    for name in ["01_basic", "06_exec_error", "13_interrupt", "10_expand"] {
        let Some(events) = messages(name) else { return };
        let mut open = std::collections::BTreeSet::new();
        for event in &events {
            match event {
                SocketEvent::ExecutionStart { prompt_id, .. } => {
                    open.insert(prompt_id.clone());
                }
                SocketEvent::Finished { prompt_id } => {
                    assert!(open.remove(prompt_id.as_ref().unwrap()), "{name}");
                }
                event => {
                    if let Some(prompt_id) = event.prompt_id() {
                        assert!(open.contains(prompt_id), "{name}: {event:?} after the end");
                    }
                }
            }
        }
        assert!(open.is_empty(), "{name}");
    }
    // After execution_success the history may not be written yet: then the prompt still counts as running, not as lost.
    let server = ScriptedServer::start().await;
    server.answer("GET /queue", [queue(&[(0.0, "p")], &[])]);
    server.answer("GET /history/p", [Answer::json(&json!({}))]);
    assert_eq!(
        reconcile(&server.client(), "p").await.unwrap(),
        PromptState::Running
    );
}

#[tokio::test]
async fn trap_04_prompts_without_client_id_tell_everybody() {
    // Ours always carry one.
    let server = ScriptedServer::start().await;
    server.answer(
        "POST /prompt",
        [Answer::json(
            &json!({"prompt_id": "p", "number": 0, "node_errors": {}}),
        )],
    );
    post(&server, "p").await.unwrap();
    assert_eq!(server.heard()[0].json()["client_id"], "me");
    // Somebody else's progress says whose it is, so it can be told from ours; its previews (form 1) do not, so they must
    // not be taken for anybody's.
    let Some(events) = messages("14b_bystander") else {
        return;
    };
    let foreign: Vec<_> = events
        .iter()
        .filter(|event| {
            !matches!(
                event,
                SocketEvent::Status { .. } | SocketEvent::FeatureFlags(_)
            )
        })
        .collect();
    assert!(!foreign.is_empty());
    assert!(foreign.iter().all(|event| event.prompt_id().is_some()));
    assert!(!foreign.iter().any(|event| matches!(
        event,
        SocketEvent::ExecutionStart { .. }
            | SocketEvent::ExecutionSuccess { .. }
            | SocketEvent::Executed { .. }
    )));
    let frame = std::fs::read(shared("comfyui/captures/14b_bystander.0.ev1.bin").unwrap()).unwrap();
    assert_eq!(decode_binary(frame.into()).unwrap().prompt_id(), None);
}

#[test]
fn trap_05_previews_come_before_or_after_their_progress() {
    for (name, form, comes_first) in [
        ("07_preview_flags", ".ev4.", true),
        ("08_preview_noflags", ".ev1.", false),
    ] {
        let Some(lines) = recording(name) else { return };
        let events: Vec<SocketEvent> = lines
            .iter()
            .filter_map(|recorded| match recorded.dir.as_str() {
                "ws<" => Some(decode(&recorded.line["json"])),
                "ws<bin" => {
                    let file = recorded.line["file"].as_str().unwrap();
                    let path = shared(&format!("comfyui/captures/{file}")).unwrap();
                    Some(decode_binary(std::fs::read(path).unwrap().into()).unwrap())
                }
                _ => None,
            })
            .collect();
        let mut previews = 0;
        for (position, event) in events.iter().enumerate() {
            let SocketEvent::Preview(preview) = event else {
                continue;
            };
            previews += 1;
            let neighbour = if comes_first {
                &events[position + 1]
            } else {
                &events[position - 1]
            };
            let SocketEvent::Progress { node, .. } = neighbour else {
                panic!("{name}: {neighbour:?} beside a preview")
            };
            assert_eq!(preview.origin.is_some(), form == ".ev4.");
            if let Some(origin) = &preview.origin {
                assert_eq!(Some(&origin.node_id), node.as_ref());
                assert!(!origin.prompt_id.is_empty() && !origin.display_node_id.is_empty());
            }
        }
        assert_eq!(previews, 10, "{name}");
    }
}

#[test]
fn trap_06_progress_state_repeats_and_a_failed_node_stays_running() {
    let Some(events) = messages("06_exec_error") else {
        return;
    };
    let mut last = Vec::new();
    let mut failed = 0;
    for event in events {
        match event {
            SocketEvent::ProgressState { nodes, .. } => last = nodes,
            SocketEvent::ExecutionError(error) if !error.is_blocked() => {
                let node = last
                    .iter()
                    .find(|node| node.node_id == error.node_id)
                    .unwrap();
                assert_eq!(node.state, NodeProgressState::Running);
                failed += 1;
            }
            _ => {}
        }
    }
    assert_eq!(failed, 4);
    // Cached nodes without outputs never appear: progress must count them as done by execution_cached.
    let mut cached = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for event in messages("02_cached").unwrap() {
        match event {
            SocketEvent::ExecutionCached { nodes, .. } => cached = nodes,
            SocketEvent::ProgressState { nodes, .. } if cached.len() == 5 => {
                seen.extend(nodes.into_iter().map(|node| node.node_id));
            }
            SocketEvent::Finished { .. } if cached.len() == 5 => break,
            _ => {}
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["4", "5"]);
}

#[tokio::test]
async fn trap_07_a_blocked_node_ends_as_success() {
    let Some(blocked) = fixture("ws_execution_error_blocked") else {
        return;
    };
    let SocketEvent::ExecutionError(error) = decode(&blocked) else {
        panic!("not an error")
    };
    assert!(error.is_blocked());
    assert_eq!(
        (
            error.timestamp_ms,
            error.current_inputs.as_array().map(Vec::len)
        ),
        (None, Some(0))
    );
    // The success follows, and history does not mention the block: the output node that gave nothing is all there is.
    let after: Vec<_> = messages("06_exec_error")
        .unwrap()
        .into_iter()
        .filter(|event| event.prompt_id() == Some(&error.prompt_id))
        .skip_while(|event| !matches!(event, SocketEvent::ExecutionError(_)))
        .collect();
    assert!(
        after
            .iter()
            .any(|event| matches!(event, SocketEvent::ExecutionSuccess { .. }))
    );
    let entry = recorded_history("06_exec_error", &error.prompt_id)
        .await
        .unwrap();
    assert_eq!(entry.outcome, Outcome::Success);
    assert_eq!(
        entry.silent_output_nodes().collect::<Vec<_>>(),
        [error.node_id.as_str()]
    );
}

#[tokio::test]
async fn trap_08_events_can_come_before_the_answer_to_the_post() {
    let mut server = ScriptedServer::start().await;
    let mut receiver = events::connect(server.client(), "me".to_owned(), quick());
    let mut socket = server.socket().await;
    socket.greet().await;
    assert!(matches!(
        next_message(&mut receiver).await,
        SocketEvent::Status { .. }
    ));
    let answer = json!({"prompt_id": "p", "number": 0, "node_errors": {}});
    server.answer(
        "POST /prompt",
        [Answer::json(&answer).after(Duration::from_millis(300))],
    );
    let said = async {
        while server.heard_of("POST /prompt").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        socket.say(json!({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 1}}}})).await;
        socket
            .say(json!({"type": "execution_start", "data": {"prompt_id": "p", "timestamp": 1}}))
            .await;
        next_message(&mut receiver).await;
        next_message(&mut receiver).await
    };
    tokio::select! {
        // The id is ours, so an event is known for ours before the answer is here.
        event = said => assert_eq!(event.prompt_id(), Some("p")),
        _ = post(&server, "p") => panic!("the answer came before the events"),
    }
}

#[tokio::test]
async fn trap_09_a_cached_run_names_old_files_that_may_be_gone() {
    let Some(entry) = recorded_history(
        "21_cached_file_gone",
        "0943abdf-cf3a-48ea-9f80-d75654af7ec4",
    )
    .await
    else {
        return;
    };
    assert_eq!(entry.outcome, Outcome::Success);
    assert_eq!(entry.cached_nodes, ["1", "2"]);
    let file = &entry.outputs["2"].files[0].file;
    assert_eq!(file.filename, "gone_00001_.png");
    let server = ScriptedServer::start().await;
    server.answer("GET /view", [Answer::text(404, "")]);
    let error = server
        .client()
        .view(file, 0, None, 1 << 20)
        .await
        .unwrap_err();
    assert!(matches!(error, ComfyError::Missing { .. }));
    assert!(
        error.to_string().contains("output/cap/gone_00001_.png"),
        "{error}"
    );
}

#[tokio::test]
async fn trap_10_a_prompt_can_be_queued_in_part_or_refused_without_details() {
    let server = ScriptedServer::start().await;
    let Some(partly) = post_like(
        &server,
        "prompt_one_good_output_and_one_bad_200_with_node_errors",
    )
    .await
    else {
        return;
    };
    let error = partly.unwrap_err();
    assert!(error.may_have_acted());
    let ComfyError::PartlyRejected {
        prompt_id,
        node_errors,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(prompt_id, "e66dc5bf-cb25-43d5-a3b3-90e4de8b42cd");
    assert_eq!(node_errors.0[0].dependent_outputs, ["4"]);
    assert_eq!(
        node_errors.0[0].errors[0].input_name.as_deref(),
        Some("upscale_method")
    );
    assert_eq!(node_errors.0[0].errors[0].received, Some(json!("magic")));

    // Every recorded refusal names its cause, also where `details` is empty.
    for (name, said) in [
        ("prompt_above_max", "bigger than max"),
        ("prompt_below_min", "smaller than min"),
        ("prompt_missing_required_input", "Required input is missing"),
        ("prompt_missing_model_file_empty_list", "not in []"),
        ("prompt_unknown_combo_value_v3_combo", "not in"),
        ("prompt_unknown_node_class", "no node class NoSuchNode"),
        ("prompt_cycle", "cycle"),
        ("prompt_no_outputs", "no outputs"),
        ("prompt_no_prompt_key", "No prompt"),
        ("prompt_link_to_missing_node_id", "'99'"),
        ("prompt_linked_type_mismatch", "mismatch"),
        (
            "prompt_loadimage_of_a_missing_file_custom_validation_failed",
            "Invalid image file",
        ),
        (
            "prompt_missing_required_input_on_output_node_two_outputs_both_bad",
            "; ",
        ),
    ] {
        let error = post_like(&server, name).await.unwrap().unwrap_err();
        assert!(
            matches!(error, ComfyError::Rejected { .. }) && !error.may_have_acted(),
            "{name}: {error}"
        );
        assert!(error.to_string().contains(said), "{name}: {error}");
    }
    let ui_format = post_like(&server, "prompt_ui_format_workflow_sent_by_mistake")
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(ui_format.status(), Some(500));
}

#[tokio::test]
async fn trap_11_numbers_are_int_negative_or_float_and_a_500_may_have_queued() {
    let server = ScriptedServer::start().await;
    if let Some(recorded) = fixture("queue_running_and_pending") {
        server.answer("GET /queue", [Answer::json(&recorded)]);
        let queue = server.client().queue().await.unwrap();
        assert_eq!(queue.running[0].number, 51.0);
        assert_eq!(queue.running[0].client_id.as_deref(), Some("cap-12_queue"));
        let numbers: Vec<f64> = queue.pending.iter().map(|item| item.number).collect();
        assert_eq!(numbers[..3], [-54.0, 0.5, 52.0]);
        assert!(numbers.is_sorted());
        assert_eq!(queue.pending[0].output_nodes, ["2"]);
    }
    // Heap order: the position is by number.
    server.answer(
        "GET /queue",
        [queue(&[(1.0, "a")], &[(-5.0, "b"), (9.0, "p"), (3.0, "c")])],
    );
    let position = reconcile(&server.client(), "p").await.unwrap();
    assert_eq!(position, PromptState::Pending { position: 2 });
    // A 500 to a POST is not a no: look before sending again.
    server.answer(
        "POST /prompt",
        [Answer::text(
            500,
            "500 Internal Server Error\n\nServer got itself in trouble",
        )],
    );
    let error = post(&server, "p").await.unwrap_err();
    assert!(error.may_have_acted());
    for number in [json!(3), json!(-2), json!(-5.0), json!(0.5)] {
        server.answer(
            "POST /prompt",
            [Answer::json(
                &json!({"prompt_id": "p", "number": number, "node_errors": {}}),
            )],
        );
        assert_eq!(
            post(&server, "p").await.unwrap().number,
            number.as_f64().unwrap()
        );
    }
}

#[tokio::test]
async fn trap_12_deleting_from_the_queue_says_yes_to_everything() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    server.answer("POST /queue", [Answer::text(200, "")]);
    client
        .delete_from_queue(&["waiting", "running", "nosuch"])
        .await
        .unwrap();
    assert_eq!(
        server.heard()[0].json(),
        json!({"delete": ["waiting", "running", "nosuch"]})
    );
    // What became of each is to be seen only by looking.
    server.answer("GET /queue", [queue(&[(0.0, "running")], &[])]);
    for id in ["waiting", "nosuch"] {
        server.answer(&format!("GET /history/{id}"), [Answer::json(&json!({}))]);
        assert_eq!(reconcile(&client, id).await.unwrap(), PromptState::Unknown);
    }
    assert_eq!(
        reconcile(&client, "running").await.unwrap(),
        PromptState::Running
    );
}

#[tokio::test]
async fn trap_13_an_interruption_looks_like_an_error() {
    let server = ScriptedServer::start().await;
    server.answer("POST /interrupt", [Answer::text(200, "")]);
    server.client().interrupt("p").await.unwrap();
    // Only ever with an id: without one it would hit whatever runs, anybody's.
    assert_eq!(server.heard()[0].json(), json!({"prompt_id": "p"}));

    let Some(entry) =
        recorded_history("13_interrupt", "64dd77a6-f183-4467-b208-22b5f7d8a053").await
    else {
        return;
    };
    assert_eq!(
        entry.outcome,
        Outcome::Interrupted {
            node_id: "1".to_owned(),
            node_type: "TestSleep".to_owned()
        }
    );
    // One that could not be cut short names the node after it.
    let entry = recorded_history("13_interrupt", "c8122f2f-f01f-4fd9-ba50-8ee159f386c7")
        .await
        .unwrap();
    assert!(matches!(entry.outcome, Outcome::Interrupted { node_id, .. } if node_id == "2"));
    server.answer(
        "GET /api/jobs/p",
        [Answer::json(&fixture("job_interrupted").unwrap())],
    );
    assert_eq!(
        server.client().job("p").await.unwrap().unwrap().status,
        JobState::Failed
    );
}

#[tokio::test]
async fn trap_14_videos_come_as_images_that_are_animated() {
    let Some(entry) = recorded_history("04_media", "416b0410-a5f9-4bd4-9bf5-98b7ea4b0d74").await
    else {
        return;
    };
    let seen: Vec<_> = entry
        .outputs
        .values()
        .flat_map(|output| &output.files)
        .map(|file| {
            (
                file.file.filename.rsplit('.').next().unwrap(),
                file.list.as_str(),
                file.kind,
                file.animated,
            )
        })
        .collect();
    for expected in [
        ("mp4", "images", MediaKind::Video, true),
        ("webm", "images", MediaKind::Video, true),
        ("webp", "images", MediaKind::Image, true),
        ("png", "images", MediaKind::Image, true),
        ("flac", "audio", MediaKind::Audio, false),
        ("mp3", "audio", MediaKind::Audio, false),
    ] {
        assert!(seen.contains(&expected), "{expected:?} is not in {seen:?}");
    }
    assert!(entry.outputs.values().any(|output| !output.text.is_empty()));
    // The Video Helper Suite's own list.
    assert!(matches!(
        decode(&json!({"type": "executed", "data": {"node": "1", "prompt_id": "p", "output": {"gifs": [
            {"filename": "a.mp4", "subfolder": "", "type": "output", "format": "video/h264-mp4", "frame_rate": 8.0}]}}})),
        SocketEvent::Executed { output, .. } if output.files[0].kind == MediaKind::Video && output.files[0].list == "gifs"
    ));
}

#[tokio::test]
async fn trap_15_object_info_has_every_kind_of_oddity() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    server.answer("GET /object_info/NoSuch", [Answer::json(&json!({}))]);
    assert_eq!(client.object_info_of("NoSuch").await.unwrap(), None);
    server.answer("GET /system_stats", [Answer::json(&json!({
        "system": {"os": "linux", "ram_total": 8, "ram_free": 4, "comfyui_version": "0.8.0", "argv": ["main.py"]},
        "devices": [{"name": "cpu", "type": "cpu", "index": null, "vram_total": 18_446_744_073_709_551_615_u64, "vram_free": 1.5e3}],
    }))]);
    let stats = client.system_stats().await.unwrap();
    assert_eq!(
        (
            stats.devices[0].index,
            stats.devices[0].vram_total,
            stats.devices[0].vram_free
        ),
        (None, u64::MAX, 1500)
    );

    let Some(path) = shared("comfyui/object_info-0.8.0.json") else {
        return;
    };
    server.answer(
        "GET /object_info",
        [Answer::text(200, &std::fs::read_to_string(path).unwrap())],
    );
    let classes = client.object_info().await.unwrap();
    assert_eq!(classes.len(), 578);
    assert!(classes["KSampler"]["input"]["required"]["seed"][1]["max"].as_u64() == Some(u64::MAX));
    let parsed = ObjectInfo::from_json(&Value::Object(classes)).unwrap();
    assert_eq!(parsed.classes.len(), 578);
}

#[tokio::test]
async fn trap_16_uploads_are_renamed_limited_and_refused_by_name() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    let upload = |filename: &str, content: &[u8]| Upload {
        filename: filename.to_owned(),
        subfolder: String::new(),
        folder: FolderType::Input,
        overwrite: false,
        content: UploadContent::Bytes(content.to_vec().into()),
    };
    // The returned name counts.
    server.answer(
        "POST /upload/image",
        [Answer::json(
            &json!({"name": "in (1).png", "subfolder": "", "type": "input"}),
        )],
    );
    let stored = client.upload_image(upload("in.png", b"x")).await.unwrap();
    assert_eq!(stored.filename, "in (1).png");
    // No Origin: on loopback a foreign one is answered 403 without a word.
    assert!(!server.heard()[0].headers.contains_key("origin"));
    // Names that the server would answer with 500 are not sent.
    for name in ["a/b.png", "..\\x.png", ""] {
        assert!(matches!(
            client.upload_image(upload(name, b"x")).await,
            Err(ComfyError::BadRequest { .. })
        ));
    }
    assert_eq!(server.heard().len(), 1);
    // A file that is too large is not sent either, where the server says its limit …
    server.answer(
        "GET /features",
        [Answer::json(&json!({"max_upload_size": 17_000_000}))],
    );
    let error = client
        .upload_image(upload("big.png", &vec![0; 17_000_001]))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ComfyError::TooLarge {
                limit_bytes: 17_000_000,
                ..
            }
        ),
        "{error}"
    );
    assert!(server.heard_of("POST").len() == 1);
    // … and where it does not, its refusal is understood.
    server.answer(
        "POST /upload/image",
        [
            Answer::text(413, "Maximum request body size 104857600 exceeded."),
            Answer::text(403, ""),
        ],
    );
    let error = client
        .upload_image(upload("in.png", b"x"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("413 (Maximum request body size 104857600 exceeded.)"),
        "{error}"
    );
    assert!(error.to_string().contains("--max-upload-size"), "{error}");
    assert_eq!(
        client
            .upload_image(upload("in.png", b"x"))
            .await
            .unwrap_err()
            .status(),
        Some(403)
    );
}

#[tokio::test]
async fn trap_17_a_server_ends_without_a_word_and_forgets_everything() {
    let mut server = ScriptedServer::start().await;
    let mut receiver = events::connect(server.client(), "me".to_owned(), quick());
    let mut socket = server.socket().await;
    socket.greet().await;
    assert_eq!(next(&mut receiver).await, LinkEvent::Connected);
    // No close frame: the connection is just gone (1006).
    drop(socket);
    let LinkEvent::Disconnected { reason } = next_link(&mut receiver).await else {
        panic!("not noticed")
    };
    assert!(!reason.is_empty());
    // It comes back with nothing: neither queue nor history know the prompt, and numbers start again.
    let mut socket = server.socket().await;
    socket.greet().await;
    assert_eq!(next_link(&mut receiver).await, LinkEvent::Connected);
    server.answer("GET /queue", [queue(&[], &[])]);
    server.answer("GET /history/p", [Answer::json(&json!({}))]);
    assert_eq!(
        reconcile(&server.client(), "p").await.unwrap(),
        PromptState::Unknown
    );
    let Some(after) = recording("22b_after_restart") else {
        return;
    };
    let post = after
        .iter()
        .find(|recorded| recorded.line["req"] == "POST /prompt")
        .unwrap();
    assert_eq!(post.line["resp"]["number"], 0);
}

#[tokio::test]
async fn trap_18_a_server_takes_its_time_to_start() {
    // 8 to 14 s from start to ready: nobody listens, then it is there.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = client_of(&format!("http://{address}"));
    let mut receiver = events::connect(client, "me".to_owned(), quick());
    let mut tries = 0;
    while tries < 5 {
        let LinkEvent::Disconnected { reason } = next(&mut receiver).await else {
            panic!("connected to nobody")
        };
        assert!(reason.contains("cannot reach"), "{reason}");
        tries += 1;
    }
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let mut server = ScriptedServer::start_on(listener);
    let mut socket = server.socket().await;
    socket.greet().await;
    loop {
        if next(&mut receiver).await == LinkEvent::Connected {
            break;
        }
    }
    // Equal seed gives equal bytes everywhere, but names differ per server: the file is asked for by what was returned.
    let file = StoredFile {
        filename: "a.png".to_owned(),
        subfolder: String::new(),
        folder: FolderType::Temp,
    };
    assert_eq!(file.loader_value(), "a.png [temp]");
}
