//! Every message of the table: known by number and name, with the table's fields in its order.

use std::collections::BTreeSet;

use serde_json::Value;
use wire::{Features, KNOWN_TYPES, Message, peek};

use crate::files::{bytes, list, own};
use crate::table::{Instance, Layout, Numbers, own_table, shared_table};

/// Instances of every message with short and long lists, without and with each TLV record.
pub fn instances() -> Vec<(Layout, Vec<Instance>)> {
    let mut numbers = Numbers(0x5eed);
    let all = own_table().into_iter().chain(shared_table());
    all.map(|layout| {
        let mut built = vec![];
        for tlvs in 0..1 << layout.tlvs.len() {
            for len in [0, 1, 3, 40] {
                built.push(layout.build(&mut numbers, len, tlvs));
            }
        }
        (layout, built)
    })
    .collect()
}

#[test]
fn the_messages_of_the_table_are_the_messages_that_are_known() {
    let known: BTreeSet<_> = KNOWN_TYPES.iter().copied().collect();
    assert_eq!(known.len(), 50);
    for table in [own_table(), shared_table()]
        .into_iter()
        .filter(|t| !t.is_empty())
    {
        assert_eq!(table.iter().map(|m| m.num).collect::<BTreeSet<_>>(), known);
    }
}

#[test]
fn every_message_encodes_as_it_was_decoded() {
    for (layout, instances) in instances() {
        for instance in instances {
            let message = Message::decode(&instance.bytes).unwrap_or_else(|e| {
                panic!("{}: {e}: {}", layout.name, hex::encode(&instance.bytes))
            });
            assert_eq!(message.type_num(), layout.num);
            assert_eq!(message.name(), layout.name);
            assert_eq!(hex::encode(message.encode()), hex::encode(&instance.bytes));
        }
    }
}

#[test]
fn every_field_has_the_name_the_place_and_the_value_of_the_table() {
    for (layout, instances) in instances() {
        for instance in instances {
            let message = Message::decode(&instance.bytes).unwrap();
            let json = serde_json::to_value(&message).unwrap();
            let (_, body) = json.as_object().unwrap().iter().next().unwrap();
            let body = body.as_object().unwrap();
            let mut names: Vec<_> = body.keys().cloned().collect();
            names.retain(|name| name != "rest");
            assert_eq!(names, layout.struct_fields(), "{}", layout.name);
            for (name, number) in &instance.numbers {
                assert_eq!(&body[name], number, "{} {name}", layout.name);
            }
            for record in &layout.tlvs {
                let present = !matches!(body[&record.name], Value::Null | Value::Bool(false));
                let sent = instance.tlvs.contains(&record.name);
                assert_eq!(present, sent, "{} {}", layout.name, record.name);
            }
        }
    }
}

#[test]
fn every_message_survives_serde_as_text_and_as_the_ipc_sends_it() {
    let config = bincode::config::standard();
    for (layout, instances) in instances() {
        for instance in instances {
            let message = Message::decode(&instance.bytes).unwrap();
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(
                serde_json::from_str::<Message>(&text).unwrap(),
                message,
                "{}",
                layout.name
            );
            let binary = bincode::serde::encode_to_vec(&message, config).unwrap();
            let (back, used) =
                bincode::serde::decode_from_slice::<Message, _>(&binary, config).unwrap();
            assert_eq!((back, used), (message, binary.len()), "{}", layout.name);
        }
    }
}

#[test]
fn every_message_is_refused_if_its_fields_are_cut_off() {
    for (layout, _) in instances() {
        let whole = layout.build(&mut Numbers(9), 2, 0).bytes;
        for len in 2..whole.len() {
            let decoded = Message::decode(&whole[..len]);
            assert!(
                decoded.is_err(),
                "{} of {len} bytes: {decoded:?}",
                layout.name
            );
        }
    }
}

#[test]
fn peeking_finds_what_decoding_finds() {
    let mut with_id = BTreeSet::new();
    for (layout, instances) in instances() {
        for instance in instances {
            let message = Message::decode(&instance.bytes).unwrap();
            let id = message.channel_id();
            assert_eq!(
                peek(&instance.bytes),
                Some((layout.num, id)),
                "{}",
                layout.name
            );
            let fields = layout.struct_fields();
            let named = fields
                .iter()
                .any(|f| f == "channel_id" || f == "temporary_channel_id");
            assert_eq!(id.is_some(), named, "{}", layout.name);
            if named {
                with_id.insert(layout.num);
            }
        }
    }
    assert_eq!(with_id.len(), 36);
    assert_eq!(peek(&[0]), None);
    assert_eq!(peek(&[0, 128, 1, 2]), None);
    assert_eq!(peek(&[0x80, 1, 2]), Some((0x8001, None)));
}

