//! Giving work out: local tasks a few at a time, prompts to the backend where they finish first.

use super::attempts::Attempt;
use super::candidates::{Desk, not_wanted};
use super::flow::End;
use super::local_orders::local_work;
use super::path::Path;
use super::run::{ItemIndex, ReadyKey, Run};
use super::values::first_leaf;
use super::{Effect, LOCAL_TASKS_AT_ONCE, Machine, ServerCache, Submission};
use crate::engine::event::{ItemState, PlacementDecision, RunEventBody, RunState};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::{AttemptId, RunId};
use crate::engine::placement::{self, Candidate, Exclusion};
use crate::engine::plan::NodeIndex;
use crate::engine::value::Value;
use crate::project::{BackendId, NodeKind, PortBinding};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Ready items looked at in one step: bounds the work of a step when many items wait for a busy backend.
const LOOK_AHEAD: usize = 64;

/// A Ready item in the order in which items start: the run's place (by priority, then age), the item's priority,
/// depth-first, index.
type Head = (
    usize,
    Reverse<i32>,
    Reverse<u32>,
    Path,
    NodeIndex,
    ItemIndex,
);

impl Machine {
    /// Gives out what can be given out.
    pub(super) fn schedule(&mut self, now_ms: u64, run_ids: &[RunId]) {
        let mut run_ids = run_ids.to_vec();
        run_ids.sort_by_key(|run_id| {
            let priority = self.runs.get(run_id).map_or(0, |run| run.priority);
            (Reverse(priority), *run_id)
        });
        let run_ids = run_ids.as_slice();
        loop {
            for run_id in run_ids {
                self.fail_what_nobody_can_run(now_ms, *run_id);
            }
            self.order_local_work(now_ms, run_ids);
            // Local work that could not even be ordered may have made other items Ready.
            let is_settled = run_ids.iter().all(|run_id| {
                self.runs
                    .get(run_id)
                    .is_none_or(|run| run.unchecked_nodes.is_empty())
            });
            if is_settled {
                break;
            }
        }
        self.place(now_ms, run_ids);
    }

    fn order_local_work(&mut self, now_ms: u64, run_ids: &[RunId]) {
        for run_id in run_ids {
            while self.local_running.len() < LOCAL_TASKS_AT_ONCE {
                let Some(run) = self.runs.get_mut(run_id) else {
                    break;
                };
                let Some((.., index)) = run.local_ready.first().cloned() else {
                    break;
                };
                match local_work(run, index) {
                    Ok(work) => {
                        run.set_item_state(index, ItemState::Running);
                        run.emit_state(index, None);
                        self.local_running.insert(work.item_id, (*run_id, index));
                        self.flush(now_ms, *run_id);
                        self.effects.push(Effect::Local(work));
                    }
                    Err(failure) => {
                        run.end_item(index, End::Failed(failure));
                        self.settle_run(now_ms, *run_id);
                    }
                }
            }
        }
    }

    /// Fails Ready items of nodes that every backend in question is unable to run.
    fn fail_what_nobody_can_run(&mut self, now_ms: u64, run_id: RunId) {
        while let Some(node) = self
            .runs
            .get_mut(&run_id)
            .and_then(|run| run.unchecked_nodes.pop_first())
        {
            let Some(failure) = self.nobody_can_run(run_id, node) else {
                continue;
            };
            let Some(run) = self.runs.get_mut(&run_id) else {
                return;
            };
            let ready: Vec<ItemIndex> = run.nodes[node]
                .ready
                .iter()
                .map(|(.., index)| *index)
                .collect();
            for index in ready {
                // An earlier one may have stopped the run.
                if run.items[index as usize].state == ItemState::Ready {
                    run.end_item(index, End::Failed(failure.clone()));
                }
            }
            self.settle_run(now_ms, run_id);
        }
    }

