//! What the core costs. Budgets: engine 50 µs per item in memory and 1 ms durable, opening 800 nodes 150 ms (drawing
//! included), 1,000 editor files converted per second. `cargo bench --bench budgets`
//!
//! Figures named `per item` are the time of a whole run divided by its items.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

mod conversion;
mod engine;
mod projects;
mod socket;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

/// Few samples and short measurements keep the whole bench under a minute.
fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
}

criterion_group! {
    name = budgets;
    config = quick();
    targets = engine::in_memory, engine::durable, projects::open, socket::decode, conversion::to_prompts
}
criterion_main!(budgets);
