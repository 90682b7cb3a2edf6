//! The node classes, by subject.

mod adjust;
mod animate;
mod combine;
pub mod files;
mod generate;
mod latents;
mod load;
mod mask;
mod orchestrator;
mod primitive;
mod save;
mod sounds;
mod transform;

use indexmap::IndexMap;

use super::spec::NodeClass;

/// Every class, by name.
pub fn all() -> IndexMap<&'static str, NodeClass> {
    [
        load::classes(),
        save::classes(),
        animate::classes(),
        generate::classes(),
        transform::classes(),
        adjust::classes(),
        combine::classes(),
        mask::classes(),
        latents::classes(),
        sounds::classes(),
        primitive::classes(),
        orchestrator::classes(),
    ]
    .into_iter()
    .flatten()
    .map(|class| (class.name, class))
    .collect()
}
