//! What becomes of a Workflow node's items when something goes wrong, and what is done with earlier results and batches.

use super::fields::{self, Editor};
use crate::app::theme::Theme;
use crate::app::widgets::{caption, field_label, hint};
use crate::project::{BatchMode, CachePolicy, DataType, Fallback, Node, PortBinding, WorkflowNode};
use bevy_egui::egui::{DragValue, Grid, RichText, Ui};
use std::num::NonZeroU32;

/// Minutes without any sign of progress after which an attempt is called off, where the node does not say.
const USUAL_SILENCE_MIN: u32 = 30;
/// Longest silence that can be set, minutes.
const LONGEST_SILENCE_MIN: u32 = 24 * 60;

/// Draws the settings and puts what changed into the node.
pub(super) fn settings(
    ui: &mut Ui,
    theme: &Theme,
    node: &mut Node,
    settings: &mut WorkflowNode,
    editor: &mut Editor,
) {
    field_label(ui, theme, "If that backend fails");
    let mut fallback = Some(settings.fallback);
    fields::pick(
        ui,
        ("fallback", node.id.uuid()),
        &mut fallback,
        &[
            (Fallback::AutoSelect, "The next best backend"),
            (Fallback::AskUser, "Ask me"),
            (Fallback::None, "The item fails"),
        ],
        editor,
    );
    settings.fallback = fallback.unwrap_or_default();
    let retry = &mut settings.retry;
    Grid::new(("retry", node.id.uuid()))
        .num_columns(2)
        .spacing([12.0, 6.0])
        .show(ui, |ui| {
            ui.label(RichText::new("Attempts").size(12.0).color(theme.dim));
            let attempts = DragValue::new(&mut retry.max_attempts).range(1..=20).speed(0.1);
            editor.track(&ui.add(attempts));
            ui.end_row();
            ui.label(RichText::new("Longest silence").size(12.0).color(theme.dim));
            let mut minutes = retry
                .silence_limit_s
                .map_or(USUAL_SILENCE_MIN, |seconds| seconds.get().div_ceil(60));
            let response = ui
                .add(
                    DragValue::new(&mut minutes)
                        .range(1..=LONGEST_SILENCE_MIN)
                        .suffix(" min")
                        .speed(0.2),
                )
                .on_hover_text(
                    "An attempt that shows no sign of progress for so long is called off and tried elsewhere",
                );
            if response.changed() {
                retry.silence_limit_s = (minutes != USUAL_SILENCE_MIN)
                    .then(|| NonZeroU32::new(minutes.saturating_mul(60)))
                    .flatten();
            }
            editor.track(&response);
            ui.end_row();
        });
    field_label(ui, theme, "Earlier results");
    let mut cache = Some(settings.cache);
    fields::pick(
        ui,
        ("cache", node.id.uuid()),
        &mut cache,
        &[
            (CachePolicy::Use, "Use them for equal items"),
            (CachePolicy::Never, "Always make anew"),
        ],
        editor,
    );
    settings.cache = cache.unwrap_or_default();
    batches(ui, theme, node, editor);
}

/// What becomes of outputs of several files.
fn batches(ui: &mut Ui, theme: &Theme, node: &mut Node, editor: &mut Editor) {
    let id = node.id;
    let mut is_first = true;
    for (index, port) in node.outputs.iter_mut().enumerate() {
        let PortBinding::WorkflowOutput { batch, .. } = &mut port.binding else {
            continue;
        };
        if !matches!(
            port.data_type,
            DataType::Image | DataType::Mask | DataType::Video | DataType::Audio | DataType::Latent
        ) {
            continue;
        }
        if is_first {
            caption(ui, theme, "Batches");
            is_first = false;
        }
        field_label(ui, theme, &port.name);
        let mut chosen = Some(*batch);
        fields::pick(
            ui,
            ("batch", id.uuid(), index),
            &mut chosen,
            &[
                (BatchMode::Whole, "Handed on together"),
                (BatchMode::Each, "Each by itself, as a fan out"),
            ],
            editor,
        );
        *batch = chosen.unwrap_or_default();
        if *batch == BatchMode::Each {
            hint(
                ui,
                theme,
                "What follows runs once for each file of the batch.",
            );
        }
    }
}
