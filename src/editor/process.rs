//! The app's end: starts an editor window, hears it, and ends it.

use super::message::{FromWindow, OpenWindow, PROTOCOL_VERSION, ToWindow, read_line, write_line};
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Messages that may wait for the window. More than a few means that it hangs.
const MAX_WAITING_TO_WINDOW: usize = 16;

/// Messages of the window that may wait for the app; then the window waits.
const MAX_WAITING_FROM_WINDOW: usize = 64;

/// How much of the window's last words is kept to explain why it ended.
const MAX_LAST_WORDS_BYTES: usize = 2048;

/// Subcommand of the binary that is the window.
pub const HOST_SUBCOMMAND: &str = "editor-host";

/// Why a window could not be started or told something.
#[derive(Debug, thiserror::Error)]
pub enum EditorError {
    /// The process could not be started.
    #[error("the editor window could not be started: {0}")]
    Start(#[source] std::io::Error),
    /// The window hangs or has ended.
    #[error("the editor window does not answer; close it and open the editor again")]
    NotAnswering,
}

/// What the app hears of a window.
#[derive(Debug)]
pub enum EditorEvent {
    /// It says something.
    Said(FromWindow),
    /// It ended without saying that it was closed; the sentence says what is known.
    Died(String),
    /// It ended after it was closed. Nothing follows.
    Ended,
}

/// A running window. Dropping it ends the process: every change is with the app already, as a draft.
#[derive(Debug)]
pub struct EditorProcess {
    to_window: SyncSender<ToWindow>,
    // One reader at a time; the lock only lets several threads hold the window.
    from_window: Mutex<Receiver<EditorEvent>>,
    child: Arc<Mutex<Child>>,
}

impl EditorProcess {
    /// Starts `executable editor-host` and gives it its order. `wake` is called from another thread whenever
    /// [`Self::poll`] has something.
    pub fn start(
        executable: &Path,
        order: OpenWindow,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, EditorError> {
        let mut command = Command::new(executable);
        command
            .arg(HOST_SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // WebKitGTK's zero-copy renderer shows an empty window on several drivers and under virtual displays.
        if cfg!(target_os = "linux") {
            command.env("WEBKIT_DISABLE_DMABUF_RENDERER", "1");
        }
        let mut child = command.spawn().map_err(EditorError::Start)?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(EditorError::Start(std::io::ErrorKind::BrokenPipe.into()));
        };
        let child = Arc::new(Mutex::new(child));
        let (to_window, orders) = sync_channel(MAX_WAITING_TO_WINDOW);
        let (said, from_window) = sync_channel(MAX_WAITING_FROM_WINDOW);
        let last_words = spawn("editor-errors", move || read_last_words(errors))?;
        spawn("editor-orders", move || write_orders(input, &orders, order))?;
        let watched = Arc::clone(&child);
        spawn("editor-events", move || {
            let end = read_events(output, &said, &wake);
            let status = {
                let mut child = watched.lock().unwrap_or_else(PoisonError::into_inner);
                // A window that said something unreadable is not left running.
                if matches!(end, End::Unreadable(_)) {
                    let _ = child.kill();
                }
                child.wait()
            };
            let words = last_words.join().unwrap_or_default();
            // The receiver is gone when the app has already let go of the window.
            let _ = said.send(match end {
                End::Closed => EditorEvent::Ended,
                End::Unreadable(text) => EditorEvent::Died(text),
                End::Silent => EditorEvent::Died(match status {
                    Ok(status) => format!("The editor window ended unexpectedly ({status}){words}"),
                    Err(error) => format!("The editor window ended unexpectedly: {error}{words}"),
                }),
            });
            wake();
        })?;
        Ok(Self {
            to_window,
            from_window: Mutex::new(from_window),
            child,
        })
    }

    /// Tells the window something.
    pub fn send(&self, message: ToWindow) -> Result<(), EditorError> {
        self.to_window
            .try_send(message)
            .map_err(|error| match error {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => EditorError::NotAnswering,
            })
    }

    /// The next thing heard of the window, if any. Never waits.
    pub fn poll(&self) -> Option<EditorEvent> {
        self.from_window
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
            .ok()
    }

    /// The process id, for messages and tests.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .id()
    }
}

impl Drop for EditorProcess {
    fn drop(&mut self) {
        // The thread that waits for the process holds this lock only once the process has closed its output.
        if let Ok(mut child) = self.child.try_lock() {
            let _ = child.kill();
        }
    }
}

/// How the stream of messages ended.
enum End {
    Closed,
    Silent,
    Unreadable(String),
}

fn read_events(output: ChildStdout, said: &SyncSender<EditorEvent>, wake: &impl Fn()) -> End {
    let mut reader = BufReader::new(output);
    match read_line(&mut reader) {
        Ok(Some(FromWindow::Hello { version })) if version == PROTOCOL_VERSION => {}
        Ok(Some(FromWindow::Hello { version })) => {
            return End::Unreadable(format!(
                "The editor window speaks version {version} of the protocol, the app {PROTOCOL_VERSION}: \
                 the program was replaced while it ran; restart it"
            ));
        }
        Ok(None) => return End::Silent,
        Ok(Some(_)) | Err(_) => {
            return End::Unreadable("The editor window did not introduce itself".to_owned());
        }
    }
    let mut end = End::Silent;
    loop {
        match read_line::<FromWindow>(&mut reader) {
            Ok(Some(message)) => {
                if matches!(
                    message,
                    FromWindow::Closed { .. } | FromWindow::Failed { .. }
                ) {
                    end = End::Closed;
                }
                if said.send(EditorEvent::Said(message)).is_err() {
                    return End::Closed;
                }
                wake();
            }
            Ok(None) => return end,
            Err(error) => return End::Unreadable(error.to_string()),
        }
    }
}

fn write_orders(mut input: ChildStdin, orders: &Receiver<ToWindow>, order: OpenWindow) {
    let first = [
        ToWindow::Hello {
            version: PROTOCOL_VERSION,
        },
        ToWindow::Open(Box::new(order)),
    ];
    // A broken pipe means that the window has ended, which the reader of its output tells.
    for message in first {
        if write_line(&mut input, &message).is_err() {
            return;
        }
    }
    while let Ok(message) = orders.recv() {
        if write_line(&mut input, &message).is_err() {
            return;
        }
    }
}

/// Reads the error stream to its end and keeps the last line that explains something.
fn read_last_words(mut errors: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0_u8; 1024];
    while let Ok(count) = errors.read(&mut buffer) {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(MAX_LAST_WORDS_BYTES);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept);
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map_or_else(String::new, |line| format!(": {line}"))
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<T>, EditorError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(EditorError::Start)
}
