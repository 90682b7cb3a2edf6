//! Runs of the real binary over real built-in backends, each in a process of its own, for tests that take something away from
//! them in the middle; and what must hold at the end all the same.

use crate::command_line::{command, small_scene};
use comfyui_orchestrator::engine::{
    ItemId, ItemState, RunEvent, RunEventBody, RunId, RunState, RunView, database_path,
};
use comfyui_orchestrator::store::{RunSummary, Store, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest a run may take once nobody is killed any more.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// A process that is killed when the test ends, however it ends.
pub struct Process(pub Child);

impl Process {
    pub fn kill(&mut self) {
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A server with a folder and an address of its own. What it knew is gone when it is killed; its files stay.
pub struct Server {
    pub folder: PathBuf,
    pub port: u16,
    pub step_delay_ms: u64,
    pub process: Option<Process>,
}

impl Server {
    pub fn new(folder: PathBuf, step_delay_ms: u64) -> Self {
        // Below the ports that systems give to outgoing connections: those would take it while the server is away. Not from
        // the test's seed: tests that run side by side would choose the same.
        let port = std::iter::repeat_with(|| fastrand::u16(20_000..30_000))
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .unwrap();
        let mut server = Self {
            folder,
            port,
            step_delay_ms,
            process: None,
        };
        server.start();
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn posts_file(&self) -> PathBuf {
        self.folder.with_extension("posts")
    }

    pub fn start(&mut self) {
        let mut child = command(&self.folder)
            .args(["builtin", "--port", &self.port.to_string()])
            .args(["--step-delay-ms", &self.step_delay_ms.to_string()])
            .arg("--server-dir")
            .arg(&self.folder)
            .arg("--posts-file")
            .arg(self.posts_file())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("Built-in backend at"), "{line:?}");
        self.process = Some(Process(child));
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// The ids of all prompts that were POSTed here, over all its lives.
    pub fn posts(&self) -> Vec<String> {
        lines_of(&self.posts_file())
    }
}

/// The orchestrator's side of one run.
#[derive(Clone)]
pub struct Desk {
    pub folder: PathBuf,
    pub data: PathBuf,
    pub out: PathBuf,
    pub project: String,
    pub log: PathBuf,
}

impl Desk {
    pub fn new(folder: &Path, first_seed: u64) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let project = small_scene(folder);
        let text = std::fs::read_to_string(&project).unwrap();
        let other = text.replace("\"first\": 41", &format!("\"first\": {first_seed}"));
        assert_ne!(text, other, "the scene counts its seeds from 41");
        std::fs::write(&project, other).unwrap();
        Self {
            folder: folder.to_path_buf(),
            data: folder.join("data"),
            out: folder.join("out"),
            project,
            log: folder.join("log.txt"),
        }
    }

    pub fn store(&self) -> Store {
        Store::open(&database_path(&self.data)).unwrap()
    }

    /// The run as the database has it; none before it was written.
    pub fn run(&self) -> Option<RunSummary> {
        if !database_path(&self.data).exists() {
            return None;
        }
        let runs = wait(self.store().runs()).unwrap();
        assert!(runs.len() <= 1, "a run was begun twice");
        runs.first().cloned()
    }

    /// Begins the run, or goes on with it.
    pub fn start(&self, servers: &[Server]) -> Process {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut command = command(&self.data);
        match self.run() {
            None => command
                .args(["run", &self.project])
                .arg("--out")
                .arg(&self.out),
            Some(run) => {
                command.args(["runs", "resume", &run.run_id.to_string()]);
                if matches!(
                    run.state,
                    RunState::Failed | RunState::CompletedWithFailures
                ) {
                    command.arg("--retry-failed");
                }
                &mut command
            }
        };
        for server in servers {
            command.args(["--backend", &server.url()]);
        }
        Process(
            command
                .env("ORCHESTRATOR_LOG", "comfyui_orchestrator=debug")
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }

    /// Why items failed since the run began or was taken up last.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for event in self.events() {
            match event.body {
                RunEventBody::ItemFailed { failure, .. } => {
                    failures.push(format!("{:?}: {}", failure.class, failure.message));
                }
                RunEventBody::RunStateChanged {
                    state: RunState::Running,
                } => failures.clear(),
                _ => {}
            }
        }
        failures
    }

    pub fn events(&self) -> Vec<RunEvent> {
        let store = self.store();
        let run_id: RunId = wait(store.runs()).unwrap()[0].run_id;
        wait(store.events(run_id, 0, 1_000_000)).unwrap()
    }

    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// Keeps everything when the test fails, with what a reader wants to see first.
pub struct Workplace {
    pub folder: Option<TempDir>,
    /// The run at hand, and what is POSTed.
    pub run: Option<Desk>,
    pub posts_files: Vec<PathBuf>,
}

impl Workplace {
    pub fn path(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Some(folder) = self.folder.take().map(TempDir::keep) else {
            return;
        };
        println!("everything is left in {}", folder.display());
        let Some(run) = &self.run else {
            return;
        };
        // A second panic would hide the first.
        if run.run().is_none() {
            return;
        }
        let mut said = String::new();
        for event in run.events() {
            let line = serde_json::to_string(&event).unwrap();
            if matches!(
                event.body,
                RunEventBody::AttemptFailed { .. }
                    | RunEventBody::ItemFailed { .. }
                    | RunEventBody::RunStateChanged { .. }
            ) {
                println!("{line}");
            }
            said.push_str(&line);
            said.push('\n');
        }
        std::fs::write(folder.join("events.jsonl"), said).ok();
        for file in &self.posts_files {
            println!("{}: {} prompts", file.display(), lines_of(file).len());
        }
    }
}

pub fn lines_of(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

pub fn wait_for_end(process: &mut Process, until: Instant) -> Option<ExitStatus> {
    loop {
        if let Some(status) = process.0.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every picture below a folder, by its name, as pixels.
pub fn pictures(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let picture = image::open(&path)
                .unwrap_or_else(|error| panic!("{name} is no whole picture: {error}"));
            found.insert(name, picture.to_rgba8().into_raw());
        }
    }
    found
}

/// How often an item may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Once for all.
    Once,
    /// More than once where it was made again.
    AtLeastOnce,
}

/// What the log says: no gaps; every item came to its end, as often as that may be; and every attempt was written down before it
/// was POSTed. `earlier` are the prompts that the servers had before this run. Gives the number of items and of prompts.
pub fn check_log(
    desk: &Desk,
    servers: &[Server],
    earlier: &BTreeSet<String>,
    ends: Ends,
) -> (usize, usize) {
    let log = desk.events();
    for (place, event) in log.iter().enumerate() {
        assert_eq!(event.seq, place as u64, "the log has a gap");
    }
    let view = RunView::of(&log);
    assert_eq!(view.state, Some(RunState::Completed));
    for item in view.items.values() {
        assert!(matches!(item.state, ItemState::Done | ItemState::Skipped));
    }
    let mut times: BTreeMap<ItemId, u32> = BTreeMap::new();
    for event in &log {
        if let Some(item_id) = ended(&event.body) {
            *times.entry(item_id).or_default() += 1;
        }
    }
    for (item_id, item) in &view.items {
        let times = times.get(item_id).copied().unwrap_or(0);
        assert!(
            times == 1 || (times > 1 && ends == Ends::AtLeastOnce),
            "{} {item_id} ended {times} times",
            item.label
        );
    }
    let ids = |wanted: fn(&RunEventBody) -> Option<String>| -> BTreeSet<String> {
        log.iter().filter_map(|event| wanted(&event.body)).collect()
    };
    let placed = ids(|body| match body {
        RunEventBody::AttemptPlaced { attempt_id, .. } => Some(attempt_id.to_string()),
        _ => None,
    });
    let known_there = ids(|body| match body {
        RunEventBody::AttemptAccepted { attempt_id }
        | RunEventBody::AttemptStarted { attempt_id }
        | RunEventBody::ItemDone {
            attempt_id: Some(attempt_id),
            ..
        } => Some(attempt_id.to_string()),
        _ => None,
    });
    let mut posts: BTreeMap<String, u32> = BTreeMap::new();
    for prompt_id in servers.iter().flat_map(Server::posts) {
        *posts.entry(prompt_id).or_default() += 1;
    }
    let twice: Vec<_> = posts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "POSTed more than once: {twice:?}");
    let posted: BTreeSet<String> = posts
        .into_keys()
        .filter(|prompt_id| !earlier.contains(prompt_id))
        .collect();
    let unknown: Vec<&String> = posted.difference(&placed).collect();
    assert!(
        unknown.is_empty(),
        "POSTed without being in the log: {unknown:?}"
    );
    let missing: Vec<&String> = known_there.difference(&posted).collect();
    assert!(missing.is_empty(), "never POSTed: {missing:?}");
    (view.items.len(), posted.len())
}

/// The item that is over with this event.
fn ended(body: &RunEventBody) -> Option<ItemId> {
    match body {
        RunEventBody::ItemDone { item_id, .. } | RunEventBody::ItemFailed { item_id, .. } => {
            Some(*item_id)
        }
        RunEventBody::ItemStateChanged { item_id, state, .. } if state.is_ended() => Some(*item_id),
        _ => None,
    }
}

pub fn check_database(desk: &Desk) {
    let database = rusqlite::Connection::open(database_path(&desk.data)).unwrap();
    let answer: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(answer, "ok");
    let verified = command(&desk.data)
        .args(["cache", "verify"])
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
}

/// A number that whoever starts the test may set.
pub fn number_of(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}
