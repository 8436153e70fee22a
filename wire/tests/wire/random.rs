//! Arbitrary bytes: nothing panics, and what is accepted has one encoding.

use std::sync::LazyLock;

use proptest::prelude::*;
use wire::codec::{Reader, TlvStream, put_bigsize, put_tu64};
use wire::{KNOWN_TYPES, Message, NetAddress, decode_short_ids, peek};

use crate::table_test::instances;

static VALID: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    instances()
        .into_iter()
        .flat_map(|(_, all)| all)
        .map(|instance| instance.bytes)
        .collect()
});

fn accepted_is_canonical(bytes: &[u8]) -> Result<(), TestCaseError> {
    let peeked = peek(bytes);
    let Ok(message) = Message::decode(bytes) else {
        return Ok(());
    };
    prop_assert_eq!(peeked, Some((message.type_num(), message.channel_id())));
    let encoded = message.encode();
    prop_assert!(encoded.len() <= bytes.len());
    let again = Message::decode(&encoded);
    prop_assert_eq!(again.as_ref(), Ok(&message));
    prop_assert_eq!(message.encode(), encoded);
    if let Message::NodeAnnouncement(m) = message {
        let _ = m.net_addresses();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bodies_never_panic(
        type_num in prop_oneof![proptest::sample::select(KNOWN_TYPES), any::<u16>()],
        body in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        accepted_is_canonical(&[&type_num.to_be_bytes()[..], &body].concat())?;
    }

    #[test]
    fn damaged_messages_never_panic(
        which in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        extra in proptest::collection::vec(any::<u8>(), 0..12),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut bytes = which.get(&VALID).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(extra);
        accepted_is_canonical(&bytes)?;
    }

    #[test]
    fn tlv_records_are_slices_of_their_stream(
        stream in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut joined = vec![];
        let mut wrong = false;
        for record in TlvStream::new(&stream) {
            prop_assert!(!wrong, "records after an error");
            match record {
                Ok(record) => joined.extend_from_slice(record.raw),
                Err(_) => wrong = true,
            }
        }
        prop_assert!(stream.starts_with(&joined));
        prop_assert_eq!(stream.len() == joined.len(), !wrong);
    }

    #[test]
    fn bigsize_comes_back(shift in 0..64, n in any::<u64>()) {
        let n = n >> shift;
        let mut bytes = vec![];
        put_bigsize(n, &mut bytes);
        let mut from = Reader::new(&bytes);
        prop_assert_eq!(from.bigsize(), Ok(n));
        prop_assert!(from.is_empty());
    }

    #[test]
    fn a_bigsize_that_is_accepted_is_the_one_we_write(bytes: [u8; 9]) {
        let mut from = Reader::new(&bytes);
        if let Ok(n) = from.bigsize() {
            let mut own = vec![];
            put_bigsize(n, &mut own);
            prop_assert_eq!(&own[..], &bytes[..9 - from.remaining()]);
        }
    }

    #[test]
    fn truncated_integers_come_back(shift in 0..64, n in any::<u64>()) {
        let n = n >> shift;
        let mut bytes = vec![];
        put_tu64(n, &mut bytes);
        prop_assert_eq!(Reader::new(&bytes).tu64(), Ok(n));
        let short = u32::try_from(n).ok();
        prop_assert_eq!(Reader::new(&bytes).tu32().ok(), short);
    }

    #[test]
    fn addresses_and_ids_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some(address) = NetAddress::parse(&bytes) {
            let mut own = vec![];
            address.put(&mut own);
            prop_assert_eq!(own, bytes.clone());
        }
        let _ = decode_short_ids(&bytes);
    }
}
