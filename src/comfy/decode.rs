//! Decoders of socket messages: pure functions on bytes, total on any input.

use super::event::{MachineLoad, NodeProgress, PictureFormat, Preview, PreviewOrigin, SocketEvent};
use super::json;
use super::limits::BINARY_HEAD_BYTES;
use super::outcome::{ExecutionError, NodeOutput};
use bytes::{Buf, Bytes};
use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use thiserror::Error;

/// Characters of an unknown message's type that are kept.
const UNKNOWN_NAME_CHARS: usize = 64;

/// Why a message cannot be read.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// It is not JSON, or not of the shape this type of message has.
    #[error("a message of the server cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A binary frame ends too early.
    #[error("a binary frame of the server ends too early: {0}")]
    Short(&'static str),
    /// A binary frame's head is larger than [`BINARY_HEAD_BYTES`].
    #[error("a binary frame of the server claims a head of {0} bytes")]
    LargeHead(u32),
    /// A binary frame's text is not UTF-8.
    #[error("a binary frame of the server is not UTF-8")]
    NotUtf8,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, rename = "data")]
    _data: IgnoredAny,
}

#[derive(Deserialize)]
struct Message<T> {
    data: T,
}

#[derive(Deserialize)]
struct WireStatus {
    #[serde(default)]
    status: Option<WireStatusInner>,
    #[serde(default)]
    sid: Option<String>,
}

#[derive(Deserialize)]
struct WireStatusInner {
    exec_info: WireExecInfo,
}

#[derive(Deserialize)]
struct WireExecInfo {
    #[serde(deserialize_with = "json::count")]
    queue_remaining: u64,
}

#[derive(Deserialize)]
struct WireMoment {
    #[serde(deserialize_with = "json::id")]
    prompt_id: String,
    #[serde(default, deserialize_with = "json::ids")]
    nodes: Vec<String>,
    #[serde(default, deserialize_with = "json::timestamp")]
    timestamp: Option<u64>,
}

#[derive(Deserialize)]
struct WireExecuting {
    node: Option<Value>,
    #[serde(default)]
    display_node: Option<Value>,
    #[serde(default)]
    prompt_id: Option<String>,
}

#[derive(Deserialize)]
struct WireProgress {
    #[serde(deserialize_with = "json::number")]
    value: f64,
    #[serde(deserialize_with = "json::number")]
    max: f64,
    #[serde(default)]
    prompt_id: Option<String>,
    #[serde(default)]
    node: Option<Value>,
}

#[derive(Deserialize)]
struct WireProgressState {
    #[serde(deserialize_with = "json::id")]
    prompt_id: String,
    nodes: IndexMap<String, NodeProgress>,
}

#[derive(Deserialize)]
struct WireExecuted {
    #[serde(deserialize_with = "json::id")]
    node: String,
    #[serde(default)]
    display_node: Option<Value>,
    #[serde(default)]
    output: Value,
    #[serde(deserialize_with = "json::id")]
    prompt_id: String,
}

#[derive(Deserialize)]
struct WireInterrupted {
    #[serde(deserialize_with = "json::id")]
    prompt_id: String,
    #[serde(default, deserialize_with = "json::id")]
    node_id: String,
    #[serde(default, deserialize_with = "json::id")]
    node_type: String,
    #[serde(default, deserialize_with = "json::ids")]
    executed: Vec<String>,
    #[serde(default, deserialize_with = "json::timestamp")]
    timestamp: Option<u64>,
}

