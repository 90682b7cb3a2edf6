//! The bar at the bottom: state, items, progress, time left, backends, saved or not.

use crate::app::actions::Action;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary;
use crate::app::theme::GRID;
use crate::app::widgets::{at_right, bar, duration_text};
use crate::fleet::BackendState;
use bevy_egui::egui::{self, Frame, Margin, RichText, Sense, Ui, Vec2};

/// Draws the bar.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let frame = Frame::new()
        .fill(theme.surface_panel)
        .inner_margin(Margin::symmetric(12, 0));
    egui::Panel::bottom("status")
        .exact_size(28.0)
        .resizable(false)
        .frame(frame)
        .show(ui, |ui| {
            ui.horizontal_centered(|ui| {
                ui.spacing_mut().item_spacing.x = 3.0 * GRID;
                let room = Room::of(ui.available_width());
                run_state(ui, panel, room);
                at_right(ui, |ui| at_the_right(ui, panel, room));
            });
        });
}

/// How much the bar can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Everything.
    Wide,
    /// Short words, no time left.
    Narrow,
    /// What cannot be seen elsewhere.
    Tiny,
}

impl Room {
    fn of(width: f32) -> Self {
        if width < 460.0 {
            Self::Tiny
        } else if width < 880.0 {
            Self::Narrow
        } else {
            Self::Wide
        }
    }
}

fn run_state(ui: &mut Ui, panel: &mut PanelContext<'_>, room: Room) {
    let theme = panel.theme;
    let runs = panel.runs;
    let Some(view) = runs.shown_view() else {
        ui.label(RichText::new(format!("{} Ready", icons::CIRCLE)).color(theme.dim));
        return;
    };
    let state = summary::state(view);
    let counts = &view.counts;
    let color = summary::run_state_color(theme, state);
    ui.label(
        RichText::new(format!(
            "{} {}",
            icons::of_run_state(state),
            icons::run_state_word(state)
        ))
        .color(color),
    );
    ui.label(RichText::new(summary::done_text(counts)).color(theme.text))
        .on_hover_text(summary::counts_text(counts));
    let width = match room {
        Room::Wide => 180.0,
        Room::Narrow => 70.0,
        Room::Tiny => 0.0,
    };
    if width > 0.0 {
        ui.allocate_ui(Vec2::new(width, 6.0), |ui| {
            bar(ui, theme, summary::fraction(view, panel.live), color, 5.0);
        });
    }
    let failed = counts.get(crate::engine::ItemState::Failed);
    if failed > 0 {
        ui.label(
            RichText::new(format!("{} {} failed", icons::WARNING_CIRCLE, failed))
                .color(theme.error),
        );
    }
    let waiting = panel.waiting_for_person();
    if waiting > 0 {
        let words = match (waiting, room) {
            (_, Room::Narrow | Room::Tiny) => format!("{} {waiting} for you", icons::EYE),
            (1, Room::Wide) => format!("{} 1 item waits for you", icons::EYE),
            (_, Room::Wide) => format!("{} {waiting} items wait for you", icons::EYE),
        };
        let label = egui::Label::new(RichText::new(words).color(theme.warn)).sense(Sense::click());
        if ui
            .add(label)
            .on_hover_cursor(egui::CursorIcon::PointingHand)
            .on_hover_text(
                "Items of a Review wait until you pick or reject them. Click to see them.",
            )
            .clicked()
        {
            panel.act(Action::ShowReview);
        }
    }
    if room == Room::Wide
        && summary::is_active(view)
        && let Some(left_ms) = summary::time_left_ms(view, panel.live, panel.now_ms)
    {
        ui.label(RichText::new(format!("{} left", duration_text(left_ms))).color(theme.dim));
    }
}

/// Laid out from the right.
fn at_the_right(ui: &mut Ui, panel: &mut PanelContext<'_>, room: Room) {
    let theme = panel.theme;
    let zoom = format!("{:.0} %", panel.view.zoom * 100.0);
    if room != Room::Tiny
        && ui
            .add(egui::Label::new(RichText::new(zoom).color(theme.dim)).sense(Sense::click()))
            .on_hover_text("Zoom of the canvas. Click for 100 %.")
            .clicked()
    {
        panel.act(Action::ZoomReset);
    }
    let (icon, word, color) = if panel.document.is_dirty() {
        (icons::FLOPPY_DISK, "not saved", theme.warn)
    } else if panel.document.path().is_some() {
        (icons::FLOPPY_DISK, "saved", theme.dim)
    } else {
        (icons::FILE, "new project", theme.dim)
    };
    let words = match room {
        Room::Wide => format!("{icon} {word}"),
        Room::Narrow | Room::Tiny => icon.to_owned(),
    };
    if ui
        .add(egui::Label::new(RichText::new(words).color(color)).sense(Sense::click()))
        .on_hover_text(format!(
            "{word}. Click to save ({})",
            panel.keymap.shown("file.save")
        ))
        .clicked()
    {
        panel.act(Action::Save);
    }
    let all = panel.backends.cards.len();
    let online = panel
        .backends
        .cards
        .values()
        .filter(|card| {
            matches!(
                card.status.state,
                BackendState::Online | BackendState::Busy | BackendState::Degraded
            )
        })
        .count();
    let (icon, words, color) = match (online, all) {
        (_, 0) => (icons::PLUGS, "no backends".to_owned(), theme.warn),
        (0, _) => (icons::WARNING, format!("0 of {all} backends"), theme.error),
        _ => (
            icons::HARD_DRIVES,
            format!("{online} of {all} backends"),
            theme.dim,
        ),
    };
    let shown = match room {
        Room::Wide => format!("{icon} {words}"),
        Room::Narrow | Room::Tiny => format!("{icon} {online}/{all}"),
    };
    ui.label(RichText::new(shown).color(color))
        .on_hover_text(words);
}
