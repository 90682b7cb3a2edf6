//! `backend check URL`: look at a ComfyUI server.

use crate::fleet::{self, BackendReport};
use clap::Subcommand;
use std::process::ExitCode;
use url::Url;

#[derive(Debug, Subcommand)]
pub(super) enum BackendCommand {
    /// Ask a server what it is, what it can do and what it is doing.
    Check {
        /// Its address, for example `http://127.0.0.1:8188`.
        #[arg(value_parser = super::parse_address)]
        url: Url,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does what the subcommand asks.
pub(super) async fn backend(command: BackendCommand) -> anyhow::Result<ExitCode> {
    let BackendCommand::Check { url, json } = command;
    let report = fleet::check(&url).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        tell(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(report: &BackendReport) {
    println!("{}", report.url);
    println!(
        "  ComfyUI     {}",
        if report.version.is_empty() {
            "unknown version"
        } else {
            &report.version
        }
    );
    println!("  answers in  {} ms", report.latency_ms);
    println!("  classes     {}", report.class_count);
    println!("  models      {}", report.model_count);
    println!(
        "  queue       {} running, {} waiting",
        report.queue_running, report.queue_pending
    );
    println!(
        "  memory      {} of {} free",
        gib(report.ram_free),
        gib(report.ram_total)
    );
    for device in &report.devices {
        println!(
            "  device      {} ({} of {} free)",
            device.name,
            gib(device.vram_free),
            gib(device.vram_total)
        );
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
