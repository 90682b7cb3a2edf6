//! `workflow diff A B`: what changed, by node and field.

use super::ClassArguments;
use super::sources::{known_classes, read_workflow, sketch_of};
use crate::workflow::diff;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) async fn compare(
    asked_dir: Option<PathBuf>,
    before: &Path,
    after: &Path,
    classes: &ClassArguments,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let (first, second) = (read_workflow(before)?, read_workflow(after)?);
    let object_info = known_classes(asked_dir, classes).await?;
    let first = sketch_of(before, &first.document, object_info.as_ref())?;
    let second = sketch_of(after, &second.document, object_info.as_ref())?;
    let changes = diff(&first.prompt, &second.prompt);
    if as_json {
        println!("{}", serde_json::to_string_pretty(&changes)?);
    } else {
        for change in &changes {
            println!("{change}");
        }
        if !(first.is_exact() && second.is_exact()) {
            eprintln!(
                "note: not every node class is known; fields that the files do not name are not compared (name a backend with --backend URL)"
            );
        }
    }
    Ok(if changes.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
