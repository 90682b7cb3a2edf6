//! Which ports a node of each kind has, and nodes made with exactly these.
//!
//! A Workflow node's ports are chosen by the person; every other kind's follow from its settings.

use super::data::{DataType, Literal};
use super::fan_out::{FanOutNode, FanOutSource};
use super::id::{NodeId, PortId};
use super::merge::{MergeMode, MergeNode};
use super::node::{
    ConditionNode, InputNode, InputValue, Node, NodeKind, OnFailure, OutputNode, Port, PortBinding,
    PortNeed, ReviewNode, WorkflowNode,
};

/// Width of a fresh node in canvas units.
pub const DEFAULT_NODE_WIDTH: f32 = 240.0;

/// A port as its node's settings ask for it: without identity.
#[derive(Clone, Debug, PartialEq)]
struct PortPlan {
    name: String,
    data_type: DataType,
    binding: PortBinding,
    need: PortNeed,
}

impl PortPlan {
    fn new(name: &str, data_type: DataType, binding: PortBinding) -> Self {
        Self {
            name: name.to_owned(),
            data_type,
            binding,
            need: PortNeed::Optional,
        }
    }

    fn required(name: &str, data_type: DataType, binding: PortBinding) -> Self {
        Self {
            need: PortNeed::Required,
            ..Self::new(name, data_type, binding)
        }
    }

    fn into_port(self, id: PortId) -> Port {
        Port {
            id,
            name: self.name,
            data_type: self.data_type,
            binding: self.binding,
            need: self.need,
        }
    }
}

/// What a person chooses about the ports of a node beside its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    /// The type of what flows through.
    data_type: DataType,
    /// Whether a `FanOut` runs once per incoming item and hands that item on.
    pass_through: bool,
}

/// Inputs and outputs of a node of this kind; none for a Workflow node, whose ports do not follow from its settings.
fn plan(kind: &NodeKind, choice: Choice) -> Option<(Vec<PortPlan>, Vec<PortPlan>)> {
    use PortBinding::{Axis, ContactSheet, List, Value, WhenFalse, WhenTrue};
    let data_type = choice.data_type;
    Some(match kind {
        NodeKind::Workflow(_) => return None,
        NodeKind::Input(_) => (Vec::new(), vec![PortPlan::new("value", data_type, Value)]),
        NodeKind::Output(_) => (
            vec![PortPlan::required("value", data_type, Value)],
            Vec::new(),
        ),
        NodeKind::Condition(_) => (
            vec![PortPlan::required("value", data_type, Value)],
            vec![
                PortPlan::new("true", data_type, WhenTrue),
                PortPlan::new("false", data_type, WhenFalse),
            ],
        ),
        NodeKind::Review(_) => (
            vec![PortPlan::required("value", data_type, Value)],
            vec![PortPlan::new("picked", data_type, Value)],
        ),
        NodeKind::FanOut(fan_out) => {
            let mut inputs = Vec::new();
            let mut outputs: Vec<_> = fan_out
                .source
                .axes()
                .into_iter()
                .map(|(name, data_type)| PortPlan::new(name, data_type, Axis(name.to_owned())))
                .collect();
            if choice.pass_through || matches!(fan_out.source, FanOutSource::Split { .. }) {
                inputs.push(PortPlan::required("value", data_type, Value));
                outputs.push(PortPlan::new("value", data_type, Value));
            }
            (inputs, outputs)
        }
        NodeKind::Merge(merge) => (
            vec![PortPlan::required("values", data_type, Value)],
            match merge.mode {
                MergeMode::All | MergeMode::First { .. } | MergeMode::Best { .. } => vec![
                    PortPlan::new("list", data_type, List),
                    PortPlan::new("contact sheet", DataType::Image, ContactSheet),
                ],
                MergeMode::Either => vec![PortPlan::new("value", data_type, Value)],
            },
        ),
    })
}

impl FanOutSource {
    /// Name and type of each axis, in the order of the output ports. A range is whole when start and step are.
    #[must_use]
    pub fn axes(&self) -> Vec<(&str, DataType)> {
        match self {
            Self::List(axis) => vec![(&axis.name, axis.data_type)],
            Self::Range {
                axis, start, step, ..
            } => {
                let whole = start.fract() == 0.0 && step.fract() == 0.0;
                let data_type = if whole {
                    DataType::Integer
                } else {
                    DataType::Number
                };
                vec![(axis, data_type)]
            }
            Self::Seeds { axis, .. } => vec![(axis, DataType::Integer)],
            Self::Grid(axes) | Self::Zip(axes) => axes
                .iter()
                .map(|axis| (axis.name.as_str(), axis.data_type))
                .collect(),
            Self::Table(table) => table
                .columns
                .iter()
                .map(|column| (column.name.as_str(), column.data_type))
                .collect(),
            Self::Files(files) => vec![(&files.axis, files.data_type)],
            Self::Split { axis, data_type } => vec![(axis, *data_type)],
        }
    }
}

