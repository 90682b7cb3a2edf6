//! The data folder: where files lie, and that no name leads out of it.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::clock::Calendar;

/// The folders of ComfyUI's models, listed by `/models`. Files put there are listed; nothing loads them.
pub const MODEL_FOLDERS: [&str; 20] = [
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "latent_upscale_models",
    "custom_nodes",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
];

/// The most files that a listing reads; a folder with more is listed in part.
const MAXIMUM_LISTED_FILES: usize = 100_000;

/// The kinds of place a file of the protocol lies in (`"type"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Uploads.
    Input,
    /// Results.
    Output,
    /// Previews; emptied at start.
    Temp,
}

impl Place {
    /// From the protocol's word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "input" => Some(Self::Input),
            "output" => Some(Self::Output),
            "temp" => Some(Self::Temp),
            _ => None,
        }
    }

    /// The protocol's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Temp => "temp",
        }
    }
}

/// Where a picture is to be saved: `{folder}/{stem}_{counter:05}_.{ext}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavePath {
    /// The folder, made if it was missing.
    pub folder: PathBuf,
    /// The part of the folder below the place, with `/`, empty for none.
    pub subfolder: String,
    /// The file name before the counter.
    pub stem: String,
    /// The first free number.
    pub counter: u32,
}

impl SavePath {
    /// The name of the file with number `counter + index`.
    pub fn file_name(&self, index: usize, extension: &str) -> String {
        let stem = self.stem.replace("%batch_num%", &index.to_string());
        format!("{stem}_{:05}_.{extension}", self.counter as usize + index)
    }
}

/// The data folder of one server.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
}

impl Folders {
    /// Makes the folders and empties `temp`.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(data_dir)?;
        let folders = Self {
            root: std::path::absolute(data_dir)?,
        };
        let temp = folders.place(Place::Temp);
        if temp.is_dir() {
            fs::remove_dir_all(&temp)?;
        }
        for place in [Place::Input, Place::Output, Place::Temp] {
            fs::create_dir_all(folders.place(place))?;
        }
        fs::create_dir_all(folders.root.join("user"))?;
        Ok(folders)
    }

    /// The folder of a place.
    pub fn place(&self, place: Place) -> PathBuf {
        self.root.join(place.word())
    }

    /// The folder of the one user's settings and workflows.
    pub fn user(&self) -> PathBuf {
        self.root.join("user").join("default")
    }

    /// The folder of one kind of model; it need not exist.
    pub fn models(&self, folder: &str) -> Option<PathBuf> {
        MODEL_FOLDERS
            .contains(&folder)
            .then(|| self.root.join("models").join(folder))
    }

    /// The files of one kind of model, as paths below their folder, sorted.
    pub fn model_files(&self, folder: &str) -> Vec<String> {
        self.models(folder)
            .map(|folder| files_below(&folder))
            .unwrap_or_default()
    }

    /// The names of the images in the input folder, sorted; judged by extension, as ComfyUI does.
    pub fn input_images(&self) -> Vec<String> {
        const EXTENSIONS: [&str; 9] = [
            "png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif",
        ];
        self.input_files_of(&EXTENSIONS)
    }

    /// The names of the files in the input folder with one of these extensions, sorted.
    pub fn input_files_of(&self, extensions: &[&str]) -> Vec<String> {
        let mut names = self.input_files();
        names.retain(|name| {
            Path::new(name)
                .extension()
                .and_then(|extension| extension.to_str())
                .is_some_and(|extension| extensions.contains(&extension.to_lowercase().as_str()))
        });
        names
    }

    /// The names of the files in the input folder, sorted.
    pub fn input_files(&self) -> Vec<String> {
        let mut names = file_names(&self.place(Place::Input));
        names.sort();
        names
    }

    /// The file that a loader's text names: `sub/a.png`, `a.png [output]`. `None` when it would lie outside its place.
    pub fn annotated_file(&self, name: &str) -> Option<PathBuf> {
        let (name, place) = split_annotation(name);
        inside(&self.place(place.unwrap_or(Place::Input)), name)
    }

    /// Where to save under a prefix such as `sub/ComfyUI`; `%width%`, `%height%` and the parts of the date are
    /// replaced. The error is the text of the exception.
    pub fn save_path(
        &self,
        place: Place,
        prefix: &str,
        width: usize,
        height: usize,
    ) -> Result<SavePath, String> {
        let prefix = expand_variables(prefix, width, height).replace('\\', "/");
        let base = self.place(place);
        let outside = || {
            format!(
                "**** ERROR: Saving image outside the output folder is not allowed.\n filename_prefix: {prefix}\n         output_dir: {}",
                base.display()
            )
        };
        let relative = normalise(&prefix).ok_or_else(outside)?;
        let stem = relative
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        if stem.contains('\0') || prefix.contains('\0') {
            return Err("embedded null byte".to_owned());
        }
        let parent = relative.parent().unwrap_or(Path::new(""));
        let subfolder = parent
            .components()
            .filter_map(|component| component.as_os_str().to_str())
            .collect::<Vec<_>>()
            .join("/");
        let folder = base.join(parent);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let last = file_names(&folder)
            .iter()
            .filter_map(|name| counter_of(name, &stem))
            .max();
        Ok(SavePath {
            folder,
            subfolder,
            stem,
            counter: last.map_or(1, |last| last.saturating_add(1)),
        })
    }
}

