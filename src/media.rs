//! Media files: what they are by their bytes, decoding within limits, thumbnails, measures, embedded text.
//!
//! Every file is hostile until decoded: sizes are checked against named limits before memory is taken. Functions block;
//! callers run them where blocking is allowed.

mod decode;
mod duration;
mod kind;
mod measure;
mod png_text;

pub use decode::{
    MAX_DECODED_BYTES, MAX_SIDE_PX, MediaError, decode, decode_file, dimensions, thumbnail,
};
pub use kind::MediaKind;
pub use measure::{measure_file, measure_image};
pub use png_text::{MAX_PNG_TEXT_BYTES, PngText, read_png_text, with_png_text, without_png_text};
