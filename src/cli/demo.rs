//! `demo`: three built-in backends of different speed and a sample project that runs on them.

use super::data_dir::data_dir;
use super::watch::{self, Telling};
use crate::builtin::{Server, ServerOptions};
use crate::engine::{
    Engine, EngineOptions, RegistryUse, ResumePolicy, RunCommand, RunFolders, RunId, RunState,
};
use crate::fleet::BackendConfig;
use crate::project::Project;
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The sample, embedded so that the binary runs from any folder.
const SAMPLE: &str = include_str!("../../scenes/harbour-at-dusk.orchestrator.json");

/// Name and extra milliseconds of every step: about 1 : 2 : 4 in speed.
const BACKENDS: [(&str, u64); 3] = [("studio-a", 20), ("studio-b", 60), ("laptop", 140)];

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Run without a window even where there is a display.
    #[arg(long)]
    headless: bool,
    /// Where pictures and the project go (default: `demo` in the data folder).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Starts the backends and runs the sample: in the window, or headless.
pub(super) fn demo(
    runtime: &Arc<Runtime>,
    asked_dir: Option<PathBuf>,
    arguments: &DemoArguments,
) -> anyhow::Result<ExitCode> {
    let out = match &arguments.out {
        Some(out) => std::path::absolute(out)?,
        None => data_dir(asked_dir.clone())?.join("demo"),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let project = Arc::new(
        crate::project::read_portable_form(SAMPLE.as_bytes())
            .context("the embedded sample project")?,
    );
    let engine = runtime.block_on(start_engine(&out))?;
    let outcome = if arguments.headless {
        headless(runtime, &engine, &project, &out)
    } else if let Some(reason) = no_window() {
        println!("{reason} Running headless.");
        headless(runtime, &engine, &project, &out)
    } else {
        in_window(runtime, &engine, &project, &out, asked_dir.as_deref())
    };
    runtime.block_on(engine.stop());
    outcome
}

/// Three backends on free loopback ports, and an engine that knows only them. The history stays in the demo's own folder.
async fn start_engine(out: &Path) -> anyhow::Result<Engine> {
    let mut backends = Vec::new();
    for (name, step_delay_ms) in BACKENDS {
        let mut options = ServerOptions::new(out.join("backends").join(name));
        options.name = name.to_owned();
        options.step_delay = Duration::from_millis(step_delay_ms);
        let server = Server::bind(options).await?;
        let url = format!("http://{}", server.local_addr()).parse()?;
        println!("Started {name} at {url}");
        backends.push(BackendConfig::new(name, url));
        tokio::spawn(async move {
            if let Err(error) = server.serve(std::future::pending()).await {
                tracing::error!(%error, "a built-in backend ended");
            }
        });
    }
    let engine = crate::engine::start(EngineOptions {
        data_dir: out.join("data"),
        extra_backends: backends,
        registry: RegistryUse::ExtraOnly,
        resume: ResumePolicy::Leave,
        pair_block_ms: crate::engine::PAIR_BLOCK_MS,
    })
    .await?;
    Ok(engine)
}

fn headless(
    runtime: &Runtime,
    engine: &Engine,
    project: &Arc<Project>,
    out: &Path,
) -> anyhow::Result<ExitCode> {
    let run_id = RunId::new_now();
    let folders = RunFolders {
        output: out.join("pictures"),
        inputs: out.join("inputs"),
    };
    let end = runtime.block_on(async {
        let events = engine.handle.subscribe()?;
        engine.handle.send(RunCommand::Start {
            run_id,
            project: project.clone(),
            folders,
        })?;
        watch::follow(&engine.handle, events, run_id, project, Telling::Person, 0).await
    })?;
    println!("\nPictures:");
    for file in &end.files {
        println!("  {file}");
    }
    draw_canvas(engine, project, &end.view, out);
    Ok(if end.state == RunState::Completed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Why there can be no window here; none when there can.
fn no_window() -> Option<&'static str> {
    if !cfg!(feature = "desktop") {
        return Some("This build has no window.");
    }
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let has_display = !cfg!(target_os = "linux") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
    (!has_display)
        .then_some("There is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set).")
}

/// Saves the sample as a project folder and opens the window with it; the run starts by itself.
#[cfg(feature = "desktop")]
fn in_window(
    runtime: &Arc<Runtime>,
    engine: &Engine,
    project: &Arc<Project>,
    out: &Path,
    asked_dir: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    use crate::app::{self, AppOptions};
    use crate::store::project_folder::{self, Overwrite, ProjectPlace};

    let folder = out.join("project");
    if !folder.join("project.ron").exists() {
        let place = ProjectPlace::Folder(folder.clone());
        project_folder::save(&place, project, &Overwrite::Nothing)?;
    }
    let mut options = AppOptions::new(engine.handle.clone());
    options.project = Some(folder);
    options.run_at_start = true;
    options.folders = super::desktop::folders(asked_dir)?;
    options.start_builtin = Some(super::desktop::builtin_starter(
        runtime,
        out.join("backends/builtin"),
    ));
    app::run(options)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "desktop"))]
fn in_window(
    runtime: &Arc<Runtime>,
    engine: &Engine,
    project: &Arc<Project>,
    out: &Path,
    _asked_dir: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    headless(runtime, engine, project, out)
}

/// Draws the canvas as it stands after the run. Not being able to (no Vulkan driver) costs only that picture.
#[cfg(feature = "desktop")]
fn draw_canvas(engine: &Engine, project: &Arc<Project>, view: &crate::engine::RunView, out: &Path) {
    let path = out.join("canvas.png");
    match crate::app::run_picture::render_to_png(project, view, &engine.handle, [1680, 1020], &path)
    {
        Ok(()) => println!("Canvas:\n  {}", path.display()),
        Err(error) => println!("The canvas was not drawn: {error}"),
    }
}

#[cfg(not(feature = "desktop"))]
fn draw_canvas(
    _engine: &Engine,
    _project: &Arc<Project>,
    _view: &crate::engine::RunView,
    _out: &Path,
) {
    println!("The canvas is not drawn: this build has no window.");
}
