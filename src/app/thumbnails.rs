//! Pictures of files inside panels: decoded off the frame loop into egui's textures, the least recently seen given up first.
//!
//! The canvas has its own ([`super::previews`]): there all pictures share one texture array and are squares.

use super::wake::Waker;
use crate::artifacts::ContentHash;
use crate::media::{MediaError, decode_file};
use bevy::platform::collections::HashMap;
use bevy::prelude::{Resource, error};
use bevy_egui::egui::{ColorImage, Context, TextureHandle, TextureOptions};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

/// Worker threads.
const WORKERS: usize = 2;
/// Pictures waiting for a worker; what does not fit is asked for again while it is visible.
const QUEUE: usize = 64;
/// Bytes of texels kept.
const TEXELS_MAX: usize = 192 << 20;
/// Pictures given to egui per frame.
const UPLOADS_PER_FRAME: usize = 6;

/// How large a picture is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThumbnailSize {
    /// For lists and grids: the longer side has at most 320 pixels.
    Small,
    /// To look at closely: the longer side has at most 2048 pixels.
    Large,
}

impl ThumbnailSize {
    fn side_px(self) -> u32 {
        match self {
            Self::Small => 320,
            Self::Large => 2048,
        }
    }
}

/// What is known of a picture.
#[derive(Clone)]
pub enum Thumbnail {
    /// It can be drawn.
    Ready(TextureHandle),
    /// It is being decoded, or waits for that.
    Loading,
    /// It is none that we can show, and why.
    Unreadable(Arc<str>),
}

type Key = (ContentHash, ThumbnailSize);
type Decoded = (Key, Result<ColorImage, MediaError>);

struct Slot {
    thumbnail: Thumbnail,
    seen: u64,
    bytes: usize,
}

/// The pictures of the panels.
#[derive(Resource)]
pub struct Thumbnails {
    slots: HashMap<Key, Slot>,
    bytes: usize,
    frame: u64,
    jobs: Option<SyncSender<(Key, PathBuf)>>,
    decoded: Mutex<Receiver<Decoded>>,
}

impl Thumbnails {
    /// Starts the workers, which end with this value. Each finished picture wakes the window.
    #[must_use]
    pub fn start(waker: &Waker) -> Self {
        let (jobs, waiting) = sync_channel(QUEUE);
        let (finished, decoded) = sync_channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut running = 0;
        for number in 0..WORKERS {
            let (waiting, finished, waker) = (waiting.clone(), finished.clone(), waker.clone());
            let spawned = std::thread::Builder::new()
                .name(format!("thumbnails-{number}"))
                .spawn(move || work(&waiting, &finished, &waker));
            match spawned {
                Ok(_) => running += 1,
                Err(problem) => error!("No thread for pictures in panels: {problem}"),
            }
        }
        Self {
            slots: HashMap::default(),
            bytes: 0,
            frame: 0,
            jobs: (running > 0).then_some(jobs),
            decoded: Mutex::new(decoded),
        }
    }

    /// The picture of a file as it can be drawn now. Begins to decode it when it is not there; `path` is only asked then.
    pub fn request(
        &mut self,
        hash: ContentHash,
        size: ThumbnailSize,
        path: impl FnOnce() -> PathBuf,
    ) -> Thumbnail {
        let key = (hash, size);
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.seen = self.frame;
            return slot.thumbnail.clone();
        }
        let Some(jobs) = &self.jobs else {
            return Thumbnail::Unreadable("no thread decodes pictures".into());
        };
        match jobs.try_send((key, path())) {
            Ok(()) => {
                let slot = Slot {
                    thumbnail: Thumbnail::Loading,
                    seen: self.frame,
                    bytes: 0,
                };
                self.slots.insert(key, slot);
            }
            // Full: asked for again in the next frame.
            Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => self.jobs = None,
        }
        Thumbnail::Loading
    }

    /// Takes over what was decoded and gives up what was not seen for long. Call once per frame, before the panels.
    pub fn collect(&mut self, ctx: &Context) {
        self.frame += 1;
        for _ in 0..UPLOADS_PER_FRAME {
            let Ok(decoded) = self.decoded.get_mut() else {
                return;
            };
            let Ok((key, result)) = decoded.try_recv() else {
                break;
            };
            let (thumbnail, bytes) = match result {
                Ok(picture) => {
                    let bytes = picture.pixels.len() * 4;
                    let name = format!("{}-{}", key.0, key.1.side_px());
                    let texture = ctx.load_texture(name, picture, TextureOptions::LINEAR);
                    (Thumbnail::Ready(texture), bytes)
                }
                Err(problem) => (Thumbnail::Unreadable(problem.to_string().into()), 0),
            };
            self.bytes += bytes;
            let seen = self.frame;
            let slot = Slot {
                thumbnail,
                seen,
                bytes,
            };
            self.slots.insert(key, slot);
            ctx.request_repaint();
        }
        while self.bytes > TEXELS_MAX {
            let oldest = self
                .slots
                .iter()
                // What is on the screen stays, however much it is.
                .filter(|(_, slot)| slot.bytes > 0 && slot.seen + 1 < self.frame)
                .min_by_key(|(_, slot)| slot.seen)
                .map(|(key, _)| *key);
            let Some(slot) = oldest.and_then(|key| self.slots.remove(&key)) else {
                break;
            };
            self.bytes -= slot.bytes;
        }
    }
}

/// One worker: takes jobs until the window is gone.
fn work(waiting: &Mutex<Receiver<(Key, PathBuf)>>, finished: &SyncSender<Decoded>, waker: &Waker) {
    loop {
        let job = match waiting.lock() {
            Ok(waiting) => waiting.recv(),
            Err(_) => return,
        };
        let Ok((key, path)) = job else { return };
        let decoded = decode_file(&path).map(|picture| {
            let side = key.1.side_px();
            let picture = if picture.width() > side || picture.height() > side {
                picture.thumbnail(side, side)
            } else {
                picture
            }
            .into_rgba8();
            let size = [picture.width() as usize, picture.height() as usize];
            ColorImage::from_rgba_unmultiplied(size, picture.as_raw())
        });
        if finished.send((key, decoded)).is_err() {
            return;
        }
        waker.wake();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn wait(thumbnails: &mut Thumbnails, ctx: &Context, hash: ContentHash) -> Thumbnail {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            thumbnails.collect(ctx);
            let now =
                thumbnails.request(hash, ThumbnailSize::Small, || unreachable!("asked again"));
            if !matches!(now, Thumbnail::Loading) || Instant::now() > deadline {
                return now;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_wide_picture_keeps_its_proportions_and_what_is_none_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("wide.png");
        image::RgbImage::new(1280, 640).save(&picture).unwrap();
        let text = folder.path().join("notes.png");
        std::fs::write(&text, "no picture").unwrap();
        let ctx = Context::default();
        let mut thumbnails = Thumbnails::start(&Waker::new(None));
        let (wide, none) = (ContentHash::of(b"wide"), ContentHash::of(b"none"));
        let first = thumbnails.request(wide, ThumbnailSize::Small, || picture.clone());
        assert!(matches!(first, Thumbnail::Loading));
        thumbnails.request(none, ThumbnailSize::Small, || text.clone());
        match wait(&mut thumbnails, &ctx, wide) {
            Thumbnail::Ready(texture) => assert_eq!(texture.size(), [320, 160]),
            _ => panic!("not decoded"),
        }
        assert!(matches!(
            wait(&mut thumbnails, &ctx, none),
            Thumbnail::Unreadable(_)
        ));
    }
}
