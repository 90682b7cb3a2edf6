//! Writing an Output item's files: never over anything, never twice, whole or not at all.

use super::template::{FileFacts, day_of, expand};
use super::{
    LocalContext, artifact_failure, failure, io_failure, provenance, title_of, write_failure,
};
use crate::artifacts::{Artifact, ContentHash};
use crate::durable;
use crate::engine::failure::Failure;
use crate::engine::machine::LocalWork;
use crate::engine::value::{Labels, Value};
use crate::media::{MediaError, with_png_text, without_png_text};
use crate::project::Literal;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::NamedTempFile;

/// Names that are tried (`name (2)`, `name (3)` …) when files of other content lie there.
const MAX_NAMES: u32 = 10_000;

/// Largest PNG file into which provenance is written, bytes; larger ones are copied as they are.
const MAX_REWRITTEN_BYTES: u64 = 256 * 1024 * 1024;

/// Largest description of our own that an earlier file is thought to have, bytes: only files of about the same length are read.
const MAX_DESCRIPTION_BYTES: u64 = 4 * 1024 * 1024;

/// How much is copied at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// One file to write.
struct Leaf {
    content: Content,
    labels: Labels,
}

enum Content {
    Artifact(Arc<Artifact>),
    Text {
        text: String,
        extension: &'static str,
    },
}

/// What lies in a file to be written.
enum Source {
    Bytes(Vec<u8>),
    Artifact(Arc<Artifact>),
    /// A PNG file with our provenance.
    Described {
        bytes: Vec<u8>,
        /// The hash and length of the same file without it.
        plain: (ContentHash, u64),
    },
}

impl Source {
    fn describe(png: &[u8], text: &str) -> Result<Self, MediaError> {
        let plain = without_png_text(png, provenance::KEYWORD)?;
        Ok(Self::Described {
            bytes: with_png_text(png, provenance::KEYWORD, text)?,
            plain: (ContentHash::of(&plain), plain.len() as u64),
        })
    }
}

/// Writes the files of an item and gives their absolute paths in order. A file that is there already with the same content
/// is left and its path given.
pub(super) fn write(
    work: &LocalWork,
    template: &str,
    value: &Value,
    ordinal: u32,
    context: LocalContext,
) -> Result<Vec<String>, Failure> {
    let mut leaves = Vec::new();
    collect(value, &work.labels, &mut leaves);
    let run = work.run_id.uuid().simple().to_string();
    let date = day_of(context.run_created_ms);
    let folder = std::path::absolute(&context.folders.output)
        .map_err(|error| write_failure("Writing the output", &context.folders.output, &error))?;
    let is_single = leaves.len() == 1;
    let mut paths = Vec::with_capacity(leaves.len());
    for (leaf, position) in leaves.iter().zip(0_u32..) {
        let index = if is_single { ordinal } else { position };
        let facts = FileFacts {
            project: &context.project.name,
            node: title_of(context.project.nodes.get(&work.node_id)),
            labels: &leaf.labels,
            index,
            extension: match &leaf.content {
                Content::Artifact(artifact) => &artifact.extension,
                Content::Text { extension, .. } => extension,
            },
            // The end of a time-ordered id is what differs between runs.
            run: run.get(24..).unwrap_or(&run),
            date: &date,
        };
        let segments =
            expand(template, &facts).map_err(|error| failure(format!("Cannot write: {error}")))?;
        let source = source(leaf, work, index, context)?;
        // Derived from what it is for: what a killed process left of it is found again when the item is written again.
        let unfinished = format!(".writing-{}-{position}", work.item_id);
        let path = place(&folder, &segments, &unfinished, &source, context)?;
        paths.push(path.to_string_lossy().into_owned());
    }
    Ok(paths)
}

/// Every file a value stands for, each with its labels.
fn collect(value: &Value, labels: &Labels, leaves: &mut Vec<Leaf>) {
    let mut add = |content| {
        leaves.push(Leaf {
            content,
            labels: labels.clone(),
        });
    };
    match value {
        Value::Trigger => {}
        Value::Literal(Literal::Json(json)) => add(Content::Text {
            text: format!("{json:#}\n"),
            extension: "json",
        }),
        Value::Literal(literal) => add(Content::Text {
            text: literal.to_string(),
            extension: "txt",
        }),
        Value::Artifact(artifact) => add(Content::Artifact(artifact.clone())),
        Value::Batch(batch) => {
            for artifact in batch.iter() {
                add(Content::Artifact(artifact.clone()));
            }
        }
        Value::List(list) => {
            for element in list.iter() {
                let mut labels = labels.clone();
                labels.extend(element.labels.clone());
                collect(&element.value, &labels, leaves);
            }
        }
    }
}

fn source(
    leaf: &Leaf,
    work: &LocalWork,
    index: u32,
    context: LocalContext,
) -> Result<Source, Failure> {
    let artifact = match &leaf.content {
        Content::Text { text, .. } => return Ok(Source::Bytes(text.clone().into_bytes())),
        Content::Artifact(artifact) => artifact,
    };
    if artifact.extension != "png" || artifact.byte_len > MAX_REWRITTEN_BYTES {
        return Ok(Source::Artifact(artifact.clone()));
    }
    let png = context
        .artifacts
        .read(artifact, MAX_REWRITTEN_BYTES)
        .map_err(|error| artifact_failure(&error))?;
    let text = provenance::describe(work, &leaf.labels, index, artifact, context);
    // A file that merely calls itself PNG is written as it is.
    Ok(Source::describe(&png, &text)
        .unwrap_or_else(|_not_a_png| Source::Artifact(artifact.clone())))
}

