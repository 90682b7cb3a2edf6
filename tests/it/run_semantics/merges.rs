//! Merges and Conditions: who is taken, who is skipped.

use super::{example_4, example_11, is_even, played};
use crate::engine_driver::{Graph, World};
use comfyui_orchestrator::engine::{FailureClass, ItemState, RetryScope, RunState, RunWish, Value};
use comfyui_orchestrator::project::{MergeFailurePolicy, MergeMode, MergeRest, MergeScope};

use ItemState::{Done, Skipped};

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
    world.wish(RunWish::Retry(RetryScope::Run));
    world.run();
    assert_eq!(world.item("W F:0,G:0").attempts, 1);
}
