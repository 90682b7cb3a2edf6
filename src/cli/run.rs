//! `run PROJECT`: run a project and wait for its outputs.

mod plan;

use super::backend::BackendArguments;
use super::data_dir::data_dir;
use super::watch::{self, Telling};
use super::workflow::sources;
use crate::engine::{
    EngineHandle, EngineOptions, RegistryUse, ResumePolicy, RunCommand, RunEventBody, RunFolders,
    RunId, Value,
};
use crate::fleet::{self, BackendConfig};
use crate::project::{
    DataType, Edit, FreshIds, LinkId, Literal, Node, NodeId, NodeKind, PortId, Project, ProjectId,
    WorkflowFile, WorkflowName,
};
use crate::store::project_folder;
use crate::workflow::{self, EmbeddedWorkflow, ObjectInfo};
use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Events of one page.
const PAGE: usize = 4096;

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The project: its folder, its project.ron, or a portable .orchestrator.json file. Or a workflow: a file of ComfyUI's, or
    /// a picture, video, sound or model that holds one.
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
    /// Run only this node, by its title, and what it needs that was not made before. What it gives is printed as files of the
    /// results folder, or as text.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Run the workflow of that node only up to this one of its own nodes, by number, title or class, and show what it gives.
    #[arg(long, value_name = "INNER", requires = "node")]
    until: Option<String>,
    /// Only say what would be done: how many items are there already, how many would be made, and why. Exit code 1 when
    /// something cannot run: a file is missing, or no backend of which is known what it has could run a node.
    #[arg(long)]
    plan: bool,
}

/// Runs a project to its end.
pub(super) async fn run(
    asked_dir: Option<PathBuf>,
    arguments: RunArguments,
) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(asked_dir)?;
    let backends = arguments.backends.configs()?;
    let mut project = match workflow_in(&arguments.project)? {
        Some(found) => {
            let classes = known_classes(&data_dir, &backends).await?;
            project_of(&arguments.project, &found, classes.as_ref())?
        }
        None => project_folder::open(&arguments.project)?.project,
    };
    for setting in &arguments.settings {
        set(&mut project, setting)?;
    }
    let looked_at = match &arguments.node {
        Some(title) => {
            let node_id = node_called(&project, title).context("--node")?.id;
            project = match &arguments.until {
                None => project.part_up_to(node_id),
                Some(wanted) => {
                    let inner = inner_output(&data_dir, &backends, &project, node_id, wanted)
                        .await
                        .context("--until")?;
                    project.part_into(node_id, &inner, PortId::new_now())
                }
            }
            .context("the node is gone")?;
            Some(node_id)
        }
        None => None,
    };
    let folder = project_base(&arguments.project);
    let folders = RunFolders {
        output: std::path::absolute(arguments.out.unwrap_or_else(|| folder.join("outputs")))?,
        inputs: std::path::absolute(folder.join("inputs"))?,
    };
    if arguments.plan {
        return plan::plan(&data_dir, backends, project, folders).await;
    }
    let engine = crate::engine::start(EngineOptions {
        data_dir,
        extra_backends: backends,
        registry: RegistryUse::Registered,
        resume: ResumePolicy::Leave,
        pair_block_ms: crate::engine::PAIR_BLOCK_MS,
    })
    .await?;
    let telling = if arguments.json {
        Telling::Json
    } else {
        Telling::Person
    };
    if telling == Telling::Person {
        let unfinished = engine.handle.runs().await?;
        let count = unfinished.iter().filter(|run| run.is_interrupted()).count();
        if count > 0 {
            let runs = if count == 1 {
                "1 earlier run has".to_owned()
            } else {
                format!("{count} earlier runs have")
            };
            eprintln!(
                "{runs} not ended; `runs list` shows them, `runs resume RUN` goes on with one."
            );
        }
    }
    let run_id = RunId::new_now();
    let events = engine.handle.subscribe()?;
    let project = Arc::new(project);
    engine.handle.send(RunCommand::Start {
        run_id,
        project: project.clone(),
        folders,
    })?;
    let end = watch::follow(&engine.handle, events, run_id, &project, telling, 0).await;
    let given = match looked_at {
        Some(node_id) => given_by(&engine.handle, run_id, node_id).await?,
        None => Vec::new(),
    };
    engine.stop().await;
    let end = end?;
    if telling == Telling::Person {
        for line in end.files.iter().chain(&given) {
            println!("{line}");
        }
    }
    Ok(super::review::exit_code(&end, &run_id.to_string()))
}

