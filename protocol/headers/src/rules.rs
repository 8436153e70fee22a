//! Which target a header must have, network by network.

use bitcoin::Network;
use bitcoin::block::Header;
use bitcoin::constants::ChainHash as Genesis;
use bitcoin::params::Params;
use bitcoin::pow::{CompactTarget, Target};
use wire::{BlockHeight, ChainHash};

use crate::HeaderError;

/// Blocks for which the target stays.
pub(crate) const PERIOD: u32 = 2016;
/// How far ahead of our clock a block may be, in seconds.
const AHEAD: u64 = 2 * 60 * 60;
/// BIP 94: how far before its predecessor the first block of a period may be, in seconds.
const TIMEWARP: u32 = 600;
/// Some seventeen million million of difficulty: no block of mainnet has been easier since 2022.
const MAINNET_EASIEST: u32 = 0x1710_0000;

/// A network's.
#[derive(Clone, Debug)]
pub struct Rules {
    network: Network,
    params: &'static Params,
}

impl Rules {
    /// # Errors
    /// `UnknownNetwork`.
    pub fn of(chain_hash: ChainHash) -> Result<Rules, HeaderError> {
        let all = [
            Network::Bitcoin,
            Network::Testnet,
            Network::Testnet4,
            Network::Signet,
            Network::Regtest,
        ];
        let is = |network: &Network| {
            Genesis::using_genesis_block_const(*network).to_bytes() == chain_hash.0
        };
        let network = all.into_iter().find(is);
        let network = network.ok_or(HeaderError::UnknownNetwork)?;
        let params = network.params();
        Ok(Rules { network, params })
    }

