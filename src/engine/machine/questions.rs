//! Items that have no place left: what a person is asked of them, and what the answers do.

use super::flow::End;
use super::input::Availability;
use super::item::{Bound, ItemIndex, Trouble};
use super::run::Run;
use super::token::{Hole, HoleKind};
use super::{Effect, Machine};
use crate::engine::event::{ItemState, PlacementCandidate, PlacementVerdict, RunEventBody};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::{ItemId, RunId};
use crate::engine::placement::Exclusion;
use crate::engine::plan::NodeIndex;
use crate::engine::question::{
    Alternative, Answer, AnswerOrigin, AnswerReach, Question, QuestionCause,
};
use crate::project::{Fallback, NodeKind, WorkflowNode};
use crate::workflow::{MemoryFit, MemoryRoom};
use std::fmt::Write as _;

/// How long no backend that an item may run on answers before a person is asked: longer than a backend needs to start again.
pub(super) const ASK_AFTER_MS: u64 = 60_000;

impl Machine {
    /// Asks what is to become of an item, unless an answer for the whole run says it.
    pub(super) fn ask(
        &mut self,
        now_ms: u64,
        run_id: RunId,
        index: ItemIndex,
        cause: QuestionCause,
        failure: Failure,
    ) {
        let Some(run) = self.runs.get(&run_id) else {
            return;
        };
        let question = self.question(now_ms, run, index, cause, failure);
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        let item_id = run.items[index as usize].item_id;
        run.emit(RunEventBody::ItemAsks {
            item_id,
            question: question.clone(),
        });
        run.is_asked(index, question);
        if let Some(answer) = run.standing_answer
            && run.standing_helps(index, answer)
        {
            self.settle_question(run_id, index, answer, AnswerOrigin::Standing);
        }
    }

    /// Takes a person's answer to the questions of some items. Items that ask nothing are passed over.
    pub(super) fn answer(
        &mut self,
        run_id: RunId,
        item_ids: &[ItemId],
        answer: Answer,
        reach: AnswerReach,
    ) {
        let origin = match reach {
            AnswerReach::TheseItems => AnswerOrigin::ForItem,
            AnswerReach::ThisRun => AnswerOrigin::ForRun,
        };
        for item_id in item_ids {
            if let Some(index) = self.asking(run_id, item_id) {
                self.settle_question(run_id, index, answer, origin);
            }
        }
    }

    /// The item, if it asks something.
    pub(super) fn asking(&self, run_id: RunId, item_id: &ItemId) -> Option<ItemIndex> {
        let run = self.runs.get(&run_id)?;
        let index = *run.item_by_id.get(item_id)?;
        (run.items[index as usize].state == ItemState::Asking).then_some(index)
    }

