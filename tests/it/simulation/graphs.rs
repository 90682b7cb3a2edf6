//! Random graphs that compile: every kind of node, fan-outs of every source, merges of every mode.

use crate::engine_driver::{Graph, backend_id};
use comfyui_orchestrator::project::{
    Affinity, Axis, BatchMode, CachePolicy, Column, DataType, Fallback, FanOutSource, FilePattern,
    Literal, MergeFailurePolicy, MergeMode, MergeRest, MergeScope, NodeId, NodeKind, OnFailure,
    Table, WorkflowFile, WorkflowName,
};

/// Where a node can take a value from: a node and the name of its output.
type Source = (NodeId, String);

/// A random graph that compiles: nodes take from earlier ones. The mark tells its nodes from those of other graphs.
pub fn random_graph(random: &mut fastrand::Rng, mark: &str, most_nodes: usize) -> Graph {
    loop {
        let mut graph = Graph::new();
        name_models(random, &mut graph);
        let mut sources: Vec<Source> = Vec::new();
        for number in 0..random.usize(3..=most_nodes) {
            add_node(random, &mut graph, &mut sources, &format!("{number}{mark}"));
        }
        for number in 0..2 {
            if let Some((from, port)) = pick(random, &sources) {
                let node = graph.output(&format!("O{number}{mark}"));
                graph.link(from, &port, node, "value");
            }
        }
        if !graph.project.nodes.is_empty() && graph.compile().is_ok() {
            return graph;
        }
    }
}

/// In some graphs the workflows name models, so that backends have to load now these and now those.
fn name_models(random: &mut fastrand::Rng, graph: &mut Graph) {
    for name in ["w", "other"] {
        if random.u32(0..3) == 0 {
            graph.project.workflows.insert(
                WorkflowName::new(name).unwrap(),
                WorkflowFile::new(format!("{{\"{name}\":\"{name}.safetensors\"}}")),
            );
        }
    }
}

fn pick(random: &mut fastrand::Rng, sources: &[Source]) -> Option<Source> {
    (!sources.is_empty()).then(|| sources[random.usize(..sources.len())].clone())
}

fn add_node(
    random: &mut fastrand::Rng,
    graph: &mut Graph,
    sources: &mut Vec<Source>,
    number: &str,
) {
    match random.u32(0..14) {
        0..=2 => {
            let title = format!("F{number}");
            let source = fan_out_source(random, &title);
            let axes: Vec<String> = source
                .axes()
                .into_iter()
                .map(|(name, _)| name.to_owned())
                .collect();
            let needs_value = matches!(source, FanOutSource::Split { .. });
            let from = pick(random, sources);
            if needs_value && from.is_none() {
                return;
            }
            let node = graph.fan_out_of(&title, source);
            if let Some((from, port)) = from
                && (needs_value || random.bool())
            {
                graph.link(from, &port, node, "value");
                sources.push((node, "value".to_owned()));
            }
            sources.extend(axes.into_iter().map(|axis| (node, axis)));
        }
        3..=6 => {
            let batch = if random.u32(0..4) == 0 {
                BatchMode::Each
            } else {
                BatchMode::Whole
            };
            let node = graph.workflow_with(&format!("W{number}"), &["a", "b"], batch);
            set_policies(random, graph, node);
            for port in ["a", "b"] {
                if random.u32(0..3) > 0
                    && let Some((from, from_port)) = pick(random, sources)
                {
                    graph.link(from, &from_port, node, port);
                }
            }
            sources.push((node, "image".to_owned()));
        }
        7 => {
            if let Some((from, port)) = pick(random, sources) {
                let node = graph.condition(&format!("C{number}"));
                graph.link(from, &port, node, "value");
                sources.push((node, "true".to_owned()));
                sources.push((node, "false".to_owned()));
            }
        }
        8..=10 => {
            let fan_outs: Vec<NodeId> = graph
                .project
                .nodes
                .values()
                .filter(|node| matches!(node.kind, NodeKind::FanOut(_)))
                .map(|node| node.id)
                .collect();
            let closes = match random.u32(0..6) {
                0 if !fan_outs.is_empty() => {
                    MergeScope::FanOut(fan_outs[random.usize(..fan_outs.len())])
                }
                0..=2 => MergeScope::Innermost,
                _ => MergeScope::AllOpen,
            };
            let policy = if random.bool() {
                MergeFailurePolicy::Ignore
            } else {
                MergeFailurePolicy::RequireAll
            };
            let mode = merge_mode(random);
            let node = graph.merge_with(&format!("M{number}"), mode, closes, policy);
            for _ in 0..random.u32(1..3) {
                if let Some((from, port)) = pick(random, sources) {
                    graph.link(from, &port, node, "values");
                }
            }
            sources.push((node, "list".to_owned()));
            if random.u32(0..4) == 0 {
                sources.push((node, "sheet".to_owned()));
            }
        }
        11..=12 => {
            if let Some((from, port)) = pick(random, sources) {
                let node = graph.review(&format!("R{number}"));
                graph.link(from, &port, node, "value");
                sources.push((node, "picked".to_owned()));
            }
        }
        _ => {
            let node = graph.input(&format!("I{number}"), "text");
            sources.push((node, "value".to_owned()));
        }
    }
}

