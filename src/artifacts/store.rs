//! The folder of produced files, each under the hash of its content.

use super::artifact::{Artifact, ContentHash, Measures};
use super::room;
use crate::durable;
use crate::media::{MediaError, MediaKind, measure_file};
use crate::project::DataType;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;
use thiserror::Error;

/// Unfinished files older than this were left by a program that ended in the middle.
const STALE_AFTER: Duration = Duration::from_hours(24);

/// How much is read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a file was not stored or not found.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The disk is full.
    #[error("the disk is full, the file was not stored; free some space, then go on: {path}")]
    DiskFull {
        /// The folder of artifacts.
        path: PathBuf,
    },
    /// The folder, which was there when it was opened, is gone.
    #[error(
        "the folder of results is gone; connect its disk again, or put the folder back: {path}"
    )]
    FolderGone {
        /// The folder.
        path: PathBuf,
    },
    /// A file is larger than allowed.
    #[error("the file is larger than {limit_bytes} bytes, the most that is accepted here")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The file is not what it is said to be.
    #[error("{expected} was expected, but {reason}")]
    NotAsExpected {
        /// What was expected.
        expected: DataType,
        /// What is wrong.
        reason: String,
    },
    /// A file that is known is gone.
    #[error("the stored file is gone: {path}")]
    Gone {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file does not hold what its name says. It was moved aside, so that the next time it is made it is stored anew.
    #[error(
        "the kept file is damaged; it was moved aside, make it again (its item, or a new run). It lies here now: {path}"
    )]
    Damaged {
        /// Where it lies now.
        path: PathBuf,
    },
    /// The disk does not do what it should.
    #[error("the file cannot be stored or read ({error}): {path}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
}

impl ArtifactError {
    fn io(path: &Path, error: io::Error) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, error },
        }
    }

    /// Whether the disk takes nothing for now: it is full, read-only, not there, or nobody may write there. The same file may be stored
    /// once that is mended.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::DiskFull { .. } | Self::FolderGone { .. } => true,
            Self::Io { error, .. } => matches!(
                error.kind(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
            ),
            _ => false,
        }
    }
}

/// What has become of a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileCondition {
    /// It holds what its name says.
    Sound,
    /// It holds something else.
    Damaged,
    /// It is not there, or cannot be read.
    Gone,
}

