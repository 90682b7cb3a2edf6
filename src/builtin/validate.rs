//! Checks a prompt before it is queued, with ComfyUI's error types, texts and shapes.

mod values;

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{
    host::Host,
    python,
    spec::{InputKind, InputSpec, NodeClass},
};

/// A prompt that can run, at least in part.
#[derive(Debug)]
pub struct Accepted {
    /// The output nodes to run.
    pub outputs: Vec<String>,
    /// What is wrong with the others.
    pub node_errors: Value,
}

/// Why a prompt is not queued.
#[derive(Debug)]
pub enum Refused {
    /// Answered with 400.
    Invalid {
        /// The one error. Boxed: a JSON value is large for a result that nearly always holds no error.
        error: Box<Value>,
        /// What is wrong, by node.
        node_errors: Value,
    },
    /// ComfyUI stumbles over the shape: answered with 500.
    Fault,
}

fn refused(kind: &str, message: &str, details: &str) -> Refused {
    Refused::Invalid {
        error: Box::new(error(kind, message, details)),
        node_errors: json!({}),
    }
}

/// The `error` member of a refusal.
pub fn error(kind: &str, message: &str, details: &str) -> Value {
    json!({ "type": kind, "message": message, "details": details, "extra_info": {} })
}

/// Checks `prompt` and converts its values to the types of their inputs, as ComfyUI does. With `targets`, only those
/// output nodes count.
pub fn validate(
    host: &Host,
    prompt: &mut Value,
    targets: Option<&[Value]>,
) -> Result<Accepted, Refused> {
    let no_outputs = || refused("prompt_no_outputs", "Prompt has no outputs", "");
    let nodes = match prompt {
        Value::Object(nodes) => nodes,
        Value::Array(items) if items.is_empty() => return Err(no_outputs()),
        Value::String(text) if text.is_empty() => return Err(no_outputs()),
        _ => return Err(Refused::Fault),
    };
    let mut outputs = Vec::new();
    for (node_id, node) in nodes.iter() {
        let class = class_name(node_id, node).and_then(|name| {
            let class = name.as_str().and_then(|name| host.class(name));
            class.ok_or_else(|| {
                refused(
                    "invalid_prompt",
                    &format!(
                        "Cannot execute because node {} does not exist.",
                        python::text(name)
                    ),
                    &format!("Node ID '#{node_id}'"),
                )
            })
        })?;
        let wanted = targets.is_none_or(|targets| targets.contains(&json!(node_id)));
        if class.output_node && wanted {
            outputs.push(node_id.clone());
        }
    }
    if outputs.is_empty() {
        return Err(no_outputs());
    }
    let mut validation = Validation {
        host,
        nodes,
        outcomes: IndexMap::new(),
    };
    let mut good = Vec::new();
    let mut texts = Vec::new();
    let mut node_errors: IndexMap<String, NodeErrors> = IndexMap::new();
    for output in outputs {
        let reasons = match validation.check_from(&output) {
            Outcome::Valid => {
                good.push(output);
                continue;
            }
            Outcome::Invalid(reasons) => reasons,
        };
        texts.extend(reasons.iter().map(|reason| {
            let part = |name: &str| reason.get(name).map(python::text).unwrap_or_default();
            format!("{}: {}", part("message"), part("details"))
        }));
        for (node_id, outcome) in &validation.outcomes {
            if let Outcome::Invalid(reasons) = outcome
                && !reasons.is_empty()
            {
                node_errors
                    .entry(node_id.clone())
                    .or_insert_with(|| NodeErrors {
                        errors: reasons.clone(),
                        dependent_outputs: Vec::new(),
                    })
                    .dependent_outputs
                    .push(output.clone());
            }
        }
    }
    let node_errors: Map<String, Value> = node_errors
        .into_iter()
        .map(|(node_id, found)| {
            let class = nodes.get(&node_id).and_then(|node| node.get("class_type"));
            let entry = json!({
                "errors": found.errors,
                "dependent_outputs": found.dependent_outputs,
                "class_type": class,
            });
            (node_id, entry)
        })
        .collect();
    if good.is_empty() {
        return Err(Refused::Invalid {
            error: Box::new(error(
                "prompt_outputs_failed_validation",
                "Prompt outputs failed validation",
                &texts.join("\n"),
            )),
            node_errors: Value::Object(node_errors),
        });
    }
    Ok(Accepted {
        outputs: good,
        node_errors: Value::Object(node_errors),
    })
}

struct NodeErrors {
    errors: Vec<Value>,
    dependent_outputs: Vec<String>,
}

/// `prompt[id]["class_type"]`. A number in the place of a node is what a workflow in UI format has first.
fn class_name<'a>(node_id: &str, node: &'a Value) -> Result<&'a Value, Refused> {
    match node {
        Value::Object(members) => members.get("class_type"),
        Value::Array(_) | Value::String(_) => None,
        Value::Null | Value::Bool(_) | Value::Number(_) => return Err(Refused::Fault),
    }
    .ok_or_else(|| {
        refused(
            "invalid_prompt",
            "Cannot execute because a node is missing the class_type property.",
            &format!("Node ID '#{node_id}'"),
        )
    })
}

