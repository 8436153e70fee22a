//! HTLCs for us: parts come together, hsmd releases the preimage for them, and they are fulfilled.
//!
//! Paid is written before the preimage leaves: the channel's Persist that carries the preimage
//! comes later in the same ordered writer.

use std::time::Duration;

use ipc_messages::lightningd_channeld::RemoveHow;
use lightningd_db::{Batch, DbError};
use onion::Failure;
use tokio::time::Instant;
use wire::{MilliSatoshi, PaymentHash, Preimage};

use super::{Arrived, Invoices, status};
use crate::channel::Mail;
use crate::hsm::HsmError;
use crate::store::invoices::{self as records, Invoice, Paid, PreimageAt};
use crate::store::now;

/// BOLT 4: an incomplete set of parts is failed after this long.
const MPP_TIMEOUT: Duration = Duration::from_secs(60);
/// When hsmd is asked again for a preimage that it refused.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What hsmd said to a complete set.
pub(super) type Release = (PaymentHash, Result<Preimage, HsmError>);

/// Parts of a payment that is not decided.
pub(super) struct PartialSet {
    parts: Vec<Arrived>,
    deadline: Instant,
    stage: SetStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SetStage {
    /// More have to come.
    Collecting,
    /// hsmd is asked for the preimage.
    Releasing,
    /// hsmd refused. After a loss of power it may have to hear of the peer's last revocation again,
    /// which it does once the peer is connected.
    Refused { again: Instant },
}

impl PartialSet {
    fn sum(&self) -> MilliSatoshi {
        let amounts = self.parts.iter().map(|part| part.htlc.amount);
        amounts.fold(MilliSatoshi(0), MilliSatoshi::saturating_add)
    }

    fn has(&self, part: &Arrived) -> bool {
        let same = |p: &Arrived| (p.channel, p.id) == (part.channel, part.id);
        self.parts.iter().any(same)
    }

    /// When something is to be done about it, if hsmd is not busy with it.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.stage {
            SetStage::Collecting => Some(self.deadline),
            SetStage::Releasing => None,
            SetStage::Refused { again } => Some(again.min(self.deadline)),
        }
    }
}

impl Invoices {
    pub(super) fn arrived(&mut self, part: Arrived) -> Result<(), DbError> {
        let invoice = records::by_hash(&self.node.db, part.htlc.payment_hash)?;
        let Some(invoice) = invoice else {
            self.fail(&part, None);
            return Ok(());
        };
        match (&invoice.paid, invoice.preimage) {
            // Again after a crash: the same HTLC gets the same answer, another one is refused.
            (Some(paid), PreimageAt::Here(preimage))
                if paid.htlcs.contains(&(part.channel.0, part.id.0)) =>
            {
                self.fulfil(&part, preimage);
                return Ok(());
            }
            (Some(_), PreimageAt::Here(_) | PreimageAt::Hsmd) => {
                self.fail(&part, None);
                return Ok(());
            }
            (None, PreimageAt::Here(_) | PreimageAt::Hsmd) => {}
        }
        let set = self.sets.get(&invoice.payment_hash);
        if set.is_some_and(|set| set.has(&part)) {
            return Ok(());
        }
        // What comes when all is there is too much.
        if set.is_some_and(|set| set.stage != SetStage::Collecting) {
            self.fail(&part, None);
            return Ok(());
        }
        if let Err(failure) = self.check(&part, &invoice) {
            self.fail(&part, Some(failure));
            return Ok(());
        }
        let wanted = part.total.unwrap_or(part.amount);
        let set = self.sets.entry(invoice.payment_hash);
        let set = set.or_insert_with(|| PartialSet {
            parts: Vec::new(),
            deadline: Instant::now() + MPP_TIMEOUT,
            stage: SetStage::Collecting,
        });
        set.parts.push(part);
        if set.sum() < wanted {
            return Ok(());
        }
        match invoice.preimage {
            PreimageAt::Here(preimage) => self.paid(invoice, preimage),
            PreimageAt::Hsmd => {
                self.ask_for_release(invoice.payment_hash);
                Ok(())
            }
        }
    }

    /// Without waiting for it: hsmd answers many in one round.
    fn ask_for_release(&mut self, payment_hash: PaymentHash) {
        if let Some(set) = self.sets.get_mut(&payment_hash) {
            set.stage = SetStage::Releasing;
        }
        let node = self.node.clone();
        let release = async move { (payment_hash, node.hsm.release(payment_hash).await) };
        self.releases.push(Box::pin(release));
    }

