//! The document: nodes, ports, links, parameters and layout, with edits that can be undone, validation and file format.
//!
//! Pure: knows no clock, no file system, no network and no window. Callers hand in bytes, ids and time.

mod data;
mod document;
pub(crate) mod id;
mod node;

pub use data::{DataType, Integer, Literal};
pub use document::{Frame, Link, PortRef, Project, WorkflowFile};
pub use id::{BackendId, FrameId, LinkId, NodeId, PortId, ProjectId};
pub use node::{
    Affinity, Axis, BatchMode, CachePolicy, ConditionNode, ContactSheet, ExposedParameter,
    Fallback, FanOutNode, FanOutSource, InputNode, InputValue, MergeFailurePolicy, MergeMode,
    MergeNode, MergeScope, Node, NodeKind, NodeKindName, OnFailure, OutputNode, Port, PortBinding,
    PortNeed, RetryPolicy, SeedOrder, WorkflowName, WorkflowNode,
};
