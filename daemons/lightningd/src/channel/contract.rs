//! What onchaind is told of a channel when its funding output is spent or about to be: the contract,
//! as far as it is written in commitments that somebody has, and the preimages that are known.

use std::collections::BTreeMap;

use bitcoin::Transaction;
use channel::action::{Origin, Removal};
use channel::state::{HtlcRecord, HtlcState, Live};
use lightningd_db::{Db, DbError};
use onchain::action::{Encoded, Facts, KnownHtlc, Places, Terms};
use secp256k1::PublicKey;
use tx::ledger::{Htlc, HtlcKey};
use tx::limits;
use wire::{BlockHeight, ChannelDbid, CommitmentNumber, HtlcId, Preimage, Side};

use crate::store::channels::{self as records, ChannelRecord};
use crate::store::forwards::{End, Forward};
use crate::store::invoices::{self, PreimageAt};

pub use tx::limits::BURIAL_DEPTH;

/// How far we go on chain. The depth at which an HTLC counts as over leaves a forward time to fail
/// what came in for it, with CLN's `cltv-delta`.
pub const TERMS: Terms = Terms {
    reasonable_depth: limits::REASONABLE_DEPTH,
    burial_depth: BURIAL_DEPTH,
    fee_part: limits::CLAIM_FEE_PART,
    anchor_part: limits::ANCHOR_FEE_PART,
    max_fee: limits::MAX_FEE,
};

/// `revoked`: the commitment of the peer's that spent the funding output, if it has revoked that. Of the
/// HTLCs that are over none but those in it matter.
///
/// # Errors
/// A record that cannot be read.
pub fn facts(
    db: &Db,
    record: &ChannelRecord,
    htlcs: &BTreeMap<HtlcKey, HtlcRecord>,
    revoked: Option<CommitmentNumber>,
) -> Result<Facts, DbError> {
    let live = &record.live;
    let mut known = Vec::with_capacity(htlcs.len());
    for (key, htlc) in htlcs {
        known.push(KnownHtlc {
            key: *key,
            htlc: htlc.htlc,
            live: true,
            places: places(live, htlc.state),
            incoming_expiry: incoming_expiry(db, htlc)?,
        });
    }
    let over = match revoked {
        Some(n) => records::ended_in(db, live.dbid, n)?,
        None => Vec::new(),
    };
    known.extend(over.into_iter().map(|(key, htlc)| KnownHtlc {
        key,
        htlc,
        live: false,
        places: Places::default(),
        incoming_expiry: None,
    }));
    Ok(Facts {
        setup: live.setup.clone(),
        funding: live.funding,
        remote: unrevoked(live),
        local: live.local_next.prev(),
        htlcs: known,
        ours: record.facts.closing_tx.as_ref().map(Encoded::of),
        terms: TERMS,
    })
}

/// The number of the commitment that this transaction is, if the peer has revoked it. It may be one of
/// ours of the same number: then HTLCs too many are told, which fit no output.
#[must_use]
pub fn revoked(live: &Live, tx: &Transaction) -> Option<CommitmentNumber> {
    let n = tx::commitment::number_of(&live.setup, tx)?;
    let lowest = unrevoked(live).into_iter().map(|(n, _)| n).min()?;
    (n < lowest).then_some(n)
}

/// The peer's commitments that it has not revoked. Two while the newest is not acknowledged: its
/// predecessor has the older point.
fn unrevoked(live: &Live) -> Vec<(CommitmentNumber, PublicKey)> {
    let newest = live.remote_next.prev();
    let oldest = match live.awaiting_revocation {
        true => newest.and_then(CommitmentNumber::prev),
        false => newest,
    };
    let with_oldest = oldest.map(|n| (n, live.remote_current_point));
    let with_newest = newest.zip(live.remote_next_point);
    let newer = with_newest.filter(|_| live.awaiting_revocation);
    with_oldest.into_iter().chain(newer).collect()
}

/// Which of the commitments of [`unrevoked`], and whether our newest, have an HTLC in this state.
fn places(live: &Live, state: HtlcState) -> Places {
    let (remote, remote_next) = match live.awaiting_revocation {
        true => (state.in_remote_before(), state.in_remote()),
        false => (state.in_remote(), false),
    };
    Places {
        local: state.in_local(),
        remote,
        remote_next,
    }
}

/// When the HTLC that pays for this one can be taken back from us.
fn incoming_expiry(db: &Db, record: &HtlcRecord) -> Result<Option<BlockHeight>, DbError> {
    let Some(Origin::Forward { channel, id }) = record.origin else {
        return Ok(None);
    };
    let offerer = Side::Remote;
    let incoming: Option<Htlc> = records::htlc(db, channel, HtlcKey { offerer, id })?;
    Ok(incoming.map(|htlc| BlockHeight(htlc.cltv_expiry.0)))
}

/// Preimages of what the peer offered, wherever the node has them: the channel said them and the peer
/// has not confirmed it, or whoever knows them told a channel that could not hear it.
///
/// # Errors
/// A record that cannot be read.
pub fn preimages(
    db: &Db,
    channel: ChannelDbid,
    htlcs: &BTreeMap<HtlcKey, HtlcRecord>,
) -> Result<Vec<Preimage>, DbError> {
    let mut found = Vec::new();
    for (key, record) in htlcs {
        if key.offerer != Side::Remote {
            continue;
        }
        let said = match &record.removal {
            Some(Removal::Fulfil { preimage }) => Some(*preimage),
            Some(Removal::Fail { .. } | Removal::Malformed { .. }) | None => None,
        };
        let preimage = match said {
            Some(preimage) => Some(preimage),
            None => known(db, channel, key.id, &record.htlc)?,
        };
        let fits = |preimage: &Preimage| preimage.payment_hash() == record.htlc.payment_hash;
        found.extend(preimage.filter(fits));
    }
    Ok(found)
}

/// Of a forward that was fulfilled further on, or of an invoice that this HTLC has paid.
fn known(
    db: &Db,
    channel: ChannelDbid,
    id: HtlcId,
    htlc: &Htlc,
) -> Result<Option<Preimage>, DbError> {
    let forward = db.get::<Forward>(&(channel.0, id.0))?;
    if let Some(End::Removed(Removal::Fulfil { preimage })) = forward.and_then(|f| f.end) {
        return Ok(Some(preimage));
    }
    let Some(invoice) = invoices::by_hash(db, htlc.payment_hash)? else {
        return Ok(None);
    };
    let by_this = |paid: &invoices::Paid| paid.htlcs.contains(&(channel.0, id.0));
    Ok(match (invoice.paid, invoice.preimage) {
        (Some(paid), PreimageAt::Here(preimage)) if by_this(&paid) => Some(preimage),
        (Some(_) | None, PreimageAt::Here(_) | PreimageAt::Hsmd) => None,
    })
}
