//! Where the parts of a node lie: a pure function of what the node is and how its run stands. Drawing and picking both
//! use it, so what is seen is what is hit.

use super::instance::{Area, Shape};
use crate::project::{DataType, NodeKindName, PortId};
use bevy::math::Vec2;

/// Height of the kind's coloured top edge.
pub const EDGE: f32 = 3.0;
/// Height of the row with icon, title and state, the top edge included.
pub const HEADER: f32 = 32.0;
/// Height of the progress bar below it.
pub const PROGRESS: f32 = 3.0;
/// Height of the line that says what the node does.
pub const SUBTITLE: f32 = 22.0;
/// Height of an inline parameter.
pub const PARAMETER: f32 = 20.0;
/// Height of a port's row.
pub const PORT_ROW: f32 = 17.0;
/// Radius of a port.
pub const PORT_RADIUS: f32 = 4.5;
/// Space between the node's edge and its content.
pub const MARGIN: f32 = 10.0;
/// Space around the pictures.
pub const PICTURE_MARGIN: f32 = 8.0;
/// Space between pictures.
const PICTURE_GAP: f32 = 2.0;
/// Most pictures shown; one more turns the last into a count.
pub const PICTURES_MAX: usize = 8;
/// Inline parameters shown.
pub const PARAMETERS_MAX: usize = 3;
/// Narrowest node.
pub const WIDTH_MIN: f32 = 120.0;
/// Widest node.
pub const WIDTH_MAX: f32 = 1200.0;

/// Left or right side of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Inputs.
    Left,
    /// Outputs.
    Right,
}

/// A port as the canvas knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct PortLine {
    /// Its identity.
    pub id: PortId,
    /// The name beside it.
    pub name: String,
    /// What it carries.
    pub data_type: DataType,
    /// Whether it takes any number of links.
    pub takes_many: bool,
}

/// What decides the size of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct LayoutInput<'a> {
    /// Its kind.
    pub kind: NodeKindName,
    /// Its width as saved.
    pub width: f32,
    /// Whether a line below the title says what it does.
    pub has_subtitle: bool,
    /// How many parameters are shown on it.
    pub parameters: usize,
    /// Width divided by height of each picture on it.
    pub picture_aspects: &'a [f32],
    /// How many pictures there are in all.
    pub picture_count: u32,
    /// Inputs, top to bottom.
    pub inputs: &'a [PortLine],
    /// Outputs, top to bottom.
    pub outputs: &'a [PortLine],
}

/// Where a port lies on its node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PortSpot {
    /// Its identity.
    pub id: PortId,
    /// What it carries.
    pub data_type: DataType,
    /// Inputs left, outputs right.
    pub side: Side,
    /// Its index among the ports of its side.
    pub index: usize,
    /// Its middle.
    pub center: Vec2,
}

/// Where the parts of a node lie, relative to its top left corner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeLayout {
    /// Width and height of the node.
    pub size: Vec2,
    /// Top of the line that says what it does.
    pub subtitle_top: Option<f32>,
    /// Top of each inline parameter.
    pub parameter_tops: Vec<f32>,
    /// Where the pictures go.
    pub pictures: Vec<Area>,
    /// How many pictures are not shown: the last place then holds a count.
    pub hidden_pictures: u32,
    /// Inputs and outputs.
    pub ports: Vec<PortSpot>,
}

impl NodeLayout {
    /// The port with this identity.
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&PortSpot> {
        self.ports.iter().find(|spot| spot.id == id)
    }
}

/// The outline that tells the class of a type without its colour.
#[must_use]
pub fn port_shape(data_type: DataType) -> Shape {
    match data_type {
        DataType::Image | DataType::Mask | DataType::Video | DataType::Audio | DataType::Latent => {
            Shape::Circle
        }
        DataType::Text | DataType::Json | DataType::File => Shape::Square,
        DataType::Integer | DataType::Number => Shape::Diamond,
        DataType::Boolean | DataType::Trigger => Shape::Triangle,
        DataType::Any => Shape::Ring,
    }
}

