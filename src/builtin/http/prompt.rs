//! Submitting prompts and asking after them: `/prompt`, `/queue`, `/interrupt`, `/history`, `/api/jobs`, `/free`.

use std::sync::atomic::Ordering;

use axum::{
    body::Bytes,
    extract::{Path, Query, Request, State},
    http::StatusCode,
    response::Response,
};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{
    MAXIMUM_BODY_BYTES, QueryMap, SharedHost,
    answer::{self, fault},
};
use crate::builtin::{
    clock,
    host::{Host, lock},
    jobs, python,
    queue::{PromptNumber, Put, QueuedPrompt},
    validate::{self, Refused},
};

/// Never listed, never kept: the credentials of comfy.org that a frontend may send along.
const SECRET_MEMBERS: [&str; 2] = ["auth_token_comfy_org", "api_key_comfy_org"];

/// A request body as JSON; the error is the answer.
pub async fn read_json(request: Request) -> Result<Value, Response> {
    let bytes = read_bytes(request).await?;
    serde_json::from_slice(&bytes).map_err(|_| fault())
}

/// A request body, within the limit; the error is the answer.
pub async fn read_bytes(request: Request) -> Result<Bytes, Response> {
    axum::body::to_bytes(request.into_body(), MAXIMUM_BODY_BYTES)
        .await
        .map_err(|_| answer::body_too_large())
}

/// `GET /prompt`.
pub async fn exec_info(State(host): SharedHost) -> Response {
    answer::json(&Host::queue_info(host.queue.remaining()))
}

/// `POST /prompt`.
pub async fn submit(State(host): SharedHost, request: Request) -> Response {
    let body = match read_json(request).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    // Validation hashes and lists files; a large prompt takes its time.
    let queued = tokio::task::spawn_blocking(move || queue_prompt(&host, body)).await;
    queued.unwrap_or_else(|_| fault())
}

fn queue_prompt(host: &Host, body: Value) -> Response {
    host.log("got prompt");
    let mut body = match body {
        Value::Object(body) => body,
        Value::Array(_) | Value::String(_) => Map::new(),
        Value::Null | Value::Bool(_) | Value::Number(_) => return fault(),
    };
    let number = if let Some(number) = body.get("number") {
        match python::float(number) {
            Ok(number) => PromptNumber::Given(number),
            Err(_) => return fault(),
        }
    } else {
        let mut next = lock(&host.next_number);
        let number = *next;
        *next += 1;
        let front = body.get("front").is_some_and(python::truthy);
        PromptNumber::Counted(if front { -number } else { number })
    };
    let Some(mut prompt) = body.remove("prompt") else {
        let error = validate::error("no_prompt", "No prompt provided", "No prompt provided");
        let answer = json!({ "error": error, "node_errors": {} });
        return answer::json_with(StatusCode::BAD_REQUEST, &answer);
    };
    let prompt_id = body
        .get("prompt_id")
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), python::text);
    host.count_post(&prompt_id);
    let targets = match body.get("partial_execution_targets") {
        None | Some(Value::Null) => None,
        Some(Value::Array(targets)) => Some(targets.as_slice()),
        Some(_) => return fault(),
    };
    let accepted = match validate::validate(host, &mut prompt, targets) {
        Ok(accepted) => accepted,
        Err(Refused::Fault) => return fault(),
        Err(Refused::Invalid { error, node_errors }) => {
            let answer = json!({ "error": error, "node_errors": node_errors });
            return answer::json_with(StatusCode::BAD_REQUEST, &answer);
        }
    };
    let mut extra_data = match body.remove("extra_data") {
        None => Map::new(),
        Some(Value::Object(extra_data)) => extra_data,
        Some(_) => return fault(),
    };
    if let Some(client_id) = body.remove("client_id") {
        extra_data.insert("client_id".to_owned(), client_id);
    }
    for secret in SECRET_MEMBERS {
        extra_data.shift_remove(secret);
    }
    extra_data.insert("create_time".to_owned(), json!(clock::now_ms()));
    let Value::Object(prompt) = prompt else {
        return fault();
    };
    let answer = json!({
        "prompt_id": prompt_id,
        "number": number.value(),
        "node_errors": accepted.node_errors,
    });
    let put = host.queue.put(
        host,
        QueuedPrompt {
            number,
            prompt_id,
            prompt,
            extra_data,
            outputs: accepted.outputs,
        },
    );
    match put {
        Put::Queued => answer::json(&answer),
        Put::QueuedWithFault => fault(),
    }
}

