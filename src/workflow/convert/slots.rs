//! The input and output slots of a node as the editor has them after loading: those of the class, with the links of the
//! file.

use super::super::object_info::{Autogrow, InputKind, InputNeed, InputSpec, NodeSpec};
use super::super::patch::link_source;
use super::super::prompt::PromptNode;
use super::graph::{Input, id_text};
use super::widgets::{Widget, is_widget_type};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

pub(super) fn slots<'a>(raw: &'a Value, key: &str) -> &'a [Value] {
    raw.get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// A slot's type. Old files have the list of choices itself where newer ones say `COMBO`.
pub(super) fn type_text(slot: &Value) -> Cow<'_, str> {
    match slot.get("type") {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Array(_)) => Cow::Borrowed("COMBO"),
        _ => Cow::Borrowed("*"),
    }
}

fn saved_input(slot: &Value) -> Option<Input<'_>> {
    Some(Input {
        name: Cow::Borrowed(slot.get("name")?.as_str()?),
        type_name: type_text(slot),
        link: slot.get("link").and_then(id_text),
        widget: slot
            .get("widget")
            .and_then(|widget| widget.get("name"))
            .and_then(Value::as_str)
            .map(Cow::Borrowed),
    })
}

pub(super) fn saved_inputs(raw: &Value) -> Vec<Input<'_>> {
    slots(raw, "inputs")
        .iter()
        .map(|slot| {
            // A slot without a name still counts for the positions of the others.
            saved_input(slot).unwrap_or(Input {
                name: Cow::Borrowed(""),
                type_name: type_text(slot),
                link: slot.get("link").and_then(id_text),
                widget: None,
            })
        })
        .collect()
}

pub(super) fn saved_outputs(raw: &Value) -> Vec<Cow<'_, str>> {
    slots(raw, "outputs").iter().map(type_text).collect()
}

/// The inputs of a node of a known class: sockets first, then the sockets of widgets, each with the link that the saved
/// input of that name has; then saved inputs the class does not define.
pub(super) fn class_inputs<'a>(
    spec: &'a NodeSpec,
    raw: &'a Value,
    widgets: &[Widget<'a>],
) -> Vec<Input<'a>> {
    let saved: Vec<Input<'a>> = slots(raw, "inputs")
        .iter()
        .filter_map(saved_input)
        .collect();
    let has_widget = |name: &str| widgets.iter().any(|widget| widget.name == name);
    let is_dynamic = spec.inputs.iter().any(|input| {
        matches!(
            input.kind,
            InputKind::DynamicChoice { .. } | InputKind::Autogrow(_) | InputKind::MatchType { .. }
        )
    });
    if is_dynamic {
        return dynamic_inputs(spec, saved, widgets);
    }
    let mut by_name: HashMap<&str, &Input<'a>> = HashMap::new();
    for input in &saved {
        by_name.insert(&input.name, input);
    }
    let visible = || {
        spec.inputs
            .iter()
            .filter(|input| input.need != InputNeed::Hidden)
    };
    let has_own_widget = |input: &InputSpec| {
        !input.force_input
            && is_widget_type(input.widget_type.as_deref().unwrap_or(&input.type_name))
    };
    let mut inputs: Vec<Input<'a>> = Vec::with_capacity(spec.inputs.len());
    let sockets = visible().filter(|input| !has_own_widget(input));
    let of_widgets = visible().filter(|input| has_own_widget(input));
    for input in sockets.chain(of_widgets) {
        inputs.push(Input {
            name: Cow::Borrowed(&input.name),
            type_name: Cow::Borrowed(&input.type_name),
            link: by_name
                .get(input.name.as_str())
                .and_then(|saved| saved.link.clone()),
            widget: has_own_widget(input).then_some(Cow::Borrowed(input.name.as_str())),
        });
    }
    let defined: HashSet<&str> = visible().map(|input| input.name.as_str()).collect();
    for input in saved {
        if defined.contains(input.name.as_ref()) {
            continue;
        }
        // The socket of a widget that is no longer there goes with it.
        if input.widget.as_deref().is_none_or(has_widget) {
            inputs.push(input);
        }
    }
    inputs
}

/// The inputs of a class whose inputs depend on what is chosen and linked: the file has them in the editor's order.
fn dynamic_inputs<'a>(
    spec: &'a NodeSpec,
    saved: Vec<Input<'a>>,
    widgets: &[Widget<'a>],
) -> Vec<Input<'a>> {
    let has_widget = |name: &str| widgets.iter().any(|widget| widget.name == name);
    let mut inputs: Vec<Input<'a>> = saved
        .into_iter()
        .filter(|input| input.widget.as_deref().is_none_or(has_widget))
        .filter(|input| {
            // Inputs of an option that is not the chosen one are gone.
            input.name.split_once('.').is_none_or(|(combo, inner)| {
                spec.inputs
                    .iter()
                    .find(|spec| spec.name == combo)
                    .is_none_or(|spec| is_of_chosen_option(spec, inner, widgets))
            })
        })
        .collect();
    for of_spec in &spec.inputs {
        match &of_spec.kind {
            InputKind::MatchType { allowed_types, .. } => {
                for input in &mut inputs {
                    if input.name == of_spec.name {
                        input.type_name = Cow::Borrowed(allowed_types);
                    }
                }
            }
            InputKind::Autogrow(autogrow) => close_gaps(&of_spec.name, autogrow, &mut inputs),
            _ => {}
        }
    }
    inputs
}

