//! How a backend is reached.

use crate::project::BackendId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
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
    /// A backend at an address, enabled, without tags or authentication. Its id follows from the address, so that one that is
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

/// Why a text says no way of authentication.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthFormatError {
    /// It has another form.
    #[error(
        "authentication is written bearer:env:NAME, basic:USER:env:NAME or header:HEADER:env:NAME, where NAME is the environment variable that holds the secret"
    )]
    Form,
    /// It has the secret in it instead of a reference.
    #[error(
        "write env:NAME in place of the secret, where NAME is the environment variable that holds it: secrets on a command line can be read by others"
    )]
    SecretItself,
}

impl fmt::Display for Auth {
    /// In the form that [`Auth::from_str`] reads; `none` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Bearer(secret) => write!(f, "bearer:{secret:?}"),
            Self::Basic { user, password } => write!(f, "basic:{user}:{password:?}"),
            Self::Header { name, value } => write!(f, "header:{name}:{value:?}"),
        }
    }
}

impl FromStr for Auth {
    type Err = AuthFormatError;

    /// `none`, `bearer:env:NAME`, `basic:USER:env:NAME` or `header:HEADER:env:NAME`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::None);
        }
        let (kind, rest) = text.split_once(':').ok_or(AuthFormatError::Form)?;
        let secret = |text: &str| match text.strip_prefix("env:") {
            Some(name) if !name.is_empty() && !name.contains('=') => {
                Ok(Secret::Env(name.to_owned()))
            }
            Some(_) => Err(AuthFormatError::Form),
            None => Err(AuthFormatError::SecretItself),
        };
        let named = || {
            rest.split_once(':')
                .filter(|(name, _)| !name.is_empty())
                .ok_or(AuthFormatError::Form)
        };
        match kind {
            "bearer" => Ok(Self::Bearer(secret(rest)?)),
            "basic" => {
                let (user, password) = named()?;
                Ok(Self::Basic {
                    user: user.to_owned(),
                    password: secret(password)?,
                })
            }
            "header" => {
                let (name, value) = named()?;
                Ok(Self::Header {
                    name: name.to_owned(),
                    value: secret(value)?,
                })
            }
            _ => Err(AuthFormatError::Form),
        }
    }
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

/// What we accept as a backend's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsPolicy {
    /// Certificates the platform trusts.
    #[default]
    Verify,
    /// Any certificate: for a self-signed backend that the user vouches for.
    AcceptAny,
}
