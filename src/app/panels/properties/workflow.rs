//! Settings of Workflow nodes: their parameters, which of them are inputs, and where they run.

use super::affinity_words;
use super::fields::{self, Editor};
use super::run_policy;
use super::seed;
use crate::app::actions::Action;
use crate::app::catalog::{WorkflowFacts, control_for, field_of};
use crate::app::editors::EditorState;
use crate::app::exposure;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, TEXT_SMALL};
use crate::app::widgets::{at_right, caption, field_label, hint, row, strong};
use crate::project::{Affinity, ExposedParameter, Literal, Node, WorkflowNode};
use crate::workflow::{MemoryNeed, MemoryRoom};
use bevy_egui::egui::{self, Id, Margin, RichText, TextEdit, Ui};

/// The way into ComfyUI's own editor, and what its window is doing.
fn editor_row(ui: &mut Ui, panel: &mut PanelContext<'_>, node: &Node) {
    let theme = panel.theme;
    let (words, state) = match panel.editors.of(node.id) {
        None => ("Edit in ComfyUI…", None),
        Some((state, backend_name)) => (
            "Show the editor",
            Some(match state {
                EditorState::Opening => format!("opening on {backend_name}"),
                EditorState::Open => format!("open on {backend_name}"),
                EditorState::Changed => format!("changed on {backend_name}"),
                EditorState::NotShown => format!("not shown by {backend_name}"),
            }),
        ),
    };
    row(ui, |ui| {
        let button = ui
            .button(format!("{}  {words}", icons::PENCIL_SIMPLE))
            .on_hover_text(format!(
                "Opens the workflow in the backend's own editor  {}",
                panel.keymap.shown("edit.workflow")
            ));
        if button.clicked() {
            panel.act(Action::EditWorkflow {
                node_id: Some(node.id),
                backend_id: None,
            });
        }
        match state {
            Some(state) => {
                hint(ui, theme, &state);
            }
            None if no_backend_has_a_page(panel) => {
                hint(ui, theme, "no backend here has its page");
            }
            None => {}
        }
    });
}

/// Whether backends answer and none of them has an editor's page.
fn no_backend_has_a_page(panel: &PanelContext<'_>) -> bool {
    let mut answering = panel
        .backends
        .cards
        .values()
        .filter(|card| card.status.state.answers())
        .peekable();
    answering.peek().is_some() && answering.all(|card| !card.status.may_have_editor())
}

/// Reasons shown per backend; the rest is told by a tip.
const REASONS: usize = 4;

