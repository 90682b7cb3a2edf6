//! Prompts: submit, look at the queue, call off, read the outcome.

use super::{Client, ComfyError, json, limits};
use crate::comfy::outcome::{HistoryEntry, WireHistoryEntry};
use crate::comfy::rejection::{NodeErrors, PromptRejection};
use crate::workflow::Prompt;
use indexmap::IndexMap;
use reqwest::StatusCode;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// A prompt to queue.
#[derive(Clone, Debug)]
pub struct SubmitRequest<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The socket that gets its events. Without one, some events go to everybody and most to nobody.
    pub client_id: &'a str,
    /// The id it shall have. Choose it before sending, so that a lost answer can be reconciled.
    pub prompt_id: &'a str,
    /// What travels with it.
    pub extra_data: ExtraData,
    /// Only these output nodes are to be made; all when empty.
    pub partial_execution_targets: Vec<String>,
    /// Where it goes in the queue.
    pub position: QueuePosition,
}

/// What travels with a prompt.
#[derive(Clone, Debug, Default)]
pub struct ExtraData {
    /// The editor's workflow, written into the metadata of saved pictures (`extra_pnginfo.workflow`).
    pub workflow: Option<Value>,
    /// How samplers draw previews, if at all.
    pub preview_method: Option<PreviewMethod>,
}

/// How samplers draw previews.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PreviewMethod {
    /// Not at all.
    None,
    /// The best there is.
    Auto,
    /// By a linear map: fast and coarse.
    Latent2rgb,
    /// By a small decoder, if the server has it.
    Taesd,
}

/// Where a prompt goes in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum QueuePosition {
    /// Behind everything.
    #[default]
    Back,
    /// Before everything that waits.
    Front,
    /// By number: the lowest runs first. Never use one together with a prompt id that is queued already: the server then
    /// answers 500 and queues it all the same.
    Number(f64),
}

/// A queued prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// Its id.
    pub prompt_id: String,
    /// Its number; the lowest runs first. Negative for [`QueuePosition::Front`].
    pub number: f64,
}

/// What executes and what waits on a server, anybody's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    /// What executes.
    pub running: Vec<QueueItem>,
    /// What waits, next first.
    pub pending: Vec<QueueItem>,
}

/// A prompt in queue or history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueItem {
    /// Its number; the lowest runs first. Starts again at 0 when the server restarts.
    pub number: f64,
    /// Its id.
    pub prompt_id: String,
    /// The socket that gets its events, if it has one.
    pub client_id: Option<String>,
    /// When it was queued, Unix milliseconds by the server's clock; older servers do not say.
    pub create_time_ms: Option<u64>,
    /// The output nodes that will be made.
    pub output_nodes: Vec<String>,
}

impl<'de> Deserialize<'de> for QueueItem {
    /// From `[number, prompt_id, prompt, extra_data, [output node ids], …]`; the prompt is skipped over, not kept.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        struct WireExtraData {
            #[serde(default)]
            client_id: Option<String>,
            #[serde(default, deserialize_with = "json::timestamp")]
            create_time: Option<u64>,
        }

        struct Tuple;

        impl<'de> Visitor<'de> for Tuple {
            type Value = QueueItem;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a queue item [number, prompt_id, prompt, extra_data, outputs]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<QueueItem, A::Error> {
                let missing = |position| serde::de::Error::invalid_length(position, &"5 members");
                let number = seq.next_element()?.ok_or_else(|| missing(0))?;
                let prompt_id = seq.next_element()?.ok_or_else(|| missing(1))?;
                seq.next_element::<IgnoredAny>()?
                    .ok_or_else(|| missing(2))?;
                let extra: WireExtraData = seq.next_element()?.unwrap_or_default();
                let outputs: Vec<Value> = seq.next_element()?.unwrap_or_default();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(QueueItem {
                    number,
                    prompt_id,
                    client_id: extra.client_id,
                    create_time_ms: extra.create_time,
                    output_nodes: outputs.iter().map(json::text_of).collect(),
                })
            }
        }

        deserializer.deserialize_seq(Tuple)
    }
}

