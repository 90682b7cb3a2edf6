//! Editor files become exactly the prompts that ComfyUI's own editor makes of them.

use comfyui_orchestrator::workflow::{
    ObjectInfo, Prompt, WorkflowDocument, diff, read, to_editor, to_prompt,
};
use serde_json::Value;
use std::path::Path;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");

/// Equal as JSON, where 8 and 8.0 are the same number.
fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                match theirs.get(key) {
                    Some(other) => differences(&format!("{path}/{key}"), value, other, found),
                    None => found.push(format!("{path}/{key}: only ours, {value}")),
                }
            }
            for (key, value) in theirs {
                if !ours.contains_key(key) {
                    found.push(format!("{path}/{key}: only theirs, {value}"));
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(&format!("{path}/{index}"), ours, theirs, found);
            }
        }
        (Value::Number(ours), Value::Number(theirs)) if ours.as_f64() == theirs.as_f64() => {}
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: ours {ours}, theirs {theirs}")),
    }
}

#[test]
fn every_corpus_workflow_becomes_the_editors_own_prompt() {
    let shared = Path::new(SHARED);
    let Ok(object_info) = std::fs::read(shared.join("comfyui/object_info-0.8.0.json")) else {
        println!("skipped: no {SHARED}");
        return;
    };
    let object_info = ObjectInfo::parse(&object_info).unwrap();
    let mut equal = 0;
    let mut unequal = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(shared.join("corpus/workflows"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let expected = std::fs::read(shared.join("corpus/expected").join(&name)).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let mut found = Vec::new();
        match read(&std::fs::read(file).unwrap()) {
            Ok(WorkflowDocument::Ui(workflow)) => {
                match to_prompt(&workflow, &object_info, &mut |_| 0) {
                    Ok(prompt) => {
                        let ours = serde_json::to_value(&prompt).unwrap();
                        differences("", &ours, &expected, &mut found);
                    }
                    Err(error) => found.push(error.to_string()),
                }
            }
            Ok(WorkflowDocument::Api(_)) => found.push("read as a prompt".to_owned()),
            Err(error) => found.push(error.to_string()),
        }
        if found.is_empty() {
            equal += 1;
        } else {
            unequal.push(format!("{name}:\n  {}", found.join("\n  ")));
        }
    }
    println!("{equal} of {} equal", files.len());
    assert!(unequal.is_empty(), "{}", unequal.join("\n"));
    assert_eq!(equal, 142);
}

#[test]
fn every_corpus_prompt_survives_the_way_through_the_editor_format() {
    let shared = Path::new(SHARED);
    let Ok(object_info) = std::fs::read(shared.join("comfyui/object_info-0.8.0.json")) else {
        println!("skipped: no {SHARED}");
        return;
    };
    let object_info = ObjectInfo::parse(&object_info).unwrap();
    let mut changed = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(shared.join("corpus/expected")).unwrap() {
        let file = entry.unwrap().path();
        let prompt: Prompt = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let laid_out = to_editor(&prompt, &object_info).unwrap();
        let saved = serde_json::to_vec(&laid_out).unwrap();
        let Ok(WorkflowDocument::Ui(reopened)) = read(&saved) else {
            panic!("{} is not an editor file", file.display());
        };
        assert_eq!(reopened, laid_out);
        let back = to_prompt(&reopened, &object_info, &mut |_| 0).unwrap();
        let changes = diff(&prompt, &back);
        if !changes.is_empty() {
            let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
            changed.push(format!("{}:\n  {}", file.display(), lines.join("\n  ")));
        }
        count += 1;
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
    assert_eq!(count, 142);
}
