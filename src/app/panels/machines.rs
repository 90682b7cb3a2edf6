//! The monitor: a card for each backend, and what to do when there is none.

use crate::app::actions::Action;
use crate::app::bridge::BackendCard;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, TEXT_SMALL, Theme};
use crate::app::widgets::{
    at_right, bytes_text, card, dot, duration_text, hint, link, meter, primary_button, row,
    sparkline, strong,
};
use crate::engine::RunCommand;
use crate::fleet::{BackendState, BackendStatus};
use bevy_egui::egui::{self, Button, RichText, ScrollArea, Ui, Vec2};

/// Width of a card in points.
const CARD_WIDTH: f32 = 270.0;

/// Least height of a card in points: name, memory bars, version.
const CARD_HEIGHT: f32 = 118.0;

/// Draws the panel.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    if panel.backends.cards.is_empty() {
        empty(ui, panel);
        return;
    }
    let count = panel.backends.cards.len() as f32 + 0.6;
    let height = ui.available_height().max(CARD_HEIGHT);
    let width = ((ui.available_width() - 8.0 * count) / count).clamp(CARD_WIDTH, 420.0);
    let is_low = ui.available_height() < CARD_HEIGHT;
    ScrollArea::new([true, is_low])
        .auto_shrink(false)
        .show(ui, |ui| {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = 8.0;
                let backends = panel.backends;
                for (_, backend) in backends.by_name() {
                    backend_card(ui, panel, backend, width, height);
                }
                add_card(ui, panel, height);
            });
        });
}

fn add_card(ui: &mut Ui, panel: &mut PanelContext<'_>, height: f32) {
    ui.vertical(|ui| {
        ui.set_height(height);
        ui.set_width(140.0);
        let button = |text: String| Button::new(text).min_size(Vec2::new(140.0, 28.0));
        if ui
            .add(button(format!("{} Add a backend…", icons::PLUS)))
            .clicked()
        {
            panel.act(Action::AddBackend);
        }
        if ui
            .add(button(format!("{} Built-in backend", icons::HARD_DRIVES)))
            .on_hover_text(
                "Start the built-in backend: image steps on this computer's CPU, no GPU needed",
            )
            .clicked()
        {
            panel.act(Action::StartBuiltin);
        }
    });
}

fn empty(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        empty_words(ui, panel, theme);
    });
}

fn empty_words(ui: &mut Ui, panel: &mut PanelContext<'_>, theme: &Theme) {
    ui.vertical_centered(|ui| {
        ui.add_space(2.0 * GRID);
        ui.label(RichText::new(icons::PLUGS).size(26.0).color(theme.accent));
        ui.label(strong("No backend is connected yet", 14.0));
        hint(ui, theme, "Workflows run on backends: ComfyUI servers on this computer or others. Add one by its address, or start the built-in one to try things without a GPU.");
        ui.add_space(GRID);
        ui.horizontal(|ui| {
            ui.add_space(((ui.available_width() - 330.0) / 2.0).max(0.0));
            if ui
                .add(primary_button(theme, format!("{} Add a backend…", icons::PLUS)).min_size(Vec2::new(140.0, 30.0)))
                .clicked()
            {
                panel.act(Action::AddBackend);
            }
            if ui
                .add(Button::new(format!("{} Start the built-in one", icons::PLAY)).min_size(Vec2::new(170.0, 30.0)))
                .clicked()
            {
                panel.act(Action::StartBuiltin);
            }
        });
    });
}

fn backend_card(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    backend: &BackendCard,
    width: f32,
    height: f32,
) {
    let theme = panel.theme;
    let status = &backend.status;
    let frame = card(theme);
    let frame = if status.state == BackendState::Offline {
        frame.stroke(egui::Stroke::new(1.0, theme.error.gamma_multiply(0.6)))
    } else {
        frame
    };
    let response = frame.show(ui, |ui| {
        ui.set_width(width - 26.0);
        ui.set_height(height - 22.0);
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            row(ui, |ui| {
                dot(ui, theme.backend_state_color(status.state));
                let state = RichText::new(state_words(status, panel.now_ms))
                    .size(TEXT_SMALL)
                    .color(match status.state {
                        BackendState::Offline => theme.error,
                        BackendState::Degraded => theme.warn,
                        _ => theme.dim,
                    });
                at_right(ui, |ui| {
                    more_menu(ui, panel, status);
                    ui.label(state);
                    ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                        ui.add(egui::Label::new(strong(status.name.clone(), 13.0)).truncate())
                            .on_hover_text(&status.url);
                    });
                });
            });
            if status.state == BackendState::Offline {
                offline(ui, panel, status);
            } else {
                numbers(ui, panel, backend);
            }
        });
    });
    response.response.on_hover_text(details(status));
}

