//! Static channel backups, byte for byte as Core Lightning has them (common/scb_wire.csv): what is in
//! `emergency.recover` and with peers, once hsmd has opened it.
//!
//! A channel is there with what finds its peer and what takes the balance of ours in the peer's commitment.
//! Core Lightning's older form lacks the peer's basepoints, who opened and the delay. The peer's revocation
//! secrets are neither written nor read here: only hsmd has them.

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};
use tx::setup::{BackedUp, Basepoints, CommitmentFormat, Funding};
use wire::codec::{Reader, Wire, decode_tlvs, put_tlv};
use wire::{
    BlockDelta, ChannelDbid, ChannelId, CommitmentNumber, DecodeError, Feature, Features, HtlcId,
    MilliSatoshi, NetAddress, NodeId, Satoshi, ShortChannelId, Side,
};

use crate::action::Identity;
use crate::opening::channel_type;
use crate::state::{Balances, FeerateState, LastSent, Live, Phase, Tally};

/// Core Lightning's `static_chan_backup` and `static_chan_backup_with_tlvs`.
const OLDER: u16 = 6135;
const NEWER: u16 = 6137;
/// Ours, and which of its bits another's must have alike.
const VERSION: u64 = 1;
const MUST_MATCH: u64 = 0x5555_5555_5555_5555;

const TLV_BASEPOINTS: u64 = 3;
const TLV_OPENER: u64 = 5;
const TLV_DELAY: u64 = 7;

/// All channels at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticBackup {
    /// Seconds since the epoch: of two the later one is the newer.
    pub timestamp: u32,
    pub channels: Vec<ChannelBackup>,
    /// Core Lightning's older form.
    pub older: bool,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelBackup {
    /// The number that, with the peer's id, our keys follow from.
    pub dbid: ChannelDbid,
    pub channel_id: ChannelId,
    pub peer: NodeId,
    /// Where the peer was; port 0: nobody knows.
    pub address: NetAddress,
    pub terms: BackedUp,
}

/// Why bytes are no backup that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    #[error("it cannot be decoded: {0}")]
    Decode(#[from] DecodeError),
    #[error("message type {0} is no static channel backup")]
    Type(u16),
    #[error("it has version {0}, which this node does not know")]
    Version(u64),
    #[error("an address of a type that is not known")]
    Address,
    #[error("a channel type without option_static_remotekey: its keys are lost with the channel")]
    ChannelType,
    #[error("neither side opened it")]
    Opener,
}

impl StaticBackup {
    /// # Errors
    /// More than 65,535 channels, as [`DecodeError::MessageTooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, BackupError> {
        let mut to = Vec::new();
        NEWER.put(&mut to);
        VERSION.put(&mut to);
        self.timestamp.put(&mut to);
        let count = self.channels.len();
        let count = u16::try_from(count).map_err(|_| DecodeError::MessageTooLong(count))?;
        count.put(&mut to);
        for channel in &self.channels {
            channel.put(&mut to);
        }
        Ok(to)
    }

    /// What follows the last channel is not looked at.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<StaticBackup, BackupError> {
        let mut from = Reader::new(bytes);
        let older = match from.u16()? {
            NEWER => false,
            OLDER => true,
            other => return Err(BackupError::Type(other)),
        };
        let version = from.u64()?;
        if version & MUST_MATCH != VERSION & MUST_MATCH {
            return Err(BackupError::Version(version));
        }
        let timestamp = from.u32()?;
        let mut channels = Vec::new();
        for _ in 0..from.u16()? {
            channels.push(match older {
                true => ChannelBackup::take_older(&mut from)?,
                false => ChannelBackup::take(&mut from)?,
            });
        }
        Ok(StaticBackup {
            timestamp,
            channels,
            older,
        })
    }
}

