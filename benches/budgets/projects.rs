//! Opening a project of 800 nodes: reading both forms, the first validation, and all of it from a folder on the disk.

use comfyui_orchestrator::project::{
    Affinity, BatchMode, CachePolicy, DataType, Edit, ExposedParameter, Fallback, FanOutSource,
    Frame, FrameId, Link, LinkId, Literal, MergeNode, Node, NodeId, OutputNode, Port, PortBinding,
    PortId, PortNeed, PortRef, Project, ProjectId, RetryPolicy, SeedOrder, WorkflowFacts,
    WorkflowFile, WorkflowName, WorkflowNode, read_folder_form, read_portable_form, validate,
    write_folder_form, write_portable_form,
};
use comfyui_orchestrator::store::project_folder::{self, Overwrite, ProjectPlace};
use comfyui_orchestrator::workflow::{NodeAddress, ParameterAddress};
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use uuid::Uuid;

/// Groups of eight nodes.
const GROUPS: u16 = 100;
/// Workflow files of the project.
const WORKFLOWS: u16 = 8;

/// A prompt with a text, a seed and a picture to start from.
pub const DRAW: &str = r#"{
  "3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal",
        "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
  "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
  "5": {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}},
  "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse in a storm", "clip": ["4", 1]}, "_meta": {"title": "Looks"}},
  "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}, "_meta": {"title": "Avoid"}},
  "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
  "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "draw", "images": ["8", 0]}, "_meta": {"title": "Save"}},
  "10": {"class_type": "LoadImage", "inputs": {"image": "start.png"}, "_meta": {"title": "Start"}}
}"#;

/// Reads and validates the project in each way it can lie.
pub fn open(criterion: &mut Criterion) {
    let project = large();
    assert_eq!(project.nodes.len(), 800);
    let facts = WorkflowFacts::of_all(&project, None);
    let first_problem = validate(&project, &facts).into_iter().next();
    assert_eq!(first_problem, None);
    let ron = write_folder_form(&project).unwrap();
    let json = write_portable_form(&project).unwrap();
    assert_eq!(
        read_folder_form(ron.as_bytes(), project.workflows.clone()).unwrap(),
        project
    );
    assert_eq!(read_portable_form(json.as_bytes()).unwrap(), project);

    let mut group = criterion.benchmark_group(format!(
        "open a project of {} nodes, {} links",
        project.nodes.len(),
        project.links.len()
    ));
    group.throughput(Throughput::Bytes(ron.len() as u64));
    group.bench_function("read project.ron", |b| {
        b.iter(|| {
            read_folder_form(black_box(ron.as_bytes()), project.workflows.clone()).unwrap();
        });
    });
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("read .orchestrator.json", |b| {
        b.iter(|| read_portable_form(black_box(json.as_bytes())).unwrap());
    });
    group.throughput(Throughput::Elements(project.nodes.len() as u64));
    group.bench_function("read its workflows and validate", |b| {
        b.iter(|| validate(black_box(&project), &WorkflowFacts::of_all(&project, None)));
    });
    let folder = tempfile::tempdir().unwrap();
    let place = ProjectPlace::Folder(folder.path().join("large"));
    project_folder::save(&place, &project, &Overwrite::Nothing).unwrap();
    group.bench_function("from the folder to validated", |b| {
        b.iter(|| {
            let opened = project_folder::open(&folder.path().join("large")).unwrap();
            let facts = WorkflowFacts::of_all(&opened.project, None);
            validate(&opened.project, &facts)
        });
    });
    group.finish();
}

/// Per group: a text, seeds, a drawing, a condition, a second drawing from the first, a merge and two outputs.
fn large() -> Project {
    let mut build = Build::new("Large");
    build.workflow("draw", DRAW);
    for number in 1..WORKFLOWS {
        build.workflow(&format!("draw-{number}"), DRAW);
    }
    for group in 0..GROUPS {
        let place = [
            f32::from(group % 10) * 2600.0,
            f32::from(group / 10) * 900.0,
        ];
        let at = |column: f32, row: f32| [place[0] + column * 300.0, place[1] + row * 250.0];
        let source = FanOutSource::Seeds {
            axis: "seed".to_owned(),
            first: 1,
            count: 16,
            order: SeedOrder::Scatter,
        };
        let text = Literal::Text(format!("picture {group}: a lighthouse in a storm"));
        let ids = &mut build.ids;
        let (id, mut fresh) = (ids.node(), || ids.port());
        let text = Node::input_literal(id, text, &mut fresh);
        let id = build.ids.node();
        let seeds = Node::fan_out(id, source, &mut || build.ids.port());
        let draw = draw_node(&mut build.ids);
        let id = build.ids.node();
        let condition = Node::condition(id, "sharpness > 0.1", DataType::Image, &mut || {
            build.ids.port()
        });
        let again = draw_node(&mut build.ids);
        let id = build.ids.node();
        let merge = Node::merge(id, MergeNode::default(), DataType::Image, &mut || {
            build.ids.port()
        });
        let id = build.ids.node();
        let sheet = Node::output_to(id, OutputNode::default(), DataType::Image, &mut || {
            build.ids.port()
        });
        let id = build.ids.node();
        let each = Node::output_to(id, OutputNode::default(), DataType::Image, &mut || {
            build.ids.port()
        });
        let text = build.add(text.at(at(0.0, 0.0)));
        let seeds = build.add(seeds.at(at(0.0, 1.0)));
        let draw = build.add(draw.at(at(1.0, 0.0)).titled(&format!("Draw {group}")));
        let condition = build.add(condition.at(at(2.0, 0.0)));
        let again = build.add(again.at(at(3.0, 0.0)).titled(&format!("Again {group}")));
        let merge = build.add(merge.at(at(4.0, 0.0)));
        let sheet = build.add(sheet.at(at(5.0, 0.0)));
        let each = build.add(each.at(at(5.0, 1.0)));
        build.link((text, 0), (draw, 0));
        build.link((seeds, 0), (draw, 1));
        build.link((draw, 0), (condition, 0));
        build.link((condition, 0), (again, 2));
        build.link((again, 0), (merge, 0));
        build.link((merge, 1), (sheet, 0));
        build.link((draw, 0), (each, 0));
        let frame = Frame {
            id: build.ids.frame(),
            title: format!("Group {group}"),
            pos_world: place,
            size_world: [2000.0, 700.0],
        };
        build.project.frames.insert(frame.id, frame);
    }
    build.project
}

