//! The plan of a run: a validated project, compiled so that the machine needs no look-ups in the document.

use crate::project::Project;
use std::sync::Arc;

/// A validated project with its execution order. Shared by everything that works on the run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The project as it was when the run started.
    pub project: Arc<Project>,
}
