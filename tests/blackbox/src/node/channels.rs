//! Channels: opening, looking at them, closing.

use super::{Node, number, text};
use crate::{Bitcoind, until};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Deep enough for every node's default, and for announcing.
const BURIED: u32 = 6;

/// A kind of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// option_anchors: what nodes choose by themselves.
    Anchors,
    /// option_static_remotekey alone.
    StaticRemotekey,
}

/// One channel as `listpeerchannels` shows it.
#[derive(Debug, Clone)]
pub struct ChannelState {
    /// CLN's name of the state, such as CHANNELD_NORMAL.
    pub state: String,
    /// Its id in hex.
    pub channel_id: String,
    /// BLOCKxTXxOUT, once confirmed.
    pub short_channel_id: Option<String>,
    /// The funding transaction.
    pub funding_txid: String,
    /// Its output.
    pub funding_output: u64,
    /// Our side of the balance, in msat.
    pub to_us_msat: u64,
    /// All of it, in msat.
    pub total_msat: u64,
    /// HTLCs in flight.
    pub htlcs: usize,
    /// The peer is connected and the channel reestablished.
    pub usable: bool,
}

impl Node {
    /// Opens a channel to a connected peer, mines, and waits until both sides call it normal.
    ///
    /// # Errors
    /// Those of the calls, or that it does not become normal.
    pub fn open_channel(
        &self,
        bitcoind: &Bitcoind,
        peer: &Node,
        satoshi: u64,
        push_msat: u64,
    ) -> Result<ChannelState> {
        self.open_channel_as(bitcoind, peer, satoshi, push_msat, Format::Anchors)
    }

    /// As [`Node::open_channel`], of this format.
    ///
    /// # Errors
    /// As [`Node::open_channel`].
    pub fn open_channel_as(
        &self,
        bitcoind: &Bitcoind,
        peer: &Node,
        satoshi: u64,
        push_msat: u64,
        format: Format,
    ) -> Result<ChannelState> {
        let mut params = json!({"id": peer.id()?, "amount": satoshi});
        if format == Format::StaticRemotekey {
            params["channel_type"] = json!([12]);
        }
        if push_msat > 0 {
            params["push_msat"] = json!(push_msat);
        }
        let opened = self.rpc("fundchannel", params)?;
        let txid = text(&opened["txid"], "fundchannel's txid")?;
        bitcoind.mine(BURIED)?;
        if bitcoind.transaction(&txid)?["confirmations"]
            .as_u64()
            .unwrap_or(0)
            == 0
        {
            bail!("the funding transaction {txid} was not mined");
        }
        peer.wait_for_normal(self)?;
        let state = self.wait_for_normal(peer)?;
        // Who is blocks behind when it pays asks for a delay that is over.
        let tip = bitcoind.height()?;
        peer.wait_for_height(tip)?;
        self.wait_for_height(tip)?;
        Ok(state)
    }

    /// Waits for its peer's channel_update for its one channel, without which no invoice names it.
    ///
    /// # Errors
    /// None comes.
    pub fn wait_for_update_of_its_channel(&self) -> Result<()> {
        self.wait_for("its peer's channel_update", |node| {
            let all = node.rpc("listpeerchannels", json!({}))?;
            let update = &all["channels"][0]["updates"]["remote"];
            Ok(update.is_object().then_some(()))
        })
    }

    /// Waits until its one channel with this peer is normal, connected and reestablished.
    ///
    /// # Errors
    /// Where it does not become so.
    pub fn wait_for_normal(&self, peer: &Node) -> Result<ChannelState> {
        let peer_id = peer.id()?;
        self.wait_for(
            &format!("its channel with {} is normal", peer.name()),
            |node| {
                let channels = node.channels_with(&peer_id)?;
                let normal =
                    |channel: &ChannelState| channel.state == "CHANNELD_NORMAL" && channel.usable;
                Ok(channels.into_iter().find(normal))
            },
        )
    }

    /// Waits until its one channel with this peer is normal and has no HTLC in flight.
    ///
    /// # Errors
    /// Where it does not become so.
    pub fn wait_for_quiet(&self, peer: &Node) -> Result<ChannelState> {
        let peer_id = peer.id()?;
        self.wait_for(
            &format!("no HTLC is in flight with {}", peer.name()),
            |node| {
                let channels = node.channels_with(&peer_id)?;
                let quiet = |channel: &ChannelState| {
                    channel.state == "CHANNELD_NORMAL" && channel.usable && channel.htlcs == 0
                };
                Ok(channels.into_iter().find(quiet))
            },
        )
    }

    /// All its channels with the node of this id.
    ///
    /// # Errors
    /// Those of the call, or a reply that lacks something.
    pub fn channels_with(&self, peer_id: &str) -> Result<Vec<ChannelState>> {
        let reply = self.rpc("listpeerchannels", json!({"id": peer_id}))?;
        let channels = reply["channels"]
            .as_array()
            .context("listpeerchannels gives channels")?;
        channels.iter().map(read).collect()
    }

    /// Closes its channel with the peer; what `close` replied.
    ///
    /// # Errors
    /// Those of the call.
    pub fn close(&self, peer: &Node) -> Result<Value> {
        Ok(self.rpc("close", json!({"id": peer.id()?}))?)
    }
}

fn read(channel: &Value) -> Result<ChannelState> {
    // A channel that is only now being opened has neither funding nor balance yet.
    let optional = |name: &str| channel[name].as_str().unwrap_or_default().to_string();
    Ok(ChannelState {
        state: text(&channel["state"], "a channel's state")?,
        channel_id: optional("channel_id"),
        short_channel_id: channel["short_channel_id"].as_str().map(str::to_string),
        funding_txid: optional("funding_txid"),
        funding_output: channel["funding_outnum"].as_u64().unwrap_or_default(),
        to_us_msat: channel["to_us_msat"].as_u64().unwrap_or_default(),
        total_msat: match &channel["total_msat"] {
            Value::Null => 0,
            total => number(total, "a channel's total_msat")?,
        },
        htlcs: channel["htlcs"]
            .as_array()
            .map(Vec::len)
            .unwrap_or_default(),
        usable: channel["peer_connected"] == true && channel["reestablished"] != false,
    })
}

/// Waits until two nodes have their one channel normal, with nothing in flight and balances that add up
/// to its capacity; gives it as each side sees it.
///
/// # Errors
/// Where that does not come about, or the two do not name the same channel.
pub fn settled(one: &Node, other: &Node) -> Result<(ChannelState, ChannelState)> {
    let agree = || {
        let (ours, theirs) = (one.wait_for_quiet(other)?, other.wait_for_quiet(one)?);
        let whole = ours.to_us_msat.checked_add(theirs.to_us_msat) == Some(ours.total_msat);
        Ok(whole.then_some((ours, theirs)))
    };
    let what = format!(
        "{} and {} agree on their balances",
        one.name(),
        other.name()
    );
    let (ours, theirs) = until(&what, agree)?;
    if ours.channel_id != theirs.channel_id || ours.funding_txid != theirs.funding_txid {
        bail!("two views of two channels: {ours:?} and {theirs:?}");
    }
    Ok((ours, theirs))
}
