//! One simulated life of the program: several runs over the same servers, which lose, forget and restart; messages that are lost,
//! doubled and overtaken; our own process that dies between any two orders; a disk that is full for a while; clocks that jump; and a
//! person who meddles. The seed says in which order.

mod checks;
mod person;
mod process;
mod servers;

use super::fate;
use super::tally::Tally;
use crate::engine_driver::{Seen, Watched, World, made, picture, text_of};
use comfyui_orchestrator::engine::machine::{
    CacheUse, Effect, Input, LocalOutcome, LocalTask, LocalWork, Machine, Submission,
};
use comfyui_orchestrator::engine::{
    AttemptId, Failure, FailureClass, ItemId, ItemState, RetryScope, RunId, RunState, RunWish,
    Value,
};
use comfyui_orchestrator::project::{BackendId, Node, OnFailure};
use comfyui_orchestrator::workflow::ParameterAddress;
use servers::Server;
use std::collections::{BTreeSet, HashMap};

/// Servers of a life.
const SERVERS: usize = 3;
/// Times one item is hurt; above it the program rightly gives the item up.
const MAX_TROUBLE: u32 = 3;
/// Deaths of our process in one life.
const MAX_DEATHS: u32 = 6;
/// Times items of one run are made again.
const MAX_REDONE: u32 = 4;

/// Every other life asks the cache.
fn machine(seed: u64) -> Machine {
    Machine::new().with_cache(if seed.is_multiple_of(2) {
        CacheUse::Off
    } else {
        CacheUse::Ask
    })
}

/// What a life knows of one run beside its log.
#[allow(
    clippy::struct_excessive_bools,
    reason = "what happens to it independently"
)]
pub struct Story {
    /// Lays down what becomes of its items.
    pub seed: u64,
    /// Goes into everything it makes, so that it can be told from what the others make.
    pub tag: String,
    pub is_begun: bool,
    /// It rests since the last start of the process.
    rests: bool,
    /// One of its nodes stops it when it fails.
    may_stop: bool,
    /// Somebody called something of it off.
    is_called_off: bool,
    /// Backends that a person chose for some of its items.
    chosen: BTreeSet<BackendId>,
    /// Its state as the machine tells it, before that is recorded.
    state: RunState,
    redone: u32,
}

impl Story {
    pub fn new(seed: u64, number: usize, run: &Watched) -> Self {
        Self {
            // Other fates for every run, also where two are of the same project.
            seed: seed ^ ((number as u64) << 48),
            tag: format!("run {number}"),
            is_begun: false,
            rests: false,
            may_stop: run
                .project
                .nodes
                .values()
                .any(|node| node.on_failure == OnFailure::StopRun),
            is_called_off: false,
            chosen: BTreeSet::new(),
            state: RunState::Running,
            redone: 0,
        }
    }
}

/// One life.
pub struct Life {
    pub world: World,
    /// One for each run of the world.
    pub stories: Vec<Story>,
    pub tally: Tally,
    pub restarts: u32,
    seed: u64,
    random: fastrand::Rng,
    servers: Vec<Server>,
    /// Prompts that were sent and have not arrived.
    in_flight: Vec<Submission>,
    /// What was sent, by attempt; the servers' view of the prompts.
    sent: HashMap<AttemptId, Submission>,
    /// Trouble given to each item so far.
    trouble: HashMap<ItemId, u32>,
    /// Attempts that ended, for late and doubled answers.
    ended: Vec<AttemptId>,
    /// Orders of facts that came together: all that is to be recorded is recorded first.
    held: Vec<Effect>,
    /// One in how many steps something is meddled with, times twenty.
    patience: u32,
    /// A person moved everything away from a backend, or called things off there.
    is_vacated: bool,
    /// No more trouble is made: the runs are to come to their end.
    is_calm: bool,
}

impl Life {
    pub fn new(
        mut world: World,
        stories: Vec<Story>,
        seed: u64,
        mut random: fastrand::Rng,
    ) -> Self {
        world.machine = machine(seed);
        let servers = (0..SERVERS)
            .map(|number| Server::new(seed, number, &mut random))
            .collect();
        let patience = [40, 90, 90, 300][random.usize(..4)];
        let mut life = Self {
            world,
            stories,
            tally: Tally::default(),
            restarts: 0,
            seed,
            random,
            servers,
            in_flight: Vec::new(),
            sent: HashMap::new(),
            trouble: HashMap::new(),
            ended: Vec::new(),
            held: Vec::new(),
            patience,
            is_vacated: false,
            is_calm: false,
        };
        for number in 0..SERVERS {
            let facts = life.facts(number);
            life.step(Input::Backend(facts));
        }
        life
    }

