//! Windows of ComfyUI's own editor, one per node at most: opened, heard, and asked to close with their document.

mod browser;
mod drafts;

use super::actions::Action;
use super::apply::free_workflow_name;
use super::bridge::{Backends, Bridge, RunViews};
use super::catalog::Catalog;
use super::dialogs::Dialogs;
use super::dialogs::in_browser::BrowserDialog;
use super::document::{Document, Selection};
use super::model::NodeEditing;
use super::replace_workflow::Replacement;
use super::settings::{Folders, Settings};
use super::theme::ThemeMode;
use super::toasts::{Severity, Toasts};
use super::wake::Waker;
use crate::editor::message::{
    Appearance, DraftFate, EditorGraph, FromWindow, OpenWindow, SaveAnswer, SaveTarget, Saved,
    ToWindow, WindowGeometry,
};
use crate::editor::process::{EditorError, EditorEvent, EditorProcess, program};
use crate::fleet::{BackendConfig, BackendState, Door};
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
    /// Nodes of which changes are kept that were not saved.
    kept: BTreeSet<NodeId>,
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
    state: EditorState,
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
        match self.windows.get(&node_id).map(|window| window.state) {
            Some(EditorState::Changed) => NodeEditing::Changed,
            Some(EditorState::Opening | EditorState::Open) => NodeEditing::Open,
            None if self.kept.contains(&node_id) => NodeEditing::Kept,
            None => NodeEditing::Not,
        }
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
pub struct EditorWorld<'w, 's> {
    own_window: Query<'w, 's, &'static mut Window, With<PrimaryWindow>>,
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
                    match world.open(node_id, *backend_id) {
                        Ok(()) => {}
                        Err(NotOpened::Refused(problem)) => world.toasts.push(
                            Severity::Warning,
                            "The editor was not opened",
                            &problem,
                        ),
                        Err(NotOpened::NoWindow(error)) => {
                            world.offer_browser(node_id, error.to_string(), error.remedy());
                        }
                    }
                }
            }
            Action::ReplaceWorkflow { node_id, file, .. } => {
                if file.page_prompt.is_some() {
                    // What was saved is with the node now; a window that has more says so again.
                    world.keep_draft(*node_id, None);
                }
                world.editors.answer(*node_id, SaveAnswer::Kept);
            }
            Action::WriteForBrowser { node_id } => world.write_for_browser(*node_id),
            Action::RefuseReplacement { node_id } => world.editors.answer(
                *node_id,
                SaveAnswer::Refused("Not taken: the node keeps its workflow".to_owned()),
            ),
            _ => {}
        }
    }
}

/// Hears every window.
pub fn hear_editors(mut world: EditorWorld, mut actions: MessageWriter<Action>) {
    let is_other = world.editors.generation != Some(world.document.generation());
    if is_other {
        world.look_for_kept_changes();
        world.editors.in_browser.clear();
    }
    if world.editors.windows.is_empty() {
        if is_other {
            world.editors.generation = Some(world.document.generation());
        }
        return;
    }
    let mut heard = Vec::new();
    for (node_id, window) in &world.editors.windows {
        while let Some(event) = window.process.poll() {
            heard.push((*node_id, event));
        }
    }
    for (node_id, event) in heard {
        match event {
            EditorEvent::Said(message) => world.hear(node_id, message, &mut actions),
            EditorEvent::Ended => {
                world.editors.windows.remove(&node_id);
                world.editors.revision += 1;
            }
            EditorEvent::NotStarted(error) => {
                world.editors.windows.remove(&node_id);
                world.editors.revision += 1;
                world.offer_browser(node_id, error.to_string(), error.remedy());
            }
            EditorEvent::Died(reason) => {
                world.editors.windows.remove(&node_id);
                world.editors.revision += 1;
                let kept = if world.draft_file(node_id).is_some_and(|file| file.exists()) {
                    " What was changed is kept and offered when you open the editor again."
                } else {
                    ""
                };
                let title = world.title_of(node_id);
                world.toasts.push(
                    Severity::Error,
                    &format!("The editor of \"{title}\" is gone"),
                    &format!("{reason}.{kept}"),
                );
            }
        }
    }
    let document = &world.document;
    for (node_id, window) in &world.editors.windows {
        if is_other || !document.project().nodes.contains_key(node_id) {
            let _ = window.process.send(ToWindow::Close);
        }
    }
    if is_other {
        world.editors.generation = Some(world.document.generation());
    }
}

