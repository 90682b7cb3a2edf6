//! The window's frame: top bar, docked panels, status bar, and what floats above them.

mod dock;

pub use dock::{Docks, Panel};

use super::actions::{Action, ActionContext, Gesture};
use super::bridge::{Backends, EventLog, Library, Live, RunHistory, RunViews};
use super::catalog::Catalog;
use super::dialogs::{self, Dialogs};
use super::document::{Document, Selection};
use super::editors::Editors;
use super::keymap::{KeyboardFocus, Keymap};
use super::panels;
use super::previews::ArtifactFiles;
use super::review::ReviewDesk;
use super::settings::Settings;
use super::theme::Theme;
use super::thumbnails::Thumbnails;
use super::toasts::Toasts;
use super::viewport::{CanvasView, CanvasViewport};
use super::wake::now_ms;
use crate::artifacts::ContentHash;
use crate::engine::RunCommand;
use crate::project::{FrameId, NodeId};
use crate::workflow::ParameterAddress;
use bevy::ecs::system::SystemParam;
use bevy::prelude::*;
use bevy_egui::{EguiContexts, egui};
use egui::{Ui, UiBuilder};

/// What the panels remember between frames and nobody else needs.
#[derive(Resource, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is switched by itself")]
pub struct ShellState {
    /// The arrangement of the panels.
    pub docks: Docks,
    /// Only the canvas is shown.
    pub focus_mode: bool,
    /// What is typed into the library's search.
    pub library_search: String,
    /// The tag that the library is looked at through.
    pub library_tag: Option<String>,
    /// Small pictures of the library that egui holds.
    pub thumbnails: std::collections::HashMap<ContentHash, egui::TextureHandle>,
    /// The field that is being edited and the gesture it belongs to.
    pub editing: Option<(egui::Id, Gesture)>,
    /// Text of fields that do not parse yet.
    pub drafts: std::collections::HashMap<egui::Id, String>,
    /// Which states the list of runs' items shows; only problems.
    pub only_problems: bool,
    /// Whether the list of runs shows those of other projects too.
    pub all_projects: bool,
    /// Whether the history of notifications is open.
    pub notifications_open: bool,
    /// What a person did so far with what waits for them.
    pub review: ReviewDesk,
    /// The theme and zoom that egui was last given.
    applied: Option<(Theme, f32)>,
    /// A frame whose name is to be typed.
    pub renamed_frame: Option<FrameId>,
    fonts_installed: bool,
}

impl ShellState {
    /// The gesture for a change in this field: the one in progress, or a new one.
    pub fn gesture(&mut self, id: egui::Id) -> Gesture {
        match self.editing {
            Some((editing, gesture)) if editing == id => gesture,
            _ => {
                let gesture = Gesture::new();
                self.editing = Some((id, gesture));
                gesture
            }
        }
    }

    /// Ends the gesture of a field when its drag or typing ends.
    pub fn end_gesture(&mut self, response: &egui::Response) {
        if response.drag_stopped() || response.lost_focus() {
            self.editing = None;
        }
    }
}

/// A field of a node's workflow that is dragged out of a list.
#[derive(Clone, Debug)]
pub struct DraggedField {
    /// The node.
    pub node_id: NodeId,
    /// The field.
    pub address: ParameterAddress,
}

/// What panels see of the world, and where they put their wishes.
pub struct PanelContext<'a> {
    /// Colours.
    pub theme: &'a Theme,
    /// The document.
    pub document: &'a Document,
    /// What is selected.
    pub selection: &'a Selection,
    /// Runs.
    pub runs: &'a RunViews,
    /// Every run of the database.
    pub history: Option<&'a RunHistory>,
    /// The library of workflows.
    pub library: Option<&'a Library>,
    /// Progress of now.
    pub live: &'a Live,
    /// Backends.
    pub backends: &'a Backends,
    /// Windows of ComfyUI's editor.
    pub editors: &'a Editors,
    /// Recent events.
    pub log: &'a EventLog,
    /// Where the files of artifacts lie.
    pub files: Option<&'a ArtifactFiles>,
    /// Pictures of files.
    pub thumbnails: &'a mut Thumbnails,
    /// What is known about the project's workflows.
    pub catalog: &'a mut Catalog,
    /// Keys.
    pub keymap: &'a Keymap,
    /// What is remembered.
    pub settings: &'a mut Settings,
    /// Messages.
    pub toasts: &'a mut Toasts,
    /// What the panels remember.
    pub state: &'a mut ShellState,
    /// Open dialogs.
    pub dialogs: &'a mut Dialogs,
    /// How the canvas looks onto the world.
    pub view: CanvasView,
    /// Rectangle of the canvas in egui points, when it is shown.
    pub canvas_rect: Option<egui::Rect>,
    /// Unix time in milliseconds.
    pub now_ms: u64,
    /// Wishes of this frame.
    pub actions: Vec<Action>,
}

