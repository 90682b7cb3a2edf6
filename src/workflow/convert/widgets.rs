//! The widgets of a node: which there are, in which order, and which saved value belongs to which.

use super::super::object_info::{InputKind, InputNeed, InputSpec, NodeSpec, Upload};
use super::super::patch::link_source;
use super::super::prompt::PromptNode;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cell::Cell;

/// A widget with its value.
#[derive(Clone)]
pub(super) struct Widget<'a> {
    pub name: Cow<'a, str>,
    /// None where the editor has `undefined`, which is not sent.
    pub value: Option<Value>,
    pub sending: Sending,
    /// For numbers: what a value is fitted to when something sets it as a person would.
    fitting: Option<&'a InputKind>,
}

/// What becomes of a widget's value on its way into the prompt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    AsIs,
    /// `{a|b}` is expanded, comments are stripped.
    DynamicPrompt,
    /// `%Node.widget%` is replaced.
    FileName,
}

impl Widget<'_> {
    /// Sets the value as a person would by typing it: numbers are rounded to their steps, fractions kept within limits.
    pub fn set_as_typed(&mut self, value: Value) {
        self.value = Some(match self.fitting {
            Some(InputKind::Integer { min, step, .. }) => {
                match super::super::object_info::whole(&value) {
                    Some(number) => {
                        to_step(number, min.unwrap_or(0), step.unwrap_or(1)).unwrap_or(value)
                    }
                    None => match value.as_f64() {
                        Some(number) => (number.round() as i64).into(),
                        None => value,
                    },
                }
            }
            Some(InputKind::Number {
                min,
                max,
                step,
                round,
            }) => match value.as_f64() {
                Some(number) => {
                    rounded(number, *min, *max, *step, *round).map_or(value, Value::from)
                }
                None => value,
            },
            _ => value,
        });
    }
}

/// The multiple of `step` nearest to a number, counted from the smallest value; none when it is the number itself.
fn to_step(number: i128, min: i128, step: i128) -> Option<Value> {
    if step.unsigned_abs() <= 1 {
        return None;
    }
    let offset = min % step;
    let steps = ((number - offset) as f64 / step as f64 + 0.5).floor() as i128;
    let fitted = steps * step + offset;
    (fitted != number).then(|| match i64::try_from(fitted) {
        Ok(small) => small.into(),
        Err(_) => (fitted as f64).into(),
    })
}

/// A fraction rounded and limited as the editor does it. Without limits of its own a field goes from 0 to 2048, and
/// without a step by halves.
fn rounded(
    number: f64,
    min: Option<f64>,
    max: Option<f64>,
    step: Option<f64>,
    round: Option<f64>,
) -> Option<f64> {
    let decimals = |step: f64| (-step.log10().floor()).max(0.0) as usize;
    let precision = decimals(step.unwrap_or(0.5)).min(15);
    let round = match round {
        Some(round) if round != 0.0 => round,
        _ if precision > 0 => 10_f64.powi(-(precision as i32)),
        _ => return None,
    };
    let nearest = (number / round + 0.5).floor() * round;
    let shortened: f64 = format!("{nearest:.precision$}").parse().ok()?;
    Some(shortened.min(max.unwrap_or(2048.0)).max(min.unwrap_or(0.0)))
}

/// The values a file has for a node's widgets.
pub(super) enum Saved<'a> {
    /// In the order of the widgets; the cell is the next position.
    List(Vec<&'a Value>, Cell<usize>),
    /// By name, as some custom nodes save them.
    Named(&'a Map<String, Value>),
}

impl<'a> Saved<'a> {
    pub fn of(spec: &NodeSpec, values: Option<&'a Value>) -> Self {
        match values {
            Some(Value::Object(named)) => Self::Named(named),
            Some(Value::Array(values)) => Self::List(without_forced(spec, values), Cell::new(0)),
            _ => Self::List(Vec::new(), Cell::new(0)),
        }
    }

    fn take(&self, name: &str) -> Option<&'a Value> {
        match self {
            Self::List(values, next) => {
                let at = next.get();
                next.set(at + 1);
                values.get(at).copied()
            }
            Self::Named(values) => values.get(name),
        }
    }

    fn skip(&self) {
        if let Self::List(_, next) = self {
            next.set(next.get() + 1);
        }
    }
}

/// Older files have a value for inputs that only take links; where the count says so, those are taken out. As in the
/// editor the count allows for control widgets and the positions do not.
fn without_forced<'a>(spec: &NodeSpec, values: &'a [Value]) -> Vec<&'a Value> {
    let mut forced = Vec::new();
    let mut expected = 0;
    let of_need = |need| visible(spec).filter(move |input| input.need == need);
    let count = |input: &InputSpec| {
        let has_control =
            input.control_declared || matches!(input.name.as_str(), "seed" | "noise_seed");
        if has_control { 2 } else { 1 }
    };
    for need in [InputNeed::Required, InputNeed::Optional] {
        for input in of_need(need).filter(|input| input.force_input || has_widget(input)) {
            forced.push(input.force_input);
            expected += count(input);
        }
        if need == InputNeed::Required {
            let added = added_by_editor(spec);
            forced.extend(std::iter::repeat_n(false, added));
            expected += added;
        }
    }
    if expected != values.len() {
        return values.iter().collect();
    }
    values
        .iter()
        .enumerate()
        .filter(|(at, _)| forced.get(*at) != Some(&true))
        .map(|(_, value)| value)
        .collect()
}

