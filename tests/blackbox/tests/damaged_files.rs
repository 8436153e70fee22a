//! Each file that the node keeps, cut short and with a flipped bit, at several places: the node starts and is
//! what it was, or refuses and says what to do. Never an older state, never an empty one.
//!
//! `BULKHEAD_FAULT_ROUNDS` (100, of about 215 in random order) and `BULKHEAD_KILL_SEED` choose another run.

use blackbox::folder::copy;
use blackbox::kill::Rounds;
use blackbox::node::settled;
use blackbox::{Network, Node};
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    CutTo,
    FlipAt,
}

/// Where, of a file of this length.
const PLACES: [fn(usize) -> usize; 4] = [|_| 0, |len| len / 3, |len| len / 2, |len| len - 1];

/// All that a person would miss.
#[derive(Debug, PartialEq)]
struct State {
    id: Value,
    balances: Vec<(Value, Value)>,
    invoices: usize,
    pays: usize,
    coins: Vec<Value>,
}

/// A list that cannot be read is an error, and no shorter list.
fn state(node: &Node) -> Option<State> {
    let list = |method: &str, name: &str| -> Option<Vec<Value>> {
        let reply = node.rpc(method, json!({})).ok()?;
        reply[name].as_array().cloned()
    };
    let balance = |channel: &Value| (channel["channel_id"].clone(), channel["to_us_msat"].clone());
    Some(State {
        id: node.rpc("getinfo", json!({})).ok()?["id"].clone(),
        balances: list("listpeerchannels", "channels")?
            .iter()
            .map(balance)
            .collect(),
        invoices: list("listinvoices", "invoices")?.len(),
        pays: list("listpays", "pays")?.len(),
        coins: list("listfunds", "outputs")?,
    })
}

fn damage(file: &Path, kind: Damage, place: fn(usize) -> usize) {
    let mut bytes = fs::read(file).unwrap();
    let at = place(bytes.len());
    match kind {
        Damage::CutTo => bytes.truncate(at),
        Damage::FlipAt => bytes[at] ^= 0x08,
    }
    fs::write(file, bytes).unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("db")).unwrap().flatten();
    let database = entries.map(|entry| Path::new("db").join(entry.file_name()));
    let ours = ["hsm-journal", "hsm_secret"].map(PathBuf::from);
    let all = database.chain(ours);
    all.filter(|file| fs::metadata(folder.join(file)).unwrap().len() > 0)
        .collect()
}

#[test]
fn a_damaged_file_is_refused_with_advice_or_harmless() {
    let mut rounds = Rounds::named("BULKHEAD_FAULT_ROUNDS", 100);
    let (mut network, _) = Network::pair(1_000_000).unwrap();
    let (alice, bob) = (&network.nodes[0], &network.nodes[1]);
    for n in 0..3 {
        let invoice = bob.invoice(10_000_000, &format!("there {n}")).unwrap();
        alice.pay(&invoice.bolt11).unwrap();
        let invoice = alice.invoice(5_000_000, &format!("back {n}")).unwrap();
        bob.pay(&invoice.bolt11).unwrap();
    }
    settled(alice, bob).unwrap();
    let before = state(alice).unwrap();
    // Its tables are written out, and something is in its log.
    network.nodes[0].restart().unwrap();
    network.nodes[0].invoice(1_000, "late").unwrap();
    let before = State {
        invoices: before.invoices + 1,
        ..before
    };
    network.nodes[0].stop().unwrap();
    network.nodes[1].stop().unwrap();
    let folder = network.nodes[0].network_dir();
    let whole = folder.with_extension("whole");
    copy(&folder, &whole).unwrap();

    let mut cases = Vec::new();
    for file in files(&folder) {
        for kind in [Damage::CutTo, Damage::FlipAt] {
            // The seed file's first bytes say whether its words have a passphrase: flipped, the node waits
            // for one, and no passphrase gives the seed that the journal was written with.
            let waits = file == Path::new("hsm_secret") && kind == Damage::FlipAt;
            let places = PLACES.into_iter().skip(usize::from(waits));
            cases.extend(places.map(|place| (file.clone(), kind, place)));
        }
    }
    cases.shuffle(&mut rounds.random);
    let (mut refused, mut harmless) = (0, 0);
    for (file, kind, place) in cases.into_iter().take(rounds.count) {
        let len = fs::metadata(folder.join(&file)).unwrap().len() as usize;
        let what = format!("{} {kind:?} {} of {len}", file.display(), place(len));
        damage(&folder.join(&file), kind, place);
        let node = &mut network.nodes[0];
        match node.launch_or_refuse().unwrap() {
            None => {
                if let Some(after) = state(node) {
                    assert_eq!(after, before, "{what}");
                }
                harmless += 1;
                println!("harmless: {what}");
            }
            Some(refusal) => {
                let words = refusal.words.to_lowercase();
                let advice = ["restore", "put back", "put the folder", "use the version"];
                let says = advice.iter().any(|advice| words.contains(advice));
                assert!(says, "{what}: no advice in\n{words}");
                refused += 1;
                println!("refused: {what}");
            }
        }
        node.kill_all().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        copy(&whole, &folder).unwrap();
    }
    println!("{refused} refused, {harmless} harmless");
    assert!(
        refused > harmless / 4,
        "{refused} refused, {harmless} harmless"
    );
    // As it was, it is the node that it was.
    network
        .nodes
        .iter_mut()
        .for_each(|node| node.launch().unwrap());
    network.nodes[0].wait_for_normal(&network.nodes[1]).unwrap();
    assert_eq!(state(&network.nodes[0]), Some(before));
}
