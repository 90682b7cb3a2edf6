//! Which fields of a workflow are worth showing on a node, found by what they feed.

use super::address::ParameterAddress;
use super::inspect::{Control, Field, is_seed};
use super::patch::link_source;
use super::prompt::{Prompt, PromptNode};
use super::value_type::ValueType;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// A field worth showing on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exposure {
    /// Which field.
    pub address: ParameterAddress,
    /// A name for it, unique among the suggestions.
    pub label: String,
    /// What it does in the workflow.
    pub role: Role,
    /// What it holds.
    pub value_type: ValueType,
}

/// What a field does in a workflow. The order is the order in which suggestions are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Names a file to load: worth an input port.
    Loader,
    /// Text that says what to show.
    PositivePrompt,
    /// Text that says what to avoid.
    NegativePrompt,
    /// Where randomness starts.
    Seed,
    /// How many sampling steps.
    Steps,
    /// How strongly the prompt guides.
    Cfg,
    /// The sampler.
    Sampler,
    /// The scheduler.
    Scheduler,
    /// Width in pixels.
    Width,
    /// Height in pixels.
    Height,
    /// Frames of a video, or seconds.
    Length,
    /// Pictures at once.
    BatchSize,
    /// How much is redrawn.
    Denoise,
    /// The checkpoint or diffusion model.
    Model,
    /// A LoRA.
    Lora,
    /// How strongly a LoRA acts.
    LoraStrength,
}

impl Role {
    fn label(self) -> &'static str {
        match self {
            Self::Loader => "Input",
            Self::PositivePrompt => "Prompt",
            Self::NegativePrompt => "Negative prompt",
            Self::Seed => "Seed",
            Self::Steps => "Steps",
            Self::Cfg => "CFG",
            Self::Sampler => "Sampler",
            Self::Scheduler => "Scheduler",
            Self::Width => "Width",
            Self::Height => "Height",
            Self::Length => "Length",
            Self::BatchSize => "Batch size",
            Self::Denoise => "Denoise",
            Self::Model => "Model",
            Self::Lora => "LoRA",
            Self::LoraStrength => "LoRA strength",
        }
    }
}

/// The suggestions for a prompt whose fields are known.
pub(super) fn suggest(prompt: &Prompt, fields: &[Field]) -> Vec<Exposure> {
    let texts = prompt_texts(prompt);
    let mut exposures: Vec<Exposure> = fields
        .iter()
        .filter_map(|field| {
            let role = role(field, &texts)?;
            let title = field.address.node.title.as_str();
            let label = match role {
                Role::Loader if !title.is_empty() => title.to_owned(),
                _ => role.label().to_owned(),
            };
            Some(Exposure {
                address: field.address.clone(),
                label,
                role,
                value_type: field.value_type,
            })
        })
        .collect();
    exposures.sort_by_key(|exposure| exposure.role);
    make_labels_unique(&mut exposures);
    exposures
}

/// Fields with equal labels are told apart by the title of their node, and where that does not help by its id.
fn make_labels_unique(exposures: &mut [Exposure]) {
    let count = |exposures: &[Exposure]| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for exposure in exposures {
            *counts.entry(exposure.label.clone()).or_default() += 1;
        }
        counts
    };
    let counts = count(exposures);
    for exposure in exposures.iter_mut() {
        let title = &exposure.address.node.title;
        if counts.get(&exposure.label).is_some_and(|count| *count > 1)
            && !title.is_empty()
            && *title != exposure.label
        {
            exposure.label = format!("{} ({title})", exposure.label);
        }
    }
    let counts = count(exposures);
    for exposure in exposures {
        if counts.get(&exposure.label).is_some_and(|count| *count > 1) {
            exposure.label = format!(
                "{} #{} {}",
                exposure.label, exposure.address.node.node_id, exposure.address.input
            );
        }
    }
}

fn role(field: &Field, texts: &HashMap<(String, String), Role>) -> Option<Role> {
    if matches!(field.control, Control::File { .. }) {
        return Some(Role::Loader);
    }
    let class_type = field.address.node.class_type.as_str();
    let name = field.address.input.as_str();
    let key = (field.address.node.node_id.clone(), name.to_owned());
    if let Some(role) = texts.get(&key) {
        return Some(*role);
    }
    if is_seed(name) {
        return Some(Role::Seed);
    }
    match name {
        "steps" => Some(Role::Steps),
        "cfg" | "guidance" => Some(Role::Cfg),
        "sampler_name" => Some(Role::Sampler),
        "scheduler" => Some(Role::Scheduler),
        "denoise" => Some(Role::Denoise),
        "width" if makes_pictures(class_type) => Some(Role::Width),
        "height" if makes_pictures(class_type) => Some(Role::Height),
        "length" if makes_pictures(class_type) => Some(Role::Length),
        "seconds" if class_type.starts_with("Empty") => Some(Role::Length),
        "batch_size" if makes_pictures(class_type) => Some(Role::BatchSize),
        "ckpt_name" | "unet_name" => Some(Role::Model),
        "lora_name" => Some(Role::Lora),
        "strength_model" if class_type.contains("Lora") => Some(Role::LoraStrength),
        _ => None,
    }
}

