//! What a window says, and what it means for its node.

use super::drafts::{Draft, Happened};
use super::{EditorState, EditorWorld};
use crate::app::toasts::Severity;
use crate::editor::message::{DraftFate, FromWindow};
use crate::editor::sentence::sentence;
use crate::project::NodeId;

impl EditorWorld<'_> {
    /// Takes in what the window of a node says.
    pub(super) fn hear(&mut self, node_id: NodeId, message: FromWindow) {
        let title = self.title_of(node_id);
        match message {
            FromWindow::Hello { .. } => {}
            FromWindow::Loaded => self.set_state(node_id, EditorState::Open),
            FromWindow::NotShown { text } => {
                self.set_state(node_id, EditorState::NotShown);
                self.toasts.push(
                    Severity::Error,
                    &format!("The editor does not show \"{title}\""),
                    &text,
                );
            }
            FromWindow::PageGone => {
                self.set_state(node_id, EditorState::Opening);
                let kept = if matches!(self.editors.drafts.get(&node_id), Some(Draft::Kept(_))) {
                    " What was changed is kept: the page offers it."
                } else {
                    ""
                };
                self.toasts.push(
                    Severity::Error,
                    &format!("The page of the editor of \"{title}\" ended"),
                    &format!("Its process was killed or failed. It is loaded again.{kept}"),
                );
            }
            FromWindow::Changed { draft: Some(draft) } => {
                self.set_state(node_id, EditorState::Changed);
                self.draft(node_id, Happened::Shown(&draft));
            }
            FromWindow::Changed { draft: None } => {
                self.set_state(node_id, EditorState::Open);
                self.draft(node_id, Happened::Dropped);
            }
            FromWindow::Save(saved) => self.take(node_id, *saved),
            FromWindow::Notice { text } => {
                self.toasts
                    .push(Severity::Warning, &format!("Editor of \"{title}\""), &text);
            }
            FromWindow::Failed { text } => self.offer_browser(node_id, sentence(&text), None),
            FromWindow::Geometry(geometry) => {
                self.settings.editor_places.remember(node_id, geometry);
            }
            FromWindow::Closed { draft } => {
                if draft == DraftFate::Discard {
                    self.draft(node_id, Happened::Dropped);
                }
            }
        }
    }

    fn set_state(&mut self, node_id: NodeId, state: EditorState) {
        if let Some(window) = self.editors.windows.get_mut(&node_id) {
            window.state = state;
            self.editors.revision += 1;
        }
    }

    /// Lets go of a window that has ended.
    pub(super) fn window_gone(&mut self, node_id: NodeId) {
        self.editors.windows.remove(&node_id);
        self.editors.revision += 1;
    }

    /// What to add to the news that a window is gone.
    pub(super) fn words_about_kept(&self, node_id: NodeId) -> &'static str {
        if matches!(self.editors.drafts.get(&node_id), Some(Draft::Kept(_))) {
            " What was changed is kept and offered when you open the editor again."
        } else {
            ""
        }
    }
}
