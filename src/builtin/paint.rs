//! Pictures from a seed and a few words: flowing colour, a harbour, northern lights, dunes.
//!
//! Only additions, products, quotients, roots and integer hashes are used, which IEEE 754 defines to the bit, so equal
//! seeds give equal pixels on every machine.

use std::ops::Range;

use super::picture::ImageBatch;

/// What is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Folded, glowing bands.
    Silk,
    /// Sky, sun, hills and their reflection in water.
    Harbour,
    /// Curtains of light over a dark ridge.
    Aurora,
    /// Ridges behind ridges.
    Dunes,
}

impl Scene {
    /// The choices of the node's `style` input.
    pub const NAMES: [&'static str; 4] = ["silk", "harbour", "aurora", "dunes"];

    /// From a choice; anything unknown is silk.
    pub fn parse(name: &str) -> Self {
        match name {
            "harbour" => Self::Harbour,
            "aurora" => Self::Aurora,
            "dunes" => Self::Dunes,
            _ => Self::Silk,
        }
    }
}

type Color = [f32; 3];

/// Five colours from deep shadow to light; the words and the seed turn their hues.
const PALETTES: [[Color; 5]; 6] = [
    // Dusk: violet night, copper, apricot.
    [
        [0.07, 0.06, 0.14],
        [0.28, 0.17, 0.36],
        [0.66, 0.30, 0.34],
        [0.95, 0.58, 0.36],
        [1.0, 0.88, 0.70],
    ],
    // Lagoon: ink, petrol, turquoise, sand.
    [
        [0.03, 0.07, 0.16],
        [0.05, 0.24, 0.40],
        [0.10, 0.52, 0.58],
        [0.55, 0.80, 0.68],
        [0.98, 0.93, 0.78],
    ],
    // Orchid: midnight, magenta, rose, cream.
    [
        [0.08, 0.04, 0.18],
        [0.40, 0.10, 0.48],
        [0.82, 0.24, 0.50],
        [0.98, 0.58, 0.56],
        [1.0, 0.90, 0.82],
    ],
    // Moss: forest, leaf, citron, milk.
    [
        [0.04, 0.09, 0.08],
        [0.10, 0.30, 0.20],
        [0.36, 0.56, 0.22],
        [0.80, 0.78, 0.34],
        [0.98, 0.95, 0.80],
    ],
    // Ember: coal, wine, flame, gold.
    [
        [0.06, 0.03, 0.05],
        [0.34, 0.06, 0.12],
        [0.80, 0.20, 0.10],
        [0.98, 0.60, 0.14],
        [1.0, 0.92, 0.62],
    ],
    // Ice: slate, steel, sky, frost.
    [
        [0.06, 0.09, 0.14],
        [0.18, 0.28, 0.44],
        [0.40, 0.56, 0.76],
        [0.70, 0.84, 0.94],
        [0.97, 0.99, 1.0],
    ],
];

/// What the words say of the weather; each 0…1.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    rain: f32,
    fog: f32,
    snow: f32,
    night: f32,
    warmth: f32,
}

/// A picture that can be painted at any size, row by row.
pub struct Painting {
    seed: u64,
    scene: Scene,
    detail: f32,
    palette: [Color; 5],
    weather: Weather,
    /// Where in the endless pattern this picture lies.
    origin: (f32, f32),
}

/// A well-mixed 64-bit hash (the finaliser of `SplitMix64`).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A hash of a lattice point as a number in 0…1.
fn lattice(seed: u32, x: i32, y: i32) -> f32 {
    let mut hash = (x as u32).wrapping_mul(0x8DA6_B343)
        ^ (y as u32).wrapping_mul(0xD816_3841)
        ^ seed.wrapping_mul(0xCB1A_B31F);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D);
    hash = (hash ^ (hash >> 12)).wrapping_mul(0x297A_2D39);
    hash ^= hash >> 15;
    (hash >> 8) as f32 / 16_777_216.0
}

