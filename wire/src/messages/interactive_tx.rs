//! Building a transaction together (BOLT 2, Interactive Transaction Construction).

use bitcoin::absolute::LockTime;
use bitcoin::{ScriptBuf, Sequence, Txid};
use secp256k1::ecdsa::Signature;
use serde::{Deserialize, Serialize};

use super::message;
use crate::codec::{DecodeError, Reader, Wire};
use crate::units::*;

message! {
    /// Adds an input of the sender's.
    TxAddInput = 66 {
        channel_id: ChannelId,
        /// Even from the initiator, odd from the other.
        serial_id: u64,
        /// The whole transaction that the input spends; empty for the shared input of a splice.
        #[serde(with = "serde_bytes")]
        prevtx: Vec<u8>,
        prevtx_vout: u32,
        sequence: Sequence,
    }
    tlvs {
        /// The transaction with the funding output that a splice spends, instead of `prevtx`.
        0 shared_input_txid: Option<Txid>,
    }
}

message! {
    /// Adds an output.
    TxAddOutput = 67 {
        channel_id: ChannelId,
        /// Even from the initiator, odd from the other.
        serial_id: u64,
        sats: Satoshi,
        script: ScriptBuf,
    }
}

message! {
    /// Takes back an input of the sender's.
    TxRemoveInput = 68 {
        channel_id: ChannelId,
        serial_id: u64,
    }
}

message! {
    /// Takes back an output of the sender's.
    TxRemoveOutput = 69 {
        channel_id: ChannelId,
        serial_id: u64,
    }
}

message! {
    /// Nothing more from the sender; two in a row end the construction.
    TxComplete = 70 {
        channel_id: ChannelId,
    }
}

message! {
    /// Witnesses for the sender's inputs, in the order of the transaction.
    TxSignatures = 71 {
        channel_id: ChannelId,
        txid: Txid,
        witnesses: Vec<TxWitness>,
    }
    tlvs {
        /// For the shared input of a splice.
        0 shared_input_signature: Option<Signature>,
    }
}

message! {
    /// Proposes a replacement with a higher fee.
    TxInitRbf = 72 {
        channel_id: ChannelId,
        locktime: LockTime,
        feerate: FeeratePerKw,
    }
    tlvs {
        0 funding_output_contribution: Option<SignedSatoshi>,
        2 require_confirmed_inputs: bool,
    }
}

message! {
    /// Agrees to a replacement.
    TxAckRbf = 73 {
        channel_id: ChannelId,
    }
    tlvs {
        0 funding_output_contribution: Option<SignedSatoshi>,
        2 require_confirmed_inputs: bool,
    }
}

message! {
    /// Gives up the construction; the channel lives on.
    TxAbort = 74 {
        channel_id: ChannelId,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    }
}

impl TxAbort {
    /// For logs: `data` if it is printable ASCII, else as hex.
    #[must_use]
    pub fn text(&self) -> String {
        super::setup::printable(&self.data)
    }
}

/// A serialized witness stack: number of elements, then each behind its length, as in a
/// transaction (the BOLT's `witness`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxWitness {
    #[serde(with = "serde_bytes")]
    pub witness_data: Vec<u8>,
}

impl TxWitness {
    /// The stack; `None` where `witness_data` is not one or has bytes after it.
    #[must_use]
    pub fn stack(&self) -> Option<bitcoin::Witness> {
        bitcoin::consensus::deserialize(&self.witness_data).ok()
    }
}

impl From<&bitcoin::Witness> for TxWitness {
    fn from(stack: &bitcoin::Witness) -> TxWitness {
        TxWitness {
            witness_data: bitcoin::consensus::serialize(stack),
        }
    }
}

impl Wire for TxWitness {
    fn put(&self, to: &mut Vec<u8>) {
        self.witness_data.put(to);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(TxWitness {
            witness_data: Wire::take(from)?,
        })
    }
}
