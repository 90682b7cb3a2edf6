//! What ComfyUI's own page made of a workflow: kept beside the file, used where it fits, dropped where it does not.

use super::command_line::{BuiltinProcess, refuses, run, stderr, stdout};
use comfyui_orchestrator::project::{
    Edit, FreshIds, LinkId, NodeId, PortId, Project, ProjectId, WorkflowFile, WorkflowName,
    read_portable_form, write_portable_form,
};
use comfyui_orchestrator::store::project_folder::{self, Overwrite, ProjectPlace};
use comfyui_orchestrator::workflow::{
    ObjectInfo, Prompt, WorkflowDocument, inspect, read, read_saved, sketch, to_prompt,
};
use serde_json::json;
use tempfile::TempDir;

fn editor_text(prompt: &str) -> String {
    json!({"version": 0.4, "links": [[1, 3, 0, 2, 0, "TEXT"]], "groups": [], "nodes": [
        {"id": 1, "type": "OnlyInThePage", "inputs": [], "widgets_values": ["x"],
         "outputs": [{"name": "text", "type": "TEXT", "links": []}]},
        {"id": 2, "type": "Show", "inputs": [{"name": "text", "type": "TEXT", "link": 1}], "outputs": []},
        {"id": 3, "type": "Words", "inputs": [], "widgets_values": [prompt],
         "outputs": [{"name": "text", "type": "TEXT", "links": [1]}]},
    ]})
    .to_string()
}

/// As the page drew it: the node that only exists in the page is no part of it.
fn page_prompt(drawn: &str) -> String {
    json!({
        "2": {"class_type": "Show", "inputs": {"text": ["3", 0], "note": "by the page"}, "_meta": {"title": "Show"}},
        "3": {"class_type": "Words", "inputs": {"words": drawn}, "_meta": {"title": "Words"}},
    })
    .to_string()
}

fn classes(with_page_node: bool, extra_required: bool) -> ObjectInfo {
    let mut show =
        json!({"required": {"text": ["TEXT", {}]}, "optional": {"note": ["STRING", {}]}});
    if extra_required {
        show["required"]["loudness"] = json!(["INT", {"default": 7}]);
    }
    let mut all = json!({
        "Show": {"input": show, "output": [], "output_name": [], "output_node": true},
        "Words": {"input": {"required": {"words": ["STRING", {"multiline": true, "dynamicPrompts": true}]}},
                  "output": ["TEXT"], "output_name": ["text"]},
    });
    if with_page_node {
        all["OnlyInThePage"] = json!({"input": {"required": {"a": ["STRING", {}]}}, "output": ["TEXT"], "output_name": ["text"]});
    }
    ObjectInfo::from_json(&all).unwrap()
}

fn prompt_of(document: &WorkflowDocument, classes: &ObjectInfo, option: usize) -> Prompt {
    let WorkflowDocument::Ui(workflow) = document else {
        panic!("an editor file");
    };
    to_prompt(workflow, classes, &mut |_| option).unwrap()
}

#[test]
fn the_pages_own_prompt_is_what_runs_unless_a_backend_asks_for_more() {
    let text = editor_text("a {red|blue} house");
    let saved = read_saved(&text, Some(&page_prompt("a red house"))).unwrap();

    // A class that exists in the page alone does not matter, whether or not anything is known.
    let sketched = sketch(&saved, None).unwrap();
    assert!(sketched.is_exact());
    assert_eq!(sketched.prompt.nodes["2"].inputs["note"], "by the page");
    assert!(
        !sketch(&read(text.as_bytes()).unwrap(), None)
            .unwrap()
            .is_exact()
    );
    let prompt = prompt_of(&saved, &classes(false, false), 1);
    assert_eq!(prompt.nodes.len(), 2);
    assert_eq!(prompt.nodes["2"].inputs["note"], "by the page");

    // Where everything is known, texts with choices are drawn anew, and nothing else changes.
    let known = classes(true, false);
    for (option, words) in [(0, "a red house"), (1, "a blue house")] {
        let prompt = prompt_of(&saved, &known, option);
        assert_eq!(prompt.nodes["3"].inputs["words"], words);
        assert_eq!(prompt.nodes["2"].inputs["note"], "by the page");
    }

    // A backend whose class requires what the page did not know gets our conversion.
    let prompt = prompt_of(&saved, &classes(true, true), 0);
    assert_eq!(prompt.nodes["2"].inputs["loudness"], 7);
    assert_ne!(
        prompt.nodes["2"].inputs.get("note"),
        Some(&json!("by the page"))
    );

    // What is no prompt counts for nothing.
    for nonsense in ["", "{", "[]", "{\"nodes\": []}", &text] {
        let saved = read_saved(&text, Some(nonsense)).unwrap();
        assert!(!sketch(&saved, None).unwrap().is_exact(), "{nonsense}");
    }
}

fn project(file: WorkflowFile) -> (Project, WorkflowName) {
    let mut project = Project::new(ProjectId::new_now(), "Kept");
    let name = WorkflowName::new("House").unwrap();
    let add = Edit::AddWorkflow {
        name: name.clone(),
        file,
    };
    project.apply(add).unwrap();
    (project, name)
}

