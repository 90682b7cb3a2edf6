//! Filling the library: from files and folders of this machine, and from what people saved on a backend.

use super::handle::EngineHandle;
use super::library::library_workflow;
use crate::fleet::{BackendConfig, FleetError, SaveMode, SavedWorkflows};
use crate::store::{LibraryChange, LibraryWorkflowId, Store, StoreError};
use crate::workflow::{EmbeddedError, EmbeddedWorkflow, find_workflow, may_hold_workflow};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Deepest folder that an import goes into.
const MAX_DEPTH: usize = 32;
/// Most files that one import looks at.
const MAX_FILES: usize = 200_000;

/// How a backend says that a file is there already (`POST /userdata`, `overwrite=false`).
const HTTP_CONFLICT: u16 = 409;

/// Why the library could not be filled, or a workflow of it not be saved on a backend.
#[derive(Debug, Error)]
pub enum LibraryFillError {
    /// A folder cannot be looked into.
    #[error("cannot look into {folder}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// More files than one import looks at.
    #[error("{0} has more than {MAX_FILES} files; import parts of it")]
    TooManyFiles(PathBuf),
    /// The workflow is not in the library any more.
    #[error("the workflow is not in the library any more")]
    Gone,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backend.
    #[error(transparent)]
    Server(#[from] FleetError),
    /// The backend has a workflow of that name.
    #[error(
        "the backend has a workflow \"{path}\" already; replace it, or give this one another name or folder"
    )]
    NameTaken {
        /// Its path on the backend.
        path: String,
    },
}

/// What filling the library did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryTally {
    /// Workflows that were not there.
    pub added: usize,
    /// Workflows of which there is a new version now.
    pub renewed: usize,
    /// Workflows that were there as they are.
    pub unchanged: usize,
    /// Files that hold no workflow.
    pub without: usize,
    /// Files that cannot be read, each with the reason.
    pub faulty: Vec<String>,
}

impl LibraryTally {
    /// Workflows that are in the library now because of it, or were already.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.added + self.renewed + self.unchanged
    }

    fn count(&mut self, change: LibraryChange) {
        match change {
            LibraryChange::Added => self.added += 1,
            LibraryChange::NewVersion => self.renewed += 1,
            LibraryChange::Unchanged => self.unchanged += 1,
        }
    }
}

