//! What may be in a document: whether a link is legal, whether a node is well made.

use super::DataType;
use super::data::Literal;
use super::document::{PortRef, Project};
use super::fan_out::FanOutSource;
use super::id::{LinkId, NodeId, PortId};
use super::node::{InputValue, Node, NodeKind, Port, PortBinding};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// Deepest nesting of arrays and objects in a JSON value of the document.
pub const MAX_JSON_DEPTH: usize = 64;

/// Why two ports cannot be linked. Checked in the order of the variants, so [`LinkRefusal::InputTaken`] means that the
/// link would be legal in the place of the one that is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// The start does not exist.
    #[error("the output where the link starts does not exist (any more); draw the link again")]
    NoSuchOutput(PortRef),
    /// The end does not exist.
    #[error("the input where the link ends does not exist (any more); draw the link again")]
    NoSuchInput(PortRef),
    /// The types do not fit.
    #[error("\"{output}\" gives {from}, but \"{input}\" takes {to}; link ports of the same type")]
    TypeMismatch {
        /// Name of the output.
        output: String,
        /// What it gives.
        from: DataType,
        /// Name of the input.
        input: String,
        /// What it takes.
        to: DataType,
    },
    /// Both ends are on one node.
    #[error("\"{node}\" cannot be linked to itself")]
    SameNode {
        /// Its title.
        node: String,
    },
    /// The same two ports are linked already.
    #[error("these two ports are linked already")]
    AlreadyLinked(LinkId),
    /// The link would close a circle.
    #[error("\"{from}\" already depends on \"{to}\", so this link would close a circle")]
    Cycle {
        /// Title of the node where the link starts.
        from: String,
        /// Title of the node where it ends.
        to: String,
    },
    /// The input has a link and takes only one.
    #[error(
        "\"{input}\" of \"{node}\" has a link already and takes only one; remove that one first"
    )]
    InputTaken {
        /// Name of the input.
        input: String,
        /// Title of its node.
        node: String,
        /// The link that is there.
        by: LinkId,
    },
}

/// What is wrong with a node by itself.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NodeFault {
    /// A position, size or number is infinite or not a number.
    #[error("its {what} is not a finite number; enter a number")]
    NotFinite {
        /// Which number.
        what: String,
    },
    /// A JSON value is nested too deeply.
    #[error(
        "the JSON in its {what} is nested more than {MAX_JSON_DEPTH} levels deep; use a flatter value"
    )]
    JsonTooDeep {
        /// Which value.
        what: String,
    },
    /// Two ports share an id.
    #[error("two of its ports have the same id {0}; make the node anew")]
    DuplicatePort(PortId),
    /// The ports do not follow from the settings.
    #[error("its ports do not fit its settings; make the node anew")]
    WrongPorts,
    /// A Workflow node shows two parameters under one label.
    #[error("two of its parameters are called \"{0}\"; rename one, because labels tell them apart")]
    DuplicateLabel(String),
    /// A Workflow node shows a parameter without label.
    #[error("a parameter has no label; give it one")]
    EmptyLabel,
    /// A Workflow node shows one field twice.
    #[error("it shows the field {0} twice; remove one")]
    DuplicateParameter(String),
    /// Two inputs replace the same field.
    #[error("two of its inputs replace the field {0}; remove one")]
    DuplicateParameterPort(String),
    /// A `FanOut` has two axes of one name.
    #[error("two of its axes are called \"{0}\"; rename one")]
    DuplicateAxis(String),
    /// An Input gives a value that its port does not carry.
    #[error("it gives {value}, but its port carries {port}; change one of them")]
    WrongValueType {
        /// What it gives.
        value: DataType,
        /// What the port carries.
        port: DataType,
    },
}

impl Project {
    /// Whether a link from this output to this input is legal, for feedback while it is being drawn: both ports exist,
    /// the types fit, no circle closes, and the input has room. Costs what lies downstream of `to`.
    pub fn check_link(&self, from: PortRef, to: PortRef) -> Result<(), LinkRefusal> {
        let start = self.nodes.get(&from.node);
        let (Some(start), Some(output)) = (start, self.output(from)) else {
            return Err(LinkRefusal::NoSuchOutput(from));
        };
        let end = self.nodes.get(&to.node);
        let (Some(end), Some(input)) = (end, self.input(to)) else {
            return Err(LinkRefusal::NoSuchInput(to));
        };
        if from.node == to.node {
            return Err(LinkRefusal::SameNode {
                node: start.title.clone(),
            });
        }
        if !input.data_type.accepts(output.data_type) {
            return Err(LinkRefusal::TypeMismatch {
                output: output.name.clone(),
                from: output.data_type,
                input: input.name.clone(),
                to: input.data_type,
            });
        }
        if let Some(same) = self.links.into_port(to).find(|link| link.from == from) {
            return Err(LinkRefusal::AlreadyLinked(same.id));
        }
        if self.reaches(to.node, from.node) {
            return Err(LinkRefusal::Cycle {
                from: start.title.clone(),
                to: end.title.clone(),
            });
        }
        if !takes_many(end, input)
            && let Some(there) = self.links.into_port(to).next()
        {
            return Err(LinkRefusal::InputTaken {
                input: input.name.clone(),
                node: end.title.clone(),
                by: there.id,
            });
        }
        Ok(())
    }

