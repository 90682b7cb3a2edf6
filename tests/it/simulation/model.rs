//! The sequential model: node after node and with nested loops only, it says which items there are and what they give.

use super::fate;
use super::life::Story;
use crate::engine_driver::{Seen, Watched, made, picture, text_of};
use comfyui_orchestrator::engine::{IndexPath, ItemState, ListElement, Value};
use comfyui_orchestrator::project::{
    BatchMode, FanOutSource, Literal, MergeFailurePolicy, MergeMode, MergeNode, MergeRest,
    MergeScope, Node, NodeId, NodeKind, PortBinding, Project,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What an item gave, as far as the model can say.
#[derive(Clone, Debug, PartialEq)]
pub enum Made {
    /// Nothing that is looked at.
    Nothing,
    /// What an Output item wrote.
    Text(String),
    /// A list of this length, of values that depend on what was there first.
    Some(usize),
    /// It depends on what was there first.
    Anything,
}

/// What the model says of one item.
pub type Expected = BTreeMap<String, (ItemState, Made)>;

/// Path in the model: fan-out → index, or nothing where the fan-out could not open.
type ModelPath = BTreeMap<NodeId, Option<u32>>;

#[derive(Clone, Debug)]
enum Cell {
    /// A value, and whether it depends on what was there first.
    Value(Value, bool),
    Skipped,
    Blocked,
}

impl Cell {
    fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value, _) => Some(value),
            _ => None,
        }
    }

    fn is_vague(&self) -> bool {
        matches!(self, Self::Value(_, true))
    }
}

/// Computes which items there are and what they give.
pub struct Model<'a> {
    project: &'a Project,
    run: &'a Watched,
    story: &'a Story,
    /// What a person chose for items: it is taken from the log.
    chosen: HashMap<String, &'a Seen>,
    /// What leaves each output.
    streams: BTreeMap<(NodeId, usize), Vec<(ModelPath, Cell)>>,
    /// Fan-outs open on what leaves each output.
    open: BTreeMap<(NodeId, usize), BTreeSet<NodeId>>,
    /// Fan-out → fan-outs that enclose it, and the paths it opens.
    enclosing: BTreeMap<NodeId, BTreeSet<NodeId>>,
    opened: BTreeMap<NodeId, Vec<ModelPath>>,
    expected: Expected,
    /// Which items there are depends on what was there first: nothing can be said.
    is_unclear: bool,
}

fn agrees(one: &ModelPath, other: &ModelPath) -> bool {
    one.iter()
        .all(|(fan_out, index)| other.get(fan_out).is_none_or(|known| known == index))
}

fn union(one: &ModelPath, other: &ModelPath) -> ModelPath {
    let mut all = one.clone();
    all.extend(other.iter().map(|(fan_out, index)| (*fan_out, *index)));
    all
}

fn public(path: &ModelPath) -> IndexPath {
    IndexPath(
        path.iter()
            .filter_map(|(fan_out, index)| index.map(|index| (*fan_out, index)))
            .collect(),
    )
}

impl<'a> Model<'a> {
    /// What must come out; none where that depends on the schedule. Items of nodes that only feed a Merge (first n, cancel
    /// the rest) are left out: which of them run depends on the schedule.
    pub fn of(run: &'a Watched, story: &'a Story) -> Option<Expected> {
        let project = &run.project;
        let mut model = Model {
            project,
            run,
            story,
            chosen: run
                .seen
                .values()
                .filter(|seen| seen.is_skipped_by_choice || !seen.made_with.is_empty())
                .map(|seen| (run.name(seen.node_id, &seen.path), seen))
                .collect(),
            streams: BTreeMap::new(),
            open: BTreeMap::new(),
            enclosing: BTreeMap::new(),
            opened: BTreeMap::new(),
            expected: BTreeMap::new(),
            is_unclear: false,
        };
        for node_id in run.plan.node_order() {
            let node = project.nodes[&node_id].clone();
            model.node(&node);
        }
        (!model.is_unclear).then_some(model.expected)
    }

