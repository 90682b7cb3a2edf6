//! What lies above the canvas: the hint on an empty one, and the zoom buttons. The graph itself is drawn by the GPU below.

use crate::app::actions::Action;
use crate::app::icons;
use crate::app::samples::SAMPLES;
use crate::app::shell::{DraggedField, PanelContext};
use crate::app::theme::{GRID, RADIUS_CARD, TEXT_SMALL};
use crate::app::widgets::{hint, icon_button, link, primary_button, strong};
use bevy_egui::egui::{
    self, Align2, Area, Button, CornerRadius, Frame, Id, Margin, Order, RichText, Stroke, Ui,
    UiBuilder, Vec2,
};

/// Draws the layer. Allocates nothing of the canvas's own space except where widgets are.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let Some(rect) = panel.canvas_rect else {
        return;
    };
    accept_drops(ui, panel, rect);
    if panel.document.project().nodes.is_empty() {
        empty(ui, panel, rect);
    } else if rect.width() > 260.0 {
        zoom_buttons(ui, panel, rect);
    }
    hovered_file(ui, panel, rect);
}

/// A row of the library that is let go over the canvas becomes a node there.
fn accept_drops(ui: &mut Ui, panel: &mut PanelContext<'_>, rect: egui::Rect) {
    let dragged = egui::DragAndDrop::payload::<super::library::Dragged>(ui.ctx());
    let field = egui::DragAndDrop::payload::<DraggedField>(ui.ctx());
    if dragged.is_none() && field.is_none() {
        return;
    }
    let Some(position) = ui.ctx().pointer_interact_pos() else {
        return;
    };
    let is_covered = ui
        .ctx()
        .layer_id_at(position)
        .is_some_and(|layer| layer.order == Order::Middle && field.is_some());
    if !rect.contains(position) || is_covered {
        return;
    }
    ui.painter().rect_stroke(
        rect.shrink(2.0),
        CornerRadius::same(4),
        Stroke::new(2.0, panel.theme.accent),
        egui::StrokeKind::Inside,
    );
    if !ui.input(|input| input.pointer.any_released()) {
        return;
    }
    if let Some(field) = &field {
        panel.act(Action::ToggleInput {
            node: field.node_id,
            address: field.address.clone(),
        });
    } else if let Some(payload) = &dragged {
        let zoom = panel.view.zoom.max(1e-4);
        let scale = ui.ctx().zoom_factor();
        let offset = (position - rect.center()) * scale / zoom;
        let center = panel.view.center_world;
        panel.act(Action::AddNode {
            node: payload.node.clone(),
            pos_world: Some([center.x + offset.x, center.y + offset.y]),
            connect: None,
        });
    }
    egui::DragAndDrop::clear_payload(ui.ctx());
}

fn hovered_file(ui: &Ui, panel: &PanelContext<'_>, rect: egui::Rect) {
    let hovering = ui.input(|input| !input.raw.hovered_files.is_empty());
    if !hovering {
        return;
    }
    let theme = panel.theme;
    ui.painter().rect_filled(
        rect,
        CornerRadius::ZERO,
        theme.surface_canvas.gamma_multiply(0.8),
    );
    ui.painter().text(
        rect.center(),
        Align2::CENTER_CENTER,
        format!("{}  Drop to add it to the canvas", icons::DOWNLOAD_SIMPLE),
        egui::FontId::proportional(18.0),
        theme.accent,
    );
}

