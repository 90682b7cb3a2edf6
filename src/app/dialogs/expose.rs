//! Choosing which fields of its workflow a node shows. The canvas stays usable beside it: a field can be dragged out onto it
//! to become an input.

use crate::app::actions::{Action, Gesture};
use crate::app::catalog::WorkflowFacts;
use crate::app::exposure;
use crate::app::icons;
use crate::app::search::fuzzy_score;
use crate::app::shell::{DraggedField, PanelContext};
use crate::app::theme::{GRID, TEXT_SMALL};
use crate::app::widgets::{at_right, caption, hint, icon_button, row, strong, tick};
use crate::project::{Node, NodeId, NodeKind};
use crate::workflow::{Control, Field};
use bevy_egui::egui::{self, Context, Id, Margin, RichText, ScrollArea, Sense, TextEdit, Ui, Vec2};

/// Longest value that is shown in a row, characters.
const VALUE_CHARS: usize = 28;

/// The open window.
#[derive(Clone, Debug)]
pub struct ExposeForm {
    node_id: NodeId,
    search: String,
    fresh: bool,
}

impl ExposeForm {
    /// For the fields of this node.
    #[must_use]
    pub fn of(node_id: NodeId) -> Self {
        Self {
            node_id,
            search: String::new(),
            fresh: true,
        }
    }
}

/// Draws the window, if it is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(mut form) = panel.dialogs.expose.take() else {
        return;
    };
    let document = panel.document;
    let project = document.project();
    let Some(node) = project.nodes.get(&form.node_id) else {
        return;
    };
    let NodeKind::Workflow(settings) = &node.kind else {
        return;
    };
    let Some(file) = project.workflows.get(&settings.workflow) else {
        return;
    };
    let facts = panel.catalog.facts(&settings.workflow, file);
    let screen = ctx.content_rect();
    let size = Vec2::new(
        (screen.width() - 48.0).min(720.0),
        (screen.height() - 120.0).min(460.0),
    );
    let mut is_open = true;
    egui::Window::new(format!(
        "{}  Fields of {}",
        icons::SLIDERS_HORIZONTAL,
        node.title
    ))
    .id(Id::new("expose"))
    .open(&mut is_open)
    .collapsible(false)
    .default_size(size)
    .default_pos(beside(panel, screen, size))
    .show(ctx, |ui| {
        ui.set_min_size(Vec2::new(300.0, 160.0));
        let height = ui.available_height();
        ui.columns(2, |columns| {
            if let [left, right] = columns {
                all_fields(left, panel, node, &facts, &mut form, height);
                shown_fields(right, panel, node, &facts, height);
            }
        });
    });
    let is_left =
        ctx.input(|input| input.key_pressed(egui::Key::Escape)) && ctx.dragged_id().is_none();
    if is_open && !is_left {
        panel.dialogs.expose = Some(form);
    }
}

/// Where the window opens: at the right end of the canvas, so that as many nodes as possible stay in sight.
fn beside(panel: &PanelContext<'_>, screen: egui::Rect, size: Vec2) -> egui::Pos2 {
    let canvas = panel.canvas_rect.unwrap_or(screen);
    let left = (canvas.right() - size.x - 40.0).max(screen.left() + 8.0);
    egui::pos2(left, canvas.top() + 12.0)
}

fn change(panel: &mut PanelContext<'_>, node: Node, gesture: Gesture) {
    panel.act(Action::ChangeNode {
        node: Box::new(node),
        gesture,
    });
}

