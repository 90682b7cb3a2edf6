//! Making an edit, and with it the edit that takes it back.

use super::{Applied, Edit, EditError, Touched};
use crate::project::check::{NodeFault, check_literal, check_values, shape_faults};
use crate::project::data::Literal;
use crate::project::document::{Frame, Link, Project, WorkflowFile};
use crate::project::id::{FrameId, LinkId, NodeId};
use crate::project::node::{Node, NodeKind, Port, WorkflowName};
use crate::workflow::ParameterAddress;

/// Whether an edit has to be legal, or brings back a state that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A new edit: everything is checked.
    Checked,
    /// Undo or redo: puts exactly back what was there, even what a damaged file had brought in.
    Replay,
}

impl Project {
    /// Makes a change, or refuses it and changes nothing. Costs what the edit touches (a new link: what lies downstream
    /// of it), not what the project holds.
    pub fn apply(&mut self, edit: Edit) -> Result<Applied, EditError> {
        self.perform(edit, Mode::Checked)
    }

    /// Makes the inverse of an edit that was made on this document and is the last one not yet taken back. What the
    /// document held then comes back as it was, so legality is not asked again.
    pub(in crate::project) fn replay(&mut self, inverse: Edit) -> Result<Applied, EditError> {
        self.perform(inverse, Mode::Replay)
    }

    fn perform(&mut self, edit: Edit, mode: Mode) -> Result<Applied, EditError> {
        match edit {
            Edit::AddNode(node) => self.add_node(*node, mode),
            Edit::RemoveNode(node_id) => self.remove_node(node_id),
            Edit::MoveNode { node_id, pos_world } => self.change_node(node_id, mode, |node| {
                let pos_world = std::mem::replace(&mut node.pos_world, pos_world);
                Edit::MoveNode { node_id, pos_world }
            }),
            Edit::ResizeNode {
                node_id,
                width_world,
            } => self.change_node(node_id, mode, |node| {
                let width_world = std::mem::replace(&mut node.width_world, width_world);
                Edit::ResizeNode {
                    node_id,
                    width_world,
                }
            }),
            Edit::RenameNode { node_id, title } => self.change_node(node_id, mode, |node| {
                let title = std::mem::replace(&mut node.title, title);
                Edit::RenameNode { node_id, title }
            }),
            Edit::ConfigureNode {
                node_id,
                kind,
                inputs,
                outputs,
            } => self.configure_node(node_id, *kind, inputs, outputs, mode),
            Edit::SetParameter {
                node_id,
                address,
                value,
            } => self.set_parameter(node_id, address, value, mode),
            Edit::SetOnFailure {
                node_id,
                on_failure,
            } => self.change_node(node_id, mode, |node| {
                let on_failure = std::mem::replace(&mut node.on_failure, on_failure);
                Edit::SetOnFailure {
                    node_id,
                    on_failure,
                }
            }),
            Edit::AddLink(link) => self.add_link(link, mode),
            Edit::RemoveLink(link_id) => {
                let link = self
                    .links
                    .remove(link_id)
                    .ok_or(EditError::UnknownLink(link_id))?;
                Ok(link_touched(Edit::AddLink(link), &link))
            }
            Edit::AddFrame(frame) => self.add_frame(frame),
            Edit::SetFrame(frame) => self.set_frame(frame),
            Edit::RemoveFrame(frame_id) => {
                let frame = self
                    .frames
                    .remove(&frame_id)
                    .ok_or(EditError::UnknownFrame(frame_id))?;
                Ok(frame_touched(Edit::AddFrame(frame), frame_id))
            }
            Edit::AddWorkflow { name, file } => self.add_workflow(name, file, mode),
            Edit::ReplaceWorkflow { name, file } => {
                let Some(place) = self.workflows.get_mut(&name) else {
                    return Err(EditError::UnknownWorkflow(name));
                };
                let file = std::mem::replace(place, file);
                let inverse = Edit::ReplaceWorkflow {
                    name: name.clone(),
                    file,
                };
                Ok(workflow_touched(inverse, name))
            }
            Edit::RemoveWorkflow(name) => self.remove_workflow(name, mode),
            Edit::RenameProject(name) => {
                let name = std::mem::replace(&mut self.name, name);
                Ok(Applied {
                    inverse: Edit::RenameProject(name),
                    touched: Touched {
                        project_name: true,
                        ..Touched::default()
                    },
                })
            }
            Edit::Batch(edits) => self.batch(edits, mode),
        }
    }

