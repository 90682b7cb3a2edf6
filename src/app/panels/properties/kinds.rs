//! Settings of each kind of node.

use super::affinity_words;
use super::fields::{self, Editor};
use super::sources;
use crate::app::actions::Action;
use crate::app::catalog::{WorkflowFacts, control_for, data_type_of, field_of};
use crate::app::files::FilePurpose;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, TEXT_SMALL};
use crate::app::widgets::{at_right, caption, field_label, hint, icon_button, row, strong};
use crate::project::{
    Affinity, Axis, Column, DataType, ExposedParameter, Fallback, FanOutSource, FilePattern,
    InputValue, Literal, MergeFailurePolicy, MergeMode, MergeRest, MergeScope, Node, NodeKind,
    Port, PortBinding, PortId, PortNeed, SeedOrder, Table, WorkflowNode,
};
use crate::workflow::Control;
use bevy_egui::egui::{self, Id, Margin, RichText, TextEdit, Ui};

/// Draws the settings of a node and puts what changed into it, with the ports that the settings ask for.
pub fn settings(ui: &mut Ui, panel: &mut PanelContext<'_>, node: &mut Node, editor: &mut Editor) {
    let mut kind = node.kind.clone();
    match &mut kind {
        NodeKind::Workflow(settings) => {
            workflow(ui, panel, node, settings, editor);
            node.kind = kind;
            return;
        }
        NodeKind::Input(settings) => input(ui, panel, node, &mut settings.value, editor),
        NodeKind::Output(settings) => output(ui, panel, node, &mut settings.template, editor),
        NodeKind::Condition(settings) => condition(ui, panel, &mut settings.expression, editor),
        NodeKind::FanOut(settings) => fan_out(ui, panel, node, &mut settings.source, editor),
        NodeKind::Merge(settings) => merge(ui, panel, node, settings, editor),
        NodeKind::Review(settings) => {
            caption(ui, panel.theme, "Asks");
            fields::line(ui, &mut settings.question, "what to look for", editor);
            hint(
                ui,
                panel.theme,
                "Each item waits here until you pick or reject it; no machine is held meanwhile.",
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

fn workflow(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    node: &mut Node,
    settings: &mut WorkflowNode,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    let document = panel.document;
    let Some(file) = document.project().workflows.get(&settings.workflow) else {
        ui.label(
            RichText::new(format!(
                "{} The workflow \"{}\" is missing. Import it again.",
                icons::WARNING_CIRCLE,
                settings.workflow
            ))
            .color(theme.error),
        );
        return;
    };
    let facts = panel.catalog.facts(&settings.workflow, file);
    if let WorkflowFacts::Unusable(reason) = &*facts {
        hint(ui, theme, reason);
    }
    caption(ui, theme, "Parameters");
    if settings.parameters.is_empty() {
        hint(ui, theme, "None shown. Add fields of the workflow below.");
    }
    let mut removed = None;
    for (index, parameter) in settings.parameters.iter_mut().enumerate() {
        let linked = linked_port(node, parameter);
        row(ui, |ui| {
            let label = field_label(ui, theme, &parameter.label);
            label.on_hover_text(parameter.address.to_string());
            at_right(ui, |ui| {
                let menu = RichText::new(icons::DOTS_THREE).size(15.0).color(theme.dim);
                ui.menu_button(menu, |ui| {
                    if parameter.value.is_some()
                        && ui.button("Use the workflow's own value").clicked()
                    {
                        parameter.value = None;
                        editor.step(Id::new(("reset", index)));
                        ui.close();
                    }
                    let words = if linked.is_some() {
                        "Remove its input"
                    } else {
                        "Take it from an input"
                    };
                    if ui.button(words).clicked() {
                        toggle_input(node, parameter, &facts);
                        editor.step(Id::new(("port", index)));
                        ui.close();
                    }
                    if ui.button("Hide from the node").clicked() {
                        removed = Some(index);
                        ui.close();
                    }
                });
                if linked.is_some() {
                    ui.label(
                        RichText::new("from its input")
                            .size(TEXT_SMALL)
                            .color(theme.dim),
                    );
                } else if parameter.value.is_none() {
                    ui.label(
                        RichText::new("workflow's value")
                            .size(TEXT_SMALL)
                            .color(theme.faint),
                    );
                }
            });
        });
        parameter_field(
            ui,
            panel,
            node.id,
            index,
            parameter,
            &facts,
            linked.is_none(),
            editor,
        );
        ui.add_space(GRID);
    }
    if let Some(index) = removed {
        settings.parameters.remove(index);
        editor.step(Id::new(("hide", index)));
    }
    expose_menu(ui, panel, settings, &facts, editor);

    caption(ui, theme, "Where it runs");
    affinity(ui, panel, &mut settings.affinity, editor);
    field_label(ui, theme, "If that machine fails");
    let mut fallback = Some(settings.fallback);
    fields::pick(
        ui,
        ("fallback", node.id.uuid()),
        &mut fallback,
        &[
            (Fallback::AutoSelect, "The next best machine"),
            (Fallback::AskUser, "Ask me"),
            (Fallback::None, "The item fails"),
        ],
        editor,
    );
    settings.fallback = fallback.unwrap_or_default();
    row(ui, |ui| {
        ui.label(RichText::new("Attempts").size(12.0).color(theme.dim));
        let response = ui.add(
            egui::DragValue::new(&mut settings.retry.max_attempts)
                .range(1..=20)
                .speed(0.1),
        );
        editor.track(&response);
    });
}

fn linked_port(node: &Node, parameter: &ExposedParameter) -> Option<PortId> {
    node.inputs
        .iter()
        .find(|port| port.binding == PortBinding::Parameter(parameter.address.clone()))
        .map(|port| port.id)
}

/// Gives a parameter an input port, or takes it away.
fn toggle_input(node: &mut Node, parameter: &ExposedParameter, facts: &WorkflowFacts) {
    if let Some(port) = linked_port(node, parameter) {
        node.inputs.retain(|input| input.id != port);
        return;
    }
    let data_type = field_of(facts, &parameter.address)
        .map(|field| data_type_of(field.value_type))
        .or_else(|| parameter.value.as_ref().map(Literal::data_type))
        .unwrap_or(DataType::Any);
    node.inputs.push(Port {
        id: PortId::new_now(),
        name: parameter.label.clone(),
        data_type,
        binding: PortBinding::Parameter(parameter.address.clone()),
        need: PortNeed::Optional,
    });
}

#[allow(clippy::too_many_arguments, reason = "one field of the list above")]
fn parameter_field(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    node_id: crate::project::NodeId,
    index: usize,
    parameter: &ExposedParameter,
    facts: &WorkflowFacts,
    enabled: bool,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    let field = field_of(facts, &parameter.address);
    if field.is_none() && matches!(facts, WorkflowFacts::Usable(_)) {
        ui.label(
            RichText::new(format!(
                "{} {} is not in the workflow any more",
                icons::WARNING,
                parameter.address
            ))
            .size(TEXT_SMALL)
            .color(theme.warn),
        );
        return;
    }
    let Some(mut value) = parameter
        .value
        .clone()
        .or_else(|| field.map(|field| Literal::from_json(&field.value)))
    else {
        return;
    };
    let control = field.map_or_else(|| control_for(&value), |field| field.control.clone());
    let id = Id::new(("parameter", node_id.uuid(), index));
    let before = value.clone();
    let mut own = Editor::default();
    let response = ui
        .add_enabled_ui(enabled, |ui| {
            fields::value(ui, panel, id, &control, &mut value, &mut own);
        })
        .response;
    if let Some(tooltip) = field.and_then(|field| field.tooltip.as_deref()) {
        response.on_hover_text(tooltip);
    }
    if let Some(changed) = own.changed
        && value != before
    {
        let gesture = panel.state.gesture(changed);
        panel.act(Action::SetParameter {
            node: node_id,
            label: parameter.label.clone(),
            value: Some(value),
            gesture,
        });
    }
    editor.ended |= own.ended;
}

fn expose_menu(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    settings: &mut WorkflowNode,
    facts: &WorkflowFacts,
    editor: &mut Editor,
) {
    let WorkflowFacts::Usable(inspection) = facts else {
        return;
    };
    let theme = panel.theme;
    ui.menu_button(
        RichText::new(format!("{}  Show another field", icons::PLUS)).size(12.0),
        |ui| {
            ui.set_min_width(260.0);
            egui::ScrollArea::vertical()
                .max_height(320.0)
                .show(ui, |ui| {
                    for field in &inspection.fields {
                        if settings
                            .parameters
                            .iter()
                            .any(|shown| shown.address == field.address)
                        {
                            continue;
                        }
                        let words =
                            format!("{}  ·  {}", field.label, field.address.node.class_type);
                        let value: String = field.value.to_string().chars().take(40).collect();
                        if ui
                            .button(words)
                            .on_hover_text(format!("{}\n{value}", field.address))
                            .clicked()
                        {
                            let mut label = field.label.clone();
                            let taken = |label: &str| {
                                settings.parameters.iter().any(|one| one.label == label)
                            };
                            let mut number = 2;
                            while taken(&label) {
                                label = format!("{} {number}", field.label);
                                number += 1;
                            }
                            settings.parameters.push(ExposedParameter {
                                address: field.address.clone(),
                                label,
                                value: None,
                            });
                            editor.step(Id::new("expose"));
                            ui.close();
                        }
                    }
                    if inspection.fields.is_empty() {
                        ui.label(RichText::new("This workflow has no fields").color(theme.dim));
                    }
                });
        },
    );
}

/// Where a node may run.
pub fn affinity(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    affinity: &mut Affinity,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    field_label(ui, theme, "Machine");
    let shown = match &*affinity {
        Affinity::Backend(id) => panel.backends.name_of(*id),
        Affinity::Tags(tags) if !tags.is_empty() => {
            format!(
                "tags: {}",
                tags.iter().cloned().collect::<Vec<_>>().join(", ")
            )
        }
        other => affinity_words(other).to_owned(),
    };
    let id = ui.make_persistent_id("affinity");
    let before = affinity.clone();
    egui::ComboBox::from_id_salt(id)
        .width(ui.available_width())
        .selected_text(shown)
        .show_ui(ui, |ui| {
            ui.selectable_value(affinity, Affinity::Any, affinity_words(&Affinity::Any));
            if ui
                .selectable_label(
                    matches!(affinity, Affinity::Tags(_)),
                    affinity_words(&Affinity::Tags(std::collections::BTreeSet::new())),
                )
                .clicked()
                && !matches!(affinity, Affinity::Tags(_))
            {
                *affinity = Affinity::Tags(std::collections::BTreeSet::new());
            }
            for (backend_id, card) in &panel.backends.cards {
                ui.selectable_value(
                    affinity,
                    Affinity::Backend(*backend_id),
                    format!("Only {}", card.status.name),
                );
            }
        });
    if *affinity != before {
        editor.step(id);
    }
    if let Affinity::Tags(tags) = affinity {
        let key = id.with("tags");
        let mut text = panel
            .state
            .drafts
            .get(&key)
            .cloned()
            .unwrap_or_else(|| tags.iter().cloned().collect::<Vec<_>>().join(", "));
        let response = ui.add(
            TextEdit::singleline(&mut text)
                .id(key)
                .hint_text("24 GB, video")
                .desired_width(f32::INFINITY)
                .margin(Margin::symmetric(8, 6)),
        );
        if response.changed() {
            *tags = text
                .split(',')
                .map(|tag| tag.trim().to_owned())
                .filter(|tag| !tag.is_empty())
                .collect();
            panel.state.drafts.insert(key, text);
        }
        if response.lost_focus() {
            panel.state.drafts.remove(&key);
        }
        editor.track(&response);
        hint(
            ui,
            theme,
            "A machine needs all of these tags. Separate them by commas.",
        );
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

fn fan_out(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    node: &Node,
    source: &mut FanOutSource,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    caption(ui, theme, "One item for each");
    let current = match source {
        FanOutSource::List(_) => 0,
        FanOutSource::Range { .. } => 1,
        FanOutSource::Seeds { .. } => 2,
        FanOutSource::Grid(_) => 3,
        FanOutSource::Zip(_) => 4,
        FanOutSource::Table(_) => 5,
        FanOutSource::Files(_) => 6,
        FanOutSource::Split { .. } => 7,
    };
    let mut chosen = Some(current);
    fields::pick(
        ui,
        ("source", node.id.uuid()),
        &mut chosen,
        &[
            (2, "Seed"),
            (0, "Value of a list"),
            (1, "Number of a range"),
            (3, "Combination (grid)"),
            (4, "Values side by side"),
            (5, "Row of a table"),
            (6, "File of a folder"),
            (7, "Value that comes in"),
        ],
        editor,
    );
    if chosen != Some(current) {
        *source = fresh_source(chosen.unwrap_or(2));
        return;
    }
    let id = Id::new(("fan out", node.id.uuid()));
    match source {
        FanOutSource::List(axis) => axis_editor(ui, panel, id, axis, editor),
        FanOutSource::Range {
            axis,
            start,
            step,
            count,
        } => {
            field_label(ui, theme, "Name");
            fields::line(ui, axis, "name", editor);
            egui::Grid::new(id)
                .num_columns(2)
                .spacing([12.0, 6.0])
                .show(ui, |ui| {
                    ui.label(RichText::new("From").color(theme.dim));
                    editor.track(&ui.add(egui::DragValue::new(start).speed(0.1)));
                    ui.end_row();
                    ui.label(RichText::new("In steps of").color(theme.dim));
                    editor.track(&ui.add(egui::DragValue::new(step).speed(0.1)));
                    ui.end_row();
                    ui.label(RichText::new("How many").color(theme.dim));
                    editor.track(&ui.add(egui::DragValue::new(count).range(1..=100_000)));
                    ui.end_row();
                });
            let last = *start + *step * f64::from(count.saturating_sub(1));
            hint(ui, theme, &format!("{start} to {last}, {count} items"));
        }
        FanOutSource::Seeds {
            axis,
            first,
            count,
            order,
        } => {
            field_label(ui, theme, "Name");
            fields::line(ui, axis, "seed", editor);
            field_label(ui, theme, "First seed");
            let mut value = Literal::Integer((*first).into());
            let control = Control::Integer {
                min: Some(0),
                max: Some(i128::from(u64::MAX)),
                step: None,
                seed: true,
            };
            fields::value(ui, panel, id.with("first"), &control, &mut value, editor);
            if let Literal::Integer(integer) = value
                && let Ok(seed) = u64::try_from(integer.get())
            {
                *first = seed;
            }
            field_label(ui, theme, "How many");
            let response = ui.add_sized(
                [ui.available_width(), 28.0],
                egui::DragValue::new(count).range(1..=100_000).speed(0.2),
            );
            editor.track(&response);
            let mut chosen = Some(*order);
            field_label(ui, theme, "The others");
            fields::pick(
                ui,
                id.with("order"),
                &mut chosen,
                &[
                    (SeedOrder::Increment, "Follow one by one"),
                    (SeedOrder::Scatter, "Far apart, always the same"),
                ],
                editor,
            );
            *order = chosen.unwrap_or_default();
        }
        FanOutSource::Zip(axes) => {
            hint(
                ui,
                theme,
                "One value of each axis at a time; both need as many",
            );
            for (index, axis) in axes.iter_mut().enumerate() {
                axis_editor(ui, panel, id.with(index), axis, editor);
            }
        }
        FanOutSource::Table(table) => sources::table(ui, panel, id, table, editor),
        FanOutSource::Files(files) => sources::files(ui, panel, id, files, editor),
        FanOutSource::Split { axis, data_type } => {
            sources::split(ui, panel, id, axis, data_type, editor);
        }
        FanOutSource::Grid(axes) => {
            let total: usize = axes.iter().map(|axis| axis.values.len()).product();
            hint(
                ui,
                theme,
                &format!("{total} combinations; the last axis turns fastest"),
            );
            let mut removed = None;
            let many = axes.len() > 1;
            for (index, axis) in axes.iter_mut().enumerate() {
                row(ui, |ui| {
                    ui.label(strong(format!("Axis {}", index + 1), 12.0).color(theme.dim));
                    if many {
                        at_right(ui, |ui| {
                            if icon_button(ui, theme, icons::TRASH, "Remove this axis").clicked() {
                                removed = Some(index);
                            }
                        });
                    }
                });
                axis_editor(ui, panel, id.with(index), axis, editor);
            }
            if let Some(index) = removed {
                axes.remove(index);
                editor.step(id.with("remove"));
            }
            if ui.button(format!("{}  Add an axis", icons::PLUS)).clicked() {
                let number = axes.len() + 1;
                axes.push(Axis {
                    name: format!("axis {number}"),
                    data_type: DataType::Text,
                    values: vec![Literal::Text("a".to_owned()), Literal::Text("b".to_owned())],
                });
                editor.step(id.with("add"));
            }
        }
    }
}

fn fresh_source(kind: u8) -> FanOutSource {
    let axis = |name: &str| Axis {
        name: name.to_owned(),
        data_type: DataType::Text,
        values: vec![
            Literal::Text("first".to_owned()),
            Literal::Text("second".to_owned()),
        ],
    };
    match kind {
        0 => FanOutSource::List(axis("value")),
        1 => FanOutSource::Range {
            axis: "number".to_owned(),
            start: 1.0,
            step: 1.0,
            count: 4,
        },
        3 => FanOutSource::Grid(vec![axis("first"), axis("second")]),
        4 => FanOutSource::Zip(vec![axis("first"), axis("second")]),
        5 => FanOutSource::Table(Table {
            columns: vec![Column {
                name: "prompt".to_owned(),
                data_type: DataType::Text,
            }],
            rows: vec![vec![String::new()]],
        }),
        6 => FanOutSource::Files(FilePattern {
            axis: "file".to_owned(),
            pattern: "*.png".to_owned(),
            data_type: DataType::Image,
        }),
        7 => FanOutSource::Split {
            axis: "part".to_owned(),
            data_type: DataType::Image,
        },
        _ => FanOutSource::Seeds {
            axis: "seed".to_owned(),
            first: 1,
            count: 4,
            order: SeedOrder::Increment,
        },
    }
}

/// Name, type and values of an axis; one value a line.
fn axis_editor(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    id: Id,
    axis: &mut Axis,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    field_label(ui, theme, "Name");
    fields::line(ui, &mut axis.name, "name", editor);
    field_label(ui, theme, "Values are");
    let before = axis.data_type;
    let mut chosen = Some(before);
    fields::pick(
        ui,
        id.with("type"),
        &mut chosen,
        &[
            (DataType::Text, "Text"),
            (DataType::Integer, "Whole numbers"),
            (DataType::Number, "Numbers"),
        ],
        editor,
    );
    let data_type = chosen.unwrap_or(before);
    let key = id.with("values");
    let mut text = panel.state.drafts.get(&key).cloned().unwrap_or_else(|| {
        axis.values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    });
    field_label(ui, theme, "Values, one a line");
    let response = ui.add(
        TextEdit::multiline(&mut text)
            .id(key)
            .desired_rows(3)
            .desired_width(f32::INFINITY)
            .char_limit(1_000_000)
            .margin(Margin::symmetric(8, 6)),
    );
    match parse_values(&text, data_type) {
        Ok(values) => {
            if response.changed() || data_type != before {
                axis.values = values;
                axis.data_type = data_type;
            }
            ui.label(
                RichText::new(format!("{} values", axis.values.len()))
                    .size(TEXT_SMALL)
                    .color(theme.dim),
            );
        }
        Err(line) => {
            ui.label(
                RichText::new(format!(
                    "{} line {line} is not a number",
                    icons::WARNING_CIRCLE
                ))
                .size(TEXT_SMALL)
                .color(theme.error),
            );
        }
    }
    if response.changed() {
        panel.state.drafts.insert(key, text);
    }
    if response.lost_focus() {
        panel.state.drafts.remove(&key);
    }
    editor.track(&response);
}

/// The values that the lines stand for, or the number of the first line that does not fit the type.
fn parse_values(text: &str, data_type: DataType) -> Result<Vec<Literal>, usize> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| match data_type {
            DataType::Integer => line
                .trim()
                .parse::<i128>()
                .ok()
                .and_then(crate::project::Integer::new)
                .map(Literal::Integer)
                .ok_or(index + 1),
            DataType::Number => line
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .map(Literal::Number)
                .ok_or(index + 1),
            _ => Ok(Literal::Text(line.to_owned())),
        })
        .collect()
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

    #[test]
    fn lines_become_values_and_the_bad_one_is_named() {
        assert_eq!(
            parse_values("1\n\n18446744073709551615", DataType::Integer).map(|values| values.len()),
            Ok(2)
        );
        assert_eq!(parse_values("1\nx", DataType::Integer), Err(2));
        assert_eq!(parse_values("nan", DataType::Number), Err(1));
    }
}
