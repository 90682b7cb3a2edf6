//! Opening, saving, exporting, and keeping unsaved work safe.

use super::actions::Action;
use super::dialogs::{Dialogs, Prompt};
use super::document::{Document, SavedAs, Selection};
use super::editors::Editors;
use super::samples::SAMPLES;
use super::settings::{Folders, Settings};
use super::toasts::{Severity, Toasts};
use super::wake::Waker;
use crate::project::{NodeId, Project, ProjectId, read_portable_form};
use crate::store::project_folder::{self, Overwrite, ProjectFolderError, ProjectPlace};
use bevy::ecs::system::SystemParam;
use bevy::prelude::*;
use bevy::window::{WindowCloseRequested, WindowFocused};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a file is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilePurpose {
    /// To open a project.
    OpenProject,
    /// To save the project somewhere.
    SaveAs,
    /// To write the portable form.
    Export,
    /// To add a workflow.
    ImportWorkflow,
    /// To put the workflow in a file into the library.
    ImportIntoLibrary,
    /// To put all workflows of a folder into the library.
    ImportFolderIntoLibrary,
    /// To put another file in the place of this node's workflow.
    ReplaceWorkflow(NodeId),
    /// To name the file of an Input node.
    InputFile(NodeId),
}

/// Unsaved work is written beside the project this often, while there is any.
const AUTOSAVE_EVERY: Duration = Duration::from_secs(30);

/// What waits for the answer about unsaved changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Pending {
    /// A new project.
    New,
    /// Another project.
    Open(PathBuf),
    /// A sample.
    Sample(&'static str),
    /// A project that lies nowhere, as it was when a run began.
    Snapshot(Box<Project>),
    /// The end.
    Quit,
}

/// When unsaved work was kept last.
#[derive(Resource, Default)]
pub struct Autosave {
    revision: u64,
    due: Option<Instant>,
    /// Whether it is not waited for.
    is_urgent: bool,
    /// The revision that lies on the disk, with the project or beside it.
    safe_revision: u64,
    /// Tells other windows that the unsaved work of this project is being made right now.
    claim: Option<Claim>,
}

impl Autosave {
    /// Tells other windows that work in this folder is being made here.
    fn claim(&mut self, folder: &Path) {
        if !self.has_claimed(folder) {
            self.claim = Claim::take(folder);
        }
    }

    fn has_claimed(&self, folder: &Path) -> bool {
        let claimed = self.claim.as_ref().map(|claim| claim.folder.as_path());
        claimed == Some(folder)
    }

    /// Unsaved work is kept in this frame.
    pub fn at_once(&mut self) {
        self.is_urgent = true;
    }

    /// The latest revision of the document that lies on the disk, as the project or as unsaved work beside it.
    #[must_use]
    pub fn safe_revision(&self) -> u64 {
        self.safe_revision
    }
}

/// A locked file beside the recovery file of a project that is not saved yet.
struct Claim {
    folder: PathBuf,
    _locked: std::fs::File,
}

/// The name of that file.
const CLAIM_FILE: &str = "open.lock";

impl Claim {
    /// Claims a folder; none when another window has it, or when the file system cannot lock.
    fn take(folder: &Path) -> Option<Self> {
        let file = std::fs::File::create(folder.join(CLAIM_FILE)).ok()?;
        file.try_lock().ok()?;
        Some(Self {
            folder: folder.to_owned(),
            _locked: file,
        })
    }

    /// Whether a living window works in this folder.
    fn is_taken(folder: &Path) -> bool {
        std::fs::File::open(folder.join(CLAIM_FILE))
            .is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
    }
}

/// What file actions read and write.
#[derive(SystemParam)]
pub struct FileWorld<'w> {
    document: ResMut<'w, Document>,
    selection: ResMut<'w, Selection>,
    settings: ResMut<'w, Settings>,
    toasts: ResMut<'w, Toasts>,
    dialogs: ResMut<'w, Dialogs>,
    folders: Res<'w, Folders>,
    follow_up: ResMut<'w, FollowUp>,
    autosave: ResMut<'w, Autosave>,
    exit: MessageWriter<'w, AppExit>,
}

