//! One control for each kind of value, and how edits become undo steps.

use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::Theme;
use crate::app::widgets::{icon_button, row, tick};
use crate::project::{Integer, Literal, OnFailure};
use crate::workflow::Control;
use bevy_egui::egui::{
    self, ComboBox, DragValue, Id, Margin, Response, RichText, Slider, TextEdit, Ui,
};

/// What the fields of one panel reported in this frame.
#[derive(Default)]
pub struct Editor {
    /// The field that changed its value.
    pub changed: Option<Id>,
    /// A typing or dragging session ended.
    pub ended: bool,
}

impl Editor {
    /// Takes note of what happened to a field.
    pub fn track(&mut self, response: &Response) {
        if response.changed() {
            self.changed = Some(response.id);
        }
        self.ended |= response.lost_focus() || response.drag_stopped();
    }

    /// Takes note of a change that is complete in itself (a click).
    pub fn step(&mut self, id: Id) {
        self.changed = Some(id);
        self.ended = true;
    }
}

/// Whole numbers up to this are exact in the drag field, which counts in doubles.
const EXACT_IN_DOUBLE: i128 = 1 << 53;

/// The control for a value. Returns whether the value changed.
pub fn value(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    id: Id,
    control: &Control,
    value: &mut Literal,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    match control {
        Control::Integer {
            min,
            max,
            step,
            seed,
        } => {
            integer(ui, panel, id, (*min, *max, *step, *seed), value, editor);
        }
        Control::Number { min, max, step } => number(ui, id, (*min, *max, *step), value, editor),
        Control::Toggle => {
            let mut on = matches!(value, Literal::Boolean(true));
            let words = if on { "On" } else { "Off" };
            let response = tick(ui, theme, &mut on, words);
            if response.changed() {
                *value = Literal::Boolean(on);
                editor.step(response.id);
            }
        }
        Control::Choice { choices } => choice(ui, id, choices, value, editor),
        Control::Text { multiline } => text(ui, id, *multiline, value, editor),
        Control::File { .. } => text(ui, id, false, value, editor),
        Control::Json => json(ui, panel, theme, id, value, editor),
    }
}

type IntegerLimits = (Option<i128>, Option<i128>, Option<i128>, bool);

fn integer(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    id: Id,
    (min, max, step, seed): IntegerLimits,
    value: &mut Literal,
    editor: &mut Editor,
) {
    let current = match value {
        Literal::Integer(integer) => integer.get(),
        Literal::Number(number) => *number as i128,
        Literal::Text(text) => text.trim().parse().unwrap_or_default(),
        Literal::Boolean(_) | Literal::Json(_) => 0,
    };
    let low = min.unwrap_or(i128::from(i64::MIN));
    let high = max.unwrap_or(i128::from(u64::MAX));
    let wide = seed || current.abs() > EXACT_IN_DOUBLE;
    if wide {
        row(ui, |ui| {
            let width = ui.available_width() - if seed { 36.0 } else { 0.0 };
            if let Some(new) = whole_number_field(ui, panel, id, width, current, low, high, editor)
            {
                *value = Literal::Integer(new);
            }
            if seed
                && icon_button(ui, panel.theme, icons::DICE_FIVE, "Another random seed").clicked()
            {
                *value = random_seed(min, max);
                panel.state.drafts.remove(&id);
                editor.step(id.with("dice"));
            }
        });
        return;
    }
    let mut number = current as i64;
    let low = low.clamp(-EXACT_IN_DOUBLE, EXACT_IN_DOUBLE) as i64;
    let high = high.clamp(-EXACT_IN_DOUBLE, EXACT_IN_DOUBLE) as i64;
    let speed = step.unwrap_or(1).max(1) as f64 * 0.25;
    let response = ui
        .push_id(id, |ui| {
            ui.add_sized(
                [ui.available_width(), 28.0],
                DragValue::new(&mut number).range(low..=high).speed(speed),
            )
        })
        .inner;
    if response.changed() {
        *value = Literal::Integer(number.into());
    }
    editor.track(&response);
}

/// A seed within the limits of its field.
#[must_use]
pub fn random_seed(min: Option<i128>, max: Option<i128>) -> Literal {
    let unsigned = |limit: i128| limit.clamp(0, i128::from(u64::MAX)) as u64;
    let low = unsigned(min.unwrap_or(0));
    let high = unsigned(max.unwrap_or(i128::from(u64::MAX))).max(low);
    Literal::Integer(fastrand::u64(low..=high).into())
}

/// A text field for whole numbers that a double cannot hold. Keeps what is typed until it is a number.
#[allow(clippy::too_many_arguments, reason = "the parts of one field")]
pub fn whole_number_field(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    id: Id,
    width: f32,
    current: i128,
    low: i128,
    high: i128,
    editor: &mut Editor,
) -> Option<Integer> {
    let mut draft = panel
        .state
        .drafts
        .get(&id)
        .cloned()
        .unwrap_or_else(|| current.to_string());
    let parse = |text: &str| {
        text.trim()
            .parse::<i128>()
            .ok()
            .filter(|number| (low..=high).contains(number))
            .and_then(Integer::new)
    };
    let valid = parse(&draft).is_some();
    let mut edit = TextEdit::singleline(&mut draft)
        .id(id)
        .desired_width(width - 16.0)
        .char_limit(40)
        .font(egui::TextStyle::Monospace)
        .margin(Margin::symmetric(8, 6));
    if !valid {
        edit = edit.text_color(panel.theme.error);
    }
    let response = ui.add(edit);
    let mut new = None;
    if response.changed() {
        new = parse(&draft);
        if new.is_some() {
            editor.track(&response);
        }
        panel.state.drafts.insert(id, draft);
    }
    if response.lost_focus() {
        panel.state.drafts.remove(&id);
        editor.ended = true;
    }
    if !valid {
        response.on_hover_text(format!("A whole number from {low} to {high}"));
    }
    new
}

