//! A workflow of the library: its name, folder, tags and versions; and what is saved on backends.

use super::modal;
use crate::app::actions::Action;
use crate::app::bridge::{SavedThere, VersionRow};
use crate::app::icons;
use crate::app::library::LibraryWish;
use crate::app::search::matches_words;
use crate::app::shell::PanelContext;
use crate::app::theme::{GRID, TEXT_SMALL};
use crate::app::widgets::{
    age_text, at_right, field_label, hint, icon_button, primary, primary_button, row, strong, tick,
};
use crate::fleet::SaveMode;
use crate::project::BackendId;
use crate::store::{LibraryEntry, LibraryWorkflowId};
use bevy_egui::egui::{Button, Context, Margin, RichText, ScrollArea, TextEdit, Ui, Vec2};
use std::collections::BTreeSet;

/// What is open.
#[derive(Debug)]
pub enum LibraryDialog {
    /// Name, folder and tags of a workflow.
    Details(DetailsForm),
    /// The versions of a workflow.
    Versions(LibraryWorkflowId),
    /// What is saved on backends.
    Backends(BackendsForm),
    /// A backend has a workflow of that name.
    ReplaceThere {
        /// The workflow.
        workflow_id: LibraryWorkflowId,
        /// The backend.
        backend_id: BackendId,
        /// What the backend said.
        message: String,
    },
}

/// Name, folder and tags while they are edited.
#[derive(Debug)]
pub struct DetailsForm {
    workflow_id: LibraryWorkflowId,
    name: String,
    folder: String,
    tags: String,
    /// The person pressed Remove once.
    wants_removal: bool,
}

/// What is chosen of a backend.
#[derive(Debug, Default)]
pub struct BackendsForm {
    backend_id: Option<BackendId>,
    search: String,
    chosen: BTreeSet<String>,
}

impl LibraryDialog {
    /// Name, folder and tags of a workflow.
    #[must_use]
    pub fn details(entry: &LibraryEntry) -> Self {
        Self::Details(DetailsForm {
            workflow_id: entry.workflow_id,
            name: entry.name.clone(),
            folder: entry.folder.clone(),
            tags: entry.tags.join(", "),
            wants_removal: false,
        })
    }

    /// What is saved on backends, this one shown first.
    #[must_use]
    pub fn backends(backend_id: Option<BackendId>) -> Self {
        Self::Backends(BackendsForm {
            backend_id,
            ..BackendsForm::default()
        })
    }
}

/// Draws the dialog, if one is open.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some(mut dialog) = panel.dialogs.library.take() else {
        return;
    };
    let mut wishes = Vec::new();
    let mut is_done = false;
    let closed = modal(ctx, panel.theme, "library-dialog", 560.0, |ui| {
        is_done = match &mut dialog {
            LibraryDialog::Details(form) => details(ui, panel, form, &mut wishes),
            LibraryDialog::Versions(workflow_id) => {
                versions(ui, panel, *workflow_id, &mut wishes);
                close_button(ui)
            }
            LibraryDialog::Backends(form) => backends(ui, panel, form, &mut wishes),
            LibraryDialog::ReplaceThere {
                workflow_id,
                backend_id,
                message,
            } => replace_there(ui, panel, (*workflow_id, *backend_id), message, &mut wishes),
        };
    });
    if !closed && !is_done {
        panel.dialogs.library = Some(dialog);
    }
    for wish in wishes {
        panel.act(Action::Library(wish));
    }
}

fn details(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    form: &mut DetailsForm,
    wishes: &mut Vec<LibraryWish>,
) -> bool {
    let theme = panel.theme;
    ui.label(strong(
        format!("{}  Workflow of the library", icons::TREE_STRUCTURE),
        16.0,
    ));
    for (label, text, example) in [
        ("Name", &mut form.name, ""),
        ("Folder", &mut form.folder, "Portraits/Studio"),
        ("Tags, separated by commas", &mut form.tags, "flux, fast"),
    ] {
        ui.add_space(2.0 * GRID);
        field_label(ui, theme, label);
        ui.add(
            TextEdit::singleline(text)
                .hint_text(example)
                .desired_width(f32::INFINITY)
                .margin(Margin::symmetric(8, 6)),
        );
    }
    ui.add_space(4.0 * GRID);
    let mut is_done = false;
    row(ui, |ui| {
        let (words, color) = if form.wants_removal {
            ("Remove it with all its versions", theme.error)
        } else {
            ("Remove…", theme.text)
        };
        let label = RichText::new(format!("{}  {words}", icons::TRASH)).color(color);
        if ui
            .add(Button::new(label).min_size(Vec2::new(0.0, 30.0)))
            .clicked()
        {
            if form.wants_removal {
                wishes.push(LibraryWish::Remove(form.workflow_id));
                is_done = true;
            }
            form.wants_removal = true;
        }
        at_right(ui, |ui| {
            let is_named = !form.name.trim().is_empty();
            if primary(ui, theme, is_named, "Keep", Vec2::new(90.0, 30.0)).clicked() {
                wishes.push(LibraryWish::Describe {
                    workflow_id: form.workflow_id,
                    folder: form.folder.trim().trim_matches('/').to_owned(),
                    name: form.name.trim().to_owned(),
                    tags: form
                        .tags
                        .split(',')
                        .map(|tag| tag.trim().to_owned())
                        .filter(|tag| !tag.is_empty())
                        .collect(),
                });
                is_done = true;
            }
            if ui
                .add(Button::new("Cancel").min_size(Vec2::new(80.0, 30.0)))
                .clicked()
            {
                is_done = true;
            }
        });
    });
    is_done
}

