//! What the windows save, shown in the app one after the other: nothing of it is done before a person agrees there.

use super::EditorWorld;
use super::drafts::{Digest, Happened, digest};
use super::open::editor_graph;
use crate::app::dialogs::keep_new::KeepNew;
use crate::app::dialogs::replace_workflow::ReplaceDialog;
use crate::app::replace_workflow::Replacement;
use crate::app::toasts::Severity;
use crate::editor::message::{SaveAnswer, SaveTarget, Saved, ToWindow};
use crate::project::{NodeId, NodeKind, WorkflowFile};
use crate::workflow::{self, WorkflowDocument};
use std::collections::VecDeque;

/// The saves that wait for a person: at most one of each node, and the one that is shown. One stays when its window is gone.
#[derive(Debug, Default)]
pub(super) struct Reviews {
    waiting: VecDeque<Review>,
    shown: Option<Shown>,
}

/// One save.
#[derive(Debug)]
struct Review {
    node_id: NodeId,
    /// Which save of its window it is.
    number: u64,
    target: SaveTarget,
    file: WorkflowFile,
}

/// The save that a dialog shows. While it does, no other takes its place.
#[derive(Clone, Copy, Debug)]
struct Shown {
    node_id: NodeId,
    number: u64,
    target: SaveTarget,
    digest: Digest,
}

impl Reviews {
    /// Whether the person has not decided yet about a save of this node.
    fn has(&self, node_id: NodeId) -> bool {
        let is_shown = self.shown.is_some_and(|shown| shown.node_id == node_id);
        is_shown || self.waiting.iter().any(|review| review.node_id == node_id)
    }
}

