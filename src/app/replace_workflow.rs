//! Another workflow in the place of the one a node has: what it would change is worked out first and shown; nothing is
//! replaced before the person agrees.

use super::catalog::{WorkflowFacts, data_type_of, look_through};
use crate::project::{
    BatchMode, Edit, Node, NodeId, NodeKind, Port, PortBinding, PortId, PortNeed, Project,
    WorkflowFile, WorkflowName,
};
use crate::workflow::{self, Broken, Change, ObjectInfo, ParameterAddress, Prompt};

/// Why a workflow cannot be put into a node.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// The node is gone.
    #[error("the node is not on the canvas any more")]
    NodeGone,
    /// Only Workflow nodes have one.
    #[error("\"{0}\" is not a Workflow node")]
    NotAWorkflowNode(String),
    /// The new workflow cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// What putting a new text in the place of a node's workflow means.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The node it is for.
    pub node_id: NodeId,
    /// The workflow that is replaced.
    pub workflow: WorkflowName,
    /// The new file.
    pub file: WorkflowFile,
    /// What is different, by node and field of the workflow.
    pub changes: Vec<Change>,
    /// Every node that uses the workflow, the asked one first.
    pub nodes: Vec<Rematched>,
}

/// A node with its fields and ports found again in the new workflow.
#[derive(Clone, Debug)]
pub struct Rematched {
    /// The node as it would be; what is broken is still in it.
    pub node: Node,
    /// Fields and ports that were found elsewhere, by their label.
    pub moved: Vec<String>,
    /// Fields whose kind of value is another now, by their label.
    pub retyped: Vec<String>,
    /// Fields and ports that lead nowhere.
    pub broken: Vec<BrokenUse>,
    /// Outputs that the new workflow adds.
    pub added: Vec<String>,
    /// Fields whose value in the workflow changed while the node has one of its own, by their label.
    pub overriding: Vec<String>,
}

/// A field or port of a node that leads nowhere in the new workflow.
#[derive(Clone, Debug)]
pub struct BrokenUse {
    /// Its name on the node.
    pub label: String,
    /// Why.
    pub reason: Broken,
}

/// Which nodes get the new workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The node it is for; it gets a copy of its own when others share the workflow.
    ThisNode,
    /// Every node that uses the workflow.
    EveryUser,
}

/// What becomes of fields and ports that lead nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenUses {
    /// They stay, shown as broken, and a run refuses until they are mended.
    Keep,
    /// They are taken off the node, with their links.
    Remove,
}

impl Replacement {
    /// Works out what replacing the node's workflow by `file` means.
    pub fn plan(
        project: &Project,
        node_id: NodeId,
        file: WorkflowFile,
        object_info: Option<&ObjectInfo>,
    ) -> Result<Self, ReplaceError> {
        let node = project.nodes.get(&node_id).ok_or(ReplaceError::NodeGone)?;
        let NodeKind::Workflow(settings) = &node.kind else {
            return Err(ReplaceError::NotAWorkflowNode(node.title.clone()));
        };
        let name = settings.workflow.clone();
        let before = project
            .workflows
            .get(&name)
            .and_then(|file| prompt_of(file, object_info).ok())
            .unwrap_or_default();
        let after = prompt_of(&file, object_info).map_err(ReplaceError::Unusable)?;
        let facts = look_through(&file, object_info);
        let others = project.nodes.values().filter(|other| {
            other.id != node_id
                && matches!(&other.kind, NodeKind::Workflow(other) if other.workflow == name)
        });
        Ok(Self {
            node_id,
            changes: workflow::diff(&before, &after),
            nodes: std::iter::once(node)
                .chain(others)
                .map(|node| rematch(node, &before, &after, &facts, object_info))
                .collect(),
            workflow: name,
            file,
        })
    }

    /// Whether the new text is the old one as far as anything that runs is concerned.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        self.changes.is_empty()
    }

    /// The edits that do it, as one step.
    #[must_use]
    pub fn edits(&self, project: &Project, reach: Reach, broken: BrokenUses) -> Vec<Edit> {
        let file = self.file.clone();
        let as_wished = |rematched: &Rematched| match broken {
            BrokenUses::Keep => rematched.node.clone(),
            BrokenUses::Remove => rematched.without_broken(),
        };
        if reach == Reach::EveryUser || self.nodes.len() == 1 {
            let mut edits = vec![Edit::ReplaceWorkflow {
                name: self.workflow.clone(),
                file,
            }];
            edits.extend(self.nodes.iter().map(as_wished).map(Edit::configure));
            return edits;
        }
        let name = super::apply::free_workflow_name(project, self.workflow.as_str());
        let mut edits = vec![Edit::AddWorkflow {
            name: name.clone(),
            file,
        }];
        if let Some(first) = self.nodes.first() {
            let mut node = as_wished(first);
            if let NodeKind::Workflow(settings) = &mut node.kind {
                settings.workflow = name;
            }
            edits.push(Edit::configure(node));
        }
        edits
    }
}