    /// Whether links lead from one node to the other.
    fn reaches(&self, from: NodeId, target: NodeId) -> bool {
        let mut seen = HashSet::from([from]);
        let mut open = vec![from];
        while let Some(node_id) = open.pop() {
            if node_id == target {
                return true;
            }
            for link in self.links.out_of_node(node_id) {
                if seen.insert(link.to.node) {
                    open.push(link.to.node);
                }
            }
        }
        false
    }
}

/// Whether this input takes several links: only the values of a Merge do.
#[must_use]
pub fn takes_many(node: &Node, input: &Port) -> bool {
    matches!(node.kind, NodeKind::Merge(_)) && input.binding == PortBinding::Value
}

/// Whether every number and JSON value of the node can be kept: what no file and no edit may bring in.
pub(super) fn check_values(node: &Node) -> Result<(), NodeFault> {
    let [x, y] = node.pos_world;
    if !(x.is_finite() && y.is_finite()) {
        return Err(not_finite("position"));
    }
    if !node.width_world.is_finite() {
        return Err(not_finite("width"));
    }
    match &node.kind {
        NodeKind::Workflow(workflow) => {
            for parameter in &workflow.parameters {
                if let Some(value) = &parameter.value {
                    check_literal(value, &format!("parameter \"{}\"", parameter.label))?;
                }
            }
        }
        NodeKind::Input(input) => {
            if let InputValue::Literal(value) = &input.value {
                check_literal(value, "value")?;
            }
        }
        NodeKind::FanOut(fan_out) => match &fan_out.source {
            FanOutSource::List(axis) => check_axis(&axis.name, &axis.values)?,
            FanOutSource::Grid(axes) | FanOutSource::Zip(axes) => {
                for axis in axes {
                    check_axis(&axis.name, &axis.values)?;
                }
            }
            FanOutSource::Range { start, step, .. } => {
                if !(start.is_finite() && step.is_finite()) {
                    return Err(not_finite("range"));
                }
            }
            FanOutSource::Seeds { .. }
            | FanOutSource::Table(_)
            | FanOutSource::Files(_)
            | FanOutSource::Split { .. } => {}
        },
        NodeKind::Output(_) | NodeKind::Condition(_) | NodeKind::Merge(_) | NodeKind::Review(_) => {
        }
    }
    Ok(())
}

/// Everything wrong with how the node is built: ports, labels, axes.
pub(super) fn shape_faults(node: &Node) -> Vec<NodeFault> {
    let mut faults = Vec::new();
    let mut port_ids = HashSet::new();
    for port in node.inputs.iter().chain(&node.outputs) {
        if !port_ids.insert(port.id) {
            faults.push(NodeFault::DuplicatePort(port.id));
        }
    }
    match &node.kind {
        NodeKind::Workflow(workflow) => {
            let mut labels = BTreeSet::new();
            let mut addresses = BTreeSet::new();
            for parameter in &workflow.parameters {
                if parameter.label.trim().is_empty() {
                    faults.push(NodeFault::EmptyLabel);
                } else if !labels.insert(&parameter.label) {
                    faults.push(NodeFault::DuplicateLabel(parameter.label.clone()));
                }
                if !addresses.insert(&parameter.address) {
                    let field = parameter.address.to_string();
                    faults.push(NodeFault::DuplicateParameter(field));
                }
            }
            let mut replaced = BTreeSet::new();
            for port in &node.inputs {
                if let PortBinding::Parameter(address) = &port.binding
                    && !replaced.insert(address)
                {
                    faults.push(NodeFault::DuplicateParameterPort(address.to_string()));
                }
            }
        }
        NodeKind::FanOut(fan_out) => {
            let mut names = BTreeSet::new();
            for (name, _) in fan_out.source.axes() {
                if !names.insert(name) {
                    faults.push(NodeFault::DuplicateAxis(name.to_owned()));
                }
            }
        }
        NodeKind::Input(input) => {
            if let (InputValue::Literal(literal), Some(port)) = (&input.value, node.outputs.first())
                && !port.data_type.accepts(literal.data_type())
            {
                faults.push(NodeFault::WrongValueType {
                    value: literal.data_type(),
                    port: port.data_type,
                });
            }
        }
        NodeKind::Output(_) | NodeKind::Condition(_) | NodeKind::Merge(_) | NodeKind::Review(_) => {
        }
    }
    if !node.layout_fits() {
        faults.push(NodeFault::WrongPorts);
    }
    faults
}

/// Whether a value can be kept in a file: numbers finite, JSON not too deep.
pub(super) fn check_literal(value: &Literal, what: &str) -> Result<(), NodeFault> {
    match value {
        Literal::Number(number) if !number.is_finite() => Err(not_finite(what)),
        Literal::Json(json) if deeper_than(json, MAX_JSON_DEPTH) => Err(NodeFault::JsonTooDeep {
            what: what.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn check_axis(name: &str, values: &[Literal]) -> Result<(), NodeFault> {
    values
        .iter()
        .try_for_each(|value| check_literal(value, &format!("axis \"{name}\"")))
}

fn not_finite(what: &str) -> NodeFault {
    NodeFault::NotFinite {
        what: what.to_owned(),
    }
}

/// Whether arrays and objects are nested more than `limit` levels. Looks no deeper than that.
fn deeper_than(json: &Value, limit: usize) -> bool {
    let inside = |value: &Value| limit == 0 || deeper_than(value, limit - 1);
    match json {
        Value::Array(values) => limit == 0 || values.iter().any(inside),
        Value::Object(members) => limit == 0 || members.values().any(inside),
        _ => false,
    }
}
