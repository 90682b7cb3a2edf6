//! One look at a backend, without registering it.

use super::DeviceStatus;
use super::backend::BackendConfig;
use super::roster::{FleetError, endpoint_of};
use crate::comfy::Client;
use crate::workflow::{ModelSizes, ObjectInfo};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What a backend says of itself.
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

/// Asks a backend what it is, what it can do and what it is doing.
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

/// What a backend can run, asked for once.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Its node classes.
    pub object_info: ObjectInfo,
    /// The sizes of its model files, where it tells them.
    pub model_sizes: ModelSizes,
    /// Memory of its largest device in bytes; none when it says nothing of devices.
    pub largest_device_bytes: Option<u64>,
}

/// The kinds of models whose files make up nearly all of what is loaded (`folder_paths.py` of `ComfyUI`).
const MODEL_FOLDERS: [&str; 12] = [
    "checkpoints",
    "diffusion_models",
    "text_encoders",
    "vae",
    "loras",
    "controlnet",
    "clip_vision",
    "style_models",
    "upscale_models",
    "model_patches",
    "audio_encoders",
    "latent_upscale_models",
];

/// How long a backend is asked for the sizes of its models: it looks at every file, perhaps over a network.
const SIZES_TIMEOUT: Duration = Duration::from_mins(1);

/// The sizes of a backend's models, as far as it tells them. They are only good to know, so no failure is told. Of two files
/// with one name in different folders the smaller counts: nobody says which is meant.
pub(super) async fn model_sizes(client: &Client) -> ModelSizes {
    let mut sizes = ModelSizes::new();
    let read = async {
        for folder in MODEL_FOLDERS {
            for (name, byte_len) in client.model_sizes(folder).await.unwrap_or_default() {
                sizes
                    .entry(name.replace('\\', "/"))
                    .and_modify(|known| *known = byte_len.min(*known))
                    .or_insert(byte_len);
            }
        }
    };
    // What was told until then is better than nothing.
    tokio::time::timeout(SIZES_TIMEOUT, read).await.ok();
    sizes
}

/// Asks a backend for its node classes and for the sizes of its models.
///
/// # Errors
/// [`FleetError`] says what answered instead, or why it cannot be asked.
pub async fn capabilities(config: &BackendConfig) -> Result<Capabilities, FleetError> {
    // Environment variables are read here, at the edge.
    let endpoint = endpoint_of(config, |name| std::env::var(name).ok())?;
    let client = Client::new(endpoint)?;
    let stats = client.system_stats().await?;
    let classes = client.object_info().await?;
    let model_sizes = model_sizes(&client).await;
    let largest_device_bytes = stats.devices.iter().map(|device| device.vram_total).max();
    Ok(Capabilities {
        // Always an object, so this cannot fail.
        object_info: ObjectInfo::from_json(&Value::Object(classes)).unwrap_or_default(),
        model_sizes,
        largest_device_bytes,
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
