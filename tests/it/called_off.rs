//! Calling off, making again and dying in between: what was found by simulated lives, told one by one.

use crate::engine_driver::{Graph, World};
use crate::run_semantics::item_id;
use comfyui_orchestrator::engine::ItemState::{
    Blocked, Cancelled, Done, Ready, Running, Skipped, Waiting,
};
use comfyui_orchestrator::engine::machine::Input;
use comfyui_orchestrator::engine::{
    FailureClass, RetryScope, ReviewAnswer, ReviewVerdict, RunEventBody, RunState, RunWish,
};
use comfyui_orchestrator::project::{BatchMode, MergeFailurePolicy, MergeMode, MergeScope, NodeId};

/// `F(3) → W1 → W2 → O`
fn chain() -> (Graph, NodeId) {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 3);
    let first = graph.workflow("W1", &["seed"]);
    let second = graph.workflow("W2", &["image"]);
    let output = graph.output("O");
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", second, "image");
    graph.link(second, "image", output, "value");
    (graph, second)
}

#[test]
fn a_retry_wished_while_the_run_is_cancelled_survives_a_death() {
    let (graph, _) = chain();
    let mut world = World::with_backends(&graph, 2);
    world.start();
    assert!(world.execute(|name| name == "W1 F:0"));
    world.wish(RunWish::Cancel);
    world.wish(RunWish::Retry(RetryScope::Run));
    while world.answer_cancel() {}
    assert_eq!(
        world.run_state,
        RunState::Running,
        "it ended and began again"
    );
    world.restart();
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.count("O", Done), 3);
    assert_eq!(world.item("W1 F:0").attempts, 1);
}

/// Goes on as far as it goes while the disk that "O" writes to takes nothing.
fn run_without_a_disk(world: &mut World) {
    loop {
        let news = world.locals.iter().position(|work| {
            world.project.nodes[&work.node_id].title != "O"
                || !world.without_disk.contains(&work.item_id)
        });
        if let Some(work) = news.and_then(|place| world.locals.remove(place)) {
            let (item_id, order) = (work.item_id, work.order);
            if world.project.nodes[&work.node_id].title == "O" {
                world.without_disk.insert(item_id);
                world.locals.push_back(work);
                world.step(Input::LocalWaits { item_id, order });
            } else {
                let outcome = Ok(world.local_outcome(&work));
                world.step(Input::LocalEnded {
                    item_id,
                    order,
                    outcome,
                });
            }
        } else if !world.execute(|_| true) {
            return;
        }
    }
}

#[test]
fn what_waits_for_a_disk_holds_up_its_node_alone_and_ends_with_its_run() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 9);
    let work = graph.workflow("W1", &["seed"]);
    let condition = graph.condition("C");
    let (stuck, free) = (graph.output("O"), graph.output("P"));
    graph.link(fan_out, "F", work, "seed");
    graph.link(work, "image", stuck, "value");
    graph.link(work, "image", condition, "value");
    graph.link(condition, "true", free, "value");
    let mut world = World::new(&graph);
    world.start();
    run_without_a_disk(&mut world);
    assert_eq!(world.count("P", Done), 9);
    let waiting = world.count("O", Running);
    assert!((4..8).contains(&waiting), "{waiting}");
    assert_eq!(world.count("O", Ready), 9 - waiting);
    // One is called off alone: the next of its node has its turn.
    let one = world.locals[0].item_id;
    world.wish(RunWish::CancelItem(one));
    run_without_a_disk(&mut world);
    assert_eq!(world.count("O", Cancelled), 1);
    assert!(world.count("O", Running) >= 4);
    world.wish(RunWish::Cancel);
    assert_eq!(world.run_state, RunState::Cancelled);
    assert!(world.locals.is_empty(), "nothing waits any more");

    // A process that died when it had only begun to cancel: the next one finds a disk that still takes nothing.
    let is_begin = |body: &RunEventBody| matches!(body, RunEventBody::RunStateChanged { state } if *state == RunState::Cancelling);
    let begin = world.log.iter().position(|event| is_begin(&event.body));
    let log = world.log[..=begin.unwrap()].to_vec();
    let mut next = World::new(&graph);
    next.take_in_log(log);
    // All that waited is ordered again.
    next.without_disk = std::mem::take(&mut world.without_disk);
    let (run_id, plan) = (next.run_id, next.plan.clone());
    next.machine.restore(run_id, plan, next.log.clone());
    for effect in (next.machine).step(next.now_ms, Input::TakeUp { run_id }) {
        next.perform(effect);
    }
    next.without_disk.clear();
    assert_eq!(next.run_state, RunState::Cancelling);
    run_without_a_disk(&mut next);
    assert_eq!(next.run_state, RunState::Cancelled);
    // Mended, it goes on with what is missing.
    next.restart();
    next.wish(RunWish::Resume);
    next.run();
    assert_eq!(next.run_state, RunState::Completed);
    assert_eq!(next.count("O", Done), 9);
}

