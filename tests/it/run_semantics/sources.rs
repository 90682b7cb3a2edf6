//! What fans out: tables, zips, files, lists, seeds.

use super::{item_id, played};
use crate::engine_driver::{Graph, World};
use comfyui_orchestrator::engine::{ItemState, RunEventBody, RunState, Value};
use comfyui_orchestrator::project::{
    Axis, DataType, ExposedParameter, FanOutSource, FilePattern, Literal, MergeScope, PortBinding,
    Table,
};

use ItemState::Done;

#[test]
fn example_25_a_table_gives_typed_columns_and_its_empty_cells_nothing() {
    let table = Table::from_text("prompt;seed;size\nfox;1;512\nbear;;768\n\"owl; red\";3;1024\n");
    let table = table.unwrap();
    let types: Vec<DataType> = table.columns.iter().map(|one| one.data_type).collect();
    assert_eq!(
        types,
        [DataType::Text, DataType::Integer, DataType::Integer]
    );
    let mut graph = Graph::new();
    let fan_out = graph.fan_out_of("T", FanOutSource::Table(table.clone()));
    let workflow = graph.workflow("W", &["prompt", "seed", "size"]);
    for column in ["prompt", "seed", "size"] {
        graph.link(fan_out, column, workflow, column);
    }
    let seed = match &graph.project.nodes[&workflow].inputs[1].binding {
        PortBinding::Parameter(address) => address.clone(),
        other => panic!("{other:?}"),
    };
    graph
        .edit_workflow(workflow)
        .parameters
        .push(ExposedParameter {
            group: None,
            address: seed.clone(),
            label: "seed".to_owned(),
            value: Some(Literal::Integer(99_u32.into())),
            seed: comfyui_orchestrator::project::SeedPolicy::default(),
        });
    let mut world = World::with_backends(&graph, 2);
    world.start();
    assert_eq!(world.states("W").len(), 3);
    let sent: Vec<Vec<(String, String)>> = (0..3)
        .map(|index| {
            let item = item_id(&world, &format!("W T:{index}"));
            let one = world.submitted.iter().find(|one| one.item_id == item);
            one.unwrap()
                .fields
                .iter()
                .map(|(address, value)| {
                    (address.input.clone(), crate::engine_driver::text_of(value))
                })
                .collect()
        })
        .collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert!(sent[0].contains(&pair("seed", "1")));
    assert!(
        sent[1].contains(&pair("seed", "99")),
        "an empty cell leaves the node's own value: {:?}",
        sent[1]
    );
    assert!(sent[2].contains(&pair("prompt", "owl; red")));
    assert_eq!(world.item("W T:0").labels["size"], "512");
    assert_eq!(world.item("W T:1").labels.get("seed"), None);

    let mut wrong = table;
    wrong.rows[2][1] = "many".to_owned();
    let mut graph = Graph::new();
    graph.fan_out_of("T", FanOutSource::Table(wrong));
    let expected = "row 3, column \"seed\"";
    let problems = graph.compile().unwrap_err();
    assert!(problems[0].message.contains(expected), "{problems:?}");
    let problems = comfyui_orchestrator::engine::problems(&graph.project, None);
    assert!(
        problems
            .iter()
            .any(|(_, message)| message.contains(expected)),
        "{problems:?}"
    );
}

#[test]
fn tables_survive_the_way_through_text() {
    let text = "a\tb\n\"x\ty\"\t\"say \"\"hi\"\"\"\n\t2\n";
    let table = Table::from_text(text).unwrap();
    assert_eq!(table.rows, [["x\ty", "say \"hi\""], ["", "2"]]);
    assert_eq!(Table::from_text(&table.to_text()).unwrap().rows, table.rows);
    for wrong in ["", "\"open", "a\n1,2"] {
        assert!(Table::from_text(wrong).is_err(), "{wrong:?}");
    }
    assert!(
        Table::from_text("a\n1\n\"x")
            .unwrap_err()
            .to_string()
            .contains("line 3")
    );
}

