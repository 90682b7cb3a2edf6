//! The only room that knows both the window and the engine.
//!
//! Commands go in through [`Bridge::send`]. Events come out through a thread that forwards them into a bounded queue and
//! wakes the window; [`drain`] takes at most [`EVENTS_PER_FRAME`] of them per frame, folds them into [`RunViews`],
//! [`Backends`] and [`Live`], and hands them on as messages. Progress and previews are coalesced (the latest of each item
//! wins), run events are never dropped.

mod backends;
mod commands;
mod explanations;
mod history;
mod library;

pub use backends::{BackendCard, Backends};
pub use commands::{BuiltinStarter, StartBuiltin, send_commands};
pub use explanations::Explanations;
pub use history::{RunHistory, follow_document, take_answers};
pub use library::{
    Differences, Library, LibraryEntry, SavedThere, Thumbnail, VersionRow, library_answers,
    library_wishes,
};

use super::actions::Action;
use super::catalog::Catalog;
use super::dialogs::Dialogs;
use super::document::Document;
use super::toasts::{Severity, Toasts};
use super::wake::{Waker, now_ms};
use crate::editor::sentence::sentence;
use crate::engine::fold::RunView;
use crate::engine::{
    CommandError, EngineEvent, EngineHandle, ItemId, ItemState, NodeWait, Preview, Progress,
    RunCommand, RunEvent, RunEventBody, RunId, RunState,
};
use crate::fleet::{BackendConfig, Door};
use crate::project::{BackendId, NodeId, ProjectId};
use bevy::ecs::system::SystemParam;
use bevy::prelude::*;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc;

/// Events taken over per frame; the rest waits for the next one, so that a burst cannot freeze the window.
pub const EVENTS_PER_FRAME: usize = 2_000;
/// Events between the forwarding thread and the window.
const QUEUE_CAPACITY: usize = 8_192;
/// Recent run events kept for the log.
const LOG_LINES: usize = 1_000;

/// The window's end of the engine.
#[derive(Resource)]
pub struct Bridge {
    engine: EngineHandle,
    events: std::sync::Mutex<mpsc::Receiver<EngineEvent>>,
}

impl Bridge {
    /// How a backend is reached; none when it is not registered any more.
    #[must_use]
    pub fn backend_config(&self, backend_id: BackendId) -> Option<BackendConfig> {
        self.engine.backend(backend_id)
    }

    /// A door to the pages of a backend, where they need one; see [`Door`].
    ///
    /// # Errors
    /// Why there is none, as a sentence.
    pub fn open_door(&self, config: &BackendConfig) -> Result<Option<Door>, String> {
        if !Door::is_needed(config) {
            return Ok(None);
        }
        // About 100 random bits: two of one millisecond share their time and count on.
        let secret = format!(
            "{}{}",
            uuid::Uuid::now_v7().simple(),
            uuid::Uuid::now_v7().simple()
        );
        let door = self.engine.open_door(config, &secret);
        door.map(Some).map_err(|error| error.to_string())
    }

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
    /// Why items run where they run, and why they do not.
    pub explanations: Explanations,
    /// Grows with every event.
    pub revision: u64,
}

impl RunViews {
    /// Other runs of a project that wait for a person, each with how many of its items do.
    pub fn waiting_elsewhere(&self, project_id: ProjectId) -> impl Iterator<Item = (RunId, u32)> {
        self.views
            .iter()
            .filter(move |(run_id, view)| {
                self.shown != Some(**run_id)
                    && view.project_id == Some(project_id)
                    && view.state.is_some_and(|state| !state.is_ended())
            })
            .map(|(run_id, view)| {
                let count = |state| view.counts.get(state);
                (*run_id, count(ItemState::Parked) + count(ItemState::Asking))
            })
            .filter(|(_, waiting)| *waiting > 0)
    }