impl EditorWorld<'_, '_> {
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
        self.document.project().nodes.get(&node_id).map_or_else(
            || "a node that is gone".to_owned(),
            |node| node.title.clone(),
        )
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
                state: EditorState::Opening,
            },
        );
        self.editors.revision += 1;
        Ok(())
    }

    /// The backend whose page is opened: the wished one, else where the node ran last, else the first that answers.
    fn choose_backend(
        &self,
        node: &Node,
        wished: Option<BackendId>,
    ) -> Result<BackendConfig, String> {
        let answers = |backend_id: &BackendId| {
            self.backends.cards.get(backend_id).is_some_and(|card| {
                matches!(
                    card.status.state,
                    BackendState::Online | BackendState::Busy | BackendState::Degraded
                )
            })
        };
        // Where most of the node's items of the last run were.
        let ran_last = || {
            let mut items_there: BTreeMap<BackendId, usize> = BTreeMap::new();
            for item in self.runs.shown_view()?.items.values() {
                if let Some(backend_id) = item.backend_id.filter(answers)
                    && item.node_id == node.id
                {
                    *items_there.entry(backend_id).or_default() += 1;
                }
            }
            let (backend_id, _) = items_there.into_iter().max_by_key(|(_, count)| *count)?;
            Some(backend_id)
        };
        let backend_id = wished
            .or_else(ran_last)
            .or_else(|| self.backends.cards.keys().copied().find(|id| answers(id)))
            .ok_or("No backend answers. Start ComfyUI on one, or add one under Machines.")?;
        self.bridge
            .as_ref()
            .and_then(|bridge| bridge.backend_config(backend_id))
            .ok_or_else(|| "This backend is not registered any more.".to_owned())
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

    fn hear(&mut self, node_id: NodeId, message: FromWindow, actions: &mut MessageWriter<Action>) {
        let title = self.title_of(node_id);
        match message {
            FromWindow::Hello { .. } => {}
            FromWindow::Loaded => self.set_state(node_id, EditorState::Open),
            FromWindow::Changed { draft } => {
                let state = match &draft {
                    Some(_) => EditorState::Changed,
                    None => EditorState::Open,
                };
                self.set_state(node_id, state);
                self.keep_draft(node_id, draft.as_deref());
            }
            FromWindow::Save(saved) => self.take(node_id, *saved, actions),
            FromWindow::Notice { text } => {
                self.toasts
                    .push(Severity::Info, &format!("Editor of \"{title}\""), &text);
            }
            FromWindow::Failed { text } => self.offer_browser(node_id, first_upper(&text), None),
            FromWindow::Geometry(geometry) => self.settings.editor_window = Some(geometry),
            FromWindow::Closed { draft } => {
                // What was saved on the way out is kept until the person has looked at it.
                if draft == DraftFate::Discard && !self.asks_about(node_id) {
                    self.keep_draft(node_id, None);
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

    /// Whether the app shows what saving this node's workflow changes.
    fn asks_about(&self, node_id: NodeId) -> bool {
        let shown = self.dialogs.replacement.as_ref();
        shown.is_some_and(|dialog| dialog.node_id() == node_id)
    }

    /// What a window saves: shown before it replaces anything, or kept as a new workflow at once.
    fn take(&mut self, node_id: NodeId, saved: Saved, actions: &mut MessageWriter<Action>) {
        // A page may say what it likes: only a prompt is kept as one.
        let page_prompt = match workflow::read(saved.prompt.get().as_bytes()) {
            Ok(WorkflowDocument::Api(_)) => Some(saved.prompt.get().into()),
            _ => None,
        };
        let file = WorkflowFile {
            text: saved.workflow.get().into(),
            page_prompt,
        };
        match saved.target {
            SaveTarget::NewWorkflow => {
                // The name it gets in the project is its name in the library too, so that it is no version of this one.
                let name = free_workflow_name(self.document.project(), &self.title_of(node_id));
                actions.write(Action::AddWorkflow {
                    name: name.to_string(),
                    file,
                });
                self.editors.answer(node_id, SaveAnswer::Kept);
            }
            SaveTarget::Node if self.dialogs.replacement.is_some() && !self.asks_about(node_id) => {
                self.keep_draft(node_id, Some(&saved.workflow));
                self.editors.answer(
                    node_id,
                    SaveAnswer::Refused(
                        "The app asks about another workflow first; answer there, then save again"
                            .to_owned(),
                    ),
                );
            }
            SaveTarget::Node => {
                // Until the person has looked at it, it is kept as what the window shows: the app may be closed meanwhile.
                self.keep_draft(node_id, Some(&saved.workflow));
                let plan = Replacement::plan(
                    self.document.project(),
                    node_id,
                    file,
                    self.catalog.object_info(),
                );
                match plan {
                    Ok(replacement) => {
                        self.editors.answer(node_id, SaveAnswer::InReview);
                        self.dialogs.replacement = Some(replacement.into());
                        // The person is in the editor's window, and the question is here.
                        if let Ok(mut window) = self.own_window.single_mut() {
                            window.focused = true;
                        }
                    }
                    Err(error) => self
                        .editors
                        .answer(node_id, SaveAnswer::Refused(error.to_string())),
                }
            }
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
