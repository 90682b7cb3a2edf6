//! `runs questions` and `runs answer`: what a run asks of items that have no place left; and the same while a run is followed
//! on a terminal.

use super::backend::BackendArguments;
use super::deliver::{After, deliver};
use super::earlier::EarlierRun;
use super::review::places;
use crate::engine::{Answer, AnswerReach, ItemId, PlacementVerdict, Question, RunView, RunWish};
use crate::project::BackendId;
use crate::store::{RunSummary, Store};
use anyhow::{Context as _, bail};
use clap::Args;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::sync::mpsc;

/// Lines that a person may have typed ahead.
const LINES_AHEAD: usize = 16;

#[derive(Debug, Args)]
pub(super) struct QuestionsArguments {
    /// The run's id, or the beginning or end of it; `last` is the newest one.
    pub(super) run: String,
    /// Print one JSON object per question.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct AnswerArguments {
    /// The run's id, or the beginning or end of it; `last` is the newest one.
    pub(super) run: String,
    /// The questions by their numbers in `runs questions`: `1,4,7-9`, or `all`; or an item by its id, or by its node and
    /// labels.
    #[arg(required = true, value_name = "ITEM")]
    items: Vec<String>,
    #[command(flatten)]
    choice: ChoiceArguments,
    /// Answer every later question of this run in the same way, as far as it can help there.
    #[arg(long)]
    always: bool,
    #[command(flatten)]
    backends: BackendArguments,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ChoiceArguments {
    /// Try again where the node allows it.
    #[arg(long)]
    retry: bool,
    /// Run it on this backend, by name, whatever the node says of where it may run.
    #[arg(long, value_name = "BACKEND")]
    on: Option<String>,
    /// Leave it out: what needs it is skipped.
    #[arg(long)]
    skip: bool,
    /// Let it fail: what needs it is blocked.
    #[arg(long)]
    fail: bool,
}

/// Lists what a run asks.
pub(super) async fn questions(
    store: &Store,
    run: &RunSummary,
    arguments: &QuestionsArguments,
) -> anyhow::Result<ExitCode> {
    let earlier = EarlierRun::read(store, run).await?;
    let asking = asking(&earlier);
    if asking.is_empty() && !arguments.json {
        println!("{} asks nothing.", run.name);
    }
    for (place, item_id) in asking.iter().enumerate() {
        let Some(question) = earlier.view.questions.get(item_id) else {
            continue;
        };
        let name = earlier.name_of(item_id);
        if arguments.json {
            let line = serde_json::json!({
                "number": place + 1, "item_id": item_id, "item": name, "question": **question,
            });
            println!("{line}");
        } else {
            println!("{:>3}  {}", place + 1, in_words(&name, question));
        }
    }
    if let Some(item_id) = asking.first()
        && !arguments.json
    {
        let on = earlier
            .view
            .questions
            .get(item_id)
            .and_then(|question| first_server(question))
            .map_or_else(String::new, |name| format!(" or --on \"{name}\""));
        let id = run.run_id.to_string();
        let short = id.get(id.len().saturating_sub(8)..).unwrap_or(&id);
        println!(
            "Answer with: comfyui-orchestrator runs answer {short} 1 --retry{on} or --skip or --fail, with --always for the rest of the run."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers what a run asks, and follows it to its end or its next question.
pub(super) async fn answer(
    data_dir: PathBuf,
    store: Store,
    run: RunSummary,
    arguments: AnswerArguments,
) -> anyhow::Result<ExitCode> {
    let earlier = EarlierRun::read(&store, &run).await?;
    let asking = asking(&earlier);
    if asking.is_empty() {
        bail!("{} asks nothing", run.name);
    }
    let mut item_ids = Vec::new();
    for wanted in &arguments.items {
        if let Ok(numbers) = places(wanted, asking.len()) {
            item_ids.extend(
                numbers
                    .iter()
                    .filter_map(|place| asking.get(*place))
                    .copied(),
            );
            continue;
        }
        let meant = earlier
            .meant_among(wanted, |item_id| asking.contains(item_id))
            .context("`runs questions` lists the questions with their numbers")?;
        item_ids.extend(meant);
    }
    let answer = match &arguments.choice {
        ChoiceArguments { on: Some(name), .. } => {
            let mut known: Vec<(BackendId, String)> = store
                .run(run.run_id)
                .await?
                .backends
                .into_iter()
                .chain(store.backends().await?)
                .map(|config| (config.id, config.name))
                .collect();
            known.dedup();
            Answer::RunOn(server_called(name, &known)?)
        }
        ChoiceArguments { retry: true, .. } => Answer::Retry,
        ChoiceArguments { skip: true, .. } => Answer::Skip,
        _ => Answer::Fail,
    };
    let wish = RunWish::Answer {
        item_ids,
        answer,
        reach: if arguments.always {
            AnswerReach::ThisRun
        } else {
            AnswerReach::TheseItems
        },
    };
    deliver(
        data_dir,
        store,
        &run,
        &earlier,
        vec![wish],
        After::Follow,
        arguments.backends.configs()?,
    )
    .await
}

/// The items that ask, by name.
fn asking(earlier: &EarlierRun) -> Vec<ItemId> {
    let mut asking: Vec<ItemId> = earlier.view.questions.keys().copied().collect();
    asking.sort_by_key(|item_id| (earlier.name_of(item_id), *item_id));
    asking
}

fn server_called(name: &str, known: &[(BackendId, String)]) -> anyhow::Result<BackendId> {
    known
        .iter()
        .find(|(_, known)| known == name)
        .map(|(backend_id, _)| *backend_id)
        .with_context(|| {
            let names: Vec<&str> = known.iter().map(|(_, name)| name.as_str()).collect();
            format!(
                "no backend is called \"{name}\"; there are: {}",
                names.join(", ")
            )
        })
}

/// The name of the first backend that a question offers.
fn first_server(question: &Question) -> Option<&str> {
    question.alternatives.iter().find_map(|alternative| {
        matches!(alternative.answer, Answer::RunOn(_))
            .then(|| alternative.label.strip_prefix("Run it on "))
            .flatten()
    })
}

/// A question as it is printed: the item, what happened, and what can be chosen, with numbers.
pub(super) fn in_words(name: &str, question: &Question) -> String {
    let mut lines = vec![format!("{name} asks: {}", question.failure.message)];
    for (place, alternative) in question.alternatives.iter().enumerate() {
        lines.push(format!(
            "       {}) {} ({})",
            place + 1,
            alternative.label,
            alternative.reason
        ));
    }
    for candidate in &question.impossible {
        if let PlacementVerdict::Excluded { reason } = &candidate.verdict {
            lines.push(format!("       not {}: {reason}", candidate.backend_name));
        }
    }
    lines.join("\n")
}

/// Reads a person's answers from a terminal while a run is followed.
pub(super) struct Asker {
    lines: Option<mpsc::Receiver<String>>,
    is_terminal: bool,
    /// The item whose question was asked last and is not answered.
    asked: Option<ItemId>,
    /// Items whose question the person left for later.
    left: Vec<ItemId>,
}

impl Asker {
    /// Asks only when a person is at a terminal.
    pub(super) fn new(is_terminal: bool) -> Self {
        Self {
            lines: None,
            is_terminal,
            asked: None,
            left: Vec::new(),
        }
    }

    /// Whether a person is there to be asked.
    pub(super) fn is_interactive(&self) -> bool {
        self.is_terminal
    }

    /// Whether a person is being asked.
    pub(super) fn asks(&self) -> bool {
        self.asked.is_some()
    }

    /// The next thing to say: the first question that is open, once.
    pub(super) fn next(&mut self, view: &RunView) -> Option<ItemId> {
        if !self.is_terminal {
            return None;
        }
        if let Some(asked) = self.asked {
            if view.questions.contains_key(&asked) {
                return None;
            }
            self.asked = None;
        }
        let next = view
            .questions
            .keys()
            .find(|item_id| !self.left.contains(item_id))
            .copied()?;
        self.asked = Some(next);
        if self.lines.is_none() {
            self.lines = Some(read_lines());
        }
        Some(next)
    }

    /// The next line a person typed.
    pub(super) async fn line(&mut self) -> Option<String> {
        match &mut self.lines {
            Some(lines) => lines.recv().await,
            None => std::future::pending().await,
        }
    }

    /// What a line says: a command to send, or words for the person.
    pub(super) fn take(
        &mut self,
        line: &str,
        view: &RunView,
    ) -> Result<(ItemId, Answer, AnswerReach), String> {
        let hint = "Type the number of what you choose, with `a` behind it for the rest of the run (`1a`); an empty line leaves the question for later.";
        let Some((item_id, question)) = self
            .asked
            .and_then(|item_id| Some((item_id, view.questions.get(&item_id)?)))
        else {
            return Err("Nothing is asked now.".to_owned());
        };
        let line = line.trim();
        if line.is_empty() {
            self.asked = None;
            self.left.push(item_id);
            return Err("Left for later.".to_owned());
        }
        let (number, reach) = match line.strip_suffix(['a', 'A']) {
            Some(number) => (number.trim(), AnswerReach::ThisRun),
            None => (line, AnswerReach::TheseItems),
        };
        let chosen = number
            .parse::<usize>()
            .ok()
            .and_then(|number| question.alternatives.get(number.checked_sub(1)?))
            .ok_or_else(|| hint.to_owned())?;
        Ok((item_id, chosen.answer, reach))
    }
}

/// Lines of standard input, read on a thread of its own: it cannot be stopped, and ends with the program.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
