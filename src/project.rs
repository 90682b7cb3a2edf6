//! The document: nodes, ports, links, parameters and layout, with edits that can be undone, validation and file format.
//!
//! Pure: knows no clock, no file system, no network and no window. Callers hand in bytes, ids and time.

mod check;
mod data;
mod document;
mod edit;
mod fan_out;
mod format;
mod from_workflow;
mod history;
pub(crate) mod id;
mod layout;
mod links;
mod maker;
mod merge;
mod narrow;
mod node;
mod open_fan_outs;
mod part;
mod rematch;
mod table;
mod template;
mod validate;

pub use check::{LinkRefusal, MAX_JSON_DEPTH, NodeFault, takes_many};
pub use data::{DataType, Integer, Literal};
pub use document::{Frame, Link, PortRef, Project, WorkflowFile};
pub use edit::{Applied, Edit, EditError, Touched};
pub use fan_out::{Axis, FanOutNode, FanOutSource, FilePattern, SeedOrder};
pub use format::{
    FORMAT_VERSION, FormatError, MAX_PROJECT_BYTES, ProjectFormat, portable_schema,
    read_folder_form, read_portable_form, with_page_prompt, write_folder_form, write_page_prompt,
    write_portable_form,
};
pub use from_workflow::FreshIds;
pub use history::{History, MAX_UNDO_STEPS};
pub use id::{BackendId, FrameId, LinkId, NodeId, PortId, ProjectId};
pub use layout::DEFAULT_NODE_WIDTH;
pub use links::Links;
pub use maker::Maker;
pub use merge::{ContactSheet, MergeFailurePolicy, MergeMode, MergeNode, MergeRest, MergeScope};
pub use node::{
    Affinity, BatchMode, CachePolicy, ConditionNode, ExposedParameter, Fallback, InputNode,
    InputValue, Node, NodeKind, NodeKindName, OnFailure, OutputNode, Port, PortBinding, PortNeed,
    RetryPolicy, ReviewNode, SeedPolicy, WorkflowName, WorkflowNode,
};
pub use open_fan_outs::{MAX_OPEN_FAN_OUTS, MergeFault, OpenFanOuts};
pub use rematch::{Rematch, Replacement, replace_workflow};
pub use table::{Column, MAX_TABLE_COLUMNS, Table, TableError, WrongCell};
pub use template::{TemplateError, TemplatePart, parse_template};
pub use validate::{
    CONTACT_SHEET_CELL_PX, MAX_FAN_OUT_VALUES, Problem, ProblemKind, WorkflowFacts, validate,
};
