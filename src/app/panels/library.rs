//! The panel at the left: workflows of the project, the library, and kinds of nodes. Click adds, drag places.

mod shelf;

use crate::app::actions::{Action, NewNode};
use crate::app::catalog::WorkflowFacts;
use crate::app::icons;
use crate::app::library::LibraryWish;
use crate::app::search::matches_words;
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, Theme};
use crate::app::widgets::{ListRow, caption_text, hint, icon_button, menu_row, row};
use crate::project::{NodeKind, NodeKindName};
use bevy_egui::egui::{self, Id, RichText, ScrollArea, Sense, Ui};

/// A row that is being dragged.
#[derive(Clone, Debug)]
pub struct Dragged {
    /// What it becomes.
    pub node: NewNode,
}

/// Draws the panel.
pub fn show(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    search_field(ui, panel);
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 1.0;
        workflows(ui, panel);
        ui.add_space(2.0 * GRID);
        kinds(ui, panel);
        ui.add_space(2.0 * GRID);
        library(ui, panel);
    });
}

fn search_field(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    row(ui, |ui| {
        let width = ui.available_width() - 34.0;
        ui.add(
            egui::TextEdit::singleline(&mut panel.state.library_search)
                .hint_text(format!("{}  Search", icons::MAGNIFYING_GLASS))
                .desired_width(width)
                .margin(egui::Margin::symmetric(8, 6)),
        );
        let tip = "Import workflows: onto the canvas, or into the library";
        let button = icon_button(ui, theme, icons::DOWNLOAD_SIMPLE, tip);
        egui::Popup::menu(&button).show(|ui| shelf::fill_menu(ui, panel));
    });
}

fn library(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    if section(ui, panel.theme, "Library") {
        shelf::show(ui, panel);
    }
}

/// The heading of a part of the panel; a click folds the part away. Says whether it is shown.
fn section(ui: &mut Ui, theme: &Theme, title: &str) -> bool {
    let id = Id::new(("library section", title));
    let is_open = ui
        .ctx()
        .data_mut(|data| *data.get_persisted_mut_or(id, true));
    ui.add_space(GRID);
    let caret = if is_open {
        icons::CARET_DOWN
    } else {
        icons::CARET_RIGHT
    };
    let heading = row(ui, |ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let words = caption_text(theme, title);
        let words = ui.add(
            egui::Label::new(words)
                .selectable(false)
                .sense(Sense::click()),
        );
        ui.label(RichText::new(caret).size(10.0).color(theme.faint));
        words
    });
    let tip = if is_open { "Fold it away" } else { "Show it" };
    if heading.on_hover_text(tip).clicked() {
        ui.ctx()
            .data_mut(|data| data.insert_persisted(id, !is_open));
    }
    ui.add_space(GRID);
    is_open
}

fn workflows(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    if !section(ui, theme, "In this project") {
        return;
    }
    let document = panel.document;
    let files = &document.project().workflows;
    if files.is_empty() {
        hint(
            ui,
            theme,
            "None yet. Drop a workflow's JSON file on the window, or use the button above.",
        );
        return;
    }
    let search = panel.state.library_search.clone();
    let mut shown = 0;
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_cached_key(|(name, _)| name.as_str().to_lowercase());
    for (name, file) in files {
        if !matches_words(&search, name.as_str()) {
            continue;
        }
        shown += 1;
        let facts = panel.catalog.facts(name, file);
        let uses = document
            .project()
            .nodes
            .values()
            .filter(|node| matches!(&node.kind, NodeKind::Workflow(settings) if settings.workflow == *name))
            .count();
        let (icon, color, note, tip) = match &*facts {
            WorkflowFacts::Usable(inspection) => (
                icons::IMAGE,
                theme.kind_color(NodeKindName::Workflow),
                if uses > 0 {
                    format!("{uses} ×")
                } else {
                    String::new()
                },
                format!(
                    "{name}\n{} fields, {} outputs\nClick to add, drag to place",
                    inspection.fields.len(),
                    inspection.outputs.len()
                ),
            ),
            WorkflowFacts::Unusable(reason) => (
                icons::WARNING,
                theme.warn,
                "not usable".to_owned(),
                reason.clone(),
            ),
        };
        let new = NewNode::Workflow(name.clone());
        let row = library_row(ui, panel, icon, color, name.as_str(), &note, &tip, new);
        row.context_menu(|ui| {
            ui.set_width(200.0);
            let title = "Put into the library";
            if menu_row(ui, theme, icons::TREE_STRUCTURE, title, "", true) {
                panel.act(Action::Library(LibraryWish::KeepProjectWorkflow(
                    name.clone(),
                )));
                ui.close();
            }
        });
    }
    if shown == 0 {
        ui.label(RichText::new("No workflow matches").color(theme.dim));
    }
}

fn kinds(ui: &mut Ui, panel: &mut PanelContext<'_>) {
    let theme = panel.theme;
    let search = panel.state.library_search.clone();
    let found: Vec<NodeKindName> = NodeKindName::ALL
        .into_iter()
        .filter(|kind| {
            *kind != NodeKindName::Workflow
                && matches_words(&search, &format!("{} {}", kind.title(), kind.about()))
        })
        .collect();
    if found.is_empty() {
        return;
    }
    if !section(ui, theme, "Nodes") {
        return;
    }
    for kind in found {
        library_row(
            ui,
            panel,
            icons::of_kind(kind),
            theme.kind_color(kind),
            kind.title(),
            "",
            kind.about(),
            NewNode::Kind(kind),
        );
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "one row of a list, drawn in two places of this file"
)]
fn library_row(
    ui: &mut Ui,
    panel: &mut PanelContext<'_>,
    icon: &str,
    color: egui::Color32,
    title: &str,
    note: &str,
    tip: &str,
    node: NewNode,
) -> egui::Response {
    let response = ListRow {
        icon,
        icon_color: color,
        title,
        note,
        selected: false,
        indent: 0.0,
        title_lines: 2,
    }
    .show(ui, panel.theme, Sense::click_and_drag());
    response.dnd_set_drag_payload(Dragged { node: node.clone() });
    if response.clicked() {
        panel.act(Action::AddNode {
            node,
            pos_world: None,
            connect: None,
        });
    }
    response.on_hover_text(tip)
}
