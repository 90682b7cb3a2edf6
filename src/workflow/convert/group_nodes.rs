//! Group nodes of older files (`extra.groupNodes`): one node that stands for several.
//!
//! The editor makes a class of each definition: its widgets and sockets are those of the nodes inside that nothing
//! inside feeds. A prompt has the nodes inside, as `12:0`, `12:1`, …, with the values of the group's widgets. Links of
//! nodes inside lead exactly one step: to what is linked to the group node, or to the node inside that they come from.

use super::super::object_info::{
    InputKind, InputNeed, InputSpec, NodeSpec, ObjectInfo, OutputSpec, Upload, grown,
};
use super::super::read::MAX_WORKFLOW_NODES;
use super::super::ui::UiWorkflow;
use super::graph::{Graph, Node, Origin, class_name, slot_number, spend};
use super::slots::{slots, type_text};
use super::widgets::{has_player, has_viewer, is_widget_type};
use super::{ConvertError, MAX_PROMPT_BYTES, refuse_too_many_inputs, weight};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::HashMap;

/// The group definitions of a file by name.
pub(super) struct GroupTypes<'a> {
    by_name: HashMap<&'a str, GroupType<'a>>,
}

/// One group definition with the class that the editor makes of it. Nodes inside are counted from 0.
pub(super) struct GroupType<'a> {
    /// The class.
    pub spec: NodeSpec,
    /// The nodes inside, as saved.
    pub nodes: &'a [Value],
    /// (node, input) → (node, output) of the links inside.
    links: HashMap<(usize, usize), (usize, usize)>,
    /// (node, input) → input of the group node.
    outer_inputs: HashMap<(usize, usize), usize>,
    /// Output of the group node → (node, output).
    outputs: Vec<(usize, usize)>,
    /// Widget of the group node → (node, widget).
    widgets: IndexMap<String, (usize, String)>,
    /// Primitive inside → (node, widget) that it feeds.
    primitives: HashMap<usize, Vec<(usize, String)>>,
}

impl<'a> GroupTypes<'a> {
    /// Reads the definitions that nodes use. Refuses files whose group nodes would unfold into too much.
    pub fn read(workflow: &'a UiWorkflow, object_info: &ObjectInfo) -> Result<Self, ConvertError> {
        let definitions = workflow
            .raw()
            .get("extra")
            .and_then(|extra| extra.get("groupNodes"))
            .and_then(Value::as_object);
        let mut used: HashMap<&'a str, (&'a Value, usize)> = HashMap::new();
        if let Some(definitions) = definitions {
            let types = workflow
                .nodes()
                .filter_map(|node| node.get("type")?.as_str());
            for name in types.filter_map(group_name) {
                if let Some((name, definition)) = definitions.get_key_value(name) {
                    used.entry(name).or_insert((definition, 0)).1 += 1;
                }
            }
        }
        let (mut nodes, mut bytes) = (0_usize, 0_usize);
        for (definition, count) in used.values() {
            let inside = slots(definition, "nodes");
            nodes = nodes.saturating_add(inside.len().saturating_mul(*count));
            let weight: usize = inside.iter().map(weight).sum();
            bytes = bytes.saturating_add(weight.saturating_mul(*count));
        }
        if nodes > MAX_WORKFLOW_NODES {
            return Err(ConvertError::TooManyNodes {
                limit: MAX_WORKFLOW_NODES,
            });
        }
        if bytes > MAX_PROMPT_BYTES {
            return Err(ConvertError::TooLarge);
        }
        // Each node inside is laid out once for the class and once for each node of it.
        let classes = used.values().flat_map(|(definition, count)| {
            slots(definition, "nodes")
                .iter()
                .filter_map(|node| object_info.get(&class_name(node.get("type")?.as_str()?)))
                .flat_map(|class| std::iter::repeat_n(class, count.saturating_add(1)))
        });
        refuse_too_many_inputs(classes)?;
        let by_name = used
            .into_iter()
            .map(|(name, (definition, _))| {
                (name, Builder::new(definition, object_info).build(name))
            })
            .collect();
        Ok(Self { by_name })
    }

    /// The class that the editor makes of the definition that a node type means.
    pub fn class(&self, type_name: &str) -> Option<&NodeSpec> {
        self.get(type_name).map(|group| &group.spec)
    }

    /// The definition that a node type means: `workflow>NAME`, in the oldest files `workflow/NAME`.
    pub fn get(&self, type_name: &str) -> Option<&GroupType<'a>> {
        self.by_name.get(group_name(type_name)?)
    }
}

