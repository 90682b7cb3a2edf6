//! What people and programs ask, handed to who does it.

use super::{Executor, planning, starting};
use crate::engine::command::{BackendKeeping, RetryScope, RunCommand};
use crate::engine::id::RunId;
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
            of_run => {
                if let Some((run_id, wish)) = wish_of(of_run)
                    && self.load(run_id).await
                {
                    self.take_asked(vec![wish], wish_id).await;
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

/// What the machine is told of a command about a run.
fn wish_of(command: RunCommand) -> Option<(RunId, Input)> {
    Some(match command {
        RunCommand::Cancel { run_id } => (run_id, Input::CancelRun { run_id }),
        RunCommand::CancelItem { run_id, item_id } => {
            (run_id, Input::CancelItem { run_id, item_id })
        }
        RunCommand::CancelNode { run_id, node_id } => {
            (run_id, Input::CancelNode { run_id, node_id })
        }
        RunCommand::Pause { run_id } => (run_id, Input::PauseRun { run_id }),
        RunCommand::Resume { run_id } => (run_id, Input::ResumeRun { run_id }),
        RunCommand::RetryFailed { run_id }
        | RunCommand::Retry {
            run_id,
            scope: RetryScope::Run,
        } => (run_id, Input::RetryFailed { run_id }),
        RunCommand::Retry { run_id, scope } => (run_id, Input::Retry { run_id, scope }),
        RunCommand::Review { run_id, answers } => (run_id, Input::Review { run_id, answers }),
        RunCommand::Answer {
            run_id,
            item_ids,
            answer,
            reach,
        } => (
            run_id,
            Input::Answer {
                run_id,
                item_ids,
                answer,
                reach,
            },
        ),
        RunCommand::RedoItem {
            run_id,
            item_id,
            fields,
        } => (
            run_id,
            Input::RedoItem {
                run_id,
                item_id,
                fields,
            },
        ),
        RunCommand::SetRunPriority { run_id, priority } => {
            (run_id, Input::SetRunPriority { run_id, priority })
        }
        RunCommand::SetItemPriority {
            run_id,
            item_ids,
            priority,
        } => (
            run_id,
            Input::SetItemPriority {
                run_id,
                item_ids,
                priority,
            },
        ),
        RunCommand::SetNodePriority {
            run_id,
            node_id,
            priority,
        } => (
            run_id,
            Input::SetNodePriority {
                run_id,
                node_id,
                priority,
            },
        ),
        RunCommand::Start { .. }
        | RunCommand::Plan { .. }
        | RunCommand::PutBackend { .. }
        | RunCommand::SetBackendEnabled { .. }
        | RunCommand::VacateBackend { .. }
        | RunCommand::RemoveBackend { .. }
        | RunCommand::RefreshBackend { .. } => return None,
    })
}
