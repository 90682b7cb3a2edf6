//! What a run would do: which Workflow items are there already, and which would be made, and why.
//!
//! The real machine plays the run; local work is done for real except that nothing is written, and an item that is not in
//! the cache stands for itself and all that would be made from it.

use super::command::RunFolders;
use super::event::{ItemState, RunEventBody};
use super::executor::cache::{self, Unknowable};
use super::executor::run_workflow::RunWorkflow;
use super::id::{IndexPath, ItemId, RunId};
use super::local::{self, LocalContext};
use super::machine::{
    CacheQuestion, CacheUse, Effect, Input, LocalOutcome, LocalTask, LocalWork, Machine,
};
use super::plan::Plan;
use crate::artifacts::ArtifactStore;
use crate::project::{NodeId, NodeKind, Project, WorkflowName};
use crate::store::Store;
use crate::workflow::ObjectInfo;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// What a run would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DryRun {
    /// Workflow items whose result is there already.
    pub cached: u32,
    /// Workflow items that would be made, as far as their number is known.
    pub to_run: u32,
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
    /// Items that would be made, by the reason.
    pub to_run: BTreeMap<String, u32>,
}

/// Why a project cannot be planned.
pub type DryProblem = (Option<NodeId>, String);

/// Plays a run without asking any backend and without writing any output.
///
/// # Errors
/// Everything that keeps the project from running.
pub async fn dry_run(
    project: Arc<Project>,
    folders: RunFolders,
    store: &Store,
    artifacts: &ArtifactStore,
    object_info: Option<&ObjectInfo>,
) -> Result<DryRun, Vec<DryProblem>> {
    let problems = super::problems(&project, object_info);
    if !problems.is_empty() {
        return Err(problems);
    }
    let plan = Plan::compile(project.clone()).map_err(|problems| {
        problems
            .into_iter()
            .map(|problem| (problem.node_id, problem.message))
            .collect::<Vec<DryProblem>>()
    })?;
    let mut workflows = HashMap::new();
    for (name, file) in &project.workflows {
        if let Ok(workflow) = RunWorkflow::read(file) {
            workflows.insert(name.clone(), workflow);
        }
    }
    let plan = Arc::new(plan);
    let mut play = Play {
        machine: Machine::new().with_cache(CacheUse::Ask),
        run_id: RunId::new_now(),
        project: project.clone(),
        folders,
        workflows,
        node_of: HashMap::new(),
        reasons: HashMap::new(),
        nodes: plan
            .node_order()
            .filter_map(|node_id| project.nodes.get(&node_id))
            .filter(|node| matches!(node.kind, NodeKind::Workflow(_)))
            .map(|node| DryNode {
                node_id: node.id,
                title: node.title.clone(),
                cached: 0,
                to_run: BTreeMap::new(),
            })
            .collect(),
    };
    play.play(plan, store, artifacts, object_info).await;
    Ok(play.result())
}

