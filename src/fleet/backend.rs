//! How a backend is reached.

use crate::project::BackendId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use url::Url;

/// A registered ComfyUI server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendConfig {
    /// Its identity.
    pub id: BackendId,
    /// The name a person gave it.
    pub name: String,
    /// `http` or `https`, with sub-path if it sits behind one.
    pub url: Url,
    /// Free words that nodes can ask for.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// How we say who we are.
    #[serde(default)]
    pub auth: Auth,
    /// What we accept as its certificate.
    #[serde(default)]
    pub tls: TlsPolicy,
    /// Whether it gets work.
    pub enabled: bool,
}

impl BackendConfig {
    /// A server at an address, enabled, without tags or authentication. Its id follows from the address, so that one that is
    /// only named on a command line is the same one next time.
    #[must_use]
    pub fn new(name: &str, url: Url) -> Self {
        let hash = blake3::hash(url.as_str().as_bytes());
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        Self {
            id: BackendId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid()),
            name: name.to_owned(),
            url,
            tags: BTreeSet::new(),
            auth: Auth::None,
            tls: TlsPolicy::Verify,
            enabled: true,
        }
    }
}

/// How we say who we are. Secrets are references ([`Secret`]), so this can be stored and logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// `Authorization: Basic …`.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A header of any name.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: Secret,
    },
}

/// Where a secret is to be found. Never the secret itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// In the environment variable of this name.
    Env(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}

/// What we accept as a server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsPolicy {
    /// Certificates the platform trusts.
    #[default]
    Verify,
    /// Any certificate: for a self-signed server that the user vouches for.
    AcceptAny,
}
