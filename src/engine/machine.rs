//! The pure machine of runs: facts in, orders out.
//!
//! [`Machine::step`] takes one [`Input`] (a fact or a wish) and returns [`Effect`]s (orders). It knows no clock, no network,
//! no disk and no randomness; time and ids come in as data. The executor performs the orders and feeds the facts back.
//! Orders of one step are performed in their order, and every [`Effect::Record`] is durable before a later order starts.
//!
//! How it works: what leaves an output is a token (a value, or the reason why there is none) at an index path. Tokens join
//! into items ([`flow`]), a Merge gathers them into groups ([`merge`]) and makes lists of these ([`merged_list`]), Ready items
//! get backends ([`placing`]), ended attempts are judged ([`judgement`]). What people ask and what has to wait is in
//! [`wishes`]. A log is replayed by the same code ([`replay`]): events that follow from others are made again and met in the
//! log; those a crash cut off are recorded afterwards.

mod asked;
mod attempts;
mod brought;
mod candidates;
mod effect;
mod expected;
mod flow;
mod give;
mod input;
mod item;
mod judgement;
mod labels;
mod lineage;
mod local_orders;
mod local_waits;
mod merge;
mod merged_list;
mod path;
mod placing;
mod questions;
mod queues;
mod reopen;
mod replay;
mod review;
mod run;
mod schedule;
mod token;
mod values;
mod waiting;
mod wishes;

pub use asked::Asked;
pub use attempts::PAIR_BLOCK_MS;
pub use effect::{CacheQuestion, Effect, LocalTask, LocalWork, ServerCache, Submission};
pub use input::{
    AttemptOutputs, Availability, BackendFacts, Input, KnownSizes, LocalOutcome, NodeClasses,
};
pub use lineage::Lineage;
pub use review::{MAX_RATING, ReviewAnswer, ReviewVerdict};
pub(in crate::engine) use waiting::no_backend_has;

use crate::artifacts::ContentHash;
use crate::engine::event::{CallOff, ItemState, RunEvent, RunEventBody, RunState};
use crate::engine::failure::Failure;
use crate::engine::id::{AttemptId, ItemId, RunId};
use crate::engine::placement::Estimates;
use crate::engine::plan::Plan;
use crate::project::BackendId;
use attempts::{Attempt, PairBlockMs, PairHealth};
use brought::Brought;
use item::ItemIndex;
use run::Run;
use schedule::Fields;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Prompts at one backend at a time: one running, one waiting, so that our queue stays ours and no GPU idles.
pub const ATTEMPTS_AHEAD_PER_BACKEND: usize = 2;
/// Prompts of one backend whose outputs may be on their way here while it executes others: bounds what is fetched at once where
/// fetching takes longer than executing.
pub const ATTEMPTS_FETCHED_PER_BACKEND: usize = 4;
/// Local tasks ordered at a time, without those that wait for a disk; and tasks of one node that wait for a disk before no more
/// of it are ordered.
pub const LOCAL_TASKS_AT_ONCE: usize = 4;

/// Items looked up in the cache at a time.
pub const LOOK_UPS_AT_ONCE: usize = 16;

/// Whether earlier results of equal items are asked for before a backend is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// They are not.
    #[default]
    Off,
    /// They are, where the node allows it ([`Effect::LookUp`]).
    Ask,
}

/// An order of work on this machine that is not answered.
#[derive(Clone, Copy, Debug)]
struct LocalOrder {
    run_id: RunId,
    index: ItemIndex,
    /// [`LocalWork::order`]; 0 in a restored run that was not yet taken up.
    order: u64,
}

/// All runs, and what is known of the backends.
#[derive(Debug, Default)]
pub struct Machine {
    runs: BTreeMap<RunId, Run>,
    /// Restored runs that were not yet taken up again.
    dormant: std::collections::BTreeSet<RunId>,
    backends: BTreeMap<BackendId, BackendFacts>,
    attempts: HashMap<AttemptId, Attempt>,
    /// Live attempts per backend, in order of submission, with those whose outputs are on their way here.
    load: BTreeMap<BackendId, Vec<AttemptId>>,
    estimates: Estimates,
    /// Runs whose logs this machine has learned from: those that it started or restored.
    lived: std::collections::BTreeSet<RunId>,
    /// The models of the prompt that was sent last to each backend; none where that is not known.
    loaded: BTreeMap<BackendId, ContentHash>,
    pairs: HashMap<(ContentHash, BackendId), PairHealth>,
    pair_block: PairBlockMs,
    /// Files that were brought to a backend; they lie there.
    brought: Brought,
    /// What a failed attempt taught: this backend cannot run this workflow.
    learned_unable: HashMap<(ContentHash, BackendId), Failure>,
    /// Local work that was ordered and not answered.
    local_running: HashMap<ItemId, LocalOrder>,
    /// How many orders of local work there were.
    local_order_count: u64,
    /// Those of it that wait for a disk.
    local_waiting: HashSet<ItemId>,
    /// The earliest wake-up that was ordered.
    wake_at_ms: Option<u64>,
    /// Whether runs ask the cache.
    cache: CacheUse,
    /// Items that are looked up in the cache at this moment, with the fields that were asked about.
    looking_up: HashMap<ItemId, Fields>,
    effects: Vec<Effect>,
}

