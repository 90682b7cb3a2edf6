//! What the shader draws: instances of quads and ribbons, in painter's order.
//!
//! The layout of both mirrors `assets/shaders/canvas.wgsl`; 64 bytes each. Words rather than a struct, so that they can be
//! uploaded as bytes without unsafe code.

use bevy::math::Vec2;

/// One quad or ribbon as the shader reads it.
pub type Words = [u32; 16];

/// An sRGB colour with straight alpha, as the shader reads it: red in the lowest byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rgba(pub u32);

impl Rgba {
    /// Nothing.
    pub const CLEAR: Self = Self(0);

    /// From sRGB bytes and straight alpha.
    #[must_use]
    pub const fn new(red: u8, green: u8, blue: u8, alpha: u8) -> Self {
        Self(u32::from_le_bytes([red, green, blue, alpha]))
    }

    /// The same colour with its alpha multiplied by `factor` (0 to 1).
    #[must_use]
    pub fn faded(self, factor: f32) -> Self {
        let [red, green, blue, alpha] = self.0.to_le_bytes();
        let alpha = (f32::from(alpha) * factor.clamp(0.0, 1.0)).round() as u8;
        Self::new(red, green, blue, alpha)
    }

    /// A colour between this one (0) and `other` (1), alpha included.
    #[must_use]
    pub fn mixed(self, other: Self, share: f32) -> Self {
        let (from, to) = (self.0.to_le_bytes(), other.0.to_le_bytes());
        let mut out = [0_u8; 4];
        for ((out, from), to) in out.iter_mut().zip(from).zip(to) {
            let (from, to) = (f32::from(from), f32::from(to));
            *out = (from + (to - from) * share.clamp(0.0, 1.0)).round() as u8;
        }
        Self(u32::from_le_bytes(out))
    }
}

/// A rectangle in canvas units, y down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Area {
    /// Top left corner.
    pub min: Vec2,
    /// Bottom right corner.
    pub max: Vec2,
}

impl Area {
    /// From top left corner and size.
    #[must_use]
    pub fn at(min: Vec2, size: Vec2) -> Self {
        Self {
            min,
            max: min + size,
        }
    }

    /// The rectangle that has these two points as opposite corners.
    #[must_use]
    pub fn spanned(a: Vec2, b: Vec2) -> Self {
        Self {
            min: a.min(b),
            max: a.max(b),
        }
    }

    /// Width and height.
    #[must_use]
    pub fn size(self) -> Vec2 {
        self.max - self.min
    }

    /// The middle.
    #[must_use]
    pub fn center(self) -> Vec2 {
        (self.min + self.max) * 0.5
    }

    /// The same rectangle, moved.
    #[must_use]
    pub fn moved(self, by: Vec2) -> Self {
        Self {
            min: self.min + by,
            max: self.max + by,
        }
    }

    /// The same rectangle, larger by `margin` on each side.
    #[must_use]
    pub fn grown(self, margin: Vec2) -> Self {
        Self {
            min: self.min - margin,
            max: self.max + margin,
        }
    }

    /// The smallest rectangle around both.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// Whether the point lies inside.
    #[must_use]
    pub fn contains(self, point: Vec2) -> bool {
        point.cmpge(self.min).all() && point.cmple(self.max).all()
    }

    /// Whether the other rectangle lies wholly inside.
    #[must_use]
    pub fn encloses(self, other: Self) -> bool {
        self.contains(other.min) && self.contains(other.max)
    }

    /// Whether the two share a point.
    #[must_use]
    pub fn touches(self, other: Self) -> bool {
        self.min.cmple(other.max).all() && other.min.cmple(self.max).all()
    }
}

/// The outline of a port: it tells the class of its type without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Shape {
    /// Pictures and other media.
    Circle = 0,
    /// Text and documents.
    Square = 1,
    /// Numbers.
    Diamond = 2,
    /// True or false, and triggers.
    Triangle = 3,
    /// Anything.
    Ring = 4,
}

/// Look of a box.
#[derive(Clone, Copy, Debug, Default)]
pub struct BoxLook {
    /// Inside.
    pub fill: Rgba,
    /// Line along the edge, inside the box.
    pub stroke: Rgba,
    /// Its width in logical pixels.
    pub stroke_width_px: f32,
    /// Corner radius in canvas units.
    pub radius: f32,
    /// Colour of the top edge.
    pub top_edge: Rgba,
    /// Its height in canvas units.
    pub top_edge_height: f32,
}

/// Look of a link.
#[derive(Clone, Copy, Debug)]
pub struct RibbonLook {
    /// Colour at the output.
    pub start: Rgba,
    /// Colour at the input.
    pub end: Rgba,
    /// Rim that sets it off from what it crosses.
    pub outline: Rgba,
    /// Width in logical pixels at 100 %.
    pub width_px: f32,
    /// Whether data flows.
    pub motion: RibbonMotion,
    /// Colour of the moving dashes, where data flows; its alpha says how much of it.
    pub pulse: Rgba,
}

