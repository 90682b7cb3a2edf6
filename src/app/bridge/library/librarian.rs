//! What the thread of the library does: asks the engine, which waits for the database and for backends.

use super::{
    Answer, Differences, Keep, KeptAs, LibraryEntry, Listed, MAX_DIFFERENCES, MAX_FAULTS, Question,
    THUMBNAIL_PX, Thumbnail, VersionRow, one_name,
};
use crate::app::toasts::Severity;
use crate::app::wake::now_ms;
use crate::artifacts::ContentHash;
use crate::engine::{EngineHandle, LibraryFillError, LibraryTally, library_workflow};
use crate::project::WorkflowFile;
use crate::store::{LibraryQuery, LibraryWorkflowId, StoreError, wait};
use crate::workflow::{self, ObjectInfo, Prompt};
use std::sync::Arc;

/// Answers a question; waits as long as it takes.
pub(super) fn answer_to(engine: &EngineHandle, question: Question) -> Answer {
    match question {
        Question::List(query) => list(engine, query)
            .unwrap_or_else(|message| Answer::Failed("The library could not be read", message)),
        Question::Thumbnail(hash) => Answer::Thumbnail(hash, thumbnail(engine, hash)),
        Question::RememberedClasses => match engine.wait_inside(async {
            let together = engine.remembered_object_info().await?;
            let by_backend = engine.remembered_by_backend().await?;
            Ok::<_, StoreError>((together.unwrap_or_default(), by_backend))
        }) {
            Ok((together, by_backend)) => Answer::RememberedClasses(Arc::new(together), by_backend),
            Err(error) => Answer::Failed(
                "What backends said earlier could not be read",
                error.to_string(),
            ),
        },
        Question::Versions(workflow_id, classes) => {
            match versions(engine, workflow_id, classes.as_deref()) {
                Ok(rows) => Answer::Versions(workflow_id, rows),
                Err(message) => Answer::Failed("The versions could not be read", message),
            }
        }
        Question::Read(workflow_id, version, purpose) => match read(engine, workflow_id, version) {
            Ok((entry, file)) => Answer::Read(entry, file, purpose),
            Err(message) => Answer::Failed("The workflow could not be read", message),
        },
        Question::Restore(workflow_id, version) => restore(engine, workflow_id, version)
            .map_or_else(
                |message| Answer::Failed("The version was not restored", message),
                |words| Answer::Changed(Some((Severity::Success, words, String::new()))),
            ),
        Question::Keep(keep) => keep_workflow(engine, &keep).map_or_else(
            |message| Answer::Failed("The workflow was not put into the library", message),
            |path| {
                let words = (Severity::Success, "Put into the library".to_owned(), path);
                Answer::Changed(keep.is_told.then_some(words))
            },
        ),
        Question::Describe {
            workflow_id,
            folder,
            name,
            tags,
        } => describe(engine, workflow_id, &folder, &name, tags).map_or_else(
            |message| Answer::Failed("The workflow was not changed", message),
            |()| Answer::Changed(None),
        ),
        Question::Remove(workflow_id) => match wait(engine.remove_from_library(workflow_id)) {
            Ok(_) => Answer::Changed(None),
            Err(error) => Answer::Failed("The workflow was not removed", error.to_string()),
        },
        Question::Import(path) => {
            let into = if path.is_dir() {
                path.file_name()
                    .map_or_else(String::new, |name| one_name(&name.to_string_lossy()))
            } else {
                String::new()
            };
            match wait(engine.import_into_library(&path, &into, now_ms())) {
                Ok(tally) => Answer::Changed(Some(tally_words(&tally))),
                Err(error) => Answer::Failed("Nothing was imported", error.to_string()),
            }
        }
        Question::ListSaved(config) => {
            let saved = engine.wait_inside(engine.saved_workflows(&config));
            Answer::Saved(config.id, saved.map_err(|error| error.to_string()))
        }
        Question::Pull(config, paths) => {
            let into = one_name(&config.name);
            let pulled =
                engine.wait_inside(engine.pull_into_library(&config, Some(paths), &into, now_ms()));
            match pulled {
                Ok(tally) => Answer::Changed(Some(tally_words(&tally))),
                Err(error) => Answer::Failed("Nothing more was taken over", error.to_string()),
            }
        }
        Question::Push(workflow_id, config, mode) => {
            match engine.wait_inside(engine.push_from_library(workflow_id, &config, mode)) {
                Ok(path) => Answer::Pushed(config.id, path),
                Err(error @ LibraryFillError::NameTaken { .. }) => {
                    Answer::NameTaken(workflow_id, config.id, error.to_string())
                }
                Err(error) => Answer::Failed("Not saved on the backend", error.to_string()),
            }
        }
    }
}

fn tally_words(tally: &LibraryTally) -> (Severity, String, String) {
    let severity = match (tally.taken(), tally.faulty.is_empty()) {
        (0, _) => Severity::Warning,
        (_, true) => Severity::Success,
        (_, false) => Severity::Info,
    };
    let mut lines = vec![format!(
        "{} added, {} new versions, {} unchanged",
        tally.added, tally.renewed, tally.unchanged
    )];
    if tally.without > 0 {
        lines.push(format!("{} files hold no workflow", tally.without));
    }
    lines.extend(tally.faulty.iter().take(MAX_FAULTS).cloned());
    if tally.faulty.len() > MAX_FAULTS {
        lines.push(format!("and {} more", tally.faulty.len() - MAX_FAULTS));
    }
    (severity, "Library".to_owned(), lines.join("\n"))
}

