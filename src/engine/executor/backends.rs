//! Backends as the engine knows them: connected, heard, forgotten; and what the machine is told of them.

use super::{Executor, attempt, starting};
use crate::engine::command::BackendKeeping;
use crate::engine::live::EngineEvent;
use crate::engine::machine::{Availability, Input};
use crate::fleet::{BackendConfig, BackendState, FleetEvent};
use crate::project::BackendId;
use crate::store::{PackedObjectInfo, StoreError};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
/// Client id of each backend, filled in before the fleet asks.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientIds(Arc<Mutex<HashMap<BackendId, String>>>);

impl ClientIds {
    pub(super) fn get(&self, backend_id: BackendId) -> String {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.entry(backend_id)
            .or_insert_with(|| uuid::Uuid::now_v7().simple().to_string())
            .clone()
    }

    pub(super) fn set(&self, backend_id: BackendId, client_id: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(backend_id, client_id);
    }
}

/// Whether this process alone works in its data folder. Only then does it speak under the installation's client ids: a
/// backend takes two sockets with one id for one and leaves one of them deaf.
#[derive(Debug)]
pub(super) enum SoleEngine {
    /// Yes, for as long as the file is locked.
    Yes { _lock: File },
    /// No; it speaks under ids of its own.
    No,
}

impl SoleEngine {
    pub(super) fn try_become(data_dir: &Path) -> Self {
        match File::create(data_dir.join("engine.lock")) {
            Ok(file) if file.try_lock().is_ok() => Self::Yes { _lock: file },
            _ => Self::No,
        }
    }
}

impl Executor {
    pub(super) async fn put_backend(
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
    pub(super) async fn connect(&mut self, config: BackendConfig) -> Result<(), StoreError> {
        if matches!(self.sole_engine, SoleEngine::Yes { .. }) {
            let client_id = self
                .shared
                .store
                .client_id(config.id, uuid::Uuid::now_v7())
                .await?;
            self.client_ids
                .set(config.id, client_id.simple().to_string());
        }
        let backend_id = config.id;
        self.shared.fleet.put(config);
        let Some(status) = self.shared.fleet.status(backend_id) else {
            return Ok(());
        };
        if status.state == BackendState::Disabled {
            // Known at once: what is called off there next must not go there again.
            self.statuses.insert(backend_id, status);
            let facts = self.facts_about(backend_id);
            self.take(facts.into_iter().collect()).await;
        } else {
            // A run that goes on must not judge by the backends that answered first: those being connected count, too.
            self.statuses.entry(backend_id).or_insert(status);
        }
        Ok(())
    }

    pub(super) async fn disconnect(&mut self, backend_id: BackendId) {
        if self.registered.remove(&backend_id)
            && let Err(error) = self.shared.store.remove_backend(backend_id).await
        {
            self.trouble(&error.to_string()).await;
            return;
        }
        self.statuses.remove(&backend_id);
        // Removed first: as long as it is known, what waits may be sent there.
        self.take(vec![
            Input::BackendRemoved { backend_id },
            Input::VacateBackend { backend_id },
        ])
        .await;
        self.shared.fleet.remove(backend_id);
        self.shared.forget_files_at(backend_id);
        self.tell(&EngineEvent::BackendRemoved(backend_id)).await;
    }

    /// Takes over what is new about a backend.
    pub(super) async fn hear(&mut self, event: FleetEvent) {
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
            FleetEvent::ModelSizes { backend_id } => {
                self.lacks.retain(|(backend, _), _| *backend != backend_id);
                self.tell(&EngineEvent::Capabilities(backend_id)).await;
                backend_id
            }
        };
        let mut facts: Vec<Input> = self.memory_in_use(backend_id).into_iter().collect();
        facts.extend(self.facts_about(backend_id));
        self.take_ahead(facts).await;
    }

    /// How much memory of a backend's largest device is in use while one of our attempts executes there. A processor's
    /// memory is everybody's and says nothing.
    fn memory_in_use(&self, backend_id: BackendId) -> Option<Input> {
        let attempt_id = *self.begun_last.get(&backend_id)?;
        self.attempts.get(&attempt_id)?;
        let device = self
            .statuses
            .get(&backend_id)?
            .devices
            .iter()
            .filter(|device| device.name != "cpu")
            .max_by_key(|device| device.vram_total)?;
        Some(Input::MemorySeen {
            attempt_id,
            used_bytes: device.vram_total.saturating_sub(device.vram_free),
        })
    }

    /// Keeps what a backend says of its node classes, for when it does not answer.
    pub(super) fn remember(&mut self, backend_id: BackendId, json: Arc<[u8]>) {
        let Some(status) = self.shared.fleet.status(backend_id) else {
            return;
        };
        let store = self.shared.store.clone();
        self.spawn(async move {
            let packed = tokio::task::spawn_blocking(move || PackedObjectInfo::new(&json)).await;
            let Ok(packed) = packed else { return };
            let kept = store.put_object_info(backend_id, &status.url, super::now_ms(), packed);
            // Only a convenience is lost; the disk is complained about where it matters.
            if let Err(error) = kept.await {
                tracing::warn!(%error, "what a backend said of its node classes was not kept");
            }
        });
    }

    /// What the machine should know of a backend now.
    pub(super) fn facts_about(&mut self, backend_id: BackendId) -> Option<Input> {
        let status = self.statuses.get(&backend_id)?;
        let fleet = &self.shared.fleet;
        let lacks = &mut self.lacks;
        let mut judgement = starting::Judgement::default();
        for (run_id, context) in &self.runs {
            // Preflight of a large workflow costs milliseconds and its answer changes with the capabilities only.
            let of_run = lacks
                .entry((backend_id, *run_id))
                .or_insert_with(|| Arc::new(starting::judge(fleet, backend_id, context)));
            judgement.add(of_run);
        }
        let mut facts = starting::backend_facts(fleet, status, judgement)?;
        if self.shared.hanging(backend_id).is_some() && facts.availability == Availability::Online {
            facts.availability = Availability::Offline {
                reason: "hangs in a prompt that was called off; restart ComfyUI there".to_owned(),
            };
        }
        Some(Input::Backend(facts))
    }

    pub(super) fn facts_about_all(&mut self) -> Vec<Input> {
        let backend_ids: Vec<BackendId> = self.statuses.keys().copied().collect();
        backend_ids
            .into_iter()
            .filter_map(|backend_id| self.facts_about(backend_id))
            .collect()
    }
}
