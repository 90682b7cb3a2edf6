//! What became of a prompt: the history entry, outputs and errors.

use super::client::{FolderType, QueueItem, StoredFile};
use super::json;
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

/// A finished prompt, from `/history/ID`.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// What was queued.
    pub item: QueueItem,
    /// How it ended.
    pub outcome: Outcome,
    /// Node id → what it gave, in the server's order. Also after a failure: what was done before it is kept.
    pub outputs: IndexMap<String, NodeOutput>,
    /// Nodes whose result came from the server's cache. Then the files are old ones and may be gone (404).
    pub cached_nodes: Vec<String>,
    /// When execution began, Unix milliseconds by the server's clock.
    pub started_ms: Option<u64>,
    /// When it ended, Unix milliseconds by the server's clock.
    pub ended_ms: Option<u64>,
}

impl HistoryEntry {
    /// Output nodes that gave nothing, as after an `ExecutionBlocker` (which history does not mention) or for nodes that
    /// give their result by the socket only.
    pub fn silent_output_nodes(&self) -> impl Iterator<Item = &str> {
        self.item
            .output_nodes
            .iter()
            .map(String::as_str)
            .filter(|node| !self.outputs.contains_key(*node))
    }
}

/// How a prompt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Every node ran, or was blocked on purpose.
    Success,
    /// A node raised an error.
    Failed(Box<ExecutionError>),
    /// Somebody interrupted it. The node may be the one after the one that was running.
    Interrupted {
        /// The node named by the server; may be empty.
        node_id: String,
        /// Its class.
        node_type: String,
    },
}

/// A node's error.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ExecutionError {
    /// The prompt.
    #[serde(default, deserialize_with = "json::id")]
    pub prompt_id: String,
    /// The node; inside a subgraph an id like `1.0.0.1`.
    #[serde(default, deserialize_with = "json::id")]
    pub node_id: String,
    /// Its class.
    #[serde(default, deserialize_with = "json::id")]
    pub node_type: String,
    /// The Python exception's class, for example `torch.OutOfMemoryError`.
    #[serde(default, deserialize_with = "json::id")]
    pub exception_type: String,
    /// Its message; ends in a line break.
    #[serde(default, deserialize_with = "json::id")]
    pub exception_message: String,
    /// Python's traceback; empty when blocked.
    #[serde(default, deserialize_with = "json::ids")]
    pub traceback: Vec<String>,
    /// Nodes done before.
    #[serde(default, deserialize_with = "json::ids")]
    pub executed: Vec<String>,
    /// The node's inputs as the server prints them: an object, or an empty list when blocked.
    #[serde(default)]
    pub current_inputs: Value,
    /// Nodes whose results exist.
    #[serde(default, deserialize_with = "json::ids")]
    pub current_outputs: Vec<String>,
    /// Unix milliseconds by the server's clock; absent when blocked.
    #[serde(default, rename = "timestamp", deserialize_with = "json::timestamp")]
    pub timestamp_ms: Option<u64>,
}

impl ExecutionError {
    /// Whether this is an `ExecutionBlocker` with a message: the prompt goes on and ends as a success.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.exception_type == "ExecutionBlocked"
    }

    /// Whether the device ran out of memory.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        let kind = self.exception_type.to_ascii_lowercase();
        kind.contains("outofmemory")
            || kind.contains("memoryerror")
            || self.exception_message.contains("CUDA out of memory")
    }
}

/// What a node gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeOutput {
    /// Files, in order, from every list of files (`images`, `gifs`, `audio`, `video`, …).
    pub files: Vec<OutputFile>,
    /// Texts, in order.
    pub text: Vec<String>,
    /// What the server marks as animated, in its order; videos come under `images` with this mark.
    pub animated: Vec<bool>,
    /// Everything else it said, as it said it.
    pub other: IndexMap<String, Value>,
}

/// One file of an output. Names come from the server: never use them as a local path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Where it lies on the server.
    pub file: StoredFile,
    /// The list it was in: `images`, `gifs`, `audio`, …
    pub list: String,
    /// What it is, by its extension.
    pub kind: MediaKind,
    /// Whether the server marks it as animated.
    pub animated: bool,
}

/// What a file is, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A picture, perhaps an animated one.
    Image,
    /// A video.
    Video,
    /// Sound.
    Audio,
    /// A latent.
    Latent,
    /// A 3D model.
    Model3d,
    /// Text or data.
    Text,
    /// Something else.
    Other,
}

