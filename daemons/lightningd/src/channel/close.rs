//! Endings: mutual close, our own commitment, and what to do when the peer is wrong.

use bitcoin::{ScriptBuf, Transaction};
use channel::action::{CloseFees, Command};
use channel::state::{Live, Phase};
use ipc_messages::lightningd_channeld::ToChanneld;
use tokio::sync::oneshot;
use wire::Side;

use super::process::close_fees;
use super::{Channel, ChannelRecord, Stage};

/// A `close` command's wishes.
pub struct CloseAsk {
    /// Default: the channel's own shutdown script.
    pub destination: Option<ScriptBuf>,
    pub fees: Option<CloseFees>,
    /// Do not negotiate (any more): broadcast our commitment.
    pub unilateral: bool,
    pub done: oneshot::Sender<Result<Closed, String>>,
}

/// How a channel was closed.
#[derive(Clone, Debug)]
pub enum Closed {
    Mutual(Transaction),
    Unilateral(Transaction),
    /// There was nothing to close yet: it is forgotten.
    Unopened,
}

/// How long a channel waits for the backend to take its closing transaction.
const BROADCAST: std::time::Duration = std::time::Duration::from_secs(5);

/// What whoever wants to close such a channel hears.
const STALE: &str = "this node's state of the channel is older than the peer's: it was restored from an \
                     old copy. The peer was asked to close with its newest commitment; ours may not be \
                     broadcast any more";

/// What the peer of a channel hears that a backup has from before its first revocation.
pub(super) const ASK_TO_CLOSE: &str =
    "we have lost data: please close the channel with your newest commitment";

/// The script that we close to, if that was fixed at opening or by an earlier close (BOLT 2, shutdown).
fn fixed_script(live: &Live) -> Option<&ScriptBuf> {
    let told = match &live.phase {
        Phase::ShuttingDown { local, .. } => local.as_ref(),
        Phase::Closing { local, .. } => Some(local),
        Phase::Opening
        | Phase::AwaitingLockin { .. }
        | Phase::Normal
        | Phase::Closed { .. }
        | Phase::Onchain => None,
    };
    let at_opening = live.setup.local.upfront_shutdown_script.as_ref();
    told.or(at_opening.filter(|script| !script.is_empty()))
}

impl Channel {
    /// Its state is of a backup from before anything was revoked.
    pub(super) fn shows_nothing(&self) -> bool {
        let record = self.record();
        record.is_some_and(|r| r.facts.stale && r.live.has_revoked_nothing())
    }

    pub(super) async fn close(&mut self, ask: CloseAsk) {
        let Some(record) = self.record().filter(|r| r.live.phase != Phase::Opening) else {
            let reason = "closed before it was opened".to_owned();
            self.command(Command::CancelOpening { reason }).await;
            let _ = ask.done.send(Ok(Closed::Unopened));
            return;
        };
        if record.facts.spent_by.is_some() {
            let _ = ask
                .done
                .send(Err("the channel is closed already".to_owned()));
            return;
        }
        // hsmd has the last word: it signs its own newest commitment, or refuses.
        if record.facts.stale && !ask.unilateral {
            let _ = ask.done.send(Err(STALE.to_owned()));
            return;
        }
        if ask.unilateral {
            self.closers.push(ask);
            return self.unilateral("user").await;
        }
        if let (Some(tx), Phase::Closed { .. }) = (&record.facts.closing_tx, &record.live.phase) {
            let _ = ask.done.send(Ok(Closed::Mutual(tx.clone())));
            return;
        }
        let fixed = fixed_script(&record.live);
        if let (Some(wanted), Some(fixed)) = (&ask.destination, fixed)
            && wanted != fixed
        {
            let why = "Destination address does not match previous shutdown script";
            let _ = (ask.done).send(Err(format!("{why} {}", fixed.to_hex_string())));
            return;
        }
        let command = self.shutdown(record, &ask);
        self.change_facts("close asked for", |facts| {
            facts.closer.get_or_insert(Side::Local);
            facts.close_cause.get_or_insert_with(|| "user".to_owned());
        });
        self.closers.push(ask);
        self.command(command).await;
    }

    fn shutdown(&self, record: &ChannelRecord, ask: &CloseAsk) -> Command {
        let own = &record.live.shutdown_script;
        Command::Shutdown {
            script: ask.destination.as_ref().unwrap_or(own).clone(),
            fees: ask.fees.unwrap_or_else(|| close_fees(&self.node)),
            wished: ask.fees.is_some(),
        }
    }

    /// To a new channeld: what somebody waits for, and what the one before may have died of or without. It may
    /// know it already.
    pub(super) async fn close_again(&mut self) {
        let negotiates = |record: &&ChannelRecord| {
            let phase = &record.live.phase;
            matches!(
                phase,
                Phase::AwaitingLockin { .. } | Phase::Normal | Phase::ShuttingDown { .. }
            )
        };
        let record = self.record().filter(negotiates);
        let ask = self.closers.iter().rfind(|ask| !ask.unilateral);
        if let Some((record, ask)) = record.zip(ask) {
            let command = self.shutdown(record, ask);
            self.command(command).await;
        }
    }

