//! Payments there and back between two nodes while something happens to one of them, and the audit that
//! follows.

use crate::node::{ChannelState, Node, settled};
use crate::payments::{Attempt, Loads, audit};
use crate::{Client, kill};
use anyhow::{Result, ensure};
use serde_json::json;

/// What each payment is worth.
pub const MSAT: u64 = 1_000;

/// Payments between the nodes of a pair, both ways, until [`Traffic::finish`].
pub struct Traffic {
    there: Loads,
    back: Loads,
}

/// What was tried, each way.
pub struct Tried {
    there: Vec<Attempt>,
    back: Vec<Attempt>,
}

impl Traffic {
    /// So many payers at the same time, each way; the round makes the labels its own.
    ///
    /// # Errors
    /// It is no pair.
    pub fn start(nodes: &[Node], at_once: usize, round: usize) -> Result<Traffic> {
        let [alice, bob] = pair(nodes)?.map(Node::client);
        let load = |name: &str, payer: &Client, payee: &Client| {
            let name = format!("{name}-{round}");
            Loads::start(at_once, &name, payer, payee, MSAT, &json!({}))
        };
        Ok(Traffic {
            there: load("there", &alice, &bob),
            back: load("back", &bob, &alice),
        })
    }

    /// Waits until so many more were paid, each way.
    ///
    /// # Errors
    /// They were not.
    pub fn flow(&self, more: usize) -> Result<()> {
        self.there.flow(more)?;
        self.back.flow(more)
    }

    /// How many were paid so far, both ways together.
    pub fn paid(&self) -> usize {
        self.there.paid() + self.back.paid()
    }

    /// Lets those under way end.
    ///
    /// # Errors
    /// Where a thread panicked.
    pub fn finish(self) -> Result<Tried> {
        Ok(Tried {
            there: self.there.finish()?,
            back: self.back.finish()?,
        })
    }
}

impl Tried {
    /// How many, both ways together.
    pub fn count(&self) -> usize {
        self.there.len() + self.back.len()
    }

    /// Both nodes have come to the same channel again, their one, with nothing in flight; every payment is
    /// decided the same way on both sides, the balances moved by exactly what arrived, and nobody disagreed.
    /// Gives the channel as the first sees it.
    ///
    /// # Errors
    /// Something of this does not hold.
    pub fn audit(&self, nodes: &[Node], before: &ChannelState) -> Result<ChannelState> {
        let [alice, bob] = pair(nodes)?;
        let (ours, theirs) = settled(alice, bob)?;
        ensure!(ours.channel_id == before.channel_id, "another channel");
        for (node, peer) in [(alice, bob), (bob, alice)] {
            let channels = node.channels_with(&peer.id()?)?;
            ensure!(channels.len() == 1, "{} has {channels:?}", node.name());
        }
        let there = audit(alice, bob, &self.there)?;
        let back = audit(bob, alice, &self.back)?;
        let expected = before.to_us_msat + back - there;
        ensure!(
            ours.to_us_msat == expected && theirs.to_us_msat == ours.total_msat - expected,
            "alice should have {expected} msat: {ours:?}, {theirs:?}"
        );
        kill::no_disagreements(nodes)?;
        Ok(ours)
    }
}

fn pair(nodes: &[Node]) -> Result<[&Node; 2]> {
    let [alice, bob] = nodes else {
        anyhow::bail!("{} nodes are no pair", nodes.len())
    };
    Ok([alice, bob])
}
