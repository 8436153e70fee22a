//! Following the chain, from one trouble of the backend to the next. The chain's blocks, Rescanned
//! and Disconnected are sent from here and from nowhere else, so that their order is that of the
//! chain.

use std::rc::Rc;
use std::time::Duration;

use bitcoin::consensus::serialize;
use ipc_messages::lightningd_chaind::{Begin, Block, Start, ToLightningd};
use ipc_transport::Error as EdgeError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use wire::BlockHeight;

use crate::fees::Fees;
use crate::follow::{Chain, DEEP, Position, Recent, report};
use crate::rpc::{ChainInfo, Fetched, Rpc, RpcError, Tip};
use crate::serve::Common;
use crate::watch::{Change, Search, Watched};

/// Between two tries of a backend that does not answer, and two looks at one that syncs.
const PAUSE: Duration = Duration::from_millis(500);
/// Headers come before their blocks, and one whose block never comes must not stop us.
const HEADERS_AHEAD: u32 = 2;
/// Most headers in one answer.
const MAX_HEADERS: usize = 2016;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error(
        "bitcoind's chain ends at block {blocks}, but block {lowest} was processed long ago: \
         waiting until it is further. Is it the right bitcoind?"
    )]
    Below { blocks: u32, lowest: BlockHeight },
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Edge(#[from] EdgeError),
}

/// Who follows the chain.
pub struct Follower {
    common: Rc<Common>,
    rpc: Rpc,
    chain_name: String,
    begin: Begin,
    retry: Duration,
    chain: Chain,
    recent: Recent,
    watched: Watched,
    changes: mpsc::UnboundedReceiver<Change>,
    /// What is still to be found in older blocks.
    searches: Vec<Search>,
    /// From which height on headers are wanted, and by which name.
    headers: Option<(u64, BlockHeight)>,
    /// The first Watch has come.
    following: bool,
    fees: Fees,
    told: Told,
}

/// What lightningd was told last of the backend's state.
#[derive(Debug)]
enum Told {
    Nothing,
    Waiting {
        why: String,
        at: Instant,
    },
    Syncing {
        blocks: BlockHeight,
        headers: BlockHeight,
    },
    Synced,
}

impl Follower {
    pub fn new(
        common: Rc<Common>,
        start: Start,
        changes: mpsc::UnboundedReceiver<Change>,
    ) -> Follower {
        Follower {
            rpc: common.rpc(),
            common,
            chain_name: start.chain,
            begin: start.begin,
            retry: Duration::from_secs(start.retry.max(1)),
            chain: Chain::new(start.known),
            recent: Recent::default(),
            watched: Watched::default(),
            changes,
            searches: Vec::new(),
            headers: None,
            following: false,
            fees: Fees::new(),
            told: Told::Nothing,
        }
    }

    /// Ends only with the edge.
    pub async fn run(mut self) -> EdgeError {
        loop {
            let Err(trouble) = self.session().await;
            self.common.set_ready(false);
            let said = match trouble {
                Trouble::Edge(error) => return error,
                Trouble::Unusable(why) => match self.say(ToLightningd::Unusable { why }).await {
                    // lightningd will stop.
                    Ok(()) => std::future::pending().await,
                    Err(error) => Err(error),
                },
                Trouble::Rpc(_) | Trouble::Below { .. } => self.waiting(trouble.to_string()).await,
            };
            if let Err(error) = said {
                return error;
            }
            sleep(PAUSE).await;
        }
    }

    async fn say(&self, message: ToLightningd) -> Result<(), EdgeError> {
        self.common.up.send(&message).await
    }

    /// Says why nothing goes on: at once, then after each time of retry.
    async fn waiting(&mut self, why: String) -> Result<(), EdgeError> {
        if let Told::Waiting { why: told, at } = &self.told
            && *told == why
            && at.elapsed() < self.retry
        {
            return Ok(());
        }
        self.told = Told::Waiting {
            why: why.clone(),
            at: Instant::now(),
        };
        self.say(ToLightningd::Waiting { why }).await
    }

