//! Where Ready items wait for the scheduler, in the order in which it takes them.

use super::CacheUse;
use super::item::ItemIndex;
use super::path::Path;
use super::run::Run;
use crate::engine::plan::NodeIndex;
use crate::project::{CachePolicy, NodeKind};
use std::cmp::Reverse;

/// Where a Ready item stands among those of its node: higher priority first, then by index.
pub(super) type ReadyKey = (Reverse<i32>, Path, ItemIndex);

/// Where an item stands among those of all nodes: higher priority first, then deeper, then by index.
pub(super) type QueueKey = (Reverse<i32>, Reverse<u32>, Path, NodeIndex, ItemIndex);

impl Run {
    /// Takes an item that was Ready from where the scheduler finds it.
    pub(super) fn leave_queues(&mut self, index: ItemIndex) {
        let item = &self.items[index as usize];
        let depth = self.plan.nodes[item.node].depth;
        if self.is_remote(item.node) {
            if !self.look_ups.is_empty() {
                self.look_ups.remove(&(
                    Reverse(item.priority),
                    Reverse(depth),
                    item.path.clone(),
                    item.node,
                    index,
                ));
            }
            let node_state = &mut self.nodes[item.node];
            node_state
                .ready
                .remove(&(Reverse(item.priority), item.path.clone(), index));
            if node_state.ready.is_empty() {
                self.active_nodes.remove(&item.node);
            }
        } else {
            self.local_ready.remove(&(
                Reverse(item.priority),
                Reverse(depth),
                item.path.clone(),
                item.node,
                index,
            ));
        }
    }

    /// Puts a Ready item where the scheduler finds it.
    pub(super) fn enter_queue(&mut self, index: ItemIndex) {
        let item = &self.items[index as usize];
        let (node, path, priority) = (item.node, item.path.clone(), Reverse(item.priority));
        if self.asks_cache(index) {
            let depth = Reverse(self.plan.nodes[node].depth);
            self.look_ups.insert((priority, depth, path, node, index));
        } else if self.is_remote(node) {
            self.nodes[node].ready.insert((priority, path, index));
            self.active_nodes.insert(node);
            self.unchecked_nodes.insert(node);
        } else {
            let depth = self.plan.nodes[node].depth;
            self.local_ready
                .insert((priority, Reverse(depth), path, node, index));
        }
    }

    /// Whether an earlier result of an equal item is to be asked for first.
    pub(super) fn asks_cache(&self, index: ItemIndex) -> bool {
        let item = &self.items[index as usize];
        self.cache == CacheUse::Ask
            && !item.is_looked_up
            && item.trouble.is_none()
            && matches!(
                &self.plan.nodes[item.node].node.kind,
                NodeKind::Workflow(workflow) if workflow.cache == CachePolicy::Use
            )
    }

    /// Whether items of the node run on backends.
    pub(super) fn is_remote(&self, node: NodeIndex) -> bool {
        matches!(self.plan.nodes[node].node.kind, NodeKind::Workflow(_))
    }
}