fn zoom_buttons(ui: &mut Ui, panel: &mut PanelContext<'_>, rect: egui::Rect) {
    let theme = panel.theme;
    Area::new(Id::new("zoom buttons"))
        .order(Order::Middle)
        .fixed_pos(rect.left_bottom() + Vec2::new(12.0, -48.0))
        .show(ui.ctx(), |ui| {
            Frame::new()
                .fill(theme.surface_panel)
                .stroke(Stroke::new(1.0, theme.line))
                .corner_radius(CornerRadius::same(RADIUS_CARD))
                .inner_margin(Margin::same(3))
                .show(ui, |ui| {
                    ui.horizontal(|ui| {
                        ui.spacing_mut().item_spacing.x = 2.0;
                        if icon_button(ui, theme, icons::MAGNIFYING_GLASS_MINUS, "Zoom out")
                            .clicked()
                        {
                            panel.act(Action::ZoomOut);
                        }
                        let percent = format!("{:.0} %", panel.view.zoom * 100.0);
                        let button = Button::new(RichText::new(percent).size(12.0))
                            .frame_when_inactive(false)
                            .min_size(Vec2::new(48.0, 28.0));
                        if ui.add(button).on_hover_text("Zoom to 100 %").clicked() {
                            panel.act(Action::ZoomReset);
                        }
                        if icon_button(ui, theme, icons::MAGNIFYING_GLASS_PLUS, "Zoom in").clicked()
                        {
                            panel.act(Action::ZoomIn);
                        }
                        if icon_button(ui, theme, icons::CORNERS_OUT, "Zoom to fit").clicked() {
                            panel.act(Action::ZoomToFit);
                        }
                    });
                });
        });
}

/// The empty canvas says what can be done, and does it.
fn empty(ui: &mut Ui, panel: &mut PanelContext<'_>, rect: egui::Rect) {
    let theme = panel.theme;
    let width = (rect.width() - 48.0).clamp(160.0, 460.0);
    let height = 380.0_f32.min(rect.height() - 16.0);
    let place = egui::Rect::from_center_size(rect.center(), Vec2::new(width, height));
    ui.scope_builder(UiBuilder::new().max_rect(place), |ui| {
        ui.vertical_centered(|ui| {
            ui.label(RichText::new(icons::DOWNLOAD_SIMPLE).size(34.0).color(theme.accent));
            ui.add_space(GRID);
            ui.label(strong("Drop a ComfyUI workflow here", 18.0));
            ui.add_space(GRID);
            ui.label(
                RichText::new("A file that ComfyUI saved, with \"Save\" or \"Export (API)\". Each workflow becomes one node; connect nodes to let pictures flow between them.")
                    .color(theme.dim),
            );
            ui.add_space(3.0 * GRID);
            ui.horizontal(|ui| {
                // Two buttons in the middle of the line.
                ui.add_space(((ui.available_width() - 300.0) / 2.0).max(0.0));
                if ui
                    .add(primary_button(theme, format!("{} Import workflow…", icons::DOWNLOAD_SIMPLE)).min_size(Vec2::new(150.0, 30.0)))
                    .clicked()
                {
                    panel.act(Action::ImportWorkflow);
                }
                if ui
                    .add(Button::new(format!("{} Add node…", icons::PLUS)).min_size(Vec2::new(130.0, 30.0)))
                    .on_hover_text("Double-click on the canvas or press Tab")
                    .clicked()
                {
                    panel.act(Action::AddNodeSearch { pos_world: None, connect: None });
                }
            });
            ui.add_space(4.0 * GRID);
            ui.columns(2, |columns| {
                if let [left, right] = columns {
                    samples(left, panel);
                    recent(right, panel);
                }
            });
        });
    });
}

fn samples(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    ui.vertical(|ui| {
        ui.label(strong("Samples", 12.0).color(theme.dim));
        if SAMPLES.is_empty() {
            hint(ui, theme, "This build comes without samples.");
        }
        for sample in SAMPLES {
            if link(ui, theme, sample.title)
                .on_hover_text(sample.about)
                .clicked()
            {
                panel.act(Action::OpenSample(sample.id));
            }
        }
    });
}

fn recent(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    ui.vertical(|ui| {
        ui.label(strong("Recent projects", 12.0).color(theme.dim));
        if panel.settings.recent.is_empty() {
            ui.label(RichText::new("None yet").size(TEXT_SMALL).color(theme.dim));
        }
        for path in panel
            .settings
            .recent
            .iter()
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
        {
            let name = path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            );
            if link(ui, theme, &name)
                .on_hover_text(path.display().to_string())
                .clicked()
            {
                panel.act(Action::OpenPath(path));
            }
        }
    });
}
