//! Nodes in a line, each with half of a channel to the next, and what a test of the chain asks of them: invoices of
//! the last, HTLCs that are held, and whether each has its own in the end, to the satoshi.

use crate::node::Format;
use crate::wait::until;
use crate::{Network, Node, Options, Tally, tally};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Each channel's value in satoshi.
pub const CHANNEL: u64 = 1_000_000;
/// Regtest's to_self_delay, a few depths, and room for slow machines.
const SOON: u32 = 40;

/// The first and the second have half a channel each; the second and the third too; forwarding costs nothing.
pub struct Line {
    pub network: Network,
    /// Node ids, in order.
    pub ids: Vec<String>,
    pub format: Format,
    /// Nodes with a channel, who opened it first, and its funding output.
    channels: Vec<(usize, usize, (String, u64))>,
    since: u64,
}

impl Line {
    /// Nodes of these names, of which the first three make the line.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start(names: &[&str], format: Format) -> Line {
        let options = Options {
            arguments: vec!["--fee-base=0".into(), "--fee-per-satoshi=0".into()],
            ..Options::default()
        };
        let network = Network::start_with(names, &options).unwrap();
        let ids = network.nodes.iter().map(|node| node.id().unwrap());
        let mut line = Line {
            ids: ids.collect(),
            format,
            channels: Vec::new(),
            since: 0,
            network,
        };
        line.open(0, 1);
        line.open(1, 2);
        line
    }

    /// One more channel, half of which is each side's.
    ///
    /// # Panics
    /// It cannot be opened.
    pub fn open(&mut self, from: usize, to: usize) {
        let (network, half) = (&self.network, CHANNEL * 500);
        let channel = network.open_as(from, to, CHANNEL, half, self.format);
        let channel = channel.unwrap();
        let funding = (channel.funding_txid, channel.funding_output);
        self.channels.push((from, to, funding));
        self.network.sync().unwrap();
        self.since = self.network.bitcoind.height().unwrap();
    }

    /// The node at this place.
    #[must_use]
    pub fn node(&self, at: usize) -> &Node {
        &self.network.nodes[at]
    }

    /// An invoice of this node's that is reached through that one too: its text and its hash.
    ///
    /// # Panics
    /// None is to be had.
    #[must_use]
    pub fn invoice(
        &self,
        at: usize,
        through: usize,
        satoshi: u64,
        label: &str,
    ) -> (String, String) {
        let node = self.node(at);
        let hint = &node.channels_with(&self.ids[through]).unwrap()[0];
        let invoice = json!({
            "amount_msat": satoshi * 1000, "label": label, "description": label,
            // Blocks come before it is paid.
            "cltv": 30, "exposeprivatechannels": [hint.short_channel_id.clone().unwrap()],
        });
        let made = node.rpc("invoice", invoice).unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("bolt11"), text("payment_hash"))
    }

    /// Waits until this node has so many HTLCs with that one.
    ///
    /// # Panics
    /// It does not come to that.
    pub fn wait_htlcs(&self, at: usize, with: usize, count: usize) {
        until(&format!("{count} HTLCs"), || {
            let htlcs = self.node(at).channels_with(&self.ids[with])?[0].htlcs;
            Ok((htlcs == count).then_some(()))
        })
        .unwrap();
    }

    /// Waits until this node has so many HTLCs with that one, each committed to for good.
    ///
    /// # Panics
    /// It does not come to that.
    pub fn wait_committed(&self, at: usize, with: usize, count: usize) {
        until(&format!("{count} HTLCs are committed to"), || {
            let htlcs = self.htlcs(at, with)?;
            let committed = |htlc: &&Value| {
                let state = htlc["state"].as_str().unwrap_or_default();
                state.ends_with("_ADD_ACK_REVOCATION")
            };
            Ok((htlcs.iter().filter(committed).count() == count).then_some(()))
        })
        .unwrap();
    }

    fn htlcs(&self, at: usize, with: usize) -> Result<Vec<Value>> {
        let params = json!({"id": self.ids[with]});
        let listed = self.node(at).rpc("listpeerchannels", params)?;
        let htlcs = listed["channels"][0]["htlcs"].as_array();
        Ok(htlcs.context("a channel has HTLCs")?.clone())
    }

    /// When the last of the HTLCs between them expires.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn expiry(&self, at: usize, with: usize) -> u64 {
        let htlcs = self.htlcs(at, with).unwrap();
        let all = htlcs.iter().map(|htlc| htlc["expiry"].as_u64().unwrap());
        all.max().unwrap()
    }

    /// Mines up to this height; these nodes see it.
    ///
    /// # Panics
    /// They do not.
    pub fn mine_to(&self, height: u64, nodes: &[&Node]) {
        let left = height.saturating_sub(self.network.bitcoind.height().unwrap());
        let blocks = u32::try_from(left).unwrap();
        self.network.bitcoind.mine(blocks).unwrap();
        for node in nodes {
            node.wait_for_height(height).unwrap();
        }
    }

    /// What became of the channel between the two so far.
    ///
    /// # Panics
    /// There is none, or it is not spent.
    #[must_use]
    pub fn tally(&self, between: [usize; 2]) -> Tally {
        let of_both =
            |(from, to, _): &&(usize, usize, _)| between == [*from, *to] || between == [*to, *from];
        let (_, _, (txid, vout)) = self.channels.iter().find(of_both).unwrap();
        Tally::of(&self.network.bitcoind, (txid, *vout), self.since).unwrap()
    }

    /// What the opener pays for both anchors.
    #[must_use]
    pub fn anchors(&self) -> u64 {
        match self.format {
            Format::Anchors => 2 * tally::ANCHOR,
            Format::StaticRemotekey => 0,
        }
    }

    /// Until this node has this much more than before from its channel with that one, less the fees of what it
    /// made itself. `owns`: the commitment is its own.
    ///
    /// # Panics
    /// It does not come to that.
    pub fn has(
        &self,
        at: usize,
        with: usize,
        owns: bool,
        before: u64,
        due: impl Fn(&Tally) -> u64,
    ) {
        let node = self.node(at);
        let mut last = String::new();
        self.network
            .mine_until("it has what is its own", SOON, &[node], || {
                let tally = self.tally([at, with]);
                let (coins, due) = (node.coins()?, due(&tally));
                let due = before + due - tally.fees_of(node, owns)?;
                last = format!("{coins} of {due}: {tally:#?}");
                Ok((coins == due).then_some(()))
            })
            .unwrap_or_else(|error| panic!("{last}\n{error}"));
    }
}
