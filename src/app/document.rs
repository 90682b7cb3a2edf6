//! The open document: what the person is making, where it is saved, and what is selected.

use super::actions::Gesture;
use crate::project::{
    Edit, EditError, FrameId, History, LinkId, NodeId, NodeKind, Project, ProjectId, Touched,
};
use crate::store::project_folder::{DiskStamp, ProjectPlace};
use bevy::prelude::Resource;
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

/// Where a project lies and what was read or written there last.
#[derive(Clone, Debug)]
pub struct SavedAs {
    /// The folder or portable file.
    pub place: ProjectPlace,
    /// What was there, so that the next save notices changes by others.
    pub stamp: DiskStamp,
}

/// The open project with its undo history. Only [`super::apply::apply_actions`] changes it.
#[derive(Resource, Debug)]
pub struct Document {
    project: Project,
    history: History,
    saved: Option<SavedAs>,
    revision: u64,
    generation: u64,
    /// What each of the latest changes touched, with the revision it led to.
    changes: VecDeque<(u64, Touched)>,
}

/// Changes whose touched parts are remembered; whoever looks less often looks at everything.
const CHANGES: usize = 64;

impl Document {
    /// A document that shows this project; `saved` says where it was opened from, none for a new one.
    #[must_use]
    pub fn new(project: Project, saved: Option<SavedAs>) -> Self {
        Self {
            project,
            history: History::default(),
            saved,
            revision: 0,
            generation: 0,
            changes: VecDeque::new(),
        }
    }

    /// An empty document.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Project::new(ProjectId::new_now(), "Untitled"), None)
    }

    /// Puts another project in the place of this one. The history starts anew.
    pub fn replace(&mut self, project: Project, saved: Option<SavedAs>) {
        let generation = self.generation + 1;
        let revision = self.revision + 1;
        *self = Self::new(project, saved);
        self.generation = generation;
        self.revision = revision;
    }

    /// What the person made.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The folder or portable file it was opened from or saved to.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.saved.as_ref().map(|saved| saved.place.path())
    }

    /// Where it lies and what was there last.
    #[must_use]
    pub fn saved(&self) -> Option<&SavedAs> {
        self.saved.as_ref()
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
        self.history.is_dirty()
    }

    /// The document as it is now lies there.
    pub fn mark_saved(&mut self, saved: SavedAs) {
        self.saved = Some(saved);
        self.history.mark_saved();
    }

    /// The document differs from any file (recovered work).
    pub fn mark_unsaved(&mut self) {
        self.history.mark_unsaved();
        self.revision += 1;
    }

    /// Makes edits as one undo step, or as part of the last one when the gesture is the same. All or none are made.
    pub fn edit(
        &mut self,
        title: &str,
        gesture: Gesture,
        edits: Vec<Edit>,
    ) -> Result<Touched, EditError> {
        if edits.is_empty() {
            return Ok(Touched::default());
        }
        let touched =
            self.history
                .apply(&mut self.project, title, edits, Some(gesture.number()))?;
        self.remember(&touched);
        Ok(touched)
    }

    fn remember(&mut self, touched: &Touched) {
        self.revision += 1;
        self.changes.push_back((self.revision, touched.clone()));
        if self.changes.len() > CHANGES {
            self.changes.pop_front();
        }
    }

    /// What was touched since a revision of the present generation; none when that is not known any more and everything
    /// may have changed.
    #[must_use]
    pub fn touched_since(&self, revision: u64) -> Option<Vec<&Touched>> {
        let missing = self.revision.checked_sub(revision)?;
        let known: Vec<&Touched> = self
            .changes
            .iter()
            .filter(|(at, _)| *at > revision)
            .map(|(_, touched)| touched)
            .collect();
        (known.len() as u64 == missing).then_some(known)
    }

    /// Takes the last step back.
    pub fn undo(&mut self) -> Result<Option<Touched>, EditError> {
        let undone = self.history.undo(&mut self.project)?;
        if let Some(touched) = &undone {
            self.remember(touched);
        }
        Ok(undone)
    }

    /// Does the step again that was taken back.
    pub fn redo(&mut self) -> Result<Option<Touched>, EditError> {
        let redone = self.history.redo(&mut self.project)?;
        if let Some(touched) = &redone {
            self.remember(touched);
        }
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
    /// Frames.
    pub frames: BTreeSet<FrameId>,
}

impl Selection {
    /// Whether nothing is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.links.is_empty() && self.frames.is_empty()
    }

    /// Whether nodes or frames are selected.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        !self.nodes.is_empty() || !self.frames.is_empty()
    }

    /// The node, when exactly one and nothing else is selected.
    #[must_use]
    pub fn only_node(&self) -> Option<NodeId> {
        match (self.nodes.len(), self.links.len(), self.frames.len()) {
            (1, 0, 0) => self.nodes.first().copied(),
            _ => None,
        }
    }

    /// The Workflow node, when exactly one is among what is selected.
    #[must_use]
    pub fn workflow_node(&self, project: &Project) -> Option<NodeId> {
        let is_workflow = |id: &NodeId| {
            let node = project.nodes.get(id);
            node.is_some_and(|node| matches!(node.kind, NodeKind::Workflow(_)))
        };
        let mut found = self.nodes.iter().copied().filter(is_workflow);
        found.next().filter(|_| found.next().is_none())
    }

    /// The frame, when exactly one and nothing else is selected.
    #[must_use]
    pub fn only_frame(&self) -> Option<FrameId> {
        match (self.nodes.len(), self.links.len(), self.frames.len()) {
            (0, 0, 1) => self.frames.first().copied(),
            _ => None,
        }
    }

    /// Drops what the project no longer has.
    pub fn retain_existing(&mut self, project: &Project) {
        self.nodes.retain(|id| project.nodes.contains_key(id));
        self.links.retain(|id| project.links.contains(*id));
        self.frames.retain(|id| project.frames.contains_key(id));
    }
}
