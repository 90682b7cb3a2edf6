//! Everything that keeps a project from running, as far as it can be known without backends.

use super::local;
use crate::project::{self, BackendId, MergeMode, NodeId, NodeKind, Project, WorkflowFacts};
use crate::store::{Store, StoreError};
use crate::workflow::ObjectInfo;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every problem of a project, each as a sentence with its node where it has one. `object_info` is what is known of the
/// backends' node classes; without it fields of workflows in the editor's format are checked as far as the file tells.
#[must_use]
pub fn problems(
    project: &Project,
    object_info: Option<&ObjectInfo>,
) -> Vec<(Option<NodeId>, String)> {
    let mut problems: Vec<(Option<NodeId>, String)> =
        project::validate(project, &WorkflowFacts::of_all(project, object_info))
            .into_iter()
            .map(|problem| (problem.node, problem.to_string()))
            .collect();
    for node in project.nodes.values() {
        if let NodeKind::Condition(condition) = &node.kind
            && !condition.expression.trim().is_empty()
            && let Err(reason) = local::check_expression(&condition.expression)
        {
            problems.push((Some(node.id), format!("\"{}\": {reason}", node.title)));
        }
        if let NodeKind::Merge(merge) = &node.kind
            && let MergeMode::Best { expression, .. } = &merge.mode
            && !expression.trim().is_empty()
            && let Err(reason) = local::check_expression(expression)
        {
            problems.push((
                Some(node.id),
                format!("\"{}\": its score {reason}", node.title),
            ));
        }
    }
    problems
}

/// What all backends that were ever seen last said of their node classes, together; where they differ, as the one seen last
/// said. None when none was ever seen.
///
/// # Errors
/// [`StoreError`].
pub async fn remembered_object_info(store: &Store) -> Result<Option<ObjectInfo>, StoreError> {
    let stored = store.object_infos().await?;
    // Megabytes of JSON: off the threads that serve sockets.
    let parsed = tokio::task::spawn_blocking(move || {
        let parsed: Vec<ObjectInfo> = stored
            .iter()
            .filter_map(|info| match ObjectInfo::parse(&info.json) {
                Ok(object_info) => Some(object_info),
                Err(error) => {
                    tracing::warn!(%error, server = info.server, "what a backend once said is of no use");
                    None
                }
            })
            .collect();
        (!parsed.is_empty()).then(|| ObjectInfo::merged(&parsed))
    });
    Ok(parsed.await.unwrap_or_default())
}

/// What each of these backends last said of its node classes, as far as it ever said so; equal answers are shared.
///
/// # Errors
/// [`StoreError`].
pub async fn remembered_by_backend(
    store: &Store,
    backend_ids: &[BackendId],
) -> Result<BTreeMap<BackendId, Arc<ObjectInfo>>, StoreError> {
    let mut stored = Vec::new();
    for &backend_id in backend_ids {
        if let Some(info) = store.object_info(backend_id).await? {
            stored.push((backend_id, info.json));
        }
    }
    // Megabytes of JSON: off the threads that serve sockets.
    let parsed = tokio::task::spawn_blocking(move || {
        let mut texts: BTreeMap<Vec<u8>, Arc<ObjectInfo>> = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (backend_id, json) in stored {
            let info = match texts.get(&json) {
                Some(info) => info.clone(),
                None => match ObjectInfo::parse(&json) {
                    Ok(info) => texts.entry(json).or_insert(Arc::new(info)).clone(),
                    Err(error) => {
                        tracing::warn!(%error, %backend_id, "what a backend once said is of no use");
                        continue;
                    }
                },
            };
            found.insert(backend_id, info);
        }
        found
    });
    Ok(parsed.await.unwrap_or_default())
}
