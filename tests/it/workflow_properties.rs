//! What holds of every workflow: conversions there and back change nothing, what was set is what is shown, and no file
//! costs more than its size allows.

use super::workflow::editor_file;
use comfyui_orchestrator::workflow::{
    Control, ConvertError, ObjectInfo, Prompt, PromptNode, Role, UiWorkflow, WorkflowDocument,
    WorkflowError, diff, inspect, patch, read, to_editor, to_prompt,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

fn object_info() -> ObjectInfo {
    let picture = json!(["IMAGE"]);
    let info = json!({
        "Draw": {"input": {"required": {"seed": ["INT", {"min": 0, "max": u64::MAX}], "steps": ["INT", {"min": 1, "max": 100}],
            "text": ["STRING", {"multiline": true, "dynamicPrompts": true}], "strength": ["FLOAT", {"min": -10.0, "max": 10.0}]}}, "output": ["IMAGE", "MASK"]},
        "Load": {"input": {"required": {"image": [["a.png", "b.png"], {"image_upload": true}]}, "optional": {"flip": ["BOOLEAN", {}]}}, "output": ["IMAGE"]},
        "Blur": {"input": {"required": {"image": ["IMAGE"], "kind": [["box", "gauss"]], "radius": ["INT", {"min": 0, "max": 64}]}}, "output": picture},
        "Join": {"input": {"required": {"first": ["IMAGE"]}, "optional": {"second": ["IMAGE"]}}, "output": picture},
        "Mode": {"input": {"required": {"mode": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "flat", "inputs": {}}, {"key": "deep", "inputs": {"required": {"depth": ["INT", {}], "image": ["IMAGE", {}]}}}]}], "last": ["STRING", {}]}}, "output": picture},
        "Stack": {"input": {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 1}}]}}, "output": picture},
        "Save": {"input": {"required": {"images": ["IMAGE"], "prefix": ["STRING", {}]}}, "output": [], "output_node": true},
    });
    ObjectInfo::parse(info.to_string().as_bytes()).unwrap()
}

/// One node of a random workflow: what it is, its values, and which earlier nodes feed it.
#[derive(Clone, Debug)]
struct Part {
    kind: u8,
    seed: u64,
    number: i32,
    fraction: f64,
    text: String,
    feeds: [u8; 3],
    /// 0: runs, 1: muted, 2: bypassed.
    mode: u8,
}

fn part() -> impl Strategy<Value = Part> {
    let text = "[ -~äß漢\n]{0,24}".prop_map(|text: String| {
        text.replace('/', "/ ")
            // The editor has no way to write a backslash before a brace or a bar.
            .replace('\\', "")
    });
    let numbers = (any::<u64>(), 1..=64_i32, -10.0..10.0_f64);
    let mode = prop_oneof![8 => Just(0_u8), 1 => Just(1), 1 => Just(2)];
    (0..7_u8, numbers, text, any::<[u8; 3]>(), mode).prop_map(
        |(kind, (seed, number, fraction), text, feeds, mode)| Part {
            kind,
            seed,
            number,
            fraction,
            text,
            feeds,
            mode,
        },
    )
}

/// The prompt of which every node but the first is fed by earlier ones.
fn prompt_of(parts: &[Part]) -> Prompt {
    let mut prompt = Prompt::default();
    for (index, part) in parts.iter().enumerate() {
        let link = |feed: usize| {
            json!([
                (part.feeds[feed] as usize % index.max(1) + 1).to_string(),
                0
            ])
        };
        let kind = if index == 0 { 0 } else { part.kind };
        let (class_type, inputs) = match kind {
            0 => (
                "Draw",
                json!({"seed": part.seed, "steps": part.number, "text": part.text, "strength": part.fraction}),
            ),
            1 => (
                "Load",
                json!({"image": "b.png", "flip": part.number % 2 == 0}),
            ),
            2 => (
                "Blur",
                json!({"kind": "gauss", "radius": part.number, "image": link(0)}),
            ),
            3 => ("Join", json!({"first": link(0), "second": link(1)})),
            4 if part.mode == 0 => (
                "Mode",
                json!({"mode": "deep", "mode.depth": part.number, "mode.image": link(0), "last": part.text}),
            ),
            4 => ("Mode", json!({"mode": "flat", "last": part.text})),
            5 => (
                "Stack",
                json!({"images.image0": link(0), "images.image1": link(1), "images.image2": link(2)}),
            ),
            _ => ("Save", json!({"images": link(0), "prefix": part.text})),
        };
        let Value::Object(inputs) = inputs else {
            unreachable!("made above");
        };
        let node = PromptNode {
            class_type: class_type.to_owned(),
            inputs,
            meta: Some(json!({"title": format!("{class_type} {index}")})),
        };
        prompt.nodes.insert((index + 1).to_string(), node);
    }
    // Nothing comes out of a node that saves.
    let saves: Vec<String> = prompt
        .nodes
        .iter()
        .filter(|(_, node)| node.class_type == "Save")
        .map(|(id, _)| id.clone())
        .collect();
    for node in prompt.nodes.values_mut() {
        for value in node.inputs.values_mut() {
            if value
                .get(0)
                .and_then(Value::as_str)
                .is_some_and(|id| saves.iter().any(|save| save == id))
            {
                *value = json!(["1", 0]);
            }
        }
    }
    prompt
}

