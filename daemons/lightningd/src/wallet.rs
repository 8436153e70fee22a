//! The wallet: one task that owns the coins, hands out addresses, builds transactions and has
//! hsmd sign them. What it broadcast is broadcast again with each block until it is in one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Script, ScriptBuf, Transaction, Txid, Witness};
use ipc_messages::hsm::wallet as hsm_wallet;
use ipc_messages::lightningd_chaind::NotTaken;
use lightningd_db::{Batch, Db, DbError};
use lightningd_options::Rescan;
use lightningd_wallet::{
    BuildError, Change, ChangeTo, ClaimNeed, Fund, Inputs, KeyKind, KeyRef, Policy,
    RESERVATION_BLOCKS, Recipient, Status, UnsignedTx, Utxo, UtxoSet, build_funding,
    build_withdraw, coins_for_claim,
};
use onchain::action::Coins;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tx::claim::{CoinKind, FeeCoin};
use wire::{BlockHeight, FeeratePerKw, Satoshi};

use crate::books::wallet as books;
use crate::chain;
use crate::hsm::HsmError;
use crate::mailbox::{self, Asks};
use crate::node::Node;
use crate::store;
use crate::store::moves;

mod unsent;

pub use unsent::DiscardError;

/// How many requests may wait.
const QUEUE: usize = 256;
/// For how many blocks the coins of a claim on chain are kept for it: as long as nobody says that it is
/// over, a replacement of it may need them.
const CLAIM_BLOCKS: u32 = 2016;
/// While all blocks are read anew, so many addresses beyond the last one with coins are looked for (as CLN).
const GAP: u32 = 50;
/// Coins that hsmd is told of in one request.
const SEEN_AT_ONCE: usize = 1000;

/// Why the wallet did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Hsm(#[from] HsmError),
    #[error("the signer's witness is wrong: {0}")]
    Attach(#[from] lightningd_wallet::AttachError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("this key is not signed for here")]
    NotAWalletKey,
    #[error("the node is stopping")]
    Stopping,
}

/// Why a transaction of ours is not on its way.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It was not noted, and not broadcast.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// bitcoind has refused it and nobody has it: its coins are free again.
    #[error("{0}")]
    Refused(String),
    /// Whether bitcoind has it is not known: its coins stay spent, and it is broadcast with each block.
    #[error("{0}")]
    Unknown(String),
}

/// An address index with both its scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAddress {
    pub index: u32,
    pub p2wpkh: ScriptBuf,
    pub p2tr: ScriptBuf,
}

/// What to pay and with what.
#[derive(Clone, Debug)]
pub struct Spend {
    pub recipients: Vec<Recipient>,
    pub feerate: FeeratePerKw,
    pub inputs: Inputs,
    /// See [`Policy::emergency_reserve`].
    pub emergency_reserve: Satoshi,
    /// For a channel's funding: the most that `all` may come to.
    pub funding_limit: Option<Option<Satoshi>>,
}

type Reply<T> = mailbox::Reply<Result<T, WalletError>>;

enum Ask {
    NewAddress(Reply<NewAddress>),
    Adopt(NewAddress, Reply<()>),
    Build(Spend, Reply<UnsignedTx>),
    Release(Vec<OutPoint>),
    ClaimCoins {
        need: ClaimNeed,
        given: Vec<OutPoint>,
        reply: Reply<Option<Coins>>,
    },
    FreeClaim(Vec<OutPoint>),
    Sign(Box<UnsignedTx>, Reply<Transaction>),
    Sent(Transaction, Reply<()>),
    /// One that may be given up: nobody else broadcasts it from now on.
    Doubt(Txid, mailbox::Reply<Result<Transaction, DiscardError>>),
    /// What became of it.
    Judged {
        txid: Txid,
        refused: bool,
        done: mailbox::Reply<()>,
    },
    Funds {
        spent: bool,
        reply: Reply<Vec<Fund>>,
    },
    Block(BlockHeight, Vec<(u32, Transaction)>, mailbox::Reply<()>),
    Disconnect(BlockHeight, mailbox::Reply<()>),
    BroadcastAgain,
}

#[derive(Clone)]
pub struct Handle(Asks<Ask>);

pub struct Mailbox(mpsc::Receiver<Ask>);

