//! A hand on the window: sends what a window system sends and looks at what is there.

use bevy::input::ButtonState;
use bevy::input::keyboard::{Key as LogicalKey, KeyboardInput};
use bevy::input::mouse::MouseButtonInput;
use bevy::log::LogPlugin;
use bevy::prelude::*;
use bevy::render::RenderPlugin;
use bevy::render::settings::{RenderCreation, WgpuSettings};
use bevy::window::{
    CursorMoved, ExitCondition, FileDragAndDrop, PrimaryWindow, WindowCloseRequested, WindowEvent,
    WindowFocused, WindowResolution,
};
use bevy::winit::WinitPlugin;
use bevy_egui::{EguiFullOutput, EguiPostUpdateSet, egui};
use comfyui_orchestrator::app::actions::Action;
use comfyui_orchestrator::app::canvas::camera::ViewTransform;
use comfyui_orchestrator::app::document::Document;
use comfyui_orchestrator::app::model::{EntityIndex, NodeBox};
use comfyui_orchestrator::app::settings::{Folders, Settings};
use comfyui_orchestrator::app::viewport::{CanvasView, CanvasViewport};
use comfyui_orchestrator::app::{AppOptions, assemble};
use comfyui_orchestrator::engine::{Engine, EngineOptions, RegistryUse, ResumePolicy};
use comfyui_orchestrator::project::{NodeId, PortId, Project};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Size of the window in logical pixels.
const SIZE: [u32; 2] = [1600, 960];
/// Frames in which everything that an input leads to has happened.
const SETTLE: usize = 4;
/// Longest a test waits for something to happen. Generous: test machines are slow and shared.
const PATIENCE: Duration = Duration::from_mins(2);

/// Keys that a test presses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Control,
    Shift,
    Alt,
    Enter,
    Escape,
    Delete,
    Letter(char),
}

impl Key {
    fn codes(self) -> (KeyCode, LogicalKey) {
        match self {
            Self::Control => (KeyCode::ControlLeft, LogicalKey::Control),
            Self::Shift => (KeyCode::ShiftLeft, LogicalKey::Shift),
            Self::Alt => (KeyCode::AltLeft, LogicalKey::Alt),
            Self::Enter => (KeyCode::Enter, LogicalKey::Enter),
            Self::Escape => (KeyCode::Escape, LogicalKey::Escape),
            Self::Delete => (KeyCode::Delete, LogicalKey::Delete),
            Self::Letter(' ') => (KeyCode::Space, LogicalKey::Space),
            Self::Letter(letter) => {
                let code = match letter.to_ascii_lowercase() {
                    'a' => KeyCode::KeyA,
                    'c' => KeyCode::KeyC,
                    'g' => KeyCode::KeyG,
                    'v' => KeyCode::KeyV,
                    'z' => KeyCode::KeyZ,
                    // Letters that are only typed; their place on the keyboard does not matter.
                    _ => KeyCode::F24,
                };
                (code, LogicalKey::Character(letter.to_string().into()))
            }
        }
    }
}

/// Words on the screen.
#[derive(Clone, Debug)]
pub struct Label {
    /// The words.
    pub text: String,
    /// Where they are seen, in points.
    pub rect: egui::Rect,
}

/// The words of the last frame.
#[derive(Resource, Default)]
struct Labels(Vec<Label>);

/// A window with everything behind it.
pub struct Hand {
    app: App,
    window: Entity,
    at_px: Vec2,
    engine: Option<Engine>,
    runtime: Runtime,
    has_ended: bool,
}

impl Drop for Hand {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            self.runtime.block_on(engine.stop());
        }
    }
}

impl Hand {
    /// Opens the window with everything it keeps in this folder.
    pub fn open(folder: &Path) -> Self {
        Self::open_with(folder, |_| {})
    }

