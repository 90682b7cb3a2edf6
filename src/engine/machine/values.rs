//! Taking values apart and putting them together.

use super::brought::Brought;
use crate::artifacts::Artifact;
use crate::engine::value::Value;
use crate::project::BackendId;

/// Several values of one port as one: a batch when all are files, else a list; none when there are none.
pub(super) fn collapsed(mut values: Vec<Value>) -> Option<Value> {
    if values.len() <= 1 {
        return values.pop();
    }
    let files: Option<Vec<_>> = values
        .iter()
        .map(|value| match value {
            Value::Artifact(artifact) => Some(artifact.clone()),
            _ => None,
        })
        .collect();
    Some(match files {
        Some(files) => Value::Batch(files.into()),
        None => Value::list_of(values),
    })
}

/// The inverse of [`collapsed`].
pub(super) fn expanded(value: &Value) -> Vec<Value> {
    match value {
        Value::Batch(batch) => batch.iter().cloned().map(Value::Artifact).collect(),
        Value::List(list) => list.iter().map(|element| element.value.clone()).collect(),
        single => vec![single.clone()],
    }
}

/// How many single values are inside.
pub(super) fn leaf_count(value: &Value) -> usize {
    match value {
        Value::Trigger | Value::Literal(_) | Value::Artifact(_) => 1,
        Value::Batch(batch) => batch.len(),
        Value::List(list) => list.iter().map(|element| leaf_count(&element.value)).sum(),
    }
}

/// Every single value inside, in order.
pub(super) fn leaves(value: &Value) -> Vec<Value> {
    match value {
        Value::Trigger | Value::Literal(_) | Value::Artifact(_) => vec![value.clone()],
        Value::Batch(batch) => batch.iter().cloned().map(Value::Artifact).collect(),
        Value::List(list) => list
            .iter()
            .flat_map(|element| leaves(&element.value))
            .collect(),
    }
}

/// The first single value inside: what a single input takes of a batch or list (run semantics, rule 9).
pub(super) fn first_leaf(value: &Value) -> Option<Value> {
    match value {
        Value::Trigger | Value::Literal(_) | Value::Artifact(_) => Some(value.clone()),
        Value::Batch(batch) => batch.first().cloned().map(Value::Artifact),
        Value::List(list) => list.iter().find_map(|element| first_leaf(&element.value)),
    }
}

/// Bytes of all files inside that do not already lie on the backend, made there or `brought`.
pub(super) fn bytes_elsewhere(value: &Value, backend_id: BackendId, brought: &Brought) -> u64 {
    let bytes_of = |artifact: &Artifact| {
        let made_there = artifact.origin.as_ref().map(|origin| origin.backend_id);
        let is_there = made_there == Some(backend_id) || brought.has(backend_id, &artifact.hash);
        if is_there { 0 } else { artifact.byte_len }
    };
    match value {
        Value::Trigger | Value::Literal(_) => 0,
        Value::Artifact(artifact) => bytes_of(artifact),
        Value::Batch(batch) => batch.iter().map(|artifact| bytes_of(artifact)).sum(),
        Value::List(list) => list
            .iter()
            .map(|element| bytes_elsewhere(&element.value, backend_id, brought))
            .sum(),
    }
}
