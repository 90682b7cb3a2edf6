//! The camera over the canvas: `bevy_pancam` moves it, the actions of the view animate it.
//!
//! The camera covers the whole window; the canvas is seen in the part of it that the panels leave free.

use super::gpu::CanvasCamera;
use super::instance::Area;
use crate::app::actions::Action;
use crate::app::document::{Document, Selection};
use crate::app::model::{EntityIndex, FrameCard, NodeBox, Places};
use crate::app::viewport::{CanvasView, CanvasViewport};
use bevy::input::mouse::{MouseScrollUnit, MouseWheel};
use bevy::prelude::*;
use bevy::window::{PrimaryWindow, RequestRedraw};
use bevy_pancam::{DirectionKeys, PanCam};

/// Smallest and largest zoom, logical pixels per canvas unit.
pub const ZOOM_RANGE: std::ops::RangeInclusive<f32> = 0.02..=4.0;
/// Zoom to fit never goes closer than this.
const FIT_MAX: f32 = 1.0;
/// Space left around what is fitted, logical pixels.
const FIT_MARGIN_PX: f32 = 48.0;
/// Length of the animation of zoom actions (look: 120-180 ms).
const ANIMATION_S: f32 = 0.15;
/// One step of the zoom keys.
const ZOOM_STEP: f32 = 1.25;
/// Logical pixels per line of a wheel, sideways.
const LINE_PX: f32 = 60.0;

/// How canvas units, logical pixels of the window and physical pixels of the target relate.
#[derive(Resource, Clone, Copy, Debug, PartialEq)]
pub struct ViewTransform {
    /// The point in the middle of the target, canvas units, y down.
    pub camera_world: Vec2,
    /// Logical pixels per canvas unit.
    pub zoom: f32,
    /// Physical pixels per logical pixel.
    pub scale_factor: f32,
    /// Size of the target in physical pixels.
    pub target_px: Vec2,
    /// The part in which the canvas is seen, logical pixels.
    pub rect_px: Rect,
}

impl Default for ViewTransform {
    fn default() -> Self {
        Self {
            camera_world: Vec2::ZERO,
            zoom: 1.0,
            scale_factor: 1.0,
            target_px: Vec2::new(1.0, 1.0),
            rect_px: Rect::new(0.0, 0.0, 1.0, 1.0),
        }
    }
}

impl ViewTransform {
    /// Physical pixels per canvas unit.
    #[must_use]
    pub fn px_per_world(&self) -> f32 {
        self.zoom * self.scale_factor
    }

    /// Where the canvas origin lies on the target, in whole physical pixels: text and lines then move by whole pixels.
    #[must_use]
    pub fn origin_px(&self) -> Vec2 {
        (self.target_px * 0.5 - self.camera_world * self.px_per_world()).round()
    }

    /// The canvas point under a logical pixel of the window.
    #[must_use]
    pub fn world_at(&self, at_px: Vec2) -> Vec2 {
        (at_px * self.scale_factor - self.origin_px()) / self.px_per_world()
    }

    /// The logical pixel of the window over a canvas point.
    #[must_use]
    pub fn px_of(&self, world: Vec2) -> Vec2 {
        (world * self.px_per_world() + self.origin_px()) / self.scale_factor
    }

    /// What can be seen.
    #[must_use]
    pub fn visible_world(&self) -> Area {
        Area::spanned(
            self.world_at(self.rect_px.min),
            self.world_at(self.rect_px.max),
        )
    }

    /// The part of the target that may be drawn on.
    #[must_use]
    pub fn scissor_px(&self) -> [u32; 4] {
        let low = (self.rect_px.min * self.scale_factor)
            .floor()
            .max(Vec2::ZERO);
        let high = (self.rect_px.max * self.scale_factor)
            .ceil()
            .min(self.target_px);
        let size = (high - low).max(Vec2::ZERO);
        [low.x as u32, low.y as u32, size.x as u32, size.y as u32]
    }

    /// The camera's point that puts `center` into the middle of the visible part at `zoom`.
    fn camera_for(&self, center: Vec2, zoom: f32) -> Vec2 {
        let target_middle = self.target_px / self.scale_factor * 0.5;
        center + (target_middle - self.rect_px.center()) / zoom
    }

    /// Whether there is a canvas to show anything on.
    fn has_size(&self) -> bool {
        self.rect_px.width() >= 32.0 && self.target_px.min_element() >= 32.0
    }

