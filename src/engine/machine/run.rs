//! One run: its items, the values between them, and what is ready.

use super::CacheUse;
use super::flow::Weight;
use super::item::{Item, ItemIndex};
use super::path::Path;
use super::queues::{QueueKey, ReadyKey};
use super::token::{Content, Extent, Token, TokenIndex};
use crate::engine::event::{AfterEnd, ItemState, RunEventBody, RunState};
use crate::engine::id::{AttemptId, ItemId, RunId};
use crate::engine::plan::{NodeIndex, Plan};
use crate::engine::question::{Answer, Question};
use crate::engine::value::Value;
use crate::project::Literal;
use crate::workflow::ParameterAddress;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Fields of an item that a person changed, each with its value.
pub(super) type Edits = Vec<(ParameterAddress, Literal)>;

/// One run.
#[derive(Debug)]
#[allow(
    clippy::struct_field_names,
    reason = "ids are named in full everywhere"
)]
pub(super) struct Run {
    pub run_id: RunId,
    pub plan: Arc<Plan>,
    pub state: RunState,
    pub cache: CacheUse,
    /// Workflow items that are Ready but for a look into the cache: by priority, deepest node first, then index.
    pub look_ups: BTreeSet<QueueKey>,
    pub next_seq: u64,
    pub nodes: Vec<NodeState>,
    pub items: Vec<Item>,
    pub item_by_id: HashMap<ItemId, ItemIndex>,
    pub tokens: Vec<Token>,
    /// Per fan-out: path of its item → what it opened there.
    pub extents: Vec<HashMap<Path, Extent>>,
    /// Per fan-out: path of its item → what the labels of its values show, where that is not in the plan.
    pub shown: Vec<HashMap<Path, Arc<[Box<str>]>>>,
    /// Groups of Merges (first n, cancel the rest) that have what they need, by Merge and path.
    pub satisfied: HashSet<(NodeIndex, Path)>,
    /// Live attempts whose results nothing needs any more.
    pub needless_attempts: Vec<AttemptId>,
    /// Fields of Workflow items that a person changed: what they are made with from then on.
    pub edits: HashMap<ItemIndex, Edits>,
    /// The same of what Workflow items gave last: what it was made with. A change that is still to be made, or that was called
    /// off, is not among it.
    pub made_with: HashMap<ItemIndex, Edits>,
    /// Ratings of Review items, 0 to 5.
    pub ratings: HashMap<ItemIndex, u8>,
    /// What a person is asked of items that have no place left.
    pub questions: HashMap<ItemIndex, Question>,
    /// What a person answered for every question of the run.
    pub standing_answer: Option<Answer>,
    /// Items to be made again as soon as nothing made from them executes.
    pub redo_wishes: BTreeMap<ItemIndex, RedoWish>,
    /// Since it was last looked which of them can be, one was added or something stopped executing.
    pub may_redo: bool,
    /// Items of Merges that ended before all that belongs into their lists was there: a retry upstream made more of it. They
    /// are made again as soon as nothing made from them executes.
    pub stale_merges: BTreeSet<ItemIndex>,
    /// Higher goes first.
    pub priority: i32,
    /// Nodes that a person called off.
    pub called_off_nodes: BTreeSet<NodeIndex>,
    /// What items of a node begin with as their priority, where it is not 0.
    pub node_priorities: HashMap<NodeIndex, i32>,
    /// What is to be done before the step ends, in order.
    pub work: VecDeque<Work>,
    /// Nodes that may have become exhausted.
    pub candidates: BTreeSet<NodeIndex>,
    pub exhausted_nodes: usize,
    /// Token that is being made again → items that wait for it.
    pub waiting_on: HashMap<TokenIndex, Vec<ItemIndex>>,
    /// Nodes with Workflow items that are Ready.
    pub active_nodes: BTreeSet<NodeIndex>,
    /// Nodes of which it is to be checked whether any backend can run them at all.
    pub unchecked_nodes: BTreeSet<NodeIndex>,
    /// Items that are Ready for work on this machine: by priority, deepest node first, then index.
    pub local_ready: BTreeSet<QueueKey>,
    /// Events of the current step that are not yet handed out.
    pub outbox: Vec<RunEventBody>,
    /// While a log is replayed: the last state it tells of each item.
    pub logged: HashMap<ItemId, ItemState>,
    /// While a log is replayed: events that follow from it and were not met in it yet.
    pub unlogged: VecDeque<RunEventBody>,
    /// While a log is replayed: it tells of items that are reopened together; nothing follows from that before all are.
    pub is_reopening: bool,
    /// While a log is replayed: items that had ended before those were reopened although something they were to be made from was
    /// not there. They were cancelled while they waited.
    pub ended_before: BTreeSet<ItemIndex>,
    /// Items that count against the run: Failed, Blocked or Cancelled.
    pub bad_items: u32,
    /// Goal items that are Done.
    pub goals_done: u32,
    /// The run was called off and its attempts were not told yet.
    pub attempts_to_call_off: bool,
    /// What is to become of the run when it comes to its end.
    pub after_end: Option<AfterEnd>,
}

