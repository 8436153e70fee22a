//! What open_channel and accept_channel say, from and to the types that the channel is set up with.

use bitcoin::ScriptBuf;
use tx::setup::{Basepoints, CommitmentFormat, Party};
use wire::features::{Feature, Features};
use wire::{AcceptChannel, MilliSatoshi, OpenChannel, Satoshi};

use crate::action::{Identity, OpenRequest, Policy};

/// BOLT 2, open_channel: with 483 each way one penalty transaction can still claim all of them.
pub(super) const MAX_ACCEPTED_HTLCS: u16 = 483;
/// Smallest dust limit (BOLT 3, Dust Limits: the threshold of any segwit output).
pub(super) const MIN_DUST_LIMIT: Satoshi = Satoshi(354);
/// `announce_channel` in `channel_flags`.
const ANNOUNCE: u8 = 1;

/// BOLT 2, Defined Channel Types, without variations: no alias-only and no zeroconf channels.
pub(crate) fn channel_type(format: CommitmentFormat) -> Features {
    let anchors: &[Feature] = match format {
        CommitmentFormat::StaticRemotekey => &[],
        CommitmentFormat::AnchorsZeroFeeHtlc => &[Feature::Anchors],
    };
    let mut features = Features::of(anchors, &[]);
    features.set_required(Feature::StaticRemotekey);
    features
}

/// The format that a channel type stands for; `None` for those that we do not speak.
pub(super) fn format_of(features: &Features) -> Option<CommitmentFormat> {
    [
        CommitmentFormat::AnchorsZeroFeeHtlc,
        CommitmentFormat::StaticRemotekey,
    ]
    .into_iter()
    .find(|format| channel_type(*format) == *features)
}

pub(super) fn is_announced(message: &OpenChannel) -> bool {
    // BOLT 2, open_channel, receiver: the other bits mean nothing.
    message.channel_flags & ANNOUNCE != 0
}

/// The reserve that we demand: 1% as BOLT 2 suggests, and not below `floor`.
pub(super) fn usual_reserve(funding_value: Satoshi, floor: Satoshi) -> Satoshi {
    Satoshi(funding_value.0 / 100).max(floor)
}

/// Our side.
pub(super) fn ours(
    identity: &Identity,
    policy: &Policy,
    funding_value: Satoshi,
    dust_limit: Satoshi,
    channel_reserve: Satoshi,
) -> Party {
    let whole = funding_value.to_msat().unwrap_or(MilliSatoshi(u64::MAX));
    Party {
        funding_pubkey: identity.funding_pubkey,
        basepoints: identity.basepoints,
        dust_limit,
        to_self_delay: policy.to_self_delay,
        channel_reserve,
        htlc_minimum: policy.htlc_minimum,
        max_htlc_value_in_flight: policy.max_htlc_value_in_flight.unwrap_or(whole),
        max_accepted_htlcs: policy.max_accepted_htlcs.min(MAX_ACCEPTED_HTLCS),
        upfront_shutdown_script: None,
    }
}

/// Whoever sent open_channel.
pub(super) fn opener(message: &OpenChannel) -> Party {
    Party {
        funding_pubkey: message.funding_pubkey,
        basepoints: Basepoints {
            revocation: message.revocation_basepoint,
            payment: message.payment_basepoint,
            delayed_payment: message.delayed_payment_basepoint,
            htlc: message.htlc_basepoint,
        },
        dust_limit: message.dust_limit_satoshis,
        to_self_delay: message.to_self_delay,
        channel_reserve: message.channel_reserve_satoshis,
        htlc_minimum: message.htlc_minimum_msat,
        max_htlc_value_in_flight: message.max_htlc_value_in_flight_msat,
        max_accepted_htlcs: message.max_accepted_htlcs,
        upfront_shutdown_script: fixed(message.upfront_shutdown_script.as_ref()),
    }
}

