//! What was true when something was asked, and is not when the answer comes: found by simulated lives, told one by one.

use crate::engine_driver::{Graph, World, backend_id, field, online, picture};
use crate::run_semantics::item_id;
use comfyui_orchestrator::engine::machine::{
    AttemptOutputs, Availability, BackendFacts, CacheUse, Input, LocalOutcome, Machine,
};
use comfyui_orchestrator::engine::{
    Answer, AnswerReach, FailureClass, ItemState, RetryScope, RunEventBody, RunState, RunWish,
    Value,
};
use comfyui_orchestrator::project::{Fallback, Literal};

fn one_workflow() -> Graph {
    let mut graph = Graph::new();
    let workflow = graph.workflow("W", &["seed"]);
    let output = graph.output("O");
    graph.link(workflow, "image", output, "value");
    graph
}

#[test]
fn an_earlier_result_counts_only_for_the_fields_that_were_asked_about() {
    let graph = one_workflow();
    let mut world = World::new(&graph);
    world.machine = Machine::new().with_cache(CacheUse::Ask);
    world.step(Input::Backend(online(0)));
    world.start();
    let asked = world.look_ups.pop().unwrap();
    let item_id = asked.item_id;
    let fields = vec![(field("seed"), Literal::Integer(5_u32.into()))];
    world.wish(RunWish::RedoItem {
        item_id,
        fields: fields.clone(),
    });
    let port = world.project.nodes[&asked.node_id].outputs[0].id;
    let ports = [(port, vec![picture("with the seed of before")])].into();
    world.step(Input::LocalEnded {
        item_id,
        outcome: Ok(LocalOutcome::Cached(AttemptOutputs { ports })),
    });
    assert_eq!(world.item("W").state, ItemState::Ready);
    let again = world.look_ups.pop().unwrap();
    assert_eq!(
        again.fields,
        [(field("seed"), Value::Literal(fields[0].1.clone()))]
    );
    world.step(Input::LocalEnded {
        item_id,
        outcome: Ok(LocalOutcome::NotCached),
    });
    assert_eq!(world.submitted[0].fields, again.fields);
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn what_was_sent_stays_what_it_was_when_the_item_is_changed_and_the_process_dies() {
    let graph = one_workflow();
    let mut world = World::new(&graph);
    world.start();
    let sent = world.submitted[0].clone();
    let changed = vec![(field("seed"), Literal::Integer(5_u32.into()))];
    world.wish(RunWish::RedoItem {
        item_id: sent.item_id,
        fields: changed,
    });
    world.restart();
    // Else its result would be kept for later as that of the changed item, and be found at once when that is made.
    assert_eq!(world.submitted[0].attempt_id, sent.attempt_id);
    assert_eq!(world.submitted[0].fields, sent.fields);
    assert!(world.execute(|name| name == "W"));
    assert_ne!(world.submitted[0].fields, sent.fields);
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.item("W").attempts, 2);
}

#[test]
fn an_old_log_does_not_tell_what_a_machine_lacks_today() {
    let graph = one_workflow();
    let mut world = World::new(&graph);
    world
        .fails
        .insert("W".to_owned(), (FailureClass::MissingModel, 1));
    world.start();
    world.run();
    assert_eq!(world.run_state, RunState::Failed);
    // The model is installed, and the server restarted for it.
    world.step(Input::Backend(BackendFacts {
        availability: Availability::Offline {
            reason: "connection refused".to_owned(),
        },
        ..online(0)
    }));
    world.step(Input::Backend(online(0)));
    let (run_id, plan) = (world.run_id, world.plan.clone());
    world.machine.forget(run_id);
    let log = world.log.clone();
    world.machine.restore(run_id, plan, log);
    world.wish(RunWish::Retry(RetryScope::Run));
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn an_answer_for_the_run_is_never_in_a_log_without_its_question() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 2);
    let workflow = graph.workflow("W", &["seed"]);
    graph.link(fan_out, "F", workflow, "seed");
    graph.edit_workflow(workflow).fallback = Fallback::AskUser;
    let mut world = World::with_backends(&graph, 2);
    for name in ["W F:0", "W F:1"] {
        world
            .fails
            .insert(name.to_owned(), (FailureClass::NodeError, 1));
    }
    world.start();
    world.execute(|name| name == "W F:0");
    let item_ids = vec![item_id(&world, "W F:0")];
    world.wish(RunWish::Answer {
        item_ids,
        answer: Answer::RunOn(backend_id(1)),
        reach: AnswerReach::ThisRun,
    });
    let position = world
        .submitted
        .iter()
        .position(|one| one.item_id == item_id(&world, "W F:1"))
        .unwrap();
    let submission = world.submitted.remove(position).unwrap();
    let attempt_id = submission.attempt_id;
    let outcome = world.outcome(&submission);
    let ended = Input::AttemptEnded {
        attempt_id,
        outcome,
    };
    // The process dies when it has written of the failure, and of nothing that follows.
    let effects = world.machine.step(world.now_ms, ended);
    world.perform(effects.into_iter().next().unwrap());
    assert!(matches!(
        world.log.last().unwrap().body,
        RunEventBody::AttemptFailed { .. }
    ));
    world.restart();
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    let asked = |body: &RunEventBody| matches!(body, RunEventBody::ItemAsks { .. });
    let answered = |body: &RunEventBody| matches!(body, RunEventBody::ItemAnswered { .. });
    let count = |is_it: fn(&RunEventBody) -> bool| {
        let of_kind = world.log.iter().filter(|event| is_it(&event.body));
        of_kind.count()
    };
    assert_eq!((count(asked), count(answered)), (2, 2));
}

#[test]
fn an_item_that_rests_after_a_broken_transfer_says_so() {
    let graph = one_workflow();
    let mut world = World::new(&graph);
    world
        .fails
        .insert("W".to_owned(), (FailureClass::Transfer, 1));
    world.start();
    world.execute(|_| true);
    let reason = world
        .machine
        .waiting_reason(world.now_ms, world.run_id, item_id(&world, "W"));
    assert_eq!(
        reason.as_deref(),
        Some("is tried again in 1 s: the last transfer broke")
    );
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn what_has_rested_is_not_sent_to_a_backend_that_is_being_removed() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 3);
    let workflow = graph.workflow("W", &["seed"]);
    let output = graph.output("O");
    graph.link(fan_out, "F", workflow, "seed");
    graph.link(workflow, "image", output, "value");
    let mut world = World::with_backends(&graph, 2);
    world
        .fails
        .insert("W F:0".to_owned(), (FailureClass::Transfer, 1));
    world.start();
    world.execute(|name| name == "W F:0");
    let (leaving, stays) = (backend_id(0), backend_id(1));
    let lies_at = |world: &World, backend_id| {
        let there = world.submitted.iter();
        let there = there.filter(|submission| submission.backend_id == backend_id);
        there
            .map(|submission| submission.item_id)
            .collect::<Vec<_>>()
    };
    let [rested, moved] = ["W F:0", "W F:2"].map(|name| item_id(&world, name));
    assert_eq!(lies_at(&world, leaving), [moved]);
    // Its rest is over, and nothing has happened since.
    world.now_ms += 2_000;
    for input in [
        Input::BackendRemoved {
            backend_id: leaving,
        },
        Input::VacateBackend {
            backend_id: leaving,
        },
    ] {
        world.step(input);
    }
    assert_eq!(lies_at(&world, leaving), [moved]);
    assert!(lies_at(&world, stays).contains(&rested));
    let called_off = world.submitted.iter().find(|one| one.item_id == moved);
    assert_eq!(world.cancels, [called_off.unwrap().attempt_id]);
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
}