    /// Opens the window with changed options.
    pub fn open_with(folder: &Path, change: impl FnOnce(&mut AppOptions)) -> Self {
        let runtime = Runtime::new().unwrap();
        let engine = runtime
            .block_on(comfyui_orchestrator::engine::start(EngineOptions {
                data_dir: folder.join("engine"),
                extra_backends: Vec::new(),
                registry: RegistryUse::ExtraOnly,
                resume: ResumePolicy::Leave,
                pair_block_ms: comfyui_orchestrator::engine::PAIR_BLOCK_MS,
            }))
            .unwrap();
        let mut app = App::new();
        app.add_plugins(
            DefaultPlugins
                .set(WindowPlugin {
                    primary_window: Some(Window {
                        resolution: WindowResolution::new(SIZE[0], SIZE[1]),
                        ..default()
                    }),
                    close_when_requested: false,
                    exit_condition: ExitCondition::DontExit,
                    ..default()
                })
                .set(RenderPlugin {
                    render_creation: RenderCreation::Automatic(Box::new(WgpuSettings {
                        backends: None,
                        ..default()
                    })),
                    ..default()
                })
                .disable::<WinitPlugin>()
                .disable::<LogPlugin>(),
        );
        let mut options = AppOptions::new(engine.handle.clone());
        options.folders = Folders::all_in(folder);
        change(&mut options);
        let (settings, remark) = Settings::load(&options.folders);
        assemble(&mut app, options, settings, remark).unwrap();
        app.init_resource::<Labels>().add_systems(
            PostUpdate,
            read_labels
                .after(EguiPostUpdateSet::EndPass)
                .before(EguiPostUpdateSet::ProcessOutput),
        );
        app.finish();
        app.cleanup();
        let world = app.world_mut();
        let window = world
            .query_filtered::<Entity, With<PrimaryWindow>>()
            .single(world)
            .unwrap();
        let mut hand = Self {
            app,
            window,
            at_px: Vec2::ZERO,
            engine: Some(engine),
            runtime,
            has_ended: false,
        };
        hand.frames(8);
        hand
    }

    /// Lets this many frames pass.
    pub fn frames(&mut self, count: usize) {
        for _ in 0..count {
            self.app.update();
            self.has_ended |= self.app.should_exit().is_some();
        }
    }

    /// Lets frames pass that take as long as on a screen.
    pub fn wait_frames(&mut self, count: usize) {
        for _ in 0..count {
            std::thread::sleep(Duration::from_millis(16));
            self.app.update();
        }
    }

    /// A resource of the window.
    pub fn get<R: Resource>(&self) -> &R {
        self.app.world().resource::<R>()
    }

    /// The document as it is.
    pub fn project(&self) -> &Project {
        self.get::<Document>().project()
    }

    /// Does what a menu entry does.
    pub fn act(&mut self, action: Action) {
        self.app.world_mut().write_message(action);
        self.frames(SETTLE);
    }

    fn send(&mut self, event: impl Into<WindowEvent> + Message + Clone) {
        let world = self.app.world_mut();
        world.write_message::<WindowEvent>(event.clone().into());
        world.write_message(event);
    }

    /// Moves the pointer.
    pub fn move_to(&mut self, at_px: [f32; 2]) {
        let position = Vec2::from(at_px);
        let delta = Some(position - self.at_px);
        self.at_px = position;
        let window = self.window;
        if let Some(mut there) = self.app.world_mut().get_mut::<Window>(window) {
            there.set_cursor_position(Some(position));
        }
        self.send(CursorMoved {
            window,
            position,
            delta,
        });
    }

    /// Presses the left button or lets it go.
    pub fn button(&mut self, down: bool) {
        self.any_button(MouseButton::Left, down);
    }

    fn any_button(&mut self, button: MouseButton, down: bool) {
        let window = self.window;
        self.send(MouseButtonInput {
            button,
            state: if down {
                ButtonState::Pressed
            } else {
                ButtonState::Released
            },
            window,
        });
    }

    /// Clicks.
    pub fn click(&mut self, at_px: [f32; 2]) {
        self.move_to(at_px);
        self.frames(2);
        self.button(true);
        self.frames(1);
        self.button(false);
        self.frames(SETTLE);
    }

    /// Clicks with the right button.
    pub fn click_right(&mut self, at_px: [f32; 2]) {
        self.move_to(at_px);
        self.frames(2);
        self.any_button(MouseButton::Right, true);
        self.frames(1);
        self.any_button(MouseButton::Right, false);
        self.frames(SETTLE);
    }

