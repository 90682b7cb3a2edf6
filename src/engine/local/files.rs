//! The files of a `FanOut`: those below a folder whose path fits a pattern.

use super::load::load_file;
use super::{LocalContext, failure, io_failure};
use crate::engine::command::RunFolders;
use crate::engine::failure::Failure;
use crate::engine::value::Value;
use crate::project::FilePattern;
use std::cmp::Ordering;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Files one fan-out may find.
const MAX_FILES: usize = 10_000;

/// Folders that are looked through; more means that the pattern is too wide.
const MAX_FOLDERS: usize = 10_000;

/// Finds the files and brings them into the artifact store, each with its name as shown: its path from the first folder
/// that the pattern leaves open.
pub(super) fn find(
    files: &FilePattern,
    folder: Option<&str>,
    context: LocalContext,
) -> Result<Vec<(String, Value)>, Failure> {
    let pattern = files.pattern.replace('\\', "/");
    let (base, rest) = split_base(&pattern);
    let base = base_folder(&base, folder, context.folders)?;
    let segments: Vec<&str> = rest.split('/').collect();
    let mut found = Vec::new();
    let mut pending = vec![(base.clone(), Vec::<String>::new())];
    let mut folders = 0;
    while let Some((folder, names)) = pending.pop() {
        folders += 1;
        if folders > MAX_FOLDERS {
            return Err(failure(format!(
                "The pattern \"{}\" looks through more than {MAX_FOLDERS} folders; name the folder more closely",
                files.pattern
            )));
        }
        let entries = fs::read_dir(&folder)
            .map_err(|error| io_failure("Reading the folder", &folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| io_failure("Reading the folder", &folder, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Hidden files and folders are named, if at all, by a pattern that begins with a dot.
            if name.starts_with('.') && !rest.contains("/.") && !rest.starts_with('.') {
                continue;
            }
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let mut path = names.clone();
            path.push(name);
            if kind.is_dir() {
                if may_lead_on(&segments, path.len()) {
                    pending.push((entry.path(), path));
                }
            } else if fits(&segments, &path) && is_plain_file(&entry.path(), &base) {
                found.push((path.join("/"), entry.path()));
                if found.len() > MAX_FILES {
                    return Err(failure(format!(
                        "The pattern \"{}\" fits more than {MAX_FILES} files; narrow it down",
                        files.pattern
                    )));
                }
            }
        }
    }
    found.sort_by(|one, other| natural_order(&one.0, &other.0));
    found
        .into_iter()
        .map(|(name, path)| Ok((name, load_file(&path, files.data_type, context)?)))
        .collect()
}

/// Whether the folder of a pattern is there, where the pattern alone says which.
///
/// # Errors
/// What looking for the files would come to.
pub(super) fn check(files: &FilePattern, folders: &RunFolders) -> Result<(), Failure> {
    let pattern = files.pattern.replace('\\', "/");
    let (base, _) = split_base(&pattern);
    let base = base_folder(&base, None, folders)?;
    fs::read_dir(&base)
        .map(|_| ())
        .map_err(|error| io_failure("Reading the folder", &base, &error))
}

/// The folder part of a pattern before its first wildcard, and the rest.
fn split_base(pattern: &str) -> (String, String) {
    let wild = pattern.find(['*', '?']).unwrap_or(pattern.len());
    match pattern[..wild].rfind('/') {
        Some(slash) => (
            pattern[..=slash].to_owned(),
            pattern[slash + 1..].to_owned(),
        ),
        None => (String::new(), pattern.to_owned()),
    }
}

/// Where a search begins. Relative folders stay inside the project's inputs, links included.
fn base_folder(base: &str, folder: Option<&str>, folders: &RunFolders) -> Result<PathBuf, Failure> {
    let inputs = &folders.inputs;
    let wanted = match folder {
        Some(folder) => Path::new(&folder.replace('\\', "/")).join(base),
        None => PathBuf::from(base),
    };
    if wanted.is_absolute() {
        return fs::canonicalize(&wanted)
            .map_err(|error| io_failure("Reading the folder", &wanted, &error));
    }
    let is_inside = wanted
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    let is_drive = matches!(base.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    let outside = || {
        failure(format!(
            "The folder \"{}\" does not lie in the project's inputs folder; put the files there, or name their full path",
            wanted.display()
        ))
    };
    if !is_inside || is_drive {
        return Err(outside());
    }
    let path = inputs.join(&wanted);
    let found =
        fs::canonicalize(&path).map_err(|error| io_failure("Reading the folder", &path, &error))?;
    let inputs = fs::canonicalize(inputs)
        .map_err(|error| io_failure("Reading the inputs folder", inputs, &error))?;
    if found.starts_with(&inputs) {
        Ok(found)
    } else {
        Err(outside())
    }
}

/// A file, or a link to one that lies below the folder.
fn is_plain_file(path: &Path, base: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|found| {
        found.starts_with(base) && fs::metadata(&found).is_ok_and(|metadata| metadata.is_file())
    })
}

/// Whether anything below a folder of this depth can fit.
fn may_lead_on(segments: &[&str], depth: usize) -> bool {
    depth < segments.len() || segments.contains(&"**")
}

/// Whether a path fits a pattern, segment by segment; `**` stands for any number of folders.
fn fits(segments: &[&str], path: &[String]) -> bool {
    // Which lengths of the path the pattern so far can have used up.
    let mut reached = vec![false; path.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for segment in segments {
        let mut next = vec![false; path.len() + 1];
        if *segment == "**" {
            let mut is_open = false;
            for (length, slot) in next.iter_mut().enumerate() {
                is_open |= reached.get(length).copied().unwrap_or(false);
                *slot = is_open;
            }
        } else {
            for (length, name) in path.iter().enumerate() {
                if reached.get(length).copied().unwrap_or(false)
                    && name_fits(segment, name)
                    && let Some(slot) = next.get_mut(length + 1)
                {
                    *slot = true;
                }
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// Whether a name fits a pattern of `*` and `?`; letters of either case are the same, as on most of our users' disks.
fn name_fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let (mut at, mut used) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while used < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, used));
                at += 1;
            }
            Some(letter) if *letter == '?' || name.get(used) == Some(letter) => {
                at += 1;
                used += 1;
            }
            _ => match star {
                // The star takes one letter more.
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    used = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|letter| *letter == '*')
}

/// `shot 2` before `shot 10`.
fn natural_order(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one.chars().peekable(), other.chars().peekable());
    loop {
        match (left.peek().copied(), right.peek().copied()) {
            (None, None) => return one.cmp(other),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let digits = |letters: &mut std::iter::Peekable<std::str::Chars>| {
                    let mut text = String::new();
                    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                        text.push(digit);
                    }
                    let trimmed = text.trim_start_matches('0').to_owned();
                    (trimmed.len(), trimmed)
                };
                let order = digits(&mut left).cmp(&digits(&mut right));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(a), Some(b)) => {
                let order = a.to_lowercase().cmp(b.to_lowercase());
                if order != Ordering::Equal {
                    return order;
                }
                left.next();
                right.next();
            }
        }
    }
}