struct Play {
    machine: Machine,
    run_id: RunId,
    project: Arc<Project>,
    folders: RunFolders,
    workflows: HashMap<WorkflowName, RunWorkflow>,
    node_of: HashMap<ItemId, (NodeId, IndexPath)>,
    /// Items that are not in the cache, and why not.
    reasons: HashMap<ItemId, String>,
    nodes: Vec<DryNode>,
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
        while let Some(order) = orders.pop_front() {
            match order {
                Effect::Record(event) => self.take_in(&event.body),
                Effect::LookUp(question) => {
                    let item_id = question.item_id;
                    match self.look_up(&question, store, artifacts, object_info).await {
                        Ok(outputs) => orders.extend(self.machine.step(
                            0,
                            Input::LocalEnded {
                                item_id,
                                outcome: Ok(LocalOutcome::Cached(outputs)),
                            },
                        )),
                        Err(reason) => {
                            self.reasons.insert(item_id, reason);
                            orders.extend(self.machine.step(
                                0,
                                Input::LocalEnded {
                                    item_id,
                                    outcome: Ok(LocalOutcome::NotCached),
                                },
                            ));
                            orders.extend(
                                self.machine.step(0, Input::CancelItem { run_id, item_id }),
                            );
                        }
                    }
                }
                Effect::Local(work) => {
                    let item_id = work.item_id;
                    let outcome = self.local(work, artifacts.clone()).await;
                    orders.extend(self.machine.step(0, Input::LocalEnded { item_id, outcome }));
                }
                _ => {}
            }
        }
    }

    fn take_in(&mut self, body: &RunEventBody) {
        match body {
            RunEventBody::ItemCreated {
                item_id,
                node_id,
                path,
                ..
            } => {
                self.node_of.insert(*item_id, (*node_id, path.clone()));
                // A node that never uses the cache is not even looked up.
                if let Some(node) = self.project.nodes.get(node_id)
                    && let NodeKind::Workflow(settings) = &node.kind
                    && settings.cache == crate::project::CachePolicy::Never
                {
                    self.reasons.insert(*item_id, Unknowable::Never.to_string());
                }
            }
            RunEventBody::ItemDone { item_id, .. } => {
                if let Some(node) = self.counted(*item_id) {
                    node.cached += 1;
                }
            }
            RunEventBody::ItemStateChanged {
                item_id,
                state: ItemState::Cancelled,
                ..
            } => {
                let reason = self.reasons.get(item_id).cloned().unwrap_or_default();
                if let Some(node) = self.counted(*item_id) {
                    *node.to_run.entry(reason).or_default() += 1;
                }
            }
            RunEventBody::ItemStateChanged {
                item_id,
                state: ItemState::Blocked,
                ..
            } => {
                if let Some(node) = self.counted(*item_id) {
                    let reason = "what it is made from runs".to_owned();
                    *node.to_run.entry(reason).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    fn counted(&mut self, item_id: ItemId) -> Option<&mut DryNode> {
        let (node_id, _) = self.node_of.get(&item_id)?;
        self.nodes.iter_mut().find(|node| node.node_id == *node_id)
    }

    async fn look_up(
        &self,
        question: &CacheQuestion,
        store: &Store,
        artifacts: &ArtifactStore,
        object_info: Option<&ObjectInfo>,
    ) -> Result<super::machine::AttemptOutputs, String> {
        let (Some(node), Some(workflow)) = (
            self.project.nodes.get(&question.node_id),
            self.workflows.get(&question.workflow),
        ) else {
            return Err("its workflow cannot be read".to_owned());
        };
        let key = cache::key_with(
            workflow,
            question.item_id,
            node,
            &question.fields,
            object_info,
        )
        .map_err(|reason| reason.to_string())?;
        cache::find(store, artifacts, key, node)
            .await
            .ok_or_else(|| "no equal item was made before".to_owned())
    }

    /// Local work, except that nothing is written and no sheet is drawn.
    async fn local(
        &self,
        work: LocalWork,
        artifacts: ArtifactStore,
    ) -> Result<LocalOutcome, super::failure::Failure> {
        if matches!(work.task, LocalTask::Write { .. }) {
            return Ok(LocalOutcome::Written(Vec::new()));
        }
        let (project, folders) = (self.project.clone(), self.folders.clone());
        tokio::task::spawn_blocking(move || {
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
            super::failure::Failure::new(
                super::failure::FailureClass::Local,
                format!("work on this machine broke off: {panicked}"),
            )
        })?
    }

    /// Items of nodes that never use the cache wait for a backend; they would run.
    fn result(mut self) -> DryRun {
        let waiting: Vec<(ItemId, String)> = self
            .reasons
            .iter()
            .filter(|(item_id, _)| {
                self.machine.item_state(self.run_id, **item_id) == Some(ItemState::Ready)
            })
            .map(|(item_id, reason)| (*item_id, reason.clone()))
            .collect();
        for (item_id, reason) in waiting {
            if let Some(node) = self.counted(item_id) {
                *node.to_run.entry(reason).or_default() += 1;
            }
        }
        let count = |node: &DryNode| node.to_run.values().sum::<u32>();
        DryRun {
            cached: self.nodes.iter().map(|node| node.cached).sum(),
            to_run: self.nodes.iter().map(count).sum(),
            nodes: self.nodes,
        }
    }
}
