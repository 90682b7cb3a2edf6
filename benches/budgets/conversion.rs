//! Editor files → prompts: workflows per second, reading included.

use crate::projects::DRAW;
use comfyui_orchestrator::workflow::{
    Change, ObjectInfo, Prompt, WorkflowDocument, diff, read, to_editor, to_prompt,
};
use criterion::{Criterion, Throughput};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::hint::black_box;
use std::path::Path;

/// A workflow of eight nodes, and one of twelve times as many.
pub fn to_prompts(criterion: &mut Criterion) {
    let object_info = object_info();
    let mut group = criterion.benchmark_group("editor file to prompt");
    group.throughput(Throughput::Elements(1));
    for copies in [1, 12] {
        let prompt = draw_prompt(copies);
        let text = editor_file(&prompt, &object_info);
        let converted = convert(&text, &object_info);
        // The editor names every node; the prompt leaves some without a title.
        let mut changes = diff(&converted, &prompt);
        changes.retain(|change| !matches!(change, Change::Renamed { .. }));
        assert_eq!(changes, []);
        group.bench_function(format!("{} nodes", prompt.nodes.len()), |b| {
            b.iter(|| convert(black_box(&text), &object_info));
        });
    }
    let mix = mix(&object_info);
    group.throughput(Throughput::Elements(mix.len() as u64));
    group.bench_function("a mix of sizes", |b| {
        b.iter(|| {
            for text in &mix {
                convert(black_box(text), &object_info);
            }
        });
    });
    if let Some((files, object_info)) = corpus() {
        group.throughput(Throughput::Elements(files.len() as u64));
        group.bench_function(format!("{} real files", files.len()), |b| {
            b.iter(|| {
                for text in &files {
                    convert(black_box(text), &object_info);
                }
            });
        });
    } else {
        println!("skipped: no corpus of real files");
    }
    group.finish();
}

/// Mostly small files, some large ones, and every second one drawn as a subgraph.
fn mix(object_info: &ObjectInfo) -> Vec<String> {
    [1, 1, 1, 1, 2, 2, 3, 3, 5, 8]
        .into_iter()
        .enumerate()
        .map(|(index, copies)| {
            let text = editor_file(&draw_prompt(copies), object_info);
            if index % 2 == 0 {
                return text;
            }
            let mut file: Value = serde_json::from_str(&text).unwrap();
            let inside = json!({"id": "inside", "name": "All", "inputs": [], "outputs": [],
                "nodes": file["nodes"].take(), "links": as_objects(&file["links"].take())});
            file["nodes"] = json!([{"id": 1, "type": "inside"}]);
            file["links"] = json!([]);
            file["definitions"] = json!({"subgraphs": [inside]});
            serde_json::to_string_pretty(&file).unwrap()
        })
        .collect()
}

/// Links in the form that subgraphs have them.
fn as_objects(links: &Value) -> Vec<Value> {
    let links = links.as_array().unwrap().iter();
    links
        .map(|link| {
            json!({"id": link[0], "origin_id": link[1], "origin_slot": link[2], "target_id": link[3],
                "target_slot": link[4], "type": link[5]})
        })
        .collect()
}

/// Real files with the classes of the backend they were made for, where they lie beside the project.
fn corpus() -> Option<(Vec<String>, ObjectInfo)> {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    let object_info = std::fs::read(shared.join("comfyui/object_info-0.8.0.json")).ok()?;
    let files = std::fs::read_dir(shared.join("corpus/workflows")).ok()?;
    let texts = files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    Some((texts, ObjectInfo::parse(&object_info).unwrap()))
}

fn convert(text: &str, object_info: &ObjectInfo) -> Prompt {
    let Ok(WorkflowDocument::Ui(workflow)) = read(text.as_bytes()) else {
        panic!("not an editor file");
    };
    to_prompt(&workflow, object_info, &mut |_| 0).unwrap()
}

/// What ComfyUI's editor would save, with a note and a frame beside the nodes.
fn editor_file(prompt: &Prompt, object_info: &ObjectInfo) -> String {
    let mut file = serde_json::to_value(to_editor(prompt, object_info).unwrap()).unwrap();
    let note = json!({"id": 9999, "type": "Note", "pos": [0, -200], "size": [300, 120], "mode": 0, "order": 99,
        "flags": {}, "properties": {}, "widgets_values": ["Upscale what is good."]});
    file["nodes"].as_array_mut().unwrap().push(note);
    file["groups"] = json!([{"id": 1, "title": "Draw", "bounding": [0, 0, 900, 600], "color": "#3f789e", "flags": {}}]);
    serde_json::to_string_pretty(&file).unwrap()
}

/// [`DRAW`] so many times in one prompt, each with ids of its own.
fn draw_prompt(copies: usize) -> Prompt {
    let Ok(WorkflowDocument::Api(one)) = read(DRAW.as_bytes()) else {
        panic!("not a prompt");
    };
    let mut nodes = IndexMap::new();
    for copy in 0..copies {
        let renamed = |id: &str| (copy * 100 + id.parse::<usize>().unwrap()).to_string();
        for (id, node) in &one.nodes {
            let mut node = node.clone();
            for value in node.inputs.values_mut() {
                if let Value::Array(link) = value {
                    link[0] = renamed(link[0].as_str().unwrap()).into();
                }
            }
            nodes.insert(renamed(id), node);
        }
    }
    Prompt { nodes }
}

fn object_info() -> ObjectInfo {
    let info = json!({
        "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["sd_xl_base_1.0.safetensors"]]}},
            "output": ["MODEL", "CLIP", "VAE"]},
        "LoadImage": {"input": {"required": {"image": [["start.png"]]}}, "output": ["IMAGE", "MASK"]},
        "VAEEncode": {"input": {"required": {"pixels": ["IMAGE"], "vae": ["VAE"]}}, "output": ["LATENT"]},
        "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {"multiline": true, "dynamicPrompts": true}], "clip": ["CLIP"]}},
            "output": ["CONDITIONING"]},
        "KSampler": {"input": {"required": {"model": ["MODEL"],
            "seed": ["INT", {"default": 0, "min": 0, "max": u64::MAX, "control_after_generate": true}],
            "steps": ["INT", {"min": 1, "max": 10000}], "cfg": ["FLOAT", {"min": 0.0, "max": 100.0}],
            "sampler_name": [["euler", "heun"]], "scheduler": [["normal", "karras"]], "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"], "latent_image": ["LATENT"], "denoise": ["FLOAT", {"min": 0.0, "max": 1.0}]}},
            "output": ["LATENT"]},
        "VAEDecode": {"input": {"required": {"samples": ["LATENT"], "vae": ["VAE"]}}, "output": ["IMAGE"]},
        "SaveImage": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}},
            "output": [], "output_node": true},
    });
    ObjectInfo::parse(info.to_string().as_bytes()).unwrap()
}
