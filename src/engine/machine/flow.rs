//! How values flow: tokens arrive, join into items, items are evaluated, and what they give flows on.

use super::item::{Item, ItemIndex};
use super::merged_list;
use super::path::{self, Path};
use super::run::{Partial, Run, Work};
use super::token::{Content, Hole, HoleKind, TokenIndex};
use super::values::{collapsed, leaf_count};
use crate::engine::event::{ItemState, ResultSource, RunEventBody, RunState};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::{AttemptId, ItemId};
use crate::engine::plan::{MAX_ITEMS_PER_RUN, NodeIndex};
use crate::engine::value::Value;
use crate::project::{FanOutSource, NodeKind, OnFailure, PortBinding, PortId};
use std::collections::BTreeMap;

/// The reason of an item that a person cancelled.
pub(super) const CANCELLED_BY_A_PERSON: &str = "somebody cancelled it";
/// Why items of a node that a person called off do not run.
pub(super) const NODE_CALLED_OFF: &str = "its node was cancelled";

/// How an item ended.
pub(super) enum End {
    Done {
        attempt_id: Option<AttemptId>,
        outputs: BTreeMap<PortId, Value>,
        source: ResultSource,
        notices: Vec<String>,
    },
    Failed(Failure),
    Cancelled(String),
    Hole(Hole),
}

impl Run {
    /// Does everything that follows from what happened, until nothing more does.
    pub fn drain_work(&mut self) {
        loop {
            while let Some(work) = self.work.pop_front() {
                match work {
                    Work::Arrive { node, input, token } => self.arrive(node, input, token),
                    Work::Evaluate(item) => self.evaluate(item),
                }
            }
            let Some(node) = self.candidates.pop_first() else {
                return;
            };
            self.close_sources(node);
            if !self.work.is_empty() {
                self.candidates.insert(node);
                continue;
            }
            let planned = &self.plan.nodes[node];
            let can_end = !self.nodes[node].is_exhausted
                && self.nodes[node].unended == 0
                && planned
                    .sources
                    .iter()
                    .all(|source| self.nodes[*source].is_exhausted);
            if can_end {
                self.candidates.extend(planned.dependents.iter().copied());
                self.nodes[node].is_exhausted = true;
                self.exhausted_nodes += 1;
            }
        }
    }

    fn arrive(&mut self, node: NodeIndex, input: usize, token: TokenIndex) {
        if self.plan.nodes[node].inputs[input].collector.is_some() {
            self.collect(node, input, token);
        } else {
            self.insert(node, input, token);
        }
    }

    /// Brings a token into the join of a node.
    pub fn insert(&mut self, node: NodeIndex, input: usize, token: TokenIndex) {
        let plan = self.plan.clone();
        let path = self.tokens[token as usize].path.clone();
        if input == 0 {
            let first = Partial {
                path,
                tokens: Box::new([token]),
            };
            self.advance(node, 0, first);
            return;
        }
        let stage_index = input - 1;
        let stage = &plan.nodes[node].stages[stage_index];
        let key = path::project(&path, &stage.right_key);
        let seen = &mut self.nodes[node].joins[stage_index];
        let lefts = seen.left.get(&key).cloned().unwrap_or_default();
        seen.right.entry(key).or_default().push(token);
        for left in lefts {
            let joined = Partial {
                path: path::join(stage, &left.path, &path),
                tokens: with(&left.tokens, token),
            };
            self.advance(node, stage_index + 1, joined);
        }
    }

    /// Joins what the first `stage_index + 1` inputs agreed on with what the next one has seen.
    fn advance(&mut self, node: NodeIndex, stage_index: usize, partial: Partial) {
        let plan = self.plan.clone();
        let Some(stage) = plan.nodes[node].stages.get(stage_index) else {
            self.create_item(node, partial.path, partial.tokens);
            return;
        };
        let key = path::project(&partial.path, &stage.left_key);
        let seen = &mut self.nodes[node].joins[stage_index];
        let rights = seen.right.get(&key).cloned().unwrap_or_default();
        seen.left.entry(key).or_default().push(partial.clone());
        for right in rights {
            let joined = Partial {
                path: path::join(stage, &partial.path, &self.tokens[right as usize].path),
                tokens: with(&partial.tokens, right),
            };
            self.advance(node, stage_index + 1, joined);
        }
    }

