//! The app's end: finds the window's program, starts it, hears it, and ends it.

use super::message::{FromWindow, OpenWindow, PROTOCOL_VERSION, ToWindow, read_line, write_line};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Messages that may wait for the window. More than a few means that it hangs.
const MAX_WAITING_TO_WINDOW: usize = 16;

/// Messages of the window that may wait for the app; then the window waits.
const MAX_WAITING_FROM_WINDOW: usize = 64;

/// How much of the window's last words is kept to explain why it ended.
const MAX_LAST_WORDS_BYTES: usize = 2048;

/// Name of the window's program, without what the system puts after names of programs.
pub const PROGRAM_NAME: &str = "comfyui-orchestrator-editor";

/// Why a window could not be started or told something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditorError {
    /// The window's program is not where it belongs.
    #[error("The program of the editor's window is not installed: there is no {}", .0.display())]
    NoProgram(PathBuf),
    /// The window's program needs a library that is not there.
    #[error(
        "The editor's window needs {}, which is not installed here: {library} was not found",
        if is_web_view(library) { "WebKitGTK 4.1" } else { "a library" }
    )]
    NoLibrary {
        /// The library's file name.
        library: String,
    },
    /// The process could not be started.
    #[error("The editor's window could not be started: {0}")]
    Start(String),
    /// The window's program ended before it said a word.
    #[error("The editor's window ended as soon as it was started ({0})")]
    EndedAtOnce(String),
    /// The window hangs or has ended.
    #[error("The editor's window does not answer; close it and open the editor again")]
    NotAnswering,
}

impl EditorError {
    /// What helps, in a sentence or two with the commands to type.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::NoProgram(_) => Some(format!(
                "Put {PROGRAM_NAME} of the same version beside this program. In the source folder, cargo build makes both."
            )),
            Self::NoLibrary { library } if is_web_view(library) => {
                Some(WEB_VIEW_PACKAGES.to_owned())
            }
            Self::NoLibrary { library } => Some(format!(
                "Install the package of your system that has {library}, then open the editor again."
            )),
            Self::Start(_) | Self::EndedAtOnce(_) | Self::NotAnswering => None,
        }
    }
}

/// Names of the web view's package, as the distributions' package indexes have them.
const WEB_VIEW_PACKAGES: &str = "Install it, then open the editor again.\n\
    Debian, Ubuntu:  sudo apt install libwebkit2gtk-4.1-0\n\
    Fedora:  sudo dnf install webkit2gtk4.1\n\
    Arch:  sudo pacman -S webkit2gtk-4.1\n\
    openSUSE:  sudo zypper install libwebkit2gtk-4_1-0";

/// Whether the web view's package brings this library.
fn is_web_view(library: &str) -> bool {
    ["libwebkit2gtk-", "libjavascriptcoregtk-"]
        .iter()
        .any(|name| library.starts_with(name))
}

/// Where the window's program belongs: beside the program that runs.
pub fn program() -> Result<PathBuf, EditorError> {
    let own = std::env::current_exe()
        .and_then(|own| own.canonicalize())
        .map_err(|error| {
            EditorError::Start(format!("this program does not find itself: {error}"))
        })?;
    Ok(own.with_file_name(format!("{PROGRAM_NAME}{}", std::env::consts::EXE_SUFFIX)))
}

/// How the window's program is started.
pub fn command(program: &Path) -> Result<Command, EditorError> {
    if !program.is_file() {
        return Err(EditorError::NoProgram(program.to_owned()));
    }
    let mut command = Command::new(program);
    // WebKitGTK's zero-copy renderer shows an empty window on several drivers and under virtual displays.
    if cfg!(target_os = "linux") {
        command.env("WEBKIT_DISABLE_DMABUF_RENDERER", "1");
    }
    Ok(command)
}

/// What the app hears of a window.
#[derive(Debug)]
pub enum EditorEvent {
    /// It says something.
    Said(FromWindow),
    /// It ended before there was a window.
    NotStarted(EditorError),
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
    /// Starts the window's program and gives it its order. `wake` is called from another thread whenever [`Self::poll`] has
    /// something.
    pub fn start(
        program: &Path,
        order: OpenWindow,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, EditorError> {
        let mut child = command(program)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| EditorError::Start(error.to_string()))?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(EditorError::Start("it has no pipes".to_owned()));
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
                End::Unborn => EditorEvent::NotStarted(match library_missed(&words) {
                    Some(library) => EditorError::NoLibrary { library },
                    None => EditorError::EndedAtOnce(ended(status, &words)),
                }),
                End::Silent => EditorEvent::Died(format!(
                    "The editor's window ended unexpectedly ({})",
                    ended(status, &words)
                )),
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
    /// Before its first word.
    Unborn,
    Silent,
    Unreadable(String),
}

fn read_events(output: ChildStdout, said: &SyncSender<EditorEvent>, wake: &impl Fn()) -> End {
    let mut reader = BufReader::new(output);
    match read_line(&mut reader) {
        Ok(Some(FromWindow::Hello { version })) if version == PROTOCOL_VERSION => {}
        Ok(Some(FromWindow::Hello { version })) => {
            return End::Unreadable(format!(
                "The editor's window speaks version {version} of the protocol, the app {PROTOCOL_VERSION}: the programs \
                 are not of one version, or were replaced while the app ran. Install both anew, or restart the app"
            ));
        }
        Ok(None) => return End::Unborn,
        Ok(Some(_)) | Err(_) => {
            return End::Unreadable("The editor's window did not introduce itself".to_owned());
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

/// Reads the error stream to its end and gives its last part.
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
    String::from_utf8_lossy(&kept).into_owned()
}

/// How a process ended, with the last line that explains something.
fn ended(status: std::io::Result<std::process::ExitStatus>, words: &str) -> String {
    let end = match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    words
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("note:"))
        .map_or_else(|| end.clone(), |line| format!("{end}: {line}"))
}

/// The library that the system's loader of programs did not find. glibc says `PROGRAM: error while loading shared libraries:
/// LIBRARY: cannot open shared object file: …`, musl `Error loading shared library LIBRARY: …`, macOS
/// `dyld: Library not loaded: LIBRARY`.
fn library_missed(words: &str) -> Option<String> {
    let (_, after) = [
        "error while loading shared libraries:",
        "Error loading shared library",
        "Library not loaded:",
    ]
    .iter()
    .find_map(|said| words.split_once(said))?;
    let library = after
        .trim_start()
        .split(|end: char| end == ':' || end.is_whitespace())
        .next()?;
    (!library.is_empty()).then(|| library.to_owned())
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<T>, EditorError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| EditorError::Start(error.to_string()))
}
