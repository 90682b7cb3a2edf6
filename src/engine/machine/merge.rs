//! Merges that make a list: gather what belongs together, and know when there is enough or nothing more can come. What is made of
//! it: [`super::merged_list`].

use super::flow::{Weight, is_counted, weight};
use super::item::ItemIndex;
use super::path::{self, NO_INDEX, Path};
use super::run::{Group, Run};
use super::token::{Content, Extent, Hole, HoleKind, Token, TokenIndex};
use crate::engine::event::ItemState;
use crate::engine::plan::{Completeness, FanIndex, MAX_ITEMS_PER_RUN, NodeIndex};
use std::collections::BTreeSet;

impl Run {
    /// A token came to a Merge: it joins its group.
    pub(super) fn collect(&mut self, node: NodeIndex, input: usize, token: TokenIndex) {
        let Some(key) = self.group_key(node, input, token) else {
            return;
        };
        let now = weight(&self.tokens[token as usize].content);
        if let Some(group) = self.group_mut(node, input, &key) {
            group.members.push(token);
            group.add(now);
        }
        self.note_stale(node, input, &key);
        self.check_group(node, input, &key);
    }

    /// What was gathered changed. If it was handed on before, its Merge has to look again.
    fn note_stale(&mut self, node: NodeIndex, input: usize, key: &Path) {
        let handed_on = self.nodes[node].collectors[input]
            .as_ref()
            .and_then(|collector| collector.groups.get(key))
            .filter(|group| group.chosen.is_none() && !self.is_unfired(group))
            .and_then(|group| group.token);
        let Some(token) = handed_on else {
            return;
        };
        let takers = (0..self.items.len() as ItemIndex).filter(|index| {
            let item = &self.items[*index as usize];
            item.node == node && item.inputs.get(input) == Some(&token)
        });
        self.stale_merges.extend(takers);
    }

    /// Makes items of Merges again whose lists changed after they had ended, as far as nothing made from them executes.
    pub(super) fn reopen_stale_merges(&mut self) {
        for index in std::mem::take(&mut self.stale_merges) {
            let state = self.items[index as usize].state;
            if !state.is_ended() {
                // One that has not begun looks at what is there then.
                if state == ItemState::Running {
                    self.stale_merges.insert(index);
                }
            } else if self.reopen_where(|_, one| one == index) {
                self.await_the_rest(index);
            } else {
                self.stale_merges.insert(index);
            }
        }
    }

    /// A Merge item that is made again waits for everything that can still come, and is given what is there then.
    pub(super) fn await_the_rest(&mut self, index: ItemIndex) {
        let item = &self.items[index as usize];
        let (node, tokens) = (item.node, item.inputs.clone());
        for (collector, token) in self.nodes[node].collectors.iter_mut().zip(tokens) {
            if let Some(collector) = collector {
                collector.is_closed = false;
                self.tokens[token as usize].content = Content::Pending;
            }
        }
        // Where nothing can come any more it is closed again at once.
        self.candidates.insert(node);
    }

    /// The path of the group a token belongs to.
    fn group_key(&self, node: NodeIndex, input: usize, token: TokenIndex) -> Option<Path> {
        let collector = self.plan.nodes[node].inputs[input].collector.as_ref()?;
        let path = &self.tokens[token as usize].path;
        Some(path::project(path, &collector.kept))
    }

    fn group_mut(&mut self, node: NodeIndex, input: usize, key: &Path) -> Option<&mut Group> {
        let collector = self.nodes[node].collectors[input].as_mut()?;
        Some(collector.groups.entry(key.clone()).or_default())
    }

    /// A member of a group changed its content.
    pub(super) fn member_changed(
        &mut self,
        node: NodeIndex,
        input: usize,
        token: TokenIndex,
        was: Weight,
        is: Weight,
    ) {
        let Some(key) = self.group_key(node, input, token) else {
            return;
        };
        if let Some(group) = self.group_mut(node, input, &key) {
            group.add(is);
            group.remove(was);
        }
        if was != is {
            self.note_stale(node, input, &key);
        }
        self.check_group(node, input, &key);
    }

    /// A member of a group is being made again, so the group is, too.
    pub(super) fn member_pending(
        &mut self,
        node: NodeIndex,
        input: usize,
        token: TokenIndex,
        was: Weight,
    ) {
        let Some(key) = self.group_key(node, input, token) else {
            return;
        };
        let Some(group) = self.group_mut(node, input, &key) else {
            return;
        };
        group.remove(was);
        // A Merge that has its first values does not care for the others.
        if group
            .chosen
            .as_ref()
            .is_some_and(|chosen| !chosen.contains(&token))
        {
            return;
        }
        group.chosen = None;
        if let Some(token) = group.token {
            self.tokens[token as usize].content = Content::Pending;
        }
        self.satisfied.remove(&(node, key));
    }

