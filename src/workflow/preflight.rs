//! Whether a backend can run a prompt, and the prompt in the backend's own spelling.

use super::address::{NodeAddress, ParameterAddress};
use super::object_info::{InputKind, InputNeed, InputSpec, NodeSpec, ObjectInfo};
use super::patch::{PatchError, examples, fit, link_source, shorten};
use super::prompt::{Prompt, PromptNode};
use indexmap::IndexMap;
use serde_json::Value;

/// Why a backend cannot run a prompt as it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reason {
    /// The backend lacks a node class.
    #[error("lacks the node class {class_type} (needed by {})", name_nodes(nodes))]
    MissingClass {
        /// The class.
        class_type: String,
        /// The nodes that need it.
        nodes: Vec<NodeAddress>,
    },
    /// The backend lacks a model file.
    #[error("lacks {model} ({address})")]
    MissingModel {
        /// The field that names it.
        address: ParameterAddress,
        /// The model file.
        model: String,
    },
    /// A value is not one the backend offers.
    #[error("does not offer {value} for {address}{examples}")]
    NotInList {
        /// The field.
        address: ParameterAddress,
        /// The value.
        value: String,
        /// The first choices it has, as the end of the sentence.
        examples: String,
    },
    /// A required input is missing.
    #[error("{address} is required and has neither a value nor a link")]
    MissingInput {
        /// The input.
        address: ParameterAddress,
    },
    /// An input is linked to a node that the prompt does not have.
    #[error("{address} is linked to node #{source_node}, which the workflow does not have")]
    DanglingLink {
        /// The input.
        address: ParameterAddress,
        /// The id of the missing node.
        source_node: String,
    },
    /// A value is of the wrong type or out of range.
    #[error(transparent)]
    BadValue(PatchError),
}

impl Reason {
    /// What kind of reason it is, as a word for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::MissingClass { .. } => "missing_class",
            Self::MissingModel { .. } => "missing_model",
            Self::NotInList { .. } => "not_in_list",
            Self::MissingInput { .. } => "missing_input",
            Self::DanglingLink { .. } => "dangling_link",
            Self::BadValue(PatchError::WrongType { .. }) => "wrong_type",
            Self::BadValue(_) => "out_of_range",
        }
    }

    /// Whether another backend may still run the prompt: it lacks something that others may have.
    #[must_use]
    pub fn is_about_backend(&self) -> bool {
        matches!(
            self,
            Self::MissingClass { .. } | Self::MissingModel { .. } | Self::NotInList { .. }
        )
    }
}

/// Why a backend with these node classes does not take a value for a field: a choice that it does not list. None where it
/// does, and where that is not known.
#[must_use]
pub fn lacks_choice(
    object_info: &ObjectInfo,
    address: &ParameterAddress,
    value: &str,
) -> Option<Reason> {
    let input = object_info
        .get(&address.node.class_type)?
        .input(&address.input)?;
    match fit(address, input, value.into()) {
        Err(PatchError::NotInList { .. }) => {
            Some(not_listed(address.clone(), input, &value.into()))
        }
        _ => None,
    }
}

fn not_listed(address: ParameterAddress, input: &InputSpec, value: &Value) -> Reason {
    match value.as_str() {
        Some(model) if is_model_name(model) => Reason::MissingModel {
            address,
            model: model.to_owned(),
        },
        _ => Reason::NotInList {
            address,
            value: shorten(value),
            examples: match &input.kind {
                InputKind::Choice { choices, .. } => examples(choices),
                _ => String::new(),
            },
        },
    }
}

fn name_nodes(nodes: &[NodeAddress]) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<String> = nodes
        .iter()
        .take(SHOWN)
        .map(|node| format!("#{}", node.node_id))
        .collect();
    if nodes.len() > SHOWN {
        names.push(format!("and {} more", nodes.len() - SHOWN));
    }
    names.join(", ")
}

/// Every reason why the backend with this `object_info` cannot run the prompt; none when it can. Model names are
/// compared with `\` and `/` taken for the same.
#[must_use]
pub fn preflight(prompt: &Prompt, object_info: &ObjectInfo) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut missing: IndexMap<&str, Vec<NodeAddress>> = IndexMap::new();
    for (id, node) in &prompt.nodes {
        let Some(spec) = object_info.get(&node.class_type) else {
            missing
                .entry(&node.class_type)
                .or_default()
                .push(node_address(id, node));
            continue;
        };
        check_node(prompt, id, node, spec, &mut reasons);
    }
    let classes = missing
        .into_iter()
        .map(|(class_type, nodes)| Reason::MissingClass {
            class_type: class_type.to_owned(),
            nodes,
        });
    classes.chain(reasons).collect()
}

