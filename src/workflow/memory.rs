//! How much memory of a device a workflow needs, and how that is known.
//!
//! `ComfyUI` loads a model when a node needs it and keeps it on the device while there is room; what does not fit is moved to
//! main memory (`comfy/model_management.py`). So two sizes count. A device that holds everything together moves nothing. One
//! that holds the largest model moves models between the steps of a prompt: text encoder out, diffusion model in. One that does
//! not hold the largest moves parts of it while it computes, again at every step, which is slow and may fail. A run that was
//! measured on a backend counts for more than either.

use super::fitness::Fitness;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What `ComfyUI` keeps free of weights to compute with, bytes: `minimum_inference_memory` of `model_management.py`, 0.8 GiB and
/// 400 MiB.
pub const COMPUTING_BYTES: u64 = 1_278_423_859;
/// Bytes per millisecond between main memory and a device: about half of what PCI Express 4.0 with 16 lanes carries.
const MOVED_BYTES_PER_MS: f64 = 12_000_000.0;
/// How often a model that does not fit is moved through the device in one prompt: the usual number of sampling steps.
const USUAL_STEPS: f64 = 20.0;

/// What the models of a workflow weigh on a device, by the sizes of their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelWeights {
    /// All different models together, bytes.
    pub all_bytes: u64,
    /// The largest one, bytes.
    pub largest_bytes: u64,
    /// Whether the sizes of all of them are known; else it is more.
    pub is_complete: bool,
}

impl ModelWeights {
    /// Of several models together, of which some may not be known; none when none is.
    pub fn together(models: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let mut is_complete = true;
        let known: Vec<Self> = models
            .into_iter()
            .inspect(|one| is_complete &= one.is_some())
            .flatten()
            .collect();
        let all = known.into_iter().reduce(Self::and)?;
        Some(Self {
            is_complete: all.is_complete && is_complete,
            ..all
        })
    }

    /// Of two together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            all_bytes: self.all_bytes.saturating_add(other.all_bytes),
            largest_bytes: self.largest_bytes.max(other.largest_bytes),
            is_complete: self.is_complete && other.is_complete,
        }
    }
}

/// How much memory of a device a workflow needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNeed {
    /// With less, parts of one model are moved at every step. Bytes.
    pub least_bytes: u64,
    /// With this much, nothing is moved. Bytes.
    pub all_bytes: u64,
    /// How that is known.
    pub known_by: KnownBy,
}

/// How it is known what a workflow needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// It was seen while it ran on a device.
    Measured,
    /// From the sizes of its model files.
    FileSizes,
    /// From the sizes of some of its model files: it needs more.
    SomeFileSizes,
}

impl MemoryNeed {
    /// From what the models weigh, else from the smallest peak that was seen on a device; none when neither is known. What was in
    /// use on a device is not what was needed: models that had done their work, or another workflow's, lay there as long as
    /// nothing else needed the room.
    #[must_use]
    pub fn of(peak_bytes: Option<u64>, weights: Option<ModelWeights>) -> Option<Self> {
        match (weights, peak_bytes) {
            (Some(weights), _) => Some(Self {
                least_bytes: weights.largest_bytes.saturating_add(COMPUTING_BYTES),
                all_bytes: weights.all_bytes.saturating_add(COMPUTING_BYTES),
                known_by: if weights.is_complete {
                    KnownBy::FileSizes
                } else {
                    KnownBy::SomeFileSizes
                },
            }),
            (None, Some(peak_bytes)) => Some(Self {
                least_bytes: peak_bytes,
                all_bytes: peak_bytes,
                known_by: KnownBy::Measured,
            }),
            (None, None) => None,
        }
    }

    /// The same beside the memory of a device, in bytes.
    #[must_use]
    pub fn on(self, has_bytes: u64) -> MemoryFit {
        MemoryFit {
            has_bytes,
            need: self,
        }
    }
}

impl Fitness {
    /// How much memory the workflow needs. `peak_bytes` is the least that it was seen to run with, where that was measured.
    #[must_use]
    pub fn memory_need(&self, peak_bytes: Option<u64>) -> Option<MemoryNeed> {
        MemoryNeed::of(peak_bytes, self.weights())
    }
}

/// What a workflow needs beside what a backend's largest device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFit {
    /// Memory of the largest device, bytes.
    pub has_bytes: u64,
    /// What the workflow needs.
    #[serde(flatten)]
    pub need: MemoryNeed,
}

/// How a workflow gets along with the memory of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryRoom {
    /// Everything fits.
    Enough,
    /// Models are moved in and out between the steps of a prompt.
    Tight,
    /// Not even the largest model fits.
    TooLittle,
}

impl MemoryFit {
    /// Whether it fits.
    #[must_use]
    pub fn room(self) -> MemoryRoom {
        if self.has_bytes >= self.need.all_bytes {
            MemoryRoom::Enough
        } else if self.has_bytes >= self.need.least_bytes {
            MemoryRoom::Tight
        } else {
            MemoryRoom::TooLittle
        }
    }

