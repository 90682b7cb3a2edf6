//! Where a project lies, and the paths that follow from it.

use super::error::ProjectFolderError;
use crate::project::WorkflowName;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Name of the main file of a project folder.
const PROJECT_FILE: &str = "project.ron";

/// How the name of a portable project ends.
const PORTABLE_SUFFIX: &str = ".orchestrator.json";

/// Where a project lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectPlace {
    /// A folder with a `project.ron`.
    Folder(PathBuf),
    /// A portable file.
    Portable(PathBuf),
}

impl ProjectPlace {
    /// The existing project that a path means: a folder, the `project.ron` in it, or a portable file. Looks at the name
    /// and the kind of file, not into it.
    pub fn find(path: &Path) -> Result<Self, ProjectFolderError> {
        let metadata = std::fs::metadata(path).map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                ProjectFolderError::NotFound {
                    path: path.to_owned(),
                }
            } else {
                ProjectFolderError::Io {
                    action: "open",
                    path: path.to_owned(),
                    source,
                }
            }
        })?;
        if metadata.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if path.file_name() == Some(OsStr::new(PROJECT_FILE)) {
            return Ok(Self::Folder(parent(path)));
        }
        let is_json = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if is_json {
            Ok(Self::Portable(path.to_owned()))
        } else {
            Err(ProjectFolderError::NotAProject {
                path: path.to_owned(),
            })
        }
    }

    /// The place that a path means for a project that is about to be saved there: a portable file when the name ends in
    /// `.orchestrator.json`, the folder around a `project.ron`, else a folder.
    #[must_use]
    pub fn for_saving(path: &Path) -> Self {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.ends_with(PORTABLE_SUFFIX) {
            Self::Portable(path.to_owned())
        } else if name == PROJECT_FILE {
            Self::Folder(parent(path))
        } else {
            Self::Folder(path.to_owned())
        }
    }

    /// The project folder, or the folder that holds the portable file: relative inputs and outputs lie here.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Portable(file) => match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            },
        }
    }

    /// The path a person knows the project by.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Portable(path) => path,
        }
    }

    /// The file that holds the graph.
    #[must_use]
    pub fn main_file(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(PROJECT_FILE),
            Self::Portable(file) => file.clone(),
        }
    }

    /// The folder of the workflow files of a project folder.
    pub(super) fn workflows_folder(&self) -> PathBuf {
        self.folder().join("workflows")
    }

    /// The file of a workflow. The name is one harmless path segment by its type.
    pub(super) fn workflow_file(&self, name: &WorkflowName) -> PathBuf {
        self.workflows_folder().join(format!("{name}.json"))
    }

    /// The file of what ComfyUI's page made of a workflow. Derived: it may be deleted, and is replaced without asking.
    pub(super) fn page_prompt_file(&self, name: &WorkflowName) -> PathBuf {
        self.folder().join("prompts").join(format!("{name}.json"))
    }

    /// The folder of earlier versions.
    pub(super) fn versions_folder(&self) -> PathBuf {
        self.folder().join(".versions")
    }

    /// What the names of this project's versions start with; portable files of one folder share it.
    pub(super) fn stem(&self) -> String {
        match self {
            Self::Folder(_) => "project".to_owned(),
            Self::Portable(file) => {
                let name = file
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default();
                let stem = name
                    .strip_suffix(PORTABLE_SUFFIX)
                    .or_else(|| name.strip_suffix(".json"));
                stem.unwrap_or(&name).to_owned()
            }
        }
    }

    /// The file of unsaved work.
    pub(super) fn recovery_file(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(format!(".recovery{PORTABLE_SUFFIX}")),
            Self::Portable(_) => self
                .folder()
                .join(format!(".{}.recovery{PORTABLE_SUFFIX}", self.stem())),
        }
    }
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
