//! What is kept, for how long, and how it goes: by the command line and by the database's own counts.

use crate::command_line::{refuses, run, run_project, stderr, stdout};
use crate::small_projects::numbered;
use crate::whole_runs::{BuiltinServer, begin, files_below, next, start_engine, start_server};
use comfyui_orchestrator::artifacts::{
    Artifact, ArtifactError, ArtifactStore, ContentHash, Measures,
};
use comfyui_orchestrator::engine::{
    AttemptId, EngineEvent, IndexPath, ItemId, ResultSource, ResumePolicy, RunEvent, RunEventBody,
    RunFolders, RunId, RunState, RunView, Value, database_path, remove_left_files,
};
use comfyui_orchestrator::project::{
    DataType, NodeId, PortId, Project, ProjectId, RetryPolicy, write_portable_form,
};
use comfyui_orchestrator::store::{NewRun, Store, outlook_setting, wait};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

fn pictures(count: u32, seconds: f64) -> Project {
    let prompt = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": seconds, "steps": 1, "seed": 1, "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "p"}},
    });
    numbered(&prompt, ("1", "color"), count, RetryPolicy::default())
}

struct Place {
    root: PathBuf,
    data: PathBuf,
}

impl Place {
    fn of(folder: &TempDir) -> Self {
        Self {
            root: folder.path().to_path_buf(),
            data: folder.path().join("data"),
        }
    }

    fn tell(&self, arguments: &[&str]) -> String {
        let told = run(&self.data, arguments);
        assert!(told.status.success(), "{arguments:?}: {}", stderr(&told));
        stdout(&told)
    }

    fn make(&self, project: &Project, server: &BuiltinServer, out: &str) {
        let path = self.root.join(format!("{out}.orchestrator.json"));
        std::fs::write(&path, write_portable_form(project).unwrap()).unwrap();
        let url = format!("http://{}", server.address);
        let (path, out) = (path.to_string_lossy(), self.root.join(out));
        let made = run_project(&self.data, &path, &url, &out, &[]);
        assert!(made.status.success(), "{}", stderr(&made));
    }

    fn kept_files(&self) -> usize {
        files_below(&self.data.join("artifacts")).len()
    }

