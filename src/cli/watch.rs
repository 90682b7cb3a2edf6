//! A run as it is told on a terminal: progress bars for people, one JSON event per line for programs.

use super::earlier::name_of;
use super::questions::{Asker, in_words};
use crate::engine::{
    EngineEvent, EngineHandle, ItemState, NodeWait, RunCommand, RunEventBody, RunId, RunState,
    RunView, RunWish, WaitCause,
};
use crate::fleet::{BackendState, BackendStatus};
use crate::project::{BackendId, NodeId, NodeKind, Project};
use anyhow::bail;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long nothing more is told before a run counts as waiting for a person.
const QUIET: Duration = Duration::from_millis(500);
/// How long items wait for what has to change first before a person is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// Bars on a terminal, plain lines elsewhere.
    Person,
    /// One JSON document per line on standard output.
    Json,
}

/// What a run came to.
#[derive(Debug)]
pub(super) struct RunEnd {
    /// Where it ended.
    pub(super) state: RunState,
    /// Every file it wrote, in the order of writing.
    pub(super) files: Vec<String>,
    /// All that happened, folded.
    pub(super) view: RunView,
}

/// Follows a run until it ends, or until all that is left waits for a person. What happened before event `from_seq` is known and not told again; 0 for a new run. Ctrl-C
/// cancels the run and waits for its end.
///
/// # Errors
/// When the run was refused or the engine cannot go on.
pub(super) async fn follow(
    engine: &EngineHandle,
    mut events: mpsc::Receiver<EngineEvent>,
    run_id: RunId,
    project: &Project,
    telling: Telling,
    from_seq: u64,
) -> anyhow::Result<RunEnd> {
    let mut view = RunView::default();
    let mut files = Vec::new();
    let mut teller = Teller::new(project, telling);
    let mut asker = Asker::new(telling == Telling::Person && std::io::stdin().is_terminal());
    // What was asked of the run before this may change it; until then it cannot be judged.
    let mut settled = engine.settled()?;
    let mut is_settled = false;
    let mut told_at = Instant::now();
    loop {
        if let Some(item_id) = asker.next(&view)
            && let Some(question) = view.questions.get(&item_id)
        {
            teller.say(&in_words(&name_of(&view, project, &item_id), question));
            teller.say("Which? (the number; `1a` for the rest of the run, too; nothing: later)");
        }
        // An ended run that is as it was: there was nothing to do.
        let rests = view.state.filter(|state| {
            state.is_ended()
                || (*state == RunState::Running && only_person_left(&view) && !asker.asks())
        });
        let event = tokio::select! {
            event = events.recv() => event,
            _ = &mut settled, if !is_settled => {
                is_settled = true;
                told_at = Instant::now();
                continue;
            }
            // What is told together comes one by one: more may be on its way. What backends say meanwhile does not count.
            () = tokio::time::sleep_until(told_at + QUIET), if is_settled && rests.is_some() => {
                teller.finish();
                return Ok(RunEnd { state: rests.unwrap_or(RunState::Running), files, view });
            }
            () = sleep_until(teller.waits_told_at()) => {
                teller.tell_waits();
                continue;
            }
            Some(line) = asker.line() => {
                match asker.take(&line, &view) {
                    Ok((item_id, answer, reach)) => {
                        let item_ids = vec![item_id];
                        engine.send(RunCommand::wish(run_id, RunWish::Answer { item_ids, answer, reach }))?;
                    }
                    Err(words) => teller.say(&words),
                }
                continue;
            }
            Ok(()) = tokio::signal::ctrl_c() => {
                teller.say("Cancelling: what runs is interrupted, what is finished stays.");
                engine.send(RunCommand::wish(run_id, RunWish::Cancel))?;
                continue;
            }
        };
        if matches!(&event, Some(EngineEvent::Run(event)) if event.run_id == run_id) {
            told_at = Instant::now();
        }
        match event {
            None => bail!("the engine ended before the run did; start again to go on with it"),
            Some(EngineEvent::Run(event)) if event.run_id == run_id && event.seq < from_seq => {
                view.apply(&event);
            }
            Some(EngineEvent::Run(event)) if event.run_id == run_id => {
                if telling == Telling::Json {
                    println!("{}", serde_json::to_string(&event)?);
                }
                view.apply(&event);
                teller.tell(&event.body, &view);
                if let RunEventBody::ItemAsks { item_id, question } = &event.body
                    && !asker.is_interactive()
                {
                    teller.say(&in_words(&name_of(&view, project, item_id), question));
                }
                match event.body {
                    RunEventBody::FilesWritten { paths, .. } => files.extend(paths),
                    RunEventBody::RunStateChanged { state } if state.is_ended() => {
                        teller.finish();
                        return Ok(RunEnd { state, files, view });
                    }
                    _ => {}
                }
            }
            Some(EngineEvent::RunRefused {
                run_id: refused,
                problems,
            }) if refused == run_id => {
                let list: Vec<String> = problems
                    .into_iter()
                    .map(|problem| format!("  - {}", problem.1))
                    .collect();
                bail!("the project cannot run:\n{}", list.join("\n"));
            }
            Some(EngineEvent::Progress(progress)) if progress.run_id == run_id => {
                teller.activity(progress.node_id, &progress.activity);
            }
            Some(EngineEvent::Backend(status)) => teller.backend(&status),
            Some(EngineEvent::Expected {
                run_id: expected,
                remaining_ms,
                ..
            }) if expected == run_id => {
                if telling == Telling::Json {
                    let line = serde_json::json!({
                        "run_id": run_id, "event": "expected", "remaining_ms": remaining_ms,
                    });
                    println!("{line}");
                }
                teller.expected(remaining_ms);
            }
            Some(EngineEvent::Waiting {
                run_id: waiting,
                waits,
            }) if waiting == run_id => {
                if telling == Telling::Json {
                    let line = serde_json::json!({
                        "run_id": run_id, "event": "waiting", "waits": waits,
                    });
                    println!("{line}");
                }
                teller.waits(&waits, &view);
            }
            Some(EngineEvent::Trouble(failure)) => {
                bail!(
                    "the run stopped safely and continues when this is mended: {}",
                    failure.message
                );
            }
            Some(_) => {}
        }
    }
}

