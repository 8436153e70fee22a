//! What blocks mean for this channel.

use bitcoin::Transaction;
use channel::action::Command;
use channel::state::Phase;
use ipc_messages::lightningd_onchaind::ToOnchaind;
use lightningd_db::Batch;
use tx::ledger::HtlcKey;
use wire::{BlockHeight, MilliSatoshi, ShortChannelId, Side};

use super::{Channel, Closed, Stage, contract, onchaind};
use crate::chain::ChannelNews;
use crate::feerates;
use crate::store::channels::{self as records, ChannelRecord};

/// So deep a funding transaction needs not be watched any more.
const FUNDING_DEPTH: u32 = 100;
/// BOLT 2, The funding_signed and channel_ready messages: for so many blocks a peer's funding
/// transaction is waited for.
const FUNDING_PATIENCE: u32 = 2016;

impl Channel {
    pub(super) async fn chain(&mut self, news: ChannelNews) {
        match news {
            ChannelNews::Height(height) => self.height(height).await,
            ChannelNews::FundingConfirmed { height, tx_index } => {
                self.confirmed(height, tx_index);
            }
            ChannelNews::FundingSpent { tx, height } => self.spent(&tx, height).await,
            ChannelNews::Spent { tx, height } => self.confirmed_on_chain(&tx, height).await,
            ChannelNews::Searched { search } => {
                self.onchain.searched(search);
                self.onchain.tell_block(self.tip).await;
            }
            ChannelNews::Synced => self.synced().await,
            ChannelNews::Proved => self.settle_failed(),
            ChannelNews::Disconnected { from } => self.disconnected(from).await,
        }
    }

    fn confirmed(&mut self, height: BlockHeight, tx_index: u32) {
        let Some(record) = self.record() else { return };
        let vout = record.live.funding.outpoint.vout;
        if let Some(scid) = ShortChannelId::new(height.0, tx_index, vout) {
            tracing::info!("funding transaction confirmed as {scid}");
            self.change_facts("funding confirmed", |facts| {
                facts.funding_height = Some(height);
                facts.funding_scid = Some(scid);
            });
        }
    }

    async fn height(&mut self, height: BlockHeight) {
        self.tip = height;
        self.onchain.tell_block(height).await;
        self.settle_failed();
        let Some(record) = self.record() else {
            return self.command(Command::Block { height }).await;
        };
        if record.facts.spent_by.is_some() {
            return;
        }
        if is_given_up(record, height) {
            tracing::info!("the peer never funded the channel; it is forgotten");
            self.answer_closers(&Closed::Unopened);
            self.free_all_coins().await;
            return self.forget_opening().await;
        }
        let (funded, scid) = (record.facts.funding_height, record.facts.funding_scid);
        self.command(Command::Block { height }).await;
        if let Some(funded) = funded {
            let depth = height.depth(funded);
            if depth <= FUNDING_DEPTH {
                self.command(Command::FundingDepth { depth, scid }).await;
            }
        }
    }

    async fn synced(&mut self) {
        // It gave the channel up before we knew the newest blocks.
        let given_up = |record: &ChannelRecord| {
            record.facts.unilateral && record.facts.close_cause.as_deref() == Some("remote")
        };
        if self.record().is_some_and(given_up) && self.never_was() {
            return self.forget_what_never_was().await;
        }
        self.broadcast_again();
    }

    /// Whether we lose nothing if this channel, which the peer gives up, is forgotten: it was never funded, as far as
    /// all blocks say (the mempool is not asked). BOLT 2, The funding_signed and channel_ready messages: an accepter
    /// may forget such a channel. If its funding transaction comes after all, the loss is the peer's alone, and it
    /// has our signature on a commitment that gives it everything.
    pub(super) fn never_was(&self) -> bool {
        self.node.chain.view().synced && self.record().is_some_and(is_void)
    }

    /// As after [`FUNDING_PATIENCE`], but at once: a peer that loses its openings is free to open another.
    pub(super) async fn forget_what_never_was(&mut self) {
        tracing::info!(
            "the peer gave up a channel that it never funded and in which nothing is ours; it is forgotten"
        );
        self.answer_closers(&Closed::Unopened);
        self.forget_opening().await;
    }

    /// The funding output is spent: by the mutual close, or by a commitment of one side. May come again.
    async fn spent(&mut self, tx: &Transaction, height: BlockHeight) {
        let txid = tx.compute_txid();
        let Some(record) = self.record() else { return };
        if record.facts.spent_by != Some((txid, height)) {
            tracing::info!("funding output spent by {txid} in block {height}");
        }
        // Its last word may be a newer commitment of the peer's.
        self.retire_channeld().await;
        // The peer may have had both signatures of a mutual close before us.
        let Some(record) = self.record() else { return };
        let mutual = tx::commitment::number_of(&record.live.setup, tx).is_none();
        self.enter_chain_phase();
        self.change_facts("funding spent", |facts| {
            if facts.spent_by.is_none_or(|(known, _)| known != txid) {
                facts.spender = None;
            }
            facts.spent_by = Some((txid, height));
            if !mutual {
                facts.closer.get_or_insert(Side::Remote);
                facts
                    .close_cause
                    .get_or_insert_with(|| "onchain".to_owned());
            }
        });
        self.let_connection_go();
        let revoked = self.record().and_then(|r| contract::revoked(&r.live, tx));
        self.onchain.spent_by(revoked);
        self.launch_onchaind().await;
        self.confirmed_on_chain(tx, height).await;
        self.closed_on_chain(tx, mutual);
    }