    /// What a fan-out opened at `key` is known: groups that count it may be complete, also without any member.
    pub(super) fn extent_known(&mut self, node: NodeIndex, input: usize, key: &Path) {
        let plan = self.plan.clone();
        let planned = &plan.nodes[node].inputs[input];
        if let Some(collector) = &planned.collector
            && let Completeness::Extent {
                key_is_group: true, ..
            } = collector.complete
        {
            self.group_mut(node, input, key);
            self.check_group(node, input, key);
        }
    }

    /// Hands a group on when it is complete, or when a Merge (first n) has enough.
    fn check_group(&mut self, node: NodeIndex, input: usize, key: &Path) {
        let plan = self.plan.clone();
        if plan.nodes[node].first_count().is_some() && self.take_first(node, key) {
            return;
        }
        let Some(planned) = plan.nodes[node].inputs[input].collector.as_ref() else {
            return;
        };
        let Some(group) = self.nodes[node].collectors[input]
            .as_ref()
            .and_then(|collector| collector.groups.get(key))
        else {
            return;
        };
        if !self.is_unfired(group) {
            return;
        }
        let content = match &planned.complete {
            Completeness::OneValue => match group.members.last() {
                Some(member) => match &self.tokens[*member as usize].content {
                    Content::Pending => return,
                    Content::Hole(hole) if hole.kind == HoleKind::Gone => {
                        Content::Hole(hole.clone())
                    }
                    _ => Content::Group,
                },
                None => return,
            },
            Completeness::Extent {
                fan_out,
                key: extent_key,
                ..
            } => match self.extents[*fan_out].get(&path::project(key, extent_key)) {
                Some(Extent::Values(count)) if group.settled == *count => Content::Group,
                Some(Extent::Hole) if group.settled == 1 => Content::Group,
                Some(Extent::Gone) => gone(),
                _ => return,
            },
            Completeness::WholeSource => return,
        };
        self.fire(node, input, key, content);
    }

    /// For a Merge (first n): hands its groups on as soon as there are enough values, and lets go of what is left. Says
    /// whether there are. Links that differ in what stays open behind the Merge have no common count; then it waits.
    fn take_first(&mut self, node: NodeIndex, key: &Path) -> bool {
        let plan = self.plan.clone();
        let planned = &plan.nodes[node];
        let Some(wanted) = planned.first_count() else {
            return false;
        };
        let is_taken = (node, key.clone());
        if self.satisfied.contains(&is_taken) {
            return true;
        }
        if planned
            .inputs
            .iter()
            .any(|input| input.open != planned.open)
        {
            return false;
        }
        let there: u32 = self.nodes[node]
            .collectors
            .iter()
            .flatten()
            .filter_map(|collector| collector.groups.get(key))
            .map(|group| group.values)
            .sum();
        if there < wanted {
            return false;
        }
        self.satisfied.insert(is_taken);
        let mut left = wanted as usize;
        for input in 0..planned.inputs.len() {
            let Some(group) = self.group_mut(node, input, key) else {
                continue;
            };
            let members = group.members.clone();
            let chosen: Vec<TokenIndex> = members
                .into_iter()
                .filter(|member| matches!(self.tokens[*member as usize].content, Content::Value(_)))
                .take(left)
                .collect();
            left -= chosen.len();
            let Some(group) = self.group_mut(node, input, key) else {
                continue;
            };
            group.chosen = Some(chosen);
            let group = self.nodes[node].collectors[input]
                .as_ref()
                .and_then(|collector| collector.groups.get(key));
            if group.is_some_and(|group| self.is_unfired(group)) {
                self.fire(node, input, key, Content::Group);
            }
        }
        self.let_go(node, key);
        true
    }

    fn is_unfired(&self, group: &Group) -> bool {
        group
            .token
            .is_none_or(|token| matches!(self.tokens[token as usize].content, Content::Pending))
    }

    /// The group takes part in the Merge's join.
    fn fire(&mut self, node: NodeIndex, input: usize, key: &Path, content: Content) {
        let is_hole = matches!(content, Content::Hole(_));
        let earlier = self.group_mut(node, input, key).and_then(|group| {
            // What was chosen is gone with it: what comes again is chosen from anew.
            if is_hole {
                group.chosen = None;
            }
            group.token
        });
        if let Some(token) = earlier {
            self.settle(token, content, &[]);
            return;
        }
        let token = self.tokens.len() as TokenIndex;
        self.tokens.push(Token {
            path: key.clone(),
            producer: None,
            output: 0,
            content,
        });
        if let Some(group) = self.group_mut(node, input, key) {
            group.token = Some(token);
        }
        self.insert(node, input, token);
    }