impl MediaKind {
    /// By the extension of a file name; upper and lower case are the same.
    #[must_use]
    pub fn of_name(filename: &str) -> Self {
        let extension = filename
            .rsplit_once('.')
            .map(|(_, extension)| extension.to_ascii_lowercase())
            .unwrap_or_default();
        match extension.as_str() {
            "png" | "jpg" | "jpeg" | "webp" | "gif" | "apng" | "bmp" | "tif" | "tiff" | "avif"
            | "exr" | "svg" => Self::Image,
            "mp4" | "webm" | "mov" | "mkv" | "avi" | "m4v" => Self::Video,
            "flac" | "mp3" | "opus" | "wav" | "ogg" | "m4a" | "aac" => Self::Audio,
            "latent" => Self::Latent,
            "glb" | "gltf" | "obj" | "fbx" | "stl" | "ply" | "usdz" | "splat" | "spz"
            | "ksplat" => Self::Model3d,
            "txt" | "json" | "csv" | "md" | "srt" => Self::Text,
            _ => Self::Other,
        }
    }
}

impl NodeOutput {
    /// Reads an output object. What is not understood is kept in [`Self::other`].
    pub(super) fn from_json(output: Value) -> Self {
        let mut read = Self::default();
        let Value::Object(lists) = output else {
            return read;
        };
        read.animated = lists
            .get("animated")
            .and_then(Value::as_array)
            .map(|marks| marks.iter().filter_map(Value::as_bool).collect())
            .unwrap_or_default();
        for (list, value) in lists {
            match value {
                Value::Array(elements)
                    if elements
                        .iter()
                        .any(|element| element.get("filename").is_some()) =>
                {
                    for (position, element) in elements.iter().enumerate() {
                        let Some(file) = stored_file(element) else {
                            continue;
                        };
                        read.files.push(OutputFile {
                            kind: MediaKind::of_name(&file.filename),
                            // One mark may stand for all files of the list.
                            animated: list == "images"
                                && read
                                    .animated
                                    .get(position)
                                    .or(read.animated.first())
                                    .copied()
                                    .unwrap_or(false),
                            list: list.clone(),
                            file,
                        });
                    }
                }
                Value::Array(elements) if list == "text" || list == "string" => {
                    read.text.extend(elements.iter().map(json::text_of));
                }
                Value::String(text) if list == "text" => read.text.push(text),
                _ if list == "animated" => {}
                other => {
                    read.other.insert(list, other);
                }
            }
        }
        read
    }
}

/// A file as ComfyUI names it; none without a name. A missing folder type is `output`, as the ComfyUI frontend takes it.
pub(super) fn stored_file(value: &Value) -> Option<StoredFile> {
    Some(StoredFile {
        filename: value.get("filename")?.as_str()?.to_owned(),
        subfolder: json::member(value, "subfolder"),
        folder: FolderType::parse(&json::member(value, "type")).unwrap_or(FolderType::Output),
    })
}

/// A history entry as it is on the wire.
#[derive(Deserialize)]
pub(super) struct WireHistoryEntry {
    prompt: QueueItem,
    #[serde(default, deserialize_with = "json::or_default")]
    outputs: IndexMap<String, Value>,
    #[serde(default)]
    status: Option<WireStatus>,
}

#[derive(Deserialize)]
struct WireStatus {
    #[serde(default)]
    status_str: String,
    #[serde(default, deserialize_with = "json::or_default")]
    messages: Vec<(String, Value)>,
}

impl From<WireHistoryEntry> for HistoryEntry {
    fn from(wire: WireHistoryEntry) -> Self {
        let mut cached_nodes = Vec::new();
        let mut started_ms = None;
        let mut ended_ms = None;
        let mut ended_badly = None;
        let (status, messages) = wire
            .status
            .map(|status| (status.status_str, status.messages))
            .unwrap_or_default();
        for (event, data) in messages {
            let at_ms = data.get("timestamp").and_then(Value::as_u64);
            match event.as_str() {
                "execution_start" => started_ms = at_ms,
                "execution_cached" => {
                    cached_nodes = data
                        .get("nodes")
                        .and_then(Value::as_array)
                        .map(|nodes| nodes.iter().map(json::text_of).collect())
                        .unwrap_or_default();
                }
                "execution_success" => ended_ms = at_ms,
                "execution_interrupted" => {
                    ended_ms = at_ms;
                    ended_badly = Some(Outcome::Interrupted {
                        node_id: json::member(&data, "node_id"),
                        node_type: json::member(&data, "node_type"),
                    });
                }
                "execution_error" => {
                    ended_ms = at_ms;
                    ended_badly = Some(Outcome::Failed(
                        serde_json::from_value(data).unwrap_or_default(),
                    ));
                }
                _ => {}
            }
        }
        // The status decides: a prompt with a blocked node is a success whatever was said on the way. Servers too old to
        // write a status write history for successes only.
        let outcome = if status == "error" {
            ended_badly.unwrap_or_else(|| {
                Outcome::Failed(Box::new(ExecutionError {
                    exception_message: "the server reports an error without saying which"
                        .to_owned(),
                    ..ExecutionError::default()
                }))
            })
        } else {
            Outcome::Success
        };
        Self {
            item: wire.prompt,
            outcome,
            outputs: wire
                .outputs
                .into_iter()
                .map(|(node, output)| (node, NodeOutput::from_json(output)))
                .collect(),
            cached_nodes,
            started_ms,
            ended_ms,
        }
    }
}
