//! Opening a channel, version 1 (BOLT 2, Channel Establishment v1).

use bitcoin::{ScriptBuf, Txid};
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;

use super::message;
use crate::features::Features;
use crate::units::*;

message! {
    /// The opener's proposal.
    OpenChannel = 32 {
        chain_hash: ChainHash,
        temporary_channel_id: ChannelId,
        funding_satoshis: Satoshi,
        push_msat: MilliSatoshi,
        dust_limit_satoshis: Satoshi,
        max_htlc_value_in_flight_msat: MilliSatoshi,
        channel_reserve_satoshis: Satoshi,
        htlc_minimum_msat: MilliSatoshi,
        feerate_per_kw: FeeratePerKw,
        to_self_delay: BlockDelta,
        max_accepted_htlcs: u16,
        funding_pubkey: PublicKey,
        revocation_basepoint: PublicKey,
        payment_basepoint: PublicKey,
        delayed_payment_basepoint: PublicKey,
        htlc_basepoint: PublicKey,
        first_per_commitment_point: PublicKey,
        /// Bit 0: announce the channel.
        channel_flags: u8,
    }
    tlvs {
        /// Empty: the sender could have committed to a script, but does not.
        0 upfront_shutdown_script: Option<ScriptBuf>,
        1 channel_type: Option<Features>,
    }
}

message! {
    /// The accepter agrees.
    AcceptChannel = 33 {
        temporary_channel_id: ChannelId,
        dust_limit_satoshis: Satoshi,
        max_htlc_value_in_flight_msat: MilliSatoshi,
        channel_reserve_satoshis: Satoshi,
        htlc_minimum_msat: MilliSatoshi,
        /// Confirmations that the funding transaction needs; 0 with `option_zeroconf`.
        minimum_depth: u32,
        to_self_delay: BlockDelta,
        max_accepted_htlcs: u16,
        funding_pubkey: PublicKey,
        revocation_basepoint: PublicKey,
        payment_basepoint: PublicKey,
        delayed_payment_basepoint: PublicKey,
        htlc_basepoint: PublicKey,
        first_per_commitment_point: PublicKey,
    }
    tlvs {
        /// Empty: the sender could have committed to a script, but does not.
        0 upfront_shutdown_script: Option<ScriptBuf>,
        1 channel_type: Option<Features>,
    }
}

message! {
    /// The opener has a funding transaction and signs the accepter's first commitment.
    FundingCreated = 34 {
        temporary_channel_id: ChannelId,
        funding_txid: Txid,
        funding_output_index: u16,
        signature: Signature,
    }
}

message! {
    /// The accepter signs the opener's first commitment.
    FundingSigned = 35 {
        channel_id: ChannelId,
        signature: Signature,
    }
}

message! {
    /// The funding transaction is deep enough for the sender (BOLT 2, The `channel_ready` Message).
    ChannelReady = 36 {
        channel_id: ChannelId,
        second_per_commitment_point: PublicKey,
    }
    tlvs {
        /// An alias that the sender will take for this channel.
        1 short_channel_id: Option<ShortChannelId>,
    }
}
