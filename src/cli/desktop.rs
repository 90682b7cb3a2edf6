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
    use crate::app::{self, AppOptions, AtStart};
    use crate::engine::{EngineOptions, RegistryUse, ResumePolicy};

    let data_dir = super::data_dir::data_dir(asked_dir)?;
    let engine = runtime.block_on(crate::engine::start(EngineOptions {
        data_dir: data_dir.clone(),
        extra_backends: Vec::new(),
        registry: RegistryUse::Registered,
        resume: ResumePolicy::Resume,
    }))?;
    let outcome = app::run(AppOptions {
        engine: engine.handle.clone(),
        runtime: runtime.handle().clone(),
        data_dir,
        project,
        at_start: AtStart::Edit,
    });
    runtime.block_on(engine.stop());
    outcome?;
    Ok(ExitCode::SUCCESS)
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
