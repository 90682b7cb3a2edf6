//! Folders and names that survive a power cut.
//!
//! Flushing a file makes its bytes durable, not its name: a name lies in its folder, and a new folder's name in the folder above.
//! What the log calls stored has all of these on the disk first.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Held while folders are made: who finds one that another thread has just made must not go on before its name is durable.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes a folder with its parents, unless it is there. The names of those it made are durable when it returns. Blocks.
///
/// # Errors
/// As [`fs::create_dir_all`], and when a folder cannot be flushed.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut changed: Vec<PathBuf> = Vec::new();
    let mut next = folder;
    while !next.exists() {
        let parent = parent_of(next);
        changed.push(parent.to_path_buf());
        next = parent;
    }
    fs::create_dir_all(folder)?;
    changed
        .iter()
        .rev()
        .try_for_each(|folder| keep_names(folder))
}

/// Makes the names in a folder durable: of new files, of those renamed, of those removed. Blocks.
///
/// Windows has no such call and needs none; network shares may refuse it, and then nobody can do more.
///
/// # Errors
/// When the folder cannot be opened or flushed.
pub fn keep_names(folder: &Path) -> io::Result<()> {
    flush(folder)
}

/// Makes the bytes of a file that somebody else wrote, and its name, durable. Blocks. On Windows as [`keep_names`].
///
/// # Errors
/// When the file or its folder cannot be opened or flushed.
pub fn keep_file(path: &Path) -> io::Result<()> {
    flush(path)?;
    flush(parent_of(path))
}

fn flush(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(path)?.sync_all() {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// The folder that a path's last name lies in.
#[must_use]
pub fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_with_their_parents_and_files_in_the_way_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(folder.path().join("file"), "in the way").unwrap();
        assert!(make_folder(&folder.path().join("file/d")).is_err());
        assert!(make_folder(&folder.path().join("file")).is_err());
        assert!(keep_names(&folder.path().join("nowhere")).is_err());
    }
}
