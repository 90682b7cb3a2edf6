//! Editing a workflow in the person's own browser: offered where there is no window for it, and told step by step.

use super::modal;
use crate::app::actions::Action;
use crate::app::bridge::BackendCard;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::GRID;
use crate::app::widgets::{at_right, card, hint, primary_button, row, strong};
use crate::project::{BackendId, NodeId};
use bevy_egui::egui::{Align, Context, Label, Layout, OpenUrl, RichText, Ui, Vec2};
use std::path::PathBuf;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrowserDialog {
    /// There is no window; the browser would do.
    Offered {
        /// The Workflow node.
        node_id: NodeId,
        /// The backend on which its window was to open; none when that was not decided yet.
        backend_id: Option<BackendId>,
        /// Its title.
        title: String,
        /// Why there is no window.
        reason: String,
        /// What helps.
        remedy: Option<String>,
    },
    /// No backend that answers has an editor's page.
    NoPage {
        /// The Workflow node.
        node_id: NodeId,
        /// Its title.
        title: String,
        /// Which backends have none.
        reason: String,
    },
    /// The browser was opened.
    Steps {
        /// Title of the Workflow node.
        title: String,
        /// The file to open there.
        file: PathBuf,
    },
}

/// Opens the page of a backend in the browser and gives the action that writes the node's workflow for it; none where no
/// backend answers.
#[must_use]
pub fn open(
    ctx: &Context,
    panel: &PanelContext<'_>,
    node_id: NodeId,
    wished: Option<BackendId>,
) -> Option<Action> {
    let page = backend(panel, node_id, wished)?;
    ctx.open_url(OpenUrl::new_tab(page.status.url.clone()));
    Some(Action::WriteForBrowser { node_id })
}

/// The backend whose page the browser would open: the wished one, which has the models that were chosen, else the one of the
/// node's window, else the first that answers.
#[must_use]
pub fn backend<'a>(
    panel: &'a PanelContext<'_>,
    node_id: NodeId,
    wished: Option<BackendId>,
) -> Option<&'a BackendCard> {
    let cards = &panel.backends.cards;
    if let Some(wished) = wished {
        return cards
            .get(&wished)
            .filter(|card| card.status.state.answers());
    }
    let of_window = panel.editors.of(node_id).and_then(|(_, name)| {
        let is_its = |card: &&BackendCard| card.status.name == name;
        cards.values().find(is_its)
    });
    let may_open =
        |card: &&BackendCard| card.status.state.answers() && card.status.may_have_editor();
    of_window.or_else(|| cards.values().find(may_open))
}

/// Most other backends that are offered.
const MAX_OFFERED: usize = 6;

/// Draws the dialog, if it is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(dialog) = panel.dialogs.in_browser.take() else {
        return;
    };
    let mut done = false;
    let mut wish = None;
    let closed = modal(ctx, panel.theme, "in-browser", 500.0, |ui| match &dialog {
        BrowserDialog::Offered {
            node_id,
            backend_id,
            title,
            reason,
            remedy,
        } => {
            heading(
                ui,
                &format!("The editor of \"{title}\" cannot be shown here"),
            );
            ui.label(format!("{reason}."));
            if let Some(remedy) = remedy {
                ui.add_space(GRID);
                card(panel.theme).show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    ui.label(RichText::new(remedy).monospace().size(12.0));
                });
            }
            ui.add_space(2.0 * GRID);
            let backend = backend(panel, *node_id, *backend_id);
            hint(
                ui,
                panel.theme,
                &match backend {
                    Some(backend) => format!(
                        "Your own browser can edit it: the page of \"{}\" opens there, and the workflow goes there and back as a file.",
                        backend.status.name
                    ),
                    None if backend_id.is_some() => {
                        "Your own browser could edit it, but the backend does not answer now."
                            .to_owned()
                    }
                    None => {
                        "Your own browser could edit it, but no backend answers now.".to_owned()
                    }
                },
            );
            ui.add_space(3.0 * GRID);
            at_right(ui, |ui| {
                let button = primary_button(panel.theme, "Edit in the browser");
                if ui.add_enabled(backend.is_some(), button).clicked() {
                    wish = open(ctx, panel, *node_id, *backend_id);
                }
                done = ui.button("Close").clicked();
            });
        }
        BrowserDialog::NoPage {
            node_id,
            title,
            reason,
        } => {
            heading(ui, &format!("\"{title}\" cannot be edited there"));
            ui.label(reason);
            ui.add_space(GRID);
            hint(
                ui,
                panel.theme,
                "The editor is a page of ComfyUI itself. The built-in backends have none, unless they are started with --frontend-dir and the files of comfyui-frontend-package.",
            );
            ui.add_space(2.0 * GRID);
            let others: Vec<_> = panel
                .backends
                .cards
                .iter()
                .filter(|(_, card)| {
                    card.status.state.answers() && card.status.has_editor == Some(true)
                })
                .map(|(id, card)| (*id, card.status.name.clone()))
                .take(MAX_OFFERED)
                .collect();
            for (backend_id, name) in others {
                if ui
                    .button(format!("{}  Edit on {name}", icons::PENCIL_SIMPLE))
                    .clicked()
                {
                    wish = Some(Action::EditWorkflow {
                        node_id: Some(*node_id),
                        backend_id: Some(backend_id),
                    });
                }
                ui.add_space(GRID);
            }
            ui.add_space(2.0 * GRID);
            at_right(ui, |ui| {
                let add = primary_button(panel.theme, "Add a backend…");
                if ui.add(add).clicked() {
                    wish = Some(Action::AddBackend);
                }
                done = ui.button("Close").clicked();
            });
        }
        BrowserDialog::Steps { title, file } => {
            heading(ui, &format!("\"{title}\" in your browser"));
            let place = file.display().to_string();
            step(
                ui,
                1,
                "Open this file there (Ctrl+O, or drag it onto the page):",
            );
            card(panel.theme).show(ui, |ui| {
                row(ui, |ui| {
                    at_right(ui, |ui| {
                        if ui.button(format!("{}  Copy", icons::COPY)).clicked() {
                            ctx.copy_text(place.clone());
                        }
                        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                            let place = RichText::new(&place).monospace().size(12.0);
                            ui.add(Label::new(place).truncate());
                        });
                    });
                });
            });
            step(ui, 2, "Change it, and export it under the same name.");
            step(
                ui,
                3,
                "Drop the file that the browser wrote onto this window. What is different is shown before anything is replaced.",
            );
            hint(
                ui,
                panel.theme,
                "Replace workflow… in the node's properties takes a file of any name, also later.",
            );
            ui.add_space(3.0 * GRID);
            at_right(ui, |ui| {
                let button = primary_button(panel.theme, "Close").min_size(Vec2::new(84.0, 30.0));
                done = ui.add(button).clicked();
            });
        }
    });
    if let Some(action) = wish {
        panel.act(action);
    } else if !closed && !done {
        panel.dialogs.in_browser = Some(dialog);
    }
}

fn heading(ui: &mut Ui, text: &str) {
    ui.label(strong(format!("{}  {text}", icons::PENCIL_SIMPLE), 16.0));
    ui.add_space(2.0 * GRID);
}

fn step(ui: &mut Ui, number: usize, text: &str) {
    ui.add_space(GRID);
    ui.label(format!("{number}.  {text}"));
}
