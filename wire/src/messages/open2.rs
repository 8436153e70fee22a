//! Opening a channel, version 2 (BOLT 2, Channel Establishment v2).

use bitcoin::ScriptBuf;
use bitcoin::absolute::LockTime;
use secp256k1::PublicKey;

use super::message;
use crate::features::Features;
use crate::units::*;

message! {
    /// The opener's proposal; both sides may add funds.
    OpenChannel2 = 64 {
        chain_hash: ChainHash,
        temporary_channel_id: ChannelId,
        funding_feerate_perkw: FeeratePerKw,
        commitment_feerate_perkw: FeeratePerKw,
        funding_satoshis: Satoshi,
        dust_limit_satoshis: Satoshi,
        max_htlc_value_in_flight_msat: MilliSatoshi,
        htlc_minimum_msat: MilliSatoshi,
        to_self_delay: BlockDelta,
        max_accepted_htlcs: u16,
        locktime: LockTime,
        funding_pubkey: PublicKey,
        revocation_basepoint: PublicKey,
        payment_basepoint: PublicKey,
        delayed_payment_basepoint: PublicKey,
        htlc_basepoint: PublicKey,
        first_per_commitment_point: PublicKey,
        second_per_commitment_point: PublicKey,
        /// Bit 0: announce the channel.
        channel_flags: u8,
    }
    tlvs {
        /// Empty: the sender could have committed to a script, but does not.
        0 upfront_shutdown_script: Option<ScriptBuf>,
        1 channel_type: Option<Features>,
        2 require_confirmed_inputs: bool,
    }
}

message! {
    /// The accepter agrees and says what it adds.
    AcceptChannel2 = 65 {
        temporary_channel_id: ChannelId,
        funding_satoshis: Satoshi,
        dust_limit_satoshis: Satoshi,
        max_htlc_value_in_flight_msat: MilliSatoshi,
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
        second_per_commitment_point: PublicKey,
    }
    tlvs {
        /// Empty: the sender could have committed to a script, but does not.
        0 upfront_shutdown_script: Option<ScriptBuf>,
        1 channel_type: Option<Features>,
        2 require_confirmed_inputs: bool,
    }
}
