//! Everything a person can ask for: one enum behind menus, shortcuts, the palette and the panels.
//!
//! Panels and the canvas only write [`Action`] messages. [`super::apply::apply_actions`] is the one system that changes
//! the document; the canvas reads the same messages for what concerns the view.

mod clipboard;
mod table;

pub use clipboard::{Clipboard, ClipboardFormat};
pub use table::{ACTIONS, ActionContext, ActionSpec, Category, Needs};

use super::document::Selection;
use super::library::LibraryWish;
use super::replace_workflow::{BrokenUses, Reach};
use crate::engine::{OnStart, RunCommand, RunId};
use crate::fleet::BackendConfig;
use crate::project::{
    BackendId, Frame, FrameId, LinkId, Literal, Node, NodeId, NodeKindName, PortRef, Project,
    WorkflowFile, WorkflowName,
};
use crate::store::LibraryWorkflowId;
use crate::workflow::{InnerOutput, ParameterAddress};
use bevy::prelude::Message;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// One wish.
#[derive(Message, Clone, Debug, PartialEq)]
pub enum Action {
    /// An empty project, after asking about unsaved changes.
    NewProject,
    /// Choose a project to open.
    OpenProject,
    /// Open this project folder or portable file.
    OpenPath(PathBuf),
    /// Save where it was saved last; asks where the first time.
    Save,
    /// Choose a folder and save there.
    SaveAs,
    /// Save into this folder.
    SavePath(PathBuf),
    /// Choose a file and write the project with its workflows into it.
    ExportPortable,
    /// Write the portable form into this file.
    ExportPath(PathBuf),
    /// Choose a ComfyUI workflow to add to the project.
    ImportWorkflow,
    /// Import or open a file that was chosen or dropped: a workflow becomes a node at the place, a project is opened.
    ImportFile {
        /// The file.
        path: PathBuf,
        /// Where the node goes in canvas units; the middle of the view when none.
        pos_world: Option<[f32; 2]>,
    },
    /// Open the project of a run and show the run: where it is saved, else its unsaved work, else as it was when the run
    /// began.
    OpenProjectOfRun(RunId),
    /// Open a project that is saved nowhere: its unsaved work, or as it was when a run began.
    OpenSnapshot(Box<Project>),
    /// Open a sample project of the program (by its id in [`super::samples`]).
    OpenSample(&'static str),
    /// Close the window, after asking about unsaved changes.
    Quit,

    /// Take the last step back.
    Undo,
    /// Do the step again that was taken back.
    Redo,
    /// Copy the selected nodes and frames and delete them.
    Cut,
    /// Copy the selected nodes and frames as JSON text.
    Copy,
    /// Insert what was copied.
    Paste,
    /// Insert what was copied, linked to what the originals took their values from.
    PasteLinked,
    /// Copy the selected nodes and frames beside themselves.
    Duplicate,
    /// Copy these nodes onto their own places and select the copies, which the pointer then drags away.
    Clone {
        /// The nodes.
        nodes: Vec<NodeId>,
        /// What this is part of: making the copies and moving them is one step.
        gesture: Gesture,
    },
    /// Delete the selection.
    Delete,
    /// Select every node and every frame.
    SelectAll,
    /// Select nothing.
    SelectNone,
    /// Change what is selected.
    Select(Select),
    /// Add a node.
    AddNode {
        /// What it is.
        node: NewNode,
        /// Top left corner in canvas units; the middle of the view when none.
        pos_world: Option<[f32; 2]>,
        /// A port that a link is drawn to or from, when the first fitting port of the new node takes it.
        connect: Option<PortRef>,
    },
    /// Connect an output to an input. A link that is in the way is replaced.
    AddLink {
        /// The output.
        from: PortRef,
        /// The input.
        to: PortRef,
    },
    /// Remove links.
    RemoveLinks(Vec<LinkId>),
    /// Put nodes to new places.
    MoveNodes {
        /// Node and top left corner in canvas units.
        moves: Vec<(NodeId, [f32; 2])>,
        /// What this is part of.
        gesture: Gesture,
    },
    /// Put a node's settings, title, width or ports in place of the present ones.
    ChangeNode {
        /// The node as it shall be; its id says which.
        node: Box<Node>,
        /// What this is part of.
        gesture: Gesture,
    },
    /// Set an exposed parameter by its label; none gives the workflow's own value back.
    SetParameter {
        /// The Workflow node.
        node: NodeId,
        /// Label of the parameter.
        label: String,
        /// Its value.
        value: Option<Literal>,
        /// What this is part of.
        gesture: Gesture,
    },
    /// Open a node's workflow in ComfyUI's own editor.
    EditWorkflow {
        /// The Workflow node; the selected one when none.
        node_id: Option<NodeId>,
        /// On which backend; where it ran last, or the first that answers, when none.
        backend_id: Option<BackendId>,
    },
    /// Offer again what was thrown away last in the editor of a node.
    BringBackEdits {
        /// The Workflow node.
        node_id: NodeId,
    },
    /// Write a node's workflow into a file that the person's own browser can open, and say where it lies.
    WriteForBrowser {
        /// The Workflow node.
        node_id: NodeId,
    },
    /// Put another workflow in the place of a node's own, as one undo step.
    ReplaceWorkflow {
        /// The Workflow node.
        node_id: NodeId,
        /// The new file.
        file: WorkflowFile,
        /// Which nodes get it.
        reach: Reach,
        /// What becomes of fields and ports that lead nowhere in it.
        broken: BrokenUses,
    },
    /// Take nothing of what the window of a node's editor saved.
    RefuseReplacement {
        /// The Workflow node.
        node_id: NodeId,
    },
    /// Add a workflow to the project, without a node.
    AddWorkflow {
        /// The wished name; numbered when it is taken.
        name: String,
        /// The file.
        file: WorkflowFile,
    },
    /// Add a workflow that is not a file on this machine: to the project, with a node that runs it.
    AddWorkflowNode {
        /// The wished name; numbered when it is taken by another workflow.
        name: String,
        /// The file.
        file: WorkflowFile,
        /// Where the node goes in canvas units; the middle of the view when none.
        pos_world: Option<[f32; 2]>,
    },
    /// Select a frame and nothing else.
    SelectFrame(FrameId),
    /// Put a frame around the selected nodes.
    FrameSelection,
    /// Make the selected frame as large as the nodes in it need.
    FitFrame,
    /// Select the nodes in a frame.
    SelectInFrame(FrameId),
    /// Select a frame and type its name.
    RenameFrame(FrameId),
    /// Put a frame's title, place or size in place of the present ones.
    SetFrame {
        /// The frame as it shall be; its id says which.
        frame: Frame,
        /// What this is part of.
        gesture: Gesture,
    },
    /// Rename the project.
    RenameProject {
        /// Its new name.
        name: String,
        /// What this is part of.
        gesture: Gesture,
    },

    /// Canvas: closer.
    ZoomIn,
    /// Canvas: further away.
    ZoomOut,
    /// Canvas: 100 %.
    ZoomReset,
    /// Canvas: everything in view.
    ZoomToFit,
    /// Canvas: the selection in view.
    ZoomToSelection,
    /// Canvas: show this node and select it.
    RevealNode(NodeId),
    /// Canvas: show or hide the overview.
    ToggleMinimap,
    /// The whole window larger.
    UiScaleUp,
    /// The whole window smaller.
    UiScaleDown,
    /// The whole window at 100 %.
    UiScaleReset,
    /// Dark to light and back.
    ToggleTheme,
    /// Panels back to where they were on the first start.
    ResetLayout,
    /// Show or hide everything but the canvas.
    ToggleFocusMode,

    /// Run the project.
    Run,
    /// Run one node and what feeds it; what was made before is used.
    RunUpTo(NodeId),
    /// Run the workflow of a node only up to one of its inner nodes.
    RunInto {
        /// The Workflow node.
        node_id: NodeId,
        /// What the inner node gives.
        inner: Box<InnerOutput>,
        /// For which items.
        items: LookedAt,
    },
    /// Choose the inner node up to which the workflow of a node is run.
    ChooseInner {
        /// The node.
        node_id: NodeId,
        /// For which items.
        items: LookedAt,
    },
    /// Say what a run would do, before it starts.
    PlanRun,
    /// Submit nothing new, or go on.
    PauseOrResume,
    /// Call the run off.
    Stop,
    /// Give failed and cancelled items another chance.
    RetryFailed,
    /// Something of a run, its items or a backend that the engine does by itself.
    Command(Box<RunCommand>),
    /// Say what becomes of an unfinished run of an earlier session.
    Settle {
        /// The run.
        run_id: RunId,
        /// What becomes of it.
        settlement: Settlement,
    },
    /// Set what happens with unfinished runs at every later start.
    SetOnStart(OnStart),
    /// Show what waits for a person.
    ShowReview,
    /// Show another run on the canvas.
    ShowRun(RunId),

    /// Ask for a backend's address.
    AddBackend,
    /// Change a backend's settings.
    EditBackend(BackendId),
    /// Register or change a backend.
    PutBackend(Box<BackendConfig>),
    /// Ask every backend for its state now.
    RefreshAllBackends,
    /// Start the built-in backend inside this program.
    StartBuiltin,

    /// Search for a node to add.
    AddNodeSearch {
        /// Where it goes in canvas units; the middle of the view when none.
        pos_world: Option<[f32; 2]>,
        /// The port a link was dragged from, if that opened the search.
        connect: Option<PortRef>,
    },
    /// Open the menu of what is under the pointer.
    OpenContextMenu {
        /// What it is about.
        target: CanvasTarget,
        /// Where it opens, logical pixels of the window.
        pos_px: [f32; 2],
        /// The same place in canvas units.
        pos_world: [f32; 2],
    },
    /// Choose which fields of its workflow the selected node shows.
    ChooseFields,
    /// Choose a file to put in the place of the selected node's workflow.
    ChooseReplacement,
    /// Compare a chosen file with the workflow of a node, and ask.
    CompareWorkflow {
        /// The node.
        node: NodeId,
        /// The file.
        path: PathBuf,
    },
    /// Compare a workflow that is not a file on this machine with the workflow of a node, and ask.
    CompareWithNode {
        /// The node.
        node: NodeId,
        /// The workflow.
        file: WorkflowFile,
    },
    /// Do something with the library of workflows.
    Library(LibraryWish),
    /// Make a field of a node's workflow an input of the node, or the other way round.
    ToggleInput {
        /// The node.
        node: NodeId,
        /// The field.
        address: ParameterAddress,
    },
    /// Give a field of a node's workflow an input and a Fan out node with seeds that feeds it.
    SeedsFromFanOut {
        /// The Workflow node.
        node: NodeId,
        /// The field.
        address: ParameterAddress,
    },
    /// Search through every action.
    CommandPalette,
    /// Show all shortcuts.
    Shortcuts,
    /// Theme, size, shortcuts.
    Preferences,
    /// Version and licences.
    About,
    /// Everything that was reported.
    Notifications,
}

/// The items of a node whose inside is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookedAt {
    /// The one with these labels in one line; empty for the first.
    One(String),
    /// All of them.
    All,
}

