//! From a log back to a run: the same code makes the same things follow, and what a crash cut off is recorded now.

use super::flow::End;
use super::item::ItemIndex;
use super::local_orders::local_work;
use super::merged_list;
use super::run::{RedoWish, Run};
use super::token::{Hole, HoleKind};
use super::{Effect, LocalOrder, Machine};
use crate::engine::event::{CallOff, ItemState, RunEvent, RunEventBody, RunState};
use crate::engine::id::{AttemptId, ItemId, RunId};
use crate::engine::plan::Plan;
use std::collections::HashSet;
use std::sync::Arc;

impl Machine {
    /// Rebuilds a run from its log, in the log's order. It rests until [`super::Input::TakeUp`] or a wish takes it up again. Run
    /// times in the log are learned as far as nobody has learned them yet: neither this machine, nor the one whose estimates it
    /// took over. An empty log makes a run that is about to begin.
    pub fn restore(
        &mut self,
        run_id: RunId,
        plan: Arc<Plan>,
        events: impl IntoIterator<Item = RunEvent>,
    ) {
        if self.runs.contains_key(&run_id) {
            return;
        }
        self.runs.insert(run_id, Run::new(run_id, plan, self.cache));
        self.dormant.insert(run_id);
        // Of what backends lack, and have loaded, an old log knows less than what was seen since.
        let (unable, loaded) = (self.learned_unable.clone(), self.loaded.clone());
        let learned_until_ms = if self.lived.insert(run_id) {
            self.estimates.as_of_ms()
        } else {
            u64::MAX
        };
        let mut known = (learned_until_ms > 0).then(|| self.estimates.clone());
        for event in events {
            if event.at_ms > learned_until_ms
                && let Some(known) = known.take()
            {
                self.estimates = known;
            }
            self.replay(run_id, event);
        }
        if let Some(known) = known {
            self.estimates = known;
        }
        self.learned_unable = unable;
        self.loaded.extend(loaded);
        if let Some(run) = self.runs.get_mut(&run_id) {
            for trouble in run
                .items
                .iter_mut()
                .filter_map(|item| item.trouble.as_mut())
            {
                trouble.lacking.clear();
            }
        }
    }

    /// Takes a restored run up again: records what a crash cut off, asks what became of live attempts
    /// ([`Effect::Reconcile`]), orders unfinished local work again. A run that was paused stays paused.
    pub(super) fn take_up(&mut self, now_ms: u64, run_id: RunId) {
        if !self.dormant.remove(&run_id) {
            return;
        }
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        if run.next_seq == 0 {
            run.emit(RunEventBody::RunCreated {
                project_id: run.plan.project.id,
                project_name: run.plan.project.name.clone(),
            });
            run.begin();
        }
        let cut_off: Vec<RunEventBody> = run.unlogged.drain(..).collect();
        // Of several words on one item the last counts, and only if the log does not say so already.
        let logged = std::mem::take(&mut run.logged);
        let mut told: HashSet<ItemId> = HashSet::new();
        let mut answered: HashSet<ItemId> = HashSet::new();
        let mut still_true: Vec<RunEventBody> = Vec::with_capacity(cut_off.len());
        for body in cut_off.into_iter().rev() {
            let is_news = state_told(&body).is_none_or(|(item_id, state)| {
                logged.get(&item_id) != Some(&state) && told.insert(item_id)
            });
            // No answer stands in a log without its question.
            let is_needed = match &body {
                RunEventBody::ItemAnswered { item_id, .. } => {
                    answered.insert(*item_id);
                    false
                }
                RunEventBody::ItemAsks { item_id, .. } => answered.remove(item_id),
                _ => false,
            };
            if is_needed || (is_news && is_still_true(run, &body)) {
                still_true.push(body);
            }
        }
        still_true.reverse();
        run.outbox.splice(0..0, still_true);
        run.attempts_to_call_off = false;
        run.needless_attempts.clear();
        if run.is_reopening {
            run.is_reopening = false;
            run.complete_reopening();
        }
        if run.is_called_off() && !run.state.is_ended() {
            let reason = run.called_off_reason();
            run.cancel_unstarted(&reason);
        }
        run.drain_work();
        let live: Vec<AttemptId> = run
            .items
            .iter()
            .filter_map(|item| item.live_attempt)
            .collect();
        run.needless_attempts = (0..run.items.len() as ItemIndex)
            .filter(|index| {
                let node = run.items[*index as usize].node;
                run.needless(*index).is_some() || run.called_off_nodes.contains(&node)
            })
            .filter_map(|index| run.items[index as usize].live_attempt)
            .collect();
        self.flush(now_ms, run_id);
        for attempt_id in &live {
            if let Some(submission) = self.submission(*attempt_id) {
                self.effects.push(Effect::Reconcile(submission));
            }
        }
        for attempt_id in live {
            self.call_off_again(now_ms, attempt_id);
        }
        if let Some(run) = self.runs.get(&run_id) {
            let mut unfinished: Vec<&mut LocalOrder> = self
                .local_running
                .values_mut()
                .filter(|running| running.run_id == run_id)
                .collect();
            unfinished.sort_unstable_by_key(|running| running.index);
            for running in unfinished {
                self.local_order_count += 1;
                running.order = self.local_order_count;
                if let Ok(work) = local_work(run, running.index, running.order) {
                    self.effects.push(Effect::Local(work));
                }
            }
            if run.is_called_off() && !run.state.is_ended() {
                self.call_off_attempts(now_ms, run_id);
            }
        }
    }

