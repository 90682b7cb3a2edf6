//! The icons of the program: one family (Phosphor), named here once.

pub use egui_phosphor::regular::{
    ARROW_BEND_UP_LEFT, ARROW_CLOCKWISE, ARROW_COUNTER_CLOCKWISE, ARROW_DOWN, ARROW_UP,
    ARROWS_CLOCKWISE, ARROWS_OUT, BELL, CARET_DOWN, CARET_LEFT, CARET_RIGHT, CHECK, CHECK_CIRCLE,
    CIRCLE, CIRCLE_DASHED, CIRCLE_NOTCH, CLIPBOARD, CLOCK, COMMAND, COPY, COPY_SIMPLE, CORNERS_OUT,
    CPU, DICE_FIVE, DOTS_SIX_VERTICAL, DOTS_THREE, DOWNLOAD_SIMPLE, EXPORT, EYE, FILE, FILE_PLUS,
    FLOPPY_DISK, FLOW_ARROW, FOLDER, FOLDER_OPEN, FRAME_CORNERS, FUNNEL, GEAR_SIX, GIT_FORK, GRAPH,
    HARD_DRIVES, HOURGLASS, IMAGE, INFO, KEYBOARD, LAYOUT, LIST, LOCK, MAGNIFYING_GLASS,
    MAGNIFYING_GLASS_MINUS, MAGNIFYING_GLASS_PLUS, MAP_TRIFOLD, MINUS, MINUS_CIRCLE, MOON, PAUSE,
    PENCIL_SIMPLE, PLAY, PLUGS, PLUS, POWER, PROHIBIT, PULSE, SCISSORS, SELECTION, SHARE_NETWORK,
    SIGN_IN, SIGN_OUT, SKIP_FORWARD, SLIDERS_HORIZONTAL, STACK, STOP, SUN, TRASH, TREE_STRUCTURE,
    WARNING, WARNING_CIRCLE, X, X_CIRCLE,
};

use crate::engine::{ItemState, RunState};
use crate::project::{DataType, NodeKindName};

/// The icon of a kind of node.
#[must_use]
pub fn of_kind(kind: NodeKindName) -> &'static str {
    match kind {
        NodeKindName::Workflow => IMAGE,
        NodeKindName::Input => SIGN_IN,
        NodeKindName::Output => SIGN_OUT,
        NodeKindName::Condition => egui_phosphor::regular::GIT_BRANCH,
        NodeKindName::FanOut => SHARE_NETWORK,
        NodeKindName::Merge => egui_phosphor::regular::GIT_MERGE,
        NodeKindName::Review => egui_phosphor::regular::EYE,
    }
}

/// The icon of an item's state.
#[must_use]
pub fn of_item_state(state: ItemState) -> &'static str {
    match state {
        ItemState::Waiting => CIRCLE_DASHED,
        ItemState::Ready => HOURGLASS,
        ItemState::Submitted => CLOCK,
        ItemState::Running => CIRCLE_NOTCH,
        ItemState::Parked => egui_phosphor::regular::EYE,
        ItemState::Asking => egui_phosphor::regular::QUESTION,
        ItemState::Done => CHECK_CIRCLE,
        ItemState::Skipped => SKIP_FORWARD,
        ItemState::Blocked => PROHIBIT,
        ItemState::Failed => WARNING_CIRCLE,
        ItemState::Cancelled => MINUS_CIRCLE,
    }
}

/// The word for an item's state.
#[must_use]
pub fn item_state_word(state: ItemState) -> &'static str {
    match state {
        ItemState::Waiting => "waiting",
        ItemState::Ready => "ready",
        ItemState::Submitted => "queued",
        ItemState::Running => "running",
        ItemState::Parked => "waits for you",
        ItemState::Asking => "asks you",
        ItemState::Done => "done",
        ItemState::Skipped => "skipped",
        ItemState::Blocked => "blocked",
        ItemState::Failed => "failed",
        ItemState::Cancelled => "cancelled",
    }
}

/// The icon of a run's state.
#[must_use]
pub fn of_run_state(state: RunState) -> &'static str {
    match state {
        RunState::Running => CIRCLE_NOTCH,
        RunState::Cancelling | RunState::Stopping => STOP,
        RunState::Paused => PAUSE,
        RunState::Completed => CHECK_CIRCLE,
        RunState::CompletedWithFailures => WARNING,
        RunState::Failed => WARNING_CIRCLE,
        RunState::Cancelled => MINUS_CIRCLE,
    }
}

/// The word for a run's state.
#[must_use]
pub fn run_state_word(state: RunState) -> &'static str {
    match state {
        RunState::Running => "Running",
        RunState::Cancelling => "Cancelling",
        RunState::Stopping => "Stopping",
        RunState::Paused => "Paused",
        RunState::Completed => "Completed",
        RunState::CompletedWithFailures => "Completed with failures",
        RunState::Failed => "Failed",
        RunState::Cancelled => "Cancelled",
    }
}

/// The icon of a data type.
#[must_use]
pub fn of_data_type(data_type: DataType) -> &'static str {
    use egui_phosphor::regular as phosphor;
    match data_type {
        DataType::Image => IMAGE,
        DataType::Mask => phosphor::SELECTION_BACKGROUND,
        DataType::Video => phosphor::FILM_STRIP,
        DataType::Audio => phosphor::WAVEFORM,
        DataType::Latent => phosphor::CUBE,
        DataType::Text => phosphor::TEXT_T,
        DataType::Integer | DataType::Number => phosphor::HASH,
        DataType::Boolean => phosphor::TOGGLE_LEFT,
        DataType::Json => phosphor::BRACKETS_CURLY,
        DataType::File => FILE,
        DataType::Trigger => phosphor::LIGHTNING,
        DataType::Any => phosphor::ASTERISK,
    }
}
