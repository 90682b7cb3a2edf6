//! The workflows that people saved on a backend: what the workflow sidebar of its editor shows.

use super::backend::BackendConfig;
use super::roster::{FleetError, endpoint_of};
use crate::comfy::{Client, UserFileWrite};
use bytes::Bytes;

/// Where ComfyUI's editor keeps them in the backend's user folder.
const FOLDER: &str = "workflows";

/// Most files that are listed; a backend may list what it likes.
const MAX_FILES: usize = 20_000;

/// Whether writing may replace a workflow of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveMode {
    /// Refused when there is one.
    KeepExisting,
    /// Replaces it.
    Replace,
}

/// Reads and writes the saved workflows of one backend.
pub struct SavedWorkflows {
    client: Client,
}

impl SavedWorkflows {
    /// Those of the backend that a configuration names; nothing is asked yet.
    ///
    /// # Errors
    /// [`FleetError`] when the configuration cannot be used.
    pub fn of(config: &BackendConfig) -> Result<Self, FleetError> {
        let endpoint = endpoint_of(config, |name| std::env::var(name).ok())?;
        Ok(Self {
            client: Client::new(endpoint)?,
        })
    }

    /// Their paths below the folder of workflows, with `/`, sorted. Names that would leave a folder are left out.
    ///
    /// # Errors
    /// [`FleetError`] says what answered instead.
    pub async fn list(&self) -> Result<Vec<String>, FleetError> {
        let mut paths: Vec<String> = self
            .client
            .userdata_list(FOLDER)
            .await?
            .into_iter()
            .map(|file| file.path.replace('\\', "/"))
            .filter(|path| is_workflow_path(path))
            .take(MAX_FILES)
            .collect();
        paths.sort();
        Ok(paths)
    }

    /// The text of one, as bytes.
    ///
    /// # Errors
    /// [`FleetError`] when it is gone or too large.
    pub async fn read(&self, path: &str) -> Result<Bytes, FleetError> {
        Ok(self
            .client
            .userdata_get(&format!("{FOLDER}/{path}"))
            .await?)
    }

    /// Writes one. `path` is below the folder of workflows and ends with `.json`.
    ///
    /// # Errors
    /// [`FleetError`] when the backend refuses; with [`SaveMode::KeepExisting`] also when there is one of that name.
    pub async fn write(&self, path: &str, text: &str, mode: SaveMode) -> Result<(), FleetError> {
        let write = match mode {
            SaveMode::KeepExisting => UserFileWrite::Create,
            SaveMode::Replace => UserFileWrite::Overwrite,
        };
        self.client
            .userdata_put(
                &format!("{FOLDER}/{path}"),
                Bytes::copy_from_slice(text.as_bytes()),
                write,
            )
            .await?;
        Ok(())
    }
}

/// A relative path of plain names that ends with `.json`; files whose names begin with a dot are the editor's own.
fn is_workflow_path(path: &str) -> bool {
    let is_json = path
        .rsplit_once('.')
        .is_some_and(|(_, extension)| extension.eq_ignore_ascii_case("json"));
    is_json
        && path.len() < 1024
        && path.split('/').all(|name| {
            !name.is_empty()
                && !name.starts_with('.')
                && !name
                    .chars()
                    .any(|character| character.is_control() || character == ':')
        })
}

#[cfg(test)]
mod tests {
    use super::is_workflow_path;

    #[test]
    fn only_plain_paths_of_json_files_are_taken() {
        for good in ["a.json", "people/Portrait 2.JSON", "深/夜.json"] {
            assert!(is_workflow_path(good), "{good}");
        }
        for bad in [
            "a.png",
            ".index.json",
            "../a.json",
            "a/../b.json",
            "/etc/a.json",
            "C:/a.json",
            "a//b.json",
            "a\n.json",
            "json",
        ] {
            assert!(!is_workflow_path(bad), "{bad}");
        }
    }
}