    /// The ids of the runs, newest first.
    fn runs(&self) -> Vec<String> {
        let store = Store::open(&database_path(&self.data)).unwrap();
        let runs = wait(store.runs()).unwrap();
        runs.iter().map(|run| run.run_id.to_string()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_stay_as_long_as_something_names_them() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let place = Place::of(&folder);
    tokio::task::spawn_blocking(move || {
        let five = pictures(5, 0.0);
        place.make(&pictures(3, 0.0), &a, "three");
        place.make(&five, &a, "five");
        assert_eq!(a.handle.posts_by_prompt_id().len(), 5);
        assert_eq!(place.kept_files(), 5);
        let [second, first] = &place.runs()[..] else {
            panic!("{:?}", place.runs());
        };

        // Kept results alone keep files, too.
        let told = place.tell(&["runs", "forget", first, second, first, "--yes"]);
        assert!(told.contains("2 runs forgotten, 0 files removed"), "{told}");
        assert_eq!(place.runs(), Vec::<String>::new());
        place.make(&five, &a, "again");
        assert_eq!(a.handle.posts_by_prompt_id().len(), 5, "nothing made twice");

        // Without results the run keeps them.
        let told = place.tell(&["cache", "prune", "--max-size", "0"]);
        assert!(told.contains("5 results forgotten, 0 files"), "{told}");
        let told = place.tell(&["cache", "stats"]);
        assert!(
            told.starts_with("0 results, 0 bytes of files. The results folder has 5 files,"),
            "{told}"
        );
        let told = place.tell(&["runs", "forget", "--older-than", "3", "--yes"]);
        assert!(told.contains("nothing is forgotten"), "{told}");

        // Nobody is asked where nobody sits, and nothing goes without a word.
        refuses(&run(&place.data, &["runs", "forget", "last"]), &["--yes"]);
        assert_eq!(place.kept_files(), 5);
        // The last picture of the workflow stays for the library.
        let told = place.tell(&["runs", "forget", "--older-than", "0", "--yes"]);
        assert!(told.contains("1 runs forgotten, 4 files removed"), "{told}");
        assert_eq!(place.kept_files(), 1);
        assert_eq!(files_below(&place.root.join("five")).len(), 5, "delivered");

        // The limit holds for the disk, as far as the history lets it.
        place.make(&five, &a, "more");
        place.tell(&["runs", "forget", "last", "--yes"]);
        assert_eq!(place.kept_files(), 5);
        place.tell(&["cache", "limit", "1"]);
        // Any start of an engine brings it down to that; this run then names one.
        place.make(&pictures(1, 0.0), &a, "one");
        assert!(place.kept_files() <= 2, "{}", place.kept_files());
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_a_program_has_open_is_not_forgotten() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let place = Place::of(&folder);
    let engine = start_engine(folder.path(), &[&a], ResumePolicy::Leave).await;
    let (run_id, mut events) = begin(&engine, folder.path(), pictures(3, 0.5));
    let mut view = RunView::default();
    while view.files_written == 0 {
        if let EngineEvent::Run(event) = next(&mut events).await {
            view.apply(&event);
        }
    }
    let kept = place.kept_files();
    let place = tokio::task::spawn_blocking(move || {
        let id = run_id.to_string();
        let told = run(&place.data, &["runs", "forget", &id, "--yes"]);
        refuses(&told, &["a program that is open has it"]);
        place
    })
    .await
    .unwrap();
    while !view.state.is_some_and(RunState::is_ended) {
        if let EngineEvent::Run(event) = next(&mut events).await {
            view.apply(&event);
        }
    }
    assert_eq!(view.files_written, 3);
    assert!(place.kept_files() >= kept);
    engine.stop().await;
    let told = tokio::task::spawn_blocking(move || {
        place.tell(&["runs", "forget", &run_id.to_string(), "--yes"])
    })
    .await
    .unwrap();
    assert!(told.contains("1 runs forgotten"), "{told}");
}

fn artifact(content: &[u8]) -> Artifact {
    Artifact {
        hash: ContentHash::of(content),
        data_type: DataType::File,
        extension: "bin".to_owned(),
        byte_len: content.len() as u64,
        measures: Measures::default(),
        origin: None,
    }
}

/// Removes what nothing names, and gives it.
pub fn unused(store: &Store) -> Vec<ContentHash> {
    unused_before(store, u64::MAX)
}

fn unused_before(store: &Store, before_ms: u64) -> Vec<ContentHash> {
    let (sender, gone) = std::sync::mpsc::channel();
    wait(store.remove_unused_artifacts(before_ms, move |artifact| {
        sender.send(artifact.hash).unwrap();
        Ok(true)
    }))
    .unwrap();
    gone.iter().collect()
}

/// A run whose one item gave a file.
fn store_run(store: &Store, given: &Artifact) -> RunId {
    let run_id = RunId::new_now();
    let new_run = NewRun {
        run_id,
        project_id: ProjectId::new_now(),
        name: "Files".to_owned(),
        created_ms: 1,
        snapshot: "{}".to_owned(),
        folders: RunFolders {
            output: PathBuf::new(),
            inputs: PathBuf::new(),
        },
        backends: Vec::new(),
        workflow_outputs: BTreeMap::new(),
    };
    wait(store.create_run(new_run)).unwrap();
    let item_id = ItemId::derive(run_id, NodeId::new_now(), &IndexPath::default());
    let done = RunEventBody::ItemDone {
        item_id,
        attempt_id: Some(AttemptId::derive(item_id, 1)),
        outputs: [(PortId::new_now(), Value::Artifact(Arc::new(given.clone())))].into(),
        source: ResultSource::Made,
        notices: Vec::new(),
    };
    let event = RunEvent {
        run_id,
        seq: 0,
        at_ms: 1,
        body: done,
    };
    wait(store.append_events(vec![event])).unwrap();
    run_id
}

fn note(store: &Store, artifact: &Artifact) {
    wait(store.put_artifact(artifact.clone(), 5)).unwrap();
}

#[test]
fn every_name_of_a_file_counts() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("orchestrator.sqlite");
    let store = Store::open(&path).unwrap();
    let (shared, lonely) = (artifact(b"shared"), artifact(b"lonely"));
    note(&store, &shared);
    note(&store, &lonely);
    let runs = [store_run(&store, &shared), store_run(&store, &shared)];
    let key = ContentHash::of(b"key");
    let result = vec![Value::Artifact(Arc::new(shared.clone()))];
    wait(store.put_cached(key, result, 1)).unwrap();
    // Noted just now, it may belong to an item that is not yet known to be done.
    assert_eq!(unused_before(&store, 5), []);
    assert_eq!(unused(&store), [lonely.hash]);
    assert_eq!(unused(&store), []);
    for run_id in runs {
        wait(store.delete_run(run_id)).unwrap();
        assert_eq!(unused(&store), []);
    }
    // Another result under the same key names it no more.
    wait(store.put_cached(key, Vec::new(), 1)).unwrap();
    assert_eq!(unused(&store), [shared.hash]);
}

#[test]
fn a_file_that_cannot_be_removed_keeps_no_other_and_goes_later() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("orchestrator.sqlite")).unwrap();
    let files: Vec<Artifact> = (0..250_u32)
        .map(|number| artifact(&number.to_be_bytes()))
        .collect();
    for file in &files {
        note(&store, file);
    }
    let in_use = files[3].hash;
    let refuse = move |file: &Artifact| {
        if file.hash == in_use {
            let path = PathBuf::from("in use");
            return Err(ArtifactError::FolderGone { path });
        }
        Ok(true)
    };
    let removed = wait(store.remove_unused_artifacts(u64::MAX, refuse)).unwrap();
    assert_eq!((removed.files, removed.stayed), (249, 1));
    assert_eq!(unused(&store), [in_use]);
}

#[test]
fn who_notes_a_file_while_it_is_removed_finds_out_that_it_is_gone() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("orchestrator.sqlite")).unwrap();
    let artifacts = ArtifactStore::open(&folder.path().join("artifacts")).unwrap();
    let kept = artifacts
        .store_bytes(b"equal", DataType::File, "equal.bin")
        .unwrap();
    note(&store, &kept);
    let (noted, seen) = std::sync::mpsc::channel();
    let remove = {
        let (store, artifacts) = (store.clone(), artifacts.clone());
        move |unused: &Artifact| {
            // Just now an equal file is fetched: it lies there, nothing is written, and it is noted.
            let equal = artifacts.store_bytes(b"equal", DataType::File, "equal.bin")?;
            let (store, noted, there) = (store.clone(), noted.clone(), artifacts.clone());
            std::thread::spawn(move || {
                note(&store, &equal);
                noted.send(there.contains(&equal)).unwrap();
            });
            std::thread::sleep(std::time::Duration::from_millis(200));
            artifacts.remove(unused)
        }
    };
    wait(store.remove_unused_artifacts(u64::MAX, remove)).unwrap();
    assert!(!seen.recv().unwrap(), "it was noted as if it were there");
}

