//! Inputs and outputs that take on the type of what is linked (`COMFY_MATCHTYPE_V3`), as the editor settles them while
//! it loads a file, together with the links it drops on the way.
//!
//! The editor configures nodes in the order of the file. When an output takes on a type, it looks at the inputs its
//! links end at, by their saved positions. Positions saved by another version can point at a neighbour; if that one
//! does not take the type, the editor drops the neighbour's link. What it drops is not part of the prompt, so the same
//! is done here.

use super::super::object_info::{InputKind, NodeSpec};
use super::graph::{Graph, Kind, Origin, id_text};
use super::resolve::connects;
use serde_json::Value;
use std::borrow::Cow;

/// Longest chain of such nodes that is followed.
const MAX_CHAIN: usize = 64;

/// Id of the node that stands for a subgraph's outputs.
const SUBGRAPH_OUTPUTS: &str = "-20";

/// How an input is found from a link.
#[derive(Clone, Copy, PartialEq)]
enum Slots {
    /// By the position in the file, while nodes up to this one are configured.
    Saved { configured: usize },
    /// By the link, once everything is loaded.
    True,
}

/// Settles the types of a graph.
pub(super) fn settle(graph: &mut Graph<'_>) {
    let matching: Vec<usize> = graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| matches!(node.kind, Kind::Class(spec) if has_match_types(spec)))
        .map(|(index, _)| index)
        .collect();
    for index in &matching {
        update(graph, *index, Slots::Saved { configured: *index }, 0);
    }
    for index in &matching {
        update(graph, *index, Slots::True, 0);
    }
}

fn has_match_types(spec: &NodeSpec) -> bool {
    spec.inputs
        .iter()
        .any(|input| matches!(input.kind, InputKind::MatchType { .. }))
}

/// Lets a node's outputs take on the type its inputs have in common, template by template.
fn update(graph: &mut Graph<'_>, index: usize, slots: Slots, chain: usize) {
    let Some(Kind::Class(spec)) = graph.nodes.get(index).map(|node| node.kind) else {
        return;
    };
    if chain > MAX_CHAIN {
        return;
    }
    let mut templates: Vec<&str> = Vec::new();
    for input in &spec.inputs {
        if let InputKind::MatchType { template_id, .. } = &input.kind
            && !templates.contains(&template_id.as_str())
        {
            templates.push(template_id);
        }
    }
    for template in templates {
        update_template(graph, index, spec, template, slots, chain);
    }
}

