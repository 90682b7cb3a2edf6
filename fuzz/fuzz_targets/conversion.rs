//! An editor file and the classes to convert it with, both hostile: `{"classes": {…}, "workflow": {…}}`.
#![no_main]

use comfyui_orchestrator::workflow::{
    ObjectInfo, WorkflowDocument, inspect, preflight, read, to_prompt,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Value::Object(both)) = serde_json::from_slice(bytes) else {
        return;
    };
    let (Some(classes), Some(workflow)) = (both.get("classes"), both.get("workflow")) else {
        return;
    };
    let Ok(object_info) = ObjectInfo::parse(classes.to_string().as_bytes()) else {
        return;
    };
    if let Ok(WorkflowDocument::Ui(workflow)) = read(workflow.to_string().as_bytes())
        && let Ok(prompt) = to_prompt(&workflow, &object_info, &mut |options| options / 2)
    {
        let _ = preflight(&prompt, &object_info);
        let _ = inspect(&prompt, Some(&object_info));
    }
});
