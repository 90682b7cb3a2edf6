//! Traps of prompts: how they are taken, queued, called off and end (7, 9 to 13).

use super::{decode, messages, post, queue, recorded_history};
use crate::scripted_server::{Answer, ScriptedServer, fixture};
use comfyui_orchestrator::comfy::watch::{PromptState, reconcile};
use comfyui_orchestrator::comfy::{ComfyError, JobState, Outcome, SocketEvent, Submitted};
use serde_json::{Value, json};

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
