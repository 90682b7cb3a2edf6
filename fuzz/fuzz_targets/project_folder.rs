//! The `project.ron` of project folders: read, and read again as it is written.
#![no_main]

use comfyui_orchestrator::project::{read_folder_form, write_folder_form};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|bytes: &[u8]| {
    let Ok(project) = read_folder_form(bytes, BTreeMap::new()) else {
        return;
    };
    if let Ok(text) = write_folder_form(&project) {
        let again = read_folder_form(text.as_bytes(), BTreeMap::new())
            .map(|again| write_folder_form(&again));
        assert!(again.is_ok_and(|again| again.is_ok_and(|again| again == text)));
    }
});
