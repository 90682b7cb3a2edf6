//! What an item made flows on: tokens at its outputs, and what its fan-out opened.

use super::flow::{End, weight};
use super::item::ItemIndex;
use super::path::{self, NO_INDEX, Path};
use super::run::{Run, Work};
use super::token::{Content, Extent, Hole, HoleKind, Token, TokenIndex};
use super::values::{expanded, leaves};
use crate::engine::event::ItemState;
use crate::engine::plan::{FanIndex, NodeIndex};
use crate::engine::value::Value;
use crate::project::{FanOutNode, FanOutSource, NodeKind, PortBinding, PortId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a fan-out opened for one item.
#[derive(Default)]
struct Opened {
    count: u32,
    /// The values that only the run knows; empty where the plan knows them.
    values: Vec<Value>,
    /// What their labels show, where that is not their position.
    shown: Option<Arc<[Box<str>]>>,
}

impl Run {
    /// No value leaves any output of the item.
    pub(super) fn give_hole(&mut self, index: ItemIndex, kind: HoleKind, reason: Arc<str>) {
        let plan = self.plan.clone();
        let planned = &plan.nodes[self.items[index as usize].node];
        let path = self.items[index as usize].path.clone();
        let mut given = Vec::with_capacity(planned.outputs.len());
        for (output, planned_output) in planned.outputs.iter().enumerate() {
            if planned_output.consumers.is_empty() {
                continue;
            }
            let at = if planned_output.is_fanned {
                path::extended(&path, NO_INDEX)
            } else {
                path.clone()
            };
            let hole = Hole {
                kind,
                reason: reason.clone(),
            };
            given.push((output as u32, at, Content::Hole(hole)));
        }
        let extent = match kind {
            HoleKind::Gone => Extent::Gone,
            HoleKind::Skipped | HoleKind::Blocked => Extent::Hole,
        };
        self.give(index, given, planned.opens.map(|_| extent));
    }

    /// What an item made flows on.
    pub(super) fn give_outputs(&mut self, index: ItemIndex, outputs: &BTreeMap<PortId, Value>) {
        let plan = self.plan.clone();
        let node = self.items[index as usize].node;
        let planned = &plan.nodes[node];
        let path = self.items[index as usize].path.clone();
        let mut given = Vec::new();
        let mut extent = None;
        if let NodeKind::FanOut(settings) = &planned.node.kind {
            let fan_out = planned.opens.unwrap_or_default();
            let opened = self.opened_by(index, fan_out, settings, outputs);
            let count = opened.count;
            let through = self.input_value(index, 0).cloned();
            for value_index in 0..count {
                let at = path::extended(&path, value_index);
                for (output, port) in planned.node.outputs.iter().enumerate() {
                    if planned.outputs[output].consumers.is_empty() {
                        continue;
                    }
                    let value = match &port.binding {
                        PortBinding::Axis(axis) => match opened.values.get(value_index as usize) {
                            Some(value) => value.clone(),
                            // An empty cell says nothing, so whatever it is linked to keeps its own value.
                            None => plan
                                .fan_out_value(fan_out, axis, value_index)
                                .map_or(Value::Trigger, Value::Literal),
                        },
                        _ => through.clone().unwrap_or(Value::Trigger),
                    };
                    given.push((output as u32, at.clone(), Content::Value(value)));
                }
            }
            if let Some(shown) = opened.shown {
                self.shown[fan_out].insert(path.clone(), shown);
            }
            extent = Some(Extent::Values(count));
        } else {
            let mut fanned: Vec<Vec<Value>> = Vec::new();
            let mut count = 0;
            for (output, port) in planned.node.outputs.iter().enumerate() {
                let values = if planned.outputs[output].is_fanned {
                    outputs.get(&port.id).map(expanded).unwrap_or_default()
                } else {
                    Vec::new()
                };
                count = count.max(values.len());
                fanned.push(values);
            }
            for (output, port) in planned.node.outputs.iter().enumerate() {
                if planned.outputs[output].consumers.is_empty() {
                    continue;
                }
                if planned.outputs[output].is_fanned {
                    for value_index in 0..count {
                        let at = path::extended(&path, value_index as u32);
                        let value = fanned[output].get(value_index).cloned();
                        let content = self.content_of(index, output, value);
                        given.push((output as u32, at, content));
                    }
                } else {
                    let value = outputs.get(&port.id).cloned();
                    let content = self.content_of(index, output, value);
                    given.push((output as u32, path.clone(), content));
                }
            }
            if planned.opens.is_some() {
                extent = Some(Extent::Values(count as u32));
            }
        }
        self.give(index, given, extent);
    }

    /// The values of a fan-out for one item: those that only the run knows, else their number.
    fn opened_by(
        &self,
        index: ItemIndex,
        fan_out: FanIndex,
        settings: &FanOutNode,
        outputs: &BTreeMap<PortId, Value>,
    ) -> Opened {
        match &settings.source {
            FanOutSource::Files(_) => match outputs.values().next() {
                Some(Value::List(files)) => Opened {
                    count: files.len() as u32,
                    values: files.iter().map(|file| file.value.clone()).collect(),
                    shown: Some(
                        files
                            .iter()
                            .map(|file| {
                                let name = file.labels.values().next();
                                name.map_or("", String::as_str).into()
                            })
                            .collect(),
                    ),
                },
                _ => Opened::default(),
            },
            FanOutSource::Split { .. } => {
                let values = self.input_value(index, 0).map(leaves).unwrap_or_default();
                Opened {
                    count: values.len() as u32,
                    values,
                    shown: None,
                }
            }
            _ => Opened {
                count: self.plan.fan_outs[fan_out].count.unwrap_or(0),
                ..Opened::default()
            },
        }
    }

    /// A value, or the reason why this output has none.
    fn content_of(&self, index: ItemIndex, output: usize, value: Option<Value>) -> Content {
        if let Some(value) = value {
            return Content::Value(value);
        }
        let node = &self.plan.nodes[self.items[index as usize].node].node;
        let port = &node.outputs[output];
        let name = self.name_of(index);
        let reason = match port.binding {
            PortBinding::WhenTrue => format!("{name} decided: false"),
            PortBinding::WhenFalse => format!("{name} decided: true"),
            _ => format!("{name} made no value at \"{}\"", port.name),
        };
        Content::Hole(Hole {
            kind: HoleKind::Skipped,
            reason: reason.into(),
        })
    }

    /// Hands tokens to whatever takes them. An item that ended before gives the same tokens again where the path is the
    /// same; those that are no longer given are gone.
    fn give(&mut self, index: ItemIndex, given: Vec<(u32, Path, Content)>, extent: Option<Extent>) {
        let plan = self.plan.clone();
        let node = self.items[index as usize].node;
        let planned = &plan.nodes[node];
        if let (Some(extent), Some(fan_out)) = (extent, planned.opens) {
            let path = self.items[index as usize].path.clone();
            self.extents[fan_out].insert(path, extent);
        }
        let before = std::mem::take(&mut self.items[index as usize].given);
        let mut earlier: BTreeMap<(u32, Path), TokenIndex> = before
            .into_iter()
            .map(|(output, token)| ((output, self.tokens[token as usize].path.clone()), token))
            .collect();
        let mut now = Vec::with_capacity(given.len());
        for (output, path, content) in given {
            let consumers = &planned.outputs[output as usize].consumers;
            let again = if earlier.is_empty() {
                None
            } else {
                earlier.remove(&(output, path.clone()))
            };
            if let Some(token) = again {
                self.settle(token, content, consumers);
                now.push((output, token));
                continue;
            }
            let token = self.tokens.len() as TokenIndex;
            self.tokens.push(Token {
                path,
                producer: Some(index),
                output,
                content,
            });
            for (node, input) in consumers {
                self.work.push_back(Work::Arrive {
                    node: *node,
                    input: *input,
                    token,
                });
            }
            now.push((output, token));
        }
        for ((output, _), token) in earlier {
            let gone = Content::Hole(Hole {
                kind: HoleKind::Gone,
                reason: format!(
                    "{} was made again and no longer gives this value",
                    self.name_of(index)
                )
                .into(),
            });
            self.settle(token, gone, &planned.outputs[output as usize].consumers);
            now.push((output, token));
        }
        self.items[index as usize].given = now;
        if extent.is_some()
            && let Some(fan_out) = planned.opens
        {
            let key = self.items[index as usize].path.clone();
            for (node, input) in &plan.fan_outs[fan_out].watchers {
                self.extent_known(*node, *input, &key);
            }
        }
    }

    /// A token that was in the making again is there.
    pub(super) fn settle(
        &mut self,
        token: TokenIndex,
        content: Content,
        consumers: &[(NodeIndex, usize)],
    ) {
        let was_pending = matches!(self.tokens[token as usize].content, Content::Pending);
        let was = weight(&self.tokens[token as usize].content);
        let is = weight(&content);
        self.tokens[token as usize].content = content;
        for (node, input) in consumers {
            if self.plan.nodes[*node].inputs[*input].collector.is_some() {
                self.member_changed(*node, *input, token, was, is);
            }
        }
        if was_pending {
            self.wake_waiting(token);
        }
        self.retire_items(token, consumers);
    }

    /// Items that ended and whose input is no longer part of the run are not part of it either.
    fn retire_items(&mut self, token: TokenIndex, consumers: &[(NodeIndex, usize)]) {
        let hole = match &self.tokens[token as usize].content {
            Content::Hole(hole) if hole.kind == HoleKind::Gone => hole.clone(),
            _ => return,
        };
        let takers: Vec<ItemIndex> = (0..self.items.len() as ItemIndex)
            .filter(|index| {
                let item = &self.items[*index as usize];
                consumers.iter().any(|(node, input)| {
                    item.node == *node && item.inputs.get(*input) == Some(&token)
                })
            })
            .collect();
        for index in takers {
            // One of them may have retired another on the way.
            match self.items[index as usize].state {
                ItemState::Blocked | ItemState::Cancelled | ItemState::Failed | ItemState::Done => {
                    self.end_item(index, End::Hole(hole.clone()));
                }
                // It stays what it is, but what it gave no longer counts as there.
                ItemState::Skipped if !self.gave_nothing_that_counts(index) => {
                    self.give_hole(index, HoleKind::Gone, hole.reason.clone());
                }
                _ => {}
            }
        }
    }

    fn gave_nothing_that_counts(&self, index: ItemIndex) -> bool {
        self.items[index as usize].given.iter().all(|(_, token)| {
            matches!(
                &self.tokens[*token as usize].content,
                Content::Hole(hole) if hole.kind == HoleKind::Gone
            )
        })
    }

    /// Items that waited for this token have one input less to wait for.
    pub(super) fn wake_waiting(&mut self, token: TokenIndex) {
        for waiting in self.waiting_on.remove(&token).unwrap_or_default() {
            let item = &mut self.items[waiting as usize];
            item.missing = item.missing.saturating_sub(1);
            if item.missing == 0 && item.state == ItemState::Waiting {
                self.work.push_back(Work::Evaluate(waiting));
            }
        }
    }
}