impl PanelContext<'_> {
    /// Asks for something.
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Asks the engine for something.
    pub fn command(&mut self, command: RunCommand) {
        self.actions.push(Action::Command(Box::new(command)));
    }

    /// How many items of this project's runs wait for a person.
    #[must_use]
    pub fn waiting_for_person(&self) -> u32 {
        use crate::engine::ItemState;
        let shown = self.runs.shown_view().map_or(0, |view| {
            view.counts.get(ItemState::Parked) + view.counts.get(ItemState::Asking)
        });
        let project_id = self.document.project().id;
        let elsewhere = self.runs.waiting_elsewhere(project_id);
        shown + elsewhere.map(|(_, waiting)| waiting).sum::<u32>()
    }

    /// What the needs of actions are checked against.
    #[must_use]
    pub fn action_context(&self) -> ActionContext<'_> {
        let view = self.runs.shown_view();
        ActionContext {
            document: self.document,
            selection: self.selection,
            run_active: view.is_some_and(super::summary::is_active),
            run_has_failures: view.is_some_and(|view| {
                use crate::engine::ItemState;
                !super::summary::is_active(view)
                    && view.counts.get(ItemState::Failed) + view.counts.get(ItemState::Cancelled)
                        > 0
            }),
            backend_count: self.backends.cards.len(),
        }
    }
}

/// Everything the layout system reads and writes.
#[derive(SystemParam)]
pub struct ShellWorld<'w> {
    theme: Res<'w, Theme>,
    document: Res<'w, Document>,
    selection: Res<'w, Selection>,
    runs: Res<'w, RunViews>,
    history: Option<Res<'w, RunHistory>>,
    library: Option<Res<'w, Library>>,
    live: Res<'w, Live>,
    backends: Res<'w, Backends>,
    editors: Res<'w, Editors>,
    log: Res<'w, EventLog>,
    files: Option<Res<'w, ArtifactFiles>>,
    thumbnails: ResMut<'w, Thumbnails>,
    catalog: ResMut<'w, Catalog>,
    keymap: Res<'w, Keymap>,
    settings: ResMut<'w, Settings>,
    toasts: ResMut<'w, Toasts>,
    state: ResMut<'w, ShellState>,
    dialogs: ResMut<'w, Dialogs>,
    view: Res<'w, CanvasView>,
    viewport: ResMut<'w, CanvasViewport>,
    actions: MessageWriter<'w, Action>,
}

