//! Traps of the socket: who hears what, and when (1 to 6, and 8).

use super::{decode, messages, next, next_link, post, queue, quick};
use crate::scripted_server::{Answer, ScriptedServer, recording, shared};
use comfyui_orchestrator::comfy::decode::decode_binary;
use comfyui_orchestrator::comfy::events::{self, EventReceiver, LinkEvent};
use comfyui_orchestrator::comfy::watch::{PromptState, reconcile};
use comfyui_orchestrator::comfy::{NodeProgressState, SocketEvent};
use comfyui_orchestrator::fleet::{Health, LinkHealth};
use serde_json::json;
use std::time::Duration;

/// The next message of the server, past what tells of the connection itself.
async fn next_message(receiver: &mut EventReceiver) -> SocketEvent {
    loop {
        if let LinkEvent::Message(event) = next(receiver).await {
            return event;
        }
    }
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
