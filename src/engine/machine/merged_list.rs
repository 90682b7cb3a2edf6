//! The list that a Merge makes of what it gathered: its elements in order, what it means that some are missing, and what of it goes
//! into the log.

use super::flow::{End, done, local_failure};
use super::item::ItemIndex;
use super::path::{self, NO_INDEX};
use super::run::Run;
use super::token::{Content, Hole, HoleKind, TokenIndex};
use crate::engine::event::LONGEST_RECORDED_LIST;
use crate::engine::plan::FanIndex;
use crate::engine::value::{ListElement, Value};
use crate::project::{MergeFailurePolicy, MergeMode, NodeKind, PortBinding, PortId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a Merge item was given, in order.
pub(super) struct Gathered {
    pub elements: Arc<[ListElement]>,
    /// What a person gave each of them in a Review before.
    pub ratings: Vec<Option<u8>>,
    /// How many could not be made, and the reason of the first.
    pub bad: usize,
    pub first_bad: Option<Arc<str>>,
}

/// The members of an item's groups by index, several links in link order within each index.
pub(super) fn gathered(run: &Run, index: ItemIndex) -> Gathered {
    let item = &run.items[index as usize];
    let planned = &run.plan.nodes[item.node];
    let mut closed: Vec<FanIndex> = planned
        .inputs
        .iter()
        .filter_map(|input| input.collector.as_ref())
        .flat_map(|collector| collector.source_open.iter().copied())
        .filter(|fan_out| !planned.open.contains(fan_out))
        .collect();
    closed.sort_unstable();
    closed.dedup();
    // Place in the list: index in each closed fan-out (what has none comes first: its link is outside that fan-out, or the
    // fan-out opened nothing there), then the link.
    let mut members: Vec<(Vec<Option<u32>>, usize, TokenIndex)> = Vec::new();
    for (input, planned_input) in planned.inputs.iter().enumerate() {
        let (Some(collector), Some(state), Some(token)) = (
            planned_input.collector.as_ref(),
            run.nodes[item.node].collectors[input].as_ref(),
            item.inputs.get(input),
        ) else {
            continue;
        };
        let Some(group) = state.groups.get(&run.tokens[*token as usize].path) else {
            continue;
        };
        let places: Vec<Option<usize>> = closed
            .iter()
            .map(|fan_out| collector.source_open.iter().position(|one| one == fan_out))
            .collect();
        let taken = group.chosen.as_ref().unwrap_or(&group.members);
        members.extend(taken.iter().map(|member| {
            let path = &run.tokens[*member as usize].path;
            let place = places
                .iter()
                .map(|place| {
                    place
                        .and_then(|at| path.get(at).copied())
                        .filter(|at| *at != NO_INDEX)
                })
                .collect();
            (place, input, *member)
        }));
    }
    members.sort();
    let mut elements = Vec::with_capacity(members.len());
    let mut ratings = Vec::with_capacity(members.len());
    let mut bad = 0;
    let mut first_bad = None;
    for (_, input, member) in members {
        let token = &run.tokens[member as usize];
        match &token.content {
            Content::Value(value) => {
                let open = planned.inputs[input]
                    .collector
                    .as_ref()
                    .map_or(&[][..], |collector| &collector.source_open);
                elements.push(ListElement {
                    value: value.clone(),
                    path: path::index_path(&run.plan, open, &token.path),
                    labels: run.true_labels_at(member, open, &token.path),
                });
                ratings.push(token.producer.and_then(|producer| run.rating_of(producer)));
            }
            Content::Hole(hole) if hole.kind == HoleKind::Blocked => {
                bad += 1;
                first_bad.get_or_insert_with(|| hole.reason.clone());
            }
            _ => {}
        }
    }
    if let Some(count) = planned.first_count() {
        elements.truncate(count as usize);
        ratings.truncate(count as usize);
    }
    Gathered {
        elements: elements.into(),
        ratings,
        bad,
        first_bad,
    }
}

/// Decides what becomes of a Merge item whose groups are complete.
pub(super) fn evaluate(run: &mut Run, index: ItemIndex) {
    let plan = run.plan.clone();
    let planned = &plan.nodes[run.items[index as usize].node];
    let NodeKind::Merge(merge) = &planned.node.kind else {
        return;
    };
    let gathered = gathered(run, index);
    let has_enough = planned
        .first_count()
        .is_some_and(|count| gathered.elements.len() >= count as usize);
    let first_bad = gathered.first_bad.unwrap_or_else(|| "".into());
    let end = match merge.on_failed {
        MergeFailurePolicy::RequireAll if gathered.bad > 0 && !has_enough => End::Hole(Hole {
            kind: HoleKind::Blocked,
            reason: format!("it needs every value, but {first_bad}").into(),
        }),
        MergeFailurePolicy::Ignore if gathered.bad > 0 && gathered.elements.is_empty() => {
            End::Failed(local_failure(format!(
                "nothing is left to merge: {} could not be made; the first because {first_bad}",
                gathered.bad
            )))
        }
        _ => {
            let draws = draws_sheet(run, index) && !gathered.elements.is_empty();
            let ranks = match &merge.mode {
                MergeMode::Best { keep, .. } => gathered.elements.len() > *keep as usize,
                _ => false,
            };
            if draws || ranks {
                run.make_ready(index);
                return;
            }
            done(list_outputs(run, index, gathered.elements))
        }
    };
    run.end_item(index, end);
}

/// Whether something takes the contact sheet of a Merge item.
pub(super) fn draws_sheet(run: &Run, index: ItemIndex) -> bool {
    let planned = &run.plan.nodes[run.items[index as usize].node];
    planned
        .output_bound(&PortBinding::ContactSheet)
        .is_some_and(|output| !planned.outputs[output].consumers.is_empty())
}

/// What of an item's outputs goes into the log: all that does not follow from its inputs again. A long list that came in,
/// or that a Merge made, would repeat everything its members said.
pub(super) fn worth_recording(
    run: &Run,
    index: ItemIndex,
    outputs: &BTreeMap<PortId, Value>,
) -> BTreeMap<PortId, Value> {
    let is_long =
        |value: &Value| matches!(value, Value::List(list) if list.len() > LONGEST_RECORDED_LIST);
    if !outputs.values().any(is_long) {
        return outputs.clone();
    }
    match &run.plan.nodes[run.items[index as usize].node].node.kind {
        NodeKind::Merge(merge) if !matches!(merge.mode, MergeMode::Best { .. }) => outputs
            .iter()
            .filter(|(_, value)| !is_long(value))
            .map(|(port_id, value)| (*port_id, value.clone()))
            .collect(),
        NodeKind::Condition(_) | NodeKind::Review(_) => outputs
            .iter()
            .map(|(port_id, value)| {
                let value = if is_long(value) {
                    Value::Trigger
                } else {
                    value.clone()
                };
                (*port_id, value)
            })
            .collect(),
        _ => outputs.clone(),
    }
}

/// The inverse of [`worth_recording`], when a log is replayed.
pub(super) fn completed(
    run: &Run,
    index: ItemIndex,
    mut outputs: BTreeMap<PortId, Value>,
) -> BTreeMap<PortId, Value> {
    let node = &run.plan.nodes[run.items[index as usize].node].node;
    match &node.kind {
        NodeKind::Merge(merge)
            if merge.mode.makes_list() && !matches!(merge.mode, MergeMode::Best { .. }) =>
        {
            let is_missing = node
                .outputs
                .iter()
                .any(|port| port.binding == PortBinding::List && !outputs.contains_key(&port.id));
            if is_missing {
                let elements = gathered(run, index).elements;
                outputs.extend(list_outputs(run, index, elements));
            }
        }
        NodeKind::Condition(_) | NodeKind::Review(_) => {
            if let Some(value) = run.input_value(index, 0) {
                for output in outputs.values_mut() {
                    if *output == Value::Trigger {
                        *output = value.clone();
                    }
                }
            }
        }
        _ => {}
    }
    outputs
}

/// The list at every port that gives the list.
pub(super) fn list_outputs(
    run: &Run,
    index: ItemIndex,
    elements: Arc<[ListElement]>,
) -> BTreeMap<PortId, Value> {
    run.plan.nodes[run.items[index as usize].node]
        .node
        .outputs
        .iter()
        .filter(|port| port.binding != PortBinding::ContactSheet)
        .map(|port| (port.id, Value::List(elements.clone())))
        .collect()
}
