//! ComfyUI workflow JSON: read, inspect, address, patch, check against a backend. Pure: callers hand in bytes.

mod address;
mod convert;
mod diff;
mod digest;
mod embedded;
mod fitness;
mod inner;
mod inspect;
mod layout;
mod memory;
mod object_info;
mod page_prompt;
mod patch;
mod preflight;
mod prompt;
mod read;
mod sketch;
mod suggest;
mod ui;
mod value_type;

pub use address::{NodeAddress, ParameterAddress};
pub use convert::{
    ConvertError, MAX_PROMPT_BYTES, MAX_SUBGRAPH_DEPTH, MAX_WORKFLOW_INPUTS, to_prompt,
};
pub use diff::{Change, diff};
pub use digest::{WorkflowDigest, digest};
pub use embedded::{
    Container, Embedded, EmbeddedError, EmbeddedText, EmbeddedWorkflow, GenerationParameters,
    MAX_PARTS, MAX_TEXT_BYTES, MAX_TEXTS, MAX_TEXTS_BYTES, find_workflow, may_hold_workflow,
    parse_parameters,
};
pub use fitness::{
    Fitness, ModelFile, ModelSizes, Respelling, fitness, model_weights, weights_of_name,
};
pub use inner::{InnerError, InnerOutput, added_id, inner_output, show_inner};
pub use inspect::{Control, Field, Inspection, OutputPort, inspect};
pub use layout::to_editor;
pub use memory::{COMPUTING_BYTES, KnownBy, MemoryFit, MemoryNeed, MemoryRoom, ModelWeights, gib};
pub use object_info::{
    Autogrow, DynamicOption, InputKind, InputNeed, InputSpec, MAX_OBJECT_INFO_BYTES, NodeSpec,
    ObjectInfo, ObjectInfoError, OutputSpec, Upload,
};
pub use patch::{Broken, PatchError, patch, resolve, resolve_node};
pub use preflight::{Reason, is_model_name, lacks_choice, preflight, respell};
pub use prompt::{Prompt, PromptNode};
pub use read::{
    MAX_NODE_INPUTS, MAX_WORKFLOW_BYTES, MAX_WORKFLOW_DEPTH, MAX_WORKFLOW_NODES,
    MAX_WORKFLOW_VALUES, WorkflowDocument, WorkflowError, read, read_saved,
};
pub use sketch::{Sketch, sketch};
pub use suggest::{Exposure, Role};
pub use ui::UiWorkflow;
pub use value_type::ValueType;
