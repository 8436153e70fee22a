//! Our node and a real LDK node: each side opens, both pay each other, 200 payments both ways at once,
//! disconnects and restarts in the middle, mutual close from either side, balances to the satoshi.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use blackbox::{Bitcoind, Network, Node, Options, until};
use interop::Ldk;
use serde_json::{Value, json};

const COINS: u64 = 5_000_000;
const CHANNEL: u64 = 2_000_000;
const PUSHED_MSAT: u64 = 800_000_000;
/// Payments in each direction.
const EACH_WAY: usize = 100;
/// What LDK lets the other side have in flight.
const AT_ONCE: usize = 20;
const MSAT: u64 = 1_000_000;

struct Pair {
    network: Network,
    ldk: Ldk,
}

impl Pair {
    fn start() -> Pair {
        let options = Options {
            arguments: vec!["--max-concurrent-htlcs=100".into()],
            ..Options::default()
        };
        let network = Network::start_with(&["alice"], &options).unwrap();
        let ldk = Ldk::start(&network.bitcoind).unwrap();
        Pair { network, ldk }
    }

    fn alice(&self) -> &Node {
        &self.network.nodes[0]
    }

    fn bitcoind(&self) -> &Bitcoind {
        &self.network.bitcoind
    }

    fn we_open() -> Pair {
        let pair = Pair::start();
        pair.alice().fund(pair.bitcoind(), COINS).unwrap();
        pair.ldk.fund(pair.bitcoind(), COINS).unwrap();
        pair.connect();
        let params = json!({
            "id": pair.ldk.id().to_string(),
            "amount": CHANNEL,
            "push_msat": PUSHED_MSAT,
            "announce": false,
        });
        pair.alice().rpc("fundchannel", params).unwrap();
        pair.confirm();
        pair
    }

    fn ldk_opens() -> Pair {
        let pair = Pair::start();
        pair.ldk.fund(pair.bitcoind(), COINS).unwrap();
        pair.ldk.open(pair.alice(), CHANNEL, PUSHED_MSAT).unwrap();
        pair.confirm();
        pair
    }

    fn connect(&self) {
        let at = format!("{}@{}", self.ldk.id(), self.ldk.address());
        self.alice().rpc("connect", json!({ "id": at })).unwrap();
    }

    fn confirm(&self) {
        self.bitcoind().wait_for_mempool(1).unwrap();
        self.network.mine(6).unwrap();
        self.wait_usable();
    }

    fn wait_usable(&self) {
        self.alice()
            .wait_for("its channel with LDK is normal", |_| {
                Ok((self.channel()?["state"] == "CHANNELD_NORMAL"
                    && self.channel()?["reestablished"] == true)
                    .then_some(()))
            })
            .unwrap();
        self.ldk
            .wait_for("LDK's channel is usable", |ldk| {
                Ok(ldk.is_usable(self.alice())?.then_some(()))
            })
            .unwrap();
    }

    fn channel(&self) -> Result<Value> {
        let all = self.alice().rpc("listpeerchannels", json!({}))?;
        all["channels"]
            .get(0)
            .cloned()
            .ok_or_else(|| anyhow!("no channel: {all}"))
    }

    fn to_us(&self) -> u64 {
        self.channel().unwrap()["to_us_msat"].as_u64().unwrap()
    }

    fn wait_quiet(&self) {
        self.alice()
            .wait_for("no HTLC is left", |_| {
                Ok(self.channel()?["htlcs"]
                    .as_array()
                    .is_some_and(Vec::is_empty)
                    .then_some(()))
            })
            .unwrap();
    }

    /// One payment each way, of different size.
    fn pay_both_ways(&self, round: &str) {
        let before = self.to_us();
        let there = self.ldk.invoice(40_000_000, round).unwrap();
        let paid = self.alice().rpc("pay", json!([there])).unwrap();
        assert_eq!(paid["status"], "complete", "{paid}");
        let back = self
            .alice()
            .invoice(15_000_000, &format!("back {round}"))
            .unwrap();
        let hash = self.ldk.pay(&back.bolt11).unwrap();
        self.ldk.wait_paid(hash).unwrap();
        self.wait_quiet();
        assert_eq!(self.to_us(), before - 40_000_000 + 15_000_000);
    }

