//! Workflows that come from elsewhere: files that are chosen or dropped, and the library.

use super::actions::{Action, Gesture};
use super::apply::free_workflow_name;
use super::catalog::{Catalog, WorkflowFacts, node_for_workflow};
use super::dialogs::Dialogs;
use super::document::{Document, Selection};
use super::files::FollowUp;
use super::replace_workflow::Replacement;
use super::toasts::{Severity, Toasts};
use super::viewport::CanvasView;
use crate::project::{Edit, NodeId, WorkflowFile};
use bevy::ecs::system::SystemParam;
use bevy::prelude::*;
use std::path::Path;

/// What importing reads and writes.
#[derive(SystemParam)]
pub struct ImportWorld<'w> {
    document: ResMut<'w, Document>,
    selection: ResMut<'w, Selection>,
    toasts: ResMut<'w, Toasts>,
    dialogs: ResMut<'w, Dialogs>,
    view: Res<'w, CanvasView>,
    catalog: Res<'w, Catalog>,
    follow_up: ResMut<'w, FollowUp>,
}

/// Does what concerns workflows from elsewhere.
pub fn import_actions(mut actions: MessageReader<Action>, mut world: ImportWorld) {
    for action in actions.read() {
        match action {
            Action::ImportFile { path, pos_world } => world.import(path, *pos_world),
            Action::CompareWorkflow { node, path } => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                match workflow_in(path) {
                    Ok(file) => world.compare(*node, file),
                    Err(message) => world.toasts.push(
                        Severity::Error,
                        &format!("\"{name}\" cannot take its place"),
                        &message,
                    ),
                }
            }
            Action::CompareWithNode { node, file } => world.compare(*node, file.clone()),
            Action::AddWorkflowNode {
                name,
                file,
                pos_world,
            } => {
                if let Err(message) = world.add(name, file.clone(), *pos_world) {
                    world.toasts.push(
                        Severity::Error,
                        &format!("\"{name}\" was not added"),
                        &message,
                    );
                }
            }
            _ => {}
        }
    }
}

impl ImportWorld<'_> {
    /// A dropped or chosen file: a project is opened, a workflow becomes a node.
    fn import(&mut self, path: &Path, pos_world: Option<[f32; 2]>) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() || name == "project.ron" || name.ends_with(".orchestrator.json") {
            self.follow_up.0.push(Action::OpenPath(path.to_owned()));
            return;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let added = workflow_in(path).and_then(|file| self.add(&stem, file, pos_world));
        if let Err(message) = added {
            self.toasts.push(
                Severity::Error,
                &format!("\"{name}\" was not imported"),
                &message,
            );
        }
    }

    /// Shows what would change if this file took the place of a node's workflow.
    fn compare(&mut self, node_id: NodeId, file: WorkflowFile) {
        // What a person looks at stays what it is.
        if self.dialogs.replacement.is_some() {
            let words = "Answer what is asked about another workflow first.";
            self.toasts
                .push(Severity::Warning, "Not compared yet", words);
            return;
        }
        let info = self.catalog.object_info();
        match Replacement::plan(self.document.project(), node_id, file, info) {
            Ok(replacement) => self.dialogs.replacement = Some(replacement.into()),
            Err(error) => self.toasts.push(
                Severity::Error,
                "The workflow cannot take its place",
                &error.to_string(),
            ),
        }
    }

    /// Adds a workflow to the project, unless it is there, and a node that runs it.
    fn add(
        &mut self,
        wanted: &str,
        file: WorkflowFile,
        pos_world: Option<[f32; 2]>,
    ) -> Result<(), String> {
        let facts = self.catalog.look_through(&file);
        let project = self.document.project();
        let existing = project
            .workflows
            .iter()
            .find(|(_, known)| known.text == file.text)
            .map(|(name, _)| name.clone());
        let mut edits = Vec::new();
        let name = existing.unwrap_or_else(|| {
            let name = free_workflow_name(project, wanted);
            edits.push(Edit::AddWorkflow {
                name: name.clone(),
                file,
            });
            name
        });
        let mut selected = None;
        match &facts {
            WorkflowFacts::Usable(inspection) => {
                let place = pos_world.unwrap_or([
                    self.view.center_world.x - 110.0,
                    self.view.center_world.y - 80.0,
                ]);
                let node = node_for_workflow(NodeId::new_now(), &name, inspection).at(place);
                selected = Some(node.id);
                edits.push(Edit::AddNode(Box::new(node)));
            }
            WorkflowFacts::Unusable(reason) => {
                self.toasts.push(
                    Severity::Warning,
                    &format!("\"{name}\" was added, but cannot run yet"),
                    reason,
                );
            }
        }
        self.document
            .edit(&format!("Import {name}"), Gesture::new(), edits)
            .map_err(|error| error.to_string())?;
        if let Some(node) = selected {
            self.selection.nodes = [node].into();
            self.selection.links.clear();
            self.selection.frames.clear();
        }
        Ok(())
    }
}

/// The workflow in a file: JSON, or a picture, video or sound that holds one.
fn workflow_in(path: &Path) -> Result<WorkflowFile, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("It cannot be read: {error}"))?;
    let found = crate::workflow::find_workflow(std::io::BufReader::new(file))
        .map_err(|error| error.to_string())?;
    Ok(WorkflowFile::new(found.text.trim_start_matches('\u{feff}')))
}
