//! A node for a workflow, with the ports and parameters that suggest themselves, and a project around it.

use super::document::{Link, PortRef, Project, WorkflowFile};
use super::edit::{Edit, EditError};
use super::id::{LinkId, NodeId, PortId, ProjectId};
use super::node::{
    Affinity, BatchMode, CachePolicy, ExposedParameter, Fallback, Node, OutputNode, Port,
    PortBinding, PortNeed, RetryPolicy, WorkflowName, WorkflowNode,
};
use crate::workflow::{Inspection, Role};

/// Fields shown on a new node without being asked for.
const SUGGESTED_PARAMETERS: usize = 8;

impl Node {
    /// A node for a workflow: loaders become inputs, suggested fields are shown, output nodes become outputs.
    #[must_use]
    pub fn for_workflow(
        id: NodeId,
        name: &WorkflowName,
        inspection: &Inspection,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        Self::showing(id, name, inspection, SUGGESTED_PARAMETERS, fresh_port)
    }

    /// The same with at most `shown` parameters.
    fn showing(
        id: NodeId,
        name: &WorkflowName,
        inspection: &Inspection,
        shown: usize,
        fresh_port: &mut dyn FnMut() -> PortId,
    ) -> Self {
        let inputs = inspection
            .exposures
            .iter()
            .filter(|exposure| exposure.role == Role::Loader)
            .map(|exposure| Port {
                id: fresh_port(),
                name: exposure.label.clone(),
                data_type: exposure.value_type.into(),
                binding: PortBinding::Parameter(exposure.address.clone()),
                need: PortNeed::Optional,
            })
            .collect();
        let parameters = inspection
            .exposures
            .iter()
            .filter(|exposure| exposure.role != Role::Loader)
            .take(shown)
            .map(|exposure| ExposedParameter::new(exposure.address.clone(), &exposure.label))
            .collect();
        let outputs = inspection
            .outputs
            .iter()
            .map(|output| Port {
                id: fresh_port(),
                name: output.label.clone(),
                data_type: output.value_type.into(),
                binding: PortBinding::WorkflowOutput {
                    address: output.address.clone(),
                    batch: BatchMode::Whole,
                },
                need: PortNeed::Optional,
            })
            .collect();
        let settings = WorkflowNode {
            workflow: name.clone(),
            parameters,
            affinity: Affinity::default(),
            fallback: Fallback::default(),
            retry: RetryPolicy::default(),
            cache: CachePolicy::default(),
        };
        Self::workflow(id, settings, inputs, outputs)
    }
}

/// Where the ids of a new project come from.
pub struct FreshIds<'a> {
    /// Ids of nodes.
    pub node: &'a mut dyn FnMut() -> NodeId,
    /// Ids of ports.
    pub port: &'a mut dyn FnMut() -> PortId,
    /// Ids of links.
    pub link: &'a mut dyn FnMut() -> LinkId,
}

impl Project {
    /// A project that runs one workflow and writes everything it makes.
    ///
    /// # Errors
    /// [`EditError`] when the workflow has more outputs than a project may have nodes.
    pub fn of_workflow(
        id: ProjectId,
        name: &WorkflowName,
        file: WorkflowFile,
        inspection: &Inspection,
        fresh: &mut FreshIds<'_>,
    ) -> Result<Self, EditError> {
        let mut project = Self::new(id, name.as_str());
        project.apply(Edit::AddWorkflow {
            name: name.clone(),
            file,
        })?;
        // Nobody chooses among them on a canvas, so all suggestions can be set.
        let node = Node::showing((fresh.node)(), name, inspection, usize::MAX, fresh.port);
        let outputs: Vec<Node> = node
            .outputs
            .iter()
            .map(|port| {
                let settings = OutputNode {
                    // One workflow fills no folders of its own.
                    template: "{project}/{node}_{index:04}.{ext}".to_owned(),
                };
                Node::output_to((fresh.node)(), settings, port.data_type, fresh.port)
                    .titled(&port.name)
            })
            .collect();
        let links: Vec<Link> = node
            .outputs
            .iter()
            .zip(&outputs)
            .filter_map(|(port, output)| {
                Some(Link {
                    id: (fresh.link)(),
                    from: PortRef {
                        node: node.id,
                        port: port.id,
                    },
                    to: PortRef {
                        node: output.id,
                        port: output.inputs.first()?.id,
                    },
                })
            })
            .collect();
        project.apply(Edit::AddNode(Box::new(node)))?;
        for (row, output) in outputs.into_iter().enumerate() {
            let place = [420.0, 160.0 * row as f32];
            project.apply(Edit::AddNode(Box::new(output.at(place))))?;
        }
        for link in links {
            project.apply(Edit::AddLink(link))?;
        }
        Ok(project)
    }
}
