//! Work on this machine: read inputs, evaluate conditions, draw contact sheets, write outputs.
//!
//! Everything here blocks (disk, decoding); the executor calls [`perform`] where blocking is allowed. Doing the same work
//! twice gives the same result and adds nothing, so work that a crash cut off is simply done again.

mod condition;
mod contact_sheet;
mod files;
mod load;
mod provenance;
mod template;
mod text;
mod write;

pub use condition::check_expression;

use super::command::RunFolders;
use super::failure::{Failure, FailureClass};
use super::machine::{LocalOutcome, LocalTask, LocalWork};
use super::value::{ListElement, Value};
use crate::artifacts::{ArtifactError, ArtifactStore};
use crate::project::{ContactSheet, DataType, FanOutSource, Node, NodeId, NodeKind, Project};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What local work of a run needs to know.
#[derive(Clone, Copy, Debug)]
pub struct LocalContext<'a> {
    /// Where produced files are kept.
    pub artifacts: &'a ArtifactStore,
    /// The project as it was when the run started.
    pub project: &'a Project,
    /// Where the run reads and writes.
    pub folders: &'a RunFolders,
    /// Unix time in milliseconds when the run was created; file names and provenance depend on it, not on the clock.
    pub run_created_ms: u64,
}

/// What of a project cannot be read before it runs: files of Input nodes, folders in which files are looked for. What a link brings
/// is known only while the run goes on. Blocks.
#[must_use]
pub fn unreadable(project: &Project, folders: &RunFolders) -> Vec<(Option<NodeId>, String)> {
    project
        .nodes
        .values()
        .filter_map(|node| {
            let checked = match &node.kind {
                NodeKind::Input(input) => {
                    let data_type = node.outputs.first()?.data_type;
                    load::check(&input.value, data_type, folders)
                }
                NodeKind::FanOut(fan_out) => match &fan_out.source {
                    FanOutSource::Files(files)
                        if project.links.into_node(node.id).next().is_none() =>
                    {
                        files::check(files, folders)
                    }
                    _ => return None,
                },
                _ => return None,
            };
            let failure = checked.err()?;
            Some((
                Some(node.id),
                format!("\"{}\": {}", node.title, failure.message),
            ))
        })
        .collect()
}

/// Does the work. Blocks.
///
/// # Errors
/// A [`Failure`] whose message says what went wrong, with what, and what to do: of class `Disk` where a disk takes nothing and
/// the work may be done later, else of class `Local`.
pub fn perform(work: &LocalWork, context: LocalContext) -> Result<LocalOutcome, Failure> {
    let node = context.project.nodes.get(&work.node_id);
    match &work.task {
        LocalTask::Load { value, data_type } => {
            load::load(value, *data_type, context).map(LocalOutcome::Loaded)
        }
        LocalTask::Decide {
            expression,
            value,
            rating,
        } => condition::decide(expression, value, &work.labels, *rating).map(LocalOutcome::Decided),
        LocalTask::FindFiles { files, folder } => {
            files::find(files, folder.as_deref(), context).map(LocalOutcome::Found)
        }
        LocalTask::DrawSheet { sheet, elements } => {
            draw_sheet(*sheet, node, elements, context).map(LocalOutcome::SheetDrawn)
        }
        LocalTask::Rank {
            expression,
            keep,
            elements,
            ratings,
            sheet,
        } => {
            let kept = condition::best(expression, elements, ratings, *keep)?;
            let sheet = match sheet {
                Some(sheet) => {
                    let best: Vec<ListElement> = kept
                        .iter()
                        .filter_map(|place| elements.get(*place as usize).cloned())
                        .collect();
                    Some(draw_sheet(*sheet, node, &best, context)?)
                }
                None => None,
            };
            Ok(LocalOutcome::Ranked { kept, sheet })
        }
        LocalTask::Write {
            template,
            value,
            ordinal,
        } => write::write(work, template, value, *ordinal, context).map(LocalOutcome::Written),
    }
}

fn draw_sheet(
    sheet: ContactSheet,
    node: Option<&Node>,
    elements: &[ListElement],
    context: LocalContext,
) -> Result<Value, Failure> {
    let title = format!("{} · {}", context.project.name, title_of(node));
    let png = contact_sheet::draw(sheet, &title, elements, context.artifacts)?;
    let artifact = context
        .artifacts
        .store_bytes(&png, DataType::Image, "contact-sheet.png")
        .map_err(|error| artifact_failure(&error))?;
    Ok(Value::Artifact(Arc::new(artifact)))
}

fn title_of(node: Option<&Node>) -> &str {
    node.map_or("node", |node| node.title.as_str())
}

fn failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Local, message)
}

fn artifact_failure(error: &ArtifactError) -> Failure {
    let class = if error.is_of_the_disk() {
        FailureClass::Disk
    } else {
        FailureClass::Local
    };
    Failure::new(class, error.to_string())
}

/// What a person reads when the disk refuses something.
fn io_failure(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full; free some space"
        }
        io::ErrorKind::PermissionDenied => "no permission; change the permissions",
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only; make it writable",
        io::ErrorKind::FileTooLarge => {
            "the file is larger than that disk, or this account, may hold; choose another folder and retry"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file lies where a folder is needed; move it away or choose another folder, and retry"
        }
        io::ErrorKind::NotFound => "it is not there; check the path and retry",
        _ => "",
    };
    let path = path.display();
    if advice.is_empty() {
        failure(format!("{doing} failed ({error}): {path}"))
    } else {
        failure(format!("{doing} failed: {advice}: {path}"))
    }
}

/// The same for something that is written: a disk that takes nothing is waited for.
fn write_failure(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let is_of_the_disk = matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::PermissionDenied
    );
    let mut failure = io_failure(doing, path, error);
    if is_of_the_disk {
        failure.class = FailureClass::Disk;
    }
    failure
}
