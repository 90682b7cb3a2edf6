//! The database: nothing that was confirmed is lost, nothing is written twice, and a file that is not ours is not touched.

use comfyui_orchestrator::artifacts::{Artifact, ContentHash, Measures, Origin};
use comfyui_orchestrator::engine::{
    AttemptId, Failure, FailureClass, IndexPath, ItemId, ListElement, PlacementDecision, RunEvent,
    RunEventBody, RunFolders, RunId, RunState, Value,
};
use comfyui_orchestrator::fleet::{Auth, BackendConfig, Secret, TlsPolicy};
use comfyui_orchestrator::project::{
    BackendId, DataType, Integer, Literal, NodeId, PortId, ProjectId,
};
use comfyui_orchestrator::store::{
    MAX_REMEMBERED_BACKENDS, NewRun, PackedObjectInfo, Store, StoreError, StoredObjectInfo, wait,
};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

fn new_run(run_id: RunId) -> NewRun {
    NewRun {
        run_id,
        project_id: ProjectId::new_now(),
        name: "Portraits".to_owned(),
        created_ms: 1_700_000_000_000,
        snapshot: r#"{"name":"Portraits"}"#.to_owned(),
        folders: RunFolders {
            output: "/out".into(),
            inputs: "/in".into(),
        },
        backends: Vec::new(),
        workflow_outputs: BTreeMap::new(),
    }
}

fn event(run_id: RunId, seq: u64, body: RunEventBody) -> RunEvent {
    RunEvent {
        run_id,
        seq,
        at_ms: 1_700_000_000_000 + seq,
        body,
    }
}

fn item_created(run_id: RunId, number: u32) -> RunEventBody {
    let node_id = NodeId::from_uuid(run_id.uuid());
    let path = IndexPath([(node_id, number)].into());
    RunEventBody::ItemCreated {
        item_id: ItemId::derive(run_id, node_id, &path),
        node_id,
        path,
        labels: [("seed".to_owned(), number.to_string())].into(),
    }
}

#[test]
fn every_event_comes_back_as_it_was_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/orchestrator.sqlite");
    let run_id = RunId::new_now();
    let node_id = NodeId::new_now();
    let item_id = ItemId::derive(run_id, node_id, &IndexPath::default());
    let attempt_id = AttemptId::derive(item_id, 1);
    let artifact = Arc::new(Artifact {
        hash: ContentHash::of(b"picture"),
        data_type: DataType::Image,
        extension: "png".to_owned(),
        byte_len: 7,
        measures: Measures {
            brightness: Some(0.412_345),
            ..Measures::default()
        },
        origin: Some(Origin {
            backend_id: BackendId::new_now(),
            filename: "ComfyUI_00001_.png".to_owned(),
            subfolder: String::new(),
            folder_type: "output".to_owned(),
            version: Some("\"18ea1b4d48502535-7\"".to_owned()),
        }),
    });
    let list = Value::List(
        vec![
            ListElement {
                value: Value::Batch(vec![artifact.clone(), artifact.clone()].into()),
                path: IndexPath([(node_id, 3)].into()),
                labels: [("style".to_owned(), "noir".to_owned())].into(),
            },
            ListElement {
                value: Value::Literal(Literal::Integer(Integer::from(u64::MAX))),
                path: IndexPath::default(),
                labels: BTreeMap::new(),
            },
        ]
        .into(),
    );
    let bodies = vec![
        RunEventBody::RunCreated {
            project_id: ProjectId::new_now(),
            project_name: "Porträts 写真".to_owned(),
        },
        RunEventBody::RunStateChanged {
            state: RunState::Running,
        },
        item_created(run_id, 0),
        RunEventBody::AttemptPlaced {
            attempt_id,
            item_id,
            number: 1,
            backend_id: BackendId::new_now(),
            decision: PlacementDecision::default(),
        },
        RunEventBody::AttemptFailed {
            attempt_id,
            failure: Failure::new(FailureClass::Offline, "connection refused"),
        },
        RunEventBody::ItemDone {
            source: comfyui_orchestrator::engine::ResultSource::Made,
            item_id,
            attempt_id: Some(attempt_id),
            outputs: [
                (PortId::new_now(), list),
                (PortId::new_now(), Value::Artifact(artifact)),
                (
                    PortId::new_now(),
                    Value::Literal(Literal::Integer(Integer::from(i64::MIN))),
                ),
                (PortId::new_now(), Value::Trigger),
            ]
            .into(),
            notices: vec!["3 of 4 not used".to_owned()],
        },
        RunEventBody::RunStateChanged {
            state: RunState::CompletedWithFailures,
        },
    ];
    let events: Vec<RunEvent> = bodies
        .into_iter()
        .zip(0_u64..)
        .map(|(body, seq)| event(run_id, seq, body))
        .collect();
    {
        let store = Store::open(&path).unwrap();
        wait(store.create_run(new_run(run_id))).unwrap();
        wait(store.append_events(events[..3].to_vec())).unwrap();
        wait(store.append_events(events[3..].to_vec())).unwrap();
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(wait(store.events(run_id, 0, 1000)).unwrap(), events);
    assert_eq!(
        wait(store.events(run_id, 3, 2)).unwrap(),
        events[3..5].to_vec()
    );
    let run = wait(store.run(run_id)).unwrap();
    assert_eq!(run.summary.state, RunState::CompletedWithFailures);
    assert_eq!(run.summary.event_count, 7);
    assert_eq!(run.snapshot, new_run(run_id).snapshot);
    assert_eq!(run.folders, new_run(run_id).folders);
    assert_eq!(wait(store.runs()).unwrap(), vec![run.summary]);
    assert_eq!(wait(store.claim_unfinished_runs()).unwrap(), vec![]);
}

