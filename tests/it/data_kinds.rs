//! Every kind of value on its way from one workflow into another: on one server, where files are read in place, and from
//! one server to another. On the built-in backends always, on real ones as well when `COMFYUI_URLS` names them.

use crate::small_projects::{join, workflow_node};
use crate::whole_runs::{files_below, run_in, start_server};
use comfyui_orchestrator::engine::{
    EngineOptions, RegistryUse, ResumePolicy, RunEvent, RunEventBody, RunState,
};
use comfyui_orchestrator::fleet::BackendConfig;
use comfyui_orchestrator::project::{
    Affinity, DataType, Edit, Node, NodeId, NodeKind, OutputNode, PortId, Project, ProjectId,
    RetryPolicy,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One workflow makes a value, another one takes it.
struct Passage {
    name: &'static str,
    /// What travels.
    data_type: DataType,
    makes: Value,
    takes: Value,
    /// The field that takes it: node id and input.
    into: (&'static str, &'static str),
    /// What must come out at the end.
    check: fn(&[u8]),
}

/// A number that no earlier run used, so that no server answers from its cache.
fn fresh_number() -> u32 {
    let uuid = NodeId::new_now().uuid();
    u32::from_le_bytes(uuid.as_bytes()[12..].try_into().unwrap()) & 0xff_ffff
}

fn save(images: &str) -> Value {
    json!({"class_type": "SaveImage", "inputs": {"images": [images, 0], "filename_prefix": "orchestrator test/passed"}})
}

fn grey(width: u32, height: u32) -> Value {
    json!({"class_type": "EmptyImage", "inputs": {"width": width, "height": height, "batch_size": 1, "color": fresh_number()}})
}

fn side_lengths(bytes: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory(bytes).unwrap();
    (picture.width(), picture.height())
}

/// What both the built-in backend and ComfyUI can do.
fn passages() -> Vec<Passage> {
    vec![
        Passage {
            name: "image",
            data_type: DataType::Image,
            makes: json!({"1": grey(40, 24), "2": save("1")}),
            takes: json!({
                "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
                "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
                "3": save("2"),
            }),
            into: ("1", "image"),
            check: |bytes| assert_eq!(side_lengths(bytes), (40, 24)),
        },
        Passage {
            name: "mask",
            data_type: DataType::Mask,
            makes: json!({
                "1": {"class_type": "SolidMask", "inputs": {"value": 0.75, "width": 33, "height": 17 + fresh_number() % 64}},
                "2": {"class_type": "MaskPreview", "inputs": {"mask": ["1", 0]}},
            }),
            takes: json!({
                "1": {"class_type": "LoadImageMask", "inputs": {"image": "example.png", "channel": "red"}},
                "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}},
                "3": save("2"),
            }),
            into: ("1", "image"),
            check: |bytes| {
                let picture = image::load_from_memory(bytes).unwrap().to_rgb8();
                assert_eq!(picture.width(), 33);
                // 0.75 of 255, with the fraction cut off on the way.
                let grey = picture.get_pixel(5, 5).0[0];
                assert!((190..=192).contains(&grey), "{grey}");
            },
        },
        Passage {
            name: "latent",
            data_type: DataType::Latent,
            makes: json!({
                "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 16 + 8 * (fresh_number() % 512), "batch_size": 2}},
                "2": {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "orchestrator test/latent"}},
            }),
            takes: json!({
                "1": {"class_type": "LoadLatent", "inputs": {"latent": "example.latent"}},
                "2": {"class_type": "LatentMultiply", "inputs": {"samples": ["1", 0], "multiplier": 2.0}},
                "3": {"class_type": "SaveLatent", "inputs": {"samples": ["2", 0], "filename_prefix": "orchestrator test/latent"}},
            }),
            into: ("1", "latent"),
            check: |bytes| {
                // A `.latent` file is a safetensors file: the length of a JSON header, the header, the numbers.
                let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
                let shape = header["latent_tensor"]["shape"].as_array().unwrap();
                assert_eq!(
                    (shape.len(), &shape[0], &shape[3]),
                    (4, &json!(2), &json!(8))
                );
            },
        },
        Passage {
            name: "audio",
            data_type: DataType::Audio,
            makes: json!({
                "1": {"class_type": "EmptyAudio", "inputs": {"duration": 1.5, "sample_rate": 8000 + fresh_number() % 1000, "channels": 2}},
                "2": {"class_type": "SaveAudio", "inputs": {"audio": ["1", 0], "filename_prefix": "orchestrator test/audio"}},
            }),
            takes: json!({
                "1": {"class_type": "LoadAudio", "inputs": {"audio": "example.flac"}},
                "2": {"class_type": "AudioAdjustVolume", "inputs": {"audio": ["1", 0], "volume": -6}},
                "3": {"class_type": "SaveAudio", "inputs": {"audio": ["2", 0], "filename_prefix": "orchestrator test/audio"}},
            }),
            into: ("1", "audio"),
            check: |bytes| {
                assert!(bytes.starts_with(b"fLaC"));
                // The stream's own count of samples: 36 bits behind its rate and channels.
                let samples = u32::from_be_bytes(bytes[22..26].try_into().unwrap());
                assert!((12_000..13_500).contains(&samples), "{samples}");
            },
        },
        Passage {
            name: "text",
            data_type: DataType::Text,
            makes: json!({
                "1": {"class_type": "PrimitiveString", "inputs": {"value": format!("Hafen, Dämmerung {}", fresh_number())}},
                "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
            }),
            takes: json!({
                "1": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "nothing"}},
                "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
            }),
            into: ("1", "value"),
            check: |bytes| {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                assert!(text.starts_with("Hafen, Dämmerung "), "{text}");
            },
        },
        Passage {
            name: "integer",
            data_type: DataType::Integer,
            makes: json!({
                "1": {"class_type": "PrimitiveInt", "inputs": {"value": 48}},
                "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
            }),
            takes: json!({"1": grey(8, 24), "2": save("1")}),
            into: ("1", "width"),
            check: |bytes| assert_eq!(side_lengths(bytes), (48, 24)),
        },
        Passage {
            name: "number",
            data_type: DataType::Number,
            makes: json!({
                "1": {"class_type": "PrimitiveFloat", "inputs": {"value": 2.5}},
                "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
            }),
            takes: json!({
                "1": grey(20, 10),
                "2": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "upscale_method": "bilinear", "scale_by": 1.0}},
                "3": save("2"),
            }),
            into: ("2", "scale_by"),
            check: |bytes| assert_eq!(side_lengths(bytes), (50, 25)),
        },
        Passage {
            name: "boolean",
            data_type: DataType::Boolean,
            makes: json!({
                "1": {"class_type": "PrimitiveBoolean", "inputs": {"value": true}},
                "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
            }),
            takes: json!({
                "1": {"class_type": "PrimitiveBoolean", "inputs": {"value": false}},
                "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
            }),
            into: ("1", "value"),
            check: |bytes| assert_eq!(bytes.to_ascii_lowercase(), b"true"),
        },
    ]
}

