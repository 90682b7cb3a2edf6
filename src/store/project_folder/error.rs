//! What can go wrong with a project on disk.

use crate::project::FormatError;
use std::io;
use std::path::PathBuf;

/// Why a project was not opened or saved. Nothing on disk was lost.
#[derive(Debug, thiserror::Error)]
pub enum ProjectFolderError {
    /// There is no project.
    #[error("there is no project at {path}; check the path", path = path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is of another kind.
    #[error(
        "{path} is no project; open a project folder, its project.ron or a file that ends in .orchestrator.json",
        path = path.display()
    )]
    NotAProject {
        /// What was given.
        path: PathBuf,
    },
    /// A link or a device where a file or folder of the project belongs. Following it would leave the project folder.
    #[error(
        "{path} is not a plain {expected} (a link leads out of the project folder); put a real {expected} there",
        path = path.display()
    )]
    NotPlain {
        /// What is there.
        path: PathBuf,
        /// File or folder.
        expected: &'static str,
    },
    /// A file is larger than anything of its kind.
    #[error(
        "{path} has {bytes} bytes, more than the {limit} that such a file may have; is it the right file?",
        path = path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}; check the disk, the network share and the permissions", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is not a project that this program reads.
    #[error("cannot use {path}: {source}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: FormatError,
    },
    /// The document cannot become a file.
    #[error("cannot save to {path}: {source}", path = path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: FormatError,
    },
    /// What lies at the place cannot be read, so it is not replaced.
    #[error(
        "{path} was not overwritten, because what is there could not be read; save under another name. {reason}",
        path = path.display()
    )]
    NotOverwritten {
        /// The file.
        path: PathBuf,
        /// Why it could not be read.
        #[source]
        reason: Box<ProjectFolderError>,
    },
    /// A file in `workflows/` has the name of a workflow of the project, but was not read as one.
    #[error(
        "{path} is in the way: it was not read as a workflow and is not overwritten; move it away or rename the workflow",
        path = path.display()
    )]
    WorkflowInTheWay {
        /// The file.
        path: PathBuf,
    },
    /// Someone else changed the file.
    #[error(
        "{path} was changed by someone else since it was opened; save under another name, or open it again",
        path = path.display()
    )]
    ChangedOnDisk {
        /// The file.
        path: PathBuf,
    },
    /// A new project was to be made where one is.
    #[error("there is a project at {path} already; choose another place", path = path.display())]
    Exists {
        /// Its main file.
        path: PathBuf,
    },
}
