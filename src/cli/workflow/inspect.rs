//! `workflow inspect FILE`: what a workflow is made of and what can be set in it.

use super::ClassArguments;
use super::sources::{known_classes, name_of, read_embedded, sketch_of};
use crate::workflow::{self, Control, Embedded, Field, Inspection, Sketch, WorkflowDocument};
use anyhow::Context as _;
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Longest value that is shown of a field, in characters.
const SHOWN_CHARS: usize = 60;
/// Classes that are listed.
const SHOWN_CLASSES: usize = 40;

pub(super) async fn inspect(
    asked_dir: Option<PathBuf>,
    path: &Path,
    classes: &ClassArguments,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let embedded = read_embedded(path)?;
    let found = match embedded.document() {
        Ok(found) => found,
        // A picture of another program may still tell how it was made.
        Err(error) => {
            let Some(parameters) = embedded.parameters() else {
                return Err(error).with_context(|| name_of(path));
            };
            if as_json {
                println!(
                    "{:#}",
                    json!({ "container": embedded.container, "parameters": parameters })
                );
            } else {
                println!(
                    "{}: {} without a workflow; it says how it was made:",
                    name_of(path),
                    embedded.container
                );
                tell_parameters(&parameters);
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    let object_info = known_classes(asked_dir, classes).await?;
    let sketch = sketch_of(path, &found.document, object_info.as_ref())?;
    let inspection = workflow::inspect(&sketch.prompt, object_info.as_ref());
    if as_json {
        let report = report(&embedded, &found.document, &sketch, &inspection);
        println!("{report:#}");
    } else {
        tell(path, &embedded, &found.document, &sketch, &inspection);
    }
    Ok(ExitCode::SUCCESS)
}

fn class_counts(sketch: &Sketch) -> IndexMap<&str, usize> {
    let mut counts: IndexMap<&str, usize> = IndexMap::new();
    for node in sketch.prompt.nodes.values() {
        *counts.entry(node.class_type.as_str()).or_default() += 1;
    }
    counts.sort_by(|name, count, other, other_count| {
        other_count.cmp(count).then_with(|| name.cmp(other))
    });
    counts
}

fn report(
    embedded: &Embedded,
    document: &WorkflowDocument,
    sketch: &Sketch,
    inspection: &Inspection,
) -> Value {
    json!({
        "container": embedded.container,
        "format": match document { WorkflowDocument::Api(_) => "api", WorkflowDocument::Ui(_) => "ui" },
        "exact": sketch.is_exact(),
        "unknown_classes": sketch.unknown_classes,
        "nodes": sketch.prompt.nodes.len(),
        "classes": class_counts(sketch),
        "exposures": inspection.exposures,
        "fields": inspection.fields,
        "outputs": inspection.outputs,
        "parameters": embedded.parameters(),
    })
}

fn tell(
    path: &Path,
    embedded: &Embedded,
    document: &WorkflowDocument,
    sketch: &Sketch,
    inspection: &Inspection,
) {
    let format = match document {
        WorkflowDocument::Api(_) => "API format",
        WorkflowDocument::Ui(_) => "editor format",
    };
    println!(
        "{}: {}, {format}, {} nodes that run",
        name_of(path),
        embedded.container,
        sketch.prompt.nodes.len(),
    );
    if let WorkflowDocument::Ui(ui) = document {
        let drawn = ui.nodes().count();
        let subgraphs = ui.subgraphs().len();
        if subgraphs > 0 {
            println!("  drawn as {drawn} nodes in {subgraphs} subgraphs and the main graph");
        }
    }
    if !sketch.is_exact() {
        println!(
            "  not described by any backend that was seen, so their fields are shown as far as the file names them:"
        );
        for (class_type, nodes) in &sketch.unknown_classes {
            println!("    {class_type}  (#{})", nodes.join(", #"));
        }
    }
    println!("\nClasses");
    let counts = class_counts(sketch);
    for (class_type, count) in counts.iter().take(SHOWN_CLASSES) {
        println!("  {count:>4} × {class_type}");
    }
    if counts.len() > SHOWN_CLASSES {
        println!("   and {} more", counts.len() - SHOWN_CLASSES);
    }
    if !inspection.exposures.is_empty() {
        println!("\nWorth setting");
        for exposure in &inspection.exposures {
            let field = inspection.field(&exposure.address);
            println!(
                "  {:<28} {} = {}{}",
                exposure.label,
                exposure.address,
                field.map(shown).unwrap_or_default(),
                field.map(limits).unwrap_or_default()
            );
        }
    }
    println!("\nMakes");
    for output in &inspection.outputs {
        println!(
            "  {:<28} {} ({})",
            output.label,
            output.address,
            format!("{:?}", output.value_type).to_lowercase()
        );
    }
    println!("\nAll fields");
    for field in &inspection.fields {
        println!("  {} = {}{}", field.address, shown(field), limits(field));
    }
    if let Some(parameters) = embedded.parameters() {
        println!("\nHow it was made");
        tell_parameters(&parameters);
    }
}

fn tell_parameters(parameters: &workflow::GenerationParameters) {
    println!("  prompt    {}", parameters.positive);
    if !parameters.negative.is_empty() {
        println!("  negative  {}", parameters.negative);
    }
    for (name, value) in &parameters.settings {
        println!("  {name}: {value}");
    }
}

fn shown(field: &Field) -> String {
    let text = field.value.to_string();
    if text.chars().count() <= SHOWN_CHARS {
        return text;
    }
    text.chars().take(SHOWN_CHARS).chain(['…']).collect()
}

/// What a field takes, in brackets; empty when nobody knows.
fn limits(field: &Field) -> String {
    let range = |min: Option<String>, max: Option<String>| match (min, max) {
        (None, None) => String::new(),
        (min, max) => format!(
            "  [{} to {}]",
            min.unwrap_or_default(),
            max.unwrap_or_default()
        ),
    };
    match &field.control {
        Control::Integer { min, max, .. } => {
            range(min.map(|n| n.to_string()), max.map(|n| n.to_string()))
        }
        Control::Number { min, max, .. } => {
            range(min.map(|n| n.to_string()), max.map(|n| n.to_string()))
        }
        Control::Choice { choices } => format!("  [{} choices]", choices.len()),
        Control::Toggle | Control::Text { .. } | Control::File { .. } | Control::Json => {
            String::new()
        }
    }
}
