//! How long a run and its items are expected to take, from the same figures as placement.

use super::Machine;
use super::candidates::not_wanted;
use super::input::Availability;
use crate::engine::event::ItemState;
use crate::engine::id::{ItemId, RunId};
use crate::engine::placement;
use crate::engine::plan::NodeIndex;
use crate::project::NodeKind;

impl Machine {
    /// Expected milliseconds until a run has ended, as far as its items are known; none when it has ended, waits for a
    /// person alone, or no backend that is online can go on with it.
    #[must_use]
    pub fn remaining_of_run_ms(&self, now_ms: u64, run_id: RunId) -> Option<u64> {
        let run = self.runs.get(&run_id)?;
        if run.state.is_ended() {
            return None;
        }
        let mut total_ms = 0.0;
        for node in 0..run.nodes.len() {
            let open = self.open_items(run_id, node);
            if open == 0 {
                continue;
            }
            // Items per millisecond of all backends that can run the node, each at its own speed.
            let rate: f64 = self
                .able_backends(run_id, node)
                .map(|run_ms| 1.0 / run_ms.max(1.0))
                .sum();
            if rate == 0.0 {
                return None;
            }
            total_ms += open as f64 / rate;
        }
        // What runs now ends when it ends, however many machines there are.
        let running_ms = self
            .attempts
            .values()
            .filter(|attempt| attempt.run_id == run_id)
            .map(|attempt| self.remaining_ms(now_ms, attempt))
            .max()
            .unwrap_or(0);
        let expected = (total_ms as u64).max(running_ms);
        (expected > 0).then_some(expected)
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
            .map(|run_ms| 1.0 / run_ms.max(1.0))
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

    /// Expected milliseconds of a run of this node on each backend that is online and can.
    fn able_backends(&self, run_id: RunId, node: NodeIndex) -> impl Iterator<Item = f64> + '_ {
        let planned = self.runs.get(&run_id).map(|run| &run.plan.nodes[node]);
        self.backends.values().filter_map(move |facts| {
            let planned = planned?;
            let NodeKind::Workflow(workflow) = &planned.node.kind else {
                return None;
            };
            let hash = planned.workflow_hash?;
            let is_able = facts.availability == Availability::Online
                && not_wanted(workflow, facts).is_none()
                && !facts.unable.contains_key(&hash)
                && !self.learned_unable.contains_key(&(hash, facts.backend_id));
            is_able.then(|| self.estimates.run_ms(hash, facts.backend_id))
        })
    }
}
