//! What becomes of attempts and local work: accepted, started, ended, called off.

use super::candidates::brings_models;
use super::flow::{CANCELLED_BY_A_PERSON, End, NODE_CALLED_OFF, done};
use super::input::{AttemptOutputs, LocalOutcome};
use super::item::ItemIndex;
use super::judgement::{Circumstances, Judgement, judge, policy_of};
use super::merged_list;
use super::run::{Edits, Run};
use super::schedule::{Fields, fields_of};
use super::values::leaf_count;
use super::{Effect, LocalOrder, Machine};
use crate::artifacts::ContentHash;
use crate::engine::event::{CallOff, ItemState, ResultSource, RunEventBody, RunState};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::{AttemptId, IndexPath, ItemId, RunId};
use crate::engine::placement::Models;
use crate::engine::value::{ListElement, Value};
use crate::project::{BackendId, NodeKind, PortBinding, PortId};
use std::collections::BTreeMap;

/// How long a (backend, workflow) pair is left alone after [`FAILURES_THAT_BLOCK`] failures in a row, unless
/// [`Machine::with_pair_block`] says otherwise (DESIGN §7).
pub const PAIR_BLOCK_MS: u64 = 120_000;
/// Failures in a row that block a pair.
const FAILURES_THAT_BLOCK: u32 = 2;

/// An attempt that is at a backend.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub run_id: RunId,
    pub item: ItemIndex,
    pub backend_id: BackendId,
    /// What it runs, as backends are judged by it.
    pub workflow: Option<ContentHash>,
    /// What it runs, as times are learned by it.
    pub effort: Option<ContentHash>,
    /// What it was sent with. A person may have changed the item since.
    pub fields: Fields,
    /// Those of them that a person had changed by then.
    pub edits: Edits,
    /// Whether other models were sent for before it.
    pub models: Models,
    pub started_ms: Option<u64>,
    /// Since when only its outputs are on their way here.
    pub executed_ms: Option<u64>,
    pub is_accepted: bool,
    /// Why it is called off, where it is.
    pub called_off: Option<CallOff>,
}

/// How a workflow fares on a backend.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PairHealth {
    /// Failures since the last success.
    pub failures: u32,
    /// Unix time in milliseconds until which it is left alone.
    pub blocked_until_ms: u64,
}

/// How long a pair is left alone, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairBlockMs(u64);

impl Default for PairBlockMs {
    fn default() -> Self {
        Self(PAIR_BLOCK_MS)
    }
}

impl Machine {
    /// The same machine, leaving a backend alone for so many milliseconds with a workflow that failed there twice in a row, where another
    /// one can run it.
    #[must_use]
    pub fn with_pair_block(mut self, pair_block_ms: u64) -> Self {
        self.pair_block = PairBlockMs(pair_block_ms);
        self
    }

    pub(super) fn attempt_accepted(&mut self, attempt_id: AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(&attempt_id)
            && !attempt.is_accepted
            && let Some(run) = self.runs.get_mut(&attempt.run_id)
        {
            attempt.is_accepted = true;
            run.emit(RunEventBody::AttemptAccepted { attempt_id });
        }
    }

    pub(super) fn attempt_started(&mut self, now_ms: u64, attempt_id: AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(&attempt_id)
            && attempt.started_ms.is_none()
            && let Some(run) = self.runs.get_mut(&attempt.run_id)
        {
            attempt.is_accepted = true;
            attempt.started_ms = Some(now_ms);
            run.set_item_state(attempt.item, ItemState::Running);
            run.emit(RunEventBody::AttemptStarted { attempt_id });
        }
    }

    /// Nothing of it is written down: after a restart the backend is asked.
    pub(super) fn attempt_executed(&mut self, now_ms: u64, attempt_id: AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(&attempt_id) {
            attempt.executed_ms.get_or_insert(now_ms);
        }
    }

