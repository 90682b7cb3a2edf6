//! From a snapshot to a run: validation, prompts, plan, what each backend cannot run; and back from the database.

use super::run_workflow::{Choice, RunWorkflow};
use super::runs::StartError;
use super::shared::Shared;
use crate::artifacts::ContentHash;
use crate::engine::command::RunFolders;
use crate::engine::fit::{lack_of, not_wanted, own_prompt};
use crate::engine::id::RunId;
use crate::engine::local;
use crate::engine::machine::{Availability, BackendFacts, KnownSizes, NodeClasses, no_backend_has};
use crate::engine::plan::Plan;
use crate::fleet::{BackendConfig, BackendState, BackendStatus, Fleet};
use crate::project::{
    self, Affinity, BackendId, Fallback, Node, NodeId, NodeKind, PortId, Project, WorkflowName,
    WorkflowNode,
};
use crate::store::{NewRun, Store, StoreError, StoredRun};
use crate::workflow::{self, ModelWeights, ObjectInfo, Prompt};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long the start of a run waits for backends that are just being connected.
const CONNECTING_GRACE: Duration = Duration::from_secs(10);
/// How long it waits for the sizes of their models after that: a server that looks through a slow disk must not hold everybody up.
const SIZES_GRACE: Duration = Duration::from_secs(2);
/// How often it looks whether they are.
const CONNECTING_POLL: Duration = Duration::from_millis(5);

/// What workers need of a run; never changes while it runs.
#[derive(Debug)]
pub(super) struct RunContext {
    pub(super) run_id: RunId,
    /// Unix time in milliseconds.
    pub(super) created_ms: u64,
    pub(super) project: Arc<Project>,
    /// The project in its portable form, as it is stored.
    pub(super) snapshot: String,
    pub(super) plan: Arc<Plan>,
    pub(super) folders: RunFolders,
    pub(super) workflows: HashMap<WorkflowName, RunWorkflow>,
}

/// A problem, with its node where it has one.
pub(super) type StartProblem = (Option<NodeId>, String);

/// A run that is ready to start, or the reasons why it is not.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) run_id: RunId,
    pub(super) outcome: Result<Arc<RunContext>, Vec<StartProblem>>,
}

/// Validates and plans on the side; the outcome comes back through `prepared`.
pub(super) async fn prepare(
    shared: Arc<Shared>,
    prepared: mpsc::Sender<Prepared>,
    run_id: RunId,
    project: Arc<Project>,
    folders: RunFolders,
) {
    wait_for_backends(&shared.fleet).await;
    let known = known_classes(&shared.fleet);
    let unreadable = {
        let (project, folders) = (project.clone(), folders.clone());
        tokio::task::spawn_blocking(move || local::unreadable(&project, &folders))
    };
    // Everything that is wrong is said at once.
    let mut problems = unreadable.await.unwrap_or_default();
    let (workflows, _) = read_workflows(&project);
    problems.extend(backend_problems(&shared.fleet, &project, &workflows));
    let context = context_of(run_id, super::now_ms(), project, folders, known.as_ref());
    let outcome = match context {
        Ok(context) if problems.is_empty() => Ok(Arc::new(context)),
        Ok(_) => Err(problems),
        Err(mut all) => {
            all.append(&mut problems);
            Err(all)
        }
    };
    // The engine has ended when nobody listens.
    prepared.send(Prepared { run_id, outcome }).await.ok();
}

/// Waits until every backend has answered or failed to, and has said what it can do; not as long for how large its models are.
async fn wait_for_backends(fleet: &Fleet) {
    let began = Instant::now();
    let is_unclear = |status: &BackendStatus| {
        status.state == BackendState::Connecting
            || (is_reachable(status) && fleet.object_info(status.backend_id).is_none())
    };
    while began.elapsed() < CONNECTING_GRACE && fleet.statuses().iter().any(is_unclear) {
        tokio::time::sleep(CONNECTING_POLL).await;
    }
    let began = Instant::now();
    let is_unmeasured = |status: &BackendStatus| {
        is_reachable(status)
            && fleet.object_info(status.backend_id).is_some()
            && fleet.model_sizes(status.backend_id).is_none()
    };
    while began.elapsed() < SIZES_GRACE && fleet.statuses().iter().any(is_unmeasured) {
        tokio::time::sleep(CONNECTING_POLL).await;
    }
}