fn versions(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    workflow_id: LibraryWorkflowId,
    wishes: &mut Vec<LibraryWish>,
) {
    let theme = panel.theme;
    let Some(library) = panel.library else { return };
    let name = library
        .entry(workflow_id)
        .map_or("", |entry| entry.name.as_str());
    ui.label(strong(
        format!("{}  Versions of \"{name}\"", icons::STACK),
        16.0,
    ));
    ui.add_space(2.0 * GRID);
    let rows = match &library.versions {
        Some((of, rows)) if *of == workflow_id => rows,
        _ => {
            hint(ui, theme, "Reading…");
            return;
        }
    };
    ScrollArea::vertical()
        .id_salt("versions")
        .max_height(380.0)
        .auto_shrink([false, true])
        .show(ui, |ui| {
            for (index, row) in rows.iter().enumerate() {
                version_row(ui, panel, (workflow_id, index == 0), row, wishes);
            }
        });
    ui.add_space(2.0 * GRID);
    hint(
        ui,
        theme,
        "Restoring makes a new version that is like the old one; nothing is lost. The last 50 are kept.",
    );
}

/// A button at the right of the last line that closes the dialog; whether it was clicked.
fn close_button(ui: &mut Ui) -> bool {
    ui.add_space(2.0 * GRID);
    at_right(ui, |ui| {
        ui.add(Button::new("Close").min_size(Vec2::new(84.0, 30.0)))
            .clicked()
    })
}

fn version_row(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    (workflow_id, is_present): (LibraryWorkflowId, bool),
    version: &VersionRow,
    wishes: &mut Vec<LibraryWish>,
) {
    let theme = panel.theme;
    let number = version.version.number;
    row(ui, |ui| {
        ui.label(strong(format!("{number}"), 13.0));
        let age = age_text(panel.now_ms.saturating_sub(version.version.added_ms));
        ui.label(RichText::new(format!("{age} ago")).color(theme.dim));
        let words = match (&version.differences, is_present) {
            (_, true) => "present".to_owned(),
            (None, _) => String::new(),
            (Some(differences), _) => match differences.count {
                0 => "runs as the present one".to_owned(),
                1 => "one difference to the present one".to_owned(),
                count => format!("{count} differences to the present one"),
            },
        };
        let told = ui.label(RichText::new(words).size(TEXT_SMALL).color(theme.dim));
        if let Some(differences) = &version.differences
            && differences.count > 0
        {
            let mut first = differences.first.clone();
            let rest = differences.count - differences.first.len();
            if rest > 0 {
                first.push(format!("and {rest} more"));
            }
            told.on_hover_text(first.join("\n"));
        }
        at_right(ui, |ui| {
            if !is_present && ui.button("Restore").clicked() {
                wishes.push(LibraryWish::Restore {
                    workflow_id,
                    version: number,
                });
                wishes.push(LibraryWish::ShowVersions(workflow_id));
            }
            if ui
                .button("Add to canvas")
                .on_hover_text("Puts this version into the project, with a node")
                .clicked()
            {
                wishes.push(LibraryWish::AddNode {
                    workflow_id,
                    version: Some(number),
                    pos_world: None,
                });
            }
        });
    });
}

