//! Puts the window together and runs it.

use super::actions::Action;
use super::bridge::{
    self, Backends, BuiltinStarter, EventLog, Live, PreviewMessage, RunEventMessage, RunViews,
    StartBuiltin,
};
use super::canvas::CanvasPlugin;
use super::catalog::Catalog;
use super::dialogs::{self, Dialogs};
use super::document::{Document, Selection};
use super::editors::{self, Editors};
use super::files::{self, Autosave, FollowUp};
use super::import;
use super::keyboard::KeyboardPlugin;
use super::keymap::Keymap;
use super::model::CanvasSystems;
use super::previews::ArtifactFiles;
use super::settings::{Folders, Settings};
use super::shell::{self, Panel, ShellState};
use super::theme::{Theme, ThemeMode, UI_SCALE_RANGE};
use super::thumbnails::Thumbnails;
use super::toasts::{Severity, Toasts, expire_toasts};
use super::viewport::{CanvasView, CanvasViewport};
use super::wake::Waker;
use crate::engine::{CommandError, EngineHandle};
use crate::project::Project;
use bevy::camera::{CameraOutputMode, visibility::RenderLayers};
use bevy::log::LogPlugin;
use bevy::prelude::*;
use bevy::render::RenderPlugin;
use bevy::render::error_handler::{RenderErrorHandler, RenderErrorPolicy};
use bevy::render::render_resource::BlendState;
use bevy::window::{ExitCondition, PrimaryWindow, WindowResized, WindowResolution};
use bevy::winit::{EventLoopProxyWrapper, UpdateMode, WinitSettings};
use bevy_egui::{
    EguiContextSettings, EguiGlobalSettings, EguiPlugin, EguiPrimaryContextPass, PrimaryEguiContext,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// What the window is started with.
pub struct AppOptions {
    /// The engine, already running.
    pub engine: EngineHandle,
    /// A project folder or portable file to open.
    pub project: Option<PathBuf>,
    /// A document to begin with that lies nowhere yet (the demo).
    pub document: Option<Project>,
    /// Whether the run begins by itself.
    pub run_at_start: bool,
    /// How the built-in backend is started; none when it cannot be.
    pub start_builtin: Option<Box<StartBuiltin>>,
    /// Threads of Bevy's own pools; the engine has its own.
    pub threads: usize,
    /// Where settings and unsaved work are kept.
    pub folders: Folders,
    /// The program of the window of ComfyUI's editor; the one beside this program when none.
    pub editor_program: Option<PathBuf>,
}

impl AppOptions {
    /// An empty window on this engine.
    #[must_use]
    pub fn new(engine: EngineHandle) -> Self {
        Self {
            engine,
            project: None,
            document: None,
            run_at_start: false,
            start_builtin: None,
            threads: 4,
            folders: Folders::of_this_user(),
            editor_program: None,
        }
    }
}

/// Why the window ended otherwise than by being closed.
#[derive(Debug, Error)]
pub enum AppError {
    /// Drawing failed or no window could be opened.
    #[error(
        "the window ended with an error (exit code {0}); without a graphics driver use the command line: comfyui-orchestrator run PROJECT"
    )]
    Exit(std::num::NonZero<u8>),
    /// There is no engine to show.
    #[error(transparent)]
    Engine(#[from] CommandError),
}

/// Opens the window and returns when it is closed. Must be called on the main thread, outside of any tokio runtime.
pub fn run(options: AppOptions) -> Result<(), AppError> {
    let (settings, remark) = Settings::load(&options.folders);
    let mut app = App::new();
    add_plugins(&mut app, &settings, options.threads);
    assemble(&mut app, options, settings, remark)?;
    match app.run() {
        AppExit::Success => Ok(()),
        AppExit::Error(code) => Err(AppError::Exit(code)),
    }
}

