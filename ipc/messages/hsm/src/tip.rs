//! TIP: lightningd tells of the chain, and proves what it says. What is believed of a spent channel's
//! HTLCs (H2) comes from here alone.

use bitcoin::BlockHash;
use headers::{BranchHash, RawHeader};
use serde::{Deserialize, Serialize};
use tx::onchain::ParentTx;
use wire::{BlockHeight, ChannelDbid};

use super::Refused;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Effect: none; the newest block that is known.
    Tip,
    /// `height` is that of the first; at most 2,016. The first header ever is trusted: that of a block whose
    /// height 2016 divides, the last such one at best. A reorg is given as the whole branch that replaces blocks,
    /// at most 144 of them. Headers that are known may come again.
    /// Effect: they count. Proofs in blocks that are replaced are forgotten: prove anew.
    /// Refused if: they do not follow from what is known, lack their work, have a target or time that the
    /// network's rules forbid, or have no more work than those that they replace.
    Headers {
        height: BlockHeight,
        headers: Vec<RawHeader>,
    },
    /// `tx` is transaction `index` of the block at this height, as `branch`, from below, proves. It spends the
    /// channel's funding output, or HTLC outputs of the commitment that did, which is proved before.
    /// Effect: HTLCs that we offered and that it ends for us, once it is 3 blocks deep, need no longer be waited for.
    /// Refused if: the proof does not hold, the block is not known or older than 2,160 blocks, or it spends neither.
    Spend {
        channel: ChannelDbid,
        tx: ParentTx,
        height: BlockHeight,
        index: u32,
        branch: Vec<BranchHash>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To Tip and Headers.
    Tip {
        height: BlockHeight,
        hash: BlockHash,
    },
    /// To Tip: no header was given yet.
    NoTip,
    Seen,
    Refused(Refused),
}
