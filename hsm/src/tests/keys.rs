//! K1, K2, R2, D2: what the node's secrets may be used for, and that nothing leads from one use to another.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::Network;
use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256, sha256d};
use invoice::{Bolt11Fields, DescriptionOrHash};
use secp256k1::ecdh::SharedSecret;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId, Signature};
use secp256k1::{Message, SECP256K1, SecretKey};
use tx::setup::CommitmentFormat;
use tx::signer::{CloseTerms, EcdhSecret, Reply, Request};
use wire::noise::{KeyStep, Secret as NoiseSecret};
use wire::{
    BlockDelta, Body, ChannelUpdate, Features, MilliSatoshi, PaymentHash, PaymentSecret,
    ShortChannelId,
};

use super::fixture::{CHAIN, CLOSE_FEE, Node, Pair};
use crate::derive::{NodeKeys, expand};
use crate::hsm::POINTS;
use crate::invoices::PreimageNumber;
use crate::label::Label;
use crate::node_key::{NodeMessage, TEXT_PREFIX};
use crate::seed::Seed;
use crate::uses::USES;
use crate::{Rule, UnixTime};
use hsm_files::bucket::Bucket;

const ANCHORS: CommitmentFormat = CommitmentFormat::AnchorsZeroFeeHtlc;
/// What a hop derives from the shared secret (BOLT 4, Key Generation), and the first step to it.
const ONION_KEYS: [&[u8]; 5] = [b"rho", b"mu", b"um", b"ammag", b"blinded_node_id"];

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    engine.input(message);
    Hmac::from_engine(engine).to_byte_array()
}

/// All that the NOISE role answers for `point`, with chaining keys that its holder may choose.
fn noise_answers(node: &mut Node, point: secp256k1::PublicKey) -> Vec<[u8; 32]> {
    let mut chosen: Vec<[u8; 32]> = vec![[0; 32], [0x36; 32], sha256(b"ck")];
    // As HMAC's key these are the same as the names of the onion's keys.
    chosen.extend(ONION_KEYS.map(|name| {
        let mut key = [0; 32];
        key[..name.len()].copy_from_slice(name);
        key
    }));
    let mut answers = Vec::new();
    for ck in chosen {
        let ck = NoiseSecret(ck);
        let initiator = KeyStep::InitiatorAct3 {
            ck: ck.clone(),
            point,
        };
        let keys = node.hsm().noise_step(&initiator).unwrap();
        answers.extend([keys.ck, keys.temp_key].map(|key| key.0));
        for tag in [[0; 16], [0xff; 16]] {
            let responder = KeyStep::ResponderAct1 {
                ck: ck.clone(),
                h: [0; 32],
                point,
                tag,
            };
            assert!(node.hsm().noise_step(&responder).is_err());
        }
    }
    answers
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha256::Hash::hash(bytes).to_byte_array()
}

#[test]
fn k1_noise_gives_neither_an_onions_shared_secret_nor_a_key_from_it() {
    let mut node = Node::new();
    let ephemeral = SecretKey::from_slice(&[0x31; 32]).unwrap();
    let shared = SharedSecret::new(&node.hsm().node_id().0, &ephemeral).secret_bytes();
    let mut secrets = vec![shared, sha256(&shared)];
    secrets.extend(ONION_KEYS.map(|name| hmac(name, &shared)));
    let answers = noise_answers(&mut node, ephemeral.public_key(SECP256K1));
    assert_eq!(answers.len(), 16);
    for answer in answers {
        assert!(!secrets.contains(&answer));
    }
}

#[test]
fn k2_a_batch_has_64_points_at_most() {
    let mut pair = Pair::open(ANCHORS);
    let points = vec![pair.b.next_point; 65];
    let batch = |count: usize| Request::EcdhBatch {
        points: points[..count].to_vec(),
    };
    assert_eq!(pair.a.refused(batch(65)), "K2");
    let Reply::SharedSecrets { secrets } = pair.a.ask(batch(64)) else {
        panic!("no secrets");
    };
    assert_eq!(secrets.len(), 64);
    assert_eq!(pair.a.node.hsm().shared_secrets(), 64);
}

