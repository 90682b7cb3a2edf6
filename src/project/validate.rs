//! Everything that keeps a project from running, found at once.

mod kinds;

use super::check::{LinkRefusal, NodeFault, shape_faults, takes_many};
use super::data::DataType;
use super::document::{Link, PortRef, Project, WorkflowFile};
use super::fan_out::FanOutSource;
use super::id::{LinkId, NodeId};
use super::node::{InputValue, Node, NodeKind, PortBinding, PortNeed, WorkflowName};
use super::open_fan_outs::{MAX_OPEN_FAN_OUTS, OpenFanOuts};
use super::table::{MAX_TABLE_COLUMNS, WrongCell};
use super::template::{TemplateError, TemplatePart, parse_template};
use crate::workflow::{self, Broken, ObjectInfo, Sketch, resolve_node};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most values of one fan-out.
pub const MAX_FAN_OUT_VALUES: u64 = 1_000_000;

/// Smallest and largest picture on a contact sheet, in pixels along its longer side.
pub const CONTACT_SHEET_CELL_PX: std::ops::RangeInclusive<u32> = 32..=1024;

/// What validation needs to know of a workflow file. Made once per content by [`WorkflowFacts::of`], since reading a
/// large workflow costs more than all the rest.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkflowFacts {
    /// Its prompt: exact, or as far as it is known without a description of every class.
    Sketch(Sketch),
    /// It cannot be read; the sentence says why.
    Unreadable(String),
}

impl WorkflowFacts {
    /// Reads a workflow file. What `object_info` describes of an editor file is exact.
    #[must_use]
    pub fn of(file: &WorkflowFile, object_info: Option<&ObjectInfo>) -> Self {
        let document = match workflow::read_saved(&file.text, file.page_prompt.as_deref()) {
            Ok(document) => document,
            Err(error) => return Self::Unreadable(error.to_string()),
        };
        match workflow::sketch(&document, object_info) {
            Ok(sketch) => Self::Sketch(sketch),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }

    /// Reads every workflow file of a project.
    #[must_use]
    pub fn of_all(
        project: &Project,
        object_info: Option<&ObjectInfo>,
    ) -> BTreeMap<WorkflowName, Self> {
        project
            .workflows
            .iter()
            .map(|(name, file)| (name.clone(), Self::of(file, object_info)))
            .collect()
    }
}

/// One thing that keeps a project from running.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The node it is about; none when it is about the project.
    pub node: Option<NodeId>,
    /// That node's title, empty when there is none.
    pub node_title: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    /// `"Title": what is wrong and what to do`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(_) => write!(f, "\"{}\": {}", self.node_title, self.kind),
            None => self.kind.fmt(f),
        }
    }
}

