//! Disks that are full, folders that cannot be written, databases that are locked or damaged: the run stops safely, says so,
//! and goes on when it is mended. Each is provoked for real.

use crate::command_line::{BuiltinProcess, command, refuses, run, run_project, stderr, stdout};
use crate::small_projects::numbered;
use crate::whole_runs::{
    PATIENCE, assert_posted_once, begin, files_below, next, start_engine, start_server,
};
use comfyui_orchestrator::engine::{
    EngineEvent, FailureClass, ItemId, ItemState, ResumePolicy, RunCommand, RunEvent, RunEventBody,
    RunState, RunView, RunWish, database_path,
};
use comfyui_orchestrator::project::{NodeKind, Project, RetryPolicy, write_portable_form};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn pictures(count: u32, seconds: f64) -> Project {
    let prompt = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": seconds, "steps": 4, "seed": 1, "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "p"}},
    });
    numbered(&prompt, ("1", "color"), count, RetryPolicy::default())
}

fn written(folder: &Path, project: &Project) -> String {
    let path = folder.join("pictures.orchestrator.json");
    std::fs::write(&path, write_portable_form(project).unwrap()).unwrap();
    path.to_string_lossy().into_owned()
}

/// Another program holds the database's lock for longer than anybody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_stops_the_run_until_it_is_let_go() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let engine = start_engine(folder.path(), &[&server], ResumePolicy::Leave).await;
    let (_, mut events) = begin(&engine, folder.path(), pictures(6, 1.0));
    let database = database_path(&folder.path().join("data"));
    let mut lock: Option<rusqlite::Connection> = None;
    let (mut view, mut log) = (RunView::default(), Vec::new());
    let mut trouble = String::new();
    let begun = Instant::now();
    while !view.state.is_some_and(RunState::is_ended) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", view.counts);
        match next(&mut events).await {
            EngineEvent::Run(event) => {
                view.apply(&event);
                log.push(event);
                if view.files_written == 1 && trouble.is_empty() && lock.is_none() {
                    let connection = rusqlite::Connection::open(&database).unwrap();
                    connection
                        .busy_timeout(std::time::Duration::from_secs(10))
                        .unwrap();
                    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                    lock = Some(connection);
                }
            }
            EngineEvent::Trouble(failure) => {
                trouble = failure.message;
                // The other program lets go.
                lock = None;
            }
            _ => {}
        }
    }
    assert!(trouble.contains("locked by another program"), "{trouble}");
    assert_eq!(view.state, Some(RunState::Completed));
    assert_eq!(files_below(&folder.path().join("out")).len(), 6);
    assert_posted_once(&log, &[&server.handle]);
    engine.stop().await;
}

/// A process that may not write files larger than this: the database, by far the largest file here, cannot grow, and writes to it
/// fail in the middle.
#[cfg(unix)]
#[test]
fn a_database_that_cannot_grow_stops_the_run_safely_and_it_goes_on_when_it_can() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    // The database in its newest format, before the disk is full.
    assert!(run(&data, &["runs", "list"]).status.success());
    let project = written(folder.path(), &pictures(40, 0.0));
    let out = folder.path().join("out");
    let plain = command(&data);
    let line = format!(
        "trap '' XFSZ; ulimit -f 300; exec '{}' --data-dir '{}' run '{project}' --backend {} --out '{}'",
        plain.get_program().to_string_lossy(),
        data.display(),
        server.url,
        out.display(),
    );
    let full = Command::new("bash").args(["-c", &line]).output().unwrap();
    refuses(&full, &["stopped safely"]);
    let made = files_below(&out).len();
    assert!(made < 40, "it never was full");
    let resumed = run(&data, &["runs", "resume", "last"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let events = stdout(&run(&data, &["runs", "show", "last", "--json"]));
    assert!(events.contains("\"event\":\"item_done\""), "{events}");
    assert!(!events.contains("\"event\":\"item_failed\""), "{events}");
    let files = files_below(&out);
    assert_eq!(
        files.len(),
        40,
        "nothing is missing, nothing is there twice: {files:?}"
    );
}

/// A folder in which nobody, not even an administrator, can make a file.
#[cfg(target_os = "linux")]
const LOCKED: &str = "/sys";

/// A folder that can be exchanged for one in which nobody can write, from one moment to the next.
#[cfg(target_os = "linux")]
struct Door {
    folder: PathBuf,
    room: PathBuf,
}

#[cfg(target_os = "linux")]
impl Door {
    fn build(folder: &Path) -> Self {
        let room = folder.with_extension("room");
        std::fs::create_dir_all(&room).unwrap();
        let door = Self {
            folder: folder.to_path_buf(),
            room,
        };
        door.lead_to(&door.room);
        door
    }

    fn lead_to(&self, place: &Path) {
        let next = self.folder.with_extension("next");
        std::os::unix::fs::symlink(place, &next).unwrap();
        std::fs::rename(&next, &self.folder).unwrap();
    }

    fn lock(&self) {
        self.lead_to(Path::new(LOCKED));
    }

    fn open(&self) {
        self.lead_to(&self.room);
    }
}

/// A disk of the test's own that somebody else fills and empties again.
#[cfg(target_os = "linux")]
struct SmallDisk {
    folder: PathBuf,
}

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// None where nobody lets us mount one.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder)
            .stderr(std::process::Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            println!("skipped: no small disk can be mounted without privileges");
            return None;
        }
        Some(Self {
            folder: folder.to_path_buf(),
        })
    }

    fn others(&self) -> PathBuf {
        self.folder.join("of-somebody-else")
    }

    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.others()).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.others()).unwrap();
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// A place where results or outputs are written, and what can befall it.
#[cfg(target_os = "linux")]
enum Site {
    Behind(Door),
    On(SmallDisk),
}

