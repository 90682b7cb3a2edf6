//! The executor: performs the machine's orders and feeds facts back.
//!
//! One task owns the machine. It takes commands, facts from workers, backend states and the passing of time, steps the
//! machine, writes every recorded event to `SQLite`, tells subscribers, and only then starts what the step ordered.

mod attempt;
pub(super) mod cache;
mod inputs;
mod local_work;
mod outputs;
mod progress;
pub(super) mod run_workflow;
mod shared;
mod starting;

use super::command::{BackendKeeping, RunCommand};
use super::event::{RunEvent, RunState};
use super::failure::{Failure, FailureClass};
use super::handle::{EngineHandle, Request};
use super::id::{AttemptId, RunId};
use super::live::EngineEvent;
use super::machine::{Availability, CacheUse, Effect, Input, Machine, Submission};
use crate::artifacts::{ArtifactError, ArtifactStore};
use crate::comfy::SocketEvent;
use crate::fleet::{BackendConfig, BackendStatus, Fleet, FleetEvent};
use crate::project::BackendId;
use crate::store::{PackedObjectInfo, Store, StoreError};
use shared::Shared;
use starting::{Prepared, RunContext};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Requests that may wait for the engine.
const REQUEST_CAPACITY: usize = 256;
/// Facts that workers may leave before the machine takes them.
const FACT_CAPACITY: usize = 4096;
/// Facts taken in one turn, so that one commit serves many.
const FACTS_PER_TURN: usize = 256;
/// Events of one page when a run's log is read back.
const LOG_PAGE: usize = 4096;
/// Setting that holds what was learned of run times.
const ESTIMATES_SETTING: &str = "placement.estimates";
/// How often that is written down.
const ESTIMATES_PERIOD: Duration = Duration::from_secs(30);
/// How often subscribers are told how long runs take.
const EXPECTED_PERIOD: Duration = Duration::from_secs(1);
/// Setting that holds how large the files of kept results may be together, bytes.
const CACHE_LIMIT_SETTING: &str = "cache.max_bytes";
/// How large they may be unless the setting says otherwise: 50 GB.
const CACHE_LIMIT_BYTES: u64 = 50_000_000_000;
/// Pause before the store is asked again to write what it could not.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(2);

/// How an engine is started.
#[derive(Debug)]
pub struct EngineOptions {
    /// Folder of the database and of the artifact store.
    pub data_dir: PathBuf,
    /// Backends to use beside the registered ones. With [`RegistryUse::Registered`] the runs of this process remember them, so
    /// that they go on there. One whose address is registered is the registered one.
    pub extra_backends: Vec<BackendConfig>,
    /// Whether backends of the registry are used.
    pub registry: RegistryUse,
    /// What happens with unfinished runs of earlier processes.
    pub resume: ResumePolicy,
}

/// Whether backends of the registry are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryUse {
    /// They are.
    Registered,
    /// Only [`EngineOptions::extra_backends`] are.
    ExtraOnly,
}

/// What happens with unfinished runs of earlier processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumePolicy {
    /// They go on.
    Resume,
    /// They are loaded and wait for [`RunCommand::Resume`].
    Paused,
    /// They stay as they are, for another process or a later start.
    Leave,
}

/// Why an engine did not start.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The artifact store.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
}

