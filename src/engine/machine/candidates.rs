//! What placement weighs for one item: every backend, out for a reason or with what it would cost.

use super::attempts::Attempt;
use super::input::{Availability, NodeClasses};
use super::item::ItemIndex;
use super::run::Run;
use super::values::bytes_elsewhere;
use super::{ATTEMPTS_AHEAD_PER_BACKEND, ATTEMPTS_FETCHED_PER_BACKEND, BackendFacts, Machine};
use crate::artifacts::ContentHash;
use crate::engine::failure::FailureClass;
use crate::engine::placement::{self, Candidate, Cost, Exclusion, Lacking};
use crate::engine::plan::PlanNode;
use crate::engine::value::Value;
use crate::project::{BackendId, Literal, NodeKind, PortBinding};
use crate::workflow::{
    MemoryFit, MemoryNeed, MemoryRoom, ModelWeights, ParameterAddress, is_model_name, lacks_choice,
    weights_of_name,
};
use std::collections::BTreeMap;

/// How long items wait for backends on which they fit, before one with too little memory is as good: a slow result early is better
/// than a fast one late, and what is measured there tells how slow it is.
const LONGEST_WAIT_FOR_MEMORY_MS: u64 = 300_000;

/// A backend while work is given out.
pub(super) struct Desk {
    pub free: usize,
    /// Prompts there that are executed, and whose results are not fetched yet.
    pub fetched: usize,
    pub wait_ms: u64,
    /// The models that will be loaded when it is free.
    pub models: Option<ContentHash>,
}

/// A backend on the way to a verdict.
struct Judged<'a> {
    facts: &'a BackendFacts,
    memory: Option<MemoryFit>,
    exclusion: Option<Exclusion>,
}

impl Judged<'_> {
    /// Whether the item could go there sooner or later.
    fn may_come(&self) -> bool {
        !matches!(
            self.exclusion,
            Some(
                Exclusion::Disabled
                    | Exclusion::TiedElsewhere
                    | Exclusion::NotChosen
                    | Exclusion::LacksTags { .. }
                    | Exclusion::Unable { .. }
                    | Exclusion::Lacks { .. }
                    | Exclusion::TooSmall { .. }
            )
        )
    }
}

impl Machine {
    /// Every backend while work is given out.
    pub(super) fn desks(&self, now_ms: u64) -> BTreeMap<BackendId, Desk> {
        self.backends
            .values()
            .map(|facts| (facts.backend_id, self.desk(now_ms, facts)))
            .collect()
    }

    /// How much room a backend has, and how long until it is free.
    fn desk(&self, now_ms: u64, facts: &BackendFacts) -> Desk {
        let live: Vec<&Attempt> = self.followed_at(facts.backend_id).collect();
        let unexecuted = live.iter().filter(|attempt| attempt.executed_ms.is_none());
        let wait_ms = unexecuted
            .clone()
            .map(|attempt| self.remaining_ms(now_ms, attempt))
            .sum();
        let fetched = live.len() - unexecuted.clone().count();
        let free = if facts.availability == Availability::Online {
            let room = ATTEMPTS_AHEAD_PER_BACKEND + ATTEMPTS_FETCHED_PER_BACKEND;
            ATTEMPTS_AHEAD_PER_BACKEND
                .saturating_sub(unexecuted.count())
                .min(room.saturating_sub(live.len()))
        } else {
            0
        };
        Desk {
            free,
            fetched,
            wait_ms,
            models: self.loaded.get(&facts.backend_id).copied(),
        }
    }

    /// Attempts at a backend whose runs go on, in order of submission. What a run left there that rests since the start of the
    /// process is nobody's work: it holds no place, or the others would wait for a person to say what becomes of that run.
    fn followed_at(&self, backend_id: BackendId) -> impl Iterator<Item = &Attempt> {
        self.load
            .get(&backend_id)
            .into_iter()
            .flatten()
            .filter_map(|attempt_id| self.attempts.get(attempt_id))
            .filter(|attempt| !self.dormant.contains(&attempt.run_id))
    }

