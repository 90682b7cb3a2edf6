//! What a person can ask of a run while it goes on, and from another program: on real servers.

use crate::command_line::{BuiltinProcess, command, refuses, run, stderr, stdout};
use crate::engine_driver::{Graph, World, backend_id, online};
use crate::small_projects::numbered;
use crate::whole_runs::{
    BuiltinServer, PATIENCE, assert_posted_once, begin, files_below, next, start_engine,
    start_server,
};
use comfyui_orchestrator::engine::machine::{Availability, Input};
use comfyui_orchestrator::engine::{
    Engine, EngineEvent, ItemId, ItemState, OnStart, ResumePolicy, RetryScope, RunCommand,
    RunEvent, RunEventBody, RunId, RunState, RunView, RunWish,
};
use comfyui_orchestrator::project::{
    Literal, NodeId, NodeKind, PortBinding, Project, RetryPolicy, write_portable_form,
};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A picture that takes its time.
fn slow_picture(seconds: f64) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": seconds, "steps": 20, "seed": 1, "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "slow"}},
    })
}

fn project(count: u32, seconds: f64) -> Project {
    let retry = RetryPolicy::default();
    numbered(&slow_picture(seconds), ("1", "color"), count, retry)
}

/// A run that goes on, and all that is known of it.
struct Going {
    engine: Engine,
    events: mpsc::Receiver<EngineEvent>,
    run_id: RunId,
    work: NodeId,
    view: RunView,
    log: Vec<RunEvent>,
}

impl Going {
    async fn start(folder: &Path, servers: &[&BuiltinServer], project: Project) -> Self {
        let engine = start_engine(folder, servers, ResumePolicy::Leave).await;
        let work = project
            .nodes
            .values()
            .find(|node| matches!(node.kind, NodeKind::Workflow(_)))
            .map(|node| node.id)
            .unwrap();
        let (run_id, events) = begin(&engine, folder, project);
        Self {
            engine,
            events,
            run_id,
            work,
            view: RunView::default(),
            log: Vec::new(),
        }
    }

    fn send(&self, command: RunCommand) {
        self.engine.handle.send(command).unwrap();
    }

    fn wish(&self, wish: RunWish) {
        self.send(RunCommand::wish(self.run_id, wish));
    }

    async fn until(&mut self, holds: impl Fn(&RunView) -> bool) {
        let begun = Instant::now();
        while !holds(&self.view) {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.view.counts);
            match next(&mut self.events).await {
                EngineEvent::Run(event) if event.run_id == self.run_id => {
                    self.view.apply(&event);
                    self.log.push(event);
                }
                EngineEvent::RunRefused { problems, .. } => panic!("refused: {problems:?}"),
                _ => {}
            }
        }
    }

    /// Until something happens that was not known before.
    async fn until_told(&mut self, is_it: impl Fn(&RunEventBody) -> bool) {
        let begun = Instant::now();
        let mut known = self.log.len();
        loop {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.view.counts);
            let seq = self.view.next_seq;
            self.until(|view| view.next_seq > seq).await;
            if self.log[known..].iter().any(|event| is_it(&event.body)) {
                return;
            }
            known = self.log.len();
        }
    }

    /// An item of the workflow that no server has: which one goes first depends on who was looked up first.
    fn waiting_item(&self) -> ItemId {
        self.view
            .items
            .iter()
            .find(|(_, item)| item.node_id == self.work && item.state == ItemState::Ready)
            .map(|(item_id, _)| *item_id)
            .unwrap()
    }

    fn of_work(&self, state: ItemState) -> u32 {
        self.view.nodes[&self.work].counts.get(state)
    }

    /// The workflow's item of this number.
    fn item(&self, number: u32) -> ItemId {
        let label = format!("n={number}");
        self.view
            .items
            .iter()
            .find(|(_, item)| item.node_id == self.work && *item.label == *label)
            .map(|(item_id, _)| *item_id)
            .unwrap()
    }

    /// The items in the order in which they were sent.
    fn sent(&self) -> Vec<ItemId> {
        self.log
            .iter()
            .filter_map(|event| match &event.body {
                RunEventBody::AttemptPlaced { item_id, .. } => Some(*item_id),
                _ => None,
            })
            .collect()
    }

    fn withdrawn(&self) -> usize {
        self.log
            .iter()
            .filter(|event| matches!(event.body, RunEventBody::AttemptWithdrawn { .. }))
            .count()
    }
}

fn is_withdrawn(body: &RunEventBody) -> bool {
    matches!(body, RunEventBody::AttemptWithdrawn { .. })
}

fn ended(view: &RunView) -> bool {
    view.state.is_some_and(RunState::is_ended)
}

