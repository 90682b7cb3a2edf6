//! Finding a field of a prompt by its address, and replacing its value.

use super::address::{NodeAddress, ParameterAddress};
use super::object_info::{InputKind, InputSpec, ObjectInfo, whole};
use super::preflight::{choice_in_list, input_spec};
use super::prompt::{Prompt, PromptNode};
use serde_json::{Map, Value};

/// Why an address does not lead to a field any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// No node fits.
    #[error("the workflow no longer has {node}; choose the field again or restore the workflow")]
    NodeGone {
        /// What was looked for.
        node: NodeAddress,
    },
    /// The id is gone and several nodes have its class and title.
    #[error(
        "the workflow has {count} nodes like {node} and none with its number; give the one that is meant a title of its own, or choose the field again"
    )]
    Ambiguous {
        /// What was looked for.
        node: NodeAddress,
        /// How many nodes fit.
        count: usize,
    },
    /// The node has no such field.
    #[error("{node} of the workflow has no field {input} any more; choose another field")]
    InputGone {
        /// The node that was found.
        node: NodeAddress,
        /// The field it lacks.
        input: String,
    },
    /// Another node of the workflow feeds the field.
    #[error(
        "{address} is fed by node #{source_node} of the workflow; remove that link in ComfyUI, or choose a field of that node"
    )]
    Linked {
        /// The field.
        address: ParameterAddress,
        /// Id of the node that feeds it.
        source_node: String,
    },
}

/// Why a value was not put into a prompt. The prompt is unchanged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PatchError {
    /// The address leads nowhere.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The value is of the wrong type.
    #[error("{address} takes {expected}, not {value}")]
    WrongType {
        /// The field.
        address: Box<ParameterAddress>,
        /// What it takes, for example "a whole number".
        expected: &'static str,
        /// What was given, as JSON, shortened.
        value: String,
    },
    /// Below the smallest value.
    #[error("{address} is {value}, below its smallest value {min}")]
    BelowMinimum {
        /// The field.
        address: Box<ParameterAddress>,
        /// What was given.
        value: String,
        /// The limit.
        min: String,
    },
    /// Above the largest value.
    #[error("{address} is {value}, above its largest value {max}")]
    AboveMaximum {
        /// The field.
        address: Box<ParameterAddress>,
        /// What was given.
        value: String,
        /// The limit.
        max: String,
    },
    /// Not one of the choices.
    #[error("{address} is {value}, which is not one of its {count} choices{examples}")]
    NotInList {
        /// The field.
        address: Box<ParameterAddress>,
        /// What was given.
        value: String,
        /// How many choices there are.
        count: usize,
        /// The first of them, as the end of the sentence; empty when there are none.
        examples: String,
    },
}

/// Finds the node of an address: by id and class, else by class and title where that names exactly one node. Of several
/// inside subgraphs, the one with the same number inside its instance.
///
/// Returns the node's id in this prompt.
pub fn resolve_node(prompt: &Prompt, address: &NodeAddress) -> Result<String, Broken> {
    if let Some(node) = prompt.nodes.get(&address.node_id)
        && node.class_type == address.class_type
    {
        return Ok(address.node_id.clone());
    }
    resolve_where(prompt, address, |_| true)
}

fn resolve_where(
    prompt: &Prompt,
    address: &NodeAddress,
    fits: impl Fn(&PromptNode) -> bool,
) -> Result<String, Broken> {
    let alike: Vec<&String> = prompt
        .nodes
        .iter()
        .filter(|(_, node)| {
            node.class_type == address.class_type && node.title() == address.title && fits(node)
        })
        .map(|(id, _)| id)
        .collect();
    match alike.as_slice() {
        [] => Err(Broken::NodeGone {
            node: address.clone(),
        }),
        [id] => Ok((*id).clone()),
        // An instance of a subgraph that was put in anew has another number, the nodes inside it have not.
        several => only_same_inside(&address.node_id, several).ok_or_else(|| Broken::Ambiguous {
            node: address.clone(),
            count: several.len(),
        }),
    }
}

