//! What a field or an output of a workflow holds.

use serde::{Deserialize, Serialize};

/// What a field or an output of a workflow holds. The project's port types contain these one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// A still picture, or an ordered batch of them.
    Image,
    /// A one-channel picture.
    Mask,
    /// A moving picture.
    Video,
    /// Sound.
    Audio,
    /// A latent tensor in ComfyUI's `.latent` format.
    Latent,
    /// Unicode text.
    Text,
    /// A whole number.
    Integer,
    /// A double-precision number.
    Number,
    /// True or false.
    Boolean,
    /// Any JSON document.
    Json,
    /// A file of a type we do not look into.
    File,
    /// Anything.
    Any,
}

impl ValueType {
    /// The value type that stands for a ComfyUI type name.
    #[must_use]
    pub fn of_comfy(type_name: &str) -> Self {
        match type_name {
            "IMAGE" => Self::Image,
            "MASK" => Self::Mask,
            "VIDEO" => Self::Video,
            "AUDIO" => Self::Audio,
            "LATENT" => Self::Latent,
            "STRING" | "COMBO" => Self::Text,
            "INT" => Self::Integer,
            "FLOAT" => Self::Number,
            "BOOLEAN" => Self::Boolean,
            "SVG" | "MESH" | "VOXEL" | "FILE_3D" => Self::File,
            _ => Self::Any,
        }
    }

    /// Whether values of this type are files.
    #[must_use]
    pub fn is_media(self) -> bool {
        matches!(
            self,
            Self::Image | Self::Mask | Self::Video | Self::Audio | Self::Latent | Self::File
        )
    }
}
