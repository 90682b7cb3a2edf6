//! The library of workflows as the window sees it, read and changed by a thread of its own.
//!
//! The thread also asks backends for what people saved there, decodes the small pictures of the list, and reads at the start
//! what backends of earlier sessions said of their node classes.

mod librarian;

use self::librarian::answer_to;
use super::{Backends, Bridge, RunEventMessage};
use crate::app::actions::{Action, NewNode};
use crate::app::apply::free_workflow_name;
use crate::app::catalog::Catalog;
use crate::app::dialogs::Dialogs;
use crate::app::dialogs::library::LibraryDialog;
use crate::app::document::Document;
use crate::app::files::FilePurpose;
use crate::app::library::{ImportKind, LibraryWish};
use crate::app::replace_workflow::Reach;
use crate::app::settings::Settings;
use crate::app::shell::ShellState;
use crate::app::toasts::{Severity, Toasts};
use crate::app::wake::Waker;
use crate::artifacts::ContentHash;
use crate::engine::{EngineHandle, RunEventBody};
use crate::fleet::{BackendConfig, SaveMode};
use crate::project::{BackendId, NodeId, NodeKind, WorkflowFile, WorkflowName};
pub use crate::store::LibraryEntry;
use crate::store::{LibraryQuery, LibraryVersion, LibraryWorkflowId};
use crate::workflow::ObjectInfo;
use bevy::ecs::system::SystemParam;
use bevy::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

/// Questions that may wait.
const QUESTIONS: usize = 256;
/// Most small pictures that one list brings along.
const MAX_THUMBNAILS: usize = 200;
/// Small pictures that are kept from earlier lists, at most 36 KiB each.
const MAX_KEPT_THUMBNAILS: usize = 1_000;
/// Longer side of a small picture, pixels.
const THUMBNAIL_PX: u32 = 96;
/// Files that could not be read that are named one by one.
const MAX_FAULTS: usize = 4;
/// Differences to the present version that are told one by one.
const MAX_DIFFERENCES: usize = 12;

/// What the thread is asked.
enum Question {
    List(LibraryQuery),
    Thumbnail(ContentHash),
    RememberedClasses,
    Versions(LibraryWorkflowId, Option<Arc<ObjectInfo>>),
    Read(LibraryWorkflowId, Option<u32>, ReadFor),
    Restore(LibraryWorkflowId, u32),
    Keep(Box<Keep>),
    Describe {
        workflow_id: LibraryWorkflowId,
        folder: String,
        name: String,
        tags: Vec<String>,
    },
    Remove(LibraryWorkflowId),
    Import(PathBuf),
    ListSaved(Box<BackendConfig>),
    Pull(Box<BackendConfig>, Vec<String>),
    Push(LibraryWorkflowId, Box<BackendConfig>, SaveMode),
}

/// A workflow of the project that is put into the library.
struct Keep {
    kept_as: KeptAs,
    file: WorkflowFile,
    folder: String,
    name: String,
    is_told: bool,
}

/// What a workflow becomes in the library.
enum KeptAs {
    /// A workflow of its own.
    New,
    /// A new version of the workflow of the library that has this text. Where none has, this text is the first version.
    VersionOf(WorkflowFile),
    /// A workflow of its own beside the one that has this text, which is its first version.
    Beside(WorkflowFile),
}

/// What a workflow is read for.
#[derive(Clone, Copy)]
enum ReadFor {
    Node { pos_world: Option<[f32; 2]> },
    Comparison { node_id: NodeId },
}

