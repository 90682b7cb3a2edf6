//! The one door to the engine: commands in, events out, and questions about the past.

use super::command::{RunCommand, RunFolders};
use super::event::RunEvent;
use super::id::RunId;
use super::live::EngineEvent;
use super::on_start::OnStart;
use super::placement::Estimates;
use crate::artifacts::{Artifact, ArtifactStore};
use crate::fleet::{BackendConfig, Door, DoorError, Fleet};
use crate::project::{BackendId, Project, read_portable_form};
use crate::store::{RunSummary, Store, StoreError};
use crate::workflow::{self, Fitness, ModelSizes, ObjectInfo, WorkflowDocument};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Events a subscriber may lag behind before the engine waits for it.
const SUBSCRIBER_CAPACITY: usize = 4096;

/// A cheap, cloneable handle to a running engine.
#[derive(Clone)]
pub struct EngineHandle {
    requests: mpsc::Sender<Request>,
    store: Store,
    artifacts: ArtifactStore,
    fleet: Fleet,
    runtime: tokio::runtime::Handle,
}

/// What reaches the engine's task, in the order of sending.
#[derive(Debug)]
pub(super) enum Request {
    /// A wish.
    Command(Box<RunCommand>),
    /// Somebody wants to hear everything from now on.
    Subscribe(mpsc::Sender<EngineEvent>),
    /// Somebody wants to know when everything sent before was done.
    Settle(oneshot::Sender<()>),
}

/// Why a command was not taken.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The queue of commands is full.
    #[error("the engine is busy and did not take the command; try again in a moment")]
    Busy,
    /// The engine has ended.
    #[error("the engine has ended; restart the program (runs continue where they were)")]
    Ended,
}