/// A Workflow node for [`DRAW`]: inputs for text, seed and picture; one picture out.
pub fn draw_node(ids: &mut Ids) -> Node {
    let field = |node_id: &str, class_type: &str, input: &str| ParameterAddress {
        node: address(node_id, class_type),
        input: input.to_owned(),
    };
    let input = |id, name: &str, data_type, address| Port {
        id,
        name: name.to_owned(),
        data_type,
        binding: PortBinding::Parameter(address),
        need: PortNeed::Optional,
    };
    let settings = WorkflowNode {
        workflow: WorkflowName::new("draw").unwrap(),
        parameters: [("steps", 20), ("cfg", 8)]
            .map(|(label, value)| ExposedParameter {
                group: None,
                address: field("3", "KSampler", label),
                label: label.to_owned(),
                value: Some(Literal::Integer(i64::from(value).into())),
                seed: comfyui_orchestrator::project::SeedPolicy::default(),
            })
            .into(),
        affinity: Affinity::default(),
        fallback: Fallback::default(),
        retry: RetryPolicy::default(),
        cache: CachePolicy::default(),
    };
    let inputs = vec![
        input(
            ids.port(),
            "text",
            DataType::Text,
            field("6", "CLIPTextEncode", "text"),
        ),
        input(
            ids.port(),
            "seed",
            DataType::Integer,
            field("3", "KSampler", "seed"),
        ),
        input(
            ids.port(),
            "image",
            DataType::Image,
            field("10", "LoadImage", "image"),
        ),
    ];
    let outputs = vec![Port {
        id: ids.port(),
        name: "image".to_owned(),
        data_type: DataType::Image,
        binding: PortBinding::WorkflowOutput {
            address: address("9", "SaveImage"),
            batch: BatchMode::Whole,
        },
        need: PortNeed::Optional,
    }];
    Node::workflow(ids.node(), settings, inputs, outputs)
}

fn address(node_id: &str, class_type: &str) -> NodeAddress {
    NodeAddress {
        node_id: node_id.to_owned(),
        class_type: class_type.to_owned(),
        title: String::new(),
    }
}

/// Ids in order, so that every run of a bench works on the same document.
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

    fn frame(&mut self) -> FrameId {
        FrameId::from_uuid(self.next())
    }
}

/// A project in the making. Every edit is checked as in the app.
pub struct Build {
    pub ids: Ids,
    pub project: Project,
}

impl Build {
    pub fn new(name: &str) -> Self {
        let mut ids = Ids::default();
        let project = Project::new(ProjectId::from_uuid(ids.next()), name);
        Self { ids, project }
    }

    pub fn workflow(&mut self, name: &str, text: &str) {
        let name = WorkflowName::new(name).unwrap();
        let file = WorkflowFile::new(text);
        self.project
            .apply(Edit::AddWorkflow { name, file })
            .unwrap();
    }

    pub fn add(&mut self, node: Node) -> NodeId {
        let id = node.id;
        self.project.apply(Edit::AddNode(Box::new(node))).unwrap();
        id
    }

    /// Links an output to an input, each given by its node and its place from the top.
    pub fn link(&mut self, from: (NodeId, usize), to: (NodeId, usize)) {
        let link = Link {
            id: LinkId::from_uuid(self.ids.next()),
            from: PortRef {
                node: from.0,
                port: self.project.nodes[&from.0].outputs[from.1].id,
            },
            to: PortRef {
                node: to.0,
                port: self.project.nodes[&to.0].inputs[to.1].id,
            },
        };
        self.project.apply(Edit::AddLink(link)).unwrap();
    }
}
