//! What a person asked and was accepted is done, whenever our process dies: in the pure machine, wish by wish, and on real
//! backends by kill -9.

use crate::command_line::{BuiltinProcess, command, run, stderr, stdout};
use crate::engine_driver::{Graph, World};
use crate::run_semantics::item_id;
use crate::small_projects::numbered;
use crate::whole_runs::{PATIENCE, files_below};
use comfyui_orchestrator::engine::ItemState::{
    self, Blocked, Cancelled, Done, Failed, Ready, Running, Waiting,
};
use comfyui_orchestrator::engine::machine::Input;
use comfyui_orchestrator::engine::{Failure, FailureClass, RetryScope, RunState, RunWish};
use comfyui_orchestrator::project::{
    FanOutSource, MergeFailurePolicy, MergeMode, MergeScope, NodeId, NodeKind, Project,
    RetryPolicy, write_portable_form,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// `F(3) → W1 → W2 → M(ignore what failed) → W3 → O`; `W1 F:2` fails the first time. Everything is made but what W3 executes.
fn in_the_middle() -> World {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 3);
    let first = graph.workflow("W1", &["seed"]);
    let second = graph.workflow("W2", &["image"]);
    let merge = graph.merge_with(
        "M",
        MergeMode::All,
        MergeScope::Innermost,
        MergeFailurePolicy::Ignore,
    );
    let third = graph.workflow("W3", &["image"]);
    let output = graph.output("O");
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", second, "image");
    graph.link(second, "image", merge, "values");
    graph.link(merge, "list", third, "image");
    graph.link(third, "image", output, "value");
    let mut world = World::with_backends(&graph, 2);
    world.fails = [("W1 F:2".to_owned(), (FailureClass::Invalid, 1))].into();
    world.start();
    while world.answer_local() || world.execute(|name| name != "W3") {}
    let attempt_id = world.submitted[0].attempt_id;
    world.step(Input::AttemptAccepted { attempt_id });
    world.step(Input::AttemptStarted { attempt_id });
    assert_eq!(world.item("W3").state, Running);
    assert_eq!(world.item("W1 F:2").state, Failed);
    world
}

fn node_id(world: &World, title: &str) -> NodeId {
    let nodes = world.project.nodes.values();
    nodes
        .into_iter()
        .find(|node| node.title == title)
        .unwrap()
        .id
}

