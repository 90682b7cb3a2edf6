//! Workflow files: read, inspect, patch, check against a backend.

use comfyui_orchestrator::workflow::{
    Broken, Control, ConvertError, NodeAddress, ObjectInfo, ParameterAddress, PatchError, Prompt,
    Reason, Role, UiWorkflow, ValueType, WorkflowDocument, WorkflowError, diff, inspect, patch,
    preflight, read, resolve, respell, to_prompt,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

fn text_to_image() -> Value {
    json!({
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd\\v1-5.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["4", 1]}, "_meta": {"title": "Looks"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}, "_meta": {"title": "Avoid"}},
        "10": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Reference"}},
        "11": {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["6", 0], "negative": ["7", 0], "image": ["10", 0], "strength": 1}},
        "3": {"class_type": "KSampler", "inputs": {"seed": 18_446_744_073_709_551_615_u64, "steps": 20, "cfg": 8, "sampler_name": "euler",
              "scheduler": "normal", "denoise": 1.0, "model": ["4", 0], "positive": ["11", 0], "negative": ["11", 1], "latent_image": ["5", 0]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["8", 0]}, "_meta": {"title": "Save"}},
    })
}

fn object_info() -> ObjectInfo {
    let info = json!({
        "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["sd/v1-5.safetensors", "other.ckpt"]]}},
            "output": ["MODEL", "CLIP", "VAE"], "output_name": ["MODEL", "CLIP", "VAE"], "output_node": false},
        "EmptyLatentImage": {"input": {"required": {"width": ["INT", {"default": 512, "min": 16, "max": 16384, "step": 8}],
            "height": ["INT", {"default": 512, "min": 16, "max": 16384}], "batch_size": ["INT", {"default": 1, "min": 1, "max": 64}]}}, "output": ["LATENT"]},
        "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {"multiline": true}], "clip": ["CLIP"]}}, "output": ["CONDITIONING"]},
        "LoadImage": {"input": {"required": {"image": [["b.png"], {"image_upload": true}]}}, "output": ["IMAGE", "MASK"]},
        "ControlNetApplyAdvanced": {"input": {"required": {"positive": ["CONDITIONING"], "negative": ["CONDITIONING"], "image": ["IMAGE"],
            "strength": ["FLOAT", {"min": 0.0, "max": 10.0}]}}, "output": ["CONDITIONING", "CONDITIONING"]},
        "KSampler": {"input": {"required": {"model": ["MODEL"], "seed": ["INT", {"default": 0, "min": 0, "max": 18_446_744_073_709_551_615_u64, "control_after_generate": true}],
            "steps": ["INT", {"min": 1, "max": 10000}], "cfg": ["FLOAT", {"min": 0.0, "max": 100.0}], "sampler_name": ["COMBO", {"options": ["euler", "heun"]}],
            "scheduler": [["normal", "karras"]], "positive": ["CONDITIONING"], "negative": ["CONDITIONING"], "latent_image": ["LATENT"],
            "denoise": ["FLOAT", {"min": 0.0, "max": 1.0}]}}, "output": ["LATENT"]},
        "VAEDecode": {"input": {"required": {"samples": ["LATENT"], "vae": ["VAE"]}}, "output": ["IMAGE"]},
        "SaveImage": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}, "hidden": {"prompt": "PROMPT"}},
            "output": [], "output_node": true},
    });
    ObjectInfo::parse(info.to_string().as_bytes()).unwrap()
}

fn prompt_of(value: &Value) -> Prompt {
    match read(value.to_string().as_bytes()).unwrap() {
        WorkflowDocument::Api(prompt) => prompt,
        WorkflowDocument::Ui(_) => panic!("read as an editor file"),
    }
}

fn address(node_id: &str, class_type: &str, title: &str, input: &str) -> ParameterAddress {
    ParameterAddress {
        node: NodeAddress {
            node_id: node_id.to_owned(),
            class_type: class_type.to_owned(),
            title: title.to_owned(),
        },
        input: input.to_owned(),
    }
}

