//! The editor's graphs as they are after loading: nodes with their slots from the spec and their widgets with values.

mod read;

use super::super::object_info::{NodeSpec, ObjectInfo};
use super::super::ui::UiWorkflow;
use super::group_nodes::{GroupType, GroupTypes};
use super::widgets::{Widget, choose_option, has_file_name};
use super::{ConvertError, MAX_PROMPT_BYTES, MAX_SUBGRAPH_DEPTH, match_types, weight};
use read::Known;
pub(super) use read::{class_name, id_text, slot_number};
use serde_json::Value;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::HashMap;

/// Id of the node that stands for a subgraph's inputs.
const SUBGRAPH_INPUTS: &str = "-10";

/// The root graph and every subgraph definition.
pub(super) struct Graphs<'a> {
    /// The root first.
    pub list: Vec<Graph<'a>>,
    /// What copying values around may still take, so that a long text in many places cannot fill the memory.
    bytes_left: Cell<usize>,
    /// For each graph: search names and titles → (graph, position), made when the first text asks.
    names: Vec<OnceCell<HashMap<String, (usize, usize)>>>,
}

/// One graph.
pub(super) struct Graph<'a> {
    pub name: &'a str,
    pub nodes: Vec<Node<'a>>,
    pub by_id: HashMap<Cow<'a, str>, usize>,
    pub links: HashMap<Cow<'a, str>, Link<'a>>,
    /// For subgraphs: the types of what enters it.
    pub input_types: Vec<Cow<'a, str>>,
    /// For subgraphs: what leaves it.
    pub outputs: Vec<GraphOutput<'a>>,
}

/// One output of a subgraph.
pub(super) struct GraphOutput<'a> {
    pub type_name: Cow<'a, str>,
    /// The links into it; the first that exists counts.
    pub links: Vec<Cow<'a, str>>,
}

/// One link. Slots are positions in the saved file.
pub(super) struct Link<'a> {
    pub origin: Origin<'a>,
    pub origin_slot: usize,
    pub target: Cow<'a, str>,
    /// As saved; which input has the link says more, since slots move when a class changes.
    pub target_slot: usize,
}

/// Where a link comes from.
pub(super) enum Origin<'a> {
    /// A node of the same graph.
    Node(Cow<'a, str>),
    /// The inputs of the subgraph.
    SubgraphInputs,
}

/// One node.
pub(super) struct Node<'a> {
    pub id: Cow<'a, str>,
    pub class_type: Cow<'a, str>,
    /// Empty when it is the class's own.
    pub title: &'a str,
    pub mode: Mode,
    pub kind: Kind<'a>,
    pub inputs: Vec<Input<'a>>,
    /// Types of the outputs.
    pub outputs: Vec<Cow<'a, str>>,
    pub widgets: Vec<Widget<'a>>,
    /// For group nodes: the nodes inside.
    pub inner: Vec<Node<'a>>,
    pub raw: &'a Value,
}

/// What takes part in a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Active,
    Muted,
    Bypassed,
}

/// What a node is to the conversion.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// A class of the backend.
    Class(&'a NodeSpec),
    /// An instance of the definition with this position.
    Subgraph(usize),
    /// A group node of that definition.
    Group(&'a GroupType<'a>),
    /// Hands its one input on.
    Reroute,
    /// Writes its value into the widgets it feeds.
    Primitive,
    /// Stands for the node that feeds the setter of the same name (a widespread custom pair of nodes).
    Getter,
    /// Exists in the editor only.
    Note,
    /// A class that the backend does not have.
    Unknown,
}

/// An input slot of a node.
pub(super) struct Input<'a> {
    pub name: Cow<'a, str>,
    pub type_name: Cow<'a, str>,
    pub link: Option<Cow<'a, str>>,
    /// Name of the widget it belongs to.
    pub widget: Option<Cow<'a, str>>,
}

impl<'a> Graph<'a> {
    pub fn node_index(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub fn link(&self, id: &str) -> Option<&Link<'a>> {
        self.links.get(id)
    }

    /// The link that feeds an output of this subgraph.
    pub fn output_link(&self, slot: usize) -> Option<&Link<'a>> {
        let output = self.outputs.get(slot)?;
        output.links.iter().find_map(|id| self.links.get(id))
    }
}

