//! What a person wants of a run, a node of it or some items: calling off, another chance, who goes first; and what of it has to
//! wait.

use super::Machine;
use super::flow::{CANCELLED_BY_A_PERSON, End, NODE_CALLED_OFF};
use super::item::ItemIndex;
use super::run::{RedoWish, Run};
use crate::artifacts::ContentHash;
use crate::engine::command::{RetryScope, RunWish};
use crate::engine::event::{AfterEnd, CallOff, ItemState, RunEventBody, RunState};
use crate::engine::id::{AttemptId, ItemId, RunId};
use crate::engine::plan::NodeIndex;
use crate::project::NodeId;
use std::collections::BTreeSet;

impl Machine {
    /// Notes what a person wants of a run, and does it as far as it can be done now. What is to be made again begins when all
    /// that came together is noted.
    pub(super) fn wish(&mut self, now_ms: u64, run_id: RunId, wish: RunWish) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        match wish {
            RunWish::Cancel => {
                run.cancel();
                self.call_off_waiting(now_ms, run_id);
            }
            RunWish::CancelItem(item_id) => self.cancel_item(now_ms, run_id, item_id),
            RunWish::CancelNode(node_id) => self.cancel_node(now_ms, run_id, node_id),
            RunWish::Pause => run.pause(),
            RunWish::Resume => run.resume(),
            RunWish::Retry(scope) => self.retry(run_id, &scope),
            RunWish::Review(answers) => {
                for answer in answers {
                    run.take_answer(answer);
                }
            }
            RunWish::Answer {
                item_ids,
                answer,
                reach,
            } => self.answer(run_id, &item_ids, answer, reach),
            RunWish::RedoItem { item_id, fields } => {
                if let Some(index) = run.item_by_id.get(&item_id).copied() {
                    run.redo(index, fields);
                }
            }
            RunWish::SetPriority(priority) => run.set_priority(priority),
            RunWish::SetItemPriority { item_ids, priority } => {
                for item_id in item_ids {
                    run.prioritise(item_id, priority);
                }
            }
            RunWish::SetNodePriority { node_id, priority } => {
                run.set_node_priority(node_id, priority);
            }
        }
    }

    fn cancel_item(&mut self, now_ms: u64, run_id: RunId, item_id: ItemId) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        let Some(index) = run.item_by_id.get(&item_id).copied() else {
            return;
        };
        run.withdraw_redo(index);
        let item = &run.items[index as usize];
        match item.state {
            ItemState::Ready | ItemState::Parked | ItemState::Asking => {
                run.end_item(index, End::Cancelled(CANCELLED_BY_A_PERSON.to_owned()));
            }
            ItemState::Waiting => run.wish_cancelled(index),
            ItemState::Submitted | ItemState::Running => {
                if let Some(attempt_id) = item.live_attempt {
                    self.flush(now_ms, run_id);
                    self.call_off_attempt(now_ms, attempt_id, CallOff::ForGood);
                } else if self.local_waiting.contains(&item_id) {
                    self.call_off_local(now_ms, item_id, CANCELLED_BY_A_PERSON.to_owned());
                }
            }
            _ => {}
        }
    }

    /// Calls a node off: its items that have not ended, and those still to come.
    fn cancel_node(&mut self, now_ms: u64, run_id: RunId, node_id: NodeId) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        if run.state.is_ended() {
            return;
        }
        let live = run.call_off_node(node_id);
        self.flush(now_ms, run_id);
        for attempt_id in live {
            self.call_off_attempt(now_ms, attempt_id, CallOff::ForGood);
        }
        self.call_off_waiting(now_ms, run_id);
    }

    /// Gives everything that failed or was cancelled another chance: at once, and what cannot be made again yet when the run
    /// comes to its end.
    fn retry_failed(&mut self, run_id: RunId) {
        let being_cancelled = self.being_cancelled(run_id);
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        run.take_up_nodes();
        run.forgive(|_, _| true);
        let workflows: BTreeSet<ContentHash> = run
            .plan
            .nodes
            .iter()
            .filter_map(|planned| planned.workflow_hash)
            .collect();
        if run.is_called_off_for_now()
            || !run.reopen(&[ItemState::Failed, ItemState::Cancelled])
            || !being_cancelled.is_empty()
        {
            run.wish_after_end(Some(AfterEnd::Retry));
        }
        self.forget_inability(&workflows);
    }

    /// Somebody may have mended what backends lacked for these workflows; if not, the next attempt says so again.
    fn forget_inability(&mut self, workflows: &BTreeSet<ContentHash>) {
        self.learned_unable
            .retain(|(workflow, _), _| !workflows.contains(workflow));
    }

    /// Gives failed and cancelled items another chance: at once, or as soon as nothing made from them executes.
    fn retry(&mut self, run_id: RunId, scope: &RetryScope) {
        if *scope == RetryScope::Run {
            self.retry_failed(run_id);
            return;
        }
        let being_cancelled = self.being_cancelled(run_id);
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
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
                let is_bad = matches!(
                    run.items[*index as usize].state,
                    ItemState::Failed | ItemState::Cancelled
                );
                (is_bad || being_cancelled.contains(index)) && is_meant(run, *index)
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
        run.forgive(is_meant);
        for index in &chosen {
            run.wish_redo(*index, RedoWish::Retry);
        }
        run.fulfil_redo_wishes();
        let later: Vec<ItemId> = chosen
            .iter()
            .filter(|index| run.redo_wishes.contains_key(index))
            .map(|index| run.items[*index as usize].item_id)
            .collect();
        if !later.is_empty() {
            run.emit(RunEventBody::RedoWished { item_ids: later });
        }
        let workflows = chosen
            .iter()
            .filter_map(|index| run.plan.nodes[run.items[*index as usize].node].workflow_hash)
            .collect();
        self.forget_inability(&workflows);
    }

    /// Items whose attempts are being called off for good at this moment.
    fn being_cancelled(&self, run_id: RunId) -> BTreeSet<ItemIndex> {
        let Some(run) = self.runs.get(&run_id) else {
            return BTreeSet::new();
        };
        let live = run.items.iter().filter_map(|item| item.live_attempt);
        live.filter_map(|attempt_id| self.attempts.get(&attempt_id))
            .filter(|attempt| attempt.called_off == Some(CallOff::ForGood))
            .map(|attempt| attempt.item)
            .filter(|index| run.needless(*index).is_none())
            .collect()
    }
}