/// Whether a class decides the size of what is made: empty latents, and the image-to-video nodes.
fn makes_pictures(class_type: &str) -> bool {
    class_type.starts_with("Empty")
        || class_type.contains("ToVideo")
        || class_type.contains("TextToImage")
        || class_type.contains("ImgToVideo")
}

/// The text fields that feed prompts: (node id, input) → which prompt. Found by walking up from every input named
/// positive or negative.
fn prompt_texts(prompt: &Prompt) -> HashMap<(String, String), Role> {
    let mut texts = HashMap::new();
    let mut visited = HashSet::new();
    for (id, node) in &prompt.nodes {
        for (name, value) in &node.inputs {
            let Some(role) = root_role(name, node) else {
                continue;
            };
            match link_source(value) {
                Some((source, slot)) => {
                    walk_up(prompt, source, slot, role, &mut visited, &mut texts);
                }
                // Nodes of API services take prompts as text.
                None if value.is_string()
                    && matches!(name.as_str(), "prompt" | "negative_prompt") =>
                {
                    texts.entry((id.clone(), name.clone())).or_insert(role);
                }
                None => {}
            }
        }
    }
    texts
}

fn root_role(name: &str, node: &PromptNode) -> Option<Role> {
    match name {
        "positive" | "prompt" | "cond1" | "cond2" | "conds1" | "conds2" => {
            Some(Role::PositivePrompt)
        }
        // BasicGuider and its kin have one conditioning, which is the positive one.
        "conditioning" if node.class_type.contains("Guider") => Some(Role::PositivePrompt),
        "negative" | "negative_prompt" => Some(Role::NegativePrompt),
        _ => None,
    }
}

/// `visited` is shared by all walks: (node, whether by slot 1, role). What lies above a node is the same for each of them.
fn walk_up<'a>(
    prompt: &'a Prompt,
    source: &'a str,
    slot: usize,
    role: Role,
    visited: &mut HashSet<(&'a str, bool, Role)>,
    texts: &mut HashMap<(String, String), Role>,
) {
    let mut open = vec![(source, slot)];
    while let Some((id, slot)) = open.pop() {
        if !visited.insert((id, slot == 1, role)) {
            continue;
        }
        let Some(node) = prompt.nodes.get(id) else {
            continue;
        };
        // Whatever was written there, nothing of it is left.
        if node.class_type == "ConditioningZeroOut" {
            continue;
        }
        let carries_both =
            node.inputs.contains_key("positive") && node.inputs.contains_key("negative");
        for (name, value) in &node.inputs {
            if carries_both {
                // ControlNetApplyAdvanced and its kin hand positive on by slot 0 and negative by slot 1.
                let wanted = if slot == 1 { "negative" } else { "positive" };
                if matches!(name.as_str(), "positive" | "negative") && name != wanted {
                    continue;
                }
            }
            match link_source(value) {
                Some((source, slot)) if !is_beside_the_text(name) => {
                    open.push((source, slot));
                }
                None if value.is_string() && is_text_name(name) => {
                    let entry = texts.entry((id.to_owned(), name.clone())).or_insert(role);
                    // A text that feeds both sides is what to show.
                    if role == Role::PositivePrompt {
                        *entry = role;
                    }
                }
                _ => {}
            }
        }
    }
}

/// Inputs that lead away from the text.
fn is_beside_the_text(name: &str) -> bool {
    matches!(
        name,
        "model"
            | "clip"
            | "vae"
            | "image"
            | "images"
            | "pixels"
            | "latent"
            | "latent_image"
            | "samples"
            | "mask"
            | "control_net"
            | "style_model"
            | "clip_vision"
            | "clip_vision_output"
            | "start_image"
            | "end_image"
            | "audio"
            | "video"
            | "sigmas"
            | "noise"
    )
}

fn is_text_name(name: &str) -> bool {
    matches!(
        name,
        "text"
            | "prompt"
            | "negative_prompt"
            | "value"
            | "string"
            | "string_a"
            | "string_b"
            | "text_g"
            | "text_l"
            | "clip_l"
            | "clip_g"
            | "t5xxl"
            | "llama"
            | "tags"
            | "lyrics"
            | "bert"
            | "mt5xl"
            | "user_prompt"
            | "wildcard_text"
    )
}