/// Actions that one of this module's systems asks for; written as messages in the next frame, so that no system reads its
/// own messages twice.
#[derive(Resource, Default)]
pub struct FollowUp(pub Vec<Action>);

/// Turns the follow-ups into messages.
pub fn send_follow_ups(mut follow_up: ResMut<FollowUp>, mut actions: MessageWriter<Action>) {
    if !follow_up.0.is_empty() {
        actions.write_batch(std::mem::take(&mut follow_up.0));
    }
}

/// Does what concerns files.
pub fn file_actions(mut actions: MessageReader<Action>, mut world: FileWorld) {
    for action in actions.read() {
        match action {
            Action::NewProject => world.unless_unsaved(Pending::New),
            Action::OpenProject => world.ask(FilePurpose::OpenProject),
            Action::OpenPath(path) => world.unless_unsaved(Pending::Open(path.clone())),
            Action::OpenSnapshot(project) => {
                world.unless_unsaved(Pending::Snapshot(project.clone()));
            }
            Action::OpenSample(id) => world.unless_unsaved(Pending::Sample(id)),
            Action::Quit => world.unless_unsaved(Pending::Quit),
            Action::Save => match world.document.saved().cloned() {
                Some(saved) => {
                    world.save(&saved.place, Overwrite::Unchanged(saved.stamp));
                }
                None => world.ask(FilePurpose::SaveAs),
            },
            Action::SaveAs => world.ask(FilePurpose::SaveAs),
            Action::SavePath(path) => {
                world.save(&ProjectPlace::for_saving(path), Overwrite::Nothing);
            }
            Action::ExportPortable => world.ask(FilePurpose::Export),
            Action::ExportPath(path) => world.export(path),
            Action::ImportWorkflow => world.ask(FilePurpose::ImportWorkflow),
            Action::ChooseReplacement => {
                let project = world.document.project();
                if let Some(node) = world.selection.workflow_node(project) {
                    world.ask(FilePurpose::ReplaceWorkflow(node));
                }
            }
            _ => {}
        }
    }
    // The answers of dialogs.
    if let Some(place) = world.dialogs.overwrite.take() {
        world.save(&place, Overwrite::Anything);
    }
    if let Some(project) = world.dialogs.recover.take() {
        let saved = world.document.saved().cloned();
        world.document.replace(*project, saved);
        world.document.mark_unsaved();
        world.claim_unsaved();
        world.follow_up.0.push(Action::ZoomToFit);
    }
    if let Some(place) = world.dialogs.discard_recovered.take()
        && let Err(error) = project_folder::discard_recovery(&place)
    {
        tracing::warn!(%error, "the recovery file stays");
    }
    if let Some(pending) = world.dialogs.take_confirmed() {
        world.go_on(pending);
    }
}

