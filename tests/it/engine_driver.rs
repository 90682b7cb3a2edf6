//! Graphs in a few lines, and a world that plays the executor for the pure machine: it performs orders, answers them, and
//! checks after every step what must always hold.

use comfyui_orchestrator::artifacts::{Artifact, ContentHash, Measures};
use comfyui_orchestrator::engine::fold::RunView;
use comfyui_orchestrator::engine::machine::{
    AttemptOutputs, Availability, BackendFacts, CacheQuestion, Effect, Input, LocalOutcome,
    LocalTask, LocalWork, Machine, Submission,
};
use comfyui_orchestrator::engine::{
    AttemptId, Failure, FailureClass, IndexPath, ItemId, ItemState, Plan, PlanProblem, RunEvent,
    RunEventBody, RunId, RunState, Value,
};
use comfyui_orchestrator::project::{
    Affinity, Axis, BackendId, BatchMode, CachePolicy, ConditionNode, ContactSheet, DataType,
    Fallback, FanOutNode, FanOutSource, InputNode, InputValue, Link, LinkId, Literal,
    MergeFailurePolicy, MergeMode, MergeNode, MergeScope, Node, NodeId, NodeKind, OnFailure,
    OutputNode, Port, PortBinding, PortId, PortNeed, PortRef, Project, ProjectId, RetryPolicy,
    ReviewNode, WorkflowFile, WorkflowName, WorkflowNode,
};
use comfyui_orchestrator::workflow::{NodeAddress, ParameterAddress};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use uuid::Uuid;

/// A project in the making. Ports are named: FanOut `value` in, axis = its title, `value` out; Workflow as given, `image`
/// out; Condition `value`, `true`, `false`; Merge `values`, `list`, `sheet`; Output and Input `value`.
pub struct Graph {
    pub project: Project,
    next: u128,
}

impl Graph {
    pub fn new() -> Self {
        let mut project = Project::new(ProjectId::from_uuid(Uuid::from_u128(1)), "Test");
        for name in ["w", "other"] {
            project.workflows.insert(
                WorkflowName::new(name).unwrap(),
                WorkflowFile::new(format!("{{\"{name}\":1}}")),
            );
        }
        Self { project, next: 100 }
    }

    fn uuid(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u128(self.next)
    }

    fn port(&mut self, name: &str, data_type: DataType, binding: PortBinding) -> Port {
        Port {
            id: PortId::from_uuid(self.uuid()),
            name: name.to_owned(),
            data_type,
            binding,
            need: PortNeed::Optional,
        }
    }

    fn node(
        &mut self,
        title: &str,
        kind: NodeKind,
        inputs: Vec<Port>,
        outputs: Vec<Port>,
    ) -> NodeId {
        let id = NodeId::from_uuid(self.uuid());
        self.project.nodes.insert(
            id,
            Node {
                id,
                title: title.to_owned(),
                pos_world: [0.0, 0.0],
                width_world: 200.0,
                kind,
                inputs,
                outputs,
                on_failure: OnFailure::Continue,
            },
        );
        id
    }

    pub fn fan_out(&mut self, title: &str, count: u32) -> NodeId {
        let value_in = self.port("value", DataType::Any, PortBinding::Value);
        let axis = self.port(
            title,
            DataType::Integer,
            PortBinding::Axis(title.to_owned()),
        );
        let value_out = self.port("value", DataType::Any, PortBinding::Value);
        let source = FanOutSource::Range {
            axis: title.to_owned(),
            start: 0.0,
            step: 1.0,
            count,
        };
        let kind = NodeKind::FanOut(FanOutNode { source });
        self.node(title, kind, vec![value_in], vec![axis, value_out])
    }

