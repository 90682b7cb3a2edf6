//! Where a server is and how we say who we are.

use super::error::ComfyError;
use crate::fleet::TlsPolicy;
use reqwest::header::HeaderMap;
use std::fmt;
use url::Url;

/// A server's address with what it takes to be let in. Its [`fmt::Debug`] and [`fmt::Display`] show no credentials.
#[derive(Clone)]
pub struct Endpoint {
    base: Url,
    headers: HeaderMap,
    tls: TlsPolicy,
}

impl Endpoint {
    /// An endpoint at `url` (`http` or `https`, sub-paths allowed; query and fragment are dropped). `headers` go with every
    /// request and with the socket's handshake; they are marked sensitive so that no log shows them.
    ///
    /// # Errors
    /// [`ComfyError::BadAddress`] for another scheme, a missing host, or credentials inside the URL (they would end up in
    /// files and logs).
    pub fn new(url: &Url, mut headers: HeaderMap, tls: TlsPolicy) -> Result<Self, ComfyError> {
        let bad = |reason: &str| {
            let mut shown = url.clone();
            let _ = shown.set_username("");
            let _ = shown.set_password(None);
            ComfyError::BadAddress {
                url: shown.to_string(),
                reason: reason.to_owned(),
            }
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("it must begin with http:// or https://"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(
                "user and password do not belong in the address; use the backend's authentication setting",
            ));
        }
        let mut base = url.clone();
        base.set_query(None);
        base.set_fragment(None);
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        Ok(Self { base, headers, tls })
    }

    /// The URL of a path below the base; each segment is percent-encoded on its own, so a `/` inside one becomes `%2F`.
    #[must_use]
    pub fn url_of(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only a URL that cannot be a base has no segments, and http(s) URLs always can.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The URL of a path as it was written, query included, below the base.
    ///
    /// # Errors
    /// [`ComfyError::BadAddress`] when it is none, or leads out of the base by `..`.
    pub(super) fn url_below(&self, path: &str) -> Result<Url, ComfyError> {
        let base = self.base.as_str().trim_end_matches('/');
        let below = format!("{}/", self.base.path().trim_end_matches('/'));
        let url = format!("{base}{path}").parse::<Url>().ok();
        url.filter(|url| url.origin() == self.base.origin() && url.path().starts_with(&below))
            .ok_or_else(|| ComfyError::BadAddress {
                url: self.to_string(),
                reason: "a path of its page leads out of it".to_owned(),
            })
    }

    /// Scheme, host and port, as a page says where it comes from.
    pub(super) fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// Headers that go with every request.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What is accepted as the server's certificate. For plain `http` nothing is ever verified.
    pub(super) fn verifies_certificates(&self) -> bool {
        self.base.scheme() == "https" && self.tls == TlsPolicy::Verify
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}
