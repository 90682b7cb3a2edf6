//! Stopping, pausing, cancelling, going on, and what goes first.

use super::{example_2, item_id};
use crate::engine_driver::World;
use comfyui_orchestrator::engine::machine::{Effect, Input};
use comfyui_orchestrator::engine::{FailureClass, ItemState, RunState, RunWish};
use comfyui_orchestrator::project::OnFailure;

use ItemState::{Blocked, Cancelled, Done, Failed};

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
    // W1{F:2} waits behind it on the server; only what is there is called off there.
    let there: Vec<_> = world.submitted.iter().map(|one| one.attempt_id).collect();
    world.wish(RunWish::Cancel);
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

    world.wish(RunWish::Resume);
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
fn a_paused_run_submits_nothing_until_resumed() {
    let (graph, _) = example_2(5);
    let mut world = World::new(&graph);
    world.start();
    world.wish(RunWish::Pause);
    world.run();
    assert_eq!(world.run_state, RunState::Paused);
    assert_eq!(world.count("W1", Done), 2, "what was submitted finishes");
    assert_eq!(world.count("W2", ItemState::Ready), 2);
    world.wish(RunWish::Resume);
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
        world.wish(RunWish::CancelItem(item_id));
    }
    assert_eq!(world.cancels.len(), 1, "one was at the server, one was not");
    world.run();
    assert_eq!(world.run_state, RunState::CompletedWithFailures);
    assert_eq!(world.count("W1", Cancelled), 2);
    assert_eq!(world.count("W2", Blocked), 2);
    assert_eq!(world.files("O"), 1);
}

#[test]
fn priority_comes_before_depth_and_index() {
    let (graph, [_, first, ..]) = example_2(6);
    let mut world = World::new(&graph);
    world.start();
    let wished = item_id(&world, "W1 F:5");
    world.wish(RunWish::SetItemPriority {
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
    world
        .machine
        .step(world.now_ms, Input::wish(other, RunWish::SetPriority(5)));
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