fn reopened(workflow: &UiWorkflow) -> UiWorkflow {
    editor_file(&serde_json::to_value(workflow).unwrap())
}

fn convert(workflow: &UiWorkflow) -> Prompt {
    to_prompt(workflow, &object_info(), &mut |_| 0).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_prompt_comes_back_from_the_editor_format(parts in proptest::collection::vec(part(), 1..12)) {
        let prompt = prompt_of(&parts);
        let drawn = reopened(&to_editor(&prompt, &object_info()).unwrap());
        prop_assert_eq!(diff(&prompt, &convert(&drawn)), []);
    }

    #[test]
    fn an_editor_file_gives_the_same_prompt_after_a_way_through_the_prompt(parts in proptest::collection::vec(part(), 1..12)) {
        let mut file = serde_json::to_value(to_editor(&prompt_of(&parts), &object_info()).unwrap()).unwrap();
        for (node, part) in file["nodes"].as_array_mut().unwrap().iter_mut().zip(&parts) {
            node["mode"] = [0, 2, 4][part.mode as usize].into();
        }
        let prompt = convert(&editor_file(&file));
        let again = convert(&reopened(&to_editor(&prompt, &object_info()).unwrap()));
        prop_assert_eq!(diff(&prompt, &again), []);
    }

    #[test]
    fn what_was_set_is_what_is_shown(parts in proptest::collection::vec(part(), 1..8), which in any::<prop::sample::Index>(), change in part()) {
        let info = object_info();
        let mut prompt = prompt_of(&parts);
        let fields = inspect(&prompt, Some(&info)).fields;
        let field = which.get(&fields);
        let value = match &field.control {
            Control::Integer { seed: true, .. } => json!(change.seed),
            Control::Integer { .. } => json!(change.number),
            Control::Number { .. } => json!(change.fraction),
            Control::Toggle => json!(change.number % 2 == 0),
            Control::Text { .. } => json!(change.text),
            Control::Choice { choices } => choices.last().cloned().unwrap_or_default(),
            Control::File { .. } => json!("other.png"),
            Control::Json => return Ok(()),
        };
        patch(&mut prompt, &field.address, value.clone(), Some(&info)).unwrap();
        let inspection = inspect(&prompt, Some(&info));
        let shown = inspection.field(&field.address).map(|field| field.value.clone());
        prop_assert_eq!(shown, Some(value));
    }

    #[test]
    fn no_file_however_damaged_is_more_than_refused(parts in proptest::collection::vec(part(), 1..5), edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let drawn = to_editor(&prompt_of(&parts), &object_info()).unwrap();
        let mut bytes = serde_json::to_vec(&drawn).unwrap();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            match byte % 3 {
                0 => bytes[at] = *b"0[]{}\":,-e9n".get(byte as usize % 12).unwrap(),
                1 => bytes.truncate(at + 1),
                _ => {
                    bytes.remove(at);
                    bytes.push(b' ');
                }
            }
        }
        if let Ok(WorkflowDocument::Ui(workflow)) = read(&bytes) {
            let _ = to_prompt(&workflow, &object_info(), &mut |_| 0);
        }
    }
}

