//! Without a window for it: the person's own browser, with files in both directions.

use super::draft_writer::write_whole;
use super::{EditorWorld, Editors};
use crate::app::dialogs::in_browser::BrowserDialog;
use crate::app::toasts::Severity;
use crate::project::{NodeId, NodeKind, Project};
use std::path::Path;

impl Editors {
    /// The node of the project whose workflow a dropped file brings back from the browser: one with the name that it was given
    /// there.
    #[must_use]
    pub fn brought_back(&self, file: &Path, project: &Project) -> Option<NodeId> {
        let is_json = file
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let stem = file.file_stem()?.to_str()?;
        let is_there = |node_id: &NodeId| project.nodes.contains_key(node_id);
        let node_of = |name: &str| self.in_browser.get(name).copied().filter(is_there);
        is_json
            .then(|| node_of(stem).or_else(|| node_of(unnumbered(stem)?)))
            .flatten()
    }
}

/// A name without the number that browsers add when a file of that name is there: `a (1)`, `a(1)`, `a-1`.
fn unnumbered(stem: &str) -> Option<&str> {
    let before =
        |text: &'_ str| text.len() - text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    if let Some(open) = stem.strip_suffix(')') {
        let digits = before(open);
        let name = open[..open.len() - digits].strip_suffix('(')?;
        return (digits > 0).then(|| name.trim_end());
    }
    let digits = before(stem);
    let name = stem[..stem.len() - digits].strip_suffix('-')?;
    (digits > 0).then_some(name)
}

impl EditorWorld<'_> {
    /// Writes a node's workflow where the browser can open it, and tells how it comes back.
    pub(super) fn write_for_browser(&mut self, node_id: NodeId) {
        let project = self.document.project();
        let Some(node) = project.nodes.get(&node_id) else {
            return;
        };
        let NodeKind::Workflow(settings) = &node.kind else {
            return;
        };
        let Some(file) = project.workflows.get(&settings.workflow) else {
            return;
        };
        let path = self
            .own_folder()
            .join("browser")
            .join(format!("{}.json", settings.workflow));
        match write_whole(&path, file.text.as_bytes()) {
            Ok(()) => {
                self.editors
                    .in_browser
                    .insert(settings.workflow.to_string(), node_id);
                self.dialogs.in_browser = Some(BrowserDialog::Steps {
                    title: node.title.clone(),
                    file: path,
                });
            }
            Err(error) => self.toasts.push(
                Severity::Error,
                "The workflow could not be written for the browser",
                &format!("{}: {error}", path.display()),
            ),
        }
    }
}
