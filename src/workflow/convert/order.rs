//! The order in which the editor puts nodes into a prompt.

use super::graph::{Graph, Graphs, Node, id_text};
use super::resolve::Frames;
use super::slots::slots;
use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

/// Every node of every frame, as (frame, position): the root's in the order in which they would run, what is inside a
/// subgraph in the order of the file and before its instance.
pub(super) fn in_order(graphs: &Graphs<'_>, frames: &Frames) -> Vec<(usize, usize)> {
    let Some(root) = graphs.graph(0) else {
        return Vec::new();
    };
    let mut open: Vec<(usize, usize, Visit)> = execution_order(root)
        .into_iter()
        .rev()
        .map(|position| (0, position, Visit::Inside))
        .collect();
    let mut ordered = Vec::new();
    while let Some((frame, position, visit)) = open.pop() {
        let inside = match visit {
            Visit::Inside => frames.inside_of(frame, position),
            Visit::Itself => None,
        };
        let Some((inside, graph)) = inside.and_then(|inside| {
            let graph = graphs.graph(frames.graph_of(inside)?)?;
            Some((inside, graph))
        }) else {
            ordered.push((frame, position));
            continue;
        };
        open.push((frame, position, Visit::Itself));
        let nodes = (0..graph.nodes.len()).rev();
        open.extend(nodes.map(|position| (inside, position, Visit::Inside)));
    }
    ordered
}

/// Whether a node's inside comes before it still.
#[derive(Clone, Copy)]
enum Visit {
    Inside,
    Itself,
}

/// Positions of a graph's nodes in the order of the editor's `computeExecutionOrder`: first what no link enters, then what
/// has all its links, link by link as the outputs list them; what goes round in circles comes last, by id.
fn execution_order(graph: &Graph<'_>) -> Vec<usize> {
    let mut links_left: Vec<usize> = graph
        .nodes
        .iter()
        .map(|node| {
            node.inputs
                .iter()
                .filter(|input| input.link.is_some())
                .count()
        })
        .collect();
    let mut ready: VecDeque<usize> = links_left
        .iter()
        .enumerate()
        .filter(|(_, left)| **left == 0)
        .map(|(position, _)| position)
        .collect();
    let mut is_ordered = vec![false; graph.nodes.len()];
    let mut seen_links: HashSet<&str> = HashSet::new();
    let mut ordered = Vec::with_capacity(graph.nodes.len());
    while let Some(position) = ready.pop_front() {
        if let Some(is_ordered) = is_ordered.get_mut(position) {
            *is_ordered = true;
        }
        ordered.push(position);
        let Some(node) = graph.nodes.get(position) else {
            continue;
        };
        for link_id in outgoing(node) {
            let Some((link_id, link)) = graph.links.get_key_value(&link_id) else {
                continue;
            };
            if !seen_links.insert(link_id) {
                continue;
            }
            let Some(target) = graph.node_index(&link.target) else {
                continue;
            };
            if let Some(left) = links_left.get_mut(target) {
                // A link that no input knows of counts as well: below zero a node is not ready again.
                match left.checked_sub(1) {
                    Some(0) => {
                        *left = 0;
                        ready.push_back(target);
                    }
                    Some(fewer) => *left = fewer,
                    None => {}
                }
            }
        }
    }
    let mut rest: Vec<usize> = (0..graph.nodes.len())
        .filter(|position| is_ordered.get(*position) == Some(&false))
        .collect();
    rest.sort_by_key(|position| {
        graph
            .nodes
            .get(*position)
            .map(|node| property_order(&node.id))
    });
    ordered.extend(rest);
    ordered
}

/// What JavaScript orders the members of an object by: whole numbers first and by size, everything else as it came.
pub(super) fn property_order(name: &str) -> (bool, u32) {
    let number = name
        .parse::<u32>()
        .ok()
        .filter(|number| *number != u32::MAX && number.to_string() == name);
    (number.is_none(), number.unwrap_or(0))
}

/// The links that leave a node, as its outputs list them.
fn outgoing<'a>(node: &Node<'a>) -> impl Iterator<Item = Cow<'a, str>> {
    let outputs = slots(node.raw, "outputs").iter();
    outputs.flat_map(|output| slots(output, "links").iter().filter_map(id_text))
}
