//! The editor's graphs as they are after loading: nodes with their slots from the spec and their widgets with values.

use super::super::object_info::{Autogrow, InputKind, InputNeed, InputSpec, NodeSpec, ObjectInfo};
use super::super::ui::UiWorkflow;
use super::widgets::{Saved, Sending, Widget, is_widget_type, lay_out};
use super::{ConvertError, MAX_SUBGRAPH_DEPTH, match_types};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// Id of the node that stands for a subgraph's inputs.
const SUBGRAPH_INPUTS: &str = "-10";

/// The root graph and every subgraph definition.
pub(super) struct Graphs<'a> {
    /// The root first.
    graphs: Vec<Graph<'a>>,
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
        let mut graphs = Self { graphs };
        graphs.refuse_cycles()?;
        // The editor configures definitions in the order of the file, and the root last.
        let count = graphs.graphs.len();
        for index in (1..count).chain([0]) {
            graphs.promote_widgets(index, definitions);
            if let Some(graph) = graphs.graphs.get_mut(index) {
                match_types::settle(graph);
            }
            if index > 0 {
                graphs.promote_late(index, definitions);
            }
        }
        graphs.apply_primitives();
        Ok(graphs)
    }

    pub fn graph(&self, index: usize) -> Option<&Graph<'a>> {
        self.graphs.get(index)
    }

    /// Every node of every graph, the root's first.
    pub fn all_nodes(&self) -> impl Iterator<Item = &Node<'a>> {
        self.graphs.iter().flat_map(|graph| &graph.nodes)
    }

    /// Refuses subgraphs that contain themselves, or that are nested too deep.
    fn refuse_cycles(&self) -> Result<(), ConvertError> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            Unseen,
            Open,
            Done,
        }
        let mut states = vec![State::Unseen; self.graphs.len()];
        for start in 0..self.graphs.len() {
            // (graph, position of the next node to look at)
            let mut stack = vec![(start, 0_usize)];
            if states.get(start) != Some(&State::Unseen) {
                continue;
            }
            while let Some((index, at)) = stack.pop() {
                let Some(graph) = self.graphs.get(index) else {
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
                                .graphs
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

    /// Gives the subgraph instances of a graph their slots, and a widget for each input that ends at a widget inside.
    fn promote_widgets(&mut self, index: usize, definitions: &'a [Value]) {
        let Some(graph) = self.graphs.get(index) else {
            return;
        };
        let instances: Vec<(usize, usize)> = graph
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(position, node)| match node.kind {
                Kind::Subgraph(inner) => Some((position, inner)),
                _ => None,
            })
            .collect();
        for (position, inner_index) in instances {
            let Some(definition) = inner_index
                .checked_sub(1)
                .and_then(|at| definitions.get(at))
            else {
                continue;
            };
            let (Some(inner), Some(node)) = (
                self.graphs.get(inner_index),
                self.graphs
                    .get(index)
                    .and_then(|graph| graph.nodes.get(position)),
            ) else {
                continue;
            };
            // A definition further down the file has no nodes yet when this one is configured.
            let is_configured = index == 0 || inner_index < index;
            let (inputs, outputs, widgets) =
                instance_slots(definition, is_configured.then_some(inner), node);
            if let Some(node) = self
                .graphs
                .get_mut(index)
                .and_then(|graph| graph.nodes.get_mut(position))
            {
                node.inputs = inputs;
                node.outputs = outputs;
                node.widgets = widgets;
            }
        }
    }

    /// Once a definition is configured, instances of it in definitions further up the file get their widgets, but only
    /// those whose name is that of the widget inside, and with the values from inside.
    fn promote_late(&mut self, index: usize, definitions: &'a [Value]) {
        let Some(definition) = index.checked_sub(1).and_then(|at| definitions.get(at)) else {
            return;
        };
        let Some(inner) = self.graphs.get(index) else {
            return;
        };
        let mut promoted: Vec<Widget<'a>> = Vec::new();
        for slot in slots(definition, "inputs") {
            let found = (|| {
                let name = slot.get("name")?.as_str()?;
                let link = inner.link(id_text(slot.get("linkIds")?.get(0)?)?.as_ref())?;
                let node = inner.nodes.get(inner.node_index(&link.target)?)?;
                node.widgets.iter().find(|widget| widget.name == name)
            })();
            if let Some(widget) = found {
                let mut widget = widget.clone();
                widget.sending = Sending::AsIs;
                promoted.push(widget);
            }
        }
        for graph in self.graphs.iter_mut().take(index).skip(1) {
            for node in &mut graph.nodes {
                if !matches!(node.kind, Kind::Subgraph(inner) if inner == index) {
                    continue;
                }
                for widget in &promoted {
                    if let Some(input) = node
                        .inputs
                        .iter_mut()
                        .find(|input| input.name == widget.name)
                    {
                        input.widget = Some(widget.name.clone());
                        node.widgets.push(widget.clone());
                    }
                }
            }
        }
    }

    /// Lets every primitive write its value into the widgets it feeds.
    fn apply_primitives(&mut self) {
        let mut writes = Vec::new();
        for (graph_index, graph) in self.graphs.iter().enumerate() {
            let primitives: HashMap<&str, Value> = graph
                .nodes
                .iter()
                .filter(|node| matches!(node.kind, Kind::Primitive))
                .filter_map(|node| Some((node.id.as_ref(), self.primitive_value(node)?)))
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
                        writes.push((graph_index, node_index, widget.to_string(), value.clone()));
                    }
                }
            }
        }
        for (graph_index, node_index, widget, value) in writes {
            let node = self
                .graphs
                .get_mut(graph_index)
                .and_then(|graph| graph.nodes.get_mut(node_index));
            if let Some(widget) = node.and_then(|node| {
                node.widgets
                    .iter_mut()
                    .find(|each| each.name == widget.as_str())
            }) {
                widget.set_as_typed(value);
            }
        }
    }

    fn primitive_value(&self, node: &Node<'a>) -> Option<Value> {
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
            (Some(true), Some(text)) => Some(super::text::replace(text, self).into()),
            _ => Some(value.clone()),
        }
    }
}