/// A running engine.
pub struct Engine {
    /// The door to it.
    pub handle: EngineHandle,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Engine {
    /// Ends the engine: attempts at backends go on there and are found again at the next start.
    pub async fn stop(self) {
        self.stop.cancel();
        // A panic of the task was reported when it happened.
        self.task.await.ok();
    }
}

/// Starts an engine on the current tokio runtime.
///
/// # Errors
/// [`EngineError`] when the data folder cannot be used.
pub async fn start(options: EngineOptions) -> Result<Engine, EngineError> {
    let database = database_path(&options.data_dir);
    let artifacts_dir = options.data_dir.join("artifacts");
    let (store, artifacts) = tokio::task::spawn_blocking(move || {
        Ok::<_, EngineError>((
            Store::open(&database)?,
            ArtifactStore::open(&artifacts_dir)?,
        ))
    })
    .await
    .map_err(|_panicked| StoreError::Closed)??;
    let (request_sender, requests) = mpsc::channel(REQUEST_CAPACITY);
    let (fact_sender, facts) = mpsc::channel(FACT_CAPACITY);
    let (live_sender, live) = mpsc::channel(FACT_CAPACITY);
    let (prepared_sender, prepared) = mpsc::channel(16);
    let (fleet_sender, fleet_events) = mpsc::channel(FACT_CAPACITY);
    let client_ids = ClientIds::default();
    let known_ids = client_ids.clone();
    let fleet = Fleet::start(
        [],
        move |backend_id| known_ids.get(backend_id),
        fleet_sender,
    );
    let handle = EngineHandle::new(
        request_sender,
        store.clone(),
        artifacts.clone(),
        fleet.clone(),
    );
    let stop = CancellationToken::new();
    let mut executor = Executor {
        machine: Machine::new().with_cache(CacheUse::Ask),
        shared: Arc::new(Shared::new(
            store,
            artifacts,
            fleet,
            fact_sender,
            live_sender,
        )),
        prepared: prepared_sender,
        subscribers: Vec::new(),
        runs: HashMap::new(),
        attempts: HashMap::new(),
        orphans: HashMap::new(),
        statuses: BTreeMap::new(),
        registered: HashSet::new(),
        extra_backends: Vec::new(),
        client_ids,
        sole_engine: SoleEngine::try_become(&options.data_dir),
        lacks: HashMap::new(),
        begun_last: HashMap::new(),
        workers: JoinSet::new(),
        wake_at_ms: None,
        estimates_kept: Instant::now(),
        expected_told: Instant::now(),
    };
    let mut backends = options.extra_backends;
    if options.registry == RegistryUse::Registered {
        let registered = executor.shared.store.backends().await?;
        executor
            .registered
            .extend(registered.iter().map(|backend| backend.id));
        backends.retain(|extra| registered.iter().all(|known| known.url != extra.url));
        executor.extra_backends.clone_from(&backends);
        backends.extend(registered);
    }
    for config in backends {
        executor.connect(config).await?;
    }
    executor.recall_estimates().await;
    executor.trim_cache().await;
    if options.resume != ResumePolicy::Leave {
        executor.load_unfinished(options.resume).await?;
    }
    let inbox = Inbox {
        requests,
        facts,
        live,
        prepared,
        fleet_events,
    };
    let task = tokio::spawn(executor.work(inbox, stop.clone()));
    Ok(Engine { handle, stop, task })
}

/// Unix time in milliseconds. The one clock of the engine.
pub(super) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// The database of a data folder.
#[must_use]
pub fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join("orchestrator.sqlite")
}

/// Client id of each backend, filled in before the fleet asks.
#[derive(Clone, Debug, Default)]
struct ClientIds(Arc<Mutex<HashMap<BackendId, String>>>);

impl ClientIds {
    fn get(&self, backend_id: BackendId) -> String {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.entry(backend_id)
            .or_insert_with(|| uuid::Uuid::now_v7().simple().to_string())
            .clone()
    }

    fn set(&self, backend_id: BackendId, client_id: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(backend_id, client_id);
    }
}

/// Whether this process alone works in its data folder. Only then does it speak under the installation's client ids: a
/// server takes two sockets with one id for one and leaves one of them deaf.
#[derive(Debug)]
enum SoleEngine {
    /// Yes, for as long as the file is locked.
    Yes { _lock: File },
    /// No; it speaks under ids of its own.
    No,
}

impl SoleEngine {
    fn try_become(data_dir: &Path) -> Self {
        match File::create(data_dir.join("engine.lock")) {
            Ok(file) if file.try_lock().is_ok() => Self::Yes { _lock: file },
            _ => Self::No,
        }
    }
}

/// Everything that reaches the engine's task.
struct Inbox {
    requests: mpsc::Receiver<Request>,
    facts: mpsc::Receiver<Input>,
    live: mpsc::Receiver<EngineEvent>,
    prepared: mpsc::Receiver<Prepared>,
    fleet_events: mpsc::Receiver<FleetEvent>,
}

/// A worker that follows one attempt.
#[derive(Debug)]
struct AttemptWorker {
    backend_id: BackendId,
    cancel: CancellationToken,
    signals: mpsc::Sender<attempt::Signal>,
}