impl Node {
    /// A Workflow node with the ports that the person exposed. Parameters become inputs with
    /// [`PortBinding::Parameter`], output nodes of the workflow become outputs with [`PortBinding::WorkflowOutput`].
    #[must_use]
    pub fn workflow(
        id: NodeId,
        settings: WorkflowNode,
        inputs: Vec<Port>,
        outputs: Vec<Port>,
    ) -> Self {
        let title = settings.workflow.as_str().to_owned();
        Self {
            title,
            inputs,
            outputs,
            ..Self::bare(id, NodeKind::Workflow(settings))
        }
    }

    /// An Input node that gives a typed value.
    #[must_use]
    pub fn input_literal(
        id: NodeId,
        value: Literal,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        let data_type = value.data_type();
        let value = InputValue::Literal(value);
        Self::laid_out(
            id,
            NodeKind::Input(InputNode { value }),
            data_type,
            fresh_port,
        )
    }

    /// An Input node that gives a file, taken for a value of this type.
    #[must_use]
    pub fn input_file(
        id: NodeId,
        path: &str,
        data_type: DataType,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        let value = InputValue::File(path.to_owned());
        Self::laid_out(
            id,
            NodeKind::Input(InputNode { value }),
            data_type,
            fresh_port,
        )
    }

    /// An Output node for values of this type.
    #[must_use]
    pub fn output_to(
        id: NodeId,
        settings: OutputNode,
        data_type: DataType,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        Self::laid_out(id, NodeKind::Output(settings), data_type, fresh_port)
    }

    /// A Condition over values of this type.
    #[must_use]
    pub fn condition(
        id: NodeId,
        expression: &str,
        data_type: DataType,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        let expression = expression.to_owned();
        let kind = NodeKind::Condition(ConditionNode { expression });
        Self::laid_out(id, kind, data_type, fresh_port)
    }

    /// A `FanOut` that starts by itself: an output for each axis and no input.
    #[must_use]
    pub fn fan_out(
        id: NodeId,
        source: FanOutSource,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        let kind = NodeKind::FanOut(FanOutNode { source });
        Self::laid_out(id, kind, DataType::Any, fresh_port)
    }

    /// A `FanOut` that runs once per incoming value of this type and hands the value on beside its axes.
    #[must_use]
    pub fn fan_out_per_value(
        id: NodeId,
        source: FanOutSource,
        data_type: DataType,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        let node = Self::bare(id, NodeKind::FanOut(FanOutNode { source }));
        let choice = Choice {
            data_type,
            pass_through: true,
        };
        node.with_layout(choice, fresh_port)
    }

    /// A Review of values of this type.
    #[must_use]
    pub fn review(
        id: NodeId,
        settings: ReviewNode,
        data_type: DataType,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        Self::laid_out(id, NodeKind::Review(settings), data_type, fresh_port)
    }

    /// A Merge of values of this type.
    #[must_use]
    pub fn merge(
        id: NodeId,
        settings: MergeNode,
        data_type: DataType,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        Self::laid_out(id, NodeKind::Merge(settings), data_type, fresh_port)
    }

    /// The same node at another place.
    #[must_use]
    pub fn at(mut self, pos_world: [f32; 2]) -> Self {
        self.pos_world = pos_world;
        self
    }

    /// The same node under another title.
    #[must_use]
    pub fn titled(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }

    /// The same node with other settings, and the ports these ask for. A port whose meaning still exists keeps its id,
    /// so its links stay; an axis that was renamed in its place keeps its port too. A Workflow node keeps its ports.
    #[must_use]
    pub fn with_kind(mut self, kind: NodeKind, fresh_port: &mut dyn FnMut() -> PortId) -> Self {
        let choice = self.choice();
        self.kind = kind;
        // An Input that gives a typed value has the type of that value.
        let choice = match &self.kind {
            NodeKind::Input(InputNode {
                value: InputValue::Literal(literal),
            }) if !choice.data_type.accepts(literal.data_type()) => Choice {
                data_type: literal.data_type(),
                ..choice
            },
            _ => choice,
        };
        self.with_layout(choice, fresh_port)
    }

