//! The text that A1111 and its kin write of how a picture was made.
#![no_main]

use comfyui_orchestrator::workflow::parse_parameters;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(parameters) = parse_parameters(text) {
        assert!(parameters.settings.len() >= 2);
    }
});
