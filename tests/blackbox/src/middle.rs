//! Payments between alice and carol through bob, and what each has in the end: the node in the middle has
//! earned its fees and nothing else.

use crate::node::{ChannelState, Node, settled};
use crate::payments::{Attempt, audit, spent};
use crate::{Network, kill};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// The nodes' places in their network.
pub const ALICE: usize = 0;
/// The one in the middle.
pub const BOB: usize = 1;
/// The other end.
pub const CAROL: usize = 2;

/// What alice, bob and carol have in their channels, in msat.
pub type Balances = [u64; 3];

/// The parameters of `invoice` that name this node's channel with the other as the way to it.
///
/// # Errors
/// It has not one channel with it.
pub fn reached_through(payee: &Node, other: &Node) -> Result<Value> {
    let mut all = payee.channels_with(&other.id()?)?;
    ensure!(all.len() == 1, "{} has {all:?}", payee.name());
    let hint = all.remove(0).short_channel_id;
    let hint = hint.context("a confirmed channel")?;
    Ok(json!({"exposeprivatechannels": [hint]}))
}

/// Waits until nothing is in flight anywhere; both channels stand as they were opened.
///
/// # Errors
/// They do not.
pub fn quiet(network: &Network) -> Result<Balances> {
    let [alice, bob, carol] = &network.nodes[..] else {
        bail!("three nodes")
    };
    let (alices, bobs_left) = settled(alice, bob)?;
    let (bobs_right, carols) = settled(bob, carol)?;
    let unspent = |channel: &ChannelState| {
        let (txid, output) = (&channel.funding_txid, channel.funding_output);
        let found = network.bitcoind.unspent(txid, output)?;
        ensure!(found.is_some(), "somebody spent the funding output");
        Ok(())
    };
    unspent(&alices)?;
    unspent(&carols)?;
    let bob = bobs_left.to_us_msat + bobs_right.to_us_msat;
    Ok([alices.to_us_msat, bob, carols.to_us_msat])
}

/// Every payment is decided the same way by payer and payee, and the balances, which were `before`, moved by
/// exactly what was sent and arrived. Gives them.
///
/// # Errors
/// Something of this does not hold.
pub fn audited(
    network: &Network,
    before: Balances,
    there: &[Attempt],
    back: &[Attempt],
) -> Result<Balances> {
    let after = quiet(network)?;
    let (alice, carol) = (&network.nodes[ALICE], &network.nodes[CAROL]);
    let arrived = (audit(alice, carol, there)?, audit(carol, alice, back)?);
    let sent = (spent(alice, there)?, spent(carol, back)?);
    let expected = [
        before[ALICE] + arrived.1 - sent.0,
        before[BOB] + (sent.0 - arrived.0) + (sent.1 - arrived.1),
        before[CAROL] + arrived.0 - sent.1,
    ];
    ensure!(
        after == expected,
        "the balances should be {expected:?} msat and are {after:?}; sent {sent:?}, arrived {arrived:?}"
    );
    kill::no_disagreements(&network.nodes)?;
    Ok(after)
}