/// Lays a node out.
#[must_use]
pub fn layout(input: &LayoutInput<'_>) -> NodeLayout {
    #[expect(
        clippy::manual_clamp,
        reason = "widths come from files; NaN becomes the narrowest, and `clamp` would keep it"
    )]
    let width = input.width.max(WIDTH_MIN).min(WIDTH_MAX);
    let mut out = NodeLayout::default();
    let mut top = HEADER + PROGRESS;
    if input.has_subtitle {
        out.subtitle_top = Some(top);
        top += SUBTITLE;
    }
    for _ in 0..input.parameters.min(PARAMETERS_MAX) {
        out.parameter_tops.push(top);
        top += PARAMETER;
    }
    if let Some((places, height)) = pictures(input, width) {
        top += 4.0;
        out.pictures = places
            .into_iter()
            .map(|place| place.moved(Vec2::new(PICTURE_MARGIN, top)))
            .collect();
        out.hidden_pictures = hidden_pictures(input.picture_count);
        top += height + PICTURE_MARGIN;
    } else {
        top += 4.0;
    }
    for (side, lines) in [(Side::Left, input.inputs), (Side::Right, input.outputs)] {
        for (index, line) in lines.iter().enumerate() {
            out.ports.push(PortSpot {
                id: line.id,
                data_type: line.data_type,
                side,
                index,
                center: Vec2::new(
                    match side {
                        Side::Left => 0.0,
                        Side::Right => width,
                    },
                    top + PORT_ROW * 0.5,
                ),
            });
            top += PORT_ROW;
        }
    }
    out.size = Vec2::new(width, (top + 7.0).round());
    out
}

/// How many pictures the count in the last place stands for.
fn hidden_pictures(count: u32) -> u32 {
    let max = PICTURES_MAX as u32;
    if count > max { count - (max - 1) } else { 0 }
}

/// How many pictures each row holds, so that no place in the block stays empty. Three are laid out by themselves.
fn picture_rows(shown: usize) -> &'static [usize] {
    match shown {
        0 => &[],
        1 => &[1],
        2 => &[2],
        3 => &[3],
        4 => &[2, 2],
        5 => &[2, 3],
        6 => &[3, 3],
        7 => &[3, 4],
        _ => &[4, 4],
    }
}

/// The places of the pictures and the height of all: rows that fill the whole width, or one large picture with two small
/// ones beside it.
fn pictures(input: &LayoutInput<'_>, width: f32) -> Option<(Vec<Area>, f32)> {
    let shown = input.picture_aspects.len().min(PICTURES_MAX);
    if shown == 0 {
        return None;
    }
    let aspect = input
        .picture_aspects
        .first()
        .copied()
        .filter(|aspect| aspect.is_finite() && *aspect > 0.0)
        .unwrap_or(1.0)
        .clamp(0.4, 3.2);
    let full = width - 2.0 * PICTURE_MARGIN;
    // Tall pictures are cropped rather than making the node a tower.
    let height_of =
        |cell_width: f32, tallest: f32| (cell_width / aspect).min(cell_width * tallest).round();
    if shown == 3 {
        // Twice the side of the two others and as high as both, so all three keep the proportions.
        let large = ((full - PICTURE_GAP) * 2.0 / 3.0).round();
        let small = full - PICTURE_GAP - large;
        let height = height_of(large, 1.0);
        let half = (height - PICTURE_GAP) / 2.0;
        let (right, below) = (large + PICTURE_GAP, half + PICTURE_GAP);
        let places = vec![
            Area::at(Vec2::ZERO, Vec2::new(large, height)),
            Area::at(Vec2::new(right, 0.0), Vec2::new(small, half)),
            Area::at(Vec2::new(right, below), Vec2::new(small, half)),
        ];
        return Some((places, height));
    }
    let mut places = Vec::with_capacity(shown);
    let mut top = 0.0;
    for &columns in picture_rows(shown) {
        let cell_width = (full - PICTURE_GAP * (columns - 1) as f32) / columns as f32;
        let cell_height = height_of(cell_width, if shown == 1 { 0.86 } else { 1.0 });
        for column in 0..columns {
            places.push(Area::at(
                Vec2::new(column as f32 * (cell_width + PICTURE_GAP), top),
                Vec2::new(cell_width, cell_height),
            ));
        }
        top += cell_height + PICTURE_GAP;
    }
    Some((places, top - PICTURE_GAP))
}

