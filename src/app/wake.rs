//! Waking the window from outside, and the one place of the window that reads the clock.

use bevy::prelude::*;
use bevy::winit::{EventLoopProxy, EventLoopProxyWrapper, WinitUserEvent};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Wakes the event loop so that it draws a frame. Cheap to clone; does nothing after the window is gone.
#[derive(Resource, Clone)]
pub struct Waker {
    proxy: Option<EventLoopProxy<WinitUserEvent>>,
}

impl Waker {
    /// A waker for the loop of this app. Without a loop (an app that is driven frame by frame) it does nothing.
    #[must_use]
    pub fn new(proxy: Option<&EventLoopProxyWrapper>) -> Self {
        Self {
            proxy: proxy.map(|proxy| (**proxy).clone()),
        }
    }

    /// Wakes the window now.
    pub fn wake(&self) {
        if let Some(proxy) = &self.proxy {
            // An error means that the loop has ended, and with it the wish.
            let _ = proxy.send_event(WinitUserEvent::WakeUp);
        }
    }

    /// Wakes the window once after a while. egui's own delayed repaints are answered at once by its Bevy plugin, which
    /// would keep an idle window drawing.
    pub fn wake_after(&self, delay: Duration) {
        if self.proxy.is_none() {
            return;
        }
        let waker = self.clone();
        let spawned = std::thread::Builder::new()
            .name("wake".to_owned())
            .spawn(move || {
                std::thread::sleep(delay);
                waker.wake();
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a timer; the window is woken by the next event instead");
        }
    }
}

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
