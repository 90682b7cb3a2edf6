//! Windows of ComfyUI's own editor, one per node at most: opened, heard, and asked to close with their document.

mod browser;
mod drafts;
mod reviews;

use self::drafts::{Digest, Draft, Happened, digest};
use self::reviews::Reviews;
use super::actions::Action;
use super::bridge::{Backends, Bridge, RunEventMessage, RunViews};
use super::catalog::Catalog;
use super::dialogs::Dialogs;
use super::dialogs::in_browser::BrowserDialog;
use super::document::{Document, Selection};
use super::files::Autosave;
use super::model::NodeEditing;
use super::settings::{Folders, Settings};
use super::theme::ThemeMode;
use super::toasts::{Severity, Toasts};
use super::wake::Waker;
use crate::editor::message::{
    Appearance, CloseMode, DraftFate, EditorGraph, FromWindow, OpenWindow, SaveAnswer, ToWindow,
    WindowGeometry,
};
use crate::editor::process::{EditorError, EditorEvent, EditorProcess, program};
use crate::engine::RunEventBody;
use crate::fleet::{BackendConfig, Door};
use crate::project::{BackendId, Node, NodeId, NodeKind, WorkflowFile};
use crate::workflow::{self, ObjectInfo, WorkflowDocument};
use bevy::ecs::system::SystemParam;
use bevy::prelude::*;
use bevy::window::PrimaryWindow;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use url::Url;

/// How far a window is from the one that was opened before it, logical pixels in both directions.
const SHIFT_PER_WINDOW: f64 = 32.0;

/// The open windows.
#[derive(Resource, Default)]
pub struct Editors {
    windows: BTreeMap<NodeId, OpenEditor>,
    /// Changes that are not in their nodes yet.
    drafts: BTreeMap<NodeId, Draft>,
    /// Nodes of which changes lie aside that were thrown away.
    aside: BTreeSet<NodeId>,
    /// What was saved and waits for a person.
    reviews: Reviews,
    /// Whether the app has something to ask while another window is in front.
    wants_attention: bool,
    /// Where each node's item was placed last since the app was started.
    ran_last: BTreeMap<NodeId, BackendId>,
    /// The revision of the document that the windows know.
    seen_revision: Option<u64>,
    /// Nodes whose workflow was written for the browser, by the name of the workflow.
    in_browser: BTreeMap<String, NodeId>,
    /// The window's program; the one beside this program when none.
    program: Option<PathBuf>,
    /// Grows with the document that is open; windows of another one are asked to close.
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
    /// The node's title when the window was opened: the node may be gone.
    title: String,
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
            Some(_) if is_kept => NodeEditing::Changed,
            Some(EditorState::NotShown) => NodeEditing::Failed,
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

    fn answer(&self, node_id: NodeId, answer: SaveAnswer) {
        if let Some(window) = self.windows.get(&node_id) {
            // A window that does not take it has ended or hangs, which its own events tell.
            let _ = window.process.send(ToWindow::SaveAnswer(answer));
        }
    }
}

/// Why no window was opened.
enum NotOpened {
    /// For a reason that the browser would not help with.
    Refused(String),
    /// There is no window to be had here.
    NoWindow(EditorError),
    /// The backends of these names have no editor's page.
    NoPage(Vec<String>),
}

impl From<String> for NotOpened {
    fn from(problem: String) -> Self {
        Self::Refused(problem)
    }
}

impl From<&str> for NotOpened {
    fn from(problem: &str) -> Self {
        Self::Refused(problem.to_owned())
    }
}

