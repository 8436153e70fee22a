//! Channels that end on chain: what brings one there and shows what becomes of it.

use crate::folder::copy;
use crate::node::Node;
use crate::wait::until_within;
use crate::{Client, Network, patience};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

/// So long a node may take to do what follows from a block.
const REACTION: Duration = Duration::from_secs(4);

/// What `pay` replied, once it has.
pub type Paying = JoinHandle<Result<Value, crate::RpcError>>;

impl Node {
    /// None of its processes does anything until [`Node::thaw`].
    pub fn freeze(&self) {
        let all = self.processes();
        all.iter()
            .for_each(|process| process.signal(Signal::SIGSTOP));
    }

    /// After [`Node::freeze`].
    pub fn thaw(&self) {
        let all = self.processes();
        all.iter()
            .for_each(|process| process.signal(Signal::SIGCONT));
    }

    /// Pays without waiting for the outcome.
    pub fn begin_to_pay(&self, bolt11: &str) -> Paying {
        let client = Client::new(&self.rpc_socket(), patience().saturating_mul(5));
        let params = json!({"bolt11": bolt11, "retry_for": 5});
        std::thread::spawn(move || client.call("pay", params))
    }

    /// Pays so many satoshi of an invoice without waiting for the outcome: others bring the rest, or the payee
    /// gives up after a minute.
    pub fn begin_to_pay_part(&self, bolt11: &str, satoshi: u64) -> Paying {
        let client = Client::new(&self.rpc_socket(), patience().saturating_mul(5));
        let params = json!({"bolt11": bolt11, "partial_msat": satoshi * 1000});
        std::thread::spawn(move || client.call("pay", params))
    }

    /// The status of its one attempt to pay this hash: `pending`, `failed`, `complete`.
    ///
    /// # Errors
    /// Those of the call, or there is no attempt.
    pub fn attempt(&self, payment_hash: &str) -> Result<String> {
        let found = self.rpc("listsendpays", json!({"payment_hash": payment_hash}))?;
        let status = &found["payments"][0]["status"];
        super::node::text(status, "an attempt's status")
    }

    /// Closes by its own commitment, while the peer hears nothing; the transaction's id.
    ///
    /// # Errors
    /// Those of the call, or the close is mutual.
    pub fn close_unilaterally(&self, peer_id: &str) -> Result<String> {
        let params = json!({"id": peer_id, "unilateraltimeout": 1});
        let closed = self.rpc("close", params)?;
        if closed["type"] != "unilateral" {
            bail!("not unilateral: {closed}");
        }
        super::node::text(&closed["txids"][0], "close's txid")
    }

    /// The state of its one channel with this peer, as listpeerchannels names it; `None` when it is not
    /// listed any more.
    ///
    /// # Errors
    /// Those of the call.
    pub fn state_with(&self, peer_id: &str) -> Result<Option<String>> {
        let channels = self.channels_with(peer_id)?;
        Ok(channels.into_iter().next().map(|channel| channel.state))
    }

    /// The lines for a person of its one channel with this peer.
    ///
    /// # Errors
    /// Those of the call.
    pub fn status_with(&self, peer_id: &str) -> Result<Vec<String>> {
        let reply = self.rpc("listpeerchannels", json!({"id": peer_id}))?;
        let status = reply["channels"][0]["status"].clone();
        serde_json::from_value(status).context("a channel has a status")
    }

    /// Id and fee, in msat, of the transaction that would end its one channel with this peer now. After a start
    /// it is shown as soon as the channel's process is there, with the peer or without.
    ///
    /// # Errors
    /// Those of the call, or none is ever shown.
    pub fn last_tx_with(&self, peer_id: &str) -> Result<(String, u64)> {
        self.wait_for("its last transaction is shown", |node| {
            let reply = node.rpc("listpeerchannels", json!({"id": peer_id}))?;
            let channel = &reply["channels"][0];
            if channel["scratch_txid"].is_null() {
                return Ok(None);
            }
            let txid = super::node::text(&channel["scratch_txid"], "scratch_txid")?;
            let fee = super::node::number(&channel["last_tx_fee_msat"], "last_tx_fee_msat")?;
            Ok(Some((txid, fee)))
        })
    }

    /// Waits until its one channel with this peer is in this state.
    ///
    /// # Errors
    /// Where it does not come there.
    pub fn wait_for_state(&self, peer_id: &str, state: &str) -> Result<()> {
        self.wait_for(&format!("its channel is {state}"), |node| {
            let found = node.state_with(peer_id)?;
            Ok((found.as_deref() == Some(state)).then_some(()))
        })
    }

    /// The sum of its confirmed coins, in satoshi.
    ///
    /// # Errors
    /// Those of the call.
    pub fn coins(&self) -> Result<u64> {
        Ok(self.onchain_msat(true)? / 1000)
    }

    /// A copy of its whole folder, made while it does not run.
    ///
    /// # Errors
    /// It runs, or cannot be copied.
    pub fn copy_folder_to(&mut self, to: &Path) -> Result<()> {
        if self.is_running() {
            bail!("{} runs", self.name());
        }
        copy(&self.network_dir(), to)
    }

    /// The copy takes its folder's place, while it does not run.
    ///
    /// # Errors
    /// It runs, or cannot be moved.
    pub fn put_back_folder(&mut self, from: &Path) -> Result<()> {
        if self.is_running() {
            bail!("{} runs", self.name());
        }
        let to = self.network_dir();
        std::fs::rename(&to, to.with_extension("newer"))?;
        copy(from, &to)
    }
}

impl Network {
    /// Mines a block at a time, and gives these nodes the time to react to each, until `look` finds
    /// something; at most so many blocks.
    ///
    /// # Errors
    /// The first error of `look`, or that the blocks were used up.
    pub fn mine_until<T>(
        &self,
        what: &str,
        blocks: u32,
        nodes: &[&Node],
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        for _ in 0..=blocks {
            if let Ok(found) = until_within(REACTION, what, &mut look) {
                return Ok(found);
            }
            self.bitcoind.mine(1)?;
            let height = self.bitcoind.height()?;
            for node in nodes {
                node.wait_for_height(height)?;
            }
        }
        let words: Vec<String> = nodes.iter().map(|node| node.last_words()).collect();
        bail!("{blocks} blocks, and not: {what}\n{}", words.join("\n"));
    }

    /// The transaction in the mempool or in a block that spends this output.
    ///
    /// # Errors
    /// Those of the calls, or none comes.
    pub fn wait_for_spend(&self, txid: &str, output: u64) -> Result<()> {
        let what = format!("{txid}:{output} is spent");
        until_within(patience(), &what, || {
            let unspent = self.bitcoind.unspent(txid, output)?;
            Ok(unspent.is_none().then_some(()))
        })
    }
}
