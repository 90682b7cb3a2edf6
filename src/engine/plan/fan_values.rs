//! The values of a fan-out by index, and the labels they carry.

use super::{FanIndex, Plan};
use crate::project::{Axis, FanOutNode, FanOutSource, Integer, Literal, NodeKind, SeedOrder};

/// How many values the source has; none where only the run can tell.
pub(super) fn count(source: &FanOutSource) -> Option<u64> {
    Some(match source {
        FanOutSource::List(axis) => axis.values.len() as u64,
        FanOutSource::Range { count, .. } | FanOutSource::Seeds { count, .. } => u64::from(*count),
        FanOutSource::Grid(axes) => axes
            .iter()
            .fold(1, |product: u64, axis| {
                product.saturating_mul(axis.values.len() as u64)
            })
            .min(if axes.is_empty() { 0 } else { u64::MAX }),
        FanOutSource::Zip(axes) => axes
            .iter()
            .map(|axis| axis.values.len() as u64)
            .min()
            .unwrap_or(0),
        FanOutSource::Table(table) => table.rows.len() as u64,
        FanOutSource::Files(_) | FanOutSource::Split { .. } => return None,
    })
}

/// The names of the source's axes.
pub(super) fn axis_names(source: &FanOutSource) -> Vec<&str> {
    match source {
        FanOutSource::List(axis) => vec![&axis.name],
        FanOutSource::Range { axis, .. }
        | FanOutSource::Seeds { axis, .. }
        | FanOutSource::Split { axis, .. } => vec![axis],
        FanOutSource::Grid(axes) | FanOutSource::Zip(axes) => {
            axes.iter().map(|axis| axis.name.as_str()).collect()
        }
        FanOutSource::Table(table) => table
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect(),
        FanOutSource::Files(files) => vec![&files.axis],
    }
}

/// The value of one axis at an index; none when there is no such axis or index, the cell of a table is empty, or only the
/// run knows it.
fn axis_value(source: &FanOutSource, axis_name: &str, index: u32) -> Option<Literal> {
    match source {
        FanOutSource::List(axis) => (axis.name == axis_name)
            .then(|| axis.values.get(index as usize).cloned())
            .flatten(),
        FanOutSource::Range {
            axis, start, step, ..
        } => (axis == axis_name).then(|| range_value(*start, *step, index)),
        FanOutSource::Seeds {
            axis, first, order, ..
        } => (axis == axis_name).then(|| Literal::Integer(seed(*first, *order, index).into())),
        FanOutSource::Grid(axes) => grid_value(axes, axis_name, index),
        FanOutSource::Zip(axes) => axes
            .iter()
            .find(|axis| axis.name == axis_name)?
            .values
            .get(index as usize)
            .cloned(),
        FanOutSource::Table(table) => {
            let column = table
                .columns
                .iter()
                .position(|column| column.name == axis_name)?;
            table.value(index as usize, column)
        }
        FanOutSource::Files(_) | FanOutSource::Split { .. } => None,
    }
}

/// Whole numbers when both the start and the step are whole and the result is exact in 53 bits.
fn range_value(start: f64, step: f64, index: u32) -> Literal {
    const EXACT_LIMIT: f64 = 9_007_199_254_740_992.0;
    let value = step.mul_add(f64::from(index), start);
    if start.fract() == 0.0 && step.fract() == 0.0 && value.abs() <= EXACT_LIMIT {
        Literal::Integer(Integer::from(value as i64))
    } else {
        Literal::Number(as_written(value, start, step))
    }
}

/// A value with no more decimals than the start and the step are written with: 0.1 and twice 0.1 are 0.3.
fn as_written(value: f64, start: f64, step: f64) -> f64 {
    let decimals = |number: f64| {
        let text = number.abs().to_string();
        text.split_once('.')
            .map_or(0, |(_, decimals)| decimals.len())
    };
    let rounded = format!("{value:.*}", decimals(start).max(decimals(step)));
    rounded.parse().unwrap_or(value)
}

/// The seed at an index. Scatter is the finaliser of `SplitMix64` (Steele, Lea, Flood 2014) over the counter.
fn seed(first: u64, order: SeedOrder, index: u32) -> u64 {
    match order {
        SeedOrder::Increment => first.wrapping_add(u64::from(index)),
        SeedOrder::Scatter if index == 0 => first,
        SeedOrder::Scatter => {
            let counter =
                first.wrapping_add(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(u64::from(index)));
            let mixed = (counter ^ (counter >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        }
    }
}

/// The last axis turns fastest.
fn grid_value(axes: &[Axis], axis_name: &str, index: u32) -> Option<Literal> {
    let position = axes.iter().position(|axis| axis.name == axis_name)?;
    let faster: u64 = axes[position + 1..]
        .iter()
        .map(|axis| axis.values.len() as u64)
        .product();
    let values = &axes[position].values;
    let turn = u64::from(index).checked_div(faster)?;
    let place = turn.checked_rem(values.len() as u64)?;
    values.get(place as usize).cloned()
}

impl Plan {
    /// The value that a `FanOut` node gives on one axis at one index.
    pub(crate) fn fan_out_value(
        &self,
        fan_out: FanIndex,
        axis_name: &str,
        index: u32,
    ) -> Option<Literal> {
        match &self.nodes[self.fan_outs[fan_out].node].node.kind {
            NodeKind::FanOut(FanOutNode { source }) => axis_value(source, axis_name, index),
            _ => None,
        }
    }

    /// The labels that one index of one fan-out puts on everything made from it: every axis with its value as shown,
    /// or for a split batch the port's name with the position. `shown` is what only the run knows: a file's name.
    pub(crate) fn fan_out_labels(
        &self,
        fan_out: FanIndex,
        index: u32,
        shown: Option<&str>,
    ) -> Vec<(String, String)> {
        let node = &self.nodes[self.fan_outs[fan_out].node].node;
        match &node.kind {
            NodeKind::FanOut(FanOutNode {
                source: source @ (FanOutSource::Files(_) | FanOutSource::Split { .. }),
            }) => axis_names(source)
                .into_iter()
                .map(|name| {
                    let shown = shown.map_or_else(|| index.to_string(), str::to_owned);
                    (name.to_owned(), shown)
                })
                .collect(),
            NodeKind::FanOut(FanOutNode { source }) => axis_names(source)
                .into_iter()
                .filter_map(|name| {
                    axis_value(source, name, index)
                        .map(|value| (name.to_owned(), value.to_string()))
                })
                .collect(),
            _ => node
                .outputs
                .iter()
                .find(|port| super::is_each(&port.binding))
                .map(|port| (port.name.clone(), index.to_string()))
                .into_iter()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_as_exact_as_it_is_written() {
        let shown = |start, step| -> Vec<String> {
            (0..4)
                .map(|index| range_value(start, step, index).to_string())
                .collect()
        };
        assert_eq!(shown(0.1, 0.2), ["0.1", "0.3", "0.5", "0.7"]);
        assert_eq!(shown(0.0, -0.1), ["0", "-0.1", "-0.2", "-0.3"]);
        assert_eq!(shown(1.0, 0.25), ["1", "1.25", "1.5", "1.75"]);
        assert_eq!(shown(5.0, -2.0), ["5", "3", "1", "-1"]);
        assert_eq!(shown(1e-7, 1e-7)[2], "0.0000003");
    }
}
