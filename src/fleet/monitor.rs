//! One task per backend: its socket, its health, its capabilities.

use super::backend::BackendConfig;
use super::check;
use super::health::{Health, HttpHealth, LinkHealth};
use super::roster::FleetEvent;
use super::status::{BackendState, BackendStatus, DeviceStatus};
use crate::comfy::events::{self, EventReceiver, LinkEvent, SocketOptions};
use crate::comfy::{Client, ComfyError, Queue, SocketEvent, SystemStats};
use crate::project::BackendId;
use crate::workflow::{ModelSizes, ObjectInfo};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Time between two health requests (DESIGN §10), give or take a fifth.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Time between two attempts to read capabilities that failed.
const CAPABILITIES_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What monitor and roster share.
pub(super) struct Shared {
    enabled: bool,
    status: Mutex<BackendStatus>,
    object_info: Mutex<Option<Arc<ObjectInfo>>>,
    model_sizes: Mutex<Option<Arc<ModelSizes>>>,
    pub(super) refresh: Notify,
}

impl Shared {
    pub(super) fn new(config: &BackendConfig) -> Self {
        // The card shows the address; credentials in it are refused later, and must not be shown until then.
        let mut url = config.url.clone();
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        Self {
            enabled: config.enabled,
            status: Mutex::new(BackendStatus {
                backend_id: config.id,
                name: config.name.clone(),
                url: url.to_string(),
                state: if config.enabled {
                    BackendState::Connecting
                } else {
                    BackendState::Disabled
                },
                since_ms: now_ms(),
                reason: String::new(),
                queue_running: 0,
                queue_pending: 0,
                latency_ms: 0,
                version: String::new(),
                devices: Vec::new(),
                ram_total: 0,
                ram_free: 0,
                has_editor: None,
            }),
            object_info: Mutex::new(None),
            model_sizes: Mutex::new(None),
            refresh: Notify::new(),
        }
    }

    pub(super) fn status(&self) -> BackendStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn object_info(&self) -> Option<Arc<ObjectInfo>> {
        self.object_info
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn model_sizes(&self) -> Option<Arc<ModelSizes>> {
        self.model_sizes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the status; `since_ms` moves only when the state does. Gives the new one if anything changed.
    fn update(&self, change: impl FnOnce(&mut BackendStatus)) -> Option<BackendStatus> {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let before = status.clone();
        change(&mut status);
        if status.state != before.state {
            status.since_ms = now_ms();
        }
        (*status != before).then(|| status.clone())
    }
}

/// Watches a backend until cancelled. Waits for `before`, the monitor it replaces, so that there are never two sockets with
/// one client id.
pub(super) async fn run(
    before: Option<JoinHandle<()>>,
    client: Result<Client, String>,
    client_id: String,
    shared: Arc<Shared>,
    events: mpsc::Sender<FleetEvent>,
    cancel: CancellationToken,
) {
    if let Some(before) = before {
        // A monitor does not panic; were it to, its socket would be gone as well.
        let _ = before.await;
    }
    let backend_id = shared.status().backend_id;
    let tell = Tell {
        backend_id,
        events,
        cancel: cancel.clone(),
    };
    tell.send(FleetEvent::Status(shared.status())).await;
    if !shared.enabled {
        return;
    }
    let client = match client {
        Ok(client) => client,
        Err(reason) => {
            let changed = shared.update(|status| {
                status.state = BackendState::Offline;
                status.reason = reason;
            });
            if let Some(status) = changed {
                tell.send(FleetEvent::Status(status)).await;
            }
            return;
        }
    };
    let socket = events::connect(client.clone(), client_id, SocketOptions::default());
    let mut monitor = Monitor {
        client,
        shared,
        tell,
        health: Health::default(),
        socket,
        work: JoinSet::new(),
        beating: false,
        reading_capabilities: false,
        reading_sizes: false,
        next_beat: Instant::now(),
        next_capabilities: Instant::now(),
    };
    monitor.watch(&cancel).await;
    monitor.work.shutdown().await;
    monitor.socket.close().await;
}

/// The way to the engine.
struct Tell {
    backend_id: BackendId,
    events: mpsc::Sender<FleetEvent>,
    cancel: CancellationToken,
}

impl Tell {
    /// Waits for room, unless cancelled.
    async fn send(&self, event: FleetEvent) {
        tokio::select! {
            // An engine that has ended needs no events.
            _ = self.events.send(event) => {}
            () = self.cancel.cancelled() => {}
        }
    }

    async fn message(&self, event: SocketEvent) {
        let may_drop = event.is_superseded_by_next();
        let event = FleetEvent::Message {
            backend_id: self.backend_id,
            event,
        };
        if may_drop {
            // Full or closed: the next one makes up for it.
            let _ = self.events.try_send(event);
        } else {
            self.send(event).await;
        }
    }
}

struct Monitor {
    client: Client,
    shared: Arc<Shared>,
    tell: Tell,
    health: Health,
    socket: EventReceiver,
    work: JoinSet<Done>,
    beating: bool,
    reading_capabilities: bool,
    reading_sizes: bool,
    next_beat: Instant,
    next_capabilities: Instant,
}

/// What a request of ours brought.
enum Done {
    Beat(Result<Beat, ComfyError>),
    Capabilities(Result<Capabilities, String>),
    ModelSizes(ModelSizes),
}

struct Capabilities {
    object_info: Arc<ObjectInfo>,
    json: Arc<[u8]>,
}

struct Beat {
    stats: SystemStats,
    queue: Queue,
    latency: Duration,
    /// None when it was not asked now.
    has_editor: Option<bool>,
}

impl Monitor {
    async fn watch(&mut self, cancel: &CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = sleep_until(self.next_beat), if !self.beating => self.begin_beat(),
                () = self.shared.refresh.notified() => {
                    self.begin_beat();
                    self.begin_capabilities();
                }
                Some(done) = self.work.join_next() => match done {
                    Ok(Done::Beat(beat)) => self.end_beat(beat).await,
                    Ok(Done::Capabilities(read)) => self.end_capabilities(read).await,
                    Ok(Done::ModelSizes(sizes)) => self.end_model_sizes(sizes).await,
                    Err(error) => {
                        // A request that panicked, which none should: report it and go on.
                        warn!(server = %self.client.endpoint(), %error, "a health request failed");
                        self.beating = false;
                        self.reading_capabilities = false;
                        self.reading_sizes = false;
                    }
                },
                event = self.socket.recv() => match event {
                    Some(event) => self.on_link(event).await,
                    None => return,
                },
            }
        }
    }

