//! What root finds in the memory of a running hsmd: no seed and no long-lived key.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use bip39::Mnemonic;
use bitcoin::NetworkKind;
use bitcoin::bip32::{DerivationPath, Xpriv};
use hkdf::Hkdf;
use hsm_messages::edges::HsmWallet;
use hsm_messages::{Role, chan, wallet};
use secp256k1::SECP256K1;
use sha2::Sha256;
use wire::{CommitmentNumber, NodeId};

use crate::node::{CHAIN, Node, somebody};

fn expand<const N: usize>(salt: Option<&[u8]>, secret: &[u8], info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let hkdf = Hkdf::<Sha256>::new(salt, secret);
    hkdf.expand(info, &mut out).unwrap();
    out
}

/// By name, what nobody may find; computed from the file alone.
fn secrets(file: &[u8], peer: NodeId, channel: u64) -> Vec<(&'static str, Vec<u8>)> {
    let words = std::str::from_utf8(&file[32..]).unwrap();
    let mnemonic = Mnemonic::parse_normalized(words).unwrap();
    let seed = mnemonic.to_seed_normalized("");
    let half = &seed[..32];
    let channels = expand::<32>(None, half, b"peer seed");
    let salt = [&peer.0.serialize()[..], &channel.to_le_bytes()].concat();
    let of_channel = expand::<32>(Some(&salt), &channels, b"per-peer seed");
    let keys = expand::<192>(None, &of_channel, b"c-lightning");
    let master = Xpriv::new_master(NetworkKind::Main, &seed).unwrap();
    let path: DerivationPath = "m/86h/0h/0h/0".parse().unwrap();
    let base = master.derive_priv(SECP256K1, &path).unwrap();
    let mut secrets = vec![
        ("words", words.as_bytes().to_vec()),
        ("entropy", mnemonic.to_entropy_array().0[..16].to_vec()),
        ("seed", half.to_vec()),
        ("seed's other half", seed[32..].to_vec()),
        (
            "node key",
            expand::<32>(Some(&[0; 4]), half, b"nodeid").to_vec(),
        ),
        ("channels' seed", channels.to_vec()),
        ("channel's seed", of_channel.to_vec()),
        (
            "wallet's master",
            master.private_key.secret_bytes().to_vec(),
        ),
        (
            "wallet's parent key",
            base.private_key.secret_bytes().to_vec(),
        ),
    ];
    let names = [
        "funding",
        "revocation",
        "htlc",
        "payment",
        "delayed",
        "shachain",
    ];
    let keys = keys.chunks(32).map(<[u8]>::to_vec);
    secrets.extend(names.into_iter().zip(keys));
    secrets
}

/// The readable memory of a process, a piece for each mapping.
fn memory(pid: i32) -> Vec<(String, Vec<u8>)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mem = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut pieces = Vec::new();
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let len = u64::from_str_radix(to, 16).unwrap() - from;
        let mut bytes = vec![0; len as usize];
        if !rest.starts_with('r') {
            continue;
        }
        match mem.read_exact_at(&mut bytes, from) {
            Ok(()) => pieces.push((rest.to_owned(), bytes)),
            // The pages of memfd_secret, and what the kernel itself puts there.
            Err(_) => assert!(rest.contains("secretmem") || rest.contains("[v"), "{line}"),
        }
    }
    pieces
}

fn found(memory: &[(String, Vec<u8>)], what: &[u8]) -> Option<String> {
    let holds =
        |(_, bytes): &&(String, Vec<u8>)| bytes.windows(what.len()).any(|window| window == what);
    memory
        .iter()
        .find(holds)
        .map(|(mapping, _)| mapping.clone())
}

/// Only root may look: without it there is nothing to test.
#[test]
fn root_finds_no_seed_and_no_key_in_its_memory() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let mut node = Node::new();
    let peer = somebody();
    let channel = node.new_channel(peer).channel;
    // Everything is used that a node at rest has used.
    let mut chan = node.chan(channel);
    let n = CommitmentNumber(1);
    chan.call(&chan::Request::Point { n }).unwrap();
    let mut wallet = node.mint::<HsmWallet>(Role::Wallet, None);
    wallet.call(&wallet::Request::GetAddress).unwrap();

    let file = fs::read(node.dir.path().join("hsm_secret")).unwrap();
    let memory = memory(node.child.pid());
    for (name, secret) in secrets(&file, peer, channel.0) {
        for half in secret.chunks(16).filter(|half| half.len() == 16) {
            assert_eq!(found(&memory, half), None, "{name} is in memory");
        }
    }
    // The same search finds what is no secret.
    assert!(
        found(&memory, &CHAIN.0).is_some(),
        "the search finds nothing"
    );
}
