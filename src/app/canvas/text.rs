//! Text on the canvas: glyphs rasterised at the size they have on screen into one alpha atlas.
//!
//! A glyph bitmap is drawn texel by pixel, so text is crisp at every zoom and DPI; the pen moves at exact positions, so
//! lines keep their width while zooming. Sizes are rounded to half a pixel, horizontal positions to a quarter.

use super::instance::{Rgba, Scene};
use ab_glyph::{Font, FontRef, GlyphId, PxScale, point};
use bevy::math::{UVec2, Vec2};
use bevy::platform::collections::HashMap;

/// Side of the atlas in texels. 4 MiB; holds about 30 sizes of an alphabet.
pub const ATLAS_SIDE: u32 = 2048;
/// Glyphs larger than this on screen are drawn at this size: beyond it titles are shapes, not text.
const MAX_SIZE_PX: f32 = 160.0;
/// Up to this size a glyph is kept in four horizontal positions.
const SUBPIXEL_MAX_PX: f32 = 22.0;
/// What is put at the end of text that was cut.
const ELLIPSIS: char = '…';

/// The faces on the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Face {
    /// Inter.
    Regular = 0,
    /// Inter, semi-bold: titles.
    SemiBold = 1,
    /// `JetBrains` Mono: expressions and templates.
    Mono = 2,
    /// Phosphor: icons.
    Icons = 3,
}

/// How a line of text looks.
#[derive(Clone, Copy, Debug)]
pub struct TextStyle {
    /// The face.
    pub face: Face,
    /// Size of the em square in canvas units.
    pub size: f32,
    /// Its colour.
    pub color: Rgba,
}

/// Which end of a line is put at the given place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its left end.
    Left,
    /// Its middle.
    Center,
    /// Its right end.
    Right,
}

/// A rectangle of the atlas that has new texels.
#[derive(Clone, Debug)]
pub struct AtlasPatch {
    /// Top left texel.
    pub at: UVec2,
    /// Width and height in texels.
    pub size: UVec2,
    /// Coverage, row by row.
    pub texels: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct GlyphKey {
    face: u8,
    glyph: u16,
    half_px: u16,
    quarter: u8,
}

/// Where a glyph bitmap lies in the atlas; none for blanks.
#[derive(Clone, Copy)]
struct Slot {
    at: UVec2,
    size: UVec2,
    /// From the pen's whole pixel to the top left corner of the bitmap.
    offset: Vec2,
}

struct FaceTable {
    font: FontRef<'static>,
    /// Pixel scale of `ab_glyph` per pixel of em size.
    scale_per_em: f32,
    glyphs: HashMap<char, (GlyphId, f32)>,
    ascii: [(GlyphId, f32); 128],
}

impl FaceTable {
    fn new(font: FontRef<'static>) -> Self {
        let units = font.units_per_em().unwrap_or(1000.0);
        let scale_per_em = font.height_unscaled() / units;
        let measure = |character: char| {
            let glyph = font.glyph_id(character);
            (glyph, font.h_advance_unscaled(glyph) / units)
        };
        let mut ascii = [(GlyphId(0), 0.0); 128];
        for (code, entry) in ascii.iter_mut().enumerate() {
            *entry = measure(char::from(code as u8));
        }
        Self {
            scale_per_em,
            glyphs: HashMap::default(),
            ascii,
            font,
        }
    }

    /// Glyph and advance in ems.
    fn lookup(&mut self, character: char) -> (GlyphId, f32) {
        if let Some(&entry) = self.ascii.get(character as usize) {
            return entry;
        }
        *self.glyphs.entry(character).or_insert_with(|| {
            let units = self.font.units_per_em().unwrap_or(1000.0);
            let glyph = self.font.glyph_id(character);
            (glyph, self.font.h_advance_unscaled(glyph) / units)
        })
    }
}

/// The faces and the atlas.
pub struct Glyphs {
    faces: [FaceTable; 4],
    slots: HashMap<GlyphKey, Option<Slot>>,
    shelf_top: u32,
    shelf_height: u32,
    shelf_x: u32,
    /// New texels for the GPU, oldest first.
    pub patches: Vec<AtlasPatch>,
    /// Grows when the atlas was emptied: whatever was built before must be built again.
    pub generation: u64,
}

impl std::fmt::Debug for Glyphs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Glyphs")
            .field("slots", &self.slots.len())
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

const INTER_REGULAR: &[u8] = include_bytes!("../../../assets/fonts/Inter-Regular.ttf");
const INTER_SEMIBOLD: &[u8] = include_bytes!("../../../assets/fonts/Inter-SemiBold.ttf");
const JETBRAINS_MONO: &[u8] = include_bytes!("../../../assets/fonts/JetBrainsMono-Regular.ttf");

impl Glyphs {
    /// The embedded faces with an empty atlas.
    pub fn new() -> Result<Self, ab_glyph::InvalidFont> {
        let face = |bytes: &'static [u8]| FontRef::try_from_slice(bytes).map(FaceTable::new);
        Ok(Self {
            faces: [
                face(INTER_REGULAR)?,
                face(INTER_SEMIBOLD)?,
                face(JETBRAINS_MONO)?,
                face(egui_phosphor::Variant::Regular.font_bytes())?,
            ],
            slots: HashMap::default(),
            shelf_top: 0,
            shelf_height: 0,
            shelf_x: 0,
            patches: Vec::new(),
            generation: 0,
        })
    }