    /// Sources of a Merge that can make nothing more: every group that is still open is complete now.
    pub(super) fn close_sources(&mut self, node: NodeIndex) {
        let plan = self.plan.clone();
        for (input, planned) in plan.nodes[node].inputs.iter().enumerate() {
            let Some(collector) = &planned.collector else {
                continue;
            };
            if !self.nodes[planned.source].is_exhausted {
                continue;
            }
            let Some(state) = self.nodes[node].collectors[input].as_mut() else {
                continue;
            };
            if std::mem::replace(&mut state.is_closed, true) {
                continue;
            }
            let empty = self.empty_groups(&planned.open, &collector.complete);
            if !matches!(
                collector.complete,
                Completeness::OneValue
                    | Completeness::Extent {
                        key_is_group: true,
                        ..
                    }
            ) {
                self.note_stale_empty(node, input, &empty);
            }
            for key in &empty {
                self.group_mut(node, input, key);
            }
            let Some(state) = self.nodes[node].collectors[input].as_ref() else {
                continue;
            };
            let mut open: Vec<Path> = state
                .groups
                .iter()
                .filter(|(_, group)| self.is_unfired(group))
                .map(|(key, _)| key.clone())
                .collect();
            open.sort_unstable();
            for key in open {
                let all_gone = !key.is_empty()
                    && self
                        .group_mut(node, input, &key)
                        .map(|group| group.members.clone())
                        .is_some_and(|members| {
                            !empty.contains(&key)
                                && members.iter().all(|member| {
                                    !is_counted(&self.tokens[*member as usize].content)
                                })
                        });
                // Where one fan-out opened the group and opened nothing, the list is empty rather than gone.
                let is_open = match &collector.complete {
                    Completeness::Extent {
                        fan_out,
                        key: extent_key,
                        key_is_group: true,
                        ..
                    } => matches!(
                        self.extents[*fan_out].get(&path::project(&key, extent_key)),
                        Some(Extent::Values(_) | Extent::Hole)
                    ),
                    _ => false,
                };
                let content = if all_gone && !is_open {
                    gone()
                } else {
                    Content::Group
                };
                self.fire(node, input, &key, content);
            }
        }
    }

    /// Groups without members that were handed on, and are there no longer or again: their Merge has to look again.
    fn note_stale_empty(&mut self, node: NodeIndex, input: usize, empty: &BTreeSet<Path>) {
        let Some(collector) = self.nodes[node].collectors[input].as_ref() else {
            return;
        };
        let mut stale: Vec<Path> = collector
            .groups
            .iter()
            .filter(|(key, group)| {
                !key.is_empty()
                    && group.members.is_empty()
                    && group.token.is_some_and(|token| {
                        let is_there =
                            matches!(self.tokens[token as usize].content, Content::Group);
                        is_there != empty.contains(*key)
                    })
            })
            .map(|(key, _)| key.clone())
            .collect();
        stale.sort_unstable();
        for key in stale {
            self.note_stale(node, input, &key);
        }
    }

    /// Groups that exist although nothing may have come: where every fan-out is closed, the one group; where some stay
    /// open, one for each path of those.
    fn empty_groups(&self, open: &[FanIndex], complete: &Completeness) -> BTreeSet<Path> {
        match complete {
            Completeness::WholeSource => self.structural_paths(open),
            Completeness::Extent {
                fan_out,
                key_is_group: false,
                ..
            } if self.extents[*fan_out]
                .values()
                .any(|extent| *extent == Extent::Values(0)) =>
            {
                self.structural_paths(open)
            }
            _ => BTreeSet::new(),
        }
    }

    /// Every path over these fan-outs, from what each of them opened. Fan-outs that enclose them and were closed before
    /// give the places where they opened anything. None where there would be more than a run may have items.
    fn structural_paths(&self, open: &[FanIndex]) -> BTreeSet<Path> {
        let mut all: BTreeSet<FanIndex> = BTreeSet::new();
        let mut pending = open.to_vec();
        while let Some(fan_out) = pending.pop() {
            if all.insert(fan_out) {
                pending.extend(&self.plan.fan_outs[fan_out].enclosing);
            }
        }
        // A fan-out is younger than all that enclose it.
        let all: Vec<FanIndex> = all.into_iter().collect();
        let mut paths = vec![Path::default()];
        for fan_out in &all {
            let key = positions(&all, &self.plan.fan_outs[*fan_out].enclosing);
            let mut longer = Vec::new();
            for path in paths {
                match self.extents[*fan_out].get(&path::project(&path, &key)) {
                    Some(Extent::Values(count)) => {
                        longer.extend((0..*count).map(|index| path::extended(&path, index)));
                    }
                    Some(Extent::Hole) => longer.push(path::extended(&path, NO_INDEX)),
                    Some(Extent::Gone) | None => {}
                }
                if longer.len() as u64 > MAX_ITEMS_PER_RUN {
                    return BTreeSet::new();
                }
            }
            paths = longer;
        }
        let kept = positions(&all, open);
        paths
            .iter()
            .map(|path| path::project(path, &kept))
            .collect()
    }
}

/// Where these fan-outs stand among all.
fn positions(all: &[FanIndex], some: &[FanIndex]) -> Vec<usize> {
    all.iter()
        .enumerate()
        .filter(|(_, fan_out)| some.contains(fan_out))
        .map(|(position, _)| position)
        .collect()
}

fn gone() -> Content {
    Content::Hole(Hole {
        kind: HoleKind::Gone,
        reason: "the fan-out it belonged to was made again with other values".into(),
    })
}
