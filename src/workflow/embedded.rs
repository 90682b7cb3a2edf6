//! Workflows inside other files: pictures, videos, sounds, models and latents as `ComfyUI` and its custom nodes write them.
//!
//! One file per container. Every reader walks the container's own structure by its sizes, checks each against what is left
//! of the file, and skips pixels and frames without reading them, so that a film of many gigabytes costs a few kilobytes.

mod ebml;
mod exif;
mod flac;
mod glb;
mod id3;
mod isobmff;
mod jpeg;
mod ogg;
mod parameters;
mod png;
mod riff;
mod safetensors;
mod source;
mod svg;

use super::read::{
    MAX_WORKFLOW_BYTES, MAX_WORKFLOW_DEPTH, MAX_WORKFLOW_VALUES, WorkflowDocument, WorkflowError,
    excess, read,
};
pub use parameters::{GenerationParameters, parse_parameters};
use serde::Serialize;
use serde_json::Value;
use source::Source;
use std::fmt;
use std::io::{Read, Seek};

/// Most bytes of one embedded text, after inflation.
pub const MAX_TEXT_BYTES: usize = MAX_WORKFLOW_BYTES;

/// Most bytes of all embedded texts of a file together.
pub const MAX_TEXTS_BYTES: usize = 2 * MAX_TEXT_BYTES;

/// Most embedded texts of a file that are looked at.
pub const MAX_TEXTS: usize = 1000;

/// Most chunks, boxes, pages or elements of a file that are walked over. An hour of video has some thousands.
pub const MAX_PARTS: usize = 500_000;

/// What kind of file it is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// A PNG picture, animated ones included.
    Png,
    /// A WebP picture.
    Webp,
    /// A JPEG picture.
    Jpeg,
    /// An AVIF or HEIF picture.
    Avif,
    /// An MP4, M4V, M4A or `QuickTime` file.
    Mp4,
    /// A `WebM` or Matroska file.
    Webm,
    /// A FLAC sound.
    Flac,
    /// A sound with ID3 tags, usually MP3.
    Mp3,
    /// An Ogg sound or video: Opus, Vorbis.
    Ogg,
    /// An SVG drawing.
    Svg,
    /// A binary glTF model.
    Glb,
    /// A safetensors file; `.latent` files are such.
    Safetensors,
    /// JSON text: the workflow itself.
    Json,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG picture",
            Self::Webp => "WebP picture",
            Self::Jpeg => "JPEG picture",
            Self::Avif => "AVIF picture",
            Self::Mp4 => "MP4 file",
            Self::Webm => "WebM file",
            Self::Flac => "FLAC file",
            Self::Mp3 => "MP3 file",
            Self::Ogg => "Ogg file",
            Self::Svg => "SVG drawing",
            Self::Glb => "GLB model",
            Self::Safetensors => "safetensors file",
            Self::Json => "JSON file",
        })
    }
}

/// Why nothing could be read out of a file.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// None of the kinds of file that hold workflows.
    #[error(
        "it is none of the files that hold workflows (JSON, PNG, WebP, JPEG, AVIF, MP4, WebM, FLAC, MP3, Ogg, SVG, GLB, safetensors)"
    )]
    UnknownKind,
    /// Its structure is broken.
    #[error(
        "this {container} is damaged or cut off ({reason}); get it again from where it was made"
    )]
    Damaged {
        /// What kind of file it is.
        container: Container,
        /// What is wrong.
        reason: String,
    },
    /// A text is too large.
    #[error(
        "this {container} holds a text of more than {MAX_TEXT_BYTES} bytes, which no workflow is"
    )]
    TooLarge {
        /// What kind of file it is.
        container: Container,
    },
    /// It holds neither a workflow nor a prompt.
    #[error(
        "this {container} holds no workflow: it was made with metadata switched off, by another program, or was saved again by one that drops it"
    )]
    NoWorkflow {
        /// What kind of file it is.
        container: Container,
    },
    /// It holds one, which cannot be used.
    #[error("the workflow inside this {container} cannot be used: {error}")]
    Unusable {
        /// What kind of file it is.
        container: Container,
        /// Why.
        error: WorkflowError,
    },
}

/// One text of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EmbeddedText {
    /// Its name in lower case, for example `workflow`, `prompt`, `parameters`, `comment`.
    pub key: String,
    /// The text as it was written.
    pub text: String,
}

/// The texts of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Embedded {
    /// What kind of file it is.
    pub container: Container,
    /// Its texts in the order of the file.
    pub texts: Vec<EmbeddedText>,
}

