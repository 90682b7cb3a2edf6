//! How long a run and its items are expected to take, from the same figures as placement.

use super::candidates::models_of;
use super::input::Availability;
use super::run::Run;
use super::values::bytes_elsewhere;
use super::{CacheUse, Machine};
use crate::engine::event::{ItemState, RunState};
use crate::engine::id::{ItemId, RunId};
use crate::engine::placement;
use crate::engine::plan::NodeIndex;
use crate::project::{BackendId, NodeKind};
use std::cmp::Reverse;

impl Machine {
    /// Expected milliseconds until a run has ended, as far as its items are known; none when it has ended, waits for a
    /// person alone, no backend that is online can go on with it, or it is to run a workflow of which no run was ever
    /// measured.
    #[must_use]
    pub fn remaining_of_run_ms(&self, now_ms: u64, run_id: RunId) -> Option<u64> {
        let run = self.runs.get(&run_id)?;
        if run.state.is_ended() {
            return None;
        }
        let own_ms = self.work_of_run_ms(now_ms, run_id)?;
        if own_ms <= 0.0 {
            return None;
        }
        // Runs that go first take the same backends until they have ended.
        let before_ms: f64 = self
            .runs
            .values()
            .filter(|other| {
                other.state == RunState::Running
                    && !self.dormant.contains(&other.run_id)
                    && (Reverse(other.priority), other.run_id) < (Reverse(run.priority), run_id)
            })
            .filter_map(|other| self.work_of_run_ms(now_ms, other.run_id))
            .sum();
        // What runs now ends when it ends, however many machines there are.
        let running_ms = self
            .attempts
            .values()
            .filter(|attempt| attempt.run_id == run_id)
            .map(|attempt| self.remaining_ms(now_ms, attempt))
            .max()
            .unwrap_or(0);
        Some(((own_ms + before_ms) as u64).max(running_ms).max(1))
    }

    /// Expected milliseconds of what is left of a run, with every backend that can working on it alone: running, loading
    /// models, bringing files. None where nothing can be said.
    fn work_of_run_ms(&self, now_ms: u64, run_id: RunId) -> Option<f64> {
        let run = self.runs.get(&run_id)?;
        let tallies = tallies(run);
        let mut total_ms = 0.0;
        for (node, tally) in tallies.iter().enumerate() {
            let open = self.open_items(run_id, node);
            let live: Vec<u64> = self
                .attempts
                .values()
                .filter(|attempt| {
                    attempt.run_id == run_id && run.items[attempt.item as usize].node == node
                })
                .map(|attempt| self.remaining_ms(now_ms, attempt))
                .collect();
            let unsent = open.saturating_sub(live.len() as u64) as f64;
            // As many as of those that were looked up are expected to be there already.
            let unsent = unsent - tally.unasked_of(unsent) * tally.share_of_hits();
            if live.is_empty() && unsent < 0.5 {
                continue;
            }
            let planned = &run.plan.nodes[node];
            let hash = planned.effort_hash?;
            if !self.estimates.knows(hash) {
                return None;
            }
            let able = self.able_backends(run_id, node);
            // Items per millisecond of all backends that can run the node, each at its own speed.
            let rate: f64 = able.iter().map(|(_, run_ms)| 1.0 / run_ms.max(1.0)).sum();
            if rate == 0.0 {
                return None;
            }
            let machines = able.len() as f64;
            let first = run.nodes[node].ready.first().map(|(.., index)| *index);
            let mut extra_ms = 0.0;
            if let Some(index) = first {
                let models = models_of(run, index);
                for (backend_id, _) in &able {
                    // Each loads them once, side by side.
                    if models.is_some() && self.loaded.get(backend_id).copied() != models {
                        extra_ms += self.estimates.swap_ms(hash, *backend_id) / machines;
                    }
                    let bytes: u64 = (0..run.items[index as usize].inputs.len())
                        .filter_map(|input| run.input_value(index, input))
                        .map(|value| bytes_elsewhere(value, *backend_id, &self.brought))
                        .sum();
                    // The next item stands for all of its node.
                    extra_ms += self.estimates.transfer_ms(*backend_id, bytes) as f64 * unsent
                        / (machines * machines);
                }
            }
            let live_ms = live.iter().sum::<u64>() as f64 / machines;
            total_ms += unsent / rate + extra_ms + live_ms;
        }
        Some(total_ms)
    }

    /// Expected milliseconds until items of a run are Done: of everything that is at a backend, then of what is Ready, at most
    /// `limit` in all.
    #[must_use]
    pub fn remaining_of_items_ms(
        &self,
        now_ms: u64,
        run_id: RunId,
        limit: usize,
    ) -> Vec<(ItemId, u64)> {
        let Some(run) = self.runs.get(&run_id) else {
            return Vec::new();
        };
        let at_backends = self
            .attempts
            .values()
            .filter(|attempt| attempt.run_id == run_id)
            .map(|attempt| attempt.item);
        let ready = run
            .nodes
            .iter()
            .flat_map(|node| node.ready.iter().map(|(.., index)| *index));
        at_backends
            .chain(ready)
            .take(limit)
            .filter_map(|index| {
                let item_id = run.items.get(index as usize)?.item_id;
                Some((item_id, self.remaining_of_item_ms(now_ms, run_id, item_id)?))
            })
            .collect()
    }