/// Whether a person is asked and nothing goes on until the answer. Items that wait for what is being made again wait for the
/// answer, too, when nothing is being made.
pub(super) fn only_person_left(view: &RunView) -> bool {
    let asked = view.counts.get(ItemState::Parked) + view.counts.get(ItemState::Asking);
    asked > 0 && view.counts.get(ItemState::Ready) == 0 && view.counts.active() == 0
}

/// Bars or lines, one per node.
struct Teller {
    telling: Telling,
    bars: MultiProgress,
    bar_of: BTreeMap<NodeId, ProgressBar>,
    titles: BTreeMap<NodeId, String>,
    unreachable: BTreeSet<BackendId>,
    interactive: bool,
    expected: Option<ProgressBar>,
    /// The Output nodes.
    outputs: BTreeSet<NodeId>,
    /// Nodes of which items wait for something that has to change first.
    stuck: BTreeMap<NodeId, Stuck>,
}

/// What items of a node wait for.
struct Stuck {
    /// The reason without what counts down in it.
    reason: String,
    /// How many wait, and why.
    words: String,
    /// When a person is told; none when that was done.
    tell_at: Option<Instant>,
}

impl Teller {
    fn new(project: &Project, telling: Telling) -> Self {
        let interactive = telling == Telling::Person && std::io::stderr().is_terminal();
        let bars = MultiProgress::with_draw_target(if interactive {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let titles = project
            .nodes
            .values()
            .map(|node| (node.id, node.title.clone()))
            .collect();
        Self {
            telling,
            bars,
            bar_of: BTreeMap::new(),
            titles,
            unreachable: BTreeSet::new(),
            interactive,
            expected: None,
            outputs: output_nodes(project),
            stuck: BTreeMap::new(),
        }
    }

    fn say(&self, line: &str) {
        if self.interactive {
            // Fails only when standard error is gone, and then nobody reads.
            self.bars.println(line).ok();
        } else if self.telling == Telling::Person {
            eprintln!("{line}");
        }
    }

    /// Says when a backend goes and comes back: without a word a waiting run would look stuck.
    fn backend(&mut self, status: &BackendStatus) {
        if status.state == BackendState::Offline {
            if self.unreachable.insert(status.backend_id) {
                self.say(&format!("{} is offline: {}", status.name, status.reason));
            }
        } else if status.state != BackendState::Connecting
            && self.unreachable.remove(&status.backend_id)
        {
            self.say(&format!("{} is back.", status.name));
        }
    }

    /// About how long it still takes, on a line below the bars.
    fn expected(&mut self, remaining_ms: u64) {
        if !self.interactive {
            return;
        }
        let bars = &self.bars;
        let bar = self.expected.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{wide_msg:.dim}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_message(time_left(remaining_ms));
    }

    /// Takes in what waits and why. What waits for its turn is seen beside the bars.
    fn waits(&mut self, waits: &[NodeWait], view: &RunView) {
        self.stuck.retain(|node_id, _| {
            waits
                .iter()
                .any(|wait| wait.node_id == *node_id && wait.cause == WaitCause::Nobody)
        });
        for wait in waits {
            let words = wait.words();
            if wait.cause == WaitCause::Nobody {
                let reason = without_numbers(&wait.reason);
                let stuck = self.stuck.entry(wait.node_id).or_insert_with(|| Stuck {
                    reason: reason.clone(),
                    words: String::new(),
                    tell_at: Some(Instant::now() + PATIENCE),
                });
                stuck.words.clone_from(&words);
                if stuck.reason != reason {
                    stuck.reason = reason;
                    stuck.tell_at = Some(Instant::now() + PATIENCE);
                }
            }
            let has_live = view
                .nodes
                .get(&wait.node_id)
                .is_some_and(|node| node.counts.active() > 0);
            if self.interactive && !has_live {
                self.bar(wait.node_id).set_message(words);
            }
        }
    }

    /// When there is something to say of what waits.
    fn waits_told_at(&self) -> Option<Instant> {
        self.stuck.values().filter_map(|stuck| stuck.tell_at).min()
    }

    /// Says of what has waited for a while for something that has to change first: once.
    fn tell_waits(&mut self) {
        let now = Instant::now();
        let mut lines = Vec::new();
        for (node_id, stuck) in &mut self.stuck {
            if stuck.tell_at.is_some_and(|at| at <= now) {
                stuck.tell_at = None;
                lines.push((*node_id, stuck.words.clone()));
            }
        }
        for (node_id, words) in lines {
            self.say(&format!("{}: {words}", self.title(node_id)));
        }
    }

    fn title(&self, node_id: NodeId) -> &str {
        self.titles.get(&node_id).map_or("?", String::as_str)
    }

    fn bar(&mut self, node_id: NodeId) -> &ProgressBar {
        let title = self.titles.get(&node_id).cloned().unwrap_or_default();
        let bars = &self.bars;
        self.bar_of.entry(node_id).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(0));
            let style = ProgressStyle::with_template(
                "{prefix:24!} {bar:24.blue} {pos:>4}/{len:<4} {wide_msg:.dim}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("━━╌"));
            bar.set_prefix(title);
            bar
        })
    }