/// What it answers.
enum Answer {
    List(Box<Listed>),
    Thumbnail(ContentHash, Option<Thumbnail>),
    RememberedClasses(Arc<ObjectInfo>, BTreeMap<BackendId, Arc<ObjectInfo>>),
    Versions(LibraryWorkflowId, Vec<VersionRow>),
    Read(LibraryEntry, WorkflowFile, ReadFor),
    /// Something changed: the list is read again.
    Changed(Option<(Severity, String, String)>),
    Saved(BackendId, Result<Vec<String>, String>),
    Pushed(BackendId, String),
    NameTaken(LibraryWorkflowId, BackendId, String),
    Failed(&'static str, String),
}

struct Listed {
    entries: Vec<LibraryEntry>,
    tags: BTreeSet<String>,
    total: usize,
}

/// A small picture.
#[derive(Clone, Debug)]
pub struct Thumbnail {
    /// Width and height, pixels.
    pub size_px: [usize; 2],
    /// RGBA, row by row.
    pub rgba: Vec<u8>,
}

/// A version as it is shown.
#[derive(Clone, Debug)]
pub struct VersionRow {
    /// Number and time.
    pub version: LibraryVersion,
    /// How the present version differs from it in what runs, in words; none where one of them cannot be read.
    pub differences: Option<Differences>,
}

/// How two versions differ.
#[derive(Clone, Debug)]
pub struct Differences {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub first: Vec<String>,
}

/// What is saved on a backend.
#[derive(Clone, Debug)]
pub enum SavedThere {
    /// It is being asked.
    Asked,
    /// The paths.
    Paths(Vec<String>),
    /// Why that is not known.
    Failed(String),
}

/// The library as the window sees it.
#[derive(Resource)]
pub struct Library {
    /// The workflows that fit the search, by folder and name.
    pub entries: Vec<LibraryEntry>,
    /// Every tag there is.
    pub tags: BTreeSet<String>,
    /// How many workflows there are in all.
    pub total: usize,
    /// Small pictures of what they make; none where there is none any more.
    pub thumbnails: HashMap<ContentHash, Option<Thumbnail>>,
    /// The versions that were asked for last.
    pub versions: Option<(LibraryWorkflowId, Vec<VersionRow>)>,
    /// What is saved on backends.
    pub saved: BTreeMap<BackendId, SavedThere>,
    /// Questions whose answers are awaited.
    pub pending: usize,
    query: LibraryQuery,
    thumbnails_asked: HashSet<ContentHash>,
    questions: mpsc::SyncSender<Question>,
    answers: Mutex<mpsc::Receiver<Answer>>,
}

impl Library {
    /// Starts the thread, and asks for the list and for the node classes that are remembered.
    pub(super) fn start(engine: EngineHandle, waker: Waker) -> Self {
        let (questions, questions_there) = mpsc::sync_channel(QUESTIONS);
        let (answer, answers) = mpsc::sync_channel(QUESTIONS);
        let spawned = std::thread::Builder::new()
            .name("library".to_owned())
            .spawn(move || {
                // Ends when the window drops its ends.
                while let Ok(question) = questions_there.recv() {
                    if answer.send(answer_to(&engine, question)).is_err() {
                        break;
                    }
                    waker.wake();
                }
            });
        if let Err(error) = spawned {
            error!("No thread for the library: {error}. It is not shown.");
        }
        let mut library = Self {
            entries: Vec::new(),
            tags: BTreeSet::new(),
            total: 0,
            thumbnails: HashMap::new(),
            versions: None,
            saved: BTreeMap::new(),
            pending: 0,
            query: LibraryQuery::default(),
            thumbnails_asked: HashSet::new(),
            questions,
            answers: Mutex::new(answers),
        };
        library.ask(Question::RememberedClasses);
        library.refresh();
        library
    }

    /// Whether something is being asked or done.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pending > 0
    }

    /// A workflow of the list.
    #[must_use]
    pub fn entry(&self, workflow_id: LibraryWorkflowId) -> Option<&LibraryEntry> {
        self.entries
            .iter()
            .find(|entry| entry.workflow_id == workflow_id)
    }

    fn ask(&mut self, question: Question) -> bool {
        let is_taken = self.questions.try_send(question).is_ok();
        if is_taken {
            self.pending += 1;
        }
        is_taken
    }

    fn refresh(&mut self) {
        // Full: a list is on its way already.
        self.ask(Question::List(self.query.clone()));
    }
}

/// What the wishes about the library read and write.
#[derive(SystemParam)]
pub struct LibraryWorld<'w> {
    library: Option<ResMut<'w, Library>>,
    document: Res<'w, Document>,
    catalog: Res<'w, Catalog>,
    settings: Res<'w, Settings>,
    state: Res<'w, ShellState>,
    dialogs: ResMut<'w, Dialogs>,
    toasts: ResMut<'w, Toasts>,
    backends: Res<'w, Backends>,
    bridge: Option<Res<'w, Bridge>>,
}