impl FileWorld<'_> {
    fn ask(&mut self, purpose: FilePurpose) {
        let name = self.document.project().name.clone();
        self.dialogs.files.ask_named(purpose, &self.settings, &name);
    }

    fn unless_unsaved(&mut self, pending: Pending) {
        if self.document.is_dirty() {
            self.dialogs.prompt = Some(Prompt::Unsaved(pending));
        } else {
            self.go_on(pending);
        }
    }

    fn go_on(&mut self, pending: Pending) {
        match pending {
            Pending::New => {
                self.discard_recovery();
                self.document
                    .replace(Project::new(ProjectId::new_now(), "Untitled"), None);
                *self.selection = Selection::default();
            }
            Pending::Open(path) => self.open(&path),
            Pending::Sample(id) => self.open_sample(id),
            Pending::Snapshot(project) => self.open_snapshot(*project),
            Pending::Quit => {
                self.discard_recovery();
                self.exit.write(AppExit::Success);
            }
        }
    }

    /// The person decided about the unsaved work: it need not be kept any more.
    fn discard_recovery(&mut self) {
        let place = recovery_place(&self.document, &self.folders);
        // Not while the question about that very work is open: the work is asked about again with its project.
        let asked = self.dialogs.prompt.take_if(
            |prompt| matches!(prompt, Prompt::Recovered { place: asked, .. } if *asked == place),
        );
        if asked.is_some() {
            return;
        }
        if let Some(place) = place
            && let Err(error) = project_folder::discard_recovery(&place)
        {
            tracing::warn!(%error, "the recovery file stays");
        }
    }

    fn open(&mut self, path: &Path) {
        match project_folder::open(path) {
            Ok(opened) => {
                self.discard_recovery();
                for skipped in &opened.skipped {
                    self.toasts.push(
                        Severity::Warning,
                        "A workflow file was left out",
                        &format!("{}: {}", skipped.path.display(), skipped.reason),
                    );
                }
                let recovery = project_folder::read_recovery(&opened.place);
                self.settings.remember_project(opened.place.path());
                self.document.replace(
                    opened.project,
                    Some(SavedAs {
                        place: opened.place,
                        stamp: opened.stamp,
                    }),
                );
                *self.selection = Selection::default();
                self.follow_up.0.push(Action::ZoomToFit);
                match recovery {
                    Ok(Some(recovery)) => {
                        let place = self.document.saved().map(|saved| saved.place.clone());
                        self.dialogs.prompt = Some(Prompt::Recovered {
                            project: Box::new(recovery.project),
                            place,
                        });
                    }
                    Ok(None) => {}
                    Err(error) => self.tell_unread(&error),
                }
            }
            Err(error) => {
                self.settings
                    .recent
                    .retain(|known| known != path || path.exists());
                self.toasts.push(
                    Severity::Error,
                    "The project was not opened",
                    &error.to_string(),
                );
            }
        }
    }

    /// Opens a project that is saved nowhere: the unsaved work that an earlier session left of it, else as it was when a run
    /// of it began.
    fn open_snapshot(&mut self, snapshot: Project) {
        let place = unsaved_place(snapshot.id, &self.folders);
        let is_elsewhere = place.as_ref().is_some_and(|place| {
            !self.autosave.has_claimed(place.folder()) && Claim::is_taken(place.folder())
        });
        if is_elsewhere {
            self.toasts.push(
                Severity::Warning,
                "The project is open in another window",
                &format!(
                    "\"{}\" was never saved, and another window works on it. Save it there first.",
                    snapshot.name
                ),
            );
            return;
        }
        // What is there is newer than any run of it, and would be written over.
        let left = place.map_or(Ok(None), |place| project_folder::read_recovery(&place));
        let (project, title, text) = match left {
            Ok(Some(recovery)) => (
                recovery.project,
                "Opened with its unsaved work",
                "The project was never saved. Save it to keep it.",
            ),
            Ok(None) => (
                snapshot,
                "Opened as it was when the run began",
                "The project itself was not found, or was never saved. Save it to keep it.",
            ),
            Err(error) => {
                self.toasts.push(
                    Severity::Error,
                    "The project was not opened",
                    &format!("Its unsaved work cannot be read, and would be written over. {error}"),
                );
                return;
            }
        };
        self.discard_recovery();
        self.document.replace(project, None);
        self.document.mark_unsaved();
        self.claim_unsaved();
        *self.selection = Selection::default();
        self.follow_up.0.push(Action::ZoomToFit);
        self.toasts.push(Severity::Info, title, text);
    }

    /// Unsaved work that was just opened is not offered to other windows.
    fn claim_unsaved(&mut self) {
        if self.document.saved().is_none()
            && let Some(place) = unsaved_place(self.document.project().id, &self.folders)
            && std::fs::create_dir_all(place.folder()).is_ok()
        {
            self.autosave.claim(place.folder());
        }
    }

    /// Unsaved work that cannot be read is left alone from now on.
    fn tell_unread(&mut self, error: &ProjectFolderError) {
        let Some(place) = recovery_place(&self.document, &self.folders) else {
            return;
        };
        let kept = match project_folder::set_recovery_aside(&place) {
            Ok(aside) => format!("It is kept as {}.", aside.display()),
            Err(problem) => format!("{problem}. The next unsaved work takes its place."),
        };
        self.toasts.push(
            Severity::Warning,
            "Unsaved work could not be read",
            &format!("{error} {kept}"),
        );
    }

    fn open_sample(&mut self, id: &str) {
        let Some(sample) = SAMPLES.iter().find(|sample| sample.id == id) else {
            return;
        };
        match read_portable_form(sample.portable.as_bytes()) {
            Ok(project) => {
                self.discard_recovery();
                self.document.replace(project, None);
                *self.selection = Selection::default();
                self.follow_up.0.push(Action::ZoomToFit);
            }
            Err(error) => self.toasts.push(
                Severity::Error,
                "The sample was not opened",
                &error.to_string(),
            ),
        }
    }

    fn save(&mut self, place: &ProjectPlace, overwrite: Overwrite) -> bool {
        let unsaved_place = recovery_place(&self.document, &self.folders);
        match project_folder::save(place, self.document.project(), &overwrite) {
            Ok(stamp) => {
                // Work that had no folder of its own had its recovery file elsewhere.
                if let Some(old) = unsaved_place.filter(|old| old.path() != place.path())
                    && let Err(error) = project_folder::discard_recovery(&old)
                {
                    tracing::warn!(%error, "the recovery file stays");
                }
                self.document.mark_saved(SavedAs {
                    place: place.clone(),
                    stamp,
                });
                self.dialogs.saved();
                self.settings.remember_project(place.path());
                self.settings.last_folder = place.path().parent().map(Path::to_owned);
                self.toasts.push(
                    Severity::Success,
                    "Saved",
                    &place.path().display().to_string(),
                );
                true
            }
            Err(error) => {
                self.dialogs.cancel_pending();
                if matches!(
                    error,
                    ProjectFolderError::ChangedOnDisk { .. } | ProjectFolderError::Exists { .. }
                ) {
                    self.dialogs.prompt = Some(Prompt::Overwrite {
                        place: place.clone(),
                        reason: error.to_string(),
                    });
                } else {
                    self.toasts.push(
                        Severity::Error,
                        "The project was not saved",
                        &error.to_string(),
                    );
                }
                false
            }
        }
    }

    fn export(&mut self, path: &Path) {
        let mut path = path.to_owned();
        let named = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().ends_with(".orchestrator.json"));
        if !named {
            let mut name = path.file_stem().unwrap_or_default().to_os_string();
            name.push(".orchestrator.json");
            path.set_file_name(name);
        }
        let place = ProjectPlace::for_saving(&path);
        match project_folder::save(&place, self.document.project(), &Overwrite::Anything) {
            Ok(_) => self
                .toasts
                .push(Severity::Success, "Exported", &path.display().to_string()),
            Err(error) => {
                self.toasts
                    .push(Severity::Error, "Nothing was exported", &error.to_string());
            }
        }
    }
}

