//! The one file that names bincode. Everything that is written as bytes between our processes, and
//! every value in the database, goes through here.
//!
//! Encoding: bincode 2, standard configuration: little endian, integers, lengths and enum tags as
//! varints, a struct's fields in order without names. What follows from that for a type that is to
//! be encoded:
//! - no `#[serde(flatten)]`, `untagged`, `tag` or `skip_serializing_if`, no `serde_json::Value`:
//!   the encoding does not describe itself;
//! - no sequence of values that take no bytes (`Vec<()>`, `Vec<Empty>`): its length costs nothing
//!   to claim, and decoding would count to it;
//! - no type that contains itself without a bound: depth is stack.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::error::DecodeError as Inner;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::MAX_FRAME;

/// Bincode counts what a value takes decoded, at most 16 bytes (a `u128`) for one encoded byte, and
/// not what it takes on the wire. With this limit whatever [`encode`] accepts can be decoded, and a
/// length that was made up can cost no more than this much untouched address space.
const DECODED: usize = 16 * MAX_FRAME;

const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODED>> =
    bincode::config::standard().with_limit::<DECODED>();

/// The value cannot be written: our own bug.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It takes more than [`MAX_FRAME`] bytes.
    #[error("the value takes {len} bytes, more than the {max} that are allowed")]
    TooLong {
        /// What it takes, in bytes.
        len: usize,
        /// What is allowed, in bytes.
        max: usize,
    },
    /// Its type has something that the encoding cannot express.
    #[error("the value cannot be encoded: {0}")]
    Unsupported(#[source] bincode::error::EncodeError),
}

/// The bytes are no such value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They are more than [`MAX_FRAME`].
    #[error("{len} bytes, more than the {max} that are allowed")]
    TooLong {
        /// How many there are.
        len: usize,
        /// What is allowed, in bytes.
        max: usize,
    },
    /// They end within the value.
    #[error("the bytes end within the value")]
    Short,
    /// A length in them asks for more than any value may take.
    #[error("a length asks for more than any value may take")]
    Bomb,
    /// The value ends before they do.
    #[error("{0} bytes after the value")]
    Trailing(usize),
    /// They are not of this type: an unknown enum tag, a bool of 2, text that is not UTF-8, or
    /// what the type's own `Deserialize` refuses.
    #[error("not such a value: {0}")]
    Invalid(String),
}

impl From<Inner> for DecodeError {
    fn from(error: Inner) -> Self {
        // Bincode's enum, not ours: what it adds later is an invalid value too.
        match error {
            Inner::UnexpectedEnd { .. } => DecodeError::Short,
            Inner::LimitExceeded => DecodeError::Bomb,
            Inner::OtherString(text) => DecodeError::Invalid(text),
            other => DecodeError::Invalid(format!("{other:?}")),
        }
    }
}

/// The bytes of `value`.
///
/// # Errors
/// More than [`MAX_FRAME`] bytes, or a type that cannot be encoded.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Appends the bytes of `value` to `out` and says how many they are. `out` is as before if it
/// fails.
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let before = out.len();
    let failed = match bincode::serde::encode_into_std_write(value, out, CONFIG) {
        Ok(len) if len <= MAX_FRAME => return Ok(len),
        Ok(len) => EncodeError::TooLong {
            len,
            max: MAX_FRAME,
        },
        Err(error) => EncodeError::Unsupported(error),
    };
    out.truncate(before);
    Err(failed)
}

/// The value that `bytes` are, all of them.
///
/// # Errors
/// Anything but exactly one encoded `T`. Bytes from anyone are safe to pass: it takes a bounded
/// time and no more memory than the largest value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_limited::<T, MAX_FRAME>(bytes)
}

