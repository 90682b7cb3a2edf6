//! What a person can ask of the library of workflows: kept by the program, outside of any project.

use crate::fleet::SaveMode;
use crate::project::{BackendId, NodeId, WorkflowName};
use crate::store::LibraryWorkflowId;
use std::path::PathBuf;

/// One wish.
#[derive(Clone, Debug, PartialEq)]
pub enum LibraryWish {
    /// Choose a file, or a folder, whose workflows are put in.
    ChooseImport(ImportKind),
    /// Put the workflows of this file or folder in.
    Import(PathBuf),
    /// Put a workflow of the project in.
    KeepProjectWorkflow(WorkflowName),
    /// Put a version into the project, with a node that runs it.
    AddNode {
        /// The workflow.
        workflow_id: LibraryWorkflowId,
        /// The version; the present one when none.
        version: Option<u32>,
        /// Where the node goes in canvas units; the middle of the view when none.
        pos_world: Option<[f32; 2]>,
    },
    /// Compare the present version with the workflow of a node, and ask whether it takes its place.
    CompareWithNode {
        /// The workflow.
        workflow_id: LibraryWorkflowId,
        /// The node.
        node_id: NodeId,
    },
    /// Show the versions.
    ShowVersions(LibraryWorkflowId),
    /// Make an earlier version the present one; the others stay.
    Restore {
        /// The workflow.
        workflow_id: LibraryWorkflowId,
        /// The version.
        version: u32,
    },
    /// Show name, folder and tags to change them.
    ShowDetails(LibraryWorkflowId),
    /// Give name, folder and tags.
    Describe {
        /// The workflow.
        workflow_id: LibraryWorkflowId,
        /// Its folder: names between `/`.
        folder: String,
        /// Its name.
        name: String,
        /// Its tags.
        tags: Vec<String>,
    },
    /// Take it out, with all its versions.
    Remove(LibraryWorkflowId),
    /// Show what is saved on backends.
    ShowBackends,
    /// Ask a backend what is saved there.
    ListSaved(BackendId),
    /// Put workflows that are saved on a backend in.
    Pull {
        /// The backend.
        backend_id: BackendId,
        /// Their paths there.
        paths: Vec<String>,
    },
    /// Save the present version on a backend.
    Push {
        /// The workflow.
        workflow_id: LibraryWorkflowId,
        /// The backend.
        backend_id: BackendId,
        /// Whether it may replace one of the same name there.
        mode: SaveMode,
    },
}

/// What is chosen to be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportKind {
    /// One file.
    File,
    /// A folder with everything below it.
    Folder,
}
