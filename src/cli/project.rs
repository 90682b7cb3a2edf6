//! `project new|validate|export|import|replace|seed`.

mod seed;

use super::workflow::sources;
use crate::project::{Project, ProjectId, WorkflowFile, WorkflowName, replace_workflow};
use crate::store::project_folder::{self, Overwrite, ProjectPlace};
use crate::workflow::{self, WorkflowDocument};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use std::path::{Path, PathBuf};
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
    /// Put another file in the place of a workflow of a project; parameters and ports are found again, and what is not is named.
    Replace {
        /// The project folder.
        project: PathBuf,
        /// The workflow's name in the project.
        workflow: String,
        /// The new workflow file, or a picture, video, sound or model that holds one.
        file: PathBuf,
        /// Only show what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Set what the items of a run get for a seed: one value for all, counting up, a number of its own for each, or the
    /// values of a fan-out.
    Seed(seed::SeedArguments),
    /// Unpack a portable file into a new project folder.
    Import {
        /// The portable file.
        file: PathBuf,
        /// The folder to make.
        folder: PathBuf,
    },
}

/// Does what the subcommand asks.
pub(super) async fn project(
    asked_dir: Option<PathBuf>,
    command: ProjectCommand,
) -> anyhow::Result<ExitCode> {
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
        ProjectCommand::Replace {
            project,
            workflow,
            file,
            dry_run,
        } => replace(asked_dir, &project, &workflow, &file, dry_run).await,
        ProjectCommand::Seed(arguments) => seed::seed(asked_dir, arguments).await,
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

async fn replace(
    asked_dir: Option<PathBuf>,
    path: &Path,
    workflow_name: &str,
    file: &Path,
    dry_run: bool,
) -> anyhow::Result<ExitCode> {
    let opened = project_folder::open(path)?;
    let mut project = opened.project;
    let name = WorkflowName::new(workflow_name)
        .filter(|name| project.workflows.contains_key(name))
        .with_context(|| {
            let names: Vec<&str> = project.workflows.keys().map(WorkflowName::as_str).collect();
            format!(
                "the project has no workflow \"{workflow_name}\"; it has: {}",
                names.join(", ")
            )
        })?;
    let found = sources::read_workflow(file)?;
    let classes = sources::remembered_classes(asked_dir).await?;
    let sketch_of = |document: &WorkflowDocument| workflow::sketch(document, classes.as_ref());
    let after = sketch_of(&found.document).with_context(|| file.display().to_string())?;
    // What cannot be read now is replaced without a comparison.
    let before = project
        .workflows
        .get(&name)
        .and_then(|file| workflow::read_saved(&file.text, file.page_prompt.as_deref()).ok())
        .and_then(|document| sketch_of(&document).ok());
    if let Some(before) = before {
        for change in workflow::diff(&before.prompt, &after.prompt) {
            println!("{change}");
        }
    }
    let new = WorkflowFile::new(found.text.as_str());
    let replacement = replace_workflow(&project, &name, new, &after);
    for rematch in &replacement.moved {
        println!("found again: {rematch}");
    }
    for rematch in &replacement.broken {
        println!("broken: {rematch}");
    }
    if !dry_run {
        project.apply(replacement.edit)?;
        project_folder::save(&opened.place, &project, &Overwrite::Unchanged(opened.stamp))?;
    }
    Ok(if replacement.broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A folder with something in it is never written into.
fn refuse_existing(folder: &Path) -> anyhow::Result<()> {
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty {
        bail!("{} is not empty; name a new folder", folder.display());
    }
    Ok(())
}

fn validate(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
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