    /// Makes all edits in order; when one is refused, takes back those before it.
    fn batch(&mut self, edits: Vec<Edit>, mode: Mode) -> Result<Applied, EditError> {
        let mut inverses = Vec::with_capacity(edits.len());
        let mut touched = Touched::default();
        for edit in edits {
            match self.perform(edit, mode) {
                Ok(applied) => {
                    inverses.push(applied.inverse);
                    touched.absorb(applied.touched);
                }
                Err(refused) => {
                    while let Some(inverse) = inverses.pop() {
                        self.perform(inverse, Mode::Replay)?;
                    }
                    return Err(refused);
                }
            }
        }
        inverses.reverse();
        Ok(Applied {
            inverse: Edit::Batch(inverses),
            touched,
        })
    }

    fn node_mut(&mut self, node_id: NodeId) -> Result<&mut Node, EditError> {
        self.nodes
            .get_mut(&node_id)
            .ok_or(EditError::UnknownNode(node_id))
    }

    fn add_node(&mut self, node: Node, mode: Mode) -> Result<Applied, EditError> {
        let node_id = node.id;
        if self.nodes.contains_key(&node_id) {
            return Err(EditError::IdTaken {
                what: "node",
                id: node_id.to_string(),
            });
        }
        if mode == Mode::Checked {
            self.check_node(&node)?;
        }
        self.nodes.insert(node_id, node);
        Ok(node_touched(Edit::RemoveNode(node_id), node_id))
    }

    fn remove_node(&mut self, node_id: NodeId) -> Result<Applied, EditError> {
        let node = self
            .nodes
            .remove(&node_id)
            .ok_or(EditError::UnknownNode(node_id))?;
        let mut links: Vec<LinkId> = self
            .links
            .into_node(node_id)
            .chain(self.links.out_of_node(node_id))
            .map(|link| link.id)
            .collect();
        // A damaged file may link a node with itself.
        links.sort_unstable();
        links.dedup();
        let mut applied = node_touched(Edit::AddNode(Box::new(node)), node_id);
        self.drop_links(links, &mut applied);
        Ok(applied)
    }

    /// Changes one node in place. `change` gives the inverse; only place, size and the like, never ports.
    fn change_node(
        &mut self,
        node_id: NodeId,
        mode: Mode,
        change: impl FnOnce(&mut Node) -> Edit,
    ) -> Result<Applied, EditError> {
        let node = self.node_mut(node_id)?;
        let inverse = change(node);
        if mode == Mode::Checked {
            let [x, y] = node.pos_world;
            let what = if !(x.is_finite() && y.is_finite()) {
                Some("position")
            } else if !(node.width_world.is_finite() && node.width_world > 0.0) {
                Some("width")
            } else {
                None
            };
            if let Some(what) = what {
                let fault = NodeFault::NotFinite {
                    what: what.to_owned(),
                };
                let error = node_error(node, fault);
                self.perform(inverse, Mode::Replay)?;
                return Err(error);
            }
        }
        Ok(node_touched(inverse, node_id))
    }

    fn configure_node(
        &mut self,
        node_id: NodeId,
        kind: NodeKind,
        inputs: Vec<Port>,
        outputs: Vec<Port>,
        mode: Mode,
    ) -> Result<Applied, EditError> {
        let node = self.node_mut(node_id)?;
        if kind.name() != node.kind.name() {
            return Err(EditError::KindChanged {
                node: node.title.clone(),
                is: node.kind.name().title(),
                wanted: kind.name().title(),
            });
        }
        let changed = Node {
            kind,
            inputs,
            outputs,
            ..node.clone()
        };
        if mode == Mode::Checked {
            self.check_node(&changed)?;
        }
        let lost = match mode {
            Mode::Checked => self.links_lost_by(&changed),
            // Links that fell away are edits of their own in an inverse.
            Mode::Replay => Vec::new(),
        };
        let node = self.node_mut(node_id)?;
        let before = std::mem::replace(node, changed);
        let mut applied = node_touched(Edit::configure(before), node_id);
        self.drop_links(lost, &mut applied);
        Ok(applied)
    }

