//! What is known about the workflow files of the project: their fields, outputs and problems. Inspected once per file.

use crate::project::{
    BatchMode, DataType, ExposedParameter, Literal, Node, NodeId, Port, PortBinding, PortId,
    PortNeed, WorkflowFile, WorkflowName, WorkflowNode,
};
use crate::workflow::{
    Control, Field, Inspection, ObjectInfo, ParameterAddress, Role, ValueType, inspect, sketch,
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

/// A node for a workflow: loaders become image inputs, suggested fields are shown, output nodes become outputs.
#[must_use]
pub fn node_for_workflow(id: NodeId, name: &WorkflowName, inspection: &Inspection) -> Node {
    let inputs = inspection
        .exposures
        .iter()
        .filter(|exposure| exposure.role == Role::Loader)
        .map(|exposure| Port {
            id: PortId::new_now(),
            name: exposure.label.clone(),
            data_type: data_type_of(exposure.value_type),
            binding: PortBinding::Parameter(exposure.address.clone()),
            need: PortNeed::Optional,
        })
        .collect();
    let parameters = inspection
        .exposures
        .iter()
        .filter(|exposure| exposure.role != Role::Loader)
        .take(SUGGESTED_PARAMETERS)
        .map(|exposure| ExposedParameter {
            address: exposure.address.clone(),
            label: exposure.label.clone(),
            value: None,
        })
        .collect();
    let outputs = inspection
        .outputs
        .iter()
        .map(|output| Port {
            id: PortId::new_now(),
            name: output.label.clone(),
            data_type: data_type_of(output.value_type),
            binding: PortBinding::WorkflowOutput {
                address: output.address.clone(),
                batch: BatchMode::Whole,
            },
            need: PortNeed::Optional,
        })
        .collect();
    let settings = WorkflowNode {
        workflow: name.clone(),
        parameters,
        affinity: crate::project::Affinity::default(),
        fallback: crate::project::Fallback::default(),
        retry: crate::project::RetryPolicy::default(),
        cache: crate::project::CachePolicy::default(),
    };
    Node::workflow(id, settings, inputs, outputs)
}

/// Fields shown on a new node without being asked for.
const SUGGESTED_PARAMETERS: usize = 8;

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
    match value_type {
        ValueType::Image => DataType::Image,
        ValueType::Mask => DataType::Mask,
        ValueType::Video => DataType::Video,
        ValueType::Audio => DataType::Audio,
        ValueType::Latent => DataType::Latent,
        ValueType::Text => DataType::Text,
        ValueType::Integer => DataType::Integer,
        ValueType::Number => DataType::Number,
        ValueType::Boolean => DataType::Boolean,
        ValueType::Json => DataType::Json,
        ValueType::File => DataType::File,
        ValueType::Any => DataType::Any,
    }
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
