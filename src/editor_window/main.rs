//! The window of ComfyUI's editor, as a program of its own that the app starts and speaks to by lines of JSON.
//!
//! It alone is linked with the system's web view. Where that is missing (on Linux it is a package, `WebKitGTK` 4.1), this
//! program does not start, which the app tells with the way to mend it; the app itself starts all the same.

mod host;

use std::io::IsTerminal as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::io::stdin().is_terminal() {
        eprintln!(
            "This is the window in which comfyui-orchestrator shows ComfyUI's editor; that program starts it."
        );
        return ExitCode::FAILURE;
    }
    // Guards against other frames of the page, so it must not be guessed: about 100 random bits (two of one
    // millisecond share their time and count on).
    let token = format!("{}{}", random_part(), random_part());
    match host::run(token) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn random_part() -> uuid::fmt::Simple {
    uuid::Uuid::now_v7().simple()
}
