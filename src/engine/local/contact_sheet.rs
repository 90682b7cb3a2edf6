//! The contact sheet of a merged list: every picture with its labels, on one PNG.

use super::failure;
use super::text::{Pen, Weight, mixed};
use crate::artifacts::{Artifact, ArtifactStore};
use crate::engine::failure::Failure;
use crate::engine::value::{Labels, ListElement};
use crate::media::{decode_file, thumbnail};
use crate::project::ContactSheet;
use image::codecs::png::PngEncoder;
use image::{Rgb, RgbImage, RgbaImage};
use std::sync::Arc;

/// Pictures on one sheet. Of a longer list the first are drawn, and the title says so.
const MAX_CELLS: usize = 2000;

/// Longest side of a sheet in pixels; cells shrink to stay within.
const MAX_SHEET_SIDE_PX: u32 = 12_000;

/// Smallest and largest cell that can be asked for, as [`ContactSheet::cell_px`] says.
const CELL_PX: std::ops::RangeInclusive<u32> = 32..=1024;

/// Narrowest side of a cell in relation to its longer one: a very long picture gets bars rather than a sliver.
const MIN_ASPECT: f32 = 0.4;

/// A readable title needs this much, whatever the pictures.
const MIN_SHEET_WIDTH_PX: u32 = 320;

/// Between two facts on one line.
const SEPARATOR: &str = "  ·  ";

// Surfaces and text of the program's dark theme.
const BACKGROUND: Rgb<u8> = Rgb([0x0f, 0x11, 0x15]);
const CELL: Rgb<u8> = Rgb([0x1b, 0x1f, 0x27]);
const TEXT: Rgb<u8> = Rgb([0xe6, 0xe9, 0xef]);
const TEXT_DIM: Rgb<u8> = Rgb([0x98, 0xa1, 0xb2]);

/// One picture of the sheet.
struct Cell {
    artifact: Arc<Artifact>,
    labels: Labels,
}

/// Draws the sheet and gives it as a PNG file. Labels that all pictures share stand in the title, the others below each.
pub(super) fn draw(
    sheet: ContactSheet,
    title: &str,
    elements: &[ListElement],
    artifacts: &ArtifactStore,
) -> Result<Vec<u8>, Failure> {
    let mut cells: Vec<Cell> = elements
        .iter()
        .flat_map(|element| {
            element.value.artifacts().into_iter().map(|artifact| Cell {
                artifact,
                labels: element.labels.clone(),
            })
        })
        .collect();
    let total = cells.len();
    if total == 0 {
        return Err(failure(
            "There is no picture in the list, so no contact sheet can be drawn; unlink the contact sheet or merge pictures",
        ));
    }
    cells.truncate(MAX_CELLS);
    let shared = shared_labels(&cells);
    let mut facts = vec![match total {
        1 => "1 picture".to_owned(),
        _ if total > cells.len() => format!("{total} pictures, the first {MAX_CELLS} shown"),
        _ => format!("{total} pictures"),
    }];
    facts.extend(shared.iter().map(|(axis, value)| format!("{axis} {value}")));
    let subtitle = facts.join(SEPARATOR);
    let captions: Vec<String> = cells.iter().map(|cell| caption(cell, &shared)).collect();
    let has_captions = captions.iter().any(|caption| !caption.is_empty());
    let layout = Layout::new(sheet, &cells, has_captions);

    let font = |error| failure(format!("A font of the program is damaged ({error})"));
    let label_pen = Pen::new(Weight::Regular, layout.label_size_px).map_err(font)?;
    let title_pen = Pen::new(Weight::SemiBold, layout.title_size_px).map_err(font)?;
    let subtitle_pen = Pen::new(Weight::Regular, layout.subtitle_size_px).map_err(font)?;

    let mut picture = RgbImage::from_pixel(layout.width_px, layout.height_px, BACKGROUND);
    let margin_px = layout.margin_px as f32;
    let text_width_px = (layout.width_px - 2 * layout.margin_px) as f32;
    title_pen.draw(
        &mut picture,
        &title_pen.fitted(title, text_width_px),
        margin_px,
        margin_px,
        TEXT,
    );
    subtitle_pen.draw(
        &mut picture,
        &subtitle_pen.fitted(&subtitle, text_width_px),
        margin_px,
        margin_px + title_pen.line_height_px() * 1.05,
        TEXT_DIM,
    );
    for ((cell, caption), number) in cells.iter().zip(&captions).zip(0_u32..) {
        let (x_px, y_px) = layout.corner_of(number);
        let thumbnail = decode_file(&artifacts.path(&cell.artifact))
            .map(|decoded| thumbnail(&decoded, layout.cell_width_px.max(layout.cell_height_px)));
        match thumbnail {
            Ok(thumbnail) => {
                let thumbnail = fit(thumbnail.into_rgba8(), &layout);
                paint(&mut picture, x_px, y_px, &layout, Some(&thumbnail));
            }
            // Videos and files that cannot be decoded keep their place in the grid.
            Err(_undecodable) => {
                paint(&mut picture, x_px, y_px, &layout, None);
                let words = label_pen.fitted(
                    &format!("{} file", cell.artifact.extension),
                    layout.cell_width_px as f32,
                );
                let left_px =
                    x_px as f32 + (layout.cell_width_px as f32 - label_pen.width_px(&words)) / 2.0;
                let top_px =
                    y_px as f32 + (layout.cell_height_px as f32 - label_pen.line_height_px()) / 2.0;
                label_pen.draw(&mut picture, &words, left_px, top_px, TEXT_DIM);
            }
        }
        label_pen.draw(
            &mut picture,
            &label_pen.fitted(caption, layout.cell_width_px as f32),
            x_px as f32,
            (y_px + layout.cell_height_px) as f32 + layout.label_size_px * 0.35,
            TEXT,
        );
    }
    let mut png = Vec::new();
    picture
        .write_with_encoder(PngEncoder::new(&mut png))
        .map_err(|error| failure(format!("The contact sheet cannot be encoded ({error})")))?;
    Ok(png)
}

