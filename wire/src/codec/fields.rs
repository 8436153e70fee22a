//! How each type is coded as a message field and as a TLV value.

use bitcoin::hashes::Hash;
use bitcoin::{ScriptBuf, Sequence, Txid, absolute};
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;

use super::{DecodeError, Reader, TlvValue, Wire};
use crate::units::*;

/// Types whose code has a fixed length are the same in both places.
macro_rules! fixed {
    ($($name:ty: |$value:ident, $to:ident| $put:expr, |$from:ident| $take:expr;)*) => {$(
        impl Wire for $name {
            fn put(&self, $to: &mut Vec<u8>) {
                let $value = self;
                $put;
            }

            fn take($from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                $take
            }
        }

        impl TlvValue for $name {
            fn put_value(&self, to: &mut Vec<u8>) {
                self.put(to);
            }

            fn take_value(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::take(from)
            }
        }
    )*};
}

fixed! {
    u8: |v, to| to.push(*v), |from| from.u8();
    u16: |v, to| to.extend(v.to_be_bytes()), |from| from.u16();
    u32: |v, to| to.extend(v.to_be_bytes()), |from| from.u32();
    u64: |v, to| to.extend(v.to_be_bytes()), |from| from.u64();
    i8: |v, to| to.extend(v.to_be_bytes()), |from| from.array().map(|b| i8::from_be_bytes(*b));
    i16: |v, to| to.extend(v.to_be_bytes()), |from| from.array().map(|b| i16::from_be_bytes(*b));
    i32: |v, to| to.extend(v.to_be_bytes()), |from| from.array().map(|b| i32::from_be_bytes(*b));
    i64: |v, to| to.extend(v.to_be_bytes()), |from| from.array().map(|b| i64::from_be_bytes(*b));
    PublicKey: |v, to| to.extend(v.serialize()),
        |from| PublicKey::from_slice(from.array::<33>()?).map_err(|_| DecodeError::Point);
    Signature: |v, to| to.extend(v.serialize_compact()),
        |from| Signature::from_compact(from.array::<64>()?).map_err(|_| DecodeError::Signature);
    Txid: |v, to| to.extend(v.as_byte_array()),
        |from| from.array().map(|b| Txid::from_byte_array(*b));
    Sequence: |v, to| to.extend(v.0.to_be_bytes()), |from| from.u32().map(Sequence);
    absolute::LockTime: |v, to| to.extend(v.to_consensus_u32().to_be_bytes()),
        |from| from.u32().map(absolute::LockTime::from_consensus);
    NodeId: |v, to| v.0.put(to), |from| PublicKey::take(from).map(NodeId);
}

macro_rules! newtypes {
    ($($name:ident),*) => {
        fixed! { $($name: |v, to| v.0.put(to), |from| Wire::take(from).map($name);)* }
    };
}

newtypes!(
    SignedSatoshi,
    MilliSatoshi,
    Satoshi,
    FeeratePerKw,
    BlockHeight,
    CltvExpiry,
    BlockDelta,
    CommitmentNumber,
    HtlcId,
    ShortChannelId
);
newtypes!(
    ChannelId,
    PaymentHash,
    ChainHash,
    Preimage,
    PerCommitmentSecret
);

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.array().copied()
    }
}

/// Byte strings: behind a u16 length in a message, up to the end in a TLV record.
///
/// A string of more than 65535 bytes gives a message that is too long to be sent, which
/// [`crate::noise::Transport::encrypt`] refuses.
macro_rules! byte_strings {
    ($($name:ty: |$value:ident| $as:expr, |$bytes:ident| $make:expr;)*) => {$(
        impl Wire for $name {
            fn put(&self, to: &mut Vec<u8>) {
                let $value = self;
                let bytes: &[u8] = $as;
                put_count(bytes.len(), to);
                to.extend_from_slice(bytes);
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let $bytes = from.bytes_u16()?;
                Ok($make)
            }
        }

        impl TlvValue for $name {
            fn put_value(&self, to: &mut Vec<u8>) {
                let $value = self;
                to.extend_from_slice($as);
            }

            fn take_value(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let $bytes = from.rest();
                Ok($make)
            }
        }
    )*};
}

byte_strings! {
    Vec<u8>: |v| v, |b| b.to_vec();
    ScriptBuf: |v| v.as_bytes(), |b| ScriptBuf::from(b.to_vec());
    crate::features::Features: |v| v.as_bytes(), |b| crate::features::Features::from_bytes(b);
}

pub(crate) fn put_count(count: usize, to: &mut Vec<u8>) {
    u16::try_from(count).unwrap_or(u16::MAX).put(to);
}

/// Lists of elements of at least `$least` bytes behind a u16 count.
macro_rules! counted {
    ($($element:ty, $least:literal;)*) => {$(
        impl Wire for Vec<$element> {
            fn put(&self, to: &mut Vec<u8>) {
                put_count(self.len(), to);
                self.iter().for_each(|e| e.put(to));
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let count = usize::from(from.u16()?);
                if from.remaining() / $least < count {
                    return Err(DecodeError::UnexpectedEnd);
                }
                (0..count).map(|_| <$element>::take(from)).collect()
            }
        }
    )*};
}

counted! {
    Signature, 64;
    crate::messages::TxWitness, 2;
}

impl TlvValue for Vec<ChainHash> {
    fn put_value(&self, to: &mut Vec<u8>) {
        self.iter().for_each(|hash| hash.put(to));
    }

    fn take_value(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut hashes = Vec::with_capacity(from.remaining() / 32);
        while !from.is_empty() {
            hashes.push(ChainHash::take(from)?);
        }
        Ok(hashes)
    }
}
