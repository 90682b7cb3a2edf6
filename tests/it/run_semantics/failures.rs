//! What a failure does: to what depends on it, by its class, to the pair of backend and workflow.

use super::{example_2, item_id};
use crate::engine_driver::{Graph, World, backend_id, online};
use comfyui_orchestrator::engine::machine::{Availability, BackendFacts, Input, NodeClasses};
use comfyui_orchestrator::engine::{FailureClass, ItemState, RetryScope, RunState, RunWish};
use comfyui_orchestrator::project::{
    Affinity, Axis, DataType, FanOutSource, Literal, MergeFailurePolicy, MergeMode, MergeScope,
    WorkflowName,
};
use comfyui_orchestrator::workflow::ObjectInfo;
use serde_json::json;
use std::sync::Arc;

use ItemState::{Blocked, Done, Failed};

/// Example 15 with both Merges of 16: W1{F:1} is refused.
fn examples_15_and_16() -> World {
    let (mut graph, [_, _, second, _]) = example_2(3);
    for (title, output_title, policy) in [
        ("M", "O2", MergeFailurePolicy::Ignore),
        ("N", "O3", MergeFailurePolicy::RequireAll),
    ] {
        let merge = graph.merge_with(title, MergeMode::All, MergeScope::Innermost, policy);
        let output = graph.output(output_title);
        graph.link(second, "image", merge, "values");
        graph.link(merge, "list", output, "value");
    }
    let mut world = World::new(&graph);
    world
        .fails
        .insert("W1 F:1".to_owned(), (FailureClass::Invalid, 1));
    world.start();
    world.run();
    world
}

#[test]
fn examples_15_and_16_failures_block_only_what_depends_on_them() {
    let world = examples_15_and_16();
    assert_eq!(world.states("W1")["F:1"], Failed);
    assert_eq!(world.item("W1 F:1").attempts, 1, "never retried");
    assert_eq!(world.states("W2")["F:1"], Blocked);
    assert_eq!(
        world.item("W2 F:1").reason,
        "\"W1\" (F=1) failed: W1 F:1 went wrong"
    );
    assert_eq!(world.files("O"), 2);
    assert_eq!(world.list("M"), ["F:0", "F:2"]);
    assert_eq!(world.count("O2", Done), 1);
    assert_eq!(world.count("N", Blocked), 1);
    assert_eq!(world.count("O3", Blocked), 1);
    assert_eq!(world.run_state, RunState::CompletedWithFailures);
}

#[test]
fn example_17_retry_failed_runs_only_what_is_missing() {
    let mut world = examples_15_and_16();
    world.wish(RunWish::Retry(RetryScope::Run));
    assert_eq!(world.run_state, RunState::Running);
    assert_eq!(world.item("W2 F:1").state, ItemState::Waiting);
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.list("M"), ["F:0", "F:1", "F:2"]);
    assert_eq!(world.list("N"), ["F:0", "F:1", "F:2"]);
    assert_eq!(world.files("O"), 3);
    assert_eq!(world.item("W1 F:1").attempts, 2, "same item, new attempt");
    for name in ["W1 F:0", "W1 F:2", "W2 F:0", "W2 F:2", "W2 F:1"] {
        assert_eq!(world.item(name).attempts, 1, "{name}");
    }
}

#[test]
fn failures_are_answered_by_class() {
    // NodeError: elsewhere; the same inputs on two backends make the item bad.
    let (graph, _) = example_2(1);
    let mut world = World::with_backends(&graph, 3);
    world
        .fails
        .insert("W1 F:0".to_owned(), (FailureClass::NodeError, 99));
    world.start();
    world.run();
    assert_eq!(world.item("W1 F:0").attempts, 2);
    assert_eq!(world.run_state, RunState::Failed);

    // With one backend it is tried there, as often as the policy says.
    let mut world = World::with_backends(&graph, 1);
    world
        .fails
        .insert("W1 F:0".to_owned(), (FailureClass::NodeError, 99));
    world.start();
    world.run();
    assert_eq!(world.item("W1 F:0").attempts, 3);

    // What happens on the way is not the item's fault.
    for (class, times) in [
        (FailureClass::Offline, 3),
        (FailureClass::Lost, 3),
        (FailureClass::Transfer, 6),
    ] {
        let mut world = World::with_backends(&graph, 2);
        world.fails.insert("W1 F:0".to_owned(), (class, times));
        world.start();
        world.run();
        assert_eq!(world.item("W1 F:0").attempts, times + 1, "{class:?}");
        assert_eq!(world.run_state, RunState::Completed, "{class:?}");
    }

    // Unless backends go away again and again while they execute it.
    for class in [FailureClass::Offline, FailureClass::Lost] {
        let mut world = World::with_backends(&graph, 2);
        world.fails.insert("W1 F:0".to_owned(), (class, 99));
        world.start();
        world.run();
        assert_eq!(world.item("W1 F:0").attempts, 4, "{class:?}");
        assert_eq!(world.run_state, RunState::Failed, "{class:?}");
    }

    // Out of memory twice on one machine: only where more memory is; nowhere is the end.
    let mut world = World::with_backends(&graph, 2);
    for (number, gigabytes) in [(0, 24), (1, 8)] {
        let mut facts = online(number);
        facts.vram_bytes = Some(gigabytes * 1_000_000_000);
        world.step(Input::Backend(facts));
    }
    world
        .fails
        .insert("W1 F:0".to_owned(), (FailureClass::OutOfMemory, 99));
    world.start();
    world.run();
    assert_eq!(world.run_state, RunState::Failed);
    assert!(world.item("W1 F:0").attempts <= 3);

    // A backend that lacks something is out; when all are, the item fails and names them.
    let mut world = World::with_backends(&graph, 2);
    world
        .fails
        .insert("W1 F:0".to_owned(), (FailureClass::MissingModel, 99));
    world.start();
    world.run();
    assert_eq!(world.item("W1 F:0").attempts, 2);
    let reason = &world.item("W1 F:0").reason;
    assert!(
        reason.contains("no backend can run \"W1\"")
            && reason.contains("machine-0")
            && reason.contains("machine-1"),
        "{reason}"
    );
}

