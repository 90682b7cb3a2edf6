//! The only file that knows both the window and the engine.
//!
//! Commands go in through [`Bridge::send`]. Events come out through a thread that forwards them into a bounded queue and
//! wakes the window; [`drain`] takes at most [`EVENTS_PER_FRAME`] of them per frame, folds them into [`RunViews`],
//! [`Backends`] and [`Live`], and hands them on as messages. Progress and previews are coalesced (the latest of each item
//! wins), run events are never dropped.

use super::toasts::{Severity, Toasts};
use crate::engine::fold::RunView;
use crate::engine::{
    EngineEvent, EngineHandle, ItemId, Preview, Progress, RunCommand, RunEvent, RunId,
};
use crate::fleet::BackendStatus;
use crate::project::{BackendId, NodeId};
use bevy::prelude::*;
use bevy::winit::{EventLoopProxyWrapper, WinitUserEvent};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc;

/// Events taken over per frame; the rest waits for the next one, so that a burst cannot freeze the window.
pub const EVENTS_PER_FRAME: usize = 2_000;
/// Events between the forwarding thread and the window.
const QUEUE_CAPACITY: usize = 8_192;
/// Points of a backend's curve (one per status, about one every 5 seconds).
const HISTORY_POINTS: usize = 120;
/// Recent run events kept for the log.
const LOG_LINES: usize = 1_000;

/// The window's end of the engine.
#[derive(Resource)]
pub struct Bridge {
    engine: EngineHandle,
    events: std::sync::Mutex<mpsc::Receiver<EngineEvent>>,
}

impl Bridge {
    /// Hands a command to the engine; what it refuses is shown to the person.
    pub fn send(&self, command: RunCommand, toasts: &mut Toasts) -> bool {
        match self.engine.send(command) {
            Ok(()) => true,
            Err(error) => {
                toasts.push(
                    Severity::Error,
                    "The engine did not take the command",
                    &error.to_string(),
                );
                false
            }
        }
    }
}

/// A run event, for whoever wants each one.
#[derive(Message, Clone, Debug)]
pub struct RunEventMessage(pub RunEvent);

/// A new preview picture of an attempt; the latest one per item and frame.
#[derive(Message, Clone, Debug)]
pub struct PreviewMessage(pub Preview);

/// Every run known to the window, as folds of their events.
#[derive(Resource, Default)]
pub struct RunViews {
    /// The runs in the order of their creation (ids are ordered by time).
    pub views: BTreeMap<RunId, RunView>,
    /// The run that canvas, properties and bars show.
    pub shown: Option<RunId>,
    /// Grows with every event.
    pub revision: u64,
}

impl RunViews {
    /// The run that is shown.
    #[must_use]
    pub fn shown_view(&self) -> Option<&RunView> {
        self.views.get(&self.shown?)
    }
}

/// A backend and its recent past.
#[derive(Clone, Debug)]
pub struct BackendCard {
    /// What is known of it now.
    pub status: BackendStatus,
    /// Used part of the memory of its first device, 0 to 1, oldest first; none where it did not answer.
    pub memory_history: VecDeque<f32>,
    /// Prompts running and waiting there, oldest first.
    pub queue_history: VecDeque<f32>,
}

/// Every backend known to the window, by name.
#[derive(Resource, Default)]
pub struct Backends {
    /// The cards.
    pub cards: BTreeMap<BackendId, BackendCard>,
}

impl Backends {
    /// The name of a backend, or a short form of its id when it is not registered any more.
    #[must_use]
    pub fn name_of(&self, backend_id: BackendId) -> String {
        self.cards.get(&backend_id).map_or_else(
            || format!("backend {}", &backend_id.to_string()[..8]),
            |card| card.status.name.clone(),
        )
    }
}

/// What is true only now, of the shown run.
#[derive(Resource, Default)]
pub struct Live {
    /// Latest progress by item.
    pub progress: HashMap<ItemId, Progress>,
    /// Item of the latest progress of each node.
    pub latest_item: HashMap<NodeId, ItemId>,
    /// Latest preview picture of each node.
    pub previews: HashMap<NodeId, Preview>,
    /// Grows with every change.
    pub revision: u64,
}

/// Recent run events, newest last, for the log panel.
#[derive(Resource, Default)]
pub struct EventLog {
    /// The events.
    pub events: VecDeque<RunEvent>,
}
