//! BOLT 1, appendices A to D.

use serde_json::{Value, json};
use wire::codec::{DecodeError, Reader, TlvStream, Wire, decode_tlvs, put_bigsize};
use wire::{Message, MilliSatoshi, ShortChannelId};

use crate::files::{bytes, list, own, shared};

fn check_bigsize(encoded: &[u8], expected: &Value) {
    let decoded = Reader::new(encoded).bigsize();
    match expected.as_str() {
        Some("minimal") => assert_eq!(decoded, Err(DecodeError::NonMinimalBigSize)),
        Some("end") => assert_eq!(decoded, Err(DecodeError::UnexpectedEnd)),
        Some(other) => panic!("{other}"),
        None => assert_eq!(decoded, Ok(expected.as_u64().unwrap()), "{encoded:02x?}"),
    }
}

#[test]
fn bigsize_decodes_as_in_appendix_a() {
    let table = own("bolt01/integers.json");
    let rows = list(&table["bigsize_decode"]);
    assert_eq!(rows.len(), 18);
    rows.iter()
        .for_each(|row| check_bigsize(&bytes(&row[0]), &row[1]));
    for vector in list(&shared("vectors/bolt01/bigsize-decode.json").unwrap_or(json!([]))) {
        let expected = match vector["exp_error"].as_str() {
            None => vector["value"].clone(),
            Some("decoded bigsize is not canonical") => json!("minimal"),
            Some(_) => json!("end"),
        };
        check_bigsize(&bytes(&vector["bytes"]), &expected);
    }
}

#[test]
fn bigsize_encodes_as_in_appendix_a() {
    let check = |value: &Value, expected: &Value| {
        let mut encoded = vec![];
        put_bigsize(value.as_u64().unwrap(), &mut encoded);
        assert_eq!(encoded, bytes(expected));
    };
    let table = own("bolt01/integers.json");
    let rows = list(&table["bigsize_encode"]);
    assert_eq!(rows.len(), 8);
    rows.iter().for_each(|row| check(&row[0], &row[1]));
    for vector in list(&shared("vectors/bolt01/bigsize-encode.json").unwrap_or(json!([]))) {
        check(&vector["value"], &vector["bytes"]);
    }
}

#[test]
fn signed_integers_are_as_in_appendix_d() {
    fn check<T: Wire + TryFrom<i64> + PartialEq + std::fmt::Debug>(value: i64, encoded: &[u8]) {
        let value = T::try_from(value).ok().expect("in range");
        let mut own = vec![];
        value.put(&mut own);
        assert_eq!(own, encoded);
        assert_eq!(T::take(&mut Reader::new(encoded)), Ok(value));
    }
    let check = |value: &Value, encoded: &Value| {
        let (value, encoded) = (value.as_i64().unwrap(), bytes(encoded));
        match encoded.len() {
            1 => check::<i8>(value, &encoded),
            2 => check::<i16>(value, &encoded),
            4 => check::<i32>(value, &encoded),
            8 => check::<i64>(value, &encoded),
            other => panic!("{other} bytes"),
        }
    };
    let table = own("bolt01/integers.json");
    let rows = list(&table["signed"]);
    assert_eq!(rows.len(), 23);
    rows.iter().for_each(|row| check(&row[0], &row[1]));
    for vector in list(&shared("vectors/bolt01/signed-integers.json").unwrap_or(json!([]))) {
        check(&vector["value"], &vector["bytes"]);
    }
}

/// Decodes a stream in one of the two namespaces of appendix B.
fn namespace(name: &str, stream: &[u8]) -> Result<Value, DecodeError> {
    let mut found = serde_json::Map::new();
    decode_tlvs(stream, |type_num, value| {
        let (record, fields) = match (name, type_num) {
            ("n1", 1) => ("tlv1", json!({"amount_msat": value.tu64()?})),
            ("n1", 2) => (
                "tlv2",
                json!({"scid": ShortChannelId::take(value)?.to_string()}),
            ),
            ("n1", 3) => {
                let node_id = secp256k1::PublicKey::take(value)?;
                let [one, two] = [MilliSatoshi::take(value)?.0, MilliSatoshi::take(value)?.0];
                let node_id = node_id.to_string();
                (
                    "tlv3",
                    json!({"node_id": node_id, "amount_msat_1": one, "amount_msat_2": two}),
                )
            }
            ("n1", 254) => ("tlv4", json!({"cltv_delta": value.u16()?})),
            ("n2", 0) => ("tlv1", json!({"amount_msat": value.tu64()?})),
            ("n2", 11) => ("tlv2", json!({"cltv_expiry": value.tu32()?})),
            _ => return Ok(false),
        };
        found.insert(record.into(), fields);
        Ok(true)
    })?;
    Ok(Value::Object(found))
}

