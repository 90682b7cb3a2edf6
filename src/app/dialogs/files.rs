//! Choosing files and folders.

use crate::app::actions::{Action, Gesture};
use crate::app::files::FilePurpose;
use crate::app::icons;
use crate::app::library::LibraryWish;
use crate::app::settings::Settings;
use crate::app::shell::PanelContext;
use crate::app::theme::ThemeMode;
use crate::project::{InputValue, NodeKind};
use bevy_egui::egui::{Align2, Context, Id, Vec2};
use egui_file_dialog::{DialogState, FileDialog, Filter};
use std::path::{Path, PathBuf};

/// The file dialog, if it is open.
#[derive(Default)]
pub struct FileAsker {
    open: Option<(FileDialog, FilePurpose)>,
}

impl FileAsker {
    /// Whether a file is being chosen.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Opens the dialog.
    pub fn ask(&mut self, purpose: FilePurpose, settings: &Settings) {
        self.ask_named(purpose, settings, "");
    }

    /// Opens the dialog with a name to begin with.
    pub fn ask_named(&mut self, purpose: FilePurpose, settings: &Settings, name: &str) {
        let by_name = |test: fn(&str) -> bool| -> Filter<Path> {
            Filter::new(move |path: &Path| {
                path.file_name()
                    .is_some_and(|name| test(&name.to_string_lossy().to_lowercase()))
            })
        };
        let mut dialog = FileDialog::new()
            .id(Id::new("file dialog"))
            .default_size(Vec2::new(760.0, 460.0))
            .anchor(Align2::CENTER_CENTER, Vec2::ZERO)
            // The fields of search and path are black in every theme, and dark words cannot be read there.
            .show_search(settings.theme == ThemeMode::Dark)
            .show_path_edit_button(settings.theme == ThemeMode::Dark)
            .default_file_icon(icons::FILE)
            .default_folder_icon(icons::FOLDER)
            .device_icon(icons::HARD_DRIVES)
            .removable_device_icon(icons::HARD_DRIVES)
            .err_icon(icons::WARNING)
            .parent_directory_icon(icons::ARROW_BEND_UP_LEFT)
            .new_folder_icon(icons::PLUS)
            .menu_icon(icons::DOTS_THREE)
            .search_icon(icons::MAGNIFYING_GLASS)
            .path_edit_icon(icons::PENCIL_SIMPLE);
        if let Some(folder) = settings
            .last_folder
            .as_ref()
            .filter(|folder| folder.is_dir())
        {
            dialog = dialog.initial_directory(folder.clone());
        }
        dialog = match purpose {
            FilePurpose::OpenProject => dialog
                .title("Open a project")
                .add_file_filter(
                    "Projects",
                    by_name(|name| name == "project.ron" || name.ends_with(".orchestrator.json")),
                )
                .default_file_filter("Projects"),
            FilePurpose::SaveAs => dialog
                .title("Save the project as a folder")
                .default_file_name(&file_name(name, "")),
            FilePurpose::Export => dialog
                .title("Export a portable project file")
                .default_file_name(&file_name(name, ".orchestrator.json")),
            FilePurpose::ImportWorkflow => dialog
                .title("Import a ComfyUI workflow")
                .add_file_filter(
                    "Workflows",
                    by_name(|name| {
                        Path::new(name)
                            .extension()
                            .and_then(|extension| extension.to_str())
                            .is_some_and(crate::workflow::may_hold_workflow)
                    }),
                )
                .default_file_filter("Workflows"),
            FilePurpose::ImportIntoLibrary => {
                dialog.title("Choose a workflow, or a picture that holds one, for the library")
            }
            FilePurpose::ImportFolderIntoLibrary => {
                dialog.title("Choose a folder whose workflows go into the library")
            }
            FilePurpose::ReplaceWorkflow(_) => {
                dialog.title("Choose a workflow to put in its place")
            }
            FilePurpose::InputFile(_) => dialog.title("Choose a file"),
        };
        match purpose {
            FilePurpose::SaveAs | FilePurpose::Export => dialog.save_file(),
            FilePurpose::ImportFolderIntoLibrary => dialog.pick_directory(),
            FilePurpose::OpenProject
            | FilePurpose::ImportWorkflow
            | FilePurpose::ImportIntoLibrary
            | FilePurpose::ReplaceWorkflow(_)
            | FilePurpose::InputFile(_) => {
                dialog.pick_file();
            }
        }
        self.open = Some((dialog, purpose));
    }
}

/// A harmless file name made of the project's name.
fn file_name(name: &str, ending: &str) -> String {
    let cleaned: String = name
        .chars()
        .map(|character| {
            if character.is_control() || "/\\:*?\"<>|".contains(character) {
                '_'
            } else {
                character
            }
        })
        .collect();
    let cleaned = cleaned.trim_matches(['.', ' ']);
    format!(
        "{}{ending}",
        if cleaned.is_empty() {
            "Untitled"
        } else {
            cleaned
        }
    )
}

/// Draws the dialog and acts on what was chosen.
pub fn show(ctx: &Context, panel: &mut PanelContext<'_>) {
    let Some((dialog, purpose)) = &mut panel.dialogs.files.open else {
        return;
    };
    let purpose = *purpose;
    dialog.update(ctx);
    let picked = dialog.take_picked();
    let closed = matches!(dialog.state(), DialogState::Closed | DialogState::Cancelled);
    if let Some(path) = picked {
        panel.dialogs.files.open = None;
        panel.settings.last_folder = path.parent().map(Path::to_owned);
        chosen(panel, purpose, path);
    } else if closed {
        panel.dialogs.files.open = None;
        panel.dialogs.cancel_pending();
    }
}

fn chosen(panel: &mut PanelContext<'_>, purpose: FilePurpose, path: PathBuf) {
    match purpose {
        FilePurpose::OpenProject => panel.act(Action::OpenPath(path)),
        FilePurpose::SaveAs => panel.act(Action::SavePath(path)),
        FilePurpose::Export => panel.act(Action::ExportPath(path)),
        FilePurpose::ImportWorkflow => panel.act(Action::ImportFile {
            path,
            pos_world: None,
        }),
        FilePurpose::ImportIntoLibrary | FilePurpose::ImportFolderIntoLibrary => {
            panel.act(Action::Library(LibraryWish::Import(path)));
        }
        FilePurpose::ReplaceWorkflow(node) => panel.act(Action::CompareWorkflow { node, path }),
        FilePurpose::InputFile(node_id) => {
            let Some(node) = panel.document.project().nodes.get(&node_id) else {
                return;
            };
            let mut node = node.clone();
            if let NodeKind::Input(input) = &mut node.kind {
                input.value = InputValue::File(path.to_string_lossy().into_owned());
                panel.act(Action::ChangeNode {
                    node: Box::new(node),
                    gesture: Gesture::new(),
                });
            }
        }
    }
}
