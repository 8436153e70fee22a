//! What the tests build: nodes, channels' sockets, and a peer that says whatever a test wants.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ipc_messages::channeld_connectd::{Connection, ToChanneld, ToConnectd as FromChannel};
use ipc_messages::edges::{ConnectdChanneld, HsmNoise, LightningdConnectd};
use ipc_messages::hello;
use ipc_messages::hsm::noise::{Reply, Request};
use ipc_messages::lightningd_connectd::{Resolved, Start, ToConnectd, ToLightningd};
use ipc_transport::aio::{LowerConn, Receiver, Sender, UpperConn};
use ipc_transport::pair;
use secp256k1::ecdh::SharedSecret;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use wire::features::{Feature, Features};
use wire::noise::{ACT_TWO_LEN, Initiator, LENGTH_LEN, TAG_LEN, Transport, key_step};
use wire::{Body, ChainHash, ChannelId, Init, NodeId, Stfu, UpdateFee};

use crate::limits::Limits;
use crate::serve::{ServeError, serve};

pub const CHAIN: ChainHash = ChainHash([6; 32]);

/// Runs a test where tasks may share what is not `Send`, for at most so long, which no test that
/// passes comes near.
pub async fn local<F: Future>(test: F) -> F::Output {
    let long = Duration::from_secs(300);
    LocalSet::new()
        .run_until(tokio::time::timeout(long, test))
        .await
        .expect("the test does not end")
}

pub fn key(of: u8) -> SecretKey {
    SecretKey::from_slice(&[of; 32]).unwrap()
}

pub fn id(of: u8) -> NodeId {
    NodeId(PublicKey::from_secret_key(SECP256K1, &key(of)))
}

pub fn channel_id(of: u8) -> ChannelId {
    ChannelId([of; 32])
}

pub fn features() -> Features {
    Features::of(&[Feature::StaticRemotekey], &[Feature::Anchors])
}

/// A message of some channel, numbered.
pub fn message(channel: u8, number: u32) -> Vec<u8> {
    let channel_id = channel_id(channel);
    UpdateFee {
        channel_id,
        feerate_per_kw: wire::FeeratePerKw(number),
    }
    .to_bytes()
}

/// A message that our features do not know.
pub fn unknown_even() -> Vec<u8> {
    Stfu {
        channel_id: channel_id(1),
        initiator: 1,
    }
    .to_bytes()
}

fn ecdh(key: SecretKey) -> impl Fn(&PublicKey) -> [u8; 32] {
    move |point| SharedSecret::new(point, &key).secret_bytes()
}

/// A connectd and its lightningd's end.
pub struct TestNode {
    pub id: NodeId,
    pub address: SocketAddr,
    pub to: Sender<ToConnectd>,
    pub from: Receiver<ToLightningd>,
    pub task: JoinHandle<Result<(), ServeError>>,
    pub hsmd: JoinHandle<()>,
}

impl TestNode {
    pub async fn start(of: u8, limits: Limits) -> TestNode {
        TestNode::start_as(of, limits, |_| {}).await
    }

    pub async fn start_as(of: u8, limits: Limits, change: impl FnOnce(&mut Start)) -> TestNode {
        let node = TestNode::start_shut(of, limits, change).await;
        node.say(ToConnectd::Open).await;
        node
    }

