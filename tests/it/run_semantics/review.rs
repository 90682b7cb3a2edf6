//! Reviews: picked, rated, made again.

use super::{example_2, item_id, played};
use crate::engine_driver::{Graph, World, field};
use comfyui_orchestrator::engine::machine::LocalTask;
use comfyui_orchestrator::engine::{
    ItemState, ReviewAnswer, ReviewVerdict, RunState, RunWish, Value,
};
use comfyui_orchestrator::project::{Literal, PortBinding};
use std::collections::BTreeMap;

use ItemState::{Done, Parked, Skipped};

/// `F(count) → W → R → W2`, R a Review.
fn example_21(count: u32) -> Graph {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", count);
    let workflow = graph.workflow("W", &["seed"]);
    let review = graph.review("R");
    let second = graph.workflow("W2", &["image"]);
    graph.link(fan_out, "F", workflow, "seed");
    graph.link(workflow, "image", review, "value");
    graph.link(review, "picked", second, "image");
    graph
}

fn answers(world: &World, names: &[String], verdict: &ReviewVerdict) -> Vec<ReviewAnswer> {
    names
        .iter()
        .map(|name| ReviewAnswer {
            item_id: item_id(world, name),
            verdict: verdict.clone(),
        })
        .collect()
}

#[test]
fn example_21_a_person_picks_and_the_rest_is_skipped() {
    let graph = example_21(100);
    let mut world = played(&graph);
    assert_eq!(
        world.run_state,
        RunState::Running,
        "it waits for the person"
    );
    assert_eq!(world.count("R", Parked), 100);
    assert!(world.submitted.is_empty(), "it holds no machine");
    world.restart();
    world.run();
    assert_eq!(world.count("R", Parked), 100, "still waiting");
    let (picked, rest): (Vec<u32>, Vec<u32>) = (0..100).partition(|index| index % 15 == 0);
    let names = |indexes: Vec<u32>| -> Vec<String> {
        indexes.iter().map(|index| format!("R F:{index}")).collect()
    };
    let mut all = answers(&world, &names(picked), &ReviewVerdict::Pick);
    all.extend(answers(&world, &names(rest), &ReviewVerdict::Reject));
    world.wish(RunWish::Review(all));
    world.run();
    assert_eq!(world.count("W2", Done), 7);
    assert_eq!(world.count("W2", Skipped), 93);
    assert_eq!(world.item("W2 F:1").reason, "not picked");
    assert_eq!(world.run_state, RunState::Completed);
    world.restart();
    world.check_against_machine();
}

#[test]
fn a_rating_reaches_conditions_and_a_redo_asks_again() {
    let mut graph = example_21(2);
    let review = *graph
        .project
        .nodes
        .iter()
        .find(|(_, node)| node.title == "R")
        .unwrap()
        .0;
    let condition = graph.condition("C");
    graph.link(review, "picked", condition, "value");
    let mut world = played(&graph);
    let names = ["R F:0".to_owned()];
    let address = match &graph.project.nodes[&world.item("W F:0").node_id].inputs[0].binding {
        PortBinding::Parameter(address) => address.clone(),
        other => panic!("{other:?}"),
    };
    let first = world.item("W F:0").outputs.clone();
    let redo = ReviewVerdict::Redo(vec![(address.clone(), Literal::Integer(77_u32.into()))]);
    let redo = answers(&world, &names, &redo);
    world.wish(RunWish::Review(redo));
    assert_eq!(world.item("R F:0").state, ItemState::Waiting);
    let sent = world.submitted.back().unwrap();
    let seed = sent.fields.iter().find(|(known, _)| *known == address);
    assert_eq!(
        seed.map(|(_, value)| value.clone()),
        Some(Value::Literal(Literal::Integer(77_u32.into())))
    );
    world.run();
    assert_ne!(world.item("W F:0").outputs, first);
    assert_eq!(world.item("W F:0").attempts, 2);
    assert_eq!(world.item("R F:0").state, Parked, "asked about again");
    world.restart();
    let mut both = answers(&world, &names, &ReviewVerdict::Rate(4));
    both.extend(answers(&world, &names, &ReviewVerdict::Pick));
    world.wish(RunWish::Review(both));
    let asked = world
        .locals
        .iter()
        .find_map(|work| match &work.task {
            LocalTask::Decide { rating, .. } => Some(*rating),
            _ => None,
        })
        .unwrap();
    assert_eq!(asked, Some(4));
}

/// `F(2) → W1 → W2 → C`: the label that each Condition sees beside the picture that is before it.
fn labels_seen(world: &mut World) -> BTreeMap<String, Value> {
    let mut seen = BTreeMap::new();
    while let Some(work) = world.locals.front().cloned() {
        if let LocalTask::Decide { value, .. } = &work.task {
            seen.insert(work.labels["F"].clone(), value.clone());
        }
        world.answer_local();
    }
    seen
}

#[test]
fn labels_tell_what_a_value_was_made_with_and_not_what_was_asked_for_since() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 1);
    let first = graph.workflow("W1", &["seed"]);
    let second = graph.workflow("W2", &["image"]);
    let condition = graph.condition("C");
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", second, "image");
    graph.link(second, "image", condition, "value");
    for is_restarted in [false, true] {
        let mut world = World::new(&graph);
        world.start();
        world.execute(|name| name == "W1 F:0");
        let item = item_id(&world, "W1 F:0");
        // It waits: something that is made from it executes.
        world.wish(RunWish::RedoItem {
            item_id: item,
            fields: vec![(field("seed"), Literal::Integer(9_u32.into()))],
        });
        world.wish(RunWish::Cancel);
        world.answer_cancel();
        assert_eq!(world.run_state, RunState::Cancelled);
        if is_restarted {
            world.restart();
        }
        world.wish(RunWish::Resume);
        assert!(world.execute(|name| name == "W2 F:0"));
        assert_eq!(world.item("W1 F:0").attempts, 1, "it was not made again");
        let with_its_own = labels_seen(&mut world);
        assert_eq!(with_its_own.keys().collect::<Vec<_>>(), ["0"]);
        assert_eq!(world.run_state, RunState::Completed);
        // What was asked for is made when somebody asks again, and then its label says so.
        world.wish(RunWish::RedoItem {
            item_id: item,
            fields: vec![],
        });
        for name in ["W1 F:0", "W2 F:0"] {
            assert!(world.execute(|one| one == name));
        }
        if is_restarted {
            world.restart();
        }
        let with_another = labels_seen(&mut world);
        assert_eq!(with_another.keys().collect::<Vec<_>>(), ["9"]);
        assert_ne!(with_its_own["0"], with_another["9"]);
        world.run();
        assert_eq!(world.run_state, RunState::Completed);
    }
}

#[test]
fn a_redone_item_takes_what_was_made_from_it_along() {
    let (graph, _) = example_2(3);
    let mut world = played(&graph);
    let item = item_id(&world, "W1 F:1");
    world.wish(RunWish::RedoItem {
        item_id: item,
        fields: vec![],
    });
    assert_eq!(world.run_state, RunState::Running);
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    for (name, attempts) in [("W1 F:0", 1), ("W1 F:1", 2), ("W2 F:1", 2), ("W2 F:2", 1)] {
        assert_eq!(world.item(name).attempts, attempts, "{name}");
    }
}
