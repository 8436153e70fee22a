//! The peer's updates, each checked before it may enter a commitment (BOLT 2, Normal Operation).

use tx::fees;
use tx::ledger::{Htlc, HtlcKey};
use tx::limits::{CLTV_LIMIT, highest_feerate, offered};
use wire::{
    HtlcId, Side, UpdateAddHtlc, UpdateFailHtlc, UpdateFailMalformedHtlc, UpdateFee,
    UpdateFulfillHtlc,
};

use super::{Outcome, Running, warning};
use crate::action::{Action, MAX_REASON, Notice, PeerFault, Removal};
use crate::state::{HtlcRecord, HtlcState, Phase};

/// BOLT 4: set in each failure code that says the onion could not be read.
const BADONION: u16 = 0x8000;

impl Running {
    pub(super) fn peer_adds(&mut self, message: UpdateAddHtlc) -> Outcome {
        self.updates_are_open("update_add_htlc")?;
        // BOLT 2, shutdown, sender: no update_add_htlc after it.
        if let Phase::ShuttingDown {
            remote: Some(_), ..
        } = self.live.phase
        {
            return Err(warning("update_add_htlc after shutdown"));
        }
        // BOLT 2, update_add_htlc, sender: ids count up by one from 0.
        if message.id != self.next_in {
            return Err(warning(format!(
                "HTLC id {}, expected {}",
                message.id, self.next_in
            )));
        }
        let htlc = Htlc {
            amount: message.amount_msat,
            payment_hash: message.payment_hash,
            cltv_expiry: message.cltv_expiry,
        };
        let key = HtlcKey {
            offerer: Side::Remote,
            id: message.id,
        };
        self.check_peer_htlc(key, &htlc)?;
        self.next_in = HtlcId(message.id.0.saturating_add(1));
        let record = HtlcRecord {
            htlc,
            state: HtlcState::RcvdAddHtlc,
            onion: message.onion_routing_packet,
            origin: None,
            removal: None,
        };
        self.htlcs.insert(key, record);
        self.recheck = true;
        Ok(vec![])
    }

    fn check_peer_htlc(&self, key: HtlcKey, htlc: &Htlc) -> Result<(), PeerFault> {
        let ours = &self.live.setup.local;
        // BOLT 2, update_add_htlc, receiver: amount 0 or below our minimum is the peer's fault.
        if htlc.amount.0 == 0 || htlc.amount < ours.htlc_minimum {
            return Err(warning(format!(
                "HTLC of {} is below our minimum",
                htlc.amount
            )));
        }
        // BOLT 2, update_add_htlc, receiver: an expiry from 500000000 on is not a block height.
        if htlc.cltv_expiry >= CLTV_LIMIT {
            return Err(warning(format!(
                "cltv_expiry {} is no block height",
                htlc.cltv_expiry
            )));
        }
        let mut next = self.next_local().map_err(|e| warning(e.to_string()))?;
        // BOLT 2, update_add_htlc, receiver: the sender cannot afford the amount.
        next.apply(&tx::ledger::Delta::Add { key, htlc: *htlc })
            .map_err(|e| warning(e.to_string()))?;
        let (count, value) = offered(&next, Side::Remote);
        // BOLT 2, update_add_htlc, receiver: more HTLCs than our max_accepted_htlcs.
        if count > usize::from(ours.max_accepted_htlcs) {
            return Err(warning(format!(
                "more than {} HTLCs",
                ours.max_accepted_htlcs
            )));
        }
        // BOLT 2, update_add_htlc, receiver: more than our max_htlc_value_in_flight_msat.
        if value > ours.max_htlc_value_in_flight {
            let limit = ours.max_htlc_value_in_flight;
            return Err(warning(format!("{value} in flight is more than {limit}")));
        }
        // BOLT 2, update_add_htlc, receiver: the sender goes below its reserve (as opener, after
        // fee and anchors).
        if !fees::keeps_reserve(&self.live.setup, &next, Side::Local, Side::Remote) {
            return Err(warning(format!(
                "the peer cannot afford an HTLC of {}",
                htlc.amount
            )));
        }
        Ok(())
    }

    pub(super) fn peer_fulfils(&mut self, message: &UpdateFulfillHtlc) -> Outcome {
        let preimage = message.payment_preimage;
        let record = self.removable(message.id)?;
        // BOLT 2, update_fulfill_htlc, receiver: the preimage does not hash to the payment_hash.
        if preimage.payment_hash() != record.htlc.payment_hash {
            return Err(warning(format!("wrong preimage for HTLC {}", message.id)));
        }
        let removal = Removal::Fulfil { preimage };
        let origin = record.origin;
        record.state = HtlcState::RcvdRemoveHtlc;
        record.removal = Some(removal.clone());
        // BOLT 2, Forwarding HTLCs: the incoming HTLC is to be fulfilled as soon as the preimage is known.
        let told = origin.map(|origin| {
            Action::Tell(Notice::Resolved {
                id: message.id,
                origin,
                removal,
            })
        });
        Ok(told.into_iter().collect())
    }