/// Puts every workflow of a folder, or of one file, into the library; also those inside pictures and videos. Subfolders
/// become folders below `into`. Blocks while it reads files.
///
/// # Errors
/// [`LibraryFillError`] when the folder cannot be read; single files that cannot are listed in the tally.
pub async fn import_into_library(
    store: &Store,
    from: &Path,
    into: &str,
    now_ms: u64,
) -> Result<LibraryTally, LibraryFillError> {
    let mut files = Vec::new();
    if from.is_dir() {
        gather(from, from, 0, &mut files)?;
    } else {
        files.push((from.to_path_buf(), String::new()));
    }
    files.sort();
    let mut stems: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for (path, _) in &files {
        *stems.entry(path.with_extension("")).or_default() += 1;
    }
    let mut tally = LibraryTally::default();
    for (path, folder) in files {
        let found = File::open(&path)
            .map_err(EmbeddedError::from)
            .and_then(|file| find_workflow(BufReader::new(file)));
        let found = match found {
            Ok(found) => found,
            // Most pictures hold none, and most JSON files are something else.
            Err(EmbeddedError::NoWorkflow { .. } | EmbeddedError::UnknownKind) => {
                tally.without += 1;
                continue;
            }
            Err(error) => {
                tally.faulty.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        // `shot.png` and `shot.json` beside each other are two workflows, not two versions of one.
        let is_alone = stems.get(&path.with_extension("")) == Some(&1);
        let name = if is_alone {
            path.file_stem()
        } else {
            path.file_name()
        };
        let name = name.unwrap_or_default().to_string_lossy();
        let folder = format!("{into}/{folder}");
        put(store, &folder, &name, &found, now_ms, &mut tally).await?;
    }
    Ok(tally)
}

/// Puts workflows that people saved on a backend into the folder `into` of the library: those of `paths`, or all.
///
/// # Errors
/// [`LibraryFillError`] when the backend or the database fails; files that hold no workflow are listed in the tally.
pub async fn pull_into_library(
    store: &Store,
    config: &BackendConfig,
    paths: Option<Vec<String>>,
    into: &str,
    now_ms: u64,
) -> Result<LibraryTally, LibraryFillError> {
    let saved = SavedWorkflows::of(config)?;
    let paths = match paths {
        Some(paths) => paths,
        None => saved.list().await?,
    };
    let mut tally = LibraryTally::default();
    for path in paths {
        let bytes = saved.read(&path).await?;
        let found = match find_workflow(Cursor::new(bytes)) {
            Ok(found) => found,
            Err(error) => {
                tally.faulty.push(format!("{path}: {error}"));
                continue;
            }
        };
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let name = Path::new(file).file_stem().unwrap_or_default();
        let folder = format!("{into}/{folder}");
        put(
            store,
            &folder,
            &name.to_string_lossy(),
            &found,
            now_ms,
            &mut tally,
        )
        .await?;
    }
    Ok(tally)
}

/// Saves the present version of a workflow of the library on a backend, where its editor lists it under the same folders.
/// Gives its path there.
///
/// # Errors
/// [`LibraryFillError`]; with [`SaveMode::KeepExisting`] also when the backend has one of that name.
pub async fn push_from_library(
    store: &Store,
    workflow_id: LibraryWorkflowId,
    config: &BackendConfig,
    mode: SaveMode,
) -> Result<String, LibraryFillError> {
    let entry = store
        .library_entry(workflow_id)
        .await?
        .ok_or(LibraryFillError::Gone)?;
    let text = store
        .library_text(workflow_id, None)
        .await?
        .ok_or(LibraryFillError::Gone)?;
    let path = format!("{}.json", entry.path());
    let saved = SavedWorkflows::of(config)?;
    match saved.write(&path, &text, mode).await {
        Ok(()) => Ok(path),
        Err(FleetError::Address(error)) if error.status() == Some(HTTP_CONFLICT) => {
            Err(LibraryFillError::NameTaken { path })
        }
        Err(error) => Err(error.into()),
    }
}

async fn put(
    store: &Store,
    folder: &str,
    name: &str,
    found: &EmbeddedWorkflow,
    now_ms: u64,
    tally: &mut LibraryTally,
) -> Result<(), StoreError> {
    let workflow = library_workflow(folder, name, &found.document, &found.text, now_ms);
    let (_, change) = store
        .put_in_library(workflow, LibraryWorkflowId::new_now())
        .await?;
    tally.count(change);
    Ok(())
}

/// Every file below a folder that may hold a workflow, with its folder relative to the root. Links are not followed.
fn gather(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<(), LibraryFillError> {
    let failed = |source| LibraryFillError::Folder {
        folder: folder.to_path_buf(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let path = entry.path();
        if kind.is_dir() && depth < MAX_DEPTH {
            gather(root, &path, depth + 1, files)?;
        } else if kind.is_file() && may_hold(&path) {
            if files.len() >= MAX_FILES {
                return Err(LibraryFillError::TooManyFiles(root.to_path_buf()));
            }
            let below = folder.strip_prefix(root).unwrap_or(Path::new(""));
            files.push((path, below.to_string_lossy().into_owned()));
        }
    }
    Ok(())
}

fn may_hold(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(may_hold_workflow)
}

impl EngineHandle {
    /// See [`import_into_library`].
    ///
    /// # Errors
    /// [`LibraryFillError`].
    pub async fn import_into_library(
        &self,
        from: &Path,
        into: &str,
        now_ms: u64,
    ) -> Result<LibraryTally, LibraryFillError> {
        import_into_library(self.store(), from, into, now_ms).await
    }

    /// The paths of the workflows that people saved on a backend. Must run inside the engine's runtime
    /// ([`Self::wait_inside`]).
    ///
    /// # Errors
    /// [`LibraryFillError`].
    pub async fn saved_workflows(
        &self,
        config: &BackendConfig,
    ) -> Result<Vec<String>, LibraryFillError> {
        Ok(SavedWorkflows::of(config)?.list().await?)
    }

    /// See [`pull_into_library`]. Must run inside the engine's runtime ([`Self::wait_inside`]).
    ///
    /// # Errors
    /// [`LibraryFillError`].
    pub async fn pull_into_library(
        &self,
        config: &BackendConfig,
        paths: Option<Vec<String>>,
        into: &str,
        now_ms: u64,
    ) -> Result<LibraryTally, LibraryFillError> {
        pull_into_library(self.store(), config, paths, into, now_ms).await
    }

    /// See [`push_from_library`]. Must run inside the engine's runtime ([`Self::wait_inside`]).
    ///
    /// # Errors
    /// [`LibraryFillError`].
    pub async fn push_from_library(
        &self,
        workflow_id: LibraryWorkflowId,
        config: &BackendConfig,
        mode: SaveMode,
    ) -> Result<String, LibraryFillError> {
        push_from_library(self.store(), workflow_id, config, mode).await
    }
}
