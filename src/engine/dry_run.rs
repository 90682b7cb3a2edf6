//! What a run would do: which Workflow items are there already, and which would be made, and why.
//!
//! The real machine plays the run; local work is done for real except that no output is written: what an Input node brings and
//! the sheet that a Merge draws decide what is made of them. They are noted like those of a run, so that they go again. An item that is not in the
//! cache is called off, and what the machine then blocks would be made from it: `fates` tells of each such item whether it
//! would surely come, would come on one side of a Condition, or perhaps. Merges wait for everything meanwhile, so that none
//! goes on with the part of its list that happens to be there.

mod count;
mod fates;

pub use count::DryCount;

use super::command::{RunFolders, RunWish};
use super::event::RunEventBody;
use super::executor;
use super::executor::cache::{self, Unknowable};
use super::executor::run_workflow::RunWorkflow;
use super::executor::starting;
use super::failure::{Failure, FailureClass};
use super::fit::{lacks, not_wanted};
use super::id::{ItemId, RunId};
use super::local::{self, LocalContext};
use super::machine::{
    CacheQuestion, CacheUse, Effect, Input, LocalOutcome, LocalTask, LocalWork, Machine,
};
use super::plan::Plan;
use super::value::Value;
use crate::artifacts::{Artifact, ArtifactStore};
use crate::fleet::BackendConfig;
use crate::project::{CachePolicy, MergeFailurePolicy, NodeId, NodeKind, Project, WorkflowName};
use crate::store::Store;
use crate::workflow::{self, ObjectInfo};
use fates::{Ended, Fates, Missing};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// What a run would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DryRun {
    /// Workflow items whose result is there already.
    pub cached: u32,
    /// Workflow items that would be made. Of what hangs on a Condition one side is counted.
    pub to_run: DryCount,
    /// Workflow items that cannot be made.
    pub cannot_run: u32,
    /// The nodes, in the order of the run.
    pub nodes: Vec<DryNode>,
}

/// What a run would do at one Workflow node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryNode {
    /// The node.
    pub node_id: NodeId,
    /// Its title.
    pub title: String,
    /// Items whose result is there already.
    pub cached: u32,
    /// Items that would be made.
    pub to_run: DryCount,
    /// The same by the reason.
    pub reasons: BTreeMap<String, DryCount>,
    /// Items that cannot be made, by the reason.
    pub cannot_run: BTreeMap<String, u32>,
}

impl DryRun {
    /// For example "83 cached, 24 to 36 will run".
    #[must_use]
    pub fn words(&self) -> String {
        let words = format!("{} cached, {} will run", self.cached, self.to_run);
        match self.cannot_run {
            0 => words,
            count => format!("{words}, {count} cannot run"),
        }
    }
}

impl DryNode {
    /// For example "3 cached, at most 9 will run".
    #[must_use]
    pub fn words(&self) -> String {
        let cannot_run: u32 = self.cannot_run.values().sum();
        let mut parts = Vec::new();
        if self.cached > 0 || self.to_run.is_none() && cannot_run == 0 {
            parts.push(format!("{} cached", self.cached));
        }
        if !self.to_run.is_none() {
            parts.push(format!("{} will run", self.to_run));
        }
        if cannot_run > 0 {
            parts.push(format!("{cannot_run} cannot run"));
        }
        parts.join(", ")
    }
}

/// Why a project cannot be planned.
pub type DryProblem = (Option<NodeId>, String);

/// A backend that a run could use.
#[derive(Clone, Debug)]
pub struct PlannedBackend {
    /// How it is reached, and its tags.
    pub config: BackendConfig,
    /// What it says of its node classes, or said last; none when it never did.
    pub object_info: Option<Arc<ObjectInfo>>,
}

