//! The chain follower: one task that hears chaind, keeps the tip and the feerates, and tells
//! the wallet and the channels what a block means for them, in that order.
//!
//! A block is recorded after everybody has handled it; whoever handles one twice after a crash
//! must come to the same result.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::consensus::deserialize;
use bitcoin::{OutPoint, ScriptBuf, Transaction, Txid};
use ipc_messages::lightningd_chaind::{Block, Feerates, Location, ToChaind, ToLightningd};
use lightningd_db::Batch;
use tokio::sync::{mpsc, oneshot, watch};
use wire::{BlockHeight, ChannelDbid};

use crate::locate::{self, Lookups};
use crate::node::{Node, Stop};
use crate::store;
use crate::subdaemons::{Restarts, chaind};

/// What everybody may want to know of the chain at any time.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub height: BlockHeight,
    /// All blocks of the backend are processed.
    pub synced: bool,
    /// Why not, for a person.
    pub waiting: Option<String>,
    pub feerates: Feerates,
    /// The backend's own height and headers while it syncs.
    pub backend: Option<(BlockHeight, BlockHeight)>,
}

/// What a block means for a channel.
#[derive(Clone, Debug)]
pub enum ChannelNews {
    Height(BlockHeight),
    /// The funding transaction is in a block, at this place.
    FundingConfirmed {
        height: BlockHeight,
        tx_index: u32,
    },
    FundingSpent {
        tx: Transaction,
        height: BlockHeight,
    },
    /// A reorg took out all blocks from this height on.
    Disconnected {
        from: BlockHeight,
    },
}

enum Ask {
    WatchScripts(Vec<ScriptBuf>),
    WatchChannel {
        channel: ChannelDbid,
        outpoint: OutPoint,
        script: ScriptBuf,
    },
    UnwatchChannel {
        channel: ChannelDbid,
    },
    Broadcast {
        tx: Transaction,
        allow_high_fees: bool,
        done: oneshot::Sender<Result<(), String>>,
    },
}

/// The chain follower's mailbox.
#[derive(Clone)]
pub struct Handle {
    asks: mpsc::UnboundedSender<Ask>,
    view: watch::Receiver<View>,
}

/// The other end of the mailbox, until the follower runs.
pub struct Mailbox {
    asks: mpsc::UnboundedReceiver<Ask>,
    view: watch::Sender<View>,
}

/// A new mailbox. Its senders are bounded by their own callers: each waits for its answer, or
/// is a channel or an address that is watched once.
#[must_use]
pub fn mailbox(height: BlockHeight) -> (Handle, Mailbox) {
    let (asks_in, asks) = mpsc::unbounded_channel();
    let (view_in, view) = watch::channel(View {
        height,
        ..View::default()
    });
    (
        Handle {
            asks: asks_in,
            view,
        },
        Mailbox {
            asks,
            view: view_in,
        },
    )
}

impl Handle {
    #[must_use]
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    #[must_use]
    pub fn height(&self) -> BlockHeight {
        self.view.borrow().height
    }

    pub fn watch_scripts(&self, scripts: Vec<ScriptBuf>) {
        let _ = self.asks.send(Ask::WatchScripts(scripts));
    }

    pub fn watch_channel(&self, channel: ChannelDbid, outpoint: OutPoint, script: ScriptBuf) {
        let _ = self.asks.send(Ask::WatchChannel {
            channel,
            outpoint,
            script,
        });
    }

    pub fn unwatch_channel(&self, channel: ChannelDbid) {
        let _ = self.asks.send(Ask::UnwatchChannel { channel });
    }

    /// # Errors
    /// The backend's words, or that it cannot be reached.
    pub async fn broadcast(&self, tx: Transaction, allow_high_fees: bool) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let _ = self.asks.send(Ask::Broadcast {
            tx,
            allow_high_fees,
            done,
        });
        answer
            .await
            .unwrap_or_else(|_| Err("the chain backend is not reachable".to_owned()))
    }
}

/// A transaction that chaind has not answered for, whether high fees are allowed, and who waits.
type Broadcasting = (Transaction, bool, oneshot::Sender<Result<(), String>>);

/// The follower itself.
struct Follower {
    node: Arc<Node>,
    view: watch::Sender<View>,
    link: chaind::Link,
    channels: HashMap<OutPoint, (ChannelDbid, ScriptBuf)>,
    scripts: Vec<ScriptBuf>,
    broadcasts: HashMap<u64, Broadcasting>,
    next_request: u64,
    restarts: Restarts,
    lookups: Lookups,
}