    async fn session(&mut self) -> Result<std::convert::Infallible, Trouble> {
        let info = self.rpc.chain_info().await?;
        self.check(&info)?;
        self.ask_fees().await?;
        self.take_as_ready(&info);
        loop {
            self.give_headers().await?;
            if self.following {
                self.catch_up().await?;
            }
            if self.fees.is_due() {
                self.ask_fees().await?;
            }
            self.idle().await?;
        }
    }

    /// Until there is something to do.
    async fn idle(&mut self) -> Result<(), Trouble> {
        let syncing = matches!(self.told, Told::Syncing { .. });
        tokio::select! {
            () = self.common.wake.notified() => {}
            Some(change) = self.changes.recv() => self.change(change).await?,
            () = sleep_until(self.fees.due()) => {}
            // Headers come without a block.
            () = sleep(PAUSE), if syncing => {}
        }
        Ok(())
    }

    fn check(&self, info: &ChainInfo) -> Result<(), Trouble> {
        match info.chain == self.chain_name {
            true => Ok(()),
            false => Err(Trouble::Unusable(format!(
                "bitcoind is on the chain `{}`, not on `{}`: is it the right one? (options network, \
                 bitcoin-rpcconnect, bitcoin-rpcport)",
                info.chain
                    .chars()
                    .take(20)
                    .collect::<String>()
                    .escape_default(),
                self.chain_name
            ))),
        }
    }

    /// Lets broadcasts go out, unless the backend has yet to find blocks that we have seen: it does
    /// not know what is in them and would refuse what spends it.
    fn take_as_ready(&self, info: &ChainInfo) {
        self.common
            .set_ready(match self.chain.position(info.tip()) {
                Position::CaughtUp | Position::Follow | Position::Unknown => true,
                Position::Behind { .. } | Position::Below { .. } => false,
            });
    }

    /// Follows to the end of the backend's chain.
    async fn catch_up(&mut self) -> Result<(), Trouble> {
        loop {
            let info = self.rpc.chain_info().await?;
            self.check(&info)?;
            self.take_as_ready(&info);
            match self.chain.position(info.tip()) {
                Position::CaughtUp => {
                    self.search().await?;
                    return match self.syncs(&info) {
                        true => self.syncing(&info, BlockHeight(info.headers)).await,
                        false => self.synced(&info).await,
                    };
                }
                Position::Behind { ours } => return self.syncing(&info, ours).await,
                Position::Below { lowest } => {
                    return Err(Trouble::Below {
                        blocks: info.blocks,
                        lowest,
                    });
                }
                // Nothing says yet where the end is from which to count back.
                Position::Unknown if self.syncs(&info) => {
                    return self.syncing(&info, BlockHeight(info.headers)).await;
                }
                Position::Unknown => {
                    let tip = BlockHeight(info.blocks);
                    self.chain.begin_at(match self.begin {
                        Begin::Below(blocks) => tip.before(blocks),
                        Begin::At(height) => height.min(tip),
                    });
                }
                Position::Follow => {
                    if self.syncs(&info) {
                        self.syncing(&info, BlockHeight(info.headers)).await?;
                    }
                    self.leave_fork().await?;
                    self.fetch(&info).await?;
                }
            }
        }
    }

    /// Whether the backend is behind the network. A regtest without a new block for a day is not.
    fn syncs(&self, info: &ChainInfo) -> bool {
        (info.initialblockdownload && !self.common.regtest)
            || info.headers.saturating_sub(info.blocks) > HEADERS_AHEAD
    }

    async fn syncing(&mut self, info: &ChainInfo, to: BlockHeight) -> Result<(), Trouble> {
        let blocks = BlockHeight(info.blocks);
        let headers = to.max(BlockHeight(info.headers));
        let told = matches!(&self.told, Told::Syncing { blocks: b, headers: h }
            if (*b, *h) == (blocks, headers));
        if !told {
            self.told = Told::Syncing { blocks, headers };
            self.say(ToLightningd::BackendSyncing { blocks, headers })
                .await?;
        }
        Ok(())
    }

