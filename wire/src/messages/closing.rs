//! Closing together (BOLT 2, Channel Close).

use bitcoin::ScriptBuf;
use bitcoin::absolute::LockTime;
use secp256k1::ecdsa::Signature;

use super::{message, record};
use crate::units::*;

message! {
    /// No new HTLCs; close to this script.
    Shutdown = 38 {
        channel_id: ChannelId,
        scriptpubkey: ScriptBuf,
    }
}

message! {
    /// A fee for the closing transaction, and the signature with it (legacy negotiation).
    ClosingSigned = 39 {
        channel_id: ChannelId,
        fee_satoshis: Satoshi,
        signature: Signature,
    }
    tlvs {
        1 fee_range: Option<FeeRange>,
    }
}

record! {
    /// Fees that the sender would accept.
    FeeRange {
        min_fee_satoshis: Satoshi,
        max_fee_satoshis: Satoshi,
    }
}

message! {
    /// The closer's transactions (`option_simple_close`).
    ClosingComplete = 40 {
        channel_id: ChannelId,
        closer_scriptpubkey: ScriptBuf,
        closee_scriptpubkey: ScriptBuf,
        fee_satoshis: Satoshi,
        locktime: LockTime,
    }
    tlvs {
        1 closer_output_only: Option<Signature>,
        2 closee_output_only: Option<Signature>,
        3 closer_and_closee_outputs: Option<Signature>,
    }
}

message! {
    /// The closee's signature on one of them (`option_simple_close`).
    ClosingSig = 41 {
        channel_id: ChannelId,
        closer_scriptpubkey: ScriptBuf,
        closee_scriptpubkey: ScriptBuf,
        fee_satoshis: Satoshi,
        locktime: LockTime,
    }
    tlvs {
        1 closer_output_only: Option<Signature>,
        2 closee_output_only: Option<Signature>,
        3 closer_and_closee_outputs: Option<Signature>,
    }
}