    pub fn grid(&mut self, title: &str, axes: &[(&str, u32)]) -> NodeId {
        let outputs = axes
            .iter()
            .map(|(name, _)| {
                self.port(
                    name,
                    DataType::Integer,
                    PortBinding::Axis((*name).to_owned()),
                )
            })
            .collect();
        let axes = axes
            .iter()
            .map(|(name, count)| Axis {
                name: (*name).to_owned(),
                data_type: DataType::Integer,
                values: (0..*count)
                    .map(|value| Literal::Integer(value.into()))
                    .collect(),
            })
            .collect();
        let kind = NodeKind::FanOut(FanOutNode {
            source: FanOutSource::Grid(axes),
        });
        self.node(title, kind, vec![], outputs)
    }

    pub fn input(&mut self, title: &str, text: &str) -> NodeId {
        let value = self.port("value", DataType::Text, PortBinding::Value);
        let kind = NodeKind::Input(InputNode {
            value: InputValue::Literal(Literal::Text(text.to_owned())),
        });
        self.node(title, kind, vec![], vec![value])
    }

    pub fn workflow(&mut self, title: &str, inputs: &[&str]) -> NodeId {
        self.workflow_with(title, inputs, BatchMode::Whole)
    }

    pub fn workflow_with(&mut self, title: &str, inputs: &[&str], batch: BatchMode) -> NodeId {
        let inputs = inputs
            .iter()
            .map(|name| {
                let address = ParameterAddress {
                    node: address("1", "Make"),
                    input: (*name).to_owned(),
                };
                self.port(name, DataType::Any, PortBinding::Parameter(address))
            })
            .collect();
        let binding = PortBinding::WorkflowOutput {
            address: address("9", "SaveImage"),
            batch,
        };
        let image = self.port("image", DataType::Image, binding);
        let kind = NodeKind::Workflow(WorkflowNode {
            workflow: WorkflowName::new("w").unwrap(),
            parameters: vec![],
            affinity: Affinity::Any,
            fallback: Fallback::AutoSelect,
            retry: RetryPolicy::default(),
            cache: CachePolicy::Use,
        });
        self.node(title, kind, inputs, vec![image])
    }

    /// A fan-out of any source, with an input `value` and its axes and `value` as outputs.
    pub fn fan_out_of(&mut self, title: &str, source: FanOutSource) -> NodeId {
        let value_in = self.port("value", DataType::Any, PortBinding::Value);
        let axes: Vec<(String, DataType)> = source
            .axes()
            .into_iter()
            .map(|(name, data_type)| (name.to_owned(), data_type))
            .collect();
        let mut outputs: Vec<Port> = axes
            .into_iter()
            .map(|(name, data_type)| self.port(&name, data_type, PortBinding::Axis(name.clone())))
            .collect();
        outputs.push(self.port("value", DataType::Any, PortBinding::Value));
        let kind = NodeKind::FanOut(FanOutNode { source });
        self.node(title, kind, vec![value_in], outputs)
    }

    pub fn review(&mut self, title: &str) -> NodeId {
        let value = self.port("value", DataType::Any, PortBinding::Value);
        let picked = self.port("picked", DataType::Any, PortBinding::Value);
        let kind = NodeKind::Review(ReviewNode::default());
        self.node(title, kind, vec![value], vec![picked])
    }

    pub fn condition(&mut self, title: &str) -> NodeId {
        let value = self.port("value", DataType::Any, PortBinding::Value);
        let when_true = self.port("true", DataType::Any, PortBinding::WhenTrue);
        let when_false = self.port("false", DataType::Any, PortBinding::WhenFalse);
        let kind = NodeKind::Condition(ConditionNode {
            expression: "true".to_owned(),
        });
        self.node(title, kind, vec![value], vec![when_true, when_false])
    }

    pub fn merge(&mut self, title: &str, closes: MergeScope) -> NodeId {
        self.merge_with(title, MergeMode::All, closes, MergeFailurePolicy::Ignore)
    }