fn context_of(
    run_id: RunId,
    created_ms: u64,
    project: Arc<Project>,
    folders: RunFolders,
    object_info: Option<&ObjectInfo>,
) -> Result<RunContext, Vec<StartProblem>> {
    let mut problems = crate::engine::problems(&project, object_info);
    if !problems.is_empty() {
        return Err(problems);
    }
    let (workflows, unread) = read_workflows(&project);
    problems.extend(unread);
    let plan = match Plan::compile(project.clone()) {
        Ok(plan) => plan,
        Err(found) => {
            problems.extend(
                found
                    .into_iter()
                    .map(|problem| (problem.node_id, problem.message)),
            );
            return Err(problems);
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let snapshot =
        project::write_portable_form(&project).map_err(|error| vec![(None, error.to_string())])?;
    Ok(RunContext {
        run_id,
        created_ms,
        project,
        snapshot,
        plan: Arc::new(plan),
        folders,
        workflows,
    })
}

/// The workflow files of a project, and those that cannot be read.
fn read_workflows(project: &Project) -> (HashMap<WorkflowName, RunWorkflow>, Vec<StartProblem>) {
    let mut workflows = HashMap::new();
    let mut problems = Vec::new();
    for (name, file) in &project.workflows {
        match RunWorkflow::read(file) {
            Ok(workflow) => {
                workflows.insert(name.clone(), workflow);
            }
            Err(message) => problems.push((None, format!("workflow \"{name}\": {message}"))),
        }
    }
    (workflows, problems)
}

/// What every backend says of its node classes, together; those that can be reached first. None when nobody has spoken.
fn known_classes(fleet: &Fleet) -> Option<ObjectInfo> {
    let mut statuses = fleet.statuses();
    statuses.sort_by_key(|status| !is_reachable(status));
    let known: Vec<_> = statuses
        .iter()
        .filter_map(|status| fleet.object_info(status.backend_id))
        .collect();
    (!known.is_empty()).then(|| ObjectInfo::merged(known.iter().map(AsRef::as_ref)))
}

/// Workflow nodes that no backend can run, and the lack of any backend at all.
fn backend_problems(
    fleet: &Fleet,
    project: &Project,
    workflows: &HashMap<WorkflowName, RunWorkflow>,
) -> Vec<StartProblem> {
    let needed: Vec<&Node> = workflow_nodes(project).map(|(node, _)| node).collect();
    if needed.is_empty() {
        return Vec::new();
    }
    let statuses = fleet.statuses();
    if statuses.is_empty() {
        return vec![(
            None,
            "there is no backend to run it; register one, name one with --backend URL, or start the built-in one"
                .to_owned(),
        )];
    }
    let reachable: Vec<&BackendStatus> = statuses
        .iter()
        .filter(|status| is_reachable(status))
        .collect();
    if reachable.is_empty() {
        let is_disabled = |status: &BackendStatus| status.state == BackendState::Disabled;
        if statuses.iter().all(is_disabled) {
            return vec![(
                None,
                "all backends are disabled; enable one (`backend enable NAME`, or the menu of its card)"
                    .to_owned(),
            )];
        }
        let reasons: Vec<String> = statuses
            .iter()
            .map(|status| format!("{} {}", status.name, unreachable_words(status)))
            .collect();
        return vec![(
            None,
            format!("no backend can be reached ({})", reasons.join("; ")),
        )];
    }
    let mut problems = Vec::new();
    for node in needed {
        if let Some(problem) = node_problem(fleet, project, workflows, &statuses, node) {
            problems.push((Some(node.id), problem));
        }
    }
    problems
}

/// Why no backend that answers can run a node that is allowed to run there. A node that asks starts all the same: what is to
/// become of its items is for a person to say.
fn node_problem(
    fleet: &Fleet,
    project: &Project,
    workflows: &HashMap<WorkflowName, RunWorkflow>,
    statuses: &[BackendStatus],
    node: &Node,
) -> Option<String> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return None;
    };
    if settings.fallback == Fallback::AskUser {
        return None;
    }
    let is_allowed = |status: &&BackendStatus| {
        let config = fleet.config(status.backend_id);
        config.is_some_and(|config| not_wanted(settings, config.id, &config.tags).is_none())
    };
    let allowed: Vec<&BackendStatus> = statuses.iter().filter(is_allowed).collect();
    let title = &node.title;
    if allowed.is_empty() {
        return Some(match &settings.affinity {
            Affinity::Tags(tags) => {
                format!("\"{title}\" can run nowhere: {}", no_backend_has(tags))
            }
            _ => format!(
                "\"{title}\" can run nowhere: the only backend it may run on is not registered"
            ),
        });
    }
    let reasons: Vec<String> = allowed
        .iter()
        .filter(|status| is_reachable(status))
        .map(|status| {
            let object_info = fleet.object_info(status.backend_id)?;
            lack(&object_info, project, workflows, node)
                .map(|reason| format!("{} {reason}", status.name))
        })
        .collect::<Option<_>>()?;
    if reasons.is_empty() {
        let reasons: Vec<String> = allowed
            .iter()
            .map(|status| format!("{} {}", status.name, unreachable_words(status)))
            .collect();
        return Some(format!(
            "no backend that \"{title}\" may run on can be reached: {}",
            reasons.join("; ")
        ));
    }
    Some(format!(
        "\"{title}\" can run on no backend that is online{}: {}",
        if settings.affinity == Affinity::Any {
            ""
        } else {
            " and that it may run on"
        },
        reasons.join("; ")
    ))
}

