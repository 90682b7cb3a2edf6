//! Produced files and what is in them: stored once, measured, decoded within limits, never trusted by name.

use bytes::Bytes;
use comfyui_orchestrator::artifacts::{ArtifactError, ArtifactStore, StreamError};
use comfyui_orchestrator::media::{
    MediaError, PngText, decode, measure_image, read_png_text, thumbnail, with_png_text,
};
use comfyui_orchestrator::project::DataType;
use futures_util::stream;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// A picture with some structure.
pub fn gradient(width: u32, height: u32, tint: u8) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, tint])
    })
    .into()
}

pub fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A small PNG file that declares this size and has no more than a few bytes of pixels.
pub fn declared_png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_chunk(png::chunk::IDAT, b"\x78\x9c\x63\x00\x00\x00\x01\x00\x01")
        .unwrap();
    writer.write_chunk(png::chunk::IEND, b"").unwrap();
    drop(writer);
    bytes
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn storing_the_same_content_twice_keeps_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(folder.path()).unwrap();
    let png = encoded(&gradient(64, 32, 9), ImageFormat::Png);
    // The name says JPEG, the bytes say PNG.
    let first = store
        .store_bytes(&png, DataType::Image, "photo.jpg")
        .unwrap();
    assert_eq!(first.extension, "png");
    assert_eq!(
        (first.measures.width_px, first.measures.height_px),
        (Some(64), Some(32))
    );
    let second = store.store_bytes(&png, DataType::Image, "x").unwrap();
    assert_eq!(first, second);
    assert_eq!(files_below(folder.path()), [store.path(&first)]);
    assert_eq!(store.read(&first, u64::MAX).unwrap(), png);

    // A file that a crash of the machine cut off is made whole.
    std::fs::write(store.path(&first), &png[..100]).unwrap();
    assert!(!store.contains(&first));
    store.store_bytes(&png, DataType::Image, "x").unwrap();
    assert_eq!(store.read(&first, u64::MAX).unwrap(), png);

    std::fs::remove_file(store.path(&first)).unwrap();
    assert!(matches!(
        store.read(&first, u64::MAX),
        Err(ArtifactError::Gone { .. })
    ));
}

#[test]
fn a_files_bytes_decide_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(folder.path()).unwrap();
    let png = encoded(&gradient(8, 8, 0), ImageFormat::Png);
    let taken_for = |bytes: &[u8], expected, name| {
        store
            .store_bytes(bytes, expected, name)
            .map(|artifact| (artifact.data_type, artifact.extension))
            .map_err(|error| error.to_string())
    };
    let ok = |data_type, extension: &str| Ok((data_type, extension.to_owned()));
    assert_eq!(
        taken_for(&png, DataType::Mask, "m"),
        ok(DataType::Mask, "png")
    );
    assert_eq!(
        taken_for(&png, DataType::Any, "m"),
        ok(DataType::Image, "png")
    );
    assert_eq!(
        taken_for(b"\0\0\0\x18ftypisom\0\0\0\0", DataType::Image, "a.png"),
        ok(DataType::Video, "mp4")
    );
    assert_eq!(
        taken_for(b"tensors", DataType::Latent, "a.latent"),
        ok(DataType::Latent, "latent")
    );
    assert_eq!(
        taken_for(b"whatever", DataType::Any, "../../e/vil.s h"),
        ok(DataType::File, "bin")
    );
    let error = taken_for(b"<!DOCTYPE html><html>", DataType::Image, "a.png").unwrap_err();
    assert!(error.contains("<!DOCTYPE html>"), "{error}");
}

