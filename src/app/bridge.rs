//! The only file that knows both the window and the engine.
//!
//! Commands go in through [`Bridge::send`]. Events come out through a thread that forwards them into a bounded queue and
//! wakes the window; [`drain`] takes at most [`EVENTS_PER_FRAME`] of them per frame, folds them into [`RunViews`],
//! [`Backends`] and [`Live`], and hands them on as messages. Progress and previews are coalesced (the latest of each item
//! wins), run events are never dropped.

mod history;

pub use history::{RunHistory, follow_document, take_answers};

use super::actions::Action;
use super::catalog::Catalog;
use super::document::Document;
use super::files::run_folders;
use super::settings::Folders;
use super::toasts::{Severity, Toasts};
use super::wake::Waker;
use crate::engine::fold::RunView;
use crate::engine::{
    AttemptId, BackendKeeping, CommandError, EngineEvent, EngineHandle, ItemId, ItemState,
    PlacementDecision, Preview, Progress, RunCommand, RunEvent, RunEventBody, RunId, RunState,
};
use crate::fleet::{BackendConfig, BackendState, BackendStatus};
use crate::project::{BackendId, NodeId};
use bevy::ecs::system::SystemParam;
use bevy::prelude::*;
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
/// Attempts and items whose reasons are kept.
const EXPLAINED_ITEMS: usize = 20_000;

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

/// What the folds leave out: why items run where they run, and why they do not. Bounded; the oldest are forgotten first.
#[derive(Debug, Default)]
pub struct Explanations {
    decisions: HashMap<ItemId, PlacementDecision>,
    reasons: HashMap<ItemId, String>,
    attempts: HashMap<AttemptId, ItemId>,
    order: VecDeque<AttemptId>,
    reason_order: VecDeque<ItemId>,
}

impl Explanations {
    /// Why an item runs where it runs.
    #[must_use]
    pub fn decision(&self, item_id: ItemId) -> Option<&PlacementDecision> {
        self.decisions.get(&item_id)
    }

    /// Why an item does not run.
    #[must_use]
    pub fn reason(&self, item_id: ItemId) -> Option<&str> {
        self.reasons.get(&item_id).map(String::as_str)
    }

    /// The item of an attempt.
    #[must_use]
    pub fn item_of(&self, attempt_id: AttemptId) -> Option<ItemId> {
        self.attempts.get(&attempt_id).copied()
    }

    fn take_in(&mut self, event: &RunEvent) {
        match &event.body {
            RunEventBody::AttemptPlaced {
                attempt_id,
                item_id,
                decision,
                ..
            } => {
                self.decisions.insert(*item_id, decision.clone());
                self.attempts.insert(*attempt_id, *item_id);
                self.order.push_back(*attempt_id);
                if self.order.len() > EXPLAINED_ITEMS
                    && let Some(old) = self.order.pop_front()
                    && let Some(item) = self.attempts.remove(&old)
                {
                    self.decisions.remove(&item);
                }
            }
            RunEventBody::ItemStateChanged {
                item_id,
                reason: Some(reason),
                ..
            } => {
                self.explain(*item_id, reason.clone());
            }
            RunEventBody::ItemFailed { item_id, failure } => {
                self.explain(*item_id, failure.message.clone());
            }
            RunEventBody::ItemDone { item_id, .. } => {
                self.reasons.remove(item_id);
            }
            _ => {}
        }
    }

    /// Takes over what another one knows.
    fn join(&mut self, other: Self) {
        let Self {
            decisions,
            reasons,
            attempts,
            order,
            ..
        } = other;
        for attempt_id in order {
            let Some(item_id) = attempts.get(&attempt_id).copied() else {
                continue;
            };
            if self.attempts.insert(attempt_id, item_id).is_none() {
                self.order.push_back(attempt_id);
            }
            if let Some(decision) = decisions.get(&item_id) {
                self.decisions.insert(item_id, decision.clone());
            }
        }
        for (item_id, reason) in reasons {
            self.explain(item_id, reason);
        }
    }

