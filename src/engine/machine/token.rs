//! What lies on the links of a run: values, and the reasons why there are none.

use super::item::ItemIndex;
use super::path::Path;
use crate::engine::value::Value;
use std::sync::Arc;

/// Number of a token in [`super::run::Run::tokens`].
pub(super) type TokenIndex = u32;

/// What one item of a fan-out opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// This many values.
    Values(u32),
    /// Nothing, for a reason: one token without index says which.
    Hole,
    /// Its item is no longer part of the run.
    Gone,
}

/// One value (or its absence) on what leaves one output of one item.
#[derive(Debug)]
pub(super) struct Token {
    pub path: Path,
    /// The item it came from; none for a Merge's group.
    pub producer: Option<ItemIndex>,
    /// The number of the output it left by; 0 for a Merge's group.
    pub output: u32,
    pub content: Content,
}

/// What a token brings.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// It is being made again.
    Pending,
    Value(Value),
    /// All that a Merge gathered; the group knows what.
    Group,
    /// There is and will be no value.
    Hole(Hole),
}

/// Why there is no value.
#[derive(Clone, Debug)]
pub(super) struct Hole {
    pub kind: HoleKind,
    pub reason: Arc<str>,
}

/// The kind of an absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoleKind {
    Skipped,
    Blocked,
    /// A repeated fan-out gave other indexes: this path is no longer part of the run.
    Gone,
}
