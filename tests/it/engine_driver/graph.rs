//! Graphs in a few lines.

use comfyui_orchestrator::engine::{Plan, PlanProblem};
use comfyui_orchestrator::project::{
    Affinity, Axis, BatchMode, CachePolicy, ConditionNode, ContactSheet, DataType, Fallback,
    FanOutNode, FanOutSource, InputNode, InputValue, Link, LinkId, Literal, MergeFailurePolicy,
    MergeMode, MergeNode, MergeScope, Node, NodeId, NodeKind, OnFailure, OutputNode, Port,
    PortBinding, PortId, PortNeed, PortRef, Project, ProjectId, RetryPolicy, ReviewNode,
    WorkflowFile, WorkflowName, WorkflowNode,
};
use comfyui_orchestrator::workflow::{NodeAddress, ParameterAddress};
use std::sync::Arc;
use uuid::Uuid;

/// A project in the making. Ports are named: FanOut `value` in, axis = its title, `value` out; Workflow as given, `image`
/// out; Condition `value`, `true`, `false`; Merge `values`, `list`, `sheet`; Output and Input `value`.
pub struct Graph {
    pub project: Project,
    next: u128,
}

impl Graph {
    pub fn new() -> Self {
        let mut project = Project::new(ProjectId::from_uuid(Uuid::from_u128(1)), "Test");
        for name in ["w", "other"] {
            project.workflows.insert(
                WorkflowName::new(name).unwrap(),
                WorkflowFile::new(format!("{{\"{name}\":1}}")),
            );
        }
        Self { project, next: 100 }
    }

    /// A project as it is, for one more run of it.
    pub fn of(project: Project) -> Self {
        Self {
            project,
            next: 1_000_000,
        }
    }

    fn uuid(&mut self) -> Uuid {
        self.next += 1;
        Uuid::from_u128(self.next)
    }

    fn port(&mut self, name: &str, data_type: DataType, binding: PortBinding) -> Port {
        Port {
            id: PortId::from_uuid(self.uuid()),
            name: name.to_owned(),
            data_type,
            binding,
            need: PortNeed::Optional,
        }
    }

    fn node(
        &mut self,
        title: &str,
        kind: NodeKind,
        inputs: Vec<Port>,
        outputs: Vec<Port>,
    ) -> NodeId {
        let id = NodeId::from_uuid(self.uuid());
        self.project.nodes.insert(
            id,
            Node {
                id,
                title: title.to_owned(),
                pos_world: [0.0, 0.0],
                width_world: 200.0,
                kind,
                inputs,
                outputs,
                on_failure: OnFailure::Continue,
            },
        );
        id
    }

    pub fn fan_out(&mut self, title: &str, count: u32) -> NodeId {
        let value_in = self.port("value", DataType::Any, PortBinding::Value);
        let axis = self.port(
            title,
            DataType::Integer,
            PortBinding::Axis(title.to_owned()),
        );
        let value_out = self.port("value", DataType::Any, PortBinding::Value);
        let source = FanOutSource::Range {
            axis: title.to_owned(),
            start: 0.0,
            step: 1.0,
            count,
        };
        let kind = NodeKind::FanOut(FanOutNode { source });
        self.node(title, kind, vec![value_in], vec![axis, value_out])
    }

    pub fn grid(&mut self, title: &str, axes: &[(&str, u32)]) -> NodeId {
        let outputs = axes
            .iter()
            .map(|(name, _)| {
                self.port(
                    name,
                    DataType::Integer,
                    PortBinding::Axis((*name).to_owned()),
                )
            })
            .collect();
        let axes = axes
            .iter()
            .map(|(name, count)| Axis {
                name: (*name).to_owned(),
                data_type: DataType::Integer,
                values: (0..*count)
                    .map(|value| Literal::Integer(value.into()))
                    .collect(),
            })
            .collect();
        let kind = NodeKind::FanOut(FanOutNode {
            source: FanOutSource::Grid(axes),
        });
        self.node(title, kind, vec![], outputs)
    }

    pub fn input(&mut self, title: &str, text: &str) -> NodeId {
        let value = self.port("value", DataType::Text, PortBinding::Value);
        let kind = NodeKind::Input(InputNode {
            value: InputValue::Literal(Literal::Text(text.to_owned())),
        });
        self.node(title, kind, vec![], vec![value])
    }

    pub fn workflow(&mut self, title: &str, inputs: &[&str]) -> NodeId {
        self.workflow_with(title, inputs, BatchMode::Whole)
    }

    pub fn workflow_with(&mut self, title: &str, inputs: &[&str], batch: BatchMode) -> NodeId {
        let inputs = inputs
            .iter()
            .map(|name| self.port(name, DataType::Any, PortBinding::Parameter(field(name))))
            .collect();
        let binding = PortBinding::WorkflowOutput {
            address: address("9", "SaveImage"),
            batch,
        };
        let image = self.port("image", DataType::Image, binding);
        let kind = NodeKind::Workflow(WorkflowNode {
            workflow: WorkflowName::new("w").unwrap(),
            parameters: vec![],
            affinity: Affinity::Any,
            fallback: Fallback::AutoSelect,
            retry: RetryPolicy::default(),
            cache: CachePolicy::Use,
        });
        self.node(title, kind, inputs, vec![image])
    }