#[test]
fn both_formats_are_read_and_everything_else_is_named() {
    let prompt = prompt_of(&text_to_image());
    assert_eq!(prompt.nodes.len(), 9);
    assert_eq!(
        prompt.nodes["3"].inputs["seed"],
        json!(18_446_744_073_709_551_615_u64)
    );
    assert_eq!(serde_json::to_value(&prompt).unwrap(), text_to_image());

    let posted = json!({"prompt": text_to_image(), "client_id": "x"});
    assert_eq!(prompt_of(&posted), prompt);

    let ui = json!({"nodes": [{"id": 1, "type": "Note", "ours": {"kept": true}}], "links": [], "version": 0.4, "future": 7});
    match read(ui.to_string().as_bytes()).unwrap() {
        WorkflowDocument::Ui(workflow) => {
            assert_eq!(serde_json::to_value(&workflow).unwrap(), ui);
        }
        WorkflowDocument::Api(_) => panic!("read as a prompt"),
    }
    let python =
        br#"{"1": {"class_type": "A", "inputs": {"x": NaN, "y": [-Infinity], "t": "NaN stays"}}}"#;
    let Ok(WorkflowDocument::Api(python)) = read(python) else {
        panic!("bare NaN is what Python writes");
    };
    assert_eq!(
        Value::Object(python.nodes["1"].inputs.clone()),
        json!({"x": null, "y": [null], "t": "NaN stays"})
    );
}

#[test]
fn hostile_files_get_a_message_in_bounded_time() {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read(nested.as_bytes()), Err(WorkflowError::TooDeep));
    let large = vec![b' '; 200 * 1024 * 1024];
    assert!(matches!(read(&large), Err(WorkflowError::TooLarge { bytes }) if bytes == large.len()));
    for not_json in ["", "hello", "<!doctype html>", "{\"nodes\": [", "\u{0}"] {
        assert!(
            matches!(
                read(not_json.as_bytes()),
                Err(WorkflowError::NotJson { .. })
            ),
            "{not_json}"
        );
    }
    for other in [
        "[]",
        "7",
        "null",
        "{}",
        r#"{"a": {"b": 1}}"#,
        r#"{"nodes": 3}"#,
    ] {
        assert!(
            matches!(
                read(other.as_bytes()),
                Err(WorkflowError::NotAWorkflow { .. })
            ),
            "{other}: {:?}",
            read(other.as_bytes())
        );
    }
    let twice = br#"{"1": {"class_type": "A"}, "1": {"class_type": "B"}}"#;
    assert_eq!(
        read(twice),
        Err(WorkflowError::DuplicateNode { id: "1".to_owned() })
    );
    let classless = br#"{"1": {"class_type": "A"}, "2": {"inputs": {}}}"#;
    assert!(matches!(read(classless), Err(WorkflowError::BadNode { id, .. }) if id == "2"));
    let shapeless = br#"{"nodes": [{"id": 1, "type": "A"}, 5]}"#;
    assert!(matches!(
        read(shapeless),
        Err(WorkflowError::BadPart { .. })
    ));
}

#[test]
fn an_inspection_tells_what_can_be_set_and_what_is_made() {
    let prompt = prompt_of(&text_to_image());
    for object_info in [None, Some(&object_info())] {
        let inspection = inspect(&prompt, object_info);
        let suggested = |role: Role| {
            inspection
                .exposures
                .iter()
                .find(|exposure| exposure.role == role)
                .map(|exposure| format!("{}", exposure.address))
        };
        assert_eq!(
            suggested(Role::PositivePrompt).as_deref(),
            Some("text of #6 \"Looks\" (CLIPTextEncode)")
        );
        assert_eq!(
            suggested(Role::NegativePrompt).as_deref(),
            Some("text of #7 \"Avoid\" (CLIPTextEncode)")
        );
        for role in [
            Role::Seed,
            Role::Steps,
            Role::Cfg,
            Role::Sampler,
            Role::Scheduler,
            Role::Width,
            Role::Height,
            Role::Denoise,
            Role::Model,
            Role::Loader,
        ] {
            assert!(suggested(role).is_some(), "{role:?}");
        }
        let loaders: Vec<_> = inspection.loaders().map(|field| field.value_type).collect();
        assert_eq!(loaders, [ValueType::Image]);
        let outputs: Vec<_> = inspection
            .outputs
            .iter()
            .map(|port| (port.label.as_str(), port.value_type))
            .collect();
        assert_eq!(outputs, [("Save", ValueType::Image)]);
        assert!(inspection.unknown_classes.is_empty());
        assert_eq!(inspection.fields.len(), 15);
    }
    let with_info = inspect(&prompt, Some(&object_info()));
    let seed = with_info
        .field(&address("3", "KSampler", "", "seed"))
        .unwrap();
    assert_eq!(
        seed.control,
        Control::Integer {
            min: Some(0),
            max: Some(i128::from(u64::MAX)),
            step: None,
            seed: true
        }
    );
}