    /// Expected milliseconds that moving takes in one prompt, while no run there was measured.
    #[must_use]
    pub fn moving_ms(self) -> u64 {
        let between_steps = self.need.all_bytes.saturating_sub(self.has_bytes);
        let at_every_step = self.need.least_bytes.saturating_sub(self.has_bytes);
        let once = between_steps.saturating_sub(at_every_step) as f64;
        ((once + at_every_step as f64 * USUAL_STEPS) / MOVED_BYTES_PER_MS) as u64
    }
}

impl KnownBy {
    /// How exact a figure is.
    fn precision(self) -> &'static str {
        match self {
            Self::Measured | Self::FileSizes => "about",
            Self::SomeFileSizes => "at least",
        }
    }
}

impl fmt::Display for MemoryFit {
    /// As the end of a sentence that begins with the backend's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, all) = (gib(self.need.least_bytes), gib(self.need.all_bytes));
        let has = gib(self.has_bytes);
        let about = self.need.known_by.precision();
        match (self.room(), self.need.known_by) {
            (MemoryRoom::Enough, KnownBy::Measured) => {
                write!(f, "the workflow takes {all} (measured) of {has}")
            }
            (MemoryRoom::Enough, _) => write!(f, "its models take {about} {all} of {has}"),
            (MemoryRoom::Tight, _) => write!(
                f,
                "its models take {about} {all}, this backend has {has}: they are moved in and out, slower"
            ),
            (MemoryRoom::TooLittle, KnownBy::Measured) => write!(
                f,
                "the workflow took {least} where it took least (measured), this backend has {has}: it may run out, or move models in and out, much slower"
            ),
            (MemoryRoom::TooLittle, _) => write!(
                f,
                "its largest model takes {about} {least}, this backend has {has}: parts of it are moved in and out all the time, much slower"
            ),
        }
    }
}

impl fmt::Display for MemoryNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, all) = (gib(self.least_bytes), gib(self.all_bytes));
        match self.known_by {
            KnownBy::Measured => write!(f, "{all} (measured)"),
            KnownBy::FileSizes | KnownBy::SomeFileSizes => {
                write!(
                    f,
                    "{} {all} by the sizes of its model files",
                    self.known_by.precision()
                )?;
                if least == all {
                    Ok(())
                } else {
                    write!(f, ", of which {least} for the largest")
                }
            }
        }
    }
}

/// `23.5 GiB`
#[must_use]
pub fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// What a workflow needs of which a peak and the weights of all models and of the largest were told, GiB.
    fn need(peak: Option<u64>, weights: Option<(u64, u64)>) -> MemoryNeed {
        let weights = weights.map(|(all, largest)| ModelWeights {
            all_bytes: all * GIB,
            largest_bytes: largest * GIB,
            is_complete: true,
        });
        MemoryNeed::of(peak.map(|peak| peak * GIB), weights).expect("something is known")
    }

    #[test]
    fn what_fits_is_told_by_files_and_by_what_was_seen() {
        // Flux: a diffusion model of 22 GiB, text encoders of 9.
        let flux = need(None, Some((32, 22)));
        let room = |has: u64| flux.on(has * GIB).room();
        assert_eq!(
            [48, 32, 24, 22].map(room),
            [
                MemoryRoom::Enough,
                MemoryRoom::Tight,
                MemoryRoom::Tight,
                MemoryRoom::TooLittle
            ]
        );
        assert_eq!(flux.on(48 * GIB).moving_ms(), 0);
        assert!(flux.on(16 * GIB).moving_ms() > 10 * flux.on(24 * GIB).moving_ms());
        assert_eq!(
            flux.on(16 * GIB).to_string(),
            "its largest model takes about 23.2 GiB, this backend has 16.0 GiB: parts of it are moved in and out all the time, much slower"
        );

        // What lay on a large device beside it says nothing; where nothing is known of the files it is all there is.
        assert_eq!(need(Some(40), Some((32, 22))), flux);
        let seen = need(Some(30), None);
        assert_eq!(seen.known_by, KnownBy::Measured);
        assert_eq!(seen.on(24 * GIB).room(), MemoryRoom::TooLittle);
        assert_eq!(seen.on(32 * GIB).room(), MemoryRoom::Enough);
        assert_eq!(MemoryNeed::of(None, None), None);
        // A file of which nobody tells the size.
        let some = ModelWeights {
            all_bytes: 9 * GIB,
            largest_bytes: 9 * GIB,
            is_complete: false,
        };
        let some = MemoryNeed::of(None, Some(some)).expect("something is known");
        assert_eq!(
            some.on(16 * GIB).to_string(),
            "its models take at least 10.2 GiB of 16.0 GiB"
        );
    }
}