fn backends(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    form: &mut BackendsForm,
    wishes: &mut Vec<LibraryWish>,
) -> bool {
    let theme = panel.theme;
    ui.label(strong(
        format!("{}  Workflows saved on a backend", icons::HARD_DRIVES),
        16.0,
    ));
    ui.add_space(2.0 * GRID);
    if panel.backends.cards.is_empty() {
        hint(
            ui,
            theme,
            "There is no backend yet. Add one under Machines.",
        );
        return false;
    }
    ui.horizontal_wrapped(|ui| {
        for (backend_id, card) in panel.backends.by_name() {
            let is_shown = form.backend_id == Some(*backend_id);
            if ui.selectable_label(is_shown, &card.status.name).clicked() && !is_shown {
                form.backend_id = Some(*backend_id);
                form.chosen.clear();
                wishes.push(LibraryWish::ListSaved(*backend_id));
            }
        }
    });
    ui.add_space(GRID);
    let Some(backend_id) = form.backend_id else {
        hint(
            ui,
            theme,
            "Choose a backend to see what was saved there in ComfyUI's editor.",
        );
        return false;
    };
    let paths = match panel
        .library
        .and_then(|library| library.saved.get(&backend_id))
    {
        None | Some(SavedThere::Asked) => {
            hint(ui, theme, "Asking…");
            return false;
        }
        Some(SavedThere::Failed(message)) => {
            ui.label(RichText::new(message).color(theme.error));
            if ui.button("Ask again").clicked() {
                wishes.push(LibraryWish::ListSaved(backend_id));
            }
            return false;
        }
        Some(SavedThere::Paths(paths)) => paths,
    };
    if paths.is_empty() {
        hint(
            ui,
            theme,
            "Nothing is saved there. A workflow of the library is saved there from its menu.",
        );
        return false;
    }
    let shown: Vec<&String> = paths
        .iter()
        .filter(|path| matches_words(&form.search, path))
        .collect();
    row(ui, |ui| {
        ui.add(
            TextEdit::singleline(&mut form.search)
                .hint_text(format!("{}  Search", icons::MAGNIFYING_GLASS))
                .desired_width(260.0)
                .margin(Margin::symmetric(8, 6)),
        );
        if icon_button(ui, theme, icons::ARROWS_CLOCKWISE, "Ask again").clicked() {
            wishes.push(LibraryWish::ListSaved(backend_id));
        }
        if ui.button("All").clicked() {
            form.chosen.extend(shown.iter().copied().cloned());
        }
        if ui.button("None").clicked() {
            form.chosen.clear();
        }
    });
    ui.add_space(GRID);
    ScrollArea::vertical()
        .id_salt("saved")
        .max_height(320.0)
        .auto_shrink([false, true])
        .show_rows(ui, 22.0, shown.len(), |ui, range| {
            for path in shown.get(range).unwrap_or_default() {
                let mut is_chosen = form.chosen.contains(*path);
                if tick(ui, theme, &mut is_chosen, path.as_str()).changed() {
                    if is_chosen {
                        form.chosen.insert((*path).clone());
                    } else {
                        form.chosen.remove(*path);
                    }
                }
            }
        });
    ui.add_space(2.0 * GRID);
    let mut is_done = false;
    at_right(ui, |ui| {
        let words = match form.chosen.len() {
            0 => "Take into the library".to_owned(),
            count => format!("Take {count} into the library"),
        };
        let has_some = !form.chosen.is_empty();
        if primary(ui, theme, has_some, words, Vec2::new(0.0, 30.0)).clicked() {
            wishes.push(LibraryWish::Pull {
                backend_id,
                paths: std::mem::take(&mut form.chosen).into_iter().collect(),
            });
            is_done = true;
        }
    });
    is_done
}

fn replace_there(
    ui: &mut Ui,
    panel: &PanelContext<'_>,
    (workflow_id, backend_id): (LibraryWorkflowId, BackendId),
    message: &str,
    wishes: &mut Vec<LibraryWish>,
) -> bool {
    let theme = panel.theme;
    let name = panel.backends.name_of(backend_id);
    ui.label(strong(
        format!("{}  Not saved on {name}", icons::WARNING),
        16.0,
    ));
    ui.add_space(GRID);
    let mut sentence = message.to_owned();
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    ui.label(RichText::new(sentence).color(theme.dim));
    ui.add_space(4.0 * GRID);
    let mut is_done = false;
    at_right(ui, |ui| {
        let size = Vec2::new(90.0, 30.0);
        if ui
            .add(primary_button(theme, "Replace it").min_size(size))
            .clicked()
        {
            wishes.push(LibraryWish::Push {
                workflow_id,
                backend_id,
                mode: SaveMode::Replace,
            });
            is_done = true;
        }
        if ui.add(Button::new("Leave it").min_size(size)).clicked() {
            is_done = true;
        }
    });
    is_done
}
