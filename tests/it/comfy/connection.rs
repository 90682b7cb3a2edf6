//! The socket itself: lag, silence, new attempts.

use crate::scripted_server::{PATIENCE, ScriptedServer};
use comfyui_orchestrator::comfy::SocketEvent;
use comfyui_orchestrator::comfy::events::{self, LinkEvent, SocketOptions};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn a_lagging_receiver_loses_progress_but_no_result() {
    let mut server = ScriptedServer::start().await;
    let mut receiver = events::connect(server.client(), "me".to_owned(), SocketOptions::default());
    let mut socket = server.socket().await;
    socket.greet().await;
    for step in 0..5000 {
        socket.say(json!({"type": "progress", "data": {"value": step, "max": 5000, "prompt_id": "p", "node": "1"}})).await;
    }
    socket.say(json!({"type": "surprise", "data": null})).await;
    socket
        .say_raw(axum::extract::ws::Message::Text("not json".into()))
        .await;
    let end = tokio::spawn(async move {
        socket
            .say(json!({"type": "executing", "data": {"node": null, "prompt_id": "p"}}))
            .await;
        socket.hear().await;
        socket
    });
    // The receiver comes late.
    let mut progress = 0;
    tokio::time::sleep(Duration::from_millis(300)).await;
    loop {
        match timeout(PATIENCE, receiver.recv()).await.unwrap().unwrap() {
            LinkEvent::Message(SocketEvent::Progress { .. }) => progress += 1,
            LinkEvent::Message(SocketEvent::Finished { prompt_id }) => {
                assert_eq!(prompt_id.as_deref(), Some("p"));
                break;
            }
            _ => {}
        }
    }
    assert_eq!(progress + receiver.dropped_count(), 5000);
    assert!(receiver.dropped_count() > 0);
    assert_eq!(
        (receiver.unknown_count(), receiver.unreadable_count()),
        (1, 1)
    );
    end.abort();
}

#[tokio::test]
async fn a_socket_that_falls_silent_is_given_up() {
    let mut server = ScriptedServer::start().await;
    let options = SocketOptions {
        ping_every: Duration::from_millis(40),
        dead_after: Duration::from_millis(200),
        close_within: Duration::from_millis(100),
        backoff_min: Duration::from_millis(10),
        ..SocketOptions::default()
    };
    let mut receiver = events::connect(server.client(), "me".to_owned(), options);
    // A server that is read from answers pings: an idle connection lives on.
    let mut socket = server.socket().await;
    socket.greet().await;
    assert_eq!(receiver.recv().await, Some(LinkEvent::Connected));
    let idle = tokio::spawn(async move {
        let _ = timeout(Duration::from_millis(600), socket.hear()).await;
        let _ = timeout(Duration::from_millis(600), socket.hear()).await;
        socket
    });
    assert!(
        server
            .socket_within(Duration::from_millis(500))
            .await
            .is_none()
    );
    // One that hangs does not.
    let _hung = idle.await.unwrap();
    let mut reason = String::new();
    while reason.is_empty() {
        if let LinkEvent::Disconnected { reason: why } =
            timeout(PATIENCE, receiver.recv()).await.unwrap().unwrap()
        {
            reason = why;
        }
    }
    assert!(reason.contains("silent"), "{reason}");
    server.socket().await;
}

#[test]
fn backoff_doubles_up_to_its_end_and_is_jittered() {
    let options = SocketOptions::default();
    assert_eq!(
        events::backoff(0, 0.0, &options),
        Duration::from_millis(250)
    );
    assert_eq!(
        events::backoff(0, 1.0, &options),
        Duration::from_millis(500)
    );
    assert_eq!(events::backoff(3, 1.0, &options), Duration::from_secs(4));
    for attempt in [6, 31, 32, u32::MAX] {
        assert_eq!(events::backoff(attempt, 1.0, &options), options.backoff_max);
        assert_eq!(
            events::backoff(attempt, 0.0, &options),
            options.backoff_max / 2
        );
    }
}
