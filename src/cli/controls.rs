//! `runs cancel|pause|retry|redo|priority`: what a person wants of a run, of a node of it, or of some items.

use super::backend::BackendArguments;
use super::deliver::{After, deliver};
use super::earlier::EarlierRun;
use super::review::set_fields;
use super::run::node_called;
use super::runs::state_words;
use crate::engine::{ItemId, RetryScope, RunState, RunWish, remembered_object_info};
use crate::project::{Literal, NodeKind, WorkflowNode};
use crate::store::{Attendance, RunSummary, Store};
use crate::workflow::{self, Control, ParameterAddress};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// New seeds stay below this, so that every program shows them exactly.
const SEED_LIMIT: i128 = 1 << 48;

/// Which part of a run is meant.
#[derive(Debug, Args)]
pub(super) struct PartArguments {
    /// Items: the node's title and labels, for example `Draw seed=7`; or an id, or the beginning or end of it.
    #[arg(value_name = "ITEM")]
    items: Vec<String>,
    /// All items of a node, by its title.
    #[arg(long, value_name = "NODE", conflicts_with = "items")]
    node: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ControlCommand {
    /// Call a run off, a node of it, or some items; what runs is interrupted, what is finished stays.
    Cancel {
        /// The run's id, or the beginning or end of it; `last` is the newest one.
        run: String,
        #[command(flatten)]
        part: PartArguments,
        #[command(flatten)]
        backends: BackendArguments,
    },
    /// Send nothing new of a run until `runs resume`; what backends already have ends there.
    Pause {
        /// The run's id, or the beginning or end of it; `last` is the newest one.
        run: String,
        #[command(flatten)]
        backends: BackendArguments,
    },
    /// Give what failed or was cancelled another chance: all of it, that of a node, or some items.
    Retry {
        /// The run's id, or the beginning or end of it; `last` is the newest one.
        run: String,
        #[command(flatten)]
        part: PartArguments,
        #[command(flatten)]
        backends: BackendArguments,
    },
    /// Make items of a workflow again, with other values or another seed, and what was made from them.
    Redo {
        /// The run's id, or the beginning or end of it; `last` is the newest one.
        run: String,
        #[command(flatten)]
        part: PartArguments,
        /// A parameter to change, by its label on the node. May be given several times.
        #[arg(long = "set", value_name = "PARAM=VALUE")]
        settings: Vec<String>,
        /// Another seed for each item, wherever the workflow has one.
        #[arg(long)]
        new_seed: bool,
        #[command(flatten)]
        backends: BackendArguments,
    },
    /// Move a run before or behind the other runs, or a node or items before or behind the others of their run.
    Priority {
        /// The run's id, or the beginning or end of it; `last` is the newest one.
        run: String,
        /// Higher goes first; 0 is the usual.
        #[arg(allow_negative_numbers = true)]
        priority: i32,
        #[command(flatten)]
        part: PartArguments,
        #[command(flatten)]
        backends: BackendArguments,
    },
}

impl ControlCommand {
    /// The run as it was typed.
    pub(super) fn run(&self) -> &str {
        match self {
            Self::Cancel { run, .. }
            | Self::Pause { run, .. }
            | Self::Retry { run, .. }
            | Self::Redo { run, .. }
            | Self::Priority { run, .. } => run,
        }
    }
}

/// Brings the wish to the run.
pub(super) async fn control(
    data_dir: PathBuf,
    store: Store,
    run: RunSummary,
    command: ControlCommand,
) -> anyhow::Result<ExitCode> {
    if let Some(words) = needs_nothing(&run, &command) {
        println!("{words}");
        return Ok(ExitCode::SUCCESS);
    }
    let earlier = EarlierRun::read(&store, &run).await?;
    let run_id = run.run_id;
    // A run whose program is gone rests; calling a part of it off does not set it going.
    let rests = run.attendance == Attendance::Unattended && !run.state.is_ended();
    let (wishes, after, backends) = match command {
        ControlCommand::Cancel { part, backends, .. } => {
            let (wishes, after) = match part.of(&earlier)? {
                Part::Run => (vec![RunWish::Cancel], After::Rest),
                Part::Node(node_id) => of_part(rests, [RunWish::CancelNode(node_id)]),
                Part::Items(item_ids) => {
                    of_part(rests, item_ids.into_iter().map(RunWish::CancelItem))
                }
            };
            (wishes, after, backends)
        }
        ControlCommand::Pause { backends, .. } => (vec![RunWish::Pause], After::Rest, backends),
        ControlCommand::Retry { part, backends, .. } => {
            let scope = match part.of(&earlier)? {
                Part::Run => RetryScope::Run,
                Part::Node(node_id) => RetryScope::Node(node_id),
                Part::Items(item_ids) => RetryScope::Items(item_ids),
            };
            (vec![RunWish::Retry(scope)], After::Follow, backends)
        }
        ControlCommand::Redo {
            part,
            settings,
            new_seed,
            backends,
            ..
        } => {
            let item_ids = match part.of(&earlier)? {
                Part::Run => bail!("name the items to make again, or --node NODE"),
                Part::Node(node_id) => earlier
                    .view
                    .items
                    .iter()
                    .filter(|(_, item)| item.node_id == node_id)
                    .map(|(item_id, _)| *item_id)
                    .collect(),
                Part::Items(item_ids) => item_ids,
            };
            let mut wishes = Vec::new();
            for item_id in item_ids {
                let fields = changed(&store, &earlier, &item_id, &settings, new_seed).await?;
                wishes.push(RunWish::RedoItem { item_id, fields });
            }
            (wishes, After::Follow, backends)
        }
        ControlCommand::Priority {
            priority,
            part,
            backends,
            ..
        } => {
            let wish = match part.of(&earlier)? {
                Part::Run => RunWish::SetPriority(priority),
                Part::Node(node_id) => RunWish::SetNodePriority { node_id, priority },
                Part::Items(item_ids) => RunWish::SetItemPriority { item_ids, priority },
            };
            (vec![wish], After::Note, backends)
        }
    };
    let is_paused_for_it = rests && matches!(wishes.as_slice(), [RunWish::Pause, _, ..]);
    let backends = backends.configs()?;
    let code = deliver(data_dir, store, &run, &earlier, wishes, after, backends).await?;
    if is_paused_for_it {
        println!("The run stays paused; go on with it: comfyui-orchestrator runs resume {run_id}");
    }
    Ok(code)
}

/// Says so where a run is already as it is wanted to be, or can never be so again.
fn needs_nothing(run: &RunSummary, command: &ControlCommand) -> Option<String> {
    let (name, state) = (&run.name, state_words(run.state));
    match (command, run.state) {
        (ControlCommand::Pause { .. }, RunState::Paused) => {
            Some(format!("{name} is already {state}."))
        }
        (ControlCommand::Pause { .. }, RunState::Cancelling | RunState::Stopping) => Some(format!(
            "{name} is {state}; nothing new of it is sent anyway."
        )),
        (ControlCommand::Pause { .. }, ended) if ended.is_ended() => Some(format!(
            "{name} has ended ({state}); there is nothing to pause."
        )),
        (ControlCommand::Cancel { part, .. }, RunState::Cancelled) if part.is_whole_run() => {
            Some(format!("{name} is already {state}."))
        }
        (ControlCommand::Cancel { part, .. }, ended) if part.is_whole_run() && ended.is_ended() => {
            Some(format!(
                "{name} has ended ({state}); there is nothing to cancel."
            ))
        }
        _ => None,
    }
}

/// Calls a part of a run off. One that rests is paused for that, and stays so.
fn of_part(rests: bool, cancels: impl IntoIterator<Item = RunWish>) -> (Vec<RunWish>, After) {
    if rests {
        let wishes = std::iter::once(RunWish::Pause).chain(cancels);
        (wishes.collect(), After::Note)
    } else {
        (cancels.into_iter().collect(), After::Follow)
    }
}

/// Which part of a run is meant.
enum Part {
    Run,
    Node(crate::project::NodeId),
    Items(Vec<ItemId>),
}

impl PartArguments {
    fn is_whole_run(&self) -> bool {
        self.node.is_none() && self.items.is_empty()
    }