#[must_use]
pub fn mailbox() -> (Handle, Mailbox) {
    let (asks, mail) = mailbox::mailbox(QUEUE);
    (Handle(asks), Mailbox(mail))
}

impl Handle {
    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, WalletError> {
        let answer = self.0.ask(ask).await;
        answer.unwrap_or(Err(WalletError::Stopping))
    }

    /// # Errors
    /// hsmd refuses or the database fails.
    pub async fn new_address(&self) -> Result<NewAddress, WalletError> {
        self.ask(Ask::NewAddress).await
    }

    /// Counts an address that hsmd handed out elsewhere (a channel's shutdown script) as ours.
    ///
    /// # Errors
    /// The database fails.
    pub async fn adopt(&self, address: NewAddress) -> Result<(), WalletError> {
        self.ask(|reply| Ask::Adopt(address, reply)).await
    }

    /// Builds a transaction and reserves its coins.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(&self, spend: Spend) -> Result<UnsignedTx, WalletError> {
        self.ask(|reply| Ask::Build(spend, reply)).await
    }

    /// Gives up a transaction that was built: its coins are free again.
    pub async fn release(&self, coins: Vec<OutPoint>) {
        self.0.tell(Ask::Release(coins)).await;
    }

    /// Confirmed coins that pay for a claim on chain, reserved for it; `given` were given to it before.
    /// `None` if there are not enough.
    ///
    /// # Errors
    /// The node is stopping.
    pub async fn claim_coins(
        &self,
        need: ClaimNeed,
        given: Vec<OutPoint>,
    ) -> Result<Option<Coins>, WalletError> {
        self.ask(|reply| Ask::ClaimCoins { need, given, reply })
            .await
    }

    /// The claim needs them no more.
    pub async fn free_claim(&self, coins: Vec<OutPoint>) {
        self.0.tell(Ask::FreeClaim(coins)).await;
    }

    /// # Errors
    /// hsmd refuses, or a witness does not verify.
    pub async fn sign(&self, unsigned: UnsignedTx) -> Result<Transaction, WalletError> {
        self.ask(|reply| Ask::Sign(Box::new(unsigned), reply)).await
    }

    /// Notes a signed transaction as ours, durably, and broadcasts it. Where it is refused, that is undone before
    /// this returns: what is written to the database afterwards is never there without that.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, chain: &chain::Handle, tx: Transaction) -> Result<(), SendError> {
        let txid = tx.compute_txid();
        self.ask(|reply| Ask::Sent(tx.clone(), reply)).await?;
        let sent = chain.broadcast(tx, false).await;
        let refused = matches!(sent, Err(NotTaken { refused: true, .. }));
        self.judged(txid, refused).await;
        sent.map_err(|NotTaken { why, .. }| match refused {
            true => SendError::Refused(why),
            false => SendError::Unknown(why),
        })
    }

    /// # Errors
    /// The node is stopping.
    pub async fn funds(&self, spent: bool) -> Result<Vec<Fund>, WalletError> {
        self.ask(|reply| Ask::Funds { spent, reply }).await
    }

    /// The backend has a new block, or is back.
    pub async fn broadcast_again(&self) {
        self.0.tell(Ask::BroadcastAgain).await;
    }

    /// `txs` with their places in the block.
    pub async fn block(&self, height: BlockHeight, txs: Vec<(u32, Transaction)>) {
        let _ = self.0.ask(|done| Ask::Block(height, txs, done)).await;
    }

    pub async fn disconnect(&self, height: BlockHeight) {
        let _ = self.0.ask(|done| Ask::Disconnect(height, done)).await;
    }
}

/// The coins and addresses, as the database has them at the start.
pub struct Stored {
    set: UtxoSet,
    scripts: HashMap<ScriptBuf, KeyRef>,
}

impl Stored {
    /// As after the block that follows `tip`: it may have been begun. See [`run`].
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn load(db: &Db, tip: BlockHeight) -> Result<Stored, DbError> {
        let coins = db
            .scan::<store::wallet::Coin>()?
            .into_iter()
            .map(|(_, coin)| coin.0);
        let set = UtxoSet::restore(tip.after(1), coins);
        let mut scripts = HashMap::new();
        for (index, address) in db.scan::<store::wallet::Address>()? {
            add_scripts(&mut scripts, index, &address);
        }
        Ok(Stored { set, scripts })
    }
}

