//! The document: edits and their inverses, undo, validation.

use comfyui_orchestrator::project::{
    Axis, BatchMode, CachePolicy, DataType, Edit, EditError, ExposedParameter, FanOutNode,
    FanOutSource, Frame, FrameId, History, Link, LinkId, LinkRefusal, Literal, MergeMode,
    MergeNode, Node, NodeId, NodeKind, OnFailure, OutputNode, Port, PortBinding, PortId, PortNeed,
    PortRef, Problem, ProblemKind, Project, ProjectId, RetryPolicy, SeedOrder, WorkflowFacts,
    WorkflowFile, WorkflowName, WorkflowNode, read_folder_form, read_portable_form, validate,
    write_folder_form, write_portable_form,
};
use comfyui_orchestrator::workflow::{NodeAddress, ParameterAddress};
use proptest::prelude::*;
use uuid::Uuid;

/// A prompt with a seed field, a picture field and an output node.
pub const PROMPT: &str = r#"{
  "3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "image": "a.png"}},
  "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}}
}"#;

/// Ids in order, so that every run of a test makes the same document.
#[derive(Default)]
pub struct Ids(u128);

impl Ids {
    fn next(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }

    pub fn node(&mut self) -> NodeId {
        NodeId::from_uuid(self.next())
    }

    pub fn port(&mut self) -> PortId {
        PortId::from_uuid(self.next())
    }

    pub fn link(&mut self) -> LinkId {
        LinkId::from_uuid(self.next())
    }

    pub fn frame(&mut self) -> FrameId {
        FrameId::from_uuid(self.next())
    }
}

/// A project and the ids to build it with.
pub struct Bench {
    pub ids: Ids,
    pub project: Project,
}

impl Bench {
    pub fn new() -> Self {
        let mut ids = Ids::default();
        let id = ProjectId::from_uuid(ids.next());
        let mut project = Project::new(id, "Bench");
        project
            .apply(Edit::AddWorkflow {
                name: name("draw"),
                file: file(PROMPT),
            })
            .unwrap();
        Self { ids, project }
    }

    pub fn add(&mut self, node: Node) -> NodeId {
        let id = node.id;
        self.project.apply(Edit::AddNode(Box::new(node))).unwrap();
        id
    }

    pub fn seeds(&mut self, title: &str, count: u32) -> NodeId {
        let source = FanOutSource::Seeds {
            axis: title.to_owned(),
            first: 1,
            count,
            order: SeedOrder::Increment,
        };
        let id = self.ids.node();
        let node = Node::fan_out(id, source, &mut || self.ids.port()).titled(title);
        self.add(node)
    }

    pub fn draw(&mut self, title: &str) -> NodeId {
        let node = draw_node(&mut self.ids).titled(title);
        self.add(node)
    }

    pub fn merge(&mut self, title: &str, settings: MergeNode) -> NodeId {
        let id = self.ids.node();
        let node = Node::merge(id, settings, DataType::Image, &mut || self.ids.port());
        self.add(node.titled(title))
    }

    pub fn output(&mut self) -> NodeId {
        let id = self.ids.node();
        let settings = OutputNode::default();
        let node = Node::output_to(id, settings, DataType::Image, &mut || self.ids.port());
        self.add(node)
    }

    pub fn out(&self, node: NodeId, name: &str) -> PortRef {
        let ports = &self.project.nodes[&node].outputs;
        let port = ports.iter().find(|port| port.name == name).unwrap().id;
        PortRef { node, port }
    }

    pub fn input(&self, node: NodeId, name: &str) -> PortRef {
        let ports = &self.project.nodes[&node].inputs;
        let port = ports.iter().find(|port| port.name == name).unwrap().id;
        PortRef { node, port }
    }

    pub fn try_link(&mut self, from: PortRef, to: PortRef) -> Result<LinkId, EditError> {
        let id = self.ids.link();
        self.project.apply(Edit::AddLink(Link { id, from, to }))?;
        Ok(id)
    }

    pub fn link(&mut self, from: (NodeId, &str), to: (NodeId, &str)) -> LinkId {
        let (from, to) = (self.out(from.0, from.1), self.input(to.0, to.1));
        self.try_link(from, to).unwrap()
    }