    /// Links of a node that would lose their port or their legality when it becomes `changed`.
    fn links_lost_by(&self, changed: &Node) -> Vec<LinkId> {
        let types = |link: &Link| {
            let from = self.output(link.from)?;
            let to = self.input(link.to)?;
            Some((from.data_type, to.data_type))
        };
        let fits = |link: &&Link, from: Option<&Port>, to: Option<&Port>| {
            let (Some(from), Some(to)) = (from, to) else {
                return false;
            };
            let now = (from.data_type, to.data_type);
            // A link that was wrong before stays until a person removes it: it is not this edit's doing.
            types(link) == Some(now) || to.data_type.accepts(from.data_type)
        };
        let into = self
            .links
            .into_node(changed.id)
            .filter(|link| !fits(link, self.output(link.from), changed.input(link.to.port)));
        let out_of = self
            .links
            .out_of_node(changed.id)
            .filter(|link| !fits(link, changed.output(link.from.port), self.input(link.to)));
        let mut lost: Vec<LinkId> = into.chain(out_of).map(|link| link.id).collect();
        lost.sort_unstable();
        lost.dedup();
        lost
    }

    /// Removes links as part of an edit: its inverse brings them back after itself.
    fn drop_links(&mut self, link_ids: Vec<LinkId>, applied: &mut Applied) {
        let removed: Vec<Link> = link_ids
            .into_iter()
            .filter_map(|link_id| self.links.remove(link_id))
            .collect();
        if removed.is_empty() {
            return;
        }
        let mut inverses = Vec::with_capacity(removed.len() + 1);
        inverses.push(std::mem::replace(
            &mut applied.inverse,
            Edit::Batch(Vec::new()),
        ));
        for link in removed {
            touch_link(&mut applied.touched, &link);
            inverses.push(Edit::AddLink(link));
        }
        applied.inverse = Edit::Batch(inverses);
    }

    fn set_parameter(
        &mut self,
        node_id: NodeId,
        address: ParameterAddress,
        value: Option<Literal>,
        mode: Mode,
    ) -> Result<Applied, EditError> {
        let node = self.node_mut(node_id)?;
        let title = &node.title;
        let parameter = match &mut node.kind {
            NodeKind::Workflow(workflow) => workflow
                .parameters
                .iter_mut()
                .find(|parameter| parameter.address == address),
            _ => None,
        };
        let Some(parameter) = parameter else {
            return Err(EditError::UnknownParameter {
                node: title.clone(),
                parameter: address.to_string(),
            });
        };
        if mode == Mode::Checked
            && let Some(value) = &value
        {
            check_literal(value, &format!("parameter \"{}\"", parameter.label)).map_err(
                |fault| EditError::Node {
                    node: title.clone(),
                    fault,
                },
            )?;
        }
        let value = std::mem::replace(&mut parameter.value, value);
        let inverse = Edit::SetParameter {
            node_id,
            address,
            value,
        };
        Ok(node_touched(inverse, node_id))
    }

    fn add_link(&mut self, link: Link, mode: Mode) -> Result<Applied, EditError> {
        if self.links.contains(link.id) {
            return Err(EditError::IdTaken {
                what: "link",
                id: link.id.to_string(),
            });
        }
        if mode == Mode::Checked {
            self.check_link(link.from, link.to)?;
        }
        self.links.insert(link);
        Ok(link_touched(Edit::RemoveLink(link.id), &link))
    }

