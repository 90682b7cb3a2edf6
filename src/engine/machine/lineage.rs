//! What an item is made from, for saying before a run what would be made.

use super::Machine;
use super::path::NO_INDEX;
use super::run::Run;
use super::token::TokenIndex;
use crate::engine::id::{ItemId, RunId};

/// What an item is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Per linked input: the items that give it, each with the number of the output. One item, but for what a Merge gathers.
    pub inputs: Vec<Vec<(ItemId, u32)>>,
    /// How many items it stands for: those of a fan-out that has not opened are one item until it does. None where nobody
    /// knows how many there will be.
    pub stands_for: Option<u32>,
    /// Whether a Merge that takes the first n, and calls off the rest, alone needs it.
    pub may_be_called_off: bool,
}

impl Machine {
    /// What an item is made from; none when there is no such item.
    #[must_use]
    pub fn lineage(&self, run_id: RunId, item_id: ItemId) -> Option<Lineage> {
        let run = self.runs.get(&run_id)?;
        let index = run.item_by_id.get(&item_id).copied()?;
        let item = run.items.get(index as usize)?;
        let planned = &run.plan.nodes[item.node];
        let inputs = (0..item.inputs.len())
            .map(|input| {
                run.taken_by(index, input)
                    .iter()
                    .filter_map(|token| giver_of(run, *token))
                    .collect()
            })
            .collect();
        let stands_for = planned
            .open
            .iter()
            .zip(item.path.iter())
            .filter(|(_, at)| **at == NO_INDEX)
            .try_fold(1_u32, |product, (fan_out, _)| {
                Some(product.saturating_mul(run.plan.fan_outs[*fan_out].count?))
            });
        Some(Lineage {
            inputs,
            stands_for,
            may_be_called_off: !planned.serves.is_empty(),
        })
    }
}

/// The item that gave a token, and by which output.
fn giver_of(run: &Run, token: TokenIndex) -> Option<(ItemId, u32)> {
    let token = run.tokens.get(token as usize)?;
    let giver = run.items.get(token.producer? as usize)?;
    Some((giver.item_id, token.output))
}
