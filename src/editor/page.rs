//! What a page may say to its window, and the script that lets it.
//!
//! The page is untrusted: a server's own pages have had stored cross-site scripting (CVE-2024-10099, CVE-2026-56670).
//! What holds whatever the page does:
//!
//! * A message is taken only while the main frame shows the backend's origin, when it bears the token that the bar in the
//!   main frame was given, has one of the known shapes, and is within the limits of size, number and rate below.
//! * The token shuts out frames, of other origins and of the page's own: it is in no name and no property that a script
//!   can list. It is not a secret that anything rests on, since the bar runs among the page's own scripts.
//! * So nothing that a message says changes the project or takes something away. A save, also as a new workflow, is shown
//!   in the app, one at a time for each window, and waits for a person there; what is said to be thrown away is set aside
//!   (`app/editors/drafts.rs`); the window closes only when it was asked to.

use super::message::{Appearance, DraftFate, EditorGraph, OpenWindow, SaveAnswer, SaveTarget};
use super::origin::PageOrigin;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use url::Url;

/// Largest message of a page: two forms of a workflow of 64 MiB never fit a sane page, 64 MiB in all do.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Most messages in [`FLOOD_WINDOW_MS`]; a person cannot cause a tenth of it.
pub const MAX_MESSAGES: usize = 100;

/// Most bytes of messages in [`FLOOD_WINDOW_MS`]: the largest save and the draft before it.
pub const MAX_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

/// Span over which messages and their bytes are counted.
pub const FLOOD_WINDOW_MS: u64 = 10_000;

/// Most saves in [`SAVES_WINDOW_MS`]: each is a question to the person.
pub const MAX_SAVES: usize = 8;

/// Span over which saves are counted.
pub const SAVES_WINDOW_MS: u64 = 60_000;

/// What the script in the page says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PageMessage {
    /// The workflow is on the page.
    Loaded,
    /// The page could not show it.
    LoadFailed {
        /// Why, in the page's words.
        text: String,
    },
    /// Changed, or equal again (no draft).
    Changed {
        /// The editor's form as it is now.
        draft: Option<Box<RawValue>>,
    },
    /// Save.
    Save {
        /// Which it is, by the page's own count.
        number: u64,
        /// Where to.
        target: SaveTarget,
        /// The editor's form.
        workflow: Box<RawValue>,
        /// The API form.
        prompt: Box<RawValue>,
    },
    /// The answer to "close?": the window may go.
    MayClose {
        /// What becomes of what was changed.
        draft: DraftFate,
    },
    /// The answer to "close?": the person stays.
    Stay,
    /// The bar has understood the question whether to close, and asks the person.
    Asking,
}

/// The envelope: the token, and the message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    token: String,
    message: PageMessage,
}

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageRefusal {
    /// From another origin.
    #[error("a message from {0}, which is not the backend's own page, was refused")]
    ForeignOrigin(String),
    /// Larger than [`MAX_MESSAGE_BYTES`].
    #[error(
        "a message of {0} bytes from the page was refused: at most {MAX_MESSAGE_BYTES} are taken"
    )]
    TooLarge(usize),
    /// Without the token, or not of a known shape.
    #[error("a message from the page was refused: {0}")]
    Malformed(String),
    /// Too many in a short time, or too much.
    #[error(
        "the page sends too many messages; they are not read for {} seconds",
        FLOOD_WINDOW_MS / 1000
    )]
    Flood,
    /// More saves than a person makes.
    #[error(
        "the page saves too often: at most {MAX_SAVES} times in {} seconds",
        SAVES_WINDOW_MS / 1000
    )]
    TooManySaves {
        /// Which was refused, by the page's own count.
        number: u64,
    },
}

/// The gate every message passes.
#[derive(Debug)]
pub struct Gate {
    origin: PageOrigin,
    token: String,
    /// When messages came, and how long they were.
    arrivals: VecDeque<(u64, usize)>,
    saves_ms: VecDeque<u64>,
}

impl Gate {
    /// A gate for pages of one origin; the token is given to the page's main frame alone.
    #[must_use]
    pub fn new(origin: PageOrigin, token: String) -> Self {
        Self {
            origin,
            token,
            arrivals: VecDeque::new(),
            saves_ms: VecDeque::new(),
        }
    }

    /// The origin it lets through.
    #[must_use]
    pub fn origin(&self) -> &PageOrigin {
        &self.origin
    }

