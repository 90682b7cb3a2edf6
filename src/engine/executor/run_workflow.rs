//! A workflow as it is run: its prompt for one backend, since only that backend knows the widgets of its node classes.

use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::ItemId;
use crate::project::WorkflowFile;
use crate::workflow::{self, ConvertError, ObjectInfo, Prompt, WorkflowDocument};

/// A workflow of a run.
#[derive(Debug)]
pub(crate) struct RunWorkflow {
    document: WorkflowDocument,
    /// Its editor form, which goes into the metadata of saved pictures.
    pub(super) ui: Option<serde_json::Value>,
}

/// Who decides where a text says `{a|b}`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// The first option, where the prompt is only looked at.
    First,
    /// A die that falls the same way every time the item is tried.
    OfItem(ItemId),
}

impl RunWorkflow {
    /// Reads a workflow file.
    pub(crate) fn read(file: &WorkflowFile) -> Result<Self, String> {
        let document = workflow::read_saved(&file.text, file.page_prompt.as_deref())
            .map_err(|error| error.to_string())?;
        let ui = match &document {
            WorkflowDocument::Api(_) => None,
            WorkflowDocument::Ui(workflow) => {
                Some(serde_json::Value::Object(workflow.raw().clone()))
            }
        };
        Ok(Self { document, ui })
    }

    /// Its prompt before patching, for a backend with this `object_info`.
    pub(crate) fn prompt_for(
        &self,
        object_info: Option<&ObjectInfo>,
        choice: Choice,
    ) -> Result<Prompt, Unconverted> {
        let workflow = match &self.document {
            WorkflowDocument::Api(prompt) => return Ok(prompt.clone()),
            WorkflowDocument::Ui(workflow) => workflow,
        };
        let nothing = ObjectInfo::default();
        let object_info = match (object_info, workflow.page_prompt()) {
            (Some(object_info), _) => object_info,
            // The page knew the classes.
            (None, Some(_)) => &nothing,
            (None, None) => return Err(Unconverted::NothingKnown),
        };
        let mut die = match choice {
            Choice::First => None,
            Choice::OfItem(item_id) => {
                let (high, low) = item_id.uuid().as_u64_pair();
                Some(fastrand::Rng::with_seed(high ^ low))
            }
        };
        let mut choose = |options: usize| die.as_mut().map_or(0, |die| die.usize(..options.max(1)));
        workflow::to_prompt(workflow, object_info, &mut choose).map_err(Unconverted::Error)
    }

    /// Its prompt as far as it can be known, to find fields and names in.
    pub(super) fn sketch(&self, object_info: Option<&ObjectInfo>) -> Prompt {
        workflow::sketch(&self.document, object_info)
            .map(|sketch| sketch.prompt)
            .unwrap_or_default()
    }
}

/// Why a workflow has no prompt for a backend.
#[derive(Debug)]
pub(crate) enum Unconverted {
    /// The backend has not said which classes it has.
    NothingKnown,
    /// The conversion says why.
    Error(ConvertError),
}

impl Unconverted {
    /// What the backend lacks, as the end of a sentence that begins with its name; none when it is not the backend's fault
    /// as far as anybody knows.
    pub(super) fn lack(&self) -> Option<String> {
        match self {
            Self::NothingKnown => None,
            Self::Error(ConvertError::UnknownClasses { classes }) => {
                let lacks: Vec<String> = classes
                    .iter()
                    .map(|(class_type, nodes)| {
                        workflow::Reason::MissingClass {
                            class_type: class_type.clone(),
                            nodes: nodes
                                .iter()
                                .map(|node_id| workflow::NodeAddress {
                                    node_id: node_id.clone(),
                                    class_type: class_type.clone(),
                                    title: String::new(),
                                })
                                .collect(),
                        }
                        .to_string()
                    })
                    .collect();
                Some(lacks.join(", "))
            }
            Self::Error(error) => Some(format!("cannot be sent it: {error}")),
        }
    }
}

impl From<Unconverted> for Failure {
    fn from(unconverted: Unconverted) -> Self {
        match unconverted {
            Unconverted::NothingKnown => Self::new(
                FailureClass::Offline,
                "the backend has not said yet which node classes it has, and without that a workflow in the editor's format cannot be converted",
            ),
            Unconverted::Error(error) => {
                let class = match error {
                    ConvertError::UnknownClasses { .. } => FailureClass::MissingNode,
                    _ => FailureClass::Invalid,
                };
                Self::new(class, error.to_string())
            }
        }
    }
}
