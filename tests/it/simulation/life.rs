//! One simulated life of a run: servers that lose, forget and restart, messages that are lost, doubled and overtaken, our own
//! process that dies between any two orders, clocks that jump, and a person who meddles. The seed says in which order.

use super::fate;
use crate::engine_driver::{Seen, World, backend_id, made, online, picture, text_of};
use comfyui_orchestrator::engine::machine::{
    AttemptOutputs, Availability, CacheUse, Effect, Input, LocalOutcome, LocalTask, LocalWork,
    Machine, Submission,
};
use comfyui_orchestrator::engine::{
    Answer, AnswerReach, AttemptId, Failure, FailureClass, ItemId, ItemState, ReviewAnswer,
    ReviewVerdict, RunState, Value,
};
use comfyui_orchestrator::project::{Node, OnFailure};
use comfyui_orchestrator::workflow::ParameterAddress;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Servers of a life.
const SERVERS: usize = 3;
/// Times one item is hurt; above it the program rightly gives the item up.
const MAX_TROUBLE: u32 = 3;
/// Deaths of our process in one life.
const MAX_DEATHS: u32 = 6;

/// A server as `ComfyUI` is one: a queue, one prompt at a time, a history in memory.
#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "faults that come and go independently"
)]
struct Server {
    queue: Vec<AttemptId>,
    running: Option<AttemptId>,
    history: BTreeMap<AttemptId, Result<AttemptOutputs, Failure>>,
    is_down: bool,
    is_disabled: bool,
    /// A person took it off the list; what it does goes on.
    is_removed: bool,
    /// It cannot run the workflow.
    lacks: bool,
    /// Memory of its device, where it says so.
    vram_bytes: Option<u64>,
}

impl Server {
    fn forget(&mut self) {
        self.queue.clear();
        self.running = None;
        self.history.clear();
    }

    fn call_off(&mut self, attempt_id: AttemptId) {
        self.queue.retain(|one| *one != attempt_id);
        if self.running == Some(attempt_id) {
            self.running = None;
        }
    }
}

/// Every other life asks the cache.
fn machine(seed: u64) -> Machine {
    Machine::new().with_cache(if seed.is_multiple_of(2) {
        CacheUse::Off
    } else {
        CacheUse::Ask
    })
}

/// One life.
pub struct Life {
    pub world: World,
    pub restarts: u32,
    seed: u64,
    random: fastrand::Rng,
    servers: Vec<Server>,
    /// Prompts that were sent and have not arrived.
    in_flight: Vec<Submission>,
    /// What was sent, by attempt; the servers' view of the prompts.
    sent: HashMap<AttemptId, Submission>,
    /// Trouble given to each item so far.
    trouble: BTreeMap<String, u32>,
    /// Attempts that ended, for late and doubled answers.
    ended: Vec<AttemptId>,
    /// No more trouble is made: the run is to come to its end.
    is_calm: bool,
    redone: u32,
}

impl Life {
    pub fn new(mut world: World, seed: u64, mut random: fastrand::Rng) -> Self {
        world.machine = machine(seed);
        let servers: Vec<Server> = (0..SERVERS)
            .map(|_| Server {
                vram_bytes: (!seed.is_multiple_of(3)).then(|| random.u64(1..4) * 8_000_000_000),
                ..Server::default()
            })
            .collect();
        let mut life = Self {
            world,
            restarts: 0,
            seed,
            random,
            servers,
            in_flight: Vec::new(),
            sent: HashMap::new(),
            trouble: BTreeMap::new(),
            ended: Vec::new(),
            is_calm: false,
            redone: 0,
        };
        for number in 0..SERVERS {
            let facts = life.facts(number);
            life.world.step(Input::Backend(facts));
        }
        life
    }