/// What is wrong with a project or one of its nodes. The text also says what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProblemKind {
    /// There is nothing to run.
    #[error("the project has no nodes; add one")]
    Empty,
    /// Nodes depend on each other in a circle.
    #[error("these nodes depend on each other in a circle: {}; remove one of the links", .titles.join(" → "))]
    Cycle {
        /// Titles of the nodes on the circle; the first one again at the end.
        titles: Vec<String>,
    },
    /// A link is not legal.
    #[error("{refusal}")]
    Link {
        /// The link.
        link: LinkId,
        /// Why not.
        refusal: LinkRefusal,
    },
    /// A node is not well made.
    #[error("{0}")]
    Node(NodeFault),
    /// A required input has no link.
    #[error("its input \"{port}\" needs a link")]
    MissingInput {
        /// Name of the input.
        port: String,
    },
    /// The workflow file is not there.
    #[error("its workflow \"{0}\" is not in the project; import it or choose another")]
    UnknownWorkflow(WorkflowName),
    /// The workflow file cannot be read.
    #[error("its workflow \"{workflow}\" cannot be used: {reason}")]
    UnreadableWorkflow {
        /// Which workflow.
        workflow: WorkflowName,
        /// Why, as a sentence.
        reason: String,
    },
    /// A parameter no longer exists in its workflow.
    #[error("its parameter \"{label}\" is broken: {broken}")]
    BrokenParameter {
        /// The parameter's label.
        label: String,
        /// Why.
        broken: Broken,
    },
    /// What a port stands for no longer exists in the workflow.
    #[error("its port \"{port}\" is broken: {broken}")]
    BrokenPort {
        /// The port's name.
        port: String,
        /// Why.
        broken: Broken,
    },
    /// A node may never be tried.
    #[error("it may be tried 0 times; allow at least 1 attempt")]
    NoAttempts,
    /// A Condition without expression.
    #[error("its expression is empty; write a condition such as width > 1024")]
    EmptyExpression,
    /// An Output's file name template is wrong.
    #[error("{0}")]
    Template(TemplateError),
    /// A template names an axis that no fan-out has.
    #[error(
        "its file name uses the label of axis \"{0}\", but no fan-out has that axis; correct the name"
    )]
    UnknownAxis(String),
    /// An Input has no file.
    #[error("it has no file; choose one")]
    NoFile,
    /// An Input's relative path leaves the project folder.
    #[error("its file \"{0}\" lies outside the project's inputs folder; choose the file again")]
    FileOutside(String),
    /// An axis without name.
    #[error("one of its axes has no name; give it one, it becomes the label of the results")]
    UnnamedAxis,
    /// Two fan-outs open at once have an axis of the same name, so one label would hide the other.
    #[error("the axis \"{axis}\" comes in from both {}; rename the axis of one", quoted(.fan_outs))]
    AxisTwice {
        /// The name.
        axis: String,
        /// Titles of the fan-outs.
        fan_outs: Vec<String>,
    },
    /// A value of an axis has another type than the axis.
    #[error(
        "value {number} of axis \"{axis}\" is {is}, but the axis holds {wanted}; correct the value"
    )]
    WrongAxisValue {
        /// The axis.
        axis: String,
        /// Which value, counted from 1.
        number: usize,
        /// What it is.
        is: DataType,
        /// What the axis holds.
        wanted: DataType,
    },
    /// The axes of a zip are not equally long.
    #[error(
        "its axes are not equally long: \"{one}\" has {one_count} values, \"{other}\" has {other_count}; a zip takes one of each at a time"
    )]
    UnequalAxes {
        /// The first axis.
        one: String,
        /// Its values.
        one_count: usize,
        /// An axis of another length.
        other: String,
        /// Its values.
        other_count: usize,
    },
    /// A table has too many columns.
    #[error("its table has {columns} columns, more than the {MAX_TABLE_COLUMNS} that are allowed")]
    TooManyColumns {
        /// How many.
        columns: usize,
    },
    /// A column of a table is of a type that a cell cannot hold.
    #[error(
        "column \"{column}\" of its table holds {is}, which a cell cannot hold; choose text, integer, number, boolean or JSON"
    )]
    ColumnType {
        /// The column.
        column: String,
        /// Its type.
        is: DataType,
    },
    /// A row of a table has more cells than there are columns.
    #[error("row {row} of its table has more cells than there are columns; remove the surplus")]
    OverlongRow {
        /// Which row, counted from 1 below the header.
        row: usize,
    },
    /// A cell of a table has another type than its column.
    #[error(
        "row {}, column \"{}\" of its table holds \"{}\", but the column holds {}; correct the cell or leave it empty",
        .0.row, .0.column, .0.text, .0.wanted
    )]
    WrongCell(WrongCell),
    /// A file pattern is empty.
    #[error("it has no file pattern; write one such as shots/*.png")]
    NoPattern,
    /// A Merge that keeps nothing.
    #[error("it keeps 0 values; let it keep at least 1")]
    KeepsNothing,
    /// A Merge (best) without expression.
    #[error("its score is empty; write an expression such as image.sharpness")]
    EmptyScore,
    /// Too many values.
    #[error(
        "it fans out to {count} values, more than the {MAX_FAN_OUT_VALUES} that are allowed; use fewer"
    )]
    TooManyValues {
        /// How many, as far as can be counted.
        count: u64,
    },
    /// A grid without axes.
    #[error("it has no axes; add one")]
    NoAxes,
    /// Several fan-outs are open side by side.
    #[error("Merge must name which of {} it closes", quoted(.fan_outs))]
    MergeMustName {
        /// Titles of the open fan-outs.
        fan_outs: Vec<String>,
    },
    /// There is nothing to merge.
    #[error(
        "no fan-out is open here, so there is nothing to merge; link it behind a Fan out, or let it close \"all open\" to make a list of its links"
    )]
    NothingToMerge,
    /// The fan-out that a Merge names is not open where it is.
    #[error("it closes {fan_out}, which is not open here; choose one of the open ones: {}", quoted(.open))]
    FanOutNotOpen {
        /// The title of the named fan-out, in quotes, or words for one that is gone.
        fan_out: String,
        /// Titles of those that are open.
        open: Vec<String>,
    },
    /// Fan-outs are nested or joined without end.
    #[error("more than {MAX_OPEN_FAN_OUTS} fan-outs are open here; merge some before")]
    TooManyOpen,
    /// A contact sheet's pictures are too small or too large.
    #[error(
        "the pictures of its contact sheet are {cell_px} pixels; choose {} to {}",
        CONTACT_SHEET_CELL_PX.start(),
        CONTACT_SHEET_CELL_PX.end()
    )]
    ContactSheetCell {
        /// Longer side in pixels.
        cell_px: u32,
    },
}

