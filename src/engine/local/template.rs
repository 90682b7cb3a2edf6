//! File names of outputs: a template with placeholders becomes a path that is safe on every system.

use crate::engine::value::Labels;
use crate::project::{TemplateError, TemplatePart, parse_template};

/// Bytes of one segment, extension included. Common file systems allow 255; this leaves room for ` (2)`.
const MAX_SEGMENT_BYTES: usize = 180;

/// What the placeholders of one file stand for.
#[derive(Clone, Debug)]
pub(super) struct FileFacts<'a> {
    /// The project's name.
    pub project: &'a str,
    /// The Output node's title.
    pub node: &'a str,
    /// The labels of what is written.
    pub labels: &'a Labels,
    /// The file's ordinal.
    pub index: u32,
    /// Extension without dot.
    pub extension: &'a str,
    /// Short name of the run.
    pub run: &'a str,
    /// The day of the run, `2026-01-31`.
    pub date: &'a str,
}

/// The path segments of a file below the output folder. Each is harmless on Windows, macOS and Linux, whatever the names
/// and labels are. A template without `{ext}` gets it at the end.
pub(super) fn expand(template: &str, facts: &FileFacts) -> Result<Vec<String>, TemplateError> {
    let segments = segments_of(parse_template(template)?);
    let last = segments.len().saturating_sub(1);
    Ok(segments
        .iter()
        .enumerate()
        .map(|(position, parts)| harmless_segment(&fill(parts, facts), position == last))
        .collect())
}

/// Folders and file name; slashes inside placeholders separate nothing: an axis may be named `a/b`.
fn segments_of(parts: Vec<TemplatePart>) -> Vec<Vec<TemplatePart>> {
    let mut segments = Vec::new();
    let mut open = Vec::new();
    for part in parts {
        match part {
            TemplatePart::Text(text) => {
                for (number, piece) in text.split('/').enumerate() {
                    if number > 0 {
                        segments.push(std::mem::take(&mut open));
                    }
                    if !piece.is_empty() {
                        open.push(TemplatePart::Text(piece.to_owned()));
                    }
                }
            }
            placeholder => open.push(placeholder),
        }
    }
    if !open.contains(&TemplatePart::Extension) {
        open.push(TemplatePart::Text(".".to_owned()));
        open.push(TemplatePart::Extension);
    }
    segments.push(open);
    segments
}

fn fill(parts: &[TemplatePart], facts: &FileFacts) -> String {
    let mut filled = String::new();
    let mut was_empty = false;
    for part in parts {
        let value = match part {
            TemplatePart::Text(text) => text.clone(),
            TemplatePart::Project => flat(facts.project),
            TemplatePart::Node => flat(facts.node),
            TemplatePart::Label => flat(&labels_text(facts.labels)),
            TemplatePart::LabelOf(axis) => {
                flat(facts.labels.get(axis).map_or("", |value| value.as_str()))
            }
            TemplatePart::Index { min_digits } => {
                format!("{:0width$}", facts.index, width = *min_digits)
            }
            TemplatePart::Extension => flat(facts.extension),
            TemplatePart::Run => facts.run.to_owned(),
            TemplatePart::Date => facts.date.to_owned(),
        };
        // An empty placeholder takes one separator beside it along: no "_0001.png", no "a__b.png".
        let value = match (was_empty, filled.is_empty()) {
            (true, true) => value.trim_start_matches(['_', '-', ' ']),
            _ => value.as_str(),
        };
        was_empty = value.is_empty();
        if was_empty && filled.ends_with(['_', '-', ' ']) {
            filled.pop();
        }
        filled.push_str(value);
    }
    filled
}

/// `seed=3_style=noir`: every label, by axis.
fn labels_text(labels: &Labels) -> String {
    labels
        .iter()
        .map(|(axis, value)| format!("{axis}={value}"))
        .collect::<Vec<_>>()
        .join("_")
}