/// A job as `/api/jobs` lists it. Versions before about 0.4 do not have that page.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Job {
    /// The prompt id.
    pub id: String,
    /// Where it is.
    pub status: JobState,
    /// The queue number.
    #[serde(default, deserialize_with = "json::number")]
    pub priority: f64,
    /// When it was queued, Unix milliseconds by the server's clock.
    #[serde(default, rename = "create_time", deserialize_with = "json::timestamp")]
    pub create_time_ms: Option<u64>,
    /// When execution began.
    #[serde(
        default,
        rename = "execution_start_time",
        deserialize_with = "json::timestamp"
    )]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(
        default,
        rename = "execution_end_time",
        deserialize_with = "json::timestamp"
    )]
    pub ended_ms: Option<u64>,
    /// Files it made.
    #[serde(default, deserialize_with = "json::count")]
    pub outputs_count: u64,
}

/// Where a job is. There is no "cancelled": deleted ones are gone, interrupted ones are `Failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits.
    Pending,
    /// It executes.
    InProgress,
    /// It succeeded.
    Completed,
    /// It failed or was interrupted.
    Failed,
    /// A state this program does not know.
    #[serde(other)]
    Other,
}

#[derive(Serialize)]
struct WireSubmit<'a> {
    prompt: &'a Prompt,
    client_id: &'a str,
    prompt_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    front: bool,
    #[serde(skip_serializing_if = "Map::is_empty")]
    extra_data: Map<String, Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    partial_execution_targets: &'a [String],
}

#[derive(Deserialize)]
struct WireSubmitted {
    prompt_id: String,
    number: f64,
    #[serde(default)]
    node_errors: Value,
}

#[derive(Deserialize)]
struct WireQueue {
    queue_running: Vec<QueueItem>,
    queue_pending: Vec<QueueItem>,
}

#[derive(Deserialize)]
struct WireJobs {
    jobs: Vec<Job>,
}

impl Client {
    /// Queues a prompt. On an error for which [`ComfyError::may_have_acted`] holds, find out with
    /// [`crate::comfy::watch::reconcile`] before sending it again.
    ///
    /// # Errors
    /// [`ComfyError::Rejected`] when it is invalid; [`ComfyError::PartlyRejected`] when it IS queued but will not make
    /// everything; [`ComfyError::OtherPromptId`] when it IS queued under an id we did not choose.
    pub async fn submit_prompt(&self, submit: &SubmitRequest<'_>) -> Result<Submitted, ComfyError> {
        let mut extra_data = Map::new();
        if let Some(workflow) = &submit.extra_data.workflow {
            extra_data.insert(
                "extra_pnginfo".to_owned(),
                serde_json::json!({ "workflow": workflow }),
            );
        }
        if let Some(method) = submit.extra_data.preview_method {
            extra_data.insert("preview_method".to_owned(), serde_json::json!(method));
        }
        let body = WireSubmit {
            prompt: submit.prompt,
            client_id: submit.client_id,
            prompt_id: submit.prompt_id,
            number: match submit.position {
                QueuePosition::Number(number) => Some(number),
                QueuePosition::Back | QueuePosition::Front => None,
            },
            front: submit.position == QueuePosition::Front,
            extra_data,
            partial_execution_targets: &submit.partial_execution_targets,
        };
        let mut request = self.post(&["prompt"], &body);
        request.timeout = limits::SUBMIT_TIMEOUT;
        let name = request.name.clone();
        let response = self.send_any(request).await?;
        let status = response.status();
        if status == StatusCode::BAD_REQUEST {
            let body = self
                .body(
                    &name,
                    response,
                    limits::SUBMIT_TIMEOUT,
                    limits::ERROR_BODY_BYTES,
                )
                .await?;
            return Err(
                match json::parse(&body)
                    .ok()
                    .and_then(|body| PromptRejection::from_json(&body))
                {
                    Some(rejection) => ComfyError::Rejected {
                        url: self.endpoint.to_string(),
                        rejection: Box::new(rejection),
                    },
                    None => ComfyError::Status {
                        url: self.endpoint.to_string(),
                        request: name,
                        status: 400,
                        excerpt: super::excerpt(&body),
                        advice: super::advice(400),
                    },
                },
            );
        }
        if !status.is_success() {
            return Err(self.refusal(name, response).await);
        }
        let is_page = super::is_web_page(&response);
        let body = self
            .body(
                &name,
                response,
                limits::SUBMIT_TIMEOUT,
                limits::SMALL_BODY_BYTES,
            )
            .await?;
        let answer: WireSubmitted = self.parse(name, &body, is_page)?;
        if answer.prompt_id != submit.prompt_id {
            return Err(ComfyError::OtherPromptId {
                url: self.endpoint.to_string(),
                sent: submit.prompt_id.to_owned(),
                given: answer.prompt_id,
            });
        }
        let node_errors = NodeErrors::from_json(Some(&answer.node_errors));
        if !node_errors.is_empty() {
            return Err(ComfyError::PartlyRejected {
                url: self.endpoint.to_string(),
                prompt_id: answer.prompt_id,
                node_errors,
            });
        }
        Ok(Submitted {
            prompt_id: answer.prompt_id,
            number: answer.number,
        })
    }