fn done(count: u32) -> impl Fn(&RunView) -> bool {
    move |view| view.files_written >= u64::from(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_and_then_its_node_are_called_off_and_retried_one_by_one() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let mut going = Going::start(folder.path(), &[&server], project(6, 0.6)).await;
    let work = going.work;
    going.until(done(1)).await;
    let item_id = going.waiting_item();
    going.wish(RunWish::CancelItem(item_id));
    going
        .until(|view| view.counts.get(ItemState::Cancelled) == 1)
        .await;
    assert!(!ended(&going.view), "the others go on");
    going.wish(RunWish::CancelNode(work));
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::CompletedWithFailures));
    let made = going.of_work(ItemState::Done);
    assert!((1..5).contains(&made), "{made}");
    assert_eq!(going.of_work(ItemState::Cancelled), 6 - made);

    going.wish(RunWish::Retry(RetryScope::Items(vec![item_id])));
    going
        .until(|view| view.items[&item_id].state == ItemState::Done && ended(view))
        .await;
    assert_eq!(going.of_work(ItemState::Done), made + 1, "that item alone");
    going.wish(RunWish::Retry(RetryScope::Node(work)));
    going
        .until(|view| view.state == Some(RunState::Completed))
        .await;
    assert_eq!(going.of_work(ItemState::Done), 6);
    assert_posted_once(&going.log, &[&server.handle]);
    going.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_sends_nothing_and_what_goes_first_is_for_a_person_to_say() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let mut going = Going::start(folder.path(), &[&server], project(8, 0.2)).await;
    going.until(done(1)).await;
    going.wish(RunWish::Pause);
    going
        .until(|view| view.state == Some(RunState::Paused) && view.counts.active() == 0)
        .await;
    let posts = server.handle.posts_by_prompt_id().len();
    let last = going.waiting_item();
    going.wish(RunWish::SetItemPriority {
        item_ids: vec![last],
        priority: 3,
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.handle.posts_by_prompt_id().len(), posts);
    let before = going.sent().len();
    going.wish(RunWish::Resume);
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::Completed));
    assert_eq!(going.sent()[before], last);
    assert_eq!(files_below(&folder.path().join("out")).len(), 8);
    going.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_item_is_made_again_with_another_value_and_nothing_else_is() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let project = project(3, 0.0);
    let field = match &project
        .nodes
        .values()
        .find(|node| matches!(node.kind, NodeKind::Workflow(_)))
        .unwrap()
        .inputs[0]
        .binding
    {
        PortBinding::Parameter(address) => address.clone(),
        other => panic!("{other:?}"),
    };
    let mut going = Going::start(folder.path(), &[&server], project).await;
    going.until(ended).await;
    let item_id = going.item(1);
    let before = going.sent().len();
    going.wish(RunWish::RedoItem {
        item_id,
        fields: vec![(field, Literal::Integer(0xFF_0000_u32.into()))],
    });
    going.until(|view| !ended(view)).await;
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::Completed));
    assert_eq!(going.sent()[before..], [item_id]);
    let written = going.view.recent_files.back().unwrap();
    let pixel = image::open(written).unwrap().to_rgb8().get_pixel(0, 0).0;
    assert_eq!(pixel, [255, 0, 0]);
    going.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_drained_vacated_and_removed_while_it_works() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let b = start_server(folder.path(), "b", 0, None).await;
    let mut going = Going::start(folder.path(), &[&a, &b], project(24, 0.4)).await;
    let (on_a, on_b) = (a.config.id, b.config.id);
    going.until(done(2)).await;
    // Drained: what it has ends there, and it gets nothing new.
    going.send(RunCommand::SetBackendEnabled {
        backend_id: on_a,
        enabled: false,
    });
    let work = going.work;
    going
        .until(move |view| !view.nodes[&work].backends.contains_key(&on_a))
        .await;
    assert_eq!(going.withdrawn(), 0);
    let posts = a.handle.posts_by_prompt_id().len();
    going.until(done(6)).await;
    assert_eq!(a.handle.posts_by_prompt_id().len(), posts, "nothing new");
    // The other way round, and at once: what b has goes to a.
    for command in [
        RunCommand::SetBackendEnabled {
            backend_id: on_a,
            enabled: true,
        },
        RunCommand::SetBackendEnabled {
            backend_id: on_b,
            enabled: false,
        },
        RunCommand::VacateBackend { backend_id: on_b },
    ] {
        going.send(command);
    }
    going.until_told(is_withdrawn).await;
    going.until(done(8)).await;
    // Removed while it works: what it has goes elsewhere, too.
    let before = going.withdrawn();
    going.send(RunCommand::SetBackendEnabled {
        backend_id: on_b,
        enabled: true,
    });
    going.send(RunCommand::RemoveBackend { backend_id: on_a });
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::Completed));
    assert!(going.withdrawn() > before);
    assert_eq!(files_below(&folder.path().join("out")).len(), 24);
    assert_posted_once(&going.log, &[&a.handle, &b.handle]);
    going.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_runs_go_on_pause_or_wait_at_the_start_as_it_is_set() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let mut going = Going::start(folder.path(), &[&server], project(6, 0.3)).await;
    let run_id = going.run_id;
    going.until(done(1)).await;
    assert_eq!(
        going.engine.handle.on_start().await.unwrap(),
        OnStart::Resume
    );
    going
        .engine
        .handle
        .set_on_start(OnStart::Ask)
        .await
        .unwrap();
    going.engine.stop().await;

    let engine = start_engine(folder.path(), &[&server], ResumePolicy::BySetting).await;
    let mut events = engine.handle.subscribe().unwrap();
    let unfinished = loop {
        if let EngineEvent::Unfinished(run_ids) = next(&mut events).await {
            break run_ids;
        }
    };
    assert_eq!(unfinished, [run_id]);
    let posts = server.handle.posts_by_prompt_id().len();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.handle.posts_by_prompt_id().len(), posts, "it rests");
    engine.handle.set_on_start(OnStart::Paused).await.unwrap();
    engine.stop().await;

    let engine = start_engine(folder.path(), &[&server], ResumePolicy::BySetting).await;
    let events = engine.handle.subscribe().unwrap();
    let mut going = Going {
        engine,
        events,
        view: RunView::default(),
        log: Vec::new(),
        ..going
    };
    going
        .until(|view| view.state == Some(RunState::Paused) && view.counts.active() == 0)
        .await;
    assert!(!done(6)(&going.view));
    going.wish(RunWish::Resume);
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::Completed));
    assert_posted_once(&going.log, &[&server.handle]);
    assert_eq!(files_below(&folder.path().join("out")).len(), 6);
    going.engine.stop().await;
}

