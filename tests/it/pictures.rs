//! The canvas as it is drawn: known projects in known states, compared with pictures under `tests/pictures`.
//!
//! Drawn by whatever Vulkan driver there is, so the comparison is by tiles and tolerant: other drivers smooth edges a little
//! differently. `RENEW_PICTURES=1` writes the pictures anew; look at them before they are committed.

use crate::needed::skip_without;
use comfyui_orchestrator::app::canvas::snapshot::{Snapshot, SnapshotError, render};
use comfyui_orchestrator::app::model::{NodePicture, NodeRun, NodeState};
use comfyui_orchestrator::app::previews::{PictureKey, PictureSource};
use comfyui_orchestrator::app::theme::ThemeMode;
use comfyui_orchestrator::project::{Links, NodeId, Project, read_portable_form};
use image::{Rgba, RgbaImage};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Side of a tile in pixels.
const TILE: u32 = 16;
/// Mean difference of a tile, in steps of 255, from which it counts as different. A link alone makes about 15.
const TILE_DIFFERENCE: f64 = 6.0;
/// Share of different tiles that is still the same picture.
const TILES_SHARE: f64 = 0.005;

/// What was found.
struct Comparison {
    /// Share of different tiles.
    share: f64,
    /// Different tiles in red over a faint copy.
    diff: RgbaImage,
}

fn compare(actual: &RgbaImage, wanted: &RgbaImage) -> Comparison {
    assert_eq!(actual.dimensions(), wanted.dimensions());
    let (width, height) = actual.dimensions();
    let mut diff = actual.clone();
    for pixel in diff.pixels_mut() {
        pixel.0 = pixel.0.map(|channel| channel / 3);
        pixel.0[3] = 255;
    }
    let (mut tiles, mut different) = (0_u32, 0_u32);
    for top in (0..height).step_by(TILE as usize) {
        for left in (0..width).step_by(TILE as usize) {
            let (mut sum, mut count) = (0.0, 0.0);
            let inside = || {
                (top..(top + TILE).min(height))
                    .flat_map(move |y| (left..(left + TILE).min(width)).map(move |x| (x, y)))
            };
            for (x, y) in inside() {
                let (a, b) = (actual.get_pixel(x, y).0, wanted.get_pixel(x, y).0);
                for channel in 0..3 {
                    sum += f64::from(a[channel].abs_diff(b[channel]));
                    count += 1.0;
                }
            }
            tiles += 1;
            if sum / count > TILE_DIFFERENCE {
                different += 1;
                for (x, y) in inside() {
                    diff.get_pixel_mut(x, y).0[0] = 255;
                }
            }
        }
    }
    Comparison {
        share: f64::from(different) / f64::from(tiles),
        diff,
    }
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pictures")
        .join(format!("{name}.png"))
}

/// Compares with the committed picture. Gives a sentence when it is another one, with the folder where it can be seen.
fn check(name: &str, actual: &RgbaImage) -> Result<(), String> {
    let path = reference(name);
    if std::env::var_os("RENEW_PICTURES").is_some() {
        actual.save(&path).unwrap();
        println!("wrote {}", path.display());
        return Ok(());
    }
    let wanted = image::open(&path).unwrap().into_rgba8();
    let found = compare(actual, &wanted);
    if found.share <= TILES_SHARE {
        return Ok(());
    }
    let folder = std::env::temp_dir().join("comfyui-orchestrator-pictures");
    std::fs::create_dir_all(&folder).unwrap();
    actual
        .save(folder.join(format!("{name}.actual.png")))
        .unwrap();
    found
        .diff
        .save(folder.join(format!("{name}.diff.png")))
        .unwrap();
    Err(format!(
        "{name}: {:.1} % of the tiles differ; look at {}",
        found.share * 100.0,
        folder.display()
    ))
}

/// A small picture with a gradient; each number has a hue of its own.
fn painted(number: u8) -> NodePicture {
    let picture = RgbaImage::from_fn(48, 32, |x, y| {
        let (x, y) = (x as u8, y as u8);
        Rgba([x * 5, y * 7, number.wrapping_mul(61), 255])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    NodePicture {
        key: PictureKey::Live(NodeId::from_uuid(uuid::Uuid::from_u128(number.into())), 1),
        source: PictureSource::Bytes(bytes.into_inner().into()),
        aspect: Some(1.5),
    }
}

/// Every state of a node somewhere, with one to eight pictures.
fn states(project: &Project) -> BTreeMap<NodeId, NodeRun> {
    let all = [
        NodeState::Done,
        NodeState::Running,
        NodeState::Waiting,
        NodeState::Failed,
        NodeState::Blocked,
        NodeState::Skipped,
        NodeState::Cancelled,
    ];
    project
        .nodes
        .keys()
        .enumerate()
        .map(|(at, node)| {
            let state = all[at % all.len()];
            let failed = u32::from(state == NodeState::Failed);
            let pictures: Vec<NodePicture> = (0..at)
                .map(|number| painted((at * 8 + number) as u8))
                .collect();
            let run = NodeRun {
                state,
                done: 5,
                total: 12,
                failed,
                fraction: Some(5.0 / 12.0),
                activity: "KSampler 7/20".to_owned(),
                place: "studio-a".to_owned(),
                picture_count: pictures.len() as u32,
                pictures,
                ..NodeRun::default()
            };
            (*node, run)
        })
        .collect()
}

fn harbour() -> Project {
    let scene = include_str!("../../scenes/harbour-at-dusk.orchestrator.json");
    read_portable_form(scene.as_bytes()).unwrap()
}

/// The nodes around the condition, near enough to read.
fn detail() -> Project {
    let mut project = harbour();
    let wanted = ["Bright enough?", "Soft glow", "Contact sheet"];
    project
        .nodes
        .retain(|_, node| wanted.contains(&&*node.title));
    project.frames.clear();
    let mut links = Links::default();
    for link in project.links.values() {
        let is_inside = [link.from.node, link.to.node]
            .iter()
            .all(|node| project.nodes.contains_key(node));
        if is_inside {
            links.insert(*link);
        }
    }
    project.links = links;
    project
}

#[test]
fn the_canvas_looks_as_it_did() {
    let snapshot = |project: Project, runs, theme, size_px| Snapshot {
        project,
        runs,
        theme,
        size_px,
        scale_factor: 1.0,
    };
    let running = states(&harbour());
    let cases = [
        (
            "idle-dark",
            snapshot(harbour(), BTreeMap::new(), ThemeMode::Dark, [880, 400]),
        ),
        (
            "running-light",
            snapshot(harbour(), running, ThemeMode::Light, [880, 400]),
        ),
        (
            "detail-dark",
            snapshot(detail(), states(&detail()), ThemeMode::Dark, [880, 480]),
        ),
    ];
    let mut wrong = Vec::new();
    for (name, snapshot) in cases {
        match render(snapshot) {
            Ok(picture) => wrong.extend(check(name, &picture).err()),
            Err(SnapshotError::NoAdapter) => {
                skip_without("Vulkan driver");
                return;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The comparison sees what matters: without its links the picture is another one.
    let mut unlinked = harbour();
    unlinked.links = Links::default();
    let picture = render(snapshot(
        unlinked,
        BTreeMap::new(),
        ThemeMode::Dark,
        [880, 400],
    ))
    .unwrap();
    let wanted = image::open(reference("idle-dark")).unwrap().into_rgba8();
    let share = compare(&picture, &wanted).share;
    assert!(
        share > 3.0 * TILES_SHARE,
        "missing links change {share} of the tiles"
    );
}