impl Embedded {
    /// Everything that a file says in texts. JSON files are one text, `workflow`.
    ///
    /// # Errors
    /// [`EmbeddedError`] for other kinds of files, and for broken ones in which nothing useful was found before the break.
    pub fn read(reader: impl Read + Seek) -> Result<Self, EmbeddedError> {
        let mut reader = reader;
        let mut source = Source::new(&mut reader)?;
        let container = container_of(&mut source)?;
        let mut texts = Texts::default();
        let walked = match container {
            Container::Png => png::read(&mut source, &mut texts),
            Container::Webp => riff::read(&mut source, &mut texts),
            Container::Jpeg => jpeg::read(&mut source, &mut texts),
            Container::Avif | Container::Mp4 => isobmff::read(&mut source, &mut texts),
            Container::Webm => ebml::read(&mut source, &mut texts),
            Container::Flac => flac::read(&mut source, &mut texts),
            Container::Mp3 => id3::read(&mut source, &mut texts).map(|_| ()),
            Container::Ogg => ogg::read(&mut source, &mut texts),
            Container::Svg => svg::read(&mut source, &mut texts),
            Container::Glb => glb::read(&mut source, &mut texts),
            Container::Safetensors => safetensors::read(&mut source, &mut texts),
            Container::Json => source
                .all()
                .and_then(|bytes| texts.push("workflow", text(bytes))),
        };
        let found = Self {
            container,
            texts: texts.list,
        };
        match walked {
            Err(fault) if found.workflow().is_none() && found.prompt().is_none() => {
                Err(fault.of(container))
            }
            _ => Ok(found),
        }
    }