fn list(engine: &EngineHandle, query: LibraryQuery) -> Result<Answer, String> {
    let all = wait(engine.library(LibraryQuery::default())).map_err(|error| error.to_string())?;
    let tags = all
        .iter()
        .flat_map(|entry| entry.tags.iter().cloned())
        .collect();
    let total = all.len();
    let entries = if query == LibraryQuery::default() {
        all
    } else {
        wait(engine.library(query)).map_err(|error| error.to_string())?
    };
    Ok(Answer::List(Box::new(Listed {
        entries,
        tags,
        total,
    })))
}

fn thumbnail(engine: &EngineHandle, hash: ContentHash) -> Option<Thumbnail> {
    let artifact = wait(engine.library_picture(hash)).ok()??;
    let picture = crate::media::decode_file(&engine.artifact_path(&artifact)).ok()?;
    let small = crate::media::thumbnail(&picture, THUMBNAIL_PX).into_rgba8();
    Some(Thumbnail {
        size_px: [small.width() as usize, small.height() as usize],
        rgba: small.into_raw(),
    })
}

fn entry_of(engine: &EngineHandle, workflow_id: LibraryWorkflowId) -> Result<LibraryEntry, String> {
    wait(engine.library_entry(workflow_id))
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "It is not in the library any more.".to_owned())
}

fn read(
    engine: &EngineHandle,
    workflow_id: LibraryWorkflowId,
    version: Option<u32>,
) -> Result<(LibraryEntry, WorkflowFile), String> {
    let entry = entry_of(engine, workflow_id)?;
    let file = wait(engine.library_file(workflow_id, version))
        .map_err(|error| error.to_string())?
        .ok_or("This version is not kept any more.")?;
    let file = WorkflowFile {
        text: file.text.into(),
        page_prompt: file.page_prompt.map(Into::into),
    };
    Ok((entry, file))
}

fn versions(
    engine: &EngineHandle,
    workflow_id: LibraryWorkflowId,
    classes: Option<&ObjectInfo>,
) -> Result<Vec<VersionRow>, String> {
    let versions = wait(engine.library_versions(workflow_id)).map_err(|error| error.to_string())?;
    let prompt = |version: u32| -> Option<Prompt> {
        let (_, file) = read(engine, workflow_id, Some(version)).ok()?;
        let document = workflow::read_saved(&file.text, file.page_prompt.as_deref()).ok()?;
        Some(workflow::sketch(&document, classes).ok()?.prompt)
    };
    let present = versions.first().and_then(|version| prompt(version.number));
    Ok(versions
        .into_iter()
        .map(|version| {
            let differences = present.as_ref().and_then(|present| {
                let changes = workflow::diff(&prompt(version.number)?, present);
                Some(Differences {
                    count: changes.len(),
                    first: changes
                        .iter()
                        .take(MAX_DIFFERENCES)
                        .map(ToString::to_string)
                        .collect(),
                })
            });
            VersionRow {
                version,
                differences,
            }
        })
        .collect())
}

fn put(engine: &EngineHandle, folder: &str, name: &str, file: &WorkflowFile) -> Result<(), String> {
    let document = workflow::read(file.text.as_bytes()).map_err(|error| error.to_string())?;
    let mut workflow = library_workflow(folder, name, &document, &file.text, now_ms());
    workflow.page_prompt = file.page_prompt.as_deref().map(str::to_owned);
    wait(engine.put_in_library(workflow, LibraryWorkflowId::new_now()))
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn restore(
    engine: &EngineHandle,
    workflow_id: LibraryWorkflowId,
    version: u32,
) -> Result<String, String> {
    let (entry, file) = read(engine, workflow_id, Some(version))?;
    put(engine, &entry.folder, &entry.name, &file)?;
    Ok(format!("{} is as in version {version} again", entry.name))
}

/// Gives where it lies now.
fn keep_workflow(engine: &EngineHandle, keep: &Keep) -> Result<String, String> {
    let holding = |file: &WorkflowFile| {
        wait(engine.library_holding(file.text.clone())).map_err(|error| error.to_string())
    };
    let (before, known) = match &keep.kept_as {
        KeptAs::New => (None, None),
        KeptAs::VersionOf(before) | KeptAs::Beside(before) => {
            let known = holding(before)?;
            // A node may get another workflow of the library: that is no new version of the one it had.
            if let Some(other) = holding(&keep.file)?
                && known.as_ref().map(|known| known.workflow_id) != Some(other.workflow_id)
            {
                return Ok(other.path());
            }
            (Some(before), known)
        }
    };
    let is_version = matches!(keep.kept_as, KeptAs::VersionOf(_));
    let (folder, name) = match &known {
        Some(entry) if is_version => (entry.folder.as_str(), entry.name.as_str()),
        Some(entry) => (entry.folder.as_str(), keep.name.as_str()),
        None => (keep.folder.as_str(), keep.name.as_str()),
    };
    // What was before is the first version of what has none.
    if let Some(before) = before
        && !(is_version && known.is_some())
    {
        put(engine, folder, name, before)?;
    }
    put(engine, folder, name, &keep.file)?;
    Ok(format!("{folder}/{name}"))
}

fn describe(
    engine: &EngineHandle,
    workflow_id: LibraryWorkflowId,
    folder: &str,
    name: &str,
    tags: Vec<String>,
) -> Result<(), String> {
    let entry = entry_of(engine, workflow_id)?;
    if entry.folder != folder || entry.name != name {
        let is_moved = wait(engine.relocate_in_library(workflow_id, folder, name))
            .map_err(|error| error.to_string())?;
        if !is_moved {
            return Err("Another workflow has that name in that folder.".to_owned());
        }
    }
    wait(engine.set_library_tags(workflow_id, tags))
        .map(|_| ())
        .map_err(|error| error.to_string())
}