/// The one id that has the same number inside a subgraph instance, for an address that leads into one.
fn only_same_inside(wanted: &str, ids: &[&String]) -> Option<String> {
    let (_, inside) = wanted.rsplit_once(':')?;
    let mut same = ids.iter().filter(|id| {
        id.rsplit_once(':')
            .is_some_and(|(_, number)| number == inside)
    });
    let first = same.next()?;
    same.next().is_none().then(|| (*first).clone())
}

/// Finds the field of an address: by id and class, else by class, title and input where that names exactly one node.
///
/// Returns the address as it is in this prompt now.
pub fn resolve(prompt: &Prompt, address: &ParameterAddress) -> Result<ParameterAddress, Broken> {
    let by_id = prompt
        .nodes
        .get(&address.node.node_id)
        .filter(|node| node.class_type == address.node.class_type);
    let node_id = match by_id {
        Some(_) => address.node.node_id.clone(),
        None => match resolve_where(prompt, &address.node, |node| {
            node.inputs.contains_key(&address.input)
        }) {
            // Every node of that class and title lacks the field: say that instead of "no node".
            Err(Broken::NodeGone { .. }) => resolve_node(prompt, &address.node)?,
            other => other?,
        },
    };
    let found = |node: &PromptNode| ParameterAddress {
        node: NodeAddress {
            node_id: node_id.clone(),
            class_type: node.class_type.clone(),
            title: node.title().to_owned(),
        },
        input: address.input.clone(),
    };
    let Some(node) = prompt.nodes.get(&node_id) else {
        return Err(Broken::NodeGone {
            node: address.node.clone(),
        });
    };
    match node.inputs.get(&address.input) {
        None => Err(Broken::InputGone {
            node: found(node).node,
            input: address.input.clone(),
        }),
        Some(value) => match link_source(value) {
            Some((source_node, _)) => Err(Broken::Linked {
                address: found(node),
                source_node: source_node.to_owned(),
            }),
            None => Ok(found(node)),
        },
    }
}

/// The node id and output slot of a prompt value that is a link.
pub(super) fn link_source(value: &Value) -> Option<(&str, usize)> {
    match value.as_array()?.as_slice() {
        [Value::String(node_id), slot] => {
            // The backend takes 0.0 for a slot as well.
            let slot = usize::try_from(whole(slot)?).ok()?;
            Some((node_id, slot))
        }
        _ => None,
    }
}

/// Puts a value into the field of an address.
///
/// With `object_info` the value is checked against the field's type, limits and choices; model names are respelled as
/// the backend lists them. Without, against the type of the value it replaces. Texts take numbers and booleans as well,
/// numbers take whole numbers, whole numbers take `8.0`.
pub fn patch(
    prompt: &mut Prompt,
    address: &ParameterAddress,
    value: Value,
    object_info: Option<&ObjectInfo>,
) -> Result<(), PatchError> {
    let found = resolve(prompt, address)?;
    let Some(node) = prompt.nodes.get_mut(&found.node.node_id) else {
        return Err(Broken::NodeGone { node: found.node }.into());
    };
    let spec = object_info.and_then(|info| input_spec(info, node, &found.input));
    let current = node.inputs.get(&found.input);
    let fitted = match spec {
        Some(spec) => fit(&found, spec, value)?,
        None => fit_like(&found, current, value)?,
    };
    let fitted = match fitted {
        // The backend takes a bare list for a link; this is how the editor sends lists.
        Value::Array(items) => {
            let mut wrapped = Map::new();
            wrapped.insert("__value__".to_owned(), Value::Array(items));
            Value::Object(wrapped)
        }
        other => other,
    };
    node.inputs.insert(found.input, fitted);
    Ok(())
}

