//! The rules and worked examples of what a run means, one test per example (numbers as in the specification). Not here,
//! because their node modes do not exist yet: 21 (Review), 22 (best by expression), 23 (first n), 25 (table).

use crate::engine_driver::{Graph, World, backend_id, online};
use comfyui_orchestrator::engine::machine::{Availability, Input};
use comfyui_orchestrator::engine::{FailureClass, ItemState, RunState, Value};
use comfyui_orchestrator::project::{
    Affinity, BatchMode, MergeFailurePolicy, MergeMode, MergeScope, NodeId, OnFailure, WorkflowName,
};

use ItemState::{Blocked, Cancelled, Done, Failed, Skipped};

/// `F(3) → W1 → W2 → O`
fn example_2(count: u32) -> (Graph, [NodeId; 4]) {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", count);
    let first = graph.workflow("W1", &["seed"]);
    let second = graph.workflow("W2", &["image"]);
    let output = graph.output("O");
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", second, "image");
    graph.link(second, "image", output, "value");
    (graph, [fan_out, first, second, output])
}

/// `F(4) → W1 → C; true → W2; false → W3`, C true for even indexes.
fn example_11() -> (Graph, [NodeId; 5]) {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 4);
    let first = graph.workflow("W1", &["seed"]);
    let condition = graph.condition("C");
    let second = graph.workflow("W2", &["image"]);
    let third = graph.workflow("W3", &["image"]);
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", condition, "value");
    graph.link(condition, "true", second, "image");
    graph.link(condition, "false", third, "image");
    (graph, [fan_out, first, condition, second, third])
}

fn is_even(_: &str, labels: &std::collections::BTreeMap<String, String>) -> bool {
    matches!(labels["F"].as_str(), "0" | "2")
}

/// Example 4: unrelated F(3) and G(2), W takes both.
fn example_4() -> (Graph, [NodeId; 3]) {
    let mut graph = Graph::new();
    let outer = graph.fan_out("F", 3);
    let inner = graph.fan_out("G", 2);
    let workflow = graph.workflow("W", &["a", "b"]);
    graph.link(outer, "F", workflow, "a");
    graph.link(inner, "G", workflow, "b");
    (graph, [outer, inner, workflow])
}

fn played(graph: &Graph) -> World {
    let mut world = World::new(graph);
    world.start();
    world.run();
    world
}

#[test]
fn example_1_one_item_each() {
    let mut graph = Graph::new();
    let workflow = graph.workflow("W1", &[]);
    let output = graph.output("O");
    graph.link(workflow, "image", output, "value");
    let world = played(&graph);
    assert_eq!(world.states("W1"), [(String::new(), Done)].into());
    assert_eq!(world.count("O", Done), 1);
    assert_eq!(world.files("O"), 1);
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn example_2_items_do_not_wait_for_siblings() {
    let (graph, _) = example_2(3);
    let mut world = World::new(&graph);
    world.start();
    assert_eq!(world.submitted.len(), 2, "one running, one waiting");
    assert!(world.execute(|name| name == "W1 F:0"));
    // W2 of index 0 goes before W1 of index 2: what has begun is finished first.
    assert_eq!(world.submitted.back().map(|next| next.item_id), {
        let path = &world.item("W2 F:0").path;
        let node_id = world.item("W2 F:0").node_id;
        Some(comfyui_orchestrator::engine::ItemId::derive(
            world.run_id,
            node_id,
            path,
        ))
    });
    assert_eq!(world.item("W1 F:2").attempts, 0);
    assert!(world.execute(|name| name == "W2 F:0"));
    world.run();
    for title in ["W1", "W2", "O"] {
        assert_eq!(world.count(title, Done), 3);
    }
    assert_eq!(world.files("O"), 3);
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.item("O F:2").labels["F"], "2");
}

#[test]
fn example_3_shared_fan_outs_match_by_index() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 3);
    let first = graph.workflow("W1", &["seed"]);
    let second = graph.workflow("W2", &["seed", "image"]);
    graph.link(fan_out, "F", first, "seed");
    graph.link(fan_out, "F", second, "seed");
    graph.link(first, "image", second, "image");
    let world = played(&graph);
    assert_eq!(world.count("W2", Done), 3);
    assert_eq!(world.states("W2").len(), 3);
}