    /// One that has not been told to open.
    pub async fn start_shut(of: u8, limits: Limits, change: impl FnOnce(&mut Start)) -> TestNode {
        let (ours, theirs) = pair().unwrap();
        let (hsm_ours, hsm_theirs) = pair().unwrap();
        let hsmd = hsmd(key(of), hsm_ours);
        let lower =
            LowerConn::<LightningdConnectd>::new(theirs, hello::<LightningdConnectd>()).unwrap();
        let upper = UpperConn::<HsmNoise>::new(hsm_theirs, hello::<HsmNoise>()).unwrap();
        let task = spawn_local(serve(lower, upper, limits));
        let edge =
            UpperConn::<LightningdConnectd>::new(ours, hello::<LightningdConnectd>()).unwrap();
        let (to, mut from) = edge.split();
        let mut start = Start {
            node_id: id(of),
            chain_hash: CHAIN,
            features: features().as_bytes().to_vec(),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            online: true,
        };
        change(&mut start);
        to.send(&ToConnectd::Start(start)).await.unwrap();
        let address = match from.recv().await.unwrap() {
            ToLightningd::Ready { listening } => listening
                .first()
                .copied()
                .unwrap_or("127.0.0.1:1".parse().unwrap()),
            other => panic!("{other:?}"),
        };
        TestNode {
            id: id(of),
            address,
            to,
            from,
            task,
            hsmd,
        }
    }

    pub async fn say(&self, message: ToConnectd) {
        self.to.send(&message).await.unwrap();
    }

    /// The next event. Names are resolved as lightningd does it.
    pub async fn hear(&mut self) -> ToLightningd {
        loop {
            match self.from.recv().await.unwrap() {
                ToLightningd::Resolve { request, name } => {
                    let found = match tokio::net::lookup_host(&name).await {
                        Ok(found) => Resolved::Addresses(found.collect()),
                        Err(_) => Resolved::Failed {
                            why: "no such name".to_owned(),
                        },
                    };
                    self.say(ToConnectd::Resolved { request, found }).await;
                }
                other => return other,
            }
        }
    }

    pub async fn connect(&self, request: u64, peer: NodeId, address: impl ToString) {
        let addresses = vec![address.to_string()];
        self.say(ToConnectd::Connect {
            request,
            peer,
            addresses,
        })
        .await;
    }

    /// The next event is Connected; gives inbound and requests.
    pub async fn connected(&mut self) -> (NodeId, bool, Vec<u64>) {
        match self.hear().await {
            ToLightningd::Connected {
                peer,
                inbound,
                requests,
                ..
            } => (peer, inbound, requests),
            other => panic!("{other:?}"),
        }
    }

    /// The next event is ConnectFailed.
    pub async fn failed(&mut self) -> (u64, Vec<String>) {
        match self.hear().await {
            ToLightningd::ConnectFailed {
                request, reasons, ..
            } => (request, reasons),
            other => panic!("{other:?}"),
        }
    }