/// Why a stream was not stored: its source broke, or the file could not be kept.
#[derive(Debug, Error)]
pub enum StreamError<E> {
    /// The source broke.
    #[error(transparent)]
    Source(E),
    /// The file could not be kept.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

/// The folder of produced files: `ab/abcdef….png`. Cheap to clone. Storing the same content twice is a no-op.
#[derive(Clone, Debug)]
pub struct ArtifactStore {
    folder: PathBuf,
}

impl ArtifactStore {
    /// Opens the folder, creates it when it is not there, and removes what crashed programs left unfinished long ago.
    ///
    /// # Errors
    /// [`ArtifactError`] when it cannot be created.
    pub fn open(folder: &Path) -> Result<Self, ArtifactError> {
        let store = Self {
            folder: folder.to_path_buf(),
        };
        let unfinished = store.unfinished_folder();
        let failed = |error| ArtifactError::io(folder, error);
        durable::make_folder(&unfinished).map_err(failed)?;
        // All at once, so that their names cost one flush and not one each. On a disk that is full the rest are made later.
        for name in 0..=u8::MAX {
            match fs::create_dir(folder.join(format!("{name:02x}"))) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => break,
                _ => {}
            }
        }
        durable::keep_names(folder).map_err(failed)?;
        for entry in fs::read_dir(&unfinished).map_err(failed)?.flatten() {
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|modified| modified.elapsed().ok());
            if age.is_some_and(|age| age > STALE_AFTER) {
                // Another program may have removed it just now.
                fs::remove_file(entry.path()).ok();
            }
        }
        Ok(store)
    }

    /// Begins a file of at most `limit_bytes`. Dropping the writer unfinished leaves nothing behind.
    ///
    /// # Errors
    /// [`ArtifactError`] when no file can be made.
    pub fn begin(&self, limit_bytes: u64) -> Result<ArtifactWriter, ArtifactError> {
        let unfinished = self.unfinished_folder();
        let file = NamedTempFile::new_in(&unfinished).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ArtifactError::FolderGone {
                path: unfinished.clone(),
            },
            _ => ArtifactError::io(&unfinished, error),
        })?;
        Ok(ArtifactWriter {
            store: self.clone(),
            file,
            hasher: blake3::Hasher::new(),
            head: Vec::with_capacity(MediaKind::HEAD_BYTES),
            byte_len: 0,
            limit_bytes,
        })
    }

    /// Stores a stream of bytes; `expected` and `name` as in [`ArtifactWriter::finish`].
    ///
    /// # Errors
    /// [`StreamError`]; nothing is left behind then.
    pub async fn store_stream<E>(
        &self,
        stream: impl Stream<Item = Result<Bytes, E>>,
        expected: DataType,
        name: &str,
        limit_bytes: u64,
    ) -> Result<Artifact, StreamError<E>> {
        let mut writer = self.begin(limit_bytes)?;
        let mut stream = pin!(stream);
        while let Some(chunk) = stream.next().await {
            // A chunk goes into the system's cache, which takes microseconds; the disk is waited for at the end.
            writer.write(&chunk.map_err(StreamError::Source)?)?;
        }
        let name = name.to_owned();
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || writer.finish(expected, &name))
            .await
            .unwrap_or_else(|error| {
                Err(ArtifactError::Io {
                    path: folder,
                    error: io::Error::other(error),
                })
            })
            .map_err(StreamError::Artifact)
    }

    /// Stores bytes; `expected` and `name` as in [`ArtifactWriter::finish`]. Blocks.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn store_bytes(
        &self,
        bytes: &[u8],
        expected: DataType,
        name: &str,
    ) -> Result<Artifact, ArtifactError> {
        let mut writer = self.begin(u64::MAX)?;
        writer.write(bytes)?;
        writer.finish(expected, name)
    }

    /// Stores a copy of a file of at most `limit_bytes`; `expected` as in [`ArtifactWriter::finish`]. Blocks.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn store_file(
        &self,
        path: &Path,
        expected: DataType,
        limit_bytes: u64,
    ) -> Result<Artifact, ArtifactError> {
        let unreadable = |error| ArtifactError::io(path, error);
        let mut source = File::open(path).map_err(unreadable)?;
        let mut writer = self.begin(limit_bytes)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match source.read(&mut buffer).map_err(unreadable)? {
                0 => break,
                count => writer.write(buffer.get(..count).unwrap_or_default())?,
            }
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writer.finish(expected, &name)
    }

    /// Where the file of an artifact lies, whether or not it is there.
    #[must_use]
    pub fn path(&self, artifact: &Artifact) -> PathBuf {
        self.path_of(artifact.hash, &artifact.extension)
    }

    /// Whether the file of an artifact is there in full. Its content is not looked at; see [`Self::check`].
    #[must_use]
    pub fn contains(&self, artifact: &Artifact) -> bool {
        fs::metadata(self.path(artifact)).is_ok_and(|found| found.len() == artifact.byte_len)
    }

    /// Reads the file of an artifact and compares it with its hash. Blocks.
    #[must_use]
    pub fn check(&self, artifact: &Artifact) -> FileCondition {
        let mut hasher = blake3::Hasher::new();
        let read = File::open(self.path(artifact))
            .and_then(|file| hasher.update_reader(file).map(|hasher| hasher.finalize()));
        match read {
            Ok(hash) if ContentHash::from_bytes(*hash.as_bytes()) == artifact.hash => {
                FileCondition::Sound
            }
            Ok(_) => FileCondition::Damaged,
            Err(_) => FileCondition::Gone,
        }
    }

    /// Moves a damaged file into the folder `damaged`, so that nothing takes it for what its name says, and gives where it lies
    /// now. It is not removed: what is left of it may be all there is.
    ///
    /// # Errors
    /// [`ArtifactError`] when it cannot be moved.
    pub fn set_aside(&self, artifact: &Artifact) -> Result<PathBuf, ArtifactError> {
        let path = self.path(artifact);
        let folder = self.folder.join("damaged");
        let aside = folder.join(path.file_name().unwrap_or_default());
        fs::create_dir_all(&folder)
            .and_then(|()| fs::rename(&path, &aside))
            .map_err(|error| ArtifactError::io(&path, error))?;
        Ok(aside)
    }

    /// Removes the file of an artifact; one that is gone is well. Gives whether it was there.
    ///
    /// # Errors
    /// [`ArtifactError`] when it stays.
    pub fn remove(&self, artifact: &Artifact) -> Result<bool, ArtifactError> {
        let path = self.path(artifact);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ArtifactError::io(&path, error)),
        }
    }

    /// The error for a file whose content turned out to be another one; moves it aside.
    #[must_use]
    pub fn damaged(&self, artifact: &Artifact) -> ArtifactError {
        match self.set_aside(artifact) {
            Ok(path) => ArtifactError::Damaged { path },
            Err(error) => error,
        }
    }

    /// The file of an artifact, opened for reading.
    ///
    /// # Errors
    /// [`ArtifactError::Gone`] and others.
    pub fn open_file(&self, artifact: &Artifact) -> Result<File, ArtifactError> {
        let path = self.path(artifact);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ArtifactError::Gone { path },
            _ => ArtifactError::io(&path, error),
        })
    }

    /// The bytes of an artifact, at most `limit_bytes`. Blocks.
    ///
    /// # Errors
    /// [`ArtifactError::Damaged`] when they are not those that its hash stands for; others.
    pub fn read(&self, artifact: &Artifact, limit_bytes: u64) -> Result<Vec<u8>, ArtifactError> {
        let mut file = self.open_file(artifact)?;
        if artifact.byte_len > limit_bytes {
            return Err(ArtifactError::TooLarge { limit_bytes });
        }
        let mut bytes = Vec::with_capacity(artifact.byte_len as usize);
        Read::take(&mut file, limit_bytes)
            .read_to_end(&mut bytes)
            .map_err(|error| ArtifactError::io(&self.path(artifact), error))?;
        if ContentHash::of(&bytes) != artifact.hash {
            return Err(self.damaged(artifact));
        }
        Ok(bytes)
    }

    /// The files of one of its folders (of 256, by the first digits of the hash) that were written before a moment. Kinds and
    /// measures are not looked at. Blocks.
    #[must_use]
    pub fn files_before(&self, folder: u8, moment: SystemTime) -> Vec<Artifact> {
        let entries = fs::read_dir(self.folder.join(format!("{folder:02x}")));
        let file_of = |entry: fs::DirEntry| {
            let metadata = entry.metadata().ok()?;
            let name = entry.file_name();
            let (hash, extension) = name.to_str()?.split_once('.')?;
            (metadata.is_file() && metadata.modified().ok()? < moment).then_some(())?;
            Some(Artifact {
                hash: hash.parse().ok()?,
                data_type: DataType::File,
                extension: extension.to_owned(),
                byte_len: metadata.len(),
                measures: Measures::default(),
                origin: None,
            })
        };
        let entries = entries.into_iter().flatten().flatten();
        entries.filter_map(file_of).collect()
    }

    /// Bytes for which its disk has room; none where that cannot be found out. Blocks.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        room::free_bytes(&self.folder)
    }

    fn unfinished_folder(&self) -> PathBuf {
        self.folder.join("unfinished")
    }

    fn path_of(&self, hash: ContentHash, extension: &str) -> PathBuf {
        let hash = hash.to_string();
        let folder = self.folder.join(hash.get(..2).unwrap_or_default());
        folder.join(format!("{hash}.{}", harmless_extension(extension)))
    }
}

