//! `workflow extract IMAGE`: the workflow in a file, as it was written there.

use super::Wanted;
use super::sources::{name_of, read_embedded, write_text};
use anyhow::Context as _;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn extract(path: &Path, wanted: Wanted, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let embedded = read_embedded(path)?;
    let none = |what: &str| {
        format!(
            "{}: this {} holds no {what}",
            name_of(path),
            embedded.container
        )
    };
    let text = match wanted {
        Wanted::Best => embedded.document().with_context(|| name_of(path))?.text,
        Wanted::Workflow => embedded
            .workflow()
            .with_context(|| none("workflow of the editor; try --what prompt"))?
            .to_owned(),
        Wanted::Prompt => embedded
            .prompt()
            .with_context(|| none("prompt; try --what workflow"))?
            .to_owned(),
        Wanted::Parameters => {
            let parameters = embedded
                .parameters()
                .with_context(|| none("text of how it was made"))?;
            format!("{}\n", serde_json::to_string_pretty(&parameters)?)
        }
        Wanted::All => format!("{}\n", serde_json::to_string_pretty(&embedded)?),
    };
    write_text(out, &text)?;
    Ok(ExitCode::SUCCESS)
}