    /// The failure of a node that every backend it may run on is unable to run; none while there is hope.
    fn nobody_can_run(&self, run_id: RunId, node: NodeIndex) -> Option<Failure> {
        let run = self.runs.get(&run_id)?;
        let planned = &run.plan.nodes[node];
        let NodeKind::Workflow(workflow) = &planned.node.kind else {
            return None;
        };
        let mut reasons = Vec::new();
        let mut class = FailureClass::MissingNode;
        for facts in self.backends.values() {
            if not_wanted(workflow, facts).is_some() {
                continue;
            }
            let learned = planned
                .workflow_hash
                .and_then(|hash| self.learned_unable.get(&(hash, facts.backend_id)));
            let unable = planned
                .workflow_hash
                .and_then(|hash| facts.unable.get(&hash));
            if let Some(reason) = unable {
                reasons.push(format!("{}: {reason}", facts.name));
            } else if let Some(failure) = learned {
                class = failure.class;
                reasons.push(format!("{}: {}", facts.name, failure.message));
            } else {
                return None;
            }
        }
        (!reasons.is_empty()).then(|| {
            Failure::new(
                class,
                format!(
                    "no backend can run \"{}\": {}",
                    planned.node.title,
                    reasons.join("; ")
                ),
            )
        })
    }

    /// Sends Ready Workflow items to backends, in order, each to where it is expected to finish first. An item whose best
    /// backend is full waits for it rather than going where it would end later; the work it brings there counts for those
    /// after it.
    fn place(&mut self, now_ms: u64, run_ids: &[RunId]) {
        let mut desks: BTreeMap<BackendId, Desk> = self
            .backends
            .values()
            .map(|facts| (facts.backend_id, self.desk(now_ms, facts)))
            .collect();
        if desks.values().all(|desk| desk.free == 0) {
            return;
        }
        let mut heads: BTreeSet<Head> = BTreeSet::new();
        for (order, run_id) in run_ids.iter().enumerate() {
            if let Some(run) = self.runs.get(run_id)
                && run.state == RunState::Running
            {
                for node in &run.active_nodes {
                    heads.extend(head_of(run, order, *node, None));
                }
            }
        }
        let mut wake_at_ms: Option<u64> = None;
        for _ in 0..LOOK_AHEAD {
            let Some((order, priority, _, path, node, index)) = heads.pop_first() else {
                break;
            };
            let run_id = run_ids[order];
            let Some(run) = self.runs.get(&run_id) else {
                break;
            };
            let next = head_of(run, order, node, Some((priority, path, index)));
            let candidates = self.candidates(now_ms, run, index, &desks);
            wake_at_ms = earlier(wake_at_ms, retry_time(now_ms, run, index, &candidates));
            let rests = run.items[index as usize]
                .trouble
                .as_ref()
                .is_some_and(|trouble| trouble.not_before_ms > now_ms);
            let choice = if rests {
                None
            } else {
                placement::best(&candidates).map(|(candidate, cost)| (candidate.backend_id, cost))
            };
            let Some((backend_id, cost)) = choice else {
                // What keeps this item out keeps its siblings out, unless it has a history of its own.
                if run.items[index as usize].trouble.is_some() {
                    heads.extend(next);
                }
                continue;
            };
            heads.extend(next);
            let Some(desk) = desks.get_mut(&backend_id) else {
                continue;
            };
            desk.wait_ms = cost.finish_ms();
            if desk.free > 0 {
                desk.free -= 1;
                let decision = placement::decision(&candidates, backend_id);
                self.submit(now_ms, run_id, index, backend_id, decision);
                if desks.values().all(|desk| desk.free == 0) {
                    break;
                }
            }
        }
        if let Some(at_ms) = wake_at_ms
            && self
                .wake_at_ms
                .is_none_or(|ordered| at_ms < ordered || ordered <= now_ms)
        {
            self.wake_at_ms = Some(at_ms);
            self.effects.push(Effect::WakeAt { at_ms });
        }
    }