/// The number in `{stem}_{number}_…`; 0 when something else follows the stem.
fn counter_of(file_name: &str, stem: &str) -> Option<u32> {
    let rest = file_name.strip_prefix(stem)?.strip_prefix('_')?;
    let digits = rest.split('_').next().unwrap_or_default();
    Some(digits.parse().unwrap_or(0))
}

fn expand_variables(prefix: &str, width: usize, height: usize) -> String {
    if !prefix.contains('%') {
        return prefix.to_owned();
    }
    let now = Calendar::now();
    prefix
        .replace("%width%", &width.to_string())
        .replace("%height%", &height.to_string())
        .replace("%year%", &now.year.to_string())
        .replace("%month%", &format!("{:02}", now.month))
        .replace("%day%", &format!("{:02}", now.day))
        .replace("%hour%", &format!("{:02}", now.hour))
        .replace("%minute%", &format!("{:02}", now.minute))
        .replace("%second%", &format!("{:02}", now.second))
}

/// Splits `name [output]` into the name and its place.
pub fn split_annotation(name: &str) -> (&str, Option<Place>) {
    for place in [Place::Input, Place::Output, Place::Temp] {
        if let Some(rest) = name
            .strip_suffix(']')
            .and_then(|rest| rest.strip_suffix(place.word()))
            .and_then(|rest| rest.strip_suffix('['))
        {
            return (rest.strip_suffix(' ').unwrap_or(rest), Some(place));
        }
    }
    (name, None)
}

/// The path without `.` and `..`, or `None` when it is absolute or climbs out.
pub fn normalise(relative: &str) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in Path::new(relative).components() {
        match component {
            Component::Normal(part) => out.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

/// `base/relative`, when that lies in `base`.
pub fn inside(base: &Path, relative: &str) -> Option<PathBuf> {
    if relative.contains('\0') {
        return None;
    }
    normalise(relative).map(|relative| base.join(relative))
}

/// The names of the files directly in a folder; empty when it cannot be read.
pub fn file_names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .take(MAXIMUM_LISTED_FILES)
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The files below a folder as paths relative to it with `/`, sorted.
pub fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&relative)) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            if files.len() >= MAXIMUM_LISTED_FILES {
                break;
            }
            let path = relative.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() => {
                    let parts: Vec<&str> = path
                        .components()
                        .filter_map(|part| part.as_os_str().to_str())
                        .collect();
                    files.push(parts.join("/"));
                }
                _ => {}
            }
        }
    }
    files.sort();
    files
}
