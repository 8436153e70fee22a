//! Our own updates: checked when they are asked for, sent with the next commitment (BOLT 2).

use tx::fees;
use tx::ledger::{Delta, Htlc, HtlcKey, Ledger};
use tx::limits::{CLTV_LIMIT, MAX_HTLCS, highest_feerate, offered};
use wire::{
    FeeratePerKw, HtlcId, Message, MilliSatoshi, OnionPacket, Side, UpdateAddHtlc, UpdateFailHtlc,
    UpdateFailMalformedHtlc, UpdateFee, UpdateFulfillHtlc,
};

use super::{Link, Running};
use crate::action::{Action, AddRefusal, Notice, Origin, Removal};
use crate::state::{HtlcRecord, HtlcState, Phase};

impl Running {
    pub(super) fn add(&mut self, origin: Origin, htlc: Htlc, onion: OnionPacket) -> Vec<Action> {
        let key = HtlcKey {
            offerer: Side::Local,
            id: self.next_out,
        };
        if let Err(reason) = self.check_add(key, &htlc) {
            return vec![Action::Tell(Notice::AddRefused { origin, reason })];
        }
        self.next_out = HtlcId(key.id.0.saturating_add(1));
        let record = HtlcRecord {
            htlc,
            state: HtlcState::SentAddHtlc,
            onion,
            origin: Some(origin),
            removal: None,
        };
        self.htlcs.insert(key, record);
        vec![]
    }

    fn check_add(&self, key: HtlcKey, htlc: &Htlc) -> Result<(), AddRefusal> {
        match self.live.phase {
            Phase::Normal => {}
            Phase::Opening | Phase::AwaitingLockin { .. } => return Err(AddRefusal::NotReady),
            Phase::ShuttingDown { .. }
            | Phase::Closing { .. }
            | Phase::Closed { .. }
            | Phase::Onchain => {
                return Err(AddRefusal::ShuttingDown);
            }
        }
        if self.link != Link::Up {
            return Err(AddRefusal::NotConnected);
        }
        let theirs = &self.live.setup.remote;
        // BOLT 2, update_add_htlc, sender: more than 0, and the receiver's minimum.
        if htlc.amount.0 == 0 || htlc.amount < theirs.htlc_minimum {
            return Err(AddRefusal::BelowMinimum(htlc.amount, theirs.htlc_minimum));
        }
        // BOLT 2, update_add_htlc, sender: below 500000000; and an HTLC that has timed out
        // already would have to be failed at once.
        let timed_out = self
            .height
            .is_some_and(|height| htlc.cltv_expiry.0 <= height.0);
        if htlc.cltv_expiry >= CLTV_LIMIT || timed_out {
            return Err(AddRefusal::BadExpiry);
        }
        let (mut local, mut remote) = (self.future(Side::Local), self.future(Side::Remote));
        let (count, value) = offered(&remote, Side::Local);
        // BOLT 2, update_add_htlc, sender: the receiver's max_accepted_htlcs.
        let most = theirs.max_accepted_htlcs.min(MAX_HTLCS);
        if count >= usize::from(most) {
            return Err(AddRefusal::TooManyHtlcs(most));
        }
        // BOLT 2, update_add_htlc, sender: the receiver's max_htlc_value_in_flight_msat.
        if value.saturating_add(htlc.amount) > theirs.max_htlc_value_in_flight {
            return Err(AddRefusal::TooMuchInFlight(theirs.max_htlc_value_in_flight));
        }
        // BOLT 2, update_add_htlc, sender: fee, anchors and reserve of both commitments.
        let spendable = fees::spendable(&self.live.setup, &local, &remote, Side::Local);
        if htlc.amount > spendable {
            return Err(AddRefusal::InsufficientCapacity(htlc.amount, spendable));
        }
        // BOLT 2, max_dust_htlc_exposure_msat, offering: not if it adds to too much dust.
        if self.adds_too_much_dust(&mut local, &mut remote, key, *htlc) {
            return Err(AddRefusal::TooMuchDust(self.max_dust()));
        }
        Ok(())
    }

    /// What was queued under other circumstances is checked again before it leaves: HTLCs of the
    /// peer and feerates that came in between count. Says which can no longer be added.
    pub(super) fn recheck_queued(&mut self) -> Vec<Action> {
        if !std::mem::take(&mut self.recheck) {
            return vec![];
        }
        let first = HtlcKey {
            offerer: Side::Local,
            id: self.live.next_htlc_id,
        };
        let end = HtlcKey {
            offerer: Side::Local,
            id: self.next_out,
        };
        let queued: Vec<HtlcKey> = self.htlcs.range(first..end).map(|(key, _)| *key).collect();
        let queued: Vec<HtlcRecord> = queued.iter().filter_map(|k| self.htlcs.remove(k)).collect();
        self.next_out = self.live.next_htlc_id;
        let add_again = |HtlcRecord {
                             htlc,
                             onion,
                             origin,
                             ..
                         }| {
            origin
                .map(|origin| self.add(origin, htlc, onion))
                .unwrap_or_default()
        };
        queued.into_iter().flat_map(add_again).collect()
    }

