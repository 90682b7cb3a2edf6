//! What a person can ask of a run: while it goes on, when it has ended, and from another program.

mod another_program;
mod of_the_engine;
mod precedence;

use crate::small_projects::numbered;
use comfyui_orchestrator::project::{Project, RetryPolicy};
use serde_json::{Value, json};

/// A picture that takes its time.
fn slow_picture(seconds: f64) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": seconds, "steps": 20, "seed": 1, "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "slow"}},
    })
}

fn project(count: u32, seconds: f64) -> Project {
    let retry = RetryPolicy::default();
    numbered(&slow_picture(seconds), ("1", "color"), count, retry)
}
