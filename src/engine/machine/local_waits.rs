//! Work on this machine that waits for a disk. It goes on waiting until the disk takes something or somebody calls it off; it
//! keeps no other run waiting, and no other node for long.

use super::flow::{End, NODE_CALLED_OFF};
use super::{Effect, LOCAL_TASKS_AT_ONCE, LocalOrder, Machine};
use crate::engine::event::RunState;
use crate::engine::id::{ItemId, RunId};
use crate::engine::plan::NodeIndex;
use std::collections::{BTreeMap, BTreeSet};

impl Machine {
    /// The order of this number, while it is not answered or called off.
    pub(super) fn local_order(&self, item_id: ItemId, order: u64) -> Option<LocalOrder> {
        let running = self.local_running.get(&item_id)?;
        (running.order == order).then_some(*running)
    }

    /// Work that was ordered waits for a disk.
    pub(super) fn local_waits(&mut self, now_ms: u64, item_id: ItemId, order: u64) {
        if self.local_order(item_id, order).is_some() {
            self.local_waiting.insert(item_id);
            // It may have been called off before that was known.
            self.call_off_unwanted(now_ms, item_id);
        }
    }

    /// Calls off what waits for a disk in a run, or at a node, that was called off.
    pub(super) fn call_off_waiting(&mut self, now_ms: u64, run_id: RunId) {
        let mut waiting: Vec<ItemId> = self
            .local_waiting
            .iter()
            .filter(|item_id| {
                self.local_running
                    .get(item_id)
                    .is_some_and(|running| running.run_id == run_id)
            })
            .copied()
            .collect();
        waiting.sort_unstable();
        for item_id in waiting {
            self.call_off_unwanted(now_ms, item_id);
        }
    }

    fn call_off_unwanted(&mut self, now_ms: u64, item_id: ItemId) {
        let Some(LocalOrder { run_id, index, .. }) = self.local_running.get(&item_id).copied()
        else {
            return;
        };
        let Some(run) = self.runs.get(&run_id) else {
            return;
        };
        if run.state == RunState::Cancelling {
            let reason = run.called_off_reason();
            self.call_off_local(now_ms, item_id, reason);
        } else if run
            .called_off_nodes
            .contains(&run.items[index as usize].node)
        {
            self.call_off_local(now_ms, item_id, NODE_CALLED_OFF.to_owned());
        }
    }

    /// Ends an item whose work waits for a disk.
    pub(super) fn call_off_local(&mut self, now_ms: u64, item_id: ItemId, reason: String) {
        self.local_waiting.remove(&item_id);
        let Some(LocalOrder { run_id, index, .. }) = self.local_running.remove(&item_id) else {
            return;
        };
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.end_item(index, End::Cancelled(reason));
        }
        self.flush(now_ms, run_id);
        self.effects.push(Effect::CallOffLocal { item_id });
    }

    /// Nodes of which so much waits for a disk that no more of them is ordered.
    pub(super) fn nodes_without_a_disk(&self) -> BTreeSet<(RunId, NodeIndex)> {
        let mut waiting: BTreeMap<(RunId, NodeIndex), usize> = BTreeMap::new();
        for item_id in &self.local_waiting {
            if let Some(LocalOrder { run_id, index, .. }) = self.local_running.get(item_id)
                && let Some(run) = self.runs.get(run_id)
            {
                let node = run.items[*index as usize].node;
                *waiting.entry((*run_id, node)).or_default() += 1;
            }
        }
        waiting
            .into_iter()
            .filter(|(_, count)| *count >= LOCAL_TASKS_AT_ONCE)
            .map(|(node, _)| node)
            .collect()
    }
}
