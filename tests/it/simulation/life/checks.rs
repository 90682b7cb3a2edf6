//! What must hold after each step, beside what every log must keep to (see [`crate::engine_driver::Watched`]).

use super::Life;
use super::servers::CALLED_OFF;
use crate::engine_driver::backend_id;
use comfyui_orchestrator::artifacts::ContentHash;
use comfyui_orchestrator::engine::machine::{
    ATTEMPTS_AHEAD_PER_BACKEND, ATTEMPTS_FETCHED_PER_BACKEND, Effect, Input,
};
use comfyui_orchestrator::engine::{
    Answer, AnswerOrigin, AttemptId, ItemId, ItemState, RunEventBody, RunId, RunState, RunWish,
    Value,
};
use comfyui_orchestrator::project::{Affinity, BackendId, NodeKind};
use std::collections::{BTreeSet, HashMap};

impl Life {
    /// The run that a person wants something of; remembers what explains later events.
    pub(super) fn note_wish(&mut self, input: &Input) -> Option<RunId> {
        let (run_id, calls_off) = match input {
            Input::Wish { run_id, wishes } => {
                let number = self.number_of_run(*run_id);
                let mut calls_off = false;
                for wish in wishes {
                    if let RunWish::Answer {
                        answer: Answer::RunOn(chosen),
                        ..
                    } = wish
                    {
                        self.stories[number].chosen.insert(*chosen);
                    }
                    calls_off |= matches!(
                        wish,
                        RunWish::Cancel | RunWish::CancelItem(_) | RunWish::CancelNode(_)
                    );
                }
                (run_id, calls_off)
            }
            Input::TakeUp { run_id } => (run_id, false),
            // What lies at a removed backend is taken back after a restart.
            Input::VacateBackend { .. } | Input::BackendRemoved { .. } => {
                self.is_vacated = true;
                return None;
            }
            Input::Start { .. }
            | Input::Backend(_)
            | Input::AttemptAccepted { .. }
            | Input::AttemptStarted { .. }
            | Input::AttemptSilent { .. }
            | Input::AttemptEnded { .. }
            | Input::Transferred { .. }
            | Input::MemorySeen { .. }
            | Input::LookedUp { .. }
            | Input::LocalEnded { .. }
            | Input::LocalWaits { .. }
            | Input::AttemptExecuted { .. }
            | Input::Tick => return None,
        };
        let number = self.number_of_run(*run_id);
        self.stories[number].is_called_off |= calls_off;
        self.stories[number].rests = false;
        Some(*run_id)
    }

    /// What one step may say: a wish about one run does nothing to the others but to let them have backends, and to ask where
    /// nobody has answered them for too long by then; and nothing ends without a cause.
    pub(super) fn check_step(&mut self, wished_of: Option<RunId>, effects: &[Effect]) {
        let mut asked: BTreeSet<ItemId> = BTreeSet::new();
        // Runs that answered their own questions in this step, with all that follows from that.
        let mut answered_themselves: BTreeSet<RunId> = BTreeSet::new();
        for effect in effects {
            let Effect::Record(event) = effect else {
                continue;
            };
            let number = self.number_of_run(event.run_id);
            let story = &mut self.stories[number];
            assert!(story.is_begun, "an event of a run that was not begun");
            if wished_of.is_some_and(|run_id| run_id != event.run_id) {
                let gets_going = match &event.body {
                    RunEventBody::AttemptPlaced { .. } => true,
                    RunEventBody::ItemAsks { item_id, .. } => {
                        asked.insert(*item_id);
                        true
                    }
                    RunEventBody::ItemStateChanged { state, .. } => *state == ItemState::Running,
                    // Time has passed since the step before: nobody answered for too long, and what its own person said then
                    // for the whole run answers that.
                    RunEventBody::ItemAnswered {
                        item_id,
                        origin: AnswerOrigin::Standing,
                        ..
                    } if asked.contains(item_id) => {
                        answered_themselves.insert(event.run_id);
                        true
                    }
                    _ => false,
                };
                assert!(
                    gets_going || answered_themselves.contains(&event.run_id),
                    "a wish of another run did this: {event:?}"
                );
            }
            if let RunEventBody::RunStateChanged { state } = &event.body {
                story.state = *state;
            }
            let story = &self.stories[number];
            match &event.body {
                RunEventBody::AttemptPlaced {
                    item_id,
                    backend_id,
                    ..
                } => self.check_place(number, *item_id, *backend_id),
                RunEventBody::AttemptWithdrawn { .. } => assert!(self.is_vacated),
                RunEventBody::RunStateChanged {
                    state: RunState::Cancelling | RunState::Cancelled | RunState::Paused,
                } => assert!(wished_of.is_some() || story.is_called_off),
                RunEventBody::ItemStateChanged {
                    state: ItemState::Cancelled,
                    ..
                } => assert!(story.is_called_off || story.may_stop),
                RunEventBody::ItemFailed { failure, .. } => assert_ne!(
                    failure.message, CALLED_OFF,
                    "an item failed because we ourselves called it off"
                ),
                _ => {}
            }
        }
    }

