//! What goes first, and where: in the pure machine.

use crate::engine_driver::{Graph, World, backend_id, online};
use comfyui_orchestrator::engine::machine::{Availability, Input};
use comfyui_orchestrator::engine::{RetryScope, RunState, RunWish};

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
