//! What onchaind says, and what it hears of the node. It is hostile until checked: how HTLCs end is
//! compared with what the channel knows of them, and over is only what is buried.

use bitcoin::{OutPoint, Transaction};
use channel::action::{Origin, Removal};
use channel::state::Phase;
use ipc_messages::lightningd_chaind::NotTaken;
use ipc_messages::lightningd_channeld::{RemoveHow, ToChanneld};
use ipc_messages::lightningd_onchaind::{ToLightningd, ToOnchaind};
use lightningd_db::Batch;
use lightningd_wallet::ClaimNeed;
use onchain::State;
use onchain::action::{ClaimId, Encoded, HtlcEnd, Notice, Standing};
use tx::ledger::HtlcKey;
use wire::{BlockHeight, HtlcId, Side};

use super::contract::{BURIAL_DEPTH, TERMS};
use super::onchaind::{Answer, Word};
use super::{Channel, Stage};
use crate::store::channels::Facts;
use crate::store::forwards::End;
use crate::store::onchain::OnchainRecord;

/// What channeld says after it was told to stop, it says within this time.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(10);

impl Channel {
    /// Whether the chain decides about this channel: nothing is negotiated any more.
    pub(super) fn is_on_chain(&self) -> bool {
        let decided = |facts: &Facts| facts.unilateral || facts.spent_by.is_some();
        self.record().is_some_and(|record| decided(&record.facts))
    }

    pub(super) async fn onchain_word(&mut self, word: Word) {
        match word {
            Word::Said(said) => self.onchaind_said(said).await,
            Word::Persisted(sequence, Ok(())) => {
                self.onchain.tell(ToOnchaind::Persisted { sequence }).await;
            }
            Word::Persisted(_, Err(error)) => self.node.database_failed(&error),
            Word::Answer(answer) => self.answered(answer).await,
            Word::Died(why) => self.onchaind_died(&why).await,
            Word::Due => self.launch_onchaind().await,
        }
    }

    async fn onchaind_died(&mut self, why: &str) {
        if let Some(how) = self.onchain.died().await
            && !self.node.is_stopping()
        {
            tracing::warn!("onchaind {how} ({why}); starting it again");
        }
    }

    async fn onchaind_said(&mut self, said: ToLightningd) {
        match said {
            ToLightningd::Persist {
                sequence,
                wait,
                state,
            } => self.persist_onchain(sequence, wait, *state),
            ToLightningd::Watch { outpoints } => self.search(outpoints).await,
            ToLightningd::Broadcast { tx, parent } => self.broadcast_claim(&tx, parent).await,
            ToLightningd::NeedCoins {
                claim,
                weight,
                value,
                feerate,
                most,
            } => {
                let need = ClaimNeed {
                    weight,
                    value,
                    feerate,
                    most,
                };
                self.find_coins(claim, need);
            }
            ToLightningd::FreeCoins { claim } => self.free_coins(claim).await,
            ToLightningd::Notice(notice) => self.onchain_notice(*notice).await,
            ToLightningd::Handled { messages } => {
                if !self.onchain.handled(messages) {
                    let why = "it says that it handled more than it was told";
                    return self.onchaind_died(why).await;
                }
                self.onchain.tell_block(self.tip).await;
            }
            ToLightningd::Refused { rule, reason } => {
                tracing::error!("hsmd refused a claim by rule {rule}: {reason}");
            }
        }
    }

    fn persist_onchain(&mut self, sequence: u64, wait: bool, state: State) {
        let batch = self.onchain_batch(|record| record.state = Some(state));
        if wait {
            let commit = self.node.db.commit(batch);
            self.onchain
                .persisted_later(Box::pin(async move { (sequence, commit.await) }));
        } else {
            self.write(batch);
        }
    }

    pub(super) fn onchain_record(&self) -> OnchainRecord {
        match self.node.db.get::<OnchainRecord>(&self.dbid.0) {
            Ok(record) => record.unwrap_or_default(),
            Err(error) => {
                self.node.database_failed(&error);
                OnchainRecord::default()
            }
        }
    }

    fn onchain_batch(&self, change: impl FnOnce(&mut OnchainRecord)) -> Batch {
        let mut record = self.onchain_record();
        change(&mut record);
        let mut batch = Batch::new();
        batch.put(&self.dbid.0, &record);
        batch
    }

