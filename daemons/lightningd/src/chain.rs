//! What the node knows of the chain and asks of it; [`follower`] hears chaind.

mod follower;

use bitcoin::{OutPoint, ScriptBuf, Transaction};
use ipc_messages::lightningd_chaind::{Feerates, NotTaken, ToChaind};
use lightningd_options::Rescan;
use tokio::sync::{mpsc, oneshot, watch};
use wire::{BlockHeight, ChannelDbid};

pub use follower::run;

use crate::node::Node;

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
    /// Up to here hsmd knows what happened to our channels.
    pub proved: BlockHeight,
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
    /// Another output that is watched for the channel is spent by this.
    Spent {
        tx: Transaction,
        height: BlockHeight,
    },
    /// The search of this number is done: what it found was told before this.
    Searched {
        search: u64,
    },
    /// The backend may have been away, and have lost what is in no block.
    Synced,
    /// hsmd knows more of the chain than before.
    Proved,
    /// A reorg took out all blocks from this height on.
    Disconnected {
        from: BlockHeight,
    },
}

enum Ask {
    WatchScripts(Vec<ScriptBuf>),
    /// Coins of the wallet: a spend of one is told, whoever made it.
    WatchCoins(Vec<OutPoint>),
    UnwatchCoins(Vec<OutPoint>),
    /// As that, in the blocks from `since` on that were read before too.
    SearchScripts {
        scripts: Vec<ScriptBuf>,
        since: BlockHeight,
    },
    WatchChannel {
        channel: ChannelDbid,
        outpoint: OutPoint,
        script: ScriptBuf,
    },
    /// Outputs that follow from the funding output.
    Search {
        channel: ChannelDbid,
        search: u64,
        outpoints: Vec<OutPoint>,
        since: BlockHeight,
    },
    UnwatchChannel {
        channel: ChannelDbid,
    },
    Broadcast(Broadcasting),
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

    /// Those that are watched already may be among them.
    pub fn watch_coins(&self, coins: Vec<OutPoint>) {
        if !coins.is_empty() {
            let _ = self.asks.send(Ask::WatchCoins(coins));
        }
    }

    pub fn unwatch_coins(&self, coins: Vec<OutPoint>) {
        if !coins.is_empty() {
            let _ = self.asks.send(Ask::UnwatchCoins(coins));
        }
    }

    /// As [`Handle::watch_scripts`]; what pays them in blocks that were read before is told too.
    pub fn search_scripts(&self, scripts: Vec<ScriptBuf>, since: BlockHeight) {
        let _ = self.asks.send(Ask::SearchScripts { scripts, since });
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

    /// Watches these outputs for the channel, and tells of spends in the blocks from `since` on that were
    /// read before; then that the search of this number is done.
    pub fn search(
        &self,
        channel: ChannelDbid,
        search: u64,
        outpoints: Vec<OutPoint>,
        since: BlockHeight,
    ) {
        let _ = self.asks.send(Ask::Search {
            channel,
            search,
            outpoints,
            since,
        });
    }

    /// # Errors
    /// The backend does not take it, or the node is stopping.
    pub async fn broadcast(&self, tx: Transaction, allow_high_fees: bool) -> Result<(), NotTaken> {
        self.broadcast_with(tx, None, allow_high_fees).await
    }

    /// As [`Handle::broadcast`], with a parent that is in no block and that the transaction pays for.
    ///
    /// # Errors
    /// The backend's words about the transaction, or that it cannot be reached.
    pub async fn broadcast_with(
        &self,
        tx: Transaction,
        parent: Option<Transaction>,
        allow_high_fees: bool,
    ) -> Result<(), NotTaken> {
        let (done, answer) = oneshot::channel();
        let _ = self.asks.send(Ask::Broadcast(Broadcasting {
            tx,
            parent,
            allow_high_fees,
            done,
        }));
        let away = |_| {
            Err(NotTaken {
                why: "the chain backend is not reachable".to_owned(),
                refused: false,
                rival: None,
            })
        };
        answer.await.unwrap_or_else(away)
    }
}

/// The block from which on `--rescan` looks again.
#[must_use]
pub fn rescanned_from(node: &Node) -> BlockHeight {
    let height = node.chain.height();
    match node.options.rescan {
        Rescan::Blocks(blocks) => height.before(blocks),
        Rescan::From(from) => from.min(height),
    }
}

/// A transaction that chaind has not answered for, and who waits.
struct Broadcasting {
    tx: Transaction,
    parent: Option<Transaction>,
    allow_high_fees: bool,
    done: oneshot::Sender<Result<(), NotTaken>>,
}

impl Broadcasting {
    fn message(&self, request: u64) -> ToChaind {
        ToChaind::Broadcast {
            request,
            tx: bitcoin::consensus::serialize(&self.tx),
            parent: self.parent.as_ref().map(bitcoin::consensus::serialize),
            allow_high_fees: self.allow_high_fees,
        }
    }
}

/// A search that chaind has not answered for.
struct Searching {
    /// Whose it is, and how it calls it; none for the one at the start.
    asker: Option<(ChannelDbid, u64)>,
    outpoints: Vec<OutPoint>,
    scripts: Vec<ScriptBuf>,
    since: BlockHeight,
}

impl Searching {
    fn message(&self, request: u64) -> ToChaind {
        ToChaind::Search {
            request,
            outpoints: self.outpoints.clone(),
            scripts: self.scripts.clone(),
            since: self.since,
            // A peer may make a channel's reach far back: that must not stop the node.
            partly: self.asker.is_some(),
        }
    }
}
