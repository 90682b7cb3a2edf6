//! A server's event socket: one connection at a time, feature flags first, reconnection with backoff.

use super::client::Client;
use super::decode::{decode_binary, decode_text};
use super::error::ComfyError;
use super::event::SocketEvent;
use super::limits::{EVENT_CAPACITY, SOCKET_MESSAGE_BYTES};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use reqwest::Upgraded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::debug;

/// First message of every connection: previews shall come with their prompt and node.
const FEATURE_FLAGS: &str = r#"{"type":"feature_flags","data":{"supports_preview_metadata":true}}"#;

/// How patient the socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// A ping is sent so often: the server sends none of its own.
    pub ping_every: Duration,
    /// Silence, even of pongs, for so long means that the connection is dead.
    pub dead_after: Duration,
    /// The server must greet (its first `status`) within so long.
    pub greeting_within: Duration,
    /// How long the old connection may take to close before it is dropped.
    pub close_within: Duration,
    /// Longest wait before the second try to connect; doubles with each.
    pub backoff_min: Duration,
    /// Longest wait before any try to connect.
    pub backoff_max: Duration,
}

impl Default for SocketOptions {
    /// Pings every 10 s, dead after 45 s (a server that loads a model may not answer for many seconds), backoff 0.5 to 20 s.
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(10),
            dead_after: Duration::from_secs(45),
            greeting_within: Duration::from_secs(15),
            close_within: Duration::from_secs(2),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(20),
        }
    }
}

/// What comes out of the socket.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// A connection is up and the server has greeted. Nothing that happened before is replayed: reconcile what is under way.
    Connected,
    /// The connection, or the attempt at one, ended. A new attempt follows by itself.
    Disconnected {
        /// A sentence that says why.
        reason: String,
    },
    /// A message of the server.
    Message(SocketEvent),
}

/// The receiving end. Dropping it closes the connection and ends the task.
#[derive(Debug)]
pub struct EventReceiver {
    events: mpsc::Receiver<LinkEvent>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    reconnect: Notify,
    hurry: Notify,
    unknown: AtomicU64,
    unreadable: AtomicU64,
    dropped: AtomicU64,
}

impl EventReceiver {
    /// The next event; waits for one. None only when the runtime shuts down.
    pub async fn recv(&mut self) -> Option<LinkEvent> {
        self.events.recv().await
    }

    /// Closes the connection and makes a new one, for a socket that has gone deaf: when an older connection with the same
    /// client id closes, the server forgets the newer one, which stays open and receives nothing any more.
    pub fn reconnect(&self) {
        self.shared.reconnect.notify_one();
    }

    /// Cuts the wait before the next attempt to connect short: the server is known to be there again.
    pub fn hurry(&self) {
        self.shared.hurry.notify_one();
    }

    /// Closes the connection and returns when it is gone, so that another one may use the client id.
    pub async fn close(self) {
        drop(self.events);
        // The task does not panic; were it to, its connection would be gone as well.
        let _ = self.task.await;
    }

    /// Messages of unknown type so far.
    #[must_use]
    pub fn unknown_count(&self) -> u64 {
        self.shared.unknown.load(Ordering::Relaxed)
    }

    /// Messages that could not be read so far.
    #[must_use]
    pub fn unreadable_count(&self) -> u64 {
        self.shared.unreadable.load(Ordering::Relaxed)
    }

    /// Progress and previews dropped so far because the receiver lagged.
    #[must_use]
    pub fn dropped_count(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// Keeps one socket to the server open under `client_id`, for as long as the receiver lives. Use a client id for one socket
/// only, ever: the server cannot tell two apart. Needs a tokio runtime.
#[must_use]
pub fn connect(client: Client, client_id: String, options: SocketOptions) -> EventReceiver {
    let (sender, events) = mpsc::channel(EVENT_CAPACITY);
    let shared = Arc::new(Shared::default());
    let link = Link {
        client,
        client_id,
        options,
        sender,
        shared: Arc::clone(&shared),
    };
    let task = tokio::spawn(link.run());
    EventReceiver {
        events,
        shared,
        task,
    }
}

/// How long to wait before connection attempt number `attempt` (0 for the first after a good connection) for a `random`
/// in 0..1: between half and the whole of the doubled minimum, so that a fleet's clients do not come back in step.
#[must_use]
pub fn backoff(attempt: u32, random: f64, options: &SocketOptions) -> Duration {
    let whole = options
        .backoff_min
        .saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX))
        .min(options.backoff_max);
    whole.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

type Socket = WebSocketStream<Upgraded>;

struct Link {
    client: Client,
    client_id: String,
    options: SocketOptions,
    sender: mpsc::Sender<LinkEvent>,
    shared: Arc<Shared>,
}

/// Why a connection is over.
enum End {
    /// Nobody listens any more.
    Unwanted,
    /// Something broke, or a new one was asked for.
    Lost(String),
}

impl Link {
    async fn run(self) {
        let mut attempt = 0;
        loop {
            let end = match self.open().await {
                Ok(mut socket) => {
                    let (end, was_up) = self.serve(&mut socket).await;
                    // The old connection must be gone before there is a new one with its id: the server would drop the new
                    // one's registration when the old one closes.
                    close(&mut socket, self.options.close_within).await;
                    if was_up {
                        attempt = 0;
                    }
                    end
                }
                Err(error) => End::Lost(error.to_string()),
            };
            let End::Lost(reason) = end else { return };
            debug!(server = %self.client.endpoint(), reason, "event socket down");
            if self
                .sender
                .send(LinkEvent::Disconnected { reason })
                .await
                .is_err()
            {
                return;
            }
            let wait = backoff(attempt, fastrand::f64(), &self.options);
            attempt = attempt.saturating_add(1);
            tokio::select! {
                () = sleep(wait) => {}
                () = self.shared.reconnect.notified() => {}
                () = self.shared.hurry.notified() => {}
                () = self.sender.closed() => return,
            }
        }
    }

