//! ComfyUI workflow JSON: read, inspect, address, patch. Pure: callers hand in bytes.

mod address;
mod prompt;

pub use address::{NodeAddress, ParameterAddress};
pub use prompt::{Prompt, PromptNode};