#[test]
fn a_cancelled_run_makes_nothing_again_and_keeps_what_is_done() {
    let (graph, _) = chain();
    let mut world = World::new(&graph);
    world.start();
    while world.count("O", Done) == 0 || world.submitted.is_empty() {
        assert!(world.answer_local() || world.execute(|name| name.ends_with("F:0")));
    }
    assert!(world.execute(|name| name == "W1 F:1"));
    let item = item_id(&world, "W1 F:1");
    let behind = world
        .submitted
        .iter()
        .find(|one| one.item_id == item_id(&world, "W2 F:1"))
        .unwrap()
        .attempt_id;
    world.step(Input::AttemptStarted { attempt_id: behind });
    // What is made from it executes, so it is to be made again later; then the run is cancelled.
    world.wish(RunWish::RedoItem {
        item_id: item,
        fields: vec![],
    });
    assert_eq!(world.item("W1 F:1").state, Done);
    world.wish(RunWish::Cancel);
    world.run();
    assert_eq!(world.run_state, RunState::Cancelled);
    assert_eq!(world.item("W1 F:1").state, Done);
    assert_eq!(world.count("O", Done), 1);
    world.restart();
    assert_eq!(world.item("W1 F:1").state, Done);
}

/// `W1 (each image is an item) → R → W2 → M(all, require all)`; W1 gives two pictures.
fn reviewed_batch() -> World {
    let mut graph = Graph::new();
    let batch = graph.workflow_with("W1", &[], BatchMode::Each);
    let review = graph.review("R");
    let workflow = graph.workflow("W2", &["image"]);
    let merge = graph.merge_with(
        "M",
        MergeMode::All,
        MergeScope::Innermost,
        MergeFailurePolicy::RequireAll,
    );
    graph.link(batch, "image", review, "value");
    graph.link(review, "picked", workflow, "image");
    graph.link(workflow, "image", merge, "values");
    let mut world = World::new(&graph);
    world.batch.insert("W1".to_owned(), 2);
    world
}

fn pick_all(world: &mut World) {
    let answers = world
        .seen
        .iter()
        .filter(|(_, seen)| seen.state == comfyui_orchestrator::engine::ItemState::Parked)
        .map(|(item_id, _)| ReviewAnswer {
            item_id: *item_id,
            verdict: ReviewVerdict::Pick,
        })
        .collect();
    world.wish(RunWish::Review(answers));
}

#[test]
fn a_death_while_things_are_being_made_again_leaves_nothing_that_asks_without_a_value() {
    let mut world = reviewed_batch();
    world.start();
    world.run();
    let maker = item_id(&world, "W1");
    let before = world.log.len();
    world.wish(RunWish::RedoItem {
        item_id: maker,
        fields: vec![],
    });
    let log = world.log.clone();
    // Of the events of that step only some were written.
    for length in before..=log.len() {
        let mut world = reviewed_batch();
        world.take_in_log(log[..length].to_vec());
        world.restart();
        for name in ["R W1:0", "R W1:1"] {
            let is_asked =
                world.item(name).state == comfyui_orchestrator::engine::ItemState::Parked;
            let is_there = world.item("W1").state == Done;
            assert_eq!(is_asked, is_there, "{name} of {length} events");
        }
        world.run();
        pick_all(&mut world);
        world.run();
        assert_eq!(world.run_state, RunState::Completed, "{length} events");
        assert_eq!(world.list("M").len(), 2);
    }
}

#[test]
fn an_item_cancelled_while_it_waits_ends_when_what_it_is_made_from_is_there() {
    let mut world = reviewed_batch();
    world
        .fails
        .insert("W1".to_owned(), (FailureClass::Invalid, 1));
    world.start();
    world.run();
    assert_eq!(world.item("M").state, Blocked);
    world.wish(RunWish::Retry(RetryScope::Run));
    // The place where the review of a failed batch would have been waits for the batch.
    assert_eq!(world.item("R").state, Waiting);
    let waiting = item_id(&world, "R");
    world.wish(RunWish::CancelItem(waiting));
    assert_eq!(world.item("R").state, Waiting);
    assert_eq!(world.item("M").state, Waiting, "nothing is merged early");
    world.restart();
    world.run();
    pick_all(&mut world);
    world.run();
    assert_eq!(
        world.item("R").state,
        Skipped,
        "it is no longer part of the run"
    );
    assert_eq!(world.list("M").len(), 2);
    assert_eq!(world.run_state, RunState::Completed);

    // One that stays part of the run is cancelled as wished.
    let maker = item_id(&world, "W1");
    world.wish(RunWish::RedoItem {
        item_id: maker,
        fields: vec![],
    });
    let waiting = item_id(&world, "W2 W1:1");
    world.wish(RunWish::CancelItem(waiting));
    world.restart();
    world.run();
    pick_all(&mut world);
    world.run();
    assert_eq!(world.item("W2 W1:1").state, Cancelled);
    assert_eq!(world.item("M").state, Blocked);
}

