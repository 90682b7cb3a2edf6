//! The plan of a run: a validated project, compiled so that the machine needs no look-ups in the document.
//!
//! Nodes, fan-outs, inputs and outputs get small numbers in topological order. Every stream of values (what leaves one
//! output, what enters one input) has a fixed list of open fan-outs, so an index path inside the machine is a plain
//! array of indexes, one per open fan-out of its stream, and joins know their key positions beforehand.

mod compile;
mod fan_values;
mod identity;
mod links;
mod open;

pub use identity::effort_hash;

use crate::artifacts::ContentHash;
use crate::project::{BatchMode, MergeMode, Node, NodeId, NodeKind, PortBinding, Project};
use std::sync::Arc;

/// Items one run may have. A run that would make more is refused before it begins, or stopped where batches of unknown
/// size open the fan-out.
pub const MAX_ITEMS_PER_RUN: u64 = 1_000_000;

/// A validated project with its execution order. Shared by everything that works on the run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The project as it was when the run started.
    pub project: Arc<Project>,
    /// The nodes in topological order.
    pub(crate) nodes: Vec<PlanNode>,
    /// The fan-outs in topological order of their nodes.
    pub(crate) fan_outs: Vec<PlanFanOut>,
}

/// Why a project cannot become a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProblem {
    /// The node it is about, where there is one.
    pub node_id: Option<NodeId>,
    /// One sentence for a person.
    pub message: String,
}

impl PlanProblem {
    fn at(node: &Node, message: String) -> Self {
        Self {
            node_id: Some(node.id),
            message,
        }
    }
}

/// Number of a node in [`Plan::nodes`].
pub(crate) type NodeIndex = usize;
/// Number of a fan-out in [`Plan::fan_outs`].
pub(crate) type FanIndex = usize;

/// A node with its wiring.
#[derive(Clone, Debug)]
pub(crate) struct PlanNode {
    /// The node of the document.
    pub node: Node,
    /// Longest way from a node without inputs, for depth-first order.
    pub depth: u32,
    /// Linked inputs, one per link, in port and link order.
    pub inputs: Vec<PlanInput>,
    /// How input `i + 1` joins what inputs `0..=i` gave; one fewer than inputs.
    pub stages: Vec<JoinStage>,
    /// All outputs, in port order.
    pub outputs: Vec<PlanOutput>,
    /// Fan-outs open on the paths of its items, ascending.
    pub open: Vec<FanIndex>,
    /// The fan-out the node itself opens.
    pub opens: Option<FanIndex>,
    /// Whether the end of the run is judged by its items (an Output node, or a leaf when there is no Output node).
    pub is_goal: bool,
    /// The Merges (first n, cancel the rest) that alone need what it makes.
    pub serves: Vec<Serves>,
    /// The nodes that feed it, ascending, without repetition.
    pub sources: Vec<NodeIndex>,
    /// The nodes it feeds, ascending, without repetition.
    pub dependents: Vec<NodeIndex>,
    /// For Workflow nodes: the hash of the workflow's text and the node's own parameters, under which is known what a backend
    /// cannot run.
    pub workflow_hash: Option<ContentHash>,
    /// The same without what changes from run to run and says nothing of the effort (prompts, seeds), under which run times,
    /// memory and failures are learned.
    pub effort_hash: Option<ContentHash>,
    /// For Workflow nodes: the model files that the workflow and the node's own parameters name, sorted.
    pub models: Vec<String>,
}

/// A Merge that is the only one to need what a node makes.
#[derive(Clone, Debug)]
pub(crate) struct Serves {
    /// The Merge.
    pub merge: NodeIndex,
    /// Positions, in a path of the node, of the fan-outs that stay open behind the Merge.
    pub key: Vec<usize>,
}

/// One link into a node.
#[derive(Clone, Debug)]
pub(crate) struct PlanInput {
    /// Position of the port in the node's inputs.
    pub port: usize,
    /// Where the values come from.
    pub source: NodeIndex,
    /// Fan-outs open on the paths that take part in the join.
    pub open: Vec<FanIndex>,
    /// For a Merge that makes a list: how values are gathered before they take part in the join.
    pub collector: Option<PlanCollector>,
}

