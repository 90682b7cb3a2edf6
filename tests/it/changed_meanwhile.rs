//! What was true when something was asked, and is not when the answer comes: found by simulated lives, told one by one.

use crate::engine_driver::{Graph, World, backend_id, field, online, picture};
use crate::run_semantics::item_id;
use comfyui_orchestrator::artifacts::Artifact;
use comfyui_orchestrator::engine::machine::{
    AttemptOutputs, Availability, BackendFacts, CacheUse, Input, LocalOutcome, Machine, NodeClasses,
};
use comfyui_orchestrator::engine::{
    Answer, AnswerReach, FailureClass, ItemState, PlacementVerdict, RetryScope, RunEventBody,
    RunState, RunWish, Value,
};
use comfyui_orchestrator::project::{Fallback, Literal};
use comfyui_orchestrator::workflow::ObjectInfo;
use std::sync::Arc;

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
    world.step(Input::LookedUp {
        item_id,
        found: Some(AttemptOutputs { ports }),
    });
    assert_eq!(world.item("W").state, ItemState::Ready);
    let again = world.look_ups.pop().unwrap();
    assert_eq!(
        again.fields,
        [(field("seed"), Value::Literal(fields[0].1.clone()))]
    );
    world.step(Input::LookedUp {
        item_id,
        found: None,
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
fn a_backend_gets_another_try_when_it_says_anew_what_it_has() {
    let mut graph = Graph::new();
    let model = graph.input("I", "new.safetensors");
    let workflow = graph.workflow("W", &["checkpoint"]);
    graph.link(model, "value", workflow, "checkpoint");
    let offline = || {
        let availability = Availability::Offline {
            reason: "connection refused".to_owned(),
        };
        Input::Backend(BackendFacts {
            availability,
            ..online(1)
        })
    };
    for is_restarted in [false, true] {
        let mut world = World::with_backends(&graph, 2);
        // There is hope as long as another may have it.
        world.step(offline());
        world
            .fails
            .insert("W".to_owned(), (FailureClass::MissingModel, 1));
        world.start();
        world.run();
        assert_eq!(world.item("W").state, ItemState::Ready);
        if is_restarted {
            // What an old log says of that is not what the backend has today.
            let (run_id, plan) = (world.run_id, world.plan.clone());
            world.machine = Machine::new();
            world.machine.restore(run_id, plan, world.log.clone());
            world.step(Input::Backend(online(0)));
            world.step(offline());
            world.step(Input::TakeUp { run_id });
        } else {
            world.step(Input::Backend(online(0)));
            assert!(world.submitted.is_empty(), "it said nothing new");
            let classes = Some(NodeClasses(Arc::new(ObjectInfo::parse(b"{}").unwrap())));
            world.step(Input::Backend(BackendFacts {
                classes,
                ..online(0)
            }));
        }
        world.run();
        assert_eq!(world.run_state, RunState::Completed);
        assert_eq!(world.item("W").attempts, 2);
    }
}

#[test]
fn what_was_brought_to_a_backend_is_reckoned_with_again_when_it_was_away() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 4);
    let file = graph.input("I", "a file");
    let workflow = graph.workflow("W", &["seed", "image"]);
    graph.link(fan_out, "F", workflow, "seed");
    graph.link(file, "value", workflow, "image");
    let mut world = World::new(&graph);
    world.start();
    let large = match picture("a large one") {
        Value::Artifact(artifact) => Artifact {
            byte_len: 1_000_000_000,
            ..(*artifact).clone()
        },
        other => panic!("{other:?}"),
    };
    let content = large.hash;
    while let Some(work) = world.locals.pop_front() {
        let value = Value::Artifact(Arc::new(large.clone()));
        world.step(Input::LocalEnded {
            item_id: work.item_id,
            order: work.order,
            outcome: Ok(LocalOutcome::Loaded(value)),
        });
    }
    let backend_id = backend_id(0);
    let found = |bytes| Input::Transferred {
        backend_id,
        content,
        bytes,
        took_ms: bytes / 100_000,
    };
    // Milliseconds that the last placed item was expected to take to bring its file there.
    let transfer_ms = |world: &World| {
        let placed = world.log.iter().rev().find_map(|event| match &event.body {
            RunEventBody::AttemptPlaced { decision, .. } => Some(decision.candidates[0].clone()),
            _ => None,
        });
        match placed.unwrap().verdict {
            PlacementVerdict::Possible { transfer_ms, .. } => transfer_ms,
            PlacementVerdict::Excluded { reason } => panic!("{reason}"),
        }
    };
    assert_eq!(transfer_ms(&world), 10_000);
    world.step(found(1_000_000_000));
    world.execute(|_| true);
    assert_eq!(transfer_ms(&world), 0);
    let availability = Availability::Offline {
        reason: "restarted with an empty folder".to_owned(),
    };
    world.step(Input::Backend(BackendFacts {
        availability,
        ..online(0)
    }));
    world.step(Input::Backend(online(0)));
    world.execute(|_| true);
    assert_eq!(
        transfer_ms(&world),
        10_000,
        "nobody knows whether it is there"
    );
    world.step(found(0));
    assert_eq!(world.count("W", ItemState::Ready), 0);
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn who_waits_for_results_to_be_fetched_is_told_so() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 8);
    let workflow = graph.workflow("W", &["seed"]);
    graph.link(fan_out, "F", workflow, "seed");
    let mut world = World::new(&graph);
    world.start();
    let reason = |world: &World| {
        world
            .machine
            .waiting_reason(world.now_ms, world.run_id, item_id(world, "W F:7"))
            .unwrap()
    };
    assert!(reason(&world).starts_with("waits for machine-0, which is full (2 prompts)"));
    while let Some(attempt_id) = world
        .submitted
        .iter()
        .map(|submission| submission.attempt_id)
        .find(|attempt_id| !world.executed.contains(attempt_id))
    {
        world.executed.insert(attempt_id);
        world.step(Input::AttemptStarted { attempt_id });
        world.step(Input::AttemptExecuted { attempt_id });
    }
    assert_eq!(
        reason(&world),
        "waits for machine-0, from which the results of 6 prompts are being fetched"
    );
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
