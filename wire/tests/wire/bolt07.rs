//! BOLT 7, extended queries, without those in the forbidden zlib encoding.

use serde_json::{Value, json};
use wire::{DecodeError, Message, ShortChannelId, decode_short_ids, encode_short_ids};

use crate::files::{bytes, list, own, shared};

fn content(message: &Message) -> Value {
    let ids = |encoded: &[u8]| -> Value {
        let ids = decode_short_ids(encoded).unwrap();
        assert_eq!(encode_short_ids(&ids), encoded);
        ids.iter().map(ShortChannelId::to_string).collect()
    };
    let mut found = json!({});
    match message {
        Message::QueryChannelRange(m) => {
            found["blocks"] = json!([m.first_blocknum.0, m.number_of_blocks]);
            if let Some(option) = &m.query_option {
                found["option"] = json!(option.query_option_flags);
            }
        }
        Message::ReplyChannelRange(m) => {
            assert_eq!(m.sync_complete, 1);
            found["blocks"] = json!([m.first_blocknum.0, m.number_of_blocks]);
            found["ids"] = ids(&m.encoded_short_ids);
            if let Some(timestamps) = &m.timestamps_tlv {
                found["timestamps"] = (timestamps.timestamps().unwrap().iter())
                    .map(|t| json!([t.timestamp_node_id_1, t.timestamp_node_id_2]))
                    .collect();
            }
            if let Some(checksums) = &m.checksums_tlv {
                found["checksums"] = (checksums.iter())
                    .map(|c| json!([c.checksum_node_id_1, c.checksum_node_id_2]))
                    .collect();
            }
        }
        Message::QueryShortChannelIds(m) => found["ids"] = ids(&m.encoded_short_ids),
        other => panic!("{other:?}"),
    }
    found
}

#[test]
fn query_messages_hold_what_bolt_7_says() {
    let table = own("bolt07/queries.json");
    let rows = list(&table["queries"]);
    assert_eq!(rows.len(), 5);
    for row in rows {
        let encoded = bytes(&row[0]);
        let message = Message::decode(&encoded).unwrap();
        assert_eq!(content(&message), row[1]);
        assert_eq!(message.encode(), encoded);
    }
}

#[test]
fn every_published_query_message_encodes_as_it_came() {
    let table = own("bolt07/queries.json");
    let mut all: Vec<_> = list(&table["zlib"]).to_vec();
    if let Some(file) = shared("vectors/bolt07/extended-queries.json") {
        all.extend(list(&file).iter().map(|v| v["hex"].clone()));
    }
    for hex in all {
        let encoded = bytes(&hex);
        assert_eq!(Message::decode(&encoded).unwrap().encode(), encoded);
    }
}

#[test]
fn zlib_is_refused_where_it_is_used() {
    for hex in list(&own("bolt07/queries.json")["zlib"]) {
        let used = Err(DecodeError::EncodingType(1));
        match Message::decode(&bytes(hex)).unwrap() {
            Message::ReplyChannelRange(m) => {
                assert_eq!(decode_short_ids(&m.encoded_short_ids), used);
            }
            Message::QueryShortChannelIds(m) => {
                let ids = decode_short_ids(&m.encoded_short_ids);
                let flags = m.query_flags.map_or(Ok(vec![]), |flags| flags.flags());
                assert!(ids == used || flags == Err(DecodeError::EncodingType(1)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_list_that_ends_inside_an_id_is_refused() {
    assert_eq!(decode_short_ids(&[0; 8]), Err(DecodeError::PartialElement));
    assert_eq!(decode_short_ids(&[]), Err(DecodeError::UnexpectedEnd));
    assert_eq!(decode_short_ids(&[0]), Ok(vec![]));
}
