//! Our own process: it steps the machine, records, orders, waits for a full disk, dies and starts again.

use super::{Life, MAX_DEATHS, SERVERS, machine};
use comfyui_orchestrator::engine::machine::{Asked, Effect, Input};

impl Life {
    /// Steps the machine. Sometimes more facts come before its orders are carried out, as they do when they come together.
    pub(super) fn step(&mut self, input: Input) {
        self.tally.input(&input);
        if let Input::AttemptEnded { attempt_id, .. } = &input {
            self.ended.push(*attempt_id);
            self.world
                .submitted
                .retain(|there| there.attempt_id != *attempt_id);
        }
        let wished_of = self.note_wish(&input);
        let effects = self.world.machine.step(self.world.now_ms, input);
        self.check_step(wished_of, &effects);
        for effect in &effects {
            self.tally.effect(effect);
        }
        self.held.extend(effects);
        if self.is_calm || self.random.u32(0..8) > 0 {
            self.flush_held();
        }
    }

    /// Records what is to be recorded, then carries out the orders; sometimes the disk is full for a while, sometimes the process
    /// dies between two of these and starts again from its log.
    pub(super) fn flush_held(&mut self) {
        let (records, orders): (Vec<Effect>, Vec<Effect>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Record(_)));
        let count = records.len() + orders.len();
        let mut cut = count;
        let dies = !self.is_calm && self.restarts < MAX_DEATHS && self.random.u32(0..60) == 0;
        if dies {
            cut = self.random.usize(0..=count);
        }
        if !self.is_calm && !records.is_empty() && self.random.u32(0..150) == 0 {
            self.wait_for_disk();
            if dies {
                // It was killed because it did not go on: nothing was written.
                cut = 0;
            }
        }
        let is_all_written = cut >= records.len();
        for effect in records.into_iter().chain(orders).take(cut) {
            if let Effect::Submit(submission) = &effect {
                self.in_flight.push(submission.clone());
                self.sent.insert(submission.attempt_id, submission.clone());
            }
            self.world.perform(effect);
        }
        for submission in std::mem::take(&mut self.world.reconciles) {
            let sent = self.sent.entry(submission.attempt_id);
            let sent = sent.or_insert_with(|| submission.clone());
            assert_eq!(sent.fields, submission.fields, "it was sent with others");
            self.world.submitted.push_back(submission);
        }
        if dies {
            let asked = |number: usize| {
                let run_id = self.world.runs[number].run_id;
                self.world.machine.asked(run_id).filter(|_| is_all_written)
            };
            let asked = (0..self.stories.len()).map(asked).collect();
            self.restart(asked);
        }
    }

    /// The log cannot be written: nothing is ordered and nobody is listened to until it can. The servers go on.
    fn wait_for_disk(&mut self) {
        self.tally.count("world: the disk refuses for a while");
        self.world.now_ms += self.random.u64(2_000..300_000);
        for _ in 0..self.random.u32(1..6) {
            self.server_works_unheard();
        }
    }

    /// Starts again from the logs. They have everything that was `asked` of each run before.
    fn restart(&mut self, asked: Vec<Option<Asked>>) {
        self.restarts += 1;
        self.tally.count("world: our process dies");
        // What was being sent arrived, or did not.
        for submission in std::mem::take(&mut self.in_flight) {
            if self.random.bool() {
                self.arrive(&submission);
            }
        }
        let world = &mut self.world;
        let learned = world.machine.estimates().clone();
        world.machine = machine(self.seed);
        if self.random.bool() {
            // What was learned had been written down.
            world.machine.set_estimates(learned);
        }
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
        for (number, asked) in asked.into_iter().enumerate() {
            let run = &self.world.runs[number];
            if !self.stories[number].is_begun {
                continue;
            }
            let (run_id, plan) = (run.run_id, run.plan.clone());
            self.world
                .machine
                .restore(run_id, plan, self.world.runs[number].log.clone());
            if asked.is_some() {
                assert_eq!(
                    self.world.machine.asked(run_id),
                    asked,
                    "asked of run {number}"
                );
            }
            self.stories[number].rests = true;
            self.stories[number].state = self.world.runs[number].run_state;
        }
        for number in 0..self.stories.len() {
            // A person may want to be asked first.
            let waits = !self.is_calm && self.random.u32(0..5) == 0;
            if self.stories[number].rests && !waits {
                self.take_up(number);
            }
        }
    }

    /// A run that rested since the start of the process goes on.
    pub(super) fn take_up(&mut self, number: usize) {
        let run_id = self.world.runs[number].run_id;
        self.step(Input::TakeUp { run_id });
    }

    /// A run that has ended is dropped from memory, and comes back out of its log.
    pub(super) fn forget(&mut self, number: usize) {
        self.flush_held();
        let run = &self.world.runs[number];
        let (run_id, plan) = (run.run_id, run.plan.clone());
        if !run.run_state.is_ended() || self.stories[number].rests {
            return;
        }
        self.tally.count("world: a run comes back out of its log");
        self.world.machine.forget(run_id);
        assert_eq!(self.world.machine.item_count(run_id), 0);
        self.world
            .machine
            .restore(run_id, plan, self.world.runs[number].log.clone());
        self.stories[number].rests = true;
    }
}