    pub fn problems(&self) -> Vec<Problem> {
        validate(&self.project, &WorkflowFacts::of_all(&self.project, None))
    }

    pub fn bytes(&self) -> String {
        write_folder_form(&self.project).unwrap()
    }
}

pub fn name(text: &str) -> WorkflowName {
    WorkflowName::new(text).unwrap()
}

pub fn file(text: &str) -> WorkflowFile {
    WorkflowFile::new(text)
}

fn field(input: &str) -> ParameterAddress {
    ParameterAddress {
        node: NodeAddress {
            node_id: "3".to_owned(),
            class_type: "KSampler".to_owned(),
            title: String::new(),
        },
        input: input.to_owned(),
    }
}

fn draw_node(ids: &mut Ids) -> Node {
    let settings = WorkflowNode {
        workflow: name("draw"),
        parameters: vec![ExposedParameter {
            group: None,
            address: field("steps"),
            label: "steps".to_owned(),
            value: Some(Literal::Integer(20_u64.into())),
            seed: comfyui_orchestrator::project::SeedPolicy::default(),
        }],
        affinity: comfyui_orchestrator::project::Affinity::default(),
        fallback: comfyui_orchestrator::project::Fallback::default(),
        retry: RetryPolicy::default(),
        cache: CachePolicy::default(),
    };
    let input = |id, name: &str, data_type| Port {
        id,
        name: name.to_owned(),
        data_type,
        binding: PortBinding::Parameter(field(name)),
        need: PortNeed::Optional,
    };
    let inputs = vec![
        input(ids.port(), "seed", DataType::Integer),
        input(ids.port(), "image", DataType::Image),
    ];
    let outputs = vec![Port {
        id: ids.port(),
        name: "image".to_owned(),
        data_type: DataType::Image,
        binding: PortBinding::WorkflowOutput {
            address: NodeAddress {
                node_id: "9".to_owned(),
                class_type: "SaveImage".to_owned(),
                title: String::new(),
            },
            batch: BatchMode::Whole,
        },
        need: PortNeed::Optional,
    }];
    Node::workflow(ids.node(), settings, inputs, outputs)
}

fn grid(axes: &[&str]) -> FanOutSource {
    FanOutSource::Grid(
        axes.iter()
            .map(|name| Axis {
                name: (*name).to_owned(),
                data_type: DataType::Text,
                values: vec![Literal::Text("a".to_owned())],
            })
            .collect(),
    )
}

#[test]
fn changing_the_axes_of_a_fan_out_keeps_the_ports_that_still_mean_something() {
    let mut bench = Bench::new();
    let id = bench.ids.node();
    let node = Node::fan_out(id, grid(&["style", "light"]), &mut || bench.ids.port());
    let fan_out = bench.add(node);
    let sink_id = bench.ids.node();
    let sink = Node::condition(sink_id, "true", DataType::Text, &mut || bench.ids.port());
    let sink = bench.add(sink);
    let link = bench.link((fan_out, "light"), (sink, "value"));
    let before = bench.bytes();
    let light = bench.out(fan_out, "light");

    let change = |bench: &mut Bench, axes: &[&str]| {
        let kind = NodeKind::FanOut(FanOutNode { source: grid(axes) });
        let node = bench.project.nodes[&fan_out].clone();
        let node = node.with_kind(kind, &mut || bench.ids.port());
        bench.project.apply(Edit::configure(node)).unwrap()
    };

    // Another order, another axis more: the port of "light" is the same and stays linked.
    let more = change(&mut bench, &["light", "style", "size"]);
    assert_eq!(bench.out(fan_out, "light"), light);
    assert!(more.touched.links.is_empty());
    // Renamed in its place: still the same port.
    change(&mut bench, &["lighting", "style", "size"]);
    assert_eq!(bench.out(fan_out, "lighting"), light);
    assert_eq!(bench.project.links.len(), 1);
    // Gone: the link goes with it and the inverse brings both back.
    let gone = change(&mut bench, &["style"]);
    assert_eq!(gone.touched.links.into_iter().collect::<Vec<_>>(), [link]);
    assert!(bench.project.links.is_empty());
    bench.project.apply(gone.inverse).unwrap();
    assert_eq!(bench.project.links.len(), 1);
    change(&mut bench, &["light", "style", "size"]);
    bench.project.apply(more.inverse).unwrap();
    assert_eq!(bench.bytes(), before);
}

