//! Work on this machine, on threads that may block. The machine orders only a few at a time.

use super::disk::{DISK_RETRY_DELAY, Writer};
use super::outputs;
use super::shared::Shared;
use super::starting::RunContext;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::ItemId;
use crate::engine::local::{self, LocalContext};
use crate::engine::machine::{Input, LocalOutcome, LocalWork};
use crate::engine::value::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

/// Work that is under way.
#[derive(Debug, Default)]
pub(super) struct LocalTasks {
    of_item: Mutex<HashMap<ItemId, Arc<Ends>>>,
    /// Held for reading by work that no one can stop.
    working: Arc<RwLock<()>>,
}

/// How an order comes to its end.
#[derive(Debug, Default)]
struct Ends {
    /// It is not to wait any more, and not to be answered.
    called_off: CancellationToken,
    /// Nothing of it goes on.
    over: CancellationToken,
}

impl LocalTasks {
    fn of_item(&self) -> MutexGuard<'_, HashMap<ItemId, Arc<Ends>>> {
        self.of_item.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls work off that waits for a disk.
    pub(super) fn call_off(&self, item_id: ItemId) {
        if let Some(ends) = self.of_item().get(&item_id) {
            ends.called_off.cancel();
        }
    }

    /// Waits until no work goes on that cannot be stopped. Only when no more is ordered.
    pub(super) async fn until_idle(&self) {
        drop(self.working.write().await);
    }
}

/// The place of one order among those for its item.
#[derive(Debug)]
pub(super) struct Turn {
    shared: Arc<Shared>,
    item_id: ItemId,
    ends: Arc<Ends>,
    /// The order before it, which was called off.
    earlier: Option<Arc<Ends>>,
}

impl Turn {
    /// From now on the order can be called off.
    pub(super) fn begin(shared: Arc<Shared>, item_id: ItemId) -> Self {
        let ends = Arc::new(Ends::default());
        let earlier = shared.local_tasks.of_item().insert(item_id, ends.clone());
        Self {
            shared,
            item_id,
            ends,
            earlier,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.ends.over.cancel();
        let mut of_item = self.shared.local_tasks.of_item();
        if of_item
            .get(&self.item_id)
            .is_some_and(|ends| Arc::ptr_eq(ends, &self.ends))
        {
            of_item.remove(&self.item_id);
        }
    }
}

/// Does work; ends with the fact that it ended. What a disk takes nothing of is done again until it does, or until it is called
/// off; then nobody waits for an answer.
pub(super) async fn work(turn: Turn, context: Arc<RunContext>, work: LocalWork) {
    if let Some(earlier) = &turn.earlier {
        earlier.over.cancelled().await;
    }
    let shared = &turn.shared;
    let item_id = work.item_id;
    let order = work.order;
    let run_id = work.run_id;
    let work = Arc::new(work);
    let mut refused = None;
    let outcome = loop {
        let failure = match perform(shared, &context, &work).await {
            Err(failure) if failure.class == FailureClass::Disk => failure,
            outcome => break outcome,
        };
        if refused.is_none() {
            let writer = Writer::LocalWork(run_id);
            refused = Some(shared.refused(writer, &failure).await);
            // The engine has ended when nobody listens.
            let waits = Input::LocalWaits { item_id, order };
            shared.facts.send(waits).await.ok();
        }
        tokio::select! {
            biased;
            () = turn.ends.called_off.cancelled() => return,
            () = tokio::time::sleep(DISK_RETRY_DELAY) => {}
        }
    };
    drop(refused);
    if turn.ends.called_off.is_cancelled() {
        return;
    }
    // The engine has ended when nobody listens; the next start does the work again.
    shared
        .facts
        .send(Input::LocalEnded {
            item_id,
            order,
            outcome,
        })
        .await
        .ok();
}

async fn perform(
    shared: &Arc<Shared>,
    context: &Arc<RunContext>,
    work: &Arc<LocalWork>,
) -> Result<LocalOutcome, Failure> {
    for _ in 0..outputs::KEEP_TRIES {
        let working = shared.local_tasks.working.clone().read_owned().await;
        let blocking = {
            let (shared, context, work) = (shared.clone(), context.clone(), work.clone());
            tokio::task::spawn_blocking(move || {
                let _working = working;
                local::perform(
                    &work,
                    LocalContext {
                        artifacts: &shared.artifacts,
                        project: &context.project,
                        folders: &context.folders,
                        run_created_ms: context.created_ms,
                    },
                )
            })
        };
        match blocking.await {
            Ok(outcome) => {
                let outcome = outcome?;
                if is_kept(shared, &outcome).await? {
                    return Ok(outcome);
                }
            }
            Err(panicked) => {
                return Err(Failure::new(
                    FailureClass::Local,
                    format!("work on this machine broke off: {panicked}; please report this"),
                ));
            }
        }
    }
    Err(outputs::kept_in_vain("what was made on this machine"))
}

/// Enters new files in the database before anything refers to them, and says whether they are still there then.
async fn is_kept(shared: &Shared, outcome: &LocalOutcome) -> Result<bool, Failure> {
    for artifact in outcome.values().flat_map(Value::artifacts) {
        if !outputs::is_kept(shared, &artifact).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
