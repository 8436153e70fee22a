//! Channels that the chain decides about.

use bitcoin::OutPoint;
use lightningd_db::{Cf, Record};
use onchain::State;
use onchain::action::ClaimId;
use serde::{Deserialize, Serialize};

/// What onchaind goes on from; the key is the channel's number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OnchainRecord {
    /// `None` until onchaind has handed one over.
    pub state: Option<State>,
    /// The wallet's coins that pay for its claims.
    pub coins: Vec<(ClaimId, Vec<OutPoint>)>,
}

impl Record for OnchainRecord {
    const CF: Cf = Cf::Onchain;
    const VERSION: u8 = 1;
    type Key = u64;
}