    pub(super) fn peer_fails(&mut self, message: UpdateFailHtlc) -> Outcome {
        let mut reason = message.reason;
        reason.truncate(MAX_REASON);
        self.peer_removes(message.id, Removal::Fail { reason })
    }

    pub(super) fn peer_fails_malformed(&mut self, message: &UpdateFailMalformedHtlc) -> Outcome {
        // BOLT 2, update_fail_malformed_htlc, receiver: a code without BADONION.
        if message.failure_code & BADONION == 0 {
            return Err(warning(format!(
                "failure code {:#x} lacks BADONION",
                message.failure_code
            )));
        }
        let UpdateFailMalformedHtlc {
            sha256_of_onion,
            failure_code,
            ..
        } = *message;
        self.peer_removes(
            message.id,
            Removal::Malformed {
                sha256_of_onion,
                failure_code,
            },
        )
    }

    fn peer_removes(&mut self, id: HtlcId, removal: Removal) -> Outcome {
        let record = self.removable(id)?;
        record.state = HtlcState::RcvdRemoveHtlc;
        record.removal = Some(removal);
        Ok(vec![])
    }

    /// An HTLC of ours that the peer may end now.
    fn removable(&mut self, id: HtlcId) -> Result<&mut HtlcRecord, PeerFault> {
        self.updates_are_open("removal of an HTLC")?;
        // BOLT 2, Removing an HTLC, receiver: an id that is not in the peer's current commitment.
        let key = HtlcKey {
            offerer: Side::Local,
            id,
        };
        let record = self.htlcs.get_mut(&key);
        let record = record.ok_or_else(|| warning(format!("removal of unknown HTLC {id}")))?;
        // BOLT 2, Removing an HTLC, sender: not before it is irrevocably committed, and once only.
        if record.state != HtlcState::SentAddAckRevocation {
            return Err(warning(format!(
                "removal of HTLC {id} in {:?}",
                record.state
            )));
        }
        Ok(record)
    }

    pub(super) fn peer_changes_feerate(&mut self, message: &UpdateFee) -> Outcome {
        self.updates_are_open("update_fee")?;
        let setup = &self.live.setup;
        // BOLT 2, update_fee, receiver: only the opener may send it.
        if setup.opener == Side::Local {
            return Err(warning("update_fee from the accepter"));
        }
        let feerate = message.feerate_per_kw;
        // BOLT 2, update_fee, receiver: too low for timely processing, or unreasonably large.
        let min = self.policy.feerate_min;
        let max = self
            .policy
            .feerate_max
            .min(highest_feerate(self.local.feerate));
        if feerate < min || feerate > max {
            return Err(warning(format!(
                "feerate {feerate} is not within {min} and {max}"
            )));
        }
        let mut next = self.next_local().map_err(|e| warning(e.to_string()))?;
        let raised = feerate > next.feerate;
        next.feerate = feerate;
        // BOLT 2, update_fee, receiver: the sender cannot afford the new feerate on our commitment.
        let outputs = fees::untrimmed(setup, &next, Side::Local, feerate);
        let costs = fees::commitment_fee(setup.format, feerate, outputs)
            .saturating_add(fees::anchors_value(setup.format));
        if next.to_remote.to_sat_floor() < costs {
            return Err(warning(format!(
                "the peer cannot afford a feerate of {feerate}"
            )));
        }
        // BOLT 2, update_fee, receiver, without option_anchors: a rise that trims HTLCs beyond our
        // dust exposure. The peer's own commitment may hold HTLCs of ours that it did not know
        // of when it sent this, so only ours is looked at.
        if raised && self.rise_trims_too_much(&next, Side::Local) {
            return Err(warning(format!(
                "a feerate of {feerate} trims too many HTLCs"
            )));
        }
        self.recheck = true;
        self.live.feerate.push(feerate, HtlcState::RcvdAddHtlc);
        Ok(vec![])
    }

    /// BOLT 2: updates are for after channel_ready, and for as long as HTLCs are left.
    pub(super) fn updates_are_open(&self, what: &str) -> Result<(), PeerFault> {
        match self.live.phase {
            Phase::Normal | Phase::ShuttingDown { .. } => Ok(()),
            Phase::Opening | Phase::AwaitingLockin { .. } => {
                Err(warning(format!("{what} before channel_ready")))
            }
            Phase::Closing { .. } | Phase::Closed { .. } | Phase::Onchain => {
                Err(warning(format!("{what} while closing")))
            }
        }
    }
}