/// The classes and definitions that nodes can be instances of.
struct Known<'a, 'b> {
    object_info: &'a ObjectInfo,
    subgraphs: &'b HashMap<&'a str, usize>,
}

impl<'a> Graph<'a> {
    fn read(
        name: &'a str,
        nodes: Option<&'a Value>,
        links: Option<&'a Value>,
        definition: Option<&'a Value>,
        known: &Known<'a, '_>,
    ) -> Self {
        let links: HashMap<_, _> = match links {
            Some(Value::Array(links)) => links.iter().filter_map(read_link).collect(),
            // A map by id, as some tools write it.
            Some(Value::Object(links)) => links.values().filter_map(read_link).collect(),
            _ => HashMap::new(),
        };
        let nodes: Vec<Node<'a>> = nodes
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(|node| Node::read(node, known))
            .collect();
        let by_id = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.id.clone(), index))
            .collect();
        let ends = |key: &str| {
            definition
                .map(|definition| slots(definition, key))
                .unwrap_or_default()
        };
        let input_types = ends("inputs").iter().map(type_text).collect();
        let outputs = ends("outputs")
            .iter()
            .map(|output| GraphOutput {
                type_name: type_text(output),
                links: slots(output, "linkIds")
                    .iter()
                    .filter_map(id_text)
                    .collect(),
            })
            .collect();
        Self {
            name,
            nodes,
            by_id,
            links,
            input_types,
            outputs,
        }
    }
}

/// An id of the file as text: numbers and strings mean the same.
pub(super) fn id_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => format!("{float:.0}"),
            _ => number.to_string(),
        })),
        _ => None,
    }
}

fn slot_number(value: Option<&Value>) -> Option<usize> {
    let value = value?;
    let number = value
        .as_u64()
        .or_else(|| {
            value
                .as_f64()
                .filter(|slot| *slot >= 0.0)
                .map(|slot| slot as u64)
        })
        .or_else(|| value.as_str()?.parse().ok())?;
    usize::try_from(number).ok()
}

