//! Opening the window of a node: on which backend, with what, and what is said when it cannot be.

use super::drafts::digest;
use super::{EditorState, EditorWorld, OpenEditor};
use crate::app::dialogs::in_browser::BrowserDialog;
use crate::app::toasts::Severity;
use crate::editor::message::{EditorGraph, OpenWindow, ToWindow};
use crate::editor::process::{EditorError, EditorProcess, program};
use crate::fleet::BackendConfig;
use crate::project::{BackendId, Node, NodeId, NodeKind, WorkflowFile};
use crate::workflow::{self, ObjectInfo, WorkflowDocument};
use serde_json::value::RawValue;
use url::Url;

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

impl EditorWorld<'_> {
    /// Says why there is no window, and offers the browser.
    pub(super) fn offer_browser(
        &mut self,
        node_id: NodeId,
        reason: String,
        remedy: Option<String>,
    ) {
        self.dialogs.in_browser = Some(BrowserDialog::Offered {
            node_id,
            backend_id: self.editors.opened_on.get(&node_id).copied(),
            title: self.title_of(node_id),
            reason,
            remedy,
        });
    }

    /// Opens the window of a node, or says why not.
    pub(super) fn open_or_tell(&mut self, node_id: NodeId, backend_id: Option<BackendId>) {
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
        self.editors.opened_on.insert(node_id, backend.id);
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
        let appearance = order.appearance;
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
                appearance,
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
                "No backend answers. Start ComfyUI, or add a backend under Machines.".into()
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
                .and_then(|file| self.editors.read_draft(&file)),
            profile_dir: self
                .own_folder()
                .join("profiles")
                .join(backend.id.to_string()),
            appearance: self.appearance(),
            geometry: self
                .settings
                .editor_places
                .next(node.id, self.editors.windows.keys().copied()),
        })
    }
}

/// A workflow in the form the page is given: the file as it is, or an API file laid out when the classes are known.
pub(super) fn editor_graph(
    text: &str,
    object_info: Option<&ObjectInfo>,
) -> Result<EditorGraph, String> {
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