/// Passes wishes on to the thread. Runs before the document changes: what is saved into a node becomes a new version of the
/// workflow that the node has until then.
pub fn library_wishes(
    mut actions: MessageReader<Action>,
    mut run_events: MessageReader<RunEventMessage>,
    mut world: LibraryWorld,
) {
    let Some(mut library) = world.library.take() else {
        return;
    };
    let query = LibraryQuery {
        words: world.state.library_search.clone(),
        tag: world.state.library_tag.clone(),
        folder: None,
    };
    let has_new_pictures = run_events.read().any(|event| {
        matches!(&event.0.body, RunEventBody::RunStateChanged { state } if state.is_ended())
    });
    if library.query != query {
        library.query = query;
        library.refresh();
    } else if has_new_pictures {
        library.refresh();
    }
    for action in actions.read() {
        let question = match action {
            Action::Library(wish) => world.question_of(wish, &mut library),
            Action::AddNode {
                node: NewNode::FromLibrary(workflow_id),
                pos_world,
                ..
            } => Some(Question::Read(
                *workflow_id,
                None,
                ReadFor::Node {
                    pos_world: *pos_world,
                },
            )),
            Action::ReplaceWorkflow {
                node_id,
                file,
                reach,
                ..
            } if file.page_prompt.is_some() => world.keep_of_node(*node_id, file, *reach),
            Action::AddWorkflow { name, file } if file.page_prompt.is_some() => {
                Some(Question::Keep(Box::new(Keep {
                    kept_as: KeptAs::New,
                    file: file.clone(),
                    folder: world.folder_of_project(),
                    name: name.clone(),
                    is_told: false,
                })))
            }
            _ => None,
        };
        if let Some(question) = question
            && !library.ask(question)
        {
            world.toasts.push(
                Severity::Warning,
                "The library is busy",
                "Try again in a moment.",
            );
        }
    }
}

impl LibraryWorld<'_> {
    fn question_of(&mut self, wish: &LibraryWish, library: &mut Library) -> Option<Question> {
        Some(match wish {
            LibraryWish::ChooseImport(kind) => {
                let purpose = match kind {
                    ImportKind::File => FilePurpose::ImportIntoLibrary,
                    ImportKind::Folder => FilePurpose::ImportFolderIntoLibrary,
                };
                self.dialogs.files.ask(purpose, &self.settings);
                return None;
            }
            LibraryWish::Import(path) => Question::Import(path.clone()),
            LibraryWish::KeepProjectWorkflow(name) => self.keep_of_project(name)?,
            LibraryWish::AddNode {
                workflow_id,
                version,
                pos_world,
            } => Question::Read(
                *workflow_id,
                *version,
                ReadFor::Node {
                    pos_world: *pos_world,
                },
            ),
            LibraryWish::CompareWithNode {
                workflow_id,
                node_id,
            } => Question::Read(
                *workflow_id,
                None,
                ReadFor::Comparison { node_id: *node_id },
            ),
            LibraryWish::ShowVersions(workflow_id) => {
                library.versions = None;
                self.dialogs.library = Some(LibraryDialog::Versions(*workflow_id));
                Question::Versions(*workflow_id, self.catalog.shared_object_info())
            }
            LibraryWish::Restore {
                workflow_id,
                version,
            } => Question::Restore(*workflow_id, *version),
            LibraryWish::ShowDetails(workflow_id) => {
                self.dialogs.library = library.entry(*workflow_id).map(LibraryDialog::details);
                return None;
            }
            LibraryWish::Describe {
                workflow_id,
                folder,
                name,
                tags,
            } => Question::Describe {
                workflow_id: *workflow_id,
                folder: folder.clone(),
                name: name.clone(),
                tags: tags.clone(),
            },
            LibraryWish::Remove(workflow_id) => Question::Remove(*workflow_id),
            LibraryWish::ShowBackends => {
                // With one backend there is nothing to choose.
                let mut backends = self.backends.cards.keys();
                let only = match (backends.next(), backends.next()) {
                    (Some(backend_id), None) => Some(*backend_id),
                    _ => None,
                };
                self.dialogs.library = Some(LibraryDialog::backends(only));
                let backend_id = only?;
                library.saved.insert(backend_id, SavedThere::Asked);
                Question::ListSaved(self.backend(backend_id)?)
            }
            LibraryWish::ListSaved(backend_id) => {
                library.saved.insert(*backend_id, SavedThere::Asked);
                Question::ListSaved(self.backend(*backend_id)?)
            }
            LibraryWish::Pull { backend_id, paths } => {
                Question::Pull(self.backend(*backend_id)?, paths.clone())
            }
            LibraryWish::Push {
                workflow_id,
                backend_id,
                mode,
            } => Question::Push(*workflow_id, self.backend(*backend_id)?, *mode),
        })
    }

    fn backend(&mut self, backend_id: BackendId) -> Option<Box<BackendConfig>> {
        let config = self
            .bridge
            .as_ref()
            .and_then(|bridge| bridge.backend_config(backend_id));
        if config.is_none() {
            self.toasts.push(
                Severity::Warning,
                "This backend is not registered any more",
                "",
            );
        }
        config.map(Box::new)
    }

    /// Where workflows of this project lie in the library unless they came from another place of it.
    fn folder_of_project(&self) -> String {
        format!("Projects/{}", one_name(&self.document.project().name))
    }

    fn keep_of_node(&self, node_id: NodeId, file: &WorkflowFile, reach: Reach) -> Option<Question> {
        let project = self.document.project();
        let NodeKind::Workflow(settings) = &project.nodes.get(&node_id)?.kind else {
            return None;
        };
        let before = project.workflows.get(&settings.workflow)?;
        let is_shared = project.nodes.values().any(|other| {
            other.id != node_id
                && matches!(&other.kind, NodeKind::Workflow(other) if other.workflow == settings.workflow)
        });
        // Then the node gets a workflow of its own, under the same name that the document gives it.
        let is_apart = is_shared && reach == Reach::ThisNode;
        let name = if is_apart {
            free_workflow_name(project, settings.workflow.as_str())
        } else {
            settings.workflow.clone()
        };
        Some(Question::Keep(Box::new(Keep {
            kept_as: if is_apart {
                KeptAs::Beside(before.clone())
            } else {
                KeptAs::VersionOf(before.clone())
            },
            file: file.clone(),
            folder: self.folder_of_project(),
            name: name.to_string(),
            is_told: false,
        })))
    }

    fn keep_of_project(&self, name: &WorkflowName) -> Option<Question> {
        let file = self.document.project().workflows.get(name)?;
        Some(Question::Keep(Box::new(Keep {
            kept_as: KeptAs::New,
            file: file.clone(),
            folder: self.folder_of_project(),
            name: name.to_string(),
            is_told: true,
        })))
    }
}