    /// Clicks twice.
    pub fn double_click(&mut self, at_px: [f32; 2]) {
        self.move_to(at_px);
        self.frames(2);
        // Without a pause: a slow machine must not make two clicks of it.
        for down in [true, false, true, false] {
            self.button(down);
            self.frames(1);
        }
        self.frames(SETTLE);
    }

    /// Drags with the left button.
    pub fn drag(&mut self, from_px: [f32; 2], to_px: [f32; 2]) {
        let (from, to) = (Vec2::from(from_px), Vec2::from(to_px));
        self.move_to(from_px);
        self.frames(2);
        self.button(true);
        self.frames(2);
        for step in 1..=8_u8 {
            self.move_to(from.lerp(to, f32::from(step) / 8.0).to_array());
            self.frames(2);
        }
        self.button(false);
        self.frames(SETTLE);
    }

    fn key(&mut self, key: Key, down: bool) {
        let (key_code, logical_key) = key.codes();
        let window = self.window;
        self.send(KeyboardInput {
            key_code,
            logical_key,
            state: if down {
                ButtonState::Pressed
            } else {
                ButtonState::Released
            },
            text: None,
            repeat: false,
            window,
        });
    }

    /// Presses a key and keeps it down.
    pub fn hold(&mut self, key: Key) {
        self.key(key, true);
        self.frames(1);
    }

    /// Lets a key go.
    pub fn let_go(&mut self, key: Key) {
        self.key(key, false);
        self.frames(1);
    }

    /// Presses a key and lets it go.
    pub fn press(&mut self, key: Key) {
        self.chord(&[], key);
    }

    /// A key with modifiers, all of it within one frame.
    pub fn chord(&mut self, modifiers: &[Key], key: Key) {
        for modifier in modifiers {
            self.key(*modifier, true);
        }
        let key = match key {
            Key::Letter(letter) if modifiers.contains(&Key::Shift) => {
                Key::Letter(letter.to_ascii_uppercase())
            }
            other => other,
        };
        self.key(key, true);
        self.key(key, false);
        for modifier in modifiers.iter().rev() {
            self.key(*modifier, false);
        }
        self.frames(SETTLE);
    }

    /// Types words.
    pub fn type_text(&mut self, words: &str) {
        for letter in words.chars() {
            self.press(Key::Letter(letter));
        }
    }

    /// Lets a file go over the window.
    pub fn drop_file(&mut self, path: &Path) {
        let window = self.window;
        self.send(FileDragAndDrop::DroppedFile {
            window,
            path_buf: path.to_owned(),
        });
        self.frames(SETTLE + 2);
    }

    /// Presses the window's close button.
    pub fn ask_to_close(&mut self) {
        let window = self.window;
        self.send(WindowCloseRequested { window });
        self.frames(SETTLE);
    }

    /// Another window gets the keyboard.
    pub fn lose_focus(&mut self) {
        let window = self.window;
        self.send(WindowFocused {
            window,
            focused: false,
        });
        self.frames(SETTLE);
    }

    /// Whether the program has ended.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Where a point of the canvas is seen.
    fn px_of(&self, world: Vec2) -> [f32; 2] {
        self.get::<ViewTransform>().px_of(world).to_array()
    }

    /// Where a point of the canvas is seen, with some pixels beside it.
    pub fn place_px(&self, world: [f32; 2], beside_px: [f32; 2]) -> [f32; 2] {
        (Vec2::from(self.px_of(Vec2::from(world))) + Vec2::from(beside_px)).to_array()
    }

    /// Whether the whole node is seen.
    pub fn sees_node(&self, node: NodeId) -> bool {
        let area = self.node_box(node).area;
        let rect = self.get::<CanvasViewport>().rect_px.unwrap();
        [area.min, area.max]
            .iter()
            .all(|corner| rect.contains(Vec2::from(self.px_of(*corner))))
    }

    fn node_box(&self, node: NodeId) -> &NodeBox {
        let entity = self.get::<EntityIndex>().nodes[&node];
        self.app.world().get::<NodeBox>(entity).unwrap()
    }

    /// The middle of a node's header.
    pub fn middle_px(&self, node: NodeId) -> [f32; 2] {
        let area = self.node_box(node).area;
        self.px_of(Vec2::new(area.center().x, area.min.y + 16.0))
    }

