//! What a page may say to its window, and the script that lets it.
//!
//! The page is untrusted: a server's own pages have had stored cross-site scripting (CVE-2024-10099, CVE-2026-56670).
//! So a message counts only when it comes from the backend's origin, bears the token that the main frame alone was
//! given, is not too large, has one of the known shapes, and does not come in a flood.

use super::message::{Appearance, EditorGraph, OpenWindow, SaveAnswer, SaveTarget};
use super::origin::PageOrigin;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;

/// Largest message of a page: two forms of a workflow of 64 MiB never fit a sane page, 64 MiB in all do.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Most messages in [`FLOOD_WINDOW_MS`]; a person cannot cause a tenth of it.
pub const MAX_MESSAGES: usize = 100;

/// Span over which messages are counted.
pub const FLOOD_WINDOW_MS: u64 = 10_000;

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
        /// Where to.
        target: SaveTarget,
        /// The editor's form.
        workflow: Box<RawValue>,
        /// The API form.
        prompt: Box<RawValue>,
    },
    /// The answer to "close?": the window may go.
    MayClose,
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
    /// Too many in a short time.
    #[error(
        "the page sends too many messages; they are not read for {} seconds",
        FLOOD_WINDOW_MS / 1000
    )]
    Flood,
}

/// The gate every message passes.
#[derive(Debug)]
pub struct Gate {
    origin: PageOrigin,
    token: String,
    arrivals_ms: VecDeque<u64>,
}

impl Gate {
    /// A gate for pages of one origin; the token is given to the page's main frame alone.
    #[must_use]
    pub fn new(origin: PageOrigin, token: String) -> Self {
        Self {
            origin,
            token,
            arrivals_ms: VecDeque::new(),
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
            .arrivals_ms
            .front()
            .is_some_and(|&arrival_ms| arrival_ms < since_ms)
        {
            self.arrivals_ms.pop_front();
        }
        if self.arrivals_ms.len() >= MAX_MESSAGES {
            return Err(PageRefusal::Flood);
        }
        self.arrivals_ms.push_back(now_ms);
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
        Ok(envelope.message)
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
pub fn bar_script(token: &str, window: &OpenWindow) -> Result<String, serde_json::Error> {
    let settings = serde_json::json!({
        // The script is put into whatever page is in the window, also a page that the backend sends on to.
        "origin": window.url.origin().ascii_serialization(),
        "token": token,
        "node_title": window.node_title,
        "dark": window.appearance == Appearance::Dark,
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
pub fn load_call(token: &str, window: &OpenWindow) -> Result<String, serde_json::Error> {
    let (form, graph) = match &window.workflow {
        EditorGraph::Ui(graph) => ("ui", graph),
        EditorGraph::Api(graph) => ("api", graph),
    };
    call(
        token,
        &serde_json::json!({
            "type": "load", "form": form, "graph": graph, "draft": window.draft, "name": window.node_title,
        }),
    )
}

/// The call that tells the page what became of its save.
pub fn answer_call(token: &str, answer: &SaveAnswer) -> Result<String, serde_json::Error> {
    let (state, text) = match answer {
        SaveAnswer::InReview => ("in_review", ""),
        SaveAnswer::Kept => ("kept", ""),
        SaveAnswer::Refused(text) => ("refused", text.as_str()),
    };
    call(
        token,
        &serde_json::json!({"type": "save_answer", "state": state, "text": text}),
    )
}

/// The call that asks the page whether it may be closed.
pub fn close_call(token: &str) -> Result<String, serde_json::Error> {
    call(token, &serde_json::json!({"type": "close"}))
}

fn call(token: &str, command: &serde_json::Value) -> Result<String, serde_json::Error> {
    Ok(format!(
        "window[Symbol.for({})]?.({});",
        in_script(&format!("orchestrator-{token}"))?,
        in_script(command)?
    ))
}

/// JSON that is also an expression of JavaScript: two line breaks of Unicode need escaping there.
fn in_script(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(value)?
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029"))
}