#[test]
fn files_of_too_many_parts_are_refused_before_anything_is_built() {
    let values = format!(
        r#"{{"nodes": [], "x": [{}]}}"#,
        "0,".repeat(5_000_000) + "0"
    );
    assert_eq!(read(values.as_bytes()), Err(WorkflowError::TooManyValues));
    let deep = format!(r#"{{"nodes": {}"#, r#"{"a":["#.repeat(100_000));
    assert_eq!(read(deep.as_bytes()), Err(WorkflowError::TooDeep));
    let mut nodes = String::from(r#"{"nodes": ["#);
    for id in 0..1_000_000 {
        write!(nodes, r#"{{"id":{id},"type":"Draw"}},"#).unwrap();
    }
    nodes.push_str("0]}");
    assert!(matches!(
        read(nodes.as_bytes()),
        Err(WorkflowError::BadPart { .. } | WorkflowError::TooManyNodes { .. })
    ));
    let info = format!(r#"{{"A": [{}]}}"#, "0,".repeat(9_000_000) + "0");
    assert!(ObjectInfo::parse(info.as_bytes()).is_err());
}

#[test]
fn a_long_text_in_many_places_does_not_fill_the_memory() {
    let long = "x".repeat(20_000_000);
    let targets = 50;
    // One primitive that feeds many nodes.
    let mut nodes: Vec<Value> = (1..=targets)
        .map(|id| json!({"id": id, "type": "Save", "inputs": [{"name": "prefix", "type": "STRING", "widget": {"name": "prefix"}, "link": id}]}))
        .collect();
    let links: Vec<Value> = (1..=targets)
        .map(|id| json!([id, 999, 0, id, 0, "STRING"]))
        .collect();
    nodes.push(json!({"id": 999, "type": "PrimitiveNode", "outputs": [{"name": "STRING", "type": "STRING"}], "widgets_values": [long]}));
    let fed = editor_file(&json!({"version": 0.4, "nodes": nodes, "links": links}));
    let info = object_info();
    assert_eq!(
        to_prompt(&fed, &info, &mut |_| 0),
        Err(ConvertError::TooLarge)
    );
    // A subgraph, and a group node, that many nodes are instances of.
    let inside = json!([{"id": 1, "type": "Save", "widgets_values": [long]}]);
    let instances = |type_name: &str| -> Vec<Value> {
        (0..targets)
            .map(|id| json!({"id": id, "type": type_name}))
            .collect()
    };
    let subgraphs = editor_file(
        &json!({"version": 0.4, "nodes": instances("S"), "links": [],
        "definitions": {"subgraphs": [{"id": "S", "nodes": inside, "links": []}]}}),
    );
    let groups = editor_file(
        &json!({"version": 0.4, "nodes": instances("workflow>G"), "links": [],
        "extra": {"groupNodes": {"G": {"nodes": inside, "links": []}}}}),
    );
    for workflow in [subgraphs, groups] {
        assert_eq!(
            to_prompt(&workflow, &info, &mut |_| 0),
            Err(ConvertError::TooLarge)
        );
    }
    let many: Vec<Value> = (0..1000).map(|_| json!({"type": "Draw"})).collect();
    let groups = editor_file(
        &json!({"version": 0.4, "nodes": (0..1000).map(|id| json!({"id": id, "type": "workflow>G"})).collect::<Vec<_>>(),
        "links": [], "extra": {"groupNodes": {"G": {"nodes": many, "links": []}}}}),
    );
    assert!(matches!(
        to_prompt(&groups, &info, &mut |_| 0),
        Err(ConvertError::TooManyNodes { .. })
    ));
}

#[test]
fn ids_and_positions_beyond_what_numbers_hold_are_taken_as_they_are() {
    let file = br#"{"version": 0.4, "nodes": [
        {"id": 9007199254740993, "type": "Draw", "pos": [NaN, -Infinity], "size": [1e308, 1e308], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [18446744073709551615]}], "widgets_values": [18446744073709551615, "fixed", 2, "t", 1]},
        {"id": -3, "type": "Save", "pos": {"0": 1e308}, "inputs": [{"name": "images", "type": "IMAGE", "link": 18446744073709551615}], "widgets_values": ["p"]}],
        "links": [[18446744073709551615, 9007199254740993, 0, -3, 0, "IMAGE"]]}"#;
    let WorkflowDocument::Ui(workflow) = read(file).unwrap() else {
        panic!("not an editor file");
    };
    let nodes: Map<String, Value> = convert(&workflow)
        .nodes
        .into_iter()
        .map(|(id, node)| (id, Value::Object(node.inputs)))
        .collect();
    assert_eq!(
        Value::Object(nodes),
        json!({
            "9007199254740993": {"seed": u64::MAX, "steps": 2, "text": "t", "strength": 1},
            "-3": {"images": ["9007199254740993", 0], "prefix": "p"},
        })
    );
}

#[test]
fn a_chain_of_prompts_is_looked_through_once() {
    let mut prompt = Prompt::default();
    for id in 0..20_000 {
        let inputs = match id {
            0 => json!({"text": "a lighthouse"}),
            _ => json!({"positive": [(id - 1).to_string(), 0]}),
        };
        let Value::Object(inputs) = inputs else {
            continue;
        };
        let class_type = "Chain".to_owned();
        prompt.nodes.insert(
            id.to_string(),
            PromptNode {
                class_type,
                inputs,
                meta: None,
            },
        );
    }
    let exposures = inspect(&prompt, None).exposures;
    assert_eq!(exposures.len(), 1);
    assert_eq!(exposures[0].role, Role::PositivePrompt);
}
