//! Project folders and portable project files on disk: open, save without loss, earlier versions, recovery.
//!
//! A project folder holds `project.ron`, `workflows/NAME.json`, `.versions/` and, while work is not saved, a recovery
//! file. It may lie on a network share, so there is no database and no lock in it. Every file is written beside its place
//! and renamed into it. What cannot be read is never overwritten. Calls block; callers give them a thread.

mod atomic;
mod error;
mod place;
mod versions;

pub use error::ProjectFolderError;
pub use place::ProjectPlace;
pub use versions::{KEPT_VERSIONS, Version, read_version, versions};

use crate::project::{
    FormatError, MAX_PROJECT_BYTES, Project, WorkflowFile, WorkflowName, read_folder_form,
    read_portable_form, with_page_prompt, write_folder_form, write_page_prompt,
    write_portable_form,
};
use crate::workflow::MAX_WORKFLOW_BYTES;
use atomic::{ensure_folder, file_names, read_if_there, remove_file, write_file};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Most workflow files that one project folder may hold.
pub const MAX_WORKFLOW_FILES: usize = 10_000;

/// Most bytes of a prompt that ComfyUI's page made, as it is kept: escaped, it may be twice as long as it is.
const MAX_PAGE_PROMPT_BYTES: usize = 2 * MAX_WORKFLOW_BYTES;

/// Most bytes of all workflow files of a project together.
pub const MAX_ALL_WORKFLOW_BYTES: usize = 1024 * 1024 * 1024;

/// A project as it lies on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenedProject {
    /// Where it lies.
    pub place: ProjectPlace,
    /// What it holds.
    pub project: Project,
    /// What was read, for the next save to notice changes by others.
    pub stamp: DiskStamp,
    /// Files in `workflows/` that could not be used. They stay untouched.
    pub skipped: Vec<SkippedFile>,
}

/// A file in `workflows/` that is not part of the opened project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedFile {
    /// The file.
    pub path: PathBuf,
    /// Why, as a sentence.
    pub reason: String,
}

/// Hashes of the files of a project as they were read or written last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskStamp {
    main: blake3::Hash,
    workflows: BTreeMap<WorkflowName, blake3::Hash>,
}

/// What a save may replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Nothing: there must be no project yet.
    Nothing,
    /// The project as it was when it was opened or saved last. If someone else changed it since, the save is refused.
    Unchanged(DiskStamp),
    /// Whatever project is there, if it can be read; the person was asked. Workflow files that this project does not
    /// have stay.
    Anything,
}

/// Work that was not saved when the program ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// The document as it was.
    pub project: Project,
    /// When it was written; none where the file system does not tell.
    pub modified: Option<SystemTime>,
}

/// Opens the project at `path`: a project folder, its `project.ron`, or a portable `.orchestrator.json`.
pub fn open(path: &Path) -> Result<OpenedProject, ProjectFolderError> {
    let place = ProjectPlace::find(path)?;
    let main = place.main_file();
    read(&place)?.ok_or(ProjectFolderError::NotFound { path: main })
}

/// Saves a project. The state that it replaces becomes a version (the last [`KEPT_VERSIONS`] are kept), and the recovery
/// file goes. Returns the stamp for the next save.
pub fn save(
    place: &ProjectPlace,
    project: &Project,
    overwrite: &Overwrite,
) -> Result<DiskStamp, ProjectFolderError> {
    let main = place.main_file();
    let text = match place {
        ProjectPlace::Folder(_) => write_folder_form(project),
        ProjectPlace::Portable(_) => write_portable_form(project),
    }
    .map_err(|source| ProjectFolderError::Unwritable {
        path: main.clone(),
        source,
    })?;
    ensure_folder(place.folder())?;
    let before = read(place).map_err(|reason| ProjectFolderError::NotOverwritten {
        path: main.clone(),
        reason: Box::new(reason),
    })?;
    match (&before, overwrite) {
        (Some(_), Overwrite::Nothing) => {
            return Err(ProjectFolderError::Exists { path: main });
        }
        (Some(before), Overwrite::Unchanged(stamp)) if before.stamp.main != stamp.main => {
            return Err(ProjectFolderError::ChangedOnDisk { path: main });
        }
        _ => {}
    }
    let known = match overwrite {
        Overwrite::Unchanged(stamp) => Some(&stamp.workflows),
        Overwrite::Nothing | Overwrite::Anything => None,
    };
    let changes = match place {
        ProjectPlace::Folder(_) => workflow_changes(place, project, before.as_ref(), known)?,
        // Embedded: the main file holds them.
        ProjectPlace::Portable(_) => WorkflowChanges::default(),
    };
    if let Some(before) = &before
        && before.project != *project
    {
        versions::keep(place, &before.project)?;
    }
    for (name, text) in &changes.write {
        let path = place.workflow_file(name);
        if let Some(folder) = path.parent() {
            ensure_folder(folder)?;
        }
        write_file(&path, text.as_bytes())?;
    }
    let stamp = DiskStamp {
        main: blake3::hash(text.as_bytes()),
        workflows: hashes(&project.workflows),
    };
    let main_differs = before
        .as_ref()
        .is_none_or(|before| before.stamp.main != stamp.main);
    if let ProjectPlace::Folder(_) = place {
        let before = before.map(|before| before.project.workflows);
        write_page_prompts(place, project, &before.unwrap_or_default(), &changes)?;
    }
    if main_differs {
        write_file(&main, text.as_bytes())?;
    }
    for name in &changes.remove {
        remove_file(&place.workflow_file(name))?;
        remove_file(&place.page_prompt_file(name))?;
    }
    discard_recovery(place)?;
    Ok(stamp)
}

