//! Which backend takes which Ready item: each goes where it is expected to finish first.

use super::Machine;
use super::candidates::{Desk, models_of};
use super::item::ItemIndex;
use super::path::Path;
use super::queues::ReadyKey;
use super::run::Run;
use crate::engine::event::RunState;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::RunId;
use crate::engine::placement::{self, Candidate, Exclusion, Lacking};
use crate::engine::plan::NodeIndex;
use crate::project::BackendId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Ready items of one node looked at in one step: bounds the work of a step when many items wait for a busy backend.
const LOOK_AHEAD: usize = 32;
/// How long an item whose models are not loaded lets others pass, in times that loading takes: going there and back, loading
/// then takes at most a twentieth of the time.
const PATIENCE_SWAPS: u64 = 40;
const LEAST_PATIENCE_MS: u64 = 20_000;
const MOST_PATIENCE_MS: u64 = 900_000;

/// What is known while work is given out.
struct Round {
    desks: BTreeMap<BackendId, Desk>,
    wake_at_ms: Option<u64>,
    /// Items that let others pass.
    passed_over: BTreeSet<Head>,
    /// Items that ran out of memory wherever they could run.
    hopeless: Vec<(RunId, ItemIndex, Failure)>,
}

impl Round {
    /// Whether no backend has room.
    fn is_over(&self) -> bool {
        self.desks.values().all(|desk| desk.free == 0)
    }
}