/// Plays a run without asking any backend and without writing any output. `backends` are those that could be used; where
/// there are none, `object_info`, all that was ever seen, tells what a run could do.
///
/// # Errors
/// Everything that keeps the project from running.
pub async fn dry_run(
    project: Arc<Project>,
    folders: RunFolders,
    store: &Store,
    artifacts: &ArtifactStore,
    object_info: Option<&ObjectInfo>,
    backends: &[PlannedBackend],
) -> Result<DryRun, Vec<DryProblem>> {
    let mut workflows = HashMap::new();
    for (name, file) in &project.workflows {
        if let Ok(workflow) = RunWorkflow::read(file) {
            workflows.insert(name.clone(), workflow);
        }
    }
    let unable = unable_nodes(&project, &workflows, object_info, backends);
    let problems = super::problems(&project, object_info);
    let compiled = if problems.is_empty() {
        Plan::compile(Arc::new(with_strict_merges(&project))).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| (problem.node_id, problem.message))
                .collect::<Vec<DryProblem>>()
        })
    } else {
        Err(problems)
    };
    let plan = match compiled {
        Ok(plan) => plan,
        Err(mut problems) => {
            // Everything else that is wrong is said at once.
            let (project, folders) = (project.clone(), folders.clone());
            let titles = project.clone();
            let unreadable =
                tokio::task::spawn_blocking(move || local::unreadable(&project, &folders));
            problems.extend(unreadable.await.unwrap_or_default());
            problems.extend(unable.into_iter().map(|(node_id, reason)| {
                let title = titles.nodes.get(&node_id).map_or("", |node| &*node.title);
                (Some(node_id), format!("\"{title}\": {reason}"))
            }));
            return Err(problems);
        }
    };
    let order: Vec<NodeId> = plan.node_order().collect();
    let mut play = Play {
        machine: Machine::new().with_cache(CacheUse::Ask),
        run_id: RunId::new_now(),
        project: project.clone(),
        folders,
        workflows,
        items: Vec::new(),
        ended: HashMap::new(),
        missing: HashMap::new(),
    };
    play.play(Arc::new(plan), store, artifacts, object_info)
        .await;
    // Of a large run this takes long enough to hold others up.
    let counted = tokio::task::spawn_blocking(move || {
        let fates = Fates {
            machine: &play.machine,
            run_id: play.run_id,
            project: &project,
            items: &play.items,
            ended: &play.ended,
            missing: &play.missing,
            unable: &unable,
        };
        fates.count(&order)
    });
    counted
        .await
        .map_err(|panicked| vec![(None, format!("counting broke off: {panicked}"))])
}

/// The project with Merges that want every value.
fn with_strict_merges(project: &Project) -> Project {
    let mut project = project.clone();
    for node in project.nodes.values_mut() {
        if let NodeKind::Merge(merge) = &mut node.kind {
            merge.on_failed = MergeFailurePolicy::RequireAll;
        }
    }
    project
}

/// Nodes that no backend may or can run, as far as that is known, with the reason.
fn unable_nodes(
    project: &Project,
    workflows: &HashMap<WorkflowName, RunWorkflow>,
    object_info: Option<&ObjectInfo>,
    backends: &[PlannedBackend],
) -> BTreeMap<NodeId, String> {
    project
        .nodes
        .values()
        .filter_map(|node| {
            let NodeKind::Workflow(settings) = &node.kind else {
                return None;
            };
            if backends.is_empty() {
                let info = object_info?;
                let lack = starting::lack(info, project, workflows, node)?;
                return Some((node.id, format!("every known backend {lack}")));
            }
            let file = project.workflows.get(&settings.workflow)?;
            let document = workflow::read_saved(&file.text, file.page_prompt.as_deref()).ok()?;
            let obstacles: Vec<String> = backends
                .iter()
                .map(|one| {
                    let obstacle = match not_wanted(settings, one.config.id, &one.config.tags) {
                        Some(exclusion) => exclusion.to_string(),
                        // Values that no backend takes are told, too: nothing comes of sending them.
                        None => lacks(&document, node, one.object_info.as_ref()?).join(", "),
                    };
                    (!obstacle.is_empty()).then(|| format!("{} {obstacle}", one.config.name))
                })
                .collect::<Option<_>>()?;
            let reason = format!("no backend can run it: {}", obstacles.join("; "));
            Some((node.id, reason))
        })
        .collect()
}

struct Play {
    machine: Machine,
    run_id: RunId,
    project: Arc<Project>,
    folders: RunFolders,
    workflows: HashMap<WorkflowName, RunWorkflow>,
    /// The items in the order of their creation: after everything they are made from.
    items: Vec<(ItemId, NodeId)>,
    /// How items ended.
    ended: HashMap<ItemId, Ended>,
    /// Items that are not in the cache, and why not.
    missing: HashMap<ItemId, Missing>,
}

