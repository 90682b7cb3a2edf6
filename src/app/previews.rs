//! Pictures on the canvas: files and live previews, decoded off the frame loop into layers of one texture array.
//!
//! A picture is asked for by its key while it is visible. Unknown ones are decoded by a few worker threads behind a bounded
//! queue; finished ones take the layer that was not seen for the longest time. At most [`UPLOADS_PER_FRAME`] reach the
//! GPU per frame. What cannot be decoded is remembered as such and shown as an icon.

mod decode;

pub use decode::{DecodeError, DecodedPicture, decode_picture};

use crate::artifacts::{Artifact, ContentHash};
use crate::project::NodeId;
use bevy::platform::collections::HashMap;
use bevy::prelude::Resource;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

/// Side of a picture in texels: enough for a picture that fills a node at 100 %.
pub const PICTURE_SIDE: u32 = 256;
/// Pictures kept on the GPU: 64 MiB with mip levels.
pub const PICTURE_LAYERS: u32 = 192;
/// Mip levels of a picture, down to one texel.
pub const PICTURE_LEVELS: u32 = 9;
/// Pictures handed to the GPU per frame (350 KiB each).
pub const UPLOADS_PER_FRAME: usize = 6;
/// Pictures waiting for a worker; what does not fit is asked for again while it is visible.
const QUEUE: usize = 64;
/// Worker threads.
const WORKERS: usize = 2;

/// Finds the file of an artifact. Inserted by whoever knows the store.
#[derive(Resource, Clone)]
pub struct ArtifactFiles(pub Arc<dyn Fn(&Artifact) -> PathBuf + Send + Sync>);

/// What identifies a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PictureKey {
    /// A stored file.
    File(ContentHash),
    /// A file that a run wrote, by the hash of its path: none is ever written twice.
    Written(ContentHash),
    /// The latest live preview of a node; the number grows with each.
    Live(NodeId, u64),
}

/// Where the bytes of a picture come from.
#[derive(Clone, Debug)]
pub enum PictureSource {
    /// A file to read.
    File(PathBuf),
    /// A whole JPEG, PNG or WebP file.
    Bytes(Bytes),
}

/// A picture on its way to the GPU.
#[derive(Clone, Debug)]
pub struct PictureUpload {
    /// The layer it takes.
    pub layer: u32,
    /// Its mip levels, largest first, RGBA.
    pub levels: Arc<[Vec<u8>]>,
}

/// What is known of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PictureState {
    /// It can be drawn.
    Ready {
        /// Its layer.
        layer: u32,
        /// Width divided by height.
        aspect: f32,
    },
    /// It is being decoded or waits for it.
    Loading,
    /// It is no picture we can show.
    Unreadable,
}

struct Resident {
    key: PictureKey,
    used: u64,
}

#[derive(Clone, Copy, Default)]
struct LiveSlot {
    shown: Option<PictureKey>,
    is_loading: bool,
}

struct Finished {
    key: PictureKey,
    result: Result<DecodedPicture, DecodeError>,
}

/// The pictures of the canvas.
#[derive(Resource)]
pub struct Pictures {
    states: HashMap<PictureKey, PictureState>,
    layers: Vec<Option<Resident>>,
    clock: u64,
    jobs: Option<SyncSender<(PictureKey, PictureSource)>>,
    finished: Mutex<Receiver<Finished>>,
    /// Per node the live preview that can be drawn, and whether a newer one is being decoded.
    live: HashMap<NodeId, LiveSlot>,
    /// Grows when a picture became ready or unreadable.
    pub revision: u64,
    loading: usize,
}

impl std::fmt::Debug for Pictures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pictures")
            .field("known", &self.states.len())
            .field("loading", &self.loading)
            .finish_non_exhaustive()
    }
}

