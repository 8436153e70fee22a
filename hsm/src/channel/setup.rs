//! S1: terms and funding output are fixed once and are in range.

use tx::ledger::Ledger;
use tx::limits::MAX_HTLCS;
use tx::setup::{Funding, Party, Setup};
use tx::signer::Reply;
use wire::{BlockDelta, Satoshi, units::MAX_SATOSHI};

use super::{Channel, Decision, Means, Progress};
use crate::derive::ChannelKeys;
use crate::record::Change;
use crate::refused::Refused;

/// BOLT 2, dust_limit_satoshis: below it, outputs of some standard kinds are not relayed.
const MIN_DUST_LIMIT: Satoshi = Satoshi(354);
/// Longest delay of our own funds: two weeks.
const MAX_OUR_DELAY: BlockDelta = BlockDelta(2016);

impl Channel {
    pub(super) fn fix_setup(&self, setup: Setup, means: &Means<'_>) -> Result<Decision, Refused> {
        if let Some(fixed) = self.setup() {
            return match *fixed == setup {
                true => Ok(Decision::unchanged(Reply::Done)),
                false => Err(Refused::SetupChanged),
            };
        }
        check_keys(&setup, means.keys)?;
        check_range(&setup)?;
        // S2: a script that is fixed at opening is where our balance goes in the end.
        if let Some(script) = &setup.local.upfront_shutdown_script
            && !means.ours.may_close_to(self.shutdown_index, script)
        {
            return Err(Refused::ForeignScript(script.clone()));
        }
        Ok(Decision {
            reply: Reply::Done,
            change: Some(Change::Setup(Box::new(setup))),
        })
    }

    pub(super) fn fix_funding(&self, funding: Funding) -> Result<Decision, Refused> {
        let done = |change| Decision {
            reply: Reply::Done,
            change,
        };
        match &self.progress {
            Progress::Funded(funded) if funded.funding == funding => Ok(done(None)),
            Progress::Funded(_) => Err(Refused::FundingChanged),
            Progress::Agreed(setup) if setup.funding_value == funding.value => {
                Ok(done(Some(Change::Funding(funding))))
            }
            Progress::Agreed(_) => Err(Refused::OutOfRange("funding value")),
            Progress::Stub => Err(Refused::NoFunding),
        }
    }
}

/// Ours are the keys that NewChannel gave out, and the peer's are not ours.
fn check_keys(setup: &Setup, keys: &ChannelKeys) -> Result<(), Refused> {
    let funding = keys.funding_pubkey();
    if setup.local.funding_pubkey != funding {
        return Err(Refused::NotOurKey("funding_pubkey"));
    }
    if setup.local.basepoints != keys.basepoints() {
        return Err(Refused::NotOurKey("basepoints"));
    }
    if setup.remote.funding_pubkey == funding {
        return Err(Refused::OutOfRange("remote funding_pubkey"));
    }
    Ok(())
}

fn check_range(setup: &Setup) -> Result<(), Refused> {
    let in_range = |ok: bool, what| match ok {
        true => Ok(()),
        false => Err(Refused::OutOfRange(what)),
    };
    in_range(
        setup.funding_value > Satoshi::ZERO && setup.funding_value.0 <= MAX_SATOSHI,
        "funding value",
    )?;
    in_range(Ledger::opening(setup).is_ok(), "push")?;
    in_range(setup.feerate.0 > 0, "feerate")?;
    for party in [&setup.local, &setup.remote] {
        check_party(party, setup.funding_value)?;
    }
    in_range(
        setup.remote.to_self_delay <= MAX_OUR_DELAY,
        "to_self_delay on our funds",
    )?;
    // Without a delay on the peer's funds there is no time to punish it.
    in_range(
        setup.local.to_self_delay > BlockDelta::ZERO,
        "to_self_delay on the peer's funds",
    )
}

fn check_party(party: &Party, funding: Satoshi) -> Result<(), Refused> {
    let dust = party.dust_limit;
    if dust < MIN_DUST_LIMIT || dust > funding {
        return Err(Refused::OutOfRange("dust_limit"));
    }
    if party.channel_reserve > funding {
        return Err(Refused::OutOfRange("channel_reserve"));
    }
    if party.max_accepted_htlcs > MAX_HTLCS {
        return Err(Refused::OutOfRange("max_accepted_htlcs"));
    }
    Ok(())
}
