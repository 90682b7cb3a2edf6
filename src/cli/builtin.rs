//! `builtin`: the built-in backend, a server that speaks the ComfyUI protocol, with real image nodes on the CPU.

use crate::builtin::{Server, ServerOptions};
use anyhow::Context as _;
use clap::Args;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct BuiltinArguments {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8188)]
    port: u16,
    /// Address to listen on. There is no authentication: anything but a loopback address lets the network in.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// Folder for its input, output and temporary files (default: `builtin` in the data folder).
    #[arg(long, value_name = "DIR")]
    server_dir: Option<PathBuf>,
    /// The name it shows.
    #[arg(long, default_value = "builtin")]
    name: String,
    /// Extra time of every progress step in milliseconds, to make a slow backend.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    step_delay_ms: u64,
    /// How much memory it says its device has, in GiB, to stand for a larger or smaller machine (default: this computer's).
    #[arg(long, value_name = "GIB")]
    device_memory_gib: Option<u32>,
    /// Append the id of every prompt that is POSTed to this file, one per line.
    #[arg(long, value_name = "FILE")]
    posts_file: Option<PathBuf>,
    /// Static files of the ComfyUI frontend, served at `/`.
    #[arg(long, value_name = "DIR")]
    frontend_dir: Option<PathBuf>,
}

/// Serves until Ctrl-C.
pub(super) async fn serve(
    asked_dir: Option<PathBuf>,
    arguments: BuiltinArguments,
) -> anyhow::Result<ExitCode> {
    let server_dir = match arguments.server_dir {
        Some(server_dir) => server_dir,
        None => super::data_dir::data_dir(asked_dir)?.join("builtin"),
    };
    let address = SocketAddr::new(arguments.listen, arguments.port);
    let server = Server::bind(ServerOptions {
        address,
        data_dir: server_dir,
        name: arguments.name,
        step_delay: Duration::from_millis(arguments.step_delay_ms),
        device_memory_bytes: arguments.device_memory_gib.map(|gib| u64::from(gib) << 30),
        posts_file: arguments.posts_file,
        frontend_dir: arguments.frontend_dir,
    })
    .await?;
    println!("Built-in backend at http://{}", server.local_addr());
    server
        .serve(async {
            tokio::signal::ctrl_c().await.ok();
        })
        .await
        .context("the built-in backend ended")?;
    Ok(ExitCode::SUCCESS)
}
