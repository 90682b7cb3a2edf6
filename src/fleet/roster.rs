//! All registered backends, and the door to each.

use super::auth::{AuthError, auth_headers};
use super::backend::BackendConfig;
use super::monitor::{self, Shared};
use super::status::{BackendState, BackendStatus};
use crate::comfy::{Client, ComfyError, Endpoint, SocketEvent};
use crate::project::BackendId;
use crate::workflow::{ModelSizes, ObjectInfo};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the fleet tells the engine.
#[derive(Clone, Debug)]
pub enum FleetEvent {
    /// A backend's state.
    Status(BackendStatus),
    /// A backend's socket is up, for the first time or again. Nothing is replayed: reconcile what is under way there.
    Connected {
        /// The backend.
        backend_id: BackendId,
    },
    /// A backend's socket, or the attempt to open it, ended; another attempt follows by itself.
    Disconnected {
        /// The backend.
        backend_id: BackendId,
        /// A sentence that says why.
        reason: String,
    },
    /// A message of a backend's socket. Progress and previews are dropped when the engine lags; others never.
    Message {
        /// The backend.
        backend_id: BackendId,
        /// The message.
        event: SocketEvent,
    },
    /// A backend said which node classes it has, with their inputs: after each connect and refresh.
    Capabilities {
        /// The backend.
        backend_id: BackendId,
        /// The classes.
        object_info: Arc<ObjectInfo>,
        /// The same as the backend said it, for keeping.
        json: Arc<[u8]>,
    },
    /// A backend said how large its model files are, for the first time or otherwise than before; [`Fleet::model_sizes`]
    /// gives them.
    ModelSizes {
        /// The backend.
        backend_id: BackendId,
    },
}

/// Why a backend cannot even be tried.
#[derive(Debug, Error)]
pub enum FleetError {
    /// Its secret is missing or unusable.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Its address is unusable.
    #[error(transparent)]
    Address(#[from] ComfyError),
}

/// The endpoint of a backend: its address with the secret that its configuration refers to, read by `variable`.
///
/// # Errors
/// [`FleetError`] when the secret or the address is unusable.
pub fn endpoint_of(
    config: &BackendConfig,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Endpoint, FleetError> {
    let headers = auth_headers(&config.auth, variable)?;
    Ok(Endpoint::new(&config.url, headers, config.tls)?)
}

/// All registered backends. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    backends: Mutex<BTreeMap<BackendId, Backend>>,
    /// Monitors of removed backends, until their sockets are closed: one that is registered anew waits for it.
    leaving: Mutex<BTreeMap<BackendId, JoinHandle<()>>>,
    client_id_of: Box<dyn Fn(BackendId) -> String + Send + Sync>,
    events: mpsc::Sender<FleetEvent>,
}

struct Backend {
    config: BackendConfig,
    client: Option<Client>,
    client_id: String,
    shared: Arc<Shared>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.configs()).finish()
    }
}

impl Fleet {
    /// Starts a monitor for each backend: one socket, a health request every five seconds. `client_id_of` gives the client
    /// id for a backend: always the same for this installation, and never one that anybody else uses. Events go to
    /// `events`; the receiver must keep reading. Needs a tokio runtime.
    pub fn start(
        configs: impl IntoIterator<Item = BackendConfig>,
        client_id_of: impl Fn(BackendId) -> String + Send + Sync + 'static,
        events: mpsc::Sender<FleetEvent>,
    ) -> Self {
        let fleet = Self {
            inner: Arc::new(Inner {
                backends: Mutex::new(BTreeMap::new()),
                leaving: Mutex::new(BTreeMap::new()),
                client_id_of: Box::new(client_id_of),
                events,
            }),
        };
        for config in configs {
            fleet.put(config);
        }
        fleet
    }

    /// Registers a backend, or changes one. Of a changed one the old socket is closed before a new one is opened.
    pub fn put(&self, config: BackendConfig) {
        let mut backends = self.backends();
        let before = match backends.remove(&config.id) {
            Some(same) if same.config == config => {
                backends.insert(config.id, same);
                return;
            }
            Some(other) => {
                other.cancel.cancel();
                Some(other.task)
            }
            None => self.leaving().remove(&config.id),
        };
        let client_id = (self.inner.client_id_of)(config.id);
        // Environment variables are read here, at the edge, and nowhere else.
        let client = endpoint_of(&config, |name| std::env::var(name).ok())
            .and_then(|endpoint| Ok(Client::new(endpoint)?));
        let shared = Arc::new(Shared::new(&config));
        let cancel = CancellationToken::new();
        let task = tokio::spawn(monitor::run(
            before,
            client.as_ref().map_err(ToString::to_string).cloned(),
            client_id.clone(),
            Arc::clone(&shared),
            self.inner.events.clone(),
            cancel.clone(),
        ));
        backends.insert(
            config.id,
            Backend {
                config,
                client: client.ok(),
                client_id,
                shared,
                cancel,
                task,
            },
        );
    }