/// Why prompts cannot be sent to a backend.
fn unreachable_words(status: &BackendStatus) -> String {
    match (&status.state, status.reason.as_str()) {
        (BackendState::Disabled, _) => "is disabled".to_owned(),
        (_, "") => "is offline".to_owned(),
        (_, reason) => format!("is offline: {reason}"),
    }
}

fn workflow_nodes(project: &Project) -> impl Iterator<Item = (&Node, &WorkflowNode)> {
    project.nodes.values().filter_map(|node| match &node.kind {
        NodeKind::Workflow(workflow) => Some((node, workflow)),
        _ => None,
    })
}

/// Whether prompts can be sent to a backend.
pub(super) fn is_reachable(status: &BackendStatus) -> bool {
    matches!(
        status.state,
        BackendState::Online | BackendState::Busy | BackendState::Degraded
    )
}

/// Why a backend with these node classes cannot run a node at all; none when it can. Judged with the node's own parameters in
/// place; fields that links fill are judged item by item.
pub(in crate::engine) fn lack(
    object_info: &ObjectInfo,
    project: &Project,
    workflows: &HashMap<WorkflowName, RunWorkflow>,
    node: &Node,
) -> Option<String> {
    match prompt_of(object_info, project, workflows, node)? {
        Ok(prompt) => lack_of(&prompt, object_info),
        Err(lack) => lack,
    }
}

/// A node's prompt for a backend with these node classes, without any item's values; or what the backend lacks to have one, where
/// that is its fault. None for nodes that have no workflow.
fn prompt_of(
    object_info: &ObjectInfo,
    project: &Project,
    workflows: &HashMap<WorkflowName, RunWorkflow>,
    node: &Node,
) -> Option<Result<Prompt, Option<String>>> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return None;
    };
    let workflow = workflows.get(&settings.workflow)?;
    Some(
        match workflow.prompt_for(Some(object_info), Choice::First) {
            Ok(prompt) => Ok(own_prompt(prompt, project, node)),
            Err(unconverted) => Err(unconverted.lack()),
        },
    )
}

/// What is known of a backend and the workflows of runs, by [`Plan::workflow_hash`].
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// What it cannot run, each with the reason.
    unable: BTreeMap<ContentHash, String>,
    /// What models weigh there.
    weights: BTreeMap<ContentHash, ModelWeights>,
}