#[test]
fn unknown_even_and_odd_records_end_differently() {
    for (layout, instances) in instances() {
        if matches!(layout.num, 256..=258) {
            continue; // announcements keep what follows
        }
        let [plain, ..] = &instances[..] else {
            panic!()
        };
        let odd = [&plain.bytes[..], &[0xfd, 0xff, 0xfd, 1, 7]].concat();
        let even = [&plain.bytes[..], &[0xfd, 0xff, 0xfe, 1, 7]].concat();
        let decoded = Message::decode(&odd).unwrap();
        assert_eq!(decoded.encode(), plain.bytes, "{}", layout.name);
        assert!(Message::decode(&even).is_err(), "{}", layout.name);
    }
}

#[test]
fn announcements_keep_the_bytes_that_their_signatures_cover() {
    for (layout, instances) in instances() {
        if let (256..=258, [plain, ..]) = (layout.num, &instances[..]) {
            let longer = [&plain.bytes[..], b"not a TLV stream"].concat();
            assert_eq!(
                Message::decode(&longer).unwrap().encode(),
                longer,
                "{}",
                layout.name
            );
        }
    }
}

#[test]
fn unknown_messages_are_told_apart_by_their_parity() {
    let even = Message::decode(&[0x80, 0, 1, 2]).unwrap();
    let odd = Message::decode(&[0x80, 1]).unwrap();
    assert_eq!(
        even,
        Message::Unknown {
            type_num: 0x8000,
            data: vec![1, 2]
        }
    );
    assert!(even.is_even() && !odd.is_even());
    assert_eq!(even.encode(), [0x80, 0, 1, 2]);
}

#[test]
fn a_message_has_at_most_65535_bytes() {
    let mut bytes = vec![0; 65535];
    bytes[..2].copy_from_slice(&[0x80, 1]);
    assert!(Message::decode(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(
        Message::decode(&bytes),
        Err(wire::DecodeError::MessageTooLong(65536))
    );
}

#[test]
fn a_string_that_is_too_long_makes_a_message_that_is_too_long() {
    let ignored = vec![0; 65536];
    let message = Message::from(wire::Pong { ignored });
    assert!(message.encode().len() > wire::MAX_MESSAGE);
}

#[test]
fn a_features_field_that_is_too_wide_comes_back_as_it_came() {
    let encoded = bytes(&Value::from("00100000000300000a"));
    let Message::Init(init) = Message::decode(&encoded).unwrap() else {
        panic!()
    };
    assert_eq!(init.features, Features::from_bytes(&[0x0a]));
    assert_eq!(Message::Init(init).encode(), encoded);
}

#[test]
fn no_secret_of_a_message_is_printed() {
    let preimage = format!("{:?}", wire::Preimage([0xab; 32]));
    let secret = format!("{:?}", wire::PerCommitmentSecret([0xab; 32]));
    for text in [preimage, secret] {
        assert!(!text.contains("ab, ab") && !text.contains("abab") && !text.contains("171"));
    }
}

#[test]
fn the_features_of_the_table_are_the_features_that_are_known() {
    use wire::Feature;
    use wire::features::Context;
    let table = own("wire/messages.json");
    let rows = list(&table["features"]);
    assert_eq!(rows.len(), 23);
    for row in rows {
        let feature = Feature::of_bit(row[0].as_u64().unwrap() as u32).expect("known");
        assert_eq!(feature.bit(), row[0].as_u64().unwrap() as u32);
        assert_eq!(feature.name(), row[1]);
        let needed: Vec<_> = feature.dependency().iter().map(|f| f.name()).collect();
        assert_eq!(serde_json::to_value(needed).unwrap(), row[4]);
        let in_table = |name: &str| list(&row[2]).iter().any(|c| c == name);
        if row[3] == false && !list(&row[2]).is_empty() {
            for (context, name) in [
                (Context::Init, "init"),
                (Context::NodeAnnouncement, "node_announcement"),
                (Context::ChannelAnnouncement, "channel_announcement"),
                (Context::ChannelType, "channel_type"),
                (Context::Bolt11, "bolt11"),
            ] {
                assert_eq!(feature.is_in(context), in_table(name), "{feature} {name}");
            }
        }
    }
}
