//! The parts of an invoice that reading and writing share.

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::{BlockDelta, MilliSatoshi, NodeId, ShortChannelId};

/// What the payment is for (BOLT 11, `d` and `h`): exactly one of the two is there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DescriptionOrHash {
    /// Comes from outside: escape it before showing it.
    Description(String),
    /// SHA-256 of a description that was given some other way.
    Hash([u8; 32]),
}

impl fmt::Debug for DescriptionOrHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DescriptionOrHash::Description(text) => write!(f, "Description({text:?})"),
            DescriptionOrHash::Hash(hash) => {
                f.write_str("Hash(")?;
                hash.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
                f.write_str(")")
            }
        }
    }
}

/// A channel on the way from a public node to the payee (BOLT 11, `r`), seen from the node at its
/// start. In a list of them each leads to the next one's node, and the last to the payee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HintHop {
    pub node: NodeId,
    pub scid: ShortChannelId,
    pub fee_base: MilliSatoshi,
    /// Millionths of the amount that is forwarded.
    pub fee_ppm: u32,
    pub cltv_delta: BlockDelta,
}

impl From<&lightning_invoice::RouteHintHop> for HintHop {
    fn from(hop: &lightning_invoice::RouteHintHop) -> HintHop {
        HintHop {
            node: NodeId(hop.src_node_id),
            scid: ShortChannelId(hop.short_channel_id),
            fee_base: MilliSatoshi(hop.fees.base_msat.into()),
            fee_ppm: hop.fees.proportional_millionths,
            cltv_delta: BlockDelta(hop.cltv_expiry_delta),
        }
    }
}

impl HintHop {
    /// `None` where the base fee exceeds its 32 bits.
    pub(crate) fn to_lightning(self) -> Option<lightning_invoice::RouteHintHop> {
        Some(lightning_invoice::RouteHintHop {
            src_node_id: self.node.0,
            short_channel_id: self.scid.0,
            fees: lightning_invoice::RoutingFees {
                base_msat: self.fee_base.0.try_into().ok()?,
                proportional_millionths: self.fee_ppm,
            },
            cltv_expiry_delta: self.cltv_delta.0,
            htlc_minimum_msat: None,
            htlc_maximum_msat: None,
        })
    }
}
