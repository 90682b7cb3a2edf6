//! The node classes, by subject.

pub mod files;
mod generate;
mod load;
mod orchestrator;
mod save;

use indexmap::IndexMap;

use super::spec::NodeClass;

/// Every class, by name.
pub fn all() -> IndexMap<&'static str, NodeClass> {
    [
        load::classes(),
        save::classes(),
        generate::classes(),
        orchestrator::classes(),
    ]
    .into_iter()
    .flatten()
    .map(|class| (class.name, class))
    .collect()
}