/// A link, in the list form of version 0.4 or the object form of version 1 and of subgraphs.
fn read_link(link: &Value) -> Option<(Cow<'_, str>, Link<'_>)> {
    let part = |index: usize, name: &str| match link {
        Value::Array(parts) => parts.get(index),
        Value::Object(parts) => parts.get(name),
        _ => None,
    };
    let origin = id_text(part(1, "origin_id")?)?;
    Some((
        id_text(part(0, "id")?)?,
        Link {
            origin: if origin == SUBGRAPH_INPUTS {
                Origin::SubgraphInputs
            } else {
                Origin::Node(origin)
            },
            origin_slot: slot_number(part(2, "origin_slot"))?,
            target: id_text(part(3, "target_id")?)?,
            target_slot: slot_number(part(4, "target_slot")).unwrap_or(0),
        },
    ))
}

/// The editor's spelling of a class name: old names are mended, characters that could be markup are taken out.
fn class_name(type_name: &str) -> Cow<'_, str> {
    match type_name {
        "T2IAdapterLoader" => Cow::Borrowed("ControlNetLoader"),
        "ConditioningAverage " => Cow::Borrowed("ConditioningAverage"),
        "SDV_img2vid_Conditioning" => Cow::Borrowed("SVD_img2vid_Conditioning"),
        "Load3DAnimation" => Cow::Borrowed("Load3D"),
        "Preview3DAnimation" => Cow::Borrowed("Preview3D"),
        other if other.contains(['&', '<', '>', '"', '\'', '`', '=']) => Cow::Owned(
            other
                .chars()
                .filter(|c| !['&', '<', '>', '"', '\'', '`', '='].contains(c))
                .collect(),
        ),
        other => Cow::Borrowed(other),
    }
}

impl<'a> Node<'a> {
    fn read(raw: &'a Value, known: &Known<'a, '_>) -> Option<Self> {
        let type_name = raw.get("type")?.as_str()?;
        let class_type = class_name(type_name);
        let spec = known
            .object_info
            .get(&class_type)
            .or_else(|| known.object_info.get(type_name));
        let kind = match (known.subgraphs.get(type_name), spec) {
            (Some(inner), _) => Kind::Subgraph(*inner),
            (None, Some(spec)) => Kind::Class(spec),
            (None, None) => match type_name {
                "Reroute" | "Reroute (rgthree)" | "SetNode" => Kind::Reroute,
                "PrimitiveNode" => Kind::Primitive,
                "GetNode" => Kind::Getter,
                "Note"
                | "MarkdownNote"
                | "Label (rgthree)"
                | "Bookmark (rgthree)"
                | "Fast Groups Muter (rgthree)"
                | "Fast Groups Bypasser (rgthree)"
                | "Fast Muter (rgthree)"
                | "Fast Bypasser (rgthree)" => Kind::Note,
                _ => Kind::Unknown,
            },
        };
        let mode = match raw.get("mode").and_then(Value::as_i64) {
            Some(2) => Mode::Muted,
            Some(4) => Mode::Bypassed,
            _ => Mode::Active,
        };
        let (inputs, outputs, widgets) = match kind {
            Kind::Class(spec) => {
                let widgets = lay_out(spec, &Saved::of(spec, raw.get("widgets_values")));
                (
                    class_inputs(spec, raw, &widgets),
                    class_outputs(spec, raw),
                    widgets,
                )
            }
            _ => (saved_inputs(raw), saved_outputs(raw), Vec::new()),
        };
        Some(Self {
            id: id_text(raw.get("id")?)?,
            class_type,
            title: raw.get("title").and_then(Value::as_str).unwrap_or_default(),
            mode,
            kind,
            inputs,
            outputs,
            widgets,
            raw,
        })
    }

    /// The title a node of its class has by itself.
    pub fn default_title(&self) -> &str {
        match self.kind {
            Kind::Class(spec) => match spec.class_type.as_str() {
                // Where the editor's English dictionary says something else than the server.
                "ByteDanceSeedreamNode" => "ByteDance Seedream 4",
                "FluxKontextMultiReferenceLatentMethod" => "FluxKontextMultiReferenceLatentMethod",
                "Mahiro" => {
                    "Mahiro is so cute that she deserves a better guidance function!! (。・ω・。)"
                }
                _ => &spec.display_name,
            },
            _ => &self.class_type,
        }
    }

