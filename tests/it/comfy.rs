//! The ComfyUI client against recordings of a real server, and against a scripted one.

#![allow(
    clippy::float_cmp,
    reason = "small whole numbers pass through unchanged"
)]

use crate::scripted_server::{
    Answer, PATIENCE, ScriptedServer, client_of, fixture, recording, shared,
};
use comfyui_orchestrator::comfy::decode::{DecodeError, decode_binary, decode_text};
use comfyui_orchestrator::comfy::events::{self, LinkEvent, SocketOptions};
use comfyui_orchestrator::comfy::watch::{PromptState, reconcile};
use comfyui_orchestrator::comfy::{
    Client, ComfyError, Endpoint, ExtraData, FolderType, MediaKind, Outcome, PictureFormat,
    PreviewMethod, QueuePosition, SocketEvent, StoredFile, SubmitRequest, Upload, UploadContent,
    UserFileWrite,
};
use comfyui_orchestrator::fleet::TlsPolicy;
use comfyui_orchestrator::workflow::Prompt;
use reqwest::header::HeaderMap;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

fn prompt() -> Prompt {
    serde_json::from_value(json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    }))
    .unwrap()
}

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

fn picture(name: &str) -> StoredFile {
    StoredFile {
        filename: name.to_owned(),
        subfolder: "sub folder".to_owned(),
        folder: FolderType::Output,
    }
}