#[test]
fn example_4_unrelated_fan_outs_multiply() {
    let (graph, _) = example_4();
    let world = played(&graph);
    let paths: Vec<String> = world.states("W").into_keys().collect();
    assert_eq!(
        paths,
        [
            "F:0,G:0", "F:0,G:1", "F:1,G:0", "F:1,G:1", "F:2,G:0", "F:2,G:1"
        ]
    );
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn example_5_nested_fan_outs_and_merges() {
    let mut graph = Graph::new();
    let outer = graph.fan_out("F", 3);
    let inner = graph.fan_out("G", 2);
    let workflow = graph.workflow("W", &["seed", "outer"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    let second = graph.workflow("W2", &["image"]);
    let last = graph.merge("M2", MergeScope::Innermost);
    let output = graph.output("O");
    graph.link(outer, "F", inner, "value");
    graph.link(inner, "G", workflow, "seed");
    graph.link(inner, "value", workflow, "outer");
    graph.link(workflow, "image", merge, "values");
    graph.link(merge, "list", second, "image");
    graph.link(second, "image", last, "values");
    graph.link(last, "list", output, "value");
    let mut world = World::new(&graph);
    world.start();
    // The first inner list does not wait for the other outer values.
    world.execute(|name| name == "W F:0,G:0");
    world.execute(|name| name == "W F:0,G:1");
    assert_eq!(world.item("M F:0").state, Done);
    assert_eq!(world.count("W", Done), 2);
    world.run();
    assert_eq!(world.count("W", Done), 6);
    assert_eq!(world.list("M F:1"), ["F:1,G:0", "F:1,G:1"]);
    assert_eq!(world.count("W2", Done), 3);
    assert_eq!(world.item("W2 F:0").notices, ["1 of 2 not used (image)"]);
    assert_eq!(world.list("M2"), ["F:0", "F:1", "F:2"]);
    assert_eq!(world.count("O", Done), 1);
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn example_6_a_diamond_runs_each_node_once() {
    let mut graph = Graph::new();
    let first = graph.workflow("W1", &[]);
    let second = graph.workflow("W2", &["image"]);
    let third = graph.workflow("W3", &["image"]);
    let fourth = graph.workflow("W4", &["a", "b"]);
    graph.link(first, "image", second, "image");
    graph.link(first, "image", third, "image");
    graph.link(second, "image", fourth, "a");
    graph.link(third, "image", fourth, "b");
    let world = played(&graph);
    for title in ["W1", "W2", "W3", "W4"] {
        assert_eq!(world.states(title), [(String::new(), Done)].into());
        assert_eq!(world.item(title).attempts, 1);
    }
}

#[test]
fn example_7_a_merged_list_joins_every_index() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 3);
    let first = graph.workflow("W1", &["seed"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    let second = graph.workflow("W2", &["image", "seed"]);
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", merge, "values");
    graph.link(merge, "list", second, "image");
    graph.link(fan_out, "F", second, "seed");
    let world = played(&graph);
    assert_eq!(world.states("M").len(), 1);
    let paths: Vec<String> = world.states("W2").into_keys().collect();
    assert_eq!(paths, ["F:0", "F:1", "F:2"]);
}

#[test]
fn examples_8_to_10_merges_of_side_by_side_fan_outs() {
    let (mut graph, [_, inner, workflow]) = example_4();
    let merge = graph.merge("M", MergeScope::FanOut(inner));
    graph.link(workflow, "image", merge, "values");
    let world = played(&graph);
    let paths: Vec<String> = world.states("M").into_keys().collect();
    assert_eq!(paths, ["F:0", "F:1", "F:2"]);
    assert_eq!(world.list("M F:2"), ["F:2,G:0", "F:2,G:1"]);

    let (mut graph, [.., workflow]) = example_4();
    let merge = graph.merge("Merge", MergeScope::Innermost);
    graph.link(workflow, "image", merge, "values");
    let problems = graph.compile().unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].node_id, Some(merge));
    assert_eq!(
        problems[0].message,
        "Merge must name which of F, G it closes"
    );

    let (mut graph, [.., workflow]) = example_4();
    let merge = graph.merge("M", MergeScope::AllOpen);
    graph.link(workflow, "image", merge, "values");
    let world = played(&graph);
    assert_eq!(
        world.list("M"),
        [
            "F:0,G:0", "F:0,G:1", "F:1,G:0", "F:1,G:1", "F:2,G:0", "F:2,G:1"
        ]
    );
}

#[test]
fn examples_11_and_14_conditions_skip_the_other_side() {
    let (mut graph, [.., second, third]) = example_11();
    let both = graph.workflow("W5", &["a", "b"]);
    graph.link(second, "image", both, "a");
    graph.link(third, "image", both, "b");
    let mut world = World::new(&graph);
    world.decide = is_even;
    world.start();
    world.run();
    for (even, odd) in [("W2", "W3"), ("W3", "W2")] {
        let path = if even == "W2" { "F:0" } else { "F:1" };
        assert_eq!(world.states(even)[path], Done);
        assert_eq!(world.states(odd)[path], Skipped);
    }
    assert_eq!(world.count("W2", Done), 2);
    assert_eq!(world.count("W3", Done), 2);
    assert_eq!(world.count("W5", Skipped), 4);
    assert_eq!(world.item("W5 F:1").reason, "\"C\" (F=1) decided: false");
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn example_12_either_joins_the_sides() {
    let (mut graph, [.., second, third]) = example_11();
    let either = graph.merge_with(
        "M",
        MergeMode::Either,
        MergeScope::Innermost,
        MergeFailurePolicy::Ignore,
    );
    let fourth = graph.workflow("W4", &["image"]);
    graph.link(second, "image", either, "values");
    graph.link(third, "image", either, "values");
    graph.link(either, "list", fourth, "image");
    let mut world = World::new(&graph);
    world.decide = is_even;
    world.start();
    world.run();
    assert_eq!(world.count("M", Done), 4);
    assert_eq!(world.count("W4", Done), 4);
}

#[test]
fn example_13_a_merge_leaves_skipped_values_out() {
    let (mut graph, [_, _, _, second, _]) = example_11();
    let merge = graph.merge("M", MergeScope::Innermost);
    let output = graph.output("O");
    graph.link(second, "image", merge, "values");
    graph.link(merge, "list", output, "value");
    let mut world = World::new(&graph);
    world.decide = is_even;
    world.start();
    world.run();
    assert_eq!(world.list("M"), ["F:0", "F:2"]);
    let Some(Value::List(list)) = world.item("M").outputs.values().next() else {
        panic!("no list");
    };
    assert_eq!(list[1].labels["F"], "2");
    assert_eq!(world.count("O", Done), 1);
    assert_eq!(world.run_state, RunState::Completed);
}

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
    let run_id = world.run_id;
    world.step(Input::RetryFailed { run_id });
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
fn example_18_an_empty_fan_out_gives_an_empty_list() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 0);
    let workflow = graph.workflow("W", &["seed"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    let output = graph.output("O");
    graph.link(fan_out, "F", workflow, "seed");
    graph.link(workflow, "image", merge, "values");
    graph.link(merge, "list", output, "value");
    let world = played(&graph);
    assert_eq!(world.states("W").len(), 0);
    assert_eq!(world.list("M"), Vec::<String>::new());
    assert_eq!(world.count("O", Skipped), 1);
    assert!(world.item("O").reason.starts_with("no values"));
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn an_empty_inner_fan_out_gives_one_empty_list_per_outer_value() {
    for nested in [true, false] {
        let mut graph = Graph::new();
        let outer = graph.fan_out("F", 3);
        let inner = graph.fan_out("G", 0);
        let workflow = graph.workflow("W", &["a", "b"]);
        let merge = graph.merge("M", MergeScope::FanOut(inner));
        if nested {
            graph.link(outer, "F", inner, "value");
        }
        graph.link(outer, "F", workflow, "a");
        graph.link(inner, "G", workflow, "b");
        graph.link(workflow, "image", merge, "values");
        let world = played(&graph);
        assert_eq!(world.states("W").len(), 0);
        assert_eq!(world.count("M", Done), 3, "nested: {nested}");
        assert_eq!(world.list("M F:1"), Vec::<String>::new());
    }
}

#[test]
fn examples_19_and_20_batches_whole_or_each() {
    let mut graph = Graph::new();
    let first = graph.workflow_with("W1", &[], BatchMode::Each);
    let second = graph.workflow("W2", &["image"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    graph.link(first, "image", second, "image");
    graph.link(second, "image", merge, "values");
    let mut world = World::new(&graph);
    world.batch.insert("W1".to_owned(), 4);
    world.start();
    world.run();
    assert_eq!(world.count("W2", Done), 4);
    assert_eq!(world.list("M"), ["W1:0", "W1:1", "W1:2", "W1:3"]);

    let mut graph = Graph::new();
    let first = graph.workflow("W1", &[]);
    let second = graph.workflow("W2", &["image"]);
    let output = graph.output("O");
    graph.link(first, "image", second, "image");
    graph.link(first, "image", output, "value");
    let mut world = World::new(&graph);
    world.batch.insert("W1".to_owned(), 4);
    world.start();
    world.run();
    assert_eq!(world.count("W2", Done), 1);
    assert_eq!(world.item("W2").notices, ["3 of 4 not used (image)"]);
    assert_eq!(world.written.values().next().unwrap().split(' ').count(), 4);
}

#[test]
fn a_retried_batch_replaces_the_blocked_placeholder() {
    let mut graph = Graph::new();
    let first = graph.workflow_with("W1", &[], BatchMode::Each);
    let second = graph.workflow("W2", &["image"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    let output = graph.output("O");
    graph.link(first, "image", second, "image");
    graph.link(second, "image", merge, "values");
    graph.link(merge, "list", output, "value");
    let mut world = World::new(&graph);
    world.batch.insert("W1".to_owned(), 4);
    world
        .fails
        .insert("W1".to_owned(), (FailureClass::Invalid, 1));
    world.start();
    world.run();
    assert_eq!(world.states("W2"), [(String::new(), Blocked)].into());
    assert_eq!(world.run_state, RunState::Failed);
    let run_id = world.run_id;
    world.step(Input::RetryFailed { run_id });
    world.run();
    assert_eq!(world.count("W2", Done), 4);
    assert_eq!(world.count("W2", Skipped), 1, "the placeholder");
    assert_eq!(world.list("M").len(), 4);
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn example_24_cancel_and_resume() {
    let (graph, _) = example_2(3);
    let mut world = World::new(&graph);
    world.start();
    while world.item("W1 F:1").state != ItemState::Submitted || world.files("O") == 0 {
        assert!(world.answer_local() || world.execute(|name| name.ends_with("F:0")));
    }
    let running = world.item("W1 F:1").live.unwrap();
    world.step(Input::AttemptStarted {
        attempt_id: running,
    });
    let run_id = world.run_id;
    // W1{F:2} waits behind it on the server; only what is there is called off there.
    let there: Vec<_> = world.submitted.iter().map(|one| one.attempt_id).collect();
    world.step(Input::CancelRun { run_id });
    assert!(world.cancels.contains(&running));
    let mut called_off = world.cancels.clone();
    called_off.sort();
    let mut expected = there;
    expected.sort();
    assert_eq!(called_off, expected);
    assert_eq!(world.run_state, RunState::Cancelling);
    world.run();
    assert_eq!(world.run_state, RunState::Cancelled);
    assert_eq!(world.states("W1")["F:0"], Done);
    assert_eq!(world.states("W1")["F:1"], Cancelled);
    assert_eq!(world.states("W2")["F:1"], Blocked);
    assert_eq!(world.files("O"), 1);

    world.step(Input::ResumeRun { run_id });
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.files("O"), 3);
    assert_eq!(world.item("W1 F:0").attempts, 1);
    assert_eq!(world.item("W1 F:1").attempts, 2);
}

#[test]
fn a_stopped_run_lets_running_attempts_finish() {
    let (mut graph, [_, first, ..]) = example_2(6);
    graph.edit(first).on_failure = OnFailure::StopRun;
    let mut world = World::with_backends(&graph, 2);
    world
        .fails
        .insert("W1 F:0".to_owned(), (FailureClass::Invalid, 1));
    world.start();
    let other = world
        .submitted
        .iter()
        .find(|one| one.backend_id != world.submitted[0].backend_id)
        .unwrap()
        .clone();
    world.step(Input::AttemptStarted {
        attempt_id: other.attempt_id,
    });
    assert!(world.execute(|name| name == "W1 F:0"));
    assert_eq!(world.run_state, RunState::Stopping);
    assert!(!world.cancels.contains(&other.attempt_id));
    world.run();
    assert_eq!(world.run_state, RunState::Failed);
    assert_eq!(world.count("W1", Done), 1, "the one that ran");
    assert_eq!(world.count("W1", Failed), 1);
    assert_eq!(world.count("W1", Cancelled), 4);
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
    for class in [
        FailureClass::Offline,
        FailureClass::Lost,
        FailureClass::Transfer,
    ] {
        let mut world = World::with_backends(&graph, 2);
        world.fails.insert("W1 F:0".to_owned(), (class, 6));
        world.start();
        world.run();
        assert_eq!(world.item("W1 F:0").attempts, 7, "{class:?}");
        assert_eq!(world.run_state, RunState::Completed, "{class:?}");
    }

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
        "machine-0: is not the backend the node is tied to; machine-1: is offline: connection refused"
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

#[test]
fn a_paused_run_submits_nothing_until_resumed() {
    let (graph, _) = example_2(5);
    let mut world = World::new(&graph);
    world.start();
    let run_id = world.run_id;
    world.step(Input::PauseRun { run_id });
    world.run();
    assert_eq!(world.run_state, RunState::Paused);
    assert_eq!(world.count("W1", Done), 2, "what was submitted finishes");
    assert_eq!(world.count("W2", ItemState::Ready), 2);
    world.step(Input::ResumeRun { run_id });
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.files("O"), 5);
}

#[test]
fn one_cancelled_item_leaves_the_others_alone() {
    let (graph, [_, first, ..]) = example_2(3);
    let mut world = World::new(&graph);
    world.start();
    let run_id = world.run_id;
    for index in [1, 2] {
        let path = world.item(&format!("W1 F:{index}")).path.clone();
        let item_id = comfyui_orchestrator::engine::ItemId::derive(run_id, first, &path);
        world.step(Input::CancelItem { run_id, item_id });
    }
    assert_eq!(world.cancels.len(), 1, "one was at the server, one was not");
    world.run();
    assert_eq!(world.run_state, RunState::CompletedWithFailures);
    assert_eq!(world.count("W1", Cancelled), 2);
    assert_eq!(world.count("W2", Blocked), 2);
    assert_eq!(world.files("O"), 1);
}

#[test]
fn grids_share_one_index_and_links_keep_their_order() {
    let mut graph = Graph::new();
    let grid = graph.grid("G", &[("size", 2), ("steps", 3)]);
    let first = graph.workflow("W1", &["size", "steps"]);
    let second = graph.workflow("W2", &["size"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    graph.link(grid, "size", first, "size");
    graph.link(grid, "steps", first, "steps");
    graph.link(grid, "size", second, "size");
    graph.link(second, "image", merge, "values");
    graph.link(first, "image", merge, "values");
    let output = graph.output("O");
    graph.link(merge, "sheet", output, "value");
    let world = played(&graph);
    assert_eq!(world.count("W1", Done), 6);
    let labels = &world.item("W1 G:4").labels;
    assert_eq!(
        (labels["size"].as_str(), labels["steps"].as_str()),
        ("1", "1")
    );
    let list = world.list("M");
    assert_eq!(list.len(), 12);
    assert_eq!(list[..4], ["G:0", "G:0", "G:1", "G:1"]);
    let Some(Value::List(list)) = world.item("M").outputs.values().next() else {
        panic!("no list");
    };
    let second_first = world.item("W2 G:0").outputs.values().next().unwrap();
    assert_eq!(list[0].value, *second_first, "the link that was made first");
    assert_eq!(world.files("O"), 1, "the contact sheet");
}

#[test]
fn plans_refuse_what_cannot_run() {
    let (mut graph, [fan_out, ..]) = example_2(3);
    if let comfyui_orchestrator::project::NodeKind::FanOut(settings) = &mut graph.edit(fan_out).kind
    {
        settings.source = comfyui_orchestrator::project::FanOutSource::Seeds {
            axis: "F".to_owned(),
            first: 0,
            count: 900_000,
            order: comfyui_orchestrator::project::SeedOrder::Scatter,
        };
    }
    let problems = graph.compile().unwrap_err();
    assert!(
        problems[0].message.contains("1000000 items"),
        "{problems:?}"
    );

    let (mut graph, [_, first, second, _]) = example_2(3);
    graph
        .edit(first)
        .inputs
        .push(comfyui_orchestrator::project::Port {
            id: comfyui_orchestrator::project::PortId::from_uuid(uuid::Uuid::from_u128(9999)),
            name: "back".to_owned(),
            data_type: comfyui_orchestrator::project::DataType::Any,
            binding: comfyui_orchestrator::project::PortBinding::Value,
            need: comfyui_orchestrator::project::PortNeed::Optional,
        });
    graph.link(second, "image", first, "back");
    let problems = graph.compile().unwrap_err();
    assert!(problems[0].message.contains("circle"), "{problems:?}");
    assert!(problems[0].message.contains("W1"), "{problems:?}");
}