#[test]
fn k2_a_channel_opens_so_many_onions_and_no_more() {
    let mut pair = Pair::open(ANCHORS);
    let channel = pair.a.new.channel;
    let points = vec![pair.b.next_point; 2];
    let batch = Request::EcdhBatch { points };
    let now = UnixTime(1_700_000_000);
    let hsm = pair.a.node.hsm();
    hsm.set_now(now);
    let mut bucket = Bucket::full(POINTS, now);
    assert!(bucket.take(POINTS.capacity - 3, now));
    hsm.ecdh.insert(channel, bucket);
    let given = |reply| matches!(reply, Reply::SharedSecrets { .. });
    assert!(given(pair.a.ask(batch.clone())));
    assert_eq!(pair.a.refused(batch.clone()), "K2");
    let one = Request::EcdhBatch {
        points: vec![pair.b.next_point],
    };
    assert!(given(pair.a.ask(one)), "a refusal took something");
    pair.a.node.hsm().set_now(UnixTime(now.0 + 1));
    assert!(given(pair.a.ask(batch)));
    // 2,000 payments a second, and a whole resume with 483 HTLCs each second besides.
    const { assert!(POINTS.refill / POINTS.every > 4 * (2000 + 2 * 483)) };
}

#[test]
fn k2_what_is_counted_is_what_was_given() {
    let mut pair = Pair::open(ANCHORS);
    let points = vec![pair.b.next_point; 3];
    let Reply::SharedSecrets { secrets } = pair.a.ask(Request::EcdhBatch { points }) else {
        panic!("no secrets");
    };
    assert!(secrets.iter().all(|secret| *secret != EcdhSecret([0; 32])));
    let points = vec![pair.b.next_point; 100];
    assert_eq!(pair.a.refused(Request::EcdhBatch { points }), "K2");
    assert_eq!(pair.a.node.hsm().shared_secrets(), 3);
}

/// Every label but a user's. Whoever adds one is led here by the compiler.
fn labels() -> Vec<Label<'static>> {
    let next = |label| match label {
        None => Some(Label::NodeId),
        Some(Label::NodeId) => Some(Label::PeerSeed),
        Some(Label::PeerSeed) => Some(Label::PerPeerSeed),
        Some(Label::PerPeerSeed) => Some(Label::ChannelKeys),
        Some(Label::ChannelKeys) => Some(Label::Bip32Seed),
        Some(Label::Bip32Seed) => Some(Label::Journal),
        Some(Label::Journal) => Some(Label::Preimages),
        Some(Label::Preimages) => Some(Label::Preimage),
        Some(Label::Preimage) => Some(Label::DerivedSecrets),
        Some(Label::DerivedSecrets) => Some(Label::StaticBackup),
        Some(Label::StaticBackup) | Some(Label::User(_)) => None,
    };
    std::iter::successors(next(None), |label| next(Some(*label))).collect()
}

fn seed() -> Seed {
    Seed::parse(&[5; 32]).unwrap()
}

#[test]
fn r2_labels_are_distinct() {
    let infos: BTreeSet<&[u8]> = labels().into_iter().map(Label::info).collect();
    assert_eq!((labels().len(), infos.len()), (10, 10));
}

#[test]
fn r2_a_users_label_reaches_none_of_the_nodes_secrets() {
    let seed = seed();
    let keys = NodeKeys::derive(&seed).unwrap();
    // What the node derives, by any of its labels, salted and not.
    let salts = (0..4u32).map(u32::to_le_bytes);
    let mut ours = BTreeSet::from([[5; 32], *keys.journal, *keys.backup]);
    for label in labels() {
        ours.insert(*expand::<32>(None, seed.whole(), label).unwrap());
        for salt in salts.clone() {
            let secret = expand::<32>(Some(&salt), seed.whole(), label);
            ours.insert(*secret.unwrap());
        }
    }
    for number in 0..100 {
        ours.insert(keys.preimage(PreimageNumber(number)).unwrap().0);
    }
    let count = ours.len();
    assert!(count > 100 + 10 * 4);
    // What a user can ask for: all of our labels but the one that users of Core Lightning have for
    // backups, and things that look like them.
    let others = labels()
        .into_iter()
        .filter(|label| *label != Label::StaticBackup);
    let mut infos: Vec<Vec<u8>> = others.map(|label| label.info().to_vec()).collect();
    infos.extend((0..100u64).map(|number| number.to_le_bytes().to_vec()));
    infos.extend([vec![], vec![1], b"scb secret ".to_vec()]);
    for info in infos {
        assert!(ours.insert(*keys.user_secret(&info).unwrap()), "{info:?}");
    }
    assert_eq!(ours.len(), count + 9 + 103);
}

// Core Lightning 090f4b0e6981d458b07a8e95d3eccf5a7c0b9542, tests/test_misc.py, test_makesecret: the
// secret that its node `lightning-1` gives, whose mnemonic its test framework makes from that name.
#[test]
fn a_users_secret_and_that_of_backups_are_those_of_core_lightning() {
    let words =
        "hockey enroll sure trip track rescue original plate abandon abandon abandon account";
    let file = [&[0; 32], words.as_bytes()].concat();
    let keys = NodeKeys::derive(&Seed::parse(&file).unwrap()).unwrap();
    assert_eq!(
        hex::encode(*keys.backup),
        "498a16a6c6b82b7280de7f5b0afa0478b29d3a1cbe52c376249cf46abb6c03da"
    );
    assert_eq!(*keys.backup, *keys.user_secret(b"scb secret").unwrap());
}

