//! `runs review`: what a run asks a person, and the answers.

use super::backend::BackendArguments;
use super::deliver::{After, deliver};
use super::earlier::EarlierRun;
use super::runs::counted;
use super::watch;
use crate::artifacts::ArtifactStore;
use crate::engine::{
    IndexPath, ItemId, ItemState, MAX_RATING, ReviewAnswer, ReviewVerdict, RunEventBody, RunId,
    RunState, RunView, RunWish, Value,
};
use crate::project::{Literal, Maker, NodeId, NodeKind, Project, WorkflowNode};
use crate::store::{RunSummary, Store};
use crate::workflow::ParameterAddress;
use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code of a run that waits for a person.
pub(super) const WAITS_FOR_PERSON: u8 = 3;

/// Events of one page.
const PAGE: usize = 4096;

#[derive(Debug, Args)]
pub(super) struct ReviewArguments {
    /// The run's id, or the beginning or end of it; `last` is the newest one.
    pub(super) run: String,
    /// Items that go on, by their numbers in the list: `1,4,7-9`, or `all`. All others are not picked, unless --more.
    #[arg(long, value_name = "NUMBERS")]
    pick: Option<String>,
    /// Items that do not go on.
    #[arg(long, value_name = "NUMBERS")]
    reject: Option<String>,
    /// A rating from 0 to 5: `--rate 3=5`. May be given several times.
    #[arg(long, value_name = "NUMBER=RATING")]
    rate: Vec<String>,
    /// Items to be made again, with the changes of --set, and then asked about again.
    #[arg(long, value_name = "NUMBERS")]
    redo: Option<String>,
    /// A parameter to change for --redo, by its label on the node that made the item.
    #[arg(long = "set", value_name = "PARAM=VALUE", requires = "redo")]
    settings: Vec<String>,
    /// Leave items that are not named waiting: more answers follow.
    #[arg(long)]
    more: bool,
    #[command(flatten)]
    backends: BackendArguments,
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

/// An item that waits for a person.
struct Parked {
    item_id: ItemId,
    node_id: NodeId,
    path: IndexPath,
    label: String,
    rating: Option<u8>,
    files: Vec<PathBuf>,
}

/// Lists what a run asks, or answers it and follows the run to its end or its next question.
pub(super) async fn review(
    data_dir: PathBuf,
    store: Store,
    run: RunSummary,
    arguments: ReviewArguments,
) -> anyhow::Result<ExitCode> {
    let project =
        crate::project::read_portable_form(store.run(run.run_id).await?.snapshot.as_bytes())
            .context("the run's snapshot cannot be read")?;
    let parked = parked(&store, &data_dir, run.run_id).await?;
    let answers = answers(&arguments, &parked, &project)?;
    if answers.is_empty() {
        list(&run, &parked, &project, arguments.json);
        return Ok(ExitCode::SUCCESS);
    }
    let earlier = EarlierRun::read(&store, &run).await?;
    let wishes = vec![RunWish::Review(answers)];
    deliver(
        data_dir,
        store,
        &run,
        &earlier,
        wishes,
        After::Follow,
        arguments.backends.configs()?,
    )
    .await
}

/// How a followed run's end is told to the shell; says what to do when it waits for a person.
pub(super) fn exit_code(end: &watch::RunEnd, run: &str) -> ExitCode {
    let parked = end.view.counts.get(ItemState::Parked);
    let asking = end.view.counts.get(ItemState::Asking);
    let short = run.get(run.len().saturating_sub(8)..).unwrap_or(run);
    if !end.state.is_ended() && asking > 0 {
        eprintln!(
            "{} what is to become of {}. See the questions with `runs questions {short}`, answer with `runs answer {short} 1 --retry`; the run stays as it is until then.",
            counted(asking, "item asks", "items ask"),
            if asking == 1 { "it" } else { "them" },
        );
        return ExitCode::from(WAITS_FOR_PERSON);
    }
    if !end.state.is_ended() && parked > 0 {
        eprintln!(
            "{} for you. See them with `runs review {short}`, answer with `runs review {short} --pick {}`; the run stays as it is until then.",
            counted(parked, "item waits", "items wait"),
            if parked == 1 { "1" } else { "1,2" },
        );
        return ExitCode::from(WAITS_FOR_PERSON);
    }
    if end.state == RunState::Completed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The parked items in the order of their nodes and indexes.
async fn parked(store: &Store, data_dir: &Path, run_id: RunId) -> anyhow::Result<Vec<Parked>> {
    let mut view = RunView::default();
    let mut paths: BTreeMap<ItemId, IndexPath> = BTreeMap::new();
    let mut seq = 0;
    loop {
        let page = store.events(run_id, seq, PAGE).await?;
        for event in &page {
            view.apply(event);
            if let RunEventBody::ItemCreated { item_id, path, .. } = &event.body {
                paths.insert(*item_id, path.clone());
            }
        }
        seq += page.len() as u64;
        if page.len() < PAGE {
            break;
        }
    }
    let artifacts = ArtifactStore::open(&data_dir.join("artifacts"))?;
    let mut parked: Vec<Parked> = view
        .items
        .iter()
        .filter(|(_, item)| item.state == ItemState::Parked)
        .map(|(item_id, item)| {
            let path = paths.get(item_id).cloned().unwrap_or_default();
            Parked {
                item_id: *item_id,
                node_id: item.node_id,
                label: item.label.to_string(),
                rating: item.rating,
                files: view
                    .shown
                    .get(item_id)
                    .map(Value::artifacts)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|artifact| artifacts.path(&artifact))
                    .collect(),
                path,
            }
        })
        .collect();
    parked.sort_by(|one, other| (one.node_id, &one.path).cmp(&(other.node_id, &other.path)));
    Ok(parked)
}

fn list(run: &RunSummary, parked: &[Parked], project: &Project, json: bool) {
    if json {
        for (number, item) in parked.iter().enumerate() {
            let line = serde_json::json!({
                "number": number + 1, "item_id": item.item_id, "node_id": item.node_id,
                "path": item.path, "label": item.label, "rating": item.rating, "files": item.files,
            });
            println!("{line}");
        }
        return;
    }
    if parked.is_empty() {
        println!("{} asks nothing.", run.name);
        return;
    }
    let mut last = None;
    for (number, item) in parked.iter().enumerate() {
        if last != Some(item.node_id) {
            last = Some(item.node_id);
            let node = project.nodes.get(&item.node_id);
            let question = match node.map(|node| &node.kind) {
                Some(NodeKind::Review(review)) => review.question.as_str(),
                _ => "",
            };
            let title = node.map_or("Review", |node| node.title.as_str());
            println!("{title}: {question}");
        }
        let rating = item
            .rating
            .map_or_else(String::new, |rating| format!("  rated {rating}"));
        let files: Vec<String> = item
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        println!(
            "{:>5}  {:<32}{rating}  {}",
            number + 1,
            item.label,
            files.join(" ")
        );
    }
}

/// What the arguments say of the parked items; nothing when they say nothing.
fn answers(
    arguments: &ReviewArguments,
    parked: &[Parked],
    project: &Project,
) -> anyhow::Result<Vec<ReviewAnswer>> {
    let mut answers = Vec::new();
    let mut named: BTreeSet<usize> = BTreeSet::new();
    let answer = |place: usize, verdict: ReviewVerdict| -> anyhow::Result<ReviewAnswer> {
        let item = parked
            .get(place)
            .with_context(|| no_such_item(place + 1, parked.len()))?;
        Ok(ReviewAnswer {
            item_id: item.item_id,
            verdict,
        })
    };
    for rating in &arguments.rate {
        let (number, stars) = rating
            .split_once('=')
            .with_context(|| format!("--rate {rating}: write it as NUMBER=RATING"))?;
        let stars: u8 = stars
            .trim()
            .parse()
            .ok()
            .filter(|stars| *stars <= MAX_RATING)
            .with_context(|| format!("--rate {rating}: a rating is 0 to {MAX_RATING}"))?;
        for place in places(number, parked.len())? {
            answers.push(answer(place, ReviewVerdict::Rate(stars))?);
        }
    }
    for place in numbers(arguments.redo.as_deref(), parked.len())? {
        named.insert(place);
        let fields = parked
            .get(place)
            .map(|item| changed_fields(&arguments.settings, item.node_id, project))
            .transpose()?
            .unwrap_or_default();
        answers.push(answer(place, ReviewVerdict::Redo(fields))?);
    }
    for place in numbers(arguments.reject.as_deref(), parked.len())? {
        named.insert(place);
        answers.push(answer(place, ReviewVerdict::Reject)?);
    }
    let picked = numbers(arguments.pick.as_deref(), parked.len())?;
    for place in &picked {
        named.insert(*place);
        answers.push(answer(*place, ReviewVerdict::Pick)?);
    }
    if arguments.pick.is_some() && !arguments.more {
        for place in (0..parked.len()).filter(|place| !named.contains(place)) {
            answers.push(answer(place, ReviewVerdict::Reject)?);
        }
    }
    Ok(answers)
}

fn numbers(text: Option<&str>, count: usize) -> anyhow::Result<Vec<usize>> {
    text.map_or_else(|| Ok(Vec::new()), |text| places(text, count))
}

fn no_such_item(number: usize, count: usize) -> String {
    let wait = if count == 1 { "waits" } else { "wait" };
    format!("there is no item {number}; {count} {wait}")
}

/// `1,4,7-9` or `all` as places from 0.
pub(super) fn places(text: &str, count: usize) -> anyhow::Result<Vec<usize>> {
    let text = text.trim();
    match text {
        "all" => return Ok((0..count).collect()),
        "none" | "" => return Ok(Vec::new()),
        _ => {}
    }
    let number = |text: &str| -> anyhow::Result<usize> {
        let number: usize = text
            .trim()
            .parse()
            .map_err(|_| anyhow!("\"{text}\" is no number of the list; write 1,4,7-9 or all"))?;
        if number == 0 || number > count {
            bail!(no_such_item(number, count));
        }
        Ok(number - 1)
    };
    let mut places = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((first, last)) => places.extend(number(first)?..=number(last)?),
            None => places.push(number(part)?),
        }
    }
    Ok(places)
}

