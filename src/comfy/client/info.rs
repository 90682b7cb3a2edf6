//! What a server is and has.

use super::{Client, ComfyError, json, limits};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A server's machine, from `/system_stats`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SystemStats {
    /// ComfyUI's version; empty on versions that do not say.
    pub comfyui_version: String,
    /// Operating system as Python names it (`posix`, `nt`, `linux`, …).
    pub os: String,
    /// Python's version line.
    pub python_version: String,
    /// PyTorch's version.
    pub pytorch_version: String,
    /// Main memory in all, bytes; 0 when not said.
    pub ram_total: u64,
    /// Main memory free, bytes.
    pub ram_free: u64,
    /// How it was started.
    pub argv: Vec<String>,
    /// Its compute devices.
    pub devices: Vec<SystemDevice>,
}

/// A compute device.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct SystemDevice {
    /// For example `cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync`, or `cpu`.
    #[serde(default, deserialize_with = "json::id")]
    pub name: String,
    /// For example `cuda`, `mps`, `cpu`.
    #[serde(default, rename = "type", deserialize_with = "json::id")]
    pub device_type: String,
    /// Its number; none for the CPU.
    #[serde(default)]
    pub index: Option<i64>,
    /// Memory in all, bytes; for the CPU that is main memory.
    #[serde(default, deserialize_with = "json::count")]
    pub vram_total: u64,
    /// Memory free, bytes.
    #[serde(default, deserialize_with = "json::count")]
    pub vram_free: u64,
}

/// What a server can do, from `/features` or the socket's greeting.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Features {
    /// Whether previews can come with their node and prompt.
    #[serde(default)]
    pub supports_preview_metadata: bool,
    /// Largest upload in bytes (ComfyUI's default is 100 MiB); none when not said.
    #[serde(
        default,
        rename = "max_upload_size",
        deserialize_with = "json::timestamp"
    )]
    pub max_upload_bytes: Option<u64>,
    /// Everything else it says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[derive(Deserialize)]
struct WireStats {
    system: WireSystem,
    #[serde(default, deserialize_with = "json::or_default")]
    devices: Vec<SystemDevice>,
}

#[derive(Deserialize)]
struct WireSystem {
    #[serde(default, deserialize_with = "json::id")]
    comfyui_version: String,
    #[serde(default, deserialize_with = "json::id")]
    os: String,
    #[serde(default, deserialize_with = "json::id")]
    python_version: String,
    #[serde(default, deserialize_with = "json::id")]
    pytorch_version: String,
    #[serde(default, deserialize_with = "json::count")]
    ram_total: u64,
    #[serde(default, deserialize_with = "json::count")]
    ram_free: u64,
    #[serde(default, deserialize_with = "json::ids")]
    argv: Vec<String>,
}

impl Client {
    /// The server's machine. This is also the question that tells a ComfyUI from another web server.
    ///
    /// # Errors
    /// [`ComfyError::NotComfyUi`] when something else answers.
    pub async fn system_stats(&self) -> Result<SystemStats, ComfyError> {
        let wire: WireStats = match self.json(self.get(&["system_stats"])).await {
            // JSON of another shape on this page is another program, not another version.
            Err(ComfyError::Malformed { url, request, .. }) => {
                return Err(ComfyError::NotComfyUi {
                    url,
                    request,
                    found: "JSON of another program".to_owned(),
                });
            }
            other => other?,
        };
        Ok(SystemStats {
            comfyui_version: wire.system.comfyui_version,
            os: wire.system.os,
            python_version: wire.system.python_version,
            pytorch_version: wire.system.pytorch_version,
            ram_total: wire.system.ram_total,
            ram_free: wire.system.ram_free,
            argv: wire.system.argv,
            devices: wire.devices,
        })
    }

    /// Whether the server has a page at its address. A refusal that is no "not found" may be a login in front of one.
    pub async fn has_editor(&self) -> Result<bool, ComfyError> {
        let answer = self.send_any(self.get(&[""])).await?;
        Ok(!matches!(answer.status().as_u16(), 404 | 405 | 501))
    }

    /// What the server can do; nothing for versions that have no such page.
    pub async fn features(&self) -> Result<Features, ComfyError> {
        match self.json(self.get(&["features"])).await {
            Err(ComfyError::Status {
                status: 404 | 405, ..
            }) => Ok(Features::default()),
            other => other,
        }
    }

    /// The description of every node class, as the server says it: an object, class → description. Some 0.6 MB and 580
    /// classes on a stock server, more with custom nodes.
    pub async fn object_info(&self) -> Result<Map<String, Value>, ComfyError> {
        let mut request = self.get(&["object_info"]);
        request.timeout = limits::OBJECT_INFO_TIMEOUT;
        request.limit_bytes = limits::OBJECT_INFO_BODY_BYTES;
        self.json(request).await
    }

    /// The description of one node class; none when the server does not have it (it answers 200 and `{}` then).
    pub async fn object_info_of(&self, class_type: &str) -> Result<Option<Value>, ComfyError> {
        let mut request = self.get(&["object_info", class_type]);
        request.timeout = limits::OBJECT_INFO_TIMEOUT;
        request.limit_bytes = limits::OBJECT_INFO_BODY_BYTES;
        let mut classes: Map<String, Value> = self.json(request).await?;
        Ok(classes.swap_remove(class_type))
    }

    /// The kinds of models it knows: `checkpoints`, `loras`, …
    pub async fn model_folders(&self) -> Result<Vec<String>, ComfyError> {
        self.json(self.get(&["models"])).await
    }

    /// The models of one kind, as loaders name them (with the server's own path separators).
    ///
    /// # Errors
    /// [`ComfyError::Missing`] for a kind it does not know.
    pub async fn models(&self, folder: &str) -> Result<Vec<String>, ComfyError> {
        self.json(self.get(&["models", folder]))
            .await
            .map_err(|error| self.missing(error, || format!("model folder {folder}")))
    }

    /// The sizes in bytes of the models of one kind, by the names of loaders. Nothing for kinds the server does not know, and
    /// on versions that have no such page (it is an experiment of `ComfyUI`'s) or do not tell sizes on it.
    pub async fn model_sizes(&self, folder: &str) -> Result<Vec<(String, u64)>, ComfyError> {
        #[derive(Deserialize)]
        struct ModelFile {
            #[serde(default, deserialize_with = "json::id")]
            name: String,
            #[serde(default, deserialize_with = "json::count")]
            size: u64,
        }
        let files: Vec<ModelFile> =
            match self.json(self.get(&["experiment", "models", folder])).await {
                Err(ComfyError::Status {
                    status: 404 | 405, ..
                }) => Vec::new(),
                other => other?,
            };
        Ok(files
            .into_iter()
            .filter(|file| file.size > 0)
            .map(|file| (file.name, file.size))
            .collect())
    }

    /// Unloads models and frees cached memory before the next prompt.
    pub async fn free(&self, unload_models: bool, free_memory: bool) -> Result<(), ComfyError> {
        self.send_only(self.post(
            &["free"],
            &serde_json::json!({ "unload_models": unload_models, "free_memory": free_memory }),
        ))
        .await
    }
}