    /// The run that is shown.
    #[must_use]
    pub fn shown_view(&self) -> Option<&RunView> {
        self.views.get(&self.shown?)
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
    /// When each run is expected to end, Unix time in milliseconds, from the times that backends took before.
    pub expected_end_ms: HashMap<RunId, u64>,
    /// When items are expected to be done, Unix time in milliseconds.
    pub item_end_ms: HashMap<ItemId, u64>,
    /// What waits for a backend in each run, node by node, and why.
    pub waits: HashMap<RunId, Vec<NodeWait>>,
    /// Grows with every change.
    pub revision: u64,
}

/// Recent run events, newest last, for the log panel.
#[derive(Resource, Default)]
pub struct EventLog {
    /// The events.
    pub events: VecDeque<RunEvent>,
}

/// Subscribes to the engine. A thread forwards events and wakes the window.
///
/// # Errors
/// [`CommandError`] when the engine has ended.
pub fn connect(
    engine: EngineHandle,
    waker: Waker,
) -> Result<(Bridge, RunHistory, Library), CommandError> {
    let mut events = engine.subscribe()?;
    let history = RunHistory::start(engine.clone(), waker.clone());
    let library = Library::start(engine.clone(), waker.clone());
    let (sender, receiver) = mpsc::sync_channel(QUEUE_CAPACITY);
    let spawned = std::thread::Builder::new()
        .name("engine-events".to_owned())
        .spawn(move || {
            // Ends when the engine ends, or when the window drops its end of the queue.
            while let Some(event) = events.blocking_recv() {
                if sender.send(event).is_err() {
                    break;
                }
                waker.wake();
            }
        });
    if let Err(error) = spawned {
        error!("No thread for the engine's events: {error}. Runs go on, but are not shown.");
    }
    let bridge = Bridge {
        engine,
        events: std::sync::Mutex::new(receiver),
    };
    Ok((bridge, history, library))
}

/// What the bridge writes.
#[derive(SystemParam)]
pub struct BridgeWorld<'w> {
    runs: ResMut<'w, RunViews>,
    backends: ResMut<'w, Backends>,
    live: ResMut<'w, Live>,
    log: ResMut<'w, EventLog>,
    toasts: ResMut<'w, Toasts>,
    catalog: ResMut<'w, Catalog>,
    dialogs: ResMut<'w, Dialogs>,
    document: Res<'w, Document>,
    history: Option<ResMut<'w, RunHistory>>,
    run_events: MessageWriter<'w, RunEventMessage>,
    previews: MessageWriter<'w, PreviewMessage>,
}

/// Takes over at most [`EVENTS_PER_FRAME`] events.
pub fn drain(bridge: Option<Res<Bridge>>, mut world: BridgeWorld, waker: Option<Res<Waker>>) {
    let Some(bridge) = bridge else { return };
    let Ok(events) = bridge.events.lock() else {
        return;
    };
    let mut latest_previews: HashMap<NodeId, Preview> = HashMap::new();
    let mut taken = 0;
    while taken < EVENTS_PER_FRAME {
        let Ok(event) = events.try_recv() else { break };
        taken += 1;
        match event {
            EngineEvent::Run(event) => world.take_run_event(event),
            EngineEvent::Progress(progress) => {
                world
                    .live
                    .latest_item
                    .insert(progress.node_id, progress.item_id);
                world.live.progress.insert(progress.item_id, progress);
                world.live.revision += 1;
            }
            EngineEvent::Preview(preview) => {
                latest_previews.insert(preview.node_id, preview);
            }
            EngineEvent::Backend(status) => world.take_status(status),
            EngineEvent::Expected {
                run_id,
                remaining_ms,
                items,
            } => {
                let at_ms = now_ms();
                if world.runs.shown == Some(run_id) {
                    world.live.item_end_ms = items
                        .into_iter()
                        .map(|(item_id, left_ms)| (item_id, at_ms.saturating_add(left_ms)))
                        .collect();
                }
                world
                    .live
                    .expected_end_ms
                    .insert(run_id, at_ms.saturating_add(remaining_ms));
                world.live.revision += 1;
            }
            EngineEvent::Waiting { run_id, waits } => {
                world.live.waits.insert(run_id, waits);
                world.live.revision += 1;
            }
            EngineEvent::Unfinished(runs) => {
                if let Some(history) = &mut world.history {
                    history.unfinished = runs;
                }
            }
            // Fields get their limits and choices from whichever backend spoke last: they hardly differ in them, and each
            // item is checked against its own backend before it runs.
            EngineEvent::Capabilities(backend_id) => {
                if let Some(object_info) = bridge.engine.object_info(backend_id) {
                    world.catalog.set_object_info(backend_id, object_info);
                }
                if let Some(sizes) = bridge.engine.model_sizes(backend_id) {
                    world.catalog.set_model_sizes(backend_id, sizes);
                }
            }
            EngineEvent::BackendRemoved(backend_id) => {
                world.backends.cards.remove(&backend_id);
                world.catalog.forget_backend(backend_id);
            }
            EngineEvent::RunRefused { run_id, problems } => {
                world.runs.views.remove(&run_id);
                let words: Vec<String> = problems
                    .iter()
                    .take(6)
                    .map(|(_, problem)| sentence(problem))
                    .collect();
                let more = problems.len().saturating_sub(words.len());
                let more = if more > 0 {
                    format!("\nand {more} more")
                } else {
                    String::new()
                };
                let steps = match problems.iter().find_map(|(node_id, _)| *node_id) {
                    Some(node_id) => vec![("Show the node", Action::RevealNode(node_id))],
                    None if !world.backends.is_any_reachable() => vec![
                        ("Add a backend…", Action::AddBackend),
                        ("Start the built-in one", Action::StartBuiltin),
                    ],
                    None => Vec::new(),
                };
                world.toasts.push_with_steps(
                    Severity::Error,
                    "The project cannot run yet",
                    &format!("{}{more}", words.join("\n")),
                    steps,
                );
            }
            EngineEvent::Planned { plan_id, found } => {
                if let Some(dialog) = &mut world.dialogs.plan
                    && dialog.plan_id == plan_id
                {
                    dialog.answer = Some(found);
                }
            }
            EngineEvent::Trouble(failure) => {
                world.toasts.push(
                    Severity::Error,
                    "The engine is in trouble",
                    &failure.message,
                );
            }
        }
    }
    for (node_id, preview) in latest_previews {
        world.live.previews.insert(node_id, preview.clone());
        world.live.revision += 1;
        world.previews.write(PreviewMessage(preview));
    }
    if taken == EVENTS_PER_FRAME
        && let Some(waker) = waker
    {
        waker.wake();
    }
}