/// Puts a file under the first name that is free or holds the same content already. Until it is whole it is called
/// `unfinished`.
fn place(
    folder: &Path,
    segments: &[String],
    unfinished: &str,
    source: &Source,
    context: LocalContext,
) -> Result<PathBuf, Failure> {
    let Some((name, folders)) = segments.split_last() else {
        return Err(failure("The file name template gives no name; change it"));
    };
    let parent = folders
        .iter()
        .fold(folder.to_path_buf(), |path, segment| path.join(segment));
    durable::make_folder(&parent)
        .map_err(|error| write_failure("Making the output folder", &parent, &error))?;
    match fs::remove_file(parent.join(unfinished)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(write_failure(
                "Removing an unfinished file",
                &parent.join(unfinished),
                &error,
            ));
        }
        _ => {}
    }
    let unkept = |path: &Path, error: &io::Error| write_failure("Writing the output", path, error);
    let known = known_by(source);
    let mut unplaced: Option<NamedTempFile> = None;
    for number in 1..=MAX_NAMES {
        let path = parent.join(numbered(name, number));
        match fs::symlink_metadata(&path) {
            Ok(_there) => {
                let is_same = holds(&path, known, source)
                    .map_err(|error| io_failure("Reading an earlier output", &path, &error))?;
                if is_same {
                    // Whoever wrote it may have been killed before it was on the disk.
                    durable::keep_file(&path).map_err(|error| unkept(&path, &error))?;
                    return Ok(path);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = match unplaced.take() {
                    Some(file) => file,
                    None => fill(&parent, unfinished, source, context)?,
                };
                match file.persist_noclobber(&path) {
                    Ok(_file) => {
                        durable::keep_names(&parent).map_err(|error| unkept(&path, &error))?;
                        return Ok(path);
                    }
                    // Somebody was faster; what lies there now is looked at in the same way.
                    Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                        if holds(&path, known, source).unwrap_or(false) {
                            durable::keep_file(&path).map_err(|error| unkept(&path, &error))?;
                            return Ok(path);
                        }
                        unplaced = Some(error.file);
                    }
                    Err(error) => {
                        return Err(write_failure("Writing the output", &path, &error.error));
                    }
                }
            }
            Err(error) => return Err(write_failure("Writing the output", &path, &error)),
        }
    }
    Err(failure(format!(
        "More than {MAX_NAMES} files of that name are there; add {{index}} or {{label}} to the file name template: {}",
        parent.join(name).display()
    )))
}

/// `name.png`, `name (2).png`, `name (3).png` …
fn numbered(name: &str, number: u32) -> String {
    if number == 1 {
        return name.to_owned();
    }
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem} ({number}).{extension}"),
        None => format!("{name} ({number})"),
    }
}

/// A new file in the folder with the content, on the disk.
fn fill(
    parent: &Path,
    unfinished: &str,
    source: &Source,
    context: LocalContext,
) -> Result<NamedTempFile, Failure> {
    let io = |error: io::Error| write_failure("Writing the output", parent, &error);
    let mut builder = tempfile::Builder::new();
    builder.prefix(unfinished).rand_bytes(0);
    // As any program's new file: the user's umask decides who may read it.
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt as _;
        fs::Permissions::from_mode(0o666)
    };
    #[cfg(unix)]
    builder.permissions(permissions);
    let mut file = builder.tempfile_in(parent).map_err(io)?;
    match source {
        Source::Bytes(bytes) | Source::Described { bytes, .. } => {
            file.write_all(bytes).map_err(io)?;
        }
        Source::Artifact(artifact) => {
            let mut stored = context
                .artifacts
                .open_file(artifact)
                .map_err(|error| artifact_failure(&error))?;
            let mut hasher = blake3::Hasher::new();
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                let count = stored.read(&mut buffer).map_err(|error| {
                    io_failure(
                        "Reading the stored file",
                        &context.artifacts.path(artifact),
                        &error,
                    )
                })?;
                match buffer.get(..count) {
                    Some(chunk) if count > 0 => {
                        hasher.update(chunk);
                        file.write_all(chunk).map_err(io)?;
                    }
                    _ => break,
                }
            }
            if ContentHash::from_bytes(*hasher.finalize().as_bytes()) != artifact.hash {
                return Err(artifact_failure(&context.artifacts.damaged(artifact)));
            }
        }
    }
    file.as_file().sync_all().map_err(io)?;
    Ok(file)
}

/// What a file to be written is known by, as it is to be compared with others.
fn known_by(source: &Source) -> (ContentHash, u64) {
    match source {
        Source::Bytes(bytes) => (ContentHash::of(bytes), bytes.len() as u64),
        Source::Artifact(artifact) => (artifact.hash, artifact.byte_len),
        Source::Described { plain, .. } => *plain,
    }
}

/// Whether a file holds this content. What our own text in a PNG file says (which run, when) does not count: an equal picture of
/// an equal prompt is the same.
fn holds(path: &Path, (hash, byte_len): (ContentHash, u64), source: &Source) -> io::Result<bool> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(false);
    };
    let room = match source {
        Source::Described { .. } => MAX_DESCRIPTION_BYTES,
        _ => 0,
    };
    if !metadata.is_file() || !(byte_len..=byte_len + room).contains(&metadata.len()) {
        return Ok(false);
    }
    if matches!(source, Source::Described { .. }) {
        let plain = without_png_text(&fs::read(path)?, provenance::KEYWORD);
        return Ok(plain.is_ok_and(|plain| ContentHash::of(&plain) == hash));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()) == hash)
}