    pub(super) fn attempt_ended(
        &mut self,
        now_ms: u64,
        attempt_id: AttemptId,
        outcome: Result<AttemptOutputs, Failure>,
    ) {
        match outcome {
            Ok(outputs) => {
                let Some((item, node)) = self.attempts.get(&attempt_id).and_then(|attempt| {
                    let run = self.runs.get(&attempt.run_id)?;
                    Some((attempt.item, run.items.get(attempt.item as usize)?.node))
                }) else {
                    return;
                };
                let Some(run) = self
                    .attempts
                    .get(&attempt_id)
                    .and_then(|attempt| self.runs.get(&attempt.run_id))
                else {
                    return;
                };
                let notices = notices(run, item);
                let outputs = run.recorded_outputs(node, outputs.ports);
                self.attempt_succeeded(now_ms, attempt_id, outputs, notices);
            }
            Err(failure) => {
                let called_off = self
                    .attempts
                    .get(&attempt_id)
                    .and_then(|attempt| attempt.called_off);
                match called_off {
                    Some(CallOff::ForGood) => self.attempt_cancelled(attempt_id),
                    Some(CallOff::ToMove) => self.attempt_withdrawn(attempt_id),
                    Some(CallOff::Silent { silence_s })
                        if matches!(
                            failure.class,
                            FailureClass::Interrupted | FailureClass::Lost
                        ) =>
                    {
                        // It was we who called it off, perhaps in an earlier process.
                        self.attempt_failed(now_ms, attempt_id, Failure::silent(silence_s));
                    }
                    Some(CallOff::Silent { .. }) => {
                        self.attempt_failed(now_ms, attempt_id, failure);
                    }
                    None => self.attempt_failed(now_ms, attempt_id, failure),
                }
            }
        }
    }

    /// Takes an attempt off the books.
    fn remove_attempt(&mut self, attempt_id: AttemptId) -> Option<Attempt> {
        let attempt = self.attempts.remove(&attempt_id)?;
        if let Some(load) = self.load.get_mut(&attempt.backend_id) {
            load.retain(|live| *live != attempt_id);
        }
        if let Some(run) = self.runs.get_mut(&attempt.run_id)
            && let Some(item) = run.items.get_mut(attempt.item as usize)
        {
            item.live_attempt = None;
        }
        Some(attempt)
    }

    pub(super) fn attempt_succeeded(
        &mut self,
        now_ms: u64,
        attempt_id: AttemptId,
        outputs: BTreeMap<PortId, Value>,
        notices: Vec<String>,
    ) {
        let Some(attempt) = self.remove_attempt(attempt_id) else {
            return;
        };
        if let (Some(effort), Some(started_ms)) = (attempt.effort, attempt.started_ms) {
            let executed_ms = attempt.executed_ms.unwrap_or(now_ms);
            let run_ms = executed_ms.saturating_sub(started_ms);
            self.estimates
                .learn(effort, attempt.backend_id, run_ms, attempt.models);
        }
        if let Some(workflow) = attempt.workflow {
            self.pairs.remove(&(workflow, attempt.backend_id));
        }
        if let Some(run) = self.runs.get_mut(&attempt.run_id) {
            let end = End::Done {
                attempt_id: Some(attempt_id),
                outputs,
                source: ResultSource::Made,
                notices,
            };
            run.note_made_with(attempt.item, attempt.edits);
            run.end_item(attempt.item, end);
        }
    }

    /// An attempt ended because its backend is to be left alone.
    pub(super) fn attempt_withdrawn(&mut self, attempt_id: AttemptId) {
        let is_wanted = self.attempts.get(&attempt_id).is_some_and(|attempt| {
            self.runs
                .get(&attempt.run_id)
                .is_some_and(|run| !run.is_called_off() && run.needless(attempt.item).is_none())
        });
        if !is_wanted {
            self.attempt_cancelled(attempt_id);
            return;
        }
        let Some(attempt) = self.remove_attempt(attempt_id) else {
            return;
        };
        if let Some(run) = self.runs.get_mut(&attempt.run_id) {
            run.emit(RunEventBody::AttemptWithdrawn { attempt_id });
            run.make_ready(attempt.item);
        }
    }

    /// Calls off what is at a backend, so that its items go elsewhere: at once, or when the run that rests is taken up.
    pub(super) fn vacate(&mut self, now_ms: u64, backend_id: BackendId) {
        for attempt_id in self.load.get(&backend_id).cloned().unwrap_or_default() {
            self.call_off_attempt(now_ms, attempt_id, CallOff::ToMove);
        }
    }