    /// Orders once more what an earlier process wanted called off, and takes back what lies at a backend that a person has
    /// removed since.
    fn call_off_again(&mut self, now_ms: u64, attempt_id: AttemptId) {
        let Some(attempt) = self.attempts.get(&attempt_id) else {
            return;
        };
        let backend_id = attempt.backend_id;
        if attempt.called_off.is_some() {
            self.effects.push(Effect::CancelAttempt {
                attempt_id,
                backend_id,
            });
        } else if !self.backends.contains_key(&backend_id) {
            self.call_off_attempt(now_ms, attempt_id, CallOff::ToMove);
        }
    }

    fn replay(&mut self, run_id: RunId, event: RunEvent) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        run.next_seq = run.next_seq.max(event.seq + 1);
        if let Some((item_id, state)) = state_told(&event.body) {
            run.logged.insert(item_id, state);
        }
        if let RunEventBody::AttemptPlaced { item_id, .. } = &event.body {
            run.logged.insert(*item_id, ItemState::Submitted);
        }
        let is_reopening = run.is_reopened_by(&event.body);
        if run.is_reopening && !is_reopening {
            // A crash may have cut off the rest of them.
            run.is_reopening = false;
            run.complete_reopening();
            run.drain_work();
            let followed = std::mem::take(&mut run.outbox);
            run.unlogged.extend(followed);
        }
        if let RunEventBody::ItemAsks { item_id, question } = &event.body
            && let Some(index) = run.item_by_id.get(item_id)
            && let Some(asked) = run.questions.get_mut(index)
        {
            // What could be chosen then depended on backends of which a replay knows nothing.
            asked.clone_from(question);
        }
        if let Some(position) = run
            .unlogged
            .iter()
            .position(|body| is_same_fact(body, &event.body))
        {
            run.unlogged.remove(position);
            return;
        }
        if is_reopening && !run.is_reopening {
            run.begin_reopening();
        }
        self.apply(run_id, event.at_ms, &event.body);
        self.effects.clear();
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        if is_reopening {
            run.is_reopening = true;
        } else {
            run.drain_work();
        }
        let mut followed: Vec<RunEventBody> = run.outbox.drain(..).collect();
        if let Some(position) = followed
            .iter()
            .position(|body| is_same_fact(body, &event.body))
        {
            followed.remove(position);
        }
        run.unlogged.extend(followed);
    }

    /// Applies an event that does not follow from earlier ones.
    fn apply(&mut self, run_id: RunId, at_ms: u64, body: &RunEventBody) {
        let index_of = |machine: &Self, item_id: &ItemId| {
            machine
                .runs
                .get(&run_id)
                .and_then(|run| run.item_by_id.get(item_id).copied())
        };
        match body {
            RunEventBody::RunCreated { .. } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    run.begin();
                }
            }
            RunEventBody::RunStateChanged { state } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    match state {
                        RunState::Cancelling | RunState::Stopping => {
                            run.call_off(*state, "the run was called off");
                        }
                        _ => run.set_run_state(*state),
                    }
                }
            }
            RunEventBody::ItemStateChanged {
                item_id,
                state,
                reason,
                ..
            } => {
                let Some(index) = index_of(self, item_id) else {
                    return;
                };
                let Some(run) = self.runs.get_mut(&run_id) else {
                    return;
                };
                let before = run.items[index as usize].state;
                match state {
                    ItemState::Ready if before.is_ended() || before == ItemState::Asking => {
                        run.reopen_root(index);
                        if run.stale_merges.remove(&index) {
                            run.await_the_rest(index);
                        }
                    }
                    ItemState::Waiting => {
                        run.reopen_dependent(index);
                        // Only a person's wish has a reason.
                        run.items[index as usize].is_cancel_wished |= reason.is_some();
                    }
                    ItemState::Running if before == ItemState::Ready => {
                        run.set_item_state(index, ItemState::Running);
                        let running = LocalOrder {
                            run_id,
                            index,
                            order: 0,
                        };
                        self.local_running.insert(*item_id, running);
                    }
                    // What a person did not pick; all other skipping follows.
                    ItemState::Skipped if before == ItemState::Parked => {
                        let hole = Hole {
                            kind: HoleKind::Skipped,
                            reason: reason.clone().unwrap_or_default().into(),
                        };
                        run.end_item(index, End::Hole(hole));
                    }
                    ItemState::Cancelled if !before.is_ended() => {
                        self.local_running.remove(item_id);
                        run.end_item(index, End::Cancelled(reason.clone().unwrap_or_default()));
                    }
                    _ => {}
                }
            }
            RunEventBody::AttemptPlaced {
                attempt_id,
                item_id,
                number,
                backend_id,
                ..
            } => {
                if let Some(index) = index_of(self, item_id) {
                    self.attempt_placed(run_id, index, *attempt_id, *number, *backend_id);
                }
            }
            RunEventBody::AttemptAccepted { attempt_id } => self.attempt_accepted(*attempt_id),
            RunEventBody::AttemptStarted { attempt_id } => self.attempt_started(at_ms, *attempt_id),
            RunEventBody::AttemptCalledOff { attempt_id, reason } => {
                self.note_called_off(*attempt_id, *reason);
            }
            RunEventBody::AttemptFailed {
                attempt_id,
                failure,
            } => self.attempt_failed(at_ms, *attempt_id, failure.clone()),
            RunEventBody::AttemptCancelled { attempt_id } => self.attempt_cancelled(*attempt_id),
            RunEventBody::AttemptWithdrawn { attempt_id } => self.attempt_withdrawn(*attempt_id),
            RunEventBody::ItemDone {
                item_id,
                attempt_id,
                outputs,
                source,
                notices,
            } => {
                let Some(index) = index_of(self, item_id) else {
                    return;
                };
                self.local_running.remove(item_id);
                let outputs = self.runs.get(&run_id).map_or_else(
                    || outputs.clone(),
                    |run| merged_list::completed(run, index, outputs.clone()),
                );
                if let Some(attempt_id) = attempt_id {
                    self.attempt_succeeded(at_ms, *attempt_id, outputs, notices.clone());
                } else if let Some(run) = self.runs.get_mut(&run_id)
                    && !run.items[index as usize].state.is_ended()
                {
                    let end = End::Done {
                        attempt_id: None,
                        outputs,
                        source: *source,
                        notices: notices.clone(),
                    };
                    run.end_item(index, end);
                }
            }
            RunEventBody::ItemFailed { item_id, failure } => {
                let Some(index) = index_of(self, item_id) else {
                    return;
                };
                self.local_running.remove(item_id);
                if let Some(run) = self.runs.get_mut(&run_id)
                    && !run.items[index as usize].state.is_ended()
                {
                    run.end_item(index, End::Failed(failure.clone()));
                }
            }
            RunEventBody::ItemAsks { item_id, question } => {
                if let Some(index) = index_of(self, item_id)
                    && let Some(run) = self.runs.get_mut(&run_id)
                {
                    run.is_asked(index, question.clone());
                }
            }
            RunEventBody::ItemAnswered {
                item_id,
                answer,
                origin,
            } => {
                if let Some(index) = self.asking(run_id, item_id) {
                    self.settle_question(run_id, index, *answer, *origin);
                }
            }
            RunEventBody::ItemRated { item_id, rating } => {
                if let Some(index) = index_of(self, item_id)
                    && let Some(run) = self.runs.get_mut(&run_id)
                {
                    run.ratings.insert(index, *rating);
                }
            }
            RunEventBody::ItemEdited { item_id, fields } => {
                if let Some(index) = index_of(self, item_id)
                    && let Some(run) = self.runs.get_mut(&run_id)
                {
                    run.edit(index, fields.clone());
                    run.wish_redo(index, RedoWish::Again);
                }
            }
            RunEventBody::RedoWished { item_ids } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    for item_id in item_ids {
                        if let Some(index) = run.item_by_id.get(item_id).copied() {
                            run.items[index as usize].is_cancel_wished = false;
                            run.wish_redo(index, RedoWish::Retry);
                        }
                    }
                }
            }
            RunEventBody::RedoWithdrawn { item_id } => {
                if let Some(index) = index_of(self, item_id)
                    && let Some(run) = self.runs.get_mut(&run_id)
                {
                    run.redo_wishes.remove(&index);
                }
            }
            RunEventBody::AfterEndWished { wish } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    run.after_end = *wish;
                }
            }
            RunEventBody::ItemPriorityChanged { item_id, priority } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    run.prioritise(*item_id, *priority);
                }
            }
            RunEventBody::RunPriorityChanged { priority } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    run.priority = *priority;
                }
            }
            RunEventBody::NodePriorityChanged { node_id, priority } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    run.set_node_priority(*node_id, *priority);
                }
            }
            RunEventBody::NodeCalledOff { node_id } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    run.call_off_node(*node_id);
                }
            }
            RunEventBody::NodeTakenUp { node_id } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    run.take_up_node(*node_id);
                }
            }
            RunEventBody::ItemCreated { .. } | RunEventBody::FilesWritten { .. } => {}
        }
    }
}

