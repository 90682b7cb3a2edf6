//! What waits for a person: the marks on it that were not sent yet, and what they make of it.

use super::bridge::RunViews;
use super::catalog::{WorkflowFacts, control_for, field_of};
use crate::artifacts::Artifact;
use crate::engine::fold::RunView;
use crate::engine::{
    Answer, ItemId, ItemState, Question, ReviewAnswer, ReviewVerdict, RunId, Value,
};
use crate::project::{
    InputValue, Literal, Node, NodeId, NodeKind, PortBinding, PortRef, Project, WorkflowNode,
};
use crate::workflow::{Control, ParameterAddress};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a person means to do with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It goes on.
    Pick,
    /// It does not.
    Reject,
}

/// Which item stands for what is to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The item of a Review that shows it.
    Review,
    /// The item itself, chosen by a person.
    Person,
}

/// An item that is to be made again, and the fields changed for that.
#[derive(Clone, Debug)]
pub struct Again {
    /// The item.
    pub item_id: ItemId,
    /// What the item is.
    pub asked_by: AskedBy,
    /// The Workflow node that made what it shows.
    pub maker: NodeId,
    /// New values of its fields.
    pub changed: Vec<(ParameterAddress, Literal)>,
    /// What its linked fields got, as far as that is known; none until it was looked for.
    pub given: Option<BTreeMap<ParameterAddress, Literal>>,
}

/// What a person did so far in the panel, before it is sent.
#[derive(Debug, Default)]
pub struct ReviewDesk {
    run: Option<RunId>,
    marks: BTreeMap<ItemId, Mark>,
    /// The item that was clicked last, and its mark before.
    clicked: Option<(ItemId, Option<Mark>)>,
    /// The item that keys are about.
    pub current: Option<ItemId>,
    /// Whether the current item fills the panel.
    pub is_close: bool,
    /// Whether the current item was chosen by a key, so that it is to be brought into sight.
    pub follows_keys: bool,
    /// Side of a picture in points.
    pub side: f32,
    /// Whether the answer to a question holds for all later ones of the run.
    pub for_whole_run: bool,
}

/// What one Review node asks.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The node; none when it was removed from the document since the run began.
    pub node: Option<&'a Node>,
    /// Its items, in the order of their labels.
    pub items: Vec<AskedItem<'a>>,
}

/// An item that waits.
#[derive(Clone, Copy, Debug)]
pub struct AskedItem<'a> {
    /// The item.
    pub item_id: ItemId,
    /// Its labels.
    pub label: &'a str,
    /// What it was rated.
    pub rating: Option<u8>,
    /// What is to be looked at; none in runs of older versions.
    pub shown: Option<&'a Value>,
}

impl AskedItem<'_> {
    /// The files it shows.
    #[must_use]
    pub fn artifacts(&self) -> Vec<Arc<Artifact>> {
        self.shown.map(Value::artifacts).unwrap_or_default()
    }

    /// The words it shows, when it is no file.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match self.shown? {
            Value::Literal(literal) => Some(literal.to_string()),
            _ => None,
        }
    }
}

impl Again {
    /// The question about an item, with nothing changed yet.
    #[must_use]
    pub fn new(item_id: ItemId, asked_by: AskedBy, maker: NodeId) -> Self {
        Self {
            item_id,
            asked_by,
            maker,
            changed: Vec::new(),
            given: None,
        }
    }

    /// What a field was changed to.
    #[must_use]
    pub fn value(&self, address: &ParameterAddress) -> Option<&Literal> {
        self.changed
            .iter()
            .find(|(known, _)| known == address)
            .map(|(_, value)| value)
    }

    /// Changes a field.
    pub fn set(&mut self, address: &ParameterAddress, value: Literal) {
        self.changed.retain(|(known, _)| known != address);
        self.changed.push((address.clone(), value));
    }
}

impl ReviewDesk {
    /// What is marked on an item.
    #[must_use]
    pub fn mark(&self, item_id: ItemId) -> Option<Mark> {
        self.marks.get(&item_id).copied()
    }

    /// Marks an item; the same mark again takes it away.
    pub fn toggle(&mut self, item_id: ItemId, mark: Mark) {
        if self.marks.insert(item_id, mark) == Some(mark) {
            self.marks.remove(&item_id);
        }
    }

