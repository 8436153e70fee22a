//! What names stand for: lightningd is asked, since connectd asks no name service.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use ipc_messages::lightningd_connectd::{Resolved, ToLightningd};
use tokio::sync::oneshot;

use crate::up::Up;

/// Who waits for an answer.
pub struct Names {
    up: Rc<Up>,
    last: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Resolved>>>,
}

impl Names {
    #[must_use]
    pub fn new(up: Rc<Up>) -> Names {
        Names {
            up,
            last: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Asks for this host:port. Dropped while it waits, it no longer waits.
    pub async fn resolve(&self, name: &str) -> Resolved {
        let (answer, answered) = oneshot::channel();
        let request = self.last.get().wrapping_add(1);
        self.last.set(request);
        {
            let mut waiting = self.waiting.borrow_mut();
            waiting.retain(|_, answer| !answer.is_closed());
            waiting.insert(request, answer);
        }
        let name = name.to_owned();
        self.up.tell(ToLightningd::Resolve { request, name });
        answered.await.unwrap_or_else(|_| Resolved::Failed {
            why: "nobody answered".to_owned(),
        })
    }

    /// lightningd's answer.
    pub fn resolved(&self, request: u64, found: Resolved) {
        if let Some(answer) = self.waiting.borrow_mut().remove(&request) {
            // Who asked may no longer wait.
            let _ = answer.send(found);
        }
    }
}
