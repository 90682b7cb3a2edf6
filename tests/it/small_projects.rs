//! Projects of a few nodes, made from workflows in the API format.

use comfyui_orchestrator::project::{
    BatchMode, DataType, Edit, FanOutSource, InputValue, Link, LinkId, Node, NodeId, NodeKind,
    OutputNode, Port, PortBinding, PortId, PortNeed, PortRef, Project, ProjectId, RetryPolicy,
    WorkflowFile, WorkflowName, WorkflowNode, read_portable_form,
};
use comfyui_orchestrator::workflow::{self, Prompt};
use serde_json::Value;
use std::path::Path;

/// A Workflow node with the workflow's first output, and one field as an input.
pub fn workflow_node(
    project: &mut Project,
    name: &str,
    prompt: &Value,
    field: Option<(&str, &str)>,
    retry: RetryPolicy,
) -> Node {
    let text = prompt.to_string();
    let prompt: Prompt = serde_json::from_str(&text).unwrap();
    let inspection = workflow::inspect(&prompt, None);
    let inputs = field
        .map(|(node_id, input)| {
            let found = inspection
                .fields
                .iter()
                .find(|field| field.address.node.node_id == node_id && field.address.input == input)
                .unwrap();
            Port {
                id: PortId::new_now(),
                name: found.label.clone(),
                data_type: found.value_type.into(),
                binding: PortBinding::Parameter(found.address.clone()),
                need: PortNeed::Required,
            }
        })
        .into_iter()
        .collect();
    let output = &inspection.outputs[0];
    let outputs = vec![Port {
        id: PortId::new_now(),
        name: output.label.clone(),
        data_type: output.value_type.into(),
        binding: PortBinding::WorkflowOutput {
            address: output.address.clone(),
            batch: BatchMode::Whole,
        },
        need: PortNeed::Optional,
    }];
    let name = WorkflowName::new(name).unwrap();
    project
        .workflows
        .insert(name.clone(), WorkflowFile::new(text));
    let settings = WorkflowNode {
        workflow: name,
        parameters: Vec::new(),
        affinity: comfyui_orchestrator::project::Affinity::default(),
        fallback: comfyui_orchestrator::project::Fallback::default(),
        retry,
        cache: comfyui_orchestrator::project::CachePolicy::default(),
    };
    Node::workflow(NodeId::new_now(), settings, inputs, outputs)
}

fn add(project: &mut Project, node: &Node) {
    project
        .apply(Edit::AddNode(Box::new(node.clone())))
        .unwrap();
}

/// A link from the first output to the first input.
pub fn join(project: &mut Project, from: &Node, to: &Node) {
    let link = Link {
        id: LinkId::new_now(),
        from: PortRef {
            node: from.id,
            port: from.outputs[0].id,
        },
        to: PortRef {
            node: to.id,
            port: to.inputs[0].id,
        },
    };
    project.apply(Edit::AddLink(link)).unwrap();
}

fn output(name: &str) -> Node {
    let settings = OutputNode {
        template: format!("{name}_{{label}}.{{ext}}"),
    };
    Node::output_to(
        NodeId::new_now(),
        settings,
        DataType::Image,
        &mut PortId::new_now,
    )
}

/// The sample with small pictures, so that a run takes seconds.
pub fn small_harbour() -> Project {
    let scene = include_str!("../../scenes/harbour-at-dusk.orchestrator.json");
    let mut project = read_portable_form(scene.as_bytes()).unwrap();
    for file in project.workflows.values_mut() {
        let text = file
            .text
            .replace("768", "96")
            .replace("\"height\": 512", "\"height\": 64");
        *file = WorkflowFile::new(text);
    }
    project
}

/// `count` whole numbers from 0 → the workflow's field → Output, a file for each.
pub fn numbered(prompt: &Value, field: (&str, &str), count: u32, retry: RetryPolicy) -> Project {
    let mut project = Project::new(ProjectId::new_now(), "Numbered");
    let source = FanOutSource::Range {
        axis: "n".to_owned(),
        start: 0.0,
        step: 1.0,
        count,
    };
    let fan_out = Node::fan_out(NodeId::new_now(), source, &mut PortId::new_now);
    let node = workflow_node(&mut project, "work", prompt, Some(field), retry);
    let output = output("file");
    for node in [&fan_out, &node, &output] {
        add(&mut project, node);
    }
    join(&mut project, &fan_out, &node);
    join(&mut project, &node, &output);
    project
}

fn picture_file(file: &Path) -> Node {
    let mut input = Node::input_file(NodeId::new_now(), "", DataType::Image, &mut PortId::new_now);
    if let NodeKind::Input(settings) = &mut input.kind {
        settings.value = InputValue::File(file.to_string_lossy().into_owned());
    }
    input
}

/// A picture's file → Output: a run that needs no backend.
pub fn copied(file: &Path) -> Project {
    let mut project = Project::new(ProjectId::new_now(), "Copy");
    let (input, output) = (picture_file(file), output("copy"));
    for node in [&input, &output] {
        add(&mut project, node);
    }
    join(&mut project, &input, &output);
    project
}

/// For each file: Input → the workflow's loader → Output.
pub fn one_for_each_file(prompt: &Value, loader: (&str, &str), files: &[&Path]) -> Project {
    let mut project = Project::new(ProjectId::new_now(), "Files");
    for file in files {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let input = picture_file(file);
        let retry = RetryPolicy::default();
        let node = workflow_node(&mut project, "work", prompt, Some(loader), retry);
        let output = output(&stem);
        for node in [&input, &node, &output] {
            add(&mut project, node);
        }
        join(&mut project, &input, &node);
        join(&mut project, &node, &output);
    }
    project
}

/// A picture's workflow → a workflow that loads it → Output. The nodes are called `first`, `second` and `Output`.
pub fn chain(first: &Value, second: &Value, loader: (&str, &str)) -> Project {
    let mut project = Project::new(ProjectId::new_now(), "Chain");
    let retry = RetryPolicy::default();
    let mut one = workflow_node(&mut project, "first", first, None, retry);
    let mut other = workflow_node(&mut project, "second", second, Some(loader), retry);
    "first".clone_into(&mut one.title);
    "second".clone_into(&mut other.title);
    let output = output("end");
    for node in [&one, &other, &output] {
        add(&mut project, node);
    }
    join(&mut project, &one, &other);
    join(&mut project, &other, &output);
    project
}