    /// The same node for values of another type. A Workflow node stays as it is.
    #[must_use]
    pub fn with_data_type(
        self,
        data_type: DataType,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        let choice = Choice {
            data_type,
            ..self.choice()
        };
        self.with_layout(choice, fresh_port)
    }

    /// The same `FanOut` with an input for values of this type, or without one. Other kinds stay as they are.
    #[must_use]
    pub fn with_fan_out_input(
        self,
        input: Option<DataType>,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        if !matches!(self.kind, NodeKind::FanOut(_)) {
            return self;
        }
        let choice = Choice {
            data_type: input.unwrap_or(DataType::Any),
            pass_through: input.is_some(),
        };
        self.with_layout(choice, fresh_port)
    }

    /// The type of what flows through a node that is no Workflow node; `Any` for a `FanOut` without input.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        self.choice().data_type
    }

    /// Whether the ports are those that the settings ask for. For a Workflow node: whether inputs stand for parameters
    /// and outputs for output nodes of the workflow.
    #[must_use]
    pub fn layout_fits(&self) -> bool {
        let Some((inputs, outputs)) = plan(&self.kind, self.choice()) else {
            return self
                .inputs
                .iter()
                .all(|port| matches!(port.binding, PortBinding::Parameter(_)))
                && self.outputs.iter().all(|port| {
                    matches!(
                        port.binding,
                        PortBinding::WorkflowOutput { .. } | PortBinding::WorkflowInner { .. }
                    )
                });
        };
        let fits = |ports: &[Port], plans: &[PortPlan]| {
            ports.len() == plans.len()
                && ports.iter().zip(plans).all(|(port, plan)| {
                    port.binding == plan.binding && port.data_type == plan.data_type
                })
        };
        fits(&self.inputs, &inputs) && fits(&self.outputs, &outputs)
    }

    fn bare(id: NodeId, kind: NodeKind) -> Self {
        Self {
            id,
            title: kind.name().title().to_owned(),
            pos_world: [0.0, 0.0],
            width_world: DEFAULT_NODE_WIDTH,
            kind,
            inputs: Vec::new(),
            outputs: Vec::new(),
            on_failure: OnFailure::default(),
        }
    }

    fn laid_out(
        id: NodeId,
        kind: NodeKind,
        data_type: DataType,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        let choice = Choice {
            data_type,
            pass_through: false,
        };
        Self::bare(id, kind).with_layout(choice, fresh_port)
    }

    /// What the person chose, read from the ports there are: the Value input leads, then a Value output.
    fn choice(&self) -> Choice {
        let value = |ports: &[Port]| {
            ports
                .iter()
                .find(|port| port.binding == PortBinding::Value)
                .map(|port| port.data_type)
        };
        let through = value(&self.inputs);
        Choice {
            data_type: through
                .or_else(|| value(&self.outputs))
                .unwrap_or(DataType::Any),
            pass_through: through.is_some(),
        }
    }

    fn with_layout(mut self, choice: Choice, fresh_port: &mut dyn FnMut() -> PortId) -> Self {
        if let Some((inputs, outputs)) = plan(&self.kind, choice) {
            self.inputs = keep_ids(&self.inputs, inputs, fresh_port);
            self.outputs = keep_ids(&self.outputs, outputs, fresh_port);
        }
        self
    }
}

/// Gives each planned port the id of the old port with the same binding. An axis that is new takes the id of the old
/// axis in its place, if that one is gone and the number of ports is the same: it was renamed.
fn keep_ids(
    old: &[Port],
    plans: Vec<PortPlan>,
    fresh_port: &mut dyn FnMut() -> PortId,
) -> Vec<Port> {
    let same_count = old.len() == plans.len();
    let wanted: Vec<PortBinding> = plans.iter().map(|plan| plan.binding.clone()).collect();
    let mut used = Vec::with_capacity(plans.len());
    plans
        .into_iter()
        .enumerate()
        .map(|(place, plan)| {
            let same = old.iter().find(|port| port.binding == plan.binding);
            let renamed = || {
                let port = old.get(place).filter(|_| same_count)?;
                let axes = matches!(
                    (&port.binding, &plan.binding),
                    (PortBinding::Axis(_), PortBinding::Axis(_))
                );
                (axes && !wanted.contains(&port.binding)).then_some(port)
            };
            let id = same
                .or_else(renamed)
                .map(|port| port.id)
                .filter(|id| !used.contains(id))
                .unwrap_or_else(&mut *fresh_port);
            used.push(id);
            plan.into_port(id)
        })
        .collect()
}