    /// Lives until the run has come to the end it must come to.
    pub fn live(&mut self) {
        self.world.start();
        let run_id = self.world.run_id;
        for round in 0..6 {
            self.live_to_an_end();
            self.is_calm = round >= 1;
            if self.is_calm {
                self.mend_servers();
            }
            let missing = self.missing();
            // What trouble made fail gets another chance; what must fail does so again.
            let was_cancelled = self.world.run_state == RunState::Cancelled;
            let wish = if was_cancelled {
                Input::ResumeRun { run_id }
            } else if !missing.is_empty() {
                Input::RetryFailed { run_id }
            } else {
                return;
            };
            if self.is_calm && self.stops_by_fate() {
                return;
            }
            self.step(wish);
            let is_left = |item_id: &ItemId| {
                let state = self.world.seen[item_id].state;
                matches!(state, ItemState::Cancelled | ItemState::Failed)
            };
            if self.is_calm && !was_cancelled && missing.iter().all(is_left) {
                // Nothing needs them any more: a Merge has its first values.
                self.live_to_an_end();
                return;
            }
        }
        let unlucky: Vec<String> = self
            .world
            .seen
            .values()
            .filter(|seen| matches!(seen.state, ItemState::Failed | ItemState::Cancelled))
            .map(|seen| {
                let name = self.world.name(seen.node_id, &seen.path);
                format!("{name} {:?} {}", seen.state, seen.reason)
            })
            .collect();
        panic!(
            "seed {}: the run does not come to rest: {:?} {unlucky:?}",
            self.seed, self.world.run_state
        );
    }

    /// Items that were cancelled, or failed although they were not meant to.
    fn missing(&self) -> Vec<ItemId> {
        let is_unlucky = |seen: &Seen| {
            let name = self.world.name(seen.node_id, &seen.path);
            let is_meant = fate::is_refused(&name, self.seed) || name.starts_with('M');
            seen.state == ItemState::Failed && (!is_meant || seen.reason.contains("trouble"))
        };
        self.world
            .seen
            .iter()
            .filter(|(_, seen)| seen.state == ItemState::Cancelled || is_unlucky(seen))
            .map(|(item_id, _)| *item_id)
            .collect()
    }

    /// Whether an item that must fail stops the run: then it ends there each time.
    pub fn stops_by_fate(&self) -> bool {
        self.world.seen.values().any(|seen| {
            let name = self.world.name(seen.node_id, &seen.path);
            self.world.project.nodes[&seen.node_id].on_failure == OnFailure::StopRun
                && seen.state == ItemState::Failed
                && fate::is_refused(&name, self.seed)
        })
    }

    /// What servers lacked is installed, and those that were removed are back.
    fn mend_servers(&mut self) {
        for number in 0..SERVERS {
            self.servers[number].lacks = false;
            self.servers[number].is_removed = false;
            self.servers[number].is_disabled = false;
            for is_down in [true, false] {
                self.servers[number].is_down = is_down;
                let facts = self.facts(number);
                self.step(Input::Backend(facts));
            }
        }
    }

    fn live_to_an_end(&mut self) {
        for _ in 0..100_000 {
            if self.world.run_state.is_ended() {
                return;
            }
            self.pass_time();
            if !self.is_calm {
                self.meddle();
            }
            if !self.world.run_state.is_ended() {
                self.act();
            }
        }
        panic!("seed {}: the run does not end", self.seed);
    }

    fn pass_time(&mut self) {
        self.world.now_ms += self.random.u64(0..500);
        if self.random.u32(0..200) == 0 {
            let jump = self.random.u64(0..3_600_000);
            self.world.now_ms = if self.random.bool() {
                self.world.now_ms + jump
            } else {
                self.world.now_ms.saturating_sub(jump)
            };
        }
    }

