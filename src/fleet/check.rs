//! One look at a server, without registering it.

use super::DeviceStatus;
use super::backend::BackendConfig;
use super::roster::{FleetError, endpoint_of};
use crate::comfy::Client;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Instant;

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackendReport {
    /// Its address without credentials.
    pub url: String,
    /// `ComfyUI`'s version, empty when it does not say.
    pub version: String,
    /// Round trip of the first request in milliseconds.
    pub latency_ms: u64,
    /// Node classes it knows.
    pub class_count: usize,
    /// Different model files its loaders list.
    pub model_count: usize,
    /// Prompts executing there.
    pub queue_running: usize,
    /// Prompts waiting there.
    pub queue_pending: usize,
    /// Main memory in all, bytes.
    pub ram_total: u64,
    /// Main memory free, bytes.
    pub ram_free: u64,
    /// Its compute devices.
    pub devices: Vec<DeviceStatus>,
}

/// Asks a server what it is, what it can do and what it is doing.
///
/// # Errors
/// [`FleetError`] says what is wrong with the configuration, or what answered instead, and what to do.
pub async fn check(config: &BackendConfig) -> Result<BackendReport, FleetError> {
    let client = Client::new(endpoint_of(config, |name| std::env::var(name).ok())?)?;
    let began = Instant::now();
    let stats = client.system_stats().await?;
    let latency_ms = began.elapsed().as_millis() as u64;
    let queue = client.queue().await?;
    let object_info = client.object_info().await?;
    let models: BTreeSet<&str> = object_info.values().flat_map(model_choices).collect();
    Ok(BackendReport {
        url: client.endpoint().to_string(),
        version: stats.comfyui_version,
        latency_ms,
        class_count: object_info.len(),
        model_count: models.len(),
        queue_running: queue.running.len(),
        queue_pending: queue.pending.len(),
        ram_total: stats.ram_total,
        ram_free: stats.ram_free,
        devices: stats
            .devices
            .into_iter()
            .map(|device| DeviceStatus {
                name: device.name,
                vram_total: device.vram_total,
                vram_free: device.vram_free,
            })
            .collect(),
    })
}

/// Choices of a class's inputs that are model files.
fn model_choices(class: &serde_json::Value) -> impl Iterator<Item = &str> {
    const EXTENSIONS: [&str; 7] = [
        ".safetensors",
        ".ckpt",
        ".pt",
        ".pth",
        ".bin",
        ".gguf",
        ".sft",
    ];
    ["required", "optional"]
        .into_iter()
        .filter_map(move |need| class.get("input")?.get(need)?.as_object())
        .flat_map(serde_json::Map::values)
        .filter_map(|spec| match (spec.get(0), spec.get(1)) {
            (Some(serde_json::Value::Array(choices)), _) => Some(choices),
            (_, Some(options)) => options.get("options")?.as_array(),
            _ => None,
        })
        .flatten()
        .filter_map(serde_json::Value::as_str)
        .filter(|choice| {
            EXTENSIONS
                .iter()
                .any(|extension| choice.ends_with(extension))
        })
}
