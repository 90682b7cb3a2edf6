//! What a failure means for its item: by its class, not by a count of retries alone.

use super::item::{Bound, ItemIndex, Trouble};
use super::run::Run;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::question::QuestionCause;
use crate::project::{BackendId, Fallback, NodeKind, RetryPolicy};

/// Times an item is sent again because of what happened on the way (offline, lost, transfer) before it is given up.
const MAX_ON_THE_WAY: u32 = 20;
/// Times a backend may go away while it executes an item before the item is taken for the cause and given up.
const MAX_DEATHS: u32 = 4;
/// First pause after trouble on the way; doubles each time up to [`MAX_BACKOFF_MS`].
const BACKOFF_MS: u64 = 1_000;
const MAX_BACKOFF_MS: u64 = 60_000;

/// Where and when an attempt failed.
pub(super) struct Circumstances {
    pub backend_id: BackendId,
    /// Memory of the backend's largest device.
    pub vram_bytes: Option<u64>,
    /// Whether the item itself names a model, by a link or a change.
    pub brings_models: bool,
}

/// What a failure means for its item.
pub(super) enum Judgement {
    Again,
    Ask(QuestionCause, Failure),
    Fail(Failure),
}

pub(super) fn policy_of(run: &Run, index: ItemIndex) -> (RetryPolicy, Fallback) {
    match &run.plan.nodes[run.items[index as usize].node].node.kind {
        NodeKind::Workflow(workflow) => (workflow.retry, workflow.fallback),
        _ => (RetryPolicy::default(), Fallback::default()),
    }
}

/// What a failure means: by its class, not by a count of retries alone (DESIGN §7). Depends on nothing but the item's own
/// history, so that a replay judges the same.
pub(super) fn judge(
    trouble: &mut Trouble,
    (retry, fallback): (RetryPolicy, Fallback),
    now_ms: u64,
    circumstances: &Circumstances,
    failure: Failure,
) -> Judgement {
    use FailureClass as Class;
    let backend_id = circumstances.backend_id;
    let mut once_more_there = false;
    match failure.class {
        // Somebody else wanted it to stop: only a person may send it again.
        Class::Interrupted if fallback == Fallback::AskUser => trouble.counted += 1,
        Class::Invalid | Class::Interrupted | Class::Local | Class::Disk => {
            return Judgement::Fail(failure);
        }
        // The list that placement went by was out of date. Only this item is kept away.
        Class::MissingModel if circumstances.brings_models => {
            trouble.lacking.push((backend_id, failure.message.clone()));
        }
        Class::MissingNode | Class::MissingModel => {}
        Class::NodeError => {
            trouble.counted += 1;
            if !trouble.failed_on.contains(&backend_id) {
                trouble.failed_on.push(backend_id);
            }
            if trouble.failed_on.len() > 1 {
                return Judgement::Fail(Failure {
                    message: format!(
                        "{} (the same on two backends, so the inputs are at fault)",
                        failure.message
                    ),
                    ..failure
                });
            }
        }
        Class::OutOfMemory => {
            trouble.counted += 1;
            if trouble.out_of_memory_on.contains(&backend_id) {
                trouble.avoid.push((backend_id, u64::MAX));
                let too_few = circumstances.vram_bytes.unwrap_or(0);
                trouble.too_few_bytes = trouble.too_few_bytes.max(too_few);
            } else {
                trouble.out_of_memory_on.push(backend_id);
                once_more_there = true;
            }
        }
        Class::Timeout => {
            trouble.counted += 1;
            rest(trouble, now_ms, backend_id);
        }
        Class::OutputGone => {
            trouble.counted += 1;
            trouble.bypass_cache = true;
        }
        Class::Offline => {
            trouble.on_the_way += 1;
            rest(trouble, now_ms, backend_id);
        }
        Class::Lost => trouble.on_the_way += 1,
        Class::Transfer => {
            trouble.on_the_way += 1;
            trouble.not_before_ms = now_ms.saturating_add(backoff_ms(trouble.on_the_way));
        }
    }
    let given_up = |failure| match fallback {
        Fallback::AskUser => Judgement::Ask(QuestionCause::TriesUsedUp, failure),
        Fallback::AutoSelect | Fallback::None => Judgement::Fail(failure),
    };
    if trouble.counted >= retry.max_attempts.max(1) {
        return given_up(failure);
    }
    if trouble.deaths >= MAX_DEATHS {
        return given_up(Failure {
            message: format!(
                "{} (its backend went away {MAX_DEATHS} times while executing it, so it may be the cause)",
                failure.message
            ),
            ..failure
        });
    }
    if trouble.on_the_way >= MAX_ON_THE_WAY {
        return given_up(Failure {
            message: format!(
                "{} (given up after {MAX_ON_THE_WAY} tries)",
                failure.message
            ),
            ..failure
        });
    }
    // What a backend forgot or a transfer broke is sent again in any case; the rest is for the fallback to say.
    let is_backends_fault = !matches!(
        failure.class,
        Class::Lost | Class::Transfer | Class::OutputGone
    );
    match fallback {
        Fallback::AutoSelect => Judgement::Again,
        _ if !is_backends_fault => Judgement::Again,
        _ if once_more_there => {
            trouble.bound = Some(Bound::OnceMore(backend_id));
            Judgement::Again
        }
        Fallback::None => Judgement::Fail(Failure {
            message: format!("{} (the node allows no other backend)", failure.message),
            ..failure
        }),
        Fallback::AskUser => Judgement::Ask(QuestionCause::Failed, failure),
    }
}

/// The backend is left alone for a while with this item.
fn rest(trouble: &mut Trouble, now_ms: u64, backend_id: BackendId) {
    let turn = trouble.on_the_way + trouble.counted;
    let until_ms = now_ms.saturating_add(backoff_ms(turn));
    trouble
        .avoid
        .retain(|(known, until)| *known != backend_id || *until == u64::MAX);
    trouble.avoid.push((backend_id, until_ms));
}

fn backoff_ms(turn: u32) -> u64 {
    BACKOFF_MS
        .saturating_mul(1_u64 << turn.saturating_sub(1).min(16))
        .min(MAX_BACKOFF_MS)
}
