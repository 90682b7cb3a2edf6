//! Workflow files of either format: read, sketched, digested, converted, inspected, laid out and converted again.
#![no_main]

use comfyui_orchestrator::workflow::{
    ModelSizes, ObjectInfo, WorkflowDocument, diff, digest, fitness, inspect, read, sketch,
    to_editor, to_prompt,
};
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

/// A class of every kind of input.
const CLASSES: &[u8] = include_bytes!("../classes.json");

fuzz_target!(|bytes: &[u8]| {
    static OBJECT_INFO: OnceLock<ObjectInfo> = OnceLock::new();
    let object_info = OBJECT_INFO.get_or_init(|| ObjectInfo::parse(CLASSES).unwrap_or_default());
    let Ok(document) = read(bytes) else { return };
    let _ = digest(&document);
    let _ = sketch(&document, None);
    let _ = sketch(&document, Some(object_info));
    let _ = fitness(&document, object_info, &ModelSizes::new());
    let prompt = match document {
        WorkflowDocument::Ui(workflow) => to_prompt(&workflow, object_info, &mut |_| 0).ok(),
        WorkflowDocument::Api(prompt) => Some(prompt),
    };
    let Some(prompt) = prompt else { return };
    assert!(diff(&prompt, &prompt).is_empty());
    let _ = inspect(&prompt, Some(object_info));
    if let Ok(laid_out) = to_editor(&prompt, object_info) {
        let again = to_prompt(&laid_out, object_info, &mut |_| 0);
        assert!(again.is_ok_and(|again| again.nodes.len() == prompt.nodes.len()));
    }
});