/// Puts everything that is ours into an app that has Bevy's plugins already: with window and GPU in [`run`], without them
/// in tests, which write the same input messages as a window does. `remark` is what reading the settings had to say.
///
/// # Errors
/// [`AppError::Engine`] when the engine has ended.
pub fn assemble(
    app: &mut App,
    options: AppOptions,
    settings: Settings,
    remark: Option<String>,
) -> Result<(), AppError> {
    app.insert_resource(EguiGlobalSettings {
        auto_create_primary_context: false,
        ..default()
    });
    app.add_plugins((EguiPlugin::default(), KeyboardPlugin));
    let mut toasts = Toasts::default();
    let waker = Waker::new(app.world().get_resource::<EventLoopProxyWrapper>());
    toasts.set_waker(waker.clone());
    let engine = options.engine.clone();
    app.insert_resource(ArtifactFiles(Arc::new(move |artifact| {
        engine.artifact_path(artifact)
    })));
    let (bridge, history, library) = bridge::connect(options.engine, waker.clone())?;
    app.insert_resource(bridge)
        .insert_resource(history)
        .insert_resource(library);
    app.insert_resource(Thumbnails::start(&waker));
    app.insert_resource(waker);
    app.insert_resource(options.folders)
        .insert_resource(Editors::with_program(options.editor_program));
    if let Some(remark) = remark {
        toasts.push(Severity::Warning, "The settings start anew", &remark);
    }
    if let Some(start) = options.start_builtin {
        app.insert_resource(BuiltinStarter(start));
    }
    let mut first = FollowUp::default();
    if let Some(path) = options.project {
        first.0.push(Action::OpenPath(path));
    }
    if options.run_at_start {
        first.0.push(Action::Run);
    }
    let document = options
        .document
        .map_or_else(Document::empty, |project| Document::new(project, None));
    if !document.project().nodes.is_empty() {
        first.0.push(Action::ZoomToFit);
    }
    add_resources(app, settings, toasts, document, first);
    add_systems(app);
    Ok(())
}

fn add_plugins(app: &mut App, settings: &Settings, threads: usize) {
    let [width, height] = settings.window_px;
    let window = Window {
        title: "ComfyUI Orchestrator".to_owned(),
        name: Some("comfyui-orchestrator".to_owned()),
        resolution: WindowResolution::new(width as u32, height as u32),
        resize_constraints: bevy::window::WindowResizeConstraints {
            min_width: 480.0,
            min_height: 320.0,
            ..default()
        },
        ..default()
    };
    app.add_plugins(
        DefaultPlugins
            .set(WindowPlugin {
                primary_window: Some(window),
                // Closing asks about unsaved changes first.
                close_when_requested: false,
                exit_condition: ExitCondition::OnPrimaryClosed,
                ..default()
            })
            .set(TaskPoolPlugin {
                task_pool_options: TaskPoolOptions::with_num_threads(threads.max(1)),
            })
            .set(RenderPlugin::default())
            // `main` has set logging up for every front end.
            .disable::<LogPlugin>(),
    );
    app.insert_resource(RenderErrorHandler(|error, _main, _render| {
        // Drawing goes wrong, the work does not: runs belong to the engine, and unsaved work is kept every 30 seconds.
        tracing::error!(description = %error.description, "drawing failed");
        RenderErrorPolicy::StopRendering
    }));
    app.insert_resource(ClearColor(Color::srgb_u8(0x0f, 0x11, 0x15)));
    app.insert_resource(WinitSettings {
        focused_mode: UpdateMode::reactive(IDLE),
        unfocused_mode: UpdateMode::reactive_low_power(IDLE),
    });
}

/// An idle window draws nothing; timers of its own wake it when something is due.
const IDLE: Duration = Duration::from_hours(1);

fn add_resources(
    app: &mut App,
    settings: Settings,
    mut toasts: Toasts,
    document: Document,
    first: FollowUp,
) {
    let keymap = Keymap::new(&settings.keys);
    for problem in &keymap.problems {
        toasts.push(Severity::Warning, "A shortcut was left out", problem);
    }
    app.insert_resource(Theme::of(settings.theme))
        .insert_resource(keymap)
        .insert_resource(settings)
        .insert_resource(toasts)
        .insert_resource(document)
        .insert_resource(first)
        .init_resource::<Selection>()
        .init_resource::<Catalog>()
        .init_resource::<RunViews>()
        .init_resource::<Backends>()
        .init_resource::<Live>()
        .init_resource::<EventLog>()
        .init_resource::<Dialogs>()
        .init_resource::<ShellState>()
        .init_resource::<Autosave>()
        .init_resource::<CanvasViewport>()
        .init_resource::<CanvasView>()
        .add_message::<Action>()
        .add_message::<RunEventMessage>()
        .add_message::<PreviewMessage>();
}

fn add_systems(app: &mut App) {
    app.add_plugins(CanvasPlugin)
        .add_systems(Startup, (spawn_ui_camera, files::offer_recovered_work))
        .add_systems(
            PreUpdate,
            (bridge::drain, bridge::take_answers, bridge::library_answers).chain(),
        )
        .add_systems(
            Update,
            (
                files::send_follow_ups,
                files::close_requested,
                files::dropped_files,
                bridge::library_wishes,
                super::apply::apply_actions,
                files::file_actions,
                import::import_actions,
                bridge::follow_document,
                bridge::send_commands,
                dialogs::open_dialogs,
                editors::open_editors,
                editors::hear_editors,
                view_actions,
                follow_settings,
                files::autosave,
                editors::forget_safe_drafts,
                editors::come_to_front,
                expire_toasts,
                window_title,
            )
                .chain()
                .before(CanvasSystems::Project),
        )
        .add_systems(EguiPrimaryContextPass, shell::lay_out)
        .add_systems(Last, keep_settings);
}

