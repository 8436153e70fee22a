//! What lightningd is told: one queue, so that a peer's Connected, messages and Disconnected stay in
//! order. To tell it never waits; a message of a peer does.

use std::cell::RefCell;
use std::collections::VecDeque;

use ipc_messages::lightningd_connectd::ToLightningd;
use ipc_transport::aio::Sender;
use tokio::sync::Notify;

/// The queue.
pub struct Up {
    to: Sender<ToLightningd>,
    /// Events have no limit of their own: there are a few for each connection and one for each
    /// request.
    queue: RefCell<VecDeque<ToLightningd>>,
    limit: usize,
    work: Notify,
    room: Notify,
}

impl Up {
    /// At most `limit` messages of peers wait.
    #[must_use]
    pub fn new(to: Sender<ToLightningd>, limit: usize) -> Up {
        Up {
            to,
            queue: RefCell::default(),
            limit,
            work: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Queues an event of ours.
    pub fn tell(&self, event: ToLightningd) {
        self.queue.borrow_mut().push_back(event);
        self.work.notify_one();
    }

    /// Queues what a peer caused, waiting while too much is queued. Dropped while it waits, it has
    /// queued nothing.
    pub async fn offer(&self, event: ToLightningd) {
        loop {
            // From here on no notification is missed.
            let room = self.room.notified();
            if self.queue.borrow().len() < self.limit {
                return self.tell(event);
            }
            room.await;
        }
    }

    /// Sends what is queued, for as long as lightningd is there. Dropped while it waits, it has lost
    /// nothing.
    pub async fn pump(&self) {
        loop {
            self.drain().await;
            self.work.notified().await;
        }
    }

    /// Sends the rest, before the process ends.
    pub async fn finish(&self) {
        self.drain().await;
        // That lightningd is gone shows where it is heard.
        let _ = self.to.flush().await;
    }

    async fn drain(&self) {
        loop {
            let next = self.queue.borrow().front().cloned();
            let Some(event) = next else { return };
            if let Err(error) = self.to.send(&event).await {
                tracing::debug!("lightningd is not told: {error}");
            }
            self.queue.borrow_mut().pop_front();
            self.room.notify_waiters();
        }
    }
}
