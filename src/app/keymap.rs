//! Which keys stand for which action: the defaults of the table of actions, changed by the person's own choice.

use super::actions::{ACTIONS, Action, ActionSpec};
use bevy::prelude::Resource;
use bevy_egui::egui::{self, Key, KeyboardShortcut, Modifiers};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Shortcuts that differ from the defaults: action id → shortcuts as text ("Ctrl+Shift+Z"); an empty list unbinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyOverrides(pub BTreeMap<String, Vec<String>>);

/// The keys in use.
#[derive(Resource, Clone, Debug)]
pub struct Keymap {
    bindings: Vec<(KeyboardShortcut, &'static ActionSpec)>,
    /// Sentences about overrides that could not be used.
    pub problems: Vec<String>,
}

impl Keymap {
    /// The defaults with these changes. A shortcut that two actions claim stays with the one that was changed by the
    /// person, else with the first of the table; every such conflict is named.
    #[must_use]
    pub fn new(overrides: &KeyOverrides) -> Self {
        let mut bindings: Vec<(KeyboardShortcut, &'static ActionSpec)> = Vec::new();
        let mut problems = Vec::new();
        for id in overrides.0.keys() {
            if ActionSpec::by_id(id).is_none() {
                problems.push(format!(
                    "The settings bind keys to \"{id}\", which is no action."
                ));
            }
        }
        let (changed, unchanged): (Vec<_>, Vec<_>) = ACTIONS
            .iter()
            .partition(|spec| overrides.0.contains_key(spec.id));
        for spec in changed.into_iter().chain(unchanged) {
            let shortcuts: Vec<KeyboardShortcut> = match overrides.0.get(spec.id) {
                None => spec.shortcuts.to_vec(),
                Some(texts) => texts
                    .iter()
                    .filter_map(|text| {
                        let shortcut = parse_shortcut(text);
                        if shortcut.is_none() {
                            problems.push(format!("\"{text}\" for {} is no shortcut.", spec.title));
                        }
                        shortcut
                    })
                    .collect(),
            };
            for shortcut in shortcuts {
                match bindings.iter().find(|(taken, _)| *taken == shortcut) {
                    Some((_, owner)) => problems.push(format!(
                        "{} is used by both {} and {}; it does the first.",
                        shortcut_text(shortcut),
                        owner.title,
                        spec.title
                    )),
                    None => bindings.push((shortcut, spec)),
                }
            }
        }
        // More modifiers first: Ctrl+Shift+Z must not be taken for Ctrl+Z.
        bindings.sort_by_key(|(shortcut, _)| std::cmp::Reverse(modifier_count(shortcut.modifiers)));
        Self { bindings, problems }
    }

    /// The shortcuts of an action as text, the shown one first.
    pub fn shortcuts_of(&self, id: &str) -> impl Iterator<Item = String> + '_ {
        let own = ActionSpec::by_id(id).map_or(&[][..], |spec| spec.shortcuts);
        let mut found: Vec<KeyboardShortcut> = self
            .bindings
            .iter()
            .filter(|(_, spec)| spec.id == id)
            .map(|(shortcut, _)| *shortcut)
            .collect();
        found.sort_by_key(|shortcut| own.iter().position(|one| one == shortcut));
        found.into_iter().map(shortcut_text)
    }

    /// The shortcut to show beside an action; empty when it has none.
    #[must_use]
    pub fn shown(&self, id: &str) -> String {
        self.shortcuts_of(id).next().unwrap_or_default()
    }

    /// Who has this shortcut.
    #[must_use]
    pub fn owner(&self, shortcut: KeyboardShortcut) -> Option<&'static ActionSpec> {
        self.bindings
            .iter()
            .find(|(taken, _)| *taken == shortcut)
            .map(|(_, spec)| *spec)
    }

    /// Takes the pressed shortcuts out of egui's input. While text has the focus only shortcuts that no text field uses
    /// count; while a dialog is open only those with a modifier that are not edits.
    #[must_use]
    pub fn pressed(&self, ctx: &egui::Context, keyboard: KeyboardFocus) -> Vec<Action> {
        let mut actions = Vec::new();
        ctx.input_mut(|input| {
            if keyboard == KeyboardFocus::Canvas {
                // They are for text fields; here the keys themselves count, as the person has bound them.
                input.events.retain(|event| {
                    !matches!(
                        event,
                        egui::Event::Copy | egui::Event::Cut | egui::Event::Paste(_)
                    )
                });
            }
            for (shortcut, spec) in &self.bindings {
                if !allowed(*shortcut, keyboard) {
                    continue;
                }
                // `count_and_consume_key` would also match extra modifiers; exact ones keep letters and chords apart.
                let mut hit = false;
                input.events.retain(|event| {
                    let egui::Event::Key {
                        key,
                        physical_key,
                        modifiers,
                        pressed: true,
                        repeat,
                        ..
                    } = event
                    else {
                        return true;
                    };
                    // With Shift a digit arrives as the sign above it, which differs by layout.
                    let is_key = *key == shortcut.logical_key
                        || (shortcut.modifiers.shift
                            && *physical_key == Some(shortcut.logical_key));
                    let wanted = is_key && same_modifiers(*modifiers, shortcut.modifiers, *key);
                    if wanted {
                        hit |= !repeat || repeatable(&spec.action);
                    }
                    !wanted
                });
                if hit {
                    actions.push(spec.action.clone());
                }
            }
        });
        actions
    }
}