    fn of(&self, earlier: &EarlierRun) -> anyhow::Result<Part> {
        if let Some(title) = &self.node {
            return Ok(Part::Node(node_called(&earlier.project, title)?.id));
        }
        if self.is_whole_run() {
            return Ok(Part::Run);
        }
        let mut item_ids = Vec::new();
        for wanted in &self.items {
            for item_id in earlier.meant(wanted)? {
                if !item_ids.contains(&item_id) {
                    item_ids.push(item_id);
                }
            }
        }
        Ok(Part::Items(item_ids))
    }
}

/// The changed fields of an item that is made again.
async fn changed(
    store: &Store,
    earlier: &EarlierRun,
    item_id: &ItemId,
    settings: &[String],
    new_seed: bool,
) -> anyhow::Result<Vec<(ParameterAddress, Literal)>> {
    let workflow = earlier
        .view
        .items
        .get(item_id)
        .and_then(|item| earlier.project.nodes.get(&item.node_id))
        .and_then(|node| match &node.kind {
            NodeKind::Workflow(workflow) => Some(workflow),
            _ => None,
        })
        .with_context(|| {
            format!(
                "{} is no item of a workflow; only those can be made again",
                earlier.name_of(item_id)
            )
        })?;
    let mut fields = set_fields(settings, workflow)?;
    if new_seed {
        fields.extend(new_seeds(store, earlier, workflow).await?);
    }
    Ok(fields)
}

/// Another value for every seed of a workflow.
async fn new_seeds(
    store: &Store,
    earlier: &EarlierRun,
    workflow: &WorkflowNode,
) -> anyhow::Result<Vec<(ParameterAddress, Literal)>> {
    let file = earlier
        .project
        .workflows
        .get(&workflow.workflow)
        .context("the run has lost its workflow")?;
    let object_info = remembered_object_info(store).await?;
    let document = workflow::read(file.text.as_bytes())?;
    let sketch = workflow::sketch(&document, object_info.as_ref())?;
    let seeds: Vec<(ParameterAddress, Literal)> =
        workflow::inspect(&sketch.prompt, object_info.as_ref())
            .fields
            .into_iter()
            .filter_map(|field| match field.control {
                Control::Integer {
                    seed: true, max, ..
                } => {
                    let highest = max.unwrap_or(SEED_LIMIT).clamp(0, SEED_LIMIT) as u64;
                    let seed = fastrand::u64(0..=highest);
                    Some((field.address, Literal::Integer(seed.into())))
                }
                _ => None,
            })
            .collect();
    if seeds.is_empty() {
        bail!(
            "workflow \"{}\" has no seed; change something else with --set",
            workflow.workflow
        );
    }
    Ok(seeds)
}
