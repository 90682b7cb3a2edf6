//! The selected frame: its name, and what it holds.

use crate::app::actions::Action;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::GRID;
use crate::app::widgets::{caption, field_label, hint};
use bevy_egui::egui::{self, Ui};

/// Longest name of a frame.
const TITLE_CHARS: usize = 200;

/// Draws the part of the panel.
pub(super) fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let project = panel.document.project();
    let Some(frame) = panel
        .selection
        .only_frame()
        .and_then(|id| project.frames.get(&id))
    else {
        caption(
            ui,
            theme,
            &format!("{} frames", panel.selection.frames.len()),
        );
        delete_button(ui, panel);
        return;
    };
    caption(ui, theme, "Frame");
    field_label(ui, theme, "Name");
    let mut title = frame.title.clone();
    let response = ui.add(
        egui::TextEdit::singleline(&mut title)
            .id(ui.id().with(("frame", frame.id.uuid())))
            .desired_width(f32::INFINITY)
            .char_limit(TITLE_CHARS)
            .margin(egui::Margin::symmetric(8, 5)),
    );
    if panel.state.renamed_frame == Some(frame.id) {
        panel.state.renamed_frame = None;
        response.request_focus();
    }
    if response.changed() {
        let gesture = panel.state.gesture(response.id);
        let frame = crate::project::Frame {
            title,
            ..frame.clone()
        };
        panel.act(Action::SetFrame { frame, gesture });
    }
    panel.state.end_gesture(&response);
    ui.add_space(2.0 * GRID);
    let words = match project.nodes_in_frame(frame).count() {
        0 => "No node lies in it.".to_owned(),
        1 => "1 node lies in it and moves with it.".to_owned(),
        count => format!("{count} nodes lie in it and move with it."),
    };
    hint(ui, theme, &words);
    ui.add_space(2.0 * GRID);
    ui.horizontal_wrapped(|ui| {
        if ui.button("Fit to its nodes").clicked() {
            panel.act(Action::FitFrame);
        }
        if ui.button("Select its nodes").clicked() {
            panel.act(Action::SelectInFrame(frame.id));
        }
        delete_button(ui, panel);
    });
    ui.add_space(2.0 * GRID);
    hint(
        ui,
        theme,
        "Drag its title to move it, its corner to change its size. It grows by itself when nodes in it do.",
    );
}

fn delete_button(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    if ui
        .button(format!("{}  Remove", icons::TRASH))
        .on_hover_text("Takes the frame away; the nodes in it stay")
        .clicked()
    {
        panel.act(Action::Delete);
    }
}
