//! What of ours is in no block: it is broadcast again and again, until a block has it or something that spends its
//! coins otherwise, or the owner gives it up and nobody has it.

use std::collections::{HashMap, HashSet};

use bitcoin::hashes::Hash;
use bitcoin::{Transaction, Txid};
use ipc_messages::lightningd_chaind::{NO_ROOM, NotTaken};
use lightningd_db::DbError;
use wire::BlockHeight;

use super::{Ask, Handle, Wallet};
use crate::chain;
use crate::store;

/// Why a transaction is not given up.
#[derive(Debug, thiserror::Error)]
pub enum DiscardError {
    #[error(
        "no transaction of this txid waits for a block: it is not ours, or in a block, or given up"
    )]
    NotWaiting,
    #[error("it is being broadcast right now")]
    InHand,
    #[error("it spends what {0} has, which waits for a block, too: that one comes first")]
    Child(Txid),
    #[error(
        "bitcoind has it in its mempool or in a block: it is on its way and cannot be given up"
    )]
    Sent,
    #[error("still syncing with bitcoin network: a block that has it may not have been read yet")]
    Syncing,
    #[error("whether bitcoind has it is not known: {0}")]
    Unknown(String),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the node is stopping")]
    Stopping,
}

impl Handle {
    /// Gives up a transaction that bitcoind refuses and has in no block: its coins are free again. Others may
    /// still have it, and it may come into a block, until one of its coins is spent otherwise.
    ///
    /// # Errors
    /// See [`DiscardError`].
    pub async fn discard(
        &self,
        chain: &chain::Handle,
        txid: Txid,
    ) -> Result<Transaction, DiscardError> {
        if !chain.view().synced {
            return Err(DiscardError::Syncing);
        }
        let doubted = self.0.ask(|reply| Ask::Doubt(txid, reply)).await;
        let tx = doubted.unwrap_or(Err(DiscardError::Stopping))?;
        // What is broadcast once more and refused is neither in the mempool nor in a block.
        let (refused, outcome) = match chain.broadcast(tx.clone(), false).await {
            Ok(()) => (false, Err(DiscardError::Sent)),
            Err(NotTaken { refused, why, .. }) if !refused || why == NO_ROOM => {
                (false, Err(DiscardError::Unknown(why)))
            }
            Err(NotTaken { .. }) => (true, Ok(tx)),
        };
        self.judged(txid, refused).await;
        outcome
    }

    /// What became of a broadcast that nobody else makes meanwhile.
    pub(super) async fn judged(&self, txid: Txid, refused: bool) {
        let judged = |done| Ask::Judged {
            txid,
            refused,
            done,
        };
        let _ = self.0.ask(judged).await; // a wallet that has ended frees nothing
    }
}

impl Wallet {
    /// Takes it into one hand. Who is broadcasting it now has no further word.
    pub(super) fn doubt(&mut self, txid: Txid) -> Result<Transaction, DiscardError> {
        let key = txid.to_byte_array();
        let stored = self.node.db.get::<store::wallet::WalletTx>(&key)?;
        let tx = stored.ok_or(DiscardError::NotWaiting)?.0;
        // Its refusal would say no more than that bitcoind lacks the other.
        let mut waiting = self.unconfirmed().into_iter().map(|tx| tx.compute_txid());
        if let Some(parent) = waiting.find(|parent| spends_from(&tx, parent)) {
            return Err(DiscardError::Child(parent));
        }
        if !self.in_hand.insert(txid) {
            return Err(DiscardError::InHand);
        }
        if let Some(broadcaster) = self.broadcaster.take() {
            broadcaster.abort();
        }
        Ok(tx)
    }

    pub(super) fn judged(&mut self, txid: Txid, refused: bool) {
        self.in_hand.remove(&txid);
        // A block may have it since.
        let waits = |tx: &Transaction| tx.compute_txid() == txid;
        if refused && self.unconfirmed().iter().any(waits) {
            self.abandon(txid);
        }
    }