/// How many required widgets the editor's extensions add to a class: upload button, player, viewer.
fn added_by_editor(spec: &NodeSpec) -> usize {
    let has_upload = visible(spec).any(|input| {
        input.need == InputNeed::Required
            && matches!(
                input.upload,
                Some(Upload::Image | Upload::Video | Upload::Audio)
            )
    });
    usize::from(has_upload) + usize::from(has_player(spec)) + usize::from(has_viewer(spec))
}

fn has_player(spec: &NodeSpec) -> bool {
    matches!(
        spec.class_type.as_str(),
        "LoadAudio" | "SaveAudio" | "PreviewAudio" | "SaveAudioMP3" | "SaveAudioOpus"
    )
}

fn has_viewer(spec: &NodeSpec) -> bool {
    matches!(spec.class_type.as_str(), "Preview3D" | "SaveGLB")
}

fn visible(spec: &NodeSpec) -> impl Iterator<Item = &InputSpec> {
    spec.inputs
        .iter()
        .filter(|input| input.need != InputNeed::Hidden)
}

fn has_widget(input: &InputSpec) -> bool {
    !input.force_input && is_widget_type(input.widget_type.as_deref().unwrap_or(&input.type_name))
}

/// Whether the editor has a widget for values of this type.
pub(super) fn is_widget_type(type_name: &str) -> bool {
    matches!(
        type_name,
        "INT"
            | "FLOAT"
            | "BOOLEAN"
            | "STRING"
            | "COMBO"
            | "MARKDOWN"
            | "COLOR"
            | "TEXTAREA"
            | "CHART"
            | "GALLERIA"
            | "IMAGECOMPARE"
            | "IMAGEUPLOAD"
            | "MULTISELECT"
            | "SELECTBUTTON"
            | "TREESELECT"
            | "COMFY_DYNAMICCOMBO_V3"
            | "AUDIO_UI"
            | "AUDIOUPLOAD"
            | "AUDIO_RECORD"
            | "WEBCAM"
            | "LOAD_3D"
            | "LOAD_3D_ANIMATION"
            | "PREVIEW_3D"
    )
}

/// The widgets of a node of this class with their values, in the editor's order.
pub(super) fn lay_out<'a>(spec: &'a NodeSpec, saved: &Saved<'_>) -> Vec<Widget<'a>> {
    let mut widgets = Vec::new();
    let class_type = spec.class_type.as_str();
    for input in visible(spec) {
        add(input, "", class_type, saved, &mut widgets);
    }
    let mut extra = |name: &'static str, value: Option<Value>| {
        widgets.push(Widget {
            name: Cow::Borrowed(name),
            value,
            sending: Sending::AsIs,
            fitting: None,
        });
    };
    // What the editor's own extensions add.
    if has_player(spec) {
        extra("audioUI", Some("".into()));
    }
    if has_viewer(spec) {
        let value = saved.take("image").cloned();
        extra("image", Some(value.unwrap_or_else(|| "".into())));
    }
    if spec.class_type == "PreviewAny" {
        extra("preview", Some("".into()));
        let mode = saved.take("previewMode").cloned();
        extra("previewMode", Some(mode.unwrap_or(Value::Bool(false))));
    }
    widgets
}

fn add<'a>(
    input: &'a InputSpec,
    prefix: &str,
    class_type: &str,
    saved: &Saved<'_>,
    widgets: &mut Vec<Widget<'a>>,
) {
    if !has_widget(input) {
        return;
    }
    let name = match prefix {
        "" => Cow::Borrowed(input.name.as_str()),
        prefix => Cow::Owned(format!("{prefix}{}", input.name)),
    };
    let value = saved.take(&name).cloned().or_else(|| default_of(input));
    let value = value.map(|value| mend(class_type, &input.name, value));
    let sending = if input.dynamic_prompts && matches!(input.kind, InputKind::Text { .. }) {
        Sending::DynamicPrompt
    } else if has_file_name(class_type) && input.name == "filename_prefix" {
        Sending::FileName
    } else {
        Sending::AsIs
    };
    let chosen = value.as_ref().and_then(Value::as_str).map(str::to_owned);
    let inner_prefix = format!("{name}.");
    widgets.push(Widget {
        name,
        value,
        sending,
        fitting: Some(&input.kind),
    });
    match &input.kind {
        InputKind::DynamicChoice { options } => {
            let option = options
                .iter()
                .find(|option| chosen.as_deref() == Some(option.key.as_str()));
            for inner in option
                .map(|option| option.inputs.as_slice())
                .unwrap_or_default()
            {
                add(inner, &inner_prefix, class_type, saved, widgets);
            }
        }
        InputKind::Choice { .. } => {
            if input.refresh_button {
                // "Auto-refresh after generation" and the button.
                saved.skip();
                saved.skip();
            }
            if input.control_after_generate {
                // The control and the filter of its list.
                saved.skip();
                saved.skip();
            }
        }
        InputKind::Integer { .. } if input.control_after_generate => saved.skip(),
        InputKind::Number { .. } if input.control_declared => saved.skip(),
        _ => {}
    }
}

