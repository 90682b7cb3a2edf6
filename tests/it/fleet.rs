//! Backends under watch: states, capabilities, authentication, changes while running.

use crate::scripted_server::{Answer, PATIENCE, ScriptedServer, ServerSocket};
use comfyui_orchestrator::comfy::SocketEvent;
use comfyui_orchestrator::fleet::{
    Auth, AuthError, BackendConfig, BackendState, BackendStatus, Fleet, FleetEvent, Health,
    HttpHealth, LinkHealth, Secret, TlsPolicy, auth_headers,
};
use comfyui_orchestrator::project::BackendId;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

fn config(url: &str) -> BackendConfig {
    BackendConfig {
        id: BackendId::new_now(),
        name: "studio".to_owned(),
        url: url.parse().unwrap(),
        tags: BTreeSet::new(),
        auth: Auth::None,
        tls: TlsPolicy::Verify,
        enabled: true,
    }
}

fn answer_like_comfyui(server: &ScriptedServer) {
    server.answer("GET /system_stats", [Answer::json(&json!({
        "system": {"ram_total": 64, "ram_free": 32, "comfyui_version": "0.8.0"},
        "devices": [{"name": "cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync", "type": "cuda", "index": 0, "vram_total": 24, "vram_free": 20}],
    }))]);
    server.answer(
        "GET /queue",
        [Answer::json(
            &json!({"queue_running": [], "queue_pending": []}),
        )],
    );
    server.answer(
        "GET /object_info",
        [Answer::json(
            &json!({"EmptyImage": {"input": {"required": {}}, "output": ["IMAGE"]}}),
        )],
    );
}

async fn status_where(
    events: &mut mpsc::Receiver<FleetEvent>,
    wanted: impl Fn(&BackendStatus) -> bool,
) -> BackendStatus {
    loop {
        if let FleetEvent::Status(status) = next(events).await
            && wanted(&status)
        {
            return status;
        }
    }
}

async fn next(events: &mut mpsc::Receiver<FleetEvent>) -> FleetEvent {
    timeout(PATIENCE, events.recv()).await.unwrap().unwrap()
}

async fn greeted(server: &mut ScriptedServer) -> ServerSocket {
    let mut socket = server.socket().await;
    socket.greet().await;
    socket
}