    pub(super) fn attempt_cancelled(&mut self, attempt_id: AttemptId) {
        let Some(attempt) = self.remove_attempt(attempt_id) else {
            return;
        };
        if let Some(run) = self.runs.get_mut(&attempt.run_id) {
            run.emit(RunEventBody::AttemptCancelled { attempt_id });
            if let Some(hole) = run.needless(attempt.item) {
                run.end_item(attempt.item, End::Hole(hole));
                return;
            }
            let node = run.items[attempt.item as usize].node;
            let reason = if run.is_called_off() {
                run.called_off_reason()
            } else if run.called_off_nodes.contains(&node) {
                NODE_CALLED_OFF.to_owned()
            } else {
                CANCELLED_BY_A_PERSON.to_owned()
            };
            run.end_item(attempt.item, End::Cancelled(reason));
        }
    }

    pub(super) fn attempt_failed(&mut self, now_ms: u64, attempt_id: AttemptId, failure: Failure) {
        let Some(attempt) = self.remove_attempt(attempt_id) else {
            return;
        };
        let Some(run) = self.runs.get_mut(&attempt.run_id) else {
            return;
        };
        run.emit(RunEventBody::AttemptFailed {
            attempt_id,
            failure: failure.clone(),
        });
        if let Some(hole) = run.needless(attempt.item) {
            run.end_item(attempt.item, End::Hole(hole));
            return;
        }
        match run.state {
            RunState::Cancelling => {
                let reason = run.called_off_reason();
                run.end_item(attempt.item, End::Cancelled(reason));
                return;
            }
            RunState::Stopping => {
                run.end_item(attempt.item, End::Failed(failure));
                return;
            }
            _ => {}
        }
        if failure.class == FailureClass::OutOfMemory {
            self.effects.push(Effect::FreeMemory {
                backend_id: attempt.backend_id,
            });
        }
        self.learn_from_failure(&attempt, failure.class);
        self.count_against_pair(now_ms, &attempt, failure.class);
        let vram_bytes = self
            .backends
            .get(&attempt.backend_id)
            .and_then(|facts| facts.vram_bytes);
        let Some(run) = self.runs.get_mut(&attempt.run_id) else {
            return;
        };
        let mut trouble = run.items[attempt.item as usize]
            .trouble
            .take()
            .unwrap_or_default();
        let policy = policy_of(run, attempt.item);
        let brings_models = brings_models(run, attempt.item);
        if attempt.started_ms.is_some()
            && matches!(failure.class, FailureClass::Offline | FailureClass::Lost)
        {
            trouble.deaths += 1;
        }
        let judgement = judge(
            &mut trouble,
            policy,
            now_ms,
            &Circumstances {
                backend_id: attempt.backend_id,
                vram_bytes,
                brings_models,
            },
            failure.clone(),
        );
        trouble.last = Some(failure.clone());
        let bad_on = trouble.failed_on.clone();
        run.items[attempt.item as usize].trouble = Some(trouble);
        if let Some(workflow) = attempt.workflow
            && !matches!(judgement, Judgement::Fail(_))
            && match failure.class {
                FailureClass::MissingNode => true,
                FailureClass::MissingModel => !brings_models,
                _ => false,
            }
        {
            self.learned_unable
                .insert((workflow, attempt.backend_id), failure);
            self.check_all_nodes();
        }
        let Some(run) = self.runs.get_mut(&attempt.run_id) else {
            return;
        };
        match judgement {
            Judgement::Again => run.make_ready(attempt.item),
            Judgement::Ask(cause, failure) => {
                self.ask(now_ms, attempt.run_id, attempt.item, cause, failure);
            }
            Judgement::Fail(last) => {
                run.end_item(attempt.item, End::Failed(last));
                if bad_on.len() > 1
                    && let Some(workflow) = attempt.workflow
                {
                    // The item was bad, not the backends.
                    for backend_id in bad_on {
                        self.pairs.remove(&(workflow, backend_id));
                    }
                }
            }
        }
    }

    /// What a failure says of the backend rather than of the item.
    fn learn_from_failure(&mut self, attempt: &Attempt, class: FailureClass) {
        match (class, attempt.effort) {
            (FailureClass::OutOfMemory, Some(effort)) => {
                let device_bytes = self
                    .backends
                    .get(&attempt.backend_id)
                    .and_then(|facts| facts.vram_bytes);
                self.estimates
                    .learn_out_of_memory(effort, attempt.backend_id, device_bytes);
                self.loaded.remove(&attempt.backend_id);
            }
            (FailureClass::Lost | FailureClass::Offline | FailureClass::Timeout, _) => {
                self.estimates.learn_loss(attempt.backend_id);
                self.loaded.remove(&attempt.backend_id);
            }
            _ => {}
        }
    }

