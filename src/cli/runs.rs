//! `runs`: earlier runs, and those that another program works on.

use super::backend::BackendArguments;
use super::data_dir::data_dir;
use super::deliver::{After, deliver};
use super::earlier::EarlierRun;
use super::watch;
use crate::engine::fold::ItemCounts;
use crate::engine::{
    ItemId, ItemState, OnStart, RetryScope, RunEvent, RunEventBody, RunId, RunOutlook, RunState,
    RunView, RunWish, run_outlook,
};
use crate::project::{NodeId, Project};
use crate::store::{Attendance, RunSummary, Store};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Events of one page.
const PAGE: usize = 4096;

#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// List the runs, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go on with a run that was cancelled, paused or cut off; finished items stay, attempts at backends are found again.
    Resume {
        /// The run's id, or the beginning or end of it; `last` is the newest one.
        run: String,
        #[command(flatten)]
        backends: BackendArguments,
        /// Give failed items another chance as well.
        #[arg(long)]
        retry_failed: bool,
    },
    #[command(flatten)]
    Control(super::controls::ControlCommand),
    /// Take runs out of the history, with everything that happened in them and the files that only they name. Files in output
    /// folders stay, and so do results that are kept for equal items.
    Forget(super::forget::ForgetArguments),
    /// Say, or set, what happens with unfinished runs when the app starts: resume, paused or ask.
    OnStart {
        /// `resume`: they go on. `paused`: they are taken up paused. `ask`: they rest until you say what to do with each.
        choice: Option<OnStart>,
    },
    /// See what a run asks you (Review nodes), and answer it.
    Review(super::review::ReviewArguments),
    /// See what a run asks of items that have no place left.
    Questions(super::questions::QuestionsArguments),
    /// Answer what a run asks of items that have no place left.
    Answer(super::questions::AnswerArguments),
    /// Show what happened in a run.
    Show {
        /// The run's id, or the beginning of it; `last` is the newest one.
        run: String,
        /// Print every event as one line of JSON.
        #[arg(long)]
        json: bool,
        /// Say why an item ran where it ran, and why not elsewhere. ITEM is its node's title and labels, for example
        /// `Draw seed=7`, or its id, or a piece of it.
        #[arg(long, value_name = "ITEM")]
        why: Option<String>,
    },
}

/// Does what the subcommand asks.
pub(super) async fn runs(
    asked_dir: Option<PathBuf>,
    command: RunsCommand,
) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(asked_dir)?;
    let store = Store::open(&crate::engine::database_path(&data_dir))?;
    match command {
        RunsCommand::Resume {
            run,
            backends,
            retry_failed,
        } => {
            let run = find(&store.runs().await?, &run)?;
            resume(data_dir, store, run, backends, retry_failed).await
        }
        RunsCommand::Review(arguments) => {
            let run = find(&store.runs().await?, &arguments.run)?;
            super::review::review(data_dir, store, run, arguments).await
        }
        RunsCommand::Questions(arguments) => {
            let run = find(&store.runs().await?, &arguments.run)?;
            super::questions::questions(&store, &run, &arguments).await
        }
        RunsCommand::Answer(arguments) => {
            let run = find(&store.runs().await?, &arguments.run)?;
            super::questions::answer(data_dir, store, run, arguments).await
        }
        RunsCommand::Control(command) => {
            let run = find(&store.runs().await?, command.run())?;
            super::controls::control(data_dir, store, run, command).await
        }
        RunsCommand::Forget(arguments) => super::forget::forget(&data_dir, &store, arguments).await,
        RunsCommand::OnStart { choice } => {
            if let Some(choice) = choice {
                choice.write(&store).await?;
            }
            println!("{}", OnStart::read(&store).await?);
            Ok(ExitCode::SUCCESS)
        }
        RunsCommand::List { json } => list(&store, json).await,
        RunsCommand::Show {
            run,
            why: Some(item),
            ..
        } => {
            let run = find(&store.runs().await?, &run)?;
            super::why::why(&store, &run, &item).await
        }
        RunsCommand::Show { run, json, .. } => show(&store, &run, json).await,
    }
}

async fn resume(
    data_dir: PathBuf,
    store: Store,
    run: RunSummary,
    backends: BackendArguments,
    retry_failed: bool,
) -> anyhow::Result<ExitCode> {
    let run_id = run.run_id;
    match run.state {
        RunState::Completed => {
            println!("{} is complete; there is nothing to go on with.", run.name);
            return Ok(ExitCode::SUCCESS);
        }
        RunState::CompletedWithFailures | RunState::Failed if !retry_failed => bail!(
            "{} has ended with failures; --retry-failed gives its failed items another chance",
            run.name
        ),
        _ => {}
    }
    let backends = backends.configs()?;
    if backends.is_empty()
        && store.backends().await?.is_empty()
        && store.run(run_id).await?.backends.is_empty()
    {
        bail!("there is no backend to go on with; name the run's backends with --backend URL");
    }
    let wish = if retry_failed {
        RunWish::Retry(RetryScope::Run)
    } else {
        RunWish::Resume
    };
    let earlier = EarlierRun::read(&store, &run).await?;
    deliver(
        data_dir,
        store,
        &run,
        &earlier,
        vec![wish],
        After::Follow,
        backends,
    )
    .await
}