    /// Lives until every run has come to the end it must come to.
    pub fn live(&mut self) {
        self.begin(0);
        for round in 0..8 {
            self.live_to_an_end();
            self.is_calm = round >= 1;
            if self.is_calm {
                self.mend_servers();
            }
            let mut is_over = true;
            for number in 0..self.stories.len() {
                is_over &= !self.goes_on(number);
            }
            if is_over {
                self.live_to_an_end();
                self.check_all();
                return;
            }
        }
        let unlucky: Vec<String> = self
            .world
            .runs
            .iter()
            .flat_map(|run| run.seen.values().map(move |seen| (run, seen)))
            .filter(|(_, seen)| matches!(seen.state, ItemState::Failed | ItemState::Cancelled))
            .map(|(run, seen)| {
                let name = run.name(seen.node_id, &seen.path);
                format!("{name} {:?} {}", seen.state, seen.reason)
            })
            .collect();
        panic!(
            "seed {}: the runs do not come to rest: {:?} {unlucky:?}",
            self.seed,
            self.run_states()
        );
    }

    fn run_states(&self) -> Vec<RunState> {
        self.world.runs.iter().map(|run| run.run_state).collect()
    }

    fn begin(&mut self, number: usize) {
        let run = &self.world.runs[number];
        let (run_id, plan) = (run.run_id, run.plan.clone());
        self.stories[number].is_begun = true;
        self.step(Input::Start { run_id, plan });
    }

    /// What trouble made fail in a run that has ended gets another chance; what must fail does so again. Says whether anything
    /// is left that could come out otherwise.
    fn goes_on(&mut self, number: usize) -> bool {
        let run_id = self.world.runs[number].run_id;
        let missing = self.missing(number);
        let was_cancelled = self.world.runs[number].run_state == RunState::Cancelled;
        if !was_cancelled && missing.is_empty() {
            return false;
        }
        if self.is_calm && self.stops_by_fate(number) {
            return false;
        }
        if self.random.u32(0..4) == 0 {
            self.forget(number);
        }
        let scope = if self.random.bool() {
            RetryScope::Run
        } else {
            RetryScope::Items(missing.clone())
        };
        let wish = if was_cancelled {
            Input::wish(run_id, RunWish::Resume)
        } else if self.random.bool() {
            Input::wish(run_id, RunWish::Retry(RetryScope::Run))
        } else {
            Input::wish(run_id, RunWish::Retry(scope))
        };
        self.step(wish);
        let run = &self.world.runs[number];
        let is_left = |item_id: &ItemId| {
            let state = run.seen[item_id].state;
            matches!(state, ItemState::Cancelled | ItemState::Failed)
        };
        // Where nothing changed, nothing needs them any more: a Merge has its first values.
        !self.is_calm || was_cancelled || !missing.iter().all(is_left)
    }

    /// Items of a run that were cancelled, or failed although they were not meant to.
    fn missing(&self, number: usize) -> Vec<ItemId> {
        let run = &self.world.runs[number];
        let is_unlucky = |seen: &Seen| {
            let name = run.name(seen.node_id, &seen.path);
            let is_meant =
                fate::is_refused(&name, self.stories[number].seed) || name.starts_with('M');
            seen.state == ItemState::Failed && (!is_meant || seen.reason.contains("trouble"))
        };
        let mut missing: Vec<ItemId> = run
            .seen
            .iter()
            .filter(|(_, seen)| seen.state == ItemState::Cancelled || is_unlucky(seen))
            .map(|(item_id, _)| *item_id)
            .collect();
        missing.sort_unstable();
        missing
    }

    /// Whether an item that must fail stops the run: then it ends there each time.
    pub fn stops_by_fate(&self, number: usize) -> bool {
        let run = &self.world.runs[number];
        run.seen.values().any(|seen| {
            let name = run.name(seen.node_id, &seen.path);
            run.project.nodes[&seen.node_id].on_failure == OnFailure::StopRun
                && seen.state == ItemState::Failed
                && fate::is_refused(&name, self.stories[number].seed)
        })
    }

    fn live_to_an_end(&mut self) {
        for _ in 0..200_000 {
            if self.is_calm || self.random.bool() {
                self.flush_held();
            }
            let all_begun = self.stories.iter().all(|story| story.is_begun);
            let all_ended = self
                .world
                .runs
                .iter()
                .all(|run| run.run_state.is_ended() && !run.log.is_empty());
            if all_begun && all_ended {
                self.flush_held();
                if self.run_states().iter().all(|state| state.is_ended()) {
                    return;
                }
            }
            self.pass_time();
            if let Some(next) = self.stories.iter().position(|story| !story.is_begun)
                && self.random.u32(0..30) == 0
            {
                self.begin(next);
            }
            if !self.is_calm {
                self.meddle();
            }
            let is_due = |at_ms: &u64| *at_ms <= self.world.now_ms;
            if self.world.wakes.first().is_some_and(is_due) && self.random.bool() {
                self.world.wakes.pop_first();
                self.step(Input::Tick);
            }
            self.act();
            self.check_sometimes();
        }
        panic!(
            "seed {}: the runs do not end: {:?}",
            self.seed,
            self.run_states()
        );
    }