/// Decodes a text message. One of an unknown type is [`SocketEvent::Unknown`], not an error.
///
/// # Errors
/// [`DecodeError::Json`] when it is not JSON or a known type has another shape.
pub fn decode_text(text: &[u8]) -> Result<SocketEvent, DecodeError> {
    let kind = json::parse::<Kind>(text)?.kind;
    Ok(match kind.as_str() {
        "status" => {
            let wire: WireStatus = data(text)?;
            SocketEvent::Status {
                queue_remaining: wire
                    .status
                    .map_or(0, |status| status.exec_info.queue_remaining),
                sid: wire.sid,
            }
        }
        "feature_flags" => SocketEvent::FeatureFlags(data(text)?),
        "execution_start" => {
            let wire: WireMoment = data(text)?;
            SocketEvent::ExecutionStart {
                prompt_id: wire.prompt_id,
                timestamp_ms: wire.timestamp,
            }
        }
        "execution_cached" => {
            let wire: WireMoment = data(text)?;
            SocketEvent::ExecutionCached {
                prompt_id: wire.prompt_id,
                nodes: wire.nodes,
                timestamp_ms: wire.timestamp,
            }
        }
        "execution_success" => {
            let wire: WireMoment = data(text)?;
            SocketEvent::ExecutionSuccess {
                prompt_id: wire.prompt_id,
                timestamp_ms: wire.timestamp,
            }
        }
        "executing" => {
            let wire: WireExecuting = data(text)?;
            match wire.node {
                Some(node) => SocketEvent::Executing {
                    prompt_id: wire.prompt_id,
                    node: json::text_of(&node),
                    display_node: wire.display_node.as_ref().map(json::text_of),
                },
                None => SocketEvent::Finished {
                    prompt_id: wire.prompt_id,
                },
            }
        }
        "progress" => {
            let wire: WireProgress = data(text)?;
            SocketEvent::Progress {
                prompt_id: wire.prompt_id,
                node: wire.node.as_ref().map(json::text_of),
                value: wire.value,
                max: wire.max,
            }
        }
        "progress_state" => {
            let wire: WireProgressState = data(text)?;
            SocketEvent::ProgressState {
                prompt_id: wire.prompt_id,
                nodes: wire
                    .nodes
                    .into_iter()
                    .map(|(node_id, node)| NodeProgress { node_id, ..node })
                    .collect(),
            }
        }
        "executed" => {
            let wire: WireExecuted = data(text)?;
            SocketEvent::Executed {
                prompt_id: wire.prompt_id,
                node: wire.node,
                display_node: wire.display_node.as_ref().map(json::text_of),
                output: NodeOutput::from_json(wire.output),
            }
        }
        "execution_error" => SocketEvent::ExecutionError(data::<Box<ExecutionError>>(text)?),
        "execution_interrupted" => {
            let wire: WireInterrupted = data(text)?;
            SocketEvent::ExecutionInterrupted {
                prompt_id: wire.prompt_id,
                node_id: wire.node_id,
                node_type: wire.node_type,
                executed: wire.executed,
                timestamp_ms: wire.timestamp,
            }
        }
        "crystools.monitor" => SocketEvent::Monitor(data::<MachineLoad>(text)?),
        other => unknown(other),
    })
}

/// Decodes a binary frame. One of an unknown event number is [`SocketEvent::Unknown`], not an error.
///
/// Big-endian: u32 event; 1 and 2: u32 picture type (1 JPEG, 2 PNG), picture; 3: u32 n, n bytes node id, text; 4: u32 n,
/// n bytes JSON with the origin, picture. Event 2 exists only in ComfyUI's source and has the form of 1.
///
/// # Errors
/// Whatever [`DecodeError`] says, for frames that break these rules.
pub fn decode_binary(frame: Bytes) -> Result<SocketEvent, DecodeError> {
    let mut rest = frame;
    let event = rest
        .try_get_u32()
        .map_err(|_| DecodeError::Short("no event number"))?;
    Ok(match event {
        1 | 2 => {
            let format = match rest
                .try_get_u32()
                .map_err(|_| DecodeError::Short("no picture type"))?
            {
                1 => PictureFormat::Jpeg,
                2 => PictureFormat::Png,
                _ => PictureFormat::Other,
            };
            SocketEvent::Preview(Preview {
                format,
                picture: rest,
                origin: None,
            })
        }
        3 => {
            let node_id = take_head(&mut rest)?;
            SocketEvent::Text {
                node_id: utf8(&node_id)?,
                text: utf8(&rest)?,
            }
        }
        4 => {
            #[derive(Deserialize)]
            struct Head {
                #[serde(default, deserialize_with = "json::id")]
                image_type: String,
                #[serde(flatten)]
                origin: PreviewOrigin,
            }
            let head: Head = json::parse(&take_head(&mut rest)?)?;
            SocketEvent::Preview(Preview {
                format: match head.image_type.as_str() {
                    "image/jpeg" => PictureFormat::Jpeg,
                    "image/png" => PictureFormat::Png,
                    _ => PictureFormat::Other,
                },
                picture: rest,
                origin: Some(head.origin),
            })
        }
        other => unknown(&format!("binary {other}")),
    })
}

fn data<T: DeserializeOwned>(text: &[u8]) -> Result<T, DecodeError> {
    Ok(json::parse::<Message<T>>(text)?.data)
}

fn unknown(name: &str) -> SocketEvent {
    SocketEvent::Unknown {
        name: name.chars().take(UNKNOWN_NAME_CHARS).collect(),
    }
}

/// Takes a length and as many bytes off the front.
fn take_head(rest: &mut Bytes) -> Result<Bytes, DecodeError> {
    let length = rest
        .try_get_u32()
        .map_err(|_| DecodeError::Short("no head length"))?;
    if length as usize > BINARY_HEAD_BYTES {
        return Err(DecodeError::LargeHead(length));
    }
    if length as usize > rest.len() {
        return Err(DecodeError::Short("less than its head"));
    }
    Ok(rest.split_to(length as usize))
}

fn utf8(bytes: &[u8]) -> Result<String, DecodeError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::NotUtf8)
}
