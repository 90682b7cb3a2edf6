//! `workflow convert FILE --to api|ui`.

use super::sources::{known_classes, name_of, read_workflow, write_text};
use super::{ClassArguments, Format};
use crate::workflow::{ConvertError, ObjectInfo, WorkflowDocument, to_editor, to_prompt};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) async fn convert(
    asked_dir: Option<PathBuf>,
    path: &Path,
    to: Format,
    classes: &ClassArguments,
    out: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let found = read_workflow(path)?;
    let text = match (&found.document, to) {
        // Untouched, byte for byte.
        (WorkflowDocument::Ui(_), Format::Ui) => found.text.clone(),
        (WorkflowDocument::Api(prompt), Format::Api) => {
            format!("{}\n", serde_json::to_string_pretty(prompt)?)
        }
        (document, _) => {
            let object_info = known_classes(asked_dir, classes).await?;
            let Some(object_info) = object_info else {
                bail!(
                    "{}: to convert it the node classes must be known, and no backend was seen yet; name one with --backend URL, or a saved answer of its /object_info with --object-info FILE",
                    name_of(path)
                );
            };
            converted(document, &object_info).with_context(|| name_of(path))?
        }
    };
    write_text(out, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn converted(document: &WorkflowDocument, object_info: &ObjectInfo) -> anyhow::Result<String> {
    let unknown = |error: ConvertError| match error {
        ConvertError::UnknownClasses { classes } => {
            let lines: Vec<String> = classes
                .iter()
                .map(|(class_type, nodes)| format!("  {class_type} (#{})", nodes.join(", #")))
                .collect();
            anyhow::anyhow!(
                "nothing is known of {} of its node classes, so nobody can say which value is whose:\n{}\nName a backend that has them with --backend URL",
                classes.len(),
                lines.join("\n")
            )
        }
        other => other.into(),
    };
    let json = match document {
        WorkflowDocument::Ui(workflow) => {
            let prompt = to_prompt(workflow, object_info, &mut |_| 0).map_err(unknown)?;
            serde_json::to_string_pretty(&prompt)?
        }
        WorkflowDocument::Api(prompt) => {
            let workflow = to_editor(prompt, object_info).map_err(unknown)?;
            serde_json::to_string_pretty(&workflow)?
        }
    };
    Ok(format!("{json}\n"))
}
