//! From what was observed of a backend to the state its card shows. Pure.

use super::status::BackendState;

/// Beats with a queue that differs from what the socket last said, without a word from the socket in between, after which
/// the socket counts as deaf.
const DEAF_AFTER_BEATS: u32 = 2;

/// Beats that are answered while the socket still opens, after which work is sent without it.
const OPENING_BEATS: u32 = 2;

/// What was observed of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The last health request.
    pub http: HttpHealth,
    /// The event socket.
    pub link: LinkHealth,
    /// Prompts that run or wait, by whatever said so last.
    pub queue_remaining: u64,
    /// What the socket last said of the queue; none before its first word.
    told_by_socket: Option<u64>,
    /// Beats since then that found another queue.
    disagreements: u32,
    /// Beats that were answered while the socket was opening for the first time.
    opening_beats: u32,
}

/// The last health request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HttpHealth {
    /// There was none yet.
    #[default]
    NotAsked,
    /// It was answered.
    Answers,
    /// It was not, or wrongly.
    Failed(String),
}

/// The event socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkHealth {
    /// It was never up, and no attempt has failed yet.
    #[default]
    Opening,
    /// It is up.
    Up,
    /// It is down.
    Down(String),
}

impl Health {
    /// The state, with a sentence on why it is not better.
    #[must_use]
    pub fn state(&self) -> (BackendState, String) {
        match (&self.http, &self.link) {
            (HttpHealth::Answers, LinkHealth::Opening) if self.opening_beats >= OPENING_BEATS => (
                BackendState::Degraded,
                "no live events: the socket does not open; does something between us refuse WebSockets?".to_owned(),
            ),
            (HttpHealth::NotAsked, _) | (HttpHealth::Answers, LinkHealth::Opening) => {
                (BackendState::Connecting, String::new())
            }
            (HttpHealth::Answers, LinkHealth::Up) if self.queue_remaining > 0 => {
                (BackendState::Busy, String::new())
            }
            (HttpHealth::Answers, LinkHealth::Up) => (BackendState::Online, String::new()),
            (HttpHealth::Answers, LinkHealth::Down(reason)) => {
                (BackendState::Degraded, format!("no live events: {reason}"))
            }
            (HttpHealth::Failed(reason), LinkHealth::Up) => {
                (BackendState::Degraded, reason.clone())
            }
            (HttpHealth::Failed(reason), LinkHealth::Opening | LinkHealth::Down(_)) => {
                (BackendState::Offline, reason.clone())
            }
        }
    }

    /// The socket went up: nothing it said before counts.
    pub fn link_up(&mut self) {
        self.link = LinkHealth::Up;
        self.told_by_socket = None;
        self.disagreements = 0;
    }

    /// The socket said how many prompts run or wait.
    pub fn told(&mut self, queue_remaining: u64) {
        self.queue_remaining = queue_remaining;
        self.told_by_socket = Some(queue_remaining);
        self.disagreements = 0;
    }

    /// A health request found so many prompts. True when the socket must have gone deaf: it is up, but does not tell of a
    /// queue that changed (trap: the backend forgets a socket when an older one with the same client id closes).
    #[must_use]
    pub fn found(&mut self, queue_remaining: u64) -> bool {
        self.http = HttpHealth::Answers;
        self.queue_remaining = queue_remaining;
        if self.link == LinkHealth::Opening {
            self.opening_beats += 1;
        }
        if self.link != LinkHealth::Up
            || self
                .told_by_socket
                .is_none_or(|told| told == queue_remaining)
        {
            self.disagreements = 0;
            return false;
        }
        self.disagreements += 1;
        if self.disagreements < DEAF_AFTER_BEATS {
            return false;
        }
        self.disagreements = 0;
        true
    }
}
