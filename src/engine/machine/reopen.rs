//! Giving items another chance: what failed or was cancelled becomes Ready again, and everything made from it waits.

use super::flow::weight;
use super::item::ItemIndex;
use super::run::{Run, Work};
use super::token::{Content, TokenIndex};
use crate::engine::event::ItemState;
use crate::engine::event::RunState;

impl Run {
    /// Reopens every ended item in one of these states, and what depends on them. Gives `false` and changes nothing when
    /// something that depends on them is executing right now.
    pub fn reopen(&mut self, states: &[ItemState]) -> bool {
        self.reopen_where(|run, index| {
            states.contains(&run.items[index as usize].state) && run.needless(index).is_none()
        })
    }

    /// Reopens the items chosen by a rule, and what depends on them, as [`Self::reopen`] does.
    pub fn reopen_where(&mut self, is_chosen: impl Fn(&Self, ItemIndex) -> bool) -> bool {
        // Sources before what takes from them: by node, which is topological.
        let mut order: Vec<ItemIndex> = (0..self.items.len() as ItemIndex).collect();
        order.sort_by_key(|index| self.items[*index as usize].node);
        let mut dirty = vec![false; self.items.len()];
        let mut found = Vec::new();
        for index in order {
            let item = &self.items[index as usize];
            let depends = self.givers_of(index).any(|giver| dirty[giver as usize]);
            let is_root = is_chosen(self, index);
            if !depends && !is_root {
                continue;
            }
            if item.state.is_executing() {
                return false;
            }
            dirty[index as usize] = true;
            found.push((index, depends));
        }
        if found.is_empty() {
            return true;
        }
        // Told first: a replay that met the items before would take them for called off.
        if self.is_called_off() {
            self.set_run_state(RunState::Running);
        }
        for (index, depends) in found {
            if depends {
                self.reopen_dependent(index);
            } else {
                self.reopen_root(index);
            }
        }
        true
    }

    /// The items that an item's inputs come from, also through the lists of a Merge.
    fn givers_of(&self, index: ItemIndex) -> impl Iterator<Item = ItemIndex> + '_ {
        let inputs = 0..self.items[index as usize].inputs.len();
        inputs
            .flat_map(move |input| self.taken_by(index, input))
            .filter_map(|token| self.tokens[*token as usize].producer)
    }

    /// Items that cannot be made again now: those that execute, and all that they are made from.
    pub fn needed_by_what_executes(&self) -> Vec<bool> {
        let mut needed = vec![false; self.items.len()];
        let mut pending: Vec<ItemIndex> = (0..self.items.len() as ItemIndex)
            .filter(|index| self.items[*index as usize].state.is_executing())
            .collect();
        while let Some(index) = pending.pop() {
            if !std::mem::replace(&mut needed[index as usize], true) {
                let givers = self.givers_of(index);
                pending.extend(givers.filter(|giver| !needed[*giver as usize]));
            }
        }
        needed
    }

    /// The item has its inputs and is done again.
    pub fn reopen_root(&mut self, index: ItemIndex) {
        self.set_item_state(index, ItemState::Ready);
        self.items[index as usize].trouble = None;
        self.items[index as usize].is_looked_up = false;
        self.withdraw(index);
        self.emit_state(index, None);
        self.work.push_back(Work::Evaluate(index));
    }

    /// Something the item was made from is being made again.
    pub fn reopen_dependent(&mut self, index: ItemIndex) {
        let was_waiting = self.items[index as usize].state == ItemState::Waiting;
        self.set_item_state(index, ItemState::Waiting);
        self.items[index as usize].trouble = None;
        self.items[index as usize].is_looked_up = false;
        self.withdraw(index);
        let pending: Vec<TokenIndex> = self.items[index as usize]
            .inputs
            .iter()
            .copied()
            .filter(|token| matches!(self.tokens[*token as usize].content, Content::Pending))
            .collect();
        for token in &pending {
            self.waiting_on
                .entry(*token)
                .or_default()
                .retain(|waiting| *waiting != index);
        }
        for token in &pending {
            self.waiting_on.entry(*token).or_default().push(index);
        }
        self.items[index as usize].missing = pending.len() as u32;
        if !was_waiting {
            self.emit_state(index, None);
        }
        if pending.is_empty() {
            self.work.push_back(Work::Evaluate(index));
        }
    }

    /// What the item gave is no longer there.
    fn withdraw(&mut self, index: ItemIndex) {
        let plan = self.plan.clone();
        let planned = &plan.nodes[self.items[index as usize].node];
        for (output, token) in self.items[index as usize].given.clone() {
            let content = &mut self.tokens[token as usize].content;
            let was = weight(content);
            *content = Content::Pending;
            for (node, input) in &planned.outputs[output as usize].consumers {
                if plan.nodes[*node].inputs[*input].collector.is_some() {
                    self.member_pending(*node, *input, token, was);
                }
            }
        }
    }

    /// A replay meets the first of items that are reopened together.
    pub fn begin_reopening(&mut self) {
        self.ended_before = (0..self.items.len() as ItemIndex)
            .filter(|index| {
                self.items[*index as usize].state.is_ended() && self.lacks_input(*index)
            })
            .collect();
    }

    fn lacks_input(&self, index: ItemIndex) -> bool {
        self.items[index as usize]
            .inputs
            .iter()
            .any(|token| matches!(self.tokens[*token as usize].content, Content::Pending))
    }

    /// After a replay that ended in the middle of a retry: what was made from something that is being made again waits,
    /// too. What was cancelled while it waited stays so.
    pub fn complete_reopening(&mut self) {
        let ended_before = std::mem::take(&mut self.ended_before);
        let mut order: Vec<ItemIndex> = (0..self.items.len() as ItemIndex).collect();
        order.sort_by_key(|index| self.items[*index as usize].node);
        for index in order {
            let state = self.items[index as usize].state;
            let is_under_way = matches!(
                state,
                ItemState::Waiting | ItemState::Submitted | ItemState::Running
            );
            let stays = state.is_ended() && ended_before.contains(&index);
            if !is_under_way && !stays && self.lacks_input(index) {
                self.reopen_dependent(index);
            }
        }
    }
}