impl Pictures {
    /// Starts the workers. `wake` is called from them after each picture.
    pub fn start(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        let (jobs, job_receiver) = sync_channel::<(PictureKey, PictureSource)>(QUEUE);
        let (finished_sender, finished) = sync_channel::<Finished>(QUEUE);
        let job_receiver = Arc::new(Mutex::new(job_receiver));
        let mut running = 0;
        for number in 0..WORKERS {
            let jobs = job_receiver.clone();
            let finished = finished_sender.clone();
            let wake = wake.clone();
            let spawned = std::thread::Builder::new()
                .name(format!("pictures-{number}"))
                .spawn(move || work(&jobs, &finished, &*wake));
            running += usize::from(spawned.is_ok());
        }
        Self {
            states: HashMap::default(),
            layers: std::iter::repeat_with(|| None)
                .take(PICTURE_LAYERS as usize)
                .collect(),
            clock: 0,
            jobs: (running > 0).then_some(jobs),
            finished: Mutex::new(finished),
            live: HashMap::default(),
            revision: 0,
            loading: 0,
        }
    }

    /// What is known of a picture, without asking for it.
    #[must_use]
    pub fn state(&self, key: PictureKey) -> Option<PictureState> {
        self.states.get(&key).copied()
    }

    /// Whether pictures are being decoded.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.loading > 0
    }

    /// The picture as it can be drawn now. Marks it as seen; begins to decode it when it is not there. `source` is only
    /// called then. While a live preview is decoded, the one before is drawn, and no third one is begun.
    pub fn request(
        &mut self,
        key: PictureKey,
        source: impl FnOnce() -> Option<PictureSource>,
    ) -> PictureState {
        let key = match key {
            PictureKey::Live(node, _) if !self.states.contains_key(&key) => {
                let slot = self.live.entry(node).or_default();
                match slot.shown {
                    Some(shown) if slot.is_loading => shown,
                    _ if slot.is_loading => return PictureState::Loading,
                    _ => key,
                }
            }
            _ => key,
        };
        match self.states.get(&key).copied() {
            Some(PictureState::Ready { layer, aspect }) => {
                self.see(layer);
                PictureState::Ready { layer, aspect }
            }
            Some(PictureState::Loading) => self.shown_before(key),
            Some(PictureState::Unreadable) => PictureState::Unreadable,
            None => {
                let Some(source) = source() else {
                    return PictureState::Loading;
                };
                let Some(jobs) = &self.jobs else {
                    return PictureState::Unreadable;
                };
                match jobs.try_send((key, source)) {
                    Ok(()) => {
                        self.states.insert(key, PictureState::Loading);
                        self.loading += 1;
                        if let PictureKey::Live(node, _) = key {
                            self.live.entry(node).or_default().is_loading = true;
                        }
                    }
                    // Full: asked for again at the next paint.
                    Err(TrySendError::Full(_)) => {}
                    Err(TrySendError::Disconnected(_)) => self.jobs = None,
                }
                self.shown_before(key)
            }
        }
    }

    fn see(&mut self, layer: u32) {
        if let Some(Some(resident)) = self.layers.get_mut(layer as usize) {
            resident.used = self.clock;
        }
    }

    /// What stands for a picture that is being decoded: the live preview before it.
    fn shown_before(&mut self, key: PictureKey) -> PictureState {
        let PictureKey::Live(node, _) = key else {
            return PictureState::Loading;
        };
        let shown = self.live.get(&node).and_then(|slot| slot.shown);
        match shown.and_then(|shown| self.states.get(&shown).copied()) {
            Some(PictureState::Ready { layer, aspect }) => {
                self.see(layer);
                PictureState::Ready { layer, aspect }
            }
            _ => PictureState::Loading,
        }
    }

    /// A live preview is there: the one before gives its layer back.
    fn settle_live(&mut self, node: NodeId, ready: Option<PictureKey>) {
        let slot = self.live.entry(node).or_default();
        slot.is_loading = false;
        let Some(ready) = ready else {
            return;
        };
        let before = slot.shown.replace(ready);
        if let Some(before) = before.filter(|before| *before != ready)
            && let Some(PictureState::Ready { layer, .. }) = self.states.remove(&before)
            && let Some(slot) = self.layers.get_mut(layer as usize)
        {
            *slot = None;
        }
    }

    /// Takes over what the workers finished, at most [`UPLOADS_PER_FRAME`]. Call once per frame.
    pub fn collect(&mut self, uploads: &mut Vec<PictureUpload>) {
        self.clock += 1;
        for _ in 0..UPLOADS_PER_FRAME {
            let Ok(receiver) = self.finished.get_mut() else {
                return;
            };
            let Ok(finished) = receiver.try_recv() else {
                return;
            };
            self.loading = self.loading.saturating_sub(1);
            self.revision += 1;
            if let PictureKey::Live(node, _) = finished.key {
                let ready = finished.result.is_ok().then_some(finished.key);
                self.settle_live(node, ready);
            }
            match finished.result {
                Ok(picture) => {
                    let layer = self.free_layer();
                    if let Some(slot) = self.layers.get_mut(layer as usize) {
                        *slot = Some(Resident {
                            key: finished.key,
                            used: self.clock,
                        });
                    }
                    self.states.insert(
                        finished.key,
                        PictureState::Ready {
                            layer,
                            aspect: picture.aspect,
                        },
                    );
                    uploads.push(PictureUpload {
                        layer,
                        levels: picture.levels,
                    });
                }
                Err(_) => {
                    self.states.insert(finished.key, PictureState::Unreadable);
                }
            }
        }
    }

    /// A layer that is free, or the one that was not seen for the longest time.
    fn free_layer(&mut self) -> u32 {
        let oldest = self
            .layers
            .iter()
            .enumerate()
            .min_by_key(|(_, slot)| slot.as_ref().map_or(0, |resident| resident.used + 1))
            .map_or(0, |(at, _)| at);
        if let Some(Some(evicted)) = self.layers.get(oldest) {
            self.states.remove(&evicted.key);
        }
        oldest as u32
    }
}

