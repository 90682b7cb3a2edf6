//! `project seed`: what the items of a run get for a parameter that is a seed.

use super::super::run::node_called;
use super::super::workflow::sources;
use crate::project::{
    DataType, Edit, ExposedParameter, Link, LinkId, Literal, Node, NodeId, NodeKind, Port,
    PortBinding, PortId, PortNeed, PortRef, Project, SeedPolicy,
};
use crate::store::project_folder::{self, Overwrite};
use crate::workflow::{self, Control, Field, ObjectInfo, ParameterAddress};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Largest seed where nothing is known of the field: every sampler takes as much.
const USUAL_MAX: u64 = u32::MAX as u64;

#[derive(Debug, Args)]
pub(in crate::cli) struct SeedArguments {
    /// The project: its folder, its project.ron, or a portable file.
    project: PathBuf,
    /// The parameter as NODE.PARAM: the node's title, and the parameter's label or the name of a field that the node does
    /// not show yet.
    #[arg(value_name = "NODE.PARAM")]
    parameter: String,
    /// What the items of a run get.
    policy: SeedChoice,
    /// The value: what every item gets, or where counting begins.
    #[arg(long, value_name = "SEED")]
    value: Option<u64>,
    /// Largest value (default: what the field takes, by what backends said of it; else 4294967295).
    #[arg(long, value_name = "SEED")]
    max: Option<u64>,
    /// For fan-out: the Fan out node by its title, where it has several axes as NODE.AXIS.
    #[arg(long, value_name = "NODE", required_if_eq("policy", "fan-out"))]
    from: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum SeedChoice {
    /// Every item gets the same value.
    Fixed,
    /// The first item gets the value, each further one the next higher.
    Increment,
    /// Every item gets a number of its own, the same for every attempt, another one in every run.
    Random,
    /// Every item gets the value of a Fan out node's item.
    FanOut,
}

/// Does what the subcommand asks.
pub(in crate::cli) async fn seed(
    asked_dir: Option<PathBuf>,
    arguments: SeedArguments,
) -> anyhow::Result<ExitCode> {
    let SeedArguments {
        project: path,
        parameter,
        policy,
        value,
        max,
        from,
    } = arguments;
    if policy != SeedChoice::FanOut && from.is_some() {
        bail!("--from names a Fan out node; it goes with the policy fan-out");
    }
    let opened = project_folder::open(&path)?;
    let mut project = opened.project;
    let (title, label) = parameter
        .rsplit_once('.')
        .with_context(|| format!("{parameter}: write it as NODE.PARAM"))?;
    let mut node = node_called(&project, title)?.clone();
    let classes = sources::remembered_classes(asked_dir).await?;
    let fields = fields_of(&project, &node, classes.as_ref());
    let at = shown_parameter(&mut node, label, &fields)?;
    let NodeKind::Workflow(settings) = &mut node.kind else {
        bail!("\"{title}\" is no Workflow node and has no seeds");
    };
    let shown = settings
        .parameters
        .get_mut(at)
        .context("the parameter is gone")?;
    let address = shown.address.clone();
    let max = max
        .or_else(|| largest(&fields, &address))
        .unwrap_or(USUAL_MAX);
    if let Some(value) = value.filter(|value| *value > max) {
        bail!(
            "{value} is larger than {max}, the largest value of {parameter}; give another or raise it with --max"
        );
    }
    if let Some(value) = value {
        shown.value = Some(Literal::Integer(value.into()));
    } else if policy == SeedChoice::Increment && shown.value.is_none() {
        // Counting needs a beginning: the workflow's own value, where that is a number.
        let own = fields
            .iter()
            .find(|field| field.address == address)
            .and_then(|field| field.value.as_u64());
        shown.value = Some(Literal::Integer(own.unwrap_or(0).min(max).into()));
    }
    shown.seed = match policy {
        SeedChoice::Fixed | SeedChoice::FanOut => SeedPolicy::Fixed,
        SeedChoice::Increment => SeedPolicy::Increment { max },
        SeedChoice::Random => SeedPolicy::Random { max },
    };
    let name = shown.label.clone();
    let port = node
        .inputs
        .iter()
        .find(|port| matches!(&port.binding, PortBinding::Parameter(bound) if *bound == address))
        .map(|port| port.id);
    let told = if let Some(from) = from {
        let (source, source_name) = axis_of(&project, &from)?;
        let port = port.unwrap_or_else(|| {
            let id = PortId::new_now();
            node.inputs.push(Port {
                id,
                name: name.clone(),
                data_type: DataType::Integer,
                binding: PortBinding::Parameter(address),
                need: PortNeed::Optional,
            });
            id
        });
        let node_id = node.id;
        project.apply(Edit::configure(node))?;
        unlink(&mut project, node_id, port)?;
        project.apply(Edit::AddLink(Link {
            id: LinkId::new_now(),
            from: source,
            to: PortRef {
                node: node_id,
                port,
            },
        }))?;
        format!("comes from {source_name}")
    } else {
        // A link would win over the policy. The input goes with it.
        let is_linked = project
            .links
            .values()
            .any(|link| link.to.node == node.id && Some(link.to.port) == port);
        node.inputs.retain(|input| Some(input.id) != port);
        project.apply(Edit::configure(node))?;
        let what = match policy {
            SeedChoice::Increment => format!("counts up to {max}"),
            SeedChoice::Random => format!("is another number up to {max} for every item"),
            _ => "is the same for every item".to_owned(),
        };
        let also = if is_linked {
            "; the link into its input is gone"
        } else {
            ""
        };
        format!("{what}{also}")
    };
    project_folder::save(&opened.place, &project, &Overwrite::Unchanged(opened.stamp))?;
    println!("{title}.{name} {told}");
    Ok(ExitCode::SUCCESS)
}

/// The fields of a node's workflow; none where it cannot be read.
fn fields_of(project: &Project, node: &Node, classes: Option<&ObjectInfo>) -> Vec<Field> {
    let NodeKind::Workflow(settings) = &node.kind else {
        return Vec::new();
    };
    let sketch = project
        .workflows
        .get(&settings.workflow)
        .and_then(|file| workflow::read(file.text.as_bytes()).ok())
        .and_then(|document| workflow::sketch(&document, classes).ok());
    sketch.map_or_else(Vec::new, |sketch| {
        workflow::inspect(&sketch.prompt, classes).fields
    })
}

/// The position of the parameter that is meant. A field that the node does not show yet is shown from now on.
fn shown_parameter(node: &mut Node, label: &str, fields: &[Field]) -> anyhow::Result<usize> {
    let title = node.title.clone();
    let NodeKind::Workflow(settings) = &mut node.kind else {
        bail!("\"{title}\" is no Workflow node and has no seeds");
    };
    let shown = settings
        .parameters
        .iter()
        .position(|parameter| parameter.label == label);
    if let Some(at) = shown {
        return Ok(at);
    }
    let meant: Vec<&Field> = fields
        .iter()
        .filter(|field| field.label == label || field.address.input == label)
        .filter(|field| matches!(field.control, Control::Integer { .. }))
        .collect();
    match meant.as_slice() {
        [field] => {
            let known = settings
                .parameters
                .iter()
                .position(|parameter| parameter.address == field.address);
            if let Some(at) = known {
                return Ok(at);
            }
            settings
                .parameters
                .push(ExposedParameter::new(field.address.clone(), label));
            Ok(settings.parameters.len() - 1)
        }
        [] => {
            let labels: Vec<&str> = settings
                .parameters
                .iter()
                .map(|parameter| parameter.label.as_str())
                .collect();
            bail!(
                "\"{title}\" has no parameter \"{label}\" and its workflow no such whole number; it shows: {}",
                labels.join(", ")
            )
        }
        several => bail!(
            "the workflow of \"{title}\" has {} fields \"{label}\"; show the one that is meant under a label of its own",
            several.len()
        ),
    }
}

/// The largest value that a field takes.
fn largest(fields: &[Field], address: &ParameterAddress) -> Option<u64> {
    let field = fields.iter().find(|field| field.address == *address)?;
    match field.control {
        Control::Integer { max, .. } => max.map(|max| u64::try_from(max).unwrap_or(u64::MAX)),
        _ => None,
    }
}

/// The output of a Fan out node that is meant by `NODE` or `NODE.AXIS`, and its name for a person.
fn axis_of(project: &Project, from: &str) -> anyhow::Result<(PortRef, String)> {
    let (node, axis) = match (node_called(project, from), from.rsplit_once('.')) {
        (Ok(node), _) => (node, None),
        (Err(_), Some((title, axis))) => (node_called(project, title)?, Some(axis)),
        (Err(error), None) => return Err(error),
    };
    let axes: Vec<&Port> = node
        .outputs
        .iter()
        .filter(|port| matches!(port.binding, PortBinding::Axis(_)))
        .collect();
    let port = match (axis, axes.as_slice()) {
        (None, [port]) => *port,
        (Some(axis), _) => *axes
            .iter()
            .find(|port| port.name == axis)
            .with_context(|| format!("\"{}\" has no axis \"{axis}\"", node.title))?,
        (None, []) => bail!("\"{}\" is no Fan out node", node.title),
        (None, _) => {
            let names: Vec<&str> = axes.iter().map(|port| port.name.as_str()).collect();
            bail!(
                "\"{}\" has several axes; write {} and one of: {}",
                node.title,
                "--from NODE.AXIS",
                names.join(", ")
            )
        }
    };
    let source = PortRef {
        node: node.id,
        port: port.id,
    };
    Ok((source, format!("{}.{}", node.title, port.name)))
}

/// Takes away the link into an input.
fn unlink(project: &mut Project, node: NodeId, port: PortId) -> anyhow::Result<()> {
    let into = PortRef { node, port };
    let link = project
        .links
        .values()
        .find(|link| link.to == into)
        .map(|link| link.id);
    if let Some(link) = link {
        project.apply(Edit::RemoveLink(link))?;
    }
    Ok(())
}
