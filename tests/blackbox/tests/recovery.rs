//! A node that has lost its folder, and gets its coins back: from hsm_secret and emergency.recover, from the
//! words of its seed and a peer. Its peers close its channels, and every satoshi is where it was.

use anyhow::Result;
use blackbox::{Network, Node, Options};
use serde_json::{Value, json};
use std::fs;

const CHANNEL: u64 = 1_000_000;
/// More than all fees of a close and of what takes its outputs, at the lowest feerate.
const FEES: u64 = 10_000;

/// What alice had before she lost it.
struct Lost {
    network: Network,
    bob: String,
    channel_id: String,
    funding: String,
    /// Satoshi on chain and in the channel.
    coins: u64,
    balance: u64,
}

/// Reads the whole chain again when it has nothing.
fn rescan() -> Options {
    Options {
        arguments: vec!["--rescan=-1".into()],
        ..Options::default()
    }
}

fn pay(network: &Network, from: usize, to: usize, msat: u64, label: &str) {
    let invoice = network.nodes[to].invoice(msat, label).unwrap();
    network.nodes[from].pay(&invoice.bolt11).unwrap();
}

/// Alice and bob have paid each other; alice is stopped.
fn stopped(opener: usize) -> Lost {
    let network = Network::start(&["alice", "bob"]).unwrap();
    // Both have coins of their own besides.
    network.nodes[0].fund(&network.bitcoind, 300_000).unwrap();
    let pushed = CHANNEL * 500;
    let channel = network.open(opener, 1 - opener, CHANNEL, pushed).unwrap();
    for n in 0..3 {
        pay(&network, 0, 1, 20_000_000, &format!("there {n}"));
        pay(&network, 1, 0, 5_000_000, &format!("back {n}"));
    }
    let [alice, bob] = &network.nodes[..] else {
        panic!("two nodes")
    };
    let (ours, _) = blackbox::node::settled(alice, bob).unwrap();
    let mut lost = Lost {
        bob: bob.id().unwrap(),
        channel_id: channel.channel_id,
        funding: channel.funding_txid,
        coins: alice.coins().unwrap(),
        balance: ours.to_us_msat / 1000,
        network,
    };
    lost.network.nodes[0].stop().unwrap();
    lost
}

impl Lost {
    fn alice(&mut self) -> &mut Node {
        &mut self.network.nodes[0]
    }

    /// The one channel is left, and all that it is.
    fn is_recovered(&self, stubs: &Value) {
        assert_eq!(*stubs, json!({ "stubs": [self.channel_id] }));
        let listed = self.network.nodes[0]
            .rpc("listpeerchannels", json!({"id": self.bob}))
            .unwrap();
        let channel = &listed["channels"][0];
        assert_eq!(channel["funding_txid"], self.funding.as_str(), "{channel}");
        assert_eq!(channel["short_channel_id"], "1x1x1");
        assert_eq!(channel["lost_state"], true);
        assert_eq!(channel["peer_id"], self.bob.as_str());
    }

    /// Bob closes with his newest commitment, and alice has her balance and her coins, less fees.
    fn is_paid_back(&self) {
        let alice = &self.network.nodes[0];
        self.network.wait_for_spend_of(&self.funding);
        self.network.bitcoind.wait_for_mempool(1).unwrap();
        let whole = self.coins + self.balance;
        let nodes = [alice, &self.network.nodes[1]];
        self.network
            .mine_until("alice has what was hers", 30, &nodes, || {
                let coins = alice.coins()?;
                Ok((coins <= whole && coins + FEES >= whole).then_some(()))
            })
            .unwrap();
        alice.wait_for_state(&self.bob, "ONCHAIN").unwrap();
        // They can be spent.
        alice.lift_limits().unwrap();
        let address = self
            .network
            .bitcoind
            .rpc("getnewaddress", json!([]))
            .unwrap();
        let all = json!({"destination": address, "satoshi": "all"});
        let sent = alice.rpc("withdraw", all).unwrap();
        let tx = self
            .network
            .bitcoind
            .transaction(sent["txid"].as_str().unwrap());
        let inputs = tx.unwrap()["vin"].as_array().unwrap().len();
        assert!(inputs >= 2, "the channel's and the wallet's: {inputs}");
    }
}

trait Spends {
    fn wait_for_spend_of(&self, txid: &str);
}

impl Spends for Network {
    /// Of whichever output is the channel's.
    fn wait_for_spend_of(&self, txid: &str) {
        let tx = self.bitcoind.transaction(txid).unwrap();
        let outputs = tx["vout"].as_array().unwrap();
        let is_channel = |output: &&Value| {
            let value = output["value"].as_f64().unwrap();
            ((value * 1e8).round() as u64) == CHANNEL
        };
        let output = outputs.iter().find(is_channel).unwrap();
        self.wait_for_spend(txid, output["n"].as_u64().unwrap())
            .unwrap();
    }
}

