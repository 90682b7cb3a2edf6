//! What ComfyUI's editor is doing with a node: the mark on it.

use super::{CanvasDirty, NodeKey};
use crate::app::editors::Editors;
use bevy::prelude::*;

/// What ComfyUI's editor is doing with a node.
#[derive(Component, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeEditing {
    /// Nothing.
    #[default]
    Not,
    /// Its window is open and shows what the node has.
    Open,
    /// Its window is open and shows changes that the node does not have.
    Changed,
    /// Its window is open, and its page does not show the workflow.
    Failed,
    /// There is no window; changes that were not saved are kept.
    Kept,
}

/// Gives every node its mark when a window opened, changed, closed or died, and new nodes theirs.
pub fn project_editing(
    editors: Option<Res<Editors>>,
    mut nodes: Query<(&NodeKey, &mut NodeEditing)>,
    mut seen: Local<Option<u64>>,
    mut dirty: ResMut<CanvasDirty>,
) {
    let Some(editors) = editors else { return };
    let revision = Some(editors.revision());
    let all = *seen != revision;
    *seen = revision;
    for (key, mut editing) in &mut nodes {
        if all || editing.is_added() {
            dirty.0 |= editing.set_if_neq(editors.mark(key.0));
        }
    }
}