    /// Middle of the visible part and zoom that show `area` whole.
    fn fit(&self, area: Area) -> (Vec2, f32) {
        let room = (self.rect_px.size() - 2.0 * FIT_MARGIN_PX).max(Vec2::splat(64.0));
        let size = area.size().max(Vec2::ONE);
        let zoom = (room / size)
            .min_element()
            .min(FIT_MAX)
            .clamp(*ZOOM_RANGE.start(), *ZOOM_RANGE.end());
        (area.center(), zoom)
    }
}

/// A move of the camera that goes on by itself.
#[derive(Resource, Debug, Default)]
pub struct CameraFlight(Option<Flight>);

#[derive(Clone, Copy, Debug)]
struct Flight {
    from: (Vec2, f32),
    to: (Vec2, f32),
    elapsed_s: f32,
}

impl CameraFlight {
    /// Whether the camera moves by itself.
    #[must_use]
    pub fn is_flying(&self) -> bool {
        self.0.is_some()
    }
}

/// Spawns the camera of the window; egui draws on it too.
pub fn spawn_camera(mut commands: Commands) {
    commands.spawn((
        Camera2d,
        Msaa::Off,
        CanvasCamera,
        PanCam {
            grab_buttons: vec![MouseButton::Middle, MouseButton::Right],
            move_keys: DirectionKeys::NONE,
            min_scale: 1.0 / ZOOM_RANGE.end(),
            max_scale: 1.0 / ZOOM_RANGE.start(),
            enabled: false,
            ..default()
        },
    ));
}

/// Whether a pan that began over the canvas goes on.
#[derive(Debug, Default)]
pub struct Panning {
    active: bool,
    held_elsewhere: bool,
}

/// Decides whether wheel and buttons are for the camera, and turns the wheel into sideways moves where that is meant:
/// with Shift, and two fingers on a trackpad (which report pixels, not lines).
pub fn steer_pan_camera(
    viewport: Res<CanvasViewport>,
    windows: Query<&Window, With<PrimaryWindow>>,
    buttons: Res<ButtonInput<MouseButton>>,
    keys: Res<ButtonInput<KeyCode>>,
    mut wheel: MessageReader<MouseWheel>,
    mut panning: Local<Panning>,
    mut flight: ResMut<CameraFlight>,
    mut cameras: Query<(&mut PanCam, &mut Transform, &Projection), With<CanvasCamera>>,
) {
    let Ok((mut camera, mut transform, projection)) = cameras.single_mut() else {
        return;
    };
    let at_px = windows.single().ok().and_then(Window::cursor_position);
    let is_over = viewport.has_pointer(at_px);
    let space = keys.pressed(KeyCode::Space) && !viewport.keyboard_taken;
    let grabs: &[MouseButton] = if space {
        &[MouseButton::Middle, MouseButton::Right, MouseButton::Left]
    } else {
        &[MouseButton::Middle, MouseButton::Right]
    };
    let pressed = buttons.any_pressed(grabs.iter().copied());
    if buttons.any_just_pressed(grabs.iter().copied()) {
        panning.active = is_over;
        panning.held_elsewhere = !is_over;
    }
    if !pressed {
        *panning = Panning::default();
    }
    let enabled = panning.active || (is_over && !panning.held_elsewhere);
    if camera.enabled != enabled {
        camera.enabled = enabled;
    }
    if camera.grab_buttons.len() != grabs.len() {
        camera.grab_buttons = grabs.to_vec();
    }

    let control = keys.any_pressed([
        KeyCode::ControlLeft,
        KeyCode::ControlRight,
        KeyCode::SuperLeft,
        KeyCode::SuperRight,
    ]);
    let shift = keys.any_pressed([KeyCode::ShiftLeft, KeyCode::ShiftRight]);
    let mut slide = Vec2::ZERO;
    let mut zooms = false;
    for event in wheel.read() {
        let delta = Vec2::new(event.x, event.y);
        match event.unit {
            MouseScrollUnit::Line if shift && !control => {
                slide += Vec2::new(delta.x + delta.y, 0.0) * LINE_PX;
            }
            MouseScrollUnit::Pixel if !control => {
                slide += if shift {
                    Vec2::new(delta.x + delta.y, 0.0)
                } else {
                    delta
                };
            }
            MouseScrollUnit::Line | MouseScrollUnit::Pixel => zooms = true,
        }
    }
    let sensitivity = if zooms || slide == Vec2::ZERO {
        1.0
    } else {
        0.0
    };
    if camera.mouse_wheel_sensitivity.to_bits() != f32::to_bits(sensitivity) {
        camera.mouse_wheel_sensitivity = sensitivity;
    }
    if is_over
        && slide != Vec2::ZERO
        && let Projection::Orthographic(orthographic) = projection
    {
        transform.translation.x -= slide.x * orthographic.scale;
        transform.translation.y += slide.y * orthographic.scale;
    }
    if enabled && (pressed || zooms || slide != Vec2::ZERO) {
        // A hand on the wheel ends the flight.
        flight.0 = None;
    }
}

