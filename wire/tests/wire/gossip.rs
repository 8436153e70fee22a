//! Announcements of a real network: their signatures are over the bytes that we say they cover.

use std::collections::HashMap;

use bitcoin::hashes::{Hash, sha256d};
use secp256k1::{Message as Digest, SECP256K1};
use serde_json::{Value, json};
use wire::{ChannelAnnouncement, ChannelUpdate, Message, NodeAnnouncement};

use crate::files::{bytes, list, own, shared};

fn messages() -> Vec<Vec<u8>> {
    let table = own("bolt07/gossip.json");
    let mut all: Vec<_> = list(&table["messages"]).iter().map(bytes).collect();
    assert_eq!(all.len(), 3);
    let file = shared("vectors/cln/gossip-mesh-3x3.json").unwrap_or(json!({}));
    for records in file
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_array)
    {
        let known = records
            .iter()
            .map(|r| &r["message"])
            .filter(|m| m.is_string())
            .map(bytes);
        all.extend(known.filter(|m| m[0] == 1 && m[1] < 3));
    }
    all.sort_by_key(|m| m[1] != 0); // a channel before what is said of it
    all
}

fn digest(message: &[u8], from: usize) -> Digest {
    Digest::from_digest(sha256d::Hash::hash(&message[from..]).to_byte_array())
}

#[test]
fn gossip_of_a_real_network_decodes_and_its_signatures_are_right() {
    let mut nodes = HashMap::new();
    for encoded in messages() {
        let decoded = Message::decode(&encoded).unwrap();
        assert_eq!(decoded.encode(), encoded);
        match decoded {
            Message::ChannelAnnouncement(m) => {
                let digest = digest(&encoded, ChannelAnnouncement::SIGNED_FROM);
                for (signature, key) in [
                    (m.node_signature_1, m.node_id_1.0),
                    (m.node_signature_2, m.node_id_2.0),
                    (m.bitcoin_signature_1, m.bitcoin_key_1),
                    (m.bitcoin_signature_2, m.bitcoin_key_2),
                ] {
                    SECP256K1.verify_ecdsa(&digest, &signature, &key).unwrap();
                }
                nodes.insert(m.short_channel_id, [m.node_id_1.0, m.node_id_2.0]);
                assert!(m.node_id_1.0.serialize() < m.node_id_2.0.serialize());
            }
            Message::NodeAnnouncement(m) => {
                let digest = digest(&encoded, NodeAnnouncement::SIGNED_FROM);
                SECP256K1
                    .verify_ecdsa(&digest, &m.signature, &m.node_id.0)
                    .unwrap();
                m.net_addresses().unwrap();
            }
            Message::ChannelUpdate(m) => {
                let digest = digest(&encoded, ChannelUpdate::SIGNED_FROM);
                let key = nodes[&m.short_channel_id][usize::from(m.direction())];
                SECP256K1.verify_ecdsa(&digest, &m.signature, &key).unwrap();
                assert_eq!(m.message_flags & 1, 1);
            }
            other => panic!("{other:?}"),
        }
    }
}