    fn adds_too_much_dust(
        &self,
        local: &mut Ledger,
        remote: &mut Ledger,
        key: HtlcKey,
        htlc: Htlc,
    ) -> bool {
        let mut too_much = false;
        // A fall that is under way has not trimmed less yet.
        let highest = self.newest_feerate().max(self.local.feerate);
        let highest = highest.max(self.remote.feerate);
        local.feerate = highest;
        remote.feerate = highest;
        for (ledger, owner) in [(local, Side::Local), (remote, Side::Remote)] {
            let trimmed = |amount| {
                fees::is_trimmed(&self.live.setup, owner, ledger.feerate, Side::Local, amount)
            };
            if !trimmed(htlc.amount) {
                continue;
            }
            let _ = ledger.apply(&Delta::Add { key, htlc });
            too_much |= self.over_dust_limit(ledger, owner);
        }
        too_much
    }

    /// What `side` could offer in one HTLC now.
    pub(crate) fn spendable(&self, side: Side) -> MilliSatoshi {
        let (local, remote) = (self.future(Side::Local), self.future(Side::Remote));
        fees::spendable(&self.live.setup, &local, &remote, side)
    }

    pub(super) fn remove(&mut self, id: HtlcId, removal: Removal) -> Vec<Action> {
        let key = HtlcKey {
            offerer: Side::Remote,
            id,
        };
        let Some(record) = self.htlcs.get_mut(&key) else {
            return vec![];
        };
        // BOLT 2, Removing an HTLC, sender: only what is irrevocably committed, and only once.
        if record.state != HtlcState::RcvdAddAckRevocation {
            return vec![];
        }
        if let Removal::Fulfil { preimage } = &removal
            && preimage.payment_hash() != record.htlc.payment_hash
        {
            // The peer would fail the channel; the HTLC stays until its preimage or its end.
            return vec![];
        }
        record.state = HtlcState::SentRemoveHtlc;
        record.removal = Some(removal);
        self.dirty.insert(key);
        // The next commitment stores the decision with it. Where that is far off, it is noted.
        if self.link == Link::Up && !self.live.awaiting_revocation {
            return vec![];
        }
        vec![Action::Record(self.persist())]
    }

    /// Opener: whether to send update_fee with the next commitment.
    pub(super) fn consider_feerate(&mut self) {
        let Some(target) = self.target else { return };
        // BOLT 2, shutdown: once no HTLC is left there may be no update, so none begins after it.
        let quiet = self.live.is_opener()
            && self.live.phase == Phase::Normal
            && self.live.feerate.pending.is_empty()
            && !self.live.awaiting_revocation;
        let current = self.live.feerate.current;
        let target = target
            .max(FeeratePerKw::FLOOR)
            .min(highest_feerate(current));
        if !quiet || !differs(current, target) {
            return;
        }
        // What cannot be afforded is approached by halves.
        let mut candidate = target;
        while differs(current, candidate) {
            if candidate < current || self.can_raise_to(candidate) {
                self.live.feerate.push(candidate, HtlcState::SentAddHtlc);
                self.recheck = true;
                return;
            }
            let rise = candidate.saturating_sub(current).0 / 2;
            candidate = current.saturating_add(FeeratePerKw(rise));
        }
    }

    fn can_raise_to(&self, feerate: FeeratePerKw) -> bool {
        let (mut local, mut remote) = (self.future(Side::Local), self.future(Side::Remote));
        local.feerate = feerate;
        remote.feerate = feerate;
        let affordable = fees::opener_can_afford(&self.live.setup, &local, Side::Local)
            && fees::opener_can_afford(&self.live.setup, &remote, Side::Remote);
        // BOLT 2, update_fee, sender, without option_anchors: a rise may trim HTLCs.
        affordable
            && !self.rise_trims_too_much(&local, Side::Local)
            && !self.rise_trims_too_much(&remote, Side::Remote)
    }

    /// The update messages of our newest commitment_signed, in the order of its deltas.
    pub(super) fn newest_updates(&self) -> Vec<Message> {
        let channel_id = self.live.channel_id;
        let ours = |(key, record): &(&HtlcKey, &HtlcRecord)| {
            key.offerer == Side::Remote && record.state == HtlcState::SentRemoveCommit
        };
        let removals = self.htlcs.iter().filter(ours).filter_map(|(key, record)| {
            Some(removal_message(channel_id, key.id, record.removal.clone()?))
        });
        let additions = self
            .htlcs
            .iter()
            .filter(|(_, record)| record.state == HtlcState::SentAddCommit)
            .map(|(key, record)| {
                Message::UpdateAddHtlc(UpdateAddHtlc {
                    channel_id,
                    id: key.id,
                    amount_msat: record.htlc.amount,
                    payment_hash: record.htlc.payment_hash,
                    cltv_expiry: record.htlc.cltv_expiry,
                    onion_routing_packet: record.onion.clone(),
                    blinded_path: None,
                })
            });
        let pending = self.live.feerate.pending.iter();
        let fee = pending
            .filter(|(_, state)| *state == HtlcState::SentAddCommit)
            .map(|(feerate_per_kw, _)| {
                Message::UpdateFee(UpdateFee {
                    channel_id,
                    feerate_per_kw: *feerate_per_kw,
                })
            });
        removals.chain(additions).chain(fee).collect()
    }