#[test]
fn a_patch_finds_its_field_after_renumbering_and_checks_the_value() {
    let info = object_info();
    let mut value = text_to_image();
    let renumbered = value.as_object_mut().unwrap().remove("6").unwrap();
    value["60"] = renumbered;
    value["11"]["inputs"]["positive"] = json!(["60", 0]);
    let mut prompt = prompt_of(&value);
    let text = address("6", "CLIPTextEncode", "Looks", "text");
    assert_eq!(resolve(&prompt, &text).unwrap().node.node_id, "60");
    patch(&mut prompt, &text, json!("a harbour"), Some(&info)).unwrap();
    assert_eq!(prompt.nodes["60"].inputs["text"], json!("a harbour"));

    let untitled = address("6", "CLIPTextEncode", "", "text");
    assert!(matches!(
        resolve(&prompt, &untitled),
        Err(Broken::NodeGone { .. })
    ));
    let clip = address("60", "CLIPTextEncode", "Looks", "clip");
    assert!(
        matches!(resolve(&prompt, &clip), Err(Broken::Linked { source_node, .. }) if source_node == "4")
    );
    let gone = address("3", "KSampler", "", "eta");
    assert!(matches!(
        resolve(&prompt, &gone),
        Err(Broken::InputGone { .. })
    ));

    let unchanged = prompt.clone();
    let mut refused = |input: &str, value: Value| {
        let result = patch(
            &mut prompt,
            &address("3", "KSampler", "", input),
            value,
            Some(&info),
        );
        result.unwrap_err()
    };
    assert!(matches!(
        refused("steps", json!(0)),
        PatchError::BelowMinimum { min, .. } if min == "1"
    ));
    assert_eq!(
        refused("steps", json!(10001)).to_string(),
        "steps of #3 KSampler is 10001, above its largest value 10000"
    );
    assert!(matches!(
        refused("steps", json!("many")),
        PatchError::WrongType { .. }
    ));
    assert!(matches!(
        refused("steps", json!(1.5)),
        PatchError::WrongType { .. }
    ));
    assert!(matches!(
        refused("seed", json!(-1)),
        PatchError::BelowMinimum { .. }
    ));
    assert_eq!(
        refused("sampler_name", json!("eulerr")).to_string(),
        "sampler_name of #3 KSampler is \"eulerr\", which is not one of its 2 choices (euler, heun)"
    );
    assert_eq!(prompt, unchanged);

    let seed = address("3", "KSampler", "", "seed");
    patch(&mut prompt, &seed, json!(u64::MAX), Some(&info)).unwrap();
    assert_eq!(prompt.nodes["3"].inputs["seed"], json!(u64::MAX));
    assert!(matches!(
        patch(&mut prompt, &seed, json!("x"), None),
        Err(PatchError::WrongType { .. })
    ));
    // Files in subfolders are not in the backend's list, and are good.
    let image = address("10", "LoadImage", "Reference", "image");
    patch(&mut prompt, &image, json!("run/1.png"), Some(&info)).unwrap();
}

