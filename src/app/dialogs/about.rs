//! Version and licences.

use super::modal;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::GRID;
use crate::app::widgets::{at_right, hint, primary_button, row, strong};
use bevy_egui::egui::{Context, RichText, Vec2};

/// Draws the dialog, if it is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    if !panel.dialogs.about {
        return;
    }
    let theme = panel.theme;
    let mut done = false;
    let closed = modal(ctx, panel.theme, "about", 400.0, |ui| {
        row(ui, |ui| {
            ui.label(RichText::new(icons::GRAPH).size(34.0).color(theme.accent));
            ui.vertical(|ui| {
                ui.label(strong("ComfyUI Orchestrator", 17.0));
                ui.label(
                    RichText::new(format!("Version {}", env!("CARGO_PKG_VERSION")))
                        .color(theme.dim),
                );
            });
        });
        ui.add_space(2.0 * GRID);
        ui.label(env!("CARGO_PKG_DESCRIPTION"));
        ui.add_space(2.0 * GRID);
        hint(
            ui,
            theme,
            "Free under MIT or Apache 2.0. Fonts: Inter and JetBrains Mono (SIL Open Font License). Icons: Phosphor (MIT). Made with Bevy and egui.",
        );
        ui.add_space(3.0 * GRID);
        at_right(ui, |ui| {
            done = ui
                .add(primary_button(theme, "Close").min_size(Vec2::new(84.0, 30.0)))
                .clicked();
        });
    });
    panel.dialogs.about = !(closed || done);
}
