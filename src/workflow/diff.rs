//! What changed between two prompts, by node and field.

use super::address::{NodeAddress, ParameterAddress};
use super::patch::{resolve_node, shorten};
use super::preflight::node_address;
use super::prompt::Prompt;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;

/// One difference between two prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// The second has a node the first lacks.
    NodeAdded {
        /// The node.
        node: NodeAddress,
    },
    /// The first has a node the second lacks.
    NodeRemoved {
        /// The node.
        node: NodeAddress,
    },
    /// A node has another title.
    Renamed {
        /// The node, as it is in the first.
        node: NodeAddress,
        /// Its title in the second.
        title: String,
    },
    /// A field or a link of a node differs.
    Field {
        /// The field, as it is in the first; of the second where only that has it.
        address: ParameterAddress,
        /// Its value or link in the first, if it is there.
        before: Option<Value>,
        /// Its value or link in the second, if it is there.
        after: Option<Value>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeAdded { node } => write!(f, "{node} was added"),
            Self::NodeRemoved { node } => write!(f, "{node} was removed"),
            Self::Renamed { node, title } => write!(f, "{node} is now called \"{title}\""),
            Self::Field {
                address,
                before,
                after,
            } => match (before, after) {
                (Some(before), Some(after)) => {
                    write!(f, "{address}: {} → {}", shorten(before), shorten(after))
                }
                (Some(before), None) => write!(f, "{address}: {} was removed", shorten(before)),
                (None, Some(after)) => write!(f, "{address}: {} was added", shorten(after)),
                (None, None) => write!(f, "{address}: unchanged"),
            },
        }
    }
}

/// What is different in `after`. Nodes are matched by id and class, else by class and title where that names exactly one
/// node, so that renumbering alone is no change. 8 and 8.0 are the same number.
#[must_use]
pub fn diff(before: &Prompt, after: &Prompt) -> Vec<Change> {
    let mut partner: HashMap<&str, String> = HashMap::new();
    let mut taken: HashMap<String, &str> = HashMap::new();
    for (id, node) in &before.nodes {
        let same_id = after
            .nodes
            .get(id)
            .is_some_and(|other| other.class_type == node.class_type);
        if same_id {
            partner.insert(id, id.clone());
            taken.insert(id.clone(), id);
        }
    }
    for (id, node) in &before.nodes {
        if partner.contains_key(id.as_str()) {
            continue;
        }
        if let Ok(other) = resolve_node(after, &node_address(id, node))
            && !taken.contains_key(&other)
        {
            partner.insert(id, other.clone());
            taken.insert(other, id);
        }
    }
    let mut changes = Vec::new();
    for (id, node) in &before.nodes {
        let address = node_address(id, node);
        let Some(other) = partner.get(id.as_str()).and_then(|id| after.nodes.get(id)) else {
            changes.push(Change::NodeRemoved { node: address });
            continue;
        };
        if other.title() != node.title() {
            changes.push(Change::Renamed {
                node: address.clone(),
                title: other.title().to_owned(),
            });
        }
        let field = |input: &str, before: Option<&Value>, after: Option<&Value>| Change::Field {
            address: ParameterAddress {
                node: address.clone(),
                input: input.to_owned(),
            },
            before: before.cloned(),
            after: after.cloned(),
        };
        for (input, value) in &node.inputs {
            match other.inputs.get(input) {
                Some(now) if same(value, now, &partner) => {}
                now => changes.push(field(input, Some(value), now)),
            }
        }
        for (input, value) in &other.inputs {
            if !node.inputs.contains_key(input) {
                changes.push(field(input, None, Some(value)));
            }
        }
    }
    for (id, node) in &after.nodes {
        if !taken.contains_key(id) {
            changes.push(Change::NodeAdded {
                node: node_address(id, node),
            });
        }
    }
    changes
}

/// Whether two values are the same; links are when they come from the same slot of partners.
fn same(before: &Value, after: &Value, partner: &HashMap<&str, String>) -> bool {
    if let (Some((source, slot)), Some((now, slot_now))) = (
        super::patch::link_source(before),
        super::patch::link_source(after),
    ) {
        return slot == slot_now
            && (partner.get(source).map(String::as_str) == Some(now)
                || (source == now && !partner.contains_key(source)));
    }
    equal(before, after)
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || {
                // An integer and its float are one number; two integers are compared exactly above.
                (a.is_f64() || b.is_f64())
                    && match (a.as_f64(), b.as_f64()) {
                        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
                        _ => false,
                    }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => a == b,
    }
}
