//! What processes say to each other: frames, the hello, and every message of every edge.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use ipc_messages::{edges, lightningd_payd};
use ipc_transport::edge::{EachEdge, Edge};
use ipc_transport::frame::{FrameDecoder, HEADER, header};
use ipc_transport::{Conn, EdgeHello, Error, Limits, MAX_FDS, MAX_FRAME, codec, log};
use routing::{RouteRequest, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Target;
use crate::sample::samples;

const MAX_LEN: usize = 8192;

/// Both directions of each edge.
#[derive(Default)]
struct Edges(Vec<Target>);

impl EachEdge for Edges {
    fn edge<E: Edge>(&mut self) {
        let name = |way| format!("ipc_{}_{way}", E::NAME);
        let (down, up) = (name("down"), name("up"));
        self.0.extend([
            Target::new(&down, decode::<E::Down>, MAX_LEN, seeds::<E::Down>),
            Target::new(&up, decode::<E::Up>, MAX_LEN, seeds::<E::Up>),
        ]);
    }
}

pub fn targets() -> Vec<Target> {
    let mut targets = vec![
        Target::new("ipc_frame", frame, 1024, frame_seeds),
        Target::new("ipc_conn", conn, 2048, conn_seeds),
        Target::new("routing_request", route, MAX_LEN, seeds::<RouteRequest>),
    ];
    let mut edges = Edges::default();
    ipc_messages::edges::all(&mut edges);
    targets.extend(edges.0);
    // Nothing goes down the log edge.
    targets.push(Target::new(
        "ipc_log_up",
        decode::<log::LogRecord>,
        MAX_LEN,
        seeds::<log::LogRecord>,
    ));
    targets
}

/// Whatever is decoded is encoded to something that decodes to the same, in no more bytes.
fn decode<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let Ok(value) = codec::decode::<T>(data) else {
        return;
    };
    let bytes = codec::encode(&value).expect("what was decoded can be encoded");
    assert!(bytes.len() <= data.len());
    assert!(
        codec::decode::<T>(&[data, &[0]].concat()).is_err(),
        "a byte too many"
    );
    let again = codec::decode::<T>(&bytes).expect("what was encoded");
    assert_eq!(codec::encode(&again).expect("the same"), bytes);
}

fn seeds<T: Serialize + DeserializeOwned>() -> Vec<Vec<u8>> {
    let values = samples::<T>(2);
    assert!(!values.is_empty());
    let encoded = values
        .iter()
        .map(|value| codec::encode(value).expect("a sample"));
    let mut seeds: Vec<Vec<u8>> = encoded.filter(|seed| seed.len() <= MAX_LEN).collect();
    seeds.sort();
    seeds.dedup();
    seeds
}

/// First byte: how long the reads are; second: the limit. However the reads fall, the frames are
/// the same.
fn frame(data: &[u8]) {
    let Some(([chunk, max], stream)) = data.split_first_chunk() else {
        return;
    };
    let max = usize::from(*max) * 8;
    let whole = frames(stream, stream.len(), max);
    assert_eq!(frames(stream, usize::from(*chunk), max), whole);
    let taken: usize = whole
        .0
        .iter()
        .map(|(payload, _)| HEADER + payload.len())
        .sum();
    assert!(taken <= stream.len());
    assert!(
        whole
            .0
            .iter()
            .all(|(payload, fds)| payload.len() <= max && *fds <= MAX_FDS)
    );
}

fn frames(stream: &[u8], chunk: usize, max: usize) -> (Vec<(Vec<u8>, usize)>, bool) {
    let (mut decoder, mut found) = (FrameDecoder::new(max), vec![]);
    for part in stream.chunks(chunk.max(1)) {
        decoder.push(part);
        loop {
            let ready = decoder.is_ready();
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    assert!(ready);
                    found.push((frame.payload.to_vec(), frame.fds));
                }
                Ok(None) => {
                    assert!(!ready && decoder.buffered() < HEADER + max.max(1));
                    break;
                }
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let of = |len: usize, fds| [&header(len, fds).expect("a header")[..], &vec![7; len]].concat();
    vec![
        [&[1, 255][..], &of(3, 0), &of(0, 1), &of(100, 4)].concat(),
        [&[7, 1][..], &of(9, 0)].concat(),
        [&[0, 9][..], &of(5, 0), &[1, 0]].concat(),
    ]
}

const HELLO: EdgeHello = EdgeHello {
    name: edges::LightningdPayd::NAME,
    schema: [7; 32],
};

/// The other end of a socket sends this and closes. Nothing but whole messages after a right hello
/// is handed out, and then there is an error.
fn conn(data: &[u8]) {
    let (mut theirs, ours) = UnixStream::pair().expect("a pair");
    theirs.write_all(data).expect("it fits the socket's buffer");
    theirs.shutdown(Shutdown::Write).expect("a shutdown");
    let limits = Limits {
        frame: MAX_FRAME,
        out: 4096,
    };
    let conn = Conn::<lightningd_payd::ToLightningd, lightningd_payd::ToPayd>::with_limits(
        ours, HELLO, limits,
    );
    let mut conn = conn.expect("our hello fits");
    let mut received = 0;
    let error = loop {
        match conn.recv() {
            Ok(message) => received += HEADER + codec::encode(&message).expect("a message").len(),
            Err(error) => break error,
        }
    };
    assert!(received <= data.len());
    assert!(received == 0 || conn.greeted());
    if data.is_empty() {
        assert!(matches!(error, Error::Closed), "{error}");
    }
}

fn conn_seeds() -> Vec<Vec<u8>> {
    let frame =
        |payload: Vec<u8>| [&header(payload.len(), 0).expect("short")[..], &payload].concat();
    let hello = frame(codec::encode(&(HELLO.name, HELLO.schema)).expect("a hello"));
    let messages = seeds::<lightningd_payd::ToPayd>()
        .into_iter()
        .filter(|m| m.len() < 900);
    let mut seeds: Vec<Vec<u8>> = messages
        .map(|m| [hello.clone(), frame(m)].concat())
        .collect();
    seeds.push(hello.clone());
    seeds.push(frame(
        codec::encode(&("lightningd_hsmd", [7_u8; 32])).expect("a hello"),
    ));
    seeds
}

/// payd's question: the hints in it are a stranger's, from an invoice.
fn route(data: &[u8]) {
    let Ok(request) = codec::decode::<RouteRequest>(data) else {
        return;
    };
    let Ok(route) = Router::new().find(&request) else {
        return;
    };
    assert_eq!(route.amount_delivered(), request.amount);
    assert!(route.fee <= request.max_fee && route.total_delay <= request.max_total_delay);
    assert!(
        route
            .hops
            .iter()
            .all(|hop| !request.excluded.contains(&hop.scid))
    );
    let _ = route.instructions(wire::BlockHeight(800_000));
}
