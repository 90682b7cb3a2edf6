//! Requests and their answers, right and wrong ones.

use super::prompt;
use crate::scripted_server::{Answer, ScriptedServer, client_of, fixture};
use comfyui_orchestrator::comfy::{
    Client, ComfyError, Endpoint, ExtraData, PreviewMethod, QueuePosition, SubmitRequest,
};
use comfyui_orchestrator::fleet::TlsPolicy;
use comfyui_orchestrator::workflow::Prompt;
use reqwest::header::HeaderMap;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn submit<'a>(prompt: &'a Prompt, prompt_id: &'a str) -> SubmitRequest<'a> {
    SubmitRequest {
        prompt,
        client_id: "me",
        prompt_id,
        extra_data: ExtraData::default(),
        partial_execution_targets: Vec::new(),
        position: QueuePosition::Back,
    }
}

#[tokio::test]
async fn a_prompt_is_posted_with_all_that_belongs_to_it() {
    let server = ScriptedServer::start().await;
    server.answer(
        "POST /prompt",
        [Answer::json(
            &json!({"prompt_id": "p-1", "number": -7, "node_errors": {}}),
        )],
    );
    let prompt = prompt();
    let submitted = server
        .client()
        .submit_prompt(&SubmitRequest {
            extra_data: ExtraData {
                workflow: Some(json!({"nodes": []})),
                preview_method: Some(PreviewMethod::Latent2rgb),
            },
            partial_execution_targets: vec!["2".to_owned()],
            position: QueuePosition::Front,
            ..submit(&prompt, "p-1")
        })
        .await
        .unwrap();
    assert_eq!(
        (submitted.prompt_id.as_str(), submitted.number),
        ("p-1", -7.0)
    );
    assert_eq!(
        server.heard()[0].json(),
        json!({
            "prompt": serde_json::to_value(&prompt).unwrap(),
            "client_id": "me",
            "prompt_id": "p-1",
            "front": true,
            "extra_data": {"extra_pnginfo": {"workflow": {"nodes": []}}, "preview_method": "latent2rgb"},
            "partial_execution_targets": ["2"],
        })
    );

    // A server that is too old to let us choose the id.
    let error = server
        .client()
        .submit_prompt(&submit(&prompt, "p-2"))
        .await
        .unwrap_err();
    assert!(matches!(&error, ComfyError::OtherPromptId { given, .. } if given == "p-1"));
    assert!(error.may_have_acted());
}

#[tokio::test]
async fn credentials_travel_with_every_request_and_show_nowhere() {
    let mut server = ScriptedServer::start().await;
    server.answer("GET /base/queue", [Answer::text(401, "")]);
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer canary-7".parse().unwrap());
    let url = format!("{}/base/?x=1#y", server.url);
    let endpoint = Endpoint::new(&url.parse().unwrap(), headers, TlsPolicy::Verify).unwrap();
    assert_eq!(endpoint.to_string(), format!("{}/base", server.url));
    let client = Client::new(endpoint).unwrap();
    let error = client.queue().await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    let heard = &server.heard()[0];
    assert_eq!(heard.line, "GET /base/queue");
    assert_eq!(heard.headers["authorization"], "Bearer canary-7");
    assert!(!format!("{client:?} {error:?} {error}").contains("canary"));

    let inside: url::Url = "http://user:canary@host:1/".parse().unwrap();
    let error = Endpoint::new(&inside, HeaderMap::new(), TlsPolicy::Verify).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("canary"), "{error}");
    assert!(
        Endpoint::new(
            &"ftp://h/".parse().unwrap(),
            HeaderMap::new(),
            TlsPolicy::Verify
        )
        .is_err()
    );
    assert!(server.socket_within(Duration::ZERO).await.is_none());
}

