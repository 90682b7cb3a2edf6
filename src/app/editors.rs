//! Windows of ComfyUI's own editor, one per node at most: opened, heard, and closed when their node is gone.

mod browser;
mod draft_writer;
mod drafts;
mod hear;
mod open;
mod places;
mod reviews;

pub use places::EditorPlaces;

use self::draft_writer::DraftWriter;
use self::drafts::{Digest, Draft};
use self::reviews::Reviews;
use super::actions::Action;
use super::bridge::{Backends, Bridge, RunEventMessage, RunViews};
use super::catalog::Catalog;
use super::dialogs::Dialogs;
use super::document::{Document, Selection};
use super::files::Autosave;
use super::model::NodeEditing;
use super::settings::{Folders, Settings};
use super::theme::ThemeMode;
use super::toasts::{Severity, Toasts};
use super::wake::Waker;
use crate::editor::message::{Appearance, CloseMode, SaveAnswer, ToWindow};
use crate::editor::process::{EditorEvent, EditorProcess};
use crate::engine::RunEventBody;
use crate::fleet::Door;
use crate::project::{BackendId, NodeId};
use bevy::ecs::system::SystemParam;
use bevy::prelude::*;
use bevy::window::PrimaryWindow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The open windows.
#[derive(Resource, Default)]
pub struct Editors {
    windows: BTreeMap<NodeId, OpenEditor>,
    /// Changes that are not in their nodes yet.
    drafts: BTreeMap<NodeId, Draft>,
    writer: DraftWriter,
    /// Nodes of which changes lie aside that were thrown away.
    aside: BTreeSet<NodeId>,
    /// What was saved and waits for a person.
    reviews: Reviews,
    /// Whether the app has something to ask while another window is in front.
    wants_attention: bool,
    /// Where each node's item was placed last since the app was started.
    ran_last: BTreeMap<NodeId, BackendId>,
    /// On which backend the editor of each node was opened last, or was to be.
    opened_on: BTreeMap<NodeId, BackendId>,
    /// The revision of the document that the windows know.
    seen_revision: Option<u64>,
    /// Nodes whose workflow was written for the browser, by the name of the workflow.
    in_browser: BTreeMap<String, NodeId>,
    /// The window's program; the one beside this program when none.
    program: Option<PathBuf>,
    /// Grows with the document that is open: nodes of another one may have drafts.
    generation: Option<u64>,
    /// Grows with everything that the marks on the nodes tell.
    revision: u64,
}

/// One window.
struct OpenEditor {
    process: EditorProcess,
    /// Open as long as the window is.
    _door: Option<Door>,
    backend_name: String,
    /// The node's title as the window knows it: the node may be gone.
    title: String,
    /// The colours that the window has.
    appearance: Appearance,
    state: EditorState,
    /// The node's workflow as the window knows it.
    node_text: Option<Digest>,
    /// Whether it was told to close by itself.
    is_closing: bool,
}

/// What a window is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditorState {
    /// The page is coming up.
    Opening,
    /// It shows the workflow as the node has it.
    Open,
    /// It shows changes that the node does not have.
    Changed,
    /// Its page does not show the workflow.
    NotShown,
}

impl Editors {
    /// No window yet. `program` is the window's program; the one beside this program when none.
    #[must_use]
    pub fn with_program(program: Option<PathBuf>) -> Self {
        Self {
            program,
            ..Self::default()
        }
    }

    /// What the window of a node is doing, with the backend's name; none without a window.
    #[must_use]
    pub fn of(&self, node_id: NodeId) -> Option<(EditorState, &str)> {
        let window = self.windows.get(&node_id)?;
        Some((window.state, &window.backend_name))
    }