impl<'a> Graphs<'a> {
    pub fn read(
        workflow: &'a UiWorkflow,
        object_info: &'a ObjectInfo,
        groups: &'a GroupTypes<'a>,
    ) -> Result<Self, ConvertError> {
        let definitions = workflow.subgraphs();
        let mut by_id: HashMap<&str, usize> = HashMap::new();
        for (index, definition) in definitions.iter().enumerate() {
            if let Some(id) = definition.get("id").and_then(Value::as_str) {
                by_id.insert(id, index + 1);
            }
        }
        let known = Known {
            object_info,
            subgraphs: &by_id,
            groups: Some(groups),
        };
        let root = Graph::read(
            "",
            workflow.raw().get("nodes"),
            workflow.raw().get("links"),
            None,
            &known,
        );
        let mut graphs = vec![root];
        for definition in definitions {
            let name = definition
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            graphs.push(Graph::read(
                name,
                definition.get("nodes"),
                definition.get("links"),
                Some(definition),
                &known,
            ));
        }
        let mut graphs = Self {
            bytes_left: Cell::new(MAX_PROMPT_BYTES),
            names: graphs.iter().map(|_| OnceCell::new()).collect(),
            list: graphs,
        };
        graphs.refuse_cycles()?;
        // The editor configures definitions in the order of the file, and the root last.
        let count = graphs.list.len();
        for index in (1..count).chain([0]) {
            graphs.promote_widgets(index, definitions)?;
            if let Some(graph) = graphs.list.get_mut(index) {
                match_types::settle(graph);
            }
            if index > 0 {
                graphs.promote_late(index, definitions)?;
            }
        }
        graphs.apply_primitives()?;
        for node in graphs.list.iter_mut().flat_map(|graph| &mut graph.nodes) {
            if let Kind::Group(group) = node.kind {
                group.update_inside(node, &graphs.bytes_left)?;
            }
        }
        Ok(graphs)
    }

    /// The nodes of a graph in the order the editor looks through them: what is in a subgraph comes before the instance.
    fn collect(&self, graph: usize, seen: &mut [bool], order: &mut Vec<(usize, usize)>) {
        // A definition is looked through once: its second instance adds no name.
        match seen.get_mut(graph) {
            Some(seen) if !*seen => *seen = true,
            _ => return,
        }
        let nodes = self.graph(graph).map(|graph| graph.nodes.as_slice());
        for (position, node) in nodes.into_iter().flatten().enumerate() {
            if let Kind::Subgraph(inner) = node.kind {
                self.collect(inner, seen, order);
            }
            order.push((graph, position));
        }
    }

    pub fn graph(&self, index: usize) -> Option<&Graph<'a>> {
        self.list.get(index)
    }

    /// The node that a text means by `%NAME.…%` in a graph: the first there or in its subgraphs with that search name,
    /// else the first with that title.
    pub fn named(&self, scope: usize, name: &str) -> Option<&Node<'a>> {
        let names = self.names.get(scope)?.get_or_init(|| {
            let mut order = Vec::new();
            self.collect(scope, &mut vec![false; self.list.len()], &mut order);
            let nodes = || {
                order.iter().filter_map(|(at, position)| {
                    let node = self.list.get(*at)?.nodes.get(*position)?;
                    Some(((*at, *position), node))
                })
            };
            let mut names = HashMap::new();
            for (place, node) in nodes() {
                if let Some(name) = node.search_name() {
                    names.entry(name.to_owned()).or_insert(place);
                }
            }
            for (place, node) in nodes() {
                let title = match (node.title, node.kind) {
                    ("", Kind::Subgraph(inner)) => self.graph(inner).map_or("", |inner| inner.name),
                    ("", _) => node.default_title(),
                    (title, _) => title,
                };
                names.entry(title.to_owned()).or_insert(place);
            }
            names
        });
        let (at, position) = names.get(name)?;
        self.list.get(*at)?.nodes.get(*position)
    }

    /// Refuses subgraphs that contain themselves, or that are nested too deep.
    fn refuse_cycles(&self) -> Result<(), ConvertError> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            Unseen,
            Open,
            Done,
        }
        let mut states = vec![State::Unseen; self.list.len()];
        for start in 0..self.list.len() {
            // (graph, position of the next node to look at)
            let mut stack = vec![(start, 0_usize)];
            if states.get(start) != Some(&State::Unseen) {
                continue;
            }
            while let Some((index, at)) = stack.pop() {
                let Some(graph) = self.list.get(index) else {
                    continue;
                };
                if let Some(state) = states.get_mut(index) {
                    *state = State::Open;
                }
                let next = graph
                    .nodes
                    .iter()
                    .enumerate()
                    .skip(at)
                    .find_map(|(position, node)| match node.kind {
                        Kind::Subgraph(inner) => Some((position, inner)),
                        _ => None,
                    });
                let Some((position, inner)) = next else {
                    if let Some(state) = states.get_mut(index) {
                        *state = State::Done;
                    }
                    continue;
                };
                stack.push((index, position + 1));
                match states.get(inner) {
                    Some(State::Open) => {
                        return Err(ConvertError::CyclicSubgraph {
                            name: self
                                .list
                                .get(inner)
                                .map(|graph| graph.name.to_owned())
                                .unwrap_or_default(),
                        });
                    }
                    Some(State::Unseen) => stack.push((inner, 0)),
                    _ => {}
                }
                if stack.len() > MAX_SUBGRAPH_DEPTH {
                    return Err(ConvertError::TooDeep);
                }
            }
        }
        Ok(())
    }

    /// Lets every primitive write its value into the widgets it feeds.
    fn apply_primitives(&mut self) -> Result<(), ConvertError> {
        let mut writes = Vec::new();
        for (graph_index, graph) in self.list.iter().enumerate() {
            let primitives: HashMap<&str, Value> = graph
                .nodes
                .iter()
                .filter(|node| matches!(node.kind, Kind::Primitive))
                .filter_map(|node| {
                    Some((node.id.as_ref(), self.primitive_value(graph_index, node)?))
                })
                .collect();
            if primitives.is_empty() {
                continue;
            }
            for (node_index, node) in graph.nodes.iter().enumerate() {
                for input in &node.inputs {
                    let Some(widget) = &input.widget else {
                        continue;
                    };
                    let origin = input
                        .link
                        .as_ref()
                        .and_then(|link| graph.links.get(link))
                        .map(|link| &link.origin);
                    if let Some(Origin::Node(origin)) = origin
                        && let Some(value) = primitives.get(origin.as_ref())
                    {
                        self.spend(value)?;
                        writes.push((graph_index, node_index, widget.to_string(), value.clone()));
                    }
                }
            }
        }
        for (graph_index, node_index, widget, value) in writes {
            let node = self
                .list
                .get_mut(graph_index)
                .and_then(|graph| graph.nodes.get_mut(node_index));
            let Some(node) = node else { continue };
            let at = node
                .widgets
                .iter()
                .position(|each| each.name == widget.as_str());
            let Some(found) = at.and_then(|at| node.widgets.get_mut(at)) else {
                continue;
            };
            match node.kind {
                Kind::Class(spec) if found.is_dynamic_choice() => {
                    choose_option(spec, &widget, &value, &mut node.widgets);
                    drop_options(node, &widget);
                }
                _ => found.set_as_typed(value),
            }
        }
        Ok(())
    }

    /// Takes the memory of a copy of a value from what is left.
    pub fn spend(&self, value: &Value) -> Result<(), ConvertError> {
        self.spend_times(value, 1)
    }

    /// Takes the memory of so many copies of a value from what is left.
    pub fn spend_times(&self, value: &Value, count: usize) -> Result<(), ConvertError> {
        spend(&self.bytes_left, value, count)
    }

    fn primitive_value(&self, scope: usize, node: &Node<'a>) -> Option<Value> {
        let saved = node.raw.get("widgets_values")?;
        let value = saved
            .as_array()
            .map_or_else(|| saved.get("value"), |values| values.first())?;
        let replaces = node
            .raw
            .get("properties")
            .and_then(|properties| properties.get("Run widget replace on values"))
            .and_then(Value::as_bool);
        match (replaces, value.as_str()) {
            (Some(true), Some(text)) => Some(super::text::replace(text, self, scope).into()),
            _ => Some(value.clone()),
        }
    }
}

