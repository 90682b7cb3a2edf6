//! Runs of earlier sessions, read back from the database by a thread of their own.
//!
//! The list is read at the start and after each run; the events of a run only when it is to be shown.

use super::{BridgeWorld, Explanations, RunViews};
use crate::app::actions::Action;
use crate::app::document::Document;
use crate::app::files::FollowUp;
use crate::app::toasts::{Severity, Toasts};
use crate::app::wake::Waker;
use crate::engine::fold::RunView;
use crate::engine::placement::Estimates;
use crate::engine::{EngineHandle, OnStart, RunId};
use crate::project::{NodeId, Project, ProjectId};
use crate::store::{RunSummary, StoreError, project_folder};
use bevy::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};

/// Events read at once.
const PAGE: usize = 4_096;
/// Runs whose titles of nodes are kept.
const RUNS_WITH_TITLES: usize = 256;
/// Files beside a run's folder that are looked at for its project.
const FILES_LOOKED_AT: usize = 200;
/// Questions that may wait.
const QUESTIONS: usize = 64;

/// What the thread is asked.
enum Question {
    List,
    Events(RunId),
    OnStart,
    SetOnStart(OnStart),
    Estimates,
    Titles(RunId),
    /// The project of a run; it may lie at one of these places.
    Project(RunId, Vec<PathBuf>),
}

/// What it answers.
enum Answer {
    List(Vec<RunSummary>),
    Run(Box<ReadRun>),
    OnStart(OnStart),
    Estimates(Box<Estimates>),
    Titles(RunId, BTreeMap<NodeId, String>),
    Project(Box<ProjectOfRun>),
    Failed(Option<RunId>, String),
}

/// The project that a run is of.
struct ProjectOfRun {
    run_id: RunId,
    /// As it was when the run began.
    snapshot: Project,
    /// Where it lies; none when it lies nowhere.
    saved: Option<PathBuf>,
}

/// A run folded from its stored events.
struct ReadRun {
    run_id: RunId,
    view: RunView,
    explanations: Explanations,
}

/// Every run of the database, and the way to read one.
#[derive(Resource)]
pub struct RunHistory {
    /// All runs, newest first.
    pub runs: Vec<RunSummary>,
    /// What happens with unfinished runs at the start, once it was read.
    pub on_start: Option<OnStart>,
    /// What runs taught of times, memory and failures, as of the last run that ended.
    pub estimates: Estimates,
    /// Runs of earlier sessions that rest until a person says what to do with each.
    pub unfinished: Vec<RunId>,
    questions: mpsc::SyncSender<Question>,
    answers: Mutex<mpsc::Receiver<Answer>>,
    reading: HashSet<RunId>,
    /// Titles of the nodes of runs that were told of in this session, as they were when each run began; empty while they
    /// are being read.
    titles: BTreeMap<RunId, BTreeMap<NodeId, String>>,
    /// A run that is shown as soon as it is read.
    wanted: Option<RunId>,
    /// A run that is shown in place of the latest one when its project is opened next.
    expected: Option<(ProjectId, RunId)>,
    /// The project whose latest run was looked for.
    followed: Option<(ProjectId, u64)>,
}

impl RunHistory {
    /// Starts the thread and asks for the list.
    pub(super) fn start(engine: EngineHandle, waker: Waker) -> Self {
        let (questions, questions_there) = mpsc::sync_channel(QUESTIONS);
        let (answer, answers) = mpsc::sync_channel(QUESTIONS);
        let spawned = std::thread::Builder::new()
            .name("run-history".to_owned())
            .spawn(move || {
                // Ends when the window drops its ends.
                while let Ok(question) = questions_there.recv() {
                    if answer.send(answer_to(&engine, &question)).is_err() {
                        break;
                    }
                    waker.wake();
                }
            });
        if let Err(error) = spawned {
            error!(
                "No thread for the history of runs: {error}. Only runs of this session are shown."
            );
        }
        let mut history = Self {
            runs: Vec::new(),
            on_start: None,
            estimates: Estimates::default(),
            unfinished: Vec::new(),
            questions,
            answers: Mutex::new(answers),
            reading: HashSet::new(),
            titles: BTreeMap::new(),
            wanted: None,
            expected: None,
            followed: None,
        };
        history.refresh();
        // The queue is empty yet.
        let _ = history.questions.try_send(Question::OnStart);
        history
    }

    /// Sets what happens with unfinished runs at every later start.
    pub(super) fn set_on_start(&mut self, on_start: OnStart) {
        if self
            .questions
            .try_send(Question::SetOnStart(on_start))
            .is_ok()
        {
            self.on_start = Some(on_start);
        }
    }

    /// Reads the list again.
    pub(super) fn refresh(&mut self) {
        // Full: it is read again after the next run.
        let _ = self.questions.try_send(Question::List);
        let _ = self.questions.try_send(Question::Estimates);
    }

