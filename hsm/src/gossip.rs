//! G1-G3: what the node tells about its channels, typed and in bounds.
//!
//! A channel_update (BOLT 7) is for a channel of this journal's that is open, in our direction. Its
//! short_channel_id cannot be checked, since the chain is not known here: a channel has the names
//! that it was first called by, and only so many. The timestamp is set here, above all before.

use std::collections::BTreeMap;

use wire::{BlockDelta, ChannelDbid, ChannelUpdate, ShortChannelId};

use crate::hsm::Hsm;
use crate::msgs::Msg;
use crate::node_key::NodeMessage;
use crate::record::Record;
use crate::refused::Refused;
use hsm_files::bucket::{Bucket, Rate};

/// Names of one channel: the peer's aliases (BOLT 2, channel_ready), and its place in the chain,
/// which a reorganisation may change.
const MAX_NAMES: usize = 64;
/// Ten times what is forwarded: such a fee says never.
const MAX_PROPORTIONAL_MILLIONTHS: u32 = 10_000_000;
/// Two weeks, as everywhere: no route may lock money longer.
const MAX_CLTV_DELTA: BlockDelta = BlockDelta(2016);
/// Updates of one channel.
const UPDATES: Rate = Rate {
    capacity: 60,
    refill: 1,
    every: 30,
};
/// BOLT 7, message_flags: must_be_one and dont_forward.
const MUST_BE_ONE: u8 = 1;
const MESSAGE_FLAGS: u8 = 0b11;
/// BOLT 7, channel_flags: direction and disable.
const DIRECTION: u8 = 1;
const CHANNEL_FLAGS: u8 = 0b11;

/// The newest timestamp of each channel's names.
pub(crate) type Timestamps = BTreeMap<ChannelDbid, BTreeMap<ShortChannelId, u32>>;

impl Hsm {
    /// Signs an update of `dbid` in our direction. Timestamp and signature are filled in.
    ///
    /// # Errors
    /// D3, D4: no such channel, or not open; G1, G2, G3.
    pub fn sign_channel_update(
        &mut self,
        dbid: ChannelDbid,
        mut update: ChannelUpdate,
    ) -> Result<ChannelUpdate, Refused> {
        self.check_update(dbid, &update)?;
        let scid = update.short_channel_id;
        update.timestamp = self.next_timestamp(dbid, scid)?;
        let now = self.now();
        let bucket = self.updates.entry(dbid);
        let bucket = bucket.or_insert_with(|| Bucket::full(UPDATES, now));
        if !bucket.take(1, now) {
            return Err(Refused::TooManyUpdates(dbid));
        }
        let signed = self.node.key.sign(NodeMessage::ChannelUpdate(&update))?;
        update.signature = signed.to_standard();
        self.record(Record::Update(dbid, scid, update.timestamp));
        Ok(update)
    }

    fn check_update(&self, dbid: ChannelDbid, update: &ChannelUpdate) -> Result<(), Refused> {
        let channel = self.channel(dbid)?;
        Msg::SignChannelUpdate.check_phase(channel.phase())?;
        if update.chain_hash != self.chain_hash() {
            return Err(Refused::UpdateChain);
        }
        // BOLT 7, channel_update: 0 where the signer is node_id_1, the lesser of the two ids.
        let ours = u8::from(self.node_id().0.serialize() > channel.peer.0.serialize());
        if update.channel_flags & DIRECTION != ours {
            return Err(Refused::UpdateDirection);
        }
        let known = update.message_flags & !MESSAGE_FLAGS == 0
            && update.message_flags & MUST_BE_ONE != 0
            && update.channel_flags & !CHANNEL_FLAGS == 0;
        if !known || !update.rest.is_empty() {
            return Err(Refused::UpdateFlags);
        }
        if update.htlc_minimum_msat > update.htlc_maximum_msat {
            return Err(Refused::MinimumAboveMaximum);
        }
        let capacity = channel.funded()?.funding.value.to_msat();
        if capacity.is_none_or(|capacity| update.htlc_maximum_msat > capacity) {
            return Err(Refused::AboveCapacity);
        }
        let base = u64::from(update.fee_base_msat);
        if capacity.is_none_or(|capacity| base > capacity.0)
            || update.fee_proportional_millionths > MAX_PROPORTIONAL_MILLIONTHS
        {
            return Err(Refused::UpdateFees);
        }
        if update.cltv_expiry_delta > MAX_CLTV_DELTA {
            return Err(Refused::UpdateCltvDelta);
        }
        Ok(())
    }

    /// Now, or where that is not above the last one (two within a second, a clock that went back),
    /// the second after it. So none is further ahead of the clock than the clock once was, but for
    /// the seconds that the rate allows.
    fn next_timestamp(&self, dbid: ChannelDbid, scid: ShortChannelId) -> Result<u32, Refused> {
        let names = self.state.updates.get(&dbid);
        let now = u32::try_from(self.now().0).unwrap_or(u32::MAX);
        let last = names.and_then(|names| names.get(&scid));
        match (last, names) {
            (Some(last), _) => {
                let next = last.checked_add(1).ok_or(Refused::NoMoreTimestamps)?;
                Ok(now.max(next))
            }
            (None, Some(names)) if names.len() >= MAX_NAMES => Err(Refused::UpdateNames),
            (None, Some(_) | None) => Ok(now),
        }
    }
}
