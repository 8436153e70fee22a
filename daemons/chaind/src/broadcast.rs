//! Transactions on their way to the network. Those that come while the backend is away wait for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bitcoin::consensus::deserialize;
use bitcoin::{OutPoint, Transaction};
use ipc_messages::lightningd_chaind::{NotTaken, ToLightningd};
use ipc_transport::Error as EdgeError;
use tokio::sync::Notify;

use crate::rpc::{Rpc, RpcError, code};
use crate::serve::Common;

/// So many transactions wait at most.
const MAX_WAITING: usize = 1000;
/// And so many bytes of them.
const MAX_BYTES: usize = 16 << 20;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// So often is a transaction tried to which the backend's answers are no answers.
const MAX_TRIES: u32 = 5;

/// A transaction to broadcast.
#[derive(Clone, Debug)]
pub struct Item {
    pub request: u64,
    pub tx: Vec<u8>,
    /// Goes with it as a package, if the backend can.
    pub parent: Option<Vec<u8>>,
    pub allow_high_fees: bool,
}

impl Item {
    fn size(&self) -> usize {
        let parent = self.parent.as_ref().map_or(0, Vec::len);
        self.tx.len().saturating_add(parent)
    }
}

/// What waits, oldest first.
#[derive(Debug, Default)]
pub struct Queue {
    items: RefCell<VecDeque<Item>>,
    bytes: Cell<usize>,
    added: Notify,
}

impl Queue {
    /// Gives the item back if too much waits already.
    ///
    /// # Errors
    /// Too much waits already: the item's request.
    pub fn push(&self, item: Item) -> Result<(), u64> {
        let bytes = self.bytes.get().saturating_add(item.size());
        let mut items = self.items.borrow_mut();
        if items.len() >= MAX_WAITING || bytes > MAX_BYTES {
            return Err(item.request);
        }
        self.bytes.set(bytes);
        items.push_back(item);
        self.added.notify_one();
        Ok(())
    }

    async fn pop(&self) -> Item {
        loop {
            if let Some(item) = self.items.borrow_mut().pop_front() {
                self.bytes.set(self.bytes.get().saturating_sub(item.size()));
                return item;
            }
            self.added.notified().await;
        }
    }
}

/// Broadcasts one after the other. Ends only with the edge.
pub async fn run(common: Rc<Common>, queue: Rc<Queue>) -> EdgeError {
    let mut rpc = common.rpc();
    loop {
        let item = queue.pop().await;
        let error = broadcast(&common, &mut rpc, &item).await;
        let answer = ToLightningd::Broadcast {
            request: item.request,
            error,
        };
        if let Err(error) = common.up.send(&answer).await {
            return error;
        }
    }
}

async fn broadcast(common: &Common, rpc: &mut Rpc, item: &Item) -> Option<NotTaken> {
    let (why, refused) = try_until_answered(common, rpc, item).await?;
    let first = first_input(item.parent.as_ref().unwrap_or(&item.tx));
    let rival = match first {
        Some(outpoint) => rpc.mempool_spender(outpoint).await.unwrap_or_else(|error| {
            tracing::debug!("who spends {outpoint} is not known: {error}");
            None
        }),
        None => None,
    };
    Some(NotTaken {
        why,
        refused,
        rival,
    })
}

/// The output that the transaction's first input spends.
fn first_input(tx: &[u8]) -> Option<OutPoint> {
    let tx: Transaction = deserialize(tx).ok()?;
    tx.input.first().map(|input| input.previous_output)
}