/// As [`decode`], of no more than `MAX` bytes.
///
/// # Errors
/// As [`decode`], and more than `MAX` bytes.
pub fn decode_limited<T: DeserializeOwned, const MAX: usize>(
    bytes: &[u8],
) -> Result<T, DecodeError> {
    if bytes.len() > MAX {
        return Err(DecodeError::TooLong {
            len: bytes.len(),
            max: MAX,
        });
    }
    let (value, read) = bincode::serde::decode_from_slice(bytes, CONFIG)?;
    match bytes.len().saturating_sub(read) {
        0 => Ok(value),
        left => Err(DecodeError::Trailing(left)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Sample {
        Nothing,
        Number(u64),
        Text {
            text: String,
            bytes: Vec<u8>,
            maybe: Option<u128>,
        },
        Nested(Vec<Vec<u32>>, BTreeMap<u8, String>),
    }

    fn sample() -> impl Strategy<Value = Sample> {
        prop_oneof![
            Just(Sample::Nothing),
            any::<u64>().prop_map(Sample::Number),
            (any::<String>(), any::<Vec<u8>>(), any::<Option<u128>>())
                .prop_map(|(text, bytes, maybe)| Sample::Text { text, bytes, maybe }),
            (any::<Vec<Vec<u32>>>(), any::<BTreeMap<u8, String>>())
                .prop_map(|(a, b)| Sample::Nested(a, b)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(value in sample()) {
            let bytes = encode(&value).unwrap();
            prop_assert_eq!(decode::<Sample>(&bytes).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in any::<Vec<u8>>()) {
            if let Ok(value) = decode::<Sample>(&bytes) {
                prop_assert_eq!(decode::<Sample>(&encode(&value).unwrap()).unwrap(), value);
            }
            let _ = decode::<Vec<String>>(&bytes);
            let _ = decode::<BTreeMap<u64, Vec<u8>>>(&bytes);
        }

        #[test]
        fn a_value_cut_anywhere_is_an_error(value in sample(), at in any::<prop::sample::Index>()) {
            let bytes = encode(&value).unwrap();
            prop_assert!(decode::<Sample>(&bytes[..at.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn bytes_after_the_value_are_an_error() {
        let mut bytes = encode(&7u64).unwrap();
        bytes.push(0);
        assert!(matches!(
            decode::<u64>(&bytes),
            Err(DecodeError::Trailing(1))
        ));
    }

    #[test]
    fn a_length_bomb_of_nine_bytes_is_an_error() {
        // 253 says that eight bytes of length follow.
        for len in [u64::MAX, 1 << 62, 1 << 40, DECODED as u64 + 1] {
            let mut bomb = vec![253u8];
            bomb.extend(len.to_le_bytes());
            assert!(
                matches!(decode::<Vec<u8>>(&bomb), Err(DecodeError::Short)),
                "{len}"
            );
            assert!(
                matches!(decode::<String>(&bomb), Err(DecodeError::Bomb)),
                "{len}"
            );
            assert!(decode::<Vec<String>>(&bomb).is_err(), "{len}");
            assert!(decode::<BTreeMap<u64, u64>>(&bomb).is_err(), "{len}");
            assert!(
                decode::<Sample>(&[&[2][..], &bomb].concat()).is_err(),
                "{len}"
            );
        }
    }

    #[test]
    fn a_length_just_within_the_limit_is_an_error_when_the_bytes_are_not_there() {
        let mut bomb = vec![252u8];
        bomb.extend((DECODED as u32 - 64).to_le_bytes());
        assert!(matches!(decode::<String>(&bomb), Err(DecodeError::Short)));
    }

    #[test]
    fn the_densest_value_of_the_greatest_length_is_decoded() {
        // One byte each on the wire, 16 decoded: what the limit is reckoned from.
        let value = vec![1u128; MAX_FRAME - 5];
        let bytes = encode(&value).unwrap();
        assert_eq!(bytes.len(), MAX_FRAME);
        assert_eq!(decode::<Vec<u128>>(&bytes).unwrap(), value);
    }

    #[test]
    fn a_value_over_the_limit_is_not_encoded_and_leaves_the_buffer_as_it_was() {
        let mut out = vec![1, 2, 3];
        let long = "x".repeat(MAX_FRAME);
        assert!(matches!(
            encode_into(&long, &mut out),
            Err(EncodeError::TooLong { .. })
        ));
        assert_eq!(out, [1, 2, 3]);
        assert!(matches!(
            decode::<String>(&vec![0; MAX_FRAME + 1]),
            Err(DecodeError::TooLong { .. })
        ));
    }

    #[test]
    fn the_encoding_stays_as_it_is() {
        // The database holds these bytes: this changes only with a migration.
        let value = Sample::Text {
            text: "ab".into(),
            bytes: vec![9; 3],
            maybe: Some(300),
        };
        assert_eq!(
            encode(&value).unwrap(),
            [2, 2, b'a', b'b', 3, 9, 9, 9, 1, 251, 44, 1]
        );
        assert_eq!(encode(&Sample::Number(250)).unwrap(), [1, 250]);
        assert_eq!(
            encode(&Sample::Number(1 << 32)).unwrap(),
            [1, 253, 0, 0, 0, 0, 1, 0, 0, 0]
        );
    }
}
