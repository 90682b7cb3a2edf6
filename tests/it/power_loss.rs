//! Power cuts in the middle of runs: the real binary is stopped at an instant, and of its data folder only that stays which a
//! disk has to keep. Then the power comes back, and the run must go on to the same end as if nothing had been.
//!
//! What a disk has to keep: all that was flushed, and of the rest any part. Of the write-ahead log that is any bytes after the
//! last flush (with `synchronous = FULL` a transaction is begun only when the one before is flushed, so only the last one can
//! be in doubt); of the database, pages that a checkpoint was writing; of results and written files, whatever the log does not
//! name.
//!
//! `make power CUTS=100` cuts so often; `CUTS_SEED=7` takes other instants. A second test follows the system calls of a run
//! and proves that each flush comes before what rests on it.

use crate::command_line::command;
use crate::processes::{
    Desk, Ends, PATIENCE, Process, Server, Workplace, check_database, check_log, number_of,
    pictures, wait_for_end,
};
use comfyui_orchestrator::artifacts::ContentHash;
use comfyui_orchestrator::engine::{RunEvent, RunEventBody, RunState, RunView, database_path};
use comfyui_orchestrator::store::{Store, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Power cuts of the short test.
const CUTS: u64 = 6;
/// Most power cuts of one run.
const CUTS_PER_RUN: u64 = 6;
/// What may be left is tried out so often for each cut, the last time for real.
const TRIES_PER_CUT: usize = 6;
/// Longest pause between two cuts, in milliseconds: about as long as a run that is left alone.
const LONGEST_PAUSE_MS: u64 = 1_500;

/// A shell that is told whom to stop: it is there already, so the signal goes out at once.
struct Switch(Child);

impl Switch {
    fn new() -> Self {
        let shell = Command::new("bash")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(shell)
    }

    /// Stops every thread of a process. False if it has ended.
    fn stop(&mut self, process: &mut Process) -> bool {
        let pid = process.0.id();
        let words = self.0.stdin.as_mut().unwrap();
        writeln!(words, "kill -STOP {pid}").unwrap();
        let begin = Instant::now();
        while !is_stopped(pid) {
            if process.0.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        // The state is what follows the name, which is in brackets.
        std::fs::read_to_string(thread.path().join("stat"))
            .is_ok_and(|text| text.rsplit(')').next().unwrap().trim().starts_with('T'))
    })
}

/// The files of a database as they lie at an instant, flushed or not.
#[derive(Clone, Default)]
struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
    index: Vec<u8>,
    journal: Vec<u8>,
}

impl Files {
    const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

    fn read(database: &Path) -> Self {
        let [database, log, index, journal] = Self::SUFFIXES
            .map(|suffix| std::fs::read(beside(database, suffix)).unwrap_or_default());
        Self {
            database,
            log,
            index,
            journal,
        }
    }