/// The view that shows everything, for as long as nobody moves it; none when somebody did.
#[derive(Resource, Clone, Copy, Debug, Default)]
pub struct FittedView(Option<Fitted>);

#[derive(Clone, Copy, Debug)]
struct Fitted {
    center: Vec2,
    zoom: f32,
    /// Where the camera is; none while it flies there.
    camera_world: Option<Vec2>,
    rect_px: Rect,
    area: Area,
    revision: u64,
}

impl Fitted {
    /// The camera is on its way.
    fn flying(view: &ViewTransform, area: Area, revision: u64) -> Self {
        let (center, zoom) = view.fit(area);
        Self {
            center,
            zoom,
            camera_world: None,
            rect_px: view.rect_px,
            area,
            revision,
        }
    }

    /// The camera is there at once.
    fn placed(view: &ViewTransform, area: Area, revision: u64) -> Self {
        let fitted = Self::flying(view, area, revision);
        Self {
            camera_world: Some(view.camera_for(fitted.center, fitted.zoom)),
            ..fitted
        }
    }

    /// The same, if the camera is where it was put, within a pixel or two: nobody has moved it.
    fn held(mut self, view: &ViewTransform) -> Option<Self> {
        let off = match self.camera_world {
            Some(camera_world) => view.camera_world.distance(camera_world),
            None => view.visible_world().center().distance(self.center),
        };
        // Not where it was a frame ago: a slow hand moves it by less than that at a time.
        self.camera_world.get_or_insert(view.camera_world);
        let is_there = (view.zoom / self.zoom - 1.0).abs() < 1e-3 && off * view.zoom < 2.0;
        is_there.then_some(self)
    }
}

/// Everything on the canvas; none when nothing is there.
fn everything(frames: &Query<&FrameCard>, places: &Places) -> Option<Area> {
    frames
        .iter()
        .map(|card| card.area)
        .chain(places.nodes.bounds())
        .reduce(Area::joined)
}

/// A view that shows everything goes on doing so when the window, a panel or the interface changes its size, and when nodes
/// grow because a run puts pictures on them.
pub fn keep_fitted(
    view: Res<ViewTransform>,
    document: Option<Res<Document>>,
    places: Res<Places>,
    frames: Query<&FrameCard>,
    mut flight: ResMut<CameraFlight>,
    mut fitted: ResMut<FittedView>,
    mut cameras: Query<(&mut Transform, &mut Projection), With<CanvasCamera>>,
    mut redraw: MessageWriter<RequestRedraw>,
) {
    if flight.is_flying() || !view.has_size() || fitted.0.is_none() {
        return;
    }
    fitted.0 = fitted.0.and_then(|fitted| fitted.held(&view));
    let Some((before, area)) = fitted.0.zip(everything(&frames, &places)) else {
        return;
    };
    let revision = document.map_or(0, |document| document.revision());
    let has_grown =
        before.revision == revision && before.area != area && !view.visible_world().encloses(area);
    if before.rect_px != view.rect_px
        && let Ok((mut transform, mut projection)) = cameras.single_mut()
    {
        let (center, zoom) = view.fit(area);
        let at = view.camera_for(center, zoom);
        place_camera(&mut transform, &mut projection, at, zoom);
        fitted.0 = Some(Fitted::placed(&view, area, revision));
        redraw.write(RequestRedraw);
    } else if has_grown {
        flight.0 = Some(Flight {
            from: (view.visible_world().center(), view.zoom),
            to: view.fit(area),
            elapsed_s: 0.0,
        });
        fitted.0 = Some(Fitted::flying(&view, area, revision));
        redraw.write(RequestRedraw);
    } else if before.revision != revision {
        // A person changed something: what is in view now is what that person wants to see.
        fitted.0 = Some(Fitted {
            area,
            revision,
            ..before
        });
    }
}

