//! The rules and worked examples of what a run means, one test per example (numbers as in the specification).

use crate::engine_driver::{Graph, World, backend_id, online};
use comfyui_orchestrator::engine::machine::{Availability, Effect, Input, LocalTask};
use comfyui_orchestrator::engine::{
    FailureClass, IndexPath, ItemId, ItemState, ReviewAnswer, ReviewVerdict, RunEventBody,
    RunState, Value,
};
use comfyui_orchestrator::project::{
    Affinity, Axis, BatchMode, DataType, ExposedParameter, FanOutSource, FilePattern, Literal,
    MergeFailurePolicy, MergeMode, MergeRest, MergeScope, NodeId, OnFailure, PortBinding, Table,
    WorkflowName,
};

use ItemState::{Blocked, Cancelled, Done, Failed, Parked, Skipped};

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

/// A fan-out that opened nothing has no index that could move a value behind another link's.
#[test]
fn links_keep_their_order_where_a_fan_out_opened_nothing() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 1);
    let empty = graph.merge("Empty", MergeScope::AllOpen);
    let batch = graph.workflow_with("W", &["seed", "image"], BatchMode::Each);
    let inner = graph.merge("Inner", MergeScope::FanOut(fan_out));
    let text = graph.input("I", "text");
    let both = graph.merge("Both", MergeScope::AllOpen);
    let output = graph.output("O");
    graph.link(fan_out, "F", batch, "seed");
    graph.link(empty, "list", batch, "image");
    graph.link(fan_out, "F", inner, "values");
    graph.link(batch, "image", inner, "values");
    graph.link(inner, "list", both, "values");
    graph.link(text, "value", both, "values");
    graph.link(both, "list", output, "value");
    let world = played(&graph);
    assert_eq!(world.item("W F:0").state, Skipped);
    assert_eq!(world.written[&(output, IndexPath::default())], "[[0] text]");
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

/// `F(count) → W → R → W2`, R a Review.
fn example_21(count: u32) -> Graph {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", count);
    let workflow = graph.workflow("W", &["seed"]);
    let review = graph.review("R");
    let second = graph.workflow("W2", &["image"]);
    graph.link(fan_out, "F", workflow, "seed");
    graph.link(workflow, "image", review, "value");
    graph.link(review, "picked", second, "image");
    graph
}

pub fn item_id(world: &World, name: &str) -> ItemId {
    let seen = world.item(name);
    ItemId::derive(world.run_id, seen.node_id, &seen.path)
}

fn answers(world: &World, names: &[String], verdict: &ReviewVerdict) -> Vec<ReviewAnswer> {
    names
        .iter()
        .map(|name| ReviewAnswer {
            item_id: item_id(world, name),
            verdict: verdict.clone(),
        })
        .collect()
}

#[test]
fn example_21_a_person_picks_and_the_rest_is_skipped() {
    let graph = example_21(100);
    let mut world = played(&graph);
    assert_eq!(
        world.run_state,
        RunState::Running,
        "it waits for the person"
    );
    assert_eq!(world.count("R", Parked), 100);
    assert!(world.submitted.is_empty(), "it holds no machine");
    world.restart();
    world.run();
    assert_eq!(world.count("R", Parked), 100, "still waiting");
    let (picked, rest): (Vec<u32>, Vec<u32>) = (0..100).partition(|index| index % 15 == 0);
    let names = |indexes: Vec<u32>| -> Vec<String> {
        indexes.iter().map(|index| format!("R F:{index}")).collect()
    };
    let mut all = answers(&world, &names(picked), &ReviewVerdict::Pick);
    all.extend(answers(&world, &names(rest), &ReviewVerdict::Reject));
    let run_id = world.run_id;
    world.step(Input::Review {
        run_id,
        answers: all,
    });
    world.run();
    assert_eq!(world.count("W2", Done), 7);
    assert_eq!(world.count("W2", Skipped), 93);
    assert_eq!(world.item("W2 F:1").reason, "not picked");
    assert_eq!(world.run_state, RunState::Completed);
    world.restart();
    world.check_against_machine();
}

