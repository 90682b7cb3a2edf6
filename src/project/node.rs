//! Nodes, their kinds and their ports.

use super::data::{DataType, Literal};
use super::fan_out::FanOutNode;
use super::id::{BackendId, NodeId, PortId};
use super::merge::MergeNode;
use crate::workflow::{NodeAddress, ParameterAddress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;

/// A box on the canvas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its identity; equal to its key in [`super::Project::nodes`].
    pub id: NodeId,
    /// The name a person gave it.
    pub title: String,
    /// Top left corner in canvas units, y down.
    pub pos_world: [f32; 2],
    /// Width in canvas units; the height follows from the content.
    pub width_world: f32,
    /// What it does.
    pub kind: NodeKind,
    /// Where values come in, top to bottom.
    pub inputs: Vec<Port>,
    /// Where values leave, top to bottom.
    pub outputs: Vec<Port>,
    /// What a failed item means for the run.
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl Node {
    /// The port with this id, input or output.
    #[must_use]
    pub fn port(&self, port_id: PortId) -> Option<&Port> {
        self.inputs
            .iter()
            .chain(&self.outputs)
            .find(|port| port.id == port_id)
    }

    /// The input with this id.
    #[must_use]
    pub fn input(&self, port_id: PortId) -> Option<&Port> {
        self.inputs.iter().find(|port| port.id == port_id)
    }

    /// The output with this id.
    #[must_use]
    pub fn output(&self, port_id: PortId) -> Option<&Port> {
        self.outputs.iter().find(|port| port.id == port_id)
    }
}

/// What a node does, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Runs a whole ComfyUI workflow on a backend.
    Workflow(WorkflowNode),
    /// Brings a value or a file into the graph.
    Input(InputNode),
    /// Writes what arrives to the output folder.
    Output(OutputNode),
    /// Sends each item to one of two sides.
    Condition(ConditionNode),
    /// Turns one item into many.
    FanOut(FanOutNode),
    /// Turns many items into one list.
    Merge(MergeNode),
    /// Holds each item until a person has looked at it.
    Review(ReviewNode),
}

impl NodeKind {
    /// The kind without its settings.
    #[must_use]
    pub fn name(&self) -> NodeKindName {
        match self {
            Self::Workflow(_) => NodeKindName::Workflow,
            Self::Input(_) => NodeKindName::Input,
            Self::Output(_) => NodeKindName::Output,
            Self::Condition(_) => NodeKindName::Condition,
            Self::FanOut(_) => NodeKindName::FanOut,
            Self::Merge(_) => NodeKindName::Merge,
            Self::Review(_) => NodeKindName::Review,
        }
    }
}

/// The kind of a node without its settings: for colours, icons, menus.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum NodeKindName {
    /// Runs a whole ComfyUI workflow on a backend.
    Workflow,
    /// Brings a value or a file into the graph.
    Input,
    /// Writes what arrives to the output folder.
    Output,
    /// Sends each item to one of two sides.
    Condition,
    /// Turns one item into many.
    FanOut,
    /// Turns many items into one list.
    Merge,
    /// Holds each item until a person has looked at it.
    Review,
}

impl NodeKindName {
    /// Every kind, in the order in which menus list them.
    pub const ALL: [Self; 7] = [
        Self::Workflow,
        Self::Input,
        Self::FanOut,
        Self::Condition,
        Self::Review,
        Self::Merge,
        Self::Output,
    ];

    /// The name a person reads.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Workflow => "Workflow",
            Self::Input => "Input",
            Self::Output => "Output",
            Self::Condition => "Condition",
            Self::FanOut => "Fan out",
            Self::Merge => "Merge",
            Self::Review => "Review",
        }
    }

    /// One sentence on what the kind does.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Workflow => "Runs a ComfyUI workflow on a backend",
            Self::Input => "Brings a text, number or file into the graph",
            Self::Output => "Writes what arrives to the output folder",
            Self::Condition => "Sends each item to one of two sides by an expression",
            Self::FanOut => "Turns one item into many: seeds, a list, a grid, a table, files",
            Self::Merge => "Gathers many items into one list or contact sheet",
            Self::Review => "Waits for a person to pick, rate or redo each item",
        }
    }
}

