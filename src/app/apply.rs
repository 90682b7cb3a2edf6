//! The one system that changes the document.

mod copies;
mod frames;
mod new_node;
mod node_settings;
mod seed_fan_out;

pub use new_node::new_node;

use self::copies::{IncomingLinks, clone_in_place, copy, duplicate, paste};
use self::new_node::add_node;
use self::node_settings::{change_node, set_parameter, toggle_input};
use super::actions::{Action, Gesture, Select};
use super::catalog::Catalog;
use super::document::{Document, Selection};
use super::replace_workflow::{BrokenUses, Reach, Replacement};
use super::toasts::{Severity, Toasts};
use super::viewport::CanvasView;
use crate::project::{
    Edit, EditError, Link, LinkId, LinkRefusal, NodeId, PortRef, Project, WorkflowFile,
    WorkflowName,
};
use bevy::prelude::*;
use bevy_egui::EguiClipboard;
use std::collections::BTreeSet;

/// How far copies lie beside their originals, canvas units.
const COPY_OFFSET: f32 = 40.0;

/// Changes document and selection as asked. What concerns files, runs and the view is done by others who read the same
/// messages.
pub fn apply_actions(
    mut actions: MessageReader<Action>,
    mut document: ResMut<Document>,
    mut selection: ResMut<Selection>,
    mut catalog: ResMut<Catalog>,
    mut toasts: ResMut<Toasts>,
    mut clipboard: ResMut<EguiClipboard>,
    mut copied: Local<Option<String>>,
    view: Res<CanvasView>,
    boxes: frames::Boxes,
) {
    for action in actions.read() {
        let outcome = match action {
            Action::Undo => document.undo().map(|_| ()),
            Action::Redo => document.redo().map(|_| ()),
            Action::Copy => {
                copy(&document, &selection, &mut clipboard, &mut copied);
                Ok(())
            }
            Action::Cut => {
                copy(&document, &selection, &mut clipboard, &mut copied);
                // A link by itself is not copied, so it stays.
                let parts = Selection {
                    links: BTreeSet::new(),
                    ..selection.clone()
                };
                delete(&mut document, &parts, "Cut")
            }
            Action::Paste | Action::PasteLinked => {
                // A system without a clipboard still has what was copied here.
                let text = clipboard
                    .get_text()
                    .filter(|text| !text.is_empty())
                    .or_else(|| copied.clone())
                    .unwrap_or_default();
                let links = if *action == Action::Paste {
                    IncomingLinks::Leave
                } else {
                    IncomingLinks::Keep
                };
                paste(
                    &mut document,
                    &mut selection,
                    &mut toasts,
                    &text,
                    links,
                    &view,
                )
            }
            Action::Clone { nodes, gesture } => {
                clone_in_place(&mut document, &mut selection, nodes, *gesture)
            }
            Action::Duplicate => duplicate(&mut document, &mut selection),
            Action::Delete => delete(&mut document, &selection, "Delete"),
            Action::SelectAll => {
                selection.nodes = document.project().nodes.keys().copied().collect();
                selection.frames = document.project().frames.keys().copied().collect();
                Ok(())
            }
            Action::SelectNone => {
                *selection = Selection::default();
                Ok(())
            }
            Action::Select(select) => {
                change_selection(&mut selection, select);
                Ok(())
            }
            Action::RevealNode(node) => {
                *selection = Selection::default();
                selection.nodes.insert(*node);
                Ok(())
            }
            Action::AddNode {
                node,
                pos_world,
                connect,
            } => add_node(
                &mut document,
                &mut selection,
                &mut catalog,
                &mut toasts,
                node,
                (*pos_world, *connect),
                &view,
            ),
            Action::AddLink { from, to } => add_link(&mut document, *from, *to),
            Action::RemoveLinks(links) => document
                .edit(
                    "Remove links",
                    Gesture::new(),
                    links.iter().map(|link| Edit::RemoveLink(*link)).collect(),
                )
                .map(|_| ()),
            Action::MoveNodes { moves, gesture } => document
                .edit(
                    "Move",
                    *gesture,
                    moves
                        .iter()
                        .map(|(node_id, pos_world)| Edit::MoveNode {
                            node_id: *node_id,
                            pos_world: *pos_world,
                        })
                        .collect(),
                )
                .map(|_| ()),
            Action::ToggleInput { node, address } => {
                toggle_input(&mut document, &mut catalog, *node, address)
            }
            Action::SeedsFromFanOut { node, address } => seed_fan_out::seeds_from_fan_out(
                &mut document,
                &mut selection,
                &mut catalog,
                *node,
                address,
            ),
            Action::ChangeNode { node, gesture } => change_node(&mut document, node, *gesture),
            Action::SetParameter {
                node,
                label,
                value,
                gesture,
            } => set_parameter(&mut document, *node, label, value.clone(), *gesture),
            Action::ReplaceWorkflow {
                node_id,
                file,
                reach,
                broken,
            } => replace_workflow(
                &mut document,
                &catalog,
                &mut toasts,
                (*node_id, file),
                *reach,
                *broken,
            ),
            Action::AddWorkflow { name, file } => add_workflow(&mut document, name, file),
            Action::SelectFrame(frame_id) | Action::RenameFrame(frame_id) => {
                frames::select(&mut selection, *frame_id);
                Ok(())
            }
            Action::SelectInFrame(frame_id) => {
                frames::select_inside(&document, &mut selection, *frame_id);
                Ok(())
            }
            Action::FrameSelection => {
                frames::frame_selection(&mut document, &mut selection, &boxes)
            }
            Action::FitFrame => frames::fit(&mut document, &selection, &boxes),
            Action::SetFrame { frame, gesture } => document
                .edit(
                    "Change frame",
                    *gesture,
                    vec![Edit::SetFrame(frame.clone())],
                )
                .map(|_| ()),
            Action::RenameProject { name, gesture } => document
                .edit(
                    "Rename project",
                    *gesture,
                    vec![Edit::RenameProject(name.clone())],
                )
                .map(|_| ()),
            _ => continue,
        };
        if let Err(error) = outcome {
            toasts.push(Severity::Warning, "That cannot be done", &error.to_string());
        }
        let mut kept = selection.clone();
        kept.retain_existing(document.project());
        selection.set_if_neq(kept);
    }
}