/// Samplers had a prefix in the first files.
fn mend(class_type: &str, name: &str, value: Value) -> Value {
    if matches!(class_type, "KSampler" | "KSamplerAdvanced")
        && name == "sampler_name"
        && let Some(rest) = value.as_str().and_then(|text| text.strip_prefix("sample_"))
    {
        return rest.into();
    }
    value
}

/// The value a new node has.
fn default_of(input: &InputSpec) -> Option<Value> {
    match (&input.kind, &input.default) {
        // The editor takes an empty default of a list for none.
        (InputKind::Choice { .. }, Some(Value::String(text))) if text.is_empty() => {}
        (InputKind::DynamicChoice { .. }, _) | (_, None) => {}
        (_, Some(default)) => return Some(default.clone()),
    }
    match &input.kind {
        InputKind::Integer { .. } | InputKind::Number { .. } => Some(0.into()),
        InputKind::Boolean => Some(false.into()),
        InputKind::Choice {
            choices, remote, ..
        } => choices
            .first()
            .cloned()
            .or_else(|| remote.then(|| "Loading...".into())),
        InputKind::DynamicChoice { options } => {
            options.first().map(|option| option.key.clone().into())
        }
        _ if input.type_name == "COLOR" => Some("#000000".into()),
        _ => Some("".into()),
    }
}

/// Classes whose `filename_prefix` may name other nodes' values.
fn has_file_name(class_type: &str) -> bool {
    matches!(
        class_type,
        "SaveImage"
            | "SaveVideo"
            | "SaveAnimatedWEBP"
            | "SaveWEBM"
            | "SaveAudio"
            | "SaveGLB"
            | "SaveAnimatedPNG"
            | "CLIPSave"
            | "VAESave"
            | "ModelSave"
            | "LoraSave"
            | "SaveLatent"
    )
}

/// The `widgets_values` that the editor would save for a node of a prompt.
pub(in super::super) fn saved_values(spec: &NodeSpec, node: &PromptNode) -> Vec<Value> {
    let mut values = Vec::new();
    for input in visible(spec) {
        save(input, "", node, &mut values);
    }
    let has_button = visible(spec).any(|input| {
        input.need == InputNeed::Required
            && matches!(
                input.upload,
                Some(Upload::Image | Upload::Video | Upload::Audio)
            )
    });
    if has_viewer(spec) {
        values.push(given(node, "image").unwrap_or_else(|| "".into()));
    }
    if spec.class_type == "PreviewAny" {
        values.push(given(node, "previewMode").unwrap_or(Value::Bool(false)));
    }
    if has_button {
        values.push("image".into());
    }
    values
}

fn given(node: &PromptNode, name: &str) -> Option<Value> {
    let value = node.inputs.get(name)?;
    if link_source(value).is_some() {
        return None;
    }
    Some(value.get("__value__").unwrap_or(value).clone())
}

fn save(input: &InputSpec, prefix: &str, node: &PromptNode, values: &mut Vec<Value>) {
    if !has_widget(input) {
        return;
    }
    let name = format!("{prefix}{}", input.name);
    let value = given(node, &name)
        .or_else(|| default_of(input))
        .unwrap_or_default();
    let chosen = value.as_str().map(str::to_owned);
    values.push(match value {
        // Braces that are in the text were meant: the editor would expand them.
        Value::String(text) if input.dynamic_prompts => escape(&text).into(),
        other => other,
    });
    match &input.kind {
        InputKind::DynamicChoice { options } => {
            let option = options
                .iter()
                .find(|option| chosen.as_deref() == Some(option.key.as_str()));
            for inner in option.into_iter().flat_map(|option| &option.inputs) {
                save(inner, &format!("{name}."), node, values);
            }
        }
        InputKind::Choice { .. } => {
            if input.refresh_button {
                values.push(false.into());
                values.push("refresh".into());
            }
            if input.control_after_generate {
                values.push("fixed".into());
                values.push("".into());
            }
        }
        InputKind::Integer { .. } if input.control_after_generate => values.push("fixed".into()),
        InputKind::Number { .. } if input.control_declared => values.push("fixed".into()),
        _ => {}
    }
}

fn escape(text: &str) -> String {
    text.replace('{', "\\{")
        .replace('}', "\\}")
        .replace('|', "\\|")
}
