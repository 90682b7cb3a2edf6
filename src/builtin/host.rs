//! What the HTTP handlers, the sockets and the worker thread of one server share.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    io::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use indexmap::IndexMap;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    clock, folders::Folders, node::NodeFailure, nodes, options::ServerOptions, queue::PromptQueue,
    sockets::Sockets, spec::NodeClass,
};

/// How many log lines are kept for `/internal/logs`.
const MAXIMUM_LOG_LINES: usize = 300;
/// How many prompt ids are counted; later ones are not.
const MAXIMUM_COUNTED_PROMPTS: usize = 100_000;

/// The prompt that runs, or ran last.
#[derive(Clone, Debug, Default)]
pub struct Current {
    /// Who asked for it.
    pub client_id: Option<String>,
    /// The node that runs.
    pub node_id: Option<String>,
}

/// One line of the log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When.
    pub stamp: String,
    /// What, ending in a line feed.
    pub message: String,
}

/// The shared state of one server.
pub struct Host {
    pub options: ServerOptions,
    pub folders: Folders,
    pub classes: IndexMap<&'static str, NodeClass>,
    pub sockets: Sockets,
    pub queue: PromptQueue,
    /// Set by `/interrupt`; the running node ends at its next progress point.
    pub interrupt: AtomicBool,
    /// Set when the worker forgot its cache because of `/free`; the node that fails on purpose takes it back.
    pub memory_was_freed: AtomicBool,
    /// The server is ending.
    pub stops: AtomicBool,
    /// Cuts every connection.
    pub cut: CancellationToken,
    /// The server ended by itself, as a crashed process would.
    pub crashed: AtomicBool,
    pub current: Mutex<Current>,
    /// The next prompt's number.
    pub next_number: Mutex<i64>,
    removed_classes: Mutex<HashSet<String>>,
    posts: Mutex<HashMap<String, u64>>,
    posts_file: Option<File>,
    log: Mutex<VecDeque<LogLine>>,
    /// Five letters in the names of previews, new at each start, as in ComfyUI.
    pub preview_letters: String,
}

/// Takes a lock; a panic elsewhere while it was held does not matter to plain data.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub fn new(options: ServerOptions, folders: Folders, posts_file: Option<File>) -> Arc<Self> {
        Arc::new(Self {
            options,
            folders,
            classes: nodes::all(),
            sockets: Sockets::default(),
            queue: PromptQueue::default(),
            interrupt: AtomicBool::new(false),
            memory_was_freed: AtomicBool::new(false),
            stops: AtomicBool::new(false),
            cut: CancellationToken::new(),
            crashed: AtomicBool::new(false),
            current: Mutex::default(),
            next_number: Mutex::new(0),
            removed_classes: Mutex::default(),
            posts: Mutex::default(),
            posts_file,
            log: Mutex::default(),
            preview_letters: (0..5).map(|_| fastrand::lowercase()).collect(),
        })
    }

    /// A node class, unless it was removed.
    pub fn class(&self, name: &str) -> Option<&NodeClass> {
        let is_removed = lock(&self.removed_classes).contains(name);
        self.classes.get(name).filter(|_| !is_removed)
    }

    /// Answers from here on as if the class had never been there.
    pub fn remove_class(&self, name: &str) {
        lock(&self.removed_classes).insert(name.to_owned());
    }

    /// Ends everything at once, as a killed process would: connections are cut, queue and history are gone.
    pub fn stop(&self) {
        self.stops.store(true, Ordering::SeqCst);
        self.cut.cancel();
        self.queue.wake();
    }

    /// Ends the running node when an interrupt was asked for or the server ends.
    pub fn check_interrupt(&self) -> Result<(), NodeFailure> {
        if self.stops.load(Ordering::SeqCst) {
            return Err(NodeFailure::ServerStops);
        }
        if self.interrupt.swap(false, Ordering::SeqCst) {
            return Err(NodeFailure::Interrupted);
        }
        Ok(())
    }

    /// The data of a `status` message, and the answer of `GET /prompt` inside it.
    pub fn queue_info(remaining: usize) -> Value {
        json!({ "exec_info": { "queue_remaining": remaining } })
    }

    /// Tells every socket how long the queue is.
    pub fn broadcast_status(&self, remaining: usize) {
        let data = json!({ "status": Self::queue_info(remaining) });
        self.sockets.send("status", &data, None);
    }

    /// Counts a `POST /prompt`.
    pub fn count_post(&self, prompt_id: &str) {
        if let Some(mut file) = self.posts_file.as_ref() {
            // One write, so that lines stay whole.
            let line = format!("{}\n", prompt_id.replace('\n', " "));
            if let Err(error) = file.write_all(line.as_bytes()) {
                tracing::error!(%error, "the id of a prompt could not be written to the posts file");
            }
        }
        let mut posts = lock(&self.posts);
        if let Some(count) = posts.get_mut(prompt_id) {
            *count += 1;
        } else if posts.len() < MAXIMUM_COUNTED_PROMPTS {
            posts.insert(prompt_id.to_owned(), 1);
        }
    }

    /// How often each prompt id was POSTed.
    pub fn posts(&self) -> HashMap<String, u64> {
        lock(&self.posts).clone()
    }

    /// Adds a line to the log.
    pub fn log(&self, message: &str) {
        tracing::debug!(server = %self.options.name, "{message}");
        let mut log = lock(&self.log);
        if log.len() >= MAXIMUM_LOG_LINES {
            log.pop_front();
        }
        log.push_back(LogLine {
            stamp: clock::log_stamp(),
            message: format!("{message}\n"),
        });
    }

    /// The log, oldest first.
    pub fn log_lines(&self) -> Vec<LogLine> {
        lock(&self.log).iter().cloned().collect()
    }
}