/// The name of the group definition that a node type stands for.
pub(in super::super) fn group_name(type_name: &str) -> Option<&str> {
    type_name
        .strip_prefix("workflow>")
        .or_else(|| type_name.strip_prefix("workflow/"))
}

impl GroupType<'_> {
    /// Writes the values of the group node's widgets into the nodes inside.
    pub fn update_inside(
        &self,
        group: &mut Node<'_>,
        bytes_left: &Cell<usize>,
    ) -> Result<(), ConvertError> {
        let mut writes = Vec::new();
        for (name, (index, inner_name)) in &self.widgets {
            let Some(widget) = group.widgets.iter().find(|each| each.name == name.as_str()) else {
                continue;
            };
            let fed = self.primitives.get(index);
            if let Some(value) = &widget.value {
                spend(bytes_left, value, fed.map_or(1, Vec::len))?;
            }
            match fed {
                Some(fed) => writes.extend(
                    fed.iter()
                        .map(|(node, widget_name)| (*node, widget_name, widget.value.clone())),
                ),
                None => writes.push((*index, inner_name, widget.value.clone())),
            }
        }
        for (index, name, value) in writes {
            let widgets = group.inner.get_mut(index).map(|node| &mut node.widgets);
            if let Some(widget) = widgets
                .into_iter()
                .flatten()
                .find(|each| each.name == name.as_str())
            {
                widget.value = value;
            }
        }
        Ok(())
    }

    /// The node and output inside that leave the group node at an output.
    pub fn source_of_output(&self, slot: usize) -> Option<(usize, usize)> {
        let (mut node, mut output) = *self.outputs.get(slot)?;
        for _ in 0..=self.nodes.len() {
            if type_of(self.nodes, node) != "Reroute" {
                return Some((node, output));
            }
            (node, output) = *self.links.get(&(node, 0))?;
        }
        None
    }

    /// What feeds an input of a node inside: the id in the prompt and the output.
    pub fn source_of_input(
        &self,
        graph: &Graph<'_>,
        group: &Node<'_>,
        id_of: impl Fn(&str) -> String,
        (node, slot): (usize, usize),
    ) -> Option<(String, usize)> {
        if let Some(outer) = self.outer_inputs.get(&(node, slot)) {
            let link = graph.link(group.inputs.get(*outer)?.link.as_deref()?)?;
            let Origin::Node(origin) = &link.origin else {
                return None;
            };
            graph.node_index(origin)?;
            return Some((id_of(origin), link.origin_slot));
        }
        let (source, output) = *self.links.get(&(node, slot))?;
        if type_of(self.nodes, source) == "PrimitiveNode" {
            return None;
        }
        Some((format!("{}:{source}", id_of(&group.id)), output))
    }
}

