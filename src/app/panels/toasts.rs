//! The stack of messages at the lower left, and the history of them.

use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::{RADIUS_CARD, TEXT_SMALL, Theme};
use crate::app::toasts::{Severity, Toast};
use crate::app::widgets::{at_right, hint, icon_button, left_edge, link, row, strong};
use bevy_egui::egui::{
    self, Area, Color32, Context, CornerRadius, Frame, Id, Margin, Order, RichText, ScrollArea,
    Stroke, Vec2,
};

/// Width of a message in points.
const WIDTH: f32 = 310.0;

/// Draws the stack, and the history when it is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    stack(ctx, panel);
    history(ctx, panel);
}

fn stack(ctx: &Context, panel: &mut PanelContext<'_>) {
    if panel.toasts.visible.is_empty() {
        return;
    }
    let theme = panel.theme;
    let anchor = panel
        .canvas_rect
        .unwrap_or_else(|| ctx.viewport_rect().shrink(28.0));
    let mut closed = Vec::new();
    let mut wished = Vec::new();
    Area::new(Id::new("toasts"))
        .order(Order::Foreground)
        .pivot(egui::Align2::LEFT_BOTTOM)
        .fixed_pos(anchor.left_bottom() + Vec2::new(12.0, -56.0))
        .show(ctx, |ui| {
            ui.set_width(WIDTH);
            for toast in &panel.toasts.visible {
                let frame = Frame::new()
                    .fill(theme.surface_raised)
                    .stroke(Stroke::new(1.0, theme.line))
                    .corner_radius(CornerRadius::same(RADIUS_CARD))
                    .inner_margin(Margin {
                        left: 14,
                        right: 8,
                        top: 8,
                        bottom: 10,
                    });
                let response = frame.show(ui, |ui| {
                    ui.set_width(WIDTH - 24.0);
                    row(ui, |ui| {
                        ui.label(
                            RichText::new(icon(toast.severity))
                                .size(16.0)
                                .color(color(theme, toast.severity)),
                        );
                        at_right(ui, |ui| {
                            if icon_button(ui, theme, icons::X, "Close").clicked() {
                                closed.push(toast.id);
                            }
                            if toast.times > 1 {
                                ui.label(
                                    RichText::new(format!("{} ×", toast.times))
                                        .size(TEXT_SMALL)
                                        .color(theme.dim),
                                );
                            }
                            ui.with_layout(
                                egui::Layout::left_to_right(egui::Align::Center),
                                |ui| {
                                    ui.add(
                                        egui::Label::new(strong(toast.title.clone(), 13.0)).wrap(),
                                    );
                                },
                            );
                        });
                    });
                    if !toast.body.is_empty() {
                        ui.add(
                            egui::Label::new(RichText::new(&toast.body).color(theme.dim)).wrap(),
                        );
                    }
                    if !toast.steps.is_empty() {
                        ui.horizontal_wrapped(|ui| {
                            ui.spacing_mut().item_spacing.x = 14.0;
                            for (words, action) in &toast.steps {
                                if link(ui, theme, words).clicked() {
                                    wished.push(action.clone());
                                    closed.push(toast.id);
                                }
                            }
                        });
                    }
                });
                left_edge(ui, response.response.rect, color(theme, toast.severity));
            }
        });
    for id in closed {
        panel.toasts.close(id);
    }
    for action in wished {
        panel.act(action);
    }
}

fn history(ctx: &Context, panel: &mut PanelContext<'_>) {
    if !panel.state.notifications_open {
        return;
    }
    panel.toasts.unseen = 0;
    let theme = panel.theme;
    let mut open = true;
    egui::Window::new(strong("Notifications", 14.0))
        .id(Id::new("notifications"))
        .open(&mut open)
        .collapsible(false)
        .default_width(360.0)
        .default_height(420.0)
        .anchor(egui::Align2::RIGHT_TOP, Vec2::new(-12.0, 52.0))
        .show(ctx, |ui| {
            if panel.toasts.history.is_empty() {
                hint(ui, theme, "Nothing was reported since the start.");
            }
            ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
                for toast in &panel.toasts.history {
                    history_row(ui, theme, toast, panel.now_ms);
                }
            });
        });
    panel.state.notifications_open = open;
}

fn history_row(ui: &mut egui::Ui, theme: &Theme, toast: &Toast, now_ms: u64) {
    row(ui, |ui| {
        ui.label(
            RichText::new(icon(toast.severity))
                .size(15.0)
                .color(color(theme, toast.severity)),
        );
        let ago = crate::app::widgets::duration_text(now_ms.saturating_sub(toast.at_ms));
        at_right(ui, |ui| {
            ui.label(
                RichText::new(format!("{ago} ago"))
                    .size(TEXT_SMALL)
                    .color(theme.dim),
            );
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                ui.add(egui::Label::new(strong(toast.title.clone(), 12.5)).truncate());
            });
        });
    });
    if !toast.body.is_empty() {
        ui.add(
            egui::Label::new(RichText::new(&toast.body).size(TEXT_SMALL).color(theme.dim))
                .wrap()
                .selectable(true),
        );
    }
    ui.separator();
}

fn icon(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => icons::INFO,
        Severity::Success => icons::CHECK_CIRCLE,
        Severity::Warning => icons::WARNING,
        Severity::Error => icons::WARNING_CIRCLE,
    }
}

fn color(theme: &Theme, severity: Severity) -> Color32 {
    match severity {
        Severity::Info => theme.accent,
        Severity::Success => theme.ok,
        Severity::Warning => theme.warn,
        Severity::Error => theme.error,
    }
}