/// What needs ComfyUI's codecs.
fn passages_of_comfyui() -> Vec<Passage> {
    vec![
        Passage {
            name: "trimmed audio",
            data_type: DataType::Audio,
            makes: json!({
                "1": {"class_type": "EmptyAudio", "inputs": {"duration": 1.5, "sample_rate": 8000 + fresh_number() % 1000, "channels": 2}},
                "2": {"class_type": "SaveAudio", "inputs": {"audio": ["1", 0], "filename_prefix": "orchestrator test/audio"}},
            }),
            takes: json!({
                "1": {"class_type": "LoadAudio", "inputs": {"audio": "example.flac"}},
                "2": {"class_type": "TrimAudioDuration", "inputs": {"audio": ["1", 0], "start_index": 0.0, "duration": 0.5}},
                "3": {"class_type": "SaveAudio", "inputs": {"audio": ["2", 0], "filename_prefix": "orchestrator test/audio"}},
            }),
            into: ("1", "audio"),
            check: |bytes| assert!(bytes.starts_with(b"fLaC")),
        },
        Passage {
            name: "video",
            data_type: DataType::Video,
            makes: json!({
                "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 6, "color": fresh_number()}},
                "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 6.0}},
                "3": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], "filename_prefix": "orchestrator test/video", "format": "auto", "codec": "auto"}},
            }),
            takes: json!({
                "1": {"class_type": "LoadVideo", "inputs": {"file": "example.mp4"}},
                "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
                "3": {"class_type": "ImageFromBatch", "inputs": {"image": ["2", 0], "batch_index": 5, "length": 1}},
                "4": save("3"),
            }),
            into: ("1", "file"),
            check: |bytes| assert_eq!(side_lengths(bytes), (64, 48)),
        },
    ]
}