impl Run {
    fn cancel(&mut self) {
        if self.state == RunState::Cancelling {
            // What was wished since is called off, too.
            self.withdraw_wishes();
        } else if !self.state.is_ended() {
            self.call_off(RunState::Cancelling, "the run was cancelled");
        }
    }

    fn pause(&mut self) {
        if self.state == RunState::Running {
            self.set_run_state(RunState::Paused);
        }
    }

    fn resume(&mut self) {
        match self.state {
            RunState::Paused => self.set_run_state(RunState::Running),
            RunState::Cancelled => {
                self.reopen(&[ItemState::Cancelled]);
                // Nothing was missing: it ends as what it is.
                self.set_run_state(RunState::Running);
            }
            RunState::Cancelling if self.after_end.is_none() => {
                self.wish_after_end(Some(AfterEnd::Resume));
            }
            _ => {}
        }
        self.unchecked_nodes
            .extend(self.active_nodes.iter().copied());
    }

    fn set_priority(&mut self, priority: i32) {
        if self.priority != priority {
            self.priority = priority;
            self.emit(RunEventBody::RunPriorityChanged { priority });
        }
    }

    /// Whether the run is being cancelled or stopped at this moment.
    pub(super) fn is_called_off_for_now(&self) -> bool {
        self.is_called_off() && !self.state.is_ended()
    }