/// Smooth noise in 0…1.
fn noise(seed: u32, x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (column, row) = (left as i32, top as i32);
    let ease = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let (across, down) = (ease(x - left), ease(y - top));
    let (right, below) = (column.wrapping_add(1), row.wrapping_add(1));
    let upper = blend(
        lattice(seed, column, row),
        lattice(seed, right, row),
        across,
    );
    let lower = blend(
        lattice(seed, column, below),
        lattice(seed, right, below),
        across,
    );
    blend(upper, lower, down)
}

/// Noise of several sizes on top of each other, in 0…1.
fn layered(seed: u32, x: f32, y: f32, layers: u32) -> f32 {
    let (mut sum, mut weight, mut scale, mut total) = (0.0, 0.5, 1.0, 0.0);
    for layer in 0..layers {
        sum += weight * noise(seed.wrapping_add(layer), x * scale, y * scale);
        total += weight;
        weight *= 0.5;
        scale *= 2.03;
    }
    sum / total
}

fn blend(from: f32, to: f32, amount: f32) -> f32 {
    from + (to - from) * amount
}

fn blend_color(from: Color, to: Color, amount: f32) -> Color {
    [0, 1, 2].map(|channel: usize| {
        let pick = |color: &Color| color.get(channel).copied().unwrap_or(0.0);
        blend(pick(&from), pick(&to), amount)
    })
}

