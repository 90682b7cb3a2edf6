//! Everything a person can ask for: one enum behind menus, shortcuts, the palette and the panels.
//!
//! Panels and the canvas only write [`Action`] messages. [`super::apply::apply_actions`] is the one system that changes
//! the document; the canvas reads the same messages for what concerns the view.

use super::document::{Document, Selection};
use super::icons;
use super::library::LibraryWish;
use super::replace_workflow::{BrokenUses, Reach};
use crate::engine::{OnStart, RunCommand, RunId};
use crate::fleet::BackendConfig;
use crate::project::{
    BackendId, LinkId, Literal, Node, NodeId, NodeKind, NodeKindName, PortRef, WorkflowFile,
    WorkflowName,
};
use crate::store::LibraryWorkflowId;
use crate::workflow::{InnerOutput, ParameterAddress};
use bevy::prelude::Message;
use bevy_egui::egui::{Key, KeyboardShortcut, Modifiers};
use std::path::PathBuf;
use std::sync::Arc;
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
    /// Open a sample project of the program (by its id in [`super::samples`]).
    OpenSample(&'static str),
    /// Close the window, after asking about unsaved changes.
    Quit,

    /// Take the last step back.
    Undo,
    /// Do the step again that was taken back.
    Redo,
    /// Copy the selection and delete it.
    Cut,
    /// Copy the selection as JSON text.
    Copy,
    /// Insert what was copied.
    Paste,
    /// Insert what was copied, linked to what the originals took their values from.
    PasteLinked,
    /// Copy the selection beside itself.
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
    /// Select every node.
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
    },
    /// Choose the inner node up to which the workflow of a node is run.
    ChooseInner(NodeId),
    /// Say what a run would do, before it starts.
    PlanRun,
    /// Submit nothing new, or go on.
    PauseOrResume,
    /// Call the run off.
    Stop,
    /// Give failed items another chance.
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

/// Where an action stands in the menus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Projects and files.
    File,
    /// The document.
    Edit,
    /// What is seen.
    View,
    /// Runs.
    Run,
    /// Backends.
    Machines,
    /// Finding one's way.
    Help,
}

impl Category {
    /// The menus from left to right.
    pub const ALL: [Self; 6] = [
        Self::File,
        Self::Edit,
        Self::View,
        Self::Run,
        Self::Machines,
        Self::Help,
    ];

    /// The name a person reads.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Edit => "Edit",
            Self::View => "View",
            Self::Run => "Run",
            Self::Machines => "Machines",
            Self::Help => "Help",
        }
    }
}

/// What an action needs to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Something selected.
    Selection,
    /// One Workflow node selected.
    WorkflowNode,
    /// At least one node.
    Nodes,
    /// A step that can be taken back.
    UndoStep,
    /// A step that can be done again.
    RedoStep,
    /// A run that has not ended.
    ActiveRun,
    /// An ended run with failed items.
    FailedItems,
    /// At least one backend.
    Backends,
}

/// What the needs are checked against.
#[derive(Clone, Copy, Debug)]
pub struct ActionContext<'a> {
    /// The document.
    pub document: &'a Document,
    /// The selection.
    pub selection: &'a Selection,
    /// Whether a run is going on.
    pub run_active: bool,
    /// Whether the shown run has failed items and ended.
    pub run_has_failures: bool,
    /// How many backends are registered.
    pub backend_count: usize,
}

impl Needs {
    /// Whether the need is met.
    #[must_use]
    pub fn met(self, context: &ActionContext<'_>) -> bool {
        match self {
            Self::Nothing => true,
            Self::Selection => !context.selection.is_empty(),
            Self::WorkflowNode => {
                let nodes = &context.document.project().nodes;
                let is_workflow = |id: &NodeId| {
                    nodes
                        .get(id)
                        .is_some_and(|node| matches!(node.kind, NodeKind::Workflow(_)))
                };
                context
                    .selection
                    .nodes
                    .iter()
                    .filter(|id| is_workflow(id))
                    .count()
                    == 1
            }
            Self::Nodes => !context.document.project().nodes.is_empty(),
            Self::UndoStep => context.document.undo_title().is_some(),
            Self::RedoStep => context.document.redo_title().is_some(),
            Self::ActiveRun => context.run_active,
            Self::FailedItems => context.run_has_failures,
            Self::Backends => context.backend_count > 0,
        }
    }
}

/// One row of the table of actions without parameters.
#[derive(Debug)]
pub struct ActionSpec {
    /// Stable name: in settings, and over HTTP.
    pub id: &'static str,
    /// The words in menus and in the palette.
    pub title: &'static str,
    /// Its icon (a Phosphor glyph), empty for none.
    pub icon: &'static str,
    /// Its menu.
    pub category: Category,
    /// Default shortcuts, the first one is shown.
    pub shortcuts: &'static [KeyboardShortcut],
    /// When it can be used.
    pub needs: Needs,
    /// Whether a line separates it from the row above in its menu.
    pub starts_group: bool,
    /// The action.
    pub action: Action,
}