/// What a person does, one thing after the other.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Pause,
    Resume,
    Cancel,
    CancelItem(&'static str),
    CancelNode(&'static str),
    Retry,
    RetryItem(&'static str),
    RetryNode(&'static str),
    Redo(&'static str),
    Vacate,
    /// No wish, but the same way: the program finds that W3 shows no sign of progress.
    Silence,
}

impl Wish {
    fn of(self, world: &World) -> Input {
        let run_id = world.run_id;
        match self {
            Self::Pause => Input::wish(run_id, RunWish::Pause),
            Self::Resume => Input::wish(run_id, RunWish::Resume),
            Self::Cancel => Input::wish(run_id, RunWish::Cancel),
            Self::CancelItem(name) => {
                Input::wish(run_id, RunWish::CancelItem(item_id(world, name)))
            }
            Self::CancelNode(title) => {
                Input::wish(run_id, RunWish::CancelNode(node_id(world, title)))
            }
            Self::Retry => Input::wish(run_id, RunWish::Retry(RetryScope::Run)),
            Self::RetryItem(name) => Input::wish(
                run_id,
                RunWish::Retry(RetryScope::Items(vec![item_id(world, name)])),
            ),
            Self::RetryNode(title) => Input::wish(
                run_id,
                RunWish::Retry(RetryScope::Node(node_id(world, title))),
            ),
            Self::Redo(name) => Input::wish(
                run_id,
                RunWish::RedoItem {
                    item_id: item_id(world, name),
                    fields: vec![],
                },
            ),
            Self::Vacate => Input::VacateBackend {
                backend_id: world.submitted[0].backend_id,
            },
            Self::Silence => Input::AttemptSilent {
                attempt_id: world.submitted[0].attempt_id,
                silence_s: 1800,
            },
        }
    }
}

/// When our process dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    Never,
    /// Before the backends hear of anything.
    BeforeTheBackendsHear,
    /// After a backend has interrupted what it was told to, and before we hear of that.
    BeforeWeHear,
}

/// Each item's state and attempts, and what was written.
type Outcome = (
    RunState,
    BTreeMap<String, (ItemState, u32)>,
    BTreeMap<String, String>,
);

fn outcome(world: &World) -> Outcome {
    let items = world
        .seen
        .values()
        .map(|seen| {
            let name = world.name(seen.node_id, &seen.path);
            (name, (seen.state, seen.attempts))
        })
        .collect();
    let written = world
        .written
        .iter()
        .map(|((node_id, path), text)| (world.name(*node_id, path), text.clone()))
        .collect();
    (world.run_state, items, written)
}

fn live(wishes: &[Wish], death: Death) -> Outcome {
    let mut world = in_the_middle();
    for wish in wishes {
        let wish = wish.of(&world);
        world.step(wish);
    }
    let ordered = world.cancels.clone();
    match death {
        Death::Never => {}
        Death::BeforeTheBackendsHear => world.restart(),
        Death::BeforeWeHear => {
            world.restart();
            for attempt_id in ordered {
                world.submitted.retain(|one| one.attempt_id != attempt_id);
                world.step(Input::AttemptEnded {
                    attempt_id,
                    outcome: Err(Failure::new(
                        FailureClass::Interrupted,
                        "somebody interrupted it on the backend",
                    )),
                });
            }
        }
    }
    world.run();
    // Once more after all is over: nothing that was done is wished again.
    let before = outcome(&world);
    world.restart();
    world.run();
    assert_eq!(outcome(&world), before, "{wishes:?}, {death:?}");
    before
}

#[test]
fn whatever_was_asked_is_done_although_the_program_died_before() {
    use Wish::{
        Cancel, CancelItem, CancelNode, Pause, Redo, Resume, Retry, RetryItem, RetryNode, Silence,
        Vacate,
    };
    // What is asked while W3 executes; how the run ends, and how some items do, with their attempts.
    type Ends = &'static [(&'static str, ItemState, u32)];
    let cases: &[(&[Wish], RunState, Ends)] = &[
        (
            &[Redo("W1 F:0"), Pause],
            RunState::Paused,
            &[("W1 F:0", Ready, 1), ("W3", Waiting, 1)],
        ),
        (&[Cancel], RunState::Cancelled, &[("W3", Cancelled, 1)]),
        (
            &[Cancel, Resume],
            RunState::CompletedWithFailures,
            &[("W3", Done, 2), ("W1 F:2", Failed, 1)],
        ),
        (
            &[Cancel, Retry],
            RunState::Completed,
            &[("W3", Done, 2), ("W1 F:2", Done, 2), ("W1 F:0", Done, 1)],
        ),
        (
            &[Cancel, Retry, Cancel],
            RunState::Cancelled,
            &[("W3", Cancelled, 1), ("W1 F:2", Failed, 1)],
        ),
        (
            &[Cancel, Redo("W1 F:0")],
            RunState::CompletedWithFailures,
            &[("W1 F:0", Done, 2), ("W3", Done, 2)],
        ),
        (
            &[Cancel, RetryItem("W1 F:2")],
            RunState::Completed,
            &[("W1 F:2", Done, 2), ("W3", Done, 2)],
        ),
        (
            &[Cancel, Redo("W1 F:0"), Cancel],
            RunState::Cancelled,
            &[("W1 F:0", Done, 1), ("W3", Cancelled, 1)],
        ),
        (
            &[CancelItem("W3")],
            RunState::Failed,
            &[("W3", Cancelled, 1), ("O", Blocked, 0)],
        ),
        (
            &[CancelItem("W3"), RetryItem("W3")],
            RunState::CompletedWithFailures,
            &[("W3", Done, 2)],
        ),
        (
            &[CancelItem("W3"), Retry],
            RunState::Completed,
            &[("W3", Done, 2), ("W1 F:2", Done, 2)],
        ),
        (
            &[CancelItem("W3"), RetryItem("W3"), CancelItem("W3")],
            RunState::Failed,
            &[("W3", Cancelled, 1)],
        ),
        (
            &[CancelNode("W3")],
            RunState::Failed,
            &[("W3", Cancelled, 1)],
        ),
        (
            &[CancelNode("W3"), RetryNode("W3")],
            RunState::CompletedWithFailures,
            &[("W3", Done, 2)],
        ),
        // W3 is made once with what is there and once with all of it.
        (
            &[Retry],
            RunState::Completed,
            &[("W1 F:2", Done, 2), ("W3", Done, 2), ("W1 F:0", Done, 1)],
        ),
        (
            &[RetryItem("W1 F:2")],
            RunState::Completed,
            &[("W1 F:2", Done, 2), ("W3", Done, 2)],
        ),
        (
            &[RetryNode("W1")],
            RunState::Completed,
            &[("W1 F:2", Done, 2), ("W1 F:0", Done, 1)],
        ),
        (
            &[Retry, Cancel],
            RunState::Cancelled,
            &[("W1 F:2", Failed, 1), ("W3", Cancelled, 1)],
        ),
        (
            &[RetryItem("W1 F:2"), CancelItem("W1 F:2")],
            RunState::CompletedWithFailures,
            &[("W1 F:2", Failed, 1), ("W3", Done, 1)],
        ),
        (
            &[Redo("W1 F:0")],
            RunState::CompletedWithFailures,
            &[("W1 F:0", Done, 2), ("W3", Done, 2)],
        ),
        (
            &[Redo("W1 F:0"), CancelNode("W1")],
            RunState::CompletedWithFailures,
            &[("W1 F:0", Done, 1), ("W3", Done, 1)],
        ),
        (
            &[Redo("W3")],
            RunState::CompletedWithFailures,
            &[("W3", Done, 2)],
        ),
        (
            &[Redo("W3"), CancelItem("W3")],
            RunState::Failed,
            &[("W3", Cancelled, 1)],
        ),
        (
            &[Vacate],
            RunState::CompletedWithFailures,
            &[("W3", Done, 2)],
        ),
        (
            &[Vacate, CancelItem("W3")],
            RunState::Failed,
            &[("W3", Cancelled, 1)],
        ),
        (
            &[CancelItem("W3"), Vacate],
            RunState::Failed,
            &[("W3", Cancelled, 1)],
        ),
        (
            &[Vacate, Redo("W3")],
            RunState::CompletedWithFailures,
            &[("W3", Done, 2)],
        ),
        (
            &[Silence],
            RunState::CompletedWithFailures,
            &[("W3", Done, 2)],
        ),
        (
            &[Silence, CancelItem("W3")],
            RunState::Failed,
            &[("W3", Cancelled, 1)],
        ),
    ];
    let mut wrong = Vec::new();
    for (wishes, end, items) in cases {
        let whole = live(wishes, Death::Never);
        if whole.0 != *end {
            wrong.push(format!("{wishes:?}: {:?} instead of {end:?}", whole.0));
        }
        for (name, state, attempts) in *items {
            if whole.1[*name] != (*state, *attempts) {
                wrong.push(format!("{wishes:?}: {name} {:?}", whole.1[*name]));
            }
        }
        for death in [Death::BeforeTheBackendsHear, Death::BeforeWeHear] {
            let cut_off = live(wishes, death);
            if cut_off != whole {
                wrong.push(format!(
                    "{wishes:?}, {death:?}: {cut_off:?} instead of {whole:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How long the longer of the two pictures takes: longer than a person, and several programs, take to cancel it.
const LONG_S: f64 = 20.0;

/// Two pictures whose backend stops for nobody before they are done: a long one and a short one.
fn stubborn_pictures() -> Project {
    let prompt = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": 0.0, "steps": 1, "seed": 1, "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "slow"}},
    });
    let mut project = numbered(&prompt, ("2", "seconds"), 2, RetryPolicy::default());
    for node in project.nodes.values_mut() {
        if let NodeKind::FanOut(settings) = &mut node.kind
            && let FanOutSource::Range { start, step, .. } = &mut settings.source
        {
            (*start, *step) = (LONG_S, -LONG_S);
        }
    }
    project
}

#[test]
fn an_item_called_off_by_a_program_that_is_killed_then_is_cancelled_and_not_failed() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    let file = folder.path().join("slow.orchestrator.json");
    let project = stubborn_pictures();
    std::fs::write(&file, write_portable_form(&project).unwrap()).unwrap();
    let added = run(&data, &["backend", "add", &server.url]);
    assert!(added.status.success(), "{}", stderr(&added));
    let tell = |arguments: &[&str]| {
        let told = run(&data, arguments);
        assert!(told.status.success(), "{arguments:?}: {}", stderr(&told));
        stdout(&told)
    };
    let events = || -> Vec<Value> {
        let shown = run(&data, &["runs", "show", "last", "--json"]);
        let lines = stdout(&shown);
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let of = |name: &str| -> Vec<Value> {
        let mut events = events();
        events.retain(|event| event["event"] == name);
        events
    };
    let mut child = command(&data)
        .args(["run", &file.to_string_lossy(), "--out"])
        .arg(folder.path().join("out"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The long one, whichever went first.
    let begun = Instant::now();
    let (item_id, attempt_id) = loop {
        let events = events();
        let is_long = |event: &&Value| {
            let label = event["labels"]["n"].as_str();
            label.is_some_and(|label| label.parse::<f64>().unwrap() > 0.0)
        };
        let attempt = |event: &Value| {
            let created = events.iter().filter(is_long);
            let mut ids = created.map(|item| &item["item_id"]);
            (event["event"] == "attempt_placed" && ids.any(|id| *id == event["item_id"]))
                .then(|| (event["item_id"].clone(), event["attempt_id"].clone()))
        };
        if let Some((item_id, attempt_id)) = events.iter().find_map(attempt)
            && events.iter().any(|event| {
                event["event"] == "attempt_started" && event["attempt_id"] == attempt_id
            })
        {
            break (item_id.as_str().unwrap().to_owned(), attempt_id);
        }
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(tell(&["runs", "cancel", "last", &item_id]).contains("was told"));
    assert_eq!(of("attempt_called_off")[0]["attempt_id"], attempt_id);
    assert!(tell(&["runs", "pause", "last"]).contains("was told"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        of("attempt_cancelled").is_empty(),
        "it died before it heard"
    );
    assert!(tell(&["runs", "pause", "last"]).contains("is already paused"));
    // The backend interrupts it when it is done, and nobody listens.
    let begun = Instant::now();
    while !server.get("/queue").contains("\"queue_running\":[]") {
        assert!(begun.elapsed() < PATIENCE, "{}", server.get("/queue"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let history = server.get(&format!("/history/{}", attempt_id.as_str().unwrap()));
    assert!(history.contains("execution_interrupted"), "{history}");

    let resumed = run(&data, &["runs", "resume", "last"]);
    let said = stderr(&resumed);
    assert_eq!(resumed.status.code(), Some(1), "{said}");
    assert!(said.contains("somebody cancelled it"), "{said}");
    assert_eq!(of("attempt_cancelled")[0]["attempt_id"], attempt_id);
    assert!(of("item_failed").is_empty() && of("attempt_failed").is_empty());
    assert_eq!(files_below(&folder.path().join("out")).len(), 1);

    // What is so already is said at once, and is no news.
    let before = events().len();
    for (what, words) in [
        ("pause", "there is nothing to pause"),
        ("cancel", "there is nothing to cancel"),
    ] {
        assert!(tell(&["runs", what, "last"]).contains(words), "{what}");
    }
    tell(&["runs", "priority", "last", "0"]);
    assert_eq!(events().len(), before);
    let retried = run(&data, &["runs", "retry", "last", &item_id]);
    assert!(retried.status.success(), "{}", stderr(&retried));
    assert_eq!(files_below(&folder.path().join("out")).len(), 2);
}