    fn begin_beat(&mut self) {
        if self.beating {
            return;
        }
        self.beating = true;
        let client = self.client.clone();
        // Asked once: a page does not come and go while a server runs, and its start is heard by a new socket.
        let asks_page = self.shared.status().has_editor.is_none();
        self.work
            .spawn(async move { Done::Beat(beat(&client, asks_page).await) });
    }

    async fn end_beat(&mut self, beat: Result<Beat, ComfyError>) {
        self.beating = false;
        self.next_beat = Instant::now() + BEAT_EVERY.mul_f64(0.8 + 0.4 * fastrand::f64());
        match beat {
            Ok(beat) => {
                let (running, pending) = (beat.queue.running.len(), beat.queue.pending.len());
                if self.health.found((running + pending) as u64) {
                    self.socket.reconnect();
                }
                if self.health.link != LinkHealth::Up {
                    self.socket.hurry();
                }
                if self.shared.object_info().is_none() && Instant::now() >= self.next_capabilities {
                    self.begin_capabilities();
                }
                self.publish(|status| {
                    status.queue_running = running as u32;
                    status.queue_pending = pending as u32;
                    status.latency_ms = beat.latency.as_millis() as u32;
                    status.has_editor = beat.has_editor.or(status.has_editor);
                    status.version = beat.stats.comfyui_version;
                    status.ram_total = beat.stats.ram_total;
                    status.ram_free = beat.stats.ram_free;
                    status.devices = beat
                        .stats
                        .devices
                        .into_iter()
                        .map(|device| DeviceStatus {
                            // "cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync": the allocator tells a person nothing.
                            name: device
                                .name
                                .split_once(" : ")
                                .map_or(device.name.as_str(), |(name, _)| name)
                                .to_owned(),
                            vram_total: device.vram_total,
                            vram_free: device.vram_free,
                        })
                        .collect();
                })
                .await;
            }
            Err(error) => {
                self.health.http = HttpHealth::Failed(error.to_string());
                // Another program may come up in its place.
                self.publish(|status| status.has_editor = None).await;
            }
        }
    }

