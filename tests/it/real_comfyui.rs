//! Against real ComfyUI servers: `COMFYUI_URLS=http://127.0.0.1:8188,… cargo test real_comfyui`. Skipped without it.

use crate::scripted_server::client_of;
use comfyui_orchestrator::comfy::events::{self, EventReceiver, LinkEvent, SocketOptions};
use comfyui_orchestrator::comfy::watch::{PromptState, reconcile};
use comfyui_orchestrator::comfy::{
    Client, ComfyError, ExtraData, FolderType, HistoryEntry, Outcome, PreviewMethod, QueuePosition,
    SocketEvent, StoredFile, SubmitRequest, Upload, UploadContent, UserFileWrite,
};
use comfyui_orchestrator::fleet::{
    Auth, BackendConfig, BackendState, Fleet, FleetEvent, TlsPolicy,
};
use comfyui_orchestrator::project::BackendId;
use comfyui_orchestrator::workflow::Prompt;
use serde_json::{Value, json};
use std::io::Cursor;
use std::time::Duration;
use tokio::time::timeout;

/// Longest that a test waits for a server with a small CPU.
const PATIENCE: Duration = Duration::from_mins(1);

fn url() -> Option<String> {
    let urls = std::env::var("COMFYUI_URLS").unwrap_or_default();
    let url = urls.split(',').map(str::trim).find(|url| !url.is_empty());
    if url.is_none() {
        println!("skipped: COMFYUI_URLS is not set");
    }
    url.map(str::to_owned)
}

/// An id that no other test, run or program uses.
fn fresh(name: &str) -> String {
    format!("{name}-{}", BackendId::new_now())
}

/// A seed that no earlier run used, so that nothing is cached.
fn seed() -> u32 {
    let uuid = BackendId::new_now().uuid();
    u32::from_le_bytes(uuid.as_bytes()[12..].try_into().unwrap())
}

struct Session {
    client: Client,
    client_id: String,
    events: EventReceiver,
}

impl Session {
    async fn open() -> Option<Self> {
        let client = client_of(&url()?);
        let client_id = fresh("test");
        let mut events =
            events::connect(client.clone(), client_id.clone(), SocketOptions::default());
        assert_eq!(
            timeout(PATIENCE, events.recv()).await.unwrap(),
            Some(LinkEvent::Connected)
        );
        Some(Self {
            client,
            client_id,
            events,
        })
    }

    async fn submit(&self, prompt: Value, prompt_id: &str) -> Result<(), ComfyError> {
        let prompt: Prompt = serde_json::from_value(prompt).unwrap();
        self.client
            .submit_prompt(&SubmitRequest {
                prompt: &prompt,
                client_id: &self.client_id,
                prompt_id,
                extra_data: ExtraData {
                    workflow: Some(json!({"id": "test"})),
                    preview_method: Some(PreviewMethod::Latent2rgb),
                },
                partial_execution_targets: Vec::new(),
                position: QueuePosition::Back,
            })
            .await
            .map(drop)
    }

    /// All events about `prompt_id` up to its end.
    async fn follow(&mut self, prompt_id: &str) -> Vec<SocketEvent> {
        let mut seen = Vec::new();
        loop {
            let LinkEvent::Message(event) = timeout(PATIENCE, self.events.recv())
                .await
                .unwrap()
                .unwrap()
            else {
                panic!("the socket broke")
            };
            let is_end =
                matches!(&event, SocketEvent::Finished { prompt_id: Some(id) } if id == prompt_id);
            if event.prompt_id() == Some(prompt_id) {
                seen.push(event);
            }
            if is_end {
                return seen;
            }
        }
    }

    async fn run(&mut self, prompt: Value) -> (Vec<SocketEvent>, HistoryEntry) {
        let prompt_id = fresh("prompt");
        self.submit(prompt, &prompt_id).await.unwrap();
        let events = self.follow(&prompt_id).await;
        let PromptState::Finished(entry) = reconcile(&self.client, &prompt_id).await.unwrap()
        else {
            panic!("not finished")
        };
        (events, *entry)
    }

    async fn has(&self, class: &str) -> bool {
        let has = self.client.object_info_of(class).await.unwrap().is_some();
        if !has {
            println!("skipped in part: the server has no {class}");
        }
        has
    }
}

fn empty_image(width: u32) -> Value {
    json!({"class_type": "EmptyImage", "inputs": {"width": width, "height": 32, "batch_size": 1, "color": seed() & 0xff_ffff}})
}

