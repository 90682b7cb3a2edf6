//! The ComfyUI protocol: a typed HTTP client, the event socket, and what their answers mean.
//!
//! Wire types are private to this room; what leaves it are plain domain types. Protocol facts are those observed on
//! ComfyUI 0.8.0. Everything a server says is untrusted: sizes, times and counts are limited by [`limits`].
//!
//! * [`Client`]: one server's HTTP side. Cheap to clone.
//! * [`events::connect`]: one server's event socket, with reconnection.
//! * [`watch::reconcile`]: what became of a prompt, asked over HTTP, for when the socket was silent.
//! * [`decode`]: the pure decoders of socket messages, for benches and fuzzers.

mod client;
pub mod decode;
mod endpoint;
mod error;
mod event;
pub mod events;
mod json;
pub mod limits;
mod outcome;
mod rejection;
pub mod watch;

pub use client::{
    Client, Download, ExtraData, Features, FileState, FolderType, ForwardedSocket, Job, JobState,
    PreviewMethod, Queue, QueueItem, QueuePosition, StoredFile, SubmitRequest, Submitted,
    SystemDevice, SystemStats, Upload, UploadContent, UserFile, UserFileWrite, is_passed_on,
};
pub use endpoint::Endpoint;
pub use error::ComfyError;
pub use event::{
    GpuLoad, MachineLoad, NodeProgress, NodeProgressState, PictureFormat, Preview, PreviewOrigin,
    SocketEvent,
};
pub use outcome::{ExecutionError, HistoryEntry, MediaKind, NodeOutput, Outcome, OutputFile};
pub use rejection::{
    InputError, InputErrorKind, NodeError, NodeErrors, PromptRejection, RejectionKind,
};
