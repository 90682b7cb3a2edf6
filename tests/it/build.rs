//! Projects of pictures of one colour and their negatives, put together node by node.

use comfyui_orchestrator::project::{
    Affinity, BatchMode, CachePolicy, DataType, ExposedParameter, Fallback, FanOutSource, Link,
    LinkId, MergeMode, MergeNode, Node, NodeId, OutputNode, Port, PortBinding, PortId, PortNeed,
    PortRef, Project, ProjectId, RetryPolicy, ReviewNode, Table, WorkflowFile, WorkflowName,
    WorkflowNode, write_portable_form,
};
use comfyui_orchestrator::workflow::{NodeAddress, ParameterAddress};
use std::path::Path;

const PLAIN: &str = r#"{
  "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 24, "batch_size": 1, "color": 0}},
  "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}}
}"#;

const INVERT: &str = r#"{
  "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
  "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
  "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}}
}"#;

fn address(node_id: &str, class_type: &str) -> NodeAddress {
    NodeAddress {
        node_id: node_id.to_owned(),
        class_type: class_type.to_owned(),
        title: String::new(),
    }
}

/// A project in the making: nodes by place, in the order in which they were added.
pub struct Build {
    pub project: Project,
    nodes: Vec<Node>,
}

impl Build {
    pub fn new() -> Self {
        let mut project = Project::new(ProjectId::new_now(), "Built");
        for (name, text) in [("plain", PLAIN), ("invert", INVERT)] {
            let file = WorkflowFile::new(text);
            let name = WorkflowName::new(name).expect("a name");
            project.workflows.insert(name, file);
        }
        Self {
            project,
            nodes: Vec::new(),
        }
    }

    pub fn add(&mut self, node: Node) -> usize {
        self.project.nodes.insert(node.id, node.clone());
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Changes a node that was added.
    pub fn edit(&mut self, place: usize, change: impl FnOnce(&mut Node)) {
        let node = &mut self.nodes[place];
        change(node);
        self.project.nodes.insert(node.id, node.clone());
    }

    /// The items of a source.
    pub fn fan_out(&mut self, source: FanOutSource) -> usize {
        self.add(Node::fan_out(
            NodeId::new_now(),
            source,
            &mut PortId::new_now,
        ))
    }

    /// A row of a table for each item, its first line the names of its columns.
    pub fn table(&mut self, text: &str) -> usize {
        let table = Table::from_text(text).expect("a table");
        self.fan_out(FanOutSource::Table(table))
    }

    /// A Workflow node for the file of this name, with fields (node, class, input, type) as inputs and the pictures of one
    /// node (its id and class) as output.
    fn workflow(
        &mut self,
        name: &str,
        fields: &[(&str, &str, &str, DataType)],
        output: (&str, &str),
    ) -> usize {
        let parameters: Vec<ExposedParameter> = fields
            .iter()
            .map(|(node_id, class_type, input, _)| ExposedParameter {
                group: None,
                address: ParameterAddress {
                    node: address(node_id, class_type),
                    input: (*input).to_owned(),
                },
                label: (*input).to_owned(),
                value: None,
                seed: comfyui_orchestrator::project::SeedPolicy::default(),
            })
            .collect();
        let inputs = parameters
            .iter()
            .zip(fields)
            .map(|(parameter, field)| Port {
                id: PortId::new_now(),
                name: parameter.label.clone(),
                data_type: field.3,
                binding: PortBinding::Parameter(parameter.address.clone()),
                need: PortNeed::Optional,
            })
            .collect();
        let image = Port {
            id: PortId::new_now(),
            name: "image".to_owned(),
            data_type: DataType::Image,
            binding: PortBinding::WorkflowOutput {
                address: address(output.0, output.1),
                batch: BatchMode::Whole,
            },
            need: PortNeed::Optional,
        };
        let settings = WorkflowNode {
            workflow: WorkflowName::new(name).expect("a name"),
            parameters,
            affinity: Affinity::Any,
            fallback: Fallback::AutoSelect,
            retry: RetryPolicy::default(),
            cache: CachePolicy::Use,
        };
        self.add(Node::workflow(
            NodeId::new_now(),
            settings,
            inputs,
            vec![image],
        ))
    }

    /// A picture of one colour. These fields are inputs.
    pub fn plain(&mut self, fields: &[&str]) -> usize {
        let fields: Vec<_> = fields
            .iter()
            .map(|field| ("1", "EmptyImage", *field, DataType::Integer))
            .collect();
        self.workflow("plain", &fields, ("2", "SaveImage"))
    }

    /// The negative of a picture.
    pub fn inverted(&mut self) -> usize {
        let fields = [("1", "LoadImage", "image", DataType::Image)];
        self.workflow("invert", &fields, ("3", "SaveImage"))
    }

    /// Pictures are looked at by a person.
    pub fn review(&mut self, question: &str) -> usize {
        let settings = ReviewNode {
            question: question.to_owned(),
        };
        self.add(Node::review(
            NodeId::new_now(),
            settings,
            DataType::Image,
            &mut PortId::new_now,
        ))
    }

    pub fn merge(&mut self, mode: MergeMode) -> usize {
        let settings = MergeNode {
            mode,
            ..MergeNode::default()
        };
        self.add(Node::merge(
            NodeId::new_now(),
            settings,
            DataType::Image,
            &mut PortId::new_now,
        ))
    }

    pub fn output(&mut self, template: &str) -> usize {
        let settings = OutputNode {
            template: template.to_owned(),
        };
        self.add(Node::output_to(
            NodeId::new_now(),
            settings,
            DataType::Image,
            &mut PortId::new_now,
        ))
    }

    /// A link from an output to an input, each as node and place of the port.
    pub fn link(&mut self, from: (usize, usize), to: (usize, usize)) {
        let end = |node: &Node, port: PortId| PortRef {
            node: node.id,
            port,
        };
        let (source, target) = (&self.nodes[from.0], &self.nodes[to.0]);
        self.project.links.insert(Link {
            id: LinkId::new_now(),
            from: end(source, source.outputs[from.1].id),
            to: end(target, target.inputs[to.1].id),
        });
    }

    /// As a portable file in a folder: its path.
    pub fn write(&self, folder: &Path) -> String {
        let path = folder.join("built.orchestrator.json");
        std::fs::write(&path, write_portable_form(&self.project).expect("writable"))
            .expect("written");
        path.to_string_lossy().into_owned()
    }
}