    /// A fan-out of any source, with an input `value` and its axes and `value` as outputs.
    pub fn fan_out_of(&mut self, title: &str, source: FanOutSource) -> NodeId {
        let value_in = self.port("value", DataType::Any, PortBinding::Value);
        let axes: Vec<(String, DataType)> = source
            .axes()
            .into_iter()
            .map(|(name, data_type)| (name.to_owned(), data_type))
            .collect();
        let mut outputs: Vec<Port> = axes
            .into_iter()
            .map(|(name, data_type)| self.port(&name, data_type, PortBinding::Axis(name.clone())))
            .collect();
        outputs.push(self.port("value", DataType::Any, PortBinding::Value));
        let kind = NodeKind::FanOut(FanOutNode { source });
        self.node(title, kind, vec![value_in], outputs)
    }

    pub fn review(&mut self, title: &str) -> NodeId {
        let value = self.port("value", DataType::Any, PortBinding::Value);
        let picked = self.port("picked", DataType::Any, PortBinding::Value);
        let kind = NodeKind::Review(ReviewNode::default());
        self.node(title, kind, vec![value], vec![picked])
    }

    pub fn condition(&mut self, title: &str) -> NodeId {
        let value = self.port("value", DataType::Any, PortBinding::Value);
        let when_true = self.port("true", DataType::Any, PortBinding::WhenTrue);
        let when_false = self.port("false", DataType::Any, PortBinding::WhenFalse);
        let kind = NodeKind::Condition(ConditionNode {
            expression: "true".to_owned(),
        });
        self.node(title, kind, vec![value], vec![when_true, when_false])
    }

    pub fn merge(&mut self, title: &str, closes: MergeScope) -> NodeId {
        self.merge_with(title, MergeMode::All, closes, MergeFailurePolicy::Ignore)
    }

    pub fn merge_with(
        &mut self,
        title: &str,
        mode: MergeMode,
        closes: MergeScope,
        on_failed: MergeFailurePolicy,
    ) -> NodeId {
        let values = self.port("values", DataType::Any, PortBinding::Value);
        let list = self.port("list", DataType::Any, PortBinding::List);
        let sheet = self.port("sheet", DataType::Image, PortBinding::ContactSheet);
        let kind = NodeKind::Merge(MergeNode {
            mode,
            closes,
            on_failed,
            contact_sheet: ContactSheet::default(),
        });
        self.node(title, kind, vec![values], vec![list, sheet])
    }

    pub fn output(&mut self, title: &str) -> NodeId {
        let value = self.port("value", DataType::Any, PortBinding::Value);
        self.node(
            title,
            NodeKind::Output(OutputNode::default()),
            vec![value],
            vec![],
        )
    }

    /// `"W.image -> O.value"` by node id and port name.
    pub fn link(&mut self, from: NodeId, from_port: &str, to: NodeId, to_port: &str) {
        let id = LinkId::from_uuid(self.uuid());
        let port_of = |ports: &[Port], name: &str| {
            ports
                .iter()
                .find(|port| port.name == name)
                .map(|port| port.id)
        };
        let from_id = port_of(&self.project.nodes[&from].outputs, from_port)
            .unwrap_or_else(|| panic!("no output {from_port}"));
        let to_id = port_of(&self.project.nodes[&to].inputs, to_port)
            .unwrap_or_else(|| panic!("no input {to_port}"));
        self.project.links.insert(Link {
            id,
            from: PortRef {
                node: from,
                port: from_id,
            },
            to: PortRef {
                node: to,
                port: to_id,
            },
        });
    }

    pub fn edit(&mut self, node: NodeId) -> &mut Node {
        self.project.nodes.get_mut(&node).unwrap()
    }

    pub fn edit_workflow(&mut self, node: NodeId) -> &mut WorkflowNode {
        match &mut self.edit(node).kind {
            NodeKind::Workflow(workflow) => workflow,
            _ => panic!("not a Workflow node"),
        }
    }

    pub fn compile(&self) -> Result<Plan, Vec<PlanProblem>> {
        Plan::compile(Arc::new(self.project.clone()))
    }
}

/// Where a field of this name lies in the workflows of these graphs.
pub fn field(name: &str) -> ParameterAddress {
    ParameterAddress {
        node: address("1", "Make"),
        input: name.to_owned(),
    }
}

fn address(node_id: &str, class_type: &str) -> NodeAddress {
    NodeAddress {
        node_id: node_id.to_owned(),
        class_type: class_type.to_owned(),
        title: String::new(),
    }
}