impl Rematched {
    fn without_broken(&self) -> Node {
        let is_broken = |label: &str| self.broken.iter().any(|broken| broken.label == label);
        let mut node = self.node.clone();
        if let NodeKind::Workflow(settings) = &mut node.kind {
            settings
                .parameters
                .retain(|parameter| !is_broken(&parameter.label));
        }
        node.inputs.retain(|port| !is_broken(&port.name));
        node.outputs.retain(|port| !is_broken(&port.name));
        node
    }
}

fn prompt_of(file: &WorkflowFile, object_info: Option<&ObjectInfo>) -> Result<Prompt, String> {
    let document = workflow::read_saved(&file.text, file.page_prompt.as_deref())
        .map_err(|error| error.to_string())?;
    workflow::sketch(&document, object_info)
        .map(|sketch| sketch.prompt)
        .map_err(|error| error.to_string())
}

fn rematch(
    node: &Node,
    before: &Prompt,
    after: &Prompt,
    facts: &WorkflowFacts,
    object_info: Option<&ObjectInfo>,
) -> Rematched {
    let mut rematched = Rematched {
        node: node.clone(),
        overriding: overriding(node, before, after),
        moved: Vec::new(),
        retyped: Vec::new(),
        broken: Vec::new(),
        added: Vec::new(),
    };
    let inspected_before = workflow::inspect(before, object_info);
    let type_before = |address: &ParameterAddress| {
        let now = workflow::resolve(before, address).ok()?;
        inspected_before.field(&now).map(|field| field.value_type)
    };
    let type_after = |address: &ParameterAddress| match facts {
        WorkflowFacts::Usable(inspection) => {
            inspection.field(address).map(|field| field.value_type)
        }
        WorkflowFacts::Unusable(_) => None,
    };
    let Rematched {
        node: new,
        moved,
        retyped,
        broken,
        added,
        overriding: _,
    } = &mut rematched;
    let mut find =
        |label: &str, address: &mut ParameterAddress| match workflow::resolve(after, address) {
            Ok(found) => {
                let types = (type_before(address), type_after(&found));
                if let (Some(old), Some(new)) = types
                    && old != new
                {
                    retyped.push(label.to_owned());
                }
                if found.node.node_id != address.node.node_id {
                    moved.push(label.to_owned());
                }
                *address = found;
            }
            Err(reason) => broken.push(BrokenUse {
                label: label.to_owned(),
                reason,
            }),
        };
    if let NodeKind::Workflow(settings) = &mut new.kind {
        for parameter in &mut settings.parameters {
            find(&parameter.label, &mut parameter.address);
        }
    }
    for port in &mut new.inputs {
        if let PortBinding::Parameter(address) = &mut port.binding {
            find(&port.name, address);
        }
    }
    // A parameter that is also an input is one thing to the person.
    moved.dedup();
    retyped.dedup();
    broken.dedup_by(|later, earlier| later.label == earlier.label);

    for port in &mut new.outputs {
        if let PortBinding::WorkflowOutput { address, .. } = &mut port.binding {
            match workflow::resolve_node(after, address) {
                Ok(node_id) => {
                    if node_id != address.node_id {
                        moved.push(port.name.clone());
                        address.node_id = node_id;
                    }
                }
                Err(reason) => broken.push(BrokenUse {
                    label: port.name.clone(),
                    reason,
                }),
            }
        }
    }
    if let WorkflowFacts::Usable(inspection) = facts {
        for output in &inspection.outputs {
            let is_there = new.outputs.iter().any(|port| {
                matches!(&port.binding, PortBinding::WorkflowOutput { address, .. }
                    if address.node_id == output.address.node_id)
            });
            if is_there {
                continue;
            }
            // Port names are how a person tells outputs apart.
            let mut name = output.label.clone();
            let mut number = 2;
            while new.outputs.iter().any(|port| port.name == name) {
                name = format!("{} {number}", output.label);
                number += 1;
            }
            added.push(name.clone());
            new.outputs.push(Port {
                id: PortId::new_now(),
                name,
                data_type: data_type_of(output.value_type),
                binding: PortBinding::WorkflowOutput {
                    address: output.address.clone(),
                    batch: BatchMode::Whole,
                },
                need: PortNeed::Optional,
            });
        }
    }
    rematched
}

