//! Where a file came from, written into it beside ComfyUI's own data.

use super::LocalContext;
use crate::engine::machine::LocalWork;
use crate::engine::value::Labels;
use crate::project::{NodeId, NodeKind};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

/// Keyword of our text in a PNG file. ComfyUI uses `prompt` and `workflow`.
pub(super) const KEYWORD: &str = "orchestrator";

/// The provenance of one written file as JSON text. The same for the same item, however often it is written.
pub(super) fn describe(
    work: &LocalWork,
    labels: &Labels,
    index: u32,
    artifact: &crate::artifacts::Artifact,
    context: LocalContext,
) -> String {
    let project = context.project;
    let node_title = project
        .nodes
        .get(&work.node_id)
        .map(|node| node.title.as_str());
    let path: serde_json::Map<String, Json> = work
        .path
        .0
        .iter()
        .map(|(fan_out, position)| {
            let name = project
                .nodes
                .get(fan_out)
                .map_or_else(|| fan_out.to_string(), |node| node.title.clone());
            (name, (*position).into())
        })
        .collect();
    json!({
        "program": concat!("comfyui-orchestrator ", env!("CARGO_PKG_VERSION")),
        "project": { "id": project.id, "name": project.name },
        "run": { "id": work.run_id, "created_ms": context.run_created_ms },
        "node": { "id": work.node_id, "title": node_title },
        "item": { "id": work.item_id, "path": path, "index": index },
        "labels": labels,
        "workflows": workflows_before(work.node_id, context),
        "backend": artifact.origin.as_ref().map(|origin| origin.backend_id),
        "content": artifact.hash,
    })
    .to_string()
}

/// The workflows that may have made what arrives at a node: the nearest ones on every way upstream.
fn workflows_before(node_id: NodeId, context: LocalContext<'_>) -> BTreeSet<&str> {
    let mut workflows = BTreeSet::new();
    let mut seen = BTreeSet::from([node_id]);
    let mut pending = vec![node_id];
    while let Some(current) = pending.pop() {
        for link in context.project.links.values() {
            if link.to.node != current || !seen.insert(link.from.node) {
                continue;
            }
            match context
                .project
                .nodes
                .get(&link.from.node)
                .map(|node| &node.kind)
            {
                Some(NodeKind::Workflow(workflow)) => {
                    workflows.insert(workflow.workflow.as_str());
                }
                Some(_) => pending.push(link.from.node),
                None => {}
            }
        }
    }
    workflows
}