/// A value as part of a file name: one line, no separators.
fn flat(value: &str) -> String {
    value
        .chars()
        .filter(|&letter| !is_invisible(letter))
        .map(|letter| {
            if letter.is_control()
                || matches!(letter, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
            {
                '_'
            } else {
                letter
            }
        })
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Characters that show nothing or turn the direction of writing, and so make a name look like another.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A segment that every system takes: no reserved name or character, no dot or space at its ends, not too long. A segment
/// that had to be cut ends in a hash of the whole, so that different names stay different. Only a file has an extension.
fn harmless_segment(text: &str, is_file: bool) -> String {
    let clean = flat(text);
    let clean = clean.trim_end_matches(['.', ' ']);
    let (stem, extension) = match clean.rsplit_once('.') {
        Some((stem, extension)) if is_file && extension.len() <= 16 => (stem, Some(extension)),
        _ => (clean, None),
    };
    let stem = stem
        .trim_start_matches(['.', ' '])
        .trim_end_matches(['.', ' ']);
    let mut name = if stem.is_empty() {
        "untitled".to_owned()
    } else {
        stem.to_owned()
    };
    let extension_bytes = extension.map_or(0, |extension| extension.len() + 1);
    if name.len() + extension_bytes > MAX_SEGMENT_BYTES {
        let hash = blake3::hash(clean.as_bytes()).to_hex();
        let hash = hash.get(..8).unwrap_or_default();
        let room = MAX_SEGMENT_BYTES - extension_bytes - hash.len() - 1;
        name.truncate(name.floor_char_boundary(room));
        name.truncate(name.trim_end_matches(['.', ' ']).len());
        name.push('~');
        name.push_str(hash);
    }
    if is_reserved(&name) {
        name.insert(0, '_');
    }
    match extension {
        Some(extension) => format!("{name}.{extension}"),
        None => name,
    }
}

/// Names that are devices on Windows, with or without extension.
/// <https://learn.microsoft.com/windows/win32/fileio/naming-a-file>
fn is_reserved(stem: &str) -> bool {
    let base = stem.split('.').next().unwrap_or_default().trim_end();
    let base = base.to_uppercase();
    if matches!(
        base.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
    ) {
        return true;
    }
    let mut letters = base.chars();
    let last = letters.next_back();
    matches!(letters.as_str(), "COM" | "LPT")
        && last.is_some_and(|last| matches!(last, '0'..='9' | '¹' | '²' | '³'))
}

/// The day of a Unix time in milliseconds, UTC, as `2026-01-31`. The day of a run is the same wherever and whenever its
/// files are written again. Algorithm: Howard Hinnant, `civil_from_days`,
/// <https://howardhinnant.github.io/date_algorithms.html>.
pub(super) fn day_of(unix_ms: u64) -> String {
    let days = (unix_ms / 86_400_000) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expanded(template: &str, project: &str, labels: &[(&str, &str)]) -> String {
        let labels = labels
            .iter()
            .map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned()))
            .collect();
        let facts = FileFacts {
            project,
            node: "Save",
            labels: &labels,
            index: 7,
            extension: "png",
            run: "0123456789ab",
            date: "2026-01-31",
        };
        expand(template, &facts).unwrap().join("/")
    }

    #[test]
    fn templates_give_the_names_people_expect() {
        let default = "{project}/{node}/{label}_{index:04}.{ext}";
        for (template, project, labels, expected) in [
            (
                default,
                "Cats",
                &[("seed", "3")][..],
                "Cats/Save/seed=3_0007.png",
            ),
            (default, "Cats", &[], "Cats/Save/0007.png"),
            (default, "a/b\\c", &[], "a_b_c/Save/0007.png"),
            (default, "..", &[], "untitled/Save/0007.png"),
            (default, "", &[], "untitled/Save/0007.png"),
            (default, ".git", &[], "git/Save/0007.png"),
            (default, "nul", &[], "_nul/Save/0007.png"),
            (
                "{date}/{run}/{index}",
                "",
                &[],
                "2026-01-31/0123456789ab/7.png",
            ),
            ("{label:seed}", "", &[("seed", "9")], "9.png"),
            ("a_{label:none}_b.{ext}", "", &[], "a_b.png"),
            ("{label:none}.{ext}", "", &[], "untitled.png"),
            ("{label:a/b}.{ext}", "", &[("a/b", "x/y")], "x_y.png"),
            ("{project}.{ext}", "con", &[], "_con.png"),
            ("{project}.{ext}", "LPT1.x", &[], "_LPT1.x.png"),
            (
                "{label}.{ext}",
                "",
                &[("p", "a cat: \"x\"? <y>\n")],
                "p=a cat_ _x__ _y__.png",
            ),
        ] {
            assert_eq!(expanded(template, project, labels), expected, "{template}");
        }
        let long = "x".repeat(500);
        let name = expanded("{label}.{ext}", "", &[("p", &long)]);
        let other = expanded("{label}.{ext}", "", &[("p", &(long + "y"))]);
        assert!(name.len() <= MAX_SEGMENT_BYTES && name != other, "{name}");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (unix_ms, day) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (1_709_251_199_999, "2024-02-29"),
            (1_709_251_200_000, "2024-03-01"),
            (4_102_444_800_000, "2100-01-01"),
        ] {
            assert_eq!(day_of(unix_ms), day);
        }
    }

    proptest! {
        #[test]
        fn every_name_is_harmless_on_every_system(
            template in "[a-c./\\\\ _:*{}]{0,12}(\\{(project|node|label|label:a|index|ext)\\}[ ./_]?){0,4}",
            project in "\\PC{0,300}",
            label in "(\\.\\.|/|\\\\|CON|nul|[ .]|\\PC|[\\x00-\\x1f]|\u{202e}){0,8}",
        ) {
            let labels = [("a".to_owned(), label)].into();
            let facts = FileFacts {
                project: &project, node: "..", labels: &labels, index: 0,
                extension: "png", run: "r", date: "d",
            };
            let Ok(segments) = expand(&template, &facts) else { return Ok(()); };
            prop_assert!(!segments.is_empty());
            for segment in segments {
                prop_assert!(!segment.is_empty() && segment.len() <= MAX_SEGMENT_BYTES + 1, "{segment}");
                prop_assert!(!segment.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|', '\0']), "{segment}");
                prop_assert!(!segment.chars().any(char::is_control), "{segment:?}");
                prop_assert!(!segment.starts_with('.') && !segment.ends_with(['.', ' ']), "{segment:?}");
                let stem = segment.split('.').next().unwrap_or_default().to_uppercase();
                prop_assert!(!["CON", "NUL", "COM1"].contains(&stem.trim_end()), "{segment}");
            }
        }
    }
}
