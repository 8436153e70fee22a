//! Keys as bytes whose order is that of the values, so that a scan runs in a useful order and a
//! prefix of a tuple is a prefix of its bytes.

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use wire::{
    BlockHeight, ChannelDbid, ChannelId, CommitmentNumber, HtlcId, NodeId, PaymentHash,
    PaymentSecret, ShortChannelId, Side,
};

/// Longest key, in bytes. Longer ones are refused.
pub(crate) const MAX_KEY: usize = 4096;

/// A key of a record.
pub trait Key: Sized {
    /// Appends the key's bytes. If `a < b` then so are their bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes a key off the front; `None` if there is none.
    fn decode(from: &mut &[u8]) -> Option<Self>;

    /// The key as bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        self.encode(&mut out);
        out
    }

    /// The key that is exactly these bytes.
    #[must_use]
    fn from_bytes(mut from: &[u8]) -> Option<Self> {
        let key = Self::decode(&mut from)?;
        from.is_empty().then_some(key)
    }
}

/// What may stand in front of a key `K`: the first parts of a tuple.
pub trait Prefix<K: Key> {
    /// The bytes with which the wanted keys start.
    fn prefix(&self) -> Vec<u8>;
}

fn split<'a>(from: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = from.split_at_checked(n)?;
    *from = tail;
    Some(head)
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        split(from, N)?.try_into().ok()
    }
}

macro_rules! integer_keys {
    ($($int:ty),*) => {$(
        impl Key for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(from: &mut &[u8]) -> Option<Self> {
                Key::decode(from).map(<$int>::from_be_bytes)
            }
        }
    )*};
}
integer_keys!(u8, u16, u32, u64);

macro_rules! wrapper_keys {
    ($($name:ident),*) => {$(
        impl Key for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            fn decode(from: &mut &[u8]) -> Option<Self> {
                Key::decode(from).map($name)
            }
        }
    )*};
}
wrapper_keys!(
    BlockHeight,
    ChannelDbid,
    ChannelId,
    CommitmentNumber,
    HtlcId,
    PaymentHash,
    PaymentSecret,
    ShortChannelId
);

impl Key for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        match u8::decode(from)? {
            0 => Some(false),
            1 => Some(true),
            2.. => None,
        }
    }
}

impl Key for Side {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Side::Local => 0,
            Side::Remote => 1,
        });
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        bool::decode(from).map(|remote| if remote { Side::Remote } else { Side::Local })
    }
}

impl Key for NodeId {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.serialize());
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        secp256k1::PublicKey::from_slice(split(from, 33)?)
            .ok()
            .map(NodeId)
    }
}

/// In the order of its bytes, not of its hex text.
impl Key for Txid {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_byte_array().encode(out);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        Key::decode(from).map(Txid::from_byte_array)
    }
}

impl Key for OutPoint {
    fn encode(&self, out: &mut Vec<u8>) {
        self.txid.encode(out);
        self.vout.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        Some(OutPoint {
            txid: Key::decode(from)?,
            vout: Key::decode(from)?,
        })
    }
}

/// Ends with two zero bytes; a zero byte in it is followed by 0xff.
impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        for byte in self.bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(0xff);
            }
        }
        out.extend_from_slice(&[0, 0]);
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        loop {
            match u8::decode(from)? {
                0 => match u8::decode(from)? {
                    0 => return String::from_utf8(text).ok(),
                    0xff => text.push(0),
                    1..=0xfe => return None,
                },
                byte => text.push(byte),
            }
        }
    }
}

/// A path of names, such as a datastore key. A path sorts before all that is below it and is the
/// prefix of it. Only as the last part of a tuple: it takes all that is left.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(pub Vec<String>);

impl Path {
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Path {
        Path(names.into_iter().map(Into::into).collect())
    }
}

impl Key for Path {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|name| name.encode(out));
    }

    fn decode(from: &mut &[u8]) -> Option<Self> {
        let mut names = Vec::new();
        while !from.is_empty() {
            names.push(String::decode(from)?);
        }
        Some(Path(names))
    }
}

impl Prefix<Path> for Path {
    fn prefix(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

macro_rules! tuple_keys {
    ($($name:ident $index:tt),*) => {
        impl<$($name: Key),*> Key for ($($name,)*) {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)*
            }

            fn decode(from: &mut &[u8]) -> Option<Self> {
                Some(($($name::decode(from)?,)*))
            }
        }
    };
}
tuple_keys!(A 0, B 1);
tuple_keys!(A 0, B 1, C 2);
tuple_keys!(A 0, B 1, C 2, D 3);

impl<A: Key, B: Key> Prefix<(A, B)> for A {
    fn prefix(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

impl<A: Key, B: Key, C: Key> Prefix<(A, B, C)> for A {
    fn prefix(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

impl<A: Key, B: Key, C: Key> Prefix<(A, B, C)> for (A, B) {
    fn prefix(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

impl<A: Key, B: Key, C: Key, D: Key> Prefix<(A, B, C, D)> for A {
    fn prefix(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

impl<A: Key, B: Key, C: Key, D: Key> Prefix<(A, B, C, D)> for (A, B) {
    fn prefix(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

impl<A: Key, B: Key, C: Key, D: Key> Prefix<(A, B, C, D)> for (A, B, C) {
    fn prefix(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

/// The first key after all that start with `prefix`; beyond every key if there is none.
pub(crate) fn after(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|byte| *byte != 0xff) {
        Some(last) => {
            let mut next = prefix[..=last].to_vec();
            next[last] += 1;
            next
        }
        None => vec![0xff; MAX_KEY + 1],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Tuple = (u32, String, u8);

    fn tuple() -> impl Strategy<Value = Tuple> {
        let text = "[\0\u{1}a\u{7f}é]{0,4}";
        (0u32..3, text, 0u8..3)
    }

    proptest! {
        #[test]
        fn the_order_of_the_bytes_is_that_of_the_keys(a in tuple(), b in tuple()) {
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(Tuple::from_bytes(&a.to_bytes()), Some(a));
        }

        #[test]
        fn a_prefix_matches_just_the_keys_it_should(a in tuple(), b in tuple()) {
            let part = (a.0, a.1.clone());
            let prefix = Prefix::<Tuple>::prefix(&part);
            let matches = b.to_bytes().starts_with(&prefix);
            prop_assert_eq!(matches, part == (b.0, b.1.clone()));
            prop_assert_eq!(matches, b.to_bytes() >= prefix && b.to_bytes() < after(&prefix));
        }

        #[test]
        fn a_path_is_followed_by_what_is_below_it(
            a in prop::collection::vec("[\0ab]{0,2}", 0..4),
            b in prop::collection::vec("[\0ab]{0,2}", 0..4),
        ) {
            let (a, b) = (Path::new(a), Path::new(b));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(b.0.starts_with(&a.0), b.to_bytes().starts_with(&a.to_bytes()));
            prop_assert_eq!(Path::from_bytes(&a.to_bytes()), Some(a));
        }

        #[test]
        fn bytes_that_are_no_key_are_none_and_not_a_crash(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = Tuple::from_bytes(&bytes);
            let _ = Path::from_bytes(&bytes);
            let _ = NodeId::from_bytes(&bytes);
            let _ = <(OutPoint, Side, bool)>::from_bytes(&bytes);
        }
    }

    #[test]
    fn a_prefix_of_all_ones_still_has_an_end() {
        assert_eq!(after(&[1, 2]), [1, 3]);
        assert_eq!(after(&[1, 0xff]), [2]);
        assert!(after(&[0xff, 0xff]) > vec![0xff; MAX_KEY]);
    }
}
