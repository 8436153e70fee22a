//! One type for each kind of number or identifier that peers, the chain or clients name.
//!
//! There is no arithmetic operator on any of them: peers choose the numbers, so every
//! sum is checked and says what it does on overflow.

use std::fmt;
use std::str::FromStr;

use bitcoin::hex::FromHex;
use serde::{Deserialize, Serialize};

/// Largest number of satoshi that can exist.
pub const MAX_SATOSHI: u64 = 21_000_000 * 100_000_000;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl $name {
            pub const ZERO: $name = $name(0);

            #[must_use]
            pub fn checked_add(self, other: $name) -> Option<$name> {
                self.0.checked_add(other.0).map($name)
            }

            #[must_use]
            pub fn checked_sub(self, other: $name) -> Option<$name> {
                self.0.checked_sub(other.0).map($name)
            }

            #[must_use]
            pub fn saturating_add(self, other: $name) -> $name {
                $name(self.0.saturating_add(other.0))
            }

            #[must_use]
            pub fn saturating_sub(self, other: $name) -> $name {
                $name(self.0.saturating_sub(other.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number!(
    /// Thousandths of a satoshi.
    MilliSatoshi(u64)
);
number!(
    /// Whole satoshi.
    Satoshi(u64)
);
number!(
    /// Satoshi per 1000 weight units (BOLT 2, `feerate_per_kw`).
    FeeratePerKw(u32)
);
number!(
    /// Height of a block; genesis is 0.
    BlockHeight(u32)
);
number!(
    /// Absolute block height at which an HTLC times out (BOLT 2, `cltv_expiry`).
    CltvExpiry(u32)
);
number!(
    /// Number of blocks, for relative delays (CSV, cltv deltas).
    BlockDelta(u16)
);
number!(
    /// Number of a commitment transaction, counting up from 0 (BOLT 3 counts its index down from 2^48-1).
    CommitmentNumber(u64)
);
number!(
    /// hsmd's number of a channel, from 1, never reused (CLN's `dbid`); part of the channel's key derivation.
    ChannelDbid(u64)
);
number!(
    /// The offerer's counter of HTLCs on one channel (BOLT 2, `id`).
    HtlcId(u64)
);

macro_rules! display_with_suffix {
    ($($name:ident $suffix:literal),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{}", $suffix), self.0)
            }
        }
    )*};
}
display_with_suffix!(
    MilliSatoshi "msat", Satoshi "sat", FeeratePerKw "perkw", BlockHeight "", CltvExpiry "",
    BlockDelta "", CommitmentNumber "", HtlcId "", ChannelDbid ""
);

impl MilliSatoshi {
    /// The whole satoshi in it, rounded down.
    #[must_use]
    pub fn to_sat_floor(self) -> Satoshi {
        Satoshi(self.0 / 1000)
    }
}

/// A change of a balance in whole satoshi; negative takes out (BOLT 2, splice and RBF contributions).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, Debug,
)]
pub struct SignedSatoshi(pub i64);

impl SignedSatoshi {
    /// `amount` changed by this; `None` below zero and above 2^64-1.
    #[must_use]
    pub fn applied_to(self, amount: Satoshi) -> Option<Satoshi> {
        amount.0.checked_add_signed(self.0).map(Satoshi)
    }
}

impl Satoshi {
    /// `None` above 2^64 msat.
    #[must_use]
    pub fn to_msat(self) -> Option<MilliSatoshi> {
        self.0.checked_mul(1000).map(MilliSatoshi)
    }
}

impl FeeratePerKw {
    /// Lowest feerate that bitcoind relays (1 sat/vbyte, rounded up; BOLT 3 uses 253).
    pub const FLOOR: FeeratePerKw = FeeratePerKw(253);

    /// Fee for `weight`, rounded down (BOLT 3, Fee Calculation). Saturates.
    #[must_use]
    pub fn fee(self, weight: u64) -> Satoshi {
        Satoshi(weight.saturating_mul(u64::from(self.0)) / 1000)
    }
}

impl CommitmentNumber {
    /// The next commitment; `None` past 2^48-1, where BOLT 3 ends the count.
    #[must_use]
    pub fn next(self) -> Option<CommitmentNumber> {
        (self.0 < (1 << 48) - 1).then_some(CommitmentNumber(self.0 + 1))
    }

    /// The one before; `None` at 0.
    #[must_use]
    pub fn prev(self) -> Option<CommitmentNumber> {
        self.0.checked_sub(1).map(CommitmentNumber)
    }
}