/// Runs until the node stops. chaind is restarted when it dies.
pub async fn run(node: Arc<Node>, mailbox: Mailbox, link: chaind::Link) {
    let Mailbox { mut asks, view } = mailbox;
    let mut follower = Follower {
        node: node.clone(),
        view,
        link,
        channels: HashMap::new(),
        scripts: Vec::new(),
        broadcasts: HashMap::new(),
        next_request: 1,
        restarts: Restarts::default(),
        lookups: Lookups::default(),
    };
    follower.begin(&mut asks).await;
    loop {
        tokio::select! {
            biased;
            _ = node.stopped() => break,
            ask = asks.recv() => match ask {
                Some(ask) => follower.ask(ask).await,
                None => break,
            },
            said = follower.link.from.recv() => match said {
                Ok(said) => follower.said(said).await,
                Err(error) => follower.restart(&error.to_string()).await,
            },
        }
    }
    let _ = follower.link.to.send(&ToChaind::Stop).await;
}

impl Follower {
    async fn send(&mut self, message: ToChaind) {
        // A dead chaind is noticed by the receiving half, which restarts it and says all again.
        let _ = self.link.to.send(&message).await;
    }

    /// chaind reports blocks from the first Watch on: all that is known by now goes into that one.
    async fn begin(&mut self, asks: &mut mpsc::UnboundedReceiver<Ask>) {
        let mut later = Vec::new();
        while let Ok(ask) = asks.try_recv() {
            match ask {
                Ask::WatchScripts(scripts) => self.scripts.extend(scripts),
                Ask::WatchChannel {
                    channel,
                    outpoint,
                    script,
                } => {
                    self.channels.insert(outpoint, (channel, script));
                }
                other @ (Ask::UnwatchChannel { .. } | Ask::Broadcast { .. }) => later.push(other),
            }
        }
        self.watch_all().await;
        for ask in later {
            self.ask(ask).await;
        }
    }

    async fn restart(&mut self, why: &str) {
        if self.node.is_stopping() {
            return;
        }
        let how = self.link.process.ended().await;
        tracing::warn!("chaind {how} ({why}); starting it again");
        self.restarts.pause().await;
        self.view.send_modify(|view| {
            view.synced = false;
            view.waiting = Some("chaind is being restarted".to_owned());
        });
        let known = match store::chain::known(&self.node.db) {
            Ok(known) => known,
            Err(error) => return self.node.database_failed(&error),
        };
        self.link = match self.node.subdaemons.chaind(&self.node.options, known).await {
            Ok(link) => link,
            Err(error) => {
                self.node
                    .stop(Stop::Fatal(format!("chaind cannot be started: {error}")));
                return;
            }
        };
        self.watch_all().await;
        let again: Vec<_> = self
            .broadcasts
            .iter()
            .map(|(request, (tx, high, _))| (*request, tx.clone(), *high))
            .collect();
        for (request, tx, allow_high_fees) in again {
            let tx = bitcoin::consensus::serialize(&tx);
            self.send(ToChaind::Broadcast {
                request,
                tx,
                allow_high_fees,
            })
            .await;
        }
    }

    async fn watch_all(&mut self) {
        let outpoints = self.channels.keys().copied().collect();
        let mut scripts = self.scripts.clone();
        scripts.extend(self.channels.values().map(|(_, script)| script.clone()));
        self.send(ToChaind::Watch { outpoints, scripts }).await;
    }

