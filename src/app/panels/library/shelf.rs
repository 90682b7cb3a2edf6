//! The library in the panel at the left: a tree of folders, tags, and rows with small pictures.

use super::Dragged;
use crate::app::actions::{Action, NewNode};
use crate::app::bridge::{Library, LibraryEntry};
use crate::app::icons;
use crate::app::library::{ImportKind, LibraryWish};
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, RADIUS_CONTROL, TEXT_SMALL};
use crate::app::widgets::{hint, lines_of, menu_row};
use crate::fleet::SaveMode;
use bevy_egui::egui::{
    self, Color32, CornerRadius, FontId, Pos2, Rect, RichText, Sense, TextureOptions, Ui, Vec2,
};
use std::collections::BTreeMap;

/// Height of a row, points.
const ROW: f32 = 9.0 * GRID;
/// Side of a small picture in a row, points.
const PICTURE: f32 = 28.0;
/// Distance that each level of the tree is set in, points.
const INDENT: f32 = 12.0;
/// Small pictures that egui holds at most.
const MAX_TEXTURES: usize = 1_000;
/// Deepest level that is set in further: deeper ones would leave no room for names.
const MAX_LEVELS: usize = 6;

/// Draws the library below its heading.
pub(super) fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let Some(library) = panel.library else { return };
    if panel.state.thumbnails.len() > MAX_TEXTURES {
        // What is still seen is given to egui again.
        panel.state.thumbnails.clear();
    }
    tags(ui, panel, library);
    if library.entries.is_empty() {
        let words = if library.total > 0 {
            "No workflow of the library matches."
        } else {
            "Empty. Put a folder of workflows in with the button above, or a workflow of this project with its menu."
        };
        hint(ui, panel.theme, words);
        return;
    }
    // While something is looked for, what is found is not hidden in closed folders.
    let is_searching = !panel.state.library_search.is_empty() || panel.state.library_tag.is_some();
    folder(ui, panel, &Folder::tree(&library.entries), 0, is_searching);
}

/// Menu of the button that fills the library.
pub(super) fn fill_menu(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    ui.set_width(270.0);
    let rows = [
        (
            icons::DOWNLOAD_SIMPLE,
            "Import a workflow onto the canvas…",
            Action::ImportWorkflow,
        ),
        (
            icons::FILE,
            "Import a file into the library…",
            Action::Library(LibraryWish::ChooseImport(ImportKind::File)),
        ),
        (
            icons::FOLDER,
            "Import a folder into the library…",
            Action::Library(LibraryWish::ChooseImport(ImportKind::Folder)),
        ),
        (
            icons::HARD_DRIVES,
            "Take over from a backend…",
            Action::Library(LibraryWish::ShowBackends),
        ),
    ];
    for (icon, title, action) in rows {
        if menu_row(ui, theme, icon, title, "", true) {
            panel.act(action);
            ui.close();
        }
    }
}

fn tags(ui: &mut Ui, panel: &mut PanelContext<'_>, library: &Library) {
    if library.tags.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = Vec2::splat(4.0);
        for tag in &library.tags {
            let is_shown = panel.state.library_tag.as_ref() == Some(tag);
            let label = RichText::new(format!("#{tag}")).size(TEXT_SMALL);
            if ui.selectable_label(is_shown, label).clicked() {
                panel.state.library_tag = (!is_shown).then(|| tag.clone());
            }
        }
    });
    ui.add_space(GRID);
}

/// A folder of the tree.
#[derive(Default)]
struct Folder<'a> {
    /// By name; upper and lower case count as equal for the order.
    folders: BTreeMap<(String, &'a str), Folder<'a>>,
    entries: Vec<&'a LibraryEntry>,
    /// The whole path, which tells equal names in different places apart.
    path: String,
}

impl<'a> Folder<'a> {
    fn tree(entries: &'a [LibraryEntry]) -> Self {
        let mut root = Self::default();
        for entry in entries {
            let mut place = &mut root;
            for name in entry.folder.split('/').filter(|name| !name.is_empty()) {
                let path = format!("{}/{name}", place.path);
                place = place
                    .folders
                    .entry((name.to_lowercase(), name))
                    .or_default();
                place.path = path;
            }
            place.entries.push(entry);
        }
        root.sort();
        root
    }

    fn sort(&mut self) {
        self.entries
            .sort_by_cached_key(|entry| entry.name.to_lowercase());
        self.folders.values_mut().for_each(Self::sort);
    }