    /// At the start: what the block after the tip meant is taken back, as the wallet does ([`crate::wallet::run`]).
    pub(super) async fn forget_unrecorded_block(&mut self) {
        let from = self.tip.after(1);
        let is_concerned = |record: &ChannelRecord| {
            let funded = record.facts.funding_height;
            record.facts.spent_by.is_some() || funded.is_some_and(|height| height >= from)
        };
        if self.tip > BlockHeight::ZERO && self.record().is_some_and(is_concerned) {
            self.disconnected(from).await;
        }
    }

    async fn disconnected(&mut self, from: BlockHeight) {
        self.tip = from.before(1).min(self.tip);
        self.onchain.tell_disconnected(from).await;
        let Some(record) = self.record() else { return };
        let funding_gone = record
            .facts
            .funding_height
            .is_some_and(|height| height >= from);
        let spend_gone = record
            .facts
            .spent_by
            .is_some_and(|(_, height)| height >= from);
        if funding_gone || spend_gone {
            self.change_facts("reorganized", |facts| {
                if funding_gone {
                    facts.funding_height = None;
                    facts.funding_scid = None;
                }
                if spend_gone {
                    facts.spent_by = None;
                    facts.spender = None;
                }
            });
        }
        let ours = self.record().and_then(|r| r.facts.closing_tx.as_ref());
        if spend_gone && ours.is_none() {
            // Nothing can be negotiated any more: if it does not come back by itself, ours goes out.
            self.unilateral("onchain").await;
        }
        if funding_gone {
            self.command(Command::FundingDepth {
                depth: 0,
                scid: None,
            })
            .await;
        }
    }

    /// Buried: the record moves to the closed channels and the task ends. hsmd forgets after the database.
    pub(super) async fn forget(&mut self) {
        let (Stage::Open(_, htlcs), Some(record)) = (&self.stage, self.last_record()) else {
            return;
        };
        tracing::info!("channel is over and forgotten");
        let mut batch = Batch::new();
        let keys: Vec<HtlcKey> = htlcs.keys().copied().collect();
        records::close(&mut batch, &record, keys.into_iter());
        self.over = true;
        self.free_all_coins().await;
        if let Err(error) = self.node.db.commit(batch).await {
            return self.node.database_failed(&error);
        }
        self.node.chain.unwatch_channel(self.dbid);
        self.node.hsm.forget(self.dbid).await;
        self.node.backup.update_later().await;
    }

    /// As opener we set the commitment's feerate (BOLT 2, update_fee); claims on chain follow them.
    pub(super) async fn feerates(&mut self) {
        let newest = onchaind::feerates(self.node.chain.view().feerates);
        self.onchain.tell(ToOnchaind::Feerates(newest)).await;
        let Some(record) = self.record() else { return };
        if !record.live.is_opener() {
            return;
        }
        let feerate = feerates::commitment(&self.node, record.live.setup.format);
        self.command(Command::Feerate { feerate }).await;
    }
}

/// Whether we wait for a funding transaction that only the peer can broadcast. It may have been shut down, or
/// ended by one side, meanwhile.
pub(super) fn is_unfunded(record: &ChannelRecord) -> bool {
    let (live, facts) = (&record.live, &record.facts);
    let seen = facts.funding_height.is_some() || live.scid.is_some() || facts.spent_by.is_some();
    let waits = match live.phase {
        Phase::Opening => false,
        Phase::AwaitingLockin { .. } => true,
        // One of a backup is looked for.
        Phase::Normal
        | Phase::ShuttingDown { .. }
        | Phase::Closing { .. }
        | Phase::Closed { .. }
        | Phase::Onchain => !facts.stale,
    };
    waits && !live.is_opener() && !seen
}

/// Whether we waited long enough for it.
fn is_given_up(record: &ChannelRecord, tip: BlockHeight) -> bool {
    let since = record.facts.opened_height.0;
    is_unfunded(record) && tip.0 >= since.saturating_add(FUNDING_PATIENCE)
}

/// Whether neither side has seen that transaction and nothing in the channel is ours. A state that may be older
/// than the peer's shows neither. A peer that has lost its data needs our commitment, if there is a channel.
fn is_void(record: &ChannelRecord) -> bool {
    let live = &record.live;
    let unready = Phase::AwaitingLockin {
        sent_ready: false,
        received_ready: false,
    };
    // After a reorganization it still has the short_channel_id of the block that is gone.
    let unseen = live.phase == unready && live.scid.is_none();
    is_unfunded(record) && unseen && !record.facts.stale && live.our_balance() == MilliSatoshi::ZERO
}
