//! Changes in an editor's window that are not in the node yet: kept until they are, or until the person throws them away.
//!
//! # The life of a draft
//!
//! One for each node, a file of the latest state of the page. It begins with the first change in a window and ends when
//! what it holds is in the node *and* lies on the disk with the project. In between no crash of the page, of the window or of
//! the app takes it away, and nothing that a page says deletes it.
//!
//! ```text
//!              the page shows a change, or saves
//!      None ───────────────────────────────────────▶ Kept ◀─┐ another change, another save
//!       ▲ ▲                                          │ │ ├──┘
//!       │ │  the page says: equal again, thrown away │ │ │
//!       │ └──────────── set aside ───────────────────┘ │ │ the person takes exactly this in the app's review
//!       │                                              │ ▼
//!       └──────────── deleted ◀──────────────────── Accepted ──▶ Kept, by another change
//!                      the project with it lies on the disk
//! ```
//!
//! What ends a window (the close button, *Throw away*, the page's end, a kill), a review that is refused or given up, and
//! the end of the app are no arrows here: they leave it as it is. What is kept is marked on the node and offered when its
//! editor is opened. What was set aside is offered by the node's menu until the next is set aside or the node takes a save,
//! since a page is believed no further than that. A node of another project, or one that was deleted, keeps its file: undo
//! and opening the project bring both back.

use super::draft_writer::{DraftFiles, Failed, Order};
use super::{EditorWorld, Editors};
use crate::app::toasts::Severity;
use crate::project::NodeId;
use crate::workflow;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};

/// What one text of a workflow is told apart from another by.
pub(super) type Digest = blake3::Hash;

/// The digest of a text.
pub(super) fn digest(text: &str) -> Digest {
    blake3::hash(text.as_bytes())
}

/// Where the draft of a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draft {
    /// It is kept. None when it is of an earlier session and was not looked into.
    Kept(Option<Digest>),
    /// The node has it, in this revision of the document, which does not lie on the disk yet.
    Accepted {
        /// What was accepted.
        digest: Digest,
        /// Since when.
        revision: u64,
    },
}

/// What happens to a draft.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happened<'a> {
    /// The page shows this, or saved it.
    Shown(&'a RawValue),
    /// The page says that it shows what the node has, or that the person threw the changes away.
    Dropped,
    /// The person took this text in a review; the document has had it since this revision.
    Accepted(Digest, u64),
    /// The document lies on the disk as it was at this revision.
    Safe(u64),
}

/// What is to be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Nothing,
    Write,
    SetAside,
    Delete,
}

/// One step of the life.
pub(super) fn step(draft: Option<Draft>, happened: Happened<'_>) -> (Option<Draft>, Deed) {
    match (draft, happened) {
        (_, Happened::Shown(text)) => (Some(Draft::Kept(Some(digest(text.get())))), Deed::Write),
        (Some(Draft::Kept(_)), Happened::Dropped) => (None, Deed::SetAside),
        (Some(Draft::Kept(Some(kept))), Happened::Accepted(digest, revision)) if kept == digest => {
            (Some(Draft::Accepted { digest, revision }), Deed::Nothing)
        }
        (Some(Draft::Accepted { revision, .. }), Happened::Safe(safe)) if safe >= revision => {
            (None, Deed::Delete)
        }
        (same, _) => (same, Deed::Nothing),
    }
}

