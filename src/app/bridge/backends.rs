//! The backends as the window knows them.

use super::BridgeWorld;
use crate::app::toasts::Severity;
use crate::fleet::{BackendState, BackendStatus};
use crate::project::BackendId;
use bevy::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// Points of a backend's curve (one per status, about one every 5 seconds).
const HISTORY_POINTS: usize = 120;

/// A backend and its recent past.
#[derive(Clone, Debug)]
pub struct BackendCard {
    /// What is known of it now.
    pub status: BackendStatus,
    /// Used part of the memory of its first device, 0 to 1, oldest first; none where it did not answer.
    pub memory_history: VecDeque<f32>,
    /// Prompts running and waiting there, oldest first.
    pub queue_history: VecDeque<f32>,
}

/// Every backend known to the window, by name.
#[derive(Resource, Default)]
pub struct Backends {
    /// The cards.
    pub cards: BTreeMap<BackendId, BackendCard>,
}

impl Backends {
    /// The name of a backend, or a short form of its id when it is not registered any more.
    #[must_use]
    pub fn name_of(&self, backend_id: BackendId) -> String {
        self.cards.get(&backend_id).map_or_else(
            || format!("backend {}", &backend_id.to_string()[..8]),
            |card| card.status.name.clone(),
        )
    }

    /// Whether a backend answers.
    #[must_use]
    pub fn is_any_reachable(&self) -> bool {
        self.cards.values().any(|card| card.status.state.answers())
    }

    /// The backends in the order of their names, upper and lower case counted as equal.
    pub fn by_name(&self) -> impl Iterator<Item = (&BackendId, &BackendCard)> {
        let mut cards: Vec<_> = self.cards.iter().collect();
        cards.sort_by_cached_key(|(_, card)| card.status.name.to_lowercase());
        cards.into_iter()
    }
}

impl BridgeWorld<'_> {
    pub(super) fn take_status(&mut self, status: BackendStatus) {
        let known = self.backends.cards.get(&status.backend_id);
        let before = known.map(|card| card.status.state);
        if before.is_some_and(BackendState::answers) && status.state == BackendState::Offline {
            self.toasts.push(
                Severity::Warning,
                &format!("{} went offline", status.name),
                &format!(
                    "{} What ran there is checked again and moved if needed.",
                    status.reason
                ),
            );
        }
        if before == Some(BackendState::Offline) && status.state.answers() {
            self.toasts
                .push(Severity::Success, &format!("{} is back", status.name), "");
        }
        let memory = status
            .devices
            .first()
            .filter(|device| device.vram_total > 0)
            .map_or_else(
                || used_part(status.ram_total, status.ram_free),
                |device| used_part(device.vram_total, device.vram_free),
            );
        let queue = (status.queue_running + status.queue_pending) as f32;
        let card = self
            .backends
            .cards
            .entry(status.backend_id)
            .or_insert_with(|| BackendCard {
                status: status.clone(),
                memory_history: VecDeque::new(),
                queue_history: VecDeque::new(),
            });
        card.status = status;
        for (history, value) in [
            (&mut card.memory_history, memory),
            (&mut card.queue_history, queue),
        ] {
            history.push_back(value);
            if history.len() > HISTORY_POINTS {
                history.pop_front();
            }
        }
    }
}

fn used_part(total: u64, free: u64) -> f32 {
    if total == 0 {
        0.0
    } else {
        total.saturating_sub(free) as f32 / total as f32
    }
}
