//! The job listing: queue and history in one form.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::queue::{PromptQueue, QueuedPrompt};

const STATUSES: [&str; 4] = ["pending", "in_progress", "completed", "failed"];
const PREVIEWABLE: [&str; 3] = ["images", "video", "audio"];

/// A page of jobs for the query of `GET /api/jobs`; the error is the text of a 400.
pub fn list(queue: &PromptQueue, query: &IndexMap<String, String>) -> Result<Value, String> {
    let statuses: Vec<String> = match query.get("status").filter(|text| !text.is_empty()) {
        None => STATUSES.map(str::to_owned).to_vec(),
        Some(text) => text
            .split(',')
            .map(|status| status.trim().to_lowercase())
            .filter(|status| !status.is_empty())
            .collect(),
    };
    let unknown: Vec<&str> = statuses
        .iter()
        .map(String::as_str)
        .filter(|status| !STATUSES.contains(status))
        .collect();
    if !unknown.is_empty() {
        return Err(format!(
            "Invalid status value(s): {}. Valid values: {}",
            unknown.join(", "),
            STATUSES.join(", ")
        ));
    }
    let word = |name: &str, default: &str| {
        query
            .get(name)
            .map_or_else(|| default.to_owned(), |text| text.to_lowercase())
    };
    let by_duration = match word("sort_by", "created_at").as_str() {
        "created_at" => false,
        "execution_duration" => true,
        _ => return Err("sort_by must be 'created_at' or 'execution_duration'".to_owned()),
    };
    let descending = match word("sort_order", "desc").as_str() {
        "desc" => true,
        "asc" => false,
        _ => return Err("sort_order must be 'asc' or 'desc'".to_owned()),
    };
    let limit = match query.get("limit").map(|text| text.trim().parse::<i64>()) {
        None => None,
        Some(Ok(limit)) if limit > 0 => Some(limit),
        Some(Ok(_)) => return Err("limit must be a positive integer".to_owned()),
        Some(Err(_)) => return Err("limit must be an integer".to_owned()),
    };
    let offset = match query.get("offset").map(|text| text.trim().parse::<i64>()) {
        None => 0,
        Some(Ok(offset)) => offset.max(0),
        Some(Err(_)) => return Err("offset must be an integer".to_owned()),
    };

    let (running, pending) = queue.snapshot();
    let mut jobs: Vec<Value> = Vec::new();
    jobs.extend(
        running
            .iter()
            .map(|prompt| of_queued(prompt, "in_progress")),
    );
    jobs.extend(pending.iter().map(|prompt| of_queued(prompt, "pending")));
    jobs.extend(
        queue
            .history()
            .iter()
            .map(|(id, entry)| of_history(id, entry, false)),
    );
    jobs.retain(|job| {
        job.get("status")
            .and_then(Value::as_str)
            .is_some_and(|status| statuses.iter().any(|wanted| wanted == status))
    });
    if let Some(workflow_id) = query.get("workflow_id").filter(|id| !id.is_empty()) {
        jobs.retain(|job| job.get("workflow_id") == Some(&json!(workflow_id)));
    }
    let key = |job: &Value| {
        let time = |name: &str| job.get(name).and_then(Value::as_i64).unwrap_or(0);
        let (start, end) = (time("execution_start_time"), time("execution_end_time"));
        match (by_duration, start != 0 && end != 0) {
            (false, _) => time("create_time"),
            (true, true) => end - start,
            (true, false) => 0,
        }
    };
    if descending {
        jobs.sort_by_key(|job| std::cmp::Reverse(key(job)));
    } else {
        jobs.sort_by_key(key);
    }
    let total = jobs.len() as i64;
    let page: Vec<Value> = jobs
        .into_iter()
        .skip(offset as usize)
        .take(limit.map_or(usize::MAX, |limit| limit as usize))
        .collect();
    let has_more = offset + (page.len() as i64) < total;
    Ok(json!({
        "jobs": page,
        "pagination": { "offset": offset, "limit": limit, "total": total, "has_more": has_more },
    }))
}

