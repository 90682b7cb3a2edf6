//! Several runs over the same backends, told one by one; the simulated lives (`simulation.rs`) do it by the thousand.

use crate::engine_driver::{Graph, World, online, run_id};
use comfyui_orchestrator::engine::machine::{Input, Machine};
use comfyui_orchestrator::engine::{ItemState, RunState, RunWish};

/// `F(4) → W → O`
fn graph() -> Graph {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 4);
    let workflow = graph.workflow("W", &["seed"]);
    let output = graph.output("O");
    graph.link(fan_out, "F", workflow, "seed");
    graph.link(workflow, "image", output, "value");
    graph
}

fn begin(world: &mut World, number: usize) {
    let run = &world.runs[number];
    let (run_id, plan) = (run.run_id, run.plan.clone());
    world.step(Input::Start { run_id, plan });
}

#[test]
fn the_end_of_one_run_does_nothing_to_the_other() {
    let graph = graph();
    let mut world = World::with_runs(&[&graph, &graph], 1);
    begin(&mut world, 0);
    begin(&mut world, 1);
    assert!(world.execute(|_| true));
    world.step(Input::wish(run_id(0), RunWish::Cancel));
    world.run();
    assert_eq!(world.runs[0].run_state, RunState::Cancelled);
    assert_eq!(world.runs[1].run_state, RunState::Completed);
    assert_eq!(world.runs[1].count("O", ItemState::Done), 4);
    world.step(Input::wish(run_id(0), RunWish::Resume));
    world.run();
    assert_eq!(world.runs[0].run_state, RunState::Completed);
}

#[test]
fn a_run_that_rests_since_the_start_holds_no_place_that_others_need() {
    let graph = graph();
    let mut world = World::with_runs(&[&graph, &graph], 1);
    begin(&mut world, 0);
    assert_eq!(world.submitted.len(), 2, "the backend is full");
    // The process dies; at the next start the person is to say what becomes of the run, and begins another one instead.
    world.machine = Machine::new();
    world.submitted.clear();
    world.step(Input::Backend(online(0)));
    let (plan, log) = (world.plan.clone(), world.log.clone());
    world.machine.restore(run_id(0), plan, log);
    begin(&mut world, 1);
    world.run();
    assert_eq!(world.runs[1].run_state, RunState::Completed);
    let first = run_id(0);
    for effect in (world.machine).step(world.now_ms, Input::TakeUp { run_id: first }) {
        world.perform(effect);
    }
    let left = std::mem::take(&mut world.reconciles);
    assert_eq!(left.len(), 2);
    world.submitted.extend(left);
    world.run();
    assert_eq!(world.runs[0].run_state, RunState::Completed);
}
