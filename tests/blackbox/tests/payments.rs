//! Payments that follow each other closely, and many clients at once.

use anyhow::{Context, Result, ensure};
use blackbox::node::settled;
use blackbox::{Network, Node, Options};
use serde_json::{Value, json};
use std::sync::Barrier;

/// Real connections, open at the same time.
const CLIENTS: usize = 400;

#[test]
fn what_has_just_arrived_can_be_spent_at_once() {
    let network = Network::start(&["alice", "bob"]).unwrap();
    // All of it is alice's: bob can pay only with what he gets.
    network.open(0, 1, 1_000_000, 0).unwrap();
    network.sync().unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    // Below this bob has nothing that he may spend: the reserve.
    let first = bob.invoice(50_000_000, "reserve").unwrap();
    alice.pay(&first.bolt11).unwrap();
    settled(alice, bob).unwrap();
    let spendable = |node: &Node| {
        let channels = node.rpc("listpeerchannels", json!({})).unwrap();
        channels["channels"][0]["spendable_msat"].as_u64().unwrap()
    };
    for round in 0..20 {
        let there = bob.invoice(100_000_000, &format!("there {round}")).unwrap();
        // More than bob has, and less than he will have.
        let more = spendable(bob) + 60_000_000;
        let back = alice.invoice(more, &format!("back {round}")).unwrap();
        let paying = {
            let (alice, there) = (alice.client(), there.bolt11.clone());
            std::thread::spawn(move || alice.call("pay", json!([there])))
        };
        bob.rpc("waitinvoice", json!([there.label])).unwrap();
        // Its HTLC takes two more commitments to become bob's balance.
        bob.pay(&back.bolt11).unwrap();
        paying.join().unwrap().unwrap();
        settled(alice, bob).unwrap();
    }
}

#[test]
fn what_will_never_be_there_is_refused_at_once() {
    let (network, _) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let much = bob.invoice(900_000_000, "much").unwrap();
    let begun = std::time::Instant::now();
    let error = alice.pay(&much.bolt11).unwrap_err();
    assert_eq!(error.code(), Some(205), "{error}");
    assert!(begun.elapsed().as_secs() < 30, "it waited for nothing");
}

/// Runs `work` on so many connections of their own, all open before the first begins.
fn at_once(
    node: &Node,
    work: impl Fn(usize, &mut dyn FnMut(&str, Value) -> Result<Value>) -> Result<()> + Sync,
) {
    let (client, all_here) = (node.client(), Barrier::new(CLIENTS));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, all_here, work) = (&client, &all_here, &work);
                scope.spawn(move || -> Result<()> {
                    let connected = client.connect("one of many");
                    all_here.wait();
                    let mut connection = connected?;
                    work(number, &mut |method, params| {
                        Ok(connection.call(method, params)?)
                    })
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap().unwrap();
        }
    });
}

#[test]
fn four_hundred_clients_at_once_are_served() {
    let bitcoind = blackbox::Bitcoind::start().unwrap();
    let node = Node::start(&bitcoind, "alice").unwrap();
    let rss = || node.processes()[0].rss().unwrap().0;
    let id = node.id().unwrap();
    let before = rss();
    at_once(&node, |number, call| {
        ensure!(call("getinfo", json!({}))?["id"] == id.as_str());
        let label = format!("client {number}");
        let made = call("invoice", json!(["any", label, "of many"]))?;
        let listed = call("listinvoices", json!([label]))?;
        ensure!(listed["invoices"][0]["payment_hash"] == made["payment_hash"]);
        Ok(())
    });
    let grown = rss().saturating_sub(before);
    assert!(grown < 100 * CLIENTS as u64, "{grown} KiB more");
    let all = node.rpc("listinvoices", json!({})).unwrap();
    assert_eq!(all["invoices"].as_array().unwrap().len(), CLIENTS);
}

#[test]
fn four_hundred_payments_at_once_all_arrive() {
    let options = Options {
        arguments: vec!["--max-concurrent-htlcs=483".to_owned()],
        ..Options::default()
    };
    let network = Network::start_with(&["alice", "bob"], &options).unwrap();
    network.open(0, 1, 10_000_000, 0).unwrap();
    network.sync().unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    let invoices: Vec<_> = (0..CLIENTS)
        .map(|n| bob.invoice(1_000_000, &format!("{n}")).unwrap())
        .collect();
    at_once(alice, |number, call| {
        let invoice = invoices.get(number).context("one for each")?;
        let paid = call("pay", json!([invoice.bolt11]))?;
        ensure!(paid["status"] == "complete", "{paid}");
        Ok(())
    });
    let (ours, theirs) = settled(alice, bob).unwrap();
    assert_eq!(theirs.to_us_msat, 1_000_000 * CLIENTS as u64);
    assert_eq!(ours.to_us_msat + theirs.to_us_msat, 10_000_000_000);
}