    /// The token it asks for.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Takes or refuses a message that a page at `address` sent.
    pub fn admit(
        &mut self,
        address: &str,
        body: &str,
        now_ms: u64,
    ) -> Result<PageMessage, PageRefusal> {
        let since_ms = now_ms.saturating_sub(FLOOD_WINDOW_MS);
        while self
            .arrivals
            .front()
            .is_some_and(|&(arrival_ms, _)| arrival_ms < since_ms)
        {
            self.arrivals.pop_front();
        }
        let bytes: usize = self.arrivals.iter().map(|(_, length)| length).sum();
        if self.arrivals.len() >= MAX_MESSAGES || bytes >= MAX_BYTES {
            return Err(PageRefusal::Flood);
        }
        self.arrivals.push_back((now_ms, body.len()));
        if !self.origin.is_own(address) {
            return Err(PageRefusal::ForeignOrigin(shortened(address)));
        }
        if body.len() > MAX_MESSAGE_BYTES {
            return Err(PageRefusal::TooLarge(body.len()));
        }
        let envelope: Envelope = serde_json::from_str(body)
            .map_err(|error| PageRefusal::Malformed(shortened(&error.to_string())))?;
        if envelope.token != self.token {
            return Err(PageRefusal::Malformed(
                "it does not come from the main frame".to_owned(),
            ));
        }
        if let PageMessage::Save { number, .. } = envelope.message {
            self.count_save(now_ms, number)?;
        }
        Ok(envelope.message)
    }

    fn count_save(&mut self, now_ms: u64, number: u64) -> Result<(), PageRefusal> {
        let since_ms = now_ms.saturating_sub(SAVES_WINDOW_MS);
        while self
            .saves_ms
            .front()
            .is_some_and(|&save_ms| save_ms < since_ms)
        {
            self.saves_ms.pop_front();
        }
        if self.saves_ms.len() >= MAX_SAVES {
            return Err(PageRefusal::TooManySaves { number });
        }
        self.saves_ms.push_back(now_ms);
        Ok(())
    }
}

/// The first hundred characters: a page chooses how long its address and its mistakes are.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(100).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The script that is put into the main frame before the page's own.
pub fn bar_script(token: &str, url: &Url) -> Result<String, serde_json::Error> {
    let settings = serde_json::json!({
        // The script is put into whatever page is in the window, also a page that the backend sends on to.
        "origin": url.origin().ascii_serialization(),
        "token": token,
    });
    Ok(format!(
        "({})({});",
        include_str!("../../assets/editor/bar.js")
            .trim_end()
            .trim_end_matches(';'),
        in_script(&settings)?
    ))
}

/// The call that gives the page its workflow. It does nothing where the bar is not.
pub fn load_call(window: &OpenWindow) -> Result<String, serde_json::Error> {
    let (form, graph) = form_and_graph(&window.workflow);
    call(&serde_json::json!({
        "type": "load", "form": form, "graph": graph, "draft": window.draft, "name": window.node_title,
        "dark": window.appearance == Appearance::Dark,
    }))
}

/// The call that tells the page which workflow the node has now.
pub fn node_workflow_call(workflow: &EditorGraph) -> Result<String, serde_json::Error> {
    let (form, graph) = form_and_graph(workflow);
    call(&serde_json::json!({"type": "node_workflow", "form": form, "graph": graph}))
}

/// The call that tells the page what its node is called now.
pub fn node_title_call(title: &str) -> Result<String, serde_json::Error> {
    call(&serde_json::json!({"type": "node_title", "name": title}))
}

/// The call that gives the bar other colours.
pub fn appearance_call(appearance: Appearance) -> Result<String, serde_json::Error> {
    call(&serde_json::json!({"type": "appearance", "dark": appearance == Appearance::Dark}))
}

/// The call that tells the page what became of one of its saves; of one that could not be read when there is no number.
pub fn answer_call(number: Option<u64>, answer: &SaveAnswer) -> Result<String, serde_json::Error> {
    let (state, text) = match answer {
        SaveAnswer::InReview => ("in_review", ""),
        SaveAnswer::Kept => ("kept", ""),
        SaveAnswer::Refused(text) => ("refused", text.as_str()),
    };
    call(&serde_json::json!({
        "type": "save_answer", "number": number, "state": state, "text": text,
    }))
}

/// The call that asks the page whether it may be closed.
pub fn close_call() -> Result<String, serde_json::Error> {
    call(&serde_json::json!({"type": "close"}))
}

/// The call that shows a sentence in the bar.
pub fn notice_call(text: &str) -> Result<String, serde_json::Error> {
    call(&serde_json::json!({"type": "notice", "text": text}))
}

fn form_and_graph(workflow: &EditorGraph) -> (&'static str, &RawValue) {
    match workflow {
        EditorGraph::Ui(graph) => ("ui", graph),
        EditorGraph::Api(graph) => ("api", graph),
    }
}

/// Calls what the bar left in the page. Whoever else in the page calls it learns nothing by it, and makes the bar say no more
/// than a page may.
fn call(command: &serde_json::Value) -> Result<String, serde_json::Error> {
    Ok(format!(
        "window[\"comfyui-orchestrator\"]?.({});",
        in_script(command)?
    ))
}

/// JSON that is also an expression of JavaScript: two line breaks of Unicode need escaping there.
fn in_script(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(value)?
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029"))
}
