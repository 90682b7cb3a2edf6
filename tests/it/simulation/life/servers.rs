//! The servers of a life, and what is heard of them.

use super::{Life, SERVERS, fate};
use crate::engine_driver::{backend_id, online};
use comfyui_orchestrator::engine::machine::{
    AttemptOutputs, Availability, BackendFacts, Input, NodeClasses, Submission,
};
use comfyui_orchestrator::engine::{AttemptId, Failure, FailureClass, ItemId};
use comfyui_orchestrator::project::BackendId;
use comfyui_orchestrator::workflow::ObjectInfo;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the end of an attempt says that we ourselves called off.
pub(super) const CALLED_OFF: &str = "called off by us";

/// Models that a person may choose for an item, and the field that names them.
pub(super) const MODELS: [&str; 2] = ["a.safetensors", "b.safetensors"];
pub(super) const MODEL_FIELD: &str = "model";

/// A server as `ComfyUI` is one: a queue, one prompt at a time, a history in memory.
#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "faults that come and go independently"
)]
pub(super) struct Server {
    queue: Vec<AttemptId>,
    running: Option<AttemptId>,
    history: BTreeMap<AttemptId, Result<AttemptOutputs, Failure>>,
    pub is_down: bool,
    pub is_disabled: bool,
    /// A person took it off the list; what it does goes on.
    pub is_removed: bool,
    /// It cannot run any workflow.
    pub lacks: bool,
    /// Memory of its device, where it says so.
    pub vram_bytes: Option<u64>,
    pub tags: BTreeSet<String>,
    /// What it says of its node classes, where it says anything: which models it has.
    classes: Option<NodeClasses>,
    /// The models were copied to it that it lacked.
    has_all_models: bool,
    /// Its tags before a person took them.
    own_tags: BTreeSet<String>,
}

impl Server {
    pub fn new(seed: u64, number: usize, random: &mut fastrand::Rng) -> Self {
        let mut server = Self {
            vram_bytes: (!seed.is_multiple_of(3)).then(|| random.u64(1..4) * 8_000_000_000),
            // The second has both tags, the first and the third one each.
            own_tags: ["even", "big"]
                .into_iter()
                .enumerate()
                .filter(|(place, _)| number == 1 || *place * 2 == number)
                .map(|(_, tag)| tag.to_owned())
                .collect(),
            ..Self::default()
        };
        server.tags.clone_from(&server.own_tags);
        // In some lives every server but the third lacks one of the models that a person may choose.
        let has = if number == 2 {
            &MODELS[..]
        } else {
            &MODELS[number..=number]
        };
        server.classes = random.bool().then(|| classes_with(has));
        server
    }

    pub fn has_work(&self) -> bool {
        !self.is_down && (self.running.is_some() || !self.queue.is_empty())
    }

    /// Whether nothing can be sent there.
    pub fn is_out(&self) -> bool {
        self.is_down || self.is_disabled || self.is_removed || self.lacks
    }

    pub fn needs_mending(&self) -> bool {
        self.is_out() || self.tags != self.own_tags || !self.has_all_models
    }

    pub fn mend(&mut self) {
        self.has_all_models = true;
        if self.classes.is_some() {
            self.classes = Some(classes_with(&MODELS));
        }
        self.tags.clone_from(&self.own_tags);
        self.is_down = false;
        self.is_disabled = false;
        self.is_removed = false;
        self.lacks = false;
    }

    fn forget(&mut self) {
        self.queue.clear();
        self.running = None;
        self.history.clear();
    }

    fn call_off(&mut self, attempt_id: AttemptId) {
        self.queue.retain(|one| *one != attempt_id);
        if self.running == Some(attempt_id) {
            self.running = None;
            // As ComfyUI writes down what was interrupted.
            let failure = Failure::new(FailureClass::Interrupted, CALLED_OFF);
            self.history.insert(attempt_id, Err(failure));
        }
    }
}

/// The node classes of a server that has these models.
fn classes_with(models: &[&str]) -> NodeClasses {
    let text = format!(
        r#"{{"Make": {{"input": {{"required": {{"{MODEL_FIELD}": [{models:?}]}}}}, "output": [], "output_node": false}}}}"#
    );
    NodeClasses(Arc::new(ObjectInfo::parse(text.as_bytes()).unwrap()))
}

/// What a server did.
enum Done {
    Began(AttemptId),
    Ended(AttemptId, Result<AttemptOutputs, Failure>),
}

impl Life {
    /// What servers lacked is installed, and those that were removed are back.
    pub(super) fn mend_servers(&mut self) {
        for number in 0..SERVERS {
            self.servers[number].mend();
            for is_down in [true, false] {
                self.servers[number].is_down = is_down;
                let facts = self.facts(number);
                self.step(Input::Backend(facts));
            }
        }
    }

