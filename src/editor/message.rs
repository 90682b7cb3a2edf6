//! What the app and an editor window say to each other: one JSON object per line.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::{BufRead, Read as _};
use std::path::PathBuf;
use url::Url;

/// Both sides refuse to talk when this differs: the app may have been replaced while a window was open.
pub const PROTOCOL_VERSION: u32 = 5;

/// Longest line either side reads. A workflow file may have 64 MiB; a save carries two forms of it.
pub const MAX_LINE_BYTES: usize = 160 * 1024 * 1024;

/// From the app to the window.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToWindow {
    /// First line: which protocol the app speaks.
    Hello {
        /// [`PROTOCOL_VERSION`] of the app.
        version: u32,
    },
    /// Second line: what to open.
    Open(Box<OpenWindow>),
    /// Bring the window to the front.
    Focus,
    /// Close the window.
    Close(CloseMode),
    /// What became of a save.
    SaveAnswer {
        /// Which, by [`Saved::number`].
        number: u64,
        /// What became of it.
        answer: SaveAnswer,
    },
    /// The node has another workflow than before, and not by a save of this window: by an undo, or another file.
    NodeWorkflow(EditorGraph),
    /// The node has another name, for the title bar.
    NodeTitle(String),
    /// The app is dark, or light, from now on.
    Appearance(Appearance),
}

/// How the app closes a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseMode {
    /// The person is asked when there are changes.
    Ask,
    /// At once: the node is gone, and what was changed is kept.
    Keep,
}

/// What a window shows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenWindow {
    /// Address of the backend's page.
    pub url: Url,
    /// The node's name, for the title bar.
    pub node_title: String,
    /// The backend's name, for the title bar.
    pub backend_name: String,
    /// The workflow to load.
    pub workflow: EditorGraph,
    /// Changes of an earlier window that ended before they were saved.
    pub draft: Option<Box<RawValue>>,
    /// Cookies and caches of this backend's pages, apart from every other backend's.
    pub profile_dir: PathBuf,
    /// Colours of the bar in the page and of the window.
    pub appearance: Appearance,
    /// Where the window was last time.
    pub geometry: Option<WindowGeometry>,
}

/// A workflow in one of its two forms, as its exact JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditorGraph {
    /// The editor's own form.
    Ui(Box<RawValue>),
    /// The API form; the page lays it out.
    Api(Box<RawValue>),
}

/// Dark or light.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Appearance {
    /// Light text on dark.
    Dark,
    /// Dark text on light.
    Light,
}

/// Position and size of a window in logical pixels of the desktop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowGeometry {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width of the content.
    pub width: f64,
    /// Height of the content.
    pub height: f64,
}

/// What became of a save.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveAnswer {
    /// The app shows what would change and waits for the person.
    InReview,
    /// The node, or the library, has it now.
    Kept,
    /// It was not taken; the sentence says why.
    Refused(String),
}

/// From the window to the app.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromWindow {
    /// First line: which protocol the window speaks.
    Hello {
        /// [`PROTOCOL_VERSION`] of the window.
        version: u32,
    },
    /// The page runs and shows the workflow.
    Loaded,
    /// The page came, but does not show the workflow; the window stays.
    NotShown {
        /// Why, and what to do.
        text: String,
    },
    /// The page's own process ended; the page is loaded anew, and what was changed is offered in it.
    PageGone,
    /// The workflow differs from what was loaded or last kept, or is equal again.
    Changed {
        /// The editor's form as it is now, to be offered again if the window dies; none when nothing is changed.
        draft: Option<Box<RawValue>>,
    },
    /// The person saves.
    Save(Box<Saved>),
    /// The page tried what it may not do, or something went wrong; the window stays.
    Notice {
        /// What happened, in a sentence.
        text: String,
    },
    /// The window cannot go on; it ends after this line.
    Failed {
        /// What happened and what to do.
        text: String,
    },
    /// The window moved or was resized.
    Geometry(WindowGeometry),
    /// The window was closed.
    Closed {
        /// What becomes of changes that were not saved.
        draft: DraftFate,
    },
}

/// What becomes of unsaved changes when a window closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftFate {
    /// There are none, or the person threw them away.
    Discard,
    /// They are offered when the editor is opened again: nobody said what is to become of them, or the app still asks about
    /// what was saved.
    Keep,
}

/// A saved workflow, exact for every custom node because the page itself converted it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Which save of the window it is: the page's own count.
    pub number: u64,
    /// Where it shall go.
    pub target: SaveTarget,
    /// The editor's form, as its own *Save* would write it.
    pub workflow: Box<RawValue>,
    /// The API form.
    pub prompt: Box<RawValue>,
}

/// Where a save goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveTarget {
    /// The node the window was opened for.
    Node,
    /// A new workflow in the library.
    NewWorkflow,
}

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The pipe broke.
    #[error("the connection between the app and the editor window broke: {0}")]
    Io(#[from] std::io::Error),
    /// Longer than [`MAX_LINE_BYTES`].
    #[error(
        "a message between the app and the editor window is longer than {MAX_LINE_BYTES} bytes"
    )]
    TooLong,
    /// Not one of the known messages.
    #[error("a message between the app and the editor window cannot be understood: {0}")]
    Unknown(#[from] serde_json::Error),
}

/// Reads the next message; none at the end of the stream.
pub fn read_line<M: serde::de::DeserializeOwned>(
    reader: &mut impl BufRead,
) -> Result<Option<M>, LineError> {
    let mut line = Vec::new();
    let count = reader
        .by_ref()
        .take(MAX_LINE_BYTES as u64 + 1)
        .read_until(b'\n', &mut line)?;
    if count == 0 {
        return Ok(None);
    }
    if line.len() > MAX_LINE_BYTES {
        return Err(LineError::TooLong);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Writes a message and pushes it through.
pub fn write_line(
    writer: &mut impl std::io::Write,
    message: &impl Serialize,
) -> Result<(), LineError> {
    let mut line = serde_json::to_vec(message)?;
    // JSON that was taken over as it is may be spread over lines; outside strings a line break is only space.
    for byte in &mut line {
        if *byte == b'\n' || *byte == b'\r' {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    writer.write_all(&line)?;
    writer.flush()?;
    Ok(())
}