fn number(
    ui: &mut Ui,
    id: Id,
    (min, max, step): (Option<f64>, Option<f64>, Option<f64>),
    value: &mut Literal,
    editor: &mut Editor,
) {
    let mut current = match value {
        Literal::Number(number) => *number,
        Literal::Integer(integer) => integer.get() as f64,
        _ => 0.0,
    };
    let response = ui
        .push_id(id, |ui| match (min, max) {
            // A slider only where the whole range is worth seeing.
            (Some(low), Some(high)) if high - low <= 200.0 => {
                ui.spacing_mut().slider_width = (ui.available_width() - 76.0).max(60.0);
                let mut slider = Slider::new(&mut current, low..=high);
                if let Some(step) = step.filter(|step| *step > 0.0) {
                    slider = slider.step_by(step);
                }
                ui.add(slider)
            }
            _ => {
                let speed = step.unwrap_or(0.1).abs().max(1e-4);
                let range = min.unwrap_or(f64::MIN)..=max.unwrap_or(f64::MAX);
                ui.add_sized(
                    [ui.available_width(), 28.0],
                    DragValue::new(&mut current).range(range).speed(speed),
                )
            }
        })
        .inner;
    if response.changed() && current.is_finite() {
        *value = Literal::Number(current);
    }
    editor.track(&response);
}

fn choice(
    ui: &mut Ui,
    id: Id,
    choices: &[serde_json::Value],
    value: &mut Literal,
    editor: &mut Editor,
) {
    let shown = value.to_string();
    let mut picked = None;
    ComboBox::from_id_salt(id)
        .width(ui.available_width())
        .truncate()
        .selected_text(&shown)
        .show_ui(ui, |ui| {
            for one in choices {
                let literal = Literal::from_json(one);
                let words = literal.to_string();
                if ui.selectable_label(words == shown, &words).clicked() {
                    picked = Some(literal);
                }
            }
        });
    if let Some(literal) = picked
        && literal != *value
    {
        *value = literal;
        editor.step(id);
    }
}

/// A text field that changes a text value.
pub fn text(ui: &mut Ui, id: Id, multiline: bool, value: &mut Literal, editor: &mut Editor) {
    let mut current = match &*value {
        Literal::Text(text) => text.clone(),
        other => other.to_string(),
    };
    let edit = if multiline {
        TextEdit::multiline(&mut current).desired_rows(3)
    } else {
        TextEdit::singleline(&mut current)
    };
    let response = ui.add(
        edit.id(id)
            .desired_width(f32::INFINITY)
            .char_limit(200_000)
            .margin(Margin::symmetric(8, 6)),
    );
    if response.changed() {
        *value = Literal::Text(current);
    }
    editor.track(&response);
}

fn json(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    theme: &Theme,
    id: Id,
    value: &mut Literal,
    editor: &mut Editor,
) {
    let mut draft = panel
        .state
        .drafts
        .get(&id)
        .cloned()
        .unwrap_or_else(|| value.to_json().to_string());
    let response = ui.add(
        TextEdit::multiline(&mut draft)
            .id(id)
            .code_editor()
            .desired_rows(3)
            .desired_width(f32::INFINITY)
            .char_limit(200_000),
    );
    let parsed = serde_json::from_str::<serde_json::Value>(&draft);
    if response.changed() {
        if let Ok(parsed) = &parsed {
            *value = Literal::from_json(parsed);
            editor.track(&response);
        }
        panel.state.drafts.insert(id, draft);
    }
    if response.lost_focus() {
        panel.state.drafts.remove(&id);
        editor.ended = true;
    }
    if let Err(error) = parsed {
        ui.label(
            RichText::new(format!("{} {error}", icons::WARNING_CIRCLE))
                .size(11.5)
                .color(theme.error),
        );
    }
}

/// A one-line text field.
pub fn line(ui: &mut Ui, text: &mut String, hint: &str, editor: &mut Editor) -> Response {
    let response = ui.add(
        TextEdit::singleline(text)
            .hint_text(hint)
            .desired_width(f32::INFINITY)
            .char_limit(4_000)
            .margin(Margin::symmetric(8, 6)),
    );
    editor.track(&response);
    response
}

/// A choice among a few words, as a combo box over the whole width.
pub fn pick<T: Clone + PartialEq>(
    ui: &mut Ui,
    id: impl std::hash::Hash + std::fmt::Debug,
    current: &mut Option<T>,
    all: &[(T, &str)],
    editor: &mut Editor,
) {
    let shown = all
        .iter()
        .find(|(one, _)| current.as_ref() == Some(one))
        .map_or("various", |(_, words)| *words);
    let id = ui.make_persistent_id(id);
    let before = current.clone();
    ComboBox::from_id_salt(id)
        .width(ui.available_width())
        .selected_text(shown)
        .show_ui(ui, |ui| {
            for (one, words) in all {
                if ui
                    .selectable_label(current.as_ref() == Some(one), *words)
                    .clicked()
                {
                    *current = Some(one.clone());
                }
            }
        });
    if *current != before {
        editor.step(id);
    }
}

/// What a failed item means.
pub fn on_failure(ui: &mut Ui, current: &mut Option<OnFailure>, editor: &mut Editor) {
    pick(
        ui,
        "on failure",
        current,
        &[
            (OnFailure::Continue, "Go on with the rest"),
            (OnFailure::StopRun, "Stop the run"),
        ],
        editor,
    );
}