#[test]
fn what_was_cancelled_while_it_waits_stays_so_in_the_next_process() {
    let mut graph = Graph::new();
    let first = graph.workflow("W1", &["seed"]);
    let second = graph.workflow("W2", &["image"]);
    let other = graph.workflow("V", &["seed"]);
    let (output, other_output) = (graph.output("O"), graph.output("P"));
    graph.link(first, "image", second, "image");
    graph.link(second, "image", output, "value");
    graph.link(other, "image", other_output, "value");
    let mut world = World::new(&graph);
    world.start();
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    for name in ["W1", "V"] {
        let item_id = item_id(&world, name);
        world.wish(RunWish::RedoItem {
            item_id,
            fields: vec![],
        });
        world.wish(RunWish::CancelNode(second));
    }
    assert_eq!(world.item("W2").state, Cancelled);
    // The log goes on after the second of them was reopened.
    assert!(world.execute(|name| name == "V"));
    world.restart();
    assert_eq!(world.item("W2").state, Cancelled);
    world.run();
    assert_eq!(world.item("W2").state, Cancelled);
    assert_eq!(world.item("O").state, Blocked);
    assert_eq!(world.run_state, RunState::CompletedWithFailures);
}

#[test]
fn a_clock_that_jumps_back_leaves_no_item_resting_for_ever() {
    let (graph, _) = chain();
    let mut world = World::new(&graph);
    for (item, times) in [("W1 F:0", 3), ("W1 F:1", 3), ("W1 F:2", 3)] {
        world
            .fails
            .insert(item.to_owned(), (FailureClass::Transfer, times));
    }
    world.start();
    let (mut wake_ups, mut has_jumped) = (0, false);
    while !world.run_state.is_ended() {
        if world.answer_local() || world.execute(|_| true) {
            continue;
        }
        wake_ups += 1;
        assert!(wake_ups < 1000, "it does not go on");
        let at_ms = world.wakes.pop_first().expect("something is to wake it");
        world.now_ms = world.now_ms.max(at_ms);
        if wake_ups == 2 {
            // The clock is set while the wake-up is on its way.
            world.now_ms -= 600_000;
            has_jumped = true;
        }
        world.step(Input::Tick);
    }
    assert_eq!(world.run_state, RunState::Completed);
    assert!(has_jumped);
}

#[test]
fn a_list_that_grows_by_a_retry_is_merged_again() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 2);
    let batch = graph.workflow_with("W1", &["seed"], BatchMode::Each);
    // One list per picture of a batch, over all batches: what belongs into it is known when no batch can come any more.
    let merge = graph.merge("M", MergeScope::FanOut(fan_out));
    let output = graph.output("O");
    graph.link(fan_out, "F", batch, "seed");
    graph.link(batch, "image", merge, "values");
    graph.link(merge, "list", output, "value");
    let mut world = World::new(&graph);
    world.batch.insert("W1".to_owned(), 2);
    world
        .fails
        .insert("W1 F:1".to_owned(), (FailureClass::Invalid, 1));
    world.start();
    world.run();
    assert_eq!(world.run_state, RunState::CompletedWithFailures);
    assert_eq!(world.list("M W1:0"), ["F:0,W1:0"]);
    world.wish(RunWish::Retry(RetryScope::Run));
    world.restart();
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.list("M W1:0"), ["F:0,W1:0", "F:1,W1:0"]);
    assert_eq!(world.list("M W1:1"), ["F:0,W1:1", "F:1,W1:1"]);
    world.restart();
}

#[test]
fn a_batch_of_nothing_gives_an_empty_list_also_behind_a_fan_out_closed_before() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 1);
    let first = graph.workflow_with("W1", &["seed"], BatchMode::Each);
    let second = graph.workflow_with("W2", &["image"], BatchMode::Each);
    let outer = graph.merge("Outer", MergeScope::FanOut(fan_out));
    let inner = graph.merge("Inner", MergeScope::Innermost);
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", second, "image");
    graph.link(second, "image", outer, "values");
    graph.link(outer, "list", inner, "values");
    let mut world = World::new(&graph);
    let redo = |world: &mut World, name: &str| {
        let item_id = item_id(world, name);
        world.wish(RunWish::RedoItem {
            item_id,
            fields: vec![],
        });
        world.run();
    };
    world.batch.insert("W1".to_owned(), 2);
    world.batch.insert("W2".to_owned(), 0);
    world.start();
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.count("Inner", Done), 2);
    assert!(world.list("Inner W1:1").is_empty());
    // Made again with fewer values, and with more.
    world.batch.insert("W1".to_owned(), 1);
    redo(&mut world, "W1 F:0");
    assert_eq!(world.item("Inner W1:0").state, Done);
    assert_eq!(world.item("Inner W1:1").state, Skipped);
    world.batch.insert("W1".to_owned(), 3);
    redo(&mut world, "W1 F:0");
    world.restart();
    world.run();
    assert_eq!(world.count("Inner", Done), 3);
    assert!(world.list("Inner W1:2").is_empty());
    assert_eq!(world.run_state, RunState::Completed);
}
