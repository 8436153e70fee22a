//! The messages of the protocol (BOLT 1, 2, 4 and 7), one struct for each.
//!
//! Fields have the BOLTs' names. Length and count fields are left out: the `Vec` knows. TLV
//! records are fields too, after the others: an `Option`, or a `bool` where only presence counts.
//! What a message demands of its receiver is not here but in the protocol crates.

mod address;
mod blob;
mod closing;
mod gossip;
mod interactive_tx;
mod normal;
mod onion_message;
mod open;
mod open2;
mod peer_storage;
mod queries;
mod quiescence;
mod setup;
mod splice;

pub use address::*;
pub use blob::*;
pub use closing::*;
pub use gossip::*;
pub use interactive_tx::*;
pub use normal::*;
pub use onion_message::*;
pub use open::*;
pub use open2::*;
pub use peer_storage::*;
pub use queries::*;
pub use quiescence::*;
pub use setup::*;
pub use splice::*;

use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, Reader};
use crate::units::ChannelId;

/// Most bytes a message may have, its type included (BOLT 1, Lightning Message Format).
pub const MAX_MESSAGE: usize = 65535;

/// What the struct of every message can do.
pub trait Body: Sized {
    /// The message's number.
    const TYPE: u16;

    /// Appends everything after the type.
    fn put_body(&self, to: &mut Vec<u8>);

