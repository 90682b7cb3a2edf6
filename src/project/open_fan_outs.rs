//! Which fan-outs are open where, known before anything runs.

use super::document::{PortRef, Project};
use super::id::NodeId;
use super::merge::MergeScope;
use super::node::{BatchMode, Node, NodeKind, Port, PortBinding};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

/// Most fan-outs that may be open on one path.
pub const MAX_OPEN_FAN_OUTS: usize = 64;

/// The fan-outs that are open at each node, by run semantics rules 1-4 and 9. A node that fans out, a `FanOut` or a
/// Workflow node with an output of [`BatchMode::Each`], stands for its fan-out.
#[derive(Debug, Default)]
pub struct OpenFanOuts {
    /// What is open on what comes into a node.
    into_node: HashMap<NodeId, Rc<[NodeId]>>,
    /// What each Merge closes, or why that is not clear.
    merges: BTreeMap<NodeId, Result<Vec<NodeId>, MergeFault>>,
    /// Nodes at which more than [`MAX_OPEN_FAN_OUTS`] come together.
    too_many: BTreeSet<NodeId>,
    /// Nodes that lie on a circle or behind one: nothing can be said about them.
    unordered: BTreeSet<NodeId>,
}

/// Why it is not clear what a Merge closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeFault {
    /// Nothing is open.
    NothingOpen,
    /// Fan-outs are open side by side and none was opened last.
    SideBySide(Vec<NodeId>),
    /// The named fan-out is not open here.
    NotOpen(NodeId),
}

impl OpenFanOuts {
    /// Follows the links from the start of the graph to its end.
    #[must_use]
    pub fn of(project: &Project) -> Self {
        let mut found = Self::default();
        let nothing: Rc<[NodeId]> = Rc::from([]);
        let mut waiting_for: HashMap<NodeId, usize> = HashMap::new();
        for link in project.links.values() {
            if project.nodes.contains_key(&link.from.node) {
                *waiting_for.entry(link.to.node).or_default() += 1;
            }
        }
        let mut ready: VecDeque<NodeId> = project
            .nodes
            .keys()
            .copied()
            .filter(|node_id| !waiting_for.contains_key(node_id))
            .collect();
        let mut at_output: HashMap<PortRef, Rc<[NodeId]>> = HashMap::new();
        let mut done: BTreeSet<NodeId> = BTreeSet::new();
        while let Some(node_id) = ready.pop_front() {
            let Some(node) = project.nodes.get(&node_id) else {
                continue;
            };
            done.insert(node_id);
            let sources = project
                .links
                .into_node(node_id)
                .filter_map(|link| at_output.get(&link.from));
            let (open, too_many) = union(sources, &nothing);
            if too_many {
                found.too_many.insert(node_id);
            }
            let left_open = found.left_open(node, &open, &nothing);
            for port in &node.outputs {
                let open = if opens(node, port) {
                    with(&left_open, node_id)
                } else {
                    left_open.clone()
                };
                let end = PortRef {
                    node: node_id,
                    port: port.id,
                };
                at_output.insert(end, open);
            }
            found.into_node.insert(node_id, open);
            for link in project.links.out_of_node(node_id) {
                if let Some(count) = waiting_for.get_mut(&link.to.node) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push_back(link.to.node);
                    }
                }
            }
        }
        found.unordered = project
            .nodes
            .keys()
            .copied()
            .filter(|node_id| !done.contains(node_id))
            .collect();
        found
    }

    /// The fan-outs that are open on what comes into a node, by id; none for a node on or behind a circle.
    #[must_use]
    pub fn into_node(&self, node_id: NodeId) -> &[NodeId] {
        self.into_node.get(&node_id).map_or(&[], |open| open)
    }

    /// What a Merge that makes a list closes, by id; none for any other node.
    #[must_use]
    pub fn closed_by(&self, merge: NodeId) -> Option<Result<&[NodeId], &MergeFault>> {
        self.merges.get(&merge).map(|closed| closed.as_deref())
    }

    /// Whether more than [`MAX_OPEN_FAN_OUTS`] come together at a node.
    pub(super) fn too_many(&self, node_id: NodeId) -> bool {
        self.too_many.contains(&node_id)
    }

    /// Nodes that lie on a circle or behind one.
    pub(super) fn unordered(&self) -> &BTreeSet<NodeId> {
        &self.unordered
    }

    /// What stays open behind a node, before its outputs open anything.
    fn left_open(
        &mut self,
        node: &Node,
        open: &Rc<[NodeId]>,
        nothing: &Rc<[NodeId]>,
    ) -> Rc<[NodeId]> {
        let NodeKind::Merge(merge) = &node.kind else {
            return open.clone();
        };
        if !merge.mode.makes_list() {
            return open.clone();
        }
        let closed = match merge.closes {
            MergeScope::AllOpen => Ok(open.to_vec()),
            MergeScope::FanOut(fan_out) if open.contains(&fan_out) => Ok(vec![fan_out]),
            MergeScope::FanOut(fan_out) => Err(MergeFault::NotOpen(fan_out)),
            MergeScope::Innermost => self.innermost(open).map(|innermost| vec![innermost]),
        };
        let left = match &closed {
            Ok(closed) => open
                .iter()
                .copied()
                .filter(|fan_out| !closed.contains(fan_out))
                .collect(),
            // One problem here is enough: what follows is judged as if everything had been closed.
            Err(_) => nothing.clone(),
        };
        self.merges.insert(node.id, closed);
        left
    }

    /// The fan-out that was opened inside all others.
    fn innermost(&self, open: &[NodeId]) -> Result<NodeId, MergeFault> {
        if open.is_empty() {
            return Err(MergeFault::NothingOpen);
        }
        open.iter()
            .copied()
            .find(|candidate| {
                let around = self.into_node(*candidate);
                open.iter()
                    .all(|other| other == candidate || around.contains(other))
            })
            .ok_or_else(|| MergeFault::SideBySide(open.to_vec()))
    }
}

/// Whether values leave this output once per index of its node's fan-out.
fn opens(node: &Node, output: &Port) -> bool {
    match (&node.kind, &output.binding) {
        // Its axes, and the incoming value that it hands on once per index.
        (NodeKind::FanOut(_), _) => true,
        (_, PortBinding::WorkflowOutput { batch, .. }) => *batch == BatchMode::Each,
        _ => false,
    }
}

fn with(open: &Rc<[NodeId]>, node_id: NodeId) -> Rc<[NodeId]> {
    let mut all = open.to_vec();
    if let Err(place) = all.binary_search(&node_id) {
        all.insert(place, node_id);
    }
    all.into()
}

/// The union of sorted sets, and whether it was cut off at [`MAX_OPEN_FAN_OUTS`].
fn union<'a>(
    sets: impl Iterator<Item = &'a Rc<[NodeId]>>,
    nothing: &Rc<[NodeId]>,
) -> (Rc<[NodeId]>, bool) {
    let mut all = nothing.clone();
    for set in sets {
        if all.is_empty() || Rc::ptr_eq(&all, set) {
            all = set.clone();
        } else if set
            .iter()
            .any(|fan_out| all.binary_search(fan_out).is_err())
        {
            all = all
                .iter()
                .chain(set.iter())
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
        }
    }
    if all.len() > MAX_OPEN_FAN_OUTS {
        (all.iter().copied().take(MAX_OPEN_FAN_OUTS).collect(), true)
    } else {
        (all, false)
    }
}