    /// Grows with everything that [`Self::mark`] tells.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is shown on a node.
    #[must_use]
    pub fn mark(&self, node_id: NodeId) -> NodeEditing {
        // What the node has and only waits for the disk is nothing to tell.
        let is_kept = matches!(self.drafts.get(&node_id), Some(Draft::Kept(_)));
        match self.windows.get(&node_id).map(|window| window.state) {
            Some(EditorState::Changed) => NodeEditing::Changed,
            Some(EditorState::NotShown) => NodeEditing::Failed,
            Some(EditorState::Opening | EditorState::Open) if is_kept => NodeEditing::Changed,
            Some(EditorState::Opening | EditorState::Open) => NodeEditing::Open,
            None if is_kept => NodeEditing::Kept,
            None => NodeEditing::Not,
        }
    }

    /// Whether changes that were thrown away can be brought back.
    #[must_use]
    pub fn has_thrown_away(&self, node_id: NodeId) -> bool {
        self.aside.contains(&node_id)
    }

    /// The titles of nodes whose windows show changes that the nodes do not have.
    pub fn changed_titles(&self) -> impl Iterator<Item = &str> {
        let windows = self.windows.values();
        windows
            .filter(|window| window.state == EditorState::Changed && !window.is_closing)
            .map(|window| window.title.as_str())
    }

    fn answer(&self, node_id: NodeId, number: u64, answer: SaveAnswer) {
        if let Some(window) = self.windows.get(&node_id) {
            // A window that does not take it has ended or hangs, which its own events tell.
            let _ = window.process.send(ToWindow::SaveAnswer { number, answer });
        }
    }
}

/// What opening and hearing windows reads and writes.
#[derive(SystemParam)]
pub struct EditorWorld<'w> {
    editors: ResMut<'w, Editors>,
    document: Res<'w, Document>,
    selection: Res<'w, Selection>,
    backends: Res<'w, Backends>,
    runs: Res<'w, RunViews>,
    catalog: Res<'w, Catalog>,
    settings: ResMut<'w, Settings>,
    dialogs: ResMut<'w, Dialogs>,
    toasts: ResMut<'w, Toasts>,
    folders: Res<'w, Folders>,
    autosave: ResMut<'w, Autosave>,
    bridge: Option<Res<'w, Bridge>>,
    waker: Option<Res<'w, Waker>>,
}

/// Opens windows that are asked for, and tells them what became of their saves.
pub fn open_editors(mut actions: MessageReader<Action>, mut world: EditorWorld) {
    for action in actions.read() {
        match action {
            Action::EditWorkflow {
                node_id,
                backend_id,
            } => {
                let node_id =
                    node_id.or_else(|| world.selection.workflow_node(world.document.project()));
                if let Some(node_id) = node_id {
                    world.open_or_tell(node_id, *backend_id);
                }
            }
            Action::ReplaceWorkflow { node_id, file, .. } => world.review_replaced(*node_id, file),
            Action::AddWorkflow { file, .. } => world.review_added(file),
            Action::RefuseReplacement { node_id } => world.refuse_review(*node_id),
            Action::BringBackEdits { node_id } => {
                world.bring_back(*node_id);
                // A window that is open would write over it.
                if !world.editors.windows.contains_key(node_id) {
                    world.open_or_tell(*node_id, None);
                }
            }
            Action::WriteForBrowser { node_id } => world.write_for_browser(*node_id),
            _ => {}
        }
    }
}

/// Hears every window.
pub fn hear_editors(mut world: EditorWorld, mut run_events: MessageReader<RunEventMessage>) {
    for event in run_events.read() {
        if let RunEventBody::AttemptPlaced {
            item_id,
            backend_id,
            ..
        } = &event.0.body
            && let Some(view) = world.runs.views.get(&event.0.run_id)
            && let Some(item) = view.items.get(item_id)
        {
            world.editors.ran_last.insert(item.node_id, *backend_id);
        }
    }
    let is_other = world.editors.generation != Some(world.document.generation());
    if is_other {
        world.editors.generation = Some(world.document.generation());
        world.look_for_kept_changes();
        world.editors.in_browser.clear();
    }
    let mut heard = Vec::new();
    for (node_id, window) in &world.editors.windows {
        while let Some(event) = window.process.poll() {
            heard.push((*node_id, event));
        }
    }
    for (node_id, event) in heard {
        match event {
            EditorEvent::Said(message) => world.hear(node_id, message),
            EditorEvent::Ended => world.window_gone(node_id),
            EditorEvent::NotStarted(error) => {
                world.window_gone(node_id);
                world.offer_browser(node_id, error.to_string(), error.remedy());
            }
            EditorEvent::Died(reason) => {
                let title = world.title_of(node_id);
                world.window_gone(node_id);
                let kept = world.words_about_kept(node_id);
                world.toasts.push(
                    Severity::Error,
                    &format!("The editor of \"{title}\" is gone"),
                    &format!("{reason}.{kept}"),
                );
            }
        }
    }
    world.close_windows_of_gone_nodes();
    world.tell_document();
    world.tell_appearance();
    world.show_next_review();
}