    fn write(&self, database: &Path) {
        let contents = [&self.database, &self.log, &self.index, &self.journal];
        for (suffix, bytes) in Self::SUFFIXES.into_iter().zip(contents) {
            let path = beside(database, suffix);
            if bytes.is_empty() && !suffix.is_empty() {
                std::fs::remove_file(path).ok();
            } else {
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn number_at(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// A page in the write-ahead log.
struct Frame {
    page: usize,
    begin: usize,
    end: usize,
}

/// The frames of a write-ahead log that count (<https://sqlite.org/fileformat2.html#walformat>).
#[derive(Default)]
struct Frames {
    page_bytes: usize,
    pages: Vec<Frame>,
    /// Where transactions end.
    commits: Vec<usize>,
}

impl Frames {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;

    fn of(log: &[u8]) -> Self {
        let mut found = Self::default();
        if log.len() < Self::HEADER {
            return found;
        }
        found.page_bytes = number_at(log, 8);
        let salt = &log[16..24];
        let mut begin = Self::HEADER;
        // Those of an earlier round of the log bear another salt.
        while log.len() >= begin + Self::FRAME_HEADER && &log[begin + 8..begin + 16] == salt {
            let end = begin + Self::FRAME_HEADER + found.page_bytes;
            found.pages.push(Frame {
                page: number_at(log, begin),
                begin,
                end: end.min(log.len()),
            });
            if number_at(log, begin + 4) != 0 {
                found.commits.push(end.min(log.len()));
            }
            begin = end;
        }
        found
    }

    fn end(&self) -> usize {
        self.pages.last().map_or(0, |frame| frame.end)
    }

    /// How many bytes of the log a checkpoint has begun to carry over: it flushes them first.
    fn carried_over(&self, log: &[u8], index: &[u8]) -> usize {
        // https://sqlite.org/walformat.html#the_wal_index_file_format: the salts at 32, nBackfillAttempted at 128.
        if index.len() < 132 || log.len() < Self::HEADER || index[32..40] != log[16..24] {
            return 0;
        }
        let frames = u32::from_ne_bytes(index[128..132].try_into().unwrap()) as usize;
        match frames {
            0 => 0,
            _ => Self::HEADER + frames * (Self::FRAME_HEADER + self.page_bytes),
        }
    }
}

/// What a database says.
struct Contents {
    events: Vec<RunEvent>,
    /// Names of the files in the artifact store that it knows.
    artifacts: BTreeSet<String>,
}

impl Contents {
    /// Opens a copy as the program does, and reads it.
    fn of(files: &Files) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("orchestrator.sqlite");
        files.write(&path);
        let store = Store::open(&path).unwrap();
        let runs = wait(store.runs()).unwrap();
        let events = runs.first().map_or_else(Vec::new, |run| {
            wait(store.events(run.run_id, 0, 1_000_000)).unwrap()
        });
        let database = rusqlite::Connection::open(&path).unwrap();
        let answer: String = database
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(answer, "ok");
        let artifacts = database
            .prepare("SELECT hash || '.' || extension FROM artifacts")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        Self { events, artifacts }
    }

    fn placed(&self) -> BTreeSet<String> {
        let placed = self.events.iter().filter_map(|event| match &event.body {
            RunEventBody::AttemptPlaced { attempt_id, .. } => Some(attempt_id.to_string()),
            _ => None,
        });
        placed.collect()
    }

    /// The files that the log says were written.
    fn written(&self) -> BTreeSet<PathBuf> {
        let written = self.events.iter().filter_map(|event| match &event.body {
            RunEventBody::FilesWritten { paths, .. } => Some(paths),
            _ => None,
        });
        written.flatten().map(PathBuf::from).collect()
    }

    /// All it names is there, and is what it is called.
    fn check_files(&self, artifacts: &Path) {
        for name in &self.artifacts {
            let bytes = std::fs::read(artifacts.join(&name[..2]).join(name))
                .unwrap_or_else(|error| panic!("{name} is known, but {error}"));
            let hash = ContentHash::of(&bytes).to_string();
            assert!(name.starts_with(&hash), "{name} holds something else");
        }
        for event in &self.events {
            let body = serde_json::to_value(&event.body).unwrap();
            for name in artifacts_in(&body) {
                assert!(self.artifacts.contains(&name), "{name} was never noted");
            }
        }
        for path in self.written() {
            image::open(&path)
                .unwrap_or_else(|error| panic!("{} is written, but {error}", path.display()));
        }
    }
}

/// The names of the artifacts that a document describes.
fn artifacts_in(json: &serde_json::Value) -> Vec<String> {
    let inner = |values: &mut dyn Iterator<Item = &serde_json::Value>| {
        values.flat_map(artifacts_in).collect()
    };
    match json {
        serde_json::Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(|value| value.as_str());
            match (text("hash"), text("extension")) {
                (Some(hash), Some(extension)) => vec![format!("{hash}.{extension}")],
                _ => inner(&mut members.values()),
            }
        }
        serde_json::Value::Array(values) => inner(&mut values.iter()),
        _ => Vec::new(),
    }
}

/// What the power cuts came to.
#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    /// Cuts at which a transaction was not flushed yet.
    in_doubt: u64,
    /// Ways to lose something that were tried out.
    tries: u64,
    /// Events that were lost in those; nothing rested on them.
    lost_events: u64,
    /// Files that were lost or cut off.
    lost_files: u64,
    items: usize,
    posts: usize,
    files: usize,
    rounds: u64,
}

/// The disk of the orchestrator's machine at the instant of a power cut.
struct Cut<'a> {
    desk: &'a Desk,
    files: Files,
    frames: Frames,
    full: Contents,
    posted: BTreeSet<String>,
}

impl<'a> Cut<'a> {
    fn of(desk: &'a Desk, posted: BTreeSet<String>) -> Self {
        let files = Files::read(&database_path(&desk.data));
        let frames = Frames::of(&files.log);
        let full = Contents::of(&files);
        let unknown: Vec<_> = posted.difference(&full.placed()).cloned().collect();
        assert!(
            unknown.is_empty(),
            "POSTed before it was written: {unknown:?}"
        );
        Self {
            desk,
            files,
            frames,
            full,
            posted,
        }
    }

