//! Menus, shortcuts and palette as one table: every action without parameters.

use super::Action;
use crate::app::document::{Document, Selection};
use crate::app::icons;
use bevy_egui::egui::{Key, KeyboardShortcut, Modifiers};

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
    /// Nodes selected.
    SelectedNodes,
    /// Nodes or frames selected: what can be copied.
    SelectedParts,
    /// One frame selected.
    SelectedFrame,
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
    /// An ended run with failed or cancelled items.
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
    /// Whether the shown run has failed or cancelled items and ended.
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
            Self::SelectedNodes => !context.selection.nodes.is_empty(),
            Self::SelectedParts => context.selection.has_parts(),
            Self::SelectedFrame => context.selection.only_frame().is_some(),
            Self::WorkflowNode => {
                let project = context.document.project();
                context.selection.workflow_node(project).is_some()
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
    spec!("edit.cut", "Cut", icons::SCISSORS, Edit, [COMMAND, X], SelectedParts, true, Action::Cut),
    spec!("edit.copy", "Copy", icons::COPY, Edit, [COMMAND, C], SelectedParts, false, Action::Copy),
    spec!("edit.paste", "Paste", icons::CLIPBOARD, Edit, [COMMAND, V], Nothing, false, Action::Paste),
    spec!("edit.paste_linked", "Paste with inputs", "", Edit, [COMMAND_SHIFT, V], Nothing, false, Action::PasteLinked),
    spec!("edit.duplicate", "Duplicate", icons::COPY_SIMPLE, Edit, [COMMAND, D], SelectedParts, false, Action::Duplicate),
    spec!("edit.delete", "Delete", icons::TRASH, Edit, [Modifiers::NONE, Delete; Modifiers::NONE, Backspace], Selection, false, Action::Delete),
    spec!("edit.select_all", "Select all", "", Edit, [COMMAND, A], Nodes, true, Action::SelectAll),
    spec!("edit.select_none", "Select none", "", Edit, [Modifiers::NONE, Escape], Selection, false, Action::SelectNone),
    spec!("edit.add_node", "Add node…", icons::PLUS, Edit, [Modifiers::NONE, Tab; Modifiers::SHIFT, A], Nothing, true, Action::AddNodeSearch { pos_world: None, connect: None }),
    spec!("edit.frame", "Frame the selection", icons::FRAME_CORNERS, Edit, [COMMAND, G], SelectedNodes, false, Action::FrameSelection),
    spec!("edit.fit_frame", "Fit frame to its nodes", "", Edit, [COMMAND_SHIFT, G], SelectedFrame, false, Action::FitFrame),
    spec!("edit.workflow", "Edit workflow in ComfyUI…", icons::PENCIL_SIMPLE, Edit, [Modifiers::NONE, PageDown], WorkflowNode, false, Action::EditWorkflow { node_id: None, backend_id: None }),
    spec!("edit.fields", "Choose fields of the node…", icons::SLIDERS_HORIZONTAL, Edit, [], WorkflowNode, false, Action::ChooseFields),
    spec!("edit.replace_workflow", "Replace workflow of the node…", icons::ARROWS_CLOCKWISE, Edit, [], WorkflowNode, false, Action::ChooseReplacement),
    spec!("edit.preferences", "Preferences…", icons::GEAR_SIX, Edit, [COMMAND, Comma], Nothing, true, Action::Preferences),

    spec!("view.fit", "Zoom to fit", icons::CORNERS_OUT, View, [Modifiers::SHIFT, Num1; Modifiers::NONE, Home], Nodes, false, Action::ZoomToFit),
    spec!("view.selection", "Zoom to selection", icons::SELECTION, View, [Modifiers::SHIFT, Num2; Modifiers::NONE, Period], SelectedParts, false, Action::ZoomToSelection),
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
    spec!("run.retry", "Try failed and cancelled items again", icons::ARROWS_CLOCKWISE, Run, [], FailedItems, true, Action::RetryFailed),
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
