//! What people asked of a run, in one piece: to be shown, and to be compared with what its log says.

use super::Machine;
use super::item::{Bound, ItemIndex};
use super::run::RedoWish;
use crate::engine::event::{AfterEnd, CallOff};
use crate::engine::id::{AttemptId, ItemId, RunId};
use crate::engine::question::Answer;
use crate::project::{BackendId, Literal, NodeId};
use crate::workflow::ParameterAddress;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that people asked of a run and that holds from now on or is still to be done. A run that was restored from its
/// log has the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// The run's priority; 0 is the usual.
    pub priority: i32,
    /// Priorities of nodes, where they are not 0.
    pub node_priorities: BTreeMap<NodeId, i32>,
    /// Priorities of items, where they are not 0.
    pub item_priorities: BTreeMap<ItemId, i32>,
    /// Nodes that were called off.
    pub called_off_nodes: BTreeSet<NodeId>,
    /// Fields of items that were changed.
    pub edits: BTreeMap<ItemId, Vec<(ParameterAddress, Literal)>>,
    /// Ratings of Review items.
    pub ratings: BTreeMap<ItemId, u8>,
    /// The answer to every question of the run.
    pub standing_answer: Option<Answer>,
    /// The backend that was chosen for an item, and no other.
    pub chosen_backends: BTreeMap<ItemId, BackendId>,
    /// Items to be made again as soon as nothing made from them executes.
    pub to_redo: BTreeSet<ItemId>,
    /// Those of them that are left as they are if they come to be Done after all.
    pub to_redo_unless_done: BTreeSet<ItemId>,
    /// What is to become of the run when it comes to its end.
    pub after_end: Option<AfterEnd>,
    /// Items that end as Cancelled when what they are made from is there.
    pub cancelled_while_waiting: BTreeSet<ItemId>,
    /// Live attempts that are being called off.
    pub called_off: BTreeMap<AttemptId, CallOff>,
}

impl Machine {
    /// What people asked of a run; none when it is not in hand.
    #[must_use]
    pub fn asked(&self, run_id: RunId) -> Option<Asked> {
        let run = self.runs.get(&run_id)?;
        let id_of = |index: &ItemIndex| run.items[*index as usize].item_id;
        let node_of = |node: &usize| run.plan.nodes[*node].node.id;
        let mut asked = Asked {
            priority: run.priority,
            node_priorities: run
                .node_priorities
                .iter()
                .filter(|(_, priority)| **priority != 0)
                .map(|(node, priority)| (node_of(node), *priority))
                .collect(),
            called_off_nodes: run.called_off_nodes.iter().map(node_of).collect(),
            edits: run
                .edits
                .iter()
                .map(|(index, fields)| (id_of(index), fields.clone()))
                .collect(),
            ratings: run
                .ratings
                .iter()
                .map(|(index, rating)| (id_of(index), *rating))
                .collect(),
            standing_answer: run.standing_answer,
            to_redo: run.redo_wishes.keys().map(id_of).collect(),
            to_redo_unless_done: run
                .redo_wishes
                .iter()
                .filter(|(_, wish)| **wish == RedoWish::Retry)
                .map(|(index, _)| id_of(index))
                .collect(),
            after_end: run.after_end,
            ..Asked::default()
        };
        for item in &run.items {
            if item.priority != 0 {
                asked.item_priorities.insert(item.item_id, item.priority);
            }
            if let Some(Bound::Chosen(backend_id)) =
                item.trouble.as_ref().and_then(|trouble| trouble.bound)
            {
                asked.chosen_backends.insert(item.item_id, backend_id);
            }
            if item.is_cancel_wished {
                asked.cancelled_while_waiting.insert(item.item_id);
            }
            if let Some(attempt_id) = item.live_attempt
                && let Some(reason) = self
                    .attempts
                    .get(&attempt_id)
                    .and_then(|attempt| attempt.called_off)
            {
                asked.called_off.insert(attempt_id, reason);
            }
        }
        Some(asked)
    }
}
