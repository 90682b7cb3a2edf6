//! The document: what a person made, as one value.

use super::id::{FrameId, LinkId, NodeId, PortId, ProjectId};
use super::links::Links;
use super::node::{Node, Port, WorkflowName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A project graph with everything it needs to run.
///
/// Maps are ordered by id, so equal documents serialise to equal bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its identity.
    pub id: ProjectId,
    /// Its name, also the default output folder.
    pub name: String,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The links. Their order is the order in which a Merge appends.
    pub links: Links,
    /// Titled rectangles behind nodes.
    pub frames: BTreeMap<FrameId, Frame>,
    /// The ComfyUI files that Workflow nodes name, untouched.
    pub workflows: BTreeMap<WorkflowName, WorkflowFile>,
}

impl Project {
    /// An empty project.
    #[must_use]
    pub fn new(id: ProjectId, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            nodes: BTreeMap::new(),
            links: Links::new(),
            frames: BTreeMap::new(),
            workflows: BTreeMap::new(),
        }
    }

    /// The nodes that lie in a frame: those whose top edge does, however high they are.
    pub fn nodes_in_frame(&self, frame: &Frame) -> impl Iterator<Item = &Node> {
        self.nodes
            .values()
            .filter(|node| frame.holds(node.pos_world, node.width_world))
    }

    /// The frames that lie in a frame whole.
    pub fn frames_in_frame(&self, frame: &Frame) -> impl Iterator<Item = &Frame> {
        self.frames.values().filter(|other| frame.encloses(other))
    }

    /// Links that end at this input, in link order.
    pub fn links_into(&self, end: PortRef) -> impl Iterator<Item = &Link> {
        self.links.into_port(end)
    }

    /// The output port a link leaves or could leave.
    #[must_use]
    pub fn output(&self, end: PortRef) -> Option<&Port> {
        self.nodes.get(&end.node)?.output(end.port)
    }

    /// The input port a link enters or could enter.
    #[must_use]
    pub fn input(&self, end: PortRef) -> Option<&Port> {
        self.nodes.get(&end.node)?.input(end.port)
    }
}

/// The exact text of a ComfyUI workflow file (UI or API form), and what ComfyUI's own page made of it. Shared, never
/// changed in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowFile {
    /// UTF-8 JSON, byte for byte as it was imported.
    pub text: Arc<str>,
    /// The prompt that the page of ComfyUI's editor made of this very text when it was saved from there, as JSON.
    pub page_prompt: Option<Arc<str>>,
}

impl WorkflowFile {
    /// A file that was imported: what it runs as is worked out from its text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            page_prompt: None,
        }
    }

    /// Tells this text from every other one: a prompt of the page belongs to one text only.
    #[must_use]
    pub fn text_hash(&self) -> blake3::Hash {
        blake3::hash(self.text.as_bytes())
    }

    /// The file with the prompt that was kept for a text of this hash; without it when the text is another one by now.
    #[must_use]
    pub fn with_kept_prompt(self, text_hash: blake3::Hash, page_prompt: Arc<str>) -> Self {
        let fits = self.text_hash() == text_hash;
        Self {
            page_prompt: fits.then_some(page_prompt),
            ..self
        }
    }
}

/// One end of a link.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct PortRef {
    /// The node.
    pub node: NodeId,
    /// The port on it.
    pub port: PortId,
}

/// A connection from an output to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its identity; equal to its key in [`Project::links`].
    pub id: LinkId,
    /// The output it leaves.
    pub from: PortRef,
    /// The input it enters.
    pub to: PortRef,
}

/// A titled rectangle behind nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Its identity; equal to its key in [`Project::frames`].
    pub id: FrameId,
    /// The name in its corner.
    pub title: String,
    /// Top left corner in canvas units, y down.
    pub pos_world: [f32; 2],
    /// Width and height in canvas units.
    pub size_world: [f32; 2],
}

impl Frame {
    /// Whether something whose top edge begins there and is so wide lies in the frame.
    #[must_use]
    pub fn holds(&self, pos_world: [f32; 2], width_world: f32) -> bool {
        let ([left, top], [width, height]) = (self.pos_world, self.size_world);
        let [from, at] = pos_world;
        let to = from + width_world;
        from >= left && to <= left + width && (top..=top + height).contains(&at)
    }

    /// Whether another frame lies in this one whole. Of frames that cover the same, none lies in the other.
    #[must_use]
    pub fn encloses(&self, other: &Self) -> bool {
        let within = |axis: usize| {
            let end = |frame: &Self| frame.pos_world[axis] + frame.size_world[axis];
            other.pos_world[axis] >= self.pos_world[axis] && end(other) <= end(self)
        };
        let is_larger = |axis: usize| self.size_world[axis] > other.size_world[axis];
        within(0) && within(1) && (is_larger(0) || is_larger(1))
    }
}