    /// Expected milliseconds until an item is Done; none when it has ended or nothing can be said.
    #[must_use]
    pub fn remaining_of_item_ms(&self, now_ms: u64, run_id: RunId, item_id: ItemId) -> Option<u64> {
        let run = self.runs.get(&run_id)?;
        let index = run.item_by_id.get(&item_id).copied()?;
        let item = run.items.get(index as usize)?;
        if let Some(attempt_id) = item.live_attempt {
            let backend_id = self.attempts.get(&attempt_id)?.backend_id;
            let mut expected = 0;
            for ahead in self.load.get(&backend_id)? {
                expected += self.remaining_ms(now_ms, self.attempts.get(ahead)?);
                if *ahead == attempt_id {
                    return Some(expected);
                }
            }
            return None;
        }
        if item.state != ItemState::Ready || !run.is_remote(item.node) {
            return None;
        }
        let desks = self.desks(now_ms);
        let candidates = self.candidates(now_ms, run, index, &desks);
        let (_, cost) = placement::best(&candidates)?;
        // Its siblings before it go first.
        let before = run.nodes[item.node]
            .ready
            .iter()
            .take_while(|(.., other)| *other != index)
            .count();
        let rate: f64 = self
            .able_backends(run_id, item.node)
            .into_iter()
            .map(|(_, run_ms)| 1.0 / run_ms.max(1.0))
            .sum();
        let queue_ms = if rate > 0.0 {
            (before as f64 / rate) as u64
        } else {
            0
        };
        Some(cost.finish_ms().saturating_add(queue_ms))
    }

    /// Items of a Workflow node that have not ended, and those that will come, as far as the plan knows.
    fn open_items(&self, run_id: RunId, node: NodeIndex) -> u64 {
        let Some(run) = self.runs.get(&run_id) else {
            return 0;
        };
        if !run.is_remote(node) {
            return 0;
        }
        let state = &run.nodes[node];
        let unended = u64::from(state.unended);
        if state.is_exhausted {
            return 0;
        }
        let planned = run.plan.nodes[node]
            .open
            .iter()
            .try_fold(1_u64, |product, fan_out| {
                let count = run.plan.fan_outs[*fan_out].count?;
                Some(product.saturating_mul(u64::from(count)))
            });
        let ended = u64::from(state.item_count).saturating_sub(unended);
        planned.map_or(unended, |planned| {
            planned.saturating_sub(ended).max(unended)
        })
    }

    /// Expected milliseconds of a run of this node on each backend that is online and can. Those with too little memory count
    /// only where there are no others.
    fn able_backends(&self, run_id: RunId, node: NodeIndex) -> Vec<(BackendId, f64)> {
        let Some(planned) = self.runs.get(&run_id).map(|run| &run.plan.nodes[node]) else {
            return Vec::new();
        };
        let (NodeKind::Workflow(workflow), Some(hash), Some(effort)) = (
            &planned.node.kind,
            planned.workflow_hash,
            planned.effort_hash,
        ) else {
            return Vec::new();
        };
        let able: Vec<(BackendId, f64, bool)> = self
            .backends
            .values()
            .filter(|facts| {
                facts.availability == Availability::Online
                    && facts.not_wanted_by(workflow).is_none()
                    && self.inability(Some(hash), facts).is_none()
            })
            .map(|facts| {
                let backend_id = facts.backend_id;
                let memory = self.memory_of_workflow(planned, facts);
                let is_measured = self.estimates.measured_run_ms(effort, backend_id).is_some();
                let moving_ms = match memory {
                    Some(fit) if !is_measured => fit.moving_ms() as f64,
                    _ => 0.0,
                };
                let is_large = self.shortage(effort, facts, memory).is_none();
                let run_ms = self.estimates.run_ms(effort, backend_id) + moving_ms;
                (backend_id, run_ms, is_large)
            })
            .collect();
        let someone_is_large = able.iter().any(|(.., is_large)| *is_large);
        able.into_iter()
            .filter(|(.., is_large)| *is_large || !someone_is_large)
            .map(|(backend_id, run_ms, _)| (backend_id, run_ms))
            .collect()
    }
}

/// What looking into the cache came to for the items of a node.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Items whose result was there.
    hits: u32,
    /// Items whose result was not.
    misses: u32,
    /// Items whose result was not there and that wait for a backend.
    waiting_misses: u32,
    /// Whether items that come will be looked up.
    asks: bool,
}

impl Tally {
    fn share_of_hits(self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            looked_up => f64::from(self.hits) / f64::from(looked_up),
        }
    }

    /// How many of the unsent items are still to be looked up: all that were not.
    fn unasked_of(self, unsent: f64) -> f64 {
        if self.asks {
            (unsent - f64::from(self.waiting_misses)).max(0.0)
        } else {
            0.0
        }
    }
}

/// Of every node.
fn tallies(run: &Run) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); run.nodes.len()];
    if run.cache == CacheUse::Off {
        return tallies;
    }
    for item in &run.items {
        let Some(tally) = tallies.get_mut(item.node) else {
            continue;
        };
        tally.asks = true;
        if item.is_looked_up || item.attempts > 0 {
            tally.misses += 1;
            if item.state == ItemState::Ready {
                tally.waiting_misses += 1;
            }
        } else if item.state == ItemState::Done {
            tally.hits += 1;
        }
    }
    tallies
}
