//! Whole runs: one of 100,000 items, and 200 short prompts against a small client written by hand.
//! `cargo bench --bench runs`

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

mod by_hand;
mod large;
mod scene;

fn main() {
    // Cargo hands over `--bench`; `cargo test --benches` does not, and wants no measurement.
    if std::env::args().any(|argument| argument == "--bench") {
        large::hundred_thousand_items();
        by_hand::against_a_client_written_by_hand();
    }
}
