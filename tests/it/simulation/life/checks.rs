//! What must hold after each step, beside what every log must keep to (see [`crate::engine_driver::Watched`]).

use super::Life;
use crate::engine_driver::backend_id;
use comfyui_orchestrator::artifacts::ContentHash;
use comfyui_orchestrator::engine::machine::{
    ATTEMPTS_AHEAD_PER_BACKEND, ATTEMPTS_FETCHED_PER_BACKEND, Effect, Input,
};
use comfyui_orchestrator::engine::{AttemptId, ItemState, RunEventBody, RunId, RunState, Value};
use std::collections::HashMap;

impl Life {
    /// The run that a person wants something of; remembers what explains later events.
    pub(super) fn note_wish(&mut self, input: &Input) -> Option<RunId> {
        let (run_id, calls_off) = match input {
            Input::CancelRun { run_id }
            | Input::CancelItem { run_id, .. }
            | Input::CancelNode { run_id, .. } => (run_id, true),
            Input::TakeUp { run_id }
            | Input::PauseRun { run_id }
            | Input::ResumeRun { run_id }
            | Input::RetryFailed { run_id }
            | Input::Retry { run_id, .. }
            | Input::Review { run_id, .. }
            | Input::Answer { run_id, .. }
            | Input::RedoItem { run_id, .. }
            | Input::SetRunPriority { run_id, .. }
            | Input::SetItemPriority { run_id, .. }
            | Input::SetNodePriority { run_id, .. } => (run_id, false),
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
            | Input::LocalEnded { .. }
            | Input::AttemptExecuted { .. }
            | Input::Tick => return None,
        };
        let number = self.number_of_run(*run_id);
        self.stories[number].is_called_off |= calls_off;
        self.stories[number].rests = false;
        Some(*run_id)
    }

    /// What one step may say: a wish about one run does nothing to the others but to let them have backends, and nothing ends
    /// without a cause.
    pub(super) fn check_step(&self, wished_of: Option<RunId>, effects: &[Effect]) {
        for effect in effects {
            let Effect::Record(event) = effect else {
                continue;
            };
            let story = &self.stories[self.number_of_run(event.run_id)];
            assert!(story.is_begun, "an event of a run that was not begun");
            if wished_of.is_some_and(|run_id| run_id != event.run_id) {
                let gets_going = match &event.body {
                    RunEventBody::AttemptPlaced { .. } | RunEventBody::ItemAsks { .. } => true,
                    RunEventBody::ItemStateChanged { state, .. } => *state == ItemState::Running,
                    _ => false,
                };
                assert!(gets_going, "a wish of another run did this: {event:?}");
            }
            match &event.body {
                RunEventBody::AttemptWithdrawn { .. } => assert!(self.is_vacated),
                RunEventBody::RunStateChanged {
                    state: RunState::Cancelling | RunState::Cancelled | RunState::Paused,
                } => assert!(wished_of.is_some() || story.is_called_off),
                RunEventBody::ItemStateChanged {
                    state: ItemState::Cancelled,
                    ..
                } => assert!(story.is_called_off || story.may_stop),
                _ => {}
            }
        }
    }

    /// Looks at everything now and then; each look costs as much as many steps.
    pub(super) fn check_sometimes(&mut self) {
        self.check_room();
        if self.random.u32(0..50) == 0 {
            self.flush_held();
            self.check_all();
        }
        if self.random.u32(0..8) == 0 {
            self.check_reason();
        }
    }

    /// The machine says what the logs say, and so do the folds.
    pub fn check_all(&self) {
        for (run, story) in self.world.runs.iter().zip(&self.stories) {
            if story.is_begun && !story.rests {
                run.check_against(&self.world.machine);
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

    /// No backend has more of all runs together than it may.
    fn check_room(&self) {
        for number in 0..super::SERVERS {
            let unexecuted = self.live_at(number, |attempt_id| {
                !self.world.executed.contains(attempt_id)
            });
            assert!(
                unexecuted <= ATTEMPTS_AHEAD_PER_BACKEND,
                "too much at backend {number}"
            );
            let most = ATTEMPTS_AHEAD_PER_BACKEND + ATTEMPTS_FETCHED_PER_BACKEND;
            assert!(
                self.live_at(number, |_| true) <= most,
                "too much is fetched from backend {number}"
            );
        }
    }

    fn live_at(&self, number: usize, is_meant: impl Fn(&AttemptId) -> bool) -> usize {
        let id = backend_id(number as u128);
        self.world
            .machine
            .live_attempts()
            .filter(|(attempt_id, at)| *at == id && is_meant(attempt_id))
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