#[test]
fn a_node_goes_first_or_not_at_all_also_after_restarts() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 3);
    let mut ends = Vec::new();
    for title in ["A", "B"] {
        let workflow = graph.workflow(title, &["seed"]);
        let output = graph.output(&format!("O{title}"));
        graph.link(fan_out, "F", workflow, "seed");
        graph.link(workflow, "image", output, "value");
        ends.push(workflow);
    }
    let mut world = World::new(&graph);
    let (first, second) = (ends[0], ends[1]);
    world.start();
    world.wish(RunWish::SetNodePriority {
        node_id: second,
        priority: 2,
    });
    world.restart();
    let title_of = |world: &World| {
        world
            .submitted
            .back()
            .map(|submission| world.project.nodes[&submission.node_id].title.clone())
    };
    while world.answer_local() {}
    // The first of both were sent before; then all of B goes first.
    for _ in 0..2 {
        assert!(world.execute(|_| true));
        assert_eq!(title_of(&world).as_deref(), Some("B"));
        while world.answer_local() {}
    }
    world.wish(RunWish::CancelNode(first));
    world.run();
    assert_eq!(world.run_state, RunState::CompletedWithFailures);
    assert_eq!(world.files("OB"), 3);
    for length in 0..=world.log.len() {
        let mut again = World::new(&graph);
        again.take_in_log(world.log[..length].to_vec());
        again.restart();
        again.check_against_machine();
    }
    world.wish(RunWish::Retry(RetryScope::Node(first)));
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.files("OA"), 3);
}

