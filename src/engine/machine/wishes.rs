//! What a person wants of a node or of some items while a run goes on: calling off, another chance, who goes first.

use super::Machine;
use super::flow::{End, NODE_CALLED_OFF};
use super::run::{ItemIndex, Run};
use crate::engine::command::RetryScope;
use crate::engine::event::{ItemState, RunEventBody};
use crate::engine::id::{AttemptId, RunId};
use crate::engine::plan::NodeIndex;
use crate::project::NodeId;

impl Machine {
    /// Calls a node off: its items that have not ended, and those still to come.
    pub(super) fn cancel_node(&mut self, now_ms: u64, run_id: RunId, node_id: NodeId) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        if run.state.is_ended() {
            return;
        }
        let live = run.call_off_node(node_id);
        self.flush(now_ms, run_id);
        for attempt_id in live {
            self.call_off_attempt(attempt_id);
        }
    }

    /// Gives failed and cancelled items another chance: at once, or as soon as nothing made from them executes.
    pub(super) fn retry(&mut self, run_id: RunId, scope: &RetryScope) {
        if *scope == RetryScope::Run {
            self.retry_failed(run_id);
            return;
        }
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        if run.is_called_off_for_now() {
            return;
        }
        let is_meant = |run: &Run, index: ItemIndex| {
            let item = &run.items[index as usize];
            match scope {
                RetryScope::Run => true,
                RetryScope::Node(node_id) => run.plan.nodes[item.node].node.id == *node_id,
                RetryScope::Items(item_ids) => item_ids.contains(&item.item_id),
            }
        };
        let chosen: Vec<ItemIndex> = (0..run.items.len() as ItemIndex)
            .filter(|index| {
                matches!(
                    run.items[*index as usize].state,
                    ItemState::Failed | ItemState::Cancelled
                ) && is_meant(run, *index)
            })
            .collect();
        let called_off: Vec<NodeId> = run
            .called_off_nodes
            .iter()
            .map(|node| run.plan.nodes[*node].node.id)
            .filter(|node_id| match scope {
                RetryScope::Node(wanted) => wanted == node_id,
                _ => chosen.iter().any(|index| {
                    run.plan.nodes[run.items[*index as usize].node].node.id == *node_id
                }),
            })
            .collect();
        for node_id in called_off {
            run.take_up_node(node_id);
        }
        for index in chosen {
            if !run.redo_wishes.contains(&index) {
                run.redo_wishes.push(index);
            }
        }
        run.fulfil_redo_wishes();
    }
}

impl Run {
    fn index_of(&self, node_id: NodeId) -> Option<NodeIndex> {
        self.plan
            .nodes
            .iter()
            .position(|planned| planned.node.id == node_id)
    }

    /// Cancels what has not started of a node, and gives its live attempts.
    pub(super) fn call_off_node(&mut self, node_id: NodeId) -> Vec<AttemptId> {
        let Some(node) = self.index_of(node_id) else {
            return Vec::new();
        };
        if !self.called_off_nodes.insert(node) {
            return Vec::new();
        }
        self.emit(RunEventBody::NodeCalledOff { node_id });
        let unended: Vec<ItemIndex> = (0..self.items.len() as ItemIndex)
            .filter(|index| {
                let item = &self.items[*index as usize];
                item.node == node && !item.state.is_ended()
            })
            .collect();
        let mut live = Vec::new();
        for index in unended {
            let item = &self.items[index as usize];
            match item.state {
                ItemState::Submitted | ItemState::Running => live.extend(item.live_attempt),
                _ => self.end_item(index, End::Cancelled(NODE_CALLED_OFF.to_owned())),
            }
        }
        live
    }

    /// A node that was called off has another chance.
    pub(super) fn take_up_node(&mut self, node_id: NodeId) {
        if let Some(node) = self.index_of(node_id)
            && self.called_off_nodes.remove(&node)
        {
            self.emit(RunEventBody::NodeTakenUp { node_id });
        }
    }

    /// Every node that was called off has another chance.
    pub(super) fn take_up_nodes(&mut self) {
        for node in std::mem::take(&mut self.called_off_nodes) {
            let node_id = self.plan.nodes[node].node.id;
            self.emit(RunEventBody::NodeTakenUp { node_id });
        }
    }

    /// Moves the items of a node, and those still to come, before or behind others.
    pub(super) fn set_node_priority(&mut self, node_id: NodeId, priority: i32) {
        let Some(node) = self.index_of(node_id) else {
            return;
        };
        let before = self.node_priorities.insert(node, priority);
        let mut has_changed = before.unwrap_or(0) != priority;
        for index in 0..self.items.len() as ItemIndex {
            if self.items[index as usize].node == node {
                has_changed |= self.requeue(index, priority);
            }
        }
        if has_changed {
            self.emit(RunEventBody::NodePriorityChanged { node_id, priority });
        }
    }
}
