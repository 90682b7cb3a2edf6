//! Where a page may go: the backend it was opened from, and nowhere else.

use url::{Origin, Url};

/// The one origin (scheme, host, port) an editor window trusts enough to load.
#[derive(Clone, Debug, PartialEq)]
pub struct PageOrigin {
    origin: Origin,
}

/// Why an address cannot be opened in an editor window.
#[derive(Debug, thiserror::Error)]
#[error("{url} cannot be opened as an editor: only http and https addresses of a server can")]
pub struct NotAPage {
    /// The address.
    pub url: Url,
}

impl PageOrigin {
    /// The origin of a backend's address.
    pub fn of(url: &Url) -> Result<Self, NotAPage> {
        if matches!(url.scheme(), "http" | "https") && url.has_host() {
            Ok(Self {
                origin: url.origin(),
            })
        } else {
            Err(NotAPage { url: url.clone() })
        }
    }

    /// Whether a message may come from a page at this address.
    #[must_use]
    pub fn is_own(&self, address: &str) -> bool {
        address.parse::<Url>().is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin() == self.origin
        })
    }

    /// Whether a frame may load this address. Empty documents inherit the origin of who made them and are needed by
    /// the frontend; `file:`, `data:`, `javascript:` and every other server are not.
    #[must_use]
    pub fn may_load(&self, address: &str) -> bool {
        matches!(address, "about:blank" | "about:srcdoc") || self.is_own(address)
    }
}
