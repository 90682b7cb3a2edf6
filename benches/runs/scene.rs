//! Colours → a picture each → an output each.

use comfyui_orchestrator::project::{
    Affinity, BatchMode, CachePolicy, DataType, Edit, Fallback, FanOutSource, Link, LinkId, Node,
    NodeId, OutputNode, Port, PortBinding, PortId, PortNeed, PortRef, Project, ProjectId,
    RetryPolicy, SeedOrder, WorkflowFile, WorkflowName, WorkflowNode,
};
use comfyui_orchestrator::workflow::{NodeAddress, ParameterAddress};
use std::time::Duration;

/// The prompt: a picture of one colour, which its server thinks about for a while and saves.
pub fn prompt(color: u64, takes: Duration) -> serde_json::Value {
    serde_json::json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color}},
        "2": {"class_type": "OrchestratorSleep", "inputs": {"seconds": takes.as_secs_f64(), "steps": 1, "seed": 0,
            "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "bench"}}
    })
}

/// The project, and the port at which its Workflow node gives the picture.
pub fn project(first_color: u64, count: u32, takes: Duration) -> (Project, PortId) {
    let mut project = Project::new(ProjectId::new_now(), "Bench");
    let name = WorkflowName::new("draw").unwrap();
    let fresh: &mut dyn FnMut() -> PortId = &mut PortId::new_now;
    let source = FanOutSource::Seeds {
        axis: "color".to_owned(),
        first: first_color,
        count,
        order: SeedOrder::Increment,
    };
    let seeds = Node::fan_out(NodeId::new_now(), source, fresh);
    let address = |node_id: &str, class_type: &str| NodeAddress {
        node_id: node_id.to_owned(),
        class_type: class_type.to_owned(),
        title: String::new(),
    };
    let color_in = Port {
        id: PortId::new_now(),
        name: "color".to_owned(),
        data_type: DataType::Integer,
        binding: PortBinding::Parameter(ParameterAddress {
            node: address("1", "EmptyImage"),
            input: "color".to_owned(),
        }),
        need: PortNeed::Required,
    };
    let image_out = Port {
        id: PortId::new_now(),
        name: "image".to_owned(),
        data_type: DataType::Image,
        binding: PortBinding::WorkflowOutput {
            address: address("3", "SaveImage"),
            batch: BatchMode::Whole,
        },
        need: PortNeed::Optional,
    };
    let image = image_out.id;
    let settings = WorkflowNode {
        workflow: name.clone(),
        parameters: vec![],
        affinity: Affinity::Any,
        fallback: Fallback::AutoSelect,
        retry: RetryPolicy::default(),
        cache: CachePolicy::Use,
    };
    let draw = Node::workflow(NodeId::new_now(), settings, vec![color_in], vec![image_out]);
    let output = Node::output_to(
        NodeId::new_now(),
        OutputNode::default(),
        DataType::Image,
        fresh,
    );
    let link = |from: &Node, place: usize, to: &Node| Link {
        id: LinkId::new_now(),
        from: PortRef {
            node: from.id,
            port: from.outputs[place].id,
        },
        to: PortRef {
            node: to.id,
            port: to.inputs[0].id,
        },
    };
    let links = [link(&seeds, 0, &draw), link(&draw, 0, &output)];
    let text = prompt(0, takes).to_string();
    let file = WorkflowFile::new(text);
    project.apply(Edit::AddWorkflow { name, file }).unwrap();
    for node in [seeds, draw, output] {
        project.apply(Edit::AddNode(Box::new(node))).unwrap();
    }
    for link in links {
        project.apply(Edit::AddLink(link)).unwrap();
    }
    (project, image)
}
