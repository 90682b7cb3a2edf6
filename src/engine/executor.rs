//! The executor: performs the machine's orders and feeds facts back.
//!
//! One task owns the machine. It takes commands, facts from workers, backend states and the passing of time, steps the
//! machine, writes every recorded event to `SQLite`, tells subscribers, and only then starts what the step ordered.

mod attempt;
mod backends;
pub(super) mod cache;
mod disk;
mod inputs;
pub(super) mod learned;
mod local_work;
mod obey;
mod orders;
pub(super) mod outlook;
mod outputs;
mod planning;
mod progress;
mod record;
pub(super) mod run_workflow;
mod runs;
mod shared;
pub(super) mod starting;
mod wishes;

use super::handle::{EngineHandle, Request};
use super::id::{AttemptId, RunId};
use super::live::EngineEvent;
use super::machine::{CacheUse, Input, Machine};
use crate::artifacts::{ArtifactError, ArtifactStore};
use crate::fleet::{BackendConfig, BackendStatus, Fleet, FleetEvent};
use crate::project::BackendId;
use crate::store::{Store, StoreError};
use backends::{ClientIds, SoleEngine};
use learned::ESTIMATES_PERIOD;
use shared::Shared;
use starting::{Prepared, RunContext};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
/// How long the end of the engine waits for files that are being written: a share that hangs must not keep a window open.
const LAST_WRITES: Duration = Duration::from_secs(30);

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
    /// How many milliseconds a backend is left alone with a workflow that failed there twice in a row;
    /// [`super::PAIR_BLOCK_MS`] but in tests.
    pub pair_block_ms: u64,
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
    /// As the person set it ([`super::OnStart`]).
    BySetting,
    /// They are taken up paused.
    Paused,
    /// They are loaded, and rest until a person says what to do with each ([`super::EngineEvent::Unfinished`]).
    Ask,
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
        machine: Machine::new()
            .with_cache(CacheUse::Ask)
            .with_pair_block(options.pair_block_ms),
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
        turns: VecDeque::new(),
        wake_at_ms: None,
        estimates_kept: Instant::now(),
        outlooks: outlook::Outlooks::default(),
        cache_trimmed: Instant::now(),
        stop: stop.clone(),
        registry: None,
        unfinished: Vec::new(),
        resume: options.resume,
        left_looked: Instant::now(),
    };
    let mut backends = options.extra_backends;
    if options.registry == RegistryUse::Registered {
        let registered = executor.shared.store.backends().await?;
        executor.registry = Some(wishes::SeenRegistry {
            backends: registered.clone(),
            looked: Instant::now(),
        });
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
    executor.load_unfinished().await?;
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
    lacks: HashMap<(BackendId, RunId), Arc<starting::Judgement>>,
    /// The attempt that began last on each backend.
    begun_last: HashMap<BackendId, AttemptId>,
    workers: JoinSet<()>,
    /// Steps of the machine that are on their way to the disk, in order.
    turns: VecDeque<record::Turn>,
    wake_at_ms: Option<u64>,
    /// When what was learned was last written down.
    estimates_kept: Instant,
    /// What was last said of what is to come.
    outlooks: outlook::Outlooks,
    /// Ends the engine.
    stop: CancellationToken,
    /// When the kept results were last measured.
    cache_trimmed: Instant,
    /// The registry as it was last seen; none where it is not used.
    registry: Option<wishes::SeenRegistry>,
    /// Runs that rest until a person says what to do with them.
    unfinished: Vec<RunId>,
    /// What happens with runs whose program is gone.
    resume: ResumePolicy,
    /// When it was last looked for them.
    left_looked: Instant,
}

impl Executor {
    async fn work(mut self, mut inbox: Inbox, stop: CancellationToken) {
        let mut rounds = tokio::time::interval(wishes::WISH_PERIOD);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let sleep = self.sleep_until_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(request) = inbox.requests.recv() => {
                    // Who asks sees everything that was before, and once.
                    self.settle().await;
                    match request {
                        Request::Subscribe(subscriber) => self.welcome(subscriber).await,
                        Request::Command(command) => self.obey(*command, None).await,
                        // Who does not wait any more does not need to know.
                        Request::Settle(waiting) => { waiting.send(()).ok(); }
                    }
                },
                written = record::first_written(&mut self.turns) => self.settle_first(written).await,
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
                    self.take_ahead(told).await;
                    if self.estimates_kept.elapsed() > ESTIMATES_PERIOD {
                        self.keep_estimates().await;
                    }
                    self.trim_now_and_then().await;
                    self.tell_outlook().await;
                },
                Some(prepared) = inbox.prepared.recv() => self.begin(prepared).await,
                Some(event) = inbox.fleet_events.recv() => self.hear(event).await,
                Some(event) = inbox.live.recv() => match event {
                    trouble @ EngineEvent::Trouble(_) => self.tell(&trouble).await,
                    live => self.tell_live(live),
                },
                _ = rounds.tick() => {
                    self.look_around().await;
                    // Files come to be named by nothing also where no run goes on: another program forgets runs.
                    self.trim_now_and_then().await;
                    self.tell_outlook().await;
                }
                () = sleep => {
                    self.wake_at_ms = None;
                    self.take(vec![Input::Tick]).await;
                }
            }
        }
        self.settle().await;
        self.keep_estimates().await;
        // Attempts go on at their backends; the next start finds them by their ids.
        self.workers.shutdown().await;
        self.shared.fleet.shutdown().await;
        // A file that is being written is finished first: who takes the run over would begin it anew under the same name.
        let idle = tokio::time::timeout(LAST_WRITES, self.shared.local_tasks.until_idle());
        if idle.await.is_err() {
            // A disk that hangs. The runs are free when this process has ended.
            tracing::warn!("a file is still being written; its runs are not given away yet");
            return;
        }
        self.shared.store.release_runs();
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

    /// Starts a worker that ends with the engine.
    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        while self.workers.try_join_next().is_some() {}
        self.workers.spawn(work);
    }
}
