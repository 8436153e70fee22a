//! Address descriptors (BOLT 7, The `node_announcement` Message).

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, Reader, Wire};

/// Where a node can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NetAddress {
    Ipv4 {
        addr: Ipv4Addr,
        port: u16,
    },
    Ipv6 {
        addr: Ipv6Addr,
        port: u16,
    },
    /// Deprecated; to be ignored.
    TorV2([u8; 12]),
    /// Public key, checksum and version byte.
    TorV3 {
        #[serde(with = "serde_bytes")]
        onion_addr: [u8; 35],
        port: u16,
    },
    /// ASCII is for the reader to check.
    Dns {
        #[serde(with = "serde_bytes")]
        hostname: Vec<u8>,
        port: u16,
    },
}

impl NetAddress {
    /// Reads the next descriptor; `None`, and nothing is consumed, at the end and at a type that
    /// BOLT 7 does not define: what follows it cannot be read.
    ///
    /// # Errors
    /// `UnexpectedEnd` inside a descriptor of a known type.
    pub fn take_known(from: &mut Reader<'_>) -> Result<Option<NetAddress>, DecodeError> {
        let mut ahead = from.clone();
        let Ok(kind) = ahead.u8() else {
            return Ok(None);
        };
        let address = match kind {
            1 => NetAddress::Ipv4 {
                addr: Ipv4Addr::from(*ahead.array()?),
                port: ahead.u16()?,
            },
            2 => NetAddress::Ipv6 {
                addr: Ipv6Addr::from(*ahead.array()?),
                port: ahead.u16()?,
            },
            3 => NetAddress::TorV2(*ahead.array()?),
            4 => NetAddress::TorV3 {
                onion_addr: *ahead.array()?,
                port: ahead.u16()?,
            },
            5 => {
                let len = ahead.u8()?;
                NetAddress::Dns {
                    hostname: ahead.bytes(len.into())?.to_vec(),
                    port: ahead.u16()?,
                }
            }
            _ => return Ok(None),
        };
        *from = ahead;
        Ok(Some(address))
    }

    /// The one descriptor in `bytes`, as `init` carries it in `remote_addr`; `None` if that is
    /// not what it is.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<NetAddress> {
        let mut from = Reader::new(bytes);
        let address = NetAddress::take_known(&mut from).ok()??;
        from.is_empty().then_some(address)
    }

    /// Appends the descriptor. A host name is cut at 255 bytes, its longest.
    pub fn put(&self, to: &mut Vec<u8>) {
        match self {
            NetAddress::Ipv4 { addr, port } => {
                to.push(1);
                to.extend(addr.octets());
                port.put(to);
            }
            NetAddress::Ipv6 { addr, port } => {
                to.push(2);
                to.extend(addr.octets());
                port.put(to);
            }
            NetAddress::TorV2(bytes) => {
                to.push(3);
                to.extend(bytes);
            }
            NetAddress::TorV3 { onion_addr, port } => {
                to.push(4);
                to.extend(onion_addr);
                port.put(to);
            }
            NetAddress::Dns { hostname, port } => {
                to.push(5);
                let len = u8::try_from(hostname.len()).unwrap_or(u8::MAX);
                to.push(len);
                to.extend(hostname.iter().take(len.into()));
                port.put(to);
            }
        }
    }

    /// Number of the descriptor's type, by which announcements are ordered.
    #[must_use]
    pub fn type_num(&self) -> u8 {
        match self {
            NetAddress::Ipv4 { .. } => 1,
            NetAddress::Ipv6 { .. } => 2,
            NetAddress::TorV2(_) => 3,
            NetAddress::TorV3 { .. } => 4,
            NetAddress::Dns { .. } => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_type_reads_back_as_written() {
        let addresses = [
            NetAddress::Ipv4 {
                addr: Ipv4Addr::new(127, 0, 0, 1),
                port: 9735,
            },
            NetAddress::Ipv6 {
                addr: Ipv6Addr::LOCALHOST,
                port: 9736,
            },
            NetAddress::TorV2([3; 12]),
            NetAddress::TorV3 {
                onion_addr: [4; 35],
                port: 9737,
            },
            NetAddress::Dns {
                hostname: b"example.org".to_vec(),
                port: 9738,
            },
        ];
        let mut bytes = vec![];
        addresses.iter().for_each(|a| a.put(&mut bytes));
        let mut from = Reader::new(&bytes);
        for address in &addresses {
            assert_eq!(
                NetAddress::take_known(&mut from).unwrap().as_ref(),
                Some(address)
            );
        }
        assert_eq!(NetAddress::take_known(&mut from), Ok(None));
    }

    #[test]
    fn an_unknown_address_type_is_where_reading_stops() {
        let mut from = Reader::new(&[9, 1, 2]);
        assert_eq!(NetAddress::take_known(&mut from), Ok(None));
        assert_eq!(from.remaining(), 3);
    }

    #[test]
    fn a_known_address_that_is_cut_off_is_an_error() {
        assert_eq!(
            NetAddress::take_known(&mut Reader::new(&[1, 127, 0])),
            Err(DecodeError::UnexpectedEnd)
        );
        assert_eq!(NetAddress::parse(&[1, 127, 0, 0, 1, 38, 7, 0]), None);
    }
}
