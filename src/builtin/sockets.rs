//! The WebSocket of the protocol: who is connected, and who hears what.
//!
//! A message goes to the one socket whose id is the prompt's `client_id`, or to every socket. Two sockets with one id
//! behave as in ComfyUI: the newer one gets everything, and when the older one closes, the newer one loses its
//! registration, stays open, and receives nothing any more.

use std::{collections::HashMap, sync::Mutex};

use axum::{
    body::Bytes,
    extract::ws::{Message, WebSocket},
};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::host::{Host, lock};

/// How many messages may wait for a slow client. Above it, progress and previews are dropped; a client that is too
/// slow even for the rest is disconnected.
const MAXIMUM_WAITING_MESSAGES: usize = 1_024;

struct Registration {
    sender: mpsc::Sender<Message>,
    too_slow: CancellationToken,
    wants_preview_metadata: bool,
}

/// The sockets of one server.
#[derive(Default)]
pub struct Sockets {
    by_id: Mutex<HashMap<String, Registration>>,
}

/// Which preview frames a client understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviewForm {
    /// Event 1: the picture alone, after its `progress`.
    Plain,
    /// Event 4: with node and prompt ids, before its `progress`.
    WithMetadata,
}

impl Sockets {
    /// Sends a text message to one socket, or to all.
    pub fn send(&self, event: &str, data: &Value, to: Option<&str>) {
        let text = json!({ "type": event, "data": data }).to_string();
        let droppable = matches!(event, "progress" | "progress_state");
        self.deliver(&Message::Text(text.into()), droppable, to);
    }

    /// Sends a binary frame to one socket, or to all.
    pub fn send_binary(&self, frame: Vec<u8>, to: Option<&str>) {
        self.deliver(&Message::Binary(Bytes::from(frame)), true, to);
    }

    fn deliver(&self, message: &Message, droppable: bool, to: Option<&str>) {
        let mut sockets = lock(&self.by_id);
        let mut gone = Vec::new();
        for (id, registration) in sockets.iter() {
            if to.is_some_and(|to| to != id) {
                continue;
            }
            if let Err(TrySendError::Full(_)) = registration.sender.try_send(message.clone())
                && !droppable
            {
                registration.too_slow.cancel();
                gone.push(id.clone());
            }
        }
        for id in gone {
            sockets.remove(&id);
        }
    }

    /// The preview form of a client; those without an id get the plain one.
    pub fn preview_form(&self, client_id: Option<&str>) -> PreviewForm {
        let sockets = lock(&self.by_id);
        match client_id.and_then(|id| sockets.get(id)) {
            Some(registration) if registration.wants_preview_metadata => PreviewForm::WithMetadata,
            _ => PreviewForm::Plain,
        }
    }

    /// Whether anybody would receive a message.
    pub fn has_receiver(&self, to: Option<&str>) -> bool {
        let sockets = lock(&self.by_id);
        to.map_or(!sockets.is_empty(), |id| sockets.contains_key(id))
    }
}

/// Serves one connection until it ends.
pub async fn serve(host: &Host, mut socket: WebSocket, client_id: &str) {
    let id = if client_id.is_empty() {
        uuid::Uuid::now_v7().simple().to_string()
    } else {
        client_id.to_owned()
    };
    let (sender, mut messages) = mpsc::channel(MAXIMUM_WAITING_MESSAGES);
    let too_slow = CancellationToken::new();
    lock(&host.sockets.by_id).insert(
        id.clone(),
        Registration {
            sender,
            too_slow: too_slow.clone(),
            wants_preview_metadata: false,
        },
    );
    let hello = json!({ "status": Host::queue_info(host.queue.remaining()), "sid": id });
    host.sockets.send("status", &hello, Some(&id));
    let current = lock(&host.current).clone();
    if current.client_id.as_deref() == Some(&id)
        && let Some(node) = current.node_id
    {
        host.sockets
            .send("executing", &json!({ "node": node }), Some(&id));
    }

    let mut first_message = true;
    // After another socket took over the id, or lost it, this one stays open but hears nothing.
    let mut registered = true;
    loop {
        tokio::select! {
            message = messages.recv(), if registered => match message {
                Some(message) => {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
                None => registered = false,
            },
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(Value::Object(message)) = serde_json::from_str(&text) {
                        if first_message && message.get("type") == Some(&json!("feature_flags")) {
                            accept_flags(host, &id, message.get("data"));
                        }
                        first_message = false;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            () = too_slow.cancelled() => break,
        }
    }
    lock(&host.sockets.by_id).remove(&id);
}

fn accept_flags(host: &Host, id: &str, flags: Option<&Value>) {
    let wants = flags
        .and_then(|flags| flags.get("supports_preview_metadata"))
        .is_some_and(|flag| flag == &json!(true));
    if let Some(registration) = lock(&host.sockets.by_id).get_mut(id) {
        registration.wants_preview_metadata = wants;
    }
    host.sockets.send("feature_flags", &features(), Some(id));
}

/// What the server can do: the answer of `/features` and to the client's flags.
pub fn features() -> Value {
    json!({
        "supports_preview_metadata": true,
        "max_upload_size": super::http::MAXIMUM_BODY_BYTES,
        "extension": { "manager": { "supports_v4": true } },
    })
}