/// `GET /queue`.
pub async fn queue(State(host): SharedHost) -> Response {
    let (running, pending) = host.queue.snapshot();
    let items = |prompts: Vec<_>| -> Vec<Value> {
        prompts
            .iter()
            .map(|prompt: &std::sync::Arc<QueuedPrompt>| prompt.item())
            .collect()
    };
    answer::json(&json!({
        "queue_running": items(running.into_iter().collect()),
        "queue_pending": items(pending),
    }))
}

/// `clear` and the ids of `delete` in a body.
fn removals(body: &Value) -> Option<(bool, Vec<String>)> {
    let body = body.as_object()?;
    let clear = body.get("clear").is_some_and(python::truthy);
    let ids = match body.get("delete") {
        None => Vec::new(),
        Some(Value::Array(ids)) => ids.iter().map(python::text).collect(),
        Some(_) => return None,
    };
    Some((clear, ids))
}

/// `POST /queue`.
pub async fn change_queue(State(host): SharedHost, request: Request) -> Response {
    let Some((clear, ids)) = read_json(request).await.ok().as_ref().and_then(removals) else {
        return fault();
    };
    if clear {
        host.queue.clear(&host);
    }
    for id in ids {
        host.queue.delete(&host, &id);
    }
    answer::empty(StatusCode::OK)
}

/// `POST /interrupt`.
pub async fn interrupt(State(host): SharedHost, request: Request) -> Response {
    let body = read_json(request).await.unwrap_or(Value::Null);
    let target = body.get("prompt_id").filter(|id| python::truthy(id));
    let hits = target.is_none_or(|id| host.queue.is_running(&python::text(id)));
    if hits {
        host.interrupt.store(true, Ordering::SeqCst);
    }
    answer::empty(StatusCode::OK)
}

/// `POST /free`.
pub async fn free(State(host): SharedHost, request: Request) -> Response {
    let Ok(Value::Object(body)) = read_json(request).await else {
        return fault();
    };
    // No models are ever loaded, so `unload_models` has nothing to do.
    if body.get("free_memory").is_some_and(python::truthy) {
        host.queue.free_memory();
    }
    answer::empty(StatusCode::OK)
}

/// `GET /history`.
pub async fn history(State(host): SharedHost, Query(query): QueryMap) -> Response {
    let number = |name: &str| match query.get(name) {
        None => Ok(None),
        Some(text) => text.trim().parse::<i64>().map(Some),
    };
    let (Ok(max_items), Ok(offset)) = (number("max_items"), number("offset")) else {
        return fault();
    };
    answer::json(&host.queue.history_page(max_items, offset.unwrap_or(-1)))
}

/// `GET /history/ID`.
pub async fn history_of(State(host): SharedHost, Path(prompt_id): Path<String>) -> Response {
    let entry = host.queue.history_of(&prompt_id);
    let entries: IndexMap<String, _> = entry.map(|entry| (prompt_id, entry)).into_iter().collect();
    answer::json(&entries)
}

/// `POST /history`.
pub async fn change_history(State(host): SharedHost, request: Request) -> Response {
    let Some((clear, ids)) = read_json(request).await.ok().as_ref().and_then(removals) else {
        return fault();
    };
    if clear {
        host.queue.clear_history();
    }
    for id in ids {
        host.queue.delete_history(&id);
    }
    answer::empty(StatusCode::OK)
}

/// `GET /api/jobs`.
pub async fn jobs(State(host): SharedHost, Query(query): QueryMap) -> Response {
    match jobs::list(&host.queue, &query) {
        Ok(page) => answer::json(&page),
        Err(error) => answer::json_with(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    }
}

/// `GET /api/jobs/ID`.
pub async fn job(State(host): SharedHost, Path(id): Path<String>) -> Response {
    match jobs::one(&host.queue, &id) {
        Some(job) => answer::json(&job),
        None => answer::json_with(StatusCode::NOT_FOUND, &json!({ "error": "Job not found" })),
    }
}