impl EngineHandle {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        store: Store,
        artifacts: ArtifactStore,
        fleet: Fleet,
    ) -> Self {
        Self {
            requests,
            store,
            artifacts,
            fleet,
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Opens a door to the pages of a backend; see [`Door`].
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn open_door(&self, config: &BackendConfig, secret: &str) -> Result<Door, DoorError> {
        self.wait_inside(Door::open(config, secret))
    }

    /// Waits inside the engine's runtime, for threads of the window that ask for what needs the network. Not for code that
    /// runs in a runtime already.
    pub fn wait_inside<T>(&self, question: impl Future<Output = T>) -> T {
        self.runtime.block_on(question)
    }

    /// The database behind the door.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Hands a command over without waiting.
    ///
    /// # Errors
    /// [`CommandError`] when the queue is full or the engine has ended.
    pub fn send(&self, command: RunCommand) -> Result<(), CommandError> {
        self.request(Request::Command(Box::new(command)))
    }

    /// Everything the engine tells from now on, beginning with the state of every backend and the whole log of every
    /// run it has in hand. The subscriber must keep reading: run events are never dropped, so one that stops reading stops
    /// the engine. Dropping the receiver ends the subscription.
    ///
    /// # Errors
    /// [`CommandError`] when the queue is full or the engine has ended.
    pub fn subscribe(&self) -> Result<mpsc::Receiver<EngineEvent>, CommandError> {
        let (sender, receiver) = mpsc::channel(SUBSCRIBER_CAPACITY);
        self.request(Request::Subscribe(sender))?;
        Ok(receiver)
    }

    /// Hears when the engine has taken every command that was sent before, and has told subscribers what followed at once.
    ///
    /// # Errors
    /// [`CommandError`] when the queue is full or the engine has ended.
    pub(crate) fn settled(&self) -> Result<oneshot::Receiver<()>, CommandError> {
        let (sender, receiver) = oneshot::channel();
        self.request(Request::Settle(sender))?;
        Ok(receiver)
    }

    /// Makes a run this engine's. False when another program that lives has it.
    ///
    /// # Errors
    /// [`StoreError`]; also when there is no such run.
    pub(crate) async fn claim_run(&self, run_id: RunId) -> Result<bool, StoreError> {
        self.store.claim_run(run_id).await
    }

    fn request(&self, request: Request) -> Result<(), CommandError> {
        self.requests
            .try_send(request)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => CommandError::Busy,
                mpsc::error::TrySendError::Closed(_) => CommandError::Ended,
            })
    }

    /// Where the file of an artifact lies. It may be absent after the store was pruned.
    #[must_use]
    pub fn artifact_path(&self, artifact: &Artifact) -> PathBuf {
        self.artifacts.path(artifact)
    }

    /// Every run there was, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        self.store.runs().await
    }

    /// At most `limit` events of a run in their order, from number `from_seq`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events(
        &self,
        run_id: RunId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<RunEvent>, StoreError> {
        self.store.events(run_id, from_seq, limit).await
    }

    /// The project as it was when a run started.
    ///
    /// # Errors
    /// [`StoreError`]; also when there is no such run, or its snapshot cannot be read.
    pub async fn project_of(&self, run_id: RunId) -> Result<Project, StoreError> {
        let stored = self.store.run(run_id).await?;
        read_portable_form(stored.snapshot.as_bytes()).map_err(|error| StoreError::CannotOpen {
            path: format!("snapshot of run {run_id}").into(),
            detail: error.to_string(),
        })
    }

    /// Where a run writes and reads.
    ///
    /// # Errors
    /// [`StoreError`]; also when there is no such run.
    pub async fn folders_of(&self, run_id: RunId) -> Result<RunFolders, StoreError> {
        Ok(self.store.run(run_id).await?.folders)
    }

    /// The registered backends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backends(&self) -> Result<Vec<BackendConfig>, StoreError> {
        self.store.backends().await
    }

    /// The backends that a run uses beside the registered ones.
    ///
    /// # Errors
    /// [`StoreError`]; also when there is no such run.
    pub async fn backends_of(&self, run_id: RunId) -> Result<Vec<BackendConfig>, StoreError> {
        Ok(self.store.run(run_id).await?.backends)
    }

    /// How a backend is reached; none when there is none of that id.
    #[must_use]
    pub fn backend(&self, backend_id: BackendId) -> Option<BackendConfig> {
        self.fleet.config(backend_id)
    }

    /// What a backend says about its node classes; none until it said so.
    #[must_use]
    pub fn object_info(&self, backend_id: BackendId) -> Option<Arc<ObjectInfo>> {
        self.fleet.object_info(backend_id)
    }

    /// How large a backend's model files are, as far as it tells; none until it was asked.
    #[must_use]
    pub fn model_sizes(&self, backend_id: BackendId) -> Option<Arc<ModelSizes>> {
        self.fleet.model_sizes(backend_id)
    }

    /// How a workflow fits every backend of which the node classes are known, by id: a matrix's row. None in place of the
    /// judgement when the file has no prompt whatever a backend has.
    #[must_use]
    pub fn preflight(&self, document: &WorkflowDocument) -> Vec<(BackendId, Option<Fitness>)> {
        self.fleet
            .configs()
            .into_iter()
            .filter_map(|config| {
                let object_info = self.fleet.object_info(config.id)?;
                let sizes = self.fleet.model_sizes(config.id).unwrap_or_default();
                let judged = workflow::fitness(document, &object_info, &sizes);
                Some((config.id, judged.ok()))
            })
            .collect()
    }

    /// What all backends that were ever seen last said of their node classes, together; where they differ, as the one seen
    /// last said. For files that are looked at while no backend answers. None when none was ever seen.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remembered_object_info(&self) -> Result<Option<ObjectInfo>, StoreError> {
        super::remembered_object_info(&self.store).await
    }

    /// What each backend in use last said of its node classes, for those that do not answer now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remembered_by_backend(
        &self,
    ) -> Result<BTreeMap<BackendId, Arc<ObjectInfo>>, StoreError> {
        let ids: Vec<BackendId> = self
            .fleet
            .configs()
            .into_iter()
            .map(|config| config.id)
            .collect();
        super::remembered_by_backend(&self.store, &ids).await
    }

    /// What earlier runs taught of times, memory and failures.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn learned_estimates(&self) -> Result<Estimates, StoreError> {
        super::learned_estimates(&self.store).await
    }

    /// A setting of the program, as text.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.store.setting(key).await
    }

    /// What happens with unfinished runs when the program starts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn on_start(&self) -> Result<OnStart, StoreError> {
        OnStart::read(&self.store).await
    }

    /// Sets what happens with unfinished runs at every later start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_on_start(&self, on_start: OnStart) -> Result<(), StoreError> {
        on_start.write(&self.store).await
    }

    /// Keeps a setting; none forgets it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_setting(&self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        self.store.put_setting(key, value).await
    }
}