#[test]
fn r2_a_label_that_is_too_long_is_refused() {
    let mut node = Node::new();
    let hsm = node.hsm();
    assert!(hsm.make_secret(&[7; 65_535]).is_ok());
    assert_eq!(hsm.make_secret(&[7; 65_536]).unwrap_err().rule(), Rule::R2);
}

#[test]
fn r2_the_words_of_a_new_seed_are_shown_once_and_that_they_were_is_remembered() {
    let mut node = Node::new();
    let file = std::fs::read(node.dir.path().join("hsm_secret")).unwrap();
    let words = node.hsm().show_mnemonic().unwrap();
    assert_eq!(words.as_bytes(), &file[32..]);
    let again = |node: &mut Node| node.hsm().show_mnemonic().unwrap_err().rule();
    assert_eq!(again(&mut node), Rule::R2);
    node.restart();
    assert_eq!(again(&mut node), Rule::R2);
    node.hsm().compact().unwrap();
    node.restart();
    assert_eq!(again(&mut node), Rule::R2);
}

#[test]
fn r2_a_seed_without_words_shows_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hsm_secret"), [7; 32]).unwrap();
    let mut hsm = super::fixture::open(dir.path(), true).unwrap();
    assert_eq!(hsm.show_mnemonic().unwrap_err().rule(), Rule::R2);
}

fn fields() -> Bolt11Fields {
    Bolt11Fields {
        network: Network::Regtest,
        amount: None,
        payment_hash: PaymentHash([0; 32]),
        payment_secret: PaymentSecret([0; 32]),
        description: DescriptionOrHash::Description(String::new()),
        timestamp: Duration::ZERO,
        expiry: Duration::ZERO,
        min_final_cltv: BlockDelta(0),
        route_hints: vec![],
        fallbacks: vec![],
        features: Features::of(&[], &[]),
        metadata: None,
    }
}

fn update() -> ChannelUpdate {
    ChannelUpdate {
        signature: Signature::from_compact(&[0; 64]).unwrap(),
        chain_hash: CHAIN,
        short_channel_id: ShortChannelId(0),
        timestamp: 0,
        message_flags: 1,
        channel_flags: 0,
        cltv_expiry_delta: BlockDelta(0),
        htlc_minimum_msat: MilliSatoshi(0),
        fee_base_msat: 0,
        fee_proportional_millionths: 0,
        htlc_maximum_msat: MilliSatoshi(0),
        rest: vec![],
    }
}

/// How a message becomes what is signed, and what each one begins with.
#[derive(Debug, PartialEq, Eq)]
enum Domain {
    Once { prefix: Vec<u8> },
    Twice { prefix: Vec<u8> },
}

/// Read off what is signed, not off the code: the digest is made again from the bytes.
fn domain(message: NodeMessage<'_>) -> Domain {
    let digest = message.digest().unwrap();
    let twice = |bytes: &[u8]| sha256d::Hash::hash(bytes).to_byte_array();
    match message {
        NodeMessage::Bolt11(fields) => {
            // BOLT 11, Data Part: the human-readable part as text, then the data as bytes.
            let text = fields.clone().into_string(&[1; 64], 0).unwrap();
            let (hrp, data) = text.rsplit_once('1').unwrap();
            let words: Vec<u8> = data.bytes().map(bech32_value).collect();
            // Without the signature's 104 words and the checksum's 6.
            let bits: Vec<bool> = words[..words.len() - 110]
                .iter()
                .flat_map(|word| (0..5).rev().map(move |bit| word >> bit & 1 == 1))
                .collect();
            let bytes: Vec<u8> = bits
                .chunks(8)
                .map(|byte| (0..8).fold(0, |n, at| n << 1 | u8::from(byte.get(at) == Some(&true))))
                .collect();
            let signed = [hrp.as_bytes(), &bytes].concat();
            assert_eq!(digest, sha256(&signed));
            assert!(signed.len() > 32, "as long as a hash");
            Domain::Once {
                prefix: signed[..2].to_vec(),
            }
        }
        NodeMessage::ChannelUpdate(update) => {
            let signed = &update.to_bytes()[66..];
            assert_eq!(digest, twice(signed));
            Domain::Twice {
                prefix: signed[..32].to_vec(),
            }
        }
        NodeMessage::Text(text) => {
            let signed = format!("Lightning Signed Message:{text}");
            assert_eq!(digest, twice(signed.as_bytes()));
            Domain::Twice {
                prefix: TEXT_PREFIX.to_vec(),
            }
        }
    }
}

