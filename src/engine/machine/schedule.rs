//! Giving work out: local tasks a few at a time, prompts to the backend where they finish first.

use super::attempts::Attempt;
use super::flow::{End, local_failure};
use super::input::Availability;
use super::merge;
use super::path::{self, NO_INDEX, Path};
use super::run::{ItemIndex, Run};
use super::values::{bytes_elsewhere, first_leaf};
use super::{
    ATTEMPTS_AHEAD_PER_BACKEND, BackendFacts, Effect, LOCAL_TASKS_AT_ONCE, LocalTask, LocalWork,
    Machine, ServerCache, Submission,
};
use crate::engine::event::{ItemState, PlacementDecision, RunEventBody, RunState};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::{AttemptId, ItemId, RunId};
use crate::engine::placement::{self, Candidate, Cost, Exclusion};
use crate::engine::plan::NodeIndex;
use crate::engine::value::Value;
use crate::project::{Affinity, BackendId, NodeKind, PortBinding, WorkflowNode};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Ready items looked at in one step: bounds the work of a step when many items wait for a busy backend.
const LOOK_AHEAD: usize = 64;

/// A backend while work is given out.
struct Desk {
    free: usize,
    wait_ms: u64,
}

/// A Ready item in the order in which items start: priority (the older run first), depth-first, index.
type Head = (usize, Reverse<u32>, Path, NodeIndex, ItemIndex);

