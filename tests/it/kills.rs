//! Kill -9 at random instants of runs: the real binary and real built-in backends, each in a process of its own. Whoever was
//! killed is started again, until the run is done. Then nothing may be missing or doubled, and the servers must have seen
//! every prompt once.
//!
//! `make kills KILLS=300` kills so many times and says what it came to; `KILLS_SEED=7` takes other instants. Where something
//! is not as expected, everything stays: the folder is printed, with the run's events, its failures and what the servers counted.
//!
//! Two things are right although nobody likes them: a run does not begin while all servers are away, and an item under which
//! four servers died is given up, since it may be what kills them. A person tries again then, and so does this test; it counts
//! how often.

use crate::command_line::{command, small_scene};
use comfyui_orchestrator::engine::{
    ItemState, RunEvent, RunEventBody, RunId, RunState, RunView, database_path,
};
use comfyui_orchestrator::store::{RunSummary, Store, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Kills of the short test.
const KILLS: u64 = 8;
/// Most kills of one run: one item that dies with its server again and again is rightly given up.
const KILLS_PER_RUN: u64 = 8;
/// Longest pause between two kills, in milliseconds: about as long as a run that is left alone.
const LONGEST_PAUSE_MS: u64 = 1_500;
/// Longest a run may take once nobody is killed any more.
const PATIENCE: Duration = Duration::from_mins(3);

/// A process that is killed when the test ends, however it ends.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
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
struct Server {
    folder: PathBuf,
    port: u16,
    step_delay_ms: u64,
    process: Option<Process>,
}

impl Server {
    fn new(folder: PathBuf, step_delay_ms: u64, random: &mut fastrand::Rng) -> Self {
        // Below the ports that systems give to outgoing connections: those would take it while the server is away.
        let port = std::iter::repeat_with(|| random.u16(20_000..30_000))
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

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn posts_file(&self) -> PathBuf {
        self.folder.with_extension("posts")
    }

    fn start(&mut self) {
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

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// The ids of all prompts that were POSTed here, over all its lives.
    fn posts(&self) -> Vec<String> {
        lines_of(&self.posts_file())
    }
}

/// The orchestrator's side of one run.
#[derive(Clone)]
struct Desk {
    data: PathBuf,
    out: PathBuf,
    project: String,
    log: PathBuf,
}

impl Desk {
    fn new(folder: &Path, first_seed: u64) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let project = small_scene(folder);
        let text = std::fs::read_to_string(&project).unwrap();
        let other = text.replace("\"first\": 41", &format!("\"first\": {first_seed}"));
        assert_ne!(text, other, "the scene counts its seeds from 41");
        std::fs::write(&project, other).unwrap();
        Self {
            data: folder.join("data"),
            out: folder.join("out"),
            project,
            log: folder.join("log.txt"),
        }
    }

    fn store(&self) -> Store {
        Store::open(&database_path(&self.data)).unwrap()
    }

    /// The run as the database has it; none before it was written.
    fn run(&self) -> Option<RunSummary> {
        if !database_path(&self.data).exists() {
            return None;
        }
        let runs = wait(self.store().runs()).unwrap();
        assert!(runs.len() <= 1, "a run was begun twice");
        runs.first().cloned()
    }

    /// Begins the run, or goes on with it.
    fn start(&self, servers: &[Server]) -> Process {
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
    fn failures(&self) -> Vec<String> {
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

    fn events(&self) -> Vec<RunEvent> {
        let store = self.store();
        let run_id: RunId = wait(store.runs()).unwrap()[0].run_id;
        wait(store.events(run_id, 0, 1_000_000)).unwrap()
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// Keeps everything when the test fails, with what a reader wants to see first.
struct Workplace {
    folder: Option<TempDir>,
    /// The run at hand, and what is POSTed.
    run: Option<Desk>,
    posts_files: Vec<PathBuf>,
}

impl Workplace {
    fn path(&self) -> &Path {
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

fn lines_of(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// How often was whom.
#[derive(Debug, Default)]
struct Kills {
    orchestrator: u64,
    servers: u64,
    both: u64,
    /// Items that were given up because servers died under them.
    given_up: usize,
    /// Runs that could not begin because every server was away.
    not_begun: u64,
}

impl Kills {
    fn total(&self) -> u64 {
        self.orchestrator + self.servers + self.both
    }
}

fn wait_for_end(process: &mut Process, until: Instant) -> Option<ExitStatus> {
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

/// Plays one run to its end, killing on the way.
fn play(
    desk: &Desk,
    servers: &mut [Server],
    most_kills: u64,
    random: &mut fastrand::Rng,
    kills: &mut Kills,
) {
    let mut left = most_kills;
    let mut orchestrator = desk.start(servers);
    let mut last_kill = Instant::now();
    loop {
        let pause = Duration::from_millis(random.u64(0..LONGEST_PAUSE_MS));
        let until = if left == 0 {
            last_kill + PATIENCE
        } else {
            Instant::now() + pause
        };
        if let Some(status) = wait_for_end(&mut orchestrator, until) {
            let Some(run) = desk.run() else {
                let said = desk.last_words();
                assert!(
                    said.contains("no backend can be reached"),
                    "{status}: {said}"
                );
                kills.not_begun += 1;
                orchestrator = desk.start(servers);
                continue;
            };
            assert!(run.state.is_ended(), "{status}: {}", desk.last_words());
            if run.state == RunState::Completed {
                assert!(status.success(), "{status}: {}", desk.last_words());
                return;
            }
            // An item whose server was killed under it again and again is given up; a person retries it.
            let failures = desk.failures();
            assert!(!failures.is_empty(), "{:?}, but nothing failed", run.state);
            for failure in &failures {
                assert!(
                    failure.contains("it may be the cause"),
                    "{failures:#?} after {status}: {}",
                    desk.last_words()
                );
            }
            kills.given_up += failures.len();
            orchestrator = desk.start(servers);
            continue;
        }
        assert!(left > 0, "it does not end: {}", desk.last_words());
        left -= 1;
        last_kill = Instant::now();
        let whom = random.u32(0..4);
        if whom >= 2 {
            let first = random.usize(..servers.len());
            let count = random.usize(1..=servers.len());
            for number in 0..count {
                servers[(first + number) % servers.len()].kill();
            }
        }
        match whom {
            0 | 1 => kills.orchestrator += 1,
            2 => kills.servers += 1,
            _ => kills.both += 1,
        }
        if whom != 2 {
            orchestrator.kill();
        }
        std::thread::sleep(Duration::from_millis(random.u64(0..300)));
        let begin_first = random.bool();
        if whom != 2 && begin_first {
            orchestrator = desk.start(servers);
        }
        for server in servers.iter_mut() {
            if server.process.is_none() {
                server.start();
            }
        }
        if whom != 2 && !begin_first {
            orchestrator = desk.start(servers);
        }
    }
}

/// Every picture below a folder, by its name, as pixels.
fn pictures(folder: &Path) -> BTreeMap<String, Vec<u8>> {
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

/// What the log says: no gaps, every item ended once for all, every attempt written down before it was POSTed.
fn check_log(desk: &Desk, servers: &[Server]) -> (usize, usize) {
    let log = desk.events();
    for (place, event) in log.iter().enumerate() {
        assert_eq!(event.seq, place as u64, "the log has a gap");
    }
    let view = RunView::of(&log);
    assert_eq!(view.state, Some(RunState::Completed));
    for item in view.items.values() {
        assert!(matches!(item.state, ItemState::Done | ItemState::Skipped));
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
    let posted_of_run: BTreeSet<&String> = posts.keys().filter(|id| placed.contains(*id)).collect();
    for attempt_id in &known_there {
        assert!(
            posted_of_run.contains(attempt_id),
            "{attempt_id} was never POSTed"
        );
    }
    (view.items.len(), posted_of_run.len())
}

fn check_database(desk: &Desk) {
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

#[test]
fn killed_at_any_instant_nothing_is_lost_and_nothing_is_made_twice() {
    let number_of = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let wanted = number_of("KILLS", KILLS);
    let seed = number_of("KILLS_SEED", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    let begin = Instant::now();
    let mut workplace = Workplace {
        folder: Some(TempDir::new().unwrap()),
        run: None,
        posts_files: Vec::new(),
    };
    let folder = workplace.path().to_path_buf();
    let mut servers: Vec<Server> = [4, 8, 16]
        .into_iter()
        .enumerate()
        .map(|(number, delay_ms)| {
            let folder = folder.join(format!("server-{number}"));
            Server::new(folder, delay_ms, &mut random)
        })
        .collect();
    workplace.posts_files = servers.iter().map(Server::posts_file).collect();
    let quiet = [Server::new(folder.join("quiet"), 0, &mut random)];
    let mut kills = Kills::default();
    let (mut rounds, mut items, mut posts, mut files) = (0, 0, 0, 0);
    while kills.total() < wanted {
        rounds += 1;
        let first_seed = 1000 * rounds;
        let at = |name: &str| folder.join(format!("{name}-{rounds}"));
        let desk = Desk::new(&at("run"), first_seed);
        workplace.run = Some(desk.clone());
        let given_up = kills.given_up;
        let most = (wanted - kills.total()).min(random.u64(1..=KILLS_PER_RUN));
        play(&desk, &mut servers, most, &mut random, &mut kills);
        let of_run = check_log(&desk, &servers);
        items += of_run.0;
        posts += of_run.1;
        check_database(&desk);
        // The same run, left alone.
        let reference = Desk::new(&at("reference"), first_seed);
        let mut alone = reference.start(&quiet);
        let status = wait_for_end(&mut alone, Instant::now() + PATIENCE);
        assert!(status.is_some_and(|status| status.success()));
        let (mut found, expected) = (pictures(&desk.out), pictures(&reference.out));
        if kills.given_up > given_up {
            // What was written while an item was missing (a sheet without it, outputs counted without it) stays.
            found.retain(|name, _| expected.contains_key(name));
        }
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "seed {seed}, run {rounds}"
        );
        for (name, pixels) in &found {
            let is_sheet_of_fewer = kills.given_up > given_up && name.contains("contact sheet");
            assert!(
                *pixels == expected[name] || is_sheet_of_fewer,
                "{name} differs"
            );
        }
        files += found.len();
        println!(
            "{} kills after {} s: run {rounds} complete",
            kills.total(),
            begin.elapsed().as_secs()
        );
        std::fs::remove_dir_all(at("run")).unwrap();
        std::fs::remove_dir_all(at("reference")).unwrap();
    }
    println!(
        "{} kills ({} of the orchestrator, {} of servers, {} of both) in {rounds} runs: {items} items, {posts} prompts, \
         {files} files, nothing missing, nothing doubled; {} items given up under dying servers and retried, \
         {} runs begun again because every server was away; {} s (seed {seed})",
        kills.total(),
        kills.orchestrator,
        kills.servers,
        kills.both,
        kills.given_up,
        kills.not_begun,
        begin.elapsed().as_secs()
    );
}