    pub fn property(&self, name: &str) -> Option<&'a Value> {
        self.raw.get("properties")?.get(name)
    }
}

fn slots<'a>(raw: &'a Value, key: &str) -> &'a [Value] {
    raw.get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// A slot's type. Old files have the list of choices itself where newer ones say `COMBO`.
fn type_text(slot: &Value) -> Cow<'_, str> {
    match slot.get("type") {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Array(_)) => Cow::Borrowed("COMBO"),
        _ => Cow::Borrowed("*"),
    }
}

fn saved_input(slot: &Value) -> Option<Input<'_>> {
    Some(Input {
        name: Cow::Borrowed(slot.get("name")?.as_str()?),
        type_name: type_text(slot),
        link: slot.get("link").and_then(id_text),
        widget: slot
            .get("widget")
            .and_then(|widget| widget.get("name"))
            .and_then(Value::as_str)
            .map(Cow::Borrowed),
    })
}

fn saved_inputs(raw: &Value) -> Vec<Input<'_>> {
    slots(raw, "inputs")
        .iter()
        .map(|slot| {
            // A slot without a name still counts for the positions of the others.
            saved_input(slot).unwrap_or(Input {
                name: Cow::Borrowed(""),
                type_name: type_text(slot),
                link: slot.get("link").and_then(id_text),
                widget: None,
            })
        })
        .collect()
}

fn saved_outputs(raw: &Value) -> Vec<Cow<'_, str>> {
    slots(raw, "outputs").iter().map(type_text).collect()
}

/// The inputs of a node of a known class: sockets first, then the sockets of widgets, each with the link that the saved
/// input of that name has; then saved inputs the class does not define.
fn class_inputs<'a>(spec: &'a NodeSpec, raw: &'a Value, widgets: &[Widget<'a>]) -> Vec<Input<'a>> {
    let saved: Vec<Input<'a>> = slots(raw, "inputs")
        .iter()
        .filter_map(saved_input)
        .collect();
    let has_widget = |name: &str| widgets.iter().any(|widget| widget.name == name);
    let is_dynamic = spec.inputs.iter().any(|input| {
        matches!(
            input.kind,
            InputKind::DynamicChoice { .. } | InputKind::Autogrow(_) | InputKind::MatchType { .. }
        )
    });
    if is_dynamic {
        return dynamic_inputs(spec, saved, widgets);
    }
    let mut by_name: HashMap<&str, &Input<'a>> = HashMap::new();
    for input in &saved {
        by_name.insert(&input.name, input);
    }
    let visible = || {
        spec.inputs
            .iter()
            .filter(|input| input.need != InputNeed::Hidden)
    };
    let has_own_widget = |input: &InputSpec| {
        !input.force_input
            && is_widget_type(input.widget_type.as_deref().unwrap_or(&input.type_name))
    };
    let mut inputs: Vec<Input<'a>> = Vec::with_capacity(spec.inputs.len());
    let sockets = visible().filter(|input| !has_own_widget(input));
    let of_widgets = visible().filter(|input| has_own_widget(input) && !input.socketless);
    for input in sockets.chain(of_widgets) {
        inputs.push(Input {
            name: Cow::Borrowed(&input.name),
            type_name: Cow::Borrowed(&input.type_name),
            link: by_name
                .get(input.name.as_str())
                .and_then(|saved| saved.link.clone()),
            widget: has_own_widget(input).then_some(Cow::Borrowed(input.name.as_str())),
        });
    }
    let defined: std::collections::HashSet<&str> = visible()
        .filter(|input| !(has_own_widget(input) && input.socketless))
        .map(|input| input.name.as_str())
        .collect();
    for input in saved {
        if defined.contains(input.name.as_ref()) {
            continue;
        }
        // The socket of a widget that is no longer there goes with it.
        if input.widget.as_deref().is_none_or(has_widget) {
            inputs.push(input);
        }
    }
    inputs
}