#[test]
fn a_rating_reaches_conditions_and_a_redo_asks_again() {
    let mut graph = example_21(2);
    let review = *graph
        .project
        .nodes
        .iter()
        .find(|(_, node)| node.title == "R")
        .unwrap()
        .0;
    let condition = graph.condition("C");
    graph.link(review, "picked", condition, "value");
    let mut world = played(&graph);
    let run_id = world.run_id;
    let names = ["R F:0".to_owned()];
    let address = match &graph.project.nodes[&world.item("W F:0").node_id].inputs[0].binding {
        PortBinding::Parameter(address) => address.clone(),
        other => panic!("{other:?}"),
    };
    let first = world.item("W F:0").outputs.clone();
    let redo = ReviewVerdict::Redo(vec![(address.clone(), Literal::Integer(77_u32.into()))]);
    let redo = answers(&world, &names, &redo);
    world.step(Input::Review {
        run_id,
        answers: redo,
    });
    assert_eq!(world.item("R F:0").state, ItemState::Waiting);
    let sent = world.submitted.back().unwrap();
    let seed = sent.fields.iter().find(|(known, _)| *known == address);
    assert_eq!(
        seed.map(|(_, value)| value.clone()),
        Some(Value::Literal(Literal::Integer(77_u32.into())))
    );
    world.run();
    assert_ne!(world.item("W F:0").outputs, first);
    assert_eq!(world.item("W F:0").attempts, 2);
    assert_eq!(world.item("R F:0").state, Parked, "asked about again");
    world.restart();
    let mut both = answers(&world, &names, &ReviewVerdict::Rate(4));
    both.extend(answers(&world, &names, &ReviewVerdict::Pick));
    world.step(Input::Review {
        run_id,
        answers: both,
    });
    let asked = world
        .locals
        .iter()
        .find_map(|work| match &work.task {
            LocalTask::Decide { rating, .. } => Some(*rating),
            _ => None,
        })
        .unwrap();
    assert_eq!(asked, Some(4));
}

#[test]
fn a_redone_item_takes_what_was_made_from_it_along() {
    let (graph, _) = example_2(3);
    let mut world = played(&graph);
    let run_id = world.run_id;
    let item = item_id(&world, "W1 F:1");
    world.step(Input::RedoItem {
        run_id,
        item_id: item,
        fields: vec![],
    });
    assert_eq!(world.run_state, RunState::Running);
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    for (name, attempts) in [("W1 F:0", 1), ("W1 F:1", 2), ("W2 F:1", 2), ("W2 F:2", 1)] {
        assert_eq!(world.item(name).attempts, attempts, "{name}");
    }
}

/// `F(8) → W → M(mode) → W2`
fn gathered_from_8(mode: MergeMode) -> Graph {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 8);
    let workflow = graph.workflow("W", &["seed"]);
    let merge = graph.merge_with("M", mode, MergeScope::Innermost, MergeFailurePolicy::Ignore);
    let second = graph.workflow("W2", &["image"]);
    graph.link(fan_out, "F", workflow, "seed");
    graph.link(workflow, "image", merge, "values");
    graph.link(merge, "list", second, "image");
    graph
}