    fn activity(&mut self, node_id: NodeId, activity: &str) {
        if self.interactive {
            self.bar(node_id).set_message(activity.to_owned());
        }
    }

    fn tell(&mut self, body: &RunEventBody, view: &RunView) {
        if self.telling == Telling::Json {
            return;
        }
        let item_id = match body {
            RunEventBody::ItemCreated { item_id, .. }
            | RunEventBody::ItemStateChanged { item_id, .. }
            | RunEventBody::ItemDone { item_id, .. }
            | RunEventBody::ItemFailed { item_id, .. }
            | RunEventBody::FilesWritten { item_id, .. } => *item_id,
            RunEventBody::RunStateChanged { state } => {
                self.say(&end_line(*state, view, &self.outputs));
                return;
            }
            RunEventBody::AttemptFailed { failure, .. } => {
                self.say(&format!(
                    "An attempt failed ({:?}): {}",
                    failure.class, failure.message
                ));
                return;
            }
            _ => return,
        };
        let Some(node_id) = view.items.get(&item_id).map(|item| item.node_id) else {
            return;
        };
        if let RunEventBody::ItemFailed { failure, .. } = body {
            let line = format!("{}: failed: {}", self.title(node_id), failure.message);
            self.say(&line);
        }
        if let RunEventBody::ItemDone { notices, .. } = body {
            for notice in notices {
                let name = view.items.get(&item_id).map_or("", |item| &*item.label);
                let line = format!("{} {name}: {notice}", self.title(node_id));
                self.say(&line.replace(" : ", ": "));
            }
        }
        let (ended, total) = view
            .nodes
            .get(&node_id)
            .map_or((0, 0), |node| (node.counts.ended(), node.counts.total()));
        if self.interactive {
            let bar = self.bar(node_id);
            bar.set_length(u64::from(total));
            bar.set_position(u64::from(ended));
        } else if matches!(body, RunEventBody::ItemDone { .. }) {
            let line = format!("{:<24} {ended}/{total}", self.title(node_id));
            self.say(&line);
        }
        if let RunEventBody::ItemStateChanged {
            state,
            reason: Some(reason),
            ..
        } = body
            && matches!(state, ItemState::Blocked | ItemState::Cancelled)
        {
            let line = format!("{}: {reason}", self.title(node_id));
            self.say(&line);
        }
    }

