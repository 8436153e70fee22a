//! Opening by us: the funding transaction from draft to broadcast; and channel_ready.

use bitcoin::{OutPoint, ScriptBuf, Transaction};
use channel::action::Command;
use channel::state::Phase;
use ipc_messages::hsm::Refused;
use ipc_messages::lightningd_channeld::ToChanneld;
use lightningd_db::Batch;
use lightningd_wallet::UnsignedTx;
use tokio::sync::oneshot;
use wire::{ChannelId, Satoshi};

use super::view::is_spent;
use super::{Channel, Stage};
use crate::hsm::HsmError;
use crate::store::channels::{self as records, ChannelRecord};
use crate::wallet::{SendError, WalletError};

/// Who waits for a channel of ours, and the transaction that funds it.
pub struct OpenJob {
    /// Built with a script of the right length in the funding output's place; its coins are reserved.
    pub unsigned: UnsignedTx,
    pub done: Option<oneshot::Sender<Result<Opened, OpenFailure>>>,
}

/// A channel whose funding transaction is broadcast.
#[derive(Clone, Debug)]
pub struct Opened {
    pub tx: Transaction,
    pub outnum: u32,
    pub channel_id: ChannelId,
    pub minimum_depth: u32,
}

/// Why a channel was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenFailure {
    /// The peer or we broke it off: nothing was broadcast.
    Negotiation(String),
    /// hsmd does not sign this, and nothing was broadcast.
    Refused(Refused),
    /// The backend refuses the funding transaction, and nobody has it.
    Broadcast(String),
    /// Whether the backend has the funding transaction is not known: it is broadcast again.
    Unknown(String),
}

impl Channel {
    /// The funding script is known: the draft becomes a transaction with an id.
    pub(super) async fn fund(&mut self, script: ScriptBuf, value: Satoshi) {
        let Some(job) = &mut self.job else {
            return tracing::error!("channeld wants a funding transaction that nobody ordered");
        };
        let drafted = job
            .unsigned
            .recipient(0)
            .map(|output| output.value.to_sat());
        if drafted != Some(value.0) || !job.unsigned.set_script(0, script) {
            let reason = "the funding output is not as it was drafted".to_owned();
            return self.command(Command::CancelOpening { reason }).await;
        }
        let vout = job.unsigned.recipients.first().copied().unwrap_or_default();
        let outpoint = OutPoint {
            txid: job.unsigned.tx.compute_txid(),
            vout,
        };
        self.command(Command::FundingCreated { outpoint }).await;
    }

    /// Commitment 0 is signed by the peer and durable: now the coins may move.
    pub(super) async fn funding_signed(&mut self) {
        let Some(mut job) = self.job.take() else {
            return;
        };
        let outcome = self.sign_and_broadcast(&job).await;
        if let (Err(failure), false) = (&outcome, self.over) {
            tracing::error!("the funding transaction failed: {failure:?}");
            self.node.wallet.release(job.unsigned.outpoints()).await;
        }
        // It was not signed or nobody took it, so it will never confirm. A node that stops leaves that to
        // its next start.
        let never = match &outcome {
            Err(OpenFailure::Negotiation(reason)) => Some(reason.clone()),
            // What the owner allows is none of the peer's business.
            Err(OpenFailure::Refused(_)) => Some("the funding is not signed".to_owned()),
            Err(OpenFailure::Broadcast(_)) => Some("the funding is not broadcast".to_owned()),
            Err(OpenFailure::Unknown(_)) | Ok(_) => None,
        };
        if let (Some(reason), false) = (never, self.node.is_stopping()) {
            self.send(ToChanneld::Fail { reason }).await;
            self.forget_opening().await;
        }
        if let Some(done) = job.done.take() {
            let _ = done.send(outcome);
        }
    }

    async fn sign_and_broadcast(&mut self, job: &OpenJob) -> Result<Opened, OpenFailure> {
        let negotiation = |error: WalletError| match error {
            WalletError::Hsm(HsmError::Refused(refused)) => OpenFailure::Refused(refused),
            other => {
                OpenFailure::Negotiation(format!("cannot sign the funding transaction: {other}"))
            }
        };
        let tx = self
            .node
            .wallet
            .sign(job.unsigned.clone())
            .await
            .map_err(negotiation)?;
        self.change_facts("funding transaction signed", |facts| {
            facts.funding_tx = Some(tx.clone());
        });
        // Durable in one go with the line above, which stands before it in the same writer.
        let sent = self.node.wallet.send(&self.node.chain, tx.clone()).await;
        sent.map_err(|error| match error {
            SendError::Wallet(error) => negotiation(error),
            SendError::Refused(why) => OpenFailure::Broadcast(why),
            SendError::Unknown(why) => OpenFailure::Unknown(why),
        })?;
        let Some(record) = self.record() else {
            return Err(OpenFailure::Negotiation(
                "the channel has no record".to_owned(),
            ));
        };
        Ok(Opened {
            outnum: record.live.funding.outpoint.vout,
            channel_id: record.live.channel_id,
            minimum_depth: record.live.minimum_depth,
            tx,
        })
    }