/// A file that is being stored.
#[derive(Debug)]
pub struct ArtifactWriter {
    store: ArtifactStore,
    file: NamedTempFile,
    hasher: blake3::Hasher,
    head: Vec<u8>,
    byte_len: u64,
    limit_bytes: u64,
}

impl ArtifactWriter {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`], [`ArtifactError::DiskFull`] and others.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), ArtifactError> {
        self.byte_len += chunk.len() as u64;
        if self.byte_len > self.limit_bytes {
            return Err(ArtifactError::TooLarge {
                limit_bytes: self.limit_bytes,
            });
        }
        let missing = MediaKind::HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend(chunk.iter().take(missing));
        self.hasher.update(chunk);
        self.file
            .write_all(chunk)
            .map_err(|error| ArtifactError::io(&self.store.folder, error))
    }

    /// Puts the file in its place, on the disk for good, and measures it. Blocks for the disk and for decoding.
    ///
    /// `expected` is what the file is taken for; for `Any` its bytes decide. `name` is its name where it comes from; its
    /// extension counts only for kinds of files that are not recognised by their bytes.
    ///
    /// # Errors
    /// [`ArtifactError::NotAsExpected`] for a picture that is none, is damaged or declares too many pixels; others for the
    /// disk. Nothing is left behind then.
    pub fn finish(self, expected: DataType, name: &str) -> Result<Artifact, ArtifactError> {
        let folder = &self.store.folder;
        let kind = MediaKind::of(&self.head);
        let data_type = data_type_of(expected, kind, &self.head)?;
        let measures = match kind {
            Some(kind) if !matches!(data_type, DataType::File | DataType::Latent) => {
                measure_file(self.file.path(), kind).map_err(|error| match error {
                    MediaError::Io(error) => ArtifactError::io(folder, error),
                    other => ArtifactError::NotAsExpected {
                        expected: data_type,
                        reason: other.to_string(),
                    },
                })?
            }
            _ => Measures::default(),
        };
        let extension = match kind {
            Some(kind) => kind.extension().to_owned(),
            None => harmless_extension(
                Path::new(name)
                    .extension()
                    .and_then(std::ffi::OsStr::to_str)
                    .unwrap_or_default(),
            ),
        };
        let artifact = Artifact {
            hash: ContentHash::from_bytes(*self.hasher.finalize().as_bytes()),
            data_type,
            extension,
            byte_len: self.byte_len,
            measures,
            origin: None,
        };
        // What lies there already may have been cut off by a crash of the machine, or damaged since; this one is sound.
        let path = self.store.path(&artifact);
        let parent = durable::parent_of(&path);
        if self.store.check(&artifact) != FileCondition::Sound {
            // Its name is durable since the store was opened, unless somebody removed it.
            let made = if parent.is_dir() {
                Ok(())
            } else {
                durable::make_folder(parent)
            };
            made.and_then(|()| self.file.as_file().sync_all())
                .map_err(|error| ArtifactError::io(&path, error))?;
            self.file
                .persist(&path)
                .map_err(|error| ArtifactError::io(&path, error.error))?;
        }
        // Also of one that lay there: who stored it may have been killed before its name was on the disk.
        durable::keep_names(parent).map_err(|error| ArtifactError::io(parent, error))?;
        Ok(artifact)
    }
}

/// What a file is taken for, once its bytes are known.
fn data_type_of(
    expected: DataType,
    kind: Option<MediaKind>,
    head: &[u8],
) -> Result<DataType, ArtifactError> {
    match (expected, kind.map(MediaKind::data_type)) {
        (DataType::Any | DataType::Image, Some(found)) => Ok(found),
        (DataType::Any, None) => Ok(DataType::File),
        (DataType::Mask, Some(DataType::Image)) => Ok(DataType::Mask),
        (DataType::Image | DataType::Mask, found) => Err(ArtifactError::NotAsExpected {
            expected,
            reason: match found {
                Some(found) => format!("the file is of type {found}"),
                None => format!(
                    "the file is no picture; it begins with \"{}\"",
                    head.escape_ascii()
                ),
            },
        }),
        // Moving pictures come as animated WebP and GIF too, and in many containers we do not know.
        (other, _) => Ok(other),
    }
}

/// An extension of 1-8 lower-case letters and digits; `bin` for anything else.
fn harmless_extension(extension: &str) -> String {
    let is_harmless = (1..=8).contains(&extension.len())
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_harmless {
        extension.to_ascii_lowercase()
    } else {
        "bin".to_owned()
    }
}
