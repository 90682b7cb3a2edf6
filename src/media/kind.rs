//! What a file is, by its first bytes. A name's extension is a claim, not a fact.

use crate::project::DataType;

/// A kind of file that is recognised by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// Portable Network Graphics, animated ones included.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP, animated ones included.
    WebP,
    /// GIF, animated ones included.
    Gif,
    /// MP4, MOV and other files of the ISO base media format.
    Mp4,
    /// WebM and Matroska.
    WebM,
    /// WAVE.
    Wav,
    /// FLAC.
    Flac,
    /// MPEG audio.
    Mp3,
    /// Ogg (Vorbis, Opus).
    Ogg,
}

impl MediaKind {
    /// How many first bytes [`MediaKind::of`] looks at.
    pub const HEAD_BYTES: usize = 16;

    /// The kind of a file that begins with these bytes.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let at = |offset: usize, magic: &[u8]| {
            head.get(offset..offset + magic.len())
                .is_some_and(|bytes| bytes == magic)
        };
        if at(0, b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if at(0, b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if at(0, b"RIFF") && at(8, b"WEBP") {
            Some(Self::WebP)
        } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
            Some(Self::Gif)
        } else if at(4, b"ftyp") {
            Some(Self::Mp4)
        } else if at(0, b"\x1a\x45\xdf\xa3") {
            Some(Self::WebM)
        } else if at(0, b"RIFF") && at(8, b"WAVE") {
            Some(Self::Wav)
        } else if at(0, b"fLaC") {
            Some(Self::Flac)
        } else if at(0, b"OggS") {
            Some(Self::Ogg)
        } else if at(0, b"ID3") || at(0, b"\xff\xfb") || at(0, b"\xff\xf3") || at(0, b"\xff\xf2") {
            Some(Self::Mp3)
        } else {
            None
        }
    }

    /// Its usual extension, without dot, lower case.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Mp4 => "mp4",
            Self::WebM => "webm",
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
            Self::Ogg => "ogg",
        }
    }

    /// What it is on a link.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Png | Self::Jpeg | Self::WebP | Self::Gif => DataType::Image,
            Self::Mp4 | Self::WebM => DataType::Video,
            Self::Wav | Self::Flac | Self::Mp3 | Self::Ogg => DataType::Audio,
        }
    }
}
