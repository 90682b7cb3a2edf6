//! What a produced file is known by.

use crate::project::{BackendId, DataType};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// BLAKE3 hash of a file's bytes: its name in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Wraps a finished hash.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).to_hex().fmt(f)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl FromStr for ContentHash {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes()))
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A stored file and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// Name in the content-addressed store.
    pub hash: ContentHash,
    /// What it is taken for.
    pub data_type: DataType,
    /// File extension without dot, lower case: `png`.
    pub extension: String,
    /// Size of the file in bytes.
    pub byte_len: u64,
    /// What was measured of its content.
    pub measures: Measures,
    /// Where it lies on a backend, so that a next item there can read it in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// What was measured of a file's content; conditions and labels use it. Absent where it does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Width in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width_px: Option<u32>,
    /// Height in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height_px: Option<u32>,
    /// Length in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// Mean luma, 0 black to 1 white.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brightness: Option<f64>,
    /// Root mean square of the luma's gradient, 0 flat to about 1; larger is crisper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharpness: Option<f64>,
}

/// A file on a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The backend.
    pub backend_id: BackendId,
    /// Its name there.
    pub filename: String,
    /// Its folder below the folder type's root, empty at the top.
    pub subfolder: String,
    /// `output`, `temp` or `input`.
    pub folder_type: String,
    /// The version of the file by the backend (its `ETag`) when its content was read. A backend whose folder was emptied gives
    /// the same names to other files; without a version the name says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