/// Where everything lies, in pixels.
struct Layout {
    columns: u32,
    cell_width_px: u32,
    cell_height_px: u32,
    gap_px: u32,
    margin_px: u32,
    caption_px: u32,
    header_px: u32,
    radius_px: f32,
    label_size_px: f32,
    title_size_px: f32,
    subtitle_size_px: f32,
    width_px: u32,
    height_px: u32,
}

impl Layout {
    fn new(sheet: ContactSheet, cells: &[Cell], has_captions: bool) -> Self {
        let count = cells.len().max(1) as u32;
        // The widest and the highest picture, their longer sides being 1, decide the form of all cells.
        let (mut aspect_width, mut aspect_height) = (MIN_ASPECT, MIN_ASPECT);
        for cell in cells {
            let measures = cell.artifact.measures;
            let (width, height) = match (measures.width_px, measures.height_px) {
                (Some(width), Some(height)) if width > 0 && height > 0 => {
                    (width as f32, height as f32)
                }
                _ => (1.0, 1.0),
            };
            let longer = width.max(height);
            aspect_width = aspect_width.max(width / longer);
            aspect_height = aspect_height.max(height / longer);
        }
        let mut columns = match sheet.columns {
            // As many as make the sheet about square.
            0 => {
                ((count as f32 * aspect_height / aspect_width).sqrt().ceil() as u32).clamp(1, count)
            }
            columns => columns.min(count),
        };
        let mut longer_px = sheet.cell_px.clamp(*CELL_PX.start(), *CELL_PX.end());
        loop {
            let layout = Self::with(
                columns,
                count,
                longer_px,
                (aspect_width, aspect_height),
                has_captions,
            );
            let is_small =
                layout.width_px <= MAX_SHEET_SIDE_PX && layout.height_px <= MAX_SHEET_SIDE_PX;
            if is_small {
                return layout;
            }
            // First smaller pictures; when they are as small as may be, other columns than were asked for. At that size all
            // cells fit into a square sheet, so one of the two always helps.
            if longer_px > *CELL_PX.start() {
                longer_px = (longer_px * 9 / 10).max(*CELL_PX.start());
            } else if layout.height_px > MAX_SHEET_SIDE_PX && columns < count {
                columns = (columns * 2).min(count);
            } else if columns > 1 {
                columns = columns.div_ceil(2);
            } else {
                return layout;
            }
        }
    }

