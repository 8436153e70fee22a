//! hsmd's key steps, asked for by many handshakes at once and answered in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use ipc_messages::edges::HsmNoise;
use ipc_messages::hsm::noise::{Reply, Request};
use ipc_transport::aio::{Receiver, Sender, UpperConn};
use tokio::sync::oneshot;
use wire::noise::{KeyStep, KeyStepReply};

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKeys {
    /// The other side does not know our id, or is no Lightning node.
    #[error("the handshake is not meant for this node")]
    BadAct,
    #[error("hsmd does not answer")]
    Gone,
}

/// Asks hsmd.
#[derive(Clone)]
pub struct Hsm {
    to: Sender<Request>,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<Reply>>>>,
}

/// Gives hsmd's answers to those who asked.
pub struct Answers {
    from: Receiver<Reply>,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<Reply>>>>,
}

#[must_use]
pub fn split(edge: UpperConn<HsmNoise>) -> (Hsm, Answers) {
    let (to, from) = edge.split();
    let waiting = Rc::default();
    (
        Hsm {
            to,
            waiting: Rc::clone(&waiting),
        },
        Answers { from, waiting },
    )
}

impl Hsm {
    /// # Errors
    /// See [`NoKeys`].
    pub async fn step(&self, step: KeyStep) -> Result<KeyStepReply, NoKeys> {
        // Sent and queued without a pause between, so that both are in one order. The edge's buffer
        // holds thousands of requests, and handshakes have a limit.
        self.to
            .try_send(&Request::Step { step })
            .map_err(|_| NoKeys::Gone)?;
        let (answer, answered) = oneshot::channel();
        self.waiting.borrow_mut().push_back(answer);
        match answered.await {
            Ok(Reply::Step { keys }) => Ok(keys),
            Ok(Reply::BadAct) => Err(NoKeys::BadAct),
            Err(_) => Err(NoKeys::Gone),
        }
    }
}

impl Answers {
    /// Runs until hsmd is gone; says how.
    pub async fn deliver(mut self) -> ipc_transport::Error {
        loop {
            match self.from.recv().await {
                Ok(reply) => {
                    // Who asked may have given up. An answer to nothing is dropped.
                    if let Some(answer) = self.waiting.borrow_mut().pop_front() {
                        let _ = answer.send(reply);
                    }
                }
                Err(error) => {
                    self.waiting.borrow_mut().clear();
                    return error;
                }
            }
        }
    }
}