    pub(super) fn shutting_down(&mut self, by_us: bool) {
        self.change_facts("shutdown", |facts| {
            facts
                .closer
                .get_or_insert(if by_us { Side::Local } else { Side::Remote });
            let cause = if by_us { "user" } else { "remote" };
            facts.close_cause.get_or_insert_with(|| cause.to_owned());
        });
    }

    /// Both signed. Stored, then broadcast until it is in a block.
    pub(super) async fn mutual_close(&mut self, tx: &[u8]) {
        let Ok(tx) = bitcoin::consensus::deserialize::<Transaction>(tx) else {
            return tracing::error!("channeld's closing transaction is none");
        };
        self.change_facts("closing transaction signed", |facts| {
            facts.closing_tx = Some(tx.clone());
        });
        self.broadcast(tx.clone()).await;
        self.launch_onchaind().await;
        self.answer_closers(&Closed::Mutual(tx));
    }

    /// The peer broke the protocol, or says that we did: the chain decides, unless there never was a channel.
    pub(super) async fn failed(&mut self, who: Side, reason: &str) {
        if self.is_opening() {
            return self.opening_failed(reason.to_owned()).await;
        }
        let cause = match who {
            Side::Local => "protocol",
            // An opener that dies before it broadcasts does not know the channel afterwards.
            Side::Remote if self.never_was() => return self.forget_what_never_was().await,
            Side::Remote => "remote",
        };
        self.unilateral(cause).await;
    }

    /// Broadcasts our newest commitment, once; hsmd signs no further state of this channel.
    pub(super) async fn unilateral(&mut self, cause: &str) {
        let Some(record) = self.record() else { return };
        if record.facts.stale && cause != "user" {
            tracing::error!("our commitment is not broadcast: {STALE}");
            return self.refuse_closers(STALE);
        }
        if record.facts.spent_by.is_some() || matches!(record.live.phase, Phase::Closed { .. }) {
            return;
        }
        // Once: an error of ours may make the peer say one too, and the other way round.
        if let (true, Some(tx)) = (record.facts.unilateral, &record.facts.closing_tx) {
            let closed = Closed::Unilateral(tx.clone());
            return self.answer_closers(&closed);
        }
        let tx = match self.node.hsm.force_close(self.dbid).await {
            Ok(bytes) => bitcoin::consensus::deserialize::<Transaction>(&bytes),
            Err(error) => {
                tracing::error!("cannot close unilaterally: {error}");
                return self.refuse_closers(&error.to_string());
            }
        };
        let Ok(tx) = tx else {
            return tracing::error!("hsmd's commitment is no transaction");
        };
        self.change_facts("unilateral close", |facts| {
            facts.closer.get_or_insert(Side::Local);
            facts.close_cause.get_or_insert_with(|| cause.to_owned());
            facts.unilateral = true;
            facts.closing_tx = Some(tx.clone());
        });
        self.fail_channeld().await;
        self.broadcast(tx.clone()).await;
        // It may run already, and not know of ours.
        self.onchain.begin_anew();
        self.launch_onchaind().await;
        self.answer_closers(&Closed::Unilateral(tx));
    }

    /// The peer is told, now and whenever it connects, and HTLCs are not taken any more.
    pub(super) async fn fail_channeld(&mut self) {
        self.active = false;
        self.publish();
        self.send(ToChanneld::Fail {
            reason: "channel closed unilaterally".to_owned(),
        })
        .await;
    }

    /// So that whoever hears of a close finds it in the mempool. onchaind broadcasts it again until a block
    /// has it.
    async fn broadcast(&mut self, tx: Transaction) {
        let sent = self.node.chain.broadcast(tx, true);
        match tokio::time::timeout(BROADCAST, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!("the closing transaction is not taken (yet): {}", error.why)
            }
            Err(_) => tracing::warn!("the closing transaction waits for bitcoind"),
        }
    }

    /// Somebody spent the funding output: whoever waits for a close has one.
    pub(super) fn closed_on_chain(&mut self, tx: &Transaction, mutual: bool) {
        let closed = match mutual {
            true => Closed::Mutual(tx.clone()),
            false => Closed::Unilateral(tx.clone()),
        };
        self.answer_closers(&closed);
    }

    pub(super) fn answer_closers(&mut self, closed: &Closed) {
        for ask in self.closers.drain(..) {
            let _ = ask.done.send(Ok(closed.clone()));
        }
    }

    fn refuse_closers(&mut self, why: &str) {
        for ask in self.closers.drain(..) {
            let _ = ask.done.send(Err(why.to_owned()));
        }
    }

    /// The peer proved that it has a newer state than we.
    pub(super) fn we_are_stale(&mut self) {
        tracing::error!("{STALE}");
        self.change_facts("stale", |facts| facts.stale = true);
        self.refuse_closers(STALE);
    }

    /// Tells the directory what others may choose by.
    pub(super) fn publish(&self) {
        if let Stage::Open(record, htlcs) = &self.stage {
            let summary = super::view::summary(&self.node, record, htlcs, self.active);
            self.node.channels.publish(summary);
        }
    }
}