    fn with(
        columns: u32,
        count: u32,
        longer_px: u32,
        (aspect_width, aspect_height): (f32, f32),
        has_captions: bool,
    ) -> Self {
        let longer = longer_px as f32;
        let side = |aspect: f32| ((longer * aspect).round() as u32).max(1);
        let label_size_px = (longer * 0.055).clamp(11.0, 26.0);
        let title_size_px = label_size_px * 1.7;
        let subtitle_size_px = label_size_px * 1.05;
        let gap_px = ((longer * 0.05) as u32).clamp(6, 32);
        let margin_px = gap_px * 2;
        let caption_px = if has_captions {
            (label_size_px * 1.6) as u32
        } else {
            0
        };
        let header_px = (title_size_px * 1.25 + subtitle_size_px * 1.25) as u32 + gap_px * 3 / 2;
        let rows = count.div_ceil(columns.max(1));
        let (cell_width_px, cell_height_px) = (side(aspect_width), side(aspect_height));
        // Saturating: a thousand rows of the largest cells are too large, not negative.
        let along = |cells: u32, cell_px: u32| {
            cells
                .saturating_mul(cell_px.saturating_add(gap_px))
                .saturating_add(2 * margin_px)
                .saturating_sub(gap_px)
        };
        Self {
            columns,
            cell_width_px,
            cell_height_px,
            gap_px,
            margin_px,
            caption_px,
            header_px,
            radius_px: (longer * 0.025).clamp(2.0, 14.0),
            label_size_px,
            title_size_px,
            subtitle_size_px,
            width_px: along(columns, cell_width_px).max(MIN_SHEET_WIDTH_PX),
            height_px: along(rows, cell_height_px + caption_px).saturating_add(header_px),
        }
    }

    /// Upper left corner of a cell.
    fn corner_of(&self, number: u32) -> (u32, u32) {
        let (row, column) = (number / self.columns, number % self.columns);
        (
            self.margin_px + column * (self.cell_width_px + self.gap_px),
            self.margin_px
                + self.header_px
                + row * (self.cell_height_px + self.caption_px + self.gap_px),
        )
    }
}

/// Labels that every picture has, with the same value.
fn shared_labels(cells: &[Cell]) -> Labels {
    let Some((first, others)) = cells.split_first() else {
        return Labels::new();
    };
    let mut shared = first.labels.clone();
    if others.is_empty() {
        // Of a single picture its labels are its own.
        return Labels::new();
    }
    for cell in others {
        shared.retain(|axis, value| cell.labels.get(axis) == Some(value));
    }
    shared
}

/// What stands below a picture: `seed 3  ·  style noir`.
fn caption(cell: &Cell, shared: &Labels) -> String {
    cell.labels
        .iter()
        .filter(|(axis, _value)| !shared.contains_key(*axis))
        .map(|(axis, value)| format!("{axis} {value}"))
        .collect::<Vec<_>>()
        .join(SEPARATOR)
}

/// The picture no larger than a cell.
fn fit(picture: RgbaImage, layout: &Layout) -> RgbaImage {
    let scale = (layout.cell_width_px as f32 / picture.width().max(1) as f32)
        .min(layout.cell_height_px as f32 / picture.height().max(1) as f32);
    if scale >= 1.0 {
        return picture;
    }
    let side = |px: u32| ((px as f32 * scale).round() as u32).max(1);
    image::imageops::thumbnail(&picture, side(picture.width()), side(picture.height()))
}

/// Paints a cell with rounded corners and the picture in its middle.
fn paint(
    sheet: &mut RgbImage,
    left_px: u32,
    top_px: u32,
    layout: &Layout,
    thumbnail: Option<&RgbaImage>,
) {
    let (width_px, height_px) = (layout.cell_width_px, layout.cell_height_px);
    let inset = thumbnail.map_or((0, 0), |thumbnail| {
        (
            width_px.saturating_sub(thumbnail.width()) / 2,
            height_px.saturating_sub(thumbnail.height()) / 2,
        )
    });
    for y in 0..height_px {
        for x in 0..width_px {
            let Some(pixel) = sheet.get_pixel_mut_checked(left_px + x, top_px + y) else {
                continue;
            };
            let inside = thumbnail.and_then(|thumbnail| {
                thumbnail.get_pixel_checked(x.checked_sub(inset.0)?, y.checked_sub(inset.1)?)
            });
            let color = match inside.map(|pixel| pixel.0) {
                Some([r, g, b, alpha]) => mixed(CELL, Rgb([r, g, b]), f32::from(alpha) / 255.0),
                None => CELL,
            };
            let coverage = corner_coverage(x, y, width_px, height_px, layout.radius_px);
            *pixel = mixed(*pixel, color, coverage);
        }
    }
}

/// How much of a pixel lies inside a rectangle with rounded corners, 0 to 1.
fn corner_coverage(x: u32, y: u32, width_px: u32, height_px: u32, radius_px: f32) -> f32 {
    let beyond = |position: u32, size: u32| {
        let center = position as f32 + 0.5;
        let size = size as f32;
        (radius_px - center)
            .max(center - (size - radius_px))
            .max(0.0)
    };
    let distance = beyond(x, width_px).hypot(beyond(y, height_px));
    (radius_px - distance + 0.5).clamp(0.0, 1.0)
}
