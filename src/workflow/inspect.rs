//! What a person can set in a workflow, what it takes and what it makes.

use super::address::{NodeAddress, ParameterAddress};
use super::object_info::{InputKind, InputNeed, InputSpec, ObjectInfo, Upload};
use super::patch::link_source;
use super::preflight::{input_spec, node_address};
use super::prompt::{Prompt, PromptNode};
use super::suggest::{Exposure, suggest};
use super::value_type::ValueType;
use indexmap::IndexSet;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;

/// What a person can set in a workflow, what it takes and what it makes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Every field that holds a value, in the order of the file.
    pub fields: Vec<Field>,
    /// Every output node with what it makes, in the order of the file.
    pub outputs: Vec<OutputPort>,
    /// The fields worth showing on a node, most wanted first. Those with [`Role::Loader`](super::Role::Loader) are worth
    /// an input port.
    pub exposures: Vec<Exposure>,
    /// Classes that `object_info` does not have; empty when none was given.
    pub unknown_classes: Vec<String>,
}

impl Inspection {
    /// The fields that name a file to load: candidates for input ports.
    pub fn loaders(&self) -> impl Iterator<Item = &Field> {
        self.fields
            .iter()
            .filter(|field| matches!(field.control, Control::File { .. }))
    }

    /// The field of an address, if it is there.
    #[must_use]
    pub fn field(&self, address: &ParameterAddress) -> Option<&Field> {
        self.fields.iter().find(|field| {
            field.address.input == address.input && field.address.node == address.node
        })
    }
}

/// A field of a workflow that holds a value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// Where it is.
    pub address: ParameterAddress,
    /// Its name for a person.
    pub label: String,
    /// How it is edited.
    pub control: Control,
    /// What it holds; for loaders what the file is.
    pub value_type: ValueType,
    /// Its value in the workflow.
    pub value: Value,
    /// The value a new node has, where known.
    pub default: Option<Value>,
    /// Help by the node's author.
    pub tooltip: Option<String>,
}

/// How a field is edited.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "control")]
pub enum Control {
    /// A whole number.
    Integer {
        /// Smallest value.
        min: Option<i128>,
        /// Largest value.
        max: Option<i128>,
        /// Distance of two clicks.
        step: Option<i128>,
        /// Whether it is a seed: offer "randomise".
        seed: bool,
    },
    /// A number.
    Number {
        /// Smallest value.
        min: Option<f64>,
        /// Largest value.
        max: Option<f64>,
        /// Distance of two clicks.
        step: Option<f64>,
    },
    /// A check box.
    Toggle,
    /// Text.
    Text {
        /// Whether it has several lines.
        multiline: bool,
    },
    /// A list to choose from.
    Choice {
        /// The choices.
        choices: Vec<Value>,
    },
    /// A file in the backend's input folder.
    File {
        /// What kind of file.
        file_type: ValueType,
    },
    /// Anything else, edited as JSON.
    Json,
}

/// An output node of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputPort {
    /// Which node.
    pub address: NodeAddress,
    /// A name for the port, unique in the workflow.
    pub label: String,
    /// What it makes.
    pub value_type: ValueType,
}

/// Looks through a prompt. With `object_info` controls have limits and choices; without, everything is derived from the
/// values and from the well-known node classes.
#[must_use]
pub fn inspect(prompt: &Prompt, object_info: Option<&ObjectInfo>) -> Inspection {
    let mut fields = Vec::new();
    let mut unknown_classes: IndexSet<&str> = IndexSet::new();
    for (id, node) in &prompt.nodes {
        if let Some(info) = object_info
            && info.get(&node.class_type).is_none()
        {
            unknown_classes.insert(&node.class_type);
        }
        for (name, value) in &node.inputs {
            if link_source(value).is_some() {
                continue;
            }
            let spec = object_info.and_then(|info| input_spec(info, node, name));
            if spec.is_some_and(|spec| spec.need == InputNeed::Hidden) {
                continue;
            }
            fields.push(field(id, node, name, value, spec));
        }
    }
    let outputs = outputs(prompt, object_info);
    let exposures = suggest(prompt, &fields);
    Inspection {
        fields,
        outputs,
        exposures,
        unknown_classes: unknown_classes.into_iter().map(str::to_owned).collect(),
    }
}

