//! How many items there would be, where some of it depends on what nobody knows before the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How many, as far as it can be known before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DryCount {
    /// At least so many.
    pub least: u32,
    /// At most so many; none where there is no telling.
    pub most: Option<u32>,
}

impl DryCount {
    /// None at all.
    pub const NONE: Self = Self {
        least: 0,
        most: Some(0),
    };

    /// Whether it is known that there are none.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.most == Some(0)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.least = self.least.saturating_add(other.least);
        self.most = match (self.most, other.most) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            _ => None,
        };
    }
}

/// `37`, `24 to 36`, `at most 36`, `at least 24`, `an unknown number`
impl fmt::Display for DryCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (least, Some(most)) if least == most => write!(f, "{least}"),
            (0, Some(most)) => write!(f, "at most {most}"),
            (least, Some(most)) => write!(f, "{least} to {most}"),
            (0, None) => f.write_str("an unknown number"),
            (least, None) => write!(f, "at least {least}"),
        }
    }
}

/// One way out of one item of a Condition: the item's place in the run, and the output.
pub(super) type Choice = (usize, u32);

/// Whether there will be a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// There will.
    Sure,
    /// There will if every one of these Conditions sends its value this way.
    If(BTreeSet<Choice>),
    /// There is no telling.
    Perhaps,
    /// There will not: it would take both ways out of a Condition.
    Never,
}

impl When {
    /// Both are needed.
    pub(super) fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::If(mut one), Self::If(other)) => {
                one.extend(other);
                let conditions: BTreeSet<usize> = one.iter().map(|(item, _)| *item).collect();
                if conditions.len() < one.len() {
                    Self::Never
                } else {
                    Self::If(one)
                }
            }
            (Self::Perhaps, _) | (_, Self::Perhaps) => Self::Perhaps,
            (Self::Sure, other) => other.clone(),
            (one, Self::Sure) => one,
        }
    }

    /// Any of them is enough.
    pub(super) fn any(all: impl IntoIterator<Item = Self>) -> Self {
        let mut choices: BTreeSet<BTreeSet<Choice>> = BTreeSet::new();
        let mut is_possible = false;
        for when in all {
            match when {
                Self::Sure => return Self::Sure,
                Self::If(set) => {
                    choices.insert(set);
                }
                Self::Perhaps => is_possible = true,
                Self::Never => {}
            }
        }
        // Both ways out of a Condition come to the same as if it were not there.
        while let Some((one, other, rest)) = both_ways(&choices) {
            choices.remove(&one);
            choices.remove(&other);
            if rest.is_empty() {
                return Self::Sure;
            }
            choices.insert(rest);
        }
        match (choices.len(), is_possible) {
            (0, false) => Self::Never,
            (1, false) => choices.pop_first().map_or(Self::Never, Self::If),
            _ => Self::Perhaps,
        }
    }
}

/// Two sets of choices that differ in the way out of one Condition alone, and what they have in common.
fn both_ways(
    all: &BTreeSet<BTreeSet<Choice>>,
) -> Option<(BTreeSet<Choice>, BTreeSet<Choice>, BTreeSet<Choice>)> {
    all.iter().find_map(|one| {
        one.iter().find_map(|(item, output)| {
            let mut rest = one.clone();
            rest.remove(&(*item, *output));
            let mut other = rest.clone();
            // A Condition has two ways out.
            other.insert((*item, 1 - (*output).min(1)));
            all.contains(&other).then(|| (one.clone(), other, rest))
        })
    })
}

/// Between how many and how many of these there will be, each standing for so many items. Of what hangs on a Condition one side
/// comes, never both.
pub(super) fn bounds(all: impl IntoIterator<Item = (When, Option<u32>)>) -> DryCount {
    let mut sum = DryCount::NONE;
    let mut by_condition: BTreeMap<usize, BTreeMap<u32, Vec<(When, Option<u32>)>>> =
        BTreeMap::new();
    for (when, stands_for) in all {
        match when {
            When::Sure => sum.add(DryCount {
                least: stands_for.unwrap_or(0),
                most: stands_for,
            }),
            When::Perhaps => sum.add(DryCount {
                least: 0,
                most: stands_for,
            }),
            When::Never => {}
            When::If(mut choices) => {
                let Some((item, output)) = choices.pop_first() else {
                    continue;
                };
                let left = if choices.is_empty() {
                    When::Sure
                } else {
                    When::If(choices)
                };
                by_condition
                    .entry(item)
                    .or_default()
                    .entry(output)
                    .or_default()
                    .push((left, stands_for));
            }
        }
    }
    for sides in by_condition.into_values() {
        // The side that nothing hangs on makes nothing.
        let mut either = if sides.len() < 2 {
            Some(DryCount::NONE)
        } else {
            None
        };
        for side in sides.into_values() {
            let side = bounds(side);
            either = Some(either.map_or(side, |one| DryCount {
                least: one.least.min(side.least),
                most: one.most.zip(side.most).map(|(one, other)| one.max(other)),
            }));
        }
        sum.add(either.unwrap_or(DryCount::NONE));
    }
    sum
}