/// Whether data flows through a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RibbonMotion {
    /// A plain line.
    #[default]
    Still,
    /// A slow moving dash.
    Flowing,
    /// A broken line: a wire that cannot be connected where the pointer is.
    Broken,
}

/// Consecutive instances that one draw call draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawRange {
    /// Quads from the first index up to, not including, the second.
    Quads(u32, u32),
    /// Ribbons likewise.
    Ribbons(u32, u32),
}

/// Everything on the canvas, in painter's order. Reused from frame to frame: clearing keeps the memory.
#[derive(Debug, Default)]
pub struct Scene {
    /// Quad instances.
    pub quads: Vec<Words>,
    /// Ribbon instances.
    pub ribbons: Vec<Words>,
    /// In which order they are drawn.
    pub ranges: Vec<DrawRange>,
    quads_closed: u32,
    ribbons_closed: u32,
}

const KIND_BOX: u32 = 0;
const KIND_SHADOW: u32 = 1;
const KIND_GLYPH: u32 = 2;
const KIND_PICTURE: u32 = 3;
const KIND_SHAPE: u32 = 4;
const KIND_GRID: u32 = 5;
const FLAG_FLOW: u32 = 1;
const FLAG_BROKEN: u32 = 2;

/// What all quads have; the rest of the words depends on the kind.
fn quad(kind: u32, area: Area, fill: Rgba) -> Words {
    let (center, half) = (area.center(), area.size() * 0.5);
    let mut words = [0_u32; 16];
    words[0] = center.x.to_bits();
    words[1] = center.y.to_bits();
    words[2] = half.x.to_bits();
    words[3] = half.y.to_bits();
    words[4] = kind;
    words[5] = fill.0;
    words
}

impl Scene {
    /// Empties the scene and keeps its memory.
    pub fn clear(&mut self) {
        self.quads.clear();
        self.ribbons.clear();
        self.ranges.clear();
        self.quads_closed = 0;
        self.ribbons_closed = 0;
    }

    /// Ends a layer: what is drawn from now on lies above everything before.
    pub fn close_layer(&mut self) {
        let quads = self.quads.len() as u32;
        if quads > self.quads_closed {
            self.ranges.push(DrawRange::Quads(self.quads_closed, quads));
            self.quads_closed = quads;
        }
        let ribbons = self.ribbons.len() as u32;
        if ribbons > self.ribbons_closed {
            self.ranges
                .push(DrawRange::Ribbons(self.ribbons_closed, ribbons));
            self.ribbons_closed = ribbons;
        }
    }

    /// A rounded box.
    pub fn rounded_box(&mut self, area: Area, look: BoxLook) {
        let mut words = quad(KIND_BOX, area, look.fill);
        words[6] = look.stroke.0;
        words[7] = look.top_edge.0;
        words[8] = look.radius.to_bits();
        words[9] = look.stroke_width_px.to_bits();
        words[10] = look.top_edge_height.to_bits();
        self.quads.push(words);
    }

    /// A box of one colour.
    pub fn fill(&mut self, area: Area, fill: Rgba, radius: f32) {
        self.rounded_box(
            area,
            BoxLook {
                fill,
                radius,
                ..BoxLook::default()
            },
        );
    }

    /// A soft spread of `blur` canvas units around a rounded box, also below it.
    pub fn shadow(&mut self, area: Area, color: Rgba, radius: f32, blur: f32) {
        let mut words = quad(KIND_SHADOW, area, color);
        words[8] = radius.to_bits();
        words[10] = blur.to_bits();
        self.quads.push(words);
    }

    /// A glyph bitmap: `center` in canvas units, `size_px` in physical pixels, `uv` corners in the atlas (0 to 1).
    pub fn glyph(&mut self, center: Vec2, size_px: Vec2, uv: [f32; 4], color: Rgba) {
        let half = size_px * 0.5;
        let mut words = [0_u32; 16];
        words[0] = center.x.to_bits();
        words[1] = center.y.to_bits();
        words[2] = half.x.to_bits();
        words[3] = half.y.to_bits();
        words[4] = KIND_GLYPH;
        words[5] = color.0;
        for (word, part) in words[12..].iter_mut().zip(uv) {
            *word = part.to_bits();
        }
        self.quads.push(words);
    }

    /// A picture out of a layer of the picture array. `uv` is the part of it that is shown (0 to 1).
    pub fn picture(&mut self, area: Area, layer: u32, uv: [f32; 4], radius: f32) {
        let mut words = quad(KIND_PICTURE, area, Rgba::new(255, 255, 255, 255));
        words[8] = radius.to_bits();
        words[10] = (layer as f32).to_bits();
        for (word, part) in words[12..].iter_mut().zip(uv) {
            *word = part.to_bits();
        }
        self.quads.push(words);
    }

