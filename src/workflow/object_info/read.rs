//! Reading what a backend says of its classes.

use super::{
    Autogrow, DynamicOption, InputKind, InputNeed, InputSpec, NodeSpec, OutputSpec, Upload, grown,
    whole,
};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Deepest nesting of inputs within inputs (dynamic combos, autogrow) that is followed.
const MAX_TEMPLATE_DEPTH: usize = 8;

impl NodeSpec {
    pub(super) fn from_json(name: &str, class: &Value) -> Option<Self> {
        let class = class.as_object()?;
        let text = |key: &str| class.get(key).and_then(Value::as_str).unwrap_or_default();
        let display_name = match text("display_name") {
            "" => name,
            given => given,
        };
        let mut inputs = Vec::new();
        for (section, need) in [
            ("required", InputNeed::Required),
            ("optional", InputNeed::Optional),
            ("hidden", InputNeed::Hidden),
        ] {
            read_inputs(
                class.get("input").and_then(|input| input.get(section)),
                need,
                0,
                &mut inputs,
            );
        }
        let added_at = put_in_order(&mut inputs, class.get("input_order"));
        Some(Self {
            class_type: name.to_owned(),
            display_name: display_name.to_owned(),
            category: text("category").to_owned(),
            description: text("description").to_owned(),
            grown_inputs: grown(&inputs),
            inputs,
            added_at,
            outputs: read_outputs(class),
            output_node: class.get("output_node").and_then(Value::as_bool) == Some(true),
        })
    }
}

/// Sorts the inputs of a class as the editor does: what `input_order` names of the required and of the optional ones, then
/// the rest as it came. Gives the position after the last required one of the rest.
fn put_in_order(inputs: &mut [InputSpec], order: Option<&Value>) -> usize {
    let mut rank: HashMap<(InputNeed, &str), usize> = HashMap::new();
    for (section, need) in [
        ("required", InputNeed::Required),
        ("optional", InputNeed::Optional),
    ] {
        let names = order
            .and_then(|order| order.get(section))
            .and_then(Value::as_array);
        for name in names.into_iter().flatten().filter_map(Value::as_str) {
            let next = rank.len();
            rank.entry((need, name)).or_insert(next);
        }
    }
    let of = |input: &InputSpec| rank.get(&(input.need, input.name.as_str())).copied();
    // Stable: what the order does not name follows as it came.
    inputs.sort_by_key(|input| (of(input).is_none(), of(input), input.need));
    inputs
        .iter()
        .take_while(|input| of(input).is_some() || input.need == InputNeed::Required)
        .count()
}

fn read_outputs(class: &Map<String, Value>) -> Vec<OutputSpec> {
    let list = |key: &str| class.get(key).and_then(Value::as_array);
    let names = list("output_name");
    let templates = list("output_matchtypes");
    let types = list("output").map(Vec::as_slice).unwrap_or_default();
    types
        .iter()
        .enumerate()
        .map(|(slot, type_name)| {
            let type_name = match type_name {
                Value::String(type_name) => type_name.clone(),
                // An output may be a list of choices, as an input may.
                Value::Array(_) => "COMBO".to_owned(),
                _ => "*".to_owned(),
            };
            let name = names
                .and_then(|names| names.get(slot))
                .and_then(Value::as_str)
                .unwrap_or(&type_name)
                .to_owned();
            let match_template = templates
                .and_then(|templates| templates.get(slot))
                .and_then(Value::as_str)
                .map(str::to_owned);
            OutputSpec {
                type_name,
                name,
                match_template,
            }
        })
        .collect()
}

fn read_inputs(
    section: Option<&Value>,
    need: InputNeed,
    depth: usize,
    inputs: &mut Vec<InputSpec>,
) {
    let Some(section) = section.and_then(Value::as_object) else {
        return;
    };
    inputs.extend(
        section
            .iter()
            .filter_map(|(name, spec)| InputSpec::from_json(name, spec, need, depth)),
    );
}

