//! What a backend's card shows.

use crate::project::BackendId;
use serde::{Deserialize, Serialize};

/// A backend as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// The backend.
    pub backend_id: BackendId,
    /// Its name.
    pub name: String,
    /// Its address without credentials.
    pub url: String,
    /// Whether it can be used.
    pub state: BackendState,
    /// Unix time in milliseconds since when it is in that state.
    pub since_ms: u64,
    /// One sentence on why it is not online; empty otherwise.
    pub reason: String,
    /// Prompts executing there, anybody's.
    pub queue_running: u32,
    /// Prompts waiting there, anybody's.
    pub queue_pending: u32,
    /// Round trip of the last health request in milliseconds.
    pub latency_ms: u32,
    /// ComfyUI's version, empty when unknown.
    pub version: String,
    /// Its compute devices.
    pub devices: Vec<DeviceStatus>,
    /// Main memory in all, bytes.
    pub ram_total: u64,
    /// Main memory free, bytes.
    pub ram_free: u64,
    /// Whether it has the page of ComfyUI's editor; none before it was asked.
    #[serde(default)]
    pub has_editor: Option<bool>,
}

impl BackendStatus {
    /// Whether its page may be opened: it has one, or was not asked yet.
    #[must_use]
    pub fn may_have_editor(&self) -> bool {
        self.has_editor != Some(false)
    }
}

/// Whether a backend can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// Not yet reached for the first time.
    Connecting,
    /// It answers and is idle.
    Online,
    /// It answers and works.
    Busy,
    /// It answers over HTTP, but its socket is down or slow.
    Degraded,
    /// It does not answer.
    Offline,
    /// A person took it out.
    Disabled,
}

impl BackendState {
    /// Whether it answers over HTTP.
    #[must_use]
    pub fn answers(self) -> bool {
        !matches!(self, Self::Connecting | Self::Offline | Self::Disabled)
    }
}

/// A compute device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// For example `cuda:0 NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// Memory in all, bytes.
    pub vram_total: u64,
    /// Memory free, bytes.
    pub vram_free: u64,
}
