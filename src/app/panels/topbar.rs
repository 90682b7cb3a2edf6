//! The bar at the top: name, menus, what the run is about, run buttons.

use crate::app::actions::{ACTIONS, Action, Category};
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary;
use crate::app::theme::{GRID, ThemeMode};
use crate::app::widgets::{at_right, menu_row, primary, strong};
use bevy_egui::egui::{self, Button, Frame, Margin, RichText, Stroke, Ui, Vec2};

/// Width of the buttons at the right, points.
const BUTTONS_WIDTH: f32 = 230.0;
/// Width that the project's name shall have at least before the menus are put into one.
const NAME_WIDTH: f32 = 120.0;

/// Draws the bar.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let frame = Frame::new()
        .fill(theme.surface_panel)
        .inner_margin(Margin::symmetric(12, 6));
    egui::Panel::top("topbar")
        .exact_size(44.0)
        .resizable(false)
        .frame(frame)
        .show(ui, |ui| {
            ui.horizontal_centered(|ui| {
                ui.label(RichText::new(icons::GRAPH).size(18.0).color(theme.accent));
                let project = panel.document.project();
                let dirty = if panel.document.is_dirty() {
                    " •"
                } else {
                    ""
                };
                let menus_width = menus_width(ui);
                let room = ui.available_width() - BUTTONS_WIDTH;
                let one_menu = room < menus_width + NAME_WIDTH;
                let rest = if one_menu { 40.0 } else { menus_width };
                let name = ui
                    .scope(|ui| {
                        ui.set_max_width((room - rest).clamp(60.0, 360.0));
                        let words = format!("{}{dirty}", project.name);
                        ui.add(egui::Label::new(strong(words, 14.0)).truncate())
                    })
                    .inner;
                name.on_hover_text(panel.document.path().map_or_else(
                    || "Not saved yet".to_owned(),
                    |path| path.display().to_string(),
                ));
                if one_menu {
                    ui.menu_button(RichText::new(icons::LIST).size(18.0), |ui| {
                        for category in Category::ALL {
                            ui.menu_button(category.title(), |ui| menu(ui, panel, category));
                        }
                    });
                } else {
                    ui.add_space(2.0 * GRID);
                    // egui's menu bar takes all the width there is.
                    let size = Vec2::new(menus_width, ui.available_height());
                    ui.allocate_ui_with_layout(
                        size,
                        egui::Layout::left_to_right(egui::Align::Center),
                        |ui| {
                            egui::MenuBar::new().ui(ui, |ui| {
                                for category in Category::ALL {
                                    ui.menu_button(category.title(), |ui| {
                                        menu(ui, panel, category);
                                    });
                                }
                            });
                        },
                    );
                }
                at_right(ui, |ui| run_buttons(ui, panel));
            });
        });
}

/// Width of the menus' titles side by side.
fn menus_width(ui: &Ui) -> f32 {
    let font = egui::TextStyle::Button.resolve(ui.style());
    let spacing = ui.spacing();
    let around = 2.0 * spacing.button_padding.x + spacing.item_spacing.x;
    Category::ALL
        .iter()
        .map(|category| {
            let words = category.title().to_owned();
            let galley = ui
                .painter()
                .layout_no_wrap(words, font.clone(), egui::Color32::WHITE);
            galley.size().x + around
        })
        .sum()
}

fn menu(ui: &mut Ui, panel: &mut PanelContext<'_>, category: Category) {
    // Rows take the whole width there is: without this the menu would be as wide as egui allows.
    ui.set_width(290.0);
    for spec in ACTIONS.iter().filter(|spec| spec.category == category) {
        if spec.starts_group {
            ui.separator();
        }
        let enabled = spec.needs.met(&panel.action_context());
        let title = match spec.action {
            Action::Undo => with_step("Undo", panel.document.undo_title()),
            Action::Redo => with_step("Redo", panel.document.redo_title()),
            Action::ToggleTheme => match panel.theme.mode {
                ThemeMode::Dark => "Light theme".to_owned(),
                ThemeMode::Light => "Dark theme".to_owned(),
            },
            _ => spec.title.to_owned(),
        };
        if menu_row(
            ui,
            panel.theme,
            spec.icon,
            &title,
            &panel.keymap.shown(spec.id),
            enabled,
        ) {
            panel.act(spec.action.clone());
            ui.close();
        }
        if spec.id == "file.open" {
            recent_menu(ui, panel);
        }
    }
}

fn with_step(word: &str, title: Option<&str>) -> String {
    title.map_or_else(|| word.to_owned(), |title| format!("{word}: {title}"))
}

fn recent_menu(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    ui.menu_button(format!("{}  Open recent", icons::CLOCK), |ui| {
        ui.set_min_width(280.0);
        if panel.settings.recent.is_empty() {
            ui.weak("No project was opened yet");
        }
        for path in panel.settings.recent.clone() {
            let name = path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            );
            if ui
                .button(name)
                .on_hover_text(path.display().to_string())
                .clicked()
            {
                panel.act(Action::OpenPath(path));
                ui.close();
            }
        }
    });
}

/// Laid out from the right: Run, stop, pause, summary.
fn run_buttons(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let view = panel.runs.shown_view();
    let active = view.is_some_and(summary::is_active);
    let paused = view.is_some_and(|view| summary::state(view) == crate::engine::RunState::Paused);
    let can_run = !panel.document.project().nodes.is_empty();

    let words = format!("{} Run", icons::PLAY);
    let run = primary(ui, theme, can_run, words, Vec2::new(68.0, 28.0));
    let tip = format!("Run the project ({})", panel.keymap.shown("run.start"));
    if run
        .on_hover_text(tip)
        .on_disabled_hover_text("The canvas is empty. Add a node or drop a workflow first.")
        .clicked()
    {
        panel.act(Action::Run);
    }
    let square = |icon: &str| {
        Button::new(RichText::new(icon).size(16.0))
            .min_size(Vec2::new(36.0, 28.0))
            .stroke(Stroke::new(1.0, theme.line))
    };
    let stop = ui
        .add_enabled(active, square(icons::STOP))
        .on_hover_text(format!("Stop the run ({})", panel.keymap.shown("run.stop")))
        .on_disabled_hover_text("Nothing is running");
    if stop.clicked() {
        panel.act(Action::Stop);
    }
    let (icon, tip) = if paused {
        (icons::PLAY, "Go on")
    } else {
        (icons::PAUSE, "Submit nothing new")
    };
    let pause = ui
        .add_enabled(active, square(icon))
        .on_hover_text(tip)
        .on_disabled_hover_text("Nothing is running");
    if pause.clicked() {
        panel.act(Action::PauseOrResume);
    }
    ui.add_space(GRID);
    let unseen = panel.toasts.unseen;
    let bell = if unseen == 0 {
        RichText::new(icons::BELL).size(16.0).color(theme.dim)
    } else {
        RichText::new(format!("{} {unseen}", icons::BELL))
            .size(14.0)
            .color(theme.warn)
    };
    if ui
        .add(
            Button::new(bell)
                .frame_when_inactive(false)
                .min_size(Vec2::splat(28.0)),
        )
        .on_hover_text("Notifications")
        .clicked()
    {
        panel.act(Action::Notifications);
    }
    ui.add_space(GRID);
    if ui.available_width() < 140.0 {
        // The status bar says the same.
        return;
    }
    if let Some(view) = panel.runs.shown_view() {
        let words = summary::sentence(view, panel.now_ms);
        ui.add(egui::Label::new(RichText::new(words).color(theme.dim)).truncate());
    }
}