#[test]
fn with_the_seed_and_emergency_recover_the_channels_coins_come_back() {
    for opener in [0, 1] {
        let mut lost = stopped(opener);
        lost.alice()
            .lose_all_but(&["hsm_secret", "emergency.recover"])
            .unwrap();
        lost.alice().set_options(rescan());
        let file = lost.alice().network_dir().join("emergency.recover");
        let before = fs::read(&file).unwrap();
        lost.alice().launch().unwrap();
        // The file is as good as it was until it was used, and afterwards.
        let channels = json!([lost.channel_id]);
        for _ in 0..2 {
            let data = lost
                .alice()
                .rpc("getemergencyrecoverdata", json!({}))
                .unwrap();
            assert_eq!(data["backed_up_channel_ids"], channels);
            lost.alice().restart().unwrap();
        }
        assert_ne!(fs::read(&file).unwrap(), b"");
        drop(before);
        let stubs = lost.alice().rpc("emergencyrecover", json!({})).unwrap();
        lost.is_recovered(&stubs);
        let again = lost.alice().rpc("emergencyrecover", json!({})).unwrap();
        assert_eq!(again, json!({"stubs": []}));
        // Whatever happens in between, it stays recovered.
        lost.alice().kill_all().unwrap();
        lost.alice().launch().unwrap();
        lost.is_paid_back();
    }
}

#[test]
fn what_is_opened_before_the_recovery_takes_the_number_of_no_lost_channel() {
    let mut lost = stopped(0);
    let carol = Node::start(&lost.network.bitcoind, "carol").unwrap();
    lost.alice()
        .lose_all_but(&["hsm_secret", "emergency.recover"])
        .unwrap();
    lost.alice().set_options(rescan());
    lost.alice().launch().unwrap();
    let alice = &lost.network.nodes[0];
    let height = lost.network.bitcoind.height().unwrap();
    alice.wait_for_height(height).unwrap();
    // By her, and by a stranger.
    carol.wait_for_height(height).unwrap();
    carol.fund(&lost.network.bitcoind, 300_000).unwrap();
    alice.connect(&carol).unwrap();
    for (opener, other) in [(alice, &carol), (&carol, alice)] {
        let params = json!({"id": other.id().unwrap(), "amount": 100_000});
        opener.rpc("fundchannel", params).unwrap();
        lost.network.bitcoind.wait_for_mempool(1).unwrap();
        lost.network.bitcoind.mine(6).unwrap();
        other.wait_for_normal(opener).unwrap();
    }
    let stubs = alice.rpc("emergencyrecover", json!({})).unwrap();
    lost.is_recovered(&stubs);
}

#[test]
fn with_the_words_of_the_seed_alone_a_peer_brings_the_channels_coins_back() {
    let mut lost = stopped(0);
    lost.alice().launch().unwrap();
    let words = lost.alice().words().unwrap();
    lost.alice().stop().unwrap();
    lost.alice().lose_all_but(&[]).unwrap();
    lost.alice().restore_seed(&words).unwrap();
    lost.alice().set_options(rescan());
    lost.alice().launch().unwrap();
    let nothing = lost.alice().rpc("restorefrompeer", json!({})).unwrap();
    assert_eq!(nothing["result"], "No backup received from peers");
    lost.network.nodes[0]
        .connect(&lost.network.nodes[1])
        .unwrap();
    let stubs = lost.network.nodes[0]
        .wait_for("bob gives the backup back", |alice| {
            let reply = alice.rpc("restorefrompeer", json!({}))?;
            Ok(reply.get("stubs").is_some().then_some(reply))
        })
        .unwrap();
    lost.is_recovered(&stubs);
    lost.is_paid_back();
}

#[test]
fn a_channel_is_recovered_from_what_staticbackup_has_shown() {
    let mut lost = stopped(0);
    lost.alice().launch().unwrap();
    let shown = lost.alice().rpc("staticbackup", json!({})).unwrap();
    assert_eq!(shown["scb"].as_array().unwrap().len(), 1);
    // Known channels are not recovered over.
    let known = lost.alice().rpc("recoverchannel", shown.clone()).unwrap();
    assert_eq!(known, json!({"stubs": []}));
    lost.alice().stop().unwrap();
    lost.alice().lose_all_but(&["hsm_secret"]).unwrap();
    lost.alice().set_options(rescan());
    lost.alice().launch().unwrap();
    // Bob's channel_reestablish for a channel that is lost closes it by itself: he is not connected yet.
    for wrong in [json!([["00"]]), json!([["ff".repeat(200)]])] {
        let reply = lost.alice().rpc("recoverchannel", wrong).unwrap();
        assert_eq!(reply, json!({"stubs": []}));
    }
    assert!(
        lost.alice()
            .rpc("recoverchannel", json!([["xyz"]]))
            .is_err()
    );
    assert!(lost.alice().rpc("recoverchannel", json!(["00"])).is_err());
    let stubs = lost.alice().rpc("recoverchannel", shown).unwrap();
    lost.is_recovered(&stubs);
    lost.is_paid_back();
}

