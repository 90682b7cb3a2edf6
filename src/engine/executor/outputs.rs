//! What a finished prompt made, brought into the artifact store.

use super::disk::{DISK_RETRY_DELAY, TooLarge, Writer};
use super::inputs::transfer_failure;
use super::record::STORE_RETRY_DELAY;
use super::shared::Shared;
use super::starting::RunContext;
use crate::artifacts::{Artifact, ArtifactError, Origin, StreamError};
use crate::comfy::{
    Client, ComfyError, Download, HistoryEntry, NodeOutput, OutputFile, StoredFile,
};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::live::EngineEvent;
use crate::engine::machine::{AttemptOutputs, Submission};
use crate::engine::value::Value;
use crate::project::{DataType, Literal, Port, PortBinding};
use crate::store::StoreError;
use crate::workflow::{self, Prompt};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Largest file that is fetched: 16 GiB.
const FILE_LIMIT_BYTES: u64 = 16 << 30;
/// Files one output of one item may have. Above it something is wrong with the workflow.
const FILES_PER_OUTPUT: usize = 10_000;
/// How often a file is asked for without anything coming before the attempt counts as failed.
const FETCH_TRIES: u32 = 4;
/// How often a file is begun anew because its backend cannot go on where the connection broke.
const FETCH_BEGINNINGS: u32 = 3;
/// How often something is stored that is gone as soon as it is noted.
pub(super) const KEEP_TRIES: u32 = 4;
/// How old what was noted of an attempt may be when it ends. Far less than what nothing names is left
/// ([`super::learned::UNUSED_GRACE`]).
const NOTED_ANEW_AFTER: Duration = Duration::from_hours(1);
/// Pause before the second try; doubles with each.
const FETCH_PAUSE: Duration = Duration::from_millis(400);

/// Fetches what the node's output ports stand for, in the history of the prompt that was sent.
pub(super) async fn collect(
    shared: &Shared,
    context: &RunContext,
    client: &Client,
    submission: &Submission,
    prompt: &Prompt,
    entry: &HistoryEntry,
    cancel: &CancellationToken,
) -> Result<AttemptOutputs, Failure> {
    let source = Source {
        shared,
        client,
        submission,
        entry,
        cancel,
    };
    let mut noted_ms = super::now_ms();
    let mut collected = Vec::new();
    let Some(node) = context.project.nodes.get(&submission.node_id) else {
        return Err(Failure::new(
            FailureClass::Invalid,
            "the run has lost its node",
        ));
    };
    for port in &node.outputs {
        let (address, slot) = match &port.binding {
            PortBinding::WorkflowOutput { address, .. } => (address, None),
            PortBinding::WorkflowInner { address, slot } => (address, Some(*slot)),
            _ => continue,
        };
        let node_id = workflow::resolve_node(prompt, address)
            .map_err(|error| Failure::new(FailureClass::Invalid, error.to_string()))?;
        let shown = slot.map(|slot| workflow::added_id(&node_id, slot));
        let output = shown
            .and_then(|added| output_of(entry, &added))
            .or_else(|| output_of(entry, &node_id));
        let Some(output) = output else {
            return Err(Failure::new(
                FailureClass::NodeError,
                format!("{address} gave nothing for \"{}\"", port.name),
            ));
        };
        let values = values_of(&source, port, output).await?;
        collected.push((port, output, values));
    }
    // Some of it may have waited so long for the rest that it was removed since: nothing names it yet.
    while super::now_ms().saturating_sub(noted_ms) > NOTED_ANEW_AFTER.as_millis() as u64 {
        noted_ms = super::now_ms();
        for (port, output, values) in &mut collected {
            if !are_kept(shared, values).await? {
                *values = values_of(&source, port, output).await?;
            }
        }
    }
    Ok(AttemptOutputs {
        ports: collected
            .into_iter()
            .map(|(port, _, values)| (port.id, values))
            .collect(),
    })
}

/// Where files are fetched from, and for what.
struct Source<'a> {
    shared: &'a Shared,
    client: &'a Client,
    submission: &'a Submission,
    entry: &'a HistoryEntry,
    /// The attempt is called off.
    cancel: &'a CancellationToken,
}

/// What a node gave. A node that expands into others answers under an id below its own (`5.0.0.1`).
fn output_of<'a>(entry: &'a HistoryEntry, node_id: &str) -> Option<&'a NodeOutput> {
    entry.outputs.get(node_id).or_else(|| {
        entry
            .outputs
            .iter()
            .find(|(id, _)| {
                id.strip_prefix(node_id)
                    .is_some_and(|rest| rest.starts_with('.'))
            })
            .map(|(_, output)| output)
    })
}

