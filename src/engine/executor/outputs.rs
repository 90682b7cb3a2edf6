//! What a finished prompt made, brought into the artifact store.

use super::disk::Writer;
use super::inputs::transfer_failure;
use super::record::STORE_RETRY_DELAY;
use super::shared::Shared;
use super::starting::RunContext;
use crate::artifacts::{Artifact, Origin, StreamError};
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
use std::sync::{Arc, Mutex, PoisonError};
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
    let mut collected = AttemptOutputs::default();
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
        let work = async || values_of(shared, client, submission, entry, port, output).await;
        let mut outcome = work().await;
        while let Err(failure) = &outcome
            && failure.class == FailureClass::Disk
        {
            // The backend has the files; they are fetched when they can be kept.
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = shared.wait_for_disk(Writer::Results, failure) => {}
            }
            outcome = work().await;
            if outcome.is_ok() {
                shared.disk_works(Writer::Results);
            }
        }
        let values = outcome?;
        collected.ports.insert(port.id, values);
    }
    Ok(collected)
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
    shared: &Shared,
    client: &Client,
    submission: &Submission,
    entry: &HistoryEntry,
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
        let artifact = fetch(shared, client, submission, entry, port, file).await?;
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

async fn fetch(
    shared: &Shared,
    client: &Client,
    submission: &Submission,
    entry: &HistoryEntry,
    port: &Port,
    file: &OutputFile,
) -> Result<Artifact, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let etag = Mutex::new(None);
        let error = match fetch_once(shared, client, port, file, &etag).await {
            Ok(mut artifact) => {
                artifact.origin = Some(Origin {
                    backend_id: submission.backend_id,
                    filename: file.file.filename.clone(),
                    subfolder: file.file.subfolder.clone(),
                    folder_type: file.file.folder.as_str().to_owned(),
                    version: etag.into_inner().unwrap_or_else(PoisonError::into_inner),
                });
                note(shared, &artifact).await?;
                // An equal file that nothing named may have been removed just before it was noted.
                if shared.artifacts.contains(&artifact) {
                    return Ok(artifact);
                }
                continue;
            }
            Err(error) => error,
        };
        match error {
            StreamError::Artifact(error) => {
                let class = if error.is_of_the_disk() {
                    FailureClass::Disk
                } else {
                    FailureClass::Local
                };
                return Err(Failure::new(
                    class,
                    format!("{} could not be kept: {error}", file.file),
                ));
            }
            StreamError::Source(ComfyError::Missing { .. }) => {
                let why = if entry.cached_nodes.is_empty() {
                    ""
                } else {
                    "; the backend took it from its cache"
                };
                return Err(Failure::new(
                    FailureClass::OutputGone,
                    format!("{} is gone from the backend{why}", file.file),
                ));
            }
            StreamError::Source(error) if tries >= FETCH_BEGINNINGS => {
                return Err(transfer_failure(&error));
            }
            StreamError::Source(error) => {
                tracing::debug!(%error, file = %file.file, tries, "fetching again");
                tokio::time::sleep(FETCH_PAUSE * 2_u32.pow(tries - 1)).await;
            }
        }
    }
}

/// A file on its way here, that goes on where its connection broke.
struct Resuming<'a> {
    client: &'a Client,
    file: &'a StoredFile,
    download: Option<Download>,
    received_bytes: u64,
    /// The version of the file that what came is of.
    etag: &'a Mutex<Option<String>>,
    /// Tries since something came last.
    tries: u32,
}

impl Resuming<'_> {
    fn known_version(&self) -> Option<String> {
        self.etag
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ComfyError> {
        loop {
            let error = if let Some(download) = &mut self.download {
                match download.chunk().await {
                    Ok(Some(chunk)) => {
                        self.received_bytes += chunk.len() as u64;
                        self.tries = 0;
                        return Ok(Some((chunk, self)));
                    }
                    Ok(None) => return Ok(None),
                    Err(error) => error,
                }
            } else {
                let etag = self.known_version();
                let view = self.client.view(
                    self.file,
                    self.received_bytes,
                    etag.as_deref(),
                    FILE_LIMIT_BYTES,
                );
                match view.await {
                    Ok(download) if download.start == self.received_bytes => {
                        self.etag
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .clone_from(&download.etag);
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
            tracing::debug!(%error, file = %self.file, from = self.received_bytes, "fetching on");
            tokio::time::sleep(FETCH_PAUSE * 2_u32.pow(self.tries - 1)).await;
        }
    }
}

async fn fetch_once(
    shared: &Shared,
    client: &Client,
    port: &Port,
    file: &OutputFile,
    etag: &Mutex<Option<String>>,
) -> Result<Artifact, StreamError<ComfyError>> {
    let resuming = Resuming {
        client,
        file: &file.file,
        download: None,
        received_bytes: 0,
        etag,
        tries: 0,
    };
    shared
        .artifacts
        .store_stream(
            futures_util::stream::try_unfold(resuming, Resuming::next),
            port.data_type,
            &file.file.filename,
            FILE_LIMIT_BYTES,
        )
        .await
}

/// Enters a stored file in the database. While that cannot be written (full disk, locked by another program) the work waits: what
/// was made is not thrown away for it.
pub(super) async fn note(shared: &Shared, artifact: &Artifact) -> Result<(), Failure> {
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
