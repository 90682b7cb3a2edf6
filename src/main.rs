//! Arguments, logging, runtime, dispatch.

use clap::Parser as _;
use comfyui_orchestrator::cli;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("ORCHESTRATOR_LOG")
                .unwrap_or_else(|_| EnvFilter::new(arguments.default_log_filter())),
        )
        .with_writer(std::io::stderr)
        .init();
    match cli::dispatch(arguments) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            eprintln!("error: {}", cli::told(&error));
            ExitCode::FAILURE
        }
    }
}
