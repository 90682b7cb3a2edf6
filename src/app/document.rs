//! The open document: what the person is making, where it is saved, and what is selected.

use super::actions::Gesture;
use crate::project::{Edit, EditError, History, LinkId, NodeId, Project, ProjectId};
use bevy::prelude::Resource;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The open project with its undo history. Only [`super::apply::apply_actions`] changes it.
#[derive(Resource, Debug)]
pub struct Document {
    project: Project,
    history: History,
    path: Option<PathBuf>,
    revision: u64,
    saved_revision: u64,
    generation: u64,
    last_gesture: Option<Gesture>,
}

impl Document {
    /// A document that shows this project; `path` is the folder it was opened from, none for a new one.
    #[must_use]
    pub fn new(project: Project, path: Option<PathBuf>) -> Self {
        Self {
            project,
            history: History::default(),
            path,
            revision: 0,
            saved_revision: 0,
            generation: 0,
            last_gesture: None,
        }
    }

    /// An empty document.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Project::new(ProjectId::new_now(), "Untitled"), None)
    }

    /// Puts another project in the place of this one. The history starts anew.
    pub fn replace(&mut self, project: Project, path: Option<PathBuf>) {
        let generation = self.generation + 1;
        let revision = self.revision + 1;
        *self = Self::new(project, path);
        self.generation = generation;
        self.revision = revision;
        self.saved_revision = revision;
    }

    /// What the person made.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The folder it was opened from or saved to.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Grows with every change; views compare it with the one they have drawn.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Grows when another project takes the place of this one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether there is something that is not saved.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.revision != self.saved_revision
    }

    /// The document as it is now lies in this folder.
    pub fn mark_saved(&mut self, path: PathBuf) {
        self.path = Some(path);
        self.saved_revision = self.revision;
        self.last_gesture = None;
    }

    /// The document differs from any file (recovered work).
    pub fn mark_unsaved(&mut self) {
        self.revision += 1;
    }

    /// Makes edits as one undo step, or as part of the last one when the gesture is the same. All or none are made.
    pub fn edit(
        &mut self,
        title: &str,
        gesture: Gesture,
        edits: Vec<Edit>,
    ) -> Result<(), EditError> {
        if edits.is_empty() {
            return Ok(());
        }
        self.history
            .apply(&mut self.project, title, edits, Some(gesture.number()))?;
        self.last_gesture = Some(gesture);
        self.revision += 1;
        Ok(())
    }

    /// Takes the last step back.
    pub fn undo(&mut self) -> Result<bool, EditError> {
        let undone = self.history.undo(&mut self.project)?;
        self.revision += u64::from(undone);
        Ok(undone)
    }

    /// Does the step again that was taken back.
    pub fn redo(&mut self) -> Result<bool, EditError> {
        let redone = self.history.redo(&mut self.project)?;
        self.revision += u64::from(redone);
        Ok(redone)
    }

    /// What undo would take back.
    #[must_use]
    pub fn undo_title(&self) -> Option<&str> {
        self.history.undo_title()
    }

    /// What redo would do again.
    #[must_use]
    pub fn redo_title(&self) -> Option<&str> {
        self.history.redo_title()
    }
}

/// What is selected. Never in the undo history.
#[derive(Resource, Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Nodes.
    pub nodes: BTreeSet<NodeId>,
    /// Links.
    pub links: BTreeSet<LinkId>,
}

impl Selection {
    /// Whether nothing is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.links.is_empty()
    }

    /// The node, when exactly one and nothing else is selected.
    #[must_use]
    pub fn only_node(&self) -> Option<NodeId> {
        match (self.nodes.len(), self.links.len()) {
            (1, 0) => self.nodes.first().copied(),
            _ => None,
        }
    }

    /// Drops what the project no longer has.
    pub fn retain_existing(&mut self, project: &Project) {
        self.nodes.retain(|id| project.nodes.contains_key(id));
        self.links.retain(|id| project.links.contains_key(id));
    }
}