/// Why it is not taken, and whether that is a refusal.
async fn try_until_answered(common: &Common, rpc: &mut Rpc, item: &Item) -> Option<(String, bool)> {
    let mut tries = 0;
    loop {
        common.ready().await;
        match judge(send(rpc, item).await) {
            Verdict::Done(error) => return error.map(|why| (why, true)),
            Verdict::Wait(why) => tracing::debug!("a broadcast waits: {why}"),
            Verdict::Nonsense(why) => {
                tries += 1;
                if tries >= MAX_TRIES {
                    return Some((why, false));
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A package that is not taken as such is tried one by one: the parent may be known already, or pay
/// enough by itself.
async fn send(rpc: &mut Rpc, item: &Item) -> Result<(), RpcError> {
    let high = item.allow_high_fees;
    if let Some(parent) = &item.parent {
        match rpc.submit_package(parent, &item.tx, high).await {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => tracing::debug!("a package is not taken: {why}"),
            Err(error @ RpcError::Refused { .. }) => tracing::debug!("no package: {error}"),
            Err(error) => return Err(error),
        }
        match rpc.send_raw_transaction(parent, high).await {
            Ok(()) => {}
            Err(error @ RpcError::Refused { .. }) => tracing::debug!("the parent: {error}"),
            Err(error) => return Err(error),
        }
    }
    rpc.send_raw_transaction(&item.tx, high).await
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The network has it, or the backend's words why not.
    Done(Option<String>),
    /// The backend is away.
    Wait(String),
    /// The backend is there, but what it says is no answer.
    Nonsense(String),
}

fn judge(result: Result<(), RpcError>) -> Verdict {
    match result {
        Ok(()) => Verdict::Done(None),
        Err(RpcError::Refused { code, words, .. }) if is_known(code, &words) => Verdict::Done(None),
        Err(RpcError::Refused { code, words, .. }) => {
            Verdict::Done(Some(format!("{words} (code {code})")))
        }
        Err(error @ RpcError::Nonsense { .. }) => Verdict::Nonsense(error.to_string()),
        Err(error @ (RpcError::Http(_) | RpcError::WarmingUp(_) | RpcError::Busy(_))) => {
            Verdict::Wait(error.to_string())
        }
    }
}

/// Whether the refusal means that the transaction is where it should be.
fn is_known(code: i64, words: &str) -> bool {
    const KNOWN: [&str; 3] = [
        "txn-already-in-mempool",
        "txn-already-known",
        "txn-same-nonwitness-data-in-mempool",
    ];
    code == code::VERIFY_ALREADY_IN_UTXO_SET
        || (code == code::VERIFY_REJECTED && KNOWN.iter().any(|known| words.contains(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i64, words: &str) -> Verdict {
        let words = words.to_owned();
        judge(Err(RpcError::Refused {
            method: "sendrawtransaction",
            code,
            words,
        }))
    }

    #[test]
    fn what_is_known_or_confirmed_already_is_done() {
        let known = [
            (-27, "Transaction outputs already in utxo set"),
            (-27, "Transaction already in block chain"),
            (-26, "txn-already-known"),
            (-26, "txn-already-in-mempool"),
            (-26, "txn-same-nonwitness-data-in-mempool"),
        ];
        for (code, words) in known {
            assert_eq!(refused(code, words), Verdict::Done(None), "{words}");
        }
    }

    #[test]
    fn what_is_refused_keeps_the_backends_words() {
        let why = "bad-txns-inputs-missingorspent";
        assert_eq!(
            refused(-25, why),
            Verdict::Done(Some(format!("{why} (code -25)")))
        );
        assert_eq!(
            refused(-26, "dust"),
            Verdict::Done(Some("dust (code -26)".to_owned()))
        );
    }

    #[test]
    fn a_backend_that_starts_is_waited_for() {
        let verdict = judge(Err(RpcError::WarmingUp("Loading".to_owned())));
        assert!(matches!(verdict, Verdict::Wait(_)), "{verdict:?}");
    }

    #[test]
    fn no_more_waits_than_there_is_room_for() {
        let item = |request, length| Item {
            request,
            tx: vec![0; length],
            parent: None,
            allow_high_fees: false,
        };
        let queue = Queue::default();
        for request in 0..MAX_WAITING as u64 {
            queue.push(item(request, 1)).unwrap();
        }
        assert_eq!(queue.push(item(5000, 1)), Err(5000));
        let queue = Queue::default();
        queue.push(item(1, MAX_BYTES - 1)).unwrap();
        assert_eq!(queue.push(item(2, 2)), Err(2));
        queue.push(item(3, 1)).unwrap();
        let parent = Some(vec![0; MAX_BYTES]);
        let package = Item {
            parent,
            ..item(4, 1)
        };
        assert_eq!(Queue::default().push(package), Err(4));
    }
}
