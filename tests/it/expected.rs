//! How long a run is said to take still.

use crate::engine_driver::{Graph, World, field, online};
use comfyui_orchestrator::engine::machine::{Availability, Input, Machine};
use comfyui_orchestrator::engine::placement::Estimates;
use comfyui_orchestrator::engine::{RunId, RunWish, effort_hash};
use comfyui_orchestrator::project::{ExposedParameter, Literal, SeedPolicy};
use std::sync::Arc;

/// `count` numbers → a workflow → Output. An attempt of this world takes 100 ms.
fn numbers(count: u32) -> Graph {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", count);
    let workflow = graph.workflow("W", &["seed"]);
    let output = graph.output("O");
    graph.link(fan_out, "F", workflow, "seed");
    graph.link(workflow, "image", output, "value");
    graph
}

fn remaining_ms(world: &World) -> Option<u64> {
    world
        .machine
        .remaining_of_run_ms(world.now_ms, world.run_id)
}

fn make_one(world: &mut World) {
    let attempt_id = world.submitted[0].attempt_id;
    world.execute_attempt(attempt_id);
    while world.answer_local() {}
}

#[test]
fn nothing_is_guessed_before_the_first_item_and_little_is_wrong_after_it() {
    let mut world = World::with_backends(&numbers(11), 1);
    world.start();
    while world.answer_local() {}
    assert_eq!(
        remaining_ms(&world),
        None,
        "nobody has ever seen this workflow run"
    );
    make_one(&mut world);
    assert_eq!(remaining_ms(&world), Some(1000), "ten more of 100 ms");
    make_one(&mut world);
    assert_eq!(remaining_ms(&world), Some(900));

    // Another run of the same project waits for this one; with a higher priority it does not.
    let first = world.run_id;
    let second = RunId::from_uuid(uuid::Uuid::from_u128(u128::MAX));
    let plan = Arc::clone(&world.plan);
    let ahead = |machine: &Machine, run_id: RunId, now_ms: u64| {
        machine.remaining_of_run_ms(now_ms, run_id).unwrap()
    };
    world.machine.step(
        world.now_ms,
        Input::Start {
            run_id: second,
            plan,
        },
    );
    assert_eq!(ahead(&world.machine, first, world.now_ms), 900);
    assert!(ahead(&world.machine, second, world.now_ms) > 1900);
    world
        .machine
        .step(world.now_ms, Input::wish(second, RunWish::SetPriority(5)));
    assert!(ahead(&world.machine, first, world.now_ms) > 1900);

    // Nobody is there: nothing can be said.
    let mut facts = online(0);
    facts.availability = Availability::Disabled;
    world.machine.step(world.now_ms, Input::Backend(facts));
    assert_eq!(remaining_ms(&world), None);
}

#[test]
fn a_log_teaches_its_times_once() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 3);
    let workflow = graph.workflow("W", &["seed"]);
    graph.link(fan_out, "F", workflow, "seed");
    let mut world = World::new(&graph);
    world.start();
    world.run();
    let learned = world.machine.estimates().clone();
    let (run_id, plan, log) = (world.run_id, world.plan.clone(), world.log.clone());
    let restored = |mut machine: Machine| {
        machine.restore(run_id, plan.clone(), log.clone());
        machine.estimates().clone()
    };
    // Nobody has learned from it.
    assert_eq!(restored(Machine::new()), learned);
    // The machine that ran it has.
    world.machine.forget(run_id);
    assert_eq!(restored(std::mem::take(&mut world.machine)), learned);
    // So has the process before, as far as it came.
    let after = |taught: Estimates| {
        let mut machine = Machine::new();
        machine.set_estimates(taught);
        restored(machine)
    };
    let all = learned.as_of(world.now_ms);
    assert_eq!(after(all.clone()), all);
    let nothing = Estimates::default().as_of(1);
    assert_eq!(after(nothing), learned.as_of(1));
}

#[test]
fn another_prompt_or_seed_takes_as_long_and_another_size_does_not() {
    let hash = |name: &str, value: Literal| {
        let mut graph = Graph::new();
        let node = graph.workflow("W", &[]);
        graph.edit_workflow(node).parameters = vec![ExposedParameter {
            group: None,
            address: field(name),
            label: name.to_owned(),
            value: Some(value),
            seed: SeedPolicy::default(),
        }];
        effort_hash(&graph.project, &graph.project.nodes[&node]).unwrap()
    };
    let text = |text: &str| Literal::Text(text.to_owned());
    let number = |number: i64| Literal::Integer(number.into());
    assert_eq!(
        hash("text", text("a pier at dusk")),
        hash("text", text("a harbour in the rain"))
    );
    assert_eq!(hash("noise_seed", number(1)), hash("noise_seed", number(2)));
    assert_ne!(hash("width", number(512)), hash("width", number(2048)));
    assert_ne!(
        hash("ckpt_name", text("large model.safetensors")),
        hash("ckpt_name", text("small model.safetensors"))
    );
    assert_ne!(
        hash("sampler_name", text("euler")),
        hash("sampler_name", text("heun"))
    );
}
