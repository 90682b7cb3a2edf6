//! Problems of the settings of `FanOut` and Merge nodes.

use super::{CONTACT_SHEET_CELL_PX, Findings, MAX_FAN_OUT_VALUES, ProblemKind, leaves_its_folder};
use crate::project::data::Literal;
use crate::project::fan_out::{Axis, FanOutSource};
use crate::project::merge::{MergeMode, MergeNode};
use crate::project::node::Node;
use crate::project::open_fan_outs::MergeFault;
use crate::project::table::{Column, MAX_TABLE_COLUMNS, Table};

impl Findings<'_> {
    pub(super) fn fan_out(&mut self, node: &Node, source: &FanOutSource) {
        if source.axes().is_empty() {
            self.about(node, ProblemKind::NoAxes);
        }
        if source.axes().iter().any(|(name, _)| name.trim().is_empty()) {
            self.about(node, ProblemKind::UnnamedAxis);
        }
        let count = match source {
            FanOutSource::List(axis) => {
                self.axis_values(node, std::slice::from_ref(axis));
                axis.values.len() as u64
            }
            FanOutSource::Range { count, .. } | FanOutSource::Seeds { count, .. } => {
                u64::from(*count)
            }
            FanOutSource::Grid(axes) => {
                self.axis_values(node, axes);
                axes.iter()
                    .map(|axis| axis.values.len() as u64)
                    .fold(1, u64::saturating_mul)
            }
            FanOutSource::Zip(axes) => {
                self.axis_values(node, axes);
                self.equal_lengths(node, axes);
                axes.first().map_or(0, |axis| axis.values.len() as u64)
            }
            FanOutSource::Table(table) => {
                self.table(node, table);
                table.rows.len() as u64
            }
            FanOutSource::Files(files) => {
                if files.pattern.trim().is_empty() {
                    self.about(node, ProblemKind::NoPattern);
                } else if leaves_its_folder(&files.pattern) {
                    self.about(node, ProblemKind::FileOutside(files.pattern.clone()));
                }
                0
            }
            FanOutSource::Split { .. } => 0,
        };
        if count > MAX_FAN_OUT_VALUES {
            self.about(node, ProblemKind::TooManyValues { count });
        }
    }

    fn axis_values(&mut self, node: &Node, axes: &[Axis]) {
        for axis in axes {
            let wrong = axis
                .values
                .iter()
                .map(Literal::data_type)
                .enumerate()
                .filter(|(_, is)| !axis.data_type.accepts(*is));
            for (place, is) in wrong {
                let kind = ProblemKind::WrongAxisValue {
                    axis: axis.name.clone(),
                    number: place + 1,
                    is,
                    wanted: axis.data_type,
                };
                self.about(node, kind);
            }
        }
    }

    fn equal_lengths(&mut self, node: &Node, axes: &[Axis]) {
        let Some((first, others)) = axes.split_first() else {
            return;
        };
        for other in others {
            if other.values.len() != first.values.len() {
                let kind = ProblemKind::UnequalAxes {
                    one: first.name.clone(),
                    one_count: first.values.len(),
                    other: other.name.clone(),
                    other_count: other.values.len(),
                };
                self.about(node, kind);
            }
        }
    }

    fn table(&mut self, node: &Node, table: &Table) {
        if table.columns.len() > MAX_TABLE_COLUMNS {
            let columns = table.columns.len();
            self.about(node, ProblemKind::TooManyColumns { columns });
            return;
        }
        for column in &table.columns {
            if !Column::holds(column.data_type) {
                let kind = ProblemKind::ColumnType {
                    column: column.name.clone(),
                    is: column.data_type,
                };
                self.about(node, kind);
                return;
            }
        }
        if let Some(row) = table.overlong_row() {
            self.about(node, ProblemKind::OverlongRow { row });
        }
        for cell in table.wrong_cells() {
            self.about(node, ProblemKind::WrongCell(cell));
        }
    }

    pub(super) fn merge(&mut self, node: &Node, merge: &MergeNode) {
        if !CONTACT_SHEET_CELL_PX.contains(&merge.contact_sheet.cell_px) {
            let cell_px = merge.contact_sheet.cell_px;
            self.about(node, ProblemKind::ContactSheetCell { cell_px });
        }
        match &merge.mode {
            MergeMode::First { count: 0, .. } | MergeMode::Best { keep: 0, .. } => {
                self.about(node, ProblemKind::KeepsNothing);
            }
            MergeMode::Best { expression, .. } if expression.trim().is_empty() => {
                self.about(node, ProblemKind::EmptyScore);
            }
            _ => {}
        }
        // Without links the missing input is the problem.
        if self.project.links.into_node(node.id).next().is_none() {
            return;
        }
        let Some(Err(fault)) = self.open.closed_by(node.id) else {
            return;
        };
        let kind = match fault {
            MergeFault::NothingOpen => ProblemKind::NothingToMerge,
            MergeFault::SideBySide(open) => ProblemKind::MergeMustName {
                fan_outs: self.titles(open),
            },
            MergeFault::NotOpen(fan_out) => ProblemKind::FanOutNotOpen {
                fan_out: match self.project.nodes.get(fan_out) {
                    Some(fan_out) => format!("\"{}\"", fan_out.title),
                    None => "a node that is gone".to_owned(),
                },
                open: self.titles(self.open.into_node(node.id)),
            },
        };
        self.about(node, kind);
    }
}
