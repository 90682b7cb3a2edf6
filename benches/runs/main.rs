//! Whole runs: one of 100,000 items, and 200 short prompts against a small client written by hand.
//! `cargo bench --bench runs`, or one of them: `cargo bench --bench runs -- large`, `-- by-hand`

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

mod by_hand;
mod large;
mod scene;

fn main() {
    // Cargo hands over `--bench`; `cargo test --benches` does not, and wants no measurement.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let is_wanted = |name: &str| {
        let mut names = arguments
            .iter()
            .filter(|argument| !argument.starts_with('-'))
            .peekable();
        names.peek().is_none() || names.any(|wanted| wanted == name)
    };
    if is_wanted("large") {
        large::hundred_thousand_items();
    }
    if is_wanted("by-hand") {
        by_hand::against_a_client_written_by_hand();
    }
}
