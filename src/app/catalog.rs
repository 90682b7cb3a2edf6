//! What is known about the workflow files of the project: their fields, outputs and problems. Inspected once per file.

use crate::artifacts::ContentHash;
use crate::engine::{effort_hash, lacks, model_weights};
use crate::project::{
    BackendId, DataType, EditError, Literal, Node, NodeId, NodeKind, PortId, Project, WorkflowFile,
    WorkflowName,
};
use crate::workflow::{
    Control, Field, InnerOutput, Inspection, ModelSizes, ModelWeights, ObjectInfo,
    ParameterAddress, ValueType, inner_output, inspect, sketch,
};
use bevy::prelude::Resource;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What is known about each workflow file.
#[derive(Resource, Default)]
pub struct Catalog {
    entries: HashMap<WorkflowName, Entry>,
    object_info: Option<Arc<ObjectInfo>>,
    /// The node definitions of each backend.
    backends: BTreeMap<BackendId, Arc<ObjectInfo>>,
    /// How large the model files of each backend are.
    sizes: BTreeMap<BackendId, Arc<ModelSizes>>,
    /// What backends of earlier sessions said, all together: it serves until theirs is heard again.
    remembered: Option<Arc<ObjectInfo>>,
    /// The same of each backend that is registered.
    remembered_of: BTreeMap<BackendId, Arc<ObjectInfo>>,
    fits: HashMap<NodeId, CachedFit>,
    /// Grows when node definitions come or go.
    revision: u64,
}

/// What keeps a node from running on each backend that is known: nothing where it can.
pub type Fits = BTreeMap<BackendId, Vec<String>>;

/// What the models of a node weigh on each backend that tells how large they are.
pub type Needs = BTreeMap<BackendId, ModelWeights>;

/// Inner nodes of a workflow that are offered to be looked at.
const INNER_NODES: usize = 500;

/// A node inside a workflow.
#[derive(Clone, Debug)]
pub struct InnerNode {
    /// Its title and number.
    pub title: String,
    /// What it gives to look at, or why nothing.
    pub output: Result<InnerOutput, String>,
}

struct CachedFit {
    revision: u64,
    text: Arc<str>,
    node: Node,
    fits: Arc<Fits>,
    needs: Arc<Needs>,
    effort_hash: Option<ContentHash>,
}

struct Entry {
    text: Arc<str>,
    facts: Arc<WorkflowFacts>,
}

/// What is known about one workflow file.
#[derive(Debug)]
pub enum WorkflowFacts {
    /// It can be run.
    Usable(Box<Inspection>),
    /// It is kept, but cannot be run; the sentence says why and what to do.
    Unusable(String),
}

impl Catalog {
    /// Gives the catalog the node definitions of a backend: fields get limits and choices.
    pub fn set_object_info(&mut self, backend_id: BackendId, object_info: Arc<ObjectInfo>) {
        let is_known = self
            .backends
            .get(&backend_id)
            .is_some_and(|known| Arc::ptr_eq(known, &object_info));
        if !is_known {
            self.backends.insert(backend_id, object_info);
            self.join_definitions();
        }
    }

    /// Gives the catalog the sizes of a backend's model files.
    pub fn set_model_sizes(&mut self, backend_id: BackendId, sizes: Arc<ModelSizes>) {
        self.sizes.insert(backend_id, sizes);
        self.revision += 1;
    }

    /// Gives the catalog the node definitions that backends told in earlier sessions, so that names and choices are there
    /// while none answers.
    pub fn set_remembered(
        &mut self,
        together: Arc<ObjectInfo>,
        by_backend: BTreeMap<BackendId, Arc<ObjectInfo>>,
    ) {
        self.remembered = Some(together);
        self.remembered_of = by_backend;
        self.join_definitions();
    }

    /// The node definitions of each backend: what it says now, else what it said last.
    fn spoken(&self) -> impl Iterator<Item = (BackendId, &ObjectInfo)> {
        let silent = self
            .remembered_of
            .iter()
            .filter(|(backend_id, _)| !self.backends.contains_key(backend_id));
        self.backends
            .iter()
            .chain(silent)
            .map(|(backend_id, info)| (*backend_id, info.as_ref()))
    }

