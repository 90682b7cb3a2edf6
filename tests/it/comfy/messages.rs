//! What the socket says: recorded messages, and broken ones.

use crate::scripted_server::{fixture, recording, shared};
use comfyui_orchestrator::comfy::decode::{DecodeError, decode_binary, decode_text};
use comfyui_orchestrator::comfy::{PictureFormat, SocketEvent};

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