/// A backend whose class "Make" takes one of these checkpoints and one of these samplers.
fn with_choices(number: u128, checkpoints: &[&str], samplers: &[&str]) -> BackendFacts {
    let json = json!({ "Make": {
        "input": { "required": { "checkpoint": [checkpoints, {}], "sampler": [samplers, {}] } },
        "output": ["IMAGE"], "name": "Make", "output_node": true,
    } });
    BackendFacts {
        classes: Some(NodeClasses(Arc::new(ObjectInfo::from_json(&json).unwrap()))),
        ..online(number)
    }
}

#[test]
fn a_model_that_a_link_brings_is_looked_for_before_anything_is_sent() {
    let mut graph = Graph::new();
    let names = [
        "xl\\base.safetensors",
        "flux.safetensors",
        "gone.safetensors",
    ];
    let fan_out = graph.fan_out_of(
        "F",
        FanOutSource::List(Axis {
            name: "checkpoint".to_owned(),
            data_type: DataType::Text,
            values: names.map(|name| Literal::Text(name.to_owned())).to_vec(),
        }),
    );
    let workflow = graph.workflow("W", &["checkpoint"]);
    graph.link(fan_out, "checkpoint", workflow, "checkpoint");

    let mut world = World::with_backends(&graph, 2);
    let both = ["euler"];
    world.step(Input::Backend(with_choices(
        0,
        &["xl/base.safetensors"],
        &both,
    )));
    world.step(Input::Backend(with_choices(
        1,
        &["flux.safetensors"],
        &both,
    )));
    world.start();
    world.run();
    assert_eq!(world.item("W F:0").state, Done);
    assert_eq!(world.item("W F:1").state, Done);
    assert_eq!(world.item("W F:1").attempts, 1, "nothing is tried in vain");
    let lost = world.item("W F:2");
    assert_eq!((lost.state, lost.attempts), (Failed, 0));
    assert!(
        lost.reason.contains("machine-0: lacks gone.safetensors")
            && lost.reason.contains("machine-1: lacks gone.safetensors"),
        "{}",
        lost.reason
    );

    // A backend that is away may have it: then it is waited for.
    let mut world = World::with_backends(&graph, 2);
    world.step(Input::Backend(with_choices(
        0,
        &["xl/base.safetensors"],
        &both,
    )));
    world.step(Input::Backend(BackendFacts {
        availability: Availability::Offline {
            reason: "connection refused".to_owned(),
        },
        ..online(1)
    }));
    world.start();
    world.run();
    assert_eq!(world.item("W F:0").state, Done);
    assert_eq!(world.item("W F:1").state, ItemState::Ready);
    let waits = world
        .machine
        .waiting_reason(world.now_ms, world.run_id, item_id(&world, "W F:1"));
    assert_eq!(
        waits.unwrap(),
        "machine-0: lacks flux.safetensors (checkpoint of #1 Make); machine-1: is offline: connection refused"
    );
}

#[test]
fn a_list_that_was_out_of_date_keeps_only_its_own_item_away() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out_of(
        "F",
        FanOutSource::List(Axis {
            name: "checkpoint".to_owned(),
            data_type: DataType::Text,
            values: ["a.ckpt", "b.ckpt"]
                .map(|name| Literal::Text(name.to_owned()))
                .to_vec(),
        }),
    );
    let workflow = graph.workflow("W", &["checkpoint"]);
    graph.link(fan_out, "checkpoint", workflow, "checkpoint");
    let mut world = World::with_backends(&graph, 1);
    world
        .fails
        .insert("W F:0".to_owned(), (FailureClass::MissingModel, 99));
    world.start();
    world.run();
    assert_eq!(world.item("W F:0").attempts, 1);
    assert_eq!(world.item("W F:0").state, Failed);
    assert_eq!(world.item("W F:1").state, Done);
}

