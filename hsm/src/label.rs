//! R2: every secret of this node's, by the label that HKDF derives it with.
//!
//! One enum, so that no label comes from anywhere else, least of all from a message. What a user
//! asks for by a label of its own (`makesecret`) lies below [`Label::DerivedSecrets`], from which
//! nothing of the node's is derived but the key of static backups, which Core Lightning has there.

/// HKDF's `info`. Core Lightning's where it has that secret too (hsmd/libhsmd.c,
/// common/derive_basepoints.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label<'a> {
    /// From the seed: the node key.
    NodeId,
    /// From the seed: what all channels' seeds are derived from.
    PeerSeed,
    /// From that, salted with peer and channel number: a channel's seed.
    PerPeerSeed,
    /// From that: the channel's keys and the seed of its per-commitment secrets.
    ChannelKeys,
    /// From the seed: the wallet's master key.
    Bip32Seed,
    /// From the seed: what authenticates the journal.
    Journal,
    /// From the seed: what the preimages of our invoices are derived from.
    Preimages,
    /// From that, salted with its number: a preimage.
    Preimage,
    /// From the seed: what users' secrets are derived from.
    DerivedSecrets,
    /// From that: what seals static backups. Core Lightning's users have it by this label too.
    StaticBackup,
    /// From that alone: a user's secret, by whatever label.
    User(&'a [u8]),
}

impl<'a> Label<'a> {
    pub(crate) fn info(self) -> &'a [u8] {
        match self {
            Label::NodeId => b"nodeid",
            Label::PeerSeed => b"peer seed",
            Label::PerPeerSeed => b"per-peer seed",
            Label::ChannelKeys => b"c-lightning",
            Label::Bip32Seed => b"bip32 seed",
            Label::Journal => b"bulkhead hsm-journal",
            Label::Preimages => b"bulkhead preimages",
            Label::Preimage => b"bulkhead preimage",
            Label::DerivedSecrets => b"derived secrets",
            Label::StaticBackup => b"scb secret",
            Label::User(info) => info,
        }
    }
}