/// Draws the settings of a Workflow node and puts what changed into it.
pub fn settings(
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
    editor_row(ui, panel, node);
    caption(ui, theme, "Parameters");
    if settings.parameters.is_empty() {
        hint(ui, theme, "None shown. Add fields of the workflow below.");
    }
    let mut removed = None;
    let mut group_above = None;
    for (index, parameter) in settings.parameters.iter_mut().enumerate() {
        if parameter.group.is_some() && group_above != parameter.group {
            let group = parameter.group.as_deref().unwrap_or_default();
            ui.label(strong(group, 12.5));
        }
        group_above.clone_from(&parameter.group);
        let linked = exposure::port_of(node, &parameter.address);
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
                        exposure::toggle_input(node, &parameter.address, &facts);
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
        if linked.is_none() {
            let field = field_of(&facts, &parameter.address);
            seed::policy(ui, panel, (node.id, index), parameter, field, editor);
        }
        ui.add_space(GRID);
    }
    if let Some(index) = removed {
        settings.parameters.remove(index);
        editor.step(Id::new(("hide", index)));
    }
    let replace = format!("{}  Replace workflow…", icons::ARROWS_CLOCKWISE);
    let choose = format!("{}  Choose fields…", icons::SLIDERS_HORIZONTAL);
    if ui.button(choose).clicked() {
        panel.act(Action::ChooseFields);
    }
    let replace = ui.button(replace).on_hover_text(
        "Put another file in its place. What changes and what breaks is shown before it is done.",
    );
    if replace.clicked() {
        panel.act(Action::ChooseReplacement);
    }

    caption(ui, theme, "Where it runs");
    backends(ui, panel, node);
    ui.add_space(GRID);
    affinity(ui, panel, &mut settings.affinity, editor);
    run_policy::settings(ui, theme, node, settings, editor);
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

/// Which backends can run the node, and what the others lack.
fn backends(ui: &mut Ui, panel: &mut PanelContext<'_>, node: &Node) {
    let theme = panel.theme;
    let document = panel.document;
    let fits = panel.catalog.fits(document.project(), node);
    let peak_bytes = panel.history.and_then(|history| {
        let hash = panel.catalog.effort_hash(node.id)?;
        history.estimates.memory_bytes(hash)
    });
    let weights = panel.catalog.needs(node.id);
    // Backends that do not tell sizes have the same files.
    let usual = weights.values().next().copied();
    if let Some(need) = MemoryNeed::of(peak_bytes, usual) {
        hint(ui, theme, &format!("memory: {need}")).on_hover_text(
            "By the sizes of the model files; where no backend tells them, the least that was seen in use on a device while this ran. Backends with less come last, until a run there was measured.",
        );
    }
    let backends = panel.backends;
    for (_, card) in backends.by_name() {
        let reasons = fits.get(&card.status.backend_id);
        let is_remembered = panel.catalog.is_remembered(card.status.backend_id);
        let (icon, words, color) = match (reasons, is_remembered) {
            (None, _) => (icons::CIRCLE_DASHED, "not known yet", theme.dim),
            (Some(reasons), false) if reasons.is_empty() => {
                (icons::CHECK_CIRCLE, "can run it", theme.ok)
            }
            (Some(reasons), true) if reasons.is_empty() => {
                (icons::CHECK_CIRCLE, "offline, could run it", theme.ok)
            }
            (Some(_), false) => (icons::X_CIRCLE, "cannot", theme.error),
            (Some(_), true) => (icons::X_CIRCLE, "offline, could not", theme.error),
        };
        row(ui, |ui| {
            ui.label(RichText::new(icon).size(15.0).color(color));
            at_right(ui, |ui| {
                ui.label(RichText::new(words).size(TEXT_SMALL).color(color));
                ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                    ui.add(egui::Label::new(&card.status.name).truncate());
                });
            });
        });
        let Some(reasons) = reasons else { continue };
        let own = weights.get(&card.status.backend_id).copied().or(usual);
        let largest_device = card
            .status
            .devices
            .iter()
            .map(|device| device.vram_total)
            .max();
        let room = MemoryNeed::of(peak_bytes, own)
            .zip(largest_device)
            .map(|(need, has_bytes)| need.on(has_bytes))
            .filter(|fit| fit.room() != MemoryRoom::Enough);
        if let Some(fit) = room {
            ui.horizontal(|ui| {
                ui.add_space(22.0);
                let words = RichText::new(fit.to_string())
                    .size(TEXT_SMALL)
                    .color(theme.dim);
                ui.add(egui::Label::new(words).wrap());
            });
        }
        for reason in reasons.iter().take(REASONS) {
            ui.horizontal(|ui| {
                ui.add_space(22.0);
                ui.add(
                    egui::Label::new(RichText::new(reason).size(TEXT_SMALL).color(theme.dim))
                        .wrap(),
                );
            });
        }
        if reasons.len() > REASONS {
            let rest = reasons.get(REASONS..).unwrap_or_default().join("\n");
            ui.horizontal(|ui| {
                ui.add_space(22.0);
                hint(ui, theme, &format!("and {} more", reasons.len() - REASONS))
                    .on_hover_text(rest);
            });
        }
    }
}

/// Where a node may run.
pub fn affinity(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    affinity: &mut Affinity,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    field_label(ui, theme, "Backend");
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
            for (backend_id, card) in panel.backends.by_name() {
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
            "A backend needs all of these tags. Separate them by commas.",
        );
    }
}
