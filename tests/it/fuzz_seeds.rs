//! What the fuzz targets do, over their seeds: files that once found something stay mended, without a fuzzer at hand.

use comfyui_orchestrator::project::{
    read_folder_form, read_portable_form, write_folder_form, write_portable_form,
};
use comfyui_orchestrator::workflow::{
    Embedded, ModelSizes, ObjectInfo, WorkflowDocument, digest, fitness, inspect, parse_parameters,
    read, sketch, to_editor, to_prompt,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

/// The files of a target.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let seeds: Vec<_> = std::fs::read_dir(folder().join("seeds").join(target))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), std::fs::read(path).unwrap())
        })
        .collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

#[test]
fn workflows_are_read_converted_and_laid_out() {
    let classes = std::fs::read(folder().join("classes.json")).unwrap();
    let object_info = ObjectInfo::parse(&classes).unwrap();
    let mut converted = 0;
    for (name, bytes) in seeds("workflow") {
        let Ok(document) = read(&bytes) else { continue };
        let _ = digest(&document);
        assert!(
            sketch(&document, None).is_ok() || sketch(&document, Some(&object_info)).is_err(),
            "{name}"
        );
        fitness(&document, &object_info, &ModelSizes::new()).ok();
        let prompt = match document {
            WorkflowDocument::Ui(workflow) => to_prompt(&workflow, &object_info, &mut |_| 0).ok(),
            WorkflowDocument::Api(prompt) => Some(prompt),
        };
        let Some(prompt) = prompt else { continue };
        let _ = inspect(&prompt, Some(&object_info));
        if let Ok(laid_out) = to_editor(&prompt, &object_info) {
            let again = to_prompt(&laid_out, &object_info, &mut |_| 0).unwrap();
            assert_eq!(again.nodes.len(), prompt.nodes.len(), "{name}");
            converted += 1;
        }
    }
    assert!(converted > 1);
    for (name, bytes) in seeds("conversion") {
        let both: Value = serde_json::from_slice(&bytes).unwrap();
        let classes = ObjectInfo::parse(both["classes"].to_string().as_bytes());
        let workflow = read(both["workflow"].to_string().as_bytes());
        if let (Ok(classes), Ok(WorkflowDocument::Ui(workflow))) = (classes, workflow) {
            let prompt = to_prompt(&workflow, &classes, &mut |options| options / 2);
            prompt.map(|prompt| inspect(&prompt, Some(&classes))).ok();
        } else {
            panic!("{name} is no longer read");
        }
    }
}

#[test]
fn everything_else_is_read_or_refused() {
    for (_, bytes) in seeds("object_info") {
        ObjectInfo::parse(&bytes).ok();
    }
    let mut found = 0;
    for (_, bytes) in seeds("embedded") {
        if let Ok(embedded) = Embedded::read(Cursor::new(bytes)) {
            let _ = embedded.parameters();
            found += usize::from(embedded.document().is_ok());
        }
    }
    assert!(found > 9, "{found}");
    for (_, bytes) in seeds("parameters") {
        let _ = parse_parameters(&String::from_utf8_lossy(&bytes));
    }
    for (name, bytes) in seeds("project_file") {
        if let Ok(project) = read_portable_form(&bytes) {
            let text = write_portable_form(&project).unwrap();
            assert_eq!(read_portable_form(text.as_bytes()), Ok(project), "{name}");
        }
    }
    for (name, bytes) in seeds("project_folder") {
        if let Ok(project) = read_folder_form(&bytes, BTreeMap::new()) {
            let text = write_folder_form(&project).unwrap();
            assert_eq!(
                read_folder_form(text.as_bytes(), BTreeMap::new()),
                Ok(project),
                "{name}"
            );
        }
    }
}