    /// How many bytes of the write-ahead log were flushed, at least.
    fn flushed(&self) -> usize {
        let last = self.frames.commits.last().copied().unwrap_or(0);
        let carried_over = self.frames.carried_over(&self.files.log, &self.files.index);
        let at_least = if self.frames.end() > last {
            // Another transaction was begun.
            last
        } else {
            let before = self.frames.commits.iter().rev().nth(1);
            before.copied().unwrap_or(0).max(carried_over)
        };
        // What a prompt was sent on was flushed before it was sent.
        let mut files = self.files.clone();
        files.log.truncate(at_least);
        if self.posted.is_subset(&Contents::of(&files).placed()) {
            at_least
        } else {
            last
        }
    }

    /// The database without some of what was not flushed.
    fn lose(&self, flushed: usize, random: &mut fastrand::Rng) -> Files {
        let mut left = self.files.clone();
        let cut = random.usize(flushed..=left.log.len());
        let noise = |length: usize, random: &mut fastrand::Rng| -> Vec<u8> {
            std::iter::repeat_with(|| random.u8(..))
                .take(length)
                .collect()
        };
        match random.u32(0..5) {
            0 => left.log.truncate(cut),
            1 => {
                left.log.truncate(cut);
                left.log.extend(noise(random.usize(1..20_000), random));
            }
            // The file has its length, but not its bytes.
            2 => left.log[cut..].fill(0),
            3 => {
                let late: Vec<&Frame> = self
                    .frames
                    .pages
                    .iter()
                    .filter(|frame| frame.begin >= flushed)
                    .collect();
                if let Some(frame) = random.choice(late) {
                    let lost = noise(frame.end - frame.begin, random);
                    left.log[frame.begin..frame.end].copy_from_slice(&lost);
                }
            }
            _ => {
                for _ in 0..20 {
                    if let Some(byte) = random.choice(&mut left.log[cut..]) {
                        *byte ^= 1 << random.u32(0..8);
                    }
                }
            }
        }
        // The index is never flushed.
        match random.u32(0..3) {
            0 => left.index.clear(),
            1 => left.index = noise(left.index.len(), random),
            _ => {}
        }
        // What a checkpoint writes is in the log still.
        let in_log: BTreeSet<usize> = self
            .frames
            .pages
            .iter()
            .filter(|frame| frame.end <= flushed && frame.page > 1)
            .map(|frame| frame.page)
            .collect();
        for page in in_log {
            let begin = (page - 1) * self.frames.page_bytes;
            let end = begin + self.frames.page_bytes;
            if random.u32(0..4) == 0 && end <= left.database.len() {
                let torn = random.usize(begin..end);
                let lost = noise(end - torn, random);
                left.database[torn..end].copy_from_slice(&lost);
            }
        }
        left
    }

    /// What is left must be a beginning of what was, with all that something rests on.
    fn check(&self, left: &Contents, at_least: &Contents) {
        assert!(left.events.len() >= at_least.events.len());
        assert_eq!(
            left.events[..],
            self.full.events[..left.events.len()],
            "what is left of the log is its beginning"
        );
        let unknown: Vec<_> = self.posted.difference(&left.placed()).cloned().collect();
        assert!(
            unknown.is_empty(),
            "the log forgot what was sent: {unknown:?}"
        );
        left.check_files(&self.desk.data.join("artifacts"));
    }
}

/// Takes from the folders what the log does not name: files whose name was not flushed, and those that were being written.
fn lose_files(desk: &Desk, left: &Contents, random: &mut fastrand::Rng) -> u64 {
    let artifacts = desk.data.join("artifacts");
    let written = left.written();
    let mut lost = 0;
    for path in files_below(&artifacts)
        .into_iter()
        .chain(files_below(&desk.out))
    {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if written.contains(&path) || left.artifacts.contains(&name) || random.bool() {
            continue;
        }
        let is_unfinished =
            name.starts_with(".writing-") || path.starts_with(artifacts.join("unfinished"));
        if is_unfinished && random.bool() {
            let length = std::fs::metadata(&path).unwrap().len();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len(random.u64(0..=length)).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        lost += 1;
    }
    lost
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files.sort();
    files
}

/// Whether the disk keeps what it said it had flushed.
#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Honest,
    /// It said so of all it had in its own memory.
    Lying,
}

/// Waits for an instant: any, or one at which the log is being written.
fn wait_for_instant(desk: &Desk, process: &mut Process, random: &mut fastrand::Rng) -> bool {
    let pause = Duration::from_millis(random.u64(0..LONGEST_PAUSE_MS));
    if wait_for_end(process, Instant::now() + pause).is_some() {
        return false;
    }
    let log = beside(&database_path(&desk.data), "-wal");
    let state = || {
        let metadata = std::fs::metadata(&log).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    let (begin, before) = (Instant::now(), state());
    let wants_writing = random.u32(0..4) > 0;
    while wants_writing && state() == before && begin.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_micros(50));
    }
    true
}

