//! Earlier versions of a project: portable files in `.versions/`, numbered upwards.

use super::atomic::{
    ensure_folder, file_names, read_if_there, refuse_link, remove_file, write_file,
};
use super::error::ProjectFolderError;
use super::place::ProjectPlace;
use crate::project::{MAX_PROJECT_BYTES, Project, read_portable_form, write_portable_form};
use std::path::PathBuf;
use std::time::SystemTime;

/// How many earlier versions are kept.
pub const KEPT_VERSIONS: usize = 10;

/// An earlier version of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its number; later versions have higher ones.
    pub number: u64,
    /// The portable file.
    pub path: PathBuf,
    /// When it was replaced; none where the file system does not tell.
    pub replaced_at: Option<SystemTime>,
}

/// The versions of a project, the latest first.
pub fn versions(place: &ProjectPlace) -> Result<Vec<Version>, ProjectFolderError> {
    let folder = place.versions_folder();
    let start = format!("{}.", place.stem());
    let mut versions: Vec<Version> = file_names(&folder)?
        .into_iter()
        .filter_map(|name| {
            let number = name
                .to_str()?
                .strip_prefix(&start)?
                .strip_suffix(".orchestrator.json")?
                .parse()
                .ok()?;
            let path = folder.join(name);
            let replaced_at = std::fs::metadata(&path)
                .and_then(|metadata| metadata.modified())
                .ok();
            Some(Version {
                number,
                path,
                replaced_at,
            })
        })
        .collect();
    versions.sort_unstable_by_key(|version| std::cmp::Reverse(version.number));
    Ok(versions)
}

/// Reads an earlier version.
pub fn read_version(version: &Version) -> Result<Project, ProjectFolderError> {
    let path = &version.path;
    let bytes = read_if_there(path, MAX_PROJECT_BYTES)?
        .ok_or_else(|| ProjectFolderError::NotFound { path: path.clone() })?;
    read_portable_form(&bytes).map_err(|source| ProjectFolderError::Format {
        path: path.clone(),
        source,
    })
}

/// Keeps a state that is about to be replaced, and forgets the oldest ones.
pub(super) fn keep(place: &ProjectPlace, project: &Project) -> Result<(), ProjectFolderError> {
    let folder = place.versions_folder();
    let earlier = versions(place)?;
    let number = earlier
        .first()
        .map_or(1, |latest| latest.number.saturating_add(1));
    let path = folder.join(format!("{}.{number:06}.orchestrator.json", place.stem()));
    let text = write_portable_form(project).map_err(|source| ProjectFolderError::Unwritable {
        path: path.clone(),
        source,
    })?;
    refuse_link(&folder)?;
    ensure_folder(&folder)?;
    write_file(&path, text.as_bytes())?;
    for old in earlier.iter().skip(KEPT_VERSIONS - 1) {
        remove_file(&old.path)?;
    }
    Ok(())
}