impl From<EditorError> for NotOpened {
    fn from(error: EditorError) -> Self {
        match error {
            EditorError::NotAnswering => Self::Refused(error.to_string()),
            _ => Self::NoWindow(error),
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
                let node_id = node_id.or_else(|| world.selected_node());
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
    world.tell_node_workflows();
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
    fn selected_node(&self) -> Option<NodeId> {
        let nodes = &self.document.project().nodes;
        let mut workflow_nodes = self.selection.nodes.iter().filter(|id| {
            nodes
                .get(id)
                .is_some_and(|node| matches!(node.kind, NodeKind::Workflow(_)))
        });
        let first = workflow_nodes.next()?;
        workflow_nodes.next().is_none().then_some(*first)
    }

    fn title_of(&self, node_id: NodeId) -> String {
        let node = self.document.project().nodes.get(&node_id);
        let window = self.editors.windows.get(&node_id);
        node.map(|node| node.title.clone())
            .or_else(|| window.map(|window| window.title.clone()))
            .unwrap_or_else(|| "a node that is gone".to_owned())
    }

    fn window_gone(&mut self, node_id: NodeId) {
        self.editors.windows.remove(&node_id);
        self.editors.revision += 1;
    }

    /// What to add to the news that a window is gone.
    fn words_about_kept(&self, node_id: NodeId) -> &'static str {
        if matches!(self.editors.drafts.get(&node_id), Some(Draft::Kept(_))) {
            " What was changed is kept and offered when you open the editor again."
        } else {
            ""
        }
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

    /// Says why there is no window, and offers the browser.
    fn offer_browser(&mut self, node_id: NodeId, reason: String, remedy: Option<String>) {
        self.dialogs.in_browser = Some(BrowserDialog::Offered {
            node_id,
            title: self.title_of(node_id),
            reason,
            remedy,
        });
    }

    /// Opens the window of a node, or says why not.
    fn open_or_tell(&mut self, node_id: NodeId, backend_id: Option<BackendId>) {
        match self.open(node_id, backend_id) {
            Ok(()) => {}
            Err(NotOpened::Refused(problem)) => {
                self.toasts
                    .push(Severity::Warning, "The editor was not opened", &problem);
            }
            Err(NotOpened::NoWindow(error)) => {
                self.offer_browser(node_id, error.to_string(), error.remedy());
            }
            Err(NotOpened::NoPage(names)) => self.tell_no_page(node_id, &names),
        }
    }

    /// Says that there is no editor's page, and where there is one.
    fn tell_no_page(&mut self, node_id: NodeId, names: &[String]) {
        let title = self.title_of(node_id);
        let words = format!(
            "{} no page of ComfyUI's editor.",
            match names {
                [one] => format!("\"{one}\" has"),
                _ => format!("The backends {} have", names.join(", ")),
            }
        );
        // The dialog tells it; the history keeps it.
        self.toasts.push(
            Severity::Warning,
            &format!("\"{title}\" cannot be edited there"),
            &words,
        );
        self.dialogs.in_browser = Some(BrowserDialog::NoPage {
            node_id,
            title,
            reason: words,
        });
    }

    /// Opens the window of a node, or brings it to the front.
    fn open(&mut self, node_id: NodeId, backend_id: Option<BackendId>) -> Result<(), NotOpened> {
        if let Some(window) = self.editors.windows.get(&node_id) {
            return Ok(window.process.send(ToWindow::Focus)?);
        }
        let project = self.document.project();
        let node = project
            .nodes
            .get(&node_id)
            .ok_or("The node is not on the canvas any more.")?;
        let NodeKind::Workflow(settings) = &node.kind else {
            return Err(format!("\"{}\" has no workflow to edit.", node.title).into());
        };
        let file = project
            .workflows
            .get(&settings.workflow)
            .ok_or_else(|| format!("The workflow \"{}\" is missing.", settings.workflow))?;
        let backend = self.choose_backend(node, backend_id)?;
        let bridge = self.bridge.as_ref();
        let door = match bridge {
            Some(bridge) => bridge.open_door(&backend)?,
            None => None,
        };
        let url = door
            .as_ref()
            .map_or_else(|| backend.url.clone(), |door| door.url().clone());
        let (title, node_text) = (node.title.clone(), digest(&file.text));
        let order = self.order(node, file, &backend, url)?;
        let program = match &self.editors.program {
            Some(program) => program.clone(),
            None => program()?,
        };
        let waker = self.waker.as_deref().cloned();
        let process = EditorProcess::start(&program, order, move || {
            if let Some(waker) = &waker {
                waker.wake();
            }
        })?;
        self.editors.windows.insert(
            node_id,
            OpenEditor {
                process,
                _door: door,
                backend_name: backend.name,
                title,
                state: EditorState::Opening,
                node_text: Some(node_text),
                is_closing: false,
            },
        );
        self.editors.revision += 1;
        Ok(())
    }

    /// The backend whose page is opened: the wished one, else where the node ran last, else the first that answers; of
    /// those that have a page.
    fn choose_backend(
        &self,
        node: &Node,
        wished: Option<BackendId>,
    ) -> Result<BackendConfig, NotOpened> {
        let cards = &self.backends.cards;
        let answers = |backend_id: &BackendId| {
            cards
                .get(backend_id)
                .is_some_and(|card| card.status.state.answers())
        };
        let may_open = |backend_id: &BackendId| {
            answers(backend_id)
                && cards
                    .get(backend_id)
                    .is_some_and(|card| card.status.may_have_editor())
        };
        let ran_last = || {
            let placed = self.editors.ran_last.get(&node.id).copied();
            let earlier = self.runs.views.values().rev().find_map(|view| {
                view.items
                    .values()
                    .filter(|item| item.node_id == node.id)
                    .find_map(|item| item.backend_id.filter(may_open))
            });
            placed.filter(may_open).or(earlier)
        };
        let backend_id = match wished {
            Some(wished) if may_open(&wished) || !answers(&wished) => Some(wished),
            Some(wished) => {
                let name = cards.get(&wished).map(|card| card.status.name.clone());
                return Err(NotOpened::NoPage(name.into_iter().collect()));
            }
            None => ran_last().or_else(|| cards.keys().copied().find(|id| may_open(id))),
        };
        let Some(backend_id) = backend_id else {
            let names: Vec<String> = cards
                .iter()
                .filter(|(id, _)| answers(id))
                .map(|(_, card)| card.status.name.clone())
                .collect();
            return Err(if names.is_empty() {
                "No backend answers. Start ComfyUI on one, or add one under Machines.".into()
            } else {
                NotOpened::NoPage(names)
            });
        };
        self.bridge
            .as_ref()
            .and_then(|bridge| bridge.backend_config(backend_id))
            .ok_or_else(|| "This backend is not registered any more.".into())
    }

    fn order(
        &self,
        node: &Node,
        file: &WorkflowFile,
        backend: &BackendConfig,
        url: Url,
    ) -> Result<OpenWindow, String> {
        Ok(OpenWindow {
            url,
            node_title: node.title.clone(),
            backend_name: backend.name.clone(),
            workflow: editor_graph(&file.text, self.catalog.object_info())?,
            draft: self
                .draft_file(node.id)
                .and_then(|file| drafts::read_draft(&file)),
            profile_dir: self
                .own_folder()
                .join("profiles")
                .join(backend.id.to_string()),
            appearance: match self.settings.theme {
                ThemeMode::Dark => Appearance::Dark,
                ThemeMode::Light => Appearance::Light,
            },
            geometry: self.settings.editor_window.map(|geometry| {
                // Not right on top of the windows that are open.
                let shift = SHIFT_PER_WINDOW * self.editors.windows.len() as f64;
                WindowGeometry {
                    x: geometry.x + shift,
                    y: geometry.y + shift,
                    ..geometry
                }
            }),
        })
    }

    fn hear(&mut self, node_id: NodeId, message: FromWindow) {
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
            FromWindow::Failed { text } => self.offer_browser(node_id, first_upper(&text), None),
            FromWindow::Geometry(geometry) => self.settings.editor_window = Some(geometry),
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
}

/// A window's sentence begins small, for the log.
fn first_upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// A workflow in the form the page is given: the file as it is, or an API file laid out when the classes are known.
fn editor_graph(text: &str, object_info: Option<&ObjectInfo>) -> Result<EditorGraph, String> {
    let document = workflow::read(text.as_bytes()).map_err(|error| error.to_string())?;
    let raw = |value: &serde_json::Value| {
        serde_json::value::to_raw_value(value).map_err(|error| error.to_string())
    };
    match document {
        WorkflowDocument::Ui(workflow) => {
            // The very text, unless it holds what only Python takes for JSON.
            let text = text.trim_start_matches('\u{feff}').trim();
            match RawValue::from_string(text.to_owned()) {
                Ok(exact) => Ok(EditorGraph::Ui(exact)),
                Err(_) => {
                    raw(&serde_json::Value::Object(workflow.raw().clone())).map(EditorGraph::Ui)
                }
            }
        }
        WorkflowDocument::Api(prompt) => {
            let laid_out = object_info.and_then(|known| workflow::to_editor(&prompt, known).ok());
            match laid_out {
                Some(laid_out) => {
                    raw(&serde_json::Value::Object(laid_out.raw().clone())).map(EditorGraph::Ui)
                }
                None => serde_json::to_value(&prompt)
                    .map_err(|error| error.to_string())
                    .and_then(|prompt| raw(&prompt))
                    .map(EditorGraph::Api),
            }
        }
    }
}
