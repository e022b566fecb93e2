//! The waits of a stream for its readers.

use std::time::Duration;

use super::pass::Pass;
use super::wait_budget::WaitBudget;
use super::window::Room;
use crate::fills::shared::Shared;

/// A stream from which no reader has taken anything for this long ends. Its readers open another one when they read on.
const IDLE: Duration = Duration::from_secs(5);

/// A stream whose readers have all left before its upstream has answered waits this long for the next reader.
const JOINED_WITHIN: Duration = Duration::from_secs(30);

impl Pass {
    /// Waits until there is a reader, for a limited time.
    pub(super) async fn is_joined(&self) {
        let mut joined = self.moved.subscribe();
        let wait = async {
            while self.window().has_no_reader() {
                // The sender belongs to this stream.
                let _ = joined.changed().await;
            }
        };
        let _ = tokio::time::timeout(JOINED_WITHIN, wait).await;
    }

    /// Completes when the stream does not wait for its answer, nor for its first reader after that.
    pub(super) async fn settled(&self) {
        let mut waits = self.waits.subscribe();
        // The sender belongs to this stream.
        let _ = waits.wait_for(|waits| !waits).await;
    }

    /// Waits until the window has space. Returns false if no reader takes bytes any more.
    pub(super) async fn room(&self, shared: &Shared, budget: &mut WaitBudget) -> bool {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            let room = self.window().room();
            let began = shared.hosts.now();
            let limit = match room {
                Room::Free => return true,
                Room::NoReader => return false,
                Room::Held => budget.left(began),
                Room::Enough => IDLE,
            };
            // The sender belongs to this stream.
            let waited = tokio::time::timeout(limit, moved.changed()).await;
            match room {
                Room::Enough if waited.is_err() => return false,
                Room::Held => {
                    budget.spend(began, shared.hosts.now());
                    if waited.is_err() {
                        self.window().drop_oldest();
                    }
                }
                _ => {}
            }
        }
    }

    /// Waits until the last readers of a verified blob have finished, or take nothing any more.
    pub(super) async fn wait_for_last_readers(&self) {
        let mut moved = self.moved.subscribe();
        while !self.window().has_no_reader() {
            moved.borrow_and_update();
            if tokio::time::timeout(IDLE, moved.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Completes when no reader is left that this stream can serve.
    pub(super) async fn readers_have_left(&self) {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            if self.window().has_no_reader() {
                return;
            }
            // The sender belongs to this stream.
            let _ = moved.changed().await;
        }
    }
}
