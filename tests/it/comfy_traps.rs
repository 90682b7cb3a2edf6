//! The eighteen traps of the ComfyUI protocol, one test each. What the server says in them was recorded from ComfyUI 0.8.0.

#![allow(clippy::float_cmp, reason = "queue numbers pass through unchanged")]

mod prompts;
mod servers;
mod sockets;

use crate::scripted_server::{Answer, PATIENCE, ScriptedServer, recording};
use comfyui_orchestrator::comfy::decode::decode_text;
use comfyui_orchestrator::comfy::events::{EventReceiver, LinkEvent, SocketOptions};
use comfyui_orchestrator::comfy::{
    ComfyError, ExtraData, QueuePosition, SocketEvent, SubmitRequest, Submitted,
};
use comfyui_orchestrator::workflow::Prompt;
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

/// The next event that tells of the connection itself.
async fn next_link(receiver: &mut EventReceiver) -> LinkEvent {
    loop {
        match next(receiver).await {
            LinkEvent::Message(_) => {}
            link => return link,
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