/// What becomes of an unfinished run of an earlier session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It goes on.
    Resume,
    /// It is taken up paused.
    Pause,
    /// It is called off.
    Cancel,
    /// It rests as it is until the next start.
    Leave,
}

/// What a new node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewNode {
    /// One of the kinds other than Workflow, with its usual settings.
    Kind(NodeKindName),
    /// A workflow of the project.
    Workflow(WorkflowName),
    /// The present version of a workflow of the library, which becomes one of the project.
    FromLibrary(LibraryWorkflowId),
}

/// A thing on the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanvasTarget {
    /// The background.
    Empty,
    /// A node.
    Node(NodeId),
    /// A port of a node.
    Port(PortRef),
    /// A link.
    Link(LinkId),
    /// A frame.
    Frame(FrameId),
}

/// How the selection changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// These and nothing else.
    Only {
        /// Nodes.
        nodes: Vec<NodeId>,
        /// Links.
        links: Vec<LinkId>,
    },
    /// These too.
    Add {
        /// Nodes.
        nodes: Vec<NodeId>,
        /// Links.
        links: Vec<LinkId>,
    },
    /// The other way round for these.
    Toggle {
        /// Nodes.
        nodes: Vec<NodeId>,
        /// Links.
        links: Vec<LinkId>,
    },
    /// This and nothing else.
    Exactly(Selection),
}

/// One press, drag or typing session. Edits of the same gesture are one undo step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gesture(u64);

impl Gesture {
    /// A gesture of its own.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Its number, unique in this process.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl Default for Gesture {
    fn default() -> Self {
        Self::new()
    }
}
