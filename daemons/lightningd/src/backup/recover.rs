//! Channels that are left of a lost database and journal: hsmd takes them as stale, the database as lost,
//! their peers are dialled, and the chain is searched for what has spent them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use channel::backup::{ChannelBackup, StaticBackup};
use lightningd_db::{Batch, DbError};
use wire::{NetAddress, NodeId};

use super::{Backup, BackupFailure, Brought, Recovered, Source, is_known};
use crate::channels;
use crate::node::Node;
use crate::store::channels::{self as records, ChannelRecord, Facts};
use crate::store::now;
use crate::store::peers::Peer;

impl Backup {
    pub(super) async fn recover(&mut self, source: Source) -> Result<Recovered, BackupFailure> {
        let channels = match source {
            Source::File => self.file().await?.1.channels,
            Source::Given(channels) => channels,
            Source::Peers => match self.newest.clone() {
                Some(StaticBackup { channels, .. }) => channels,
                None => return Ok(None),
            },
        };
        let mut brought = Brought::default();
        for channel in channels {
            let (dbid, id) = (channel.dbid, channel.channel_id);
            if is_known(&self.node.db, &channel)? {
                tracing::info!("channel {id} already exists");
                continue;
            }
            match self.recover_one(channel).await {
                Ok(()) => brought.stubs.push(id),
                Err(error) => {
                    let why = format!("channel {id}, number {dbid}, is not recovered: {error:#}");
                    tracing::error!("{why}");
                    brought.failed.push(why);
                }
            }
        }
        self.update().await;
        Ok(Some(brought))
    }

    /// hsmd first: a channel that only it knows is forgotten at the next start, and recovered again.
    async fn recover_one(&self, channel: ChannelBackup) -> anyhow::Result<()> {
        let node = &self.node;
        let terms = channel.terms.clone();
        let new = (node.hsm)
            .recover_channel(channel.dbid, channel.peer, terms)
            .await?;
        let identity = channels::adopt(node, channel.peer, new).await?;
        let record = ChannelRecord {
            live: channel.live(&identity),
            facts: Facts {
                opened_at: now(),
                opened_height: node.chain.height(),
                stale: true,
                ..Facts::default()
            },
        };
        let mut batch = Batch::new();
        records::put(&mut batch, &record);
        node.db.commit(batch).await?;
        if let Some(address) = host_and_port(&channel.address) {
            node.peers.know(channel.peer, address);
        }
        let (dbid, funding) = (channel.dbid, record.live.funding.outpoint);
        tracing::info!(
            "channel {} is recovered as number {dbid}: its peer is asked to close it",
            channel.channel_id
        );
        channels::resume(node, vec![(record, Vec::new())]);
        // It may be spent already.
        let since = crate::chain::rescanned_from(node);
        node.chain.search(dbid, 0, vec![funding], since);
        Ok(())
    }
}

/// Where the peer was reached last; port 0 if nobody knows.
pub(super) fn address(node: &Node, peer: NodeId) -> Result<NetAddress, DbError> {
    let known = node.db.get::<Peer>(&peer.0.serialize())?;
    let first = known.and_then(|peer| peer.addresses.into_iter().next());
    Ok(first
        .as_deref()
        .and_then(parse)
        .unwrap_or(NetAddress::Ipv4 {
            addr: Ipv4Addr::UNSPECIFIED,
            port: 0,
        }))
}

fn parse(address: &str) -> Option<NetAddress> {
    if let Ok(socket) = address.parse::<SocketAddr>() {
        let port = socket.port();
        return Some(match socket.ip() {
            IpAddr::V4(addr) => NetAddress::Ipv4 { addr, port },
            IpAddr::V6(addr) => NetAddress::Ipv6 { addr, port },
        });
    }
    let (host, port) = address.rsplit_once(':')?;
    let hostname = host.as_bytes().to_vec();
    let port = port.parse().ok()?;
    (hostname.len() <= 255).then_some(NetAddress::Dns { hostname, port })
}

/// As connectd dials it; `None` for what it cannot.
fn host_and_port(address: &NetAddress) -> Option<String> {
    match address {
        NetAddress::Ipv4 { port: 0, .. } | NetAddress::Ipv6 { port: 0, .. } => None,
        NetAddress::Ipv4 { addr, port } => Some(SocketAddr::from((*addr, *port)).to_string()),
        NetAddress::Ipv6 { addr, port } => Some(SocketAddr::from((*addr, *port)).to_string()),
        NetAddress::Dns { hostname, port } => {
            let host = std::str::from_utf8(hostname).ok()?;
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            host.chars().all(plain).then(|| format!("{host}:{port}"))
        }
        NetAddress::TorV2(_) | NetAddress::TorV3 { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_dialled_as_it_was_written_down() {
        for text in ["127.0.0.1:9735", "[::1]:9736", "node.example.org:1"] {
            let address = parse(text).unwrap();
            assert_eq!(host_and_port(&address).as_deref(), Some(text));
        }
        let strange = NetAddress::Dns {
            hostname: b"a b\n".to_vec(),
            port: 1,
        };
        assert_eq!(host_and_port(&strange), None);
        assert_eq!(parse("nowhere"), None);
    }
}