#[tokio::test]
async fn a_prompt_runs_and_its_picture_comes_back() {
    let Some(mut session) = Session::open().await else {
        return;
    };
    let (events, entry) = session
        .run(json!({
            "1": empty_image(48),
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "orchestrator/test"}},
        }))
        .await;
    assert_eq!(entry.outcome, Outcome::Success);
    assert!(
        events
            .iter()
            .any(|event| matches!(event, SocketEvent::ExecutionStart { .. }))
    );
    assert!(events.iter().any(|event| matches!(event, SocketEvent::Executed { node, output, .. } if node == "2" && output.files.len() == 1)));
    let file = &entry.outputs["2"].files[0].file;
    assert_eq!(
        (file.subfolder.as_str(), file.folder),
        ("orchestrator", FolderType::Output)
    );
    let bytes = session
        .client
        .view(file, 0, None, 1 << 20)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let picture = image::load_from_memory(&bytes).unwrap();
    assert_eq!((picture.width(), picture.height()), (48, 32));
    // The rest of a broken download.
    let rest = session.client.view(file, 20, None, 1 << 20).await.unwrap();
    assert_eq!(
        (rest.start, rest.total_bytes),
        (20, Some(bytes.len() as u64))
    );
    assert_eq!(rest.bytes().await.unwrap(), bytes[20..]);
    assert!(matches!(
        session.client.view(file, 0, None, 10).await,
        Err(ComfyError::TooLarge { .. })
    ));
    let gone = StoredFile {
        filename: "no such.png".to_owned(),
        ..file.clone()
    };
    assert!(matches!(
        session.client.view(&gone, 0, None, 10).await,
        Err(ComfyError::Missing { .. })
    ));
    session.events.close().await;
}