/// Lays the window out. Runs once per frame in egui's pass.
pub fn lay_out(mut contexts: EguiContexts, world: ShellWorld) -> Result {
    let ctx = contexts.ctx_mut()?.clone();
    let mut world = world;
    if !world.state.fonts_installed {
        // Fonts hold from the next pass on; naming one that is not there yet would end the program.
        super::theme::install_fonts(&ctx);
        // One pass per frame: panels write their wishes once. What a second pass would fix is fixed a frame later.
        ctx.options_mut(|options| {
            options.max_passes = std::num::NonZeroUsize::MIN;
            // The size of the interface is a setting with keys of its own.
            options.zoom_with_keyboard = false;
        });
        world.state.fonts_installed = true;
        ctx.request_repaint();
        return Ok(());
    }
    prepare(
        &ctx,
        &world.theme,
        world.settings.ui_scale,
        &mut world.state,
    );

    world.thumbnails.collect(&ctx);
    let mut viewport = *world.viewport;
    let mut panel = PanelContext {
        theme: &world.theme,
        document: &world.document,
        selection: &world.selection,
        runs: &world.runs,
        history: world.history.as_deref(),
        library: world.library.as_deref(),
        live: &world.live,
        backends: &world.backends,
        editors: &world.editors,
        log: &world.log,
        files: world.files.as_deref(),
        thumbnails: &mut world.thumbnails,
        catalog: &mut world.catalog,
        keymap: &world.keymap,
        settings: &mut world.settings,
        toasts: &mut world.toasts,
        state: &mut world.state,
        dialogs: &mut world.dialogs,
        view: *world.view,
        canvas_rect: None,
        now_ms: now_ms(),
        actions: Vec::new(),
    };

    take_shortcuts(&ctx, &mut panel);

    let mut root = Ui::new(
        ctx.clone(),
        "root".into(),
        UiBuilder::new()
            .layer_id(egui::LayerId::background())
            .max_rect(ctx.viewport_rect()),
    );
    panels::topbar::show(&mut root, &mut panel);
    if panel.state.focus_mode {
        let rect = root.available_rect_before_wrap();
        panel.canvas_rect = Some(rect);
        panels::canvas::show(&mut root, &mut panel);
    } else {
        panels::status::show(&mut root, &mut panel);
        dock::show(&mut root, &mut panel);
    }
    panels::toasts::show(&ctx, &mut panel);
    dialogs::show(&ctx, &mut panel);

    let canvas_rect = panel.canvas_rect;
    let dialog_open = panel.dialogs.any_open();
    let actions = std::mem::take(&mut panel.actions);

    // egui points times the interface's zoom are logical pixels of the window.
    let zoom = ctx.zoom_factor();
    viewport.ui_scale = zoom;
    viewport.rect_px = canvas_rect.map(|rect| {
        bevy::math::Rect::new(
            rect.min.x * zoom,
            rect.min.y * zoom,
            rect.max.x * zoom,
            rect.max.y * zoom,
        )
    });
    viewport.pointer_over = !dialog_open
        && canvas_rect.is_some_and(|rect| {
            ctx.pointer_hover_pos().is_some_and(|position| {
                rect.contains(position)
                    && ctx
                        .layer_id_at(position)
                        .is_none_or(|layer| layer == egui::LayerId::background())
            })
        })
        && !egui::Popup::is_any_open(&ctx);
    viewport.keyboard_taken = dialog_open || ctx.text_edit_focused();
    if viewport != *world.viewport {
        *world.viewport = viewport;
        // The canvas follows in the next frame.
        ctx.request_repaint();
    }
    world.actions.write_batch(actions);
    Ok(())
}

/// Gives egui style and zoom when they changed.
fn prepare(ctx: &egui::Context, theme: &Theme, ui_scale: f32, state: &mut ShellState) {
    let wanted = (theme.clone(), ui_scale);
    if state.applied.as_ref() != Some(&wanted) {
        theme.apply(ctx);
        ctx.set_zoom_factor(ui_scale);
        state.applied = Some(wanted);
        ctx.request_repaint();
    }
}

/// Closes the topmost of what floats beside the canvas; whether there was something.
fn close_one(panel: &mut PanelContext<'_>) -> bool {
    if panel.dialogs.expose.take().is_some() {
        true
    } else if panel.state.notifications_open {
        panel.state.notifications_open = false;
        true
    } else {
        std::mem::take(&mut panel.state.review.is_close)
    }
}

fn take_shortcuts(ctx: &egui::Context, panel: &mut PanelContext<'_>) {
    if ctx.input(|input| input.key_pressed(egui::Key::Escape)) && !panel.dialogs.any_open() {
        if egui::Popup::is_any_open(ctx) || panel.dialogs.context_menu.is_some() {
            // What pops up closes by itself, and nothing below it hears of that.
            return;
        }
        if close_one(panel) {
            ctx.input_mut(|input| input.consume_key(egui::Modifiers::NONE, egui::Key::Escape));
            return;
        }
    }
    let keyboard = if panel.dialogs.any_open() {
        KeyboardFocus::Dialog
    } else if ctx.text_edit_focused() {
        KeyboardFocus::Text
    } else if ctx.memory(|memory| memory.focused().is_some()) {
        KeyboardFocus::Widget
    } else {
        KeyboardFocus::Canvas
    };
    let pressed = panel.keymap.pressed(ctx, keyboard);
    for action in pressed {
        let needs = super::actions::ACTIONS
            .iter()
            .find(|spec| spec.action == action)
            .map(|spec| spec.needs);
        if needs.is_none_or(|needs| needs.met(&panel.action_context())) {
            panel.act(action);
        }
    }
}