#[tokio::test]
async fn a_stream_that_breaks_or_is_too_long_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(folder.path()).unwrap();
    let chunk = |text: &'static str| Ok::<_, String>(Bytes::from_static(text.as_bytes()));

    let broken = stream::iter([chunk("begin"), Err("reset by peer".to_owned())]);
    let error = store
        .store_stream(broken, DataType::File, "a.txt", 100)
        .await
        .unwrap_err();
    assert!(matches!(error, StreamError::Source(reason) if reason == "reset by peer"));

    let long = stream::iter([chunk("12345"), chunk("67890")]);
    let error = store
        .store_stream(long, DataType::File, "a.txt", 9)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        StreamError::Artifact(ArtifactError::TooLarge { limit_bytes: 9 })
    ));
    assert_eq!(files_below(folder.path()), Vec::<PathBuf>::new());

    let whole = stream::iter([chunk("12345"), chunk("67890")]);
    let artifact = store
        .store_stream(whole, DataType::File, "a.TXT", 10)
        .await
        .unwrap();
    assert_eq!(artifact.extension, "txt");
    assert_eq!(store.read(&artifact, 10).unwrap(), b"1234567890");
}

#[test]
fn hostile_pictures_are_refused_before_memory_is_taken() {
    let bomb = declared_png(60_000, 60_000);
    let error = decode(&bomb).unwrap_err();
    assert!(matches!(
        error,
        MediaError::TooManyPixels {
            width_px: 60_000,
            height_px: 60_000
        }
    ));
    let folder = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(folder.path()).unwrap();
    let error = store
        .store_bytes(&bomb, DataType::Image, "bomb.png")
        .unwrap_err();
    assert!(error.to_string().contains("60000 × 60000"), "{error}");

    // Large but thinkable: kept with its size, though it is not decoded.
    let large = declared_png(16_000, 16_000);
    assert!(matches!(
        decode(&large),
        Err(MediaError::TooMuchMemory { .. })
    ));
    let kept = store
        .store_bytes(&large, DataType::Image, "large.png")
        .unwrap();
    assert_eq!(kept.measures.width_px, Some(16_000));
    assert_eq!(kept.measures.sharpness, None);

    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let whole = encoded(&gradient(100, 100, 0), format);
        decode(&whole).unwrap();
        for cut in [9, 20, whole.len() / 3] {
            assert!(decode(&whole[..cut]).is_err(), "{format:?} cut at {cut}");
        }
    }
    assert!(matches!(decode(b"<html>"), Err(MediaError::NotAPicture)));
    assert!(matches!(decode(b""), Err(MediaError::NotAPicture)));
}

#[test]
fn brightness_and_sharpness_mean_what_they_say() {
    let flat = |value| DynamicImage::from(GrayImage::from_pixel(50, 40, Luma([value])));
    let black = measure_image(&flat(0));
    assert_eq!((black.brightness, black.sharpness), (Some(0.0), Some(0.0)));
    let white = measure_image(&flat(255));
    assert_eq!((white.brightness, white.sharpness), (Some(1.0), Some(0.0)));
    let checkers = GrayImage::from_fn(40, 40, |x, y| Luma([((x + y) % 2 * 255) as u8]));
    let checkers = measure_image(&checkers.into());
    assert_eq!(
        (checkers.brightness, checkers.sharpness),
        (Some(0.5), Some(1.0))
    );

    let noise = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        DynamicImage::from(GrayImage::from_fn(300, 200, |_x, _y| Luma([random.u8(..)])))
    };
    let crisp = measure_image(&noise(1));
    assert_eq!(crisp, measure_image(&noise(1)));
    let soft = measure_image(&noise(1).blur(2.0));
    assert!(soft.sharpness < crisp.sharpness);
    let single = measure_image(&DynamicImage::new_luma8(1, 1));
    assert_eq!(single.sharpness, Some(0.0));
}

#[test]
fn thumbnails_keep_the_form_and_never_enlarge() {
    let picture = gradient(400, 100, 0);
    let small = thumbnail(&picture, 100);
    assert_eq!((small.width(), small.height()), (100, 25));
    assert_eq!(thumbnail(&picture, 4000).width(), 400);
    let sliver = thumbnail(&gradient(3000, 1, 0), 100);
    assert_eq!((sliver.width(), sliver.height()), (100, 1));
}

