//! The canvas: nodes and links drawn by the GPU, moved by the pointer.
//!
//! Each frame: the camera is read, pointer and keys become actions, and if anything that is seen has changed the scene is
//! built anew from the components of [`super::model`]. Panning inside the built region only moves the scene. While
//! nothing changes and nothing moves, no frame is drawn at all.

pub mod camera;
pub mod gpu;
pub mod instance;
pub mod interact;
pub mod layout;
pub mod minimap;
pub mod paint;
pub mod palette;
pub mod snapshot;
pub mod spatial;
pub mod text;

use super::actions::Action;
use super::document::Selection;
use super::model::{CanvasDirty, CanvasSystems, ModelPlugin};
use super::previews::Pictures;
use super::theme::Theme;
use super::viewport::{CanvasView, CanvasViewport};
use bevy::prelude::*;
use bevy::winit::{EventLoopProxyWrapper, UpdateMode, WinitSettings, WinitUserEvent};
use bevy_egui::EguiPrimaryContextPass;
use bevy_pancam::{PanCamPlugin, PanCamSystems};
use std::sync::Arc;
use std::time::Duration;

/// The canvas in the window: camera, drawing, pointer, overview. Expects the `Document`, `Selection`, `Theme` and
/// `CanvasViewport` resources and the [`Action`] message of the shell.
#[derive(Debug)]
pub struct CanvasPlugin;

/// What the canvas needs wherever it is drawn, without window and pointer.
#[derive(Debug)]
pub struct CanvasDrawPlugin;

impl Plugin for CanvasDrawPlugin {
    fn build(&self, app: &mut App) {
        app.add_plugins((ModelPlugin, gpu::CanvasGpuPlugin))
            .add_message::<Action>()
            .init_resource::<Selection>()
            .init_resource::<Theme>()
            .init_resource::<CanvasViewport>()
            .init_resource::<CanvasView>()
            .init_resource::<camera::ViewTransform>()
            .init_resource::<camera::CameraFlight>()
            .init_resource::<camera::FittedView>()
            .init_resource::<interact::Hover>()
            .init_resource::<interact::Gesturing>()
            .init_resource::<paint::CanvasMotion>()
            .init_resource::<palette::Palette>()
            .add_systems(Startup, camera::spawn_camera)
            .add_systems(
                Update,
                (
                    take_over_pictures.in_set(CanvasSystems::Project),
                    (
                        // Looks at where the camera was read to be, so before anything moves it.
                        camera::keep_fitted,
                        camera::start_flights,
                        camera::read_camera,
                    )
                        .chain()
                        .after(CanvasSystems::Place)
                        .before(CanvasSystems::Interact),
                    follow_theme.before(CanvasSystems::Paint),
                    paint::paint.in_set(CanvasSystems::Paint),
                ),
            );
        match text::Glyphs::new() {
            Ok(glyphs) => {
                app.insert_resource(paint::CanvasGlyphs(glyphs));
            }
            Err(error) => {
                error!("The embedded fonts cannot be read: {error}. The canvas stays empty.");
            }
        }
    }
}

impl Plugin for CanvasPlugin {
    fn build(&self, app: &mut App) {
        app.add_plugins((CanvasDrawPlugin, PanCamPlugin))
            .init_resource::<minimap::MinimapShown>()
            .add_systems(Startup, start_pictures)
            .add_systems(
                Update,
                (
                    camera::steer_pan_camera.before(PanCamSystems),
                    camera::fly
                        .after(PanCamSystems)
                        .after(camera::start_flights)
                        .before(camera::read_camera),
                    (interact::interact, interact::auto_pan)
                        .chain()
                        .in_set(CanvasSystems::Interact),
                    keep_moving.after(CanvasSystems::Paint),
                    minimap::toggle,
                ),
            )
            .configure_sets(Update, PanCamSystems.before(camera::read_camera))
            .add_systems(
                EguiPrimaryContextPass,
                (
                    minimap::show,
                    interact::show_cursor.after(crate::app::shell::lay_out),
                ),
            );
    }
}

/// Starts the decoders; they wake the window when a picture is ready.
fn start_pictures(mut commands: Commands, proxy: Option<Res<EventLoopProxyWrapper>>) {
    let proxy = proxy.map(|proxy| (**proxy).clone());
    commands.insert_resource(Pictures::start(Arc::new(move || {
        if let Some(proxy) = &proxy {
            // An error means that the loop has ended.
            let _ = proxy.send_event(WinitUserEvent::WakeUp);
        }
    })));
}

/// Hands finished pictures to the GPU; what shows them is painted anew.
fn take_over_pictures(
    pictures: Option<ResMut<Pictures>>,
    mut frame: ResMut<gpu::CanvasFrame>,
    mut dirty: ResMut<CanvasDirty>,
    mut seen: Local<u64>,
    mut redraw: MessageWriter<bevy::window::RequestRedraw>,
) {
    let Some(mut pictures) = pictures else {
        return;
    };
    pictures.collect(&mut frame.bypass_change_detection().pictures);
    if pictures.revision != *seen {
        *seen = pictures.revision;
        dirty.0 = true;
        // More may be finished than one frame takes, or be asked for by what is painted now.
        redraw.write(bevy::window::RequestRedraw);
    }
}

fn follow_theme(
    theme: Res<Theme>,
    mut palette: ResMut<palette::Palette>,
    mut clear: ResMut<ClearColor>,
) {
    if theme.is_changed() {
        let next = palette::Palette::of(&theme);
        if *palette != next {
            *palette = next;
        }
        let [red, green, blue, _] = palette.canvas.0.to_le_bytes();
        clear.0 = Color::srgb_u8(red, green, blue);
    }
}

/// While data flows through visible links the window draws at most 30 frames per second; otherwise it sleeps.
fn keep_moving(
    time: Res<Time<Real>>,
    mut motion: ResMut<paint::CanvasMotion>,
    winit: Option<ResMut<WinitSettings>>,
    mut resting: Local<Option<UpdateMode>>,
) {
    let motion = motion.bypass_change_detection();
    motion.time_s = time.elapsed_secs_wrapped();
    let Some(mut winit) = winit else {
        return;
    };
    match (motion.flowing, *resting) {
        (true, None) => {
            *resting = Some(winit.focused_mode);
            winit.focused_mode = UpdateMode::reactive(Duration::from_secs_f32(paint::FLOW_FRAME_S));
        }
        (false, Some(mode)) => {
            winit.focused_mode = mode;
            *resting = None;
        }
        _ => {}
    }
}
