//! Alice, who is ours, between two LDK nodes, and how their channels end on chain.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use blackbox::wait::until_within;
use blackbox::{Network, Node, Options, Tally, folder, tally, until};
use ldk_node::lightning_invoice::Bolt11Invoice;
use serde_json::{Value, json};

use crate::{Format, Held, Ldk};

mod reorg;

/// What the channels with Alice have.
pub const CHANNEL: u64 = 2_000_000;
/// Of her channel with LDK Alice has as much as LDK.
const PUSHED_MSAT: u64 = 1_000_000_000;
const COINS: u64 = 5_000_000;
/// One of the two channels of LDK's in [`World::with_two_channels`].
const SMALL: u64 = 100_000;
/// So long everybody may take to do what follows from a block, before another comes.
const REACTION: Duration = Duration::from_secs(2);
/// What LDK demands that we wait for our own outputs.
const OUR_DELAY: u32 = 144;
/// With all delays that are left everybody has what is theirs after so many blocks.
const SOON: u32 = 60;

/// Who opened Alice's channel with LDK, and so pays for its commitments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    Alice,
    Ldk,
}

/// LDK -- Alice -- merchant.
pub struct World {
    pub ldk: Ldk,
    pub merchant: Ldk,
    pub network: Network,
    pub alice_id: String,
    pub ldk_id: String,
    pub opener: Opener,
    format: Format,
    /// Alice's part of her channel with LDK, in satoshi, before any payment.
    pub balance: u64,
    /// Her part of the merchant's.
    pub with_merchant: u64,
    /// What Alice and LDK have on chain beside the channels.
    before: (u64, u64),
    /// The channel with LDK: its funding output.
    funding: (String, u64),
    /// The tip when the channels were open.
    since: u64,
}

impl World {
    /// Both channels are open and usable, and the merchant's invoices say how it is reached.
    ///
    /// # Panics
    /// Something fails, as everywhere here.
    #[must_use]
    pub fn start(format: Format, opener: Opener) -> World {
        let mut world = World::begin(format, opener);
        match opener {
            Opener::Alice => world.alice_opens(&world.ldk, PUSHED_MSAT),
            Opener::Ldk => {
                let ldk = &world.ldk;
                ldk.open(world.alice(), CHANNEL, PUSHED_MSAT).unwrap();
                world.network.bitcoind.wait_for_mempool(1).unwrap();
            }
        }
        world.open_with_merchant();
        let channel = world.channel_with(&world.ldk);
        world.balance = sat(&channel["to_us_msat"]);
        world.funding = (
            channel["funding_txid"].as_str().unwrap().to_owned(),
            channel["funding_outnum"].as_u64().unwrap(),
        );
        world
    }

    /// LDK has two small channels with Alice, each its own, so that it pays more than one holds in parts.
    ///
    /// # Panics
    /// Something fails.
    #[must_use]
    pub fn with_two_channels(format: Format) -> World {
        let mut world = World::begin(format, Opener::Ldk);
        for _ in 0..2 {
            world.ldk.open(world.alice(), SMALL, 0).unwrap();
            world.network.bitcoind.wait_for_mempool(1).unwrap();
            world.mine(6);
        }
        world.open_with_merchant();
        world
    }

    fn begin(format: Format, opener: Opener) -> World {
        let options = Options {
            arguments: vec!["--fee-base=0".into(), "--fee-per-satoshi=0".into()],
            ..Options::default()
        };
        let network = Network::start_with(&["alice"], &options).unwrap();
        let [ldk, merchant] = [(); 2].map(|()| Ldk::start_with(&network.bitcoind, format).unwrap());
        let alice = &network.nodes[0];
        alice.lift_limits().unwrap();
        // A coin for each channel, and one for fees.
        for _ in 0..3 {
            alice.fund(&network.bitcoind, COINS / 2).unwrap();
        }
        for node in [&ldk, &merchant] {
            node.fund(&network.bitcoind, COINS).unwrap();
            let at = format!("{}@{}", node.id(), node.address());
            alice.rpc("connect", json!({ "id": at })).unwrap();
        }
        network.sync().unwrap();
        World {
            alice_id: alice.id().unwrap(),
            ldk_id: ldk.id().to_string(),
            ldk,
            merchant,
            network,
            opener,
            format,
            balance: 0,
            with_merchant: 0,
            before: (0, 0),
            funding: (String::new(), 0),
            since: 0,
        }
    }