/// Turns actions of the view into flights, and shows a newly opened document whole.
pub fn start_flights(
    mut actions: MessageReader<Action>,
    view: Res<ViewTransform>,
    document: Option<Res<Document>>,
    selection: Res<Selection>,
    index: Res<EntityIndex>,
    places: Res<Places>,
    boxes: Query<&NodeBox>,
    frames: Query<&FrameCard>,
    mut flight: ResMut<CameraFlight>,
    mut shown_generation: Local<Option<u64>>,
    mut fitted: ResMut<FittedView>,
    mut cameras: Query<(&mut Transform, &mut Projection), With<CanvasCamera>>,
) {
    let revision = document.as_ref().map_or(0, |document| document.revision());
    let everything = || everything(&frames, &places);
    let here = (view.visible_world().center(), view.zoom);
    let goal = flight.0.map_or(here, |flight| flight.to);
    let mut fly = |to: (Vec2, f32)| {
        flight.0 = Some(Flight {
            from: here,
            to: (to.0, to.1.clamp(*ZOOM_RANGE.start(), *ZOOM_RANGE.end())),
            elapsed_s: 0.0,
        });
    };
    for action in actions.read() {
        match action {
            Action::ZoomIn => fly((goal.0, goal.1 * ZOOM_STEP)),
            Action::ZoomOut => fly((goal.0, goal.1 / ZOOM_STEP)),
            Action::ZoomReset => fly((goal.0, 1.0)),
            Action::ZoomToFit => {
                if let Some(area) = everything() {
                    fly(view.fit(area));
                    fitted.0 = Some(Fitted::flying(&view, area, revision));
                }
            }
            Action::ZoomToSelection => {
                let of_nodes = selection
                    .nodes
                    .iter()
                    .filter_map(|id| boxes.get(*index.nodes.get(id)?).ok())
                    .map(|node_box| node_box.area);
                let of_frames = selection
                    .frames
                    .iter()
                    .filter_map(|id| frames.get(*index.frames.get(id)?).ok())
                    .map(|card| card.area);
                let area = of_nodes.chain(of_frames).reduce(Area::joined);
                if let Some(area) = area.or_else(everything) {
                    fly(view.fit(area));
                }
            }
            Action::RevealNode(node_id) => {
                if let Some(node_box) = index
                    .nodes
                    .get(node_id)
                    .and_then(|&entity| boxes.get(entity).ok())
                {
                    fly((node_box.area.center(), goal.1.max(0.6)));
                }
            }
            _ => {}
        }
    }
    // A document that was just opened is shown whole at once, as soon as it has places and the window a size.
    let Some(document) = document else {
        return;
    };
    if *shown_generation == Some(document.generation()) || !view.has_size() {
        return;
    }
    if document.project().nodes.is_empty() {
        *shown_generation = Some(document.generation());
        return;
    }
    if places.nodes.len() == document.project().nodes.len()
        && let (Some(area), Ok((mut transform, mut projection))) =
            (everything(), cameras.single_mut())
    {
        *shown_generation = Some(document.generation());
        let (center, zoom) = view.fit(area);
        place_camera(
            &mut transform,
            &mut projection,
            view.camera_for(center, zoom),
            zoom,
        );
        flight.0 = None;
        fitted.0 = Some(Fitted::placed(&view, area, revision));
    }
}

/// Moves a flight on and keeps frames coming while it lasts.
pub fn fly(
    time: Res<Time<Real>>,
    view: Res<ViewTransform>,
    mut flight: ResMut<CameraFlight>,
    mut cameras: Query<(&mut Transform, &mut Projection), With<CanvasCamera>>,
    mut redraw: MessageWriter<RequestRedraw>,
) {
    let Some(mut current) = flight.0 else {
        return;
    };
    let Ok((mut transform, mut projection)) = cameras.single_mut() else {
        return;
    };
    // The first frame after an idle time carries that time: a flight starts with a short one.
    current.elapsed_s += time.delta_secs().min(1.0 / 30.0);
    let t = (current.elapsed_s / ANIMATION_S).min(1.0);
    let eased = 1.0 - (1.0 - t).powi(3);
    // Zoom goes by ratio, so that it looks even; the middle follows the zoom.
    let zoom = current.from.1 * (current.to.1 / current.from.1).powf(eased);
    let center = current.from.0.lerp(current.to.0, eased);
    place_camera(
        &mut transform,
        &mut projection,
        view.camera_for(center, zoom),
        zoom,
    );
    flight.0 = (t < 1.0).then_some(current);
    redraw.write(RequestRedraw);
}