fn type_of(nodes: &[Value], index: usize) -> &str {
    nodes
        .get(index)
        .and_then(|node| node.get("type"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A link inside.
struct InnerLink<'a> {
    target: usize,
    target_slot: usize,
    type_name: Option<&'a str>,
}

/// Makes a class of a definition.
struct Builder<'a, 'b> {
    object_info: &'b ObjectInfo,
    definition: &'a Value,
    nodes: &'a [Value],
    links_to: HashMap<(usize, usize), (usize, usize)>,
    links_from: HashMap<(usize, usize), Vec<InnerLink<'a>>>,
    /// Outputs inside that are linked to outside as well.
    external: HashMap<(usize, usize), &'a str>,
    seen_inputs: HashMap<String, usize>,
    inputs: IndexMap<String, InputSpec>,
    outputs: Vec<(usize, usize)>,
    output_specs: Vec<OutputSpec>,
    input_count: usize,
    outer_inputs: HashMap<(usize, usize), usize>,
    widgets: IndexMap<String, (usize, String)>,
    /// (node, widget) → widget of the group node.
    names: HashMap<(usize, String), String>,
    primitives: HashMap<usize, Vec<(usize, String)>>,
}

/// The inputs and outputs of a node inside, as far as the class of the group is concerned.
struct Shape {
    inputs: Vec<InputSpec>,
    outputs: Vec<OutputSpec>,
}

/// What of a node is left for after all others: its inputs that were converted from widgets come last.
struct Converted {
    node: usize,
    /// How many sockets come before.
    sockets: usize,
    inputs: Vec<InputSpec>,
}

impl<'a, 'b> Builder<'a, 'b> {
    fn new(definition: &'a Value, object_info: &'b ObjectInfo) -> Self {
        let mut links_to = HashMap::new();
        let mut links_from: HashMap<_, Vec<InnerLink<'a>>> = HashMap::new();
        for link in slots(definition, "links") {
            let end = |at: usize| slot_number(link.get(at));
            // Without a source it comes from outside.
            let (Some(source), Some(source_slot), Some(target), Some(target_slot)) =
                (end(0), end(1), end(2), end(3))
            else {
                continue;
            };
            links_to.insert((target, target_slot), (source, source_slot));
            links_from
                .entry((source, source_slot))
                .or_default()
                .push(InnerLink {
                    target,
                    target_slot,
                    type_name: link.get(5).and_then(Value::as_str),
                });
        }
        let external = slots(definition, "external")
            .iter()
            .filter_map(|external| {
                let node = slot_number(external.get(0))?;
                let slot = slot_number(external.get(1))?;
                Some(((node, slot), external.get(2)?.as_str()?))
            })
            .collect();
        Self {
            object_info,
            definition,
            nodes: slots(definition, "nodes"),
            links_to,
            links_from,
            external,
            seen_inputs: HashMap::new(),
            inputs: IndexMap::new(),
            outputs: Vec::new(),
            output_specs: Vec::new(),
            input_count: 0,
            outer_inputs: HashMap::new(),
            widgets: IndexMap::new(),
            names: HashMap::new(),
            primitives: HashMap::new(),
        }
    }

    fn build(mut self, name: &str) -> GroupType<'a> {
        let mut later = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(shape) = self.shape(index, node) else {
                continue;
            };
            later.push(self.add_inputs(index, node, shape.inputs));
            self.add_outputs(index, shape.outputs);
        }
        for converted in later {
            self.add_converted(converted);
        }
        self.add_upload_button();
        let class_type = format!("workflow>{name}");
        let inputs: Vec<InputSpec> = self.inputs.into_values().collect();
        GroupType {
            spec: NodeSpec {
                display_name: name.to_owned(),
                class_type,
                category: String::new(),
                description: String::new(),
                added_at: inputs.len(),
                grown_inputs: grown(&inputs),
                inputs,
                outputs: self.output_specs,
                output_node: false,
            },
            nodes: self.nodes,
            links: self.links_to,
            outer_inputs: self.outer_inputs,
            outputs: self.outputs,
            widgets: self.widgets,
            primitives: self.primitives,
        }
    }

    fn class(&self, index: usize) -> Option<&'b NodeSpec> {
        self.object_info
            .get(&class_name(type_of(self.nodes, index)))
    }

    fn shape(&self, index: usize, node: &'a Value) -> Option<Shape> {
        if let Some(spec) = self.class(index) {
            return Some(Shape {
                inputs: editor_inputs(spec),
                outputs: spec.outputs.clone(),
            });
        }
        match type_of(self.nodes, index) {
            "PrimitiveNode" => self.primitive(index, node),
            "Reroute" => self.reroute(index),
            // Notes, and what the backend does not have.
            _ => None,
        }
    }

    fn primitive(&self, index: usize, node: &Value) -> Option<Shape> {
        let link = self.links_from.get(&(index, 0))?.first()?;
        let mut type_value: Value = link.type_name?.into();
        if type_value == "COMBO" {
            let widget = node.get("outputs")?.get(0)?.get("widget")?.get("name")?;
            let fed = self.class(link.target)?.input(widget.as_str()?)?;
            if let InputKind::Choice { choices, .. } = &fed.kind {
                type_value = choices.iter().take(1).cloned().collect();
            }
        }
        let output = OutputSpec {
            type_name: link.type_name?.to_owned(),
            name: String::new(),
            match_template: None,
        };
        let input =
            InputSpec::from_json("value", &json!([type_value, {}]), InputNeed::Required, 0)?;
        Some(Shape {
            inputs: vec![input],
            outputs: vec![output],
        })
    }

    fn reroute(&self, index: usize) -> Option<Shape> {
        let from = self.links_from.get(&(index, 0));
        let to = self.links_to.get(&(index, 0));
        let external = self.external.get(&(index, 0)).copied();
        if from.is_some() && to.is_some() && external.is_none() {
            return None;
        }
        let slot_type = |node: usize, key: &str, slot: usize| {
            let slot = slots(self.nodes.get(node)?, key).get(slot)?;
            Some(type_text(slot).into_owned())
        };
        let is_typed = |type_name: &String| type_name != "*";
        let type_name = match (from, to) {
            (Some(from), _) => from
                .iter()
                .filter_map(|link| slot_type(link.target, "inputs", link.target_slot))
                .find(is_typed),
            (None, Some((source, slot))) => slot_type(*source, "outputs", *slot),
            (None, None) => slots(self.definition, "links")
                .iter()
                .find(|link| slot_number(link.get(2)) == Some(index))
                .and_then(|link| Some(link.get(5)?.as_str()?.to_owned()))
                .filter(is_typed)
                .or(external.map(str::to_owned)),
        };
        let type_name = type_name.unwrap_or_else(|| "*".to_owned());
        let spec = json!([type_name, {"forceInput": true}]);
        let input = InputSpec::from_json(&type_name, &spec, InputNeed::Required, 0)?;
        Some(Shape {
            inputs: vec![input],
            outputs: vec![OutputSpec {
                name: type_name.clone(),
                type_name,
                match_template: None,
            }],
        })
    }

    fn add_inputs(&mut self, index: usize, node: &Value, inputs: Vec<InputSpec>) -> Converted {
        // The saved sockets that were converted from widgets, by name.
        let mut saved: HashMap<&str, usize> = HashMap::new();
        for (at, slot) in slots(node, "inputs").iter().enumerate() {
            if let Some(name) = slot.get("name").and_then(Value::as_str)
                && slot.get("widget").and_then(|widget| widget.get("name")) == slot.get("name")
            {
                saved.entry(name).or_insert(at);
            }
        }
        let mut sockets = Vec::new();
        let mut converted: Vec<(String, InputSpec)> = Vec::new();
        for input in inputs {
            if !is_widget_type(&input.type_name) {
                sockets.push(input);
            } else if let Some(at) = saved.get(input.name.as_str()) {
                converted.push((at.to_string(), input));
            } else {
                self.add_widget(index, input);
            }
        }
        let socket_count = sockets.len();
        for (slot, input) in sockets.into_iter().enumerate() {
            if let Some(source) = self.links_to.get(&(index, slot)).copied() {
                self.check_primitive(source, index, &input);
                continue;
            }
            let is_hidden = self.is_hidden(index, &input.name);
            let (name, input) = self.name(index, input);
            if is_hidden {
                continue;
            }
            self.insert_input(name, input);
            self.outer_inputs.insert((index, slot), self.input_count);
            self.input_count += 1;
        }
        // The editor sorts the positions as texts.
        converted.sort_by(|(a, _), (b, _)| a.cmp(b));
        Converted {
            node: index,
            sockets: socket_count,
            inputs: converted.into_iter().map(|(_, input)| input).collect(),
        }
    }

    fn add_converted(&mut self, converted: Converted) {
        let Converted { node, sockets, .. } = converted;
        for (at, input) in converted.inputs.into_iter().enumerate() {
            let slot = sockets + at;
            if let Some(source) = self.links_to.get(&(node, slot)).copied() {
                self.check_primitive(source, node, &input);
                continue;
            }
            self.add_widget(node, input);
            self.outer_inputs.insert((node, slot), self.input_count);
            self.input_count += 1;
        }
    }

    fn add_widget(&mut self, index: usize, input: InputSpec) {
        let inner_name = input.name.clone();
        let (name, input) = self.name(index, input);
        self.widgets
            .insert(name.clone(), (index, inner_name.clone()));
        self.names.insert((index, inner_name), name.clone());
        self.insert_input(name, input);
    }

    fn insert_input(&mut self, name: String, mut input: InputSpec) {
        input.name.clone_from(&name);
        // All inputs of a group are required.
        input.need = InputNeed::Required;
        self.inputs.insert(name, input);
    }

    fn custom(&self, index: usize, section: &str, key: &str) -> Option<&'a Value> {
        self.definition
            .get("config")?
            .get(index.to_string())?
            .get(section)?
            .get(key)
    }

    fn is_hidden(&self, index: usize, input: &str) -> bool {
        self.custom(index, "input", input)
            .and_then(|custom| custom.get("visible"))
            .and_then(Value::as_bool)
            == Some(false)
    }

    /// The name that an input inside has on the group node. Names that are taken get the title of their node.
    fn name(&mut self, index: usize, mut input: InputSpec) -> (String, InputSpec) {
        let node = self.nodes.get(index);
        let text = |key: &str| node.and_then(|node| node.get(key)).and_then(Value::as_str);
        let label = || {
            slots(node?, "inputs")
                .iter()
                .find(|slot| slot.get("name").and_then(Value::as_str) == Some(input.name.as_str()))?
                .get("label")?
                .as_str()
        };
        let mut name = self
            .custom(index, "input", &input.name)
            .and_then(|custom| custom.get("name")?.as_str())
            .or_else(label)
            .unwrap_or(&input.name)
            .to_owned();
        let mut key = name.clone();
        let title = text("title");
        let is_titled_primitive = type_of(self.nodes, index) == "PrimitiveNode"
            && title.is_some_and(|title| !title.is_empty());
        if is_titled_primitive || self.seen_inputs.contains_key(&name) {
            let prefix = title.or(text("type")).unwrap_or_default();
            name = format!("{prefix} {}", input.name);
            key.clone_from(&name);
            if let Some(seen) = self.seen_inputs.get(&name) {
                name = format!("{prefix} {seen} {}", input.name);
            }
        }
        *self.seen_inputs.entry(key).or_insert(1) += 1;
        if matches!(input.name.as_str(), "seed" | "noise_seed") {
            input.set_control();
        } else if input.type_name == "INT" && matches!(name.as_str(), "seed" | "noise_seed") {
            input.control_after_generate = true;
        }
        (name, input)
    }

    /// A primitive inside that feeds an input takes on its limits and choices.
    fn check_primitive(&mut self, (source, _): (usize, usize), node: usize, input: &InputSpec) {
        if type_of(self.nodes, source) != "PrimitiveNode" {
            return;
        }
        if let Some(name) = self.names.get(&(source, "value".to_owned()))
            && let Some(value) = self.inputs.get_mut(name)
        {
            let mut taken = input.clone();
            taken.name.clone_from(name);
            taken.need = InputNeed::Required;
            taken.set_control();
            *value = taken;
        }
        self.primitives
            .entry(source)
            .or_default()
            .push((node, input.name.clone()));
    }

    fn add_outputs(&mut self, index: usize, outputs: Vec<OutputSpec>) {
        for (slot, output) in outputs.into_iter().enumerate() {
            let is_inside = self.links_from.contains_key(&(index, slot))
                && !self.external.contains_key(&(index, slot));
            let is_visible = self
                .custom(index, "output", &slot.to_string())
                .and_then(|custom| custom.get("visible")?.as_bool())
                .unwrap_or(!is_inside);
            if is_visible {
                self.outputs.push((index, slot));
                self.output_specs.push(output);
            }
        }
    }

    /// The editor's extensions add a button to every class with a list of files.
    fn add_upload_button(&mut self) {
        let has_files = self.inputs.values().any(|input| {
            input.type_name == "COMBO"
                && matches!(input.upload, Some(Upload::Image | Upload::Video))
        });
        if has_files && !self.inputs.contains_key("upload") {
            self.inputs.extend(
                editor_input("upload", "IMAGEUPLOAD").map(|input| (input.name.clone(), input)),
            );
        }
    }
}