#[test]
fn the_log_has_no_gaps_and_no_event_ever_changes() {
    let store = Store::in_memory().unwrap();
    let run_id = RunId::new_now();
    wait(store.create_run(new_run(run_id))).unwrap();
    let first = event(run_id, 0, item_created(run_id, 0));
    wait(store.append_events(vec![first.clone()])).unwrap();
    // Asked again after a lost answer: the same event is no second one.
    let second = event(run_id, 1, item_created(run_id, 1));
    wait(store.append_events(vec![first.clone(), second.clone()])).unwrap();

    let changed = event(run_id, 0, item_created(run_id, 7));
    let gap = event(run_id, 5, item_created(run_id, 5));
    let third = event(run_id, 2, item_created(run_id, 2));
    for refused in [vec![changed], vec![gap.clone()], vec![third, gap]] {
        let error = wait(store.append_events(refused)).unwrap_err();
        assert!(matches!(error, StoreError::OutOfTurn { .. }), "{error}");
    }
    assert_eq!(wait(store.events(run_id, 0, 10)).unwrap(), [first, second]);

    let unknown = RunId::new_now();
    let error = wait(store.append_events(vec![event(unknown, 0, item_created(unknown, 0))]));
    assert!(matches!(error, Err(StoreError::UnknownRun { run_id }) if run_id == unknown));
    assert!(matches!(
        wait(store.run(unknown)),
        Err(StoreError::UnknownRun { .. })
    ));
    assert!(wait(store.delete_run(run_id)).unwrap());
    assert_eq!(wait(store.events(run_id, 0, 10)).unwrap(), []);
}

#[test]
fn a_command_of_another_program_is_taken_with_what_follows_from_it_or_is_still_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orchestrator.sqlite");
    let run_id = RunId::new_now();
    {
        let store = Store::open(&path).unwrap();
        wait(store.create_run(new_run(run_id))).unwrap();
        let wish_id = wait(store.leave_wish(run_id, "cancel it".to_owned())).unwrap();
        let left = vec![(wish_id, "cancel it".to_owned())];
        assert_eq!(wait(store.wishes()).unwrap(), left);
        // What follows cannot be written: nothing is taken.
        let gap = event(run_id, 5, item_created(run_id, 5));
        wait(store.append_events_of_wish(vec![gap], wish_id)).unwrap_err();
        assert!(!wait(store.is_wish_taken(wish_id)).unwrap());
        store.release_runs();
    }
    // Nor is it when the program that read it has died since: the next one has it.
    let store = Store::open(&path).unwrap();
    assert_eq!(wait(store.wishes()).unwrap(), []);
    assert!(wait(store.claim_run(run_id)).unwrap());
    let (wish_id, _) = wait(store.wishes()).unwrap().remove(0);
    let first = event(run_id, 0, item_created(run_id, 0));
    wait(store.append_events_of_wish(vec![first.clone()], wish_id)).unwrap();
    assert!(wait(store.is_wish_taken(wish_id)).unwrap());
    assert_eq!(wait(store.events(run_id, 0, 10)).unwrap(), [first]);
    assert!(!wait(store.remove_wish(wish_id)).unwrap(), "it is too late");
}