    /// Said again when the backend may be another process than before: what it knew of is to be broadcast again.
    async fn synced(&mut self, info: &ChainInfo) -> Result<(), Trouble> {
        let interrupted = self.common.was_interrupted();
        if interrupted || !matches!(self.told, Told::Synced) {
            self.told = Told::Synced;
            self.say(ToLightningd::Synced {
                height: BlockHeight(info.blocks),
            })
            .await?;
        }
        Ok(())
    }

    /// Takes our blocks that are not on the backend's chain out, the highest first.
    async fn leave_fork(&mut self) -> Result<(), Trouble> {
        let mut keep = self.chain.len();
        while let Some(ours) = keep.checked_sub(1).and_then(|below| self.chain.get(below)) {
            if self.rpc.block_hash(ours.height).await? == Some(ours.hash) {
                break;
            }
            keep -= 1;
        }
        if keep == 0 && self.chain.len() >= DEEP {
            return Err(Trouble::Unusable(format!(
                "none of the last {} blocks that were processed is on bitcoind's chain: it is not \
                 the chain that this node was on",
                self.chain.len()
            )));
        }
        for Tip { height, hash } in self.chain.cut(keep) {
            self.recent.forget(Tip { height, hash });
            self.say(ToLightningd::Disconnected { height, hash })
                .await?;
        }
        Ok(())
    }

    /// Reports the blocks up to `info`'s tip. May end before it, if a reorg comes between.
    async fn fetch(&mut self, info: &ChainInfo) -> Result<(), Trouble> {
        while let Some(height) = self.chain.next().filter(|height| height.0 <= info.blocks) {
            if info.pruned && info.pruneheight.is_some_and(|kept| height.0 < kept) {
                return Err(pruned(height));
            }
            let Some(hash) = self.rpc.block_hash(height).await? else {
                return Ok(());
            };
            let block = match self.rpc.block(hash).await? {
                Fetched::Block(block) => block,
                Fetched::Pruned => return Err(pruned(height)),
            };
            if let Some(last) = self.chain.last()
                && block.header.prev_blockhash != last.hash
            {
                return match self.rpc.block_hash(last.height).await? == Some(last.hash) {
                    true => Err(Trouble::Rpc(RpcError::Nonsense {
                        method: "getblock",
                        why: format!("block {hash} does not follow on {}", last.hash),
                    })),
                    false => Ok(()),
                };
            }
            self.all_changes().await?;
            let tip = Tip { height, hash };
            self.watched.follow(&block);
            let report = report(tip, &block, &self.watched);
            self.chain.push(tip);
            self.recent.push(tip, *block);
            self.report(report).await?;
            self.fees.block();
            if self.fees.is_due() {
                self.ask_fees().await?;
            }
        }
        Ok(())
    }

    /// Reads blocks that were reported before once more, in one go for all who ask.
    async fn search(&mut self) -> Result<(), Trouble> {
        let since = self.searches.iter().map(|search| search.since).min();
        let (Some(since), Some(last)) = (since, self.chain.last()) else {
            return Ok(());
        };
        let mut wanted = Watched::default();
        for search in self.searches.iter().cloned() {
            wanted.add(search.outpoints, search.scripts);
        }
        if !wanted.is_empty() {
            self.search_blocks(since, last.height, &mut wanted).await?;
        }
        for Search { request, .. } in std::mem::take(&mut self.searches) {
            self.say(ToLightningd::Searched { request }).await?;
        }
        Ok(())
    }

    async fn search_blocks(
        &mut self,
        since: BlockHeight,
        last: BlockHeight,
        wanted: &mut Watched,
    ) -> Result<(), Trouble> {
        let whole = self.searches.iter().filter(|search| !search.partly);
        let needed = whole.map(|search| search.since).min();
        let mut missed = None;
        for height in (since.0..=last.0).map(BlockHeight) {
            if !self.search_block(height, wanted).await? {
                if needed.is_some_and(|needed| needed <= height) {
                    return Err(pruned(height));
                }
                missed = Some(height);
            }
        }
        if let Some(missed) = missed {
            tracing::error!(
                "bitcoind has pruned block {missed} and those before it: what became of a closed channel's outputs \
                 there is not known until a bitcoind is used that has them"
            );
        }
        Ok(())
    }