    /// A prompt goes only to where its run, its node and the backend let it.
    fn check_place(&self, number: usize, item_id: ItemId, id: BackendId) {
        let story = &self.stories[number];
        assert_eq!(story.state, RunState::Running, "placed although it rests");
        let at = Self::server_number(id);
        let server = &self.servers[at];
        assert!(!server.is_out(), "placed where nothing can run");
        let is_unexecuted = |attempt_id: &AttemptId| !self.world.executed.contains(attempt_id);
        assert!(
            self.live_at(at, is_unexecuted) <= ATTEMPTS_AHEAD_PER_BACKEND,
            "too much at backend {at}"
        );
        assert!(
            self.live_at(at, |_| true) <= ATTEMPTS_AHEAD_PER_BACKEND + ATTEMPTS_FETCHED_PER_BACKEND,
            "too much is fetched from backend {at}"
        );
        let run = &self.world.runs[number];
        // One that was made in this very step is not yet known from the log.
        let Some(seen) = run.seen.get(&item_id) else {
            return;
        };
        let NodeKind::Workflow(workflow) = &run.project.nodes[&seen.node_id].kind else {
            panic!("placed what is no workflow");
        };
        let is_wanted = match &workflow.affinity {
            Affinity::Any => true,
            Affinity::Backend(wanted) => *wanted == id,
            // Where memory ran out it is tried once more, also when its tags were changed meanwhile.
            Affinity::Tags(tags) => tags.is_subset(&server.tags) || seen.attempts > 0,
        };
        assert!(
            is_wanted || story.chosen.contains(&id),
            "placed where its node does not want it"
        );
    }

    /// Looks at everything now and then; each look costs as much as many steps.
    pub(super) fn check_sometimes(&mut self) {
        if self.random.u32(0..50) == 0 {
            self.flush_held();
            // It may have died, and have taken its runs up again: that is to be written, too.
            while !self.held.is_empty() {
                self.flush_held();
            }
            self.check_all();
        }
        if self.random.u32(0..8) == 0 {
            self.check_reason();
        }
    }

    /// The machine says what the logs say, and so do the folds.
    pub fn check_all(&self) {
        for (run, story) in self.world.runs.iter().zip(&self.stories) {
            if !story.is_begun || story.rests {
                continue;
            }
            let machine = &self.world.machine;
            run.check_against(machine);
            // What is told of the time that is left is never without bounds.
            let century_ms = 100 * 365 * 86_400_000;
            let now_ms = self.world.now_ms;
            let of_run_ms = machine.remaining_of_run_ms(now_ms, run.run_id);
            assert!(of_run_ms.is_none_or(|left_ms| left_ms < century_ms));
            for (item_id, left_ms) in machine.remaining_of_items_ms(now_ms, run.run_id, 64) {
                assert!(left_ms < century_ms);
                assert!(!run.seen[&item_id].state.is_ended());
            }
        }
    }

    /// No run holds anything that another made.
    pub fn check_nothing_is_shared(&self) {
        let mut made: HashMap<ContentHash, RunId> = HashMap::new();
        for run in &self.world.runs {
            for event in &run.log {
                if let RunEventBody::ItemDone { outputs, .. } = &event.body {
                    for artifact in outputs.values().flat_map(Value::artifacts) {
                        let maker = *made.entry(artifact.hash).or_insert(run.run_id);
                        assert_eq!(maker, run.run_id, "a picture of another run");
                    }
                }
            }
        }
    }

    /// Attempts at a backend that are meant, without those of runs that rest.
    fn live_at(&self, number: usize, is_meant: impl Fn(&AttemptId) -> bool) -> usize {
        let id = backend_id(number as u128);
        let rests = |attempt_id: &AttemptId| {
            self.stories
                .iter()
                .zip(&self.world.runs)
                .filter(|(story, _)| story.rests)
                .any(|(_, run)| run.seen.values().any(|seen| seen.live == Some(*attempt_id)))
        };
        self.world
            .machine
            .live_attempts()
            .filter(|(attempt_id, at)| *at == id && is_meant(attempt_id) && !rests(attempt_id))
            .count()
    }

    /// A Ready item always has a reason that can be read; and it does not wait for a machine that has room.
    fn check_reason(&mut self) {
        let Some((number, item_id)) = self.some_item_of_any(ItemState::Ready) else {
            return;
        };
        let run = &self.world.runs[number];
        let machine = &self.world.machine;
        if self.stories[number].rests
            || machine.item_state(run.run_id, item_id) != Some(ItemState::Ready)
        {
            return;
        }
        let reason = machine
            .waiting_reason(self.world.now_ms, run.run_id, item_id)
            .unwrap_or_default();
        assert!(!reason.is_empty());
        let waits_for = (0..super::SERVERS)
            .find(|number| reason.starts_with(&format!("waits for machine-{number},")));
        let (run_id, run_state) = (run.run_id, run.run_state);
        if let Some(server) = waits_for
            && run_state == RunState::Running
        {
            self.tally.count("check: an item waits for a machine");
            if self.live_at(server, |_| true) == 0 {
                // Time has passed since the machine was told anything; what time alone changes goes with the next fact.
                self.step(Input::Tick);
                let still = self
                    .world
                    .machine
                    .waiting_reason(self.world.now_ms, run_id, item_id);
                assert!(
                    self.live_at(server, |_| true) > 0 || still.as_ref() != Some(&reason),
                    "{} waits for an empty machine: {reason}",
                    self.name_of_item(run_id, item_id)
                );
            }
        }
    }
}
