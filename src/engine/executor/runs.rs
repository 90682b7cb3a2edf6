//! Runs as they come: new ones that were prepared, earlier ones out of the database.

use super::starting::{self, Prepared};
use super::{Executor, ResumePolicy};
use crate::engine::command::RunWish;
use crate::engine::event::RunState;
use crate::engine::id::RunId;
use crate::engine::live::EngineEvent;
use crate::engine::machine::Input;
use crate::engine::on_start::OnStart;
use crate::fleet::BackendConfig;
use crate::store::StoreError;
use thiserror::Error;

impl Executor {
    /// Starts a run that was validated and planned.
    pub(super) async fn begin(&mut self, prepared: Prepared) {
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
    pub(super) async fn load(&mut self, run_id: RunId) -> bool {
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
                    tracing::warn!(%error, %run_id, "the backends of a run cannot be remembered");
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
    pub(super) async fn join_backends(
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

    /// Goes on with what programs left that are gone.
    pub(super) async fn load_unfinished(&mut self) -> Result<(), StoreError> {
        let policy = match self.resume {
            ResumePolicy::Leave => return Ok(()),
            ResumePolicy::BySetting => match OnStart::read(&self.shared.store).await? {
                OnStart::Resume => ResumePolicy::Resume,
                OnStart::Paused => ResumePolicy::Paused,
                OnStart::Ask => ResumePolicy::Ask,
            },
            given => given,
        };
        let asked_before = self.unfinished.len();
        for summary in self.shared.store.claim_unfinished_runs().await? {
            let run_id = summary.run_id;
            if self.runs.contains_key(&run_id) || !self.load(run_id).await {
                continue;
            }
            // A run that a person paused stays paused until that person says otherwise.
            match policy {
                _ if summary.state == RunState::Paused => {}
                ResumePolicy::Resume | ResumePolicy::BySetting => {
                    self.take(vec![Input::TakeUp { run_id }]).await;
                }
                ResumePolicy::Paused => self.take(vec![Input::wish(run_id, RunWish::Pause)]).await,
                ResumePolicy::Ask => self.unfinished.push(run_id),
                ResumePolicy::Leave => {}
            }
        }
        if self.unfinished.len() > asked_before {
            self.tell(&EngineEvent::Unfinished(self.unfinished.clone()))
                .await;
        }
        Ok(())
    }
}

/// Why a run of the past does not go on.
#[derive(Debug, Error)]
pub(super) enum StartError {
    #[error("another ComfyUI Orchestrator works on it")]
    ElsewhereAlive,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its snapshot cannot be read: {0}")]
    Snapshot(String),
}
