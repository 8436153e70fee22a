//! Replacing the funding transaction (BOLT 2, Channel Splicing).

use bitcoin::Txid;
use bitcoin::absolute::LockTime;
use secp256k1::PublicKey;

use super::message;
use crate::units::*;

message! {
    /// Proposes a splice, on a quiescent channel.
    SpliceInit = 80 {
        channel_id: ChannelId,
        /// What the sender adds, or takes out if negative.
        funding_contribution_satoshis: SignedSatoshi,
        funding_feerate_perkw: FeeratePerKw,
        locktime: LockTime,
        funding_pubkey: PublicKey,
    }
    tlvs {
        2 require_confirmed_inputs: bool,
    }
}

message! {
    /// Agrees to a splice.
    SpliceAck = 81 {
        channel_id: ChannelId,
        /// What the sender adds, or takes out if negative.
        funding_contribution_satoshis: SignedSatoshi,
        funding_pubkey: PublicKey,
    }
    tlvs {
        2 require_confirmed_inputs: bool,
    }
}

message! {
    /// The splice transaction is deep enough for the sender.
    SpliceLocked = 77 {
        channel_id: ChannelId,
        splice_txid: Txid,
    }
}

message! {
    /// The next messages belong together: one commitment for each funding transaction.
    StartBatch = 127 {
        channel_id: ChannelId,
        batch_size: u16,
    }
    tlvs {
        /// The number of the messages in the batch: that of `commitment_signed`.
        1 message_type: Option<u16>,
    }
}
