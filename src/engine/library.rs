//! The library of workflows through the engine's door, for the window.

use super::handle::EngineHandle;
use crate::artifacts::{Artifact, ContentHash};
use crate::store::{
    LibraryChange, LibraryEntry, LibraryFile, LibraryQuery, LibraryVersion, LibraryWorkflowId,
    NewLibraryWorkflow, StoreError,
};
use crate::workflow::{self, WorkflowDigest, WorkflowDocument};

/// A workflow to be put into the library, with the words it is found by. `folder` has names between `/`, and is empty for
/// the top.
#[must_use]
pub fn library_workflow(
    folder: &str,
    name: &str,
    document: &WorkflowDocument,
    text: &str,
    added_ms: u64,
) -> NewLibraryWorkflow {
    let WorkflowDigest {
        titles,
        classes,
        models,
        texts,
    } = workflow::digest(document);
    let words: Vec<String> = [titles, classes, models]
        .into_iter()
        .flatten()
        .chain(texts)
        .collect();
    NewLibraryWorkflow {
        folder: folder.to_owned(),
        name: name.to_owned(),
        text: text.to_owned(),
        page_prompt: None,
        words: words.join("\n"),
        added_ms,
    }
}

impl EngineHandle {
    /// The workflows of the library that fit, by folder and name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library(&self, query: LibraryQuery) -> Result<Vec<LibraryEntry>, StoreError> {
        self.store().library(query).await
    }

    /// Puts a workflow ([`library_workflow`]) into the library: a new one, or a new version of the one of that name in that
    /// folder. `fresh` becomes its id when it is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_in_library(
        &self,
        workflow: NewLibraryWorkflow,
        fresh: LibraryWorkflowId,
    ) -> Result<(LibraryWorkflowId, LibraryChange), StoreError> {
        self.store().put_in_library(workflow, fresh).await
    }

    /// A workflow of the library by its id; none when it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_entry(
        &self,
        workflow_id: LibraryWorkflowId,
    ) -> Result<Option<LibraryEntry>, StoreError> {
        self.store().library_entry(workflow_id).await
    }

    /// A workflow of the library with what ComfyUI's page made of it, of its present version or of another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_file(
        &self,
        workflow_id: LibraryWorkflowId,
        version: Option<u32>,
    ) -> Result<Option<LibraryFile>, StoreError> {
        self.store().library_file(workflow_id, version).await
    }

    /// The workflow of the library of which a version has this very text.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_holding(
        &self,
        text: std::sync::Arc<str>,
    ) -> Result<Option<LibraryEntry>, StoreError> {
        self.store().library_holding(text).await
    }

    /// The file of a workflow of the library byte for byte, of its present version or of another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_text(
        &self,
        workflow_id: LibraryWorkflowId,
        version: Option<u32>,
    ) -> Result<Option<String>, StoreError> {
        self.store().library_text(workflow_id, version).await
    }

    /// The versions of a workflow of the library that are kept, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_versions(
        &self,
        workflow_id: LibraryWorkflowId,
    ) -> Result<Vec<LibraryVersion>, StoreError> {
        self.store().library_versions(workflow_id).await
    }

    /// Gives a workflow of the library these tags in place of those it has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_library_tags(
        &self,
        workflow_id: LibraryWorkflowId,
        tags: Vec<String>,
    ) -> Result<bool, StoreError> {
        self.store().set_library_tags(workflow_id, tags).await
    }

    /// Moves or renames a workflow of the library. False when another has that place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn relocate_in_library(
        &self,
        workflow_id: LibraryWorkflowId,
        folder: &str,
        name: &str,
    ) -> Result<bool, StoreError> {
        self.store()
            .relocate_in_library(workflow_id, folder, name)
            .await
    }

    /// What is known of the picture of a [`LibraryEntry`]; [`EngineHandle::artifact_path`] tells where it lies. None when the
    /// file store forgot it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_picture(
        &self,
        thumbnail: ContentHash,
    ) -> Result<Option<Artifact>, StoreError> {
        self.store().artifact(thumbnail).await
    }

    /// The last picture that a workflow made in any run here, by the hash of its file's text
    /// (`ContentHash::of(text.as_bytes())`).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_picture(
        &self,
        workflow: ContentHash,
    ) -> Result<Option<Artifact>, StoreError> {
        self.store().last_picture(workflow).await
    }

    /// Sets the picture that shows what a workflow of the library makes; with none, it is the last that it made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_library_thumbnail(
        &self,
        workflow_id: LibraryWorkflowId,
        thumbnail: Option<ContentHash>,
    ) -> Result<bool, StoreError> {
        self.store()
            .set_library_thumbnail(workflow_id, thumbnail)
            .await
    }

    /// Takes a workflow out of the library, with all its versions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_from_library(
        &self,
        workflow_id: LibraryWorkflowId,
    ) -> Result<bool, StoreError> {
        self.store().remove_from_library(workflow_id).await
    }
}