#[test]
fn a_merge_that_becomes_either_gives_a_value_instead_of_a_list() {
    let mut bench = Bench::new();
    let merge = bench.merge("Merge", MergeNode::default());
    let bindings = |bench: &Bench| -> Vec<PortBinding> {
        let outputs = &bench.project.nodes[&merge].outputs;
        outputs.iter().map(|port| port.binding.clone()).collect()
    };
    assert_eq!(
        bindings(&bench),
        [PortBinding::List, PortBinding::ContactSheet]
    );
    let either = NodeKind::Merge(MergeNode {
        mode: MergeMode::Either,
        ..MergeNode::default()
    });
    let node = bench.project.nodes[&merge].clone();
    let node = node.with_kind(either, &mut || bench.ids.port());
    bench.project.apply(Edit::configure(node)).unwrap();
    assert_eq!(bindings(&bench), [PortBinding::Value]);

    // A fan-out that runs per value hands the value on, with the type it was given.
    let id = bench.ids.node();
    let per_value =
        Node::fan_out_per_value(id, grid(&["a"]), DataType::Image, &mut || bench.ids.port());
    assert_eq!(per_value.inputs[0].data_type, DataType::Image);
    assert_eq!(per_value.outputs[1].binding, PortBinding::Value);
    let alone = per_value.with_fan_out_input(None, &mut || bench.ids.port());
    assert!(alone.inputs.is_empty() && alone.outputs.len() == 1);
}

#[test]
fn illegal_links_are_refused_with_the_reason() {
    let mut bench = Bench::new();
    let seeds = bench.seeds("F", 3);
    let (first, second) = (bench.draw("first"), bench.draw("second"));
    let merge = bench.merge("Merge", MergeNode::default());
    bench.link((seeds, "F"), (first, "seed"));
    bench.link((first, "image"), (second, "image"));
    let taken = bench.link((seeds, "F"), (second, "seed"));
    bench.link((first, "image"), (merge, "values"));
    let before = bench.bytes();

    let refused = |bench: &mut Bench, from: PortRef, to: PortRef| {
        let refusal = bench.project.check_link(from, to).unwrap_err();
        let error = bench.try_link(from, to).unwrap_err();
        assert_eq!(error, EditError::Link(refusal.clone()));
        assert_eq!(bench.bytes(), before);
        refusal
    };
    let (seed_out, first_out) = (bench.out(seeds, "F"), bench.out(first, "image"));
    let second_out = bench.out(second, "image");

    let to = bench.input(first, "image");
    let mismatch = refused(&mut bench, seed_out, to);
    assert_eq!(
        mismatch.to_string(),
        "\"F\" gives Integer, but \"image\" takes Image; link ports of the same type"
    );
    let cycle = refused(&mut bench, second_out, to);
    assert!(matches!(cycle, LinkRefusal::Cycle { .. }), "{cycle}");
    let own = refused(&mut bench, first_out, to);
    assert!(matches!(own, LinkRefusal::SameNode { .. }), "{own}");
    let to = bench.input(second, "seed");
    let twice = refused(&mut bench, seed_out, to);
    assert_eq!(twice, LinkRefusal::AlreadyLinked(taken));
    let other = bench.seeds("G", 2);
    let from = bench.out(other, "G");
    let full = bench.project.check_link(from, to).unwrap_err();
    assert!(matches!(full, LinkRefusal::InputTaken { by, .. } if by == taken));
    // The wrong way round, and ports that are not there.
    assert!(matches!(
        bench.project.check_link(to, from),
        Err(LinkRefusal::NoSuchOutput(_))
    ));
    assert!(matches!(
        bench.project.check_link(from, from),
        Err(LinkRefusal::NoSuchInput(_))
    ));
    // A Merge takes many.
    bench.link((second, "image"), (merge, "values"));
    let into_merge = bench
        .project
        .links_into(bench.input(merge, "values"))
        .count();
    assert_eq!(into_merge, 2);
}