    /// Nobody will ever take this transaction, nor what spends its outputs: the coins are free again.
    fn abandon(&mut self, txid: Txid) {
        let mut gone = HashSet::from([txid]);
        for tx in parents_first(self.unconfirmed()) {
            let mut inputs = tx.input.iter();
            if inputs.any(|input| gone.contains(&input.previous_output.txid)) {
                gone.insert(tx.compute_txid());
            }
        }
        let changes = self.set.abandon(txid);
        let mut batch = self.batch(&changes);
        for txid in gone {
            self.forget_refusal(txid);
            batch.delete::<store::wallet::WalletTx>(&txid.to_byte_array());
        }
        self.write(batch);
    }

    /// Those that can be in no block any more: another transaction in one has spent their coins, or those of what
    /// they spend. They come back if a reorganization takes that block out.
    pub(super) fn drop_dead(&mut self) {
        let mut dead: HashMap<Txid, BlockHeight> = HashMap::new();
        for tx in parents_first(self.unconfirmed()) {
            let txid = tx.compute_txid();
            let mut inputs = tx.input.iter();
            let of_parent = inputs.find_map(|input| dead.get(&input.previous_output.txid).copied());
            let Some(height) = of_parent.or_else(|| self.set.conflict(&tx)) else {
                continue;
            };
            // Who has it in hand hears that it is refused.
            if self.in_hand.contains(&txid) {
                continue;
            }
            tracing::warn!(
                "our transaction {txid} is given up: another in block {} has spent its coins",
                height.0
            );
            dead.insert(txid, height);
            self.forget_refusal(txid);
            let changes = self.set.abandon(txid);
            let mut batch = self.batch(&changes);
            store::wallet::settled(&mut batch, height, tx);
            self.write(batch);
        }
    }

    fn forget_refusal(&self, txid: Txid) {
        if let Ok(mut said) = self.refused.lock() {
            said.remove(&txid);
        }
    }

    fn unconfirmed(&self) -> Vec<Transaction> {
        store::wallet::unconfirmed(&self.node.db).unwrap_or_else(|error| {
            self.node.database_failed(&error);
            Vec::new()
        })
    }

    /// At the start, with each block and when the backend is back: what is in no block yet may have been
    /// forgotten by everybody, and what was refused may be taken at other times.
    pub(super) fn broadcast_again(&mut self) {
        let busy = self.broadcaster.as_ref();
        if busy.is_some_and(|task| !task.is_finished()) {
            return;
        }
        let mut stored = self.unconfirmed();
        stored.retain(|tx| !self.in_hand.contains(&tx.compute_txid()));
        if stored.is_empty() {
            return;
        }
        let (chain, refused) = (self.node.chain.clone(), self.refused.clone());
        self.broadcaster = Some(tokio::spawn(async move {
            for tx in parents_first(stored) {
                let txid = tx.compute_txid();
                let Err(NotTaken { why, .. }) = chain.broadcast(tx, false).await else {
                    continue;
                };
                let is_new = |before: Option<String>| before.as_ref() != Some(&why);
                if refused
                    .lock()
                    .is_ok_and(|mut all| is_new(all.insert(txid, why.clone())))
                {
                    tracing::warn!(
                        "our transaction {txid} is not taken: {why}; tried again with each block, until \
                         `lightning-cli txdiscard {txid}` gives it up"
                    );
                }
            }
        }));
    }
}

fn spends_from(tx: &Transaction, parent: &Txid) -> bool {
    let mut inputs = tx.input.iter();
    inputs.any(|input| input.previous_output.txid == *parent)
}

/// Nobody takes a transaction before those whose outputs it spends.
fn parents_first(mut left: Vec<Transaction>) -> Vec<Transaction> {
    let mut sorted = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waiting: HashSet<Txid> = left.iter().map(Transaction::compute_txid).collect();
        let waits = |tx: &Transaction| {
            let mut inputs = tx.input.iter();
            inputs.any(|input| waiting.contains(&input.previous_output.txid))
        };
        let (later, now) = left.into_iter().partition(waits);
        left = later;
        sorted.extend::<Vec<Transaction>>(now);
    }
    sorted
}
