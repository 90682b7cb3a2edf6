//! Editor format → prompt, as ComfyUI's own editor makes it when a person presses Run.
//!
//! The rules follow the observable behaviour of the ComfyUI frontend 1.35: nodes are laid out from their specs, saved
//! widget values are dealt onto the widgets in order, primitives write their value into what they feed, subgraphs are
//! unfolded (`12:7` is node 7 inside instance 12), muted nodes vanish, bypassed nodes hand their inputs through by type,
//! and notes, reroutes and primitives are not part of the prompt.

mod graph;
mod group_nodes;
mod match_types;
mod order;
mod promote;
mod resolve;
mod saved_values;
mod slots;
mod text;
mod typed;
mod widgets;

use super::object_info::{NodeSpec, ObjectInfo};
use super::page_prompt;
use super::prompt::{Prompt, PromptNode};
use super::read::MAX_NODE_INPUTS;
use super::ui::UiWorkflow;
pub(super) use graph::default_title;
use graph::{Graphs, Kind, Mode, Node, class_name};
use group_nodes::GroupTypes;
pub(super) use group_nodes::group_name;
use indexmap::IndexMap;
use resolve::{Frames, Source};
pub(super) use saved_values::saved_values;
use serde_json::{Map, Value, json};
pub(super) use slots::saved_inputs_of;
use std::collections::BTreeMap;
use widgets::Sending;

/// Deepest nesting of subgraphs within subgraphs.
pub const MAX_SUBGRAPH_DEPTH: usize = 100;

/// Most memory that the values of one prompt take, in bytes.
pub const MAX_PROMPT_BYTES: usize = 256 * 1024 * 1024;

/// Most inputs that the nodes of a workflow have together, by their classes.
pub const MAX_WORKFLOW_INPUTS: usize = 1_000_000;

/// Why an editor file cannot be turned into a prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// Node classes that `object_info` does not have, so that nobody knows the order of their widgets.
    #[error(
        "the backend does not know {}; install the custom nodes there or choose another backend",
        name_classes(classes)
    )]
    UnknownClasses {
        /// Class → ids of its nodes.
        classes: BTreeMap<String, Vec<String>>,
    },
    /// A subgraph contains itself.
    #[error(
        "the subgraph \"{name}\" contains itself; open the workflow in ComfyUI and take it out"
    )]
    CyclicSubgraph {
        /// Name of the subgraph.
        name: String,
    },
    /// Subgraphs are nested deeper than [`MAX_SUBGRAPH_DEPTH`].
    #[error("subgraphs are nested more than {MAX_SUBGRAPH_DEPTH} levels deep")]
    TooDeep,
    /// Unfolded, the workflow has too many nodes.
    #[error("with its subgraphs unfolded the workflow has more than {limit} nodes")]
    TooManyNodes {
        /// How many are unfolded at most.
        limit: usize,
    },
    /// Unfolded, the values of the workflow take more than [`MAX_PROMPT_BYTES`].
    #[error(
        "with its subgraphs and primitives unfolded the texts of the workflow take more than {} MiB; shorten them in ComfyUI",
        MAX_PROMPT_BYTES / (1024 * 1024)
    )]
    TooLarge,
    /// By their classes, nodes have more inputs than any workflow needs.
    #[error(
        "by what the backend says of their classes the nodes have more inputs than a workflow can need ({MAX_NODE_INPUTS} of one node, {MAX_WORKFLOW_INPUTS} together); look at its custom node {class_type}"
    )]
    TooManyInputs {
        /// The class at which the limit was reached.
        class_type: String,
    },
    /// Links go round in a circle of reroutes or bypassed nodes.
    #[error(
        "the links into node #{node_id} go round in a circle; open the workflow in ComfyUI and mend them"
    )]
    LinkLoop {
        /// The node whose input was followed.
        node_id: String,
    },
}

fn name_classes(classes: &BTreeMap<String, Vec<String>>) -> String {
    const SHOWN: usize = 8;
    let mut names: Vec<String> = classes
        .iter()
        .take(SHOWN)
        .map(|(class_type, nodes)| {
            format!(
                "{class_type} (#{})",
                nodes.first().map_or("", String::as_str)
            )
        })
        .collect();
    if classes.len() > SHOWN {
        names.push(format!("{} more", classes.len() - SHOWN));
    }
    names.join(", ")
}

/// Turns an editor file into the prompt that ComfyUI's editor would send.
///
/// `choose(n)` picks one of `n` options wherever a text has `{a|b}` and its field expands them; the editor rolls a die
/// each time, `&mut |_| 0` always takes the first. `%date:…%` in file names is left as it is: what the time is at
/// conversion says nothing about when the prompt runs.
///
/// A file that was saved from the editor's own page brings what the page made of it, which is exact for every custom node;
/// that is the prompt, but for texts that are drawn anew, and unless it lacks an input that this backend requires.
pub fn to_prompt(
    workflow: &UiWorkflow,
    object_info: &ObjectInfo,
    choose: &mut dyn FnMut(usize) -> usize,
) -> Result<Prompt, ConvertError> {
    let converted = convert(workflow, object_info, choose);
    match workflow.page_prompt() {
        None => converted.map(|converted| converted.prompt),
        Some(page_prompt) => Ok(page_prompt::fitted(page_prompt, converted, object_info)),
    }
}

/// A prompt, and which of its texts were drawn.
pub(super) struct Converted {
    pub(super) prompt: Prompt,
    /// Node and input of every text in which `choose` was asked.
    pub(super) drawn: Vec<(String, String)>,
}

