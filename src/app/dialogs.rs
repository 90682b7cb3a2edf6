//! What opens above the window: questions, searches, settings.

pub mod about;
pub mod backend;
pub mod context_menu;
pub mod expose;
pub mod files;
pub mod in_browser;
pub mod keep_new;
pub mod library;
pub mod make_again;
pub mod palette;
pub mod plan;
pub mod preferences;
pub mod prompt;
pub mod replace_workflow;
mod uncalled;
pub mod unfinished;

use super::actions::Action;
use super::files::Pending;
use super::review::Again;
use super::shell::PanelContext;
use super::theme::Theme;
use crate::project::Project;
use crate::store::project_folder::ProjectPlace;
use bevy::prelude::*;
use bevy_egui::egui::{self, Context};

/// Which dialogs are open.
#[derive(Resource, Default)]
pub struct Dialogs {
    /// A question that must be answered.
    pub prompt: Option<Prompt>,
    /// The file dialog.
    pub files: files::FileAsker,
    /// A search with a list.
    pub finder: Option<palette::Finder>,
    /// The menu of what is under the pointer.
    pub context_menu: Option<context_menu::ContextMenu>,
    /// A backend's settings.
    pub backend: Option<backend::BackendForm>,
    /// What saving another workflow into a node changes.
    pub replacement: Option<replace_workflow::ReplaceDialog>,
    /// A new workflow that an editor's window saved.
    pub keep_new: Option<keep_new::KeepNew>,
    /// Editing a workflow in the person's own browser.
    pub in_browser: Option<in_browser::BrowserDialog>,
    /// A workflow of the library, or what is saved on backends.
    pub library: Option<library::LibraryDialog>,
    /// The fields that a node shows. Leaves keyboard and pointer to the canvas beside it.
    pub expose: Option<expose::ExposeForm>,
    /// An item that is to be made again.
    pub make_again: Option<Again>,
    /// What a run would do.
    pub plan: Option<plan::PlanDialog>,
    /// The list of shortcuts.
    pub shortcuts: bool,
    /// Theme, size, shortcuts.
    pub preferences: bool,
    /// Version and licences.
    pub about: bool,
    /// Unsaved work that the person wants back.
    pub recover: Option<Box<Project>>,
    /// Unsaved work that the person does not want back.
    pub discard_recovered: Option<ProjectPlace>,
    /// A place whose project may be replaced.
    pub overwrite: Option<ProjectPlace>,
    waiting: Option<Pending>,
    confirmed: Option<Pending>,
}

/// A question that must be answered.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// There are unsaved changes, and something would lose them.
    Unsaved(Pending),
    /// Unsaved work of an earlier session was found.
    Recovered {
        /// The work.
        project: Box<Project>,
        /// Where it was found; none when it lies nowhere.
        place: Option<ProjectPlace>,
    },
    /// Something lies where the project is to be saved.
    Overwrite {
        /// Where.
        place: ProjectPlace,
        /// What is there, as a sentence.
        reason: String,
    },
}

impl Dialogs {
    /// Whether a dialog takes keyboard and pointer from everything below.
    #[must_use]
    pub fn any_open(&self) -> bool {
        self.prompt.is_some()
            || self.files.is_open()
            || self.finder.is_some()
            || self.backend.is_some()
            || self.replacement.is_some()
            || self.keep_new.is_some()
            || self.in_browser.is_some()
            || self.library.is_some()
            || self.plan.is_some()
            || self.make_again.is_some()
            || self.shortcuts
            || self.preferences
            || self.about
    }

    /// What waited for an answer and may go on now.
    pub fn take_confirmed(&mut self) -> Option<Pending> {
        self.confirmed.take()
    }

    /// What waited does not go on.
    pub fn cancel_pending(&mut self) {
        self.waiting = None;
    }

    /// The document was saved or given up: what waited goes on.
    pub fn confirm(&mut self, pending: Pending) {
        self.confirmed = Some(pending);
    }

    /// Waits until the document is saved.
    pub fn wait_for_save(&mut self, pending: Pending) {
        self.waiting = Some(pending);
    }

    /// Goes on with what waited for the save, when the document is saved.
    pub fn saved(&mut self) {
        if let Some(pending) = self.waiting.take() {
            self.confirmed = Some(pending);
        }
    }
}

