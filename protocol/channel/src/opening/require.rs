//! What BOLT 2 and our policy require of open_channel and accept_channel.
//!
//! `party` holds for one message by itself, `setup` for both together. Keys need no check here:
//! the codec takes no invalid point.

use tx::fees;
use tx::ledger::Ledger;
use tx::setup::{Party, Setup};
use wire::{AcceptChannel, FeeratePerKw, OpenChannel, Satoshi};

use super::fault;
use super::terms::{self, MAX_ACCEPTED_HTLCS, MIN_DUST_LIMIT};
use crate::action::{Identity, PeerFault, Policy};

/// Twice the highest standard dust threshold: above it, trimmed HTLCs are a way to burn our money.
pub(super) const MAX_DUST_LIMIT: Satoshi = Satoshi(2 * 546);
/// A day: nobody waits longer for a channel.
pub(super) const MAX_MINIMUM_DEPTH: u32 = 144;

type Held = Result<(), PeerFault>;

fn must(holds: bool, text: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(fault(text())) }
}

/// What open_channel alone can get wrong.
pub(super) fn open_channel(identity: &Identity, policy: &Policy, message: &OpenChannel) -> Held {
    // BOLT 2, open_channel, receiver: a chain that we do not know.
    must(message.chain_hash == identity.chain_hash, || {
        format!(
            "chain_hash {} is not the chain of this node",
            message.chain_hash
        )
    })?;
    // BOLT 1: all zeroes name every channel, so an error could not name this one.
    must(message.temporary_channel_id != wire::ChannelId::ALL, || {
        "temporary_channel_id must not be zero".to_owned()
    })?;
    let FeeratePerKw(feerate) = message.feerate_per_kw;
    // BOLT 2, open_channel, receiver: a feerate too small to get confirmed, or beyond reason.
    must(message.feerate_per_kw >= policy.feerate_min, || {
        format!("feerate_per_kw {feerate} is below {}", policy.feerate_min.0)
    })?;
    must(message.feerate_per_kw <= policy.feerate_max, || {
        format!("feerate_per_kw {feerate} is above {}", policy.feerate_max.0)
    })?;
    party(policy, &terms::opener(message))
}

/// What accept_channel can get wrong without looking at the amounts; `open` is ours.
pub(super) fn accept_channel(policy: &Policy, open: &OpenChannel, message: &AcceptChannel) -> Held {
    // BOLT 2, accept_channel: temporary_channel_id is that of open_channel.
    must(
        message.temporary_channel_id == open.temporary_channel_id,
        || "accept_channel for another temporary_channel_id".to_owned(),
    )?;
    // BOLT 2, accept_channel, receiver: channel_type must be there.
    let Some(channel_type) = &message.channel_type else {
        return Err(fault("accept_channel without channel_type"));
    };
    // BOLT 2, accept_channel, receiver: and the same.
    must(Some(channel_type) == open.channel_type.as_ref(), || {
        format!("channel_type {channel_type} is not the one that was proposed")
    })?;
    // BOLT 2, accept_channel, receiver: minimum_depth may be too much.
    must(message.minimum_depth <= MAX_MINIMUM_DEPTH, || {
        format!(
            "minimum_depth {} is above {MAX_MINIMUM_DEPTH}",
            message.minimum_depth
        )
    })?;
    party(policy, &terms::accepter(message))
}

/// One side's demands and limits.
fn party(policy: &Policy, party: &Party) -> Held {
    let Party {
        dust_limit,
        channel_reserve,
        to_self_delay,
        max_accepted_htlcs,
        ..
    } = party;
    // BOLT 2, open_channel, receiver: an unreasonable to_self_delay.
    must(*to_self_delay <= policy.max_to_self_delay, || {
        format!(
            "to_self_delay {to_self_delay} is above {}",
            policy.max_to_self_delay
        )
    })?;
    // BOLT 2, open_channel, receiver: more HTLCs than a commitment can hold; with none at all the
    // channel is of no use.
    must(
        (1..=MAX_ACCEPTED_HTLCS).contains(max_accepted_htlcs),
        || format!("max_accepted_htlcs {max_accepted_htlcs} is not from 1 to {MAX_ACCEPTED_HTLCS}"),
    )?;
    // BOLT 2, open_channel, receiver: dust below what every segwit output needs to be relayed.
    must(*dust_limit >= MIN_DUST_LIMIT, || {
        format!("dust_limit_satoshis {dust_limit} is below {MIN_DUST_LIMIT}")
    })?;
    // BOLT 2, open_channel, receiver: dust may be too much.
    must(*dust_limit <= MAX_DUST_LIMIT, || {
        format!("dust_limit_satoshis {dust_limit} is above {MAX_DUST_LIMIT}")
    })?;
    // BOLT 2, open_channel, receiver: a reserve that is dust.
    must(dust_limit <= channel_reserve, || {
        format!(
            "dust_limit_satoshis {dust_limit} is above channel_reserve_satoshis {channel_reserve}"
        )
    })?;
    // BOLT 2, open_channel: a script that is fixed has to be one that shutdown allows
    // (option_shutdown_anysegwit is ours).
    let script = party.upfront_shutdown_script.as_ref();
    must(
        script.is_none_or(|script| tx::closing::is_valid_shutdown_script(script, true)),
        || "upfront_shutdown_script is of a form that shutdown does not allow".to_owned(),
    )
}

