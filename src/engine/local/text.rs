//! Text on pictures, with the fonts of the program.

use ab_glyph::{Font as _, FontRef, GlyphId, InvalidFont, PxScale, ScaleFont as _, point};
use image::{Rgb, RgbImage};

static REGULAR: &[u8] = include_bytes!("../../../assets/fonts/Inter-Regular.ttf");
static SEMI_BOLD: &[u8] = include_bytes!("../../../assets/fonts/Inter-SemiBold.ttf");

/// How heavy text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// For labels.
    Regular,
    /// For titles.
    SemiBold,
}

/// Text of one weight and size.
#[derive(Debug)]
pub(super) struct Pen {
    font: FontRef<'static>,
    /// What the font calls its size: from the lowest to the highest line.
    scale: PxScale,
}

impl Pen {
    /// Text whose em is `size_px` pixels.
    pub(super) fn new(weight: Weight, size_px: f32) -> Result<Self, InvalidFont> {
        let font = FontRef::try_from_slice(match weight {
            Weight::Regular => REGULAR,
            Weight::SemiBold => SEMI_BOLD,
        })?;
        let units_per_em = font.units_per_em().unwrap_or(1000.0);
        let scale = PxScale::from(size_px * font.height_unscaled() / units_per_em);
        Ok(Self { font, scale })
    }

    /// Height of a line in pixels.
    pub(super) fn line_height_px(&self) -> f32 {
        self.font.as_scaled(self.scale).height()
    }

    /// Width of the text in pixels.
    pub(super) fn width_px(&self, text: &str) -> f32 {
        self.layout(text).1
    }

    /// The text, or as much of its beginning as fits with an ellipsis.
    pub(super) fn fitted(&self, text: &str, max_width_px: f32) -> String {
        // No line holds more than this many letters; the rest need not be measured.
        let mut letters: Vec<char> = text.chars().take(1000).collect();
        let mut fitted: String = letters.iter().collect();
        while self.width_px(&fitted) > max_width_px && !letters.is_empty() {
            letters.pop();
            fitted = letters.iter().collect::<String>().trim_end().to_owned() + "…";
        }
        fitted
    }

    /// Draws one line with its upper left corner at (`x_px`, `y_px`). What lies outside the picture is cut off.
    pub(super) fn draw(
        &self,
        picture: &mut RgbImage,
        text: &str,
        x_px: f32,
        y_px: f32,
        color: Rgb<u8>,
    ) {
        let baseline_px = y_px + self.font.as_scaled(self.scale).ascent();
        for (glyph, offset_px) in self.layout(text).0 {
            let glyph =
                glyph.with_scale_and_position(self.scale, point(x_px + offset_px, baseline_px));
            let Some(outline) = self.font.outline_glyph(glyph) else {
                continue;
            };
            let bounds = outline.px_bounds();
            outline.draw(|x, y, coverage| {
                let x = bounds.min.x as i64 + i64::from(x);
                let y = bounds.min.y as i64 + i64::from(y);
                if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
                    && let Some(pixel) = picture.get_pixel_mut_checked(x, y)
                {
                    *pixel = mixed(*pixel, color, coverage);
                }
            });
        }
    }

    /// Each glyph with its distance from the beginning, and the width of all.
    fn layout(&self, text: &str) -> (Vec<(GlyphId, f32)>, f32) {
        let font = self.font.as_scaled(self.scale);
        let mut glyphs = Vec::new();
        let mut width_px = 0.0;
        let mut previous = None;
        for letter in text.chars().filter(|letter| !letter.is_control()) {
            let glyph = font.glyph_id(letter);
            if let Some(previous) = previous {
                width_px += font.kern(previous, glyph);
            }
            glyphs.push((glyph, width_px));
            width_px += font.h_advance(glyph);
            previous = Some(glyph);
        }
        (glyphs, width_px)
    }
}

/// `over` laid on `under` with a coverage of 0 to 1.
pub(super) fn mixed(under: Rgb<u8>, over: Rgb<u8>, coverage: f32) -> Rgb<u8> {
    let coverage = coverage.clamp(0.0, 1.0);
    let Rgb([r0, g0, b0]) = under;
    let Rgb([r1, g1, b1]) = over;
    let mix = |one: u8, other: u8| {
        (f32::from(one) + (f32::from(other) - f32::from(one)) * coverage).round() as u8
    };
    Rgb([mix(r0, r1), mix(g0, g1), mix(b0, b1)])
}