/// Opens dialogs that actions ask for.
pub fn open_dialogs(
    mut actions: MessageReader<Action>,
    mut dialogs: ResMut<Dialogs>,
    bridge: Option<Res<super::bridge::Bridge>>,
    selection: Res<super::document::Selection>,
    document: Res<super::document::Document>,
    catalog: Res<super::catalog::Catalog>,
) {
    for action in actions.read() {
        match action {
            Action::AddNodeSearch { pos_world, connect } => {
                dialogs.finder = Some(palette::Finder::nodes(*pos_world, *connect));
            }
            Action::OpenContextMenu {
                target,
                pos_px,
                pos_world,
            } => {
                dialogs.context_menu = Some(context_menu::ContextMenu {
                    target: *target,
                    pos_px: *pos_px,
                    pos_world: *pos_world,
                    is_fresh: true,
                });
            }
            Action::ChooseFields => {
                let node = selection.workflow_node(document.project());
                dialogs.expose = node.map(expose::ExposeForm::of);
            }
            Action::ChooseInner { node_id, items } => {
                let inner = catalog.inner_nodes(document.project(), *node_id);
                let finder = palette::Finder::inner_nodes(*node_id, items.clone(), inner);
                dialogs.finder = Some(finder);
            }
            Action::CommandPalette => dialogs.finder = Some(palette::Finder::commands()),
            Action::Shortcuts => dialogs.shortcuts = true,
            Action::Preferences => dialogs.preferences = true,
            Action::About => dialogs.about = true,
            Action::AddBackend => dialogs.backend = Some(backend::BackendForm::new()),
            Action::EditBackend(id) => {
                dialogs.backend = bridge
                    .as_ref()
                    .and_then(|bridge| bridge.backend_config(*id))
                    .map(|config| backend::BackendForm::of(&config));
            }
            _ => {}
        }
    }
}

/// Draws what is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    files::show(ctx, panel);
    palette::show(ctx, panel);
    context_menu::show(ctx, panel);
    expose::show(ctx, panel);
    backend::show(ctx, panel);
    library::show(ctx, panel);
    preferences::show(ctx, panel);
    about::show(ctx, panel);
    in_browser::show(ctx, panel);
    keep_new::show(ctx, panel);
    replace_workflow::show(ctx, panel);
    plan::show(ctx, panel);
    make_again::show(ctx, panel);
    unfinished::show(ctx, panel);
    prompt::show(ctx, panel);
}

/// A dialog in the middle of the window with everything else dimmed. Gives whether it is to be closed. What is higher than
/// the window scrolls.
pub fn modal(
    ctx: &Context,
    theme: &Theme,
    id: &str,
    width: f32,
    add: impl FnOnce(&mut egui::Ui),
) -> bool {
    let area = egui::Modal::default_area(egui::Id::new(id));
    let height = ctx.content_rect().height() - 2.0 * (MODAL_MARGIN + MODAL_SPACE);
    show_modal(ctx, theme, id, area, width, |ui| {
        egui::ScrollArea::vertical()
            .max_height(height.max(80.0))
            // Otherwise it stays as high as it was in its first frame.
            .min_scrolled_height(height.max(80.0))
            .auto_shrink([false, true])
            .show(ui, add);
    })
}

/// A dialog whose top stays where it is while its height changes. `at` is its top left corner, if there is a place it
/// belongs to.
pub fn modal_from_top(
    ctx: &Context,
    theme: &Theme,
    id: &str,
    width: f32,
    at: Option<egui::Pos2>,
    add: impl FnOnce(&mut egui::Ui),
) -> bool {
    let area = egui::Modal::default_area(egui::Id::new(id));
    let screen = ctx.content_rect();
    let area = match at {
        // Not so low that the list has no room, not so far right that it is pushed back.
        Some(at) => area.anchor(
            egui::Align2::LEFT_TOP,
            egui::vec2(
                at.x.min(screen.right() - width - 2.0 * MODAL_MARGIN - MODAL_SPACE)
                    .max(MODAL_SPACE),
                at.y.min(screen.bottom() - 380.0).max(MODAL_SPACE),
            ),
        ),
        None => area.anchor(
            egui::Align2::CENTER_TOP,
            egui::vec2(0.0, (screen.height() * 0.16).min(140.0)),
        ),
    };
    show_modal(ctx, theme, id, area, width, add)
}

/// Space between a dialog's border and what is in it, points.
const MODAL_MARGIN: f32 = 20.0;
/// Space between a dialog and the border of the window, points.
const MODAL_SPACE: f32 = 16.0;

fn show_modal(
    ctx: &Context,
    theme: &Theme,
    id: &str,
    area: egui::Area,
    width: f32,
    add: impl FnOnce(&mut egui::Ui),
) -> bool {
    let room = ctx.content_rect().width() - 2.0 * (MODAL_MARGIN + MODAL_SPACE);
    let response = egui::Modal::new(egui::Id::new(id))
        .area(area)
        .backdrop_color(egui::Color32::from_black_alpha(120))
        .frame(
            egui::Frame::new()
                .fill(theme.surface_card)
                .stroke(egui::Stroke::new(1.0, theme.line))
                .corner_radius(12)
                .inner_margin(egui::Margin::same(MODAL_MARGIN as i8))
                .shadow(egui::epaint::Shadow {
                    offset: [0, 12],
                    blur: 40,
                    spread: 0,
                    color: theme.shadow,
                }),
        )
        .show(ctx, |ui| {
            ui.set_width(width.min(room.max(160.0)));
            add(ui);
        });
    response.should_close()
}