    /// Whether what is known of a backend is only what it said in an earlier session.
    #[must_use]
    pub fn is_remembered(&self, backend_id: BackendId) -> bool {
        !self.backends.contains_key(&backend_id) && self.remembered_of.contains_key(&backend_id)
    }

    /// Every backend's classes together: those that answer come before what is only remembered.
    fn join_definitions(&mut self) {
        let mut known: Vec<&ObjectInfo> = self.backends.values().map(AsRef::as_ref).collect();
        known.extend(self.remembered.as_deref());
        self.object_info = match known.as_slice() {
            [] => None,
            _ => Some(Arc::new(ObjectInfo::merged(known))),
        };
        self.entries.clear();
        self.revision += 1;
    }

    /// Forgets what a backend can do.
    pub fn forget_backend(&mut self, backend_id: BackendId) {
        let was_known = self.backends.remove(&backend_id).is_some();
        self.sizes.remove(&backend_id);
        let was_remembered = self.remembered_of.remove(&backend_id).is_some();
        if was_known || was_remembered {
            self.revision += 1;
        }
    }

    /// Grows when node definitions come or go.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What keeps a Workflow node, with its own parameters, from running on each backend. Judged anew when the node, its
    /// workflow or a backend has changed; empty for other nodes.
    pub fn fits(&mut self, project: &Project, node: &Node) -> Arc<Fits> {
        let NodeKind::Workflow(settings) = &node.kind else {
            return Arc::default();
        };
        let Some(file) = project.workflows.get(&settings.workflow) else {
            return Arc::default();
        };
        if let Some(cached) = self.fits.get(&node.id)
            && cached.revision == self.revision
            && Arc::ptr_eq(&cached.text, &file.text)
            && cached.node.kind == node.kind
            && cached.node.inputs == node.inputs
        {
            return cached.fits.clone();
        }
        let (fits, needs): (Arc<Fits>, Arc<Needs>) =
            match crate::workflow::read_saved(&file.text, file.page_prompt.as_deref()) {
                Ok(document) => (
                    Arc::new(
                        self.spoken()
                            .map(|(backend_id, info)| (backend_id, lacks(&document, node, info)))
                            .collect(),
                    ),
                    Arc::new(
                        self.spoken()
                            .filter_map(|(backend_id, info)| {
                                let sizes = self.sizes.get(&backend_id)?;
                                let weights = model_weights(&document, node, info, sizes)?;
                                Some((backend_id, weights))
                            })
                            .collect(),
                    ),
                ),
                Err(_) => (Arc::default(), Arc::default()),
            };
        let cached = CachedFit {
            revision: self.revision,
            text: file.text.clone(),
            node: node.clone(),
            fits: fits.clone(),
            needs,
            effort_hash: effort_hash(project, node),
        };
        self.fits.insert(node.id, cached);
        fits
    }

    /// The nodes inside the workflow of a Workflow node, with what each gives to look at. Empty while no backend has said
    /// which classes it has.
    #[must_use]
    pub fn inner_nodes(&self, project: &Project, node_id: NodeId) -> Vec<InnerNode> {
        let file = project
            .nodes
            .get(&node_id)
            .and_then(|node| match &node.kind {
                NodeKind::Workflow(settings) => project.workflows.get(&settings.workflow),
                _ => None,
            });
        let (Some(file), Some(info)) = (file, self.object_info.as_deref()) else {
            return Vec::new();
        };
        let Some(sketch) = crate::workflow::read(file.text.as_bytes())
            .ok()
            .and_then(|document| sketch(&document, Some(info)).ok())
        else {
            return Vec::new();
        };
        sketch
            .prompt
            .nodes
            .iter()
            .take(INNER_NODES)
            .map(|(number, node)| {
                let name = match node.title() {
                    "" => node.class_type.as_str(),
                    title => title,
                };
                InnerNode {
                    title: format!("{name}  #{number}"),
                    output: inner_output(&sketch.prompt, number, info)
                        .map_err(|error| error.to_string()),
                }
            })
            .collect()
    }

    /// Reads and inspects the text of a workflow file that is not in the project yet.
    #[must_use]
    pub fn look_through(&self, file: &WorkflowFile) -> WorkflowFacts {
        look_through(file, self.object_info.as_deref())
    }

    /// The node definitions of all backends together, for threads.
    #[must_use]
    pub fn shared_object_info(&self) -> Option<Arc<ObjectInfo>> {
        self.object_info.clone()
    }

