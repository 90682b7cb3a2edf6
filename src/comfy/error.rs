//! What can go wrong with a server. Every message says what happened, where, and what to do; none shows a credential.

use super::rejection::{NodeErrors, PromptRejection};
use std::path::PathBuf;
use thiserror::Error;

/// What went wrong between us and a ComfyUI server.
#[derive(Debug, Error)]
pub enum ComfyError {
    /// The address cannot be used.
    #[error("the address {url} cannot be used: {reason}")]
    BadAddress {
        /// The address without credentials.
        url: String,
        /// Why.
        reason: String,
    },
    /// No connection came about: nothing was sent.
    #[error(
        "cannot reach {url}: {reason}; check that ComfyUI is running there and that the address is right"
    )]
    Unreachable {
        /// The server.
        url: String,
        /// The innermost cause (refused, unknown host…).
        reason: String,
    },
    /// It answers, but its certificate does not show that it is who it should be: nothing was sent.
    #[error(
        "{url} answers with a certificate that is not trusted here ({reason}); if it is yours, have this computer trust its certificate, or vouch for it: `--accept-any-certificate` on the command line, \"Accept any certificate\" where the backend is edited"
    )]
    Untrusted {
        /// The server.
        url: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// Connected, but the answer did not come in time. The server may have acted on the request.
    #[error("{url} did not answer {request} within {timeout_s} s; it may be overloaded or hanging")]
    TimedOut {
        /// The server.
        url: String,
        /// The request, for example `GET /queue`.
        request: String,
        /// How long we waited, in seconds.
        timeout_s: u64,
    },
    /// The connection broke after the request was begun. The server may have acted on it.
    #[error("the connection to {url} broke during {request}: {reason}; the server may have ended")]
    Broken {
        /// The server.
        url: String,
        /// The request.
        request: String,
        /// The innermost cause.
        reason: String,
    },
    /// An HTTP status that says no.
    #[error(
        "{url} answered {request} with HTTP {status}{}; {advice}",
        quoted(excerpt)
    )]
    Status {
        /// The server.
        url: String,
        /// The request.
        request: String,
        /// The status code.
        status: u16,
        /// The beginning of its body, or the title of its web page; may be empty.
        excerpt: String,
        /// What to do.
        advice: &'static str,
    },
    /// What was asked for is not there (404): a file, a job, a folder.
    #[error("{url} has no {what}; it may have been deleted, or the server restarted")]
    Missing {
        /// The server.
        url: String,
        /// What was asked for.
        what: String,
    },
    /// Something answers there, but it is not ComfyUI.
    #[error("{url} answered {request} with {found}; is this the ComfyUI address?")]
    NotComfyUi {
        /// The server.
        url: String,
        /// The request.
        request: String,
        /// What came instead, for example "a web page".
        found: String,
    },
    /// ComfyUI answered something we do not understand.
    #[error(
        "{url} answered {request} with something this program does not understand: {reason}; its ComfyUI may be too old or too new"
    )]
    Malformed {
        /// The server.
        url: String,
        /// The request.
        request: String,
        /// What was not understood.
        reason: String,
    },
    /// An answer, or a file to be sent, is larger than allowed.
    #[error("{what} of {url} is larger than the {limit_bytes} bytes allowed")]
    TooLarge {
        /// The server.
        url: String,
        /// What is too large.
        what: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The server refused the prompt; nothing was queued.
    #[error("{url} refused the prompt: {rejection}")]
    Rejected {
        /// The server.
        url: String,
        /// Why.
        rejection: Box<PromptRejection>,
    },
    /// The server queued the prompt, but dropped the output nodes whose inputs are invalid, so it will not make all that was
    /// asked for. It IS queued: delete or interrupt it if that is not wanted.
    #[error("{url} queued prompt {prompt_id} only in part: {node_errors}")]
    PartlyRejected {
        /// The server.
        url: String,
        /// The queued prompt.
        prompt_id: String,
        /// What is invalid.
        node_errors: NodeErrors,
    },
    /// The server queued the prompt under another id than the one we chose, as versions before 0.3.45 do.
    #[error(
        "{url} ignored the prompt id {sent} and queued it as {given}; update ComfyUI there to 0.3.45 or newer"
    )]
    OtherPromptId {
        /// The server.
        url: String,
        /// The id we chose.
        sent: String,
        /// The id it is queued under.
        given: String,
    },
    /// The request makes no sense and was not sent.
    #[error("{reason}")]
    BadRequest {
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A local file to be uploaded cannot be read.
    #[error("cannot read {path} to upload it: {source}")]
    LocalFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ComfyError {
    /// Whether the server may have acted on the request although no answer came, or a bad one: then reconcile before
    /// sending it again. (A 500 to `POST /prompt` can mean that the prompt IS queued.)
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::TimedOut { .. }
            | Self::Broken { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::NotComfyUi { .. }
            | Self::PartlyRejected { .. }
            | Self::OtherPromptId { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::BadAddress { .. }
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Missing { .. }
            | Self::Rejected { .. }
            | Self::BadRequest { .. }
            | Self::LocalFile { .. } => false,
        }
    }

    /// Whether the server as a whole is out of reach (rather than unhappy with this one request), so that trying again
    /// later makes sense.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::TimedOut { .. }
            | Self::Broken { .. } => true,
            Self::Status { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }

    /// The HTTP status, where one is the error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Missing { .. } => Some(404),
            _ => None,
        }
    }
}

/// The quotation that follows a status.
fn quoted(excerpt: &str) -> String {
    if excerpt.is_empty() {
        String::new()
    } else {
        format!(" ({excerpt})")
    }
}

/// What to do about a status.
pub(super) fn advice(status: u16) -> &'static str {
    match status {
        300..=399 => "it redirects elsewhere; enter the address it redirects to",
        401 => "set this backend's authentication",
        403 => "this backend's authentication is not accepted",
        404 | 405 => "check the address; its ComfyUI may also be too old",
        408 | 425 | 429 => "it is busy; try again later",
        409 => "it exists already",
        413 => "the file is too large for this server; start it with a larger --max-upload-size",
        400..=499 => "the server did not accept the request",
        502..=504 => "the proxy in front of it cannot reach ComfyUI; check that it is running",
        _ => "see the server's own log for the cause",
    }
}
