//! What a person answers while a run goes on: picks, ratings, changes, and who goes first. And what nobody needs any more.

use super::flow::{End, done};
use super::item::ItemIndex;
use super::path::{self, Path};
use super::run::{Edits, RedoWish, Run};
use super::token::{Hole, HoleKind};
use crate::engine::event::{ItemState, RunEventBody};
use crate::engine::id::ItemId;
use crate::engine::plan::NodeIndex;
use crate::project::{Literal, NodeKind};
use crate::workflow::ParameterAddress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The highest rating.
pub const MAX_RATING: u8 = 5;

/// What a person says of one parked item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReviewVerdict {
    /// It goes on.
    Pick,
    /// It does not: what depends on it is Skipped.
    Reject,
    /// It gets a rating, 0 to 5, and stays where it is; conditions behind the Review can ask for it.
    Rate(u8),
    /// The Workflow item it came from is made again with these fields changed, and then asked about again.
    Redo(Vec<(ParameterAddress, Literal)>),
}

/// A verdict on one item of a Review node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewAnswer {
    /// The item.
    pub item_id: ItemId,
    /// What is said of it.
    pub verdict: ReviewVerdict,
}

impl Run {
    /// The item waits for a person.
    pub(super) fn park(&mut self, index: ItemIndex) {
        self.set_item_state(index, ItemState::Parked);
        let body = RunEventBody::ItemStateChanged {
            item_id: self.items[index as usize].item_id,
            state: ItemState::Parked,
            reason: None,
            shown: self.input_value(index, 0).cloned(),
        };
        self.emit(body);
    }

    /// Takes an answer. One about an item that is not parked changes nothing, except that any item may be rated or redone.
    pub(super) fn take_answer(&mut self, answer: ReviewAnswer) {
        let Some(index) = self.item_by_id.get(&answer.item_id).copied() else {
            return;
        };
        let item = &self.items[index as usize];
        let is_parked = item.state == ItemState::Parked;
        let is_review = matches!(self.plan.nodes[item.node].node.kind, NodeKind::Review(_));
        match answer.verdict {
            ReviewVerdict::Pick if is_parked && is_review => {
                let value = self.input_value(index, 0).cloned();
                let outputs = self.plan.nodes[self.items[index as usize].node]
                    .node
                    .outputs
                    .iter()
                    .filter_map(|port| value.clone().map(|value| (port.id, value)))
                    .collect();
                self.end_item(index, done(outputs));
            }
            ReviewVerdict::Reject if is_parked && is_review => {
                self.end_item(index, End::Hole(not_picked()));
            }
            ReviewVerdict::Rate(rating) if is_review => {
                let rating = rating.min(MAX_RATING);
                if self.ratings.insert(index, rating) != Some(rating) {
                    let item_id = answer.item_id;
                    self.emit(RunEventBody::ItemRated { item_id, rating });
                }
            }
            ReviewVerdict::Redo(fields) => {
                if let Some(maker) = self.maker_of(index) {
                    self.redo(maker, fields);
                }
            }
            _ => {}
        }
    }

    /// Makes a Workflow item again with some fields changed, at once or as soon as nothing made from it executes.
    pub(super) fn redo(&mut self, index: ItemIndex, fields: Edits) {
        let node = self.items[index as usize].node;
        if !self.is_remote(node) {
            return;
        }
        if self.called_off_nodes.contains(&node) {
            self.take_up_node(self.plan.nodes[node].node.id);
        }
        let item_id = self.items[index as usize].item_id;
        self.emit(RunEventBody::ItemEdited {
            item_id,
            fields: fields.clone(),
        });
        self.edit(index, fields);
        self.wish_redo(index, RedoWish::Again);
    }

    /// Later changes of the same field win.
    pub(super) fn edit(&mut self, index: ItemIndex, fields: Edits) {
        let edits = self.edits.entry(index).or_default();
        for (address, value) in fields {
            edits.retain(|(known, _)| *known != address);
            edits.push((address, value));
        }
    }

