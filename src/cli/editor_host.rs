//! `editor-host` (hidden): the process of one window of ComfyUI's editor, which is a program of its own beside this one.

use crate::editor::process::{command, program};
use anyhow::Context as _;
use std::process::ExitCode;

/// Runs the window's program with our input and output, until it is closed.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let mut command =
        program()
            .and_then(|program| command(&program))
            .map_err(|error| match error.remedy() {
                Some(remedy) => anyhow::anyhow!("{error}. {remedy}"),
                None => error.into(),
            })?;
    let status = command
        .status()
        .context("the editor's window could not be started")?;
    // Without a code it was ended by a signal.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