/// What both messages together amount to.
pub(super) fn setup(policy: &Policy, setup: &Setup) -> Held {
    let Setup {
        funding_value,
        push,
        ..
    } = setup;
    must(funding_value.0 <= wire::MAX_SATOSHI, || {
        format!("funding_satoshis {funding_value} is more than there is")
    })?;
    // BOLT 2, open_channel, receiver: more pushed than there is.
    must(
        funding_value.to_msat().is_some_and(|all| *push <= all),
        || format!("push_msat {push} is more than the funding of {funding_value}"),
    )?;
    dust_and_reserve(setup)?;
    let ledger = Ledger::opening(setup).map_err(|error| fault(error.to_string()))?;
    let fee = fees::commitment_fee(setup.format, setup.feerate, 0);
    let costs = fee.saturating_add(fees::anchors_value(setup.format));
    // BOLT 2, open_channel, receiver: the opener pays the whole fee, and the anchors, of commitment 0.
    let opener = ledger
        .balance(setup.opener)
        .to_sat_floor()
        .checked_sub(costs);
    let Some(opener) = opener else {
        return Err(fault(format!(
            "the opener cannot pay {costs} for the first commitment"
        )));
    };
    // BOLT 2, open_channel, receiver: both amounts at or below the reserve, so that nobody can spend.
    let accepter = ledger.balance(setup.opener.other()).to_sat_floor();
    let reserve = setup
        .local
        .channel_reserve
        .max(setup.remote.channel_reserve);
    must(opener > reserve || accepter > reserve, || {
        format!("neither side has more than the channel_reserve_satoshis of {reserve}")
    })?;
    capacity(policy, setup, costs)
}

/// Each side's dust limit against the other's reserve.
fn dust_and_reserve(setup: &Setup) -> Held {
    for (one, other) in [(&setup.local, &setup.remote), (&setup.remote, &setup.local)] {
        // BOLT 2, accept_channel: no reserve is dust to the other side.
        must(one.channel_reserve >= other.dust_limit, || {
            let (reserve, dust) = (one.channel_reserve, other.dust_limit);
            format!("channel_reserve_satoshis {reserve} is below the dust_limit_satoshis {dust}")
        })?;
    }
    Ok(())
}

/// What an HTLC to the peer can carry at most, after reserves and `costs`. BOLT 2, open_channel,
/// receiver: funding may be too small, reserve and htlc_minimum too large, max in flight too small.
fn capacity(policy: &Policy, setup: &Setup, costs: Satoshi) -> Held {
    let Setup {
        funding_value,
        local,
        remote,
        ..
    } = setup;
    let kept = local
        .channel_reserve
        .saturating_add(remote.channel_reserve)
        .saturating_add(costs);
    let Some(usable) = funding_value.checked_sub(kept) else {
        return Err(fault(format!(
            "channel_reserve_satoshis of {} and {} and costs of {costs} leave nothing of {funding_value}",
            local.channel_reserve, remote.channel_reserve
        )));
    };
    let capacity = usable.min(remote.max_htlc_value_in_flight.to_sat_floor());
    must(remote.htlc_minimum.to_sat_floor() <= capacity, || {
        format!(
            "htlc_minimum_msat {} is above the capacity of {capacity}",
            remote.htlc_minimum
        )
    })?;
    must(capacity >= policy.min_capacity, || {
        format!(
            "a capacity of {capacity} (funding {funding_value}, max_htlc_value_in_flight_msat {}) is \
             below {}",
            remote.max_htlc_value_in_flight, policy.min_capacity
        )
    })
}
