//! The keyboard of the panels: Bevy's key messages as egui's events, in place of `bevy_egui`'s own translation.
//!
//! `bevy_egui` 0.42 gives every key of a frame the modifiers that are down at the frame's end, so a chord that is struck
//! within one slow frame is taken for a bare letter, and it hands what is pasted on as typed text, so nothing but a text
//! field can take it.

use bevy::input::ButtonState;
use bevy::input::keyboard::{Key, KeyboardFocusLost, KeyboardInput};
use bevy::prelude::*;
use bevy_egui::helpers::{bevy_to_egui_key, bevy_to_egui_physical_key};
use bevy_egui::input::{EguiInputEvent, ModifierKeysState};
use bevy_egui::{
    EguiClipboard, EguiGlobalSettings, EguiInput, EguiInputSet, EguiPreUpdateSet,
    PrimaryEguiContext, egui,
};

/// Translates the keyboard. Add it after egui's plugin.
#[derive(Debug)]
pub struct KeyboardPlugin;

impl Plugin for KeyboardPlugin {
    fn build(&self, app: &mut App) {
        if let Some(mut settings) = app.world_mut().get_resource_mut::<EguiGlobalSettings>() {
            settings
                .input_system_settings
                .run_write_keyboard_input_messages_system = false;
        }
        app.add_systems(
            PreUpdate,
            (
                write_keys.in_set(EguiInputSet::ReadBevyMessages),
                drop_idle_modifier_events
                    .after(EguiPreUpdateSet::ProcessInput)
                    .before(EguiPreUpdateSet::BeginPass),
            ),
        );
    }
}

/// Writes an egui event for each key, with the modifiers that were down at that key.
fn write_keys(
    mut keys: MessageReader<KeyboardInput>,
    mut focus_lost: MessageReader<KeyboardFocusLost>,
    mut held: Local<ModifierKeysState>,
    contexts: Query<Entity, With<PrimaryEguiContext>>,
    mut clipboard: ResMut<EguiClipboard>,
    mut events: MessageWriter<EguiInputEvent>,
) {
    if focus_lost.read().count() > 0 {
        // What is let go over another window is not heard of.
        *held = ModifierKeysState::default();
    }
    let Ok(context) = contexts.single() else {
        keys.clear();
        return;
    };
    let mut write = |event: egui::Event| {
        events.write(EguiInputEvent { context, event });
    };
    for message in keys.read() {
        let pressed = message.state == ButtonState::Pressed;
        match message.logical_key {
            Key::Shift => held.shift = pressed,
            Key::Control => held.ctrl = pressed,
            Key::Alt => held.alt = pressed,
            Key::Super | Key::Meta => held.win = pressed,
            _ => {}
        }
        let modifiers = held.to_egui_modifiers();
        if pressed && held.text_input_is_allowed() {
            match &message.logical_key {
                Key::Character(text) if !text.contains(char::is_control) => {
                    write(egui::Event::Text(text.to_string()));
                }
                Key::Space => write(egui::Event::Text(" ".to_owned())),
                _ => {}
            }
        }
        let physical_key = bevy_to_egui_physical_key(&message.key_code);
        // Where the layout has no Latin letters, the key's place says which shortcut is meant.
        let Some(key) = bevy_to_egui_key(&message.logical_key).or(physical_key) else {
            continue;
        };
        write(egui::Event::Key {
            key,
            physical_key,
            pressed,
            repeat: message.repeat,
            modifiers,
        });
        let plain_command = modifiers.command && !modifiers.alt && !modifiers.shift;
        if !pressed || !plain_command {
            continue;
        }
        match key {
            egui::Key::C => write(egui::Event::Copy),
            egui::Key::X => write(egui::Event::Cut),
            egui::Key::V => {
                if let Some(text) = clipboard.get_text() {
                    write(egui::Event::Paste(text));
                }
            }
            _ => {}
        }
    }
}

/// Takes the modifier event out of egui's input when the modifiers are as they were. `bevy_egui` 0.42 pushes one every frame,
/// egui asks for another frame whenever there is an event, and the window would never rest (fixed in `bevy_egui` 0.43).
fn drop_idle_modifier_events(
    mut inputs: Query<&mut EguiInput>,
    mut last: Local<Option<egui::Modifiers>>,
) {
    for mut input in &mut inputs {
        let before = *last;
        let mut latest = before;
        input.events.retain(|event| match event {
            egui::Event::ModifiersChanged(modifiers) => {
                let changed = latest != Some(*modifiers);
                latest = Some(*modifiers);
                changed
            }
            _ => true,
        });
        *last = latest;
    }
}
