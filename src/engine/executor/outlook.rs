//! What is to come of runs: how long they still take, what waits and why. Told to subscribers while it is so, and left in the
//! database for other programs that show the run.

use super::Executor;
use crate::engine::event::RunState;
use crate::engine::id::RunId;
use crate::engine::live::EngineEvent;
use crate::engine::outlook::RunOutlook;
use crate::store::{Store, StoreError, outlook_setting};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often it is told.
const TELL_PERIOD: Duration = Duration::from_secs(1);
/// When it is written down first. Of a run that is over sooner nobody needs it.
const FIRST_KEEP: Duration = Duration::from_secs(1);
/// How often it is written down after that. Other programs that show a run read it there.
const KEEP_PERIOD: Duration = Duration::from_secs(3);
/// Items of a run whose end is told.
const EXPECTED_ITEMS: usize = 64;

/// What was last said.
#[derive(Debug, Default)]
pub(super) struct Outlooks {
    told: Option<Instant>,
    of_run: HashMap<RunId, Said>,
}

/// What was last said of a run.
#[derive(Debug)]
struct Said {
    outlook: RunOutlook,
    /// Whether everybody was told.
    is_told: bool,
    /// What of it is in the database.
    kept: Option<RunOutlook>,
    /// When that was last looked at.
    looked: Instant,
}

/// What the program that works on a run last said of what is to come; none when it has said nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn run_outlook(store: &Store, run_id: RunId) -> Result<Option<RunOutlook>, StoreError> {
    Ok(store
        .setting(&outlook_setting(run_id))
        .await?
        // One that a later version wrote says nothing to this one.
        .and_then(|text| serde_json::from_str(&text).ok()))
}

impl Outlooks {
    /// Somebody new listens who was not told what waits.
    pub(super) fn somebody_new(&mut self) {
        for said in self.of_run.values_mut() {
            said.is_told = false;
        }
    }
}

impl Executor {
    /// Says how long each run is expected to take and what waits in it, now and then.
    pub(super) async fn tell_outlook(&mut self) {
        if self
            .outlooks
            .told
            .is_some_and(|told| told.elapsed() < TELL_PERIOD)
        {
            return;
        }
        self.outlooks.told = Some(Instant::now());
        let now_ms = super::now_ms();
        let run_ids: Vec<RunId> = self.runs.keys().copied().collect();
        for run_id in run_ids {
            let is_over = self
                .machine
                .run_state(run_id)
                .is_none_or(RunState::is_ended);
            if is_over && !self.outlooks.of_run.contains_key(&run_id) {
                continue;
            }
            let remaining_ms = self.machine.remaining_of_run_ms(now_ms, run_id);
            // What has not changed is not told again, so that nobody is woken in vain.
            let is_known = self
                .outlooks
                .of_run
                .get(&run_id)
                .is_some_and(|said| said.is_told && said.outlook.remaining_ms == remaining_ms);
            if let Some(remaining_ms) = remaining_ms
                && !is_known
            {
                let items = self
                    .machine
                    .remaining_of_items_ms(now_ms, run_id, EXPECTED_ITEMS);
                self.tell(&EngineEvent::Expected {
                    run_id,
                    remaining_ms,
                    items,
                })
                .await;
            }
            let waits = self.machine.waits(now_ms, run_id);
            // What has not changed is not told again, so that nobody is woken in vain.
            let is_known = self
                .outlooks
                .of_run
                .get(&run_id)
                .map_or(waits.is_empty(), |said| {
                    said.is_told && said.outlook.waits == waits
                });
            if !is_known {
                // It holds until it changes, and is not told again: nobody may miss it.
                self.tell(&EngineEvent::Waiting {
                    run_id,
                    waits: waits.clone(),
                })
                .await;
            }
            let outlook = RunOutlook {
                at_ms: now_ms,
                remaining_ms,
                waits,
            };
            self.keep_outlook(run_id, outlook, is_over).await;
        }
    }

    async fn keep_outlook(&mut self, run_id: RunId, outlook: RunOutlook, is_over: bool) {
        if is_over {
            // The store forgets it with the run's end.
            self.outlooks.of_run.remove(&run_id);
            return;
        }
        let said = self.outlooks.of_run.entry(run_id).or_insert_with(|| Said {
            outlook: RunOutlook::default(),
            is_told: true,
            kept: None,
            looked: Instant::now(),
        });
        said.outlook = outlook;
        said.is_told = true;
        let period = if said.kept.is_some() {
            KEEP_PERIOD
        } else {
            FIRST_KEEP
        };
        if said.looked.elapsed() < period {
            return;
        }
        said.looked = Instant::now();
        let is_known = said.kept.as_ref().is_some_and(|kept| {
            kept.waits == said.outlook.waits && kept.remaining_ms == said.outlook.remaining_ms
        });
        if is_known {
            return;
        }
        said.kept = Some(said.outlook.clone());
        match serde_json::to_string(&said.outlook) {
            Ok(text) => self.put_outlook(run_id, &text).await,
            Err(error) => tracing::debug!(%error, "what is to come of a run is no JSON"),
        }
    }

    async fn put_outlook(&mut self, run_id: RunId, text: &str) {
        // What the disk refuses is complained about where it matters.
        if let Err(error) = self
            .shared
            .store
            .put_setting(&outlook_setting(run_id), Some(text))
            .await
        {
            tracing::debug!(%error, "what is to come of a run cannot be written");
        }
    }
}