    /// All of `EACH_WAY` both ways at once; `disturb` runs in the middle.
    fn many_at_once(&mut self, round: &str, disturb: impl FnOnce(&mut Pair)) {
        let before = self.to_us();
        let ours: Vec<String> = (0..EACH_WAY)
            .map(|n| self.ldk.invoice(MSAT, &format!("{round} {n}")).unwrap())
            .collect();
        let theirs: Vec<String> = (0..EACH_WAY)
            .map(|n| {
                self.alice()
                    .invoice(MSAT, &format!("{round} {n}"))
                    .unwrap()
                    .bolt11
            })
            .collect();
        let client = self.alice().client();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(bolt11) = ours.get(next.fetch_add(1, Ordering::Relaxed)) {
                        pay_until_done(&client, bolt11);
                    }
                });
            }
            let half = theirs.len() / 2;
            self.ldk_pays(&theirs[..half]);
            disturb(self);
            self.ldk_pays(&theirs[half..]);
        });
        until("LDK's payments end", || {
            Ok((self.ldk.under_way() == 0).then_some(()))
        })
        .unwrap();
        self.wait_quiet();
        let unpaid: Vec<String> = (0..EACH_WAY)
            .map(|n| format!("{round} {n}"))
            .filter(|label| self.alice().invoice_status(label).unwrap().as_deref() != Some("paid"))
            .collect();
        assert_eq!(unpaid, Vec::<String>::new());
        assert_eq!(self.to_us(), before, "as much came as went");
    }

    /// LDK refuses what would exceed the peer's limit, so no more than that at a time.
    fn ldk_pays(&self, invoices: &[String]) {
        for bolt11 in invoices {
            until("LDK has room", || {
                Ok((self.ldk.under_way() < AT_ONCE).then_some(()))
            })
            .unwrap();
            let hash = until("LDK takes the payment", || Ok(self.ldk.pay(bolt11).ok())).unwrap();
            let _ = hash;
        }
    }
}

/// The same invoice again until it is paid: a payment that was under way is not paid twice.
fn pay_until_done(client: &blackbox::Client, bolt11: &str) {
    until("a payment of ours arrives", || {
        match client.call("pay", json!([bolt11])) {
            Ok(paid) if paid["status"] == "complete" => Ok(Some(())),
            Ok(_) | Err(_) => Ok(None),
        }
    })
    .unwrap();
}

fn fee(bitcoind: &Bitcoind, txid: &str) -> u64 {
    let transaction = bitcoind.transaction(txid).unwrap();
    let value = |output: &Value| (output["value"].as_f64().unwrap() * 1e8).round() as u64;
    let input = &transaction["vin"][0];
    let spent = bitcoind
        .transaction(input["txid"].as_str().unwrap())
        .unwrap();
    let put_in = value(&spent["vout"][input["vout"].as_u64().unwrap() as usize]);
    put_in
        - transaction["vout"]
            .as_array()
            .unwrap()
            .iter()
            .map(value)
            .sum::<u64>()
}

/// Mutual close, by us or by LDK; then every satoshi is where the last balances said.
fn close_and_check(pair: &Pair, by_us: bool, we_opened: bool) {
    let ours = pair.to_us() / 1000;
    let theirs = CHANNEL - pair.to_us().div_ceil(1000);
    let alice_before = pair.alice().onchain_msat(true).unwrap() / 1000;
    let ldk_before = pair.ldk.node().list_balances().total_onchain_balance_sats;
    if by_us {
        let id = pair.ldk.id().to_string();
        let closed = pair.alice().rpc("close", json!({ "id": id })).unwrap();
        assert_eq!(closed["type"], "mutual", "{closed}");
    } else {
        pair.ldk.close(pair.alice()).unwrap();
    }
    let txid = pair.bitcoind().wait_for_mempool(1).unwrap()[0].clone();
    pair.network.mine(6).unwrap();
    let fee = fee(pair.bitcoind(), &txid);
    let (our_fee, their_fee) = if we_opened { (fee, 0) } else { (0, fee) };
    pair.alice()
        .wait_for("our side of the close", |alice| {
            let now = alice.onchain_msat(true)? / 1000;
            Ok((now == alice_before + ours - our_fee).then_some(()))
        })
        .unwrap();
    pair.ldk
        .wait_for("LDK's side of the close", |ldk| {
            let now = ldk.node().list_balances().total_onchain_balance_sats;
            Ok((now == ldk_before + theirs - their_fee).then_some(()))
        })
        .unwrap();
}

#[test]
fn we_open_both_pay_and_we_close() {
    let mut pair = Pair::we_open();
    pair.pay_both_ways("first");
    pair.many_at_once("load", |_| {});
    close_and_check(&pair, true, true);
}

#[test]
fn ldk_opens_both_pay_and_ldk_closes() {
    let mut pair = Pair::ldk_opens();
    pair.pay_both_ways("first");
    pair.many_at_once("load", |_| {});
    close_and_check(&pair, false, false);
}

#[test]
fn payments_survive_a_disconnect_in_the_middle() {
    let mut pair = Pair::we_open();
    pair.many_at_once("load", |pair| {
        let id = pair.ldk.id();
        pair.alice()
            .rpc("disconnect", json!({"id": id.to_string(), "force": true}))
            .unwrap();
        pair.wait_usable();
    });
    pair.pay_both_ways("after");
    close_and_check(&pair, false, true);
}

#[test]
fn payments_survive_our_restart_in_the_middle() {
    let mut pair = Pair::ldk_opens();
    pair.many_at_once("load", |pair| {
        pair.network.nodes[0].restart().unwrap();
        pair.wait_usable();
    });
    pair.pay_both_ways("after");
    close_and_check(&pair, true, false);
}

#[test]
fn payments_survive_ldks_restart_in_the_middle() {
    let mut pair = Pair::we_open();
    pair.many_at_once("load", |pair| {
        pair.ldk.restart().unwrap();
        pair.wait_usable();
    });
    pair.pay_both_ways("after");
    close_and_check(&pair, true, true);
}