    fn pass_time(&mut self) {
        self.world.now_ms += self.random.u64(0..500);
        if self.random.u32(0..200) == 0 {
            self.tally.count("world: the clock jumps");
            let jump = self.random.u64(0..3_600_000);
            self.world.now_ms = if self.random.bool() {
                self.world.now_ms + jump
            } else {
                self.world.now_ms.saturating_sub(jump)
            };
        }
    }

    fn number_of_run(&self, run_id: RunId) -> usize {
        let is_it = |run: &Watched| run.run_id == run_id;
        self.world.runs.iter().position(is_it).unwrap()
    }

    fn name_of_item(&self, run_id: RunId, item_id: ItemId) -> String {
        let run = self.world.watched(run_id);
        let seen = &run.seen[&item_id];
        run.name(seen.node_id, &seen.path)
    }

    /// Whether an item may be hurt once more; counts it.
    fn may_hurt(&mut self, item_id: ItemId) -> bool {
        if self.is_calm {
            return false;
        }
        let trouble = self.trouble.entry(item_id).or_default();
        if *trouble >= MAX_TROUBLE {
            return false;
        }
        *trouble += 1;
        true
    }

    fn some_item(&mut self, number: usize, wanted: impl Fn(ItemState) -> bool) -> Option<ItemId> {
        let mut items: Vec<ItemId> = self.world.runs[number]
            .seen
            .iter()
            .filter(|(_, seen)| wanted(seen.state))
            .map(|(item_id, _)| *item_id)
            .collect();
        items.sort_unstable();
        (!items.is_empty()).then(|| items[self.random.usize(..items.len())])
    }

    /// An item in this state of any run that does not rest.
    fn some_item_of_any(&mut self, state: ItemState) -> Option<(usize, ItemId)> {
        let mut items: Vec<(usize, ItemId)> = Vec::new();
        for (number, run) in self.world.runs.iter().enumerate() {
            let found = run.seen.iter().filter(|(_, seen)| seen.state == state);
            items.extend(found.map(|(item_id, _)| (number, *item_id)));
        }
        items.sort_unstable();
        (!items.is_empty()).then(|| items[self.random.usize(..items.len())])
    }

    /// One thing that is going on goes on.
    fn act(&mut self) {
        let mut choices: Vec<u32> = Vec::new();
        if !self.world.cancels.is_empty() {
            choices.push(0);
        }
        if !self.world.locals.is_empty() {
            choices.push(1);
        }
        if !self.in_flight.is_empty() {
            choices.push(2);
        }
        if self.servers.iter().any(Server::has_work) {
            choices.extend([3, 3]);
        }
        if !self.world.submitted.is_empty() {
            choices.push(4);
        }
        if !self.world.look_ups.is_empty() {
            choices.push(6);
        }
        let parked = self.some_item_of_any(ItemState::Parked);
        if parked.is_some() {
            choices.push(5);
        }
        let asking = self.some_item_of_any(ItemState::Asking);
        if asking.is_some() {
            choices.push(7);
        }
        if choices.is_empty() {
            self.wait();
            return;
        }
        match choices[self.random.usize(..choices.len())] {
            0 => self.answer_cancel(),
            1 => self.do_local(),
            2 => self.deliver(),
            3 => self.server_works(),
            4 => self.poll(),
            6 => self.answer_look_up(),
            7 => {
                if let Some((number, item_id)) = asking {
                    self.answer_question(number, item_id);
                }
            }
            _ => {
                if let Some((number, item_id)) = parked {
                    self.answer_review(number, item_id);
                }
            }
        }
    }

