//! Everything that keeps a project from running, as far as it can be known without backends.

use super::local;
use crate::project::{self, NodeId, NodeKind, Project, WorkflowFacts};

/// Every problem of a project, each as a sentence with its node where it has one.
#[must_use]
pub fn problems(project: &Project) -> Vec<(Option<NodeId>, String)> {
    let mut problems: Vec<(Option<NodeId>, String)> =
        project::validate(project, &WorkflowFacts::of_all(project))
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
    }
    problems
}
