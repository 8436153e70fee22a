//! A route and what follows from it.

use serde::{Deserialize, Serialize};
use wire::{BlockDelta, BlockHeight, CltvExpiry, MilliSatoshi, NodeId, ShortChannelId};

/// A way for one HTLC, from our channel to the destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Ours.
    pub first_channel: ShortChannelId,
    /// In the order in which the payment reaches them; the last is the destination. Never empty.
    pub hops: Vec<RouteHop>,
    /// Of our HTLC: what arrives, and `fee`.
    pub amount_sent: MilliSatoshi,
    pub fee: MilliSatoshi,
    /// Blocks from now until our HTLC expires.
    pub total_delay: BlockDelta,
}

/// A node and the HTLC that it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteHop {
    pub node: NodeId,
    /// The channel on which its HTLC comes.
    pub scid: ShortChannelId,
    /// Of its HTLC.
    pub amount: MilliSatoshi,
    /// Blocks from now until its HTLC expires.
    pub delay: BlockDelta,
}

/// What one hop's onion payload says (BOLT 4, `payload` format).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopInstructions {
    /// Who reads it.
    pub node: NodeId,
    pub amt_to_forward: MilliSatoshi,
    pub outgoing_cltv_value: CltvExpiry,
    /// The channel to the next hop; `None` for the destination.
    pub short_channel_id: Option<ShortChannelId>,
}

/// Hops that make no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("a route needs at least one hop")]
    NoHops,
    #[error("hop {0} would receive more than the hop before it")]
    AmountGrows(usize),
    #[error("hop {0} would have more time than the hop before it")]
    DelayGrows(usize),
}

impl Route {
    /// Of hops that somebody else chose.
    pub fn from_hops(hops: Vec<RouteHop>) -> Result<Route, RouteError> {
        let (Some(first), Some(last)) = (hops.first().copied(), hops.last().copied()) else {
            return Err(RouteError::NoHops);
        };
        for (hop, (before, after)) in hops.iter().zip(hops.iter().skip(1)).enumerate() {
            if after.amount > before.amount {
                return Err(RouteError::AmountGrows(hop + 1));
            }
            if after.delay > before.delay {
                return Err(RouteError::DelayGrows(hop + 1));
            }
        }
        Ok(Route {
            first_channel: first.scid,
            amount_sent: first.amount,
            fee: first.amount.saturating_sub(last.amount),
            total_delay: first.delay,
            hops,
        })
    }

    /// What arrives at the destination.
    #[must_use]
    pub fn amount_delivered(&self) -> MilliSatoshi {
        self.amount_sent.saturating_sub(self.fee)
    }

    /// When our HTLC expires, if it is sent at `height`.
    #[must_use]
    pub fn cltv_expiry(&self, height: BlockHeight) -> CltvExpiry {
        height.plus(self.total_delay.0.into())
    }

    /// What to tell each hop at block `height`.
    #[must_use]
    pub fn instructions(&self, height: BlockHeight) -> Vec<HopInstructions> {
        // BOLT 4: each hop is told about the HTLC that it is to offer, the last about its own.
        let next = self
            .hops
            .iter()
            .skip(1)
            .map(Some)
            .chain(std::iter::once(None));
        let instructions = |(hop, next): (&RouteHop, Option<&RouteHop>)| {
            let told = next.unwrap_or(hop);
            HopInstructions {
                node: hop.node,
                amt_to_forward: told.amount,
                outgoing_cltv_value: height.plus(told.delay.0.into()),
                short_channel_id: next.map(|next| next.scid),
            }
        };
        self.hops.iter().zip(next).map(instructions).collect()
    }
}

#[cfg(test)]
mod tests {
    use secp256k1::{SECP256K1, SecretKey};

    use super::*;

    fn hop(amount: u64, delay: u16) -> RouteHop {
        let key = SecretKey::from_slice(&[1; 32])
            .unwrap()
            .public_key(SECP256K1);
        RouteHop {
            node: NodeId(key),
            scid: ShortChannelId(amount),
            amount: MilliSatoshi(amount),
            delay: BlockDelta(delay),
        }
    }

    #[test]
    fn chosen_hops_make_a_route() {
        let route = Route::from_hops(vec![hop(12, 30), hop(11, 30), hop(10, 9)]).unwrap();
        assert_eq!(
            (route.first_channel, route.amount_sent),
            (ShortChannelId(12), MilliSatoshi(12))
        );
        assert_eq!(
            (route.fee, route.total_delay),
            (MilliSatoshi(2), BlockDelta(30))
        );
        let told = route.instructions(BlockHeight(100));
        let told: Vec<_> = told
            .iter()
            .map(|t| {
                (
                    t.amt_to_forward.0,
                    t.outgoing_cltv_value.0,
                    t.short_channel_id.map(|s| s.0),
                )
            })
            .collect();
        assert_eq!(
            told,
            [(11, 130, Some(11)), (10, 109, Some(10)), (10, 109, None)]
        );
    }

    #[test]
    fn a_hop_cannot_pass_on_more_than_it_gets() {
        assert_eq!(Route::from_hops(vec![]), Err(RouteError::NoHops));
        assert_eq!(
            Route::from_hops(vec![hop(1, 9), hop(2, 9)]),
            Err(RouteError::AmountGrows(1))
        );
        let slower = vec![hop(1, 9), hop(1, 9), hop(1, 10)];
        assert_eq!(Route::from_hops(slower), Err(RouteError::DelayGrows(2)));
    }
}
