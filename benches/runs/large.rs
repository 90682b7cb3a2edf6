//! A run of 100,000 items on backends that cost nothing, with its log on the disk: the rate, the peak of memory and the size
//! of the database. Then the same run taken up from its log, as after a restart.

use crate::scene;
use comfyui_orchestrator::artifacts::{Artifact, ContentHash, Measures};
use comfyui_orchestrator::engine::machine::{
    AttemptOutputs, Availability, BackendFacts, Effect, Input, LocalOutcome, Machine,
};
use comfyui_orchestrator::engine::{Plan, RunEvent, RunFolders, RunId, RunState, Value};
use comfyui_orchestrator::project::{BackendId, DataType, PortId, write_portable_form};
use comfyui_orchestrator::store::{NewRun, Store, wait};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Seeds; each makes a prompt and an output, so that there are 100,001 items.
const SEEDS: u32 = 50_000;
const BACKENDS: u128 = 3;
/// Facts that the executor takes in one turn, so that one commit serves many.
const FACTS_PER_TURN: usize = 256;
/// Events read at a time.
const PAGE: usize = 4096;

/// Prints what such a run costs.
pub fn hundred_thousand_items() {
    let (project, image) = scene::project(1, SEEDS, Duration::ZERO);
    let plan = Arc::new(Plan::compile(Arc::new(project)).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("orchestrator.sqlite");
    let store = Store::open(&database).unwrap();
    let run_id = RunId::new_now();
    wait(store.create_run(NewRun {
        run_id,
        project_id: plan.project.id,
        name: "Bench".to_owned(),
        created_ms: 1,
        snapshot: write_portable_form(&plan.project).unwrap(),
        folders: RunFolders {
            output: "/output".into(),
            inputs: "/inputs".into(),
        },
        backends: Vec::new(),
        workflow_outputs: BTreeMap::new(),
    }))
    .unwrap();
    let before_bytes = peak_bytes();
    let begin = Instant::now();
    let (machine, events) = play(run_id, &plan, image, &store);
    let took = begin.elapsed();
    let items = machine.item_count(run_id);
    assert_eq!(machine.run_state(run_id), Some(RunState::Completed));
    println!(
        "one run of {items} items, durable: {:.1} s, {:.0} items/s, {:.0} µs per item, {events} events",
        took.as_secs_f64(),
        items as f64 / took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / items as f64,
    );
    println!(
        "  memory: {} MB at most, {} MB before it began; database {} MB",
        peak_bytes() / 1_000_000,
        before_bytes / 1_000_000,
        files_bytes(folder.path()) / 1_000_000,
    );
    drop(machine);
    let begin = Instant::now();
    let mut log: Vec<RunEvent> = Vec::new();
    loop {
        let page = wait(store.events(run_id, log.len() as u64, PAGE)).unwrap();
        let is_last = page.len() < PAGE;
        log.extend(page);
        if is_last {
            break;
        }
    }
    let read = begin.elapsed();
    let mut machine = Machine::new();
    machine.restore(run_id, plan, log);
    assert_eq!(machine.item_count(run_id), items);
    println!(
        "  taken up from its log: {:.1} s, {:.1} s of it reading",
        begin.elapsed().as_secs_f64(),
        read.as_secs_f64(),
    );
}

/// Plays a run to its end as the executor does: step with facts, record what happened, carry out what was ordered.
fn play(run_id: RunId, plan: &Arc<Plan>, image: PortId, store: &Store) -> (Machine, u64) {
    let mut machine = Machine::new();
    let mut facts: VecDeque<Input> = (0..BACKENDS).map(online).map(Input::Backend).collect();
    facts.push_back(Input::Start {
        run_id,
        plan: plan.clone(),
    });
    let mut now_ms = 1_700_000_000_000;
    let mut event_count = 0;
    while !facts.is_empty() {
        now_ms += 1;
        let taken = facts.len().min(FACTS_PER_TURN);
        let mut events = Vec::new();
        let mut orders = Vec::new();
        for fact in facts.drain(..taken) {
            for effect in machine.step(now_ms, fact) {
                match effect {
                    Effect::Record(event) => events.push(event),
                    order => orders.push(order),
                }
            }
        }
        if !events.is_empty() {
            event_count += events.len() as u64;
            wait(store.append_events(events)).unwrap();
        }
        for order in orders {
            answer(order, image, &mut facts);
        }
    }
    (machine, event_count)
}

fn answer(order: Effect, image: PortId, facts: &mut VecDeque<Input>) {
    match order {
        Effect::Submit(submission) => {
            let attempt_id = submission.attempt_id;
            let outputs = AttemptOutputs {
                ports: BTreeMap::from([(image, vec![picture(&attempt_id.to_string())])]),
            };
            facts.push_back(Input::AttemptAccepted { attempt_id });
            facts.push_back(Input::AttemptStarted { attempt_id });
            facts.push_back(Input::AttemptEnded {
                attempt_id,
                outcome: Ok(outputs),
            });
        }
        Effect::Local(work) => {
            let path = format!("/output/Bench/Output/seed_{:05}.png", facts.len());
            facts.push_back(Input::LocalEnded {
                item_id: work.item_id,
                order: work.order,
                outcome: Ok(LocalOutcome::Written(vec![path])),
            });
        }
        Effect::WakeAt { .. } => {}
        other => panic!("nothing was to go wrong: {other:?}"),
    }
}

fn picture(content: &str) -> Value {
    Value::Artifact(Arc::new(Artifact {
        hash: ContentHash::of(content.as_bytes()),
        data_type: DataType::Image,
        extension: "png".to_owned(),
        byte_len: 1_000_000,
        measures: Measures {
            width_px: Some(1024),
            height_px: Some(1024),
            brightness: Some(0.5),
            sharpness: Some(0.25),
            ..Measures::default()
        },
        origin: None,
    }))
}

fn online(number: u128) -> BackendFacts {
    BackendFacts {
        backend_id: BackendId::from_uuid(Uuid::from_u128(0xB000 + number)),
        name: format!("machine-{number}"),
        tags: BTreeSet::new(),
        availability: Availability::Online,
        vram_bytes: None,
        unable: BTreeMap::new(),
        weights: BTreeMap::new(),
        model_sizes: None,
        classes: None,
    }
}

/// Most memory this process has had at any time, bytes; 0 where the system does not say (it does on Linux).
fn peak_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

fn files_bytes(folder: &std::path::Path) -> u64 {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}