    /// Width of a line in canvas units.
    pub fn width(&mut self, face: Face, size: f32, text: &str) -> f32 {
        let table = &mut self.faces[face as usize];
        text.chars()
            .map(|character| table.lookup(character).1)
            .sum::<f32>()
            * size
    }

    /// How much of `text` fits into `max_width` canvas units: its byte length, its width, and whether an ellipsis (whose
    /// width is included) has to follow.
    fn fit(&mut self, style: TextStyle, text: &str, max_width: f32) -> (usize, f32, bool) {
        let table = &mut self.faces[style.face as usize];
        let ellipsis = table.lookup(ELLIPSIS).1 * style.size;
        let mut width = 0.0;
        let mut cut = (0, 0.0);
        for (at, character) in text.char_indices() {
            if character == '\n' {
                return (cut.0, cut.1 + ellipsis, true);
            }
            width += table.lookup(character).1 * style.size;
            if width > max_width {
                return (cut.0, cut.1 + ellipsis, true);
            }
            if width + ellipsis <= max_width {
                cut = (at + character.len_utf8(), width);
            }
        }
        (text.len(), width, false)
    }

    /// Draws one line at `baseline` (canvas units), cut with an ellipsis where it is wider than `max_width`, and returns
    /// its width. `px_per_world` is the scale at which it will be seen.
    pub fn line(
        &mut self,
        scene: &mut Scene,
        text: &str,
        baseline: Vec2,
        style: TextStyle,
        anchor: Anchor,
        max_width: f32,
        px_per_world: f32,
    ) -> f32 {
        if text.is_empty() || max_width <= 0.0 {
            return 0.0;
        }
        let (length, width, is_cut) = self.fit(style, text, max_width);
        let mut pen = baseline.x
            - match anchor {
                Anchor::Left => 0.0,
                Anchor::Center => width * 0.5,
                Anchor::Right => width,
            };
        let shown = text.get(..length).unwrap_or_default();
        for character in shown.chars().chain(is_cut.then_some(ELLIPSIS)) {
            let (glyph, advance) = self.faces[style.face as usize].lookup(character);
            if character != ' ' {
                self.glyph(
                    scene,
                    glyph,
                    Vec2::new(pen, baseline.y),
                    style,
                    px_per_world,
                );
            }
            pen += advance * style.size;
        }
        width
    }

    /// Draws one icon with its middle at `center`; `style.size` is the side of its square.
    pub fn icon(
        &mut self,
        scene: &mut Scene,
        icon: &str,
        center: Vec2,
        style: TextStyle,
        px_per_world: f32,
    ) {
        let Some(character) = icon.chars().next() else {
            return;
        };
        let table = &mut self.faces[Face::Icons as usize];
        let (glyph, advance) = table.lookup(character);
        let units = table.font.units_per_em().unwrap_or(1000.0);
        // Phosphor's icons fill the box between ascent and descent.
        let middle = (table.font.ascent_unscaled() + table.font.descent_unscaled()) * 0.5 / units;
        let baseline = Vec2::new(
            center.x - advance * style.size * 0.5,
            center.y + middle * style.size,
        );
        self.glyph(
            scene,
            glyph,
            baseline,
            TextStyle {
                face: Face::Icons,
                ..style
            },
            px_per_world,
        );
    }

    fn glyph(
        &mut self,
        scene: &mut Scene,
        glyph: GlyphId,
        pen: Vec2,
        style: TextStyle,
        px_per_world: f32,
    ) {
        let wanted_px = style.size * px_per_world;
        let size_px = wanted_px.min(MAX_SIZE_PX);
        let half_px = (size_px * 2.0).round().max(2.0) as u16;
        let pen_px = pen * px_per_world;
        let (whole_x, quarter) = if size_px <= SUBPIXEL_MAX_PX {
            let quarters = (pen_px.x * 4.0).round();
            let whole = (quarters * 0.25).floor();
            (whole, (quarters - whole * 4.0) as u8)
        } else {
            (pen_px.x.round(), 0)
        };
        let key = GlyphKey {
            face: style.face as u8,
            glyph: glyph.0,
            half_px,
            quarter,
        };
        let slot = match self.slots.get(&key) {
            Some(slot) => *slot,
            None => self.rasterise(key),
        };
        let Some(slot) = slot else {
            return;
        };
        // Beyond the largest bitmap the quad is stretched.
        let stretch = (wanted_px / MAX_SIZE_PX).max(1.0);
        let size = slot.size.as_vec2() * stretch;
        let top_left = Vec2::new(whole_x, pen_px.y.round()) + slot.offset * stretch;
        let center = (top_left + size * 0.5) / px_per_world;
        let side = ATLAS_SIDE as f32;
        let (min, max) = (
            slot.at.as_vec2() / side,
            (slot.at + slot.size).as_vec2() / side,
        );
        scene.glyph(center, size, [min.x, min.y, max.x, max.y], style.color);
    }

