//! A run as people see it: the fold of its events. The canvas, the command line and HTTP all show this.
//!
//! Cheap: per item a few words, per node the counts and the latest outputs, so a run of 100,000 items stays small.

use super::event::{ItemState, ResultSource, RunEvent, RunEventBody, RunState};
use super::failure::Failure;
use super::id::{AttemptId, ItemId, RunId};
use super::question::{Answer, AnswerOrigin, Question};
use super::value::{Labels, Value};
use crate::artifacts::Artifact;
use crate::project::{BackendId, NodeId, ProjectId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Artifacts a node keeps for showing, the newest last.
pub const RECENT_ARTIFACTS: usize = 16;
/// Failures a node keeps for showing, the newest last.
pub const RECENT_FAILURES: usize = 16;
/// Written files a run keeps for showing, the newest last.
pub const RECENT_FILES: usize = 256;

/// How many items are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemCounts {
    by_state: [u32; ItemState::ALL.len()],
}

impl ItemCounts {
    /// Items in this state.
    #[must_use]
    pub fn get(&self, state: ItemState) -> u32 {
        self.by_state[state as usize]
    }

    /// All items so far; more may come while fan-outs open.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.by_state.iter().sum()
    }

    /// Items with which nothing more happens.
    #[must_use]
    pub fn ended(&self) -> u32 {
        ItemState::ALL
            .into_iter()
            .filter(|state| state.is_ended())
            .map(|state| self.get(state))
            .sum()
    }

    /// Items that are being worked on, here or at a backend.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.get(ItemState::Submitted) + self.get(ItemState::Running)
    }

    fn change(&mut self, from: Option<ItemState>, to: ItemState) {
        if let Some(from) = from {
            let count = &mut self.by_state[from as usize];
            *count = count.saturating_sub(1);
        }
        self.by_state[to as usize] += 1;
    }
}

/// A run as people see it.
#[derive(Clone, Debug, Default)]
pub struct RunView {
    /// The run; none before its first event.
    pub run_id: Option<RunId>,
    /// The project it is a run of.
    pub project_id: Option<ProjectId>,
    /// The project's name when the run began.
    pub project_name: String,
    /// Where the run is; none before its first event.
    pub state: Option<RunState>,
    /// Unix time in milliseconds of its first event.
    pub started_ms: u64,
    /// Unix time in milliseconds when it ended; none while it has not.
    pub ended_ms: Option<u64>,
    /// The number of the next event in its log.
    pub next_seq: u64,
    /// How many items are in each state, over all nodes.
    pub counts: ItemCounts,
    /// The nodes that have items.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// The items.
    pub items: HashMap<ItemId, ItemView>,
    /// How many files were written.
    pub files_written: u64,
    /// The latest of them, absolute paths, the newest last.
    pub recent_files: VecDeque<String>,
    /// Items whose result came from the cache.
    pub from_cache: u32,
    /// What is asked of items that have no place left, by item; answered by [`super::RunWish::Answer`].
    pub questions: BTreeMap<ItemId, Arc<Question>>,
    /// What a person answered for every question of the run.
    pub standing_answer: Option<Answer>,
    /// What a person is to look at, by the item of a Review that waits for that.
    pub shown: BTreeMap<ItemId, Value>,
    attempts: HashMap<AttemptId, (ItemId, BackendId)>,
}

/// A node of a run as people see it.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// How many of its items are in each state.
    pub counts: ItemCounts,
    /// Backends with live attempts of its items, each with their number.
    pub backends: BTreeMap<BackendId, u32>,
    /// The latest artifacts it made, the newest last.
    pub recent_artifacts: VecDeque<Arc<Artifact>>,
    /// The latest files it wrote, absolute paths, the newest last.
    pub recent_files: VecDeque<String>,
    /// How many files it wrote.
    pub files_written: u32,
    /// The latest value that is not a file ("0.73", a text).
    pub last_literal: Option<String>,
    /// The latest failures, of attempts too, the newest last.
    pub recent_failures: VecDeque<(ItemId, Failure)>,
    /// The latest remark ("3 of 4 not used").
    pub last_notice: Option<String>,
    /// Why the latest Skipped, Blocked or Cancelled item is so.
    pub last_reason: Option<String>,
}

