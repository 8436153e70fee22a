//! What a channel asks of its signer: hsmd's CHAN role, seen from the channel core.
//!
//! No request names a channel: the socket that it comes in on does (rule D3). None carries
//! a digest, a transaction, a derivation path or a balance (D1, C2).

use secp256k1::PublicKey;
use secp256k1::ecdsa::Signature;
use serde::{Deserialize, Serialize};
use wire::{ChannelDbid, CommitmentNumber, HtlcId};

pub use crate::closing::CloseTerms;
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
    /// Refused if: `n` is not the newest or the one after it, the peer has not revoked `n - 2`, a delta does not fit,
    /// a ticket is not good for its HTLC, or an HTLC fails that has paid for another.
    SignRemote(NextRemote),
    /// Effect: builds our commitment `n`, verifies the peer's signatures on it, journals them; from then on
    /// our commitment `n - 1` is revoked and its secret is in the reply. The same repetition rule as SignRemote.
    /// Refused if: a signature does not verify, `n` is not the next one, or a delta does not fit.
    ValidateLocal(NextLocal),
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
    /// Effect: the peer claims to know our secret of commitment `n`. If it does and `n` is not revoked here, this
    /// signer's own state is old: the channel is stale for good, and no commitment is signed any more.
    ReestablishProof {
        n: CommitmentNumber,
        secret: RevocationSecret,
    },
    /// Effect: signs the mutual close that pays both balances of the newest ledger to these scripts,
    /// the opener paying `fee`; phase -> Closing.
    /// Refused if: an HTLC is pending, the local script is not ours, or the fee exceeds the opener's balance.
    SignClose(CloseTerms),
    /// Effect: verifies the peer's signature on that transaction and completes it with ours.
    /// Refused if: SignClose would be, or the signature does not verify.
    CompleteClose {
        terms: CloseTerms,
        signature: Signature,
    },
    /// Effect: the BOLT 4 shared secrets of up to 64 onions' ephemeral points with our node key.
    /// Refused if: more than 64.
    EcdhBatch { points: Vec<PublicKey> },
}

/// The peer's commitment `n`, as it comes from the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRemote {
    pub n: CommitmentNumber,
    /// The peer's, of this commitment.
    pub point: PublicKey,
    pub deltas: Vec<Delta>,
    /// One for each HTLC that we add, in the order of the deltas.
    pub tickets: Vec<Ticket>,
}

/// Our commitment `n`, as it comes from the one before, with the peer's signatures on it and, in output
/// order, on its HTLC transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextLocal {
    pub n: CommitmentNumber,
    pub deltas: Vec<Delta>,
    pub signature: Signature,
    pub htlc_signatures: Vec<Signature>,
}

/// Why an HTLC that we offer may leave (rule H1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ticket {
    /// An HTLC with the same hash came in on that channel and pays for it.
    Forward { channel: ChannelDbid, id: HtlcId },
    /// A payment to its hash was approved.
    Payment,
}

/// What a secret in the peer's channel_reestablish says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// It is ours, of a commitment that is revoked.
    Revoked,
    /// It is ours, of a commitment that is not revoked as far as this signer knows.
    Stale,
    /// It is not ours.
    Wrong,
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
    /// ValidateLocal: our secret of `n - 1` (none for n = 0), our point `n` and our point `n + 1`.
    ValidatedLocal {
        revoked_secret: Option<RevocationSecret>,
        point: PublicKey,
        next_point: PublicKey,
    },
    Point {
        point: PublicKey,
    },
    RevokedSecret {
        secret: RevocationSecret,
    },
    Proof {
        proof: Proof,
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