impl ChannelBackup {
    /// How it goes on here: nothing is known of its commitments, and the chain decides. Core Lightning names
    /// such a channel 1x1x1.
    #[must_use]
    pub fn live(&self, identity: &Identity) -> Live {
        let nothing = Balances {
            to_local: MilliSatoshi::ZERO,
            to_remote: MilliSatoshi::ZERO,
        };
        let setup = self
            .terms
            .setup(identity.funding_pubkey, identity.basepoints);
        Live {
            dbid: self.dbid,
            peer: self.peer,
            channel_id: self.channel_id,
            feerate: FeerateState {
                current: setup.feerate,
                pending: Vec::new(),
            },
            setup,
            funding: self.terms.funding,
            announce: false,
            minimum_depth: 0,
            phase: Phase::Onchain,
            scid: ShortChannelId::new(1, 1, 1),
            local_alias: identity.alias,
            remote_alias: None,
            local_next: CommitmentNumber::ZERO,
            remote_next: CommitmentNumber::ZERO,
            awaiting_revocation: false,
            last_sent: LastSent::Revocation,
            remote_current_point: self.terms.basepoints.payment,
            remote_next_point: None,
            last_remote_secret: None,
            next_htlc_id: HtlcId(0),
            remote_next_htlc_id: HtlcId(0),
            local_view: nothing,
            remote_view: nothing,
            shutdown_script: identity.shutdown_script.clone(),
            fulfilled_out: Tally::default(),
            fulfilled_in: Tally::default(),
        }
    }

    /// What a channel's backup is, with where its peer was.
    #[must_use]
    pub fn of(live: &Live, address: NetAddress) -> ChannelBackup {
        let setup = &live.setup;
        ChannelBackup {
            dbid: live.dbid,
            channel_id: live.channel_id,
            peer: live.peer,
            address,
            terms: BackedUp {
                funding: live.funding,
                format: setup.format,
                opener: setup.opener,
                basepoints: setup.remote.basepoints,
                to_self_delay: setup.remote.to_self_delay,
            },
        }
    }

