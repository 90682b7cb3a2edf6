//! Where an editor window goes on the screens that there are.

use super::message::WindowGeometry;

/// Smallest content of a window, logical pixels.
pub const MIN_SIZE: [f64; 2] = [640.0, 480.0];

/// Content of a window that was never open before, logical pixels.
const FIRST_SIZE: [f64; 2] = [1400.0, 900.0];

/// Largest side that is asked for where the screens are not known, logical pixels.
const MAX_SIDE: f64 = 16_384.0;

/// How far below the upper edge of a window its title is, logical pixels.
const TITLE_AT: f64 = 20.0;

/// A screen, in logical pixels of the desktop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Screen {
    /// Left and upper edge.
    pub corner: [f64; 2],
    /// Width and height.
    pub size: [f64; 2],
}

impl Screen {
    fn has(&self, point: [f64; 2]) -> bool {
        (0..2).all(|axis| {
            (self.corner[axis]..self.corner[axis] + self.size[axis]).contains(&point[axis])
        })
    }
}

/// Size and place of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Width and height of the content, logical pixels.
    pub size: [f64; 2],
    /// Left and upper edge of the window; none leaves it to the window system.
    pub corner: Option<[f64; 2]>,
}

impl Placement {
    /// Where a window goes that was at `last` the last time: there, when a person would see its title on one of the screens
    /// that there are, and otherwise wherever the system puts it. It is not larger than its screen, or than the largest one.
    #[must_use]
    pub fn of(last: Option<WindowGeometry>, screens: &[Screen]) -> Self {
        let title = last.map(|last| [last.x + last.width / 2.0, last.y + TITLE_AT]);
        let screen = title.and_then(|title| screens.iter().find(|screen| screen.has(title)));
        let most = screen.map_or_else(
            || {
                let sides = |axis: usize| screens.iter().map(move |screen| screen.size[axis]);
                [0, 1].map(|axis| sides(axis).reduce(f64::max).unwrap_or(MAX_SIDE))
            },
            |screen| screen.size,
        );
        let wished = last.map_or(FIRST_SIZE, |last| [last.width, last.height]);
        let side = |axis: usize| wished[axis].min(most[axis]).max(MIN_SIZE[axis]);
        Self {
            size: [side(0), side(1)],
            corner: last
                .filter(|_| screen.is_some())
                .map(|last| [last.x, last.y]),
        }
    }
}