    pub fn merge_with(
        &mut self,
        title: &str,
        mode: MergeMode,
        closes: MergeScope,
        on_failed: MergeFailurePolicy,
    ) -> NodeId {
        let values = self.port("values", DataType::Any, PortBinding::Value);
        let list = self.port("list", DataType::Any, PortBinding::List);
        let sheet = self.port("sheet", DataType::Image, PortBinding::ContactSheet);
        let kind = NodeKind::Merge(MergeNode {
            mode,
            closes,
            on_failed,
            contact_sheet: ContactSheet::default(),
        });
        self.node(title, kind, vec![values], vec![list, sheet])
    }

    pub fn output(&mut self, title: &str) -> NodeId {
        let value = self.port("value", DataType::Any, PortBinding::Value);
        self.node(
            title,
            NodeKind::Output(OutputNode::default()),
            vec![value],
            vec![],
        )
    }

    /// `"W.image -> O.value"` by node id and port name.
    pub fn link(&mut self, from: NodeId, from_port: &str, to: NodeId, to_port: &str) {
        let id = LinkId::from_uuid(self.uuid());
        let port_of = |ports: &[Port], name: &str| {
            ports
                .iter()
                .find(|port| port.name == name)
                .map(|port| port.id)
        };
        let from_id = port_of(&self.project.nodes[&from].outputs, from_port)
            .unwrap_or_else(|| panic!("no output {from_port}"));
        let to_id = port_of(&self.project.nodes[&to].inputs, to_port)
            .unwrap_or_else(|| panic!("no input {to_port}"));
        self.project.links.insert(Link {
            id,
            from: PortRef {
                node: from,
                port: from_id,
            },
            to: PortRef {
                node: to,
                port: to_id,
            },
        });
    }

    pub fn edit(&mut self, node: NodeId) -> &mut Node {
        self.project.nodes.get_mut(&node).unwrap()
    }

    pub fn edit_workflow(&mut self, node: NodeId) -> &mut WorkflowNode {
        match &mut self.edit(node).kind {
            NodeKind::Workflow(workflow) => workflow,
            _ => panic!("not a Workflow node"),
        }
    }

    pub fn compile(&self) -> Result<Plan, Vec<PlanProblem>> {
        Plan::compile(Arc::new(self.project.clone()))
    }
}

fn address(node_id: &str, class_type: &str) -> NodeAddress {
    NodeAddress {
        node_id: node_id.to_owned(),
        class_type: class_type.to_owned(),
        title: String::new(),
    }
}

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

/// What is known of an item from the log alone.
#[derive(Clone, Debug)]
pub struct Seen {
    pub node_id: NodeId,
    pub path: IndexPath,
    pub state: ItemState,
    pub live: Option<AttemptId>,
    pub attempts: u32,
    pub outputs: BTreeMap<PortId, Value>,
    pub labels: BTreeMap<String, String>,
    pub reason: String,
    pub notices: Vec<String>,
}

/// Decides a Condition from its title and the item's labels.
pub type Decide = fn(&str, &BTreeMap<String, String>) -> bool;

/// Plays the executor.
pub struct World {
    pub machine: Machine,
    pub project: Arc<Project>,
    pub plan: Arc<Plan>,
    pub run_id: RunId,
    pub now_ms: u64,
    pub log: Vec<RunEvent>,
    /// Prompts that lie at backends.
    pub submitted: VecDeque<Submission>,
    pub locals: VecDeque<LocalWork>,
    pub cancels: Vec<AttemptId>,
    pub reconciles: Vec<Submission>,
    /// Questions to the cache.
    pub look_ups: Vec<CacheQuestion>,
    pub wakes: BTreeSet<u64>,
    pub seen: HashMap<ItemId, Seen>,
    /// What Output items wrote last.
    pub written: BTreeMap<(NodeId, IndexPath), String>,
    pub run_state: RunState,
    /// Titles and paths (`W1 F:1`) whose attempts fail, with the class and how often.
    pub fails: BTreeMap<String, (FailureClass, u32)>,
    /// Pictures per item, by title; 1 where not named.
    pub batch: BTreeMap<String, usize>,
    pub decide: Decide,
    /// How many files fit a pattern; none where not named.
    pub files_found: BTreeMap<String, usize>,
    item_of: HashMap<AttemptId, ItemId>,
    backends: u128,
}

