//! Unfolding subgraphs, and following links through reroutes, bypassed nodes and subgraph borders.

use super::super::read::MAX_WORKFLOW_NODES;
use super::graph::{Graph, Graphs, Kind, Mode, Node, Origin};
use super::{ConvertError, MAX_SUBGRAPH_DEPTH};
use serde_json::Value;
use std::cell::Cell;
use std::collections::HashMap;

/// Most links that are followed for one input. Real chains of reroutes have some dozens.
const MAX_HOPS: usize = 10_000;

/// Most steps that following all links of a workflow may take, so that a hostile file ends soon.
const MAX_TOTAL_STEPS: usize = 50_000_000;

/// Most subgraph instances, nested ones counted as often as they appear.
const MAX_SUBGRAPH_INSTANCES: usize = 100_000;

/// The root graph and each subgraph instance.
pub(super) struct Frames {
    list: Vec<Frame>,
    /// (frame, position of the instance in it) → frame of its inside.
    inside: HashMap<(usize, usize), usize>,
    steps_left: Cell<usize>,
}

/// One graph at one place.
pub(super) struct Frame {
    graph: usize,
    /// The frame it is in, and the position of the instance there.
    parent: Option<(usize, usize)>,
    /// What ids of its nodes begin with: empty, or `12:`.
    prefix: String,
}

/// Where the value of an input comes from.
pub(super) enum Source {
    /// An output of the node with this id in the prompt.
    Output { id: String, slot: usize },
    /// A widget on a subgraph instance.
    Value(Value),
}

impl Frame {
    /// The id of one of its nodes in the prompt.
    pub fn id_of(&self, node_id: &str) -> String {
        format!("{}{node_id}", self.prefix)
    }
}

/// What is followed: an input of a node, or an output.
enum Step {
    Input {
        frame: usize,
        node: usize,
        slot: usize,
        type_name: Option<String>,
    },
    Output {
        frame: usize,
        node: usize,
        slot: usize,
        type_name: String,
    },
}

impl Frames {
    pub fn unfold(graphs: &Graphs<'_>) -> Result<Self, ConvertError> {
        let mut frames = vec![Frame {
            graph: 0,
            parent: None,
            prefix: String::new(),
        }];
        let mut inside = HashMap::new();
        let mut depths = vec![0_usize];
        let mut node_count = 0;
        let mut at = 0;
        while let Some((graph, prefix)) = frames
            .get(at)
            .map(|frame| (frame.graph, frame.prefix.clone()))
        {
            let nodes = graphs
                .graph(graph)
                .map(|graph| graph.nodes.as_slice())
                .unwrap_or_default();
            node_count += nodes.iter().map(|node| 1 + node.inner.len()).sum::<usize>();
            if node_count > MAX_WORKFLOW_NODES || frames.len() > MAX_SUBGRAPH_INSTANCES {
                return Err(ConvertError::TooManyNodes {
                    limit: MAX_WORKFLOW_NODES,
                });
            }
            let depth = depths.get(at).copied().unwrap_or_default() + 1;
            for (position, node) in nodes.iter().enumerate() {
                let Kind::Subgraph(inner) = node.kind else {
                    continue;
                };
                if depth > MAX_SUBGRAPH_DEPTH {
                    return Err(ConvertError::TooDeep);
                }
                inside.insert((at, position), frames.len());
                frames.push(Frame {
                    graph: inner,
                    parent: Some((at, position)),
                    prefix: format!("{prefix}{}:", node.id),
                });
                depths.push(depth);
            }
            at += 1;
        }
        Ok(Self {
            list: frames,
            inside,
            steps_left: Cell::new(MAX_TOTAL_STEPS),
        })
    }

    /// The frame of an instance's inside.
    pub fn inside_of(&self, frame: usize, position: usize) -> Option<usize> {
        self.inside.get(&(frame, position)).copied()
    }

    /// The graph that a frame is of.
    pub fn graph_of(&self, frame: usize) -> Option<usize> {
        Some(self.list.get(frame)?.graph)
    }

