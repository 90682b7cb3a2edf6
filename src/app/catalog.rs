//! What is known about the workflow files of the project: their fields, outputs and problems. Inspected once per file.

use crate::project::{DataType, Literal, Node, NodeId, PortId, WorkflowFile, WorkflowName};
use crate::workflow::{
    Control, Field, Inspection, ObjectInfo, ParameterAddress, ValueType, inspect, sketch,
};
use bevy::prelude::Resource;
use std::collections::HashMap;
use std::sync::Arc;

/// What is known about each workflow file.
#[derive(Resource, Default)]
pub struct Catalog {
    entries: HashMap<WorkflowName, Entry>,
    object_info: Option<Arc<ObjectInfo>>,
}

struct Entry {
    text: Arc<str>,
    facts: Arc<WorkflowFacts>,
}

/// What is known about one workflow file.
#[derive(Debug)]
pub enum WorkflowFacts {
    /// It can be run.
    Usable(Box<Inspection>),
    /// It is kept, but cannot be run; the sentence says why and what to do.
    Unusable(String),
}

impl Catalog {
    /// Gives the catalog the node definitions of a server: fields get limits and choices.
    pub fn set_object_info(&mut self, object_info: Arc<ObjectInfo>) {
        self.object_info = Some(object_info);
        self.entries.clear();
    }

    /// Reads and inspects the text of a workflow file that is not in the project yet.
    #[must_use]
    pub fn look_through(&self, text: &str) -> WorkflowFacts {
        look_through(text, self.object_info.as_deref())
    }

    /// The node definitions of a server, if any was given.
    #[must_use]
    pub fn object_info(&self) -> Option<&ObjectInfo> {
        self.object_info.as_deref()
    }

    /// What is known about a file. Inspects it when it is new or was replaced.
    pub fn facts(&mut self, name: &WorkflowName, file: &WorkflowFile) -> Arc<WorkflowFacts> {
        if let Some(entry) = self.entries.get(name)
            && Arc::ptr_eq(&entry.text, &file.text)
        {
            return entry.facts.clone();
        }
        let facts = Arc::new(look_through(&file.text, self.object_info.as_deref()));
        self.entries.insert(
            name.clone(),
            Entry {
                text: file.text.clone(),
                facts: facts.clone(),
            },
        );
        facts
    }
}

/// Reads and inspects the text of a workflow file; one in the editor's format as far as its classes are known.
#[must_use]
pub fn look_through(text: &str, object_info: Option<&ObjectInfo>) -> WorkflowFacts {
    let document = match crate::workflow::read(text.as_bytes()) {
        Ok(document) => document,
        Err(error) => return WorkflowFacts::Unusable(error.to_string()),
    };
    match sketch(&document, object_info) {
        Ok(sketch) => WorkflowFacts::Usable(Box::new(inspect(&sketch.prompt, object_info))),
        Err(error) => WorkflowFacts::Unusable(error.to_string()),
    }
}

/// A node for a workflow: loaders become inputs, suggested fields are shown, output nodes become outputs.
#[must_use]
pub fn node_for_workflow(id: NodeId, name: &WorkflowName, inspection: &Inspection) -> Node {
    Node::for_workflow(id, name, inspection, &mut PortId::new_now)
}

/// The field behind an exposed parameter.
#[must_use]
pub fn field_of<'a>(facts: &'a WorkflowFacts, address: &ParameterAddress) -> Option<&'a Field> {
    match facts {
        WorkflowFacts::Usable(inspection) => inspection.field(address),
        WorkflowFacts::Unusable(_) => None,
    }
}

/// The type of a port for values of a field.
#[must_use]
pub fn data_type_of(value_type: ValueType) -> DataType {
    value_type.into()
}

/// How a value is edited when its field is not known: by what the value is.
#[must_use]
pub fn control_for(value: &Literal) -> Control {
    match value {
        Literal::Text(text) => Control::Text {
            multiline: text.len() > 40 || text.contains('\n'),
        },
        Literal::Integer(_) => Control::Integer {
            min: None,
            max: None,
            step: None,
            seed: false,
        },
        Literal::Number(_) => Control::Number {
            min: None,
            max: None,
            step: None,
        },
        Literal::Boolean(_) => Control::Toggle,
        Literal::Json(_) => Control::Json,
    }
}
