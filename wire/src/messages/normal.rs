//! Updates, commitments and reestablishment (BOLT 2, Normal Operation and Message Retransmission).

use bitcoin::Txid;
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;

use super::{AttributionData, OnionPacket, message, record};
use crate::units::*;

message! {
    /// Offers an HTLC.
    UpdateAddHtlc = 128 {
        channel_id: ChannelId,
        id: HtlcId,
        amount_msat: MilliSatoshi,
        payment_hash: PaymentHash,
        cltv_expiry: CltvExpiry,
        onion_routing_packet: OnionPacket,
    }
    tlvs {
        /// The `path_key`, inside a blinded path.
        0 blinded_path: Option<PublicKey>,
    }
}

message! {
    /// Settles an HTLC of the receiver's.
    UpdateFulfillHtlc = 130 {
        channel_id: ChannelId,
        id: HtlcId,
        payment_preimage: Preimage,
    }
    tlvs {
        1 attribution_data: Option<AttributionData>,
    }
}

message! {
    /// Fails an HTLC of the receiver's.
    UpdateFailHtlc = 131 {
        channel_id: ChannelId,
        id: HtlcId,
        /// Encrypted for the origin (BOLT 4, Returning Errors).
        #[serde(with = "serde_bytes")]
        reason: Vec<u8>,
    }
    tlvs {
        1 attribution_data: Option<AttributionData>,
    }
}

message! {
    /// Fails an HTLC of the receiver's whose onion could not be read.
    UpdateFailMalformedHtlc = 135 {
        channel_id: ChannelId,
        id: HtlcId,
        sha256_of_onion: [u8; 32],
        /// Has BADONION set.
        failure_code: u16,
    }
}

message! {
    /// Signs the receiver's next commitment.
    CommitmentSigned = 132 {
        channel_id: ChannelId,
        signature: Signature,
        /// One for each HTLC output, in the order of the commitment's outputs.
        htlc_signature: Vec<Signature>,
    }
    tlvs {
        /// Which funding transaction the commitment spends, while several are pending.
        1 funding_txid: Option<Txid>,
    }
}

message! {
    /// Revokes the sender's previous commitment.
    RevokeAndAck = 133 {
        channel_id: ChannelId,
        per_commitment_secret: PerCommitmentSecret,
        next_per_commitment_point: PublicKey,
    }
}

message! {
    /// Changes the feerate of the commitments; from the opener only.
    UpdateFee = 134 {
        channel_id: ChannelId,
        feerate_per_kw: FeeratePerKw,
    }
}

message! {
    /// First message for each channel on a new connection.
    ChannelReestablish = 136 {
        channel_id: ChannelId,
        next_commitment_number: CommitmentNumber,
        next_revocation_number: CommitmentNumber,
        your_last_per_commitment_secret: PerCommitmentSecret,
        my_current_per_commitment_point: PublicKey,
    }
    tlvs {
        1 next_funding: Option<NextFunding>,
        5 my_current_funding_locked: Option<CurrentFundingLocked>,
    }
}

record! {
    /// An interactive transaction whose signatures the sender still waits for.
    NextFunding {
        next_funding_txid: Txid,
        /// Bit 0: `commitment_signed` must be sent again.
        retransmit_flags: u8,
    }
}

record! {
    /// The last funding transaction for which the sender sent `channel_ready` or `splice_locked`.
    CurrentFundingLocked {
        my_current_funding_locked_txid: Txid,
        /// Bit 0: `announcement_signatures` must be sent again.
        retransmit_flags: u8,
    }
}
