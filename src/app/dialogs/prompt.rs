//! Questions that must be answered before something goes on.

use super::{Prompt, modal};
use crate::app::actions::Action;
use crate::app::files::Pending;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::GRID;
use crate::app::widgets::{at_right, primary_button, strong};
use bevy_egui::egui::{Button, Context, RichText, Ui, Vec2};

/// Draws the question, if there is one.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(prompt) = panel.dialogs.prompt.take() else {
        return;
    };
    // Of the project that is open: left undecided, the next unsaved work would be written over it.
    let must_decide = matches!(&prompt, Prompt::Recovered { place, .. }
        if panel.document.saved().map(|saved| &saved.place) == place.as_ref());
    let mut answer = None;
    let closed = modal(ctx, panel.theme, "prompt", 420.0, |ui| {
        answer = match &prompt {
            Prompt::Unsaved(pending) => unsaved(ui, panel, pending),
            Prompt::Recovered { project, .. } => {
                let cancel = if must_decide { None } else { Some("Not now") };
                recovered(ui, panel, project.nodes.len(), &project.name, cancel)
            }
            Prompt::Overwrite { reason, .. } => overwrite(ui, panel, reason),
        };
    });
    let answer = if closed && !must_decide {
        answer.or(Some(Answer::Cancel))
    } else {
        answer
    };
    match (prompt, answer) {
        (prompt, None) => panel.dialogs.prompt = Some(prompt),
        (Prompt::Unsaved(pending), Some(Answer::Yes)) => {
            panel.dialogs.wait_for_save(pending);
            panel.act(Action::Save);
        }
        (Prompt::Unsaved(pending), Some(Answer::No)) => {
            panel.dialogs.confirm(pending);
            ctx.request_repaint();
        }
        (Prompt::Recovered { project, .. }, Some(Answer::Yes)) => {
            panel.dialogs.recover = Some(project);
            ctx.request_repaint();
        }
        (Prompt::Recovered { place, .. }, Some(Answer::No)) => {
            panel.dialogs.discard_recovered = place;
            ctx.request_repaint();
        }
        (Prompt::Overwrite { place, .. }, Some(Answer::Yes)) => {
            panel.dialogs.overwrite = Some(place);
        }
        (Prompt::Unsaved(_) | Prompt::Recovered { .. } | Prompt::Overwrite { .. }, Some(_)) => {}
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Cancel,
}

fn heading(ui: &mut Ui, panel: &PanelContext<'_>, icon: &str, title: &str, text: &str) {
    ui.label(strong(format!("{icon}  {title}"), 16.0));
    ui.add_space(GRID);
    ui.label(RichText::new(text).color(panel.theme.dim));
    ui.add_space(4.0 * GRID);
}

fn buttons(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    yes: &str,
    no: Option<&str>,
    cancel: Option<&str>,
) -> Option<Answer> {
    let mut answer = None;
    at_right(ui, |ui| {
        if ui
            .add(primary_button(panel.theme, yes).min_size(Vec2::new(80.0, 30.0)))
            .clicked()
        {
            answer = Some(Answer::Yes);
        }
        if let Some(no) = no
            && ui
                .add(Button::new(no).min_size(Vec2::new(80.0, 30.0)))
                .clicked()
        {
            answer = Some(Answer::No);
        }
        if let Some(cancel) = cancel
            && ui
                .add(Button::new(cancel).min_size(Vec2::new(80.0, 30.0)))
                .clicked()
        {
            answer = Some(Answer::Cancel);
        }
    });
    answer
}

fn unsaved(ui: &mut Ui, panel: &PanelContext<'_>, pending: &Pending) -> Option<Answer> {
    let name = &panel.document.project().name;
    let before = match pending {
        Pending::Quit => "before closing",
        Pending::New | Pending::Open(_) | Pending::Sample(_) | Pending::Snapshot(_) => "first",
    };
    heading(
        ui,
        panel,
        icons::FLOPPY_DISK,
        &format!("Save \"{name}\" {before}?"),
        &format!("There are changes that are not saved.{}", open_edits(panel)),
    );
    buttons(ui, panel, "Save", Some("Don't save"), Some("Cancel"))
}

/// What becomes of changes in open editors.
fn open_edits(panel: &PanelContext<'_>) -> String {
    let titles: Vec<String> = panel
        .editors
        .changed_titles()
        .map(|title| format!("\"{title}\""))
        .collect();
    if titles.is_empty() {
        return String::new();
    }
    format!(
        " The editor of {} has changes too: they are kept and offered when you open this project again, if it is saved.",
        titles.join(", ")
    )
}

fn recovered(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    nodes: usize,
    name: &str,
    cancel: Option<&str>,
) -> Option<Answer> {
    heading(
        ui,
        panel,
        icons::ARROW_COUNTER_CLOCKWISE,
        "Unsaved work was found",
        &format!(
            "\"{name}\" with {nodes} nodes was not saved when the program ended. Go on with it?"
        ),
    );
    buttons(ui, panel, "Restore", Some("Discard"), cancel)
}

fn overwrite(ui: &mut Ui, panel: &PanelContext<'_>, reason: &str) -> Option<Answer> {
    heading(
        ui,
        panel,
        icons::WARNING,
        "Replace what is there?",
        &format!("{reason}\nThe present state is kept as a version."),
    );
    buttons(ui, panel, "Replace", None, Some("Cancel"))
}