    /// Links into a node in port and link order: (source, output number, input name).
    fn links(&self, node: &Node) -> Vec<(NodeId, usize, String)> {
        let mut links = Vec::new();
        for port in &node.inputs {
            for link in self.project.links.values() {
                if link.to.node == node.id && link.to.port == port.id {
                    let from = &self.project.nodes[&link.from.node];
                    let output = from
                        .outputs
                        .iter()
                        .position(|output| output.id == link.from.port)
                        .unwrap();
                    links.push((from.id, output, port.name.clone()));
                }
            }
        }
        links
    }

    fn node(&mut self, node: &Node) {
        let links = self.links(node);
        if let NodeKind::Merge(merge) = &node.kind
            && merge.mode != MergeMode::Either
        {
            self.merge_list(node, &links, merge);
            return;
        }
        // Natural join by nested loops.
        let mut items: Vec<(ModelPath, Vec<Cell>)> = vec![(ModelPath::new(), vec![])];
        let mut open = BTreeSet::new();
        for (from, output, _) in &links {
            open.extend(self.open[&(*from, *output)].iter().copied());
            let mut joined = Vec::new();
            for (path, cells) in &items {
                for (other, cell) in &self.streams[&(*from, *output)] {
                    if agrees(path, other) {
                        let mut cells = cells.clone();
                        cells.push(cell.clone());
                        joined.push((union(path, other), cells));
                    }
                }
            }
            items = joined;
        }
        let opens = matches!(node.kind, NodeKind::FanOut(_))
            || node.outputs.iter().any(|port| {
                matches!(
                    port.binding,
                    PortBinding::WorkflowOutput {
                        batch: BatchMode::Each,
                        ..
                    }
                )
            });
        if opens {
            self.enclosing.insert(node.id, open.clone());
            self.opened.insert(node.id, Vec::new());
        }
        let mut leaving: Vec<Vec<(ModelPath, Cell)>> = vec![Vec::new(); node.outputs.len()];
        for (path, cells) in items {
            self.item(node, &links, opens, &path, &cells, &mut leaving);
        }
        for (output, stream) in leaving.into_iter().enumerate() {
            let mut open = open.clone();
            if opens {
                open.insert(node.id);
            }
            self.open.insert((node.id, output), open);
            self.streams.insert((node.id, output), stream);
        }
    }

    /// What an item cannot do for want of values.
    fn absent(&mut self, node: &Node, name: &str, cells: &[Cell]) -> Option<ItemState> {
        let either =
            matches!(&node.kind, NodeKind::Merge(merge) if merge.mode == MergeMode::Either);
        let any_blocked = cells.iter().any(|cell| matches!(cell, Cell::Blocked));
        if either {
            return if cells.iter().any(|cell| cell.value().is_some()) {
                None
            } else if any_blocked {
                Some(ItemState::Blocked)
            } else {
                Some(ItemState::Skipped)
            };
        }
        let takes_no_empty = matches!(
            node.kind,
            NodeKind::Workflow(_) | NodeKind::Output(_) | NodeKind::Review(_)
        );
        let is_empty = |cell: &Cell| match cell {
            Cell::Value(value @ (Value::List(_) | Value::Batch(_)), _) => leaves(value).is_empty(),
            _ => false,
        };
        let has_empty = takes_no_empty && cells.iter().any(is_empty);
        if cells.iter().any(|cell| matches!(cell, Cell::Skipped)) || has_empty {
            Some(ItemState::Skipped)
        } else if any_blocked {
            Some(ItemState::Blocked)
        } else if self
            .chosen
            .get(name)
            .is_some_and(|seen| seen.is_skipped_by_choice)
        {
            Some(ItemState::Skipped)
        } else if matches!(node.kind, NodeKind::Workflow(_))
            && fate::is_refused(name, self.story.seed)
        {
            Some(ItemState::Failed)
        } else if matches!(node.kind, NodeKind::Review(_))
            && !fate::is_picked(name, self.story.seed)
        {
            Some(ItemState::Skipped)
        } else {
            None
        }
    }