/// What an inner node of a node's workflow gives, as far as the backends' classes are known.
async fn inner_output(
    data_dir: &Path,
    backends: &[BackendConfig],
    project: &Project,
    node_id: NodeId,
    wanted: &str,
) -> anyhow::Result<workflow::InnerOutput> {
    let workflow = project
        .nodes
        .get(&node_id)
        .and_then(|node| match &node.kind {
            NodeKind::Workflow(settings) => project.workflows.get(&settings.workflow),
            _ => None,
        })
        .context("only a Workflow node has nodes of its own")?;
    let object_info = known_classes(data_dir, backends).await?.context(
        "no backend has said which node classes it has; name one with --backend URL, or register one",
    )?;
    let document = workflow::read(workflow.text.as_bytes())?;
    let sketch = workflow::sketch(&document, Some(&object_info))?;
    Ok(workflow::inner_output(
        &sketch.prompt,
        wanted,
        &object_info,
    )?)
}

/// What the items of a node gave: paths of files, and texts.
async fn given_by(
    engine: &EngineHandle,
    run_id: RunId,
    node_id: NodeId,
) -> anyhow::Result<Vec<String>> {
    let mut items = BTreeSet::new();
    let mut given = Vec::new();
    let mut seq = 0;
    loop {
        let page = engine.events(run_id, seq, PAGE).await?;
        for event in &page {
            match &event.body {
                RunEventBody::ItemCreated {
                    item_id,
                    node_id: of_node,
                    ..
                } if *of_node == node_id => {
                    items.insert(*item_id);
                }
                RunEventBody::ItemDone {
                    item_id, outputs, ..
                } if items.contains(item_id) => {
                    for value in outputs.values() {
                        if let Value::Literal(literal) = value {
                            given.push(literal.to_string());
                        }
                        given.extend(
                            value.artifacts().iter().map(|artifact| {
                                engine.artifact_path(artifact).display().to_string()
                            }),
                        );
                    }
                }
                _ => {}
            }
        }
        seq += page.len() as u64;
        if page.len() < PAGE {
            return Ok(given);
        }
    }
}

/// The workflow in a file that is no project.
fn workflow_in(path: &Path) -> anyhow::Result<Option<EmbeddedWorkflow>> {
    let is = |ending: &str| {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
    };
    let is_portable = path.file_stem().is_some_and(|stem| {
        Path::new(stem)
            .extension()
            .is_some_and(|e| e == "orchestrator")
    });
    if is("ron") || is_portable || !path.is_file() {
        return Ok(None);
    }
    match sources::read_workflow(path) {
        Ok(found) => Ok(Some(found)),
        // JSON that is no workflow is refused as a project, which says what is expected.
        Err(_) if is("json") => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is known of node classes: of the backends named, else of every one that was ever seen.
async fn known_classes(
    data_dir: &Path,
    backends: &[BackendConfig],
) -> anyhow::Result<Option<ObjectInfo>> {
    let mut known = Vec::new();
    for config in backends {
        // A backend that does not answer now is complained of by the run itself.
        if let Ok(capabilities) = fleet::capabilities(config).await {
            known.push(capabilities.object_info);
        }
    }
    if known.is_empty() {
        return sources::remembered_classes(Some(data_dir.to_path_buf())).await;
    }
    Ok(Some(ObjectInfo::merged(&known)))
}

/// A project that runs a workflow and writes what it makes.
pub(super) fn project_of(
    path: &Path,
    found: &EmbeddedWorkflow,
    object_info: Option<&ObjectInfo>,
) -> anyhow::Result<Project> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = WorkflowName::new(stem.trim())
        .or_else(|| WorkflowName::new("Workflow"))
        .with_context(|| format!("{} has no name", path.display()))?;
    let sketch = workflow::sketch(&found.document, object_info)
        .with_context(|| path.display().to_string())?;
    let file = WorkflowFile::new(found.text.as_str());
    let inspection = workflow::inspect(&sketch.prompt, object_info);
    let mut fresh = FreshIds {
        node: &mut NodeId::new_now,
        port: &mut PortId::new_now,
        link: &mut LinkId::new_now,
    };
    let project = Project::of_workflow(ProjectId::new_now(), &name, file, &inspection, &mut fresh)?;
    Ok(project)
}

/// The folder that relative inputs and default outputs belong to.
fn project_base(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.to_path_buf()
    } else {
        path.parent().map_or_else(PathBuf::new, Path::to_path_buf)
    }
}

/// The node that has a title.
pub(super) fn node_called<'p>(project: &'p Project, title: &str) -> anyhow::Result<&'p Node> {
    let matching: Vec<&Node> = project
        .nodes
        .values()
        .filter(|node| node.title == title)
        .collect();
    match matching.as_slice() {
        [node] => Ok(*node),
        [] => {
            let titles: Vec<&str> = project
                .nodes
                .values()
                .map(|node| node.title.as_str())
                .collect();
            bail!(
                "no node is called \"{title}\"; there are: {}",
                titles.join(", ")
            )
        }
        several => bail!("{} nodes are called \"{title}\"; rename one", several.len()),
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
    let node = node_called(project, title).with_context(|| format!("--set {setting}"))?;
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

/// The value a person typed, of the wanted type where one is known. What does not fit stays text, and the backend's own
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
