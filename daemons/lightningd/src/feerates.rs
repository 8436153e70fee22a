//! chaind's estimates in the wallet's terms.

use std::collections::BTreeMap;

use lightningd_wallet::{FeerateEstimates, Purpose};
use tx::setup::CommitmentFormat;
use wire::FeeratePerKw;

use crate::node::Node;

/// The peer's feerate may be so many times the highest estimate (CLN's limit).
pub const MAX_MULTIPLIER: u32 = 10;

/// What a commitment of this kind should pay: enough to be mined soon, or with anchors enough to be
/// relayed.
#[must_use]
pub fn commitment(node: &Node, format: CommitmentFormat) -> FeeratePerKw {
    let purpose = match format {
        CommitmentFormat::StaticRemotekey => Purpose::UnilateralClose,
        CommitmentFormat::AnchorsZeroFeeHtlc => Purpose::UnilateralAnchorClose,
    };
    let rate = estimates(node)
        .for_purpose(purpose)
        .unwrap_or(FeeratePerKw::FLOOR);
    rate.max(FeeratePerKw::FLOOR)
}

/// The newest estimates, with what the options force.
#[must_use]
pub fn estimates(node: &Node) -> FeerateEstimates {
    let view = node.chain.view();
    let commit_fee = u32::try_from(node.options.channels.commit_fee_percent).unwrap_or(u32::MAX);
    let mut estimates = FeerateEstimates::new(BTreeMap::new(), commit_fee);
    estimates.update(view.feerates.floor, &view.feerates.estimates, u32::MAX);
    estimates
}
