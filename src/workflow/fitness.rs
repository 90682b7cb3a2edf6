//! How a workflow fits a backend: what keeps it from running there, what is respelled, and how large its models are.

use super::address::{NodeAddress, ParameterAddress};
use super::convert::{ConvertError, to_prompt};
use super::memory::ModelWeights;
use super::object_info::{InputKind, ObjectInfo};
use super::patch::link_source;
use super::preflight::{
    Reason, choice_in_list, input_spec, is_model_name, node_address, preflight,
};
use super::prompt::{Prompt, PromptNode};
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
    /// What it weighs on a device, where its size is known.
    pub weights: Option<ModelWeights>,
}

impl Fitness {
    /// Whether the backend can run it as it is.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Bytes of all different model files together. None when the size of one of them is not known, or none is loaded.
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

    /// What the models weigh on a device, as far as their sizes are known: at least that much. None when none is.
    #[must_use]
    pub fn weights(&self) -> Option<ModelWeights> {
        weights_of(&self.models)
    }
}

fn weights_of(models: &[ModelFile]) -> Option<ModelWeights> {
    let mut seen = BTreeSet::new();
    let different = models
        .iter()
        .filter(|model| seen.insert(model.name.replace('\\', "/")));
    ModelWeights::together(different.map(|model| model.weights))
}

/// What the models that a prompt names weigh on a device, as [`Fitness::weights`] says it.
#[must_use]
pub fn model_weights(prompt: &Prompt, sizes: &ModelSizes) -> Option<ModelWeights> {
    if sizes.is_empty() {
        return None;
    }
    weights_of(&models(prompt, sizes))
}

/// What a model weighs on a device that fills this field; none when its size is not known.
#[must_use]
pub fn weights_of_name(name: &str, input: &str, sizes: &ModelSizes) -> Option<ModelWeights> {
    let byte_len = sizes.get(&name.replace('\\', "/")).copied()?;
    Some(loaded(input, byte_len))
}

/// What a file weighs that a field with this name loads. A checkpoint holds a diffusion model, text encoders and a VAE, which
/// `ComfyUI` moves one by one; the diffusion model is 80 % of one of Stable Diffusion 1.5, 74 % of SDXL, 69 % of Flux in eight
/// bits. Three quarters count for it.
fn loaded(input: &str, byte_len: u64) -> ModelWeights {
    ModelWeights {
        all_bytes: byte_len,
        largest_bytes: if input == "ckpt_name" {
            byte_len / 4 * 3
        } else {
            byte_len
        },
        is_complete: true,
    }
}

/// Whether a loader turns weights into eight bits, half of the usual sixteen.
fn is_halved(node: &PromptNode) -> bool {
    node.inputs
        .get("weight_dtype")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.starts_with("fp8"))
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
            let byte_len = sizes.get(&name.replace('\\', "/")).copied();
            let halves = prompt
                .nodes
                .get(&address.node.node_id)
                .is_some_and(is_halved);
            let weights = byte_len.map(|byte_len| {
                loaded(&address.input, if halves { byte_len / 2 } else { byte_len })
            });
            Some(ModelFile {
                name: name.to_owned(),
                byte_len,
                weights,
                address,
            })
        })
        .collect()
}
