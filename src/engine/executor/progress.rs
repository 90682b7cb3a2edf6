//! How far an attempt is, from its socket events.

use crate::comfy::{NodeProgressState, SocketEvent};
use crate::workflow::Prompt;
use std::collections::BTreeMap;

/// Folds the socket events of one attempt into a fraction and a line of text.
#[derive(Debug)]
pub(super) struct ProgressTracker {
    /// `ComfyUI` node id → title or class, for the line of text.
    names: BTreeMap<String, String>,
    node_count: usize,
    /// Share of each node that is done, 0 to 1.
    done: BTreeMap<String, f32>,
    activity: String,
}

impl ProgressTracker {
    /// A tracker for a prompt of which nothing has run.
    pub(super) fn new(prompt: &Prompt) -> Self {
        let names = prompt
            .nodes
            .iter()
            .map(|(id, node)| {
                let title = node.title();
                let name = if title.is_empty() {
                    &node.class_type
                } else {
                    title
                };
                (id.clone(), name.to_owned())
            })
            .collect();
        Self {
            names,
            node_count: prompt.nodes.len().max(1),
            done: BTreeMap::new(),
            activity: String::new(),
        }
    }

    /// Takes an event; says whether there is something new to show.
    pub(super) fn take(&mut self, event: &SocketEvent) -> bool {
        match event {
            SocketEvent::ExecutionCached { nodes, .. } => {
                for node_id in nodes {
                    self.done.insert(node_id.clone(), 1.0);
                }
                true
            }
            SocketEvent::Executing { node, .. } => {
                self.activity = self.name(node);
                true
            }
            SocketEvent::Progress {
                value,
                max,
                node: Some(node),
                ..
            } => {
                self.step(node, *value, *max);
                true
            }
            SocketEvent::ProgressState { nodes, .. } => {
                for node in nodes {
                    match node.state {
                        NodeProgressState::Finished => {
                            self.done.insert(node.node_id.clone(), 1.0);
                        }
                        NodeProgressState::Running => {
                            self.step(&node.node_id, node.value, node.max);
                        }
                        NodeProgressState::Pending
                        | NodeProgressState::Error
                        | NodeProgressState::Other => {}
                    }
                }
                true
            }
            _ => false,
        }
    }

    /// Share of the prompt's nodes that are done, 0 to 1.
    pub(super) fn fraction(&self) -> f32 {
        (self.done.values().sum::<f32>() / self.node_count as f32).clamp(0.0, 1.0)
    }

    /// For example "`KSampler` 14/20".
    pub(super) fn activity(&self) -> &str {
        &self.activity
    }

    fn step(&mut self, node_id: &str, value: f64, max: f64) {
        if max > 0.0 {
            let share = (value / max).clamp(0.0, 1.0) as f32;
            self.done.insert(node_id.to_owned(), share);
        }
        let name = self.name(node_id);
        // A node of a single step only says that it runs.
        self.activity = if max > 1.0 {
            format!("{name} {value:.0}/{max:.0}")
        } else {
            name
        };
    }

    fn name(&self, node_id: &str) -> String {
        // Ids of nodes that a node expanded into ("1.0.0.1") belong to the node they came from.
        let outer = node_id.split('.').next().unwrap_or(node_id);
        self.names
            .get(node_id)
            .or_else(|| self.names.get(outer))
            .cloned()
            .unwrap_or_else(|| node_id.to_owned())
    }
}
