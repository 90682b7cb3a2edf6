//! Reading and writing single files: plain files only, within a size, whole or not at all.

use super::error::ProjectFolderError;
use crate::durable;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// The bytes of a file, none when it is not there. Links and devices are refused, and more than `limit` bytes.
pub(super) fn read_if_there(
    path: &Path,
    limit: usize,
) -> Result<Option<Vec<u8>>, ProjectFolderError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, error)),
    };
    if !metadata.is_file() {
        return Err(not_plain(path, "file"));
    }
    let too_large = |bytes| ProjectFolderError::TooLarge {
        path: path.to_owned(),
        bytes,
        limit,
    };
    if metadata.len() > limit as u64 {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    File::open(path)
        // One more than allowed, because the file may have grown.
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| failed("read", path, error))?;
    if bytes.len() > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(Some(bytes))
}

/// Writes a file so that after a crash either the old or the new content is there: a temporary file in the same folder,
/// flushed to the disk, renamed over the old one, and the folder flushed.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ProjectFolderError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(not_plain(path, "file")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("write", path, error)),
    }
    replace(path, bytes).map_err(|error| failed("write", path, error))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = durable::parent_of(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".saving-").suffix(".tmp");
    // Others who share the folder may read the file, as far as the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    if let Ok(before) = fs::metadata(path) {
        file.as_file().set_permissions(before.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The file is on the disk already; without its name the old one is there, which is no failure of a save.
    if let Err(error) = durable::keep_names(folder) {
        tracing::debug!(folder = %folder.display(), %error, "folder not flushed");
    }
    Ok(())
}

/// Removes a file if it is there. A link is removed itself, not what it leads to.
pub(super) fn remove_file(path: &Path) -> Result<(), ProjectFolderError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", path, error)),
    }
}

/// Makes a folder with its parents, unless it is there.
pub(super) fn ensure_folder(path: &Path) -> Result<(), ProjectFolderError> {
    durable::make_folder(path).map_err(|error| failed("make the folder", path, error))
}

/// Refuses a folder inside the project that is a link.
pub(super) fn refuse_link(path: &Path) -> Result<(), ProjectFolderError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(not_plain(path, "folder")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Names of what lies in a folder inside the project, sorted; none when it is not there.
pub(super) fn file_names(folder: &Path) -> Result<Vec<OsString>, ProjectFolderError> {
    refuse_link(folder)?;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", folder, error)),
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| failed("list", folder, error))?;
    names.sort_unstable();
    Ok(names)
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> ProjectFolderError {
    ProjectFolderError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn not_plain(path: &Path, expected: &'static str) -> ProjectFolderError {
    ProjectFolderError::NotPlain {
        path: path.to_owned(),
        expected,
    }
}
