//! The prompt queue: lowest number first, one running, and the history of what ran.

use std::{
    cmp::Ordering,
    sync::{Arc, Condvar, Mutex, PoisonError, atomic},
};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::host::{Host, lock};

/// How many finished prompts are remembered (ComfyUI's own figure).
const MAXIMUM_HISTORY: usize = 10_000;

/// A prompt's place in the queue. Written as it came: counted ones are integers, explicit ones floats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PromptNumber {
    /// Counted by the server; negative for `front`.
    Counted(i64),
    /// Given in the request.
    Given(f64),
}

impl PromptNumber {
    /// As JSON.
    pub fn value(self) -> Value {
        match self {
            Self::Counted(number) => json!(number),
            Self::Given(number) => json!(number),
        }
    }

    fn order(self) -> f64 {
        match self {
            Self::Counted(number) => number as f64,
            Self::Given(number) => number,
        }
    }
}

/// A prompt that waits or runs.
#[derive(Clone, Debug)]
pub struct QueuedPrompt {
    /// Its place.
    pub number: PromptNumber,
    /// Its id.
    pub prompt_id: String,
    /// The nodes, with inputs converted by validation.
    pub prompt: Map<String, Value>,
    /// What came with it, without secrets.
    pub extra_data: Map<String, Value>,
    /// The output nodes to run.
    pub outputs: Vec<String>,
}

impl QueuedPrompt {
    /// The five elements of the listings.
    pub fn item(&self) -> Value {
        json!([
            self.number.value(),
            self.prompt_id,
            self.prompt,
            self.extra_data,
            self.outputs
        ])
    }

    /// The socket that hears of it.
    pub fn client_id(&self) -> Option<String> {
        match self.extra_data.get("client_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(other) => Some(other.to_string()),
        }
    }

    fn before(&self, other: &Self) -> bool {
        match self
            .number
            .order()
            .partial_cmp(&other.number.order())
            .unwrap_or(Ordering::Equal)
        {
            Ordering::Equal => self.prompt_id < other.prompt_id,
            order => order == Ordering::Less,
        }
    }

    fn same_place(&self, other: &Self) -> bool {
        self.number.order().total_cmp(&other.number.order()) == Ordering::Equal
            && self.prompt_id == other.prompt_id
    }
}

/// What became of a `put`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Queued.
    Queued,
    /// Queued, but number and id equal those of a waiting one: ComfyUI's heap comparison fails after the append, so
    /// the request is answered with 500 all the same.
    QueuedWithFault,
}

/// What the worker thread does next.
pub enum Work {
    /// Run this.
    Prompt(Arc<QueuedPrompt>),
    /// Forget what is cached.
    FreeMemory,
    /// End.
    Stop,
}

#[derive(Default)]
struct State {
    /// A binary heap in the order that Python's `heapq` keeps, because `/queue` shows it.
    pending: Vec<Arc<QueuedPrompt>>,
    running: Option<Arc<QueuedPrompt>>,
    history: IndexMap<String, Arc<Value>>,
    free_memory: bool,
}

impl State {
    fn remaining(&self) -> usize {
        self.pending.len() + usize::from(self.running.is_some())
    }

    fn sift_towards_root(&mut self, start: usize, from: usize) {
        let mut position = from;
        while position > start {
            let parent = (position - 1) / 2;
            let moves = match (self.pending.get(position), self.pending.get(parent)) {
                (Some(item), Some(above)) => item.before(above),
                _ => false,
            };
            if !moves {
                return;
            }
            self.pending.swap(position, parent);
            position = parent;
        }
    }

    /// `heapq` moves the hole down to a leaf first, then the item up; the order of the others depends on it.
    fn sift_towards_leaves(&mut self, start: usize) {
        let end = self.pending.len();
        let mut position = start;
        loop {
            let mut child = 2 * position + 1;
            if child >= end {
                break;
            }
            let right = child + 1;
            if let (Some(left_item), Some(right_item)) =
                (self.pending.get(child), self.pending.get(right))
                && !left_item.before(right_item)
            {
                child = right;
            }
            self.pending.swap(position, child);
            position = child;
        }
        self.sift_towards_root(start, position);
    }

    fn pop(&mut self) -> Option<Arc<QueuedPrompt>> {
        if self.pending.is_empty() {
            return None;
        }
        let first = self.pending.swap_remove(0);
        self.sift_towards_leaves(0);
        Some(first)
    }

    fn heapify(&mut self) {
        for position in (0..self.pending.len() / 2).rev() {
            self.sift_towards_leaves(position);
        }
    }
}