#[cfg(target_os = "linux")]
impl Site {
    fn hinder(&self) {
        match self {
            Self::Behind(door) => door.lock(),
            Self::On(disk) => disk.fill(),
        }
    }

    fn mend(&self) {
        match self {
            Self::Behind(door) => door.open(),
            Self::On(disk) => disk.empty(),
        }
    }

    /// What is wrong with it, in the words that a person reads.
    fn words(&self) -> &'static str {
        match self {
            Self::Behind(_) => "permission",
            Self::On(_) => "full",
        }
    }
}

/// What is done while a folder takes nothing.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    Mend,
    Cancel,
}

/// A run of twelve items during which a folder takes nothing for some seconds. Gives how it ended, and how many prompts had
/// been POSTed by then.
#[cfg(target_os = "linux")]
async fn run_with_a_locked(place: &str, meanwhile: Meanwhile) -> (RunState, usize) {
    let folder = TempDir::new().unwrap();
    let site = Site::Behind(Door::build(&folder.path().join(place)));
    run_hindered(folder.path(), &site, place, meanwhile).await
}

#[cfg(target_os = "linux")]
async fn run_hindered(
    folder: &Path,
    site: &Site,
    place: &str,
    meanwhile: Meanwhile,
) -> (RunState, usize) {
    let server = start_server(folder, "a", 0, None).await;
    let engine = start_engine(folder, &[&server], ResumePolicy::Leave).await;
    let (run_id, mut events) = begin(&engine, folder, pictures(12, 0.6));
    let (mut view, mut log) = (RunView::default(), Vec::new());
    let mut troubles = Vec::new();
    let begun = Instant::now();
    while !view.state.is_some_and(RunState::is_ended) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", view.counts);
        match next(&mut events).await {
            EngineEvent::Run(event) => {
                view.apply(&event);
                log.push(event);
                if view.files_written == 1 && troubles.is_empty() {
                    site.hinder();
                }
            }
            EngineEvent::Trouble(failure) => {
                assert_eq!(failure.class, FailureClass::Disk);
                let words = failure.message.to_lowercase();
                assert!(words.contains(site.words()), "{failure:?}");
                troubles.push(failure.message);
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                let posted = server.handle.posts_by_prompt_id().len();
                tokio::time::sleep(std::time::Duration::from_secs(4)).await;
                if place.contains("artifacts") {
                    let later = server.handle.posts_by_prompt_id().len();
                    assert_eq!(later, posted, "nothing is sent that could not be kept");
                    assert!(posted < 12);
                }
                match meanwhile {
                    Meanwhile::Mend => site.mend(),
                    Meanwhile::Cancel => engine
                        .handle
                        .send(RunCommand::wish(run_id, RunWish::Cancel))
                        .unwrap(),
                }
            }
            _ => {}
        }
    }
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    let state = view.state.unwrap();
    let posted = server.handle.posts_by_prompt_id().len();
    if meanwhile == Meanwhile::Cancel {
        // It can go on later, and says again what it waits for where it waits again.
        let mut is_mended = place != "out";
        if is_mended {
            site.mend();
        }
        let resume = RunCommand::wish(run_id, RunWish::Resume);
        engine.handle.send(resume).unwrap();
        while view.state != Some(RunState::Completed) {
            match next(&mut events).await {
                EngineEvent::Run(event) => {
                    view.apply(&event);
                    log.push(event);
                }
                EngineEvent::Trouble(failure) => {
                    assert!(!is_mended, "{failure:?}");
                    is_mended = true;
                    site.mend();
                }
                _ => {}
            }
        }
        assert!(is_mended, "it said nothing");
    }
    assert_posted_once(&log, &[&server.handle]);
    let failed = |event: &RunEvent| matches!(event.body, RunEventBody::ItemFailed { .. });
    assert!(!log.iter().any(failed), "{log:#?}");
    assert_eq!(files_below(&folder.join("out")).len(), 12, "{log:#?}");
    engine.stop().await;
    (state, posted)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_results_folder_that_takes_nothing_stops_the_run_until_it_does() {
    let ended = run_with_a_locked("data/artifacts/unfinished", Meanwhile::Mend).await;
    assert_eq!(ended, (RunState::Completed, 12), "nothing was made twice");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_folder_that_takes_nothing_is_waited_for() {
    let ended = run_with_a_locked("out", Meanwhile::Mend).await;
    assert_eq!(ended, (RunState::Completed, 12), "nothing was made twice");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_of_somebody_else_s_files_is_waited_for() {
    for place in ["data/artifacts", "out"] {
        let folder = TempDir::new().unwrap();
        let Some(disk) = SmallDisk::mount(&folder.path().join(place)) else {
            return;
        };
        let site = Site::On(disk);
        let ended = run_hindered(folder.path(), &site, place, Meanwhile::Mend).await;
        assert_eq!(ended, (RunState::Completed, 12), "nothing was made twice");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_for_a_disk_can_be_cancelled_and_go_on_later() {
    for place in ["data/artifacts/unfinished", "out"] {
        let (state, _) = run_with_a_locked(place, Meanwhile::Cancel).await;
        assert_eq!(state, RunState::Cancelled, "{place}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_folder_keeps_no_other_run_waiting_and_can_be_called_off() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let engine = start_engine(folder.path(), &[&server], ResumePolicy::Leave).await;
    let project = pictures(8, 0.0);
    let mut nodes = project.nodes.values();
    let output = nodes.find(|node| matches!(node.kind, NodeKind::Output(_)));
    let output = output.unwrap().id;
    let (stuck_id, mut events) = begin(&engine, Path::new(LOCKED), project);
    let (mut stuck, mut free) = (RunView::default(), RunView::default());
    let waiting = |view: &RunView| -> Vec<ItemId> {
        let items = view.items.iter();
        let waiting =
            items.filter(|(_, item)| item.node_id == output && item.state == ItemState::Running);
        waiting.map(|(item_id, _)| *item_id).collect()
    };
    let mut free_id = None;
    let mut has_been_cancelled = false;
    let begun = Instant::now();
    while !stuck.state.is_some_and(RunState::is_ended) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", stuck.counts);
        match next(&mut events).await {
            EngineEvent::Run(event) if event.run_id == stuck_id => stuck.apply(&event),
            EngineEvent::Run(event) => free.apply(&event),
            _ => {}
        }
        if free_id.is_none() && waiting(&stuck).len() >= 4 {
            free_id = Some(begin(&engine, folder.path(), pictures(5, 0.0)).0);
        }
        let wish = |wish| {
            engine
                .handle
                .send(RunCommand::wish(stuck_id, wish))
                .unwrap();
        };
        if free.state == Some(RunState::Completed) && !has_been_cancelled {
            has_been_cancelled = true;
            let waiting = waiting(&stuck);
            // Enough of a node wait before no more of it is begun.
            assert!((4..8).contains(&waiting.len()), "{waiting:?}");
            wish(RunWish::CancelItem(waiting[0]));
        }
        if stuck.counts.get(ItemState::Cancelled) == 1 {
            wish(RunWish::CancelNode(output));
        }
    }
    assert_eq!(files_below(&folder.path().join("out")).len(), 5);
    assert_eq!(stuck.counts.get(ItemState::Cancelled), 8);
    engine.stop().await;
}

/// Says that a test runs where it may mount disks.
#[cfg(target_os = "linux")]
const MAY_MOUNT: &str = "COMFYUI_ORCHESTRATOR_TEST_MAY_MOUNT";

#[cfg(target_os = "linux")]
#[test]
fn a_result_for_which_there_is_no_room_is_told_once_and_holds_back_what_comes_after_it() {
    if std::env::var_os(MAY_MOUNT).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(run_on_a_small_disk());
    }
    // A world of mounts of its own, where an ordinary user has the rights of an administrator.
    let may_mount = Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !may_mount {
        println!("skipped: no disk can be mounted here");
        return;
    }
    let ran = Command::new("unshare")
        .arg("-rm")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("broken_disks::a_result_for_which_there_is_no_room_is_told_once_and_holds_back_what_comes_after_it")
        .env(MAY_MOUNT, "yes")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}{}", stdout(&ran), stderr(&ran));
    assert!(stdout(&ran).contains("1 passed"), "{}", stdout(&ran));
}

/// Six pictures, of which not one has room at first, although a little has.
#[cfg(target_os = "linux")]
async fn run_on_a_small_disk() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let results = folder.path().join("data/artifacts");
    std::fs::create_dir_all(&results).unwrap();
    let mount = |options: &str| {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(&results)
            .status();
        assert!(mounted.unwrap().success());
    };
    mount("size=300k");
    let prompt = json!({
        "1": {"class_type": "OrchestratorPicture", "inputs": {"seed": 0, "text": "rain", "width": 768, "height": 768, "steps": 1, "style": "silk", "detail": 1.0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "p"}},
    });
    let project = numbered(&prompt, ("1", "seed"), 6, RetryPolicy::default());
    let engine = start_engine(folder.path(), &[&server], ResumePolicy::Leave).await;
    let (_, mut events) = begin(&engine, folder.path(), project);
    let (mut view, mut log, mut troubles) = (RunView::default(), Vec::new(), Vec::new());
    let mut posted_when_refused = 0;
    let mut refused: Option<Instant> = None;
    let begun = Instant::now();
    while !view.state.is_some_and(RunState::is_ended) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", view.counts);
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(200), events.recv()).await {
            match event.unwrap() {
                EngineEvent::Run(event) => {
                    view.apply(&event);
                    log.push(event);
                }
                EngineEvent::Trouble(failure) => {
                    troubles.push(failure.message);
                    refused.get_or_insert_with(Instant::now);
                }
                _ => {}
            }
        }
        let since = refused.map_or(Duration::ZERO, |since| since.elapsed());
        let posted = server.handle.posts_by_prompt_id().len();
        if since > Duration::from_secs(1) && posted_when_refused == 0 {
            posted_when_refused = posted;
        }
        if since > Duration::from_secs(8) {
            assert_eq!(
                posted, posted_when_refused,
                "nothing is sent that could not be kept"
            );
            assert!(posted < 6 && view.files_written == 0);
            refused = None;
            mount("remount,size=50m");
        }
    }
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(troubles[0].contains("full"), "{troubles:?}");
    assert_eq!(view.state, Some(RunState::Completed));
    assert_eq!(files_below(&folder.path().join("out")).len(), 6);
    assert_posted_once(&log, &[&server.handle]);
    engine.stop().await;
    let unmounted = Command::new("umount").arg(&results).status();
    assert!(unmounted.unwrap().success());
}

