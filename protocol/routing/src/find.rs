//! The search.

use invoice::HintHop;
use serde::{Deserialize, Serialize};
use wire::{BlockDelta, MilliSatoshi, NodeId, ShortChannelId};

use crate::{LocalChannel, Route, RouteHop, RouteRequest};

/// Finds routes in what it knows.
#[derive(Debug, Clone, Default)]
pub struct Router {}

/// Why there is no route. Of several ways this tells of the one that came closest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NoRoute {
    #[error("cannot pay an amount of zero")]
    ZeroAmount,
    #[error("we have no usable channel")]
    NoChannels,
    #[error("the destination is not a peer of ours, and no route hint starts at one")]
    Unreachable,
    #[error("every channel that leads there is excluded")]
    Excluded,
    #[error("amounts or delays on the way are absurdly large")]
    Overflow,
    #[error("the instructions for the hops do not fit into an onion")]
    TooLong,
    #[error("the most that can be sent there at once is {spendable}, and {needed} are needed")]
    NotEnough {
        needed: MilliSatoshi,
        spendable: MilliSatoshi,
    },
    #[error("the peer's limit for one HTLC is {maximum}, and {needed} are needed")]
    AboveMaximum {
        needed: MilliSatoshi,
        maximum: MilliSatoshi,
    },
    #[error("the peer takes no HTLC below {minimum}, and {amount} would be sent")]
    BelowMinimum {
        amount: MilliSatoshi,
        minimum: MilliSatoshi,
    },
    #[error("our money would be locked for {delay} blocks, the limit is {maximum}")]
    TooSlow {
        delay: BlockDelta,
        maximum: BlockDelta,
    },
    #[error("the fee would be {fee}, the limit is {maximum}")]
    TooExpensive {
        fee: MilliSatoshi,
        maximum: MilliSatoshi,
    },
}

impl NoRoute {
    /// How far from a route: by the check that failed, then by how much it failed.
    fn distance(&self) -> (u8, u64) {
        let lacking = |needed: MilliSatoshi, limit: MilliSatoshi| needed.saturating_sub(limit).0;
        match self {
            NoRoute::ZeroAmount => (9, 0),
            NoRoute::NoChannels => (8, 0),
            NoRoute::Unreachable => (7, 0),
            NoRoute::Excluded => (6, 0),
            NoRoute::Overflow | NoRoute::TooLong => (5, 0),
            NoRoute::NotEnough { needed, spendable } => (4, lacking(*needed, *spendable)),
            NoRoute::AboveMaximum { needed, maximum } => (3, lacking(*needed, *maximum)),
            NoRoute::BelowMinimum { amount, minimum } => (2, lacking(*minimum, *amount)),
            NoRoute::TooSlow { delay, maximum } => (1, delay.saturating_sub(*maximum).0.into()),
            NoRoute::TooExpensive { fee, maximum } => (0, lacking(*fee, *maximum)),
        }
    }
}

impl Router {
    /// That knows nothing but what a request says.
    #[must_use]
    pub fn new() -> Router {
        Router {}
    }

    /// The cheapest route; of equally cheap ones the fastest, and over the channel in which it
    /// leaves the least behind.
    pub fn find(&self, request: &RouteRequest) -> Result<Route, NoRoute> {
        if request.amount == MilliSatoshi::ZERO {
            return Err(NoRoute::ZeroAmount);
        }
        if request.channels.is_empty() {
            return Err(NoRoute::NoChannels);
        }
        let mut best: Option<(Cost, Route)> = None;
        let mut closest = NoRoute::Unreachable;
        for path in paths(request) {
            for channel in request
                .channels
                .iter()
                .filter(|channel| channel.peer == path.peer)
            {
                match path.over(channel, request) {
                    Ok(route) => {
                        let cost = Cost::of(&route, channel);
                        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                            best = Some((cost, route));
                        }
                    }
                    Err(reason) if reason.distance() < closest.distance() => closest = reason,
                    Err(_) => {}
                }
            }
        }
        best.map(|(_, route)| route).ok_or(closest)
    }
}