    /// The outline of a port with a rim outside it. `hole` fills the inside of a [`Shape::Ring`].
    pub fn shape(
        &mut self,
        center: Vec2,
        radius: f32,
        shape: Shape,
        fill: Rgba,
        rim: Rgba,
        hole: Rgba,
    ) {
        let area = Area {
            min: center - radius,
            max: center + radius,
        };
        let mut words = quad(KIND_SHAPE, area, fill);
        words[6] = rim.0;
        words[7] = hole.0;
        words[9] = 1.5_f32.to_bits();
        words[11] = shape as u32;
        self.quads.push(words);
    }

    /// The dots of the background, `pitch` canvas units apart, over the whole target.
    pub fn grid(&mut self, pitch: f32, color: Rgba) {
        let mut words = quad(KIND_GRID, Area::default(), color);
        words[10] = pitch.to_bits();
        self.quads.push(words);
    }

    /// A link from an output to an input.
    pub fn ribbon(&mut self, start: Vec2, end: Vec2, look: RibbonLook) {
        let handle = link_handle(start, end);
        let flags = match look.motion {
            RibbonMotion::Still => 0,
            RibbonMotion::Flowing => FLAG_FLOW,
            RibbonMotion::Broken => FLAG_BROKEN,
        };
        // Between chord and control polygon, as the arc length of a cubic is.
        let chord = start.distance(end);
        let polygon = 2.0 * handle + (start + Vec2::X * handle).distance(end - Vec2::X * handle);
        let length = (chord + polygon) * 0.5;
        self.ribbons.push([
            start.x.to_bits(),
            start.y.to_bits(),
            end.x.to_bits(),
            end.y.to_bits(),
            look.start.0,
            look.end.0,
            look.outline.0,
            flags,
            look.width_px.to_bits(),
            handle.to_bits(),
            length.to_bits(),
            look.pulse.0,
            0,
            0,
            0,
            0,
        ]);
    }
}

/// Length of the horizontal tangents of a link in canvas units: half the way across, more when it runs backwards.
#[must_use]
pub fn link_handle(start: Vec2, end: Vec2) -> f32 {
    let across = end.x - start.x;
    let down = (end.y - start.y).abs();
    if across >= 0.0 {
        (across * 0.5)
            .max((across + down) * 0.22)
            .clamp(12.0, 220.0)
    } else {
        (across.abs() * 0.35 + down * 0.18).clamp(36.0, 260.0)
    }
}

/// A point of the link at `t` (0 to 1), for picking and for the bounds of what is visible.
#[must_use]
pub fn link_point(start: Vec2, end: Vec2, t: f32) -> Vec2 {
    let handle = link_handle(start, end);
    let (p1, p2) = (start + Vec2::X * handle, end - Vec2::X * handle);
    let u = 1.0 - t;
    start * (u * u * u) + p1 * (3.0 * u * u * t) + p2 * (3.0 * u * t * t) + end * (t * t * t)
}

/// A rectangle that holds the link (the hull of its control points).
#[must_use]
pub fn link_bounds(start: Vec2, end: Vec2) -> Area {
    let handle = link_handle(start, end);
    Area::spanned(start, end).joined(Area::spanned(
        start + Vec2::X * handle,
        end - Vec2::X * handle,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_keep_painters_order() {
        let mut scene = Scene::default();
        let area = Area::at(Vec2::ZERO, Vec2::splat(10.0));
        let look = RibbonLook {
            start: Rgba::CLEAR,
            end: Rgba::CLEAR,
            outline: Rgba::CLEAR,
            width_px: 2.0,
            motion: RibbonMotion::Still,
            pulse: Rgba::CLEAR,
        };
        scene.fill(area, Rgba::CLEAR, 0.0);
        scene.close_layer();
        scene.ribbon(Vec2::ZERO, Vec2::ONE, look);
        scene.close_layer();
        scene.close_layer();
        scene.fill(area, Rgba::CLEAR, 0.0);
        scene.fill(area, Rgba::CLEAR, 0.0);
        scene.close_layer();
        assert_eq!(
            scene.ranges,
            [
                DrawRange::Quads(0, 1),
                DrawRange::Ribbons(0, 1),
                DrawRange::Quads(1, 3)
            ]
        );
    }

    #[test]
    fn every_point_of_a_link_lies_in_its_bounds() {
        for end in [
            Vec2::new(300.0, 120.0),
            Vec2::new(-400.0, 90.0),
            Vec2::new(10.0, -700.0),
        ] {
            let bounds = link_bounds(Vec2::ZERO, end).grown(Vec2::splat(0.01));
            for step in 0..=40 {
                let point = link_point(Vec2::ZERO, end, step as f32 / 40.0);
                assert!(
                    bounds.contains(point),
                    "{point} of {end} outside {bounds:?}"
                );
            }
        }
    }
}