    fn count_against_pair(&mut self, now_ms: u64, attempt: &Attempt, class: FailureClass) {
        let counts = matches!(
            class,
            FailureClass::NodeError
                | FailureClass::OutOfMemory
                | FailureClass::Timeout
                | FailureClass::OutputGone
        );
        if let Some(workflow) = attempt.workflow
            && counts
        {
            let pair = self
                .pairs
                .entry((workflow, attempt.backend_id))
                .or_default();
            pair.failures += 1;
            if pair.failures >= FAILURES_THAT_BLOCK {
                pair.failures = 0;
                pair.blocked_until_ms = now_ms.saturating_add(self.pair_block.0);
            }
        }
    }

    /// Records why an attempt is called off, and then orders it, once.
    pub(super) fn call_off_attempt(&mut self, now_ms: u64, attempt_id: AttemptId, reason: CallOff) {
        let Some(attempt) = self.attempts.get(&attempt_id) else {
            return;
        };
        let (run_id, backend_id) = (attempt.run_id, attempt.backend_id);
        let is_ordered = attempt.called_off.is_some();
        if !self.note_called_off(attempt_id, reason) {
            return;
        }
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.emit(RunEventBody::AttemptCalledOff { attempt_id, reason });
        }
        self.flush(now_ms, run_id);
        if !is_ordered {
            self.effects.push(Effect::CancelAttempt {
                attempt_id,
                backend_id,
            });
        }
    }

    /// Notes why an attempt is called off. Says whether that is news.
    pub(super) fn note_called_off(&mut self, attempt_id: AttemptId, reason: CallOff) -> bool {
        let Some(attempt) = self.attempts.get_mut(&attempt_id) else {
            return false;
        };
        let is_news = attempt
            .called_off
            .is_none_or(|known| reason.outranks(known));
        if is_news {
            attempt.called_off = Some(reason);
        }
        is_news
    }

    /// Calls off the attempts of a run that is itself called off: all when it was cancelled, those that wait in a
    /// backend's queue when it was stopped.
    pub(super) fn call_off_attempts(&mut self, now_ms: u64, run_id: RunId) {
        let Some(run) = self.runs.get(&run_id) else {
            return;
        };
        let every = match run.state {
            RunState::Cancelling => true,
            RunState::Stopping => false,
            _ => return,
        };
        let live: Vec<AttemptId> = run
            .items
            .iter()
            .filter(|item| every || item.state == ItemState::Submitted)
            .filter_map(|item| item.live_attempt)
            .collect();
        for attempt_id in live {
            self.call_off_attempt(now_ms, attempt_id, CallOff::ForGood);
        }
    }

    /// A local task ended.
    pub(super) fn local_ended(
        &mut self,
        item_id: ItemId,
        order: u64,
        outcome: Result<LocalOutcome, Failure>,
    ) {
        let Some(LocalOrder { run_id, index, .. }) = self.local_order(item_id, order) else {
            return;
        };
        self.local_running.remove(&item_id);
        self.local_waiting.remove(&item_id);
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        let end = match outcome {
            Err(failure) => End::Failed(failure),
            Ok(outcome) => local_end(run, index, item_id, outcome),
        };
        run.end_item(index, end);
    }

    /// The cache has an earlier result for these fields, or not. Where the item was changed meanwhile, it is asked again.
    pub(super) fn looked_up(&mut self, item_id: ItemId, found_outputs: Option<AttemptOutputs>) {
        let Some(asked) = self.looking_up.remove(&item_id) else {
            return;
        };
        let found = self.runs.values_mut().find_map(|run| {
            let index = run.item_by_id.get(&item_id).copied()?;
            Some((run, index))
        });
        let Some((run, index)) = found else {
            return;
        };
        let item = &run.items[index as usize];
        let (node, plan) = (item.node, run.plan.clone());
        let NodeKind::Workflow(workflow) = &plan.nodes[node].node.kind else {
            return;
        };
        if item.state != ItemState::Ready || item.is_looked_up {
            return;
        }
        if fields_of(run, index, workflow) != asked {
            run.enter_queue(index);
            return;
        }
        if let Some(outputs) = found_outputs {
            let notices = notices(run, index);
            let outputs = run.recorded_outputs(node, outputs.ports);
            let end = End::Done {
                attempt_id: None,
                outputs,
                source: ResultSource::Cache,
                notices,
            };
            run.end_item(index, end);
        } else {
            // The item has to be made.
            run.leave_queues(index);
            run.items[index as usize].is_looked_up = true;
            run.enter_queue(index);
        }
    }
}