impl BlockHeight {
    #[must_use]
    pub fn plus(self, delta: u32) -> CltvExpiry {
        CltvExpiry(self.0.saturating_add(delta))
    }

    /// The block so many after this one.
    #[must_use]
    pub fn after(self, blocks: u32) -> BlockHeight {
        BlockHeight(self.0.saturating_add(blocks))
    }

    /// The block so many before this one; the first, if there are not so many.
    #[must_use]
    pub fn before(self, blocks: u32) -> BlockHeight {
        BlockHeight(self.0.saturating_sub(blocks))
    }

    /// How many blocks there are from after `earlier` up to this one; 0 if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: BlockHeight) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// Confirmations, at this tip, of what is in the block `of`; 0 above the tip.
    #[must_use]
    pub fn depth(self, of: BlockHeight) -> u32 {
        self.after(1).since(of)
    }
}

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseUnitError;

            fn from_str(s: &str) -> Result<Self, ParseUnitError> {
                hex32(s).map($name).ok_or(ParseUnitError(stringify!($name)))
            }
        }
    };
}

bytes32!(
    /// BOLT 2, Definition of `channel_id`; also the temporary one.
    ChannelId
);
bytes32!(
    /// SHA-256 of the payment preimage.
    PaymentHash
);
bytes32!(
    /// BOLT 11 and BOLT 4 `payment_secret`.
    PaymentSecret
);
bytes32!(
    /// Genesis block hash that names a chain, in wire order (BOLT 0).
    ChainHash
);

impl ChannelId {
    /// BOLT 1: all zero means "every channel with this peer".
    pub const ALL: ChannelId = ChannelId([0; 32]);

    /// BOLT 2: the funding txid with the output index xored into its last two bytes.
    #[must_use]
    pub fn v1(outpoint: &bitcoin::OutPoint) -> ChannelId {
        use bitcoin::hashes::Hash;
        let mut id = outpoint.txid.to_byte_array();
        let [.., a, b] = &mut id;
        let [hi, lo] = (outpoint.vout as u16).to_be_bytes();
        *a ^= hi;
        *b ^= lo;
        ChannelId(id)
    }

    /// BOLT 2, `channel_id` v2: the hash of both revocation basepoints, the lesser first.
    #[must_use]
    pub fn v2(one: &secp256k1::PublicKey, other: &secp256k1::PublicKey) -> ChannelId {
        let [one, other] = [one.serialize(), other.serialize()];
        ChannelId::of_basepoints(&one.min(other), &one.max(other))
    }

    /// BOLT 2, `open_channel2`: the temporary id, where the accepter's basepoint is still zero.
    #[must_use]
    pub fn v2_temporary(opener: &secp256k1::PublicKey) -> ChannelId {
        ChannelId::of_basepoints(&[0; 33], &opener.serialize())
    }

    fn of_basepoints(lesser: &[u8; 33], greater: &[u8; 33]) -> ChannelId {
        use bitcoin::hashes::{Hash, HashEngine, sha256};
        let mut engine = sha256::HashEngine::default();
        engine.input(lesser);
        engine.input(greater);
        ChannelId(sha256::Hash::from_engine(engine).to_byte_array())
    }
}

/// Preimage of a payment hash. Prints as its length only: whoever knows it can claim the HTLC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Preimage(pub [u8; 32]);

impl Preimage {
    #[must_use]
    pub fn payment_hash(&self) -> PaymentHash {
        use bitcoin::hashes::{Hash, sha256};
        PaymentHash(sha256::Hash::hash(&self.0).to_byte_array())
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preimage(32 bytes)")
    }
}

/// Secret of a per-commitment point (BOLT 3, Per-commitment Secret Requirements); all zero in
/// `channel_reestablish` where there is none yet. Prints as its length only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PerCommitmentSecret(pub [u8; 32]);

impl fmt::Debug for PerCommitmentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerCommitmentSecret(32 bytes)")
    }
}

/// A node's public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub secp256k1::PublicKey);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = ParseUnitError;

    fn from_str(s: &str) -> Result<Self, ParseUnitError> {
        s.parse().map(NodeId).map_err(|_| ParseUnitError("node id"))
    }
}

/// Block height, transaction index and output index of a funding output (BOLT 7, Definition of `short_channel_id`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShortChannelId(pub u64);

