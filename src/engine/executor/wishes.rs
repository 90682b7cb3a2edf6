//! What other programs ask of runs that this one works on, and what they changed in the registry: looked for now and then; and runs that they
//! left.

use super::{Executor, ResumePolicy};
use crate::engine::command::RunCommand;
use crate::fleet::BackendConfig;
use crate::project::BackendId;
use crate::store::StoreError;
use std::time::{Duration, Instant};

/// How often it is looked for commands.
pub(super) const WISH_PERIOD: Duration = Duration::from_millis(500);
/// How often it is looked whether the registry has changed.
const REGISTRY_PERIOD: Duration = Duration::from_secs(2);

/// How often it is looked for runs whose program is gone.
const LEFT_PERIOD: Duration = Duration::from_secs(2);

/// What was last seen of the registry.
#[derive(Debug)]
pub(super) struct SeenRegistry {
    /// Its backends.
    pub(super) backends: Vec<BackendConfig>,
    /// When it was looked at.
    pub(super) looked: Instant,
}

impl Executor {
    /// Takes what other programs left.
    pub(super) async fn look_around(&mut self) {
        match self.shared.store.wishes().await {
            Ok(commands) => {
                let is_due = self
                    .registry
                    .as_ref()
                    .is_some_and(|seen| seen.looked.elapsed() >= REGISTRY_PERIOD);
                // Who disables a backend and then calls off what it has must not see that go there again.
                if (is_due || !commands.is_empty())
                    && let Err(error) = self.look_at_registry().await
                {
                    // A registry that nobody can read keeps no command waiting.
                    tracing::warn!(%error, "what changed in the list of backends cannot be read");
                }
                if !self.obey_others(commands).await {
                    return;
                }
            }
            // What the disk refuses is complained about where it matters.
            Err(error) => tracing::debug!(%error, "it cannot be looked for commands"),
        }
        self.look_for_left_runs().await;
    }

    /// Does what other programs asked. False when the engine is ending.
    async fn obey_others(&mut self, commands: Vec<(i64, String)>) -> bool {
        for (wish_id, text) in commands {
            match serde_json::from_str::<RunCommand>(&text) {
                Ok(command) => self.obey(command, Some(wish_id)).await,
                Err(error) => {
                    // Another version's words. It stays: whoever asked takes it back, and says that nobody heard.
                    tracing::debug!(%error, "another program asked something unknown");
                    continue;
                }
            }
            if self.stop.is_cancelled() {
                // Perhaps it could not be written: the next start sees whether it is still there.
                return false;
            }
            // What led to no event is done with, too.
            if let Err(error) = self.shared.store.remove_wish(wish_id).await {
                tracing::debug!(%error, "a command that was obeyed cannot be removed yet");
                break;
            }
        }
        true
    }

    /// Takes up runs whose program is gone by now: one that was killed may hold its lock for a while after the next start.
    async fn look_for_left_runs(&mut self) {
        if self.resume == ResumePolicy::Leave || self.left_looked.elapsed() < LEFT_PERIOD {
            return;
        }
        self.left_looked = Instant::now();
        let taken_up = async {
            if self.shared.store.any_run_left().await? {
                self.load_unfinished().await?;
            }
            Ok::<_, StoreError>(())
        };
        // What the disk refuses is complained about where it matters; the next look comes soon.
        if let Err(error) = taken_up.await {
            tracing::debug!(%error, "it cannot be looked for runs that were left");
        }
    }

    /// Takes over what other programs changed in the registry.
    async fn look_at_registry(&mut self) -> Result<(), StoreError> {
        let Some(seen) = &mut self.registry else {
            return Ok(());
        };
        seen.looked = Instant::now();
        let now = self.shared.store.backends().await?;
        let Some(seen) = &mut self.registry else {
            return Ok(());
        };
        if seen.backends == now {
            return Ok(());
        }
        let before = std::mem::replace(&mut seen.backends, now.clone());
        let gone: Vec<BackendId> = before
            .iter()
            .filter(|old| now.iter().all(|new| new.id != old.id))
            .map(|old| old.id)
            .collect();
        for backend_id in gone {
            // Only what another program removed: our own removals are known.
            if self.registered.contains(&backend_id) {
                self.disconnect(backend_id).await;
            }
        }
        for config in now {
            let is_news = before.iter().all(|old| *old != config)
                && self.shared.fleet.config(config.id).as_ref() != Some(&config);
            if !is_news {
                continue;
            }
            self.registered.insert(config.id);
            if let Err(error) = self.connect(config).await {
                self.trouble(&error.to_string()).await;
            }
        }
        Ok(())
    }
}
