//! Settings of each kind of node.

use super::fields::{self, Editor};
use super::{fan_out, workflow};
use crate::app::catalog::control_for;
use crate::app::files::FilePurpose;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::TEXT_SMALL;
use crate::app::widgets::{caption, field_label, hint, icon_button, row};
use crate::project::{
    DataType, InputValue, Literal, MergeFailurePolicy, MergeMode, MergeRest, MergeScope, Node,
    NodeKind, PortId,
};
use crate::workflow::Control;
use bevy_egui::egui::{self, Id, Margin, RichText, TextEdit, Ui};

/// Draws the settings of a node and puts what changed into it, with the ports that the settings ask for.
pub fn settings(ui: &mut Ui, panel: &mut PanelContext<'_>, node: &mut Node, editor: &mut Editor) {
    let mut kind = node.kind.clone();
    match &mut kind {
        NodeKind::Workflow(settings) => {
            workflow::settings(ui, panel, node, settings, editor);
            node.kind = kind;
            return;
        }
        NodeKind::Input(settings) => input(ui, panel, node, &mut settings.value, editor),
        NodeKind::Output(settings) => output(ui, panel, node, &mut settings.template, editor),
        NodeKind::Condition(settings) => condition(ui, panel, &mut settings.expression, editor),
        NodeKind::FanOut(settings) => {
            fan_out::settings(ui, panel, node, &mut settings.source, editor);
        }
        NodeKind::Merge(settings) => merge(ui, panel, node, settings, editor),
        NodeKind::Review(settings) => {
            caption(ui, panel.theme, "Asks");
            fields::line(ui, &mut settings.question, "what to look for", editor);
            hint(
                ui,
                panel.theme,
                "Each item waits here until you pick or reject it; no backend is held meanwhile.",
            );
        }
    }
    if kind != node.kind {
        *node = node.clone().with_kind(kind, &mut PortId::new_now);
    }
    if matches!(
        node.kind,
        NodeKind::Output(_) | NodeKind::Condition(_) | NodeKind::Merge(_) | NodeKind::Review(_)
    ) {
        carries(ui, panel, node, editor);
    }
}

/// What flows through a node that takes any one type.
fn carries(ui: &mut Ui, panel: &PanelContext<'_>, node: &mut Node, editor: &mut Editor) {
    field_label(ui, panel.theme, "Works on");
    let all: Vec<(DataType, &str)> = DataType::ALL
        .iter()
        .map(|one| (*one, one.title()))
        .collect();
    let before = node.data_type();
    let mut chosen = Some(before);
    fields::pick(ui, ("carries", node.id.uuid()), &mut chosen, &all, editor);
    if let Some(chosen) = chosen
        && chosen != before
    {
        *node = node.clone().with_data_type(chosen, &mut PortId::new_now);
    }
}

fn input(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    node: &mut Node,
    value: &mut InputValue,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    caption(ui, theme, "Value");
    let before = node.data_type();
    let mut chosen = Some(before);
    let all: Vec<(DataType, &str)> = DataType::ALL
        .iter()
        .filter(|one| !matches!(one, DataType::Any | DataType::Trigger))
        .map(|one| (*one, one.title()))
        .collect();
    field_label(ui, theme, "Type");
    fields::pick(
        ui,
        ("input type", node.id.uuid()),
        &mut chosen,
        &all,
        editor,
    );
    if let Some(chosen) = chosen
        && chosen != before
    {
        *value = match chosen {
            DataType::Text => InputValue::Literal(Literal::Text(String::new())),
            DataType::Integer => InputValue::Literal(Literal::Integer(0_u64.into())),
            DataType::Number => InputValue::Literal(Literal::Number(1.0)),
            DataType::Boolean => InputValue::Literal(Literal::Boolean(true)),
            DataType::Json => InputValue::Literal(Literal::Json(serde_json::json!({}))),
            _ => InputValue::File(String::new()),
        };
        *node = node.clone().with_data_type(chosen, &mut PortId::new_now);
        return;
    }
    let id = Id::new(("input value", node.id.uuid()));
    match value {
        InputValue::Literal(literal) => {
            let control = match &*literal {
                Literal::Text(_) => Control::Text { multiline: true },
                other => control_for(other),
            };
            fields::value(ui, panel, id, &control, literal, editor);
        }
        InputValue::File(path) => {
            field_label(ui, theme, "File");
            row(ui, |ui| {
                let response = ui.add(
                    TextEdit::singleline(path)
                        .id(id)
                        .hint_text("in inputs/, or a full path")
                        .desired_width(ui.available_width() - 52.0)
                        .margin(Margin::symmetric(8, 6)),
                );
                editor.track(&response);
                if icon_button(ui, theme, icons::FOLDER_OPEN, "Choose a file").clicked() {
                    panel
                        .dialogs
                        .files
                        .ask(FilePurpose::InputFile(node.id), panel.settings);
                }
            });
            if path.is_empty() {
                ui.label(
                    RichText::new(format!(
                        "{} Choose a file; the run needs it",
                        icons::WARNING
                    ))
                    .size(TEXT_SMALL)
                    .color(theme.warn),
                );
            }
        }
    }
}