/// The inputs of a class as the editor has them: those of its spec, and after the required ones the widgets that the
/// editor's own extensions add.
fn editor_inputs(spec: &NodeSpec) -> Vec<InputSpec> {
    let of_need = |need: InputNeed| spec.inputs.iter().filter(move |input| input.need == need);
    let mut inputs: Vec<InputSpec> = of_need(InputNeed::Required)
        .map(InputSpec::without_choices)
        .collect();
    let uploads = |uploads: &[Upload]| {
        of_need(InputNeed::Required).any(|input| {
            input.type_name == "COMBO"
                && input.upload.is_some_and(|upload| uploads.contains(&upload))
        })
    };
    if has_player(spec) {
        inputs.extend(editor_input("audioUI", "AUDIO_UI"));
    }
    if uploads(&[Upload::Image, Upload::Video]) {
        inputs.extend(editor_input("upload", "IMAGEUPLOAD"));
    } else if uploads(&[Upload::Audio]) {
        inputs.extend(editor_input("upload", "AUDIOUPLOAD"));
    }
    if has_viewer(spec) {
        inputs.extend(editor_input("image", "PREVIEW_3D"));
    }
    inputs.extend(of_need(InputNeed::Optional).map(InputSpec::without_choices));
    inputs
}

fn editor_input(name: &str, type_name: &str) -> Option<InputSpec> {
    InputSpec::from_json(name, &json!([type_name, {}]), InputNeed::Required, 0)
}
