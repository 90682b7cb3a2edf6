//! Labels of items and values: what the fan-outs gave, and for what a person had made again with other values, what was used.
//! What a person asked for and has not got yet changes no label.

use super::item::ItemIndex;
use super::path::{NO_INDEX, Path};
use super::run::Run;
use super::token::{Content, TokenIndex};
use crate::engine::plan::FanIndex;
use crate::engine::value::Labels;
use crate::project::{NodeKind, PortBinding};
use std::collections::{BTreeMap, BTreeSet};

/// Items looked at upstream for changed fields.
const MOST_LOOKED_AT: usize = 4096;

impl Run {
    /// The labels of everything an item is at.
    fn labels_of(&self, index: ItemIndex) -> Labels {
        let item = &self.items[index as usize];
        self.labels_at(&self.plan.nodes[item.node].open, &item.path)
    }

    /// The labels of everything at this path. Where two fan-outs name an axis alike, the inner one's value is kept.
    pub(super) fn labels_at(&self, open: &[FanIndex], path: &[u32]) -> Labels {
        open.iter()
            .zip(path)
            .filter(|(_, index)| **index != NO_INDEX)
            .flat_map(|(fan_out, index)| {
                let shown = &self.shown[*fan_out];
                let shown = if shown.is_empty() {
                    None
                } else {
                    // Where the fan-out was opened: its enclosing fan-outs, as far as they are still open.
                    let key: Path = self.plan.fan_outs[*fan_out]
                        .enclosing
                        .iter()
                        .filter_map(|outer| {
                            let position = open.iter().position(|one| one == outer)?;
                            path.get(position).copied()
                        })
                        .collect();
                    shown.get(&key).and_then(|shown| shown.get(*index as usize))
                };
                self.plan
                    .fan_out_labels(*fan_out, *index, shown.map(AsRef::as_ref))
            })
            .collect()
    }

    /// The item as a sentence names it: `"Upscale" (seed=7)`.
    pub(super) fn name_of(&self, index: ItemIndex) -> String {
        let item = &self.items[index as usize];
        let title = &self.plan.nodes[item.node].node.title;
        let labels = self.labels_of(index);
        if labels.is_empty() {
            return format!("\"{title}\"");
        }
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("\"{title}\" ({})", labels.join(", "))
    }

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
        if self.made_with.is_empty() || labels.is_empty() {
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
                let givers = self.items[item as usize].inputs.iter().filter_map(|token| {
                    let token = &self.tokens[*token as usize];
                    // What gave nothing is not what it was made from.
                    matches!(token.content, Content::Value(_))
                        .then_some(token.producer)
                        .flatten()
                });
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
        let Some(edits) = self.made_with.get(&index) else {
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