/// 0 below `low`, 1 above `high`, smooth between.
fn smooth(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A wave between 0 and 1 with period 1, made of parabolas.
fn wave(value: f32) -> f32 {
    let t = value - value.floor();
    let t = if t < 0.5 { t * 2.0 } else { 2.0 - t * 2.0 };
    t * t * (3.0 - 2.0 * t)
}

impl Painting {
    /// The picture of a seed, some words, a scene, and how fine it is drawn (0…1).
    pub fn new(seed: u64, words: &str, scene: Scene, detail: f32) -> Self {
        let words = words.to_lowercase();
        let has = |list: &[&str]| f32::from(u8::from(list.iter().any(|word| words.contains(word))));
        let weather = Weather {
            rain: has(&["rain", "storm", "drizzle"]),
            fog: has(&["fog", "mist", "haze", "cloud"]),
            snow: has(&["snow", "winter", "frost"]),
            night: has(&["night", "midnight", "storm"]),
            warmth: has(&["dusk", "dawn", "sunset", "sunrise", "clear", "summer"]),
        };
        let from_words = blake3::hash(words.as_bytes());
        let from_words = from_words
            .as_bytes()
            .iter()
            .take(8)
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let mood = mix(seed ^ mix(from_words));
        let unit = |salt: u64| (mix(mood ^ salt) >> 40) as f32 / 16_777_216.0;
        let choose = |salt: u64| {
            let index = mix(mood ^ salt) as usize % PALETTES.len();
            PALETTES.get(index).copied().unwrap_or_default()
        };
        let (first, second, share) = (choose(1), choose(2), unit(3) * 0.7);
        let mut palette = [0, 1, 2, 3, 4].map(|step: usize| {
            let pick = |palette: &[Color; 5]| palette.get(step).copied().unwrap_or_default();
            blend_color(pick(&first), pick(&second), share)
        });
        let warm = [1.08, 0.98, 0.86];
        let dark = 1.0 - 0.35 * weather.night;
        for color in &mut palette {
            for (channel, tint) in color.iter_mut().zip(warm) {
                *channel *= blend(1.0, tint, weather.warmth) * dark;
            }
        }
        Self {
            seed: mood,
            scene,
            detail: detail.clamp(0.0, 1.0),
            palette,
            weather,
            origin: (unit(4) * 512.0, unit(5) * 512.0),
        }
    }

    /// Paints some rows of the first picture of a batch.
    pub fn paint_rows(&self, batch: &mut ImageBatch, rows: Range<usize>) {
        let (width, height) = (batch.width, batch.height);
        let scale = 1.0 / width.min(height) as f32;
        let wide = width as f32 * scale;
        let high = height as f32 * scale;
        for row in rows {
            let y = (row as f32 + 0.5) * scale;
            let Some(line) = batch
                .samples
                .get_mut(row * width * 3..(row + 1) * width * 3)
            else {
                return;
            };
            for (column, pixel) in line.chunks_exact_mut(3).enumerate() {
                let x = (column as f32 + 0.5) * scale;
                pixel.copy_from_slice(&self.color_at(x, y, wide, high));
            }
        }
    }

    /// The picture as it looks part of the way: noise that clears.
    pub fn unfinished(&self, picture: &ImageBatch, step: u32, steps: u32) -> ImageBatch {
        let done = step as f32 / steps.max(1) as f32;
        let clear = smooth(0.0, 1.0, done);
        let seed = (self.seed as u32).wrapping_add(step.wrapping_mul(7_919));
        let samples = picture
            .samples
            .iter()
            .enumerate()
            .map(|(index, sample)| {
                let grain = lattice(seed, index as i32, 0);
                blend(grain * 0.75 + 0.1, *sample, clear)
            })
            .collect();
        ImageBatch {
            samples,
            ..*picture
        }
    }

    fn salted(&self, salt: u64) -> u32 {
        mix(self.seed ^ (salt << 32)) as u32
    }

    /// A colour between the five of the palette.
    fn tone(&self, position: f32) -> Color {
        let position = position.clamp(0.0, 1.0) * 4.0;
        let index = (position as usize).min(3);
        match (self.palette.get(index), self.palette.get(index + 1)) {
            (Some(low), Some(high)) => blend_color(*low, *high, position - index as f32),
            _ => [0.0; 3],
        }
    }

    fn color_at(&self, x: f32, y: f32, wide: f32, high: f32) -> Color {
        let color = match self.scene {
            Scene::Silk => self.silk(x, y),
            Scene::Harbour => self.harbour(x, y, wide, high),
            Scene::Aurora => self.aurora(x, y, wide, high),
            Scene::Dunes => self.dunes(x, y, wide, high),
        };
        self.weathered(color, x, y, high)
            .map(|channel| channel.clamp(0.0, 1.0))
    }

    fn silk(&self, x: f32, y: f32) -> Color {
        let at = (x * 1.1 + self.origin.0, y * 1.1 + self.origin.1);
        let seed = self.salted(10);
        let warp_x = layered(seed, at.0, at.1, 2);
        let warp_y = layered(seed ^ 0x55, at.0 + 5.2, at.1 + 1.3, 2);
        let moved = (at.0 + 1.9 * warp_x, at.1 + 1.9 * warp_y);
        let flow = layered(seed ^ 0xAA, moved.0, moved.1, 3);
        let folds = wave(flow * 3.2 + warp_x * 1.4 + x * 0.25);
        let fine = noise(seed ^ 0x33, moved.0 * 9.0, moved.1 * 9.0) * 0.10 * self.detail;
        let light = 0.12 + 0.80 * folds * (0.45 + 0.75 * warp_y) + fine;
        let base = self.tone(light);
        // A second colour runs through the folds, so that no picture has one hue only.
        let other = self.tone(1.0 - light * 0.8);
        let turned = match other {
            [red, green, blue] => [blue, red * 0.8, green],
        };
        blend_color(base, turned, 0.55 * smooth(0.45, 0.75, warp_x))
    }

    /// The sky at a height (0 at the top, 1 at the horizon).
    fn sky(&self, x: f32, height: f32, sun: (f32, f32)) -> Color {
        let seed = self.salted(20);
        let stretched = layered(
            seed,
            x * 1.6 + self.origin.0,
            height * 5.0 + self.origin.1,
            3,
        );
        let clouds = smooth(0.42, 0.75, stretched);
        let base = self.tone(0.18 + 0.72 * height * height);
        let lit = self.tone(0.55 + 0.45 * height);
        let distance =
            ((x - sun.0) * (x - sun.0) + (height - sun.1) * (height - sun.1) * 0.6).sqrt();
        let glow = 1.0 / (1.0 + 14.0 * distance * distance);
        let disc = smooth(0.062, 0.052, distance);
        let sky = blend_color(base, lit, 0.55 * clouds);
        let sky = blend_color(sky, self.tone(0.92), 0.65 * glow);
        blend_color(sky, [1.0, 0.96, 0.86], disc)
    }

    fn harbour(&self, x: f32, y: f32, wide: f32, high: f32) -> Color {
        let horizon = 0.60 * high;
        let seed = self.salted(30);
        let unit = |salt: u64| (self.salted(salt) >> 8) as f32 / 16_777_216.0;
        let sun = (wide * (0.2 + 0.6 * unit(31)), 0.55 + 0.33 * unit(32));
        if y < horizon {
            return self.shore(x, y / horizon, sun, seed);
        }
        // Water: what is above, mirrored and shaken, with bright crests.
        let depth = (y - horizon) / (high - horizon);
        let near = 0.25 + depth;
        let ripple = layered(seed ^ 0x77, x * 5.0 / near, (y - horizon) * 46.0 / near, 3) - 0.5;
        let mirrored = (1.0 - depth * 0.85 + ripple * 0.16 * near).clamp(0.0, 1.0);
        let above = self.shore(x + ripple * 0.06 * near, mirrored, sun, seed);
        let water = blend_color(above, self.tone(0.06), 0.30 + 0.25 * depth);
        let path = 1.0 / (1.0 + 30.0 * (x - sun.0) * (x - sun.0) / (near * near));
        let crests = smooth(0.10, 0.30, ripple) * (0.20 + 0.8 * path);
        blend_color(water, self.tone(0.95), crests * 0.75)
    }

    /// Sky with hills and masts before it; `height` is 0 at the top and 1 at the water.
    fn shore(&self, x: f32, height: f32, sun: (f32, f32), seed: u32) -> Color {
        let mut color = self.sky(x, height, sun);
        for (layer, (top, rise)) in [(0.70, 0.16), (0.80, 0.13), (0.90, 0.10)]
            .into_iter()
            .enumerate()
        {
            let layer = layer as u32;
            let scale = 1.4 + layer as f32 * 0.9;
            let ridge = top
                - rise
                    * (layered(
                        seed ^ (layer + 1),
                        x * scale + self.origin.1,
                        0.5,
                        3 + (self.detail * 2.0) as u32,
                    ) - 0.35);
            let inside = smooth(ridge, ridge + 0.008, height);
            let shade = self.tone(0.34 - 0.12 * layer as f32);
            color = blend_color(color, shade, inside * (0.80 + 0.07 * layer as f32));
        }
        // Masts and cranes: thin dark uprights of different height, with a lamp on some.
        let cell = (x * 13.0).floor();
        let pick = lattice(seed ^ 0x99, cell as i32, 1);
        let middle = (cell + 0.2 + 0.6 * lattice(seed ^ 0x99, cell as i32, 2)) / 13.0;
        let top = 0.93 - 0.26 * pick;
        if pick > 0.45 && height > top {
            let mast = smooth(0.0036, 0.0018, (x - middle).abs());
            color = blend_color(color, self.tone(0.03), mast * 0.85);
        }
        if pick > 0.6 {
            let (across, along) = (x - middle, (height - top) * 0.6);
            let lamp = 1.0 / (1.0 + 9_000.0 * (across * across + along * along));
            color = blend_color(color, [1.0, 0.86, 0.58], lamp * 0.9);
        }
        color
    }

    fn aurora(&self, x: f32, y: f32, wide: f32, high: f32) -> Color {
        let seed = self.salted(40);
        let height = y / high;
        let mut color = blend_color([0.015, 0.02, 0.06], self.tone(0.22), height * 0.9);
        let star = lattice(seed ^ 0x5, (x * 260.0) as i32, (y * 260.0) as i32);
        let stars = smooth(0.9965, 1.0, star) * (1.0 - height);
        color = blend_color(color, [1.0; 3], stars);
        for curtain in 0..3_u32 {
            let salt = seed ^ (curtain * 0x1F + 7);
            let sway = layered(
                salt,
                x * 1.3 / wide.max(1.0) + self.origin.0,
                curtain as f32,
                3,
            );
            let foot = 0.30 + 0.17 * curtain as f32 + 0.34 * (sway - 0.5);
            let rays = layered(
                salt ^ 0x3,
                x * (7.0 + 9.0 * self.detail) + sway * 3.0,
                height * 0.7,
                3,
            );
            let below = smooth(foot + 0.035, foot, height);
            let above = smooth(foot - 0.42, foot, height);
            let strength = below * above * above * (0.25 + 1.1 * rays * rays);
            let tint = self.tone(0.55 + 0.42 * (foot - height) + 0.1 * curtain as f32);
            let tint = match tint {
                [red, green, blue] => [red * 0.65, green * 1.0 + 0.18, blue * 0.85 + 0.10],
            };
            color = blend_color(color, tint, strength.clamp(0.0, 0.92));
        }
        let ridge = 0.88 - 0.16 * (layered(seed ^ 0xF, x * 2.2 + self.origin.1, 0.2, 5) - 0.4);
        let land = smooth(ridge, ridge + 0.006, height);
        blend_color(color, [0.012, 0.016, 0.03], land)
    }

    fn dunes(&self, x: f32, y: f32, wide: f32, high: f32) -> Color {
        let seed = self.salted(50);
        let height = y / high;
        let sun = (wide * 0.7, 0.35);
        let mut color = self.sky(x, (height * 1.7).min(1.0), sun);
        for layer in 0..6_u32 {
            let depth = layer as f32 / 5.0;
            let salt = seed ^ (layer * 0x2B + 3);
            let scale = 0.8 + 1.5 * (1.0 - depth);
            let crest = 0.40 + 0.52 * depth
                - 0.19 * (layered(salt, x * scale + self.origin.0, depth * 9.0, 2) - 0.5);
            if height < crest {
                continue;
            }
            let slope = layered(salt ^ 0x9, x * scale * 1.7 + self.origin.1, height * 2.5, 2);
            let ripples =
                wave((height - crest) * (34.0 - 18.0 * depth) + slope * 2.2) * 0.10 * self.detail;
            let lit = smooth(0.30, 0.72, slope) * 0.42;
            let fall = smooth(0.0, 0.30, height - crest) * 0.22;
            let shade = self.tone(0.62 - 0.42 * depth + lit - fall + ripples);
            let rim = smooth(0.012, 0.0, height - crest) * 0.35;
            color = blend_color(shade, self.tone(0.97), rim);
        }
        color
    }

    fn weathered(&self, color: Color, x: f32, y: f32, high: f32) -> Color {
        let mut color = color;
        let seed = self.salted(60);
        if self.weather.fog > 0.0 {
            let veil = layered(seed, x * 1.2, y * 3.0, 3);
            let grey = blend_color(self.tone(0.7), [0.74, 0.77, 0.82], 0.6);
            color = blend_color(color, grey, 0.28 + 0.42 * veil);
        }
        if self.weather.rain > 0.0 {
            let slanted = x + y * 0.18;
            let streak = noise(seed ^ 0x1, slanted * 170.0, y * 5.0 + slanted * 31.0);
            color = blend_color(color, [0.82, 0.88, 0.96], smooth(0.78, 1.0, streak) * 0.5);
        }
        if self.weather.snow > 0.0 {
            for layer in 0..2_u32 {
                let scale = 26.0 + 22.0 * layer as f32;
                let (column, row) = ((x * scale).floor(), (y * scale).floor());
                let salt = seed ^ (layer + 0x20);
                let at = |which: i32| lattice(salt, column as i32 * 3 + which, row as i32);
                let across = x * scale - column - (0.2 + 0.6 * at(0));
                let down = y * scale - row - (0.2 + 0.6 * at(1));
                let size = 0.05 + 0.13 * at(2);
                let flake = smooth(size, size * 0.4, (across * across + down * down).sqrt());
                color = blend_color(color, [0.98, 0.99, 1.0], flake * 0.85);
            }
        }
        // A little darker towards top and bottom, as through a lens.
        let edge = (y / high - 0.5).abs() * 2.0;
        color.map(|channel| channel * (1.0 - 0.14 * edge * edge))
    }
}