impl Play {
    async fn play(
        &mut self,
        plan: Arc<Plan>,
        store: &Store,
        artifacts: &ArtifactStore,
        object_info: Option<&ObjectInfo>,
    ) {
        let run_id = self.run_id;
        let mut orders: VecDeque<Effect> =
            self.machine.step(0, Input::Start { run_id, plan }).into();
        loop {
            let Some(order) = orders.pop_front() else {
                // What waits for a backend would be made, and what waits for a person is not known before.
                let waiting: Vec<ItemId> = self.waiting();
                if waiting.is_empty() {
                    return;
                }
                for item_id in waiting {
                    orders.extend(
                        self.machine
                            .step(0, Input::wish(run_id, RunWish::CancelItem(item_id))),
                    );
                }
                continue;
            };
            match order {
                Effect::Record(event) => self.take_in(event.body),
                Effect::LookUp(question) => {
                    let item_id = question.item_id;
                    let found = match self.look_up(&question, store, artifacts, object_info).await {
                        Ok(outputs) => Some(outputs),
                        Err(missing) => {
                            self.missing.insert(item_id, missing);
                            None
                        }
                    };
                    orders.extend(self.machine.step(0, Input::LookedUp { item_id, found }));
                }
                Effect::Local(work) => {
                    let (item_id, order) = (work.item_id, work.order);
                    let outcome = self.local(work, store, artifacts.clone()).await;
                    let ended = Input::LocalEnded {
                        item_id,
                        order,
                        outcome,
                    };
                    orders.extend(self.machine.step(0, ended));
                }
                _ => {}
            }
        }
    }

    fn take_in(&mut self, body: RunEventBody) {
        match body {
            RunEventBody::ItemCreated {
                item_id, node_id, ..
            } => {
                self.items.push((item_id, node_id));
                // A node that never uses the cache is not even looked up.
                if let Some(node) = self.project.nodes.get(&node_id)
                    && let NodeKind::Workflow(settings) = &node.kind
                    && settings.cache == CachePolicy::Never
                {
                    let missing = Missing::Unknowable(Unknowable::Never.to_string());
                    self.missing.insert(item_id, missing);
                }
            }
            RunEventBody::ItemDone { item_id, .. } => {
                self.ended.insert(item_id, Ended::Done);
            }
            RunEventBody::ItemFailed { item_id, failure } => {
                self.ended.insert(item_id, Ended::Failed(failure.message));
            }
            RunEventBody::ItemStateChanged { item_id, state, .. } => {
                self.ended.insert(item_id, Ended::of(state));
            }
            _ => {}
        }
    }

    /// Items that wait for a backend or for a person.
    fn waiting(&self) -> Vec<ItemId> {
        self.items
            .iter()
            .map(|(item_id, _)| *item_id)
            .filter(|item_id| {
                self.machine
                    .item_state(self.run_id, *item_id)
                    .is_some_and(|state| !state.is_ended())
            })
            .collect()
    }

    async fn look_up(
        &self,
        question: &CacheQuestion,
        store: &Store,
        artifacts: &ArtifactStore,
        object_info: Option<&ObjectInfo>,
    ) -> Result<super::machine::AttemptOutputs, Missing> {
        let (Some(node), Some(workflow)) = (
            self.project.nodes.get(&question.node_id),
            self.workflows.get(&question.workflow),
        ) else {
            return Err(Missing::Impossible(
                "its workflow cannot be read".to_owned(),
            ));
        };
        let key = cache::key_with(
            workflow,
            question.item_id,
            node,
            &question.fields,
            object_info,
        )
        .map_err(|reason| match reason {
            Unknowable::Broken(_) => Missing::Impossible(reason.to_string()),
            Unknowable::Unconverted => Missing::Unclear(reason.to_string()),
            Unknowable::Never | Unknowable::ServerFile(_) => {
                Missing::Unknowable(reason.to_string())
            }
        })?;
        cache::find(store, artifacts, key, node)
            .await
            .ok_or(Missing::New)
    }

    /// Local work, except that no output is written.
    async fn local(
        &self,
        work: LocalWork,
        store: &Store,
        artifacts: ArtifactStore,
    ) -> Result<LocalOutcome, Failure> {
        if matches!(work.task, LocalTask::Write { .. }) {
            return Ok(LocalOutcome::Written(Vec::new()));
        }
        let (project, folders) = (self.project.clone(), self.folders.clone());
        let outcome = tokio::task::spawn_blocking(move || {
            local::perform(
                &work,
                LocalContext {
                    artifacts: &artifacts,
                    project: &project,
                    folders: &folders,
                    run_created_ms: 0,
                },
            )
        })
        .await
        .map_err(|panicked| {
            Failure::new(
                FailureClass::Local,
                format!("work on this machine broke off: {panicked}"),
            )
        })??;
        for artifact in outcome.values().flat_map(Value::artifacts) {
            store
                .put_artifact(Artifact::clone(&artifact), executor::now_ms())
                .await
                .map_err(|error| Failure::new(FailureClass::Local, error.to_string()))?;
        }
        Ok(outcome)
    }
}
