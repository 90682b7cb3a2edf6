//! Wishes about runs and backends become the engine's commands.

use super::{Backends, Bridge, Live, RunHistory, RunViews};
use crate::app::actions::{Action, LookedAt, Settlement};
use crate::app::dialogs::{Dialogs, plan::PlanDialog};
use crate::app::document::Document;
use crate::app::files::run_folders;
use crate::app::settings::{Folders, Settings};
use crate::app::toasts::{Severity, Toasts};
use crate::engine::{BackendKeeping, RetryScope, RunCommand, RunId, RunState, RunWish};
use crate::fleet::BackendConfig;
use crate::project::PortId;
use bevy::prelude::*;

/// Turns wishes about runs and backends into commands.
pub fn send_commands(
    mut actions: MessageReader<Action>,
    bridge: Option<Res<Bridge>>,
    document: Res<Document>,
    mut runs: ResMut<RunViews>,
    backends: Res<Backends>,
    mut live: ResMut<Live>,
    mut dialogs: ResMut<Dialogs>,
    mut toasts: ResMut<Toasts>,
    builtin: Option<Res<BuiltinStarter>>,
    own_folders: Res<Folders>,
    settings: Res<Settings>,
    mut history: Option<ResMut<RunHistory>>,
) {
    let Some(bridge) = bridge else { return };
    for action in actions.read() {
        match action {
            Action::Run | Action::RunUpTo(_) | Action::RunInto { .. } => {
                let Some(folders) = run_folders(&document, &own_folders) else {
                    toasts.push(
                        Severity::Error,
                        "The run has no folder",
                        "Save the project first.",
                    );
                    continue;
                };
                let whole = document.project();
                let part = match action {
                    Action::RunUpTo(node_id) => whole.part_up_to(*node_id),
                    Action::RunInto {
                        node_id,
                        inner,
                        items,
                    } => whole
                        .part_into(*node_id, inner, PortId::new_now())
                        .map(|mut part| {
                            if let LookedAt::One(label) = items {
                                part.narrow_to(*node_id, label);
                            }
                            part
                        }),
                    _ => Some(whole.clone()),
                };
                // None: the node was deleted a moment ago.
                let Some(project) = part else { continue };
                bridge.send(
                    RunCommand::Start {
                        run_id: RunId::new_now(),
                        project: std::sync::Arc::new(project),
                        folders,
                    },
                    &mut toasts,
                );
            }
            Action::OpenProjectOfRun(run_id) => {
                if let Some(history) = &mut history {
                    history.find_project(*run_id, settings.recent.clone());
                }
            }
            Action::PlanRun => {
                let Some(folders) = run_folders(&document, &own_folders) else {
                    continue;
                };
                let plan_id = RunId::new_now();
                let is_asked = bridge.send(
                    RunCommand::Plan {
                        plan_id,
                        project: std::sync::Arc::new(document.project().clone()),
                        folders,
                    },
                    &mut toasts,
                );
                dialogs.plan = is_asked.then_some(PlanDialog {
                    plan_id,
                    answer: None,
                });
            }
            Action::PauseOrResume | Action::Stop | Action::RetryFailed => {
                let Some(run_id) = runs.shown else { continue };
                let paused = runs
                    .shown_view()
                    .is_some_and(|view| view.state == Some(RunState::Paused));
                bridge.send(
                    match action {
                        Action::Stop => RunCommand::wish(run_id, RunWish::Cancel),
                        Action::RetryFailed => {
                            RunCommand::wish(run_id, RunWish::Retry(RetryScope::Run))
                        }
                        _ if paused => RunCommand::wish(run_id, RunWish::Resume),
                        _ => RunCommand::wish(run_id, RunWish::Pause),
                    },
                    &mut toasts,
                );
            }
            Action::Command(command) => {
                bridge.send((**command).clone(), &mut toasts);
            }
            Action::Settle { run_id, settlement } => {
                let run_id = *run_id;
                if let Some(history) = &mut history {
                    history
                        .unfinished
                        .retain(|unfinished| *unfinished != run_id);
                }
                let command = match settlement {
                    Settlement::Resume => RunCommand::wish(run_id, RunWish::Resume),
                    Settlement::Pause => RunCommand::wish(run_id, RunWish::Pause),
                    Settlement::Cancel => RunCommand::wish(run_id, RunWish::Cancel),
                    Settlement::Leave => continue,
                };
                bridge.send(command, &mut toasts);
                let is_ours = runs
                    .views
                    .get(&run_id)
                    .is_some_and(|view| view.project_id == Some(document.project().id));
                if is_ours {
                    runs.shown = Some(run_id);
                    runs.revision += 1;
                }
            }
            Action::SetOnStart(on_start) => {
                if let Some(history) = &mut history {
                    history.set_on_start(*on_start);
                }
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

/// Starts the built-in backend; handed in by `main`, which knows the runtime. Gives the address, or a sentence on why not.
pub type StartBuiltin = dyn Fn() -> Result<url::Url, String> + Send + Sync;

/// The way to start the built-in backend.
#[derive(Resource)]
pub struct BuiltinStarter(pub Box<StartBuiltin>);

fn start_builtin(bridge: &Bridge, starter: Option<&BuiltinStarter>, toasts: &mut Toasts) {
    let Some(starter) = starter else {
        toasts.push(
            Severity::Warning,
            "The built-in backend cannot be started here",
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
            "The built-in backend did not start",
            &message,
        ),
    }
}
