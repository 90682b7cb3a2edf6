//! Settings of Fan out nodes: what they divide into.

use super::fields::{self, Editor};
use super::sources;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::TEXT_SMALL;
use crate::app::widgets::{at_right, caption, field_label, hint, icon_button, row, strong};
use crate::project::{
    Axis, Column, DataType, FanOutSource, FilePattern, Literal, Node, SeedOrder, Table,
};
use crate::workflow::Control;
use bevy_egui::egui::{self, Id, Margin, RichText, TextEdit, Ui};

pub fn settings(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    node: &Node,
    source: &mut FanOutSource,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    caption(ui, theme, "One item for each");
    let current = match source {
        FanOutSource::List(_) => 0,
        FanOutSource::Range { .. } => 1,
        FanOutSource::Seeds { .. } => 2,
        FanOutSource::Grid(_) => 3,
        FanOutSource::Zip(_) => 4,
        FanOutSource::Table(_) => 5,
        FanOutSource::Files(_) => 6,
        FanOutSource::Split { .. } => 7,
    };
    let mut chosen = Some(current);
    fields::pick(
        ui,
        ("source", node.id.uuid()),
        &mut chosen,
        &[
            (2, "Seed"),
            (0, "Value of a list"),
            (1, "Number of a range"),
            (3, "Combination (grid)"),
            (4, "Values side by side"),
            (5, "Row of a table"),
            (6, "File of a folder"),
            (7, "Value that comes in"),
        ],
        editor,
    );
    if chosen != Some(current) {
        *source = fresh_source(chosen.unwrap_or(2));
        return;
    }
    let id = Id::new(("fan out", node.id.uuid()));
    match source {
        FanOutSource::List(axis) => axis_editor(ui, panel, id, axis, editor),
        FanOutSource::Range {
            axis,
            start,
            step,
            count,
        } => {
            field_label(ui, theme, "Name");
            fields::line(ui, axis, "name", editor);
            egui::Grid::new(id)
                .num_columns(2)
                .spacing([12.0, 6.0])
                .show(ui, |ui| {
                    ui.label(RichText::new("From").color(theme.dim));
                    editor.track(&ui.add(egui::DragValue::new(start).speed(0.1)));
                    ui.end_row();
                    ui.label(RichText::new("In steps of").color(theme.dim));
                    editor.track(&ui.add(egui::DragValue::new(step).speed(0.1)));
                    ui.end_row();
                    ui.label(RichText::new("How many").color(theme.dim));
                    editor.track(&ui.add(egui::DragValue::new(count).range(1..=100_000)));
                    ui.end_row();
                });
            let last = *start + *step * f64::from(count.saturating_sub(1));
            hint(ui, theme, &format!("{start} to {last}, {count} items"));
        }
        FanOutSource::Seeds {
            axis,
            first,
            count,
            order,
        } => {
            field_label(ui, theme, "Name");
            fields::line(ui, axis, "seed", editor);
            field_label(ui, theme, "First seed");
            let mut value = Literal::Integer((*first).into());
            let control = Control::Integer {
                min: Some(0),
                max: Some(i128::from(u64::MAX)),
                step: None,
                seed: true,
            };
            fields::value(ui, panel, id.with("first"), &control, &mut value, editor);
            if let Literal::Integer(integer) = value
                && let Ok(seed) = u64::try_from(integer.get())
            {
                *first = seed;
            }
            field_label(ui, theme, "How many");
            let response = ui.add_sized(
                [ui.available_width(), 28.0],
                egui::DragValue::new(count).range(1..=100_000).speed(0.2),
            );
            editor.track(&response);
            let mut chosen = Some(*order);
            field_label(ui, theme, "The others");
            fields::pick(
                ui,
                id.with("order"),
                &mut chosen,
                &[
                    (SeedOrder::Increment, "Follow one by one"),
                    (SeedOrder::Scatter, "Far apart, always the same"),
                ],
                editor,
            );
            *order = chosen.unwrap_or_default();
        }
        FanOutSource::Zip(axes) => {
            hint(
                ui,
                theme,
                "One value of each axis at a time; both need as many",
            );
            for (index, axis) in axes.iter_mut().enumerate() {
                axis_editor(ui, panel, id.with(index), axis, editor);
            }
        }
        FanOutSource::Table(table) => sources::table(ui, panel, id, table, editor),
        FanOutSource::Files(files) => sources::files(ui, panel, id, files, editor),
        FanOutSource::Split { axis, data_type } => {
            sources::split(ui, panel, id, axis, data_type, editor);
        }
        FanOutSource::Grid(axes) => {
            let total: usize = axes.iter().map(|axis| axis.values.len()).product();
            hint(
                ui,
                theme,
                &format!("{total} combinations; the last axis turns fastest"),
            );
            let mut removed = None;
            let many = axes.len() > 1;
            for (index, axis) in axes.iter_mut().enumerate() {
                row(ui, |ui| {
                    ui.label(strong(format!("Axis {}", index + 1), 12.0).color(theme.dim));
                    if many {
                        at_right(ui, |ui| {
                            if icon_button(ui, theme, icons::TRASH, "Remove this axis").clicked() {
                                removed = Some(index);
                            }
                        });
                    }
                });
                axis_editor(ui, panel, id.with(index), axis, editor);
            }
            if let Some(index) = removed {
                axes.remove(index);
                editor.step(id.with("remove"));
            }
            if ui.button(format!("{}  Add an axis", icons::PLUS)).clicked() {
                let number = axes.len() + 1;
                axes.push(Axis {
                    name: format!("axis {number}"),
                    data_type: DataType::Text,
                    values: vec![Literal::Text("a".to_owned()), Literal::Text("b".to_owned())],
                });
                editor.step(id.with("add"));
            }
        }
    }
}