async fn list(store: &Store, json: bool) -> anyhow::Result<ExitCode> {
    let mut runs = Vec::new();
    for run in store.runs().await? {
        let standing = Standing::of(store, &run).await?;
        runs.push((run, standing));
    }
    if json {
        for (run, standing) in &runs {
            let line = serde_json::json!({
                "run_id": run.run_id, "project_id": run.project_id, "name": run.name,
                "created_ms": run.created_ms, "state": run.state,
                "interrupted": *standing == Standing::Interrupted, "events": run.event_count,
            });
            println!("{line}");
        }
    } else if runs.is_empty() {
        println!("No runs yet. `comfyui-orchestrator demo` makes one.");
    } else {
        println!("{:<10} {:<24} {:>8}  PROJECT", "RUN", "STATE", "EVENTS");
        for (run, standing) in &runs {
            let id = run.run_id.to_string();
            // Ids of one minute begin alike; their ends differ.
            let short = id.get(id.len() - 8..).unwrap_or(&id);
            println!(
                "{short:<10} {:<24} {:>8}  {}",
                standing.words(run.state),
                run.event_count,
                run.name
            );
        }
        for wanted in [
            Standing::Interrupted,
            Standing::AsksAboutItems,
            Standing::WaitsForReview,
        ] {
            if let Some((run, _)) = runs.iter().find(|(_, standing)| *standing == wanted) {
                println!("{}", wanted.hint(run.run_id));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(store: &Store, wanted: &str, json: bool) -> anyhow::Result<ExitCode> {
    let run = find(&store.runs().await?, wanted)?;
    let mut view = RunView::default();
    let mut seq = 0;
    let mut lines = Vec::new();
    let mut reasons = Reasons::default();
    loop {
        let page = store.events(run.run_id, seq, PAGE).await?;
        for event in &page {
            view.apply(event);
            reasons.take(event);
            if json {
                println!("{}", serde_json::to_string(event)?);
            } else if let Some(line) = line_of(event) {
                lines.push(line);
            }
        }
        seq += page.len() as u64;
        if page.len() < PAGE {
            break;
        }
    }
    if !json {
        let project =
            crate::project::read_portable_form(store.run(run.run_id).await?.snapshot.as_bytes())
                .context("the run's snapshot cannot be read")?;
        let standing = Standing::of(store, &run).await?;
        println!("{}: {}", run.name, standing.words(run.state));
        println!("run {}", run.run_id);
        if standing != Standing::AsItSays {
            println!("{}", standing.hint(run.run_id));
        } else if run.state.is_ended() {
            let outputs = watch::output_nodes(&project);
            println!("{}", watch::end_line(run.state, &view, &outputs));
        }
        for node in project.nodes.values() {
            if let Some(counts) = view.nodes.get(&node.id).map(|node| node.counts) {
                println!(
                    "  {:<28} {:>5} of {:<5} {}",
                    node.title,
                    counts.ended(),
                    counts.total(),
                    by_state(counts)
                );
            }
        }
        for line in reasons.lines(&view, &project) {
            println!("  {line}");
        }
        if run.attendance == Attendance::Attended
            && !run.state.is_ended()
            && let Some(outlook) = run_outlook(store, run.run_id).await?
        {
            for line in outlook_lines(&outlook, &project, now_ms()) {
                println!("  {line}");
            }
        }
        for line in lines {
            println!("  {line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The run a person means.
pub(super) fn find(runs: &[RunSummary], wanted: &str) -> anyhow::Result<RunSummary> {
    if wanted == "last" {
        return runs.first().cloned().context("there are no runs yet");
    }
    if let Ok(run_id) = wanted.parse::<RunId>() {
        return runs
            .iter()
            .find(|run| run.run_id == run_id)
            .cloned()
            .with_context(|| format!("there is no run {run_id}; `runs list` shows them"));
    }
    let matching: Vec<&RunSummary> = runs
        .iter()
        .filter(|run| {
            let id = run.run_id.to_string();
            id.starts_with(wanted) || id.ends_with(wanted)
        })
        .collect();
    match matching.as_slice() {
        [run] => Ok((*run).clone()),
        [] => bail!("there is no run {wanted}; `runs list` shows them"),
        several => bail!("{} runs match {wanted}; give more of the id", several.len()),
    }
}

/// `4 done, 2 skipped`; nothing where all are done.
fn by_state(counts: ItemCounts) -> String {
    if counts.get(ItemState::Done) == counts.total() {
        return String::new();
    }
    let parts: Vec<String> = ItemState::ALL
        .into_iter()
        .filter(|state| counts.get(*state) > 0)
        .map(|state| format!("{} {}", counts.get(state), super::why::state_word(state)))
        .collect();
    parts.join(", ")
}

/// Why items do not run, and remarks about those that did.
#[derive(Default)]
struct Reasons {
    /// The last reason of each item.
    of_item: HashMap<ItemId, String>,
    notices: HashMap<ItemId, Vec<String>>,
}

impl Reasons {
    fn take(&mut self, event: &RunEvent) {
        match &event.body {
            RunEventBody::ItemStateChanged {
                item_id,
                reason: Some(reason),
                ..
            } => {
                self.of_item.insert(*item_id, reason.clone());
            }
            RunEventBody::ItemDone {
                item_id, notices, ..
            } => {
                self.notices.insert(*item_id, notices.clone());
            }
            _ => {}
        }
    }

    /// A line for each reason, with how many items have it.
    fn lines(&self, view: &RunView, project: &Project) -> Vec<String> {
        let mut counts: BTreeMap<(NodeId, String), (u32, &str)> = BTreeMap::new();
        for (item_id, item) in &view.items {
            let told: Vec<String> = match item.state {
                ItemState::Skipped | ItemState::Blocked | ItemState::Cancelled => self
                    .of_item
                    .get(item_id)
                    .map(|reason| format!("{}: {reason}", super::why::state_word(item.state)))
                    .into_iter()
                    .collect(),
                ItemState::Done => self.notices.get(item_id).cloned().unwrap_or_default(),
                _ => Vec::new(),
            };
            for words in told {
                let count = counts
                    .entry((item.node_id, words))
                    .or_insert((0, &*item.label));
                count.0 += 1;
            }
        }
        counts
            .into_iter()
            .map(|((node_id, words), (count, label))| {
                let title = project
                    .nodes
                    .get(&node_id)
                    .map_or("?", |node| node.title.as_str());
                let who = if count == 1 {
                    format!("{title} {label}").trim_end().to_owned()
                } else {
                    format!("{title}, {count} items")
                };
                format!("{who}: {words}")
            })
            .collect()
    }
}

/// What is to come, as the program that works on the run last said.
fn outlook_lines(outlook: &RunOutlook, project: &Project, now_ms: u64) -> Vec<String> {
    let since_ms = now_ms.saturating_sub(outlook.at_ms);
    let left = outlook
        .remaining_ms
        .map(|remaining_ms| watch::time_left(remaining_ms.saturating_sub(since_ms)));
    let waits = outlook.waits.iter().map(|wait| {
        let title = project
            .nodes
            .get(&wait.node_id)
            .map_or("?", |node| node.title.as_str());
        format!("{title}: {}", wait.words())
    });
    left.into_iter().chain(waits).collect()
}

/// Unix time in milliseconds.
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// `1 item waits`, `2 items wait`
pub(super) fn counted(count: u32, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// What a person wants to read of an event.
fn line_of(event: &RunEvent) -> Option<String> {
    match &event.body {
        RunEventBody::AttemptFailed {
            attempt_id,
            failure,
        } => Some(format!(
            "attempt {attempt_id} failed ({:?}): {}",
            failure.class, failure.message
        )),
        RunEventBody::ItemFailed { item_id, failure } => {
            Some(format!("item {item_id} failed: {}", failure.message))
        }
        RunEventBody::FilesWritten { paths, .. } => Some(format!("wrote {}", paths.join(", "))),
        _ => None,
    }
}

/// A run's state in lists and sentences.
pub(super) fn state_words(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Cancelling => "cancelling",
        RunState::Stopping => "stopping",
        RunState::Completed => "completed",
        RunState::CompletedWithFailures => "completed with failures",
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
    }
}

/// What a run's state does not say by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing.
    AsItSays,
    /// Its program ended in the middle.
    Interrupted,
    /// Its program ended when all that was left was for a person to say what becomes of items that have no place left.
    AsksAboutItems,
    /// Its program ended when all that was left was for a person to review.
    WaitsForReview,
}

impl Standing {
    async fn of(store: &Store, run: &RunSummary) -> anyhow::Result<Self> {
        if !run.is_interrupted() {
            return Ok(Self::AsItSays);
        }
        let mut view = RunView::default();
        let mut seq = 0;
        loop {
            let page = store.events(run.run_id, seq, PAGE).await?;
            for event in &page {
                view.apply(event);
            }
            seq += page.len() as u64;
            if page.len() < PAGE {
                break;
            }
        }
        Ok(if !watch::only_person_left(&view) {
            Self::Interrupted
        } else if view.questions.is_empty() {
            Self::WaitsForReview
        } else {
            Self::AsksAboutItems
        })
    }

    fn words(self, state: RunState) -> &'static str {
        match (self, state) {
            (Self::Interrupted, _) => "interrupted",
            (Self::AsksAboutItems, _) => "asks you",
            (Self::WaitsForReview, _) => "waits for you",
            (Self::AsItSays, state) => state_words(state),
        }
    }

    /// What a person can do with such a run.
    fn hint(self, run_id: RunId) -> String {
        match self {
            Self::AsItSays => String::new(),
            Self::Interrupted => format!(
                "Interrupted runs go on when the app is opened, or with: comfyui-orchestrator runs resume {run_id}"
            ),
            Self::AsksAboutItems => format!(
                "Runs ask what is to become of items: comfyui-orchestrator runs questions {run_id}"
            ),
            Self::WaitsForReview => {
                format!("Runs ask you something: comfyui-orchestrator runs review {run_id}")
            }
        }
    }
}