impl ShortChannelId {
    /// `None` where a part exceeds its 24, 24 or 16 bits.
    #[must_use]
    pub fn new(block: u32, tx: u32, output: u32) -> Option<ShortChannelId> {
        (block < 1 << 24 && tx < 1 << 24 && output < 1 << 16).then(|| {
            ShortChannelId(u64::from(block) << 40 | u64::from(tx) << 16 | u64::from(output))
        })
    }

    #[must_use]
    pub fn block(self) -> BlockHeight {
        BlockHeight((self.0 >> 40) as u32)
    }

    #[must_use]
    pub fn tx_index(self) -> u32 {
        (self.0 >> 16) as u32 & 0xff_ffff
    }

    #[must_use]
    pub fn output_index(self) -> u16 {
        self.0 as u16
    }
}

impl fmt::Display for ShortChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}x{}x{}",
            self.block(),
            self.tx_index(),
            self.output_index()
        )
    }
}

impl fmt::Debug for ShortChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ShortChannelId {
    type Err = ParseUnitError;

    fn from_str(s: &str) -> Result<Self, ParseUnitError> {
        let wrong = || ParseUnitError("short_channel_id");
        let mut parts = s
            .splitn(3, 'x')
            .map(|p| p.parse::<u32>().map_err(|_| wrong()));
        let mut part = || parts.next().unwrap_or_else(|| Err(wrong()));
        ShortChannelId::new(part()?, part()?, part()?).ok_or_else(wrong)
    }
}

/// One of the two ends of a channel, seen from our node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    Local,
    Remote,
}

impl Side {
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Local => Side::Remote,
            Side::Remote => Side::Local,
        }
    }
}

/// Text that is not the unit it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct ParseUnitError(pub(crate) &'static str);

fn hex32(s: &str) -> Option<[u8; 32]> {
    FromHex::from_hex(s).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_channel_id_prints_and_parses_its_three_parts() {
        let scid: ShortChannelId = "539268x845x1".parse().unwrap();
        assert_eq!(
            (scid.block(), scid.tx_index(), scid.output_index()),
            (BlockHeight(539268), 845, 1)
        );
        assert_eq!(scid.to_string(), "539268x845x1");
        assert!("539268x845".parse::<ShortChannelId>().is_err());
        assert!("16777216x0x0".parse::<ShortChannelId>().is_err());
    }

    #[test]
    fn commitment_number_ends_at_48_bits() {
        assert_eq!(CommitmentNumber((1 << 48) - 1).next(), None);
        assert_eq!(CommitmentNumber::ZERO.prev(), None);
    }

    #[test]
    fn fee_rounds_down() {
        assert_eq!(FeeratePerKw(253).fee(1), Satoshi(0));
        assert_eq!(FeeratePerKw(1000).fee(724), Satoshi(724));
    }

    #[test]
    fn a_v1_channel_id_is_the_txid_with_the_index_in_its_last_bytes() {
        use bitcoin::hashes::Hash;
        let mut txid = [0x11; 32];
        let outpoint = bitcoin::OutPoint {
            txid: bitcoin::Txid::from_byte_array(txid),
            vout: 0x0203,
        };
        (txid[30], txid[31]) = (0x13, 0x12);
        assert_eq!(ChannelId::v1(&outpoint), ChannelId(txid));
    }

    #[test]
    fn a_v2_channel_id_does_not_depend_on_who_asks() {
        let point = |n: u8| {
            let key = secp256k1::SecretKey::from_slice(&[n; 32]).unwrap();
            key.public_key(secp256k1::SECP256K1)
        };
        let id = ChannelId::v2(&point(1), &point(2));
        assert_eq!(id, ChannelId::v2(&point(2), &point(1)));
        assert_ne!(id, ChannelId::v2(&point(1), &point(3)));
        assert_ne!(
            ChannelId::v2_temporary(&point(1)),
            ChannelId::v2_temporary(&point(2))
        );
    }

    #[test]
    fn a_signed_change_never_goes_below_zero() {
        assert_eq!(SignedSatoshi(-5).applied_to(Satoshi(5)), Some(Satoshi(0)));
        assert_eq!(SignedSatoshi(-6).applied_to(Satoshi(5)), None);
        assert_eq!(SignedSatoshi(1).applied_to(Satoshi(u64::MAX)), None);
    }

    #[test]
    fn a_preimage_never_prints() {
        assert!(!format!("{:?}", Preimage([0xab; 32])).contains("ab"));
    }
}
