//! Batches of pictures and masks, in ComfyUI's layout: frames × height × width × channels, samples in 0…1.

use crate::builtin::node::NodeFailure;

/// The most pixels that one batch may hold, over all frames: 64 Mi, which is 768 MiB of RGB samples.
pub const MAXIMUM_BATCH_PIXELS: u64 = 64 * 1024 * 1024;

/// Pictures of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageBatch {
    /// How many pictures.
    pub frames: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (a single channel taken apart), 3 (RGB) or 4 (RGBA, not premultiplied).
    pub channels: usize,
    /// `frames * height * width * channels` samples, row by row.
    pub samples: Vec<f32>,
}

/// Masks of one size; 1 is selected.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskBatch {
    /// How many masks.
    pub frames: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `frames * height * width` samples, row by row.
    pub samples: Vec<f32>,
}

fn check_size(frames: usize, height: usize, width: usize) -> Result<(), NodeFailure> {
    let pixels = frames as u64 * height as u64 * width as u64;
    if frames == 0 || height == 0 || width == 0 {
        return Err(NodeFailure::raised(
            "RuntimeError",
            format!("a batch of {frames} pictures of {width}x{height} pixels has no pixels"),
        ));
    }
    if pixels > MAXIMUM_BATCH_PIXELS {
        return Err(NodeFailure::raised(
            "RuntimeError",
            format!(
                "a batch of {frames} pictures of {width}x{height} pixels is {pixels} pixels; this server holds at most \
                 {MAXIMUM_BATCH_PIXELS} per batch. Use a smaller size or fewer pictures."
            ),
        ));
    }
    Ok(())
}

impl ImageBatch {
    /// A batch where every sample is `value`. Fails when it would be empty or above [`MAXIMUM_BATCH_PIXELS`].
    pub fn filled(
        frames: usize,
        height: usize,
        width: usize,
        channels: usize,
        value: f32,
    ) -> Result<Self, NodeFailure> {
        check_size(frames, height, width)?;
        Ok(Self {
            frames,
            height,
            width,
            channels,
            samples: vec![value; frames * height * width * channels],
        })
    }

    /// The samples of one picture.
    pub fn frame(&self, index: usize) -> &[f32] {
        let length = self.height * self.width * self.channels;
        self.samples
            .get(index * length..(index + 1) * length)
            .unwrap_or_default()
    }

    /// One picture as bytes (RGB, or RGBA when it has 4 channels; grey is spread to RGB). ComfyUI truncates, so this does.
    pub fn frame_bytes(&self, index: usize) -> Vec<u8> {
        let bytes = self.frame(index).iter().map(|sample| to_byte(*sample));
        if self.channels == 1 {
            bytes.flat_map(|byte| [byte; 3]).collect()
        } else {
            bytes.collect()
        }
    }

    /// The same pictures with `channels` channels: alpha is dropped, or added as opaque.
    pub fn with_channels(&self, channels: usize) -> Self {
        if channels == self.channels {
            return self.clone();
        }
        let samples = self
            .samples
            .chunks_exact(self.channels)
            .flat_map(|pixel| {
                (0..channels).map(|channel| pixel.get(channel).copied().unwrap_or(1.0))
            })
            .collect();
        Self {
            channels,
            samples,
            ..*self
        }
    }

    /// The batch repeated or cut to `frames` pictures.
    pub fn repeated_to(&self, frames: usize) -> Result<Self, NodeFailure> {
        check_size(frames, self.height, self.width)?;
        let mut samples = Vec::with_capacity(frames * self.height * self.width * self.channels);
        for index in 0..frames {
            samples.extend_from_slice(self.frame(index % self.frames));
        }
        Ok(Self {
            frames,
            samples,
            ..*self
        })
    }
}

impl MaskBatch {
    /// A batch where every sample is `value`. Fails when it would be empty or above [`MAXIMUM_BATCH_PIXELS`].
    pub fn filled(
        frames: usize,
        height: usize,
        width: usize,
        value: f32,
    ) -> Result<Self, NodeFailure> {
        check_size(frames, height, width)?;
        Ok(Self {
            frames,
            height,
            width,
            samples: vec![value; frames * height * width],
        })
    }

    /// The samples of one mask.
    pub fn frame(&self, index: usize) -> &[f32] {
        let length = self.height * self.width;
        self.samples
            .get(index * length..(index + 1) * length)
            .unwrap_or_default()
    }

    /// As one-channel pictures.
    pub fn as_images(&self) -> ImageBatch {
        ImageBatch {
            frames: self.frames,
            height: self.height,
            width: self.width,
            channels: 1,
            samples: self.samples.clone(),
        }
    }

    /// From one-channel pictures.
    pub fn from_images(images: ImageBatch) -> Self {
        Self {
            frames: images.frames,
            height: images.height,
            width: images.width,
            samples: images.samples,
        }
    }
}

/// A sample as a byte, truncated as ComfyUI does when it saves.
pub fn to_byte(sample: f32) -> u8 {
    (sample * 255.0).clamp(0.0, 255.0) as u8
}
