//! How often everything happened that can happen. Every match here names all variants, so that a new command, event or order does
//! not compile before the lives know of it.

use comfyui_orchestrator::engine::machine::{
    Effect, Input, LocalOutcome, LocalTask, ReviewVerdict,
};
use comfyui_orchestrator::engine::{
    AfterEnd, Answer, AnswerReach, CallOff, FailureClass, ItemState, RetryScope, RunEventBody,
    RunState, RunWish,
};
use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
}

/// What every few thousand lives must have seen, or they prove less than they say.
pub const MUST_HAPPEN: &[&str] = &[
    "answer: fail, for these",
    "answer: fail, for the run",
    "answer: retry, for these",
    "answer: retry, for the run",
    "answer: run on, for these",
    "answer: run on, for the run",
    "answer: skip, for these",
    "answer: skip, for the run",
    "command: cancel item",
    "command: cancel node",
    "command: cancel run",
    "command: pause run",
    "command: redo item, as it was",
    "command: redo item, with another seed",
    "command: resume run",
    "command: retry items",
    "command: retry node",
    "command: retry run",
    "command: set item priority",
    "command: set node priority",
    "command: set run priority",
    "command: start",
    "command: take up",
    "command: vacate backend",
    "event: attempt accepted",
    "event: after the end, nothing more",
    "event: after the end, resume",
    "event: after the end, retry",
    "event: attempt called off, for good",
    "event: attempt called off, silent",
    "event: attempt called off, to move",
    "event: attempt cancelled",
    "event: attempt failed",
    "event: attempt placed",
    "event: attempt started",
    "event: attempt withdrawn",
    "event: files written",
    "event: item answered",
    "event: item asks",
    "event: item created",
    "event: item done",
    "event: item edited",
    "event: item failed",
    "event: item priority changed",
    "event: item rated",
    "event: item state changed, blocked",
    "event: item state changed, cancelled",
    "event: item state changed, parked",
    "event: item state changed, ready",
    "event: item state changed, running",
    "event: item state changed, skipped",
    "event: item state changed, waiting",
    "event: node called off",
    "event: redo wished",
    "event: redo withdrawn",
    "event: node priority changed",
    "event: node taken up",
    "event: run created",
    "event: run priority changed",
    "event: run state changed, cancelled",
    "event: run state changed, cancelling",
    "event: run state changed, completed",
    "event: run state changed, completed with failures",
    "event: run state changed, failed",
    "event: run state changed, paused",
    "event: run state changed, running",
    "event: run state changed, stopping",
    "fact: attempt accepted",
    "fact: attempt ended, failed",
    "fact: attempt ended, made",
    "fact: attempt executed",
    "fact: attempt silent",
    "fact: attempt started",
    "fact: backend",
    "fact: backend removed",
    "fact: local work waits",
    "fact: local work, decided",
    "fact: local work, failed",
    "fact: local work, found",
    "fact: local work, loaded",
    "fact: local work, ranked",
    "fact: local work, sheet drawn",
    "fact: local work, written",
    "fact: looked up, found",
    "fact: looked up, not found",
    "fact: memory seen",
    "fact: tick",
    "fact: transferred",
    "failure: interrupted",
    "failure: invalid",
    "failure: local",
    "failure: lost",
    "failure: missing model",
    "failure: missing node",
    "failure: node error",
    "failure: offline",
    "failure: out of memory",
    "failure: output gone",
    "failure: timeout",
    "failure: transfer",
    "order: call off",
    "order: call off local work",
    "order: free memory",
    "order: local, decide",
    "order: local, draw sheet",
    "order: local, find files",
    "order: local, load",
    "order: local, rank",
    "order: local, write",
    "order: look up",
    "order: reconcile",
    "order: record",
    "order: submit",
    "order: wake",
    "review: pick",
    "review: rate",
    "review: redo, as it was",
    "review: redo, with another seed",
    "review: reject",
];