#[test]
fn a_zip_goes_side_by_side() {
    let axis = |name: &str, values: &[i64]| Axis {
        name: name.to_owned(),
        data_type: DataType::Integer,
        values: values
            .iter()
            .map(|value| Literal::Integer((*value).into()))
            .collect(),
    };
    let mut graph = Graph::new();
    let axes = vec![axis("a", &[1, 2, 3]), axis("b", &[10, 20, 30])];
    let fan_out = graph.fan_out_of("Z", FanOutSource::Zip(axes));
    let workflow = graph.workflow("W", &["a", "b"]);
    graph.link(fan_out, "a", workflow, "a");
    graph.link(fan_out, "b", workflow, "b");
    let world = played(&graph);
    assert_eq!(world.count("W", Done), 3);
    let labels = &world.item("W Z:1").labels;
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("2", "20"));
    let mut graph = Graph::new();
    let axes = vec![axis("a", &[1, 2, 3]), axis("b", &[10])];
    graph.fan_out_of("Z", FanOutSource::Zip(axes));
    let problems = comfyui_orchestrator::engine::problems(&graph.project, None);
    assert!(
        problems
            .iter()
            .any(|(_, message)| message.contains("not equally long")),
        "{problems:?}"
    );
}

#[test]
fn files_are_found_per_folder_and_carry_their_names() {
    let mut graph = Graph::new();
    let folders = graph.fan_out_of(
        "D",
        FanOutSource::List(Axis {
            name: "folder".to_owned(),
            data_type: DataType::Text,
            values: ["one/", "two/"]
                .map(|name| Literal::Text(name.to_owned()))
                .to_vec(),
        }),
    );
    let pattern = FilePattern {
        axis: "file".to_owned(),
        pattern: "*.png".to_owned(),
        data_type: DataType::Image,
    };
    let files = graph.fan_out_of("Files", FanOutSource::Files(pattern));
    let workflow = graph.workflow("W", &["image"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    graph.link(folders, "folder", files, "value");
    graph.link(files, "file", workflow, "image");
    graph.link(workflow, "image", merge, "values");
    let mut world = World::new(&graph);
    world.files_found.insert("*.png".to_owned(), 3);
    world.start();
    world.run();
    assert_eq!(world.count("W", Done), 6);
    let labels = &world.item("W D:1,Files:2").labels;
    assert_eq!(
        (labels["folder"].as_str(), labels["file"].as_str()),
        ("two/", "two/2.png")
    );
    assert_eq!(world.list("M D:1").len(), 3);
    let Some(Value::List(list)) = world.item("M D:0").outputs.values().next() else {
        panic!("no list");
    };
    assert_eq!(list[1].labels["file"], "one/1.png");
    world.restart();
    world.check_against_machine();
}

#[test]
fn a_list_is_split_into_its_values() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 3);
    let first = graph.workflow("W1", &["seed"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    let split = graph.fan_out_of(
        "S",
        FanOutSource::Split {
            axis: "part".to_owned(),
            data_type: DataType::Image,
        },
    );
    let second = graph.workflow("W2", &["image"]);
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", merge, "values");
    graph.link(merge, "list", split, "value");
    graph.link(split, "part", second, "image");
    let mut world = World::new(&graph);
    world.batch.insert("W1".to_owned(), 2);
    world.start();
    world.run();
    assert_eq!(world.count("W2", Done), 6, "every picture of every batch");
    assert_eq!(world.item("W2 S:5").labels["part"], "5");
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn a_long_list_is_not_repeated_in_the_log() {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", 200);
    let first = graph.workflow("W1", &["seed"]);
    let merge = graph.merge("M", MergeScope::Innermost);
    let condition = graph.condition("C");
    let output = graph.output("O");
    graph.link(fan_out, "F", first, "seed");
    graph.link(first, "image", merge, "values");
    graph.link(merge, "list", condition, "value");
    graph.link(condition, "true", output, "value");
    let mut world = played(&graph);
    let written = world.written.values().next().unwrap().clone();
    assert_eq!(written.split(' ').count(), 200);
    let longest = world
        .log
        .iter()
        .map(|event| serde_json::to_string(event).unwrap().len())
        .max()
        .unwrap();
    assert!(longest < 10_000, "{longest} bytes");
    // From any point of the log the same list comes out.
    for length in (0..world.log.len() - 3).rev().take(9) {
        let log = world.log[..length].to_vec();
        let mut again = World::new(&graph);
        again.take_in_log(log);
        again.restart();
        again.run();
        assert_eq!(again.written.values().next(), Some(&written), "{length}");
    }
    world
        .log
        .retain(|event| matches!(event.body, RunEventBody::ItemDone { .. }));
    assert!(world.log.len() > 200);
}

#[test]
fn seeds_are_counted_or_rolled_for_each_item_and_fall_the_same_way_again() {
    use comfyui_orchestrator::project::SeedPolicy;
    let sent = |policy: SeedPolicy, value: Option<u64>| -> Vec<Option<String>> {
        let mut graph = Graph::new();
        let fan_out = graph.fan_out("F", 3);
        let workflow = graph.workflow("W", &["prompt", "seed"]);
        graph.link(fan_out, "F", workflow, "prompt");
        let seed = match &graph.project.nodes[&workflow].inputs[1].binding {
            PortBinding::Parameter(address) => address.clone(),
            other => panic!("{other:?}"),
        };
        let mut parameter = ExposedParameter::new(seed, "seed");
        parameter.value = value.map(|value| Literal::Integer(value.into()));
        parameter.seed = policy;
        graph.edit_workflow(workflow).parameters.push(parameter);
        let mut world = World::with_backends(&graph, 2);
        world.start();
        let seeds_of = |world: &World| -> Vec<Option<String>> {
            (0..3)
                .map(|index| {
                    let item = item_id(world, &format!("W F:{index}"));
                    let one = world.submitted.iter().rfind(|one| one.item_id == item);
                    one.unwrap()
                        .fields
                        .iter()
                        .find(|(address, _)| address.input == "seed")
                        .map(|(_, value)| crate::engine_driver::text_of(value))
                })
                .collect()
        };
        seeds_of(&world)
    };
    let text = |values: [u64; 3]| values.map(|value| Some(value.to_string())).to_vec();
    assert_eq!(sent(SeedPolicy::Fixed, Some(7)), text([7, 7, 7]));
    assert_eq!(sent(SeedPolicy::Fixed, None), [None, None, None]);
    let up_to = |max| SeedPolicy::Increment { max };
    assert_eq!(sent(up_to(u64::MAX), Some(7)), text([7, 8, 9]));
    assert_eq!(sent(up_to(8), Some(7)), text([7, 8, 0]));
    assert_eq!(
        sent(up_to(u64::MAX), Some(u64::MAX)),
        text([u64::MAX, 0, 1])
    );
    assert_eq!(
        sent(up_to(8), None),
        [None, None, None],
        "nothing to count from"
    );
    let rolled = sent(SeedPolicy::Random { max: 0xFFFF_FFFF }, None);
    assert_eq!(
        rolled,
        sent(SeedPolicy::Random { max: 0xFFFF_FFFF }, Some(3)),
        "the same items of the same run"
    );
    let numbers: std::collections::BTreeSet<u64> = rolled
        .iter()
        .map(|seed| seed.as_ref().unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers.len(), 3, "{rolled:?}");
    assert!(numbers.iter().all(|seed| *seed <= 0xFFFF_FFFF));
    let dice = sent(SeedPolicy::Random { max: 5 }, None);
    assert!(
        dice.iter()
            .flatten()
            .all(|seed| seed.parse::<u64>().unwrap() <= 5)
    );
}
