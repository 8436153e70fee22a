//! Static backups: from a file, from peers, and one channel's from whoever calls recoverchannel.

use channel::backup::{ChannelBackup, StaticBackup};
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tx::setup::{BackedUp, Basepoints, CommitmentFormat, Funding};
use wire::{BlockDelta, ChannelDbid, ChannelId, NetAddress, NodeId, Satoshi, Side};

use crate::Target;

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("backup_static", all, 4096, all_seeds),
        Target::new("backup_channel", one, 1024, one_seeds),
    ]
}

fn all(data: &[u8]) {
    let Ok(read) = StaticBackup::decode(data) else {
        return;
    };
    let written = read.encode().expect("no more channels than were read");
    let again = StaticBackup::decode(&written).expect("what was written");
    // There is one form to write.
    let older = read.older;
    assert!(!again.older);
    assert_eq!(StaticBackup { older, ..again }, read);
}

fn one(data: &[u8]) {
    if let Ok(read) = ChannelBackup::decode(data) {
        assert_eq!(ChannelBackup::decode(&read.encode()), Ok(read));
    }
}

fn all_seeds() -> Vec<Vec<u8>> {
    [vec![], vec![channel(1)], vec![channel(2), channel(3)]]
        .map(|channels| {
            let backup = StaticBackup {
                timestamp: 1_800_000_000,
                channels,
                older: false,
            };
            backup.encode().expect("few channels")
        })
        .to_vec()
}

fn one_seeds() -> Vec<Vec<u8>> {
    (1..3).map(|n| channel(n).encode()).collect()
}

fn channel(n: u8) -> ChannelBackup {
    let key = SecretKey::from_slice(&[n; 32]).expect("a key");
    let point = PublicKey::from_secret_key(SECP256K1, &key);
    let txid = bitcoin::hashes::Hash::from_byte_array([n; 32]);
    let formats = [
        CommitmentFormat::StaticRemotekey,
        CommitmentFormat::AnchorsZeroFeeHtlc,
    ];
    ChannelBackup {
        dbid: ChannelDbid(n.into()),
        channel_id: ChannelId([n; 32]),
        peer: NodeId(point),
        address: NetAddress::Ipv4 {
            addr: [127, 0, 0, n].into(),
            port: 9735,
        },
        terms: BackedUp {
            funding: Funding {
                outpoint: bitcoin::OutPoint { txid, vout: 1 },
                value: Satoshi(1_000_000),
            },
            format: formats[usize::from(n % 2)],
            opener: [Side::Local, Side::Remote][usize::from(n / 2 % 2)],
            basepoints: Basepoints {
                revocation: point,
                payment: point,
                delayed_payment: point,
                htlc: point,
            },
            to_self_delay: BlockDelta(144),
        },
    }
}