    /// False if the backend has it no more.
    async fn search_block(
        &mut self,
        height: BlockHeight,
        wanted: &mut Watched,
    ) -> Result<bool, Trouble> {
        let tip = match self.chain.at(height) {
            Some(tip) => tip,
            // Below all that we keep; no reorganization goes there.
            None => match self.rpc.block_hash(height).await? {
                Some(hash) => Tip { height, hash },
                None => return Ok(true),
            },
        };
        let report = match self.recent.get(tip) {
            Some(block) => {
                wanted.follow(block);
                report(tip, block, wanted)
            }
            None => match self.rpc.block(tip.hash).await? {
                Fetched::Block(block) => {
                    wanted.follow(&block);
                    report(tip, &block, wanted)
                }
                Fetched::Pruned => return Ok(false),
            },
        };
        self.found(report).await?;
        Ok(true)
    }

    /// A block, in as many messages as it takes.
    async fn report(&self, block: Block) -> Result<(), Trouble> {
        let mut parts = block.parts();
        let last = parts.pop();
        for part in parts {
            self.say(ToLightningd::Part(Box::new(part))).await?;
        }
        if let Some(last) = last {
            self.say(ToLightningd::Block(Box::new(last))).await?;
        }
        Ok(())
    }

    /// What a block that was reported before has.
    async fn found(&self, block: Block) -> Result<(), Trouble> {
        for part in block.parts() {
            if !part.txs.is_empty() {
                self.say(ToLightningd::Rescanned(Box::new(part))).await?;
            }
        }
        Ok(())
    }

    /// What follows on each other: a reorg may come between, and who asked will ask again.
    async fn give_headers(&mut self) -> Result<(), Trouble> {
        let Some((request, from)) = self.headers else {
            return Ok(());
        };
        let mut headers = Vec::new();
        let mut last = None;
        for height in (from.0..).take(MAX_HEADERS) {
            let Some(hash) = self.rpc.block_hash(BlockHeight(height)).await? else {
                break;
            };
            let header = self.rpc.block_header(hash).await?;
            if last.is_some_and(|last| header.prev_blockhash != last) {
                break;
            }
            last = Some(hash);
            headers.extend(serialize(&header));
        }
        self.headers = None;
        self.say(ToLightningd::Headers { request, headers }).await?;
        Ok(())
    }

    async fn ask_fees(&mut self) -> Result<(), Trouble> {
        if let Some(feerates) = self.fees.ask(&mut self.rpc).await? {
            self.say(ToLightningd::Feerates(feerates)).await?;
        }
        Ok(())
    }

    async fn all_changes(&mut self) -> Result<(), Trouble> {
        while let Ok(change) = self.changes.try_recv() {
            self.change(change).await?;
        }
        Ok(())
    }

    async fn change(&mut self, change: Change) -> Result<(), Trouble> {
        match change {
            Change::Watch {
                outpoints,
                scripts,
                more,
            } => {
                self.following |= !more;
                let new = self.watched.add(outpoints, scripts);
                if new.is_empty() {
                    return Ok(());
                }
                for report in self.recent.search(&new) {
                    self.found(report).await?;
                }
            }
            Change::Search(search) => {
                self.watched
                    .add(search.outpoints.clone(), search.scripts.clone());
                self.searches.push(search);
            }
            Change::Headers { request, from } => self.headers = Some((request, from)),
            Change::Unwatch { outpoints } => self.watched.remove(&outpoints),
        }
        Ok(())
    }
}

fn pruned(height: BlockHeight) -> Trouble {
    Trouble::Unusable(format!(
        "bitcoind has pruned block {height}, which this node still has to read: use a bitcoind that \
         keeps more blocks (its option prune), or one that keeps all"
    ))
}