    /// Does what an answer says; one for the whole run answers what is asked there already, too.
    pub(super) fn settle_question(
        &mut self,
        run_id: RunId,
        index: ItemIndex,
        answer: Answer,
        origin: AnswerOrigin,
    ) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        if answer == Answer::Retry {
            // Somebody may have mended what it lacked; if not, the next attempt says so again.
            let workflow = run.plan.nodes[run.items[index as usize].node].workflow_hash;
            self.learned_unable
                .retain(|(known, _), _| Some(*known) != workflow);
        }
        run.settle_question(index, answer, origin);
        if origin != AnswerOrigin::ForRun {
            return;
        }
        run.standing_answer = Some(answer);
        let mut others: Vec<ItemIndex> = run.questions.keys().copied().collect();
        others.sort_unstable();
        for other in others {
            let helps = self
                .runs
                .get(&run_id)
                .is_some_and(|run| run.standing_helps(other, answer));
            if helps {
                self.settle_question(run_id, other, answer, AnswerOrigin::Standing);
            }
        }
    }

    /// What is asked of an item, with everything that can be chosen.
    fn question(
        &self,
        now_ms: u64,
        run: &Run,
        index: ItemIndex,
        cause: QuestionCause,
        failure: Failure,
    ) -> Question {
        let planned = &run.plan.nodes[run.items[index as usize].node];
        let desks = self.desks(now_ms);
        let mut open = Vec::new();
        let mut impossible = Vec::new();
        let mut allowed: Vec<String> = Vec::new();
        if let NodeKind::Workflow(workflow) = &planned.node.kind {
            for facts in self.backends.values() {
                let unwanted = facts.not_wanted_by(workflow);
                let against = self.exclusion_of_facts(now_ms, run, index, facts);
                if let Some(
                    exclusion @ (Exclusion::Unable { .. }
                    | Exclusion::Lacks { .. }
                    | Exclusion::TooSmall { .. }
                    | Exclusion::Disabled),
                ) = against
                {
                    impossible.push(PlacementCandidate {
                        backend_id: facts.backend_id,
                        backend_name: facts.name.clone(),
                        memory: self.memory_fit(run, index, facts),
                        verdict: PlacementVerdict::Excluded {
                            reason: exclusion.to_string(),
                        },
                    });
                    continue;
                }
                let memory = self.memory_fit(run, index, facts);
                let finish_ms = match against {
                    None => self
                        .cost(now_ms, run, index, facts, memory, &desks)
                        .finish_ms(),
                    Some(_) => u64::MAX,
                };
                if unwanted.is_none() {
                    allowed.push(facts.name.clone());
                }
                let reason = reason_for(finish_ms, against.as_ref(), unwanted.as_ref(), memory);
                open.push((unwanted.is_some(), finish_ms, facts, reason));
            }
        }
        // Where the node wants to be first, then by what is expected to be fastest.
        open.sort_by_key(|(unwanted, finish_ms, facts, _)| {
            (
                *finish_ms == u64::MAX,
                *unwanted,
                *finish_ms,
                facts.backend_id,
            )
        });
        let mut alternatives = vec![Alternative {
            answer: Answer::Retry,
            label: "Try again where the node allows it".to_owned(),
            reason: match allowed.as_slice() {
                [] => "none of these backends can at this moment; mend one first".to_owned(),
                names => names.join(", "),
            },
        }];
        alternatives.extend(open.into_iter().map(|(_, _, facts, reason)| Alternative {
            answer: Answer::RunOn(facts.backend_id),
            label: format!("Run it on {}", facts.name),
            reason,
        }));
        alternatives.push(Alternative {
            answer: Answer::Skip,
            label: "Skip it".to_owned(),
            reason: "what needs it is skipped, too; the run can still complete".to_owned(),
        });
        alternatives.push(Alternative {
            answer: Answer::Fail,
            label: "Let it fail".to_owned(),
            reason: "what needs it is blocked; it can be retried later".to_owned(),
        });
        Question {
            cause,
            failure,
            alternatives,
            impossible,
        }
    }

    /// Asks for the Ready items of nodes that ask and of which no backend they may run on has answered for a while, and for
    /// those that were sent to a backend that is gone.
    pub(super) fn ask_where_nobody_answers(&mut self, now_ms: u64, run_ids: &[RunId]) {
        let mut wake_at_ms: Option<u64> = None;
        for run_id in run_ids {
            let Some(run) = self.runs.get(run_id) else {
                continue;
            };
            if run.is_called_off() || run.state != crate::engine::event::RunState::Running {
                continue;
            }
            let asking: Vec<NodeIndex> = run
                .active_nodes
                .iter()
                .copied()
                .filter(|node| asks(run, *node))
                .collect();
            for node in asking {
                let silence = self.silence(*run_id, node);
                let Some(run) = self.runs.get_mut(run_id) else {
                    continue;
                };
                let since_ms = silence.is_some().then(|| {
                    // A clock that jumped back must not make it wait longer.
                    run.nodes[node]
                        .unanswered_ms
                        .map_or(now_ms, |since| since.min(now_ms))
                });
                run.nodes[node].unanswered_ms = since_ms;
                let is_long = since_ms.is_some_and(|since| now_ms - since >= ASK_AFTER_MS);
                if let (Some(since), false) = (since_ms, is_long) {
                    let at_ms = since.saturating_add(ASK_AFTER_MS);
                    wake_at_ms = Some(wake_at_ms.map_or(at_ms, |other| other.min(at_ms)));
                }
                let ready: Vec<ItemIndex> = run.nodes[node]
                    .ready
                    .iter()
                    .map(|(.., index)| *index)
                    .collect();
                for index in ready {
                    // An answer for the whole run may have stopped it.
                    let is_ready = self
                        .runs
                        .get(run_id)
                        .is_some_and(|run| run.items[index as usize].state == ItemState::Ready);
                    if !is_ready {
                        continue;
                    }
                    let failure = match self.bound_is_gone(*run_id, index) {
                        Some(failure) => failure,
                        None if is_long && !self.is_bound(*run_id, index) => match &silence {
                            Some(failure) => failure.clone(),
                            None => continue,
                        },
                        None => continue,
                    };
                    self.ask(now_ms, *run_id, index, QuestionCause::NoPlace, failure);
                }
            }
            self.settle_run(now_ms, *run_id);
        }
        if let Some(at_ms) = wake_at_ms {
            self.order_wake(now_ms, at_ms);
        }
    }

    /// Orders a wake-up, unless one as early is ordered already.
    pub(super) fn order_wake(&mut self, now_ms: u64, at_ms: u64) {
        if self
            .wake_at_ms
            .is_none_or(|ordered| at_ms < ordered || ordered <= now_ms)
        {
            self.wake_at_ms = Some(at_ms);
            self.effects.push(Effect::WakeAt { at_ms });
        }
    }

    /// Why no backend that a node may run on can be reached; none when one can.
    fn silence(&self, run_id: RunId, node: NodeIndex) -> Option<Failure> {
        let run = self.runs.get(&run_id)?;
        let planned = &run.plan.nodes[node];
        let NodeKind::Workflow(workflow) = &planned.node.kind else {
            return None;
        };
        let mut reasons = Vec::new();
        for facts in self.backends.values() {
            if let Some(exclusion) = facts.not_wanted_by(workflow) {
                reasons.push(format!("{} {exclusion}", facts.name));
                continue;
            }
            match &facts.availability {
                Availability::Online => return None,
                Availability::Disabled => reasons.push(format!("{} is disabled", facts.name)),
                Availability::Offline { reason } => {
                    let exclusion = Exclusion::Offline {
                        reason: reason.clone(),
                    };
                    reasons.push(format!("{} {exclusion}", facts.name));
                }
            }
        }
        let list = if reasons.is_empty() {
            "no backend is registered".to_owned()
        } else {
            reasons.join("; ")
        };
        Some(Failure::new(
            FailureClass::Offline,
            format!(
                "no backend that \"{}\" may run on answers: {list}",
                planned.node.title
            ),
        ))
    }

    fn is_bound(&self, run_id: RunId, index: ItemIndex) -> bool {
        self.runs
            .get(&run_id)
            .is_some_and(|run| run.items[index as usize].only_on().is_some())
    }

    /// Why an item cannot run on the one backend that it is to run on; none while it can, or when there is no such one.
    fn bound_is_gone(&self, run_id: RunId, index: ItemIndex) -> Option<Failure> {
        let trouble = self.runs.get(&run_id)?.items[index as usize]
            .trouble
            .as_ref()?;
        match trouble.bound? {
            Bound::Chosen(chosen) => (!self.backends.contains_key(&chosen)).then(|| {
                Failure::new(
                    FailureClass::Offline,
                    "the backend that was chosen for it is no longer registered",
                )
            }),
            Bound::OnceMore(backend_id) => {
                let is_there = self
                    .backends
                    .get(&backend_id)
                    .is_some_and(|facts| facts.availability == Availability::Online);
                if is_there { None } else { trouble.last.clone() }
            }
        }
    }
}