    /// What an item gives from now on was made with these changes.
    pub(super) fn note_made_with(&mut self, index: ItemIndex, edits: Edits) {
        if edits.is_empty() {
            self.made_with.remove(&index);
        } else {
            self.made_with.insert(index, edits);
        }
    }

    /// The nearest Workflow item that an item's value came from; itself when it is one.
    fn maker_of(&self, index: ItemIndex) -> Option<ItemIndex> {
        let mut at = index;
        loop {
            if self.is_remote(self.items[at as usize].node) {
                return Some(at);
            }
            let token = *self.items[at as usize].inputs.first()?;
            at = self.tokens[token as usize].producer?;
        }
    }

    /// The rating given to an item's value by the last Review it went through.
    pub(super) fn rating_of(&self, index: ItemIndex) -> Option<u8> {
        let mut at = index;
        loop {
            if let Some(rating) = self.ratings.get(&at) {
                return Some(*rating);
            }
            let token = *self.items[at as usize].inputs.first()?;
            at = self.tokens[token as usize].producer?;
        }
    }

    /// Moves an item before or behind others.
    pub(super) fn prioritise(&mut self, item_id: ItemId, priority: i32) {
        let Some(index) = self.item_by_id.get(&item_id).copied() else {
            return;
        };
        if self.requeue(index, priority) {
            self.emit(RunEventBody::ItemPriorityChanged { item_id, priority });
        }
    }

    /// Gives an item another priority. Says whether that changed anything.
    pub(super) fn requeue(&mut self, index: ItemIndex, priority: i32) -> bool {
        let item = &self.items[index as usize];
        if item.priority == priority || item.state.is_ended() {
            return false;
        }
        let is_ready = item.state == ItemState::Ready;
        if is_ready {
            self.leave_queues(index);
        }
        self.items[index as usize].priority = priority;
        if is_ready {
            self.enter_queue(index);
        }
        true
    }

    /// Why nothing needs what an item would make; none while something does.
    pub(super) fn needless(&self, index: ItemIndex) -> Option<Hole> {
        if self.satisfied.is_empty() {
            return None;
        }
        let item = &self.items[index as usize];
        let served = self.plan.nodes[item.node].serves.iter().find(|served| {
            let key = path::project(&item.path, &served.key);
            self.satisfied.contains(&(served.merge, key))
        })?;
        let merge = &self.plan.nodes[served.merge];
        Some(Hole {
            kind: HoleKind::Skipped,
            reason: format!(
                "not needed: \"{}\" has its first {}",
                merge.node.title,
                merge.first_count().unwrap_or(0)
            )
            .into(),
        })
    }

    /// A Merge (first n) has what it needs: what would only have made more is let go.
    pub(super) fn let_go(&mut self, merge: NodeIndex, key: &Path) {
        let plan = self.plan.clone();
        let servants: Vec<bool> = plan
            .nodes
            .iter()
            .map(|node| node.serves.iter().any(|served| served.merge == merge))
            .collect();
        if !servants.contains(&true) {
            return;
        }
        for index in 0..self.items.len() as ItemIndex {
            let item = &self.items[index as usize];
            if item.state.is_ended() || !servants[item.node] {
                continue;
            }
            let belongs = plan.nodes[item.node].serves.iter().any(|served| {
                served.merge == merge && path::project(&item.path, &served.key) == *key
            });
            if !belongs {
                continue;
            }
            match (item.state, item.live_attempt) {
                (_, Some(attempt_id)) => self.needless_attempts.push(attempt_id),
                (
                    ItemState::Ready | ItemState::Waiting | ItemState::Parked | ItemState::Asking,
                    None,
                ) => {
                    if let Some(hole) = self.needless(index) {
                        self.end_item(index, End::Hole(hole));
                    }
                }
                // Work on this machine is short; it ends by itself.
                _ => {}
            }
        }
    }
}

/// Why an item behind a Review does not exist.
fn not_picked() -> Hole {
    Hole {
        kind: HoleKind::Skipped,
        reason: "not picked".into(),
    }
}