#[tokio::test]
async fn an_uploaded_picture_is_loaded_and_inverted() {
    let Some(mut session) = Session::open().await else {
        return;
    };
    let mut png = Cursor::new(Vec::new());
    let colour = image::Rgb([seed() as u8, 20, 30]);
    image::RgbImage::from_pixel(24, 16, colour)
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let stored = session
        .client
        .upload_image(Upload {
            filename: fresh("in") + ".png",
            subfolder: "orchestrator test".to_owned(),
            folder: FolderType::Input,
            overwrite: false,
            content: UploadContent::Bytes(png.into_inner().into()),
        })
        .await
        .unwrap();
    let (_, entry) = session
        .run(json!({
            "1": {"class_type": "LoadImage", "inputs": {"image": stored.loader_value()}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        }))
        .await;
    let file = &entry.outputs["3"].files[0].file;
    assert_eq!(file.folder, FolderType::Temp);
    let bytes = session
        .client
        .view(file, 0, None, 1 << 20)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let inverted = image::load_from_memory(&bytes).unwrap().to_rgb8();
    assert_eq!(inverted.dimensions(), (24, 16));
    // ComfyUI cuts fractions off on the way from 0..1 to 0..255.
    for (channel, before) in inverted.get_pixel(3, 3).0.iter().zip(colour.0) {
        assert!(channel.abs_diff(255 - before) <= 1, "{channel} {before}");
    }
    // A result is read where it lies.
    let (_, entry) = session
        .run(json!({
            "1": {"class_type": "LoadImage", "inputs": {"image": file.loader_value()}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        }))
        .await;
    assert_eq!(entry.outcome, Outcome::Success);
}

#[tokio::test]
async fn bad_prompts_are_refused_with_their_reason() {
    let Some(session) = Session::open().await else {
        return;
    };
    let error = session
        .submit(
            json!({"1": {"class_type": "NoSuchClass", "inputs": {}}}),
            &fresh("p"),
        )
        .await
        .unwrap_err();
    let ComfyError::Rejected { rejection, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(rejection.missing_class.as_deref(), Some("NoSuchClass"));
    let partly = json!({
        "1": empty_image(16),
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "3": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "magic", "width": 8, "height": 8, "crop": "disabled"}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    });
    let error = session.submit(partly, &fresh("p")).await.unwrap_err();
    assert!(
        matches!(error, ComfyError::PartlyRejected { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn prompts_wait_are_deleted_and_interrupted() {
    let Some(mut session) = Session::open().await else {
        return;
    };
    if !session.has("TestSleep").await {
        return;
    }
    let sleep = || {
        json!({
            "1": {"class_type": "TestSleep", "inputs": {"seconds": 20.0, "steps": 200, "seed": seed()}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        })
    };
    let (running, waiting, deleted) = (fresh("running"), fresh("waiting"), fresh("deleted"));
    for id in [&running, &waiting, &deleted] {
        session.submit(sleep(), id).await.unwrap();
    }
    loop {
        let event = timeout(PATIENCE, session.events.recv())
            .await
            .unwrap()
            .unwrap();
        if matches!(event, LinkEvent::Message(SocketEvent::Progress { .. })) {
            break;
        }
    }
    assert_eq!(
        reconcile(&session.client, &running).await.unwrap(),
        PromptState::Running
    );
    assert!(matches!(
        reconcile(&session.client, &deleted).await.unwrap(),
        PromptState::Pending { .. }
    ));
    session
        .client
        .delete_from_queue(&[&deleted, &running])
        .await
        .unwrap();
    assert_eq!(
        reconcile(&session.client, &deleted).await.unwrap(),
        PromptState::Unknown
    );
    // Not the one that runs: nothing happens.
    session.client.interrupt(&waiting).await.unwrap();
    assert_eq!(
        reconcile(&session.client, &running).await.unwrap(),
        PromptState::Running
    );
    for id in [&running, &waiting] {
        loop {
            session.client.interrupt(id).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            if let PromptState::Finished(entry) = reconcile(&session.client, id).await.unwrap() {
                assert!(
                    matches!(entry.outcome, Outcome::Interrupted { .. }),
                    "{:?}",
                    entry.outcome
                );
                break;
            }
        }
    }
}

#[tokio::test]
async fn failures_previews_and_texts_arrive() {
    let Some(mut session) = Session::open().await else {
        return;
    };
    if !session.has("TestFail").await {
        return;
    }
    for (kind, is_out_of_memory) in [("ValueError", false), ("OOM", true)] {
        let (events, entry) = session
            .run(json!({
                "1": {"class_type": "TestFail", "inputs": {"kind": kind, "message": "on purpose", "after": 0.0}},
                "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
            }))
            .await;
        let Outcome::Failed(error) = entry.outcome else {
            panic!("no failure")
        };
        assert_eq!(
            (error.node_id.as_str(), error.is_out_of_memory()),
            ("1", is_out_of_memory)
        );
        assert!(error.exception_message.starts_with("on purpose"));
        assert!(events.contains(&SocketEvent::ExecutionError(error)));
    }
    let (events, entry) = session
        .run(json!({
            "1": {"class_type": "TestPreview", "inputs": {"seconds": 0.2, "steps": 2, "format": "JPEG", "width": 64, "height": 48, "max_size": 32, "seed": seed()}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }))
        .await;
    assert_eq!(entry.outcome, Outcome::Success);
    let previews: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            SocketEvent::Preview(preview) => {
                Some(image::load_from_memory(&preview.picture).unwrap())
            }
            _ => None,
        })
        .collect();
    assert_eq!(previews.len(), 2);
    assert_eq!(previews[0].width(), 32);
    let (_, entry) = session.run(json!({"1": {"class_type": "TestText", "inputs": {"text": format!("héllo {}", seed())}}})).await;
    assert!(entry.outputs["1"].text[0].starts_with("héllo "));
}

#[tokio::test]
async fn everything_else_is_answered() {
    let Some(url) = url() else { return };
    let client = client_of(&url);
    let stats = client.system_stats().await.unwrap();
    assert!(!stats.devices.is_empty() && stats.ram_total > 0);
    assert!(client.features().await.unwrap().max_upload_bytes.is_some());
    assert!(
        client
            .model_folders()
            .await
            .unwrap()
            .iter()
            .any(|folder| folder == "checkpoints")
    );
    client.models("checkpoints").await.unwrap();
    assert!(matches!(
        client.models("no such folder").await,
        Err(ComfyError::Missing { .. })
    ));
    client.jobs(5).await.unwrap();
    assert_eq!(client.job("no such job").await.unwrap(), None);
    client.free(false, true).await.unwrap();
    let path = format!("workflows/{}.json", fresh("test"));
    client
        .userdata_put(&path, "{\"x\": 1}".into(), UserFileWrite::Create)
        .await
        .unwrap();
    let again = client
        .userdata_put(&path, "{}".into(), UserFileWrite::Create)
        .await
        .unwrap_err();
    assert_eq!(again.status(), Some(409));
    assert_eq!(client.userdata_get(&path).await.unwrap(), "{\"x\": 1}");
    let listed = client.userdata_list("workflows").await.unwrap();
    assert!(
        listed
            .iter()
            .any(|file| path.ends_with(&file.path) && file.size_bytes == 8),
        "{listed:?}"
    );
    client.userdata_delete(&path).await.unwrap();
}

#[tokio::test]
async fn a_fleet_sees_it_online_with_its_classes() {
    let Some(url) = url() else { return };
    let (sender, mut events) = tokio::sync::mpsc::channel(64);
    let config = BackendConfig {
        id: BackendId::new_now(),
        name: "real".to_owned(),
        url: url.parse().unwrap(),
        tags: std::collections::BTreeSet::new(),
        auth: Auth::None,
        tls: TlsPolicy::Verify,
        enabled: true,
    };
    let id = config.id;
    let fleet = Fleet::start([config], |id| format!("test-{id}"), sender);
    let (mut is_online, mut classes) = (false, 0);
    while !is_online || classes == 0 {
        match timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
            FleetEvent::Status(status) => {
                is_online = matches!(status.state, BackendState::Online | BackendState::Busy)
                    && !status.version.is_empty();
            }
            FleetEvent::Capabilities { object_info, .. } => classes = object_info.classes.len(),
            _ => {}
        }
    }
    assert!(fleet.is_online(id) && classes > 100, "{classes}");
    fleet.shutdown().await;
}
