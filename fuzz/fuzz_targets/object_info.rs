//! What a server says of its classes: read, and a node of each class laid out and converted.
#![no_main]

use comfyui_orchestrator::workflow::{
    ObjectInfo, Prompt, PromptNode, inspect, to_editor, to_prompt,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(object_info) = ObjectInfo::parse(bytes) else {
        return;
    };
    let mut prompt = Prompt::default();
    for (index, class_type) in object_info.classes.keys().enumerate() {
        let node = PromptNode {
            class_type: class_type.clone(),
            inputs: serde_json::Map::new(),
            meta: None,
        };
        prompt.nodes.insert(index.to_string(), node);
    }
    let _ = inspect(&prompt, Some(&object_info));
    if let Ok(laid_out) = to_editor(&prompt, &object_info) {
        let again = to_prompt(&laid_out, &object_info, &mut |_| 0);
        assert!(again.is_ok(), "{again:?}");
    }
});