    /// What executes and what waits, in the order in which it will run (the server itself lists it in heap order).
    pub async fn queue(&self) -> Result<Queue, ComfyError> {
        let mut request = self.get(&["queue"]);
        request.limit_bytes = limits::QUEUE_BODY_BYTES;
        let wire: WireQueue = self.json(request).await?;
        let mut pending = wire.queue_pending;
        pending.sort_by(|a, b| {
            a.number
                .total_cmp(&b.number)
                .then_with(|| a.prompt_id.cmp(&b.prompt_id))
        });
        Ok(Queue {
            running: wire.queue_running,
            pending,
        })
    }

    /// Takes prompts out of the queue. The server says yes in any case: unknown ids and the one that runs already are left
    /// alone, and no trace is kept. To know what became of one, look at the queue and the history afterwards.
    pub async fn delete_from_queue(&self, prompt_ids: &[&str]) -> Result<(), ComfyError> {
        self.send_only(self.post(&["queue"], &serde_json::json!({ "delete": prompt_ids })))
            .await
    }

    /// Interrupts a prompt if it is the one that executes; otherwise does nothing. Takes effect at the node's next progress
    /// step, or before the next node.
    pub async fn interrupt(&self, prompt_id: &str) -> Result<(), ComfyError> {
        self.send_only(self.post(
            &["interrupt"],
            &serde_json::json!({ "prompt_id": prompt_id }),
        ))
        .await
    }

    /// How a prompt ended; none while it waits or runs, and when the server does not know it (any more).
    pub async fn history(&self, prompt_id: &str) -> Result<Option<HistoryEntry>, ComfyError> {
        let mut request = self.get(&["history", prompt_id]);
        request.limit_bytes = limits::HISTORY_BODY_BYTES;
        let mut entries: IndexMap<String, WireHistoryEntry> = self.json(request).await?;
        Ok(entries.swap_remove(prompt_id).map(HistoryEntry::from))
    }

    /// Forgets how prompts ended. Their files stay.
    pub async fn delete_from_history(&self, prompt_ids: &[&str]) -> Result<(), ComfyError> {
        self.send_only(self.post(&["history"], &serde_json::json!({ "delete": prompt_ids })))
            .await
    }

    /// The newest jobs, at most `limit`. Only newer servers have it; [`ComfyError::status`] is 404 on others.
    pub async fn jobs(&self, limit: u32) -> Result<Vec<Job>, ComfyError> {
        let mut request = self.get(&["api", "jobs"]);
        request.builder = request.builder.query(&[("limit", limit)]);
        request.limit_bytes = limits::HISTORY_BODY_BYTES;
        Ok(self.json::<WireJobs>(request).await?.jobs)
    }

    /// One job; none when the server does not know it, or has no such page.
    pub async fn job(&self, prompt_id: &str) -> Result<Option<Job>, ComfyError> {
        let mut request = self.get(&["api", "jobs", prompt_id]);
        request.limit_bytes = limits::HISTORY_BODY_BYTES;
        match self.json(request).await {
            Ok(job) => Ok(Some(job)),
            Err(ComfyError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