fn field(
    id: &str,
    node: &PromptNode,
    name: &str,
    value: &Value,
    spec: Option<&InputSpec>,
) -> Field {
    let file_type = loader_type(&node.class_type, name, spec);
    let (control, value_type) = match (file_type, spec) {
        (Some(file_type), _) => (Control::File { file_type }, file_type),
        (None, Some(spec)) => (control_of_spec(name, spec, value), spec.value_type()),
        (None, None) => control_of_value(name, value),
    };
    Field {
        address: ParameterAddress {
            node: node_address(id, node),
            input: name.to_owned(),
        },
        label: spec
            .and_then(|spec| spec.display_name.clone())
            .unwrap_or_else(|| name.to_owned()),
        control,
        value_type,
        value: value.get("__value__").unwrap_or(value).clone(),
        default: spec.and_then(|spec| spec.default.clone()),
        tooltip: spec.and_then(|spec| spec.tooltip.clone()),
    }
}

fn control_of_spec(name: &str, spec: &InputSpec, value: &Value) -> Control {
    match &spec.kind {
        InputKind::Integer { min, max, step } => Control::Integer {
            min: *min,
            max: *max,
            step: *step,
            seed: spec.control_after_generate || is_seed(name),
        },
        InputKind::Number { min, max, step, .. } => Control::Number {
            min: *min,
            max: *max,
            step: *step,
        },
        InputKind::Boolean => Control::Toggle,
        InputKind::Text { multiline } => Control::Text {
            multiline: *multiline,
        },
        InputKind::Choice {
            choices,
            multiselect: false,
            remote: false,
        } => Control::Choice {
            choices: choices.clone(),
        },
        InputKind::DynamicChoice { options } => Control::Choice {
            choices: options
                .iter()
                .map(|option| option.key.clone().into())
                .collect(),
        },
        _ => control_of_value(name, value).0,
    }
}

fn control_of_value(name: &str, value: &Value) -> (Control, ValueType) {
    match value {
        Value::Bool(_) => (Control::Toggle, ValueType::Boolean),
        // Without a spec nobody knows whether 8 may become 8.5; a seed never may.
        Value::Number(number) if number.is_f64() => (
            Control::Number {
                min: None,
                max: None,
                step: None,
            },
            ValueType::Number,
        ),
        Value::Number(_) if is_number_by_name(name) => (
            Control::Number {
                min: None,
                max: None,
                step: None,
            },
            ValueType::Number,
        ),
        Value::Number(_) => (
            Control::Integer {
                min: None,
                max: None,
                step: None,
                seed: is_seed(name),
            },
            ValueType::Integer,
        ),
        Value::String(text) => (
            Control::Text {
                multiline: text.contains('\n')
                    || text.len() > 60
                    || matches!(name, "text" | "prompt" | "negative_prompt"),
            },
            ValueType::Text,
        ),
        Value::Null | Value::Array(_) | Value::Object(_) => (Control::Json, ValueType::Json),
    }
}

pub(super) fn is_seed(name: &str) -> bool {
    matches!(name, "seed" | "noise_seed" | "rand_seed")
}

/// Names whose values are numbers with a fraction in every ComfyUI node that has them.
fn is_number_by_name(name: &str) -> bool {
    matches!(
        name,
        "cfg"
            | "denoise"
            | "strength"
            | "strength_model"
            | "strength_clip"
            | "guidance"
            | "scale_by"
    )
}

/// What kind of file a field loads, if it loads one from the input folder.
fn loader_type(class_type: &str, name: &str, spec: Option<&InputSpec>) -> Option<ValueType> {
    let by_class = match (class_type, name) {
        ("LoadImageMask", "image") => Some(ValueType::Mask),
        ("LoadImage" | "LoadImageOutput", "image") => Some(ValueType::Image),
        ("LoadVideo", "file") | ("VHS_LoadVideo", "video") => Some(ValueType::Video),
        ("LoadAudio" | "VHS_LoadAudioUpload", "audio") => Some(ValueType::Audio),
        ("LoadLatent", "latent") => Some(ValueType::Latent),
        ("Load3D", "model_file") => Some(ValueType::File),
        _ => None,
    };
    by_class.or_else(|| {
        spec?.upload.map(|upload| match upload {
            Upload::Image => ValueType::Image,
            Upload::Video => ValueType::Video,
            Upload::Audio => ValueType::Audio,
            Upload::File => ValueType::File,
        })
    })
}