/// The part of a picture (0 to 1) that fills `place` without distortion: the middle.
#[must_use]
pub fn crop(place: Area, aspect: f32) -> [f32; 4] {
    let size = place.size();
    let wanted = size.x / size.y.max(1.0);
    let aspect = if aspect.is_finite() && aspect > 0.0 {
        aspect
    } else {
        1.0
    };
    if aspect > wanted {
        let share = wanted / aspect;
        [0.5 - share * 0.5, 0.0, 0.5 + share * 0.5, 1.0]
    } else {
        let share = aspect / wanted;
        [0.0, 0.5 - share * 0.5, 1.0, 0.5 + share * 0.5]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn line(number: u128, data_type: DataType) -> PortLine {
        PortLine {
            id: PortId::from_uuid(Uuid::from_u128(number)),
            name: format!("port {number}"),
            data_type,
            takes_many: false,
        }
    }

    fn laid_out(aspects: &[f32], count: u32, parameters: usize) -> NodeLayout {
        layout(&LayoutInput {
            kind: NodeKindName::Workflow,
            width: 220.0,
            has_subtitle: true,
            parameters,
            picture_aspects: aspects,
            picture_count: count,
            inputs: &[line(1, DataType::Integer), line(2, DataType::Text)],
            outputs: &[line(3, DataType::Image)],
        })
    }

    #[test]
    fn nothing_overlaps_and_everything_lies_inside() {
        for shown in 0..12 {
            for parameters in 0..5 {
                let aspects = vec![1.46; shown];
                let layout = laid_out(&aspects, shown as u32, parameters);
                let node = Area::at(Vec2::ZERO, layout.size);
                let mut bottom = HEADER + PROGRESS;
                if let Some(top) = layout.subtitle_top {
                    assert!(top >= bottom);
                    bottom = top + SUBTITLE;
                }
                for &top in &layout.parameter_tops {
                    assert!(top >= bottom);
                    bottom = top + PARAMETER;
                }
                for (at, place) in layout.pictures.iter().enumerate() {
                    assert!(node.encloses(*place), "{place:?} outside {node:?}");
                    assert!(place.min.y >= bottom);
                    for other in &layout.pictures[..at] {
                        assert!(
                            place.min.x >= other.max.x || place.min.y >= other.max.y,
                            "{place:?} over {other:?}"
                        );
                    }
                }
                let below = layout
                    .pictures
                    .iter()
                    .fold(bottom, |low, place| low.max(place.max.y));
                let mut last = below;
                for spot in &layout.ports {
                    assert!(spot.center.y - PORT_RADIUS >= last - 0.01);
                    last = spot.center.y + PORT_RADIUS;
                    assert!(node.contains(spot.center));
                }
            }
        }
    }

    #[test]
    fn the_count_says_how_many_pictures_are_not_seen() {
        let eight = laid_out(&[1.0; 8], 8, 0);
        assert_eq!((eight.pictures.len(), eight.hidden_pictures), (8, 0));
        let many = laid_out(&[1.0; 8], 19, 0);
        // Seven are seen, the eighth place says +12.
        assert_eq!((many.pictures.len(), many.hidden_pictures), (8, 12));
    }

    #[test]
    fn pictures_fill_their_block_without_a_hole() {
        for shown in 1..=PICTURES_MAX {
            let layout = laid_out(&vec![1.46; shown], shown as u32, 0);
            assert_eq!(layout.pictures.len(), shown);
            let block = layout
                .pictures
                .iter()
                .copied()
                .reduce(Area::joined)
                .unwrap();
            let covered: f32 = layout
                .pictures
                .iter()
                .map(|place| place.size().x * place.size().y)
                .sum();
            let share = covered / (block.size().x * block.size().y);
            assert!(share > 0.94, "{shown} pictures fill {share} of their block");
        }
    }

    #[test]
    fn wild_widths_and_aspects_do_no_harm() {
        for width in [f32::NAN, f32::INFINITY, -5.0, 1e30] {
            let layout = layout(&LayoutInput {
                kind: NodeKindName::Input,
                width,
                has_subtitle: false,
                parameters: 0,
                picture_aspects: &[f32::NAN, 0.0],
                picture_count: 2,
                inputs: &[],
                outputs: &[],
            });
            assert!(layout.size.is_finite());
            assert!(layout.size.x >= WIDTH_MIN && layout.size.x <= WIDTH_MAX);
        }
    }

    #[test]
    fn a_crop_keeps_the_proportions() {
        let place = Area::at(Vec2::ZERO, Vec2::new(100.0, 50.0));
        for aspect in [0.5_f32, 1.0, 2.0, 3.0] {
            let [u0, v0, u1, v1] = crop(place, aspect);
            let shown = (u1 - u0) * aspect / (v1 - v0);
            assert!((shown - 2.0).abs() < 1e-4);
        }
    }
}