/// Whoever sent accept_channel.
pub(super) fn accepter(message: &AcceptChannel) -> Party {
    Party {
        funding_pubkey: message.funding_pubkey,
        basepoints: Basepoints {
            revocation: message.revocation_basepoint,
            payment: message.payment_basepoint,
            delayed_payment: message.delayed_payment_basepoint,
            htlc: message.htlc_basepoint,
        },
        dust_limit: message.dust_limit_satoshis,
        to_self_delay: message.to_self_delay,
        channel_reserve: message.channel_reserve_satoshis,
        htlc_minimum: message.htlc_minimum_msat,
        max_htlc_value_in_flight: message.max_htlc_value_in_flight_msat,
        max_accepted_htlcs: message.max_accepted_htlcs,
        upfront_shutdown_script: fixed(message.upfront_shutdown_script.as_ref()),
    }
}

/// An empty script fixes nothing.
fn fixed(script: Option<&ScriptBuf>) -> Option<ScriptBuf> {
    script.filter(|script| !script.is_empty()).cloned()
}

pub(super) fn open_channel(
    identity: &Identity,
    request: &OpenRequest,
    party: &Party,
) -> OpenChannel {
    let [first_per_commitment_point, _] = identity.first_points;
    OpenChannel {
        chain_hash: identity.chain_hash,
        temporary_channel_id: request.temporary_channel_id,
        funding_satoshis: request.funding_value,
        push_msat: request.push,
        dust_limit_satoshis: party.dust_limit,
        max_htlc_value_in_flight_msat: party.max_htlc_value_in_flight,
        channel_reserve_satoshis: party.channel_reserve,
        htlc_minimum_msat: party.htlc_minimum,
        feerate_per_kw: request.feerate,
        to_self_delay: party.to_self_delay,
        max_accepted_htlcs: party.max_accepted_htlcs,
        funding_pubkey: party.funding_pubkey,
        revocation_basepoint: party.basepoints.revocation,
        payment_basepoint: party.basepoints.payment,
        delayed_payment_basepoint: party.basepoints.delayed_payment,
        htlc_basepoint: party.basepoints.htlc,
        first_per_commitment_point,
        channel_flags: if request.announce { ANNOUNCE } else { 0 },
        upfront_shutdown_script: Some(ScriptBuf::new()),
        channel_type: Some(channel_type(request.format)),
    }
}

pub(super) fn accept_channel(
    identity: &Identity,
    open: &OpenChannel,
    minimum_depth: u32,
    party: &Party,
) -> AcceptChannel {
    let [first_per_commitment_point, _] = identity.first_points;
    AcceptChannel {
        temporary_channel_id: open.temporary_channel_id,
        dust_limit_satoshis: party.dust_limit,
        max_htlc_value_in_flight_msat: party.max_htlc_value_in_flight,
        channel_reserve_satoshis: party.channel_reserve,
        htlc_minimum_msat: party.htlc_minimum,
        minimum_depth,
        to_self_delay: party.to_self_delay,
        max_accepted_htlcs: party.max_accepted_htlcs,
        funding_pubkey: party.funding_pubkey,
        revocation_basepoint: party.basepoints.revocation,
        payment_basepoint: party.basepoints.payment,
        delayed_payment_basepoint: party.basepoints.delayed_payment,
        htlc_basepoint: party.basepoints.htlc,
        first_per_commitment_point,
        upfront_shutdown_script: Some(ScriptBuf::new()),
        // BOLT 2, accept_channel, sender: the type that open_channel has.
        channel_type: open.channel_type.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_type_is_the_smallest_bitmap_of_even_bits() {
        let bits = |format| channel_type(format).bits().collect::<Vec<_>>();
        assert_eq!(bits(CommitmentFormat::StaticRemotekey), [12]);
        assert_eq!(bits(CommitmentFormat::AnchorsZeroFeeHtlc), [12, 22]);
        assert_eq!(
            channel_type(CommitmentFormat::StaticRemotekey).as_bytes(),
            [0x10, 0]
        );
    }

    #[test]
    fn only_the_two_basic_channel_types_are_spoken() {
        let of = |bits: &[u32]| format_of(&bits.iter().copied().collect());
        assert_eq!(of(&[12]), Some(CommitmentFormat::StaticRemotekey));
        assert_eq!(of(&[12, 22]), Some(CommitmentFormat::AnchorsZeroFeeHtlc));
        for wrong in [
            &[][..],
            &[13],
            &[22],
            &[12, 23],
            &[12, 46],
            &[12, 22, 50],
            &[12, 20],
        ] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
