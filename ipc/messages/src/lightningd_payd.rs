//! Routes, onions and what failed payments' errors say.

use routing::{NoRoute, Route, RouteRequest};
use serde::{Deserialize, Serialize};
use wire::{BlockHeight, CltvExpiry, MilliSatoshi, PaymentHash, PaymentSecret};

/// lightningd to payd. Each gets one reply of the same `request`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToPayd {
    /// Effect: none; a route and the onion for it.
    Route {
        request: u64,
        find: Box<RouteRequest>,
        payment: PaymentOnion,
    },
    /// Effect: none; who failed and why.
    ReadError {
        request: u64,
        secrets: Vec<onion::SharedSecret>,
        #[serde(with = "serde_bytes")]
        reason: Vec<u8>,
    },
    Stop,
}

/// What the onion says to the payee (BOLT 4, Payload Format).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PaymentOnion {
    pub payment_hash: PaymentHash,
    pub payment_secret: Option<PaymentSecret>,
    pub total: MilliSatoshi,
    pub metadata: Option<Vec<u8>>,
    /// Height that the route's relative delays are added to.
    pub height: BlockHeight,
}

/// payd to lightningd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToLightningd {
    Route {
        request: u64,
        found: Result<Box<Routed>, NoRoute>,
    },
    /// `None`: the error is of none of these hops, or garbled.
    Error {
        request: u64,
        error: Option<(usize, onion::Failure)>,
    },
}

/// A route with everything that update_add_htlc needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routed {
    pub route: Route,
    /// Amount and expiry of the HTLC on our own channel.
    pub amount: MilliSatoshi,
    pub cltv_expiry: CltvExpiry,
    pub onion: wire::OnionPacket,
    /// One for each hop: what its errors are encrypted with.
    pub secrets: Vec<onion::SharedSecret>,
}
