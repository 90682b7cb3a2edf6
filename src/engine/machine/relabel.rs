//! Labels of what a person had made again with other values: they say what was used, not what the fan-out gave.

use super::run::{ItemIndex, Run, TokenIndex};
use crate::engine::plan::FanIndex;
use crate::engine::value::Labels;
use crate::project::{NodeKind, PortBinding};
use std::collections::{BTreeMap, BTreeSet};

/// Items looked at upstream for changed fields.
const MOST_LOOKED_AT: usize = 4096;

impl Run {
    /// The labels of what an item makes.
    pub(super) fn true_labels_of(&self, index: ItemIndex) -> Labels {
        self.relabelled(self.labels_of(index), index)
    }

    /// The labels of a value.
    pub(super) fn true_labels_at(
        &self,
        token: TokenIndex,
        open: &[FanIndex],
        path: &[u32],
    ) -> Labels {
        let labels = self.labels_at(open, path);
        match self.tokens[token as usize].producer {
            Some(producer) => self.relabelled(labels, producer),
            None => labels,
        }
    }

    /// Labels with the values that a person put in place of those of the fan-outs, for an item or anything it is made from.
    /// The nearest change counts.
    fn relabelled(&self, mut labels: Labels, index: ItemIndex) -> Labels {
        if self.edits.is_empty() || labels.is_empty() {
            return labels;
        }
        let mut changed: BTreeMap<String, String> = BTreeMap::new();
        let mut seen = BTreeSet::from([index]);
        let mut at_this_distance = vec![index];
        while !at_this_distance.is_empty() && seen.len() < MOST_LOOKED_AT {
            let mut further = Vec::new();
            for item in at_this_distance {
                for (axis, value) in self.changed_axes(item) {
                    changed.entry(axis).or_insert(value);
                }
                let givers = self.items[item as usize]
                    .inputs
                    .iter()
                    .filter_map(|token| self.tokens[*token as usize].producer);
                further.extend(givers.filter(|giver| seen.insert(*giver)));
            }
            at_this_distance = further;
        }
        for (axis, value) in changed {
            if let Some(label) = labels.get_mut(&axis) {
                *label = value;
            }
        }
        labels
    }

    /// The axes whose values a person replaced for this item, with the values as shown.
    fn changed_axes(&self, index: ItemIndex) -> Vec<(String, String)> {
        let Some(edits) = self.edits.get(&index) else {
            return Vec::new();
        };
        let planned = &self.plan.nodes[self.items[index as usize].node];
        let links = &self.plan.project.links;
        planned
            .inputs
            .iter()
            .filter_map(|input| {
                let port = planned.node.inputs.get(input.port)?;
                let PortBinding::Parameter(address) = &port.binding else {
                    return None;
                };
                let (_, value) = edits.iter().find(|(known, _)| known == address)?;
                let giver = &self.plan.nodes[input.source].node;
                if !matches!(giver.kind, NodeKind::FanOut(_)) {
                    return None;
                }
                let link = links
                    .into_node(planned.node.id)
                    .find(|link| link.to.port == port.id)?;
                match &giver.output(link.from.port)?.binding {
                    PortBinding::Axis(axis) => Some((axis.clone(), value.to_string())),
                    _ => None,
                }
            })
            .collect()
    }
}