fn fresh_source(kind: u8) -> FanOutSource {
    let axis = |name: &str| Axis {
        name: name.to_owned(),
        data_type: DataType::Text,
        values: vec![
            Literal::Text("first".to_owned()),
            Literal::Text("second".to_owned()),
        ],
    };
    match kind {
        0 => FanOutSource::List(axis("value")),
        1 => FanOutSource::Range {
            axis: "number".to_owned(),
            start: 1.0,
            step: 1.0,
            count: 4,
        },
        3 => FanOutSource::Grid(vec![axis("first"), axis("second")]),
        4 => FanOutSource::Zip(vec![axis("first"), axis("second")]),
        5 => FanOutSource::Table(Table {
            columns: vec![Column {
                name: "prompt".to_owned(),
                data_type: DataType::Text,
            }],
            rows: vec![vec![String::new()]],
        }),
        6 => FanOutSource::Files(FilePattern {
            axis: "file".to_owned(),
            pattern: "*.png".to_owned(),
            data_type: DataType::Image,
        }),
        7 => FanOutSource::Split {
            axis: "part".to_owned(),
            data_type: DataType::Image,
        },
        _ => FanOutSource::Seeds {
            axis: "seed".to_owned(),
            first: 1,
            count: 4,
            order: SeedOrder::Increment,
        },
    }
}

/// Name, type and values of an axis; one value a line.
fn axis_editor(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    id: Id,
    axis: &mut Axis,
    editor: &mut Editor,
) {
    let theme = panel.theme;
    field_label(ui, theme, "Name");
    fields::line(ui, &mut axis.name, "name", editor);
    field_label(ui, theme, "Values are");
    let before = axis.data_type;
    let mut chosen = Some(before);
    fields::pick(
        ui,
        id.with("type"),
        &mut chosen,
        &[
            (DataType::Text, "Text"),
            (DataType::Integer, "Whole numbers"),
            (DataType::Number, "Numbers"),
        ],
        editor,
    );
    let data_type = chosen.unwrap_or(before);
    let key = id.with("values");
    let mut text = panel.state.drafts.get(&key).cloned().unwrap_or_else(|| {
        axis.values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    });
    field_label(ui, theme, "Values, one a line");
    let response = ui.add(
        TextEdit::multiline(&mut text)
            .id(key)
            .desired_rows(3)
            .desired_width(f32::INFINITY)
            .char_limit(1_000_000)
            .margin(Margin::symmetric(8, 6)),
    );
    match parse_values(&text, data_type) {
        Ok(values) => {
            if response.changed() || data_type != before {
                axis.values = values;
                axis.data_type = data_type;
            }
            ui.label(
                RichText::new(format!("{} values", axis.values.len()))
                    .size(TEXT_SMALL)
                    .color(theme.dim),
            );
        }
        Err(line) => {
            ui.label(
                RichText::new(format!(
                    "{} line {line} is not a number",
                    icons::WARNING_CIRCLE
                ))
                .size(TEXT_SMALL)
                .color(theme.error),
            );
        }
    }
    if response.changed() {
        panel.state.drafts.insert(key, text);
    }
    if response.lost_focus() {
        panel.state.drafts.remove(&key);
    }
    editor.track(&response);
}

/// The values that the lines stand for, or the number of the first line that does not fit the type.
fn parse_values(text: &str, data_type: DataType) -> Result<Vec<Literal>, usize> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| match data_type {
            DataType::Integer => line
                .trim()
                .parse::<i128>()
                .ok()
                .and_then(crate::project::Integer::new)
                .map(Literal::Integer)
                .ok_or(index + 1),
            DataType::Number => line
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .map(Literal::Number)
                .ok_or(index + 1),
            _ => Ok(Literal::Text(line.to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_values_and_the_bad_one_is_named() {
        assert_eq!(
            parse_values("1\n\n18446744073709551615", DataType::Integer).map(|values| values.len()),
            Ok(2)
        );
        assert_eq!(parse_values("1\nx", DataType::Integer), Err(2));
        assert_eq!(parse_values("nan", DataType::Number), Err(1));
    }
}
