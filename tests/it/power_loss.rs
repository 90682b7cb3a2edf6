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

mod files;
mod flushes;

use crate::processes::{
    Desk, Ends, PATIENCE, Process, Server, Workplace, check_database, check_log, number_of,
    pictures, wait_for_end,
};
use comfyui_orchestrator::engine::{RunState, RunView, database_path};
use files::{Contents, Files, Frame, Frames, beside};
use std::collections::BTreeSet;
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