    /// What a restarted node has to hear again.
    pub(super) fn told_again(&self) -> Vec<Action> {
        let undecided = self.htlcs.iter().filter(|(_, record)| {
            record.state == HtlcState::RcvdAddAckRevocation && record.removal.is_none()
        });
        let locked = undecided.map(|(key, record)| self.locked_again(key, record));
        let fulfilled = self
            .htlcs
            .iter()
            .filter_map(|(key, record)| match &record.removal {
                Some(removal @ Removal::Fulfil { .. }) => {
                    let (id, origin, removal) = (key.id, record.origin?, removal.clone());
                    Some(Notice::Resolved {
                        id,
                        origin,
                        removal,
                    })
                }
                Some(Removal::Fail { .. } | Removal::Malformed { .. }) | None => None,
            });
        locked
            .chain(fulfilled)
            .chain(self.milestone())
            .map(Action::Tell)
            .collect()
    }

    /// What the channel waits for the chain with: a crash may have come between its Persist and
    /// the first notice.
    fn milestone(&self) -> Option<Notice> {
        let (funding, script) = (self.live.funding, self.live.setup.funding_script_pubkey());
        match &self.live.phase {
            Phase::AwaitingLockin { .. } if self.live.scid.is_none() => {
                Some(match self.live.setup.opener {
                    Side::Local => Notice::FundingSigned { funding, script },
                    Side::Remote => Notice::WatchFunding { funding, script },
                })
            }
            Phase::Closed { tx } => Some(Notice::MutualClose { tx: tx.clone() }),
            Phase::Opening
            | Phase::AwaitingLockin { .. }
            | Phase::Normal
            | Phase::ShuttingDown { .. }
            | Phase::Closing { .. }
            | Phase::Onchain => None,
        }
    }

    /// What the node hears about an incoming HTLC that it has to decide on, once it is irrevocable.
    pub(super) fn locked(&self, key: &HtlcKey, record: &HtlcRecord) -> Notice {
        let setup = &self.live.setup;
        let amount = record.htlc.amount;
        // BOLT 2, max_dust_htlc_exposure_msat, receiving: such an HTLC should be failed.
        let over = |ledger: &Ledger, owner| {
            fees::is_trimmed(setup, owner, ledger.feerate, key.offerer, amount)
                && self.over_dust_limit(ledger, owner)
        };
        Notice::Locked {
            id: key.id,
            htlc: record.htlc,
            onion: record.onion.clone(),
            over_dust_limit: over(&self.local, Side::Local) || over(&self.remote, Side::Remote),
        }
    }

    /// The same of one that it may have forwarded before a restart: the dust that there is now, at another
    /// feerate, is no reason to fail what has paid for another.
    fn locked_again(&self, key: &HtlcKey, record: &HtlcRecord) -> Notice {
        Notice::Locked {
            id: key.id,
            htlc: record.htlc,
            onion: record.onion.clone(),
            over_dust_limit: false,
        }
    }

    /// Refuses what is queued but in no commitment: none is added once shutdown is in the air.
    pub(super) fn refuse_queued(&mut self) -> Vec<Action> {
        let mut refused = Vec::new();
        self.htlcs.retain(|_, record| {
            if record.state != HtlcState::SentAddHtlc {
                return true;
            }
            let reason = AddRefusal::ShuttingDown;
            let told = record
                .origin
                .map(|origin| Notice::AddRefused { origin, reason });
            refused.extend(told.map(Action::Tell));
            false
        });
        self.next_out = self.live.next_htlc_id;
        refused
    }
}

/// Less than an eighth up or down is not worth a commitment.
fn differs(current: FeeratePerKw, target: FeeratePerKw) -> bool {
    u64::from(current.0.abs_diff(target.0)).saturating_mul(8) >= u64::from(current.0)
        && current != target
}

fn removal_message(channel_id: wire::ChannelId, id: HtlcId, removal: Removal) -> Message {
    match removal {
        Removal::Fulfil { preimage } => Message::UpdateFulfillHtlc(UpdateFulfillHtlc {
            channel_id,
            id,
            payment_preimage: preimage,
            attribution_data: None,
        }),
        Removal::Fail { reason } => Message::UpdateFailHtlc(UpdateFailHtlc {
            channel_id,
            id,
            reason,
            attribution_data: None,
        }),
        Removal::Malformed {
            sha256_of_onion,
            failure_code,
        } => Message::UpdateFailMalformedHtlc(UpdateFailMalformedHtlc {
            channel_id,
            id,
            sha256_of_onion,
            failure_code,
        }),
    }
}