/// Why an item is to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedoWish {
    /// It failed or was cancelled, or is being cancelled. Not if it comes to be Done all the same.
    Retry,
    /// With other fields, whatever became of it.
    Again,
}

/// What happens at one node.
#[derive(Debug, Default)]
pub(super) struct NodeState {
    pub item_count: u32,
    pub unended: u32,
    /// Everything upstream and here has ended: no further item can come.
    pub is_exhausted: bool,
    pub joins: Vec<JoinState>,
    pub collectors: Vec<Option<CollectorState>>,
    /// Since when a Ready item of this node is passed over because its models are not loaded, Unix time in milliseconds.
    pub passed_over_ms: Option<u64>,
    /// Since when no backend that it may run on answers, Unix time in milliseconds; kept for nodes that ask.
    pub unanswered_ms: Option<u64>,
    /// Workflow items that are Ready, by priority, then index.
    pub ready: BTreeSet<ReadyKey>,
}

/// What one join stage has seen, by the shared part of the path.
#[derive(Debug, Default)]
pub(super) struct JoinState {
    pub left: HashMap<Path, Vec<Partial>>,
    pub right: HashMap<Path, Vec<TokenIndex>>,
}

/// Tokens of the first inputs that agree.
#[derive(Clone, Debug)]
pub(super) struct Partial {
    pub path: Path,
    pub tokens: Box<[TokenIndex]>,
}

/// What a Merge gathered from one link.
#[derive(Debug, Default)]
pub(super) struct CollectorState {
    pub groups: HashMap<Path, Group>,
    /// The source is exhausted and every group was handed on.
    pub is_closed: bool,
}

/// What belongs together in one merged list.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub members: Vec<TokenIndex>,
    /// Members that are there (a value, or a reason why there is none).
    pub settled: u32,
    /// Members that are values.
    pub values: u32,
    /// Merge (first n): the members that were there first, once there were enough.
    pub chosen: Option<Vec<TokenIndex>>,
    /// The group as one token, once it was complete.
    pub token: Option<TokenIndex>,
}

impl Group {
    /// Counts a member.
    pub fn add(&mut self, weight: Weight) {
        self.settled += u32::from(weight.is_counted);
        self.values += u32::from(weight.is_value);
    }

    /// No longer counts a member.
    pub fn remove(&mut self, weight: Weight) {
        self.settled = self.settled.saturating_sub(u32::from(weight.is_counted));
        self.values = self.values.saturating_sub(u32::from(weight.is_value));
    }
}

/// One thing to do before a step ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// A token came to an input.
    Arrive {
        node: NodeIndex,
        input: usize,
        token: TokenIndex,
    },
    /// All inputs of an item are there.
    Evaluate(ItemIndex),
}

impl Run {
    pub fn new(run_id: RunId, plan: Arc<Plan>, cache: CacheUse) -> Self {
        let nodes = plan
            .nodes
            .iter()
            .map(|node| NodeState {
                joins: node.stages.iter().map(|_| JoinState::default()).collect(),
                collectors: node
                    .inputs
                    .iter()
                    .map(|input| input.collector.as_ref().map(|_| CollectorState::default()))
                    .collect(),
                ..NodeState::default()
            })
            .collect();
        Self {
            run_id,
            state: RunState::Running,
            cache,
            look_ups: BTreeSet::new(),
            next_seq: 0,
            nodes,
            items: Vec::new(),
            item_by_id: HashMap::new(),
            tokens: Vec::new(),
            extents: plan.fan_outs.iter().map(|_| HashMap::new()).collect(),
            shown: plan.fan_outs.iter().map(|_| HashMap::new()).collect(),
            satisfied: HashSet::new(),
            needless_attempts: Vec::new(),
            edits: HashMap::new(),
            made_with: HashMap::new(),
            ratings: HashMap::new(),
            questions: HashMap::new(),
            standing_answer: None,
            redo_wishes: BTreeMap::new(),
            may_redo: false,
            stale_merges: BTreeSet::new(),
            priority: 0,
            called_off_nodes: BTreeSet::new(),
            node_priorities: HashMap::new(),
            work: VecDeque::new(),
            candidates: (0..plan.nodes.len()).collect(),
            exhausted_nodes: 0,
            waiting_on: HashMap::new(),
            active_nodes: BTreeSet::new(),
            unchecked_nodes: BTreeSet::new(),
            local_ready: BTreeSet::new(),
            outbox: Vec::new(),
            logged: HashMap::new(),
            unlogged: VecDeque::new(),
            is_reopening: false,
            ended_before: BTreeSet::new(),
            bad_items: 0,
            goals_done: 0,
            attempts_to_call_off: false,
            after_end: None,
            plan,
        }
    }