#[test]
fn an_output_folder_of_a_wrong_name_fails_its_items_until_it_is_right() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let project = written(folder.path(), &pictures(2, 0.0));
    // A file where the folder should be: not even an administrator can write into it.
    let out = folder.path().join("out");
    std::fs::write(&out, "in the way").unwrap();
    let ran = run_project(&data, &project, &server.url, &out, &[]);
    refuses(&ran, &["a file lies where a folder is needed"]);
    std::fs::remove_file(&out).unwrap();
    let retried = run(&data, &["runs", "retry", "last"]);
    assert!(retried.status.success(), "{}", stderr(&retried));
    assert_eq!(files_below(&out).len(), 2);
}

#[test]
fn a_damaged_database_is_refused_and_left_and_the_run_goes_on_with_the_backup() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let project = written(folder.path(), &pictures(2, 0.0));
    let out = folder.path().join("out");
    let ran = run_project(&data, &project, &server.url, &out, &[]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let database = database_path(&data);
    let backup = std::fs::read(&database).unwrap();
    let mut damaged = backup.clone();
    for byte in damaged.iter_mut().skip(30).take(4000) {
        *byte ^= 0x5A;
    }
    std::fs::write(&database, &damaged).unwrap();
    refuses(
        &run(&data, &["runs", "list"]),
        &["damaged", "left as it is"],
    );
    assert_eq!(std::fs::read(&database).unwrap(), damaged, "untouched");
    std::fs::write(&database, backup).unwrap();
    let listed = run(&data, &["runs", "list"]);
    assert!(listed.status.success(), "{}", stderr(&listed));
    let again = run_project(&data, &project, &server.url, &out, &[]);
    assert!(again.status.success(), "{}", stderr(&again));
}