    /// Reads the events of a run, unless that is going on.
    pub(super) fn read(&mut self, run_id: RunId) {
        if self.reading.insert(run_id) && self.questions.try_send(Question::Events(run_id)).is_err()
        {
            self.reading.remove(&run_id);
        }
    }

    /// Reads the titles of a run's nodes, unless they are known.
    pub(super) fn learn_titles(&mut self, run_id: RunId) {
        if self.has_titles(run_id) || self.questions.try_send(Question::Titles(run_id)).is_err() {
            return;
        }
        self.titles.insert(run_id, BTreeMap::new());
        if self.titles.len() > RUNS_WITH_TITLES {
            self.titles.pop_first();
        }
    }

    /// Whether the titles of a run's nodes are known, or being read.
    pub(super) fn has_titles(&self, run_id: RunId) -> bool {
        self.titles.contains_key(&run_id)
    }

    /// The title that a node had when a run began.
    #[must_use]
    pub fn title(&self, run_id: RunId, node_id: NodeId) -> Option<&str> {
        self.titles.get(&run_id)?.get(&node_id).map(String::as_str)
    }

    /// Looks for the project of a run, which is then opened. It may lie at one of these places.
    pub(super) fn find_project(&mut self, run_id: RunId, places: Vec<PathBuf>) {
        // Full: the person asks again.
        let _ = self.questions.try_send(Question::Project(run_id, places));
    }

    /// Whether the events of a run are being read.
    #[must_use]
    pub fn is_reading(&self, run_id: RunId) -> bool {
        self.reading.contains(&run_id)
    }

    /// Shows a run: at once when it is known, else as soon as it is read.
    pub(super) fn show(&mut self, run_id: RunId, runs: &mut RunViews) {
        self.wanted = None;
        if runs.views.contains_key(&run_id) {
            runs.shown = Some(run_id);
            runs.revision += 1;
        } else {
            self.wanted = Some(run_id);
            self.read(run_id);
        }
    }
}

fn answer_to(engine: &EngineHandle, question: &Question) -> Answer {
    match question {
        Question::List => match bevy::tasks::block_on(engine.runs()) {
            Ok(runs) => Answer::List(runs),
            Err(error) => Answer::Failed(None, error.to_string()),
        },
        Question::Estimates => match bevy::tasks::block_on(engine.learned_estimates()) {
            Ok(estimates) => Answer::Estimates(Box::new(estimates)),
            Err(error) => Answer::Failed(None, error.to_string()),
        },
        Question::OnStart => match bevy::tasks::block_on(engine.on_start()) {
            Ok(on_start) => Answer::OnStart(on_start),
            Err(error) => Answer::Failed(None, error.to_string()),
        },
        Question::SetOnStart(on_start) => {
            match bevy::tasks::block_on(engine.set_on_start(*on_start)) {
                Ok(()) => Answer::OnStart(*on_start),
                Err(error) => Answer::Failed(None, error.to_string()),
            }
        }
        Question::Titles(run_id) => match bevy::tasks::block_on(engine.project_of(*run_id)) {
            Ok(project) => Answer::Titles(
                *run_id,
                project
                    .nodes
                    .into_iter()
                    .map(|(node_id, node)| (node_id, node.title))
                    .collect(),
            ),
            // A run that is about to be written has its titles in the open project.
            Err(_) => Answer::Titles(*run_id, BTreeMap::new()),
        },
        Question::Project(run_id, places) => match project_of_run(engine, *run_id, places) {
            Ok(found) => Answer::Project(Box::new(found)),
            Err(error) => Answer::Failed(None, error.to_string()),
        },
        Question::Events(run_id) => match read_run(engine, *run_id) {
            Ok(run) => Answer::Run(Box::new(run)),
            Err(message) => Answer::Failed(Some(*run_id), message),
        },
    }
}

/// Where the project of a run lies: in the folder that the run read from, else at one of the places, else beside; as it was
/// when the run began when it is nowhere.
fn project_of_run(
    engine: &EngineHandle,
    run_id: RunId,
    places: &[PathBuf],
) -> Result<ProjectOfRun, StoreError> {
    let snapshot = bevy::tasks::block_on(engine.project_of(run_id))?;
    let folders = bevy::tasks::block_on(engine.folders_of(run_id))?;
    let beside = folders.inputs.parent().map(Path::to_owned);
    let portable = beside
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| {
            // Recovery files begin with a dot: they are work on a project, not the project.
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.ends_with(".orchestrator.json") && !name.starts_with('.')
            })
        })
        .take(FILES_LOOKED_AT);
    let candidates = beside.clone().into_iter().chain(places.iter().cloned());
    let saved = candidates.chain(portable).find(|path| {
        project_folder::open(path).is_ok_and(|opened| opened.project.id == snapshot.id)
    });
    Ok(ProjectOfRun {
        run_id,
        snapshot,
        saved,
    })
}