fn output(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    node: &Node,
    template: &mut String,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    caption(ui, theme, "File name");
    let response = ui.add(
        TextEdit::singleline(template)
            .font(egui::TextStyle::Monospace)
            .desired_width(f32::INFINITY)
            .char_limit(1_000)
            .margin(Margin::symmetric(8, 6)),
    );
    editor.track(&response);
    let preview = example_name(template, &panel.document.project().name, &node.title);
    ui.add(
        egui::Label::new(
            RichText::new(format!("{} {preview}", icons::FILE))
                .size(TEXT_SMALL)
                .monospace()
                .color(theme.dim),
        )
        .wrap(),
    )
    .on_hover_text("An example of a name this gives");
    hint(
        ui,
        theme,
        "Placeholders: {project} {node} {label} {label:AXIS} {index} {index:04} {ext} {run} {date}. A / makes a folder. Nothing is ever overwritten.",
    );
}

/// A name as the template makes it, for the first item with a label `seed=7`.
fn example_name(template: &str, project: &str, node: &str) -> String {
    let mut name = template
        .replace("{project}", project)
        .replace("{node}", node)
        .replace("{label}", "seed=7")
        .replace("{index}", "0")
        .replace("{ext}", "png")
        .replace("{run}", "01a2")
        .replace("{date}", "2026-01-31");
    for digits in 1..=9_usize {
        name = name.replace(&format!("{{index:0{digits}}}"), &"0".repeat(digits));
    }
    while let Some(start) = name.find("{label:") {
        let Some(end) = name[start..].find('}') else {
            break;
        };
        name.replace_range(start..=start + end, "7");
    }
    name
}

fn condition(ui: &mut Ui, panel: &PanelContext<'_>, expression: &mut String, editor: &mut Editor) {
    let theme = panel.theme;
    caption(ui, theme, "True when");
    let response = ui.add(
        TextEdit::multiline(expression)
            .font(egui::TextStyle::Monospace)
            .desired_rows(2)
            .desired_width(f32::INFINITY)
            .char_limit(10_000)
            .margin(Margin::symmetric(8, 6)),
    );
    editor.track(&response);
    // Compiled again only when the text is another one.
    let key = Id::new("condition check");
    let cached: Option<(String, Option<String>)> = ui.data(|data| data.get_temp(key));
    let problem = match cached {
        Some((text, problem)) if text == *expression => problem,
        _ => {
            let problem = cel::Program::compile(expression)
                .err()
                .map(|error| error.to_string());
            ui.data_mut(|data| data.insert_temp(key, (expression.clone(), problem.clone())));
            problem
        }
    };
    match problem {
        None => ui.label(
            RichText::new(format!("{} can be evaluated", icons::CHECK_CIRCLE))
                .size(TEXT_SMALL)
                .color(theme.ok),
        ),
        Some(problem) => ui.add(
            egui::Label::new(
                RichText::new(format!("{} {problem}", icons::WARNING_CIRCLE))
                    .size(TEXT_SMALL)
                    .color(theme.error),
            )
            .wrap(),
        ),
    };
    hint(
        ui,
        theme,
        "An expression (CEL) over: value, width, height, duration, brightness, sharpness, labels. For example: sharpness > 0.04 && width >= 512",
    );
}