    /// Picks an item by a click, or takes that away.
    pub fn click(&mut self, item_id: ItemId) {
        self.clicked = Some((item_id, self.mark(item_id)));
        self.toggle(item_id, Mark::Pick);
    }

    /// The click was the first half of a double click: the mark is as it was before.
    pub fn take_click_back(&mut self, item_id: ItemId) {
        if let Some((_, before)) = self.clicked.take_if(|(clicked, _)| *clicked == item_id) {
            self.mark_all([item_id], before);
        }
    }

    /// Marks these.
    pub fn mark_all(&mut self, items: impl IntoIterator<Item = ItemId>, mark: Option<Mark>) {
        for item_id in items {
            match mark {
                Some(mark) => self.marks.insert(item_id, mark),
                None => self.marks.remove(&item_id),
            };
        }
    }

    /// How many items are marked so.
    #[must_use]
    pub fn count(&self, mark: Mark) -> usize {
        self.marks.values().filter(|one| **one == mark).count()
    }

    /// The marks as answers; they are given away.
    pub fn take_answers(&mut self) -> Vec<ReviewAnswer> {
        std::mem::take(&mut self.marks)
            .into_iter()
            .map(|(item_id, mark)| ReviewAnswer {
                item_id,
                verdict: match mark {
                    Mark::Pick => ReviewVerdict::Pick,
                    Mark::Reject => ReviewVerdict::Reject,
                },
            })
            .collect()
    }

    /// Forgets what does not wait any more: answered elsewhere, or of another run.
    pub fn follow(&mut self, runs: &RunViews) {
        if self.run != runs.shown {
            let side = self.side;
            *self = Self {
                run: runs.shown,
                side,
                ..Self::default()
            };
        }
        let waits = |item_id: &ItemId| {
            runs.shown_view().is_some_and(|view| {
                view.items
                    .get(item_id)
                    .is_some_and(|item| item.state == ItemState::Parked)
            })
        };
        self.marks.retain(|item_id, _| waits(item_id));
        if self.current.is_some_and(|item_id| !waits(&item_id)) {
            self.current = None;
            self.is_close = false;
        }
    }
}

/// What is asked of items that have no place left; equal questions of one node together.
#[derive(Debug)]
pub struct AskedQuestion<'a> {
    /// The node; none when it was removed from the document since the run began.
    pub node: Option<&'a Node>,
    /// The question.
    pub question: &'a Question,
    /// Its items with their labels, in the order of these.
    pub items: Vec<(ItemId, &'a str)>,
}

fn answers(question: &Question) -> impl Iterator<Item = Answer> {
    question
        .alternatives
        .iter()
        .map(|alternative| alternative.answer)
}

/// The questions of a run.
#[must_use]
pub fn questions<'a>(view: &'a RunView, project: &'a Project) -> Vec<AskedQuestion<'a>> {
    let mut found: Vec<(NodeId, AskedQuestion<'a>)> = Vec::new();
    for (item_id, question) in &view.questions {
        let Some(item) = view.items.get(item_id) else {
            continue;
        };
        let is_same = |other: &AskedQuestion<'a>| {
            other.question.cause == question.cause
                && other.question.failure.message == question.failure.message
                && answers(other.question).eq(answers(question))
        };
        let entry = (*item_id, &*item.label);
        match found
            .iter_mut()
            .find(|(node_id, other)| *node_id == item.node_id && is_same(other))
        {
            Some((_, asked)) => asked.items.push(entry),
            None => found.push((
                item.node_id,
                AskedQuestion {
                    node: project.nodes.get(&item.node_id),
                    question,
                    items: vec![entry],
                },
            )),
        }
    }
    let mut found: Vec<AskedQuestion<'a>> = found.into_iter().map(|(_, asked)| asked).collect();
    for asked in &mut found {
        asked
            .items
            .sort_by(|one, other| super::summary::natural_order(one.1, other.1));
    }
    found
}