impl Tally {
    /// One more.
    pub fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    pub fn get(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Takes in what another life counted.
    pub fn add(&mut self, other: &Tally) {
        for (name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    /// Everything that was counted, and what never happened although it should.
    pub fn print(&self) {
        for (name, count) in &self.counts {
            println!("{count:>12}  {name}");
        }
        for name in self.missing() {
            println!("       NEVER  {name}");
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        MUST_HAPPEN
            .iter()
            .copied()
            .filter(|name| self.get(name) == 0)
            .collect()
    }

    pub fn input(&mut self, input: &Input) {
        let name = match input {
            Input::Start { .. } => "command: start",
            Input::TakeUp { .. } => "command: take up",
            Input::Wish { wishes, .. } => return wishes.iter().for_each(|wish| self.wish(wish)),
            Input::VacateBackend { .. } => "command: vacate backend",
            Input::Backend(_) => "fact: backend",
            Input::BackendRemoved { .. } => "fact: backend removed",
            Input::AttemptAccepted { .. } => "fact: attempt accepted",
            Input::AttemptStarted { .. } => "fact: attempt started",
            Input::AttemptSilent { .. } => "fact: attempt silent",
            Input::AttemptExecuted { .. } => "fact: attempt executed",
            Input::AttemptEnded { outcome, .. } => match outcome {
                Ok(_) => "fact: attempt ended, made",
                Err(failure) => {
                    self.count(failure_name(failure.class));
                    "fact: attempt ended, failed"
                }
            },
            Input::Transferred { .. } => "fact: transferred",
            Input::MemorySeen { .. } => "fact: memory seen",
            Input::LookedUp { found: Some(_), .. } => "fact: looked up, found",
            Input::LookedUp { found: None, .. } => "fact: looked up, not found",
            Input::LocalEnded { outcome, .. } => match outcome {
                Ok(LocalOutcome::Loaded(_)) => "fact: local work, loaded",
                Ok(LocalOutcome::Decided(_)) => "fact: local work, decided",
                Ok(LocalOutcome::SheetDrawn(_)) => "fact: local work, sheet drawn",
                Ok(LocalOutcome::Found(_)) => "fact: local work, found",
                Ok(LocalOutcome::Ranked { .. }) => "fact: local work, ranked",
                Ok(LocalOutcome::Written(_)) => "fact: local work, written",
                Err(failure) => {
                    self.count(failure_name(failure.class));
                    "fact: local work, failed"
                }
            },
            Input::LocalWaits { .. } => "fact: local work waits",
            Input::Tick => "fact: tick",
        };
        self.count(name);
    }

    fn wish(&mut self, wish: &RunWish) {
        let name = match wish {
            RunWish::Cancel => "command: cancel run",
            RunWish::CancelItem(_) => "command: cancel item",
            RunWish::CancelNode(_) => "command: cancel node",
            RunWish::Pause => "command: pause run",
            RunWish::Resume => "command: resume run",
            RunWish::Retry(scope) => match scope {
                RetryScope::Run => "command: retry run",
                RetryScope::Node(_) => "command: retry node",
                RetryScope::Items(_) => "command: retry items",
            },
            RunWish::Review(answers) => {
                for answer in answers {
                    self.count(match &answer.verdict {
                        ReviewVerdict::Pick => "review: pick",
                        ReviewVerdict::Reject => "review: reject",
                        ReviewVerdict::Rate(_) => "review: rate",
                        ReviewVerdict::Redo(fields) if fields.is_empty() => {
                            "review: redo, as it was"
                        }
                        ReviewVerdict::Redo(_) => "review: redo, with another seed",
                    });
                }
                return;
            }
            RunWish::Answer { answer, reach, .. } => match (answer, reach) {
                (Answer::Retry, AnswerReach::TheseItems) => "answer: retry, for these",
                (Answer::Retry, AnswerReach::ThisRun) => "answer: retry, for the run",
                (Answer::RunOn(_), AnswerReach::TheseItems) => "answer: run on, for these",
                (Answer::RunOn(_), AnswerReach::ThisRun) => "answer: run on, for the run",
                (Answer::Skip, AnswerReach::TheseItems) => "answer: skip, for these",
                (Answer::Skip, AnswerReach::ThisRun) => "answer: skip, for the run",
                (Answer::Fail, AnswerReach::TheseItems) => "answer: fail, for these",
                (Answer::Fail, AnswerReach::ThisRun) => "answer: fail, for the run",
            },
            RunWish::RedoItem { fields, .. } if fields.is_empty() => {
                "command: redo item, as it was"
            }
            RunWish::RedoItem { .. } => "command: redo item, with another seed",
            RunWish::SetPriority(_) => "command: set run priority",
            RunWish::SetItemPriority { .. } => "command: set item priority",
            RunWish::SetNodePriority { .. } => "command: set node priority",
        };
        self.count(name);
    }

    pub fn effect(&mut self, effect: &Effect) {
        let name = match effect {
            Effect::Record(event) => {
                self.event(&event.body);
                "order: record"
            }
            Effect::Submit(_) => "order: submit",
            Effect::CancelAttempt { .. } => "order: call off",
            Effect::LookUp(_) => "order: look up",
            Effect::Reconcile(_) => "order: reconcile",
            Effect::Local(work) => match &work.task {
                LocalTask::Load { .. } => "order: local, load",
                LocalTask::Decide { .. } => "order: local, decide",
                LocalTask::FindFiles { .. } => "order: local, find files",
                LocalTask::Rank { .. } => "order: local, rank",
                LocalTask::DrawSheet { .. } => "order: local, draw sheet",
                LocalTask::Write { .. } => "order: local, write",
            },
            Effect::CallOffLocal { .. } => "order: call off local work",
            Effect::FreeMemory { .. } => "order: free memory",
            Effect::WakeAt { .. } => "order: wake",
        };
        self.count(name);
    }

    fn event(&mut self, body: &RunEventBody) {
        let name = match body {
            RunEventBody::RunCreated { .. } => "event: run created",
            RunEventBody::RunStateChanged { state } => match state {
                RunState::Running => "event: run state changed, running",
                RunState::Paused => "event: run state changed, paused",
                RunState::Cancelling => "event: run state changed, cancelling",
                RunState::Stopping => "event: run state changed, stopping",
                RunState::Completed => "event: run state changed, completed",
                RunState::CompletedWithFailures => {
                    "event: run state changed, completed with failures"
                }
                RunState::Failed => "event: run state changed, failed",
                RunState::Cancelled => "event: run state changed, cancelled",
            },
            RunEventBody::ItemCreated { .. } => "event: item created",
            RunEventBody::ItemStateChanged { state, .. } => match state {
                ItemState::Waiting => "event: item state changed, waiting",
                ItemState::Ready => "event: item state changed, ready",
                ItemState::Submitted => "event: item state changed, submitted",
                ItemState::Running => "event: item state changed, running",
                ItemState::Parked => "event: item state changed, parked",
                ItemState::Asking => "event: item state changed, asking",
                ItemState::Done => "event: item state changed, done",
                ItemState::Skipped => "event: item state changed, skipped",
                ItemState::Failed => "event: item state changed, failed",
                ItemState::Blocked => "event: item state changed, blocked",
                ItemState::Cancelled => "event: item state changed, cancelled",
            },
            RunEventBody::AttemptPlaced { .. } => "event: attempt placed",
            RunEventBody::AttemptAccepted { .. } => "event: attempt accepted",
            RunEventBody::AttemptStarted { .. } => "event: attempt started",
            RunEventBody::AttemptCalledOff { reason, .. } => match reason {
                CallOff::Silent { .. } => "event: attempt called off, silent",
                CallOff::ToMove => "event: attempt called off, to move",
                CallOff::ForGood => "event: attempt called off, for good",
            },
            RunEventBody::AttemptFailed { failure, .. } => {
                if failure.class == FailureClass::Timeout {
                    // What was silent is interrupted; only the machine knows why.
                    self.count(failure_name(failure.class));
                }
                "event: attempt failed"
            }
            RunEventBody::AttemptCancelled { .. } => "event: attempt cancelled",
            RunEventBody::AttemptWithdrawn { .. } => "event: attempt withdrawn",
            RunEventBody::ItemDone { .. } => "event: item done",
            RunEventBody::ItemFailed { .. } => "event: item failed",
            RunEventBody::ItemAsks { .. } => "event: item asks",
            RunEventBody::ItemAnswered { .. } => "event: item answered",
            RunEventBody::ItemRated { .. } => "event: item rated",
            RunEventBody::ItemEdited { .. } => "event: item edited",
            RunEventBody::RedoWished { .. } => "event: redo wished",
            RunEventBody::RedoWithdrawn { .. } => "event: redo withdrawn",
            RunEventBody::AfterEndWished { wish } => match wish {
                Some(AfterEnd::Resume) => "event: after the end, resume",
                Some(AfterEnd::Retry) => "event: after the end, retry",
                None => "event: after the end, nothing more",
            },
            RunEventBody::ItemPriorityChanged { .. } => "event: item priority changed",
            RunEventBody::RunPriorityChanged { .. } => "event: run priority changed",
            RunEventBody::NodePriorityChanged { .. } => "event: node priority changed",
            RunEventBody::NodeCalledOff { .. } => "event: node called off",
            RunEventBody::NodeTakenUp { .. } => "event: node taken up",
            RunEventBody::FilesWritten { .. } => "event: files written",
        };
        self.count(name);
    }
}

fn failure_name(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Invalid => "failure: invalid",
        FailureClass::MissingNode => "failure: missing node",
        FailureClass::MissingModel => "failure: missing model",
        FailureClass::OutOfMemory => "failure: out of memory",
        FailureClass::NodeError => "failure: node error",
        FailureClass::Offline => "failure: offline",
        FailureClass::Timeout => "failure: timeout",
        FailureClass::Lost => "failure: lost",
        FailureClass::OutputGone => "failure: output gone",
        FailureClass::Transfer => "failure: transfer",
        FailureClass::Interrupted => "failure: interrupted",
        FailureClass::Local => "failure: local",
        FailureClass::Disk => "failure: disk",
    }
}