/// One worker: takes jobs until the window is gone.
fn work(
    jobs: &Mutex<Receiver<(PictureKey, PictureSource)>>,
    finished: &SyncSender<Finished>,
    wake: &dyn Fn(),
) {
    loop {
        let job = match jobs.lock() {
            Ok(receiver) => receiver.recv(),
            Err(_) => return,
        };
        let Ok((key, source)) = job else {
            return;
        };
        let result = decode_picture(&source);
        if finished.send(Finished { key, result }).is_err() {
            return;
        }
        wake();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn png(width: u32, height: u32, value: u8) -> Bytes {
        let image = image::RgbImage::from_pixel(width, height, image::Rgb([value, 0, 0]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner().into()
    }

    fn settle(pictures: &mut Pictures, uploads: &mut Vec<PictureUpload>) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while pictures.is_loading() && Instant::now() < deadline {
            pictures.collect(uploads);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!pictures.is_loading());
    }

    #[test]
    fn the_picture_not_seen_for_longest_gives_way() {
        let mut pictures = Pictures::start(Arc::new(|| {}));
        let mut uploads = Vec::new();
        let key = |number: u32| PictureKey::File(ContentHash::of(&number.to_le_bytes()));
        let bytes = png(8, 4, 9);
        let ask = |pictures: &mut Pictures, number: u32| {
            let bytes = bytes.clone();
            pictures.request(key(number), || Some(PictureSource::Bytes(bytes)))
        };
        for number in 0..PICTURE_LAYERS {
            ask(&mut pictures, number);
            settle(&mut pictures, &mut uploads);
        }
        let first = ask(&mut pictures, 0);
        assert!(matches!(first, PictureState::Ready { aspect, .. } if (aspect - 2.0).abs() < 0.01));
        ask(&mut pictures, PICTURE_LAYERS);
        settle(&mut pictures, &mut uploads);
        // 0 was seen again, so 1 had to go.
        assert_eq!(pictures.state(key(0)), Some(first));
        assert_eq!(pictures.state(key(1)), None);
        assert!(uploads.iter().all(|upload| upload.layer < PICTURE_LAYERS));
    }

    #[test]
    fn what_is_no_picture_is_remembered_as_such() {
        let mut pictures = Pictures::start(Arc::new(|| {}));
        let mut uploads = Vec::new();
        let key = PictureKey::File(ContentHash::of(b"text"));
        pictures.request(key, || {
            Some(PictureSource::Bytes(Bytes::from_static(b"not a picture")))
        });
        settle(&mut pictures, &mut uploads);
        assert_eq!(pictures.state(key), Some(PictureState::Unreadable));
        assert!(uploads.is_empty());
    }
}