/// Where the unsaved work of this document is kept: beside its file, or in our own folder for a new project.
fn recovery_place(document: &Document, folders: &Folders) -> Option<ProjectPlace> {
    match document.saved() {
        Some(saved) => Some(saved.place.clone()),
        None => unsaved_place(document.project().id, folders),
    }
}

/// Where the unsaved work of a project lies that has no file of its own.
fn unsaved_place(project_id: ProjectId, folders: &Folders) -> Option<ProjectPlace> {
    let folder = folders.unsaved()?.join(project_id.to_string());
    Some(ProjectPlace::Folder(folder))
}

/// Keeps unsaved work every 30 seconds while there is any, and when the window loses the focus.
pub fn autosave(
    document: Res<Document>,
    mut autosave: ResMut<Autosave>,
    mut focus: MessageReader<WindowFocused>,
    mut toasts: ResMut<Toasts>,
    folders: Res<Folders>,
    waker: Res<Waker>,
) {
    let own_place = unsaved_place(document.project().id, &folders);
    let is_own = |claim: &Claim| {
        document.saved().is_none()
            && own_place.as_ref().map(ProjectPlace::folder) == Some(&*claim.folder)
    };
    if autosave.claim.as_ref().is_some_and(|claim| !is_own(claim)) {
        // Another project is open here.
        autosave.claim = None;
    }
    let focus_lost = focus.read().any(|event| !event.focused);
    if !document.is_dirty() || autosave.revision == document.revision() {
        autosave.due = None;
        autosave.is_urgent = false;
        if !document.is_dirty() {
            autosave.safe_revision = document.revision();
        }
        return;
    }
    let is_urgent = std::mem::take(&mut autosave.is_urgent);
    let now = Instant::now();
    let due = *autosave.due.get_or_insert_with(|| {
        waker.wake_after(AUTOSAVE_EVERY + Duration::from_millis(100));
        now + AUTOSAVE_EVERY
    });
    if !focus_lost && !is_urgent && now < due {
        return;
    }
    autosave.due = None;
    autosave.revision = document.revision();
    if document.project().nodes.is_empty() && document.saved().is_none() {
        return;
    }
    let Some(place) = recovery_place(&document, &folders) else {
        return;
    };
    let written = std::fs::create_dir_all(place.folder())
        .map_err(|error| error.to_string())
        .and_then(|()| {
            project_folder::write_recovery(&place, document.project())
                .map_err(|error| error.to_string())
        });
    match written {
        Ok(()) => autosave.safe_revision = autosave.revision,
        Err(message) => toasts.push(
            Severity::Warning,
            "Unsaved work could not be kept safe",
            &message,
        ),
    }
    if document.saved().is_none() {
        autosave.claim(place.folder());
    }
}

