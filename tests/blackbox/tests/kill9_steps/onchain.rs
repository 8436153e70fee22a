//! A channel that is closed by the commitment of the node that dies, with an HTLC that it claims with a preimage
//! which it learns late, and one that it takes back after its expiry.
//!
//! Alice pays carol through bob, and bob pays dave through alice, who does not know the payment; bob dies.

use super::{POWER, may_trace};
use anyhow::{Context, Result, bail, ensure};
use blackbox::middle::reached_through;
use blackbox::node::{ChannelState, settled};
use blackbox::steps::{at_each, keep_trying};
use blackbox::wait::until_within;
use blackbox::{Client, Network, Node, Options, Tally, tally, until};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const CHANNEL: u64 = 500_000;
/// The channels that stay.
const LASTING: u64 = 10_000_000;
const CLAIMED: u64 = 20_000;
const TAKEN_BACK: u64 = 30_000;
/// Before another block comes. Nothing hangs on it: what is claimed here is nobody else's to claim.
const PAUSE: Duration = Duration::from_millis(300);
/// Many more blocks than anything takes.
const BLOCKS: u32 = 80;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const DAVE: usize = 3;

#[test]
fn claims_on_chain_survive_the_death_of_their_owner_at_each_step() {
    if !may_trace() {
        return;
    }
    let options = Options {
        arguments: vec!["--fee-base=0".into(), "--fee-per-satoshi=0".into()],
        ..Options::default()
    };
    let names = ["alice", "bob", "carol", "dave"];
    let mut network = Network::start_with(&names, &options).unwrap();
    network.open(BOB, CAROL, LASTING, 0).unwrap();
    network.open(ALICE, DAVE, LASTING, 0).unwrap();
    // Bob pays for his HTLC transactions.
    network.nodes[BOB]
        .fund(&network.bitcoind, 1_000_000)
        .unwrap();
    network.sync().unwrap();
    at_each(24, |round, moment| play(&mut network, round, moment));
}

fn play(network: &mut Network, round: u64, moment: &str) -> Result<Option<String>> {
    if !network.nodes[BOB].is_running() {
        network.nodes[BOB].launch()?;
    }
    let pending = Pending::new(network, round)?;
    network.nodes[BOB].begin_round(Path::new(POWER), moment)?;
    pending.closes(network)?;
    pending.claims(network)?;
    pending.takes_back(network)?;
    let lasting = lasting(network)?;
    let carols = pending.carols_msat + CLAIMED * 1000;
    ensure!(lasting == [carols, 0], "{lasting:?} instead of {carols}");
    let coins = keep_trying("bob's coins", || network.nodes[BOB].coins().map(Some))?;
    let died = network.nodes[BOB].end_round()?;
    if died.is_some() {
        let after = network.nodes[BOB].coins()?;
        ensure!(after == coins, "{after} after {coins}");
    }
    Ok(died)
}

/// What carol and dave have in the channels that are not closed.
fn lasting(network: &Network) -> Result<[u64; 2]> {
    let [alice, bob, carol, dave] = nodes(network)?;
    keep_trying("the other channels are quiet", || {
        bob.connect(carol)?;
        alice.connect(dave)?;
        let (_, carols) = settled(bob, carol)?;
        let (_, daves) = settled(alice, dave)?;
        Ok(Some([carols.to_us_msat, daves.to_us_msat]))
    })
}

fn nodes(network: &Network) -> Result<[&Node; 4]> {
    let [alice, bob, carol, dave] = &network.nodes[..] else {
        bail!("four nodes")
    };
    Ok([alice, bob, carol, dave])
}

/// Both HTLCs are committed in the channel between alice and bob, and everybody but bob is frozen.
struct Pending {
    channel: ChannelState,
    since: u64,
    claimed: String,
    taken_back: String,
    /// Of the HTLC that bob takes back.
    expiry: u64,
    alice_id: String,
    before: u64,
    carols_msat: u64,
}

impl Pending {
    fn new(network: &Network, round: u64) -> Result<Pending> {
        let channel = network.open(ALICE, BOB, CHANNEL, CHANNEL * 500)?;
        network.sync()?;
        let [carols_msat, _] = lasting(network)?;
        let [alice, bob, carol, dave] = nodes(network)?;
        let invoice = |payee: &Node, from: &Node, satoshi: u64, cltv: u32| {
            let mut params = reached_through(payee, from)?;
            let label = format!("{round}");
            params["amount_msat"] = json!(satoshi * 1000);
            params["label"] = json!(label);
            params["description"] = json!(label);
            params["cltv"] = json!(cltv);
            anyhow::Ok(payee.rpc("invoice", params)?)
        };
        let claimed = invoice(carol, bob, CLAIMED, 60)?;
        let taken_back = invoice(dave, alice, TAKEN_BACK, 10)?;
        let forgotten = json!({"label": format!("{round}"), "status": "unpaid"});
        dave.rpc("delinvoice", forgotten)?;
        let before = bob.coins()?;
        let [alice_id, carol_id, dave_id] = [alice.id()?, carol.id()?, dave.id()?];
        carol.freeze();
        dave.freeze();
        drop(alice.begin_to_pay(string(&claimed["bolt11"])?));
        drop(bob.begin_to_pay(string(&taken_back["bolt11"])?));
        until("both are offered on", || {
            let here = bob.channels_with(&alice_id)?[0].htlcs == 2;
            let carols = bob.channels_with(&carol_id)?[0].htlcs == 1;
            let daves = alice.channels_with(&dave_id)?[0].htlcs == 1;
            Ok((here && carols && daves).then_some(()))
        })?;
        let listed = bob.rpc("listpeerchannels", json!({"id": alice_id}))?;
        let htlcs = listed["channels"][0]["htlcs"].as_array().cloned();
        let htlcs = htlcs.unwrap_or_default();
        let out = htlcs.iter().find(|htlc| htlc["direction"] == "out");
        let expiry = out.and_then(|htlc| htlc["expiry"].as_u64());
        alice.freeze();
        Ok(Pending {
            since: network.bitcoind.height()?,
            channel,
            claimed: string(&claimed["payment_hash"])?.to_owned(),
            taken_back: string(&taken_back["payment_hash"])?.to_owned(),
            expiry: expiry.context("an HTLC of bob's")?,
            alice_id,
            before,
            carols_msat,
        })
    }