    /// Watches them, and looks for spends in blocks that were read before they were watched.
    pub(super) async fn search(&mut self, outpoints: Vec<OutPoint>) {
        match self.onchain.begin_search(outpoints.len()) {
            Some((search, since)) => {
                let chain = &self.node.chain;
                chain.search(self.dbid, search, outpoints, since);
            }
            None => {
                self.onchaind_died("it has more watched than a channel has")
                    .await;
            }
        }
    }

    async fn broadcast_claim(&mut self, tx: &Encoded, parent: Option<Encoded>) {
        let (Some(tx), parent) = (tx.decode(), parent.and_then(|parent| parent.decode())) else {
            let why = "its transaction is none";
            return self.onchaind_died(why).await;
        };
        self.onchain.sent((tx.clone(), parent.clone()));
        self.send_to_backend(tx, parent);
    }

    fn send_to_backend(&mut self, tx: Transaction, parent: Option<Transaction>) {
        let chain = self.node.chain.clone();
        self.onchain.answer_later(Box::pin(async move {
            let txid = tx.compute_txid();
            match chain.broadcast_with(tx, parent, true).await {
                Ok(()) => Some(Answer::Taken { txid }),
                Err(NotTaken { why, rival, .. }) => {
                    tracing::info!("{txid} is not taken: {why}");
                    let (reason, rival) = (why, rival.map(Encoded));
                    Some(Answer::Rejected {
                        txid,
                        reason,
                        rival,
                    })
                }
            }
        }));
    }

    /// The backend was away: it may have lost what is in no block.
    pub(super) fn broadcast_again(&mut self) {
        for (tx, parent) in self.onchain.unconfirmed() {
            self.send_to_backend(tx, parent);
        }
    }

    fn find_coins(&mut self, claim: ClaimId, need: ClaimNeed) {
        let known = self.onchain_record().coins;
        let given = known.into_iter().find(|(of, _)| *of == claim);
        let given = given.map_or_else(Vec::new, |(_, coins)| coins);
        let wallet = self.node.wallet.clone();
        self.onchain.answer_later(Box::pin(async move {
            // The node is stopping otherwise.
            let coins = wallet.claim_coins(need, given).await.ok()?;
            Some(Answer::Coins { claim, coins })
        }));
    }

