//! Pictures, videos, sounds, drawings, models and latents that may hold a workflow.
#![no_main]

use comfyui_orchestrator::workflow::Embedded;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(embedded) = Embedded::read(Cursor::new(bytes)) {
        let _ = embedded.parameters();
        let _ = embedded.document();
    }
});