#[test]
fn both_forms_survive_saving_and_undo_and_a_changed_file_drops_the_prompt() {
    let file = WorkflowFile {
        text: editor_text("a house").into(),
        page_prompt: Some(page_prompt("a house").into()),
    };
    let (mut project, name) = project(file.clone());
    let portable = write_portable_form(&project).unwrap();
    assert_eq!(read_portable_form(portable.as_bytes()).unwrap(), project);

    let folder = TempDir::new().unwrap();
    let place = ProjectPlace::Folder(folder.path().to_path_buf());
    let stamp = project_folder::save(&place, &project, &Overwrite::Nothing).unwrap();
    let opened = project_folder::open(folder.path()).unwrap();
    assert_eq!(opened.project, project);
    assert!(opened.skipped.is_empty());

    // Another file in its place has no prompt, and none is left behind; undo brings both back.
    let replace = Edit::ReplaceWorkflow {
        name: name.clone(),
        file: WorkflowFile::new(editor_text("a garden")),
    };
    let undo = project.apply(replace).unwrap().inverse;
    let stamp = project_folder::save(&place, &project, &Overwrite::Unchanged(stamp)).unwrap();
    let kept = folder.path().join("prompts/House.json");
    assert!(!kept.exists());
    project.apply(undo).unwrap();
    assert_eq!(project.workflows[&name], file);
    project_folder::save(&place, &project, &Overwrite::Unchanged(stamp)).unwrap();
    assert!(kept.exists());

    // Somebody edits the file by hand: what the page made of the old one does not run.
    let path = folder.path().join("workflows/House.json");
    std::fs::write(&path, editor_text("a tower")).unwrap();
    let opened = project_folder::open(folder.path()).unwrap();
    assert_eq!(opened.project.workflows[&name].page_prompt, None);
    // The same in a portable file, and one that is damaged.
    let edited = portable.replacen("a house", "a tower", 1);
    assert_ne!(edited, portable);
    let read = read_portable_form(edited.as_bytes()).unwrap();
    assert_eq!(read.workflows[&name].page_prompt, None);
    std::fs::write(&path, editor_text("a house")).unwrap();
    std::fs::write(&kept, "{ damaged").unwrap();
    let opened = project_folder::open(folder.path()).unwrap();
    assert_eq!(opened.project.workflows[&name].page_prompt, None);
    assert_eq!(
        &*opened.project.workflows[&name].text,
        editor_text("a house")
    );
}

#[test]
fn a_run_sends_what_the_page_made_also_of_nodes_that_no_server_knows() {
    let folder = TempDir::new().unwrap();
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let data = folder.path().join("data");
    // The picture goes through a pair of nodes that only exist in the page, so nobody else can follow it.
    let text = json!({"version": 0.4, "groups": [],
        "links": [[1, 1, 0, 3, 0, "IMAGE"], [2, 4, 0, 2, 0, "IMAGE"]], "nodes": [
        {"id": 1, "type": "EmptyImage", "inputs": [], "widgets_values": [64, 48, 1, 255],
         "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}]},
        {"id": 2, "type": "SaveImage", "widgets_values": ["shot"], "outputs": [],
         "inputs": [{"name": "images", "type": "IMAGE", "link": 2}]},
        {"id": 3, "type": "SetImage", "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
         "outputs": [], "widgets_values": ["x"]},
        {"id": 4, "type": "GetImage", "inputs": [], "widgets_values": ["x"],
         "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}]}]})
    .to_string();
    let made = json!({
        "1": {"class_type": "EmptyImage", "_meta": {"title": "EmptyImage"},
              "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 255}},
        "2": {"class_type": "SaveImage", "_meta": {"title": "Shot"},
              "inputs": {"images": ["1", 0], "filename_prefix": "shot"}},
    })
    .to_string();
    let saved = WorkflowFile {
        text: text.as_str().into(),
        page_prompt: Some(made.into()),
    };
    let mut outcomes = Vec::new();
    for (name, file) in [
        ("with", saved.clone()),
        ("without", WorkflowFile::new(text.as_str())),
    ] {
        let document = read_saved(&saved.text, saved.page_prompt.as_deref()).unwrap();
        let inspection = inspect(&sketch(&document, None).unwrap().prompt, None);
        let mut fresh = FreshIds {
            node: &mut NodeId::new_now,
            port: &mut PortId::new_now,
            link: &mut LinkId::new_now,
        };
        let workflow = WorkflowName::new("Shot").unwrap();
        let id = ProjectId::new_now();
        let project = Project::of_workflow(id, &workflow, file, &inspection, &mut fresh).unwrap();
        let place = folder.path().join(name);
        let at = ProjectPlace::Folder(place.clone());
        project_folder::save(&at, &project, &Overwrite::Nothing).unwrap();
        let place = place.to_string_lossy().into_owned();
        outcomes.push(run(&data, &["run", &place, "--backend", &server.url]));
    }
    let [with, without] = outcomes.as_slice() else {
        panic!("two runs");
    };
    assert!(with.status.success(), "{}{}", stdout(with), stderr(with));
    let written: Vec<_> = std::fs::read_dir(folder.path().join("with/outputs"))
        .unwrap()
        .collect();
    assert!(!written.is_empty());
    refuses(without, &["SetImage"]);
}