const COMMAND: Modifiers = Modifiers::COMMAND;
const COMMAND_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);
const COMMAND_ALT: Modifiers = Modifiers::COMMAND.plus(Modifiers::ALT);

const fn key(modifiers: Modifiers, key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(modifiers, key)
}

macro_rules! spec {
    ($id:literal, $title:literal, $icon:expr, $category:ident, [$($modifiers:expr, $key:ident);*], $needs:ident, $group:literal, $action:expr) => {
        ActionSpec {
            id: $id,
            title: $title,
            icon: $icon,
            category: Category::$category,
            shortcuts: &[$(key($modifiers, Key::$key)),*],
            needs: Needs::$needs,
            starts_group: $group,
            action: $action,
        }
    };
}

/// Every action without parameters, in menu order. Keys follow the interaction table of the canvas (ComfyUI's habit first).
#[rustfmt::skip]
pub static ACTIONS: &[ActionSpec] = &[
    spec!("file.new", "New project", icons::FILE_PLUS, File, [COMMAND, N], Nothing, false, Action::NewProject),
    spec!("file.open", "Open…", icons::FOLDER_OPEN, File, [COMMAND, O], Nothing, false, Action::OpenProject),
    spec!("file.save", "Save", icons::FLOPPY_DISK, File, [COMMAND, S], Nothing, true, Action::Save),
    spec!("file.save_as", "Save as…", "", File, [COMMAND_SHIFT, S], Nothing, false, Action::SaveAs),
    spec!("file.export", "Export portable file…", icons::EXPORT, File, [COMMAND, E], Nothing, false, Action::ExportPortable),
    spec!("file.import_workflow", "Import workflow…", icons::DOWNLOAD_SIMPLE, File, [COMMAND, I], Nothing, true, Action::ImportWorkflow),
    spec!("file.quit", "Quit", "", File, [COMMAND, Q], Nothing, true, Action::Quit),

    spec!("edit.undo", "Undo", icons::ARROW_COUNTER_CLOCKWISE, Edit, [COMMAND, Z], UndoStep, false, Action::Undo),
    spec!("edit.redo", "Redo", icons::ARROW_CLOCKWISE, Edit, [COMMAND_SHIFT, Z; COMMAND, Y], RedoStep, false, Action::Redo),
    spec!("edit.cut", "Cut", icons::SCISSORS, Edit, [COMMAND, X], Selection, true, Action::Cut),
    spec!("edit.copy", "Copy", icons::COPY, Edit, [COMMAND, C], Selection, false, Action::Copy),
    spec!("edit.paste", "Paste", icons::CLIPBOARD, Edit, [COMMAND, V], Nothing, false, Action::Paste),
    spec!("edit.paste_linked", "Paste with inputs", "", Edit, [COMMAND_SHIFT, V], Nothing, false, Action::PasteLinked),
    spec!("edit.duplicate", "Duplicate", icons::COPY_SIMPLE, Edit, [COMMAND, D], Selection, false, Action::Duplicate),
    spec!("edit.delete", "Delete", icons::TRASH, Edit, [Modifiers::NONE, Delete; Modifiers::NONE, Backspace], Selection, false, Action::Delete),
    spec!("edit.select_all", "Select all", "", Edit, [COMMAND, A], Nodes, true, Action::SelectAll),
    spec!("edit.select_none", "Select none", "", Edit, [Modifiers::NONE, Escape], Selection, false, Action::SelectNone),
    spec!("edit.add_node", "Add node…", icons::PLUS, Edit, [Modifiers::NONE, Tab; Modifiers::SHIFT, A], Nothing, true, Action::AddNodeSearch { pos_world: None, connect: None }),
    spec!("edit.workflow", "Edit workflow in ComfyUI…", icons::PENCIL_SIMPLE, Edit, [Modifiers::NONE, PageDown], WorkflowNode, false, Action::EditWorkflow { node_id: None, backend_id: None }),
    spec!("edit.fields", "Choose fields of the node…", icons::SLIDERS_HORIZONTAL, Edit, [], WorkflowNode, false, Action::ChooseFields),
    spec!("edit.replace_workflow", "Replace workflow of the node…", icons::ARROWS_CLOCKWISE, Edit, [], WorkflowNode, false, Action::ChooseReplacement),
    spec!("edit.preferences", "Preferences…", icons::GEAR_SIX, Edit, [COMMAND, Comma], Nothing, true, Action::Preferences),

    spec!("view.fit", "Zoom to fit", icons::CORNERS_OUT, View, [Modifiers::SHIFT, Num1; Modifiers::NONE, Home], Nodes, false, Action::ZoomToFit),
    spec!("view.selection", "Zoom to selection", icons::SELECTION, View, [Modifiers::SHIFT, Num2; Modifiers::NONE, Period], Selection, false, Action::ZoomToSelection),
    spec!("view.reset", "Zoom to 100 %", "", View, [Modifiers::SHIFT, Num0], Nothing, false, Action::ZoomReset),
    spec!("view.zoom_in", "Zoom in", icons::MAGNIFYING_GLASS_PLUS, View, [Modifiers::ALT, Equals; Modifiers::ALT, Plus], Nothing, false, Action::ZoomIn),
    spec!("view.zoom_out", "Zoom out", icons::MAGNIFYING_GLASS_MINUS, View, [Modifiers::ALT, Minus], Nothing, false, Action::ZoomOut),
    spec!("view.minimap", "Overview map", icons::MAP_TRIFOLD, View, [Modifiers::ALT, M], Nothing, true, Action::ToggleMinimap),
    spec!("view.focus", "Canvas only", icons::ARROWS_OUT, View, [Modifiers::NONE, F11; COMMAND, Backslash], Nothing, false, Action::ToggleFocusMode),
    spec!("view.theme", "Dark or light theme", icons::SUN, View, [], Nothing, false, Action::ToggleTheme),
    spec!("view.larger", "Larger interface", "", View, [COMMAND, Plus; COMMAND, Equals], Nothing, true, Action::UiScaleUp),
    spec!("view.smaller", "Smaller interface", "", View, [COMMAND, Minus], Nothing, false, Action::UiScaleDown),
    spec!("view.normal", "Interface at 100 %", "", View, [COMMAND, Num0], Nothing, false, Action::UiScaleReset),
    spec!("view.layout", "Reset panels", icons::LAYOUT, View, [], Nothing, true, Action::ResetLayout),

    spec!("run.start", "Run", icons::PLAY, Run, [COMMAND, Enter], Nodes, false, Action::Run),
    spec!("run.plan", "What would run…", icons::LIST, Run, [COMMAND_SHIFT, Enter], Nodes, false, Action::PlanRun),
    spec!("run.pause", "Pause or go on", icons::PAUSE, Run, [COMMAND, P], ActiveRun, false, Action::PauseOrResume),
    spec!("run.stop", "Stop", icons::STOP, Run, [COMMAND_ALT, Enter], ActiveRun, false, Action::Stop),
    spec!("run.retry", "Go on with failed and stopped items", icons::ARROWS_CLOCKWISE, Run, [], FailedItems, true, Action::RetryFailed),
    spec!("run.review", "Show what waits for you", icons::EYE, Run, [COMMAND_SHIFT, R], Nothing, true, Action::ShowReview),

    spec!("fleet.add", "Add a backend…", icons::PLUS, Machines, [], Nothing, false, Action::AddBackend),
    spec!("fleet.builtin", "Start the built-in backend", icons::HARD_DRIVES, Machines, [], Nothing, false, Action::StartBuiltin),
    spec!("fleet.refresh", "Refresh all", icons::ARROWS_CLOCKWISE, Machines, [], Backends, true, Action::RefreshAllBackends),

    spec!("help.palette", "Command palette…", icons::COMMAND, Help, [COMMAND, K; COMMAND_SHIFT, P], Nothing, false, Action::CommandPalette),
    spec!("help.shortcuts", "Keyboard shortcuts", icons::KEYBOARD, Help, [Modifiers::NONE, Questionmark; COMMAND_SHIFT, K], Nothing, false, Action::Shortcuts),
    spec!("help.notifications", "Notifications", icons::BELL, Help, [], Nothing, false, Action::Notifications),
    spec!("help.about", "About", icons::INFO, Help, [], Nothing, true, Action::About),
];