    fn alice_opens(&self, to: &Ldk, push_msat: u64) {
        let params = json!({
            "id": to.id().to_string(), "amount": CHANNEL, "push_msat": push_msat, "announce": false,
        });
        self.alice().rpc("fundchannel", params).unwrap();
    }

    fn open_with_merchant(&mut self) {
        self.alice_opens(&self.merchant, 0);
        self.mine(6);
        self.wait_usable();
        until("the merchant knows how it is reached", || {
            let invoice = self.merchant.invoice(1_000_000, "hint")?;
            let invoice: Bolt11Invoice = invoice.parse().map_err(|e| anyhow::anyhow!("{e}"))?;
            Ok((!invoice.private_routes().is_empty()).then_some(()))
        })
        .unwrap();
        self.with_merchant = sat(&self.channel_with(&self.merchant)["to_us_msat"]);
        self.before = (self.alice().coins().unwrap(), self.ldk.coins());
        self.since = self.network.bitcoind.height().unwrap();
    }

    #[must_use]
    pub fn alice(&self) -> &Node {
        &self.network.nodes[0]
    }

    fn wait_usable(&self) {
        for (ldk, id) in [
            (&self.ldk, self.ldk.id()),
            (&self.merchant, self.merchant.id()),
        ] {
            until("alice's channels are normal", || {
                let channels = self.alice().channels_with(&id.to_string())?;
                let normal = channels
                    .iter()
                    .all(|c| c.state == "CHANNELD_NORMAL" && c.usable);
                Ok((normal && !channels.is_empty()).then_some(()))
            })
            .unwrap();
            ldk.wait_for("LDK's channel is usable", |ldk| {
                Ok(ldk.is_usable(self.alice())?.then_some(()))
            })
            .unwrap();
        }
    }

