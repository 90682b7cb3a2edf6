//! What a server tells over its socket.

use super::client::Features;
use super::json;
use super::outcome::{ExecutionError, NodeOutput};
use bytes::Bytes;
use serde::Deserialize;

/// One message of the socket.
#[derive(Clone, Debug, PartialEq)]
pub enum SocketEvent {
    /// The queue changed, anybody's. The first message of each connection is one, with our client id.
    Status {
        /// Prompts that run and wait.
        queue_remaining: u64,
        /// The connection's id; only in the first one.
        sid: Option<String>,
    },
    /// What the server can do: the answer to our own feature flags.
    FeatureFlags(Features),
    /// A prompt begins.
    ExecutionStart {
        /// The prompt.
        prompt_id: String,
        /// Unix milliseconds by the server's clock.
        timestamp_ms: Option<u64>,
    },
    /// These nodes need not run. Always sent, also empty.
    ExecutionCached {
        /// The prompt.
        prompt_id: String,
        /// The nodes.
        nodes: Vec<String>,
        /// Unix milliseconds by the server's clock.
        timestamp_ms: Option<u64>,
    },
    /// A node begins. Several may run at once.
    Executing {
        /// The prompt; absent in the message that follows a reconnect.
        prompt_id: Option<String>,
        /// The node; inside a subgraph an id like `1.0.0.1`.
        node: String,
        /// The node of the prompt it belongs to; absent as above.
        display_node: Option<String>,
    },
    /// The prompt is over, however it ended, and its history is written: the one safe end mark.
    Finished {
        /// The prompt.
        prompt_id: Option<String>,
    },
    /// A node's progress.
    Progress {
        /// The prompt.
        prompt_id: Option<String>,
        /// The node.
        node: Option<String>,
        /// Steps done.
        value: f64,
        /// Steps in all.
        max: f64,
    },
    /// Progress of every node that is not pending; sent again and again. Cached nodes without outputs are not in it.
    ProgressState {
        /// The prompt.
        prompt_id: String,
        /// The nodes.
        nodes: Vec<NodeProgress>,
    },
    /// An output node gave something. For cached ones this comes without [`Self::Executing`].
    Executed {
        /// The prompt.
        prompt_id: String,
        /// The node.
        node: String,
        /// The node of the prompt it belongs to.
        display_node: Option<String>,
        /// What it gave.
        output: NodeOutput,
    },
    /// The prompt succeeded. Its history may not be written yet: wait for [`Self::Finished`].
    ExecutionSuccess {
        /// The prompt.
        prompt_id: String,
        /// Unix milliseconds by the server's clock.
        timestamp_ms: Option<u64>,
    },
    /// A node raised an error; or, if [`ExecutionError::is_blocked`], was blocked, and the prompt goes on.
    ExecutionError(Box<ExecutionError>),
    /// Somebody interrupted the prompt.
    ExecutionInterrupted {
        /// The prompt.
        prompt_id: String,
        /// The node, perhaps the one after the one that ran.
        node_id: String,
        /// Its class.
        node_type: String,
        /// Nodes done before.
        executed: Vec<String>,
        /// Unix milliseconds by the server's clock.
        timestamp_ms: Option<u64>,
    },
    /// A preview picture, or a result of `SaveImageWebsocket`.
    Preview(Preview),
    /// Text for a node.
    Text {
        /// The node.
        node_id: String,
        /// The text.
        text: String,
    },
    /// The machine's load, from the Crystools custom node.
    Monitor(MachineLoad),
    /// A message this program does not know (custom nodes send their own). Safe to ignore.
    Unknown {
        /// Its type, at most 64 characters of it.
        name: String,
    },
}

impl SocketEvent {
    /// The prompt it is about, if it says so.
    #[must_use]
    pub fn prompt_id(&self) -> Option<&str> {
        match self {
            Self::ExecutionStart { prompt_id, .. }
            | Self::ExecutionCached { prompt_id, .. }
            | Self::ProgressState { prompt_id, .. }
            | Self::Executed { prompt_id, .. }
            | Self::ExecutionSuccess { prompt_id, .. }
            | Self::ExecutionInterrupted { prompt_id, .. } => Some(prompt_id),
            Self::Executing { prompt_id, .. }
            | Self::Finished { prompt_id }
            | Self::Progress { prompt_id, .. } => prompt_id.as_deref(),
            Self::ExecutionError(error) => Some(&error.prompt_id),
            Self::Preview(preview) => preview
                .origin
                .as_ref()
                .map(|origin| origin.prompt_id.as_str()),
            Self::Status { .. }
            | Self::FeatureFlags(_)
            | Self::Text { .. }
            | Self::Monitor(_)
            | Self::Unknown { .. } => None,
        }
    }