    async fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Coins { claim, coins } => {
                if let Some(coins) = &coins {
                    let outpoints = coins.coins.iter().map(|coin| coin.outpoint).collect();
                    let batch = self.onchain_batch(|record| {
                        record.coins.retain(|(of, _)| *of != claim);
                        record.coins.push((claim, outpoints));
                    });
                    self.write(batch);
                } else {
                    tracing::warn!(
                        "the wallet has no confirmed coins for the fee of a claim: send some to it"
                    );
                }
                self.onchain.tell(ToOnchaind::Coins { claim, coins }).await;
            }
            Answer::Taken { txid } => self.onchain.tell(ToOnchaind::Taken { txid }).await,
            Answer::Rejected {
                txid,
                reason,
                rival,
            } => {
                let rejected = ToOnchaind::Rejected {
                    txid,
                    reason,
                    rival,
                };
                self.onchain.tell(rejected).await;
            }
        }
    }

    async fn free_coins(&mut self, claim: ClaimId) {
        let mut freed = Vec::new();
        let batch = self.onchain_batch(|record| {
            let (gone, kept) = std::mem::take(&mut record.coins)
                .into_iter()
                .partition(|(of, _)| *of == claim);
            record.coins = kept;
            freed = gone;
        });
        self.write(batch);
        for (_, coins) in freed {
            self.node.wallet.free_claim(coins).await;
        }
    }

    /// The channel is over.
    pub(super) async fn free_all_coins(&mut self) {
        for (_, coins) in self.onchain_record().coins {
            self.node.wallet.free_claim(coins).await;
        }
    }

    async fn onchain_notice(&mut self, notice: Notice) {
        match notice {
            Notice::HtlcEnded { key, end } => self.htlc_ended(key, end),
            Notice::Standing(standing) => self.stands(standing),
            Notice::Over => self.is_over().await,
        }
    }

    fn htlc_ended(&mut self, key: HtlcKey, end: HtlcEnd) {
        let Stage::Open(record, htlcs) = &self.stage else {
            return;
        };
        let known = htlcs.get(&key).filter(|_| key.offerer == Side::Local);
        let Some((htlc, origin)) = known.and_then(|known| Some((known.htlc, known.origin?))) else {
            return tracing::warn!("onchaind speaks of an HTLC that is not ours: {key:?}");
        };
        match end {
            HtlcEnd::Fulfilled { preimage } => {
                if preimage.payment_hash() != htlc.payment_hash {
                    return tracing::error!("onchaind's preimage of HTLC {} is wrong", key.id);
                }
                tracing::info!("HTLC {} was fulfilled on chain", key.id);
                self.resolved(key.id, origin, Removal::Fulfil { preimage });
            }
            HtlcEnd::Failed => {
                let depth = record
                    .facts
                    .spent_by
                    .map_or(0, |(_, at)| self.tip.depth(at));
                if depth < TERMS.reasonable_depth {
                    return tracing::error!("onchaind says too early that HTLC {} failed", key.id);
                }
                tracing::info!("HTLC {} is over on chain without having been paid", key.id);
                self.onchain.failed.push((key.id, origin, self.tip));
                self.settle_failed();
            }
        }
    }

    /// The incoming half of a forward goes back once hsmd knows that the outgoing one did (H2).
    pub(super) fn settle_failed(&mut self) {
        let proved = self.node.chain.view().proved;
        let failed = std::mem::take(&mut self.onchain.failed);
        let (now, later) = failed
            .into_iter()
            .partition(|(_, _, block)| *block <= proved);
        self.onchain.failed = later;
        let now: Vec<(HtlcId, Origin, BlockHeight)> = now;
        for (id, origin, _) in now {
            self.tell_origin(id, origin, End::TimedOut);
        }
    }

    fn stands(&mut self, standing: Standing) {
        let spender = standing.spender.map(|(spender, _, _)| spender);
        let known = self.record().map(|record| record.facts.spender);
        if spender.is_some() && known != Some(spender) {
            if let Some(spender) = spender {
                tracing::info!("the funding output is spent by {spender}");
            }
            self.change_facts("onchaind knows the transaction", |facts| {
                facts.spender = spender;
            });
        }
        self.onchain.standing = Some(standing);
        self.book_now();
    }

    async fn is_over(&mut self) {
        let spent = self.record().and_then(|record| record.facts.spent_by);
        let buried = |(_, height)| self.tip.depth(height) >= BURIAL_DEPTH;
        if spent.is_some_and(buried) {
            self.forget().await;
        } else {
            tracing::error!("onchaind says too early that the channel is over");
        }
    }

    /// The preimage of an HTLC that the peer offered, for the chain.
    pub(super) async fn remove_on_chain(&mut self, how: RemoveHow) {
        match how {
            RemoveHow::Fulfil { preimage } => {
                self.onchain.tell(ToOnchaind::Preimage { preimage }).await;
            }
            // The peer takes it back after its expiry.
            RemoveHow::FailHere { .. } | RemoveHow::FailFrom { .. } => {}
        }
    }

    /// A transaction that concerns the spent channel is in a block.
    pub(super) async fn confirmed_on_chain(&mut self, tx: &Transaction, height: BlockHeight) {
        self.onchain.confirmed(tx);
        let tx = Encoded::of(tx);
        self.onchain
            .tell(ToOnchaind::Confirmed { tx, height })
            .await;
    }

    /// Nothing is negotiated any more: channeld ends, and what it has said by then is its last word.
    pub(super) async fn retire_channeld(&mut self) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        let _ = link.to.send(&ToChanneld::Stop).await;
        let _ = link.to.flush().await;
        let end = tokio::time::Instant::now() + LAST_WORDS;
        while let Ok(Ok(said)) = tokio::time::timeout_at(end, link.from.recv()).await {
            self.said(said).await;
        }
        tracing::debug!("channeld {}", link.process.ended().await);
        self.active = false;
        self.give_up_offers().await;
    }

    /// As [`Phase::Onchain`] says.
    pub(super) fn enter_chain_phase(&mut self) {
        if let Stage::Open(record, _) = &mut self.stage {
            record.live.phase = Phase::Onchain;
        }
    }
}
