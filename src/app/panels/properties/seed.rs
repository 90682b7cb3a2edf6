//! What each item of a run gets for a seed.

use super::fields::{self, Editor};
use crate::app::actions::Action;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::project::{ExposedParameter, Literal, NodeId, SeedPolicy};
use crate::workflow::{Control, Field};
use bevy_egui::egui::Ui;

/// Largest seed of a field that names none.
const LARGEST_SEED: u64 = u64::MAX;

/// The choice below a field that is a seed; nothing below other fields.
pub(super) fn policy(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    (node_id, index): (NodeId, usize),
    parameter: &mut ExposedParameter,
    field: Option<&Field>,
    editor: &mut Editor,
) {
    let Some(Control::Integer {
        max, seed: true, ..
    }) = field.map(|field| &field.control)
    else {
        return;
    };
    let max = max
        .and_then(|max| u64::try_from(max).ok())
        .unwrap_or(LARGEST_SEED);
    let mut chosen = Some(parameter.seed);
    let (counted, random) = match parameter.seed {
        // As it is in the file, whatever this backend says of the field.
        SeedPolicy::Increment { max } | SeedPolicy::Random { max } => {
            (SeedPolicy::Increment { max }, SeedPolicy::Random { max })
        }
        SeedPolicy::Fixed => (SeedPolicy::Increment { max }, SeedPolicy::Random { max }),
    };
    fields::pick(
        ui,
        ("seed policy", node_id.uuid(), index),
        &mut chosen,
        &[
            (SeedPolicy::Fixed, "The same seed for every item"),
            (counted, "One more for each item"),
            (random, "Another random seed for each item"),
        ],
        editor,
    );
    if let Some(chosen) = chosen.filter(|chosen| *chosen != parameter.seed) {
        parameter.seed = chosen;
        // Counting begins somewhere: at what the workflow has, when nothing was set.
        if matches!(chosen, SeedPolicy::Increment { .. }) && parameter.value.is_none() {
            parameter.value = field.map(|field| Literal::from_json(&field.value));
        }
    }
    let button = ui
        .button(format!("{}  Seeds from a fan-out", icons::SHARE_NETWORK))
        .on_hover_text("Adds a Fan out node with four seeds, linked to an input for this field");
    if button.clicked() {
        panel.act(Action::SeedsFromFanOut {
            node: node_id,
            address: parameter.address.clone(),
        });
    }
}
