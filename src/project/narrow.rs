//! One item of a node in place of all: the fan-outs around it give a single value each.

use super::data::{Integer, Literal};
use super::document::Project;
use super::fan_out::{Axis, FanOutSource};
use super::id::NodeId;
use super::node::NodeKind;
use super::open_fan_outs::OpenFanOuts;
use super::table::Table;

impl Project {
    /// Keeps one value of each fan-out that is open at a node: the one that the item with this label (`seed=7, size=512`) has,
    /// else the first. Files and the values of a batch are only known by a run, so they stay as they are.
    pub fn narrow_to(&mut self, node_id: NodeId, label: &str) {
        let open = OpenFanOuts::of(self).into_node(node_id).to_vec();
        for fan_out in open {
            if let Some(node) = self.nodes.get_mut(&fan_out)
                && let NodeKind::FanOut(settings) = &mut node.kind
            {
                settings.source.narrow(label);
            }
        }
    }
}

impl FanOutSource {
    /// Keeps the value that is named in a label, else the first one.
    fn narrow(&mut self, label: &str) {
        match self {
            Self::List(axis) => axis.narrow(label),
            Self::Range {
                axis, start, count, ..
            } => {
                if let Some(value) = named(label, axis).and_then(|text| text.parse().ok()) {
                    *start = value;
                }
                *count = 1.min(*count);
            }
            Self::Seeds {
                axis, first, count, ..
            } => {
                if let Some(seed) = named(label, axis).and_then(|text| text.parse().ok()) {
                    *first = seed;
                }
                *count = 1.min(*count);
            }
            Self::Grid(axes) => axes.iter_mut().for_each(|axis| axis.narrow(label)),
            Self::Zip(axes) => {
                let rows = axes.iter().map(|axis| axis.values.len()).min().unwrap_or(0);
                let row = closest(rows, |row| {
                    axes.iter()
                        .map(|axis| said(label, &axis.name, axis.values.get(row)?))
                        .sum()
                });
                for axis in axes {
                    axis.keep(row);
                }
            }
            Self::Table(table) => table.narrow(label),
            Self::Files(_) | Self::Split { .. } => {}
        }
    }
}

impl FanOutSource {
    /// The value that one of its axes has in the item with this label (`seed=7, size=512`); none when the label names none of
    /// its values, and for files and parts of a batch, which only a run knows.
    #[must_use]
    pub fn value_in_label(&self, axis: &str, label: &str) -> Option<Literal> {
        let of_axes = |axes: &[Axis]| axes.iter().find(|one| one.name == axis)?.named_in(label);
        match self {
            Self::List(one) => of_axes(std::slice::from_ref(one)),
            Self::Grid(axes) | Self::Zip(axes) => of_axes(axes),
            Self::Range { axis: name, .. } | Self::Seeds { axis: name, .. } if name == axis => {
                let text = named(label, axis)?;
                let whole = text.parse().ok().and_then(Integer::new);
                whole
                    .map(Literal::Integer)
                    .or_else(|| text.parse().ok().map(Literal::Number))
            }
            Self::Table(table) => {
                let column = table.columns.iter().position(|one| one.name == axis)?;
                (0..table.rows.len())
                    .filter_map(|row| {
                        let value = table.value(row, column)?;
                        Some((said(label, axis, &value)?, value))
                    })
                    .max_by_key(|(said, _)| *said)
                    .map(|(_, value)| value)
            }
            Self::Range { .. } | Self::Seeds { .. } | Self::Files(_) | Self::Split { .. } => None,
        }
    }
}

impl Axis {
    fn named_in(&self, label: &str) -> Option<Literal> {
        let said_of = |value: &Literal| said(label, &self.name, value);
        let said_most = self.values.iter().filter(|value| said_of(value).is_some());
        said_most.max_by_key(|value| said_of(value)).cloned()
    }

    fn narrow(&mut self, label: &str) {
        self.keep(closest(self.values.len(), |at| {
            said(label, &self.name, self.values.get(at)?)
        }));
    }

