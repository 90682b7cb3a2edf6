//! Graphs in a few lines, and a world that plays the executor for the pure machine: it performs orders, answers them, and
//! checks after every step what must always hold.

mod graph;
mod watched;

pub use graph::{Graph, field};
pub use watched::{Seen, Watched};

use comfyui_orchestrator::artifacts::{Artifact, ContentHash, Measures};
use comfyui_orchestrator::engine::machine::{
    Asked, AttemptOutputs, Availability, BackendFacts, CacheQuestion, Effect, Input, LocalOutcome,
    LocalTask, LocalWork, Machine, Submission,
};
use comfyui_orchestrator::engine::{
    AttemptId, Failure, FailureClass, ItemId, ItemState, RunId, RunWish, Value,
};
use comfyui_orchestrator::project::{BackendId, DataType, InputValue, Node};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use uuid::Uuid;

pub fn backend_id(number: u128) -> BackendId {
    BackendId::from_uuid(Uuid::from_u128(0xB000 + number))
}

pub fn online(number: u128) -> BackendFacts {
    BackendFacts {
        backend_id: backend_id(number),
        name: format!("machine-{number}"),
        tags: BTreeSet::new(),
        availability: Availability::Online,
        vram_bytes: None,
        unable: BTreeMap::new(),
        weights: BTreeMap::new(),
        model_sizes: None,
        classes: None,
    }
}

/// A stored picture that stands for this text.
pub fn picture(text: &str) -> Value {
    Value::Artifact(Arc::new(Artifact {
        hash: ContentHash::of(text.as_bytes()),
        data_type: DataType::Image,
        extension: "png".to_owned(),
        byte_len: 1000,
        measures: Measures::default(),
        origin: None,
    }))
}

/// A value as short text that is equal for equal values.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Trigger => "!".to_owned(),
        Value::Literal(literal) => literal.to_string(),
        Value::Artifact(artifact) => artifact.hash.to_string()[..12].to_owned(),
        Value::Batch(batch) => {
            let parts: Vec<String> = batch
                .iter()
                .map(|artifact| artifact.hash.to_string()[..12].to_owned())
                .collect();
            format!("({})", parts.join(" "))
        }
        Value::List(list) => {
            let parts: Vec<String> = list.iter().map(|element| text_of(&element.value)).collect();
            format!("[{}]", parts.join(" "))
        }
    }
}

/// What the play of a workflow makes of its fields: a pure function, so that every schedule gives the same.
pub fn made(node: &Node, fields: &[(String, String)], count: usize) -> Vec<Value> {
    let mut fields = fields.to_vec();
    fields.sort();
    (0..count)
        .map(|number| picture(&format!("{} {fields:?} {number}", node.title)))
        .collect()
}

/// Decides a Condition from its title and the item's labels.
pub type Decide = fn(&str, &BTreeMap<String, String>) -> bool;

/// Plays the executor.
pub struct World {
    pub machine: Machine,
    pub now_ms: u64,
    /// The runs. The world itself stands for the first, which in most tests is the only one.
    pub runs: Vec<Watched>,
    /// Prompts that lie at backends.
    pub submitted: VecDeque<Submission>,
    /// Attempts that their backend has executed, as a machine was told; the next one after a restart finds out by itself.
    pub executed: BTreeSet<AttemptId>,
    pub locals: VecDeque<LocalWork>,
    /// Items whose local work has waited for a disk; a machine that begins anew does not know of it.
    pub without_disk: BTreeSet<ItemId>,
    pub cancels: Vec<AttemptId>,
    pub reconciles: Vec<Submission>,
    /// Questions to the cache.
    pub look_ups: Vec<CacheQuestion>,
    pub wakes: BTreeSet<u64>,
    /// Titles and paths (`W1 F:1`) whose attempts fail, with the class and how often.
    pub fails: BTreeMap<String, (FailureClass, u32)>,
    /// Pictures per item, by title; 1 where not named.
    pub batch: BTreeMap<String, usize>,
    pub decide: Decide,
    /// How many files fit a pattern; none where not named.
    pub files_found: BTreeMap<String, usize>,
    backends: u128,
}

impl Deref for World {
    type Target = Watched;

    fn deref(&self) -> &Watched {
        &self.runs[0]
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Watched {
        &mut self.runs[0]
    }
}

/// The run of this number, from 0.
pub fn run_id(number: u128) -> RunId {
    RunId::from_uuid(Uuid::from_u128(7 + number))
}

impl World {
    pub fn new(graph: &Graph) -> Self {
        Self::with_backends(graph, 1)
    }

    pub fn with_backends(graph: &Graph, backends: u128) -> Self {
        Self::with_runs(&[graph], backends)
    }

