//! How much memory of a device a workflow takes, and how that is known.

use super::fitness::Fitness;
use serde::Serialize;
use std::fmt;

/// How much memory of a device a workflow takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "known_by")]
pub enum MemoryNeed {
    /// The most that was seen in use while it ran.
    Measured {
        /// The peak, in bytes.
        bytes: u64,
    },
    /// The weights of its models by the sizes of their files. Latents and pictures come on top, and `ComfyUI` moves what does
    /// not fit to main memory, so this decides nothing.
    FileSizes {
        /// All different models together, in bytes.
        bytes: u64,
    },
    /// It loads models whose sizes nobody told, or none.
    Unknown,
}

impl Fitness {
    /// What is known of the memory that the workflow takes. `measured_peak_bytes` is the most that was seen while it ran on a
    /// device, where that was measured; a guess is never made of it.
    #[must_use]
    pub fn memory_need(&self, measured_peak_bytes: Option<u64>) -> MemoryNeed {
        match (measured_peak_bytes, self.weights_bytes()) {
            (Some(bytes), _) => MemoryNeed::Measured { bytes },
            (None, Some(bytes)) => MemoryNeed::FileSizes { bytes },
            (None, None) => MemoryNeed::Unknown,
        }
    }
}

impl MemoryNeed {
    /// Whether a device of this size has enough; none where that is not known. Only a measured peak tells.
    #[must_use]
    pub fn fits(self, device_bytes: Option<u64>) -> Option<bool> {
        match (self, device_bytes) {
            (Self::Measured { bytes }, Some(device_bytes)) => Some(bytes <= device_bytes),
            _ => None,
        }
    }

    /// The same with the size of a device, as a sentence for a person.
    #[must_use]
    pub fn beside(self, device_bytes: Option<u64>) -> String {
        match (self, device_bytes) {
            (Self::Measured { bytes }, Some(device_bytes)) if bytes > device_bytes => {
                format!("{self}; the largest device has {}", gib(device_bytes))
            }
            (Self::FileSizes { bytes }, Some(device_bytes)) if bytes > device_bytes => format!(
                "{self}; the largest device has {}, so parts of them will be moved in and out",
                gib(device_bytes)
            ),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for MemoryNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured { bytes } => write!(f, "memory: {} (measured)", gib(*bytes)),
            Self::FileSizes { bytes } => write!(
                f,
                "memory: {} for its models by the sizes of their files; for the rest unknown",
                gib(*bytes)
            ),
            Self::Unknown => f.write_str("memory: unknown"),
        }
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
