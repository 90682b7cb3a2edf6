//! What a built-in backend is told when it starts.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// The settings of one built-in backend.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens; port 0 takes a free port, see [`Server::local_addr`](super::Server::local_addr).
    pub address: SocketAddr,
    /// The folder that holds `input`, `output`, `temp`, `user` and `models`. Nothing is written outside it. `temp` is
    /// emptied at start, as ComfyUI does.
    pub data_dir: PathBuf,
    /// The name shown in `/system_stats`.
    pub name: String,
    /// How much longer each progress step takes than its computation, and each node that has no steps. It makes
    /// servers of different speed out of one CPU; zero is full speed.
    pub step_delay: Duration,
    /// How much memory it says its device has, in bytes, to stand for a larger or smaller machine; the computer's own when
    /// none.
    pub device_memory_bytes: Option<u64>,
    /// A file to which the id of every prompt that is POSTed is appended, one per line: what a test asks when the server is
    /// killed and forgets everything else.
    pub posts_file: Option<PathBuf>,
    /// The static files of the ComfyUI frontend, served at `/`.
    pub frontend_dir: Option<PathBuf>,
}

impl ServerOptions {
    /// Full speed, a free loopback port, no frontend.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: data_dir.into(),
            name: "builtin".to_owned(),
            step_delay: Duration::ZERO,
            device_memory_bytes: None,
            posts_file: None,
            frontend_dir: None,
        }
    }
}