async fn values_of(
    source: &Source<'_>,
    port: &Port,
    output: &NodeOutput,
) -> Result<Vec<Value>, Failure> {
    if !port.data_type.is_media() && (!output.text.is_empty() || output.files.is_empty()) {
        return Ok(output
            .text
            .iter()
            .map(|text| Value::Literal(literal(text, port.data_type)))
            .collect());
    }
    if output.files.len() > FILES_PER_OUTPUT {
        return Err(Failure::new(
            FailureClass::NodeError,
            format!(
                "\"{}\" gave {} files, more than the {FILES_PER_OUTPUT} allowed for one item",
                port.name,
                output.files.len()
            ),
        ));
    }
    let mut values = Vec::with_capacity(output.files.len());
    for file in &output.files {
        let artifact = fetch(source, port, file).await?;
        values.push(Value::Artifact(Arc::new(artifact)));
    }
    Ok(values)
}

/// Text that a node shows, as the type its port promises.
fn literal(text: &str, data_type: DataType) -> Literal {
    match data_type {
        DataType::Integer | DataType::Number | DataType::Boolean | DataType::Json => {
            serde_json::from_str(&text.to_ascii_lowercase())
                .or_else(|_| serde_json::from_str(text))
                .map_or_else(
                    |_| Literal::Text(text.to_owned()),
                    |json| Literal::from_json(&json),
                )
        }
        _ => Literal::Text(text.to_owned()),
    }
}

/// Fetches a file and keeps it. What a disk takes nothing of is fetched again when it does: the backend has it.
async fn fetch(source: &Source<'_>, port: &Port, file: &OutputFile) -> Result<Artifact, Failure> {
    let shared = source.shared;
    let (mut beginnings, mut in_vain) = (0, 0);
    let mut refused = None;
    let mut pause = DISK_RETRY_DELAY;
    loop {
        let known = Mutex::new(Known::default());
        let fetched = fetch_once(source, port, file, &known).await;
        let known = known.into_inner().unwrap_or_else(PoisonError::into_inner);
        let error = match fetched {
            Ok(mut artifact) => {
                artifact.origin = Some(Origin {
                    backend_id: source.submission.backend_id,
                    filename: file.file.filename.clone(),
                    subfolder: file.file.subfolder.clone(),
                    folder_type: file.file.folder.as_str().to_owned(),
                    version: known.version,
                });
                if is_kept(shared, &artifact).await? {
                    return Ok(artifact);
                }
                in_vain += 1;
                if in_vain >= KEEP_TRIES {
                    return Err(kept_in_vain(&file.file.to_string()));
                }
                continue;
            }
            Err(error) => error,
        };
        match error {
            StreamError::Artifact(error) if error.is_of_the_disk() => {
                let failure = Failure::new(
                    FailureClass::Disk,
                    format!("{} could not be kept: {error}", file.file),
                );
                if refused.is_none() {
                    refused = Some(shared.refused(Writer::Results, &failure).await);
                }
                let wait = async {
                    if matches!(error, ArtifactError::DiskFull { .. }) {
                        shared.until_room(known.too_large(), &mut pause).await;
                    } else {
                        tokio::time::sleep(DISK_RETRY_DELAY).await;
                    }
                };
                tokio::select! {
                    biased;
                    () = source.cancel.cancelled() => return Err(failure),
                    () = wait => {}
                }
            }
            StreamError::Artifact(error) => {
                return Err(Failure::new(
                    FailureClass::Local,
                    format!("{} could not be kept: {error}", file.file),
                ));
            }
            StreamError::Source(ComfyError::Missing { .. }) => {
                let why = if source.entry.cached_nodes.is_empty() {
                    ""
                } else {
                    "; the backend took it from its cache"
                };
                return Err(Failure::new(
                    FailureClass::OutputGone,
                    format!("{} is gone from the backend{why}", file.file),
                ));
            }
            StreamError::Source(error) => {
                beginnings += 1;
                if beginnings >= FETCH_BEGINNINGS {
                    return Err(transfer_failure(&error));
                }
                tracing::debug!(%error, file = %file.file, beginnings, "fetching again");
                tokio::time::sleep(FETCH_PAUSE * 2_u32.pow(beginnings - 1)).await;
            }
        }
    }
}

/// What became known of a file while it was fetched.
#[derive(Debug, Default)]
struct Known {
    /// The version of the file that what came is of.
    version: Option<String>,
    /// How long it is, where the backend says so.
    byte_len: Option<u64>,
    /// What came of it.
    received_bytes: u64,
}