fn change_selection(selection: &mut Selection, select: &Select) {
    match select {
        Select::Only { nodes, links } => {
            selection.nodes = nodes.iter().copied().collect();
            selection.links = links.iter().copied().collect();
            selection.frames.clear();
        }
        Select::Exactly(wanted) => selection.clone_from(wanted),
        Select::Add { nodes, links } => {
            selection.nodes.extend(nodes);
            selection.links.extend(links);
        }
        Select::Toggle { nodes, links } => {
            for node in nodes {
                if !selection.nodes.remove(node) {
                    selection.nodes.insert(*node);
                }
            }
            for link in links {
                if !selection.links.remove(link) {
                    selection.links.insert(*link);
                }
            }
        }
    }
}

fn delete(document: &mut Document, selection: &Selection, title: &str) -> Result<(), EditError> {
    let project = document.project();
    // Links of a removed node fall with it; removing them twice would be refused.
    let links = selection.links.iter().filter(|id| {
        project.links.get(**id).is_some_and(|link| {
            !selection.nodes.contains(&link.from.node) && !selection.nodes.contains(&link.to.node)
        })
    });
    let edits: Vec<Edit> = links
        .map(|id| Edit::RemoveLink(*id))
        .chain(selection.nodes.iter().map(|id| Edit::RemoveNode(*id)))
        .chain(selection.frames.iter().map(|id| Edit::RemoveFrame(*id)))
        .collect();
    document.edit(title, Gesture::new(), edits).map(|_| ())
}

/// A name for a workflow that the project does not have yet: the wanted one, or with a number.
#[must_use]
pub fn free_workflow_name(project: &Project, wanted: &str) -> WorkflowName {
    let taken = |name: &WorkflowName| {
        project
            .workflows
            .keys()
            .any(|known| known.as_str().to_lowercase() == name.as_str().to_lowercase())
    };
    let cleaned: String = wanted
        .chars()
        .map(|character| {
            if character.is_control() || "/\\:*?\"<>|".contains(character) {
                '_'
            } else {
                character
            }
        })
        .take(100)
        .collect();
    let cleaned = cleaned.trim_matches(['.', ' ']).to_owned();
    let base = if WorkflowName::new(&cleaned).is_some() {
        cleaned
    } else {
        format!("workflow {cleaned}").trim().to_owned()
    };
    // One more name than there are workflows: one of them is free.
    (1..=project.workflows.len() + 1)
        .map(|number| {
            if number == 1 {
                base.clone()
            } else {
                format!("{base} {number}")
            }
        })
        .filter_map(|name| WorkflowName::new(&name))
        .find(|name| !taken(name))
        .unwrap_or_else(|| {
            WorkflowName::new("workflow").unwrap_or_else(|| unreachable!("a plain word is a name"))
        })
}

fn replace_workflow(
    document: &mut Document,
    catalog: &Catalog,
    toasts: &mut Toasts,
    (node_id, file): (NodeId, &WorkflowFile),
    reach: Reach,
    broken: BrokenUses,
) -> Result<(), EditError> {
    let project = document.project();
    // Worked out again: the document may have changed while the question was open.
    match Replacement::plan(project, node_id, file.clone(), catalog.object_info()) {
        Ok(replacement) => {
            let title = format!("Replace {}", replacement.workflow);
            let edits = replacement.edits(project, reach, broken);
            document.edit(&title, Gesture::new(), edits).map(|_| ())
        }
        Err(error) => {
            toasts.push(
                Severity::Warning,
                "The workflow was not replaced",
                &error.to_string(),
            );
            Ok(())
        }
    }
}

fn add_workflow(document: &mut Document, name: &str, file: &WorkflowFile) -> Result<(), EditError> {
    let name = free_workflow_name(document.project(), name);
    let title = format!("Add {name}");
    let edit = Edit::AddWorkflow {
        name,
        file: file.clone(),
    };
    document
        .edit(&title, Gesture::new(), vec![edit])
        .map(|_| ())
}

fn add_link(document: &mut Document, from: PortRef, to: PortRef) -> Result<(), EditError> {
    let mut edits = Vec::new();
    match document.project().check_link(from, to) {
        Err(LinkRefusal::InputTaken { by, .. }) => edits.push(Edit::RemoveLink(by)),
        Err(LinkRefusal::AlreadyLinked(_)) => return Ok(()),
        _ => {}
    }
    edits.push(Edit::AddLink(Link {
        id: LinkId::new_now(),
        from,
        to,
    }));
    document.edit("Connect", Gesture::new(), edits).map(|_| ())
}