impl World {
    pub fn new(graph: &Graph) -> Self {
        Self::with_backends(graph, 1)
    }

    pub fn with_backends(graph: &Graph, backends: u128) -> Self {
        let plan = Arc::new(graph.compile().unwrap());
        let mut world = Self {
            machine: Machine::new(),
            project: plan.project.clone(),
            plan,
            run_id: RunId::from_uuid(Uuid::from_u128(7)),
            now_ms: 1_000_000,
            log: Vec::new(),
            submitted: VecDeque::new(),
            locals: VecDeque::new(),
            cancels: Vec::new(),
            reconciles: Vec::new(),
            look_ups: Vec::new(),
            wakes: BTreeSet::new(),
            seen: HashMap::new(),
            written: BTreeMap::new(),
            run_state: RunState::Running,
            fails: BTreeMap::new(),
            batch: BTreeMap::new(),
            decide: |_, _| true,
            files_found: BTreeMap::new(),
            item_of: HashMap::new(),
            backends,
        };
        for number in 0..backends {
            world.step(Input::Backend(online(number)));
        }
        world
    }

    /// Our process ends and another one takes over from the log; the servers still have what was sent.
    pub fn restart(&mut self) {
        self.machine = Machine::new();
        for number in 0..self.backends {
            let facts = Input::Backend(online(number));
            self.machine.step(self.now_ms, facts);
        }
        self.locals.clear();
        self.cancels.clear();
        self.wakes.clear();
        self.submitted.clear();
        let (run_id, plan) = (self.run_id, self.plan.clone());
        self.machine.restore(run_id, plan, self.log.clone());
        for effect in self.machine.take_up_run(self.now_ms, run_id) {
            self.perform(effect);
        }
        self.submitted.extend(self.reconciles.drain(..));
        self.check_against_machine();
    }

