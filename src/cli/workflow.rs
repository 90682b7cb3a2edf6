//! `workflow inspect|convert|preflight|extract|diff|library`: ComfyUI workflows without a project.

mod compare;
mod convert;
mod extract;
mod inspect;
mod library;
mod preflight;
pub(super) mod sources;

use super::backend::BackendArguments;
use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use url::Url;

#[derive(Debug, Subcommand)]
pub(super) enum WorkflowCommand {
    /// Show what a workflow is made of and what can be set in it.
    Inspect {
        /// A workflow file, or a picture, video, sound or model that holds one; `-` reads standard input.
        file: PathBuf,
        #[command(flatten)]
        classes: ClassArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Turn a workflow into the other of ComfyUI's formats.
    Convert {
        /// A workflow file, or a file that holds one; `-` reads standard input.
        file: PathBuf,
        /// The format to make: `api` is what is sent to ComfyUI, `ui` what its editor opens.
        #[arg(long)]
        to: Format,
        #[command(flatten)]
        classes: ClassArguments,
        /// The file to write (default: standard output).
        #[arg(short, long, value_name = "OUT")]
        out: Option<PathBuf>,
    },
    /// Say for each backend named, or else for every registered one, whether it can run a workflow, and why not. Exit code 0 when one can.
    Preflight {
        /// A workflow file, or a file that holds one; `-` reads standard input.
        file: PathBuf,
        #[command(flatten)]
        backends: BackendArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take the workflow out of a picture, video, sound or model, as it was written there.
    Extract {
        /// The file; `-` reads standard input.
        file: PathBuf,
        /// What to take out.
        #[arg(long, default_value = "best")]
        what: Wanted,
        /// The file to write (default: standard output).
        #[arg(short, long, value_name = "OUT")]
        out: Option<PathBuf>,
    },
    /// Workflows kept for later: import folders, list, search, export, tag.
    #[command(subcommand)]
    Library(library::LibraryCommand),
    /// Compare two workflows by node and field. Exit code 0 when they are equal, 1 when not, 2 when one cannot be read.
    Diff {
        /// The first workflow.
        before: PathBuf,
        /// The second workflow.
        after: PathBuf,
        #[command(flatten)]
        classes: ClassArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Where knowledge of node classes comes from.
#[derive(Debug, clap::Args)]
pub(super) struct ClassArguments {
    /// Node classes: a saved answer of a backend to `GET /object_info`.
    #[arg(long, value_name = "FILE", conflicts_with = "backend")]
    object_info: Option<PathBuf>,
    /// A backend to ask for its node classes (default: what any backend was ever seen to have).
    #[arg(long, value_name = "URL", value_parser = super::parse_address)]
    backend: Option<Url>,
}

/// A format of `ComfyUI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// What is sent to a backend.
    Api,
    /// What the editor opens.
    Ui,
}

/// What to take out of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Wanted {
    /// The editor form where there is one, else the API form.
    Best,
    /// The editor form.
    Workflow,
    /// The API form.
    Prompt,
    /// How A1111 and its kin say the picture was made.
    Parameters,
    /// Every text, as JSON.
    All,
}

/// Does what the subcommand asks.
pub(super) async fn workflow(
    asked_dir: Option<PathBuf>,
    command: WorkflowCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        WorkflowCommand::Inspect {
            file,
            classes,
            json,
        } => inspect::inspect(asked_dir, &file, &classes, json).await,
        WorkflowCommand::Convert {
            file,
            to,
            classes,
            out,
        } => convert::convert(asked_dir, &file, to, &classes, out.as_deref()).await,
        WorkflowCommand::Preflight {
            file,
            backends,
            json,
        } => preflight::preflight(asked_dir, &file, backends.configs()?, json).await,
        WorkflowCommand::Extract { file, what, out } => {
            extract::extract(&file, what, out.as_deref())
        }
        WorkflowCommand::Library(command) => library::library(asked_dir, command).await,
        WorkflowCommand::Diff {
            before,
            after,
            classes,
            json,
        } => match compare::compare(asked_dir, &before, &after, &classes, json).await {
            Ok(exit_code) => Ok(exit_code),
            // 1 is taken by "they differ".
            Err(error) => {
                eprintln!("error: {}", super::told(&error));
                Ok(ExitCode::from(2))
            }
        },
    }
}
