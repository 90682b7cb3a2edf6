//! A workflow as a prompt, as far as that can be known: exact where every class is described, and put together from the
//! file's own data where not.

mod common;

use super::address::ParameterAddress;
use super::convert::{ConvertError, to_prompt};
use super::object_info::ObjectInfo;
use super::patch::{Broken, resolve};
use super::prompt::Prompt;
use super::read::WorkflowDocument;
use super::ui::UiWorkflow;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A workflow as a prompt, as far as that can be known.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    /// The prompt. Where it is not exact it serves to show and to find fields, never to be sent.
    pub prompt: Prompt,
    /// Classes whose description is needed to convert the file and is not at hand → ids of their nodes. Empty when the
    /// prompt is exactly what ComfyUI's editor would send.
    pub unknown_classes: BTreeMap<String, Vec<String>>,
}

impl Sketch {
    /// Whether the prompt is exactly what ComfyUI's editor would send.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.unknown_classes.is_empty()
    }

    /// Finds the field of an address, as [`resolve`] does. A field of a node whose class is not known cannot be said to be
    /// gone: its address is then right as far as its node is found.
    ///
    /// # Errors
    /// [`Broken`] when the address leads nowhere.
    pub fn resolve(&self, address: &ParameterAddress) -> Result<ParameterAddress, Broken> {
        match resolve(&self.prompt, address) {
            Err(Broken::InputGone { node, input })
                if self.unknown_classes.contains_key(&node.class_type) =>
            {
                Ok(ParameterAddress { node, input })
            }
            resolved => resolved,
        }
    }
}

/// The prompt of a workflow file. An editor file is converted with what `object_info` describes; of other classes the
/// fields are taken from what the editor saved with each node, so that the file can be shown and inspected without any
/// backend. Texts with `{a|b}` take their first option.
///
/// # Errors
/// [`ConvertError`] when the file has no prompt even with every class known: subgraphs that contain themselves, links that
/// go round in a circle, too many nodes.
pub fn sketch(
    document: &WorkflowDocument,
    object_info: Option<&ObjectInfo>,
) -> Result<Sketch, ConvertError> {
    let workflow = match document {
        WorkflowDocument::Api(prompt) => {
            return Ok(Sketch {
                prompt: prompt.clone(),
                unknown_classes: BTreeMap::new(),
            });
        }
        WorkflowDocument::Ui(workflow) => workflow,
    };
    let nothing = ObjectInfo::default();
    let known = object_info.unwrap_or(&nothing);
    let unknown_classes = match to_prompt(workflow, known, &mut |_| 0) {
        Ok(prompt) => {
            return Ok(Sketch {
                prompt,
                unknown_classes: BTreeMap::new(),
            });
        }
        Err(ConvertError::UnknownClasses { classes }) => classes,
        Err(error) => return Err(error),
    };
    let guessed = with_guesses(workflow, known, &unknown_classes);
    Ok(Sketch {
        prompt: to_prompt(workflow, &guessed, &mut |_| 0)?,
        unknown_classes,
    })
}

/// What is known of the classes the workflow uses, and of the unknown ones what its nodes show.
fn with_guesses(
    workflow: &UiWorkflow,
    known: &ObjectInfo,
    unknown: &BTreeMap<String, Vec<String>>,
) -> ObjectInfo {
    let mut guesses: BTreeMap<&str, Guess> = BTreeMap::new();
    let mut used = ObjectInfo::default();
    for node in workflow.nodes() {
        let Some(type_name) = node.get("type").and_then(Value::as_str) else {
            continue;
        };
        if let Some(spec) = known.get(type_name) {
            used.classes
                .entry(type_name.to_owned())
                .or_insert_with(|| spec.clone());
        } else if let Some((class_type, _)) = unknown.get_key_value(type_name) {
            guesses
                .entry(class_type)
                .or_default()
                .learn(class_type, node);
        }
    }
    let described: Map<String, Value> = unknown
        .keys()
        .map(|class_type| {
            let guess = guesses.remove(class_type.as_str()).unwrap_or_default();
            (class_type.clone(), guess.describe())
        })
        .collect();
    // Always an object, so this cannot fail; without it the conversion names the classes again.
    if let Ok(described) = ObjectInfo::from_json(&Value::Object(described)) {
        used.classes.extend(described.classes);
    }
    used
}

