//! The test vectors of BOLT 4, from our own tables and, where they lie beside the repository, from
//! the published files.

use std::path::PathBuf;

use onion::{BadOnion, Failure, Payload, Position, SharedSecret, UnwrapError};
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use serde_json::Value;
use wire::OnionPacket;

fn table(name: &str) -> Value {
    read(format!("../../tests/vectors/bolt04/{name}")).expect("our own table")
}

/// `None` in a clone of the repository alone.
fn published(name: &str) -> Option<Value> {
    read(format!("../../../shared/vectors/bolt04/{name}"))
}

fn read(path: String) -> Option<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).expect("JSON"))
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a string")).expect("hex")
}

fn secret_key(value: &Value) -> SecretKey {
    SecretKey::from_slice(&bytes(value)).expect("a secret key")
}

fn point(value: &Value) -> PublicKey {
    PublicKey::from_slice(&bytes(value)).expect("a point")
}

fn packet(value: &Value) -> OnionPacket {
    OnionPacket(bytes(value).try_into().expect("1366 bytes"))
}

/// The published payloads have their length before them.
fn without_length(payload: Vec<u8>) -> Vec<u8> {
    payload[if payload[0] == 0xfd { 3 } else { 1 }..].to_vec()
}

struct Route {
    session_key: SecretKey,
    associated_data: Vec<u8>,
    hops: Vec<(PublicKey, Vec<u8>)>,
    onion: OnionPacket,
}

impl Route {
    fn check_building(&self) -> Vec<SharedSecret> {
        let (built, secrets) =
            onion::build(&self.session_key, &self.hops, &self.associated_data).unwrap();
        assert!(built == self.onion);
        secrets
    }
}

fn check_plain(route: &Route, node_secrets: &[SecretKey]) {
    let secrets = route.check_building();
    let mut packet = Some(route.onion.clone());
    for (n, node_secret) in node_secrets.iter().enumerate() {
        assert_eq!(node_secret.public_key(SECP256K1), route.hops[n].0);
        let current = packet.take().expect("a packet for every hop");
        let key = onion::ephemeral_key(&current).unwrap();
        let secret = SharedSecret::ecdh(&key, node_secret);
        assert_eq!(secret, secrets[n]);
        let peeled = onion::unwrap(&current, &route.associated_data, &secret).unwrap();
        assert_eq!(peeled.payload, route.hops[n].1);
        let position = if peeled.next.is_some() {
            Position::Forwarding
        } else {
            Position::Last
        };
        Payload::decode(&peeled.payload, position, None).unwrap();
        packet = peeled.next;
    }
    assert!(packet.is_none());
}

#[test]
fn the_onion_of_five_hops_is_built_and_peeled() {
    let table = table("onion.json");
    let hops = table["hops"].as_array().unwrap();
    let route = Route {
        session_key: secret_key(&table["session_key"]),
        associated_data: bytes(&table["associated_data"]),
        hops: hops
            .iter()
            .map(|hop| (point(&hop[1]), bytes(&hop[2])))
            .collect(),
        onion: packet(&table["onion"]),
    };
    let node_secrets: Vec<_> = hops.iter().map(|hop| secret_key(&hop[0])).collect();
    check_plain(&route, &node_secrets);

    let first = Payload::decode(&route.hops[0].1, Position::Forwarding, None).unwrap();
    let Payload::Forward(first) = first else {
        panic!("{first:?}")
    };
    assert_eq!(
        (first.amt_to_forward.0, first.outgoing_cltv_value.0),
        (15000, 1500)
    );
    assert_eq!(first.short_channel_id.0, 1);
    let last = Payload::decode(&route.hops[4].1, Position::Last, None).unwrap();
    let Payload::Final(last) = last else {
        panic!("{last:?}")
    };
    assert_eq!((last.amt_to_forward.0, last.total_msat().0), (10000, 10000));
}

#[test]
fn the_published_onion_is_built_and_peeled() {
    let Some(file) = published("onion-test.json") else {
        return;
    };
    let generate = &file["generate"];
    let hops = generate["hops"].as_array().unwrap().iter();
    let route = Route {
        session_key: secret_key(&generate["session_key"]),
        associated_data: bytes(&generate["associated_data"]),
        hops: hops
            .map(|h| (point(&h["pubkey"]), without_length(bytes(&h["payload"]))))
            .collect(),
        onion: packet(&file["onion"]),
    };
    let secrets = file["decode"].as_array().unwrap();
    check_plain(&route, &secrets.iter().map(secret_key).collect::<Vec<_>>());
}

fn check_error(message: &[u8], secrets: &[SharedSecret], reason: &[u8]) {
    let failure = Failure::decode(message);
    assert_eq!(failure.encode(), message);
    let (last, before) = secrets.split_last().unwrap();
    let mut made = onion::create_error(last, &failure);
    before
        .iter()
        .rev()
        .for_each(|secret| onion::wrap_error(secret, &mut made));
    assert_eq!(hex::encode(&made), hex::encode(reason));
    assert_eq!(
        onion::decode_error(secrets, reason),
        Some((before.len(), failure))
    );
}