    pub fn create_item(&mut self, node: NodeIndex, path: Path, inputs: Box<[TokenIndex]>) {
        if self.items.len() as u64 >= MAX_ITEMS_PER_RUN {
            self.stop_for_size();
            return;
        }
        let planned = &self.plan.nodes[node];
        let index_path = path::index_path(&self.plan, &planned.open, &path);
        let node_id = planned.node.id;
        let item_id = ItemId::derive(self.run_id, node_id, &index_path);
        let labels = self.labels_at(&planned.open, &path);
        let index = self.items.len() as ItemIndex;
        // An input may be in the making again (a retry) while an independent one brings a new combination.
        let missing: Vec<TokenIndex> = inputs
            .iter()
            .copied()
            .filter(|token| matches!(self.tokens[*token as usize].content, Content::Pending))
            .collect();
        let node_state = &mut self.nodes[node];
        self.items.push(Item {
            item_id,
            node,
            ordinal: node_state.item_count,
            path,
            inputs,
            given: Vec::new(),
            state: ItemState::Ready,
            missing: missing.len() as u32,
            is_cancel_wished: false,
            priority: self.node_priorities.get(&node).copied().unwrap_or(0),
            is_looked_up: false,
            attempts: 0,
            live_attempt: None,
            trouble: None,
        });
        node_state.item_count += 1;
        node_state.unended += 1;
        self.item_by_id.insert(item_id, index);
        self.emit(RunEventBody::ItemCreated {
            item_id,
            node_id,
            path: index_path,
            labels,
        });
        if missing.is_empty() {
            self.work.push_back(Work::Evaluate(index));
        } else {
            self.set_item_state(index, ItemState::Waiting);
            self.emit_state(index, None);
            for token in missing {
                self.waiting_on.entry(token).or_default().push(index);
            }
        }
    }

    /// The run grew beyond what it may: nothing new starts, what runs finishes.
    fn stop_for_size(&mut self) {
        if !self.is_called_off() {
            self.call_off(
                RunState::Stopping,
                &format!("the run would have more than {MAX_ITEMS_PER_RUN} items"),
            );
        }
    }

    /// Decides what becomes of an item whose inputs are all there.
    fn evaluate(&mut self, index: ItemIndex) {
        let item = &self.items[index as usize];
        if !matches!(item.state, ItemState::Ready | ItemState::Waiting) {
            return;
        }
        if self.waits_for_inputs(index) {
            return;
        }
        let item = &self.items[index as usize];
        let plan = self.plan.clone();
        let planned = &plan.nodes[item.node];
        if let Some(hole) = self.hole_at(index, HoleKind::Gone) {
            self.end_item(index, End::Hole(hole));
            return;
        }
        if let Some(hole) = self.needless(index) {
            self.end_item(index, End::Hole(hole));
            return;
        }
        if self.items[index as usize].is_cancel_wished {
            self.end_item(index, End::Cancelled(CANCELLED_BY_A_PERSON.to_owned()));
            return;
        }
        if planned.is_merge_either() {
            self.evaluate_either(index);
            return;
        }
        let absent = self
            .hole_at(index, HoleKind::Skipped)
            .or_else(|| self.no_values_at(index))
            .or_else(|| self.hole_at(index, HoleKind::Blocked));
        if let Some(hole) = absent {
            self.end_item(index, End::Hole(hole));
            return;
        }
        if self.is_called_off() {
            self.end_item(index, End::Cancelled(self.called_off_reason()));
            return;
        }
        if self
            .called_off_nodes
            .contains(&self.items[index as usize].node)
        {
            self.end_item(index, End::Cancelled(NODE_CALLED_OFF.to_owned()));
            return;
        }
        match &planned.node.kind {
            NodeKind::Merge(_) => merged_list::evaluate(self, index),
            NodeKind::FanOut(fan_out) if !matches!(fan_out.source, FanOutSource::Files(_)) => {
                self.end_item(index, done(BTreeMap::new()));
            }
            NodeKind::Review(_) => self.park(index),
            _ => self.make_ready(index),
        }
    }