    fn item(
        &mut self,
        node: &Node,
        links: &[(NodeId, usize, String)],
        opens: bool,
        path: &ModelPath,
        cells: &[Cell],
        leaving: &mut [Vec<(ModelPath, Cell)>],
    ) {
        let name = self.run.name(node.id, &public(path));
        let is_vague = cells.iter().any(Cell::is_vague);
        if let Some(state) = self.absent(node, &name, cells) {
            let hole = if state == ItemState::Skipped {
                Cell::Skipped
            } else {
                Cell::Blocked
            };
            self.expected.insert(name, (state, Made::Nothing));
            let mut at = path.clone();
            if opens {
                at.insert(node.id, None);
                self.opened.entry(node.id).or_default().push(at.clone());
            }
            for stream in leaving {
                stream.push((at.clone(), hole.clone()));
            }
            return;
        }
        let mut gave = Made::Nothing;
        let first = cells.first().and_then(Cell::value);
        match &node.kind {
            NodeKind::FanOut(settings) => {
                let is_split = matches!(settings.source, FanOutSource::Split { .. });
                self.is_unclear |= is_split && is_vague;
                let rows = self.fan_values(&settings.source, &name, first);
                for (index, row) in rows.into_iter().enumerate() {
                    let mut at = path.clone();
                    at.insert(node.id, Some(index as u32));
                    self.opened.entry(node.id).or_default().push(at.clone());
                    let through = first.cloned().unwrap_or(Value::Trigger);
                    for (output, value) in row.into_iter().chain([through]).enumerate() {
                        leaving[output].push((at.clone(), Cell::Value(value, is_vague)));
                    }
                }
            }
            NodeKind::Workflow(_) => {
                let mut fields: Vec<(String, String)> = links
                    .iter()
                    .zip(cells)
                    .filter_map(|((_, _, input), cell)| {
                        let leaf = leaves(cell.value()?).first()?.clone();
                        (leaf != Value::Trigger).then(|| (input.clone(), text_of(&leaf)))
                    })
                    .collect();
                if let Some(seen) = self.chosen.get(&name) {
                    fields.retain(|(field, _)| !seen.made_with.contains_key(field));
                    fields.extend(seen.made_with.clone());
                }
                fields.push(("of".to_owned(), self.story.tag.clone()));
                let values = made(node, &fields, fate::batch_of(&name, self.story.seed));
                if opens {
                    for (index, value) in values.into_iter().enumerate() {
                        let mut at = path.clone();
                        at.insert(node.id, Some(index as u32));
                        self.opened.entry(node.id).or_default().push(at.clone());
                        leaving[0].push((at, Cell::Value(value, is_vague)));
                    }
                } else {
                    let cell = match values.as_slice() {
                        [] => Cell::Skipped,
                        [single] => Cell::Value(single.clone(), is_vague),
                        several => Cell::Value(
                            Value::Batch(several.iter().flat_map(Value::artifacts).collect()),
                            is_vague,
                        ),
                    };
                    leaving[0].push((path.clone(), cell));
                }
            }
            NodeKind::Condition(_) => {
                let taken = usize::from(!fate::decides(&name, self.story.seed));
                leaving[taken].push((path.clone(), cells[0].clone()));
                leaving[1 - taken].push((path.clone(), Cell::Skipped));
            }
            NodeKind::Review(_) => leaving[0].push((path.clone(), cells[0].clone())),
            NodeKind::Merge(_) => {
                let cell = cells.iter().find(|cell| cell.value().is_some()).unwrap();
                leaving[0].push((path.clone(), cell.clone()));
                leaving[1].push((path.clone(), Cell::Skipped));
            }
            NodeKind::Input(_) => {
                let value = Value::Literal(Literal::Text("text".to_owned()));
                leaving[0].push((path.clone(), Cell::Value(value, false)));
            }
            NodeKind::Output(_) => {
                gave = match first {
                    Some(_) if is_vague => Made::Anything,
                    Some(value) => Made::Text(text_of(value)),
                    None => Made::Nothing,
                };
            }
        }
        self.expected.insert(name, (ItemState::Done, gave));
    }