    /// A world in which each of these graphs can be run.
    pub fn with_runs(graphs: &[&Graph], backends: u128) -> Self {
        let runs = graphs
            .iter()
            .enumerate()
            .map(|(number, graph)| {
                let plan = Arc::new(graph.compile().unwrap());
                Watched::new(run_id(number as u128), plan)
            })
            .collect();
        let mut world = Self {
            machine: Machine::new(),
            now_ms: 1_000_000,
            runs,
            submitted: VecDeque::new(),
            executed: BTreeSet::new(),
            locals: VecDeque::new(),
            without_disk: BTreeSet::new(),
            cancels: Vec::new(),
            reconciles: Vec::new(),
            look_ups: Vec::new(),
            wakes: BTreeSet::new(),
            fails: BTreeMap::new(),
            batch: BTreeMap::new(),
            decide: |_, _| true,
            files_found: BTreeMap::new(),
            backends,
        };
        for number in 0..backends {
            world.step(Input::Backend(online(number)));
        }
        world
    }

    /// Our process ends and another one takes over from the log; the servers still have what was sent.
    pub fn restart(&mut self) {
        let asked: Vec<Option<Asked>> = self
            .runs
            .iter()
            .map(|run| self.machine.asked(run.run_id))
            .collect();
        self.machine = Machine::new();
        for number in 0..self.backends {
            let facts = Input::Backend(online(number));
            self.machine.step(self.now_ms, facts);
        }
        self.locals.clear();
        self.cancels.clear();
        self.wakes.clear();
        self.submitted.clear();
        for (number, asked) in asked.into_iter().enumerate() {
            let run = &self.runs[number];
            if run.log.is_empty() && number > 0 {
                continue;
            }
            let (run_id, plan) = (run.run_id, run.plan.clone());
            self.machine.restore(run_id, plan, run.log.clone());
            if asked.is_some() {
                let remembered = self.machine.asked(run_id);
                assert_eq!(remembered, asked, "what was asked is in the log");
            }
            for effect in self.machine.step(self.now_ms, Input::TakeUp { run_id }) {
                self.perform(effect);
            }
        }
        self.submitted.extend(self.reconciles.drain(..));
        self.check_against_machine();
    }

    pub fn start(&mut self) {
        let (run_id, plan) = (self.run_id, self.plan.clone());
        self.step(Input::Start { run_id, plan });
    }
    /// The run of this id.
    pub fn watched(&self, run_id: RunId) -> &Watched {
        self.runs.iter().find(|run| run.run_id == run_id).unwrap()
    }

    pub fn watched_mut(&mut self, run_id: RunId) -> &mut Watched {
        self.runs
            .iter_mut()
            .find(|run| run.run_id == run_id)
            .unwrap()
    }

    /// A person wants something of the run, the first where there are several.
    pub fn wish(&mut self, wish: RunWish) {
        self.step(Input::wish(self.run_id, wish));
    }

    pub fn step(&mut self, input: Input) {
        let effects = self.machine.step(self.now_ms, input);
        for effect in effects {
            self.perform(effect);
        }
    }

