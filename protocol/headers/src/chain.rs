//! The newest headers of the chain with the most work.

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::pow::Work;
use serde::{Deserialize, Serialize};
use wire::BlockHeight;

use crate::HeaderError;
use crate::rules::{PERIOD, Rules};

/// Headers that are kept: a difficulty period, and as far as a reorg may reach.
pub const WINDOW: usize = 2016 + 144;
/// Most headers at once.
const MOST: usize = 2016;

/// A block header in consensus encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawHeader(#[serde(with = "serde_bytes")] pub [u8; 80]);

impl RawHeader {
    /// Of a block's first 80 bytes, or of a header's.
    #[must_use]
    pub fn of(header: &Header) -> RawHeader {
        let mut raw = [0; 80];
        for (to, from) in raw.iter_mut().zip(serialize(header)) {
            *to = from;
        }
        RawHeader(raw)
    }

    fn decode(&self) -> Option<Header> {
        deserialize(&self.0).ok()
    }
}

/// What is known of the chain: the headers from one height to its tip, without a gap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    first: BlockHeight,
    headers: Vec<Header>,
}

impl Chain {
    /// Of the newest block; `None` before the first.
    #[must_use]
    pub fn tip(&self) -> Option<(BlockHeight, &Header)> {
        let last = self.headers.len().checked_sub(1)?;
        let height = self.first.0.checked_add(u32::try_from(last).ok()?)?;
        Some((BlockHeight(height), self.headers.last()?))
    }

    #[must_use]
    pub fn at(&self, height: BlockHeight) -> Option<&Header> {
        self.headers.get(self.place(height)?)
    }

    fn place(&self, height: BlockHeight) -> Option<usize> {
        usize::try_from(height.0.checked_sub(self.first.0)?).ok()
    }

    /// How many blocks the one at `height` and those on it are: its confirmations.
    #[must_use]
    pub fn depth(&self, height: BlockHeight) -> u32 {
        self.tip().map_or(0, |(tip, _)| tip.depth(height))
    }

    /// Whether these headers, of which the first has this height, may be taken: [`Chain::take`]. `now`
    /// in seconds since the epoch.
    ///
    /// # Errors
    /// They do not follow from what is known by the rules, or have no more work than what they would
    /// replace. A repetition of what is known is no error.
    pub fn check(
        &self,
        rules: &Rules,
        height: BlockHeight,
        headers: &[RawHeader],
        now: u64,
    ) -> Result<(), HeaderError> {
        if headers.len() > MOST {
            return Err(HeaderError::TooMany(headers.len()));
        }
        let mut next = self.before(height)?;
        let kept = next.headers.len();
        for raw in headers {
            let at = next.tip().map_or(height, |(tip, _)| tip.after(1));
            let header = raw.decode().ok_or(HeaderError::NotLinked(at))?;
            match next.headers.is_empty() {
                true => begin(rules, at, &header)?,
                false => next.follow(rules, at, &header, now)?,
            }
            next.headers.push(header);
        }
        let (ours, theirs) = (work(&self.headers, kept), work(&next.headers, kept));
        match theirs > ours || self.headers.starts_with(&next.headers) {
            true => Ok(()),
            false => Err(HeaderError::LessWork(height)),
        }
    }

    /// The chain up to the block before `height`.
    fn before(&self, height: BlockHeight) -> Result<Chain, HeaderError> {
        let Some((tip, _)) = self.tip() else {
            return Ok(Chain {
                first: height,
                headers: Vec::new(),
            });
        };
        let kept = self
            .place(height)
            .and_then(|place| self.headers.get(..place));
        match kept {
            Some(kept) if !kept.is_empty() => Ok(Chain {
                first: self.first,
                headers: kept.to_vec(),
            }),
            Some(_) | None => Err(HeaderError::Gap {
                got: height,
                from: self.first.after(1),
                to: tip.after(1),
            }),
        }
    }

    fn follow(
        &self,
        rules: &Rules,
        height: BlockHeight,
        header: &Header,
        now: u64,
    ) -> Result<(), HeaderError> {
        let last = self.headers.last().map(Header::block_hash);
        if last != Some(header.prev_blockhash) {
            return Err(HeaderError::NotLinked(height));
        }
        let target = rules.target(height, header.time, &|height| self.at(height));
        let target = target.ok_or(HeaderError::NoWork(height))?;
        if header.bits != target || header.validate_pow(target.into()).is_err() {
            return Err(HeaderError::NoWork(height));
        }
        match rules.may_be_at(height, header, &self.headers, now) {
            true => Ok(()),
            false => Err(HeaderError::Time(height)),
        }
    }