    /// The node definitions of all backends together, if any was given.
    #[must_use]
    pub fn object_info(&self) -> Option<&ObjectInfo> {
        self.object_info.as_deref()
    }

    /// What the models of a node weigh on each backend that tells how large they are, as of the last look at [`Self::fits`].
    #[must_use]
    pub fn needs(&self, node_id: NodeId) -> Arc<Needs> {
        self.fits
            .get(&node_id)
            .map(|cached| cached.needs.clone())
            .unwrap_or_default()
    }

    /// The hash under which the engine knows how long a node takes and how much memory, as of the last look at [`Self::fits`].
    #[must_use]
    pub fn effort_hash(&self, node_id: NodeId) -> Option<ContentHash> {
        self.fits.get(&node_id)?.effort_hash
    }

    /// A Workflow node with what is known about its file; none for other nodes.
    ///
    /// # Errors
    /// [`EditError`] when the node or its file is not in the project.
    pub fn facts_of<'a>(
        &mut self,
        project: &'a Project,
        node_id: NodeId,
    ) -> Result<Option<(&'a Node, Arc<WorkflowFacts>)>, EditError> {
        let node = project
            .nodes
            .get(&node_id)
            .ok_or(EditError::UnknownNode(node_id))?;
        let NodeKind::Workflow(settings) = &node.kind else {
            return Ok(None);
        };
        let Some(file) = project.workflows.get(&settings.workflow) else {
            return Err(EditError::UnknownWorkflow(settings.workflow.clone()));
        };
        Ok(Some((node, self.facts(&settings.workflow, file))))
    }

    /// What is known about a file. Inspects it when it is new or was replaced.
    pub fn facts(&mut self, name: &WorkflowName, file: &WorkflowFile) -> Arc<WorkflowFacts> {
        if let Some(entry) = self.entries.get(name)
            && Arc::ptr_eq(&entry.text, &file.text)
        {
            return entry.facts.clone();
        }
        let facts = Arc::new(look_through(file, self.object_info.as_deref()));
        self.entries.insert(
            name.clone(),
            Entry {
                text: file.text.clone(),
                facts: facts.clone(),
            },
        );
        facts
    }
}

/// Reads and inspects the text of a workflow file; one in the editor's format as far as its classes are known.
#[must_use]
pub fn look_through(file: &WorkflowFile, object_info: Option<&ObjectInfo>) -> WorkflowFacts {
    let document = match crate::workflow::read_saved(&file.text, file.page_prompt.as_deref()) {
        Ok(document) => document,
        Err(error) => return WorkflowFacts::Unusable(error.to_string()),
    };
    match sketch(&document, object_info) {
        Ok(sketch) => WorkflowFacts::Usable(Box::new(inspect(&sketch.prompt, object_info))),
        Err(error) => WorkflowFacts::Unusable(error.to_string()),
    }
}

/// A node for a workflow: loaders become inputs, suggested fields are shown, output nodes become outputs.
#[must_use]
pub fn node_for_workflow(id: NodeId, name: &WorkflowName, inspection: &Inspection) -> Node {
    Node::for_workflow(id, name, inspection, &mut PortId::new_now)
}

/// The field behind an exposed parameter.
#[must_use]
pub fn field_of<'a>(facts: &'a WorkflowFacts, address: &ParameterAddress) -> Option<&'a Field> {
    match facts {
        WorkflowFacts::Usable(inspection) => inspection.field(address),
        WorkflowFacts::Unusable(_) => None,
    }
}

/// The type of a port for values of a field.
#[must_use]
pub fn data_type_of(value_type: ValueType) -> DataType {
    value_type.into()
}

/// How a value is edited when its field is not known: by what the value is.
#[must_use]
pub fn control_for(value: &Literal) -> Control {
    match value {
        Literal::Text(text) => Control::Text {
            multiline: text.len() > 40 || text.contains('\n'),
        },
        Literal::Integer(_) => Control::Integer {
            min: None,
            max: None,
            step: None,
            seed: false,
        },
        Literal::Number(_) => Control::Number {
            min: None,
            max: None,
            step: None,
        },
        Literal::Boolean(_) => Control::Toggle,
        Literal::Json(_) => Control::Json,
    }
}