    /// Performs one order and checks that it may be given.
    pub fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Record(event) => self.watched_mut(event.run_id).record(event),
            Effect::Submit(submission) => {
                let seen = &self.watched(submission.run_id).seen[&submission.item_id];
                assert_eq!(
                    seen.live,
                    Some(submission.attempt_id),
                    "submitted before it was recorded"
                );
                let there = self
                    .submitted
                    .iter()
                    .filter(|other| other.backend_id == submission.backend_id)
                    .filter(|other| !self.executed.contains(&other.attempt_id))
                    .count();
                assert!(there < 2, "more than two prompts ahead");
                assert!(
                    !self
                        .submitted
                        .iter()
                        .any(|other| other.item_id == submission.item_id),
                    "two live attempts of one item"
                );
                self.submitted.push_back(submission);
            }
            Effect::CancelAttempt { attempt_id, .. } => self.cancels.push(attempt_id),
            Effect::Reconcile(submission) => self.reconciles.push(submission),
            Effect::LookUp(question) => self.look_ups.push(question),
            Effect::Local(work) => {
                let seen = &self.watched(work.run_id).seen[&work.item_id];
                assert_eq!(seen.state, ItemState::Running);
                let told = self.watched(work.run_id).true_labels(&work.item_id);
                assert_eq!(work.labels, told, "labels of what was not made so");
                self.locals.push_back(work);
                // A run that rested and goes on brings what it had ordered.
                let most = 4 * self.runs.len();
                let working = self.locals.iter();
                let working = working.filter(|work| !self.without_disk.contains(&work.item_id));
                assert!(working.count() <= most, "too many local tasks at once");
            }
            Effect::CallOffLocal { item_id } => {
                assert!(self.without_disk.contains(&item_id));
                self.locals.retain(|work| work.item_id != item_id);
            }
            Effect::FreeMemory { .. } => {}
            Effect::WakeAt { at_ms } => {
                self.wakes.insert(at_ms);
            }
        }
    }

    /// What an attempt of this submission gives.
    pub fn outcome(&mut self, submission: &Submission) -> Result<AttemptOutputs, Failure> {
        let run = self.watched(submission.run_id);
        let node = run.project.nodes[&submission.node_id].clone();
        let name = run.name(node.id, &run.seen[&submission.item_id].path);
        if let Some((class, times)) = self.fails.get_mut(&name)
            && *times > 0
        {
            *times -= 1;
            return Err(Failure::new(*class, format!("{name} went wrong")));
        }
        let fields: Vec<(String, String)> = submission
            .fields
            .iter()
            .map(|(address, value)| (address.input.clone(), text_of(value)))
            .collect();
        let count = self.batch.get(&node.title).copied().unwrap_or(1);
        Ok(AttemptOutputs {
            ports: [(node.outputs[0].id, made(&node, &fields, count))].into(),
        })
    }

    pub fn local_outcome(&mut self, work: &LocalWork) -> LocalOutcome {
        match &work.task {
            LocalTask::Load { value, .. } => LocalOutcome::Loaded(match value {
                InputValue::Literal(literal) => Value::Literal(literal.clone()),
                InputValue::File(path) => picture(path),
            }),
            LocalTask::Decide { .. } => {
                let title = &self.watched(work.run_id).project.nodes[&work.node_id].title;
                LocalOutcome::Decided((self.decide)(title, &work.labels))
            }
            LocalTask::DrawSheet { elements, .. } => {
                LocalOutcome::SheetDrawn(picture(&format!("sheet of {}", elements.len())))
            }
            LocalTask::FindFiles { files, folder } => {
                let count = self.files_found.get(&files.pattern).copied().unwrap_or(0);
                let folder = folder.clone().unwrap_or_default();
                LocalOutcome::Found(
                    (0..count)
                        .map(|number| {
                            let name = format!("{folder}{number}.png");
                            (name.clone(), picture(&name))
                        })
                        .collect(),
                )
            }
            LocalTask::Rank {
                keep,
                elements,
                sheet,
                ..
            } => {
                let mut places: Vec<u32> = (0..elements.len() as u32).collect();
                places.sort_by_key(|place| {
                    std::cmp::Reverse(text_of(&elements[*place as usize].value))
                });
                places.truncate(*keep as usize);
                places.sort_unstable();
                LocalOutcome::Ranked {
                    sheet: sheet.map(|_| picture(&format!("sheet of {}", places.len()))),
                    kept: places,
                }
            }
            LocalTask::Write { value, ordinal, .. } => {
                self.watched_mut(work.run_id)
                    .written
                    .insert((work.node_id, work.path.clone()), text_of(value));
                LocalOutcome::Written(vec![format!("/out/{ordinal}.png")])
            }
        }
    }

    pub fn answer_local(&mut self) -> bool {
        let Some(work) = self.locals.pop_front() else {
            return false;
        };
        let outcome = Ok(self.local_outcome(&work));
        self.step(Input::LocalEnded {
            item_id: work.item_id,
            order: work.order,
            outcome,
        });
        true
    }

    /// The first prompt for which `chosen` holds is executed.
    pub fn execute(&mut self, chosen: impl Fn(&str) -> bool) -> bool {
        let Some(position) = self.submitted.iter().position(|submission| {
            let run = self.watched(submission.run_id);
            chosen(&run.name(submission.node_id, &run.seen[&submission.item_id].path))
        }) else {
            return false;
        };
        let attempt_id = self.submitted[position].attempt_id;
        self.execute_attempt(attempt_id);
        true
    }

    /// A prompt that lies at a backend is executed.
    pub fn execute_attempt(&mut self, attempt_id: AttemptId) {
        let position = self
            .submitted
            .iter()
            .position(|submission| submission.attempt_id == attempt_id)
            .unwrap();
        let submission = self.submitted.remove(position).unwrap();
        self.step(Input::AttemptAccepted { attempt_id });
        self.step(Input::AttemptStarted { attempt_id });
        self.now_ms += 100;
        let outcome = self.outcome(&submission);
        self.step(Input::AttemptEnded {
            attempt_id,
            outcome,
        });
    }

    /// Answers everything in order until nothing is left to do; time passes only when nothing else helps.
    pub fn run(&mut self) {
        for _ in 0..1_000_000 {
            if self.answer_cancel() || self.answer_local() || self.execute(|_| true) {
                continue;
            }
            let Some(at_ms) = self.wakes.pop_first() else {
                break;
            };
            self.now_ms = self.now_ms.max(at_ms);
            self.step(Input::Tick);
        }
        self.check_against_machine();
    }

    pub fn answer_cancel(&mut self) -> bool {
        let Some(attempt_id) = self.cancels.pop() else {
            return false;
        };
        self.submitted
            .retain(|submission| submission.attempt_id != attempt_id);
        self.step(Input::AttemptEnded {
            attempt_id,
            outcome: Err(Failure::new(FailureClass::Interrupted, "called off")),
        });
        true
    }

    /// The logs say what the machine thinks, and the folds say what the logs say.
    pub fn check_against_machine(&self) {
        for (number, run) in self.runs.iter().enumerate() {
            if number == 0 || !run.log.is_empty() {
                run.check_against(&self.machine);
            }
        }
    }
}
