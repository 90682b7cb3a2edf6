//! The command line: one file per subcommand.

/// Prints a line; ends the program quietly when whoever reads has gone (`runs list | head`), where the standard library's
/// macro of this name panics.
macro_rules! println {
    ($($words:tt)*) => {
        crate::cli::output::line(format_args!($($words)*))
    };
}

mod backend;
mod builtin;
mod cache;
mod controls;
mod data_dir;
mod deliver;
mod demo;
mod desktop;
mod earlier;
mod editor_host;
mod forget;
mod item_names;
mod output;
mod project;
mod questions;
mod review;
mod run;
mod runs;
mod watch;
mod why;
mod workflow;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs graphs of ComfyUI workflows over several GPU machines. Without a subcommand it opens the desktop app.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    /// Folder for history, results and settings; each running instance needs its own.
    #[arg(long, global = true, env = "ORCHESTRATOR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print more of what happens (-v: what the engine does, -vv: everything it has to say).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Project to open in the desktop app: its folder or a portable file.
    project: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Arguments {
    /// What is logged when `ORCHESTRATOR_LOG` says nothing.
    #[must_use]
    pub fn default_log_filter(&self) -> &'static str {
        match self.verbose {
            0 => "warn,wgpu_core=error,wgpu_hal=error,naga=error,bevy_winit=error",
            1 => "info,wgpu_core=warn,wgpu_hal=warn,naga=warn,comfyui_orchestrator=debug",
            _ => "info,comfyui_orchestrator=trace",
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a project and wait for its outputs.
    Run(run::RunArguments),
    /// Run the sample project on three built-in backends.
    Demo(demo::DemoArguments),
    /// Start a built-in backend: it speaks ComfyUI's protocol and has real image nodes on the CPU.
    Builtin(builtin::BuiltinArguments),
    /// Look at ComfyUI servers and register them as backends.
    #[command(subcommand)]
    Backend(backend::BackendCommand),
    /// Make, check, pack and unpack projects.
    #[command(subcommand)]
    Project(project::ProjectCommand),
    /// Look into, convert, check and compare ComfyUI workflows, also inside pictures and videos.
    #[command(subcommand)]
    Workflow(workflow::WorkflowCommand),
    /// Results that are kept for later.
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Look at earlier runs and go on with them.
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// The window of ComfyUI's editor, which is spoken to by lines of JSON.
    #[command(hide = true)]
    EditorHost,
}

/// Does what the arguments ask. Exit code 0 means that all that was asked for was made.
pub fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // The window of the editor has an event loop of its own and needs nothing else of the program.
    if matches!(arguments.command, Some(Command::EditorHost)) {
        return editor_host::run();
    }
    let runtime = Arc::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("orchestrator")
            .enable_all()
            .build()?,
    );
    let data_dir = arguments.data_dir;
    match arguments.command {
        None | Some(Command::EditorHost) => desktop::open(&runtime, data_dir, arguments.project),
        Some(Command::Run(arguments)) => runtime.block_on(run::run(data_dir, arguments)),
        Some(Command::Demo(arguments)) => demo::demo(&runtime, data_dir, &arguments),
        Some(Command::Builtin(arguments)) => runtime.block_on(builtin::serve(data_dir, arguments)),
        Some(Command::Backend(command)) => runtime.block_on(backend::backend(data_dir, command)),
        Some(Command::Project(command)) => runtime.block_on(project::project(data_dir, command)),
        Some(Command::Workflow(command)) => runtime.block_on(workflow::workflow(data_dir, command)),
        Some(Command::Cache(command)) => runtime.block_on(cache::cache(data_dir, command)),
        Some(Command::Runs(command)) => runtime.block_on(runs::runs(data_dir, command)),
    }
}

/// An error with its causes, each said once: many errors say their cause in their own sentence.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// A backend's address as people type it: `127.0.0.1:8188` means `http://127.0.0.1:8188`.
fn parse_address(text: &str) -> Result<url::Url, url::ParseError> {
    if text.contains("://") {
        text.parse()
    } else {
        format!("http://{text}").parse()
    }
}