/// `PARAM=VALUE` by the labels of the Workflow node whose values a Review looks at.
fn changed_fields(
    settings: &[String],
    review: NodeId,
    project: &Project,
) -> anyhow::Result<Vec<(ParameterAddress, Literal)>> {
    let maker = project.maker_of(review);
    let Maker::Workflow(_, workflow) = maker else {
        bail!(
            "{} (`runs redo` does that)",
            maker.refusal().unwrap_or_default()
        );
    };
    set_fields(settings, workflow)
}

/// `PARAM=VALUE` by the labels of a Workflow node.
pub(super) fn set_fields(
    settings: &[String],
    workflow: &WorkflowNode,
) -> anyhow::Result<Vec<(ParameterAddress, Literal)>> {
    settings
        .iter()
        .map(|setting| {
            let (label, text) = setting
                .split_once('=')
                .with_context(|| format!("--set {setting}: write it as PARAM=VALUE"))?;
            let parameter = workflow
                .parameters
                .iter()
                .find(|parameter| parameter.label == label)
                .with_context(|| {
                    let labels: Vec<&str> = workflow
                        .parameters
                        .iter()
                        .map(|parameter| parameter.label.as_str())
                        .collect();
                    format!(
                        "--set {setting}: the node has no parameter \"{label}\"; it has: {}",
                        labels.join(", ")
                    )
                })?;
            let wanted = parameter.value.as_ref().map(Literal::data_type);
            Ok((parameter.address.clone(), super::run::literal(text, wanted)))
        })
        .collect()
}
