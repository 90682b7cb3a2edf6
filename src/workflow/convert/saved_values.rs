//! The widget values that the editor would save for a node of a prompt.

use super::super::object_info::{InputKind, InputSpec, NodeSpec};
use super::super::patch::link_source;
use super::super::prompt::PromptNode;
use super::widgets::{Item, OWN_CHOICES, default_of, has_widget, in_order, visible};
use serde_json::Value;

/// The `widgets_values` that the editor would save for a node of a prompt.
pub(in super::super) fn saved_values(spec: &NodeSpec, node: &PromptNode) -> Vec<Value> {
    let mut values = Vec::new();
    let grows = |input: &InputSpec| matches!(input.kind, InputKind::Autogrow(_));
    for input in visible(spec).filter(|input| grows(input)) {
        save(input, "", node, &mut values);
    }
    for item in in_order(spec) {
        match item {
            Item::Input(input) if grows(input) => {}
            Item::Input(input) => save(input, "", node, &mut values),
            Item::Player => {}
            Item::Button => values.push("image".into()),
            Item::Viewer => values.push(given(node, "image").unwrap_or_else(|| "".into())),
        }
    }
    if spec.class_type == "PreviewAny" {
        values.push(given(node, "previewMode").unwrap_or(Value::Bool(false)));
    }
    if spec.class_type == OWN_CHOICES {
        values.extend((0..).map_while(|number| given(node, &format!("option{number}"))));
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
    if let InputKind::Autogrow(autogrow) = &input.kind {
        for row in 0..autogrow.first_rows() {
            for inner in &autogrow.inputs {
                let name = autogrow.row_name(inner, row);
                save_named(
                    inner,
                    format!("{prefix}{}.{name}", input.name),
                    node,
                    values,
                );
            }
        }
        return;
    }
    save_named(input, format!("{prefix}{}", input.name), node, values);
}

fn save_named(input: &InputSpec, name: String, node: &PromptNode, values: &mut Vec<Value>) {
    if !has_widget(input) {
        return;
    }
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
            if input.is_remote {
                values.push(false.into());
            }
            if input.refresh_button {
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
