//! Which items a person means by a name such as `Draw seed=7`.

use crate::engine::{ItemId, Labels};
use anyhow::bail;
use std::collections::{BTreeMap, BTreeSet};

/// Shorter pieces of an id are taken for names.
const SHORTEST_ID_PART: usize = 4;
/// Names listed where a word could mean several things.
const NAMES_LISTED: usize = 12;

/// An item that could be meant.
pub(super) struct Named<'a> {
    /// Its id.
    pub(super) item_id: ItemId,
    /// What tells its node from others of the same title.
    pub(super) node: uuid::Uuid,
    /// The title of its node.
    pub(super) title: &'a str,
    /// Its labels.
    pub(super) labels: &'a Labels,
}

impl Named<'_> {
    /// `Draw seed=7, size=512`
    pub(super) fn name(&self) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(axis, value)| format!("{axis}={value}"))
            .collect();
        format!("{} {}", self.title, labels.join(", "))
            .trim_end()
            .to_owned()
    }
}

/// How a name fits the title of an item whose labels it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It is the title.
    Title,
    /// It is a whole word of the title, or several.
    Words,
    /// It says nothing of the title.
    Labels,
}

/// The items that a person means by `wanted`: an item's id or a piece of it; a node's title, or whole words of it, for all
/// items of that node; with `AXIS=VALUE` behind it for those that have these labels. A value is never a part of another:
/// `seed=1` is not `seed=10`.
///
/// # Errors
/// When nothing fits, and when it cannot be known which node or which item is meant.
pub(super) fn meant(wanted: &str, items: &[Named<'_>]) -> anyhow::Result<Vec<ItemId>> {
    let wanted = wanted.trim();
    if let Some(exact) = items
        .iter()
        .find(|item| item.item_id.to_string().eq_ignore_ascii_case(wanted))
    {
        return Ok(vec![exact.item_id]);
    }
    let found = fitting(wanted, items);
    if !found.is_empty() {
        let nodes: BTreeSet<uuid::Uuid> = found.iter().map(|item| item.node).collect();
        if nodes.len() > 1 {
            bail!(
                "\"{wanted}\" could mean {}; say which node, by its whole title",
                listed(&found)
            );
        }
        return Ok(found.iter().map(|item| item.item_id).collect());
    }
    let with_id: Vec<&Named<'_>> = items
        .iter()
        .filter(|item| is_piece_of(wanted, &item.item_id))
        .collect();
    match with_id.as_slice() {
        [] => bail!(
            "no item is called \"{wanted}\"; name its node's title and its labels (`Draw seed=7`), or its id as `runs show --json` prints it"
        ),
        [one] => Ok(vec![one.item_id]),
        several => bail!(
            "\"{wanted}\" could mean {}; give more of the id",
            listed(several)
        ),
    }
}

/// Every item that a name fits best, whichever nodes they are of.
pub(super) fn fitting<'i, 'a>(wanted: &str, items: &'i [Named<'a>]) -> Vec<&'i Named<'a>> {
    let wanted = wanted.trim();
    // As it is written; else as it sounds.
    for case in [Case::AsWritten, Case::Any] {
        let mut by_fit: BTreeMap<Fit, Vec<&Named<'_>>> = BTreeMap::new();
        for item in items {
            if let Some(fit) = fit(wanted, item, case) {
                by_fit.entry(fit).or_default().push(item);
            }
        }
        if let Some((_, best)) = by_fit.pop_first() {
            return best;
        }
    }
    Vec::new()
}

/// Whether upper and lower case differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    AsWritten,
    Any,
}

impl Case {
    fn of(self, text: &str) -> String {
        match self {
            Self::AsWritten => text.to_owned(),
            Self::Any => text.to_lowercase(),
        }
    }
}

fn fit(wanted: &str, item: &Named<'_>, case: Case) -> Option<Fit> {
    let wanted = case.of(wanted);
    let title = case.of(item.title.trim());
    if wanted.is_empty() {
        return None;
    }
    if wanted == title {
        return Some(Fit::Title);
    }
    // What is left when the labels are taken out. The longest goes first, so that it is not mistaken for a shorter one.
    let mut labels: Vec<String> = item
        .labels
        .iter()
        .map(|(axis, value)| case.of(format!("{axis}={value}").trim()))
        .collect();
    labels.sort_by_key(|label| std::cmp::Reverse(label.len()));
    let mut left = wanted.clone();
    for label in &labels {
        if let Some(at) = whole(&left, label) {
            left.replace_range(at..at + label.len(), " ");
        }
    }
    let left = left.trim_matches(is_between);
    if left.is_empty() {
        return Some(Fit::Labels);
    }
    // A title is not said in two halves.
    if !wanted.starts_with(left) && !wanted.ends_with(left) {
        return None;
    }
    if left == title {
        return Some(Fit::Title);
    }
    let words: Vec<&str> = title.split_whitespace().collect();
    left.split_whitespace()
        .all(|word| words.contains(&word))
        .then_some(Fit::Words)
}

