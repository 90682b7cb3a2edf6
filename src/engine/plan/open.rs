//! Lists of the fan-outs that are open somewhere, ascending, and how inputs join by what is open on them.

use super::{FanIndex, JoinSide, JoinStage, PlanInput};
use std::collections::BTreeSet;

/// Every fan-out of several lists, ascending.
pub(super) fn union_of(lists: &[Vec<FanIndex>]) -> Vec<FanIndex> {
    let all: BTreeSet<FanIndex> = lists.iter().flatten().copied().collect();
    all.into_iter().collect()
}

/// The members of a list that are not taken, in their order.
pub(super) fn without(list: &[FanIndex], taken: &[FanIndex]) -> Vec<FanIndex> {
    list.iter()
        .copied()
        .filter(|one| !taken.contains(one))
        .collect()
}

/// Positions in `list` of those of its members that are in `wanted`.
pub(super) fn positions(list: &[FanIndex], wanted: &[FanIndex]) -> Vec<usize> {
    list.iter()
        .enumerate()
        .filter(|(_, one)| wanted.contains(one))
        .map(|(position, _)| position)
        .collect()
}

/// How the inputs join one after the other, and the fan-outs open on the result.
pub(super) fn join_stages(inputs: &[PlanInput]) -> (Vec<JoinStage>, Vec<FanIndex>) {
    let mut open = inputs
        .first()
        .map(|input| input.open.clone())
        .unwrap_or_default();
    let mut stages = Vec::new();
    for input in inputs.iter().skip(1) {
        let joined = union_of(&[open.clone(), input.open.clone()]);
        let union = joined
            .iter()
            .filter_map(|fan_out| {
                let left = open.iter().position(|one| one == fan_out);
                let right = input.open.iter().position(|one| one == fan_out);
                left.map(JoinSide::Left).or(right.map(JoinSide::Right))
            })
            .collect();
        stages.push(JoinStage {
            left_key: positions(&open, &input.open),
            right_key: positions(&input.open, &open),
            union,
        });
        open = joined;
    }
    (stages, open)
}
