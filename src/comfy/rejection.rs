//! Why a server refuses a prompt, or parts of it.

use super::json::{member, text_of};
use serde_json::Value;
use std::fmt;

/// Nodes that an error message names before it says "and N more".
const NAMED_ERRORS: usize = 3;

/// The answer 400 to a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptRejection {
    /// What kind of refusal.
    pub kind: RejectionKind,
    /// The server's sentence.
    pub message: String,
    /// The server's detail; empty when the faulty node is upstream of the output node, and for cycles.
    pub details: String,
    /// What is wrong with which node; empty for unknown classes and for cycles.
    pub node_errors: NodeErrors,
    /// The node class the server does not have, where that is the reason.
    pub missing_class: Option<String>,
}

/// What kind of refusal (`error.type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// `invalid_prompt`: an unknown or missing class (newer servers: `missing_node_type`).
    InvalidPrompt,
    /// `prompt_no_outputs`: it has no output node.
    NoOutputs,
    /// `no_prompt`: the body has no prompt.
    NoPrompt,
    /// `prompt_outputs_failed_validation`: see the node errors; without any it is a cycle.
    OutputsFailedValidation,
    /// Another one.
    Other(String),
}

/// Node id → what is wrong with it, in the server's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeErrors(pub Vec<NodeError>);

/// What is wrong with one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeError {
    /// The node.
    pub node_id: String,
    /// Its class.
    pub class_type: String,
    /// Output nodes that will not run because of it; may name an unrelated one.
    pub dependent_outputs: Vec<String>,
    /// What is wrong, input by input.
    pub errors: Vec<InputError>,
}

/// What is wrong with one input.
#[derive(Clone, Debug, PartialEq)]
pub struct InputError {
    /// What kind of fault.
    pub kind: InputErrorKind,
    /// The input, where one is named.
    pub input_name: Option<String>,
    /// The server's sentence.
    pub message: String,
    /// The server's detail, for example `seed: 'x' not in […]`.
    pub details: String,
    /// The value it received, where it says so.
    pub received: Option<Value>,
}

/// What kind of fault an input has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputErrorKind {
    /// `required_input_missing`.
    Missing,
    /// `invalid_input_type`.
    WrongType,
    /// `value_smaller_than_min`.
    TooSmall,
    /// `value_bigger_than_max`.
    TooBig,
    /// `value_not_in_list`: a choice, often a model, that this server does not have.
    NotInList,
    /// `custom_validation_failed`: the node's own check, for example a missing input file.
    CustomValidation,
    /// `return_type_mismatch`: a link of another type.
    LinkTypeMismatch,
    /// `bad_linked_input`: not a link `[node, slot]`.
    BadLink,
    /// `exception_during_validation`: often a link to a node or slot that does not exist.
    Exception,
    /// Another one.
    Other(String),
}

impl NodeErrors {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `node_errors`; anything but an object (some versions send an empty list) has none.
    pub(super) fn from_json(value: Option<&Value>) -> Self {
        let Some(Value::Object(nodes)) = value else {
            return Self::default();
        };
        Self(
            nodes
                .iter()
                .map(|(node_id, node)| NodeError {
                    node_id: node_id.clone(),
                    class_type: member(node, "class_type"),
                    dependent_outputs: node
                        .get("dependent_outputs")
                        .and_then(Value::as_array)
                        .map(|ids| ids.iter().map(text_of).collect())
                        .unwrap_or_default(),
                    errors: node
                        .get("errors")
                        .and_then(Value::as_array)
                        .map(|errors| errors.iter().map(InputError::from_json).collect())
                        .unwrap_or_default(),
                })
                .collect(),
        )
    }
}

impl InputError {
    fn from_json(value: &Value) -> Self {
        let extra = value.get("extra_info");
        Self {
            kind: InputErrorKind::from_wire(&member(value, "type")),
            input_name: extra
                .and_then(|extra| extra.get("input_name"))
                .filter(|name| !name.is_null())
                .map(text_of),
            message: member(value, "message"),
            details: member(value, "details"),
            received: extra.and_then(|extra| extra.get("received_value")).cloned(),
        }
    }
}

impl InputErrorKind {
    fn from_wire(kind: &str) -> Self {
        match kind {
            "required_input_missing" => Self::Missing,
            "invalid_input_type" => Self::WrongType,
            "value_smaller_than_min" => Self::TooSmall,
            "value_bigger_than_max" => Self::TooBig,
            "value_not_in_list" => Self::NotInList,
            "custom_validation_failed" => Self::CustomValidation,
            "return_type_mismatch" => Self::LinkTypeMismatch,
            "bad_linked_input" => Self::BadLink,
            "exception_during_validation" => Self::Exception,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl PromptRejection {
    /// Reads the body of a 400; none if it has no `error`.
    pub(super) fn from_json(body: &Value) -> Option<Self> {
        let error = body.get("error")?;
        // Some forks put a bare sentence there.
        let (kind, message, details) = if let Value::String(sentence) = error {
            (String::new(), sentence.clone(), String::new())
        } else {
            (
                member(error, "type"),
                member(error, "message"),
                member(error, "details"),
            )
        };
        let missing_class = error
            .get("extra_info")
            .and_then(|extra| extra.get("class_type"))
            .and_then(Value::as_str)
            .or_else(|| {
                message
                    .strip_prefix("Cannot execute because node ")?
                    .strip_suffix(" does not exist.")
            })
            .map(str::to_owned);
        Some(Self {
            kind: match kind.as_str() {
                "invalid_prompt" | "missing_node_type" => RejectionKind::InvalidPrompt,
                "prompt_no_outputs" => RejectionKind::NoOutputs,
                "no_prompt" => RejectionKind::NoPrompt,
                "prompt_outputs_failed_validation" => RejectionKind::OutputsFailedValidation,
                other => RejectionKind::Other(other.to_owned()),
            },
            message,
            details,
            node_errors: NodeErrors::from_json(body.get("node_errors")),
            missing_class,
        })
    }

    /// Whether the only explanation left is a cycle among the prompt's nodes: validation failed and the server says nothing
    /// more.
    #[must_use]
    pub fn is_probably_a_cycle(&self) -> bool {
        self.kind == RejectionKind::OutputsFailedValidation
            && self.details.trim().is_empty()
            && self.node_errors.is_empty()
    }
}

impl fmt::Display for PromptRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(class) = &self.missing_class {
            return write!(
                f,
                "it has no node class {class} ({}); install the custom node that brings it",
                self.details
            );
        }
        if self.is_probably_a_cycle() {
            return f.write_str("its nodes form a cycle");
        }
        if !self.node_errors.is_empty() {
            return self.node_errors.fmt(f);
        }
        write!(f, "{}", self.message)?;
        if !self.details.is_empty() {
            write!(f, " ({})", self.details)?;
        }
        Ok(())
    }
}

impl fmt::Display for NodeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self
            .0
            .iter()
            .flat_map(|node| node.errors.iter().map(move |error| (node, error)));
        let count = all.clone().count();
        for (position, (node, error)) in all.take(NAMED_ERRORS).enumerate() {
            if position > 0 {
                f.write_str("; ")?;
            }
            write!(
                f,
                "#{} {}: {}",
                node.node_id, node.class_type, error.message
            )?;
            if !error.details.is_empty() {
                write!(f, " ({})", error.details)?;
            }
        }
        if count > NAMED_ERRORS {
            write!(f, "; and {} more", count - NAMED_ERRORS)?;
        }
        Ok(())
    }
}
