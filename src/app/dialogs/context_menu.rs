//! The menu of what is under the pointer: a right click on a node, a link or the background.

use crate::app::actions::{ACTIONS, Action, CanvasTarget, LookedAt, Select};
use crate::app::dialogs::in_browser;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::summary;
use crate::app::widgets::{chosen_item, menu_row};
use crate::engine::{ItemState, RetryScope, RunCommand, RunWish};
use crate::project::{FrameId, NodeId, NodeKind};
use bevy_egui::egui::{Area, Context, Frame, Id, Key, Order, Pos2, Ui};

/// An open menu.
#[derive(Clone, Copy, Debug)]
pub struct ContextMenu {
    /// What it is about.
    pub target: CanvasTarget,
    /// Where it opens, logical pixels of the window.
    pub pos_px: [f32; 2],
    /// The same place in canvas units.
    pub pos_world: [f32; 2],
    /// Whether the click that opened it is still going on.
    pub is_fresh: bool,
}

/// Actions for selected nodes and links, by id; empty lines are separators.
const FOR_SELECTION: &[&str] = &[
    "edit.cut",
    "edit.copy",
    "edit.duplicate",
    "edit.frame",
    "",
    "view.selection",
    "",
    "edit.delete",
];
/// Actions for a frame.
const FOR_FRAME: &[&str] = &[
    "edit.fit_frame",
    "",
    "edit.cut",
    "edit.copy",
    "edit.duplicate",
    "",
    "view.selection",
    "",
    "edit.delete",
];
/// Actions for the background.
const FOR_BACKGROUND: &[&str] = &[
    "edit.select_all",
    "view.fit",
    "view.reset",
    "",
    "edit.undo",
    "edit.redo",
    "",
    "file.import_workflow",
];

/// Draws the menu, if it is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(mut menu) = panel.dialogs.context_menu else {
        return;
    };
    let mut chosen = None;
    let area = Area::new(Id::new("canvas-menu"))
        .order(Order::Foreground)
        .fixed_pos(Pos2::from(menu.pos_px))
        .constrain(true)
        .show(ctx, |ui| {
            Frame::menu(ui.style()).show(ui, |ui| {
                ui.set_width(290.0);
                ui.spacing_mut().item_spacing.y = 2.0;
                chosen = rows(ui, panel, &menu);
            });
        });
    let is_elsewhere =
        ctx.input(|input| input.pointer.any_pressed()) && !area.response.contains_pointer();
    let is_left =
        ctx.input(|input| input.key_pressed(Key::Escape)) || (is_elsewhere && !menu.is_fresh);
    menu.is_fresh = false;
    panel.dialogs.context_menu = (chosen.is_none() && !is_left).then_some(menu);
    if let Some(action) = chosen {
        panel.act(action);
    }
}

fn rows(ui: &mut Ui, panel: &PanelContext<'_>, menu: &ContextMenu) -> Option<Action> {
    let mut chosen = None;
    let ids = match menu.target {
        CanvasTarget::Empty | CanvasTarget::Port(_) => {
            let connect = match menu.target {
                CanvasTarget::Port(port) => Some(port),
                _ => None,
            };
            let title = if connect.is_some() {
                "Add and connect…"
            } else {
                "Add node…"
            };
            if menu_row(ui, panel.theme, icons::PLUS, title, "", true) {
                chosen = Some(Action::AddNodeSearch {
                    pos_world: Some(menu.pos_world),
                    connect,
                });
            }
            ui.separator();
            FOR_BACKGROUND
        }
        CanvasTarget::Link(link) if !panel.selection.links.contains(&link) => {
            if menu_row(ui, panel.theme, "", "Select this link", "", true) {
                chosen = Some(Action::Select(Select::Only {
                    nodes: Vec::new(),
                    links: vec![link],
                }));
            }
            ui.separator();
            FOR_SELECTION
        }
        CanvasTarget::Node(node_id) => {
            if let Some(action) = edit_rows(ui, panel, node_id) {
                chosen = Some(action);
            }
            if let Some(action) = run_rows(ui, panel, node_id) {
                chosen = Some(action);
            }
            FOR_SELECTION
        }
        CanvasTarget::Link(_) => FOR_SELECTION,
        CanvasTarget::Frame(frame_id) => {
            if let Some(action) = frame_rows(ui, panel, frame_id) {
                chosen = Some(action);
            }
            FOR_FRAME
        }
    };
    for id in ids {
        if id.is_empty() {
            ui.separator();
        } else if let Some(spec) = ACTIONS.iter().find(|spec| spec.id == *id) {
            let is_possible = spec.needs.met(&panel.action_context());
            let keys = panel.keymap.shown(spec.id);
            if menu_row(ui, panel.theme, spec.icon, spec.title, &keys, is_possible) {
                chosen = Some(spec.action.clone());
            }
        }
    }
    chosen
}

/// Rows about a frame.
fn frame_rows(ui: &mut Ui, panel: &PanelContext<'_>, frame_id: FrameId) -> Option<Action> {
    let theme = panel.theme;
    let mut chosen = None;
    if menu_row(ui, theme, icons::PENCIL_SIMPLE, "Rename", "", true) {
        chosen = Some(Action::RenameFrame(frame_id));
    }
    if menu_row(ui, theme, icons::SELECTION, "Select its nodes", "", true) {
        chosen = Some(Action::SelectInFrame(frame_id));
    }
    chosen
}