/// The inputs of a class whose inputs depend on what is chosen and linked: the file has them in the editor's order.
fn dynamic_inputs<'a>(
    spec: &'a NodeSpec,
    saved: Vec<Input<'a>>,
    widgets: &[Widget<'a>],
) -> Vec<Input<'a>> {
    let has_widget = |name: &str| widgets.iter().any(|widget| widget.name == name);
    let mut inputs: Vec<Input<'a>> = saved
        .into_iter()
        .filter(|input| input.widget.as_deref().is_none_or(has_widget))
        .filter(|input| {
            // Inputs of an option that is not the chosen one are gone.
            input.name.split_once('.').is_none_or(|(combo, inner)| {
                spec.inputs
                    .iter()
                    .find(|spec| spec.name == combo)
                    .is_none_or(|spec| is_of_chosen_option(spec, inner, widgets))
            })
        })
        .collect();
    for of_spec in &spec.inputs {
        match &of_spec.kind {
            InputKind::MatchType { allowed_types, .. } => {
                for input in &mut inputs {
                    if input.name == of_spec.name {
                        input.type_name = Cow::Borrowed(allowed_types);
                    }
                }
            }
            InputKind::Autogrow(autogrow) => close_gaps(&of_spec.name, autogrow, &mut inputs),
            _ => {}
        }
    }
    inputs
}