#[tokio::test]
async fn each_kind_of_failure_says_what_happened_and_what_to_do() {
    // Nobody there.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client_of(&url).queue().await.unwrap_err();
    assert!(
        matches!(error, ComfyError::Unreachable { .. })
            && error.is_offline()
            && !error.may_have_acted()
    );
    assert!(
        error.to_string().contains(&url) && error.to_string().contains("refused"),
        "{error}"
    );
    let error = client_of("http://no-such-host.invalid")
        .queue()
        .await
        .unwrap_err();
    assert!(matches!(error, ComfyError::Unreachable { .. }), "{error}");

    let server = ScriptedServer::start().await;
    // TLS where there is none.
    for tls in [TlsPolicy::Verify, TlsPolicy::AcceptAny] {
        let url = server.url.replace("http:", "https:").parse().unwrap();
        let client = Client::new(Endpoint::new(&url, HeaderMap::new(), tls).unwrap()).unwrap();
        let error = client.queue().await.unwrap_err();
        assert!(
            matches!(error, ComfyError::Unreachable { .. }) && !error.may_have_acted(),
            "{error}"
        );
    }
    let client = server.client();
    let page = "<!doctype html><html><title>My router</title></html>";
    server.answer(
        "GET /system_stats",
        [
            Answer::text(200, page).with("content-type", "text/html"),
            Answer::text(404, page).with("content-type", "text/html; charset=utf-8"),
            Answer::json(&json!({"hello": "world"})),
            Answer::text(200, "pong"),
        ],
    );
    for _ in 0..4 {
        let error = client.system_stats().await.unwrap_err();
        assert!(matches!(error, ComfyError::NotComfyUi { .. }), "{error}");
        assert!(
            error.to_string().ends_with("is this the ComfyUI address?"),
            "{error}"
        );
    }
    server.answer(
        "GET /queue",
        [
            Answer::text(302, "").with("location", "https://elsewhere.example/"),
            Answer::text(403, ""),
            Answer::text(
                500,
                "500 Internal Server Error\n\nServer got itself in trouble",
            ),
            Answer::text(502, page).with("content-type", "text/html"),
            Answer::json(&json!({"queue_running": 3})),
        ],
    );
    let mut messages = Vec::new();
    for status in [302, 403, 500, 502] {
        let error = client.queue().await.unwrap_err();
        assert_eq!(error.status(), Some(status), "{error}");
        assert_eq!(error.is_offline(), status == 502);
        messages.push(error.to_string());
    }
    assert!(
        messages[0].contains("to https://elsewhere.example/"),
        "{}",
        messages[0]
    );
    assert!(messages[1].contains("authentication"), "{}", messages[1]);
    assert!(
        messages[2].contains("Server got itself in trouble"),
        "{}",
        messages[2]
    );
    assert!(messages[3].contains("(My router)"), "{}", messages[3]);
    assert!(matches!(
        client.queue().await.unwrap_err(),
        ComfyError::Malformed { .. }
    ));

    // Larger than allowed: refused by its announced size, without reading it.
    server.answer(
        "GET /features",
        [Answer::text(200, &" ".repeat((4 << 20) + 1))],
    );
    let error = client.features().await.unwrap_err();
    assert!(
        matches!(
            error,
            ComfyError::TooLarge {
                limit_bytes: 4_194_304,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_hangs_is_not_taken_for_one() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let _ = socket
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"prompt_id\"")
                .await;
        }
    });
    let prompt = prompt();
    let error = client_of(&url)
        .submit_prompt(&submit(&prompt, "p"))
        .await
        .unwrap_err();
    assert!(matches!(error, ComfyError::Broken { .. }), "{error}");
    assert!(error.may_have_acted() && error.is_offline());
}

#[tokio::test]
async fn free_models_and_jobs_are_asked_for_as_the_server_wants_it() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    server.answer("POST /free", [Answer::text(200, "")]);
    server.answer(
        "GET /models/loras",
        [Answer::json(&json!(["a\\b.safetensors"]))],
    );
    server.answer("GET /models", [Answer::json(&json!(["loras"]))]);
    client.free(true, false).await.unwrap();
    assert_eq!(
        server.heard()[0].json(),
        json!({"unload_models": true, "free_memory": false})
    );
    assert_eq!(client.model_folders().await.unwrap(), ["loras"]);
    assert_eq!(client.models("loras").await.unwrap(), ["a\\b.safetensors"]);
    assert!(matches!(
        client.models("nosuch").await,
        Err(ComfyError::Missing { .. })
    ));
    // Old servers have no such pages.
    assert_eq!(client.job("p").await.unwrap(), None);
    assert_eq!(client.jobs(3).await.unwrap_err().status(), Some(404));
    assert_eq!(client.features().await.unwrap().max_upload_bytes, None);
    if let Some(list) = fixture("jobs_list") {
        server.answer("GET /api/jobs", [Answer::json(&list)]);
        let jobs = client.jobs(100).await.unwrap();
        assert!(jobs.len() > 10 && jobs.iter().all(|job| job.create_time_ms.is_some()));
    }
}
