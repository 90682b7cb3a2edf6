//! Bringing a person's wish to a run: to the program that works on it, or to an engine that is started for it.

use super::earlier::EarlierRun;
use super::review::exit_code;
use super::watch::{self, Telling};
use crate::engine::{
    EngineEvent, EngineOptions, RegistryUse, ResumePolicy, RunCommand, RunEventBody, RunState,
    RunWish,
};
use crate::fleet::BackendConfig;
use crate::store::{Attendance, RunSummary, Store};
use anyhow::bail;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long the program that works on a run may take to hear of a wish: it looks twice a second.
const HEARING: Duration = Duration::from_secs(15);
/// How often it is looked whether it has.
const HEARING_POLL: Duration = Duration::from_millis(100);
/// How long backends may take to let go of a run: a little longer than the engine waits for one that does not answer.
const SETTLING: Duration = Duration::from_secs(45);

/// What is waited for where no program works on the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The run goes on and is followed to its end.
    Follow,
    /// Nothing of it is left going on: until it says that it is paused, or has ended.
    Rest,
    /// It is noted; the run stays as it was.
    Note,
}

/// Brings wishes to a run, all in one: none is done without the others. `earlier` is what is known of it.
pub(super) async fn deliver(
    data_dir: PathBuf,
    store: Store,
    run: &RunSummary,
    earlier: &EarlierRun,
    wishes: Vec<RunWish>,
    after: After,
    backends: Vec<BackendConfig>,
) -> anyhow::Result<ExitCode> {
    let command = RunCommand::Wish {
        run_id: run.run_id,
        wishes,
    };
    // A run that has ended may still be in the hands of a program that lives.
    if run.attendance == Attendance::Attended || !store.claim_run(run.run_id).await? {
        return tell_other(&store, run, &command).await;
    }
    drop(store);
    let database = crate::engine::database_path(&data_dir);
    let engine = crate::engine::start(EngineOptions {
        data_dir,
        extra_backends: backends,
        registry: RegistryUse::Registered,
        resume: ResumePolicy::Leave,
        pair_block_ms: crate::engine::PAIR_BLOCK_MS,
    })
    .await?;
    if !engine.handle.claim_run(run.run_id).await? {
        // An open window took it up in between.
        engine.stop().await;
        return tell_other(&Store::open(&database)?, run, &command).await;
    }
    let mut events = engine.handle.subscribe()?;
    engine.handle.send(command)?;
    if after == After::Follow {
        let followed = watch::follow(
            &engine.handle,
            events,
            run.run_id,
            &earlier.project,
            Telling::Person,
            run.event_count,
        )
        .await;
        engine.stop().await;
        let end = followed?;
        for file in &end.files {
            println!("{file}");
        }
        return Ok(exit_code(&end, &run.run_id.to_string()));
    }
    let mut heard = engine.handle.settled()?;
    let rested = tokio::time::timeout(SETTLING, async {
        let mut is_heard = false;
        let mut rests = false;
        while !is_heard || (after == After::Rest && !rests) {
            let event = tokio::select! {
                biased;
                // What follows from the command at once is told before it counts as heard.
                event = events.recv() => event,
                _ = &mut heard, if !is_heard => {
                    is_heard = true;
                    continue;
                }
            };
            match event {
                Some(EngineEvent::Run(event)) if event.run_id == run.run_id => {
                    if let RunEventBody::RunStateChanged { state } = event.body {
                        rests = state == RunState::Paused || state.is_ended();
                    }
                }
                Some(EngineEvent::Trouble(failure)) => bail!("{}", failure.message),
                Some(_) => {}
                None => bail!("the engine ended too early; try again"),
            }
        }
        Ok(())
    })
    .await;
    engine.stop().await;
    match rested {
        Ok(outcome) => outcome.map(|()| ExitCode::SUCCESS),
        Err(_elapsed) => bail!(
            "{} was told, but a backend does not let go of what it executes; see `runs show {}`",
            run.name,
            run.run_id
        ),
    }
}

/// Leaves a command for the program that works on a run, and waits until it has taken it.
async fn tell_other(
    store: &Store,
    run: &RunSummary,
    command: &RunCommand,
) -> anyhow::Result<ExitCode> {
    let text = serde_json::to_string(command)?;
    let wish_id = store.leave_wish(run.run_id, text).await?;
    let begun = tokio::time::Instant::now();
    while !store.is_wish_taken(wish_id).await? {
        if begun.elapsed() > HEARING {
            if !store.remove_wish(wish_id).await? {
                // It was heard at last.
                break;
            }
            bail!(
                "the program that works on {} does not listen; end it, then ask again",
                run.name
            );
        }
        tokio::time::sleep(HEARING_POLL).await;
    }
    println!("The program that works on {} was told.", run.name);
    Ok(ExitCode::SUCCESS)
}