    /// Whether blocks come steadily: on test networks none may for hours.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.network == Network::Bitcoin
    }

    /// Whether a chain may begin with this, on the word of whoever gives it.
    pub(crate) fn may_begin(&self, header: &Header) -> bool {
        let easiest = match self.network {
            Network::Bitcoin => CompactTarget::from_consensus(MAINNET_EASIEST).into(),
            Network::Testnet | Network::Testnet4 | Network::Signet | Network::Regtest => {
                self.limit()
            }
        };
        header.target() <= easiest && header.validate_pow(header.target()).is_ok()
    }

    fn limit(&self) -> Target {
        self.params.max_attainable_target
    }

    /// The target of the block at `height`, with this time, after those that `at` gives.
    pub(crate) fn target<'a>(
        &self,
        height: BlockHeight,
        time: u32,
        at: &dyn Fn(BlockHeight) -> Option<&'a Header>,
    ) -> Option<CompactTarget> {
        let last = at(BlockHeight(height.0.checked_sub(1)?))?;
        if self.params.no_pow_retargeting {
            return Some(last.bits);
        }
        if height.0.is_multiple_of(PERIOD) {
            let first = at(BlockHeight(height.0.checked_sub(PERIOD)?))?;
            let timespan = last.time.saturating_sub(first.time);
            // BIP 94: from the period's first block, since its last may be one of the easy ones.
            let before = match self.network {
                Network::Testnet4 => first.bits,
                Network::Bitcoin | Network::Testnet | Network::Signet | Network::Regtest => {
                    last.bits
                }
            };
            let next = CompactTarget::from_next_work_required(before, timespan.into(), self.params);
            return Some(next);
        }
        if !self.params.allow_min_difficulty_blocks {
            return Some(last.bits);
        }
        // Test networks: after twenty minutes without a block one may be as easy as can be, and those
        // after it are as hard as the last that was not.
        let easy = self.limit().to_compact_lossy();
        let twice = self.params.pow_target_spacing.saturating_mul(2);
        if u64::from(time) > u64::from(last.time).saturating_add(twice) {
            return Some(easy);
        }
        let mut back = height.0.checked_sub(1)?;
        loop {
            let header = at(BlockHeight(back))?;
            if header.bits != easy || back.is_multiple_of(PERIOD) {
                return Some(header.bits);
            }
            back = back.checked_sub(1)?;
        }
    }

    /// Whether the block at `height` may have its time: after the median of the eleven before it, and
    /// not ahead of `now`, in seconds since the epoch. `recent` are those before it, the last one last.
    pub(crate) fn may_be_at(
        &self,
        height: BlockHeight,
        header: &Header,
        recent: &[Header],
        now: u64,
    ) -> bool {
        let mut times: Vec<u32> = recent.iter().rev().take(11).map(|h| h.time).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let warps = self.network == Network::Testnet4
            && height.0.is_multiple_of(PERIOD)
            && recent
                .last()
                .is_some_and(|last| header.time < last.time.saturating_sub(TIMEWARP));
        // On regtest blocks cost nothing, and tests set clocks.
        let in_time =
            self.params.no_pow_retargeting || u64::from(header.time) <= now.saturating_add(AHEAD);
        header.time > median && in_time && !warps
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::constants::genesis_block;

    use super::*;

    fn rules(network: Network) -> Rules {
        let hash = Genesis::using_genesis_block_const(network).to_bytes();
        Rules::of(ChainHash(hash)).unwrap()
    }

    fn header(time: u32, bits: u32) -> Header {
        let bits = CompactTarget::from_consensus(bits);
        Header {
            time,
            bits,
            ..genesis_block(Network::Bitcoin).header
        }
    }

    /// The target after these headers, of which the last stands before `height`.
    fn target(network: Network, height: u32, time: u32, before: &[(u32, Header)]) -> u32 {
        let at = |height: BlockHeight| {
            let found = before.iter().find(|(at, _)| *at == height.0);
            found.map(|(_, header)| header)
        };
        let target = rules(network).target(BlockHeight(height), time, &at);
        target.unwrap().to_consensus()
    }

    // Times and targets of mainnet's blocks 30240, 32255 and 32256, and of 66528, 68543 and 68544.
    #[test]
    fn targets_follow_those_of_mainnets_first_periods() {
        for (height, first, last, before, after) in [
            (
                32_256,
                1_261_130_161,
                1_262_152_739,
                0x1d00_ffff,
                0x1d00_d86a,
            ),
            (
                68_544,
                1_279_008_237,
                1_279_297_671,
                0x1c05_a3f4,
                0x1c01_68fd,
            ),
        ] {
            let headers = [
                (height - PERIOD, header(first, before)),
                (height - 1, header(last, before)),
            ];
            assert_eq!(target(Network::Bitcoin, height, last + 1, &headers), after);
        }
        // Within a period it stays, whatever the time.
        let last = [(32_256, header(1, 0x1d00_d86a))];
        assert_eq!(
            target(Network::Bitcoin, 32_257, 9_999_999, &last),
            0x1d00_d86a
        );
    }

    #[test]
    fn a_test_networks_block_is_easy_after_twenty_minutes_and_the_next_is_not() {
        let (easy, hard) = (0x1d00_ffff, 0x1c05_a3f4);
        let before = [
            (4032, header(0, hard)),
            (4033, header(100, hard)),
            (4034, header(5_000, easy)),
        ];
        for network in [Network::Testnet, Network::Testnet4] {
            assert_eq!(target(network, 4034, 1_300, &before[..2]), hard);
            assert_eq!(target(network, 4034, 1_301, &before[..2]), easy);
            assert_eq!(target(network, 4035, 5_001, &before), hard);
        }
        assert_eq!(target(Network::Signet, 4034, 9_999, &before[..2]), hard);
        // A period whose last block was easy: BIP 94 goes by its first.
        let two_weeks = 2016 * 600;
        let period = [(2016, header(0, hard)), (4031, header(two_weeks, easy))];
        assert_eq!(target(Network::Testnet4, 4032, two_weeks, &period), hard);
        assert_eq!(target(Network::Testnet, 4032, two_weeks, &period), easy);
    }

    #[test]
    fn a_blocks_time_is_after_the_median_and_not_far_ahead() {
        let recent: Vec<Header> = (0..11).map(|n| header(1_000 + n * 10, 0)).collect();
        let may = |network, height, time, now| {
            let header = header(time, 0);
            rules(network).may_be_at(BlockHeight(height), &header, &recent, now)
        };
        assert!(!may(Network::Bitcoin, 2017, 1_050, 5_000));
        assert!(may(Network::Bitcoin, 2017, 1_051, 5_000));
        assert!(may(Network::Bitcoin, 2017, 12_200, 5_000));
        assert!(!may(Network::Bitcoin, 2017, 12_201, 5_000));
        assert!(may(Network::Regtest, 2017, 12_201, 5_000));
        let late: Vec<Header> = recent.iter().cloned().chain([header(9_000, 0)]).collect();
        let warp = |network, height| {
            rules(network).may_be_at(BlockHeight(height), &header(8_399, 0), &late, 9_000)
        };
        assert!(!warp(Network::Testnet4, 4032), "BIP 94");
        assert!(warp(Network::Testnet4, 4033) && warp(Network::Testnet, 4032));
    }

    #[test]
    fn mainnet_begins_with_no_block_that_anybody_could_make() {
        let genesis = genesis_block(Network::Bitcoin).header;
        assert!(!rules(Network::Bitcoin).may_begin(&genesis));
        for network in [
            Network::Testnet,
            Network::Testnet4,
            Network::Signet,
            Network::Regtest,
        ] {
            assert!(rules(network).may_begin(&genesis_block(network).header));
        }
        assert!(
            !rules(Network::Regtest).may_begin(&header(1, 0x207f_ffff)),
            "no work"
        );
        assert!(Rules::of(ChainHash([7; 32])).is_err());
    }
}
