//! What the links of a project say: whether they are whole, and in which order its nodes come.

use super::PlanProblem;
use crate::project::{Node, NodeId, NodeKind, Project};
use std::collections::{BTreeMap, BTreeSet};

/// Both ends of every link exist, and no input but a Merge's takes more than one.
pub(super) fn check_links(project: &Project) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    let mut taken = BTreeSet::new();
    for link in project.links.values() {
        let from = project.nodes.get(&link.from.node);
        let to = project.nodes.get(&link.to.node);
        let ends_exist = from.is_some_and(|node| node.output(link.from.port).is_some())
            && to.is_some_and(|node| node.input(link.to.port).is_some());
        match to {
            Some(to) if ends_exist => {
                let takes_many = matches!(to.kind, NodeKind::Merge(_));
                if !taken.insert(link.to) && !takes_many {
                    let port = to.input(link.to.port).map_or("", |port| port.name.as_str());
                    problems.push(PlanProblem::at(
                        to,
                        format!(
                            "input \"{port}\" of \"{}\" has more than one link; remove all but one",
                            to.title
                        ),
                    ));
                }
            }
            _ => problems.push(PlanProblem {
                node_id: to.or(from).map(|node| node.id),
                message: format!("link {} leads to a port that does not exist", link.id),
            }),
        }
    }
    problems
}

/// Every node after those that feed it; ties by id, which is by age.
pub(super) fn topological_order(project: &Project) -> Result<Vec<NodeId>, PlanProblem> {
    let edges: BTreeSet<(NodeId, NodeId)> = project
        .links
        .values()
        .map(|link| (link.from.node, link.to.node))
        .collect();
    let mut waits_for: BTreeMap<NodeId, usize> =
        project.nodes.keys().map(|node_id| (*node_id, 0)).collect();
    let mut feeds: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for (from, to) in edges {
        if let Some(count) = waits_for.get_mut(&to) {
            *count += 1;
        }
        feeds.entry(from).or_default().push(to);
    }
    let mut free: BTreeSet<NodeId> = waits_for
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(node_id, _)| *node_id)
        .collect();
    let mut order = Vec::with_capacity(project.nodes.len());
    while let Some(node_id) = free.pop_first() {
        order.push(node_id);
        for next in feeds.get(&node_id).into_iter().flatten() {
            if let Some(count) = waits_for.get_mut(next) {
                *count -= 1;
                if *count == 0 {
                    free.insert(*next);
                }
            }
        }
    }
    if order.len() == project.nodes.len() {
        return Ok(order);
    }
    let ordered: BTreeSet<NodeId> = order.into_iter().collect();
    let circle: Vec<&Node> = project
        .nodes
        .values()
        .filter(|node| !ordered.contains(&node.id))
        .collect();
    let titles: Vec<&str> = circle.iter().map(|node| node.title.as_str()).collect();
    Err(PlanProblem {
        node_id: circle.first().map(|node| node.id),
        message: format!(
            "the graph runs in a circle through or before {}; remove a link",
            titles.join(", ")
        ),
    })
}
