//! Byte strings of a fixed, large size.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, Reader, TlvValue, Wire};

macro_rules! blob {
    ($(#[$meta:meta])* $name:ident[$len:literal]) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(pub Box<[u8; $len]>);

        impl $name {
            pub const LEN: usize = $len;

            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(", $len, " bytes)"))
            }
        }

        impl Wire for $name {
            fn put(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(self.0.as_slice());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                from.array().map(|bytes| $name(Box::new(*bytes)))
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

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde_bytes::Bytes::new(self.0.as_slice()).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let bytes: Box<[u8]> = serde_bytes::ByteBuf::deserialize(from)?.into_boxed_slice();
                bytes.try_into().map($name).map_err(|bytes| {
                    serde::de::Error::invalid_length(bytes.len(), &stringify!($len))
                })
            }
        }
    };
}

blob!(
    /// The onion of an HTLC (BOLT 4, Packet Structure). Prints as its length only.
    OnionPacket[1366]
);
blob!(
    /// `attribution_data` (BOLT 4, Returning Errors): 20 hold times of 4 bytes, then 210
    /// truncated HMACs of 4 bytes.
    AttributionData[920]
);

impl AttributionData {
    /// The 20 hold times, big-endian as on the wire decoded, in units of 100 ms.
    pub fn htlc_hold_times(&self) -> impl Iterator<Item = u32> + '_ {
        self.words().take(20).map(u32::from_be_bytes)
    }

    /// The 210 truncated HMACs.
    pub fn truncated_hmacs(&self) -> impl Iterator<Item = [u8; 4]> + '_ {
        self.words().skip(20)
    }

    fn words(&self) -> impl Iterator<Item = [u8; 4]> + '_ {
        self.0.as_chunks().0.iter().copied()
    }
}