    fn port_px(&self, node: NodeId, port: PortId) -> [f32; 2] {
        self.px_of(self.node_box(node).port_world(port).unwrap())
    }

    /// An output of a node.
    pub fn output_px(&self, node: NodeId, index: usize) -> [f32; 2] {
        let port = self.project().nodes[&node].outputs[index].id;
        self.port_px(node, port)
    }

    /// An input of a node.
    pub fn input_px(&self, node: NodeId, index: usize) -> [f32; 2] {
        let port = self.project().nodes[&node].inputs[index].id;
        self.port_px(node, port)
    }

    /// The middle of the view in canvas units.
    pub fn view_center(&self) -> [f32; 2] {
        self.get::<CanvasView>().center_world.to_array()
    }

    /// Zoom of the canvas.
    pub fn canvas_zoom(&self) -> f32 {
        self.get::<CanvasView>().zoom
    }

    /// Where the canvas ends at the right.
    pub fn canvas_right_px(&self) -> f32 {
        self.get::<CanvasViewport>().rect_px.unwrap().max.x
    }

    /// Zoom of the interface.
    pub fn scale(&self) -> f32 {
        self.get::<Settings>().ui_scale
    }

    /// Width of the window in points.
    pub fn width_points(&self) -> f32 {
        SIZE[0] as f32 / self.scale()
    }

    /// Height of the window in points.
    pub fn height_points(&self) -> f32 {
        SIZE[1] as f32 / self.scale()
    }

    /// All words that are seen.
    pub fn labels(&self) -> &[Label] {
        &self.get::<Labels>().0
    }

    /// Whether words are seen, in whatever case.
    pub fn sees(&self, words: &str) -> bool {
        let wanted = words.to_lowercase();
        self.labels()
            .iter()
            .any(|label| label.text.to_lowercase() == wanted)
    }

    /// Lets frames pass until something is so.
    pub fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            assert!(begin.elapsed() < PATIENCE, "never: {what}");
            self.wait_frames(1);
        }
        self.frames(SETTLE);
    }

    /// Where words are seen.
    pub fn find_words(&self, words: &str) -> [f32; 2] {
        let label = self
            .labels()
            .iter()
            .rev()
            .find(|label| label.text == words)
            .unwrap_or_else(|| {
                let seen: Vec<&str> = self.labels().iter().map(|label| &*label.text).collect();
                panic!("\"{words}\" is not seen, but {seen:?}")
            });
        let at = label.rect.center() * self.scale();
        [at.x, at.y]
    }

    /// Clicks on words.
    pub fn click_words(&mut self, words: &str) {
        let at = self.find_words(words);
        self.click(at);
    }

    /// Clicks an answer of a question that came by itself, which takes none in its first moments.
    pub fn answer(&mut self, words: &str) {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(800) {
            self.wait_frames(1);
        }
        self.click_words(words);
    }
}

fn read_labels(outputs: Query<&EguiFullOutput>, mut labels: ResMut<Labels>) {
    labels.0.clear();
    for output in &outputs {
        let shapes = output.0.iter().flat_map(|output| &output.shapes);
        for clipped in shapes {
            read_shape(&clipped.shape, clipped.clip_rect, &mut labels.0);
        }
    }
}

fn read_shape(shape: &egui::Shape, clip: egui::Rect, into: &mut Vec<Label>) {
    match shape {
        egui::Shape::Vec(shapes) => {
            for shape in shapes {
                read_shape(shape, clip, into);
            }
        }
        egui::Shape::Text(text) => {
            let rect = text.visual_bounding_rect();
            // Icons are letters of a private part of Unicode.
            let is_icon = |letter: char| ('\u{e000}'..='\u{f8ff}').contains(&letter);
            let whole = text.galley.text().trim();
            let words =
                whole.trim_matches(|letter: char| letter.is_whitespace() || is_icon(letter));
            // An icon by itself is what it says.
            let words = if words.is_empty() { whole } else { words };
            if rect.is_positive() && clip.intersects(rect) && !words.is_empty() {
                into.push(Label {
                    text: words.to_owned(),
                    rect,
                });
            }
        }
        _ => {}
    }
}