    fn keep(&mut self, index: usize) {
        self.values = self.values.get(index).cloned().into_iter().collect();
    }
}

impl Table {
    fn narrow(&mut self, label: &str) {
        let row = closest(self.rows.len(), |row| {
            self.columns
                .iter()
                .enumerate()
                .map(|(at, column)| match self.value(row, at) {
                    Some(value) => said(label, &column.name, &value),
                    None => Some(0),
                })
                .sum()
        });
        self.rows = self.rows.get(row).cloned().into_iter().collect();
    }
}

/// Of so many, the first of those of which a label says most; the first one when it says nothing of any.
fn closest(count: usize, said_of: impl Fn(usize) -> Option<usize>) -> usize {
    let mut best = (0, None);
    for at in 0..count {
        let said = said_of(at);
        if said > best.1 {
            best = (at, said);
        }
    }
    best.0
}

/// How many bytes of a label in one line say that an axis has a value; none when it does not say so. A value that holds a
/// comma says more than one that is its beginning.
fn said(label: &str, axis: &str, value: &Literal) -> Option<usize> {
    let part = format!("{axis}={value}");
    label
        .match_indices(&part)
        .any(|(at, _)| {
            let before = &label[..at];
            let after = &label[at + part.len()..];
            (before.is_empty() || before.ends_with(", "))
                && (after.is_empty() || after.starts_with(", "))
        })
        .then_some(part.len())
}

/// What a label in one line says of an axis, up to the next comma.
fn named<'l>(label: &'l str, axis: &str) -> Option<&'l str> {
    let key = format!("{axis}=");
    let (at, _) = label
        .match_indices(&key)
        .find(|(at, _)| *at == 0 || label[..*at].ends_with(", "))?;
    label[at + key.len()..].split(", ").next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{DataType, SeedOrder};

    fn axis(name: &str, values: &[&str]) -> Axis {
        Axis {
            name: name.to_owned(),
            data_type: DataType::Text,
            values: values
                .iter()
                .map(|value| Literal::Text((*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn one_value_stays_the_named_one_or_the_first() {
        let label = "weather=fog, then rain, seed=19";
        let text = |words: &str| Literal::Text(words.to_owned());
        let list = |values: &[&str]| FanOutSource::List(axis("weather", values));
        let mut weather = list(&["rain", "fog", "fog, then rain"]);
        weather.narrow(label);
        assert_eq!(weather, list(&["fog, then rain"]));
        assert_eq!(
            list(&["fog", "fog, then rain"]).value_in_label("weather", label),
            Some(text("fog, then rain"))
        );
        assert_eq!(list(&["snow"]).value_in_label("weather", label), None);
        let mut other = list(&["snow", "hail"]);
        other.narrow(label);
        assert_eq!(other, list(&["snow"]));
        let seeds = |first, count| FanOutSource::Seeds {
            axis: "seed".to_owned(),
            first,
            count,
            order: SeedOrder::Scatter,
        };
        assert_eq!(
            seeds(7, 12).value_in_label("seed", label),
            Integer::new(19).map(Literal::Integer)
        );
        let mut seed = seeds(7, 12);
        seed.narrow(label);
        assert_eq!(seed, seeds(19, 1));
        let mut grid = FanOutSource::Grid(vec![
            axis("seed", &["9", "19"]),
            axis("weather", &["fog", "rain"]),
        ]);
        grid.narrow(label);
        assert_eq!(
            grid,
            FanOutSource::Grid(vec![axis("seed", &["19"]), axis("weather", &["fog"])])
        );
        let mut zip = FanOutSource::Zip(vec![axis("a", &["1", "2"]), axis("seed", &["18", "19"])]);
        assert_eq!(zip.value_in_label("a", "a=2, seed=19"), Some(text("2")));
        assert_eq!(zip.value_in_label("b", "a=2, seed=19"), None);
        zip.narrow("a=2, seed=19");
        assert_eq!(
            zip,
            FanOutSource::Zip(vec![axis("a", &["2"]), axis("seed", &["19"])])
        );
    }
}
