//! What the program remembers of a person: looks, panels, backends, recent projects. One JSON file in the platform's
//! configuration folder, written atomically; a file that cannot be read is put aside, never overwritten silently.

use super::editors::EditorPlaces;
use super::keymap::KeyOverrides;
use super::theme::ThemeMode;
use bevy::prelude::Resource;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Projects remembered in the menu.
const RECENT_LIMIT: usize = 12;
/// Largest settings file that is read, bytes.
const FILE_LIMIT: u64 = 4 << 20;

/// Everything that is remembered.
#[derive(Resource, Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Which theme.
    pub theme: ThemeMode,
    /// Zoom of the whole window, 0.5 to 3.
    pub ui_scale: f32,
    /// Shortcuts that differ from the defaults.
    pub keys: KeyOverrides,
    /// Projects opened or saved lately, newest first.
    pub recent: Vec<PathBuf>,
    /// The arrangement of the panels as RON (its rectangles may be infinite, which JSON cannot say); none for the default.
    pub layout: Option<String>,
    /// Size of the window in logical pixels.
    pub window_px: [f32; 2],
    /// Where the windows of ComfyUI's editor were last.
    pub editor_places: EditorPlaces,
    /// Where the file dialog was last.
    pub last_folder: Option<PathBuf>,
    #[serde(skip)]
    file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: ThemeMode::default(),
            ui_scale: 1.0,
            keys: KeyOverrides::default(),
            recent: Vec::new(),
            layout: None,
            window_px: [1600.0, 960.0],
            editor_places: EditorPlaces::default(),
            last_folder: None,
            file: None,
        }
    }
}

/// Why the settings could not be written.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file system refused.
    #[error("the settings could not be written to {}: {source}; they hold for this session only", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The settings have no JSON form.
    #[error("the settings could not be put into words: {0}")]
    Encode(#[from] serde_json::Error),
}

impl Settings {
    /// Reads the settings from their folder. The second value is a remark when the file was unreadable.
    #[must_use]
    pub fn load(folders: &Folders) -> (Self, Option<String>) {
        let Some(folder) = &folders.settings else {
            return (
                Self::default(),
                Some("There is no configuration folder on this system; settings hold for this session only.".to_owned()),
            );
        };
        Self::load_from(&folder.join("settings.json"))
    }

    /// Reads the settings from this file.
    #[must_use]
    pub fn load_from(file: &Path) -> (Self, Option<String>) {
        let with_file = |settings: Self| Self {
            file: Some(file.to_owned()),
            ..settings
        };
        let bytes = match std::fs::metadata(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return (with_file(Self::default()), None);
            }
            Ok(meta) if meta.len() > FILE_LIMIT => Err(format!("it has {} bytes", meta.len())),
            Ok(_) => std::fs::read(file).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let parsed = bytes.and_then(|bytes| {
            serde_json::from_slice::<Self>(&bytes).map_err(|error| error.to_string())
        });
        match parsed {
            Ok(mut settings) => {
                settings.ui_scale = if settings.ui_scale.is_finite() {
                    settings.ui_scale.clamp(0.5, 3.0)
                } else {
                    1.0
                };
                settings.window_px = settings.window_px.map(|side| {
                    if side.is_finite() {
                        side.clamp(480.0, 16_384.0)
                    } else {
                        1024.0
                    }
                });
                (with_file(settings), None)
            }
            Err(reason) => {
                let aside = file.with_extension("json.unreadable");
                let kept = std::fs::rename(file, &aside).is_ok();
                let place = if kept { aside } else { file.to_owned() };
                (
                    with_file(Self::default()),
                    Some(format!(
                        "The settings could not be read ({reason}) and start anew. The old file is {}.",
                        place.display()
                    )),
                )
            }
        }
    }

    /// Writes the settings: temporary file, then rename.
    pub fn save(&self) -> Result<(), SettingsError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let text = serde_json::to_vec_pretty(self)?;
        let write = || -> std::io::Result<()> {
            let folder = file.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
            temporary.write_all(&text)?;
            temporary.as_file().sync_all()?;
            temporary.persist(file).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| SettingsError::Write {
            path: file.clone(),
            source,
        })
    }

    /// Puts a project to the top of the recent ones.
    pub fn remember_project(&mut self, path: &Path) {
        self.recent.retain(|known| known != path);
        self.recent.insert(0, path.to_owned());
        self.recent.truncate(RECENT_LIMIT);
    }
}

/// Where the window keeps what is its own. None of a folder means that what belongs there is not kept.
#[derive(Resource, Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// Holds `settings.json`.
    pub settings: Option<PathBuf>,
    /// Holds `unsaved`: recovery files, and results of projects that are not saved yet.
    pub data: Option<PathBuf>,
}

impl Folders {
    /// The platform's folders for this user.
    #[must_use]
    pub fn of_this_user() -> Self {
        let dirs = directories::ProjectDirs::from("", "", "comfyui-orchestrator");
        Self {
            settings: dirs.as_ref().map(|dirs| dirs.config_dir().to_owned()),
            data: dirs.as_ref().map(|dirs| dirs.data_local_dir().to_owned()),
        }
    }

    /// Everything in one folder.
    #[must_use]
    pub fn all_in(folder: &Path) -> Self {
        Self {
            settings: Some(folder.to_owned()),
            data: Some(folder.to_owned()),
        }
    }

    /// Holds a folder for each project that is not saved yet.
    #[must_use]
    pub fn unsaved(&self) -> Option<PathBuf> {
        self.data.as_ref().map(|folder| folder.join("unsaved"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_they_were_and_a_broken_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.json");
        let (mut settings, remark) = Settings::load_from(&file);
        assert_eq!(remark, None);
        settings.theme = ThemeMode::Light;
        settings.remember_project(Path::new("/a"));
        settings.remember_project(Path::new("/b"));
        settings.remember_project(Path::new("/a"));
        settings.save().unwrap();
        let (again, remark) = Settings::load_from(&file);
        assert_eq!(remark, None);
        assert_eq!(again.theme, ThemeMode::Light);
        assert_eq!(again.recent, [PathBuf::from("/a"), PathBuf::from("/b")]);

        std::fs::write(&file, "{ not json").unwrap();
        let (fresh, remark) = Settings::load_from(&file);
        assert_eq!(fresh.theme, ThemeMode::Dark);
        assert!(remark.unwrap().contains("unreadable"));
        assert_eq!(
            std::fs::read_to_string(folder.path().join("settings.json.unreadable")).unwrap(),
            "{ not json"
        );
    }
}
