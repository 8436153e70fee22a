//! The chain follower: one task that hears chaind, keeps the tip and the feerates, and tells
//! the wallet and the channels what a block means for them, in that order.
//!
//! A block is recorded after everybody has handled it; whoever handles one twice after a crash
//! must come to the same result.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::consensus::deserialize;
use bitcoin::{OutPoint, ScriptBuf, Transaction, Txid};
use headers::BranchHash;
use ipc_messages::lightningd_chaind::{Block, BlockTx, Location, ToChaind, ToLightningd};
use lightningd_db::Batch;
use lightningd_options::Rescan;
use tokio::sync::{mpsc, watch};
use wire::{BlockHeight, ChannelDbid};

use super::{Ask, Broadcasting, ChannelNews, Mailbox, Searching, View, rescanned_from};
use crate::channel::Mail;
use crate::locate::{self, Lookups};
use crate::node::{Node, Stop};
use crate::store;
use crate::subdaemons::{Restarts, chaind};
use crate::tip::{Proof, Tip};

/// The follower itself.
struct Follower {
    node: Arc<Node>,
    view: watch::Sender<View>,
    link: chaind::Link,
    /// Funding outputs.
    channels: HashMap<OutPoint, (ChannelDbid, ScriptBuf)>,
    /// Outputs of transactions that follow from a spent one.
    outputs: HashMap<OutPoint, ChannelDbid>,
    /// The wallet's.
    coins: HashSet<OutPoint>,
    scripts: Vec<ScriptBuf>,
    broadcasts: BTreeMap<u64, Broadcasting>,
    searches: BTreeMap<u64, Searching>,
    next_request: u64,
    restarts: Restarts,
    lookups: Lookups,
    tip: Tip,
    /// Transactions of a block of which the rest is still to come.
    parts: Vec<BlockTx>,
}

