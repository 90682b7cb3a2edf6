//! The one integration binary: a file per capability.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod asked_together;
mod backends_on_the_command_line;
mod broken_disks;
mod build;
mod builtin;
mod called_off;
mod changed_meanwhile;
mod comfy;
mod comfy_traps;
mod command_line;
mod conversion_rules;
mod corpus;
mod data_kinds;
mod door;
mod editor;
mod editor_files;
mod embedded;
mod engine_driver;
mod engine_end_to_end;
mod expected;
mod failure_classes;
mod files_in_place;
mod fleet;
mod forgetting;
mod fuzz_seeds;
mod house;
mod kills;
mod library;
mod local_work;
mod media;
mod memory;
#[cfg(any(feature = "desktop", feature = "editor", target_os = "linux"))]
mod needed;
mod network_faults;
mod page_prompts;
mod partial_runs;
#[cfg(feature = "desktop")]
mod pictures;
mod placement_bench;
mod plans;
#[cfg(target_os = "linux")]
mod power_loss;
mod processes;
mod project;
mod project_files;
mod project_validation;
mod questions;
mod real_comfyui;
mod resting_runs;
mod result_cache;
mod reviews;
mod run_controls;
mod run_semantics;
mod scripted_server;
mod seeds;
mod several_runs;
mod simulation;
mod small_projects;
mod store;
mod take_over;
mod waiting;
mod whole_runs;
#[cfg(feature = "desktop")]
mod window;
mod wishes;
mod workflow;
mod workflow_commands;
mod workflow_properties;
