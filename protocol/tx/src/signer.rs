//! What a channel asks of its signer: hsmd's CHAN role, seen from the channel core.
//!
//! No request names a channel: the socket that it comes in on does (rule D3). None carries
//! a digest, a transaction, a derivation path or a balance (D1, C2).

use bitcoin::ScriptBuf;
use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use serde::{Deserialize, Serialize};
use wire::{CommitmentNumber, Satoshi};

use crate::ledger::Delta;
use crate::setup::{Funding, Setup};

/// From channeld to hsmd. Each gets exactly one [`Reply`], in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "one request at a time, never in a collection"
)]
pub enum Request {
    /// Effect: fixes the channel's terms, once; phase Stub -> Opening. Repeating the same terms is allowed.
    /// Refused if: terms differ from those fixed before, or are out of range.
    Setup { setup: Setup },
    /// Effect: fixes the funding output, once (v1 opening).
    /// Refused if: no Setup, the value differs from it, or another output was fixed before.
    SetFunding { funding: Funding },
    /// Effect: builds the peer's commitment `n` from its predecessor and `deltas`, signs it and its HTLC transactions.
    /// `n` = 0 takes no deltas. A repetition of the newest `n` must be the same in every byte and gets the same reply.
    /// Refused if: `n` is not the newest or the one after it, the peer has not revoked `n - 2`, or a delta does not fit.
    SignRemote {
        n: CommitmentNumber,
        point: PublicKey,
        deltas: Vec<Delta>,
    },
    /// Effect: builds our commitment `n`, verifies the peer's signatures on it, journals them; from then on
    /// our commitment `n - 1` is revoked and its secret is in the reply. The same repetition rule as SignRemote.
    /// Refused if: a signature does not verify, `n` is not the next one, or a delta does not fit.
    ValidateLocal {
        n: CommitmentNumber,
        deltas: Vec<Delta>,
        signature: Signature,
        htlc_signatures: Vec<Signature>,
    },
    /// Effect: stores the peer's secret of its revoked commitment `n`. Repetition of a stored one is allowed.
    /// Refused if: it does not belong to the point that commitment `n` was signed with.
    RemoteRevoked {
        n: CommitmentNumber,
        secret: RevocationSecret,
    },
    /// Effect: none; our per-commitment point `n`.
    /// Refused if: `n` is beyond the one after our newest validated commitment.
    Point { n: CommitmentNumber },
    /// Effect: none; the secret of our commitment `n`, for channel_reestablish and a repeated revoke_and_ack.
    /// Refused if: `n` is not revoked.
    RevokedSecret { n: CommitmentNumber },
    /// Effect: signs the mutual close that pays both balances of the newest ledger to these scripts,
    /// the opener paying `fee`; phase -> Closing.
    /// Refused if: an HTLC is pending, the local script is not ours, or the fee exceeds the opener's balance.
    SignClose {
        fee: Satoshi,
        local_script: ScriptBuf,
        remote_script: ScriptBuf,
    },
    /// Effect: verifies the peer's signature on that transaction and completes it with ours.
    /// Refused if: SignClose would be, or the signature does not verify.
    CompleteClose {
        fee: Satoshi,
        local_script: ScriptBuf,
        remote_script: ScriptBuf,
        signature: Signature,
    },
    /// Effect: the BOLT 4 shared secrets of up to 64 onions' ephemeral points with our node key.
    /// Refused if: more than 64.
    EcdhBatch { points: Vec<PublicKey> },
}

/// From hsmd to channeld: the reply to the request of the same place in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Setup, SetFunding or RemoteRevoked is done.
    Done,
    /// SignRemote: for the commitment and, in output order, for each HTLC transaction.
    SignedRemote {
        signature: Signature,
        htlc_signatures: Vec<Signature>,
    },
    /// ValidateLocal: our secret of `n - 1` (none for n = 0) and our point `n + 1`.
    ValidatedLocal {
        revoked_secret: Option<RevocationSecret>,
        next_point: PublicKey,
    },
    Point {
        point: PublicKey,
    },
    RevokedSecret {
        secret: RevocationSecret,
    },
    SignedClose {
        signature: Signature,
    },
    /// CompleteClose: the transaction, ready to broadcast, in consensus encoding.
    CompletedClose {
        #[serde(with = "serde_bytes")]
        tx: Vec<u8>,
    },
    SharedSecrets {
        secrets: Vec<EcdhSecret>,
    },
    /// The request broke a rule; nothing was signed and nothing changed.
    Refused {
        rule: String,
        reason: String,
    },
}

/// Shared secret of an onion (BOLT 4, Shared Secret): SHA-256 of the compressed ECDH point.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcdhSecret(pub [u8; 32]);

impl std::fmt::Debug for EcdhSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EcdhSecret(32 bytes)")
    }
}

/// Secret of a revoked commitment. It travels to the peer in revoke_and_ack, yet never into a log.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationSecret(pub [u8; 32]);

impl std::fmt::Debug for RevocationSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RevocationSecret(32 bytes)")
    }
}
