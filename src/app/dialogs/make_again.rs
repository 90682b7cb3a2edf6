//! What to change when an item is made again.

use super::modal;
use crate::app::fields::{self, Editor};
use crate::app::icons;
use crate::app::review::{Again, AskedBy, changeable_fields, given_values};
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, TEXT_SMALL, TEXT_TITLE};
use crate::app::widgets::{at_right, field_label, hint, primary, row, strong};
use crate::engine::{ReviewAnswer, ReviewVerdict, RunCommand, RunWish};
use crate::project::NodeKind;
use crate::workflow::Control;
use bevy_egui::egui::{Context, Id, Key, RichText, Vec2};

/// Draws the question, if it is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(mut again) = panel.dialogs.make_again.take() else {
        return;
    };
    let project = panel.document.project();
    let Some((node, settings)) = project.nodes.get(&again.maker).and_then(|node| {
        let NodeKind::Workflow(settings) = &node.kind else {
            return None;
        };
        Some((node, settings))
    }) else {
        return;
    };
    let Some(file) = project.workflows.get(&settings.workflow) else {
        return;
    };
    let facts = panel.catalog.facts(&settings.workflow, file);
    let mut fields = changeable_fields(node, settings, &facts);
    let runs = panel.runs;
    let label = runs
        .shown_view()
        .and_then(|view| view.items.get(&again.item_id))
        .map_or("", |item| &*item.label);
    let given = again
        .given
        .get_or_insert_with(|| given_values(project, node, label));
    let is_shown: Vec<bool> = fields
        .iter_mut()
        .map(|field| !field.is_linked || field.take_given(given.get(field.address)))
        .collect();
    let theme = panel.theme;
    let mut made = false;
    let mut left = false;
    let should_close = modal(ctx, theme, "review again", 380.0, |ui| {
        ui.label(strong(format!("Make \"{}\" again", node.title), TEXT_TITLE));
        if !label.is_empty() {
            ui.label(RichText::new(label).size(TEXT_SMALL).color(theme.dim));
        }
        hint(
            ui,
            theme,
            "What you change here is for this item only. What was made from it is made again too, and a Review behind it asks again.",
        );
        ui.add_space(GRID);
        for (index, (field, is_shown)) in fields.iter().zip(&is_shown).enumerate() {
            let is_changed = again.value(field.address).is_some();
            let mut value = again.value(field.address).unwrap_or(&field.value).clone();
            row(ui, |ui| {
                field_label(ui, theme, field.label);
                let (words, color) = match (is_changed, field.is_linked) {
                    (true, _) => ("changed", theme.warn),
                    (false, true) if *is_shown => ("from its input", theme.dim),
                    (false, true) => ("its input's value is not known here", theme.warn),
                    (false, false) => return,
                };
                at_right(ui, |ui| {
                    ui.label(RichText::new(words).size(TEXT_SMALL).color(color));
                });
            });
            let id = Id::new(("again", again.item_id.uuid(), index));
            let mut editor = Editor::default();
            fields::value(ui, panel, id, &field.control, &mut value, &mut editor);
            if editor.changed.is_some() {
                again.set(field.address, value);
            }
            ui.add_space(GRID);
        }
        if fields.is_empty() {
            hint(
                ui,
                theme,
                "The node shows no fields. Choose some in its properties to change them here.",
            );
        }
        row(ui, |ui| {
            let seed = fields.iter().find_map(|field| match field.control {
                Control::Integer {
                    min,
                    max,
                    seed: true,
                    ..
                } => Some((field.address, min, max)),
                _ => None,
            });
            let another = format!("{}  With another seed", icons::DICE_FIVE);
            if let Some((address, min, max)) = seed
                && ui.button(another).clicked()
            {
                again.set(address, fields::random_seed(min, max));
                made = true;
            }
            at_right(ui, |ui| {
                let ready = !again.changed.is_empty();
                made |= primary(ui, theme, ready, "Make again", Vec2::new(0.0, 28.0))
                    .on_disabled_hover_text(
                        "Change something first; the same values give the same result",
                    )
                    .clicked();
                left = ui.button("Cancel").clicked();
            });
        });
    });
    if made {
        send(panel, again);
    } else if !left && !should_close && !ctx.input(|input| input.key_pressed(Key::Escape)) {
        panel.dialogs.make_again = Some(again);
    }
}

fn send(panel: &mut PanelContext<'_>, again: Again) {
    let Some(run_id) = panel.runs.shown else {
        return;
    };
    let Again {
        item_id,
        asked_by,
        changed,
        ..
    } = again;
    panel.command(match asked_by {
        AskedBy::Review => RunCommand::wish(
            run_id,
            RunWish::Review(vec![ReviewAnswer {
                item_id,
                verdict: ReviewVerdict::Redo(changed),
            }]),
        ),
        AskedBy::Person => RunCommand::wish(
            run_id,
            RunWish::RedoItem {
                item_id,
                fields: changed,
            },
        ),
    });
}
