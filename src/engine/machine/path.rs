//! Index paths inside the machine: plain arrays, one index per open fan-out of their stream.

use crate::engine::id::IndexPath;
use crate::engine::plan::{FanIndex, JoinSide, JoinStage, Plan};

/// One index per open fan-out of the stream, in the order of the stream's list of open fan-outs.
pub(super) type Path = Box<[u32]>;

/// In place of an index: the fan-out opened nothing here, because its own item was skipped or blocked. What follows has
/// one item without that index, so that it can say why it does not run.
pub(super) const NO_INDEX: u32 = u32::MAX;

/// The members at these positions.
pub(super) fn project(path: &[u32], positions: &[usize]) -> Path {
    positions
        .iter()
        .filter_map(|position| path.get(*position).copied())
        .collect()
}

/// The joined path of a left and a right one that agree on what they share.
pub(super) fn join(stage: &JoinStage, left: &[u32], right: &[u32]) -> Path {
    stage
        .union
        .iter()
        .filter_map(|side| match side {
            JoinSide::Left(position) => left.get(*position).copied(),
            JoinSide::Right(position) => right.get(*position).copied(),
        })
        .collect()
}

/// The path with one more index.
pub(super) fn extended(path: &[u32], index: u32) -> Path {
    let mut longer = Vec::with_capacity(path.len() + 1);
    longer.extend_from_slice(path);
    longer.push(index);
    longer.into_boxed_slice()
}

/// The path as everybody else knows it.
pub(super) fn index_path(plan: &Plan, open: &[FanIndex], path: &[u32]) -> IndexPath {
    IndexPath(
        open.iter()
            .zip(path)
            .filter(|(_, index)| **index != NO_INDEX)
            .map(|(fan_out, index)| (plan.fan_outs[*fan_out].node_id, *index))
            .collect(),
    )
}