impl InputSpec {
    pub(in super::super) fn from_json(
        name: &str,
        spec: &Value,
        need: InputNeed,
        depth: usize,
    ) -> Option<Self> {
        let empty = Map::new();
        let (type_value, options) = match spec {
            Value::Array(parts) => (
                parts.first()?,
                parts.get(1).and_then(Value::as_object).unwrap_or(&empty),
            ),
            // Hidden inputs of V1 nodes: "PROMPT".
            other => (other, &empty),
        };
        let type_name = match type_value {
            Value::String(type_name) => type_name.clone(),
            Value::Array(_) => "COMBO".to_owned(),
            _ => return None,
        };
        let flag = |key: &str| options.get(key).and_then(Value::as_bool) == Some(true);
        let text = |key: &str| options.get(key).and_then(Value::as_str).map(str::to_owned);
        let upload = if flag("image_upload") || flag("animated_image_upload") {
            Some(Upload::Image)
        } else if flag("video_upload") {
            Some(Upload::Video)
        } else if flag("audio_upload") {
            Some(Upload::Audio)
        } else if flag("file_upload") {
            Some(Upload::File)
        } else {
            None
        };
        let declared = match options.get("control_after_generate") {
            // V3 may name the initial mode instead of saying true.
            Some(Value::Bool(on)) => Some(*on),
            Some(Value::String(_)) => Some(true),
            _ => None,
        };
        let control_after_generate = declared.unwrap_or_else(|| {
            type_name == "INT" && depth == 0 && matches!(name, "seed" | "noise_seed")
        });
        Some(Self {
            name: name.to_owned(),
            need,
            kind: read_kind(&type_name, type_value, options, depth),
            type_name,
            default: options.get("default").cloned(),
            tooltip: text("tooltip"),
            display_name: text("display_name"),
            control_after_generate,
            control_declared: declared == Some(true),
            dynamic_prompts: flag("dynamicPrompts"),
            is_remote: options.get("remote").is_some_and(Value::is_object),
            refresh_button: options
                .get("remote")
                .and_then(|remote| remote.get("refresh_button"))
                .and_then(Value::as_bool)
                == Some(true),
            upload,
            allows_batch: flag("allow_batch"),
            folder: text("image_folder"),
            force_input: flag("forceInput"),
            socketless: flag("socketless"),
            widget_type: text("widgetType"),
        })
    }
}

fn read_kind(
    type_name: &str,
    type_value: &Value,
    options: &Map<String, Value>,
    depth: usize,
) -> InputKind {
    let float = |key: &str| options.get(key).and_then(Value::as_f64);
    let integer = |key: &str| options.get(key).and_then(whole);
    let flag = |key: &str| options.get(key).and_then(Value::as_bool) == Some(true);
    match type_name {
        "INT" => InputKind::Integer {
            min: integer("min"),
            max: integer("max"),
            step: integer("step"),
        },
        "FLOAT" => InputKind::Number {
            min: float("min"),
            max: float("max"),
            step: float("step"),
            round: float("round"),
        },
        "BOOLEAN" => InputKind::Boolean,
        "STRING" => InputKind::Text {
            multiline: flag("multiline"),
        },
        "COMBO" => {
            let choices = type_value
                .as_array()
                .or_else(|| options.get("options").and_then(Value::as_array));
            InputKind::Choice {
                choices: choices.cloned().unwrap_or_default(),
                multiselect: flag("multiselect")
                    || options.get("multi_select").is_some_and(Value::is_object),
                remote: options.contains_key("remote") || choices.is_none(),
            }
        }
        "COMFY_DYNAMICCOMBO_V3" if depth < MAX_TEMPLATE_DEPTH => InputKind::DynamicChoice {
            options: options
                .get("options")
                .and_then(Value::as_array)
                .map(|list| {
                    list.iter()
                        .filter_map(|option| {
                            Some(DynamicOption {
                                key: option.get("key")?.as_str()?.to_owned(),
                                inputs: template_inputs(option.get("inputs"), depth),
                            })
                        })
                        .collect()
                })
                .unwrap_or_default(),
        },
        "COMFY_AUTOGROW_V3" if depth < MAX_TEMPLATE_DEPTH => {
            let template = options.get("template");
            let member = |key: &str| template.and_then(|template| template.get(key));
            let count = |key: &str| {
                member(key)
                    .and_then(Value::as_u64)
                    .and_then(|count| usize::try_from(count).ok())
            };
            let names: Vec<String> = member("names")
                .and_then(Value::as_array)
                .map(|names| {
                    names
                        .iter()
                        .filter_map(|name| name.as_str().map(str::to_owned))
                        .collect()
                })
                .unwrap_or_default();
            let named_max = if names.is_empty() { 100 } else { names.len() };
            InputKind::Autogrow(Autogrow {
                inputs: template_inputs(member("input"), depth),
                prefix: member("prefix")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                names,
                min: count("min").unwrap_or(1),
                max: count("max").unwrap_or(named_max),
            })
        }
        "COMFY_MATCHTYPE_V3" => {
            let member = |key: &str| {
                options
                    .get("template")
                    .and_then(|template| template.get(key))
                    .and_then(Value::as_str)
            };
            InputKind::MatchType {
                template_id: member("template_id").unwrap_or_default().to_owned(),
                allowed_types: member("allowed_types").unwrap_or("*").to_owned(),
            }
        }
        _ => InputKind::Other,
    }
}

fn template_inputs(sections: Option<&Value>, depth: usize) -> Vec<InputSpec> {
    let mut inputs = Vec::new();
    for (section, need) in [
        ("required", InputNeed::Required),
        ("optional", InputNeed::Optional),
    ] {
        read_inputs(
            sections.and_then(|sections| sections.get(section)),
            need,
            depth + 1,
            &mut inputs,
        );
    }
    inputs
}
