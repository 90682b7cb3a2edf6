//! No subcommand: the desktop app.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Opens the window and runs the engine behind it until the window closes.
#[cfg(feature = "desktop")]
pub(super) fn open(
    runtime: &Arc<Runtime>,
    asked_dir: Option<PathBuf>,
    project: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    use crate::app::{self, AppOptions};
    use crate::engine::{EngineOptions, RegistryUse, ResumePolicy};

    let folders = folders(asked_dir.as_deref())?;
    let data_dir = super::data_dir::data_dir(asked_dir)?;
    let engine = runtime.block_on(crate::engine::start(EngineOptions {
        data_dir: data_dir.clone(),
        extra_backends: Vec::new(),
        registry: RegistryUse::Registered,
        resume: ResumePolicy::BySetting,
        pair_block_ms: crate::engine::PAIR_BLOCK_MS,
    }))?;
    let mut options = AppOptions::new(engine.handle.clone());
    options.project = project;
    options.folders = folders;
    options.start_builtin = Some(builtin_starter(runtime, data_dir.join("builtin")));
    let outcome = app::run(options);
    runtime.block_on(engine.stop());
    outcome?;
    Ok(ExitCode::SUCCESS)
}

/// Where the window keeps settings and unsaved work: in the data folder that was asked for, else where the platform wants
/// them.
#[cfg(feature = "desktop")]
pub(super) fn folders(
    asked_dir: Option<&std::path::Path>,
) -> anyhow::Result<crate::app::settings::Folders> {
    use crate::app::settings::Folders;

    Ok(match asked_dir {
        Some(folder) => Folders::all_in(&std::path::absolute(folder)?),
        None => Folders::of_this_user(),
    })
}

/// Starts a built-in backend on a free loopback port; it ends with the program.
#[cfg(feature = "desktop")]
pub(super) fn builtin_starter(
    runtime: &Arc<Runtime>,
    server_dir: PathBuf,
) -> Box<crate::app::bridge::StartBuiltin> {
    use crate::builtin::{Server, ServerOptions};

    let runtime = runtime.clone();
    Box::new(move || {
        let options = ServerOptions::new(server_dir.clone());
        let server = runtime
            .block_on(Server::bind(options))
            .map_err(|error| error.to_string())?;
        let url = format!("http://{}", server.local_addr())
            .parse()
            .map_err(|error| format!("its address cannot be used: {error}"))?;
        runtime.spawn(async move {
            if let Err(error) = server.serve(std::future::pending()).await {
                tracing::error!(%error, "the built-in backend ended");
            }
        });
        Ok(url)
    })
}

/// Says that this build has no window.
#[cfg(not(feature = "desktop"))]
pub(super) fn open(
    _runtime: &Arc<Runtime>,
    _asked_dir: Option<PathBuf>,
    _project: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no window; `comfyui-orchestrator --help` lists what it can do")
}
