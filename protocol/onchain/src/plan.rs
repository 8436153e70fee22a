//! What is to be done with an output: nothing, a claim from some block on, or waiting for a preimage.

use tx::claim::How;
use tx::ledger::HtlcKey;
use tx::setup::CommitmentFormat;
use wire::{BlockHeight, CltvExpiry, PaymentHash, Preimage, Side};

use crate::action::{Facts, KnownHtlc, OutputKind, Spender};
use crate::tree::Commitment;

/// What is to be done with an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing: it is the peer's, or in the wallet as it is.
    Leave,
    /// We take it by ourselves.
    Sweep {
        how: How,
        /// The first block that may hold the claim.
        from: BlockHeight,
        deadline: Option<BlockHeight>,
        contested: bool,
    },
    /// By the HTLC transaction of our commitment.
    HtlcTx {
        key: HtlcKey,
        preimage: Option<Preimage>,
        lock_time: CltvExpiry,
        from: BlockHeight,
        deadline: Option<BlockHeight>,
    },
    /// The peer offered it and nobody has given us its preimage: after `until` it takes it back.
    NeedsPreimage { until: BlockHeight },
}

/// Where an output is.
pub(crate) struct Place<'a> {
    pub facts: &'a Facts,
    pub spender: Spender,
    pub commitment: Option<&'a Commitment>,
    pub height: BlockHeight,
}

/// The first block that may hold a transaction with this lock time.
fn past(expiry: CltvExpiry) -> BlockHeight {
    BlockHeight(expiry.0).after(1)
}

impl Place<'_> {
    /// BOLT 3: with anchors every path but the revocation's is closed for one block.
    fn open_at(&self) -> BlockHeight {
        match self.facts.setup.format {
            CommitmentFormat::StaticRemotekey => self.height,
            CommitmentFormat::AnchorsZeroFeeHtlc => self.height.after(1),
        }
    }

    /// When the peer can take its delayed outputs of a block.
    fn remote_delay(&self, from: BlockHeight) -> BlockHeight {
        from.after(u32::from(self.facts.setup.local.to_self_delay.0))
    }
}

/// Of an output of the transaction that spent the funding output.
pub(crate) fn of(
    place: &Place<'_>,
    kind: OutputKind,
    htlc: Option<&KnownHtlc>,
    preimage: &dyn Fn(&PaymentHash) -> Option<Preimage>,
) -> Plan {
    match (kind, place.commitment) {
        (OutputKind::ToLocal, Some(commitment)) => to_local(place, commitment),
        (OutputKind::ToRemote, _) => to_remote(place),
        (OutputKind::Htlc(_), Some(commitment)) => match htlc {
            Some(known) => of_htlc(place, commitment, known, preimage),
            None => Plan::Leave,
        },
        // BOLT 5: an anchor that did its work is left; anybody may take it after 16 blocks.
        (OutputKind::Anchor | OutputKind::Close | OutputKind::Theirs, _)
        | (OutputKind::HtlcTx(_), _)
        | (OutputKind::ToLocal | OutputKind::Htlc(_), None) => Plan::Leave,
    }
}

fn to_local(place: &Place<'_>, commitment: &Commitment) -> Plan {
    let n = commitment.n;
    match place.spender {
        // BOLT 5, Local Commitment: spend to_local once its delay is over.
        Spender::Ours => Plan::Sweep {
            how: How::Delayed { n },
            from: place
                .height
                .after(u32::from(place.facts.setup.remote.to_self_delay.0)),
            deadline: None,
            contested: false,
        },
        // BOLT 5, Revoked Transaction Close: the peer can take its main output after its delay.
        Spender::Revoked => Plan::Sweep {
            how: How::Revoked { n },
            from: place.height,
            deadline: Some(place.remote_delay(place.height)),
            contested: false,
        },
        Spender::MutualClose | Spender::Theirs | Spender::Unknown => Plan::Leave,
    }
}

fn to_remote(place: &Place<'_>) -> Plan {
    match place.spender {
        // BOLT 5, Remote Commitment and Revoked Transaction Close: to_remote is ours, in theirs.
        Spender::Theirs | Spender::Revoked | Spender::Unknown => Plan::Sweep {
            how: How::ToRemote,
            from: place.open_at(),
            deadline: None,
            contested: false,
        },
        Spender::Ours | Spender::MutualClose => Plan::Leave,
    }
}

fn of_htlc(
    place: &Place<'_>,
    commitment: &Commitment,
    known: &KnownHtlc,
    preimage: &dyn Fn(&PaymentHash) -> Option<Preimage>,
) -> Plan {
    let htlc = &known.htlc;
    match (place.spender, known.key.offerer) {
        (Spender::Revoked, offerer) => Plan::Sweep {
            how: How::RevokedHtlc {
                n: commitment.n,
                offerer,
                payment_hash: htlc.payment_hash,
                cltv_expiry: htlc.cltv_expiry,
            },
            from: place.height,
            // What the peer makes of it first is delayed, and ours until then.
            deadline: Some(place.remote_delay(place.height)),
            contested: true,
        },
        (Spender::Ours, Side::Local) => Plan::HtlcTx {
            key: known.key,
            preimage: None,
            lock_time: htlc.cltv_expiry,
            from: past(htlc.cltv_expiry).max(place.open_at()),
            deadline: known.incoming_expiry,
        },
        (Spender::Theirs, Side::Local) => Plan::Sweep {
            how: How::Timeout {
                point: commitment.point,
                payment_hash: htlc.payment_hash,
                cltv_expiry: htlc.cltv_expiry,
            },
            from: past(htlc.cltv_expiry).max(place.open_at()),
            deadline: known.incoming_expiry,
            contested: true,
        },
        (Spender::Ours | Spender::Theirs, Side::Remote) => {
            let expiry = BlockHeight(htlc.cltv_expiry.0);
            match preimage(&htlc.payment_hash) {
                Some(preimage) => fulfilled(place, commitment, known, preimage),
                None => Plan::NeedsPreimage { until: expiry },
            }
        }
        (Spender::MutualClose | Spender::Unknown, _) => Plan::Leave,
    }
}

/// An HTLC of the peer's whose preimage we have: until its expiry nobody else can take it.
fn fulfilled(
    place: &Place<'_>,
    commitment: &Commitment,
    known: &KnownHtlc,
    preimage: Preimage,
) -> Plan {
    let deadline = Some(BlockHeight(known.htlc.cltv_expiry.0));
    match commitment.owner {
        Side::Local => Plan::HtlcTx {
            key: known.key,
            preimage: Some(preimage),
            lock_time: CltvExpiry(0),
            from: place.open_at(),
            deadline,
        },
        Side::Remote => Plan::Sweep {
            how: How::Preimage {
                point: commitment.point,
                preimage,
            },
            from: place.open_at(),
            deadline,
            contested: true,
        },
    }
}

/// Of the output of an HTLC transaction in the block at `height`.
pub(crate) fn second_stage(facts: &Facts, how: Option<&How>, height: BlockHeight) -> Plan {
    match how {
        Some(how @ How::Delayed { .. }) => Plan::Sweep {
            how: how.clone(),
            from: height.after(u32::from(facts.setup.remote.to_self_delay.0)),
            deadline: None,
            contested: false,
        },
        Some(how @ How::Revoked { .. }) => Plan::Sweep {
            how: how.clone(),
            from: height,
            deadline: Some(height.after(u32::from(facts.setup.local.to_self_delay.0))),
            contested: false,
        },
        Some(
            How::ToRemote | How::Timeout { .. } | How::Preimage { .. } | How::RevokedHtlc { .. },
        )
        | None => Plan::Leave,
    }
}
