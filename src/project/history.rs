//! Undo and redo.

use super::document::Project;
use super::edit::{Edit, EditError, Touched};
use super::id::{FrameId, NodeId};
use super::node::WorkflowName;
use crate::workflow::ParameterAddress;
use std::collections::VecDeque;

/// Most steps that are kept; the oldest are forgotten first.
pub const MAX_UNDO_STEPS: usize = 10_000;

/// The steps that led to the document as it is, each with the edit that takes it back.
///
/// One history belongs to one document: every change of that document goes through [`History::apply`].
#[derive(Clone, Debug, Default)]
pub struct History {
    undo: VecDeque<Step>,
    redo: Vec<Step>,
    /// Number of the state that the document is in.
    state: u64,
    /// Number of the state that lies in the file; none when no reachable state does.
    saved_state: SavedState,
    /// The highest number given to a state so far.
    last_state: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SavedState {
    At(u64),
    Nowhere,
}

/// A fresh history belongs to a document that was just opened: what is there is saved.
impl Default for SavedState {
    fn default() -> Self {
        Self::At(0)
    }
}

#[derive(Clone, Debug)]
struct Step {
    title: String,
    gesture: Option<u64>,
    inverse: Edit,
    /// The state that the inverse leads to.
    leads_to: u64,
}

impl History {
    /// Makes edits as one step: all of them, or none.
    ///
    /// Edits of one gesture (a drag, a slider, typing into a field) carry the same number, which the caller takes anew
    /// for each gesture; directly after one another they become one step.
    pub fn apply(
        &mut self,
        project: &mut Project,
        title: &str,
        edits: Vec<Edit>,
        gesture: Option<u64>,
    ) -> Result<Touched, EditError> {
        let applied = project.apply(Edit::Batch(edits))?;
        let before = self.state;
        self.last_state += 1;
        self.state = self.last_state;
        let continues = self.redo.is_empty() && gesture.is_some();
        self.redo.clear();
        match self.undo.back_mut() {
            Some(step) if continues && step.gesture == gesture => {
                step.inverse = after(applied.inverse, &mut step.inverse);
            }
            _ => {
                if self.undo.len() == MAX_UNDO_STEPS {
                    self.undo.pop_front();
                }
                self.undo.push_back(Step {
                    title: title.to_owned(),
                    gesture,
                    inverse: applied.inverse,
                    leads_to: before,
                });
            }
        }
        Ok(applied.touched)
    }

    /// Takes the last step back. Gives what changed, or none when there is no step.
    pub fn undo(&mut self, project: &mut Project) -> Result<Option<Touched>, EditError> {
        let Some(step) = self.undo.pop_back() else {
            return Ok(None);
        };
        let (step, touched) = self.turn(project, step)?;
        self.redo.push(step);
        Ok(Some(touched))
    }

    /// Makes the step again that was taken back last. Gives what changed, or none when there is no step.
    pub fn redo(&mut self, project: &mut Project) -> Result<Option<Touched>, EditError> {
        let Some(step) = self.redo.pop() else {
            return Ok(None);
        };
        let (step, touched) = self.turn(project, step)?;
        self.undo.push_back(step);
        Ok(Some(touched))
    }

    /// Makes the inverse of a step, and the step that takes that back.
    fn turn(&mut self, project: &mut Project, step: Step) -> Result<(Step, Touched), EditError> {
        let applied = project.replay(step.inverse)?;
        let turned = Step {
            title: step.title,
            // A gesture ends when it is taken back.
            gesture: None,
            inverse: applied.inverse,
            leads_to: self.state,
        };
        self.state = step.leads_to;
        Ok((turned, applied.touched))
    }

    /// What undo would take back.
    #[must_use]
    pub fn undo_title(&self) -> Option<&str> {
        self.undo.back().map(|step| step.title.as_str())
    }