    fn begin_capabilities(&mut self) {
        if self.reading_capabilities {
            return;
        }
        self.reading_capabilities = true;
        let client = self.client.clone();
        self.work.spawn(async move {
            Done::Capabilities(match client.object_info().await {
                // Megabytes of JSON: off the threads that serve sockets.
                Ok(classes) => tokio::task::spawn_blocking(move || {
                    let classes = Value::Object(classes);
                    let object_info =
                        ObjectInfo::from_json(&classes).map_err(|error| error.to_string())?;
                    Ok(Capabilities {
                        object_info: Arc::new(object_info),
                        json: classes.to_string().into_bytes().into(),
                    })
                })
                .await
                .unwrap_or_else(|error| Err(error.to_string())),
                Err(error) => Err(error.to_string()),
            })
        });
    }

    async fn end_capabilities(&mut self, read: Result<Capabilities, String>) {
        self.reading_capabilities = false;
        match read {
            Ok(Capabilities { object_info, json }) => {
                self.begin_model_sizes();
                *self
                    .shared
                    .object_info
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&object_info));
                self.tell
                    .send(FleetEvent::Capabilities {
                        backend_id: self.tell.backend_id,
                        object_info,
                        json,
                    })
                    .await;
            }
            Err(error) => {
                self.next_capabilities = Instant::now() + CAPABILITIES_AGAIN_AFTER;
                warn!(server = %self.client.endpoint(), error, "cannot read which nodes this backend has");
            }
        }
    }

    /// After the node classes, for which runs wait: the backend looks at every file of its model folders.
    fn begin_model_sizes(&mut self) {
        if self.reading_sizes {
            return;
        }
        self.reading_sizes = true;
        let client = self.client.clone();
        self.work
            .spawn(async move { Done::ModelSizes(check::model_sizes(&client).await) });
    }

    async fn end_model_sizes(&mut self, sizes: ModelSizes) {
        self.reading_sizes = false;
        let is_news = {
            let mut known = self
                .shared
                .model_sizes
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let is_news = known
                .as_deref()
                .is_none_or(|known| *known != sizes && !sizes.is_empty());
            if is_news {
                *known = Some(Arc::new(sizes));
            }
            is_news
        };
        if is_news {
            let backend_id = self.tell.backend_id;
            self.tell.send(FleetEvent::ModelSizes { backend_id }).await;
        }
    }

    async fn on_link(&mut self, event: LinkEvent) {
        let backend_id = self.tell.backend_id;
        match event {
            LinkEvent::Connected => {
                self.health.link_up();
                // The backend may be another one than before the break.
                self.begin_beat();
                self.begin_capabilities();
                self.publish(|_| {}).await;
                self.tell.send(FleetEvent::Connected { backend_id }).await;
            }
            LinkEvent::Disconnected { reason } => {
                self.health.link = LinkHealth::Down(reason.clone());
                self.begin_beat();
                self.publish(|_| {}).await;
                self.tell
                    .send(FleetEvent::Disconnected { backend_id, reason })
                    .await;
            }
            LinkEvent::Message(event) => {
                if let SocketEvent::Status {
                    queue_remaining, ..
                } = event
                {
                    self.health.told(queue_remaining);
                    // ComfyUI executes one prompt at a time; the next beat says it exactly.
                    self.publish(|status| {
                        status.queue_running = queue_remaining.min(1) as u32;
                        status.queue_pending = queue_remaining.saturating_sub(1) as u32;
                    })
                    .await;
                }
                self.tell.message(event).await;
            }
        }
    }

    /// Changes the status by `change` and by what is known of the health, and tells it if it changed.
    async fn publish(&self, change: impl FnOnce(&mut BackendStatus)) {
        let (state, reason) = self.health.state();
        let changed = self.shared.update(|status| {
            change(status);
            status.state = state;
            status.reason = reason;
        });
        if let Some(status) = changed {
            self.tell.send(FleetEvent::Status(status)).await;
        }
    }
}

async fn beat(client: &Client, asks_page: bool) -> Result<Beat, ComfyError> {
    let begun = Instant::now();
    let stats = client.system_stats().await?;
    let latency = begun.elapsed();
    Ok(Beat {
        stats,
        queue: client.queue().await?,
        latency,
        has_editor: if asks_page {
            client.has_editor().await.ok()
        } else {
            None
        },
    })
}

/// Unix time in milliseconds.
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