/// Every problem of a project: those of the project first, then node by node. A project without problems can run on
/// backends that have what its workflows need. `facts` tells what each workflow file holds; a file without facts is
/// taken for unreadable.
#[must_use]
pub fn validate(project: &Project, facts: &BTreeMap<WorkflowName, WorkflowFacts>) -> Vec<Problem> {
    let mut found = Findings {
        project,
        facts,
        open: OpenFanOuts::of(project),
        problems: Vec::new(),
    };
    if project.nodes.is_empty() {
        found.about_project(ProblemKind::Empty);
    }
    found.cycles();
    let axes = project
        .nodes
        .values()
        .filter_map(fan_out_source)
        .flat_map(FanOutSource::axes)
        .map(|(name, _)| name)
        .collect();
    for node in project.nodes.values() {
        found.node(node, &axes);
    }
    found.links_to_nowhere();
    found.problems
}

struct Findings<'a> {
    project: &'a Project,
    facts: &'a BTreeMap<WorkflowName, WorkflowFacts>,
    open: OpenFanOuts,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn about_project(&mut self, kind: ProblemKind) {
        self.problems.push(Problem {
            node: None,
            node_title: String::new(),
            kind,
        });
    }

    fn about(&mut self, node: &Node, kind: ProblemKind) {
        self.problems.push(Problem {
            node: Some(node.id),
            node_title: node.title.clone(),
            kind,
        });
    }

    /// One problem for each circle that can be found by walking back from what cannot be ordered.
    fn cycles(&mut self) {
        let unordered = self.open.unordered();
        let mut walked: BTreeSet<NodeId> = BTreeSet::new();
        let mut circles = Vec::new();
        for start in unordered {
            let mut path = Vec::new();
            let mut place: BTreeMap<NodeId, usize> = BTreeMap::new();
            let mut at = Some(*start);
            while let Some(node_id) = at {
                if let Some(first) = place.get(&node_id) {
                    let mut circle: Vec<NodeId> = path.split_off(*first);
                    // Found against the direction of the links.
                    circle.reverse();
                    circles.push(circle);
                    break;
                }
                if !walked.insert(node_id) {
                    break;
                }
                place.insert(node_id, path.len());
                path.push(node_id);
                // What cannot be ordered waits for something that cannot be ordered.
                at = self
                    .project
                    .links
                    .into_node(node_id)
                    .map(|link| link.from.node)
                    .find(|before| unordered.contains(before));
            }
        }
        for circle in circles {
            let mut titles: Vec<String> = circle.iter().map(|id| self.title(*id)).collect();
            titles.extend(titles.first().cloned());
            let first = circle.first().and_then(|id| self.project.nodes.get(id));
            if let Some(node) = first {
                self.about(node, ProblemKind::Cycle { titles });
            }
        }
    }

    fn node(&mut self, node: &Node, axes: &BTreeSet<&str>) {
        for fault in shape_faults(node) {
            self.about(node, ProblemKind::Node(fault));
        }
        match &node.kind {
            NodeKind::Workflow(workflow) => {
                if workflow.retry.max_attempts == 0 {
                    self.about(node, ProblemKind::NoAttempts);
                }
                self.workflow(node, &workflow.workflow);
            }
            NodeKind::Input(input) => match &input.value {
                InputValue::File(path) if path.trim().is_empty() => {
                    self.about(node, ProblemKind::NoFile);
                }
                InputValue::File(path) if leaves_its_folder(path) => {
                    self.about(node, ProblemKind::FileOutside(path.clone()));
                }
                InputValue::File(_) | InputValue::Literal(_) => {}
            },
            NodeKind::Output(output) => match parse_template(&output.template) {
                Ok(parts) => {
                    for part in parts {
                        if let TemplatePart::LabelOf(axis) = part
                            && !axes.contains(axis.as_str())
                        {
                            self.about(node, ProblemKind::UnknownAxis(axis));
                        }
                    }
                }
                Err(error) => self.about(node, ProblemKind::Template(error)),
            },
            NodeKind::Condition(condition) => {
                if condition.expression.trim().is_empty() {
                    self.about(node, ProblemKind::EmptyExpression);
                }
            }
            NodeKind::FanOut(fan_out) => self.fan_out(node, &fan_out.source),
            NodeKind::Merge(merge) => self.merge(node, merge),
            NodeKind::Review(_) => {}
        }
        self.links_into(node);
        self.open_axes(node);
        if self.open.too_many(node.id) {
            self.about(node, ProblemKind::TooManyOpen);
        }
    }

    fn workflow(&mut self, node: &Node, name: &WorkflowName) {
        if !self.project.workflows.contains_key(name) {
            self.about(node, ProblemKind::UnknownWorkflow(name.clone()));
            return;
        }
        let sketch = match self.facts.get(name) {
            Some(WorkflowFacts::Sketch(sketch)) => sketch,
            Some(WorkflowFacts::Unreadable(reason)) => {
                let kind = ProblemKind::UnreadableWorkflow {
                    workflow: name.clone(),
                    reason: reason.clone(),
                };
                self.about(node, kind);
                return;
            }
            None => {
                let kind = ProblemKind::UnreadableWorkflow {
                    workflow: name.clone(),
                    reason: "it was not read yet; try again".to_owned(),
                };
                self.about(node, kind);
                return;
            }
        };
        if let NodeKind::Workflow(workflow) = &node.kind {
            for parameter in &workflow.parameters {
                if let Err(broken) = sketch.resolve(&parameter.address) {
                    let label = parameter.label.clone();
                    self.about(node, ProblemKind::BrokenParameter { label, broken });
                }
            }
        }
        for port in node.inputs.iter().chain(&node.outputs) {
            let resolved = match &port.binding {
                PortBinding::Parameter(address) => sketch.resolve(address).map(|_| ()),
                PortBinding::WorkflowOutput { address, .. }
                | PortBinding::WorkflowInner { address, .. } => {
                    resolve_node(&sketch.prompt, address).map(|_| ())
                }
                _ => Ok(()),
            };
            if let Err(broken) = resolved {
                let port = port.name.clone();
                self.about(node, ProblemKind::BrokenPort { port, broken });
            }
        }
    }

    /// Missing, illegal and surplus links of a node's inputs.
    fn links_into(&mut self, node: &Node) {
        for input in &node.inputs {
            let end = PortRef {
                node: node.id,
                port: input.id,
            };
            let links: Vec<Link> = self.project.links.into_port(end).copied().collect();
            if links.is_empty() && input.need == PortNeed::Required {
                let port = input.name.clone();
                self.about(node, ProblemKind::MissingInput { port });
            }
            let mut starts = BTreeSet::new();
            let mut first = None;
            for link in links {
                let refusal = match self.project.output(link.from) {
                    None => Some(LinkRefusal::NoSuchOutput(link.from)),
                    Some(_) if !starts.insert(link.from) => {
                        Some(LinkRefusal::AlreadyLinked(link.id))
                    }
                    Some(output) if !input.data_type.accepts(output.data_type) => {
                        Some(LinkRefusal::TypeMismatch {
                            output: output.name.clone(),
                            from: output.data_type,
                            input: input.name.clone(),
                            to: input.data_type,
                        })
                    }
                    Some(_) => first.filter(|_| !takes_many(node, input)).map(|by| {
                        LinkRefusal::InputTaken {
                            input: input.name.clone(),
                            node: node.title.clone(),
                            by,
                        }
                    }),
                };
                first = first.or(Some(link.id));
                if let Some(refusal) = refusal {
                    let link = link.id;
                    self.about(node, ProblemKind::Link { link, refusal });
                }
            }
        }
    }

    /// Links whose end is gone; those whose start is gone are found at their end.
    fn links_to_nowhere(&mut self) {
        for link in self.project.links.values() {
            if self.project.input(link.to).is_some() {
                continue;
            }
            let kind = ProblemKind::Link {
                link: link.id,
                refusal: LinkRefusal::NoSuchInput(link.to),
            };
            let node = self
                .project
                .nodes
                .get(&link.to.node)
                .or_else(|| self.project.nodes.get(&link.from.node));
            match node {
                Some(node) => self.about(node, kind),
                None => self.about_project(kind),
            }
        }
    }

    /// Axes of one name that come together here, unless they did before already.
    fn open_axes(&mut self, node: &Node) {
        let mut open: BTreeSet<NodeId> = self.open.into_node(node.id).iter().copied().collect();
        if fan_out_source(node).is_some() {
            open.insert(node.id);
        }
        if open.len() < 2 {
            return;
        }
        let mut by_axis: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
        for fan_out in &open {
            let source = self.project.nodes.get(fan_out).and_then(fan_out_source);
            for (axis, _) in source.into_iter().flat_map(FanOutSource::axes) {
                by_axis.entry(axis).or_default().push(*fan_out);
            }
        }
        for (axis, mut fan_outs) in by_axis {
            fan_outs.dedup();
            let together = |node_id: NodeId| {
                let open = self.open.into_node(node_id);
                let inside = |fan_out: &NodeId| *fan_out == node_id || open.contains(fan_out);
                fan_outs.iter().all(inside)
            };
            let before = self
                .project
                .links
                .into_node(node.id)
                .any(|link| together(link.from.node));
            if fan_outs.len() > 1 && !before {
                let kind = ProblemKind::AxisTwice {
                    axis: axis.to_owned(),
                    fan_outs: self.titles(&fan_outs),
                };
                self.about(node, kind);
            }
        }
    }

    fn title(&self, node_id: NodeId) -> String {
        self.project
            .nodes
            .get(&node_id)
            .map_or_else(|| node_id.to_string(), |node| node.title.clone())
    }

    fn titles(&self, node_ids: &[NodeId]) -> Vec<String> {
        node_ids.iter().map(|id| self.title(*id)).collect()
    }
}

fn fan_out_source(node: &Node) -> Option<&FanOutSource> {
    match &node.kind {
        NodeKind::FanOut(fan_out) => Some(&fan_out.source),
        _ => None,
    }
}

/// Whether a relative path climbs out of the folder it starts in, on any system. Absolute paths are the person's choice.
fn leaves_its_folder(path: &str) -> bool {
    path.split(['/', '\\']).any(|segment| segment == "..")
}

/// `"A"`, `"A" and "B"`, `"A", "B" and "C"`, or `none`.
fn quoted(titles: &[String]) -> String {
    let all: Vec<String> = titles.iter().map(|title| format!("\"{title}\"")).collect();
    match all.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
