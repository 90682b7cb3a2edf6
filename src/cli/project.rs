//! `project new|validate|export|import`.

use crate::project::{Project, ProjectId};
use crate::store::project_folder::{self, Overwrite, ProjectPlace};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum ProjectCommand {
    /// Make an empty project folder.
    New {
        /// The folder to make.
        folder: PathBuf,
        /// The project's name (default: the folder's).
        #[arg(long)]
        name: Option<String>,
    },
    /// Report every problem that would keep a project from running.
    Validate {
        /// The project: its folder, its project.ron, or a portable file.
        project: PathBuf,
        /// Print the problems as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Pack a project into one portable file.
    Export {
        /// The project folder.
        project: PathBuf,
        /// The file to write, NAME.orchestrator.json.
        file: PathBuf,
    },
    /// Unpack a portable file into a new project folder.
    Import {
        /// The portable file.
        file: PathBuf,
        /// The folder to make.
        folder: PathBuf,
    },
}

/// Does what the subcommand asks.
pub(super) fn project(command: ProjectCommand) -> anyhow::Result<ExitCode> {
    match command {
        ProjectCommand::New { folder, name } => {
            let name = match name {
                Some(name) => name,
                None => folder
                    .file_name()
                    .context("name the project with --name")?
                    .to_string_lossy()
                    .into_owned(),
            };
            refuse_existing(&folder)?;
            let project = Project::new(ProjectId::new_now(), &name);
            project_folder::save(
                &ProjectPlace::Folder(folder.clone()),
                &project,
                &Overwrite::Nothing,
            )?;
            println!("Made {}", folder.display());
            Ok(ExitCode::SUCCESS)
        }
        ProjectCommand::Validate { project, json } => validate(&project, json),
        ProjectCommand::Export { project, file } => {
            let opened = project_folder::open(&project)?;
            project_folder::save(
                &ProjectPlace::Portable(file.clone()),
                &opened.project,
                &Overwrite::Nothing,
            )?;
            println!("Wrote {}", file.display());
            Ok(ExitCode::SUCCESS)
        }
        ProjectCommand::Import { file, folder } => {
            let opened = project_folder::open(&file)?;
            refuse_existing(&folder)?;
            project_folder::save(
                &ProjectPlace::Folder(folder.clone()),
                &opened.project,
                &Overwrite::Nothing,
            )?;
            println!("Made {}", folder.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A folder with something in it is never written into.
fn refuse_existing(folder: &std::path::Path) -> anyhow::Result<()> {
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty {
        bail!("{} is not empty; name a new folder", folder.display());
    }
    Ok(())
}

fn validate(path: &std::path::Path, json: bool) -> anyhow::Result<ExitCode> {
    let opened = project_folder::open(path)?;
    let problems = crate::engine::problems(&opened.project, None);
    if json {
        for (node_id, message) in &problems {
            println!(
                "{}",
                serde_json::json!({ "node": node_id, "problem": message })
            );
        }
    } else if problems.is_empty() {
        println!(
            "{}: ready to run ({} nodes)",
            opened.project.name,
            opened.project.nodes.len()
        );
    } else {
        for (_, message) in &problems {
            println!("- {message}");
        }
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
