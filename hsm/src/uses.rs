//! D2: what each kind of private key is used for. The list is closed: a key gives itself for a use that
//! stands here beside its kind, and for no other, or it does not compile. A use belongs to one kind.
//!
//! Secrets that are no private keys sign nothing, since they are of another type
//! ([`crate::secret::Secret`]): the seed of revocation secrets, the secret of preimages, that of users'
//! secrets, and the journal's, of which HKDF and HMAC derive the rest with the labels of `label.rs`.

/// Use `D` is one of key `Self`'s.
pub(crate) trait May<D> {}

macro_rules! keys {
    ($($(#[$doc:meta])* $kind:ident { $($of:ident: $signs:literal;)* })*) => {
        $($(#[$doc])* pub(crate) struct $kind;
        $(
            #[doc = $signs]
            #[derive(Clone, Copy)]
            pub(crate) struct $of;
            impl May<$of> for $kind {}
        )*)*

        /// All kinds, and what each use hashes or derives.
        pub const USES: &[(&str, &[(&str, &str)])] = &[
            $((stringify!($kind), &[$((stringify!($of), $signs)),*]),)*
        ];
    };
}

keys! {
    /// The node's identity.
    Node {
        NodeMessage: "ECDSA on SHA-256 of a BOLT 11 invoice, from \"ln\" on; on SHA-256 twice of a channel_update, from a chain's hash on; on SHA-256 twice of \"Lightning Signed Message:\" and a text";
        Ecdh: "SHA-256 of the product with another's point: handshakes and onions";
    }
    /// One half of a channel's funding output.
    Funding {
        SignCommitment: "ECDSA on the BIP 143 hash of a commitment transaction: its input's sequence begins with 0x80";
        SignClose: "ECDSA on the BIP 143 hash of a mutual close: its input's sequence begins with 0xff";
        SignAnchor: "ECDSA on the BIP 143 hash of the child of an anchor: that of the anchor's script";
    }
    /// htlc_basepoint's.
    HtlcBase {
        DeriveHtlcKey: "the sum with a hash of a commitment's point: that commitment's HTLC key";
    }
    /// Of one commitment.
    Htlc {
        SignHtlc: "ECDSA on the BIP 143 hash of the peer's HTLC transactions";
        SignHtlcClaim: "ECDSA on the BIP 143 hash of our own HTLC transactions and of what takes an HTLC of the peer's commitment: to the wallet, with the other key's script";
    }
    /// payment_basepoint's: our balance in a commitment of the peer.
    Payment {
        SignToRemote: "ECDSA on the BIP 143 hash of what takes to_remote: that output's script";
        ToOwner: "none here: the owner's tool gives it to its owner, while no node runs";
    }
    /// delayed_payment_basepoint's.
    DelayedPayment {
        DeriveDelayedKey: "the sum with a hash of a commitment's point: that commitment's delayed key";
    }
    /// Of one commitment of ours.
    Delayed {
        SignDelayed: "ECDSA on the BIP 143 hash of what takes our delayed outputs: their script";
    }
    /// revocation_basepoint's.
    Revocation {
        DerivePenaltyKey: "the sum of both sides' blinded secrets: the key of one revoked commitment";
    }
    /// Of one commitment that the peer has revoked.
    Penalty {
        SignPenalty: "ECDSA on the BIP 143 hash of what takes the outputs of a revoked commitment: their scripts";
    }
    /// The parent of the wallet's addresses.
    WalletBase {
        DeriveChild: "BIP 32: the keys of the addresses";
    }
    /// Of one address.
    WalletChild {
        SpendP2wpkh: "ECDSA on the BIP 143 hash of a transaction that spends a coin at the address";
        SpendP2tr: "Schnorr on BIP 341's tagged hash, with the key that BIP 86 tweaks";
    }
}