/// Takes away drafts that the disk has by now as a part of the project. Runs after the unsaved work was kept.
pub fn forget_safe_drafts(mut world: EditorWorld) {
    let safe_revision = world.autosave.safe_revision();
    world.forget_safe_drafts(safe_revision);
}

/// Brings the app's window to the front when it asks about what an editor's window saved.
pub fn come_to_front(
    mut editors: ResMut<Editors>,
    mut windows: Query<&mut Window, With<PrimaryWindow>>,
) {
    if !editors.wants_attention {
        return;
    }
    editors.wants_attention = false;
    for mut window in &mut windows {
        window.set_minimized(false);
        // Bevy takes this as a wish: the window system decides.
        window.focused = true;
    }
}

impl EditorWorld<'_> {
    fn title_of(&self, node_id: NodeId) -> String {
        let node = self.document.project().nodes.get(&node_id);
        let window = self.editors.windows.get(&node_id);
        node.map(|node| node.title.clone())
            .or_else(|| window.map(|window| window.title.clone()))
            .unwrap_or_else(|| "a node that is gone".to_owned())
    }

    /// Light or dark, as the app is.
    fn appearance(&self) -> Appearance {
        match self.settings.theme {
            ThemeMode::Dark => Appearance::Dark,
            ThemeMode::Light => Appearance::Light,
        }
    }

    /// Gives the windows the colours of the app.
    fn tell_appearance(&mut self) {
        let now = self.appearance();
        let is_other = |window: &OpenEditor| window.appearance != now;
        if !self.editors.windows.values().any(is_other) {
            return;
        }
        for window in self.editors.windows.values_mut() {
            window.appearance = now;
            // A window that does not take it has ended or hangs, which its own events tell.
            let _ = window.process.send(ToWindow::Appearance(now));
        }
    }

    /// Tells the windows what has changed in the document about their nodes.
    fn tell_document(&mut self) {
        let revision = Some(self.document.revision());
        if self.editors.seen_revision == revision {
            return;
        }
        self.editors.seen_revision = revision;
        let nodes = &self.document.project().nodes;
        for (node_id, window) in &mut self.editors.windows {
            if let Some(node) = nodes.get(node_id)
                && node.title != window.title
            {
                window.title.clone_from(&node.title);
                let _ = window.process.send(ToWindow::NodeTitle(node.title.clone()));
            }
        }
        self.tell_node_workflows();
    }

    /// Windows whose nodes are not in the document any more close by themselves; what was changed in them is kept.
    fn close_windows_of_gone_nodes(&mut self) {
        let nodes = &self.document.project().nodes;
        let mut kept = Vec::new();
        let editors = &mut *self.editors;
        for (node_id, window) in &mut editors.windows {
            if window.is_closing || nodes.contains_key(node_id) {
                continue;
            }
            window.is_closing = true;
            let _ = window.process.send(ToWindow::Close(CloseMode::Keep));
            if matches!(editors.drafts.get(node_id), Some(Draft::Kept(_))) {
                kept.push(window.title.clone());
            }
        }
        for title in kept {
            self.toasts.push(
                Severity::Warning,
                &format!("The editor of \"{title}\" was closed"),
                "Its node is gone. What was changed there is kept and offered when the node is back: by undo, or by opening its project again.",
            );
        }
    }
}
