//! Why Ready items are not on their way, in words for people.

use super::candidates::Desk;
use super::input::Availability;
use super::item::{Bound, ItemIndex};
use super::run::Run;
use super::{ATTEMPTS_AHEAD_PER_BACKEND, ATTEMPTS_FETCHED_PER_BACKEND, BackendFacts, Machine};
use crate::engine::event::{ItemState, RunState};
use crate::engine::id::{ItemId, RunId};
use crate::engine::outlook::{NodeWait, WaitCause};
use crate::engine::placement::{self, Candidate, Exclusion};
use crate::project::{Affinity, BackendId, NodeKind};
use std::collections::{BTreeMap, BTreeSet};

/// Backends named in one sentence.
const BACKENDS_NAMED: usize = 6;
/// Items of a node that are told one by one because they wait for something else than the node's others.
const ITEMS_TOLD: usize = 16;

impl Machine {
    /// Why a Ready item is not on its way, as a sentence; none when it does not wait.
    #[must_use]
    pub fn waiting_reason(&self, now_ms: u64, run_id: RunId, item_id: ItemId) -> Option<String> {
        let run = self.runs.get(&run_id)?;
        let index = run.item_by_id.get(&item_id).copied()?;
        let desks = self.desks(now_ms);
        self.wait_of(now_ms, run, index, &desks)
            .map(|(_, words)| words)
    }

    /// What waits for a backend in a run, node by node, each with the reason of the item that goes first.
    #[must_use]
    pub fn waits(&self, now_ms: u64, run_id: RunId) -> Vec<NodeWait> {
        let Some(run) = self.runs.get(&run_id) else {
            return Vec::new();
        };
        if run.state.is_ended() {
            return Vec::new();
        }
        let desks = self.desks(now_ms);
        run.active_nodes
            .iter()
            .filter_map(|node| {
                let ready = &run.nodes[*node].ready;
                let (.., first) = ready.first()?;
                let (cause, reason) = self.wait_of(now_ms, run, *first, &desks)?;
                let own = ready
                    .iter()
                    .map(|(.., index)| *index)
                    .filter(|index| run.items[*index as usize].trouble.is_some())
                    .take(ITEMS_TOLD)
                    .filter_map(|index| {
                        let (_, words) = self.wait_of(now_ms, run, index, &desks)?;
                        (words != reason).then(|| (run.items[index as usize].item_id, words))
                    })
                    .collect();
                Some(NodeWait {
                    node_id: run.plan.nodes[*node].node.id,
                    items: u32::try_from(ready.len()).unwrap_or(u32::MAX),
                    cause,
                    reason,
                    own,
                })
            })
            .collect()
    }

    fn wait_of(
        &self,
        now_ms: u64,
        run: &Run,
        index: ItemIndex,
        desks: &BTreeMap<BackendId, Desk>,
    ) -> Option<(WaitCause, String)> {
        let item = run.items.get(index as usize)?;
        if item.state != ItemState::Ready {
            return None;
        }
        if !run.is_remote(item.node) {
            return Some((
                WaitCause::Turn,
                "waits for its turn on this machine".to_owned(),
            ));
        }
        if self.dormant.contains(&run.run_id) {
            return Some((
                WaitCause::Paused,
                "the run rests until somebody goes on with it".to_owned(),
            ));
        }
        if run.state == RunState::Paused {
            return Some((WaitCause::Paused, "the run is paused".to_owned()));
        }
        if self.looking_up.contains_key(&item.item_id) || run.asks_cache(index) {
            return Some((WaitCause::Turn, "is looked for in the cache".to_owned()));
        }
        let rests_ms = item
            .trouble
            .as_ref()
            .map_or(0, |trouble| trouble.not_before_ms.saturating_sub(now_ms));
        if rests_ms > 0 && !self.backends.is_empty() {
            let words = format!(
                "is tried again in {} s: the last transfer broke",
                rests_ms.div_ceil(1000)
            );
            return Some((WaitCause::Turn, words));
        }
        let candidates = self.candidates(now_ms, run, index, desks);
        if let Some((best, cost)) = placement::best(&candidates) {
            let name = best.name;
            let words = match desks.get(&best.backend_id) {
                Some(desk) if desk.free > 0 => format!("waits for {name}: others go there first"),
                Some(desk) if desk.fetched > ATTEMPTS_FETCHED_PER_BACKEND => format!(
                    "waits for {name}, from which the results of {} prompts are being fetched",
                    desk.fetched
                ),
                _ => format!(
                    "waits for {name}, which is full ({ATTEMPTS_AHEAD_PER_BACKEND} prompts); expected to be free in {} s",
                    cost.wait_ms.div_ceil(1000)
                ),
            };
            return Some((WaitCause::Turn, words));
        }
        Some((WaitCause::Nobody, self.nobody(run, index, &candidates)))
    }

