//! Settings of `FanOut` nodes: where their values come from.

use super::data::{DataType, Literal};
use super::table::Table;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a `FanOut` node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FanOutNode {
    /// Where its values come from.
    pub source: FanOutSource,
}

/// Where a `FanOut`'s values come from. Each axis has an output port with the binding [`PortBinding::Axis`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FanOutSource {
    /// The values of one axis, as typed.
    List(Axis),
    /// `count` numbers from `start` in steps of `step`; whole numbers when both are whole.
    Range {
        /// Name of the axis.
        axis: String,
        /// The first number.
        start: f64,
        /// The distance between two numbers.
        step: f64,
        /// How many numbers.
        count: u32,
    },
    /// `count` seeds.
    Seeds {
        /// Name of the axis.
        axis: String,
        /// The first seed.
        first: u64,
        /// How many seeds.
        count: u32,
        /// How the others follow from the first.
        order: SeedOrder,
    },
    /// The product of several axes; the last axis turns fastest.
    Grid(Vec<Axis>),
    /// Several axes of equal length side by side: the first values together, then the second ones, and so on.
    Zip(Vec<Axis>),
    /// The rows of a table. Each column is an axis; an empty cell gives no value, so that what it is linked to keeps its
    /// own.
    Table(Table),
    /// The files that fit a pattern, in natural order of their names. Found when the run gets there.
    Files(FilePattern),
    /// The single values of the batch or list that comes in.
    Split {
        /// Name of the axis; its label is the position, from 0.
        axis: String,
        /// What the single values are.
        data_type: DataType,
    },
}

/// Which files a `FanOut` turns into items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilePattern {
    /// Name of the axis; its label is the file's name.
    pub axis: String,
    /// Path with `*` (any letters), `?` (one letter) and `**` (any folders), `/` between folders. Relative to the
    /// project's `inputs/` folder, or absolute as the person chose it. Where a text is linked to the node, that text is
    /// the folder the pattern starts in.
    pub pattern: String,
    /// What each file is taken for.
    pub data_type: DataType,
}

/// One named axis of values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Its name, which becomes the label of everything made from it.
    pub name: String,
    /// What its values are.
    pub data_type: DataType,
    /// The values, in order.
    pub values: Vec<Literal>,
}

/// How seeds follow from the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeedOrder {
    /// first, first + 1, first + 2 …
    #[default]
    Increment,
    /// Far apart, but always the same for the same first seed.
    Scatter,
}