/// The camera of the panels: above the canvas, clears nothing, sees no entity.
fn spawn_ui_camera(mut commands: Commands) {
    commands.spawn((
        PrimaryEguiContext,
        EguiContextSettings::default(),
        Camera2d,
        // Egui smooths its own edges.
        Msaa::Off,
        RenderLayers::none(),
        Camera {
            order: 10,
            clear_color: ClearColorConfig::None,
            output_mode: CameraOutputMode::Write {
                blend_state: Some(BlendState::ALPHA_BLENDING),
                clear_color: ClearColorConfig::None,
            },
            ..default()
        },
    ));
}

/// Actions about the window as a whole.
fn view_actions(
    mut actions: MessageReader<Action>,
    mut settings: ResMut<Settings>,
    mut state: ResMut<ShellState>,
) {
    for action in actions.read() {
        let scale = settings.ui_scale;
        let mut set_scale = |scale: f32| {
            settings.ui_scale = ((scale * 10.0).round() / 10.0)
                .clamp(*UI_SCALE_RANGE.start(), *UI_SCALE_RANGE.end());
        };
        match action {
            Action::UiScaleUp => set_scale(scale + 0.1),
            Action::UiScaleDown => set_scale(scale - 0.1),
            Action::UiScaleReset => set_scale(1.0),
            Action::ToggleTheme => {
                settings.theme = match settings.theme {
                    ThemeMode::Dark => ThemeMode::Light,
                    ThemeMode::Light => ThemeMode::Dark,
                };
            }
            Action::ResetLayout => {
                state.docks.reset();
                settings.layout = None;
            }
            Action::RenameFrame(frame_id) => {
                state.focus_mode = false;
                state.renamed_frame = Some(*frame_id);
                state.docks.bring_to_front(Panel::Properties);
            }
            Action::ShowReview => {
                state.focus_mode = false;
                state.docks.bring_to_front(Panel::Review);
            }
            Action::ToggleFocusMode => state.focus_mode = !state.focus_mode,
            Action::Notifications => state.notifications_open = !state.notifications_open,
            _ => {}
        }
    }
}

/// Theme and keys follow the settings.
fn follow_settings(
    settings: Res<Settings>,
    mut theme: ResMut<Theme>,
    mut keymap: ResMut<Keymap>,
    mut seen: Local<Option<super::keymap::KeyOverrides>>,
) {
    theme.set_if_neq(Theme::of(settings.theme));
    if seen.as_ref() != Some(&settings.keys) {
        *keymap = Keymap::new(&settings.keys);
        *seen = Some(settings.keys.clone());
    }
}

fn window_title(
    document: Res<Document>,
    mut windows: Query<&mut Window, With<PrimaryWindow>>,
    mut seen: Local<String>,
) {
    let dirty = if document.is_dirty() { "• " } else { "" };
    let title = format!("{dirty}{} – ComfyUI Orchestrator", document.project().name);
    if *seen != title {
        for mut window in &mut windows {
            window.title.clone_from(&title);
        }
        *seen = title;
    }
}

/// Writes the settings when they have changed, and at the end of the program with layout and window size.
fn keep_settings(
    mut settings: ResMut<Settings>,
    state: Res<ShellState>,
    mut exits: MessageReader<AppExit>,
    mut resized: MessageReader<WindowResized>,
    mut toasts: ResMut<Toasts>,
    mut written: Local<Option<String>>,
) {
    let exiting = exits.read().next().is_some();
    if let Some(event) = resized.read().last() {
        settings.bypass_change_detection().window_px = [event.width, event.height];
    }
    if exiting && let Some(dock) = &state.docks.roomy {
        match ron::to_string(dock) {
            Ok(text) => settings.layout = Some(text),
            Err(error) => tracing::warn!(%error, "the arrangement of the panels is not remembered"),
        }
    }
    if !exiting && !settings.is_changed() {
        return;
    }
    // The panels borrow the settings mutably each frame; only a difference is worth a write.
    let Ok(now) = serde_json::to_string(&*settings) else {
        return;
    };
    match &*written {
        None if !exiting => *written = Some(now),
        Some(before) if *before == now => {}
        _ => {
            if let Err(error) = settings.save() {
                toasts.push(
                    Severity::Warning,
                    "Settings were not written",
                    &error.to_string(),
                );
            }
            *written = Some(now);
        }
    }
}