fn is_of_chosen_option(spec: &InputSpec, inner: &str, widgets: &[Widget<'_>]) -> bool {
    let InputKind::DynamicChoice { options } = &spec.kind else {
        return true;
    };
    let chosen = widgets
        .iter()
        .find(|widget| widget.name == spec.name)
        .and_then(|widget| widget.value.as_ref())
        .and_then(Value::as_str);
    let inner = inner.split('.').next().unwrap_or(inner);
    options
        .iter()
        .find(|option| Some(option.key.as_str()) == chosen)
        .is_some_and(|option| option.inputs.iter().any(|input| input.name == inner))
}

/// Rows of an autogrow input move up where one that may be empty is.
fn close_gaps(group: &str, autogrow: &Autogrow, inputs: &mut [Input<'_>]) {
    if autogrow.inputs.len() != 1 {
        return;
    }
    let mut rows: Vec<(usize, &mut Input<'_>)> = inputs
        .iter_mut()
        .filter_map(|input| {
            let row = input.name.strip_prefix(group)?.strip_prefix('.')?;
            let ordinal = if autogrow.names.is_empty() {
                row.trim_start_matches(|c: char| !c.is_ascii_digit())
                    .parse()
                    .ok()?
            } else {
                autogrow.names.iter().position(|name| name == row)?
            };
            Some((ordinal, input))
        })
        .collect();
    let empty: Vec<usize> = rows
        .iter()
        .filter(|(_, input)| input.link.is_none())
        .map(|(ordinal, _)| *ordinal)
        .collect();
    for ordinal in empty {
        if ordinal + 1 < autogrow.min {
            continue;
        }
        for at in ordinal..rows.len() {
            let below = rows
                .get_mut(at + 1)
                .and_then(|(_, input)| input.link.take());
            if let Some((_, input)) = rows.get_mut(at) {
                input.link = below;
            }
        }
    }
}

fn class_outputs<'a>(spec: &'a NodeSpec, raw: &'a Value) -> Vec<Cow<'a, str>> {
    let saved = saved_outputs(raw);
    let count = spec.outputs.len().max(saved.len());
    (0..count)
        .filter_map(|slot| match spec.outputs.get(slot) {
            // What it becomes depends on what is linked.
            Some(output) if output.type_name == "COMFY_MATCHTYPE_V3" => Some(Cow::Borrowed("*")),
            Some(output) => Some(Cow::Borrowed(output.type_name.as_str())),
            None => saved.get(slot).cloned(),
        })
        .collect()
}

/// The slots and promoted widgets of a subgraph instance.
fn instance_slots<'a>(
    definition: &'a Value,
    inner: Option<&Graph<'a>>,
    node: &Node<'a>,
) -> (Vec<Input<'a>>, Vec<Cow<'a, str>>, Vec<Widget<'a>>) {
    let saved = saved_inputs(node.raw);
    let mut links: HashMap<&str, &Option<Cow<'a, str>>> = HashMap::new();
    for input in &saved {
        links.insert(&input.name, &input.link);
    }
    let mut inputs = Vec::new();
    let mut widgets: Vec<Widget<'a>> = Vec::new();
    for slot in slots(definition, "inputs") {
        let Some(name) = slot.get("name").and_then(Value::as_str) else {
            continue;
        };
        let promoted = inner.and_then(|inner| promoted_value(slot, inner));
        inputs.push(Input {
            name: Cow::Borrowed(name),
            type_name: type_text(slot),
            link: links.get(name).and_then(|link| (*link).clone()),
            widget: promoted.is_some().then_some(Cow::Borrowed(name)),
        });
        if let Some(mut widget) = promoted {
            widget.name = Cow::Borrowed(name);
            widget.sending = Sending::AsIs;
            widgets.push(widget);
        }
    }
    for input in saved {
        if !inputs.iter().any(|defined| defined.name == input.name) {
            inputs.push(input);
        }
    }
    give_saved_values(node, &mut widgets);
    drop_shadowed(node, &mut widgets);
    let outputs = slots(definition, "outputs").iter().map(type_text).collect();
    (inputs, outputs, widgets)
}

/// The widget inside that a subgraph input ends at first, as it is there.
fn promoted_value<'a>(slot: &'a Value, inner: &Graph<'a>) -> Option<Widget<'a>> {
    slot.get("linkIds")?
        .as_array()?
        .iter()
        .filter_map(id_text)
        .find_map(|id| {
            let link = inner.links.get(&id)?;
            let node = inner.nodes.get(inner.node_index(&link.target)?)?;
            // Slots may have moved since the file was saved; the link id is certain.
            let input = node
                .inputs
                .iter()
                .find(|input| input.link.as_deref() == Some(id.as_ref()))
                .or_else(|| node.inputs.get(link.target_slot))?;
            let name = input.widget.as_ref()?;
            node.widgets
                .iter()
                .find(|widget| widget.name == *name)
                .cloned()
        })
}

/// The `proxyWidgets` of an instance: (inner node or `-1`, widget name). Saved as a list, or as the text of one.
fn proxies(node: &Node<'_>) -> Vec<(String, String)> {
    let parsed;
    let list = match node.property("proxyWidgets") {
        Some(Value::Array(list)) => list,
        Some(Value::String(text)) => {
            parsed = serde_json::from_str::<Vec<Value>>(text).unwrap_or_default();
            &parsed
        }
        _ => return Vec::new(),
    };
    list.iter()
        .filter_map(|proxy| {
            Some((
                id_text(proxy.get(0)?)?.into_owned(),
                proxy.get(1)?.as_str()?.to_owned(),
            ))
        })
        .collect()
}

/// A promoted widget disappears behind a proxy of the same name for a widget inside; the value inside counts then.
fn drop_shadowed(node: &Node<'_>, widgets: &mut Vec<Widget<'_>>) {
    let proxies = proxies(node);
    widgets.retain(|widget| {
        let mut same_name = proxies
            .iter()
            .filter(|(_, name)| *name == widget.name)
            .peekable();
        same_name.peek().is_none() || same_name.any(|(owner, _)| owner == "-1")
    });
}

/// Deals the instance's saved values onto its promoted widgets: in order, and those of a `proxyWidgets` list that the
/// instance owns (`-1`) by name.
fn give_saved_values<'a>(node: &Node<'a>, widgets: &mut [Widget<'a>]) {
    let Some(saved) = node.raw.get("widgets_values") else {
        return;
    };
    match saved {
        Value::Array(values) => {
            for (widget, value) in widgets.iter_mut().zip(values) {
                widget.value = Some(value.clone());
            }
            for ((owner, name), value) in proxies(node).iter().zip(values) {
                if owner == "-1"
                    && !value.is_null()
                    && let Some(widget) = widgets.iter_mut().find(|widget| widget.name == *name)
                {
                    widget.value = Some(value.clone());
                }
            }
        }
        Value::Object(values) => {
            for widget in widgets {
                if let Some(value) = values.get(widget.name.as_ref()) {
                    widget.value = Some(value.clone());
                }
            }
        }
        _ => {}
    }
}