/// Where a value enters or leaves a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its identity, unique in the project.
    pub id: PortId,
    /// The name beside the dot.
    pub name: String,
    /// What it carries.
    pub data_type: DataType,
    /// What it stands for inside the node.
    pub binding: PortBinding,
    /// For inputs: whether the node can run without a link here.
    #[serde(default)]
    pub need: PortNeed,
}

/// Whether an input needs a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortNeed {
    /// Without a link the project does not validate.
    Required,
    /// Without a link the node uses its own value.
    #[default]
    Optional,
}

/// What a port stands for inside its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortBinding {
    /// The value a non-Workflow node works on, and for Input nodes the value it gives. A FanOut with this input runs
    /// once per incoming item and hands the value on through an output with the same binding.
    Value,
    /// Condition: where items leave for which the expression is true.
    WhenTrue,
    /// Condition: where items leave for which the expression is false.
    WhenFalse,
    /// FanOut: the values of the axis with this name.
    Axis(String),
    /// Merge: the ordered list.
    List,
    /// Merge: the labelled contact sheet of the list.
    ContactSheet,
    /// Workflow input: the field of the workflow that the value replaces.
    Parameter(ParameterAddress),
    /// Workflow output: the output node of the workflow that makes the value.
    WorkflowOutput {
        /// Which node of the workflow.
        address: NodeAddress,
        /// What several files from that node mean.
        batch: BatchMode,
    },
    /// Workflow output: what an inner node of the workflow gives. The workflow is run no further than its ports ask for. Made
    /// for looking at a node, not kept in projects.
    WorkflowInner {
        /// Which node of the workflow.
        address: NodeAddress,
        /// Which of its outputs, from 0.
        slot: u32,
    },
}

/// What it means that an output node of a workflow yields several images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchMode {
    /// One value that holds an ordered batch.
    #[default]
    Whole,
    /// Each image is an item of its own: the port acts as a FanOut of the node.
    Each,
}

/// What a failed item means for the rest of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Only what depends on the item is blocked.
    #[default]
    Continue,
    /// What has not started is cancelled; running attempts finish.
    StopRun,
}

/// Name of a workflow file of the project: `NAME.json` in `workflows/`. One path segment, checked on the way in.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct WorkflowName(String);

impl WorkflowName {
    /// The name, if it is one harmless path segment of 1-120 characters: no separators, no control characters, no
    /// leading or trailing dot or space, none of the characters Windows refuses, and no device name such as `CON`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let harmless = !name.is_empty()
            && name.chars().count() <= 120
            && !name.starts_with(['.', ' '])
            && !name.ends_with(['.', ' '])
            && !name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|'])
            && !name.chars().any(char::is_control)
            && !is_windows_device(name);
        harmless.then(|| Self(name.to_owned()))
    }

    /// The name without `.json`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether Windows takes the name (up to its first dot) for a device, whatever the folder.
/// Source: "Naming Files, Paths, and Namespaces", Microsoft Learn.
fn is_windows_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let stem = stem.to_ascii_uppercase();
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || ["COM", "LPT"].iter().any(|device| {
            stem.strip_prefix(device).is_some_and(|rest| {
                let mut rest = rest.chars();
                matches!(rest.next(), Some('1'..='9' | '¹' | '²' | '³')) && rest.next().is_none()
            })
        })
}

impl TryFrom<String> for WorkflowName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::new(&name).ok_or_else(|| format!("\"{name}\" cannot be the name of a workflow file"))
    }
}

impl From<WorkflowName> for String {
    fn from(name: WorkflowName) -> Self {
        name.0
    }
}

impl fmt::Display for WorkflowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Settings of a Workflow node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowNode {
    /// The workflow it runs.
    pub workflow: WorkflowName,
    /// The fields of the workflow shown on the node, top to bottom.
    pub parameters: Vec<ExposedParameter>,
    /// Which backends may run it.
    #[serde(default)]
    pub affinity: Affinity,
    /// What happens when the chosen backend cannot.
    #[serde(default)]
    pub fallback: Fallback,
    /// How often an item may be tried.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Whether earlier results may be used.
    #[serde(default)]
    pub cache: CachePolicy,
}