/// A name as one folder.
fn one_name(name: &str) -> String {
    let name = name.replace(['/', '\\'], "_");
    let name = name.trim().trim_matches('.');
    if name.is_empty() {
        "Untitled".to_owned()
    } else {
        name.to_owned()
    }
}

/// Takes over what the thread answers.
pub fn library_answers(
    library: Option<ResMut<Library>>,
    mut catalog: ResMut<Catalog>,
    mut dialogs: ResMut<Dialogs>,
    mut toasts: ResMut<Toasts>,
    mut actions: MessageWriter<Action>,
) {
    let Some(mut library) = library else { return };
    loop {
        let answer = match library.bypass_change_detection().answers.get_mut() {
            Ok(answers) => answers.try_recv(),
            Err(_) => return,
        };
        let Ok(answer) = answer else { return };
        library.pending = library.pending.saturating_sub(1);
        match answer {
            Answer::List(listed) => {
                library.entries = listed.entries;
                library.tags = listed.tags;
                library.total = listed.total;
                if library.thumbnails.len() > MAX_KEPT_THUMBNAILS {
                    library.thumbnails.clear();
                    library.thumbnails_asked.clear();
                }
                let hashes: Vec<ContentHash> = library
                    .entries
                    .iter()
                    .filter_map(|entry| entry.thumbnail)
                    .take(MAX_THUMBNAILS)
                    .collect();
                for hash in hashes {
                    if library.thumbnails_asked.insert(hash)
                        && !library.ask(Question::Thumbnail(hash))
                    {
                        // The next list asks again.
                        library.thumbnails_asked.remove(&hash);
                    }
                }
            }
            Answer::Thumbnail(hash, picture) => {
                library.thumbnails.insert(hash, picture);
            }
            Answer::RememberedClasses(together, by_backend) => {
                catalog.set_remembered(together, by_backend);
            }
            Answer::Versions(workflow_id, rows) => library.versions = Some((workflow_id, rows)),
            Answer::Read(entry, file, ReadFor::Node { pos_world }) => {
                actions.write(Action::AddWorkflowNode {
                    name: entry.name,
                    file,
                    pos_world,
                });
            }
            Answer::Read(_, file, ReadFor::Comparison { node_id }) => {
                actions.write(Action::CompareWithNode {
                    node: node_id,
                    file,
                });
            }
            Answer::Changed(words) => {
                if let Some((severity, title, text)) = words {
                    toasts.push(severity, &title, &text);
                }
                library.refresh();
            }
            Answer::Saved(backend_id, saved) => {
                let saved = match saved {
                    Ok(paths) => SavedThere::Paths(paths),
                    Err(message) => SavedThere::Failed(message),
                };
                library.saved.insert(backend_id, saved);
            }
            Answer::Pushed(backend_id, path) => {
                library.saved.remove(&backend_id);
                toasts.push(Severity::Success, "Saved on the backend", &path);
            }
            Answer::NameTaken(workflow_id, backend_id, message) => {
                dialogs.library = Some(LibraryDialog::ReplaceThere {
                    workflow_id,
                    backend_id,
                    message,
                });
            }
            Answer::Failed(title, message) => toasts.push(Severity::Warning, title, &message),
        }
    }
}
