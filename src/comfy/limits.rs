//! How much and how long a server may take. Figures are ours unless a source is named.

use std::time::Duration;

/// Largest answer to a small question (`/system_stats`, `/features`, an upload's name): 4 MiB.
pub const SMALL_BODY_BYTES: u64 = 4 << 20;
/// Largest `/history/ID` or job: 64 MiB. It repeats the prompt and the editor's workflow.
pub const HISTORY_BODY_BYTES: u64 = 64 << 20;
/// Largest `/queue`: 256 MiB. It repeats prompt and workflow of everything that waits.
pub const QUEUE_BODY_BYTES: u64 = 256 << 20;
/// Largest `/object_info`: 64 MiB. Stock 0.8.0 sends 0.6 MB; large installations some 10 MB.
pub const OBJECT_INFO_BODY_BYTES: u64 = 64 << 20;
/// Largest user file: 64 MiB.
pub const USER_FILE_BYTES: u64 = 64 << 20;
/// As much of an error's body as is read: 1 MiB. `node_errors` of a large prompt fit.
pub const ERROR_BODY_BYTES: u64 = 1 << 20;
/// Characters of a body that an error message quotes.
pub const EXCERPT_CHARS: usize = 300;
/// Longest `ETag` that is remembered; a longer one counts as none. aiohttp's have about 25 bytes.
pub const ETAG_BYTES: usize = 200;
/// From this size on an upload asks `/features` for the server's limit first: 16 MiB.
pub const CHECK_UPLOAD_LIMIT_BYTES: u64 = 16 << 20;

/// To connect, with TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A small question, from connecting to the last byte.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// `POST /prompt`: validation reads model folders, which may lie on a network share.
pub const SUBMIT_TIMEOUT: Duration = Duration::from_mins(1);
/// `/object_info`: custom nodes scan folders to answer.
pub const OBJECT_INFO_TIMEOUT: Duration = Duration::from_mins(1);
/// A download may be silent for so long between two chunks.
pub const CHUNK_TIMEOUT: Duration = Duration::from_mins(1);
/// An upload may take so long, plus its size at [`SLOWEST_UPLOAD_BYTES_PER_S`].
pub const UPLOAD_TIMEOUT: Duration = Duration::from_mins(1);
/// Slower than this an upload counts as stuck: 100 kB/s.
pub const SLOWEST_UPLOAD_BYTES_PER_S: u64 = 100_000;

/// Largest socket message: 64 MiB (a full-size PNG of `SaveImageWebsocket`).
pub const SOCKET_MESSAGE_BYTES: usize = 64 << 20;
/// Largest JSON head of a binary frame: 64 KiB (about 170 bytes are usual).
pub const BINARY_HEAD_BYTES: usize = 64 << 10;
/// Events a receiver may lag behind. Progress and previews beyond it are dropped, other events wait.
pub const EVENT_CAPACITY: usize = 1024;