/// When items go for which a backend has to load other models.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Swaps {
    /// After those that need what is loaded.
    Later,
    /// The next one goes in its turn.
    Once,
}

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
    /// Sends Ready Workflow items to backends, in order, each to where it is expected to finish first. An item whose best
    /// backend is full waits for it rather than going where it would end later; the work it brings there counts for those
    /// after it. Items for which a backend would have to load other models let those pass that need what is loaded, but not
    /// for long ([`PATIENCE_SWAPS`]). Says whether items ended because they can go nowhere.
    pub(super) fn place(&mut self, now_ms: u64, run_ids: &[RunId]) -> bool {
        let mut round = Round {
            desks: self.desks(now_ms),
            wake_at_ms: None,
            passed_over: BTreeSet::new(),
            hopeless: Vec::new(),
        };
        if round.is_over() {
            return false;
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
        loop {
            self.place_heads(now_ms, run_ids, &mut heads, &mut round, Swaps::Later);
            // One for which models are loaded; then those that need the same go first again.
            let Some(first) = round.passed_over.pop_first() else {
                break;
            };
            heads.insert(first);
            self.place_heads(now_ms, run_ids, &mut heads, &mut round, Swaps::Once);
            heads.append(&mut round.passed_over);
            if round.is_over() {
                break;
            }
        }
        if let Some(at_ms) = round.wake_at_ms {
            self.order_wake(now_ms, at_ms);
        }
        let has_hopeless = !round.hopeless.is_empty();
        for (run_id, index, failure) in round.hopeless {
            self.give_up(now_ms, run_id, index, failure);
        }
        has_hopeless
    }

    fn place_heads(
        &mut self,
        now_ms: u64,
        run_ids: &[RunId],
        heads: &mut BTreeSet<Head>,
        round: &mut Round,
        swaps: Swaps,
    ) {
        let mut looked_at: BTreeMap<(usize, NodeIndex), usize> = BTreeMap::new();
        while !round.is_over()
            && let Some(head) = heads.pop_first()
        {
            let (order, priority, _, path, node, index) = head.clone();
            let run_id = run_ids[order];
            let Some(run) = self.runs.get(&run_id) else {
                continue;
            };
            let count = looked_at.entry((order, node)).or_default();
            *count += 1;
            let next = if *count < LOOK_AHEAD {
                head_of(run, order, node, Some((priority, path, index)))
            } else {
                None
            };
            let candidates = self.candidates(now_ms, run, index, &round.desks);
            round.wake_at_ms = earlier(
                round.wake_at_ms,
                retry_time(now_ms, run, index, &candidates),
            );
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
                let hopeless = nobody_can_take(run, index, &candidates)
                    .or_else(|| chosen_is_unable(run, index, &candidates));
                if let Some(failure) = hopeless {
                    round.hopeless.push((run_id, index, failure));
                }
                // What keeps this item out keeps its siblings out, unless it has a history of its own.
                if run.items[index as usize].trouble.is_some() {
                    heads.extend(next);
                }
                continue;
            };
            if swaps == Swaps::Later && cost.swap_ms > 0 {
                let since_ms = run.nodes[node].passed_over_ms.unwrap_or(now_ms);
                // A clock that jumped back must not make it wait longer.
                let waited_ms = now_ms.saturating_sub(since_ms);
                let patience_ms = (cost.swap_ms.saturating_mul(PATIENCE_SWAPS))
                    .clamp(LEAST_PATIENCE_MS, MOST_PATIENCE_MS);
                // What is loaded is finished first when that does not take long.
                let batch_ms = self.batch_ms(run_ids, backend_id, round);
                let finishes_soon = batch_ms > 0
                    && batch_ms <= patience_ms
                    && waited_ms < patience_ms.saturating_mul(2);
                if waited_ms < patience_ms || finishes_soon {
                    round.passed_over.insert(head);
                    if let Some(run) = self.runs.get_mut(&run_id) {
                        run.nodes[node].passed_over_ms = Some(since_ms.min(now_ms));
                    }
                    continue;
                }
            }
            heads.extend(next);
            let is_last = swaps == Swaps::Once;
            let models = models_of(run, index);
            let Some(desk) = round.desks.get_mut(&backend_id) else {
                continue;
            };
            desk.wait_ms = cost.busy_until_ms();
            if models.is_some() {
                desk.models = models;
            }
            if desk.free > 0 {
                desk.free -= 1;
                let decision = placement::decision(&candidates, backend_id);
                if let Some(run) = self.runs.get_mut(&run_id) {
                    run.nodes[node].passed_over_ms = None;
                }
                self.submit(now_ms, run_id, index, backend_id, decision);
            }
            if is_last {
                return;
            }
        }
    }

    /// Expected milliseconds of what is Ready for the models that a backend will have loaded.
    fn batch_ms(&self, run_ids: &[RunId], backend_id: BackendId, round: &Round) -> u64 {
        let Some(models) = round.desks.get(&backend_id).and_then(|desk| desk.models) else {
            return 0;
        };
        let mut total_ms = 0.0;
        for run in run_ids.iter().filter_map(|run_id| self.runs.get(run_id)) {
            if run.state != RunState::Running {
                continue;
            }
            for node in &run.active_nodes {
                let ready = &run.nodes[*node].ready;
                let Some((.., first)) = ready.first() else {
                    continue;
                };
                if models_of(run, *first) == Some(models)
                    && let Some(effort) = run.plan.nodes[*node].effort_hash
                {
                    total_ms += ready.len() as f64 * self.estimates.run_ms(effort, backend_id);
                }
            }
        }
        total_ms as u64
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

/// The failure of an item that no backend it may run on can take, for reasons of its own: memory, or what it brings by
/// name. None while there is hope.
fn nobody_can_take(run: &Run, index: ItemIndex, candidates: &[Candidate<'_>]) -> Option<Failure> {
    let exclusions: Vec<(&str, &Exclusion)> = candidates
        .iter()
        .filter_map(|candidate| Some((candidate.name, candidate.verdict.as_ref().err()?)))
        .collect();
    let is_hopeless = exclusions.len() == candidates.len()
        && exclusions.iter().all(|(_, exclusion)| {
            exclusion.is_inability()
                || matches!(
                    exclusion,
                    Exclusion::TiedElsewhere | Exclusion::NotChosen | Exclusion::LacksTags { .. }
                )
        });
    if !is_hopeless {
        return None;
    }
    let any = |wanted: fn(&Exclusion) -> bool| exclusions.iter().any(|(_, one)| wanted(one));
    let (class, what) = if any(|one| matches!(one, Exclusion::TooSmall { .. })) {
        (FailureClass::OutOfMemory, "has enough memory for")
    } else if any(|one| {
        matches!(
            one,
            Exclusion::Lacks {
                what: Lacking::Model,
                ..
            }
        )
    }) {
        (FailureClass::MissingModel, "has the models of")
    } else if any(|one| matches!(one, Exclusion::Lacks { .. })) {
        (FailureClass::Invalid, "offers what is asked for by")
    } else {
        // What keeps every item of the node out is looked at for the node.
        return None;
    };
    let reasons: Vec<String> = exclusions
        .iter()
        .filter(|(_, exclusion)| exclusion.is_inability())
        .map(|(name, exclusion)| format!("{name}: {exclusion}"))
        .collect();
    Some(Failure::new(
        class,
        format!(
            "no backend {what} {}: {}",
            run.name_of(index),
            reasons.join("; ")
        ),
    ))
}

/// The failure of an item that a person sent to a backend which cannot run it; none while there is hope.
fn chosen_is_unable(run: &Run, index: ItemIndex, candidates: &[Candidate<'_>]) -> Option<Failure> {
    let chosen = run.items[index as usize].only_on()?;
    let candidate = candidates
        .iter()
        .find(|candidate| candidate.backend_id == chosen)?;
    let exclusion = candidate.verdict.as_ref().err()?;
    exclusion.is_inability().then(|| {
        Failure::new(
            FailureClass::MissingModel,
            format!(
                "{} was to run on {}: {exclusion}",
                run.name_of(index),
                candidate.name
            ),
        )
    })
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
