//! A channel's life: coins come, it is opened, paid through there and back, closed by both, and buried.

use super::{POWER, may_trace, paid};
use anyhow::{Result, bail, ensure};
use blackbox::node::{ChannelState, settled};
use blackbox::payments::{Attempt, audit};
use blackbox::steps::{at_each, keep_trying};
use blackbox::{Client, Network, Node, Tally};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const COINS: u64 = 150_000;
const CHANNEL: u64 = 100_000;
const THERE: u64 = 30_000;
const BACK: u64 = 10_000;
/// More than the fees of a round.
const FEES: u64 = 5_000;
const EVERY: u64 = 16;

#[test]
fn a_channels_life_survives_the_death_of_its_opener_at_each_step() {
    dies(0);
}

#[test]
fn a_channels_life_survives_the_death_of_its_accepter_at_each_step() {
    dies(1);
}

fn dies(victim: usize) {
    if !may_trace() {
        return;
    }
    let mut network = Network::start(&["alice", "bob"]).unwrap();
    for node in &network.nodes {
        node.lift_limits().unwrap();
    }
    at_each(EVERY, |round, moment| {
        network.nodes[victim].begin_round(Path::new(POWER), moment)?;
        let expected = live(&network, round)?;
        let died = network.nodes[victim].end_round()?;
        if died.is_some() {
            let coins = coins(&network)?;
            ensure!(coins == expected, "{coins:?} instead of {expected:?}");
        }
        no_disagreements(&network)?;
        Ok(died)
    });
}

/// But about an opening that one of the two does not know of, as the death came between: the opener has another channel
/// then, whose end is looked at. And about a closed channel whose last blocks hsmd had not stored when it died: it is
/// asked again at each start.
fn no_disagreements(network: &Network) -> Result<()> {
    const CUT_SHORT: [&str; 4] = [
        "keeps closed channel",
        "unknown channel",
        "channel closed unilaterally",
        "whose opening was not finished",
    ];
    for node in &network.nodes {
        let mut all = node.disagreements();
        all.retain(|line| !CUT_SHORT.iter().any(|words| line.contains(words)));
        ensure!(all.is_empty(), "{}: {all:#?}", node.name());
    }
    Ok(())
}

/// One life; what both have in the end.
fn live(network: &Network, round: u64) -> Result<[u64; 2]> {
    let [alice, bob] = &network.nodes[..] else {
        bail!("two nodes")
    };
    let before = coins(network)?;
    let address = keep_trying("an address", || {
        let made = alice.rpc("newaddr", json!({"addresstype": "bech32"}))?;
        Ok(made["bech32"].as_str().map(str::to_owned))
    })?;
    network.bitcoind.fund(&address, COINS)?;
    network.bitcoind.mine(1)?;
    keep_trying("alice's coins", || {
        Ok((alice.coins()? == before[0] + COINS).then_some(()))
    })?;
    let channel = opened(network)?;
    let connect = || alice.connect(bob);
    let pay = |payer, payee, way: &str, satoshi| {
        let label = format!("{way} {round}");
        paid(payer, payee, &label, satoshi * 1000, &json!({}), connect)
    };
    let there = pay(alice, bob, "there", THERE)?;
    let back = pay(bob, alice, "back", BACK)?;
    balanced(alice, bob, &channel, [&there, &back])?;
    closed(network, &channel, (round % 2) as usize)?;
    let after = coins(network)?;
    let bobs = THERE - BACK;
    ensure!(
        after[1] == before[1] + bobs,
        "bob had {before:?} and has {after:?}"
    );
    let most = before[0] + COINS - bobs;
    ensure!(
        after[0] <= most && after[0] + FEES >= most,
        "alice had {before:?} and has {after:?}"
    );
    Ok(after)
}

/// Confirmed coins of both.
fn coins(network: &Network) -> Result<[u64; 2]> {
    keep_trying("both say what they have", || {
        Ok(Some([network.nodes[0].coins()?, network.nodes[1].coins()?]))
    })
}