    /// Bob's commitment is in a block.
    fn closes(&self, network: &Network) -> Result<()> {
        let (bitcoind, bob) = (&network.bitcoind, &network.nodes[BOB]);
        let impatient = Client::new(&bob.rpc_socket(), Duration::from_secs(5));
        keep_trying("bob's commitment is broadcast", || {
            let funding = (&self.channel.funding_txid, self.channel.funding_output);
            if bitcoind.unspent(funding.0, funding.1)?.is_none() {
                return Ok(Some(()));
            }
            let params = json!({"id": self.alice_id, "unilateraltimeout": 1});
            let _ = impatient.call("close", params);
            Ok(None)
        })?;
        bitcoind.mine(1)?;
        keep_trying("bob sees it", || {
            let state = bob.state_with(&self.alice_id)?;
            Ok((state.as_deref() == Some("ONCHAIN")).then_some(()))
        })
    }

    /// Bob learns the preimage and claims with it, and alice reads it from the chain.
    fn claims(&self, network: &Network) -> Result<()> {
        let [alice, bob, carol, dave] = nodes(network)?;
        carol.thaw();
        dave.thaw();
        let carol_id = carol.id()?;
        keep_trying("carol has settled", || {
            bob.connect(carol)?;
            let htlcs = bob.channels_with(&carol_id)?[0].htlcs;
            Ok((htlcs == 0).then_some(()))
        })?;
        keep_trying("bob claims the HTLC", || {
            Ok((!network.bitcoind.mempool()?.is_empty()).then_some(()))
        })?;
        network.bitcoind.mine(1)?;
        alice.thaw();
        mine_until(network, "alice has the preimage", 10, || {
            Ok((alice.attempt(&self.claimed)? == "complete").then_some(()))
        })
    }

    /// Bob takes his back and gets all that is his, to the satoshi; then the channel is forgotten.
    fn takes_back(&self, network: &Network) -> Result<()> {
        let [alice, bob, ..] = nodes(network)?;
        let left = self.expiry.saturating_sub(network.bitcoind.height()?);
        network.bitcoind.mine(u32::try_from(left)?)?;
        mine_until(network, "bob's payment failed", BLOCKS, || {
            Ok((bob.attempt(&self.taken_back)? == "failed").then_some(()))
        })?;
        let funding = (&self.channel.funding_txid[..], self.channel.funding_output);
        mine_until(network, "bob has all that is his", BLOCKS, || {
            let found = Tally::of(&network.bitcoind, funding, self.since)?;
            let anchors = tally::ANCHOR * found.anchors_taken_by(bob)?;
            let due = self.before + CHANNEL / 2 + CLAIMED + anchors - found.fees_of(bob, true)?;
            let coins = bob.coins()?;
            ensure!(coins == due, "{coins} of {due}: {found:#?}");
            Ok(Some(()))
        })?;
        network.bitcoind.mine(101)?;
        let bob_id = keep_trying("bob's id", || bob.id().map(Some))?;
        keep_trying("the channel is forgotten", || {
            let bobs = bob.channels_with(&self.alice_id)?;
            let alices = alice.channels_with(&bob_id)?;
            ensure!(bobs.is_empty() && alices.is_empty(), "{bobs:?}, {alices:?}");
            Ok(Some(()))
        })?;
        ensure!(alice.attempt(&self.claimed)? == "complete", "it was paid");
        Ok(())
    }
}

/// A block at a time, which everybody sees.
fn mine_until(
    network: &Network,
    what: &str,
    blocks: u32,
    mut look: impl FnMut() -> Result<Option<()>>,
) -> Result<()> {
    let mut last = None;
    for _ in 0..=blocks {
        let found = until_within(PAUSE, what, || {
            Ok(look().unwrap_or_else(|error| {
                last = Some(error);
                None
            }))
        });
        if found.is_ok() {
            return Ok(());
        }
        network.bitcoind.mine(1)?;
        let height = network.bitcoind.height()?;
        for node in &network.nodes {
            keep_trying("everybody sees the block", || {
                let seen = node.rpc("getinfo", json!({}))?["blockheight"].as_u64();
                Ok((seen >= Some(height)).then_some(()))
            })?;
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("never"))).with_context(|| what.to_owned())
}

fn string(value: &Value) -> Result<&str> {
    value.as_str().context("a string")
}