impl Run {
    /// The item waits for an answer.
    pub(super) fn is_asked(&mut self, index: ItemIndex, question: Question) {
        self.set_item_state(index, ItemState::Asking);
        self.questions.insert(index, question);
    }

    /// Whether an answer that was given for the whole run can help an item that asks.
    fn standing_helps(&self, index: ItemIndex, answer: Answer) -> bool {
        let Some(question) = self.questions.get(&index) else {
            return false;
        };
        match (answer, question.cause) {
            (Answer::Skip | Answer::Fail, _)
            | (Answer::Retry | Answer::RunOn(_), QuestionCause::Failed) => true,
            (Answer::RunOn(backend_id), QuestionCause::NoPlace) => {
                self.items[index as usize].only_on() != Some(backend_id)
                    && question
                        .alternatives
                        .iter()
                        .any(|alternative| alternative.answer == answer)
            }
            (Answer::Retry, QuestionCause::NoPlace) | (_, QuestionCause::TriesUsedUp) => false,
        }
    }

    /// Does what an answer says of the item itself.
    fn settle_question(&mut self, index: ItemIndex, answer: Answer, origin: AnswerOrigin) {
        let Some(question) = self.questions.get(&index) else {
            return;
        };
        let failure = question.failure.clone();
        let item_id = self.items[index as usize].item_id;
        self.emit(RunEventBody::ItemAnswered {
            item_id,
            answer,
            origin,
        });
        match answer {
            Answer::Retry | Answer::RunOn(_) => {
                let bound = match answer {
                    Answer::RunOn(backend_id) => Some(Bound::Chosen(backend_id)),
                    _ => None,
                };
                let item = &mut self.items[index as usize];
                let mut trouble = match origin {
                    // What went wrong still counts, so that an answer for the whole run does not try for ever.
                    AnswerOrigin::Standing => item.trouble.take().unwrap_or_default(),
                    AnswerOrigin::ForItem | AnswerOrigin::ForRun => Box::<Trouble>::default(),
                };
                trouble.bound = bound;
                item.trouble = Some(trouble);
                self.make_ready(index);
            }
            Answer::Skip => {
                let mut reason = format!("{} was skipped by choice", self.name_of(index));
                // Writing to a text does not fail.
                write!(reason, ": {}", failure.message).ok();
                let hole = Hole {
                    kind: HoleKind::Skipped,
                    reason: reason.into(),
                };
                self.end_item(index, End::Hole(hole));
            }
            Answer::Fail => self.end_item(index, End::Failed(failure)),
        }
    }
}

/// Whether a person is asked when items of a node have no place left.
pub(super) fn asks(run: &Run, node: NodeIndex) -> bool {
    matches!(
        &run.plan.nodes[node].node.kind,
        NodeKind::Workflow(WorkflowNode {
            fallback: Fallback::AskUser,
            ..
        })
    )
}

/// What speaks for and against running an item on a backend.
fn reason_for(
    finish_ms: u64,
    against: Option<&Exclusion>,
    unwanted: Option<&Exclusion>,
    memory: Option<MemoryFit>,
) -> String {
    let mut reason = match against {
        None => format!("done in about {} s", finish_ms.div_ceil(1000)),
        Some(exclusion @ Exclusion::FailedHere) => exclusion.to_string(),
        Some(exclusion @ (Exclusion::PairBlocked { .. } | Exclusion::Resting { .. })) => {
            exclusion.to_string()
        }
        Some(exclusion) => format!("it {exclusion}; the item would wait for it"),
    };
    if let Some(exclusion) = unwanted {
        // Writing to a text does not fail.
        write!(reason, ", although it {exclusion}").ok();
    }
    if let Some(fit) = memory.filter(|fit| fit.room() != MemoryRoom::Enough) {
        write!(reason, "; {fit}").ok();
    }
    reason
}
