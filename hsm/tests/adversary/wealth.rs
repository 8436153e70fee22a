//! What we can claim at worst, fees aside: the thief chooses which commitment of each channel is
//! broadcast and which preimages are shown; what is shown to us we claim with.

use std::collections::{BTreeMap, BTreeSet};

use tx::ledger::Ledger;
use wire::{PaymentHash, Side};

/// The least over all choices of one commitment from each channel. `shown`: preimages that we know.
pub fn worst(channels: &[Vec<&Ledger>], shown: &BTreeSet<PaymentHash>) -> u64 {
    let mut chosen = Vec::with_capacity(channels.len());
    least(channels, &mut chosen, shown)
}

fn least<'a>(
    rest: &[Vec<&'a Ledger>],
    chosen: &mut Vec<&'a Ledger>,
    shown: &BTreeSet<PaymentHash>,
) -> u64 {
    let Some((first, rest)) = rest.split_first() else {
        return wealth(chosen, shown);
    };
    let mut least_yet = u64::MAX;
    for ledger in first {
        chosen.push(ledger);
        least_yet = least_yet.min(least(rest, chosen, shown));
        chosen.pop();
    }
    least_yet
}

fn wealth(chosen: &[&Ledger], shown: &BTreeSet<PaymentHash>) -> u64 {
    // What came in and what went out, by hash.
    let mut moving: BTreeMap<PaymentHash, (u64, u64)> = BTreeMap::new();
    for (key, htlc) in chosen.iter().flat_map(|ledger| &ledger.htlcs) {
        let (incoming, outgoing) = moving.entry(htlc.payment_hash).or_default();
        match key.offerer {
            Side::Remote => *incoming += htlc.amount.0,
            Side::Local => *outgoing += htlc.amount.0,
        }
    }
    let claimed = moving.iter().map(|(hash, (incoming, outgoing))| {
        match shown.contains(hash) {
            true => *incoming,
            // To take what went out they show what we claim the rest with.
            false => *incoming.min(outgoing),
        }
    });
    chosen.iter().map(|ledger| ledger.to_local.0).sum::<u64>() + claimed.sum::<u64>()
}