    /// Connects and sends the feature flags.
    async fn open(&self) -> Result<Socket, ComfyError> {
        let key = generate_key();
        let broken = |reason: String| ComfyError::Broken {
            url: self.client.endpoint().to_string(),
            request: "the socket's handshake".to_owned(),
            reason,
        };
        let response = self.client.upgrade(&self.client_id, &key).await?;
        let accepted = response
            .headers()
            .get("sec-websocket-accept")
            .is_some_and(|accept| {
                accept.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes()
            });
        if !accepted {
            return Err(ComfyError::NotComfyUi {
                url: self.client.endpoint().to_string(),
                request: "the socket's handshake".to_owned(),
                found: "a wrong WebSocket key".to_owned(),
            });
        }
        let upgraded = response
            .upgrade()
            .await
            .map_err(|error| broken(error.to_string()))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(SOCKET_MESSAGE_BYTES))
            .max_frame_size(Some(SOCKET_MESSAGE_BYTES));
        let mut socket =
            WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
        timeout(
            self.options.greeting_within,
            socket.send(Message::text(FEATURE_FLAGS)),
        )
        .await
        .map_err(|_| broken("it does not take our first message".to_owned()))?
        .map_err(|error| broken(error.to_string()))?;
        Ok(socket)
    }

    /// Passes events on until the connection ends. Also says whether the server had greeted.
    async fn serve(&self, socket: &mut Socket) -> (End, bool) {
        let mut pings = interval(self.options.ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut greeted = false;
        let mut silent_after = Instant::now() + self.options.greeting_within;
        loop {
            tokio::select! {
                () = self.sender.closed() => return (End::Unwanted, greeted),
                () = self.shared.reconnect.notified() => {
                    return (End::Lost("the connection was given up: the server had stopped sending".to_owned()), greeted);
                }
                _ = pings.tick() => {
                    let ping = socket.send(Message::Ping(Bytes::new()));
                    match timeout(self.options.dead_after, ping).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return (End::Lost(format!("the connection broke: {error}")), greeted),
                        Err(_) => return (End::Lost(self.silence()), greeted),
                    }
                }
                message = timeout_at(silent_after, socket.next()) => {
                    let message = match message {
                        Err(_) if greeted => return (End::Lost(self.silence()), greeted),
                        Err(_) => return (End::Lost("the server did not greet; is this ComfyUI?".to_owned()), greeted),
                        Ok(None) => return (End::Lost("the server closed the connection".to_owned()), greeted),
                        Ok(Some(Err(error))) => return (End::Lost(format!("the connection broke: {error}")), greeted),
                        Ok(Some(Ok(message))) => message,
                    };
                    let decoded = match message {
                        Message::Text(text) => decode_text(text.as_bytes()),
                        Message::Binary(frame) => decode_binary(frame),
                        Message::Close(_) => return (End::Lost("the server closed the connection".to_owned()), greeted),
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                            // Pongs keep a greeted connection alive; they are no greeting.
                            if greeted {
                                silent_after = Instant::now() + self.options.dead_after;
                            }
                            continue;
                        }
                    };
                    if !greeted {
                        greeted = true;
                        if self.sender.send(LinkEvent::Connected).await.is_err() {
                            return (End::Unwanted, greeted);
                        }
                    }
                    match decoded {
                        Ok(event) => {
                            if !self.pass_on(event).await {
                                return (End::Unwanted, greeted);
                            }
                        }
                        Err(error) => {
                            self.shared.unreadable.fetch_add(1, Ordering::Relaxed);
                            debug!(server = %self.client.endpoint(), %error, "unreadable message");
                        }
                    }
                    silent_after = Instant::now() + self.options.dead_after;
                }
            }
        }
    }

    /// Hands an event to the receiver. Those that the next one makes up for are dropped when it lags; the rest wait. False
    /// when nobody listens any more.
    async fn pass_on(&self, event: SocketEvent) -> bool {
        if let SocketEvent::Unknown { name } = &event {
            self.shared.unknown.fetch_add(1, Ordering::Relaxed);
            debug!(server = %self.client.endpoint(), name, "unknown message ignored");
            return true;
        }
        if !event.is_superseded_by_next() {
            return self.sender.send(LinkEvent::Message(event)).await.is_ok();
        }
        match self.sender.try_send(LinkEvent::Message(event)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    fn silence(&self) -> String {
        format!(
            "the server was silent for {} s",
            self.options.dead_after.as_secs_f32()
        )
    }
}

/// Closes a connection: says so, waits for the server to agree, then drops it.
async fn close(socket: &mut Socket, within: Duration) {
    let goodbye = async {
        if socket.close(None).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // A dead peer does not answer; its connection is dropped all the same.
    let _ = timeout(within, goodbye).await;
}
