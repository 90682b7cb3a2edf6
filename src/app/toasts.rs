//! What the program tells the person in passing, and the history of it.
//!
//! Each goes by itself, errors after a minute, and stays in the history. Equal messages within the visible stack are counted
//! instead of stacked, so that a failing backend cannot fill the window.

use super::actions::Action;
use super::wake::Waker;
use bevy::prelude::*;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Toasts seen at once; older ones are only in the history.
const VISIBLE_LIMIT: usize = 4;
/// Messages kept in the history.
const HISTORY_LIMIT: usize = 200;

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something the person may like to know.
    Info,
    /// Something went as wished.
    Success,
    /// Something needs attention.
    Warning,
    /// Something went wrong.
    Error,
}

impl Severity {
    /// How long it stays.
    #[must_use]
    pub fn lifetime(self) -> Duration {
        match self {
            Self::Info | Self::Success => Duration::from_secs(5),
            Self::Warning => Duration::from_secs(12),
            Self::Error => Duration::from_mins(1),
        }
    }
}

/// One message.
#[derive(Clone, Debug)]
pub struct Toast {
    /// Unique in this process.
    pub id: u64,
    /// How serious it is.
    pub severity: Severity,
    /// What happened, in a few words.
    pub title: String,
    /// What it means and what to do.
    pub body: String,
    /// What can be done about it: the words of each link, and what a click on it asks for.
    pub steps: Vec<(&'static str, Action)>,
    /// How often it came while it was visible.
    pub times: u32,
    /// When it came last.
    pub at: Instant,
    /// Unix time in milliseconds of that.
    pub at_ms: u64,
}

/// The visible messages and the history.
#[derive(Resource, Default)]
pub struct Toasts {
    /// Visible, oldest first.
    pub visible: Vec<Toast>,
    /// All, newest first.
    pub history: VecDeque<Toast>,
    /// How many errors and warnings came since the history was looked at.
    pub unseen: usize,
    next_id: u64,
    waker: Option<Waker>,
}

impl Toasts {
    /// Gives the messages a way to wake the window when they go.
    pub fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    /// Shows a message.
    pub fn push(&mut self, severity: Severity, title: &str, body: &str) {
        self.push_with_steps(severity, title, body, Vec::new());
    }

    /// Shows a message with links to what can be done about it.
    pub fn push_with_steps(
        &mut self,
        severity: Severity,
        title: &str,
        body: &str,
        steps: Vec<(&'static str, Action)>,
    ) {
        let now = Instant::now();
        let at_ms = super::wake::now_ms();
        match severity {
            Severity::Error => tracing::error!(title, body, "shown to the person"),
            Severity::Warning => tracing::warn!(title, body, "shown to the person"),
            Severity::Info | Severity::Success => {
                tracing::info!(title, body, "shown to the person");
            }
        }
        if let Some(waker) = &self.waker {
            waker.wake_after(severity.lifetime() + Duration::from_millis(50));
        }
        if let Some(same) = self
            .visible
            .iter_mut()
            .find(|toast| toast.severity == severity && toast.title == title && toast.body == body)
        {
            same.times += 1;
            same.at = now;
            same.at_ms = at_ms;
            return;
        }
        self.next_id += 1;
        let toast = Toast {
            id: self.next_id,
            severity,
            title: title.to_owned(),
            body: body.to_owned(),
            steps,
            times: 1,
            at: now,
            at_ms,
        };
        if severity >= Severity::Warning {
            self.unseen += 1;
        }
        self.history.push_front(toast.clone());
        self.history.truncate(HISTORY_LIMIT);
        self.visible.push(toast);
        if self.visible.len() > VISIBLE_LIMIT {
            self.visible.remove(0);
        }
    }

    /// Closes one message.
    pub fn close(&mut self, id: u64) {
        self.visible.retain(|toast| toast.id != id);
    }
}

/// Lets messages go whose time is over.
pub fn expire_toasts(mut toasts: ResMut<Toasts>) {
    let over = |toast: &Toast| toast.at.elapsed() >= toast.severity.lifetime();
    if toasts.visible.iter().any(over) {
        toasts.visible.retain(|toast| !over(toast));
    }
}
