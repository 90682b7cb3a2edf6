//! One run as its log tells it, and what must hold of it whatever happens.

use comfyui_orchestrator::engine::fold::RunView;
use comfyui_orchestrator::engine::machine::Machine;
use comfyui_orchestrator::engine::{
    Answer, AttemptId, IndexPath, ItemId, ItemState, Plan, Question, RunEvent, RunEventBody, RunId,
    RunState, Value,
};
use comfyui_orchestrator::project::{
    MergeMode, NodeId, NodeKind, PortBinding, PortId, PortRef, Project,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

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
    /// What is asked of it.
    pub question: Option<Question>,
    /// A person skipped it when it asked.
    pub is_skipped_by_choice: bool,
    /// Fields that a person changed.
    pub edits: BTreeMap<String, String>,
    /// Those of them that were set when it was last to be made.
    pub made_with: BTreeMap<String, String>,
    /// It was changed after it was made, and is to be made again.
    pub owes_edit: bool,
}

impl Seen {
    fn new(node_id: NodeId, path: IndexPath, labels: BTreeMap<String, String>) -> Self {
        Self {
            node_id,
            path,
            state: ItemState::Ready,
            live: None,
            attempts: 0,
            outputs: BTreeMap::new(),
            labels,
            reason: String::new(),
            notices: Vec::new(),
            question: None,
            is_skipped_by_choice: false,
            edits: BTreeMap::new(),
            made_with: BTreeMap::new(),
            owes_edit: false,
        }
    }

    fn enter(&mut self, state: ItemState) {
        self.state = state;
        if state != ItemState::Asking {
            self.question = None;
        }
        if state != ItemState::Skipped {
            self.is_skipped_by_choice = false;
        }
        if matches!(state, ItemState::Ready | ItemState::Waiting) {
            self.owes_edit = false;
            self.made_with.clone_from(&self.edits);
        }
    }

    fn edit(&mut self, field: &str, value: String) {
        self.edits.insert(field.to_owned(), value);
        if matches!(self.state, ItemState::Ready | ItemState::Waiting) {
            self.made_with.clone_from(&self.edits);
        } else {
            self.owes_edit = true;
        }
    }
}

/// One run.
pub struct Watched {
    pub project: Arc<Project>,
    pub plan: Arc<Plan>,
    pub run_id: RunId,
    pub log: Vec<RunEvent>,
    pub seen: HashMap<ItemId, Seen>,
    /// What Output items wrote last.
    pub written: BTreeMap<(NodeId, IndexPath), String>,
    pub run_state: RunState,
    item_of: HashMap<AttemptId, ItemId>,
}

impl Watched {
    pub fn new(run_id: RunId, plan: Arc<Plan>) -> Self {
        Self {
            project: plan.project.clone(),
            plan,
            run_id,
            log: Vec::new(),
            seen: HashMap::new(),
            written: BTreeMap::new(),
            run_state: RunState::Running,
            item_of: HashMap::new(),
        }
    }

