//! How a workflow fits a backend: what keeps it from running there, what is respelled, and how large its models are.

use super::address::{NodeAddress, ParameterAddress};
use super::convert::{ConvertError, to_prompt};
use super::object_info::{InputKind, ObjectInfo};
use super::patch::link_source;
use super::preflight::{
    Reason, choice_in_list, input_spec, is_model_name, node_address, preflight,
};
use super::prompt::Prompt;
use super::read::WorkflowDocument;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How a workflow fits a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitness {
    /// What keeps it from running there; nothing when it is ready.
    pub reasons: Vec<Reason>,
    /// Values that will be sent in the backend's own spelling.
    pub respelled: Vec<Respelling>,
    /// The model files it loads.
    pub models: Vec<ModelFile>,
}

/// A value that a backend lists with other slashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Respelling {
    /// The field.
    pub address: ParameterAddress,
    /// As the workflow has it.
    pub from: String,
    /// As the backend lists it.
    pub to: String,
}

/// A model file that a workflow loads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelFile {
    /// The field that names it.
    pub address: ParameterAddress,
    /// Its name as the workflow has it.
    pub name: String,
    /// Its size on the backend, where that is known.
    pub byte_len: Option<u64>,
}

impl Fitness {
    /// Whether the backend can run it as it is.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Bytes of all different model files together: about the memory that their weights take on the device, before
    /// `ComfyUI` moves what does not fit to main memory. None when the size of one of them is not known, or none is loaded.
    #[must_use]
    pub fn weights_bytes(&self) -> Option<u64> {
        let mut seen = BTreeSet::new();
        let mut sum = 0_u64;
        for model in &self.models {
            if seen.insert(model.name.replace('\\', "/")) {
                sum = sum.saturating_add(model.byte_len?);
            }
        }
        (!seen.is_empty()).then_some(sum)
    }
}

/// Sizes of a backend's model files in bytes, by name with `/` between folders.
pub type ModelSizes = BTreeMap<String, u64>;

/// How a workflow fits the backend with these node classes and model files.
///
/// # Errors
/// [`ConvertError`] when the file has no prompt whatever a backend has. Classes that this one lacks are reasons.
pub fn fitness(
    document: &WorkflowDocument,
    object_info: &ObjectInfo,
    model_sizes: &ModelSizes,
) -> Result<Fitness, ConvertError> {
    let prompt = match document {
        WorkflowDocument::Api(prompt) => prompt.clone(),
        WorkflowDocument::Ui(workflow) => match to_prompt(workflow, object_info, &mut |_| 0) {
            Ok(prompt) => prompt,
            Err(ConvertError::UnknownClasses { classes }) => {
                let reasons = classes.into_iter().map(|(class_type, nodes)| {
                    let nodes = nodes.into_iter().map(|node_id| NodeAddress {
                        node_id,
                        class_type: class_type.clone(),
                        title: String::new(),
                    });
                    Reason::MissingClass {
                        nodes: nodes.collect(),
                        class_type: class_type.clone(),
                    }
                });
                return Ok(Fitness {
                    reasons: reasons.collect(),
                    respelled: Vec::new(),
                    models: Vec::new(),
                });
            }
            Err(error) => return Err(error),
        },
    };
    Ok(Fitness {
        reasons: preflight(&prompt, object_info),
        respelled: respellings(&prompt, object_info),
        models: models(&prompt, model_sizes),
    })
}

fn fields(prompt: &Prompt) -> impl Iterator<Item = (ParameterAddress, &Value)> {
    prompt.nodes.iter().flat_map(|(id, node)| {
        node.inputs
            .iter()
            .filter(|(_, value)| link_source(value).is_none())
            .map(move |(input, value)| {
                let address = ParameterAddress {
                    node: node_address(id, node),
                    input: input.clone(),
                };
                (address, value)
            })
    })
}

fn respellings(prompt: &Prompt, object_info: &ObjectInfo) -> Vec<Respelling> {
    fields(prompt)
        .filter_map(|(address, value)| {
            let node = prompt.nodes.get(&address.node.node_id)?;
            let InputKind::Choice { choices, .. } =
                &input_spec(object_info, node, &address.input)?.kind
            else {
                return None;
            };
            let from = value.as_str()?;
            let to = choice_in_list(choices, value)?.as_str()?;
            (from != to).then(|| Respelling {
                from: from.to_owned(),
                to: to.to_owned(),
                address,
            })
        })
        .collect()
}

fn models(prompt: &Prompt, sizes: &ModelSizes) -> Vec<ModelFile> {
    fields(prompt)
        .filter_map(|(address, value)| {
            let name = value.as_str().filter(|name| is_model_name(name))?;
            Some(ModelFile {
                address,
                name: name.to_owned(),
                byte_len: sizes.get(&name.replace('\\', "/")).copied(),
            })
        })
        .collect()
}