/// Offers work that a crash left behind, when the program starts without a project. What another window is working on now
/// is not offered.
pub fn offer_recovered_work(
    document: Res<Document>,
    folders: Res<Folders>,
    mut dialogs: ResMut<Dialogs>,
) {
    if document.saved().is_some() || !document.project().nodes.is_empty() {
        return;
    }
    let Some(folder) = folders.unsaved() else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return;
    };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| !Claim::is_taken(&entry.path()))
        .filter_map(|entry| {
            let place = ProjectPlace::Folder(entry.path());
            let recovery = project_folder::read_recovery(&place).ok()??;
            let modified = entry.metadata().and_then(|meta| meta.modified()).ok();
            Some((modified, place, recovery.project))
        })
        .collect();
    found.sort_by_key(|(modified, ..)| *modified);
    if let Some((_, place, project)) = found.pop() {
        dialogs.prompt = Some(Prompt::Recovered {
            project: Box::new(project),
            place: Some(place),
        });
    }
}

/// Files let go over the window: what comes back from the browser is compared with the node it belongs to, everything else is
/// imported.
pub fn dropped_files(
    mut drops: MessageReader<bevy::window::FileDragAndDrop>,
    editors: Res<Editors>,
    document: Res<Document>,
    mut dialogs: ResMut<Dialogs>,
    mut actions: MessageWriter<Action>,
) {
    for drop in drops.read() {
        if let bevy::window::FileDragAndDrop::DroppedFile { path_buf, .. } = drop {
            let path = path_buf.clone();
            if let Some(node) = editors.brought_back(&path, document.project()) {
                dialogs.in_browser = None;
                actions.write(Action::CompareWorkflow { node, path });
                continue;
            }
            actions.write(Action::ImportFile {
                path,
                pos_world: None,
            });
        }
    }
}

/// The window's close button asks like the menu does.
pub fn close_requested(
    mut requests: MessageReader<WindowCloseRequested>,
    mut actions: MessageWriter<Action>,
) {
    if requests.read().next().is_some() {
        actions.write(Action::Quit);
    }
}

/// Where a run of this document writes and reads.
#[must_use]
pub fn run_folders(document: &Document, folders: &Folders) -> Option<crate::engine::RunFolders> {
    let base = match document.saved() {
        Some(saved) => saved.place.folder().to_owned(),
        None => folders.unsaved()?.join(document.project().id.to_string()),
    };
    Some(crate::engine::RunFolders {
        output: base.join("outputs"),
        inputs: base.join("inputs"),
    })
}
