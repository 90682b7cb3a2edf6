//! The canvas as a picture, without window and display: for `make demo` on a computer without them, and for picture tests.

use super::camera::ViewTransform;
use super::gpu::{CanvasCamera, TARGET_FORMAT};
use super::{CanvasDrawPlugin, palette::Palette};
use crate::app::document::Document;
use crate::app::model::{EntityIndex, NodeRun};
use crate::app::previews::Pictures;
use crate::app::theme::{Theme, ThemeMode};
use crate::app::viewport::CanvasViewport;
use crate::project::{NodeId, Project};
use bevy::camera::RenderTarget;
use bevy::log::LogPlugin;
use bevy::prelude::*;
use bevy::render::RenderPlugin;
use bevy::render::render_resource::PollType;
use bevy::render::renderer::{RenderDevice, initialize_renderer};
use bevy::render::settings::{RenderCreation, RenderResources, WgpuSettings};
use bevy::render::view::screenshot::{Screenshot, ScreenshotCaptured};
use bevy::window::ExitCondition;
use bevy::winit::WinitPlugin;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Longest side of a snapshot in pixels.
pub const SIDE_MAX: u32 = 8192;
/// How long a GPU may take to present itself.
const ADAPTER_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the whole picture may take; software renderers are slow.
const RENDER_TIMEOUT: Duration = Duration::from_mins(2);

/// What is rendered.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The graph.
    pub project: Project,
    /// How its nodes stand in a run.
    pub runs: BTreeMap<NodeId, NodeRun>,
    /// Dark or light.
    pub theme: ThemeMode,
    /// Width and height in pixels.
    pub size_px: [u32; 2],
    /// Pixels per logical pixel, 1 to 4.
    pub scale_factor: f32,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no GPU and no software renderer.
    #[error(
        "no graphics adapter was found, so the canvas cannot be rendered; install a graphics driver or a software \
         renderer (on Debian and Ubuntu: mesa-vulkan-drivers)"
    )]
    NoAdapter,
    /// The size is nothing or too much.
    #[error(
        "a picture of {0} × {1} pixels cannot be rendered; sides must be 64 to {SIDE_MAX} pixels"
    )]
    BadSize(u32, u32),
    /// The renderer did not answer in time.
    #[error("the renderer gave no picture within {} seconds", RENDER_TIMEOUT.as_secs())]
    TimedOut,
    /// The picture is there but cannot be written.
    #[error("the picture of the canvas could not be written to {}: {reason}; check the folder and the free space", path.display())]
    Write {
        /// Where it was to go.
        path: std::path::PathBuf,
        /// The system's words.
        reason: String,
    },
    /// What came back is no picture.
    #[error("the rendered picture could not be read back: {0}")]
    ReadBack(String),
}

/// Renders the whole graph, fitted into the picture. Call it from a thread without event loop; it blocks.
pub fn render(snapshot: Snapshot) -> Result<image::RgbaImage, SnapshotError> {
    let [width, height] = snapshot.size_px;
    if !(64..=SIDE_MAX).contains(&width) || !(64..=SIDE_MAX).contains(&height) {
        return Err(SnapshotError::BadSize(width, height));
    }
    let resources = adapter()?;
    let mut app = App::new();
    app.add_plugins(
        DefaultPlugins
            .set(WindowPlugin {
                primary_window: None,
                exit_condition: ExitCondition::DontExit,
                ..default()
            })
            .set(RenderPlugin {
                render_creation: RenderCreation::Manual(resources),
                synchronous_pipeline_compilation: true,
                ..default()
            })
            .disable::<WinitPlugin>()
            .disable::<LogPlugin>(),
    );
    let scale_factor = snapshot.scale_factor.clamp(1.0, 4.0);
    let theme = Theme::of(snapshot.theme);
    let target = app
        .world_mut()
        .resource_mut::<Assets<Image>>()
        .add(Image::new_target_texture(
            width,
            height,
            TARGET_FORMAT,
            None,
        ));
    app.insert_resource(Palette::of(&theme))
        .insert_resource(theme)
        .add_plugins(CanvasDrawPlugin)
        .insert_resource(Document::new(snapshot.project, None))
        .insert_resource(Pictures::start(Arc::new(|| {})))
        .insert_resource(ViewTransform {
            scale_factor,
            ..default()
        })
        .insert_resource(CanvasViewport {
            rect_px: Some(Rect::new(
                0.0,
                0.0,
                width as f32 / scale_factor,
                height as f32 / scale_factor,
            )),
            ui_scale: 1.0,
            ..default()
        });
    app.finish();
    app.cleanup();
    let mut apps = std::mem::take(app.sub_apps_mut());
    let deadline = Instant::now() + RENDER_TIMEOUT;
    let frame = |apps: &mut bevy::app::SubApps| -> Result<(), SnapshotError> {
        apps.update();
        let device = apps.main.world().get_resource::<RenderDevice>().cloned();
        if let Some(device) = device {
            let waited = device.wgpu_device().poll(PollType::Wait {
                submission_index: None,
                timeout: Some(Duration::from_secs(30)),
            });
            waited.map_err(|error| SnapshotError::ReadBack(error.to_string()))?;
        }
        if Instant::now() > deadline {
            return Err(SnapshotError::TimedOut);
        }
        Ok(())
    };

    // The camera is there after the first frame, the entities after the second.
    frame(&mut apps)?;
    let world = apps.main.world_mut();
    let cameras: Vec<Entity> = world
        .query_filtered::<Entity, With<CanvasCamera>>()
        .iter(world)
        .collect();
    for camera in cameras {
        world
            .entity_mut(camera)
            .insert(RenderTarget::Image(target.clone().into()));
    }
    for (node, run) in snapshot.runs {
        let entity = world.resource::<EntityIndex>().nodes.get(&node).copied();
        if let Some(entity) = entity {
            world.entity_mut(entity).insert(run);
        }
    }
    for _ in 0..3 {
        frame(&mut apps)?;
    }
    while apps
        .main
        .world()
        .get_resource::<Pictures>()
        .is_some_and(Pictures::is_loading)
    {
        std::thread::sleep(Duration::from_millis(2));
        frame(&mut apps)?;
    }
    for _ in 0..2 {
        frame(&mut apps)?;
    }

    let captured: Arc<Mutex<Option<Image>>> = Arc::default();
    let slot = captured.clone();
    apps.main
        .world_mut()
        .spawn(Screenshot::image(target))
        .observe(move |event: On<ScreenshotCaptured>| {
            if let Ok(mut slot) = slot.lock() {
                *slot = Some(event.image.clone());
            }
        });
    loop {
        frame(&mut apps)?;
        let image = captured.lock().ok().and_then(|mut slot| slot.take());
        if let Some(image) = image {
            return image
                .try_into_dynamic()
                .map(image::DynamicImage::into_rgba8)
                .map_err(|error| SnapshotError::ReadBack(error.to_string()));
        }
    }
}

/// Asks for a graphics adapter on a thread of its own: Bevy's initialisation ends its thread when there is none.
fn adapter() -> Result<RenderResources, SnapshotError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("adapter".to_owned())
        .spawn(move || {
            let settings = WgpuSettings::default();
            if let Some(backends) = settings.backends {
                let resources =
                    bevy::tasks::block_on(initialize_renderer(backends, None, &settings));
                // The receiver is gone after a timeout.
                let _ = sender.send(resources);
            }
        })
        .map_err(|error| SnapshotError::ReadBack(error.to_string()))?;
    receiver
        .recv_timeout(ADAPTER_TIMEOUT)
        .map_err(|_| SnapshotError::NoAdapter)
}
