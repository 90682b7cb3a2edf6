//! A part of a project: what one node needs, to run that alone.

use super::document::Project;
use super::id::{NodeId, PortId};
use super::node::{Port, PortBinding, PortNeed};
use crate::workflow::InnerOutput;
use std::collections::BTreeSet;

impl Project {
    /// The node and everything that feeds it, under the same ids; none when there is no such node. What ran before is found
    /// in the cache.
    #[must_use]
    pub fn part_up_to(&self, node_id: NodeId) -> Option<Self> {
        let node = self.nodes.get(&node_id)?;
        let mut kept = BTreeSet::new();
        let mut pending = vec![node_id];
        while let Some(node_id) = pending.pop() {
            if kept.insert(node_id) {
                pending.extend(self.links.into_node(node_id).map(|link| link.from.node));
            }
        }
        let mut part = self.clone();
        part.name = format!("{}: {}", self.name, node.title);
        part.frames.clear();
        part.nodes.retain(|node_id, _| kept.contains(node_id));
        let dropped: Vec<_> = part
            .links
            .values()
            .filter(|link| !kept.contains(&link.from.node) || !kept.contains(&link.to.node))
            .map(|link| link.id)
            .collect();
        for link_id in dropped {
            part.links.remove(link_id);
        }
        Some(part)
    }

    /// The same, with the node's workflow run only up to one of its inner nodes, and what that gives in place of the node's
    /// outputs.
    #[must_use]
    pub fn part_into(&self, node_id: NodeId, inner: &InnerOutput, port_id: PortId) -> Option<Self> {
        let mut part = self.part_up_to(node_id)?;
        let node = part.nodes.get_mut(&node_id)?;
        part.name = format!("{}, up to {}", part.name, inner.address);
        node.outputs = vec![Port {
            id: port_id,
            name: inner.name.clone(),
            data_type: inner.value_type.into(),
            binding: PortBinding::WorkflowInner {
                address: inner.address.clone(),
                slot: inner.slot,
            },
            need: PortNeed::Optional,
        }];
        Some(part)
    }
}