/// Plays one run to its end, with power cuts on the way.
fn play(
    desk: &Desk,
    servers: &[Server],
    most_cuts: u64,
    disk: Disk,
    random: &mut fastrand::Rng,
    tally: &mut Tally,
) {
    let posts_of =
        |servers: &[Server]| -> Vec<String> { servers.iter().flat_map(Server::posts).collect() };
    let earlier: BTreeSet<String> = posts_of(servers).into_iter().collect();
    let mut switch = Switch::new();
    let mut orchestrator = desk.start(servers);
    for _ in 0..most_cuts {
        if !wait_for_instant(desk, &mut orchestrator, random) || !switch.stop(&mut orchestrator) {
            break;
        }
        // What was sent before arrives.
        std::thread::sleep(Duration::from_millis(20));
        let posted = posts_of(servers)
            .into_iter()
            .filter(|id| !earlier.contains(id))
            .collect();
        tally.cuts += 1;
        let database = database_path(&desk.data);
        if !beside(&database, "-wal").exists() {
            // It has hardly begun.
            orchestrator.kill();
            orchestrator = desk.start(servers);
            continue;
        }
        let left = match disk {
            Disk::Honest => {
                let cut = Cut::of(desk, posted);
                let flushed = cut.flushed();
                if flushed < cut.frames.end() {
                    tally.in_doubt += 1;
                }
                let mut files = cut.files.clone();
                files.log.truncate(flushed);
                let at_least = Contents::of(&files);
                for _ in 0..TRIES_PER_CUT {
                    files = cut.lose(flushed, random);
                    let left = Contents::of(&files);
                    cut.check(&left, &at_least);
                    tally.tries += 1;
                    tally.lost_events += (cut.full.events.len() - left.events.len()) as u64;
                }
                files
            }
            Disk::Lying => {
                let mut files = Files::read(&database);
                let frames = Frames::of(&files.log);
                let carried_over = frames.carried_over(&files.log, &files.index);
                let cut = random.usize(carried_over..=files.log.len());
                let before = Contents::of(&files).events.len();
                files.log.truncate(cut);
                tally.lost_events += (before - Contents::of(&files).events.len()) as u64;
                files
            }
        };
        orchestrator.kill();
        left.write(&database);
        if disk == Disk::Honest {
            tally.lost_files += lose_files(desk, &Contents::of(&left), random);
        }
        orchestrator = desk.start(servers);
    }
    let status = wait_for_end(&mut orchestrator, Instant::now() + PATIENCE);
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}: {}",
        desk.last_words()
    );
    let view = RunView::of(&desk.events());
    assert_eq!(
        view.state,
        Some(RunState::Completed),
        "{}",
        desk.last_words()
    );
    if disk == Disk::Honest {
        let of_run: BTreeSet<String> = posts_of(servers)
            .into_iter()
            .filter(|id| !earlier.contains(id))
            .collect();
        let left = Contents::of(&Files::read(&database_path(&desk.data)));
        assert!(
            of_run.is_subset(&left.placed()),
            "a prompt is not in the log"
        );
        left.check_files(&desk.data.join("artifacts"));
        let (items, posts) = check_log(desk, servers, &earlier, Ends::AtLeastOnce);
        tally.items += items;
        tally.posts += posts;
    }
    check_database(desk);
}

