//! Which backend can run which workflow of the project, and why not: nodes down, backends across.

use crate::app::actions::Action;
use crate::app::icons;
use crate::app::shell::PanelContext;
use crate::app::theme::{RADIUS_CONTROL, TEXT_SMALL};
use crate::app::widgets::{caption, hint};
use crate::project::{BackendId, Node, NodeKind};
use bevy_egui::egui::{
    Align2, Color32, CornerRadius, FontId, Galley, Pos2, Rect, Sense, Ui, Vec2, epaint::TextShape,
    text::LayoutJob,
};
use std::sync::Arc;

/// Width of a backend's column, points.
const COLUMN: f32 = 26.0;
/// Greatest height of the names of the backends, which are written upwards, points.
const NAMES: f32 = 96.0;
/// Height of a row, points.
const ROW: f32 = 26.0;
/// Width that the titles of nodes keep at least, points.
const TITLES: f32 = 90.0;
/// Nodes listed; more are counted.
const NODES: usize = 200;
/// Reasons told by a tip.
const REASONS: usize = 6;

/// Draws the matrix; nothing when there is no workflow or no backend.
pub(super) fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let project = panel.document.project();
    let mut nodes: Vec<&Node> = project
        .nodes
        .values()
        .filter(|node| matches!(node.kind, NodeKind::Workflow(_)))
        .collect();
    if nodes.is_empty() || panel.backends.cards.is_empty() {
        return;
    }
    nodes.sort_by(|a, b| a.pos_world[0].total_cmp(&b.pos_world[0]));
    let known = panel.backends;
    let mut backends: Vec<(BackendId, &str)> = known
        .by_name()
        .map(|(id, card)| (*id, card.status.name.as_str()))
        .collect();
    let room = (ui.available_width() - TITLES).max(COLUMN);
    let columns = backends.len().min((room / COLUMN) as usize);
    let left_out = backends.len() - columns;
    backends.truncate(columns);

    caption(ui, theme, "Where it can run");
    let width = ui.available_width();
    let right = |column: usize| width - (columns - column) as f32 * COLUMN;
    let names: Vec<Arc<Galley>> = backends
        .iter()
        .map(|(_, name)| one_line(ui, name, TEXT_SMALL, theme.dim, NAMES))
        .collect();
    let height = names.iter().map(|name| name.size().x).fold(0.0, f32::max) + 8.0;
    let (header, _) = ui.allocate_exact_size(Vec2::new(width, height), Sense::hover());
    for (column, ((_, name), galley)) in backends.iter().zip(names).enumerate() {
        let at = Rect::from_min_size(
            Pos2::new(header.left() + right(column), header.top()),
            Vec2::new(COLUMN, height),
        );
        upwards(ui, at, galley, theme.dim);
        let id = ui.id().with(("backend", column));
        ui.interact(at, id, Sense::hover()).on_hover_text(*name);
    }
    ui.spacing_mut().item_spacing.y = 1.0;
    for node in nodes.iter().take(NODES) {
        let (rect, response) = ui.allocate_exact_size(Vec2::new(width, ROW), Sense::click());
        if !ui.is_rect_visible(rect) {
            continue;
        }
        if response.hovered() {
            let corner = CornerRadius::same(RADIUS_CONTROL);
            ui.painter().rect_filled(rect, corner, theme.surface_raised);
        }
        let title = one_line(
            ui,
            &node.title,
            12.5,
            theme.text,
            (right(0) - 10.0).max(20.0),
        );
        let at = Pos2::new(rect.left() + 4.0, rect.center().y - title.size().y / 2.0);
        ui.painter().galley(at, title, theme.text);
        let fits = panel.catalog.fits(project, node);
        for (column, (backend_id, name)) in backends.iter().enumerate() {
            let cell = Rect::from_min_size(
                Pos2::new(rect.left() + right(column), rect.top()),
                Vec2::new(COLUMN, ROW),
            );
            let (icon, color, words) = match fits.get(backend_id) {
                None => (
                    icons::CIRCLE_DASHED,
                    theme.faint,
                    format!("{name} has not said yet what it has"),
                ),
                Some(reasons) if reasons.is_empty() => {
                    (icons::CHECK_CIRCLE, theme.ok, format!("{name} can run it"))
                }
                Some(reasons) => (icons::X_CIRCLE, theme.error, told(name, reasons)),
            };
            let words = if panel.catalog.is_remembered(*backend_id) {
                format!("{words}\n(by what it said when it last answered)")
            } else {
                words
            };
            ui.painter().text(
                cell.center(),
                Align2::CENTER_CENTER,
                icon,
                FontId::proportional(15.0),
                color,
            );
            let id = ui.id().with(("fit", node.id.uuid(), column));
            ui.interact(cell, id, Sense::hover()).on_hover_text(words);
        }
        if response.clicked() {
            panel.act(Action::RevealNode(node.id));
        }
    }
    let mut rest = Vec::new();
    if nodes.len() > NODES {
        rest.push(format!("{} more nodes", nodes.len() - NODES));
    }
    if left_out > 0 {
        rest.push(format!("{left_out} more backends: widen the panel"));
    }
    if !rest.is_empty() {
        hint(ui, theme, &format!("and {}", rest.join(", ")));
    }
}

fn told(name: &str, reasons: &[String]) -> String {
    let mut lines = vec![format!("{name} cannot run it:")];
    lines.extend(
        reasons
            .iter()
            .take(REASONS)
            .map(|reason| format!("· {reason}")),
    );
    if reasons.len() > REASONS {
        lines.push(format!("and {} more", reasons.len() - REASONS));
    }
    lines.join("\n")
}

/// Words in one line, cut off where they are too long.
fn one_line(ui: &Ui, words: &str, size: f32, color: Color32, width: f32) -> Arc<Galley> {
    let font = FontId::proportional(size);
    let mut job = LayoutJob::simple_singleline(words.to_owned(), font, color);
    job.wrap.max_width = width;
    job.wrap.max_rows = 1;
    job.wrap.break_anywhere = true;
    ui.fonts_mut(|fonts| fonts.layout_job(job))
}

/// Words from the bottom of a rectangle to its top.
fn upwards(ui: &Ui, rect: Rect, galley: Arc<Galley>, color: Color32) {
    let at = Pos2::new(rect.center().x - galley.size().y / 2.0, rect.bottom() - 4.0);
    ui.painter()
        .add(TextShape::new(at, galley, color).with_angle(-std::f32::consts::FRAC_PI_2));
}
