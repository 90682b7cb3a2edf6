//! Traps of what a server gives, takes and knows (14 to 18).

use super::{decode, next, next_link, queue, quick, recorded_history};
use crate::scripted_server::{Answer, ScriptedServer, client_of, recording, shared};
use comfyui_orchestrator::comfy::events::{self, LinkEvent};
use comfyui_orchestrator::comfy::watch::{PromptState, reconcile};
use comfyui_orchestrator::comfy::{
    ComfyError, FolderType, MediaKind, SocketEvent, StoredFile, Upload, UploadContent,
};
use comfyui_orchestrator::workflow::ObjectInfo;
use serde_json::{Value, json};

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