    /// Expected milliseconds until an attempt is executed. One that takes longer than expected is expected to take half as
    /// long again as it has taken.
    pub(super) fn remaining_ms(&self, now_ms: u64, attempt: &Attempt) -> u64 {
        if attempt.executed_ms.is_some() {
            return 0;
        }
        let expected = attempt.effort.map_or(placement::PRIOR_RUN_MS, |effort| {
            self.estimates.run_ms(effort, attempt.backend_id)
        }) as u64;
        let elapsed = attempt
            .started_ms
            .map_or(0, |started_ms| now_ms.saturating_sub(started_ms));
        if elapsed < expected {
            expected - elapsed
        } else {
            elapsed / 2
        }
    }

    /// Every backend for one item: out for a reason, or what it would cost.
    pub(super) fn candidates(
        &self,
        now_ms: u64,
        run: &Run,
        index: ItemIndex,
        desks: &BTreeMap<BackendId, Desk>,
    ) -> Vec<Candidate<'_>> {
        let mut judged: Vec<Judged<'_>> = self
            .backends
            .values()
            .map(|facts| Judged {
                facts,
                memory: self.memory_fit(run, index, facts),
                exclusion: self.exclusion(now_ms, run, index, facts),
            })
            .collect();
        // What failed here, or fails here often, is tried here again only when there is nowhere else to go.
        let someone_is_free = judged.iter().any(|one| one.exclusion.is_none());
        let able = judged.iter().filter(|one| one.may_come()).count();
        for one in &mut judged {
            match one.exclusion {
                Some(Exclusion::FailedHere) if !someone_is_free => one.exclusion = None,
                Some(Exclusion::PairBlocked { .. }) if able == 1 => one.exclusion = None,
                _ => {}
            }
        }
        self.keep_from_small(run, index, desks, &mut judged);
        judged
            .into_iter()
            .map(|one| Candidate {
                backend_id: one.facts.backend_id,
                name: &one.facts.name,
                memory: one.memory,
                verdict: match one.exclusion {
                    Some(exclusion) => Err(exclusion),
                    None => Ok(self.cost(now_ms, run, index, one.facts, one.memory, desks)),
                },
            })
            .collect()
    }

    /// Keeps an item from backends with too little memory while there are others, unless those are busy for long. Where it fits
    /// nowhere it goes where most memory is.
    fn keep_from_small(
        &self,
        run: &Run,
        index: ItemIndex,
        desks: &BTreeMap<BackendId, Desk>,
        judged: &mut [Judged<'_>],
    ) {
        let effort = run.plan.nodes[run.items[index as usize].node].effort_hash;
        let shortages: Vec<Option<Exclusion>> = judged
            .iter()
            .map(|one| self.shortage(effort?, one.facts, one.memory))
            .collect();
        if shortages.iter().all(Option::is_none) {
            return;
        }
        let open = || {
            judged
                .iter()
                .zip(&shortages)
                .filter(|(one, _)| one.exclusion.is_none())
        };
        let someone_is_large = open().any(|(_, shortage)| shortage.is_none());
        let most_bytes = open().filter_map(|(one, _)| one.facts.vram_bytes).max();
        let is_better = |one: &Judged<'_>, shortage: Option<&Exclusion>| {
            shortage.is_none() || !someone_is_large && one.facts.vram_bytes == most_bytes
        };
        let wait_ms = open()
            .filter(|(one, shortage)| is_better(one, shortage.as_ref()))
            .filter_map(|(one, _)| desks.get(&one.facts.backend_id))
            .map(|desk| desk.wait_ms)
            .min();
        if wait_ms.is_none_or(|wait_ms| wait_ms > LONGEST_WAIT_FOR_MEMORY_MS) {
            return;
        }
        for (one, shortage) in judged.iter_mut().zip(shortages) {
            if one.exclusion.is_none() && !is_better(one, shortage.as_ref()) {
                one.exclusion = shortage;
            }
        }
    }

    /// Why a workflow should not go to a backend as far as its memory is known; none when it fits, when nothing is known, or when
    /// a run of it was measured there.
    pub(super) fn shortage(
        &self,
        effort: ContentHash,
        facts: &BackendFacts,
        memory: Option<MemoryFit>,
    ) -> Option<Exclusion> {
        let has_bytes = facts.vram_bytes?;
        if self
            .estimates
            .measured_run_ms(effort, facts.backend_id)
            .is_some()
        {
            return None;
        }
        if let Some(too_few_bytes) = self.estimates.too_few_bytes(effort)
            && has_bytes <= too_few_bytes
        {
            return Some(Exclusion::TooFewElsewhere {
                has_bytes,
                too_few_bytes,
            });
        }
        memory
            .filter(|fit| fit.room() == MemoryRoom::TooLittle)
            .map(Exclusion::NeedsMore)
    }

    /// What an item needs of a backend's memory: by what was measured of its workflow, and by the sizes of its models.
    pub(super) fn memory_fit(
        &self,
        run: &Run,
        index: ItemIndex,
        facts: &BackendFacts,
    ) -> Option<MemoryFit> {
        let has_bytes = facts.vram_bytes?;
        let planned = &run.plan.nodes[run.items[index as usize].node];
        let own = self.weights_of(planned, facts).map(Some);
        let brought = own_texts(run, index)
            .filter(|(_, text)| is_model_name(text))
            .map(|(address, name)| {
                let sizes = facts.model_sizes.as_ref()?;
                weights_of_name(name, &address.input, &sizes.0)
            });
        let weights = ModelWeights::together(own.into_iter().chain(brought));
        let peak_bytes = self.estimates.memory_bytes(planned.effort_hash?);
        Some(MemoryNeed::of(peak_bytes, weights)?.on(has_bytes))
    }

    /// The same of a node, without what its items bring.
    pub(super) fn memory_of_workflow(
        &self,
        planned: &PlanNode,
        facts: &BackendFacts,
    ) -> Option<MemoryFit> {
        let weights = self.weights_of(planned, facts);
        let peak_bytes = self.estimates.memory_bytes(planned.effort_hash?);
        Some(MemoryNeed::of(peak_bytes, weights)?.on(facts.vram_bytes?))
    }

    /// What the models of a node's workflow weigh: by the sizes that a backend tells, else by those that another one tells.
    fn weights_of(&self, planned: &PlanNode, facts: &BackendFacts) -> Option<ModelWeights> {
        let workflow = planned.workflow_hash?;
        facts.weights.get(&workflow).copied().or_else(|| {
            self.backends
                .values()
                .find_map(|other| other.weights.get(&workflow).copied())
        })
    }

    pub(super) fn cost(
        &self,
        now_ms: u64,
        run: &Run,
        index: ItemIndex,
        facts: &BackendFacts,
        memory: Option<MemoryFit>,
        desks: &BTreeMap<BackendId, Desk>,
    ) -> Cost {
        let backend_id = facts.backend_id;
        let item = &run.items[index as usize];
        let effort = run.plan.nodes[item.node].effort_hash;
        let mut run_ms = effort.map_or(placement::PRIOR_RUN_MS, |effort| {
            self.estimates.run_ms(effort, backend_id)
        }) as u64;
        let is_measured =
            effort.is_some_and(|hash| self.estimates.measured_run_ms(hash, backend_id).is_some());
        if !is_measured {
            // A run that has not ended yet already says how long it takes at least.
            for attempt in self.followed_at(backend_id) {
                if attempt.effort == effort
                    && let Some(started_ms) = attempt.started_ms
                {
                    let until_ms = attempt.executed_ms.unwrap_or(now_ms);
                    run_ms = run_ms.max(until_ms.saturating_sub(started_ms));
                }
            }
        }
        let bytes = (0..item.inputs.len())
            .filter_map(|input| run.input_value(index, input))
            .map(|value| bytes_elsewhere(value, backend_id, &self.brought))
            .sum();
        let desk = desks.get(&backend_id);
        let models = models_of(run, index);
        let swap_ms = match (effort, models) {
            (Some(effort), Some(models)) if desk.and_then(|desk| desk.models) != Some(models) => {
                self.estimates.swap_ms(effort, backend_id) as u64
            }
            _ => 0,
        };
        // Of n attempts that fail each time with share p, p/(1-p) are in vain.
        let share = effort.map_or(0.0, |effort| {
            self.estimates.failure_share(effort, backend_id)
        });
        // What was measured there has it in it.
        let moving_ms = if is_measured {
            0
        } else {
            memory.map_or(0, MemoryFit::moving_ms)
        };
        let risk_ms = ((run_ms + moving_ms + swap_ms) as f64 * share / (1.0 - share)) as u64;
        Cost {
            wait_ms: desk.map_or(0, |desk| desk.wait_ms),
            swap_ms,
            transfer_ms: self.estimates.transfer_ms(backend_id, bytes),
            // Never nothing: what is held for a full backend has to count there.
            run_ms: run_ms.max(1),
            moving_ms,
            risk_ms,
        }
    }

    /// The first hard filter that keeps a backend from taking an item.
    fn exclusion(
        &self,
        now_ms: u64,
        run: &Run,
        index: ItemIndex,
        facts: &BackendFacts,
    ) -> Option<Exclusion> {
        let item = &run.items[index as usize];
        let NodeKind::Workflow(workflow) = &run.plan.nodes[item.node].node.kind else {
            return None;
        };
        match item.only_on() {
            // What a person chose stands above what the node says.
            Some(only) => (only != facts.backend_id).then_some(Exclusion::NotChosen),
            None => facts.not_wanted_by(workflow),
        }
        .or_else(|| self.exclusion_of_facts(now_ms, run, index, facts))
    }

    /// Why a backend can run no item of a workflow: what was known before, or what a failed attempt taught, with its class.
    pub(super) fn inability<'a>(
        &'a self,
        workflow: Option<ContentHash>,
        facts: &'a BackendFacts,
    ) -> Option<(&'a str, Option<FailureClass>)> {
        let hash = workflow?;
        if let Some(reason) = facts.unable.get(&hash) {
            return Some((reason, None));
        }
        let failure = self.learned_unable.get(&(hash, facts.backend_id))?;
        Some((&failure.message, Some(failure.class)))
    }

    /// The same without where the node or a person wants the item to run.
    pub(super) fn exclusion_of_facts(
        &self,
        now_ms: u64,
        run: &Run,
        index: ItemIndex,
        facts: &BackendFacts,
    ) -> Option<Exclusion> {
        let item = &run.items[index as usize];
        let planned = &run.plan.nodes[item.node];
        if let Some((reason, _)) = self.inability(planned.workflow_hash, facts) {
            let reason = reason.to_owned();
            return Some(Exclusion::Unable { reason });
        }
        if let Some(exclusion) = lacks_own_choice(run, index, facts) {
            return Some(exclusion);
        }
        match &facts.availability {
            Availability::Disabled => return Some(Exclusion::Disabled),
            Availability::Offline { reason } => {
                return Some(Exclusion::Offline {
                    reason: reason.clone(),
                });
            }
            Availability::Online => {}
        }
        if let Some(trouble) = &item.trouble {
            if let Some((_, reason)) = trouble
                .lacking
                .iter()
                .find(|(backend_id, _)| *backend_id == facts.backend_id)
            {
                return Some(Exclusion::Lacks {
                    reason: reason.clone(),
                    what: Lacking::Model,
                });
            }
            if let Some(has_bytes) = facts.vram_bytes
                && has_bytes <= trouble.too_few_bytes
            {
                return Some(Exclusion::TooSmall {
                    has_bytes,
                    too_few_bytes: trouble.too_few_bytes,
                });
            }
            let resting = trouble
                .avoid
                .iter()
                .filter(|(backend_id, _)| *backend_id == facts.backend_id)
                .map(|(_, until_ms)| *until_ms)
                .max()
                .unwrap_or(0);
            if resting == u64::MAX || trouble.failed_on.contains(&facts.backend_id) {
                return Some(Exclusion::FailedHere);
            }
            if resting > now_ms {
                return Some(Exclusion::Resting {
                    left_ms: resting - now_ms,
                });
            }
        }
        let blocked_until_ms = planned
            .workflow_hash
            .and_then(|hash| self.pairs.get(&(hash, facts.backend_id)))
            .map_or(0, |pair| pair.blocked_until_ms);
        (blocked_until_ms > now_ms).then(|| Exclusion::PairBlocked {
            left_ms: blocked_until_ms - now_ms,
        })
    }
}

