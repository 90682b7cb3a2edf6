//! Which things lie in a rectangle: a uniform grid over the canvas, for culling and picking.

use super::instance::Area;
use bevy::math::Vec2;
use bevy::platform::collections::HashMap;

/// Side of a cell in canvas units: about two nodes, so that a node lies in one to four cells.
const CELL: f32 = 512.0;

/// A thing that would lie in more cells than this is kept in a list of its own (frames, very long links).
const MAX_CELLS: i64 = 64;

/// A grid of things named by `Key`. A thing may be moved and removed at any time.
#[derive(Debug)]
pub struct SpatialIndex<Key> {
    cells: HashMap<(i32, i32), Vec<Key>>,
    large: Vec<Key>,
    areas: HashMap<Key, Area>,
}

impl<Key> Default for SpatialIndex<Key> {
    fn default() -> Self {
        Self {
            cells: HashMap::default(),
            large: Vec::new(),
            areas: HashMap::default(),
        }
    }
}

/// Cells from the one of the top left corner to the one of the bottom right corner.
fn span(area: Area) -> (i32, i32, i32, i32) {
    let low = (area.min / CELL).floor();
    let high = (area.max / CELL).floor();
    // Positions come from files: casts of wild floats saturate, and NaN becomes 0.
    (low.x as i32, low.y as i32, high.x as i32, high.y as i32)
}

fn is_large((x0, y0, x1, y1): (i32, i32, i32, i32)) -> bool {
    let columns = i64::from(x1) - i64::from(x0) + 1;
    let rows = i64::from(y1) - i64::from(y0) + 1;
    columns.saturating_mul(rows) > MAX_CELLS
}

impl<Key: Copy + Eq + std::hash::Hash + Ord> SpatialIndex<Key> {
    /// Puts a thing at `area`, wherever it was before.
    pub fn insert(&mut self, key: Key, area: Area) {
        if let Some(&before) = self.areas.get(&key) {
            if before == area {
                return;
            }
            if span(before) == span(area) {
                self.areas.insert(key, area);
                return;
            }
            self.remove(key);
        }
        self.areas.insert(key, area);
        let cells = span(area);
        if is_large(cells) {
            self.large.push(key);
            return;
        }
        for y in cells.1..=cells.3 {
            for x in cells.0..=cells.2 {
                self.cells.entry((x, y)).or_default().push(key);
            }
        }
    }

    /// Takes a thing out.
    pub fn remove(&mut self, key: Key) {
        let Some(area) = self.areas.remove(&key) else {
            return;
        };
        let cells = span(area);
        if is_large(cells) {
            self.large.retain(|&other| other != key);
            return;
        }
        for y in cells.1..=cells.3 {
            for x in cells.0..=cells.2 {
                if let Some(cell) = self.cells.get_mut(&(x, y)) {
                    cell.retain(|&other| other != key);
                    if cell.is_empty() {
                        self.cells.remove(&(x, y));
                    }
                }
            }
        }
    }

    /// Everything whose area touches `area`, each once, in no order. `found` is cleared first.
    pub fn query(&self, area: Area, found: &mut Vec<Key>) {
        found.clear();
        let cells = span(area);
        let columns = i64::from(cells.2) - i64::from(cells.0) + 1;
        let rows = i64::from(cells.3) - i64::from(cells.1) + 1;
        if columns.saturating_mul(rows) > self.cells.len() as i64 {
            // A view larger than the graph: look at the things rather than at empty cells.
            found.extend(
                self.areas
                    .iter()
                    .filter(|(_, other)| other.touches(area))
                    .map(|(&key, _)| key),
            );
            return;
        }
        for y in cells.1..=cells.3 {
            for x in cells.0..=cells.2 {
                if let Some(cell) = self.cells.get(&(x, y)) {
                    found.extend_from_slice(cell);
                }
            }
        }
        found.extend_from_slice(&self.large);
        found.sort_unstable();
        found.dedup();
        found.retain(|key| self.areas.get(key).is_some_and(|other| other.touches(area)));
    }

    /// Everything at a point.
    pub fn at(&self, point: Vec2, margin: f32, found: &mut Vec<Key>) {
        self.query(
            Area {
                min: point - margin,
                max: point + margin,
            },
            found,
        );
    }

    /// Where a thing lies.
    #[must_use]
    pub fn area(&self, key: Key) -> Option<Area> {
        self.areas.get(&key).copied()
    }

    /// The rectangle around everything; none when there is nothing.
    #[must_use]
    pub fn bounds(&self) -> Option<Area> {
        self.areas.values().copied().reduce(Area::joined)
    }

    /// How many things there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.areas.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the obvious scan, over moves and removals, with things from tiny to huge.
    #[test]
    fn agrees_with_a_scan() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut index = SpatialIndex::<u32>::default();
        let mut truth = std::collections::BTreeMap::new();
        let mut found = Vec::new();
        for round in 0..4000_u32 {
            let key = random.u32(0..300);
            if random.u8(0..5) == 0 {
                index.remove(key);
                truth.remove(&key);
            } else {
                let min = Vec2::new(random.f32() * 20_000.0 - 10_000.0, random.f32() * 9_000.0);
                let scale = if random.u8(0..20) == 0 {
                    30_000.0
                } else {
                    600.0
                };
                let area = Area::at(min, Vec2::new(random.f32(), random.f32()) * scale);
                index.insert(key, area);
                truth.insert(key, area);
            }
            if round % 16 == 0 {
                let view = Area::at(
                    Vec2::new(random.f32() * 20_000.0 - 10_000.0, random.f32() * 9_000.0),
                    Vec2::new(random.f32(), random.f32()) * 4_000.0,
                );
                index.query(view, &mut found);
                found.sort_unstable();
                let expected: Vec<u32> = truth
                    .iter()
                    .filter(|(_, area)| area.touches(view))
                    .map(|(&key, _)| key)
                    .collect();
                assert_eq!(found, expected);
            }
        }
        assert_eq!(index.len(), truth.len());
    }

    #[test]
    fn wild_positions_do_no_harm() {
        let mut index = SpatialIndex::<u32>::default();
        index.insert(1, Area::at(Vec2::new(f32::NAN, 0.0), Vec2::ONE));
        index.insert(2, Area::at(Vec2::splat(f32::MAX), Vec2::ONE));
        index.insert(
            3,
            Area {
                min: Vec2::splat(f32::NEG_INFINITY),
                max: Vec2::splat(f32::INFINITY),
            },
        );
        let mut found = Vec::new();
        index.query(Area::at(Vec2::ZERO, Vec2::splat(100.0)), &mut found);
        assert!(found.contains(&3));
        for key in 1..=3 {
            index.remove(key);
        }
        assert!(index.is_empty());
    }
}