/// Who has the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyboardFocus {
    /// Nobody in particular: every shortcut counts.
    Canvas,
    /// A widget that is no text field: letters and Tab are its own.
    Widget,
    /// A text field.
    Text,
    /// A dialog.
    Dialog,
}

fn allowed(shortcut: KeyboardShortcut, keyboard: KeyboardFocus) -> bool {
    let with_command = shortcut.modifiers.command || shortcut.modifiers.ctrl;
    match keyboard {
        KeyboardFocus::Canvas => true,
        KeyboardFocus::Widget => {
            with_command || matches!(shortcut.logical_key, Key::F11 | Key::Escape | Key::Delete)
        }
        KeyboardFocus::Text => {
            with_command
                && !matches!(
                    shortcut.logical_key,
                    Key::A | Key::C | Key::V | Key::X | Key::Z | Key::Y | Key::D
                )
        }
        KeyboardFocus::Dialog => {
            with_command
                && matches!(
                    shortcut.logical_key,
                    Key::Plus | Key::Equals | Key::Minus | Key::Num0 | Key::Q
                )
        }
    }
}

fn repeatable(action: &Action) -> bool {
    matches!(
        action,
        Action::Undo
            | Action::Redo
            | Action::ZoomIn
            | Action::ZoomOut
            | Action::UiScaleUp
            | Action::UiScaleDown
    )
}

/// Whether the pressed modifiers are those of the shortcut. Shift is not compared for characters that need it on many
/// keyboards (`?`, `+`).
fn same_modifiers(pressed: Modifiers, wanted: Modifiers, key: Key) -> bool {
    let shift_free = matches!(key, Key::Questionmark | Key::Plus);
    (shift_free || pressed.shift == wanted.shift)
        && pressed.alt == wanted.alt
        && (pressed.command || pressed.ctrl) == (wanted.command || wanted.ctrl)
}

fn modifier_count(modifiers: Modifiers) -> usize {
    usize::from(modifiers.alt)
        + usize::from(modifiers.shift)
        + usize::from(modifiers.command || modifiers.ctrl)
}

/// A shortcut in words: "Ctrl+Shift+Z", "⌘ ⇧ Z" is left to the platform's own menus.
#[must_use]
pub fn shortcut_text(shortcut: KeyboardShortcut) -> String {
    let mut text = String::new();
    if shortcut.modifiers.command || shortcut.modifiers.ctrl {
        text.push_str(if cfg!(target_os = "macos") {
            "Cmd+"
        } else {
            "Ctrl+"
        });
    }
    if shortcut.modifiers.alt {
        text.push_str("Alt+");
    }
    if shortcut.modifiers.shift {
        text.push_str("Shift+");
    }
    text.push_str(match shortcut.logical_key {
        Key::Questionmark => "?",
        Key::Comma => ",",
        Key::Period => ".",
        Key::Equals => "=",
        Key::Plus => "+",
        Key::Minus => "-",
        Key::Backslash => "\\",
        Key::Escape => "Esc",
        key => key.name(),
    });
    text
}

/// The shortcut that a text such as "Ctrl+Shift+Z" stands for.
#[must_use]
pub fn parse_shortcut(text: &str) -> Option<KeyboardShortcut> {
    let mut modifiers = Modifiers::NONE;
    let mut rest = text.trim();
    loop {
        let lower = rest.to_ascii_lowercase();
        let (modifier, length) = if lower.starts_with("ctrl+") {
            (Modifiers::COMMAND, 5)
        } else if lower.starts_with("cmd+") {
            (Modifiers::COMMAND, 4)
        } else if lower.starts_with("alt+") {
            (Modifiers::ALT, 4)
        } else if lower.starts_with("shift+") {
            (Modifiers::SHIFT, 6)
        } else {
            break;
        };
        modifiers = modifiers.plus(modifier);
        rest = rest.get(length..)?;
    }
    let key = match rest {
        "?" => Key::Questionmark,
        "Esc" | "esc" => Key::Escape,
        name => Key::from_name(name)?,
    };
    Some(KeyboardShortcut::new(modifiers, key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_default_shortcut_survives_being_written_and_read() {
        for spec in ACTIONS {
            for shortcut in spec.shortcuts {
                let text = shortcut_text(*shortcut);
                assert_eq!(parse_shortcut(&text), Some(*shortcut), "{text}");
            }
        }
        assert!(Keymap::new(&KeyOverrides::default()).problems.is_empty());
    }

    #[test]
    fn a_changed_key_wins_and_the_conflict_is_named() {
        let overrides = KeyOverrides(BTreeMap::from([(
            "edit.duplicate".to_owned(),
            vec!["Ctrl+S".to_owned()],
        )]));
        let keymap = Keymap::new(&overrides);
        let taken = parse_shortcut("Ctrl+S").unwrap();
        assert_eq!(keymap.owner(taken).unwrap().id, "edit.duplicate");
        assert_eq!(keymap.problems.len(), 1);
        assert!(keymap.problems[0].contains("Save"));
    }
}