/// What the nodes of a class show of it.
#[derive(Default)]
struct Guess<'a> {
    /// Input name → its description, in the editor's order.
    inputs: Map<String, Value>,
    outputs: &'a [Value],
}

impl<'a> Guess<'a> {
    /// Takes over what a node shows that none before it did.
    fn learn(&mut self, class_type: &str, node: &'a Value) {
        let slots = |key: &str| {
            node.get(key)
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default()
        };
        if slots("outputs").len() > self.outputs.len() {
            self.outputs = slots("outputs");
        }
        let values = node.get("widgets_values");
        let list = values.and_then(Value::as_array).map(Vec::as_slice);
        let common: Vec<_> = common::fields_of(class_type).collect();
        let names_are_whole = list.is_none_or(|list| {
            let named = slots("inputs")
                .iter()
                .filter(|slot| has_widget(slot))
                .count();
            let count = without_controls(list).count();
            // The button of an upload is a widget without a name of its own.
            count == named || (count == named + 1 && list.last().is_some_and(is_upload))
        });
        let mut list = list.map(without_controls);
        for slot in slots("inputs") {
            let Some(name) = slot.get("name").and_then(Value::as_str) else {
                continue;
            };
            let type_name = slot.get("type").and_then(Value::as_str).unwrap_or("COMBO");
            if !has_widget(slot) || !names_are_whole {
                // Older editors name only the widgets that a person turned into sockets, which does not tell whose the
                // values are.
                if !common.iter().any(|field| field.name == name) {
                    self.add(name, json!([type_name, { "forceInput": true }]));
                }
                continue;
            }
            let (value, has_control) = match &mut list {
                Some(list) => list
                    .next()
                    .map_or((None, false), |(value, control)| (Some(value), control)),
                None => (values.and_then(|named| named.get(name)), false),
            };
            self.add(name, widget(type_name, value, has_control));
        }
        if !names_are_whole || !slots("inputs").iter().any(has_widget) {
            for field in &common {
                self.add(field.name, widget(field.type_name, None, field.has_control));
            }
        }
        if let Some(Value::Object(named)) = values {
            for (name, value) in named {
                let type_name = match value {
                    Value::Bool(_) => "BOOLEAN",
                    Value::Number(number) if number.is_f64() => "FLOAT",
                    Value::Number(_) => "INT",
                    Value::String(_) => "STRING",
                    // Previews and other state of the page.
                    Value::Null | Value::Array(_) | Value::Object(_) => continue,
                };
                self.add(name, widget(type_name, Some(value), false));
            }
        }
    }

    fn add(&mut self, name: &str, description: Value) {
        if !self.inputs.contains_key(name) {
            self.inputs.insert(name.to_owned(), description);
        }
    }

    /// In the form of `/object_info`.
    fn describe(self) -> Value {
        let texts = |key: &str, without: &str| -> Vec<String> {
            self.outputs
                .iter()
                .map(|output| output.get(key).and_then(Value::as_str).unwrap_or(without))
                .map(str::to_owned)
                .collect()
        };
        json!({
            "output": texts("type", "*"),
            "output_name": texts("name", ""),
            "input": { "required": self.inputs },
        })
    }
}

fn widget(type_name: &str, value: Option<&Value>, has_control: bool) -> Value {
    let default = value.cloned().unwrap_or_default();
    json!([type_name, {
        "default": default,
        // Custom nodes have types of their own; that the slot belongs to a widget is what counts.
        "widgetType": "STRING",
        "control_after_generate": has_control,
    }])
}

/// Whether a saved input slot belongs to a widget.
fn has_widget(slot: &Value) -> bool {
    slot.get("widget").is_some_and(Value::is_object)
}

/// The values of a list without those of control widgets, each with whether one follows.
fn without_controls(values: &[Value]) -> impl Iterator<Item = (&Value, bool)> {
    let mut rest = values.iter().peekable();
    std::iter::from_fn(move || {
        let value = rest.next()?;
        let has_control = value.is_number() && rest.next_if(|next| is_control(next)).is_some();
        Some((value, has_control))
    })
}

fn is_upload(value: &Value) -> bool {
    matches!(value.as_str(), Some("image" | "video" | "audio"))
}

/// Whether a saved value is one of the modes of the widget that follows a seed.
fn is_control(value: &Value) -> bool {
    matches!(
        value.as_str(),
        Some("fixed" | "increment" | "decrement" | "randomize")
    )
}