#[test]
fn illegal_edits_are_refused_and_change_nothing() {
    let mut bench = Bench::new();
    let draw = bench.draw("draw");
    let before = bench.project.clone();
    let node = bench.project.nodes[&draw].clone();
    let stranger = bench.ids.node();

    let mut two_labels = node.clone();
    if let NodeKind::Workflow(workflow) = &mut two_labels.kind {
        let mut again = workflow.parameters[0].clone();
        again.address = field("cfg");
        workflow.parameters.push(again);
    }
    let mut lost_port = Node::condition(stranger, "true", DataType::Any, &mut || bench.ids.port());
    lost_port.outputs.pop();
    let mut elsewhere = draw_node(&mut bench.ids);
    if let NodeKind::Workflow(workflow) = &mut elsewhere.kind {
        workflow.workflow = name("unknown");
    }
    let output = Node::output_to(draw, OutputNode::default(), DataType::Image, &mut || {
        bench.ids.port()
    });
    let refusals = [
        (Edit::AddNode(Box::new(node.clone())), "there is a node"),
        (Edit::RemoveNode(stranger), "is not in the project"),
        (
            Edit::MoveNode {
                node_id: draw,
                pos_world: [f32::NAN, 0.0],
            },
            "position is not a finite number",
        ),
        (
            Edit::SetParameter {
                node_id: draw,
                address: field("cfg"),
                value: None,
            },
            "does not show the parameter cfg of #3 KSampler",
        ),
        (
            Edit::SetParameter {
                node_id: draw,
                address: field("steps"),
                value: Some(Literal::Number(f64::INFINITY)),
            },
            "not a finite number",
        ),
        (Edit::configure(two_labels), "are called \"steps\""),
        (Edit::AddNode(Box::new(lost_port)), "ports do not fit"),
        (
            Edit::AddNode(Box::new(elsewhere)),
            "no workflow \"unknown\"",
        ),
        (Edit::configure(output), "cannot become a Output node"),
        (
            Edit::RemoveWorkflow(name("draw")),
            "\"draw\" uses the workflow",
        ),
        (
            Edit::AddWorkflow {
                name: name("DRAW"),
                file: file("{}"),
            },
            "has a workflow \"draw\" already",
        ),
    ];
    for (edit, expected) in refusals {
        // The batch has done something before it is refused, and takes it back.
        let batch = Edit::Batch(vec![
            Edit::RenameProject("other".to_owned()),
            Edit::RemoveNode(draw),
            Edit::AddNode(Box::new(node.clone())),
            edit,
        ]);
        let error = bench.project.apply(batch).unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{error:?} should say {expected:?}"
        );
        assert_eq!(bench.project, before);
    }
}

#[test]
fn a_drag_is_one_step_and_saving_is_remembered() {
    let mut bench = Bench::new();
    let draw = bench.draw("draw");
    let start = bench.bytes();
    let mut history = History::default();
    assert!(!history.is_dirty());
    let drag = |bench: &mut Bench, history: &mut History, gesture, x: f32| {
        let edit = Edit::MoveNode {
            node_id: draw,
            pos_world: [x, 0.0],
        };
        history
            .apply(&mut bench.project, "Move", vec![edit], Some(gesture))
            .unwrap();
    };
    for step in 1..=500 {
        drag(&mut bench, &mut history, 1, step as f32);
    }
    assert_eq!(history.undo_titles().count(), 1);
    drag(&mut bench, &mut history, 2, 7.0);
    history.mark_saved();
    let saved = bench.bytes();
    // The same gesture after a save is a new step, so that undo leads back to what was saved.
    drag(&mut bench, &mut history, 2, 8.0);
    assert!(history.is_dirty());
    history.undo(&mut bench.project).unwrap().unwrap();
    assert!(!history.is_dirty());
    assert_eq!(bench.bytes(), saved);
    history.undo(&mut bench.project).unwrap().unwrap();
    history.undo(&mut bench.project).unwrap().unwrap();
    assert_eq!(history.undo(&mut bench.project).unwrap(), None);
    assert!(history.is_dirty());
    assert_eq!(bench.bytes(), start);
    // A new edit forgets what was undone.
    assert_eq!(history.redo_title(), Some("Move"));
    drag(&mut bench, &mut history, 3, 1.0);
    assert_eq!(history.redo_title(), None);
}

