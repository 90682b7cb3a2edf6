//! How values of several links come together: index paths, nesting, batches, order.

use super::{example_2, example_4, played};
use crate::engine_driver::{Graph, World};
use comfyui_orchestrator::engine::{
    FailureClass, IndexPath, ItemState, RetryScope, RunState, RunWish, Value,
};
use comfyui_orchestrator::project::{BatchMode, MergeScope};

use ItemState::{Blocked, Done, Skipped};

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
    world.wish(RunWish::Retry(RetryScope::Run));
    world.run();
    assert_eq!(world.count("W2", Done), 4);
    assert_eq!(world.count("W2", Skipped), 1, "the placeholder");
    assert_eq!(world.list("M").len(), 4);
    assert_eq!(world.run_state, RunState::Completed);
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