fn place_camera(transform: &mut Transform, projection: &mut Projection, at: Vec2, zoom: f32) {
    transform.translation.x = at.x;
    transform.translation.y = -at.y;
    if let Projection::Orthographic(orthographic) = projection {
        orthographic.scale = 1.0 / zoom;
    }
}

/// Reads where the camera is now, for painting and picking, and tells the shell.
pub fn read_camera(
    viewport: Res<CanvasViewport>,
    windows: Query<&Window, With<PrimaryWindow>>,
    cameras: Query<(&Camera, &Transform, &Projection), With<CanvasCamera>>,
    mut view: ResMut<ViewTransform>,
    mut told: ResMut<CanvasView>,
) {
    let Ok((camera, transform, Projection::Orthographic(orthographic))) = cameras.single() else {
        return;
    };
    let window = windows.single().ok();
    let target_px = window
        .map(Window::physical_size)
        .or_else(|| camera.physical_target_size())
        .unwrap_or(UVec2::ONE)
        .as_vec2();
    let scale_factor = window.map_or(view.scale_factor, Window::scale_factor);
    let next = ViewTransform {
        camera_world: Vec2::new(transform.translation.x, -transform.translation.y),
        zoom: 1.0 / orthographic.scale,
        scale_factor,
        target_px,
        rect_px: viewport.rect_px.unwrap_or_default(),
    };
    view.set_if_neq(next);
    told.set_if_neq(CanvasView {
        center_world: next.visible_world().center(),
        zoom: next.zoom,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_and_canvas_units_are_exact_opposites() {
        let view = ViewTransform {
            camera_world: Vec2::new(123.4, -50.0),
            zoom: 0.73,
            scale_factor: 1.5,
            target_px: Vec2::new(2520.0, 1530.0),
            rect_px: Rect::new(232.0, 36.0, 1380.0, 820.0),
        };
        for px in [
            Vec2::ZERO,
            Vec2::new(640.0, 500.0),
            Vec2::new(1680.0, 1020.0),
        ] {
            assert!(view.px_of(view.world_at(px)).distance(px) < 0.01);
        }
        assert_eq!(view.origin_px(), view.origin_px().round());
    }

    #[test]
    fn a_view_that_is_moved_slowly_is_moved() {
        let mut view = ViewTransform {
            target_px: Vec2::new(1680.0, 1020.0),
            rect_px: Rect::new(232.0, 36.0, 1380.0, 820.0),
            ..ViewTransform::default()
        };
        let area = Area::at(Vec2::new(-300.0, 900.0), Vec2::new(5000.0, 800.0));
        let (center, zoom) = view.fit(area);
        view.camera_world = view.camera_for(center, zoom);
        view.zoom = zoom;
        let mut fitted = Some(Fitted::flying(&view, area, 0));
        for _ in 0..10 {
            fitted = fitted.and_then(|fitted| fitted.held(&view));
        }
        assert!(fitted.is_some(), "nobody has moved it");
        for _ in 0..10 {
            view.camera_world.x += 1.0 / zoom;
            fitted = fitted.and_then(|fitted| fitted.held(&view));
        }
        assert!(fitted.is_none(), "ten pixels are a move");
    }

    #[test]
    fn what_is_fitted_is_seen_whole_in_the_middle() {
        let mut view = ViewTransform {
            target_px: Vec2::new(1680.0, 1020.0),
            rect_px: Rect::new(232.0, 36.0, 1380.0, 820.0),
            ..ViewTransform::default()
        };
        let area = Area::at(Vec2::new(-300.0, 900.0), Vec2::new(5000.0, 800.0));
        let (center, zoom) = view.fit(area);
        view.camera_world = view.camera_for(center, zoom);
        view.zoom = zoom;
        let seen = view.visible_world();
        assert!(seen.encloses(area));
        assert!(seen.center().distance(area.center()) < 1.0 / zoom);
    }
}