    fn submit(
        &mut self,
        now_ms: u64,
        run_id: RunId,
        index: ItemIndex,
        backend_id: BackendId,
        decision: PlacementDecision,
    ) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        let item = &run.items[index as usize];
        let number = item.attempts + 1;
        let item_id = item.item_id;
        let attempt_id = AttemptId::derive(item_id, number);
        run.emit(RunEventBody::AttemptPlaced {
            attempt_id,
            item_id,
            number,
            backend_id,
            decision,
        });
        self.attempt_placed(run_id, index, attempt_id, number, backend_id);
        self.flush(now_ms, run_id);
        if let Some(submission) = self.submission(attempt_id) {
            self.effects.push(Effect::Submit(submission));
        }
    }

    /// Takes an attempt onto the books.
    pub(super) fn attempt_placed(
        &mut self,
        run_id: RunId,
        index: ItemIndex,
        attempt_id: AttemptId,
        number: u32,
        backend_id: BackendId,
    ) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        run.set_item_state(index, ItemState::Submitted);
        let item = &mut run.items[index as usize];
        item.attempts = number;
        item.live_attempt = Some(attempt_id);
        let workflow = run.plan.nodes[item.node].workflow_hash;
        self.attempts.insert(
            attempt_id,
            Attempt {
                run_id,
                item: index,
                backend_id,
                workflow,
                started_ms: None,
                is_accepted: false,
                is_called_off: false,
            },
        );
        self.load.entry(backend_id).or_default().push(attempt_id);
    }

    /// What is to be POSTed for a live attempt.
    pub(super) fn submission(&self, attempt_id: AttemptId) -> Option<Submission> {
        let attempt = self.attempts.get(&attempt_id)?;
        let run = self.runs.get(&attempt.run_id)?;
        let item = run.items.get(attempt.item as usize)?;
        let planned = &run.plan.nodes[item.node];
        let NodeKind::Workflow(workflow) = &planned.node.kind else {
            return None;
        };
        let mut fields = Vec::new();
        for (input, planned_input) in planned.inputs.iter().enumerate() {
            let port = planned.node.inputs.get(planned_input.port)?;
            if let PortBinding::Parameter(address) = &port.binding
                && let Some(value) = run.input_value(attempt.item, input).and_then(first_leaf)
                // No content, for example an empty cell of a table: the node's own value stays.
                && value != Value::Trigger
            {
                fields.push((address.clone(), value));
            }
        }
        for (address, value) in run.edits.get(&attempt.item).into_iter().flatten() {
            fields.retain(|(known, _)| known != address);
            fields.push((address.clone(), Value::Literal(value.clone())));
        }
        let linked = fields.len();
        for parameter in &workflow.parameters {
            let roll = item.item_id.roll(&parameter.address);
            if let Some(value) = parameter.value_of_item(item.ordinal, roll)
                && !fields[..linked]
                    .iter()
                    .any(|(address, _)| *address == parameter.address)
            {
                fields.push((parameter.address.clone(), Value::Literal(value)));
            }
        }
        let bypass = item
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.bypass_cache);
        Some(Submission {
            attempt_id,
            item_id: item.item_id,
            run_id: attempt.run_id,
            node_id: planned.node.id,
            backend_id: attempt.backend_id,
            workflow: workflow.workflow.clone(),
            fields,
            server_cache: if bypass {
                ServerCache::Bypass
            } else {
                ServerCache::Allowed
            },
        })
    }
}

/// When an item that cannot be placed now is worth another look for reasons of time alone.
fn retry_time(
    now_ms: u64,
    run: &Run,
    index: ItemIndex,
    candidates: &[Candidate<'_>],
) -> Option<u64> {
    let own = run.items[index as usize]
        .trouble
        .as_ref()
        .map(|trouble| trouble.not_before_ms)
        .filter(|at_ms| *at_ms > now_ms);
    candidates
        .iter()
        .filter_map(|candidate| match candidate.verdict {
            Err(Exclusion::PairBlocked { left_ms } | Exclusion::Resting { left_ms }) => {
                Some(now_ms.saturating_add(left_ms))
            }
            _ => None,
        })
        .fold(own, |first, at_ms| earlier(first, Some(at_ms)))
}

fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The next Ready item of a node after a given one.
fn head_of(run: &Run, order: usize, node: NodeIndex, after: Option<ReadyKey>) -> Option<Head> {
    use std::ops::Bound;
    let ready = &run.nodes[node].ready;
    let (priority, path, index) = match after {
        None => ready.first()?,
        Some(key) => ready
            .range((Bound::Excluded(key), Bound::Unbounded))
            .next()?,
    };
    let depth = run.plan.nodes[node].depth;
    Some((order, *priority, Reverse(depth), path.clone(), node, *index))
}