    pub fn start(&mut self) {
        let (run_id, plan) = (self.run_id, self.plan.clone());
        self.step(Input::Start { run_id, plan });
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
            Effect::Record(event) => self.record(event),
            Effect::Submit(submission) => {
                let seen = &self.seen[&submission.item_id];
                assert_eq!(
                    seen.live,
                    Some(submission.attempt_id),
                    "submitted before it was recorded"
                );
                let there = self
                    .submitted
                    .iter()
                    .filter(|other| other.backend_id == submission.backend_id)
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
                assert_eq!(self.seen[&work.item_id].state, ItemState::Running);
                self.locals.push_back(work);
                assert!(self.locals.len() <= 4, "too many local tasks at once");
            }
            Effect::FreeMemory { .. } => {}
            Effect::WakeAt { at_ms } => {
                self.wakes.insert(at_ms);
            }
        }
    }

    fn record(&mut self, event: RunEvent) {
        assert_eq!(event.seq, self.log.len() as u64, "the log has a gap");
        if std::env::var_os("SIMULATION_TRACE").is_some() {
            println!("{} {:?}", event.seq, event.body);
        }
        self.take_in(&event.body);
        self.log.push(event);
    }

    /// Takes in a log that was written before.
    pub fn take_in_log(&mut self, log: Vec<RunEvent>) {
        for event in log {
            self.record(event);
        }
    }

    fn take_in(&mut self, body: &RunEventBody) {
        match body {
            RunEventBody::RunStateChanged { state } => {
                self.run_state = *state;
                if state.is_ended() {
                    for (item_id, seen) in &self.seen {
                        assert!(seen.state.is_ended(), "{item_id} has not ended: {seen:?}");
                        assert_eq!(seen.live, None);
                    }
                }
            }
            RunEventBody::ItemCreated {
                item_id,
                node_id,
                path,
                labels,
            } => {
                let seen = Seen {
                    node_id: *node_id,
                    path: path.clone(),
                    state: ItemState::Ready,
                    live: None,
                    attempts: 0,
                    outputs: BTreeMap::new(),
                    labels: labels.clone(),
                    reason: String::new(),
                    notices: Vec::new(),
                };
                assert!(self.seen.insert(*item_id, seen).is_none(), "created twice");
            }
            RunEventBody::ItemStateChanged {
                item_id,
                state,
                reason,
                ..
            } => {
                let seen = self.seen.get_mut(item_id).unwrap();
                assert!(!matches!(state, ItemState::Done | ItemState::Failed));
                // A wish to cancel an item that waits is told as a reason.
                let is_wish = *state == ItemState::Waiting && reason.is_some();
                assert!(seen.state != *state || is_wish, "{seen:?} again");
                if matches!(
                    state,
                    ItemState::Skipped | ItemState::Blocked | ItemState::Cancelled
                ) {
                    assert!(reason.as_ref().is_some_and(|reason| !reason.is_empty()));
                }
                seen.state = *state;
                seen.reason = reason.clone().unwrap_or_default();
            }
            RunEventBody::AttemptPlaced {
                attempt_id,
                item_id,
                number,
                backend_id,
                decision,
            } => {
                let seen = self.seen.get_mut(item_id).unwrap();
                assert_eq!(seen.live, None, "two live attempts of one item");
                assert_eq!(seen.state, ItemState::Ready);
                assert_eq!(*number, seen.attempts + 1);
                assert_eq!(decision.candidates[0].backend_id, *backend_id);
                seen.attempts = *number;
                seen.live = Some(*attempt_id);
                seen.state = ItemState::Submitted;
                self.item_of.insert(*attempt_id, *item_id);
            }
            RunEventBody::AttemptAccepted { attempt_id } => {
                assert!(self.live_item(*attempt_id).is_some());
            }
            RunEventBody::AttemptStarted { attempt_id } => {
                let item_id = self.live_item(*attempt_id).unwrap();
                self.seen.get_mut(&item_id).unwrap().state = ItemState::Running;
            }
            RunEventBody::AttemptFailed { attempt_id, .. }
            | RunEventBody::AttemptCancelled { attempt_id }
            | RunEventBody::AttemptWithdrawn { attempt_id } => {
                let item_id = self.live_item(*attempt_id).unwrap();
                self.seen.get_mut(&item_id).unwrap().live = None;
            }
            RunEventBody::ItemDone {
                item_id,
                attempt_id,
                outputs,
                notices,
                ..
            } => {
                let seen = self.seen.get_mut(item_id).unwrap();
                assert!(!seen.state.is_ended(), "ended twice: {seen:?}");
                assert_eq!(seen.live, *attempt_id);
                seen.live = None;
                seen.state = ItemState::Done;
                seen.outputs = outputs.clone();
                seen.notices.clone_from(notices);
            }
            RunEventBody::ItemFailed { item_id, failure } => {
                let seen = self.seen.get_mut(item_id).unwrap();
                assert!(!seen.state.is_ended(), "ended twice: {seen:?}");
                assert_eq!(seen.live, None);
                seen.state = ItemState::Failed;
                seen.reason.clone_from(&failure.message);
            }
            RunEventBody::ItemAsks { item_id, .. } => {
                let seen = self.seen.get_mut(item_id).unwrap();
                assert!(!seen.state.is_ended(), "asks although it ended: {seen:?}");
                assert_eq!(seen.live, None);
                seen.state = ItemState::Asking;
            }
            RunEventBody::RunCreated { .. }
            | RunEventBody::ItemAnswered { .. }
            | RunEventBody::ItemRated { .. }
            | RunEventBody::ItemEdited { .. }
            | RunEventBody::ItemPriorityChanged { .. }
            | RunEventBody::RunPriorityChanged { .. }
            | RunEventBody::NodePriorityChanged { .. }
            | RunEventBody::NodeCalledOff { .. }
            | RunEventBody::NodeTakenUp { .. }
            | RunEventBody::FilesWritten { .. } => {}
        }
    }

    fn live_item(&self, attempt_id: AttemptId) -> Option<ItemId> {
        let item_id = self.item_of.get(&attempt_id)?;
        (self.seen[item_id].live == Some(attempt_id)).then_some(*item_id)
    }

    /// `W1 F:1,G:0`.
    pub fn name(&self, node_id: NodeId, path: &IndexPath) -> String {
        let path: Vec<String> = path
            .0
            .iter()
            .map(|(fan_out, index)| format!("{}:{index}", self.project.nodes[fan_out].title))
            .collect();
        let title = &self.project.nodes[&node_id].title;
        format!("{title} {}", path.join(",")).trim_end().to_owned()
    }

    /// What an attempt of this submission gives.
    pub fn outcome(&mut self, submission: &Submission) -> Result<AttemptOutputs, Failure> {
        let node = self.project.nodes[&submission.node_id].clone();
        let name = self.name(node.id, &self.seen[&submission.item_id].path);
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
                let title = &self.project.nodes[&work.node_id].title;
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
                self.written
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
            outcome,
        });
        true
    }

    /// The first prompt for which `chosen` holds is executed.
    pub fn execute(&mut self, chosen: impl Fn(&str) -> bool) -> bool {
        let Some(position) = self.submitted.iter().position(|submission| {
            chosen(&self.name(submission.node_id, &self.seen[&submission.item_id].path))
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

    /// The log says what the machine thinks, and the fold says what the log says.
    pub fn check_against_machine(&self) {
        let view = RunView::of(&self.log);
        for (item_id, seen) in &self.seen {
            let state = self.machine.item_state(self.run_id, *item_id);
            let name = self.name(seen.node_id, &seen.path);
            assert_eq!(state, Some(seen.state), "{name}");
            assert_eq!(view.items[item_id].state, seen.state, "{name}");
        }
        assert_eq!(self.machine.item_count(self.run_id), self.seen.len());
        assert_eq!(view.counts.total() as usize, self.seen.len());
        if !self.log.is_empty() {
            assert_eq!(self.machine.run_state(self.run_id), Some(self.run_state));
            assert_eq!(view.state, Some(self.run_state));
        }
        for state in ItemState::ALL {
            let count = self
                .seen
                .values()
                .filter(|seen| seen.state == state)
                .count();
            assert_eq!(view.counts.get(state) as usize, count);
        }
    }

    /// The states of a node's items by path: `F:1,G:0` → state.
    pub fn states(&self, title: &str) -> BTreeMap<String, ItemState> {
        self.seen
            .values()
            .filter(|seen| self.project.nodes[&seen.node_id].title == title)
            .map(|seen| {
                let name = self.name(seen.node_id, &seen.path);
                (name[title.len()..].trim().to_owned(), seen.state)
            })
            .collect()
    }

    pub fn count(&self, title: &str, state: ItemState) -> usize {
        self.states(title)
            .values()
            .filter(|one| **one == state)
            .count()
    }

    pub fn item(&self, name: &str) -> &Seen {
        self.seen
            .values()
            .find(|seen| self.name(seen.node_id, &seen.path) == name)
            .unwrap_or_else(|| panic!("no item {name}"))
    }

    /// The elements of the list a Merge item gave, as `F:1,G:0` paths.
    pub fn list(&self, name: &str) -> Vec<String> {
        let seen = self.item(name);
        assert_eq!(seen.state, ItemState::Done, "{name}: {}", seen.reason);
        let Some(Value::List(list)) = seen.outputs.values().next() else {
            panic!("{name} gave no list: {:?}", seen.outputs);
        };
        list.iter()
            .map(|element| {
                let name = self.name(seen.node_id, &element.path);
                let title = &self.project.nodes[&seen.node_id].title;
                name[title.len()..].trim().to_owned()
            })
            .collect()
    }

    pub fn files(&self, title: &str) -> usize {
        self.written
            .keys()
            .filter(|(node_id, _)| self.project.nodes[node_id].title == title)
            .count()
    }
}