    pub(super) fn released(&mut self, (payment_hash, release): Release) {
        let preimage = match release {
            Ok(preimage) => preimage,
            Err(error) => {
                // After a power failure hsmd may lack the peer's last secret until the peer is back.
                tracing::warn!(
                    "HTLCs for {payment_hash} are here, but no preimage yet: {error}; asking again"
                );
                if let Some(set) = self.sets.get_mut(&payment_hash) {
                    let again = Instant::now() + ASK_AGAIN;
                    set.stage = SetStage::Refused { again };
                }
                return;
            }
        };
        let done = match records::by_hash(&self.node.db, payment_hash) {
            Ok(Some(invoice)) => self.paid(invoice, preimage),
            // Deleted meanwhile.
            Ok(None) => {
                self.fail_set(payment_hash, None);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            self.node.database_failed(&error);
        }
    }

    /// BOLT 4, Requirements for the final node. `Err`: the failure that is not the usual
    /// incorrect_or_unknown_payment_details, which tells a prober nothing.
    fn check(&self, part: &Arrived, invoice: &Invoice) -> Result<(), Failure> {
        let unknown = || self.unknown(part);
        let (htlc, total) = (&part.htlc, part.total.unwrap_or(part.amount));
        if part.payment_secret != Some(invoice.payment_secret) {
            return Err(unknown());
        }
        if htlc.amount < part.amount {
            return Err(Failure::FinalIncorrectHtlcAmount {
                incoming_htlc_amt: htlc.amount,
            });
        }
        if htlc.cltv_expiry < part.cltv_expiry {
            return Err(Failure::FinalIncorrectCltvExpiry {
                cltv_expiry: htlc.cltv_expiry,
            });
        }
        let least = self
            .node
            .chain
            .height()
            .plus(self.node.options.channels.cltv_final.0.into());
        if htlc.cltv_expiry < least || status(invoice) == "expired" {
            return Err(unknown());
        }
        if let Some(amount) = invoice.amount {
            // BOLT 4: up to twice the amount is accepted, against correlation.
            if total < amount || total.0 > amount.0.saturating_mul(2) {
                return Err(unknown());
            }
        }
        let set = self.sets.get(&invoice.payment_hash);
        let first = set.and_then(|set| set.parts.first());
        if first.is_some_and(|first| first.total.unwrap_or(first.amount) != total) {
            return Err(unknown());
        }
        Ok(())
    }

    fn unknown(&self, part: &Arrived) -> Failure {
        Failure::IncorrectOrUnknownPaymentDetails {
            htlc_msat: part.htlc.amount,
            height: self.node.chain.height(),
        }
    }

    fn paid(&mut self, mut invoice: Invoice, preimage: Preimage) -> Result<(), DbError> {
        let Some(set) = self.sets.remove(&invoice.payment_hash) else {
            return Ok(());
        };
        let received = set.sum();
        let part = |part: &Arrived| (part.channel.0, part.id.0);
        invoice.updated_index = Some(self.update_index());
        invoice.preimage = PreimageAt::Here(preimage);
        invoice.paid = Some(Paid {
            pay_index: self.next_pay_index,
            amount_received: received,
            paid_at: now(),
            htlcs: set.parts.iter().map(part).collect(),
        });
        self.next_pay_index += 1;
        let mut batch = Batch::new();
        records::put(&mut batch, &invoice);
        self.highest().put(&mut batch);
        self.node.db.write(batch)?;
        for part in &set.parts {
            self.fulfil(part, preimage);
        }
        tracing::debug!("invoice {:?} is paid with {received}", invoice.label);
        self.wake(&invoice);
        Ok(())
    }

    fn fulfil(&self, part: &Arrived, preimage: Preimage) {
        let how = RemoveHow::Fulfil { preimage };
        self.node
            .channels
            .tell(part.channel, Mail::Remove { id: part.id, how });
    }

    fn fail(&self, part: &Arrived, failure: Option<Failure>) {
        let failure = failure.unwrap_or_else(|| self.unknown(part));
        tracing::debug!(channel = %part.channel, "HTLC {} failed: {}", part.id, failure.name());
        let how = RemoveHow::FailHere { failure };
        self.node
            .channels
            .tell(part.channel, Mail::Remove { id: part.id, how });
    }

    fn fail_set(&mut self, payment_hash: PaymentHash, failure: Option<Failure>) {
        let set = self.sets.remove(&payment_hash);
        for part in set.into_iter().flat_map(|set| set.parts) {
            self.fail(&part, failure.clone());
        }
    }

    /// What has waited for long enough is failed, and hsmd is asked again for the rest.
    pub(super) fn sets_due(&mut self, now: Instant) {
        let due = |set: &PartialSet| set.due().is_some_and(|due| due <= now);
        let late = |set: &PartialSet| set.deadline <= now;
        let sets = self.sets.iter().filter(|(_, set)| due(set));
        let sets: Vec<(PaymentHash, bool)> = sets.map(|(hash, set)| (*hash, late(set))).collect();
        for (hash, late) in sets {
            match late {
                true => self.fail_set(hash, Some(Failure::MppTimeout)),
                false => self.ask_for_release(hash),
            }
        }
    }
}
