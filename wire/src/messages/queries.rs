//! Asking a peer for gossip (BOLT 7, Query Messages).

use serde::{Deserialize, Serialize};

use super::{message, record};
use crate::codec::{DecodeError, Reader, TlvValue, Wire, put_bigsize};
use crate::units::*;

message! {
    /// Asks for all that is known of these channels.
    QueryShortChannelIds = 261 {
        chain_hash: ChainHash,
        /// Encoding type, then ids; see [`decode_short_ids`].
        #[serde(with = "serde_bytes")]
        encoded_short_ids: Vec<u8>,
    }
    tlvs {
        1 query_flags: Option<QueryFlags>,
    }
}

message! {
    /// The answer to a [`QueryShortChannelIds`] is complete.
    ReplyShortChannelIdsEnd = 262 {
        chain_hash: ChainHash,
        /// 0 if the sender does not keep up with this chain.
        full_information: u8,
    }
}

message! {
    /// Asks which channels were funded in a range of blocks.
    QueryChannelRange = 263 {
        chain_hash: ChainHash,
        first_blocknum: BlockHeight,
        number_of_blocks: u32,
    }
    tlvs {
        1 query_option: Option<QueryOption>,
    }
}

message! {
    /// A part of the answer to a [`QueryChannelRange`].
    ReplyChannelRange = 264 {
        chain_hash: ChainHash,
        first_blocknum: BlockHeight,
        number_of_blocks: u32,
        /// 1 in the last part.
        sync_complete: u8,
        /// Encoding type, then ids; see [`decode_short_ids`].
        #[serde(with = "serde_bytes")]
        encoded_short_ids: Vec<u8>,
    }
    tlvs {
        1 timestamps_tlv: Option<EncodedTimestamps>,
        3 checksums_tlv: Option<Vec<ChannelUpdateChecksums>>,
    }
}

message! {
    /// Asks for gossip of this time range from now on.
    GossipTimestampFilter = 265 {
        chain_hash: ChainHash,
        first_timestamp: u32,
        timestamp_range: u32,
    }
}

/// A list behind its encoding type, up to the end of the record.
macro_rules! encoded {
    ($(#[$meta:meta])* $name:ident { $field:ident }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            pub encoding_type: u8,
            #[serde(with = "serde_bytes")]
            pub $field: Vec<u8>,
        }

        impl TlvValue for $name {
            fn put_value(&self, to: &mut Vec<u8>) {
                to.push(self.encoding_type);
                to.extend_from_slice(&self.$field);
            }

            fn take_value(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let encoding_type = from.u8()?;
                Ok($name { encoding_type, $field: from.rest().to_vec() })
            }
        }
    };
}

encoded! {
    /// What is wanted of each channel.
    QueryFlags { encoded_query_flags }
}
encoded! {
    /// Timestamps of the updates of each channel.
    EncodedTimestamps { encoded_timestamps }
}

impl QueryFlags {
    /// `flags` uncompressed.
    #[must_use]
    pub fn new(flags: &[u64]) -> QueryFlags {
        let mut encoded_query_flags = Vec::with_capacity(flags.len());
        flags
            .iter()
            .for_each(|flag| put_bigsize(*flag, &mut encoded_query_flags));
        QueryFlags {
            encoding_type: UNCOMPRESSED,
            encoded_query_flags,
        }
    }

    /// One for each queried channel; bit 0 wants the announcement, 1 and 2 the updates of nodes
    /// 1 and 2, 3 and 4 the announcements of nodes 1 and 2.
    ///
    /// # Errors
    /// Another encoding than uncompressed; a flag that is no BigSize.
    pub fn flags(&self) -> Result<Vec<u64>, DecodeError> {
        uncompressed(self.encoding_type)?;
        let mut from = Reader::new(&self.encoded_query_flags);
        let mut flags = vec![];
        while !from.is_empty() {
            flags.push(from.bigsize()?);
        }
        Ok(flags)
    }
}

impl EncodedTimestamps {
    /// `timestamps` uncompressed.
    #[must_use]
    pub fn new(timestamps: &[ChannelUpdateTimestamps]) -> EncodedTimestamps {
        let mut encoded_timestamps = Vec::with_capacity(timestamps.len().saturating_mul(8));
        timestamps
            .iter()
            .for_each(|t| t.put(&mut encoded_timestamps));
        EncodedTimestamps {
            encoding_type: UNCOMPRESSED,
            encoded_timestamps,
        }
    }

    /// One for each channel of the reply.
    ///
    /// # Errors
    /// Another encoding than uncompressed; a list that ends inside an element.
    pub fn timestamps(&self) -> Result<Vec<ChannelUpdateTimestamps>, DecodeError> {
        uncompressed(self.encoding_type)?;
        list(&self.encoded_timestamps, 8)
    }
}

record! {
    /// Of the newest update of each side, in seconds since 1970; 0 if there is none.
    ChannelUpdateTimestamps {
        timestamp_node_id_1: u32,
        timestamp_node_id_2: u32,
    }
}

record! {
    /// CRC32C of the newest update of each side without signature and timestamp; 0 if there is none.
    ChannelUpdateChecksums {
        checksum_node_id_1: u32,
        checksum_node_id_2: u32,
    }
}

/// Which extra lists a [`QueryChannelRange`] wants: bit 0 timestamps, bit 1 checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryOption {
    pub query_option_flags: u64,
}

impl TlvValue for QueryOption {
    fn put_value(&self, to: &mut Vec<u8>) {
        put_bigsize(self.query_option_flags, to);
    }

    fn take_value(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.bigsize()
            .map(|query_option_flags| QueryOption { query_option_flags })
    }
}

impl TlvValue for Vec<ChannelUpdateChecksums> {
    fn put_value(&self, to: &mut Vec<u8>) {
        self.iter().for_each(|c| c.put(to));
    }

    fn take_value(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        list(from.rest(), 8)
    }
}

/// BOLT 7, Query Messages: the only encoding that may still be used.
const UNCOMPRESSED: u8 = 0;

fn uncompressed(encoding_type: u8) -> Result<(), DecodeError> {
    if encoding_type == UNCOMPRESSED {
        Ok(())
    } else {
        Err(DecodeError::EncodingType(encoding_type))
    }
}

fn list<T: Wire>(bytes: &[u8], width: usize) -> Result<Vec<T>, DecodeError> {
    if !bytes.len().is_multiple_of(width) {
        return Err(DecodeError::PartialElement);
    }
    bytes
        .chunks_exact(width)
        .map(|e| T::take(&mut Reader::new(e)))
        .collect()
}

/// The ids in `encoded_short_ids`.
///
/// # Errors
/// No encoding type, another one than uncompressed, or a list that ends inside an id.
pub fn decode_short_ids(encoded: &[u8]) -> Result<Vec<ShortChannelId>, DecodeError> {
    let mut from = Reader::new(encoded);
    uncompressed(from.u8()?)?;
    list(from.rest(), 8)
}

/// `encoded_short_ids` with these ids, uncompressed. BOLT 7 wants them in ascending order.
#[must_use]
pub fn encode_short_ids(ids: &[ShortChannelId]) -> Vec<u8> {
    let mut to = Vec::with_capacity(ids.len().saturating_mul(8).saturating_add(1));
    to.push(UNCOMPRESSED);
    ids.iter().for_each(|id| id.put(&mut to));
    to
}
