//! The person of a life: everything that can be asked of a run and of a backend, at any time, also when it makes no sense.

use super::servers::{MODEL_FIELD, MODELS};
use super::{Life, MAX_REDONE, SERVERS, fate};
use crate::engine_driver::{backend_id, field};
use comfyui_orchestrator::artifacts::ContentHash;
use comfyui_orchestrator::engine::machine::Input;
use comfyui_orchestrator::engine::{
    Answer, AnswerReach, ItemId, ItemState, RetryScope, ReviewAnswer, ReviewVerdict, RunId, RunWish,
};
use comfyui_orchestrator::project::{Literal, NodeId};
use comfyui_orchestrator::workflow::ParameterAddress;

impl Life {
    /// What nobody asked for: late answers, servers that come and go, a person who changes their mind.
    pub(super) fn meddle(&mut self) {
        let begun: Vec<usize> = (0..self.stories.len())
            .filter(|number| self.stories[*number].is_begun)
            .collect();
        let number = begun[self.random.usize(..begun.len())];
        let run_id = self.world.runs[number].run_id;
        match self.random.u32(0..self.patience) {
            0 => self.answer_late(),
            1..=7 => self.meddle_with_servers(),
            8..=17 => self.wish_something(number, run_id),
            18 => self.step(Input::Tick),
            19 if self.stories[number].rests => self.take_up(number),
            _ => {}
        }
    }

    fn meddle_with_servers(&mut self) {
        let number = self.random.usize(..SERVERS);
        let backend_id = backend_id(number as u128);
        match self.random.u32(0..8) {
            0 => {
                self.servers[number].is_down ^= true;
                self.tell_facts(number);
            }
            1 => self.forget_everything(),
            2 => {
                self.servers[number].is_disabled ^= true;
                self.tell_facts(number);
                if self.random.bool() {
                    self.step(Input::VacateBackend { backend_id });
                }
            }
            3 => {
                if self.servers[number].is_removed {
                    self.servers[number].is_removed = false;
                    self.tell_facts(number);
                } else {
                    let is_vacated = self.random.bool();
                    self.servers[number].is_removed = true;
                    // Removed first: as long as it is known, what waits may be sent there.
                    self.step(Input::BackendRemoved { backend_id });
                    if is_vacated {
                        self.step(Input::VacateBackend { backend_id });
                    }
                }
            }
            4 => {
                self.servers[number].lacks ^= true;
                self.tell_facts(number);
            }
            5 => {
                let bytes = self.random.u64(0..10_000_000);
                let took_ms = self.random.u64(0..1000);
                self.step(Input::Transferred {
                    backend_id,
                    content: ContentHash::of(&bytes.to_le_bytes()),
                    bytes,
                    took_ms,
                });
            }
            6 => self.step(Input::VacateBackend { backend_id }),
            _ => {
                // It is registered anew, with other tags and another device.
                self.tally.count("world: a backend is changed");
                self.servers[number].tags.pop_first();
                if self.servers[number].vram_bytes.is_some() {
                    self.servers[number].vram_bytes = Some(self.random.u64(1..4) * 8_000_000_000);
                }
                self.tell_facts(number);
            }
        }
    }

