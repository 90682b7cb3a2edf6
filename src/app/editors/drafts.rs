//! Changes in an editor's window that are kept until they are saved or thrown away.

use super::EditorWorld;
use crate::app::toasts::Severity;
use crate::project::NodeId;
use crate::workflow;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};

impl EditorWorld<'_, '_> {
    /// Where everything of the editors is kept.
    pub(super) fn own_folder(&self) -> PathBuf {
        self.folders
            .data
            .clone()
            .unwrap_or_else(|| std::env::temp_dir().join("comfyui-orchestrator"))
            .join("editor")
    }

    /// Where changes of a window are kept until they are saved or thrown away.
    pub(super) fn draft_file(&self, node_id: NodeId) -> Option<PathBuf> {
        Some(
            self.folders
                .data
                .as_ref()?
                .join("editor")
                .join("drafts")
                .join(format!("{node_id}.json")),
        )
    }

    /// Writes the draft beside its place and renames it there, or removes it.
    pub(super) fn keep_draft(&mut self, node_id: NodeId, draft: Option<&RawValue>) {
        let Some(file) = self.draft_file(node_id) else {
            return;
        };
        let is_known = match draft {
            Some(_) => !self.editors.kept.insert(node_id),
            None => !self.editors.kept.remove(&node_id),
        };
        self.editors.revision += u64::from(!is_known);
        let written = match draft {
            Some(draft) => write_draft(&file, draft),
            None => match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        };
        if let Err(error) = written {
            self.toasts.push(
                Severity::Warning,
                "Changes in the editor are not kept yet",
                &format!("{}: {error}. Save to the node soon.", file.display()),
            );
        }
    }

    /// Looks which nodes of the document have changes that an earlier window could not save.
    pub(super) fn look_for_kept_changes(&mut self) {
        let nodes = self.document.project().nodes.keys();
        let kept = nodes
            .filter(|node_id| self.draft_file(**node_id).is_some_and(|file| file.exists()))
            .copied()
            .collect();
        self.editors.kept = kept;
        self.editors.revision += 1;
    }
}

/// The changes in a file; none when it cannot be one.
pub(super) fn read_draft(file: &Path) -> Option<Box<RawValue>> {
    let size = std::fs::metadata(file).ok()?.len();
    if size > workflow::MAX_WORKFLOW_BYTES as u64 {
        return None;
    }
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn write_draft(file: &Path, draft: &RawValue) -> std::io::Result<()> {
    write_whole(file, draft.get().as_bytes())
}

/// Writes a file beside its place and renames it there.
pub(super) fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}
