//! The rules and worked examples of what a run means, one test per example (numbers as in the specification).

mod control;
mod failures;
mod matching;
mod merges;
mod review;
mod sources;

use crate::engine_driver::{Graph, World};
use comfyui_orchestrator::engine::ItemId;
use comfyui_orchestrator::project::NodeId;

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

pub fn item_id(world: &World, name: &str) -> ItemId {
    let seen = world.item(name);
    ItemId::derive(world.run_id, seen.node_id, &seen.path)
}