/// What the models an item needs are known by: those its workflow names and those that links bring. None when it names
/// none.
pub(super) fn models_of(run: &Run, index: ItemIndex) -> Option<ContentHash> {
    let item = &run.items[index as usize];
    let planned = &run.plan.nodes[item.node];
    let linked: Vec<String> = (0..item.inputs.len())
        .filter_map(|input| match run.input_value(index, input)? {
            Value::Literal(Literal::Text(text)) if is_model_name(text) => {
                Some(format!("{input}={text}"))
            }
            _ => None,
        })
        .collect();
    if planned.models.is_empty() && linked.is_empty() {
        return None;
    }
    let all: Vec<&str> = planned
        .models
        .iter()
        .chain(&linked)
        .map(String::as_str)
        .collect();
    Some(ContentHash::of(all.join("\n").as_bytes()))
}

/// The texts that an item brings to fields of its workflow itself: by links, or as a person changed them.
fn own_texts(run: &Run, index: ItemIndex) -> impl Iterator<Item = (&ParameterAddress, &str)> {
    let planned = &run.plan.nodes[run.items[index as usize].node];
    let edits = run.edits.get(&index).map(Vec::as_slice).unwrap_or_default();
    let linked = planned
        .inputs
        .iter()
        .enumerate()
        .filter_map(move |(input, planned_input)| {
            let port = planned.node.inputs.get(planned_input.port)?;
            match (&port.binding, run.input_value(index, input)?) {
                (PortBinding::Parameter(address), Value::Literal(Literal::Text(text))) => {
                    Some((address, text.as_str()))
                }
                _ => None,
            }
        })
        .filter(|(address, _)| !edits.iter().any(|(edited, _)| edited == *address));
    let edited = edits.iter().filter_map(|(address, value)| match value {
        Literal::Text(text) => Some((address, text.as_str())),
        _ => None,
    });
    linked.chain(edited)
}

/// Whether a model that an item needs is named by what the item itself brings.
pub(super) fn brings_models(run: &Run, index: ItemIndex) -> bool {
    own_texts(run, index).any(|(_, text)| is_model_name(text))
}

/// What an item brings by name and a backend does not list.
fn lacks_own_choice(run: &Run, index: ItemIndex, facts: &BackendFacts) -> Option<Exclusion> {
    let NodeClasses(object_info) = facts.classes.as_ref()?;
    own_texts(run, index).find_map(|(address, text)| {
        let reason = lacks_choice(object_info, address, text)?;
        Some(Exclusion::Lacks {
            reason: reason.to_string(),
            what: if is_model_name(text) {
                Lacking::Model
            } else {
                Lacking::Choice
            },
        })
    })
}