/// A field of the workflow shown on the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExposedParameter {
    /// Which field.
    pub address: ParameterAddress,
    /// The name a person reads; unique in the node, and what `--set NODE.PARAM=VALUE` uses.
    pub label: String,
    /// The heading under which it stands on the node; none stands by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The value that replaces the workflow's own; none leaves it as it is.
    pub value: Option<Literal>,
    /// What each item of a run gets.
    #[serde(default, skip_serializing_if = "SeedPolicy::is_fixed")]
    pub seed: SeedPolicy,
}

impl ExposedParameter {
    /// A parameter that shows a field and leaves its value as it is.
    #[must_use]
    pub fn new(address: ParameterAddress, label: &str) -> Self {
        Self {
            address,
            label: label.to_owned(),
            group: None,
            value: None,
            seed: SeedPolicy::Fixed,
        }
    }

    /// The value of one item of a run: `ordinal` counts the node's items from 0 in the order in which they were created, and
    /// `roll` is a random number that is the same for every attempt of the item. None leaves the workflow's own value.
    #[must_use]
    pub fn value_of_item(&self, ordinal: u32, roll: u64) -> Option<Literal> {
        let base = match &self.value {
            Some(Literal::Integer(base)) => base.get(),
            // Nothing to count from.
            other if !matches!(self.seed, SeedPolicy::Random { .. }) => return other.clone(),
            _ => 0,
        };
        let value = match self.seed {
            SeedPolicy::Fixed => return self.value.clone(),
            SeedPolicy::Increment { max } => {
                let base = base.clamp(0, i128::from(max));
                (base + i128::from(ordinal)) % (i128::from(max) + 1)
            }
            SeedPolicy::Random { max } => i128::from(roll) % (i128::from(max) + 1),
        };
        // Between 0 and a u64.
        u64::try_from(value)
            .ok()
            .map(|value| Literal::Integer(value.into()))
    }
}

/// What the items of a run get for a parameter that is a seed. A link into the field's port always wins: that is how seeds
/// come from a fan-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SeedPolicy {
    /// The value of the parameter, every one.
    #[default]
    Fixed,
    /// The value, the value plus one, and so on, in the order in which the node's items were created; from `max` on to 0.
    Increment {
        /// The field's largest value.
        max: u64,
    },
    /// A number of its own for every item, the same for every attempt and after a restart, another one in every run.
    Random {
        /// The field's largest value.
        max: u64,
    },
}

impl SeedPolicy {
    /// Whether every item gets the same.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        *self == Self::Fixed
    }
}

/// Which backends may run a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// Any backend that can.
    #[default]
    Any,
    /// Backends that carry all of these tags.
    Tags(BTreeSet<String>),
    /// This backend alone.
    Backend(BackendId),
}

/// What happens when an item's backend fails it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The item fails.
    None,
    /// A person chooses.
    AskUser,
    /// The next best backend takes it.
    #[default]
    AutoSelect,
}

/// How often an item may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// Seconds that a running attempt may show no sign of progress before it is called off and tried elsewhere; none for
    /// the usual half hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_limit_s: Option<NonZeroU32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            silence_limit_s: None,
        }
    }
}

/// Whether earlier results of an equal item may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CachePolicy {
    /// Use an earlier result where there is one.
    #[default]
    Use,
    /// Always run.
    Never,
}

/// Settings of an Input node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputNode {
    /// What it gives.
    pub value: InputValue,
}

/// What an Input node gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputValue {
    /// A value typed on the node.
    Literal(Literal),
    /// A file: a path relative to the project's `inputs/` folder, or an absolute one the person chose. The port's data
    /// type says what it is taken for.
    File(String),
}

/// Settings of an Output node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputNode {
    /// File name with placeholders (`{project}`, `{node}`, `{label}`, `{label:AXIS}`, `{index}`, `{index:04}`, `{ext}`,
    /// `{run}`, `{date}`) below the output folder, `/` between folders.
    pub template: String,
}

impl Default for OutputNode {
    fn default() -> Self {
        Self {
            template: "{project}/{node}/{label}_{index:04}.{ext}".to_owned(),
        }
    }
}

/// Settings of a Review node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewNode {
    /// What the person is asked to look for; may be empty.
    #[serde(default)]
    pub question: String,
}

/// Settings of a Condition node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionNode {
    /// A CEL expression over the item's value and metadata that gives true or false.
    pub expression: String,
}