/// Interprets three numbers as an edit of the project as it is. Many of these are illegal.
fn some_edit(bench: &mut Bench, (what, which, value): (u8, u16, u16)) -> Edit {
    let nodes: Vec<NodeId> = bench.project.nodes.keys().copied().collect();
    let pick = |offset: usize| {
        let at = usize::from(which) + offset;
        nodes.get(at % nodes.len().max(1)).copied()
    };
    let any = pick(0).unwrap_or_else(|| bench.ids.node());
    let ids = &mut bench.ids;
    let number = f32::from(value) / 16.0;
    let links: Vec<LinkId> = bench.project.links.keys().collect();
    let frames: Vec<FrameId> = bench.project.frames.keys().copied().collect();
    match what % 20 {
        0 => Edit::AddNode(Box::new(draw_node(ids))),
        1 => {
            let axes: &[&str] = [&["a"][..], &["a", "b"], &["c", "a", "b"]][usize::from(value % 3)];
            let id = ids.node();
            Edit::AddNode(Box::new(Node::fan_out(id, grid(axes), &mut || ids.port())))
        }
        2 => {
            let id = ids.node();
            let merge = MergeNode::default();
            let node = Node::merge(id, merge, DataType::Any, &mut || ids.port());
            Edit::AddNode(Box::new(node))
        }
        3 => {
            let id = ids.node();
            let literal = match value % 4 {
                0 => Literal::Number(f64::from(value) / 3.0),
                1 => Literal::Json(serde_json::json!({"a": [null, 1, {"b": "\u{0}\n"}]})),
                2 => Literal::Integer(u64::MAX.into()),
                _ => Literal::Text("\"quoted\"\\ \r\n\t{\u{1F600}".to_owned()),
            };
            let node = Node::input_literal(id, literal, &mut || ids.port());
            Edit::AddNode(Box::new(node))
        }
        4 => Edit::RemoveNode(any),
        5 => Edit::MoveNode {
            node_id: any,
            pos_world: [number, -number],
        },
        6 => Edit::ResizeNode {
            node_id: any,
            width_world: number,
        },
        7 => Edit::RenameNode {
            node_id: any,
            title: format!("node \"{value}\""),
        },
        8 => Edit::SetParameter {
            node_id: bench
                .project
                .nodes
                .values()
                .find(|node| matches!(node.kind, NodeKind::Workflow(_)))
                .map_or(any, |node| node.id),
            address: field("steps"),
            value: (value % 3 > 0).then(|| Literal::Integer(u64::from(value).into())),
        },
        9 => match bench.project.nodes.get(&any).cloned() {
            Some(node) => {
                let kind = match &node.kind {
                    NodeKind::FanOut(_) => NodeKind::FanOut(FanOutNode {
                        source: grid([&["a"][..], &["b", "a"], &["x"]][usize::from(value % 3)]),
                    }),
                    NodeKind::Merge(merge) => NodeKind::Merge(MergeNode {
                        mode: [MergeMode::All, MergeMode::Either][usize::from(value % 2)].clone(),
                        ..*merge
                    }),
                    other => other.clone(),
                };
                Edit::configure(node.with_kind(kind, &mut || ids.port()))
            }
            None => Edit::RemoveNode(any),
        },
        10 => Edit::SetOnFailure {
            node_id: any,
            on_failure: OnFailure::StopRun,
        },
        11..=14 => {
            let ends = |ports: fn(&Node) -> &Vec<Port>| -> Vec<PortRef> {
                let of_node = |node: &Node| -> Vec<PortRef> {
                    let node_id = node.id;
                    let end = |port: &Port| PortRef {
                        node: node_id,
                        port: port.id,
                    };
                    ports(node).iter().map(end).collect()
                };
                bench.project.nodes.values().flat_map(of_node).collect()
            };
            let (starts, targets) = (ends(|node| &node.outputs), ends(|node| &node.inputs));
            let from = starts
                .get(usize::from(which) % starts.len().max(1))
                .copied();
            let at = usize::from(value) % targets.len().max(1);
            let mut around = targets[at..].iter().chain(&targets[..at]).copied();
            let to = match from {
                // Mostly the next legal end, sometimes any.
                Some(from) if what % 20 < 14 => {
                    around.find(|to| bench.project.check_link(from, *to).is_ok())
                }
                _ => around.next(),
            };
            match (from, to) {
                (Some(from), Some(to)) => Edit::AddLink(Link {
                    id: ids.link(),
                    from,
                    to,
                }),
                _ => Edit::RenameProject(format!("project {value}")),
            }
        }
        15 => match links.get(usize::from(which) % links.len().max(1)) {
            Some(link) => Edit::RemoveLink(*link),
            None => Edit::RenameProject(format!("project {value}")),
        },
        16 => Edit::AddFrame(Frame {
            id: ids.frame(),
            title: "frame".to_owned(),
            pos_world: [number, 0.1],
            size_world: [number, number],
        }),
        17 => match frames.get(usize::from(which) % frames.len().max(1)) {
            Some(frame) if value % 2 == 0 => Edit::RemoveFrame(*frame),
            Some(frame) => Edit::SetFrame(Frame {
                id: *frame,
                title: format!("frame {value}"),
                pos_world: [number, 0.3],
                size_world: [1.0, 1.0],
            }),
            None => Edit::RemoveWorkflow(name("draw")),
        },
        18 => {
            let name = name(["draw", "more", "other"][usize::from(which % 3)]);
            match value % 3 {
                0 => Edit::AddWorkflow {
                    name,
                    file: file("{}"),
                },
                1 => Edit::ReplaceWorkflow {
                    name,
                    file: file(&value.to_string()),
                },
                _ => Edit::RemoveWorkflow(name),
            }
        }
        _ => Edit::Batch(vec![
            Edit::MoveNode {
                node_id: any,
                pos_world: [number, 1.0],
            },
            Edit::RemoveNode(any),
            Edit::RenameProject(format!("batch {value}")),
        ]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Any edits in any order: a refused one changes nothing; every state survives both file formats; undoing all gives
    /// the first bytes, redoing all the last.
    #[test]
    fn undoing_everything_gives_the_same_bytes(
        steps in proptest::collection::vec((any::<u8>(), any::<u16>(), any::<u16>(), 0..4_u64), 1..60)
    ) {
        let mut bench = Bench::new();
        let both = |project: &Project| {
            (write_folder_form(project).unwrap(), write_portable_form(project).unwrap())
        };
        let first = both(&bench.project);
        let mut history = History::default();
        for (what, which, value, gesture) in steps {
            let edit = some_edit(&mut bench, (what, which, value));
            let before = bench.project.clone();
            let gesture = (gesture > 0).then_some(gesture);
            let applied = history.apply(&mut bench.project, "step", vec![edit], gesture);
            if applied.is_err() {
                prop_assert_eq!(&bench.project, &before);
            }
        }
        let last = both(&bench.project);
        let ron = read_folder_form(last.0.as_bytes(), bench.project.workflows.clone()).unwrap();
        prop_assert_eq!(&ron, &bench.project);
        let json = read_portable_form(last.1.as_bytes()).unwrap();
        prop_assert_eq!(&both(&json), &last);
        // Whatever the edits were, no link is illegal.
        for problem in bench.problems() {
            prop_assert!(
                !matches!(problem.kind, ProblemKind::Link { .. } | ProblemKind::Cycle { .. }),
                "{}", problem
            );
        }
        while history.undo(&mut bench.project).unwrap().is_some() {}
        prop_assert!(!history.is_dirty());
        prop_assert_eq!(both(&bench.project), first);
        while history.redo(&mut bench.project).unwrap().is_some() {}
        prop_assert_eq!(both(&bench.project), last);
    }
}