    /// Steps the machine; sometimes the process dies between two orders and starts again from its log.
    fn step(&mut self, input: Input) {
        if let Input::AttemptEnded { attempt_id, .. } = &input {
            self.ended.push(*attempt_id);
            self.world
                .submitted
                .retain(|there| there.attempt_id != *attempt_id);
        }
        let effects = self.world.machine.step(self.world.now_ms, input);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let dies = !self.is_calm && self.restarts < MAX_DEATHS && self.random.u32(0..60) == 0;
        let cut = if dies {
            self.random.usize(0..=effects.len())
        } else {
            effects.len()
        };
        for effect in effects.into_iter().take(cut) {
            if let Effect::Submit(submission) = &effect {
                self.in_flight.push(submission.clone());
                self.sent.insert(submission.attempt_id, submission.clone());
            }
            self.world.perform(effect);
        }
        if dies {
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.restarts += 1;
        // What was being sent arrived, or did not.
        for submission in std::mem::take(&mut self.in_flight) {
            if self.random.bool() {
                self.arrive(&submission);
            }
        }
        let world = &mut self.world;
        world.machine = machine(self.seed);
        world.look_ups.clear();
        world.locals.clear();
        world.cancels.clear();
        world.reconciles.clear();
        world.wakes.clear();
        world.submitted.clear();
        for number in 0..SERVERS {
            if !self.servers[number].is_removed {
                let facts = Input::Backend(self.facts(number));
                self.world.machine.step(self.world.now_ms, facts);
            }
        }
        let world = &mut self.world;
        let (run_id, plan, now_ms) = (world.run_id, world.plan.clone(), world.now_ms);
        world.machine.restore(run_id, plan, world.log.clone());
        let effects = world.machine.take_up_run(now_ms, run_id);
        self.perform(effects);
        self.world.check_against_machine();
        for submission in std::mem::take(&mut self.world.reconciles) {
            self.sent.insert(submission.attempt_id, submission.clone());
            self.world.submitted.push_back(submission);
        }
    }

    fn facts(&self, number: usize) -> comfyui_orchestrator::engine::machine::BackendFacts {
        let mut facts = online(number as u128);
        let server = &self.servers[number];
        facts.vram_bytes = server.vram_bytes;
        if server.lacks {
            facts.unable = self
                .world
                .plan
                .node_order()
                .filter_map(|node_id| self.world.plan.workflow_hash(node_id))
                .map(|hash| (hash, "trouble: lacks a model".to_owned()))
                .collect();
        }
        if server.is_disabled {
            facts.availability = Availability::Disabled;
        } else if server.is_down {
            facts.availability = Availability::Offline {
                reason: "gone".to_owned(),
            };
        }
        facts
    }

    fn number_of(submission: &Submission) -> usize {
        (0..SERVERS)
            .find(|number| backend_id(*number as u128) == submission.backend_id)
            .unwrap()
    }

    fn arrive(&mut self, submission: &Submission) {
        let server = &mut self.servers[Self::number_of(submission)];
        if !server.is_down {
            server.queue.push(submission.attempt_id);
        }
    }

    fn name_of_item(&self, item_id: ItemId) -> String {
        let seen = &self.world.seen[&item_id];
        self.world.name(seen.node_id, &seen.path)
    }

    /// Whether an item may be hurt once more; counts it.
    fn may_hurt(&mut self, item_id: ItemId) -> bool {
        if self.is_calm {
            return false;
        }
        let name = self.name_of_item(item_id);
        let trouble = self.trouble.entry(name).or_default();
        if *trouble >= MAX_TROUBLE {
            return false;
        }
        *trouble += 1;
        true
    }

    /// What nobody asked for: late answers, servers that come and go, a person who changes their mind.
    fn meddle(&mut self) {
        let run_id = self.world.run_id;
        match self.random.u32(0..75) {
            0 => {
                let followed = |attempt_id: &AttemptId| {
                    self.world
                        .submitted
                        .iter()
                        .any(|there| there.attempt_id == *attempt_id)
                };
                if let Some(attempt_id) = self.ended.last().copied()
                    && !followed(&attempt_id)
                {
                    self.step(Input::AttemptStarted { attempt_id });
                    self.step(Input::AttemptEnded {
                        attempt_id,
                        outcome: Ok(AttemptOutputs::default()),
                    });
                }
            }
            1 => {
                let number = self.random.usize(..SERVERS);
                if self.servers[number].is_removed {
                    return;
                }
                let down = self.servers[number].is_down;
                self.servers[number].is_down = !down;
                let facts = self.facts(number);
                self.step(Input::Backend(facts));
            }
            2 => self.forget_everything(),
            3 => {
                let number = self.random.usize(..SERVERS);
                if self.servers[number].is_removed {
                    return;
                }
                let disabled = self.servers[number].is_disabled;
                self.servers[number].is_disabled = !disabled;
                let facts = self.facts(number);
                self.step(Input::Backend(facts));
            }
            4 => {
                self.step(Input::PauseRun { run_id });
                if self.random.bool() {
                    self.step(Input::ResumeRun { run_id });
                }
            }
            5 if self.random.u32(0..4) == 0 => self.step(Input::CancelRun { run_id }),
            6 => {
                if let Some(item_id) = self.some_item(|state| !state.is_ended()) {
                    self.step(Input::CancelItem { run_id, item_id });
                }
            }
            7 => {
                if let Some(item_id) = self.some_item(|state| state == ItemState::Ready) {
                    let priority = self.random.i32(-1..2);
                    self.step(Input::SetItemPriority {
                        run_id,
                        item_ids: vec![item_id],
                        priority,
                    });
                }
            }
            8 if self.redone < 3 => {
                if let Some(item_id) = self.some_item(|state| state == ItemState::Done) {
                    self.redone += 1;
                    self.step(Input::RedoItem {
                        run_id,
                        item_id,
                        fields: vec![],
                    });
                }
            }
            9 => self.step(Input::RetryFailed { run_id }),
            11 => {
                let number = self.random.usize(..SERVERS);
                let backend_id = backend_id(number as u128);
                self.servers[number].is_removed ^= true;
                if self.servers[number].is_removed {
                    self.step(Input::BackendRemoved { backend_id });
                } else {
                    let facts = self.facts(number);
                    self.step(Input::Backend(facts));
                }
            }
            12 => {
                let number = self.random.usize(..SERVERS);
                if !self.servers[number].is_removed {
                    self.servers[number].lacks ^= true;
                    let facts = self.facts(number);
                    self.step(Input::Backend(facts));
                }
            }
            13 if self.random.u32(0..4) == 0 => {
                // A whole node, as a person cancels it: item by item.
                if let Some(one) = self.some_item(|state| !state.is_ended()) {
                    let node_id = self.world.seen[&one].node_id;
                    let mut all: Vec<ItemId> = self
                        .world
                        .seen
                        .iter()
                        .filter(|(_, seen)| seen.node_id == node_id)
                        .map(|(item_id, _)| *item_id)
                        .collect();
                    all.sort_unstable();
                    for item_id in all {
                        self.step(Input::CancelItem { run_id, item_id });
                    }
                }
            }
            14 => {
                let priority = self.random.i32(-1..2);
                self.step(Input::SetRunPriority { run_id, priority });
            }
            15 => {
                let backend_id = backend_id(self.random.u128(0..SERVERS as u128));
                let bytes = self.random.u64(0..10_000_000);
                let took_ms = self.random.u64(0..1000);
                self.step(Input::Transferred {
                    backend_id,
                    bytes,
                    took_ms,
                });
            }
            16 => {
                // An answer that was given twice, or to something that does not ask.
                if let Some(item_id) = self.some_item(|state| state != ItemState::Parked) {
                    let verdict = ReviewVerdict::Pick;
                    self.step(Input::Review {
                        run_id,
                        answers: vec![ReviewAnswer { item_id, verdict }],
                    });
                }
            }
            10 => {
                // A Ready item always has a reason that can be read.
                if let Some(item_id) = self.some_item(|state| state == ItemState::Ready) {
                    let reason =
                        self.world
                            .machine
                            .waiting_reason(self.world.now_ms, run_id, item_id);
                    assert!(reason.is_some_and(|reason| !reason.is_empty()));
                }
            }
            _ => {}
        }
    }

    /// A server restarts: its queue and its history are gone.
    fn forget_everything(&mut self) {
        let number = self.random.usize(..SERVERS);
        let there: Vec<AttemptId> = {
            let server = &self.servers[number];
            server
                .queue
                .iter()
                .copied()
                .chain(server.running)
                .chain(server.history.keys().copied())
                .collect()
        };
        let items: BTreeSet<ItemId> = there
            .iter()
            .filter_map(|attempt_id| self.sent.get(attempt_id))
            .map(|submission| submission.item_id)
            .collect();
        if items.into_iter().all(|item_id| self.may_hurt(item_id)) {
            self.servers[number].forget();
        }
    }

    fn some_item(&mut self, wanted: impl Fn(ItemState) -> bool) -> Option<ItemId> {
        let mut items: Vec<ItemId> = self
            .world
            .seen
            .iter()
            .filter(|(_, seen)| wanted(seen.state))
            .map(|(item_id, _)| *item_id)
            .collect();
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
        if self
            .servers
            .iter()
            .any(|server| !server.is_down && (server.running.is_some() || !server.queue.is_empty()))
        {
            choices.extend([3, 3]);
        }
        if !self.world.submitted.is_empty() {
            choices.push(4);
        }
        if !self.world.look_ups.is_empty() {
            choices.push(6);
        }
        let parked = self.some_item(|state| state == ItemState::Parked);
        if parked.is_some() {
            choices.push(5);
        }
        let asking = self.some_item(|state| state == ItemState::Asking);
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
                if let Some(item_id) = asking {
                    self.answer_question(item_id);
                }
            }
            _ => {
                if let Some(item_id) = parked {
                    self.answer_review(item_id);
                }
            }
        }
    }

    /// Nothing goes on: time passes, servers come back, the person goes on; else the run is stuck.
    fn wait(&mut self) {
        let run_id = self.world.run_id;
        if let Some(at_ms) = self.world.wakes.pop_first() {
            self.world.now_ms = self.world.now_ms.max(at_ms);
            self.step(Input::Tick);
            return;
        }
        if let Some(number) = (0..SERVERS).find(|number| {
            let server = &self.servers[*number];
            server.is_down || server.is_disabled || server.is_removed || server.lacks
        }) {
            self.servers[number].is_down = false;
            self.servers[number].is_disabled = false;
            self.servers[number].is_removed = false;
            self.servers[number].lacks = false;
            let facts = self.facts(number);
            self.step(Input::Backend(facts));
            return;
        }
        if self.world.run_state == RunState::Paused {
            self.step(Input::ResumeRun { run_id });
            return;
        }
        self.world.check_against_machine();
        let states: Vec<String> = self
            .world
            .seen
            .values()
            .filter(|seen| !seen.state.is_ended())
            .map(|seen| {
                let name = self.world.name(seen.node_id, &seen.path);
                format!("{name} {:?}", seen.state)
            })
            .collect();
        panic!(
            "seed {}: {:?} and nothing goes on: {states:?}",
            self.seed, self.world.run_state
        );
    }

    fn deliver(&mut self) {
        let place = self.random.usize(..self.in_flight.len());
        let submission = self.in_flight.swap_remove(place);
        let attempt_id = submission.attempt_id;
        if self.servers[Self::number_of(&submission)].is_down {
            self.fail(
                attempt_id,
                FailureClass::Offline,
                "trouble: connection refused",
            );
            return;
        }
        match self.random.u32(0..12) {
            // Lost on the way: nothing is heard, the next look finds out.
            0 if self.may_hurt(submission.item_id) => {}
            // The answer is lost.
            1 | 2 => self.arrive(&submission),
            3 if self.may_hurt(submission.item_id) => {
                let classes = [
                    FailureClass::Transfer,
                    FailureClass::OutOfMemory,
                    FailureClass::OutputGone,
                    FailureClass::MissingModel,
                    FailureClass::MissingNode,
                    // Somebody else at that server.
                    FailureClass::Interrupted,
                ];
                let class = classes[self.random.usize(..classes.len())];
                self.fail(attempt_id, class, "trouble");
            }
            _ => {
                self.arrive(&submission);
                self.step(Input::AttemptAccepted { attempt_id });
                if self.random.u32(0..10) == 0 {
                    self.step(Input::AttemptAccepted { attempt_id });
                }
            }
        }
    }

    fn fail(&mut self, attempt_id: AttemptId, class: FailureClass, message: &str) {
        self.step(Input::AttemptEnded {
            attempt_id,
            outcome: Err(Failure::new(class, message)),
        });
    }

    fn server_works(&mut self) {
        let able: Vec<usize> = (0..SERVERS)
            .filter(|number| {
                let server = &self.servers[*number];
                !server.is_down && (server.running.is_some() || !server.queue.is_empty())
            })
            .collect();
        let number = able[self.random.usize(..able.len())];
        let server = &mut self.servers[number];
        let Some(attempt_id) = server.running.take() else {
            let attempt_id = server.queue.remove(0);
            server.running = Some(attempt_id);
            if self.is_heard() {
                self.step(Input::AttemptStarted { attempt_id });
            }
            return;
        };
        let Some(submission) = self.sent.get(&attempt_id).cloned() else {
            return;
        };
        let outcome = self.outcome(&submission);
        self.servers[number]
            .history
            .insert(attempt_id, outcome.clone());
        if self.is_heard() {
            self.tell_end(attempt_id, outcome);
        }
    }

    /// Whether the socket brings a message.
    fn is_heard(&mut self) -> bool {
        self.is_calm || self.random.u32(0..5) > 0
    }

    /// Only a worker that still follows the attempt tells its end.
    fn tell_end(&mut self, attempt_id: AttemptId, outcome: Result<AttemptOutputs, Failure>) {
        let is_followed = self
            .world
            .submitted
            .iter()
            .any(|there| there.attempt_id == attempt_id);
        if is_followed {
            self.step(Input::AttemptEnded {
                attempt_id,
                outcome,
            });
        }
    }

    /// The watchdog looks after one attempt: queue first, then history.
    fn poll(&mut self) {
        let place = self.random.usize(..self.world.submitted.len());
        let submission = self.world.submitted[place].clone();
        let attempt_id = submission.attempt_id;
        if self
            .in_flight
            .iter()
            .any(|there| there.attempt_id == attempt_id)
        {
            return;
        }
        let number = Self::number_of(&submission);
        if self.servers[number].is_down {
            // Given up after a while; the server is told when it is back.
            if self.random.u32(0..6) == 0 && self.may_hurt(submission.item_id) {
                self.servers[number].call_off(attempt_id);
                self.fail(attempt_id, FailureClass::Offline, "trouble: no answer");
            } else if self.random.u32(0..20) == 0 {
                self.servers[number].is_down = false;
                let facts = self.facts(number);
                self.step(Input::Backend(facts));
            }
            return;
        }
        let server = &self.servers[number];
        if server.queue.contains(&attempt_id) {
            self.step(Input::AttemptAccepted { attempt_id });
        } else if server.running == Some(attempt_id) {
            self.step(Input::AttemptStarted { attempt_id });
            if self.random.u32(0..30) == 0 && self.may_hurt(submission.item_id) {
                // It hangs: called off there, then told.
                self.servers[number].call_off(attempt_id);
                self.fail(
                    attempt_id,
                    FailureClass::Timeout,
                    "trouble: no sign of life",
                );
            }
        } else if let Some(outcome) = server.history.get(&attempt_id).cloned() {
            self.tell_end(attempt_id, outcome);
        } else {
            self.fail(
                attempt_id,
                FailureClass::Lost,
                "not in queue, not in history",
            );
        }
    }

    /// The cache has an equal item, or not.
    fn answer_look_up(&mut self) {
        let place = self.random.usize(..self.world.look_ups.len());
        let question = self.world.look_ups.swap_remove(place);
        let node = self.world.project.nodes[&question.node_id].clone();
        let name = self.name_of_item(question.item_id);
        let outcome = if self.random.u32(0..3) == 0 && !fate::is_refused(&name, self.seed) {
            let ports = [(
                node.outputs[0].id,
                self.made_of(&node, &name, &question.fields),
            )];
            LocalOutcome::Cached(AttemptOutputs {
                ports: ports.into(),
            })
        } else {
            LocalOutcome::NotCached
        };
        self.step(Input::LocalEnded {
            item_id: question.item_id,
            outcome: Ok(outcome),
        });
    }

    fn made_of(&self, node: &Node, name: &str, fields: &[(ParameterAddress, Value)]) -> Vec<Value> {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(address, value)| (address.input.clone(), text_of(value)))
            .collect();
        made(node, &fields, fate::batch_of(name, self.seed))
    }

    fn answer_cancel(&mut self) {
        let place = self.random.usize(..self.world.cancels.len());
        let attempt_id = self.world.cancels.swap_remove(place);
        let is_followed = self
            .world
            .submitted
            .iter()
            .any(|there| there.attempt_id == attempt_id);
        if !is_followed {
            return;
        }
        self.in_flight
            .retain(|there| there.attempt_id != attempt_id);
        let Some(submission) = self.sent.get(&attempt_id).cloned() else {
            return;
        };
        let number = Self::number_of(&submission);
        // It had finished before.
        if let Some(outcome) = self.servers[number].history.get(&attempt_id).cloned() {
            self.tell_end(attempt_id, outcome);
            return;
        }
        self.servers[number].call_off(attempt_id);
        self.fail(attempt_id, FailureClass::Interrupted, "called off");
    }

    fn outcome(&mut self, submission: &Submission) -> Result<AttemptOutputs, Failure> {
        let node = self.world.project.nodes[&submission.node_id].clone();
        let name = self.name_of_item(submission.item_id);
        // An error of the workflow once at most: two would make the item bad.
        let is_first = !self.trouble.contains_key(&name);
        if is_first && self.random.u32(0..8) == 0 && self.may_hurt(submission.item_id) {
            return Err(Failure::new(FailureClass::NodeError, "trouble"));
        }
        if fate::is_refused(&name, self.seed) {
            return Err(Failure::new(FailureClass::Invalid, "refused"));
        }
        let values = self.made_of(&node, &name, &submission.fields);
        Ok(AttemptOutputs {
            ports: [(node.outputs[0].id, values)].into(),
        })
    }

    fn do_local(&mut self) {
        let place = self.random.usize(..self.world.locals.len());
        let Some(work) = self.world.locals.remove(place) else {
            return;
        };
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
            outcome,
        });
    }

    fn local_outcome(&mut self, work: &LocalWork) -> LocalOutcome {
        let name = self.world.name(work.node_id, &work.path);
        match &work.task {
            LocalTask::Decide { .. } => LocalOutcome::Decided(fate::decides(&name, self.seed)),
            LocalTask::DrawSheet { .. } => LocalOutcome::SheetDrawn(picture("sheet")),
            LocalTask::Rank { .. } => match self.world.local_outcome(work) {
                LocalOutcome::Ranked { kept, sheet } => LocalOutcome::Ranked {
                    kept,
                    sheet: sheet.map(|_| picture("sheet")),
                },
                other => other,
            },
            LocalTask::FindFiles { .. } => LocalOutcome::Found(
                (0..fate::files_of(&name, self.seed))
                    .map(|place| {
                        let value = picture(&format!("{name} {place}"));
                        (format!("{place}.png"), value)
                    })
                    .collect(),
            ),
            _ => self.world.local_outcome(work),
        }
    }

    /// A person says what is to become of an item that has no place left. What they let fail is retried in the end.
    fn answer_question(&mut self, item_id: ItemId) {
        let run_id = self.world.run_id;
        let answer = match self.random.u32(0..6) {
            _ if self.is_calm => {
                // Whatever it lacked is mended now.
                self.mend_servers();
                Answer::Retry
            }
            0 => Answer::Fail,
            1 | 2 => Answer::RunOn(backend_id(self.random.u128(0..SERVERS as u128))),
            _ => Answer::Retry,
        };
        let reach = if self.random.u32(0..4) == 0 {
            AnswerReach::ThisRun
        } else {
            AnswerReach::TheseItems
        };
        self.step(Input::Answer {
            run_id,
            item_ids: vec![item_id],
            answer,
            reach,
        });
    }

    fn answer_review(&mut self, item_id: ItemId) {
        let name = self.name_of_item(item_id);
        let verdict = if self.redone < 3 && !self.is_calm && self.random.u32(0..8) == 0 {
            self.redone += 1;
            ReviewVerdict::Redo(vec![])
        } else if !self.is_calm && self.random.u32(0..8) == 0 {
            ReviewVerdict::Rate(3)
        } else if fate::is_picked(&name, self.seed) {
            ReviewVerdict::Pick
        } else {
            ReviewVerdict::Reject
        };
        let run_id = self.world.run_id;
        self.step(Input::Review {
            run_id,
            answers: vec![ReviewAnswer { item_id, verdict }],
        });
    }
}