    fn wish_something(&mut self, number: usize, run_id: RunId) {
        let priority = self.random.i32(-1..2);
        let node_id = self.some_node(number);
        match self.random.u32(0..19) {
            0 => {
                self.step(Input::wish(run_id, RunWish::Pause));
                if self.random.bool() {
                    self.step(Input::wish(run_id, RunWish::Resume));
                }
            }
            1 if self.random.u32(0..3) == 0 => {
                self.step(Input::wish(run_id, RunWish::Cancel));
                self.think_again(number, run_id);
            }
            2 | 3 => {
                if let Some(item_id) = self.some_item(number, |state| !state.is_ended()) {
                    self.step(Input::wish(run_id, RunWish::CancelItem(item_id)));
                    match self.random.u32(0..4) {
                        0 => self.step(Input::wish(run_id, RunWish::CancelItem(item_id))),
                        1 => {
                            let scope = RetryScope::Items(vec![item_id]);
                            self.step(Input::wish(run_id, RunWish::Retry(scope)));
                        }
                        _ => {}
                    }
                }
            }
            4 if self.random.u32(0..3) == 0 => {
                self.step(Input::wish(run_id, RunWish::CancelNode(node_id)));
            }
            5 => {
                if let Some(item_id) = self.some_item(number, |state| !state.is_ended()) {
                    self.step(Input::wish(
                        run_id,
                        RunWish::SetItemPriority {
                            item_ids: vec![item_id],
                            priority,
                        },
                    ));
                }
            }
            6 => self.step(Input::wish(
                run_id,
                RunWish::SetNodePriority { node_id, priority },
            )),
            7 => self.step(Input::wish(run_id, RunWish::SetPriority(priority))),
            8 => self.step(Input::wish(run_id, RunWish::Retry(RetryScope::Run))),
            9 => {
                let scope = RetryScope::Node(node_id);
                self.step(Input::wish(run_id, RunWish::Retry(scope)));
            }
            10 => {
                let wanted = |state| matches!(state, ItemState::Failed | ItemState::Cancelled);
                if let Some(item_id) = self.some_item(number, wanted) {
                    let scope = RetryScope::Items(vec![item_id]);
                    self.step(Input::wish(run_id, RunWish::Retry(scope)));
                }
            }
            11 => {
                let scope = RetryScope::Run;
                self.step(Input::wish(run_id, RunWish::Retry(scope)));
            }
            12 if self.random.u32(0..3) == 0 => self.redo_several(number, run_id),
            12 | 13 => {
                let any = self.random.u32(0..3) == 0;
                if let Some(item_id) =
                    self.some_item(number, |state| any || state == ItemState::Done)
                {
                    self.redo(number, item_id);
                }
            }
            14 => {
                // An answer that was given twice, or to something that does not ask.
                if let Some(item_id) = self.some_item(number, |state| state != ItemState::Parked) {
                    // By now it may ask: the log is behind the machine.
                    let name = self.name_of_item(run_id, item_id);
                    let verdict = self.fated_verdict(number, &name);
                    self.step(Input::wish(
                        run_id,
                        RunWish::Review(vec![ReviewAnswer { item_id, verdict }]),
                    ));
                }
            }
            15 => {
                if let Some(item_id) = self.some_item(number, |state| state != ItemState::Asking) {
                    self.step(Input::wish(
                        run_id,
                        RunWish::Answer {
                            item_ids: vec![item_id],
                            answer: Answer::Skip,
                            reach: AnswerReach::ThisRun,
                        },
                    ));
                }
            }
            16 => self.step(Input::wish(run_id, RunWish::Resume)),
            17 => {
                // What is not of this run, and what was started already.
                let other = (number + 1) % self.stories.len();
                if other != number
                    && let Some(item_id) = self.some_item(other, |_| true)
                {
                    self.step(Input::wish(run_id, RunWish::CancelItem(item_id)));
                    self.step(Input::wish(
                        run_id,
                        RunWish::RedoItem {
                            item_id,
                            fields: vec![],
                        },
                    ));
                }
                let plan = self.world.runs[number].plan.clone();
                self.step(Input::Start { run_id, plan });
            }
            _ => {}
        }
    }

    /// Whoever called a run off wants something else at once.
    fn think_again(&mut self, number: usize, run_id: RunId) {
        match self.random.u32(0..10) {
            0 | 1 => self.step(Input::wish(run_id, RunWish::Resume)),
            2 => self.step(Input::wish(run_id, RunWish::Retry(RetryScope::Run))),
            3 => self.step(Input::wish(run_id, RunWish::Cancel)),
            4 | 5 => {
                if let Some(item_id) = self.some_item(number, |_| true) {
                    self.redo(number, item_id);
                    if self.random.bool() {
                        self.step(Input::wish(run_id, RunWish::CancelItem(item_id)));
                    }
                }
            }
            _ => {}
        }
    }

    fn some_node(&mut self, number: usize) -> NodeId {
        let nodes: Vec<NodeId> = self.world.runs[number].plan.node_order().collect();
        nodes[self.random.usize(..nodes.len())]
    }