    /// Forgets a backend and closes its socket.
    pub fn remove(&self, backend_id: BackendId) {
        if let Some(backend) = self.backends().remove(&backend_id) {
            backend.cancel.cancel();
            let mut leaving = self.leaving();
            leaving.retain(|_, task| !task.is_finished());
            leaving.insert(backend_id, backend.task);
        }
    }

    /// Takes a backend out, or in again. One that is out has no socket and gets no requests.
    pub fn set_enabled(&self, backend_id: BackendId, enabled: bool) {
        let config = self
            .backends()
            .get(&backend_id)
            .map(|backend| backend.config.clone());
        if let Some(config) = config {
            self.put(BackendConfig { enabled, ..config });
        }
    }

    /// Asks a backend for its state and capabilities now rather than at the next beat. The answer comes as events.
    pub fn refresh(&self, backend_id: BackendId) {
        if let Some(backend) = self.backends().get(&backend_id) {
            backend.shared.refresh.notify_one();
        }
    }

    /// The HTTP side of a backend; none if it is not registered, or cannot even be tried (its status says why).
    #[must_use]
    pub fn client(&self, backend_id: BackendId) -> Option<Client> {
        self.backends().get(&backend_id)?.client.clone()
    }

    /// The client id under which a backend's socket is open: prompts must carry it.
    #[must_use]
    pub fn client_id(&self, backend_id: BackendId) -> Option<String> {
        Some(self.backends().get(&backend_id)?.client_id.clone())
    }

    /// How a backend is reached.
    #[must_use]
    pub fn config(&self, backend_id: BackendId) -> Option<BackendConfig> {
        Some(self.backends().get(&backend_id)?.config.clone())
    }

    /// How every backend is reached, by id.
    #[must_use]
    pub fn configs(&self) -> Vec<BackendConfig> {
        self.backends()
            .values()
            .map(|backend| backend.config.clone())
            .collect()
    }

    /// A backend as it is now.
    #[must_use]
    pub fn status(&self, backend_id: BackendId) -> Option<BackendStatus> {
        Some(self.backends().get(&backend_id)?.shared.status())
    }

    /// Every backend as it is now, by id.
    #[must_use]
    pub fn statuses(&self) -> Vec<BackendStatus> {
        self.backends()
            .values()
            .map(|backend| backend.shared.status())
            .collect()
    }

    /// The node classes a backend has; none before its first connection.
    #[must_use]
    pub fn object_info(&self, backend_id: BackendId) -> Option<Arc<ObjectInfo>> {
        self.backends().get(&backend_id)?.shared.object_info()
    }

    /// How large a backend's model files are, as far as it tells; none before it was asked.
    #[must_use]
    pub fn model_sizes(&self, backend_id: BackendId) -> Option<Arc<ModelSizes>> {
        self.backends().get(&backend_id)?.shared.model_sizes()
    }

    /// Whether a backend answers and has a live socket.
    #[must_use]
    pub fn is_online(&self, backend_id: BackendId) -> bool {
        self.status(backend_id)
            .is_some_and(|status| matches!(status.state, BackendState::Online | BackendState::Busy))
    }

    /// Closes all sockets and returns when they are gone.
    pub async fn shutdown(&self) {
        let all = std::mem::take(&mut *self.backends());
        for backend in all.values() {
            backend.cancel.cancel();
        }
        for backend in all.into_values() {
            // A monitor does not panic; were it to, its socket would be gone as well.
            let _ = backend.task.await;
        }
        let leaving = std::mem::take(&mut *self.leaving());
        for task in leaving.into_values() {
            let _ = task.await;
        }
    }

    fn leaving(&self) -> MutexGuard<'_, BTreeMap<BackendId, JoinHandle<()>>> {
        self.inner
            .leaving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn backends(&self) -> MutexGuard<'_, BTreeMap<BackendId, Backend>> {
        self.inner
            .backends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for backend in self
            .backends
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            backend.cancel.cancel();
        }
    }
}