/// Takes the memory of so many copies of a value from what is left.
pub(super) fn spend(left: &Cell<usize>, value: &Value, count: usize) -> Result<(), ConvertError> {
    let weight = weight(value).saturating_mul(count);
    let before = left.get();
    left.set(before.saturating_sub(weight));
    if weight > before {
        return Err(ConvertError::TooLarge);
    }
    Ok(())
}

/// Takes out the inputs of a dynamic combo whose widgets are gone.
fn drop_options(node: &mut Node<'_>, combo: &str) {
    let widgets = &node.widgets;
    node.inputs.retain(|input| {
        let of_combo = input
            .name
            .strip_prefix(combo)
            .is_some_and(|rest| rest.starts_with('.'));
        let widget = input.widget.as_ref();
        !of_combo || widget.is_none_or(|name| widgets.iter().any(|each| each.name == *name))
    });
}

impl<'a> Node<'a> {
    /// The title a node of its class has by itself.
    pub fn default_title(&self) -> &str {
        match self.kind {
            Kind::Class(spec) => default_title(spec),
            _ => &self.class_type,
        }
    }

    /// The name it is searched by. The editor gives one to every node of a class but those that save files.
    fn search_name(&self) -> Option<&str> {
        match (self.property("Node name for S&R"), self.kind) {
            (Some(given), _) => given.as_str(),
            (None, Kind::Class(_) | Kind::Group(_)) if !has_file_name(&self.class_type) => {
                Some(&self.class_type)
            }
            _ => None,
        }
    }

    pub fn property(&self, name: &str) -> Option<&'a Value> {
        self.raw.get("properties")?.get(name)
    }
}

/// The title that a node of this class has in the editor when nobody named it.
pub(in super::super) fn default_title(spec: &NodeSpec) -> &str {
    match spec.class_type.as_str() {
        // Where the editor's English dictionary says something else than the backend.
        "ByteDanceSeedreamNode" => "ByteDance Seedream 4",
        "FluxKontextMultiReferenceLatentMethod" => "FluxKontextMultiReferenceLatentMethod",
        "Mahiro" => "Mahiro is so cute that she deserves a better guidance function!! (。・ω・。)",
        _ => &spec.display_name,
    }
}
