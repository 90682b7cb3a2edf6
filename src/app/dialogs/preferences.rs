//! Theme, size, shortcuts; and the list of shortcuts.

use super::modal;
use crate::app::actions::{ACTIONS, Action, ActionSpec, Category};
use crate::app::icons;
use crate::app::keymap::{Keymap, parse_shortcut, shortcut_text};
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, TEXT_SMALL, ThemeMode, UI_SCALE_RANGE};
use crate::app::widgets::{at_right, caption, hint, icon_button, row, strong};
use crate::engine::OnStart;
use bevy_egui::egui::{self, Context, Id, KeyboardShortcut, RichText, ScrollArea, Slider, Ui};

/// Draws preferences and the list of shortcuts, if they are open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    if panel.dialogs.preferences {
        let mut settings = panel.settings.clone();
        let closed = modal(ctx, panel.theme, "preferences", 520.0, |ui| {
            title(ui, panel, icons::GEAR_SIX, "Preferences");
            appearance(ui, panel, &mut settings);
            unfinished_runs(ui, panel);
            caption(ui, panel.theme, "Shortcuts");
            hint(
                ui,
                panel.theme,
                "Click a shortcut and press the new keys. Esc leaves it as it is.",
            );
            ScrollArea::vertical()
                .max_height(220.0)
                .show(ui, |ui| rebind(ui, panel, &mut settings));
        });
        *panel.settings = settings;
        panel.dialogs.preferences = !closed;
    }
    if panel.dialogs.shortcuts {
        let closed = modal(ctx, panel.theme, "shortcuts", 720.0, |ui| {
            title(ui, panel, icons::KEYBOARD, "Keyboard shortcuts");
            shortcuts(ui, panel);
        });
        panel.dialogs.shortcuts = !closed;
    }
}

fn title(ui: &mut Ui, panel: &PanelContext<'_>, icon: &str, words: &str) {
    row(ui, |ui| {
        ui.label(strong(format!("{icon}  {words}"), 16.0));
        at_right(ui, |ui| {
            if icon_button(ui, panel.theme, icons::X, "Close").clicked() {
                ui.close();
            }
        });
    });
    ui.add_space(GRID);
}

fn appearance(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    settings: &mut crate::app::settings::Settings,
) {
    caption(ui, panel.theme, "Appearance");
    row(ui, |ui| {
        ui.label("Theme");
        ui.selectable_value(
            &mut settings.theme,
            ThemeMode::Dark,
            format!("{} Dark", icons::MOON),
        );
        ui.selectable_value(
            &mut settings.theme,
            ThemeMode::Light,
            format!("{} Light", icons::SUN),
        );
    });
    row(ui, |ui| {
        ui.label("Size of the interface");
        // Applied when the slider is let go: a slider that changes its own size cannot be dragged.
        let key = Id::new("ui scale draft");
        let mut percent: f32 = ui
            .data(|data| data.get_temp(key))
            .unwrap_or(settings.ui_scale * 100.0);
        let range = UI_SCALE_RANGE.start() * 100.0..=UI_SCALE_RANGE.end() * 100.0;
        let response = ui.add(Slider::new(&mut percent, range).step_by(5.0).suffix(" %"));
        if response.drag_stopped() || (response.changed() && !response.dragged()) {
            settings.ui_scale = percent / 100.0;
            ui.data_mut(|data| data.remove::<f32>(key));
        } else if response.dragged() {
            ui.data_mut(|data| data.insert_temp(key, percent));
        }
    });
}

/// What happens at the start with runs that were not finished.
fn unfinished_runs(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let Some(now) = panel.history.and_then(|history| history.on_start) else {
        return;
    };
    caption(ui, panel.theme, "Runs that were not finished");
    let mut chosen = now;
    row(ui, |ui| {
        ui.label("At the start");
        for on_start in OnStart::ALL {
            let words = match on_start {
                OnStart::Resume => "they go on",
                OnStart::Paused => "they are paused",
                OnStart::Ask => "ask me",
            };
            ui.selectable_value(&mut chosen, on_start, words);
        }
    });
    if chosen != now {
        panel.act(Action::SetOnStart(chosen));
    }
}

