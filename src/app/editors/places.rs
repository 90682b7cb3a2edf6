//! Where the windows of ComfyUI's editor were, of each node.

use crate::editor::message::WindowGeometry;
use crate::project::NodeId;
use serde::{Deserialize, Serialize};

/// Nodes of which the window's place is remembered.
const MAX_PLACES: usize = 200;

/// How far a window is put from one that is open, logical pixels in both directions.
const SHIFT: f64 = 32.0;

/// The places of windows, the one that was used last at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EditorPlaces(Vec<EditorPlace>);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct EditorPlace {
    node_id: NodeId,
    geometry: WindowGeometry,
}

impl EditorPlaces {
    /// Remembers where the window of a node is. The places that were not used for the longest time go.
    pub fn remember(&mut self, node_id: NodeId, geometry: WindowGeometry) {
        self.0.retain(|place| place.node_id != node_id);
        self.0.push(EditorPlace { node_id, geometry });
        let surplus = self.0.len().saturating_sub(MAX_PLACES);
        self.0.drain(..surplus);
    }

    /// Where to open the window of a node while those of `open` nodes are: where it was, or where the last window was, but not
    /// right on top of another one. None when no window was ever anywhere.
    #[must_use]
    pub fn next(
        &self,
        node_id: NodeId,
        open: impl Iterator<Item = NodeId>,
    ) -> Option<WindowGeometry> {
        if let Some(own) = self.of(node_id) {
            return Some(own);
        }
        let mut geometry = self.0.last()?.geometry;
        let taken: Vec<WindowGeometry> = open.filter_map(|open| self.of(open)).collect();
        let is_taken = |geometry: &WindowGeometry| {
            taken.iter().any(|other| {
                (other.x - geometry.x).abs() < SHIFT / 2.0
                    && (other.y - geometry.y).abs() < SHIFT / 2.0
            })
        };
        // Each window is in the way of one step at most.
        for _ in 0..taken.len() {
            if !is_taken(&geometry) {
                break;
            }
            geometry.x += SHIFT;
            geometry.y += SHIFT;
        }
        Some(geometry)
    }

    fn of(&self, node_id: NodeId) -> Option<WindowGeometry> {
        let place = self.0.iter().find(|place| place.node_id == node_id)?;
        Some(place.geometry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, width: f64) -> WindowGeometry {
        WindowGeometry {
            x,
            y: 50.0,
            width,
            height: 600.0,
        }
    }

    fn node(number: u128) -> NodeId {
        NodeId::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn each_node_s_window_comes_back_to_its_own_place_and_a_new_one_beside_those_that_are_open() {
        let mut places = EditorPlaces::default();
        let (one, two, three, four) = (node(1), node(2), node(3), node(4));
        assert_eq!(places.next(one, std::iter::empty()), None);
        places.remember(one, at(100.0, 800.0));
        places.remember(two, at(300.0, 900.0));
        places.remember(one, at(120.0, 800.0));
        assert_eq!(places.next(one, [two].into_iter()), Some(at(120.0, 800.0)));
        assert_eq!(places.next(two, [one].into_iter()), Some(at(300.0, 900.0)));
        // As the one that was used last, and not on top of it while it is open.
        assert_eq!(
            places.next(three, std::iter::empty()),
            Some(at(120.0, 800.0))
        );
        let beside = places.next(three, [one, two].into_iter());
        assert_eq!(beside.map(|place| (place.x, place.y)), Some((152.0, 82.0)));
        // Two that went one step each: the third goes past both, also when a window did not say yet where it is.
        let mut beside = at(152.0, 800.0);
        beside.y = 82.0;
        places.remember(three, beside);
        places.remember(one, at(120.0, 800.0));
        let past = places.next(four, [one, three, node(9)].into_iter());
        assert_eq!(past.map(|place| (place.x, place.y)), Some((184.0, 114.0)));
    }

    #[test]
    fn places_are_bounded_in_number_and_the_oldest_go() {
        let mut places = EditorPlaces::default();
        for number in 0..1_000 {
            places.remember(node(number), at(number as f64, 800.0));
        }
        assert_eq!(places.0.len(), MAX_PLACES);
        assert!(places.of(node(999)).is_some() && places.of(node(0)).is_none());
        // What a person or an older program wrote may hold more: the next place makes it short again.
        let text = serde_json::to_string(&places).unwrap_or_default();
        assert_eq!(
            serde_json::from_str::<EditorPlaces>(&text).ok(),
            Some(places)
        );
    }
}