    fn count(&self) -> usize {
        self.entries.len() + self.folders.values().map(Self::count).sum::<usize>()
    }
}

fn folder(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    shown: &Folder<'_>,
    level: usize,
    is_searching: bool,
) {
    for ((_, name), below) in &shown.folders {
        let id = egui::Id::new(("library folder", &below.path));
        let is_open = is_searching
            || ui
                .ctx()
                .data_mut(|data| *data.get_persisted_mut_or(id, level == 0));
        let (rect, response) = line(ui, 7.0 * GRID, name);
        let x = rect.left() + indent(level);
        let painter = ui.painter_at(rect);
        let middle = rect.center().y;
        let (caret, icon) = if is_open {
            (icons::CARET_DOWN, icons::FOLDER_OPEN)
        } else {
            (icons::CARET_RIGHT, icons::FOLDER)
        };
        let theme = panel.theme;
        for (x, glyph, size) in [(x + 2.0, caret, 11.0), (x + 16.0, icon, 15.0)] {
            painter.text(
                Pos2::new(x, middle),
                egui::Align2::LEFT_CENTER,
                glyph,
                FontId::proportional(size),
                theme.dim,
            );
        }
        let count = below.count().to_string();
        let count_width = words(
            &painter,
            rect.right_center() - Vec2::new(8.0, 0.0),
            egui::Align2::RIGHT_CENTER,
            &count,
            theme.dim,
        );
        let room = (x + 38.0, rect.right() - count_width - 16.0);
        name_between(ui, &painter, room, middle, (name, 1), theme.text);
        let response = response.on_hover_text(&**name);
        if response.clicked() && !is_searching {
            ui.ctx()
                .data_mut(|data| data.insert_persisted(id, !is_open));
        }
        if is_open {
            folder(ui, panel, below, level + 1, is_searching);
        }
    }
    for entry in &shown.entries {
        entry_row(ui, panel, entry, level);
    }
}

fn indent(level: usize) -> f32 {
    4.0 + INDENT * level.min(MAX_LEVELS) as f32
}

/// A line over the whole width that answers to the pointer.
fn line(ui: &mut Ui, height: f32, title: &str) -> (Rect, egui::Response) {
    let size = Vec2::new(ui.available_width(), height);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Button, true, title));
    if response.hovered() || response.has_focus() {
        let raised = ui.visuals().widgets.hovered.weak_bg_fill;
        ui.painter()
            .rect_filled(rect, CornerRadius::same(RADIUS_CONTROL), raised);
    }
    (rect, response)
}

/// Draws small words and gives their width.
fn words(
    painter: &egui::Painter,
    at: Pos2,
    align: egui::Align2,
    text: &str,
    color: Color32,
) -> f32 {
    painter
        .text(at, align, text, FontId::proportional(TEXT_SMALL), color)
        .width()
}

/// Draws a name between two places, in at most so many lines, cut where there is no more room.
fn name_between(
    ui: &Ui,
    painter: &egui::Painter,
    (left, right): (f32, f32),
    middle: f32,
    (text, max_lines): (&str, usize),
    color: Color32,
) {
    let name = lines_of(ui, text, color, right - left, max_lines);
    let top = middle - name.size().y / 2.0;
    painter.galley(Pos2::new(left, top), name, color);
}