impl EditorWorld<'_> {
    /// Takes what a window saves into the row.
    pub(super) fn take(&mut self, node_id: NodeId, saved: Saved) {
        let number = saved.number;
        let refused = |text: &str| SaveAnswer::Refused(text.to_owned());
        if saved.target == SaveTarget::Node {
            // Until the person has agreed, and the disk has it, it is kept as what the window shows.
            self.draft(node_id, Happened::Shown(&saved.workflow));
        }
        // What a person looks at stays what it is, and what waits for that is not passed over.
        if self.editors.reviews.has(node_id) {
            let words =
                "The app still asks about what was saved before: answer there, then save again";
            return self.editors.answer(node_id, number, refused(words));
        }
        // A page may say what it likes: only a prompt is kept as one.
        let page_prompt = match workflow::read(saved.prompt.get().as_bytes()) {
            Ok(WorkflowDocument::Api(_)) => Some(saved.prompt.get().into()),
            _ => None,
        };
        let file = WorkflowFile {
            text: saved.workflow.get().into(),
            page_prompt,
        };
        let sound = match saved.target {
            SaveTarget::Node => self.plan(node_id, file.clone()).map(|_| ()),
            SaveTarget::NewWorkflow => workflow::read(file.text.as_bytes())
                .map(|_| ())
                .map_err(|error| error.to_string()),
        };
        if let Err(problem) = sound {
            return self.editors.answer(node_id, number, refused(&problem));
        }
        self.editors.reviews.waiting.push_back(Review {
            node_id,
            number,
            target: saved.target,
            file,
        });
        self.editors.answer(node_id, number, SaveAnswer::InReview);
        self.editors.wants_attention = true;
    }

    fn plan(&self, node_id: NodeId, file: WorkflowFile) -> Result<Replacement, String> {
        let info = self.catalog.object_info();
        Replacement::plan(self.document.project(), node_id, file, info)
            .map_err(|error| error.to_string())
    }

    /// Shows the next save when nothing else is asked.
    pub(super) fn show_next_review(&mut self) {
        if self.dialogs.any_open() {
            return;
        }
        if let Some(shown) = self.editors.reviews.shown.take() {
            // Its dialog went without an answer.
            self.refuse_review(shown.node_id);
        }
        while let Some(review) = self.editors.reviews.waiting.pop_front() {
            let shown = Shown {
                node_id: review.node_id,
                number: review.number,
                target: review.target,
                digest: digest(&review.file.text),
            };
            match review.target {
                SaveTarget::Node => match self.plan(review.node_id, review.file) {
                    Ok(replacement) => {
                        self.dialogs.replacement = Some(ReplaceDialog::of_editor(replacement));
                    }
                    Err(problem) => {
                        let answer = SaveAnswer::Refused(problem);
                        self.editors.answer(review.node_id, review.number, answer);
                        continue;
                    }
                },
                SaveTarget::NewWorkflow => {
                    let title = self.title_of(review.node_id);
                    self.dialogs.keep_new = Some(KeepNew::new(review.node_id, title, review.file));
                }
            }
            self.editors.reviews.shown = Some(shown);
            return;
        }
    }

    /// A workflow was put into a node: if it is what its window saved, the window hears of it.
    pub(super) fn review_replaced(&mut self, node_id: NodeId, file: &WorkflowFile) {
        let digest = digest(&file.text);
        let ours = self.editors.reviews.shown.take_if(|shown| {
            (shown.node_id, shown.target) == (node_id, SaveTarget::Node) && shown.digest == digest
        });
        let has_it = self
            .text_of(node_id)
            .is_some_and(|text| *text == *file.text);
        if !has_it {
            if let Some(Shown { number, .. }) = ours {
                let words = "The app could not put it into the node".to_owned();
                self.editors
                    .answer(node_id, number, SaveAnswer::Refused(words));
            }
            return;
        }
        let accepted = Happened::Accepted(digest, self.document.revision());
        self.draft(node_id, accepted);
        // The sooner it is on the disk, the sooner the draft may go.
        self.autosave.at_once();
        if let Some(Shown { number, .. }) = ours {
            // That the node has another workflow is told behind it: the page may have been loaded anew since it saved.
            self.editors.answer(node_id, number, SaveAnswer::Kept);
        }
    }

    /// A workflow was added: if a window saved it as a new one, the window hears of it.
    pub(super) fn review_added(&mut self, file: &WorkflowFile) {
        let digest = digest(&file.text);
        let Some(shown) = self
            .editors
            .reviews
            .shown
            .filter(|shown| shown.target == SaveTarget::NewWorkflow && shown.digest == digest)
        else {
            return;
        };
        self.editors.reviews.shown = None;
        self.editors
            .answer(shown.node_id, shown.number, SaveAnswer::Kept);
        let workflows = &self.document.project().workflows;
        let Some((name, _)) = workflows.iter().find(|(_, known)| known.text == file.text) else {
            return;
        };
        self.toasts.push(
            Severity::Success,
            &format!("\"{name}\" is a workflow of this project now"),
            "It is in the library at the left; drag it onto the canvas to use it.",
        );
    }

    /// The person leaves everything as it is. What was saved to the node stays a draft.
    pub(super) fn refuse_review(&mut self, node_id: NodeId) {
        let reviews = &mut self.editors.reviews;
        let Some(shown) = reviews.shown.take_if(|shown| shown.node_id == node_id) else {
            return;
        };
        let words = match shown.target {
            SaveTarget::Node => "Not taken: the node keeps its workflow",
            SaveTarget::NewWorkflow => "Not taken: the project gets no new workflow",
        };
        let answer = SaveAnswer::Refused(words.to_owned());
        self.editors.answer(node_id, shown.number, answer);
    }

    /// The workflow that a node has.
    pub(super) fn text_of(&self, node_id: NodeId) -> Option<&str> {
        let project = self.document.project();
        let NodeKind::Workflow(settings) = &project.nodes.get(&node_id)?.kind else {
            return None;
        };
        project
            .workflows
            .get(&settings.workflow)
            .map(|file| &*file.text)
    }

    /// Tells windows whose node has got another workflow in another way: by an undo, by a file.
    pub(super) fn tell_node_workflows(&mut self) {
        let ids: Vec<NodeId> = self.editors.windows.keys().copied().collect();
        for node_id in ids {
            let Some(text) = self.text_of(node_id) else {
                continue;
            };
            let now = digest(text);
            let known = self
                .editors
                .windows
                .get(&node_id)
                .and_then(|window| window.node_text);
            if known == Some(now) {
                continue;
            }
            let graph = editor_graph(text, self.catalog.object_info());
            let Some(window) = self.editors.windows.get_mut(&node_id) else {
                continue;
            };
            window.node_text = Some(now);
            if let Ok(graph) = graph {
                // A window that does not take it has ended or hangs, which its own events tell.
                let _ = window.process.send(ToWindow::NodeWorkflow(graph));
            }
        }
    }
}