#[test]
fn lengths_of_sounds_and_videos_come_from_their_headers() {
    let folder = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(folder.path()).unwrap();
    let duration = |bytes: &[u8]| {
        store
            .store_bytes(bytes, DataType::Any, "x")
            .unwrap()
            .measures
            .duration_s
    };
    // 8000 samples of one byte per second, 12,000 bytes of data, an odd chunk before them.
    let mut wav = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(b"\x01\0\x08\0data");
    wav.extend(12_000_u32.to_le_bytes());
    assert_eq!(duration(&wav), Some(1.5));
    assert_eq!(duration(&wav[..30]), None);

    let mut mp4 =
        b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x0bfreeabc\0\0\0\x28moov\0\0\0\x20mvhd".to_vec();
    mp4.extend([0; 12]);
    mp4.extend(600_u32.to_be_bytes());
    mp4.extend(1500_u32.to_be_bytes());
    assert_eq!(duration(&mp4), Some(2.5));

    let mut flac = b"fLaC\0\0\0\x22".to_vec();
    flac.extend([0; 10]);
    flac.extend(((44_100_u64 << 44) + 88_200).to_be_bytes());
    assert_eq!(duration(&flac), Some(2.0));

    let mut webm =
        b"\x1a\x45\xdf\xa3\x80\x15\x49\xa9\x66\x8f\x2a\xd7\xb1\x83\x0f\x42\x40\x44\x89\x88"
            .to_vec();
    webm.extend(3250.0_f64.to_be_bytes());
    assert_eq!(duration(&webm), Some(3.25));
}

/// A PNG file as ComfyUI writes it, with a compressed text besides.
fn comfyui_png() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 16, 16);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .add_text_chunk("prompt".to_owned(), r#"{"3":{}}"#.to_owned())
        .unwrap();
    encoder
        .add_ztxt_chunk("workflow".to_owned(), r#"{"nodes":[]}"#.to_owned())
        .unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_image_data(gradient(16, 16, 50).as_bytes())
        .unwrap();
    drop(writer);
    bytes
}

#[test]
fn provenance_goes_beside_comfyuis_own_texts_and_touches_no_pixel() {
    let original = comfyui_png();
    let text = |keyword: &str, text: &str| PngText {
        keyword: keyword.to_owned(),
        text: text.to_owned(),
    };
    let marked = with_png_text(&original, "orchestrator", r#"{"run":"日本"}"#).unwrap();
    assert_eq!(
        read_png_text(Cursor::new(&marked)).unwrap(),
        [
            text("prompt", r#"{"3":{}}"#),
            text("workflow", r#"{"nodes":[]}"#),
            text("orchestrator", r#"{"run":"日本"}"#),
        ]
    );
    assert_eq!(decode(&marked).unwrap(), decode(&original).unwrap());

    // Ours lies in one piece before the pixels; without it the file is the original, byte for byte.
    let added = marked.len() - original.len();
    let start = marked
        .windows(4)
        .position(|window| window == b"iTXt")
        .unwrap()
        - 4;
    let without = [&marked[..start], &marked[start + added..]].concat();
    assert_eq!(without, original);

    // Marking again replaces.
    let again = with_png_text(&marked, "orchestrator", "other").unwrap();
    assert_eq!(
        again,
        with_png_text(&original, "orchestrator", "other").unwrap()
    );

    for broken in [
        &original[..original.len() / 2],
        &original[..20],
        b"",
        b"GIF89a",
    ] {
        assert!(with_png_text(broken, "orchestrator", "x").is_err());
    }
}

#[test]
fn a_text_that_inflates_without_end_is_refused() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder
        .add_ztxt_chunk("workflow".to_owned(), "a".repeat(80 * 1024 * 1024))
        .unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0]).unwrap();
    drop(writer);
    assert!(bytes.len() < 1024 * 1024);
    let error = read_png_text(Cursor::new(&bytes)).unwrap_err();
    assert!(matches!(error, MediaError::Damaged(_)), "{error}");
}