/// Where a Workflow node may run, and what happens when it fails.
fn set_policies(random: &mut fastrand::Rng, graph: &mut Graph, node: NodeId) {
    if random.u32(0..24) == 0 {
        graph.edit(node).on_failure = OnFailure::StopRun;
    }
    let workflow = graph.edit_workflow(node);
    workflow.fallback = match random.u32(0..8) {
        0 => Fallback::None,
        1..=3 => Fallback::AskUser,
        _ => Fallback::AutoSelect,
    };
    match random.u32(0..16) {
        0 | 1 => workflow.affinity = Affinity::Backend(backend_id(random.u128(0..3))),
        2 => workflow.affinity = Affinity::Tags(["big".to_owned()].into()),
        3 => {
            workflow.affinity = Affinity::Tags(["big".to_owned(), "even".to_owned()].into());
        }
        _ => {}
    }
    if random.bool() {
        workflow.workflow = WorkflowName::new("other").unwrap();
    }
    if random.u32(0..8) == 0 {
        workflow.cache = CachePolicy::Never;
    }
    workflow.retry.max_attempts = random.u32(1..4);
}

fn merge_mode(random: &mut fastrand::Rng) -> MergeMode {
    match random.u32(0..6) {
        0 | 1 => MergeMode::Either,
        2 => MergeMode::First {
            count: random.u32(1..4),
            rest: if random.bool() {
                MergeRest::Cancel
            } else {
                MergeRest::Leave
            },
        },
        3 => MergeMode::Best {
            expression: "image.sharpness".to_owned(),
            keep: random.u32(1..3),
        },
        _ => MergeMode::All,
    }
}

/// The axis has the name of the node, so that labels tell fan-outs apart.
fn fan_out_source(random: &mut fastrand::Rng, title: &str) -> FanOutSource {
    let axis = |name: &str, count: u32| Axis {
        name: name.to_owned(),
        data_type: DataType::Integer,
        values: (0..count)
            .map(|value| Literal::Integer(value.into()))
            .collect(),
    };
    match random.u32(0..10) {
        4 => {
            let (outer, inner) = (random.u32(0..3), random.u32(0..3));
            FanOutSource::Grid(vec![axis(title, outer), axis(&format!("{title}b"), inner)])
        }
        0 => {
            let count = random.u32(0..5);
            FanOutSource::Zip(vec![axis(title, count), axis(&format!("{title}b"), count)])
        }
        1 => FanOutSource::Table(Table {
            columns: [title.to_owned(), format!("{title}b")]
                .map(|name| Column {
                    name,
                    data_type: DataType::Integer,
                })
                .to_vec(),
            rows: (0..random.u32(0..4))
                .map(|row| {
                    let second = if random.bool() {
                        String::new()
                    } else {
                        format!("{}", row * 10)
                    };
                    vec![row.to_string(), second]
                })
                .collect(),
        }),
        2 => FanOutSource::Files(FilePattern {
            axis: title.to_owned(),
            pattern: "*.png".to_owned(),
            data_type: DataType::Image,
        }),
        3 => FanOutSource::Split {
            axis: title.to_owned(),
            data_type: DataType::Any,
        },
        _ => FanOutSource::Range {
            axis: title.to_owned(),
            start: 0.0,
            step: 1.0,
            count: random.u32(0..6),
        },
    }
}

/// Says which nodes there are and how they are linked.
pub fn print(graph: &Graph) {
    for node in graph.project.nodes.values() {
        println!("node {} {:?} {:?}", node.title, node.on_failure, node.kind);
    }
    for link in graph.project.links.values() {
        let title = |node: &NodeId| graph.project.nodes[node].title.clone();
        let port = graph.project.nodes[&link.from.node]
            .outputs
            .iter()
            .find(|port| port.id == link.from.port)
            .map_or("", |port| port.name.as_str());
        println!(
            "link {}.{port} -> {}",
            title(&link.from.node),
            title(&link.to.node)
        );
    }
}