    /// Takes in one event and checks that it may follow.
    pub fn record(&mut self, event: RunEvent) {
        assert_eq!(event.run_id, self.run_id);
        assert_eq!(event.seq, self.log.len() as u64, "the log has a gap");
        if std::env::var_os("SIMULATION_TRACE").is_some() {
            println!("{} {} {:?}", self.run_id, event.seq, event.body);
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
                if matches!(state, RunState::Cancelling | RunState::Stopping) {
                    // What was to be made again stays as it is.
                    for seen in self.seen.values_mut() {
                        seen.owes_edit = false;
                    }
                }
                if state.is_ended() {
                    for (item_id, seen) in &self.seen {
                        assert!(seen.state.is_ended(), "{item_id} has not ended: {seen:?}");
                        assert_eq!(seen.live, None);
                        assert!(!seen.owes_edit, "{item_id} was not made again: {seen:?}");
                    }
                }
            }
            RunEventBody::ItemCreated {
                item_id,
                node_id,
                path,
                labels,
            } => {
                let seen = Seen::new(*node_id, path.clone(), labels.clone());
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
                seen.enter(*state);
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
                seen.enter(ItemState::Submitted);
                self.item_of.insert(*attempt_id, *item_id);
            }
            RunEventBody::AttemptAccepted { attempt_id }
            | RunEventBody::AttemptCalledOff { attempt_id, .. } => {
                assert!(self.live_item(*attempt_id).is_some());
            }
            RunEventBody::AttemptStarted { attempt_id } => {
                let item_id = self.live_item(*attempt_id).unwrap();
                self.seen
                    .get_mut(&item_id)
                    .unwrap()
                    .enter(ItemState::Running);
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
                seen.enter(ItemState::Done);
                seen.outputs = outputs.clone();
                seen.notices.clone_from(notices);
            }
            RunEventBody::ItemFailed { item_id, failure } => {
                let seen = self.seen.get_mut(item_id).unwrap();
                assert!(!seen.state.is_ended(), "ended twice: {seen:?}");
                assert_eq!(seen.live, None);
                seen.enter(ItemState::Failed);
                seen.reason.clone_from(&failure.message);
            }
            RunEventBody::ItemAsks { item_id, question } => {
                let seen = self.seen.get_mut(item_id).unwrap();
                assert!(!seen.state.is_ended(), "asks although it ended: {seen:?}");
                assert_eq!(seen.live, None);
                seen.enter(ItemState::Asking);
                seen.question = Some(question.clone());
            }
            RunEventBody::ItemAnswered {
                item_id, answer, ..
            } => {
                let seen = self.seen.get_mut(item_id).unwrap();
                assert_eq!(seen.state, ItemState::Asking, "answered unasked: {seen:?}");
                seen.is_skipped_by_choice = *answer == Answer::Skip;
            }
            RunEventBody::ItemEdited { item_id, fields } => {
                let seen = self.seen.get_mut(item_id).unwrap();
                for (address, value) in fields {
                    seen.edit(&address.input, value.to_string());
                }
                // It is made again also where nothing was changed.
                seen.owes_edit |= seen.state.is_ended();
            }
            RunEventBody::RedoWithdrawn { item_id } => {
                self.seen.get_mut(item_id).unwrap().owes_edit = false;
            }
            RunEventBody::NodeCalledOff { node_id } => {
                let of_node = self.seen.values_mut();
                for seen in of_node.filter(|seen| seen.node_id == *node_id) {
                    seen.owes_edit = false;
                }
            }
            RunEventBody::RunCreated { .. }
            | RunEventBody::RedoWished { .. }
            | RunEventBody::AfterEndWished { .. }
            | RunEventBody::ItemRated { .. }
            | RunEventBody::ItemPriorityChanged { .. }
            | RunEventBody::RunPriorityChanged { .. }
            | RunEventBody::NodePriorityChanged { .. }
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

    /// The labels of what an item is given, from the log alone: those it was created with, but for values that a person had put
    /// in the place of a fan-out's when what it is made from was made. The nearest counts.
    pub fn true_labels(&self, item_id: &ItemId) -> BTreeMap<String, String> {
        let mut labels = self.seen[item_id].labels.clone();
        let mut changed: BTreeMap<String, String> = BTreeMap::new();
        let mut known = vec![&self.seen[item_id]];
        let mut at = 0;
        while let Some(seen) = known.get(at).copied() {
            at += 1;
            let node = &self.project.nodes[&seen.node_id];
            // Every element of a list has labels of its own.
            if matches!(&node.kind, NodeKind::Merge(merge) if merge.mode != MergeMode::Either) {
                continue;
            }
            for port in &node.inputs {
                for link in self.project.links.values() {
                    if (link.to.node, link.to.port) != (node.id, port.id) {
                        continue;
                    }
                    let from = &self.project.nodes[&link.from.node];
                    let output = from.output(link.from.port).unwrap();
                    if let (PortBinding::Axis(axis), PortBinding::Parameter(address)) =
                        (&output.binding, &port.binding)
                        && let Some(value) = seen.made_with.get(&address.input)
                    {
                        changed.entry(axis.clone()).or_insert(value.clone());
                    }
                    if let Some(giver) = self.giver(link.from, &seen.path)
                        && !known.iter().any(|one| std::ptr::eq(*one, giver))
                    {
                        known.push(giver);
                    }
                }
            }
        }
        for (axis, label) in &mut labels {
            if let Some(value) = changed.remove(axis) {
                *label = value;
            }
        }
        labels
    }

    /// The item whose value left an output for an item of this path; none where there is no value.
    fn giver(&self, from: PortRef, path: &IndexPath) -> Option<&Seen> {
        let node = &self.project.nodes[&from.node];
        let gives = |seen: &&Seen| {
            seen.node_id == from.node
                && seen.state == ItemState::Done
                && (matches!(node.kind, NodeKind::FanOut(_))
                    || seen.outputs.contains_key(&from.port))
                && seen
                    .path
                    .0
                    .iter()
                    .all(|(fan_out, index)| path.0.get(fan_out) == Some(index))
        };
        // A Merge of links that came through different fan-outs has items of several shapes; the nearest one gave it.
        let givers = self.seen.values().filter(gives);
        givers.max_by_key(|seen| seen.path.0.len())
    }

    /// The machine says what the log says, and so does the fold.
    pub fn check_against(&self, machine: &Machine) {
        let view = RunView::of(&self.log);
        for (item_id, seen) in &self.seen {
            let state = machine.item_state(self.run_id, *item_id);
            let name = self.name(seen.node_id, &seen.path);
            assert_eq!(state, Some(seen.state), "{name}");
            assert_eq!(view.items[item_id].state, seen.state, "{name}");
        }
        assert_eq!(machine.item_count(self.run_id), self.seen.len());
        assert_eq!(view.counts.total() as usize, self.seen.len());
        if !self.log.is_empty() {
            assert_eq!(machine.run_state(self.run_id), Some(self.run_state));
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
        for (item_id, seen) in &self.seen {
            let (asks, is_parked) = (
                seen.state == ItemState::Asking,
                seen.state == ItemState::Parked,
            );
            assert_eq!(view.questions.contains_key(item_id), asks);
            assert_eq!(view.shown.contains_key(item_id), is_parked);
        }
        let at_backends: u32 = view
            .nodes
            .values()
            .flat_map(|node| node.backends.values())
            .sum();
        let live = self.seen.values().filter(|seen| seen.live.is_some());
        assert_eq!(at_backends as usize, live.count());
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
