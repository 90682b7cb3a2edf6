//! What is ordered to be done on this machine for an item.

use super::flow::local_failure;
use super::item::ItemIndex;
use super::merged_list;
use super::path::{self, NO_INDEX};
use super::run::Run;
use super::values::first_leaf;
use super::{LocalTask, LocalWork};
use crate::engine::failure::Failure;
use crate::engine::value::Value;
use crate::project::{FanOutNode, FanOutSource, Literal, MergeMode, NodeKind};

/// What is to be done on this machine for an item, as the order of this number.
pub(super) fn local_work(run: &Run, index: ItemIndex, order: u64) -> Result<LocalWork, Failure> {
    let item = &run.items[index as usize];
    let planned = &run.plan.nodes[item.node];
    let value = || {
        run.input_value(index, 0).cloned().ok_or_else(|| {
            local_failure(format!("nothing is linked to \"{}\"", planned.node.title))
        })
    };
    let task = match &planned.node.kind {
        NodeKind::Input(input) => LocalTask::Load {
            value: input.value.clone(),
            data_type: planned
                .node
                .outputs
                .first()
                .map_or(crate::project::DataType::Any, |port| port.data_type),
        },
        NodeKind::Condition(condition) => LocalTask::Decide {
            expression: condition.expression.clone(),
            value: value()?,
            rating: run.rating_of(index),
        },
        NodeKind::FanOut(FanOutNode {
            source: FanOutSource::Files(files),
        }) => LocalTask::FindFiles {
            files: files.clone(),
            folder: match run.input_value(index, 0).and_then(first_leaf) {
                Some(Value::Literal(Literal::Text(folder))) => Some(folder),
                _ => None,
            },
        },
        NodeKind::Output(output) => LocalTask::Write {
            template: output.template.clone(),
            value: value()?,
            ordinal: ordinal(run, index),
        },
        NodeKind::Merge(settings) => {
            let merged_list::Gathered {
                elements, ratings, ..
            } = merged_list::gathered(run, index);
            match &settings.mode {
                MergeMode::Best { expression, keep } if elements.len() > *keep as usize => {
                    LocalTask::Rank {
                        expression: expression.clone(),
                        keep: *keep,
                        ratings,
                        sheet: merged_list::draws_sheet(run, index)
                            .then_some(settings.contact_sheet),
                        elements,
                    }
                }
                _ => LocalTask::DrawSheet {
                    sheet: settings.contact_sheet,
                    elements,
                },
            }
        }
        NodeKind::Workflow(_) | NodeKind::FanOut(_) | NodeKind::Review(_) => {
            return Err(local_failure(format!(
                "\"{}\" has no work on this machine; this is a fault of the program",
                planned.node.title
            )));
        }
    };
    Ok(LocalWork {
        item_id: item.item_id,
        run_id: run.run_id,
        node_id: planned.node.id,
        path: path::index_path(&run.plan, &planned.open, &item.path),
        labels: run.true_labels_of(index),
        task,
        order,
    })
}

/// The item's place among its siblings: by index where the sizes of the inner fan-outs are known, so that it does not
/// depend on which item came first; else the order of creation.
fn ordinal(run: &Run, index: ItemIndex) -> u32 {
    let item = &run.items[index as usize];
    let open = &run.plan.nodes[item.node].open;
    let by_index = open.iter().zip(&item.path).enumerate().try_fold(
        0_u32,
        |place, (position, (fan_out, at))| {
            if *at == NO_INDEX {
                return None;
            }
            if position == 0 {
                return Some(*at);
            }
            place
                .checked_mul(run.plan.fan_outs[*fan_out].count?)?
                .checked_add(*at)
        },
    );
    by_index.unwrap_or(item.ordinal)
}
