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
pub const SAMPLES: &[Sample] = &[
    Sample {
        id: "harbour-at-dusk",
        title: "Harbour at dusk",
        about: "Seeds and weather, a condition, two finishes, a contact sheet. Runs on the built-in backend.",
        portable: include_str!("../../scenes/harbour-at-dusk.orchestrator.json"),
    },
    Sample {
        id: "pick-then-finish",
        title: "Pick, then finish",
        about: "Eight pictures wait for you; only those you pick are upscaled. Runs on the built-in backend.",
        portable: include_str!("../../scenes/pick-then-finish.orchestrator.json"),
    },
    Sample {
        id: "text-to-image-upscaled",
        title: "Text to image, upscaled",
        about: "For real ComfyUI: name your checkpoint on the first node, then run.",
        portable: include_str!("../../scenes/text-to-image-upscaled.orchestrator.json"),
    },
];