/// So many new addresses of hsmd's, to be written down: coins may have come to them since a backup was made that
/// was put back.
///
/// # Errors
/// hsmd refuses.
pub async fn take_addresses(hsm: &crate::hsm::Hsm, count: u32) -> anyhow::Result<Batch> {
    let mut batch = Batch::new();
    for _ in 0..count {
        let (index, p2wpkh, p2tr) = hsm.new_address().await?;
        batch.put(&index, &store::wallet::Address { p2wpkh, p2tr });
    }
    Ok(batch)
}

fn add_scripts(
    scripts: &mut HashMap<ScriptBuf, KeyRef>,
    index: u32,
    address: &store::wallet::Address,
) {
    let key = |kind| KeyRef::Wallet { index, kind };
    scripts.insert(address.p2wpkh.clone(), key(KeyKind::P2wpkh));
    scripts.insert(address.p2tr.clone(), key(KeyKind::P2tr));
}

/// A wallet that is read from the chain has had addresses that nobody has told this hsmd of.
///
/// # Errors
/// hsmd or the database fails.
pub async fn take_gap(node: &Node) -> Result<(), WalletError> {
    for _ in 0..GAP {
        node.wallet.new_address().await?;
    }
    Ok(())
}

struct Wallet {
    node: Arc<Node>,
    set: UtxoSet,
    scripts: HashMap<ScriptBuf, KeyRef>,
    /// What is being broadcast for the first time, or to see whether it can be given up. If that is refused it is
    /// undone, so nobody else broadcasts it meanwhile.
    in_hand: HashSet<Txid>,
    /// Broadcasts again what is in no block yet.
    broadcaster: Option<JoinHandle<()>>,
    /// What is refused, and why, as it was said.
    refused: Arc<Mutex<HashMap<Txid, String>>>,
}

/// Runs until the node stops.
pub async fn run(node: Arc<Node>, Mailbox(mut asks): Mailbox, stored: Stored) {
    let mut wallet = Wallet {
        node: node.clone(),
        set: stored.set,
        scripts: stored.scripts,
        in_hand: HashSet::new(),
        broadcaster: None,
        refused: Arc::default(),
    };
    // A death may have come between what a block meant and its own record. If another is in its place by now,
    // nobody says that it is gone; if not, it comes again.
    wallet.disconnect(node.chain.height().after(1));
    node.chain
        .watch_scripts(wallet.scripts.keys().cloned().collect());
    node.chain
        .watch_coins(wallet.set.iter().map(|coin| coin.outpoint).collect());
    wallet.begin_books();
    wallet.drop_dead();
    wallet.broadcast_again();
    wallet.tell_hsmd(wallet.set.iter()).await;
    loop {
        tokio::select! {
            _ = node.stopped() => break,
            ask = asks.recv() => match ask {
                Some(ask) => wallet.ask(ask).await,
                None => break,
            },
        }
    }
}