fn update_template<'a>(
    graph: &mut Graph<'a>,
    index: usize,
    spec: &'a NodeSpec,
    template: &str,
    slots: Slots,
    chain: usize,
) {
    let is_configured = match slots {
        Slots::Saved { configured } => index <= configured,
        Slots::True => true,
    };
    let allowed_of = |name: &str| {
        spec.inputs.iter().find_map(|input| match &input.kind {
            InputKind::MatchType {
                template_id,
                allowed_types,
            } if template_id == template && input.name == name => Some(allowed_types.as_str()),
            _ => None,
        })
    };
    let Some(node) = graph.nodes.get(index) else {
        return;
    };
    // (position of the input, what it may be, what is linked)
    let group: Vec<(usize, &'a str, String)> = node
        .inputs
        .iter()
        .enumerate()
        .filter_map(|(slot, input)| {
            let allowed = allowed_of(&input.name)?;
            let linked = input.link.as_deref().filter(|_| is_configured);
            let type_name = linked.map_or("*", |link| origin_type(graph, link));
            Some((slot, allowed, type_name.to_owned()))
        })
        .collect();
    let mut input_types = Vec::new();
    for (slot, allowed, _) in &group {
        let others = group
            .iter()
            .filter(|(other, _, _)| other != slot)
            .map(|(_, _, type_name)| type_name.as_str());
        let Some(common) = common_type(others.chain([*allowed])) else {
            return;
        };
        input_types.push((*slot, common));
    }
    let Some(common) = common_type(group.iter().map(|(_, _, type_name)| type_name.as_str())) else {
        return;
    };
    if let Some(node) = graph.nodes.get_mut(index) {
        for (slot, type_name) in input_types {
            if let Some(input) = node.inputs.get_mut(slot) {
                input.type_name = Cow::Owned(type_name);
            }
        }
    }
    for (slot, output) in spec.outputs.iter().enumerate() {
        if output.match_template.as_deref() == Some(template) {
            change_output(graph, index, slot, &common, slots, chain);
        }
    }
}

/// The type of what a link comes from.
fn origin_type<'g>(graph: &'g Graph<'_>, link: &str) -> &'g str {
    let Some(link) = graph.link(link) else {
        return "*";
    };
    match &link.origin {
        Origin::Node(origin) => graph
            .node_index(origin)
            .and_then(|origin| graph.nodes.get(origin))
            .and_then(|origin| origin.outputs.get(link.origin_slot))
            .map_or("*", AsRef::as_ref),
        Origin::SubgraphInputs => graph
            .input_types
            .get(link.origin_slot)
            .map_or("*", AsRef::as_ref),
    }
}

fn change_output(
    graph: &mut Graph<'_>,
    index: usize,
    slot: usize,
    type_name: &str,
    slots: Slots,
    chain: usize,
) {
    let Some(node) = graph.nodes.get_mut(index) else {
        return;
    };
    match node.outputs.get_mut(slot) {
        Some(output) if output.as_ref() != type_name => *output = Cow::Owned(type_name.to_owned()),
        _ => return,
    }
    if matches!(slots, Slots::Saved { configured } if index > configured) {
        return;
    }
    let links: Vec<String> = node
        .raw
        .get("outputs")
        .and_then(|outputs| outputs.get(slot))
        .and_then(|output| output.get("links"))
        .and_then(Value::as_array)
        .map(|links| {
            links
                .iter()
                .filter_map(id_text)
                .map(Cow::into_owned)
                .collect()
        })
        .unwrap_or_default();
    for id in links {
        look_at_target(graph, &id, type_name, slots, chain);
    }
}

/// Drops what a link ends at if that does not take the type, and passes the news on.
fn look_at_target(graph: &mut Graph<'_>, id: &str, type_name: &str, slots: Slots, chain: usize) {
    let Some(link) = graph.link(id) else {
        return;
    };
    if link.target == SUBGRAPH_OUTPUTS {
        let target_slot = link.target_slot;
        if let Some(output) = graph.outputs.get_mut(target_slot)
            && !connects(type_name, &output.type_name)
        {
            output.links.clear();
        }
        return;
    }
    let saved_slot = link.target_slot;
    let Some(target) = graph.node_index(&link.target) else {
        return;
    };
    let Some(node) = graph.nodes.get_mut(target) else {
        return;
    };
    let slot = match slots {
        Slots::Saved { .. } => Some(saved_slot),
        Slots::True => node
            .inputs
            .iter()
            .position(|input| input.link.as_deref() == Some(id)),
    };
    let Some(input) = slot.and_then(|slot| node.inputs.get_mut(slot)) else {
        return;
    };
    if !connects(type_name, &input.type_name) {
        // A node that is not configured yet has no links to lose.
        let is_configured = match slots {
            Slots::Saved { configured } => target <= configured,
            Slots::True => true,
        };
        if !is_configured {
            return;
        }
        if let Some(dropped) = input.link.take() {
            graph.links.remove(&dropped);
        }
    }
    update(graph, target, slots, chain + 1);
}

/// The types that all of these comma-separated lists have in common; any where nothing is said.
fn common_type<'t>(types: impl Iterator<Item = &'t str>) -> Option<String> {
    let mut common: Option<Vec<&str>> = None;
    for list in types.filter(|type_name| *type_name != "*") {
        let members: Vec<&str> = list.split(',').collect();
        common = Some(match common {
            None => members,
            Some(common) => common
                .into_iter()
                .filter(|member| members.contains(member))
                .collect(),
        });
    }
    match common {
        None => Some("*".to_owned()),
        Some(common) if common.is_empty() => None,
        Some(common) => Some(common.join(",")),
    }
}
