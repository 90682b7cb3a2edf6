//! Sample projects inside the program.

/// A sample project.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Stable name.
    pub id: &'static str,
    /// The words of the link.
    pub title: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// The portable project file.
    pub portable: &'static str,
}

/// All samples, simplest first.
pub const SAMPLES: &[Sample] = &[];