impl Machine {
    /// A machine without runs and backends.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same machine, asking for earlier results.
    #[must_use]
    pub fn with_cache(mut self, cache: CacheUse) -> Self {
        self.cache = cache;
        self
    }

    /// Takes one fact or wish, and gives the orders that follow. Facts about what is unknown or long over (a duplicate, a
    /// late answer) change nothing. `now_ms` is Unix time in milliseconds; it may stand still or jump.
    pub fn step(&mut self, now_ms: u64, input: Input) -> Vec<Effect> {
        if let Some(run_id) = input.wished_of() {
            // Whoever wants something of a restored run wants it taken up.
            self.take_up(now_ms, run_id);
        }
        match input {
            Input::Start { run_id, plan } => self.start(now_ms, run_id, plan),
            // Done above.
            Input::TakeUp { .. } => {}
            Input::Wish { run_id, wishes } => {
                for wish in wishes {
                    self.wish(now_ms, run_id, wish);
                }
            }
            Input::VacateBackend { backend_id } => self.vacate(now_ms, backend_id),
            Input::Backend(facts) => self.backend_known(facts),
            Input::BackendRemoved { backend_id } => {
                self.backends.remove(&backend_id);
                self.brought.forget(backend_id);
                self.check_all_nodes();
            }
            Input::AttemptAccepted { attempt_id } => self.attempt_accepted(attempt_id),
            Input::AttemptStarted { attempt_id } => self.attempt_started(now_ms, attempt_id),
            Input::AttemptSilent {
                attempt_id,
                silence_s,
            } => self.call_off_attempt(now_ms, attempt_id, CallOff::Silent { silence_s }),
            Input::AttemptExecuted { attempt_id } => self.attempt_executed(now_ms, attempt_id),
            Input::AttemptEnded {
                attempt_id,
                outcome,
            } => self.attempt_ended(now_ms, attempt_id, outcome),
            Input::Transferred {
                backend_id,
                content,
                bytes,
                took_ms,
            } => {
                self.brought.note(backend_id, content);
                self.estimates.learn_transfer(backend_id, bytes, took_ms);
            }
            Input::MemorySeen {
                attempt_id,
                used_bytes,
            } => {
                if let Some(attempt) = self.attempts.get(&attempt_id)
                    && attempt.started_ms.is_some()
                    && let Some(effort) = attempt.effort
                {
                    self.estimates
                        .learn_memory(effort, attempt.backend_id, used_bytes);
                }
            }
            Input::LookedUp { item_id, found } => self.looked_up(item_id, found),
            Input::LocalEnded {
                item_id,
                order,
                outcome,
            } => self.local_ended(item_id, order, outcome),
            Input::LocalWaits { item_id, order } => self.local_waits(now_ms, item_id, order),
            // Whatever was ordered may be over; a clock that jumped back must not make us wait for it.
            Input::Tick => self.wake_at_ms = None,
        }
        self.finish_step(now_ms)
    }

    /// What was learned of run times, loading and failures, to be kept across restarts.
    #[must_use]
    pub fn estimates(&self) -> &Estimates {
        &self.estimates
    }

    /// Takes over what earlier processes learned.
    pub fn set_estimates(&mut self, estimates: Estimates) {
        self.estimates = estimates;
    }

    /// The state of a run.
    #[must_use]
    pub fn run_state(&self, run_id: RunId) -> Option<RunState> {
        self.runs.get(&run_id).map(|run| run.state)
    }

    /// The plan of a run.
    #[must_use]
    pub fn plan(&self, run_id: RunId) -> Option<&Arc<Plan>> {
        self.runs.get(&run_id).map(|run| &run.plan)
    }

    /// The state of an item.
    #[must_use]
    pub fn item_state(&self, run_id: RunId, item_id: ItemId) -> Option<ItemState> {
        let run = self.runs.get(&run_id)?;
        let index = run.item_by_id.get(&item_id)?;
        run.items.get(*index as usize).map(|item| item.state)
    }

    /// How many items a run has so far.
    #[must_use]
    pub fn item_count(&self, run_id: RunId) -> usize {
        self.runs.get(&run_id).map_or(0, |run| run.items.len())
    }