#[test]
fn example_22_the_best_are_kept_by_index() {
    let graph = gathered_from_8(MergeMode::Best {
        expression: "image.sharpness".to_owned(),
        keep: 2,
    });
    let mut world = World::new(&graph);
    world.start();
    while world.count("W", Done) < 7 {
        assert!(world.execute(|name| name.starts_with("W ")));
    }
    assert_eq!(world.states("M").len(), 0, "it waits for all 8");
    world.run();
    let list = world.list("M");
    assert_eq!(list.len(), 2);
    assert!(list[0] < list[1], "{list:?}");
    let Some(Value::List(elements)) = world.item("M").outputs.values().next() else {
        panic!("no list");
    };
    assert_eq!(format!("F:{}", elements[1].labels["F"]), list[1]);
    assert_eq!(world.count("W2", Done), 1);
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn example_23_the_first_three_are_enough() {
    let first = |rest| MergeMode::First { count: 3, rest };
    let graph = gathered_from_8(first(MergeRest::Cancel));
    let mut world = World::with_backends(&graph, 2);
    world.start();
    for index in [1, 0, 3] {
        assert!(world.execute(|name| name == format!("W F:{index}")));
    }
    let there: Vec<_> = world
        .submitted
        .iter()
        .filter(|one| {
            world
                .name(one.node_id, &world.seen[&one.item_id].path)
                .starts_with("W F")
        })
        .map(|one| one.attempt_id)
        .collect();
    assert!(!there.is_empty());
    for attempt_id in there {
        assert!(
            world.cancels.contains(&attempt_id),
            "queued and running ones are called off on their servers"
        );
    }
    world.run();
    assert_eq!(world.list("M"), ["F:0", "F:1", "F:3"]);
    assert_eq!(world.count("W", Done), 3);
    assert_eq!(world.count("W", Skipped), 5);
    assert_eq!(
        world.item("W F:7").reason,
        "not needed: \"M\" has its first 3"
    );
    assert_eq!(world.count("W2", Done), 1);
    assert_eq!(world.run_state, RunState::Completed);

    let graph = gathered_from_8(first(MergeRest::Leave));
    let world = played(&graph);
    assert_eq!(world.list("M"), ["F:0", "F:1", "F:2"]);
    assert_eq!(world.count("W", Done), 8);
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn the_first_three_of_each_group_leave_other_groups_alone() {
    let mut graph = Graph::new();
    let outer = graph.fan_out("F", 2);
    let inner = graph.fan_out("G", 5);
    let workflow = graph.workflow("W", &["a"]);
    let merge = graph.merge_with(
        "M",
        MergeMode::First {
            count: 2,
            rest: MergeRest::Cancel,
        },
        MergeScope::Innermost,
        MergeFailurePolicy::RequireAll,
    );
    graph.link(outer, "F", inner, "value");
    graph.link(inner, "G", workflow, "a");
    graph.link(workflow, "image", merge, "values");
    let mut world = World::new(&graph);
    world
        .fails
        .insert("W F:0,G:0".to_owned(), (FailureClass::Invalid, 1));
    world.start();
    world.run();
    assert_eq!(world.list("M F:0"), ["F:0,G:1", "F:0,G:2"]);
    assert_eq!(world.list("M F:1"), ["F:1,G:0", "F:1,G:1"]);
    assert_eq!(world.count("W", Done), 4);
    // What failed is not needed either: there is nothing to retry.
    let run_id = world.run_id;
    world.step(Input::RetryFailed { run_id });
    world.run();
    assert_eq!(world.item("W F:0,G:0").attempts, 1);
}

#[test]
fn example_25_a_table_gives_typed_columns_and_its_empty_cells_nothing() {
    let table = Table::from_text("prompt;seed;size\nfox;1;512\nbear;;768\n\"owl; red\";3;1024\n");
    let table = table.unwrap();
    let types: Vec<DataType> = table.columns.iter().map(|one| one.data_type).collect();
    assert_eq!(
        types,
        [DataType::Text, DataType::Integer, DataType::Integer]
    );
    let mut graph = Graph::new();
    let fan_out = graph.fan_out_of("T", FanOutSource::Table(table.clone()));
    let workflow = graph.workflow("W", &["prompt", "seed", "size"]);
    for column in ["prompt", "seed", "size"] {
        graph.link(fan_out, column, workflow, column);
    }
    let seed = match &graph.project.nodes[&workflow].inputs[1].binding {
        PortBinding::Parameter(address) => address.clone(),
        other => panic!("{other:?}"),
    };
    graph
        .edit_workflow(workflow)
        .parameters
        .push(ExposedParameter {
            group: None,
            address: seed.clone(),
            label: "seed".to_owned(),
            value: Some(Literal::Integer(99_u32.into())),
            seed: comfyui_orchestrator::project::SeedPolicy::default(),
        });
    let mut world = World::with_backends(&graph, 2);
    world.start();
    assert_eq!(world.states("W").len(), 3);
    let sent: Vec<Vec<(String, String)>> = (0..3)
        .map(|index| {
            let item = item_id(&world, &format!("W T:{index}"));
            let one = world.submitted.iter().find(|one| one.item_id == item);
            one.unwrap()
                .fields
                .iter()
                .map(|(address, value)| {
                    (address.input.clone(), crate::engine_driver::text_of(value))
                })
                .collect()
        })
        .collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert!(sent[0].contains(&pair("seed", "1")));
    assert!(
        sent[1].contains(&pair("seed", "99")),
        "an empty cell leaves the node's own value: {:?}",
        sent[1]
    );
    assert!(sent[2].contains(&pair("prompt", "owl; red")));
    assert_eq!(world.item("W T:0").labels["size"], "512");
    assert_eq!(world.item("W T:1").labels.get("seed"), None);

    let mut wrong = table;
    wrong.rows[2][1] = "many".to_owned();
    let mut graph = Graph::new();
    graph.fan_out_of("T", FanOutSource::Table(wrong));
    let expected = "row 3, column \"seed\"";
    let problems = graph.compile().unwrap_err();
    assert!(problems[0].message.contains(expected), "{problems:?}");
    let problems = comfyui_orchestrator::engine::problems(&graph.project, None);
    assert!(
        problems
            .iter()
            .any(|(_, message)| message.contains(expected)),
        "{problems:?}"
    );
}

#[test]
fn tables_survive_the_way_through_text() {
    let text = "a\tb\n\"x\ty\"\t\"say \"\"hi\"\"\"\n\t2\n";
    let table = Table::from_text(text).unwrap();
    assert_eq!(table.rows, [["x\ty", "say \"hi\""], ["", "2"]]);
    assert_eq!(Table::from_text(&table.to_text()).unwrap().rows, table.rows);
    for wrong in ["", "\"open", "a\n1,2"] {
        assert!(Table::from_text(wrong).is_err(), "{wrong:?}");
    }
    assert!(
        Table::from_text("a\n1\n\"x")
            .unwrap_err()
            .to_string()
            .contains("line 3")
    );
}

#[test]
fn a_zip_goes_side_by_side() {
    let axis = |name: &str, values: &[i64]| Axis {
        name: name.to_owned(),
        data_type: DataType::Integer,
        values: values
            .iter()
            .map(|value| Literal::Integer((*value).into()))
            .collect(),
    };
    let mut graph = Graph::new();
    let axes = vec![axis("a", &[1, 2, 3]), axis("b", &[10, 20, 30])];
    let fan_out = graph.fan_out_of("Z", FanOutSource::Zip(axes));
    let workflow = graph.workflow("W", &["a", "b"]);
    graph.link(fan_out, "a", workflow, "a");
    graph.link(fan_out, "b", workflow, "b");
    let world = played(&graph);
    assert_eq!(world.count("W", Done), 3);
    let labels = &world.item("W Z:1").labels;
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("2", "20"));
    let mut graph = Graph::new();
    let axes = vec![axis("a", &[1, 2, 3]), axis("b", &[10])];
    graph.fan_out_of("Z", FanOutSource::Zip(axes));
    let problems = comfyui_orchestrator::engine::problems(&graph.project, None);
    assert!(
        problems
            .iter()
            .any(|(_, message)| message.contains("not equally long")),
        "{problems:?}"
    );
}

#[test]
fn files_are_found_per_folder_and_carry_their_names() {
    let mut graph = Graph::new();
    let folders = graph.fan_out_of(
        "D",
        FanOutSource::List(Axis {
            name: "folder".to_owned(),
            data_type: DataType::Text,
            values: ["one/", "two/"]
                .map(|name| Literal::Text(name.to_owned()))
                .to_vec(),
        }),
    );
    let pattern = FilePattern {
        axis: "file".to_owned(),
        pattern: "*.png".to_owned(),
        data_type: DataType::Image,
    };
    let files = graph.fan_out_of("Files", FanOutSource::Files(pattern));
    let workflow = graph.workflow("W", &["image"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    graph.link(folders, "folder", files, "value");
    graph.link(files, "file", workflow, "image");
    graph.link(workflow, "image", merge, "values");
    let mut world = World::new(&graph);
    world.files_found.insert("*.png".to_owned(), 3);
    world.start();
    world.run();
    assert_eq!(world.count("W", Done), 6);
    let labels = &world.item("W D:1,Files:2").labels;
    assert_eq!(
        (labels["folder"].as_str(), labels["file"].as_str()),
        ("two/", "two/2.png")
    );
    assert_eq!(world.list("M D:1").len(), 3);
    let Some(Value::List(list)) = world.item("M D:0").outputs.values().next() else {
        panic!("no list");
    };
    assert_eq!(list[1].labels["file"], "one/1.png");
    world.restart();
    world.check_against_machine();
}

#[test]
fn a_list_is_split_into_its_values() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 3);
    let first = graph.workflow("W1", &["seed"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    let split = graph.fan_out_of(
        "S",
        FanOutSource::Split {
            axis: "part".to_owned(),
            data_type: DataType::Image,
        },
    );
    let second = graph.workflow("W2", &["image"]);
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", merge, "values");
    graph.link(merge, "list", split, "value");
    graph.link(split, "part", second, "image");
    let mut world = World::new(&graph);
    world.batch.insert("W1".to_owned(), 2);
    world.start();
    world.run();
    assert_eq!(world.count("W2", Done), 6, "every picture of every batch");
    assert_eq!(world.item("W2 S:5").labels["part"], "5");
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn priority_comes_before_depth_and_index() {
    let (graph, [_, first, ..]) = example_2(6);
    let mut world = World::new(&graph);
    world.start();
    let run_id = world.run_id;
    let wished = item_id(&world, "W1 F:5");
    world.step(Input::SetItemPriority {
        run_id,
        item_ids: vec![wished],
        priority: 1,
    });
    assert!(world.execute(|name| name == "W1 F:0"));
    assert_eq!(
        world.submitted.back().map(|next| next.item_id),
        Some(wished),
        "before W2 of index 0, which is deeper"
    );
    world.restart();
    world.run();
    assert_eq!(world.run_state, RunState::Completed);

    // A run of higher priority goes before an older one.
    let mut world = World::new(&graph);
    world.start();
    let other = comfyui_orchestrator::engine::RunId::from_uuid(uuid::Uuid::from_u128(8));
    let plan = world.plan.clone();
    world.machine.step(
        world.now_ms,
        Input::Start {
            run_id: other,
            plan,
        },
    );
    world.machine.step(
        world.now_ms,
        Input::SetRunPriority {
            run_id: other,
            priority: 5,
        },
    );
    let attempt_id = world.submitted[0].attempt_id;
    let submission = world.submitted.pop_front().unwrap();
    let outcome = world.outcome(&submission);
    let effects = world.machine.step(
        world.now_ms + 1,
        Input::AttemptEnded {
            attempt_id,
            outcome,
        },
    );
    let next = effects.iter().find_map(|effect| match effect {
        Effect::Submit(submission) => Some((submission.run_id, submission.node_id)),
        _ => None,
    });
    assert_eq!(next, Some((other, first)));
}

#[test]
fn a_long_list_is_not_repeated_in_the_log() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 200);
    let first = graph.workflow("W1", &["seed"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    let condition = graph.condition("C");
    let output = graph.output("O");
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", merge, "values");
    graph.link(merge, "list", condition, "value");
    graph.link(condition, "true", output, "value");
    let mut world = played(&graph);
    let written = world.written.values().next().unwrap().clone();
    assert_eq!(written.split(' ').count(), 200);
    let longest = world
        .log
        .iter()
        .map(|event| serde_json::to_string(event).unwrap().len())
        .max()
        .unwrap();
    assert!(longest < 10_000, "{longest} bytes");
    // From any point of the log the same list comes out.
    for length in (0..world.log.len() - 3).rev().take(9) {
        let log = world.log[..length].to_vec();
        let mut again = World::new(&graph);
        again.take_in_log(log);
        again.restart();
        again.run();
        assert_eq!(again.written.values().next(), Some(&written), "{length}");
    }
    world
        .log
        .retain(|event| matches!(event.body, RunEventBody::ItemDone { .. }));
    assert!(world.log.len() > 200);
}

#[test]
fn seeds_are_counted_or_rolled_for_each_item_and_fall_the_same_way_again() {
    use comfyui_orchestrator::project::SeedPolicy;
    let sent = |policy: SeedPolicy, value: Option<u64>| -> Vec<Option<String>> {
        let mut graph = Graph::new();
        let fan_out = graph.fan_out("F", 3);
        let workflow = graph.workflow("W", &["prompt", "seed"]);
        graph.link(fan_out, "F", workflow, "prompt");
        let seed = match &graph.project.nodes[&workflow].inputs[1].binding {
            PortBinding::Parameter(address) => address.clone(),
            other => panic!("{other:?}"),
        };
        let mut parameter = ExposedParameter::new(seed, "seed");
        parameter.value = value.map(|value| Literal::Integer(value.into()));
        parameter.seed = policy;
        graph.edit_workflow(workflow).parameters.push(parameter);
        let mut world = World::with_backends(&graph, 2);
        world.start();
        let seeds_of = |world: &World| -> Vec<Option<String>> {
            (0..3)
                .map(|index| {
                    let item = item_id(world, &format!("W F:{index}"));
                    let one = world.submitted.iter().rfind(|one| one.item_id == item);
                    one.unwrap()
                        .fields
                        .iter()
                        .find(|(address, _)| address.input == "seed")
                        .map(|(_, value)| crate::engine_driver::text_of(value))
                })
                .collect()
        };
        seeds_of(&world)
    };
    let text = |values: [u64; 3]| values.map(|value| Some(value.to_string())).to_vec();
    assert_eq!(sent(SeedPolicy::Fixed, Some(7)), text([7, 7, 7]));
    assert_eq!(sent(SeedPolicy::Fixed, None), [None, None, None]);
    let up_to = |max| SeedPolicy::Increment { max };
    assert_eq!(sent(up_to(u64::MAX), Some(7)), text([7, 8, 9]));
    assert_eq!(sent(up_to(8), Some(7)), text([7, 8, 0]));
    assert_eq!(
        sent(up_to(u64::MAX), Some(u64::MAX)),
        text([u64::MAX, 0, 1])
    );
    assert_eq!(
        sent(up_to(8), None),
        [None, None, None],
        "nothing to count from"
    );
    let rolled = sent(SeedPolicy::Random { max: 0xFFFF_FFFF }, None);
    assert_eq!(
        rolled,
        sent(SeedPolicy::Random { max: 0xFFFF_FFFF }, Some(3)),
        "the same items of the same run"
    );
    let numbers: std::collections::BTreeSet<u64> = rolled
        .iter()
        .map(|seed| seed.as_ref().unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers.len(), 3, "{rolled:?}");
    assert!(numbers.iter().all(|seed| *seed <= 0xFFFF_FFFF));
    let dice = sent(SeedPolicy::Random { max: 5 }, None);
    assert!(
        dice.iter()
            .flatten()
            .all(|seed| seed.parse::<u64>().unwrap() <= 5)
    );
}