/// Where a label stands in a text by itself.
fn whole(text: &str, label: &str) -> Option<usize> {
    text.match_indices(label)
        .find(|(at, _)| {
            let before = text
                .get(..*at)
                .and_then(|before| before.chars().next_back());
            let after = text
                .get(at + label.len()..)
                .and_then(|after| after.chars().next());
            before.is_none_or(is_between) && after.is_none_or(is_between)
        })
        .map(|(at, _)| at)
}

fn is_between(character: char) -> bool {
    character.is_whitespace() || character == ','
}

fn is_piece_of(wanted: &str, item_id: &ItemId) -> bool {
    let id = item_id.to_string();
    let wanted = wanted.to_lowercase();
    wanted.len() >= SHORTEST_ID_PART && (id.starts_with(&wanted) || id.ends_with(&wanted))
}

fn listed(items: &[&Named<'_>]) -> String {
    let mut names: Vec<String> = items.iter().map(|item| item.name()).collect();
    names.sort_unstable();
    let distinct: BTreeSet<&String> = names.iter().collect();
    if distinct.len() == 1 && names.len() > 1 {
        let ids: Vec<String> = items.iter().map(|item| item.item_id.to_string()).collect();
        names = ids;
    } else {
        names.dedup();
    }
    let more = names.len().saturating_sub(NAMES_LISTED);
    names.truncate(NAMES_LISTED);
    let list = names.join(" · ");
    if more > 0 {
        format!("{list} and {more} more")
    } else {
        list
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that cannot go on fails where it stands"
    )]

    use super::*;

    /// Titles, with the labels of their items.
    fn meant_of(wanted: &str, all: &[(&str, &[(&str, &str)])]) -> Result<Vec<String>, String> {
        let labels: Vec<Labels> = all
            .iter()
            .map(|(_, labels)| {
                labels
                    .iter()
                    .map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned()))
                    .collect()
            })
            .collect();
        let titles: BTreeSet<&str> = all.iter().map(|(title, _)| *title).collect();
        let items: Vec<Named<'_>> = all
            .iter()
            .zip(&labels)
            .enumerate()
            .map(|(number, ((title, _), labels))| Named {
                item_id: ItemId::from_uuid(uuid::Uuid::from_u128(number as u128 + 1)),
                node: uuid::Uuid::from_u128(
                    titles.iter().position(|known| known == title).unwrap() as u128,
                ),
                title,
                labels,
            })
            .collect();
        meant(wanted, &items)
            .map(|found| {
                found
                    .iter()
                    .map(|item_id| {
                        let item = items.iter().find(|item| item.item_id == *item_id);
                        item.unwrap().name()
                    })
                    .collect()
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_mean_whole_titles_and_whole_labels() {
        let seeds: &[(&str, &[(&str, &str)])] = &[
            ("Draw", &[("seed", "1")]),
            ("Draw", &[("seed", "10")]),
            ("Draw", &[("seed", "11")]),
            ("Draw big", &[("seed", "1"), ("text", "a red boat")]),
            ("Draw big", &[("seed", "1"), ("text", "a red")]),
            ("Save big", &[("seed", "1")]),
        ];
        let meant = |wanted: &str| meant_of(wanted, seeds);
        assert_eq!(meant("Draw seed=1").unwrap(), ["Draw seed=1"]);
        assert_eq!(meant("draw SEED=10").unwrap(), ["Draw seed=10"]);
        assert_eq!(meant("Draw").unwrap().len(), 3, "a title alone: all of it");
        assert_eq!(
            meant("Draw big text=a red").unwrap(),
            ["Draw big seed=1, text=a red"]
        );
        assert_eq!(
            meant("text=a red boat, seed=1").unwrap(),
            ["Draw big seed=1, text=a red boat"]
        );
        assert_eq!(meant("Save").unwrap(), ["Save big seed=1"]);
        for (ambiguous, node) in [("seed=1", "Save big seed=1"), ("big", "Draw big seed=1")] {
            let said = meant(ambiguous).unwrap_err();
            assert!(said.contains("could mean") && said.contains(node), "{said}");
        }
        for nothing in ["Draw seed=2", "Draw seed", "Dra seed=1", "seed=", "", "w"] {
            assert!(meant(nothing).unwrap_err().contains("no item is called"));
        }
        let said = meant("00000000").unwrap_err();
        assert!(said.contains("more of the id"), "{said}");
    }
}
