//! What is laid down for each item by its name and the seed, whatever the schedule.

use crate::engine_driver::picture;
use comfyui_orchestrator::artifacts::ContentHash;
use comfyui_orchestrator::engine::Value;

/// Whether a Workflow item is refused for good.
pub fn is_refused(name: &str, seed: u64) -> bool {
    hash(name, seed).is_multiple_of(11)
}

/// What a Condition decides.
pub fn decides(name: &str, seed: u64) -> bool {
    hash(name, seed).is_multiple_of(2)
}

/// Whether a person picks a Review item.
pub fn is_picked(name: &str, seed: u64) -> bool {
    !hash(name, seed).is_multiple_of(3)
}

/// Pictures a Workflow item makes.
pub fn batch_of(name: &str, seed: u64) -> usize {
    (hash(name, seed) % 4) as usize
}

/// Files a fan-out finds.
pub fn files_of(name: &str, seed: u64) -> usize {
    (hash(name, seed) % 4) as usize
}

fn hash(name: &str, seed: u64) -> u64 {
    let bytes = [name.as_bytes(), &seed.to_be_bytes()].concat();
    let digest = ContentHash::of(&bytes).to_string();
    u64::from_str_radix(&digest[..12], 16).unwrap()
}

/// The contact sheet that a run draws.
pub fn sheet(tag: &str) -> Value {
    picture(&format!("{tag} sheet"))
}