#[test]
fn a_workflow_goes_where_its_measured_memory_fits_while_there_is_such_a_place() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 4);
    let workflow = graph.workflow("W", &["seed"]);
    graph.link(fan_out, "F", workflow, "seed");
    let mut world = World::with_backends(&graph, 2);
    let sized = |number: u128, gigabytes: u64| {
        let mut facts = online(number);
        facts.vram_bytes = Some(gigabytes * 1_000_000_000);
        facts
    };
    let mut small = sized(1, 8);
    small.availability = Availability::Disabled;
    world.step(Input::Backend(sized(0, 24)));
    world.step(Input::Backend(small));
    world.start();
    while world.answer_local() {}
    let attempt_id = world.submitted[0].attempt_id;
    world.step(Input::AttemptStarted { attempt_id });
    world.step(Input::MemorySeen {
        attempt_id,
        used_bytes: 17_000_000_000,
    });
    world.step(Input::Backend(sized(1, 8)));
    let there = |world: &World| {
        world
            .submitted
            .iter()
            .any(|one| one.backend_id == backend_id(1))
    };
    world.execute_attempt(attempt_id);
    assert!(
        !there(&world),
        "8 GB are too little as far as anybody knows"
    );
    // Nowhere else: it is tried after all.
    let mut large = sized(0, 24);
    large.availability = Availability::Disabled;
    world.step(Input::Backend(large));
    assert!(there(&world));
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn another_program_is_told_what_to_do_with_its_run() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let file = folder.path().join("slow.orchestrator.json");
    std::fs::write(&file, write_portable_form(&project(6, 0.8)).unwrap()).unwrap();
    let added = run(&data, &["backend", "add", &server.url, "--name", "one"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let child = command(&data)
        .args(["run", &file.to_string_lossy(), "--out"])
        .arg(folder.path().join("out"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let tell = |arguments: &[&str]| {
        let told = run(&data, arguments);
        assert!(told.status.success(), "{arguments:?}: {}", stderr(&told));
        stdout(&told)
    };
    let begun = Instant::now();
    while !stdout(&run(&data, &["runs", "show", "last", "--json"])).contains("attempt_started") {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(tell(&["runs", "pause", "last"]).contains("was told"));
    let begun = Instant::now();
    while !stdout(&run(&data, &["runs", "list"])).contains("paused") {
        assert!(begun.elapsed() < PATIENCE, "it does not pause");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Which items went first is left to chance: looking for earlier results takes each its own time.
    let placed_and_waiting = |data: &Path| -> (Vec<String>, Vec<String>) {
        let shown = stdout(&run(data, &["runs", "show", "last", "--json"]));
        let events: Vec<Value> = shown
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let of = |name: &str| -> Vec<String> {
            events
                .iter()
                .filter(|event| event["event"] == name)
                .map(|event| event["item_id"].as_str().unwrap().to_owned())
                .collect()
        };
        let placed = of("attempt_placed");
        let mut items = of("item_created");
        items.retain(|item_id| !placed.contains(item_id));
        // The first item is that of the fan-out.
        (placed, items.split_off(1))
    };
    let (placed, left) = placed_and_waiting(&data);
    tell(&["runs", "cancel", "last", &left[0]]);
    tell(&["runs", "priority", "last", "2", &left[1]]);
    tell(&["backend", "disable", "one"]);
    tell(&["backend", "enable", "one"]);
    tell(&["runs", "resume", "last"]);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("Paused.") && said.contains("somebody cancelled it"),
        "{said}"
    );
    assert_eq!(files_below(&folder.path().join("out")).len(), 5);

    // Nobody works on it any more: the same commands take it up.
    let redone = run(&data, &["runs", "redo", "last", &placed[0], "--new-seed"]);
    assert!(
        stderr(&redone).contains("Completed with failures"),
        "{}",
        stderr(&redone)
    );
    let retried = run(&data, &["runs", "retry", "last", &left[0]]);
    assert!(retried.status.success(), "{}", stderr(&retried));
    assert!(files_below(&folder.path().join("out")).len() >= 6);
    assert_eq!(tell(&["runs", "on-start"]).trim(), "resume");
    assert_eq!(tell(&["runs", "on-start", "ask"]).trim(), "ask");
    let wrong = run(&data, &["runs", "on-start", "maybe"]);
    assert!(
        stderr(&wrong).contains("resume, paused and ask"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn an_item_is_named_by_whole_labels_and_an_unclear_name_is_asked_back() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let out = folder.path().join("out");
    let file = folder.path().join("twelve.orchestrator.json");
    std::fs::write(&file, write_portable_form(&project(12, 0.0)).unwrap()).unwrap();
    let (file, out_text) = (file.to_string_lossy(), out.to_string_lossy());
    let added = run(&data, &["backend", "add", &server.url, "--name", "one"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let ran = run(&data, &["run", &file, "--out", &out_text]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(files_below(&out).len(), 12);

    // Seeds 1, 10 and 11 are three items.
    let redone = run(&data, &["runs", "redo", "last", "work n=1", "--new-seed"]);
    assert!(redone.status.success(), "{}", stderr(&redone));
    assert_eq!(files_below(&out).len(), 13, "one of twelve is made again");
    let why = stdout(&run(&data, &["runs", "show", "last", "--why", "work n=1"]));
    assert!(
        why.contains("work n=1 (item") && !why.contains("n=10"),
        "{why}"
    );
    assert_eq!(why.matches("  attempt ").count(), 2, "{why}");

    for command in ["redo", "cancel", "retry"] {
        let unclear = run(&data, &["runs", command, "last", "n=1"]);
        refuses(&unclear, &["\"n=1\" could mean", "Output n=1", "work n=1"]);
        let nothing = run(&data, &["runs", command, "last", "work n=12"]);
        refuses(&nothing, &["no item is called \"work n=12\""]);
    }
    assert_eq!(files_below(&out).len(), 13, "nothing was done by guess");
}

#[test]
fn what_is_made_again_with_another_seed_carries_that_seed() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let out = folder.path().join("out");
    let file = folder.path().join("seeds.orchestrator.json");
    let project = numbered(&slow_picture(0.0), ("2", "seed"), 3, RetryPolicy::default());
    std::fs::write(&file, write_portable_form(&project).unwrap()).unwrap();
    let (file, out_text) = (file.to_string_lossy(), out.to_string_lossy());
    let arguments = ["run", &file, "--backend", &server.url, "--out", &out_text];
    let ran = run(&data, &arguments);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let before = files_below(&out);
    assert_eq!(before.len(), 3);

    let redone = run(&data, &["runs", "redo", "last", "work n=1", "--new-seed"]);
    assert!(redone.status.success(), "{}", stderr(&redone));
    let events = stdout(&run(&data, &["runs", "show", "last", "--json"]));
    let edited: Value = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|event: &Value| event["event"] == "item_edited")
        .unwrap();
    let seed = edited["fields"][0][1]
        .as_u64()
        .or_else(|| edited["fields"][0][1]["integer"].as_u64())
        .unwrap_or_else(|| panic!("{edited}"));
    let new: Vec<_> = files_below(&out)
        .into_iter()
        .filter(|file| !before.contains(file))
        .collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert_eq!(new[0], format!("file_n={seed}.png"));
    let bytes = std::fs::read(out.join(&new[0])).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains(&format!("\"labels\":{{\"n\":\"{seed}\"}}")),
        "its provenance says so"
    );
    let why = stdout(&run(&data, &["runs", "show", "last", "--why", "work n=1"]));
    assert!(why.contains(&format!("seed = {seed}")), "{why}");
}

#[test]
fn what_ended_says_how_and_calling_an_item_off_sets_nothing_going() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let out = folder.path().join("out").to_string_lossy().into_owned();
    let added = run(&data, &["backend", "add", &server.url, "--name", "one"]);
    assert!(added.status.success(), "{}", stderr(&added));
    let written = |name: &str, project: &Project| {
        let file = folder.path().join(format!("{name}.orchestrator.json"));
        std::fs::write(&file, write_portable_form(project).unwrap()).unwrap();
        file.to_string_lossy().into_owned()
    };
    // No values: nothing is made, and that is said.
    let none = run(
        &data,
        &["run", &written("none", &project(0, 0.0)), "--out", &out],
    );
    assert!(none.status.success(), "{}", stderr(&none));
    let said = stderr(&none);
    assert!(said.contains("Completed: no file was to be made"), "{said}");
    for what in ["pause", "cancel"] {
        let told = run(&data, &["runs", what, "last"]);
        assert!(
            stdout(&told).contains("there is nothing to"),
            "{}",
            stdout(&told)
        );
    }

    // A run whose program is killed; one of its items is called off, and nothing goes on by that.
    let slow = written("slow", &project(6, 1.0));
    let mut child = command(&data)
        .args(["run", &slow, "--out", &out])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let shown = || stdout(&run(&data, &["runs", "show", "last", "--json"]));
    let begun = Instant::now();
    while !shown().contains("attempt_started") {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let waiting = {
        let events: Vec<Value> = shown()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let placed: Vec<&Value> = events
            .iter()
            .filter(|event| event["event"] == "attempt_placed")
            .map(|event| &event["item_id"])
            .collect();
        events
            .iter()
            .filter(|event| event["event"] == "item_created" && event["labels"]["n"].is_string())
            .map(|event| &event["item_id"])
            .find(|item_id| !placed.contains(item_id))
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    let told = run(&data, &["runs", "cancel", "last", &waiting]);
    assert!(told.status.success(), "{}", stderr(&told));
    assert!(stdout(&told).contains("runs resume"), "{}", stdout(&told));
    let list = stdout(&run(&data, &["runs", "list"]));
    assert!(list.contains("paused"), "{list}");
    let resumed = run(&data, &["runs", "resume", "last"]);
    assert_eq!(resumed.status.code(), Some(1), "{}", stderr(&resumed));
    let shown = stdout(&run(&data, &["runs", "show", "last"]));
    assert!(shown.contains("5 done, 1 cancelled"), "{shown}");
    assert!(
        shown.contains("cancelled: somebody cancelled it"),
        "{shown}"
    );
}