/// Every field that can be edited, found by label, node, class or value.
fn all_fields(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    node: &Node,
    facts: &WorkflowFacts,
    form: &mut ExposeForm,
    height: f32,
) {
    let theme = panel.theme;
    let WorkflowFacts::Usable(inspection) = facts else {
        if let WorkflowFacts::Unusable(reason) = facts {
            hint(ui, theme, reason);
        }
        return;
    };
    let search = ui.add(
        TextEdit::singleline(&mut form.search)
            .hint_text(format!("{}  Search fields", icons::MAGNIFYING_GLASS))
            .desired_width(f32::INFINITY)
            .char_limit(200)
            .margin(Margin::symmetric(8, 6)),
    );
    if form.fresh {
        search.request_focus();
        form.fresh = false;
    }
    let query = form.search.trim();
    let mut found: Vec<(i32, &Field)> = inspection
        .fields
        .iter()
        .filter_map(|field| {
            let words = format!(
                "{} {} {} {}",
                field.label,
                field.address.node.title,
                field.address.node.class_type,
                plain(field)
            );
            let score = fuzzy_score(query, &field.label)
                .map(|score| score + 20)
                .or_else(|| {
                    // Far-fetched matches in long texts help nobody: whole words only.
                    words
                        .to_lowercase()
                        .contains(&query.to_lowercase())
                        .then_some(0)
                })?;
            Some((score, field))
        })
        .collect();
    if !query.is_empty() {
        found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    }
    ui.add_space(GRID);
    let mut toggled = None;
    ScrollArea::vertical()
        .id_salt("all fields")
        .max_height((height - 44.0).max(80.0))
        .auto_shrink(false)
        .show(ui, |ui| {
            if found.is_empty() {
                hint(ui, theme, "No field fits.");
            }
            let mut above = None;
            for (_, field) in found {
                let address = &field.address;
                if query.is_empty() && above != Some(&address.node.node_id) {
                    let title = if address.node.title.is_empty() {
                        &address.node.class_type
                    } else {
                        &address.node.title
                    };
                    caption(ui, theme, &format!("{title}  #{}", address.node.node_id));
                    above = Some(&address.node.node_id);
                }
                let is_shown = exposure::parameters_of(node)
                    .iter()
                    .any(|parameter| parameter.address == *address);
                if field_row(ui, panel, node, field, is_shown, query) {
                    toggled = Some((field.clone(), is_shown));
                }
            }
        });
    if let Some((field, is_shown)) = toggled {
        let mut changed = node.clone();
        if is_shown {
            exposure::hide_field(&mut changed, &field.address);
        } else {
            exposure::show_field(&mut changed, &field);
        }
        change(panel, changed, Gesture::new());
    }
}

/// A field with its check box; whether that was clicked. The row can be dragged onto the canvas.
fn field_row(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    node: &Node,
    field: &Field,
    is_shown: bool,
    query: &str,
) -> bool {
    let theme = panel.theme;
    let mut checked = is_shown;
    let mut clicked = false;
    row(ui, |ui| {
        clicked = tick(ui, theme, &mut checked, "").clicked();
        at_right(ui, |ui| {
            grip(ui, panel, node.id, field);
            if exposure::port_of(node, &field.address).is_some() {
                ui.label(RichText::new(icons::SIGN_IN).size(14.0).color(theme.accent))
                    .on_hover_text("Comes from an input of the node");
            }
            let value: String = plain(field).chars().take(VALUE_CHARS).collect();
            ui.label(RichText::new(value).size(TEXT_SMALL).color(theme.dim))
                .on_hover_text(about(field));
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                let words = if query.is_empty() {
                    field.label.clone()
                } else {
                    format!("{} · {}", field.label, field.address.node.class_type)
                };
                let label = egui::Label::new(RichText::new(words).color(theme.text))
                    .truncate()
                    .sense(Sense::click());
                clicked |= ui.add(label).on_hover_text(about(field)).clicked();
            });
        });
    });
    clicked
}

/// What a field is dragged by.
fn grip(ui: &mut Ui, panel: &PanelContext<'_>, node_id: NodeId, field: &Field) {
    let theme = panel.theme;
    let id = Id::new(("drag field", node_id.uuid(), field.address.to_string()));
    ui.dnd_drag_source(
        id,
        DraggedField {
            node_id,
            address: field.address.clone(),
        },
        |ui| {
            ui.label(
                RichText::new(icons::DOTS_SIX_VERTICAL)
                    .size(15.0)
                    .color(theme.dim),
            );
        },
    )
    .response
    .on_hover_text("Drag it onto the canvas to make it an input of the node");
}

