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

use crate::processes::{
    Desk, Ends, PATIENCE, Server, Workplace, check_database, check_log, number_of, pictures,
    wait_for_end,
};
use comfyui_orchestrator::engine::RunState;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Kills of the short test.
const KILLS: u64 = 8;
/// Most kills of one run: one item that dies with its server again and again is rightly given up.
const KILLS_PER_RUN: u64 = 8;
/// Longest pause between two kills, in milliseconds: about as long as a run that is left alone.
const LONGEST_PAUSE_MS: u64 = 1_500;
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

#[test]
fn killed_at_any_instant_nothing_is_lost_and_nothing_is_made_twice() {
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
            Server::new(folder, delay_ms)
        })
        .collect();
    workplace.posts_files = servers.iter().map(Server::posts_file).collect();
    let quiet = [Server::new(folder.join("quiet"), 0)];
    let mut kills = Kills::default();
    let (mut rounds, mut items, mut posts, mut files) = (0, 0, 0, 0);
    while kills.total() < wanted {
        rounds += 1;
        let first_seed = 1000 * rounds;
        let at = |name: &str| folder.join(format!("{name}-{rounds}"));
        let desk = Desk::new(&at("run"), first_seed);
        workplace.run = Some(desk.clone());
        let given_up = kills.given_up;
        let earlier: BTreeSet<String> = servers.iter().flat_map(Server::posts).collect();
        let most = (wanted - kills.total()).min(random.u64(1..=KILLS_PER_RUN));
        play(&desk, &mut servers, most, &mut random, &mut kills);
        let tried_again = kills.given_up > given_up;
        let ends = if tried_again {
            Ends::AtLeastOnce
        } else {
            Ends::Once
        };
        let of_run = check_log(&desk, &servers, &earlier, ends);
        items += of_run.0;
        posts += of_run.1;
        check_database(&desk);
        // The same run, left alone.
        let reference = Desk::new(&at("reference"), first_seed);
        let mut alone = reference.start(&quiet);
        let status = wait_for_end(&mut alone, Instant::now() + PATIENCE);
        assert!(status.is_some_and(|status| status.success()));
        let (mut found, expected) = (pictures(&desk.out), pictures(&reference.out));
        if tried_again {
            // What was written while an item was missing (a sheet without it, outputs counted without it) stays.
            found.retain(|name, _| expected.contains_key(name));
        }
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "seed {seed}, run {rounds}"
        );
        for (name, pixels) in &found {
            let is_sheet_of_fewer = tried_again && name.contains("contact sheet");
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
