//! T1: what is believed of the chain, and which HTLCs that we offered it has ended (H2).
//!
//! A node that never tells of the chain loses nothing but this: HTLCs in a commitment that may be on
//! chain then count as claimable for good. That a tip is old is held against HTLCs only on mainnet and
//! only once headers were given since the start: a lightningd without this role goes on working.

use std::collections::BTreeMap;

use bitcoin::{BlockHash, Transaction};
use headers::{BranchHash, Chain, RawHeader, Rules};
use serde::{Deserialize, Serialize};
use tx::limits::{BURIAL_DEPTH, REASONABLE_DEPTH};
use tx::onchain::ParentTx;
use tx::spends::{Closed, Spender};
use wire::{BlockHeight, ChannelDbid, CommitmentNumber, HtlcId};

use crate::hsm::Hsm;
use crate::record::Record;
use crate::refused::Refused;
use crate::state::Misfit;

/// From this age on, in seconds, a tip is old: that no block comes for six hours happens to nobody.
pub(crate) const OLD: u64 = 6 * 60 * 60;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tip {
    pub(crate) chain: Chain,
    /// In blocks of it: what is proved there is forgotten with its block.
    closed: BTreeMap<ChannelDbid, Closed>,
}

/// What lightningd has told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Told {
    Headers(Vec<RawHeader>),
    /// What spends the channel's funding output.
    Closed(ChannelDbid, Spender),
    /// HTLCs of ours that came back.
    Ended(ChannelDbid, Vec<HtlcId>),
}

impl Tip {
    /// `height`: of the first header, or of the block.
    pub(crate) fn apply(&mut self, height: BlockHeight, told: Told) -> Result<(), Misfit> {
        match told {
            Told::Headers(headers) => {
                if let Some(from) = self.chain.changes(height, &headers) {
                    self.closed.retain(|_, closed| closed.stays_below(from));
                }
                self.chain.take(height, &headers);
            }
            Told::Closed(dbid, spender) => {
                self.closed.insert(dbid, Closed::new(height, spender));
            }
            Told::Ended(dbid, ids) => {
                let closed = self.closed.get_mut(&dbid);
                let closed = closed.ok_or(Misfit("an end in a channel that is not spent"))?;
                closed.end(&ids, height);
            }
        }
        Ok(())
    }

    pub(crate) fn forget(&mut self, dbid: ChannelDbid) {
        self.closed.remove(&dbid);
    }

    /// Whether the channel's funding output is proved to be spent.
    pub(crate) fn is_spent(&self, dbid: ChannelDbid) -> bool {
        self.closed.contains_key(&dbid)
    }

    /// Whether it is so for good.
    pub(crate) fn is_over(&self, dbid: ChannelDbid) -> bool {
        let closed = self.closed.get(&dbid);
        closed.is_some_and(|closed| self.chain.depth(closed.height) >= BURIAL_DEPTH)
    }

    /// Whether the chain has ended an HTLC that we offered, so that the peer cannot take it (H2).
    pub(crate) fn has_ended(&self, dbid: ChannelDbid, id: HtlcId) -> bool {
        let buried = |height: BlockHeight| self.chain.depth(height) >= REASONABLE_DEPTH;
        let closed = self.closed.get(&dbid);
        closed.is_some_and(|closed| closed.has_ended(id, buried))
    }
}

impl Hsm {
    /// The newest block that is known.
    #[must_use]
    pub fn tip(&self) -> Option<(BlockHeight, BlockHash)> {
        let (height, header) = self.state.tip.chain.tip()?;
        Some((height, header.block_hash()))
    }

    /// # Errors
    /// T1.
    pub fn take_headers(
        &mut self,
        height: BlockHeight,
        headers: Vec<RawHeader>,
    ) -> Result<(), Refused> {
        let rules = Rules::of(self.chain_hash())?;
        let chain = &self.state.tip.chain;
        chain.check(&rules, height, &headers, self.now().0)?;
        self.tip_is_told = true;
        if chain.changes(height, &headers).is_some() {
            self.record(Record::Told(height, Told::Headers(headers)));
        }
        Ok(())
    }

    /// How old the tip is, where that matters, in seconds.
    pub(crate) fn tip_age(&self) -> Option<u64> {
        let steady = Rules::of(self.chain_hash()).is_ok_and(|rules| rules.is_steady());
        let (_, header) = self.state.tip.chain.tip()?;
        let age = self.now().0.saturating_sub(header.time.into());
        (steady && self.tip_is_told).then_some(age)
    }

    /// # Errors
    /// T1; D3: there is no such channel.
    pub fn see_spend(
        &mut self,
        dbid: ChannelDbid,
        tx: &ParentTx,
        height: BlockHeight,
        index: u32,
        branch: &[BranchHash],
    ) -> Result<(), Refused> {
        let tx = tx.decode().ok_or(Refused::NothingSpent)?;
        let chain = &self.state.tip.chain;
        chain.check_inclusion(&tx, height, index, branch)?;
        let closed = self.state.tip.closed.get(&dbid);
        let told = match self.spender(dbid, &tx)? {
            Some(spender) if closed.is_some_and(|known| known.spender == spender) => return Ok(()),
            Some(spender) => Told::Closed(dbid, spender),
            None => {
                let closed = closed.ok_or(Refused::NothingSpent)?;
                let ids = closed.spender.taken_back(&tx);
                let ids = ids.ok_or(Refused::NothingSpent)?;
                if closed.knows(&ids) {
                    return Ok(());
                }
                Told::Ended(dbid, ids)
            }
        };
        self.record(Record::Told(height, told));
        Ok(())
    }

    fn spender(&self, dbid: ChannelDbid, tx: &Transaction) -> Result<Option<Spender>, Refused> {
        let channel = self.channel(dbid)?;
        let funded = channel.funded()?;
        let keys = self.node.channel(&channel.peer, dbid)?;
        let live = funded.live(&keys)?;
        let secrets = funded.remote.as_ref().map(|remote| remote.secrets.next());
        let first_live = secrets.unwrap_or(CommitmentNumber::ZERO);
        let (setup, funding) = (&funded.setup, &funded.funding);
        Ok(Spender::of(setup, funding, tx, &live, first_live)?)
    }
}