    /// What feeds an input of a node inside a group node.
    pub fn resolve_inside(
        &self,
        graphs: &Graphs<'_>,
        (frame, group): (usize, usize),
        inside: (usize, usize),
    ) -> Option<Source> {
        let (graph, frame, node) = self.node(graphs, frame, group)?;
        let Kind::Group(of_type) = node.kind else {
            return None;
        };
        let (id, slot) = of_type.source_of_input(graph, node, |id| frame.id_of(id), inside)?;
        Some(Source::Output { id, slot })
    }

    /// The id in the prompt of a node.
    fn id_of(&self, graphs: &Graphs<'_>, frame: usize, node: usize) -> String {
        let Some((_, frame, node)) = self.node(graphs, frame, node) else {
            return String::new();
        };
        frame.id_of(&node.id)
    }

    pub fn node<'g, 'a>(
        &self,
        graphs: &'g Graphs<'a>,
        frame: usize,
        node: usize,
    ) -> Option<(&'g Graph<'a>, &Frame, &'g Node<'a>)> {
        let frame = self.list.get(frame)?;
        let graph = graphs.graph(frame.graph)?;
        Some((graph, frame, graph.nodes.get(node)?))
    }

    /// Follows an input to what feeds it. None: nothing does.
    pub fn resolve_input(
        &self,
        graphs: &Graphs<'_>,
        frame: usize,
        node: usize,
        slot: usize,
    ) -> Result<Option<Source>, ConvertError> {
        let mut step = Step::Input {
            frame,
            node,
            slot,
            type_name: None,
        };
        for _ in 0..MAX_HOPS {
            if !self.spend(1) {
                break;
            }
            step = match self.follow(graphs, step) {
                Followed::On(next) => next,
                Followed::Ends(source) => return Ok(source),
            };
        }
        Err(ConvertError::LinkLoop {
            node_id: self.id_of(graphs, frame, node),
        })
    }

    /// Takes steps from what following all links may take; false when none are left.
    fn spend(&self, steps: usize) -> bool {
        let left = self.steps_left.get();
        self.steps_left.set(left.saturating_sub(steps));
        left >= steps
    }

    fn follow(&self, graphs: &Graphs<'_>, step: Step) -> Followed {
        match step {
            Step::Input {
                frame,
                node,
                slot,
                type_name,
            } => self
                .follow_input(graphs, frame, node, slot, type_name)
                .unwrap_or(Followed::Ends(None)),
            Step::Output {
                frame,
                node,
                slot,
                type_name,
            } => self
                .follow_output(graphs, frame, node, slot, type_name)
                .unwrap_or(Followed::Ends(None)),
        }
    }

    fn follow_input(
        &self,
        graphs: &Graphs<'_>,
        frame_index: usize,
        node: usize,
        slot: usize,
        type_name: Option<String>,
    ) -> Option<Followed> {
        let (graph, frame, node) = self.node(graphs, frame_index, node)?;
        let input = node.inputs.get(slot)?;
        let link = graph.link(input.link.as_deref()?)?;
        match &link.origin {
            Origin::SubgraphInputs => {
                let (parent_frame, instance) = frame.parent?;
                let (_, _, instance_node) = self.node(graphs, parent_frame, instance)?;
                let outer = instance_node.inputs.get(link.origin_slot)?;
                if outer.link.is_some() {
                    return Some(Followed::On(Step::Input {
                        frame: parent_frame,
                        node: instance,
                        slot: link.origin_slot,
                        type_name: None,
                    }));
                }
                let name = outer.widget.as_ref()?;
                if !self.spend(instance_node.widgets.len()) {
                    return None;
                }
                let widget = instance_node
                    .widgets
                    .iter()
                    .find(|each| each.name == *name)?;
                Some(Followed::Ends(widget.shown_value().map(Source::Value)))
            }
            Origin::Node(origin) => Some(Followed::On(Step::Output {
                frame: frame_index,
                node: graph.node_index(origin)?,
                slot: link.origin_slot,
                type_name: type_name.unwrap_or_else(|| input.type_name.to_string()),
            })),
        }
    }