#[test]
fn what_was_closed_meanwhile_is_found_on_chain() {
    let mut lost = stopped(0);
    // Bob does not wait for her.
    let alice = lost.network.nodes[0].name().to_owned();
    assert_eq!(alice, "alice");
    let params = json!({"id": lost.channel_id, "unilateraltimeout": 1});
    let closed = lost.network.nodes[1].rpc("close", params).unwrap();
    assert_eq!(closed["type"], "unilateral");
    lost.network.bitcoind.wait_for_mempool(1).unwrap();
    lost.network.bitcoind.mine(8).unwrap();
    lost.alice()
        .lose_all_but(&["hsm_secret", "emergency.recover"])
        .unwrap();
    lost.alice().set_options(rescan());
    lost.alice().launch().unwrap();
    let stubs = lost.alice().rpc("emergencyrecover", json!({})).unwrap();
    assert_eq!(stubs, json!({ "stubs": [lost.channel_id] }));
    lost.is_paid_back();
}

#[test]
fn a_backup_of_another_seed_is_put_aside_and_not_used() -> Result<()> {
    let mut lost = stopped(0);
    let mut stranger = Node::start(&lost.network.bitcoind, "stranger")?;
    let theirs = stranger.network_dir().join("emergency.recover");
    stranger.stop()?;
    lost.alice().lose_all_but(&["hsm_secret"])?;
    let file = lost.alice().network_dir().join("emergency.recover");
    for bytes in [fs::read(theirs)?, b"garbage".to_vec(), vec![7; 2_000_000]] {
        let too_long = bytes.len() > 1_000_000;
        fs::write(&file, &bytes)?;
        if too_long {
            // It is not even looked into, and nothing is written over it.
            let refusal = lost.alice().launch_refused()?;
            assert!(
                refusal.words.contains("emergency.recover"),
                "{}",
                refusal.words
            );
            assert_eq!(fs::read(&file)?, bytes);
            fs::remove_file(&file)?;
            continue;
        }
        lost.alice().launch()?;
        lost.alice().wait_for("the file is its own", |alice| {
            let data = alice.rpc("getemergencyrecoverdata", json!({}));
            Ok(data.ok().map(drop))
        })?;
        lost.alice().stop()?;
        let kept = fs::read_dir(lost.alice().network_dir())?
            .flatten()
            .filter(|entry| fs::read(entry.path()).is_ok_and(|found| found == bytes))
            .count();
        assert_eq!(kept, 1, "it is kept under another name");
    }
    Ok(())
}

#[test]
fn the_words_alone_bring_the_wallets_coins_back_and_none_that_was_spent() {
    let mut network = Network::start(&["alice"]).unwrap();
    let [alice] = &mut network.nodes[..] else {
        panic!("one node")
    };
    let bitcoind = &network.bitcoind;
    alice.lift_limits().unwrap();
    alice.fund(bitcoind, 100_000).unwrap();
    // It leaves nothing behind that is ours.
    let address = bitcoind.rpc("getnewaddress", json!([])).unwrap();
    let all = json!({"destination": address, "satoshi": "all"});
    alice.rpc("withdraw", all).unwrap();
    bitcoind.wait_for_mempool(1).unwrap();
    bitcoind.mine(1).unwrap();
    // Far apart, but not by more than are looked for.
    for satoshi in [150_000, 200_000] {
        for _ in 0..40 {
            alice.rpc("newaddr", json!({})).unwrap();
        }
        alice.fund(bitcoind, satoshi).unwrap();
        // More than chaind keeps by heart.
        bitcoind.mine(10).unwrap();
    }
    assert_eq!(alice.coins().unwrap(), 350_000);
    let words = alice.words().unwrap();
    alice.stop().unwrap();
    alice.lose_all_but(&[]).unwrap();
    alice.restore_seed(&words).unwrap();
    alice.set_options(rescan());
    alice.launch().unwrap();
    alice.wait_for_height(bitcoind.height().unwrap()).unwrap();
    alice
        .wait_for("all its coins", |alice| {
            Ok((alice.coins()? == 350_000).then_some(()))
        })
        .unwrap();
    // And a node that has all its blocks finds none twice.
    alice.restart().unwrap();
    assert_eq!(alice.coins().unwrap(), 350_000);
    let sent = json!({"destination": address, "satoshi": 340_000});
    alice.rpc("withdraw", sent).unwrap();
    bitcoind.wait_for_mempool(1).unwrap();
}