fn outputs(prompt: &Prompt, object_info: Option<&ObjectInfo>) -> Vec<OutputPort> {
    let mut used: HashSet<&str> = HashSet::new();
    for node in prompt.nodes.values() {
        used.extend(
            node.inputs
                .values()
                .filter_map(|value| link_source(value).map(|(source, _)| source)),
        );
    }
    let mut ports: Vec<OutputPort> = Vec::new();
    let mut labels = HashSet::new();
    for (id, node) in &prompt.nodes {
        let spec = object_info.and_then(|info| info.get(&node.class_type));
        let is_output = match spec {
            Some(spec) => spec.output_node,
            None => {
                known_output(&node.class_type).is_some()
                    || (!used.contains(id.as_str()) && has_link(node))
            }
        };
        if !is_output {
            continue;
        }
        let value_type = shown_value(prompt, node, object_info)
            .or_else(|| known_output(&node.class_type))
            .or_else(|| {
                let spec = spec?;
                spec.inputs
                    .iter()
                    .filter(|input| input.need != InputNeed::Hidden)
                    .map(|input| ValueType::of_comfy(&input.type_name))
                    .find(|value_type| value_type.is_media())
                    .or_else(|| {
                        spec.inputs
                            .iter()
                            .any(|input| input.type_name == "STRING")
                            .then_some(ValueType::Text)
                    })
            })
            .unwrap_or_else(|| output_by_names(node));
        let title = match node.title() {
            "" => node.class_type.as_str(),
            title => title,
        };
        let mut label = title.to_owned();
        if !labels.insert(label.clone()) {
            label = format!("{title} #{id}");
            labels.insert(label.clone());
        }
        ports.push(OutputPort {
            address: node_address(id, node),
            label,
            value_type,
        });
    }
    ports
}

fn has_link(node: &PromptNode) -> bool {
    node.inputs
        .values()
        .any(|value| link_source(value).is_some())
}

/// What a node shows that shows anything as text: a number stays a number, so that it can go into a field for one.
fn shown_value(
    prompt: &Prompt,
    node: &PromptNode,
    object_info: Option<&ObjectInfo>,
) -> Option<ValueType> {
    if node.class_type != "PreviewAny" {
        return None;
    }
    let (source, slot) = link_source(node.inputs.get("source")?)?;
    let source = prompt.nodes.get(source)?;
    let type_name = match object_info.and_then(|info| info.get(&source.class_type)) {
        Some(spec) => spec.outputs.get(slot)?.type_name.as_str(),
        None => match source.class_type.as_str() {
            "PrimitiveInt" => "INT",
            "PrimitiveFloat" => "FLOAT",
            "PrimitiveBoolean" => "BOOLEAN",
            _ => return None,
        },
    };
    let value_type = ValueType::of_comfy(type_name);
    matches!(
        value_type,
        ValueType::Integer | ValueType::Number | ValueType::Boolean
    )
    .then_some(value_type)
}

/// What the output nodes of ComfyUI and of the most used custom packs make.
fn known_output(class_type: &str) -> Option<ValueType> {
    Some(match class_type {
        "SaveImage" | "PreviewImage" | "SaveImageWebsocket" | "Image Save"
        | "SaveImageExtended" => ValueType::Image,
        "MaskPreview" | "MaskPreview+" => ValueType::Mask,
        // An animated picture is handled like a video all along.
        "SaveVideo" | "SaveWEBM" | "SaveAnimatedWEBP" | "SaveAnimatedPNG" | "VHS_VideoCombine" => {
            ValueType::Video
        }
        "SaveAudio" | "SaveAudioMP3" | "SaveAudioOpus" | "PreviewAudio" => ValueType::Audio,
        "SaveLatent" => ValueType::Latent,
        "PreviewAny" | "ShowText|pysssss" => ValueType::Text,
        "SaveSVGNode"
        | "SaveGLB"
        | "Preview3D"
        | "CheckpointSave"
        | "ModelSave"
        | "CLIPSave"
        | "VAESave"
        | "LoraSave"
        | "SaveLoRA"
        | "ImageOnlyCheckpointSave" => ValueType::File,
        _ => return None,
    })
}

fn output_by_names(node: &PromptNode) -> ValueType {
    for (name, value) in &node.inputs {
        if link_source(value).is_none() {
            continue;
        }
        let by_name = match name.as_str() {
            "images" | "image" => ValueType::Image,
            "mask" | "masks" => ValueType::Mask,
            "video" => ValueType::Video,
            "audio" => ValueType::Audio,
            "samples" | "latent" => ValueType::Latent,
            "text" | "string" => ValueType::Text,
            _ => continue,
        };
        return by_name;
    }
    ValueType::Any
}
