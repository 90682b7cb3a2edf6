//! From a project to a plan.

use super::identity::{effort_hash, hash_of, models_of};
use super::links::{check_links, topological_order};
use super::open::{join_stages, positions, union_of, without};
use super::{
    Completeness, FanIndex, MAX_ITEMS_PER_RUN, NodeIndex, Plan, PlanCollector, PlanFanOut,
    PlanInput, PlanNode, PlanOutput, PlanProblem, Serves, fan_values, is_each,
};
use crate::artifacts::ContentHash;
use crate::project::{
    FanOutNode, FanOutSource, Link, MergeMode, MergeRest, MergeScope, Node, NodeId, NodeKind,
    PortBinding, Project,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See [`Plan::compile`].
pub(super) fn compile(project: Arc<Project>) -> Result<Plan, Vec<PlanProblem>> {
    let mut problems = check_links(&project);
    let order = match topological_order(&project) {
        Ok(order) => order,
        Err(problem) => {
            problems.push(problem);
            return Err(problems);
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut compiler = Compiler {
        index_of: order
            .iter()
            .enumerate()
            .map(|(index, node_id)| (*node_id, index))
            .collect(),
        plan: Plan {
            project: project.clone(),
            nodes: Vec::with_capacity(order.len()),
            fan_outs: Vec::new(),
        },
        outer: Vec::new(),
        problems,
    };
    let mut links_into: BTreeMap<NodeId, Vec<Link>> = BTreeMap::new();
    for link in project.links.values() {
        links_into.entry(link.to.node).or_default().push(*link);
    }
    for node_id in &order {
        if let Some(node) = project.nodes.get(node_id) {
            let links = links_into.remove(node_id).unwrap_or_default();
            compiler.add_node(node, &links);
        }
    }
    compiler.check_item_limit();
    compiler.mark_goals();
    compiler.mark_servants();
    if compiler.problems.is_empty() {
        Ok(compiler.plan)
    } else {
        Err(compiler.problems)
    }
}

struct Compiler {
    index_of: BTreeMap<NodeId, NodeIndex>,
    plan: Plan,
    /// Per fan-out: every fan-out it lies inside of, also through others.
    outer: Vec<BTreeSet<FanIndex>>,
    problems: Vec<PlanProblem>,
}

impl Compiler {
    fn add_node(&mut self, node: &Node, links: &[Link]) {
        let index = self.plan.nodes.len();
        // Links of one port stay in link order; ports follow each other as on the node.
        let mut wires: Vec<(usize, NodeIndex, usize)> = Vec::new();
        for (port_index, port) in node.inputs.iter().enumerate() {
            for link in links.iter().filter(|link| link.to.port == port.id) {
                let Some(source) = self.index_of.get(&link.from.node).copied() else {
                    continue;
                };
                let Some(output) = self.plan.nodes.get(source).and_then(|from| {
                    from.node
                        .outputs
                        .iter()
                        .position(|output| output.id == link.from.port)
                }) else {
                    continue;
                };
                wires.push((port_index, source, output));
            }
        }
        let source_opens: Vec<Vec<FanIndex>> = wires
            .iter()
            .map(|(_, source, output)| self.open_at(*source, *output))
            .collect();
        let arriving = union_of(&source_opens);
        let closed = self.closed_by(node, &arriving);
        let mut inputs = Vec::with_capacity(wires.len());
        for (input, ((port, source, output), source_open)) in
            wires.into_iter().zip(source_opens).enumerate()
        {
            let kept_open: Vec<FanIndex> = without(&source_open, &closed);
            let collector = matches!(&node.kind, NodeKind::Merge(merge) if merge.mode.makes_list())
                .then(|| self.collector(index, input, &source_open, &kept_open));
            if let Some(from) = self.plan.nodes.get_mut(source) {
                from.outputs[output].consumers.push((index, input));
                if from.dependents.last() != Some(&index) {
                    from.dependents.push(index);
                }
            }
            inputs.push(PlanInput {
                port,
                source,
                open: if collector.is_some() {
                    kept_open
                } else {
                    source_open
                },
                collector,
            });
        }
        let (stages, open) = join_stages(&inputs);
        let opens = self.opened_by(node, index, &open);
        let workflow_hash = self.workflow_hash(node);
        let sources: BTreeSet<NodeIndex> = inputs.iter().map(|input| input.source).collect();
        let depth = sources
            .iter()
            .map(|source| self.plan.nodes[*source].depth + 1)
            .max()
            .unwrap_or(0);
        let outputs = node
            .outputs
            .iter()
            .map(|port| PlanOutput {
                is_fanned: opens.is_some()
                    && (matches!(node.kind, NodeKind::FanOut(_)) || is_each(&port.binding)),
                consumers: Vec::new(),
            })
            .collect();
        self.plan.nodes.push(PlanNode {
            node: node.clone(),
            depth,
            inputs,
            stages,
            outputs,
            open,
            opens,
            is_goal: false,
            serves: Vec::new(),
            sources: sources.into_iter().collect(),
            dependents: Vec::new(),
            workflow_hash,
            effort_hash: effort_hash(&self.plan.project, node),
            models: models_of(&self.plan.project, node),
        });
    }

    /// Fan-outs open on what leaves an output, ascending.
    fn open_at(&self, node: NodeIndex, output: usize) -> Vec<FanIndex> {
        let from = &self.plan.nodes[node];
        let mut open = from.open.clone();
        if from.outputs[output].is_fanned {
            // Its own fan-out is younger than all that enclose it, so the list stays ascending.
            open.extend(from.opens);
        }
        open
    }

    /// The fan-outs a Merge closes out of those that are open.
    fn closed_by(&mut self, node: &Node, open: &[FanIndex]) -> Vec<FanIndex> {
        let NodeKind::Merge(merge) = &node.kind else {
            return Vec::new();
        };
        if !merge.mode.makes_list() {
            return Vec::new();
        }
        match merge.closes {
            MergeScope::AllOpen => open.to_vec(),
            MergeScope::FanOut(named) => {
                let found = open
                    .iter()
                    .copied()
                    .find(|fan_out| self.plan.fan_outs[*fan_out].node_id == named);
                if found.is_none() {
                    let title = self
                        .plan
                        .project
                        .nodes
                        .get(&named)
                        .map_or("a node that does not exist", |node| node.title.as_str());
                    let message = format!(
                        "\"{}\" is to close \"{title}\", which is not open there",
                        node.title
                    );
                    self.problems.push(PlanProblem::at(node, message));
                }
                found.into_iter().collect()
            }
            MergeScope::Innermost => {
                // The innermost ones are those that enclose no other open one.
                let innermost: Vec<FanIndex> = open
                    .iter()
                    .copied()
                    .filter(|one| !open.iter().any(|other| self.outer[*other].contains(one)))
                    .collect();
                if innermost.len() > 1 {
                    let titles: Vec<&str> = innermost
                        .iter()
                        .map(|fan_out| {
                            self.plan.nodes[self.plan.fan_outs[*fan_out].node]
                                .node
                                .title
                                .as_str()
                        })
                        .collect();
                    let message = format!(
                        "{} must name which of {} it closes",
                        node.title,
                        titles.join(", ")
                    );
                    self.problems.push(PlanProblem::at(node, message));
                }
                innermost.into_iter().take(1).collect()
            }
        }
    }

    fn collector(
        &mut self,
        node: NodeIndex,
        input: usize,
        source_open: &[FanIndex],
        kept_open: &[FanIndex],
    ) -> PlanCollector {
        let closed: Vec<FanIndex> = without(source_open, kept_open);
        let complete = match closed.as_slice() {
            [] => Completeness::OneValue,
            [fan_out] if !kept_open.is_empty() => {
                let enclosing = self.plan.fan_outs[*fan_out].enclosing.clone();
                let counts = enclosing.iter().all(|outer| kept_open.contains(outer))
                    && !kept_open
                        .iter()
                        .any(|inner| self.outer[*inner].contains(fan_out));
                if counts {
                    self.plan.fan_outs[*fan_out].watchers.push((node, input));
                    Completeness::Extent {
                        fan_out: *fan_out,
                        key: positions(kept_open, &enclosing),
                        key_is_group: enclosing == kept_open,
                    }
                } else {
                    Completeness::WholeSource
                }
            }
            _ => Completeness::WholeSource,
        };
        PlanCollector {
            source_open: source_open.to_vec(),
            kept: positions(source_open, kept_open),
            complete,
        }
    }

    /// Registers the fan-out a node opens.
    fn opened_by(
        &mut self,
        node: &Node,
        index: NodeIndex,
        enclosing: &[FanIndex],
    ) -> Option<FanIndex> {
        let count = match &node.kind {
            NodeKind::FanOut(FanOutNode { source }) => {
                let names = fan_values::axis_names(source);
                for port in &node.outputs {
                    if let PortBinding::Axis(name) = &port.binding
                        && !names.contains(&name.as_str())
                    {
                        let message = format!(
                            "output \"{}\" of \"{}\" names the axis \"{name}\", which the fan-out does not have",
                            port.name, node.title
                        );
                        self.problems.push(PlanProblem::at(node, message));
                    }
                }
                self.check_cells(node, source);
                // Above the limit the exact figure does not matter: the item limit refuses it.
                fan_values::count(source).map(|count| u32::try_from(count).unwrap_or(u32::MAX - 1))
            }
            NodeKind::Workflow(_) if node.outputs.iter().any(|port| is_each(&port.binding)) => None,
            _ => return None,
        };
        let fan_out = self.plan.fan_outs.len();
        let mut outer: BTreeSet<FanIndex> = enclosing.iter().copied().collect();
        for one in enclosing {
            outer.extend(&self.outer[*one]);
        }
        self.outer.push(outer);
        self.plan.fan_outs.push(PlanFanOut {
            node: index,
            node_id: node.id,
            enclosing: enclosing.to_vec(),
            count,
            watchers: Vec::new(),
        });
        Some(fan_out)
    }

    /// Refuses a table with cells that are not of their column's type, before anything runs.
    fn check_cells(&mut self, node: &Node, source: &FanOutSource) {
        let FanOutSource::Table(table) = source else {
            return;
        };
        for cell in table.wrong_cells() {
            let message = format!(
                "row {}, column \"{}\" of the table of \"{}\" holds \"{}\", but the column holds {}; correct the cell",
                cell.row, cell.column, node.title, cell.text, cell.wanted
            );
            self.problems.push(PlanProblem::at(node, message));
        }
    }

    fn workflow_hash(&mut self, node: &Node) -> Option<ContentHash> {
        let NodeKind::Workflow(workflow) = &node.kind else {
            return None;
        };
        let file = self.plan.project.workflows.get(&workflow.workflow);
        if file.is_none() {
            let message = format!(
                "\"{}\" runs the workflow \"{}\", which is not in the project",
                node.title, workflow.workflow
            );
            self.problems.push(PlanProblem::at(node, message));
        }
        file.map(|file| hash_of(file, workflow, node, |_| true))
    }

    /// Counts items as far as the plan knows them; a batch counts as one.
    fn check_item_limit(&mut self) {
        let mut total = 0_u64;
        for node in &self.plan.nodes {
            let items = node.open.iter().fold(1_u64, |product, fan_out| {
                product.saturating_mul(u64::from(self.plan.fan_outs[*fan_out].count.unwrap_or(1)))
            });
            total = total.saturating_add(items);
            if let Some(count) = node.opens.and_then(|own| self.plan.fan_outs[own].count) {
                total = total.max(items.saturating_mul(u64::from(count)));
            }
            if total > MAX_ITEMS_PER_RUN {
                let message = format!(
                    "the run would have more than {MAX_ITEMS_PER_RUN} items at \"{}\"; shorten a fan-out or split the run",
                    node.node.title
                );
                self.problems.push(PlanProblem::at(&node.node, message));
                return;
            }
        }
    }

    /// Finds, for every Merge (first n, cancel the rest), the nodes whose values nothing else needs.
    fn mark_servants(&mut self) {
        for merge in 0..self.plan.nodes.len() {
            let NodeKind::Merge(settings) = &self.plan.nodes[merge].node.kind else {
                continue;
            };
            if !matches!(
                settings.mode,
                MergeMode::First {
                    rest: MergeRest::Cancel,
                    ..
                }
            ) {
                continue;
            }
            let kept = self.plan.nodes[merge].open.clone();
            let mut servants: BTreeSet<NodeIndex> = BTreeSet::from([merge]);
            // Every node comes after those that feed it.
            for node in (0..merge).rev() {
                let planned = &self.plan.nodes[node];
                let is_servant = !planned.is_goal
                    && !planned.dependents.is_empty()
                    && planned
                        .dependents
                        .iter()
                        .all(|dependent| servants.contains(dependent));
                if !is_servant {
                    continue;
                }
                servants.insert(node);
                if kept.iter().all(|fan_out| planned.open.contains(fan_out)) {
                    let key = positions(&planned.open, &kept);
                    self.plan.nodes[node].serves.push(Serves { merge, key });
                }
            }
        }
    }

    /// Outputs decide how a run ended; without any, the leaves do.
    fn mark_goals(&mut self) {
        let has_outputs = self
            .plan
            .nodes
            .iter()
            .any(|node| matches!(node.node.kind, NodeKind::Output(_)));
        for node in &mut self.plan.nodes {
            node.is_goal = if has_outputs {
                matches!(node.node.kind, NodeKind::Output(_))
            } else {
                node.dependents.is_empty()
            };
        }
    }
}