    fn rasterise(&mut self, key: GlyphKey) -> Option<Slot> {
        let table = &self.faces[usize::from(key.face)];
        let em_px = f32::from(key.half_px) * 0.5;
        let placed = GlyphId(key.glyph).with_scale_and_position(
            PxScale::from(em_px * table.scale_per_em),
            point(f32::from(key.quarter) * 0.25, 0.0),
        );
        let slot = table.font.outline_glyph(placed).and_then(|outline| {
            let bounds = outline.px_bounds();
            let size = UVec2::new(bounds.width() as u32, bounds.height() as u32);
            if size.x == 0 || size.y == 0 {
                return None;
            }
            let mut texels = vec![0_u8; (size.x * size.y) as usize];
            outline.draw(|x, y, coverage| {
                if let Some(texel) = texels.get_mut((y * size.x + x) as usize) {
                    *texel = (coverage.clamp(0.0, 1.0) * 255.0).round() as u8;
                }
            });
            Some((size, Vec2::new(bounds.min.x, bounds.min.y), texels))
        });
        let slot = slot.and_then(|(size, offset, texels)| {
            let at = self.place(size)?;
            self.patches.push(AtlasPatch { at, size, texels });
            Some(Slot { at, size, offset })
        });
        self.slots.insert(key, slot);
        slot
    }

    /// A free rectangle of the atlas; empties the atlas when it is full. One texel stays free around each.
    fn place(&mut self, size: UVec2) -> Option<UVec2> {
        let padded = size + 1;
        if padded.x >= ATLAS_SIDE || padded.y >= ATLAS_SIDE {
            return None;
        }
        if self.shelf_x + padded.x > ATLAS_SIDE {
            self.shelf_top += self.shelf_height;
            self.shelf_x = 0;
            self.shelf_height = 0;
        }
        if self.shelf_top + padded.y > ATLAS_SIDE {
            self.slots.clear();
            self.patches.clear();
            self.generation += 1;
            self.shelf_top = 0;
            self.shelf_x = 0;
            self.shelf_height = 0;
        }
        let at = UVec2::new(self.shelf_x, self.shelf_top);
        self.shelf_x += padded.x;
        self.shelf_height = self.shelf_height.max(padded.y);
        Some(at)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const STYLE: TextStyle = TextStyle {
        face: Face::Regular,
        size: 12.0,
        color: Rgba::CLEAR,
    };

    #[test]
    fn text_that_does_not_fit_ends_with_an_ellipsis_inside_the_width() {
        let mut glyphs = Glyphs::new().unwrap();
        let mut scene = Scene::default();
        let text = "A rather long title for a small node";
        let full = glyphs.width(Face::Regular, 12.0, text);
        for max_width in [20.0, 60.0, 100.0, full + 1.0] {
            let width = glyphs.line(
                &mut scene,
                text,
                Vec2::ZERO,
                STYLE,
                Anchor::Left,
                max_width,
                1.0,
            );
            assert!(width <= max_width, "{width} > {max_width}");
        }
        let (length, _, is_cut) = glyphs.fit(STYLE, text, full + 1.0);
        assert_eq!((length, is_cut), (text.len(), false));
    }

    #[test]
    fn figures_have_one_width_and_icons_exist() {
        let mut glyphs = Glyphs::new().unwrap();
        let icon = glyphs.faces[Face::Icons as usize].lookup('\u{e2ca}');
        assert_ne!(icon.0, GlyphId(0), "the icon face lacks its icons");
        let mono = &mut glyphs.faces[Face::Mono as usize];
        let widths: std::collections::BTreeSet<u32> = ('0'..='9')
            .map(|figure| mono.lookup(figure).1.to_bits())
            .collect();
        assert_eq!(widths.len(), 1);
    }

    #[test]
    fn a_full_atlas_starts_anew_rather_than_failing() {
        let mut glyphs = Glyphs::new().unwrap();
        let mut scene = Scene::default();
        for step in 0..220 {
            let style = TextStyle {
                size: 20.0 + step as f32 * 0.5,
                ..STYLE
            };
            glyphs.line(
                &mut scene,
                "The quick brown fox 0123456789",
                Vec2::ZERO,
                style,
                Anchor::Left,
                f32::MAX,
                1.0,
            );
        }
        assert!(glyphs.generation > 0);
        for patch in &glyphs.patches {
            assert!(
                (patch.at + patch.size)
                    .cmple(UVec2::splat(ATLAS_SIDE))
                    .all()
            );
        }
    }
}
