//! Output scripts of funding, commitment and HTLC transactions (BOLT 3, Transactions).

use bitcoin::hashes::{Hash, hash160, ripemd160};
use bitcoin::opcodes::all::{
    OP_CHECKMULTISIG, OP_CHECKSIG, OP_CHECKSIGVERIFY, OP_CLTV, OP_CSV, OP_DROP, OP_DUP, OP_ELSE,
    OP_ENDIF, OP_EQUAL, OP_EQUALVERIFY, OP_HASH160, OP_IF, OP_IFDUP, OP_NOTIF, OP_SIZE, OP_SWAP,
};
use bitcoin::script::Builder;
use bitcoin::{ScriptBuf, WPubkeyHash};
use secp256k1::PublicKey;
use wire::{BlockDelta, CltvExpiry, PaymentHash};

use crate::keys::CommitmentKeys;
use crate::setup::{CommitmentFormat, Setup};

/// 2-of-2 of the funding keys in the order of their bytes (BOLT 3, Funding Transaction Output).
#[must_use]
pub fn funding_script(a: &PublicKey, b: &PublicKey) -> ScriptBuf {
    let (a, b) = (a.serialize(), b.serialize());
    Builder::new()
        .push_int(2)
        .push_slice(a.min(b))
        .push_slice(a.max(b))
        .push_int(2)
        .push_opcode(OP_CHECKMULTISIG)
        .into_script()
}

impl Setup {
    /// Witness script of the funding output.
    #[must_use]
    pub fn funding_script(&self) -> ScriptBuf {
        funding_script(&self.local.funding_pubkey, &self.remote.funding_pubkey)
    }

    /// The funding output's own script (p2wsh).
    #[must_use]
    pub fn funding_script_pubkey(&self) -> ScriptBuf {
        self.funding_script().to_p2wsh()
    }
}

/// The owner's balance and the output of its HTLC transactions: revocable at once, spendable after `delay`.
#[must_use]
pub fn to_local_script(
    revocation: &PublicKey,
    delay: BlockDelta,
    delayed: &PublicKey,
) -> ScriptBuf {
    Builder::new()
        .push_opcode(OP_IF)
        .push_slice(revocation.serialize())
        .push_opcode(OP_ELSE)
        .push_int(i64::from(delay.0))
        .push_opcode(OP_CSV)
        .push_opcode(OP_DROP)
        .push_slice(delayed.serialize())
        .push_opcode(OP_ENDIF)
        .push_opcode(OP_CHECKSIG)
        .into_script()
}

/// Witness script of the other side's balance with anchors: locked for one block.
#[must_use]
pub fn to_remote_anchors_script(key: &PublicKey) -> ScriptBuf {
    Builder::new()
        .push_slice(key.serialize())
        .push_opcode(OP_CHECKSIGVERIFY)
        .push_int(1)
        .push_opcode(OP_CSV)
        .into_script()
}

/// Output script of the other side's balance: p2wpkh, or p2wsh of [`to_remote_anchors_script`].
#[must_use]
pub fn to_remote_script_pubkey(format: CommitmentFormat, key: &PublicKey) -> ScriptBuf {
    match format {
        CommitmentFormat::StaticRemotekey => {
            ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(&key.serialize()))
        }
        CommitmentFormat::AnchorsZeroFeeHtlc => to_remote_anchors_script(key).to_p2wsh(),
    }
}

/// Witness script of the anchor of the side with this funding key.
#[must_use]
pub fn anchor_script(funding_pubkey: &PublicKey) -> ScriptBuf {
    Builder::new()
        .push_slice(funding_pubkey.serialize())
        .push_opcode(OP_CHECKSIG)
        .push_opcode(OP_IFDUP)
        .push_opcode(OP_NOTIF)
        .push_int(16)
        .push_opcode(OP_CSV)
        .push_opcode(OP_ENDIF)
        .into_script()
}

/// What all HTLC scripts of one commitment have in common, computed once.
#[derive(Clone, Copy, Debug)]
pub struct HtlcScripts {
    format: CommitmentFormat,
    revocation_hash: [u8; 20],
    owner_htlc: [u8; 33],
    other_htlc: [u8; 33],
}

impl HtlcScripts {
    #[must_use]
    pub fn new(format: CommitmentFormat, keys: &CommitmentKeys) -> HtlcScripts {
        HtlcScripts {
            format,
            revocation_hash: hash160::Hash::hash(&keys.revocation.serialize()).to_byte_array(),
            owner_htlc: keys.owner_htlc.serialize(),
            other_htlc: keys.other_htlc.serialize(),
        }
    }

    /// Witness script of an HTLC that the owner offered.
    #[must_use]
    pub fn offered(&self, payment_hash: &PaymentHash) -> ScriptBuf {
        let script = self
            .head()
            .push_opcode(OP_NOTIF)
            .push_opcode(OP_DROP)
            .push_int(2)
            .push_opcode(OP_SWAP)
            .push_slice(self.owner_htlc)
            .push_int(2)
            .push_opcode(OP_CHECKMULTISIG)
            .push_opcode(OP_ELSE)
            .push_opcode(OP_HASH160)
            .push_slice(ripemd(payment_hash))
            .push_opcode(OP_EQUALVERIFY)
            .push_opcode(OP_CHECKSIG)
            .push_opcode(OP_ENDIF);
        self.tail(script)
    }

    /// Witness script of an HTLC that was offered to the owner.
    #[must_use]
    pub fn received(&self, payment_hash: &PaymentHash, cltv_expiry: CltvExpiry) -> ScriptBuf {
        let script = self
            .head()
            .push_opcode(OP_IF)
            .push_opcode(OP_HASH160)
            .push_slice(ripemd(payment_hash))
            .push_opcode(OP_EQUALVERIFY)
            .push_int(2)
            .push_opcode(OP_SWAP)
            .push_slice(self.owner_htlc)
            .push_int(2)
            .push_opcode(OP_CHECKMULTISIG)
            .push_opcode(OP_ELSE)
            .push_opcode(OP_DROP)
            .push_int(i64::from(cltv_expiry.0))
            .push_opcode(OP_CLTV)
            .push_opcode(OP_DROP)
            .push_opcode(OP_CHECKSIG)
            .push_opcode(OP_ENDIF);
        self.tail(script)
    }

    /// The revocation branch and the test for a 32-byte preimage.
    fn head(&self) -> Builder {
        Builder::from(Vec::with_capacity(144))
            .push_opcode(OP_DUP)
            .push_opcode(OP_HASH160)
            .push_slice(self.revocation_hash)
            .push_opcode(OP_EQUAL)
            .push_opcode(OP_IF)
            .push_opcode(OP_CHECKSIG)
            .push_opcode(OP_ELSE)
            .push_slice(self.other_htlc)
            .push_opcode(OP_SWAP)
            .push_opcode(OP_SIZE)
            .push_int(32)
            .push_opcode(OP_EQUAL)
    }

    fn tail(&self, script: Builder) -> ScriptBuf {
        let script = match self.format {
            CommitmentFormat::StaticRemotekey => script,
            CommitmentFormat::AnchorsZeroFeeHtlc => {
                script.push_int(1).push_opcode(OP_CSV).push_opcode(OP_DROP)
            }
        };
        script.push_opcode(OP_ENDIF).into_script()
    }
}

/// RIPEMD160 of a payment hash, which is a SHA-256 already.
fn ripemd(payment_hash: &PaymentHash) -> [u8; 20] {
    ripemd160::Hash::hash(&payment_hash.0).to_byte_array()
}