    /// Alice's one channel with this node, as listpeerchannels shows it.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn channel_with(&self, ldk: &Ldk) -> Value {
        let params = json!({ "id": ldk.id().to_string() });
        let all = self.alice().rpc("listpeerchannels", params).unwrap();
        all["channels"][0].clone()
    }

    /// Both anchors' value, which the opener pays.
    #[must_use]
    pub fn anchors(&self) -> u64 {
        match self.format {
            Format::Anchors => 2 * tally::ANCHOR,
            Format::StaticRemotekey => 0,
        }
    }

    /// Mines, and everybody who runs sees it.
    ///
    /// # Panics
    /// Somebody does not.
    pub fn mine(&self, blocks: u32) {
        self.network.mine(blocks).unwrap();
        let height = self.network.bitcoind.height().unwrap();
        for ldk in [&self.ldk, &self.merchant] {
            if ldk.is_running() {
                ldk.wait_for_height(height).unwrap();
            }
        }
    }

    /// A block at a time, and time to react to each, until `look` finds something.
    ///
    /// # Panics
    /// The blocks are used up.
    pub fn mine_until(
        &self,
        what: &str,
        blocks: u32,
        mut look: impl FnMut() -> Result<Option<()>>,
    ) {
        for _ in 0..=blocks {
            if until_within(REACTION, what, &mut look).is_ok() {
                return;
            }
            self.mine(1);
        }
        panic!(
            "{blocks} blocks, and not: {what}\n{}",
            self.alice().last_words()
        );
    }

    /// Alice pays LDK, which holds it.
    ///
    /// # Panics
    /// It does not arrive.
    #[must_use]
    pub fn alice_pays_ldk(&self, satoshi: u64) -> Held {
        let held = self.ldk.hold(satoshi * 1000).unwrap();
        drop(self.alice().begin_to_pay(&held.bolt11));
        self.ldk.wait_claimable(&held).unwrap();
        held
    }

    /// LDK pays the merchant, which holds it.
    ///
    /// # Panics
    /// It does not arrive.
    #[must_use]
    pub fn ldk_pays_merchant(&self, satoshi: u64) -> Held {
        let held = self.merchant.hold(satoshi * 1000).unwrap();
        self.ldk.pay(&held.bolt11).unwrap();
        self.merchant.wait_claimable(&held).unwrap();
        held
    }

    /// Alice pays an invoice of LDK's, which takes it at once.
    ///
    /// # Panics
    /// It fails.
    pub fn alice_pays_at_once(&self, satoshi: u64, what: &str) {
        let invoice = self.ldk.invoice(satoshi * 1000, what).unwrap();
        self.alice().pay(&invoice).unwrap();
        self.wait_quiet();
    }

    /// No HTLC is left in the channel with LDK.
    ///
    /// # Panics
    /// One stays.
    pub fn wait_quiet(&self) {
        self.wait_quiet_with(&self.ldk);
    }

    /// No HTLC is left in the channel with this node.
    ///
    /// # Panics
    /// One stays.
    pub fn wait_quiet_with(&self, ldk: &Ldk) {
        until("no HTLC is left", || {
            let htlcs = self.channel_with(ldk)["htlcs"].clone();
            Ok(htlcs.as_array().is_some_and(Vec::is_empty).then_some(()))
        })
        .unwrap();
    }

    /// Whether Alice's payment has this status.
    ///
    /// # Errors
    /// Those of the call.
    pub fn attempt_is(&self, held: &Held, status: &str) -> Result<Option<()>> {
        let found = self.alice().attempt(&held.payment_hash())?;
        Ok((found == status).then_some(()))
    }

    /// The last block in which an HTLC between Alice and LDK has not expired.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn last_expiry(&self) -> u64 {
        self.expiries(|_| true).into_iter().max().unwrap()
    }

    /// The last block in which the HTLC of this value has not expired. LDK gives each of its own some blocks more, at
    /// random.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn expiry_of(&self, satoshi: u64) -> u64 {
        let is =
            |htlc: &Value| htlc["amount_msat"].as_u64().map(|msat| msat / 1000) == Some(satoshi);
        self.expiries(is)[0]
    }

    fn expiries(&self, wanted: impl Fn(&Value) -> bool) -> Vec<u64> {
        let channel = self.channel_with(&self.ldk);
        let htlcs = channel["htlcs"].as_array().unwrap().iter();
        let wanted = htlcs.filter(|htlc| wanted(htlc));
        wanted.filter_map(|htlc| htlc["expiry"].as_u64()).collect()
    }

    /// Mines to this height.
    ///
    /// # Panics
    /// Somebody does not see it.
    pub fn mine_to(&self, height: u64) {
        let now = self.network.bitcoind.height().unwrap();
        self.mine(u32::try_from(height.saturating_sub(now)).unwrap());
    }

    /// LDK's commitment is in a block, and Alice hears of it there.
    ///
    /// # Panics
    /// LDK refuses.
    pub fn ldk_force_closes(&self) {
        self.closes(&self.ldk);
    }

    fn closes(&self, ldk: &Ldk) {
        self.alice().freeze();
        ldk.force_close(&self.alice_id).unwrap();
        self.network.bitcoind.wait_for_mempool(1).unwrap();
        self.network.bitcoind.mine(1).unwrap();
        self.alice().thaw();
        self.mine(0);
    }

    /// Alice's commitment is in a block, and LDK hears of it there.
    ///
    /// # Panics
    /// She refuses.
    pub fn alice_closes(&mut self) {
        self.ldk.stop().unwrap();
        let id = self.ldk_id.clone();
        self.alice().close_unilaterally(&id).unwrap();
        self.network.bitcoind.wait_for_mempool(1).unwrap();
        self.network.mine(1).unwrap();
        self.ldk.launch().unwrap();
        self.mine(0);
    }

    /// As [`World::alice_closes`] or [`World::ldk_force_closes`], the merchant's channel.
    ///
    /// # Panics
    /// As those.
    pub fn close_with_merchant(&mut self, alice_closes: bool) {
        if alice_closes {
            let id = self.merchant.id().to_string();
            self.merchant.stop().unwrap();
            self.alice().close_unilaterally(&id).unwrap();
            self.network.bitcoind.wait_for_mempool(1).unwrap();
            self.network.mine(1).unwrap();
            self.merchant.launch().unwrap();
            self.mine(0);
        } else {
            self.closes(&self.merchant);
        }
        self.ldk.reconnect(self.alice()).unwrap();
    }

    /// LDK's folder as it is now.
    ///
    /// # Panics
    /// It cannot be copied.
    #[must_use]
    pub fn copy_of_ldk(&mut self) -> PathBuf {
        let copy = self.alice().lightning_dir().join("ldk.old");
        self.ldk.stop().unwrap();
        self.ldk.copy_folder_to(&copy).unwrap();
        self.ldk.launch().unwrap();
        self.ldk.reconnect(self.alice()).unwrap();
        self.wait_usable();
        copy
    }

    /// LDK is put back to the copy, claims this payment again and broadcasts what it had then, and the
    /// transaction of its HTLC; then it is gone. Alice hears of it in blocks.
    ///
    /// # Panics
    /// LDK does not come so far.
    pub fn ldk_cheats(&mut self, old: &Path, claims: &Held) {
        self.ldk.stop().unwrap();
        self.alice().freeze();
        self.ldk_publishes(old, claims);
        self.alice().thaw();
        self.network.sync().unwrap();
    }

    /// As [`World::ldk_cheats`], while Alice is dead; what comes back, as its owner confirms, is this backup.
    ///
    /// # Panics
    /// LDK does not come so far, or she does not start.
    pub fn ldk_cheats_who_is_put_back(&mut self, backup: &Path, old: &Path, claims: &Held) {
        self.ldk.stop().unwrap();
        let alice = &mut self.network.nodes[0];
        alice.kill_all().unwrap();
        alice.put_back_folder(backup).unwrap();
        self.ldk_publishes(old, claims);
        let alice = &mut self.network.nodes[0];
        alice.launch_and_confirm_recovery().unwrap();
        self.network.sync().unwrap();
    }

    /// A copy of Alice's folder, made while she runs.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn backup(&self) -> PathBuf {
        let to = self.alice().lightning_dir().join("backup");
        let destination = json!({ "destination": to });
        self.alice().rpc("backup", destination).unwrap();
        let network = self.alice().network_dir();
        to.join(network.file_name().unwrap())
    }

    fn ldk_publishes(&mut self, old: &Path, claims: &Held) {
        self.ldk.put_back_folder(old).unwrap();
        self.ldk.launch().unwrap();
        self.ldk.claim(claims).unwrap();
        self.ldk.force_close(&self.alice_id).unwrap();
        let bitcoind = &self.network.bitcoind;
        let commitment = bitcoind.wait_for_mempool(1).unwrap();
        bitcoind.mine(1).unwrap();
        let htlc_tx = |txid: &String| -> Result<bool> {
            let tx = bitcoind.transaction(txid)?;
            let inputs = tx["vin"].as_array().cloned().unwrap_or_default();
            Ok(inputs.iter().any(|input| {
                commitment
                    .iter()
                    .any(|parent| input["txid"] == parent.as_str())
                    && input["txinwitness"]
                        .as_array()
                        .is_some_and(|w| w.len() == 5)
            }))
        };
        self.ldk
            .wait_for("LDK broadcasts its HTLC transaction", |_| {
                // Without anchors it may have been there together with the commitment.
                if self.tally().all.iter().any(|tx| tx.is_htlc_tx) {
                    return Ok(Some(()));
                }
                for txid in bitcoind.mempool()? {
                    if htlc_tx(&txid)? {
                        return Ok(Some(()));
                    }
                }
                Ok(None)
            })
            .unwrap();
        bitcoind.mine(1).unwrap();
        self.ldk.stop().unwrap();
    }

    /// Alice's database as it is now.
    ///
    /// # Panics
    /// It cannot be copied.
    #[must_use]
    pub fn copy_of_database(&mut self) -> PathBuf {
        let alice = &mut self.network.nodes[0];
        let database = alice.network_dir().join("db");
        let old = database.with_file_name("db.old");
        alice.stop().unwrap();
        folder::copy(&database, &old).unwrap();
        alice.launch().unwrap();
        for ldk in [&self.ldk, &self.merchant] {
            ldk.reconnect(self.alice()).unwrap();
        }
        self.wait_usable();
        old
    }

    /// All that Alice has is that copy, as its owner confirms.
    ///
    /// # Panics
    /// She does not start.
    pub fn put_database_back(&mut self, old: &Path) {
        let alice = &mut self.network.nodes[0];
        alice.stop().unwrap();
        let database = alice.network_dir().join("db");
        std::fs::remove_dir_all(&database).unwrap();
        std::fs::rename(old, &database).unwrap();
        alice.launch_and_confirm_recovery().unwrap();
    }

    /// What has become of the channel with LDK.
    ///
    /// # Panics
    /// Nothing.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let (txid, vout) = &self.funding;
        Tally::of(&self.network.bitcoind, (txid, *vout), self.since).unwrap()
    }

    /// Mines until Alice has got what `due` says of the channel, less the fees of her own transactions, and
    /// LDK the rest. `owns`: the commitment is Alice's; `due` is given its fee.
    ///
    /// # Panics
    /// They do not get it.
    pub fn is_shared_out(&self, owns: bool, due: impl Fn(u64) -> u64) {
        if owns {
            self.mine(OUR_DELAY + 1);
        }
        let mut last = String::new();
        for _ in 0..SOON {
            let tally = self.tally();
            let (alice, ldk) = (self.alice().coins().unwrap(), self.ldk.coins());
            let due = due(tally.commitment().fee);
            let own_fees = tally.fees_of(self.alice(), owns).unwrap();
            let left = tally.fees() + tally::ANCHOR * tally.anchors_left();
            let anchors = tally::ANCHOR * tally.anchors_taken_by(self.alice()).unwrap();
            let alice_due = self.before.0 + due + anchors - own_fees;
            let ldk_due = self.before.0 + self.before.1 + CHANNEL - left - alice_due;
            if (alice, ldk) == (alice_due, ldk_due) {
                return;
            }
            last = format!(
                "alice has {alice} of {alice_due}, LDK {ldk} of {ldk_due}; due {due}: {tally:#?}"
            );
            self.pause();
            self.mine(1);
        }
        panic!("{last}");
    }

    /// As [`World::is_shared_out`], of Alice alone.
    ///
    /// # Panics
    /// She does not get it.
    pub fn alice_has(&self, due: impl Fn(&Tally) -> u64) {
        let mut last = String::new();
        for _ in 0..SOON {
            let tally = self.tally();
            let alice = self.alice().coins().unwrap();
            let due = self.before.0 + due(&tally) - tally.fees_of(self.alice(), false).unwrap();
            if alice == due {
                return;
            }
            last = format!("alice has {alice} of {due}: {tally:#?}");
            self.pause();
            self.mine(1);
        }
        panic!("{last}");
    }

    /// What follows from the last block may take a moment: until something is in the mempool, but not for long.
    fn pause(&self) {
        let _ = until_within(REACTION / 4, "a transaction", || {
            Ok((!self.network.bitcoind.mempool()?.is_empty()).then_some(()))
        });
    }
}

fn sat(msat: &Value) -> u64 {
    let msat = msat.as_u64().unwrap();
    assert_eq!(msat % 1000, 0, "whole satoshi");
    msat / 1000
}
