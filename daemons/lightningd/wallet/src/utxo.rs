//! One coin of ours.

use bitcoin::{OutPoint, ScriptBuf, Sequence, Txid};
use serde::{Deserialize, Serialize};
use wire::{BlockDelta, BlockHeight, ChannelId, NodeId, Satoshi};

use crate::weight;

/// For how many blocks a reservation stands unless the caller says otherwise.
pub const RESERVATION_BLOCKS: u32 = 72;
/// A coinbase output may be spent in the hundredth block after its own.
const COINBASE_MATURITY: u32 = 100;

/// Which script a wallet key is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyKind {
    P2wpkh,
    /// Key path, without a script tree.
    P2tr,
}

/// Which key can spend a coin; hsmd derives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyRef {
    /// A key of the wallet, by its index.
    Wallet { index: u32, kind: KeyKind },
    /// Our `to_remote` output of the peer's commitment transaction (BOLT 3).
    Close(CloseKey),
}

/// A channel's payment key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseKey {
    pub channel: ChannelId,
    pub peer: NodeId,
    /// With anchors the output is p2wsh and may be spent a block after it confirmed
    /// (BOLT 3, `to_remote` Output); else it is p2wpkh and free.
    pub anchors: bool,
}

/// Where a coin stands on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// In no block.
    Unconfirmed,
    Confirmed {
        height: BlockHeight,
    },
    Spent {
        by: Txid,
        /// Block of the coin itself, if it was in one.
        confirmed: Option<BlockHeight>,
        /// Block of the spend; none while it is only broadcast.
        at: Option<BlockHeight>,
    },
}

/// A coin: an output that our keys can spend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utxo {
    pub outpoint: OutPoint,
    pub value: Satoshi,
    pub script: ScriptBuf,
    pub key: KeyRef,
    pub status: Status,
    /// We made the transaction that created it. Only such a coin may be spent unconfirmed.
    pub ours: bool,
    pub coinbase: bool,
    /// Reserved while the tip is below this height.
    pub reserved_until: Option<BlockHeight>,
}

impl Utxo {
    /// Block that the coin is in.
    #[must_use]
    pub fn confirmed(&self) -> Option<BlockHeight> {
        match self.status {
            Status::Unconfirmed => None,
            Status::Confirmed { height } => Some(height),
            Status::Spent { confirmed, .. } => confirmed,
        }
    }

    #[must_use]
    pub fn is_spent(&self) -> bool {
        matches!(self.status, Status::Spent { .. })
    }

    #[must_use]
    pub fn is_spent_in_block(&self) -> bool {
        matches!(self.status, Status::Spent { at: Some(_), .. })
    }

    /// The height at which a standing reservation ends.
    #[must_use]
    pub fn reservation(&self, tip: BlockHeight) -> Option<BlockHeight> {
        self.reserved_until
            .filter(|until| *until > tip && !self.is_spent())
    }

    /// Confirmations at `tip`; 0 if in no block.
    #[must_use]
    pub fn depth(&self, tip: BlockHeight) -> u32 {
        self.confirmed()
            .map_or(0, |height| (tip.0 + 1).saturating_sub(height.0))
    }

    /// A coinbase output that consensus does not let us spend in the next block.
    #[must_use]
    pub fn is_immature(&self, tip: BlockHeight) -> bool {
        self.coinbase && self.depth(tip) < COINBASE_MATURITY
    }

    /// Blocks that must stand on the coin before it may be spent.
    // BOLT 3, to_remote Output: with anchors it is encumbered by a 1 block CSV lock.
    #[must_use]
    pub fn csv(&self) -> Option<BlockDelta> {
        match &self.key {
            KeyRef::Close(CloseKey { anchors: true, .. }) => Some(BlockDelta(1)),
            KeyRef::Close(CloseKey { anchors: false, .. }) | KeyRef::Wallet { .. } => None,
        }
    }

    /// Whether the CSV lock still holds for the next block.
    #[must_use]
    pub fn is_locked(&self, tip: BlockHeight) -> bool {
        self.csv()
            .is_some_and(|csv| self.depth(tip) < u32::from(csv.0))
    }

    /// nSequence of an input that spends it: the CSV lock, else a signal that the fee may rise
    /// (BIP 125).
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        match self.csv() {
            Some(csv) => Sequence::from_height(csv.0),
            None => Sequence::ENABLE_RBF_NO_LOCKTIME,
        }
    }

    /// Weight of an input that spends it, with the largest witness its signer may give.
    #[must_use]
    pub fn input_weight(&self) -> u64 {
        weight::input(&self.key)
    }
}
