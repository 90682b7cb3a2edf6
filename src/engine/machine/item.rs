//! One item of a run, and what went wrong with it so far.

use super::path::Path;
use super::token::TokenIndex;
use crate::engine::event::ItemState;
use crate::engine::failure::Failure;
use crate::engine::id::{AttemptId, ItemId};
use crate::engine::plan::NodeIndex;
use crate::project::BackendId;

/// Number of an item in [`super::run::Run::items`], in order of creation: after everything it takes from.
pub(super) type ItemIndex = u32;

/// One execution of one node at one path.
#[derive(Debug)]
#[allow(
    clippy::struct_field_names,
    reason = "ids are named in full everywhere"
)]
pub(super) struct Item {
    pub item_id: ItemId,
    pub node: NodeIndex,
    /// Position among the items of its node, in order of creation.
    pub ordinal: u32,
    pub path: Path,
    /// One token per input of the node.
    pub inputs: Box<[TokenIndex]>,
    /// What it gave: output number and token.
    pub given: Vec<(u32, TokenIndex)>,
    pub state: ItemState,
    /// Inputs that are being made again.
    pub missing: u32,
    /// A person cancelled it while it waited for them: it ends as soon as they are there, and not before, because what it
    /// is made from may come to have other paths.
    pub is_cancel_wished: bool,
    /// Higher goes first among the Ready ones.
    pub priority: i32,
    /// Attempts so far.
    pub attempts: u32,
    /// The cache has no earlier result.
    pub is_looked_up: bool,
    /// The attempt that is at a backend.
    pub live_attempt: Option<AttemptId>,
    /// What went wrong so far.
    pub trouble: Option<Box<Trouble>>,
}

/// What went wrong with an item so far; decides whether and where it is tried again.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// Failures that count against the policy's attempts.
    pub counted: u32,
    /// Failures on the way to and from backends.
    pub on_the_way: u32,
    /// Times its backend went away while it executed the item: perhaps because of it.
    pub deaths: u32,
    /// Backends on which the workflow raised an error, or ran out of memory twice.
    pub failed_on: Vec<BackendId>,
    /// Backends on which memory ran out once.
    pub out_of_memory_on: Vec<BackendId>,
    /// Backends without a model that the item names itself, each with its words.
    pub lacking: Vec<(BackendId, String)>,
    /// Bytes of memory that were too few.
    pub too_few_bytes: u64,
    /// Backends to leave alone until a Unix time in milliseconds.
    pub avoid: Vec<(BackendId, u64)>,
    /// Not to be tried before this Unix time in milliseconds.
    pub not_before_ms: u64,
    /// The next attempt must not be answered from the backend's cache.
    pub bypass_cache: bool,
    /// The backend that it is to run on and no other.
    pub bound: Option<Bound>,
    /// The last failure.
    pub last: Option<Failure>,
}

/// Why an item is to run on a certain backend and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// A person chose it.
    Chosen(BackendId),
    /// It ran out of memory there and is tried there once more before anything else is.
    OnceMore(BackendId),
}

impl Item {
    /// The backend that the item is to run on and no other.
    pub fn only_on(&self) -> Option<BackendId> {
        match self.trouble.as_ref()?.bound? {
            Bound::Chosen(backend_id) | Bound::OnceMore(backend_id) => Some(backend_id),
        }
    }
}