/// A Workflow node as the library would make it, with one field as an input port, for one server.
fn node_of(
    project: &mut Project,
    name: &str,
    prompt: &Value,
    into: Option<((&str, &str), DataType)>,
    on: &BackendConfig,
) -> Node {
    let field = into.map(|(field, _)| field);
    let mut node = workflow_node(project, name, prompt, field, RetryPolicy::default());
    if let Some((_, data_type)) = into
        && data_type.is_media()
    {
        assert_eq!(node.inputs[0].data_type, data_type, "{name}");
    }
    if let NodeKind::Workflow(settings) = &mut node.kind {
        settings.affinity = Affinity::Backend(on.id);
    }
    node
}

/// All passages side by side: makes → takes → Output.
fn project_of(passages: &[Passage], first: &BackendConfig, second: &BackendConfig) -> Project {
    let mut project = Project::new(ProjectId::new_now(), "Passages");
    for passage in passages {
        let makes = format!("{} made", passage.name);
        let takes = format!("{} taken", passage.name);
        let makes = node_of(&mut project, &makes, &passage.makes, None, first);
        assert_eq!(
            makes.outputs[0].data_type, passage.data_type,
            "{}",
            passage.name
        );
        let into = Some((passage.into, passage.data_type));
        let takes = node_of(&mut project, &takes, &passage.takes, into, second);
        let output = Node::output_to(
            NodeId::new_now(),
            OutputNode {
                template: "{node}.{ext}".to_owned(),
            },
            takes.outputs[0].data_type,
            &mut PortId::new_now,
        )
        .titled(passage.name);
        for node in [&makes, &takes, &output] {
            project
                .apply(Edit::AddNode(Box::new(node.clone())))
                .unwrap();
        }
        join(&mut project, &makes, &takes);
        join(&mut project, &takes, &output);
    }
    project
}

async fn pass_all(passages: &[Passage], first: &BackendConfig, second: &BackendConfig) {
    let folder = TempDir::new().unwrap();
    let mut backends = vec![first.clone()];
    if second.id != first.id {
        backends.push(second.clone());
    }
    let engine = comfyui_orchestrator::engine::start(EngineOptions {
        data_dir: folder.path().join("data"),
        extra_backends: backends,
        registry: RegistryUse::ExtraOnly,
        resume: ResumePolicy::Leave,
        pair_block_ms: comfyui_orchestrator::engine::PAIR_BLOCK_MS,
    })
    .await
    .unwrap();
    let (view, log) = run_in(&engine, folder.path(), project_of(passages, first, second)).await;
    engine.stop().await;
    let failures: Vec<&RunEvent> = log
        .iter()
        .filter(|event| {
            matches!(
                event.body,
                RunEventBody::AttemptFailed { .. } | RunEventBody::ItemFailed { .. }
            )
        })
        .collect();
    assert_eq!(view.state, Some(RunState::Completed), "{failures:#?}");
    assert!(failures.is_empty(), "{failures:#?}");
    let files = files_by_stem(&folder.path().join("out"));
    assert_eq!(files.len(), passages.len(), "{files:?}");
    for passage in passages {
        (passage.check)(&std::fs::read(&files[passage.name]).unwrap());
    }
}

fn files_by_stem(folder: &Path) -> BTreeMap<String, PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                path,
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_value_goes_from_workflow_to_workflow_on_one_server_and_across_two() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let b = start_server(folder.path(), "b", 0, None).await;
    pass_all(&passages(), &a.config, &a.config).await;
    let uploads = |server: &str| files_below(&folder.path().join(server).join("input")).len();
    assert_eq!(
        uploads("a"),
        0,
        "a server reads its own files where they lie"
    );
    pass_all(&passages(), &a.config, &b.config).await;
    let media = passages()
        .iter()
        .filter(|passage| passage.data_type.is_media())
        .count();
    assert_eq!((uploads("a"), uploads("b")), (0, media));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_and_films_on_real_comfyui_and_between_it_and_the_built_in_server() {
    let urls = std::env::var("COMFYUI_URLS").unwrap_or_default();
    let backends: Vec<BackendConfig> = urls
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(|url| BackendConfig::new(url, url.parse().unwrap()))
        .collect();
    let Some(first) = backends.first() else {
        println!("skipped: COMFYUI_URLS is not set");
        return;
    };
    let all = || {
        passages()
            .into_iter()
            .chain(passages_of_comfyui())
            .collect::<Vec<_>>()
    };
    pass_all(&all(), first, first).await;
    match backends.get(1) {
        Some(second) => pass_all(&all(), first, second).await,
        None => println!("skipped in part: COMFYUI_URLS names one server only"),
    }
    // What either writes, the other reads.
    let folder = TempDir::new().unwrap();
    let builtin = start_server(folder.path(), "a", 0, None).await;
    pass_all(&passages(), first, &builtin.config).await;
    pass_all(&passages(), &builtin.config, first).await;
}
