//! One channel. The channel core's own commands and notices, plus what the shell adds:
//! onions are peeled and errors wrapped in channeld, so that lightningd sees hops, not packets.

use channel::action::{Command, Identity, Notice, OpenRequest, Persist, Policy};
use channel::state::{HtlcRecord, Live};
use serde::{Deserialize, Serialize};
use tx::ledger::{Htlc, HtlcKey};
use wire::{
    BlockHeight, CltvExpiry, HtlcId, MilliSatoshi, PaymentSecret, Preimage, ShortChannelId,
};

/// lightningd to channeld.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToChanneld {
    /// First message.
    Start(Box<Start>),
    Command(Box<Command>),
    /// Effect: ends an incoming HTLC. A failure is encrypted for the origin first.
    Remove {
        id: HtlcId,
        how: RemoveHow,
    },
    /// Every Persist up to this sequence number is durable.
    Persisted {
        sequence: u64,
    },
    /// Effect: the descriptor that comes along replaces the channeld_connectd edge (connectd was restarted).
    NewPeerSocket,
    /// Effect: tells the peer that the channel fails (BOLT 1 error) and goes on only to repeat that.
    Fail {
        reason: String,
    },
    /// Effect: exits, nothing is owed.
    Stop,
}

/// How a channeld begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    pub policy: Policy,
    pub height: BlockHeight,
    pub how: Begin,
}

/// New by us, new by the peer, or after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Begin {
    Open {
        identity: Identity,
        request: OpenRequest,
    },
    Accept {
        identity: Identity,
        open_channel: Box<wire::Message>,
    },
    Resume {
        live: Box<Live>,
        htlcs: Vec<(HtlcKey, HtlcRecord)>,
    },
}

/// What becomes of an incoming HTLC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RemoveHow {
    Fulfil {
        preimage: Preimage,
    },
    /// We are the node that fails it.
    FailHere {
        failure: onion::Failure,
    },
    /// A node further on failed it: its encrypted error gets our layer.
    FailFrom {
        #[serde(with = "serde_bytes")]
        reason: Vec<u8>,
    },
}

/// channeld to lightningd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToLightningd {
    /// To be written in order; `wait`: answer Persisted when it is durable. Sequence numbers count from 1.
    Persist {
        sequence: u64,
        wait: bool,
        persist: Box<Persist>,
    },
    /// Everything that the core tells, except Locked.
    Notice(Box<Notice>),
    /// An incoming HTLC is irrevocably committed and its onion is peeled. Repeated after a restart until removed.
    Incoming {
        id: HtlcId,
        htlc: Htlc,
        hop: Box<Hop>,
    },
    /// The peer broke the protocol: it got an error and the channel must be closed on chain.
    Failed { reason: String },
    /// The peer sent an error: it has given the channel up.
    PeerFailed { reason: String },
    /// It got a warning and was disconnected; the channel goes on at the next connection.
    Warned { reason: String },
    /// A rule of hsmd refused what the channel asked: a bug, or somebody meddles.
    Refused { rule: String, reason: String },
}

/// What an incoming HTLC's onion says (BOLT 4, Payload Format).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Hop {
    Forward {
        scid: ShortChannelId,
        amt_to_forward: MilliSatoshi,
        outgoing_cltv_value: CltvExpiry,
        onion: wire::OnionPacket,
    },
    Final {
        amt_to_forward: MilliSatoshi,
        outgoing_cltv_value: CltvExpiry,
        payment_secret: Option<PaymentSecret>,
        total: Option<MilliSatoshi>,
        metadata: Option<Vec<u8>>,
        keysend_preimage: Option<Preimage>,
    },
}

#[cfg(test)]
mod tests {
    use channel::action::{MAX_REASON, Origin, Removal};
    use channel::state::HtlcState;
    use tx::limits::MAX_HTLCS;
    use wire::{ChannelDbid, OnionPacket, PaymentHash, Side};

    use super::*;

    /// What [`Start`] has besides.
    const REST: usize = 64 << 10;

    fn longest(offerer: Side, id: u16) -> (HtlcKey, HtlcRecord) {
        let origin = Origin::Forward {
            channel: ChannelDbid(u64::MAX),
            id: HtlcId(u64::MAX),
        };
        let record = HtlcRecord {
            htlc: Htlc {
                amount: MilliSatoshi(u64::MAX),
                payment_hash: PaymentHash([7; 32]),
                cltv_expiry: CltvExpiry(u32::MAX),
            },
            state: HtlcState::SentRemoveAckCommit,
            onion: OnionPacket(Box::new([7; 1366])),
            origin: Some(origin),
            removal: Some(Removal::Fail {
                reason: vec![7; MAX_REASON],
            }),
        };
        let id = HtlcId(u64::MAX - u64::from(id));
        (HtlcKey { offerer, id }, record)
    }

    #[test]
    fn all_htlcs_that_a_channel_can_have_fit_one_frame() {
        let of = |offerer| (0..MAX_HTLCS).map(move |id| longest(offerer, id));
        let htlcs: Vec<_> = of(Side::Local).chain(of(Side::Remote)).collect();
        let length = ipc_transport::codec::encode(&htlcs).unwrap().len();
        assert!(length + REST < ipc_transport::MAX_FRAME, "{length}");
    }
}
