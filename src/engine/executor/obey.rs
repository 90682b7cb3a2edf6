//! What people and programs ask, handed to who does it.

use super::{Executor, planning, starting};
use crate::engine::command::{BackendKeeping, RunCommand};
use crate::engine::live::EngineEvent;
use crate::engine::machine::Input;

impl Executor {
    pub(super) async fn obey(&mut self, command: RunCommand) {
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
            RunCommand::Answer {
                run_id,
                item_ids,
                answer,
                reach,
            } => {
                if self.load(run_id).await {
                    self.take(vec![Input::Answer {
                        run_id,
                        item_ids,
                        answer,
                        reach,
                    }])
                    .await;
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
}