/// Writes the document to the recovery file of its place, beside the saved state.
pub fn write_recovery(place: &ProjectPlace, project: &Project) -> Result<(), ProjectFolderError> {
    let path = place.recovery_file();
    let text = write_portable_form(project).map_err(|source| ProjectFolderError::Unwritable {
        path: path.clone(),
        source,
    })?;
    ensure_folder(place.folder())?;
    write_file(&path, text.as_bytes())
}

/// What the recovery file of a place holds: unsaved work, if there is a file. One that cannot be read stays where it is.
pub fn read_recovery(place: &ProjectPlace) -> Result<Option<Recovery>, ProjectFolderError> {
    let path = place.recovery_file();
    let Some(bytes) = read_if_there(&path, MAX_PROJECT_BYTES)? else {
        return Ok(None);
    };
    let project = read_portable_form(&bytes).map_err(|source| bad_format(&path, source))?;
    let modified = std::fs::metadata(&path)
        .and_then(|metadata| metadata.modified())
        .ok();
    Ok(Some(Recovery { project, modified }))
}

/// Gives a recovery file that cannot be read another name, so that nothing is written over it. Gives its new place.
///
/// # Errors
/// [`ProjectFolderError::Io`].
pub fn set_recovery_aside(place: &ProjectPlace) -> Result<PathBuf, ProjectFolderError> {
    let path = place.recovery_file();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut aside = path.with_file_name(format!("{name}.unread"));
    let mut number = 2;
    while aside.exists() {
        aside = path.with_file_name(format!("{name}.unread-{number}"));
        number += 1;
    }
    match std::fs::rename(&path, &aside) {
        Ok(()) => Ok(aside),
        Err(source) => Err(ProjectFolderError::Io {
            action: "rename",
            path,
            source,
        }),
    }
}

/// Removes the recovery file of a place, if there is one.
pub fn discard_recovery(place: &ProjectPlace) -> Result<(), ProjectFolderError> {
    remove_file(&place.recovery_file())
}

/// Reads what lies at a place; none when there is no project yet.
fn read(place: &ProjectPlace) -> Result<Option<OpenedProject>, ProjectFolderError> {
    let main = place.main_file();
    let Some(bytes) = read_if_there(&main, MAX_PROJECT_BYTES)? else {
        return Ok(None);
    };
    let (project, skipped) = match place {
        ProjectPlace::Folder(_) => {
            let (workflows, skipped) = read_workflows(place)?;
            (read_folder_form(&bytes, workflows), skipped)
        }
        ProjectPlace::Portable(_) => (read_portable_form(&bytes), Vec::new()),
    };
    let project = project.map_err(|source| bad_format(&main, source))?;
    let stamp = DiskStamp {
        main: blake3::hash(&bytes),
        workflows: hashes(&project.workflows),
    };
    Ok(Some(OpenedProject {
        place: place.clone(),
        project,
        stamp,
        skipped,
    }))
}

type Workflows = BTreeMap<WorkflowName, WorkflowFile>;

/// Every usable file in `workflows/`, and why the others are not.
fn read_workflows(
    place: &ProjectPlace,
) -> Result<(Workflows, Vec<SkippedFile>), ProjectFolderError> {
    let folder = place.workflows_folder();
    let mut workflows = Workflows::new();
    let mut skipped = Vec::new();
    let mut all_bytes = 0;
    for file_name in file_names(&folder)? {
        let path = folder.join(&file_name);
        let Some(stem) = file_name
            .to_str()
            .and_then(|name| name.strip_suffix(".json"))
        else {
            continue;
        };
        let read = if workflows.len() == MAX_WORKFLOW_FILES || all_bytes > MAX_ALL_WORKFLOW_BYTES {
            Err(format!(
                "a project holds at most {MAX_WORKFLOW_FILES} workflows and {MAX_ALL_WORKFLOW_BYTES} bytes of them"
            ))
        } else {
            read_workflow(&path, stem)
        };
        match read {
            Ok((name, text)) => {
                all_bytes += text.len();
                let file = WorkflowFile::new(text);
                // One that cannot be read is as good as none: the workflow itself says what runs.
                let kept = read_if_there(&place.page_prompt_file(&name), MAX_PAGE_PROMPT_BYTES);
                let file = match kept {
                    Ok(Some(kept)) => with_page_prompt(file, &kept),
                    _ => file,
                };
                all_bytes += file.page_prompt.as_ref().map_or(0, |prompt| prompt.len());
                workflows.insert(name, file);
            }
            Err(reason) => skipped.push(SkippedFile { path, reason }),
        }
    }
    Ok((workflows, skipped))
}