impl Judgement {
    /// That of several runs together.
    pub(super) fn add(&mut self, other: &Self) {
        for (hash, reason) in &other.unable {
            self.unable.insert(*hash, reason.clone());
        }
        self.weights.extend(&other.weights);
    }
}

/// What is known of a backend and the workflows of a run.
pub(super) fn judge(fleet: &Fleet, backend_id: BackendId, context: &RunContext) -> Judgement {
    let mut judgement = Judgement::default();
    let Some(object_info) = fleet.object_info(backend_id) else {
        return judgement;
    };
    let sizes = fleet.model_sizes(backend_id);
    for (node, _) in workflow_nodes(&context.project) {
        let Some(hash) = context.plan.workflow_hash(node.id) else {
            continue;
        };
        let prompt = prompt_of(&object_info, &context.project, &context.workflows, node);
        let lack = match &prompt {
            None => None,
            Some(Ok(prompt)) => {
                let weights = sizes
                    .as_ref()
                    .and_then(|sizes| workflow::model_weights(prompt, sizes));
                judgement
                    .weights
                    .extend(weights.map(|weights| (hash, weights)));
                lack_of(prompt, &object_info)
            }
            Some(Err(lack)) => lack.clone(),
        };
        judgement.unable.extend(lack.map(|lack| (hash, lack)));
    }
    judgement
}

/// What the machine should know of a backend.
pub(super) fn backend_facts(
    fleet: &Fleet,
    status: &BackendStatus,
    judgement: Judgement,
) -> Option<BackendFacts> {
    let config = fleet.config(status.backend_id)?;
    let availability = match status.state {
        BackendState::Online | BackendState::Busy | BackendState::Degraded => Availability::Online,
        BackendState::Disabled => Availability::Disabled,
        BackendState::Connecting | BackendState::Offline => Availability::Offline {
            reason: status.reason.clone(),
        },
    };
    Some(BackendFacts {
        backend_id: status.backend_id,
        name: config.name,
        tags: config.tags,
        availability,
        vram_bytes: status.devices.iter().map(|device| device.vram_total).max(),
        unable: judgement.unable,
        weights: judgement.weights,
        model_sizes: fleet.model_sizes(status.backend_id).map(KnownSizes),
        classes: fleet.object_info(status.backend_id).map(NodeClasses),
    })
}

/// Writes the run's row: snapshot, folders, and the backends it uses beside the registered ones.
pub(super) async fn store_run(
    store: &Store,
    context: &RunContext,
    backends: Vec<BackendConfig>,
) -> Result<(), StoreError> {
    store
        .create_run(NewRun {
            run_id: context.run_id,
            project_id: context.project.id,
            name: context.project.name.clone(),
            created_ms: context.created_ms,
            snapshot: context.snapshot.clone(),
            folders: context.folders.clone(),
            backends,
            workflow_outputs: workflow_outputs(&context.project),
        })
        .await
}

/// Outputs of Workflow nodes → hash of their workflow's file.
fn workflow_outputs(project: &Project) -> BTreeMap<PortId, ContentHash> {
    let nodes = project.nodes.values();
    nodes
        .filter_map(|node| match &node.kind {
            NodeKind::Workflow(workflow) => {
                let file = project.workflows.get(&workflow.workflow)?;
                Some((node, ContentHash::of(file.text.as_bytes())))
            }
            _ => None,
        })
        .flat_map(|(node, hash)| node.outputs.iter().map(move |port| (port.id, hash)))
        .collect()
}

/// A run of the past, as workers need it.
pub(super) fn restore(run_id: RunId, stored: StoredRun) -> Result<Arc<RunContext>, StartError> {
    let project = project::read_portable_form(stored.snapshot.as_bytes())
        .map_err(|error| StartError::Snapshot(error.to_string()))?;
    context_of(
        run_id,
        stored.summary.created_ms,
        Arc::new(project),
        stored.folders,
        // It was judged when it began, and each backend is again before it gets an item.
        None,
    )
    .map(Arc::new)
    .map_err(|problems| {
        let list: Vec<String> = problems.into_iter().map(|problem| problem.1).collect();
        StartError::Snapshot(list.join("; "))
    })
}
