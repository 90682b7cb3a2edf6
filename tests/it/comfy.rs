//! The ComfyUI client against recordings of a real server, and against a scripted one.

#![allow(
    clippy::float_cmp,
    reason = "small whole numbers pass through unchanged"
)]

mod connection;
mod ends;
mod files;
mod messages;
mod requests;

use comfyui_orchestrator::comfy::{FolderType, StoredFile};
use comfyui_orchestrator::workflow::Prompt;
use serde_json::json;

fn prompt() -> Prompt {
    serde_json::from_value(json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    }))
    .unwrap()
}

fn picture(name: &str) -> StoredFile {
    StoredFile {
        filename: name.to_owned(),
        subfolder: "sub folder".to_owned(),
        folder: FolderType::Output,
    }
}
