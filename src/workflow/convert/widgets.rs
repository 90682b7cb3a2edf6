//! The widgets of a node: which there are, in which order, and which saved value belongs to which.

use super::super::object_info::{InputKind, InputNeed, InputSpec, NodeSpec, Upload};
use super::typed::{as_text, rounded, to_step, whole_step};
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

impl<'a> Widget<'a> {
    /// A widget whose value is sent as it is.
    fn plain(name: Cow<'a, str>, value: Option<Value>) -> Self {
        Self {
            name,
            value,
            sending: Sending::AsIs,
            fitting: None,
        }
    }

    /// The value as the editor reads it back: fields of several lines hold nothing but text with plain line ends.
    pub fn shown_value(&self) -> Option<Value> {
        let value = self.value.as_ref()?;
        Some(match self.fitting {
            Some(InputKind::Text { multiline: true }) => as_text(value).into(),
            _ => value.clone(),
        })
    }

    /// The choices of a dynamic combo.
    pub fn is_dynamic_choice(&self) -> bool {
        matches!(self.fitting, Some(InputKind::DynamicChoice { .. }))
    }

    /// Sets the value as a person would by typing it: numbers are rounded to their steps, fractions kept within limits.
    pub fn set_as_typed(&mut self, value: Value) {
        self.value = Some(match self.fitting {
            Some(InputKind::Integer { min, step, .. }) => {
                match super::super::object_info::whole(&value) {
                    Some(number) => {
                        to_step(number, min.unwrap_or(0), step.unwrap_or(1)).unwrap_or(value)
                    }
                    None => match value.as_f64() {
                        Some(number) => whole_step(number, min.unwrap_or(0), step.unwrap_or(1)),
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

pub(super) fn has_player(spec: &NodeSpec) -> bool {
    matches!(
        spec.class_type.as_str(),
        "LoadAudio" | "SaveAudio" | "PreviewAudio" | "SaveAudioMP3" | "SaveAudioOpus"
    )
}

pub(super) fn has_viewer(spec: &NodeSpec) -> bool {
    matches!(spec.class_type.as_str(), "Preview3D" | "SaveGLB")
}

pub(super) fn visible(spec: &NodeSpec) -> impl Iterator<Item = &InputSpec> {
    shown(&spec.inputs)
}

fn shown(inputs: &[InputSpec]) -> impl Iterator<Item = &InputSpec> {
    inputs
        .iter()
        .filter(|input| input.need != InputNeed::Hidden)
}

pub(super) fn has_widget(input: &InputSpec) -> bool {
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

/// What the editor goes through when it makes the widgets of a class.
pub(super) enum Item<'a> {
    Input(&'a InputSpec),
    /// A player for sounds, which has no value.
    Player,
    /// A button to upload files, which has a value that is not sent.
    Button,
    /// A viewer for models.
    Viewer,
}

/// The inputs of a class in the editor's order, with what the editor's own extensions add to the required ones.
pub(super) fn in_order(spec: &NodeSpec) -> impl Iterator<Item = Item<'_>> {
    let has_button = visible(spec).any(|input| {
        input.need == InputNeed::Required
            && matches!(
                input.upload,
                Some(Upload::Image | Upload::Video | Upload::Audio)
            )
    });
    let added = [
        has_player(spec).then_some(Item::Player),
        has_button.then_some(Item::Button),
        has_viewer(spec).then_some(Item::Viewer),
    ];
    let (before, after) = spec
        .inputs
        .split_at_checked(spec.added_at)
        .unwrap_or((&spec.inputs, &[]));
    shown(before)
        .map(Item::Input)
        .chain(added.into_iter().flatten())
        .chain(shown(after).map(Item::Input))
}

/// The widgets of a node of this class with their values, in the editor's order.
pub(super) fn lay_out<'a>(spec: &'a NodeSpec, saved: &Saved<'_>) -> Vec<Widget<'a>> {
    let mut widgets = Vec::new();
    let class_type = spec.class_type.as_str();
    // Rows of inputs that grow are made together with the sockets, before all other widgets.
    let grows = |input: &InputSpec| matches!(input.kind, InputKind::Autogrow(_));
    for input in visible(spec).filter(|input| grows(input)) {
        add(input, "", class_type, saved, &mut widgets);
    }
    for item in in_order(spec) {
        match item {
            Item::Input(input) if grows(input) => {}
            Item::Input(input) => add(input, "", class_type, saved, &mut widgets),
            Item::Player => widgets.push(Widget::plain("audioUI".into(), Some("".into()))),
            Item::Button => saved.skip(),
            Item::Viewer => {
                let value = saved.take("image").cloned();
                let value = value.unwrap_or_else(|| "".into());
                widgets.push(Widget::plain("image".into(), Some(value)));
            }
        }
    }
    let mut extra = |name: Cow<'a, str>, value: Option<Value>| {
        widgets.push(Widget::plain(name, value));
    };
    if spec.class_type == "PreviewAny" {
        extra(Cow::Borrowed("preview"), Some("".into()));
        let mode = saved.take("previewMode").cloned();
        extra(
            Cow::Borrowed("previewMode"),
            Some(mode.unwrap_or(Value::Bool(false))),
        );
    }
    if spec.class_type == OWN_CHOICES {
        // There is always one more option than are filled in.
        for number in 0.. {
            let name = format!("option{number}");
            let value = saved.take(&name).cloned().unwrap_or_else(|| "".into());
            let is_last = is_empty(&value);
            extra(name.into(), Some(value));
            if is_last {
                break;
            }
        }
    }
    widgets
}

/// A list whose choices are written into the node itself.
pub(super) const OWN_CHOICES: &str = "CustomCombo";

/// Whether the editor takes a value for none.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn add<'a>(
    input: &'a InputSpec,
    prefix: &str,
    class_type: &str,
    saved: &Saved<'_>,
    widgets: &mut Vec<Widget<'a>>,
) {
    if let InputKind::Autogrow(autogrow) = &input.kind {
        for row in 0..autogrow.first_rows() {
            for inner in &autogrow.inputs {
                let name = autogrow.row_name(inner, row);
                let path = format!("{prefix}{}.{name}", input.name);
                add_named(inner, path.into(), class_type, saved, widgets);
            }
        }
        return;
    }
    let name = match prefix {
        "" => Cow::Borrowed(input.name.as_str()),
        prefix => Cow::Owned(format!("{prefix}{}", input.name)),
    };
    add_named(input, name, class_type, saved, widgets);
}

fn add_named<'a>(
    input: &'a InputSpec,
    name: Cow<'a, str>,
    class_type: &str,
    saved: &Saved<'_>,
    widgets: &mut Vec<Widget<'a>>,
) {
    if !has_widget(input) {
        return;
    }
    // A player has no value.
    let given = match input.type_name.as_str() {
        "AUDIO_UI" => None,
        _ => saved.take(&name),
    };
    let value = given.cloned().or_else(|| default_of(input));
    let value = value.map(|value| mend(class_type, &input.name, value));
    let value = match &input.kind {
        InputKind::Choice { choices, .. } if input.has_file_button() => {
            Some(file_value(value, choices, input))
        }
        _ => value,
    };
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
            if input.is_remote {
                // "Auto-refresh after generation".
                saved.skip();
            }
            if input.refresh_button {
                let value = saved.take("refresh").cloned();
                let value = value.unwrap_or_else(|| "refresh".into());
                widgets.push(Widget::plain("refresh".into(), Some(value)));
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

/// The value of a list of files with an upload button: never empty, and with the folder behind it where that is not the
/// input folder.
fn file_value(value: Option<Value>, choices: &[Value], input: &InputSpec) -> Value {
    let value = match value {
        Some(value) if !is_empty(&value) => value,
        // What the editor shows first.
        _ => match choices.first() {
            Some(Value::String(first)) => return first.clone().into(),
            Some(first) => return first.to_string().into(),
            None => return "undefined".into(),
        },
    };
    match value {
        Value::Array(files) if input.allows_batch => {
            files.iter().map(|file| file_path(file, input)).collect()
        }
        Value::Array(files) => match files.first() {
            Some(file) => file_path(file, input).into(),
            None => files.into(),
        },
        file => file_path(&file, input).into(),
    }
}

fn file_path(file: &Value, input: &InputSpec) -> String {
    let text = |key: &str| file.get(key).and_then(Value::as_str).unwrap_or_default();
    let (path, annotated) = match file {
        Value::String(path) => (path.clone(), path.as_str()),
        _ => match text("subfolder") {
            "" => (text("filename").to_owned(), text("type")),
            subfolder => (format!("{subfolder}/{}", text("filename")), text("type")),
        },
    };
    let lower = annotated.to_ascii_lowercase();
    let has_folder = ["[input]", "[output]", "[temp]"]
        .iter()
        .any(|folder| lower.contains(folder));
    match input.folder.as_deref() {
        None | Some("input") => path,
        _ if has_folder || annotated.is_empty() => path,
        Some(folder) => format!("{path} [{folder}]"),
    }
}

/// Lets something choose an option of a dynamic combo: the widgets of the option are made anew, with their defaults.
pub(super) fn choose_option<'a>(
    spec: &'a NodeSpec,
    name: &str,
    value: &Value,
    widgets: &mut Vec<Widget<'a>>,
) {
    let Some(at) = widgets.iter().position(|widget| widget.name == name) else {
        return;
    };
    let prefix = format!("{name}.");
    widgets.retain(|widget| !widget.name.starts_with(&prefix));
    let Some(input) = spec.input(name) else {
        return;
    };
    let chosen = [value];
    let saved = Saved::List(chosen.to_vec(), Cell::new(0));
    let mut made = Vec::new();
    add_named(
        input,
        name.to_owned().into(),
        &spec.class_type,
        &saved,
        &mut made,
    );
    widgets.splice(at..=at, made);
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
pub(super) fn default_of(input: &InputSpec) -> Option<Value> {
    match (&input.kind, &input.default) {
        // The editor takes an empty default of a list for none.
        (InputKind::Choice { .. }, Some(default)) if is_empty(default) => {}
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
pub(super) fn has_file_name(class_type: &str) -> bool {
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