    /// Takes headers that were checked: those from `height` on are replaced.
    pub fn take(&mut self, height: BlockHeight, headers: &[RawHeader]) {
        if self.headers.is_empty() {
            self.first = height;
        }
        // What is known already changes nothing, even if more is known.
        let news: Vec<Header> = headers.iter().filter_map(RawHeader::decode).collect();
        let Some(place) = self.place(height) else {
            return;
        };
        let known = self.headers.get(place..).unwrap_or_default();
        if known.starts_with(&news) {
            return;
        }
        self.headers.truncate(place);
        self.headers.extend(news);
        let over = self.headers.len().saturating_sub(WINDOW);
        self.headers.drain(..over);
        self.first = self.first.after(u32::try_from(over).unwrap_or(0));
    }

    /// From which height on [`Chain::take`] would change what is known; `None` if it would not.
    #[must_use]
    pub fn changes(&self, height: BlockHeight, headers: &[RawHeader]) -> Option<BlockHeight> {
        let mut heights = (height.0..).map(BlockHeight).zip(headers);
        let new = heights.find(|(at, raw)| self.at(*at).map(RawHeader::of) != Some(**raw));
        new.map(|(at, _)| at)
    }

    /// The hash of the tip.
    #[must_use]
    pub fn tip_hash(&self) -> Option<BlockHash> {
        self.headers.last().map(Header::block_hash)
    }
}

fn begin(rules: &Rules, height: BlockHeight, header: &Header) -> Result<(), HeaderError> {
    // So that every target that follows can be computed.
    if !height.0.is_multiple_of(PERIOD) {
        return Err(HeaderError::NotAPeriod(height));
    }
    match rules.may_begin(header) {
        true => Ok(()),
        false => Err(HeaderError::TooEasy(header.block_hash())),
    }
}

/// Of those from `place` on. Zero cannot be said of work: `None` if there are none.
fn work(headers: &[Header], place: usize) -> Option<Work> {
    let headers = headers.get(place..).unwrap_or_default();
    headers
        .iter()
        .map(Header::work)
        .reduce(|sum, work| sum + work)
}

#[cfg(test)]
pub(crate) mod tests {
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::Hash;
    use bitcoin::{Network, TxMerkleNode};
    use proptest::prelude::*;
    use wire::ChainHash;

    use super::*;

    pub fn regtest() -> Rules {
        let genesis = bitcoin::constants::ChainHash::REGTEST.to_bytes();
        Rules::of(ChainHash(genesis)).unwrap()
    }

    /// A block of regtest on top of `last`.
    pub fn mine(last: &Header, root: TxMerkleNode) -> Header {
        let mut header = Header {
            prev_blockhash: last.block_hash(),
            merkle_root: root,
            time: last.time + 600,
            nonce: 0,
            ..*last
        };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        header
    }

    pub fn genesis() -> Header {
        genesis_block(Network::Regtest).header
    }

    /// `count` blocks on `last`; another `branch` has other ones.
    fn blocks(last: &Header, count: usize, branch: u8) -> Vec<Header> {
        let root = TxMerkleNode::from_byte_array([branch; 32]);
        let mut last = *last;
        let mut next = || {
            last = mine(&last, root);
            last
        };
        (0..count).map(|_| next()).collect()
    }

    fn raw(headers: &[Header]) -> Vec<RawHeader> {
        headers.iter().map(RawHeader::of).collect()
    }

    pub fn give(chain: &mut Chain, height: u32, headers: &[Header]) -> Result<(), HeaderError> {
        let (height, headers) = (BlockHeight(height), raw(headers));
        chain.check(&regtest(), height, &headers, 0)?;
        chain.take(height, &headers);
        Ok(())
    }

    fn tip(chain: &Chain) -> u32 {
        chain.tip().unwrap().0.0
    }

