//! Identities of what a run consists of.

use crate::project::NodeId;
use crate::project::id::id_type;
use crate::workflow::ParameterAddress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

id_type!(
    /// One execution of a project graph.
    RunId
);
id_type!(
    /// One execution of one node at one index path. Derived from run, node and path ([`ItemId::derive`]), so that the
    /// pure machine needs no source of ids and a replay gives the same ones.
    ItemId
);
id_type!(
    /// One POST of one item to one backend; its text form is the `prompt_id`. Derived from the item and the attempt's
    /// number ([`AttemptId::derive`]), so that it is known before anything is sent.
    AttemptId
);

/// Which value of which fan-out: one entry per open `FanOut`. A natural-join key (run semantics, rules 1 and 2).
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct IndexPath(pub BTreeMap<NodeId, u32>);

impl ItemId {
    /// The id of the item of `node_id` at `path` in `run_id`.
    #[must_use]
    pub fn derive(run_id: RunId, node_id: NodeId, path: &IndexPath) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(b"item")
            .update(run_id.uuid().as_bytes())
            .update(node_id.uuid().as_bytes());
        for (fan_out, index) in &path.0 {
            hasher
                .update(fan_out.uuid().as_bytes())
                .update(&index.to_be_bytes());
        }
        Self::from_uuid(uuid_of(&hasher))
    }
}

impl ItemId {
    /// A random number for a field of this item: the same whenever it is asked for, and unlike that of any other item or field.
    #[must_use]
    pub fn roll(self, address: &ParameterAddress) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(b"roll")
            .update(self.uuid().as_bytes())
            .update(address.node.node_id.as_bytes())
            .update(&[0])
            .update(address.input.as_bytes());
        let mut bytes = [0_u8; 8];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    }
}

impl AttemptId {
    /// The id of the attempt with this number (from 1) of `item_id`.
    #[must_use]
    pub fn derive(item_id: ItemId, number: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(b"attempt")
            .update(item_id.uuid().as_bytes())
            .update(&number.to_be_bytes());
        Self::from_uuid(uuid_of(&hasher))
    }
}

/// A version 8 (custom) UUID from a hash.
fn uuid_of(hasher: &blake3::Hasher) -> Uuid {
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