#[test]
fn preflight_names_what_a_backend_lacks_and_respell_speaks_its_dialect() {
    let info = object_info();
    let mut prompt = prompt_of(&text_to_image());
    assert_eq!(preflight(&prompt, &info), []);
    assert_eq!(respell(&mut prompt, &info), 1);
    assert_eq!(
        prompt.nodes["4"].inputs["ckpt_name"],
        json!("sd/v1-5.safetensors")
    );
    assert_eq!(respell(&mut prompt, &info), 0);

    let mut value = text_to_image();
    value["4"]["inputs"]["ckpt_name"] = json!("flux.safetensors");
    value["3"]["inputs"]["scheduler"] = json!("beta");
    value["3"]["inputs"]["steps"] = json!(0);
    value["8"]["class_type"] = json!("VAEDecodeTiled");
    value["9"]["inputs"]
        .as_object_mut()
        .unwrap()
        .remove("images");
    let messages: Vec<String> = preflight(&prompt_of(&value), &info)
        .iter()
        .map(Reason::to_string)
        .collect();
    assert_eq!(
        messages,
        [
            "lacks the node class VAEDecodeTiled (needed by #8)",
            "lacks flux.safetensors (ckpt_name of #4 CheckpointLoaderSimple)",
            "steps of #3 KSampler is 0, below its smallest value 1",
            "does not offer \"beta\" for scheduler of #3 KSampler (normal, karras)",
            "images of #9 \"Save\" (SaveImage) is required and has neither a value nor a link",
        ]
    );
}

#[test]
fn the_whole_node_list_of_a_real_backend_is_understood() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/comfyui/object_info-0.8.0.json"
    );
    let Ok(bytes) = std::fs::read(path) else {
        println!("skipped: no {path}");
        return;
    };
    let info = ObjectInfo::parse(&bytes).unwrap();
    assert_eq!(info.classes.len(), 578);
    let resize = info.get("ResizeImageMaskNode").unwrap();
    assert_eq!(
        resize.input("resize_type.width").unwrap().value_type(),
        ValueType::Integer
    );
    assert_eq!(
        info.get("BatchImagesNode")
            .unwrap()
            .input("images.image7")
            .unwrap()
            .type_name,
        "IMAGE"
    );
    let names: Vec<&str> = info.get("KSampler").unwrap().inputs[..4]
        .iter()
        .map(|input| input.name.as_str())
        .collect();
    assert_eq!(names, ["model", "seed", "steps", "cfg"]);
}

pub fn editor_file(value: &Value) -> UiWorkflow {
    match read(value.to_string().as_bytes()) {
        Ok(WorkflowDocument::Ui(workflow)) => workflow,
        other => panic!("not an editor file: {other:?}"),
    }
}