    #[test]
    fn headers_follow_one_another_from_the_start_on() {
        let mut chain = Chain::default();
        assert_eq!(chain.depth(BlockHeight(0)), 0);
        let first = blocks(&genesis(), 5, 1);
        assert_eq!(
            give(&mut chain, 1, &first),
            Err(HeaderError::NotAPeriod(BlockHeight(1)))
        );
        give(&mut chain, 0, &[genesis()]).unwrap();
        give(&mut chain, 1, &first).unwrap();
        assert_eq!((tip(&chain), chain.depth(BlockHeight(3))), (5, 3));
        // Again, or what is known of it, is nothing new.
        let before = chain.clone();
        give(&mut chain, 1, &first[..3]).unwrap();
        assert_eq!(chain, before);
        assert_eq!(chain.changes(BlockHeight(1), &raw(&first[..3])), None);
        let gap = HeaderError::Gap {
            got: BlockHeight(7),
            from: BlockHeight(1),
            to: BlockHeight(6),
        };
        assert_eq!(give(&mut chain, 7, &blocks(&first[4], 1, 1)), Err(gap));
        let other = blocks(&first[3], 1, 1);
        assert_eq!(
            give(&mut chain, 6, &other),
            Err(HeaderError::NotLinked(BlockHeight(6)))
        );
        let mut lazy = blocks(&first[4], 1, 1);
        while lazy[0].validate_pow(lazy[0].target()).is_ok() {
            lazy[0].nonce += 1;
        }
        let no_work = Err(HeaderError::NoWork(BlockHeight(6)));
        assert_eq!(give(&mut chain, 6, &lazy), no_work);
        let mut easy = blocks(&first[4], 1, 1);
        easy[0].bits = bitcoin::CompactTarget::from_consensus(0x2100_ffff);
        assert_eq!(give(&mut chain, 6, &easy), no_work);
        assert_eq!(chain, before);
    }

    #[test]
    fn the_chain_with_more_work_replaces_the_other() {
        let mut chain = Chain::default();
        give(&mut chain, 0, &[genesis()]).unwrap();
        let one = blocks(&genesis(), 6, 1);
        give(&mut chain, 1, &one).unwrap();
        let other = blocks(&one[2], 4, 2);
        let less = Err(HeaderError::LessWork(BlockHeight(4)));
        assert_eq!(give(&mut chain, 4, &other[..2]), less);
        assert_eq!(
            give(&mut chain, 4, &other[..3]),
            less,
            "as much is not more"
        );
        assert_eq!(
            chain.changes(BlockHeight(4), &raw(&other)),
            Some(BlockHeight(4))
        );
        give(&mut chain, 4, &other).unwrap();
        assert_eq!(tip(&chain), 7);
        assert_eq!(chain.at(BlockHeight(5)), Some(&other[1]));
        assert_eq!(chain.tip_hash(), Some(other[3].block_hash()));
    }

    #[test]
    fn what_is_older_than_the_window_is_dropped_and_stays() {
        let mut chain = Chain::default();
        give(&mut chain, 0, &[genesis()]).unwrap();
        let all = blocks(&genesis(), WINDOW + 10, 1);
        for (at, part) in all.chunks(1_000).enumerate() {
            give(&mut chain, 1 + at as u32 * 1_000, part).unwrap();
        }
        assert_eq!(chain.headers.len(), WINDOW);
        assert_eq!((tip(&chain), chain.first), (2170, BlockHeight(11)));
        assert_eq!(chain.at(BlockHeight(10)), None);
        assert_eq!(chain.depth(BlockHeight(5)), 2166);
        let branch = blocks(&all[9], 2_016, 2);
        let got = BlockHeight(11);
        assert!(matches!(
            give(&mut chain, 11, &branch),
            Err(HeaderError::Gap { got: at, .. }) if at == got
        ));
        let too_many = vec![RawHeader([0; 80]); 2_017];
        assert_eq!(
            chain.check(&regtest(), BlockHeight(20), &too_many, 0),
            Err(HeaderError::TooMany(2_017))
        );
    }

    proptest! {
        /// In whatever parts and however often headers come, the chain is the same.
        #[test]
        fn headers_may_come_in_any_parts(parts in prop::collection::vec((0usize..20, 1usize..20), 1..20)) {
            let all = blocks(&genesis(), 40, 1);
            let mut chain = Chain::default();
            give(&mut chain, 0, &[genesis()]).unwrap();
            let mut known = 0;
            for (back, count) in parts {
                let from = known - back.min(known);
                let to = (from + count).min(all.len());
                give(&mut chain, from as u32 + 1, &all[from..to]).unwrap();
                known = known.max(to);
                prop_assert_eq!(tip(&chain) as usize, known);
            }
            let expected: Vec<Header> = std::iter::once(genesis()).chain(all).take(known + 1).collect();
            prop_assert_eq!(chain.headers, expected);
        }
    }
}
