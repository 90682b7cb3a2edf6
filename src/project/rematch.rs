//! Another file in the place of a workflow: what its nodes show and carry is found again, and what is not is named.

use super::document::{Project, WorkflowFile};
use super::edit::Edit;
use super::id::NodeId;
use super::node::{NodeKind, PortBinding, WorkflowName};
use crate::workflow::{Broken, NodeAddress, ParameterAddress, Sketch, resolve_node};
use std::fmt;

/// Another file in the place of a workflow, ready to be made, with what it means for the nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// The whole change as one edit.
    pub edit: Edit,
    /// What was found at another address.
    pub moved: Vec<Rematch>,
    /// What was not found; it stays as it was, and keeps the node from running.
    pub broken: Vec<Rematch>,
}

/// A parameter or port of a node whose place in the workflow changed or is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Rematch {
    /// The node.
    pub node_id: NodeId,
    /// Its title.
    pub node_title: String,
    /// The label of the parameter, or the name of the port.
    pub label: String,
    /// The address it had, for a person.
    pub before: String,
    /// The address it has now, for a person, or why it has none.
    pub after: Result<String, Broken>,
}

impl fmt::Display for Rematch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\", \"{}\": ", self.node_title, self.label)?;
        match &self.after {
            Ok(after) => write!(f, "{} is now {after}", self.before),
            Err(broken) => write!(f, "{broken}"),
        }
    }
}

/// What puts `file` in the place of the workflow `name`. `sketch` is the file's prompt, as far as its classes are known.
#[must_use]
pub fn replace_workflow(
    project: &Project,
    name: &WorkflowName,
    file: WorkflowFile,
    sketch: &Sketch,
) -> Replacement {
    let mut edits = vec![Edit::ReplaceWorkflow {
        name: name.clone(),
        file,
    }];
    let mut moved = Vec::new();
    let mut broken = Vec::new();
    for node in project.nodes.values() {
        let NodeKind::Workflow(settings) = &node.kind else {
            continue;
        };
        if settings.workflow != *name {
            continue;
        }
        let mut note = |label: &str, before: String, after: Result<String, Broken>| {
            let rematch = Rematch {
                node_id: node.id,
                node_title: node.title.clone(),
                label: label.to_owned(),
                before,
                after,
            };
            match &rematch.after {
                Err(_) => broken.push(rematch),
                Ok(after) if *after != rematch.before => moved.push(rematch),
                Ok(_) => {}
            }
        };
        let mut field = |label: &str, address: &mut ParameterAddress| {
            let before = address.to_string();
            let found = sketch.resolve(address);
            let after = found.as_ref().map(ToString::to_string);
            note(label, before, after.map_err(Clone::clone));
            if let Ok(found) = found {
                *address = found;
            }
        };
        let mut changed = node.clone();
        if let NodeKind::Workflow(settings) = &mut changed.kind {
            for parameter in &mut settings.parameters {
                field(&parameter.label, &mut parameter.address);
            }
        }
        for port in &mut changed.inputs {
            if let PortBinding::Parameter(address) = &mut port.binding {
                field(&port.name, address);
            }
        }
        for port in &mut changed.outputs {
            if let PortBinding::WorkflowOutput { address, .. } = &mut port.binding {
                let before = address.to_string();
                let found = found_node(sketch, address);
                let after = found.as_ref().map(ToString::to_string);
                note(&port.name, before, after.map_err(Clone::clone));
                if let Ok(found) = found {
                    *address = found;
                }
            }
        }
        if changed != *node {
            edits.push(Edit::configure(changed));
        }
    }
    Replacement {
        edit: Edit::Batch(edits),
        moved,
        broken,
    }
}

fn found_node(sketch: &Sketch, address: &NodeAddress) -> Result<NodeAddress, Broken> {
    let node_id = resolve_node(&sketch.prompt, address)?;
    let title = sketch
        .prompt
        .nodes
        .get(&node_id)
        .map_or("", |node| node.title());
    Ok(NodeAddress {
        title: title.to_owned(),
        class_type: address.class_type.clone(),
        node_id,
    })
}