/// How a Merge gathers what one link brings.
#[derive(Clone, Debug)]
pub(crate) struct PlanCollector {
    /// Fan-outs open on the source paths.
    pub source_open: Vec<FanIndex>,
    /// Positions of the remaining fan-outs in a source path.
    pub kept: Vec<usize>,
    /// When a group is complete.
    pub complete: Completeness,
}

/// When everything that belongs to one group of a Merge has arrived.
#[derive(Clone, Debug)]
pub(crate) enum Completeness {
    /// Nothing is closed on this link: a group is one value.
    OneValue,
    /// When as many have arrived as the closed fan-out has values there.
    Extent {
        /// The closed fan-out.
        fan_out: FanIndex,
        /// Positions of the fan-outs enclosing it in a group path.
        key: Vec<usize>,
        /// Whether the group path is exactly that key, so that an empty fan-out names its group.
        key_is_group: bool,
    },
    /// When the source node can make nothing more.
    WholeSource,
}

/// One output port.
#[derive(Clone, Debug)]
pub(crate) struct PlanOutput {
    /// Whether each value leaves with an index of the node's own fan-out.
    pub is_fanned: bool,
    /// Node and input number of everything that takes from it, in link order.
    pub consumers: Vec<(NodeIndex, usize)>,
}

/// One fan-out: a `FanOut` node, or a Workflow node with a port whose images are items of their own.
#[derive(Clone, Debug)]
pub(crate) struct PlanFanOut {
    /// The node that opens it.
    pub node: NodeIndex,
    /// Its identity in index paths.
    pub node_id: NodeId,
    /// Fan-outs open where it is opened, ascending.
    pub enclosing: Vec<FanIndex>,
    /// How many values it has per incoming item, where the plan knows: not for files, split lists and batches.
    pub count: Option<u32>,
    /// The Merge inputs (node, input) that count its values.
    pub watchers: Vec<(NodeIndex, usize)>,
}

/// A natural join of what came so far (left) with one more input (right).
#[derive(Clone, Debug)]
pub(crate) struct JoinStage {
    /// Positions of the shared fan-outs in a left path.
    pub left_key: Vec<usize>,
    /// Positions of the shared fan-outs in a right path.
    pub right_key: Vec<usize>,
    /// Where each position of the joined path comes from.
    pub union: Vec<JoinSide>,
}

/// Where a position of a joined path comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum JoinSide {
    /// This position of the left path.
    Left(usize),
    /// This position of the right path.
    Right(usize),
}

impl Plan {
    /// Compiles a validated project: order, wiring, what every Merge closes, and the limit of items.
    ///
    /// # Errors
    /// Every problem found: cycles, links that lead nowhere, a Merge whose fan-out is not clear, too many items.
    pub fn compile(project: Arc<Project>) -> Result<Self, Vec<PlanProblem>> {
        compile::compile(project)
    }

    /// For a Workflow node: the hash under which [`super::machine::BackendFacts::unable`] names what it runs.
    #[must_use]
    pub fn workflow_hash(&self, node_id: NodeId) -> Option<ContentHash> {
        self.nodes
            .iter()
            .find(|planned| planned.node.id == node_id)?
            .workflow_hash
    }

    /// The ids of the nodes in an order in which every node comes after the nodes that feed it.
    pub fn node_order(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().map(|node| node.node.id)
    }
}

impl PlanNode {
    /// For a Merge (first n): how many values it waits for.
    pub fn first_count(&self) -> Option<u32> {
        match &self.node.kind {
            NodeKind::Merge(merge) => match merge.mode {
                MergeMode::First { count, .. } => Some(count),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it is a Merge that joins the sides of a Condition.
    pub fn is_merge_either(&self) -> bool {
        matches!(&self.node.kind, NodeKind::Merge(merge) if merge.mode == MergeMode::Either)
    }

    /// Position of the first output with this binding.
    pub fn output_bound(&self, binding: &PortBinding) -> Option<usize> {
        self.node
            .outputs
            .iter()
            .position(|port| port.binding == *binding)
    }
}

/// Whether an output port turns each of its images into an item of its own.
fn is_each(binding: &PortBinding) -> bool {
    matches!(
        binding,
        PortBinding::WorkflowOutput {
            batch: BatchMode::Each,
            ..
        }
    )
}
