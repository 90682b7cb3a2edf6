//! Which Workflow node made what a node looks at.

use super::{Node, NodeId, NodeKind, Project, WorkflowNode};

/// What a node's value was made by.
#[derive(Clone, Copy, Debug)]
pub enum Maker<'p> {
    /// A Workflow node: an item of it made the value.
    Workflow(&'p Node, &'p WorkflowNode),
    /// A Merge: several items made the elements of its list, and none of them is meant more than the others.
    List(&'p Node),
    /// No workflow comes before it.
    Nobody,
}

impl Maker<'_> {
    /// Why it cannot be made again by way of the node that looks at it; none when it can.
    #[must_use]
    pub fn refusal(self) -> Option<String> {
        match self {
            Self::Workflow(..) => None,
            Self::List(merge) => Some(format!(
                "what waits is a list that \"{}\" made of several items, and none of them is named; make some of them again, each by itself, and the list follows",
                merge.title
            )),
            Self::Nobody => Some(
                "no workflow comes before the review, so there is nothing to make again".to_owned(),
            ),
        }
    }
}

impl Project {
    /// What made the value that a node looks at: the nearest Workflow before it.
    #[must_use]
    pub fn maker_of(&self, node_id: NodeId) -> Maker<'_> {
        let mut at = node_id;
        // A project has no cycles, so this ends.
        while let Some(link) = self.links.into_node(at).next() {
            at = link.from.node;
            let Some(node) = self.nodes.get(&at) else {
                return Maker::Nobody;
            };
            match &node.kind {
                NodeKind::Workflow(workflow) => return Maker::Workflow(node, workflow),
                NodeKind::Merge(merge) if merge.mode.makes_list() => return Maker::List(node),
                _ => {}
            }
        }
        Maker::Nobody
    }
}