fn is_of_chosen_option(spec: &InputSpec, inner: &str, widgets: &[Widget<'_>]) -> bool {
    let InputKind::DynamicChoice { options } = &spec.kind else {
        return true;
    };
    let chosen = widgets
        .iter()
        .find(|widget| widget.name == spec.name)
        .and_then(|widget| widget.value.as_ref())
        .and_then(Value::as_str);
    let inner = inner.split('.').next().unwrap_or(inner);
    options
        .iter()
        .find(|option| Some(option.key.as_str()) == chosen)
        .is_some_and(|option| option.inputs.iter().any(|input| input.name == inner))
}

/// Most inputs of a node whose rows are moved up; autogrow inputs have at most some tens.
const MAX_ROWS: usize = 1000;

/// Rows of an autogrow input move up where one that may be empty is.
fn close_gaps(group: &str, autogrow: &Autogrow, inputs: &mut [Input<'_>]) {
    if autogrow.inputs.len() != 1 || inputs.len() > MAX_ROWS {
        return;
    }
    let mut rows: Vec<(usize, &mut Input<'_>)> = inputs
        .iter_mut()
        .filter_map(|input| {
            let row = input.name.strip_prefix(group)?.strip_prefix('.')?;
            let ordinal = if autogrow.names.is_empty() {
                row.trim_start_matches(|c: char| !c.is_ascii_digit())
                    .parse()
                    .ok()?
            } else {
                autogrow.names.iter().position(|name| name == row)?
            };
            Some((ordinal, input))
        })
        .collect();
    // Other programs do not always save them in order.
    rows.sort_by_key(|(ordinal, _)| *ordinal);
    let empty: Vec<usize> = rows
        .iter()
        .filter(|(_, input)| input.link.is_none())
        .map(|(ordinal, _)| *ordinal)
        .collect();
    for ordinal in empty {
        if ordinal + 1 < autogrow.min {
            continue;
        }
        for at in ordinal..rows.len() {
            let below = rows
                .get_mut(at + 1)
                .and_then(|(_, input)| input.link.take());
            if let Some((_, input)) = rows.get_mut(at) {
                input.link = below;
            }
        }
    }
}

pub(super) fn class_outputs<'a>(spec: &'a NodeSpec, raw: &'a Value) -> Vec<Cow<'a, str>> {
    let saved = saved_outputs(raw);
    let count = spec.outputs.len().max(saved.len());
    (0..count)
        .filter_map(|slot| match spec.outputs.get(slot) {
            // What it becomes depends on what is linked.
            Some(output) if output.type_name == "COMFY_MATCHTYPE_V3" => Some(Cow::Borrowed("*")),
            Some(output) => Some(Cow::Borrowed(output.type_name.as_str())),
            None => saved.get(slot).cloned(),
        })
        .collect()
}

/// An input slot as the editor saves it.
pub(in super::super) struct SavedInput {
    pub name: String,
    pub type_name: String,
    pub has_widget: bool,
}

/// The input slots that the editor would save for a node of a prompt: sockets, then sockets of widgets, then whatever
/// else is linked.
pub(in super::super) fn saved_inputs_of(spec: &NodeSpec, node: &PromptNode) -> Vec<SavedInput> {
    let mut sockets = Vec::new();
    let mut of_widgets = Vec::new();
    let visible = spec
        .inputs
        .iter()
        .filter(|input| input.need != InputNeed::Hidden);
    for input in visible {
        collect_saved(input, "", node, &mut sockets, &mut of_widgets);
    }
    sockets.append(&mut of_widgets);
    let known: HashSet<&str> = sockets.iter().map(|saved| saved.name.as_str()).collect();
    let others: Vec<SavedInput> = node
        .inputs
        .iter()
        .filter(|(name, value)| link_source(value).is_some() && !known.contains(name.as_str()))
        .map(|(name, _)| SavedInput {
            name: name.clone(),
            type_name: "*".to_owned(),
            has_widget: false,
        })
        .collect();
    sockets.extend(others);
    sockets
}

fn collect_saved(
    input: &InputSpec,
    prefix: &str,
    node: &PromptNode,
    sockets: &mut Vec<SavedInput>,
    of_widgets: &mut Vec<SavedInput>,
) {
    let name = format!("{prefix}{}", input.name);
    let has_widget = !input.force_input
        && is_widget_type(input.widget_type.as_deref().unwrap_or(&input.type_name));
    let saved = |name: String, type_name: &str| SavedInput {
        name,
        type_name: type_name.to_owned(),
        has_widget,
    };
    match &input.kind {
        InputKind::Autogrow(autogrow) => {
            let type_name = autogrow
                .inputs
                .first()
                .map_or("*", |input| input.type_name.as_str());
            let rows = node.inputs.keys().filter(|key| {
                key.strip_prefix(&name)
                    .is_some_and(|rest| rest.starts_with('.'))
            });
            sockets.extend(rows.map(|row| saved(row.clone(), type_name)));
        }
        InputKind::MatchType { allowed_types, .. } => sockets.push(saved(name, allowed_types)),
        InputKind::DynamicChoice { options } => {
            of_widgets.push(saved(name.clone(), &input.type_name));
            let chosen = node.inputs.get(&name).and_then(Value::as_str);
            let option = options
                .iter()
                .find(|option| Some(option.key.as_str()) == chosen);
            for inner in option.into_iter().flat_map(|option| &option.inputs) {
                collect_saved(inner, &format!("{name}."), node, sockets, of_widgets);
            }
        }
        _ if !has_widget => sockets.push(saved(name, &input.type_name)),
        _ => of_widgets.push(saved(name, &input.type_name)),
    }
}