impl BridgeWorld<'_> {
    fn take_run_event(&mut self, event: RunEvent) {
        let run_id = event.run_id;
        let is_cut = event.seq > 0 && !self.runs.views.contains_key(&run_id);
        let view = self.runs.views.entry(run_id).or_default();
        view.apply(&event);
        if is_cut {
            self.read_beginning(run_id);
        }
        self.runs.explanations.take_in(&event);
        self.runs.revision += 1;
        // A look that changes nothing does not count as a change.
        if let Some(history) = &mut self.history
            && !history.has_titles(run_id)
        {
            history.learn_titles(run_id);
        }
        match &event.body {
            RunEventBody::RunCreated { project_id, .. }
                if *project_id == self.document.project().id =>
            {
                self.runs.shown = Some(run_id);
                *self.live = Live {
                    revision: self.live.revision + 1,
                    ..Live::default()
                };
            }
            RunEventBody::RunStateChanged { state } => self.tell_state(run_id, *state),
            RunEventBody::ItemDone { item_id, .. } | RunEventBody::ItemFailed { item_id, .. } => {
                self.live.progress.remove(item_id);
                self.live.revision += 1;
            }
            _ => {}
        }
        self.log.events.push_back(event.clone());
        if self.log.events.len() > LOG_LINES {
            self.log.events.pop_front();
        }
        self.run_events.write(RunEventMessage(event));
    }

    fn tell_state(&mut self, run_id: RunId, state: RunState) {
        let Some(view) = self.runs.views.get(&run_id) else {
            return;
        };
        let counts = &view.counts;
        let failed = counts.get(ItemState::Failed);
        let is_ours = view.project_id == Some(self.document.project().id);
        let first_failed: Vec<_> = view
            .nodes
            .iter()
            .filter(|(_, node)| is_ours && node.counts.get(ItemState::Failed) > 0)
            .map(|(node_id, _)| ("Show the node", Action::RevealNode(*node_id)))
            .take(1)
            .collect();
        match state {
            RunState::Completed => self.toasts.push(
                Severity::Success,
                "Run completed",
                &format!(
                    "{} items, {} files written",
                    counts.total(),
                    view.files_written
                ),
            ),
            RunState::CompletedWithFailures => self.toasts.push_with_steps(
                Severity::Warning,
                "Run completed with failures",
                &format!(
                    "{failed} of {} items failed. The node's properties say why.",
                    counts.total()
                ),
                first_failed,
            ),
            RunState::Failed => self.toasts.push_with_steps(
                Severity::Error,
                "Run failed",
                &format!("{failed} items failed. The node's properties say why."),
                first_failed,
            ),
            RunState::Cancelled => self.toasts.push(Severity::Info, "Run cancelled", ""),
            RunState::Running | RunState::Paused | RunState::Cancelling | RunState::Stopping => {}
        }
        if state.is_ended() {
            if let Some(history) = &mut self.history {
                history.refresh();
            }
            self.live.progress.clear();
            self.live.previews.clear();
            self.live.revision += 1;
        }
    }
}
