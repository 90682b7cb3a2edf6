//! The text that A1111 and its kin write of how a picture was made.

use serde::Serialize;

/// Most settings of one text.
const MAX_SETTINGS: usize = 200;

/// How a picture was made, as A1111, Forge, Fooocus and others write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GenerationParameters {
    /// What to show.
    pub positive: String,
    /// What to avoid.
    pub negative: String,
    /// Name → value, for example `Steps` → `20`, in the order of the text.
    pub settings: Vec<(String, String)>,
}

impl GenerationParameters {
    /// The value of a setting.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Reads a text of the form `positive`, `Negative prompt: …`, `Steps: 20, Sampler: Euler a, …`. None when it is not one.
#[must_use]
pub fn parse_parameters(text: &str) -> Option<GenerationParameters> {
    let text = text.trim();
    let lines: Vec<&str> = text.lines().collect();
    let settings_line = lines
        .iter()
        .rposition(|line| line.trim_start().starts_with("Steps: "))?;
    let settings = parse_settings(&lines.get(settings_line..)?.join(" "));
    if settings.len() < 2 {
        return None;
    }
    let prompts = lines.get(..settings_line)?;
    let negative_line = prompts
        .iter()
        .position(|line| line.starts_with("Negative prompt:"))
        .unwrap_or(prompts.len());
    let positive = prompts.get(..negative_line)?.join("\n");
    let negative = prompts.get(negative_line..)?.join("\n");
    Some(GenerationParameters {
        positive: positive.trim().to_owned(),
        negative: negative
            .strip_prefix("Negative prompt:")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        settings,
    })
}

/// `Name: value, Name: "value, with commas", …`.
fn parse_settings(text: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut rest = text.trim();
    while settings.len() < MAX_SETTINGS
        && let Some((name, after)) = rest.split_once(": ")
    {
        let name = name.trim().trim_start_matches(',').trim();
        let (value, remaining) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted),
            None => match after.split_once(", ") {
                Some((value, remaining)) => (value.to_owned(), remaining),
                None => (after.to_owned(), ""),
            },
        };
        settings.push((name.to_owned(), value.trim().to_owned()));
        rest = remaining.trim_start_matches([',', ' ']);
    }
    settings
}

/// A value up to its closing quote, and what follows.
fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            _ => value.push(character),
        }
    }
    (value, "")
}