/// Checks a value against a spec; returns it in the form the backend wants.
pub(super) fn fit(
    address: &ParameterAddress,
    spec: &InputSpec,
    value: Value,
) -> Result<Value, PatchError> {
    let wrong_type = |expected, value: &Value| PatchError::WrongType {
        address: Box::new(address.clone()),
        expected,
        value: shorten(value),
    };
    match &spec.kind {
        InputKind::Integer { min, max, .. } => {
            let Some(number) = value.is_number().then(|| whole(&value)).flatten() else {
                return Err(wrong_type("a whole number", &value));
            };
            check_range(
                address,
                &value,
                min.is_some_and(|min| number < min),
                max.is_some_and(|max| number > max),
                || (display(*min), display(*max)),
            )?;
            Ok(match (i64::try_from(number), u64::try_from(number)) {
                (Ok(small), _) => small.into(),
                (_, Ok(large)) => large.into(),
                _ => value,
            })
        }
        InputKind::Number { min, max, .. } => {
            let Some(number) = value.as_f64() else {
                return Err(wrong_type("a number", &value));
            };
            check_range(
                address,
                &value,
                min.is_some_and(|min| number < min),
                max.is_some_and(|max| number > max),
                || (display(*min), display(*max)),
            )?;
            Ok(value)
        }
        InputKind::Boolean => match value {
            Value::Bool(_) => Ok(value),
            other => Err(wrong_type("true or false", &other)),
        },
        InputKind::Text { .. } => as_text(value).map_err(|value| wrong_type("text", &value)),
        InputKind::Choice {
            choices,
            multiselect,
            remote,
        } => {
            if value.is_object() || value.is_null() {
                return Err(wrong_type("one of its choices", &value));
            }
            // Uploaded files may lie in subfolders, which the list leaves out.
            if spec.upload.is_some() || *remote || *multiselect || choices.is_empty() {
                return Ok(value);
            }
            choice_in_list(choices, &value)
                .cloned()
                .ok_or_else(|| not_in_list(address, &value, choices))
        }
        InputKind::DynamicChoice { options } => {
            if options
                .iter()
                .any(|option| value.as_str() == Some(option.key.as_str()))
            {
                return Ok(value);
            }
            let keys: Vec<Value> = options
                .iter()
                .map(|option| option.key.clone().into())
                .collect();
            Err(not_in_list(address, &value, &keys))
        }
        InputKind::Autogrow(_) | InputKind::MatchType { .. } | InputKind::Other => Ok(value),
    }
}

/// Checks a value against the one it replaces, where no spec is known.
fn fit_like(
    address: &ParameterAddress,
    current: Option<&Value>,
    value: Value,
) -> Result<Value, PatchError> {
    let expected = match current {
        Some(Value::String(_)) => match as_text(value) {
            Ok(text) => return Ok(text),
            Err(value) => ("text", value),
        },
        Some(Value::Number(_)) if !value.is_number() => ("a number", value),
        Some(Value::Bool(_)) if !value.is_boolean() => ("true or false", value),
        _ => return Ok(value),
    };
    Err(PatchError::WrongType {
        address: Box::new(address.clone()),
        expected: expected.0,
        value: shorten(&expected.1),
    })
}

fn as_text(value: Value) -> Result<Value, Value> {
    match value {
        Value::String(_) => Ok(value),
        Value::Number(number) => Ok(number.to_string().into()),
        Value::Bool(on) => Ok(on.to_string().into()),
        other => Err(other),
    }
}

fn check_range(
    address: &ParameterAddress,
    value: &Value,
    below: bool,
    above: bool,
    limits: impl Fn() -> (String, String),
) -> Result<(), PatchError> {
    if below {
        return Err(PatchError::BelowMinimum {
            address: Box::new(address.clone()),
            value: shorten(value),
            min: limits().0,
        });
    }
    if above {
        return Err(PatchError::AboveMaximum {
            address: Box::new(address.clone()),
            value: shorten(value),
            max: limits().1,
        });
    }
    Ok(())
}

fn display(limit: Option<impl ToString>) -> String {
    limit.map(|limit| limit.to_string()).unwrap_or_default()
}

fn not_in_list(address: &ParameterAddress, value: &Value, choices: &[Value]) -> PatchError {
    PatchError::NotInList {
        address: Box::new(address.clone()),
        value: shorten(value),
        count: choices.len(),
        examples: examples(choices),
    }
}

/// The first choices of a list as the end of a sentence: ` (euler, heun, dpm_2, …)`.
pub(super) fn examples(choices: &[Value]) -> String {
    const SHOWN: usize = 5;
    if choices.is_empty() {
        return String::new();
    }
    let mut shown: Vec<String> = choices
        .iter()
        .take(SHOWN)
        .map(|choice| match choice {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    if choices.len() > SHOWN {
        shown.push("…".to_owned());
    }
    format!(" ({})", shown.join(", "))
}

/// A value as JSON for a message, at most 80 characters.
pub(super) fn shorten(value: &Value) -> String {
    const SHOWN: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}