#[derive(Clone, Debug)]
enum Outcome {
    Valid,
    /// The reasons are empty when the fault is upstream, and in a cycle.
    Invalid(Vec<Value>),
}

/// An exception while a node is validated: Python's name and text for it.
struct Exception {
    exception_type: &'static str,
    text: String,
}

fn key_error(key: &Value) -> Exception {
    Exception {
        exception_type: "KeyError",
        text: python::repr(key),
    }
}

/// Where an input's value comes from.
enum Source {
    /// It stands in the prompt.
    Literal,
    /// It is a list that is not of length 2.
    BadLink,
    /// Another node makes it.
    Link {
        from: String,
        received_type: &'static str,
    },
}

struct Validation<'a> {
    host: &'a Host,
    nodes: &'a mut Map<String, Value>,
    outcomes: IndexMap<String, Outcome>,
}

impl Validation<'_> {
    /// Checks an output node after everything it needs; no recursion, so that a long chain is no danger.
    fn check_from(&mut self, output: &str) -> Outcome {
        let mut open: HashSet<String> = HashSet::new();
        let mut stack = vec![output.to_owned()];
        let mut faults: HashMap<String, Exception> = HashMap::new();
        while let Some(node_id) = stack.last().cloned() {
            if self.outcomes.contains_key(&node_id) || faults.contains_key(&node_id) {
                stack.pop();
                continue;
            }
            let entered_before = !open.insert(node_id.clone());
            let (upstream, fault) = self.upstream(&node_id);
            if !entered_before {
                // The last one pushed is checked first.
                let wanted: Vec<String> = upstream
                    .iter()
                    .rev()
                    .filter(|from| !open.contains(*from))
                    .cloned()
                    .collect();
                if !wanted.is_empty() {
                    stack.extend(wanted);
                    continue;
                }
            }
            stack.pop();
            for from in &upstream {
                if let Some(exception) = faults.remove(from) {
                    let reason = self.inner_exception(&node_id, from, &exception);
                    self.outcomes
                        .insert(from.clone(), Outcome::Invalid(vec![reason]));
                }
            }
            if let Some(exception) = fault {
                faults.insert(node_id, exception);
            } else {
                let outcome = self.check_node(&node_id);
                self.outcomes.insert(node_id, outcome);
            }
        }
        if let Some(exception) = faults.remove(output) {
            let reason = json!({
                "type": "exception_during_validation",
                "message": "Exception when validating node",
                "details": exception.text,
                "extra_info": {
                    "exception_type": exception.exception_type,
                    "traceback": traceback(output),
                },
            });
            self.outcomes
                .insert(output.to_owned(), Outcome::Invalid(vec![reason]));
        }
        self.outcomes
            .get(output)
            .cloned()
            .unwrap_or(Outcome::Invalid(Vec::new()))
    }

    fn class(&self, node_id: &str) -> Option<&NodeClass> {
        let name = self.nodes.get(node_id)?.get("class_type")?.as_str()?;
        self.host.classes.get(name)
    }

    fn inputs(&self, node_id: &str) -> Result<&Map<String, Value>, Exception> {
        match self.nodes.get(node_id).and_then(|node| node.get("inputs")) {
            None => Err(key_error(&json!("inputs"))),
            Some(Value::Object(inputs)) => Ok(inputs),
            Some(other) => Err(Exception {
                exception_type: "TypeError",
                text: format!(
                    "'{}' object cannot be read as the inputs of a node",
                    python::type_name(other)
                ),
            }),
        }
    }

    /// The nodes linked in, up to the first link that raises.
    fn upstream(&self, node_id: &str) -> (Vec<String>, Option<Exception>) {
        let mut upstream = Vec::new();
        let inputs = match self.inputs(node_id) {
            Ok(inputs) => inputs,
            Err(exception) => return (upstream, Some(exception)),
        };
        for input in self
            .class(node_id)
            .into_iter()
            .flat_map(|class| &class.inputs)
        {
            match inputs.get(input.name).map(|value| self.source(value)) {
                Some(Err(exception)) => return (upstream, Some(exception)),
                Some(Ok(Source::Link {
                    from,
                    received_type,
                })) if accepts(&input.kind, received_type) => upstream.push(from),
                _ => {}
            }
        }
        (upstream, None)
    }

    fn source(&self, value: &Value) -> Result<Source, Exception> {
        let Value::Array(items) = value else {
            return Ok(Source::Literal);
        };
        let [from, slot] = items.as_slice() else {
            return Ok(Source::BadLink);
        };
        let class = from
            .as_str()
            .and_then(|from| self.class(from))
            .ok_or_else(|| key_error(from))?;
        let Some(slot) = slot.as_i64() else {
            return Err(Exception {
                exception_type: "TypeError",
                text: format!(
                    "tuple indices must be integers or slices, not {}",
                    python::type_name(slot)
                ),
            });
        };
        // Python counts negative indices from the end, but nothing can run with one.
        let received = usize::try_from(slot)
            .ok()
            .and_then(|slot| class.outputs.get(slot));
        let (received_type, _) = received.ok_or_else(|| Exception {
            exception_type: "IndexError",
            text: "tuple index out of range".to_owned(),
        })?;
        Ok(Source::Link {
            from: python::text(from),
            received_type,
        })
    }

    /// What ComfyUI says of a node whose validation raised, seen from the node that needs it.
    fn inner_exception(&self, node_id: &str, from: &str, exception: &Exception) -> Value {
        let link = self.inputs(node_id).ok().and_then(|inputs| {
            inputs
                .iter()
                .find(|(_, value)| value.get(0).and_then(Value::as_str) == Some(from))
        });
        let (name, value) = link.map_or(("", Value::Null), |(name, value)| (name, value.clone()));
        let config = self.class(node_id).and_then(|class| {
            let input = class.inputs.iter().find(|input| input.name == name)?;
            Some(self.config(class, input))
        });
        json!({
            "type": "exception_during_inner_validation",
            "message": "Exception when validating inner node",
            "details": exception.text,
            "extra_info": {
                "input_name": name,
                "input_config": config,
                "exception_message": exception.text,
                "exception_type": exception.exception_type,
                "traceback": traceback(from),
                "linked_node": value,
            },
        })
    }

    fn config(&self, class: &NodeClass, input: &InputSpec) -> Value {
        json!([
            class.type_value(input, &self.host.folders),
            class.options_value(input, &self.host.folders)
        ])
    }

    /// Checks one node whose upstream nodes are checked.
    fn check_node(&mut self, node_id: &str) -> Outcome {
        let host = self.host;
        let Some(class) = self
            .class(node_id)
            .and_then(|class| host.classes.get(class.name))
        else {
            return Outcome::Invalid(Vec::new());
        };
        let mut errors = Vec::new();
        let mut valid = true;
        for input in &class.inputs {
            let value = match self.inputs(node_id) {
                Ok(inputs) => inputs.get(input.name).cloned(),
                Err(_) => None,
            };
            let Some(value) = value else {
                if input.required {
                    errors.push(reason(
                        "required_input_missing",
                        "Required input is missing",
                        input.name,
                        json!({ "input_name": input.name }),
                    ));
                }
                continue;
            };
            let config = || self.config(class, input);
            match self.source(&value) {
                // `upstream` met it first.
                Err(_) => valid = false,
                Ok(Source::BadLink) => errors.push(reason(
                    "bad_linked_input",
                    "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                    input.name,
                    json!({
                        "input_name": input.name,
                        "input_config": config(),
                        "received_value": value,
                    }),
                )),
                Ok(Source::Link {
                    from,
                    received_type,
                }) => {
                    if accepts(&input.kind, received_type) {
                        let upstream_is_good =
                            matches!(self.outcomes.get(&from), Some(Outcome::Valid));
                        valid &= upstream_is_good;
                    } else {
                        let wanted = python::text(&class.type_value(input, &self.host.folders));
                        errors.push(reason(
                            "return_type_mismatch",
                            "Return type mismatch between linked nodes",
                            &format!(
                                "{}, received_type({received_type}) mismatch input_type({wanted})",
                                input.name
                            ),
                            json!({
                                "input_name": input.name,
                                "input_config": config(),
                                "received_type": received_type,
                                "linked_node": value,
                            }),
                        ));
                    }
                }
                Ok(Source::Literal) => match self.check_value(class, input, value) {
                    Ok(converted) => {
                        let slot = self
                            .nodes
                            .get_mut(node_id)
                            .and_then(|node| node.get_mut("inputs"))
                            .and_then(|inputs| inputs.get_mut(input.name));
                        if let Some(slot) = slot {
                            *slot = converted;
                        }
                    }
                    Err(found) => errors.push(found),
                },
            }
        }
        if errors.is_empty() && valid {
            Outcome::Valid
        } else {
            Outcome::Invalid(errors)
        }
    }
}

fn reason(kind: &str, message: &str, details: &str, extra_info: Value) -> Value {
    json!({ "type": kind, "message": message, "details": details, "extra_info": extra_info })
}

fn traceback(node_id: &str) -> Value {
    json!([format!("  built-in backend, validating node {node_id}\n")])
}

/// Whether a link may bring this type: types are lists with commas, `*` is anything.
fn accepts(kind: &InputKind, received: &str) -> bool {
    let wanted = match kind {
        InputKind::Named(name) => *name,
        _ => "COMBO",
    };
    let any = |types: &str| types.split(',').any(|one| one.trim() == "*");
    any(wanted)
        || any(received)
        || wanted
            .split(',')
            .any(|one| received.split(',').any(|other| other.trim() == one.trim()))
}
