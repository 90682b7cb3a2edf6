//! The rules by which ComfyUI's editor turns its files into prompts, one small file for each.
//!
//! What is expected here is what the editor of ComfyUI 0.8 itself gives for these files.

use super::workflow::editor_file;
use comfyui_orchestrator::workflow::{ConvertError, ObjectInfo, WorkflowDocument, read, to_prompt};
use serde_json::{Map, Value, json};

/// Classes with one output each, in the form of `/object_info`.
fn classes() -> Value {
    let class = |inputs: Value, outputs: Value| json!({"input": inputs, "output": outputs});
    let int = |step: u32| json!(["INT", {"default": 1, "min": 0, "max": 9999, "step": step}]);
    json!({
        "Draw": class(json!({"required": {"seed": ["INT", {"default": 0, "max": u64::MAX}], "steps": int(1), "text": ["STRING", {"dynamicPrompts": true}]}}),
            json!(["IMAGE", "MASK"])),
        "Blur": class(json!({"required": {"image": ["IMAGE"], "radius": int(1)}}), json!(["IMAGE"])),
        "Join": class(json!({"required": {"first": ["IMAGE"]}, "optional": {"second": ["IMAGE"], "mask": ["MASK"]}}), json!(["IMAGE", "MASK"])),
        "Save": class(json!({"required": {"images": ["IMAGE"], "prefix": ["STRING", {}]}}), json!([])),
        "SaveImage": class(json!({"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}}), json!([])),
        "Size": class(json!({"required": {"width": ["INT", {"default": 64, "min": 16, "max": 4096, "step": 8}]}}), json!(["INT"])),
        "Text": class(json!({"required": {"text": ["STRING", {"forceInput": true}], "count": int(1)}}), json!(["STRING"])),
        "Forced": class(json!({"required": {"amount": ["FLOAT", {"forceInput": true}], "name": ["STRING", {}]}}), json!([])),
        "Anything": class(json!({"required": {"value": ["STRING", {}], "number": ["FLOAT", {"max": 1e308}]}}), json!([])),
    })
}

fn convert_with(classes: &Value, file: &Value) -> Value {
    let object_info = ObjectInfo::parse(classes.to_string().as_bytes()).unwrap();
    let prompt = to_prompt(&editor_file(file), &object_info, &mut |_| 0).unwrap();
    let nodes: Map<String, Value> = prompt
        .nodes
        .into_iter()
        .map(|(id, node)| (id, Value::Object(node.inputs)))
        .collect();
    Value::Object(nodes)
}

/// Node id → inputs of the prompt that a file with the classes above becomes.
fn convert(file: &Value) -> Value {
    convert_with(&classes(), file)
}

fn one_node(classes: &Value, class_type: &str, values: &Value) -> Value {
    let file = json!({"version": 0.4, "links": [],
        "nodes": [{"id": 1, "type": class_type, "widgets_values": values}]});
    convert_with(classes, &file)["1"].clone()
}

#[test]
fn a_group_node_is_the_nodes_inside_with_the_values_of_the_group() {
    // Draw → Blur inside; the blurred picture and the mask leave the group.
    let file = |type_name: &str, mode: u32| {
        json!({"version": 0.4, "nodes": [
            {"id": 5, "type": type_name, "mode": mode, "inputs": [],
             "outputs": [{"name": "MASK", "type": "MASK", "links": []}, {"name": "IMAGE", "type": "IMAGE", "links": [1]}],
             "widgets_values": [7, "fixed", 20, "a {cat|dog}", 3]},
            {"id": 6, "type": "Save", "inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "widgets_values": ["out"]},
        ], "links": [[1, 5, 1, 6, 0, "IMAGE"]], "extra": {"groupNodes": {"Pair": {
            "nodes": [
                {"id": -1, "type": "Draw", "index": 0, "outputs": [{"name": "IMAGE", "type": "IMAGE"}, {"name": "MASK", "type": "MASK"}],
                 "widgets_values": [1, "randomize", 2, "old"]},
                {"id": -1, "type": "Blur", "index": 1, "title": "Soft", "inputs": [{"name": "image", "type": "IMAGE", "link": null}], "widgets_values": [9]},
            ],
            "links": [[0, 0, 1, 0, 3, "IMAGE"]], "external": [[1, 0, "IMAGE"]],
        }}}})
    };
    let expected = json!({
        "5:0": {"seed": 7, "steps": 20, "text": "a cat"},
        "5:1": {"image": ["5:0", 0], "radius": 3},
        "6": {"images": ["5:1", 0], "prefix": "out"},
    });
    assert_eq!(convert(&file("workflow>Pair", 0)), expected);
    assert_eq!(convert(&file("workflow/Pair", 0)), expected);
    // What is inside runs when the group is muted, and is left out of the way when it is bypassed.
    assert_eq!(convert(&file("workflow>Pair", 2)), expected);
    let bypassed = convert(&file("workflow>Pair", 4));
    assert_eq!(bypassed["6"], json!({"prefix": "out"}));

    let unknown = file("workflow>Nobody", 0);
    let Ok(WorkflowDocument::Ui(workflow)) = read(unknown.to_string().as_bytes()) else {
        panic!("not an editor file");
    };
    let object_info = ObjectInfo::parse(classes().to_string().as_bytes()).unwrap();
    let error = to_prompt(&workflow, &object_info, &mut |_| 0).unwrap_err();
    assert!(matches!(error, ConvertError::UnknownClasses { .. }));
    assert!(error.to_string().contains("(#5)"), "{error}");
}

#[test]
fn a_group_node_hands_its_own_inputs_to_the_nodes_inside() {
    // Two blurs side by side: their sockets and widgets have the same names, so the second has the title before it.
    let blur = |title: &str| {
        json!({"id": -1, "type": "Blur", "title": title, "inputs": [{"name": "image", "type": "IMAGE", "link": null}],
            "outputs": [{"name": "IMAGE", "type": "IMAGE"}], "widgets_values": [1]})
    };
    let file = json!({"version": 0.4, "nodes": [
        {"id": 1, "type": "Draw", "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1, 2]}], "widgets_values": [0, "fixed", 1, ""]},
        {"id": 2, "type": "workflow>Two", "inputs": [
            {"name": "image", "type": "IMAGE", "link": 1}, {"name": "Right image", "type": "IMAGE", "link": 2}],
         "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": []}, {"name": "Right IMAGE", "type": "IMAGE", "links": [3]}],
         "widgets_values": [4, 5]},
        {"id": 3, "type": "Save", "inputs": [{"name": "images", "type": "IMAGE", "link": 3}], "widgets_values": [""]},
    ], "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 1, 0, 2, 1, "IMAGE"], [3, 2, 1, 3, 0, "IMAGE"]],
       "extra": {"groupNodes": {"Two": {"nodes": [blur("Left"), blur("Right")], "links": [], "external": []}}}});
    assert_eq!(
        convert(&file),
        json!({
            "1": {"seed": 0, "steps": 1, "text": ""},
            "2:0": {"image": ["1", 0], "radius": 4},
            "2:1": {"image": ["1", 0], "radius": 5},
            "3": {"images": ["2:1", 0], "prefix": ""},
        })
    );
}

#[test]
fn widgets_follow_the_order_of_the_class_and_what_the_editor_adds() {
    let inputs = json!({
        "required": {"a": ["INT", {}], "b": ["STRING", {}], "image": [["x.png", "y.png"], {"image_upload": true}]},
        "optional": {"o": ["INT", {}], "p": ["BOOLEAN", {}]},
    });
    // Without an order the upload button is the last of the required widgets, with one it is the last of all.
    let natural = json!({"C": {"input": inputs, "output": []}});
    assert_eq!(
        one_node(&natural, "C", &json!([1, "t", "y.png", "image", 2, true])),
        json!({"a": 1, "b": "t", "image": "y.png", "o": 2, "p": true})
    );
    let ordered = json!({"C": {"input": inputs, "output": [],
        "input_order": {"required": ["image", "b", "a"], "optional": ["p", "o"]}}});
    assert_eq!(
        one_node(&ordered, "C", &json!(["y.png", "t", 1, true, 2, "image"])),
        json!({"image": "y.png", "b": "t", "a": 1, "p": true, "o": 2})
    );
    // What the order does not name comes after all that it does.
    let partly = json!({"C": {"input": inputs, "output": [],
        "input_order": {"required": ["b"], "optional": ["p"]}}});
    assert_eq!(
        one_node(&partly, "C", &json!(["t", true, 1, "y.png", "image", 2])),
        json!({"b": "t", "p": true, "a": 1, "image": "y.png", "o": 2})
    );
}

#[test]
fn seeds_have_a_control_behind_them_and_other_numbers_only_when_they_say_so() {
    let classes = json!({"C": {"input": {"required": {
        "seed": ["INT", {}], "noise_seed": ["INT", {"control_after_generate": false}], "start": ["INT", {"control_after_generate": true}],
        "choice": [["a", "b"], {"control_after_generate": true}], "seed2": ["INT", {}], "last": ["STRING", {}]}}, "output": []}});
    assert_eq!(
        one_node(
            &classes,
            "C",
            &json!([1, "fixed", 2, 3, "increment", "b", "fixed", "", 4, "end"])
        ),
        json!({"seed": 1, "noise_seed": 2, "start": 3, "choice": "b", "seed2": 4, "last": "end"})
    );
}

#[test]
fn lists_that_the_editor_fetches_have_a_switch_and_a_button_behind_them() {
    let remote =
        |button: bool| json!(["COMBO", {"remote": {"route": "/files", "refresh_button": button}}]);
    let classes = json!({"C": {"input": {"required": {"x": remote(false), "n": ["INT", {}], "y": remote(true), "m": ["INT", {}]}}, "output": []}});
    assert_eq!(
        one_node(
            &classes,
            "C",
            &json!(["p", false, 1, "q", false, "refresh", 2])
        ),
        json!({"x": "p", "n": 1, "y": "q", "refresh": "refresh", "m": 2})
    );
}

#[test]
fn a_list_of_files_is_never_empty_and_names_its_folder() {
    let class = |options: Value| json!({"C": {"input": {"required": {"image": [["first.png", "x.png"], options]}}, "output": []}});
    let input = class(json!({"image_upload": true}));
    let output = class(json!({"image_upload": true, "image_folder": "output"}));
    let several = class(json!({"image_upload": true, "allow_batch": true}));
    let image = |classes: &Value, value: Value| {
        one_node(classes, "C", &json!([value, "image"]))["image"].clone()
    };
    assert_eq!(image(&input, json!("")), "first.png");
    assert_eq!(image(&input, json!("gone.png")), "gone.png");
    assert_eq!(image(&output, json!("sub/x.png")), "sub/x.png [output]");
    assert_eq!(image(&output, json!("x.png [temp]")), "x.png [temp]");
    assert_eq!(
        image(&several, json!(["a.png", "b.png"])),
        json!({"__value__": ["a.png", "b.png"]})
    );
}

#[test]
fn widgets_that_grow_come_first_and_options_written_into_a_node_follow_their_list() {
    let grow = json!(["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"v": ["FLOAT", {"default": 2}]}}, "prefix": "v", "min": 2}}]);
    let classes = json!({
        "C": {"input": {"required": {"n": ["INT", {}], "vals": grow}}, "output": []},
        "CustomCombo": {"input": {"required": {"choice": ["COMBO", {"options": []}]}}, "output": ["STRING"]},
    });
    assert_eq!(
        one_node(&classes, "C", &json!([0.5, 1.5, 9])),
        json!({"vals.v0": 0.5, "vals.v1": 1.5, "n": 9})
    );
    assert_eq!(
        one_node(&classes, "CustomCombo", &json!(["b", "a", "b", ""])),
        json!({"choice": "b", "option0": "a", "option1": "b", "option2": ""})
    );
}

#[test]
fn a_primitive_writes_as_a_person_types() {
    let combo = json!(["COMFY_DYNAMICCOMBO_V3", {"options": [
        {"key": "flat", "inputs": {}}, {"key": "deep", "inputs": {"required": {"depth": ["INT", {"default": 4}]}}}]}]);
    let mut classes = classes();
    classes["Mode"] =
        json!({"input": {"required": {"mode": combo, "z": ["INT", {}]}}, "output": []});
    let feed = |class_type: &str, input: &str, type_name: &str, value: Value, values: Value| {
        let file = json!({"version": 0.4, "nodes": [
            {"id": 1, "type": "PrimitiveNode", "outputs": [{"name": type_name, "type": type_name, "links": [1], "widget": {"name": input}}],
             "widgets_values": [value, "fixed"]},
            {"id": 2, "type": class_type, "inputs": [{"name": input, "type": type_name, "link": 1, "widget": {"name": input}}],
             "widgets_values": values},
        ], "links": [[1, 1, 0, 2, 0, type_name]]});
        convert_with(&classes, &file)["2"].clone()
    };
    // Steps are counted from the smallest value; fractions are rounded to them.
    assert_eq!(
        feed("Size", "width", "INT", json!(69.3), json!([64])),
        json!({"width": 72})
    );
    assert_eq!(
        feed(
            "Draw",
            "seed",
            "INT",
            json!(u64::MAX),
            json!([0, "fixed", 1, ""])
        ),
        json!({"seed": u64::MAX, "steps": 1, "text": ""})
    );
    // An option that is chosen anew brings its widgets with their defaults.
    assert_eq!(
        feed(
            "Mode",
            "mode",
            "COMFY_DYNAMICCOMBO_V3",
            json!("deep"),
            json!(["deep", 7, 1])
        ),
        json!({"mode": "deep", "mode.depth": 4, "z": 1})
    );
    assert_eq!(
        feed(
            "Mode",
            "mode",
            "COMFY_DYNAMICCOMBO_V3",
            json!("flat"),
            json!(["deep", 7, 1])
        ),
        json!({"mode": "flat", "z": 1})
    );
}

#[test]
fn file_names_mean_nodes_by_class_then_by_title_inside_before_outside() {
    let save =
        |id: u32, prefix: &str| json!({"id": id, "type": "SaveImage", "widgets_values": [prefix]});
    let draw = |id: u32, seed: u32, title: &str| json!({"id": id, "type": "Draw", "title": title, "widgets_values": [seed, "fixed", 1, "a/b"]});
    let file = json!({"version": 0.4, "links": [],
        "nodes": [save(1, "%Draw.seed%"), save(2, "%Mine.text%_%Nobody.x%"), save(3, "%date:yyyy%"), draw(4, 8, "Mine"), {"id": 9, "type": "S"}],
        "definitions": {"subgraphs": [{"id": "S", "name": "Sub", "nodes": [draw(1, 5, "Other")], "links": []}]}});
    let prompt = convert(&file);
    // Without a search name of its own a node goes by its class; the first in the file counts.
    assert_eq!(prompt["1"]["filename_prefix"], "8");
    assert_eq!(prompt["2"]["filename_prefix"], "a_b_%Nobody.x%");
    assert_eq!(prompt["3"]["filename_prefix"], "%date:yyyy%");
    let mut inside_first = file;
    inside_first["nodes"] =
        json!([{"id": 9, "type": "S"}, save(1, "%Draw.seed%"), draw(4, 8, "Mine")]);
    assert_eq!(convert(&inside_first)["1"]["filename_prefix"], "5");
}

#[test]
fn values_arrive_exactly_as_they_were_saved() {
    let classes = classes();
    for value in [
        json!(u64::MAX),
        json!(9_007_199_254_740_993_u64),
        json!(1e308),
        json!(-0.0),
        json!(0.1 + 0.2),
        json!(5e-324),
        json!(true),
        json!({"a": [1]}),
        Value::Null,
    ] {
        let node = one_node(&classes, "Anything", &json!(["x", value]));
        assert_eq!(node["number"].to_string(), value.to_string());
    }
    // A bare list would mean a link.
    assert_eq!(
        one_node(&classes, "Anything", &json!([["a", 0], 1])),
        json!({"value": {"__value__": ["a", 0]}, "number": 1})
    );
}

#[test]
fn fields_of_several_lines_hold_plain_text() {
    let classes = json!({"C": {"input": {"required": {"lines": ["STRING", {"multiline": true}], "line": ["STRING", {}]}}, "output": []}});
    assert_eq!(
        one_node(&classes, "C", &json!(["a\r\nb\rc", "a\r\nb"])),
        json!({"lines": "a\nb\nc", "line": "a\r\nb"})
    );
    assert_eq!(
        one_node(&classes, "C", &json!([true, 5])),
        json!({"lines": "true", "line": 5})
    );
}

#[test]
fn old_values_of_inputs_that_only_take_links_are_skipped() {
    let classes = classes();
    assert_eq!(
        one_node(&classes, "Forced", &json!([0.5, "kept"])),
        json!({"name": "kept"})
    );
    assert_eq!(
        one_node(&classes, "Forced", &json!(["kept"])),
        json!({"name": "kept"})
    );
    assert_eq!(
        one_node(&classes, "Forced", &json!({"name": "by name", "other": 1})),
        json!({"name": "by name"})
    );
}

#[test]
fn links_lead_through_reroutes_and_bypassed_nodes_and_end_at_muted_ones() {
    let reroute = |id: u32, from: u32, to: u32| {
        json!({"id": id, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": from}],
            "outputs": [{"name": "", "type": "IMAGE", "links": [to]}]})
    };
    let file = |mode: u32| {
        json!({"version": 0.4, "nodes": [
            {"id": "1", "type": "Draw", "mode": mode, "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1, 7]}, {"name": "MASK", "type": "MASK", "links": [8]}],
             "widgets_values": [1, "fixed", 2, ""]},
            reroute(2, 1, 2), reroute(3, 2, 3),
            {"id": 4, "type": "Join", "mode": 4, "inputs": [{"name": "first", "type": "IMAGE", "link": 3}, {"name": "second", "type": "IMAGE", "link": null}, {"name": "mask", "type": "MASK", "link": 8}],
             "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [4]}, {"name": "MASK", "type": "MASK", "links": [5]}]},
            {"id": -6, "type": "Join", "inputs": [{"name": "first", "type": "IMAGE", "link": 4}, {"name": "mask", "type": "MASK", "link": 5}, {"name": "second", "type": "IMAGE", "link": 99}]},
            {"id": 7, "type": "Note", "widgets_values": ["hello"]}, {"id": 8, "type": "MarkdownNote"},
        ], "links": [[1, "1", 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"], [4, 4, 0, -6, 0, "IMAGE"],
                     [5, 4, 1, -6, 2, "MASK"], [8, "1", 1, 4, 2, "MASK"]],
           "extra": {"reroutes": [{"id": 1, "pos": [0, 0], "linkIds": [4]}], "linkExtensions": [{"id": 4, "parentId": 1}]}})
    };
    assert_eq!(
        convert(&file(0)),
        json!({
            "1": {"seed": 1, "steps": 2, "text": ""},
            "-6": {"first": ["1", 0], "mask": ["1", 1]},
        })
    );
    assert_eq!(convert(&file(2)), json!({"-6": {}}));
}

#[test]
fn a_bypassed_subgraph_hands_through_and_one_that_runs_has_its_values_inside() {
    let file = |mode: u32| {
        json!({"version": 0.4, "nodes": [
            {"id": 1, "type": "Draw", "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}], "widgets_values": [1, "fixed", 2, ""]},
            {"id": 2, "type": "S", "mode": mode, "inputs": [{"name": "image", "type": "IMAGE", "link": 1}, {"name": "radius", "type": "INT", "widget": {"name": "radius"}, "link": null}],
             "outputs": [{"name": "out", "type": "IMAGE", "links": [2]}], "properties": {"proxyWidgets": [["-1", "radius"]]}, "widgets_values": [6]},
            {"id": 3, "type": "Save", "inputs": [{"name": "images", "type": "IMAGE", "link": 2}], "widgets_values": ["p"]},
        ], "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
        "definitions": {"subgraphs": [{"id": "S", "name": "Soften",
            "inputs": [{"id": "i", "name": "image", "type": "IMAGE", "linkIds": [1]}, {"id": "r", "name": "radius", "type": "INT", "linkIds": [2]}],
            "outputs": [{"id": "o", "name": "out", "type": "IMAGE", "linkIds": [3]}],
            "nodes": [{"id": 1, "type": "Blur", "inputs": [{"name": "image", "type": "IMAGE", "link": 1}, {"name": "radius", "type": "INT", "widget": {"name": "radius"}, "link": 2}],
                "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [3]}], "widgets_values": [1]}],
            "links": [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "IMAGE"},
                      {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 1, "type": "INT"},
                      {"id": 3, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"}]}]}})
    };
    let running = convert(&file(0));
    assert_eq!(running["2:1"], json!({"image": ["1", 0], "radius": 6}));
    assert_eq!(running["3"], json!({"images": ["2:1", 0], "prefix": "p"}));
    assert_eq!(
        convert(&file(4))["3"],
        json!({"images": ["1", 0], "prefix": "p"})
    );
}

#[test]
fn nodes_come_in_the_order_in_which_the_editor_sends_them() {
    let instance = |id: u32, input: Value, output: Value| {
        json!({"id": id, "type": "inside", "inputs": [{"name": "image", "type": "IMAGE", "link": input}],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": output}]})
    };
    let blur = |id: u32, input: u32, output: u32| {
        json!({"id": id, "type": "Blur", "inputs": [{"name": "image", "type": "IMAGE", "link": input}],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [output]}], "widgets_values": [1]})
    };
    let file = json!({"version": 0.4, "nodes": [
        {"id": 20, "type": "Save", "inputs": [{"name": "images", "type": "IMAGE", "link": 3}], "widgets_values": ["out"]},
        instance(4, json!(2), json!([3])),
        instance(12, json!(1), json!([2])),
        {"id": 3, "type": "Draw", "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}], "widgets_values": [1, "fixed", 1, ""]},
    ], "links": [[1, 3, 0, 12, 0, "IMAGE"], [2, 12, 0, 4, 0, "IMAGE"], [3, 4, 0, 20, 0, "IMAGE"]],
    "definitions": {"subgraphs": [{"id": "inside", "name": "Inside",
        "inputs": [{"name": "image", "type": "IMAGE", "linkIds": [1]}], "outputs": [{"name": "IMAGE", "type": "IMAGE", "linkIds": [3]}],
        "nodes": [blur(9, 2, 3), blur(8, 1, 2)], "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 8, "target_slot": 0},
            {"id": 2, "origin_id": 8, "origin_slot": 0, "target_id": 9, "target_slot": 0},
            {"id": 3, "origin_id": 9, "origin_slot": 0, "target_id": -20, "target_slot": 0}]}]}});
    let prompt = convert(&file);
    // Whole numbers by size, as JavaScript orders the members of an object; then instances in the order in which they
    // run, each with its nodes in the order of the file.
    let ids: Vec<&str> = prompt
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(ids, ["3", "20", "12:9", "12:8", "4:9", "4:8"]);
}

#[test]
fn numbers_in_fields_of_several_lines_are_written_as_the_editor_writes_them() {
    let classes = json!({"Text": {"input": {"required": {"text": ["STRING", {"multiline": true}]}}, "output": []}});
    for (value, text) in [
        (json!(-0.0), "0"),
        (json!(1e20), "100000000000000000000"),
        (json!(1e21), "1e+21"),
        (json!(2.5e-7), "2.5e-7"),
        (json!(0.1), "0.1"),
        (json!(u64::MAX), "18446744073709551615"),
    ] {
        assert_eq!(one_node(&classes, "Text", &json!([value]))["text"], text);
    }
}

#[test]
fn classes_that_would_fill_the_memory_are_refused_by_name() {
    let wide: Map<String, Value> = (0..1500)
        .map(|number| (format!("x{number}"), json!(["INT", {}])))
        .collect();
    // Four times a hundred rows within rows.
    let mut nested = json!({"z": ["INT", {}]});
    for _ in 0..4 {
        let options = json!([{"key": "a", "inputs": {"required": nested}}]);
        let row = json!({"d": ["COMFY_DYNAMICCOMBO_V3", {"options": options}]});
        nested = json!({"g": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": row}, "prefix": "p", "min": 100, "max": 100}}]});
    }
    let classes = json!({"Wide": {"input": {"required": wide}, "output": []}, "Nested": {"input": {"required": nested}, "output": []}});
    let object_info = ObjectInfo::parse(classes.to_string().as_bytes()).unwrap();
    for (class_type, count) in [("Wide", 1000), ("Nested", 1)] {
        let nodes: Vec<Value> = (0..count)
            .map(|id| json!({"id": id, "type": class_type}))
            .collect();
        let file = json!({"version": 0.4, "nodes": nodes, "links": []});
        let refused = to_prompt(&editor_file(&file), &object_info, &mut |_| 0);
        let named = matches!(&refused, Err(ConvertError::TooManyInputs { class_type: named }) if named == class_type);
        assert!(named, "{:?}", refused.map(|prompt| prompt.nodes.len()));
    }
    let one = json!({"version": 0.4, "nodes": [{"id": 1, "type": "Wide"}], "links": []});
    assert!(to_prompt(&editor_file(&one), &object_info, &mut |_| 0).is_ok());
}