impl Wallet {
    async fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::NewAddress(reply) => drop(reply.send(self.new_address().await)),
            Ask::Adopt(address, reply) => drop(reply.send(self.adopt(&address).await)),
            Ask::Build(spend, reply) => drop(reply.send(self.build(spend).await)),
            Ask::Release(coins) => self.release(&coins),
            Ask::ClaimCoins { need, given, reply } => {
                let _ = reply.send(Ok(self.claim_coins(&need, &given)));
            }
            Ask::FreeClaim(coins) => {
                let changes = self.set.free(&coins);
                self.write(self.batch(&changes));
            }
            Ask::Sign(unsigned, reply) => drop(reply.send(self.sign(*unsigned).await)),
            Ask::Sent(tx, reply) => drop(reply.send(self.sent(tx).await)),
            Ask::Doubt(txid, reply) => drop(reply.send(self.doubt(txid))),
            Ask::Judged {
                txid,
                refused,
                done,
            } => {
                self.judged(txid, refused);
                let _ = done.send(());
            }
            Ask::Funds { spent, reply } => drop(reply.send(Ok(self.set.funds(spent).collect()))),
            Ask::Block(height, txs, done) => {
                self.block(height, &txs).await;
                let _ = done.send(());
            }
            Ask::BroadcastAgain => self.broadcast_again(),
            Ask::Disconnect(height, done) => {
                self.disconnect(height);
                let _ = done.send(());
            }
        }
    }

    fn write(&self, batch: Batch) {
        if let Err(error) = self.node.db.write(batch) {
            self.node.database_failed(&error);
        }
    }

    fn owner(scripts: &HashMap<ScriptBuf, KeyRef>) -> impl Fn(&Script) -> Option<KeyRef> + '_ {
        |script| scripts.get(script).cloned()
    }

    async fn new_address(&mut self) -> Result<NewAddress, WalletError> {
        let (index, p2wpkh, p2tr) = self.node.hsm.new_address().await?;
        let address = NewAddress {
            index,
            p2wpkh,
            p2tr,
        };
        self.adopt(&address).await?;
        Ok(address)
    }

    /// Watched and durable before anybody is told of it.
    async fn adopt(&mut self, address: &NewAddress) -> Result<(), WalletError> {
        let record = store::wallet::Address {
            p2wpkh: address.p2wpkh.clone(),
            p2tr: address.p2tr.clone(),
        };
        add_scripts(&mut self.scripts, address.index, &record);
        let mut batch = Batch::new();
        batch.put(&address.index, &record);
        self.node.db.commit(batch).await?;
        self.node
            .chain
            .watch_scripts(vec![record.p2wpkh, record.p2tr]);
        Ok(())
    }

    async fn build(&mut self, spend: Spend) -> Result<UnsignedTx, WalletError> {
        let change = self.new_address().await?;
        let policy = Policy {
            feerate: spend.feerate,
            inputs: spend.inputs,
            change: ChangeTo {
                key: KeyRef::Wallet {
                    index: change.index,
                    kind: KeyKind::P2tr,
                },
                script: change.p2tr,
            },
            emergency_reserve: spend.emergency_reserve,
        };
        let rng = &mut rand::thread_rng();
        let built = match (spend.funding_limit, spend.recipients.first()) {
            (Some(limit), Some(funding)) => build_funding(&self.set, funding, limit, &policy, rng)?,
            (Some(_) | None, _) => build_withdraw(&self.set, &spend.recipients, &policy, rng)?,
        };
        let reserved = self
            .set
            .reserve(&built.outpoints(), RESERVATION_BLOCKS, false);
        if let Ok((_, changes)) = reserved {
            self.write(self.batch(&changes));
        }
        Ok(built)
    }

    /// Each by itself: one that is spent by now keeps no other.
    fn release(&mut self, coins: &[OutPoint]) {
        for coin in coins {
            if let Ok((_, changes)) = self.set.unreserve(&[*coin], RESERVATION_BLOCKS) {
                self.write(self.batch(&changes));
            }
        }
    }

    fn claim_coins(&mut self, need: &ClaimNeed, given: &[OutPoint]) -> Option<Coins> {
        let picked = coins_for_claim(&self.set, need, given)?;
        let mut coins = Vec::with_capacity(picked.coins.len());
        for coin in &picked.coins {
            let KeyRef::Wallet { index, kind } = coin.key else {
                return None;
            };
            coins.push(FeeCoin {
                outpoint: coin.outpoint,
                value: coin.value,
                index,
                kind: match kind {
                    KeyKind::P2wpkh => CoinKind::P2wpkh,
                    KeyKind::P2tr => CoinKind::P2tr,
                },
            });
        }
        let tip = self.set.tip();
        let is_free = |coin: &&Utxo| !coin.is_spent() && coin.reservation(tip).is_none();
        let unreserved = picked.coins.iter().filter(is_free);
        let unreserved: Vec<OutPoint> = unreserved.map(|coin| coin.outpoint).collect();
        if let Ok((_, changes)) = self.set.reserve(&unreserved, CLAIM_BLOCKS, false) {
            self.write(self.batch(&changes));
        }
        Some(Coins {
            coins,
            fee: picked.fee,
        })
    }

    async fn sign(&mut self, unsigned: UnsignedTx) -> Result<Transaction, WalletError> {
        let coins = unsigned.inputs.iter();
        let coins = coins.map(|coin| Ok((coin.value, hsm_key(&coin.key)?)));
        let coins = coins.collect::<Result<Vec<_>, WalletError>>()?;
        let spend = hsm_wallet::Spend::of(&unsigned.tx, &coins);
        let witnesses = self.node.hsm.sign_spend(spend).await?;
        let witnesses = witnesses
            .iter()
            .map(|stack| Witness::from_slice(stack))
            .collect();
        Ok(unsigned.attach(witnesses)?)
    }

    async fn sent(&mut self, tx: Transaction) -> Result<(), WalletError> {
        let changes = self.set.add_broadcast(&tx, Self::owner(&self.scripts));
        let mut batch = self.batch(&changes);
        let key = tx.compute_txid().to_byte_array();
        self.in_hand.insert(tx.compute_txid());
        batch.put(&key, &store::wallet::WalletTx(tx));
        self.node.db.commit(batch).await?;
        Ok(())
    }

    async fn block(&mut self, height: BlockHeight, txs: &[(u32, Transaction)]) {
        let changes = self.set.apply_block(
            height,
            txs.iter().map(|(_, tx)| tx),
            Self::owner(&self.scripts),
        );
        let mut batch = self.batch(&changes);
        store::transactions::connect(&mut batch, height, txs);
        for (_, tx) in txs {
            self.note_paid_out(&mut batch, height, tx);
        }
        let db = &self.node.db;
        let all = txs.iter().map(|(_, tx)| tx);
        let noted = store::wallet::mined(db, &mut batch, height, all)
            .and_then(|()| store::wallet::drop_buried(db, &mut batch, height));
        if let Err(error) = noted {
            self.node.database_failed(&error);
        }
        self.write(batch);
        self.drop_dead();
        let changed = changes.iter().filter_map(|change| match change {
            Change::Put(coin) => Some(coin),
            Change::Remove(_) => None,
        });
        self.tell_hsmd(changed).await;
        self.keep_gap(height, &changes).await;
    }

    /// Coins at an address mean that there may be more at those after it.
    async fn keep_gap(&mut self, height: BlockHeight, changes: &[Change]) {
        if !matches!(self.node.options.rescan, Rescan::From(_)) {
            return;
        }
        let used = changes.iter().filter_map(|change| match change {
            Change::Put(coin) => index(&coin.key),
            Change::Remove(_) => None,
        });
        let Some(used) = used.max() else { return };
        let last = self.scripts.values().filter_map(index).max();
        let mut scripts = Vec::new();
        for _ in last.unwrap_or_default()..used.saturating_add(GAP) {
            match self.new_address().await {
                Ok(address) => scripts.extend([address.p2wpkh, address.p2tr]),
                // A hsmd that is gone stops the node by itself.
                Err(error) => {
                    return tracing::error!("no further addresses are looked for: {error}");
                }
            }
        }
        // chaind may be far beyond this block.
        if !scripts.is_empty() {
            self.node.chain.search_scripts(scripts, height);
        }
    }

    /// hsmd's limits may be in proportion to what the node holds, and a coin's amount is what it was
    /// at first.
    async fn tell_hsmd(&self, coins: impl Iterator<Item = &Utxo>) {
        let seen = coins.filter_map(|coin| match (&coin.status, hsm_key(&coin.key)) {
            (Status::Confirmed { .. }, Ok(key)) => Some(hsm_wallet::SeenCoin {
                outpoint: coin.outpoint,
                value: coin.value,
                key,
            }),
            // A channel's coin is not the wallet's yet, and hsmd knows its own change.
            (Status::Confirmed { .. } | Status::Unconfirmed | Status::Spent { .. }, _) => None,
        });
        let seen: Vec<_> = seen.collect();
        for coins in seen.chunks(SEEN_AT_ONCE) {
            if let Err(error) = self.node.hsm.seen(coins.to_vec()).await {
                tracing::warn!("hsmd was not told of coins: {error}");
            }
        }
    }

    fn disconnect(&mut self, height: BlockHeight) {
        let changes = match self.set.disconnect_block(height) {
            Ok(changes) => changes,
            Err(error) => return tracing::warn!("reorg: {error}"),
        };
        let mut batch = self.batch(&changes);
        for change in &changes {
            if let Change::Remove(outpoint) = change {
                self.take_back(&mut batch, books::coin_keys(*outpoint));
            }
        }
        match self
            .node
            .db
            .scan_prefix::<store::transactions::Mined>(&height.0)
        {
            Ok(mined) => mined
                .iter()
                .for_each(|(_, mined)| self.take_back(&mut batch, books::paid_out_keys(&mined.0))),
            Err(error) => self.node.database_failed(&error),
        }
        store::transactions::disconnect(&mut batch, height);
        if let Err(error) = store::wallet::unmined(&self.node.db, &mut batch, height) {
            self.node.database_failed(&error);
        }
        self.write(batch);
    }

    /// What the database is to have after a change of the set: the coins, and the moves that they tell of.
    fn batch(&self, changes: &[Change]) -> Batch {
        let mut batch = changes_batch(changes);
        let mut watch = Vec::new();
        let mut unwatch = Vec::new();
        for change in changes {
            match change {
                Change::Put(coin) => {
                    watch.push(coin.outpoint);
                    self.note_coin(&mut batch, coin);
                }
                // The moves of a coin that is dropped because it was spent long ago stay.
                Change::Remove(outpoint) => unwatch.push(*outpoint),
            }
        }
        self.node.chain.watch_coins(watch);
        self.node.chain.unwatch_coins(unwatch);
        batch
    }

    fn note_coin(&self, batch: &mut Batch, coin: &Utxo) {
        for (key, wanted) in books::of_coin(coin) {
            self.set_move(batch, key, wanted);
        }
    }

    /// What others got of our coins. A transaction with somebody else's inputs is a channel's, whose books
    /// say what its outputs are.
    fn note_paid_out(&self, batch: &mut Batch, height: BlockHeight, tx: &Transaction) {
        let mut inputs = tx.input.iter();
        if inputs.all(|input| self.set.get(&input.previous_output).is_some()) {
            let is_ours = |script: &Script| self.scripts.contains_key(script);
            for (key, moved) in books::paid_out(tx, height, is_ours) {
                self.set_move(batch, key, Some(moved));
            }
        }
    }

    fn take_back(&self, batch: &mut Batch, keys: impl IntoIterator<Item = moves::ChainKey>) {
        for key in keys {
            self.set_move(batch, key, None);
        }
    }

    fn set_move(&self, batch: &mut Batch, key: moves::ChainKey, wanted: Option<moves::ChainMove>) {
        if let Err(error) = moves::set(&self.node.db, batch, key, wanted) {
            self.node.database_failed(&error);
        }
    }

    /// The coins of a wallet from before there were books.
    fn begin_books(&self) {
        let mut batch = Batch::new();
        match moves::is_empty(&self.node.db, moves::WALLET) {
            Ok(true) => (self.set.iter()).for_each(|coin| self.note_coin(&mut batch, coin)),
            Ok(false) => return,
            Err(error) => return self.node.database_failed(&error),
        }
        self.write(batch);
    }
}

fn index(key: &KeyRef) -> Option<u32> {
    match key {
        KeyRef::Wallet { index, .. } => Some(*index),
        KeyRef::Close(_) => None,
    }
}

fn hsm_key(key: &KeyRef) -> Result<hsm_wallet::WalletKey, WalletError> {
    match key {
        KeyRef::Wallet { index, kind } => Ok(hsm_wallet::WalletKey {
            index: *index,
            kind: match kind {
                KeyKind::P2wpkh => hsm_wallet::AddressKind::P2wpkh,
                KeyKind::P2tr => hsm_wallet::AddressKind::P2tr,
            },
        }),
        KeyRef::Close(_) => Err(WalletError::NotAWalletKey),
    }
}

fn changes_batch(changes: &[Change]) -> Batch {
    let mut batch = Batch::new();
    for change in changes {
        match change {
            Change::Put(coin) => {
                let key = (coin.outpoint.txid.to_byte_array(), coin.outpoint.vout);
                batch.put(&key, &store::wallet::Coin(coin.clone()));
            }
            Change::Remove(outpoint) => {
                let key = (outpoint.txid.to_byte_array(), outpoint.vout);
                batch.delete::<store::wallet::Coin>(&key);
            }
        }
    }
    batch
}
