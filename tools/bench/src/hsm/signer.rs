//! A running hsmd with a folder of its own.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bitcoin::Network;
use bitcoin::constants::ChainHash as GenesisHash;
use hsm_messages::edges::HsmCtl;
use hsm_messages::{Role, ctl, hello};
use ipc_transport::blocking::UpperConn;
use ipc_transport::{Conn, Edge, pair};
use subd::{Child, Grant, Level, Mode, Spawn, spawn};
use tempfile::TempDir;
use wire::{ChainHash, ChannelDbid, NodeId};

pub const NETWORK: Network = Network::Regtest;

pub struct Signer {
    child: Child,
    pub ctl: UpperConn<HsmCtl>,
    pub node_id: NodeId,
    /// Where it writes marks, as for a database.
    _marks: OwnedFd,
    _folder: TempDir,
}

pub fn chain_hash() -> ChainHash {
    ChainHash(GenesisHash::using_genesis_block_const(NETWORK).to_bytes())
}

impl Signer {
    /// A new node's signer with its folder in `place`.
    pub fn start(place: &Path) -> Result<Signer> {
        let folder = tempfile::Builder::new()
            .prefix("bench-hsm-")
            .tempdir_in(place)?;
        let (ours, theirs) = pair()?;
        let program = blackbox::node::program("hsmd")?;
        let child = spawn(Spawn {
            program: &program,
            role: subd::Role::Hsmd,
            fds: vec![
                ("lightningd", theirs),
                ("folder", File::open(folder.path())?.into()),
            ],
            log_level: Level::Error,
            grant: Grant::no_network(Mode::of_this_host()),
        })?;
        let mut ctl: UpperConn<HsmCtl> = Conn::new(ours, hello::<HsmCtl>())?;
        let init = ctl::Request::Init {
            chain_hash: chain_hash(),
            database: ctl::Database::Absent,
        };
        let ctl::Reply::Init(init) = ctl.call(&init)? else {
            bail!("hsmd does not start");
        };
        Ok(Signer {
            child,
            node_id: init.node_id,
            _marks: ctl.take_fd()?,
            ctl,
            _folder: folder,
        })
    }

    pub fn new_channel(&mut self, peer: NodeId) -> Result<ctl::NewChannel> {
        match self.ctl.call(&ctl::Request::NewChannel { peer })? {
            ctl::Reply::NewChannel(new) => Ok(new),
            other => bail!("no channel: {other:?}"),
        }
    }

    pub fn mint<E: Edge>(
        &mut self,
        role: Role,
        channel: Option<ChannelDbid>,
    ) -> Result<UpperConn<E>> {
        let (ours, theirs) = pair()?;
        let request = ctl::Request::Mint { role, channel };
        self.ctl.send_with_fd(&request, theirs)?;
        match self.ctl.recv()? {
            ctl::Reply::Minted { .. } => Ok(Conn::new(ours, hello::<E>())?),
            other => bail!("no socket: {other:?}"),
        }
    }

    pub fn stop(mut self) -> Result<()> {
        self.ctl.send(&ctl::Request::Stop)?;
        self.ctl.flush()?;
        let exit = self.child.wait().context("hsmd does not end")?;
        if exit != subd::Exit::Code(0) {
            bail!("hsmd ended with {exit}");
        }
        Ok(())
    }
}