/// Labels of the parameters for which the node has a value of its own, where the workflow's own value changed: the change has
/// no effect on this node.
fn overriding(node: &Node, before: &Prompt, after: &Prompt) -> Vec<String> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return Vec::new();
    };
    let value_in = |prompt: &Prompt, address: &ParameterAddress| {
        let found = workflow::resolve(prompt, address).ok()?;
        let node = prompt.nodes.get(&found.node.node_id)?;
        node.inputs.get(&found.input).cloned()
    };
    settings
        .parameters
        .iter()
        .filter(|parameter| parameter.value.is_some())
        .filter(|parameter| {
            let address = &parameter.address;
            matches!(
                (value_in(before, address), value_in(after, address)),
                (Some(old), Some(new)) if old != new
            )
        })
        .map(|parameter| parameter.label.clone())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::app::catalog::node_for_workflow;
    use crate::project::{ExposedParameter, Literal, ProjectId};

    const BEFORE: &str = r#"{
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Picture"}},
        "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 3, "sigma": 1.0}, "_meta": {"title": "Soften"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}, "_meta": {"title": "Save"}}
    }"#;
    /// Renumbered, a value changed, the loader gone, a second output added.
    const AFTER: &str = r#"{
        "7": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}, "_meta": {"title": "Blank"}},
        "8": {"class_type": "ImageBlur", "inputs": {"image": ["7", 0], "blur_radius": 9, "sigma": 1.0}, "_meta": {"title": "Soften"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}, "_meta": {"title": "Save"}},
        "10": {"class_type": "PreviewImage", "inputs": {"images": ["7", 0]}, "_meta": {"title": "Look"}}
    }"#;

    fn project_with_two_users() -> (Project, NodeId, NodeId) {
        let mut project = Project::new(ProjectId::new_now(), "Test");
        let name = WorkflowName::new("soften").unwrap();
        let file = WorkflowFile::new(BEFORE);
        let add = Edit::AddWorkflow {
            name: name.clone(),
            file,
        };
        project.apply(add).unwrap();
        let WorkflowFacts::Usable(inspection) = look_through(&WorkflowFile::new(BEFORE), None)
        else {
            panic!("a sound workflow");
        };
        let ids = [NodeId::new_now(), NodeId::new_now()];
        for id in ids {
            let node = node_for_workflow(id, &name, &inspection).titled("Soften it");
            project.apply(Edit::AddNode(Box::new(node))).unwrap();
        }
        (project, ids[0], ids[1])
    }

    #[test]
    fn replacing_says_what_moved_broke_and_came_and_undoes_exactly() {
        let (mut project, first, second) = project_with_two_users();
        let plan = Replacement::plan(&project, first, WorkflowFile::new(AFTER), None).unwrap();
        assert!(!plan.changes_nothing());
        assert_eq!(plan.nodes.len(), 2, "both users are shown");
        let this = &plan.nodes[0];
        assert_eq!(this.broken.len(), 1, "{:?}", this.broken);
        assert!(
            this.moved
                .iter()
                .any(|label| label == "Save" || label.contains("Save"))
        );
        assert_eq!(this.added.len(), 1);

        let before = project.clone();
        let edit = Edit::Batch(plan.edits(&project, Reach::ThisNode, BrokenUses::Remove));
        let undo = project.apply(edit).unwrap().inverse;
        assert_eq!(project.workflows.len(), 2, "the other node keeps its own");
        assert_eq!(project.nodes[&second], before.nodes[&second]);
        let NodeKind::Workflow(settings) = &project.nodes[&first].kind else {
            panic!("still a Workflow node");
        };
        for parameter in &settings.parameters {
            let prompt = prompt_of(&WorkflowFile::new(AFTER), None).unwrap();
            assert!(workflow::resolve(&prompt, &parameter.address).is_ok());
        }
        project.apply(undo).unwrap();
        assert_eq!(project, before);

        let everywhere = Edit::Batch(plan.edits(&project, Reach::EveryUser, BrokenUses::Keep));
        project.apply(everywhere).unwrap();
        assert_eq!(project.workflows.len(), 1);
        assert_eq!(
            project.nodes[&second].inputs.len(),
            before.nodes[&second].inputs.len(),
            "what broke stays to be mended"
        );
    }

    #[test]
    fn a_changed_value_that_the_node_overrides_is_named() {
        let (mut project, first, _) = project_with_two_users();
        let overriding = |project: &Project| {
            let file =
                WorkflowFile::new(BEFORE.replace("\"blur_radius\": 3", "\"blur_radius\": 9"));
            let plan = Replacement::plan(project, first, file, None).unwrap();
            plan.nodes[0].overriding.clone()
        };
        let prompt = prompt_of(&WorkflowFile::new(BEFORE), None).unwrap();
        let inspection = workflow::inspect(&prompt, None);
        let is_radius = |field: &&workflow::Field| field.address.input == "blur_radius";
        let field = inspection.fields.iter().find(is_radius).unwrap();
        let mut shown = ExposedParameter::new(field.address.clone(), "radius");
        let mut node = project.nodes[&first].clone();
        for (value, named) in [
            (None, vec![]),
            (Some(Literal::Integer(5_i64.into())), vec!["radius"]),
        ] {
            shown.value = value;
            if let NodeKind::Workflow(settings) = &mut node.kind {
                settings.parameters = vec![shown.clone()];
            }
            project.apply(Edit::configure(node.clone())).unwrap();
            assert_eq!(overriding(&project), named);
        }
    }

    #[test]
    fn a_text_that_is_no_workflow_is_refused() {
        let (project, first, _) = project_with_two_users();
        assert!(matches!(
            Replacement::plan(&project, first, WorkflowFile::new("{ not json"), None),
            Err(ReplaceError::Unusable(_))
        ));
        assert_eq!(
            Replacement::plan(&project, NodeId::new_now(), WorkflowFile::new(AFTER), None)
                .unwrap_err(),
            ReplaceError::NodeGone
        );
    }
}