    /// The text under a name; the first that is not empty.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.texts
            .iter()
            .find(|text| text.key == key && !text.text.trim().is_empty())
            .map(|text| text.text.as_str())
    }

    /// The editor form, where the file has it.
    #[must_use]
    pub fn workflow(&self) -> Option<&str> {
        self.text("workflow")
    }

    /// The API form, where the file has it.
    #[must_use]
    pub fn prompt(&self) -> Option<&str> {
        self.text("prompt")
    }

    /// What A1111 and its kin write of how a picture was made.
    #[must_use]
    pub fn parameters(&self) -> Option<GenerationParameters> {
        ["parameters", "usercomment", "comment", "imagedescription"]
            .iter()
            .filter_map(|key| self.text(key))
            .find_map(parse_parameters)
    }

    /// The workflow: the editor form where there is one that can be read, else the API form.
    ///
    /// # Errors
    /// [`EmbeddedError::NoWorkflow`] and [`EmbeddedError::Unusable`].
    pub fn document(&self) -> Result<EmbeddedWorkflow, EmbeddedError> {
        let mut first_error = None;
        for text in [self.workflow(), self.prompt()].into_iter().flatten() {
            // Some writers encode the JSON twice.
            let inner: Option<String> = text
                .trim_start()
                .starts_with('"')
                .then(|| serde_json::from_str(text).ok())
                .flatten();
            let text = inner.as_deref().unwrap_or(text);
            match read(text.as_bytes()) {
                Ok(document) => {
                    return Ok(EmbeddedWorkflow {
                        container: self.container,
                        document,
                        text: text.to_owned(),
                    });
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(match first_error {
            Some(error) => EmbeddedError::Unusable {
                container: self.container,
                error,
            },
            None => EmbeddedError::NoWorkflow {
                container: self.container,
            },
        })
    }
}

/// A workflow that was found in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddedWorkflow {
    /// What kind of file it was found in.
    pub container: Container,
    /// The workflow.
    pub document: WorkflowDocument,
    /// Its JSON as it was written; what is kept of it.
    pub text: String,
}

/// Whether files with this extension may hold workflows, the workflow's own JSON included. Model files in safetensors are
/// left out: there are many, and only those of `SaveLatent` and the like hold one.
#[must_use]
pub fn may_hold_workflow(extension: &str) -> bool {
    const EXTENSIONS: [&str; 20] = [
        "json", "png", "apng", "webp", "jpg", "jpeg", "avif", "heic", "mp4", "m4v", "mov", "webm",
        "mkv", "flac", "mp3", "ogg", "opus", "svg", "glb", "latent",
    ];
    EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// The workflow of a file of any kind: JSON, or one that holds it.
///
/// # Errors
/// [`EmbeddedError`] says what the file is instead.
pub fn find_workflow(reader: impl Read + Seek) -> Result<EmbeddedWorkflow, EmbeddedError> {
    Embedded::read(reader)?.document()
}

/// What is wrong inside a reader, before it is said of which kind of file.
enum Fault {
    Io(std::io::Error),
    Damaged(String),
    TooLarge,
}

impl Fault {
    fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged(reason.into())
    }

    fn of(self, container: Container) -> EmbeddedError {
        match self {
            Self::Io(error) => EmbeddedError::Io(error),
            Self::Damaged(reason) => EmbeddedError::Damaged { container, reason },
            Self::TooLarge => EmbeddedError::TooLarge { container },
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// The texts found so far, within limits.
#[derive(Default)]
struct Texts {
    list: Vec<EmbeddedText>,
    byte_len: usize,
}

impl Texts {
    /// Adds a text. A comment that is an object with `prompt` or `workflow` in it (as video nodes write it), or that
    /// begins with `workflow:` or `prompt:` (as in EXIF), is taken for these.
    fn push(&mut self, key: &str, text: String) -> Result<(), Fault> {
        let key = key.trim().to_ascii_lowercase();
        if matches!(key.as_str(), "workflow" | "prompt" | "parameters") {
            return self.keep(key, text);
        }
        let text = text.trim_matches(['\0', ' ', '\n', '\r', '\t']);
        for name in ["workflow", "prompt"] {
            let value = text
                .get(..name.len())
                .filter(|head| head.eq_ignore_ascii_case(name))
                .and_then(|_| text.get(name.len()..)?.trim_start().strip_prefix(':'));
            if let Some(value) = value {
                return self.keep(name.to_owned(), value.trim_start().to_owned());
            }
        }
        if text.starts_with('{')
            && excess(text.as_bytes(), MAX_WORKFLOW_DEPTH, MAX_WORKFLOW_VALUES).is_none()
        {
            let cleaned = super::read::without_non_finite(text.as_bytes());
            if let Ok(Value::Object(members)) = serde_json::from_slice(&cleaned) {
                self.members(members)?;
            }
        }
        self.keep(key, text.to_owned())
    }

    /// Adds the members `prompt` and `workflow` of an object, which are JSON or JSON in a string.
    fn members(&mut self, members: serde_json::Map<String, Value>) -> Result<(), Fault> {
        for (name, value) in members {
            let name = name.to_ascii_lowercase();
            if !matches!(name.as_str(), "workflow" | "prompt" | "parameters") {
                continue;
            }
            let text = match value {
                Value::String(text) => text,
                Value::Object(_) => value.to_string(),
                _ => continue,
            };
            self.keep(name, text)?;
        }
        Ok(())
    }

    fn keep(&mut self, key: String, text: String) -> Result<(), Fault> {
        self.byte_len = self.byte_len.saturating_add(text.len());
        if self.list.len() >= MAX_TEXTS || self.byte_len > MAX_TEXTS_BYTES {
            return Err(Fault::TooLarge);
        }
        self.list.push(EmbeddedText { key, text });
        Ok(())
    }
}

/// Bytes as text: UTF-8, else Latin-1, which every byte is.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        error
            .as_bytes()
            .iter()
            .map(|byte| char::from(*byte))
            .collect()
    })
}

/// Whether a byte may stand in text: everything but control characters.
fn is_of_text(byte: u8) -> bool {
    !byte.is_ascii_control() || byte.is_ascii_whitespace()
}

/// What kind of file it is, by its first bytes.
fn container_of(source: &mut Source<'_>) -> Result<Container, EmbeddedError> {
    let head = source.head()?;
    let starts =
        |at: usize, magic: &[u8]| head.get(at..).is_some_and(|from| from.starts_with(magic));
    let printable = head
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(&head)
        .iter()
        .find(|byte| !byte.is_ascii_whitespace());
    Ok(if starts(0, png::SIGNATURE) {
        Container::Png
    } else if starts(0, b"RIFF") && starts(8, b"WEBP") {
        Container::Webp
    } else if starts(0, b"\xff\xd8\xff") {
        Container::Jpeg
    } else if starts(4, b"ftyp") {
        let is_picture = [&b"avif"[..], b"avis", b"heic", b"heix", b"mif1", b"msf1"]
            .iter()
            .any(|brand| starts(8, brand));
        if is_picture {
            Container::Avif
        } else {
            Container::Mp4
        }
    } else if [&b"moov"[..], b"mdat", b"wide", b"free", b"skip"]
        .iter()
        .any(|name| starts(4, name))
    {
        Container::Mp4
    } else if starts(0, b"\x1a\x45\xdf\xa3") {
        Container::Webm
    } else if starts(0, b"fLaC") {
        Container::Flac
    } else if starts(0, b"ID3") {
        if flac::follows_id3(source)? {
            Container::Flac
        } else {
            Container::Mp3
        }
    } else if starts(0, b"OggS") {
        Container::Ogg
    } else if starts(0, b"glTF") {
        Container::Glb
    } else if starts(8, b"{") && safetensors::fits(&head, source.len()) {
        Container::Safetensors
    } else {
        match printable {
            Some(b'{' | b'[') => Container::Json,
            Some(b'<') => Container::Svg,
            // A file that is text of another kind is better told so by the JSON reader.
            Some(_) if head.iter().copied().all(is_of_text) => Container::Json,
            _ => return Err(EmbeddedError::UnknownKind),
        }
    })
}