fn cut_power(wanted: u64, disk: Disk, seed: u64) -> Tally {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut workplace = Workplace {
        folder: Some(TempDir::new().unwrap()),
        run: None,
        posts_files: Vec::new(),
    };
    let folder = workplace.path().to_path_buf();
    let servers: Vec<Server> = [4, 8, 16]
        .into_iter()
        .enumerate()
        .map(|(number, delay_ms)| {
            let folder = folder.join(format!("server-{number}"));
            Server::new(folder, delay_ms)
        })
        .collect();
    workplace.posts_files = servers.iter().map(Server::posts_file).collect();
    let quiet = [Server::new(folder.join("quiet"), 0)];
    let mut tally = Tally::default();
    while tally.cuts < wanted {
        tally.rounds += 1;
        let at = |name: &str| folder.join(format!("{name}-{}", tally.rounds));
        let first_seed = 1000 * tally.rounds;
        let desk = Desk::new(&at("run"), first_seed);
        let reference = Desk::new(&at("reference"), first_seed);
        workplace.run = Some(desk.clone());
        let most = (wanted - tally.cuts).min(random.u64(1..=CUTS_PER_RUN));
        play(&desk, &servers, most, disk, &mut random, &mut tally);
        // The same run, left alone.
        let mut alone = reference.start(&quiet);
        let status = wait_for_end(&mut alone, Instant::now() + PATIENCE);
        assert!(status.is_some_and(|status| status.success()));
        let (found, expected) = (pictures(&desk.out), pictures(&reference.out));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "seed {seed}, run {}",
            tally.rounds
        );
        for (name, pixels) in &found {
            assert!(*pixels == expected[name], "{name} differs");
        }
        tally.files += found.len();
        for desk in [desk, reference] {
            std::fs::remove_dir_all(&desk.folder).unwrap();
        }
    }
    tally
}

#[test]
fn a_power_cut_takes_nothing_that_something_rests_on() {
    let begin = Instant::now();
    let seed = number_of("CUTS_SEED", 1);
    let tally = cut_power(number_of("CUTS", CUTS), Disk::Honest, seed);
    println!(
        "{} power cuts ({} with a transaction in doubt) in {} runs, {} ways to lose something: {} events and {} files lost \
         on which nothing rested; {} items, {} prompts, {} files, nothing missing, nothing doubled; {} s (seed {seed})",
        tally.cuts,
        tally.in_doubt,
        tally.rounds,
        tally.tries,
        tally.lost_events,
        tally.lost_files,
        tally.items,
        tally.posts,
        tally.files,
        begin.elapsed().as_secs(),
    );
}

/// A disk that says "flushed" of what is in its own memory can forget prompts that were sent. They are sent again then, under
/// the same ids, but nothing is missing and nothing doubled in the end.
#[test]
fn a_disk_that_lied_costs_work_but_no_results() {
    let begin = Instant::now();
    let seed = number_of("CUTS_SEED", 1);
    let tally = cut_power(number_of("CUTS", CUTS), Disk::Lying, seed);
    println!(
        "{} power cuts with a lying disk in {} runs: {} events lost, {} files, nothing missing, nothing doubled; {} s \
         (seed {seed})",
        tally.cuts,
        tally.rounds,
        tally.lost_events,
        tally.files,
        begin.elapsed().as_secs(),
    );
}

/// A flush of a file or folder, by the lines at which it began and ended.
struct Flush {
    path: String,
    begin: usize,
    end: usize,
}

/// What a trace of system calls says.
#[derive(Default)]
struct Trace {
    flushes: Vec<Flush>,
    /// Writes to the write-ahead log: the line at which each ended, and what it wrote.
    logged: Vec<(usize, String)>,
    /// Requests with prompts, by the lines at which they began.
    posts: Vec<(usize, String)>,
    /// Files that got their name: the line, what they were called before, and their new path.
    named: Vec<(usize, String, String)>,
}