    /// An item is to be made again, as it was or with another seed.
    fn redo(&mut self, number: usize, item_id: ItemId) {
        if self.stories[number].redone >= MAX_REDONE {
            return;
        }
        self.stories[number].redone += 1;
        let run_id = self.world.runs[number].run_id;
        let fields = self.other_fields();
        self.step(Input::wish(run_id, RunWish::RedoItem { item_id, fields }));
    }

    /// Several items are to be made again by one command, and some of them not after all.
    fn redo_several(&mut self, number: usize, run_id: RunId) {
        let mut wishes = Vec::new();
        while self.stories[number].redone < MAX_REDONE && self.random.u32(0..4) > 0 {
            let Some(item_id) = self.some_item(number, |state| state == ItemState::Done) else {
                break;
            };
            self.stories[number].redone += 1;
            let fields = self.other_fields();
            wishes.push(RunWish::RedoItem { item_id, fields });
            if self.random.u32(0..6) == 0 {
                wishes.push(RunWish::CancelItem(item_id));
            }
        }
        self.step(Input::Wish { run_id, wishes });
    }

    /// Nothing changed, another seed, another value in place of a linked one, or another model.
    fn other_fields(&mut self) -> Vec<(ParameterAddress, Literal)> {
        let names = ["seed", "a", "seed", MODEL_FIELD];
        let count = self.random.usize(0..3);
        (0..count)
            .map(|_| {
                let name = names[self.random.usize(..names.len())];
                let value = if name == MODEL_FIELD {
                    Literal::Text(MODELS[self.random.usize(..MODELS.len())].to_owned())
                } else {
                    Literal::Integer(self.random.u32(0..1_000_000).into())
                };
                (field(name), value)
            })
            .collect()
    }

    /// A person says what is to become of an item that has no place left. What they let fail is retried in the end.
    pub(super) fn answer_question(&mut self, number: usize, item_id: ItemId) {
        let run = &self.world.runs[number];
        let run_id = run.run_id;
        let question = run.seen[&item_id].question.clone().unwrap();
        let answer = if self.is_calm {
            // Whatever it lacked is mended now.
            self.mend_servers();
            Answer::Retry
        } else if self.random.u32(0..8) == 0 {
            // Also one that was not offered.
            Answer::RunOn(backend_id(self.random.u128(0..SERVERS as u128)))
        } else {
            question.alternatives[self.random.usize(..question.alternatives.len())].answer
        };
        let reach = if self.random.u32(0..4) == 0 {
            AnswerReach::ThisRun
        } else {
            AnswerReach::TheseItems
        };
        let mut item_ids = vec![item_id];
        if self.random.u32(0..4) == 0 {
            // Several at once, also some that ask nothing, and one twice.
            item_ids.extend(self.some_item(number, |_| true));
            item_ids.push(item_id);
        }
        self.step(Input::wish(
            run_id,
            RunWish::Answer {
                item_ids,
                answer,
                reach,
            },
        ));
    }

    pub(super) fn answer_review(&mut self, number: usize, item_id: ItemId) {
        let run_id = self.world.runs[number].run_id;
        let name = self.name_of_item(run_id, item_id);
        let verdict = if self.is_calm {
            self.fated_verdict(number, &name)
        } else {
            match self.random.u32(0..8) {
                0 if self.stories[number].redone < MAX_REDONE => {
                    self.stories[number].redone += 1;
                    ReviewVerdict::Redo(self.other_fields())
                }
                1 => ReviewVerdict::Rate(self.random.u8(0..7)),
                _ => self.fated_verdict(number, &name),
            }
        };
        let mut answers = vec![ReviewAnswer { item_id, verdict }];
        if self.random.u32(0..4) == 0 {
            // Rated and decided in one go.
            let verdict = ReviewVerdict::Rate(self.random.u8(0..6));
            answers.insert(0, ReviewAnswer { item_id, verdict });
        }
        self.step(Input::wish(run_id, RunWish::Review(answers)));
    }

    fn fated_verdict(&self, number: usize, name: &str) -> ReviewVerdict {
        if fate::is_picked(name, self.stories[number].seed) {
            ReviewVerdict::Pick
        } else {
            ReviewVerdict::Reject
        }
    }
}
