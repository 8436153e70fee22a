//! The reasons for which a hop refuses an HTLC, and their code on the wire (BOLT 4, Failure Messages).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wire::codec::{Reader, Wire, put_bigsize};
use wire::{BlockHeight, CltvExpiry, DecodeError, MilliSatoshi, OnionPacket};

use crate::UnwrapError;

/// Flag of a failure code: our peer says so, because it could not read the onion.
pub const BADONION: u16 = 0x8000;
/// Flag of a failure code: trying again will not help.
pub const PERM: u16 = 0x4000;
/// Flag of a failure code: the node, not one of its channels, is at fault.
pub const NODE: u16 = 0x2000;
/// Flag of a failure code: a channel's forwarding parameters were not met.
pub const UPDATE: u16 = 0x1000;

macro_rules! failures {
    ($(
        $(#[$doc:meta])*
        $variant:ident = $code:literal $name:literal
            $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),* })?;
    )*) => {
        /// What a hop tells the origin. The order is BOLT 4's: of several errors the first counts.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Failure {
            $($(#[$doc])* $variant $({ $($(#[$field_doc])* $field: $type),* })?,)*
            /// A code that BOLT 4 does not have, or data too short for its code. Code 0 without
            /// data where even the code was missing.
            Unknown { code: u16, data: Vec<u8> },
        }

        impl Failure {
            /// With the flags in its upper bits.
            #[must_use]
            pub fn code(&self) -> u16 {
                match self {
                    $(Failure::$variant { .. } => $code,)*
                    Failure::Unknown { code, .. } => *code,
                }
            }

            /// As BOLT 4 calls it; "unknown" for a code that it does not have.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Failure::$variant { .. } => $name,)*
                    Failure::Unknown { .. } => "unknown",
                }
            }

            /// Failure code and data, without padding.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                let mut to = self.code().to_be_bytes().to_vec();
                match self {
                    $(Failure::$variant $({ $($field),* })? => { $($(Data::put($field, &mut to);)*)? })*
                    Failure::Unknown { data, .. } => to.extend(data),
                }
                to
            }

            /// `None` for a code that BOLT 4 does not have. Ignores bytes after the data.
            fn decode_known(code: u16, from: &mut Reader<'_>) -> Result<Option<Failure>, DecodeError> {
                Ok(Some(match code {
                    $($code => Failure::$variant $({ $($field: Data::take(from)?),* })?,)*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

failures! {
    TemporaryNodeFailure = 0x2002 "temporary_node_failure";
    PermanentNodeFailure = 0x6002 "permanent_node_failure";
    RequiredNodeFeatureMissing = 0x6003 "required_node_feature_missing";
    InvalidOnionVersion = 0xc004 "invalid_onion_version" { sha256_of_onion: [u8; 32] };
    InvalidOnionHmac = 0xc005 "invalid_onion_hmac" { sha256_of_onion: [u8; 32] };
    InvalidOnionKey = 0xc006 "invalid_onion_key" { sha256_of_onion: [u8; 32] };
    /// `channel_update` here and below: the message as the erring node sent it, often empty.
    TemporaryChannelFailure = 0x1007 "temporary_channel_failure" { channel_update: Vec<u8> };
    PermanentChannelFailure = 0x4008 "permanent_channel_failure";
    RequiredChannelFeatureMissing = 0x4009 "required_channel_feature_missing";
    UnknownNextPeer = 0x400a "unknown_next_peer";
    AmountBelowMinimum = 0x100b "amount_below_minimum" {
        /// Of the outgoing HTLC.
        htlc_msat: MilliSatoshi,
        channel_update: Vec<u8>
    };
    FeeInsufficient = 0x100c "fee_insufficient" {
        /// Of the incoming HTLC.
        htlc_msat: MilliSatoshi,
        channel_update: Vec<u8>
    };
    IncorrectCltvExpiry = 0x100d "incorrect_cltv_expiry" {
        /// Of the outgoing HTLC.
        cltv_expiry: CltvExpiry,
        channel_update: Vec<u8>
    };
    ExpiryTooSoon = 0x100e "expiry_too_soon" { channel_update: Vec<u8> };
    IncorrectOrUnknownPaymentDetails = 0x400f "incorrect_or_unknown_payment_details" {
        htlc_msat: MilliSatoshi,
        /// The recipient's best block when it received the HTLC.
        height: BlockHeight
    };
    FinalIncorrectCltvExpiry = 0x0012 "final_incorrect_cltv_expiry" { cltv_expiry: CltvExpiry };
    FinalIncorrectHtlcAmount = 0x0013 "final_incorrect_htlc_amount" { incoming_htlc_amt: MilliSatoshi };
    ChannelDisabled = 0x1014 "channel_disabled" {
        /// No flag is defined: always 0.
        disabled_flags: u16,
        channel_update: Vec<u8>
    };
    ExpiryTooFar = 0x0015 "expiry_too_far";
    InvalidOnionPayload = 0x4016 "invalid_onion_payload" {
        /// 0 where no single record is at fault.
        type_num: u64,
        offset: u16
    };
    MppTimeout = 0x0017 "mpp_timeout";
    InvalidOnionBlinding = 0xc018 "invalid_onion_blinding" { sha256_of_onion: [u8; 32] };
}

impl Failure {
    /// Of a decrypted failure message. BOLT 4, origin: bytes after the data are ignored.
    #[must_use]
    pub fn decode(message: &[u8]) -> Failure {
        let mut from = Reader::new(message);
        let code = from.u16().unwrap_or_default();
        let data = from.peek_rest();
        match Failure::decode_known(code, &mut from) {
            Ok(Some(failure)) => failure,
            Ok(None) | Err(_) => Failure::Unknown {
                code,
                data: data.to_vec(),
            },
        }
    }

    /// The hop's peer could not read the onion; the hop only passes that on.
    #[must_use]
    pub fn is_badonion(&self) -> bool {
        self.code() & BADONION != 0
    }

    /// Trying again will not help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code() & PERM != 0
    }

    /// The whole node is at fault, not one of its channels.
    #[must_use]
    pub fn is_node(&self) -> bool {
        self.code() & NODE != 0
    }

    /// Forwarding parameters of a channel were not met.
    #[must_use]
    pub fn is_update(&self) -> bool {
        self.code() & UPDATE != 0
    }

    /// What to tell the origin when our peer answered our HTLC with `update_fail_malformed_htlc`.
    ///
    /// Fails where the code lacks BADONION: BOLT 2 then has us fail the channel.
    pub fn from_malformed(
        failure_code: u16,
        sha256_of_onion: [u8; 32],
    ) -> Result<Failure, NotBadOnion> {
        if failure_code & BADONION == 0 {
            return Err(NotBadOnion(failure_code));
        }
        let mut message = failure_code.to_be_bytes().to_vec();
        message.extend(sha256_of_onion);
        Ok(Failure::decode(&message))
    }
}

/// `update_fail_malformed_htlc` with a failure code that does not belong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("update_fail_malformed_htlc with failure code {0:#06x}, which lacks BADONION")]
pub struct NotBadOnion(pub u16);

/// An onion for which there is no shared secret to encrypt an error with: the contents of an
/// `update_fail_malformed_htlc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("onion with {reason}")]
pub struct MalformedOnion {
    pub reason: BadOnion,
    pub sha256_of_onion: [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BadOnion {
    #[error("unknown version")]
    Version,
    #[error("wrong HMAC")]
    Hmac,
    #[error("invalid ephemeral key")]
    Key,
    /// Any error at all inside a blinded path.
    #[error("an error in a blinded path")]
    Blinding,
}

impl MalformedOnion {
    #[must_use]
    pub fn new(reason: BadOnion, packet: &OnionPacket) -> MalformedOnion {
        MalformedOnion {
            reason,
            sha256_of_onion: Sha256::digest(packet.as_bytes()).into(),
        }
    }

    /// For `failure_code` of `update_fail_malformed_htlc`.
    #[must_use]
    pub fn failure_code(&self) -> u16 {
        self.failure().code()
    }

    /// The same as a failure, for an onion of our own that we could not read.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let sha256_of_onion = self.sha256_of_onion;
        match self.reason {
            BadOnion::Version => Failure::InvalidOnionVersion { sha256_of_onion },
            BadOnion::Hmac => Failure::InvalidOnionHmac { sha256_of_onion },
            BadOnion::Key => Failure::InvalidOnionKey { sha256_of_onion },
            BadOnion::Blinding => Failure::InvalidOnionBlinding { sha256_of_onion },
        }
    }
}

impl UnwrapError {
    /// The failure that describes it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            UnwrapError::Malformed(malformed) => malformed.failure(),
            UnwrapError::Payload(invalid) => invalid.failure(),
        }
    }
}

/// How each type stands in a failure message.
trait Data: Sized {
    fn put(&self, to: &mut Vec<u8>);
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

macro_rules! as_in_messages {
    ($($type:ty),*) => {$(
        impl Data for $type {
            fn put(&self, to: &mut Vec<u8>) {
                Wire::put(self, to);
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Wire::take(from)
            }
        }
    )*};
}

as_in_messages!(
    [u8; 32],
    u16,
    Vec<u8>,
    MilliSatoshi,
    CltvExpiry,
    BlockHeight
);

/// The only bare u64 is a TLV type.
impl Data for u64 {
    fn put(&self, to: &mut Vec<u8>) {
        put_bigsize(*self, to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.bigsize()
    }
}

#[cfg(test)]
mod tests;