    /// Whether an input is being made again; then the item waits for it.
    fn waits_for_inputs(&mut self, index: ItemIndex) -> bool {
        let pending: Vec<TokenIndex> = self.items[index as usize]
            .inputs
            .iter()
            .copied()
            .filter(|token| matches!(self.tokens[*token as usize].content, Content::Pending))
            .collect();
        self.items[index as usize].missing = pending.len() as u32;
        if pending.is_empty() {
            return false;
        }
        for token in pending {
            let waiting = self.waiting_on.entry(token).or_default();
            if !waiting.contains(&index) {
                waiting.push(index);
            }
        }
        if self.items[index as usize].state != ItemState::Waiting {
            self.leave_queues(index);
            self.set_item_state(index, ItemState::Waiting);
            self.emit_state(index, None);
        }
        true
    }

    /// The item waits for a backend or a worker.
    pub fn make_ready(&mut self, index: ItemIndex) {
        if self.items[index as usize].state != ItemState::Ready {
            self.set_item_state(index, ItemState::Ready);
            self.emit_state(index, None);
        }
        self.enter_queue(index);
    }

    /// A person cancelled an item that waits for what is being made again.
    pub fn wish_cancelled(&mut self, index: ItemIndex) {
        let item = &mut self.items[index as usize];
        if !std::mem::replace(&mut item.is_cancel_wished, true) {
            self.emit_state(
                index,
                Some("somebody cancelled it; it ends when what it is made from is there"),
            );
        }
    }

    pub fn called_off_reason(&self) -> String {
        match self.state {
            RunState::Stopping => "the run was stopped".to_owned(),
            _ => "the run was cancelled".to_owned(),
        }
    }

    /// The first absence of this kind among an item's inputs.
    fn hole_at(&self, index: ItemIndex, kind: HoleKind) -> Option<Hole> {
        self.items[index as usize].inputs.iter().find_map(|token| {
            match &self.tokens[*token as usize].content {
                Content::Hole(hole) if hole.kind == kind => Some(hole.clone()),
                _ => None,
            }
        })
    }

    /// Rule 10: a Workflow, Review or Output fed by an empty list is Skipped.
    fn no_values_at(&self, index: ItemIndex) -> Option<Hole> {
        let item = &self.items[index as usize];
        let planned = &self.plan.nodes[item.node];
        if !matches!(
            planned.node.kind,
            NodeKind::Workflow(_) | NodeKind::Review(_) | NodeKind::Output(_)
        ) {
            return None;
        }
        (0..item.inputs.len()).find_map(|input| {
            let value = self.input_value(index, input)?;
            (leaf_count(value) == 0 && matches!(value, Value::List(_) | Value::Batch(_))).then(
                || {
                    let source = planned.inputs[input].source;
                    let title = &self.plan.nodes[source].node.title;
                    Hole {
                        kind: HoleKind::Skipped,
                        reason: format!("no values: the list from \"{title}\" is empty").into(),
                    }
                },
            )
        })
    }

    /// Merge (either): the one value that exists.
    fn evaluate_either(&mut self, index: ItemIndex) {
        let item = &self.items[index as usize];
        let value =
            (0..item.inputs.len()).find_map(|input| self.input_value(index, input).cloned());
        let end = if let Some(value) = value {
            if self.is_called_off() {
                End::Cancelled(self.called_off_reason())
            } else {
                let planned = &self.plan.nodes[self.items[index as usize].node];
                let outputs = planned
                    .node
                    .outputs
                    .iter()
                    .filter(|port| port.binding != PortBinding::ContactSheet)
                    .map(|port| (port.id, value.clone()))
                    .collect();
                done(outputs)
            }
        } else {
            let hole = self
                .hole_at(index, HoleKind::Blocked)
                .or_else(|| self.hole_at(index, HoleKind::Skipped))
                .unwrap_or_else(|| Hole {
                    kind: HoleKind::Skipped,
                    reason: "nothing is linked to it".into(),
                });
            End::Hole(hole)
        };
        self.end_item(index, end);
    }