/// Everything that waits in a run, by Review node from left to right.
#[must_use]
pub fn asked<'a>(view: &'a RunView, project: &'a Project) -> Vec<Asked<'a>> {
    let mut by_node: BTreeMap<NodeId, Vec<AskedItem<'a>>> = BTreeMap::new();
    let parked = |node_id: &NodeId| {
        view.nodes
            .get(node_id)
            .is_some_and(|node| node.counts.get(ItemState::Parked) > 0)
    };
    if !view.nodes.keys().any(parked) {
        return Vec::new();
    }
    for (item_id, item) in &view.items {
        if item.state == ItemState::Parked {
            by_node.entry(item.node_id).or_default().push(AskedItem {
                item_id: *item_id,
                label: &item.label,
                rating: item.rating,
                shown: view.shown.get(item_id),
            });
        }
    }
    let mut asked: Vec<Asked<'a>> = by_node
        .into_iter()
        .map(|(node_id, mut items)| {
            items.sort_by(|one, other| {
                super::summary::natural_order(one.label, other.label)
                    .then_with(|| one.item_id.cmp(&other.item_id))
            });
            Asked {
                node: project.nodes.get(&node_id),
                items,
            }
        })
        .collect();
    let left = |asked: &Asked<'_>| asked.node.map_or(f32::MAX, |node| node.pos_world[0]);
    asked.sort_by(|one, other| left(one).total_cmp(&left(other)));
    asked
}

/// What the linked fields of a node got in the item with this label: values of fan-outs and inputs that are linked to it
/// directly. What other nodes make is not known here.
#[must_use]
pub fn given_values(
    project: &Project,
    node: &Node,
    label: &str,
) -> BTreeMap<ParameterAddress, Literal> {
    let value_into = |port: PortRef| {
        let from = project.links.into_port(port).next()?.from;
        let source = project.nodes.get(&from.node)?;
        match (&source.kind, &source.output(from.port)?.binding) {
            (NodeKind::FanOut(fan_out), PortBinding::Axis(axis)) => {
                fan_out.source.value_in_label(axis, label)
            }
            (NodeKind::Input(input), _) => match &input.value {
                InputValue::Literal(literal) => Some(literal.clone()),
                InputValue::File(_) => None,
            },
            _ => None,
        }
    };
    let fields = node.inputs.iter().filter_map(|port| {
        let PortBinding::Parameter(address) = &port.binding else {
            return None;
        };
        let value = value_into(PortRef {
            node: node.id,
            port: port.id,
        })?;
        Some((address.clone(), value))
    });
    fields.collect()
}

/// A field that can be changed when an item is made again.
#[derive(Debug)]
pub struct ChangeableField<'a> {
    /// Where it is.
    pub address: &'a ParameterAddress,
    /// What a person calls it.
    pub label: &'a str,
    /// How it is edited.
    pub control: Control,
    /// Its value where nothing is linked.
    pub value: Literal,
    /// Whether its value came from another node.
    pub is_linked: bool,
}

impl ChangeableField<'_> {
    /// Shows what it got from another node, where that is of its kind. Gives whether it is.
    pub fn take_given(&mut self, given: Option<&Literal>) -> bool {
        let value = match (&self.value, given) {
            (Literal::Number(_), Some(Literal::Integer(whole))) => {
                Literal::Number(whole.get() as f64)
            }
            (own, Some(given)) if own.data_type() == given.data_type() => given.clone(),
            _ => return false,
        };
        self.value = value;
        true
    }
}

/// Fields of a node that can be changed: its parameters, and those that became inputs.
#[must_use]
pub fn changeable_fields<'a>(
    node: &'a Node,
    settings: &'a WorkflowNode,
    facts: &WorkflowFacts,
) -> Vec<ChangeableField<'a>> {
    let exposed = settings.parameters.iter().map(|parameter| {
        (
            &parameter.address,
            parameter.label.as_str(),
            parameter.value.clone(),
        )
    });
    let ports = node.inputs.iter().filter_map(|port| match &port.binding {
        PortBinding::Parameter(address) => Some((address, port.name.as_str(), None)),
        _ => None,
    });
    let mut fields: Vec<ChangeableField<'a>> = Vec::new();
    for (address, label, own_value) in exposed.chain(ports) {
        let field = field_of(facts, address);
        let is_known = fields.iter().any(|known| known.address == address);
        let Some(value) = own_value.or_else(|| field.map(|field| Literal::from_json(&field.value)))
        else {
            continue;
        };
        let control = field.map_or_else(|| control_for(&value), |field| field.control.clone());
        // A file comes with what made it; another one is another item.
        if is_known || matches!(control, Control::File { .. }) {
            continue;
        }
        fields.push(ChangeableField {
            address,
            label,
            control,
            value,
            is_linked: super::exposure::port_of(node, address).is_some(),
        });
    }
    fields
}
