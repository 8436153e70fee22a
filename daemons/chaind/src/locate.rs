//! Asking lightningd where the backend is now.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use ipc_messages::lightningd_chaind::{Location, ToLightningd};
use ipc_transport::aio::Sender;
use tokio::sync::oneshot;

/// Who asks, and who waits for an answer.
pub struct Locator {
    up: Sender<ToLightningd>,
    last: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Location>>>,
}

impl std::fmt::Debug for Locator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Locator({} wait)", self.waiting.borrow().len())
    }
}

impl Locator {
    pub fn new(up: Sender<ToLightningd>) -> Locator {
        Locator {
            up,
            last: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Waits for lightningd's answer. Dropped while it waits, it no longer waits.
    pub async fn locate(&self) -> Location {
        let gone = |_| Location::Unknown {
            why: "lightningd does not say where bitcoind is".to_owned(),
        };
        let request = self.last.get().wrapping_add(1);
        self.last.set(request);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            waiting.retain(|_, answer| !answer.is_closed());
            waiting.insert(request, answer);
        }
        if self
            .up
            .send(&ToLightningd::Locate { request })
            .await
            .is_err()
        {
            self.waiting.borrow_mut().remove(&request);
        }
        answered.await.unwrap_or_else(gone)
    }

    /// lightningd's answer.
    pub fn located(&self, request: u64, location: Location) {
        if let Some(answer) = self.waiting.borrow_mut().remove(&request) {
            // Who asked may no longer wait.
            let _ = answer.send(location);
        }
    }
}