    /// An item is to be made again as soon as nothing made from it executes. One that is still to be made is made anyway.
    pub(super) fn wish_redo(&mut self, index: ItemIndex, wish: RedoWish) {
        let state = self.items[index as usize].state;
        // What asks is made again instead of being answered.
        let has_begun = matches!(
            state,
            ItemState::Submitted | ItemState::Running | ItemState::Asking
        );
        if has_begun || state.is_ended() {
            self.may_redo = true;
            let known = self.redo_wishes.entry(index).or_insert(wish);
            if wish == RedoWish::Again {
                *known = wish;
            }
        }
    }

    /// Reopens items that are to be made again, as far as nothing made from them executes right now. In a run that is being
    /// called off nothing is: there they wait for its end.
    pub(super) fn fulfil_redo_wishes(&mut self) {
        if self.may_redo && !self.is_called_off_for_now() {
            self.redo_what_can_be();
        }
    }

    fn redo_what_can_be(&mut self) {
        self.may_redo = false;
        let needed = self.needed_by_what_executes();
        // Where something made from it executes the wish stays.
        let free: BTreeSet<ItemIndex> = self
            .redo_wishes
            .keys()
            .copied()
            .filter(|index| !needed[*index as usize])
            .collect();
        if !free.is_empty() {
            self.reopen_where(|_, index| free.contains(&index));
        }
    }

    /// An item is not to be made again after all.
    pub(super) fn withdraw_redo(&mut self, index: ItemIndex) {
        if self.redo_wishes.remove(&index).is_some() {
            let item_id = self.items[index as usize].item_id;
            self.emit(RunEventBody::RedoWithdrawn { item_id });
        }
    }

    /// Nothing is to be made again after all, and the run is to end when it comes to its end.
    pub(super) fn withdraw_wishes(&mut self) {
        let wished: Vec<ItemIndex> = self.redo_wishes.keys().copied().collect();
        for index in wished {
            self.withdraw_redo(index);
        }
        self.wish_after_end(None);
    }

    /// Notes what is to become of the run when it comes to its end.
    pub(super) fn wish_after_end(&mut self, wish: Option<AfterEnd>) {
        if self.after_end != wish {
            self.after_end = wish;
            self.emit(RunEventBody::AfterEndWished { wish });
        }
    }

    /// Items that were cancelled while they wait for what is being made again are wanted after all.
    fn forgive(&mut self, is_meant: impl Fn(&Self, ItemIndex) -> bool) {
        let forgiven: Vec<ItemIndex> = (0..self.items.len() as ItemIndex)
            .filter(|index| self.items[*index as usize].is_cancel_wished && is_meant(self, *index))
            .collect();
        if forgiven.is_empty() {
            return;
        }
        let mut item_ids = Vec::with_capacity(forgiven.len());
        for index in forgiven {
            let item = &mut self.items[index as usize];
            item.is_cancel_wished = false;
            item_ids.push(item.item_id);
        }
        self.emit(RunEventBody::RedoWished { item_ids });
    }

    /// Every item has ended: begins what was wished for then. Says whether the run goes on.
    pub(super) fn begin_what_was_wished(&mut self) -> bool {
        let mut goes_on = false;
        if let Some(wish) = self.after_end {
            let states: &[ItemState] = match wish {
                AfterEnd::Resume => &[ItemState::Cancelled],
                AfterEnd::Retry => &[ItemState::Failed, ItemState::Cancelled],
            };
            goes_on = self.end_state() != RunState::Completed && self.reopen(states);
            self.wish_after_end(None);
        }
        self.redo_what_can_be();
        goes_on |= !self.is_exhausted();
        if goes_on {
            self.set_run_state(RunState::Running);
        }
        goes_on
    }

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
        let items = &self.items;
        self.redo_wishes
            .retain(|index, _| items[*index as usize].node != node);
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
