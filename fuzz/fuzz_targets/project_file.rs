//! Portable project files: read, validated, and read again as they are written.
#![no_main]

use comfyui_orchestrator::project::{read_portable_form, validate, write_portable_form};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|bytes: &[u8]| {
    let Ok(project) = read_portable_form(bytes) else {
        return;
    };
    let _ = validate(&project, &BTreeMap::new());
    if let Ok(text) = write_portable_form(&project) {
        let again = read_portable_form(text.as_bytes()).map(|again| write_portable_form(&again));
        assert!(again.is_ok_and(|again| again.is_ok_and(|again| again == text)));
    }
});
