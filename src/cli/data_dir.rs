//! Where history, results and settings lie.

use anyhow::Context as _;
use std::path::PathBuf;

/// The data folder to use: the one asked for, else the platform's.
pub(super) fn data_dir(asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let path = match asked {
        Some(path) => std::path::absolute(path)?,
        None => directories::ProjectDirs::from("", "", "comfyui-orchestrator")
            .context("this account has no home folder; name a data folder with --data-dir")?
            .data_local_dir()
            .to_path_buf(),
    };
    std::fs::create_dir_all(&path).with_context(|| {
        format!(
            "cannot make the data folder {}; name another with --data-dir",
            path.display()
        )
    })?;
    Ok(path)
}