#[tokio::test]
async fn a_backend_comes_up_works_goes_away_and_comes_back() {
    let mut server = ScriptedServer::start().await;
    answer_like_comfyui(&server);
    let (sender, mut events) = mpsc::channel(64);
    let config = config(&server.url);
    let id = config.id;
    let fleet = Fleet::start([config], |id| format!("me-{id}"), sender);
    assert_eq!(fleet.status(id).unwrap().state, BackendState::Connecting);

    let mut socket = greeted(&mut server).await;
    assert_eq!(socket.client_id, fleet.client_id(id).unwrap());
    let online = status_where(&mut events, |status| {
        status.state == BackendState::Online && !status.version.is_empty()
    })
    .await;
    assert_eq!(online.devices[0].name, "cuda:0 NVIDIA GeForce RTX 4090");
    assert_eq!((online.ram_total, online.devices[0].vram_free), (64, 20));
    while fleet.object_info(id).is_none() {
        next(&mut events).await;
    }
    assert!(
        fleet
            .object_info(id)
            .unwrap()
            .classes
            .contains_key("EmptyImage")
    );

    // Work: told by the socket at once, not by the next beat.
    socket
        .say(json!({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 3}}}}))
        .await;
    let busy = status_where(&mut events, |status| status.state == BackendState::Busy).await;
    assert_eq!((busy.queue_running, busy.queue_pending), (1, 2));
    assert!(busy.since_ms >= online.since_ms);
    socket
        .say(json!({"type": "executing", "data": {"node": null, "prompt_id": "p"}}))
        .await;
    loop {
        if let FleetEvent::Message {
            backend_id,
            event: SocketEvent::Finished { prompt_id },
        } = next(&mut events).await
        {
            assert_eq!((backend_id, prompt_id.as_deref()), (id, Some("p")));
            break;
        }
    }

    // Only the socket breaks: degraded, with the reason, and it comes back by itself.
    drop(socket);
    let degraded = status_where(&mut events, |status| status.state == BackendState::Degraded).await;
    assert!(
        degraded.reason.starts_with("no live events"),
        "{}",
        degraded.reason
    );
    let socket = greeted(&mut server).await;
    status_where(&mut events, |status| status.state == BackendState::Online).await;

    // All of it goes.
    server.answer("GET /system_stats", [Answer::text(502, "")]);
    drop(socket);
    let offline = status_where(&mut events, |status| status.state == BackendState::Offline).await;
    assert!(offline.reason.contains("502"), "{}", offline.reason);
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_changed_or_disabled_backend_never_has_two_sockets() {
    let mut server = ScriptedServer::start().await;
    answer_like_comfyui(&server);
    let (sender, mut events) = mpsc::channel(64);
    let config = config(&server.url);
    let id = config.id;
    let fleet = Fleet::start([config.clone()], |_| "me".to_owned(), sender);
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let mut first = greeted(&mut server).await;

    // The same again changes nothing.
    fleet.put(config.clone());
    fleet.set_enabled(id, false);
    assert_eq!(first.hear().await.unwrap()["type"], "feature_flags");
    assert_eq!(first.hear().await, None);
    assert_eq!(fleet.status(id).unwrap().state, BackendState::Disabled);
    assert!(
        server
            .socket_within(Duration::from_millis(100))
            .await
            .is_none()
    );

    fleet.set_enabled(id, true);
    let mut second = greeted(&mut server).await;
    // Removed and added at once: the new socket waits until the old one is closed.
    fleet.remove(id);
    assert!(fleet.status(id).is_none());
    fleet.put(config);
    assert!(
        server
            .socket_within(Duration::from_millis(200))
            .await
            .is_none()
    );
    assert_eq!(second.hear().await.unwrap()["type"], "feature_flags");
    assert_eq!(second.hear().await, None);
    drop(second);
    let mut third = greeted(&mut server).await;
    let ended = tokio::spawn(async move { fleet.shutdown().await });
    assert_eq!(third.hear().await.unwrap()["type"], "feature_flags");
    assert_eq!(third.hear().await, None);
    drop(third);
    timeout(PATIENCE, ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_backend_without_its_secret_says_so() {
    let (sender, mut events) = mpsc::channel(64);
    let mut config = config("http://127.0.0.1:9/");
    config.auth = Auth::Bearer(Secret::Env("NO_SUCH_VARIABLE_OF_OURS".to_owned()));
    let id = config.id;
    let fleet = Fleet::start([config], |_| "me".to_owned(), sender);
    let status = status_where(&mut events, |status| status.state == BackendState::Offline).await;
    assert!(
        status.reason.contains("NO_SUCH_VARIABLE_OF_OURS"),
        "{}",
        status.reason
    );
    assert!(fleet.client(id).is_none());
}

#[test]
fn secrets_become_headers_and_never_text() {
    let variable = |name: &str| match name {
        "TOKEN" => Some("canary".to_owned()),
        "BROKEN" => Some("a\nb".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let secret = |name: &str| Secret::Env(name.to_owned());
    for (auth, header, value) in [
        (
            Auth::Bearer(secret("TOKEN")),
            "authorization",
            "Bearer canary",
        ),
        (
            Auth::Basic {
                user: "ada".to_owned(),
                password: secret("TOKEN"),
            },
            "authorization",
            "Basic YWRhOmNhbmFyeQ==",
        ),
        (
            Auth::Header {
                name: "X-Api-Key".to_owned(),
                value: secret("TOKEN"),
            },
            "x-api-key",
            "canary",
        ),
    ] {
        let headers = auth_headers(&auth, variable).unwrap();
        assert_eq!(headers[header], value);
        assert!(!format!("{headers:?} {auth:?}").contains("canary"));
    }
    assert!(auth_headers(&Auth::None, variable).unwrap().is_empty());
    for name in ["EMPTY", "NOWHERE"] {
        assert_eq!(
            auth_headers(&Auth::Bearer(secret(name)), variable).unwrap_err(),
            AuthError::VariableMissing {
                variable: name.to_owned()
            }
        );
    }
    assert!(matches!(
        auth_headers(&Auth::Bearer(secret("BROKEN")), variable),
        Err(AuthError::SecretUnusable { .. })
    ));
    let bad = Auth::Header {
        name: "a b".to_owned(),
        value: secret("TOKEN"),
    };
    assert!(matches!(
        auth_headers(&bad, variable),
        Err(AuthError::HeaderName { .. })
    ));
}

#[test]
fn health_is_a_table() {
    let failed = || HttpHealth::Failed("no".to_owned());
    let down = || LinkHealth::Down("gone".to_owned());
    for (http, link, queue_remaining, state) in [
        (
            HttpHealth::NotAsked,
            LinkHealth::Opening,
            0,
            BackendState::Connecting,
        ),
        (
            HttpHealth::NotAsked,
            LinkHealth::Up,
            0,
            BackendState::Connecting,
        ),
        (
            HttpHealth::Answers,
            LinkHealth::Opening,
            0,
            BackendState::Connecting,
        ),
        (HttpHealth::Answers, LinkHealth::Up, 0, BackendState::Online),
        (HttpHealth::Answers, LinkHealth::Up, 2, BackendState::Busy),
        (HttpHealth::Answers, down(), 2, BackendState::Degraded),
        (failed(), LinkHealth::Up, 0, BackendState::Degraded),
        (failed(), LinkHealth::Opening, 0, BackendState::Offline),
        (failed(), down(), 2, BackendState::Offline),
    ] {
        let mut health = Health::default();
        health.http = http;
        health.link = link;
        health.queue_remaining = queue_remaining;
        assert_eq!(health.state().0, state, "{health:?}");
    }
}