fn check_node(
    prompt: &Prompt,
    id: &str,
    node: &PromptNode,
    spec: &NodeSpec,
    reasons: &mut Vec<Reason>,
) {
    let address = |input: &str| ParameterAddress {
        node: node_address(id, node),
        input: input.to_owned(),
    };
    for input in &spec.inputs {
        if input.need == InputNeed::Required
            && !node.inputs.contains_key(&input.name)
            // Its rows are inputs of their own, named after it.
            && !matches!(input.kind, InputKind::Autogrow(_))
        {
            reasons.push(Reason::MissingInput {
                address: address(&input.name),
            });
        }
    }
    for (name, value) in &node.inputs {
        if let Some((source_node, _)) = link_source(value) {
            if !prompt.nodes.contains_key(source_node) {
                reasons.push(Reason::DanglingLink {
                    address: address(name),
                    source_node: source_node.to_owned(),
                });
            }
            continue;
        }
        let Some(input) = active_input(spec, node, name) else {
            continue;
        };
        if input.need == InputNeed::Hidden || value.get("__value__").is_some() {
            continue;
        }
        if let Err(error) = fit(&address(name), input, value.clone()) {
            reasons.push(match error {
                PatchError::NotInList { .. } => not_listed(address(name), input, value),
                // The backend converts what it can: a number written as text is no obstacle.
                PatchError::WrongType { .. } if converts(input, value) => continue,
                other => Reason::BadValue(other),
            });
        }
    }
}

/// Whether the backend turns this value into the input's type by itself: Python's `int("8")`, `float("1.5")`.
fn converts(input: &InputSpec, value: &Value) -> bool {
    match (&input.kind, value) {
        (InputKind::Integer { .. }, Value::Bool(_) | Value::Number(_))
        | (InputKind::Number { .. }, Value::Bool(_))
        | (InputKind::Boolean, Value::Number(_) | Value::String(_) | Value::Null) => true,
        (InputKind::Integer { .. }, Value::String(text)) => text.trim().parse::<i128>().is_ok(),
        (InputKind::Number { .. }, Value::String(text)) => text.trim().parse::<f64>().is_ok(),
        _ => false,
    }
}

/// Whether a choice is the name of a model file, by its extension.
#[must_use]
pub fn is_model_name(value: &str) -> bool {
    const EXTENSIONS: [&str; 11] = [
        "safetensors",
        "sft",
        "ckpt",
        "pt",
        "pt2",
        "pth",
        "bin",
        "gguf",
        "onnx",
        "pkl",
        "engine",
    ];
    value.rsplit_once('.').is_some_and(|(_, extension)| {
        EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// Rewrites every value that a backend lists with other slashes to the backend's own spelling. Returns how many.
pub fn respell(prompt: &mut Prompt, object_info: &ObjectInfo) -> usize {
    let mut respelled = 0;
    for node in prompt.nodes.values_mut() {
        let Some(spec) = object_info.get(&node.class_type) else {
            continue;
        };
        for (name, value) in &mut node.inputs {
            let Some(InputKind::Choice { choices, .. }) = spec.input(name).map(|spec| &spec.kind)
            else {
                continue;
            };
            if let Some(listed) = choice_in_list(choices, value)
                && listed.is_string()
                && listed != value
            {
                *value = listed.clone();
                respelled += 1;
            }
        }
    }
    respelled
}

/// The choice that a value means: equal, or equal after `\` and `/` are taken for the same.
pub(super) fn choice_in_list<'a>(choices: &'a [Value], value: &Value) -> Option<&'a Value> {
    let same = |choice: &&Value| match (choice.as_f64(), value.as_f64()) {
        (Some(choice), Some(value)) => choice.total_cmp(&value).is_eq(),
        _ => *choice == value,
    };
    if let Some(choice) = choices.iter().find(same) {
        return Some(choice);
    }
    let value = value.as_str()?;
    let slashed = |text: &str| text.replace('\\', "/");
    let wanted = slashed(value);
    choices.iter().find(|choice| {
        choice
            .as_str()
            .is_some_and(|choice| slashed(choice) == wanted)
    })
}

/// The spec of an input of a node, those of dynamic combos by the option the node has chosen.
pub(super) fn input_spec<'a>(
    object_info: &'a ObjectInfo,
    node: &PromptNode,
    input: &str,
) -> Option<&'a InputSpec> {
    active_input(object_info.get(&node.class_type)?, node, input)
}

pub(super) fn active_input<'a>(
    spec: &'a NodeSpec,
    node: &PromptNode,
    input: &str,
) -> Option<&'a InputSpec> {
    let Some((parent, rest)) = input.split_once('.') else {
        return spec.input(input);
    };
    if let Some(InputKind::DynamicChoice { options }) = spec.input(parent).map(|spec| &spec.kind)
        && let Some(chosen) = node.inputs.get(parent).and_then(Value::as_str)
        && let Some(option) = options.iter().find(|option| option.key == chosen)
        && let Some(found) = option.inputs.iter().find(|spec| spec.name == rest)
    {
        return Some(found);
    }
    spec.input(input)
}

pub(super) fn node_address(id: &str, node: &PromptNode) -> NodeAddress {
    NodeAddress {
        node_id: id.to_owned(),
        class_type: node.class_type.clone(),
        title: node.title().to_owned(),
    }
}