    /// Whether a later one makes up for a lost one: such events are dropped when the receiver lags.
    #[must_use]
    pub fn is_superseded_by_next(&self) -> bool {
        matches!(
            self,
            Self::Progress { .. }
                | Self::ProgressState { .. }
                | Self::Monitor(_)
                | Self::Unknown { .. }
        ) || matches!(self, Self::Preview(preview) if preview.format == PictureFormat::Jpeg)
    }
}

/// Progress of one node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NodeProgress {
    /// The node; inside a subgraph an id like `1.0.0.1`.
    #[serde(default, deserialize_with = "json::id")]
    pub node_id: String,
    /// The node of the prompt it belongs to.
    #[serde(default, deserialize_with = "json::id")]
    pub display_node_id: String,
    /// The node that made it, inside a subgraph.
    #[serde(default)]
    pub parent_node_id: Option<String>,
    /// The node it stands for.
    #[serde(default, deserialize_with = "json::id")]
    pub real_node_id: String,
    /// Steps done.
    #[serde(default, deserialize_with = "json::number")]
    pub value: f64,
    /// Steps in all.
    #[serde(default, deserialize_with = "json::number")]
    pub max: f64,
    /// Where it is.
    pub state: NodeProgressState,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeProgressState {
    /// It waits.
    Pending,
    /// It runs; a failed node stays here.
    Running,
    /// It is done.
    Finished,
    /// It failed.
    Error,
    /// A state this program does not know.
    #[serde(other)]
    Other,
}

/// A picture from the socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// What kind of file it is.
    pub format: PictureFormat,
    /// The file. Untrusted: decode with limits.
    pub picture: Bytes,
    /// Whose it is; none from servers, and for prompts, without preview metadata.
    pub origin: Option<PreviewOrigin>,
}

/// What kind of file a preview is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// JPEG: previews.
    Jpeg,
    /// PNG: previews on request, results of `SaveImageWebsocket`.
    Png,
    /// Something else.
    Other,
}

/// Whose a preview is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PreviewOrigin {
    /// The prompt.
    #[serde(default, deserialize_with = "json::id")]
    pub prompt_id: String,
    /// The node; inside a subgraph an id like `1.0.0.1`.
    #[serde(default, deserialize_with = "json::id")]
    pub node_id: String,
    /// The node of the prompt it belongs to.
    #[serde(default, deserialize_with = "json::id")]
    pub display_node_id: String,
    /// The node that made it, inside a subgraph.
    #[serde(default)]
    pub parent_node_id: Option<String>,
    /// The node it stands for.
    #[serde(default, deserialize_with = "json::id")]
    pub real_node_id: String,
}

/// A machine's load, as the Crystools custom node sends it. Percentages are 0 to 100, sizes bytes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct MachineLoad {
    /// CPU.
    #[serde(default, rename = "cpu_utilization", deserialize_with = "json::number")]
    pub cpu_percent: f64,
    /// Main memory in all.
    #[serde(default, deserialize_with = "json::count")]
    pub ram_total: u64,
    /// Main memory used.
    #[serde(default, deserialize_with = "json::count")]
    pub ram_used: u64,
    /// Disk in all.
    #[serde(default, rename = "hdd_total", deserialize_with = "json::count")]
    pub disk_total: u64,
    /// Disk used.
    #[serde(default, rename = "hdd_used", deserialize_with = "json::count")]
    pub disk_used: u64,
    /// Graphics cards.
    #[serde(default, deserialize_with = "json::or_default")]
    pub gpus: Vec<GpuLoad>,
}

/// A graphics card's load.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct GpuLoad {
    /// How busy it is; -1 when it does not say.
    #[serde(default, rename = "gpu_utilization", deserialize_with = "json::number")]
    pub gpu_percent: f64,
    /// Temperature in °C; -1 when it does not say.
    #[serde(default, rename = "gpu_temperature", deserialize_with = "json::number")]
    pub temperature_c: f64,
    /// Memory in all.
    #[serde(default, deserialize_with = "json::count")]
    pub vram_total: u64,
    /// Memory used.
    #[serde(default, deserialize_with = "json::count")]
    pub vram_used: u64,
}
