//! Whether any backend can run a node: the badge on it.

use super::{CanvasDirty, NodeSource};
use crate::app::catalog::Catalog;
use crate::app::document::Document;
use bevy::prelude::*;

/// Whether the known backends can run a node.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeFit {
    /// No backend is known, one of them can, or the node needs none.
    #[default]
    Fine,
    /// Every known backend lacks something.
    Nowhere,
}

/// Judges the nodes that changed; all when a backend's node classes came or went.
pub fn project_fit(
    catalog: Option<ResMut<Catalog>>,
    document: Res<Document>,
    mut nodes: Query<(Ref<NodeSource>, &mut NodeFit)>,
    mut seen: Local<Option<u64>>,
    mut dirty: ResMut<CanvasDirty>,
) {
    let Some(mut catalog) = catalog else {
        return;
    };
    let catalog = catalog.bypass_change_detection();
    let revision = Some(catalog.revision());
    let all = *seen != revision;
    *seen = revision;
    for (source, mut fit) in &mut nodes {
        if !all && !source.is_changed() {
            continue;
        }
        let fits = catalog.fits(document.project(), &source.0);
        let next = if !fits.is_empty() && fits.values().all(|reasons| !reasons.is_empty()) {
            NodeFit::Nowhere
        } else {
            NodeFit::Fine
        };
        dirty.0 |= fit.set_if_neq(next);
    }
}
