//! The receiver of a warm job's events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::event::{WarmEvent, WarmStep};

/// A receiver that takes no event for this long is considered gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// The receiver of a job's events, if there is one.
pub struct WarmListener {
    /// `None` for a job that runs on a schedule.
    sender: Option<mpsc::Sender<WarmEvent>>,
    is_gone: AtomicBool,
}

impl WarmListener {
    /// Returns a listener that drops all events.
    pub fn none() -> Arc<Self> {
        Arc::new(Self { sender: None, is_gone: AtomicBool::new(false) })
    }

    pub fn new(sender: mpsc::Sender<WarmEvent>) -> Arc<Self> {
        Arc::new(Self { sender: Some(sender), is_gone: AtomicBool::new(false) })
    }

    /// Returns true if there was a receiver and it has left.
    pub fn has_left(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed) || self.sender.as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    /// Sends an event and waits until the receiver has room for it.
    pub async fn tell(&self, image: &Arc<str>, step: WarmStep) {
        let Some(sender) = self.sender.as_ref().filter(|_| !self.has_left()) else { return };
        let event = WarmEvent { image: Arc::clone(image), step };
        if sender.send_timeout(event, TAKEN_WITHIN).await.is_err() {
            self.is_gone.store(true, Ordering::Relaxed);
        }
    }

    /// Sends an event if the receiver has room for it.
    pub fn try_tell(&self, image: &Arc<str>, step: WarmStep) {
        if let Some(sender) = &self.sender {
            // The next event of this kind replaces a lost one.
            let _ = sender.try_send(WarmEvent { image: Arc::clone(image), step });
        }
    }
}