struct Executor {
    machine: Machine,
    shared: Arc<Shared>,
    prepared: mpsc::Sender<Prepared>,
    subscribers: Vec<mpsc::Sender<EngineEvent>>,
    runs: HashMap<RunId, Arc<RunContext>>,
    attempts: HashMap<AttemptId, AttemptWorker>,
    /// Attempts given up while their backend was silent. They are called off there as soon as it answers, so that nothing
    /// runs twice for long.
    orphans: HashMap<BackendId, Vec<AttemptId>>,
    statuses: BTreeMap<BackendId, BackendStatus>,
    registered: HashSet<BackendId>,
    /// Backends that runs remember although they are not registered.
    extra_backends: Vec<BackendConfig>,
    client_ids: ClientIds,
    sole_engine: SoleEngine,
    /// Workflows that a backend cannot run, by run.
    lacks: HashMap<(BackendId, RunId), starting::Lacks>,
    /// The attempt that began last on each backend.
    begun_last: HashMap<BackendId, AttemptId>,
    workers: JoinSet<()>,
    wake_at_ms: Option<u64>,
    /// When what was learned was last written down.
    estimates_kept: Instant,
    /// When subscribers were last told how long runs take.
    expected_told: Instant,
}

impl Executor {
    async fn work(mut self, mut inbox: Inbox, stop: CancellationToken) {
        loop {
            let sleep = self.sleep_until_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(request) = inbox.requests.recv() => match request {
                    Request::Subscribe(subscriber) => self.welcome(subscriber).await,
                    Request::Command(command) => self.obey(*command).await,
                },
                Some(fact) = inbox.facts.recv() => {
                    let mut facts = vec![fact];
                    while facts.len() < FACTS_PER_TURN && let Ok(fact) = inbox.facts.try_recv() {
                        facts.push(fact);
                    }
                    // That a backend hangs is known before what ended there is placed anew.
                    let mut told = Vec::new();
                    for fact in &facts {
                        if let Some(backend_id) = self.note_end(fact) {
                            told.extend(self.facts_about(backend_id));
                        }
                    }
                    told.extend(facts);
                    self.take(told).await;
                    if self.estimates_kept.elapsed() > ESTIMATES_PERIOD {
                        self.keep_estimates().await;
                    }
                    self.tell_expected();
                },
                Some(prepared) = inbox.prepared.recv() => self.begin(prepared).await,
                Some(event) = inbox.fleet_events.recv() => self.hear(event).await,
                Some(event) = inbox.live.recv() => self.tell_live(event),
                () = sleep => {
                    self.wake_at_ms = None;
                    self.take(vec![Input::Tick]).await;
                }
            }
        }
        self.keep_estimates().await;
        // Attempts go on at their backends; the next start finds them by their ids.
        self.workers.shutdown().await;
        self.shared.fleet.shutdown().await;
        self.shared.store.release_runs();
    }

    /// Says how long each run is expected to take, now and then.
    fn tell_expected(&mut self) {
        if self.expected_told.elapsed() < EXPECTED_PERIOD {
            return;
        }
        self.expected_told = Instant::now();
        let now_ms = now_ms();
        let expected: Vec<(RunId, u64)> = self
            .runs
            .keys()
            .filter_map(|run_id| {
                let remaining_ms = self.machine.remaining_of_run_ms(now_ms, *run_id)?;
                Some((*run_id, remaining_ms))
            })
            .collect();
        for (run_id, remaining_ms) in expected {
            self.tell_live(EngineEvent::Expected {
                run_id,
                remaining_ms,
            });
        }
    }

    /// What earlier processes learned of run times.
    async fn recall_estimates(&mut self) {
        match self.shared.store.setting(ESTIMATES_SETTING).await {
            Ok(Some(text)) => match serde_json::from_str(&text) {
                Ok(estimates) => self.machine.set_estimates(estimates),
                Err(error) => {
                    tracing::warn!(%error, "learned times cannot be read; they are learned anew");
                }
            },
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "learned times cannot be read"),
        }
    }

    /// Writes down what was learned of run times.
    async fn keep_estimates(&mut self) {
        self.estimates_kept = Instant::now();
        match serde_json::to_string(self.machine.estimates()) {
            Ok(text) => {
                if let Err(error) = self
                    .shared
                    .store
                    .put_setting(ESTIMATES_SETTING, Some(&text))
                    .await
                {
                    tracing::warn!(%error, "learned times cannot be written");
                }
            }
            Err(error) => tracing::warn!(%error, "learned times cannot be written"),
        }
    }

    /// Forgets the least recently used results when all together are too large.
    async fn trim_cache(&self) {
        let limit = match self.shared.store.setting(CACHE_LIMIT_SETTING).await {
            Ok(Some(text)) => text.trim().parse().unwrap_or(CACHE_LIMIT_BYTES),
            _ => CACHE_LIMIT_BYTES,
        };
        if let Err(error) = self.shared.store.trim_cache_to(limit).await {
            tracing::warn!(%error, "the cache could not be trimmed");
        }
    }

    fn sleep_until_wake(&self) -> impl Future<Output = ()> + use<> {
        let wait = self
            .wake_at_ms
            .map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms())));
        async move {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Steps the machine with facts, makes what it records durable, tells it, and carries out the rest.
    async fn take(&mut self, facts: Vec<Input>) {
        let now_ms = now_ms();
        let mut events = Vec::new();
        let mut orders = Vec::new();
        for fact in facts {
            for effect in self.machine.step(now_ms, fact) {
                match effect {
                    Effect::Record(event) => events.push(event),
                    order => orders.push(order),
                }
            }
        }
        self.record(events).await;
        for order in orders {
            self.carry_out(order);
        }
    }

    /// Writes events and tells them. While the store cannot write (full disk, lost folder) nothing else happens: that is
    /// the safe stop. It goes on as soon as the store can.
    async fn record(&mut self, events: Vec<RunEvent>) {
        if events.is_empty() {
            return;
        }
        let mut said = false;
        while let Err(error) = self.shared.store.append_events(events.clone()).await {
            if !said {
                tracing::error!(%error, "the history cannot be written; runs wait");
                self.tell(&EngineEvent::Trouble(Failure::new(
                    FailureClass::Local,
                    error.to_string(),
                )))
                .await;
                said = true;
            }
            if matches!(error, StoreError::Closed) {
                return;
            }
            tokio::time::sleep(STORE_RETRY_DELAY).await;
        }
        for event in events {
            self.tell(&EngineEvent::Run(event)).await;
        }
    }

    /// Tells everybody, waiting for those that lag.
    async fn tell(&mut self, event: &EngineEvent) {
        let mut gone = Vec::new();
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            if subscriber.send(event.clone()).await.is_err() {
                gone.push(index);
            }
        }
        for index in gone.into_iter().rev() {
            self.subscribers.swap_remove(index);
        }
    }

    /// Tells everybody who has room: progress and previews are only true now.
    fn tell_live(&mut self, event: EngineEvent) {
        self.subscribers.retain(|subscriber| {
            !matches!(
                subscriber.try_send(event.clone()),
                Err(mpsc::error::TrySendError::Closed(_))
            )
        });
    }

    /// Brings a new subscriber up to date: backends, then the log of every run in hand.
    async fn welcome(&mut self, subscriber: mpsc::Sender<EngineEvent>) {
        for (backend_id, status) in &self.statuses {
            let mut news = vec![EngineEvent::Backend(status.clone())];
            if self.shared.fleet.object_info(*backend_id).is_some() {
                news.push(EngineEvent::Capabilities(*backend_id));
            }
            for event in news {
                if subscriber.send(event).await.is_err() {
                    return;
                }
            }
        }
        let mut run_ids: Vec<RunId> = self.runs.keys().copied().collect();
        run_ids.sort_unstable();
        for run_id in run_ids {
            let events = match self.log_of(run_id).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::error!(%error, %run_id, "the log of a run cannot be read");
                    continue;
                }
            };
            for event in events {
                if subscriber.send(EngineEvent::Run(event)).await.is_err() {
                    return;
                }
            }
        }
        self.subscribers.push(subscriber);
    }

    async fn log_of(&self, run_id: RunId) -> Result<Vec<RunEvent>, StoreError> {
        let mut events: Vec<RunEvent> = Vec::new();
        loop {
            let page = self
                .shared
                .store
                .events(run_id, events.len() as u64, LOG_PAGE)
                .await?;
            let is_last = page.len() < LOG_PAGE;
            events.extend(page);
            if is_last {
                return Ok(events);
            }
        }
    }

    async fn obey(&mut self, command: RunCommand) {
        match command {
            RunCommand::Start {
                run_id,
                project,
                folders,
            } => {
                let prepare = starting::prepare(
                    self.shared.clone(),
                    self.prepared.clone(),
                    run_id,
                    project,
                    folders,
                );
                self.spawn(prepare);
            }
            RunCommand::Cancel { run_id } => self.take(vec![Input::CancelRun { run_id }]).await,
            RunCommand::CancelItem { run_id, item_id } => {
                self.take(vec![Input::CancelItem { run_id, item_id }]).await;
            }
            RunCommand::Pause { run_id } => self.take(vec![Input::PauseRun { run_id }]).await,
            RunCommand::Resume { run_id } => {
                if self.load(run_id).await {
                    self.take(vec![Input::ResumeRun { run_id }]).await;
                }
            }
            RunCommand::RetryFailed { run_id } => {
                if self.load(run_id).await {
                    self.take(vec![Input::RetryFailed { run_id }]).await;
                }
            }
            RunCommand::Review { run_id, answers } => {
                if self.load(run_id).await {
                    self.take(vec![Input::Review { run_id, answers }]).await;
                }
            }
            RunCommand::RedoItem {
                run_id,
                item_id,
                fields,
            } => {
                if self.load(run_id).await {
                    self.take(vec![Input::RedoItem {
                        run_id,
                        item_id,
                        fields,
                    }])
                    .await;
                }
            }
            RunCommand::SetRunPriority { run_id, priority } => {
                self.take(vec![Input::SetRunPriority { run_id, priority }])
                    .await;
            }
            RunCommand::SetItemPriority {
                run_id,
                item_ids,
                priority,
            } => {
                self.take(vec![Input::SetItemPriority {
                    run_id,
                    item_ids,
                    priority,
                }])
                .await;
            }
            RunCommand::PutBackend { config, keeping } => {
                if let Err(error) = self.put_backend(config, keeping).await {
                    self.trouble(&error.to_string()).await;
                }
            }
            RunCommand::SetBackendEnabled {
                backend_id,
                enabled,
            } => {
                let Some(mut config) = self.shared.fleet.config(backend_id) else {
                    return;
                };
                config.enabled = enabled;
                let keeping = if self.registered.contains(&backend_id) {
                    BackendKeeping::Registered
                } else {
                    BackendKeeping::ThisProcess
                };
                if let Err(error) = self.put_backend(config, keeping).await {
                    self.trouble(&error.to_string()).await;
                }
            }
            RunCommand::RemoveBackend { backend_id } => self.disconnect(backend_id).await,
            RunCommand::RefreshBackend { backend_id } => self.shared.fleet.refresh(backend_id),
        }
    }

    async fn trouble(&mut self, message: &str) {
        tracing::error!(message, "trouble");
        self.tell(&EngineEvent::Trouble(Failure::new(
            FailureClass::Local,
            message,
        )))
        .await;
    }

    async fn put_backend(
        &mut self,
        config: BackendConfig,
        keeping: BackendKeeping,
    ) -> Result<(), StoreError> {
        if keeping == BackendKeeping::Registered {
            self.shared.store.put_backend(config.clone()).await?;
            self.registered.insert(config.id);
        }
        self.connect(config).await
    }

    /// Opens the connection to a backend.
    async fn connect(&mut self, config: BackendConfig) -> Result<(), StoreError> {
        if matches!(self.sole_engine, SoleEngine::Yes { .. }) {
            let client_id = self
                .shared
                .store
                .client_id(config.id, uuid::Uuid::now_v7())
                .await?;
            self.client_ids
                .set(config.id, client_id.simple().to_string());
        }
        self.shared.fleet.put(config);
        Ok(())
    }

    async fn disconnect(&mut self, backend_id: BackendId) {
        if self.registered.remove(&backend_id)
            && let Err(error) = self.shared.store.remove_backend(backend_id).await
        {
            self.trouble(&error.to_string()).await;
            return;
        }
        for worker in self
            .attempts
            .values()
            .filter(|worker| worker.backend_id == backend_id)
        {
            worker.cancel.cancel();
        }
        self.shared.fleet.remove(backend_id);
        self.statuses.remove(&backend_id);
        self.tell(&EngineEvent::BackendRemoved(backend_id)).await;
        self.take(vec![Input::BackendRemoved { backend_id }]).await;
    }

    /// Takes over what is new about a backend.
    async fn hear(&mut self, event: FleetEvent) {
        let backend_id = match event {
            FleetEvent::Message { backend_id, event } => {
                self.pass_on(backend_id, event);
                return;
            }
            FleetEvent::Connected { backend_id } | FleetEvent::Disconnected { backend_id, .. } => {
                for worker in self
                    .attempts
                    .values()
                    .filter(|worker| worker.backend_id == backend_id)
                {
                    // A worker that is busy looks by itself soon.
                    worker.signals.try_send(attempt::Signal::Look).ok();
                }
                return;
            }
            FleetEvent::Status(status) => {
                let backend_id = status.backend_id;
                if self.shared.fleet.config(backend_id).is_none() {
                    return;
                }
                if starting::is_reachable(&status) {
                    self.call_off_orphans(backend_id);
                }
                self.statuses.insert(backend_id, status.clone());
                self.tell(&EngineEvent::Backend(status)).await;
                backend_id
            }
            FleetEvent::Capabilities {
                backend_id, json, ..
            } => {
                self.remember(backend_id, json);
                self.lacks.retain(|(backend, _), _| *backend != backend_id);
                self.tell(&EngineEvent::Capabilities(backend_id)).await;
                backend_id
            }
        };
        let facts = self.facts_about(backend_id);
        self.take(facts.into_iter().collect()).await;
    }

    /// Keeps what a backend says of its node classes, for when it does not answer.
    fn remember(&mut self, backend_id: BackendId, json: Arc<[u8]>) {
        let Some(status) = self.shared.fleet.status(backend_id) else {
            return;
        };
        let store = self.shared.store.clone();
        self.spawn(async move {
            let packed = tokio::task::spawn_blocking(move || PackedObjectInfo::new(&json)).await;
            let Ok(packed) = packed else { return };
            let kept = store.put_object_info(backend_id, &status.url, now_ms(), packed);
            // Only a convenience is lost; the disk is complained about where it matters.
            if let Err(error) = kept.await {
                tracing::warn!(%error, "what a backend said of its node classes was not kept");
            }
        });
    }

    /// Hands a socket event to the attempt it is about. Previews of old servers name no prompt: a server executes one at
    /// a time, so they belong to the attempt that began there last.
    fn pass_on(&mut self, backend_id: BackendId, event: SocketEvent) {
        let named = event.prompt_id().map(str::parse::<AttemptId>);
        let attempt_id = match named {
            Some(Ok(attempt_id)) => attempt_id,
            // Somebody else's prompt.
            Some(Err(_)) => return,
            None => {
                if !matches!(event, SocketEvent::Preview(_)) {
                    return;
                }
                match self.begun_last.get(&backend_id) {
                    Some(attempt_id) => *attempt_id,
                    None => return,
                }
            }
        };
        let Some(worker) = self.attempts.get(&attempt_id) else {
            return;
        };
        if matches!(event, SocketEvent::ExecutionStart { .. }) {
            self.begun_last.insert(backend_id, attempt_id);
        }
        // A worker that lags asks the server itself; only what the next event makes up for can be missed.
        let signal = attempt::Signal::Event(Box::new(event));
        worker.signals.try_send(signal).ok();
    }

    /// What the machine should know of a backend now.
    fn facts_about(&mut self, backend_id: BackendId) -> Option<Input> {
        let status = self.statuses.get(&backend_id)?;
        let fleet = &self.shared.fleet;
        let lacks = &mut self.lacks;
        let unable = self
            .runs
            .iter()
            .map(|(run_id, context)| {
                // Preflight of a large workflow costs milliseconds and its answer changes with the capabilities only.
                lacks
                    .entry((backend_id, *run_id))
                    .or_insert_with(|| starting::lacks_of(fleet, backend_id, context))
                    .clone()
            })
            .fold(BTreeMap::new(), |mut all, of_run| {
                all.extend(of_run);
                all
            });
        let mut facts = starting::backend_facts(fleet, status, unable)?;
        if self.shared.hanging(backend_id).is_some() && facts.availability == Availability::Online {
            facts.availability = Availability::Offline {
                reason: "hangs in a prompt that was called off; restart ComfyUI there".to_owned(),
            };
        }
        Some(Input::Backend(facts))
    }

    fn facts_about_all(&mut self) -> Vec<Input> {
        let backend_ids: Vec<BackendId> = self.statuses.keys().copied().collect();
        backend_ids
            .into_iter()
            .filter_map(|backend_id| self.facts_about(backend_id))
            .collect()
    }

    /// Forgets the worker of an attempt that ended, and remembers attempts that may still live at a silent backend. Gives the
    /// backend if it does not let go of the attempt.
    fn note_end(&mut self, fact: &Input) -> Option<BackendId> {
        let Input::AttemptEnded {
            attempt_id,
            outcome,
        } = fact
        else {
            return None;
        };
        let worker = self.attempts.remove(attempt_id)?;
        let hanging = (self.shared.hanging(worker.backend_id) == Some(*attempt_id))
            .then_some(worker.backend_id);
        if let Some(backend_id) = hanging {
            self.wait_for_release(backend_id, *attempt_id);
        }
        if let Err(failure) = outcome
            && matches!(
                failure.class,
                FailureClass::Offline | FailureClass::Timeout | FailureClass::Lost
            )
        {
            self.orphans
                .entry(worker.backend_id)
                .or_default()
                .push(*attempt_id);
        }
        hanging
    }

    /// Takes a backend that does not let go of an attempt out of the game until it does: what waits behind it there is taken
    /// back, and nothing new is sent.
    fn wait_for_release(&mut self, backend_id: BackendId, attempt_id: AttemptId) {
        for worker in self
            .attempts
            .values()
            .filter(|worker| worker.backend_id == backend_id)
        {
            // A worker that is busy finds out when it looks for itself.
            worker.signals.try_send(attempt::Signal::Hanging).ok();
        }
        let shared = self.shared.clone();
        self.spawn(async move {
            attempt::until_released(&shared, backend_id, attempt_id).await;
            shared.note_let_go(backend_id);
            // What the machine knows of the backend is made anew with its answer.
            shared.fleet.refresh(backend_id);
        });
    }

    fn call_off_orphans(&mut self, backend_id: BackendId) {
        let Some(attempt_ids) = self.orphans.remove(&backend_id) else {
            return;
        };
        let Some(client) = self.shared.fleet.client(backend_id) else {
            return;
        };
        self.spawn(async move {
            for attempt_id in attempt_ids {
                if let Err(error) = attempt::call_off(&client, attempt_id).await {
                    tracing::warn!(%error, %attempt_id, "a given-up attempt could not be called off");
                }
            }
        });
    }

    /// Starts a worker that ends with the engine.
    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        while self.workers.try_join_next().is_some() {}
        self.workers.spawn(work);
    }

    fn carry_out(&mut self, order: Effect) {
        match order {
            // `take` has recorded it.
            Effect::Record(_) => {}
            Effect::Submit(submission) => self.start_attempt(submission, attempt::Beginning::Post),
            Effect::Reconcile(submission) => {
                self.start_attempt(submission, attempt::Beginning::Find);
            }
            Effect::CancelAttempt {
                attempt_id,
                backend_id,
            } => {
                if let Some(worker) = self.attempts.get(&attempt_id) {
                    worker.cancel.cancel();
                } else {
                    tracing::debug!(%attempt_id, %backend_id, "nothing to call off");
                }
            }
            Effect::FreeMemory { backend_id } => {
                if let Some(client) = self.shared.fleet.client(backend_id) {
                    let gate = self.shared.memory_gate(backend_id);
                    // Closed now, not when the task runs: the next order may be a prompt for this backend.
                    let closed = gate.clone().try_write_owned();
                    self.spawn(async move {
                        let _closed = match closed {
                            Ok(closed) => closed,
                            Err(_in_use) => gate.write_owned().await,
                        };
                        if let Err(error) = client.free(true, true).await {
                            tracing::warn!(%error, "a backend did not free its memory");
                        }
                    });
                }
            }
            Effect::Local(work) => {
                if let Some(context) = self.runs.get(&work.run_id) {
                    let work = local_work::work(self.shared.clone(), context.clone(), work);
                    self.spawn(work);
                }
            }
            Effect::LookUp(question) => {
                if let Some(context) = self.runs.get(&question.run_id) {
                    let work = cache::look_up(self.shared.clone(), context.clone(), question);
                    self.spawn(work);
                }
            }
            Effect::WakeAt { at_ms } => {
                self.wake_at_ms = Some(self.wake_at_ms.map_or(at_ms, |earlier| earlier.min(at_ms)));
            }
        }
    }

    fn start_attempt(&mut self, submission: Submission, beginning: attempt::Beginning) {
        let Some(context) = self.runs.get(&submission.run_id).cloned() else {
            return;
        };
        let cancel = CancellationToken::new();
        let (signals, signal_receiver) = mpsc::channel(attempt::SIGNAL_CAPACITY);
        let worker = AttemptWorker {
            backend_id: submission.backend_id,
            cancel: cancel.clone(),
            signals,
        };
        self.attempts.insert(submission.attempt_id, worker);
        let work = attempt::work(
            self.shared.clone(),
            context,
            submission,
            beginning,
            signal_receiver,
            cancel,
        );
        self.spawn(work);
    }

    /// Starts a run that was validated and planned.
    async fn begin(&mut self, prepared: Prepared) {
        let run_id = prepared.run_id;
        let context = match prepared.outcome {
            Ok(context) => context,
            Err(problems) => {
                self.tell(&EngineEvent::RunRefused { run_id, problems })
                    .await;
                return;
            }
        };
        if let Err(error) =
            starting::store_run(&self.shared.store, &context, self.extra_backends.clone()).await
        {
            let problems = vec![(None, error.to_string())];
            self.tell(&EngineEvent::RunRefused { run_id, problems })
                .await;
            return;
        }
        let plan = context.plan.clone();
        self.runs.insert(run_id, context);
        let mut facts = self.facts_about_all();
        facts.push(Input::Start { run_id, plan });
        self.take(facts).await;
    }

    /// Brings a run of the past into the machine. Says whether it is there now.
    async fn load(&mut self, run_id: RunId) -> bool {
        if self.runs.contains_key(&run_id) {
            return true;
        }
        let loaded = async {
            if !self.shared.store.claim_run(run_id).await? {
                return Err(StartError::ElsewhereAlive);
            }
            let mut stored = self.shared.store.run(run_id).await?;
            let backends = std::mem::take(&mut stored.backends);
            let context = starting::restore(run_id, stored)?;
            let events = self.log_of(run_id).await?;
            Ok::<_, StartError>((context, events, backends))
        };
        match loaded.await {
            Ok((context, events, backends)) => {
                if let Err(error) = self.join_backends(run_id, backends).await {
                    tracing::warn!(%error, %run_id, "the servers of a run cannot be remembered");
                }
                let plan = context.plan.clone();
                self.runs.insert(run_id, context);
                for event in &events {
                    self.tell(&EngineEvent::Run(event.clone())).await;
                }
                self.machine.restore(run_id, plan, events);
                let facts = self.facts_about_all();
                self.take(facts).await;
                true
            }
            Err(error) => {
                self.trouble(&format!("the run cannot go on: {error}"))
                    .await;
                false
            }
        }
    }

    /// Brings the backends of a run of the past together with those of this process: both know all of them from now on.
    async fn join_backends(
        &mut self,
        run_id: RunId,
        mut of_run: Vec<BackendConfig>,
    ) -> Result<(), StoreError> {
        for config in &of_run {
            let is_known = self
                .shared
                .fleet
                .configs()
                .iter()
                .any(|known| known.id == config.id || known.url == config.url);
            if !is_known {
                self.connect(config.clone()).await?;
            }
        }
        let before = of_run.len();
        for extra in &self.extra_backends {
            if of_run.iter().all(|known| known.id != extra.id) {
                of_run.push(extra.clone());
            }
        }
        if of_run.len() > before {
            self.shared.store.set_run_backends(run_id, of_run).await?;
        }
        Ok(())
    }

    /// Goes on with what earlier processes left.
    async fn load_unfinished(&mut self, policy: ResumePolicy) -> Result<(), StoreError> {
        for summary in self.shared.store.claim_unfinished_runs().await? {
            if !self.load(summary.run_id).await {
                continue;
            }
            // A run that a person paused stays paused until that person says otherwise.
            if policy == ResumePolicy::Resume && summary.state != RunState::Paused {
                self.take(vec![Input::ResumeRun {
                    run_id: summary.run_id,
                }])
                .await;
            }
        }
        Ok(())
    }
}

/// Why a run of the past does not go on.
#[derive(Debug, Error)]
enum StartError {
    #[error("another ComfyUI Orchestrator works on it")]
    ElsewhereAlive,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its snapshot cannot be read: {0}")]
    Snapshot(String),
}
