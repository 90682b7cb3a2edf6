//! What people and programs ask, handed to who does it.

use super::{Executor, planning, starting};
use crate::engine::command::{BackendKeeping, RunCommand};
use crate::engine::live::EngineEvent;
use crate::engine::machine::Input;
use crate::project::BackendId;

impl Executor {
    /// Does what is asked. `wish_id` names the command where another program left it.
    pub(super) async fn obey(&mut self, command: RunCommand, wish_id: Option<i64>) {
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
            RunCommand::Plan {
                plan_id,
                project,
                folders,
            } => {
                let (shared, subscribers) = (self.shared.clone(), self.subscribers.clone());
                self.spawn(async move {
                    let found = planning::plan(&shared, project, folders).await;
                    for subscriber in subscribers {
                        let found = found.clone();
                        // One that is gone does not want the answer any more.
                        let _ = subscriber
                            .send(EngineEvent::Planned { plan_id, found })
                            .await;
                    }
                });
            }
            RunCommand::PutBackend { config, keeping } => {
                if let Err(error) = self.put_backend(config, keeping).await {
                    self.trouble(&error.to_string()).await;
                }
            }
            RunCommand::SetBackendEnabled {
                backend_id,
                enabled,
            } => self.set_enabled(backend_id, enabled).await,
            RunCommand::VacateBackend { backend_id } => {
                self.take_asked(vec![Input::VacateBackend { backend_id }], wish_id)
                    .await;
            }
            RunCommand::RemoveBackend { backend_id } => self.disconnect(backend_id).await,
            RunCommand::RefreshBackend { backend_id } => self.shared.fleet.refresh(backend_id),
            RunCommand::Wish { run_id, wishes } => {
                if self.load(run_id).await {
                    self.take_asked(vec![Input::Wish { run_id, wishes }], wish_id)
                        .await;
                    self.unfinished.retain(|waiting| *waiting != run_id);
                }
            }
        }
    }

    async fn set_enabled(&mut self, backend_id: BackendId, enabled: bool) {
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
}