    pub(super) fn facts(&self, number: usize) -> BackendFacts {
        let mut facts = online(number as u128);
        let server = &self.servers[number];
        facts.vram_bytes = server.vram_bytes;
        facts.tags.clone_from(&server.tags);
        facts.classes.clone_from(&server.classes);
        if server.lacks {
            for run in &self.world.runs {
                let hashes = run.plan.node_order();
                let hashes = hashes.filter_map(|node_id| run.plan.workflow_hash(node_id));
                facts
                    .unable
                    .extend(hashes.map(|hash| (hash, "trouble: lacks a model".to_owned())));
            }
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

    pub(super) fn tell_facts(&mut self, number: usize) {
        if !self.servers[number].is_removed {
            let facts = self.facts(number);
            self.step(Input::Backend(facts));
        }
    }

    pub(super) fn server_number(id: BackendId) -> usize {
        (0..SERVERS)
            .find(|number| backend_id(*number as u128) == id)
            .unwrap()
    }

    fn server_of(&mut self, submission: &Submission) -> &mut Server {
        &mut self.servers[Self::server_number(submission.backend_id)]
    }

    fn is_followed(&self, attempt_id: AttemptId) -> bool {
        let mut followed = self.world.submitted.iter();
        followed.any(|there| there.attempt_id == attempt_id)
    }

    /// Whether the log has an attempt without its end: when our process dies before it writes of the end, the next one knows
    /// nothing of it, and hears of the attempt only by following it.
    fn is_live(&self, attempt_id: AttemptId) -> bool {
        let mut seen = self.world.runs.iter().flat_map(|run| run.seen.values());
        seen.any(|seen| seen.live == Some(attempt_id))
    }

    pub(super) fn arrive(&mut self, submission: &Submission) {
        let server = self.server_of(submission);
        if !server.is_down {
            server.queue.push(submission.attempt_id);
        }
    }

    /// A prompt reaches its server, or does not, or its answer gets lost.
    pub(super) fn deliver(&mut self) {
        let place = self.random.usize(..self.in_flight.len());
        let submission = self.in_flight.swap_remove(place);
        let attempt_id = submission.attempt_id;
        if self.server_of(&submission).is_down {
            self.fail(
                attempt_id,
                FailureClass::Offline,
                "trouble: connection refused",
            );
            return;
        }
        match self.random.u32(0..12) {
            // Lost on the way: nothing is heard, the next look finds out.
            0 if self.may_hurt(submission.item_id) => {
                self.tally.count("world: a prompt is lost on the way");
            }
            1 | 2 => {
                self.tally.count("world: the answer to a prompt is lost");
                self.arrive(&submission);
            }
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

    pub(super) fn fail(&mut self, attempt_id: AttemptId, class: FailureClass, message: &str) {
        self.step(Input::AttemptEnded {
            attempt_id,
            outcome: Err(Failure::new(class, message)),
        });
    }

    /// A server goes on by one step.
    fn server_advances(&mut self) -> Option<Done> {
        let able: Vec<usize> = (0..SERVERS)
            .filter(|number| self.servers[*number].has_work())
            .collect();
        if able.is_empty() {
            return None;
        }
        let number = able[self.random.usize(..able.len())];
        let server = &mut self.servers[number];
        let Some(attempt_id) = server.running.take() else {
            let attempt_id = server.queue.remove(0);
            server.running = Some(attempt_id);
            return Some(Done::Began(attempt_id));
        };
        let submission = self.sent.get(&attempt_id).cloned()?;
        let outcome = self.outcome(&submission);
        let history = &mut self.servers[number].history;
        history.insert(attempt_id, outcome.clone());
        Some(Done::Ended(attempt_id, outcome))
    }

    /// A server goes on, and perhaps we hear of it.
    pub(super) fn server_works(&mut self) {
        let Some(done) = self.server_advances() else {
            return;
        };
        // Whether the socket brings the message.
        if !self.is_calm && self.random.u32(0..5) == 0 {
            self.tally.count("world: a message of a server is lost");
            return;
        }
        match done {
            Done::Began(attempt_id) => {
                self.step(Input::AttemptStarted { attempt_id });
                if self.random.u32(0..6) == 0 {
                    let used_bytes = self.random.u64(1..40) * 1_000_000_000;
                    self.step(Input::MemorySeen {
                        attempt_id,
                        used_bytes,
                    });
                }
            }
            Done::Ended(attempt_id, outcome) => {
                if outcome.is_ok() && self.is_followed(attempt_id) {
                    self.world.executed.insert(attempt_id);
                    self.step(Input::AttemptExecuted { attempt_id });
                    // What it made is on its way here; the next look at it finds that it has come.
                    if self.random.bool() {
                        return;
                    }
                }
                self.tell_end(attempt_id, outcome);
            }
        }
    }

    /// A server goes on while we listen to nobody.
    pub(super) fn server_works_unheard(&mut self) {
        self.server_advances();
    }

    /// Only a worker that still follows the attempt tells its end.
    fn tell_end(&mut self, attempt_id: AttemptId, outcome: Result<AttemptOutputs, Failure>) {
        if self.is_followed(attempt_id) {
            self.step(Input::AttemptEnded {
                attempt_id,
                outcome,
            });
        }
    }

    /// Something comes late, after its attempt has ended.
    pub(super) fn answer_late(&mut self) {
        if let Some(attempt_id) = self.ended.last().copied()
            && !self.is_followed(attempt_id)
            && !self.is_live(attempt_id)
        {
            self.tally.count("world: an answer comes late");
            self.step(Input::AttemptStarted { attempt_id });
            self.step(Input::AttemptEnded {
                attempt_id,
                outcome: Ok(AttemptOutputs::default()),
            });
        }
    }

    /// The watchdog looks after one attempt: queue first, then history.
    pub(super) fn poll(&mut self) {
        let place = self.random.usize(..self.world.submitted.len());
        let submission = self.world.submitted[place].clone();
        let attempt_id = submission.attempt_id;
        let mut on_the_way = self.in_flight.iter();
        if on_the_way.any(|there| there.attempt_id == attempt_id) {
            return;
        }
        let number = Self::server_number(submission.backend_id);
        if self.servers[number].is_down {
            // Given up after a while; the server is told when it is back.
            if self.random.u32(0..6) == 0 && self.may_hurt(submission.item_id) {
                let lived = self.restarts;
                self.fail(attempt_id, FailureClass::Offline, "trouble: no answer");
                self.flush_held();
                if self.restarts == lived {
                    self.servers[number].call_off(attempt_id);
                }
            } else if self.random.u32(0..20) == 0 {
                self.servers[number].is_down = false;
                self.tell_facts(number);
            }
            return;
        }
        let server = &self.servers[number];
        if server.queue.contains(&attempt_id) {
            self.step(Input::AttemptAccepted { attempt_id });
        } else if server.running == Some(attempt_id) {
            self.step(Input::AttemptStarted { attempt_id });
            if self.random.u32(0..30) == 0 && self.may_hurt(submission.item_id) {
                let silence_s = 1800;
                self.step(Input::AttemptSilent {
                    attempt_id,
                    silence_s,
                });
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

    /// A server does what we asked: it lets go of an attempt.
    pub(super) fn answer_cancel(&mut self) {
        let place = self.random.usize(..self.world.cancels.len());
        let attempt_id = self.world.cancels.swap_remove(place);
        if !self.is_followed(attempt_id) {
            return;
        }
        self.in_flight
            .retain(|there| there.attempt_id != attempt_id);
        let Some(submission) = self.sent.get(&attempt_id).cloned() else {
            return;
        };
        let may_be_silent = !self.is_calm && self.random.u32(0..5) == 0;
        let server = self.server_of(&submission);
        // It had finished before.
        if let Some(outcome) = server.history.get(&attempt_id).cloned() {
            self.tell_end(attempt_id, outcome);
            return;
        }
        let was_running = server.running == Some(attempt_id);
        server.call_off(attempt_id);
        if was_running && may_be_silent {
            // The next look finds it in the history.
            self.tally.count("world: the answer to calling off is lost");
            return;
        }
        self.fail(attempt_id, FailureClass::Interrupted, CALLED_OFF);
    }

    fn outcome(&mut self, submission: &Submission) -> Result<AttemptOutputs, Failure> {
        let number = self.number_of_run(submission.run_id);
        let node = self.world.runs[number].project.nodes[&submission.node_id].clone();
        let name = self.name_of_item(submission.run_id, submission.item_id);
        // An error of the workflow once at most: two would make the item bad.
        let is_first = !self.trouble.contains_key(&submission.item_id);
        if is_first && self.random.u32(0..8) == 0 && self.may_hurt(submission.item_id) {
            return Err(Failure::new(FailureClass::NodeError, "trouble"));
        }
        if fate::is_refused(&name, self.stories[number].seed) {
            return Err(Failure::new(FailureClass::Invalid, "refused"));
        }
        let values = self.made_of(number, &node, &name, &submission.fields);
        Ok(AttemptOutputs {
            ports: [(node.outputs[0].id, values)].into(),
        })
    }

    /// A server restarts: its queue and its history are gone.
    pub(super) fn forget_everything(&mut self) {
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
            self.tally.count("world: a server restarts");
            self.servers[number].forget();
        }
    }
}