/// One job in full.
pub fn one(queue: &PromptQueue, id: &str) -> Option<Value> {
    if let Some(entry) = queue.history_of(id) {
        return Some(of_history(id, &entry, true));
    }
    let (running, pending) = queue.snapshot();
    if let Some(prompt) = running.filter(|prompt| prompt.prompt_id == id) {
        return Some(of_queued(&prompt, "in_progress"));
    }
    let prompt = pending.iter().find(|prompt| prompt.prompt_id == id)?;
    Some(of_queued(prompt, "pending"))
}

/// Members that are null are left out.
fn pruned(job: Value) -> Value {
    match job {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
        other => other,
    }
}

fn workflow_id(extra_data: Option<&Value>) -> Option<&Value> {
    extra_data?.get("extra_pnginfo")?.get("workflow")?.get("id")
}

fn of_queued(prompt: &QueuedPrompt, status: &str) -> Value {
    let extra_data = json!(prompt.extra_data);
    pruned(json!({
        "id": prompt.prompt_id,
        "status": status,
        "priority": prompt.number.value(),
        "create_time": extra_data.get("create_time"),
        "outputs_count": 0,
        "workflow_id": workflow_id(Some(&extra_data)),
    }))
}

fn of_history(id: &str, entry: &Value, in_full: bool) -> Value {
    let part = |index: usize| entry.get("prompt").and_then(|item| item.get(index));
    let status = entry.get("status");
    let succeeded = status.and_then(|status| status.get("status_str")) == Some(&json!("success"));
    let messages = status
        .and_then(|status| status.get("messages"))
        .and_then(Value::as_array);
    let message = |wanted: &[&str]| {
        messages.into_iter().flatten().find_map(|message| {
            let event = message.get(0)?.as_str()?;
            wanted.contains(&event).then(|| message.get(1))?
        })
    };
    let time = |message: Option<&Value>| message.and_then(|data| data.get("timestamp")).cloned();
    let ends = [
        "execution_success",
        "execution_error",
        "execution_interrupted",
    ];
    let (count, preview) = outputs_summary(entry.get("outputs"));
    let mut job = pruned(json!({
        "id": id,
        "status": if succeeded { "completed" } else { "failed" },
        "priority": part(0),
        "create_time": part(3).and_then(|extra_data| extra_data.get("create_time")),
        "execution_start_time": time(message(&["execution_start"])),
        "execution_end_time": time(message(&ends)),
        "execution_error": message(&["execution_error"]),
        "outputs_count": count,
        "preview_output": preview,
        "workflow_id": workflow_id(part(3)),
    }));
    if let (true, Some(members)) = (in_full, job.as_object_mut()) {
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("outputs", json!(entry.get("outputs")));
        put("execution_status", json!(status));
        put(
            "workflow",
            json!({ "prompt": part(2), "extra_data": part(3) }),
        );
    }
    job
}

/// How many files were made, and the one to show: the first saved one, else the first of all.
fn outputs_summary(outputs: Option<&Value>) -> (usize, Option<Value>) {
    let mut count = 0;
    let mut saved = None;
    let mut first = None;
    let nodes = outputs.and_then(Value::as_object).into_iter().flatten();
    for (node_id, output) in nodes {
        for (media, items) in output.as_object().into_iter().flatten() {
            let files = items.as_array().into_iter().flatten();
            for file in files.filter_map(Value::as_object) {
                count += 1;
                if !PREVIEWABLE.contains(&media.as_str()) {
                    continue;
                }
                let mut shown: Map<String, Value> = file.clone();
                shown.insert("nodeId".to_owned(), json!(node_id));
                shown.insert("mediaType".to_owned(), json!(media));
                if file.get("type") == Some(&json!("output")) {
                    saved.get_or_insert(Value::Object(shown));
                } else {
                    first.get_or_insert(Value::Object(shown));
                }
            }
        }
    }
    (count, saved.or(first))
}
