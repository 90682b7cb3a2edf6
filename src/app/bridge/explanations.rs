//! Why items run where they run, and why they do not.

use crate::engine::{AttemptId, ItemId, PlacementDecision, RunEvent, RunEventBody};
use std::collections::{HashMap, VecDeque};

/// Attempts and items whose reasons are kept.
const EXPLAINED_ITEMS: usize = 20_000;

/// What the folds leave out: why items run where they run, and why they do not. Bounded; the oldest are forgotten first.
#[derive(Debug, Default)]
pub struct Explanations {
    decisions: HashMap<ItemId, PlacementDecision>,
    reasons: HashMap<ItemId, String>,
    attempts: HashMap<AttemptId, ItemId>,
    order: VecDeque<AttemptId>,
    reason_order: VecDeque<ItemId>,
}

impl Explanations {
    /// Why an item runs where it runs.
    #[must_use]
    pub fn decision(&self, item_id: ItemId) -> Option<&PlacementDecision> {
        self.decisions.get(&item_id)
    }

    /// Why an item does not run.
    #[must_use]
    pub fn reason(&self, item_id: ItemId) -> Option<&str> {
        self.reasons.get(&item_id).map(String::as_str)
    }

    /// The item of an attempt.
    #[must_use]
    pub fn item_of(&self, attempt_id: AttemptId) -> Option<ItemId> {
        self.attempts.get(&attempt_id).copied()
    }

    pub(super) fn take_in(&mut self, event: &RunEvent) {
        match &event.body {
            RunEventBody::AttemptPlaced {
                attempt_id,
                item_id,
                decision,
                ..
            } => {
                self.decisions.insert(*item_id, decision.clone());
                self.attempts.insert(*attempt_id, *item_id);
                self.order.push_back(*attempt_id);
                if self.order.len() > EXPLAINED_ITEMS
                    && let Some(old) = self.order.pop_front()
                    && let Some(item) = self.attempts.remove(&old)
                {
                    self.decisions.remove(&item);
                }
            }
            RunEventBody::ItemStateChanged {
                item_id,
                reason: Some(reason),
                ..
            } => {
                self.explain(*item_id, reason.clone());
            }
            RunEventBody::ItemFailed { item_id, failure } => {
                self.explain(*item_id, failure.message.clone());
            }
            RunEventBody::ItemDone { item_id, .. } => {
                self.reasons.remove(item_id);
            }
            _ => {}
        }
    }

    /// Takes over what another one knows.
    pub(super) fn join(&mut self, other: Self) {
        let Self {
            decisions,
            reasons,
            attempts,
            order,
            ..
        } = other;
        for attempt_id in order {
            let Some(item_id) = attempts.get(&attempt_id).copied() else {
                continue;
            };
            if self.attempts.insert(attempt_id, item_id).is_none() {
                self.order.push_back(attempt_id);
            }
            if let Some(decision) = decisions.get(&item_id) {
                self.decisions.insert(item_id, decision.clone());
            }
        }
        for (item_id, reason) in reasons {
            self.explain(item_id, reason);
        }
    }

    fn explain(&mut self, item_id: ItemId, reason: String) {
        if self.reasons.insert(item_id, reason).is_none() {
            self.reason_order.push_back(item_id);
        }
        if self.reason_order.len() > EXPLAINED_ITEMS
            && let Some(old) = self.reason_order.pop_front()
        {
            self.reasons.remove(&old);
        }
    }
}