fn more_menu(ui: &mut Ui, panel: &mut PanelContext<'_>, status: &BackendStatus) {
    let id = status.backend_id;
    ui.menu_button(RichText::new(icons::DOTS_THREE).size(16.0), |ui| {
        if ui
            .button(format!("{}  Refresh", icons::ARROWS_CLOCKWISE))
            .clicked()
        {
            panel.command(RunCommand::RefreshBackend { backend_id: id });
            ui.close();
        }
        let disabled = status.state == BackendState::Disabled;
        let words = if disabled {
            "Give it work"
        } else {
            "Give it no work"
        };
        if ui.button(format!("{}  {words}", icons::POWER)).clicked() {
            panel.command(RunCommand::SetBackendEnabled {
                backend_id: id,
                enabled: disabled,
            });
            ui.close();
        }
        let vacate = ui
            .button(format!("{}  Move its work elsewhere", icons::EXPORT))
            .on_hover_text("What runs or waits there is called off and placed anew");
        if vacate.clicked() {
            panel.command(RunCommand::VacateBackend { backend_id: id });
            ui.close();
        }
        if ui
            .button(format!("{}  Edit…", icons::PENCIL_SIMPLE))
            .clicked()
        {
            panel.act(Action::EditBackend(id));
            ui.close();
        }
        ui.separator();
        if ui.button(format!("{}  Remove", icons::TRASH)).clicked() {
            panel.command(RunCommand::RemoveBackend { backend_id: id });
            ui.close();
        }
    });
}

fn offline(ui: &mut Ui, panel: &mut PanelContext<'_>, status: &BackendStatus) {
    let theme = panel.theme;
    let reason = if status.reason.is_empty() {
        "It does not answer."
    } else {
        &status.reason
    };
    hint(ui, theme, reason);
    row(ui, |ui| {
        if link(ui, theme, "Retry now").clicked() {
            panel.command(RunCommand::RefreshBackend {
                backend_id: status.backend_id,
            });
        }
        if link(ui, theme, "Edit").clicked() {
            panel.act(Action::EditBackend(status.backend_id));
        }
    });
}

fn numbers(ui: &mut Ui, panel: &PanelContext<'_>, backend: &BackendCard) {
    let theme = panel.theme;
    let status = &backend.status;
    if let Some(device) = status
        .devices
        .first()
        .filter(|device| device.vram_total > 0)
    {
        let used = device.vram_total.saturating_sub(device.vram_free);
        meter(
            ui,
            theme,
            "VRAM",
            &format!("{} / {}", bytes_text(used), bytes_text(device.vram_total)),
            used as f32 / device.vram_total as f32,
            theme.memory,
        );
    }
    if status.ram_total > 0 {
        let used = status.ram_total.saturating_sub(status.ram_free);
        meter(
            ui,
            theme,
            "RAM",
            &format!("{} / {}", bytes_text(used), bytes_text(status.ram_total)),
            used as f32 / status.ram_total as f32,
            theme.accent,
        );
    }
    row(ui, |ui| {
        let mut words = Vec::new();
        if !status.version.is_empty() {
            words.push(status.version.clone());
        }
        words.push(format!("{} ms", status.latency_ms));
        ui.add(
            egui::Label::new(
                RichText::new(words.join(" · "))
                    .size(TEXT_SMALL)
                    .color(theme.dim),
            )
            .truncate(),
        );
    });
    let left = ui.available_height();
    if left > 18.0 {
        let values: Vec<f32> = backend.queue_history.iter().copied().collect();
        let top = values.iter().copied().fold(2.0, f32::max);
        sparkline(ui, theme, &values, 120, top, left.min(56.0));
    }
}

/// The state in words: "running · 1 waiting", "offline 2 min".
fn state_words(status: &BackendStatus, now_ms: u64) -> String {
    let since = now_ms.saturating_sub(status.since_ms);
    match status.state {
        BackendState::Connecting => "connecting…".to_owned(),
        BackendState::Disabled => "gets no work".to_owned(),
        BackendState::Offline => format!("offline {}", duration_text(since)),
        BackendState::Online | BackendState::Busy | BackendState::Degraded => {
            let queue = match (status.queue_running, status.queue_pending) {
                (0, 0) => "idle".to_owned(),
                (_, 0) => "running".to_owned(),
                (0, waiting) => format!("{waiting} waiting"),
                (_, waiting) => format!("running · {waiting} waiting"),
            };
            if status.state == BackendState::Degraded {
                format!("degraded · {queue}")
            } else {
                queue
            }
        }
    }
}

fn details(status: &BackendStatus) -> String {
    let mut lines = vec![status.name.clone(), status.url.clone()];
    if !status.version.is_empty() {
        lines.push(format!("ComfyUI {}", status.version));
    }
    lines.extend(status.devices.iter().map(|device| device.name.clone()));
    if !status.reason.is_empty() {
        lines.push(status.reason.clone());
    }
    lines.join("\n")
}