impl Trace {
    fn read(text: &str) -> Self {
        let mut trace = Self::default();
        let mut begun: BTreeMap<&str, (usize, String)> = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let Some((thread, call)) = line.split_once(' ') else {
                continue;
            };
            let call = call.trim_start();
            if let Some(call) = call.strip_suffix("<unfinished ...>") {
                begun.insert(thread, (number, call.to_owned()));
                // A request counts from where it begins.
                continue;
            }
            let (begin, call) = match call.strip_prefix("<... ") {
                Some(rest) => match begun.remove(thread) {
                    Some((begin, call)) => (begin, call + rest),
                    None => continue,
                },
                None => (number, call.to_owned()),
            };
            trace.note(begin, number, &call);
        }
        trace
    }

    fn note(&mut self, begin: usize, end: usize, call: &str) {
        let of_descriptor = call
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
            .map_or("", |(path, _)| path);
        let texts: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
        if call.starts_with("fsync") || call.starts_with("fdatasync") {
            assert!(call.trim_end().ends_with("= 0"), "{call}");
            self.flushes.push(Flush {
                path: of_descriptor.to_owned(),
                begin,
                end,
            });
        } else if call.starts_with("pwrite64") && of_descriptor.ends_with("-wal") {
            self.logged.push((end, call.to_owned()));
        } else if call.contains("POST /prompt") {
            self.posts.push((begin, call.to_owned()));
        } else if (call.starts_with("rename") || call.starts_with("link"))
            && let [before, after] = texts[..]
        {
            self.named.push((end, before.to_owned(), after.to_owned()));
        }
    }

    /// The line at which the log first said something.
    fn first_said(&self, what: &str) -> usize {
        let found = self.logged.iter().find(|(_, bytes)| bytes.contains(what));
        found
            .unwrap_or_else(|| panic!("{what} is not in the log"))
            .0
    }

    fn is_flushed(&self, is_it: impl Fn(&str) -> bool, after: usize, before: usize) -> bool {
        self.flushes
            .iter()
            .any(|flush| is_it(&flush.path) && flush.begin > after && flush.end < before)
    }

    /// The bytes of a file, then its name, were flushed before the log named it.
    fn check_file(&self, path: &Path, said: &str) {
        let path = path.to_str().unwrap();
        let folder = path.rsplit_once('/').unwrap().0;
        let said = self.first_said(said);
        let named = self.named.iter().find(|(_, _, after)| after == path);
        let (line, before, _) = named.unwrap_or_else(|| panic!("{path} was given no name"));
        assert!(
            self.is_flushed(|flushed| flushed == before, 0, *line),
            "{path} got its name before its bytes were flushed"
        );
        assert!(
            self.is_flushed(|flushed| flushed == folder, *line, said),
            "the log named {path} before its name was flushed"
        );
    }
}

#[test]
fn each_flush_comes_before_what_rests_on_it() {
    let folder = TempDir::new().unwrap();
    let traced = folder.path().join("trace.txt");
    let server = Server::new(folder.path().join("server"), 0);
    let desk = Desk::new(&folder.path().join("run"), 1);
    let plain = command(&desk.data);
    let ran = Command::new("strace")
        .args(["-f", "-y", "-s", "40000"])
        .args(["-e", "trace=fsync,fdatasync,pwrite64,write,writev,sendto,sendmsg,rename,renameat,renameat2,link,linkat"])
        .arg("-o")
        .arg(&traced)
        .arg(plain.get_program())
        .args(plain.get_args())
        .args(["run", &desk.project, "--backend", &server.url(), "--out"])
        .arg(&desk.out)
        .stdin(Stdio::null())
        .output();
    let is_traced = ran.as_ref().is_ok_and(|ran| ran.status.success());
    if !is_traced && desk.run().is_none() {
        println!("skipped: strace is not there, or may not trace");
        return;
    }
    assert!(is_traced, "{ran:?}");
    let trace = Trace::read(&std::fs::read_to_string(&traced).unwrap());
    let contents = Contents::of(&Files::read(&database_path(&desk.data)));
    let is_log = |path: &str| path.ends_with("orchestrator.sqlite-wal");
    let placed = contents.placed();
    for attempt_id in &placed {
        let written = trace.first_said(attempt_id);
        let sent = trace
            .posts
            .iter()
            .find(|(_, call)| call.contains(attempt_id));
        let (sent, _) = sent.unwrap_or_else(|| panic!("{attempt_id} was not seen to be sent"));
        assert!(
            trace.is_flushed(is_log, written, *sent),
            "{attempt_id} was sent before the log was flushed"
        );
    }
    for name in &contents.artifacts {
        let path = desk.data.join("artifacts").join(&name[..2]).join(name);
        trace.check_file(&path, &name[..64]);
    }
    let written = contents.written();
    for path in &written {
        trace.check_file(path, path.file_name().unwrap().to_str().unwrap());
    }
    println!(
        "{} prompts, {} artifacts and {} written files: each flushed before what rests on it ({} flushes)",
        placed.len(),
        contents.artifacts.len(),
        written.len(),
        trace.flushes.len()
    );
}