impl Machine {
    /// Gives out what can be given out.
    pub(super) fn schedule(&mut self, now_ms: u64, run_ids: &[RunId]) {
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
                .map(|(_, index)| *index)
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
            let Some((order, _, path, node, index)) = heads.pop_first() else {
                break;
            };
            let run_id = run_ids[order];
            let Some(run) = self.runs.get(&run_id) else {
                break;
            };
            let next = head_of(run, order, node, Some((&path, index)));
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
            {
                fields.push((address.clone(), value));
            }
        }
        let linked = fields.len();
        for parameter in &workflow.parameters {
            if let Some(value) = &parameter.value
                && !fields[..linked]
                    .iter()
                    .any(|(address, _)| *address == parameter.address)
            {
                fields.push((parameter.address.clone(), Value::Literal(value.clone())));
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

    /// How much room a backend has, and how long until it is free.
    fn desk(&self, now_ms: u64, facts: &BackendFacts) -> Desk {
        let live = self
            .load
            .get(&facts.backend_id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let wait_ms = live
            .iter()
            .filter_map(|attempt_id| self.attempts.get(attempt_id))
            .map(|attempt| self.remaining_ms(now_ms, attempt))
            .sum();
        let free = if facts.availability == Availability::Online {
            ATTEMPTS_AHEAD_PER_BACKEND.saturating_sub(live.len())
        } else {
            0
        };
        Desk { free, wait_ms }
    }

    /// Expected milliseconds until an attempt is done. One that takes longer than expected is expected to take half as
    /// long again as it has taken.
    fn remaining_ms(&self, now_ms: u64, attempt: &Attempt) -> u64 {
        let expected = attempt
            .workflow
            .map_or(placement::PRIOR_RUN_MS, |workflow| {
                self.estimates.run_ms(workflow, attempt.backend_id)
            }) as u64;
        let elapsed = attempt
            .started_ms
            .map_or(0, |started_ms| now_ms.saturating_sub(started_ms));
        if elapsed < expected {
            expected - elapsed
        } else {
            elapsed / 2
        }
    }

    /// Every backend for one item: out for a reason, or what it would cost.
    fn candidates(
        &self,
        now_ms: u64,
        run: &Run,
        index: ItemIndex,
        desks: &BTreeMap<BackendId, Desk>,
    ) -> Vec<Candidate<'_>> {
        let exclusions: Vec<(&BackendFacts, Option<Exclusion>)> = self
            .backends
            .values()
            .map(|facts| (facts, self.exclusion(now_ms, run, index, facts)))
            .collect();
        // What failed here, or fails here often, is tried here again only when there is nowhere else to go.
        let someone_is_free = exclusions.iter().any(|(_, exclusion)| exclusion.is_none());
        let able = exclusions
            .iter()
            .filter(|(_, exclusion)| {
                !matches!(
                    exclusion,
                    Some(
                        Exclusion::Disabled
                            | Exclusion::TiedElsewhere
                            | Exclusion::LacksTags { .. }
                            | Exclusion::Unable { .. }
                    )
                )
            })
            .count();
        exclusions
            .into_iter()
            .map(|(facts, exclusion)| {
                let exclusion = match exclusion {
                    Some(Exclusion::FailedHere) if !someone_is_free => None,
                    Some(Exclusion::PairBlocked { .. }) if able == 1 => None,
                    other => other,
                };
                Candidate {
                    backend_id: facts.backend_id,
                    name: &facts.name,
                    verdict: match exclusion {
                        Some(exclusion) => Err(exclusion),
                        None => Ok(self.cost(now_ms, run, index, facts.backend_id, desks)),
                    },
                }
            })
            .collect()
    }

    fn cost(
        &self,
        now_ms: u64,
        run: &Run,
        index: ItemIndex,
        backend_id: BackendId,
        desks: &BTreeMap<BackendId, Desk>,
    ) -> Cost {
        let item = &run.items[index as usize];
        let workflow = run.plan.nodes[item.node].workflow_hash;
        let mut run_ms = workflow.map_or(placement::PRIOR_RUN_MS, |workflow| {
            self.estimates.run_ms(workflow, backend_id)
        }) as u64;
        let is_measured =
            workflow.is_some_and(|hash| self.estimates.measured_run_ms(hash, backend_id).is_some());
        if !is_measured {
            // A run that has not ended yet already says how long it takes at least.
            let running = self.load.get(&backend_id).into_iter().flatten();
            for attempt in running.filter_map(|attempt_id| self.attempts.get(attempt_id)) {
                if attempt.workflow == workflow
                    && let Some(started_ms) = attempt.started_ms
                {
                    run_ms = run_ms.max(now_ms.saturating_sub(started_ms));
                }
            }
        }
        let bytes = (0..item.inputs.len())
            .filter_map(|input| run.input_value(index, input))
            .map(|value| bytes_elsewhere(value, backend_id))
            .sum();
        Cost {
            wait_ms: desks.get(&backend_id).map_or(0, |desk| desk.wait_ms),
            transfer_ms: placement::transfer_ms(bytes),
            // Never nothing: what is held for a full backend has to count there.
            run_ms: run_ms.max(1),
        }
    }

    /// The first hard filter that keeps a backend from taking an item.
    fn exclusion(
        &self,
        now_ms: u64,
        run: &Run,
        index: ItemIndex,
        facts: &BackendFacts,
    ) -> Option<Exclusion> {
        let item = &run.items[index as usize];
        let planned = &run.plan.nodes[item.node];
        let NodeKind::Workflow(workflow) = &planned.node.kind else {
            return None;
        };
        if let Some(exclusion) = not_wanted(workflow, facts) {
            return Some(exclusion);
        }
        if let Some(reason) = planned
            .workflow_hash
            .and_then(|hash| facts.unable.get(&hash))
        {
            return Some(Exclusion::Unable {
                reason: reason.clone(),
            });
        }
        if let Some(failure) = planned
            .workflow_hash
            .and_then(|hash| self.learned_unable.get(&(hash, facts.backend_id)))
        {
            return Some(Exclusion::Unable {
                reason: failure.message.clone(),
            });
        }
        match &facts.availability {
            Availability::Disabled => return Some(Exclusion::Disabled),
            Availability::Offline { reason } => {
                return Some(Exclusion::Offline {
                    reason: reason.clone(),
                });
            }
            Availability::Online => {}
        }
        if let Some(trouble) = &item.trouble {
            let resting = trouble
                .avoid
                .iter()
                .filter(|(backend_id, _)| *backend_id == facts.backend_id)
                .map(|(_, until_ms)| *until_ms)
                .max()
                .unwrap_or(0);
            if resting == u64::MAX || trouble.failed_on.contains(&facts.backend_id) {
                return Some(Exclusion::FailedHere);
            }
            if resting > now_ms {
                return Some(Exclusion::Resting {
                    left_ms: resting - now_ms,
                });
            }
        }
        let blocked_until_ms = planned
            .workflow_hash
            .and_then(|hash| self.pairs.get(&(hash, facts.backend_id)))
            .map_or(0, |pair| pair.blocked_until_ms);
        (blocked_until_ms > now_ms).then(|| Exclusion::PairBlocked {
            left_ms: blocked_until_ms - now_ms,
        })
    }

    /// Why a Ready item is not on its way, as a sentence; none when it does not wait for a backend.
    #[must_use]
    pub fn waiting_reason(&self, now_ms: u64, run_id: RunId, item_id: ItemId) -> Option<String> {
        let run = self.runs.get(&run_id)?;
        let index = run.item_by_id.get(&item_id).copied()?;
        let item = run.items.get(index as usize)?;
        if item.state != ItemState::Ready {
            return None;
        }
        if !run.is_remote(item.node) {
            return Some("waits for its turn on this machine".to_owned());
        }
        if run.state == RunState::Paused {
            return Some("the run is paused".to_owned());
        }
        if self.backends.is_empty() {
            return Some("no backend is registered".to_owned());
        }
        let desks = self
            .backends
            .values()
            .map(|facts| (facts.backend_id, self.desk(now_ms, facts)))
            .collect();
        let candidates = self.candidates(now_ms, run, index, &desks);
        if let Some((best, cost)) = placement::best(&candidates) {
            return Some(format!(
                "waits for {}, which is expected to be free in {} s",
                best.name,
                cost.wait_ms.div_ceil(1000)
            ));
        }
        let reasons: Vec<String> = candidates
            .iter()
            .filter_map(|candidate| {
                let exclusion = candidate.verdict.as_ref().err()?;
                Some(format!("{}: {exclusion}", candidate.name))
            })
            .collect();
        Some(reasons.join("; "))
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
fn head_of(
    run: &Run,
    order: usize,
    node: NodeIndex,
    after: Option<(&Path, ItemIndex)>,
) -> Option<Head> {
    use std::ops::Bound;
    let ready = &run.nodes[node].ready;
    let (path, index) = match after {
        None => ready.first()?,
        Some((path, index)) => ready
            .range((Bound::Excluded((path.clone(), index)), Bound::Unbounded))
            .next()?,
    };
    let depth = run.plan.nodes[node].depth;
    Some((order, Reverse(depth), path.clone(), node, *index))
}

/// Why a node does not want a backend.
fn not_wanted(workflow: &WorkflowNode, facts: &BackendFacts) -> Option<Exclusion> {
    match &workflow.affinity {
        Affinity::Any => None,
        Affinity::Backend(wanted) => {
            (*wanted != facts.backend_id).then_some(Exclusion::TiedElsewhere)
        }
        Affinity::Tags(tags) => {
            let missing: Vec<String> = tags.difference(&facts.tags).cloned().collect();
            (!missing.is_empty()).then_some(Exclusion::LacksTags { tags: missing })
        }
    }
}

/// What is to be done on this machine for an item.
pub(super) fn local_work(run: &Run, index: ItemIndex) -> Result<LocalWork, Failure> {
    let item = &run.items[index as usize];
    let planned = &run.plan.nodes[item.node];
    let value = || {
        run.input_value(index, 0).cloned().ok_or_else(|| {
            local_failure(format!("nothing is linked to \"{}\"", planned.node.title))
        })
    };
    let task = match &planned.node.kind {
        NodeKind::Input(input) => LocalTask::Load {
            value: input.value.clone(),
            data_type: planned
                .node
                .outputs
                .first()
                .map_or(crate::project::DataType::Any, |port| port.data_type),
        },
        NodeKind::Condition(condition) => LocalTask::Decide {
            expression: condition.expression.clone(),
            value: value()?,
        },
        NodeKind::Output(output) => LocalTask::Write {
            template: output.template.clone(),
            value: value()?,
            ordinal: ordinal(run, index),
        },
        NodeKind::Merge(merge) => LocalTask::DrawSheet {
            sheet: merge.contact_sheet,
            elements: merge::gathered(run, index).elements,
        },
        NodeKind::Workflow(_) | NodeKind::FanOut(_) => {
            return Err(local_failure(format!(
                "\"{}\" has no work on this machine; this is a fault of the program",
                planned.node.title
            )));
        }
    };
    Ok(LocalWork {
        item_id: item.item_id,
        run_id: run.run_id,
        node_id: planned.node.id,
        path: path::index_path(&run.plan, &planned.open, &item.path),
        labels: run.labels_of(index),
        task,
    })
}

/// The item's place among its siblings: by index where the sizes of the inner fan-outs are known, so that it does not
/// depend on which item came first; else the order of creation.
fn ordinal(run: &Run, index: ItemIndex) -> u32 {
    let item = &run.items[index as usize];
    let open = &run.plan.nodes[item.node].open;
    let by_index = open.iter().zip(&item.path).enumerate().try_fold(
        0_u32,
        |place, (position, (fan_out, at))| {
            if *at == NO_INDEX {
                return None;
            }
            if position == 0 {
                return Some(*at);
            }
            place
                .checked_mul(run.plan.fan_outs[*fan_out].count?)?
                .checked_add(*at)
        },
    );
    by_index.unwrap_or(item.ordinal)
}