#[test]
fn a_choice_that_nobody_offers_is_wrong() {
    let mut graph = Graph::new();
    let input = graph.input("I", "eulr");
    let workflow = graph.workflow("W", &["sampler"]);
    graph.link(input, "value", workflow, "sampler");
    let mut world = World::with_backends(&graph, 1);
    world.step(Input::Backend(with_choices(
        0,
        &["a.ckpt"],
        &["euler", "heun"],
    )));
    world.start();
    world.run();
    let item = world.item("W");
    assert_eq!((item.state, item.attempts), (Failed, 0));
    assert!(
        item.reason.contains("does not offer \"eulr\"") && item.reason.contains("(euler, heun)"),
        "{}",
        item.reason
    );
}

#[test]
fn two_failures_block_a_pair_for_two_minutes() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 8);
    let workflow = graph.workflow("W", &["seed"]);
    graph.link(fan_out, "F", workflow, "seed");
    let mut world = World::with_backends(&graph, 2);
    let run_id = world.run_id;
    world.start();
    let bad = backend_id(0);
    let blocked_ms = world.now_ms;
    for _ in 0..2 {
        let attempt_id = world
            .submitted
            .iter()
            .find(|one| one.backend_id == bad)
            .unwrap()
            .attempt_id;
        world.submitted.retain(|one| one.attempt_id != attempt_id);
        let failure = comfyui_orchestrator::engine::Failure::new(FailureClass::NodeError, "no");
        world.step(Input::AttemptEnded {
            attempt_id,
            outcome: Err(failure),
        });
    }
    assert!(
        world.wakes.contains(&(blocked_ms + 120_000)),
        "the machine wants to be woken when the pair is free again"
    );
    let waiting = world
        .seen
        .iter()
        .find(|(_, seen)| seen.state == ItemState::Ready)
        .map(|(item_id, _)| *item_id)
        .unwrap();
    let reason = world
        .machine
        .waiting_reason(world.now_ms, run_id, waiting)
        .unwrap();
    assert!(reason.contains("machine-1"), "{reason}");
    // Everything that is placed from now on goes to the other machine.
    let before = world.log.len();
    while let Some(attempt_id) = world
        .submitted
        .iter()
        .find(|one| one.backend_id != bad)
        .map(|one| one.attempt_id)
    {
        world.execute_attempt(attempt_id);
    }
    let placed: Vec<_> = world.log[before..]
        .iter()
        .filter_map(|event| match &event.body {
            comfyui_orchestrator::engine::RunEventBody::AttemptPlaced { backend_id, .. } => {
                Some(*backend_id)
            }
            _ => None,
        })
        .collect();
    assert!(placed.len() > 2);
    assert!(placed.iter().all(|backend_id| *backend_id != bad));
}

#[test]
fn items_wait_for_backends_with_a_named_reason() {
    let (mut graph, [_, first, second, _]) = example_2(1);
    graph.edit_workflow(first).affinity = Affinity::Backend(backend_id(1));
    graph.edit_workflow(second).workflow = WorkflowName::new("other").unwrap();
    let mut world = World::with_backends(&graph, 2);
    let mut facts = online(1);
    facts.availability = Availability::Offline {
        reason: "connection refused".to_owned(),
    };
    world.step(Input::Backend(facts));
    world.start();
    world.run();
    assert_eq!(
        world.run_state,
        RunState::Running,
        "offline is worth waiting for"
    );
    let (item_id, _) = world
        .seen
        .iter()
        .find(|(_, seen)| seen.node_id == first)
        .unwrap();
    assert_eq!(
        world
            .machine
            .waiting_reason(world.now_ms, world.run_id, *item_id)
            .unwrap(),
        "machine-1, the only backend it may run on, is offline: connection refused"
    );
    let mut facts = online(0);
    facts.unable.insert(
        world.plan.workflow_hash(second).unwrap(),
        "lacks big.safetensors".to_owned(),
    );
    world.step(Input::Backend(facts));
    world.step(Input::Backend(online(1)));
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    let placed = world
        .log
        .iter()
        .filter_map(|event| match &event.body {
            comfyui_orchestrator::engine::RunEventBody::AttemptPlaced { backend_id, .. } => {
                Some(*backend_id)
            }
            _ => None,
        })
        .collect::<Vec<_>>();
    assert_eq!(placed, [backend_id(1), backend_id(1)]);
}
