//! `editor-host` (hidden): the process of one window of ComfyUI's editor.

use std::process::ExitCode;

/// Shows the window that the app asks for on standard input, until it is closed.
#[cfg(feature = "editor")]
pub(super) fn run() -> anyhow::Result<ExitCode> {
    // Guards against other frames of the page, so it must not be guessed: 148 random bits.
    let token = format!("{}{}", random_part(), random_part());
    crate::editor::host::run(token)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "editor")]
fn random_part() -> uuid::fmt::Simple {
    uuid::Uuid::now_v7().simple()
}

/// Says that this build has no window.
#[cfg(not(feature = "editor"))]
pub(super) fn run() -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "this build has no window for ComfyUI's editor; edit the workflow in your browser and import the saved file"
    )
}