    /// Reads everything after the type, to the end.
    ///
    /// # Errors
    /// Too few bytes, an invalid value or an invalid extension: the peer's fault.
    fn take_body(from: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The whole message, type first.
    fn to_bytes(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(256);
        to.extend(Self::TYPE.to_be_bytes());
        self.put_body(&mut to);
        to
    }
}

/// Declares a message: `Name = number { field: Type, ... }`, then either
/// `tlvs { number field: Option<Type>, ... }`, nothing (no TLV record is known), or `signed_rest`
/// for announcements, whose signature also covers bytes that we do not know.
macro_rules! message {
    (
        $(#[$meta:meta])*
        $name:ident = $type_num:literal {
            $($(#[$field_meta:meta])* $field:ident: $ty:ty,)*
        }
        $(tlvs { $($(#[$tlv_meta:meta])* $tlv_num:literal $tlv:ident: $tlv_ty:ty,)* })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
            $($($(#[$tlv_meta])* pub $tlv: $tlv_ty,)*)?
        }

        impl $crate::messages::Body for $name {
            const TYPE: u16 = $type_num;

            #[allow(unused_variables)]
            fn put_body(&self, to: &mut Vec<u8>) {
                $($crate::codec::Wire::put(&self.$field, to);)*
                $($($crate::codec::TlvSlot::put_slot(&self.$tlv, $tlv_num, to);)*)?
            }

            #[allow(unused_mut, unused_variables, clippy::match_single_binding, clippy::diverging_sub_expression, unreachable_code)]
            fn take_body(
                from: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                let mut message = $name {
                    $($field: $crate::codec::Wire::take(from)?,)*
                    $($($tlv: Default::default(),)*)?
                };
                $crate::codec::decode_tlvs(from.rest(), |type_num, value| {
                    match type_num {
                        $($($tlv_num => message.$tlv = $crate::codec::TlvSlot::take_slot(value)?,)*)?
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Ok(message)
            }
        }
    };
    (
        $(#[$meta:meta])*
        $name:ident = $type_num:literal {
            $($(#[$field_meta:meta])* $field:ident: $ty:ty,)*
        }
        signed_rest
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
            /// What follows the known fields; the signatures cover it, so it is kept.
            #[serde(with = "serde_bytes")]
            pub rest: Vec<u8>,
        }

        impl $crate::messages::Body for $name {
            const TYPE: u16 = $type_num;

            fn put_body(&self, to: &mut Vec<u8>) {
                $($crate::codec::Wire::put(&self.$field, to);)*
                to.extend_from_slice(&self.rest);
            }

            fn take_body(
                from: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                Ok($name {
                    $($field: $crate::codec::Wire::take(from)?,)*
                    rest: from.rest().to_vec(),
                })
            }
        }
    };
}
use message;

/// Declares the value of a TLV record, or an element of a list, that has several fields of
/// fixed length.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl $crate::codec::Wire for $name {
            fn put(&self, to: &mut Vec<u8>) {
                $($crate::codec::Wire::put(&self.$field, to);)*
            }

            fn take(
                from: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                Ok($name { $($field: $crate::codec::Wire::take(from)?,)* })
            }
        }

        impl $crate::codec::TlvValue for $name {
            fn put_value(&self, to: &mut Vec<u8>) {
                $crate::codec::Wire::put(self, to);
            }

            fn take_value(
                from: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                $crate::codec::Wire::take(from)
            }
        }
    };
}
use record;

macro_rules! messages {
    ($($name:ident = $bolt_name:literal $(($id:ident at $at:literal))?,)*) => {
        /// Any message.
        #[allow(clippy::large_enum_variant)] // short-lived: decoded, matched, taken apart
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Message {
            $($name($name),)*
            /// A number that is not in the BOLTs that we know. If it is even, the connection must
            /// be closed; if it is odd, the message must be ignored (BOLT 1).
            Unknown {
                type_num: u16,
                #[serde(with = "serde_bytes")]
                data: Vec<u8>,
            },
        }

        impl Message {
            fn decode_body(type_num: u16, from: &mut Reader<'_>) -> Result<Message, DecodeError> {
                Ok(match type_num {
                    $($name::TYPE => Message::$name($name::take_body(from)?),)*
                    type_num => Message::Unknown { type_num, data: from.rest().to_vec() },
                })
            }

            /// The message's number.
            #[must_use]
            pub fn type_num(&self) -> u16 {
                match self {
                    $(Message::$name(_) => $name::TYPE,)*
                    Message::Unknown { type_num, .. } => *type_num,
                }
            }

            /// The BOLTs' name of the message, for logs; `unknown` for unknown ones.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Message::$name(_) => $bolt_name,)*
                    Message::Unknown { .. } => "unknown",
                }
            }

            /// The `channel_id` or `temporary_channel_id` of a message that has one.
            #[must_use]
            pub fn channel_id(&self) -> Option<ChannelId> {
                match self {
                    $(Message::$name(_m) => messages!(@id _m $($id)?),)*
                    Message::Unknown { .. } => None,
                }
            }

            /// Appends type and body.
            pub fn encode_to(&self, to: &mut Vec<u8>) {
                to.extend(self.type_num().to_be_bytes());
                match self {
                    $(Message::$name(m) => m.put_body(to),)*
                    Message::Unknown { data, .. } => to.extend_from_slice(data),
                }
            }
        }

        $(
            impl From<$name> for Message {
                fn from(m: $name) -> Message {
                    Message::$name(m)
                }
            }
        )*

        /// The numbers of all messages that have a struct of their own.
        pub const KNOWN_TYPES: &[u16] = &[$($name::TYPE,)*];

        /// Where in the body a message has its channel id.
        fn channel_id_at(type_num: u16) -> Option<usize> {
            match type_num {
                $($name::TYPE => messages!(@at $($at)?),)*
                _ => None,
            }
        }
    };
    (@id $m:ident) => { None };
    (@id $m:ident $id:ident) => { Some($m.$id) };
    (@at) => { None };
    (@at $at:literal) => { Some($at) };
}

messages! {
    Warning = "warning" (channel_id at 0),
    Stfu = "stfu" (channel_id at 0),
    PeerStorage = "peer_storage",
    PeerStorageRetrieval = "peer_storage_retrieval",
    Init = "init",
    Error = "error" (channel_id at 0),
    Ping = "ping",
    Pong = "pong",
    OpenChannel = "open_channel" (temporary_channel_id at 32),
    AcceptChannel = "accept_channel" (temporary_channel_id at 0),
    FundingCreated = "funding_created" (temporary_channel_id at 0),
    FundingSigned = "funding_signed" (channel_id at 0),
    ChannelReady = "channel_ready" (channel_id at 0),
    Shutdown = "shutdown" (channel_id at 0),
    ClosingSigned = "closing_signed" (channel_id at 0),
    ClosingComplete = "closing_complete" (channel_id at 0),
    ClosingSig = "closing_sig" (channel_id at 0),
    OpenChannel2 = "open_channel2" (temporary_channel_id at 32),
    AcceptChannel2 = "accept_channel2" (temporary_channel_id at 0),
    TxAddInput = "tx_add_input" (channel_id at 0),
    TxAddOutput = "tx_add_output" (channel_id at 0),
    TxRemoveInput = "tx_remove_input" (channel_id at 0),
    TxRemoveOutput = "tx_remove_output" (channel_id at 0),
    TxComplete = "tx_complete" (channel_id at 0),
    TxSignatures = "tx_signatures" (channel_id at 0),
    TxInitRbf = "tx_init_rbf" (channel_id at 0),
    TxAckRbf = "tx_ack_rbf" (channel_id at 0),
    TxAbort = "tx_abort" (channel_id at 0),
    SpliceLocked = "splice_locked" (channel_id at 0),
    SpliceInit = "splice_init" (channel_id at 0),
    SpliceAck = "splice_ack" (channel_id at 0),
    StartBatch = "start_batch" (channel_id at 0),
    UpdateAddHtlc = "update_add_htlc" (channel_id at 0),
    UpdateFulfillHtlc = "update_fulfill_htlc" (channel_id at 0),
    UpdateFailHtlc = "update_fail_htlc" (channel_id at 0),
    CommitmentSigned = "commitment_signed" (channel_id at 0),
    RevokeAndAck = "revoke_and_ack" (channel_id at 0),
    UpdateFee = "update_fee" (channel_id at 0),
    UpdateFailMalformedHtlc = "update_fail_malformed_htlc" (channel_id at 0),
    ChannelReestablish = "channel_reestablish" (channel_id at 0),
    ChannelAnnouncement = "channel_announcement",
    NodeAnnouncement = "node_announcement",
    ChannelUpdate = "channel_update",
    AnnouncementSignatures = "announcement_signatures" (channel_id at 0),
    QueryShortChannelIds = "query_short_channel_ids",
    ReplyShortChannelIdsEnd = "reply_short_channel_ids_end",
    QueryChannelRange = "query_channel_range",
    ReplyChannelRange = "reply_channel_range",
    GossipTimestampFilter = "gossip_timestamp_filter",
    OnionMessage = "onion_message",
}

impl Message {
    /// Decodes a whole message, type first.
    ///
    /// # Errors
    /// BOLT 1 asks to close the connection for each of them.
    pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(DecodeError::MessageTooLong(bytes.len()));
        }
        let mut from = Reader::new(bytes);
        let type_num = from.u16()?;
        Message::decode_body(type_num, &mut from)
    }

    /// The whole message, type first. More than [`MAX_MESSAGE`] bytes (our own strings were too
    /// long) cannot be sent: the transport refuses them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(256);
        self.encode_to(&mut to);
        to
    }

    /// BOLT 1: an even message must be understood, an odd one may be ignored.
    #[must_use]
    pub fn is_even(&self) -> bool {
        self.type_num().is_multiple_of(2)
    }
}

/// The type of an encoded message and, of a message that has one, the `channel_id` or
/// `temporary_channel_id`, without decoding the rest. `None` where the bytes end before them.
#[must_use]
pub fn peek(message: &[u8]) -> Option<(u16, Option<ChannelId>)> {
    let (type_num, body) = message.split_first_chunk()?;
    let type_num = u16::from_be_bytes(*type_num);
    let Some(at) = channel_id_at(type_num) else {
        return Some((type_num, None));
    };
    let id = body.get(at..)?.first_chunk()?;
    Some((type_num, Some(ChannelId(*id))))
}