/// The other half of the test below: appends events for ever and says which are confirmed.
#[test]
fn child_that_appends_until_killed() {
    let Some(path) = std::env::var_os("ORCHESTRATOR_TEST_DATABASE") else {
        return;
    };
    let store = Store::open(Path::new(&path)).unwrap();
    let run_id = RunId::new_now();
    wait(store.create_run(new_run(run_id))).unwrap();
    println!("run {run_id}");
    for number in 0_u32.. {
        let seq = u64::from(number);
        wait(store.append_events(vec![event(run_id, seq, item_created(run_id, number))])).unwrap();
        println!("confirmed {seq}");
    }
}

#[test]
fn what_was_confirmed_survives_kill_and_the_run_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orchestrator.sqlite");
    let mut known: Vec<RunId> = Vec::new();
    for kill_after in [1, 7, 40] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::child_that_appends_until_killed",
                "--nocapture",
            ])
            .env("ORCHESTRATOR_TEST_DATABASE", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut run_id: Option<RunId> = None;
        let mut confirmed = None;
        for line in &mut lines {
            let line = line.unwrap();
            // The first line may share its line with the test runner's words.
            if let Some((_, id)) = line.split_once("run ")
                && let Ok(id) = id.trim().parse()
            {
                run_id = Some(id);
            }
            if let Some(seq) = line.strip_prefix("confirmed ") {
                let seq: u64 = seq.parse().unwrap();
                confirmed = Some(seq);
                if seq >= kill_after {
                    break;
                }
            }
        }
        let run_id = run_id.unwrap();

        // While it lives its run is its own.
        let store = Store::open(&path).unwrap();
        let claimed = wait(store.claim_unfinished_runs()).unwrap();
        assert!(claimed.iter().all(|run| run.run_id != run_id));
        assert!(!wait(store.claim_run(run_id)).unwrap());

        child.kill().unwrap();
        child.wait().unwrap();
        known.push(run_id);

        let events = wait(store.events(run_id, 0, usize::MAX)).unwrap();
        assert!(events.len() as u64 > confirmed.unwrap());
        assert!(events.iter().zip(0..).all(|(event, seq)| event.seq == seq));
        let claimed = wait(store.claim_unfinished_runs()).unwrap();
        let claimed: Vec<RunId> = claimed.iter().map(|run| run.run_id).collect();
        assert_eq!(claimed, known);
        // The new owner goes on where the log ends.
        let next = events.len() as u64;
        wait(store.append_events(vec![event(
            run_id,
            next,
            RunEventBody::RunStateChanged {
                state: RunState::Paused,
            },
        )]))
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_appends_share_commits() {
    const RUNS: usize = 64;
    const ITEMS_PER_RUN: u32 = 40;
    const EVENTS_PER_ITEM: u32 = 5;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("orchestrator.sqlite")).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    for _ in 0..RUNS {
        let store = store.clone();
        tasks.spawn(async move {
            let run_id = RunId::new_now();
            store.create_run(new_run(run_id)).await.unwrap();
            for item in 0..ITEMS_PER_RUN {
                let events = (0..EVENTS_PER_ITEM)
                    .map(|part| {
                        let number = item * EVENTS_PER_ITEM + part;
                        event(run_id, u64::from(number), item_created(run_id, number))
                    })
                    .collect();
                store.append_events(events).await.unwrap();
            }
            run_id
        });
    }
    let runs = tasks.join_all().await;
    let elapsed = start.elapsed();
    let items = RUNS * ITEMS_PER_RUN as usize;
    println!(
        "{items} items of {EVENTS_PER_ITEM} durable events over {RUNS} callers: {:.3} ms per item",
        elapsed.as_secs_f64() * 1000.0 / items as f64
    );
    for run_id in runs {
        let events = store.events(run_id, 0, usize::MAX).await.unwrap();
        assert_eq!(events.len() as u32, ITEMS_PER_RUN * EVENTS_PER_ITEM);
    }
}