    /// Attempts that are at a backend, with their backend.
    pub fn live_attempts(&self) -> impl Iterator<Item = (AttemptId, BackendId)> + '_ {
        self.load.iter().flat_map(|(backend_id, attempts)| {
            attempts
                .iter()
                .map(move |attempt_id| (*attempt_id, *backend_id))
        })
    }

    /// Drops an ended run from memory; its log stays. A later retry restores it first. Runs that have not ended stay.
    pub fn forget(&mut self, run_id: RunId) {
        if self
            .runs
            .get(&run_id)
            .is_some_and(|run| run.state.is_ended())
        {
            self.runs.remove(&run_id);
            self.dormant.remove(&run_id);
        }
    }

    fn start(&mut self, now_ms: u64, run_id: RunId, plan: Arc<Plan>) {
        if self.runs.contains_key(&run_id) {
            return;
        }
        let mut run = Run::new(run_id, plan, self.cache);
        run.emit(RunEventBody::RunCreated {
            project_id: run.plan.project.id,
            project_name: run.plan.project.name.clone(),
        });
        run.begin();
        self.lived.insert(run_id);
        self.runs.insert(run_id, run);
        self.flush(now_ms, run_id);
    }

    fn backend_known(&mut self, facts: BackendFacts) {
        let backend_id = facts.backend_id;
        let before = self.backends.get(&backend_id);
        let came_back = before.is_none_or(|before| {
            before.availability != Availability::Online
                && facts.availability == Availability::Online
        });
        let has_changed = before
            .is_some_and(|before| before.unable != facts.unable || before.classes != facts.classes);
        let is_news = before != Some(&facts);
        if came_back || has_changed {
            self.forget_lacks_of(backend_id);
        }
        if came_back {
            // Somebody may have emptied its folders. What lies there is told again when it is found.
            self.brought.forget(backend_id);
        }
        self.backends.insert(backend_id, facts);
        if is_news {
            self.check_all_nodes();
        }
    }

    /// A backend may have got what it lacked; if not, the next attempt says so again.
    fn forget_lacks_of(&mut self, backend_id: BackendId) {
        self.learned_unable
            .retain(|(_, known), _| *known != backend_id);
        let items = self.runs.values_mut().flat_map(|run| &mut run.items);
        for trouble in items.filter_map(|item| item.trouble.as_mut()) {
            trouble.lacking.retain(|(known, _)| *known != backend_id);
        }
    }

    /// Every node with Ready items is to be checked whether any backend can run it.
    fn check_all_nodes(&mut self) {
        for run in self.runs.values_mut() {
            run.unchecked_nodes.extend(run.active_nodes.iter().copied());
        }
    }

    /// Does what follows, gives work out, ends runs; then hands out the orders.
    fn finish_step(&mut self, now_ms: u64) -> Vec<Effect> {
        let run_ids: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(run_id, run)| {
                !self.dormant.contains(run_id) && (!run.state.is_ended() || !run.outbox.is_empty())
            })
            .map(|(run_id, _)| *run_id)
            .collect();
        for run_id in &run_ids {
            self.settle_run(now_ms, *run_id);
        }
        self.schedule(now_ms, &run_ids);
        for run_id in run_ids {
            self.end_run(now_ms, run_id);
        }
        std::mem::take(&mut self.effects)
    }

    fn settle_run(&mut self, now_ms: u64, run_id: RunId) {
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.drain_work();
            if !run.redo_wishes.is_empty() && !run.is_called_off_for_now() {
                run.fulfil_redo_wishes();
                run.drain_work();
            }
            if !run.stale_merges.is_empty() && !run.is_called_off() {
                run.reopen_stale_merges();
                run.drain_work();
            }
            let call_off = std::mem::take(&mut run.attempts_to_call_off);
            let needless = std::mem::take(&mut run.needless_attempts);
            self.flush(now_ms, run_id);
            if call_off {
                self.call_off_attempts(now_ms, run_id);
            }
            for attempt_id in needless {
                self.call_off_attempt(now_ms, attempt_id, CallOff::ForGood);
            }
        }
    }

    /// Records that a run ended when every item has.
    fn end_run(&mut self, now_ms: u64, run_id: RunId) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        if run.state.is_ended() || !run.is_exhausted() {
            return;
        }
        if run.begin_what_was_wished() {
            self.settle_run(now_ms, run_id);
            self.schedule(now_ms, &[run_id]);
            // Nothing was left to repeat, or it ended at once.
            return self.end_run(now_ms, run_id);
        }
        let state = run.end_state();
        run.set_run_state(state);
        self.flush(now_ms, run_id);
    }

    /// Orders the record of everything a run has emitted.
    fn flush(&mut self, now_ms: u64, run_id: RunId) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        for body in run.outbox.drain(..) {
            let event = RunEvent {
                run_id,
                seq: run.next_seq,
                at_ms: now_ms,
                body,
            };
            run.next_seq += 1;
            self.effects.push(Effect::Record(event));
        }
    }
}