/// What the node shows, top to bottom.
fn shown_fields(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    node: &Node,
    facts: &WorkflowFacts,
    height: f32,
) {
    let theme = panel.theme;
    let parameters = exposure::parameters_of(node);
    row(ui, |ui| {
        ui.label(strong("On the node", 13.0));
        at_right(ui, |ui| {
            let count = format!("{} fields", parameters.len());
            ui.label(RichText::new(count).size(TEXT_SMALL).color(theme.dim));
        });
    });
    ui.add_space(GRID);
    if parameters.is_empty() {
        hint(ui, theme, "None yet. Tick fields at the left.");
    }
    let mut changed: Option<(Node, Gesture)> = None;
    ScrollArea::vertical()
        .id_salt("shown fields")
        .max_height((height - 44.0).max(80.0))
        .auto_shrink(false)
        .show(ui, |ui| {
            for (at, parameter) in parameters.iter().enumerate() {
                let mut next = node.clone();
                let mut is_changed = false;
                let mut gesture = None;
                row(ui, |ui| {
                    at_right(ui, |ui| {
                        if icon_button(ui, theme, icons::X, "Hide from the node").clicked() {
                            exposure::hide_field(&mut next, &parameter.address);
                            is_changed = true;
                        }
                        let is_input = exposure::port_of(node, &parameter.address).is_some();
                        let (icon, tip) = if is_input {
                            (icons::SIGN_IN, "Is an input. Click to remove the input")
                        } else {
                            (icons::CIRCLE_DASHED, "Take it from an input")
                        };
                        if icon_button(ui, theme, icon, tip).clicked() {
                            exposure::toggle_input(&mut next, &parameter.address, facts);
                            is_changed = true;
                        }
                        let last = parameters.len() - 1;
                        ui.add_enabled_ui(at < last, |ui| {
                            if icon_button(ui, theme, icons::ARROW_DOWN, "Down").clicked() {
                                exposure::move_field(&mut next, at, at + 1);
                                is_changed = true;
                            }
                        });
                        ui.add_enabled_ui(at > 0, |ui| {
                            if icon_button(ui, theme, icons::ARROW_UP, "Up").clicked() {
                                exposure::move_field(&mut next, at, at - 1);
                                is_changed = true;
                            }
                        });
                        ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                            let room = ui.available_width();
                            let part = |share: f32| (room * share - 8.0).max(24.0);
                            let address = parameter.address.to_string();
                            let mut draft = |ui: &mut Ui, what: &str, text: &str, share, empty| {
                                let id = Id::new((what, node.id.uuid(), &address));
                                let mut words = panel
                                    .state
                                    .drafts
                                    .get(&id)
                                    .cloned()
                                    .unwrap_or_else(|| text.to_owned());
                                let response = ui.add(
                                    TextEdit::singleline(&mut words)
                                        .id(id)
                                        .hint_text(empty)
                                        .char_limit(80)
                                        .desired_width(part(share))
                                        .margin(Margin::symmetric(6, 4)),
                                );
                                let typed = response.changed().then(|| words.clone());
                                if response.changed() {
                                    gesture = Some(panel.state.gesture(id));
                                    panel.state.drafts.insert(id, words);
                                }
                                if response.lost_focus() {
                                    panel.state.drafts.remove(&id);
                                }
                                panel.state.end_gesture(&response);
                                typed
                            };
                            if let Some(label) = draft(ui, "label", &parameter.label, 0.58, "Name")
                            {
                                exposure::rename_field(&mut next, at, &label);
                                is_changed = true;
                            }
                            let group = parameter.group.as_deref().unwrap_or_default();
                            if let Some(group) = draft(ui, "group", group, 0.42, "Group") {
                                exposure::group_field(&mut next, at, &group);
                                is_changed = true;
                            }
                        });
                    });
                });
                if is_changed {
                    changed = Some((next, gesture.unwrap_or_default()));
                }
            }
        });
    if let Some((next, gesture)) = changed {
        change(panel, next, gesture);
    }
}

/// The value without quotes.
fn plain(field: &Field) -> String {
    match field.value.as_str() {
        Some(text) => text.replace('\n', " "),
        None => field.value.to_string(),
    }
}

/// Everything about a field in a few lines.
fn about(field: &Field) -> String {
    let mut lines = vec![field.address.to_string(), limits(&field.control)];
    if let Some(default) = &field.default {
        lines.push(format!("A new node has {default}"));
    }
    if let Some(tooltip) = &field.tooltip {
        lines.push(tooltip.clone());
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

/// How a field is edited, in words.
fn limits(control: &Control) -> String {
    fn range<T: ToString>(min: Option<T>, max: Option<T>) -> String {
        match (min, max) {
            (Some(min), Some(max)) => format!(" from {} to {}", min.to_string(), max.to_string()),
            (Some(min), None) => format!(" from {}", min.to_string()),
            (None, Some(max)) => format!(" up to {}", max.to_string()),
            (None, None) => String::new(),
        }
    }
    match control {
        Control::Integer { min, max, seed, .. } => {
            let what = if *seed { "Seed" } else { "Whole number" };
            format!("{what}{}", range(*min, *max))
        }
        Control::Number { min, max, .. } => format!("Number{}", range(*min, *max)),
        Control::Toggle => "On or off".to_owned(),
        Control::Text { .. } => "Text".to_owned(),
        Control::Choice { choices, .. } => format!("One of {} choices", choices.len()),
        _ => String::new(),
    }
}