/// The queue of one server.
#[derive(Default)]
pub struct PromptQueue {
    state: Mutex<State>,
    changed: Condvar,
}

impl PromptQueue {
    /// Adds a prompt and tells everybody.
    pub fn put(&self, host: &Host, prompt: QueuedPrompt) -> Put {
        let mut state = lock(&self.state);
        let fault = state
            .pending
            .iter()
            .any(|waiting| waiting.same_place(&prompt));
        state.pending.push(Arc::new(prompt));
        let last = state.pending.len() - 1;
        state.sift_towards_root(0, last);
        if !fault {
            host.broadcast_status(state.remaining());
        }
        self.changed.notify_all();
        if fault {
            Put::QueuedWithFault
        } else {
            Put::Queued
        }
    }

    /// Waits for something to do. A taken prompt is the running one until [`Self::finish`].
    pub fn take(&self, host: &Host) -> Work {
        let mut state = lock(&self.state);
        loop {
            if host.stops.load(atomic::Ordering::SeqCst) {
                return Work::Stop;
            }
            if std::mem::take(&mut state.free_memory) {
                return Work::FreeMemory;
            }
            if let Some(prompt) = state.pop() {
                state.running = Some(Arc::clone(&prompt));
                host.broadcast_status(state.remaining());
                return Work::Prompt(prompt);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts the running prompt into the history and tells everybody.
    pub fn finish(&self, host: &Host, prompt_id: &str, entry: Value) {
        let mut state = lock(&self.state);
        state.running = None;
        if state.history.len() > MAXIMUM_HISTORY {
            state.history.shift_remove_index(0);
        }
        state.history.insert(prompt_id.to_owned(), Arc::new(entry));
        host.broadcast_status(state.remaining());
    }

    /// Wakes the worker so that it looks whether it shall end.
    pub fn wake(&self) {
        let _state = lock(&self.state);
        self.changed.notify_all();
    }

    /// Asks the worker to forget what is cached.
    pub fn free_memory(&self) {
        lock(&self.state).free_memory = true;
        self.changed.notify_all();
    }

    /// Running and waiting together.
    pub fn remaining(&self) -> usize {
        lock(&self.state).remaining()
    }

    /// The running prompt and the waiting ones, in heap order.
    pub fn snapshot(&self) -> (Option<Arc<QueuedPrompt>>, Vec<Arc<QueuedPrompt>>) {
        let state = lock(&self.state);
        (state.running.clone(), state.pending.clone())
    }

    /// Whether this prompt is the running one.
    pub fn is_running(&self, prompt_id: &str) -> bool {
        lock(&self.state)
            .running
            .as_ref()
            .is_some_and(|running| running.prompt_id == prompt_id)
    }

    /// Drops every waiting prompt.
    pub fn clear(&self, host: &Host) {
        let mut state = lock(&self.state);
        state.pending.clear();
        host.broadcast_status(state.remaining());
    }

    /// Drops one waiting prompt; unknown ids are ignored.
    pub fn delete(&self, host: &Host, prompt_id: &str) {
        let mut state = lock(&self.state);
        if let Some(index) = state
            .pending
            .iter()
            .position(|waiting| waiting.prompt_id == prompt_id)
        {
            state.pending.remove(index);
            state.heapify();
            host.broadcast_status(state.remaining());
        }
    }

    /// The whole history, oldest first.
    pub fn history(&self) -> IndexMap<String, Arc<Value>> {
        lock(&self.state).history.clone()
    }

    /// One entry of the history.
    pub fn history_of(&self, prompt_id: &str) -> Option<Arc<Value>> {
        lock(&self.state).history.get(prompt_id).cloned()
    }

    /// A stretch of the history: the last `max_items`, or `max_items` from `offset`.
    pub fn history_page(
        &self,
        max_items: Option<i64>,
        offset: i64,
    ) -> IndexMap<String, Arc<Value>> {
        let state = lock(&self.state);
        let length = state.history.len() as i64;
        let start = match max_items {
            Some(count) if offset < 0 => length - count,
            _ => offset,
        };
        // ComfyUI adds before it compares, so a count of 0 or less still gives one entry.
        let count = max_items.map_or(usize::MAX, |count| count.max(1) as usize);
        state
            .history
            .iter()
            .skip(start.max(0) as usize)
            .take(count)
            .map(|(id, entry)| (id.clone(), Arc::clone(entry)))
            .collect()
    }

    /// Forgets every finished prompt.
    pub fn clear_history(&self) {
        lock(&self.state).history.clear();
    }

    /// Forgets one finished prompt.
    pub fn delete_history(&self, prompt_id: &str) {
        lock(&self.state).history.shift_remove(prompt_id);
    }
}
