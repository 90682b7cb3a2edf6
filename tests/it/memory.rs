//! Where work goes by what its models weigh: in the machine, and on real servers that tell the sizes of their files.

use crate::command_line::{command, run, stderr, stdout};
use crate::engine_driver::{Graph, World, backend_id, online};
use crate::small_projects::numbered;
use crate::whole_runs::{
    BuiltinServer, finish, folders, run_to_end, start_engine, start_server_with,
};
use comfyui_orchestrator::artifacts::ContentHash;
use comfyui_orchestrator::builtin::ServerOptions;
use comfyui_orchestrator::engine::machine::{
    AttemptOutputs, Availability, BackendFacts, Input, KnownSizes,
};
use comfyui_orchestrator::engine::{
    FailureClass, PlacementDecision, PlacementVerdict, ResumePolicy, RunCommand, RunEvent,
    RunEventBody, RunId, RunState,
};
use comfyui_orchestrator::project::{
    Affinity, BackendId, CachePolicy, NodeKind, Project, RetryPolicy,
};
use comfyui_orchestrator::workflow::{KnownBy, MemoryRoom, ModelSizes, ModelWeights};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const GIB: u64 = 1 << 30;

fn sized(number: u128, gib: u64) -> BackendFacts {
    let mut facts = online(number);
    facts.vram_bytes = Some(gib * GIB);
    facts
}

fn off(facts: &BackendFacts) -> BackendFacts {
    BackendFacts {
        availability: Availability::Disabled,
        ..facts.clone()
    }
}

/// What the one workflow of a world is known by.
fn hash_of(world: &World) -> ContentHash {
    world
        .project
        .nodes
        .values()
        .find_map(|node| world.plan.workflow_hash(node.id))
        .unwrap()
}

fn weighing(hash: ContentHash, mut facts: BackendFacts, all: u64, largest: u64) -> BackendFacts {
    let weights = ModelWeights {
        all_bytes: all * GIB,
        largest_bytes: largest * GIB,
        is_complete: true,
    };
    facts.weights = BTreeMap::from([(hash, weights)]);
    facts
}

fn items(count: u32) -> Graph {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", count);
    let workflow = graph.workflow("W", &["seed"]);
    graph.link(fan_out, "F", workflow, "seed");
    graph
}

fn decisions(log: &[RunEvent]) -> Vec<PlacementDecision> {
    log.iter()
        .filter_map(|event| match &event.body {
            RunEventBody::AttemptPlaced { decision, .. } => Some(decision.clone()),
            _ => None,
        })
        .collect()
}

fn placed_on(log: &[RunEvent], backend_id: BackendId) -> usize {
    decisions(log)
        .iter()
        .filter(|decision| decision.candidates[0].backend_id == backend_id)
        .count()
}

fn reason_against(decision: &PlacementDecision, backend_id: BackendId) -> String {
    let candidate = decision
        .candidates
        .iter()
        .find(|candidate| candidate.backend_id == backend_id)
        .unwrap();
    match &candidate.verdict {
        PlacementVerdict::Excluded { reason } => reason.clone(),
        PlacementVerdict::Possible { .. } => panic!("it is possible: {candidate:?}"),
    }
}

#[test]
fn models_that_fit_somewhere_go_there_and_the_decision_says_why() {
    let mut world = World::with_backends(&items(6), 0);
    let hash = hash_of(&world);
    // One tells the sizes of its files; the files of the other have the same names.
    let large = weighing(hash, sized(0, 24), 20, 16);
    let small = sized(1, 16);
    world.step(Input::Backend(large.clone()));
    world.step(Input::Backend(small));
    world.start();
    while world.answer_local() {}
    assert_eq!(
        (
            placed_on(&world.log, backend_id(0)),
            placed_on(&world.log, backend_id(1))
        ),
        (2, 0)
    );
    let decision = decisions(&world.log).remove(0);
    let here = decision.candidates[0].memory.unwrap();
    assert_eq!(
        (here.room(), here.has_bytes),
        (MemoryRoom::Enough, 24 * GIB)
    );
    assert_eq!(here.need.known_by, KnownBy::FileSizes);
    let against = reason_against(&decision, backend_id(1));
    assert!(
        against.contains("its largest model takes about 17.2 GiB")
            && against.contains("this backend has 16.0 GiB"),
        "{against}"
    );

    // A slow result is better than none, and what it costs is in the decision.
    world.step(Input::Backend(off(&large)));
    let decision = decisions(&world.log).pop().unwrap();
    assert_eq!(decision.candidates[0].backend_id, backend_id(1));
    let here = decision.candidates[0].memory.unwrap();
    assert_eq!(here.room(), MemoryRoom::TooLittle);
    assert!(
        matches!(decision.candidates[0].verdict, PlacementVerdict::Possible { moving_ms, .. } if moving_ms > 0)
    );

    // Now its time is measured there, and what was estimated counts no more.
    world.execute(|_| true);
    world.execute(|_| true);
    world.execute(|_| true);
    assert!(
        world
            .machine
            .estimates()
            .measured_run_ms(hash, backend_id(1))
            .is_some()
    );
    world.step(Input::Backend(large));
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    let last = decisions(&world.log).pop().unwrap();
    assert!(
        last.candidates.iter().all(|candidate| matches!(
            candidate.verdict,
            PlacementVerdict::Possible { moving_ms: 0, .. }
        ) || candidate.backend_id == backend_id(0)),
        "{last:?}"
    );
}

