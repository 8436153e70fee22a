//! CTL: lightningd's own socket, which hands out the others.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hsm::Hsm;
use ipc_messages::edges::HsmCtl;
use ipc_messages::hsm::ctl::{Init, NewChannel, Reply, Request};
use ipc_messages::hsm::{Refused, Role};
use ipc_transport::blocking::LowerConn;
use wire::ChannelDbid;

use crate::clients::Clients;
use crate::serve::ctl_refused;

/// Requests of CTL that are taken in one round.
const TURN: usize = 64;

/// What CTL had to say in a round.
pub enum Said {
    Requests(u64),
    Stop,
}

pub struct Ctl(LowerConn<HsmCtl>);

impl Ctl {
    /// Waits for Init and opens seed and journal. `None`: lightningd is gone, or was refused.
    ///
    /// # Errors
    /// The first request is not Init.
    pub fn init(
        mut conn: LowerConn<HsmCtl>,
        folder: OwnedFd,
    ) -> anyhow::Result<Option<(Ctl, Hsm)>> {
        let (chain_hash, new_node) = match conn.recv() {
            Ok(Request::Init { chain_hash, new_node }) => (chain_hash, new_node),
            Ok(_) => anyhow::bail!("the first request is not Init"),
            Err(error) if error.is_closed() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let hsm = match Hsm::open(folder, chain_hash, new_node) {
            Ok(hsm) => hsm,
            Err(why) => {
                // Rule B2: what does not belong together is not used together.
                let refused = Refused { rule: "B2".to_owned(), reason: why.to_string() };
                conn.send(&Reply::Refused(refused))?;
                conn.flush()?;
                return Ok(None);
            }
        };
        conn.send(&Reply::Init(Init {
            node_id: hsm.node_id(),
            channels: hsm.channels(),
            next_address: hsm.next_address(),
        }))?;
        conn.flush()?;
        Ok(Some((Ctl(conn), hsm)))
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// # Errors
    /// CTL broke.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.0.flush()?)
    }

    /// Answers what has come; the replies wait for [`Ctl::flush`].
    ///
    /// # Errors
    /// CTL broke: without lightningd nobody is served.
    pub fn hear(&mut self, hsm: &mut Hsm, clients: &mut Clients) -> anyhow::Result<Said> {
        let mut count = 0;
        for _ in 0..TURN {
            let request = match self.0.try_recv() {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) if error.is_closed() => return Ok(Said::Stop),
                Err(error) => return Err(error.into()),
            };
            count += 1;
            let reply = match request {
                Request::Stop => return Ok(Said::Stop),
                Request::Init { .. } => refuse("D4", "Init comes first and once"),
                Request::NewChannel { peer } => match hsm.new_channel(peer) {
                    Ok(new) => new_channel(new),
                    Err(why) => ctl_refused(&why),
                },
                Request::Mint { role, channel } => {
                    let socket = self.0.take_fd()?;
                    mint(hsm, clients, role, channel, socket)
                }
                Request::ForceClose { channel } => match hsm.force_close(channel) {
                    Ok(tx) => Reply::ForceClose { tx: bitcoin_bytes(&tx) },
                    Err(why) => ctl_refused(&why),
                },
                Request::Forget { channel } => match hsm.forget(channel) {
                    Ok(()) => {
                        clients.close(Role::Chan, Some(channel));
                        Reply::Forgotten
                    }
                    Err(why) => ctl_refused(&why),
                },
            };
            self.0.send(&reply)?;
        }
        Ok(Said::Requests(count))
    }
}

fn bitcoin_bytes(tx: &bitcoin::Transaction) -> Vec<u8> {
    bitcoin::consensus::serialize(tx)
}

fn refuse(rule: &str, reason: &str) -> Reply {
    Reply::Refused(Refused { rule: rule.to_owned(), reason: reason.to_owned() })
}

fn new_channel(new: hsm::NewChannel) -> Reply {
    Reply::NewChannel(NewChannel {
        channel: new.channel,
        funding_pubkey: new.funding_pubkey,
        basepoints: new.basepoints,
        first_points: new.first_points,
        shutdown_p2wpkh: new.shutdown.p2wpkh,
        shutdown_p2tr: new.shutdown.p2tr,
        shutdown_index: new.shutdown.index,
    })
}

/// Rule D3: from now on this descriptor is that role, and that channel if the role is Chan.
fn mint(
    hsm: &Hsm,
    clients: &mut Clients,
    role: Role,
    channel: Option<ChannelDbid>,
    socket: OwnedFd,
) -> Reply {
    match (role, channel) {
        (Role::Chan, Some(dbid)) => {
            if let Err(why) = hsm.check_channel(dbid) {
                return ctl_refused(&why);
            }
        }
        (Role::Noise | Role::Wallet | Role::Gossip | Role::Invoice, None) => {}
        (Role::Chan, None) => return refuse("D3", "the role Chan needs a channel"),
        (Role::Noise | Role::Wallet | Role::Gossip | Role::Invoice, Some(_)) => {
            return refuse("D3", "this role has no channel");
        }
    }
    match clients.add(role, channel, socket) {
        Ok(()) => Reply::Minted,
        Err(error) => refuse("D3", &format!("the socket cannot be used: {error}")),
    }
}
