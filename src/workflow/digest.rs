//! What a workflow is found by: the titles, classes, models and texts in it.

use super::patch::link_source;
use super::preflight::is_model_name;
use super::read::WorkflowDocument;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Most bytes of texts that a digest holds; what follows is left out.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Most names of one kind that a digest holds.
const MAX_NAMES: usize = 2000;
/// Deepest nesting of saved values that is looked through.
const MAX_DEPTH: usize = 8;

/// The words of a workflow. Needs no knowledge of its classes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkflowDigest {
    /// Titles that somebody gave, of nodes, groups and subgraphs.
    pub titles: BTreeSet<String>,
    /// Node classes.
    pub classes: BTreeSet<String>,
    /// Model files.
    pub models: BTreeSet<String>,
    /// Prompt texts and notes.
    pub texts: Vec<String>,
}

/// Gathers what a workflow is found by.
#[must_use]
pub fn digest(document: &WorkflowDocument) -> WorkflowDigest {
    let mut gathering = Gathering::default();
    match document {
        WorkflowDocument::Api(prompt) => {
            for node in prompt.nodes.values() {
                gathering.class(&node.class_type);
                if node.title() != node.class_type {
                    gathering.title(node.title());
                }
                for value in node.inputs.values() {
                    if link_source(value).is_none() {
                        gathering.value(value, 0);
                    }
                }
            }
        }
        WorkflowDocument::Ui(workflow) => {
            for class_type in workflow.class_counts().keys() {
                gathering.class(class_type);
            }
            for node in workflow.nodes() {
                if let Some(title) = node.get("title").and_then(Value::as_str) {
                    gathering.title(title);
                }
                if let Some(values) = node.get("widgets_values") {
                    gathering.value(values, 0);
                }
            }
            let groups = workflow.raw().get("groups").and_then(Value::as_array);
            for group in groups.into_iter().flatten() {
                if let Some(title) = group.get("title").and_then(Value::as_str) {
                    gathering.title(title);
                }
            }
            for subgraph in workflow.subgraphs() {
                if let Some(name) = subgraph.get("name").and_then(Value::as_str) {
                    gathering.title(name);
                }
            }
        }
    }
    gathering.digest
}

#[derive(Default)]
struct Gathering {
    digest: WorkflowDigest,
    text_bytes: usize,
}

impl Gathering {
    fn class(&mut self, class_type: &str) {
        if self.digest.classes.len() < MAX_NAMES {
            self.digest.classes.insert(class_type.to_owned());
        }
    }

    fn title(&mut self, title: &str) {
        if !title.is_empty() && self.digest.titles.len() < MAX_NAMES {
            self.digest.titles.insert(title.to_owned());
        }
    }

    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::String(text) if is_model_name(text) && self.digest.models.len() < MAX_NAMES => {
                self.digest.models.insert(text.clone());
            }
            // A single word is a choice, not a text.
            Value::String(text) if text.trim().contains(char::is_whitespace) => {
                let room = MAX_TEXT_BYTES.saturating_sub(self.text_bytes);
                let end = text.floor_char_boundary(room);
                if let Some(text) = text.get(..end).filter(|text| !text.is_empty()) {
                    self.text_bytes += text.len();
                    self.digest.texts.push(text.to_owned());
                }
            }
            Value::Array(values) if depth < MAX_DEPTH => {
                for value in values {
                    self.value(value, depth + 1);
                }
            }
            Value::Object(members) if depth < MAX_DEPTH => {
                for value in members.values() {
                    self.value(value, depth + 1);
                }
            }
            _ => {}
        }
    }
}