fn convert(
    workflow: &UiWorkflow,
    object_info: &ObjectInfo,
    choose: &mut dyn FnMut(usize) -> usize,
) -> Result<Converted, ConvertError> {
    let groups = GroupTypes::read(workflow, object_info)?;
    let classes = workflow.nodes().filter_map(|node| {
        let type_name = node.get("type")?.as_str()?;
        groups
            .class(type_name)
            .or_else(|| object_info.get(&class_name(type_name)))
    });
    refuse_too_many_inputs(classes)?;
    let graphs = Graphs::read(workflow, object_info, &groups)?;
    let frames = Frames::unfold(&graphs)?;
    let mut nodes: IndexMap<String, PromptNode> = IndexMap::new();
    let mut unknown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut drawn = Vec::new();
    for (frame_index, node_index) in order::in_order(&graphs, &frames) {
        let Some((_, frame, node)) = frames.node(&graphs, frame_index, node_index) else {
            continue;
        };
        let id = frame.id_of(&node.id);
        // The nodes inside a group node run whatever the mode of the group node is.
        for (inner_index, inner) in node.inner.iter().enumerate() {
            let resolve = |slot| {
                let group = (frame_index, node_index);
                Ok(frames.resolve_inside(&graphs, group, (inner_index, slot)))
            };
            let id = format!("{id}:{inner_index}");
            add_node(
                &mut nodes,
                &mut unknown,
                &mut drawn,
                &graphs,
                id,
                inner,
                resolve,
                choose,
            )?;
        }
        let resolve = |slot| frames.resolve_input(&graphs, frame_index, node_index, slot);
        add_node(
            &mut nodes,
            &mut unknown,
            &mut drawn,
            &graphs,
            id,
            node,
            resolve,
            choose,
        )?;
    }
    if !unknown.is_empty() {
        return Err(ConvertError::UnknownClasses { classes: unknown });
    }
    drop_dangling(&mut nodes);
    // In the editor the prompt is an object of JavaScript.
    nodes.sort_by(|a, _, b, _| order::property_order(a).cmp(&order::property_order(b)));
    Ok(Converted {
        prompt: Prompt { nodes },
        drawn,
    })
}

/// Refuses nodes whose classes, by what a backend says of them, have more inputs than fit into memory.
pub(super) fn refuse_too_many_inputs<'a>(
    classes: impl Iterator<Item = &'a NodeSpec>,
) -> Result<(), ConvertError> {
    let mut together = 0_usize;
    for class in classes {
        let count = class.grown_inputs;
        together = together.saturating_add(count);
        if count > MAX_NODE_INPUTS || together > MAX_WORKFLOW_INPUTS {
            return Err(ConvertError::TooManyInputs {
                class_type: class.class_type.clone(),
            });
        }
    }
    Ok(())
}

/// Adds a node to the prompt if it runs and the backend has a class for it.
fn add_node(
    nodes: &mut IndexMap<String, PromptNode>,
    unknown: &mut BTreeMap<String, Vec<String>>,
    drawn: &mut Vec<(String, String)>,
    graphs: &Graphs<'_>,
    id: String,
    node: &Node<'_>,
    resolve: impl Fn(usize) -> Result<Option<Source>, ConvertError>,
    choose: &mut dyn FnMut(usize) -> usize,
) -> Result<(), ConvertError> {
    if matches!(node.mode, Mode::Muted | Mode::Bypassed) {
        return Ok(());
    }
    let spec = match node.kind {
        Kind::Class(spec) => spec,
        Kind::Unknown => {
            let class_type = node.class_type.to_string();
            unknown.entry(class_type).or_default().push(id);
            return Ok(());
        }
        _ => return Ok(()),
    };
    let mut inputs = Map::new();
    for widget in &node.widgets {
        let Some(value) = widget.shown_value() else {
            continue;
        };
        let value = match (widget.sending, value.as_str()) {
            (Sending::DynamicPrompt, Some(prompt)) => {
                let mut is_drawn = false;
                let text = text::expand(prompt, &mut |options| {
                    is_drawn = true;
                    choose(options)
                });
                if is_drawn {
                    drawn.push((id.clone(), widget.name.to_string()));
                }
                text.into()
            }
            (Sending::FileName, Some(name)) => text::replace(name, graphs, 0).into(),
            _ => value,
        };
        graphs.spend(&value)?;
        inputs.insert(widget.name.to_string(), wrap_list(value));
    }
    for (slot, input) in node.inputs.iter().enumerate() {
        match resolve(slot)? {
            Some(Source::Output { id, slot }) => {
                inputs.insert(input.name.to_string(), json!([id, slot]));
            }
            Some(Source::Value(value)) => {
                graphs.spend(&value)?;
                inputs.insert(input.name.to_string(), wrap_list(value));
            }
            None => {}
        }
    }
    let title = match node.title {
        "" => node.default_title(),
        title => title,
    };
    nodes.insert(
        id,
        PromptNode {
            class_type: spec.class_type.clone(),
            inputs,
            meta: Some(json!({ "title": title })),
        },
    );
    Ok(())
}

/// The memory that a value takes, roughly, in bytes.
fn weight(value: &Value) -> usize {
    const OF_ONE: usize = 64;
    OF_ONE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(weight).sum(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| OF_ONE + name.len() + weight(value))
                .sum(),
            _ => 0,
        }
}

/// A bare list means a link to the backend; this is how the editor sends lists.
fn wrap_list(value: Value) -> Value {
    match value {
        Value::Array(_) => json!({ "__value__": value }),
        other => other,
    }
}

/// Takes out inputs that are linked to nodes which are not part of the prompt.
fn drop_dangling(nodes: &mut IndexMap<String, PromptNode>) {
    let ids: std::collections::HashSet<String> = nodes.keys().cloned().collect();
    for node in nodes.values_mut() {
        node.inputs.retain(|_, value| {
            super::patch::link_source(value).is_none_or(|(source, _)| ids.contains(source))
        });
    }
}