/// Rows that open a Workflow node in ComfyUI's editor: one, or one for each backend when there are several.
fn edit_rows(ui: &mut Ui, panel: &PanelContext<'_>, node_id: NodeId) -> Option<Action> {
    let node = panel.document.project().nodes.get(&node_id)?;
    if !matches!(node.kind, NodeKind::Workflow(_)) {
        return None;
    }
    let mut chosen = None;
    let keys = panel.keymap.shown("edit.workflow");
    if menu_row(
        ui,
        panel.theme,
        icons::PENCIL_SIMPLE,
        "Edit in ComfyUI…",
        &keys,
        true,
    ) {
        chosen = Some(Action::EditWorkflow {
            node_id: Some(node_id),
            backend_id: None,
        });
    }
    if panel.backends.cards.len() > 1 {
        for (backend_id, card) in panel.backends.by_name().take(MAX_BACKEND_ROWS) {
            let title = format!("… on {}", card.status.name);
            let is_possible = card.status.state.answers() && card.status.may_have_editor();
            if menu_row(ui, panel.theme, "", &title, "", is_possible) {
                chosen = Some(Action::EditWorkflow {
                    node_id: Some(node_id),
                    backend_id: Some(*backend_id),
                });
            }
        }
    }
    let title = "Bring back thrown away edits…";
    if panel.editors.has_thrown_away(node_id)
        && menu_row(
            ui,
            panel.theme,
            icons::ARROW_COUNTER_CLOCKWISE,
            title,
            "",
            panel.editors.of(node_id).is_none(),
        )
    {
        chosen = Some(Action::BringBackEdits { node_id });
    }
    let title = "Edit in the browser…";
    let is_possible = in_browser::backend(panel, node_id, None).is_some();
    if menu_row(ui, panel.theme, "", title, "", is_possible) {
        chosen = in_browser::open(ui.ctx(), panel, node_id, None);
    }
    ui.separator();
    chosen
}

/// Backends that the menu lists.
const MAX_BACKEND_ROWS: usize = 10;

/// Rows that run a part of the project, and those about the node's items in the shown run.
fn run_rows(ui: &mut Ui, panel: &PanelContext<'_>, node_id: NodeId) -> Option<Action> {
    let node = panel.document.project().nodes.get(&node_id)?;
    let mut chosen = None;
    let theme = panel.theme;
    if menu_row(ui, theme, icons::PLAY, "Run up to this node", "", true) {
        chosen = Some(Action::RunUpTo(node_id));
    }
    if matches!(node.kind, NodeKind::Workflow(_)) {
        let is_known = panel.catalog.object_info().is_some();
        let (item, count) = looked_at(ui, panel, node_id);
        let title = match (&item, count) {
            (Some(label), _) => format!("Look inside [{label}], up to…"),
            (None, 0..=1) => "Look inside, up to…".to_owned(),
            (None, _) => "Look inside the first item, up to…".to_owned(),
        };
        if menu_row(ui, theme, icons::EYE, &title, "", is_known) {
            let items = LookedAt::One(item.unwrap_or_default());
            chosen = Some(Action::ChooseInner { node_id, items });
        }
        if count > 1 {
            let title = format!("Look inside all {count} items, up to…");
            if menu_row(ui, theme, "", &title, "", is_known) {
                let items = LookedAt::All;
                chosen = Some(Action::ChooseInner { node_id, items });
            }
        }
    }
    if let Some(command) = item_rows(ui, panel, node_id) {
        chosen = Some(Action::Command(Box::new(command)));
    }
    ui.separator();
    chosen
}

/// The label of the item of a node that is open in its properties, and how many items the node has in the shown run.
fn looked_at(ui: &Ui, panel: &PanelContext<'_>, node_id: NodeId) -> (Option<String>, u32) {
    let view = panel.runs.shown_view();
    let count = view
        .and_then(|view| view.nodes.get(&node_id))
        .map_or(0, |node| node.counts.total());
    let label = chosen_item(ui, node_id)
        .and_then(|item_id| view?.items.get(&item_id))
        .map(|item| item.label.to_string())
        .filter(|label| !label.is_empty());
    (label, count)
}

/// Rows about the items of a node, as far as they make sense now.
fn item_rows(ui: &mut Ui, panel: &PanelContext<'_>, node_id: NodeId) -> Option<RunCommand> {
    let run_id = panel.runs.shown?;
    let view = panel.runs.shown_view()?;
    let node = view.nodes.get(&node_id)?;
    let theme = panel.theme;
    let mut chosen = None;
    let is_active = summary::is_active(view);
    let lost = node.counts.get(ItemState::Failed) + node.counts.get(ItemState::Cancelled);
    if is_active && node.counts.total() > node.counts.ended() {
        for (words, priority) in [("Do its items first", 1), ("Do its items last", -1)] {
            if menu_row(ui, theme, "", words, "", true) {
                chosen = Some(RunCommand::wish(
                    run_id,
                    RunWish::SetNodePriority { node_id, priority },
                ));
            }
        }
        if menu_row(ui, theme, icons::STOP, "Call its items off", "", true) {
            chosen = Some(RunCommand::wish(run_id, RunWish::CancelNode(node_id)));
        }
    }
    if lost > 0
        && menu_row(
            ui,
            theme,
            icons::ARROWS_CLOCKWISE,
            summary::RETRY_OF_NODE,
            "",
            true,
        )
    {
        chosen = Some(RunCommand::wish(
            run_id,
            RunWish::Retry(RetryScope::Node(node_id)),
        ));
    }
    chosen
}
