//! Looking into a workflow: what an inner node gives, shown by a node that is added for it.

use super::address::NodeAddress;
use super::inspect::inspect;
use super::object_info::{InputKind, InputNeed, InputSpec, ObjectInfo};
use super::preflight::node_address;
use super::prompt::{Prompt, PromptNode};
use super::value_type::ValueType;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// Begins the ids of nodes that are added to look at others.
const ADDED: &str = "orchestrator-look";

/// What an inner node gives at one of its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerOutput {
    /// The node.
    pub address: NodeAddress,
    /// Which of its outputs, from 0; 0 for a node that the backend runs for its own sake.
    pub slot: u32,
    /// A name for a port.
    pub name: String,
    /// What it is.
    pub value_type: ValueType,
}

/// Why an inner node cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InnerError {
    /// No node fits.
    #[error("the workflow has no node \"{wanted}\"; there are: {}", nodes.join(", "))]
    NoSuchNode {
        /// What was asked for.
        wanted: String,
        /// The nodes there are.
        nodes: Vec<String>,
    },
    /// Several nodes fit.
    #[error("\"{wanted}\" may be {}; name it by its number", nodes.join(" or "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// The nodes that fit.
        nodes: Vec<String>,
    },
    /// Nothing is known of its class.
    #[error(
        "nothing is known of the node class {class_type}, so what {node} gives cannot be shown"
    )]
    UnknownClass {
        /// The node.
        node: String,
        /// Its class.
        class_type: String,
    },
    /// It gives nothing that can be shown.
    #[error("{node} gives nothing that the backend can show")]
    NothingToShow {
        /// The node.
        node: String,
    },
}

/// The node that a person calls by its number, title or class, with the first of its outputs that can be shown.
///
/// # Errors
/// [`InnerError`] when it is not one node, or gives nothing that can be shown.
pub fn inner_output(
    prompt: &Prompt,
    wanted: &str,
    object_info: &ObjectInfo,
) -> Result<InnerOutput, InnerError> {
    let (node_id, node) = node_called(prompt, wanted)?;
    let address = node_address(node_id, node);
    let Some(spec) = object_info.get(&node.class_type) else {
        return Err(InnerError::UnknownClass {
            node: address.to_string(),
            class_type: node.class_type.clone(),
        });
    };
    if spec.output_node {
        let made = inspect(prompt, Some(object_info)).outputs;
        let port = made.into_iter().find(|output| output.address == address);
        return Ok(InnerOutput {
            slot: 0,
            name: port
                .as_ref()
                .map_or_else(|| spec.display_name.clone(), |port| port.label.clone()),
            value_type: port.map_or(ValueType::Any, |port| port.value_type),
            address,
        });
    }
    spec.outputs
        .iter()
        .enumerate()
        .find(|(_, output)| viewer(&output.type_name, object_info).is_some())
        .map(|(slot, output)| InnerOutput {
            slot: slot as u32,
            name: output.name.clone(),
            value_type: ValueType::of_comfy(&output.type_name),
            address: address.clone(),
        })
        .ok_or_else(|| InnerError::NothingToShow {
            node: address.to_string(),
        })
}

/// Sees to it that what a node gives at one of its outputs is shown, and gives the id of the output node that shows it: the
/// target of a partial execution.
///
/// # Errors
/// [`InnerError`] when this backend has no way to show it.
pub fn show_inner(
    prompt: &mut Prompt,
    node_id: &str,
    slot: u32,
    object_info: &ObjectInfo,
) -> Result<String, InnerError> {
    let Some(node) = prompt.nodes.get(node_id) else {
        return Err(InnerError::NoSuchNode {
            wanted: node_id.to_owned(),
            nodes: Vec::new(),
        });
    };
    let address = node_address(node_id, node);
    let Some(spec) = object_info.get(&node.class_type) else {
        return Err(InnerError::UnknownClass {
            node: address.to_string(),
            class_type: node.class_type.clone(),
        });
    };
    if spec.output_node {
        return Ok(node_id.to_owned());
    }
    let nothing = || InnerError::NothingToShow {
        node: address.to_string(),
    };
    let output = spec.outputs.get(slot as usize).ok_or_else(nothing)?;
    let (class_type, mut inputs, taken) =
        viewer(&output.type_name, object_info).ok_or_else(nothing)?;
    inputs.insert(taken, json!([node_id, slot]));
    let added = added_id(node_id, slot);
    let viewer = PromptNode {
        class_type,
        inputs,
        meta: None,
    };
    prompt.nodes.insert(added.clone(), viewer);
    Ok(added)
}

/// The id of the node that [`show_inner`] adds.
#[must_use]
pub fn added_id(node_id: &str, slot: u32) -> String {
    format!("{ADDED}-{node_id}-{slot}")
}

/// The output node that shows values of a type on this backend: its class, its other inputs, and the input that takes them.
fn viewer(
    type_name: &str,
    object_info: &ObjectInfo,
) -> Option<(String, Map<String, Value>, String)> {
    let classes: &[(&str, &str)] = match ValueType::of_comfy(type_name) {
        ValueType::Image => &[("PreviewImage", "images"), ("SaveImage", "images")],
        ValueType::Mask => &[("MaskPreview", "mask")],
        ValueType::Audio => &[("PreviewAudio", "audio"), ("SaveAudio", "audio")],
        ValueType::Video => &[("SaveVideo", "video")],
        ValueType::Latent => &[("SaveLatent", "samples")],
        ValueType::Text | ValueType::Integer | ValueType::Number | ValueType::Boolean => {
            &[("PreviewAny", "source")]
        }
        // Models, conditionings and the like say nothing when they are printed.
        ValueType::Json | ValueType::File | ValueType::Any => &[],
    };
    classes.iter().find_map(|(class_type, taken)| {
        let spec = object_info.get(class_type)?;
        let mut inputs = Map::new();
        for input in &spec.inputs {
            if input.name != *taken && input.need == InputNeed::Required {
                inputs.insert(input.name.clone(), usual_value(input)?);
            }
        }
        Some(((*class_type).to_owned(), inputs, (*taken).to_owned()))
    })
}

fn usual_value(input: &InputSpec) -> Option<Value> {
    input.default.clone().or_else(|| match &input.kind {
        InputKind::Choice { choices, .. } => choices.first().cloned(),
        _ => None,
    })
}

fn node_called<'p>(
    prompt: &'p Prompt,
    wanted: &str,
) -> Result<(&'p str, &'p PromptNode), InnerError> {
    if let Some((node_id, node)) = prompt.nodes.get_key_value(wanted) {
        return Ok((node_id, node));
    }
    let fitting = |fits: &dyn Fn(&PromptNode) -> bool| -> Vec<(&'p str, &'p PromptNode)> {
        prompt
            .nodes
            .iter()
            .filter(|(_, node)| fits(node))
            .map(|(node_id, node)| (node_id.as_str(), node))
            .collect()
    };
    let mut found = fitting(&|node| node.title().eq_ignore_ascii_case(wanted));
    if found.is_empty() {
        found = fitting(&|node| node.class_type.eq_ignore_ascii_case(wanted));
    }
    let names = |nodes: &[(&str, &PromptNode)]| -> Vec<String> {
        nodes
            .iter()
            .map(|(node_id, node)| node_address(node_id, node).to_string())
            .collect()
    };
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(InnerError::NoSuchNode {
            wanted: wanted.to_owned(),
            nodes: names(&fitting(&|_| true)),
        }),
        several => Err(InnerError::Ambiguous {
            wanted: wanted.to_owned(),
            nodes: names(several),
        }),
    }
}