    fn explain(&mut self, item_id: ItemId, reason: String) {
        if self.reasons.insert(item_id, reason).is_none() {
            self.reason_order.push_back(item_id);
        }
        if self.reason_order.len() > EXPLAINED_ITEMS
            && let Some(old) = self.reason_order.pop_front()
        {
            self.reasons.remove(&old);
        }
    }
}

/// Subscribes to the engine. A thread forwards events and wakes the window.
///
/// # Errors
/// [`CommandError`] when the engine has ended.
pub fn connect(engine: EngineHandle, waker: Waker) -> Result<(Bridge, RunHistory), CommandError> {
    let mut events = engine.subscribe()?;
    let history = RunHistory::start(engine.clone(), waker.clone());
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
    Ok((bridge, history))
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
            // Not shown in the window yet.
            EngineEvent::Expected { .. } => {}
            // Fields get their limits and choices from whichever server spoke last: they hardly differ in them, and each
            // item is checked against its own server before it runs.
            EngineEvent::Capabilities(backend_id) => {
                if let Some(object_info) = bridge.engine.object_info(backend_id) {
                    world.catalog.set_object_info(backend_id, object_info);
                }
            }
            EngineEvent::BackendRemoved(backend_id) => {
                world.backends.cards.remove(&backend_id);
                world.catalog.forget_server(backend_id);
            }
            EngineEvent::RunRefused { run_id, problems } => {
                world.runs.views.remove(&run_id);
                let words: Vec<String> = problems
                    .iter()
                    .take(6)
                    .map(|(_, problem)| problem.clone())
                    .collect();
                let more = problems.len().saturating_sub(words.len());
                let more = if more > 0 {
                    format!("\nand {more} more")
                } else {
                    String::new()
                };
                world.toasts.push(
                    Severity::Error,
                    "The project cannot run yet",
                    &format!("{}{more}", words.join("\n")),
                );
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
            RunState::CompletedWithFailures => self.toasts.push(
                Severity::Warning,
                "Run completed with failures",
                &format!(
                    "{failed} of {} items failed. Select a node marked red to see why.",
                    counts.total()
                ),
            ),
            RunState::Failed => self.toasts.push(
                Severity::Error,
                "Run failed",
                &format!("{failed} items failed. Select a node marked red to see why."),
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

    fn take_status(&mut self, status: BackendStatus) {
        let known = self.backends.cards.get(&status.backend_id);
        let before = known.map(|card| card.status.state);
        if before.is_some_and(is_reachable) && status.state == BackendState::Offline {
            self.toasts.push(
                Severity::Warning,
                &format!("{} went offline", status.name),
                &format!(
                    "{} What ran there is checked again and moved if needed.",
                    status.reason
                ),
            );
        }
        if before == Some(BackendState::Offline) && is_reachable(status.state) {
            self.toasts
                .push(Severity::Success, &format!("{} is back", status.name), "");
        }
        let memory = status
            .devices
            .first()
            .filter(|device| device.vram_total > 0)
            .map_or_else(
                || used_part(status.ram_total, status.ram_free),
                |device| used_part(device.vram_total, device.vram_free),
            );
        let queue = (status.queue_running + status.queue_pending) as f32;
        let card = self
            .backends
            .cards
            .entry(status.backend_id)
            .or_insert_with(|| BackendCard {
                status: status.clone(),
                memory_history: VecDeque::new(),
                queue_history: VecDeque::new(),
            });
        card.status = status;
        for (history, value) in [
            (&mut card.memory_history, memory),
            (&mut card.queue_history, queue),
        ] {
            history.push_back(value);
            if history.len() > HISTORY_POINTS {
                history.pop_front();
            }
        }
    }
}

fn is_reachable(state: BackendState) -> bool {
    matches!(
        state,
        BackendState::Online | BackendState::Busy | BackendState::Degraded
    )
}

fn used_part(total: u64, free: u64) -> f32 {
    if total == 0 {
        0.0
    } else {
        total.saturating_sub(free) as f32 / total as f32
    }
}

/// Turns wishes about runs and servers into commands.
pub fn send_commands(
    mut actions: MessageReader<Action>,
    bridge: Option<Res<Bridge>>,
    document: Res<Document>,
    mut runs: ResMut<RunViews>,
    backends: Res<Backends>,
    mut live: ResMut<Live>,
    mut toasts: ResMut<Toasts>,
    builtin: Option<Res<BuiltinStarter>>,
    own_folders: Res<Folders>,
    mut history: Option<ResMut<RunHistory>>,
) {
    let Some(bridge) = bridge else { return };
    for action in actions.read() {
        match action {
            Action::Run => {
                let Some(folders) = run_folders(&document, &own_folders) else {
                    toasts.push(
                        Severity::Error,
                        "The run has no folder",
                        "Save the project first.",
                    );
                    continue;
                };
                bridge.send(
                    RunCommand::Start {
                        run_id: RunId::new_now(),
                        project: std::sync::Arc::new(document.project().clone()),
                        folders,
                    },
                    &mut toasts,
                );
            }
            Action::PauseOrResume | Action::Stop | Action::RetryFailed => {
                let Some(run_id) = runs.shown else { continue };
                let paused = runs
                    .shown_view()
                    .is_some_and(|view| view.state == Some(RunState::Paused));
                bridge.send(
                    match action {
                        Action::Stop => RunCommand::Cancel { run_id },
                        Action::RetryFailed => RunCommand::RetryFailed { run_id },
                        _ if paused => RunCommand::Resume { run_id },
                        _ => RunCommand::Pause { run_id },
                    },
                    &mut toasts,
                );
            }
            Action::CancelItem { run_id, item_id } => {
                bridge.send(
                    RunCommand::CancelItem {
                        run_id: *run_id,
                        item_id: *item_id,
                    },
                    &mut toasts,
                );
            }
            Action::ShowRun(run_id) => {
                if let Some(history) = &mut history {
                    history.show(*run_id, &mut runs);
                }
                live.revision += 1;
            }
            Action::PutBackend(config) => {
                bridge.send(
                    RunCommand::PutBackend {
                        config: (**config).clone(),
                        keeping: BackendKeeping::Registered,
                    },
                    &mut toasts,
                );
            }
            Action::SetBackendEnabled {
                backend_id,
                enabled,
            } => {
                bridge.send(
                    RunCommand::SetBackendEnabled {
                        backend_id: *backend_id,
                        enabled: *enabled,
                    },
                    &mut toasts,
                );
            }
            Action::RemoveBackend(backend_id) => {
                bridge.send(
                    RunCommand::RemoveBackend {
                        backend_id: *backend_id,
                    },
                    &mut toasts,
                );
            }
            Action::RefreshBackend(backend_id) => {
                bridge.send(
                    RunCommand::RefreshBackend {
                        backend_id: *backend_id,
                    },
                    &mut toasts,
                );
            }
            Action::RefreshAllBackends => {
                for backend_id in backends.cards.keys() {
                    bridge.send(
                        RunCommand::RefreshBackend {
                            backend_id: *backend_id,
                        },
                        &mut toasts,
                    );
                }
            }
            Action::StartBuiltin => start_builtin(&bridge, builtin.as_deref(), &mut toasts),
            _ => {}
        }
    }
}

/// Starts the built-in server; handed in by `main`, which knows the runtime. Gives the address, or a sentence on why not.
pub type StartBuiltin = dyn Fn() -> Result<url::Url, String> + Send + Sync;

/// The way to start the built-in server.
#[derive(Resource)]
pub struct BuiltinStarter(pub Box<StartBuiltin>);

fn start_builtin(bridge: &Bridge, starter: Option<&BuiltinStarter>, toasts: &mut Toasts) {
    let Some(starter) = starter else {
        toasts.push(
            Severity::Warning,
            "The built-in server cannot be started here",
            "Start one in a terminal: comfyui-orchestrator builtin --port 8188, and add it by its address.",
        );
        return;
    };
    match (starter.0)() {
        Ok(url) => {
            bridge.send(
                RunCommand::PutBackend {
                    config: BackendConfig::new("built-in", url),
                    keeping: BackendKeeping::ThisProcess,
                },
                toasts,
            );
        }
        Err(message) => toasts.push(
            Severity::Error,
            "The built-in server did not start",
            &message,
        ),
    }
}