impl Known {
    fn too_large(&self) -> TooLarge {
        TooLarge {
            needed_bytes: self.byte_len.unwrap_or(self.received_bytes),
            in_vain_bytes: self.received_bytes,
        }
    }
}

/// A file on its way here, that goes on where its connection broke.
struct Resuming<'a> {
    client: &'a Client,
    file: &'a StoredFile,
    download: Option<Download>,
    known: &'a Mutex<Known>,
    /// Tries since something came last.
    tries: u32,
}

impl Resuming<'_> {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ComfyError> {
        loop {
            let error = if let Some(download) = &mut self.download {
                match download.chunk().await {
                    Ok(Some(chunk)) => {
                        self.known().received_bytes += chunk.len() as u64;
                        self.tries = 0;
                        return Ok(Some((chunk, self)));
                    }
                    Ok(None) => return Ok(None),
                    Err(error) => error,
                }
            } else {
                let (version, received_bytes) = {
                    let known = self.known();
                    (known.version.clone(), known.received_bytes)
                };
                let view = self.client.view(
                    self.file,
                    received_bytes,
                    version.as_deref(),
                    FILE_LIMIT_BYTES,
                );
                match view.await {
                    Ok(download) if download.start == received_bytes => {
                        {
                            let mut known = self.known();
                            known.version.clone_from(&download.etag);
                            known.byte_len = download.total_bytes;
                        }
                        self.download = Some(download);
                        continue;
                    }
                    // The backend cannot resume, or the file is another one by now: what came is of no use.
                    Ok(_) => {
                        return Err(ComfyError::Broken {
                            url: self.client.endpoint().to_string(),
                            request: format!("GET /view of {}", self.file),
                            reason: "it cannot go on where it broke".to_owned(),
                        });
                    }
                    Err(error) => error,
                }
            };
            self.download = None;
            self.tries += 1;
            let is_final = matches!(
                error,
                ComfyError::Missing { .. } | ComfyError::TooLarge { .. }
            );
            if is_final || self.tries >= FETCH_TRIES {
                return Err(error);
            }
            tracing::debug!(%error, file = %self.file, from = self.known().received_bytes, "fetching on");
            tokio::time::sleep(FETCH_PAUSE * 2_u32.pow(self.tries - 1)).await;
        }
    }
}

async fn fetch_once(
    source: &Source<'_>,
    port: &Port,
    file: &OutputFile,
    known: &Mutex<Known>,
) -> Result<Artifact, StreamError<ComfyError>> {
    let resuming = Resuming {
        client: source.client,
        file: &file.file,
        download: None,
        known,
        tries: 0,
    };
    source
        .shared
        .artifacts
        .store_stream(
            futures_util::stream::try_unfold(resuming, Resuming::next),
            port.data_type,
            &file.file.filename,
            FILE_LIMIT_BYTES,
        )
        .await
}

/// Notes files again, and says whether all of them are still there then.
async fn are_kept(shared: &Shared, values: &[Value]) -> Result<bool, Failure> {
    for artifact in values.iter().flat_map(Value::artifacts) {
        if !is_kept(shared, &artifact).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Enters a stored file in the database, and says whether it is still there then: an equal one that nothing named may have been
/// removed just before.
pub(super) async fn is_kept(shared: &Shared, artifact: &Artifact) -> Result<bool, Failure> {
    note(shared, artifact).await?;
    Ok(shared.artifacts.contains(artifact))
}

/// A file is removed whenever it was stored.
pub(super) fn kept_in_vain(what: &str) -> Failure {
    Failure::new(
        FailureClass::Local,
        format!(
            "{what} was stored {KEEP_TRIES} times and was gone each time; look at what removes files from the results folder, then retry"
        ),
    )
}

/// Enters a stored file in the database. While that cannot be written (full disk, locked by another program) the work waits: what
/// was made is not thrown away for it.
async fn note(shared: &Shared, artifact: &Artifact) -> Result<(), Failure> {
    let mut said = false;
    loop {
        let error = match shared
            .store
            .put_artifact(artifact.clone(), super::now_ms())
            .await
        {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let trouble = Failure::new(FailureClass::Local, error.to_string());
        if matches!(error, StoreError::Closed) {
            return Err(trouble);
        }
        if !said {
            tracing::error!(%error, "a file cannot be noted; its item waits");
            // The engine is ending when nobody listens.
            shared.live.send(EngineEvent::Trouble(trouble)).await.ok();
            said = true;
        }
        tokio::time::sleep(STORE_RETRY_DELAY).await;
    }
}
