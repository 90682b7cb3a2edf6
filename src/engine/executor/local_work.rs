//! Work on this machine, on threads that may block. The machine orders only a few at a time.

use super::disk::Writer;
use super::outputs;
use super::shared::Shared;
use super::starting::RunContext;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::local::{self, LocalContext};
use crate::engine::machine::{Input, LocalOutcome, LocalWork};
use crate::engine::value::Value;
use std::sync::Arc;

/// Does work; ends with the fact that it ended. What a disk takes nothing of is done again until it does, or the run is
/// cancelled.
pub(super) async fn work(shared: Arc<Shared>, context: Arc<RunContext>, work: LocalWork) {
    let item_id = work.item_id;
    let run_id = work.run_id;
    let work = Arc::new(work);
    let mut outcome = perform(&shared, &context, &work).await;
    while let Err(failure) = &outcome
        && failure.class == FailureClass::Disk
        && !shared.disks.is_called_off(run_id)
    {
        shared.wait_for_disk(Writer::LocalWork, failure).await;
        outcome = perform(&shared, &context, &work).await;
        if outcome.is_ok() {
            shared.disk_works(Writer::LocalWork);
        }
    }
    // The engine has ended when nobody listens; the next start does the work again.
    shared
        .facts
        .send(Input::LocalEnded { item_id, outcome })
        .await
        .ok();
}

async fn perform(
    shared: &Arc<Shared>,
    context: &Arc<RunContext>,
    work: &Arc<LocalWork>,
) -> Result<LocalOutcome, Failure> {
    let blocking = {
        let (shared, context, work) = (shared.clone(), context.clone(), work.clone());
        tokio::task::spawn_blocking(move || {
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
        Ok(Ok(outcome)) => keep(shared, outcome).await,
        Ok(Err(failure)) => Err(failure),
        Err(panicked) => Err(Failure::new(
            FailureClass::Local,
            format!("work on this machine broke off: {panicked}; please report this"),
        )),
    }
}

/// Enters new files in the database before anything refers to them.
async fn keep(shared: &Shared, outcome: LocalOutcome) -> Result<LocalOutcome, Failure> {
    let values: Vec<&Value> = match &outcome {
        LocalOutcome::Loaded(value) | LocalOutcome::SheetDrawn(value) => vec![value],
        LocalOutcome::Found(files) => files.iter().map(|(_, value)| value).collect(),
        LocalOutcome::Ranked { sheet, .. } => sheet.iter().collect(),
        LocalOutcome::Decided(_)
        | LocalOutcome::Written(_)
        | LocalOutcome::Cached(_)
        | LocalOutcome::NotCached => Vec::new(),
    };
    for artifact in values.into_iter().flat_map(Value::artifacts) {
        outputs::note(shared, &artifact).await?;
    }
    Ok(outcome)
}