fn bech32_value(letter: u8) -> u8 {
    let letters = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    letters.iter().position(|l| *l == letter).unwrap() as u8
}

// An invoice is told from the others by being hashed once: what is hashed a second time has 32 bytes.
#[test]
fn d2_nothing_that_the_node_key_signs_can_be_taken_for_something_else() {
    let (fields, update) = (fields(), update());
    let domains = [
        domain(NodeMessage::Bolt11(&fields)),
        domain(NodeMessage::ChannelUpdate(&update)),
        domain(NodeMessage::Text("")),
    ];
    assert_eq!(
        domains[0],
        Domain::Once {
            prefix: b"ln".to_vec()
        }
    );
    let [
        _,
        Domain::Twice { prefix: chain },
        Domain::Twice { prefix: text },
    ] = &domains
    else {
        panic!("{domains:?}");
    };
    assert_eq!(chain, &CHAIN.0);
    let common = chain.len().min(text.len());
    assert!(common >= 25 && chain[..common] != text[..common]);
}

#[test]
fn d2_a_use_belongs_to_one_kind_of_key_and_each_key_that_exists_is_listed() {
    let kinds: Vec<&str> = USES.iter().map(|(kind, _)| *kind).collect();
    let expected = [
        "Node",
        "Funding",
        "HtlcBase",
        "Htlc",
        "Payment",
        "DelayedPayment",
        "Delayed",
        "Revocation",
        "Penalty",
        "WalletBase",
        "WalletChild",
    ];
    assert_eq!(kinds, expected);
    let uses = USES.iter().flat_map(|(_, uses)| uses.iter());
    let (names, hashes): (Vec<&str>, Vec<&str>) = uses.copied().unzip();
    for words in [names, hashes] {
        let distinct: BTreeSet<&str> = words.iter().copied().collect();
        assert_eq!(distinct.len(), words.len());
    }
}

// Both spend the funding output: BIP 143 hashes the input's sequence, which says which of them it is
// (BOLT 3, Commitment Transaction: its upper 8 bits are 0x80; Closing Transaction: 0xffffffff or 0xfffffffd).
#[test]
fn d2_a_commitments_hash_is_never_that_of_a_mutual_close() {
    let mut pair = Pair::open(ANCHORS);
    let (a, b) = (pair.a.new.clone(), pair.b.new.clone());
    let (fee, local, remote) = (CLOSE_FEE, a.shutdown_p2wpkh, b.shutdown_p2tr);
    let Reply::SignedClose { signature } = pair.b.ask(Request::SignClose(CloseTerms {
        fee,
        local_script: remote.clone(),
        remote_script: local.clone(),
    })) else {
        panic!("no close");
    };
    let reply = pair.a.ask(Request::CompleteClose {
        terms: CloseTerms {
            fee,
            local_script: local,
            remote_script: remote,
        },
        signature,
    });
    let Reply::CompletedClose { tx } = reply else {
        panic!("no close: {reply:?}");
    };
    let close: bitcoin::Transaction = bitcoin::consensus::deserialize(&tx).unwrap();
    let commitment = pair.a.node.hsm().force_close(a.channel).unwrap();
    let marks = [close, commitment].map(|tx| tx.input[0].sequence.0 >> 24);
    assert_eq!(marks, [0xff, 0x80]);
}

// An update whose bytes are a text, and the other way round.
#[test]
fn d2_a_text_never_gives_a_channel_updates_signature() {
    let mut node = Node::new();
    let bytes = update().to_bytes()[66..].to_vec();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    for text in [text.as_str(), "", "Lightning Signed Message:"] {
        let (signature, id) = node.hsm().sign_message(text).unwrap();
        let id = RecoveryId::from_i32(i32::from(id)).unwrap();
        let signature = RecoverableSignature::from_compact(&signature, id).unwrap();
        let key = node.hsm().node_id().0;
        let recovered = |bytes: &[u8]| {
            let message = Message::from_digest(sha256d::Hash::hash(bytes).to_byte_array());
            SECP256K1.recover_ecdsa(&message, &signature).ok()
        };
        let prefixed = [TEXT_PREFIX, text.as_bytes()].concat();
        assert_eq!(recovered(&prefixed), Some(key));
        assert_ne!(recovered(text.as_bytes()), Some(key));
        assert_ne!(recovered(&bytes), Some(key));
    }
    let long = "a".repeat(65_536);
    assert_eq!(node.hsm().sign_message(&long).unwrap_err().rule(), Rule::D2);
}