fn read_workflow(path: &Path, stem: &str) -> Result<(WorkflowName, Arc<str>), String> {
    let name = WorkflowName::try_from(stem.to_owned())?;
    let bytes = read_if_there(path, MAX_WORKFLOW_BYTES)
        .map_err(|error| error.to_string())?
        .ok_or("it is gone")?;
    let text = String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 text ({error}); export it from ComfyUI again"))?;
    Ok((name, text.into()))
}

/// Brings the prompts that ComfyUI's page made up to date with the workflows of the project.
fn write_page_prompts(
    place: &ProjectPlace,
    project: &Project,
    before: &Workflows,
    changes: &WorkflowChanges,
) -> Result<(), ProjectFolderError> {
    for (name, file) in &project.workflows {
        let there = before.get(name);
        let is_written = changes.write.iter().any(|(written, _)| written == name);
        // Either nothing is new, or what somebody else changed there is kept.
        if there == Some(file)
            || (there.is_some_and(|there| there.text != file.text) && !is_written)
        {
            continue;
        }
        let path = place.page_prompt_file(name);
        match write_page_prompt(file) {
            Some(kept) => {
                if let Some(folder) = path.parent() {
                    ensure_folder(folder)?;
                }
                write_file(&path, kept.as_bytes())?;
            }
            None => remove_file(&path)?,
        }
    }
    Ok(())
}

/// Which files in `workflows/` a save writes and removes.
#[derive(Default)]
struct WorkflowChanges {
    write: Vec<(WorkflowName, Arc<str>)>,
    remove: Vec<WorkflowName>,
}

/// Compares three states of `workflows/`: the project's, what is on disk, and what was there when it was opened
/// (`known`; none when this project never lay here). What others changed there meanwhile is kept if the project did not
/// change it too.
fn workflow_changes(
    place: &ProjectPlace,
    project: &Project,
    before: Option<&OpenedProject>,
    known: Option<&BTreeMap<WorkflowName, blake3::Hash>>,
) -> Result<WorkflowChanges, ProjectFolderError> {
    let on_disk = match before {
        Some(before) => before.project.workflows.clone(),
        None => read_workflows(place)?.0,
    };
    let hash_on_disk = |name: &WorkflowName| {
        on_disk
            .get(name)
            .map(|file| blake3::hash(file.text.as_bytes()))
    };
    let mut changes = WorkflowChanges::default();
    for (name, file) in &project.workflows {
        let ours = blake3::hash(file.text.as_bytes());
        let theirs = hash_on_disk(name);
        let base = known.and_then(|known| known.get(name)).copied();
        if theirs == Some(ours) {
            continue;
        }
        let path = place.workflow_file(name);
        if theirs.is_none()
            && read_if_there(&path, MAX_WORKFLOW_BYTES).map_or(true, |bytes| bytes.is_some())
        {
            // Something is there that was not read as a workflow.
            return Err(ProjectFolderError::WorkflowInTheWay { path });
        }
        if before.is_none() && theirs.is_some() {
            // A workflow of somebody's, in a folder that is no project yet.
            return Err(ProjectFolderError::WorkflowInTheWay { path });
        }
        if known.is_some() && theirs.is_some() && theirs != base {
            if base == Some(ours) {
                continue;
            }
            return Err(ProjectFolderError::ChangedOnDisk { path });
        }
        changes.write.push((name.clone(), file.text.clone()));
    }
    for (name, base) in known.into_iter().flatten() {
        if !project.workflows.contains_key(name) && hash_on_disk(name) == Some(*base) {
            changes.remove.push(name.clone());
        }
    }
    Ok(changes)
}

fn hashes(workflows: &Workflows) -> BTreeMap<WorkflowName, blake3::Hash> {
    workflows
        .iter()
        .map(|(name, file)| (name.clone(), blake3::hash(file.text.as_bytes())))
        .collect()
}

fn bad_format(path: &Path, source: FormatError) -> ProjectFolderError {
    ProjectFolderError::Format {
        path: path.to_owned(),
        source,
    }
}