/// An item of a run as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemView {
    /// Its node.
    pub node_id: NodeId,
    /// Where it is.
    pub state: ItemState,
    /// Attempts so far.
    pub attempts: u32,
    /// The backend of its latest attempt.
    pub backend_id: Option<BackendId>,
    /// What a person gave it, 0 to 5.
    pub rating: Option<u8>,
    /// Its labels in one line ("seed=7, size=512"); empty outside any fan-out.
    pub label: Box<str>,
}

impl RunView {
    /// A run before its first event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The fold of a log.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a RunEvent>) -> Self {
        let mut view = Self::new();
        for event in events {
            view.apply(event);
        }
        view
    }

    /// Ended items by all items so far, 0 to 1; 0 while there are none.
    #[must_use]
    pub fn fraction(&self) -> f32 {
        match self.counts.total() {
            0 => 0.0,
            total => self.counts.ended() as f32 / total as f32,
        }
    }

    /// Whether every output was made: what exit code 0 stands for.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == Some(RunState::Completed)
    }

    /// Takes in the next event. Events that were taken in before are ignored.
    pub fn apply(&mut self, event: &RunEvent) {
        if event.seq < self.next_seq {
            return;
        }
        self.next_seq = event.seq + 1;
        match &event.body {
            RunEventBody::RunCreated {
                project_id,
                project_name,
            } => {
                self.run_id = Some(event.run_id);
                self.project_id = Some(*project_id);
                self.project_name.clone_from(project_name);
                self.state = Some(RunState::Running);
                self.started_ms = event.at_ms;
            }
            RunEventBody::RunStateChanged { state } => {
                self.state = Some(*state);
                self.ended_ms = state.is_ended().then_some(event.at_ms);
            }
            RunEventBody::ItemCreated {
                item_id,
                node_id,
                labels,
                ..
            } => {
                let view = ItemView {
                    node_id: *node_id,
                    state: ItemState::Ready,
                    attempts: 0,
                    backend_id: None,
                    rating: None,
                    label: one_line(labels),
                };
                if self.items.insert(*item_id, view).is_none() {
                    self.counts.change(None, ItemState::Ready);
                    let node = self.nodes.entry(*node_id).or_default();
                    node.counts.change(None, ItemState::Ready);
                }
            }
            RunEventBody::ItemStateChanged {
                item_id,
                state,
                reason,
                shown,
            } => {
                self.set_state(*item_id, *state);
                if let Some(value) = shown {
                    self.shown.insert(*item_id, value.clone());
                }
                if let (Some(reason), Some(node)) = (reason, self.node_of(*item_id)) {
                    node.last_reason = Some(reason.clone());
                }
            }
            RunEventBody::AttemptPlaced {
                attempt_id,
                item_id,
                number,
                backend_id,
                ..
            } => {
                self.set_state(*item_id, ItemState::Submitted);
                if let Some(item) = self.items.get_mut(item_id) {
                    item.attempts = *number;
                    item.backend_id = Some(*backend_id);
                }
                self.attempts.insert(*attempt_id, (*item_id, *backend_id));
                if let Some(node) = self.node_of(*item_id) {
                    *node.backends.entry(*backend_id).or_default() += 1;
                }
            }
            RunEventBody::AttemptStarted { attempt_id } => {
                if let Some((item_id, _)) = self.attempts.get(attempt_id).copied() {
                    self.set_state(item_id, ItemState::Running);
                }
            }
            RunEventBody::AttemptFailed {
                attempt_id,
                failure,
            } => {
                if let Some(item_id) = self.end_attempt(*attempt_id)
                    && let Some(node) = self.node_of(item_id)
                {
                    push_bounded(
                        &mut node.recent_failures,
                        (item_id, failure.clone()),
                        RECENT_FAILURES,
                    );
                }
            }
            RunEventBody::AttemptCancelled { attempt_id }
            | RunEventBody::AttemptWithdrawn { attempt_id } => {
                self.end_attempt(*attempt_id);
            }
            RunEventBody::ItemDone {
                item_id,
                attempt_id,
                outputs,
                notices,
                source,
            } => {
                if let Some(attempt_id) = attempt_id {
                    self.end_attempt(*attempt_id);
                }
                self.set_state(*item_id, ItemState::Done);
                if *source == ResultSource::Cache {
                    self.from_cache += 1;
                }
                if let Some(node) = self.node_of(*item_id) {
                    for value in outputs.values() {
                        node.show(value);
                    }
                    if let Some(notice) = notices.last() {
                        node.last_notice = Some(notice.clone());
                    }
                }
            }
            RunEventBody::ItemFailed { item_id, failure } => {
                self.set_state(*item_id, ItemState::Failed);
                if let Some(node) = self.node_of(*item_id) {
                    push_bounded(
                        &mut node.recent_failures,
                        (*item_id, failure.clone()),
                        RECENT_FAILURES,
                    );
                }
            }
            RunEventBody::ItemAsks { item_id, question } => {
                self.set_state(*item_id, ItemState::Asking);
                self.questions.insert(*item_id, Arc::new(question.clone()));
            }
            RunEventBody::ItemAnswered { answer, origin, .. } => {
                if *origin == AnswerOrigin::ForRun {
                    self.standing_answer = Some(*answer);
                }
            }
            RunEventBody::ItemRated { item_id, rating } => {
                if let Some(item) = self.items.get_mut(item_id) {
                    item.rating = Some(*rating);
                }
            }
            RunEventBody::AttemptAccepted { .. }
            | RunEventBody::AttemptCalledOff { .. }
            | RunEventBody::RedoWished { .. }
            | RunEventBody::RedoWithdrawn { .. }
            | RunEventBody::AfterEndWished { .. }
            | RunEventBody::ItemEdited { .. }
            | RunEventBody::ItemPriorityChanged { .. }
            | RunEventBody::RunPriorityChanged { .. }
            | RunEventBody::NodePriorityChanged { .. }
            | RunEventBody::NodeCalledOff { .. }
            | RunEventBody::NodeTakenUp { .. } => {}
            RunEventBody::FilesWritten { item_id, paths } => {
                if let Some(node) = self.node_of(*item_id) {
                    node.files_written += paths.len() as u32;
                    for path in paths {
                        push_bounded(&mut node.recent_files, path.clone(), RECENT_ARTIFACTS);
                    }
                }
                self.files_written += paths.len() as u64;
                for path in paths {
                    push_bounded(&mut self.recent_files, path.clone(), RECENT_FILES);
                }
            }
        }
    }

    fn set_state(&mut self, item_id: ItemId, state: ItemState) {
        let Some(item) = self.items.get_mut(&item_id) else {
            return;
        };
        let before = std::mem::replace(&mut item.state, state);
        match before {
            ItemState::Asking => {
                self.questions.remove(&item_id);
            }
            ItemState::Parked => {
                self.shown.remove(&item_id);
            }
            _ => {}
        }
        self.counts.change(Some(before), state);
        if let Some(node) = self.nodes.get_mut(&item.node_id) {
            node.counts.change(Some(before), state);
        }
    }

    fn node_of(&mut self, item_id: ItemId) -> Option<&mut NodeView> {
        let node_id = self.items.get(&item_id)?.node_id;
        self.nodes.get_mut(&node_id)
    }

    fn end_attempt(&mut self, attempt_id: AttemptId) -> Option<ItemId> {
        let (item_id, backend_id) = self.attempts.remove(&attempt_id)?;
        if let Some(node) = self.node_of(item_id)
            && let Some(count) = node.backends.get_mut(&backend_id)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                node.backends.remove(&backend_id);
            }
        }
        Some(item_id)
    }
}

impl NodeView {
    /// Keeps what can be shown of a value; of a long list its end.
    fn show(&mut self, value: &Value) {
        match value {
            Value::Trigger => {}
            Value::Literal(literal) => self.last_literal = Some(literal.to_string()),
            Value::Artifact(artifact) => {
                push_bounded(
                    &mut self.recent_artifacts,
                    artifact.clone(),
                    RECENT_ARTIFACTS,
                );
            }
            Value::Batch(batch) => {
                for artifact in batch.iter().rev().take(RECENT_ARTIFACTS).rev() {
                    push_bounded(
                        &mut self.recent_artifacts,
                        artifact.clone(),
                        RECENT_ARTIFACTS,
                    );
                }
            }
            Value::List(list) => {
                for element in list.iter().rev().take(RECENT_ARTIFACTS).rev() {
                    self.show(&element.value);
                }
            }
        }
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, value: T, limit: usize) {
    if queue.len() >= limit {
        queue.pop_front();
    }
    queue.push_back(value);
}

fn one_line(labels: &Labels) -> Box<str> {
    let parts: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.join(", ").into()
}