fn rebind(ui: &mut Ui, panel: &PanelContext<'_>, settings: &mut crate::app::settings::Settings) {
    let theme = panel.theme;
    let key = Id::new("rebinding");
    let waiting: Option<&'static str> = ui.data(|data| data.get_temp(key));
    if let Some(id) = waiting
        && let Some(pressed) = pressed_shortcut(ui)
    {
        if pressed.logical_key != egui::Key::Escape {
            settings
                .keys
                .0
                .insert(id.to_owned(), vec![shortcut_text(pressed)]);
        }
        ui.data_mut(|data| data.remove::<&'static str>(key));
    }
    let keymap = Keymap::new(&settings.keys);
    for problem in &keymap.problems {
        ui.label(
            RichText::new(format!("{} {problem}", icons::WARNING))
                .size(TEXT_SMALL)
                .color(theme.warn),
        );
    }
    for spec in ACTIONS {
        row(ui, |ui| {
            ui.label(RichText::new(spec.title).size(12.5));
            at_right(ui, |ui| {
                if settings.keys.0.contains_key(spec.id)
                    && icon_button(
                        ui,
                        theme,
                        icons::ARROW_COUNTER_CLOCKWISE,
                        "Back to the default",
                    )
                    .clicked()
                {
                    settings.keys.0.remove(spec.id);
                }
                let words = if waiting == Some(spec.id) {
                    "press keys…".to_owned()
                } else {
                    keymap.shortcuts_of(spec.id).collect::<Vec<_>>().join(", ")
                };
                let words = if words.is_empty() {
                    "none".to_owned()
                } else {
                    words
                };
                if ui.button(RichText::new(words).size(12.0)).clicked() {
                    ui.data_mut(|data| data.insert_temp(key, spec.id));
                }
            });
        });
    }
}

/// The keys pressed in this frame, taken out of the input.
fn pressed_shortcut(ui: &Ui) -> Option<KeyboardShortcut> {
    ui.input_mut(|input| {
        let mut pressed = None;
        input.events.retain(|event| match event {
            egui::Event::Key {
                key,
                modifiers,
                pressed: true,
                ..
            } => {
                let mut wanted = egui::Modifiers::NONE;
                wanted.alt = modifiers.alt;
                wanted.shift = modifiers.shift;
                if modifiers.command || modifiers.ctrl {
                    wanted = wanted.plus(egui::Modifiers::COMMAND);
                }
                pressed = Some(KeyboardShortcut::new(wanted, *key));
                false
            }
            _ => true,
        });
        // What cannot be written to the settings cannot be bound.
        pressed.filter(|shortcut| parse_shortcut(&shortcut_text(*shortcut)).is_some())
    })
}

fn shortcuts(ui: &mut Ui, panel: &PanelContext<'_>) {
    let theme = panel.theme;
    let bound = |category: Category| -> Vec<(&'static ActionSpec, String)> {
        ACTIONS
            .iter()
            .filter(|spec| spec.category == category)
            .map(|spec| {
                (
                    spec,
                    panel
                        .keymap
                        .shortcuts_of(spec.id)
                        .collect::<Vec<_>>()
                        .join("  "),
                )
            })
            .filter(|(_, keys)| !keys.is_empty())
            .collect()
    };
    ScrollArea::vertical().max_height(520.0).show(ui, |ui| {
        ui.columns(2, |columns| {
            for (column, categories) in columns.iter_mut().zip([
                &[Category::File, Category::Edit][..],
                &[Category::View, Category::Run, Category::Help][..],
            ]) {
                for category in categories {
                    caption(column, theme, category.title());
                    for (spec, keys) in bound(*category) {
                        row(column, |ui| {
                            ui.label(RichText::new(spec.title).size(12.5));
                            at_right(ui, |ui| {
                                ui.label(RichText::new(keys).size(12.0).color(theme.dim))
                            });
                        });
                    }
                }
            }
            if let Some(column) = columns.last_mut() {
                caption(column, theme, "Canvas, with the mouse");
                for (what, how) in [
                    ("Add a node", "Double-click on empty"),
                    ("Move the view", "Middle or right drag, Space"),
                    ("Zoom", "Wheel"),
                    ("Connect", "Drag from a port"),
                    ("Clone", "Alt and drag"),
                ] {
                    row(column, |ui| {
                        ui.label(RichText::new(what).size(12.5));
                        at_right(ui, |ui| {
                            ui.label(RichText::new(how).size(12.0).color(theme.dim))
                        });
                    });
                }
            }
        });
    });
}