    /// Nothing goes on: time passes, servers come back, the person goes on; else the runs are stuck.
    fn wait(&mut self) {
        if !self.held.is_empty() {
            self.flush_held();
            return;
        }
        let is_over = self
            .stories
            .iter()
            .zip(&self.world.runs)
            .all(|(story, run)| {
                !story.is_begun || (run.run_state.is_ended() && !run.log.is_empty())
            });
        if is_over {
            return;
        }
        if let Some(at_ms) = self.world.wakes.pop_first() {
            self.world.now_ms = self.world.now_ms.max(at_ms);
            self.step(Input::Tick);
            return;
        }
        if let Some(number) = self.servers.iter().position(Server::needs_mending) {
            self.servers[number].mend();
            let facts = self.facts(number);
            self.step(Input::Backend(facts));
            return;
        }
        let goes_on = |(story, run): (&Story, &Watched)| {
            story.is_begun && !story.rests && run.run_state == RunState::Running
        };
        let is_stuck = self.stories.iter().zip(&self.world.runs).any(goes_on);
        if let Some(number) = self.stories.iter().position(|story| story.rests)
            && !is_stuck
        {
            self.take_up(number);
            return;
        }
        let paused = |run: &Watched| run.run_state == RunState::Paused;
        if let Some(run) = self.world.runs.iter().find(|run| paused(run))
            && !is_stuck
        {
            let run_id = run.run_id;
            self.step(Input::wish(run_id, RunWish::Resume));
            return;
        }
        self.check_all();
        let states: Vec<String> = self
            .world
            .runs
            .iter()
            .flat_map(|run| run.seen.values().map(move |seen| (run, seen)))
            .filter(|(_, seen)| !seen.state.is_ended())
            .map(|(run, seen)| {
                let name = run.name(seen.node_id, &seen.path);
                format!("{name} {:?}", seen.state)
            })
            .collect();
        panic!(
            "seed {}: {:?} and nothing goes on: {states:?}",
            self.seed,
            self.run_states()
        );
    }

    /// The cache has an equal item, or not.
    fn answer_look_up(&mut self) {
        let place = self.random.usize(..self.world.look_ups.len());
        let question = self.world.look_ups.swap_remove(place);
        let number = self.number_of_run(question.run_id);
        let node = self.world.runs[number].project.nodes[&question.node_id].clone();
        let name = self.name_of_item(question.run_id, question.item_id);
        let is_refused = fate::is_refused(&name, self.stories[number].seed);
        let found = if self.random.u32(0..3) == 0 && !is_refused {
            let values = self.made_of(number, &node, &name, &question.fields);
            Some(comfyui_orchestrator::engine::machine::AttemptOutputs {
                ports: [(node.outputs[0].id, values)].into(),
            })
        } else {
            None
        };
        self.step(Input::LookedUp {
            item_id: question.item_id,
            found,
        });
    }

    fn made_of(
        &self,
        number: usize,
        node: &Node,
        name: &str,
        fields: &[(ParameterAddress, Value)],
    ) -> Vec<Value> {
        let story = &self.stories[number];
        let mut fields: Vec<(String, String)> = fields
            .iter()
            .map(|(address, value)| (address.input.clone(), text_of(value)))
            .collect();
        fields.push(("of".to_owned(), story.tag.clone()));
        made(node, &fields, fate::batch_of(name, story.seed))
    }

    fn do_local(&mut self) {
        let place = self.random.usize(..self.world.locals.len());
        let Some(work) = self.world.locals.remove(place) else {
            return;
        };
        if self.random.u32(0..12) == 0 {
            // Its disk takes nothing. It is tried again until it does, or until somebody calls it off.
            let (item_id, order) = (work.item_id, work.order);
            self.world.without_disk.insert(item_id);
            self.world.locals.push_back(work);
            self.step(Input::LocalWaits { item_id, order });
            return;
        }
        let outcome = if self.random.u32(0..40) == 0 && self.may_hurt(work.item_id) {
            Err(Failure::new(
                FailureClass::Local,
                "trouble: the disk is full",
            ))
        } else {
            Ok(self.local_outcome(&work))
        };
        self.step(Input::LocalEnded {
            item_id: work.item_id,
            order: work.order,
            outcome,
        });
    }

    fn local_outcome(&mut self, work: &LocalWork) -> LocalOutcome {
        let number = self.number_of_run(work.run_id);
        let story = &self.stories[number];
        let name = self.world.runs[number].name(work.node_id, &work.path);
        match &work.task {
            LocalTask::Decide { .. } => LocalOutcome::Decided(fate::decides(&name, story.seed)),
            LocalTask::DrawSheet { .. } => LocalOutcome::SheetDrawn(fate::sheet(&story.tag)),
            LocalTask::Rank { .. } => match self.world.local_outcome(work) {
                LocalOutcome::Ranked { kept, sheet } => LocalOutcome::Ranked {
                    kept,
                    sheet: sheet.map(|_| fate::sheet(&self.stories[number].tag)),
                },
                other => other,
            },
            LocalTask::FindFiles { .. } => LocalOutcome::Found(
                (0..fate::files_of(&name, story.seed))
                    .map(|place| {
                        let value = picture(&format!("{} {name} {place}", story.tag));
                        (format!("{place}.png"), value)
                    })
                    .collect(),
            ),
            _ => self.world.local_outcome(work),
        }
    }
}