#[test]
fn an_old_editor_file_with_everything_in_it_becomes_a_prompt() {
    let file = json!({
        "version": 0.4,
        "nodes": [
            {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["other.ckpt"], "outputs": [{"name": "MODEL", "type": "MODEL", "links": [1]}]},
            {"id": 2, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 1}], "outputs": [{"name": "", "type": "MODEL", "links": [2]}]},
            {"id": 3, "type": "CLIPTextEncode", "title": "Looks", "inputs": [{"name": "clip", "type": "CLIP", "link": 3}],
             "widgets_values": ["a {red|green} /* not blue */ \\{door\\}"]},
            {"id": 4, "type": "CLIPTextEncode", "mode": 2, "inputs": [{"name": "clip", "type": "CLIP", "link": 4}], "widgets_values": ["muted"]},
            {"id": 5, "type": "PrimitiveNode", "outputs": [{"name": "INT", "type": "INT", "links": [8]}], "widgets_values": [33, "fixed"]},
            {"id": 6, "type": "EmptyLatentImage", "widgets_values": [512]},
            // Bypassed: what came in as LATENT goes on as LATENT.
            {"id": 7, "type": "KSampler", "mode": 4, "inputs": [{"name": "latent_image", "type": "LATENT", "link": 9}],
             "widgets_values": [1, "fixed", 1, 1, "euler", "normal", 1], "outputs": [{"name": "LATENT", "type": "LATENT", "links": [10]}]},
            {"id": 8, "type": "KSampler", "inputs": [
                {"name": "model", "type": "MODEL", "link": 2}, {"name": "positive", "type": "CONDITIONING", "link": 6},
                {"name": "negative", "type": "CONDITIONING", "link": 7}, {"name": "latent_image", "type": "LATENT", "link": 10},
                {"name": "steps", "type": "INT", "link": 8, "widget": {"name": "steps"}}],
             "widgets_values": [18_446_744_073_709_551_615_u64, "randomize", 20, 7.5, "sample_heun", "karras", 1]},
            {"id": 9, "type": "VAEDecode", "inputs": [{"name": "samples", "type": "LATENT", "link": 11}, {"name": "vae", "type": "VAE", "link": 999}]},
            {"id": 10, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 12}], "widgets_values": ["%Looks.text%_%KSampler.steps%_%nobody.there%"]},
            {"id": 11, "type": "LoadImage", "widgets_values": ["a.png", "image"]},
            {"id": 12, "type": "Note", "widgets_values": ["remember"]},
        ],
        "links": [
            [1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 8, 0, "MODEL"], [3, 1, 1, 3, 0, "CLIP"], [4, 1, 1, 4, 0, "CLIP"],
            [6, 3, 0, 8, 1, "CONDITIONING"], [7, 4, 0, 8, 2, "CONDITIONING"], [8, 5, 0, 8, 4, "INT"], [9, 6, 0, 7, 3, "LATENT"],
            [10, 7, 0, 8, 3, "LATENT"], [11, 8, 0, 9, 0, "LATENT"], [12, 9, 0, 10, 0, "IMAGE"],
        ],
    });
    let mut info = object_info();
    for input in &mut info.classes["CLIPTextEncode"].inputs {
        input.dynamic_prompts = input.name == "text";
    }
    let prompt = to_prompt(&editor_file(&file), &info, &mut |count| count - 1).unwrap();
    let expected = json!({
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "other.ckpt"}, "_meta": {"title": "CheckpointLoaderSimple"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a green  {door}", "clip": ["1", 1]}, "_meta": {"title": "Looks"}},
        "6": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}, "_meta": {"title": "EmptyLatentImage"}},
        "8": {"class_type": "KSampler", "inputs": {"seed": 18_446_744_073_709_551_615_u64, "steps": 33, "cfg": 7.5, "sampler_name": "heun",
              "scheduler": "karras", "denoise": 1, "model": ["1", 0], "positive": ["3", 0], "latent_image": ["6", 0]}, "_meta": {"title": "KSampler"}},
        "9": {"class_type": "VAEDecode", "inputs": {"samples": ["8", 0]}, "_meta": {"title": "VAEDecode"}},
        "10": {"class_type": "SaveImage", "inputs": {"filename_prefix": "a {red_green} __ not blue __ _{door_}_1_%nobody.there%", "images": ["9", 0]}, "_meta": {"title": "SaveImage"}},
        "11": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "LoadImage"}},
    });
    let changes: Vec<String> = diff(&prompt, &prompt_of(&expected))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(changes, [""; 0]);
}

/// A file whose root has one instance of the first definition.
fn with_subgraphs(definitions: &Value) -> UiWorkflow {
    editor_file(&json!({
        "version": 0.4,
        "nodes": [{"id": 1, "type": "s0", "inputs": [], "outputs": []}],
        "links": [],
        "definitions": {"subgraphs": definitions},
    }))
}

