//! The last picture that each workflow made. Noted with the event that tells of it, in the same write.

use super::Store;
use super::error::StoreError;
use super::registry;
use super::worker::CallError;
use crate::artifacts::{Artifact, ContentHash};
use crate::engine::{RunEvent, RunEventBody, RunId, Value};
use crate::project::{DataType, PortId};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Notes which workflow the outputs of a run's nodes belong to.
pub(super) fn put_workflows(
    connection: &Connection,
    run_id: RunId,
    workflow_outputs: &BTreeMap<PortId, ContentHash>,
) -> Result<(), CallError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO run_workflows (run_id, port_id, workflow) VALUES (?1, ?2, ?3)",
    )?;
    for (port_id, workflow) in workflow_outputs {
        insert.execute([
            run_id.to_string(),
            port_id.to_string(),
            workflow.to_string(),
        ])?;
    }
    Ok(())
}

/// Notes the picture that an event tells of, if it tells of one that a workflow made.
pub(super) fn note(connection: &Connection, event: &RunEvent) -> Result<(), CallError> {
    let RunEventBody::ItemDone { outputs, .. } = &event.body else {
        return Ok(());
    };
    let Some((port_id, picture)) = largest_picture(outputs) else {
        return Ok(());
    };
    connection
        .prepare_cached(
            "INSERT INTO workflow_pictures (workflow, artifact, made_ms)
             SELECT workflow, ?3, ?4 FROM run_workflows WHERE run_id = ?1 AND port_id = ?2
             ON CONFLICT (workflow) DO UPDATE SET artifact = ?3, made_ms = ?4 WHERE made_ms <= ?4",
        )?
        .execute(params![
            event.run_id.to_string(),
            port_id.to_string(),
            picture.hash.to_string(),
            event.at_ms as i64
        ])?;
    Ok(())
}

/// The picture with the most pixels: workflows that upscale show what they started from as well.
fn largest_picture(outputs: &BTreeMap<PortId, Value>) -> Option<(PortId, Arc<Artifact>)> {
    outputs
        .iter()
        .flat_map(|(port_id, value)| {
            let pictures = value.artifacts().into_iter();
            pictures.map(|artifact| (*port_id, artifact))
        })
        .filter(|(_, artifact)| artifact.data_type == DataType::Image)
        .max_by_key(|(_, artifact)| {
            let side = |px: Option<u32>| u64::from(px.unwrap_or(0));
            side(artifact.measures.width_px) * side(artifact.measures.height_px)
        })
}

fn last(connection: &Connection, workflow: ContentHash) -> Result<Option<Artifact>, CallError> {
    let hash: Option<String> = connection
        .prepare_cached("SELECT artifact FROM workflow_pictures WHERE workflow = ?1")?
        .query_row([workflow.to_string()], |row| row.get(0))
        .optional()?;
    let Some(hash) = hash else { return Ok(None) };
    let hash = hash
        .parse()
        .map_err(|error| StoreError::unreadable("the picture of a workflow", error))?;
    registry::artifact(connection, hash)
}

impl Store {
    /// The last picture that a workflow made in any run here. `workflow` is the hash of its file's text, byte for byte. None
    /// when it made none, or when the file store forgot it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_picture(
        &self,
        workflow: ContentHash,
    ) -> Result<Option<Artifact>, StoreError> {
        self.reader
            .call(move |connection| last(connection, workflow))
            .await
    }
}
