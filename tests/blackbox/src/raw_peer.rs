//! A peer that speaks BOLT 8 properly and then says whatever a test wants: for hostile messages.

use crate::Node;
use anyhow::{Context, Result, bail};
use rand::RngCore;
use secp256k1::ecdh::SharedSecret;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use wire::Message;
use wire::noise::{ACT_TWO_LEN, Initiator, LENGTH_LEN, TAG_LEN, Transport, key_step};

/// An encrypted connection to a node, under a key made for it.
pub struct RawPeer {
    /// Its node id.
    pub id: PublicKey,
    stream: TcpStream,
    transport: Transport,
}

impl RawPeer {
    /// Connects and shakes hands; says nothing yet.
    ///
    /// # Errors
    /// Where the node does not take the handshake.
    pub fn connect(node: &Node) -> Result<RawPeer> {
        RawPeer::connect_as(node, &secret_key()?)
    }

    /// As [`RawPeer::connect`], under this node key.
    ///
    /// # Errors
    /// As there.
    pub fn connect_as(node: &Node, own: &SecretKey) -> Result<RawPeer> {
        let mut stream = TcpStream::connect(("127.0.0.1", node.port()))?;
        stream.set_read_timeout(Some(crate::patience()))?;
        let remote: PublicKey = node.id()?.parse().context("a node id is a public key")?;
        let (initiator, act_one) = Initiator::new(secret_key()?, remote)?;
        stream.write_all(&act_one)?;
        let mut act_two = [0; ACT_TWO_LEN];
        stream.read_exact(&mut act_two)?;
        let (initiator, step) = initiator.act2(&act_two)?;
        let reply = key_step(&step, |point| SharedSecret::new(point, own).secret_bytes())?;
        let id = PublicKey::from_secret_key(SECP256K1, own);
        let (act_three, transport) = initiator.finish(reply, id)?;
        stream.write_all(&act_three)?;
        Ok(RawPeer {
            id,
            stream,
            transport,
        })
    }

    /// Connects and answers the node's `init` with the same, so that both agree on everything.
    ///
    /// # Errors
    /// Where the node does not begin with its `init`.
    pub fn connect_and_greet(node: &Node) -> Result<RawPeer> {
        RawPeer::greet_as(node, &secret_key()?)
    }

    /// As [`RawPeer::connect_and_greet`], under this node key.
    ///
    /// # Errors
    /// As there.
    pub fn greet_as(node: &Node, own: &SecretKey) -> Result<RawPeer> {
        let mut peer = RawPeer::connect_as(node, own)?;
        let init = peer
            .receive()?
            .context("the node hung up before its init")?;
        if init.get(..2) != Some(&[0, 16]) {
            bail!("the node began with {init:02x?} instead of an init");
        }
        peer.send(&init)?;
        Ok(peer)
    }

    /// Sends one message, type first.
    ///
    /// # Errors
    /// Where the node has hung up, or the message is longer than the transport can carry.
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        let sealed = self.seal(message)?;
        self.send_bytes(&sealed)
    }

    /// One message as it goes over the wire.
    ///
    /// # Errors
    /// Where it is longer than the transport can carry.
    pub fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = Vec::new();
        self.transport.encrypt(message, &mut sealed)?;
        Ok(sealed)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Where the node has hung up.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The node's next message; None when it has hung up.
    ///
    /// # Errors
    /// Where it stays silent too long, or what comes is not encrypted for us.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let mut header = [0; LENGTH_LEN];
        if !self.fill(&mut header)? {
            return Ok(None);
        }
        let length = usize::from(self.transport.decrypt_length(&header)?);
        let mut sealed = vec![0; length + TAG_LEN];
        if !self.fill(&mut sealed)? {
            return Ok(None);
        }
        Ok(Some(self.transport.decrypt_body(&mut sealed)?.to_vec()))
    }

    /// The node's next message that `wanted` takes; all before it are dropped.
    ///
    /// # Errors
    /// Where it hangs up or stays silent before that.
    pub fn receive_until<T>(&mut self, mut wanted: impl FnMut(Message) -> Option<T>) -> Result<T> {
        loop {
            let message = self.receive()?.context("the node hung up")?;
            if let Some(found) = wanted(Message::decode(&message)?) {
                return Ok(found);
            }
        }
    }

    /// Reads until the node hangs up; the types of what it still said.
    ///
    /// # Errors
    /// Where it stays silent too long but does not hang up.
    pub fn until_hung_up(&mut self, limit: Duration) -> Result<Vec<u16>> {
        self.stream.set_read_timeout(Some(limit))?;
        let mut types = Vec::new();
        while let Some(message) = self.receive()? {
            if let Some(kind) = message.first_chunk() {
                types.push(u16::from_be_bytes(*kind));
            }
        }
        Ok(types)
    }

    /// Fills the buffer; false if the node has hung up.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool> {
        match self.stream.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn secret_key() -> Result<SecretKey> {
    let mut bytes = [0; 32];
    rand::thread_rng().fill_bytes(&mut bytes);
    SecretKey::from_slice(&bytes).context("these 32 bytes are no key")
}
