//! Every change of the document, each with its exact inverse.

mod perform;

use super::check::{LinkRefusal, NodeFault};
use super::data::Literal;
use super::document::{Frame, Link, WorkflowFile};
use super::id::{FrameId, LinkId, NodeId};
use super::node::{Node, NodeKind, OnFailure, Port, WorkflowName};
use crate::workflow::ParameterAddress;
use std::collections::BTreeSet;

/// One change of the document. Made with [`Project::apply`].
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Puts a node on the canvas. The workflow it names must be in the project.
    AddNode(Box<Node>),
    /// Takes a node away, with its links.
    RemoveNode(NodeId),
    /// Moves a node.
    MoveNode {
        /// The node.
        node_id: NodeId,
        /// Its new top left corner in canvas units, y down.
        pos_world: [f32; 2],
    },
    /// Makes a node wider or narrower.
    ResizeNode {
        /// The node.
        node_id: NodeId,
        /// Its new width in canvas units.
        width_world: f32,
    },
    /// Gives a node another title.
    RenameNode {
        /// The node.
        node_id: NodeId,
        /// Its new title.
        title: String,
    },
    /// Gives a node other settings and ports. Its kind stays. Links whose port is gone, or whose types do not fit any
    /// more, are removed with it. [`Edit::configure`] makes one.
    ConfigureNode {
        /// The node.
        node_id: NodeId,
        /// The new settings, of the same kind.
        kind: Box<NodeKind>,
        /// The new inputs.
        inputs: Vec<Port>,
        /// The new outputs.
        outputs: Vec<Port>,
    },
    /// Sets the value of an exposed parameter of a Workflow node.
    SetParameter {
        /// The node.
        node_id: NodeId,
        /// Which of its exposed parameters.
        address: ParameterAddress,
        /// The value, or none to leave the workflow's own.
        value: Option<Literal>,
    },
    /// Sets what a failed item of the node means for the run.
    SetOnFailure {
        /// The node.
        node_id: NodeId,
        /// What it means.
        on_failure: OnFailure,
    },
    /// Links two ports.
    AddLink(Link),
    /// Removes a link.
    RemoveLink(LinkId),
    /// Adds a frame.
    AddFrame(Frame),
    /// Moves, resizes or renames the frame with this id.
    SetFrame(Frame),
    /// Removes a frame; what is in it stays.
    RemoveFrame(FrameId),
    /// Adds a workflow file under a new name.
    AddWorkflow {
        /// Its name.
        name: WorkflowName,
        /// Its content.
        file: WorkflowFile,
    },
    /// Puts another content in the place of a workflow file.
    ReplaceWorkflow {
        /// Its name.
        name: WorkflowName,
        /// Its new content.
        file: WorkflowFile,
    },
    /// Removes a workflow file that no node names.
    RemoveWorkflow(WorkflowName),
    /// Gives the project another name.
    RenameProject(String),
    /// Several edits as one: all are made, or none.
    Batch(Vec<Self>),
}

impl Edit {
    /// The edit that turns a node into `changed`, made from it by [`Node::with_kind`], [`Node::with_data_type`] or by
    /// hand: settings and ports.
    #[must_use]
    pub fn configure(changed: Node) -> Self {
        Self::ConfigureNode {
            node_id: changed.id,
            kind: Box::new(changed.kind),
            inputs: changed.inputs,
            outputs: changed.outputs,
        }
    }
}

/// What an edit did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The edit that takes it back exactly.
    pub inverse: Edit,
    /// What it changed, for whoever shows the document.
    pub touched: Touched,
}

/// What an edit added, changed or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Nodes.
    pub nodes: BTreeSet<NodeId>,
    /// Links, with those that fell away because their port did.
    pub links: BTreeSet<LinkId>,
    /// Frames.
    pub frames: BTreeSet<FrameId>,
    /// Workflow files.
    pub workflows: BTreeSet<WorkflowName>,
    /// The project's own name.
    pub project_name: bool,
}

impl Touched {
    fn absorb(&mut self, other: Self) {
        self.nodes.extend(other.nodes);
        self.links.extend(other.links);
        self.frames.extend(other.frames);
        self.workflows.extend(other.workflows);
        self.project_name |= other.project_name;
    }
}

/// Why an edit was refused. The document is as it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditError {
    /// No node has this id.
    #[error("node {0} is not in the project (any more)")]
    UnknownNode(NodeId),
    /// No link has this id.
    #[error("link {0} is not in the project (any more)")]
    UnknownLink(LinkId),
    /// No frame has this id.
    #[error("frame {0} is not in the project (any more)")]
    UnknownFrame(FrameId),
    /// The project has no workflow of this name.
    #[error("the project has no workflow \"{0}\"; import it first")]
    UnknownWorkflow(WorkflowName),
    /// The node shows no such parameter.
    #[error("\"{node}\" does not show the parameter {parameter}; expose it first")]
    UnknownParameter {
        /// The node's title.
        node: String,
        /// The parameter.
        parameter: String,
    },
    /// Something with this id is there already.
    #[error("there is a {what} with the id {id} already; give the new one its own id")]
    IdTaken {
        /// Node, link or frame.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// Another workflow has the name, or one that differs only in upper and lower case.
    #[error(
        "the project has a workflow \"{0}\" already (upper and lower case count as equal); choose another name"
    )]
    WorkflowNameTaken(WorkflowName),
    /// A node still names the workflow.
    #[error(
        "\"{node}\" uses the workflow \"{workflow}\"; remove the node or give it another workflow first"
    )]
    WorkflowInUse {
        /// The workflow.
        workflow: WorkflowName,
        /// Title of the first node that names it.
        node: String,
    },
    /// A link is not legal.
    #[error(transparent)]
    Link(#[from] LinkRefusal),
    /// A node is not well made.
    #[error("\"{node}\" cannot be changed like this: {fault}")]
    Node {
        /// The node's title.
        node: String,
        /// What is wrong.
        fault: NodeFault,
    },
    /// The kind of a node never changes.
    #[error("\"{node}\" is a {is} node and cannot become a {wanted} node; add a new node instead")]
    KindChanged {
        /// The node's title.
        node: String,
        /// What it is.
        is: &'static str,
        /// What it should become.
        wanted: &'static str,
    },
    /// A frame's place or size is infinite or not a number.
    #[error("the place or size of frame \"{0}\" is not a finite number")]
    FrameNotFinite(String),
}