/// What routes are compared by, the most important first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    fee: MilliSatoshi,
    delay: BlockDelta,
    left: MilliSatoshi,
    scid: ShortChannelId,
}

impl Cost {
    fn of(route: &Route, channel: &LocalChannel) -> Cost {
        Cost {
            fee: route.fee,
            delay: route.total_delay,
            left: channel.spendable.saturating_sub(route.amount_sent),
            scid: channel.scid,
        }
    }
}

/// A way from one of our peers to the destination; no hints where they are the same.
struct Path<'a> {
    peer: NodeId,
    hints: &'a [HintHop],
}

/// The direct one, and each hint from any of its nodes on.
fn paths(request: &RouteRequest) -> impl Iterator<Item = Path<'_>> {
    let direct = Path {
        peer: request.destination,
        hints: &[],
    };
    let hinted = request.route_hints.iter().flat_map(|hint| {
        (0..hint.len()).filter_map(|skip| {
            let hints = hint.get(skip..)?;
            Some(Path {
                peer: hints.first()?.node,
                hints,
            })
        })
    });
    std::iter::once(direct).chain(hinted)
}

impl Path<'_> {
    /// The route that takes this path from `channel`.
    fn over(&self, channel: &LocalChannel, request: &RouteRequest) -> Result<Route, NoRoute> {
        let mut scids = std::iter::once(channel.scid).chain(self.hints.iter().map(|h| h.scid));
        if scids.any(|scid| request.excludes(scid)) {
            return Err(NoRoute::Excluded);
        }
        let hops = self.hops(channel.scid, request).ok_or(NoRoute::Overflow)?;
        let route = Route::from_hops(hops).map_err(|_| NoRoute::Overflow)?;
        check(&route, channel, request)?;
        Ok(route)
    }

    /// From the destination back to us, because each hop's fee depends on what it forwards.
    /// `None` on overflow.
    fn hops(&self, first: ShortChannelId, request: &RouteRequest) -> Option<Vec<RouteHop>> {
        let mut hops = Vec::with_capacity(self.hints.len() + 1);
        let (mut node, mut amount, mut delay) = (
            request.destination,
            request.amount,
            request.final_cltv_delta,
        );
        for hint in self.hints.iter().rev() {
            hops.push(RouteHop {
                node,
                scid: hint.scid,
                amount,
                delay,
            });
            node = hint.node;
            amount = amount.checked_add(fee(hint, amount)?)?;
            delay = delay.checked_add(hint.cltv_delta)?;
        }
        hops.push(RouteHop {
            node,
            scid: first,
            amount,
            delay,
        });
        hops.reverse();
        Some(hops)
    }
}

/// BOLT 7, HTLC Fees: base and proportional part of what is forwarded, rounded down.
fn fee(hint: &HintHop, forwarded: MilliSatoshi) -> Option<MilliSatoshi> {
    let proportional = u128::from(forwarded.0) * u128::from(hint.fee_ppm) / 1_000_000;
    hint.fee_base
        .checked_add(MilliSatoshi(proportional.try_into().ok()?))
}

/// Our limits and the first channel's.
fn check(route: &Route, channel: &LocalChannel, request: &RouteRequest) -> Result<(), NoRoute> {
    let needed = route.amount_sent;
    let spendable = channel.spendable.min(channel.capacity);
    if needed > spendable {
        return Err(NoRoute::NotEnough { needed, spendable });
    }
    if needed > channel.htlc_maximum {
        return Err(NoRoute::AboveMaximum {
            needed,
            maximum: channel.htlc_maximum,
        });
    }
    if needed < channel.htlc_minimum {
        return Err(NoRoute::BelowMinimum {
            amount: needed,
            minimum: channel.htlc_minimum,
        });
    }
    if route.total_delay > request.max_total_delay {
        let (delay, maximum) = (route.total_delay, request.max_total_delay);
        return Err(NoRoute::TooSlow { delay, maximum });
    }
    if route.fee > request.max_fee {
        return Err(NoRoute::TooExpensive {
            fee: route.fee,
            maximum: request.max_fee,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