    async fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::WatchScripts(scripts) => {
                self.scripts.extend(scripts.iter().cloned());
                self.send(ToChaind::Watch {
                    outpoints: Vec::new(),
                    scripts,
                })
                .await;
            }
            Ask::WatchChannel {
                channel,
                outpoint,
                script,
            } => {
                self.channels.insert(outpoint, (channel, script.clone()));
                self.send(ToChaind::Watch {
                    outpoints: vec![outpoint],
                    scripts: vec![script],
                })
                .await;
            }
            Ask::UnwatchChannel { channel } => {
                let gone: Vec<_> = self
                    .channels
                    .iter()
                    .filter(|(_, (dbid, _))| *dbid == channel)
                    .map(|(outpoint, _)| *outpoint)
                    .collect();
                self.channels.retain(|_, (dbid, _)| *dbid != channel);
                self.send(ToChaind::Unwatch { outpoints: gone }).await;
            }
            Ask::Broadcast {
                tx,
                allow_high_fees,
                done,
            } => {
                let request = self.next_request;
                self.next_request += 1;
                let bytes = bitcoin::consensus::serialize(&tx);
                self.broadcasts.insert(request, (tx, allow_high_fees, done));
                self.send(ToChaind::Broadcast {
                    request,
                    tx: bytes,
                    allow_high_fees,
                })
                .await;
            }
        }
    }

    /// Never waits for a name: chaind's other messages go on.
    async fn locate(&mut self, request: u64) {
        let (node, to) = (self.node.clone(), self.link.to.clone());
        let begun = self.lookups.spawn(async move {
            let location = locate::backend(&node.options).await;
            let _ = to.send(&ToChaind::Located { request, location }).await;
        });
        if begun.is_none() {
            let why = "chaind asks too often where bitcoind is".to_owned();
            let location = Location::Unknown { why };
            self.send(ToChaind::Located { request, location }).await;
        }
    }

    async fn said(&mut self, said: ToLightningd) {
        match said {
            ToLightningd::Locate { request } => self.locate(request).await,
            ToLightningd::Waiting { why } => {
                tracing::warn!("bitcoind: {why}");
                self.view.send_modify(|view| {
                    view.synced = false;
                    view.waiting = Some(why);
                });
            }
            ToLightningd::BackendSyncing { blocks, headers } => {
                self.view
                    .send_modify(|view| view.backend = Some((blocks, headers)));
            }
            ToLightningd::Synced { height } => {
                tracing::info!("synced with the chain at block {height}");
                self.view.send_modify(|view| {
                    view.synced = true;
                    view.waiting = None;
                    view.backend = None;
                    view.height = height;
                });
            }
            ToLightningd::Unusable { why } => self.node.stop(Stop::Fatal(why)),
            ToLightningd::Block(block) => self.connect(*block).await,
            ToLightningd::Rescanned(block) => drop(self.apply(&block).await),
            ToLightningd::Disconnected { height, hash } => {
                tracing::info!("block {height} {hash} was reorganized out");
                self.disconnect(height).await;
            }
            ToLightningd::Broadcast { request, error } => {
                if let Some((_, _, done)) = self.broadcasts.remove(&request) {
                    let _ = done.send(error.map_or(Ok(()), Err));
                }
            }
            ToLightningd::Feerates(feerates) => {
                self.view
                    .send_modify(|view| view.feerates = feerates.clone());
                self.node.channels.tell_all(crate::channel::Mail::Feerates);
            }
        }
    }

    async fn connect(&mut self, block: Block) {
        if !self.apply(&block).await {
            return;
        }
        let height = block.height;
        self.view.send_modify(|view| view.height = height);
        self.node
            .channels
            .tell_all(crate::channel::Mail::Chain(ChannelNews::Height(height)));
        let mut batch = Batch::new();
        store::chain::connect(&mut batch, height, block.hash);
        if let Err(error) = self.node.db.write(batch) {
            self.node.database_failed(&error);
        }
    }

    /// What a block's transactions mean for the wallet and the channels. May come again.
    async fn apply(&self, block: &Block) -> bool {
        let mut txs = Vec::with_capacity(block.txs.len());
        for tx in &block.txs {
            match deserialize::<Transaction>(&tx.tx) {
                Ok(parsed) => txs.push((tx.index, parsed)),
                Err(error) => {
                    let why = format!("chaind sent a transaction that is none: {error}");
                    self.node.stop(Stop::Fatal(why));
                    return false;
                }
            }
        }
        let height = block.height;
        let all = txs.iter().map(|(_, tx)| tx.clone()).collect();
        self.node.wallet.block(height, all).await;
        for (index, tx) in &txs {
            self.tell_channels(height, *index, tx);
        }
        true
    }

    fn tell_channels(&self, height: BlockHeight, tx_index: u32, tx: &Transaction) {
        for input in &tx.input {
            if let Some((channel, _)) = self.channels.get(&input.previous_output) {
                let news = ChannelNews::FundingSpent {
                    tx: tx.clone(),
                    height,
                };
                self.node
                    .channels
                    .tell(*channel, crate::channel::Mail::Chain(news));
            }
        }
        let txid = tx.compute_txid();
        for (channel, _) in self.funded_by(txid, tx) {
            let news = ChannelNews::FundingConfirmed { height, tx_index };
            self.node
                .channels
                .tell(channel, crate::channel::Mail::Chain(news));
        }
    }

    /// Channels whose funding output this is: outpoint and script must both be right.
    fn funded_by<'a>(
        &'a self,
        txid: Txid,
        tx: &'a Transaction,
    ) -> impl Iterator<Item = (ChannelDbid, OutPoint)> + 'a {
        (0_u32..).zip(&tx.output).filter_map(move |(vout, output)| {
            let outpoint = OutPoint { txid, vout };
            let (channel, script) = self.channels.get(&outpoint)?;
            (output.script_pubkey == *script).then_some((*channel, outpoint))
        })
    }

    async fn disconnect(&mut self, height: BlockHeight) {
        self.node.wallet.disconnect(height).await;
        let news = ChannelNews::Disconnected { from: height };
        self.node
            .channels
            .tell_all(crate::channel::Mail::Chain(news));
        self.view
            .send_modify(|view| view.height = BlockHeight(height.0.saturating_sub(1)));
        let mut batch = Batch::new();
        store::chain::disconnect(&mut batch, height);
        if let Err(error) = self.node.db.write(batch) {
            self.node.database_failed(&error);
        }
    }
}