    /// What redo would make again.
    #[must_use]
    pub fn redo_title(&self) -> Option<&str> {
        self.redo.last().map(|step| step.title.as_str())
    }

    /// The titles of the steps that undo would take back, the latest first.
    pub fn undo_titles(&self) -> impl Iterator<Item = &str> {
        self.undo.iter().rev().map(|step| step.title.as_str())
    }

    /// Notes that the file holds the document as it is now. The next edit starts a new step, so that undo leads back
    /// here.
    pub fn mark_saved(&mut self) {
        self.saved_state = SavedState::At(self.state);
        if let Some(step) = self.undo.back_mut() {
            step.gesture = None;
        }
    }

    /// Notes that no file holds the document: it was recovered, or its file is gone.
    pub fn mark_unsaved(&mut self) {
        self.saved_state = SavedState::Nowhere;
    }

    /// Whether the document differs from its file. Undoing back to the saved state makes it clean again.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.saved_state != SavedState::At(self.state)
    }
}

/// The inverse of two steps made as one: first the later step is taken back, then the earlier. When the later one only
/// set again what the earlier one had set (each move of a drag), the earlier inverse alone is enough, so a long drag
/// stays as small as a short one.
fn after(later: Edit, earlier: &mut Edit) -> Edit {
    let earlier = std::mem::replace(earlier, Edit::Batch(Vec::new()));
    if sets_the_same(&later, &earlier) {
        return earlier;
    }
    let mut all = into_edits(later);
    all.extend(into_edits(earlier));
    Edit::Batch(all)
}

fn into_edits(edit: Edit) -> Vec<Edit> {
    match edit {
        Edit::Batch(edits) => edits,
        single => vec![single],
    }
}

fn sets_the_same(one: &Edit, other: &Edit) -> bool {
    fn edits(edit: &Edit) -> &[Edit] {
        match edit {
            Edit::Batch(edits) => edits,
            single => std::slice::from_ref(single),
        }
    }
    let (one, other) = (edits(one), edits(other));
    // Settings of a node contain its parameters, so only alone do they set nothing else.
    let alone = one.len() == 1;
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            let place = Place::set_by(one);
            place.is_some()
                && place == Place::set_by(other)
                && (alone || !matches!(place, Some(Place::Settings(_))))
        })
}

/// A place in the document that an edit overwrites and nothing else depends on.
#[derive(PartialEq)]
enum Place<'a> {
    Position(NodeId),
    Width(NodeId),
    Title(NodeId),
    Settings(NodeId),
    Parameter(NodeId, &'a ParameterAddress),
    OnFailure(NodeId),
    Frame(FrameId),
    Workflow(&'a WorkflowName),
    ProjectName,
}

impl<'a> Place<'a> {
    fn set_by(edit: &'a Edit) -> Option<Self> {
        Some(match edit {
            Edit::MoveNode { node_id, .. } => Self::Position(*node_id),
            Edit::ResizeNode { node_id, .. } => Self::Width(*node_id),
            Edit::RenameNode { node_id, .. } => Self::Title(*node_id),
            Edit::ConfigureNode { node_id, .. } => Self::Settings(*node_id),
            Edit::SetParameter {
                node_id, address, ..
            } => Self::Parameter(*node_id, address),
            Edit::SetOnFailure { node_id, .. } => Self::OnFailure(*node_id),
            Edit::SetFrame(frame) => Self::Frame(frame.id),
            Edit::ReplaceWorkflow { name, .. } => Self::Workflow(name),
            Edit::RenameProject(_) => Self::ProjectName,
            Edit::AddNode(_)
            | Edit::RemoveNode(_)
            | Edit::AddLink(_)
            | Edit::RemoveLink(_)
            | Edit::AddFrame(_)
            | Edit::RemoveFrame(_)
            | Edit::AddWorkflow { .. }
            | Edit::RemoveWorkflow(_)
            | Edit::Batch(_) => return None,
        })
    }
}