#[test]
fn a_hostile_editor_file_is_refused_in_bounded_time() {
    let info = object_info();
    let convert = |workflow: &UiWorkflow| to_prompt(workflow, &info, &mut |_| 0);

    let cyclic = with_subgraphs(&json!([
        {"id": "s0", "name": "Outer", "nodes": [{"id": 1, "type": "s1"}], "links": []},
        {"id": "s1", "name": "Inner", "nodes": [{"id": 1, "type": "s0"}], "links": []},
    ]));
    assert!(matches!(
        convert(&cyclic),
        Err(ConvertError::CyclicSubgraph { .. })
    ));

    let chain = |count: usize, instances: usize| {
        let definitions: Vec<Value> = (0..count)
            .map(|at| {
                let nodes: Vec<Value> = (0..instances)
                    .map(|id| json!({"id": id, "type": format!("s{}", at + 1)}))
                    .collect();
                json!({"id": format!("s{at}"), "nodes": nodes, "links": []})
            })
            .chain([json!({"id": format!("s{count}"), "nodes": [], "links": []})])
            .collect();
        with_subgraphs(&Value::Array(definitions))
    };
    assert!(matches!(
        convert(&chain(60, 2)),
        Err(ConvertError::TooManyNodes { .. })
    ));
    assert!(matches!(
        convert(&chain(5_000, 1)),
        Err(ConvertError::TooDeep)
    ));

    let reroute = |id: u32, link: u32| json!({"id": id, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": link}], "outputs": [{"name": "", "type": "*"}]});
    let circle = editor_file(&json!({
        "version": 0.4,
        "nodes": [reroute(1, 2), reroute(2, 1), {"id": 3, "type": "VAEDecode", "inputs": [{"name": "samples", "type": "LATENT", "link": 3}]}],
        "links": [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 1, 0, 3, 0, "LATENT"]],
    }));
    assert_eq!(
        convert(&circle),
        Err(ConvertError::LinkLoop {
            node_id: "3".to_owned()
        })
    );

    let strange = editor_file(&json!({
        "version": 1, "links": {"x": 3},
        "nodes": [{"id": 9_007_199_254_740_993_u64, "type": "SaveImage", "pos": null, "inputs": "none", "outputs": 4, "widgets_values": {"filename_prefix": "named"}, "mode": "?"},
                  {"id": 2, "type": "Custom Thing"}],
    }));
    assert_eq!(
        convert(&strange).unwrap_err().to_string(),
        "the backend does not know Custom Thing (#2); install the custom nodes there or choose another backend"
    );
}

#[test]
fn a_hundred_thousand_nodes_are_read_and_more_are_refused() {
    let mut file = String::from(r#"{"version": 0.4, "links": [], "nodes": ["#);
    for id in 0..100_000 {
        if id > 0 {
            file.push(',');
        }
        write!(file, r#"{{"id":{id},"type":"Note"}}"#).unwrap();
    }
    let too_many = format!(r#"{file},{{"id":-1,"type":"Note"}}]}}"#);
    assert_eq!(
        read(too_many.as_bytes()),
        Err(WorkflowError::TooManyNodes { nodes: 100_001 })
    );
    file.push_str("]}");
    let Ok(WorkflowDocument::Ui(workflow)) = read(file.as_bytes()) else {
        panic!("a hundred thousand nodes are the limit");
    };
    let prompt = to_prompt(&workflow, &object_info(), &mut |_| 0).unwrap();
    assert!(prompt.nodes.is_empty());
}

#[test]
fn a_diff_speaks_of_nodes_and_fields() {
    let before = prompt_of(&text_to_image());
    let mut value = text_to_image();
    let renumbered = value.as_object_mut().unwrap().remove("6").unwrap();
    value["60"] = renumbered;
    value["11"]["inputs"]["positive"] = json!(["60", 0]);
    assert_eq!(diff(&before, &prompt_of(&value)), []);
    value["3"]["inputs"]["steps"] = json!(25);
    value["7"]["_meta"]["title"] = json!("Bad");
    value.as_object_mut().unwrap().remove("5");
    let changes: Vec<String> = diff(&before, &prompt_of(&value))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        changes,
        [
            "#5 EmptyLatentImage was removed",
            "#7 \"Avoid\" (CLIPTextEncode) is now called \"Bad\"",
            "steps of #3 KSampler: 20 → 25",
        ]
    );
}

#[test]
fn fields_inside_subgraphs_are_found_after_their_instance_was_put_in_anew() {
    let inner = |instance: u32| {
        json!({
            format!("{instance}:6"): {"class_type": "CLIPTextEncode", "inputs": {"text": "yes"}, "_meta": {"title": "CLIP Text Encode"}},
            format!("{instance}:7"): {"class_type": "CLIPTextEncode", "inputs": {"text": "no"}, "_meta": {"title": "CLIP Text Encode"}},
        })
    };
    let wanted = address("12:7", "CLIPTextEncode", "CLIP Text Encode", "text");
    let found = resolve(&prompt_of(&inner(15)), &wanted).unwrap();
    assert_eq!(found.node.node_id, "15:7");
    let mut twice = inner(15);
    twice["16:7"] = twice["15:7"].clone();
    assert!(matches!(
        resolve(&prompt_of(&twice), &wanted),
        Err(Broken::Ambiguous { count: 3, .. })
    ));
}