#[test]
fn the_error_of_the_fifth_hop_is_made_and_read() {
    let table = table("error.json");
    let secret = |s: &Value| SharedSecret::from_bytes(bytes(s).try_into().unwrap());
    let secrets: Vec<_> = table["shared_secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(secret)
        .collect();
    check_error(
        &bytes(&table["failure_message"]),
        &secrets,
        &bytes(&table["reason"]),
    );
}

#[test]
fn the_published_error_is_made_and_read() {
    let Some(file) = published("onion-error-test.json") else {
        return;
    };
    let generate = &file["generate"];
    let hops = generate["hops"].as_array().unwrap().iter();
    let secrets: Vec<_> = hops
        .map(|hop| SharedSecret::from_bytes(bytes(&hop["hop_shared_secret"]).try_into().unwrap()))
        .collect();
    check_error(
        &bytes(&generate["failure_message"]),
        &secrets,
        &bytes(&file["errorpacket"]),
    );
}

struct BlindedHop {
    node_secret: SecretKey,
    next_path_key: Option<PublicKey>,
    /// Whether an onion is the one that this hop should get.
    is_onion: Box<dyn Fn(&OnionPacket) -> bool>,
}

/// The sender reaches the first blinded hop by one that is not, and gives it the path key.
fn check_blinded(route: &Route, hops: &[BlindedHop]) {
    let secrets = route.check_building();
    let mut packet = Some(route.onion.clone());
    let mut path_key: Option<PublicKey> = None;
    let mut overridden = 0;
    for (n, hop) in hops.iter().enumerate() {
        let current = packet.take().expect("a packet for every hop");
        assert!((hop.is_onion)(&current));
        let mut key = onion::ephemeral_key(&current).unwrap();
        if let Some(path_key) = &path_key {
            let blinding_secret = SharedSecret::ecdh(path_key, &hop.node_secret);
            key = onion::tweak_ephemeral_key(&key, &blinding_secret).unwrap();
        }
        let secret = SharedSecret::ecdh(&key, &hop.node_secret);
        assert_eq!(secret, secrets[n]);
        let peeled = onion::unwrap(&current, &route.associated_data, &secret).unwrap();
        assert_eq!(peeled.payload, route.hops[n].1);

        let position = if peeled.next.is_some() {
            Position::Forwarding
        } else {
            Position::Last
        };
        let payload = Payload::decode(&peeled.payload, position, path_key.as_ref()).unwrap();
        assert_eq!(payload.encode().unwrap(), peeled.payload);
        let used = match payload {
            Payload::Forward(_) => None,
            Payload::BlindedForward(p) => p.current_path_key.or(path_key),
            Payload::BlindedFinal(p) => {
                assert_eq!(
                    (p.amt_to_forward.0, p.total_amount_msat.0),
                    (100_000, 150_000)
                );
                p.current_path_key.or(path_key)
            }
            Payload::Final(p) => panic!("{p:?}"),
        };
        if let (Some(used), Some(next)) = (used, hop.next_path_key) {
            let blinding_secret = SharedSecret::ecdh(&used, &hop.node_secret);
            if onion::next_path_key(&used, &blinding_secret) != Some(next) {
                overridden += 1;
            }
        }
        path_key = hop.next_path_key;
        packet = peeled.next;
    }
    assert!(packet.is_none());
    assert_eq!(
        overridden, 1,
        "only Carol's recipient data names another path key"
    );
}

#[test]
fn the_onion_to_a_blinded_path_is_built_and_peeled() {
    use sha2::{Digest, Sha256};
    let table = table("blinded.json");
    let rows = table["hops"].as_array().unwrap();
    let route = Route {
        session_key: secret_key(&table["session_key"]),
        associated_data: bytes(&table["associated_data"]),
        hops: rows
            .iter()
            .map(|r| (point(&r["blinded_node_id"]), bytes(&r["payload"])))
            .collect(),
        onion: packet(&table["onion"]),
    };
    let hop = |row: &Value| {
        let sha256 = bytes(&row["onion_sha256"]);
        BlindedHop {
            node_secret: secret_key(&row["node_secret"]),
            next_path_key: (!row["next_path_key"].is_null()).then(|| point(&row["next_path_key"])),
            is_onion: Box::new(move |onion| Sha256::digest(onion.as_bytes())[..] == sha256[..]),
        }
    };
    check_blinded(&route, &rows.iter().map(hop).collect::<Vec<_>>());
}

#[test]
fn the_published_onion_to_a_blinded_path_is_built_and_peeled() {
    let Some(file) = published("blinded-payment-onion-test.json") else {
        return;
    };
    let generate = &file["generate"];
    let hops = generate["full_route"]["hops"].as_array().unwrap().iter();
    let route = Route {
        session_key: secret_key(&generate["session_key"]),
        associated_data: bytes(&generate["associated_data"]),
        hops: hops
            .map(|h| (point(&h["pubkey"]), without_length(bytes(&h["payload"]))))
            .collect(),
        onion: packet(&generate["onion"]),
    };
    let hop = |row: &Value| {
        let expected = packet(&row["onion"]);
        BlindedHop {
            node_secret: secret_key(&row["node_privkey"]),
            next_path_key: row.get("next_path_key").map(point),
            is_onion: Box::new(move |onion| *onion == expected),
        }
    };
    let hops = file["decrypt"]["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(hop)
        .collect::<Vec<_>>();
    check_blinded(&route, &hops);
}

#[test]
fn an_onion_for_another_payment_is_refused() {
    let table = table("onion.json");
    let onion = packet(&table["onion"]);
    let key = onion::ephemeral_key(&onion).unwrap();
    let secret = SharedSecret::ecdh(&key, &secret_key(&table["hops"][0][0]));
    let Err(UnwrapError::Malformed(error)) = onion::unwrap(&onion, &[0; 32], &secret) else {
        panic!("peeled");
    };
    assert_eq!(
        (error.reason, error.failure_code()),
        (BadOnion::Hmac, 0xc005)
    );
}
