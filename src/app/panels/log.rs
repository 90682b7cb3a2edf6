//! What happened lately, one line an event, newest at the top.

use crate::app::actions::Action;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary;
use crate::app::theme::TEXT_SMALL;
use crate::app::widgets::{duration_text, hint, link};
use bevy_egui::egui::{self, RichText, ScrollArea, Ui, Vec2};

/// Height of a row in points.
const ROW_HEIGHT: f32 = 22.0;

/// Draws the panel.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    if panel.log.events.is_empty() {
        hint(
            ui,
            theme,
            "Nothing happened yet. Every step of a run is written down here, and kept in the database.",
        );
        return;
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    let open_id = panel.document.project().id;
    let mut opened = None;
    let count = panel.log.events.len();
    ScrollArea::vertical()
        .auto_shrink(false)
        .show_rows(ui, ROW_HEIGHT, count, |ui, range| {
            for index in range {
                let Some(event) = count
                    .checked_sub(index + 1)
                    .and_then(|index| panel.log.events.get(index))
                else {
                    continue;
                };
                let line = summary::log_line(
                    event,
                    panel.runs,
                    panel.backends,
                    panel.history,
                    panel.document.project(),
                );
                // A run of another project says which, and leads there.
                let elsewhere = panel
                    .runs
                    .views
                    .get(&event.run_id)
                    .filter(|view| view.project_id.is_some_and(|id| id != open_id))
                    .map(|view| view.project_name.as_str());
                let color = match line.tone {
                    summary::Tone::Quiet => theme.dim,
                    summary::Tone::Good => theme.ok,
                    summary::Tone::Bad => theme.error,
                    summary::Tone::Attention => theme.warn,
                };
                ui.horizontal(|ui| {
                    ui.set_height(ROW_HEIGHT);
                    let ago = duration_text(panel.now_ms.saturating_sub(event.at_ms));
                    ui.add_sized(
                        Vec2::new(64.0, 16.0),
                        egui::Label::new(
                            RichText::new(ago)
                                .size(TEXT_SMALL)
                                .monospace()
                                .color(theme.dim),
                        ),
                    );
                    let icon = match line.tone {
                        summary::Tone::Quiet => icons::CIRCLE,
                        summary::Tone::Good => icons::CHECK_CIRCLE,
                        summary::Tone::Bad => icons::WARNING_CIRCLE,
                        summary::Tone::Attention => icons::WARNING,
                    };
                    ui.label(RichText::new(icon).size(13.0).color(color));
                    if let Some(name) = elsewhere
                        && link(ui, theme, name)
                            .on_hover_text("A run of another project. Click to open it.")
                            .clicked()
                    {
                        opened = Some(event.run_id);
                    }
                    ui.add(egui::Label::new(RichText::new(line.words).size(12.0)).truncate());
                });
            }
        });
    if let Some(run_id) = opened {
        panel.act(Action::OpenProjectOfRun(run_id));
    }
}