    fn follow_output(
        &self,
        graphs: &Graphs<'_>,
        frame_index: usize,
        node_index: usize,
        slot: usize,
        type_name: String,
    ) -> Option<Followed> {
        let (graph, frame, node) = self.node(graphs, frame_index, node_index)?;
        if node.mode == Mode::Bypassed {
            return Some(Followed::On(Step::Input {
                frame: frame_index,
                node: node_index,
                slot: bypass_slot(node, slot, &type_name)?,
                type_name: None,
            }));
        }
        match node.kind {
            Kind::Class(_) | Kind::Unknown => {}
            Kind::Group(group) => {
                let (inner, slot) = group.source_of_output(slot)?;
                return Some(Followed::Ends(Some(Source::Output {
                    id: format!("{}:{inner}", frame.id_of(&node.id)),
                    slot,
                })));
            }
            Kind::Subgraph(inner) => {
                if let Some(inner_frame) = self.inside.get(&(frame_index, node_index)) {
                    let inner = graphs.graph(inner)?;
                    let link = inner.output_link(slot)?;
                    return Some(Followed::On(match &link.origin {
                        Origin::Node(origin) => Step::Output {
                            frame: *inner_frame,
                            node: inner.node_index(origin)?,
                            slot: link.origin_slot,
                            type_name,
                        },
                        Origin::SubgraphInputs => Step::Input {
                            frame: frame_index,
                            node: node_index,
                            slot: link.origin_slot,
                            type_name: Some(type_name),
                        },
                    }));
                }
            }
            Kind::Reroute => {
                return Some(Followed::On(Step::Input {
                    frame: frame_index,
                    node: node_index,
                    slot,
                    type_name: Some(type_name),
                }));
            }
            Kind::Getter => {
                let name = first_value(node)?;
                if !self.spend(graph.nodes.len()) {
                    return None;
                }
                let setter = graph.nodes.iter().position(|other| {
                    other.class_type == "SetNode" && first_value(other) == Some(name)
                })?;
                return Some(Followed::On(Step::Input {
                    frame: frame_index,
                    node: setter,
                    slot,
                    type_name: Some(type_name),
                }));
            }
            Kind::Primitive | Kind::Note => return None,
        }
        Some(Followed::Ends(Some(Source::Output {
            id: frame.id_of(&node.id),
            slot,
        })))
    }
}

enum Followed {
    On(Step),
    Ends(Option<Source>),
}

fn first_value<'a>(node: &Node<'a>) -> Option<&'a Value> {
    node.raw.get("widgets_values")?.get(0)
}

/// The input whose value leaves a bypassed node at an output, for a consumer of this type.
fn bypass_slot(node: &Node<'_>, slot: usize, type_name: &str) -> Option<usize> {
    if matches!(node.kind, Kind::Group(_)) {
        let has_type = |slot: &usize| {
            let input = node.inputs.get(*slot);
            input.is_some_and(|input| input.type_name == type_name)
        };
        return std::iter::once(slot)
            .chain(0..node.inputs.len())
            .find(has_type);
    }
    if type_name == "*" || type_name.is_empty() {
        return Some(if node.inputs.len() > slot { slot } else { 0 });
    }
    let output_type = node.outputs.get(slot).map_or("*", AsRef::as_ref);
    let fits =
        |input_type: &str| connects(input_type, output_type) && connects(input_type, type_name);
    if node
        .inputs
        .get(slot)
        .is_some_and(|input| fits(&input.type_name))
    {
        return Some(slot);
    }
    node.inputs
        .iter()
        .position(|input| input.type_name == type_name)
        .or_else(|| node.inputs.iter().position(|input| fits(&input.type_name)))
}

/// Whether the editor would allow a link between these types: equal but for case, either one any, or sharing a member
/// of comma-separated lists.
pub(super) fn connects(a: &str, b: &str) -> bool {
    let is_any = |type_name: &str| type_name.is_empty() || type_name == "*";
    is_any(a)
        || is_any(b)
        || a.eq_ignore_ascii_case(b)
        || ((a.contains(',') || b.contains(','))
            && a.split(',').any(|a| {
                b.split(',')
                    .any(|b| is_any(a) || is_any(b) || a.eq_ignore_ascii_case(b))
            }))
}