    /// Alone, as `staticbackup` and `recoverchannel` have it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        self.put(&mut to);
        to
    }

    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<ChannelBackup, BackupError> {
        ChannelBackup::take(&mut Reader::new(bytes))
    }

    fn put(&self, to: &mut Vec<u8>) {
        let terms = &self.terms;
        self.dbid.0.put(to);
        to.extend(self.channel_id.0);
        to.extend(self.peer.0.serialize());
        self.address.put(to);
        to.extend(terms.funding.outpoint.txid.to_byte_array());
        terms.funding.outpoint.vout.put(to);
        terms.funding.value.0.put(to);
        channel_type(terms.format).as_bytes().to_vec().put(to);
        let mut tlvs = Vec::new();
        put_tlv(TLV_BASEPOINTS, &mut tlvs, |to| {
            let Basepoints {
                revocation,
                payment,
                delayed_payment,
                htlc,
            } = terms.basepoints;
            for point in [revocation, payment, htlc, delayed_payment] {
                to.extend(point.serialize());
            }
        });
        let opener = match terms.opener {
            Side::Local => 0,
            Side::Remote => 1,
        };
        put_tlv(TLV_OPENER, &mut tlvs, |to| to.push(opener));
        put_tlv(TLV_DELAY, &mut tlvs, |to| terms.to_self_delay.0.put(to));
        u32::try_from(tlvs.len()).unwrap_or_default().put(to);
        to.extend(tlvs);
    }

    fn take(from: &mut Reader<'_>) -> Result<ChannelBackup, BackupError> {
        let mut channel = ChannelBackup::take_first(from, |_| Ok(()))?;
        let len = usize::try_from(from.u32()?).map_err(|_| DecodeError::UnexpectedEnd)?;
        let (terms, mut opener) = (&mut channel.terms, 0);
        decode_tlvs(from.bytes(len)?, |type_num, value| {
            match type_num {
                TLV_BASEPOINTS => {
                    let mut next = || Wire::take(value);
                    let (revocation, payment) = (next()?, next()?);
                    let (htlc, delayed_payment) = (next()?, next()?);
                    terms.basepoints = Basepoints {
                        revocation,
                        payment,
                        delayed_payment,
                        htlc,
                    };
                }
                TLV_OPENER => opener = value.u8()?,
                TLV_DELAY => terms.to_self_delay = BlockDelta(value.u16()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        terms.opener = match opener {
            0 => Side::Local,
            1 => Side::Remote,
            _ => return Err(BackupError::Opener),
        };
        Ok(channel)
    }

    fn take_older(from: &mut Reader<'_>) -> Result<ChannelBackup, BackupError> {
        // A byte that nobody uses.
        ChannelBackup::take_first(from, |from| from.u8().map(drop))
    }

    /// What both forms have. In the place of what one lacks is what it cannot be told from: who opened and
    /// the peer's basepoints say no more than whose commitment a transaction is.
    fn take_first(
        from: &mut Reader<'_>,
        after_id: impl FnOnce(&mut Reader<'_>) -> Result<(), DecodeError>,
    ) -> Result<ChannelBackup, BackupError> {
        let dbid = ChannelDbid(from.u64()?);
        let channel_id = ChannelId(*from.array()?);
        let peer = NodeId(Wire::take(from)?);
        after_id(from)?;
        let address = NetAddress::take_known(from)?.ok_or(BackupError::Address)?;
        let txid = Txid::from_byte_array(*from.array()?);
        let vout = from.u32()?;
        let funding = Funding {
            outpoint: OutPoint { txid, vout },
            value: Satoshi(from.u64()?),
        };
        let features = Features::from_bytes(from.bytes_u16()?);
        let format = match (
            features.has(Feature::Anchors),
            features.has(Feature::StaticRemotekey),
        ) {
            (true, _) => CommitmentFormat::AnchorsZeroFeeHtlc,
            (false, true) => CommitmentFormat::StaticRemotekey,
            (false, false) => return Err(BackupError::ChannelType),
        };
        Ok(ChannelBackup {
            dbid,
            channel_id,
            peer,
            address,
            terms: BackedUp {
                funding,
                format,
                opener: Side::Local,
                basepoints: Basepoints {
                    revocation: peer.0,
                    payment: peer.0,
                    delayed_payment: peer.0,
                    htlc: peer.0,
                },
                to_self_delay: BlockDelta::ZERO,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use secp256k1::{PublicKey, SECP256K1, SecretKey};

    use super::*;

    // Written by hand after Core Lightning's common/scb_wire.csv: one channel in each form, the newer one with
    // two revocation secrets of the peer's.
    const CLN_NEWER: &str = "17f900000000000000016553f1000001000000000000000733333333333333333333333333333333333333\
        333333333333333333333333330279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16\
        f81798017f0000014d86444444444444444444444444444444444444444444444444444444444444444400\
        00000100000000000f42400003401000000000eb015c0000fffffffffffe000000020000ffffffffffff55\
        555555555555555555555555555555555555555555555555555555555555550000fffffffffffe66666666\
        66666666666666666666666666666666666666666666666666666666038402c6047f9441ed7d6d3045406e\
        95c07cd85c778e4b8cef3ca7abac09b95c709ee502f9308a019258c31049344f85f89d5229b531c845836f\
        99b08601f113bce036f902e493dbf1c10d80f3581e4904930b1404cc6c13900ee0758474fa94abe8c4cd13\
        022f8bde4d1a07209355b4a7250a5c5128e88b84bddc619ab7cba8d569b240efe405010107020090";
    const CLN_OLDER: &str = "17f700000000000000015f5e10000001000000000000000733333333333333333333333333333333333333\
        333333333333333333333333330279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16\
        f8179800017f0000014d864444444444444444444444444444444444444444444444444444444444444444\
        0000000100000000000f424000021000";

    /// The generator times `n`.
    fn point(n: u8) -> PublicKey {
        let mut key = [0; 32];
        key[31] = n;
        SecretKey::from_slice(&key).unwrap().public_key(SECP256K1)
    }

    fn channel(dbid: u64) -> ChannelBackup {
        ChannelBackup {
            dbid: ChannelDbid(dbid),
            channel_id: ChannelId([0x33; 32]),
            peer: NodeId(point(1)),
            address: NetAddress::Ipv4 {
                addr: std::net::Ipv4Addr::LOCALHOST,
                port: 19846,
            },
            terms: BackedUp {
                funding: Funding {
                    outpoint: OutPoint {
                        txid: Txid::from_byte_array([0x44; 32]),
                        vout: 1,
                    },
                    value: Satoshi(1_000_000),
                },
                format: CommitmentFormat::AnchorsZeroFeeHtlc,
                opener: Side::Remote,
                basepoints: Basepoints {
                    revocation: point(2),
                    payment: point(3),
                    htlc: point(4),
                    delayed_payment: point(5),
                },
                to_self_delay: BlockDelta(144),
            },
        }
    }

    #[test]
    fn core_lightnings_backup_is_read() {
        let bytes = hex::decode(CLN_NEWER).unwrap();
        let read = StaticBackup::decode(&bytes).unwrap();
        assert_eq!((read.timestamp, read.older), (1_700_000_000, false));
        assert_eq!(read.channels, [channel(7)]);
        // What makes it longer says nothing.
        let padded = [&bytes[..], &[0; 100]].concat();
        assert_eq!(StaticBackup::decode(&padded).unwrap(), read);
    }

    #[test]
    fn core_lightnings_older_backup_is_read() {
        let read = StaticBackup::decode(&hex::decode(CLN_OLDER).unwrap()).unwrap();
        assert_eq!((read.timestamp, read.older), (1_600_000_000, true));
        let [older] = &read.channels[..] else {
            panic!("one channel")
        };
        let known = channel(7);
        assert_eq!((older.dbid, older.peer), (known.dbid, known.peer));
        assert_eq!(older.terms.funding, known.terms.funding);
        assert_eq!(older.terms.format, CommitmentFormat::StaticRemotekey);
    }

    #[test]
    fn a_backup_reads_back_as_written_and_as_core_lightning_would_write_it() {
        for count in [0, 1, 3] {
            let backup = StaticBackup {
                timestamp: 1_700_000_000,
                channels: (1..=count).map(channel).collect(),
                older: false,
            };
            let bytes = backup.encode().unwrap();
            assert_eq!(StaticBackup::decode(&bytes).unwrap(), backup);
        }
        let bytes = channel(7).encode();
        assert_eq!(ChannelBackup::decode(&bytes).unwrap(), channel(7));
        // But for the secrets, which are not written here, and the lengths that count them.
        let theirs = hex::decode(CLN_NEWER).unwrap();
        let written = StaticBackup {
            timestamp: 1_700_000_000,
            channels: vec![channel(7)],
            older: false,
        };
        let written = written.encode().unwrap();
        let tail = 2 + 132 + 3 + 4;
        let same = written.len() - tail - 4;
        assert_eq!(written[..same], theirs[..same]);
        assert_eq!(
            written[written.len() - tail..],
            theirs[theirs.len() - tail..]
        );
    }

    #[test]
    fn what_is_cut_or_strange_is_refused() {
        for bytes in [CLN_NEWER, CLN_OLDER].map(|hex| hex::decode(hex).unwrap()) {
            for len in 0..bytes.len() {
                assert!(StaticBackup::decode(&bytes[..len]).is_err(), "{len}");
            }
        }
        let bytes = hex::decode(CLN_OLDER).unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            StaticBackup::decode(&bytes).unwrap_err()
        };
        assert_eq!(with(1, 1), BackupError::Type(0x1701));
        assert_eq!(with(9, 4), BackupError::Version(4));
        assert_eq!(with(16 + 8 + 32 + 33 + 1, 9), BackupError::Address);
        assert_eq!(with(bytes.len() - 2, 0), BackupError::ChannelType);
    }
}