#[test]
fn a_refused_request_does_not_take_others_of_its_commit_along() {
    let store = Store::in_memory().unwrap();
    let run_id = RunId::new_now();
    wait(store.create_run(new_run(run_id))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let good = store.append_events(vec![event(run_id, 0, item_created(run_id, 0))]);
        let bad = store.append_events(vec![event(run_id, 9, item_created(run_id, 9))]);
        let also_good = store.append_events(vec![event(run_id, 1, item_created(run_id, 1))]);
        let (good, bad, also_good) = tokio::join!(good, bad, also_good);
        good.unwrap();
        assert!(matches!(bad, Err(StoreError::OutOfTurn { seq: 9, .. })));
        also_good.unwrap();
    });
    assert_eq!(wait(store.events(run_id, 0, 10)).unwrap().len(), 2);
}

/// Opens a database that must be refused, and checks that no byte of it changed.
fn refusal_of(path: &Path) -> StoreError {
    let before = std::fs::read(path).unwrap();
    let error = Store::open(path).unwrap_err();
    assert_eq!(std::fs::read(path).unwrap(), before, "the file was changed");
    error
}

#[test]
fn a_program_that_lets_go_of_its_runs_need_not_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orchestrator.sqlite");
    let (first, second) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
    let run_id = RunId::new_now();
    wait(first.create_run(new_run(run_id))).unwrap();
    assert!(wait(second.claim_unfinished_runs()).unwrap().is_empty());
    assert!(!wait(second.runs()).unwrap()[0].is_interrupted());
    first.release_runs();
    assert!(wait(second.runs()).unwrap()[0].is_interrupted());
    let claimed = wait(second.claim_unfinished_runs()).unwrap();
    assert_eq!(claimed.len(), 1);
    assert!(!wait(second.runs()).unwrap()[0].is_interrupted());
}

#[test]
fn newer_damaged_and_foreign_files_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();

    let newer = folder.path().join("newer.sqlite");
    drop(Store::open(&newer).unwrap());
    rusqlite::Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = refusal_of(&newer);
    assert!(matches!(error, StoreError::Newer { found: 99, .. }));
    assert!(error.to_string().contains("Update the program"), "{error}");

    let garbage = folder.path().join("garbage.sqlite");
    std::fs::write(&garbage, "this is a text, no database".repeat(500)).unwrap();
    let error = refusal_of(&garbage);
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");

    let damaged = folder.path().join("damaged.sqlite");
    drop(Store::open(&damaged).unwrap());
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[100..4096].fill(0xA5);
    std::fs::write(&damaged, bytes).unwrap();
    let error = refusal_of(&damaged);
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");

    let foreign = folder.path().join("foreign.sqlite");
    rusqlite::Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE recipes (name TEXT)")
        .unwrap();
    let error = refusal_of(&foreign);
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");

    let file_for_folder = folder.path().join("garbage.sqlite/inside.sqlite");
    let error = Store::open(&file_for_folder).unwrap_err();
    assert!(matches!(error, StoreError::CannotOpen { .. }), "{error}");
}

#[test]
fn a_database_locked_by_another_program_is_told_and_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orchestrator.sqlite");
    let store = Store::open(&path).unwrap();
    let run_id = RunId::new_now();
    wait(store.create_run(new_run(run_id))).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let created = event(run_id, 0, item_created(run_id, 0));
    let error = wait(store.append_events(vec![created.clone()])).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    // Reading goes on, and so does writing once the lock is gone.
    assert_eq!(wait(store.events(run_id, 0, 10)).unwrap(), []);
    other.execute_batch("ROLLBACK").unwrap();
    wait(store.append_events(vec![created])).unwrap();
    assert_eq!(wait(store.events(run_id, 0, 10)).unwrap().len(), 1);
}