fn merge(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    node: &Node,
    settings: &mut crate::project::MergeNode,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    caption(ui, theme, "Merge");
    field_label(ui, theme, "Makes");
    let fresh = |mode: u8| match mode {
        1 => MergeMode::First {
            count: 1,
            rest: MergeRest::Cancel,
        },
        2 => MergeMode::Best {
            expression: "image.sharpness".to_owned(),
            keep: 1,
        },
        3 => MergeMode::Either,
        _ => MergeMode::All,
    };
    let current = match settings.mode {
        MergeMode::All => 0,
        MergeMode::First { .. } => 1,
        MergeMode::Best { .. } => 2,
        MergeMode::Either => 3,
    };
    let mut mode = Some(current);
    fields::pick(
        ui,
        ("mode", node.id.uuid()),
        &mut mode,
        &[
            (0, "A list of everything"),
            (1, "The first that are there"),
            (2, "The best by a score"),
            (3, "Whichever side has a value"),
        ],
        editor,
    );
    if mode != Some(current) {
        settings.mode = fresh(mode.unwrap_or_default());
    }
    match &mut settings.mode {
        MergeMode::First { count, rest } => {
            field_label(ui, theme, "How many");
            editor.track(&ui.add(egui::DragValue::new(count).range(1..=100_000)));
            field_label(ui, theme, "The others");
            let mut chosen = Some(*rest);
            fields::pick(
                ui,
                ("rest", node.id.uuid()),
                &mut chosen,
                &[
                    (MergeRest::Cancel, "Call them off"),
                    (MergeRest::Leave, "Let them finish"),
                ],
                editor,
            );
            *rest = chosen.unwrap_or_default();
        }
        MergeMode::Best { expression, keep } => {
            field_label(ui, theme, "Score");
            fields::line(ui, expression, "image.sharpness", editor);
            field_label(ui, theme, "How many");
            editor.track(&ui.add(egui::DragValue::new(keep).range(1..=100_000)));
        }
        MergeMode::All | MergeMode::Either => {}
    }
    if settings.mode == MergeMode::Either {
        hint(ui, theme, "Joins the two sides of a condition.");
        return;
    }
    field_label(ui, theme, "Closes");
    let project = panel.document.project();
    let fan_outs: Vec<(MergeScope, String)> = project
        .nodes
        .values()
        .filter(|other| matches!(other.kind, NodeKind::FanOut(_)))
        .map(|other| (MergeScope::FanOut(other.id), other.title.clone()))
        .collect();
    let mut scopes = vec![
        (MergeScope::Innermost, "The innermost fan-out"),
        (MergeScope::AllOpen, "Every fan-out"),
    ];
    scopes.extend(
        fan_outs
            .iter()
            .map(|(scope, title)| (*scope, title.as_str())),
    );
    let mut scope = Some(settings.closes);
    fields::pick(ui, ("scope", node.id.uuid()), &mut scope, &scopes, editor);
    settings.closes = scope.unwrap_or_default();
    field_label(ui, theme, "Failed items");
    let mut policy = Some(settings.on_failed);
    fields::pick(
        ui,
        ("policy", node.id.uuid()),
        &mut policy,
        &[
            (MergeFailurePolicy::Ignore, "Leave them out"),
            (MergeFailurePolicy::RequireAll, "Block the merge"),
        ],
        editor,
    );
    settings.on_failed = policy.unwrap_or_default();
    caption(ui, theme, "Contact sheet");
    row(ui, |ui| {
        ui.label(RichText::new("Columns").size(12.0).color(theme.dim));
        let response = ui.add(
            egui::DragValue::new(&mut settings.contact_sheet.columns)
                .range(0..=64)
                .speed(0.1)
                .custom_formatter(|value, _| {
                    if value < 1.0 {
                        "auto".to_owned()
                    } else {
                        format!("{value:.0}")
                    }
                }),
        );
        editor.track(&response);
        ui.label(RichText::new("Cell").size(12.0).color(theme.dim));
        let response = ui.add(
            egui::DragValue::new(&mut settings.contact_sheet.cell_px)
                .range(32..=1024)
                .suffix(" px"),
        );
        editor.track(&response);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_shows_what_the_template_does() {
        assert_eq!(
            example_name(
                "{project}/{node}/{label:seed}_{index:04}.{ext}",
                "Harbour",
                "Final"
            ),
            "Harbour/Final/7_0000.png"
        );
        assert_eq!(example_name("{label:", "p", "n"), "{label:");
    }
}