    /// Makes the items of nodes without inputs.
    pub fn begin(&mut self) {
        let plan = self.plan.clone();
        for (node, planned) in plan.nodes.iter().enumerate() {
            if planned.inputs.is_empty() {
                self.create_item(node, Path::default(), Box::default());
            }
        }
        self.drain_work();
    }

    pub fn emit(&mut self, body: RunEventBody) {
        self.outbox.push(body);
    }

    pub fn emit_state(&mut self, item: ItemIndex, reason: Option<&str>) {
        let item = &self.items[item as usize];
        let body = RunEventBody::ItemStateChanged {
            item_id: item.item_id,
            state: item.state,
            reason: reason.map(str::to_owned),
            shown: None,
        };
        self.emit(body);
    }

    pub fn set_run_state(&mut self, state: RunState) {
        if self.state != state {
            self.state = state;
            self.emit(RunEventBody::RunStateChanged { state });
        }
    }

    /// Whether nothing that has not started is to start any more.
    pub fn is_called_off(&self) -> bool {
        !matches!(self.state, RunState::Running | RunState::Paused)
    }

    /// Moves an item into a state and keeps the counts. Events are the caller's.
    pub fn set_item_state(&mut self, index: ItemIndex, state: ItemState) {
        let item = &mut self.items[index as usize];
        let before = std::mem::replace(&mut item.state, state);
        let node = item.node;
        if state != ItemState::Waiting {
            item.is_cancel_wished = false;
        }
        let is_redone = match state {
            ItemState::Ready | ItemState::Waiting => true,
            ItemState::Done => self.redo_wishes.get(&index) == Some(&RedoWish::Retry),
            _ => false,
        };
        if is_redone {
            self.redo_wishes.remove(&index);
        }
        self.may_redo |= before.is_executing() && !state.is_executing();
        if before == ItemState::Ready && state != ItemState::Ready {
            self.leave_queues(index);
        }
        if before == ItemState::Asking && state != ItemState::Asking {
            self.questions.remove(&index);
        }
        let is_goal = self.plan.nodes[node].is_goal;
        self.bad_items -= u32::from(is_bad(before));
        self.bad_items += u32::from(is_bad(state));
        self.goals_done -= u32::from(is_goal && before == ItemState::Done);
        self.goals_done += u32::from(is_goal && state == ItemState::Done);
        let node_state = &mut self.nodes[node];
        match (before.is_ended(), state.is_ended()) {
            (false, true) => {
                node_state.unended -= 1;
                if node_state.unended == 0 {
                    self.candidates.insert(node);
                }
            }
            (true, false) => {
                node_state.unended += 1;
                self.unexhaust(node);
            }
            _ => {}
        }
    }

    /// The node and everything after it can make items again.
    fn unexhaust(&mut self, node: NodeIndex) {
        let plan = self.plan.clone();
        let mut pending = vec![node];
        while let Some(node) = pending.pop() {
            if self.nodes[node].is_exhausted {
                self.nodes[node].is_exhausted = false;
                self.exhausted_nodes -= 1;
                for dependent in &plan.nodes[node].dependents {
                    for (input, collector) in plan.nodes[*dependent]
                        .inputs
                        .iter()
                        .zip(&mut self.nodes[*dependent].collectors)
                    {
                        if let Some(collector) = collector
                            && input.source == node
                        {
                            collector.is_closed = false;
                        }
                    }
                    pending.push(*dependent);
                }
            }
        }
    }

    /// The values that an input of an item stands for: the one that came to it, or those that a Merge gathered.
    pub fn taken_by(&self, index: ItemIndex, input: usize) -> &[TokenIndex] {
        let item = &self.items[index as usize];
        let group = self.nodes[item.node]
            .collectors
            .get(input)
            .and_then(|collector| collector.as_ref())
            .and_then(|collector| {
                let token = item.inputs.get(input)?;
                collector.groups.get(&self.tokens[*token as usize].path)
            });
        match group {
            Some(group) => group.chosen.as_ref().unwrap_or(&group.members),
            None => item.inputs.get(input..=input).unwrap_or_default(),
        }
    }

    /// The value on one input of an item, when there is one.
    pub fn input_value(&self, index: ItemIndex, input: usize) -> Option<&Value> {
        let token = *self.items[index as usize].inputs.get(input)?;
        match &self.tokens[token as usize].content {
            Content::Value(value) => Some(value),
            _ => None,
        }
    }

    pub fn is_exhausted(&self) -> bool {
        self.exhausted_nodes == self.nodes.len()
    }

    /// How a run ends of which every item has ended (run semantics, rule 11).
    pub fn end_state(&self) -> RunState {
        match self.state {
            RunState::Cancelling | RunState::Cancelled => RunState::Cancelled,
            RunState::Stopping => RunState::Failed,
            _ if self.bad_items == 0 => RunState::Completed,
            _ if self.goals_done > 0 => RunState::CompletedWithFailures,
            _ => RunState::Failed,
        }
    }
}

fn is_bad(state: ItemState) -> bool {
    matches!(
        state,
        ItemState::Failed | ItemState::Blocked | ItemState::Cancelled
    )
}