    /// The values of a fan-out, index by index, axis by axis.
    fn fan_values(
        &self,
        source: &FanOutSource,
        name: &str,
        input: Option<&Value>,
    ) -> Vec<Vec<Value>> {
        let number = |value: u32| Value::Literal(Literal::Integer(value.into()));
        match source {
            FanOutSource::Range { count, .. } => {
                (0..*count).map(|index| vec![number(index)]).collect()
            }
            FanOutSource::Zip(axes) => (0..axes[0].values.len())
                .map(|index| {
                    axes.iter()
                        .map(|axis| Value::Literal(axis.values[index].clone()))
                        .collect()
                })
                .collect(),
            FanOutSource::Grid(axes) => axes[0]
                .values
                .iter()
                .flat_map(|outer| {
                    axes[1].values.iter().map(move |inner| {
                        vec![Value::Literal(outer.clone()), Value::Literal(inner.clone())]
                    })
                })
                .collect(),
            FanOutSource::Table(table) => table
                .rows
                .iter()
                .map(|row| {
                    row.iter()
                        .map(|cell| cell.parse().map_or(Value::Trigger, number))
                        .collect()
                })
                .collect(),
            FanOutSource::Files(_) => (0..fate::files_of(name, self.story.seed))
                .map(|place| vec![picture(&format!("{} {name} {place}", self.story.tag))])
                .collect(),
            FanOutSource::Split { .. } => input
                .map(leaves)
                .unwrap_or_default()
                .into_iter()
                .map(|leaf| vec![leaf])
                .collect(),
            other => panic!("the graphs have no {other:?}"),
        }
    }

    fn merge_list(&mut self, node: &Node, links: &[(NodeId, usize, String)], merge: &MergeNode) {
        let mut open: BTreeSet<NodeId> = BTreeSet::new();
        for (from, output, _) in links {
            open.extend(self.open[&(*from, *output)].iter().copied());
        }
        let closed: BTreeSet<NodeId> = match merge.closes {
            MergeScope::AllOpen => open.clone(),
            MergeScope::FanOut(named) => [named].into(),
            MergeScope::Innermost => open
                .iter()
                .copied()
                .filter(|one| !open.iter().any(|other| self.lies_inside(*other, *one)))
                .collect(),
        };
        let kept: BTreeSet<NodeId> = open.difference(&closed).copied().collect();
        // One item for each path over the remaining fan-outs, whatever arrived.
        let mut paths: Vec<ModelPath> = vec![ModelPath::new()];
        for fan_out in &kept {
            let mut joined = Vec::new();
            for path in &paths {
                for opened in &self.opened[fan_out] {
                    let opened: ModelPath = opened
                        .iter()
                        .filter(|(other, _)| kept.contains(other))
                        .map(|(other, index)| (*other, *index))
                        .collect();
                    if agrees(path, &opened) {
                        joined.push(union(path, &opened));
                    }
                }
            }
            joined.sort();
            joined.dedup();
            paths = joined;
        }
        let mut leaving: [Vec<(ModelPath, Cell)>; 2] = [Vec::new(), Vec::new()];
        for path in paths {
            let name = self.run.name(node.id, &public(&path));
            let (state, gave, cell) = self.merged(links, merge, &closed, &path);
            let sheet = match &cell {
                Cell::Value(list, _) if is_empty_list(list) => Cell::Skipped,
                Cell::Value(..) => Cell::Value(fate::sheet(&self.story.tag), false),
                other => other.clone(),
            };
            leaving[0].push((path.clone(), cell));
            leaving[1].push((path.clone(), sheet));
            self.expected.insert(name, (state, gave));
        }
        for (output, stream) in leaving.into_iter().enumerate() {
            self.open.insert((node.id, output), kept.clone());
            self.streams.insert((node.id, output), stream);
        }
    }