    /// Ends an item: its state, its event, and what flows on from it.
    pub fn end_item(&mut self, index: ItemIndex, end: End) {
        let item_id = self.items[index as usize].item_id;
        self.items[index as usize].live_attempt = None;
        match end {
            End::Done {
                attempt_id,
                outputs,
                source,
                notices,
            } => {
                self.set_item_state(index, ItemState::Done);
                if source == ResultSource::Cache {
                    // An answer to other fields than those of this moment was not taken.
                    let edits = self.edits.get(&index).cloned().unwrap_or_default();
                    self.note_made_with(index, edits);
                }
                self.emit(RunEventBody::ItemDone {
                    item_id,
                    attempt_id,
                    outputs: merged_list::worth_recording(self, index, &outputs),
                    source,
                    notices,
                });
                self.give_outputs(index, &outputs);
            }
            End::Failed(failure) => {
                self.set_item_state(index, ItemState::Failed);
                let reason = format!("{} failed: {}", self.name_of(index), failure.message);
                self.emit(RunEventBody::ItemFailed { item_id, failure });
                self.give_hole(index, HoleKind::Blocked, reason.into());
                let node = self.items[index as usize].node;
                if self.plan.nodes[node].node.on_failure == OnFailure::StopRun
                    && !self.is_called_off()
                {
                    let reason =
                        format!("the run was stopped because {} failed", self.name_of(index));
                    self.call_off(RunState::Stopping, &reason);
                }
            }
            End::Cancelled(reason) => {
                self.set_item_state(index, ItemState::Cancelled);
                self.emit_state(index, Some(&reason));
                let reason = format!("{} was cancelled", self.name_of(index));
                self.give_hole(index, HoleKind::Blocked, reason.into());
            }
            End::Hole(hole) => {
                let state = match hole.kind {
                    HoleKind::Skipped | HoleKind::Gone => ItemState::Skipped,
                    HoleKind::Blocked => ItemState::Blocked,
                };
                self.set_item_state(index, state);
                self.emit_state(index, Some(&hole.reason));
                self.give_hole(index, hole.kind, hole.reason);
            }
        }
    }

    /// Nothing that has not started starts any more: Ready and Waiting items, and those that ask, are cancelled, and what was
    /// to be made again stays as it is.
    pub fn call_off(&mut self, state: RunState, reason: &str) {
        self.set_run_state(state);
        self.redo_wishes.clear();
        if state == RunState::Cancelling {
            self.after_end = None;
        }
        self.attempts_to_call_off = true;
        self.cancel_unstarted(reason);
    }

    pub fn cancel_unstarted(&mut self, reason: &str) {
        // Of the items that have not started, only those without live work; later ones see the state of the run.
        let unstarted: Vec<ItemIndex> = (0..self.items.len() as ItemIndex)
            .filter(|index| {
                let item = &self.items[*index as usize];
                matches!(
                    item.state,
                    ItemState::Ready | ItemState::Waiting | ItemState::Parked | ItemState::Asking
                )
            })
            .collect();
        for index in unstarted {
            self.end_item(index, End::Cancelled(reason.to_owned()));
        }
    }

    /// The values an attempt or a cached result gives, as they are recorded. A port whose list is empty has none.
    pub fn recorded_outputs(
        &self,
        node: NodeIndex,
        ports: BTreeMap<PortId, Vec<Value>>,
    ) -> BTreeMap<PortId, Value> {
        let known = &self.plan.nodes[node].node.outputs;
        ports
            .into_iter()
            .filter(|(port_id, _)| known.iter().any(|port| port.id == *port_id))
            .filter_map(|(port_id, values)| collapsed(values).map(|value| (port_id, value)))
            .collect()
    }
}

/// Whether a group counts a member with this content as there.
pub(super) fn is_counted(content: &Content) -> bool {
    match content {
        Content::Pending => false,
        Content::Value(_) | Content::Group => true,
        Content::Hole(hole) => hole.kind != HoleKind::Gone,
    }
}

/// What a member with this content counts for its group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight {
    /// It is there.
    pub is_counted: bool,
    /// It is a value.
    pub is_value: bool,
}

/// See [`Weight`].
pub(super) fn weight(content: &Content) -> Weight {
    Weight {
        is_counted: is_counted(content),
        is_value: matches!(content, Content::Value(_)),
    }
}

/// Done by this machine, without a remark.
pub(super) fn done(outputs: BTreeMap<PortId, Value>) -> End {
    End::Done {
        attempt_id: None,
        outputs,
        source: ResultSource::Made,
        notices: Vec::new(),
    }
}

/// A failure of our own.
pub(super) fn local_failure(message: String) -> Failure {
    Failure::new(FailureClass::Local, message)
}

fn with(tokens: &[TokenIndex], token: TokenIndex) -> Box<[TokenIndex]> {
    let mut longer = Vec::with_capacity(tokens.len() + 1);
    longer.extend_from_slice(tokens);
    longer.push(token);
    longer.into_boxed_slice()
}
