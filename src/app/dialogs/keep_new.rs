//! Whether what an editor's window saved becomes a new workflow of the project, and under which name.

use super::modal;
use super::uncalled::Uncalled;
use crate::app::actions::Action;
use crate::app::apply::free_workflow_name;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::GRID;
use crate::app::widgets::{at_right, field_label, hint, primary_button, strong};
use crate::project::{NodeId, WorkflowFile};
use bevy_egui::egui::{Button, Context, Margin, TextEdit, Ui, Vec2};

/// The open question.
#[derive(Debug)]
pub struct KeepNew {
    /// The node whose window saved it.
    node_id: NodeId,
    /// Its title.
    title: String,
    name: String,
    file: WorkflowFile,
    uncalled: Uncalled,
}

impl KeepNew {
    /// Asks about a workflow that the window of this node saved.
    #[must_use]
    pub fn new(node_id: NodeId, title: String, file: WorkflowFile) -> Self {
        Self {
            node_id,
            name: title.clone(),
            title,
            file,
            uncalled: Uncalled::default(),
        }
    }
}

/// Draws the question, if there is one.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(mut dialog) = panel.dialogs.keep_new.take() else {
        return;
    };
    let mut answer = None;
    let closed = modal(ctx, panel.theme, "keep-new", 440.0, |ui| {
        answer = content(ui, panel, &mut dialog);
    });
    match answer {
        None if !closed => panel.dialogs.keep_new = Some(dialog),
        Some(true) => panel.act(Action::AddWorkflow {
            // The name that it gets in the project is its name in the library too.
            name: free_workflow_name(panel.document.project(), dialog.name.trim()).to_string(),
            file: dialog.file,
        }),
        _ => panel.act(Action::RefuseReplacement {
            node_id: dialog.node_id,
        }),
    }
}

fn content(ui: &mut Ui, panel: &PanelContext<'_>, dialog: &mut KeepNew) -> Option<bool> {
    let theme = panel.theme;
    ui.label(strong(
        format!("{}  Keep a new workflow?", icons::FLOW_ARROW),
        16.0,
    ));
    ui.add_space(GRID);
    hint(
        ui,
        theme,
        &format!(
            "The editor of \"{}\" saved it as a new one. It becomes a workflow of the project and of the library; the node keeps its own.",
            dialog.title
        ),
    );
    ui.add_space(2.0 * GRID);
    field_label(ui, theme, "Name");
    ui.add(
        TextEdit::singleline(&mut dialog.name)
            .desired_width(f32::INFINITY)
            .margin(Margin::symmetric(8, 6)),
    );
    ui.add_space(3.0 * GRID);
    let mut answer = None;
    at_right(ui, |ui| {
        let size = Vec2::new(96.0, 30.0);
        let keep = primary_button(theme, "Keep it").min_size(size);
        let may = dialog.uncalled.may_be_answered(ui.ctx()) && !dialog.name.trim().is_empty();
        if ui.add_enabled(may, keep).clicked() {
            answer = Some(true);
        }
        if ui.add(Button::new("Do not").min_size(size)).clicked() {
            answer = Some(false);
        }
    });
    answer
}
