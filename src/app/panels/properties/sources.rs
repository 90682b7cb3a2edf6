//! Settings of the sources of a fan-out that are not lists of numbers: a table, files, what comes in.

use super::fields::{self, Editor};
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::TEXT_SMALL;
use crate::app::widgets::{field_label, hint};
use crate::project::{DataType, FilePattern, Table};
use bevy_egui::egui::{self, Id, Margin, RichText, TextEdit, Ui};

/// Letters of a table that can be typed here; larger ones are imported.
const MAX_TABLE_CHARS: usize = 1_000_000;

/// A table as text: pasted from a spreadsheet, or typed.
pub(super) fn table(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    id: Id,
    table: &mut Table,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    field_label(ui, theme, "Table (the first line names the columns)");
    let key = id.with("table");
    let mut text = panel
        .state
        .drafts
        .get(&key)
        .cloned()
        .unwrap_or_else(|| table.to_text());
    let response = ui.add(
        TextEdit::multiline(&mut text)
            .id(key)
            .font(egui::TextStyle::Monospace)
            .desired_rows(6)
            .desired_width(f32::INFINITY)
            .char_limit(MAX_TABLE_CHARS)
            .margin(Margin::symmetric(8, 6)),
    );
    let read = Table::from_text(&text);
    if response.changed() {
        if let Ok(changed) = &read {
            *table = changed.clone();
        }
        panel.state.drafts.insert(key, text);
    }
    if response.lost_focus() {
        panel.state.drafts.remove(&key);
    }
    editor.track(&response);
    match read {
        Ok(table) => {
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|column| format!("{} ({})", column.name, column.data_type))
                .collect();
            hint(
                ui,
                theme,
                &format!("{} rows · {}", table.rows.len(), columns.join(", ")),
            );
        }
        Err(error) => {
            ui.add(
                egui::Label::new(
                    RichText::new(format!("{} {error}", icons::WARNING_CIRCLE))
                        .size(TEXT_SMALL)
                        .color(theme.error),
                )
                .wrap(),
            );
        }
    }
    hint(
        ui,
        theme,
        "Paste from a spreadsheet. An empty cell leaves the workflow's own value.",
    );
}

/// A pattern of file names.
pub(super) fn files(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    id: Id,
    files: &mut FilePattern,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    field_label(ui, theme, "Name");
    fields::line(ui, &mut files.axis, "file", editor);
    field_label(ui, theme, "Files");
    fields::line(ui, &mut files.pattern, "shots/*.png", editor);
    kind_of_value(ui, panel, id, &mut files.data_type, editor);
    hint(
        ui,
        theme,
        "In the project's inputs folder, or a full path. * stands for any letters, ** for any folders.",
    );
}

/// The values of what comes in.
pub(super) fn split(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    id: Id,
    axis: &mut String,
    data_type: &mut DataType,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    field_label(ui, theme, "Name");
    fields::line(ui, axis, "part", editor);
    kind_of_value(ui, panel, id, data_type, editor);
    hint(
        ui,
        theme,
        "Each picture of a batch, and each value of a list, becomes an item.",
    );
}

fn kind_of_value(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    id: Id,
    data_type: &mut DataType,
    editor: &mut Editor,
) {
    field_label(ui, panel.theme, "Each is");
    let all: Vec<(DataType, &str)> = DataType::ALL
        .iter()
        .map(|one| (*one, one.title()))
        .collect();
    let mut chosen = Some(*data_type);
    fields::pick(ui, id.with("type"), &mut chosen, &all, editor);
    *data_type = chosen.unwrap_or(*data_type);
}