/// One channel, however often it has to be asked for; one that was confirmed to the caller is it.
fn opened(network: &Network) -> Result<ChannelState> {
    let [alice, bob] = &network.nodes[..] else {
        bail!("two nodes")
    };
    let mut told = None;
    let channel = keep_trying("there is a channel", || {
        alice.connect(bob)?;
        let id = bob.id()?;
        let all = alice.channels_with(&id)?;
        let live = all.into_iter().filter(|channel| channel.state != "ONCHAIN");
        let live: Vec<ChannelState> = live.collect();
        ensure!(live.len() <= 1, "{live:?}");
        if live.is_empty() && told.is_none() {
            let opened = alice.rpc("fundchannel", json!({"id": id, "amount": CHANNEL}))?;
            told = opened["channel_id"].as_str().map(str::to_owned);
        }
        if !network.bitcoind.mempool()?.is_empty() {
            network.bitcoind.mine(6)?;
        }
        let normal = |channel: &ChannelState| channel.state == "CHANNELD_NORMAL" && channel.usable;
        let bobs = bob.channels_with(&alice.id()?)?;
        let ours = live.into_iter().find(normal);
        Ok(ours.filter(|_| bobs.iter().any(normal)))
    })?;
    ensure!(
        told.as_ref().is_none_or(|told| *told == channel.channel_id),
        "told of {told:?}, and has {channel:?}"
    );
    Ok(channel)
}

/// Each payment was made once, and both sides say so.
fn balanced(
    alice: &Node,
    bob: &Node,
    channel: &ChannelState,
    [there, back]: [&Attempt; 2],
) -> Result<()> {
    let (ours, theirs) = keep_trying("nothing is in flight", || settled(alice, bob).map(Some))?;
    ensure!(ours.channel_id == channel.channel_id, "another channel");
    let bobs = (THERE - BACK) * 1000;
    ensure!(
        ours.to_us_msat == CHANNEL * 1000 - bobs && theirs.to_us_msat == bobs,
        "{ours:?}, {theirs:?}"
    );
    keep_trying("both know of both payments", || {
        audit(alice, bob, std::slice::from_ref(there))?;
        audit(bob, alice, std::slice::from_ref(back)).map(Some)
    })?;
    Ok(())
}

/// Closed by both, as one of them asks, and forgotten by both.
fn closed(network: &Network, channel: &ChannelState, closer: usize) -> Result<()> {
    let [alice, bob] = &network.nodes[..] else {
        bail!("two nodes")
    };
    let bitcoind = &network.bitcoind;
    let since = bitcoind.height()?;
    let (closer, other) = (&network.nodes[closer], &network.nodes[1 - closer]);
    let impatient = Client::new(&closer.rpc_socket(), Duration::from_secs(1));
    let funding = (&channel.funding_txid[..], channel.funding_output);
    keep_trying("there is a closing transaction", || {
        if bitcoind.unspent(funding.0, funding.1)?.is_none() {
            return Ok(Some(()));
        }
        alice.connect(bob)?;
        // Whoever got no answer asks again.
        let _ = impatient.call("close", json!({"id": other.id()?}));
        Ok(None)
    })?;
    bitcoind.mine(1)?;
    let tally = Tally::of(bitcoind, funding, since)?;
    let values = &tally.commitment().values;
    ensure!(
        values.len() == 2 && values.contains(&(THERE - BACK)),
        "no mutual close: {tally:?}"
    );
    bitcoind.mine(100)?;
    keep_trying("both have forgotten the channel", || {
        let alices = alice.channels_with(&bob.id()?)?;
        let bobs = bob.channels_with(&alice.id()?)?;
        let mut all = alices.iter().chain(&bobs);
        let known = all.any(|listed| listed.channel_id == channel.channel_id);
        Ok((!known).then_some(()))
    })
}