    fn finish(&self) {
        for bar in self.bar_of.values().chain(&self.expected) {
            bar.abandon_with_message("");
        }
    }
}

/// `about 12 min left`
pub(super) fn time_left(remaining_ms: u64) -> String {
    let seconds = remaining_ms.div_ceil(1000);
    match seconds {
        0..=89 => format!("about {seconds} s left"),
        90..=5_399 => format!("about {} min left", seconds.div_ceil(60)),
        _ => format!("about {:.1} h left", seconds as f64 / 3600.0),
    }
}

/// Sleeps until a point in time, or for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A reason without what counts down in it.
fn without_numbers(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The nodes that write files.
pub(super) fn output_nodes(project: &Project) -> BTreeSet<NodeId> {
    project
        .nodes
        .values()
        .filter(|node| matches!(node.kind, NodeKind::Output(_)))
        .map(|node| node.id)
        .collect()
}

/// One line for a run's new state, by what became of the items of its Output nodes.
pub(super) fn end_line(state: RunState, view: &RunView, outputs: &BTreeSet<NodeId>) -> String {
    let counted = |wanted: Option<ItemState>| -> u32 {
        outputs
            .iter()
            .filter_map(|node_id| view.nodes.get(node_id))
            .map(|node| wanted.map_or_else(|| node.counts.total(), |state| node.counts.get(state)))
            .sum()
    };
    let (done, skipped) = (
        counted(Some(ItemState::Done)),
        counted(Some(ItemState::Skipped)),
    );
    match state {
        RunState::Completed if !outputs.is_empty() && done == 0 => {
            let reason = outputs
                .iter()
                .filter_map(|node_id| view.nodes.get(node_id)?.last_reason.as_ref())
                .next_back()
                .map_or_else(String::new, |reason| format!(" ({reason})"));
            format!("Completed: no file was to be made{reason}.")
        }
        RunState::CompletedWithFailures if done > 0 && done + skipped == counted(None) => {
            "Completed with failures: every output was made, but something else failed.".to_owned()
        }
        _ => state_line(state).to_owned(),
    }
}

/// One line for a run's new state.
pub(super) fn state_line(state: RunState) -> &'static str {
    match state {
        RunState::Running => "Running.",
        RunState::Paused => "Paused.",
        RunState::Cancelling => "Cancelling.",
        RunState::Stopping => "Stopping: an item failed and its node says to stop the run.",
        RunState::Completed => "Completed: every output was made.",
        RunState::CompletedWithFailures => "Completed with failures: some outputs are missing.",
        RunState::Failed => "Failed: no output was made.",
        RunState::Cancelled => "Cancelled: finished items keep their outputs.",
    }
}