struct Stream {
    namespaces: Vec<&'static str>,
    bytes: Vec<u8>,
    /// `None`: to be refused.
    values: Option<Value>,
}

impl Stream {
    fn new(namespaces: &str, stream: &Value, values: Option<&Value>) -> Stream {
        let namespaces = ["n1", "n2"]
            .into_iter()
            .filter(|n| namespaces.contains(n))
            .collect();
        let nothing = |v: &Value| if v.is_null() { json!({}) } else { v.clone() };
        Stream {
            namespaces,
            bytes: bytes(stream),
            values: values.map(nothing),
        }
    }
}

fn streams() -> Vec<Stream> {
    let table = own("bolt01/tlv.json");
    let refused = list(&table["refused"]).iter().map(|row| (row, None));
    let accepted = list(&table["accepted"])
        .iter()
        .map(|row| (row, Some(&row[2])));
    let mut all: Vec<_> = refused
        .chain(accepted)
        .map(|(row, values)| Stream::new(row[0].as_str().unwrap(), &row[1], values))
        .collect();
    assert_eq!(all.len(), 33 + 5 + 19);
    if let Some(file) = shared("vectors/bolt01/tlv.json") {
        for kind in [
            "decoding_failures",
            "decoding_successes",
            "stream_decoding_failures",
        ] {
            all.extend(list(&file[kind]).iter().map(|v| {
                let values = (kind == "decoding_successes").then_some(&v["values"]);
                Stream::new(&v["namespaces"].to_string(), &v["stream"], values)
            }));
        }
    }
    all
}

#[test]
fn tlv_streams_are_accepted_and_refused_as_in_appendix_b() {
    for stream in streams() {
        for name in &stream.namespaces {
            let decoded = namespace(name, &stream.bytes).ok();
            assert_eq!(
                decoded,
                stream.values,
                "{name} {}",
                hex::encode(&stream.bytes)
            );
        }
    }
}

#[test]
fn an_invalid_stream_spoils_a_valid_one_before_it() {
    let all = streams();
    for valid in all.iter().filter(|s| s.values.is_some()) {
        for invalid in all.iter().filter(|s| s.values.is_none()) {
            let both = [&valid.bytes[..], &invalid.bytes[..]].concat();
            for name in valid
                .namespaces
                .iter()
                .filter(|n| invalid.namespaces.contains(n))
            {
                assert!(
                    namespace(name, &both).is_err(),
                    "{name} {}",
                    hex::encode(&both)
                );
            }
        }
    }
}

#[test]
fn a_valid_stream_may_follow_one_of_lower_types() {
    let all = streams();
    let types = |s: &Stream| -> Vec<u64> {
        TlvStream::new(&s.bytes)
            .map(|record| record.unwrap().type_num)
            .collect()
    };
    let mut joined = 0;
    for low in all.iter().filter(|s| s.values.is_some()) {
        for high in all.iter().filter(|s| s.values.is_some()) {
            let (Some(last), Some(first)) =
                (types(low).last().copied(), types(high).first().copied())
            else {
                continue;
            };
            let both = [&low.bytes[..], &high.bytes[..]].concat();
            for name in low
                .namespaces
                .iter()
                .filter(|n| high.namespaces.contains(n))
            {
                assert_eq!(
                    namespace(name, &both).is_ok(),
                    last < first,
                    "{}",
                    hex::encode(&both)
                );
                joined += usize::from(last < first);
            }
        }
    }
    assert!(joined > 10);
}

#[test]
fn init_extensions_are_accepted_and_refused_as_in_appendix_c() {
    let table = own("bolt01/message-extension.json");
    let mut rows: Vec<_> = list(&table["init"])
        .iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    assert_eq!(rows.len(), 5);
    if let Some(file) = shared("vectors/bolt01/message-extension.json") {
        let vectors = list(&file["vectors"]).iter();
        rows.extend(vectors.map(|v| (v["message"].clone(), v["valid"].clone())));
    }
    for (message, valid) in rows {
        let decoded = Message::decode(&bytes(&message));
        assert_eq!(
            decoded.is_ok(),
            valid.as_bool().unwrap(),
            "{message} {decoded:?}"
        );
    }
}