fn read_run(engine: &EngineHandle, run_id: RunId) -> Result<ReadRun, String> {
    let mut view = RunView::default();
    let mut explanations = Explanations::default();
    let mut seq = 0;
    loop {
        let page = bevy::tasks::block_on(engine.events(run_id, seq, PAGE))
            .map_err(|error| error.to_string())?;
        for event in &page {
            view.apply(event);
            explanations.take_in(event);
        }
        seq += page.len() as u64;
        if page.len() < PAGE {
            return Ok(ReadRun {
                run_id,
                view,
                explanations,
            });
        }
    }
}

/// Takes over what was read.
pub fn take_answers(
    history: Option<ResMut<RunHistory>>,
    document: Res<Document>,
    mut runs: ResMut<RunViews>,
    mut toasts: ResMut<Toasts>,
    mut follow_up: ResMut<FollowUp>,
) {
    let Some(mut history) = history else { return };
    loop {
        let answer = match history.bypass_change_detection().answers.get_mut() {
            Ok(answers) => answers.try_recv(),
            Err(_) => return,
        };
        let Ok(answer) = answer else { return };
        match answer {
            Answer::List(list) => history.runs = list,
            Answer::Estimates(estimates) => history.estimates = *estimates,
            Answer::OnStart(on_start) => history.on_start = Some(on_start),
            Answer::Titles(run_id, titles) => {
                if let Some(place) = history.titles.get_mut(&run_id) {
                    *place = titles;
                }
            }
            Answer::Project(found) => {
                let ProjectOfRun {
                    run_id,
                    snapshot,
                    saved,
                } = *found;
                let is_open = document.project().id == snapshot.id;
                history.expected = (!is_open).then_some((snapshot.id, run_id));
                follow_up.0.push(match saved {
                    _ if is_open => Action::ShowRun(run_id),
                    Some(path) => Action::OpenPath(path),
                    None => Action::OpenSnapshot(Box::new(snapshot)),
                });
            }
            Answer::Run(read) => {
                history.reading.remove(&read.run_id);
                let live_seq = runs.views.get(&read.run_id).map_or(0, |view| view.next_seq);
                if read.view.next_seq < live_seq {
                    // Events came while it was read.
                    history.read(read.run_id);
                    continue;
                }
                runs.views.insert(read.run_id, read.view);
                runs.explanations.join(read.explanations);
                if history.wanted == Some(read.run_id) {
                    history.wanted = None;
                    runs.shown = Some(read.run_id);
                }
                runs.revision += 1;
            }
            Answer::Failed(run_id, message) => {
                if let Some(run_id) = run_id {
                    history.reading.remove(&run_id);
                    history.wanted.take_if(|wanted| *wanted == run_id);
                }
                toasts.push(
                    Severity::Warning,
                    "The history of runs could not be read",
                    &message,
                );
            }
        }
    }
}

/// What is shown belongs to the open project: when another one is opened, its latest run takes the place of the other's.
pub fn follow_document(
    history: Option<ResMut<RunHistory>>,
    document: Res<Document>,
    mut runs: ResMut<RunViews>,
) {
    let Some(mut history) = history else { return };
    let project_id = document.project().id;
    let now = Some((project_id, document.generation()));
    let is_shown = |runs: &RunViews| {
        runs.shown_view()
            .is_some_and(|view| view.project_id == Some(project_id))
    };
    let is_new = history.followed != now;
    let expected = if is_new {
        history.bypass_change_detection().expected.take()
    } else {
        None
    };
    if is_new && runs.shown.is_some() && !is_shown(&runs) {
        runs.shown = None;
        runs.revision += 1;
    }
    if !(is_new || history.is_changed()) || is_shown(&runs) {
        history.bypass_change_detection().followed = now;
        return;
    }
    history.bypass_change_detection().followed = now;
    if let Some((_, run_id)) = expected.filter(|(expected, _)| *expected == project_id) {
        history.show(run_id, &mut runs);
        return;
    }
    if history.wanted.is_some() || runs.shown.is_some() {
        return;
    }
    let latest = runs
        .views
        .iter()
        .rev()
        .find(|(_, view)| view.project_id == Some(project_id))
        .map(|(run_id, _)| *run_id)
        .max(
            history
                .runs
                .iter()
                .find(|run| run.project_id == project_id)
                .map(|run| run.run_id),
        );
    if let Some(run_id) = latest {
        history.show(run_id, &mut runs);
    }
}

impl BridgeWorld<'_> {
    /// A run whose beginning was not heard here (it goes on from an earlier session) is read whole.
    pub(super) fn read_beginning(&mut self, run_id: RunId) {
        if let Some(history) = &mut self.history {
            history.read(run_id);
        }
    }
}
