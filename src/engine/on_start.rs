//! What a person wants done with unfinished runs when the program starts.

use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Setting that holds it.
const SETTING: &str = "runs.on_start";

/// What happens at the start with runs that an earlier process left unfinished. A run that a person paused stays paused in
/// any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStart {
    /// They go on.
    #[default]
    Resume,
    /// They are taken up paused: what backends still do for them is followed to its end, and nothing new is sent.
    Paused,
    /// They are shown and rest until a person says what to do with each ([`super::EngineEvent::Unfinished`]).
    Ask,
}

impl OnStart {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Resume, Self::Paused, Self::Ask];

    /// What is set; the usual where nothing is, or where it cannot be understood.
    pub(crate) async fn read(store: &Store) -> Result<Self, StoreError> {
        let text = store.setting(SETTING).await?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    /// Sets it for every later start.
    pub(crate) async fn write(self, store: &Store) -> Result<(), StoreError> {
        store.put_setting(SETTING, Some(&self.to_string())).await
    }
}

impl fmt::Display for OnStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resume => "resume",
            Self::Paused => "paused",
            Self::Ask => "ask",
        })
    }
}

impl FromStr for OnStart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|one| one.to_string() == text.trim())
            .ok_or_else(|| format!("\"{text}\" is none of resume, paused and ask"))
    }
}
