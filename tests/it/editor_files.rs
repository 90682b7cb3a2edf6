//! Workflows in the format of ComfyUI's editor: run as they are, found again after renumbering, understood without a backend.

use crate::small_projects::small_harbour;
use crate::whole_runs::{PATIENCE, begin, next, start_engine, start_server};
use comfyui_orchestrator::engine::{
    self, Engine, EngineEvent, ResumePolicy, RunEvent, RunEventBody, RunState,
};
use comfyui_orchestrator::fleet::BackendConfig;
use comfyui_orchestrator::media::read_png_text;
use comfyui_orchestrator::project::Project;
use comfyui_orchestrator::workflow::{
    ObjectInfo, UiWorkflow, WorkflowDocument, inspect, read, sketch, to_editor, to_prompt,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");

async fn classes_of(engine: &Engine, backend: &BackendConfig) -> Arc<ObjectInfo> {
    let asked = async {
        loop {
            if let Some(object_info) = engine.handle.object_info(backend.id) {
                return object_info;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap()
}

/// Runs a project to its end: how it ended, or why it was refused.
async fn run(engine: &Engine, folder: &Path, project: Project) -> Result<RunState, Vec<String>> {
    let (run_id, mut events) = begin(engine, folder, project);
    loop {
        match next(&mut events).await {
            EngineEvent::RunRefused {
                run_id: refused,
                problems,
            } if refused == run_id => {
                return Err(problems.into_iter().map(|(_, message)| message).collect());
            }
            EngineEvent::Run(RunEvent {
                run_id: of_run,
                body: RunEventBody::RunStateChanged { state, .. },
                ..
            }) if of_run == run_id && state.is_ended() => return Ok(state),
            _ => {}
        }
    }
}

fn pictures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "png") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn text_of(picture: &Path, keyword: &str) -> Option<Value> {
    let file = std::io::BufReader::new(std::fs::File::open(picture).unwrap());
    read_png_text(file)
        .unwrap()
        .into_iter()
        .find(|text| text.keyword == keyword)
        .map(|text| serde_json::from_str(&text.text).unwrap())
}

/// The file as the editor saves it after somebody rebuilt it: the same nodes under other numbers, in other order, beside a
/// note and a muted copy.
fn rebuilt(workflow: &UiWorkflow) -> Value {
    let mut file = Value::Object(workflow.raw().clone());
    for node in file["nodes"].as_array_mut().unwrap() {
        node["id"] = json!(node["id"].as_u64().unwrap() + 100);
    }
    for link in file["links"].as_array_mut().unwrap() {
        link[1] = json!(link[1].as_u64().unwrap() + 100);
        link[3] = json!(link[3].as_u64().unwrap() + 100);
    }
    let nodes = file["nodes"].as_array_mut().unwrap();
    nodes.reverse();
    nodes.push(json!({"id": 1, "type": "Note", "widgets_values": ["do not touch"]}));
    let mut muted = nodes[0].clone();
    muted["id"] = json!(2);
    muted["mode"] = json!(2);
    for input in muted["inputs"].as_array_mut().unwrap() {
        input["link"] = Value::Null;
    }
    nodes.push(muted);
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn editor_files_run_and_their_fields_are_found_after_renumbering() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "server", 0, None).await;
    let engine = start_engine(folder.path(), &[&server], ResumePolicy::Leave).await;
    let object_info = classes_of(&engine, &server.config).await;

    let mut project = small_harbour();
    for file in project.workflows.values_mut() {
        let Ok(WorkflowDocument::Api(prompt)) = read(file.text.as_bytes()) else {
            panic!("the sample holds prompts");
        };
        let laid_out = to_editor(&prompt, &object_info).unwrap();
        file.text = rebuilt(&laid_out).to_string().into();
    }
    assert_eq!(
        run(&engine, folder.path(), project.clone()).await,
        Ok(RunState::Completed)
    );
    let made = pictures(&folder.path().join("out"));
    assert_eq!(made.len(), 13, "twelve pictures and their sheet: {made:?}");
    // As from the editor itself: the file is inside the picture, and the prompt has what was set for this one.
    let painted = made
        .iter()
        .find_map(|picture| Some((text_of(picture, "workflow")?, text_of(picture, "prompt")?)));
    let (workflow, prompt) = painted.expect("pictures hold their workflow");
    assert_eq!(workflow["nodes"][0]["id"], json!(104));
    assert_eq!(prompt["104"]["class_type"], "SaveImage");
    assert!(prompt.get("1").is_none() && prompt.get("2").is_none());

    // A class that nobody has is named, with its node, before anything starts.
    let mut unknown = project.clone();
    for file in unknown.workflows.values_mut() {
        file.text = file.text.replace("ImageBlur", "SoftBlurDeluxe").into();
    }
    let refusal = run(&engine, folder.path(), unknown).await.unwrap_err();
    assert!(
        refusal
            .iter()
            .any(|problem| problem.contains("SoftBlurDeluxe") && problem.contains("#102")),
        "{refusal:?}"
    );
    // What broke is named field by field.
    let mut edited = project.clone();
    for file in edited.workflows.values_mut() {
        file.text = file
            .text
            .replace("OrchestratorPicture", "EmptyImage")
            .into();
    }
    let refusal = run(&engine, folder.path(), edited).await.unwrap_err();
    for field in ["\"steps\"", "\"detail\"", "\"seed\"", "\"text\""] {
        assert!(
            refusal.iter().any(|problem| problem.contains(field)),
            "{field} in {refusal:?}"
        );
    }

    engine.stop().await;
    // Tomorrow, with no backend at all, the file is still understood.
    let offline = start_engine(folder.path(), &[], ResumePolicy::Leave).await;
    let remembered = offline
        .handle
        .remembered_object_info()
        .await
        .unwrap()
        .expect("what the backend said was kept");
    assert_eq!(remembered, *object_info);
    for file in project.workflows.values() {
        let document = read(file.text.as_bytes()).unwrap();
        assert!(sketch(&document, Some(&remembered)).unwrap().is_exact());
    }
    assert!(engine::problems(&project, Some(&remembered)).is_empty());
    assert!(engine::problems(&project, None).is_empty());
    offline.stop().await;
}

#[test]
fn without_a_backend_a_file_is_inspected_from_its_own_data() {
    let file = json!({"version": 0.4, "links": [[1, 4, 0, 5, 0, "MODEL"], [2, 5, 0, 6, 0, "LATENT"]], "nodes": [
        {"id": 4, "type": "SuperLoader", "inputs": [{"name": "ckpt_name", "type": "COMBO", "widget": {"name": "ckpt_name"}, "link": null}],
         "outputs": [{"name": "MODEL", "type": "MODEL", "links": [1]}], "widgets_values": ["base.safetensors"]},
        {"id": 5, "type": "SuperSampler", "title": "Base", "inputs": [{"name": "model", "type": "MODEL", "link": 1},
            {"name": "seed", "type": "INT", "widget": {"name": "seed"}, "link": null},
            {"name": "steps", "type": "INT", "widget": {"name": "steps"}, "link": null},
            {"name": "colour", "type": "MY_COLOUR", "widget": {"name": "colour"}, "link": null}],
         "outputs": [{"name": "LATENT", "type": "LATENT", "links": [2]}],
         "widgets_values": [18_446_744_073_709_551_615_u64, "randomize", 20, "#fff"]},
        {"id": 6, "type": "SuperSave", "inputs": [{"name": "samples", "type": "LATENT", "link": 2}], "outputs": [],
         "widgets_values": {"prefix": "x", "fps": 24.0, "preview": {"hidden": false}}},
        {"id": 7, "type": "MarkdownNote", "widgets_values": ["hello"]},
    ]});
    let document = read(file.to_string().as_bytes()).unwrap();
    let WorkflowDocument::Ui(workflow) = &document else {
        panic!("an editor file");
    };
    let error = to_prompt(workflow, &ObjectInfo::default(), &mut |_| 0).unwrap_err();
    for class_type in ["SuperLoader", "SuperSampler", "SuperSave"] {
        assert!(error.to_string().contains(class_type), "{error}");
    }
    let sketch = sketch(&document, None).unwrap();
    assert_eq!(
        sketch.unknown_classes.keys().collect::<Vec<_>>(),
        ["SuperLoader", "SuperSampler", "SuperSave"]
    );
    assert_eq!(
        serde_json::to_value(&sketch.prompt).unwrap(),
        json!({
            "4": {"class_type": "SuperLoader", "inputs": {"ckpt_name": "base.safetensors"}, "_meta": {"title": "SuperLoader"}},
            "5": {"class_type": "SuperSampler", "inputs": {"seed": 18_446_744_073_709_551_615_u64, "steps": 20, "colour": "#fff",
                "model": ["4", 0]}, "_meta": {"title": "Base"}},
            "6": {"class_type": "SuperSave", "inputs": {"prefix": "x", "fps": 24.0, "samples": ["5", 0]}, "_meta": {"title": "SuperSave"}},
        })
    );
    let inspection = inspect(&sketch.prompt, None);
    let labels: BTreeSet<&str> = inspection
        .exposures
        .iter()
        .map(|exposure| exposure.label.as_str())
        .collect();
    assert_eq!(labels, BTreeSet::from(["Model", "Seed", "Steps"]));
    assert_eq!(inspection.outputs.len(), 1);
}

#[test]
fn most_corpus_files_show_their_own_prompt_without_any_backend() {
    let folder = Path::new(SHARED).join("corpus");
    let Ok(files) = std::fs::read_dir(folder.join("workflows")) else {
        println!("skipped: no {SHARED}");
        return;
    };
    let (mut equal, mut fields, mut found, mut count) = (0, 0, 0, 0);
    for file in files.flatten() {
        let document = read(&std::fs::read(file.path()).unwrap()).unwrap();
        let expected = std::fs::read(folder.join("expected").join(file.file_name())).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let ours = serde_json::to_value(&sketch(&document, None).unwrap().prompt).unwrap();
        count += 1;
        let before = (fields, found);
        for (id, node) in expected.as_object().unwrap() {
            for (name, value) in node["inputs"].as_object().unwrap() {
                fields += 1;
                let mine = &ours[id]["inputs"][name];
                let same = mine == value || (mine.is_number() && mine.as_f64() == value.as_f64());
                found += usize::from(same);
            }
        }
        equal += usize::from(fields - before.0 == found - before.1);
    }
    println!("{equal} of {count} files whole, {found} of {fields} inputs");
    assert!(found * 100 >= fields * 80, "{found} of {fields} inputs");
}
