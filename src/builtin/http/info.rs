//! What the server is and has: `/object_info`, `/system_stats`, `/models`, `/internal`, …

use std::fs;

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{SharedHost, answer, prompt::read_json};
use crate::builtin::{
    folders::{self, MODEL_FOLDERS, Place},
    host::Host,
    sockets,
};

/// The ComfyUI release whose protocol is spoken.
const SPOKEN_COMFYUI_VERSION: &str = "0.8.0";
/// The frontend release that belongs to it.
const FRONTEND_VERSION: &str = "1.35.9";

/// `GET /object_info`.
pub async fn object_info(State(host): SharedHost) -> Response {
    let described = tokio::task::spawn_blocking(move || {
        host.classes
            .values()
            .filter(|class| host.class(class.name).is_some())
            .map(|class| (class.name.to_owned(), class.describe(&host.folders)))
            .collect::<Map<String, Value>>()
    })
    .await;
    described.map_or_else(|_| answer::fault(), |classes| answer::json(&classes))
}

/// `GET /object_info/CLASS`: an unknown class is an empty object.
pub async fn object_info_of(State(host): SharedHost, Path(name): Path<String>) -> Response {
    let classes: Map<String, Value> = host
        .class(&name)
        .map(|class| (name, class.describe(&host.folders)))
        .into_iter()
        .collect();
    answer::json(&classes)
}

/// `GET /system_stats`.
pub async fn system_stats(State(host): SharedHost) -> Response {
    let stats = tokio::task::spawn_blocking(move || {
        let memory = sysinfo::System::new().map(|mut system| {
            system.refresh_memory();
            (system.total_memory(), system.available_memory())
        });
        let (total, free) = memory.unwrap_or_default();
        describe_system(&host, total, free)
    })
    .await;
    stats.map_or_else(|_| answer::fault(), |stats| answer::json(&stats))
}

fn describe_system(host: &Host, memory_total: u64, memory_free: u64) -> Value {
    // Python's names, which clients look for when they translate paths.
    let os = match std::env::consts::OS {
        "windows" => "win32",
        "macos" => "darwin",
        other => other,
    };
    let device_total = host.options.device_memory_bytes.unwrap_or(memory_total);
    let device_free = memory_free.min(device_total);
    json!({
        "system": {
            "os": os,
            "ram_total": memory_total,
            "ram_free": memory_free,
            "comfyui_version": SPOKEN_COMFYUI_VERSION,
            "required_frontend_version": FRONTEND_VERSION,
            "installed_templates_version": null,
            "required_templates_version": null,
            "python_version": "none: built-in backend of ComfyUI Orchestrator",
            "pytorch_version": "none",
            "embedded_python": false,
            "argv": [env!("CARGO_PKG_NAME"), "builtin"],
            "builtin": { "name": host.options.name, "version": env!("CARGO_PKG_VERSION") },
        },
        "devices": [{
            "name": "cpu",
            "type": "cpu",
            "index": null,
            "vram_total": device_total,
            "vram_free": device_free,
            "torch_vram_total": device_total,
            "torch_vram_free": device_free,
        }],
    })
}

/// `GET /features`.
pub async fn features() -> Response {
    answer::json(&sockets::features())
}

/// Lists that are always empty here.
pub async fn empty_object() -> Response {
    answer::json(&json!({}))
}

/// `GET /models`.
pub async fn models() -> Response {
    answer::json(&MODEL_FOLDERS)
}

/// `GET /models/FOLDER`.
pub async fn models_in(State(host): SharedHost, Path(folder): Path<String>) -> Response {
    match host.folders.models(&folder) {
        Some(folder) => answer::json(&folders::files_below(&folder)),
        None => answer::empty(StatusCode::NOT_FOUND),
    }
}

/// `GET /experiment/models`.
pub async fn model_folders(State(host): SharedHost) -> Response {
    let described: Vec<Value> = MODEL_FOLDERS
        .iter()
        .filter(|name| !matches!(**name, "configs" | "custom_nodes"))
        .map(|name| json!({ "name": name, "folders": host.folders.models(name) }))
        .collect();
    answer::json(&described)
}

/// `GET /experiment/models/FOLDER`.
pub async fn model_files(State(host): SharedHost, Path(folder): Path<String>) -> Response {
    match host.folders.models(&folder) {
        Some(folder) => {
            let described: Vec<Value> = folders::files_below(&folder)
                .iter()
                .map(|name| {
                    let size = fs::metadata(folder.join(name)).map_or(0, |file| file.len());
                    json!({ "name": name, "pathIndex": 0, "size": size })
                })
                .collect();
            answer::json(&described)
        }
        None => answer::empty(StatusCode::NOT_FOUND),
    }
}

/// `GET /embeddings`: names without extension.
pub async fn embeddings(State(host): SharedHost) -> Response {
    let names: Vec<String> = host
        .folders
        .models("embeddings")
        .map(|folder| folders::files_below(&folder))
        .unwrap_or_default()
        .iter()
        .map(|name| {
            name.rsplit_once('.')
                .map_or(name.as_str(), |(stem, _)| stem)
                .to_owned()
        })
        .collect();
    answer::json(&names)
}

/// `GET /internal/logs`.
pub async fn logs(State(host): SharedHost) -> Response {
    let lines: Vec<String> = host
        .log_lines()
        .iter()
        .map(|line| format!("{} - {}", line.stamp, line.message))
        .collect();
    answer::json(&lines.concat())
}

/// `GET /internal/logs/raw`.
pub async fn raw_logs(State(host): SharedHost) -> Response {
    let entries: Vec<Value> = host
        .log_lines()
        .iter()
        .map(|line| json!({ "t": line.stamp, "m": line.message }))
        .collect();
    answer::json(&json!({ "entries": entries, "size": { "cols": 80, "rows": 24 } }))
}

/// `PATCH /internal/logs/subscribe`: accepted; the log is read by asking for it.
pub async fn subscribe_logs(request: Request) -> Response {
    match read_json(request).await {
        Ok(Value::Object(body))
            if body.contains_key("clientId") && body.contains_key("enabled") =>
        {
            answer::empty(StatusCode::OK)
        }
        Ok(_) => answer::fault(),
        Err(response) => response,
    }
}

/// `GET /internal/folder_paths`.
pub async fn folder_paths(State(host): SharedHost) -> Response {
    let paths: Map<String, Value> = MODEL_FOLDERS
        .iter()
        .map(|name| ((*name).to_owned(), json!([host.folders.models(name)])))
        .collect();
    answer::json(&paths)
}

/// `GET /internal/files/PLACE`: newest first, hidden files left out.
pub async fn files(State(host): SharedHost, Path(place): Path<String>) -> Response {
    let Some(place) = Place::parse(&place) else {
        let error = json!({ "error": "Invalid directory type" });
        return answer::json_with(StatusCode::BAD_REQUEST, &error);
    };
    let folder = host.folders.place(place);
    let listed = tokio::task::spawn_blocking(move || {
        let mut names = folders::file_names(&folder);
        names.retain(|name| !name.starts_with('.'));
        names.sort_by_cached_key(|name| {
            let modified = fs::metadata(folder.join(name)).and_then(|file| file.modified());
            std::cmp::Reverse(modified.ok())
        });
        names
    })
    .await;
    listed.map_or_else(|_| answer::fault(), |names| answer::json(&names))
}
