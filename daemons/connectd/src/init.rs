//! The first message each way (BOLT 1, The `init` Message).

use std::net::{IpAddr, SocketAddr};

use wire::features::Features;
use wire::{Body, ChainHash, Init, Message, NetAddress};

/// What the peer's init must fit.
#[derive(Clone, Debug)]
pub struct Ours {
    pub features: Features,
    pub chain_hash: ChainHash,
}

/// Why we part. The peer is told so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the first message is of type {0}, not init")]
    NotInit(u16),
    #[error("the first message has no type")]
    Empty,
    #[error("init cannot be decoded: {0}")]
    Decode(wire::DecodeError),
    #[error("feature bit {0} is required, which we do not know")]
    UnknownRequired(u32),
    #[error("feature {feature} needs {needs}, which is not set")]
    Dependency {
        feature: &'static str,
        needs: &'static str,
    },
    #[error("no common chain")]
    Chain,
}

/// Our init. `observed`: the peer's address, if it connected to us.
#[must_use]
pub fn ours(ours: &Ours, observed: Option<SocketAddr>) -> Vec<u8> {
    Init {
        globalfeatures: Features::new(),
        features: ours.features.clone(),
        networks: Some(vec![ours.chain_hash]),
        // BOLT 1, init, sender: the address that we see an incoming connection come from, unless
        // it is a private one.
        remote_addr: observed
            .filter(|address| is_public(address.ip()))
            .map(descriptor),
    }
    .to_bytes()
}

/// The features of the peer whose first message this is.
///
/// # Errors
/// We cannot go on with it.
pub fn check(ours: &Ours, first: &[u8]) -> Result<Features, Unfit> {
    let (type_num, _) = wire::peek(first).ok_or(Unfit::Empty)?;
    if type_num != Init::TYPE {
        return Err(Unfit::NotInit(type_num));
    }
    let init = match Message::decode(first) {
        Ok(Message::Init(init)) => init,
        Ok(_) => return Err(Unfit::NotInit(type_num)),
        Err(error) => return Err(Unfit::Decode(error)),
    };
    // BOLT 1, init, receiver: both bitmaps are one.
    let features = init.globalfeatures.union(&init.features);
    // BOLT 1, init, receiver: an unknown even bit closes the connection.
    if let Some(bit) = features.unknown_required(&ours.features) {
        return Err(Unfit::UnknownRequired(bit));
    }
    // BOLT 1, init, receiver: so does a feature without those it needs.
    if let Some((feature, needs)) = features.missing_dependency() {
        return Err(Unfit::Dependency {
            feature: feature.name(),
            needs: needs.name(),
        });
    }
    // BOLT 1, init, receiver: with networks given and none in common there is nothing to say.
    if init
        .networks
        .is_some_and(|networks| !networks.contains(&ours.chain_hash))
    {
        return Err(Unfit::Chain);
    }
    Ok(features)
}

fn descriptor(address: SocketAddr) -> Vec<u8> {
    let port = address.port();
    let address = match address.ip().to_canonical() {
        IpAddr::V4(addr) => NetAddress::Ipv4 { addr, port },
        IpAddr::V6(addr) => NetAddress::Ipv6 { addr, port },
    };
    let mut bytes = Vec::new();
    address.put(&mut bytes);
    bytes
}

fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::features::Feature;

    use super::*;

    const CHAIN: ChainHash = ChainHash([6; 32]);

    fn us() -> Ours {
        Ours {
            features: Features::of(&[Feature::StaticRemotekey], &[Feature::Anchors]),
            chain_hash: CHAIN,
        }
    }

    fn init(global: &[u32], features: &[u32], networks: Option<Vec<ChainHash>>) -> Vec<u8> {
        let of = |bits: &[u32]| bits.iter().copied().collect();
        Init {
            globalfeatures: of(global),
            features: of(features),
            networks,
            remote_addr: None,
        }
        .to_bytes()
    }

    #[test]
    fn a_peer_that_can_be_talked_to_is_and_its_bitmaps_are_one() {
        for networks in [
            None,
            Some(vec![CHAIN]),
            Some(vec![ChainHash([7; 32]), CHAIN]),
        ] {
            let features = check(&us(), &init(&[13], &[22, 151], networks)).unwrap();
            assert_eq!(features.bits().collect::<Vec<_>>(), [13, 22, 151]);
        }
        check(&us(), &ours(&us(), None)).unwrap();
    }

    #[test]
    fn a_peer_that_cannot_be_talked_to_is_told_why() {
        let cases = [
            (vec![], Unfit::Empty),
            (vec![0], Unfit::Empty),
            (vec![0, 18, 0, 0, 0, 0], Unfit::NotInit(18)),
            (init(&[], &[150], None), Unfit::UnknownRequired(150)),
            (init(&[8], &[], None), Unfit::UnknownRequired(8)),
            (init(&[], &[], Some(vec![ChainHash([7; 32])])), Unfit::Chain),
            (init(&[], &[], Some(vec![])), Unfit::Chain),
            (
                init(&[], &[51], None),
                Unfit::Dependency {
                    feature: "option_zeroconf",
                    needs: "option_scid_alias",
                },
            ),
        ];
        for (first, why) in cases {
            assert_eq!(check(&us(), &first), Err(why));
        }
        assert!(matches!(check(&us(), &[0, 16, 0]), Err(Unfit::Decode(_))));
    }

    #[test]
    fn only_a_public_address_is_told_back() {
        let told = |address: &str| {
            let bytes = ours(&us(), Some(address.parse().unwrap()));
            let Ok(Message::Init(init)) = Message::decode(&bytes) else {
                panic!("no init")
            };
            assert_eq!(init.networks, Some(vec![CHAIN]));
            init.remote_addr
                .map(|bytes| NetAddress::parse(&bytes).unwrap())
        };
        for private in [
            "127.0.0.1:1",
            "10.0.0.1:1",
            "192.168.1.1:1",
            "100.64.0.1:1",
            "[::1]:1",
            "[fe80::1]:1",
            "[fd00::1]:1",
            "[::ffff:10.0.0.1]:1",
        ] {
            assert_eq!(told(private), None, "{private}");
        }
        let addr = "8.8.8.8".parse().unwrap();
        assert_eq!(
            told("8.8.8.8:9735"),
            Some(NetAddress::Ipv4 { addr, port: 9735 })
        );
        assert_eq!(
            told("[::ffff:8.8.8.8]:9"),
            Some(NetAddress::Ipv4 { addr, port: 9 })
        );
        let addr = "2600::1".parse().unwrap();
        assert_eq!(
            told("[2600::1]:9735"),
            Some(NetAddress::Ipv6 { addr, port: 9735 })
        );
    }
}