    /// The next event is Disconnected; gives the reason.
    pub async fn disconnected(&mut self) -> String {
        match self.hear().await {
            ToLightningd::Disconnected { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    /// The next event is a message; gives it.
    pub async fn unclaimed(&mut self) -> Vec<u8> {
        match self.hear().await {
            ToLightningd::Unclaimed { data, .. } => data,
            other => panic!("{other:?}"),
        }
    }

    /// A channel with this peer that has claimed these ids.
    pub async fn attach(&self, peer: NodeId, ids: &[u8]) -> TestChannel {
        let (ours, theirs) = pair().unwrap();
        let channel_ids = ids.iter().copied().map(channel_id).collect();
        let attach = ToConnectd::Attach { peer, channel_ids };
        self.to.send_with_fds(&attach, vec![theirs]).await.unwrap();
        TestChannel::new(ours)
    }
}

/// Two nodes, the first of which has connected to the second.
pub async fn two(limits: Limits) -> (TestNode, TestNode) {
    let (mut a, mut b) = (
        TestNode::start(1, limits).await,
        TestNode::start(2, limits).await,
    );
    a.connect(1, b.id, b.address).await;
    assert_eq!(a.connected().await, (b.id, false, vec![1]));
    assert_eq!(b.connected().await, (a.id, true, vec![]));
    (a, b)
}

/// hsmd, for one socket.
fn hsmd(key: SecretKey, socket: OwnedFd) -> JoinHandle<()> {
    let mut edge = LowerConn::<HsmNoise>::new(socket, hello::<HsmNoise>()).unwrap();
    spawn_local(async move {
        while let Ok(Request::Step { step }) = edge.recv().await {
            let reply = match key_step(&step, ecdh(key)) {
                Ok(keys) => Reply::Step { keys },
                Err(_) => Reply::BadAct,
            };
            if edge.send(&reply).await.is_err() {
                return;
            }
        }
    })
}

/// A channel's end of its socket.
pub struct TestChannel {
    pub to: Sender<FromChannel>,
    pub from: Receiver<ToChanneld>,
    pub connection: Connection,
}

impl TestChannel {
    fn new(socket: OwnedFd) -> TestChannel {
        let edge = LowerConn::<ConnectdChanneld>::new(socket, hello::<ConnectdChanneld>()).unwrap();
        let (to, from) = edge.split();
        TestChannel {
            to,
            from,
            connection: Connection(0),
        }
    }

    pub async fn hear(&mut self) -> ToChanneld {
        self.from.recv().await.unwrap()
    }

    /// The next event is Connected; gives the peer's features.
    pub async fn connected(&mut self) -> Features {
        match self.hear().await {
            ToChanneld::Connected {
                connection,
                features,
            } => {
                self.connection = connection;
                Features::from_bytes(&features)
            }
            other => panic!("{other:?}"),
        }
    }

    pub async fn message(&mut self) -> Vec<u8> {
        match self.hear().await {
            ToChanneld::Message { data } => data,
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&self, data: Vec<u8>) {
        let send = FromChannel::Send {
            connection: self.connection,
            data,
        };
        self.to.send(&send).await.unwrap();
    }
}

/// A peer that speaks BOLT 8 properly and then says what a test wants.
pub struct RawPeer {
    pub stream: TcpStream,
    pub transport: Transport,
}

impl RawPeer {
    /// Shakes hands as the node with this key; says nothing yet.
    pub async fn connect(of: u8, node: &TestNode) -> RawPeer {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let (initiator, act_one) = Initiator::new(key(99), node.id.0).unwrap();
        stream.write_all(&act_one).await.unwrap();
        let mut act_two = [0; ACT_TWO_LEN];
        stream.read_exact(&mut act_two).await.unwrap();
        let (initiator, step) = initiator.act2(&act_two).unwrap();
        let keys = key_step(&step, ecdh(key(of))).unwrap();
        let (act_three, transport) = initiator.finish(keys, id(of).0).unwrap();
        stream.write_all(&act_three).await.unwrap();
        RawPeer { stream, transport }
    }

    /// Exchanges init too.
    pub async fn greet(of: u8, node: &TestNode) -> RawPeer {
        let mut peer = RawPeer::connect(of, node).await;
        let init = peer.receive().await.expect("it hangs up before its init");
        assert_eq!(init[..2], Init::TYPE.to_be_bytes());
        peer.send(&init).await;
        peer
    }

    pub fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.transport.encrypt(message, &mut sealed).unwrap();
        sealed
    }

    /// It may have hung up.
    pub async fn send(&mut self, message: &[u8]) {
        let sealed = self.seal(message);
        let _ = self.stream.write_all(&sealed).await;
    }

    /// `None`: it has hung up.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; LENGTH_LEN];
        self.stream.read_exact(&mut length).await.ok()?;
        let length = self.transport.decrypt_length(&length).unwrap();
        let mut sealed = vec![0; usize::from(length) + TAG_LEN];
        self.stream.read_exact(&mut sealed).await.ok()?;
        Some(self.transport.decrypt_body(&mut sealed).unwrap().to_vec())
    }

    /// The types of what it still says until it hangs up.
    pub async fn until_hung_up(&mut self) -> Vec<u16> {
        let mut types = Vec::new();
        while let Some(message) = self.receive().await {
            types.push(wire::peek(&message).unwrap().0);
        }
        types
    }
}