    fn merged(
        &mut self,
        links: &[(NodeId, usize, String)],
        merge: &MergeNode,
        closed: &BTreeSet<NodeId>,
        path: &ModelPath,
    ) -> (ItemState, Made, Cell) {
        let mut values: Vec<(Vec<Option<u32>>, usize, Value, bool)> = Vec::new();
        let mut bad = 0;
        for (position, (from, output, _)) in links.iter().enumerate() {
            for (at, cell) in &self.streams[&(*from, *output)] {
                if !agrees(at, path) {
                    continue;
                }
                match cell {
                    Cell::Value(value, is_vague) => {
                        // The graphs make fan-outs in the order of their ids.
                        let place = closed
                            .iter()
                            .map(|fan_out| at.get(fan_out).copied().flatten())
                            .collect();
                        values.push((place, position, value.clone(), *is_vague));
                    }
                    Cell::Blocked => bad += 1,
                    Cell::Skipped => {}
                }
            }
        }
        values.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        let wanted = match merge.mode {
            MergeMode::First { count, .. } => count as usize,
            _ => usize::MAX,
        };
        let has_enough = values.len() >= wanted;
        if merge.on_failed == MergeFailurePolicy::RequireAll && bad > 0 && !has_enough {
            return (ItemState::Blocked, Made::Nothing, Cell::Blocked);
        }
        if bad > 0 && values.is_empty() {
            return (ItemState::Failed, Made::Nothing, Cell::Blocked);
        }
        let mut is_vague = values.iter().any(|(.., is_vague)| *is_vague);
        if values.len() > wanted {
            is_vague = true;
        }
        // Whether anything is in a vague list can depend on what was there first.
        self.is_unclear |= is_vague
            && values
                .iter()
                .any(|(_, _, value, _)| !matches!(value, Value::Artifact(_) | Value::Literal(_)));
        values.truncate(wanted);
        if let MergeMode::Best { keep, .. } = merge.mode
            && values.len() > keep as usize
        {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by_key(|place| std::cmp::Reverse(text_of(&values[*place].2)));
            order.truncate(keep as usize);
            order.sort_unstable();
            values = order.iter().map(|place| values[*place].clone()).collect();
        }
        let gave = if is_vague {
            Made::Some(values.len())
        } else {
            Made::Nothing
        };
        let list = values
            .into_iter()
            .map(|(_, _, value, _)| ListElement {
                value,
                path: IndexPath::default(),
                labels: BTreeMap::new(),
            })
            .collect();
        (
            ItemState::Done,
            gave,
            Cell::Value(Value::List(list), is_vague),
        )
    }

    /// Whether one fan-out lies inside another, also through others.
    fn lies_inside(&self, one: NodeId, other: NodeId) -> bool {
        self.enclosing[&one]
            .iter()
            .any(|outer| *outer == other || self.lies_inside(*outer, other))
    }
}

/// Nodes whose items a Merge (first n, cancel the rest) may let go.
pub fn servants(project: &Project, order: &[NodeId]) -> BTreeSet<NodeId> {
    let dependents = |node_id: NodeId| -> BTreeSet<NodeId> {
        project
            .links
            .out_of_node(node_id)
            .map(|link| link.to.node)
            .collect()
    };
    let mut all = BTreeSet::new();
    for merge in order {
        let NodeKind::Merge(settings) = &project.nodes[merge].kind else {
            continue;
        };
        if !matches!(
            settings.mode,
            MergeMode::First {
                rest: MergeRest::Cancel,
                ..
            }
        ) {
            continue;
        }
        let mut own = BTreeSet::from([*merge]);
        for node_id in order.iter().rev() {
            let takers = dependents(*node_id);
            if !takers.is_empty() && takers.is_subset(&own) {
                own.insert(*node_id);
            }
        }
        own.remove(merge);
        all.extend(own);
    }
    all
}

fn is_empty_list(value: &Value) -> bool {
    matches!(value, Value::List(list) if list.is_empty())
}

fn leaves(value: &Value) -> Vec<Value> {
    match value {
        Value::Batch(batch) => batch.iter().cloned().map(Value::Artifact).collect(),
        Value::List(list) => list
            .iter()
            .flat_map(|element| leaves(&element.value))
            .collect(),
        single => vec![single.clone()],
    }
}