    /// Why no backend takes an item, of which every one is out.
    fn nobody(&self, run: &Run, index: ItemIndex, candidates: &[Candidate<'_>]) -> String {
        if self.backends.is_empty() {
            return "no backend is registered".to_owned();
        }
        let item = &run.items[index as usize];
        let bound = item.trouble.as_ref().and_then(|trouble| trouble.bound);
        let only = match (bound, &run.plan.nodes[item.node].node.kind) {
            (Some(Bound::Chosen(chosen)), _) => {
                Some((chosen, "the backend that was chosen for it"))
            }
            (Some(Bound::OnceMore(backend_id)), _) => {
                Some((backend_id, "the backend on which it is tried once more"))
            }
            (None, NodeKind::Workflow(workflow)) => match &workflow.affinity {
                Affinity::Backend(tied) => Some((*tied, "the only backend it may run on")),
                Affinity::Tags(tags) => {
                    if self
                        .backends
                        .values()
                        .all(|facts| facts.not_wanted_by(workflow).is_some())
                    {
                        return no_backend_has(tags);
                    }
                    None
                }
                Affinity::Any => None,
            },
            (None, _) => None,
        };
        if let Some((only, what)) = only {
            return candidates
                .iter()
                .find(|candidate| candidate.backend_id == only)
                .and_then(|candidate| Some((candidate.name, candidate.verdict.as_ref().err()?)))
                .map_or_else(
                    || format!("{what} is not registered"),
                    |(name, exclusion)| format!("{name}, {what}, {exclusion}"),
                );
        }
        if self
            .backends
            .values()
            .all(|facts: &BackendFacts| facts.availability == Availability::Disabled)
        {
            return "all backends are disabled".to_owned();
        }
        let reasons: Vec<String> = candidates
            .iter()
            .filter_map(|candidate| Some((candidate.name, candidate.verdict.as_ref().err()?)))
            .filter(|(_, exclusion)| {
                !matches!(
                    exclusion,
                    Exclusion::LacksTags { .. } | Exclusion::NotChosen | Exclusion::TiedElsewhere
                )
            })
            .map(|(name, exclusion)| format!("{name}: {exclusion}"))
            .collect();
        let more = reasons.len().saturating_sub(BACKENDS_NAMED);
        let named: Vec<&str> = reasons
            .iter()
            .take(BACKENDS_NAMED)
            .map(String::as_str)
            .collect();
        let named = named.join("; ");
        if more > 0 {
            format!("{named}; and {more} more")
        } else {
            named
        }
    }
}

/// That no backend has all of some tags.
pub(in crate::engine) fn no_backend_has(tags: &BTreeSet<String>) -> String {
    let names: Vec<&str> = tags.iter().map(String::as_str).collect();
    match names.as_slice() {
        [one] => format!("no backend has the tag {one}"),
        several => format!("no backend has all of the tags {}", several.join(", ")),
    }
}