/// How the answer to a local task ends its item.
fn local_end(run: &mut Run, index: ItemIndex, item_id: ItemId, outcome: LocalOutcome) -> End {
    let plan = run.plan.clone();
    let node = &plan.nodes[run.items[index as usize].node].node;
    match (&node.kind, outcome) {
        (NodeKind::Input(_), LocalOutcome::Loaded(value)) => {
            let outputs = node
                .outputs
                .iter()
                .map(|port| (port.id, value.clone()))
                .collect();
            done(outputs)
        }
        (NodeKind::Condition(_), LocalOutcome::Decided(answer)) => {
            let side = if answer {
                PortBinding::WhenTrue
            } else {
                PortBinding::WhenFalse
            };
            let value = run.input_value(index, 0).cloned().unwrap_or(Value::Trigger);
            let outputs = node
                .outputs
                .iter()
                .filter(|port| port.binding == side)
                .map(|port| (port.id, value.clone()))
                .collect();
            done(outputs)
        }
        (NodeKind::Merge(_), LocalOutcome::SheetDrawn(sheet)) => {
            let elements = merged_list::gathered(run, index).elements;
            let mut outputs = merged_list::list_outputs(run, index, elements);
            outputs.extend(
                node.outputs
                    .iter()
                    .filter(|port| port.binding == PortBinding::ContactSheet)
                    .map(|port| (port.id, sheet.clone())),
            );
            done(outputs)
        }
        (NodeKind::Merge(_), LocalOutcome::Ranked { kept, sheet }) => {
            let elements = merged_list::gathered(run, index).elements;
            let kept = kept
                .into_iter()
                .filter_map(|place| elements.get(place as usize).cloned())
                .collect();
            let mut outputs = merged_list::list_outputs(run, index, kept);
            outputs.extend(sheet.and_then(|sheet| {
                let port = node
                    .outputs
                    .iter()
                    .find(|port| port.binding == PortBinding::ContactSheet)?;
                Some((port.id, sheet))
            }));
            done(outputs)
        }
        (NodeKind::FanOut(_), LocalOutcome::Found(files)) => {
            let axis = node
                .outputs
                .iter()
                .find(|port| matches!(port.binding, PortBinding::Axis(_)));
            let list = files
                .into_iter()
                .map(|(name, value)| ListElement {
                    value,
                    path: IndexPath::default(),
                    labels: [(String::new(), name)].into(),
                })
                .collect();
            done(
                axis.map(|port| (port.id, Value::List(list)))
                    .into_iter()
                    .collect(),
            )
        }
        (NodeKind::Output(_), LocalOutcome::Written(paths)) => {
            run.emit(RunEventBody::FilesWritten { item_id, paths });
            done(BTreeMap::new())
        }
        (_, outcome) => End::Failed(Failure::new(
            FailureClass::Local,
            format!(
                "\"{}\" was answered with something it did not ask for ({outcome:?}); this is a fault of the program",
                node.title
            ),
        )),
    }
}

/// Remarks on what an item did not use of its inputs (run semantics, rule 9).
pub(super) fn notices(run: &Run, index: ItemIndex) -> Vec<String> {
    let item = &run.items[index as usize];
    let planned = &run.plan.nodes[item.node];
    planned
        .inputs
        .iter()
        .enumerate()
        .filter_map(|(input, planned_input)| {
            let port = planned.node.inputs.get(planned_input.port)?;
            if !matches!(port.binding, PortBinding::Parameter(_)) {
                return None;
            }
            let count = leaf_count(run.input_value(index, input)?);
            (count > 1).then(|| format!("{} of {count} not used ({})", count - 1, port.name))
        })
        .collect()
}