#[tokio::test]
async fn a_file_that_no_row_knows_goes_when_it_is_a_day_old() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("orchestrator.sqlite")).unwrap();
    let artifacts = ArtifactStore::open(&folder.path().join("artifacts")).unwrap();
    let keep = |content: &[u8]| {
        artifacts
            .store_bytes(content, DataType::File, "kept.bin")
            .unwrap()
    };
    let [left, young, known, named] = [
        keep(b"left"),
        keep(b"young"),
        keep(b"known"),
        keep(b"named"),
    ];
    store.put_artifact(known.clone(), 5).await.unwrap();
    let result = vec![Value::Artifact(Arc::new(named.clone()))];
    store.put_cached(left.hash, result, 1).await.unwrap();
    let two_days = std::time::Duration::from_hours(48);
    for old in [&left, &known, &named] {
        let file = std::fs::File::options()
            .write(true)
            .open(artifacts.path(old));
        let before = std::time::SystemTime::now() - two_days;
        file.unwrap().set_modified(before).unwrap();
    }
    let mut removed = 0;
    for shelf in 0..=u8::MAX {
        removed += remove_left_files(&store, &artifacts, shelf)
            .await
            .unwrap()
            .files;
    }
    assert_eq!(removed, 1);
    assert!(!artifacts.contains(&left));
    assert!(
        [&young, &known, &named]
            .into_iter()
            .all(|kept| artifacts.contains(kept))
    );
}

#[test]
fn what_was_said_of_a_run_goes_with_its_end() {
    let store = Store::in_memory().unwrap();
    let run_id = store_run(&store, &artifact(b"made"));
    let key = outlook_setting(run_id);
    // Another process wrote it, and was killed.
    wait(store.put_setting(&key, Some("{}"))).unwrap();
    let end = |seq, state| RunEvent {
        run_id,
        seq,
        at_ms: 2,
        body: RunEventBody::RunStateChanged { state },
    };
    wait(store.append_events(vec![end(1, RunState::Paused)])).unwrap();
    assert!(wait(store.setting(&key)).unwrap().is_some());
    wait(store.append_events(vec![end(2, RunState::Running), end(3, RunState::Completed)]))
        .unwrap();
    assert_eq!(wait(store.setting(&key)).unwrap(), None);
}

#[test]
fn what_an_earlier_version_wrote_counts_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("orchestrator.sqlite");
    let store = Store::open(&path).unwrap();
    let (of_run, of_result) = (artifact(b"of a run"), artifact(b"of a result"));
    note(&store, &of_run);
    note(&store, &of_result);
    let run_id = store_run(&store, &of_run);
    let key = ContentHash::of(b"key");
    wait(store.put_cached(key, vec![Value::Artifact(Arc::new(of_result.clone()))], 1)).unwrap();
    drop(store);
    as_before_counting(&path);
    let store = Store::open(&path).unwrap();
    assert_eq!(unused(&store), []);
    wait(store.delete_run(run_id)).unwrap();
    assert_eq!(unused(&store), [of_run.hash]);
    wait(store.forget_cached(key)).unwrap();
    assert_eq!(unused(&store), [of_result.hash]);
}

/// Takes the counts out of a database again.
fn as_before_counting(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(
            "DROP TABLE run_files; DROP TABLE cache_files; DROP INDEX workflow_pictures_by_artifact;
             DROP INDEX library_workflows_by_thumbnail;
             PRAGMA user_version = 8;",
        )
        .unwrap();
}