#[test]
fn settings_backends_and_results_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orchestrator.sqlite");
    let backend = |name: &str| BackendConfig {
        id: BackendId::new_now(),
        name: name.to_owned(),
        url: "https://gpu.example/comfy/".parse().unwrap(),
        tags: ["fast".to_owned()].into(),
        auth: Auth::Bearer(Secret::Env("COMFY_TOKEN".to_owned())),
        tls: TlsPolicy::Verify,
        enabled: true,
    };
    let (mut one, two) = (backend("one"), backend("two"));
    let client_id = Uuid::now_v7();
    let key = |text: &str| ContentHash::of(text.as_bytes());
    let result = vec![Value::Literal(Literal::Text("a cat".to_owned()))];
    let info = StoredObjectInfo {
        server: "http://two/".to_owned(),
        seen_ms: 5,
        json: br#"{"SaveImage": {}}"#.to_vec(),
    };
    let packed = || PackedObjectInfo::new(&info.json);
    let artifact = Artifact {
        hash: key("file"),
        data_type: DataType::Mask,
        extension: "png".to_owned(),
        byte_len: 4,
        measures: Measures::default(),
        origin: None,
    };
    {
        let store = Store::open(&path).unwrap();
        wait(store.put_backend(one.clone())).unwrap();
        wait(store.put_backend(two.clone())).unwrap();
        one.name = "renamed".to_owned();
        wait(store.put_backend(one.clone())).unwrap();
        assert_eq!(wait(store.client_id(one.id, client_id)).unwrap(), client_id);
        wait(store.put_object_info(one.id, "http://one/", 4, packed())).unwrap();
        wait(store.put_object_info(two.id, "http://before/", 4, packed())).unwrap();
        wait(store.put_object_info(two.id, "http://two/", 5, packed())).unwrap();
        wait(store.put_setting("recent", Some("[1]"))).unwrap();
        wait(store.put_setting("gone", Some("x"))).unwrap();
        wait(store.put_setting("gone", None)).unwrap();
        wait(store.put_cached(key("old"), result.clone(), 1)).unwrap();
        wait(store.put_cached(key("used"), result.clone(), 2)).unwrap();
        wait(store.put_cached(key("new"), result.clone(), 3)).unwrap();
        wait(store.put_artifact(artifact.clone(), 1)).unwrap();
        wait(store.put_artifact(artifact.clone(), 2)).unwrap();
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(wait(store.backends()).unwrap(), [one.clone(), two.clone()]);
    let asked_again = wait(store.client_id(one.id, Uuid::now_v7())).unwrap();
    assert_eq!(asked_again, client_id);
    assert_eq!(
        wait(store.object_info(two.id)).unwrap().as_ref(),
        Some(&info)
    );
    // Two backends that say the same are remembered as one.
    assert_eq!(
        wait(store.object_infos()).unwrap(),
        std::slice::from_ref(&info)
    );
    assert!(wait(store.remove_backend(two.id)).unwrap());
    assert!(!wait(store.remove_backend(two.id)).unwrap());
    assert_eq!(wait(store.object_info(two.id)).unwrap(), None);
    let left = wait(store.object_info(one.id)).unwrap().unwrap();
    assert_eq!((left.seen_ms, left.json), (4, info.json));
    for number in 0..=u64::from(MAX_REMEMBERED_BACKENDS) {
        let id = BackendId::new_now();
        let said = PackedObjectInfo::new(format!("{{\"{number}\": {{}}}}").as_bytes());
        wait(store.put_object_info(id, "http://many/", 10 + number, said)).unwrap();
    }
    let remembered = wait(store.object_infos()).unwrap();
    assert_eq!(remembered.len(), MAX_REMEMBERED_BACKENDS as usize);
    assert_eq!(
        remembered[0].seen_ms,
        10 + u64::from(MAX_REMEMBERED_BACKENDS)
    );
    assert_eq!(wait(store.object_info(one.id)).unwrap(), None);
    assert_eq!(wait(store.setting("recent")).unwrap().unwrap(), "[1]");
    assert_eq!(wait(store.setting("gone")).unwrap(), None);
    assert_eq!(wait(store.artifact(key("file"))).unwrap(), Some(artifact));
    assert_eq!(wait(store.artifact(key("other"))).unwrap(), None);

    // The least recently used result goes first, and asking for one is using it.
    assert_eq!(wait(store.cached(key("old"), 10)).unwrap(), Some(result));
    assert_eq!(wait(store.trim_cache(2)).unwrap(), 1);
    assert_eq!(wait(store.cached(key("used"), 11)).unwrap(), None);
    assert!(wait(store.cached(key("old"), 12)).unwrap().is_some());
    wait(store.forget_cached(key("old"))).unwrap();
    assert_eq!(wait(store.cached(key("old"), 13)).unwrap(), None);
}
