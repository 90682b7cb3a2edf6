//! `run PROJECT`: run a project and wait for its outputs.

use super::backend::BackendArguments;
use super::data_dir::data_dir;
use super::watch::{self, Telling};
use crate::engine::{EngineOptions, RegistryUse, ResumePolicy, RunCommand, RunFolders, RunId};
use crate::project::{DataType, Edit, Literal, NodeKind, PortId, Project};
use crate::store::project_folder;
use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The project: its folder, its project.ron, or a portable .orchestrator.json file.
    project: PathBuf,
    #[command(flatten)]
    backends: BackendArguments,
    /// A parameter to change for this run. NODE is the node's title, PARAM the parameter's label; an Input node's value is
    /// called `value`. May be given several times.
    #[arg(long = "set", value_name = "NODE.PARAM=VALUE")]
    settings: Vec<String>,
    /// Where Output nodes write (default: `outputs` in the project folder).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON event per line instead of progress.
    #[arg(long)]
    json: bool,
}

/// Runs a project to its end.
pub(super) async fn run(
    asked_dir: Option<PathBuf>,
    arguments: RunArguments,
) -> anyhow::Result<ExitCode> {
    let opened = project_folder::open(&arguments.project)?;
    let mut project = opened.project;
    for setting in &arguments.settings {
        set(&mut project, setting)?;
    }
    let folder = project_base(&arguments.project);
    let folders = RunFolders {
        output: std::path::absolute(arguments.out.unwrap_or_else(|| folder.join("outputs")))?,
        inputs: std::path::absolute(folder.join("inputs"))?,
    };
    let data_dir = data_dir(asked_dir)?;
    let engine = crate::engine::start(EngineOptions {
        data_dir,
        extra_backends: arguments.backends.configs()?,
        registry: RegistryUse::Registered,
        resume: ResumePolicy::Leave,
    })
    .await?;
    let telling = if arguments.json {
        Telling::Json
    } else {
        Telling::Person
    };
    let run_id = RunId::new_now();
    let events = engine.handle.subscribe()?;
    let project = Arc::new(project);
    engine.handle.send(RunCommand::Start {
        run_id,
        project: project.clone(),
        folders,
    })?;
    let end = watch::follow(&engine.handle, events, run_id, &project, telling, 0).await;
    engine.stop().await;
    let end = end?;
    if telling == Telling::Person {
        for file in &end.files {
            println!("{file}");
        }
    }
    Ok(super::review::exit_code(&end, &run_id.to_string()))
}

/// The folder that relative inputs and default outputs belong to.
fn project_base(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.to_path_buf()
    } else {
        path.parent().map_or_else(PathBuf::new, Path::to_path_buf)
    }
}

/// Applies one `NODE.PARAM=VALUE`.
fn set(project: &mut Project, setting: &str) -> anyhow::Result<()> {
    let (target, text) = setting
        .split_once('=')
        .with_context(|| format!("--set {setting}: write it as NODE.PARAM=VALUE"))?;
    // Titles may contain dots, labels hardly ever: the last dot separates.
    let (title, label) = target
        .rsplit_once('.')
        .with_context(|| format!("--set {setting}: write it as NODE.PARAM=VALUE"))?;
    let matching: Vec<_> = project
        .nodes
        .values()
        .filter(|node| node.title == title)
        .collect();
    let node = match matching.as_slice() {
        [node] => *node,
        [] => {
            let titles: Vec<&str> = project
                .nodes
                .values()
                .map(|node| node.title.as_str())
                .collect();
            bail!(
                "--set {setting}: no node is called \"{title}\"; there are: {}",
                titles.join(", ")
            )
        }
        several => bail!(
            "--set {setting}: {} nodes are called \"{title}\"; rename one",
            several.len()
        ),
    };
    let mut kind = node.kind.clone();
    match &mut kind {
        NodeKind::Workflow(workflow) => {
            let labels: Vec<String> = workflow
                .parameters
                .iter()
                .map(|p| p.label.clone())
                .collect();
            let parameter = workflow
                .parameters
                .iter_mut()
                .find(|p| p.label == label)
                .ok_or_else(|| {
                    anyhow!(
                        "--set {setting}: \"{title}\" has no parameter \"{label}\"; it has: {}",
                        labels.join(", ")
                    )
                })?;
            parameter.value = Some(literal(
                text,
                parameter.value.as_ref().map(Literal::data_type),
            ));
        }
        NodeKind::Input(input) if label == "value" => {
            let data_type = node
                .outputs
                .first()
                .map_or(DataType::Text, |port| port.data_type);
            input.value = if data_type.is_media() {
                crate::project::InputValue::File(text.to_owned())
            } else {
                crate::project::InputValue::Literal(literal(text, Some(data_type)))
            };
        }
        _ => bail!("--set {setting}: \"{title}\" has no parameters that can be set"),
    }
    let changed = node.clone().with_kind(kind, &mut PortId::new_now);
    project
        .apply(Edit::configure(changed))
        .with_context(|| format!("--set {setting}"))?;
    Ok(())
}

/// The value a person typed, of the wanted type where one is known. What does not fit stays text, and the server's own
/// check names the field.
pub(super) fn literal(text: &str, wanted: Option<DataType>) -> Literal {
    match wanted {
        Some(DataType::Text) => Literal::Text(text.to_owned()),
        _ => serde_json::from_str(text).map_or_else(
            |_| Literal::Text(text.to_owned()),
            |json| Literal::from_json(&json),
        ),
    }
}