fn entry_row(ui: &mut Ui, panel: &mut PanelContext<'_>, entry: &LibraryEntry, level: usize) {
    let theme = panel.theme;
    let (rect, response) = line(ui, ROW, &entry.name);
    response.dnd_set_drag_payload(Dragged {
        node: NewNode::FromLibrary(entry.workflow_id),
    });
    if ui.is_rect_visible(rect) {
        let left = rect.left() + indent(level);
        let frame = Rect::from_center_size(
            Pos2::new(left + 2.0 + PICTURE / 2.0, rect.center().y),
            Vec2::splat(PICTURE),
        );
        picture(ui, panel, entry, frame);
        let painter = ui.painter_at(rect);
        let version = match entry.version {
            0 | 1 => String::new(),
            number => format!("v{number}"),
        };
        let width = words(
            &painter,
            rect.right_center() - Vec2::new(8.0, 0.0),
            egui::Align2::RIGHT_CENTER,
            &version,
            theme.dim,
        );
        let (text_left, text_right) = (frame.right() + 8.0, rect.right() - width - 14.0);
        let middle = rect.center().y;
        let room = (text_left, text_right);
        if entry.tags.is_empty() {
            let name = (entry.name.as_str(), 2);
            name_between(ui, &painter, room, middle, name, theme.text);
        } else {
            let name = (entry.name.as_str(), 1);
            name_between(ui, &painter, room, middle - 7.0, name, theme.text);
            let tags: Vec<String> = entry.tags.iter().map(|tag| format!("#{tag}")).collect();
            let clipped = painter.with_clip_rect(Rect::from_x_y_ranges(
                text_left..=text_right,
                rect.y_range(),
            ));
            words(
                &clipped,
                Pos2::new(text_left, middle + 9.0),
                egui::Align2::LEFT_CENTER,
                &tags.join("  "),
                theme.dim,
            );
        }
    }
    if response.clicked() {
        panel.act(Action::AddNode {
            node: NewNode::FromLibrary(entry.workflow_id),
            pos_world: None,
            connect: None,
        });
    }
    response.context_menu(|ui| entry_menu(ui, panel, entry));
    response.on_hover_text(format!(
        "{}\nClick to add, drag to place, right click for more",
        entry.path()
    ));
}

/// What the workflow made last, or the sign of a workflow.
fn picture(ui: &Ui, panel: &mut PanelContext<'_>, entry: &LibraryEntry, frame: Rect) {
    let theme = panel.theme;
    let known = entry
        .thumbnail
        .and_then(|hash| Some((hash, panel.library?.thumbnails.get(&hash)?.as_ref()?)));
    let Some((hash, small)) = known else {
        ui.painter()
            .rect_filled(frame, CornerRadius::same(4), theme.surface_raised);
        ui.painter().text(
            frame.center(),
            egui::Align2::CENTER_CENTER,
            icons::IMAGE,
            FontId::proportional(16.0),
            theme.dim,
        );
        return;
    };
    let texture = panel.state.thumbnails.entry(hash).or_insert_with(|| {
        let image = egui::ColorImage::from_rgba_unmultiplied(small.size_px, &small.rgba);
        ui.ctx()
            .load_texture("library picture", image, TextureOptions::LINEAR)
    });
    // The middle of it, as a square.
    let [width, height] = small.size_px.map(|side| side.max(1) as f32);
    let side = width.min(height);
    let part = Vec2::new(side / width, side / height);
    let uv = Rect::from_center_size(Pos2::new(0.5, 0.5), part);
    egui::Image::new((texture.id(), frame.size()))
        .uv(uv)
        .corner_radius(CornerRadius::same(4))
        .paint_at(ui, frame);
}

fn entry_menu(ui: &mut Ui, panel: &mut PanelContext<'_>, entry: &LibraryEntry) {
    let theme = panel.theme;
    let workflow_id = entry.workflow_id;
    ui.set_width(270.0);
    let mut chosen = None;
    if menu_row(ui, theme, icons::PLUS, "Add to the canvas", "", true) {
        chosen = Some(LibraryWish::AddNode {
            workflow_id,
            version: None,
            pos_world: None,
        });
    }
    let node = panel.selection.workflow_node(panel.document.project());
    let title = "Put in the place of the selected node's…";
    if menu_row(
        ui,
        theme,
        icons::ARROWS_CLOCKWISE,
        title,
        "",
        node.is_some(),
    ) && let Some(node_id) = node
    {
        chosen = Some(LibraryWish::CompareWithNode {
            workflow_id,
            node_id,
        });
    }
    ui.separator();
    if menu_row(ui, theme, icons::STACK, "Versions…", "", true) {
        chosen = Some(LibraryWish::ShowVersions(workflow_id));
    }
    let title = "Name, folder, tags…";
    if menu_row(ui, theme, icons::PENCIL_SIMPLE, title, "", true) {
        chosen = Some(LibraryWish::ShowDetails(workflow_id));
    }
    if !panel.backends.cards.is_empty() {
        ui.separator();
        for (backend_id, card) in panel.backends.by_name() {
            let title = format!("Save on {}", card.status.name);
            if menu_row(ui, theme, icons::EXPORT, &title, "", true) {
                chosen = Some(LibraryWish::Push {
                    workflow_id,
                    backend_id: *backend_id,
                    mode: SaveMode::KeepExisting,
                });
            }
        }
    }
    if let Some(wish) = chosen {
        panel.act(Action::Library(wish));
        ui.close();
    }
}
