//! What a node shows besides its run: texts made from its settings.

use super::super::canvas::layout::{PARAMETERS_MAX, PortLine};
use crate::project::{
    Affinity, FanOutSource, InputValue, Literal, MergeMode, Node, NodeKind, NodeKindName, Port,
    SeedPolicy, takes_many,
};
use bevy::prelude::Component;

/// Longest text that is kept for one line: more cannot be seen.
const LINE_MAX: usize = 160;

/// A node as the canvas shows it.
#[derive(Component, Clone, Debug, PartialEq)]
pub struct NodeCard {
    /// What it does.
    pub kind: NodeKindName,
    /// The name a person gave it.
    pub title: String,
    /// One line on its settings; empty for none.
    pub subtitle: String,
    /// Whether that line is code (an expression, a template).
    pub is_code: bool,
    /// A word or number at the right of the title while nothing runs.
    pub note: String,
    /// Parameters with values, as shown on the node.
    pub parameters: Vec<ParameterLine>,
    /// Inputs, top to bottom.
    pub inputs: Vec<PortLine>,
    /// Outputs, top to bottom.
    pub outputs: Vec<PortLine>,
}

/// A parameter and its value on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterLine {
    /// Its label.
    pub label: String,
    /// Its value.
    pub value: String,
}

/// What the canvas shows of a node.
#[must_use]
pub fn card_of(node: &Node) -> NodeCard {
    let mut card = NodeCard {
        kind: node.kind.name(),
        title: one_line(&node.title),
        subtitle: String::new(),
        is_code: false,
        note: String::new(),
        parameters: Vec::new(),
        inputs: node
            .inputs
            .iter()
            .map(|port| port_line(node, port))
            .collect(),
        outputs: node
            .outputs
            .iter()
            .map(|port| port_line(node, port))
            .collect(),
    };
    match &node.kind {
        NodeKind::Workflow(workflow) => {
            card.subtitle = match &workflow.affinity {
                Affinity::Any => one_line(workflow.workflow.as_str()),
                Affinity::Tags(tags) => {
                    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
                    one_line(&format!("only on {}", tags.join(", ")))
                }
                Affinity::Backend(_) => "only on one backend".to_owned(),
            };
            card.parameters = workflow
                .parameters
                .iter()
                .filter_map(|parameter| {
                    let value = match (parameter.seed, &parameter.value) {
                        (SeedPolicy::Random { .. }, _) => "random for each item".to_owned(),
                        (SeedPolicy::Increment { .. }, Some(value)) => {
                            format!("{}, then one more each", value_text(value))
                        }
                        (_, value) => value_text(value.as_ref()?),
                    };
                    Some(ParameterLine {
                        label: one_line(&parameter.label),
                        value,
                    })
                })
                .take(PARAMETERS_MAX)
                .collect();
        }
        NodeKind::Input(input) => {
            card.subtitle = match &input.value {
                InputValue::Literal(literal) => value_text(literal),
                InputValue::File(path) => one_line(path.rsplit(['/', '\\']).next().unwrap_or(path)),
            };
            card.note = node
                .outputs
                .first()
                .map(|port| port.data_type.title().to_lowercase())
                .unwrap_or_default();
        }
        NodeKind::Output(output) => {
            card.subtitle = one_line(&output.template);
            card.is_code = true;
        }
        NodeKind::Condition(condition) => {
            card.subtitle = one_line(&condition.expression);
            card.is_code = true;
        }
        NodeKind::FanOut(fan_out) => {
            let (text, count) = source_text(&fan_out.source);
            card.subtitle = one_line(&text);
            card.note = count.map(|count| count.to_string()).unwrap_or_default();
        }
        NodeKind::Review(review) => {
            card.subtitle = if review.question.trim().is_empty() {
                "waits for you to pick".to_owned()
            } else {
                one_line(&review.question)
            };
        }
        NodeKind::Merge(merge) => {
            card.subtitle = match &merge.mode {
                MergeMode::All => "all values as one list".to_owned(),
                MergeMode::First { count, .. } => format!("the first {count} that are there"),
                MergeMode::Best { expression, keep } => {
                    one_line(&format!("the best {keep} by {expression}"))
                }
                MergeMode::Either => "whichever side has the item".to_owned(),
            };
        }
    }
    card
}

fn port_line(node: &Node, port: &Port) -> PortLine {
    PortLine {
        id: port.id,
        name: one_line(&port.name),
        data_type: port.data_type,
        takes_many: takes_many(node, port),
    }
}

/// What a fan-out's source gives, in words, and how many values it has.
fn source_text(source: &FanOutSource) -> (String, Option<u64>) {
    match source {
        FanOutSource::List(axis) => {
            let values: Vec<String> = axis.values.iter().take(8).map(value_text).collect();
            (values.join(" · "), Some(axis.values.len() as u64))
        }
        FanOutSource::Range {
            start, step, count, ..
        } => (
            format!("from {start} in steps of {step}"),
            Some(u64::from(*count)),
        ),
        FanOutSource::Seeds { first, count, .. } => {
            (format!("seeds from {first}"), Some(u64::from(*count)))
        }
        FanOutSource::Zip(axes) => {
            let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
            let count = axes.first().map_or(0, |axis| axis.values.len() as u64);
            (format!("{} side by side", names.join(", ")), Some(count))
        }
        FanOutSource::Table(table) => {
            let names: Vec<&str> = table
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            (
                format!("table: {}", names.join(", ")),
                Some(table.rows.len() as u64),
            )
        }
        FanOutSource::Files(files) => (files.pattern.clone(), None),
        FanOutSource::Split { .. } => ("each value that comes in".to_owned(), None),
        FanOutSource::Grid(axes) => {
            let parts: Vec<String> = axes
                .iter()
                .map(|axis| format!("{} {}", axis.values.len(), axis.name))
                .collect();
            let count = axes.iter().try_fold(1_u64, |product, axis| {
                product.checked_mul(axis.values.len() as u64)
            });
            (parts.join(" × "), count)
        }
    }
}

fn value_text(literal: &Literal) -> String {
    one_line(&literal.to_string())
}

/// The text without line breaks and control characters, at most [`LINE_MAX`] characters.
fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .take(LINE_MAX)
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}