    pub(super) async fn opening_failed(&mut self, reason: String) {
        tracing::info!("opening failed: {reason}");
        if let Some(mut job) = self.job.take() {
            self.node.wallet.release(job.unsigned.outpoints()).await;
            if let Some(done) = job.done.take() {
                let failure = match self.refusal.take() {
                    Some(refused) => OpenFailure::Refused(refused),
                    None => OpenFailure::Negotiation(reason),
                };
                let _ = done.send(Err(failure));
            }
        }
        if self.is_opening() {
            self.forget_opening().await;
        }
    }

    /// Nothing binds us yet: the peer has not signed our commitment 0.
    pub(super) fn is_opening(&self) -> bool {
        self.record()
            .is_none_or(|record| record.live.phase == Phase::Opening)
    }

    /// The record goes before hsmd forgets the channel, and durably: the other way round the next
    /// start would find a channel that hsmd does not know.
    pub(super) async fn forget_opening(&mut self) {
        self.over = true;
        self.let_connection_go();
        if let Stage::Open(..) = self.stage {
            let mut batch = Batch::new();
            records::drop_opening(&mut batch, self.dbid);
            if let Err(error) = self.node.db.commit(batch).await {
                return self.node.database_failed(&error);
            }
            self.node.chain.unwatch_channel(self.dbid);
        }
        self.node.hsm.forget(self.dbid).await;
        self.node.backup.update_later().await;
    }

    /// connectd keeps up the connection to the peer of a channel that lives.
    pub(super) fn keep_connected(&self) {
        let lives = |record: &ChannelRecord| record.facts.spent_by.is_none();
        if self.record().is_some_and(lives) {
            self.node.peers.keep(self.peer, true);
        }
    }

    /// This channel needs its peer no more; another one may.
    pub(super) fn let_connection_go(&self) {
        let others = self.node.channels.summaries();
        let needed = others
            .iter()
            .any(|s| s.peer == self.peer && s.dbid != self.dbid && !is_spent(s.state));
        self.node.peers.keep(self.peer, needed);
    }

    /// After a start: what may have been lost on the way out is said again.
    pub(super) fn resume_duties(&mut self) {
        let Some(record) = self.record() else { return };
        let live = &record.live;
        let script = live.setup.funding_script_pubkey();
        self.node
            .chain
            .watch_channel(self.dbid, live.funding.outpoint, script);
        // A closing transaction is onchaind's, a funding transaction the wallet's.
        self.keep_connected();
        self.publish();
    }

    /// channel_ready went both ways, now or before.
    pub(super) async fn ready(&mut self) {
        // The connection of the opening needs no reestablishment.
        self.active = true;
        self.note_stable();
        self.node.backup.ready(self.peer).await;
        self.send_channel_update().await;
    }

    pub(super) async fn now_active(&mut self) {
        self.note_stable();
        if self.is_normal() {
            self.send_channel_update().await;
        }
        self.feerates().await;
        let height = self.node.chain.height();
        self.command(Command::Block { height }).await;
    }

    fn note_stable(&mut self) {
        self.change_facts("the connection is good", |facts| {
            facts.last_stable = crate::store::now();
        });
    }

    /// BOLT 7: a channel_update may go straight to the peer of a channel that is not announced.
    async fn send_channel_update(&mut self) {
        let Some(record) = self.record() else { return };
        let facts = crate::channel_update::facts(&self.node, &record.live);
        // A peer that comes and goes gets the same one again.
        let last = self.update.as_ref();
        if let Some((_, message)) = last.filter(|(last, _)| *last == facts) {
            let message = message.clone();
            return self.command(Command::Relay { message }).await;
        }
        match crate::channel_update::sign(&self.node, self.dbid, facts.clone()).await {
            Ok(message) => {
                self.update = Some((facts, message.clone()));
                self.command(Command::Relay { message }).await;
            }
            Err(error) => tracing::warn!("no channel_update for the peer: {error}"),
        }
    }
}
