//! What travels on links while a run goes on.

use super::id::IndexPath;
use crate::artifacts::Artifact;
use crate::project::{DataType, Literal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Axis name → value as shown. Travels with values through every node (run semantics, rule 13).
pub type Labels = BTreeMap<String, String>;

/// A value on a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// No content, only "it happened".
    Trigger,
    /// Text, a number, a truth value or JSON.
    Literal(Literal),
    /// One file.
    Artifact(Arc<Artifact>),
    /// An ordered batch of files from one output of one item.
    Batch(Arc<[Arc<Artifact>]>),
    /// What a Merge made: an ordered list.
    List(Arc<[ListElement]>),
}

/// One element of a merged list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListElement {
    /// The value.
    pub value: Value,
    /// The path it had before the merge.
    pub path: IndexPath,
    /// Its labels, kept per element.
    pub labels: Labels,
}

impl Value {
    /// A list of values that came through no fan-out.
    #[must_use]
    pub fn list_of(values: Vec<Value>) -> Self {
        let element = |value| ListElement {
            value,
            path: IndexPath::default(),
            labels: Labels::default(),
        };
        Self::List(values.into_iter().map(element).collect())
    }

    /// The type of the value, as ports name it; a list has the type of its first element.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Trigger => DataType::Trigger,
            Self::Literal(literal) => literal.data_type(),
            Self::Artifact(artifact) => artifact.data_type,
            Self::Batch(batch) => batch
                .first()
                .map_or(DataType::Any, |artifact| artifact.data_type),
            Self::List(list) => list
                .first()
                .map_or(DataType::Any, |element| element.value.data_type()),
        }
    }

    /// Every artifact inside, in order.
    #[must_use]
    pub fn artifacts(&self) -> Vec<Arc<Artifact>> {
        match self {
            Self::Trigger | Self::Literal(_) => Vec::new(),
            Self::Artifact(artifact) => vec![artifact.clone()],
            Self::Batch(batch) => batch.to_vec(),
            Self::List(list) => list
                .iter()
                .flat_map(|element| element.value.artifacts())
                .collect(),
        }
    }
}