impl EditorWorld<'_> {
    /// Where everything of the editors is kept.
    pub(super) fn own_folder(&self) -> PathBuf {
        self.folders
            .data
            .clone()
            .unwrap_or_else(|| std::env::temp_dir().join("comfyui-orchestrator"))
            .join("editor")
    }

    /// Where the draft of a node is kept.
    pub(super) fn draft_file(&self, node_id: NodeId) -> Option<PathBuf> {
        let drafts = self.folders.data.as_ref()?.join("editor").join("drafts");
        Some(drafts.join(format!("{node_id}.json")))
    }

    /// Where the draft of a node lies that was thrown away last.
    pub(super) fn aside_file(&self, node_id: NodeId) -> Option<PathBuf> {
        Some(self.draft_file(node_id)?.with_extension("aside.json"))
    }

    /// Goes on with the life of a node's draft.
    pub(super) fn draft(&mut self, node_id: NodeId, happened: Happened<'_>) {
        let (Some(kept), Some(aside)) = (self.draft_file(node_id), self.aside_file(node_id)) else {
            return;
        };
        let before = self.editors.drafts.get(&node_id).copied();
        let (after, deed) = step(before, happened);
        let order = match (deed, happened) {
            (Deed::Write, Happened::Shown(text)) => {
                Some(Order::Write(text.get().as_bytes().into()))
            }
            (Deed::SetAside, _) => {
                self.editors.aside.insert(node_id);
                Some(Order::SetAside)
            }
            (Deed::Delete, _) => {
                self.editors.aside.remove(&node_id);
                Some(Order::Delete)
            }
            (Deed::Write | Deed::Nothing, _) => None,
        };
        if let Some(order) = order {
            let files = DraftFiles { kept, aside };
            self.editors.writer.order(node_id, files, order);
        }
        if after != before {
            match after {
                Some(after) => self.editors.drafts.insert(node_id, after),
                None => self.editors.drafts.remove(&node_id),
            };
            self.editors.revision += 1;
        }
    }

    /// Tells what the disk did not do, each once: the next change tries again.
    fn tell_faults(&mut self) {
        for fault in self.editors.writer.take_faults() {
            let place = fault.file.display();
            let (title, text) = match fault.failed {
                Failed::Write => (
                    "Changes in the editor are not kept yet",
                    format!("{place}: {}. Save to the node soon.", fault.error),
                ),
                Failed::SetAside => (
                    "What was thrown away in the editor cannot be brought back",
                    format!("{place}: {}.", fault.error),
                ),
                Failed::Delete => {
                    // The node has what is in it: at worst it is offered once more.
                    tracing::warn!(file = %place, error = %fault.error, "a draft stays");
                    continue;
                }
            };
            self.toasts.push(Severity::Warning, title, &text);
        }
    }

    /// Takes away the drafts that the disk has as a part of the project.
    pub(super) fn forget_safe_drafts(&mut self, safe_revision: u64) {
        let accepted = |(node_id, draft): (&NodeId, &Draft)| {
            matches!(draft, Draft::Accepted { .. }).then_some(*node_id)
        };
        let accepted: Vec<NodeId> = self.editors.drafts.iter().filter_map(accepted).collect();
        for node_id in accepted {
            self.draft(node_id, Happened::Safe(safe_revision));
        }
        self.tell_faults();
    }

    /// Puts what was thrown away last in the place of the draft, to be offered when the editor is opened.
    pub(super) fn bring_back(&mut self, node_id: NodeId) {
        let aside = self.aside_file(node_id);
        let Some(draft) = aside.and_then(|file| self.editors.read_draft(&file)) else {
            self.toasts.push(
                Severity::Warning,
                "Nothing was brought back",
                "What was thrown away is not kept any more.",
            );
            return;
        };
        self.draft(node_id, Happened::Shown(&draft));
    }

    /// Looks which nodes of the document have drafts of earlier windows.
    pub(super) fn look_for_kept_changes(&mut self) {
        self.editors.writer.finish();
        let is_there = |file: Option<PathBuf>| file.is_some_and(|file| file.exists());
        let nodes: Vec<NodeId> = self.document.project().nodes.keys().copied().collect();
        for node_id in nodes {
            if is_there(self.draft_file(node_id)) {
                self.editors
                    .drafts
                    .entry(node_id)
                    .or_insert(Draft::Kept(None));
            }
            if is_there(self.aside_file(node_id)) {
                self.editors.aside.insert(node_id);
            }
        }
        self.editors.revision += 1;
    }
}

impl Editors {
    /// The changes in a file, as they were ordered last; none when it cannot be one.
    pub(super) fn read_draft(&self, file: &Path) -> Option<Box<RawValue>> {
        self.writer.finish();
        let size = std::fs::metadata(file).ok()?.len();
        if size > workflow::MAX_WORKFLOW_BYTES as u64 {
            return None;
        }
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    }

    /// Waits until the disk has everything that was changed in windows.
    pub fn finish_writing(&self) {
        self.writer.finish();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_draft_goes_only_when_the_disk_has_it_or_aside() {
        let (one, two) = (raw("{\"n\":1}"), raw("{\"n\":2}"));
        let taken = digest(one.get());
        let (kept, deed) = step(None, Happened::Shown(&one));
        assert_eq!((kept, deed), (Some(Draft::Kept(Some(taken))), Deed::Write));
        // What a page says sets it aside at most.
        assert_eq!(step(kept, Happened::Dropped), (None, Deed::SetAside));
        assert_eq!(
            step(Some(Draft::Kept(None)), Happened::Dropped),
            (None, Deed::SetAside)
        );
        // Something else was taken, or it is of an earlier session: it stays.
        let (changed, _) = step(kept, Happened::Shown(&two));
        assert_eq!(
            step(changed, Happened::Accepted(taken, 5)),
            (changed, Deed::Nothing)
        );
        let earlier = Some(Draft::Kept(None));
        assert_eq!(
            step(earlier, Happened::Accepted(taken, 5)),
            (earlier, Deed::Nothing)
        );
        // Taken, and not on the disk yet: the page, equal to the node by then, has no say any more.
        let (accepted, deed) = step(kept, Happened::Accepted(taken, 5));
        assert_eq!(deed, Deed::Nothing);
        for happened in [Happened::Dropped, Happened::Safe(4)] {
            assert_eq!(step(accepted, happened), (accepted, Deed::Nothing));
        }
        assert_eq!(step(accepted, Happened::Safe(5)), (None, Deed::Delete));
        assert_eq!(
            step(accepted, Happened::Shown(&two)),
            (changed, Deed::Write)
        );
        assert_eq!(step(None, Happened::Dropped), (None, Deed::Nothing));
        assert_eq!(step(kept, Happened::Safe(9)), (kept, Deed::Nothing));
    }
}