#[test]
fn what_fits_nowhere_goes_where_most_memory_is() {
    let mut world = World::with_backends(&items(2), 0);
    let hash = hash_of(&world);
    for (number, gib) in [(0, 8), (1, 16), (2, 12)] {
        world.step(Input::Backend(weighing(hash, sized(number, gib), 40, 30)));
    }
    world.start();
    while world.answer_local() {}
    assert_eq!(placed_on(&world.log, backend_id(1)), 2);
    let decision = decisions(&world.log).remove(0);
    for small in [0, 2] {
        reason_against(&decision, backend_id(small));
    }
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn models_that_have_to_be_moved_between_steps_cost_time_but_keep_nobody_out() {
    let mut world = World::with_backends(&items(3), 0);
    let hash = hash_of(&world);
    world.step(Input::Backend(weighing(hash, sized(0, 16), 26, 14)));
    world.step(Input::Backend(weighing(hash, sized(1, 32), 26, 14)));
    world.start();
    while world.answer_local() {}
    let decision = decisions(&world.log).remove(0);
    assert_eq!(decision.candidates[0].backend_id, backend_id(1));
    let other = &decision.candidates[1];
    assert_eq!(other.memory.unwrap().room(), MemoryRoom::Tight);
    assert!(
        matches!(other.verdict, PlacementVerdict::Possible { moving_ms, .. } if moving_ms > 500)
    );
    // The next one goes there rather than waiting.
    assert_eq!(placed_on(&world.log, backend_id(0)), 1);
}

#[test]
fn where_it_would_wait_for_long_a_backend_with_too_little_memory_is_tried() {
    let mut world = World::with_backends(&items(40), 0);
    let hash = hash_of(&world);
    let large = weighing(hash, sized(0, 24), 20, 16);
    world.step(Input::Backend(large.clone()));
    world.step(Input::Backend(off(&sized(1, 12))));
    world.start();
    while world.answer_local() {}
    // Two minutes each.
    let attempt_id = world.submitted.pop_front().unwrap().attempt_id;
    world.step(Input::AttemptStarted { attempt_id });
    world.now_ms += 120_000;
    world.step(Input::AttemptEnded {
        attempt_id,
        outcome: Ok(AttemptOutputs::default()),
    });
    assert_eq!(placed_on(&world.log, backend_id(1)), 0);
    world.step(Input::Backend(sized(1, 12)));
    assert!(placed_on(&world.log, backend_id(1)) > 0);
}

#[test]
fn running_out_of_memory_keeps_a_workflow_from_what_is_no_larger() {
    let mut world = World::with_backends(&items(8), 0);
    let (other, large) = (sized(1, 8), sized(2, 24));
    world.step(Input::Backend(sized(0, 8)));
    world.step(Input::Backend(off(&other)));
    world.step(Input::Backend(off(&large)));
    world
        .fails
        .insert("W F:0".to_owned(), (FailureClass::OutOfMemory, 1));
    world.start();
    while world.answer_local() {}
    world.execute(|name| name == "W F:0");
    // Nothing is known of its models; what happened tells enough, of the other one of that size, too.
    world.step(Input::Backend(large));
    world.step(Input::Backend(other));
    assert_eq!(placed_on(&world.log, backend_id(1)), 0);
    let on_large = world
        .submitted
        .iter()
        .find(|submission| submission.backend_id == backend_id(2))
        .unwrap()
        .attempt_id;
    world.execute_attempt(on_large);
    let last = decisions(&world.log).pop().unwrap();
    assert_eq!(last.candidates[0].backend_id, backend_id(2));
    assert_eq!(
        reason_against(&last, backend_id(1)),
        "has 8.0 GiB of memory, and 8.0 GiB were too little for this workflow"
    );
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn models_that_a_link_brings_are_weighed_item_by_item() {
    let mut graph = Graph::new();
    let workflow = graph.workflow("W", &["ckpt_name"]);
    let brought = graph.input("I", "heavy.safetensors");
    graph.link(brought, "value", workflow, "ckpt_name");
    let mut world = World::with_backends(&graph, 0);
    let sizes = Arc::new(ModelSizes::from([(
        "heavy.safetensors".to_owned(),
        20 * GIB,
    )]));
    for (number, gib) in [(0, 8), (1, 24)] {
        let mut facts = sized(number, gib);
        facts.model_sizes = Some(KnownSizes(sizes.clone()));
        world.step(Input::Backend(facts));
    }
    world.start();
    while world.answer_local() {}
    assert_eq!(placed_on(&world.log, backend_id(1)), 1);
    let against = reason_against(&decisions(&world.log)[0], backend_id(0));
    // Three quarters of a checkpoint are its diffusion model; a little is for computing.
    assert!(against.contains("16.2 GiB"), "{against}");
}

/// A picture whose prompt names a model; nothing loads it, but the server has a file of that name.
fn prompt(model: &str) -> Value {
    json!({
        "3": {"class_type": "OrchestratorPicture", "inputs": {"seed": 1, "text": model, "width": 64, "height": 48, "steps": 2,
            "style": "harbour", "detail": 0.5}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "heavy"}},
    })
}

fn project(count: u32) -> Project {
    let prompt = prompt("flux\\heavy.safetensors");
    numbered(&prompt, ("3", "seed"), count, RetryPolicy::default())
}

/// A server with a device of this size and a model of 20 GiB, of which the disk holds nothing.
async fn server(folder: &Path, name: &str, device_gib: u64) -> BuiltinServer {
    let models = folder.join(name).join("models/diffusion_models/flux");
    std::fs::create_dir_all(&models).unwrap();
    let file = std::fs::File::create(models.join("heavy.safetensors")).unwrap();
    file.set_len(20 * GIB).unwrap();
    let mut options = ServerOptions::new(folder.join(name));
    options.name = name.to_owned();
    options.device_memory_bytes = Some(device_gib * GIB);
    start_server_with(options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_servers_tell_what_their_models_weigh() {
    let folder = TempDir::new().unwrap();
    let small = server(folder.path(), "small", 12).await;
    let large = server(folder.path(), "large", 24).await;
    let (view, log) = run_to_end(folder.path(), &[&small, &large], project(5)).await;
    assert_eq!(view.state, Some(RunState::Completed));
    assert_eq!(placed_on(&log, large.config.id), 5);
    let against = reason_against(&decisions(&log)[0], small.config.id);
    assert!(
        against.contains("21.2 GiB") && against.contains("12.0 GiB"),
        "{against}"
    );
    let told = run(
        &folder.path().join("data"),
        &["runs", "show", "last", "--why", "work"],
    );
    let told = stdout(&told);
    assert!(
        told.contains("not   small: its largest model takes about 21.2 GiB")
            && told.contains("its models take about 21.2 GiB of 24.0 GiB"),
        "{told}"
    );

    // A node that is tied to the small one runs there; then its time is known, and it is one of two.
    let mut tied = project(1);
    for node in tied.nodes.values_mut() {
        if let NodeKind::Workflow(settings) = &mut node.kind {
            settings.affinity = Affinity::Backend(small.config.id);
            settings.cache = CachePolicy::Never;
        }
    }
    let mut free = tied.clone();
    for node in free.nodes.values_mut() {
        if let NodeKind::Workflow(settings) = &mut node.kind {
            settings.affinity = Affinity::Any;
        }
    }
    let engine = start_engine(folder.path(), &[&small, &large], ResumePolicy::Leave).await;
    let mut events = engine.handle.subscribe().unwrap();
    let mut logs = Vec::new();
    for project in [tied, free] {
        let run_id = RunId::new_now();
        engine
            .handle
            .send(RunCommand::Start {
                run_id,
                project: Arc::new(project),
                folders: folders(folder.path()),
            })
            .unwrap();
        logs.push(finish(&mut events, run_id).await.1);
    }
    engine.stop().await;
    assert_eq!(placed_on(&logs[0], small.config.id), 1);
    let candidates = &decisions(&logs[1])[0].candidates;
    assert!(
        candidates
            .iter()
            .all(|candidate| matches!(candidate.verdict, PlacementVerdict::Possible { .. })),
        "{candidates:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflight_and_run_say_that_it_would_be_slow_before_it_is() {
    let folder = TempDir::new().unwrap();
    let small = server(folder.path(), "small", 12).await;
    let file = folder.path().join("heavy.json");
    std::fs::write(&file, prompt("flux/heavy.safetensors").to_string()).unwrap();
    let data = folder.path().join("data");
    let url = small.config.url.to_string();
    let arguments = [
        "workflow",
        "preflight",
        &file.to_string_lossy(),
        "--backend",
        &url,
    ];
    let ask = |more: &'static [&'static str]| {
        let mut command = command(&data);
        command.args(arguments.iter().chain(more));
        command
    };
    let told = tokio::task::spawn_blocking({
        let (mut words, mut json) = (ask(&[]), ask(&["--json"]));
        move || (words.output().unwrap(), json.output().unwrap())
    })
    .await
    .unwrap();
    let words = stdout(&told.0);
    assert!(
        words.contains("ready")
            && words.contains("its largest model takes about 21.2 GiB, this backend has 12.0 GiB"),
        "{words}{}",
        stderr(&told.0)
    );
    let rows: Value = serde_json::from_str(&stdout(&told.1)).unwrap();
    assert_eq!(rows[0]["room"], "too_little");
    assert_eq!(rows[0]["memory"]["known_by"], "file_sizes");
    assert_eq!(rows[0]["weights_bytes"], 20 * GIB);

    // The only one there is runs it all the same.
    let (view, log) = run_to_end(folder.path(), &[&small], project(1)).await;
    assert_eq!(view.state, Some(RunState::Completed));
    assert_eq!(
        decisions(&log)[0].candidates[0].memory.unwrap().room(),
        MemoryRoom::TooLittle
    );
}