impl ActionSpec {
    /// The row with this id.
    #[must_use]
    pub fn by_id(id: &str) -> Option<&'static Self> {
        ACTIONS.iter().find(|spec| spec.id == id)
    }
}

/// A picture of the selection, as plain JSON on the clipboard.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Clipboard {
    /// Says whose text it is.
    pub format: ClipboardFormat,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Links with both ends among the nodes.
    pub links: Vec<crate::project::Link>,
    /// Links into the nodes from others, for a paste that keeps them.
    #[serde(default)]
    pub incoming: Vec<crate::project::Link>,
    /// The workflow files that the nodes name, so that they paste into another project.
    pub workflows: std::collections::BTreeMap<WorkflowName, Arc<str>>,
    /// What ComfyUI's page made of those that were saved from there.
    #[serde(default)]
    pub page_prompts: std::collections::BTreeMap<WorkflowName, Arc<str>>,
}

/// The name of the clipboard's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ClipboardFormat {
    /// The first.
    #[serde(rename = "comfyui-orchestrator/nodes/1")]
    NodesV1,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_no_two_actions_share_a_default_shortcut() {
        let mut ids = BTreeSet::new();
        let mut shortcuts = Vec::new();
        for spec in ACTIONS {
            assert!(ids.insert(spec.id), "{} twice", spec.id);
            for shortcut in spec.shortcuts {
                assert!(
                    !shortcuts.contains(shortcut),
                    "{} shares a shortcut",
                    spec.id
                );
                shortcuts.push(*shortcut);
            }
        }
    }
}
