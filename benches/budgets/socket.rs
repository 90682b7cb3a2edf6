//! Decoding of socket messages, per message, in the forms that ComfyUI 0.8.0 sends.

use bytes::Bytes;
use comfyui_orchestrator::comfy::SocketEvent;
use comfyui_orchestrator::comfy::decode::{decode_binary, decode_text};
use criterion::{Criterion, Throughput};
use serde_json::{Map, Value, json};
use std::hint::black_box;

const PROMPT_ID: &str = "01890f3e-7b7c-7cc0-98c4-dc0c0c07398f";
/// Nodes of the large progress message.
const NODES: u32 = 30;
/// Bytes of a preview picture: a JPEG of 512 pixels as servers send it while sampling.
const PICTURE_BYTES: usize = 12_000;

/// Each kind of message that comes often.
pub fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode a message");
    group.throughput(Throughput::Elements(1));
    let progress_state = progress_state().to_string();
    let progress = json!({"type": "progress", "data":
        {"value": 7, "max": 20, "prompt_id": PROMPT_ID, "node": "3"}})
    .to_string();
    let executing = json!({"type": "executing", "data":
        {"node": "3", "display_node": "3", "prompt_id": PROMPT_ID}})
    .to_string();
    let executed = json!({"type": "executed", "data": {"node": "9", "display_node": "9", "prompt_id": PROMPT_ID,
        "output": {"images": [{"filename": "draw_00001_.png", "subfolder": "", "type": "output"}]}}})
    .to_string();
    let decoded = decode_text(progress_state.as_bytes()).unwrap();
    assert!(
        matches!(decoded, SocketEvent::ProgressState { nodes, .. } if nodes.len() == NODES as usize)
    );
    for (name, text) in [
        ("progress_state of 30 nodes", &progress_state),
        ("progress", &progress),
        ("executing", &executing),
        ("executed", &executed),
    ] {
        let decoded = decode_text(text.as_bytes()).unwrap();
        assert!(!matches!(decoded, SocketEvent::Unknown { .. }), "{name}");
        group.bench_function(name, |b| {
            b.iter(|| decode_text(black_box(text.as_bytes())).unwrap());
        });
    }
    for (name, frame, has_origin) in [
        ("preview without origin", plain_preview(), false),
        ("preview with origin", preview_with_origin(), true),
    ] {
        let decoded = decode_binary(frame.clone()).unwrap();
        let SocketEvent::Preview(preview) = decoded else {
            panic!("{name}: {decoded:?}");
        };
        assert_eq!(preview.picture.len(), PICTURE_BYTES);
        assert_eq!(preview.origin.is_some(), has_origin);
        group.bench_function(name, |b| {
            b.iter(|| decode_binary(black_box(frame.clone())).unwrap());
        });
    }
    group.finish();
}

fn progress_state() -> Value {
    let nodes: Map<String, Value> = (1..=NODES)
        .map(|number| {
            let id = number.to_string();
            let (value, state) = if number < NODES {
                (20.0, "finished")
            } else {
                (7.0, "running")
            };
            let node = json!({"value": value, "max": 20.0, "state": state, "node_id": id, "prompt_id": PROMPT_ID,
                "display_node_id": id, "parent_node_id": null, "real_node_id": id});
            (id, node)
        })
        .collect();
    json!({"type": "progress_state", "data": {"prompt_id": PROMPT_ID, "nodes": nodes}})
}

/// Event 1: picture type 1 (JPEG), picture.
fn plain_preview() -> Bytes {
    let mut frame = vec![0, 0, 0, 1, 0, 0, 0, 1];
    frame.extend(picture());
    frame.into()
}

/// Event 4: length of the head, head in JSON, picture.
fn preview_with_origin() -> Bytes {
    let head = json!({"node_id": "3", "prompt_id": PROMPT_ID, "display_node_id": "3", "parent_node_id": null,
        "real_node_id": "3", "image_type": "image/jpeg"})
    .to_string();
    let mut frame = vec![0, 0, 0, 4];
    frame.extend((head.len() as u32).to_be_bytes());
    frame.extend(head.bytes());
    frame.extend(picture());
    frame.into()
}

/// Begins as a JPEG does. Decoding a message does not look into its picture.
fn picture() -> Vec<u8> {
    let mut picture = vec![0xA5; PICTURE_BYTES];
    picture[..3].copy_from_slice(&[0xFF, 0xD8, 0xFF]);
    picture
}