impl Run {
    /// Whether an event tells that an item is made again, or waits for one that is.
    fn is_reopened_by(&self, body: &RunEventBody) -> bool {
        let RunEventBody::ItemStateChanged {
            item_id,
            state,
            reason: None,
            ..
        } = body
        else {
            return false;
        };
        let before = self
            .item_by_id
            .get(item_id)
            .map(|index| self.items[*index as usize].state);
        match state {
            ItemState::Ready => {
                before.is_some_and(|before| before.is_ended() || before == ItemState::Asking)
            }
            ItemState::Waiting => true,
            _ => false,
        }
    }
}

/// The item and state that an event tells by itself.
fn state_told(body: &RunEventBody) -> Option<(ItemId, ItemState)> {
    match body {
        RunEventBody::ItemStateChanged { item_id, state, .. } => Some((*item_id, *state)),
        RunEventBody::ItemDone { item_id, .. } => Some((*item_id, ItemState::Done)),
        RunEventBody::ItemFailed { item_id, .. } => Some((*item_id, ItemState::Failed)),
        RunEventBody::ItemAsks { item_id, .. } => Some((*item_id, ItemState::Asking)),
        _ => None,
    }
}

/// Whether two events say the same of the same thing, whatever their words.
fn is_same_fact(one: &RunEventBody, other: &RunEventBody) -> bool {
    use RunEventBody as Body;
    match (one, other) {
        (Body::RunCreated { .. }, Body::RunCreated { .. }) => true,
        (Body::RunStateChanged { state: one }, Body::RunStateChanged { state: other }) => {
            one == other
        }
        (Body::ItemCreated { item_id: one, .. }, Body::ItemCreated { item_id: other, .. })
        | (Body::ItemDone { item_id: one, .. }, Body::ItemDone { item_id: other, .. })
        | (Body::ItemFailed { item_id: one, .. }, Body::ItemFailed { item_id: other, .. })
        | (Body::FilesWritten { item_id: one, .. }, Body::FilesWritten { item_id: other, .. })
        | (Body::ItemAsks { item_id: one, .. }, Body::ItemAsks { item_id: other, .. })
        | (Body::ItemAnswered { item_id: one, .. }, Body::ItemAnswered { item_id: other, .. }) => {
            one == other
        }
        (Body::NodeCalledOff { node_id: one }, Body::NodeCalledOff { node_id: other })
        | (Body::NodeTakenUp { node_id: one }, Body::NodeTakenUp { node_id: other })
        | (
            Body::NodePriorityChanged { node_id: one, .. },
            Body::NodePriorityChanged { node_id: other, .. },
        ) => one == other,
        (
            Body::ItemPriorityChanged {
                item_id: one,
                priority: one_priority,
            },
            Body::ItemPriorityChanged {
                item_id: other,
                priority: other_priority,
            },
        ) => one == other && one_priority == other_priority,
        (
            Body::ItemStateChanged {
                item_id: one,
                state: one_state,
                ..
            },
            Body::ItemStateChanged {
                item_id: other,
                state: other_state,
                ..
            },
        ) => one == other && one_state == other_state,
        (
            Body::AttemptPlaced {
                attempt_id: one, ..
            },
            Body::AttemptPlaced {
                attempt_id: other, ..
            },
        )
        | (
            Body::AttemptAccepted { attempt_id: one },
            Body::AttemptAccepted { attempt_id: other },
        )
        | (Body::AttemptStarted { attempt_id: one }, Body::AttemptStarted { attempt_id: other })
        | (
            Body::AttemptFailed {
                attempt_id: one, ..
            },
            Body::AttemptFailed {
                attempt_id: other, ..
            },
        )
        | (
            Body::AttemptCalledOff {
                attempt_id: one, ..
            },
            Body::AttemptCalledOff {
                attempt_id: other, ..
            },
        )
        | (
            Body::AttemptWithdrawn { attempt_id: one },
            Body::AttemptWithdrawn { attempt_id: other },
        )
        | (
            Body::AttemptCancelled { attempt_id: one },
            Body::AttemptCancelled { attempt_id: other },
        ) => one == other,
        _ => false,
    }
}

/// Whether an event that was never logged still tells the state it led to.
fn is_still_true(run: &Run, body: &RunEventBody) -> bool {
    let state_of = |item_id: &ItemId| {
        run.item_by_id
            .get(item_id)
            .map(|index| run.items[*index as usize].state)
    };
    match body {
        RunEventBody::ItemStateChanged { item_id, state, .. } => state_of(item_id) == Some(*state),
        RunEventBody::ItemDone { item_id, .. } => state_of(item_id) == Some(ItemState::Done),
        RunEventBody::ItemFailed { item_id, .. } => state_of(item_id) == Some(ItemState::Failed),
        RunEventBody::ItemAsks { item_id, .. } => state_of(item_id) == Some(ItemState::Asking),
        RunEventBody::RunStateChanged { state } => run.state == *state,
        _ => true,
    }
}