/// Runs until the node stops. chaind is restarted when it dies.
pub async fn run(node: Arc<Node>, mailbox: Mailbox, link: chaind::Link) {
    let Mailbox { mut asks, view } = mailbox;
    let mut follower = Follower {
        node: node.clone(),
        view,
        link,
        channels: HashMap::new(),
        outputs: HashMap::new(),
        coins: HashSet::new(),
        scripts: Vec::new(),
        broadcasts: BTreeMap::new(),
        searches: BTreeMap::new(),
        next_request: 1,
        restarts: Restarts::default(),
        lookups: Lookups::default(),
        tip: Tip::new(node.hsm.tip.clone()),
        parts: Vec::new(),
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
                Ask::WatchCoins(coins) => self.coins.extend(coins),
                Ask::WatchChannel {
                    channel,
                    outpoint,
                    script,
                } => {
                    self.channels.insert(outpoint, (channel, script));
                }
                other @ (Ask::Search { .. }
                | Ask::SearchScripts { .. }
                | Ask::UnwatchChannel { .. }
                | Ask::UnwatchCoins(_)
                | Ask::Broadcast(_)) => later.push(other),
            }
        }
        // A hsmd that is gone stops the node by itself.
        let _ = self.tip.begin().await;
        self.watch_all().await;
        self.search_last_blocks().await;
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
        self.tip.forgotten();
        self.parts.clear();
        self.watch_all().await;
        let searches = self.searches.iter();
        let mut again: Vec<_> = searches.map(|(n, search)| search.message(*n)).collect();
        let broadcasts = self.broadcasts.iter();
        again.extend(broadcasts.map(|(n, broadcast)| broadcast.message(*n)));
        for message in again {
            self.send(message).await;
        }
    }

    /// At the start: a block is noted when the channels were told of it, which is before they have
    /// handled it. What the last ones meant for channels is told again.
    async fn search_last_blocks(&mut self) {
        let channels = self.channels.values().map(|(_, script)| script);
        // Who names a block has coins that the wallet does not know.
        let wallet = match self.node.options.rescan {
            Rescan::Blocks(_) => &[][..],
            Rescan::From(_) => &self.scripts,
        };
        let outpoints = self.channels.keys().chain(&self.coins);
        let outpoints: Vec<_> = outpoints.copied().collect();
        let scripts: Vec<_> = channels.chain(wallet).cloned().collect();
        // Without a block that was processed all from there on are still to come.
        let nothing = outpoints.is_empty() && scripts.is_empty();
        if nothing || self.view.borrow().height == BlockHeight::ZERO {
            return;
        }
        for (outpoints, scripts) in ToChaind::searchable(&outpoints, &scripts) {
            self.search(Searching {
                asker: None,
                outpoints,
                scripts,
                since: rescanned_from(&self.node),
            })
            .await;
        }
    }

    async fn search(&mut self, search: Searching) {
        let request = self.next_request;
        self.next_request += 1;
        let message = search.message(request);
        self.searches.insert(request, search);
        self.send(message).await;
    }

    async fn watch_all(&mut self) {
        let channels = self.channels.keys().copied();
        let others = self.outputs.keys().chain(&self.coins).copied();
        let outpoints: Vec<_> = channels.chain(others).collect();
        let mut scripts = self.scripts.clone();
        scripts.extend(self.channels.values().map(|(_, script)| script.clone()));
        self.watch(&outpoints, &scripts).await;
    }

    async fn watch(&mut self, outpoints: &[OutPoint], scripts: &[ScriptBuf]) {
        for message in ToChaind::watch(outpoints, scripts) {
            self.send(message).await;
        }
    }

    async fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::WatchScripts(scripts) => {
                self.watch(&[], &scripts).await;
                self.scripts.extend(scripts);
            }
            Ask::WatchCoins(coins) => {
                let new = coins.into_iter().filter(|coin| self.coins.insert(*coin));
                let outpoints: Vec<_> = new.collect();
                if !outpoints.is_empty() {
                    self.watch(&outpoints, &[]).await;
                }
            }
            Ask::UnwatchCoins(coins) => {
                for coin in &coins {
                    self.coins.remove(coin);
                }
                self.send(ToChaind::Unwatch { outpoints: coins }).await;
            }
            Ask::WatchChannel {
                channel,
                outpoint,
                script,
            } => {
                self.watch(&[outpoint], std::slice::from_ref(&script)).await;
                self.channels.insert(outpoint, (channel, script));
            }
            Ask::Search {
                channel,
                search,
                outpoints,
                since,
            } => {
                // A funding output is watched already.
                let funding = |outpoint: &&OutPoint| self.channels.contains_key(outpoint);
                let outputs = outpoints.iter().filter(|outpoint| !funding(outpoint));
                let outputs: Vec<_> = outputs.map(|outpoint| (*outpoint, channel)).collect();
                self.outputs.extend(outputs);
                self.search(Searching {
                    asker: Some((channel, search)),
                    outpoints,
                    scripts: Vec::new(),
                    since,
                })
                .await;
            }
            Ask::SearchScripts { scripts, since } => {
                self.search(Searching {
                    asker: None,
                    outpoints: Vec::new(),
                    scripts,
                    since,
                })
                .await;
            }
            Ask::UnwatchChannel { channel } => self.unwatch(channel).await,
            Ask::Broadcast(broadcast) => {
                let request = self.next_request;
                self.next_request += 1;
                let message = broadcast.message(request);
                self.broadcasts.insert(request, broadcast);
                self.send(message).await;
            }
        }
    }

    async fn unwatch(&mut self, channel: ChannelDbid) {
        let funding = self.channels.iter().map(|(out, (dbid, _))| (*out, *dbid));
        let others = self.outputs.iter().map(|(out, dbid)| (*out, *dbid));
        let all = funding.chain(others);
        let gone: Vec<_> = all
            .filter(|(_, dbid)| *dbid == channel)
            .map(|(outpoint, _)| outpoint)
            .collect();
        self.channels.retain(|_, (dbid, _)| *dbid != channel);
        self.outputs.retain(|_, dbid| *dbid != channel);
        self.send(ToChaind::Unwatch { outpoints: gone }).await;
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
                let news = ChannelNews::Synced;
                self.node.channels.tell_all(Mail::Chain(news));
                self.node.wallet.broadcast_again().await;
            }
            ToLightningd::Unusable { why } => self.node.stop(Stop::Fatal(why)),
            ToLightningd::Part(part) => self.part(*part),
            ToLightningd::Block(block) => self.connect(*block).await,
            ToLightningd::Rescanned(block) => drop(self.apply(&block).await),
            ToLightningd::Searched { request } => {
                let _ = self.tip.prove().await;
                self.tell_proved();
                self.searched(request);
            }
            ToLightningd::Headers { request, headers } => {
                let more = self.tip.filled(request, &headers).await;
                // A hsmd that is gone stops the node by itself, here and below.
                self.ask_headers(more.unwrap_or_default()).await;
                self.tell_proved();
            }
            ToLightningd::Disconnected { height, hash } => {
                tracing::info!("block {height} {hash} was reorganized out");
                self.disconnect(height).await;
            }
            ToLightningd::Broadcast { request, error } => {
                if let Some(broadcast) = self.broadcasts.remove(&request) {
                    let _ = broadcast.done.send(error.map_or(Ok(()), Err));
                }
            }
            ToLightningd::Feerates(feerates) => {
                self.view
                    .send_modify(|view| view.feerates = feerates.clone());
                self.node.channels.tell_all(Mail::Feerates);
            }
        }
    }

    async fn ask_headers(&mut self, from: Option<BlockHeight>) {
        let Some(from) = from else { return };
        let request = self.next_request;
        self.next_request += 1;
        self.tip.asked(request, from);
        self.send(ToChaind::Headers { request, from }).await;
    }

    fn tell_proved(&self) {
        let proved = self.tip.proved();
        if self.view.borrow().proved != proved {
            self.view.send_modify(|view| view.proved = proved);
            let news = ChannelNews::Proved;
            self.node.channels.tell_all(Mail::Chain(news));
        }
    }

    fn searched(&mut self, request: u64) {
        let search = self.searches.remove(&request);
        if let Some((channel, search)) = search.and_then(|search| search.asker) {
            let news = ChannelNews::Searched { search };
            self.node.channels.tell(channel, Mail::Chain(news));
        }
    }

    /// Kept until the rest of the block comes.
    fn part(&mut self, part: Block) {
        self.parts.extend(part.txs);
        let size = self.parts.iter().map(BlockTx::size).sum::<usize>();
        if size > Block::MOST {
            let why = "chaind sent more than a block holds".to_owned();
            self.node.stop(Stop::Fatal(why));
        }
    }

    async fn connect(&mut self, mut block: Block) {
        block.txs.splice(..0, self.parts.drain(..));
        if !self.apply(&block).await {
            return;
        }
        let height = block.height;
        // hsmd first: who hears of the block may ask it for what follows from it.
        let missing = self.tip.block(&block).await;
        self.ask_headers(missing.unwrap_or_default()).await;
        let proved = self.tip.proved();
        self.view.send_modify(|view| {
            view.height = height;
            view.proved = proved;
        });
        self.node
            .channels
            .tell_all(Mail::Chain(ChannelNews::Height(height)));
        let mut batch = Batch::new();
        store::chain::connect(&mut batch, height, block.hash);
        if let Err(error) = self.node.db.write(batch) {
            self.node.database_failed(&error);
        }
        if self.view.borrow().synced {
            self.node.wallet.broadcast_again().await;
        }
    }

    /// What a block's transactions mean for the wallet and the channels. May come again.
    async fn apply(&mut self, block: &Block) -> bool {
        let mut txs = Vec::with_capacity(block.txs.len());
        for tx in &block.txs {
            match deserialize::<Transaction>(&tx.tx) {
                Ok(parsed) => txs.push((tx.index, parsed, &tx.branch)),
                Err(error) => {
                    let why = format!("chaind sent a transaction that is none: {error}");
                    self.node.stop(Stop::Fatal(why));
                    return false;
                }
            }
        }
        let height = block.height;
        let all = txs.iter().map(|(at, tx, _)| (*at, tx.clone())).collect();
        self.node.wallet.block(height, all).await;
        for (index, tx, branch) in &txs {
            self.tell_hsmd(height, *index, tx, branch);
            self.tell_channels(height, *index, tx);
        }
        true
    }

    /// What spends a channel is to be proved to hsmd.
    fn tell_hsmd(
        &mut self,
        height: BlockHeight,
        index: u32,
        tx: &Transaction,
        branch: &[BranchHash],
    ) {
        let mut told = BTreeSet::new();
        for input in &tx.input {
            let spent = &input.previous_output;
            let funding = self.channels.get(spent).map(|(channel, _)| *channel);
            let Some(channel) = funding.or_else(|| self.outputs.get(spent).copied()) else {
                continue;
            };
            if told.insert(channel) {
                let proof = Proof {
                    channel,
                    tx: tx.clone(),
                    height,
                    index,
                    branch: branch.to_vec(),
                };
                self.tip.spent(proof, funding.is_some());
            }
        }
    }

    fn tell_channels(&self, height: BlockHeight, tx_index: u32, tx: &Transaction) {
        let mut told = BTreeSet::new();
        for input in &tx.input {
            let spent = &input.previous_output;
            let tx = tx.clone();
            if let Some((channel, _)) = self.channels.get(spent) {
                let news = ChannelNews::FundingSpent { tx, height };
                self.node.channels.tell(*channel, Mail::Chain(news));
            } else if let Some(channel) = self.outputs.get(spent)
                && told.insert(*channel)
            {
                let news = ChannelNews::Spent { tx, height };
                self.node.channels.tell(*channel, Mail::Chain(news));
            }
        }
        let txid = tx.compute_txid();
        for (channel, _) in self.funded_by(txid, tx) {
            let news = ChannelNews::FundingConfirmed { height, tx_index };
            self.node.channels.tell(channel, Mail::Chain(news));
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
        self.tip.disconnected(height);
        self.node.wallet.disconnect(height).await;
        let news = ChannelNews::Disconnected { from: height };
        self.node.channels.tell_all(Mail::Chain(news));
        self.view.send_modify(|view| view.height = height.before(1));
        let mut batch = Batch::new();
        store::chain::disconnect(&mut batch, height);
        if let Err(error) = self.node.db.write(batch) {
            self.node.database_failed(&error);
        }
    }
}