    fn add_frame(&mut self, frame: Frame) -> Result<Applied, EditError> {
        let frame_id = frame.id;
        if self.frames.contains_key(&frame_id) {
            return Err(EditError::IdTaken {
                what: "frame",
                id: frame_id.to_string(),
            });
        }
        check_frame(&frame)?;
        self.frames.insert(frame_id, frame);
        Ok(frame_touched(Edit::RemoveFrame(frame_id), frame_id))
    }

    fn set_frame(&mut self, frame: Frame) -> Result<Applied, EditError> {
        let frame_id = frame.id;
        let place = self
            .frames
            .get_mut(&frame_id)
            .ok_or(EditError::UnknownFrame(frame_id))?;
        check_frame(&frame)?;
        let before = std::mem::replace(place, frame);
        Ok(frame_touched(Edit::SetFrame(before), frame_id))
    }

    fn add_workflow(
        &mut self,
        name: WorkflowName,
        file: WorkflowFile,
        mode: Mode,
    ) -> Result<Applied, EditError> {
        let folded = name.as_str().to_lowercase();
        let taken = match mode {
            Mode::Checked => self
                .workflows
                .keys()
                .find(|other| other.as_str().to_lowercase() == folded),
            Mode::Replay => self.workflows.get_key_value(&name).map(|(other, _)| other),
        };
        if let Some(other) = taken {
            return Err(EditError::WorkflowNameTaken(other.clone()));
        }
        self.workflows.insert(name.clone(), file);
        Ok(workflow_touched(Edit::RemoveWorkflow(name.clone()), name))
    }

    fn remove_workflow(&mut self, name: WorkflowName, mode: Mode) -> Result<Applied, EditError> {
        if mode == Mode::Checked
            && let Some(user) = self.nodes.values().find(|node| {
                matches!(&node.kind, NodeKind::Workflow(workflow) if workflow.workflow == name)
            })
        {
            return Err(EditError::WorkflowInUse {
                workflow: name,
                node: user.title.clone(),
            });
        }
        let Some(file) = self.workflows.remove(&name) else {
            return Err(EditError::UnknownWorkflow(name));
        };
        let inverse = Edit::AddWorkflow {
            name: name.clone(),
            file,
        };
        Ok(workflow_touched(inverse, name))
    }

    fn check_node(&self, node: &Node) -> Result<(), EditError> {
        check_values(node).map_err(|fault| node_error(node, fault))?;
        if let Some(fault) = shape_faults(node).into_iter().next() {
            return Err(node_error(node, fault));
        }
        match &node.kind {
            NodeKind::Workflow(workflow) if !self.workflows.contains_key(&workflow.workflow) => {
                Err(EditError::UnknownWorkflow(workflow.workflow.clone()))
            }
            _ => Ok(()),
        }
    }
}

fn check_frame(frame: &Frame) -> Result<(), EditError> {
    let finite = frame
        .pos_world
        .iter()
        .chain(&frame.size_world)
        .all(|length| length.is_finite());
    if finite {
        Ok(())
    } else {
        Err(EditError::FrameNotFinite(frame.title.clone()))
    }
}

fn node_error(node: &Node, fault: NodeFault) -> EditError {
    EditError::Node {
        node: node.title.clone(),
        fault,
    }
}

fn node_touched(inverse: Edit, node_id: NodeId) -> Applied {
    let mut touched = Touched::default();
    touched.nodes.insert(node_id);
    Applied { inverse, touched }
}

/// A link's nodes are touched with it: they show whether a port is linked.
fn touch_link(touched: &mut Touched, link: &Link) {
    touched.links.insert(link.id);
    touched.nodes.extend([link.from.node, link.to.node]);
}

fn link_touched(inverse: Edit, link: &Link) -> Applied {
    let mut touched = Touched::default();
    touch_link(&mut touched, link);
    Applied { inverse, touched }
}

fn frame_touched(inverse: Edit, frame_id: FrameId) -> Applied {
    let mut touched = Touched::default();
    touched.frames.insert(frame_id);
    Applied { inverse, touched }
}

fn workflow_touched(inverse: Edit, name: WorkflowName) -> Applied {
    let mut touched = Touched::default();
    touched.workflows.insert(name);
    Applied { inverse, touched }
}