#[test]
fn every_recorded_socket_message_is_a_typed_event() {
    let Some(captures) = shared("comfyui/captures") else {
        return;
    };
    let (mut texts, mut frames) = (0, 0);
    for entry in std::fs::read_dir(&captures).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|extension| extension == "bin") {
            let bytes = std::fs::read(&path).unwrap();
            let length = bytes.len();
            match decode_binary(bytes.into()).unwrap() {
                SocketEvent::Preview(preview) => {
                    let magic: &[u8] = match preview.format {
                        PictureFormat::Jpeg => b"\xff\xd8\xff",
                        PictureFormat::Png => b"\x89PNG",
                        PictureFormat::Other => panic!("{name}: unknown picture"),
                    };
                    assert!(preview.picture.starts_with(magic), "{name}");
                    assert_eq!(preview.origin.is_some(), name.contains(".ev4."), "{name}");
                    let head = if preview.origin.is_some() { 100 } else { 8 };
                    assert!(preview.picture.len() + head <= length, "{name}");
                }
                SocketEvent::Text { node_id, text } => {
                    assert!(name.contains(".ev3."), "{name}");
                    assert!(!node_id.is_empty() && !text.is_empty(), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
            frames += 1;
        } else if let Some(name) = name.strip_suffix(".jsonl") {
            for recorded in recording(name).unwrap() {
                if recorded.dir == "ws<" {
                    let message = recorded.line["json"].to_string();
                    match decode_text(message.as_bytes()) {
                        Ok(SocketEvent::Unknown { name }) => panic!("{name} is not known"),
                        Ok(_) => texts += 1,
                        Err(error) => panic!("{error}: {message}"),
                    }
                }
            }
        }
    }
    assert_eq!((texts, frames), (1209, 32));
}

#[test]
fn recorded_details_survive_decoding() {
    let Some(progress) = fixture("ws_progress_state") else {
        return;
    };
    let SocketEvent::ProgressState { nodes, .. } =
        decode_text(progress.to_string().as_bytes()).unwrap()
    else {
        panic!("not a progress state")
    };
    assert_eq!(nodes[2].node_id, "1.0.0.2");
    assert_eq!(nodes[2].display_node_id, "1");
    assert_eq!(nodes[2].parent_node_id.as_deref(), Some("1"));
    assert_eq!((nodes[2].value, nodes[2].max), (1.0, 2.0));

    let error = fixture("ws_execution_error").unwrap();
    let SocketEvent::ExecutionError(error) = decode_text(error.to_string().as_bytes()).unwrap()
    else {
        panic!("not an error")
    };
    assert_eq!(error.exception_message, "deliberate failure\n");
    assert_eq!(error.traceback.len(), 5);
    assert_eq!(error.current_inputs["kind"][0], "RuntimeError");
    assert!(error.timestamp_ms.is_some() && !error.is_blocked() && !error.is_out_of_memory());
}

#[test]
fn malformed_messages_are_errors_and_unknown_ones_are_not() {
    for bad in [
        &b""[..],
        b"\xff\xfe",
        b"[]",
        b"{}",
        br#"{"type": 3}"#,
        br#"{"type": "progress", "data": 7}"#,
        br#"{"type": "execution_start", "data": {}}"#,
    ] {
        assert!(
            decode_text(bad).is_err(),
            "{:?}",
            String::from_utf8_lossy(bad)
        );
    }
    let deep = format!("{}{}", r#"{"type":"executed","data":"#, "[".repeat(100_000));
    assert!(decode_text(deep.as_bytes()).is_err());
    assert!(matches!(
        decode_text(br#"{"type": "cm-queue-status", "data": {"x": [1]}}"#).unwrap(),
        SocketEvent::Unknown { name } if name == "cm-queue-status"
    ));
    // Python writes NaN where JSON has no word for it.
    assert!(matches!(
        decode_text(br#"{"type": "progress", "data": {"value": NaN, "max": 2, "node": "1"}}"#)
            .unwrap(),
        SocketEvent::Progress {
            value: 0.0,
            max: 2.0,
            ..
        }
    ));
    let crystools = br#"{"type": "crystools.monitor", "data": {"cpu_utilization": 12.5, "ram_total": 100, "ram_used": 40,
        "ram_used_percent": 40, "hdd_total": 1, "hdd_used": 1, "hdd_used_percent": 100, "device_type": "cuda",
        "gpus": [{"gpu_utilization": 97, "gpu_temperature": 71, "vram_total": 24, "vram_used": 20, "vram_used_percent": 83.3}]}}"#;
    assert!(matches!(
        decode_text(crystools).unwrap(),
        SocketEvent::Monitor(load) if load.gpus[0].gpu_percent == 97.0 && load.ram_used == 40
    ));

    for (bad, short) in [
        (&b""[..], true),
        (b"\0\0", true),
        (b"\0\0\0\x01\0\0", true),
        (b"\0\0\0\x03\0\0\0\x09abc", true),
        (b"\0\0\0\x04\xff\xff\xff\xff{}", false),
        (b"\0\0\0\x03\0\0\0\x01\xffabc", false),
    ] {
        let error = decode_binary(bad.to_vec().into()).unwrap_err();
        assert_eq!(matches!(error, DecodeError::Short(_)), short, "{bad:?}");
    }
    assert!(matches!(
        decode_binary(b"\0\0\0\x09rest".to_vec().into()).unwrap(),
        SocketEvent::Unknown { .. }
    ));
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
async fn downloads_are_limited_and_resume_where_they_broke() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    server.answer(
        "GET /view",
        [
            Answer::text(200, "0123456789")
                .with("etag", "\"v1\"")
                .with("content-type", "image/png"),
            Answer::text(206, "456789")
                .with("content-range", "bytes 4-9/10")
                .with("etag", "\"v1\""),
            Answer::text(200, "abcdefghij").with("etag", "\"v2\""),
            Answer::text(200, "0123456789"),
            Answer::text(206, "???"),
        ],
    );
    let whole = client.view(&picture("a b.png"), 0, None, 10).await.unwrap();
    assert_eq!(
        (whole.start, whole.total_bytes, whole.content_type.as_str()),
        (0, Some(10), "image/png")
    );
    let etag = whole.etag.clone();
    assert_eq!(whole.bytes().await.unwrap(), "0123456789");

    let rest = client
        .view(&picture("a b.png"), 4, etag.as_deref(), 10)
        .await
        .unwrap();
    assert_eq!((rest.start, rest.total_bytes), (4, Some(10)));
    assert_eq!(rest.bytes().await.unwrap(), "456789");
    // The file changed meanwhile: the whole of it comes.
    let changed = client
        .view(&picture("a b.png"), 4, etag.as_deref(), 10)
        .await
        .unwrap();
    assert_eq!(changed.start, 0);
    assert!(matches!(
        client.view(&picture("a"), 0, None, 9).await,
        Err(ComfyError::TooLarge { .. })
    ));
    assert!(matches!(
        client.view(&picture("a"), 1, None, 9).await,
        Err(ComfyError::Malformed { .. })
    ));

    let heard = server.heard();
    assert_eq!(
        heard[0].line,
        "GET /view?filename=a+b.png&subfolder=sub+folder&type=output"
    );
    assert!(!heard[0].headers.contains_key("range"));
    assert_eq!(heard[1].headers["range"], "bytes=4-");
    assert_eq!(heard[1].headers["if-range"], "\"v1\"");
}

#[tokio::test]
async fn uploads_come_from_memory_and_from_files() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    let stored = Answer::json(&json!({"name": "in (1).png", "subfolder": "sub", "type": "input"}));
    server.answer("POST /upload/image", [stored.clone()]);
    server.answer("POST /upload/mask", [stored]);
    let upload = |content| Upload {
        filename: "in.png".to_owned(),
        subfolder: "sub".to_owned(),
        folder: FolderType::Input,
        overwrite: true,
        content,
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"from a file").unwrap();
    let given = client
        .upload_image(upload(UploadContent::File(file.path().to_owned())))
        .await
        .unwrap();
    assert_eq!(given.loader_value(), "sub/in (1).png");
    let body = String::from_utf8_lossy(&server.heard()[0].body).into_owned();
    for part in [
        "from a file",
        "name=\"image\"; filename=\"in.png\"",
        "name=\"subfolder\"\r\n\r\nsub",
        "name=\"type\"\r\n\r\ninput",
        "name=\"overwrite\"\r\n\r\ntrue",
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    client
        .upload_mask(
            upload(UploadContent::Bytes("alpha".into())),
            &picture("o.png"),
        )
        .await
        .unwrap();
    let body = String::from_utf8_lossy(&server.heard()[1].body).into_owned();
    assert!(
        body.contains(r#"{"filename":"o.png","subfolder":"sub folder","type":"output"}"#),
        "{body}"
    );

    let gone = file.path().with_extension("gone");
    let error = client
        .upload_image(upload(UploadContent::File(gone.clone())))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ComfyError::LocalFile { path, .. } if *path == gone),
        "{error}"
    );
}

#[tokio::test]
async fn user_files_are_listed_read_written_and_deleted() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    assert_eq!(client.userdata_list("workflows").await.unwrap(), []);
    server.answer(
        "GET /userdata",
        [Answer::json(
            &json!([{"path": "a.json", "size": 8, "modified": 1_795_237_482.35}]),
        )],
    );
    server.answer(
        "GET /userdata/workflows%2Fa.json",
        [Answer::text(200, "{\"x\": 1}")],
    );
    server.answer(
        "POST /userdata/workflows%2Fa.json",
        [
            Answer::text(409, "File already exists"),
            Answer::json(&json!({})),
        ],
    );
    server.answer(
        "DELETE /userdata/workflows%2Fa.json",
        [Answer::text(204, "")],
    );
    assert_eq!(
        client.userdata_list("workflows").await.unwrap()[0].path,
        "a.json"
    );
    assert_eq!(
        client.userdata_get("workflows/a.json").await.unwrap(),
        "{\"x\": 1}"
    );
    let put = |write| client.userdata_put("workflows/a.json", "{}".into(), write);
    assert_eq!(
        put(UserFileWrite::Create).await.unwrap_err().status(),
        Some(409)
    );
    put(UserFileWrite::Overwrite).await.unwrap();
    assert!(
        server
            .heard()
            .last()
            .unwrap()
            .line
            .ends_with("?overwrite=true")
    );
    client.userdata_delete("workflows/a.json").await.unwrap();
    assert!(matches!(
        client.userdata_get("gone").await,
        Err(ComfyError::Missing { .. })
    ));
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
