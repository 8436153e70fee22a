//! What peers say: messages, TLV streams, integers, features (BOLT 1, 7 and 9).

use wire::codec::{Reader, TlvStream, put_bigsize, put_tlv, put_tu64};
use wire::features::Context;
use wire::{Feature, Features, Message, NetAddress};

use crate::Target;
use crate::sample::samples;

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("wire_message", message, 4096, message_seeds),
        Target::new("wire_tlv", tlv, 1024, tlv_seeds),
        Target::new("wire_bigsize", bigsize, 16, bigsize_seeds),
        Target::new("wire_features", features, 256, feature_seeds),
    ]
}

/// Whatever is decoded is encoded to something that decodes to the same, and no further.
fn message(data: &[u8]) {
    let peeked = wire::peek(data);
    let Ok(message) = Message::decode(data) else {
        return;
    };
    assert_eq!(peeked, Some((message.type_num(), message.channel_id())));
    let bytes = message.encode();
    let again = Message::decode(&bytes).expect("what we encode");
    assert_eq!(again, message);
    assert_eq!(again.encode(), bytes);
    look_inside(&message);
}

/// Fields that are decoded only when they are asked for.
fn look_inside(message: &Message) {
    match message {
        Message::Warning(m) => drop(m.text()),
        Message::Error(m) => drop(m.text()),
        Message::QueryShortChannelIds(m) => {
            let _ = wire::decode_short_ids(&m.encoded_short_ids);
            if let Some(flags) = &m.query_flags {
                let _ = flags.flags();
            }
        }
        Message::ReplyChannelRange(m) => {
            if let Ok(ids) = wire::decode_short_ids(&m.encoded_short_ids) {
                assert_eq!(wire::encode_short_ids(&ids), m.encoded_short_ids);
            }
            if let Some(timestamps) = &m.timestamps_tlv {
                let _ = timestamps.timestamps();
            }
        }
        Message::NodeAnnouncement(m) => {
            for address in m.net_addresses().into_iter().flatten() {
                let mut bytes = vec![];
                address.put(&mut bytes);
                assert_eq!(NetAddress::parse(&bytes), Some(address));
            }
        }
        Message::UpdateFulfillHtlc(m) => {
            if let Some(data) = &m.attribution_data {
                assert!(data.htlc_hold_times().count() + data.truncated_hmacs().count() > 0);
            }
        }
        _ => {}
    }
}

fn message_seeds() -> Vec<Vec<u8>> {
    samples::<Message>(1).iter().map(Message::encode).collect()
}

/// The records of an accepted stream are the stream.
fn tlv(data: &[u8]) {
    let mut whole: Vec<u8> = vec![];
    let mut raw: Vec<u8> = vec![];
    let mut last = None;
    for record in TlvStream::new(data) {
        let Ok(record) = record else { return };
        assert!(last < Some(record.type_num));
        last = Some(record.type_num);
        put_tlv(record.type_num, &mut whole, |to| to.extend(record.value));
        raw.extend(record.raw);
    }
    assert_eq!(whole, data);
    assert_eq!(raw, data);
}

fn tlv_seeds() -> Vec<Vec<u8>> {
    let mut long = vec![];
    put_tlv(1, &mut long, |to| to.extend([5; 300]));
    put_tlv(0x10_0000, &mut long, |_| {});
    put_tlv(u64::MAX, &mut long, |to| to.push(0));
    vec![vec![0, 0], vec![1, 2, 7, 7, 0xfd, 1, 0, 1, 9], long]
}

fn bigsize(data: &[u8]) {
    let mut reader = Reader::new(data);
    if let Ok(n) = reader.bigsize() {
        let mut bytes = vec![];
        put_bigsize(n, &mut bytes);
        assert_eq!(bytes, data[..data.len() - reader.remaining()]);
    }
    let as_u64 = Reader::new(data).tu64();
    if let Ok(n) = as_u64 {
        let mut bytes = vec![];
        put_tu64(n, &mut bytes);
        assert_eq!(bytes, data);
    }
    let narrow = as_u64.ok().and_then(|n| u32::try_from(n).ok());
    assert_eq!(Reader::new(data).tu32().ok(), narrow);
    let narrow = as_u64.ok().and_then(|n| u16::try_from(n).ok());
    assert_eq!(Reader::new(data).tu16().ok(), narrow);
}

fn bigsize_seeds() -> Vec<Vec<u8>> {
    let numbers = [
        0,
        0xfc,
        0xfd,
        0xffff,
        0x1_0000,
        u64::from(u32::MAX),
        1 << 32,
        u64::MAX,
    ];
    let encoded = |n: &u64| {
        let mut bytes = vec![];
        put_bigsize(*n, &mut bytes);
        bytes
    };
    numbers.iter().map(encoded).collect()
}

fn features(data: &[u8]) {
    let (one, other) = data.split_at(data.len() / 2);
    let (one, other) = (Features::from_bytes(one), Features::from_bytes(other));
    let bits: Features = one.bits().collect();
    assert_eq!(bits, one);
    assert_eq!(
        one.to_string().parse::<Features>().ok().as_ref(),
        Some(&one)
    );
    let both = one.union(&other);
    assert!(one.bits().chain(other.bits()).all(|bit| both.has_bit(bit)));
    assert_eq!(both.unknown_required(&both), None);
    if let Some(bit) = one.unknown_required(&other) {
        assert!(one.has_bit(bit) && bit % 2 == 0);
    }
    if let Some((feature, _)) = one.missing_dependency() {
        assert!(one.has(feature));
    }
    let mut changed = one.clone();
    for feature in Feature::ALL {
        assert_eq!(
            one.shares(&other, *feature),
            one.has(*feature) && other.has(*feature)
        );
        changed.set_optional(*feature);
        changed.unset(*feature);
        assert!(!changed.has(*feature));
    }
    let in_init = both.for_context(Context::Init);
    assert!(in_init.bits().all(|bit| both.has_bit(bit)));
}

fn feature_seeds() -> Vec<Vec<u8>> {
    let all = Features::of(&[], Feature::ALL);
    let required = Features::of(Feature::ALL, &[]);
    vec![vec![], [all.as_bytes(), required.as_bytes()].concat()]
}
