//! A running hsmd with a folder of its own, as lightningd holds it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hsm_messages::edges::{HsmChan, HsmCtl, HsmOperator};
use hsm_messages::hello;
use hsm_messages::mark::Mark;
use hsm_messages::operator::SOCKET;
use hsm_messages::{Refused, Role, ctl};
use invoice::{Bolt11Fields, DescriptionOrHash};
use ipc_transport::blocking::UpperConn;
use ipc_transport::{Conn, Edge, pair};
use secp256k1::{Message, SECP256K1, SecretKey};
use subd::{Child, Grant, Level, Mode, Spawn, spawn};
use tempfile::TempDir;
use wire::{
    BlockDelta, ChainHash, ChannelDbid, Feature, Features, MilliSatoshi, NodeId, PaymentHash,
    PaymentSecret,
};

/// Regtest's genesis block.
pub const CHAIN: ChainHash = ChainHash([
    0x06, 0x22, 0x6e, 0x46, 0x11, 0x1a, 0x0b, 0x59, 0xca, 0xaf, 0x12, 0x60, 0x43, 0xeb, 0x5b, 0xbf,
    0x28, 0xc3, 0x4f, 0x3a, 0x5e, 0x33, 0x2a, 0x1f, 0xc7, 0xb2, 0xb7, 0x3c, 0xf1, 0x88, 0x91, 0x0f,
]);

pub struct Node {
    pub dir: TempDir,
    pub child: Child,
    pub ctl: UpperConn<HsmCtl>,
    /// Where hsmd says how far its journal is; from Init on.
    pub marks: Option<File>,
}

pub fn start(dir: &Path) -> (Child, UpperConn<HsmCtl>) {
    let (child, ours) = start_silent(dir);
    (child, Conn::new(ours, hello::<HsmCtl>()).unwrap())
}

/// The owner's connection.
pub fn connect(dir: &Path) -> UpperConn<HsmOperator> {
    let stream = UnixStream::connect(dir.join(SOCKET)).unwrap();
    Conn::new(OwnedFd::from(stream), hello::<HsmOperator>()).unwrap()
}

/// Nothing is said to it: it may end at once.
pub fn start_silent(dir: &Path) -> (Child, OwnedFd) {
    let (ours, theirs) = pair().unwrap();
    let folder = File::open(dir).unwrap();
    let child = spawn(Spawn {
        program: Path::new(env!("CARGO_BIN_EXE_hsmd")),
        role: subd::Role::Hsmd,
        fds: vec![("lightningd", theirs), ("folder", folder.into())],
        log_level: Level::Error,
        grant: Grant::no_network(Mode::of_this_host()),
    });
    (child.unwrap(), ours)
}

/// For a new node, or beside a database that was never written to.
pub fn init(new_node: bool) -> ctl::Request {
    init_with(match new_node {
        true => ctl::Database::Absent,
        false => ctl::Database::Present { mark: None },
    })
}

pub fn init_with(database: ctl::Database) -> ctl::Request {
    ctl::Request::Init {
        chain_hash: CHAIN,
        database,
    }
}

impl Node {
    pub fn new() -> Node {
        let mut node = Node::before_init(tempfile::tempdir().unwrap());
        node.init(ctl::Database::Absent);
        node
    }

    /// A process that was asked nothing yet.
    pub fn before_init(dir: TempDir) -> Node {
        let (child, ctl) = start(dir.path());
        Node {
            dir,
            child,
            ctl,
            marks: None,
        }
    }

    pub fn init(&mut self, database: ctl::Database) -> ctl::Init {
        match self.ctl.call(&init_with(database)).unwrap() {
            ctl::Reply::Init(init) => {
                self.marks = Some(self.ctl.take_fd().unwrap().into());
                init
            }
            other => panic!("no Init: {other:?}"),
        }
    }

    /// What a database would have in its next batch.
    pub fn mark(&self) -> Option<Mark> {
        let marks = self.marks.as_ref()?;
        Some(Mark::read(marks).unwrap().expect("a mark"))
    }

    /// kill -9, and a new process beside a database that lacks nothing.
    pub fn kill_and_restart(&mut self) -> ctl::Init {
        let mark = self.mark();
        self.kill_and_start();
        self.init(ctl::Database::Present { mark })
    }

    pub fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (child, ctl) = start(self.dir.path());
        (self.child, self.ctl, self.marks) = (child, ctl, None);
    }

    pub fn new_channel(&mut self, peer: NodeId) -> ctl::NewChannel {
        match self.ctl.call(&ctl::Request::NewChannel { peer }).unwrap() {
            ctl::Reply::NewChannel(new) => new,
            other => panic!("no channel: {other:?}"),
        }
    }

    pub fn mint<E: Edge>(&mut self, role: Role, channel: Option<ChannelDbid>) -> UpperConn<E> {
        self.mint_newest::<E>(role, channel).0
    }

    /// With it, what it says of the channel.
    pub fn mint_newest<E: Edge>(
        &mut self,
        role: Role,
        channel: Option<ChannelDbid>,
    ) -> (UpperConn<E>, Option<ctl::LocalPoint>) {
        let (ours, theirs) = pair().unwrap();
        let request = ctl::Request::Mint { role, channel };
        self.ctl.send_with_fd(&request, theirs).unwrap();
        match self.ctl.recv().unwrap() {
            ctl::Reply::Minted { newest } => (Conn::new(ours, hello::<E>()).unwrap(), newest),
            other => panic!("no socket: {other:?}"),
        }
    }

    pub fn chan(&mut self, channel: ChannelDbid) -> UpperConn<HsmChan> {
        self.mint::<HsmChan>(Role::Chan, Some(channel))
    }

    pub fn refused(&mut self, request: &ctl::Request) -> Refused {
        match self.ctl.call(request).unwrap() {
            ctl::Reply::Refused(refused) => refused,
            other => panic!("answered: {other:?}"),
        }
    }
}

/// An invoice of somebody for this hash, which expires an hour after `timestamp`.
pub fn bolt11(payment_hash: PaymentHash, amount: MilliSatoshi, timestamp: Duration) -> String {
    let fields = Bolt11Fields {
        network: bitcoin::Network::Regtest,
        amount: Some(amount),
        payment_hash,
        payment_secret: PaymentSecret([2; 32]),
        description: DescriptionOrHash::Description("tea".to_owned()),
        timestamp,
        expiry: Duration::from_secs(3600),
        min_final_cltv: BlockDelta(18),
        route_hints: vec![],
        fallbacks: vec![],
        features: Features::of(&[Feature::VarOnionOptin, Feature::PaymentSecret], &[]),
        metadata: None,
    };
    let message = Message::from_digest(fields.signing_hash().unwrap());
    let secret = SecretKey::from_slice(&[0x42; 32]).unwrap();
    let signature = SECP256K1.sign_ecdsa_recoverable(&message, &secret);
    let (id, bytes) = signature.serialize_compact();
    fields.into_string(&bytes, id.to_i32() as u8).unwrap()
}

pub fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

pub fn somebody() -> NodeId {
    let secret = secp256k1::SecretKey::from_slice(&[0x42; 32]).unwrap();
    NodeId(secret.public_key(secp256k1::SECP256K1))
}
